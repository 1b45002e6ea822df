//! The executor: one thread, tasks that stay on it.

use smol::LocalExecutor;
use std::rc::Rc;
use std::time::Duration;

/// Starts tasks on the thread that called [`run`].
#[derive(Clone)]
pub struct Spawner {
    executor: Rc<LocalExecutor<'static>>,
}

impl Spawner {
    /// Starts a task that nobody waits for.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.executor.spawn(task).detach();
    }
}

impl std::fmt::Debug for Spawner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spawner")
    }
}

/// Runs `main` and whatever it spawns on this thread, until `main` ends.
pub fn run<T, F: Future<Output = T>>(main: impl FnOnce(Spawner) -> F) -> T {
    let executor = Rc::new(LocalExecutor::new());
    let main = main(Spawner { executor: executor.clone() });
    async_io::block_on(executor.run(main))
}

/// The number of this process.
pub fn process_id() -> u32 {
    std::process::id()
}

/// Waits.
pub async fn sleep(duration: Duration) {
    smol::Timer::after(duration).await;
}

/// `future`'s result, or `None` when it takes longer than `limit`.
pub async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    smol::future::or(async { Some(future.await) }, async {
        sleep(limit).await;
        None
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_50_ms_timer_fires() {
        let start = Instant::now();
        run(|_| sleep(Duration::from_millis(50)));
        assert!(start.elapsed() >= Duration::from_millis(50));
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn what_takes_too_long_is_given_up() {
        let never = smol::future::pending::<()>();
        assert_eq!(run(|_| within(Duration::from_millis(10), never)), None);
        assert_eq!(run(|_| within(Duration::from_secs(10), async { 7 })), Some(7));
    }
}
