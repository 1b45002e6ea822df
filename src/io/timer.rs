//! Timers of a task that is polled by hand.

use crate::io::clock;
use crate::io::reactor::Timer;
use std::task::{Context, Poll};
use std::time::Duration;

/// A deadline that moves.
#[derive(Debug, Default)]
pub struct Alarm(Timer);

impl Alarm {
    /// Ready at `at`, in milliseconds of the clock; the task is woken then.
    pub fn poll(&mut self, task: &mut Context<'_>, at: u64) -> Poll<()> {
        self.0.set(at);
        self.0.poll(task)
    }
}

/// A pause that begins when it is asked for.
#[derive(Debug, Default)]
pub struct Pause(Option<Timer>);

impl Pause {
    /// From now on for `duration`.
    pub fn begin(&mut self, duration: Duration) {
        let mut timer = Timer::default();
        timer.set(clock::after(duration));
        self.0 = Some(timer);
    }

    /// Ready when there is none, or it is over.
    pub fn poll(&mut self, task: &mut Context<'_>) -> Poll<()> {
        if let Some(timer) = &mut self.0 {
            if timer.poll(task).is_pending() {
                return Poll::Pending;
            }
            self.0 = None;
        }
        Poll::Ready(())
    }
}
