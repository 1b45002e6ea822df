//! Listening sockets, and the bounds on connections.

use crate::config::{Config, Endpoint};
use crate::context::Context;
use crate::io::log::{next_id, traced};
use crate::io::run::Once;
use crate::io::{files, run, tcp};
use crate::limits;
use crate::server::{StartError, rtmp};
use crate::service::{Port, SERVICES};
use core::net::SocketAddr;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// After accept failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for a socket to be closed by its task.
const CLOSING: Duration = Duration::from_millis(5);
/// Descriptors that the process has beside its sockets: 3 standard streams, 2 of our reactor, 4 of
/// async-io's, 2 ends of the signal socket and one more for each of 4 signals, 1 to watch the
/// configuration file, 1 to spare.
const OWN_FILES: usize = 17;

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
        match bind_one(port, endpoint) {
            Ok(listener) => listeners.push(listener),
            Err(e) if built_in && port.name != RTMP.name => {
                log::warn!("no {}: {}", port.name, e.text)
            }
            Err(e) => return Err(e),
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

/// The sockets that listen, each with a way to end it.
#[derive(Debug, Default)]
pub struct Listeners(RefCell<Vec<Open>>);

#[derive(Debug)]
struct Open {
    port: Port,
    endpoint: Endpoint,
    close: Once,
}

impl Listeners {
    /// Serves `listener` until it is closed.
    pub fn open(&self, cx: &Rc<Context>, listener: Listener) {
        let (close, closed) = run::once();
        self.0.borrow_mut().push(Open { port: listener.port, endpoint: listener.endpoint, close });
        let context = cx.clone();
        let serve = async move {
            let (name, address) = (listener.port.name, listener.address);
            run::first(closed, listener.serve(context)).await;
            log::info!("{name} listens no more at {address}");
        };
        cx.spawner.spawn(traced(next_id(), serve));
    }

    /// Binds what `config` asks for and is not open, and closes what it does not ask for. When
    /// something cannot be bound, all stays as it is.
    pub async fn follow(&self, cx: &Rc<Context>, config: &Config) -> Result<(), StartError> {
        let wanted: Vec<_> = wanted(config).collect();
        let is_open = |name, endpoint| {
            self.0.borrow().iter().any(|open| (open.port.name, open.endpoint) == (name, endpoint))
        };
        let (mut bound, mut closed) = (Vec::new(), Vec::new());
        for (port, endpoint) in &wanted {
            if is_open(port.name, *endpoint) {
                continue;
            }
            // The same port at other addresses is free only when the former socket is closed.
            let gone =
                self.close(|_, open| open.port == endpoint.port && !is_wanted(&wanted, open));
            if !gone.is_empty() {
                closed.extend(gone);
                run::sleep(CLOSING).await;
            }
            match bind_one(*port, *endpoint) {
                Ok(listener) => bound.push(listener),
                Err(e) => {
                    drop(bound);
                    self.open_again(cx, closed);
                    return Err(e);
                }
            }
        }
        self.close(|name, open| !wanted.iter().any(|(p, e)| (p.name, e) == (name, open)));
        bound.into_iter().for_each(|listener| self.open(cx, listener));
        Ok(())
    }

    /// Closes all.
    pub fn close_all(&self) {
        self.close(|_, _| true);
    }

    /// Closes those that are `meant`, and says which they were.
    fn close(&self, meant: impl Fn(&str, &Endpoint) -> bool) -> Vec<(Port, Endpoint)> {
        let mut all = self.0.borrow_mut();
        let (closed, open): (Vec<_>, Vec<_>) =
            all.drain(..).partition(|open| meant(open.port.name, &open.endpoint));
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
            match bind_one(port, endpoint) {
                Ok(listener) => self.open(cx, listener),
                Err(e) => log::error!("{}", e.text),
            }
        }
    }
}

fn is_wanted(wanted: &[(Port, Endpoint)], open: &Endpoint) -> bool {
    wanted.iter().any(|(_, endpoint)| endpoint == open)
}

fn bind_one(port: Port, endpoint: Endpoint) -> Result<Listener, StartError> {
    let at = endpoint.port;
    let socket = tcp::listen(endpoint.ip, at)
        .map_err(|e| StartError::new(1002, refused_port(port.name, at, &e)))?;
    let address =
        socket.address().map_err(|e| StartError::new(1003, format!("listen at {at}: {e}")))?;
    Ok(Listener { socket, address, endpoint, port })
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
