//! Timers of a task that is polled by hand.

use crate::io::clock;
use smol::Timer;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A timer that is only touched when its time changes.
#[derive(Debug, Default)]
pub struct Alarm {
    timer: Option<Pin<Box<Timer>>>,
    at: Option<u64>,
}

impl Alarm {
    /// Ready at `at`, in milliseconds of the clock; the task is woken then.
    pub fn poll(&mut self, task: &mut Context<'_>, at: u64) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(Timer::never()));
        if self.at != Some(at) {
            self.at = Some(at);
            let wait = Duration::from_millis(at.saturating_sub(clock::now()));
            timer.as_mut().set_after(wait);
        }
        timer.as_mut().poll(task).map(|_| self.at = None)
    }
}

/// A pause that begins when it is asked for.
#[derive(Debug, Default)]
pub struct Pause(Option<Pin<Box<Timer>>>);

impl Pause {
    /// From now on for `duration`.
    pub fn begin(&mut self, duration: Duration) {
        self.0 = Some(Box::pin(Timer::after(duration)));
    }

    /// Ready when there is none, or it is over.
    pub fn poll(&mut self, task: &mut Context<'_>) -> Poll<()> {
        if let Some(timer) = &mut self.0 {
            if timer.as_mut().poll(task).is_pending() {
                return Poll::Pending;
            }
            self.0 = None;
        }
        Poll::Ready(())
    }
}
