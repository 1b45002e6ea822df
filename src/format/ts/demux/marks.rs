//! Times: those of PES packets tied to places in an elementary stream, and 33 bits made to go on.

use super::super::TICKS;

/// The clock has so many bits.
const BITS: u32 = 33;

/// Times of 33 bits made into ones that go on, for all streams of a program.
#[derive(Debug, Default)]
pub(super) struct Clock {
    last: Option<i64>,
}

impl Clock {
    /// `time` where it is nearest to the last one, of which it takes the place.
    pub(super) fn advance(&mut self, time: u64) -> i64 {
        let time = self.near(time);
        self.last = Some(time);
        time
    }

    /// The last one; `None` before the first.
    pub(super) const fn last(&self) -> Option<i64> {
        self.last
    }

    /// `time` where it is nearest to the last one.
    pub(super) fn near(&self, time: u64) -> i64 {
        let time = (time & ((1 << BITS) - 1)).cast_signed();
        let Some(last) = self.last else { return time };
        let step = (time.wrapping_sub(last) << (64 - BITS)) >> (64 - BITS);
        last.saturating_add(step)
    }
}

/// Milliseconds of `ticks`, rounded; the lower 32 bits of them.
pub(super) const fn millis(ticks: i64) -> u32 {
    // That the upper ones are lost is the point.
    (ticks.saturating_add(TICKS / 2)).div_euclid(TICKS) as u32
}

/// Times of PES packets, and where in a buffer the data of each begins. A time counts for the
/// first unit that begins at that place or behind it (ISO/IEC 13818-1 §2.4.3.7): of several the
/// last one, so that two are enough: that of the unit in progress, and the newest.
#[derive(Debug, Default)]
pub(super) struct Marks {
    marks: heapless::Vec<Mark, 2>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    at: usize,
    pub(super) pts: i64,
    pub(super) dts: i64,
}

impl Marks {
    pub(super) fn push(&mut self, at: usize, pts: i64, dts: i64) {
        let mark = Mark { at, pts, dts };
        if let Err(mark) = self.marks.push(mark)
            && let Some(newest) = self.marks.last_mut()
        {
            *newest = mark;
        }
    }

    /// The time of a unit that begins at `at`, if it has one of its own.
    pub(super) fn take(&mut self, at: usize) -> Option<Mark> {
        let found = self.marks.iter().rev().find(|mark| mark.at <= at).copied();
        self.marks.retain(|mark| mark.at > at);
        found
    }

    /// The first `len` bytes of the buffer are gone.
    pub(super) fn advance(&mut self, len: usize) {
        for mark in &mut self.marks {
            mark.at = mark.at.saturating_sub(len);
        }
    }

    pub(super) fn clear(&mut self) {
        self.marks.clear();
    }
}
