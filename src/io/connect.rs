//! Connections to others, with TLS on them where it is asked for.

use crate::io::clock;
use crate::io::reactor::Evented;
use crate::io::resolve;
use crate::io::tcp::Socket;
use crate::io::timer::Alarm;
use crate::io::tls;
use crate::io::wire::Wire;
use crate::limits::CONNECT_STAGGER;
use crate::media::Decimal;
use crate::proto::authority;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::task::{Context, Poll};
use std::time::Duration;

/// Connects to what `text` of a configuration names: `host`, `host:port`, an address with or
/// without a port, or `srv:name`. `port` is for what names none. `limit` is for each address.
pub async fn to(text: &str, port: u16, limit: Duration) -> Result<Socket, Error> {
    let targets = resolve::targets(text, port).await.map_err(Error::Resolve)?;
    let (mut tried, mut unknown) = (Vec::new(), None);
    for target in targets {
        match resolve::host(&target.host, target.port).await {
            Ok(addresses) => match first(&addresses, limit).await {
                Ok(socket) => return Ok(socket),
                Err(failures) => tried.extend(failures),
            },
            Err(e) => drop(unknown.get_or_insert(e)),
        }
    }
    match unknown.filter(|_| tried.is_empty()) {
        Some(e) => Err(Error::Resolve(e)),
        None => Err(Error::Connect { target: text.to_owned(), tried }),
    }
}

/// Connects to a host by its name or address. `limit` is for each of its addresses.
pub async fn host(name: &str, port: u16, limit: Duration) -> Result<Socket, Error> {
    let addresses = resolve::host(name, port).await.map_err(Error::Resolve)?;
    let connected = first(&addresses, limit).await;
    connected.map_err(|tried| Error::Connect { target: authority::join(name, port), tried })
}

/// The same, with TLS where it is to be `secure`: the server has to have a certificate for `name`.
/// The handshake may take `limit`, too.
pub async fn wire(name: &str, port: u16, secure: bool, limit: Duration) -> Result<Wire, Error> {
    let socket = host(name, port, limit).await?;
    over(socket, name, port, secure, limit).await
}

/// The connection that goes over `socket` to the server called `name`, with TLS where it is to be
/// `secure`.
pub async fn over(
    socket: Socket,
    name: &str,
    port: u16,
    secure: bool,
    limit: Duration,
) -> Result<Wire, Error> {
    if !secure {
        return Ok(socket.into());
    }
    // Boxed: futures are copied into those that wait for them, several times.
    let begun = Box::pin(tls::begin(socket, name, limit)).await;
    let begun = begun.map_err(|why| Error::Tls { target: authority::join(name, port), why });
    begun.map(Wire::Tls)
}

/// Connects to the first of `addresses` that answers. They are begun one after another, the next
/// one when the last has failed or after [`CONNECT_STAGGER`], and each may take `limit`; whichever
/// is there first is taken, the others are closed.
pub async fn first(addresses: &[SocketAddr], limit: Duration) -> Result<Socket, Vec<Failure>> {
    let mut race = Race { limit, ..Race::default() };
    poll_fn(|task| race.poll(task, addresses)).await
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No address.
    Resolve(resolve::Error),
    /// No address answered.
    Connect {
        /// What was to be reached.
        target: String,
        /// Its addresses, in the order in which they failed.
        tried: Vec<Failure>,
    },
    /// TLS with the server does not begin.
    Tls {
        /// What was reached.
        target: String,
        /// What is wrong: with its certificate, mostly.
        why: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(e) => e.fmt(f),
            Self::Tls { target, why } => write!(f, "cannot connect to {target}: {why}"),
            Self::Connect { target, tried } => {
                write!(f, "cannot connect to {target}")?;
                // Else the target names it.
                let port = target.starts_with("srv:");
                for (i, Failure { address, why }) in tried.iter().enumerate() {
                    f.write_str(if i == 0 { ": " } else { ", " })?;
                    if port {
                        write!(f, "{address} {why}")?;
                    } else {
                        write!(f, "{} {why}", address.ip())?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Error {}

/// Why an address was not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The address.
    pub address: SocketAddr,
    /// What happened.
    pub why: Why,
}

/// What happened to an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nobody listens there.
    Refused,
    /// No answer for so long.
    TimedOut(Duration),
    /// The system says so.
    Io(ErrorKind),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::TimedOut(limit) => {
                write!(f, "timed out after {} s", Decimal::short(limit.as_secs_f64()))
            }
            Self::Io(e) => write!(f, "{e}"),
        }
    }
}

/// The attempts that are under way.
#[derive(Debug, Default)]
struct Race {
    limit: Duration,
    /// Addresses that were begun.
    begun: usize,
    attempts: Vec<Attempt>,
    failures: Vec<Failure>,
    /// When the next one is begun.
    next: u64,
    alarm: Alarm,
}

#[derive(Debug)]
struct Attempt {
    socket: Socket,
    address: SocketAddr,
    until: u64,
}

impl Race {
    fn poll(
        &mut self,
        task: &mut Context<'_>,
        addresses: &[SocketAddr],
    ) -> Poll<Result<Socket, Vec<Failure>>> {
        loop {
            if let Some(socket) = self.check(task) {
                return Poll::Ready(Ok(socket));
            }
            let now = clock::now();
            let next = addresses.get(self.begun).copied();
            let Some(address) = next.filter(|_| self.attempts.is_empty() || now >= self.next)
            else {
                let ends = self.attempts.iter().map(|attempt| attempt.until);
                let Some(wake) = ends.chain(next.map(|_| self.next)).min() else {
                    return Poll::Ready(Err(std::mem::take(&mut self.failures)));
                };
                if self.alarm.poll(task, wake).is_ready() {
                    continue;
                }
                return Poll::Pending;
            };
            self.begun += 1;
            self.next = clock::after(CONNECT_STAGGER);
            match begin(address) {
                Ok(socket) => {
                    let until = clock::after(self.limit);
                    self.attempts.push(Attempt { socket, address, until });
                }
                Err(e) => self.fail(address, why(&e)),
            }
        }
    }

    /// The attempt that succeeded, if one did; those that failed leave.
    fn check(&mut self, task: &Context<'_>) -> Option<Socket> {
        let now = clock::now();
        let mut at = 0;
        while let Some(attempt) = self.attempts.get(at) {
            let outcome = match attempt.socket.poll_writable(task) {
                Poll::Ready(()) => match outcome(&attempt.socket) {
                    Some(outcome) => outcome,
                    // Not yet: wait for it.
                    None => continue,
                },
                Poll::Pending if attempt.until <= now => Err(Why::TimedOut(self.limit)),
                Poll::Pending => {
                    at += 1;
                    continue;
                }
            };
            let attempt = self.attempts.remove(at);
            match outcome {
                Ok(()) => return Some(attempt.socket),
                Err(why) => self.fail(attempt.address, why),
            }
        }
        None
    }

    fn fail(&mut self, address: SocketAddr, why: Why) {
        // The next one need not wait for it.
        self.next = 0;
        self.failures.push(Failure { address, why });
    }
}

fn begin(address: SocketAddr) -> io::Result<Socket> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // A dead peer is found by the kernel's probes.
    sockopt::set_socket_keepalive(&socket, true)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS | rustix::io::Errno::INTR) => {}
        Err(e) => return Err(e.into()),
    }
    let socket = Evented::new(TcpStream::from(socket))?;
    // It can be written to when it is connected, which is an event.
    socket.is_full();
    Ok(socket)
}

/// How an attempt ended that had an event, if it did.
fn outcome(socket: &Socket) -> Option<Result<(), Why>> {
    let stream = socket.get_ref();
    match stream.take_error() {
        Ok(None) => {}
        Ok(Some(e)) | Err(e) => return Some(Err(why(&e))),
    }
    match (stream.peer_addr(), stream.local_addr()) {
        // A port of ours that nobody listens on can be given to this very socket, which then
        // talks to itself (RFC 9293 §3.5, simultaneous open).
        (Ok(peer), Ok(own)) if peer == own => Some(Err(Why::Refused)),
        (Ok(_), _) => Some(Ok(())),
        (Err(e), _) if e.kind() == ErrorKind::NotConnected => {
            socket.is_full();
            None
        }
        (Err(e), _) => Some(Err(why(&e))),
    }
}

fn why(error: &io::Error) -> Why {
    match error.kind() {
        ErrorKind::ConnectionRefused => Why::Refused,
        kind => Why::Io(kind),
    }
}

/// An address that nobody listens on, nor will while the socket is kept.
#[cfg(test)]
pub(super) fn closed() -> (rustix::fd::OwnedFd, SocketAddr) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
    (socket, address)
}

#[cfg(test)]
mod tests;
