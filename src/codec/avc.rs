//! H.264: AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1) and the sequence parameter
//! set inside it (ISO/IEC 14496-10 §7.3.2.1).

use super::{Error, bits::Bits};

/// What the server needs to know of an H.264 stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// `profile_idc`: 66, 77, 100, …
    pub profile: u8,
    /// `constraint_set0_flag` (top bit) to `constraint_set5_flag`.
    pub constraints: u8,
    /// `level_idc`: ten times the level.
    pub level: u8,
    /// Bytes of the length in front of each NAL unit: 1, 2 or 4.
    pub length_size: u8,
    /// Width of the picture in pixels, cropping applied.
    pub width: u16,
    /// Height of the picture in pixels, cropping applied.
    pub height: u16,
}

impl Config {
    /// Reads an AVCDecoderConfigurationRecord. Of several parameter sets the first one counts;
    /// what follows them is not looked at.
    pub fn parse(record: &[u8]) -> Result<Self, Error> {
        let mut input = record;
        let [version, _profile, _compatible, _level, length, count, ..] = *record else {
            return Err(Error::Incomplete);
        };
        input = input.get(6..).unwrap_or_default();
        if version != 1 {
            return Err(Error::Invalid("AVCDecoderConfigurationRecord version is not 1"));
        }
        let length_size = (length & 3) + 1;
        if length_size == 3 {
            return Err(Error::Invalid("NAL unit lengths of 3 bytes"));
        }
        let mut first = None;
        for _ in 0..count & 31 {
            let set = parameter_set(&mut input)?;
            first.get_or_insert(set);
        }
        let (&count, rest) = input.split_first().ok_or(Error::Incomplete)?;
        input = rest;
        for _ in 0..count {
            parameter_set(&mut input)?;
        }
        let sps = first.ok_or(Error::Unsupported("no SPS in the sequence header"))?;
        let sps = Sps::parse(sps).map_err(|e| match e {
            // The record states how long the SPS is, so more bytes would not help.
            Error::Incomplete => Error::Invalid("SPS ends too early"),
            e => e,
        })?;
        let Sps { profile, constraints, level, width, height, .. } = sps;
        Ok(Self { profile, constraints, level, length_size, width, height })
    }

    /// The profile's name, as players and encoders show it.
    pub const fn profile_name(&self) -> &'static str {
        // constraint_set1 and constraint_set3 narrow a profile (ISO/IEC 14496-10 §A.2).
        let (set1, set3) = (self.constraints & 0x40 != 0, self.constraints & 0x10 != 0);
        match self.profile {
            66 if set1 => "Constrained Baseline",
            66 => "Baseline",
            77 => "Main",
            88 => "Extended",
            100 => "High",
            110 if set3 => "High(10+Intra)",
            110 => "High(10)",
            122 if set3 => "High(422+Intra)",
            122 => "High(422)",
            144 | 244 => "High(444)",
            44 => "CAVLC(444)",
            _ => "Other",
        }
    }

    /// The level as text: `3.1`, `4`, `1b`.
    pub fn level_text(&self) -> String {
        // ISO/IEC 14496-10 §A.3.1: 1b is 9, or 11 with constraint_set3 in the old profiles.
        let old = matches!(self.profile, 66 | 77 | 88);
        match (self.level, self.level % 10) {
            (9, _) => "1b".into(),
            (11, _) if old && self.constraints & 0x10 != 0 => "1b".into(),
            (level, 0) => (level / 10).to_string(),
            (level, tenth) => format!("{}.{tenth}", level / 10),
        }
    }
}

/// Makes an AVCDecoderConfigurationRecord of parameter sets without start codes, with lengths of
/// 4 bytes. All of `sps` must be what they are said to be; 31 of them and 255 of `pps` are used, of
/// at most 65535 bytes each.
pub fn decoder_config(sps: &[&[u8]], pps: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let &first = sps.first().ok_or(Error::Unsupported("no SPS"))?;
    let parsed = Sps::parse(first)?;
    let mut record = vec![1, parsed.profile, parsed.constraints, parsed.level, 0xff];
    for (sets, most, reserved) in [(sps, 31, 0xe0), (pps, 255, 0)] {
        let sets = sets.get(..most).unwrap_or(sets);
        // `most` fits.
        record.push(reserved | sets.len() as u8);
        for set in sets {
            let len = u16::try_from(set.len()).map_err(|_| LONG)?;
            record.extend_from_slice(&len.to_be_bytes());
            record.extend_from_slice(set);
        }
    }
    // The profiles of 2005 and before have no such bytes.
    if has_chroma_format(parsed.profile) {
        let Sps { chroma, luma_depth, chroma_depth, .. } = parsed;
        record.extend_from_slice(&[0xfc | chroma, 0xf8 | luma_depth, 0xf8 | chroma_depth, 0]);
    }
    Ok(record)
}

/// The id of a sequence parameter set, 0 to 31. Sets that cannot be read are refused.
pub fn sps_id(nal: &[u8]) -> Result<u32, Error> {
    Sps::parse(nal)?;
    Bits::rbsp(nal.get(4..).unwrap_or_default()).ue()
}

/// The id of a picture parameter set, 0 to 255.
pub fn pps_id(nal: &[u8]) -> Result<u32, Error> {
    match *nal {
        [header, ref rest @ ..] if header & 0x9f == 8 => Bits::rbsp(rest)
            .ue()
            .and_then(|id| if id < 256 { Ok(id) } else { Err(Error::Invalid("PPS id above 255")) }),
        _ => Err(Error::Invalid("not a PPS where one is due")),
    }
}

/// The part of a sequence parameter set that is used.
struct Sps {
    profile: u8,
    constraints: u8,
    level: u8,
    width: u16,
    height: u16,
    /// `chroma_format_idc`, and bits of a sample above 8.
    chroma: u8,
    luma_depth: u8,
    chroma_depth: u8,
}

impl Sps {
    fn parse(nal: &[u8]) -> Result<Self, Error> {
        let [header, profile, constraints, level, ref rest @ ..] = *nal else {
            return Err(Error::Incomplete);
        };
        if header & 0x80 != 0 || header & 0x60 == 0 || header & 0x1f != 7 {
            return Err(Error::Invalid("not an SPS where one is due"));
        }
        if profile == 0 || level == 0 {
            return Err(Error::Invalid("SPS without profile or level"));
        }
        let mut bits = Bits::rbsp(rest);
        if bits.ue()? > 31 {
            return Err(Error::Invalid("SPS id above 31"));
        }
        let format = match has_chroma_format(profile) {
            true => chroma_format(&mut bits)?,
            false => Chroma { format: 1, array: 1, depth: [0, 0] },
        };
        bits.ue()?; // log2_max_frame_num_minus4
        picture_order(&mut bits)?;
        bits.ue()?; // max_num_ref_frames
        bits.bit()?; // gaps_in_frame_num_value_allowed_flag
        let (width, height) = picture_size(&mut bits, format.array)?;
        let Chroma { format: chroma, depth: [luma_depth, chroma_depth], .. } = format;
        Ok(Self { profile, constraints, level, width, height, chroma, luma_depth, chroma_depth })
    }
}

/// Takes a length of two bytes and so many bytes.
fn parameter_set<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], Error> {
    let (len, rest) = input.split_first_chunk().ok_or(Error::Incomplete)?;
    let len = usize::from(u16::from_be_bytes(*len));
    let (set, rest) = rest.split_at_checked(len).ok_or(Error::Incomplete)?;
    *input = rest;
    Ok(set)
}

/// The profiles of §7.3.2.1.1 whose SPS says chroma format and bit depth.
pub(super) const fn has_chroma_format(profile: u8) -> bool {
    matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

/// How colours are stored.
pub(super) struct Chroma {
    pub(super) format: u8,
    /// `ChromaArrayType`.
    pub(super) array: u32,
    pub(super) depth: [u8; 2],
}

/// Reads it, and past the scaling matrices.
pub(super) fn chroma_format(bits: &mut Bits) -> Result<Chroma, Error> {
    let chroma = bits.ue()?;
    if chroma > 3 {
        return Err(Error::Invalid("chroma format above 3"));
    }
    let separate = chroma == 3 && bits.bit()?;
    // More than 14 bits are nowhere allowed; three bits of the record are for it.
    let depth = [bits.ue()?, bits.ue()?].map(|depth| depth.min(7) as u8);
    bits.bit()?; // qpprime_y_zero_transform_bypass_flag
    if bits.bit()? {
        for list in 0..if chroma == 3 { 12 } else { 8 } {
            if bits.bit()? {
                scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Ok(Chroma { format: chroma as u8, array: if separate { 0 } else { chroma }, depth })
}

/// §7.3.2.1.1.1; only the length matters.
fn scaling_list(bits: &mut Bits, len: u32) -> Result<(), Error> {
    let mut last = 8_i32;
    for _ in 0..len {
        // Differences are -128 to 127, and sums count modulo 256.
        last = (last + bits.se()?.clamp(-128, 127)).rem_euclid(256);
        if last == 0 {
            break;
        }
    }
    Ok(())
}

/// `pic_order_cnt_type`, and past what belongs to it.
pub(super) fn picture_order(bits: &mut Bits) -> Result<u32, Error> {
    let order = bits.ue()?;
    match order {
        0 => drop(bits.ue()?), // log2_max_pic_order_cnt_lsb_minus4
        1 => {
            bits.bit()?; // delta_pic_order_always_zero_flag
            bits.se()?; // offset_for_non_ref_pic
            bits.se()?; // offset_for_top_to_bottom_field
            let count = bits.ue()?;
            if count > 255 {
                return Err(Error::Invalid("more than 255 frames in a picture order cycle"));
            }
            for _ in 0..count {
                bits.se()?;
            }
        }
        2 => {}
        _ => return Err(Error::Invalid("picture order type above 2")),
    }
    Ok(order)
}

fn picture_size(bits: &mut Bits, chroma: u32) -> Result<(u16, u16), Error> {
    let columns = bits.ue()?;
    let rows = bits.ue()?;
    let frames_only = bits.bit()?;
    if !frames_only {
        bits.bit()?; // mb_adaptive_frame_field_flag
    }
    bits.bit()?; // direct_8x8_inference_flag
    let mut crop = [0; 4];
    if bits.bit()? {
        for side in &mut crop {
            *side = bits.ue()?;
        }
    }
    // Units of cropping: §7.4.2.1.1, equations 7-19 to 7-22.
    let [left, right, top, bottom] = crop.map(u64::from);
    let fields = if frames_only { 1 } else { 2 };
    let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
    let unit_y = if chroma == 1 { 2 } else { 1 } * fields;
    let width = ((u64::from(columns) + 1) * 16).checked_sub((left + right) * unit_x);
    let height = ((u64::from(rows) + 1) * 16 * fields).checked_sub((top + bottom) * unit_y);
    let side = |pixels: Option<u64>| {
        pixels.filter(|&p| p > 0).and_then(|p| u16::try_from(p).ok()).ok_or(IMPOSSIBLE)
    };
    Ok((side(width)?, side(height)?))
}

const IMPOSSIBLE: Error = Error::Invalid("impossible picture size");
const LONG: Error = Error::Invalid("parameter set longer than 65535 bytes");

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    /// Name, record as x264 writes it, profile, level, width, height.
    type Case = (&'static str, &'static str, &'static str, &'static str, u16, u16);

    const CASES: &[Case] = &[
        (
            "high",
            "01640028ffe1001b67640028acd940780227e5c044000003000400000300c83c60c658
             01000668ebe3cb22c0fdf8f800",
            "High",
            "4",
            1920,
            1080,
        ),
        (
            "constrained baseline",
            "0142c00cffe100196742c00cd901419f9f011000000300100000030320f142a48001000568cb83cb20",
            "Constrained Baseline",
            "1.2",
            320,
            180,
        ),
        (
            "main",
            "014d401fffe10019674d401feca02802dd80880000030008000003019078c18cb001000568ebe3cb20",
            "Main",
            "3.1",
            1280,
            720,
        ),
        (
            "ten bits",
            "016e001effe1001b676e001ea6cd940a02ff97011000000300100000030320f162d960
             01000668ebe3cb22c0fdfafa00",
            "High(10)",
            "3",
            640,
            360,
        ),
        (
            "4:2:2",
            "017a001effe1001a677a001ebcd940a02ff9f011000003000100000300320f162d9601000668ebe3cb22
             c0fef8f800",
            "High(422)",
            "3",
            640,
            362,
        ),
        (
            "4:4:4",
            "01f4001effe1001a67f4001e919b281485fc7cf808800000030080000019078b16cb
             01000668ebe3c44848fff8f800",
            "High(444)",
            "3",
            642,
            362,
        ),
        (
            "fields",
            "0164001effe100186764001eacd940b424d8088000000300800000190f8a14cb01000668fba3cb22c0fd
             f8f800",
            "High",
            "3",
            720,
            576,
        ),
        (
            "scaling lists",
            "0164001effe1001a6764001eacd940d83de6f011000003000100000300320f162d960
             1000768ebe3cb3002c0fdf8f800",
            "High",
            "3",
            854,
            480,
        ),
        (
            "two of each set",
            "0142c00cffe200196742c00cd901419f9f011000000300100000030320f142a480
             00196742c00cd901419f9f011000000300100000030320f142a48002000568cb83cb20000568cb83cb20",
            "Constrained Baseline",
            "1.2",
            320,
            180,
        ),
    ];

    #[test]
    fn a_record_says_profile_level_and_size() {
        for &(name, bytes, profile, level, width, height) in CASES {
            let config = Config::parse(&hex(bytes)).expect(name);
            assert_eq!(config.profile_name(), profile, "{name}");
            assert_eq!(config.level_text(), level, "{name}");
            assert_eq!((config.width, config.height), (width, height), "{name}");
            assert_eq!(config.length_size, 4, "{name}");
        }
    }

    #[test]
    fn a_record_is_made_of_its_sets() {
        for &(name, bytes, ..) in CASES {
            let bytes = hex(bytes);
            let (mut sets, mut input) = ([Vec::new(), Vec::new()], &bytes[5..]);
            for (kind, list) in sets.iter_mut().enumerate() {
                let count = input[0] & if kind == 0 { 31 } else { 255 };
                input = &input[1..];
                list.extend((0..count).map(|_| parameter_set(&mut input).unwrap()));
            }
            // The constraints of one of them say less than its SPS.
            assert_eq!(decoder_config(&sets[0], &sets[1]).unwrap(), bytes, "{name}");
            assert!(sets[0].iter().all(|sps| sps_id(sps) == Ok(0)), "{name}");
            assert!(sets[1].iter().all(|pps| pps_id(pps) == Ok(0)), "{name}");
            let sps = sets[0][0];
            for len in 0..sps.len() {
                let _ = decoder_config(&[&sps[..len]], &[]);
            }
        }
        assert!(decoder_config(&[], &[]).is_err());
        assert!(pps_id(&[0x67]).is_err() && pps_id(&[]).is_err());
    }

    #[test]
    fn a_record_cut_off_is_incomplete() {
        for &(name, bytes, ..) in CASES {
            let bytes = hex(bytes);
            let extension =
                if bytes.ends_with(&[0xf8, 0xf8, 0]) || bytes.ends_with(&[0xfa, 0xfa, 0]) {
                    4
                } else {
                    0
                };
            for len in 0..bytes.len() - extension {
                assert_eq!(Config::parse(&bytes[..len]), Err(Error::Incomplete), "{name} {len}");
            }
        }
    }

    #[test]
    fn a_mutated_record_is_read_or_refused() {
        for &(_, bytes, ..) in CASES {
            mutations(&hex(bytes), |changed| {
                if let Ok(config) = Config::parse(changed) {
                    assert!(config.width > 0 && config.height > 0);
                    assert!(config.level_text().len() <= 4);
                }
            });
        }
    }

    #[test]
    fn wrong_records_say_what_is_wrong() {
        for (bytes, error) in [
            ("0242c00cffe1", Error::Invalid("AVCDecoderConfigurationRecord version is not 1")),
            ("0142c00cfee1", Error::Invalid("NAL unit lengths of 3 bytes")),
            ("0142c00cffe000", Error::Unsupported("no SPS in the sequence header")),
            ("0142c00cffe100046742c00c00", Error::Invalid("SPS ends too early")),
            ("0142c00cffe100056842c00cff00", Error::Invalid("not an SPS where one is due")),
            ("0142c00cffe100056700c00cff00", Error::Invalid("SPS without profile or level")),
        ] {
            assert_eq!(Config::parse(&hex(bytes)), Err(error));
        }
    }

    #[test]
    fn level_one_b_has_its_name() {
        let config = |profile, constraints, level| Config {
            profile,
            constraints,
            level,
            length_size: 4,
            width: 176,
            height: 144,
        };
        assert_eq!(config(66, 0xd0, 11).level_text(), "1b");
        assert_eq!(config(66, 0xc0, 11).level_text(), "1.1");
        assert_eq!(config(100, 0x10, 11).level_text(), "1.1");
        assert_eq!(config(100, 0, 9).level_text(), "1b");
    }
}
