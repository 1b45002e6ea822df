//! Who is let in: no more connections than there may be, in all and from one address, and none at
//! all once the server leaves.

use crate::io::clock;
use core::net::{IpAddr, Ipv6Addr};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// The doors of the process.
#[derive(Debug, Default)]
pub(super) struct Admission {
    closed: Cell<bool>,
    wakers: RefCell<Vec<Waker>>,
    /// Connections of an address, while `max_connections_per_ip` counts them: one entry for each
    /// connection at most.
    counts: RefCell<HashMap<IpAddr, u32>>,
    /// Connections whose client the proxy has not named yet.
    unnamed: Cell<usize>,
    refused: Refused,
}

/// Refusals in the log: one line a second at most.
#[derive(Debug, Default)]
struct Refused {
    since: Cell<u32>,
    told: Cell<Option<u64>>,
}

/// A connection that is counted; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Rc<Admission>,
    /// What it counts for.
    address: Option<IpAddr>,
}

impl Admission {
    /// Nobody is let in any more: listeners end.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.wakers.take().into_iter().for_each(Waker::wake);
    }

    /// Waits for [`close`](Self::close).
    pub(super) async fn closed(&self) {
        poll_fn(|task| {
            if self.closed.get() {
                return Poll::Ready(());
            }
            let mut wakers = self.wakers.borrow_mut();
            if !wakers.iter().any(|waker| waker.will_wake(task.waker())) {
                wakers.push(task.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Connections that are not sessions yet.
    pub(super) fn unnamed(&self) -> usize {
        self.unnamed.get()
    }

    /// Counts a connection whose client is to be named by a proxy.
    pub(super) fn await_name(self: &Rc<Self>) -> Place {
        self.unnamed.set(self.unnamed.get() + 1);
        Place { admission: self.clone(), address: None }
    }

    /// A place for a connection of `peer`, of which there may be `most`; 0 for any number. Else
    /// how many were refused that the log does not know of, unless it was told a moment ago.
    pub(super) fn admit(
        self: &Rc<Self>,
        peer: IpAddr,
        most: u32,
    ) -> Result<Option<Place>, Option<u32>> {
        if most == 0 {
            return Ok(None);
        }
        let address = counted_as(peer);
        let mut counts = self.counts.borrow_mut();
        let count = counts.entry(address).or_default();
        if *count >= most {
            return Err(self.refused.count());
        }
        *count += 1;
        Ok(Some(Place { admission: self.clone(), address: Some(address) }))
    }
}

impl Refused {
    fn count(&self) -> Option<u32> {
        let (count, now) = (self.since.get().saturating_add(1), clock::now());
        if self.told.get().is_some_and(|told| now < told + QUIET_MS) {
            self.since.set(count);
            return None;
        }
        self.since.set(0);
        self.told.set(Some(now));
        Some(count)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.address else {
            let unnamed = &self.admission.unnamed;
            return unnamed.set(unnamed.get().saturating_sub(1));
        };
        let mut counts = self.admission.counts.borrow_mut();
        if let Some(count) = counts.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

/// A client with IPv6 has a whole /64 of addresses.
fn counted_as(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> 64)).into(),
    }
}

/// Between two lines about refused connections, in milliseconds.
const QUIET_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_as_many_places_as_it_may() {
        let admission = Rc::new(Admission::default());
        let first = admission.admit(ip("192.0.2.1"), 2).unwrap();
        let second = admission.admit(ip("192.0.2.1"), 2).unwrap();
        assert_eq!(admission.admit(ip("192.0.2.1"), 2).unwrap_err(), Some(1), "it is told");
        assert_eq!(admission.admit(ip("192.0.2.1"), 2).unwrap_err(), None, "not so often");
        assert!(admission.admit(ip("192.0.2.2"), 2).is_ok(), "others have theirs");
        assert!(admission.admit(ip("192.0.2.1"), 0).unwrap().is_none(), "0 is no bound");
        drop(first);
        let third = admission.admit(ip("192.0.2.1"), 2).unwrap();
        drop((second, third));
        assert!(admission.counts.borrow().is_empty(), "no entry is left behind");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let admission = Rc::new(Admission::default());
        let _one = admission.admit(ip("2001:db8:0:1::1"), 1).unwrap();
        assert!(admission.admit(ip("2001:db8:0:1:ffff::2"), 1).is_err());
        assert!(admission.admit(ip("2001:db8:0:2::1"), 1).is_ok());
    }
}
