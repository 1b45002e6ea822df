//! Hooks, with a hook server in a process of its own that answers well and badly.

#![cfg(feature = "hooks")]

mod common;

use common::client::{Peer, play, publish};
use common::media::{self, bodies};
use common::{Running, SOON, Server, TempDir, eventually, free_port, spawn, start, tool};
use runnel::media::{Kind, Packet};
use runnel::proto::rtmp::client::{Config, Event};
use rustix::process::Signal;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The events that a client may cause.
const CLIENT: &[&str] =
    &["on_connect", "on_close", "on_publish", "on_unpublish", "on_play", "on_stop"];

/// A hook server.
struct Receiver {
    running: Running,
    port: u16,
}

impl Receiver {
    fn start() -> Option<Self> {
        let python = tool("python3")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hooks/receiver.py");
        let port = free_port();
        let running = start(Command::new(python).arg("-u").arg(script).arg(port.to_string()));
        running.out.wait("listens at", 1, SOON).expect("it listens");
        Some(Self { running, port })
    }

    /// `http_hooks` with `path` for each of `names`.
    fn hooks(&self, names: &[&str], path: &str, more: &str) -> String {
        let url = format!("http://127.0.0.1:{}/{path}", self.port);
        let lines: String = names.iter().map(|name| format!("{name} {url}; ")).collect();
        format!("http_hooks {{ enabled on; {lines} {more} }}")
    }

    /// What it was asked.
    fn asked(&self) -> Vec<String> {
        self.running.out.all().split_off(1)
    }

    /// The events that it was told.
    fn actions(&self) -> Vec<String> {
        self.asked().iter().map(|line| field(line, "action")).collect()
    }

    /// Waits for exactly these events; nothing may follow.
    fn expect(&self, actions: &[&str]) -> Vec<String> {
        eventually("all events come", SOON, || self.asked().len() >= actions.len());
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(self.actions(), actions);
        self.asked()
    }
}

/// A member of the JSON in a line, as it is written, without quotes.
fn field(line: &str, name: &str) -> String {
    let Some((_, rest)) = line.split_once(&format!("\"{name}\":")) else { return String::new() };
    match rest.strip_prefix('"') {
        Some(text) => text.split('"').next().unwrap().to_owned(),
        None => rest.split([',', '}']).next().unwrap().to_owned(),
    }
}

/// The names of the members in a line.
fn members(line: &str) -> String {
    let body = line.splitn(4, '|').last().unwrap();
    let names = body.split("\":").filter_map(|part| Some(part.rsplit_once('"')?.1));
    let mut names: Vec<_> = names.collect();
    names.pop_if(|last| last.ends_with('}'));
    names.join(" ")
}

/// A client at a vhost.
fn at(server: &Server, vhost: &str, role: runnel::proto::rtmp::client::Role) -> Peer {
    let tc_url = format!("rtmp://{vhost}:{}/live", server.port);
    Peer::with(server, Config::new(tc_url, "live", role))
}

/// Whether the server lets a client do what it wants.
fn is_let_in(mut peer: Peer) -> bool {
    let event = peer.wait_for(|event| matches!(event, Event::Started | Event::Refused(_)));
    matches!(event, Some(Event::Started))
}

fn sound(number: u8) -> Packet {
    Packet::new(Kind::Audio, 0, vec![0xaf, 1, number].into())
}

#[test]
fn the_events_of_a_publisher_and_a_player_come_in_the_order_of_srs() {
    let (Some(ffmpeg), Some(rtmpdump)) = (tool("ffmpeg"), tool("rtmpdump")) else { return };
    let Some(receiver) = Receiver::start() else { return };
    let hooks = receiver.hooks(CLIENT, "api/v1/all?key=7", "");
    let server = Server::with(&format!("vhost __defaultVhost__ {{ {hooks} }}"));
    let sample = media::sample(&ffmpeg);
    let url = server.url("cam?token=\u{e9}\"x");
    let mut publisher = media::publish_live(&ffmpeg, &sample, &url);
    eventually("it publishes", SOON, || receiver.asked().len() == 2);
    server.line("start publish");
    let file = server.dir.join("out.flv");
    let page = ["-p", "http://page/a?b=\"c", "--live", "--stop", "1", "-o"];
    let mut player = spawn(
        &rtmpdump,
        ["-r", &server.url("cam")].iter().chain(&page).chain(&[file.to_str().unwrap()]),
    );
    player.wait(SOON);
    eventually("the player goes", SOON, || receiver.asked().len() == 6);
    publisher.stop();
    let asked = receiver.expect(&[
        "on_connect",
        "on_publish",
        "on_connect",
        "on_play",
        "on_stop",
        "on_close",
        "on_unpublish",
        "on_close",
    ]);
    let base = "action client_id ip vhost";
    let expected = [
        format!("{base} app tcUrl pageUrl"),
        format!("{base} app tcUrl stream param"),
        format!("{base} app tcUrl pageUrl"),
        format!("{base} app stream param pageUrl"),
        format!("{base} app stream param"),
        format!("{base} send_bytes recv_bytes app"),
        format!("{base} app stream param"),
        format!("{base} send_bytes recv_bytes app"),
    ];
    let got: Vec<_> = asked.iter().map(|line| members(line)).collect();
    assert_eq!(got, expected);
    for line in &asked {
        let agent = concat!("runnel/", env!("CARGO_PKG_VERSION"));
        let head = format!("POST /api/v1/all?key=7|application/json|{agent}|{{\"action\":");
        assert!(line.starts_with(&head), "{line}");
        assert_eq!(field(line, "ip"), "127.0.0.1");
        assert_eq!(field(line, "vhost"), "__defaultVhost__");
        assert_eq!(field(line, "app"), "live");
        assert_eq!(
            field(line, "client_id").parse::<u32>().unwrap().to_string(),
            field(line, "client_id")
        );
    }
    assert!(
        asked[1].contains("\"stream\":\"cam\",\"param\":\"?token=\u{e9}\\\"x\""),
        "{}",
        asked[1]
    );
    assert!(asked[2].ends_with("\"pageUrl\":\"http://page/a?b=\\\"c\"}"), "{}", asked[2]);
    let id = |n: usize| field(&asked[n], "client_id");
    assert_eq!((id(0), id(1)), (id(6), id(7)));
    assert_eq!([id(2), id(3), id(4)], [id(5), id(5), id(5)]);
    let bytes = |n: usize, name: &str| field(&asked[n], name).parse::<u64>().unwrap();
    assert!(bytes(5, "send_bytes") > 10_000 && bytes(5, "recv_bytes") < 10_000, "the player");
    assert!(bytes(7, "send_bytes") < 10_000 && bytes(7, "recv_bytes") > 10_000, "the publisher");
}

#[cfg(all(feature = "hls", feature = "dvr"))]
#[test]
fn the_sample_calls_two_urls_in_their_order() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let Some(receiver) = Receiver::start() else { return };
    let (port, http) = (free_port(), free_port());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/http.hooks.callback.conf");
    let text = fs::read_to_string(path).unwrap();
    let text = text.replace("listen 1935;", &format!("listen 127.0.0.1:{port};"));
    let text = text.replace("listen 8080;", &format!("listen 127.0.0.1:{http};"));
    // 26 seconds are published at once: there has to be a segment.
    let server = Server::with_file(port, &text.replace(":8085/", &format!(":{}/", receiver.port)));
    let args = format!("{} {} -t 26 {} {}", media::PICTURE, media::TONE, media::H264, media::AAC);
    let long = media::make(&ffmpeg, "long.flv", &args);
    media::publish(&ffmpeg, &long, &server.url("livestream?a=b"));
    let names = ["on_connect", "on_publish", "on_unpublish", "on_close", "on_dvr", "on_hls"];
    let all = |receiver: &Receiver, name: &str| -> Vec<String> {
        receiver.asked().into_iter().filter(|line| field(line, "action") == name).collect()
    };
    for name in names {
        eventually(name, SOON, || all(&receiver, name).len() >= 2);
    }
    for (name, path) in [
        ("on_connect", "clients"),
        ("on_publish", "streams"),
        ("on_dvr", "dvrs"),
        ("on_hls", "hls"),
    ] {
        eventually("both urls", SOON, || all(&receiver, name).len() % 2 == 0);
        let lines = all(&receiver, name);
        assert!(lines[0].starts_with(&format!("POST /api/v1/{path}|")), "{lines:?}");
        assert_eq!(lines[0], lines[1]);
    }
    // Segments that come at once are fetched at once.
    let get = "GET /api/v1/hls/live/livestream/livestream-0.ts?a=b|";
    eventually("notified", SOON, || receiver.asked().iter().any(|line| line.starts_with(get)));
}

#[test]
fn a_publisher_that_is_refused_never_hears_that_it_may_publish() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let Some(receiver) = Receiver::start() else { return };
    let hooks = receiver.hooks(CLIENT, "publishing", "");
    let server = Server::with(&format!("vhost __defaultVhost__ {{ {hooks} }}"));
    let sample = media::sample(&ffmpeg);
    let status =
        media::publish_with(&ffmpeg, "-re", &sample, "-c copy", &server.url("s")).wait(SOON);
    assert!(status.is_some_and(|status| !status.success()), "{status:?}");
    receiver.expect(&["on_connect", "on_publish", "on_close"]);
    server.line("on_publish was not allowed. ret=3008");
    let mut peer = Peer::new(&server, publish("s"));
    let event = peer.wait_for(|event| matches!(event, Event::Started | Event::Refused(_)));
    let Some(Event::Refused(status)) = event else { panic!("{event:?}") };
    assert_eq!(status.code, "NetStream.Publish.BadName");
    assert_eq!(status.description, "on_publish was not allowed", "the address is not told");
    assert_eq!(server.count("start publish"), 0);
}

#[test]
fn a_bad_answer_refuses_in_time_and_costs_no_memory() {
    let Some(receiver) = Receiver::start() else { return };
    // How the hook server answers, whether that is a yes, and the number in the log.
    let cases = [
        ("ok", true, 0),
        ("code", true, 0),
        ("201", true, 0),
        ("no", false, 3008),
        ("refuse", false, 3064),
        ("404", false, 4005),
        ("500", false, 4005),
        ("204", false, 4005),
        ("redirect", false, 4005),
        ("garbage", false, 3008),
        ("noise", false, 3008),
        ("huge", false, 3008),
        ("endless", false, 3008),
        ("cut", false, 3008),
        ("never", false, 1011),
        ("drip", false, 1011),
        ("down", false, 1018),
    ];
    let vhosts: String = cases
        .iter()
        .map(|(path, ..)| {
            let hooks = match *path {
                "down" => format!(
                    "http_hooks {{ enabled on; on_connect http://127.0.0.1:{}/; timeout 1; }}",
                    free_port()
                ),
                path => receiver.hooks(&["on_connect"], path, "timeout 1;"),
            };
            format!("vhost {path} {{ {hooks} }}\n")
        })
        .collect();
    let server = Server::with(&vhosts);
    let before = server.resident();
    for (path, yes, code) in cases {
        let start = Instant::now();
        assert_eq!(is_let_in(at(&server, path, publish("s"))), yes, "{path}");
        assert!(start.elapsed() < Duration::from_secs(3), "{path}: {:?}", start.elapsed());
        if !yes {
            // The address of the one that is down is not that of the receiver.
            let address =
                if path == "down" { "/, request=" } else { &format!("/{path}, request=") };
            eventually(&format!("{path}: ret={code}"), SOON, || {
                let found = |line: &String| {
                    line.contains(address) && line.ends_with(&format!("ret={code}"))
                };
                server.log.all().iter().any(found)
            });
        }
    }
    let more = server.resident().saturating_sub(before);
    assert!(more < 4000, "{more} KB more");
    // The server serves on.
    assert!(is_let_in(at(&server, "ok", publish("other"))));
}

#[test]
fn a_dead_hook_server_holds_up_its_own_clients_only() {
    let Some(receiver) = Receiver::start() else { return };
    let all = receiver.hooks(CLIENT, "never", "");
    let fine = receiver.hooks(CLIENT, "ok", "");
    let mut server = Server::with(&format!(
        "vhost dead {{ {all} }} vhost fine {{ min_latency on; {fine} }} vhost none {{ min_latency on; }}"
    ));
    let mut publisher = at(&server, "none", publish("s"));
    publisher.started();
    let mut player = at(&server, "none", play("s"));
    player.started();
    let waiting: Vec<_> = (0..30).map(|_| at(&server, "dead", play("s"))).collect();
    let mut waiting: Vec<_> = waiting
        .into_iter()
        .map(|mut peer| {
            peer.wait_for(|event| matches!(event, Event::Handshake(_)));
            peer
        })
        .collect();
    for peer in &mut waiting {
        // Connect is sent, nobody answers.
        peer.next(Duration::from_millis(1));
    }
    let mut longest = Duration::ZERO;
    for number in 0..50 {
        let start = Instant::now();
        publisher.send(&sound(number));
        assert_eq!(bodies(&player.packets(1)), bodies(&[sound(number)]));
        longest = longest.max(start.elapsed());
    }
    assert!(longest < Duration::from_millis(500), "{longest:?}");
    let start = Instant::now();
    at(&server, "fine", play("s")).started();
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
    // Clients that wait for a verdict do not hold up the end.
    let start = Instant::now();
    server.signal(Signal::TERM);
    assert!(server.wait(SOON).is_some());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_client_that_goes_while_it_is_asked_for_is_told_to_be_gone() {
    let Some(receiver) = Receiver::start() else { return };
    let slow = receiver.hooks(&["on_connect"], "slow", "");
    let ends = receiver.hooks(&CLIENT[1..], "ok", "");
    let inside =
        |block: &str| block.split_once("on; ").unwrap().1.rsplit_once('}').unwrap().0.to_owned();
    let hooks = format!("http_hooks {{ enabled on; {} {} }}", inside(&slow), inside(&ends));
    let server = Server::with(&format!("vhost __defaultVhost__ {{ {hooks} }}"));
    let mut peer = Peer::new(&server, publish("s"));
    peer.wait_for(|event| matches!(event, Event::Handshake(_)));
    eventually("it is asked for", SOON, || {
        peer.next(Duration::from_millis(1));
        receiver.asked().len() == 1
    });
    drop(peer);
    receiver.expect(&["on_connect", "on_close"]);
}

#[test]
fn a_takeover_and_the_end_of_the_server_are_told_once() {
    let Some(receiver) = Receiver::start() else { return };
    let hooks = receiver.hooks(CLIENT, "ok", "");
    let mut server =
        Server::with(&format!("vhost __defaultVhost__ {{ publish {{ takeover on; }} {hooks} }}"));
    let _first = Peer::publish(&server, "s");
    let _second = Peer::publish(&server, "s");
    let told = ["on_connect", "on_publish", "on_connect", "on_publish", "on_unpublish", "on_close"];
    let asked = receiver.expect(&told);
    let id = |n: usize| field(&asked[n], "client_id");
    assert_eq!([id(0), id(1), id(4)], [id(5), id(5), id(5)], "the first one goes");
    let _player = Peer::play(&server, "s");
    server.signal(Signal::TERM);
    assert!(server.wait(SOON).is_some());
    let mut rest = receiver.actions().split_off(told.len());
    assert_eq!(rest.drain(..2).collect::<Vec<_>>(), ["on_connect", "on_play"]);
    rest.sort();
    assert_eq!(rest, ["on_close", "on_close", "on_stop", "on_unpublish"]);
}

#[test]
fn a_reload_switches_hooks_and_keeps_the_streams() {
    let Some(receiver) = Receiver::start() else { return };
    let server = Server::with("vhost __defaultVhost__ { min_latency on; }");
    let mut publisher = Peer::publish(&server, "s");
    let mut player = Peer::play(&server, "s");
    let file = server.dir.join("test.conf");
    let before = fs::read_to_string(&file).unwrap();
    let hooks = receiver.hooks(CLIENT, "no", "");
    fs::write(&file, before.replace("min_latency on;", &format!("min_latency on; {hooks}")))
        .unwrap();
    server.signal(Signal::HUP);
    server.line("reload config success");
    assert!(!is_let_in(Peer::new(&server, play("s"))), "the hook refuses");
    publisher.send(&sound(1));
    assert_eq!(bodies(&player.packets(1)), bodies(&[sound(1)]));
    fs::write(&file, before).unwrap();
    server.signal(Signal::HUP);
    server.line_number("reload config success", 2);
    assert!(is_let_in(Peer::new(&server, play("s"))));
    receiver.expect(&["on_connect"]);
}

#[test]
fn whoever_is_asked_for_while_the_file_changes_gets_what_it_says_then() {
    let Some(receiver) = Receiver::start() else { return };
    let ends = receiver.hooks(&["on_unpublish"], "ok", "");
    let slow = receiver.hooks(&["on_publish"], "slow", "");
    let (slow, rest) = slow.split_once("}").unwrap();
    let hooks = format!("{slow} {} {rest}", ends.split_once("on; ").unwrap().1);
    for (change, is_there) in
        [(["queue_length 10", "gop_cache off"], true), (["vhost", "#"], false)]
    {
        let vhost = "play { queue_length 10; }";
        let server = Server::with(&format!("vhost cam {{ {hooks} {vhost} }}\n"));
        let file = server.dir.join("test.conf");
        let before = fs::read_to_string(&file).unwrap();
        let asked = receiver.asked().len();
        let mut peer = at(&server, "cam", publish("s"));
        eventually("it is asked for", SOON, || {
            peer.next(Duration::from_millis(1));
            receiver.asked().len() > asked
        });
        fs::write(&file, before.replacen(change[0], change[1], 1)).unwrap();
        server.signal(Signal::HUP);
        server.line("reload config success");
        assert_eq!(is_let_in(peer), is_there, "{change:?}");
        if is_there {
            assert!(server.line("source url=").contains("cache=0"));
        } else {
            eventually("that it is over is told", SOON, || {
                receiver.actions().last().is_some_and(|action| action == "on_unpublish")
            });
        }
    }
}

#[cfg(all(feature = "hls", feature = "dvr"))]
#[test]
fn every_segment_and_every_recording_is_told() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let Some(receiver) = Receiver::start() else { return };
    let hooks = receiver.hooks(
        &["on_hls", "on_dvr"],
        "ok",
        &format!(
            "on_hls_notify http://127.0.0.1:{0}/one/[app]/[stream]/[ts_url][param] \
             http://127.0.0.1:{0}/huge/[ts_url];",
            receiver.port
        ),
    );
    let server = Server::with(&format!(
        "vhost __defaultVhost__ {{ {hooks} \
         hls {{ enabled on; hls_path ./hls; hls_fragment 2; hls_window 60; }} \
         dvr {{ enabled on; dvr_path ./rec/[app]/[stream].[timestamp].flv; }} }}"
    ));
    let args = format!("{} {} -t 26 {} {}", media::PICTURE, media::TONE, media::H264, media::AAC);
    let long = media::make(&ffmpeg, "long.flv", &args);
    media::publish(&ffmpeg, &long, &server.url("cam?a=1"));
    let list = || fs::read_to_string(server.dir.join("hls/live/cam.m3u8")).unwrap_or_default();
    eventually("the list is there", SOON, || list().matches("#EXTINF").count() == 13);
    let list = list();
    let segments: Vec<_> = list.lines().filter(|line| line.ends_with(".ts")).collect();
    let of = |name: &str| -> Vec<String> {
        receiver.asked().into_iter().filter(|line| field(line, "action") == name).collect()
    };
    eventually("all segments", SOON, || of("on_hls").len() == segments.len());
    let told = of("on_hls");
    let cwd = fs::canonicalize(server.dir.path()).unwrap();
    for (number, (line, segment)) in told.iter().zip(&segments).enumerate() {
        assert_eq!(
            members(line),
            "action client_id ip vhost app stream param duration cwd file url m3u8 m3u8_url seq_no"
        );
        let duration = field(line, "duration");
        assert!(
            list.contains(&format!("#EXTINF:{:.3}", duration.parse::<f64>().unwrap())),
            "{line}"
        );
        assert_eq!(field(line, "cwd"), cwd.to_str().unwrap());
        assert_eq!(field(line, "file"), format!("./hls/live/{segment}"));
        assert!(server.dir.join(&field(line, "file")).is_file(), "it is there when it is told");
        assert_eq!(field(line, "url"), format!("live/{segment}"));
        assert_eq!(field(line, "m3u8"), "./hls/live/cam.m3u8");
        assert_eq!(field(line, "m3u8_url"), "live/cam.m3u8");
        assert_eq!(field(line, "seq_no"), number.to_string());
        assert_eq!(field(line, "param"), "?a=1");
    }
    // 26 seconds come at once here: what is too much at a time is left out, and counted.
    let gets = || {
        receiver.asked().into_iter().filter(|line| line.starts_with("GET /one/live/cam/")).count()
    };
    eventually("notified", SOON, || gets() >= 3);
    eventually("recorded", SOON, || of("on_dvr").len() == 1);
    let dvr = of("on_dvr").remove(0);
    assert_eq!(members(&dvr), "action client_id ip vhost app stream param cwd file");
    assert!(field(&dvr, "file").starts_with("./rec/live/cam."), "{dvr}");
    assert!(server.dir.join(&field(&dvr, "file")).is_file());
}

#[cfg(feature = "hls")]
#[test]
fn each_segment_of_a_live_stream_is_fetched() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let Some(receiver) = Receiver::start() else { return };
    let url = format!("http://127.0.0.1:{}", receiver.port);
    let server = Server::with(&format!(
        "vhost __defaultVhost__ {{ http_hooks {{ enabled on; \
         on_hls_notify {url}/one/[app]/[stream]/[ts_url][param] {url}/endless/[ts_url]; }} \
         hls {{ enabled on; hls_path ./hls; hls_fragment 1; hls_window 60; }} }}"
    ));
    let sample = media::sample(&ffmpeg);
    let mut publisher = media::publish_live(&ffmpeg, &sample, &server.url("cam?a=1"));
    let gets = |start: &str| -> Vec<String> {
        let asked = receiver.asked().into_iter().filter(|line| line.starts_with(start));
        asked.map(|line| line.split('|').next().unwrap().to_owned()).collect()
    };
    eventually("four segments", SOON, || gets("GET /one").len() >= 4);
    publisher.stop();
    let list = fs::read_to_string(server.dir.join("hls/live/cam.m3u8")).unwrap();
    let segments = list.lines().filter(|line| line.ends_with(".ts"));
    let want: Vec<_> = segments.map(|it| format!("GET /one/live/cam/{it}?a=1")).collect();
    eventually("the last one", SOON, || gets("GET /one").len() >= want.len());
    let mut got = gets("GET /one");
    got.sort();
    assert_eq!(got, want);
    eventually("both", SOON, || gets("GET /endless").len() == gets("GET /one").len());
    assert_eq!(server.count("on_hls_notify failed"), 0, "what is read is bounded");
}

#[cfg(feature = "dvr")]
#[test]
fn a_recording_is_told_with_the_parameters_of_its_own_publisher() {
    let Some(receiver) = Receiver::start() else { return };
    let hooks = receiver.hooks(&["on_dvr", "on_unpublish"], "slow", "");
    let server = Server::with(&format!(
        "vhost __defaultVhost__ {{ publish {{ takeover on; }} {hooks} \
         dvr {{ enabled on; dvr_path ./[stream].[timestamp].flv; }} }}"
    ));
    let record = |param: &str| {
        let mut peer = Peer::publish(&server, &format!("cam?n={param}"));
        let before = server.count("dvr: record");
        let mut dts = 0;
        eventually("it is recorded", SOON, || {
            dts += 40;
            peer.send_bytes(Kind::Audio, dts, &[0xaf, 1, 7]);
            server.count("dvr: record") > before
        });
        peer
    };
    let _first = record("1");
    // It takes the stream over before the file of the first is finished.
    drop(record("2"));
    eventually("both are told", SOON, || receiver.asked().len() == 4);
    let of = |name: &str| -> Vec<String> {
        let asked = receiver.asked().into_iter().filter(|line| field(line, "action") == name);
        let mut params: Vec<_> = asked
            .map(|line| format!("{} {}", field(&line, "client_id"), field(&line, "param")))
            .collect();
        params.sort();
        params
    };
    assert_eq!(of("on_dvr"), of("on_unpublish"));
    assert!(of("on_dvr")[0].ends_with("?n=1") && of("on_dvr")[1].ends_with("?n=2"));
}

#[cfg(feature = "remux")]
#[test]
fn players_over_http_are_asked_for_and_told() {
    use common::http::{REMUX, server_with};
    let Some(curl) = tool("curl") else { return };
    let Some(receiver) = Receiver::start() else { return };
    let hooks = receiver.hooks(CLIENT, "ok", "");
    let refuse = receiver.hooks(&["on_play"], "404", "");
    let (server, http) = server_with(
        &format!("vhost __defaultVhost__ {{ {REMUX} {hooks} }} vhost no {{ {REMUX} {refuse} }}"),
        "",
    );
    let _publisher = Peer::publish(&server, "s");
    let url = format!("http://127.0.0.1:{http}/live/s.flv?token=7");
    let args = ["-s", "-m", "1", "-o", "-", "-e", "http://page/"];
    spawn(&curl, args.iter().chain(&[url.as_str()])).wait(SOON);
    let asked = receiver.expect(&["on_connect", "on_publish", "on_play", "on_stop"]);
    assert_eq!(members(&asked[2]), "action client_id ip vhost app stream param pageUrl");
    assert_eq!(
        [field(&asked[2], "stream"), field(&asked[2], "param"), field(&asked[2], "pageUrl")],
        ["s", "?token=7", "http://page/"]
    );
    let mut other = at(&server, "no", publish("t"));
    other.started();
    let url = format!("http://127.0.0.1:{http}/live/t.flv");
    let mut refused = spawn(
        &curl,
        ["-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}\n", "-H", "Host: no", &url],
    );
    refused.finish();
    assert!(refused.out.wait("403", 1, SOON).is_some(), "{:?}", refused.out.all());
}

#[test]
fn nginx_answers_over_one_connection() {
    let Some(nginx) = tool("nginx") else { return };
    let (port, dir) = (free_port(), TempDir::new());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {}/{name};\n", dir.path().display()))
        .concat();
    let text = format!(
        "daemon off; master_process off; pid nginx.pid;\n\
         events {{ worker_connections 64; }}\n\
         http {{ log_format c '$connection $request $status'; access_log access.log c;\n{temporary}\
         server {{ listen 127.0.0.1:{port}; location / {{ return 200 0; }} }} }}\n"
    );
    fs::write(dir.join("nginx.conf"), text).unwrap();
    let mut command = Command::new(nginx);
    command.arg("-p").arg(dir.path()).args(["-e", "error.log", "-c", "nginx.conf"]);
    let _nginx = start(&mut command);
    eventually("nginx listens", SOON, || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let urls: String =
        CLIENT.iter().map(|name| format!("{name} http://127.0.0.1:{port}/{name}; ")).collect();
    let server =
        Server::with(&format!("vhost __defaultVhost__ {{ http_hooks {{ enabled on; {urls} }} }}"));
    drop(Peer::publish(&server, "s"));
    let lines = || -> Vec<String> {
        let log = fs::read_to_string(dir.join("access.log")).unwrap_or_default();
        log.lines().filter(|line| line.contains("POST")).map(str::to_owned).collect()
    };
    eventually("all are told", SOON, || lines().len() == 4);
    let rest: Vec<_> =
        lines().iter().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect();
    let expected = ["on_connect", "on_publish", "on_unpublish", "on_close"];
    assert_eq!(rest, expected.map(|name| format!("POST /{name} HTTP/1.1 200")));
    let first = |line: &String| line.split(' ').next().unwrap().to_owned();
    let lines = lines();
    assert!(lines.iter().all(|line| first(line) == first(&lines[0])), "{lines:?}");
}

#[test]
fn the_receiver_of_the_documentation_works() {
    let (Some(python), Some(ffmpeg)) = (tool("python3"), tool("ffmpeg")) else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/en/hooks.md")).unwrap();
    let script = text.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(script.lines().count() <= 22, "it is short");
    let other = fs::read_to_string(root.join("docs/zh/hooks.md")).unwrap();
    assert!(other.contains(script), "both documents have the same one");
    let (dir, port) = (TempDir::new(), free_port());
    assert!(script.contains("8085"));
    fs::write(dir.join("receiver.py"), script.replace("8085", &port.to_string())).unwrap();
    let receiver = spawn(&python, [dir.join("receiver.py")]);
    eventually("it listens", SOON, || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let urls: String = ["on_publish", "on_unpublish"]
        .map(|name| format!("{name} http://127.0.0.1:{port}/; "))
        .concat();
    let server =
        Server::with(&format!("vhost __defaultVhost__ {{ http_hooks {{ enabled on; {urls} }} }}"));
    let sample = media::sample(&ffmpeg);
    let wrong = server.url("s?token=wrong");
    let status = media::publish_with(&ffmpeg, "-re", &sample, "-c copy", &wrong).wait(SOON);
    assert!(status.is_some_and(|status| !status.success()));
    media::publish(&ffmpeg, &sample, &server.url("s?token=secret"));
    receiver.out.wait("on_unpublish", 1, SOON).expect("it is told");
    assert_eq!(receiver.out.all().iter().filter(|line| line.contains("on_publish")).count(), 2);
}

#[test]
fn a_vhost_that_is_named_behind_connect_is_asked_for() {
    let Some(receiver) = Receiver::start() else { return };
    let (ok, no) = (receiver.hooks(CLIENT, "ok", ""), receiver.hooks(CLIENT, "publishing", ""));
    let shut = receiver.hooks(&["on_connect"], "no", "");
    let server =
        Server::with(&format!("vhost a {{ {ok} }} vhost b {{ {no} }} vhost shut {{ {shut} }}"));
    assert!(!is_let_in(at(&server, "a", publish("s?vhost=shut"))));
    let asked = receiver.expect(&["on_connect", "on_connect", "on_close"]);
    let vhosts: Vec<_> = asked.iter().map(|line| field(line, "vhost")).collect();
    assert_eq!(vhosts, ["a", "shut", "a"]);
    // Each vhost that let it in hears that it is gone, also when there was none at connect.
    assert!(!is_let_in(at(&server, "a", publish("s?vhost=b"))));
    eventually("both hear of it", SOON, || receiver.asked().len() == 8);
    assert!(!is_let_in(at(&server, "nowhere", publish("s?vhost=b"))));
    eventually("it hears of it", SOON, || receiver.asked().len() == 11);
    let rest = receiver.asked().split_off(3);
    let told: Vec<_> = rest
        .iter()
        .map(|line| format!("{} {}", field(line, "action"), field(line, "vhost")))
        .collect();
    assert_eq!(told[..3], ["on_connect a", "on_connect b", "on_publish b"]);
    let mut closed = told[3..5].to_vec();
    closed.sort();
    assert_eq!(closed, ["on_close a", "on_close b"]);
    assert_eq!(told[5..], ["on_connect b", "on_publish b", "on_close b"]);
}

#[cfg(all(feature = "hls", feature = "dvr"))]
#[test]
fn what_ends_with_the_server_is_told() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let Some(receiver) = Receiver::start() else { return };
    let names = ["on_unpublish", "on_close", "on_hls", "on_dvr"];
    let hooks = receiver.hooks(&names, "ok", "");
    let mut server = Server::with(&format!(
        "vhost __defaultVhost__ {{ {hooks} \
         hls {{ enabled on; hls_path ./hls; hls_fragment 1; hls_window 60; }} \
         dvr {{ enabled on; dvr_path ./rec/[stream].[timestamp].flv; }} }}"
    ));
    let sample = media::sample(&ffmpeg);
    let mut publisher = media::publish_live(&ffmpeg, &sample, &server.url("cam"));
    eventually("two segments", SOON, || receiver.asked().len() >= 2);
    std::thread::sleep(Duration::from_millis(500));
    server.signal(Signal::TERM);
    assert!(server.wait(SOON).is_some());
    publisher.stop();
    let list = fs::read_to_string(server.dir.join("hls/live/cam.m3u8")).unwrap();
    let count = |name: &str| receiver.actions().iter().filter(|action| *action == name).count();
    assert_eq!(count("on_hls"), list.matches("#EXTINF").count());
    assert_eq!([count("on_dvr"), count("on_unpublish"), count("on_close")], [1, 1, 1]);
}
