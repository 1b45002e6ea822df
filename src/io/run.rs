//! The executor: one thread, tasks that stay on it.

use crate::io::clock;
use crate::io::reactor::{self, Timer};
use smol::LocalExecutor;
use smol::future::FutureExt as _;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Starts tasks on the thread that called [`run`].
#[derive(Clone, Default)]
pub struct Spawner {
    urgent: Rc<LocalExecutor<'static>>,
    ordinary: Rc<LocalExecutor<'static>>,
    panic: Rc<RefCell<Option<Panic>>>,
}

type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

/// What a task that nobody waits for panicked with.
type Panic = Box<dyn Any + Send>;

impl Spawner {
    /// Starts a task that nobody waits for. Its panic is one of [`run`].
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.spawn_boxed(Box::pin(task));
    }

    /// By its trait: what the executor has for a task is in the image once, not for each of them.
    fn spawn_boxed(&self, task: Boxed<()>) {
        let slot = self.panic.clone();
        let caught = AssertUnwindSafe(task).catch_unwind();
        let task = async move {
            if let Err(panic) = caught.await {
                slot.borrow_mut().get_or_insert(panic);
            }
        };
        self.ordinary.spawn(task).detach();
    }

    /// Runs `task` ahead of those that were spawned, and waits for it. For publishers: what came
    /// in while players are being served goes out with the same writes.
    pub async fn urgent<T: 'static>(&self, task: impl Future<Output = T> + 'static) -> T {
        let task: Boxed<T> = Box::pin(task);
        self.urgent.spawn(task).await
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spawner")
    }
}

/// Runs `main` and whatever it spawns on this thread, until `main` ends. Fails when the system
/// has no descriptor for it left. Panics when one of these tasks does: the executor keeps panics to
/// itself, and whoever waits for that task would wait for ever.
pub fn run<T, F>(main: impl FnOnce(Spawner) -> F) -> io::Result<T>
where
    T: 'static,
    F: Future<Output = T> + 'static,
{
    let spawner = Spawner::default();
    let main: Boxed<T> = Box::pin(main(spawner.clone()));
    let main = spawner.urgent.spawn(main);
    let done = || main.is_finished() || spawner.panic.borrow().is_some();
    reactor::drive(&spawner.urgent, &spawner.ordinary, done)?;
    if let Some(panic) = spawner.panic.take() {
        resume_unwind(panic);
    }
    Ok(smol::future::block_on(main))
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

/// The pause before the next attempt, after so many that failed: of `(first, most)` the first, then
/// twice as long each time, up to the most.
pub fn growing((first, most): (Duration, Duration), failures: u32) -> Duration {
    first.saturating_mul(1 << failures.min(10)).min(most)
}

/// `future`'s result, or `None` when it takes longer than `limit`.
pub async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    smol::future::or(async { Some(future.await) }, async {
        sleep(limit).await;
        None
    })
    .await
}

/// Lets all others that can go on do so first.
pub async fn give_way() {
    smol::future::yield_now().await;
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
    fn a_panic_of_a_task_ends_the_run() {
        let panics = |f: fn(Spawner)| {
            let caught = std::panic::catch_unwind(|| {
                run(|spawner| async move {
                    f(spawner);
                    smol::future::pending::<()>().await;
                })
            });
            *caught.unwrap_err().downcast::<&str>().unwrap()
        };
        assert_eq!(panics(|_| panic!("of the first task")), "of the first task");
        assert_eq!(panics(|s| s.spawn(async { panic!("of another") })), "of another");
        let urgent = |s: Spawner| {
            let task = s.clone();
            s.spawn(async move { task.urgent(async { panic!("of an urgent one") }).await });
        };
        assert_eq!(panics(urgent), "of an urgent one");
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
