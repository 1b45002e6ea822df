//! What can be left out of an image: one folder or file a feature, one line in [`SERVICES`]. Beside
//! them what every service and the server share: who is asked ([`admission`]), and how a stream
//! comes in ([`ingress`]).

pub mod admission;
#[cfg(feature = "api")]
pub mod api;
#[cfg(feature = "reload")]
pub mod auto_reload;
#[cfg(feature = "bandwidth")]
mod bandwidth;
#[cfg(any(feature = "caster-flv", feature = "caster-mpegts", feature = "caster-rtsp"))]
pub mod caster;
#[cfg(feature = "caster-flv")]
mod caster_flv;
#[cfg(feature = "caster-rtsp")]
mod caster_rtsp;
#[cfg(feature = "caster-mpegts")]
mod caster_ts;
#[cfg(any(feature = "caster-mpegts", feature = "ingest"))]
mod datagrams;
#[cfg(feature = "demo")]
pub mod demo;
#[cfg(feature = "dvr")]
pub mod dvr;
#[cfg(feature = "edge")]
pub mod edge;
#[cfg(feature = "exec")]
mod exec;
#[cfg(feature = "forward")]
pub mod forward;
#[cfg(feature = "hds")]
pub mod hds;
#[cfg(feature = "heartbeat")]
pub mod heartbeat;
#[cfg(feature = "hls")]
pub mod hls;
#[cfg(feature = "hooks")]
pub mod hooks;
#[cfg(feature = "_http")]
pub mod http;
#[cfg(feature = "ingest")]
pub mod ingest;
pub mod ingress;
#[cfg(any(
    feature = "caster-flv",
    feature = "caster-mpegts",
    feature = "caster-rtsp",
    feature = "ingest"
))]
pub mod input;
pub mod inputs;
#[cfg(any(
    feature = "dvr",
    feature = "hds",
    feature = "hls",
    feature = "remux",
    feature = "_process"
))]
pub mod path;
#[cfg(feature = "_process")]
pub mod program;
#[cfg(feature = "_relay")]
pub mod relay;
#[cfg(feature = "remux")]
pub mod remux;
#[cfg(any(feature = "caster-rtsp", feature = "ingest"))]
mod rtp;
#[cfg(feature = "sign")]
pub mod sign;
#[cfg(all(feature = "sign", feature = "_http"))]
pub mod signed_path;
#[cfg(feature = "static-files")]
pub mod static_files;
#[cfg(feature = "_stats")]
pub mod stats;
pub mod terms;
#[cfg(feature = "transcode")]
mod transcode;
pub mod upstreams;
#[cfg(feature = "watchdog")]
mod watchdog;
#[cfg(feature = "web")]
pub mod web;

use crate::config::{Config, Endpoint, Vhost};
use crate::context::Context;
use crate::hub::{Caller, Client, Publisher, Sink, StreamKey};
use crate::io::link::{End, Link};
use crate::io::tcp;
use crate::proto::rtmp::Error;
use crate::proto::rtmp::server::{ConnectReply, Server};
use admission::{Ask, Event, Refusal};
use core::net::IpAddr;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// See [`Service::attach`].
pub type Attach = fn(&Rc<Context>, &StreamKey, &Vhost) -> Option<Box<dyn Sink>>;

/// The whole contract of an optional feature.
pub struct Service {
    /// Its name, which is that of its cargo feature.
    pub name: &'static str,
    /// Joins a stream that starts, when its vhost asks for this service.
    pub attach: Attach,
    /// Whether a stream of the first vhost has to be joined anew when a reload makes it the
    /// second: what `attach` looks at is not the same.
    pub differs: fn(&Vhost, &Vhost) -> bool,
    /// Whether a client may take a step; a task when that takes time. `None` when it has no say.
    pub ask: Ask,
    /// What serves the RTMP clients of a vhost from connect on, in the place of streams.
    pub converse: fn(&Vhost) -> Option<Converse>,
    /// Hears what happened.
    pub tell: fn(&Rc<Context>, &Event<'_>),
    /// Its connections to other servers.
    pub upstreams: fn(&Rc<Context>) -> Vec<upstreams::Report>,
    /// Hears that a stream is played, and fetches it if it can. Whoever plays it without being a
    /// player of the hub wants it for so long.
    pub wanted: fn(&Rc<Context>, &StreamKey, &Rc<Vhost>, &Rc<Caller>, Duration),
    /// Acts on another configuration than the one that is given, which was in force until now. Its
    /// sinks and its port are seen to already.
    pub reload: fn(&Rc<Context>, &Config),
    /// What runs without a stream.
    pub start: fn(&Rc<Context>),
    /// The server leaves, its connections were asked to end: what runs without one ends, too.
    pub leave: fn(&Rc<Context>),
    /// What it does when the process ends, after all connections and before the disk is waited for.
    pub stop: fn(),
    /// What it has to send yet after that, if anything. Takes a time that is bounded by itself.
    pub finish: fn(&Rc<Context>) -> Option<Task<()>>,
    /// Where it listens, beside others.
    pub port: Option<Port>,
    /// The stream that an HTTP path (host and path) is a part of, where it serves streams by path.
    pub stream_at: fn(&Rc<Context>, &str, &str) -> Option<StreamKey>,
    /// What the program is besides a server, if anything.
    pub applet: Option<Applet>,
    /// The HTTP paths that it answers on the port of `http_server`.
    pub routes: fn(&Rc<Context>, &mut Router),
    /// The same on the port of `http_api`.
    pub api_routes: fn(&Rc<Context>, &mut Router),
}

/// Serves an RTMP client of a vhost, whose connect waits for its answer, to its end.
pub type Converse =
    for<'a> fn(&'a Rc<Client>, &'a ConnectReply, &'a mut Link<Server>) -> Conversation<'a>;

/// Ends with the connection, with a refusal, or with all that was asked for.
pub type Conversation<'a> =
    Pin<Box<dyn Future<Output = Result<Result<(), Refusal>, End<Error>>> + 'a>>;

/// What the program is when it is called by another name, by a link say, or with that name as the
/// first word.
#[derive(Clone, Copy, Debug)]
pub struct Applet {
    /// That name.
    pub name: &'static str,
    /// What is printed when it is called in another way than it can be.
    pub usage: &'static str,
    /// Does it, told the words behind the name. The number of the refusal says the exit status, as
    /// for the server; [`USAGE`](Self::USAGE): the usage is printed.
    pub run: fn(&[String]) -> Result<(), Refusal>,
}

impl Applet {
    /// Called in a way in which it cannot be.
    pub const USAGE: u16 = 0xff;
}

/// A task of this thread.
pub type Task<T> = Pin<Box<dyn Future<Output = T>>>;

/// A TCP port of a service.
#[derive(Clone, Copy)]
pub struct Port {
    /// The protocol, for the log and the first screen.
    pub name: &'static str,
    /// Where to listen.
    pub endpoints: fn(&Config) -> Vec<Endpoint>,
    /// Serves a connection to its end; with its id and the client's address.
    pub serve: fn(tcp::Socket, u32, IpAddr, Rc<Context>) -> Task<()>,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What services say that they answer over HTTP.
#[cfg(feature = "_http")]
pub type Router = http::Router;
/// There is no HTTP in this image.
#[cfg(not(feature = "_http"))]
#[derive(Debug)]
pub enum Router {}

impl Service {
    /// A service that does nothing.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            attach: |_, _, _| None,
            differs: |_, _| false,
            ask: |_, _, _| None,
            converse: |_| None,
            tell: |_, _| {},
            upstreams: |_| Vec::new(),
            wanted: |_, _, _, _, _| {},
            reload: |_, _| {},
            start: |_| {},
            leave: |_| {},
            stop: || {},
            finish: |_| None,
            port: None,
            stream_at: |_, _, _| None,
            applet: None,
            routes: |_, _| {},
            api_routes: |_, _| {},
        }
    }
}

/// Every service of this image.
pub static SERVICES: &[Service] = &[
    // First: it knows a stream before others tell of it.
    #[cfg(feature = "_stats")]
    stats::SERVICE,
    #[cfg(feature = "demo")]
    demo::SERVICE,
    #[cfg(feature = "sign")]
    sign::SERVICE,
    // Before those who answer.
    #[cfg(all(feature = "sign", feature = "_http"))]
    signed_path::SERVICE,
    #[cfg(feature = "bandwidth")]
    bandwidth::SERVICE,
    #[cfg(feature = "hls")]
    hls::SERVICE,
    #[cfg(feature = "dvr")]
    dvr::SERVICE,
    #[cfg(feature = "hds")]
    hds::SERVICE,
    #[cfg(feature = "_http")]
    http::SERVICE,
    #[cfg(feature = "remux")]
    remux::SERVICE,
    #[cfg(feature = "static-files")]
    static_files::SERVICE,
    #[cfg(feature = "web")]
    web::SERVICE,
    #[cfg(feature = "reload")]
    auto_reload::SERVICE,
    #[cfg(feature = "api")]
    api::SERVICE,
    #[cfg(feature = "heartbeat")]
    heartbeat::SERVICE,
    #[cfg(feature = "caster-mpegts")]
    caster_ts::SERVICE,
    #[cfg(feature = "caster-rtsp")]
    caster_rtsp::SERVICE,
    #[cfg(feature = "caster-flv")]
    caster_flv::SERVICE,
    #[cfg(feature = "ingest")]
    ingest::SERVICE,
    #[cfg(feature = "srs-ingest-hls")]
    ingest::applet::SERVICE,
    #[cfg(feature = "transcode")]
    transcode::SERVICE,
    #[cfg(feature = "exec")]
    exec::SERVICE,
    #[cfg(feature = "_process")]
    program::SERVICE,
    #[cfg(feature = "watchdog")]
    watchdog::SERVICE,
    #[cfg(feature = "hooks")]
    hooks::SERVICE,
    #[cfg(feature = "forward")]
    forward::SERVICE,
    // Asks the origin: behind those that know at once.
    #[cfg(feature = "edge")]
    edge::SERVICE,
];

/// Gives a stream that starts the sinks that its vhost asks for.
pub fn attach(publisher: &mut Publisher, cx: &Rc<Context>, key: &StreamKey, vhost: &Vhost) {
    for service in SERVICES {
        if let Some(sink) = (service.attach)(cx, key, vhost) {
            publisher.attach(sink);
        }
    }
}

/// What serves the RTMP clients of `vhost` in the place of streams, if anything does.
pub fn converse(vhost: &Vhost) -> Option<Converse> {
    SERVICES.iter().find_map(|service| (service.converse)(vhost))
}

/// The cargo features of this image, for the banner and for directives that need another.
pub const FEATURES: &[&str] = &[
    #[cfg(feature = "digest")]
    "digest",
    #[cfg(feature = "demo")]
    "demo",
    #[cfg(feature = "hls")]
    "hls",
    #[cfg(feature = "hls-keys")]
    "hls-keys",
    #[cfg(feature = "dvr")]
    "dvr",
    #[cfg(feature = "hds")]
    "hds",
    #[cfg(feature = "remux")]
    "remux",
    #[cfg(feature = "static-files")]
    "static-files",
    #[cfg(feature = "web")]
    "web",
    #[cfg(feature = "edge")]
    "edge",
    #[cfg(feature = "forward")]
    "forward",
    #[cfg(feature = "sign")]
    "sign",
    #[cfg(feature = "bandwidth")]
    "bandwidth",
    #[cfg(feature = "reload")]
    "reload",
    #[cfg(feature = "api")]
    "api",
    #[cfg(feature = "heartbeat")]
    "heartbeat",
    #[cfg(feature = "service")]
    "service",
    #[cfg(feature = "watchdog")]
    "watchdog",
    #[cfg(feature = "hooks")]
    "hooks",
    #[cfg(feature = "caster-mpegts")]
    "caster-mpegts",
    #[cfg(feature = "caster-rtsp")]
    "caster-rtsp",
    #[cfg(feature = "caster-flv")]
    "caster-flv",
    #[cfg(feature = "ingest")]
    "ingest",
    #[cfg(feature = "srs-ingest-hls")]
    "srs-ingest-hls",
    #[cfg(feature = "transcode")]
    "transcode",
    #[cfg(feature = "exec")]
    "exec",
    #[cfg(feature = "reference")]
    "reference",
    #[cfg(feature = "tls")]
    "tls",
];
