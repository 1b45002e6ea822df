//! Decode times, which RTP does not carry, from presentation times in decode order.

use super::Payload;
use crate::codec::reorder;

/// Pictures that may stand between a picture's place in decode order and its presentation
/// (H.264 and H.265 allow 16).
const DEPTH_MAX: usize = 16;
/// Further back than this is not reordering: 10 s of 90 kHz.
const JUMP: i64 = 10 * 90_000;
/// Between decode times where nothing better is known: 1 ms.
const STEP: i64 = 90;

/// Pictures that are decoded before, and shown after another one: the depth for
/// [`Decode::new`], from a sequence parameter set. `None` where it does not say.
pub fn reorder_depth(payload: Payload, sps: &[u8]) -> Option<u8> {
    match payload {
        Payload::H264 => reorder::avc(sps).ok().flatten(),
        Payload::Hevc => reorder::hevc(sps).ok(),
        Payload::Aac { .. } | Payload::Latm { .. } => Some(0),
    }
}

/// Gives each picture a decode time: at most its presentation time, and more than the one before.
///
/// With a depth of n that is the presentation time with n later ones before it: no picture can be
/// shown earlier than that. The first n pictures are a millisecond apart. A stream that reorders
/// more than it said is learned from; until then presentation times are moved.
#[derive(Clone, Debug, Default)]
pub struct Decode {
    depth: usize,
    /// The latest `depth + 1` presentation times, the earliest first.
    latest: heapless::Vec<i64, { DEPTH_MAX + 1 }>,
    last: Option<i64>,
}

impl Decode {
    /// For a stream with this [`reorder_depth`]; 0 where it is not known, 16 at most.
    pub fn new(depth: u8) -> Self {
        Self { depth: usize::from(depth).min(DEPTH_MAX), ..Self::default() }
    }

    /// The decode time of the next picture in decode order, and its presentation time, which is
    /// as given unless the stream went back. Both in ticks of 90 kHz.
    pub fn next(&mut self, pts: i64) -> (i64, i64) {
        if self.last.is_some_and(|last| last.saturating_sub(pts) > JUMP) {
            // Another time line: the corrector behind this sees to it.
            self.latest.clear();
            self.last = None;
        }
        let dts = self.estimate(pts);
        if dts > pts && self.depth < DEPTH_MAX {
            self.depth += 1;
        }
        self.last = Some(dts);
        (dts, pts.max(dts))
    }

    fn estimate(&mut self, pts: i64) -> i64 {
        let at = self.latest.partition_point(|&time| time <= pts);
        if self.latest.len() > self.depth {
            if at > 0 {
                // Out with the earliest.
                self.latest.remove(0);
                let _ = self.latest.insert(at - 1, pts);
            }
        } else {
            let _ = self.latest.insert(at, pts);
        }
        let earliest = self.latest.first().copied().unwrap_or(pts);
        let missing = (self.depth + 1).saturating_sub(self.latest.len());
        // 16 at most.
        let want = earliest.saturating_sub(missing as i64 * STEP);
        match self.last {
            Some(last) if want <= last => last + 1,
            _ => want,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Depth, presentation times in frames in decode order, decode times in frames from where
    /// they are regular.
    const CASES: &[(u8, &[i64], &[i64])] = &[
        (0, &[0, 1, 2, 3, 4], &[0, 1, 2, 3, 4]),
        (1, &[0, 3, 1, 2, 6, 4, 5, 9, 7, 8], &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (2, &[0, 4, 2, 1, 3, 8, 6, 5, 7, 12, 10, 9], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (2, &[0, 1, 2, 3, 4, 5], &[0, 1, 2, 3]),
    ];

    #[test]
    fn decode_times_are_regular_and_not_after_presentation() {
        for (depth, frames, want) in CASES {
            let mut decode = Decode::new(*depth);
            let mut last = None;
            let mut got = Vec::new();
            for frame in *frames {
                let (dts, pts) = decode.next(frame * 3600);
                assert_eq!(pts, frame * 3600, "{frames:?}");
                assert!(dts <= pts && last < Some(dts), "{frames:?} {dts}");
                last = Some(dts);
                got.push(dts);
            }
            let want: Vec<_> = want.iter().map(|frame| frame * 3600).collect();
            assert_eq!(got[usize::from(*depth)..], want);
        }
    }

    #[test]
    fn a_stream_that_reorders_more_than_it_says_is_learned_from() {
        let mut decode = Decode::new(0);
        let mut last = i64::MIN;
        let mut moved = 0;
        for group in 0..50 {
            for frame in [0, 4, 2, 1, 3] {
                let given = (group * 4 + frame + 1) * 3600;
                if group > 0 && frame == 0 {
                    continue;
                }
                let (dts, pts) = decode.next(given);
                assert!(dts <= pts && dts > last);
                last = dts;
                moved += i64::from(pts != given);
            }
        }
        assert!(moved < 6, "{moved}");
        assert_eq!(decode.next(-1_000_000).1, -1_000_000, "a new time line begins anew");
    }

    #[test]
    fn any_times_give_decode_times_that_grow() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut decode = Decode::new(2);
        let mut last: Option<i64> = None;
        for _ in 0..10_000 {
            let (dts, pts) = decode.next(rng.i64(0..400_000));
            assert!(dts <= pts && last.is_none_or(|last| last < dts));
            last = Some(dts);
        }
    }
}
