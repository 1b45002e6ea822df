//! Messages that rare clients send, written by hand.

mod common;

use common::Server;
use common::client::{Peer, play};
use common::media::{bodies, demo, frames, headers};
use common::raw::{COMMAND, Raw, values};
use runnel::media::{Kind, Packet};
use runnel::proto::amf0::{Object, Value, Writer};
use runnel::proto::rtmp::client::Event;
use std::time::Duration;

/// Sends `packets` on a stream that somebody plays already, and gives what arrives.
fn relay(packets: &[Packet]) -> Vec<Packet> {
    let server = Server::start();
    let mut player = Peer::play(&server, "s");
    let mut publisher = Peer::publish(&server, "s");
    for packet in packets {
        publisher.send(packet);
    }
    player.packets(packets.len())
}

#[test]
fn vp6_is_relayed_byte_for_byte() {
    // VP6 and MP3, as Flash and early encoders published them: no sequence headers.
    let mut packets = Vec::new();
    for i in 0..60_u32 {
        let frame = if i % 20 == 0 { 0x14 } else { 0x24 };
        let mut video = vec![frame, 0];
        video.extend((0..500 + i * 37).map(|n| (n * 7 + i) as u8));
        packets.push(Packet::new(Kind::Video, i * 40, video.into()));
        let mut audio = vec![0x2f];
        audio.extend((0..417).map(|n| (n + i) as u8));
        packets.push(Packet::new(Kind::Audio, i * 40 + 5, audio.into()));
    }
    let arrived = relay(&packets);
    assert_eq!(bodies(&arrived), bodies(&packets));
    let times = |packets: &[Packet]| packets.iter().map(|p| p.dts).collect::<Vec<_>>();
    assert_eq!(times(&arrived), times(&packets));
}

#[test]
fn a_late_player_of_vp6_starts_at_a_key_frame() {
    let server = Server::start();
    let mut publisher = Peer::publish(&server, "s");
    for i in 0..50_u32 {
        let frame = if i % 20 == 0 { 0x14 } else { 0x24 };
        publisher.send_bytes(Kind::Video, i * 40, &[frame, 0, i as u8]);
    }
    std::thread::sleep(Duration::from_millis(600));
    let mut player = Peer::play(&server, "s");
    let arrived = player.packets(10);
    assert_eq!(arrived[0].payload.as_ref(), [0x14, 0, 40]);
}

#[cfg(feature = "digest")]
#[test]
fn the_handshake_with_digests_is_spoken() {
    use runnel::proto::rtmp::client::Config;
    use runnel::proto::rtmp::handshake::Form;

    let server = Server::start();
    let form = |form| {
        let config = Config { form, ..Config::new(server.tc_url(), "live", play("s")) };
        let mut peer = Peer::with(&server, config);
        let shaken = peer.wait_for(|event| matches!(event, Event::Handshake(_)));
        peer.started();
        shaken
    };
    let digest = form(Form::Complex);
    assert!(matches!(digest, Some(Event::Handshake(Form::Complex))), "{digest:?}");
    server.line("complex handshake success");
    let simple = form(Form::Simple);
    assert!(matches!(simple, Some(Event::Handshake(Form::Simple))), "{simple:?}");
    server.line("simple handshake success");
}

/// Publishes these properties, and gives those that a player gets.
fn metadata(fill: impl Fn(&mut Writer<'_>)) -> Object {
    let mut payload = Vec::new();
    let mut writer = Writer(&mut payload);
    writer.string("@setDataFrame").string("onMetaData").ecma_array(0);
    fill(&mut writer);
    writer.end();
    let packets = relay(&[Packet::new(Kind::Data, 0, payload.into())]);
    let values = values(&packets[0].payload);
    assert_eq!(values[0].as_str(), Some("onMetaData"), "without @setDataFrame");
    values[1].as_object().unwrap().clone()
}

#[test]
fn a_date_in_metadata_is_relayed() {
    let mut date = vec![0x0b];
    date.extend(1_432_512_000_000_f64.to_be_bytes());
    date.extend([0x01, 0xe0]);
    let shown = metadata(|w| {
        w.key("creationdate").0.extend(&date);
        w.key("width").number(320.0).key("duration").number(7.0);
    });
    let expected = Value::Date { ms: 1_432_512_000_000.0, tz: 0x01e0 };
    assert_eq!(shown.value("creationdate"), Some(&expected));
    assert_eq!(shown.number("width"), Some(320.0), "what follows it is read");
    assert_eq!(shown.value("duration"), None);
    assert!(shown.str("server").is_some_and(|s| s.starts_with("runnel/")));
}

#[test]
fn a_strict_array_in_metadata_is_relayed() {
    let times = [0.0, 1.5, 3.0];
    let shown = metadata(|w| {
        w.key("keyframes").object().key("times").0.extend([0x0a, 0, 0, 0, 3]);
        for time in times {
            w.number(time);
        }
        w.end().key("height").number(180.0);
    });
    let expected = Value::StrictArray(times.map(Value::Number).to_vec());
    let keyframes = shown.object("keyframes").unwrap();
    assert_eq!(keyframes.value("times"), Some(&expected));
    assert_eq!(shown.number("height"), Some(180.0));
}

#[test]
fn data_that_is_no_metadata_is_not_relayed() {
    let server = Server::start();
    let mut player = Peer::play(&server, "s");
    let mut publisher = Peer::publish(&server, "s");
    let mut text = Vec::new();
    Writer(&mut text).string("onTextData").object().key("text").string("hello").end();
    publisher.send_bytes(Kind::Data, 0, &text);
    publisher.send_bytes(Kind::Audio, 0, b"\x2fsound");
    assert_eq!(player.packets(1)[0].payload.as_ref(), b"\x2fsound");
}

#[test]
fn connect_with_a_third_value_that_is_no_object_works() {
    for third in [Value::String("no object".into()), Value::Number(1.0), Value::Null] {
        let server = Server::start();
        let mut raw = Raw::new(&server);
        let tc_url = server.tc_url();
        raw.command(0, |w| {
            w.string("connect").number(1.0).object().key("app").string("live");
            w.key("tcUrl").string(&tc_url).end().value(&third);
        });
        let answer = raw.answer("_result", 1.0);
        let code = answer[1].as_object().and_then(|o| o.str("code"));
        assert_eq!(code, Some("NetConnection.Connect.Success"), "{third:?}");
        assert!(server.line("connect app").ends_with("args=null"));
    }
}

#[test]
fn an_unknown_command_is_answered_with_two_nulls() {
    let server = Server::start();
    let nulls = [Value::Null, Value::Null];
    let mut raw = Raw::connect(&server);
    raw.command(0, |w| {
        w.string("whatIsThis").number(5.0).null().string("x");
    });
    assert_eq!(raw.answer("_result", 5.0), nulls, "before play");
    let mut raw = Raw::started(&server, "play", "s");
    raw.command(1, |w| {
        w.string("whatIsThis").number(6.0).null();
    });
    assert_eq!(raw.answer("_result", 6.0), nulls, "while playing");
    // 0 asks for no answer.
    raw.command(1, |w| {
        w.string("whatIsThis").number(0.0).null();
    });
    raw.command(1, |w| {
        w.string("whatIsThis").number(7.0).null();
    });
    let next = raw.wait_for("answer", |message| message.type_id == COMMAND);
    assert_eq!(values(&next.payload)[1], Value::Number(7.0));
}

#[test]
fn a_ping_of_librtmp_without_a_full_header_is_accepted() {
    let server = Server::start();
    let mut raw = Raw::connect(&server);
    // Form 1 as the first header of chunk stream 2, see RTMP_SendCtrl of librtmp: a ping request,
    // which is to be answered with its time.
    raw.write(&[0x42, 0, 0, 0, 0, 0, 6, 4, 0, 6, 0, 0, 0x0d, 0x0f]);
    let answer = raw.wait_for("ping response", |message| {
        message.type_id == 4 && message.payload.starts_with(&[0, 7])
    });
    assert_eq!(answer.payload.as_ref(), [0, 7, 0, 0, 0x0d, 0x0f]);
    assert_eq!(server.count("finished"), 0);
}

#[test]
fn an_aggregate_is_given_to_players_in_pieces() {
    let server = Server::start();
    let mut player = Peer::play(&server, "s");
    let mut raw = Raw::started(&server, "publish", "s");
    let packets = demo();
    let mut sent = Vec::new();
    for packet in headers(&packets) {
        raw.send(6, packet.kind.type_id(), 1, 0, &packet.payload);
        sent.push(packet);
    }
    // As FMS sends them: a time base of its own inside, the aggregate's time outside.
    let mut aggregate = Vec::new();
    for packet in frames(&packets).into_iter().take(12) {
        let [high, t0, t1, t2] = (packet.dts + 700_000).to_be_bytes();
        let [_, a, b, c] = (packet.payload.len() as u32).to_be_bytes();
        aggregate.extend([packet.kind.type_id(), a, b, c, t0, t1, t2, high, 0, 0, 0]);
        aggregate.extend(packet.payload.as_ref());
        aggregate.extend((packet.payload.len() as u32 + 11).to_be_bytes());
        sent.push(packet);
    }
    raw.send(6, 22, 1, 0, &aggregate);
    let arrived = player.packets(sent.len());
    assert_eq!(bodies(&arrived), bodies(&sent));
    let times = |packets: &[Packet]| frames(packets).iter().map(|p| p.dts).collect::<Vec<_>>();
    assert_eq!(times(&arrived), times(&sent));
}

#[test]
fn a_metadata_message_without_end_ends_nothing_but_itself() {
    let server = Server::start();
    let mut player = Peer::play(&server, "s");
    let mut publisher = Peer::publish(&server, "s");
    let mut broken = Vec::new();
    Writer(&mut broken).string("onMetaData").object().key("width");
    publisher.send_bytes(Kind::Data, 0, &broken);
    publisher.send_bytes(Kind::Audio, 0, b"\x2fsound");
    assert_eq!(player.packets(1)[0].payload.as_ref(), b"\x2fsound");
    server.line("ignore metadata");
}

#[test]
fn the_server_names_itself_in_the_answer_to_connect() {
    let server = Server::start();
    let mut peer = Peer::new(&server, play("s"));
    let connected = peer.wait_for(|event| matches!(event, Event::Connected(_)));
    let Some(Event::Connected(info)) = connected else { panic!("{connected:?}") };
    assert!(info.server.starts_with("runnel/"), "{info:?}");
    assert_eq!(info.pid, Some(server.pid()));
    let id = info.id.unwrap();
    assert!(server.line("connect app").contains(&format!("[{id}]")));
    assert_eq!(info.server_ip, "127.0.0.1");
}
