//! How many requests are made at once: in all, and of one vhost, whose server may be dead.

use crate::limits::{FETCHES, HOOK_REQUESTS_VHOST};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

const _: () = assert!(HOOK_REQUESTS_VHOST < FETCHES, "one vhost leaves something for others");

/// Lets requests pass, each vhost's in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Gate {
    used: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Place>>>,
}

/// Somebody who waits.
#[derive(Debug)]
struct Place {
    lane: Rc<Cell<usize>>,
    granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A request may be made as long as this is there.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    gate: &'a Gate,
    lane: Rc<Cell<usize>>,
}

impl Gate {
    /// Waits for a slot. `lane` counts the requests of the vhost.
    pub(super) async fn enter(&self, lane: &Rc<Cell<usize>>) -> Slot<'_> {
        if self.has_room(lane) {
            self.take(lane);
            return Slot { gate: self, lane: lane.clone() };
        }
        let (lane, granted) = (lane.clone(), Cell::new(false));
        let place = Rc::new(Place { lane, granted, waker: RefCell::default() });
        self.waiting.borrow_mut().push_back(place.clone());
        let mut waiting = Waiting { gate: self, place: Some(place) };
        poll_fn(|task| waiting.poll(task.waker())).await;
        let lane = waiting.place.take().map(|place| place.lane.clone()).unwrap_or_default();
        Slot { gate: self, lane }
    }

    fn has_room(&self, lane: &Cell<usize>) -> bool {
        self.used.get() < FETCHES && lane.get() < HOOK_REQUESTS_VHOST
    }

    fn take(&self, lane: &Cell<usize>) {
        self.used.set(self.used.get() + 1);
        lane.set(lane.get() + 1);
    }

    fn release(&self, lane: &Cell<usize>) {
        self.used.set(self.used.get().saturating_sub(1));
        lane.set(lane.get().saturating_sub(1));
        let mut waiting = self.waiting.borrow_mut();
        let next = waiting.iter().position(|place| self.has_room(&place.lane));
        if let Some(place) = next.and_then(|next| waiting.remove(next)) {
            self.take(&place.lane);
            place.granted.set(true);
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.gate.release(&self.lane);
    }
}

/// A place whose owner may go before it is granted.
struct Waiting<'a> {
    gate: &'a Gate,
    place: Option<Rc<Place>>,
}

impl Waiting<'_> {
    fn poll(&self, waker: &Waker) -> Poll<()> {
        let Some(place) = self.place.as_ref().filter(|place| !place.granted.get()) else {
            return Poll::Ready(());
        };
        *place.waker.borrow_mut() = Some(waker.clone());
        Poll::Pending
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        if place.granted.get() {
            self.gate.release(&place.lane);
        } else {
            self.gate.waiting.borrow_mut().retain(|other| !Rc::ptr_eq(other, &place));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::{Pin, pin};
    use std::task::Context;

    fn poll<'a>(future: Pin<&mut impl Future<Output = Slot<'a>>>) -> Option<Slot<'a>> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(slot) => Some(slot),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_vhost_whose_server_is_dead_leaves_room_for_others() {
        let gate = Gate::default();
        let (dead, other) = (Rc::default(), Rc::default());
        let enter = |lane| poll(pin!(gate.enter(lane)));
        let mut held: Vec<_> = std::iter::from_fn(|| enter(&dead)).collect();
        assert_eq!(held.len(), HOOK_REQUESTS_VHOST);
        let others: Vec<_> = std::iter::from_fn(|| enter(&other)).collect();
        assert_eq!(others.len(), FETCHES - HOOK_REQUESTS_VHOST);
        held.clear();
        drop(others);
        assert_eq!((gate.used.get(), dead.get(), other.get()), (0, 0, 0));
        assert!(gate.waiting.borrow().is_empty(), "whoever gave up waits no more");
    }

    #[test]
    fn a_slot_goes_to_whoever_waited_longest_and_may_have_it() {
        let gate = Gate::default();
        let (dead, other) = (Rc::default(), Rc::default());
        let mut held: Vec<_> = std::iter::from_fn(|| poll(pin!(gate.enter(&dead)))).collect();
        let others: Vec<_> = std::iter::from_fn(|| poll(pin!(gate.enter(&other)))).collect();
        let (mut first, mut second) = (Box::pin(gate.enter(&other)), Box::pin(gate.enter(&dead)));
        let mut gone = Box::pin(gate.enter(&dead));
        assert!(poll(gone.as_mut()).is_none());
        assert!(poll(first.as_mut()).is_none() && poll(second.as_mut()).is_none());
        drop(gone);
        held.pop();
        let third = poll(pin!(gate.enter(&other)));
        assert!(third.is_none(), "nobody passes the one that waits");
        let first = poll(first.as_mut());
        assert!(first.is_some() && poll(second.as_mut()).is_none());
        held.pop();
        // Granted, but its owner went.
        drop(second);
        assert_eq!(gate.used.get(), FETCHES - 1);
        drop((first, others, held));
        assert_eq!((gate.used.get(), dead.get(), other.get()), (0, 0, 0));
    }
}
