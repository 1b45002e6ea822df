//! Why a session ends.

use std::fmt;

use super::{chunk, command};
use crate::proto::amf0;

/// What the peer did, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// Bytes received when it showed, the handshake not counted.
    pub at: u64,
    /// What it is.
    pub cause: Cause,
}

impl Error {
    /// The number in logs and in the API.
    pub const fn code(&self) -> u16 {
        self.cause.code()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            // It knows its place better.
            Cause::Chunk(error) => error.fmt(f),
            cause => write!(f, "{cause}, before byte {}", self.at),
        }
    }
}

impl std::error::Error for Error {}

/// What a peer can do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// In the handshake or in the chunk layer.
    Chunk(chunk::Error),
    /// In a command.
    Command(command::Error),
    /// A control message of this type that is too short for what it says.
    Control(u8),
    /// An aggregate that does not add up.
    Aggregate,
    /// More than [`CONTROL_OUT_MAX`](crate::limits::CONTROL_OUT_MAX) bytes of answers wait for a
    /// peer that reads none.
    PeerDoesNotRead,
}

impl Cause {
    /// The number in logs and in the API.
    pub const fn code(&self) -> u16 {
        match self {
            Self::Chunk(error) => error.code(),
            Self::Command(error) => error.code(),
            Self::Control(_) => 2007,
            Self::Aggregate => 2024,
            Self::PeerDoesNotRead => 1009,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunk(error) => error.fmt(f),
            Self::Command(error) => error.fmt(f),
            Self::Control(type_id) => write!(f, "control message {type_id} is too short"),
            Self::Aggregate => write!(f, "aggregate ends inside a message"),
            Self::PeerDoesNotRead => write!(f, "the peer does not read its answers"),
        }
    }
}

impl From<chunk::Error> for Cause {
    fn from(error: chunk::Error) -> Self {
        Self::Chunk(error)
    }
}

impl From<command::Error> for Cause {
    fn from(error: command::Error) -> Self {
        Self::Command(error)
    }
}

impl From<amf0::Error> for Cause {
    fn from(error: amf0::Error) -> Self {
        Self::Command(command::Error::Amf0(error))
    }
}
