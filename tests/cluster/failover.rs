//! Several origins: one goes, the others are there.

use crate::common::client::Peer;
use crate::common::{SOON, Server, free_port};
use crate::peers::{Does, Encoder, Origin, assert_rising, edge, watch};
use crate::story::{BACK_OFF, Story, gap, recovery};
use rustix::process::Signal;
use std::time::{Duration, Instant};

#[test]
fn a_player_goes_on_when_the_origin_in_use_is_killed() {
    let (mut one, two) = (Server::start(), Server::start());
    let _encoder = Encoder::to(&[&one, &two], "s", "", 0);
    let edge = edge(&[one.port, two.port], "");
    let mut player = Peer::play(&edge, "s");
    let mut packets = watch(&mut player, Duration::from_millis(1500));
    assert_eq!((one.count("type=Play"), two.count("type=Play")), (1, 0), "the first one first");
    let story = Story::of(&edge);
    one.signal(Signal::KILL);
    one.wait(SOON).unwrap();
    let killed = Instant::now();
    packets.extend(player.packets(30));
    assert!(killed.elapsed() < Duration::from_secs(4), "{:?}", killed.elapsed());
    packets.extend(watch(&mut player, Duration::from_secs(1)));
    assert_rising(&packets, Some(250));
    two.line("edge-srs");
    story.is_a_screen_with(&["client disconnect peer, again in 50 ms", "edge: plays /live/s"]);
}

#[test]
fn a_frozen_origin_is_left_after_three_seconds() {
    let (one, two) = (Server::start(), Server::start());
    let _encoders = [Encoder::start(&one, "s"), Encoder::start(&two, "s")];
    let edge = edge(&[one.port, two.port], "");
    let mut player = Peer::play(&edge, "s");
    watch(&mut player, Duration::from_millis(1000));
    let story = Story::of(&edge);
    one.signal(Signal::STOP);
    let (longest, packets) = gap(&mut player, Duration::from_secs(6));
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    assert_rising(&packets, Some(250));
    story.is_a_screen_with(&["silent, no data, again in 50 ms", "edge: plays /live/s"]);
    // Both; then one is thawed.
    two.signal(Signal::STOP);
    edge.line_number("silent, no data", 2);
    one.signal(Signal::CONT);
    let (longest, packets) = recovery(&mut player);
    assert!(longest < BACK_OFF && packets.len() > 20, "{longest:?}, {} packets", packets.len());
    two.signal(Signal::CONT);
    story.is_a_screen_with(&[]);
}

#[test]
fn origins_that_do_not_serve_are_passed_over() {
    let passes_over = |does, told: &str| {
        let (bad, good) = (Origin::start(does), Server::start());
        let _encoder = Encoder::start(&good, "s");
        let edge = edge(&[bad.port, good.port], "");
        let story = Story::of(&edge);
        let mut player = Peer::play(&edge, "s");
        let begin = Instant::now();
        assert!(player.packets(20).iter().any(|p| p.key));
        assert!(begin.elapsed() < Duration::from_secs(6), "{told}: {:?}", begin.elapsed());
        story.is_a_screen_with(&[told]);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| passes_over(Does::Nothing, "no handshake"));
        scope.spawn(|| passes_over(Does::Silence, "silent, no data"));
        scope.spawn(|| passes_over(Does::Closes, "client disconnect peer"));
    });
}

#[test]
fn a_dead_origin_is_asked_last_for_a_while() {
    let mut good = Server::start();
    let encoders = [Encoder::start(&good, "a"), Encoder::start(&good, "b")];
    let edge = edge(&[free_port(), good.port], "");
    let mut player = Peer::play(&edge, "a");
    player.packets(10);
    assert_eq!(edge.count("refused, again in"), 1);
    let mut player = Peer::play(&edge, "b");
    player.packets(10);
    assert_eq!(edge.count("refused, again in"), 1, "it is known to be dead");
    // The other one restarts.
    let story = Story::of(&edge);
    let (port, text) = (good.port, good.conf());
    good.signal(Signal::KILL);
    good.wait(SOON).unwrap();
    drop((good, encoders));
    std::thread::sleep(Duration::from_secs(2));
    let good = Server::with_file(port, &text);
    let _encoder = Encoder::start(&good, "b");
    let (longest, packets) = recovery(&mut player);
    assert!(longest < BACK_OFF && packets.len() > 20, "{longest:?}, {} packets", packets.len());
    assert_rising(&packets, Some(250));
    story.is_a_screen_with(&["refused, again in"]);
}

#[test]
fn players_wait_through_the_restart_of_the_only_origin() {
    let mut origin = Server::start();
    let edge = edge(&[origin.port], "");
    let encoder = Encoder::start(&origin, "s");
    let mut player = Peer::play(&edge, "s");
    let mut packets = watch(&mut player, Duration::from_millis(1500));
    let story = Story::of(&edge);
    let (port, text) = (origin.port, origin.conf());
    origin.signal(Signal::KILL);
    origin.wait(SOON).unwrap();
    drop((origin, encoder));
    let origin = Server::with_file(port, &text);
    let _encoder = Encoder::start(&origin, "s");
    let begin = Instant::now();
    packets.extend(player.packets(60));
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    assert_rising(&packets, Some(250));
    story.is_a_screen_with(&["client disconnect peer, again in", "edge: plays /live/s"]);
}

/// The absolute times of both origins, and of an edge that changes from one to the other.
#[test]
fn with_atc_two_origins_have_the_same_times_and_an_edge_changes_without_a_seam() {
    std::thread::scope(|scope| {
        for atc in ["atc on;", "atc off; atc_auto on;"] {
            scope.spawn(move || changes_without_a_seam(atc));
        }
    });
}

fn changes_without_a_seam(atc: &str) {
    let text = format!("vhost __defaultVhost__ {{ {atc} }}");
    let (mut one, two) = (Server::with(&text), Server::with(&text));
    let encoder = if atc == "atc on;" {
        Encoder::to(&[&one, &two], "s", "", 1_000_000)
    } else {
        Encoder::bravo(&[&one, &two], "s", 1_000_000)
    };
    let mut players = [Peer::play(&one, "s"), Peer::play(&two, "s")];
    let [a, b] = players.each_mut().map(|player| {
        let packets = player.packets(80);
        packets
            .into_iter()
            .filter(|p| !p.header && p.kind != runnel::media::Kind::Data)
            .map(|p| (p.dts, p.kind, p.payload))
            .collect::<Vec<_>>()
    });
    assert!(a.iter().all(|(dts, ..)| *dts >= 1_000_000), "{atc}");
    let common = a.iter().filter(|packet| b.contains(packet)).count();
    assert!(common > 40, "{atc}: {common} packets are equal");
    let edge = edge(&[one.port, two.port], atc);
    let mut player = Peer::play(&edge, "s");
    let mut seen = watch(&mut player, Duration::from_millis(1500));
    // Behind a key frame: the other origin still has it when the edge comes.
    while !seen.last().is_some_and(|p| p.key && !p.header) {
        seen.extend(player.packets(1));
    }
    one.signal(Signal::KILL);
    one.wait(SOON).unwrap();
    seen.extend(watch(&mut player, Duration::from_secs(3)));
    edge.line("again in 50 ms");
    let first = seen.iter().find(|p| !p.header && p.kind != runnel::media::Kind::Data).unwrap();
    assert!(first.dts >= 1_000_000, "{}", first.dts);
    assert_rising(&seen, Some(250));
    for kind in [runnel::media::Kind::Audio, runnel::media::Kind::Video] {
        let times: Vec<_> =
            seen.iter().filter(|p| p.kind == kind && !p.header).map(|p| p.dts).collect();
        let step = if kind == runnel::media::Kind::Audio { 32 } else { 40 };
        let odd = times.windows(2).filter(|w| w[1] - w[0] != step).count();
        assert_eq!(odd, 0, "{atc} {kind:?}: no frame is missing, none is there twice");
    }
    drop(encoder);
}

#[test]
fn a_publisher_stays_when_its_origin_is_killed() {
    let (mut one, two) = (Server::start(), Server::start());
    let edge = edge(&[one.port, two.port], "");
    let encoder = Encoder::start(&edge, "s");
    one.line("edge-srs");
    one.signal(Signal::KILL);
    one.wait(SOON).unwrap();
    let mut player = Peer::play(&two, "s");
    assert!(player.packets(30).iter().any(|p| p.key));
    assert!(!encoder.has_ended());
}

#[test]
fn edges_agree_which_origin_has_a_stream() {
    let (one, two) = (Server::start(), Server::start());
    let more = "cluster { balance hash; }";
    let edges = [edge(&[one.port, two.port], more), edge(&[two.port, one.port], more)];
    let mut players = Vec::new();
    for i in 0..12 {
        let name = format!("s{i}");
        for edge in &edges {
            players.push(Peer::play(edge, &name));
        }
    }
    std::thread::sleep(Duration::from_millis(500));
    for i in 0..12 {
        let name = format!("stream_name=s{i},");
        let counts = [one.count(&name), two.count(&name)];
        assert!(counts == [2, 0] || counts == [0, 2], "{name} {counts:?}");
    }
    assert!(one.count("type=Play") > 0 && two.count("type=Play") > 0);
}
