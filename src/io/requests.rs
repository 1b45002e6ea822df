//! Questions to a task that answers them one after another.

use smol::channel::{Receiver, Sender, bounded};
use std::fmt;

/// Questions that may wait; whoever has more waits with it.
const QUEUE: usize = 4;

/// A queue of requests, each with a way back for its answer `A`.
pub struct Requests<A> {
    sender: Sender<Sender<A>>,
    receiver: Receiver<Sender<A>>,
}

impl<A> Requests<A> {
    /// Asks, and waits for the answer. `None` when nobody answers any more.
    pub async fn ask(&self) -> Option<A> {
        let (answer, answered) = bounded(1);
        self.sender.send(answer).await.ok()?;
        answered.recv().await.ok()
    }

    /// The next request, to be answered.
    pub async fn next(&self) -> Option<Asked<A>> {
        self.receiver.recv().await.ok().map(Asked)
    }
}

/// A request that waits for its answer.
pub struct Asked<A>(Sender<A>);

impl<A> Asked<A> {
    /// Answers it; whoever asked may be gone.
    pub fn answer(self, answer: A) {
        let _ = self.0.try_send(answer);
    }
}

impl<A> Default for Requests<A> {
    fn default() -> Self {
        let (sender, receiver) = bounded(QUEUE);
        Self { sender, receiver }
    }
}

impl<A> fmt::Debug for Requests<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requests")
    }
}

impl<A> fmt::Debug for Asked<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked")
    }
}
