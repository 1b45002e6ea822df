//! Bytes and bit rates of a connection or a stream. Counting is an addition; whoever owns a
//! counter samples it every few seconds.

use std::fmt;

/// A counter of bytes with the rates of the last 30 seconds, minute, 5 minutes and
/// hour. 80 bytes.
/// Times are milliseconds of any clock that does not go back.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    bytes: u64,
    start: u64,
    windows: [Sample; 4],
}

/// The spans of time that rates are told for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// 30 seconds.
    HalfMinute,
    /// A minute.
    Minute,
    /// 5 minutes.
    FiveMinutes,
    /// 60 minutes.
    Hour,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// The bytes at the start of the window in progress.
    bytes: u64,
    /// Its start; only differences count, so that wrapping after 49 days does no harm.
    at: u32,
    /// The rate of the window before.
    kbps: u32,
}

/// [`Rate`] as the log writes it: average, last 30 seconds, last 5 minutes, in kbit/s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kbps(pub u32, pub u32, pub u32);

impl Rate {
    /// A counter that starts at `now`.
    pub const fn new(now: u64) -> Self {
        let sample = Sample { bytes: 0, at: now as u32, kbps: 0 };
        Self { bytes: 0, start: now, windows: [sample; 4] }
    }

    /// Counts `bytes`.
    pub fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// Takes a sample: a window that is over gives its rate and starts again. Until the first
    /// one is over its rate is the average so far.
    pub fn sample(&mut self, now: u64) {
        for (sample, length) in self.windows.iter_mut().zip(LENGTHS) {
            let elapsed = (now as u32).wrapping_sub(sample.at);
            let first = sample.bytes == 0 && sample.at == self.start as u32;
            if elapsed >= length {
                sample.kbps = kbps(self.bytes - sample.bytes, elapsed.into());
                sample.bytes = self.bytes;
                sample.at = now as u32;
            } else if first {
                sample.kbps = kbps(self.bytes, elapsed.into());
            }
        }
    }

    /// Bytes since the start.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Kbit/s since the start.
    pub fn average(&self, now: u64) -> u32 {
        kbps(self.bytes, now.saturating_sub(self.start))
    }

    /// Kbit/s of the last window, as of the last [`sample`](Self::sample).
    pub const fn window(&self, window: Window) -> u32 {
        match window {
            Window::HalfMinute => self.windows[0].kbps,
            Window::Minute => self.windows[1].kbps,
            Window::FiveMinutes => self.windows[2].kbps,
            Window::Hour => self.windows[3].kbps,
        }
    }

    /// The three rates of a log line.
    pub fn kbps(&self, now: u64) -> Kbps {
        Kbps(self.average(now), self.window(Window::HalfMinute), self.window(Window::FiveMinutes))
    }
}

impl fmt::Display for Kbps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.0, self.1, self.2)
    }
}

/// Bits per millisecond are kilobits per second.
fn kbps(bytes: u64, millis: u64) -> u32 {
    let rate = bytes.saturating_mul(8).checked_div(millis).unwrap_or(0);
    u32::try_from(rate).unwrap_or(u32::MAX)
}

/// The windows in milliseconds.
const LENGTHS: [u32; 4] = [30_000, 60_000, 300_000, 3_600_000];

const _: () = assert!(size_of::<Rate>() <= 80, "there are two of them a connection");

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds `kbps` for `seconds` from `now` on, sampled every 3 seconds.
    fn run(rate: &mut Rate, now: &mut u64, seconds: u64, kbps: usize) {
        for second in 1..=seconds {
            rate.add(kbps * 125);
            *now += 1000;
            if second % 3 == 0 {
                rate.sample(*now);
            }
        }
    }

    #[test]
    fn each_window_has_its_rate() {
        let mut now = 5_000_000_000;
        let mut rate = Rate::new(now);
        run(&mut rate, &mut now, 300, 1000);
        assert_eq!(rate.kbps(now), Kbps(1000, 1000, 1000));
        run(&mut rate, &mut now, 30, 3000);
        assert_eq!(rate.window(Window::HalfMinute), 3000);
        assert_eq!(rate.window(Window::Minute), 1000);
        run(&mut rate, &mut now, 30, 3000);
        assert_eq!(rate.window(Window::Minute), 3000);
        assert_eq!(rate.kbps(now), Kbps(1333, 3000, 1000));
        assert_eq!(rate.bytes(), (300 * 1000 + 60 * 3000) * 125);
        run(&mut rate, &mut now, 30, 0);
        assert_eq!(rate.window(Window::HalfMinute), 0);
        assert_eq!(rate.kbps(now).to_string(), "1230,0,1000");
        run(&mut rate, &mut now, 3600 - 390, 500);
        assert_eq!(rate.window(Window::Hour), (300_000 + 180_000 + 3210 * 500) / 3600);
        run(&mut rate, &mut now, 3597, 0);
        assert_eq!(rate.window(Window::Hour), (300_000 + 180_000 + 3210 * 500) / 3600);
        run(&mut rate, &mut now, 3, 0);
        assert_eq!(rate.window(Window::Hour), 0);
    }

    #[test]
    fn the_first_window_shows_the_average_so_far() {
        let mut now = 0;
        let mut rate = Rate::new(now);
        rate.sample(now);
        assert_eq!(rate.kbps(now), Kbps(0, 0, 0));
        run(&mut rate, &mut now, 3, 800);
        assert_eq!(rate.kbps(now), Kbps(800, 800, 800));
        run(&mut rate, &mut now, 3, 0);
        assert_eq!(rate.kbps(now), Kbps(400, 400, 400));
    }

    #[test]
    fn a_late_sample_counts_the_time_that_passed() {
        let mut rate = Rate::new(0);
        rate.add(45_000 * 125);
        rate.sample(45_000);
        assert_eq!(rate.window(Window::HalfMinute), 1000);
    }

    #[test]
    fn windows_pass_the_49th_day() {
        let mut now = u64::from(u32::MAX) - 10_000;
        let mut rate = Rate::new(now);
        run(&mut rate, &mut now, 60, 500);
        assert_eq!(rate.kbps(now), Kbps(500, 500, 500));
    }

    #[test]
    fn absurd_numbers_do_not_overflow() {
        let mut rate = Rate::new(10);
        rate.add(usize::MAX);
        rate.add(usize::MAX);
        rate.sample(11);
        assert!(rate.average(11) > 0);
        assert_eq!(rate.average(0), 0);
    }
}
