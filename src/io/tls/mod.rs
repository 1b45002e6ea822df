//! TLS 1.2 and 1.3 on connections of our own (RFC 5246, RFC 8446), by rustls with ring. Whom to
//! trust: [`trust()`].
//!
//! What is written is encrypted from where it stands into the record that goes to the socket: the
//! one copy that encryption is. What was taken and not yet written to the socket is [`TLS_OUT`] at
//! most, and goes ahead of everything else.

mod fault;
mod sessions;
mod trust;

pub use trust::trust;

use crate::io::run::within;
use crate::io::tcp::Socket;
use crate::io::{random, wire};
use crate::limits::{READ_BUF, TLS_CONNECTIONS, TLS_IN, TLS_OUT};
use crate::media::Decimal;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::task::{Context, Poll, ready};
use std::time::Duration;

// What one read brings, and a record of which all but the end was there, has room in the buffer that
// whoever reads gives.
const _: () = assert!(TLS_IN + RECORD <= READ_BUF);

/// The longest record (RFC 5246 §6.2.3).
const RECORD: usize = 5 + 16 * 1024 + 2048;

thread_local! {
    /// All reads of the thread go through this buffer; rustls by itself takes 4 KB at a time.
    static RAW: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static OPEN: Cell<usize> = const { Cell::new(0) };
}

/// One of [`TLS_CONNECTIONS`].
struct Slot(());

impl Slot {
    fn take() -> Option<Self> {
        let open = OPEN.get();
        (open < TLS_CONNECTIONS).then(|| {
            OPEN.set(open + 1);
            Self(())
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        OPEN.set(OPEN.get().saturating_sub(1));
    }
}

/// A connection with TLS on it.
pub struct Stream {
    socket: Socket,
    session: Box<ClientConnection>,
    /// There may be something to give out for which the socket need not be read.
    left: bool,
    /// We said that nothing more comes.
    over: bool,
    _slot: Slot,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stream").field(&self.socket).finish()
    }
}

/// Makes the handshake on `socket` with the server called `name`, whose certificate has to be valid
/// for that, by the clock of the machine. `limit` is for the handshake. An error is told as text.
pub async fn begin(socket: Socket, name: &str, limit: Duration) -> Result<Stream, String> {
    let seconds = Decimal::short(limit.as_secs_f64());
    let slot = Slot::take()
        .ok_or_else(|| format!("{TLS_CONNECTIONS} connections over TLS are there already"))?;
    let config = within(limit, Box::pin(trust::config())).await;
    let config = config.unwrap_or_else(|| {
        Err(format!("whom to trust is not read after {seconds} s, is the disk stuck?"))
    })?;
    let name = name.strip_suffix('.').unwrap_or(name);
    let server = ServerName::try_from(name.to_owned())
        .map_err(|_| format!("`{name}` is no name that a certificate may be for"))?;
    // ring would wait for the system to have some, and everybody with it.
    random::bytes::<1>().map_err(|e| e.to_string())?;
    let mut session = ClientConnection::new(config, server).map_err(|e| fault::text(&e))?;
    session.set_buffer_limit(Some(TLS_OUT));
    let session = Box::new(session);
    let mut stream = Stream { socket, session, left: true, over: false, _slot: slot };
    let done = within(limit, poll_fn(|task| stream.poll_handshake(task))).await;
    done.unwrap_or_else(|| Err(format!("no answer to the TLS handshake after {seconds} s")))?;
    Ok(stream)
}

impl Stream {
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    fn poll_handshake(&mut self, task: &Context<'_>) -> Poll<Result<(), String>> {
        loop {
            // What does not fit the socket now goes when it does.
            if let Poll::Ready(Err(e)) = self.poll_flush(task) {
                return Poll::Ready(Err(fault::handshake(&e)));
            }
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.socket.poll_readable(task));
            // No more than rustls takes at once, so that nothing behind the handshake is lost.
            match self.session.read_tls(&mut self.socket.get_ref()) {
                Ok(0) => {
                    let text = "the server closed the connection in the TLS handshake";
                    return Poll::Ready(Err(text.into()));
                }
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.socket.would_block_read(),
                Err(e) => return Poll::Ready(Err(fault::handshake(&e))),
            }
            if let Err(e) = self.session.process_new_packets() {
                // The server is told why, if it still listens.
                let _ = self.push();
                return Poll::Ready(Err(fault::text(&e)));
            }
        }
    }

    pub(super) fn poll_readable(&self, task: &Context<'_>) -> Poll<()> {
        if self.left { Poll::Ready(()) } else { self.socket.poll_readable(task) }
    }

    /// `out` has room for [`READ_BUF`] bytes, so that nothing decrypted is ever left behind.
    pub(super) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.left) {
            self.session.process_new_packets().map_err(|e| fault::io(&e))?;
            match self.session.reader().read(out) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Ok(0) => return Ok(0),
                Ok(n) => {
                    self.left = true;
                    return Ok(n);
                }
                Err(e) => return Err(fault::cut(e)),
            }
        }
        RAW.with_borrow_mut(|raw| {
            raw.resize(TLS_IN, 0);
            let n = wire::read(&self.socket, raw)?;
            self.decrypt(raw.get(..n).unwrap_or_default(), out)
        })
    }

    /// What `input` brings; nothing of it is the end of the connection.
    fn decrypt(&mut self, mut input: &[u8], out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        loop {
            let taken = self.session.read_tls(&mut input)?;
            let state = self.session.process_new_packets();
            loop {
                let room = out.get_mut(filled..).unwrap_or_default();
                match self.session.reader().read(room) {
                    Ok(0) | Err(_) => break,
                    Ok(n) => filled = filled.saturating_add(n),
                }
            }
            // Keys that change, and what was wrong. With a full socket it goes later.
            match self.push() {
                Err(e) if e.kind() != ErrorKind::WouldBlock && state.is_ok() => return Err(e),
                _ => {}
            }
            let ended = match state {
                Ok(state) => state.peer_has_closed(),
                Err(e) if filled == 0 => return Err(fault::io(&e)),
                Err(_) => true,
            };
            if ended || taken == 0 || input.is_empty() {
                // It is told by the next read, if there is something to tell first.
                self.left = filled > 0 && (ended || taken == 0);
                break;
            }
        }
        if filled > 0 {
            return Ok(filled);
        }
        self.session.reader().read(out).map_err(fault::cut)
    }

    /// Takes until the socket is full, [`TLS_OUT`] at a time.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.push()?;
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut taken = self.session.writer().write_vectored(slices)?;
        let single = if let [slice] = slices { &**slice } else { &[] };
        loop {
            match self.push() {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(taken),
                Err(e) => return Err(e),
            }
            let rest = single.get(taken..).unwrap_or_default();
            if taken >= len || rest.is_empty() {
                return Ok(taken);
            }
            taken = taken.saturating_add(self.session.writer().write(rest)?);
        }
    }

    pub(super) fn poll_flush(&mut self, task: &Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.session.wants_write() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.socket.poll_writable(task));
            match self.push() {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                pushed => return Poll::Ready(pushed),
            }
        }
    }

    /// Says that nothing more comes, so that the server does not take it for a cut.
    pub(super) fn poll_farewell(&mut self, task: &Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.over, true) {
            self.session.send_close_notify();
        }
        self.poll_flush(task)
    }

    /// Writes what is encrypted; [`ErrorKind::WouldBlock`] when some of it is left.
    fn push(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket.get_ref()) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    if e.kind() == ErrorKind::WouldBlock {
                        self.socket.is_full();
                    }
                    return Err(e);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
