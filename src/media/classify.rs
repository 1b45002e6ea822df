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
