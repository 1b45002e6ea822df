//! What waits to be told, a vhost.

use super::fields::Action;
use crate::config::HttpHooks;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// One event that is to be told.
#[derive(Debug)]
pub(super) struct Told {
    /// Whose it is.
    pub(super) client: u32,
    pub(super) action: Action,
    /// JSON.
    pub(super) body: String,
    /// Whom to tell, and for how long to try.
    pub(super) config: Rc<HttpHooks>,
}

impl Told {
    /// Bytes of memory.
    pub(super) fn cost(&self) -> usize {
        self.body.capacity() + size_of::<Self>()
    }
}

/// The queue of a vhost.
#[derive(Debug, Default)]
pub(super) struct Desk {
    queue: RefCell<VecDeque<Told>>,
    /// The client whose event is being told.
    busy: Cell<Option<u32>>,
    bytes: Cell<usize>,
    lost: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
    /// Requests of the vhost that are being made.
    pub(super) requests: Rc<Cell<usize>>,
    /// The same for notifications.
    pub(super) notifying: Cell<usize>,
}

impl Desk {
    /// Bytes that wait.
    pub(super) fn queued(&self) -> usize {
        self.bytes.get()
    }

    /// Events that wait.
    pub(super) fn len(&self) -> usize {
        self.queue.borrow().len() + usize::from(self.busy.get().is_some())
    }

    /// Whether nobody is to be told anything.
    pub(super) fn is_idle(&self) -> bool {
        self.len() == 0
    }

    /// Queues an event. Whether nobody is at work here yet.
    pub(super) fn put(&self, told: Told) -> bool {
        let idle = self.is_idle();
        self.bytes.set(self.bytes.get().saturating_add(told.cost()));
        self.queue.borrow_mut().push_back(told);
        idle
    }

    /// Counts an event that is not told. Events so far.
    pub(super) fn lose(&self) -> u64 {
        self.lost.set(self.lost.get() + 1);
        self.lost.get()
    }

    /// The next event, which is [`done`](Self::done) before the one after it.
    pub(super) fn next(&self) -> Option<Told> {
        let told = self.queue.borrow_mut().pop_front();
        self.busy.set(told.as_ref().map(|told| told.client));
        told
    }

    /// It was told, or nobody listened.
    pub(super) fn done(&self, told: &Told) {
        self.busy.set(None);
        self.bytes.set(self.bytes.get().saturating_sub(told.cost()));
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Waits until nothing of `client` waits.
    pub(super) async fn has_told(&self, client: u32) {
        poll_fn(|task| {
            let queued = self.queue.borrow().iter().any(|told| told.client == client);
            if !queued && self.busy.get() != Some(client) {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(task.waker())) {
                waiting.push(task.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
