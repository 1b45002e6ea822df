//! Streams that are fetched from an origin, and publishers that are passed on to it.

use crate::common::client::{Peer, play, publish};
use crate::common::{SOON, Server, at_once, eventually, free_port};
use crate::peers::{Does, Encoder, Origin, Turn, assert_rising, edge, watch};
use crate::restarts::reload;
use runnel::media::Kind;
use runnel::proto::rtmp::client::{Config, Event};
use rustix::process::Signal;
use std::fs;
use std::time::{Duration, Instant};

/// Plays `stream` of the app `live` with a tcUrl of its own.
fn player(server: &Server, tc_url: &str, stream: &str) -> Peer {
    Peer::with(server, Config::new(tc_url, "live", play(stream)))
}

#[test]
fn a_stream_is_fetched_once_while_somebody_plays_it() {
    let origin = Server::start();
    let edge = edge(&[origin.port], "");
    let _encoder = Encoder::start(&origin, "s");
    let mut players: Vec<_> = (0..3).map(|_| Peer::play(&edge, "s")).collect();
    for player in &mut players {
        let packets = watch(player, Duration::from_millis(1500));
        assert!(packets[..3].iter().all(|p| p.header || p.kind == Kind::Data), "headers first");
        let first = packets.iter().find(|p| p.kind == Kind::Video && !p.header).unwrap();
        assert!(first.key && packets.len() > 20, "{} packets", packets.len());
        assert_rising(&packets, Some(250));
    }
    assert_eq!(origin.count("type=Play"), 1, "one player of the origin");
    let line = origin.line("edge-srs ip=127.0.0.1");
    assert!(line.contains(&format!("pid={}", edge.pid())), "{line}");
    edge.line("connected, version=");
    assert_eq!(edge.count("is_edge=1"), 3);
    players.pop();
    players.pop();
    assert_eq!(origin.count("stop play"), 0);
    players.pop();
    let left = Instant::now();
    origin.line("stop play");
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
    // And again.
    let mut player = Peer::play(&edge, "s");
    player.packets(10);
}

#[test]
fn a_player_may_wait_for_the_encoder_of_the_origin() {
    let origin = Server::start();
    let edge = edge(&[origin.port], "debug_srs_upnode off;");
    let mut player = Peer::play(&edge, "s");
    origin.line("type=Play, stream_name=s");
    origin.line("args=null");
    assert_eq!(origin.count("edge-srs"), 0);
    let _encoder = Encoder::start(&origin, "s");
    let packets = player.packets(40);
    assert!(packets.iter().any(|p| p.key));
    assert_eq!(origin.count("type=Play"), 1, "what is silent for less than 3 s is kept");
}

#[test]
fn a_stream_is_fetched_a_little_longer_when_the_file_says_so() {
    let origin = Server::start();
    let edge = edge(&[origin.port], "cluster { linger 2; }");
    let _encoder = Encoder::start(&origin, "s");
    let mut player = Peer::play(&edge, "s");
    player.packets(10);
    drop(player);
    let left = Instant::now();
    std::thread::sleep(Duration::from_millis(1000));
    let mut player = Peer::play(&edge, "s");
    player.packets(5);
    assert_eq!(origin.count("type=Play"), 1);
    drop(player);
    origin.line("stop play");
    assert!(left.elapsed() > Duration::from_secs(2));
}

#[test]
fn a_publisher_of_an_edge_is_passed_on_and_played_at_both() {
    let origin = Server::start();
    let edge = edge(&[origin.port], "");
    let mut waits = Peer::play(&edge, "livestream");
    let encoder = Encoder::start(&edge, "livestream");
    for packets in [
        watch(&mut waits, Duration::from_secs(1)),
        Peer::play(&edge, "livestream").packets(40),
        Peer::play(&origin, "livestream").packets(40),
    ] {
        assert!(packets.iter().any(|p| p.key) && packets.len() >= 40, "{}", packets.len());
        assert_rising(&packets, Some(250));
    }
    // The second one is refused, here and at the origin.
    for server in [&edge, &origin] {
        let mut second = Peer::new(server, publish("livestream"));
        let refused = second.wait_for(|event| matches!(event, Event::Refused(_)));
        let Some(Event::Refused(status)) = refused else { panic!("it is let in") };
        assert_eq!(status.code, "NetStream.Publish.BadName");
        assert!(status.description.contains("busy"), "{status}");
        assert!(second.is_closed_within(SOON));
    }
    assert!(!encoder.has_ended());
    drop(encoder);
    let left = Instant::now();
    origin.line("stop publish");
    assert!(left.elapsed() < Duration::from_millis(1000), "{:?}", left.elapsed());
    // Another one may come.
    let _encoder = Encoder::start(&edge, "livestream");
}

#[test]
fn what_the_origin_refuses_the_edge_refuses() {
    let origin =
        Server::with("vhost __defaultVhost__ { security { enabled on; allow play all; } }");
    let served = edge(&[origin.port], "");
    let mut peer = Peer::new(&served, publish("s"));
    let refused = peer.wait_for(|event| matches!(event, Event::Refused(_)));
    let Some(Event::Refused(status)) = refused else { panic!("it is let in") };
    assert!(status.description.contains("the origin refuses"), "{status}");
    assert!(peer.is_closed_within(SOON));
    // Nobody there.
    let lonely = edge(&[free_port()], "");
    let mut peer = Peer::new(&lonely, publish("s"));
    let refused = peer.wait_for(|event| matches!(event, Event::Refused(_)));
    let Some(Event::Refused(status)) = refused else { panic!("it is let in") };
    assert!(status.description.contains("refused"), "{status}");
}

#[test]
fn a_publisher_at_the_edge_takes_the_place_of_what_was_fetched() {
    let origin = Server::start();
    let edge = edge(&[origin.port], "");
    let encoder = Encoder::start(&origin, "s");
    let mut player = Peer::play(&edge, "s");
    player.packets(10);
    // The origin has it.
    let mut second = Peer::new(&edge, publish("s"));
    let refused = second.wait_for(|event| matches!(event, Event::Refused(_)));
    assert!(matches!(refused, Some(Event::Refused(_))));
    drop(encoder);
    origin.line("stop publish");
    let _encoder = Encoder::start(&edge, "s");
    edge.line("is published here, it is not fetched");
    let packets = watch(&mut player, Duration::from_millis(1500));
    assert!(packets.iter().any(|p| p.key), "{} packets", packets.len());
}

#[test]
fn the_vhost_at_the_origin_is_another_one() {
    let origin = Server::with("vhost there.example { } vhost here.to { }");
    let edge = Server::with(&format!(
        "vhost here.example {{ mode remote; origin 127.0.0.1:{0}; vhost there.example; }}
         vhost here {{ mode remote; origin 127.0.0.1:{0}; vhost [vhost].to; }}",
        origin.port
    ));
    for (vhost, there) in [("here.example", "there.example"), ("here", "here.to")] {
        let url = format!("rtmp://{there}:{}/live", origin.port);
        let _encoder = Encoder::to(&[&origin], "s", &url, 0);
        let mut player = player(&edge, &format!("rtmp://{vhost}/live"), "s");
        player.packets(10);
        origin.line(&format!(
            "tcUrl=rtmp://{there}:{}/live, pageUrl=, swfUrl=, schema=rtmp, vhost={there}",
            origin.port
        ));
    }
}

#[test]
fn the_origin_is_asked_about_each_client_before_it_is_connected() {
    let origin = Origin::start(Does::Checks);
    let edge = edge(&[origin.port], "token_traverse on;");
    let url = |token: &str| format!("rtmp://127.0.0.1:{}/live?token={token}", edge.port);
    let mut bad = player(&edge, &url("bad"), "s");
    let answer = bad.wait_for(|e| matches!(e, Event::Connected(_) | Event::Refused(_)));
    let Some(Event::Refused(status)) = answer else { panic!("{answer:?}") };
    assert!(status.description.contains("the token is bad"), "{status}");
    assert_eq!(status.code, "NetConnection.Connect.Rejected");
    assert!(bad.is_closed_within(SOON));
    assert_eq!(origin.urls.lock().unwrap()[..], [url("bad")]);
    let mut good = player(&edge, &url("ok"), "s");
    good.started();
    assert!(origin.urls.lock().unwrap().contains(&url("ok")));
    // A vhost that is named late has its own origin.
    let text = fs::read_to_string(edge.dir.join("test.conf")).unwrap();
    fs::write(edge.dir.join("test.conf"), text + "vhost plain { }").unwrap();
    edge.signal(Signal::HUP);
    edge.line("reload config success");
    let mut late = player(&edge, "rtmp://plain/live?token=bad", "s?vhost=nowhere");
    let answer = late.wait_for(|e| matches!(e, Event::Started | Event::Refused(_)));
    assert!(matches!(answer, Some(Event::Refused(_))), "{answer:?}");
}

#[test]
fn origins_that_a_reload_brings_count_at_the_next_attempt() {
    let origin = Server::start();
    let _encoder = Encoder::start(&origin, "s");
    let edge = edge(&[free_port()], "");
    let mut player = Peer::play(&edge, "s");
    edge.line("refused, again in");
    let conf = edge.dir.join("test.conf");
    let text = fs::read_to_string(&conf).unwrap();
    let at = text.find("origin ").unwrap();
    let end = at + text[at..].find(';').unwrap();
    fs::write(&conf, format!("{}origin 127.0.0.1:{}{}", &text[..at], origin.port, &text[end..]))
        .unwrap();
    edge.signal(Signal::HUP);
    edge.line("reload config success");
    player.packets(20);
}

#[test]
fn an_edge_of_itself_says_so() {
    let port = free_port();
    let edge = Server::with_file(
        port,
        &format!(
            "listen 127.0.0.1:{port}; daemon off; srs_log_tank console;
             vhost __defaultVhost__ {{ mode remote; origin localhost:{port}; }}"
        ),
    );
    let _player = Peer::play(&edge, "s");
    edge.line("it is this server itself");
    assert_eq!(edge.count("type=Play"), 1);
}

#[test]
fn streams_that_nobody_plays_cost_the_origin_nothing() {
    let origin = Server::start();
    let edge = edge(&[origin.port], "");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(origin.count("RTMP client"), 0);
    // A player that leaves at once leaves nothing behind.
    for i in 0..20 {
        drop(Peer::play(&edge, &format!("s{i}")));
    }
    eventually("all pulls end", SOON, || edge.count("is not fetched any more") == 20);
    eventually("all connections end", SOON, || {
        origin.count("RTMP client ip") == origin.count("client finished")
    });
}

#[test]
fn what_never_comes_is_not_fetched_for_ever() {
    // The pauses are shorter than the time that it is fetched longer.
    at_once([Does::Nothing, Does::Silence, Does::Closes, Does::Drops], |does| {
        let origin = Origin::start(does);
        let edge = edge(&[origin.port], "cluster { linger 4; retry_max 1; }");
        let player = Peer::play(&edge, "s");
        edge.line("again in");
        drop(player);
        let left = Instant::now();
        edge.line("is not fetched any more");
        assert!(left.elapsed() > Duration::from_secs(3), "{:?}", left.elapsed());
    });
}

#[test]
fn who_plays_again_has_it_fetched_as_long_as_if_he_were_the_first() {
    let origin = Origin::start(Does::Silence);
    let edge = edge(&[origin.port], "cluster { linger 4; retry_max 1; }");
    drop(Peer::play(&edge, "s"));
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(2));
        drop(Peer::play(&edge, "s"));
    }
    let left = Instant::now();
    edge.line("is not fetched any more");
    assert!(left.elapsed() > Duration::from_secs(3), "{:?}", left.elapsed());
    assert_eq!(edge.count("is played, it is fetched"), 1);
}

/// The milliseconds of the `count`th line that tells of a pause.
fn pause(server: &Server, count: usize) -> u32 {
    let line = server.line_number("again in ", count);
    let (_, rest) = line.split_once("again in ").unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn an_origin_that_lets_in_and_sends_nothing_is_asked_less_and_less() {
    let origin = Origin::start(Does::Drops);
    let edge = edge(&[origin.port], "");
    let _player = Peer::play(&edge, "s");
    let pauses = [1, 2, 3].map(|count| pause(&edge, count));
    assert!(pauses[0] <= 1250 && pauses[2] >= 3000, "{pauses:?}");
}

#[test]
fn the_longest_pause_is_that_of_the_file_as_it_is_now() {
    let mut origin = Server::start();
    let edges = [(); 2].map(|()| edge(&[origin.port], "cluster { retry_max 1; }"));
    let _encoder = Encoder::start(&edges[0], "s");
    let mut player = Peer::play(&edges[1], "s");
    player.packets(10);
    origin.signal(Signal::KILL);
    origin.wait(SOON).unwrap();
    at_once(&edges, |edge| {
        for count in [1, 2] {
            assert!(pause(edge, count) <= 1250);
        }
        reload(edge, "retry_max 1", "retry_max 60");
        let next = edge.count("again in ") + 1;
        assert!(pause(edge, next) >= 1500);
        reload(edge, "retry_max 60", "retry_max 1");
        let next = edge.count("again in ") + 1;
        assert!(pause(edge, next) <= 1250);
    });
}

#[test]
fn an_origin_that_says_this_and_that_and_never_starts_is_left() {
    let origin = Origin::start(Does::Chats);
    let edge = edge(&[origin.port], "");
    let _player = Peer::play(&edge, "s");
    edge.line("silent, no answer to play or publish, again in");
}

#[test]
fn a_vhost_that_is_no_edge_any_more_takes_publishers_at_once() {
    let origin = Server::start();
    let edge = edge(&[origin.port], "cluster { linger 60; }");
    let _encoder = Encoder::start(&origin, "s");
    Peer::play(&edge, "s").packets(20);
    reload(&edge, "mode remote;", "");
    edge.line("is not fetched any more");
    Peer::publish(&edge, "s");
}

#[test]
fn a_publisher_stays_whose_origin_refuses_it_twice_with_a_good_hour_between() {
    let while_it_refuses = Duration::from_secs(31);
    let turns = [
        Turn::Closes(Duration::from_millis(300)),
        Turn::Refuses,
        Turn::Ends(while_it_refuses),
        Turn::Takes,
    ];
    let origin = Origin::start(Does::Turns(turns.to_vec()));
    let edge = edge(&[origin.port], "");
    let encoder = Encoder::start(&edge, "s");
    eventually("it is refused and taken again", SOON * 5, || {
        encoder.has_ended() || origin.names.lock().unwrap().len() == 4
    });
    edge.line_number("publishes to", 3);
    assert!(!encoder.has_ended());
}
