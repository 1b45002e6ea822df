//! The times of a stream that comes from one origin after another.
//!
//! On the first connection all passes as it comes. After that the stream goes on right behind what
//! was given last, and from a key frame. With `atc` times stay what they are: where two origins are
//! fed by one encoder, what was there already is left out, and players see no seam at all.

use crate::media::time::{MASK, difference};
use crate::media::{Kind, Packet};

/// What was there before, in milliseconds, counts as the same clock.
const SAME_CLOCK_MS: i32 = 60_000;
/// A track that begins a little before the other one is not a jump.
const INTERLEAVED_MS: i32 = 2_000;
/// From the last packet of a connection to the first of the next.
const STEP_MS: u32 = 10;
/// Video without a key frame is let through after so long.
const KEY_WAIT_MS: i32 = crate::limits::KEY_WAIT_MS;

#[derive(Debug, Default)]
pub(super) struct Splice {
    atc: bool,
    offset: u32,
    /// Connections after the first.
    again: bool,
    /// Nothing but headers came since the connection was made.
    fresh: bool,
    /// The same clock as before: what is not new is left out.
    overlap: bool,
    wait_key: Option<u32>,
    video: bool,
    /// The last times given, of audio and of video, and the latest.
    last: [Option<u32>; 2],
    newest: Option<u32>,
}

impl Splice {
    /// A connection was made. `atc`: times are absolute.
    pub(super) fn connected(&mut self, atc: bool) {
        self.again = self.newest.is_some();
        (self.atc, self.fresh, self.overlap, self.wait_key) = (atc, true, false, None);
    }

    /// The packet as it goes on; `None` for one that is left out.
    pub(super) fn take(&mut self, packet: Packet) -> Option<Packet> {
        let raw = packet.dts;
        if packet.header || packet.kind == Kind::Data {
            let fresh = self.fresh && self.again;
            let dts = match self.newest {
                Some(newest) if fresh => newest,
                _ => self.shifted(raw),
            };
            return Some(Packet { dts, ..packet });
        }
        if std::mem::take(&mut self.fresh) {
            self.begin(&packet);
        }
        let mut dts = self.shifted(raw);
        let track = usize::from(packet.kind == Kind::Video);
        let last = self.last.get(track).copied().flatten();
        if let Some(last) = last.filter(|_| self.again) {
            let step = difference(dts, last);
            if self.overlap && step <= 0 {
                return None;
            }
            if !self.atc && (-INTERLEAVED_MS..0).contains(&step) {
                dts = last;
            }
        }
        if packet.kind == Kind::Video {
            self.video = true;
            if let Some(since) = self.wait_key {
                if !packet.key && difference(raw, since) < KEY_WAIT_MS {
                    return None;
                }
                self.wait_key = None;
            }
        }
        if let Some(slot) = self.last.get_mut(track) {
            *slot = Some(dts);
        }
        if self.newest.is_none_or(|newest| difference(dts, newest) > 0) {
            self.newest = Some(dts);
        }
        Some(Packet { dts, ..packet })
    }

    fn shifted(&self, raw: u32) -> u32 {
        raw.wrapping_add(self.offset) & MASK
    }

    /// The first frame of a connection.
    fn begin(&mut self, packet: &Packet) {
        let Some(newest) = self.newest else { return };
        if self.atc {
            self.offset = 0;
            let step = difference(packet.dts, newest);
            self.overlap = (-SAME_CLOCK_MS..=0).contains(&step);
        } else {
            self.offset = newest.wrapping_add(STEP_MS).wrapping_sub(packet.dts) & MASK;
        }
        // What follows on what was there needs no key frame.
        if self.video && !self.overlap {
            self.wait_key = Some(packet.dts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(dts: u32, key: bool) -> Packet {
        Packet::new(Kind::Video, dts, vec![if key { 0x17 } else { 0x27 }, 1, 0, 0, 0, 9].into())
    }

    fn audio(dts: u32) -> Packet {
        Packet::new(Kind::Audio, dts, vec![0xaf, 1, 9].into())
    }

    fn header() -> Packet {
        Packet::new(Kind::Video, 0, vec![0x17, 0, 0, 0, 0, 9].into())
    }

    fn times(splice: &mut Splice, packets: impl IntoIterator<Item = Packet>) -> Vec<u32> {
        packets.into_iter().filter_map(|p| splice.take(p)).map(|p| p.dts).collect()
    }

    #[test]
    fn the_first_connection_passes_as_it_is() {
        let mut splice = Splice::default();
        splice.connected(false);
        let packets = [header(), video(5000, false), audio(4990), video(90, true)];
        assert_eq!(times(&mut splice, packets), [0, 5000, 4990, 90]);
    }

    #[test]
    fn the_next_connection_goes_on_behind_the_last_from_a_key_frame() {
        let mut splice = Splice::default();
        splice.connected(false);
        times(&mut splice, [video(1000, true), audio(1020), video(1040, false)]);
        splice.connected(false);
        let packets = [header(), video(7, false), audio(0), video(40, true), audio(30)];
        // The picture without a key is left out; sound goes on, and does not run back.
        assert_eq!(times(&mut splice, packets), [1040, 1043, 1083, 1073]);
        splice.connected(false);
        assert_eq!(times(&mut splice, [video(MASK, true), video(0, false)]), [1093, 1094]);
    }

    #[test]
    fn with_absolute_times_there_is_no_seam() {
        let mut splice = Splice::default();
        splice.connected(true);
        times(&mut splice, [video(9000, true), audio(9010), video(9040, false), audio(9030)]);
        splice.connected(true);
        let again = [video(9000, true), audio(9010), video(9040, false), audio(9030)];
        let new = [audio(9050), video(9080, false)];
        assert_eq!(times(&mut splice, again.into_iter().chain(new)), [9050, 9080]);
    }

    #[test]
    fn with_absolute_times_a_gap_ends_at_a_key_frame() {
        let mut splice = Splice::default();
        splice.connected(true);
        times(&mut splice, [video(9000, true)]);
        splice.connected(true);
        let packets = [video(12_000, false), audio(12_010), video(12_040, true)];
        assert_eq!(times(&mut splice, packets), [12_010, 12_040]);
    }
}
