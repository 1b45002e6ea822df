//! Datagrams.

use crate::io::reactor::Evented;
use crate::limits::{DATAGRAM_RCVBUF, READ_BUF};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, sockopt};
use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::ControlFlow;
use std::task::{Context, Poll};

/// Datagrams in one poll, about 80 KB of a transport stream; others have their turn then.
const DATAGRAMS_A_POLL: usize = 64;

thread_local! {
    /// All datagrams of the thread come through this buffer, which holds the longest.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A socket that datagrams come to. A task that waits for them is woken 10 ms after the first.
#[derive(Debug)]
pub struct Udp(Evented<UdpSocket>);

impl Udp {
    /// A socket at `address`; `None` for all, IPv6 and IPv4 where the machine has IPv6. The
    /// address of a multicast group is joined on `interface`, its name or its address; when that
    /// is empty the routes say where.
    pub fn listen(address: Option<IpAddr>, port: u16, interface: &str) -> io::Result<Self> {
        match address {
            Some(address) => Self::bind(SocketAddr::new(address, port), interface),
            None => match Self::bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), "") {
                Err(e) if e.kind() != ErrorKind::AddrInUse => {
                    Self::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), "")
                }
                bound => bound,
            },
        }
    }

    fn bind(address: SocketAddr, interface: &str) -> io::Result<Self> {
        let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
        }
        let group = address.ip().is_multicast();
        if group {
            // Other programs may listen to the group, too.
            sockopt::set_socket_reuseaddr(&socket, true)?;
        }
        // Whoever may asks for all of it; else the system gives what it allows.
        if sockopt::set_socket_recv_buffer_size_force(&socket, DATAGRAM_RCVBUF).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, DATAGRAM_RCVBUF)?;
        }
        rustix::net::bind(&socket, &address)?;
        let socket = UdpSocket::from(socket);
        if group {
            join(&socket, address.ip(), interface)?;
        }
        Ok(Self(Evented::patient(socket)?))
    }

    /// Where it is.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.get_ref().local_addr()
    }

    /// Hands the datagrams that are there to `each`, with who sent them, until it breaks. Else the
    /// task is woken when there are more.
    pub fn poll_receive<B>(
        &self,
        task: &Context<'_>,
        mut each: impl FnMut(&[u8], SocketAddr) -> ControlFlow<B>,
    ) -> Poll<io::Result<B>> {
        for _ in 0..DATAGRAMS_A_POLL {
            if self.0.poll_readable(task).is_pending() {
                return Poll::Pending;
            }
            match self.with(|socket, buffer| socket.recv_from(buffer), &mut each) {
                Ok(Some(ControlFlow::Break(value))) => return Poll::Ready(Ok(value)),
                Ok(_) => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits for a datagram that is `wanted`, which stays to be received, and tells who sent it;
    /// others are dropped.
    pub fn poll_wanted(
        &self,
        task: &Context<'_>,
        mut wanted: impl FnMut(&[u8], SocketAddr) -> bool,
    ) -> Poll<io::Result<SocketAddr>> {
        for _ in 0..DATAGRAMS_A_POLL {
            if self.0.poll_readable(task).is_pending() {
                return Poll::Pending;
            }
            let mut look = |bytes: &[u8], from| if wanted(bytes, from) { Some(from) } else { None };
            match self.with(|socket, buffer| socket.peek_from(buffer), &mut look) {
                Ok(Some(Some(from))) => return Poll::Ready(Ok(from)),
                Ok(Some(None)) => {
                    let _ = self.0.get_ref().recv_from(&mut []);
                }
                Ok(None) => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }

    /// The next poll looks for datagrams that nobody was woken for yet.
    pub fn look(&self) {
        self.0.look();
    }

    /// Drops all that is there; of a sender without end, a buffer of the kernel.
    pub fn discard(&self) {
        for _ in 0..DATAGRAM_RCVBUF / 64 {
            if self.0.get_ref().recv_from(&mut []).is_err() {
                return;
            }
        }
    }

    /// Sends a datagram. One for which there is no room, or no way, is lost, as others may be.
    pub fn send(&self, bytes: &[u8], to: SocketAddr) {
        let _ = self.0.get_ref().send_to(bytes, to);
    }

    /// One call for a datagram; `None` when there is none.
    fn with<T>(
        &self,
        call: impl Fn(&UdpSocket, &mut [u8]) -> io::Result<(usize, SocketAddr)>,
        each: &mut impl FnMut(&[u8], SocketAddr) -> T,
    ) -> io::Result<Option<T>> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(READ_BUF, 0);
            match call(self.0.get_ref(), scratch) {
                Ok((len, from)) => Ok(Some(each(scratch.get(..len).unwrap_or_default(), from))),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.0.would_block_read();
                    Ok(None)
                }
                // An answer to something that was sent before.
                Err(e) if matches!(e.kind(), ErrorKind::ConnectionRefused) => Ok(None),
                Err(e) if e.kind() == ErrorKind::Interrupted => Ok(None),
                Err(e) => Err(e),
            }
        })
    }
}

fn join(socket: &UdpSocket, group: IpAddr, interface: &str) -> io::Result<()> {
    let index = || netdevice::name_to_index(socket, interface);
    match (group, interface.parse::<IpAddr>()) {
        (IpAddr::V4(group), Ok(IpAddr::V4(at))) => {
            sockopt::set_ip_add_membership(socket, &group, &at)?;
        }
        (IpAddr::V4(group), _) if interface.is_empty() => {
            sockopt::set_ip_add_membership(socket, &group, &Ipv4Addr::UNSPECIFIED)?;
        }
        (IpAddr::V4(group), _) => {
            let any = Ipv4Addr::UNSPECIFIED;
            sockopt::set_ip_add_membership_with_ifindex(socket, &group, &any, index()?)?;
        }
        (IpAddr::V6(group), _) if interface.is_empty() => {
            sockopt::set_ipv6_add_membership(socket, &group, 0)?;
        }
        (IpAddr::V6(group), _) => sockopt::set_ipv6_add_membership(socket, &group, index()?)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::run::run;
    use std::future::poll_fn;

    #[test]
    fn a_datagram_is_looked_at_and_then_received() {
        let got = run(|_| async {
            let socket = Udp::listen(Some(Ipv4Addr::LOCALHOST.into()), 0, "").unwrap();
            let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
            for text in ["no", "yes", "more"] {
                peer.send_to(text.as_bytes(), socket.address().unwrap()).unwrap();
            }
            let wanted =
                poll_fn(|task| socket.poll_wanted(task, |bytes, _| bytes != b"no")).await.unwrap();
            let mut all = Vec::new();
            let last = poll_fn(|task| {
                socket.poll_receive(task, |bytes, from| {
                    all.push(String::from_utf8_lossy(bytes).into_owned());
                    if bytes == b"more" {
                        ControlFlow::Break(from)
                    } else {
                        ControlFlow::Continue(())
                    }
                })
            });
            let last = last.await.unwrap();
            (wanted == last && last == peer.local_addr().unwrap(), all)
        });
        assert_eq!(got.unwrap(), (true, vec!["yes".to_owned(), "more".to_owned()]));
    }

    #[test]
    fn a_port_that_is_taken_is_refused() {
        let refused = run(|_| async {
            let socket = Udp::listen(Some(Ipv4Addr::LOCALHOST.into()), 0, "").unwrap();
            let port = socket.address().unwrap().port();
            let again = Udp::listen(Some(Ipv4Addr::LOCALHOST.into()), port, "");
            again.err().map(|e| e.kind())
        });
        assert_eq!(refused.unwrap(), Some(ErrorKind::AddrInUse));
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        let refused = run(|_| async {
            Udp::listen(Some("239.255.1.1".parse().unwrap()), 0, "none0").is_err()
        });
        assert!(refused.unwrap());
    }
}
