//! What the thread waits for: sockets and deadlines, by one `epoll_wait`.
//!
//! async-io, on which the other crates of this family stand, keeps one reactor for all threads of
//! a process. It re-arms each socket after each event, sets a timer descriptor before each wait,
//! and hands the reactor to and fro between its own thread and ours: ten system calls for a packet
//! of a publisher where one is needed. Here sockets belong to one thread. They are registered
//! once, edge-triggered, and tell themselves whether another read is worth a system call;
//! deadlines are the timeout of the wait. async-io goes on to serve signals and child processes.
//!
//! A camera's picture comes as a dozen packets, each of which would end a wait. Sockets of datagrams,
//! and connections to cameras, are in an epoll of their own, which is one event of the other: after
//! the first packet there is a rest before all that came are taken.

use crate::io::clock;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use rustix::time::Timespec;
use smol::LocalExecutor;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Events that one wait can bring; the rest comes with the next. 16 bytes each, on the stack.
const EVENTS: usize = 256;
/// Ordinary tasks between two looks at events and urgent tasks: a player's write takes some 7 µs.
const ORDINARY_A_TURN: usize = 16;
/// The event that another thread sends to end a wait.
const NOTIFY: u64 = u64::MAX;
/// The event that a patient socket has one.
const PATIENT: u64 = u64::MAX - 1;
/// From the first event of a patient socket to the look at all of them, in milliseconds: what comes
/// meanwhile at 100 Mbit/s fits into the 208 KB that Linux gives a socket unless it is told more,
/// and at 400 Mbit/s into [`DATAGRAM_RCVBUF`](crate::limits::DATAGRAM_RCVBUF). A picture's datagrams
/// are one look then, and a sound's with them.
const REST_MS: u64 = 10;
const ONCE: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::ONESHOT);
const READ: epoll::EventFlags =
    epoll::EventFlags::IN.union(epoll::EventFlags::RDHUP).union(epoll::EventFlags::ET);
const WRITE: epoll::EventFlags = epoll::EventFlags::OUT.union(epoll::EventFlags::ET);

thread_local! {
    static REACTOR: RefCell<Option<Rc<Reactor>>> = const { RefCell::new(None) };
}

/// The reactor of this thread, made when it is first asked for.
fn reactor() -> io::Result<Rc<Reactor>> {
    REACTOR.with_borrow_mut(|slot| {
        if let Some(reactor) = slot {
            return Ok(reactor.clone());
        }
        let reactor = Rc::new(Reactor::new()?);
        *slot = Some(reactor.clone());
        Ok(reactor)
    })
}

/// Runs the tasks of two executors, and waits for what they wait for, until `done`. Tasks of the
/// first never wait for those of the second, but for [`ORDINARY_A_TURN`] of them.
pub(super) fn drive(
    urgent: &LocalExecutor<'_>,
    ordinary: &LocalExecutor<'_>,
    done: impl Fn() -> bool,
) -> io::Result<()> {
    let reactor = reactor()?;
    let waker = Waker::from(reactor.notifier.clone());
    let mut task = Context::from_waker(&waker);
    loop {
        while urgent.try_tick() {}
        if done() {
            return Ok(());
        }
        let ran = (0..ORDINARY_A_TURN).take_while(|_| ordinary.try_tick()).count();
        if ran == ORDINARY_A_TURN {
            // There may be more.
            reactor.turn(false)?;
            continue;
        }
        if ran > 0 && done() {
            return Ok(());
        }
        // Other threads may wake tasks, too: from here on that ends the wait.
        reactor.notifier.woken.store(false, Ordering::SeqCst);
        let mut ticks = (pin!(urgent.tick()), pin!(ordinary.tick()));
        let none = ticks.0.as_mut().poll(&mut task).is_pending()
            && ticks.1.as_mut().poll(&mut task).is_pending();
        reactor.turn(none)?;
    }
}

#[derive(Debug)]
struct Reactor {
    epoll: OwnedFd,
    /// What patient sockets are in.
    patient: OnceCell<OwnedFd>,
    rest: Cell<Rest>,
    sources: RefCell<Vec<Option<Rc<Readiness>>>>,
    free: RefCell<Vec<usize>>,
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
    next_timer: Cell<u64>,
    notifier: Arc<Notifier>,
}

/// How far patient sockets are.
#[derive(Debug, Clone, Copy)]
enum Rest {
    /// One that has an event ends the wait.
    Armed,
    /// One had an event: they are looked at then, in milliseconds of the clock.
    Until(u64),
    /// They were looked at; whom it concerned is at work.
    Over,
}

/// Ends a wait from a waker: of this thread, where a flag is enough, or of another.
#[derive(Debug)]
struct Notifier {
    event: OwnedFd,
    woken: AtomicBool,
    waiting: AtomicBool,
}

impl Wake for Notifier {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::SeqCst) && self.waiting.load(Ordering::SeqCst) {
            // Fails only when the counter is full: then the wait ends anyway.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }
}

impl Reactor {
    fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &event, epoll::EventData::new_u64(NOTIFY), flags)?;
        let (woken, waiting) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self {
            epoll,
            patient: OnceCell::new(),
            rest: Cell::new(Rest::Armed),
            sources: RefCell::default(),
            free: RefCell::default(),
            timers: RefCell::default(),
            next_timer: Cell::new(0),
            notifier: Arc::new(Notifier { event, woken, waiting }),
        })
    }

    /// Takes events and deadlines that are there, and wakes whom they concern. With `wait` it
    /// waits for the first, unless another thread woke a task.
    fn turn(&self, wait: bool) -> io::Result<()> {
        if let (Rest::Over, Some(patient)) = (self.rest.get(), self.patient.get()) {
            self.rest.set(Rest::Armed);
            let data = epoll::EventData::new_u64(PATIENT);
            epoll::modify(&self.epoll, patient, data, ONCE)?;
        }
        let mut timeout = Some(0);
        if wait {
            self.notifier.waiting.store(true, Ordering::SeqCst);
            if !self.notifier.woken.load(Ordering::SeqCst) {
                timeout = self.timeout();
            }
        }
        let timeout = timeout
            .map(|ms| Timespec { tv_sec: (ms / 1000) as _, tv_nsec: (ms % 1000 * 1_000_000) as _ });
        let waited = self.take_events(&self.epoll, timeout.as_ref());
        self.notifier.waiting.store(false, Ordering::SeqCst);
        if !waited? {
            return Ok(());
        }
        if let (Rest::Until(at), Some(patient)) = (self.rest.get(), self.patient.get())
            && at <= clock::now()
        {
            self.rest.set(Rest::Over);
            self.take_events(patient, Some(&Timespec::default()))?;
        }
        self.fire();
        Ok(())
    }

    /// Delivers what `epoll` has, after a wait if there is nothing. False when a signal came in
    /// between: deadlines that passed while the process was stopped are for after what has come.
    fn take_events(&self, epoll: &OwnedFd, timeout: Option<&Timespec>) -> io::Result<bool> {
        let mut buffer = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS];
        let events = match epoll::wait(epoll, &mut buffer[..], timeout) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(false),
            Err(e) => return Err(e.into()),
        };
        for event in events {
            let (data, flags) = (event.data, event.flags);
            if data.u64() == PATIENT {
                self.rest.set(Rest::Until(clock::now() + REST_MS));
                continue;
            }
            let source = usize::try_from(data.u64())
                .ok()
                .and_then(|index| self.sources.borrow().get(index)?.clone());
            if let Some(source) = source {
                source.deliver(flags);
            }
        }
        Ok(true)
    }

    /// Milliseconds to the next deadline.
    fn timeout(&self) -> Option<u64> {
        let timer = self.timers.borrow().keys().next().map(|(at, _)| *at);
        let look = if let Rest::Until(at) = self.rest.get() { Some(at) } else { None };
        let at = timer.into_iter().chain(look).min()?;
        Some(at.saturating_sub(clock::now()))
    }

    /// What patient sockets are in, made with the first of them.
    fn patient(&self) -> io::Result<&OwnedFd> {
        if let Some(patient) = self.patient.get() {
            return Ok(patient);
        }
        let patient = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&self.epoll, &patient, epoll::EventData::new_u64(PATIENT), ONCE)?;
        Ok(self.patient.get_or_init(|| patient))
    }

    fn fire(&self) {
        let mut timers = self.timers.borrow_mut();
        if timers.is_empty() {
            return;
        }
        let now = clock::now();
        while let Some(first) = timers.first_entry()
            && first.key().0 <= now
        {
            first.remove().wake();
        }
    }
}

/// Whether a socket is worth a read or a write, and who waits for it.
#[derive(Debug, Default)]
struct Readiness {
    readable: Cell<bool>,
    writable: Cell<bool>,
    /// The peer closed its side, or the socket failed: reads give the rest, then the end.
    hung_up: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
}

impl Readiness {
    fn deliver(&self, flags: epoll::EventFlags) {
        use epoll::EventFlags as E;
        if flags.intersects(E::RDHUP | E::HUP | E::ERR) {
            self.hung_up.set(true);
        }
        if flags.intersects(E::IN | E::RDHUP | E::HUP | E::ERR) {
            self.readable.set(true);
            if let Some(waker) = self.reader.take() {
                waker.wake();
            }
        }
        if flags.intersects(E::OUT | E::HUP | E::ERR) {
            self.writable.set(true);
            if let Some(waker) = self.writer.take() {
                waker.wake();
            }
        }
    }
}

/// A socket that does not block, on this thread's reactor.
#[derive(Debug)]
pub struct Evented<T: AsFd> {
    socket: T,
    index: usize,
    patient: Cell<bool>,
    readiness: Rc<Readiness>,
    reactor: Rc<Reactor>,
}

impl<T: AsFd> Evented<T> {
    /// Registers `socket`, which is in non-blocking mode.
    pub fn new(socket: T) -> io::Result<Self> {
        Self::register(socket, false)
    }

    /// The same for one whose reader may be woken [`REST_MS`] late. Its writer never is.
    pub fn patient(socket: T) -> io::Result<Self> {
        Self::register(socket, true)
    }

    fn register(socket: T, patient: bool) -> io::Result<Self> {
        let reactor = reactor()?;
        let readiness = Rc::new(Readiness { writable: Cell::new(true), ..Readiness::default() });
        let index = {
            let mut sources = reactor.sources.borrow_mut();
            let free = reactor.free.borrow_mut().pop();
            let index = free.unwrap_or_else(|| {
                sources.push(None);
                sources.len() - 1
            });
            sources[index] = Some(readiness.clone());
            index
        };
        let patient = Cell::new(patient);
        let evented = Self { socket, index, patient, readiness, reactor };
        let data = epoll::EventData::new_u64(index as u64);
        if evented.patient.get() {
            epoll::add(evented.reactor.patient()?, &evented.socket, data, READ)?;
        } else {
            epoll::add(&evented.reactor.epoll, &evented.socket, data, READ | WRITE)?;
        }
        Ok(evented)
    }

    /// From now on its reader may be woken [`REST_MS`] late. A socket that the system has no room
    /// for there stays as it was.
    pub fn be_patient(&self) {
        let data = || epoll::EventData::new_u64(self.index as u64);
        let Ok(patient) = self.reactor.patient() else { return };
        if !self.patient.get() && epoll::add(patient, &self.socket, data(), READ).is_ok() {
            self.patient.set(true);
            // Cannot fail for a socket that is in it.
            let _ = epoll::modify(&self.reactor.epoll, &self.socket, data(), WRITE);
        }
    }

    /// The socket.
    pub fn get_ref(&self) -> &T {
        &self.socket
    }

    /// Ready when a read is worth it; else the task is woken when it is.
    pub fn poll_readable(&self, task: &Context<'_>) -> Poll<()> {
        Self::poll_flag(&self.readiness.readable, &self.readiness.reader, task)
    }

    /// Ready when a write is worth it; else the task is woken when it is.
    pub fn poll_writable(&self, task: &Context<'_>) -> Poll<()> {
        Self::poll_flag(&self.readiness.writable, &self.readiness.writer, task)
    }

    /// A read brought less than there was room for, or nothing: there is no more for now. The
    /// end of a stream that hung up has to be read, too, and stays worth a read.
    pub fn is_drained(&self) {
        self.readiness.readable.set(self.readiness.hung_up.get());
    }

    /// There is nothing to read, hung up or not.
    pub fn would_block_read(&self) {
        self.readiness.readable.set(false);
    }

    /// There may be something to read already that nobody was told of.
    pub fn look(&self) {
        self.readiness.readable.set(true);
    }

    /// A write was refused, or took less than it was given: the socket is full.
    pub fn is_full(&self) {
        self.readiness.writable.set(false);
    }

    fn poll_flag(flag: &Cell<bool>, slot: &RefCell<Option<Waker>>, task: &Context<'_>) -> Poll<()> {
        if flag.get() {
            return Poll::Ready(());
        }
        let mut slot = slot.borrow_mut();
        if slot.as_ref().is_none_or(|waker| !waker.will_wake(task.waker())) {
            *slot = Some(task.waker().clone());
        }
        Poll::Pending
    }
}

impl<T: AsFd> Drop for Evented<T> {
    fn drop(&mut self) {
        // The descriptor is closed right after; a duplicate of it must not bring events, either.
        if let Some(patient) = self.reactor.patient.get().filter(|_| self.patient.get()) {
            let _ = epoll::delete(patient, &self.socket);
        }
        let _ = epoll::delete(&self.reactor.epoll, &self.socket);
        if let Some(slot) = self.reactor.sources.borrow_mut().get_mut(self.index) {
            *slot = None;
        }
        self.reactor.free.borrow_mut().push(self.index);
    }
}

/// A deadline on this thread's reactor. Set it, then poll it.
#[derive(Debug, Default)]
pub(super) struct Timer {
    /// What it is entered as.
    key: Option<(u64, u64)>,
    /// When it is over, in milliseconds of the clock.
    at: Option<u64>,
}

impl Timer {
    /// Over at `at`, in milliseconds of the clock.
    pub(super) fn set(&mut self, at: u64) {
        if self.at != Some(at) {
            self.cancel();
            self.at = Some(at);
        }
    }

    /// Ready when the deadline is over. One that was never set is never ready.
    pub(super) fn poll(&mut self, task: &Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        if at <= clock::now() {
            self.cancel();
            return Poll::Ready(());
        }
        if self.key.is_none() {
            // Without a reactor there is no task that could wait.
            if let Ok(reactor) = reactor() {
                let id = reactor.next_timer.get();
                reactor.next_timer.set(id.wrapping_add(1));
                reactor.timers.borrow_mut().insert((at, id), task.waker().clone());
                self.key = Some((at, id));
            }
        } else if let (Some(key), Ok(reactor)) = (self.key, reactor()) {
            // Woken by something else: keep the entry, unless it has fired or the task moved.
            let mut timers = reactor.timers.borrow_mut();
            match timers.get_mut(&key) {
                Some(waker) if waker.will_wake(task.waker()) => {}
                _ => {
                    timers.insert(key, task.waker().clone());
                }
            }
        }
        Poll::Pending
    }

    fn cancel(&mut self) {
        self.at = None;
        if let (Some(key), Ok(reactor)) = (self.key.take(), reactor()) {
            reactor.timers.borrow_mut().remove(&key);
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::run::{run, sleep};
    use crate::io::udp::Udp;
    use crate::io::{tcp, wire};
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream, UdpSocket};
    use std::ops::ControlFlow;
    use std::time::Duration;

    /// Waits for a datagram, and takes it with all that came with it.
    async fn burst(socket: &Udp) -> Vec<u8> {
        let mut all = Vec::new();
        poll_fn(|task| {
            let each = |bytes: &[u8], _| {
                all.extend_from_slice(bytes);
                ControlFlow::<()>::Continue(())
            };
            let polled = socket.poll_receive(task, each);
            assert!(polled.is_pending());
            if all.is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        all
    }

    #[test]
    fn datagrams_of_all_sockets_are_taken_together() {
        let armed = run(|_| async {
            let own = Some(Ipv4Addr::LOCALHOST.into());
            let sockets = [0; 2].map(|port| Udp::listen(own, port, "").unwrap());
            let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
            let send = |to: usize, bytes: &[u8]| {
                bytes.iter().for_each(|byte| {
                    peer.send_to(&[*byte], sockets[to].address().unwrap()).unwrap();
                });
            };
            for pause in [0, 3, 30, 200] {
                sleep(Duration::from_millis(pause)).await;
                send(0, b"abc");
                send(1, b"de");
                assert_eq!(burst(&sockets[0]).await, b"abc");
                assert_eq!(burst(&sockets[1]).await, b"de");
            }
            sleep(Duration::from_millis(5 * REST_MS)).await;
            matches!(reactor().unwrap().rest.get(), Rest::Armed)
        });
        assert!(armed.unwrap());
    }

    #[test]
    fn a_connection_that_is_patient_is_read_late_and_written_at_once() {
        let read = run(|_| async {
            let listener = tcp::listen(Some(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
            let mut peer = TcpStream::connect(listener.address().unwrap()).unwrap();
            let (socket, _) = listener.accept().await.unwrap();
            socket.be_patient();
            let mut sent = 0;
            while let Ok(n) = wire::write(&socket, 9000, |mut to| to.write(&[7; 9000])) {
                sent += n;
            }
            let reader = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                peer.read_exact(&mut vec![0; sent]).unwrap();
                peer.write_all(b"abc").unwrap();
                peer
            });
            poll_fn(|task| socket.poll_writable(task)).await;
            poll_fn(|task| socket.poll_readable(task)).await;
            let mut bytes = [0; 9];
            let read = wire::read(&socket, &mut bytes).unwrap();
            drop(reader.join().unwrap());
            poll_fn(|task| socket.poll_readable(task)).await;
            (bytes[..read].to_vec(), wire::read(&socket, &mut bytes).unwrap())
        });
        assert_eq!(read.unwrap(), (b"abc".to_vec(), 0));
    }
}
