//! What goes wrong between servers, in network namespaces of the tests: addresses that answer
//! nothing, or to which there is no way, name servers that fail.

use crate::common::client::{Peer, play};
use crate::common::link::{FAR, Link, Namespace, Quality, with_mount};
use crate::common::{RUNNEL, SOON, Server, TempDir, eventually, free_port, media};
use crate::peers::{Does, Encoder, Origin, assert_rising, cluster, edge, watch};
use crate::story::{BACK_OFF, Story, gap, recovery};
use runnel::media::{Kind, Packet};
use runnel::proto::rtmp::client::Config;
use rustix::process::Signal;
use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A server with a port for encoders, its own, and one for edges.
fn with_two_ports() -> (Server, u16) {
    let [port, second] = [free_port(), free_port()];
    let text = format!(
        "listen 127.0.0.1:{port} 127.0.0.1:{second}; daemon off; srs_log_tank console;
         vhost __defaultVhost__ {{ }}"
    );
    (Server::with_file(port, &text), second)
}

/// Descriptors that a server has open.
fn descriptors(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

#[test]
fn an_origin_that_cannot_be_reached_any_more_is_left() {
    let Some(here) = Namespace::new() else { return };
    here.run(|| unreachable_origins(&here));
}

fn unreachable_origins(here: &Namespace) {
    let [(one, first), (two, second)] = [(); 2].map(|()| with_two_ports());
    let _encoders = [Encoder::start(&one, "s"), Encoder::start(&two, "s")];
    let edge = edge(&[first, second], "");
    let mut player = Peer::play(&edge, "s");
    watch(&mut player, Duration::from_secs(1));
    let story = Story::of(&edge);
    // The edge's packets, and those of the origin to it, are lost.
    for direction in ["dport", "sport"] {
        here.command("iptables", &format!("-A INPUT -p tcp --{direction} {first} -j DROP"));
    }
    let (longest, packets) = gap(&mut player, Duration::from_secs(7));
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    assert_rising(&packets, Some(250));
    story.is_a_screen_with(&["silent, no data", "edge: plays /live/s"]);
    let story = Story::of(&edge);
    // Both are away, and come back.
    for direction in ["dport", "sport"] {
        here.command("iptables", &format!("-A INPUT -p tcp --{direction} {second} -j DROP"));
    }
    edge.line("timed out after 3 s");
    here.command("iptables", "-F INPUT");
    let (longest, packets) = recovery(&mut player);
    assert!(longest < BACK_OFF && packets.len() > 20, "{longest:?}, {} packets", packets.len());
    assert_rising(&packets, Some(250));
    story.is_a_screen_with(&["timed out after 3 s", "edge: plays /live/s"]);
}

#[test]
fn an_origin_to_which_there_is_no_way_is_asked_until_there_is_one() {
    let Some(link) = Link::new(Quality::default(), 0) else { return };
    let port = link.far.run(free_port);
    let text = format!(
        "listen 127.0.0.1:{port} {FAR}:{port}; daemon off; srs_log_tank console;
         vhost __defaultVhost__ {{ }}"
    );
    let origin = link.far.run(|| Server::with_file(port, &text));
    let _encoder = link.far.run(|| Encoder::start(&origin, "s"));
    let vhost = format!("vhost __defaultVhost__ {{ mode remote; origin {FAR}:{port}; }}");
    let edge = link.near.run(|| Server::with(&vhost));
    let mut player = link.near.run(|| Peer::play(&edge, "s"));
    player.packets(20);
    let story = Story::of(&edge);
    link.near.ip(&format!("route add unreachable {FAR}"));
    edge.line("unreachable, again in");
    link.near.ip(&format!("route delete unreachable {FAR}"));
    let (longest, packets) = recovery(&mut player);
    assert!(longest < BACK_OFF && packets.len() > 20, "{longest:?}, {} packets", packets.len());
    assert_rising(&packets, Some(250));
    story.is_a_screen_with(&["edge: plays /live/s"]);
}

#[test]
fn names_that_fail_flap_or_lead_nowhere_are_asked_for_again() {
    let Some(here) = Namespace::new() else { return };
    here.run(names_that_fail);
}

fn names_that_fail() {
    let names = Names::start();
    let origin = Server::start();
    let encoder = Encoder::start(&origin, "s");
    let (port, dir) = (free_port(), TempDir::new());
    let text = format!(
        "listen 127.0.0.1:{port}; daemon off; srs_log_tank console;
         vhost plain {{ mode remote; origin origin.test:{0}; vhost __defaultVhost__; }}
         vhost service {{ mode remote; origin srv:_rtmp._tcp.origin.test; vhost __defaultVhost__; }}",
        origin.port
    );
    fs::write(dir.join("test.conf"), text).unwrap();
    let resolv = dir.join("resolv.conf");
    fs::write(&resolv, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").unwrap();
    let mut command = with_mount(&resolv, "/etc/resolv.conf");
    let edge = Server::spawn(command.args([RUNNEL, "-c", "test.conf"]), port, dir);
    for (does, told) in [
        (Name::Fails, "the name server"),
        (Name::Nothing, "has no address"),
        (Name::Wrong, "refused"),
    ] {
        names.set(does, origin.port);
        let story = Story::of(&edge);
        let mut player = Peer::with(&edge, Config::new("rtmp://plain/live", "live", play("s")));
        player.started();
        eventually(told, SOON, || {
            edge.log.all().iter().any(|l| l.contains("again in") && l.contains(told))
        });
        names.set(Name::Right, origin.port);
        let (longest, packets) = recovery(&mut player);
        assert!(longest < BACK_OFF && packets.len() > 20, "{told}: {longest:?}");
        story.is_a_screen_with(&[told, "edge: plays "]);
        // It is gone again; who has the stream does not care.
        names.set(Name::Fails, origin.port);
        player.packets(20);
    }
    names.set(Name::Right, origin.port);
    let mut player = Peer::with(&edge, Config::new("rtmp://service/live", "live", play("s")));
    player.packets(20);
    drop(encoder);
}

/// What the name server answers.
#[derive(Clone, Copy, PartialEq)]
enum Name {
    Fails,
    Nothing,
    /// An address at which nobody listens.
    Wrong,
    Right,
}

/// A name server at 127.0.0.1:53 that knows one name and one service.
struct Names(Arc<Mutex<(Name, u16)>>);

impl Names {
    fn start() -> Self {
        let state = Arc::new(Mutex::new((Name::Fails, 0)));
        let (socket, shared) = (UdpSocket::bind("127.0.0.1:53").unwrap(), state.clone());
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((len, client)) = socket.recv_from(&mut query) {
                let (does, port) = *shared.lock().unwrap();
                let _ = socket.send_to(&answer(&query[..len], does, port), client);
            }
        });
        Self(state)
    }

    fn set(&self, does: Name, port: u16) {
        *self.0.lock().unwrap() = (does, port);
    }
}

/// RFC 1035 §4.1, RFC 2782.
fn answer(query: &[u8], does: Name, port: u16) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|b| *b == 0).unwrap() + 5;
    let kind = u16::from_be_bytes([query[end - 4], query[end - 3]]);
    let mut record = Vec::new();
    match (does, kind) {
        (Name::Right, 1) => record.extend([127, 0, 0, 1]),
        (Name::Wrong, 1) => record.extend([127, 9, 9, 9]),
        (Name::Right | Name::Wrong, 33) => {
            record.extend([0, 1, 0, 1]);
            record.extend(port.to_be_bytes());
            record.extend(b"\x06origin\x04test\0");
        }
        _ => {}
    }
    let count = u8::from(!record.is_empty());
    let code = if does == Name::Fails { 2 } else { 0 };
    let mut out = vec![query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0];
    out.extend(&query[12..end]);
    if count > 0 {
        out.extend([0xc0, 12, kind.to_be_bytes()[0], kind.to_be_bytes()[1], 0, 1, 0, 0, 0, 0]);
        out.extend((record.len() as u16).to_be_bytes());
        out.extend(record);
    }
    out
}

/// A second and a half of the test stream.
fn first() -> Vec<Packet> {
    media::demo().into_iter().filter(|p| p.dts < 1500).collect()
}

/// The same pictures by the number of another codec, in the enhanced header; nobody looks into the
/// frames.
fn other() -> Vec<Packet> {
    let pictures = first().into_iter().filter(|p| p.kind == Kind::Video);
    let others = pictures.map(|p| {
        let start = match (p.header, p.key) {
            (true, _) => 0x90,
            (_, true) => 0x91,
            _ => 0xa1,
        };
        let mut payload = vec![start, b'a', b'v', b'0', b'1'];
        payload.extend([0x81, 0, 0xc, 0, 9, 9, 9, 9]);
        Packet::new(Kind::Video, p.dts, payload.into())
    });
    others.collect()
}

/// The other codec begins with its header.
fn assert_changes(packets: &[Packet]) {
    let mut video = packets.iter().filter(|p| p.kind == Kind::Video);
    let change = video.find(|p| p.payload[0] & 0x80 > 0).expect("the other codec");
    assert!(change.header, "its header goes first");
}

#[test]
fn other_data_and_other_codecs_are_a_seam_and_nothing_else() {
    // Then sound alone, then the other codec.
    let sound = first().into_iter().filter(|p| p.kind == Kind::Audio).collect();
    let origins = [first(), sound, other()].map(|packets| Origin::start(Does::Plays(packets)));
    let edge = edge(&origins.each_ref().map(|origin| origin.port), "publish { parse_sps off; }");
    let mut player = Peer::play(&edge, "s");
    let story = Story::of(&edge);
    let (longest, packets) = gap(&mut player, Duration::from_secs(12));
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    assert_rising(&packets, None);
    assert_changes(&packets);
    assert_eq!(edge.count("panicked"), 0);
    story.is_a_screen_with(&["silent, no data, again in"]);
}

#[test]
fn an_origin_may_change_its_codecs_while_it_is_played() {
    let later = |packet: Packet| Packet { dts: packet.dts + 1500, ..packet };
    let packets = first().into_iter().chain(other().into_iter().map(later)).collect();
    let origin = Origin::start(Does::Plays(packets));
    let edge = edge(&[origin.port], "publish { parse_sps off; }");
    let story = Story::of(&edge);
    let mut player = Peer::play(&edge, "s");
    let (longest, packets) = gap(&mut player, Duration::from_millis(2800));
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    assert_rising(&packets, Some(250));
    assert_changes(&packets);
    assert_eq!(edge.count("edge: plays"), 1, "on one connection");
    story.is_a_screen_with(&[]);
}

#[test]
fn fifty_edges_of_an_origin_that_start_at_once_come_and_come_back() {
    let mut origin = Server::start();
    let (port, text) = (origin.port, origin.conf());
    let encoder = Encoder::start(&origin, "s");
    // All at once, each with a player.
    let mut edges: Vec<Server> = (0..50)
        .map(|_| {
            let (own, dir) = (free_port(), TempDir::new());
            let text = format!(
                "listen 127.0.0.1:{own}; daemon off; srs_log_tank console;
                 vhost __defaultVhost__ {{ {} }}",
                cluster(&[port])
            );
            fs::write(dir.join("test.conf"), text).unwrap();
            Server::spawn_silent(Command::new(RUNNEL).args(["-c", "test.conf"]), own, dir)
        })
        .collect();
    for edge in &edges {
        edge.line("RTMP listens at");
    }
    let before: Vec<usize> = edges.iter().map(descriptors).collect();
    let mut players: Vec<_> = edges.iter().map(|edge| Peer::new(edge, play("s"))).collect();
    for player in &mut players {
        player.started();
    }
    for player in &mut players {
        player.packets(10);
    }
    assert_eq!(origin.count("type=Play"), 50, "one each");
    let stories: Vec<_> = edges.iter().map(Story::of).collect();
    origin.signal(Signal::KILL);
    origin.wait(SOON).unwrap();
    drop((origin, encoder));
    let mut origin = Server::with_file(port, &text);
    let encoder = Encoder::start(&origin, "s");
    let back = Instant::now();
    eventually("all are back", SOON, || origin.count("type=Play") >= 50);
    assert!(back.elapsed() < BACK_OFF, "{:?}", back.elapsed());
    for player in &mut players {
        // What it had, then the new.
        let packets = player.packets(100);
        assert_rising(&packets, None);
    }
    assert_eq!(origin.count("type=Play"), 50, "one each");
    for story in &stories {
        story.is_a_screen_with(&["again in", "edge: plays /live/s"]);
    }
    drop(players);
    for (edge, before) in edges.iter().zip(before) {
        edge.line("is not fetched any more");
        // The watch of the file and a look at /proc may have begun after the count.
        eventually("nothing is left", SOON, || descriptors(edge) <= before + 2);
    }
    drop(stories);
    origin.line_number("stop play", 50);
    for edge in &edges {
        edge.signal(Signal::TERM);
    }
    for edge in &mut edges {
        assert!(edge.wait(SOON).is_some_and(|status| status.success()));
        edge.line("server stops, 0 connections were cut");
        assert_eq!(edge.count("panicked"), 0);
    }
    drop(encoder);
    origin.signal(Signal::TERM);
    assert!(origin.wait(SOON).is_some_and(|status| status.success()));
    origin.line("server stops, 0 connections were cut");
}
