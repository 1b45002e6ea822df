//! Who publishes and plays: what hooks, the API and statistics are told of a client.

use super::StreamKey;
use crate::config::Vhost;
use core::net::IpAddr;
use std::fmt;
use std::rc::Rc;

/// What a client said of itself before it named a stream. Shared by all that it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The url that it connected to, without the stream; of HTTP, the url without its query.
    pub tc_url: String,
    /// The page that the player is on.
    pub page_url: String,
    /// The player itself.
    pub swf_url: String,
}

/// A client and what it wants. While it waits for a stream name the stream in `key` is empty.
#[derive(Clone, Debug)]
pub struct Client {
    /// The number of its connection, as in the log.
    pub id: u32,
    /// Its address.
    pub ip: IpAddr,
    /// What it is.
    pub kind: ClientKind,
    /// The vhost block that serves it.
    pub vhost: Rc<Vhost>,
    /// The stream.
    pub key: StreamKey,
    /// The parameters of the url with their `?`, or nothing.
    pub param: String,
    /// What it said of itself.
    pub caller: Rc<Caller>,
    /// When it came, in milliseconds of the owner's clock.
    pub since: u64,
}

impl Client {
    /// Whether it sends the stream.
    pub fn publishes(&self) -> bool {
        !matches!(self.kind, ClientKind::Unknown | ClientKind::Play | ClientKind::HttpPlay)
    }
}

/// What a client is, by what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// It connected, nothing more.
    Unknown,
    /// Plays over RTMP.
    Play,
    /// Plays over HTTP.
    HttpPlay,
    /// Publishes in the way of the Flash Media Live Encoder, as FFmpeg and OBS do.
    FmlePublish,
    /// Publishes in the way of Flash.
    FlashPublish,
    /// Publishes in the way of Haivision's encoders.
    HaivisionPublish,
    /// A publisher that is not RTMP: the name of the service that takes it in.
    Input(&'static str),
}

impl fmt::Display for ClientKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Unknown",
            Self::Play => "Play",
            Self::HttpPlay => "HttpPlay",
            Self::FmlePublish => "fmle-publish",
            Self::FlashPublish => "flash-publish",
            Self::HaivisionPublish => "haivision-publish",
            Self::Input(service) => service,
        })
    }
}
