//! MPEG transport streams (ISO/IEC 13818-1) of one program: H.264 or HEVC, AAC or MP3. What HLS
//! segments and HTTP-TS are made of.

pub mod datagram;
mod demux;
mod mux;
mod nal;
mod packet;
mod pes;
mod psi;
mod tag;

pub use crate::codec::nal::Video;
pub use demux::{Counters, Demux, Note, Sound, Stop};
pub use mux::{Mux, Muxed, bound};
pub use tag::{Body, read};

use crate::media::Codec;
use std::fmt;

/// Bytes of a packet.
pub const PACKET: usize = 188;

/// Ticks of the clock in a millisecond: it runs at 90 kHz.
pub const TICKS: i64 = 90;

/// An audio codec that has a stream type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audio {
    /// Stream type 0x0f, in ADTS.
    Aac,
    /// Stream type 0x04.
    Mp3,
}

impl Video {
    /// `codec` if it has a stream type.
    pub fn of(codec: Codec) -> Option<Self> {
        match codec {
            Codec::Id(7) => Some(Self::H264),
            Codec::Id(12) => Some(Self::Hevc),
            Codec::FourCc(cc) if cc == *b"avc1" => Some(Self::H264),
            Codec::FourCc(cc) if cc == *b"hvc1" => Some(Self::Hevc),
            _ => None,
        }
    }
}

impl Audio {
    /// `codec` if it has a stream type.
    pub fn of(codec: Codec) -> Option<Self> {
        match codec {
            Codec::Id(10) => Some(Self::Aac),
            // 14 is MP3 of 8 kHz.
            Codec::Id(2 | 14) => Some(Self::Mp3),
            Codec::FourCc(cc) if cc == *b"mp4a" => Some(Self::Aac),
            Codec::FourCc(cc) if cc == *b".mp3" => Some(Self::Mp3),
            _ => None,
        }
    }
}

/// How a [`Mux`] works before it knows the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The video codec that the program map states until there is video; `None` for none.
    pub video: Option<Video>,
    /// The audio codec that the program map states until there is audio; `None` for none.
    pub audio: Option<Audio>,
    /// Milliseconds of audio that go into one PES packet while there is no video; 0 for each
    /// frame in its own.
    pub gather_ms: u32,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { video: Some(Video::H264), audio: Some(Audio::Aac), gather_ms: 0 }
    }
}

/// Why a packet could not be muxed. Nothing was written, and the next packet may be fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The codec has no place in a transport stream of ours.
    Unsupported(Codec),
    /// The packet is not what its first bytes promise, in the way that the text says.
    Corrupt(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(Codec::None) => f.write_str("no codec"),
            Self::Unsupported(Codec::Id(id)) => {
                write!(f, "codec {id} ({}) has no place in TS", Codec::Id(*id).name())
            }
            Self::Unsupported(Codec::FourCc(cc)) => {
                write!(f, "codec {} has no place in TS", cc.escape_ascii())
            }
            Self::Corrupt(what) => write!(f, "corrupt: {what}"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
pub(crate) mod check;
