//! H.265: HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 §8.3.3.1) and the start of the
//! sequence parameter set inside it (ISO/IEC 23008-2 §7.3.2.2).

use super::{Error, bits::Bits};

/// What the server needs to know of an H.265 stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// `general_profile_idc`.
    pub profile: u8,
    /// `general_level_idc`: thirty times the level.
    pub level: u8,
    /// Bytes of the length in front of each NAL unit: 1, 2 or 4.
    pub length_size: u8,
    /// Width of the picture in pixels, the conformance window applied; 0 without an SPS.
    pub width: u16,
    /// Height of the picture in pixels, the conformance window applied; 0 without an SPS.
    pub height: u16,
}

impl Config {
    /// Reads a HEVCDecoderConfigurationRecord.
    pub fn parse(record: &[u8]) -> Result<Self, Error> {
        let (head, mut input) = record.split_first_chunk::<23>().ok_or(Error::Incomplete)?;
        let length_size = (head[21] & 3) + 1;
        if length_size == 3 {
            return Err(Error::Invalid("NAL unit lengths of 3 bytes"));
        }
        let mut size = None;
        for _ in 0..head[22] {
            let (array, rest) = input.split_first_chunk::<3>().ok_or(Error::Incomplete)?;
            input = rest;
            for _ in 0..u16::from_be_bytes([array[1], array[2]]) {
                let (len, rest) = input.split_first_chunk().ok_or(Error::Incomplete)?;
                let len = usize::from(u16::from_be_bytes(*len));
                let (nal, rest) = rest.split_at_checked(len).ok_or(Error::Incomplete)?;
                input = rest;
                if array[0] & 0x3f == SPS && size.is_none() {
                    size = Some(picture_size(nal).map_err(|e| match e {
                        Error::Incomplete => Error::Invalid("SPS ends too early"),
                        e => e,
                    })?);
                }
            }
        }
        let (width, height) = size.unwrap_or_default();
        Ok(Self { profile: head[1] & 31, level: head[12], length_size, width, height })
    }

    /// The profile's name.
    pub const fn profile_name(&self) -> &'static str {
        match self.profile {
            1 => "Main",
            2 => "Main10",
            3 => "MainStillPicture",
            4 => "Rext",
            _ => "Other",
        }
    }
}

/// The NAL unit type of a sequence parameter set.
const SPS: u8 = 33;

fn picture_size(nal: &[u8]) -> Result<(u16, u16), Error> {
    let mut bits = Bits::rbsp(nal);
    bits.skip(16 + 4)?; // NAL unit header, sps_video_parameter_set_id
    let layers = bits.bits(3)?;
    bits.bit()?; // sps_temporal_id_nesting_flag
    profile_tier_level(&mut bits, layers)?;
    bits.ue()?; // sps_seq_parameter_set_id
    let chroma = bits.ue()?;
    if chroma > 3 {
        return Err(Error::Invalid("chroma format above 3"));
    }
    if chroma == 3 {
        bits.bit()?; // separate_colour_plane_flag
    }
    let width = bits.ue()?;
    let height = bits.ue()?;
    let mut window = [0; 4];
    if bits.bit()? {
        for side in &mut window {
            *side = bits.ue()?;
        }
    }
    let [left, right, top, bottom] = window.map(u64::from);
    let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
    let unit_y = if chroma == 1 { 2 } else { 1 };
    let side = |pixels: u32, cut: u64| {
        u64::from(pixels)
            .checked_sub(cut)
            .filter(|&p| p > 0)
            .and_then(|p| u16::try_from(p).ok())
            .ok_or(Error::Invalid("impossible picture size"))
    };
    Ok((side(width, (left + right) * unit_x)?, side(height, (top + bottom) * unit_y)?))
}

/// §7.3.3, passed over; `layers` is `sps_max_sub_layers_minus1`.
pub(super) fn profile_tier_level(bits: &mut Bits, layers: u32) -> Result<(), Error> {
    bits.skip(88 + 8)?;
    if layers == 0 {
        return Ok(());
    }
    let mut skip = 0;
    // Two flags a layer, padded to eight layers.
    for layer in 0..8 {
        let (profile, level) = (bits.bit()?, bits.bit()?);
        if layer < layers {
            skip += if profile { 88 } else { 0 } + if level { 8 } else { 0 };
        }
    }
    bits.skip(skip)
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    /// As x265 3.5 writes it through ffmpeg, VPS, SPS and PPS.
    const X265: &str = "0101600000009000000000003ff000fcfdf8f800000f03
        2000010018 40010c01ffff01600000030090000003000003003f959809
        210001002b 42010101600000030090000003000003003fa005020171f265959a4932bc05a02000000300
        200000030321
        2200010007 4401c172b46240";

    #[test]
    fn a_record_says_profile_level_and_size() {
        let config = Config::parse(&hex(X265)).unwrap();
        let want = Config { profile: 1, level: 63, length_size: 4, width: 640, height: 362 };
        assert_eq!(config, want);
        assert_eq!(config.profile_name(), "Main");
    }

    #[test]
    fn a_record_cut_off_is_incomplete() {
        let bytes = hex(X265);
        for len in 0..bytes.len() {
            assert_eq!(Config::parse(&bytes[..len]), Err(Error::Incomplete), "{len}");
        }
    }

    #[test]
    fn a_mutated_record_is_read_or_refused() {
        mutations(&hex(X265), |changed| {
            let _ = Config::parse(changed);
        });
    }
}
