//! Listening sockets, and the bounds on connections.

use crate::config::{Config, Endpoint};
use crate::context::Context;
use crate::io::log::{next_id, traced};
use crate::io::{files, run, tcp};
use crate::limits;
use crate::server::{StartError, rtmp};
use crate::service::{Port, SERVICES};
use core::net::SocketAddr;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// After accept failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Descriptors that the process has beside its sockets: 3 standard streams, 2 of our reactor, 4 of
/// async-io's, 2 ends of the signal socket and one more for each of 4 signals, 1 to spare.
const OWN_FILES: usize = 16;

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
        listeners.push(bind_one(RTMP, *endpoint)?);
    }
    for port in SERVICES.iter().filter_map(|service| service.port) {
        let Some(endpoint) = (port.endpoint)(config) else { continue };
        match bind_one(port, endpoint) {
            Ok(listener) => listeners.push(listener),
            Err(e) if built_in => log::warn!("no {}: {}", port.name, e.text),
            Err(e) => return Err(e),
        }
    }
    Ok(listeners)
}

fn bind_one(port: Port, endpoint: Endpoint) -> Result<Listener, StartError> {
    let at = endpoint.port;
    let socket = tcp::listen(endpoint.ip, at)
        .map_err(|e| StartError::new(1002, refused_port(port.name, at, &e)))?;
    let address =
        socket.address().map_err(|e| StartError::new(1003, format!("listen at {at}: {e}")))?;
    Ok(Listener { socket, address, port })
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
    /// Accepts until the task is dropped.
    pub async fn serve(self, cx: Rc<Context>) {
        log::info!("{} listens at {}", self.port.name, self.address);
        let full = Cell::new(false);
        loop {
            match self.socket.accept().await {
                Ok((socket, peer)) => {
                    let most = cx.max_clients();
                    if cx.sessions.len() >= most {
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
                    let serve = (self.port.serve)(socket, id, peer, cx.clone());
                    cx.spawner.spawn(traced(id, serve));
                }
                Err(e) => {
                    log::error!("accept: {e}");
                    run::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
