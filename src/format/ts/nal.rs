//! NAL units inside a packet, and the parameter sets beside them: H.264 (ISO/IEC 14496-10,
//! 14496-15) and HEVC (ISO/IEC 23008-2).

use super::{Error, Video};
use crate::codec::nal::{self, Unit};
use crate::limits::{NAL_UNITS, PARAMETER_SETS};

/// The units of one access unit, in order, none of them empty.
pub(super) type Units<'a> = heapless::Vec<&'a [u8], NAL_UNITS>;

/// How units stand in packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Each has its length in front of it (ISO/IEC 14496-15).
    Lengths,
    /// Each begins with a start code (ISO/IEC 14496-10 annex B).
    StartCodes,
}

/// What a role a unit has for the muxer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An access unit delimiter.
    Delimiter,
    /// A parameter set.
    Parameters,
    /// A slice of a picture at which a decoder can start.
    Start,
    /// Anything else.
    Other,
}

impl Video {
    pub(super) fn role(self, unit: &[u8]) -> Role {
        match self.unit(unit) {
            Unit::Delimiter => Role::Delimiter,
            Unit::Set(_) => Role::Parameters,
            Unit::Slice { start: true, .. } => Role::Start,
            _ => Role::Other,
        }
    }

    /// A delimiter that allows any kind of slice.
    pub(super) const fn delimiter(self) -> &'static [u8] {
        match self {
            Self::H264 => &[9, 0xf0],
            Self::Hevc => &[0x46, 1, 0x50],
        }
    }
}

/// What a sequence header says of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) video: Video,
    length_size: usize,
    /// Its parameter sets, each behind a start code of three bytes.
    pub(super) sets: Vec<u8>,
}

impl Parameters {
    /// Reads an AVCDecoderConfigurationRecord or a HEVCDecoderConfigurationRecord.
    pub(super) fn parse(video: Video, record: &[u8]) -> Result<Self, Error> {
        let (length_size, sets) = match video {
            Video::H264 => h264(record),
            Video::Hevc => hevc(record),
        }?;
        Ok(Self { video, length_size, sets })
    }

    /// The units of `data`. Lengths that fit to the last byte are believed first: a length of 256
    /// to 511 looks like a start code. Once `layout` is lengths it stays so.
    pub(super) fn units<'a>(
        &self,
        data: &'a [u8],
        layout: &mut Option<Layout>,
    ) -> Result<Units<'a>, Error> {
        match with_lengths(data, self.length_size) {
            Ok(units) => {
                *layout = Some(Layout::Lengths);
                Ok(units)
            }
            Err(_) if *layout != Some(Layout::Lengths) && start_code(data) => {
                *layout = Some(Layout::StartCodes);
                with_start_codes(data)
            }
            Err(error) => Err(error),
        }
    }
}

const MANY: Error = Error::Corrupt("more NAL units than limit nal_units");
const CUT: Error = Error::Corrupt("sequence header is cut off");
const SHORT: Error = Error::Corrupt("NAL unit is longer than its packet");
const LARGE: Error = Error::Corrupt("parameter sets longer than limit parameter_sets");

fn with_lengths(mut data: &[u8], size: usize) -> Result<Units<'_>, Error> {
    let mut units = Units::new();
    while !data.is_empty() {
        let (len, rest) = data.split_at_checked(size).ok_or(SHORT)?;
        let len = len.iter().fold(0_u32, |len, &byte| len << 8 | u32::from(byte));
        let len = usize::try_from(len).map_err(|_| SHORT)?;
        let (unit, rest) = rest.split_at_checked(len).ok_or(SHORT)?;
        if !unit.is_empty() {
            units.push(unit).map_err(|_| MANY)?;
        }
        data = rest;
    }
    Ok(units)
}

/// Whether `data` begins with two zeros or more and a one.
fn start_code(data: &[u8]) -> bool {
    let zeros = data.iter().take_while(|&&byte| byte == 0).count();
    zeros >= 2 && data.get(zeros) == Some(&1)
}

fn with_start_codes(data: &[u8]) -> Result<Units<'_>, Error> {
    let mut units = Units::new();
    for unit in nal::units(data) {
        units.push(unit).map_err(|_| MANY)?;
    }
    Ok(units)
}

fn h264(record: &[u8]) -> Result<(usize, Vec<u8>), Error> {
    let (&[version, _, _, _, length, count], mut rest) = record.split_first_chunk().ok_or(CUT)?;
    if version != 1 {
        return Err(Error::Corrupt("AVCDecoderConfigurationRecord version is not 1"));
    }
    let size = length_size(length)?;
    let mut sets = Vec::new();
    for _ in 0..count & 31 {
        take_set(&mut rest, &mut sets, |set| set.first().is_some_and(|first| first & 0x9f == 7))?;
    }
    let (&count, after) = rest.split_first().ok_or(CUT)?;
    rest = after;
    for _ in 0..count {
        take_set(&mut rest, &mut sets, |set| set.first().is_some_and(|first| first & 0x9f == 8))?;
    }
    Ok((size, sets))
}

fn hevc(record: &[u8]) -> Result<(usize, Vec<u8>), Error> {
    let (head, mut rest) = record.split_first_chunk::<23>().ok_or(CUT)?;
    let [.., length, arrays] = *head;
    let size = length_size(length)?;
    let mut sets = Vec::new();
    for _ in 0..arrays {
        let (&[_, high, low], after) = rest.split_first_chunk().ok_or(CUT)?;
        rest = after;
        for _ in 0..u16::from_be_bytes([high, low]) {
            // SEI units may stand here too: they go with the sets.
            take_set(&mut rest, &mut sets, |set| set.first().is_some_and(|first| first >> 7 == 0))?;
        }
    }
    Ok((size, sets))
}

fn length_size(byte: u8) -> Result<usize, Error> {
    match byte & 3 {
        2 => Err(Error::Corrupt("NAL unit lengths of 3 bytes")),
        size => Ok(usize::from(size) + 1),
    }
}

/// Moves a unit behind a length of two bytes from `input` to `sets`.
fn take_set(
    input: &mut &[u8],
    sets: &mut Vec<u8>,
    right: impl Fn(&[u8]) -> bool,
) -> Result<(), Error> {
    let (len, rest) = input.split_first_chunk().ok_or(CUT)?;
    let (set, rest) = rest.split_at_checked(u16::from_be_bytes(*len).into()).ok_or(CUT)?;
    *input = rest;
    if !right(set) {
        return Err(Error::Corrupt("not a parameter set where one is due"));
    }
    if sets.len() + set.len() + 3 > PARAMETER_SETS {
        return Err(LARGE);
    }
    sets.extend_from_slice(&[0, 0, 1]);
    sets.extend_from_slice(set);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{hex, mutations};

    const RECORD: &str = "0142c00cffe100196742c00cd901419f9f011000000300100000030320f142a480
        01000568cb83cb20";

    fn units(length_size: u8, data: &str, layout: Option<Layout>) -> Result<Vec<Vec<u8>>, Error> {
        let mut record = hex(RECORD);
        record[4] = 0xfc | (length_size - 1);
        let parameters = Parameters::parse(Video::H264, &record).unwrap();
        let data = hex(data);
        let units = parameters.units(&data, &mut layout.clone())?;
        Ok(units.iter().map(|unit| unit.to_vec()).collect())
    }

    /// Name, bytes of a length, packet, units.
    type Case = (&'static str, u8, &'static str, &'static [&'static str]);

    const CASES: &[Case] = &[
        ("two with lengths", 4, "00000002 09f0 00000003 658801", &["09f0", "658801"]),
        ("lengths of two bytes", 2, "0002 09f0 0003 658801", &["09f0", "658801"]),
        ("lengths of one byte", 1, "02 09f0 03 658801", &["09f0", "658801"]),
        ("an empty one", 4, "00000000 00000003 658801", &["658801"]),
        ("start codes", 4, "00000001 09f0 000001 658801", &["09f0", "658801"]),
        ("more zeros", 4, "0000000001 09f0 00000000000001 658801 0000", &["09f0", "658801"]),
        ("nothing", 4, "", &[]),
        ("start code only", 4, "000001", &[]),
        ("a unit of one byte", 4, "00000001 0b", &["0b"]),
    ];

    #[test]
    fn units_are_found_in_both_layouts() {
        for &(name, size, data, want) in CASES {
            let want: Vec<_> = want.iter().map(|unit| hex(unit)).collect();
            assert_eq!(units(size, data, None), Ok(want), "{name}");
        }
    }

    #[test]
    fn a_length_that_looks_like_a_start_code_is_a_length() {
        let data = format!("00000120{}", "41".repeat(0x120));
        assert_eq!(units(4, &data, None).unwrap(), [vec![0x41; 0x120]]);
        let cut = format!("00000120{}", "41".repeat(0x119));
        assert_eq!(units(4, &cut, Some(Layout::Lengths)), Err(SHORT), "once it is known");
        assert!(units(4, &cut, None).is_ok(), "before that it is a start code");
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for lie in ["00000005 658801", "ffffffff 658801", "80000000", "000000", "00000002 6588 00"]
        {
            assert_eq!(units(4, lie, None), Err(SHORT), "{lie}");
        }
    }

    #[test]
    fn one_unit_more_than_the_bound_is_refused() {
        let most = "00000001 41".repeat(NAL_UNITS);
        assert_eq!(units(4, &most, Some(Layout::Lengths)).unwrap().len(), NAL_UNITS);
        assert_eq!(units(4, &(most + "00000001 41"), Some(Layout::Lengths)), Err(MANY));
        let codes = "000001 41".repeat(NAL_UNITS + 1);
        assert_eq!(units(4, &codes, None), Err(MANY));
    }

    #[test]
    fn a_record_gives_its_sets_and_a_piece_of_it_nothing() {
        let record = hex(RECORD);
        let parameters = Parameters::parse(Video::H264, &record).unwrap();
        let want =
            hex("0000016742c00cd901419f9f011000000300100000030320f142a480 000001 68cb83cb20");
        assert_eq!(parameters.sets, want);
        for len in 0..record.len() {
            assert_eq!(Parameters::parse(Video::H264, &record[..len]), Err(CUT), "{len}");
        }
        mutations(&record, |changed| {
            for video in [Video::H264, Video::Hevc] {
                if let Ok(parameters) = Parameters::parse(video, changed) {
                    assert!(parameters.sets.len() <= 2 * changed.len());
                }
            }
        });
    }

    #[test]
    fn sets_beyond_the_bound_are_refused() {
        let mut record = hex("0142c00cffe2");
        for _ in 0..2 {
            record.extend((PARAMETER_SETS as u16 - 4).to_be_bytes());
            record.extend([0x67; PARAMETER_SETS - 4]);
        }
        assert_eq!(Parameters::parse(Video::H264, &record), Err(LARGE));
    }

    #[test]
    fn units_have_roles() {
        for (video, bytes, role) in [
            (Video::H264, "09f0", Role::Delimiter),
            (Video::H264, "6742", Role::Parameters),
            (Video::H264, "68", Role::Parameters),
            (Video::H264, "65", Role::Start),
            (Video::H264, "41", Role::Other),
            (Video::Hevc, "460150", Role::Delimiter),
            (Video::Hevc, "4001", Role::Parameters),
            (Video::Hevc, "2601", Role::Start),
            (Video::Hevc, "2a01", Role::Start),
            (Video::Hevc, "0201", Role::Other),
            (Video::Hevc, "", Role::Other),
        ] {
            assert_eq!(video.role(&hex(bytes)), role, "{video:?} {bytes}");
        }
    }
}
