//! Live streams over HTTP: what players of others make of them, and how they begin and end.

#![cfg(feature = "remux")]

mod common;

use common::client::Peer;
use common::http::{Http, REMUX, get, server, server_with};
use common::media::{
    Contents, demo, flv_packets, headers, make, publish_live, publish_with, sample,
};
use common::{SOON, Server, eventually, free_port, run, tool};
use runnel::media::{Kind, Packet};
use std::io::Write as _;
use std::time::Duration;

fn publisher(server: &Server, stream: &str) -> Peer {
    let mut publisher = Peer::publish(server, stream);
    for header in headers(&demo()) {
        publisher.send(&header);
    }
    publisher
}

fn codecs(url: &str) -> Option<String> {
    let ffprobe = tool("ffprobe")?;
    let args = ["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", url];
    let mut names: Vec<_> = run(&ffprobe, args).split_whitespace().map(str::to_owned).collect();
    names.sort();
    names.dedup();
    Some(names.join(" "))
}

#[test]
fn programs_of_others_play_every_format() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let (server, http) = server(REMUX);
    let file = sample(&ffmpeg);
    let url = server.url("s");
    let _publisher = publish_live(&ffmpeg, &file, &url);
    server.line("start publish");
    for (format, want) in [("flv", "aac h264"), ("ts", "aac h264"), ("aac", "aac")] {
        let url = format!("http://127.0.0.1:{http}/live/s.{format}");
        assert_eq!(codecs(&url).as_deref(), Some(want), "{format}");
    }
    let (head, _) = get(http, "/live/s.mp3", "");
    assert_eq!(head.status, 404, "the sound is AAC");
}

#[test]
fn flv_over_http_is_what_was_published() {
    let (server, http) = server(REMUX);
    let packets = demo();
    let mut publisher = publisher(&server, "s");
    let mut player = Http::connect(http);
    let head = player.ask("/live/s.flv", "");
    assert_eq!(head.get("Content-Type"), Some("video/x-flv"));
    assert_eq!(head.get("Access-Control-Allow-Origin"), Some("*"));
    let media: Vec<&Packet> =
        packets.iter().filter(|p| p.kind != Kind::Data && !p.header).collect();
    media.iter().for_each(|packet| publisher.send(packet));
    publisher.flush();
    server.line("start publish");
    std::thread::sleep(Duration::from_millis(1000));
    drop(publisher);
    // The end of the stream is the end of the answer.
    let body = player.body(&head);
    assert!(player.is_closed_within(SOON));
    let got = flv_packets(&body);
    let got: Vec<&Packet> = got.iter().filter(|p| p.kind != Kind::Data && !p.header).collect();
    assert_eq!(got.len(), media.len());
    assert!(got.iter().zip(&media).all(|(got, sent)| got.payload == sent.payload));
}

#[test]
fn a_transport_stream_over_http_has_every_frame() {
    let (Some(ffmpeg), Some(_)) = (tool("ffmpeg"), tool("ffprobe")) else { return };
    let (server, http) = server(REMUX);
    let file = sample(&ffmpeg);
    let mut player = Http::connect(http);
    let head = player.ask("/live/s.ts", "");
    publish_with(&ffmpeg, "-re", &file, "-c copy", &server.url("s")).finish();
    assert_eq!(head.get("Content-Type"), Some("video/MP2T"));
    let body = player.body(&head);
    assert_eq!(body.len() % 188, 0);
    assert!(body.chunks(188).all(|packet| packet[0] == 0x47));
    let path = server.dir.join("got.ts");
    std::fs::write(&path, body).unwrap();
    let got = Contents::of(&ffmpeg, &path);
    got.assert_monotonic();
    assert_eq!(got.count(), Contents::of(&ffmpeg, &file).count());
}

#[test]
fn mp3_begins_with_a_tag_and_ends_with_the_stream() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let args = "-f lavfi -i sine=f=440:r=44100 -t 4 -c:a libmp3lame -f flv";
    let file = make(&ffmpeg, "sound-mp3.flv", args);
    let (server, http) = server(REMUX);
    let mut player = Http::connect(http);
    let head = player.ask("/live/s.mp3", "");
    publish_with(&ffmpeg, "-re", &file, "-c copy", &server.url("s")).finish();
    let body = player.body(&head);
    assert_eq!(head.get("Content-Type"), Some("audio/mpeg"));
    assert!(body.starts_with(b"ID3\x03\0\0\0\0\0\x0a"));
    assert_eq!(body[20..22], [0xff, 0xfb]);
    assert!(body.len() > 8000);
}

#[test]
fn players_may_come_before_the_stream() {
    let (server, http) = server(REMUX);
    let mut flv = Http::connect(http);
    let mut ts = Http::connect(http);
    let head = flv.ask("/live/s.flv", "");
    assert_eq!((head.status, ts.ask("/live/s.ts", "").status), (200, 200));
    assert_eq!(flv.chunk().unwrap().len(), 13, "the file header comes at once");
    let mut publisher = publisher(&server, "s");
    for packet in demo().iter().filter(|p| p.kind != Kind::Data && !p.header).take(100) {
        publisher.send(packet);
    }
    assert!(flv.chunks(10_000).len() >= 10_000);
    assert_eq!(ts.chunks(10_000)[0], 0x47);
}

#[test]
fn without_hstrs_a_stream_must_be_there() {
    let (server, http) = server("http_remux { enabled on; hstrs off; }");
    assert_eq!(get(http, "/live/s.flv", "").0.status, 404);
    let _publisher = publisher(&server, "s");
    server.line("start publish");
    let mut player = Http::connect(http);
    assert_eq!(player.ask("/live/s.flv", "").status, 200);
    assert_eq!(get(http, "/live/s.ts", "").0.status, 404, "not mounted");
}

#[test]
fn another_form_is_made_while_somebody_plays_it() {
    let (server, http) = server(REMUX);
    let mut publisher = publisher(&server, "s");
    let packets = demo();
    let mut media = packets.iter().filter(|p| p.kind != Kind::Data && !p.header).cycle();
    let mut players: Vec<Http> = (0..3).map(|_| Http::connect(http)).collect();
    for player in &mut players {
        player.ask("/live/s.ts", "");
    }
    for _ in 0..100 {
        publisher.send(media.next().unwrap());
    }
    for player in &mut players {
        player.chunks(5000);
    }
    assert_eq!(server.count("(ts) is made"), 1);
    drop(players);
    server.line_number("http: stop play", 3);
    publisher.send(media.next().unwrap());
    // It starts at a key frame, with tables, though the player came in the middle.
    std::thread::sleep(Duration::from_millis(800));
    let mut late = Http::connect(http);
    late.ask("/live/s.ts", "");
    let first = late.chunk().unwrap();
    assert_eq!(first[..4], [0x47, 0x40, 0x00, 0x10], "a program association table");
    server.line_number("(ts) is made", 2);
}

#[test]
fn the_fast_cache_gives_sound_at_once() {
    let (server, http) =
        server("http_remux { enabled on; fast_cache 10; mount [vhost]/[app]/[stream].aac; }");
    let mut publisher = publisher(&server, "s");
    let packets = demo();
    let mut frames = 0;
    for packet in packets.iter().filter(|p| p.kind == Kind::Audio && !p.header) {
        publisher.send(packet);
        frames += 1;
    }
    server.line("(aac) is made");
    std::thread::sleep(Duration::from_millis(1000));
    let mut player = Http::connect(http);
    player.ask("/live/s.aac", "");
    let mut got = 0;
    while got < frames {
        let chunk = player.chunk().unwrap();
        assert_eq!(chunk[..2], [0xff, 0xf1]);
        got += 1;
    }
}

#[test]
fn hosts_have_streams_of_their_own() {
    let vhosts = format!("vhost a.com {{ {REMUX} }} vhost __defaultVhost__ {{ {REMUX} }}");
    let (server, http) = server_with(&vhosts, "");
    let mut publisher = Peer::with(
        &server,
        runnel::proto::rtmp::client::Config::new(
            format!("{}?vhost=a.com", server.tc_url()),
            "live",
            common::client::publish("s"),
        ),
    );
    publisher.started();
    for header in headers(&demo()) {
        publisher.send(&header);
    }
    let ask = |host: &str| {
        let mut http = Http::connect(http);
        http.send(format!("GET /live/s.flv HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(http.head().unwrap().status, 200);
        http.socket.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
        http
    };
    assert!(ask("a.com:8080").chunks(50).len() >= 50);
    let mut other = ask("b.com");
    assert_eq!(other.chunk().unwrap().len(), 13);
    server.line("start play a.com/live/s as flv");
    server.line("start play /live/s as flv");
}

#[test]
fn rules_for_players_hold_over_http() {
    let (_server, http) = server(&format!(
        "{REMUX} security {{ enabled on; deny play 127.0.0.1; allow publish all; }}"
    ));
    assert_eq!(get(http, "/live/s.flv", "").0.status, 403);
    let (_server, http) = server(&format!("{REMUX} refer {{ enabled on; play good.com; }}"));
    assert_eq!(get(http, "/live/s.flv", "Referer: http://bad.com/x\r\n").0.status, 403);
    let mut player = Http::connect(http);
    assert_eq!(player.ask("/live/s.flv", "Referer: http://www.good.com/x\r\n").status, 200);
}

#[test]
fn old_clients_get_the_stream_without_chunks() {
    let (server, http) = server(REMUX);
    let mut publisher = publisher(&server, "s");
    let mut player = Http::connect(http);
    player.send("GET /live/s.flv HTTP/1.0\r\n\r\n");
    let head = player.head().unwrap();
    assert_eq!((head.get("Transfer-Encoding"), head.get("Connection")), (None, Some("close")));
    for packet in demo().iter().filter(|p| !p.header).take(50) {
        publisher.send(packet);
    }
    server.line("http: start play");
    std::thread::sleep(Duration::from_millis(800));
    drop(publisher);
    let body = player.body(&head);
    assert!(flv_packets(&body).len() >= 50);
}

#[test]
fn a_head_request_is_answered_without_a_stream() {
    let (_server, http) = server(REMUX);
    let mut player = Http::connect(http);
    player.send("HEAD /live/s.flv HTTP/1.1\r\n\r\n");
    assert_eq!(player.head().unwrap().status, 200);
    assert!(player.is_closed_within(SOON));
}

#[test]
fn players_over_http_count_as_connections() {
    let http = free_port();
    let port = free_port();
    let server = Server::with_file(
        port,
        &format!(
            "listen 127.0.0.1:{port}; daemon off; srs_log_tank console; max_connections 2;
             http_server {{ enabled on; listen 127.0.0.1:{http}; }}
             vhost __defaultVhost__ {{ {REMUX} }}"
        ),
    );
    let mut players: Vec<Http> = (0..2).map(|_| Http::connect(http)).collect();
    for player in &mut players {
        assert_eq!(player.ask("/live/s.flv", "").status, 200);
    }
    assert!(Http::connect(http).is_closed_within(SOON));
    drop(players);
    eventually("a place is free again", SOON, || {
        let mut http = Http::connect(http);
        // It may be closed already.
        let _ = http.socket.write_all(b"GET /none HTTP/1.1\r\n\r\n");
        http.head().is_some()
    });
    server.line("exceed the max connections");
}

#[test]
#[cfg(feature = "demo")]
fn without_a_file_all_streams_are_there() {
    let http = free_port();
    let server = Server::without_file(&["--demo", "--http-port", &http.to_string()]);
    server.line("test stream is published");
    for format in ["flv", "ts", "aac"] {
        let mut player = Http::connect(http);
        player.ask(&format!("/live/demo.{format}"), "");
        assert!(player.chunks(2000).len() >= 2000, "{format}");
    }
    // The port is taken: a second server goes on without it.
    let second = Server::without_file(&["--http-port", &http.to_string()]);
    second.line("no HTTP");
}

#[test]
fn a_stream_of_sound_alone_says_so_in_its_file_header() {
    let (server, http) = server(REMUX);
    let mut publisher = Peer::publish(&server, "s");
    let start = std::time::Instant::now();
    for packet in demo().iter().filter(|p| p.kind == Kind::Audio).take(80) {
        publisher.send(packet);
        std::thread::sleep(Duration::from_millis(45));
    }
    assert!(start.elapsed() > Duration::from_secs(3));
    let mut player = Http::connect(http);
    player.ask("/live/s.flv", "");
    assert_eq!(player.chunk().unwrap()[..5], *b"FLV\x01\x04");
}

#[test]
fn players_stay_when_another_publisher_takes_over() {
    let (server, http) = server(&format!("{REMUX} publish {{ takeover on; }} min_latency on;"));
    let packets = demo();
    let media: Vec<_> = packets.iter().filter(|p| p.kind != Kind::Data && !p.header).collect();
    let mut first = publisher(&server, "s");
    let mut players = ["flv", "ts"].map(|format| {
        let mut player = Http::connect(http);
        assert_eq!(player.ask(&format!("/live/s.{format}"), "").status, 200);
        player
    });
    media.iter().take(100).for_each(|packet| first.send(packet));
    players.iter_mut().for_each(|player| drop(player.chunks(10_000)));
    let mut second = publisher(&server, "s");
    assert!(first.is_closed_within(SOON));
    for packet in media.iter().take(300) {
        second.send(packet);
    }
    // More than was sent before.
    players.iter_mut().for_each(|player| drop(player.chunks(60_000)));
}

#[test]
fn rules_hold_for_the_client_behind_a_proxy() {
    let security =
        "security { enabled on; allow publish all; allow play all; deny play 203.0.113.7; }";
    let (server, http) = server(&format!("{REMUX} {security}"));
    let _publisher = publisher(&server, "s");
    for (lines, want) in [
        ("", 200),
        ("X-Forwarded-For: 198.51.100.1\r\n", 200),
        ("X-Forwarded-For: 203.0.113.7\r\n", 403),
        // What the client itself says counts for nothing.
        ("X-Forwarded-For: 198.51.100.1, 203.0.113.7\r\n", 403),
        ("X-Real-IP: 203.0.113.7\r\n", 403),
    ] {
        let head = Http::connect(http).ask("/live/s.flv", lines);
        assert_eq!(head.status, want, "{lines}");
    }
    server.line("start play /live/s as flv, ip=198.51.100.1");
    server.line("denied by security, ip=203.0.113.7");
}

#[test]
fn each_stream_of_a_vhost_has_its_own_url() {
    let (server, http) = server(REMUX);
    let sound = |number: u8| Packet::new(Kind::Audio, 0, vec![0xaf, 1, number].into());
    let mut publishers = ["s", "t"].map(|stream| publisher(&server, stream));
    let mut players = ["s", "t"].map(|stream| {
        let mut player = Http::connect(http);
        assert_eq!(player.ask(&format!("/live/{stream}.flv"), "").status, 200);
        player
    });
    for (publisher, number) in publishers.iter_mut().zip([7, 8]) {
        publisher.send(&sound(number));
    }
    drop(publishers);
    for (player, number) in players.iter_mut().zip([7, 8]) {
        let mut file = Vec::new();
        while let Some(chunk) = player.chunk().filter(|chunk| !chunk.is_empty()) {
            file.extend(chunk);
        }
        let packets = flv_packets(&file);
        assert_eq!(packets.last().unwrap().payload, sound(number).payload, "{number}");
        let others = sound(15 - number).payload;
        assert!(packets.iter().all(|packet| packet.payload != others), "{number}");
    }
}

/// A frame of MP3: 128 kbit/s, 44.1 kHz, 26 ms.
fn mp3_frame(dts: u32) -> Packet {
    let mut payload = vec![0x2f, 0xff, 0xfb, 0x90, 0x00];
    payload.resize(1 + MP3_FRAME, 0);
    Packet::new(Kind::Audio, dts, payload.into())
}

const MP3_FRAME: usize = 417;

#[test]
fn half_a_minute_of_sound_comes_at_once() {
    let (server, http) =
        server("http_remux { enabled on; fast_cache 30; mount [vhost]/[app]/[stream].mp3; }");
    let mut publisher = Peer::publish(&server, "s");
    for n in 0..50_000 / 26 {
        publisher.send(&mp3_frame(n * 26));
    }
    server.line("(mp3) is made");
    std::thread::sleep(Duration::from_millis(1000));
    let mut player = Http::connect(http);
    assert_eq!(player.ask("/live/s.mp3", "").status, 200);
    let frames = 30_000 / 26;
    let at_once = player.chunks(frames * MP3_FRAME).len() / MP3_FRAME;
    assert!(at_once >= frames, "{at_once} of {frames}");
    player.socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut rest = 0;
    while let Ok(n @ 1..) = std::io::Read::read(&mut player.socket, &mut [0; 65536]) {
        rest += n;
    }
    assert!(rest < 2000 / 26 * MP3_FRAME, "{rest} bytes more than half a minute");
}
