//! The times of a stream from one publisher to the next: where players stay, they go on.

use crate::media::time::{MASK, difference};
use crate::media::{Kind, Packet};

/// Sound and picture may be so far apart in the order in which they come, in milliseconds.
const APART_MS: i32 = 1000;
/// The longest gap that is told to players, in milliseconds: half of what their 31-bit times can
/// tell from a step back.
const GAP_MAX_MS: u64 = 1 << 29;

/// Where the times of a stream stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The newest time, of 31 bits.
    dts: u32,
    /// When it came, in milliseconds of the owner's clock.
    came: u64,
}

impl End {
    /// The end when `packet` comes at `now` behind `last`. A step back is one of the source when it
    /// is a long one; else sound and picture are not in order.
    pub(super) fn newer(last: Option<Self>, packet: &Packet, now: u64) -> Option<Self> {
        if packet.kind == Kind::Data || packet.header {
            return last;
        }
        let dts = match last {
            Some(last) if (-APART_MS..0).contains(&difference(packet.dts, last.dts)) => last.dts,
            _ => packet.dts,
        };
        Some(Self { dts, came: now })
    }
}

/// Moves the times of a publisher so that they go on where those of the one before ended, with
/// the time between them as it was.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rebase {
    /// Nothing is moved.
    Off,
    /// No media came yet.
    Waiting(End),
    /// What is added; and where media begin, while some may still come from before it.
    By(u32, Option<u32>),
}

impl Rebase {
    /// For a publisher that begins behind `last`; without one its times stay.
    pub(super) fn new(last: Option<End>) -> Self {
        last.map_or(Self::Off, Self::Waiting)
    }

    /// The time of `packet`, which comes at `now`. With `atc` times are those of the publisher.
    pub(super) fn time(&mut self, packet: &Packet, now: u64, atc: bool) -> u32 {
        if atc {
            *self = Self::Off;
        }
        let dts = packet.dts;
        match *self {
            Self::Off => dts,
            Self::Waiting(last) => {
                // At least a step: the last packet before has this time.
                let gap = now.saturating_sub(last.came).clamp(1, GAP_MAX_MS);
                let start = last.dts.wrapping_add(u32::try_from(gap).unwrap_or(1)) & MASK;
                // Headers and metadata often come with 0, whatever the time of the media is.
                if packet.kind != Kind::Data && !packet.header {
                    *self = Self::By(start.wrapping_sub(dts) & MASK, Some(start));
                }
                start
            }
            Self::By(shift, None) => dts.wrapping_add(shift) & MASK,
            Self::By(shift, Some(start)) => {
                let moved = dts.wrapping_add(shift) & MASK;
                let since = difference(moved, start);
                if since > APART_MS {
                    *self = Self::By(shift, None);
                }
                if (-APART_MS..0).contains(&since) || packet.header { start } else { moved }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: &[u8] = b"\x17\x01x";
    const HEADER: &[u8] = b"\x17\x00x";
    const SOUND: &[u8] = b"\xaf\x01x";

    fn packet(payload: &'static [u8], dts: u32) -> Packet {
        let kind = if payload[0] == 0xaf { Kind::Audio } else { Kind::Video };
        let header = payload[1] == 0;
        Packet { header, ..Packet::new(kind, dts, bytes::Bytes::from_static(payload)) }
    }

    fn end(dts: u32, came: u64) -> Option<End> {
        Some(End { dts, came })
    }

    #[test]
    fn the_next_publisher_goes_on_after_the_time_that_nobody_published() {
        let mut rebase = Rebase::new(end(10_000, 50_000));
        let mut time = |payload, dts, now| rebase.time(&packet(payload, dts), now, false);
        assert_eq!(time(HEADER, 0, 53_000), 13_000, "a header has the time of its moment");
        assert_eq!(time(SOUND, 700_023, 53_001), 13_001);
        assert_eq!(time(PICTURE, 700_000, 53_001), 13_001, "nothing goes back behind that");
        assert_eq!(time(PICTURE, 700_040, 53_041), 13_018);
        assert_eq!(time(SOUND, 702_000, 55_000), 14_978);
        assert_eq!(
            time(SOUND, 600_000, 55_000),
            (14_978 + MASK + 1 - 102_000) & MASK,
            "jumps are its own"
        );
    }

    #[test]
    fn times_go_on_across_the_end_of_31_bits() {
        let mut rebase = Rebase::new(end(MASK, 1000));
        assert_eq!(rebase.time(&packet(PICTURE, 5), 1000, false), 0, "at least a step");
        assert_eq!(rebase.time(&packet(PICTURE, 45), 1040, false), 40);
        let mut rebase = Rebase::new(end(0, 0));
        assert_eq!(rebase.time(&packet(PICTURE, 5), u64::MAX, false), 1 << 29);
    }

    #[test]
    fn absolute_times_stay() {
        let mut rebase = Rebase::new(end(10_000, 50_000));
        assert_eq!(rebase.time(&packet(PICTURE, 77), 51_000, true), 77);
        let mut rebase = Rebase::new(None);
        assert_eq!(rebase.time(&packet(PICTURE, 77), 51_000, false), 77);
    }

    #[test]
    fn the_end_is_the_newest_time_unless_the_source_goes_back() {
        let at = |last, payload, dts| End::newer(last, &packet(payload, dts), 9);
        assert_eq!(at(None, HEADER, 5), None);
        assert_eq!(at(None, PICTURE, 500), end(500, 9));
        assert_eq!(at(end(500, 1), SOUND, 480), end(500, 9), "out of order");
        assert_eq!(at(end(5000, 1), SOUND, 0), end(0, 9), "begins anew");
        assert_eq!(at(end(MASK, 1), SOUND, 3), end(3, 9));
    }
}
