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

    /// Asks, and does not wait. When the queue is full, what is asked for is done anyway.
    pub fn tell(&self) {
        let (answer, _) = bounded(1);
        let _ = self.sender.try_send(answer);
    }

    /// All requests that are there, at least one: one answer will do for them.
    pub async fn next(&self) -> Vec<Asked<A>> {
        let Ok(first) = self.receiver.recv().await else { return Vec::new() };
        let more = std::iter::from_fn(|| self.receiver.try_recv().ok());
        std::iter::once(first).chain(more).map(Asked).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::run;
    use std::rc::Rc;
    use std::time::Duration;

    #[test]
    fn what_is_asked_many_times_is_answered_once() {
        run::run(|spawner| async move {
            let requests = Rc::new(Requests::<u32>::default());
            (0..100).for_each(|_| requests.tell());
            let (asking, (done, asked)) = (requests.clone(), run::once());
            spawner.spawn(async move {
                // It waits for room, and then with all others.
                assert_eq!(asking.ask().await, Some(2));
                done.set();
            });
            let first = requests.next().await;
            assert_eq!(first.len(), QUEUE);
            first.into_iter().for_each(|asked| asked.answer(1));
            requests.tell();
            run::sleep(Duration::from_millis(10)).await;
            let second = requests.next().await;
            assert_eq!(second.len(), 2);
            second.into_iter().for_each(|asked| asked.answer(2));
            asked.await;
            let idle = run::within(Duration::from_millis(10), requests.next()).await;
            assert!(idle.is_none(), "nothing is left");
        })
        .unwrap();
    }
}
