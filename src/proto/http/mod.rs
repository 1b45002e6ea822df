//! HTTP/1.1 (RFC 9112) and HTTP/1.0, both sides.

mod body;
#[cfg(feature = "_fetch")]
pub mod client;
mod request;
mod response;
mod server;
pub mod url;

pub use request::{Method, Request, encode_path};
pub use response::{Length, Response, date, reason};
pub use server::{Event, Server};

use crate::limits;
use std::fmt;

/// What a client did wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The head of a request cannot be read.
    Malformed(&'static str),
    /// The head is longer than [`limits::HTTP_HEAD`], or has more than [`limits::HTTP_HEADERS`]
    /// lines.
    TooLong,
    /// The path is longer than [`limits::URL_MAX`].
    PathTooLong,
    /// The path leads out of the tree, or has a control character.
    Path(&'static str),
    /// A transfer coding other than chunked.
    Coding,
    /// Not HTTP/1.
    Version,
}

impl Error {
    /// The status of the answer.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Path(_) => 400,
            Self::TooLong => 431,
            Self::PathTooLong => 414,
            Self::Coding => 501,
            Self::Version => 505,
        }
    }

    /// The number of the original, for logs.
    pub const fn code(&self) -> u16 {
        match self {
            Self::Path(_) => 4002,
            _ => 4000,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "malformed HTTP: {what}"),
            Self::TooLong => write!(
                f,
                "the head of the request has more than {} bytes or {} lines",
                limits::HTTP_HEAD,
                limits::HTTP_HEADERS
            ),
            Self::PathTooLong => write!(f, "the path has more than {} bytes", limits::URL_MAX),
            Self::Path(what) => write!(f, "path refused: {what}"),
            Self::Coding => f.write_str("unknown transfer coding"),
            Self::Version => f.write_str("not HTTP/1"),
        }
    }
}

impl std::error::Error for Error {}
