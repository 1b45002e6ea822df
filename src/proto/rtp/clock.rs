//! RTP timestamps: unwrapped, and several tracks on one time line.

use super::rtcp::SenderReport;
use std::time::Duration;

/// Ticks a second of the common time line.
const COMMON: i128 = 90_000;
/// A sender report that moves a track by more is of a clock that lies; in common ticks.
const BELIEVED: i64 = 10 * 90_000;
/// Reports further apart say nothing about each other; in seconds.
const NEAR: i64 = 60;
/// A track that was put in its place once is only moved when it is off by more: 100 ms, which
/// nobody hears or sees. In common ticks.
const DRIFT: i64 = 9_000;

/// Timestamps of 32 bits without their wraps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unwrap(Option<i64>);

impl Unwrap {
    /// The last time.
    pub(super) const fn last(&self) -> Option<i64> {
        self.0
    }

    /// The time of `timestamp`, which is less than 2^31 ticks from the one before.
    pub(super) fn next(&mut self, timestamp: u32) -> i64 {
        let time = self.near(timestamp);
        self.0 = Some(time);
        time
    }

    /// The same without going there.
    pub(super) fn near(&self, timestamp: u32) -> i64 {
        let Some(last) = self.0 else { return timestamp.into() };
        // The low 32 bits.
        let step = timestamp.wrapping_sub(last as u32) as i32;
        last.saturating_add(step.into())
    }
}

/// Puts the tracks of a session on one time line of 90 kHz that starts at 0. A track begins where
/// it arrives; sender reports (RFC 3550 §6.4.1) then say how tracks lie to one another, and the
/// later track is moved, once, and again when it is more than 100 ms off.
#[derive(Clone, Debug)]
pub struct Sync {
    tracks: Vec<Line>,
    start: Option<Duration>,
    /// The track that the others are moved to: the first one that has begun.
    reference: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    rate: u32,
    /// A time of the track, and where it is on the common line.
    base: Option<(i64, i64)>,
    /// The newest time that was placed; reports are near it.
    last: i64,
    /// The newest sender report.
    report: Option<SenderReport>,
    placed: bool,
}

impl Sync {
    /// For tracks with these clock rates.
    pub fn new(rates: impl IntoIterator<Item = u32>) -> Self {
        let tracks = rates.into_iter().map(Line::new).collect();
        Self { tracks, start: None, reference: None }
    }

    /// Where `time` of a track is on the common line, in ticks of 90 kHz; `now` is when it came.
    /// 0 for a track that is not there.
    pub fn place(&mut self, track: usize, time: i64, now: Duration) -> i64 {
        let start = *self.start.get_or_insert(now);
        let Some(line) = self.tracks.get_mut(track) else { return 0 };
        self.reference.get_or_insert(track);
        line.last = time;
        if line.base.is_none() {
            let since = now.saturating_sub(start).as_micros();
            let since = i64::try_from(since / 100 * 9).unwrap_or(i64::MAX);
            line.base = Some((time, since));
            if line.report.is_some() {
                // It came before the first packet, as those of ffmpeg do.
                self.align(track);
            }
        }
        self.tracks.get(track).map_or(0, |line| line.at(time))
    }

    /// A sender report of a track.
    pub fn report(&mut self, track: usize, report: SenderReport) {
        let Some(line) = self.tracks.get_mut(track) else { return };
        if report.ntp != 0 {
            line.report = Some(report);
            self.align(track);
        }
    }

    /// A track's sender began anew: its next packet is placed by its arrival.
    pub fn restart(&mut self, track: usize) {
        if let Some(line) = self.tracks.get_mut(track) {
            *line = Line::new(line.rate);
            self.reference = self.reference.filter(|&reference| reference != track);
        }
    }

    /// Moves a track, or all of them for the reference, to where reports say.
    fn align(&mut self, track: usize) {
        let Some(reference) = self.reference else { return };
        let Some(there) = self.tracks.get(reference).and_then(Line::tie) else { return };
        for (at, line) in self.tracks.iter_mut().enumerate() {
            if at != reference && (at == track || track == reference) {
                line.align(there);
            }
        }
    }
}

impl Line {
    fn new(rate: u32) -> Self {
        Self { rate: rate.max(1), base: None, last: 0, report: None, placed: false }
    }

    /// The sender's clock at its report, and where on the common line that is.
    fn tie(&self) -> Option<(u64, i64)> {
        let report = self.report.filter(|_| self.base.is_some())?;
        let time = Unwrap(Some(self.last)).near(report.timestamp);
        Some((report.ntp, self.at(time)))
    }

    /// Moves to where the report says, `there` being the tie of the reference.
    fn align(&mut self, (other_ntp, there): (u64, i64)) {
        let Some((ntp, here)) = self.tie() else { return };
        let apart = ntp.wrapping_sub(other_ntp) as i64;
        if (apart >> 32).abs() > NEAR {
            return;
        }
        // Less than 2^38 by the check above.
        let want = there.saturating_add(((i128::from(apart) * COMMON) >> 32) as i64);
        let off = want.saturating_sub(here);
        if off.saturating_abs() <= BELIEVED && (!self.placed || off.saturating_abs() > DRIFT) {
            if let Some((_, at)) = &mut self.base {
                *at = at.saturating_add(off);
            }
            self.placed = true;
        }
    }

    fn at(&self, time: i64) -> i64 {
        let Some((from, to)) = self.base else { return 0 };
        let since = i128::from(time.saturating_sub(from)) * COMMON / i128::from(self.rate);
        i64::try_from(since).map_or(i64::MAX, |since| to.saturating_add(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_go_on_over_their_wraps_and_back() {
        let mut unwrap = Unwrap::default();
        let mut got = Vec::new();
        for timestamp in [0xffff_fff0, 0x10, 0xffff_fff8, 0x8000_0000, 0xffff_ffff, 0x7fff_fffe] {
            got.push(unwrap.next(timestamp));
        }
        const WRAP: i64 = 1 << 32;
        let want = [WRAP - 16, WRAP + 16, WRAP - 8, WRAP / 2, WRAP - 1, WRAP + WRAP / 2 - 2];
        assert_eq!(got, want);
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const SECOND: u64 = 1 << 32;

    const fn report(ntp: u64, timestamp: u32) -> SenderReport {
        SenderReport { ssrc: 1, ntp, timestamp, packets: 0, bytes: 0 }
    }

    #[test]
    fn a_track_begins_where_it_arrives() {
        let mut sync = Sync::new([90_000, 48_000]);
        assert_eq!(sync.place(0, 5_000_000, ms(1000)), 0);
        assert_eq!(sync.place(1, 77, ms(1200)), 18_000);
        assert_eq!(sync.place(0, 5_003_600, ms(1300)), 3_600);
        assert_eq!(sync.place(1, 77 + 1024, ms(1300)), 18_000 + 1_920);
        assert_eq!(sync.place(9, 1, ms(1)), 0);
    }

    #[test]
    fn sender_reports_put_the_second_track_in_its_place() {
        let mut sync = Sync::new([90_000, 48_000]);
        sync.place(0, 0, ms(0));
        sync.place(1, 0, ms(200));
        sync.report(0, report(100 * SECOND, 90_000));
        // At 102 s the sound is at its second 1, so its 0 is at 101 s: 2 s on the common line.
        sync.report(1, report(102 * SECOND, 48_000));
        assert_eq!(sync.place(1, 0, ms(300)), 2 * 90_000);
        assert_eq!(sync.place(0, 90_000, ms(300)), 90_000, "the first one stays");
        sync.report(1, report(102 * SECOND + SECOND / 20, 48_000));
        assert_eq!(sync.place(1, 0, ms(300)), 2 * 90_000, "50 ms are no reason");
        sync.report(1, report(102 * SECOND + SECOND / 2, 48_000));
        assert_eq!(sync.place(1, 0, ms(300)), 2 * 90_000 + 45_000);
    }

    #[test]
    fn a_report_may_come_before_the_first_packet() {
        let mut sync = Sync::new([90_000, 48_000]);
        sync.report(0, report(100 * SECOND, 7));
        assert_eq!(sync.place(0, 7, ms(0)), 0);
        sync.report(1, report(100 * SECOND + SECOND / 2, 5));
        assert_eq!(sync.place(1, 5, ms(10)), 45_000);
        let mut sync = Sync::new([90_000, 48_000]);
        sync.report(0, report(100 * SECOND, 7));
        sync.report(1, report(100 * SECOND + SECOND / 2, 5));
        assert_eq!(sync.place(1, 5, ms(0)), 0, "the second track comes first");
        assert_eq!(sync.place(0, 7, ms(10)), -45_000);
        sync.report(1, report(105 * SECOND, 5 + 216_000));
        assert_eq!(sync.place(1, 5, ms(0)), 0, "and stays");
    }

    #[test]
    fn reports_of_clocks_that_lie_are_not_believed() {
        for (video, audio) in [
            (100 * SECOND, 150 * SECOND),
            (100 * SECOND, 5000 * SECOND),
            (100 * SECOND, 0),
            (0, 100 * SECOND),
            (u64::MAX, 1 << 63),
        ] {
            let mut sync = Sync::new([90_000, 8_000]);
            sync.place(0, 0, ms(0));
            sync.place(1, 0, ms(10));
            sync.report(0, report(video, 0));
            sync.report(1, report(audio, 0));
            assert_eq!(sync.place(1, 0, ms(20)), 900, "{video} {audio}");
        }
    }
}
