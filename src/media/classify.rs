//! What the first bytes of an FLV tag body say (FLV 10.1 §E.4.2.1, §E.4.3.1; Enhanced RTMP v1 and
//! v2), without parsing the rest.

use super::Kind;

/// What a packet holds, as far as its first five bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// The codec.
    pub codec: Codec,
    /// A video frame at which a decoder can start; never set on a sequence header.
    pub key: bool,
    /// A codec sequence header.
    pub header: bool,
    /// Whether the server takes it: a known frame type and codec.
    pub acceptable: bool,
}

/// How a codec is named in FLV: by a number of four bits, or by a fourCC (Enhanced RTMP).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// `VideoTagHeader.CodecID` (7 H.264, 12 HEVC as used by cameras) or `SoundFormat` (10 AAC).
    Id(u8),
    /// `hvc1`, `av01`, `vp09`, `avc1`, `Opus`, `fLaC`, `ac-3`, `ec-3`, `mp4a`, `.mp3`.
    FourCc([u8; 4]),
    /// Nothing that could be read.
    None,
}

impl Codec {
    /// The name that logs and the API use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Id(2) => "Sorenson H.263/MP3",
            Self::Id(4) => "VP6",
            Self::Id(5) => "VP6A",
            Self::Id(7) => "H264",
            Self::Id(10) => "AAC",
            Self::Id(12) => "HEVC",
            Self::FourCc(cc) => match &cc {
                b"avc1" => "H264",
                b"hvc1" => "HEVC",
                b"av01" => "AV1",
                b"vp09" => "VP9",
                b"vp08" => "VP8",
                b"Opus" => "Opus",
                b"fLaC" => "FLAC",
                b"ac-3" => "AC-3",
                b"ec-3" => "E-AC-3",
                b"mp4a" => "AAC",
                b".mp3" => "MP3",
                _ => "Other",
            },
            _ => "Other",
        }
    }
}

/// Reads codec, key frame and sequence header from the first bytes of `payload`.
pub fn classify(kind: Kind, payload: &[u8]) -> Class {
    match kind {
        Kind::Audio => audio(payload),
        Kind::Video => video(payload),
        Kind::Data => Class { codec: Codec::None, key: false, header: false, acceptable: true },
    }
}
const NOTHING: Class = Class { codec: Codec::None, key: false, header: false, acceptable: false };

fn audio(payload: &[u8]) -> Class {
    let Some(&first) = payload.first() else { return NOTHING };
    let format = first >> 4;
    if format == 9 {
        // Enhanced RTMP v2, ExAudioTagHeader.
        let Some(cc) = four_cc(payload) else { return NOTHING };
        let header = first & 15 == 0;
        return Class { codec: Codec::FourCc(cc), key: false, header, acceptable: true };
    }
    let header = format == 10 && payload.get(1) == Some(&0);
    Class { codec: Codec::Id(format), key: false, header, acceptable: true }
}

fn video(payload: &[u8]) -> Class {
    let Some(&first) = payload.first() else { return NOTHING };
    let frame = (first >> 4) & 7;
    if first & 0x80 != 0 {
        // Enhanced RTMP v1, ExVideoTagHeader: packet types 0 and 5 are sequence starts, 1 and 3
        // coded frames; 2 ends a sequence, 4 is metadata (HDR).
        let Some(cc) = four_cc(payload) else { return NOTHING };
        let packet = first & 15;
        let header = matches!(packet, 0 | 5);
        let key = frame == 1 && matches!(packet, 1 | 3);
        let acceptable = (1..=5).contains(&frame);
        return Class { codec: Codec::FourCc(cc), key, header, acceptable };
    }
    let codec = first & 15;
    let packetised = matches!(codec, 7 | 12);
    let packet = if packetised { payload.get(1).copied() } else { Some(1) };
    Class {
        codec: Codec::Id(codec),
        key: frame == 1 && packet == Some(1),
        header: frame == 1 && packet == Some(0),
        acceptable: (1..=5).contains(&frame) && (matches!(codec, 2..=7) || codec == 12),
    }
}

fn four_cc(payload: &[u8]) -> Option<[u8; 4]> {
    payload.get(1..5)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, kind, bytes, codec, key, header, acceptable.
    type Case = (&'static str, Kind, &'static [u8], Codec, bool, bool, bool);

    const CASES: &[Case] = &[
        ("h264 header", Kind::Video, b"\x17\x00\0\0\0", Codec::Id(7), false, true, true),
        ("h264 key", Kind::Video, b"\x17\x01\0\0\0", Codec::Id(7), true, false, true),
        ("h264 inter", Kind::Video, b"\x27\x01\0\0\0", Codec::Id(7), false, false, true),
        ("h264 end", Kind::Video, b"\x17\x02\0\0\0", Codec::Id(7), false, false, true),
        ("vp6 key", Kind::Video, b"\x14\x00", Codec::Id(4), true, false, true),
        ("hevc of a camera, header", Kind::Video, b"\x1c\x00", Codec::Id(12), false, true, true),
        ("hevc of a camera, key", Kind::Video, b"\x1c\x01", Codec::Id(12), true, false, true),
        ("codec 1", Kind::Video, b"\x11\x01", Codec::Id(1), true, false, false),
        ("frame type 6", Kind::Video, b"\x67\x01", Codec::Id(7), false, false, false),
        ("hvc1 start", Kind::Video, b"\x90hvc1", Codec::FourCc(*b"hvc1"), false, true, true),
        ("hvc1 key", Kind::Video, b"\x91hvc1\0\0\0", Codec::FourCc(*b"hvc1"), true, false, true),
        ("av01 key, no cts", Kind::Video, b"\x93av01", Codec::FourCc(*b"av01"), true, false, true),
        ("vp09 inter", Kind::Video, b"\xa1vp09", Codec::FourCc(*b"vp09"), false, false, true),
        (
            "av01 from MPEG-2 TS",
            Kind::Video,
            b"\x95av01",
            Codec::FourCc(*b"av01"),
            false,
            true,
            true,
        ),
        ("hdr metadata", Kind::Video, b"\xd4hvc1", Codec::FourCc(*b"hvc1"), false, false, true),
        ("fourCC cut off", Kind::Video, b"\x91hvc", Codec::None, false, false, false),
        ("no video", Kind::Video, b"", Codec::None, false, false, false),
        ("aac header", Kind::Audio, b"\xaf\x00\x12\x10", Codec::Id(10), false, true, true),
        ("aac frame", Kind::Audio, b"\xaf\x01", Codec::Id(10), false, false, true),
        ("mp3", Kind::Audio, b"\x2f\x00", Codec::Id(2), false, false, true),
        ("Opus start", Kind::Audio, b"\x90Opus", Codec::FourCc(*b"Opus"), false, true, true),
        ("ac-3 frame", Kind::Audio, b"\x91ac-3", Codec::FourCc(*b"ac-3"), false, false, true),
        ("no audio", Kind::Audio, b"", Codec::None, false, false, false),
    ];

    #[test]
    fn the_first_bytes_say_what_it_is() {
        for &(name, kind, bytes, codec, key, header, acceptable) in CASES {
            assert_eq!(classify(kind, bytes), Class { codec, key, header, acceptable }, "{name}");
        }
    }
}
