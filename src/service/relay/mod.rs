//! Connections of our own to other RTMP servers: what edges and forwards share. Where to
//! ([`upstream`]), how ([`open`]), a stream on its way out ([`push`]), and what is known of each
//! ([`report`]).

pub mod balance;
pub mod push;
pub mod report;
pub mod upstream;

pub use report::{Kind, Relays, Report, State};
pub use upstream::{Dialled, Upstream};

use crate::context::Context;
use crate::hub::Caller;
use crate::io::clock;
use crate::io::connect;
use crate::io::link::Link;
use crate::io::resolve;
use crate::io::run::{process_id, within};
use crate::io::{log as tank, tcp};
use crate::limits::{SNDBUF, UPSTREAM_STALL, UPSTREAM_TIMEOUT};
use crate::media::Packet;
use crate::proto::amf0::Object;
use crate::proto::rtmp::client::{Client, Config, Event, Role, ServerInfo, Status};
use crate::proto::rtmp::handshake::Form;
use crate::proto::rtmp::{RUNNEL, url};
use crate::service::admission::Refusal;
use crate::service::ingress::{Ingress, Media};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// What is wanted of a server.
#[derive(Clone, Debug)]
pub struct Aim {
    /// The vhost there, empty for the server's own name.
    pub vhost: String,
    /// The app there.
    pub app: String,
    /// The tcUrl, where it is not made of the server, the vhost and the app.
    pub tc_url: Option<String>,
    /// Who asked for the stream: its page, its player and what it added to connect.
    pub caller: Rc<Caller>,
    /// Tell the server who asks (`debug_srs_upnode`).
    pub names_us: bool,
    /// What for; nothing for connect alone.
    pub role: Option<Role>,
    /// The vhost here: where it is the one that we would come to, the stream would come back.
    pub own_vhost: String,
}

impl Aim {
    /// The stream of `role` in `app` of `vhost`, for a stream of `own_vhost`.
    pub fn new(vhost: &str, app: &str, names_us: bool, role: Role, own_vhost: &str) -> Self {
        Self {
            vhost: vhost.to_owned(),
            app: app.to_owned(),
            tc_url: None,
            caller: Rc::default(),
            names_us,
            role: Some(role),
            own_vhost: own_vhost.to_owned(),
        }
    }

    /// The vhost that a server finds in `tc_url` and in the name of the stream.
    pub fn vhost_of(&self, tc_url: &str) -> String {
        let address = match &self.role {
            Some(Role::Play { stream, .. } | Role::Publish { stream, .. }) => {
                url::discovery(tc_url, stream)
            }
            None => url::connection(tc_url),
        };
        address.map(|address| address.vhost).unwrap_or_default()
    }

    /// The argument of connect: what the client added to its own, and who we are. Without
    /// `debug_srs_upnode` there is none, as some servers cannot bear it, unless the server is asked
    /// whether it knows the client.
    fn args(&self, local: IpAddr) -> Option<Object> {
        let passed = self.names_us || self.role.is_none();
        let mut args = if passed { self.caller.args() } else { None };
        if self.names_us {
            let all = args.get_or_insert_default();
            let own = RUNNEL.properties(&local.to_string(), process_id(), tank::id());
            own.iter().for_each(|(key, value)| all.set(key, value.clone()));
        }
        args
    }

    /// Whether a connection to `address` would come back to the vhost that it is for.
    fn comes_back(&self, cx: &Context, tc_url: &str, local: IpAddr, address: SocketAddr) -> bool {
        let config = cx.config();
        let address = SocketAddr::new(tcp::plain(address.ip()), address.port());
        let here = local == address.ip() && config.listen.iter().any(|e| e.covers(address));
        here && config
            .vhost(&self.vhost_of(tc_url))
            .is_some_and(|vhost| vhost.name == self.own_vhost)
    }
}

/// A connection on which the stream flows, or may flow.
pub struct Opened {
    /// The connection.
    pub link: Link<Client>,
    /// What came before the server said that it starts.
    pub packet: Option<Packet>,
    /// Whom it is to.
    pub dialled: Dialled,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("dialled", &self.dialled).finish_non_exhaustive()
    }
}

/// Why a server was not reached, or is left.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// There is nothing to connect to, or it is no address.
    Config(String),
    /// Its name is unknown.
    Resolve(resolve::Error),
    /// No address answered.
    Connect(connect::Error),
    /// It said no.
    Refused(Status),
    /// It says nothing.
    Silent(&'static str),
    /// The connection broke.
    Broken(String),
    /// It is this very server.
    Ourselves,
    /// It asked us to go elsewhere.
    Leaves,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(text) => f.write_str(text),
            Self::Resolve(e) => e.fmt(f),
            Self::Connect(e) => e.fmt(f),
            Self::Refused(status) => write!(f, "refused, {} {}", status.code, status.description),
            Self::Silent(what) => write!(f, "silent, {what}"),
            Self::Broken(text) => f.write_str(text),
            Self::Ourselves => f.write_str("it is this server itself"),
            Self::Leaves => f.write_str("it asks to reconnect"),
        }
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// The number in the log.
    pub fn code(&self) -> u16 {
        match self {
            Self::Config(_) | Self::Resolve(_) | Self::Connect(_) => 1018,
            Self::Refused(_) => 2008,
            Self::Silent(_) => 1011,
            Self::Broken(_) | Self::Leaves => 1004,
            Self::Ourselves => 1030,
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let text = match &failure {
            Failure::Refused(status) if !status.description.is_empty() => {
                format!("the origin refuses: {}", status.description)
            }
            failure => format!("origin: {failure}"),
        };
        Self::new(failure.code(), text)
    }
}

/// Handshake, connect and, if `aim` has a role, play or publish, on a connection that was made.
pub async fn open(cx: &Rc<Context>, dialled: Dialled, aim: &Aim) -> Result<Opened, Failure> {
    let mut dialled = dialled;
    let Some(wire) = dialled.wire.take() else {
        return Err(Failure::Broken("the connection is gone".into()));
    };
    let peer = tcp::plain(dialled.address.ip());
    let local = wire.socket().local_addr();
    let local = local.map_or(Ipv4Addr::UNSPECIFIED.into(), |local| tcp::plain(local.ip()));
    let Dialled { host, port, secure, .. } = &dialled;
    let made = || url::tc_url(*secure, host, *port, &aim.vhost, &aim.app, "");
    let tc_url = aim.tc_url.clone().unwrap_or_else(made);
    if aim.comes_back(cx, &tc_url, local, dialled.address) {
        return Err(Failure::Ourselves);
    }
    let none = Role::Play { stream: String::new(), start: -2.0, buffer_ms: 0 };
    let mut config = Config::new(tc_url, &aim.app, aim.role.clone().unwrap_or(none));
    config.form = Form::Complex;
    config.time = clock::now() as u32; // only looked at by its owner
    config.page_url.clone_from(&aim.caller.page_url);
    config.swf_url.clone_from(&aim.caller.swf_url);
    config.reconnects = true;
    config.args = aim.args(local);
    // Without them it is slower, or takes more memory of the kernel.
    let _ = tcp::set_nodelay(wire.socket(), true);
    if matches!(aim.role, Some(Role::Publish { .. })) {
        let _ = tcp::set_send_buffer(wire.socket(), SNDBUF);
        // A slow stream fits the kernel's buffer for long: that it is taken there says nothing.
        let _ = tcp::set_patience(wire.socket(), UPSTREAM_STALL);
    }
    let session = cx.part::<Relays>().session(cx, peer);
    let mut machine = Client::new(config);
    if matches!(aim.role, Some(Role::Play { .. })) {
        machine.set_media(Box::new(Media(Ingress::arena(cx))));
    }
    let mut link = Link::new(wire, machine, session);
    let (mut step, mut until) = ("no handshake", clock::after(UPSTREAM_TIMEOUT));
    loop {
        let left = until.saturating_sub(clock::now());
        let event = within(Duration::from_millis(left), link.next()).await;
        // Whoever says this and that is not there before it says what it was asked.
        let Some(event) = event.filter(|_| left > 0) else { return Err(Failure::Silent(step)) };
        let packet = match event.map_err(|end| Failure::Broken(end.to_string()))? {
            Event::Handshake(_) => {
                (step, until) = ("no answer to connect", clock::after(UPSTREAM_TIMEOUT));
                continue;
            }
            Event::Connected(info) => {
                log_server(&info, &dialled);
                if aim.role.is_none() {
                    None
                } else {
                    (step, until) =
                        ("no answer to play or publish", clock::after(UPSTREAM_TIMEOUT));
                    continue;
                }
            }
            Event::Refused(status) => return Err(Failure::Refused(*status)),
            Event::Status(_) => continue,
            Event::Started => None,
            Event::Packet(packet) => Some(packet),
        };
        link.hurry = false;
        return Ok(Opened { link, packet, dialled });
    }
}

fn log_server(info: &ServerInfo, dialled: &Dialled) {
    if info.version.is_empty() && info.server.is_empty() {
        return log::debug!("connected to {dialled}");
    }
    log::info!(
        "connected, version={}, ip={}, pid={}, id={}",
        info.version,
        info.server_ip,
        info.pid.unwrap_or_default(),
        info.id.unwrap_or_default()
    );
}
