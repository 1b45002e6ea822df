//! What the bits of a codec's sequence header mean: profile, level, size, rate; and from the units
//! of an elementary stream to tag bodies with such headers. Pictures themselves are never parsed.

pub mod aac;
pub mod assemble;
pub mod avc;
pub mod bits;
pub mod hevc;
pub mod latm;
pub mod mp3;
pub mod nal;
pub mod reorder;

use std::fmt;

use crate::media::{self, Codec, Kind};

/// Why bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They end too early: all that is there is fine.
    Incomplete,
    /// They break the standard, in the way that the text says.
    Invalid(&'static str),
    /// The standard allows them, this server does not read them.
    Unsupported(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete => f.write_str("cut off"),
            Self::Invalid(what) => write!(f, "invalid: {what}"),
            Self::Unsupported(what) => write!(f, "not supported: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// A sequence header in words, for the log and the API. `Display` gives the text that tools know
/// from SRS: `42B video sh, codec(7, profile=High, level=3.2, 1280x720, 0kbps, 0fps, 0s)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Bytes of the tag body.
    pub len: usize,
    /// Audio or video.
    pub kind: Kind,
    /// The codec as FLV names it.
    pub codec: Codec,
    /// What could be read of the header.
    pub detail: Detail,
    /// The first byte of the tag body: for audio, rate, bits and channels as FLV states them.
    pub flags: u8,
}

/// What a sequence header holds, by codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// H.264.
    Avc(avc::Config),
    /// H.265.
    Hevc(hevc::Config),
    /// AAC.
    Aac(aac::Config),
    /// A codec whose headers are not read.
    Other,
}

impl Detail {
    /// Width and height of the picture in pixels, for a video codec that is read.
    pub const fn size(&self) -> Option<(u16, u16)> {
        match self {
            Self::Avc(c) => Some((c.width, c.height)),
            Self::Hevc(c) => Some((c.width, c.height)),
            _ => None,
        }
    }
}

/// Reads the sequence header in `payload`, an FLV tag body of `kind`. `None` when the body holds
/// something else. A body is whole, so [`Error::Incomplete`] means that the publisher cut it.
pub fn describe(kind: Kind, payload: &[u8]) -> Result<Option<Description>, Error> {
    let class = media::classify(kind, payload);
    if !class.header {
        return Ok(None);
    }
    let record = payload.get(record_at(kind, class.codec)..).ok_or(Error::Incomplete)?;
    let detail = match class.codec {
        Codec::Id(7) | Codec::FourCc([b'a', b'v', b'c', b'1']) => {
            Detail::Avc(avc::Config::parse(record)?)
        }
        Codec::Id(12) | Codec::FourCc([b'h', b'v', b'c', b'1']) => {
            Detail::Hevc(hevc::Config::parse(record)?)
        }
        Codec::Id(10) | Codec::FourCc([b'm', b'p', b'4', b'a']) => {
            Detail::Aac(aac::Config::parse(record)?)
        }
        _ => Detail::Other,
    };
    let flags = payload.first().copied().unwrap_or_default();
    Ok(Some(Description { len: payload.len(), kind, codec: class.codec, detail, flags }))
}

/// Whether `payload` is a sequence header of a codec that needs one, with nothing in it. ffmpeg sends
/// that where it does not know the codec's parameters yet, as of AAC out of MPEG-TS; a whole one
/// follows.
pub fn is_blank_header(kind: Kind, payload: &[u8]) -> bool {
    let class = media::classify(kind, payload);
    let needed = match class.codec {
        Codec::Id(id) => matches!(id, 7 | 10 | 12),
        Codec::FourCc(cc) => matches!(&cc, b"avc1" | b"hvc1" | b"mp4a"),
        Codec::None => false,
    };
    class.header && needed && payload.len() <= record_at(kind, class.codec)
}

/// Where the codec's own record begins: FLV 10.1 §E.4.2.2, §E.4.3.2; with a fourCC (Enhanced RTMP) no
/// composition time follows.
const fn record_at(kind: Kind, codec: Codec) -> usize {
    match (kind, codec) {
        (_, Codec::FourCc(_)) | (Kind::Video, _) => 5,
        _ => 2,
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == Kind::Audio { "audio" } else { "video" };
        write!(f, "{}B {kind} sh, codec(", self.len)?;
        match self.codec {
            Codec::Id(id) => write!(f, "{id}")?,
            Codec::FourCc(cc) => write!(f, "{}", cc.escape_ascii())?,
            Codec::None => f.write_str("none")?,
        }
        match &self.detail {
            Detail::Avc(c) => write!(
                f,
                ", profile={}, level={}, {}x{}, 0kbps, 0fps, 0s)",
                c.profile_name(),
                c.level_text(),
                c.width,
                c.height
            ),
            Detail::Hevc(c) => write!(
                f,
                ", profile={}, level={}.{}, {}x{}, 0kbps, 0fps, 0s)",
                c.profile_name(),
                c.level / 30,
                c.level % 30 / 3,
                c.width,
                c.height
            ),
            Detail::Aac(c) => {
                let (name, channels) = (c.profile_name(), c.channels());
                write!(f, ", profile={name}, {channels}channels, 0kbps, {}HZ)", c.rate())?;
                if matches!(self.codec, Codec::FourCc(_)) {
                    return Ok(());
                }
                let rate = [5512, 11025, 22050, 44100][usize::from(self.flags >> 2 & 3)];
                let bits = if self.flags & 2 == 0 { 8 } else { 16 };
                let channels = 1 + (self.flags & 1);
                write!(f, ", flv({bits}bits, {channels}channels, {rate}HZ)")
            }
            Detail::Other => f.write_str(")"),
        }
    }
}

/// What the tests of this layer share.
#[cfg(test)]
pub(crate) mod testing {
    /// The bytes of a string of hexadecimal digits; spaces may stand between them.
    pub(crate) fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// Calls `check` with 2000 variations of `bytes`, the same ones each time: bytes changed,
    /// dropped, doubled, the end cut off.
    pub(crate) fn mutations(bytes: &[u8], mut check: impl FnMut(&[u8])) {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let mut changed = bytes.to_vec();
            for _ in 0..rng.usize(1..5) {
                if changed.is_empty() {
                    break;
                }
                let at = rng.usize(..changed.len());
                match rng.u8(..6) {
                    0 => changed[at] ^= 1 << rng.u8(..8),
                    1 => changed[at] = rng.u8(..),
                    2 => changed[at] = *rng.choice([0, 0x7f, 0x80, 0xff].iter()).unwrap(),
                    3 => drop(changed.remove(at)),
                    4 => changed.insert(at, rng.u8(..)),
                    _ => changed.truncate(at),
                }
            }
            check(&changed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::*, *};

    /// Tag bodies as ffmpeg and x264 write them, and the words for them.
    const CASES: &[(Kind, &str, &str)] = &[
        (
            Kind::Video,
            "17000000000142c00cffe100196742c00cd901419f9f011000000300100000030320f142a480
             01000568cb83cb20",
            "46B video sh, codec(7, profile=Constrained Baseline, level=1.2, 320x180, 0kbps, 0fps, \
             0s)",
        ),
        (
            Kind::Video,
            "9068766331
             0101600000009000000000003ff000fcfdf8f800000f01
             21 0001 002b 42010101600000030090000003000003003fa005020171f265959a4932bc05a020000003
             00200000030321",
            "76B video sh, codec(hvc1, profile=Main, level=2.1, 640x362, 0kbps, 0fps, 0s)",
        ),
        (
            Kind::Audio,
            "af00121056e500",
            "7B audio sh, codec(10, profile=LC, 2channels, 0kbps, 44100HZ), flv(16bits, \
             2channels, 44100HZ)",
        ),
        (
            Kind::Audio,
            "906d703461 118856e500",
            "10B audio sh, codec(mp4a, profile=LC, 1channels, 0kbps, 48000HZ)",
        ),
        (Kind::Audio, "904f707573 4f707573", "9B audio sh, codec(Opus)"),
    ];

    #[test]
    fn a_header_is_described_as_the_log_shows_it() {
        for &(kind, bytes, text) in CASES {
            let description = describe(kind, &hex(bytes)).unwrap().unwrap();
            assert_eq!(description.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_header_is_not_described() {
        for (kind, bytes) in
            [(Kind::Video, "1701000000"), (Kind::Audio, "af01"), (Kind::Data, "02000a")]
        {
            assert_eq!(describe(kind, &hex(bytes)), Ok(None));
        }
    }

    #[test]
    fn a_header_with_nothing_in_it_is_known() {
        let blank = |kind, bytes| is_blank_header(kind, &hex(bytes));
        for (kind, bytes) in [
            (Kind::Audio, "af00"),
            (Kind::Audio, "906d703461"),
            (Kind::Video, "17000000"),
            (Kind::Video, "1700000000"),
            (Kind::Video, "9068766331"),
        ] {
            assert!(blank(kind, bytes), "{bytes}");
        }
        // Frames, headers of codecs that need none, and those with something in them.
        for (kind, bytes) in [
            (Kind::Audio, "af01"),
            (Kind::Audio, "9061632d33"),
            (Kind::Audio, "2f00"),
            (Kind::Audio, "af0012"),
            (Kind::Video, "1701000000"),
            (Kind::Video, "170000000001"),
            (Kind::Data, "02000a"),
        ] {
            assert!(!blank(kind, bytes), "{bytes}");
        }
        for &(kind, bytes, _) in CASES {
            assert!(!blank(kind, bytes), "{bytes}");
        }
    }

    #[test]
    fn a_mutated_header_is_described_or_refused() {
        for &(kind, bytes, _) in CASES {
            mutations(&hex(bytes), |changed| {
                if let Ok(Some(description)) = describe(kind, changed) {
                    assert!(description.to_string().len() < 160);
                }
            });
        }
    }
}
