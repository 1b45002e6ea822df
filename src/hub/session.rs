//! The connections of a thread: who they are, until when something must happen, who has to go.

use super::{ById, Client};
use core::net::IpAddr;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::task::Waker;

/// Why a connection is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kick {
    /// What it was waiting for did not happen in time.
    Timeout(&'static str),
    /// An operator wants it.
    Operator,
    /// Another publisher took its stream over.
    Takeover,
    /// A reload took its vhost away, or made another thing of it.
    Vhost,
    /// The server that its stream is passed on to does not take it.
    Upstream,
    /// A reload took away what took it in, or changed it.
    Input,
    /// The server stops.
    Shutdown,
}

impl fmt::Display for Kick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(what) => write!(f, "timeout, {what}"),
            Self::Operator => f.write_str("kicked by the operator"),
            Self::Vhost => f.write_str("its vhost is gone"),
            Self::Input => f.write_str("a reload changed what takes it in"),
            Self::Takeover => f.write_str("another publisher took the stream over"),
            Self::Upstream => f.write_str("the origin does not take the stream any more"),
            Self::Shutdown => f.write_str("server stops"),
        }
    }
}

/// One connection, seen from outside its task.
#[derive(Debug)]
pub struct Session {
    id: u32,
    peer: Cell<IpAddr>,
    deadline: Cell<Option<(u64, &'static str)>>,
    kick: Cell<Option<Kick>>,
    leave: Cell<Leave>,
    waker: RefCell<Option<Waker>>,
    client: RefCell<Option<Rc<Client>>>,
    /// Bytes received and sent.
    traffic: Cell<(u64, u64)>,
    registry: Weak<Registry>,
}

/// Whether the server leaves, and the connection knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Leave {
    #[default]
    No,
    Asked,
    Told,
}

impl Session {
    /// The connection id, as in its log lines.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The client's address: that of the peer, or what a proxy that is believed says.
    pub fn peer(&self) -> IpAddr {
        self.peer.get()
    }

    /// A proxy says who its client is.
    pub fn set_peer(&self, peer: IpAddr) {
        self.peer.set(peer);
    }

    /// What it does; nothing before it asked for anything.
    pub fn client(&self) -> Option<Rc<Client>> {
        self.client.borrow().clone()
    }

    /// What it does from now on.
    pub fn set_client(&self, client: Rc<Client>) {
        *self.client.borrow_mut() = Some(client);
    }

    /// What it did last; from now on it does nothing any more.
    pub fn take_client(&self) -> Option<Rc<Client>> {
        self.client.take()
    }

    /// Bytes received and sent so far.
    pub fn traffic(&self) -> (u64, u64) {
        self.traffic.get()
    }

    /// Counts bytes that were received and sent.
    pub fn count(&self, received: usize, sent: usize) {
        let (before, after) = self.traffic.get();
        self.traffic.set((before + received as u64, after + sent as u64));
    }

    /// Ends the connection unless another deadline is set by then. `at` is in milliseconds of the
    /// owner's clock; it is looked at once a second.
    pub fn expect(&self, at: u64, what: &'static str) {
        self.deadline.set(Some((at, what)));
    }

    /// No deadline any more.
    pub fn relax(&self) {
        self.deadline.set(None);
    }

    /// Whether a deadline is set.
    pub fn is_expecting(&self) -> bool {
        self.deadline.get().is_some()
    }

    /// Ends the connection at its next poll, which this causes.
    pub fn kick(&self, why: Kick) {
        if self.kick.get().is_none() {
            self.kick.set(Some(why));
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Asks the connection to end when that does no harm, as the server leaves.
    pub fn leave(&self) {
        if self.leave.get() == Leave::No {
            self.leave.set(Leave::Asked);
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether the server leaves.
    pub fn is_leaving(&self) -> bool {
        self.leave.get() != Leave::No
    }

    /// The same, for the first time only: the peer is to be told.
    pub fn take_leave(&self) -> bool {
        let asked = self.leave.get() == Leave::Asked;
        if asked {
            self.leave.set(Leave::Told);
        }
        asked
    }

    /// Why the connection has to end, if it has.
    pub fn kicked(&self) -> Option<Kick> {
        self.kick.get()
    }

    /// Whom to wake when it is kicked: the connection's task, at each of its polls.
    pub fn set_waker(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        if slot.as_ref().is_none_or(|w| !w.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.sessions.borrow_mut().remove(self.id);
        }
    }
}

/// All connections of a thread, by id.
#[derive(Debug, Default)]
pub struct Registry {
    sessions: RefCell<ById<Weak<Session>>>,
    leaving: Cell<bool>,
}

impl Registry {
    /// Enters a connection; it leaves when the last reference to it is gone.
    pub fn enter(self: &Rc<Self>, id: u32, peer: IpAddr) -> Rc<Session> {
        let session = Rc::new(Session {
            id,
            peer: Cell::new(peer),
            deadline: Cell::new(None),
            kick: Cell::new(None),
            leave: Cell::new(if self.leaving.get() { Leave::Asked } else { Leave::No }),
            waker: RefCell::new(None),
            client: RefCell::new(None),
            traffic: Cell::new((0, 0)),
            registry: Rc::downgrade(self),
        });
        self.sessions.borrow_mut().insert(id, Rc::downgrade(&session));
        session
    }

    /// Connections now.
    pub fn len(&self) -> usize {
        self.sessions.borrow().len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The connection called `id`.
    pub fn find(&self, id: u32) -> Option<Rc<Session>> {
        self.sessions.borrow().get(id)?.upgrade()
    }

    /// Ends every connection whose deadline is over at `now`.
    pub fn sweep(&self, now: u64) {
        for session in self.all() {
            if let Some((at, what)) = session.deadline.get()
                && at <= now
            {
                session.relax();
                session.kick(Kick::Timeout(what));
            }
        }
    }

    /// Ends every connection.
    pub fn kick_all(&self, why: Kick) {
        for session in self.all() {
            session.kick(why);
        }
    }

    /// Whether all were asked to end: the server leaves.
    pub fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Asks every connection to end, also those that begin from here on.
    pub fn leave(&self) {
        self.leaving.set(true);
        for session in self.all() {
            session.leave();
        }
    }

    /// All connections, by id.
    pub fn all(&self) -> Vec<Rc<Session>> {
        self.sessions.borrow().values().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(core::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_deadline_ends_the_session_when_it_is_over_and_not_before() {
        let registry = Rc::new(Registry::default());
        let session = registry.enter(100, PEER);
        session.expect(5000, "handshake");
        registry.sweep(4999);
        assert_eq!(session.kicked(), None);
        registry.sweep(5000);
        assert_eq!(session.kicked(), Some(Kick::Timeout("handshake")));
    }

    #[test]
    fn all_are_asked_to_leave_once() {
        let registry = Rc::new(Registry::default());
        let early = registry.enter(100, PEER);
        assert!(!early.is_leaving() && !early.take_leave() && !registry.is_leaving());
        registry.leave();
        registry.leave();
        assert!(registry.is_leaving());
        let late = registry.enter(101, PEER);
        for session in [early, late] {
            assert!(session.take_leave() && !session.take_leave() && session.is_leaving());
            assert_eq!(session.kicked(), None);
        }
    }

    #[test]
    fn a_session_leaves_when_it_is_dropped() {
        let registry = Rc::new(Registry::default());
        let session = registry.enter(100, PEER);
        assert!(registry.find(100).is_some());
        drop(session);
        assert!(registry.is_empty() && registry.find(100).is_none());
    }
}
