//! Connections that a proxy passes on.

use crate::io::run::within;
use crate::io::tcp;
use crate::limits::PROXY_TIMEOUT;
use crate::proto::proxy::{Header, Peer, READ_MAX};
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read as _};
use std::net::IpAddr;

/// The client that the header at the start of the connection names; `None` when that is the proxy
/// itself. Reads nothing behind the header. Fails on anything else than a header, and when it does
/// not come within [`PROXY_TIMEOUT`].
pub async fn client(socket: &tcp::Socket) -> io::Result<Option<IpAddr>> {
    let read = within(PROXY_TIMEOUT, header(socket)).await;
    match read.unwrap_or_else(|| Err(ErrorKind::TimedOut.into()))? {
        Peer::Client(address) => Ok(Some(address.ip())),
        Peer::Proxy => Ok(None),
    }
}

async fn header(socket: &tcp::Socket) -> io::Result<Peer> {
    let mut header = Header::default();
    let mut buffer = [0; READ_MAX];
    loop {
        poll_fn(|task| socket.poll_readable(task)).await;
        let wanted = header.wants().min(READ_MAX);
        match socket.get_ref().read(buffer.get_mut(..wanted).unwrap_or_default()) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                let bytes = buffer.get(..n).unwrap_or_default();
                let received = header.receive(bytes);
                if let Some(peer) =
                    received.map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?
                {
                    return Ok(peer);
                }
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => socket.would_block_read(),
            Err(e) => return Err(e),
        }
    }
}
