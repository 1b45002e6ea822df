//! How many programs run at once: those that are too many wait in a row.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// The places, and who waits for one, the first in front.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: Cell<usize>,
    row: RefCell<VecDeque<(u64, Option<Waker>)>>,
    last: Cell<u64>,
}

impl Places {
    /// One of `most`, if one is free and nobody waits.
    pub(super) fn free(self: &Rc<Self>, most: usize) -> Option<Place> {
        (self.row.borrow().is_empty() && self.taken.get() < most).then(|| self.enter())
    }

    /// Waits for one of `most`, which may be another number each time.
    pub(super) async fn wait(self: &Rc<Self>, most: impl Fn() -> usize) -> Place {
        let turn = Turn::new(self);
        poll_fn(|task| {
            let mut row = self.row.borrow_mut();
            let is_first = row.front().is_some_and(|(number, _)| *number == turn.number);
            if is_first && self.taken.get() < most() {
                return Poll::Ready(self.enter());
            }
            if let Some((_, waker)) = row.iter_mut().find(|(number, _)| *number == turn.number) {
                *waker = Some(task.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// There may be a place.
    pub(super) fn look(&self) {
        let first = self.row.borrow_mut().front_mut().and_then(|(_, waker)| waker.take());
        if let Some(waker) = first {
            waker.wake();
        }
    }

    fn enter(self: &Rc<Self>) -> Place {
        self.taken.set(self.taken.get().saturating_add(1));
        Place(self.clone())
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Rc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.set(self.0.taken.get().saturating_sub(1));
        self.0.look();
    }
}

/// Who waits, until it has a place or does not want one any more.
struct Turn<'a> {
    places: &'a Places,
    number: u64,
}

impl<'a> Turn<'a> {
    fn new(places: &'a Places) -> Self {
        let number = places.last.get().wrapping_add(1);
        places.last.set(number);
        places.row.borrow_mut().push_back((number, None));
        Self { places, number }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.places.row.borrow_mut().retain(|(number, _)| *number != self.number);
        // The next one is first now, and there may be more than one place.
        self.places.look();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::run;
    use std::time::Duration;

    #[test]
    fn who_waited_longest_has_the_next_place_and_nobody_is_forgotten() {
        run::run(|spawner| async move {
            let (places, order) = (Rc::new(Places::default()), Rc::new(RefCell::new(Vec::new())));
            let most = Rc::new(Cell::new(1));
            let first = places.free(most.get()).unwrap();
            assert!(places.free(most.get()).is_none());
            for number in 0..4 {
                let (places, order, most) = (places.clone(), order.clone(), most.clone());
                spawner.spawn(async move {
                    let wait = places.wait(|| most.get());
                    if number == 1 {
                        // It does not want one any more.
                        return drop(run::within(Duration::from_millis(20), wait).await);
                    }
                    let place = wait.await;
                    order.borrow_mut().push(number);
                    run::sleep(Duration::from_millis(5)).await;
                    drop(place);
                });
            }
            run::sleep(Duration::from_millis(50)).await;
            assert!(order.borrow().is_empty());
            drop(first);
            assert!(places.free(most.get()).is_none(), "others wait");
            run::sleep(Duration::from_millis(100)).await;
            assert_eq!(*order.borrow(), [0, 2, 3]);
            // More places, by a reload.
            let one = places.free(1).unwrap();
            let (wants, has) = (places.clone(), Rc::new(Cell::new(false)));
            let (seen, more) = (has.clone(), most.clone());
            spawner.spawn(async move {
                let _place = wants.wait(|| more.get()).await;
                seen.set(true);
            });
            run::sleep(Duration::from_millis(20)).await;
            assert!(!has.get());
            most.set(2);
            places.look();
            run::sleep(Duration::from_millis(20)).await;
            assert!(has.get());
            drop(one);
        })
        .unwrap();
    }
}
