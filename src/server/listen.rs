//! Listening sockets, and the bounds on connections.

use crate::config::{Config, Endpoint};
use crate::context::Context;
use crate::io::log::{next_id, traced};
use crate::io::run::Once;
use crate::io::{files, proxied, run, tcp};
use crate::limits;
use crate::server::admission::{Admission, Place};
use crate::server::{StartError, rtmp};
use crate::service::{Port, SERVICES, Task};
use core::net::{IpAddr, SocketAddr};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// After accept failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for a socket to be closed by its task.
const CLOSING: Duration = Duration::from_millis(5);
/// Descriptors that the process has beside its sockets: 3 standard streams, 2 of our reactor, 4 of
/// async-io's, 2 ends of the signal socket and one more for each of 6 signals, the pid file, the
/// sockets to the service manager and to syslog, the watchdog, 1 to watch the configuration file,
/// 1 to spare.
const OWN_FILES: usize = 23;

/// RTMP, which every image has.
const RTMP: Port = Port {
    name: "RTMP",
    endpoints: |config| config.listen.clone(),
    serve: |socket, id, peer, cx| Box::pin(rtmp::serve(socket, id, peer, cx)),
};

/// A bound socket.
pub struct Listener {
    socket: tcp::ListenSocket,
    /// Where it listens.
    pub address: SocketAddr,
    endpoint: Endpoint,
    port: Port,
    /// Each connection begins with the header of the PROXY protocol.
    proxied: bool,
}

impl Listener {
    /// The protocol.
    pub fn protocol(&self) -> &'static str {
        self.port.name
    }
}

/// Binds every `listen` of the configuration and the ports of all services. A service's port that
/// is taken is fatal when it was asked for by a file; `built_in`, it is left out.
pub fn bind(config: &Config, built_in: bool) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    for (port, endpoint) in wanted(config) {
        match bind_one(port, endpoint, config) {
            Ok(listener) => listeners.push(listener),
            Err(e) if built_in && port.name != RTMP.name => {
                log::warn!("no {}: {}", port.name, e.text)
            }
            Err(e) => return Err(e),
        }
    }
    for proxy in &config.proxy_protocol {
        if !listeners.iter().any(|listener| proxy.covers(listener.address)) {
            log::warn!("proxy_protocol {proxy}: nothing listens there");
        }
    }
    Ok(listeners)
}

/// Every port that `config` asks for.
fn wanted(config: &Config) -> impl Iterator<Item = (Port, Endpoint)> {
    let services = SERVICES.iter().filter_map(|service| service.port);
    [RTMP].into_iter().chain(services).flat_map(move |port| {
        (port.endpoints)(config).into_iter().map(move |endpoint| (port, endpoint))
    })
}

/// The sockets that listen.
#[derive(Debug, Default)]
pub struct Listeners(RefCell<Vec<Open>>);

/// A socket that listens, and a way to end it.
#[derive(Debug)]
struct Open {
    port: Port,
    endpoint: Endpoint,
    address: SocketAddr,
    proxied: bool,
    close: Once,
}

impl Open {
    /// Whether it is what `config` asks for as `port` at `endpoint`.
    fn is(&self, port: &Port, endpoint: Endpoint, config: &Config) -> bool {
        (self.port.name, self.endpoint) == (port.name, endpoint)
            && self.proxied == is_proxied(config, self.address)
    }
}

impl Listeners {
    /// Serves `listener` until it is closed.
    pub fn open(&self, cx: &Rc<Context>, listener: Listener) {
        let (close, closed) = run::once();
        let (name, address) = (listener.port.name, listener.address);
        let Listener { port, endpoint, proxied, .. } = listener;
        self.0.borrow_mut().push(Open { port, endpoint, address, proxied, close });
        let context = cx.clone();
        let serve = async move {
            run::first(closed, listener.serve(context)).await;
            log::info!("{name} listens no more at {address}");
        };
        cx.spawner.spawn(traced(next_id(), serve));
    }

    /// Binds what `config` asks for and is not open, and closes what it does not ask for. When
    /// something cannot be bound, all stays as it is.
    pub async fn follow(&self, cx: &Rc<Context>, config: &Config) -> Result<(), StartError> {
        let wanted: Vec<_> = wanted(config).collect();
        let is_wanted = |open: &Open| wanted.iter().any(|(p, e)| open.is(p, *e, config));
        let (mut bound, mut closed) = (Vec::new(), Vec::new());
        for (port, endpoint) in &wanted {
            if self.0.borrow().iter().any(|open| open.is(port, *endpoint, config)) {
                continue;
            }
            // The same port at other addresses is free only when the former socket is closed.
            let gone = self.close(|open| open.endpoint.port == endpoint.port && !is_wanted(open));
            if !gone.is_empty() {
                closed.extend(gone);
                run::sleep(CLOSING).await;
            }
            match bind_one(*port, *endpoint, config) {
                Ok(listener) => bound.push(listener),
                Err(e) => {
                    drop(bound);
                    self.open_again(cx, closed);
                    return Err(e);
                }
            }
        }
        self.close(|open| !is_wanted(open));
        bound.into_iter().for_each(|listener| self.open(cx, listener));
        Ok(())
    }

    /// Closes those that are `meant`, and says which they were.
    fn close(&self, meant: impl Fn(&Open) -> bool) -> Vec<(Port, Endpoint)> {
        let mut all = self.0.borrow_mut();
        let (closed, open): (Vec<_>, Vec<_>) = all.drain(..).partition(meant);
        *all = open;
        let closed = closed.into_iter().map(|open| {
            open.close.set();
            (open.port, open.endpoint)
        });
        closed.collect()
    }

    /// Opens what was closed for something that then failed.
    fn open_again(&self, cx: &Rc<Context>, closed: Vec<(Port, Endpoint)>) {
        for (port, endpoint) in closed {
            match bind_one(port, endpoint, &cx.config()) {
                Ok(listener) => self.open(cx, listener),
                Err(e) => log::error!("{}", e.text),
            }
        }
    }
}

/// Whether a connection at `address` begins with the header of the PROXY protocol.
fn is_proxied(config: &Config, address: SocketAddr) -> bool {
    config.proxy_protocol.iter().any(|proxy| proxy.covers(address))
}

fn bind_one(port: Port, endpoint: Endpoint, config: &Config) -> Result<Listener, StartError> {
    let at = endpoint.port;
    let socket = tcp::listen(endpoint.ip, at)
        .map_err(|e| StartError::new(1002, refused_port(port.name, at, &e)))?;
    let address =
        socket.address().map_err(|e| StartError::new(1003, format!("listen at {at}: {e}")))?;
    let proxied = is_proxied(config, address);
    Ok(Listener { socket, address, endpoint, port, proxied })
}

fn refused_port(name: &str, port: u16, error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::AddrInUse => "another program has it; stop that, or `listen` elsewhere",
        io::ErrorKind::PermissionDenied => "ports below 1024 need root or CAP_NET_BIND_SERVICE",
        _ => "cannot be used",
    };
    let option = match name {
        "RTMP" => " (-p PORT)",
        "HTTP" => " (--http-port PORT)",
        _ => "",
    };
    format!("listen at {port} for {name}: {error}: {what}{option}")
}

/// Makes sure that every allowed connection can have its descriptor.
pub fn check_files(config: &Config) -> Result<(), StartError> {
    let clients = limits::clients(config.max_connections);
    if clients as u64 != u64::from(config.max_connections) {
        log::warn!(
            "max_connections {} is more than the {clients} of this board ({}), which hold",
            config.max_connections,
            limits::BOARD
        );
    }
    let needed = (clients + config.descriptors() + OWN_FILES + limits::FILES_OPEN) as u64;
    let Err(most) = files::allow_open(needed) else { return Ok(()) };
    let fit = most.saturating_sub(needed - clients as u64);
    Err(StartError::new(
        1023,
        format!(
            "max_connections {clients} needs {needed} open files, the system allows {most}: \
             set max_connections to {fit} or less, or run `ulimit -HSn {needed}` before"
        ),
    ))
}

impl Listener {
    /// Accepts until the server leaves, or the task is dropped.
    pub async fn serve(self, cx: Rc<Context>) {
        let with = if self.proxied { ", behind a proxy (proxy_protocol)" } else { "" };
        log::info!("{} listens at {}{with}", self.port.name, self.address);
        let admission = cx.part::<Admission>();
        let full = Cell::new(false);
        while let Some(accepted) = run::unless(admission.closed(), self.socket.accept()).await {
            match accepted {
                Ok((socket, peer)) => {
                    let most = cx.max_clients();
                    if cx.sessions.len() + admission.unnamed() >= most {
                        if !full.replace(true) {
                            log::error!(
                                "exceed the max connections, drop client ip={peer}, max={most} \
                                 (max_connections, board {})",
                                limits::BOARD
                            );
                        }
                        continue;
                    }
                    full.set(false);
                    let id = next_id();
                    if self.proxied {
                        let unnamed = admission.await_name();
                        let serve = behind_proxy(self.port, socket, id, peer, cx.clone(), unnamed);
                        cx.spawner.spawn(traced(id, serve));
                    } else if let Some(place) = admit(&cx, &admission, peer) {
                        let serve = (self.port.serve)(socket, id, peer, cx.clone());
                        cx.spawner.spawn(traced(id, keep(place, serve)));
                    }
                }
                Err(e) => {
                    log::error!("accept: {e}");
                    run::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// A place for a connection of `peer`, none when it has too many.
fn admit(cx: &Context, admission: &Rc<Admission>, peer: IpAddr) -> Option<Option<Place>> {
    let most = cx.config().max_connections_per_ip;
    match admission.admit(peer, most) {
        Ok(place) => Some(place),
        Err(None) => None,
        Err(Some(count)) => {
            log::warn!(
                "exceed the max connections of one address, drop client ip={peer}, max={most} \
                 (max_connections_per_ip), {count} dropped since the last such line"
            );
            None
        }
    }
}

async fn keep(place: Option<Place>, serve: Task<()>) {
    serve.await;
    drop(place);
}

/// Serves the client that the proxy names.
async fn behind_proxy(
    port: Port,
    socket: tcp::Socket,
    id: u32,
    proxy: IpAddr,
    cx: Rc<Context>,
    unnamed: Place,
) {
    let peer = match proxied::client(&socket).await {
        Ok(named) => named.unwrap_or(proxy),
        Err(e) => return log::warn!("drop client of the proxy ip={proxy}: {e}"),
    };
    drop(unnamed);
    if let Some(_place) = admit(&cx, &cx.part::<Admission>(), peer) {
        (port.serve)(socket, id, peer, cx).await;
    }
}
