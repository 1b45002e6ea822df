//! A server that streams are passed on to restarts, leaves, or is another one after a reload: what
//! was published meanwhile reaches it, from a key frame.

use crate::common::client::Peer;
use crate::common::{SOON, Server, eventually, free_port};
use crate::peers::{Does, Encoder, Numbered, Origin, edge, number, numbers};
use runnel::media::{Kind, Packet};
use rustix::process::Signal;
use std::fs;
use std::time::Duration;

/// Of a stream of 25 frames a second.
const SIZE: usize = 600;

fn master(destinations: &str, more: &str) -> Server {
    Server::with(&format!(
        "vhost __defaultVhost__ {{ publish {{ parse_sps off; }}
         forward {{ enabled on; destination {destinations}; retry 0.3; retry_max 0.3; {more} }} }}"
    ))
}

/// Gives the server another configuration, with `from` as `to`.
pub(crate) fn reload(server: &Server, from: &str, to: &str) {
    let conf = server.dir.join("test.conf");
    let text = fs::read_to_string(&conf).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(&conf, text.replace(from, to)).unwrap();
    let done = server.count("reload config success");
    server.signal(Signal::HUP);
    server.line_number("reload config success", done + 1);
}

/// Waits until the last connection to `origin` has the frame `last`; its frames.
fn taken(origin: &Origin, last: u32) -> Vec<u32> {
    let newest = || origin.taken.lock().unwrap().last().map(|p| numbers(p)).unwrap_or_default();
    eventually("the frames are there", SOON, || newest().last().is_some_and(|n| *n >= last));
    newest()
}

/// They are without a gap, and begin with a key frame not behind `known`.
fn assert_goes_on(numbers: &[u32], known: u32) {
    let first = numbers[0];
    assert!(first.is_multiple_of(25) && first <= known, "from {first}, {known} is next");
    assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "{numbers:?}");
}

/// The frames that a player of `server` has until the one called `last`.
fn played(peer: &mut Peer, last: u32) -> Vec<Packet> {
    let mut packets = Vec::new();
    while packets.last().is_none_or(|p: &Packet| p.header || number(p) < last) {
        let packet = peer.packet(SOON).expect("the next frame");
        if packet.kind == Kind::Video {
            packets.push(packet);
        }
    }
    packets
}

/// The last frame that a player had before its server ended the stream; `known` is one that it had.
fn last_of(peer: &mut Peer, known: u32) -> u32 {
    let rest = numbers(&peer.packets_until_silence(Duration::from_millis(500)));
    rest.last().copied().unwrap_or(known)
}

#[test]
fn a_destination_that_leaves_is_followed_by_the_process_in_its_place() {
    let one = Server::with("vhost __defaultVhost__ { publish { parse_sps off; } }");
    let master = master(&format!("127.0.0.1:{}", one.port), "");
    let mut encoder = Numbered::new(&master);
    encoder.send(30, SIZE, 2);
    one.line("start publish");
    let mut player = Peer::play(&one, "s");
    encoder.send(30, SIZE, 2);
    one.signal(Signal::USR2);
    master.line("the server asks to reconnect");
    // It is asked, and nobody is there yet: what it publishes still goes to the old one.
    encoder.send(20, SIZE, 2);
    let before = numbers(&played(&mut player, encoder.next - 1));
    assert!(before.windows(2).all(|w| w[1] == w[0] + 1), "{before:?}");
    let two = Origin::on(one.port, Does::Takes);
    encoder.send(80, SIZE, 2);
    let numbers = taken(&two, encoder.next - 1);
    one.line("stop publish");
    assert_goes_on(&numbers, last_of(&mut player, *before.last().unwrap()) + 1);
    let line = master.line_number("publishes to", 2);
    assert!(line.contains("skipped 0 packets"), "{line}");
}

#[test]
fn what_was_kept_for_a_dead_destination_goes_to_the_address_that_a_reload_gives_it() {
    let (dead, alive) = (free_port(), Origin::start(Does::Takes));
    let from = format!("127.0.0.1:{dead}");
    let master = master(&format!("{from} 127.0.0.1:{}", alive.port), "");
    let mut encoder = Numbered::new(&master);
    encoder.send(75, SIZE, 2);
    let second = Origin::start(Does::Takes);
    reload(&master, &from, &format!("127.0.0.1:{}", second.port));
    encoder.send(50, SIZE, 2);
    let last = encoder.next - 1;
    assert_eq!(taken(&second, last), (0..=last).collect::<Vec<_>>(), "all that was kept");
    // It moves once more, and is connected now.
    let third = Origin::start(Does::Takes);
    reload(&master, &second.port.to_string(), &third.port.to_string());
    encoder.send(50, SIZE, 2);
    let last = encoder.next - 1;
    let known = *taken(&second, 0).last().unwrap() + 1;
    assert_goes_on(&taken(&third, last), known);
    master.line(&format!("/live/s goes to 127.0.0.1:{} from now on", third.port));
    // The other one did not notice.
    assert_eq!(taken(&alive, last), (0..=last).collect::<Vec<_>>());
    assert_eq!(alive.taken.lock().unwrap().len(), 1, "one connection");
    for line in master.log.all().iter().filter(|line| line.contains("publishes to")) {
        assert!(line.contains("skipped 0 packets"), "{line}");
    }
    // And ends where the file has it no more.
    reload(&master, &format!("127.0.0.1:{}", third.port), "");
    master.line(&format!("to 127.0.0.1:{} ends", third.port));
    encoder.send(25, SIZE, 2);
    let last = encoder.next - 1;
    assert_eq!(taken(&alive, last).len() as u32, last + 1);
}

#[test]
fn a_destination_is_told_who_we_are_as_the_file_says_now() {
    let one = Origin::start(Does::Takes);
    let master = master(&format!("127.0.0.1:{}", one.port), "");
    let _encoder = Encoder::start(&master, "s");
    let told = |origin: &Origin| {
        let mut told = None;
        eventually("it is connected to", SOON, || {
            told = origin.connects.lock().unwrap().first().map(|c| c.args.is_some());
            told.is_some()
        });
        told
    };
    assert_eq!(told(&one), Some(true));
    reload(&master, "publish {", "debug_srs_upnode off; publish {");
    let port = one.port;
    drop(one);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(told(&Origin::on(port, Does::Takes)), Some(false), "there is no third value");
}

#[test]
fn what_does_not_fit_is_skipped_to_a_key_frame_and_told() {
    let one = Origin::start(Does::Takes);
    let master = master(&format!("127.0.0.1:{}", one.port), "buffer 2;");
    let mut encoder = Numbered::new(&master);
    encoder.send(50, SIZE, 2);
    let port = one.port;
    let known = *taken(&one, 40).last().unwrap() + 1;
    drop(one);
    encoder.send(150, SIZE, 4);
    let one = Origin::on(port, Does::Takes);
    encoder.send(50, SIZE, 2);
    let numbers = taken(&one, encoder.next - 1);
    assert_goes_on(&numbers, encoder.next);
    assert!(numbers[0] > known, "some did not fit");
    // Those behind the last that was sent, up to the first that is sent now.
    let line = master.line_number("publishes to", 2);
    let told = line.split("skipped ").nth(1).and_then(|rest| rest.split(' ').next());
    let told: u32 = told.unwrap().parse().unwrap();
    let missing = numbers[0] - known;
    assert!(told.abs_diff(missing) <= 26, "{told} are told, {missing} are missing");
}

/// A publisher of an edge stays while the origin is read anew, restarted, or leaves.
#[test]
fn a_publisher_of_an_edge_stays_whatever_becomes_of_the_origin() {
    let text = "vhost __defaultVhost__ { publish { parse_sps off; } }";
    let mut origin = Server::with(text);
    let port = origin.port;
    let edge = edge(&[port], "publish { parse_sps off; }");
    let mut encoder = Numbered::new(&edge);
    encoder.send(30, SIZE, 2);
    origin.line("start publish");
    // Another configuration: the same connection goes on.
    reload(&origin, "parse_sps off;", "parse_sps off; normal_timeout 20000;");
    encoder.send(30, SIZE, 2);
    assert_eq!((origin.count("start publish"), origin.count("stop publish")), (1, 0));
    // Killed, and started again.
    let text = fs::read_to_string(origin.dir.join("test.conf")).unwrap();
    origin.signal(Signal::KILL);
    origin.wait(SOON).unwrap();
    drop(origin);
    let known = encoder.next;
    encoder.send(20, SIZE, 2);
    let origin = Server::with_file(port, &text);
    let mut player = Peer::play(&origin, "s");
    encoder.send(80, SIZE, 2);
    let got = numbers(&played(&mut player, encoder.next - 1));
    assert_goes_on(&got, known);
    // It leaves, and another process takes its place.
    origin.signal(Signal::USR2);
    edge.line("the server asks to reconnect");
    let known = *got.last().unwrap();
    let next = Server::with_file(port, &text);
    let mut other = Peer::play(&next, "s");
    encoder.send(80, SIZE, 2);
    let got = numbers(&played(&mut other, encoder.next - 1));
    origin.line("stop publish");
    assert_goes_on(&got, last_of(&mut player, known) + 1);
    assert_eq!(edge.count("client finished"), 0, "the publisher is still the same");
    // Another publisher of the stream is refused all the time.
    let mut second = Peer::new(&edge, crate::common::client::publish("s"));
    assert!(second.is_closed_within(SOON));
    edge.line("stream is busy");
}

#[test]
fn players_of_an_edge_stay_while_the_origin_is_read_anew() {
    let origin = Server::start();
    let edge = edge(&[origin.port], "");
    let _encoder = Encoder::start(&origin, "s");
    let mut player = Peer::play(&edge, "s");
    player.packets(20);
    reload(&origin, "__defaultVhost__ {", "__defaultVhost__ { gop_cache off;");
    crate::peers::assert_rising(
        &crate::peers::watch(&mut player, Duration::from_secs(1)),
        Some(250),
    );
    assert_eq!(origin.count("type=Play"), 1);
}
