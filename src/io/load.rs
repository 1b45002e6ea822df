//! How busy the thread is, and the merge interval that follows from it (`mw_latency auto`).

use crate::io::clock;
use crate::limits::MERGE_MS;
use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;

/// A measurement covers at least this many milliseconds.
const WINDOW_MS: u64 = 100;
/// Above this share of the thread's time the interval grows, below the other it shrinks.
const BUSY: f64 = 0.65;
const IDLE: f64 = 0.45;
/// The first step up from 0, in milliseconds; at less than this the interval is 0.
const STEP_MS: u32 = 5;

/// The merge interval of a thread that has time is 0: every packet goes out at once. A thread
/// that has less and less gathers packets longer and longer, up to [`MERGE_MS`].
#[derive(Debug, Default)]
pub struct Load {
    wall: Cell<u64>,
    cpu: Cell<u64>,
    interval: Cell<u32>,
}

impl Load {
    /// Measures if the last measurement is old enough. Returns the interval, in milliseconds.
    pub fn merge_interval(&self) -> u32 {
        let wall = clock::now();
        let elapsed = wall.saturating_sub(self.wall.get());
        if elapsed >= WINDOW_MS {
            let cpu = thread_cpu_us();
            let used = cpu.saturating_sub(self.cpu.get());
            self.wall.set(wall);
            self.cpu.set(cpu);
            // After a pause of the stream the measurement is of the pause.
            if elapsed < 20 * WINDOW_MS {
                let share = used as f64 / (elapsed as f64 * 1000.0);
                self.interval.set(next_interval(self.interval.get(), share));
            }
        }
        self.interval.get()
    }
}

fn next_interval(now: u32, share: f64) -> u32 {
    if share > BUSY {
        (now + now / 2).clamp(STEP_MS, MERGE_MS)
    } else if share < IDLE {
        let less = now - now.div_ceil(8);
        if less < STEP_MS { 0 } else { less }
    } else {
        now
    }
}

/// CPU time of this thread, in microseconds.
fn thread_cpu_us() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (time.tv_sec as u64, time.tv_nsec as u64);
    seconds.wrapping_mul(1_000_000).wrapping_add(nanoseconds / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_grows_under_load_and_goes_back_to_zero() {
        let mut interval = 0;
        for _ in 0..5 {
            interval = next_interval(interval, 0.9);
        }
        assert!(interval > STEP_MS);
        for _ in 0..50 {
            interval = next_interval(interval, 1.0);
        }
        assert_eq!(interval, MERGE_MS, "and no further");
        assert_eq!(next_interval(interval, 0.55), interval, "it rests in between");
        for _ in 0..100 {
            interval = next_interval(interval, 0.1);
        }
        assert_eq!(interval, 0);
    }

    #[test]
    fn cpu_time_moves() {
        let start = thread_cpu_us();
        while thread_cpu_us() < start + 1000 {
            std::hint::spin_loop();
        }
    }
}
