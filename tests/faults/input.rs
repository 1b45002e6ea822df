//! Bad input.

use crate::peer::control::Control;
use crate::peer::server::Server;
use crate::peer::{CHUNK, KEPT, Peer, SOON, media};
use runnel::proto::amf0::Writer;
use runnel::proto::rtmp::chunk::write_message;
use runnel::proto::rtmp::message::{
    AGGREGATE, COMMAND, DATA, SET_CHUNK_SIZE, USER_CONTROL, VIDEO, WINDOW_ACK_SIZE,
};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// One way to break the protocol: where the peer stands before, what it does, and what the log
/// says of it with `{at}` for the bytes that the peer had sent since the handshake.
type Case = (&'static str, fn(&Server) -> Peer, fn(&mut Peer), &'static str, u16);

pub(crate) fn opened(server: &Server) -> Peer {
    Peer::open(server.address)
}

pub(crate) fn shaken(server: &Server) -> Peer {
    Peer::shaken(server.address)
}

pub(crate) fn connected(server: &Server) -> Peer {
    Peer::connected(server.address)
}

pub(crate) fn publishing(server: &Server) -> Peer {
    let mut peer = Peer::publisher(server.address, "broken");
    peer.headers();
    peer.message(VIDEO, 1, 0, &media::video(true, 0, 100));
    peer
}

pub(crate) fn playing(server: &Server) -> Peer {
    Peer::player(server.address, "control")
}

/// A chunk header of type 0.
pub(crate) fn header(csid: u8, len: u32, type_id: u8) -> Vec<u8> {
    let [_, a, b, c] = len.to_be_bytes();
    vec![csid, 0, 0, 0, a, b, c, type_id, 1, 0, 0, 0]
}

const CASES: &[Case] = &[
    (
        "HTTP instead of a handshake",
        opened,
        |peer| peer.raw(b"GET / HTTP/1.1\r\n\r\n"),
        "the client begins with byte 71, not 3",
        2000,
    ),
    ("RTMPE", opened, |peer| peer.raw(&[6; 1537]), "the client begins with byte 6, not 3", 2000),
    (
        "garbage behind the handshake",
        shaken,
        |peer| peer.raw(&[0xff; 500]),
        "chunk stream 63 begins with a type 3 header at byte 0.",
        2001,
    ),
    (
        "garbage behind connect",
        connected,
        |peer| peer.raw(&[0xee; 5000]),
        "chunk stream 46 begins with a type 3 header at byte {at}.",
        2001,
    ),
    (
        "garbage in a stream",
        publishing,
        |peer| peer.raw(&[0xff; 500]),
        "chunk stream 63 begins with a type 3 header at byte {at}.",
        2001,
    ),
    (
        "garbage from a player",
        playing,
        |peer| peer.raw(&[0xff; 500]),
        "chunk stream 63 begins with a type 3 header at byte {at}.",
        2001,
    ),
    (
        "16 MB announced before publish",
        shaken,
        |peer| peer.raw(&header(6, 0xff_ffff, VIDEO)),
        "a message of 16777215 bytes on chunk stream 6 at byte {at}, 4096 are allowed",
        2002,
    ),
    (
        "16 MB announced by a publisher",
        publishing,
        |peer| peer.raw(&header(6, 0xff_ffff, VIDEO)),
        "a message of 16777215 bytes on chunk stream 6 at byte {at}, 2097152 are allowed",
        2002,
    ),
    (
        "16 MB of a command announced by a publisher",
        publishing,
        |peer| peer.raw(&header(3, 0xff_ffff, COMMAND)),
        "a message of 16777215 bytes on chunk stream 3 at byte {at}, 4096 are allowed",
        2002,
    ),
    (
        "chunk size 0",
        connected,
        |peer| peer.raw(&[&header(2, 4, SET_CHUNK_SIZE)[..], &[0; 4]].concat()),
        "chunk size 0 at byte {at+16} is not 128 to 2147483647",
        2010,
    ),
    (
        "chunk size 1",
        connected,
        |peer| peer.raw(&[&header(2, 4, SET_CHUNK_SIZE)[..], &[0, 0, 0, 1]].concat()),
        "chunk size 1 at byte {at+16} is not 128 to 2147483647",
        2010,
    ),
    (
        "chunk size 127 of a publisher",
        publishing,
        |peer| peer.raw(&[&header(2, 4, SET_CHUNK_SIZE)[..], &[0, 0, 0, 127]].concat()),
        "chunk size 127 at byte {at+16} is not 128 to 2147483647",
        2010,
    ),
    (
        "chunk size 2^31",
        connected,
        |peer| peer.raw(&[&header(2, 4, SET_CHUNK_SIZE)[..], &[0x80, 0, 0, 0]].concat()),
        "chunk size 2147483648 at byte {at+16} is not 128 to 2147483647",
        2010,
    ),
    (
        "1,000 chunk streams",
        shaken,
        |peer| {
            for id in 0..1000u16 {
                let [high, low] = id.to_be_bytes();
                peer.raw(&[1, low, high, 0, 0, 0, 0, 0, 1, VIDEO, 1, 0, 0, 0, 7]);
            }
        },
        "chunk stream 80 at byte 240 is one more than the 16 allowed",
        2001,
    ),
    (
        "a new message inside another",
        publishing,
        |peer| {
            peer.raw(&[&header(6, 100_000, VIDEO)[..], &[0x27; CHUNK]].concat());
            peer.raw(&header(6, 10, VIDEO));
        },
        "a new message inside another on chunk stream 6 at byte {at+60012}.",
        2001,
    ),
    (
        "a message that changes its length",
        publishing,
        |peer| {
            peer.raw(&[&header(6, 100_000, VIDEO)[..], &[0x27; CHUNK]].concat());
            peer.raw(&[0x46, 0, 0, 0, 0, 0, 9, VIDEO]);
        },
        "the message on chunk stream 6 changes from 100000 to 9 bytes at byte {at+60012}.",
        2013,
    ),
    (
        "a control message that is too short",
        connected,
        |peer| peer.raw(&[&header(2, 2, WINDOW_ACK_SIZE)[..], &[0, 0]].concat()),
        "control message 5 is too short, before byte {at+14}.",
        2007,
    ),
    (
        "a user control event that is too short",
        publishing,
        |peer| peer.raw(&[&header(2, 3, USER_CONTROL)[..], &[0, 6, 1]].concat()),
        "control message 4 is too short, before byte {at+15}.",
        2007,
    ),
    (
        "an aggregate that does not add up",
        publishing,
        |peer| peer.raw(&[&header(6, 12, AGGREGATE)[..], &[9; 12]].concat()),
        "aggregate ends inside a message, before byte {at+24}.",
        2024,
    ),
    (
        "a string longer than its message",
        shaken,
        |peer| peer.raw(&[&header(3, 5, COMMAND)[..], &[2, 0xff, 0xff, b'c', b'o']].concat()),
        "AMF0 ends inside a value, before byte {at+17}.",
        2003,
    ),
    (
        "a long string of 4 GB",
        connected,
        |peer| {
            peer.raw(&[&header(3, 6, COMMAND)[..], &[12, 0xff, 0xff, 0xff, 0xff, b'c']].concat())
        },
        "AMF0 ends inside a value, before byte {at+18}.",
        2003,
    ),
    (
        "an array of 4,294,967,295 values",
        shaken,
        |peer| {
            peer.command(0, |w| {
                w.string("connect").number(1.0).0.extend([10, 0xff, 0xff, 0xff, 0xff]);
            })
        },
        "AMF0 ends inside a value, before byte {end}.",
        2003,
    ),
    (
        "objects as deep as a command can hold",
        shaken,
        |peer| {
            peer.command(0, |w| {
                w.string("connect").number(1.0);
                for _ in 0..1000 {
                    w.object().key("a");
                }
            })
        },
        "AMF0 nested deeper than 8, before byte {end}.",
        2003,
    ),
    (
        "a type that AMF0 does not have",
        shaken,
        |peer| {
            peer.command(0, |w| {
                w.string("connect").number(1.0).0.push(0x7f);
            })
        },
        "AMF0 type 0x7f is not supported, before byte {end}.",
        2004,
    ),
];

/// Fills the place holders of a case's text.
fn text(pattern: &str, at: usize, end: usize) -> String {
    let mut text = pattern.replace("{at}", &at.to_string()).replace("{end}", &end.to_string());
    if let Some(from) = text.find("{at+") {
        let to = from + text[from..].find('}').expect("it is closed");
        let more: usize = text[from + 4..to].parse().expect("a number");
        text.replace_range(from..=to, &(at + more).to_string());
    }
    text
}

#[test]
fn who_breaks_the_protocol_is_dropped_and_the_log_says_where() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let round = || {
        for &(name, start, act, pattern, code) in CASES {
            let mut peer = start(&server);
            let at = peer.sent;
            act(&mut peer);
            let text = text(pattern, at, peer.sent);
            peer.expect_close(SOON);
            let line = server.logged(&[&text, &format!("ret={code},")]);
            assert!(line.contains("[warn]"), "{name}: {line}");
        }
    };
    round();
    let before = server.rss();
    for _ in 0..5 {
        round();
    }
    server.settles(before + KEPT);
    control.finish();
}

#[test]
fn garbage_in_the_handshake_is_no_harm() {
    let server = Server::plain();
    let mut peer = opened(&server);
    peer.raw(&[&[3][..], &[0xa5; 3072]].concat());
    server.logged(&["simple handshake success"]);
    assert!(peer.stays(Duration::from_millis(100)));
}

#[test]
fn the_largest_chunk_size_is_taken_and_noted() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let mut peer = publishing(&server);
    peer.announce_chunks(0x7fff_ffff);
    server.logged(&["[warn]", "client uses chunks of 2147483647 bytes"]);
    let mut player = Peer::player(server.address, "broken");
    peer.message(VIDEO, 1, 40, &media::video(true, 1, 100_000));
    let seen = std::iter::from_fn(|| player.next_media(SOON)).any(|(_, _, p)| p.len() == 100_000);
    assert!(seen, "a message of one chunk goes through");
    control.finish();
}

#[test]
fn metadata_that_cannot_be_read_is_left_out_and_the_stream_goes_on() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let mut peer = publishing(&server);
    for (body, text) in [
        (&[10, 0, 0, 0, 1].repeat(10_000)[..], "AMF0 nested deeper than 8"),
        (&[2, 0xff, 0xff, 1], "AMF0 ends inside a value"),
        (&[0x7f], "AMF0 type 0x7f is not supported"),
    ] {
        let mut payload = Vec::new();
        Writer(&mut payload).string("@setDataFrame").string("onMetaData").object().key("a");
        payload.extend(body);
        peer.message(DATA, 1, 0, &payload);
        server.logged(&["[warn]", "ignore metadata of /live/broken", text]);
    }
    peer.message(VIDEO, 1, 40, &media::video(true, 1, 100));
    let mut player = Peer::player(server.address, "broken");
    assert!(player.next_media(SOON).is_some(), "the stream goes on");
    control.finish();
}

#[test]
fn a_connect_of_wrong_types_is_answered() {
    let server = Server::plain();
    let control = Control::start(server.address);
    // What is not a text counts as absent, and a connect needs its tcUrl.
    let refused: &[fn(&mut Writer<'_>)] = &[
        |w| _ = w.object().key("tcUrl").number(7.0).end(),
        |w| _ = w.object().key("tcUrl").null().end(),
        |w| _ = w.number(1.0),
        |w| _ = w.null(),
        |w| _ = w.string("rtmp://127.0.0.1/live"),
    ];
    for values in refused {
        let mut peer = shaken(&server);
        peer.command(0, |w| values(w.string("connect").number(1.0)));
        let (name, code, text) = peer.reply();
        assert_eq!((&*name, &*code), ("_error", "NetConnection.Connect.Rejected"));
        assert!(text.contains("without tcUrl"), "{text}");
        peer.expect_close(SOON);
        server.logged(&["connect without tcUrl, before byte", "ret=2005,"]);
    }
    let mut peer = shaken(&server);
    peer.command(0, |w| {
        w.string("connect").string("one").object();
        w.key("tcUrl").string("rtmp://127.0.0.1/live");
        w.key("app").number(1.0).key("pageUrl").boolean(true).key("objectEncoding").string("x");
        w.end().number(3.0);
    });
    assert_eq!(peer.reply().0, "_result", "all that a connect needs was there");
    // A number where a name should be is no command that anybody knows.
    let mut peer = shaken(&server);
    peer.command(0, |w| _ = w.number(1.0).number(1.0));
    peer.connect("rtmp://127.0.0.1/live");
    assert_eq!(peer.reply().0, "_result");
    control.finish();
}

#[test]
fn a_connect_that_cannot_be_read_is_refused_before_the_close() {
    let server = Server::plain();
    let mut peer = shaken(&server);
    peer.command(0, |w| {
        w.string("connect").number(1.0).object().key("a").0.push(0x7f);
    });
    let (name, code, text) = peer.reply();
    assert_eq!((&*name, &*code), ("_error", "NetConnection.Connect.Rejected"));
    assert!(text.contains("AMF0 type 0x7f"), "{text}");
    peer.expect_close(SOON);
}

#[test]
fn a_publisher_whose_message_is_refused_is_told_so() {
    let server = Server::plain();
    let mut peer = publishing(&server);
    peer.raw(&header(6, 0xff_ffff, VIDEO));
    let (code, text) = peer.status_and_text();
    assert_eq!(code, "NetStream.Publish.Failed");
    assert!(text.contains("2097152 are allowed"), "{text}");
    peer.expect_close(SOON);
    // The same for what a decoder could do nothing with.
    let mut peer = publishing(&server);
    peer.message(VIDEO, 1, 40, &[0x17, 0, 0, 0, 0, 9, 9, 9]);
    let (code, text) = peer.status_and_text();
    assert_eq!(code, "NetStream.Publish.Failed");
    assert!(text.contains("sequence header"), "{text}");
    peer.expect_close(SOON);
    server.logged(&["[warn]", "client refused, Video sequence header", "ret=3001"]);
}

/// A good publisher's bytes behind the handshake.
fn session(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut command = |write: &dyn Fn(&mut Writer<'_>)| {
        let mut payload = Vec::new();
        write(&mut Writer(&mut payload));
        write_message(&mut out, 128, 3, COMMAND, 0, 0, &payload);
    };
    command(&|w| {
        w.string("connect").number(1.0).object();
        w.key("app").string("live").key("tcUrl").string("rtmp://127.0.0.1/live").end();
    });
    command(&|w| _ = w.string("createStream").number(2.0).null());
    command(&|w| _ = w.string("publish").number(3.0).null().string(name));
    write_message(&mut out, 128, 2, SET_CHUNK_SIZE, 0, 0, &4096_u32.to_be_bytes());
    let mut metadata = Vec::new();
    Writer(&mut metadata).string("@setDataFrame").string("onMetaData").ecma_array(1);
    Writer(&mut metadata).key("width").number(320.0).end();
    write_message(&mut out, 4096, 5, DATA, 1, 0, &metadata);
    write_message(&mut out, 4096, 6, VIDEO, 1, 0, &media::video_header());
    for i in 0..20 {
        write_message(&mut out, 4096, 6, VIDEO, 1, i * 40, &media::video(i == 0, i, 5000));
    }
    out
}

#[test]
fn sessions_with_wrong_bytes_never_hurt_the_server() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let mut random = fastrand::Rng::with_seed(17);
    let mut visit = |i: usize| {
        let mut bytes = session(&format!("s{}", i % 5));
        for _ in 0..random.usize(1..6) {
            // Most of them in the headers and commands at the beginning.
            let end = if random.bool() { 400 } else { bytes.len() };
            let at = random.usize(0..end);
            match random.u8(0..4) {
                0 => bytes[at] ^= 1 << random.u8(0..8),
                1 => bytes[at] = random.u8(..),
                2 => drop(bytes.drain(at..(at + random.usize(1..9)).min(end))),
                _ => (0..random.usize(1..9)).for_each(|_| bytes.insert(at, random.u8(..))),
            }
        }
        let mut peer = opened(&server);
        peer.raw(&[&[3][..], &[0; 3072], &bytes].concat());
        // The server may have closed before.
        let _ = peer.sock.shutdown(Shutdown::Write);
        peer.expect_close(SOON);
    };
    (0..100).for_each(&mut visit);
    let before = server.rss();
    (0..500).for_each(&mut visit);
    server.settles(before + KEPT);
    control.finish();
}

#[test]
fn two_thousand_connections_in_a_row_leave_nothing_behind() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let visit = |i: usize| match i % 4 {
        0 => drop(TcpStream::connect(server.address).unwrap()),
        1 => opened(&server).raw(&[3; 700]),
        2 => opened(&server).raw(&[3; 3073]),
        _ => {
            let mut peer = opened(&server);
            peer.raw(&[3; 3073]);
            peer.connect("rtmp://127.0.0.1/live");
            peer.publish("visit");
        }
    };
    (0..200).for_each(visit);
    let before = server.rss();
    (0..2000).for_each(visit);
    server.settles(before + KEPT);
    let seen = control.seen();
    control.finish();
    assert!(seen > 0);
    let mut last = connected(&server);
    last.play("visit");
    last.await_play();
}
