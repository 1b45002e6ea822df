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

/// Makes a HEVCDecoderConfigurationRecord of parameter sets without start codes, with lengths of
/// 4 bytes. 65535 of each kind are used, of at most 65535 bytes each.
pub fn decoder_config(vps: &[&[u8]], sps: &[&[u8]], pps: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let &first = sps.first().ok_or(Error::Unsupported("no SPS"))?;
    let parsed = Sps::parse(first)?;
    let mut record = vec![1];
    record.extend_from_slice(&parsed.profile_tier_level);
    // Spatial segmentation and parallelism are not stated.
    record.extend_from_slice(&[0xf0, 0, 0xfc, 0xfc | parsed.chroma]);
    record.extend(parsed.depth.map(|depth| 0xf8 | depth));
    // No frame rate; layers, nesting, lengths of 4 bytes; three arrays.
    record.extend_from_slice(&[0, 0, parsed.layers << 3 | parsed.nesting << 2 | 3, 3]);
    for (sets, kind) in [(vps, VPS), (sps, SPS), (pps, PPS)] {
        // All sets of the kind are here, none in the pictures.
        record.push(0x80 | kind);
        let sets = sets.get(..0xffff).unwrap_or(sets);
        record.extend_from_slice(&(sets.len() as u16).to_be_bytes());
        for set in sets {
            let len = u16::try_from(set.len()).map_err(|_| LONG)?;
            record.extend_from_slice(&len.to_be_bytes());
            record.extend_from_slice(set);
        }
    }
    Ok(record)
}

/// The id of a video parameter set, 0 to 15.
pub fn vps_id(nal: &[u8]) -> Result<u32, Error> {
    header(nal, VPS)?.bits(4)
}

/// The id of a sequence parameter set, 0 to 15. Sets that cannot be read are refused.
pub fn sps_id(nal: &[u8]) -> Result<u32, Error> {
    Sps::parse(nal).map(|sps| sps.id)
}

/// The id of a picture parameter set, 0 to 63.
pub fn pps_id(nal: &[u8]) -> Result<u32, Error> {
    header(nal, PPS)?
        .ue()
        .and_then(|id| if id < 64 { Ok(id) } else { Err(Error::Invalid("PPS id above 63")) })
}

/// Past the header of a unit that must be of type `kind`.
fn header(nal: &[u8], kind: u8) -> Result<Bits<'_>, Error> {
    let (&[first, _], _) = nal.split_first_chunk().ok_or(Error::Incomplete)?;
    if first & 0x80 != 0 || first >> 1 != kind {
        return Err(Error::Invalid("not a parameter set where one is due"));
    }
    let mut bits = Bits::rbsp(nal);
    bits.skip(16)?;
    Ok(bits)
}

/// The NAL unit types of parameter sets.
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
const LONG: Error = Error::Invalid("parameter set longer than 65535 bytes");

/// The part of a sequence parameter set that is used.
struct Sps {
    id: u32,
    /// `general_profile_space` to `general_level_idc`, as they stand.
    profile_tier_level: [u8; 12],
    /// Temporal layers, and whether they are nested.
    layers: u8,
    nesting: u8,
    chroma: u8,
    /// Bits of a sample above 8, of luma and chroma.
    depth: [u8; 2],
}

impl Sps {
    fn parse(nal: &[u8]) -> Result<Self, Error> {
        let mut bits = header(nal, SPS)?;
        let mut general = bits.clone();
        let read = read_to_size(&mut bits)?;
        general.skip(8)?;
        let mut profile_tier_level = [0; 12];
        for byte in &mut profile_tier_level {
            *byte = general.bits(8)? as u8;
        }
        let depth = [bits.ue()?, bits.ue()?].map(|depth| depth.min(7) as u8);
        let SizeEnd { id, layers, nesting, chroma, .. } = read;
        let (layers, chroma) = (layers as u8 + 1, chroma as u8);
        Ok(Self { id, profile_tier_level, layers, nesting: nesting.into(), chroma, depth })
    }
}

fn picture_size(nal: &[u8]) -> Result<(u16, u16), Error> {
    let mut bits = Bits::rbsp(nal);
    bits.skip(16)?;
    read_to_size(&mut bits).map(|read| read.size)
}

/// What stands in a sequence parameter set up to the size of the picture.
struct SizeEnd {
    id: u32,
    layers: u32,
    nesting: bool,
    chroma: u32,
    size: (u16, u16),
}

fn read_to_size(bits: &mut Bits<'_>) -> Result<SizeEnd, Error> {
    bits.skip(4)?; // sps_video_parameter_set_id
    let layers = bits.bits(3)?;
    let nesting = bits.bit()?;
    profile_tier_level(bits, layers)?;
    let id = bits.ue()?;
    if id > 15 {
        return Err(Error::Invalid("SPS id above 15"));
    }
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
    let size = (side(width, (left + right) * unit_x)?, side(height, (top + bottom) * unit_y)?);
    Ok(SizeEnd { id, layers, nesting, chroma, size })
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
    fn a_record_is_made_of_its_sets() {
        let record = hex(X265);
        let sets: Vec<_> = [(28, 24), (57, 43), (105, 7)]
            .iter()
            .map(|&(at, len): &(usize, usize)| &record[at..at + len])
            .collect();
        let (vps, sps, pps) = (sets[0], sets[1], sets[2]);
        assert_eq!((vps_id(vps), sps_id(sps), pps_id(pps)), (Ok(0), Ok(0), Ok(0)));
        let mut want = record.clone();
        // ffmpeg says that sets may be in the pictures too.
        [23, 52, 100].iter().for_each(|&at: &usize| want[at] |= 0x80);
        assert_eq!(decoder_config(&[vps], &[sps], &[pps]).unwrap(), want);
        for len in 0..sps.len() {
            let _ = decoder_config(&[], &[&sps[..len]], &[]);
        }
        assert!(decoder_config(&[vps], &[], &[pps]).is_err());
        assert!(vps_id(sps).is_err() && sps_id(pps).is_err() && pps_id(&[]).is_err());
        mutations(sps, |changed| {
            let _ = decoder_config(&[vps], &[changed], &[pps]);
        });
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
