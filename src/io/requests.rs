//! Requests to a task that answers them one after another.

use smol::channel::{Receiver, Sender, bounded};
use std::fmt;

/// Questions that may wait; whoever has more waits with it.
const QUEUE: usize = 4;

/// A queue of requests `Q`, each with a way back for its answer `A`.
pub struct Requests<Q, A> {
    sender: Sender<(Q, Sender<A>)>,
    receiver: Receiver<(Q, Sender<A>)>,
}

impl<Q, A> Requests<Q, A> {
    /// Asks, and waits for the answer. `None` when nobody answers any more.
    pub async fn ask(&self, request: Q) -> Option<A> {
        let (answer, answered) = bounded(1);
        self.sender.send((request, answer)).await.ok()?;
        answered.recv().await.ok()
    }

    /// The next request, and who waits for its answer.
    pub async fn next(&self) -> Option<(Q, Asked<A>)> {
        let (request, asked) = self.receiver.recv().await.ok()?;
        Some((request, Asked(asked)))
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

impl<Q, A> Default for Requests<Q, A> {
    fn default() -> Self {
        let (sender, receiver) = bounded(QUEUE);
        Self { sender, receiver }
    }
}

impl<Q, A> fmt::Debug for Requests<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requests")
    }
}

impl<A> fmt::Debug for Asked<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked")
    }
}
