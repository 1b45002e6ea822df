//! RTSP/1.0 (RFC 2326) in both directions: [`Server`] takes what encoders push, [`Client`] pulls
//! cameras. Packets of media are [`rtp`](super::rtp)'s business.

pub mod auth;
mod base64;
pub mod client;
mod message;
pub mod sdp;
pub mod server;
mod transport;
mod url;

pub use client::Client;
pub use message::{Headers, Item, Method, Parser, Request, Response, reason};
pub use server::Server;
pub use transport::{Lower, Transport};
pub use url::Url;

use crate::limits;
use std::fmt;

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A message cannot be read.
    Malformed(&'static str),
    /// The head of a message has more than [`limits::RTSP_HEAD`] bytes or
    /// [`limits::RTSP_HEADERS`] lines.
    HeadTooLong,
    /// A body has more than [`limits::RTSP_BODY`] bytes.
    BodyTooLong,
    /// More than [`limits::CONTROL_OUT_MAX`] bytes of answers wait for a peer that reads none.
    PeerDoesNotRead,
    /// A client gave wrong credentials [`limits::RTSP_LOGINS`] times.
    Logins,
    /// A server refused a request.
    Refused {
        /// What was asked.
        method: Method,
        /// The status of the answer.
        status: u16,
    },
    /// A server wants credentials, others than those given, or in a way that is not known.
    Unauthorized,
    /// A server describes a stream in something else than SDP.
    NotSdp,
    /// A server chose a transport that was not asked for.
    Transport,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "malformed RTSP: {what}"),
            Self::HeadTooLong => write!(
                f,
                "the head of the RTSP message has more than {} bytes or {} lines",
                limits::RTSP_HEAD,
                limits::RTSP_HEADERS
            ),
            Self::BodyTooLong => {
                write!(f, "the body of the RTSP message has more than {} bytes", limits::RTSP_BODY)
            }
            Self::PeerDoesNotRead => f.write_str("the peer reads no answers"),
            Self::Logins => write!(f, "wrong credentials {} times", limits::RTSP_LOGINS),
            Self::Refused { method, status } => {
                write!(f, "{method} is answered with {status} {}", reason(*status))
            }
            Self::Unauthorized => f.write_str("the server refuses the credentials"),
            Self::NotSdp => f.write_str("the server does not describe the stream in SDP"),
            Self::Transport => f.write_str("the server chose a transport that was not asked for"),
        }
    }
}

impl std::error::Error for Error {}
