//! Listening sockets, and the bounds on connections.

use crate::config::Config;
use crate::context::Context;
use crate::io::log::{next_id, traced};
use crate::io::{files, run, tcp};
use crate::limits;
use crate::server::{StartError, rtmp};
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

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: tcp::ListenSocket,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Binds every `listen` of the configuration.
pub fn bind(config: &Config) -> Result<Vec<Listener>, StartError> {
    let bind = |endpoint: &crate::config::Endpoint| {
        let socket = tcp::listen(endpoint.ip, endpoint.port)
            .map_err(|e| StartError::new(1002, refused_port(endpoint.port, &e)))?;
        let address = socket
            .address()
            .map_err(|e| StartError::new(1003, format!("listen at {}: {e}", endpoint.port)))?;
        Ok(Listener { socket, address })
    };
    config.listen.iter().map(bind).collect()
}

fn refused_port(port: u16, error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::AddrInUse => "another program has it; stop that, or `listen` elsewhere",
        io::ErrorKind::PermissionDenied => "ports below 1024 need root or CAP_NET_BIND_SERVICE",
        _ => "cannot be used",
    };
    format!("listen at {port}: {error}: {what}")
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
    let needed = (clients + config.descriptors() + OWN_FILES) as u64;
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
        log::info!("RTMP listens at {}", self.address);
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
                    cx.spawner.spawn(traced(id, rtmp::serve(socket, id, peer, cx.clone())));
                }
                Err(e) => {
                    log::error!("accept: {e}");
                    run::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
