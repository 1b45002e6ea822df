//! What is known of each connection of ours to another server: for the log, the API and metrics.

use crate::context::Context;
use crate::hub::StreamKey;
use crate::hub::session::{Registry, Session};
use crate::io::run::sleep;
use crate::io::{clock, log as tank};
use crate::limits::{UPSTREAM_DOWN, UPSTREAMS_DOWN};
pub use crate::service::upstreams::{Kind, Report};
use core::net::IpAddr;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// The same while it is there.
#[derive(Debug)]
pub struct State {
    report: RefCell<Report>,
    session: RefCell<Option<Rc<Session>>>,
    begun: Cell<bool>,
}

impl State {
    /// A connection stands.
    pub fn connected(&self, server: &str, session: &Rc<Session>) {
        self.settle();
        let mut report = self.report.borrow_mut();
        report.server = server.to_owned();
        report.connected = Some(clock::now());
        report.restarts += u32::from(self.begun.replace(true));
        *self.session.borrow_mut() = Some(session.clone());
    }

    /// It ended, or was not made.
    pub fn failed(&self, why: &impl ToString) {
        self.settle();
        let mut report = self.report.borrow_mut();
        report.connected = None;
        report.error = why.to_string();
    }

    /// The configuration has another server for it.
    pub fn rename(&self, name: &str) {
        name.clone_into(&mut self.report.borrow_mut().name);
    }

    /// Packets that were left out so far.
    pub fn set_skipped(&self, packets: u64) {
        self.report.borrow_mut().skipped = packets;
    }

    /// How it is doing.
    pub fn report(&self) -> Report {
        let mut report = self.report.borrow().clone();
        if let Some(session) = &*self.session.borrow() {
            let (received, sent) = session.traffic();
            report.traffic.0 += received;
            report.traffic.1 += sent;
        }
        report
    }

    /// Adds what the last connection brought to the sum.
    fn settle(&self) {
        if let Some(session) = self.session.take() {
            let (received, sent) = session.traffic();
            let traffic = &mut self.report.borrow_mut().traffic;
            (traffic.0, traffic.1) = (traffic.0 + received, traffic.1 + sent);
        }
    }
}

/// All of them, and what they share.
#[derive(Debug, Default)]
pub struct Relays {
    registry: Rc<Registry>,
    states: RefCell<Vec<Weak<State>>>,
    /// Servers that could not be reached, and until when that counts.
    down: RefCell<HashMap<String, u64>>,
    swept: Cell<bool>,
}

impl Relays {
    /// How those are doing whose kind is wanted, in the order in which they began.
    pub fn reports(&self, wanted: impl Fn(Kind) -> bool) -> Vec<Report> {
        let states = self.states.borrow();
        let reports = states.iter().filter_map(Weak::upgrade).map(|state| state.report());
        reports.filter(|report| wanted(report.kind)).collect()
    }

    /// Enters one; it leaves when it is dropped.
    pub fn enter(&self, kind: Kind, key: &StreamKey, server: &str) -> Rc<State> {
        let report = Report {
            kind,
            key: key.clone(),
            id: tank::id(),
            name: server.to_owned(),
            server: server.to_owned(),
            connected: None,
            traffic: (0, 0),
            skipped: 0,
            restarts: 0,
            error: String::new(),
        };
        let (report, session) = (RefCell::new(report), RefCell::default());
        let state = Rc::new(State { report, session, begun: Cell::new(false) });
        let mut states = self.states.borrow_mut();
        states.retain(|state| state.strong_count() > 0);
        states.push(Rc::downgrade(&state));
        state
    }

    /// A session for a connection of ours, which is no client: it is in no list of clients, but its
    /// deadlines are watched.
    pub(super) fn session(self: &Rc<Self>, cx: &Context, peer: IpAddr) -> Rc<Session> {
        if !self.swept.replace(true) {
            let registry = self.registry.clone();
            cx.spawner.spawn(async move {
                loop {
                    sleep(SWEEP).await;
                    registry.sweep(clock::now());
                }
            });
        }
        self.registry.enter(tank::next_id(), peer)
    }

    pub(super) fn is_down(&self, name: &str) -> bool {
        self.down.borrow().get(name).is_some_and(|until| clock::now() < *until)
    }

    pub(super) fn set_down(&self, name: &str, down: bool) {
        let mut all = self.down.borrow_mut();
        if !down {
            all.remove(name);
            return;
        }
        if all.len() >= UPSTREAMS_DOWN {
            all.clear();
        }
        all.insert(name.to_owned(), clock::after(UPSTREAM_DOWN));
    }
}

const SWEEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn a_report_has_the_sum_of_all_connections_and_what_went_wrong() {
        let relays = Relays::default();
        let key = StreamKey::new("v", "live", "s");
        let state = relays.enter(Kind::Forward, &key, "a:1935");
        let registry = Rc::new(Registry::default());
        for (id, bytes) in [(1, 100), (2, 30)] {
            let session = registry.enter(id, Ipv4Addr::LOCALHOST.into());
            state.connected("a:1935 (127.0.0.1:1935)", &session);
            session.count(5, bytes);
        }
        state.set_skipped(7);
        let reports = relays.reports(|_| true);
        assert_eq!(reports.len(), 1);
        let report = &reports[0];
        assert_eq!((report.traffic, report.restarts, report.skipped), ((10, 130), 1, 7));
        assert!(report.connected.is_some() && report.error.is_empty());
        assert_eq!((report.kind.name(), &report.key), ("forward", &key));
        state.failed(&"refused");
        let report = state.report();
        assert_eq!(
            (report.connected, &*report.error, report.traffic),
            (None, "refused", (10, 130))
        );
        drop(state);
        assert!(relays.reports(|_| true).is_empty());
    }

    #[test]
    fn what_cannot_be_reached_is_remembered_within_bounds() {
        let relays = Relays::default();
        relays.set_down("a", true);
        assert!(relays.is_down("a") && !relays.is_down("b"));
        relays.set_down("a", false);
        assert!(!relays.is_down("a"));
        for i in 0..10 * UPSTREAMS_DOWN {
            relays.set_down(&i.to_string(), true);
        }
        assert!(relays.down.borrow().len() <= UPSTREAMS_DOWN);
    }
}
