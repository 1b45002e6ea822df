//! The one loop that moves bytes between a socket and a machine.

use crate::hub::session::{Kick, Session};
use crate::io::run::within;
use crate::io::tcp;
use crate::io::wire::Wire;
use crate::limits::{LINGER, LINGER_BYTES, READ_BUF};
use crate::proto::Machine;
use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Reads in one poll; a peer that sends without end lets the others have their turn then.
const READS_A_POLL: usize = 4;

thread_local! {
    /// All reads of the thread go through this buffer, so that a connection on which nothing
    /// arrives owns none.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BUF]);
}

/// Why a connection ended.
#[derive(Debug)]
pub enum End<E> {
    /// The peer closed it.
    Closed,
    /// The socket failed.
    Io(io::Error),
    /// The peer broke the protocol.
    Protocol(E),
    /// Somebody on our side ended it.
    Kicked(Kick),
}

impl<E: fmt::Display> fmt::Display for End<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("client disconnect peer"),
            Self::Io(e) => write!(f, "client disconnect peer, {e}"),
            Self::Protocol(e) => write!(f, "{e}"),
            Self::Kicked(why) => write!(f, "{why}"),
        }
    }
}

/// A connection, the machine that speaks on it, and the session that others know it by.
pub struct Link<M> {
    wire: Wire,
    /// The protocol.
    pub machine: M,
    session: Rc<Session>,
    /// What was read and not yet taken by the machine; at most one read.
    rest: Vec<u8>,
    /// The machine was left at an event, and may have another without more bytes.
    broke: bool,
    last_read: usize,
    /// The peer waits for each of our answers before it goes on.
    pub hurry: bool,
}

impl<M: Machine> Link<M> {
    /// A link over a connection.
    pub fn new(wire: impl Into<Wire>, machine: M, session: Rc<Session>) -> Self {
        let (wire, rest, broke) = (wire.into(), Vec::new(), false);
        Self { wire, machine, session, rest, broke, last_read: 0, hurry: true }
    }

    /// The socket, for its options.
    pub fn socket(&self) -> &TcpStream {
        self.wire.socket()
    }

    /// The peer goes on without answers, and what it sends may be read some milliseconds late: what
    /// comes meanwhile is one read.
    pub fn be_patient(&mut self) {
        self.hurry = false;
        self.wire.be_patient();
    }

    /// The session.
    pub fn session(&self) -> &Rc<Session> {
        &self.session
    }

    /// Bytes received and sent so far.
    pub fn traffic(&self) -> (u64, u64) {
        self.session.traffic()
    }

    /// Bytes that the last read brought.
    pub fn last_read(&self) -> usize {
        self.last_read
    }

    /// The next event. Replies are sent as they come up.
    pub async fn next(&mut self) -> Result<M::Event, End<M::Error>> {
        poll_fn(|cx| {
            if let Poll::Ready(Err(end)) = self.poll_flush(cx) {
                return Poll::Ready(Err(end));
            }
            let event = self.poll_read(cx, |_, event| ControlFlow::Break(event));
            if event.is_pending()
                && let Poll::Ready(Err(end)) = self.poll_flush(cx)
            {
                return Poll::Ready(Err(end));
            }
            event
        })
        .await
    }

    /// Sends all that the machine has for the peer.
    pub async fn flush(&mut self) -> Result<(), End<M::Error>> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Sends what the machine has for the peer; ready when nothing is left.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End<M::Error>>> {
        loop {
            let bytes = self.machine.send_buf();
            if bytes.is_empty() {
                return self.wire.poll_flush(cx).map_err(End::Io);
            }
            if self.wire.poll_writable(cx).is_pending() {
                return Poll::Pending;
            }
            match self.wire.write(bytes) {
                Ok(0) => return Poll::Ready(Err(End::Closed)),
                Ok(n) => {
                    self.machine.send_done(n);
                    self.session.count(0, n);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(End::Io(e))),
            }
        }
    }

    /// Reads, and hands every event to `handle` until it breaks. Never ready without an event
    /// that broke, or an end.
    pub fn poll_read<B>(
        &mut self,
        cx: &mut Context<'_>,
        mut handle: impl FnMut(&mut M, M::Event) -> ControlFlow<B>,
    ) -> Poll<Result<B, End<M::Error>>> {
        self.session.set_waker(cx.waker());
        if let Some(why) = self.session.kicked() {
            return Poll::Ready(Err(End::Kicked(why)));
        }
        if self.session.take_leave() && self.machine.leave() {
            return Poll::Ready(Err(End::Kicked(Kick::Shutdown)));
        }
        if std::mem::take(&mut self.broke) || !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            if let Some(result) = self.feed(&rest, &mut handle) {
                return Poll::Ready(result);
            }
            if !self.rest.is_empty() {
                // The machine waits for its owner; until then the peer has said enough.
                return Poll::Pending;
            }
        }
        for _ in 0..READS_A_POLL {
            // Asking the reactor costs nothing; asking the socket is a system call, and a player
            // that is woken to send would make one for each write.
            if self.wire.poll_readable(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(result) = self.read(&mut handle) {
                return Poll::Ready(result);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Drops what was read and not taken yet.
    pub fn discard(&mut self) {
        self.rest = Vec::new();
    }

    /// Waits for `future`, unless somebody ends the session meanwhile. The peer is not listened to.
    pub async fn unless_kicked<T>(
        &self,
        future: impl Future<Output = T>,
    ) -> Result<T, End<M::Error>> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.session.set_waker(cx.waker());
            if let Some(why) = self.session.kicked() {
                return Poll::Ready(Err(End::Kicked(why)));
            }
            future.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    /// Waits until the socket takes more.
    pub async fn writable(&self) -> Result<(), End<M::Error>> {
        self.unless_kicked(poll_fn(|cx| self.wire.poll_writable(cx))).await
    }

    /// One read, if there is something to read.
    fn read<B>(
        &mut self,
        handle: &mut impl FnMut(&mut M, M::Event) -> ControlFlow<B>,
    ) -> Option<Result<B, End<M::Error>>> {
        SCRATCH.with_borrow_mut(|scratch| match self.wire.read(scratch) {
            Ok(0) => Some(Err(End::Closed)),
            Ok(n) => {
                self.session.count(n, 0);
                self.last_read = n;
                if self.hurry {
                    // Without it the peer waits a little longer, nothing else.
                    let _ = tcp::acknowledge_now(self.wire.socket());
                }
                self.feed(scratch.get(..n).unwrap_or_default(), handle)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => None,
            Err(e) => Some(Err(End::Io(e))),
        })
    }

    /// One write of payload that the machine does not have, between its own messages. 0 means
    /// that the socket takes nothing; the task is woken when it does.
    pub fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize> {
        loop {
            if self.wire.poll_writable(cx).is_pending() {
                return Ok(0);
            }
            match self.wire.write(bytes) {
                Ok(n) => {
                    self.session.count(0, n);
                    return Ok(n);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Sends what the machine has and `bytes` behind it, with one call where the socket takes them.
    /// How many of `bytes` it took; 0 means that it takes nothing, as with [`write`](Self::write).
    pub fn write_behind(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let ahead = self.machine.send_buf();
            if ahead.is_empty() {
                return self.write(cx, bytes);
            }
            if self.wire.poll_writable(cx).is_pending() {
                return Ok(0);
            }
            let ahead_len = ahead.len();
            match self.wire.write_both(ahead, bytes) {
                Ok(n) => {
                    self.session.count(0, n);
                    self.machine.send_done(n.min(ahead_len));
                    if n > ahead_len {
                        return Ok(n - ahead_len);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Sends what is left, says that nothing more comes, and waits a moment for the peer to read
    /// it: a socket that is closed while the peer still sends throws the last reply away.
    pub async fn close(&mut self) {
        within(LINGER, async {
            if self.flush().await.is_err() {
                return;
            }
            if poll_fn(|cx| self.wire.poll_finish(cx)).await.is_err() {
                return;
            }
            let mut taken = 0;
            while taken < LINGER_BYTES {
                poll_fn(|cx| self.wire.poll_readable(cx)).await;
                let read = SCRATCH.with_borrow_mut(|scratch| self.wire.read(scratch));
                match read {
                    Ok(0) => return,
                    Ok(n) => taken += n,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        })
        .await;
    }

    /// Gives `input` to the machine; what stands behind an event that breaks is kept.
    fn feed<B>(
        &mut self,
        mut input: &[u8],
        handle: &mut impl FnMut(&mut M, M::Event) -> ControlFlow<B>,
    ) -> Option<Result<B, End<M::Error>>> {
        loop {
            match self.machine.receive(&mut input) {
                Ok(None) => {
                    // A machine that waits for its owner's answer takes no more.
                    self.rest = input.to_vec();
                    return None;
                }
                Ok(Some(event)) => {
                    if let ControlFlow::Break(value) = handle(&mut self.machine, event) {
                        self.rest = input.to_vec();
                        self.broke = true;
                        return Some(Ok(value));
                    }
                }
                Err(e) => return Some(Err(End::Protocol(e))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::session::Registry;
    use crate::io::run::{run, sleep};
    use std::convert::Infallible;
    use std::io::Read;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    /// Says what it is given.
    struct Speaker(Vec<u8>);

    impl Machine for Speaker {
        type Event = ();
        type Error = Infallible;

        fn receive(&mut self, _: &mut &[u8]) -> Result<Option<()>, Infallible> {
            Ok(None)
        }

        fn send_buf(&self) -> &[u8] {
            &self.0
        }

        fn send_done(&mut self, n: usize) {
            self.0.drain(..n);
        }
    }

    #[test]
    fn what_the_machine_has_goes_ahead_of_what_is_behind_it() {
        let head: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
        let body: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 253) as u8).collect();
        let whole = [head.clone(), body.clone()].concat();
        let got = run(|_| async move {
            let listener = tcp::listen(Some(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
            let mut peer = TcpStream::connect(listener.address().unwrap()).unwrap();
            let reader = std::thread::spawn(move || {
                // The sender fills both buffers first.
                std::thread::sleep(Duration::from_millis(50));
                let mut got = Vec::new();
                peer.read_to_end(&mut got).map(|_| got)
            });
            let (socket, ip) = listener.accept().await.unwrap();
            // Smaller than the head.
            tcp::set_send_buffer(socket.get_ref(), 8192).unwrap();
            let session = Rc::new(Registry::default()).enter(1, ip);
            let mut link = Link::new(socket, Speaker(head), session);
            let (mut taken, mut refusals) = (0, 0);
            while taken < body.len() {
                link.writable().await.unwrap();
                match poll_fn(|cx| Poll::Ready(link.write_behind(cx, &body[taken..]))).await {
                    Ok(0) => refusals += 1,
                    Ok(n) => taken += n,
                    Err(e) => panic!("{e}"),
                }
            }
            assert!(refusals > 0, "the socket was full");
            assert_eq!(link.traffic().1 as usize, 3_300_000);
            drop(link);
            while !reader.is_finished() {
                sleep(Duration::from_millis(5)).await;
            }
            reader.join().unwrap().unwrap()
        });
        assert!(got.unwrap() == whole, "the bytes in their order");
    }
}
