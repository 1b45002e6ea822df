//! How far pictures are reordered, from sequence parameter sets: for inputs that have presentation
//! times only.

use super::bits::Bits;
use super::{Error, avc, hevc};

/// The most that the standards allow.
const DEPTH_MAX: u32 = 16;

/// `max_num_reorder_frames` of an H.264 sequence parameter set, a whole NAL unit (ISO/IEC 14496-10
/// §E.2.1): pictures that are decoded before another one and shown after it, 0 to 16. `None` where
/// it does not say, and its profile and picture order do not rule reordering out.
pub fn avc(sps: &[u8]) -> Result<Option<u8>, Error> {
    let [header, profile, constraints, _level, rest @ ..] = sps else {
        return Err(Error::Incomplete);
    };
    if header & 0x1f != 7 {
        return Err(Error::Invalid("not an SPS where one is due"));
    }
    let mut bits = Bits::rbsp(rest);
    bits.ue()?; // seq_parameter_set_id
    if avc::has_chroma_format(*profile) {
        avc::chroma_format(&mut bits)?;
    }
    bits.ue()?; // log2_max_frame_num_minus4
    let order = avc::picture_order(&mut bits)?;
    bits.ue()?; // max_num_ref_frames
    bits.bit()?; // gaps_in_frame_num_value_allowed_flag
    bits.ue()?; // pic_width_in_mbs_minus1
    bits.ue()?; // pic_height_in_map_units_minus1
    if !bits.bit()? {
        bits.bit()?; // mb_adaptive_frame_field_flag
    }
    bits.bit()?; // direct_8x8_inference_flag
    if bits.bit()? {
        for _ in 0..4 {
            bits.ue()?; // cropping
        }
    }
    let stated = if bits.bit()? { restriction(&mut bits)? } else { None };
    // No B slices, or output in decode order; intra profiles have constraint_set3_flag.
    let intra = matches!(profile, 44 | 86 | 100 | 110 | 122 | 244) && constraints & 0x10 != 0;
    if order == 2 || *profile == 66 || intra {
        return Ok(Some(0));
    }
    Ok(stated)
}

/// The reordering that a VUI states (§E.1.1).
fn restriction(bits: &mut Bits) -> Result<Option<u8>, Error> {
    const EXTENDED_SAR: u32 = 255;
    if bits.bit()? && bits.bits(8)? == EXTENDED_SAR {
        bits.skip(32)?;
    }
    if bits.bit()? {
        bits.bit()?; // overscan_appropriate_flag
    }
    if bits.bit()? {
        bits.skip(3 + 1)?; // video_format, video_full_range_flag
        if bits.bit()? {
            bits.skip(24)?; // colour description
        }
    }
    if bits.bit()? {
        bits.ue()?; // chroma_sample_loc_type_top_field
        bits.ue()?;
    }
    if bits.bit()? {
        bits.skip(32 + 32 + 1)?; // timing
    }
    let nal = bits.bit()?;
    if nal {
        hrd(bits)?;
    }
    let vcl = bits.bit()?;
    if vcl {
        hrd(bits)?;
    }
    if nal || vcl {
        bits.bit()?; // low_delay_hrd_flag
    }
    bits.bit()?; // pic_struct_present_flag
    if !bits.bit()? {
        return Ok(None);
    }
    bits.bit()?; // motion_vectors_over_pic_boundaries_flag
    for _ in 0..4 {
        bits.ue()?; // sizes of pictures, macroblocks, vectors
    }
    depth(bits.ue()?).map(Some)
}

/// §E.1.2, passed over.
fn hrd(bits: &mut Bits) -> Result<(), Error> {
    let count = bits.ue()?;
    if count > 31 {
        return Err(Error::Invalid("more than 32 coded picture buffers"));
    }
    bits.skip(4 + 4)?;
    for _ in 0..=count {
        bits.ue()?;
        bits.ue()?;
        bits.bit()?;
    }
    bits.skip(5 + 5 + 5 + 5)
}

/// `sps_max_num_reorder_pics` of the highest layer of an H.265 sequence parameter set, a whole NAL
/// unit (ISO/IEC 23008-2 §7.3.2.2): 0 to 16.
pub fn hevc(sps: &[u8]) -> Result<u8, Error> {
    let mut bits = Bits::rbsp(sps);
    let header = bits.bits(16)?;
    if header >> 9 & 0x3f != 33 {
        return Err(Error::Invalid("not an SPS where one is due"));
    }
    bits.skip(4)?; // sps_video_parameter_set_id
    let layers = bits.bits(3)?;
    bits.bit()?; // sps_temporal_id_nesting_flag
    hevc::profile_tier_level(&mut bits, layers)?;
    bits.ue()?; // sps_seq_parameter_set_id
    if bits.ue()? == 3 {
        bits.bit()?; // separate_colour_plane_flag
    }
    bits.ue()?; // width
    bits.ue()?; // height
    if bits.bit()? {
        for _ in 0..4 {
            bits.ue()?; // conformance window
        }
    }
    for _ in 0..3 {
        bits.ue()?; // bit depths, log2_max_pic_order_cnt_lsb_minus4
    }
    let all = bits.bit()?;
    let mut pictures = 0;
    for _ in if all { 0 } else { layers }..=layers {
        bits.ue()?; // sps_max_dec_pic_buffering_minus1
        pictures = bits.ue()?;
        bits.ue()?; // sps_max_latency_increase_plus1
    }
    depth(pictures)
}

fn depth(pictures: u32) -> Result<u8, Error> {
    if pictures > DEPTH_MAX {
        return Err(Error::Invalid("more than 16 pictures reordered"));
    }
    // 16 at most.
    Ok(pictures as u8)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hex, mutations};
    use super::*;

    /// Name, SPS as encoders write it, depth.
    const AVC: &[(&str, &str, Option<u8>)] = &[
        ("x264 baseline", "6742c00cd901419f9f011000000300100000030320f142a480", Some(0)),
        ("x264 high, 3 B", "67640028acd940780227e5c044000003000400000300c83c60c658", Some(2)),
        ("x264 main", "674d401feca02802dd80880000030008000003019078c18cb0", Some(2)),
    ];

    const HEVC: &[(&str, &str, u8)] = &[(
        "x265",
        "42010101600000030090000003000003003fa005020171f265959a4932bc05a0200000030020000003 0321",
        2,
    )];

    #[test]
    fn the_depth_is_what_the_encoder_was_told() {
        for (name, sps, want) in AVC {
            assert_eq!(avc(&hex(sps)), Ok(*want), "{name}");
        }
        for (name, sps, want) in HEVC {
            assert_eq!(hevc(&hex(sps)), Ok(*want), "{name}");
        }
    }

    #[test]
    fn a_set_cut_off_or_changed_is_read_or_refused() {
        for (_, sps, _) in AVC {
            let sps = hex(sps);
            for len in 0..sps.len() - 3 {
                let cut = avc(&sps[..len]);
                assert!(matches!(cut, Err(Error::Incomplete) | Ok(_)), "{len} {cut:?}");
            }
            mutations(&sps, |changed| {
                let _ = avc(changed);
            });
        }
        let sps = hex(HEVC[0].1);
        mutations(&sps, |changed| {
            let _ = hevc(changed);
        });
    }
}
