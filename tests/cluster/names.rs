//! Origins that a name server names, in network namespaces of the tests: services of several hosts,
//! and a name server that is silent.

use crate::common::client::{Peer, play, publish};
use crate::common::link::{Namespace, with_mount};
use crate::common::{RUNNEL, SOON, Server, TempDir, free_port};
use crate::peers::Encoder;
use runnel::proto::rtmp::client::{Config, Role};
use rustix::process::Signal;
use std::fs;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

/// Priority and port of each host of a service. All hosts are 127.0.0.1.
type Service = (&'static str, Vec<(u16, u16)>);

/// A name server at 127.0.0.1:53 that knows `services`; without any it says nothing at all.
fn names(services: Vec<Service>) {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((len, client)) = socket.recv_from(&mut query) {
            if !services.is_empty() {
                let _ = socket.send_to(&answer(&query[..len], &services), client);
            }
        }
    });
}

/// RFC 1035 §4.1, RFC 2782.
fn answer(query: &[u8], services: &[Service]) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|b| *b == 0).unwrap() + 5;
    let kind = u16::from_be_bytes([query[end - 4], query[end - 3]]);
    let mut labels = query[12..end - 5].to_vec();
    let mut at = 0;
    while at < labels.len() {
        at += 1 + usize::from(std::mem::replace(&mut labels[at], b'.'));
    }
    let name = String::from_utf8(labels[1..].to_vec()).unwrap();
    let records: Vec<Vec<u8>> = match kind {
        1 => vec![vec![127, 0, 0, 1]],
        33 => {
            let (_, hosts) = services.iter().find(|(known, _)| *known == name).unwrap();
            let host = |(priority, port): &(u16, u16)| {
                let numbers = [*priority, 1, *port].map(u16::to_be_bytes).concat();
                [&numbers, &b"\x04host\x04test\0"[..]].concat()
            };
            hosts.iter().map(host).collect()
        }
        _ => Vec::new(),
    };
    let count = records.len() as u8;
    let mut out = vec![query[0], query[1], 0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0];
    out.extend(&query[12..end]);
    for record in records {
        out.extend([0xc0, 12, 0, kind as u8, 0, 1, 0, 0, 0, 0, 0, record.len() as u8]);
        out.extend(record);
    }
    out
}

/// An edge that asks that name server, with vhosts whose names at the origin are all the default.
fn edge(options: &str, vhosts: &[(&str, String)]) -> Server {
    let (port, dir) = (free_port(), TempDir::new());
    let vhosts: String = vhosts
        .iter()
        .map(|(name, more)| {
            format!("vhost {name} {{ mode remote; vhost __defaultVhost__; {more} }}\n")
        })
        .collect();
    let text = format!("listen 127.0.0.1:{port}; daemon off; srs_log_tank console;\n{vhosts}");
    fs::write(dir.join("test.conf"), text).unwrap();
    let resolv = dir.join("resolv.conf");
    fs::write(&resolv, format!("nameserver 127.0.0.1\noptions {options}\n")).unwrap();
    let mut command = with_mount(&resolv, "/etc/resolv.conf");
    Server::spawn(command.args([RUNNEL, "-c", "test.conf"]), port, dir)
}

fn client(edge: &Server, vhost: &str, role: Role) -> Peer {
    let mut peer = Peer::with(edge, Config::new(format!("rtmp://{vhost}/live"), "live", role));
    peer.started();
    peer
}

#[test]
fn of_a_service_the_next_host_is_asked_at_once_for_publishers_and_about_clients() {
    let Some(here) = Namespace::new() else { return };
    here.run(|| {
        let origin = Server::start();
        // Each has a dead host of its own: what is known to be dead is asked last.
        let hosts = || vec![(1, free_port()), (2, origin.port)];
        names(vec![("_one._tcp.test", hosts()), ("_two._tcp.test", hosts())]);
        let edge = edge(
            "timeout:1",
            &[
                ("publishes", "origin srv:_one._tcp.test;".into()),
                ("asks", "origin srv:_two._tcp.test; token_traverse on;".into()),
            ],
        );
        let _publisher = client(&edge, "publishes", publish("s"));
        origin.line("start publish");
        let _player = client(&edge, "asks", play("s"));
        edge.line("lets the client in");
    });
}

#[test]
fn a_hash_spreads_streams_over_the_hosts_of_the_lowest_priority() {
    let Some(here) = Namespace::new() else { return };
    here.run(|| {
        let origins = [(); 3].map(|()| Server::start());
        let hosts = origins.iter().zip([2, 1, 1]).map(|(o, priority)| (priority, o.port));
        names(vec![("_one._tcp.test", hosts.collect())]);
        let vhost = ("v", "origin srv:_one._tcp.test; cluster { balance hash; }".to_owned());
        let edge = edge("timeout:1", &[vhost]);
        let streams = (0..12).map(|i| client(&edge, "v", publish(&format!("s{i}"))));
        let _streams: Vec<_> = streams.collect();
        let [other, one, two] = origins.each_ref().map(|origin| origin.count("start publish"));
        assert_eq!((other, one + two), (0, 12));
        assert!(one > 0 && two > 0, "{one} and {two}");
    });
}

#[test]
fn a_name_server_that_is_silent_holds_up_only_what_needs_it() {
    let Some(here) = Namespace::new() else { return };
    here.run(|| {
        names(Vec::new());
        let (origin, mut dies) = (Server::start(), Server::start());
        let _encoders = [Encoder::start(&origin, "s"), Encoder::start(&origin, "t")];
        let encoder = Encoder::start(&dies, "s");
        let edge = edge(
            "timeout:10 attempts:5",
            &[
                ("first", format!("origin 127.0.0.1:{} srv:_a._tcp.test;", origin.port)),
                ("second", format!("origin srv:_b._tcp.test 127.0.0.1:{};", origin.port)),
                ("dies", format!("origin 127.0.0.1:{} c.test;", dies.port)),
            ],
        );
        let plays = |vhost: &str, stream: &str| {
            let begin = Instant::now();
            client(&edge, vhost, play(stream)).packets(10);
            begin.elapsed()
        };
        let mut waits = client(&edge, "dies", play("s"));
        waits.packets(10);
        dies.signal(Signal::KILL);
        dies.wait(SOON).unwrap();
        drop(encoder);
        let killed = Instant::now();
        let took = plays("first", "s");
        assert!(took < Duration::from_secs(3), "an address waits for no name: {took:?}");
        // All names of an attempt have five seconds.
        let took = plays("second", "s");
        assert!((4..9).contains(&took.as_secs()), "{took:?}");
        edge.line("cannot resolve _b._tcp.test: no name server answered");
        let took = plays("second", "t");
        assert!(took < Duration::from_secs(3), "it is known for a while: {took:?}");
        // Also while a name is looked up.
        let over = edge.wait_for_line("is over, nothing came for 10 s", 1, SOON * 2);
        assert!(over.is_some() && killed.elapsed() < Duration::from_millis(10_600));
    });
}
