//! Every bound of a connection at its number and one over it.

use crate::peer::control::Control;
use crate::peer::server::Server;
use crate::peer::{CHUNK, KEPT, Peer, SOON, media};
use runnel::limits::{
    self, AMF_DEPTH, AMF_VALUES, CHUNK_SIZE_MIN, CHUNK_STREAMS, CONTROL_MAX, CONTROL_OUT_MAX,
    HEADER_MAX, MESSAGE_MAX, NAME_MAX, URL_MAX,
};
use runnel::proto::amf0::Writer;
use runnel::proto::rtmp::chunk::write_message;
use runnel::proto::rtmp::message::{AUDIO, COMMAND, DATA, SET_CHUNK_SIZE, USER_CONTROL, VIDEO};
use std::thread;
use std::time::{Duration, Instant};

const MOMENT: Duration = Duration::from_millis(300);

fn url(len: usize) -> String {
    let url = String::from("rtmp://127.0.0.1/live?x=");
    url.clone() + &"y".repeat(len - url.len())
}

#[test]
fn names_and_urls_are_taken_up_to_their_bounds_and_never_cut() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let long = "n".repeat(NAME_MAX);
    for tc_url in [
        format!("rtmp://{long}/live"),
        format!("rtmp://127.0.0.1/{long}"),
        format!("rtmp://127.0.0.1/live?vhost={long}"),
        url(URL_MAX),
    ] {
        Peer::connected_to(server.address, &tc_url);
    }
    Peer::publisher(server.address, &long);
    Peer::player(server.address, &long);
    let over = format!("{long}n");
    for (tc_url, text) in [
        (format!("rtmp://{over}/live"), "host is longer than 256 bytes"),
        (format!("rtmp://127.0.0.1/{over}"), "app is longer than 256 bytes"),
        (format!("rtmp://127.0.0.1/live?vhost={over}"), "vhost is longer than 256 bytes"),
        (url(URL_MAX + 1), "tcUrl is longer than 2048 bytes"),
        ("rtmp://127.0.0.1/../live".into(), "app has control characters or a \"..\""),
        ("rtmp://127.0.0.1/a\0b".into(), "app has control characters or a \"..\""),
        ("rtmp://127.0.0.1/\x1b[2Jlive".into(), "app has control characters or a \"..\""),
        ("rtmp://a\0b/live".into(), "host has control characters or a \"..\""),
        ("rtmp://127.0.0.1:0/live".into(), "no valid port in tcUrl"),
        ("rtmp://127.0.0.1:99999/live".into(), "no valid port in tcUrl"),
        ("rtmp://127.0.0.1".into(), "no valid app in tcUrl"),
        ("rtmp:///live".into(), "no valid host in tcUrl"),
        ("live".into(), "no valid schema in tcUrl"),
    ] {
        let mut peer = Peer::shaken(server.address);
        peer.connect(&tc_url);
        let (name, code, told) = peer.reply();
        assert_eq!((&*name, &*code), ("_error", "NetConnection.Connect.Rejected"), "{tc_url:?}");
        assert!(told.contains(text), "{tc_url:?}: {told}");
        peer.expect_close(SOON);
        let line = server.logged(&["[warn]", text, "ret=200"]);
        assert!(!line.contains(['\0', '\x1b']), "{line:?}");
    }
    for (name, text, code) in [
        (&*over, "stream is longer than 256 bytes", "ret=2006"),
        ("a\0b", "stream has control characters or a \"..\"", "ret=2006"),
        ("a\tb", "stream has control characters or a \"..\"", "ret=2006"),
        ("..", "stream has control characters or a \"..\"", "ret=2006"),
        ("a/../../b", "stream has control characters or a \"..\"", "ret=2006"),
        ("", "no stream name", "ret=2050"),
        (" \r\n", "no stream name", "ret=2050"),
    ] {
        for (publish, told) in
            [(true, "NetStream.Publish.BadName"), (false, "NetStream.Play.Failed")]
        {
            let mut peer = Peer::connected(server.address);
            if publish {
                peer.publish(name)
            } else {
                peer.play(name)
            }
            let (code_told, text_told) = peer.status_and_text();
            assert_eq!((&*code_told, &*text_told), (told, text), "{name:?}");
            peer.expect_close(SOON);
            server.logged(&["[warn]", "client refused", text, code]);
        }
    }
    control.finish();
}

#[test]
fn page_and_swf_urls_are_bounded_too() {
    let server = Server::plain();
    let connect = |key: &str, len: usize| {
        let mut peer = Peer::shaken(server.address);
        peer.command(0, |w| {
            w.string("connect").number(1.0).object().key("tcUrl").string("rtmp://127.0.0.1/live");
            w.key(key).string(&"u".repeat(len)).end();
        });
        peer
    };
    for key in ["pageUrl", "swfUrl"] {
        assert_eq!(connect(key, URL_MAX).reply().0, "_result");
        let mut peer = connect(key, URL_MAX + 1);
        let text = format!("{key} is longer than 2048 bytes");
        let (name, _, told) = peer.reply();
        assert_eq!((&*name, &told), ("_error", &text));
        peer.expect_close(SOON);
        server.logged(&["[warn]", &text, &format!("before byte {}. ret=2005", peer.sent)]);
    }
}

#[test]
fn who_is_refused_and_goes_on_sending_is_cut_off() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let mut many = Peer::connected(server.address);
    let mut slow = Peer::connected(server.address);
    let start = Instant::now();
    for peer in [&mut many, &mut slow] {
        peer.publish("control");
        assert_eq!(peer.status(), "NetStream.Publish.BadName");
    }
    let frames = vec![0x55; 1 << 20];
    let cut = |peer: &mut Peer, bytes: &[u8]| {
        while std::io::Write::write_all(&mut peer.sock, bytes).is_ok() {
            assert!(start.elapsed() < Duration::from_secs(4), "it is still there");
            thread::sleep(Duration::from_millis(20));
        }
    };
    cut(&mut many, &frames);
    assert!(start.elapsed() < Duration::from_secs(1), "256 kB are listened to, no more");
    cut(&mut slow, &[7]);
    control.finish();
}

#[test]
fn a_vhost_that_is_not_there_is_refused() {
    let server = Server::start("vhost one.example {\n}\n");
    for publish in [true, false] {
        let mut peer = Peer::connected_to(server.address, "rtmp://other.example/live");
        if publish {
            peer.publish("s")
        } else {
            peer.play("s")
        }
        let (code, text) = peer.status_and_text();
        assert!(code == "NetStream.Publish.BadName" || code == "NetStream.Play.Failed", "{code}");
        assert_eq!(text, "no vhost is called other.example");
        peer.expect_close(SOON);
        server.logged(&["client refused, no vhost is called other.example. ret=2014"]);
    }
    let mut peer = Peer::connected_to(server.address, "rtmp://one.example/live");
    peer.play("s");
    peer.await_play();
}

#[test]
fn a_second_publisher_is_refused_and_the_first_notices_nothing() {
    let server = Server::plain();
    let control = Control::start(server.address);
    for _ in 0..20 {
        let mut peer = Peer::connected(server.address);
        peer.publish("control");
        let (code, text) = peer.status_and_text();
        assert_eq!(code, "NetStream.Publish.BadName");
        assert!(text.starts_with("stream is busy, published by 1"), "{text}");
        peer.expect_close(SOON);
    }
    server.logged_times(&["client refused, stream is busy", "ret=1028"], 20);
    control.finish();
}

#[test]
fn with_takeover_the_new_publisher_goes_on_where_the_old_one_is_told_to_go() {
    let server = Server::start("vhost __defaultVhost__ {\n publish { takeover on; }\n}\n");
    let control = Control::start(server.address);
    let mut player = Peer::player(server.address, "s");
    let mut old = Peer::publisher(server.address, "s");
    old.headers();
    old.message(VIDEO, 1, 0, &media::video(true, 1, 100));
    let number = |payload: &[u8]| match media::read(payload) {
        media::Frame::Video { number, .. } => Some(number),
        _ => None,
    };
    let next = |player: &mut Peer| {
        std::iter::from_fn(|| player.next_media(SOON)).find_map(|(_, _, p)| number(&p))
    };
    assert_eq!(next(&mut player), Some(1));
    let mut new = Peer::publisher(server.address, "s");
    let (code, text) = old.status_and_text();
    assert_eq!(code, "NetStream.Publish.Failed");
    assert_eq!(text, "another publisher took the stream over");
    old.expect_close(SOON);
    old.message(VIDEO, 1, 40, &media::video(true, 2, 100));
    new.headers();
    new.message(VIDEO, 1, 0, &media::video(true, 3, 100));
    assert_eq!(next(&mut player), Some(3), "the player stayed, and saw nothing of the old one");
    server.logged(&["[warn]", "take over the stream from 1"]);
    server.logged(&["[warn]", "another publisher took the stream over. ret=9001"]);
    control.finish();
}

/// A call whose message has `len` bytes.
fn call(peer: &mut Peer, len: usize) {
    let mut payload = Vec::new();
    Writer(&mut payload).string("what").number(5.0);
    let filler = "f".repeat(len - payload.len() - 3);
    Writer(&mut payload).string(&filler);
    assert_eq!(payload.len(), len);
    peer.message(COMMAND, 0, 0, &payload);
}

#[test]
fn a_command_has_control_max_bytes_and_no_more() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let mut peer = Peer::connected(server.address);
    assert_eq!(peer.reply().0, "onBWDone");
    call(&mut peer, CONTROL_MAX);
    assert_eq!(peer.reply().0, "_result");
    let at = peer.sent;
    call(&mut peer, CONTROL_MAX + 1);
    peer.expect_close(SOON);
    let text = format!("a message of 4097 bytes on chunk stream 3 at byte {at}, 4096 are allowed");
    server.logged(&["[warn]", &text, "ret=2002"]);
    // Media before publish is bounded by the same number, and ignored.
    let mut peer = Peer::connected(server.address);
    peer.message(VIDEO, 1, 0, &vec![0x27; CONTROL_MAX]);
    call(&mut peer, 100);
    assert_eq!(peer.reply().0, "onBWDone");
    assert_eq!(peer.reply().0, "_result");
    peer.message(VIDEO, 1, 0, &vec![0x27; CONTROL_MAX + 1]);
    peer.expect_close(SOON);
    server.logged(&["a message of 4097 bytes on chunk stream 6", "4096 are allowed. ret=2002"]);
    control.finish();
}

#[test]
fn a_frame_has_message_max_bytes_and_no_more() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let mut player = Peer::player(server.address, "large");
    let mut peer = Peer::publisher(server.address, "large");
    peer.headers();
    let frame = media::video(true, 1, MESSAGE_MAX);
    peer.message(VIDEO, 1, 0, &frame);
    let largest = std::iter::from_fn(|| player.next_media(SOON)).find(|(_, _, p)| p.len() > 100);
    assert!(largest.is_some_and(|(_, _, p)| p == frame), "the longest frame arrives unchanged");
    let at = peer.sent;
    peer.message(VIDEO, 1, 40, &media::video(false, 2, MESSAGE_MAX + 1));
    let (code, _) = peer.status_and_text();
    assert_eq!(code, "NetStream.Publish.Failed");
    peer.expect_close(SOON);
    server.logged(&[
        "[warn]",
        &format!("a message of 2097153 bytes on chunk stream 6 at byte {at}, 2097152 are allowed"),
        "ret=2002",
    ]);
    control.finish();
}

#[test]
fn metadata_and_sequence_headers_have_header_max_bytes_and_no_more() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let mut peer = Peer::publisher(server.address, "headers");
    peer.headers();
    let mut header = media::video_header();
    header.resize(HEADER_MAX, 0);
    peer.message(VIDEO, 1, 0, &header);
    peer.message(VIDEO, 1, 0, &media::video(true, 1, 100));
    let mut player = Peer::player(server.address, "headers");
    assert!(
        std::iter::from_fn(|| player.next_media(SOON)).any(|(_, _, p)| p == header),
        "the longest header arrives"
    );
    let metadata = |len: usize| {
        let mut payload = Vec::new();
        Writer(&mut payload).string("onMetaData").object().key("a").string(&"m".repeat(len)).end();
        payload
    };
    peer.message(DATA, 1, 0, &metadata(HEADER_MAX - 1000));
    server.logged(&["got metadata"]);
    peer.message(DATA, 1, 0, &metadata(HEADER_MAX));
    server.logged(&["[warn]", "ignore metadata of /live/headers", "16384 are allowed"]);
    header.push(0);
    peer.message(VIDEO, 1, 40, &header);
    let (code, text) = peer.status_and_text();
    assert_eq!(code, "NetStream.Publish.Failed");
    assert_eq!(text, "Video sequence header of 16385 bytes, 16384 are allowed");
    peer.expect_close(SOON);
    server.logged(&["[warn]", &text, "ret=3001"]);
    control.finish();
}

#[test]
fn a_connection_has_sixteen_chunk_streams_and_no_more() {
    let server = Server::plain();
    let control = Control::start(server.address);
    // 2 and 3 are in use by the control messages and commands of the peer.
    let mut peer = Peer::publisher(server.address, "chunks");
    let last = 3 + CHUNK_STREAMS as u8 - 2;
    for csid in 4..=last {
        let mut out = Vec::new();
        write_message(&mut out, CHUNK, csid, AUDIO, 1, 0, &media::audio(0, 50));
        peer.raw(&out);
    }
    assert!(peer.stays(MOMENT), "sixteen are allowed");
    let at = peer.sent;
    let mut out = Vec::new();
    write_message(&mut out, CHUNK, last + 1, AUDIO, 1, 0, &media::audio(0, 50));
    peer.raw(&out);
    peer.expect_close(SOON);
    let over = last + 1;
    server.logged(&[
        "[warn]",
        &format!("chunk stream {over} at byte {at} is one more than the 16 allowed. ret=2001"),
    ]);
    control.finish();
}

#[test]
fn the_smallest_chunk_size_works_for_media() {
    let server = Server::plain();
    let mut player = Peer::player(server.address, "small");
    let mut peer = Peer::publisher(server.address, "small");
    peer.announce_chunks(CHUNK_SIZE_MIN as u32);
    peer.headers();
    let frame = media::video(true, 1, 300_000);
    peer.message(VIDEO, 1, 0, &frame);
    let got = std::iter::from_fn(|| player.next_media(SOON)).find(|(_, _, p)| p.len() > 1000);
    assert!(got.is_some_and(|(_, _, p)| p == frame));
    peer.message(SET_CHUNK_SIZE, 0, 0, &(CHUNK_SIZE_MIN as u32 - 1).to_be_bytes());
    peer.expect_close(SOON);
    server.logged(&["chunk size 127 at byte", "is not 128 to 2147483647. ret=2010"]);
}

#[test]
fn a_connect_has_bounded_values_and_depth() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let connect = |values: usize, depth: usize| {
        let mut peer = Peer::shaken(server.address);
        peer.command(0, |w| {
            w.string("connect").number(1.0).object();
            w.key("tcUrl").string("rtmp://127.0.0.1/live");
            // The object and tcUrl are two.
            for i in 2..values {
                w.key(format!("k{i}")).null();
            }
            if depth > 1 {
                w.key("deep");
                (1..depth - 1).for_each(|_| _ = w.object().key("d"));
                w.object();
                (1..depth).for_each(|_| _ = w.end());
            }
            w.end();
        });
        peer
    };
    for (values, depth) in [(AMF_VALUES, 1), (2, AMF_DEPTH)] {
        assert_eq!(connect(values, depth).reply().0, "_result", "{values} {depth}");
    }
    for (values, depth, text) in [
        (AMF_VALUES + 1, 1, "AMF0 with more than 256 values"),
        (2, AMF_DEPTH + 1, "AMF0 nested deeper than 8"),
    ] {
        let mut peer = connect(values, depth);
        let (name, _, told) = peer.reply();
        assert_eq!((&*name, &*told), ("_error", text));
        peer.expect_close(SOON);
        server.logged(&["[warn]", &format!("{text}, before byte {}. ret=2003", peer.sent)]);
    }
    control.finish();
}

/// Ping requests, each of which is answered with as many bytes.
fn pings(count: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for i in 0..count as u32 {
        let [a, b, c, d] = i.to_be_bytes();
        write_message(&mut out, CHUNK, 2, USER_CONTROL, 0, 0, &[0, 6, a, b, c, d]);
    }
    out
}

#[test]
fn answers_that_nobody_reads_are_bounded() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let before = server.rss();
    let most = CONTROL_OUT_MAX / pings(1).len();
    let mut peer = Peer::connected(server.address);
    peer.raw(&pings(most));
    assert!(peer.stays(MOMENT), "so much is allowed at once");
    // These are not read, and come until the kernel's buffers are full too.
    let mut idle = Peer::connected(server.address);
    let mut publisher = Peer::publisher(server.address, "pings");
    let mut player = Peer::player(server.address, "control");
    for peer in [&mut idle, &mut publisher, &mut player] {
        let many = pings(3000);
        let end = Instant::now() + SOON;
        while Instant::now() < end && std::io::Write::write_all(&mut peer.sock, &many).is_ok() {}
        peer.expect_close(SOON);
    }
    let text = "the peer does not read its answers, before byte";
    server.logged_times(&["[warn]", text, "ret=1009"], 3);
    server.settles(before + KEPT);
    control.finish();
}

#[test]
fn messages_begun_on_all_chunk_streams_cost_what_was_sent_of_them() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let before = server.rss();
    let begun = |peer: &mut Peer, csid: u8, len: u32, sent: usize| {
        let [_, a, b, c] = len.to_be_bytes();
        peer.raw(&[csid, 0, 0, 0, a, b, c, VIDEO, 1, 0, 0, 0]);
        peer.raw(&vec![0x27; sent]);
    };
    // Before publish: 16 messages of 4096 bytes, all but one chunk of each.
    let mut peers: Vec<_> = (0..20).map(|_| Peer::shaken(server.address)).collect();
    for peer in &mut peers {
        (4..20).for_each(|csid| begun(peer, csid, CONTROL_MAX as u32, 128));
    }
    assert!(peers.iter_mut().all(|peer| peer.stays(Duration::from_millis(10))));
    let grown = server.rss().saturating_sub(before);
    assert!(grown < 20 * 16 * 5 + KEPT, "{grown} kB for 1.25 MB of buffers");
    // A publisher: 16 frames of the longest kind do not fit its share, but eleven do, and cost
    // no more than what was sent of them.
    let mut peer = Peer::publisher(server.address, "begun");
    (4..15).for_each(|csid| begun(&mut peer, csid, MESSAGE_MAX as u32, CHUNK));
    assert!(peer.stays(MOMENT));
    let grown = server.rss().saturating_sub(before);
    assert!(grown < 20 * 16 * 5 + 11 * CHUNK / 1024 + KEPT, "{grown} kB");
    (15..18).for_each(|csid| begun(&mut peer, csid, MESSAGE_MAX as u32, CHUNK));
    let (code, text) = peer.status_and_text();
    assert_eq!(code, "NetStream.Publish.Failed");
    assert!(
        text.starts_with("no memory for a message of 2097152 bytes on chunk stream 1"),
        "{text}"
    );
    peer.expect_close(SOON);
    server.logged(&["[warn]", "no memory for a message of 2097152 bytes", "ret=1022"]);
    drop(peers);
    server.settles(before + KEPT);
    control.finish();
}

#[test]
fn a_gop_without_end_stays_inside_the_ring() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let mut peer = Peer::publisher(server.address, "long");
    peer.headers();
    let before = server.rss();
    // By bytes: one key frame, then 40 MB; nobody plays.
    peer.message(VIDEO, 1, 0, &media::video(true, 0, 10_000));
    let frame = media::video(false, 1, 40_000);
    for i in 0..1000 {
        peer.message(VIDEO, 1, i, &frame);
    }
    peer.sync();
    let grown = server.rss().saturating_sub(before) * 1024;
    let share = limits::RING_BYTES + 4 * MESSAGE_MAX;
    assert!(grown < share, "{grown} bytes, {share} are allowed");
    // By packets: 20,000 small ones.
    peer.message(VIDEO, 1, 1000, &media::video(true, 0, 100));
    let mut out = Vec::new();
    for i in 0..20_000 {
        write_message(&mut out, CHUNK, 6, VIDEO, 1, 1000 + i, &media::video(false, i, 100));
    }
    peer.raw(&out);
    peer.sync();
    // The key frame is gone: who joins now waits for the next one.
    let mut player = Peer::player(server.address, "long");
    assert!(player.next_media(MOMENT).is_none());
    peer.message(VIDEO, 1, 22_000, &media::video(true, 7, 100));
    let first = std::iter::from_fn(|| player.next_media(SOON)).find_map(|(_, _, p)| {
        let frame = media::read(&p);
        (frame != media::Frame::Header).then_some(frame)
    });
    assert_eq!(first, Some(media::Frame::Video { key: true, number: 7 }));
    drop((peer, player));
    server.settles(before + 2 * KEPT);
    control.finish();
}

#[test]
fn one_connection_more_than_allowed_is_closed_and_logged_once() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let mut peers = Vec::new();
    let mut last = Peer::open(server.address);
    while last.is_there() && peers.len() < 600 {
        peers.push(last);
        last = Peer::open(server.address);
        last.raw(&[3; 1537]);
        thread::sleep(Duration::from_millis(2));
    }
    assert!((490..=505).contains(&peers.len()), "{}", peers.len());
    for _ in 0..10 {
        Peer::open(server.address).expect_close(SOON);
    }
    let parts = ["[error]", "exceed the max connections, drop client ip=127.0.0.1, max=500"];
    server.logged_times(&parts, 1);
    drop(peers);
    thread::sleep(MOMENT);
    Peer::connected(server.address);
    control.finish();
}
