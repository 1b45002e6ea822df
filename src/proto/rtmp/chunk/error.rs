use std::fmt;

use crate::limits;

/// What the peer did wrong in the handshake or in the chunk layer. `at` is the offset of the chunk's
/// first byte, counted from the first byte that the [`Decoder`](super::Decoder) was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A client began with this byte instead of 3: RTMPE, TLS, HTTP or something else.
    PlainRequired(u8),
    /// A server answered with this byte instead of 3.
    Handshake(u8),
    /// The first chunk of a chunk stream has a header that refers to an earlier one.
    FreshChunkStream {
        /// Chunk stream.
        csid: u32,
        /// Type of the header, 1..=3.
        format: u8,
        /// Byte offset.
        at: u64,
    },
    /// A new message begins before the one on the same chunk stream is complete.
    Interrupted {
        /// Chunk stream.
        csid: u32,
        /// Byte offset.
        at: u64,
    },
    /// The length of a message changes while it arrives.
    LengthChanged {
        /// Chunk stream.
        csid: u32,
        /// The new length in bytes.
        len: u32,
        /// The length that the message began with.
        was: u32,
        /// Byte offset.
        at: u64,
    },
    /// A chunk size outside of [`limits::CHUNK_SIZE_MIN`]..=[`limits::CHUNK_SIZE_MAX`].
    ChunkSize {
        /// The size asked for.
        size: u32,
        /// Byte offset, behind the message that asked.
        at: u64,
    },
    /// One more chunk stream than [`limits::CHUNK_STREAMS`].
    TooManyChunkStreams {
        /// Chunk stream.
        csid: u32,
        /// Byte offset.
        at: u64,
    },
    /// A message longer than its type may be.
    TooLong {
        /// Chunk stream.
        csid: u32,
        /// The message's length in bytes.
        len: u32,
        /// The most bytes allowed.
        max: usize,
        /// Byte offset.
        at: u64,
    },
    /// No memory was left for a message: not the peer's fault.
    NoMemory {
        /// Chunk stream.
        csid: u32,
        /// The message's length in bytes.
        len: u32,
        /// Byte offset.
        at: u64,
    },
}

impl Error {
    /// The number that SRS gives it in logs and in its API.
    pub const fn code(&self) -> u16 {
        match self {
            Self::PlainRequired(_) => 2000,
            Self::FreshChunkStream { .. }
            | Self::Interrupted { .. }
            | Self::TooManyChunkStreams { .. } => 2001,
            Self::TooLong { .. } => 2002,
            Self::ChunkSize { .. } => 2010,
            Self::LengthChanged { .. } => 2013,
            Self::Handshake(_) => 2016,
            Self::NoMemory { .. } => 1022,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PlainRequired(byte) => {
                write!(f, "not plain RTMP: the client begins with byte {byte}, not 3")
            }
            Self::Handshake(byte) => {
                write!(f, "not plain RTMP: the server answers with byte {byte}, not 3")
            }
            Self::FreshChunkStream { csid, format, at } => {
                write!(f, "chunk stream {csid} begins with a type {format} header at byte {at}")
            }
            Self::Interrupted { csid, at } => {
                write!(f, "a new message inside another on chunk stream {csid} at byte {at}")
            }
            Self::LengthChanged { csid, len, was, at } => write!(
                f,
                "the message on chunk stream {csid} changes from {was} to {len} bytes at byte {at}"
            ),
            Self::ChunkSize { size, at } => write!(
                f,
                "chunk size {size} at byte {at} is not {} to {}",
                limits::CHUNK_SIZE_MIN,
                limits::CHUNK_SIZE_MAX
            ),
            Self::TooManyChunkStreams { csid, at } => write!(
                f,
                "chunk stream {csid} at byte {at} is one more than the {} allowed",
                limits::CHUNK_STREAMS
            ),
            Self::TooLong { csid, len, max, at } => write!(
                f,
                "a message of {len} bytes on chunk stream {csid} at byte {at}, {max} are allowed"
            ),
            Self::NoMemory { csid, len, at } => write!(
                f,
                "no memory for a message of {len} bytes on chunk stream {csid} at byte {at}"
            ),
        }
    }
}

impl std::error::Error for Error {}
