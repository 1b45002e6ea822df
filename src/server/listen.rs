//! Listening sockets, and the bounds on connections.

use crate::config::{Config, Endpoint};
use crate::context::Context;
use crate::io::log::{next_id, traced};
use crate::io::{files, proxied, run, tcp};
use crate::limits;
use crate::server::admission::{Admission, Place};
use crate::server::{StartError, rtmp};
use crate::service::{Port, SERVICES, Task};
use core::net::{IpAddr, SocketAddr};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// After accept failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Descriptors that the process has beside its sockets: 3 standard streams, 2 of our reactor, 4 of
/// async-io's, 2 ends of the signal socket and one more for each of 6 signals, the pid file, the
/// sockets to the service manager and to syslog, the watchdog, 1 to spare.
const OWN_FILES: usize = 22;

/// RTMP, which every image has.
const RTMP: Port = Port {
    name: "RTMP",
    endpoint: |_| None,
    serve: |socket, id, peer, cx| Box::pin(rtmp::serve(socket, id, peer, cx)),
};

/// A bound socket.
pub struct Listener {
    socket: tcp::ListenSocket,
    /// Where it listens.
    pub address: SocketAddr,
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
    for endpoint in &config.listen {
        listeners.push(bind_one(RTMP, *endpoint, config)?);
    }
    for port in SERVICES.iter().filter_map(|service| service.port) {
        let Some(endpoint) = (port.endpoint)(config) else { continue };
        match bind_one(port, endpoint, config) {
            Ok(listener) => listeners.push(listener),
            Err(e) if built_in => log::warn!("no {}: {}", port.name, e.text),
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

fn bind_one(port: Port, endpoint: Endpoint, config: &Config) -> Result<Listener, StartError> {
    let at = endpoint.port;
    let socket = tcp::listen(endpoint.ip, at)
        .map_err(|e| StartError::new(1002, refused_port(port.name, at, &e)))?;
    let address =
        socket.address().map_err(|e| StartError::new(1003, format!("listen at {at}: {e}")))?;
    let proxied = config.proxy_protocol.iter().any(|proxy| proxy.covers(address));
    Ok(Listener { socket, address, port, proxied })
}

fn refused_port(name: &str, port: u16, error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::AddrInUse => "another program has it; stop that, or `listen` elsewhere",
        io::ErrorKind::PermissionDenied => "ports below 1024 need root or CAP_NET_BIND_SERVICE",
        _ => "cannot be used",
    };
    format!("listen at {port} for {name}: {error}: {what}")
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
        log::info!("{} listens no more at {}", self.port.name, self.address);
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
