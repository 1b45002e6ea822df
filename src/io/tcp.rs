//! Listening and the options of sockets.

use crate::io::reactor::Evented;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// A connected socket.
pub type Socket = Evented<TcpStream>;

/// A listening socket.
#[derive(Debug)]
pub struct ListenSocket(Evented<TcpListener>);

impl ListenSocket {
    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }

    /// The next connection, and who it is from.
    pub async fn accept(&self) -> io::Result<(Socket, IpAddr)> {
        loop {
            poll_fn(|task| self.0.poll_readable(task)).await;
            match self.0.get_ref().accept() {
                Ok((socket, peer)) => {
                    socket.set_nonblocking(true)?;
                    // A dead peer is found by the kernel's probes.
                    sockopt::set_socket_keepalive(&socket, true)?;
                    return Ok((Evented::new(socket)?, plain(peer.ip())));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.0.would_block_read(),
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 512;

/// Where to listen. No address: all, IPv6 and IPv4 on one socket where the machine has IPv6.
pub fn listen(address: Option<IpAddr>, port: u16) -> io::Result<ListenSocket> {
    match address {
        Some(address) => bind(SocketAddr::new(address, port)),
        None => match bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
            Err(e) if no_ipv6(&e) => bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
            result => result,
        },
    }
}

fn no_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error();
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].iter().any(|e| Some(e.raw_os_error()) == errno)
}

fn bind(address: SocketAddr) -> io::Result<ListenSocket> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(ListenSocket(Evented::new(TcpListener::from(socket))?))
}

/// Acknowledges what was read at once. Clients that send the handshake and their commands in
/// several small writes wait for it, 40 ms each time; the kernel forgets it now and then, so it
/// is said again after each read until the stream starts.
pub fn acknowledge_now(socket: &TcpStream) -> io::Result<()> {
    Ok(sockopt::set_tcp_quickack(socket, true)?)
}

/// `TCP_NODELAY`.
pub fn set_nodelay(socket: &TcpStream, on: bool) -> io::Result<()> {
    socket.set_nodelay(on)
}

/// `TCP_USER_TIMEOUT`: the connection breaks when the peer acknowledges nothing of what was sent for so
/// long. Without it the kernel tries for a quarter of an hour, with pauses that grow.
pub fn set_patience(socket: &TcpStream, patience: Duration) -> io::Result<()> {
    let ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
    Ok(sockopt::set_tcp_user_timeout(socket, ms)?)
}

/// `SO_SNDBUF`, in bytes before the kernel doubles them.
pub fn set_send_buffer(socket: &TcpStream, bytes: usize) -> io::Result<()> {
    Ok(sockopt::set_socket_send_buffer_size(socket, bytes)?)
}

/// `SO_RCVBUF`, in bytes before the kernel doubles them.
pub fn set_receive_buffer(socket: &TcpStream, bytes: usize) -> io::Result<()> {
    Ok(sockopt::set_socket_recv_buffer_size(socket, bytes)?)
}

/// An address as people write it: an IPv4 peer of a dual-stack socket is that IPv4 address.
pub fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The address that others in the network reach this machine at. Nothing is sent to find it: a
/// datagram socket is given a peer, and asked which of our addresses it would use.
pub fn lan_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // 192.0.2.0/24 is for documentation, and routed by default like any other.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then_some(address)
}
