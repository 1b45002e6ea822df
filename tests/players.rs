//! What players see of a stream: where they start, what they get, and what they can ask for.

mod common;

use common::client::{Got, Peer, play, publish};
use common::media::{bodies, demo, frames, headers};
use common::{SOON, Server};
use runnel::media::{Kind, Packet};
use runnel::proto::rtmp::client::Event;
use std::collections::VecDeque;
use std::io::Read;
use std::time::{Duration, Instant};

const REALTIME: &str = include_str!("../conf/realtime.conf");
/// Packets are shown to players as they come.
const AT_ONCE: &str = "vhost __defaultVhost__ { min_latency on; tcp_nodelay on; }";

/// Waits until a publisher's packets are with the players.
fn settle() {
    std::thread::sleep(Duration::from_millis(500));
}

fn key(dts: u32) -> Packet {
    Packet::new(Kind::Video, dts, vec![0x17, 1, 0, 0, 0, 0, dts as u8].into())
}

fn inter(dts: u32) -> Packet {
    Packet::new(Kind::Video, dts, vec![0x27, 1, 0, 0, 0, 1, dts as u8].into())
}

fn sound(dts: u32) -> Packet {
    Packet::new(Kind::Audio, dts, vec![0xaf, 1, dts as u8].into())
}

/// A publisher that has sent the headers of a real stream.
fn publisher(server: &Server) -> Peer {
    let mut publisher = Peer::publish(server, "s");
    for header in headers(&demo()) {
        publisher.send(&header);
    }
    publisher
}

#[test]
fn many_players_get_the_same_stream() {
    let server = Server::start();
    let mut players: Vec<Peer> = (0..10).map(|_| Peer::play(&server, "s")).collect();
    let packets: Vec<Packet> = demo().into_iter().filter(|p| p.kind != Kind::Data).collect();
    let mut publisher = Peer::publish(&server, "s");
    packets.iter().for_each(|packet| publisher.send(packet));
    for player in &mut players {
        assert_eq!(bodies(&player.packets(packets.len())), bodies(&packets));
    }
    settle();
    // One that comes late starts at the last key frame.
    let mut late = Peer::play(&server, "s");
    let start = late.packets(3);
    assert!(start[0].header && start[1].header && start[2].key, "{start:?}");
}

#[test]
fn a_stream_that_nobody_publishes_has_no_media() {
    let server = Server::start();
    let mut player = Peer::play(&server, "nobody");
    assert_eq!(player.packet(Duration::from_millis(500)), None);
    // It comes when it is published.
    let mut publisher = Peer::publish(&server, "nobody");
    publisher.send(&sound(0));
    assert_eq!(bodies(&player.packets(1)), bodies(&[sound(0)]));
    // Nothing is stored.
    drop((publisher, player));
    server.line("stop publish");
    server.line("stop play");
    assert_eq!(Peer::play(&server, "nobody").packet(Duration::from_millis(500)), None);
}

#[test]
fn a_late_player_gets_metadata_headers_and_the_last_key_frame_first() {
    let server = Server::start();
    let packets = demo();
    let mut publisher = Peer::publish(&server, "s");
    packets.iter().for_each(|packet| publisher.send(packet));
    settle();
    let start = Instant::now();
    let mut player = Peer::play(&server, "s");
    let arrived = player.packets(5);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(arrived[0].kind, Kind::Data);
    assert!(arrived[1].header && arrived[1].kind == Kind::Audio, "{:?}", arrived[1]);
    assert!(arrived[2].header && arrived[2].kind == Kind::Video, "{:?}", arrived[2]);
    let sent = frames(&packets);
    let last_key = sent.iter().rposition(|p| p.key).unwrap();
    assert_eq!(bodies(&arrived[3..]), bodies(&sent[last_key..last_key + 2]));
}

#[test]
fn without_gop_cache_a_player_waits_for_the_next_key_frame() {
    let server = Server::with(
        "vhost __defaultVhost__ { min_latency on; play { gop_cache off; time_jitter off; } }",
    );
    let mut publisher = publisher(&server);
    publisher.send(&key(0));
    publisher.send(&inter(40));
    settle();
    let mut player = Peer::play(&server, "s");
    for dts in [80, 120] {
        publisher.send(&inter(dts));
    }
    let arrived = player.packets_until_silence(Duration::from_millis(300));
    assert!(arrived.iter().all(|p| p.header), "{arrived:?}");
    publisher.send(&key(160));
    publisher.send(&inter(200));
    // The headers come with the first frame, if they did not before.
    let arrived = player.packets(4 - arrived.len());
    assert_eq!(bodies(&frames(&arrived)), bodies(&[key(160), inter(200)]));
}

#[test]
fn an_old_picture_is_not_shown_when_only_sound_goes_on() {
    let server = Server::with(AT_ONCE);
    let mut publisher = publisher(&server);
    publisher.send(&key(0));
    for i in 0..115 {
        publisher.send(&sound(i * 26));
    }
    settle();
    let mut player = Peer::play(&server, "s");
    assert!(player.packets(3)[2].key, "the picture is shown for 115 frames of sound");
    for i in 115..120 {
        publisher.send(&sound(i * 26));
    }
    server.line("clear gop cache for guess pure audio overflow");
    settle();
    let mut player = Peer::play(&server, "s");
    publisher.send(&sound(121 * 26));
    let arrived = player.packets(1);
    assert!(arrived.iter().all(|p| !p.key));
    let more = player.packets_until_silence(Duration::from_millis(500));
    assert!(more.iter().all(|p| p.header || p.kind == Kind::Audio), "{more:?}");
}

#[test]
fn a_second_publisher_is_refused_and_the_first_goes_on() {
    let server = Server::with(AT_ONCE);
    let mut player = Peer::play(&server, "s");
    let mut first = Peer::publish(&server, "s");
    first.send(&sound(0));
    let mut second = Peer::new(&server, publish("s"));
    let refused = second.wait_for(|event| matches!(event, Event::Refused(_)));
    let Some(Event::Refused(status)) = refused else { panic!("{refused:?}") };
    assert_eq!(status.code, "NetStream.Publish.BadName");
    assert!(second.is_closed_within(SOON));
    assert!(server.line("ret=1028").contains("client refused"));
    first.send(&sound(40));
    assert_eq!(bodies(&player.packets(2)), bodies(&[sound(0), sound(40)]));
    // The name is free when the first has gone.
    drop(first);
    server.line("stop publish");
    Peer::publish(&server, "s").send(&sound(80));
    assert_eq!(bodies(&player.packets(1)), bodies(&[sound(80)]));
}

#[test]
fn with_takeover_the_second_publisher_takes_the_place_of_the_first() {
    let server =
        Server::with("vhost __defaultVhost__ { min_latency on; publish { takeover on; } }");
    let mut player = Peer::play(&server, "s");
    let mut first = Peer::publish(&server, "s");
    first.send(&sound(0));
    assert_eq!(bodies(&player.packets(1)), bodies(&[sound(0)]));
    let mut second = Peer::publish(&server, "s");
    assert!(first.is_closed_within(SOON));
    second.send(&sound(40));
    assert_eq!(bodies(&player.packets(1)), bodies(&[sound(40)]), "players stay");
}

#[test]
fn a_paused_player_gets_nothing_and_goes_on_at_the_live_edge() {
    let server = Server::with(AT_ONCE);
    let mut player = Peer::play(&server, "s");
    let mut publisher = publisher(&server);
    publisher.send(&key(0));
    player.packets(3);
    player.machine.pause(true);
    assert!(player.flush());
    let paused = player.wait_for(|event| matches!(event, Event::Status(_)));
    let Some(Event::Status(status)) = paused else { panic!("{paused:?}") };
    assert_eq!(status.code, "NetStream.Pause.Notify");
    for dts in [40, 80] {
        publisher.send(&inter(dts));
    }
    publisher.send(&key(120));
    publisher.send(&inter(160));
    assert_eq!(player.packet(Duration::from_millis(500)), None, "nothing while it is paused");
    player.machine.pause(false);
    assert!(player.flush());
    let resumed = player.wait_for(|event| matches!(event, Event::Status(_)));
    let Some(Event::Status(status)) = resumed else { panic!("{resumed:?}") };
    assert_eq!(status.code, "NetStream.Unpause.Notify");
    publisher.send(&inter(200));
    let arrived = frames(&player.packets_until_silence(Duration::from_millis(500)));
    assert_eq!(bodies(&arrived), bodies(&[key(120), inter(160), inter(200)]));
}

#[test]
fn a_player_that_closes_its_stream_plays_again_on_the_same_connection() {
    let server = Server::with(AT_ONCE);
    let mut player = Peer::play(&server, "s");
    let mut publisher = publisher(&server);
    publisher.send(&key(0));
    player.packets(3);
    player.machine.close_stream();
    assert!(player.flush());
    server.line("stop play");
    publisher.send(&inter(40));
    assert_eq!(player.packet(Duration::from_millis(300)), None);
    assert!(player.machine.start(play("s")));
    player.started();
    let arrived = player.packets(4);
    assert_eq!(bodies(&frames(&arrived)), bodies(&[key(0), inter(40)]));
    server.line_number("start play", 2);
    // Another name, still on the same connection.
    player.machine.close_stream();
    assert!(player.machine.start(play("other")));
    player.started();
    assert_eq!(server.count("RTMP client"), 2);
}

#[test]
fn an_encoder_publishes_again_on_the_same_connection() {
    let server = Server::with(AT_ONCE);
    let mut player = Peer::play(&server, "s");
    let mut publisher = Peer::publish(&server, "s");
    publisher.send(&sound(0));
    publisher.machine.unpublish();
    assert!(publisher.flush());
    server.line("stop publish");
    assert!(publisher.machine.start(publish("s")));
    publisher.started();
    publisher.send(&sound(40));
    assert_eq!(bodies(&player.packets(2)), bodies(&[sound(0), sound(40)]));
    assert_eq!(server.count("RTMP client"), 2);
}

#[test]
fn a_player_that_stops_reading_skips_and_memory_stays_bounded() {
    let server =
        Server::with("vhost __defaultVhost__ { min_latency on; play { queue_length 5; } }");
    let mut stuck = Peer::play(&server, "s");
    let mut player = Peer::play(&server, "s");
    let mut publisher = publisher(&server);
    player.packets(2);
    // A minute at 1.6 Mbit/s, a key frame every two seconds; the other player reads along.
    let mut sent = VecDeque::new();
    let mut most = 0;
    for i in 0..1500_u32 {
        let mut payload = if i % 50 == 0 { key(i * 40) } else { inter(i * 40) }.payload.to_vec();
        payload.extend(vec![i as u8; 8000]);
        let packet = Packet::new(Kind::Video, i * 40, payload.into());
        publisher.send(&packet);
        sent.push_back(packet.payload);
        if sent.len() == 50 {
            let expected: Vec<_> = sent.drain(..).collect();
            let arrived: Vec<_> = player.packets(50).into_iter().map(|p| p.payload).collect();
            assert!(arrived == expected, "the other player is not held up");
            most = most.max(server.resident());
        }
    }
    // 5 s are 1 MB; all of it would be 12 MB.
    assert!(most < 16 * 1024, "{most} KB resident");
    let arrived = stuck.packets_until_silence(Duration::from_secs(1));
    server.line("shrink the cache queue");
    let arrived = frames(&arrived);
    let of = |packet: &Packet| packet.payload.last().copied();
    assert_eq!(arrived.last().and_then(of), Some(1499_u32 as u8), "it gets to the live edge");
    let gap = arrived.windows(2).position(|w| of(&w[1]) != of(&w[0]).map(|n| n.wrapping_add(1)));
    let gap = gap.expect("it skips");
    assert!(arrived[gap + 1].key, "it goes on at a key frame");
    publisher.send(&key(60_000));
    assert_eq!(bodies(&stuck.packets(1)), bodies(&[key(60_000)]));
}

#[test]
fn a_player_that_asks_for_a_duration_is_served_so_long() {
    let server = Server::with(AT_ONCE);
    let mut raw = common::raw::Raw::connect(&server);
    raw.command(0, |w| {
        w.string("createStream").number(2.0).null();
    });
    raw.answer("_result", 2.0);
    raw.command(1, |w| {
        w.string("play").number(0.0).null().string("s").number(-1.0).number(2000.0);
    });
    raw.status("NetStream.Play.Start");
    let mut publisher = Peer::publish(&server, "s");
    for i in 0..100 {
        publisher.send(&sound(i * 40));
    }
    let stop = raw.status("NetStream.Play.Stop");
    assert_eq!(stop.str("level"), Some("status"));
    assert_eq!(stop.str("description"), Some("Stopped playing stream."));
    let line = server.line("ret=2019");
    assert!(line.contains("[trace]"), "{line}");
    assert!(line.contains("the 2000 ms that were asked for are over. ret=2019"), "{line}");
    assert_eq!(server.count("client refused"), 0);
    let mut rest = Vec::new();
    raw.socket.set_read_timeout(Some(SOON)).unwrap();
    assert!(raw.socket.read_to_end(&mut rest).is_ok(), "the server closes");
}

#[test]
fn players_stay_when_the_publisher_goes_and_comes_back() {
    let server = Server::with(AT_ONCE);
    let mut player = Peer::play(&server, "s");
    for round in 1..=2 {
        let mut publisher = publisher(&server);
        publisher.send(&key(0));
        let arrived = player.packets(3);
        assert!(arrived[0].header && arrived[1].header && arrived[2].key, "{round}: {arrived:?}");
        drop(publisher);
        server.line_number("stop publish", round);
    }
    assert!(matches!(player.next(Duration::from_millis(100)), Got::Silence));
}

#[test]
fn the_server_adds_little_delay_with_the_realtime_configuration() {
    let port = common::free_port();
    let text = REALTIME.replace("listen 1935;", &format!("listen 127.0.0.1:{port};"));
    let server = Server::with_file(port, &text);
    let mut player = Peer::play(&server, "s");
    let mut publisher = publisher(&server);
    player.packets(2);
    let mut delays = Vec::new();
    for i in 0..50 {
        std::thread::sleep(Duration::from_millis(20));
        let start = Instant::now();
        let packet = if i == 0 { key(0) } else { inter(i * 40) };
        publisher.send(&packet);
        assert_eq!(bodies(&player.packets(1)), bodies(&[packet]));
        delays.push(start.elapsed());
    }
    delays.sort();
    // Some of this is the machine that runs the tests; the usual value is under a millisecond.
    assert!(delays[25] < Duration::from_millis(100), "{delays:?}");
}

#[cfg(feature = "demo")]
#[test]
fn the_demo_plays_without_a_publisher() {
    let server = Server::without_file(&["--demo"]);
    server.line("test stream is published as /live/demo");
    let mut player = Peer::play(&server, "demo");
    let arrived = player.packets(30);
    let frames = frames(&arrived);
    assert!(arrived.iter().filter(|p| p.header).count() == 2 && frames[0].key, "{arrived:?}");
    common::eventually("both kinds come", SOON, || {
        let packet = player.packets(1).remove(0);
        packet.kind == Kind::Audio
    });
}
