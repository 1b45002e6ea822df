//! Who publishes and plays: what hooks, the API and statistics are told of a client.

use super::StreamKey;
use crate::config::Vhost;
use crate::limits::CONNECT_ARGS;
use crate::proto::amf0::{Object, Reader, Value, Writer};
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
    /// What it added to `connect`, for the origin of an edge: an object of AMF0 as
    /// [`Caller::keep`] writes it. Empty where nothing was added, or where no vhost is an edge.
    pub args: Vec<u8>,
}

impl Caller {
    /// Keeps `args` for an origin. What servers say of themselves in them (`srs_*`) is left out:
    /// each says its own. False: they take more than [`CONNECT_ARGS`], and are not kept.
    pub fn keep(&mut self, args: &Object) -> bool {
        let args: Object = args
            .iter()
            .filter(|(key, _)| !key.starts_with("srs_"))
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect();
        let mut bytes = Vec::new();
        if !args.is_empty() {
            Writer(&mut bytes).object().pairs(&args).end();
        }
        let fits = bytes.len() <= CONNECT_ARGS;
        if fits {
            self.args = bytes;
        }
        fits
    }

    /// What was kept.
    pub fn args(&self) -> Option<Object> {
        match Reader::new(&self.args).value() {
            Ok(Value::Object(args)) => Some(args),
            _ => None,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_adds_to_connect_is_kept_without_what_servers_say_of_themselves() {
        let mut caller = Caller::default();
        assert_eq!(caller.args(), None);
        let said = Object::from_iter([("token", "t"), ("srs_version", "9"), ("key", "k")]);
        assert!(caller.keep(&said));
        assert_eq!(caller.args(), Some(Object::from_iter([("token", "t"), ("key", "k")])));
        let mut caller = Caller::default();
        assert!(caller.keep(&Object::from_iter([("srs_version", "9")])));
        assert!(caller.args.is_empty());
        let long = "x".repeat(CONNECT_ARGS);
        assert!(!caller.keep(&Object::from_iter([("token", &*long)])));
        assert!(caller.args.is_empty() && caller.args().is_none());
    }
}
