//! The executor: one thread, tasks that stay on it.

use crate::io::clock;
use crate::io::reactor::{self, Timer};
use smol::LocalExecutor;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Starts tasks on the thread that called [`run`].
#[derive(Clone, Default)]
pub struct Spawner {
    urgent: Rc<LocalExecutor<'static>>,
    ordinary: Rc<LocalExecutor<'static>>,
}

impl Spawner {
    /// Starts a task that nobody waits for.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.ordinary.spawn(task).detach();
    }

    /// Runs `task` ahead of those that were spawned, and waits for it. For publishers: what came
    /// in while players are being served goes out with the same writes.
    pub async fn urgent<T: 'static>(&self, task: impl Future<Output = T> + 'static) -> T {
        self.urgent.spawn(task).await
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spawner")
    }
}

/// Runs `main` and whatever it spawns on this thread, until `main` ends. Fails when the system
/// has no descriptor for it left.
pub fn run<T, F>(main: impl FnOnce(Spawner) -> F) -> io::Result<T>
where
    T: 'static,
    F: Future<Output = T> + 'static,
{
    let spawner = Spawner::default();
    let output = Rc::new(Cell::new(None));
    let (slot, main) = (output.clone(), main(spawner.clone()));
    spawner.urgent.spawn(async move { slot.set(Some(main.await)) }).detach();
    let taken = RefCell::new(None);
    reactor::drive(&spawner.urgent, &spawner.ordinary, || {
        *taken.borrow_mut() = output.take();
        taken.borrow().is_some()
    })?;
    taken.into_inner().ok_or_else(|| io::ErrorKind::Interrupted.into())
}

/// Runs both until the first of them ends, and drops the other.
pub async fn first<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    smol::future::or(one, other).await
}

/// Something that happens once, and a future of it.
pub fn once() -> (Once, impl Future<Output = ()>) {
    let state = Rc::new(State::default());
    let once = Once(state.clone());
    let future = poll_fn(move |task| {
        if state.done.get() {
            return Poll::Ready(());
        }
        let mut waker = state.waker.borrow_mut();
        if waker.as_ref().is_none_or(|w| !w.will_wake(task.waker())) {
            *waker = Some(task.waker().clone());
        }
        Poll::Pending
    });
    (once, future)
}

/// See [`once`].
#[derive(Debug)]
pub struct Once(Rc<State>);

impl Once {
    /// It has happened.
    pub fn set(self) {
        self.0.done.set(true);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

#[derive(Debug, Default)]
struct State {
    done: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// The number of this process.
pub fn process_id() -> u32 {
    std::process::id()
}

/// Waits.
pub async fn sleep(duration: Duration) {
    let mut timer = Timer::default();
    timer.set(clock::after(duration));
    poll_fn(|task| timer.poll(task)).await;
}

/// `future`'s result, or `None` when it takes longer than `limit`.
pub async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    smol::future::or(async { Some(future.await) }, async {
        sleep(limit).await;
        None
    })
    .await
}

/// `future`'s result, or `None` when `stop` is over before. `stop` is asked first.
pub async fn unless<T>(
    stop: impl Future<Output = ()>,
    future: impl Future<Output = T>,
) -> Option<T> {
    let stopped = async {
        stop.await;
        None
    };
    smol::future::or(stopped, async { Some(future.await) }).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_50_ms_timer_fires() {
        let start = Instant::now();
        run(|_| sleep(Duration::from_millis(50))).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(50));
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn what_takes_too_long_is_given_up() {
        let never = smol::future::pending::<()>();
        assert_eq!(run(|_| within(Duration::from_millis(10), never)).unwrap(), None);
        assert_eq!(run(|_| within(Duration::from_secs(10), async { 7 })).unwrap(), Some(7));
    }

    #[test]
    fn a_task_is_woken_by_another_thread() {
        let woken = run(|_| async {
            let (sender, receiver) = smol::channel::bounded(1);
            let thread = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                sender.send_blocking(7)
            });
            let got = receiver.recv().await;
            (got, thread.join().is_ok())
        });
        assert_eq!(woken.unwrap(), (Ok(7), true));
    }

    #[test]
    fn tasks_take_turns() {
        let order = run(|spawner| async move {
            let (sender, receiver) = smol::channel::bounded(10);
            for (name, wait) in [(3, 300), (1, 100), (2, 200)] {
                let sender = sender.clone();
                spawner.spawn(async move {
                    sleep(Duration::from_millis(wait)).await;
                    let _ = sender.send(name).await;
                });
            }
            [receiver.recv().await, receiver.recv().await, receiver.recv().await]
        });
        assert_eq!(order.unwrap(), [Ok(1), Ok(2), Ok(3)]);
    }
}
