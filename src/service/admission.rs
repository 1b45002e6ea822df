//! What is asked before a client may do what it wants, and who is told what happened. Every way in
//! and out comes by here: RTMP, HTTP, casters, ingest.

use super::{SERVICES, Service, Task};
use crate::config::{Denied, Vhost};
use crate::context::Context;
use crate::hub::session::Session;
use crate::hub::{Caller, Client, Refused, StreamKey};
use crate::proto::rtmp::url;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// What a client is about to do. Nothing is promised to it before all services agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To be connected; the stream is not known yet. RTMP alone has this step, but services that
    /// look at it have to look at the others as well: the vhost may be another then.
    Connect,
    /// To publish.
    Publish,
    /// To play.
    Play,
}

/// What happened. Each of the first three follows a [`Step`] that was allowed.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A client publishes no more.
    Unpublished(&'a Rc<Client>),
    /// A client plays no more.
    Stopped(&'a Rc<Client>),
    /// The connection of a client is over; how many bytes it received from us is `sent`.
    Closed {
        /// What it did last.
        client: &'a Rc<Client>,
        /// Bytes that came from it.
        received: u64,
        /// Bytes that went to it.
        sent: u64,
    },
    /// A recording is complete.
    Recorded {
        /// The stream.
        key: &'a StreamKey,
        /// Who published it when the recording began; nobody when that was no connection.
        by: Option<&'a Rc<Client>>,
        /// The file, by its final name.
        file: &'a Path,
    },
    /// An HLS segment is complete.
    Segment(&'a Segment<'a>),
}

/// A complete HLS segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The stream.
    pub key: &'a StreamKey,
    /// Who publishes it; nobody when that is no connection.
    pub by: Option<&'a Rc<Client>>,
    /// Seconds.
    pub duration: f64,
    /// The file, as `hls_path` and `hls_ts_file` name it; also where segments are in memory only.
    pub file: &'a str,
    /// As it stands in the playlist.
    pub uri: &'a str,
    /// The playlist file.
    pub playlist: &'a str,
    /// The playlist below `hls_path`.
    pub playlist_uri: &'a str,
    /// Its number in the playlist.
    pub number: u64,
}

/// See [`ask`].
pub type Ask = fn(&Rc<Context>, &Rc<Client>, Step) -> Option<Task<Result<(), Refusal>>>;

/// Whether `client` may take `step`: the first service that refuses counts, and those that had
/// agreed are told that it is over. Takes as long as the services need; each has its deadline.
pub async fn ask(cx: &Rc<Context>, client: &Rc<Client>, step: Step) -> Result<(), Refusal> {
    let mut agreed = Vec::new();
    for service in SERVICES {
        let Some(task) = (service.ask)(cx, client, step) else { continue };
        if let Err(refusal) = task.await {
            let (received, sent) =
                cx.sessions.find(client.id).map_or((0, 0), |session| session.traffic());
            let over = match step {
                Step::Connect => Event::Closed { client, received, sent },
                Step::Publish => Event::Unpublished(client),
                Step::Play => Event::Stopped(client),
            };
            agreed.into_iter().for_each(|service: &Service| (service.tell)(cx, &over));
            return Err(refusal);
        }
        agreed.push(service);
    }
    Ok(())
}

/// The block of `vhost` as it is now: the configuration may have changed while somebody was asked.
pub fn as_it_is(cx: &Context, vhost: &Vhost) -> Result<Rc<Vhost>, Refusal> {
    let now = cx.config().block(&vhost.name).cloned();
    now.ok_or_else(|| Refusal::new(2014, format!("no vhost is called {} any more", vhost.name)))
}

/// Tells every service what happened.
pub fn tell(cx: &Rc<Context>, event: &Event<'_>) {
    SERVICES.iter().for_each(|service| (service.tell)(cx, event));
}

/// Tells that the connection of `session` is over, if it asked for anything. What is still to be
/// sent to it does not count any more.
pub fn tell_closed(cx: &Rc<Context>, session: &Session) {
    if let Some(client) = session.take_client() {
        let (received, sent) = session.traffic();
        tell(cx, &Event::Closed { client: &client, received, sent });
    }
}

/// The client that publishes `key` now; `None` when nobody does, or what does is no connection.
pub fn publisher(cx: &Context, key: &StreamKey) -> Option<Rc<Client>> {
    let id = cx.hub.find(key)?.publisher()?;
    cx.sessions.find(id)?.client().filter(|client| client.publishes() && client.key == *key)
}

/// Says that `caller` plays `key`, which may be published or not: whoever can fetch it may do so.
/// A player says it once when it starts, `hold` being zero; HLS with every request for a playlist,
/// with the time to the next one.
pub fn want(
    cx: &Rc<Context>,
    key: &StreamKey,
    vhost: &Rc<Vhost>,
    caller: &Rc<Caller>,
    hold: Duration,
) {
    SERVICES.iter().for_each(|service| (service.wanted)(cx, key, vhost, caller, hold));
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The number of the original, for logs, the API and hooks.
    pub code: u16,
    /// What the peer and the log are told.
    pub text: String,
}

impl Refusal {
    /// A refusal with the original's number.
    pub fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. ret={}", self.text, self.code)
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let code = match refused {
            Refused::Busy { .. } => 1028,
            Refused::TooManyStreams => 1021,
        };
        Self::new(code, refused.to_string())
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::new(denied.code, denied.text)
    }
}

impl From<url::Error> for Refusal {
    fn from(error: url::Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
