//! Timestamps: what a player sees of the publisher's times. Milliseconds, 31 bits, wrapping.

use super::Kind;

/// Timestamps are 31 bits wide (RTMP 1.0 §5.3.1 with the sign bit kept clear).
pub const MASK: u32 = 0x7fff_ffff;

/// A step of more than this between two packets is a jump of the source, not a gap in it.
const JUMP_MS: i32 = 250;
/// What a jump becomes.
const FRAME_MS: i32 = 10;

/// `later - earlier` on the 31-bit circle, -2^30 to 2^30 - 1.
pub const fn difference(later: u32, earlier: u32) -> i32 {
    ((later.wrapping_sub(earlier) << 1) as i32) >> 1
}

/// The directive `time_jitter`: how a player's times follow the source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// Starts near 0; steps of more than 250 ms either way become 10 ms.
    #[default]
    Full,
    /// Starts at 0, steps unchanged.
    Zero,
    /// The source's own times.
    Off,
}

/// Corrects the times of one player. 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter {
    algorithm: Algorithm,
    last_in: u32,
    /// The last time given out; −1 before the first.
    last_out: i32,
    /// The newest of them: sound and picture may be a little out of order.
    newest: i32,
}

impl Jitter {
    /// A player that has been sent nothing yet.
    pub const fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, last_in: 0, last_out: -1, newest: -1 }
    }

    /// Another algorithm from the next packet on.
    pub const fn set_algorithm(&mut self, algorithm: Algorithm) {
        self.algorithm = algorithm;
    }

    /// The time that a packet of `kind` at `dts` is sent with. Call it once a packet, in order.
    pub fn correct(&mut self, kind: Kind, dts: u32) -> u32 {
        let out = match self.algorithm {
            Algorithm::Off => return dts,
            _ if kind == Kind::Data => return self.now(dts),
            Algorithm::Full => {
                let step = difference(dts, self.last_in);
                let (from, step) = if (-JUMP_MS..=JUMP_MS).contains(&step) {
                    (self.last_out, step)
                } else {
                    (self.newest, FRAME_MS)
                };
                (from.wrapping_add(step) as u32 & MASK) as i32
            }
            Algorithm::Zero if self.last_out < 0 => 0,
            Algorithm::Zero => {
                let step = difference(dts, self.last_in);
                (self.last_out.wrapping_add(step) as u32 & MASK) as i32
            }
        };
        // A step back from the very start would be negative: it wraps to the top of the circle.
        let out = if self.last_out < 1000 && out > MASK as i32 - 1000 { 0 } else { out };
        self.last_in = dts;
        self.last_out = out;
        if self.newest < 0 || difference(out as u32, self.newest as u32) > 0 {
            self.newest = out;
        }
        out as u32
    }

    /// The time for what has none of its own: metadata, and the sequence headers that a player
    /// gets at its start. `next` is the time of the packet that follows.
    pub fn now(&self, next: u32) -> u32 {
        match self.algorithm {
            Algorithm::Off => next,
            Algorithm::Full | Algorithm::Zero => self.last_out.max(0) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(algorithm: Algorithm, times: &[u32]) -> Vec<u32> {
        let mut jitter = Jitter::new(algorithm);
        times.iter().map(|&t| jitter.correct(Kind::Video, t)).collect()
    }

    #[test]
    fn each_algorithm_corrects_as_documented() {
        let cases: &[(&str, Algorithm, &[u32], &[u32])] = &[
            ("a late joiner starts near 0", Algorithm::Full, &[500_000, 500_040], &[9, 49]),
            ("a start at 0", Algorithm::Full, &[0, 40, 80], &[0, 40, 80]),
            ("a jump of 10 s is 10 ms", Algorithm::Full, &[0, 40, 10_040], &[0, 40, 50]),
            ("a jump back is 10 ms", Algorithm::Full, &[0, 40, 5_000_000, 0], &[0, 40, 50, 60]),
            (
                "a jump goes on after the newest",
                Algorithm::Full,
                &[1000, 1040, 1020, 9000],
                &[9, 49, 29, 59],
            ),
            ("a small step back is kept", Algorithm::Full, &[1000, 1040, 1020], &[9, 49, 29]),
            ("across 2^31", Algorithm::Full, &[MASK - 39, 0, 40], &[0, 40, 80]),
            ("zero", Algorithm::Zero, &[500_000, 500_040, 510_000], &[0, 40, 10_000]),
            ("zero across 2^31", Algorithm::Zero, &[MASK - 39, 0, 40], &[0, 40, 80]),
            ("zero does not go below 0", Algorithm::Zero, &[1000, 960], &[0, 0]),
            ("off", Algorithm::Off, &[500_000, 7, MASK], &[500_000, 7, MASK]),
        ];
        for (name, algorithm, input, output) in cases {
            assert_eq!(&run(*algorithm, input), output, "{name}");
        }
    }

    #[test]
    fn metadata_does_not_move_the_clock() {
        let mut jitter = Jitter::new(Algorithm::Full);
        assert_eq!(jitter.correct(Kind::Data, 99_999), 0);
        assert_eq!(jitter.correct(Kind::Video, 0), 0);
        assert_eq!(jitter.correct(Kind::Video, 40), 40);
        assert_eq!(jitter.correct(Kind::Data, 99_999), 40);
    }

    #[test]
    fn a_time_past_24_bits_is_kept() {
        let mut jitter = Jitter::new(Algorithm::Full);
        let mut last = 0;
        for i in 0..100_000u32 {
            last = jitter.correct(Kind::Audio, i * 200);
        }
        assert_eq!(last, 99_999 * 200);
    }

    #[test]
    fn difference_is_signed_on_the_circle() {
        assert_eq!(difference(5, 3), 2);
        assert_eq!(difference(3, 5), -2);
        assert_eq!(difference(0, MASK), 1);
        assert_eq!(difference(MASK, 0), -1);
    }
}
