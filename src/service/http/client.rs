//! Who asks, when a proxy asks for them.

use crate::config::Peers;
use crate::proto::http::Request;
use core::net::IpAddr;

/// The address of the client. `peer` is who connected: if that is this machine, or one of `trusted`,
/// it is believed. Of the addresses that proxies wrote down (X-Forwarded-For) it is the last one
/// that is not itself believed: what stands before it is only what that client said.
pub(super) fn address(peer: IpAddr, request: &Request, trusted: &[Peers]) -> IpAddr {
    let believed = |ip: IpAddr| {
        ip.to_canonical().is_loopback() || trusted.iter().any(|peers| peers.contains(ip))
    };
    if !believed(peer) {
        return peer;
    }
    let named = |name: &'static str| {
        let headers = request.headers().filter(move |(n, _)| n.eq_ignore_ascii_case(name));
        headers.flat_map(|(_, value)| value.split(','))
    };
    let mut client = None;
    let forwarded: Vec<&str> = named("X-Forwarded-For").collect();
    for text in forwarded.iter().rev() {
        let Some(ip) = parse(text) else { break };
        client = Some(ip);
        if !believed(ip) {
            break;
        }
    }
    client.or_else(|| named("X-Real-IP").last().and_then(parse)).unwrap_or(peer)
}

/// An address, which some proxies write with a port.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    if let Some(inside) = text.strip_prefix('[') {
        return inside.split(']').next()?.parse().ok();
    }
    text.split_once(':')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Machine as _;
    use crate::proto::http::{Event, Server};

    /// Name, who connects, lines of the request, who it is.
    const CASES: &[(&str, &str, &str, &str)] = &[
        ("nobody in between", "1.2.3.4", "", "1.2.3.4"),
        ("who is not believed", "1.2.3.4", "X-Forwarded-For: 5.6.7.8\r\n", "1.2.3.4"),
        ("this machine", "127.0.0.1", "X-Forwarded-For: 5.6.7.8\r\n", "5.6.7.8"),
        ("this machine, IPv6", "::1", "X-Real-IP: 5.6.7.8\r\n", "5.6.7.8"),
        ("this machine, both", "::ffff:127.0.0.1", "x-real-ip: fd00::7\r\n", "fd00::7"),
        ("a proxy", "10.1.2.3", "X-Forwarded-For: 5.6.7.8\r\n", "5.6.7.8"),
        ("two proxies", "::1", "X-Forwarded-For: 6.6.6.6, 5.6.7.8, 10.9.9.9\r\n", "5.6.7.8"),
        (
            "two headers",
            "::1",
            "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 5.6.7.8\r\n",
            "5.6.7.8",
        ),
        ("only proxies", "::1", "X-Forwarded-For: 10.0.0.9, 10.0.0.8\r\n", "10.0.0.9"),
        (
            "one goes before the other",
            "::1",
            "X-Real-IP: 9.9.9.9\r\nX-Forwarded-For: 5.6.7.8\r\n",
            "5.6.7.8",
        ),
        ("with ports", "::1", "X-Forwarded-For: 5.6.7.8:4000\r\n", "5.6.7.8"),
        ("with ports, IPv6", "::1", "X-Forwarded-For: [2001:db8::1]:4000\r\n", "2001:db8::1"),
        ("nonsense", "127.0.0.1", "X-Forwarded-For: unknown\r\nX-Real-IP:\r\n", "127.0.0.1"),
        ("nonsense in front", "::1", "X-Forwarded-For: x, 5.6.7.8\r\n", "5.6.7.8"),
    ];

    fn read(head: &str) -> Request {
        let (mut server, mut input) = (Server::default(), head.as_bytes());
        loop {
            if let Event::Request(request) = server.receive(&mut input).unwrap().unwrap() {
                return *request;
            }
        }
    }

    #[test]
    fn only_proxies_that_are_believed_say_who_the_client_is() {
        let trusted = [Peers::parse("10.0.0.0/8").unwrap()];
        for (name, peer, lines, want) in CASES {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            let request = read(&head);
            let got = address(peer.parse().unwrap(), &request, &trusted);
            assert_eq!(got, want.parse::<IpAddr>().unwrap(), "{name}");
        }
    }
}
