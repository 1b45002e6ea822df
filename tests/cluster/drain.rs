//! Servers that are asked to leave (USR2), with others in their place.

use crate::common::client::{Peer, play, publish};
use crate::common::{SOON, Server};
use crate::peers::{Encoder, assert_rising, edge, watch};
use crate::story::{Story, gap};
use rustix::process::Signal;
use std::time::{Duration, Instant};

#[test]
fn an_origin_that_leaves_hands_its_edges_over() {
    let (one, two) = (Server::start(), Server::start());
    let _encoders = [Encoder::start(&one, "s"), Encoder::start(&two, "s")];
    let edge = edge(&[one.port, two.port], "");
    let mut player = Peer::play(&edge, "s");
    let mut packets = watch(&mut player, Duration::from_millis(1000));
    one.signal(Signal::USR2);
    edge.line("the origin asks to reconnect");
    let asked = Instant::now();
    two.line("edge-srs");
    packets.extend(player.packets(30));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    packets.extend(watch(&mut player, Duration::from_millis(500)));
    assert_rising(&packets, Some(250));
    one.line("stop play");
}

#[test]
fn an_origin_that_leaves_hands_its_publishers_over() {
    let (one, two) = (Server::start(), Server::start());
    let edge = edge(&[one.port, two.port], "");
    let encoder = Encoder::start(&edge, "s");
    one.line("edge-srs");
    one.signal(Signal::USR2);
    edge.line("the server asks to reconnect");
    let mut player = Peer::play(&two, "s");
    assert!(player.packets(30).iter().any(|p| p.key));
    one.line("stop publish");
    assert!(!encoder.has_ended());
}

/// The only origin, and another process at its port a moment later: as a package does that brings a
/// new version.
#[test]
fn players_behind_an_edge_do_not_notice_that_the_origin_is_restarted() {
    let mut old = Server::start();
    let (pushes, pulls) = (edge(&[old.port], ""), edge(&[old.port], ""));
    let encoder = Encoder::start(&pushes, "s");
    let mut player = Peer::play(&pulls, "s");
    watch(&mut player, Duration::from_millis(1500));
    let stories = [Story::of(&pushes), Story::of(&pulls)];
    old.signal(Signal::USR2);
    old.line("listens no more");
    let new = Server::with_file(old.port, &old.conf());
    let (longest, packets) = gap(&mut player, Duration::from_secs(6));
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert!(packets.len() > 250, "{} packets of 330", packets.len());
    assert_rising(&packets, Some(1500));
    assert!(!encoder.has_ended());
    assert_eq!((new.count("type=Play"), new.count("start publish")), (1, 1));
    assert!(old.wait(SOON).is_some_and(|status| status.success()));
    old.line("server stops, 0 connections were cut");
    for story in stories {
        story.is_a_screen_with(&["asks to reconnect"]);
    }
}

#[test]
fn an_edge_that_leaves_hands_its_clients_over_to_the_one_in_its_place() {
    let origin = Server::start();
    let _encoder = Encoder::start(&origin, "s");
    let mut old = edge(&[origin.port], "");
    let mut player = Peer::able(&old, play("s"));
    let mut publisher = Peer::able(&old, publish("p"));
    player.packets(20);
    origin.line("stream_name=p");
    old.signal(Signal::USR2);
    old.line("listens no more");
    let new = Server::with_file(old.port, &old.conf());
    player.is_asked_to_reconnect();
    publisher.is_asked_to_reconnect();
    // They have the new one before they let go of the old one.
    let mut moved = Peer::able(&new, play("s"));
    assert!(moved.packets(20).iter().any(|p| p.key));
    player.packets(20);
    assert_eq!(origin.count("stream_name=s, duration"), 3, "the encoder and one of each edge");
    drop((player, publisher));
    let _publisher = Peer::able(&new, publish("p"));
    assert!(old.wait(SOON).is_some_and(|status| status.success()));
    old.line("server stops, 0 connections were cut");
    origin.line("stop play");
    let (longest, _) = gap(&mut moved, Duration::from_secs(2));
    assert!(longest < Duration::from_secs(1), "{longest:?}");
}
