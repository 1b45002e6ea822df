//! Where to connect: one of several servers, by name, address or DNS SRV, resolved anew each time.

use super::{Aim, Failure, Opened, Relays, balance, open};
use crate::context::Context;
use crate::hub::StreamKey;
use crate::io::run::within;
use crate::io::wire::Wire;
use crate::io::{clock, connect, resolve};
use crate::limits::{UPSTREAM_NAMES, UPSTREAM_TIMEOUT};
use crate::proto::authority;
use crate::proto::rtmp::url;
use core::net::SocketAddr;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// The port of RTMP.
pub const PORT: u16 = 1935;

/// A connection that was made.
pub struct Dialled {
    /// The connection, until somebody takes it.
    pub(super) wire: Option<Wire>,
    /// Whether it is over TLS.
    pub secure: bool,
    /// As the configuration, or DNS, names it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its address.
    pub address: SocketAddr,
}

impl fmt::Display for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = authority::join(&self.host, self.port);
        let address = self.address.to_string();
        if name == address { f.write_str(&name) } else { write!(f, "{name} ({address})") }
    }
}

impl fmt::Debug for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dialled({self})")
    }
}

/// The servers for one stream, and how they did.
#[derive(Debug)]
pub struct Upstream {
    stream: String,
    servers: RefCell<(Vec<String>, bool)>,
    /// Names and addresses, with the number of the attempt that failed.
    failed: RefCell<Vec<(String, u32)>>,
    attempt: Cell<u32>,
    /// What the names stood for when they were looked up last.
    found: Cell<usize>,
    /// Where a server sent us, for the next attempt.
    preferred: RefCell<Option<Place>>,
}

/// Host, port, and whether it is spoken to over TLS.
type Place = (String, u16, bool);

/// One of those that an attempt chooses from.
struct Candidate {
    /// By which it is known that it failed.
    name: String,
    /// Those of a service with the lowest number go first; 0 for what is none.
    rank: u16,
    to: To,
}

#[derive(Clone)]
enum To {
    Host(Place),
    /// The hosts of the service are not known yet.
    Service,
    Nowhere(Failure),
}

impl Upstream {
    /// `servers` as the configuration has them; with `hash` in the order of the stream.
    pub fn new(key: &StreamKey, servers: &[String], hash: bool) -> Self {
        let stream = format!("{}/{}/{}", key.vhost(), key.app(), key.stream());
        let servers = RefCell::new((servers.to_vec(), hash));
        let (failed, preferred) = (RefCell::default(), RefCell::default());
        Self { stream, servers, failed, attempt: Cell::new(0), found: Cell::new(0), preferred }
    }

    /// Other servers from the next attempt on.
    pub fn follow(&self, servers: &[String], hash: bool) {
        let mut now = self.servers.borrow_mut();
        if now.0 != servers || now.1 != hash {
            *now = (servers.to_vec(), hash);
            self.found.set(0);
            self.failed.borrow_mut().clear();
        }
    }

    /// How many there are: in the configuration, or by the last answer of DNS, so that it may be
    /// another number behind each attempt.
    pub fn count(&self) -> usize {
        self.found.get().max(self.servers.borrow().0.len())
    }

    /// The next attempt is at the server that `url` names, if it is one.
    pub fn prefer(&self, url: Option<&str>) {
        let address = url.and_then(|url| url::connection(url).ok());
        let Some(address) = address.filter(|address| !address.host.is_empty()) else { return };
        let secure = address.schema.eq_ignore_ascii_case(url::SECURE);
        let name = authority::join(&address.host, address.port);
        // Who is only to be reached over TLS sends nobody anywhere else.
        if !secure && self.servers.borrow().0.iter().all(|server| server.starts_with(TLS)) {
            return log::warn!("sent to {name} without TLS, which is not followed");
        }
        log::info!("sent to {name}");
        *self.preferred.borrow_mut() = Some((address.host, address.port, secure));
    }

    /// This server, or address, goes behind all others.
    pub fn mark(&self, dialled: &Dialled) {
        self.mark_name(&authority::join(&dialled.host, dialled.port));
        self.mark_name(&dialled.address.to_string());
    }

    fn mark_name(&self, name: &str) {
        let attempt = self.attempt.get();
        let mut failed = self.failed.borrow_mut();
        failed.retain(|(known, _)| known != name);
        // More addresses than are ever tried need not be remembered.
        if failed.len() >= 4 * crate::limits::DNS_ADDRESSES {
            failed.remove(0);
        }
        failed.push((name.to_owned(), attempt));
    }

    fn failed(&self, name: &str) -> u32 {
        let failed = self.failed.borrow();
        failed.iter().find(|(known, _)| known == name).map_or(0, |(_, attempt)| *attempt)
    }

    /// Connects to the server that failed longest ago, for `aim`.
    pub async fn open(&self, cx: &Rc<Context>, aim: &Aim) -> Result<Opened, Failure> {
        let dialled = self.dial(cx).await?;
        let (name, address) = (authority::join(&dialled.host, dialled.port), dialled.address);
        let opened = open(cx, dialled, aim).await;
        if let Err(failure) = &opened {
            log::debug!("{name} ({address}): {failure}");
            self.mark_name(&name);
            self.mark_name(&address.to_string());
            if let Failure::Refused(status) = failure {
                self.prefer(status.redirect.as_deref());
            }
        }
        opened
    }

    /// Connects to the server that failed longest ago. Names are looked up only where they decide
    /// it: what goes before them waits for no name server.
    async fn dial(&self, cx: &Context) -> Result<Dialled, Failure> {
        self.attempt.set(self.attempt.get().saturating_add(1));
        let (servers, hash) = self.servers.borrow().clone();
        if let Some(place) = self.preferred.take()
            && let Ok(reached) = self.reach(&place, hash, clock::after(UPSTREAM_NAMES)).await
        {
            return Ok(reached);
        }
        let relays = cx.part::<Relays>();
        let until = clock::after(UPSTREAM_NAMES);
        let mut candidates: Vec<_> = servers.iter().map(|server| read(server)).collect();
        loop {
            // What a hash makes of the hosts of a service is not known before they are.
            balance::arrange(&mut candidates, &self.stream, hash, |c| match c.to {
                To::Service => (0, &c.name),
                _ => (1 + u32::from(c.rank), &c.name),
            });
            let next = balance::next(&candidates, |c| {
                let own = self.failed(&c.name);
                if own == 0 && relays.is_down(&c.name) { 1 } else { own.saturating_mul(2) }
            });
            let next = next.and_then(|at| Some((at, candidates.get(at)?)));
            let Some((at, Candidate { name, to, .. })) = next else {
                return Err(Failure::Config("no server is configured".into()));
            };
            let (name, to) = (name.clone(), to.clone());
            let reached = match to {
                To::Host(place) => self.reach(&place, hash, until).await,
                To::Service => match hosts(&name, hash, until).await {
                    Ok(hosts) => {
                        relays.set_down(&name, false);
                        candidates.splice(at..=at, hosts);
                        self.found.set(candidates.len());
                        continue;
                    }
                    Err(failure) => Err(failure),
                },
                To::Nowhere(failure) => Err(failure),
            };
            let down = matches!(reached, Err(Failure::Connect(_) | Failure::Resolve(_)));
            relays.set_down(&name, down);
            if reached.is_err() {
                self.mark_name(&name);
            }
            return reached;
        }
    }

    async fn reach(&self, place: &Place, hash: bool, until: u64) -> Result<Dialled, Failure> {
        let (host, port, secure) = place;
        let mut addresses = by(until, host, resolve::host(host, *port)).await?;
        if hash {
            let mut named: Vec<_> = addresses.iter().map(|a| (a.to_string(), *a)).collect();
            balance::arrange(&mut named, &self.stream, true, |(name, _)| (0, name));
            addresses = named.into_iter().map(|(_, address)| address).collect();
        }
        addresses.sort_by_key(|address| self.failed(&address.to_string()));
        let socket = connect::first(&addresses, UPSTREAM_TIMEOUT).await;
        let socket = socket.map_err(|tried| {
            let target = authority::join(host, *port);
            Failure::Connect(connect::Error::Connect { target, tried })
        })?;
        let peer = socket.get_ref().peer_addr();
        let address = peer.map_err(|e| Failure::Broken(e.to_string()))?;
        let wire = connect::over(socket, host, *port, *secure, UPSTREAM_TIMEOUT).await;
        let wire = Some(wire.map_err(Failure::Connect)?);
        Ok(Dialled { wire, secure: *secure, host: host.clone(), port: *port, address })
    }
}

/// What a name of the configuration stands for.
fn read(server: &str) -> Candidate {
    let candidate = |name: String, to| Candidate { name, rank: 0, to };
    if server.starts_with(SERVICE) {
        return candidate(server.to_owned(), To::Service);
    }
    let (bare, secure) = match server.strip_prefix(TLS) {
        Some(bare) => (bare, true),
        None => (server.strip_prefix("rtmp://").unwrap_or(server), false),
    };
    let port = if secure { url::default_port(url::SECURE) } else { PORT };
    match authority::split(bare.trim_end_matches('/'), port) {
        Some((host, port)) => host_at(host.to_owned(), port, secure, 0),
        None => {
            let text = format!("{server} is no host, host:port or srv:name");
            candidate(server.to_owned(), To::Nowhere(Failure::Config(text)))
        }
    }
}

fn host_at(host: String, port: u16, secure: bool, rank: u16) -> Candidate {
    Candidate { name: authority::join(&host, port), rank, to: To::Host((host, port, secure)) }
}

/// The hosts of a service. With `hash` they are the same for all edges.
async fn hosts(server: &str, hash: bool, until: u64) -> Result<Vec<Candidate>, Failure> {
    let name = server.strip_prefix(SERVICE).unwrap_or(server);
    let targets = by(until, name, resolve::srv(name, hash)).await?;
    let lowest = targets.iter().map(|target| target.priority).min().unwrap_or(0);
    let host = |target: resolve::Target| {
        host_at(target.host, target.port, false, target.priority.saturating_sub(lowest))
    };
    Ok(targets.into_iter().map(host).collect())
}

/// What is found about `name` before `until`.
async fn by<T>(
    until: u64,
    name: &str,
    found: impl Future<Output = Result<T, resolve::Error>>,
) -> Result<T, Failure> {
    let left = Duration::from_millis(until.saturating_sub(clock::now()));
    let late = || resolve::Error { name: name.to_owned(), why: resolve::Why::TimedOut };
    within(left, found).await.unwrap_or_else(|| Err(late())).map_err(Failure::Resolve)
}

/// In front of the name of a service.
const SERVICE: &str = "srv:";
/// In front of a server that is spoken to over TLS. A service (`srv:`) has no name that its servers'
/// certificates would be for.
pub const TLS: &str = "rtmps://";
