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

    /// Asks, and does not wait. Whether there was room for the question.
    pub fn tell(&self, request: Q) -> bool {
        let (answer, _) = bounded(1);
        self.sender.try_send((request, answer)).is_ok()
    }

    /// The next request, and who waits for its answer.
    pub async fn next(&self) -> Option<(Q, Asked<A>)> {
        let (request, asked) = self.receiver.recv().await.ok()?;
        Some((request, Asked(asked)))
    }

    /// The same if there is one already.
    pub fn next_of_now(&self) -> Option<(Q, Asked<A>)> {
        let (request, asked) = self.receiver.try_recv().ok()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::run;
    use std::rc::Rc;
    use std::time::Duration;

    #[test]
    fn what_is_asked_many_times_can_be_answered_once() {
        run::run(|spawner| async move {
            let requests = Rc::new(Requests::<u32, u32>::default());
            let room = (0..100).filter(|i| requests.tell(*i)).count();
            assert_eq!(room, QUEUE);
            let (asking, (done, asked)) = (requests.clone(), run::once());
            spawner.spawn(async move {
                // It waits for room.
                assert_eq!(asking.ask(7).await, Some(14));
                done.set();
            });
            let (first, waits) = requests.next().await.unwrap();
            assert_eq!(first, 0);
            // Nobody waits for this one any more.
            waits.answer(1);
            for want in 1..QUEUE as u32 {
                assert_eq!(requests.next_of_now().map(|(request, _)| request), Some(want));
            }
            run::sleep(Duration::from_millis(10)).await;
            let (request, waits) = requests.next().await.unwrap();
            waits.answer(request * 2);
            asked.await;
            let idle = run::within(Duration::from_millis(10), requests.next()).await;
            assert!(idle.is_none() && requests.next_of_now().is_none(), "nothing is left");
        })
        .unwrap();
    }
}
