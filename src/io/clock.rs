//! The monotonic clock that all timing uses. Wall time is only for names and log lines.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the process first asked.
pub fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// The [`now`] that `duration` from now will be.
pub fn after(duration: Duration) -> u64 {
    now().saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Milliseconds since 1970-01-01 UTC, as the board believes. For names: it jumps when it is set.
pub fn unix() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Ticks of the kernel's statistics in a second (`USER_HZ`).
pub fn ticks_a_second() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}
