//! RTP (RFC 3550) as a receiver: packets of one track in, access units and audio frames out.
//!
//! ```text
//! packet ── Header ── reorder ── clock ── avc | hevc | aac | latm ── Unit
//!                        RTCP ── rtcp ── Sync
//! ```
//!
//! [`Track`] is all of it for one track. What comes out has the times of the sender's RTP clock,
//! unwrapped; [`Sync`] lays several tracks on one time line. RTP has presentation times only:
//! [`Decode`] finds decode times for pictures that are reordered.

mod aac;
mod avc;
mod clock;
mod decode;
mod header;
mod hevc;
mod latm;
mod picture;
mod reorder;
pub mod rtcp;
mod track;
mod unit;

pub use clock::Sync;
pub use decode::{Decode, reorder_depth};
pub use header::Header;
pub use track::{Stats, Track};
pub use unit::{Content, Nals, Unit};

use crate::codec::latm::Mux;
use std::fmt;

/// What a track carries, and how packets hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// H.264, packetization mode 0 or 1 (RFC 6184).
    H264,
    /// H.265 without DONL fields (RFC 7798).
    Hevc,
    /// AAC behind AU headers (RFC 3640).
    Aac {
        /// Bits of `AU-size`, 1 to 16.
        size_length: u8,
        /// Bits of `AU-Index`.
        index_length: u8,
        /// Bits of `AU-Index-delta`.
        index_delta_length: u8,
        /// Length of a frame in ticks of the RTP clock.
        frame_ticks: u32,
    },
    /// AAC as LATM (RFC 6416).
    Latm {
        /// Packets say themselves how they are laid out (`cpresent=1`).
        in_band: bool,
        /// What the SDP says of that.
        mux: Option<Mux>,
    },
}

impl Payload {
    /// Whether it is sound.
    pub const fn is_audio(self) -> bool {
        matches!(self, Self::Aac { .. } | Self::Latm { .. })
    }
}

/// A track as it was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// What is in the packets.
    pub payload: Payload,
    /// The payload type of its packets, 0 to 127. Others are passed over.
    pub payload_type: u8,
    /// Ticks a second of RTP timestamps, more than 0.
    pub clock_rate: u32,
}

/// Why a packet is of no use. None of these ends a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// It is shorter than it says.
    Short,
    /// Not version 2.
    Version,
    /// A payload type that was not announced.
    PayloadType(u8),
    /// A kind of packet of H.264 or H.265 that is not read: interleaved ones, PACI.
    Packetization(u8),
    /// A fragment without the ones before it.
    Fragment,
    /// A StreamMuxConfig that is not read.
    AudioConfig,
    /// The picture or the audio frame is longer than its limit.
    TooLong,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("RTP packet is shorter than it says"),
            Self::Version => f.write_str("not RTP version 2"),
            Self::PayloadType(number) => write!(f, "RTP payload type {number} was not announced"),
            Self::Packetization(kind) => {
                write!(f, "RTP packets of NAL unit type {kind} are not supported")
            }
            Self::Fragment => f.write_str("RTP fragment without its beginning"),
            Self::AudioConfig => f.write_str("AAC as LATM of a kind that is not supported"),
            Self::TooLong => f.write_str("picture or audio frame longer than its limit"),
        }
    }
}

impl std::error::Error for Error {}
