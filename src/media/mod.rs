//! What travels through the server: packets, and the memory they live in. No I/O, no clock.

pub mod arena;
mod classify;
mod decimal;
pub mod mix;
pub mod time;
pub mod timeline;

pub use classify::{Class, Codec, classify};
pub use decimal::{Decimal, decimal};

use bytes::Bytes;
use std::fmt;

/// The three kinds of message that a stream is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// RTMP message type 8, FLV tag type 8.
    Audio,
    /// RTMP message type 9, FLV tag type 9.
    Video,
    /// RTMP message type 18 (AMF0 data), FLV tag type 18: `onMetaData`.
    Data,
}

impl Kind {
    /// The RTMP message type id, which is the FLV tag type too.
    pub const fn type_id(self) -> u8 {
        match self {
            Self::Audio => 8,
            Self::Video => 9,
            Self::Data => 18,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Audio => "Audio",
            Self::Video => "Video",
            Self::Data => "Data",
        })
    }
}

/// One message of a stream: an FLV tag body (RTMP message payload) and what must be known of it
/// without parsing it again. 40 bytes on a 64-bit target; cloning shares the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The FLV tag body.
    pub payload: Bytes,
    /// Decode time in milliseconds, 31 bits: it wraps to 0 at 2^31 (RTMP 1.0 §5.3.1; 24.8 days).
    pub dts: u32,
    /// Audio, video or data.
    pub kind: Kind,
    /// A video frame at which a decoder can start (not a sequence header).
    pub key: bool,
    /// A codec sequence header (AVCDecoderConfigurationRecord, AudioSpecificConfig, …).
    pub header: bool,
}

const _: () = assert!(size_of::<Packet>() <= crate::limits::PACKET_BYTES);

impl Packet {
    /// A packet of `payload` at `dts`; the two flags are read from the payload's first bytes.
    pub fn new(kind: Kind, dts: u32, payload: Bytes) -> Self {
        let class = classify(kind, &payload);
        Self { key: class.key, header: class.header, payload, dts: dts & time::MASK, kind }
    }
}
