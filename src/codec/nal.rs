//! NAL units of H.264 (ISO/IEC 14496-10 §7.3.1, §7.4.1.2) and HEVC (ISO/IEC 23008-2 §7.3.1.2,
//! §7.4.2.4): where they are in a byte stream, what they are, where a picture begins.

use super::bits::Bits;

/// A video codec that is made of NAL units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Video {
    /// H.264; stream type 0x1b in TS.
    H264,
    /// H.265; stream type 0x24 in TS.
    Hevc,
}

/// What a unit is to somebody who carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A parameter set.
    Set(Set),
    /// A slice of a picture.
    Slice {
        /// Of a picture at which a decoder can start: IDR in H.264, IRAP in HEVC.
        start: bool,
        /// The first one of its picture.
        first: bool,
    },
    /// An access unit delimiter.
    Delimiter,
    /// Filler data.
    Filler,
    /// Supplemental information in front of its picture.
    Sei,
    /// Anything else, a unit without bytes among it.
    Other,
}

/// The kinds of parameter sets, in the order in which decoders want them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// Video parameter set, HEVC only.
    Vps,
    /// Sequence parameter set.
    Sps,
    /// Picture parameter set.
    Pps,
}

impl Video {
    /// Bytes of a unit that [`unit`](Self::unit) and [`begins_picture`](Self::begins_picture)
    /// look at; a unit that has fewer is looked at as it is.
    pub const fn head(self) -> usize {
        match self {
            Self::H264 => 2,
            Self::Hevc => 3,
        }
    }

    /// The type in the header of a unit; 0 when there are no bytes.
    pub fn unit_type(self, unit: &[u8]) -> u8 {
        let first = unit.first().copied().unwrap_or_default();
        match self {
            Self::H264 => first & 0x1f,
            Self::Hevc => first >> 1 & 0x3f,
        }
    }

    /// What `unit` is.
    pub fn unit(self, unit: &[u8]) -> Unit {
        let set = |at: usize| unit.get(at).is_some_and(|byte| byte & 0x80 != 0);
        if unit.is_empty() {
            return Unit::Other;
        }
        match (self, self.unit_type(unit)) {
            // first_mb_in_slice and first_slice_segment_in_pic_flag.
            (Self::H264, kind @ (1 | 2 | 5)) => Unit::Slice { start: kind == 5, first: set(1) },
            (Self::Hevc, kind @ 0..=31) => {
                Unit::Slice { start: matches!(kind, 16..=23), first: set(2) }
            }
            (Self::H264, 6) | (Self::Hevc, 39) => Unit::Sei,
            (Self::H264, 7) | (Self::Hevc, 33) => Unit::Set(Set::Sps),
            (Self::H264, 8) | (Self::Hevc, 34) => Unit::Set(Set::Pps),
            (Self::Hevc, 32) => Unit::Set(Set::Vps),
            (Self::H264, 9) | (Self::Hevc, 35) => Unit::Delimiter,
            (Self::H264, 12) | (Self::Hevc, 38) => Unit::Filler,
            _ => Unit::Other,
        }
    }

    /// Whether `unit`, behind a slice, begins the next picture.
    pub fn begins_picture(self, unit: &[u8]) -> bool {
        match self.unit(unit) {
            Unit::Set(_) | Unit::Delimiter | Unit::Sei => true,
            Unit::Slice { first, .. } => {
                // Layers above the base belong to the picture of the base.
                first && (self == Self::H264 || layer(unit) == 0)
            }
            Unit::Filler | Unit::Other => match (self, self.unit_type(unit)) {
                (Self::H264, kind) => matches!(kind, 15..=18),
                (Self::Hevc, kind) => matches!(kind, 41..=44 | 48..=55),
            },
        }
    }

    /// Whether the units of a picture say that a decoder can start at it, though it is none of
    /// the kind made for that: an H.264 recovery point without a delay.
    pub fn recovers<'a>(self, mut units: impl Iterator<Item = &'a [u8]>) -> bool {
        self == Self::H264
            && units.any(|unit| self.unit(unit) == Unit::Sei && recovery_point(unit) == Some(0))
    }
}

/// `nuh_layer_id`.
fn layer(unit: &[u8]) -> u8 {
    match *unit {
        [a, b, ..] => (a & 1) << 5 | b >> 3,
        _ => 0,
    }
}

/// `recovery_frame_cnt` of an H.264 SEI unit that has one (§D.1.8).
fn recovery_point(unit: &[u8]) -> Option<u32> {
    let mut bits = Bits::rbsp(unit.get(1..)?);
    // Messages of a unit; a few at most.
    for _ in 0..8 {
        let kind = sei_number(&mut bits)?;
        let len = sei_number(&mut bits)?;
        if kind == 6 {
            return bits.ue().ok();
        }
        bits.skip(len.checked_mul(8)?).ok()?;
    }
    None
}

fn sei_number(bits: &mut Bits<'_>) -> Option<u32> {
    let mut number = 0_u32;
    loop {
        let byte = bits.bits(8).ok()?;
        number = number.checked_add(byte)?;
        if byte != 0xff {
            return Some(number);
        }
    }
}

/// The offset of the next `00 00 01`.
pub fn start_code(data: &[u8]) -> Option<usize> {
    let mut at = 2;
    // The third byte of a start code is the rarest to be right: most steps are of three bytes.
    while let Some(&byte) = data.get(at) {
        match byte {
            0 => at += 1,
            1 if data.get(at - 2..at) == Some(&[0, 0]) => return Some(at - 2),
            _ => at += 3,
        }
    }
    None
}

/// The units of a byte stream with start codes (ISO/IEC 14496-10 annex B), none of them empty,
/// without the zeros behind them. What is before the first start code is passed over.
pub fn units(data: &[u8]) -> Units<'_> {
    Units { rest: after_start_code(data) }
}

/// See [`units`].
#[derive(Clone, Debug)]
pub struct Units<'a> {
    /// Begins at a unit.
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Units<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let data = self.rest.take()?;
            let unit = match start_code(data) {
                Some(end) => {
                    self.rest = data.get(end + 3..);
                    data.get(..end)?
                }
                None => data,
            };
            // Zeros behind a unit belong to the next start code or are padding.
            let len = unit.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            if len > 0 {
                return unit.get(..len);
            }
        }
    }
}

/// The units of data with a length of `size` bytes, 1 to 4, in front of each (ISO/IEC 14496-15),
/// none of them empty. It ends at the first length that is longer than the data.
pub const fn prefixed(data: &[u8], size: usize) -> Prefixed<'_> {
    Prefixed { rest: data, size }
}

/// See [`prefixed`].
#[derive(Clone, Debug)]
pub struct Prefixed<'a> {
    rest: &'a [u8],
    size: usize,
}

impl<'a> Iterator for Prefixed<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let (len, rest) = self.rest.split_at_checked(self.size)?;
            let len = len.iter().fold(0_u32, |len, &byte| len << 8 | u32::from(byte));
            let (unit, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            if self.size == 0 {
                return None;
            }
            self.rest = rest;
            if !unit.is_empty() {
                return Some(unit);
            }
        }
    }
}

fn after_start_code(data: &[u8]) -> Option<&[u8]> {
    data.get(start_code(data)? + 3..)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    /// A byte stream, its units.
    const CASES: &[(&str, &[&str])] = &[
        ("", &[]),
        ("000001", &[]),
        ("0000", &[]),
        ("658801", &[]),
        ("00000109f0", &["09f0"]),
        ("00000001 09f0 000001 658801", &["09f0", "658801"]),
        ("aabb 00000001 09f0 000001 658801", &["09f0", "658801"]),
        ("0000000001 09f0 00000000000001 658801 0000", &["09f0", "658801"]),
        ("000001 000001 000001 0b 000001", &["0b"]),
        ("000001 0001 000002 000001 41", &["0001000002", "41"]),
        ("000001 01010101 000001 00", &["01010101"]),
    ];

    #[test]
    fn units_stand_between_start_codes() {
        for &(data, want) in CASES {
            let want: Vec<_> = want.iter().map(|unit| hex(unit)).collect();
            assert_eq!(units(&hex(data)).collect::<Vec<_>>(), want, "{data}");
        }
    }

    #[test]
    fn a_start_code_is_found_where_a_simple_search_finds_it() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..5000 {
            let data: Vec<u8> = (0..rng.usize(..40)).map(|_| rng.u8(..3)).collect();
            let want = data.windows(3).position(|window| window == [0, 0, 1]);
            assert_eq!(start_code(&data), want, "{data:?}");
        }
    }

    #[test]
    fn lengths_that_lie_end_the_units() {
        for (data, want) in [
            ("00000002 09f0 00000000 00000001 65", &["09f0", "65"][..]),
            ("00000002 09f0 00000009 6588", &["09f0"]),
            ("ffffffff 65", &[]),
            ("0000", &[]),
        ] {
            let want: Vec<_> = want.iter().map(|unit| hex(unit)).collect();
            assert_eq!(prefixed(&hex(data), 4).collect::<Vec<_>>(), want, "{data}");
        }
        assert_eq!(prefixed(&[1, 2], 0).next(), None);
    }

    #[test]
    fn units_are_told_apart() {
        const SLICE: fn(bool, bool) -> Unit = |start, first| Unit::Slice { start, first };
        for (video, bytes, want, begins) in [
            (Video::H264, "09f0", Unit::Delimiter, true),
            (Video::H264, "6742", Unit::Set(Set::Sps), true),
            (Video::H264, "68ce", Unit::Set(Set::Pps), true),
            (Video::H264, "0605", Unit::Sei, true),
            (Video::H264, "6588", SLICE(true, true), true),
            (Video::H264, "6540", SLICE(true, false), false),
            (Video::H264, "419a", SLICE(false, true), true),
            (Video::H264, "41", SLICE(false, false), false),
            (Video::H264, "0cff", Unit::Filler, false),
            (Video::H264, "0b", Unit::Other, false),
            (Video::H264, "6f", Unit::Other, true),
            (Video::Hevc, "4001", Unit::Set(Set::Vps), true),
            (Video::Hevc, "4201", Unit::Set(Set::Sps), true),
            (Video::Hevc, "4401", Unit::Set(Set::Pps), true),
            (Video::Hevc, "460150", Unit::Delimiter, true),
            (Video::Hevc, "4e01", Unit::Sei, true),
            (Video::Hevc, "5001", Unit::Other, false),
            (Video::Hevc, "260180", SLICE(true, true), true),
            (Video::Hevc, "260980", SLICE(true, true), false),
            (Video::Hevc, "020100", SLICE(false, false), false),
            (Video::Hevc, "2a0180", SLICE(true, true), true),
            (Video::Hevc, "4c01", Unit::Filler, false),
            (Video::H264, "", Unit::Other, false),
        ] {
            let bytes = hex(bytes);
            assert_eq!(video.unit(&bytes), want, "{video:?} {bytes:x?}");
            assert_eq!(video.begins_picture(&bytes), begins, "{video:?} {bytes:x?}");
        }
    }

    #[test]
    fn a_recovery_point_without_delay_is_a_start() {
        for (bytes, want) in [
            ("06 06 01 c4 80", Some(0)),
            ("06 05 02 aabb 06 01 c4 80", Some(0)),
            ("06 06 01 24 80", Some(3)),
            ("06 05 ff", None),
            ("06 05 ff ff ff ff", None),
            ("06", None),
        ] {
            assert_eq!(recovery_point(&hex(bytes)), want, "{bytes}");
        }
        mutations(&hex("06 05 02 aabb 06 01 c4 80"), |changed| {
            recovery_point(changed);
        });
    }
}
