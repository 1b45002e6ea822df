//! The header of the PROXY protocol (HAProxy, "The PROXY protocol, versions 1 & 2"), with which a
//! proxy in front says whose connection it passes on.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Who is behind the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The client and the port that it comes from.
    Client(SocketAddr),
    /// The proxy itself (`LOCAL`, a check of its own), or a client that it does not name.
    Proxy,
}

/// Why a connection does not begin with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Its first bytes are those of something else.
    NoHeader,
    /// Not version 2, or neither `LOCAL` nor `PROXY`.
    Version(u8),
    /// The addresses are cut short or cannot be read.
    Malformed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader => f.write_str("no PROXY protocol header"),
            Self::Version(byte) => write!(f, "PROXY protocol version and command {byte:#04x}"),
            Self::Malformed => f.write_str("malformed PROXY protocol header"),
        }
    }
}

impl std::error::Error for Error {}

/// Takes a header apart as it comes in. It never asks for a byte of what follows it.
#[derive(Debug, Default)]
pub struct Header {
    /// What was read and is not done with; at most [`KEPT`] bytes.
    kept: Vec<u8>,
    /// Bytes that are skipped: extensions (TLV).
    skip: usize,
    peer: Option<Peer>,
}

impl Header {
    /// How many bytes to read next, at most; 1 to [`READ_MAX`].
    pub fn wants(&self) -> usize {
        if self.peer.is_some() {
            return self.skip.clamp(1, READ_MAX);
        }
        match self.kept.len() {
            len if len < LEAST_V1 => LEAST_V1 - len,
            _ if self.kept.starts_with(V1) => 2 - usize::from(self.kept.ends_with(b"\r")),
            len => address_end(&self.kept).map_or(V2_HEAD, |end| end).saturating_sub(len).max(1),
        }
    }

    /// Takes `bytes`, no more than [`wants`](Self::wants). Who it is, when the header is complete.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Option<Peer>, Error> {
        if let Some(peer) = self.peer {
            self.skip = self.skip.saturating_sub(bytes.len());
            return Ok((self.skip == 0).then_some(peer));
        }
        if self.kept.len() + bytes.len() > KEPT {
            return Err(Error::Malformed);
        }
        self.kept.extend_from_slice(bytes);
        let common = |mark: &[u8]| self.kept.iter().zip(mark).all(|(a, b)| a == b);
        if common(V1) {
            return self.version_1();
        }
        if common(SIGNATURE) {
            return self.version_2();
        }
        Err(Error::NoHeader)
    }

    fn version_1(&self) -> Result<Option<Peer>, Error> {
        match self.kept.strip_suffix(b"\r\n") {
            Some(line) => text_peer(line).map(Some).ok_or(Error::Malformed),
            None if self.kept.len() >= V1_MAX => Err(Error::Malformed),
            None => Ok(None),
        }
    }

    fn version_2(&mut self) -> Result<Option<Peer>, Error> {
        if let Some(&command) = self.kept.get(SIGNATURE.len())
            && !matches!(command, LOCAL | PROXY)
        {
            return Err(Error::Version(command));
        }
        let Some(end) = address_end(&self.kept) else { return Ok(None) };
        if self.kept.len() < end {
            return Ok(None);
        }
        let peer = binary_peer(&self.kept).ok_or(Error::Malformed)?;
        self.skip = (V2_HEAD + length(&self.kept).unwrap_or(0)).saturating_sub(end);
        self.kept = Vec::new();
        self.peer = Some(peer);
        Ok((self.skip == 0).then_some(peer))
    }
}

/// Where the addresses of a header of version 2 end, once its head is here.
fn address_end(header: &[u8]) -> Option<usize> {
    let length = length(header)?;
    let (command, family) = (*header.get(12)?, header.get(13)? >> 4);
    let addresses = match family {
        INET if command == PROXY => 12,
        INET6 if command == PROXY => 36,
        _ => 0,
    };
    // Too short: what there is, which is then found to be malformed.
    Some(V2_HEAD + length.min(addresses))
}

/// The bytes behind the head of version 2.
fn length(header: &[u8]) -> Option<usize> {
    let bytes = header.get(14..V2_HEAD)?.try_into().ok()?;
    Some(usize::from(u16::from_be_bytes(bytes)))
}

fn binary_peer(header: &[u8]) -> Option<Peer> {
    let (command, family) = (*header.get(12)?, header.get(13)? >> 4);
    let addresses = header.get(V2_HEAD..)?;
    let port = |at: usize| {
        let bytes = addresses.get(at..at + 2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    };
    let (ip, port) = match (command, family) {
        (PROXY, INET) => {
            let ip: [u8; 4] = addresses.get(..12)?.get(..4)?.try_into().ok()?;
            (IpAddr::from(Ipv4Addr::from(ip)), port(8)?)
        }
        (PROXY, INET6) => {
            let ip: [u8; 16] = addresses.get(..36)?.get(..16)?.try_into().ok()?;
            (IpAddr::from(Ipv6Addr::from(ip)), port(32)?)
        }
        // A local socket, or not known.
        _ => return Some(Peer::Proxy),
    };
    Some(Peer::Client(SocketAddr::new(ip.to_canonical(), port)))
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`, or `PROXY UNKNOWN` with anything behind it.
fn text_peer(line: &[u8]) -> Option<Peer> {
    let mut words = core::str::from_utf8(line).ok()?.split(' ');
    if words.next() != Some("PROXY") {
        return None;
    }
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Peer::Proxy);
    }
    let (from, to): (IpAddr, IpAddr) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let ports: (u16, u16) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let fits = match family {
        "TCP4" => from.is_ipv4() && to.is_ipv4(),
        "TCP6" => from.is_ipv6() && to.is_ipv6(),
        _ => false,
    };
    (fits && words.next().is_none())
        .then(|| Peer::Client(SocketAddr::new(from.to_canonical(), ports.0)))
}

/// The most that [`Header::wants`] asks for.
pub const READ_MAX: usize = 256;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V1: &[u8] = b"PROXY ";
/// `PROXY UNKNOWN` and the end of the line; less than the head of version 2.
const LEAST_V1: usize = 15;
/// Of the whole line, as the standard has it.
const V1_MAX: usize = 107;
const V2_HEAD: usize = 16;
/// A line of version 1; of version 2 the head and two IPv6 addresses are less.
const KEPT: usize = V1_MAX;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const INET: u8 = 1;
const INET6: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    fn client(address: &str) -> Peer {
        Peer::Client(address.parse().unwrap())
    }

    /// Headers and what they say.
    fn cases() -> Vec<(Vec<u8>, Peer)> {
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 7, 0x8f];
        let mut v6 = vec![0x20, 1, 0x0d, 0xb8];
        v6.resize(15, 0);
        v6.push(9);
        v6.extend_from_slice(&[0; 16]);
        v6.extend_from_slice(&[0xdc, 4, 7, 0x8f]);
        let mut mapped = vec![0; 10];
        mapped.extend_from_slice(&[0xff, 0xff, 192, 0, 2, 8]);
        mapped.extend_from_slice(&[0; 16]);
        mapped.extend_from_slice(&[0, 5, 0, 6]);
        // As HAProxy adds: a checksum, an id.
        let tlv = [&v4[..], &[3, 0, 4, 1, 2, 3, 4, 5, 0, 2, b'i', b'd']].concat();
        let long_tlv = [&v4[..], &[4; 1000]].concat();
        vec![
            (binary(PROXY, 0x11, &v4), client("192.0.2.7:56324")),
            (binary(PROXY, 0x21, &v6), client("[2001:db8::9]:56324")),
            (binary(PROXY, 0x21, &mapped), client("192.0.2.8:5")),
            (binary(PROXY, 0x11, &tlv), client("192.0.2.7:56324")),
            (binary(PROXY, 0x11, &long_tlv), client("192.0.2.7:56324")),
            (binary(LOCAL, 0x00, &[]), Peer::Proxy),
            (binary(LOCAL, 0x11, &v4), Peer::Proxy),
            (binary(PROXY, 0x00, &[]), Peer::Proxy),
            (binary(PROXY, 0x31, &[b'/'; 216]), Peer::Proxy),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n".into(), client("192.0.2.7:56324")),
            (b"PROXY TCP6 2001:db8::9 ::1 1 2\r\n".into(), client("[2001:db8::9]:1")),
            (b"PROXY UNKNOWN\r\n".into(), Peer::Proxy),
            (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".into(), Peer::Proxy),
        ]
    }

    /// Reads as the owner does, `most` bytes at a time. Who it is and what was not read.
    fn read(mut input: &[u8], most: usize) -> Result<Option<(Peer, &[u8])>, Error> {
        let mut header = Header::default();
        while !input.is_empty() {
            let wanted = header.wants();
            assert!((1..=READ_MAX).contains(&wanted));
            let (bytes, rest) = input.split_at(wanted.min(most).min(input.len()));
            input = rest;
            if let Some(peer) = header.receive(bytes)? {
                return Ok(Some((peer, input)));
            }
            assert!(header.kept.len() <= KEPT);
        }
        Ok(None)
    }

    #[test]
    fn headers_name_the_client_and_leave_what_follows_alone() {
        for (header, peer) in cases() {
            for most in [1, 7, usize::MAX] {
                let input = [&header[..], b"\x03handshake"].concat();
                assert_eq!(
                    read(&input, most),
                    Ok(Some((peer, &b"\x03handshake"[..]))),
                    "{header:?}"
                );
            }
        }
    }

    #[test]
    fn a_header_that_is_cut_short_is_waited_for() {
        for (header, _) in cases() {
            for end in 0..header.len() {
                assert_eq!(read(&header[..end], usize::MAX), Ok(None), "{end} of {header:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let cases: [(&[u8], Error); 12] = [
            (b"\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", Error::NoHeader),
            (b"GET / HTTP/1.1\r\n", Error::NoHeader),
            (b"proxy UNKNOWN\r\n", Error::NoHeader),
            (b"PROXY TCP4 192.0.2.7\r\n", Error::Malformed),
            (b"PROXY TCP4 2001:db8::9 ::1 1 2\r\n", Error::Malformed),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 66666\r\n", Error::Malformed),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n", Error::Malformed),
            (b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n", Error::Malformed),
            (&[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(), Error::Malformed),
            (&binary(0x11, 0x11, &[0; 12]), Error::Version(0x11)),
            (&binary(0x22, 0x11, &[0; 12]), Error::Version(0x22)),
            (&binary(PROXY, 0x11, &[0; 11]), Error::Malformed),
        ];
        for (input, error) in cases {
            assert_eq!(read(input, usize::MAX), Err(error), "{input:?}");
        }
    }

    #[test]
    fn mutations_never_panic_and_stay_bounded() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let cases = cases();
            let (mut header, _) = cases[random.usize(..cases.len())].clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..header.len());
                match random.u8(..3) {
                    0 => header[at] = random.u8(..),
                    1 => header[at] ^= 1 << random.u8(..8),
                    _ => {
                        header.insert(at, random.u8(..));
                    }
                }
            }
            let _ = read(&header, random.usize(1..300));
        }
    }
}
