//! SIGHUP: what changes does so at once, what does not change notices nothing.

#![cfg(all(feature = "hls", feature = "hds", feature = "dvr", feature = "remux"))]

mod common;

use common::client::{Got, Peer, play, publish};
use common::http::{Http, get};
use common::media::{bodies, demo, flv_packets, frames};
use common::{SOON, Server, TempDir, eventually, free_port};
use runnel::media::{Kind, Packet};
use runnel::proto::rtmp::client::{Config, Event};
use rustix::process::Signal;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// A running server whose file is written again and again.
struct Live {
    server: Server,
    http: u16,
    reloads: usize,
}

impl Live {
    /// `vhosts` is all of the file but for the ports and the log.
    fn start(vhosts: &str) -> Self {
        let (port, http) = (free_port(), free_port());
        let server = Server::with_file(port, &text(port, http, vhosts));
        server.line("HTTP listens at");
        Self { server, http, reloads: 0 }
    }

    fn file(&self) -> std::path::PathBuf {
        self.server.dir.join("test.conf")
    }

    /// Has the server take `vhosts`.
    fn reload(&mut self, vhosts: &str) {
        let text = text(self.server.port, self.http, vhosts);
        self.reload_text(&text);
    }

    fn reload_text(&mut self, text: &str) {
        fs::write(self.file(), text).unwrap();
        self.reloads += 1;
        self.server.signal(Signal::HUP);
        self.server.line_number("reload config success", self.reloads);
    }

    /// Has it read `text`, which it cannot take; why not.
    fn refused(&mut self, text: &[u8]) -> String {
        let before = self.server.count("ignore config reloader");
        fs::write(self.file(), text).unwrap();
        self.server.signal(Signal::HUP);
        self.server.line_number("ignore config reloader", before + 1)
    }

    fn at(&self, vhost: &str, role: runnel::proto::rtmp::client::Role) -> Peer {
        let tc_url = format!("rtmp://{vhost}:{}/live", self.server.port);
        let mut peer = Peer::with(&self.server, Config::new(tc_url, "live", role));
        peer.started();
        peer
    }
}

const HEAD: &str = "daemon off; srs_log_tank console; auto_reload_for_docker off;";

fn text(port: u16, http: u16, vhosts: &str) -> String {
    format!(
        "listen 127.0.0.1:{port}; {HEAD}\n\
         http_server {{ enabled on; listen 127.0.0.1:{http}; dir www; }}\n{vhosts}\n"
    )
}

fn sound(number: u32) -> Packet {
    let [a, b, c, d] = number.to_be_bytes();
    Packet::new(Kind::Audio, number * 23, vec![0xaf, 1, a, b, c, d].into())
}

fn accepts(address: &str, port: u16) -> bool {
    TcpStream::connect((address, port)).is_ok()
}

const STEADY: &str = "vhost a.com { min_latency on; chunk_size 60000; http_remux { enabled on; mount /[app]/[stream].flv; } \
    hls { enabled on; hls_storage ram; hls_fragment 1; hls_window 600; hls_mount /[app]/[stream].m3u8; hls_ts_file [app]/[stream]-[seq].ts; } }";

/// Everything but `STEADY`, another one for each number.
fn variant(i: usize) -> String {
    let odd =
        |n: usize, a: &str, b: &str| if i >> n & 1 == 1 { a.to_owned() } else { b.to_owned() };
    let other = odd(
        1,
        "vhost b.com { hls { enabled on; hls_storage ram; } play { gop_cache off; } }",
        "vhost b.com { enabled off; }",
    );
    format!(
        "{other} {third} {STEADY} max_connections {clients}; pithy_print_ms {pithy}; {level} \
         chunk_size {chunk}; utc_time {utc}; {log} heartbeat {{ interval {pithy}; }} \
         vhost __defaultVhost__ {{ {refer} {dvr} {hds} }} \
         stats {{ network {network}; }}",
        third = odd(2, "vhost c.com { forward 127.0.0.1:1; }", ""),
        clients = 1000 + i % 7,
        pithy = 1000 + i,
        level = odd(3, "srs_log_level info;", ""),
        chunk = 4096 + i,
        utc = odd(0, "on", "off"),
        log = odd(4, "ff_log_dir x;", ""),
        refer = odd(1, "refer github.com;", "security { enabled on; allow play all; }"),
        dvr = odd(2, "dvr { enabled on; dvr_path rec/[stream].[timestamp].flv; }", ""),
        hds = odd(3, "hds { enabled on; hds_path hds; }", ""),
        network = 0,
    )
}

/// The segments of the stream, one after another.
fn segments(http: u16) -> (usize, Vec<u8>) {
    let (head, list) = get(http, "/live/s.m3u8", "");
    assert_eq!(head.status, 200);
    let list = String::from_utf8(list).unwrap();
    let names: Vec<_> = list.lines().filter(|line| !line.starts_with('#')).collect();
    let mut all = Vec::new();
    for name in &names {
        let (head, body) = get(http, &format!("/live/{name}"), "");
        assert_eq!(head.status, 200, "{name}");
        all.extend(body);
    }
    (names.len(), all)
}

/// What is published while there are 200 reloads.
fn long_stream() -> Vec<Packet> {
    let demo = demo();
    let (headers, media) = (common::media::headers(&demo), frames(&demo));
    let length = media.iter().map(|p| p.dts).max().unwrap() + 40;
    let rounds = 1200_usize.div_ceil(media.len());
    let again = (0..rounds as u32).flat_map(|round| {
        media.iter().map(move |p| Packet { dts: p.dts + round * length, ..p.clone() })
    });
    headers.into_iter().chain(again).take(1200).collect()
}

/// Publishes `packets`, and calls `between` 200 times. What the RTMP player, the HTTP player and
/// the HLS player had.
fn streamed(
    live: &mut Live,
    packets: &[Packet],
    mut between: impl FnMut(&mut Live, usize),
) -> (Vec<Packet>, Vec<Packet>, (usize, Vec<u8>)) {
    let mut publisher = live.at("a.com", publish("s"));
    let mut player = live.at("a.com", play("s"));
    let mut over_http = Http::connect(live.http);
    over_http.send("GET /live/s.flv HTTP/1.0\r\nHost: a.com\r\n\r\n");
    assert_eq!(over_http.head().unwrap().status, 200);
    live.server.line("http: start play");
    let mut rtmp = Vec::new();
    let (send, flv) = channel();
    thread::spawn(move || {
        let body = over_http.body(&common::http::Head { status: 200, headers: Vec::new() });
        send.send(flv_packets(&body)).unwrap();
    });
    for (i, packets) in packets.chunks(packets.len().div_ceil(200)).enumerate() {
        packets.iter().for_each(|packet| publisher.send(packet));
        between(live, i);
        rtmp.extend(player.packets(packets.len()));
    }
    drop(publisher);
    live.server.line("stop publish");
    (rtmp, flv.recv_timeout(SOON).unwrap(), segments(live.http))
}

#[test]
fn two_hundred_reloads_of_all_else_lose_no_byte() {
    let packets = long_stream();
    let extra = [free_port(), free_port()];
    let mut quiet = Live::start(STEADY);
    let (.., want) = streamed(&mut quiet, &packets, |_, _| {});
    assert!(want.0 > 5, "{} segments", want.0);

    let mut live = Live::start(&variant(0));
    let mut done = 0;
    let (rtmp, flv, hls) = streamed(&mut live, &packets, |live, i| {
        let (port, http) = (live.server.port, live.http);
        let text = text(port, http, &variant(i + 1));
        let more = format!("listen 127.0.0.1:{port} 127.0.0.1:{};", extra[i % 2]);
        live.reload_text(&text.replace(&format!("listen 127.0.0.1:{port};"), &more));
        done += 1;
    });
    assert_eq!(done, 200);
    let (sent, headers) = (bodies(&packets), common::media::headers(&packets).len());
    assert!(bodies(&rtmp) == sent, "RTMP has every packet, once");
    assert!(bodies(&flv) == sent, "HTTP-FLV, too: {} of {}", flv.len(), sent.len());
    for played in [&rtmp, &flv] {
        let steps = |packets: &[Packet]| {
            packets[headers..]
                .windows(2)
                .map(|w| w[1].dts.wrapping_sub(w[0].dts))
                .collect::<Vec<_>>()
        };
        assert!(steps(played) == steps(&packets), "with its times");
    }
    assert_eq!(hls.0, want.0);
    assert!(hls.1 == want.1, "the segments are those of a server without reloads");
    assert_eq!(live.server.count("a.com changed"), 0);
}

#[test]
fn ports_are_opened_closed_and_moved_while_clients_stay() {
    let mut live = Live::start("vhost __defaultVhost__ { min_latency on; }");
    let (port, http, more) = (live.server.port, live.http, free_port());
    let (mut publisher, mut player) =
        (Peer::publish(&live.server, "s"), Peer::play(&live.server, "s"));
    let mut number = 0;
    let mut still = |when: &str| {
        number += 1;
        publisher.send(&sound(number));
        assert_eq!(bodies(&player.packets(1)), bodies(&[sound(number)]), "{when}");
    };
    let plain = text(port, http, "vhost __defaultVhost__ { min_latency on; }");
    let with = |listen: &str| plain.replace(&format!("listen 127.0.0.1:{port};"), listen);
    live.reload_text(&with(&format!("listen 127.0.0.1:{port} 127.0.0.1:{more};")));
    assert!(accepts("127.0.0.1", more) && accepts("127.0.0.1", port));
    still("one more");
    live.reload_text(&with(&format!("listen 127.0.0.1:{more};")));
    eventually("the first is closed", SOON, || !accepts("127.0.0.1", port));
    assert!(accepts("127.0.0.1", more));
    still("the port of both is closed");
    // The same port at every address, then at another one.
    live.reload_text(&with(&format!("listen 0.0.0.0:{more};")));
    assert!(accepts("127.0.0.2", more));
    live.reload_text(&with(&format!("listen 127.0.0.2:{more};")));
    eventually("only there", SOON, || !accepts("127.0.0.1", more));
    assert!(accepts("127.0.0.2", more));
    still("the port moved");
    // HTTP: to another port, off, on.
    let moved = free_port();
    let http_at = |to: u16| plain.replace(&format!(":{http};"), &format!(":{to};"));
    live.reload_text(&http_at(moved));
    eventually("HTTP moved", SOON, || !accepts("127.0.0.1", http) && accepts("127.0.0.1", moved));
    live.reload_text(&plain.replace("http_server { enabled on;", "http_server { enabled off;"));
    eventually("HTTP is off", SOON, || !accepts("127.0.0.1", moved));
    live.reload_text(&plain);
    assert_eq!(get(http, "/nothing", "").0.status, 404);
    still("the end");
}

#[test]
fn a_file_that_cannot_be_used_changes_nothing_and_says_where() {
    let vhosts = "vhost __defaultVhost__ { min_latency on; }\nvhost a.com { }";
    let mut live = Live::start(vhosts);
    let (port, http) = (live.server.port, live.http);
    let (mut publisher, mut player) =
        (Peer::publish(&live.server, "s"), Peer::play(&live.server, "s"));
    let good = text(port, http, vhosts);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().port();
    let holder = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let held = holder.local_addr().unwrap().port();
    let _ = taken;
    let mut longer = good.clone().into_bytes();
    longer.resize(runnel::limits::CONF_BYTES + 1, b'\n');
    let without = "vhost __defaultVhost__ { min_latency on; }";
    let moved = text(port, http, without).replace(
        &format!("listen 127.0.0.1:{port};"),
        &format!("listen 0.0.0.0:{port} 127.0.0.1:{held};"),
    );
    let cases: &[(&str, Vec<u8>, &[&str])] = &[
        (
            "a syntax error",
            format!("{good}\nvhost b {{ hls {{ enabled on }} }}").into(),
            &["line 6"],
        ),
        ("no such directive", format!("{good}\nlissten 1936;").into(), &["line 6", "lissten"]),
        (
            "a value",
            good.replace("min_latency on", "chunk_size 7").into(),
            &["line 3", "chunk_size"],
        ),
        ("nothing", Vec::new(), &["conf is empty"]),
        ("too much", longer, &["1048576"]),
        ("bytes", vec![0xff; 1000], &["line 1"]),
        ("a port that another has", moved.into(), &[&held.to_string(), "another program"]),
    ];
    for (name, text, parts) in cases {
        let said = live.refused(text);
        assert!(parts.iter().all(|part| said.contains(part)), "{name}: {said}");
        publisher.send(&sound(1));
        assert_eq!(bodies(&player.packets(1)), bodies(&[sound(1)]), "{name}");
        eventually("it listens as before", SOON, || accepts("127.0.0.1", port));
        live.at("a.com", play("x"));
    }
    fs::remove_file(live.file()).unwrap();
    live.server.signal(Signal::HUP);
    live.server.line_number("ignore config reloader", cases.len() + 1);
    live.reload(vhosts);
    assert_eq!(live.server.count("reload config success"), 1);
}

#[test]
fn the_clients_of_a_vhost_that_goes_are_told() {
    let steady = "vhost __defaultVhost__ { min_latency on; }";
    let remux = "min_latency on; http_remux { enabled on; mount [vhost]/[app]/[stream].flv; } \
                 hls { enabled on; hls_storage ram; hls_fragment 0.1; hls_wait_keyframe off; hls_mount /b/[stream].m3u8; }";
    let mut live = Live::start(&format!("{steady} vhost b.com {{ {remux} }}"));
    let mut stays = (Peer::publish(&live.server, "s"), Peer::play(&live.server, "s"));
    for (round, gone) in [
        steady.to_owned(),
        format!("{steady} vhost b.com {{ enabled off; }}"),
        format!("{steady} vhost b.com {{ mode remote; origin 127.0.0.1:1; }}"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut publisher = live.at("b.com", publish("s"));
        let mut player = live.at("b.com", play("s"));
        publisher.send(&sound(1));
        player.packets(1);
        long_stream().iter().take(100).for_each(|packet| publisher.send(packet));
        eventually("HLS", SOON, || get(live.http, "/b/s.m3u8", "").0.status == 200);
        let mut over_http = Http::connect(live.http);
        over_http.send("GET /live/s.flv HTTP/1.1\r\nHost: b.com\r\n\r\n");
        assert_eq!(over_http.head().unwrap().status, 200);
        live.reload(&gone);
        for (peer, code) in
            [(&mut player, "NetStream.Play.Failed"), (&mut publisher, "NetStream.Publish.Failed")]
        {
            let told = peer.wait_for(|event| matches!(event, Event::Refused(_)));
            let Some(Event::Refused(status)) = told else { panic!("{round}: {told:?}") };
            assert_eq!((&*status.code, &*status.description), (code, "its vhost is gone"));
            assert!(peer.is_closed_within(SOON));
        }
        assert!(over_http.is_closed_within(SOON));
        let left = get(live.http, "/b/s.m3u8", "").0.status;
        assert_eq!(left, if gone.contains("remote") { 200 } else { 404 }, "{round}");
        stays.0.send(&sound(7));
        assert_eq!(bodies(&stays.1.packets(1)), bodies(&[sound(7)]), "{round}");
        live.reload(&format!("{steady} vhost b.com {{ {remux} }}"));
    }
    assert_eq!(live.server.count("vhost b.com is new"), 2);
}

#[test]
fn outputs_are_switched_while_a_stream_is_published() {
    let vhost = |more: &str| format!("vhost __defaultVhost__ {{ min_latency on; {more} }}");
    let mut live = Live::start(&vhost(""));
    let (server_dir, http) = (live.server.dir.path().to_owned(), live.http);
    let mut publisher = Peer::publish(&live.server, "s");
    let mut player = Peer::play(&live.server, "s");
    let packets = long_stream();
    let mut at = packets.iter();
    let mut played = 0;
    let mut send = |count: usize| {
        at.by_ref().take(count).for_each(|packet| publisher.send(packet));
        played += count;
        player.packets(count);
    };
    send(150);
    let exists = |part: &str| {
        let mut open = vec![server_dir.clone()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    open.push(path.clone());
                }
                if path.to_string_lossy().ends_with(part) {
                    return true;
                }
            }
        }
        false
    };
    live.reload(&vhost("hls { enabled on; hls_storage ram; hls_fragment 1; }"));
    send(200);
    assert_eq!(get(http, "/live/s.m3u8", "").0.status, 200, "HLS begins");
    live.reload(&vhost("dvr { enabled on; dvr_path rec/[stream].flv; }"));
    // It looks for unfinished recordings first.
    for _ in 0..10 {
        send(10);
        thread::sleep(Duration::from_millis(100));
    }
    eventually("a recording", SOON, || exists(".flv.tmp") || exists(".flv"));
    live.reload(&vhost("hds { enabled on; hds_path hds; hds_fragment 1; }"));
    eventually("the recording is finished", SOON, || exists("rec/s.flv"));
    assert!(fs::metadata(server_dir.join("rec/s.flv")).unwrap().len() > 1000);
    send(200);
    eventually("a manifest", SOON, || exists("s.f4m"));
    let flv = "http_remux { enabled on; mount /[app]/[stream].flv; }";
    assert_eq!(get(http, "/live/s.flv", "").0.status, 404);
    live.reload(&vhost(flv));
    let mut over_http = Http::connect(http);
    assert_eq!(over_http.ask("/live/s.flv", "").status, 200);
    send(100);
    assert!(over_http.chunks(2000).len() >= 2000);
    live.reload(&vhost(&flv.replace(".flv", ".ts")));
    let mut over_ts = Http::connect(http);
    assert_eq!(over_ts.ask("/live/s.ts", "").status, 200);
    send(100);
    assert!(over_ts.chunks(2000).len() >= 2000);
    assert_eq!(live.server.count("stop publish"), 0);
}

#[test]
fn the_settings_of_players_count_for_those_that_play() {
    let vhost = |more: &str| format!("vhost __defaultVhost__ {{ {more} {REMUX} }}");
    const REMUX: &str = "http_remux { enabled on; mount /[app]/[stream].*; }";
    let mut live = Live::start(&vhost("min_latency on;"));
    let mut publisher = Peer::publish(&live.server, "s");
    let mut player = Peer::play(&live.server, "s");
    let mut over_http = Http::connect(live.http);
    over_http.ask("/live/s.flv", "");
    let mut take = |count: u32, player: &mut Peer| {
        let start = Instant::now();
        (0..count).for_each(|n| publisher.send(&sound(n)));
        player.packets(count as usize);
        over_http.chunk().unwrap();
        start.elapsed()
    };
    assert!(take(5, &mut player) < Duration::from_millis(800), "at once");
    live.reload(&vhost("play { mw_latency 1500; }"));
    assert!(take(5, &mut player) > Duration::from_millis(900), "gathered");
    live.reload(&vhost("min_latency on; play { send_min_interval 200; }"));
    assert!(take(6, &mut player) > Duration::from_millis(900), "one by one");
    live.reload(&vhost("min_latency on; tcp_nodelay on;"));
    // One that still waits for its time.
    take(1, &mut player);
    assert!(take(5, &mut player) < Duration::from_millis(800), "at once again");
    assert_eq!(live.server.count("stop play"), 0);
}

#[test]
fn what_the_server_itself_does_changes() {
    let vhosts = "vhost __defaultVhost__ { min_latency on; }";
    let mut live = Live::start(&format!("max_connections 2; {vhosts}"));
    let mut first = (Peer::publish(&live.server, "s"), Peer::play(&live.server, "s"));
    let mut third = Peer::over(
        TcpStream::connect(live.server.address()).unwrap(),
        Config::new(live.server.tc_url(), "live", play("s")),
    );
    assert!(third.is_closed_within(SOON));
    live.reload(&format!("max_connections 3; pithy_print_ms 300; {vhosts}"));
    let _third = Peer::play(&live.server, "s");
    for number in 0..30 {
        first.0.send(&sound(number));
        first.1.packets(1);
        thread::sleep(Duration::from_millis(40));
    }
    assert!(live.server.count("<- CPB time=") >= 2, "those that were there print at the new pace");
    // The log: its level, then its place.
    live.reload(&format!("srs_log_level info; {vhosts}"));
    let file = text(live.server.port, live.http, vhosts)
        .replace("srs_log_tank console;", "srs_log_tank file; srs_log_file logs.txt;");
    fs::write(live.file(), file).unwrap();
    live.server.signal(Signal::HUP);
    let log = live.server.dir.join("logs.txt");
    let logged = |part: &str| fs::read_to_string(&log).is_ok_and(|text| text.contains(part));
    eventually("the log is a file", SOON, || logged("reload config success"));
    live.server.signal(Signal::HUP);
    first.0.send(&sound(7));
    assert_eq!(bodies(&first.1.packets(1)), bodies(&[sound(7)]));
}

#[test]
fn a_hundred_signals_at_once_are_a_few_reloads() {
    let vhosts = "vhost __defaultVhost__ { min_latency on; }";
    let mut live = Live::start(vhosts);
    let mut stays = (Peer::publish(&live.server, "s"), Peer::play(&live.server, "s"));
    let (port, http, extra) = (live.server.port, live.http, free_port());
    for i in 0..100 {
        let listen = if i % 2 == 1 {
            format!("listen 127.0.0.1:{port} 127.0.0.1:{extra};")
        } else {
            format!("listen 127.0.0.1:{port};")
        };
        let plain = text(port, http, vhosts);
        let tmp = live.server.dir.join("tmp.conf");
        fs::write(&tmp, plain.replace(&format!("listen 127.0.0.1:{port};"), &listen)).unwrap();
        fs::rename(&tmp, live.file()).unwrap();
        live.server.signal(Signal::HUP);
    }
    eventually("the last one counts", SOON, || accepts("127.0.0.1", extra));
    thread::sleep(Duration::from_millis(300));
    let count = live.server.count("reload config success");
    assert!((1..100).contains(&count), "{count}");
    stays.0.send(&sound(1));
    assert_eq!(bodies(&stays.1.packets(1)), bodies(&[sound(1)]));
    live.reloads = count;
    live.reload(vhosts);
}

#[test]
fn rules_count_for_whoever_comes_after_the_reload() {
    let mut live = Live::start("vhost __defaultVhost__ { min_latency on; }");
    let mut stays = (Peer::publish(&live.server, "s"), Peer::play(&live.server, "s"));
    let may = |live: &Live, page: &str| {
        let config = Config {
            page_url: page.into(),
            ..Config::new(live.server.tc_url(), "live", play("s"))
        };
        let mut peer = Peer::with(&live.server, config);
        let event = peer.wait_for(|e| matches!(e, Event::Started | Event::Refused(_)));
        matches!(event, Some(Event::Started))
    };
    assert!(may(&live, "http://x.com/a"));
    for (rules, good, bad) in [
        ("refer_play github.com;", true, false),
        ("refer { enabled on; all github.com; }", true, false),
        ("security { enabled on; allow play 127.0.0.0/8; }", true, true),
        ("security { enabled on; allow play all; deny play 127.0.0.1; }", false, false),
        ("security { enabled on; }", false, false),
        ("security { enabled off; deny play all; }", true, true),
    ] {
        live.reload(&format!("vhost __defaultVhost__ {{ min_latency on; {rules} }}"));
        assert_eq!(may(&live, "http://x.github.com/a"), good, "{rules}");
        assert_eq!(may(&live, "http://x.com/a"), bad, "{rules}");
    }
    assert!(live.server.count("ret=1052") > 0 && live.server.count("ret=1053") > 0);
    stays.0.send(&sound(1));
    assert_eq!(bodies(&stays.1.packets(1)), bodies(&[sound(1)]), "who is in stays in");
    assert!(matches!(stays.1.next(Duration::from_millis(50)), Got::Silence));
}

/// A file with a vhost called `name`.
fn named(port: u16, name: &str) -> String {
    format!(
        "listen 127.0.0.1:{port}; daemon off; srs_log_tank console; inotify_auto_reload on;\n\
         vhost {name} {{ }}\n"
    )
}

#[cfg(feature = "reload")]
#[test]
fn a_file_that_is_watched_counts_when_it_is_replaced() {
    let port = free_port();
    let server = Server::with_file(port, &named(port, "first"));
    server.line("is watched");
    let file = server.dir.join("test.conf");
    fs::write(&file, named(port, "second")).unwrap();
    server.line("vhost second is new");
    let other = server.dir.join("other");
    fs::write(&other, named(port, "third")).unwrap();
    fs::rename(&other, &file).unwrap();
    server.line("vhost third is new");
    fs::write(&file, "listen 1").unwrap();
    server.line("ignore config reloader");
    fs::write(
        &file,
        named(port, "third").replace("inotify_auto_reload on;", "auto_reload_for_docker off;"),
    )
    .unwrap();
    server.line_number("reload config success", 3);
    fs::write(&file, named(port, "fourth")).unwrap();
    assert!(server.wait_for_line("fourth", 1, Duration::from_secs(1)).is_none(), "it is off");
}

#[cfg(feature = "reload")]
#[test]
fn a_config_map_of_kubernetes_counts_when_it_is_swapped() {
    let (port, dir) = (free_port(), TempDir::new());
    let version = |name: &str| {
        let to = dir.join(&format!("..{name}"));
        fs::create_dir(&to).unwrap();
        fs::write(to.join("test.conf"), named(port, name)).unwrap();
        symlink(format!("..{name}"), dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    };
    version("one");
    symlink(Path::new("..data/test.conf"), dir.join("test.conf")).unwrap();
    let mut command = std::process::Command::new(common::RUNNEL);
    let file = dir.join("test.conf");
    let server = Server::spawn(command.arg("-c").arg(&file), port, TempDir::new());
    server.line("is watched");
    version("two");
    server.line("vhost two is new");
    fs::remove_dir_all(dir.join("..one")).unwrap();
    version("three");
    server.line("vhost three is new");
}

#[test]
fn a_default_vhost_that_is_added_serves_all_names() {
    let mut live = Live::start("vhost a.com { }");
    let may = |live: &Live| {
        let config = Config::new(live.server.tc_url(), "live", publish("s"));
        let mut peer = Peer::with(&live.server, config);
        let event = peer.wait_for(|e| matches!(e, Event::Started | Event::Refused(_)));
        matches!(event, Some(Event::Started))
    };
    assert!(!may(&live));
    live.server.line("ret=2014");
    live.reload("vhost a.com { } vhost __defaultVhost__ { }");
    assert!(may(&live));
}

#[test]
fn merged_read_is_switched_for_a_publisher_that_is_there() {
    let mut live = Live::start("vhost __defaultVhost__ { min_latency off; mw_latency 0; }");
    let mut publisher = Peer::publish(&live.server, "s");
    let mut player = Peer::play(&live.server, "s");
    publisher.send(&sound(1));
    player.packets(1);
    live.reload("vhost __defaultVhost__ { mw_latency 0; mr { enabled on; latency 600; } }");
    publisher.send(&sound(2));
    live.server.line("reload mr=1/600");
    player.packets(1);
    let start = Instant::now();
    publisher.send(&sound(3));
    player.packets(1);
    assert!(start.elapsed() > Duration::from_millis(300), "the next read waits");
    live.reload("vhost __defaultVhost__ { mw_latency 0; }");
    publisher.send(&sound(4));
    live.server.line("reload mr=0/350");
    player.packets(1);
}

#[test]
fn a_server_that_went_to_another_directory_finds_its_file() {
    let vhosts = |name: &str| format!("work_dir deeper; vhost {name} {{ }}");
    let (port, http, dir) = (free_port(), free_port(), TempDir::new());
    fs::create_dir(dir.join("deeper")).unwrap();
    fs::write(dir.join("test.conf"), text(port, http, &vhosts("one"))).unwrap();
    let mut command = std::process::Command::new(common::RUNNEL);
    let server = Server::spawn(command.args(["-c", "test.conf"]), port, dir);
    fs::write(server.dir.join("test.conf"), text(port, http, &vhosts("two"))).unwrap();
    server.signal(Signal::HUP);
    server.line("vhost two is new");
}

#[test]
fn what_new_players_get_follows_the_file() {
    let vhost = |more: &str| format!("vhost __defaultVhost__ {{ min_latency on; {more} }}");
    let mut live = Live::start(&vhost(""));
    let mut publisher = Peer::publish(&live.server, "s");
    let mut player = Peer::play(&live.server, "s");
    let key = Packet::new(Kind::Video, 0, vec![0x17, 1, 0, 0, 0, 9].into());
    let mut send = |packet: &Packet| {
        publisher.send(packet);
        player.packets(1);
    };
    send(&key);
    assert_eq!(
        bodies(&Peer::play(&live.server, "s").packets(1)),
        bodies(std::slice::from_ref(&key))
    );
    live.reload(&vhost("gop_cache off;"));
    send(&key);
    let mut late = Peer::play(&live.server, "s");
    assert_eq!(late.packet(Duration::from_millis(200)), None, "nothing of before");
    live.reload(&vhost("time_jitter off;"));
    send(&Packet { dts: 70_000, ..key.clone() });
    assert_eq!(late.packets(1)[0].dts, 70_000, "who plays gets the times of the source");
    assert_eq!(Peer::play(&live.server, "s").packets(1)[0].dts, 70_000);
}

#[test]
fn the_times_of_the_log_are_those_of_the_file() {
    let (port, http, dir) = (free_port(), free_port(), TempDir::new());
    let vhosts = |utc: &str| format!("utc_time {utc}; vhost __defaultVhost__ {{ }}");
    let file = |utc: &str| {
        let text = text(port, http, &vhosts(utc));
        text.replace("srs_log_tank console;", "srs_log_tank file; srs_log_file log.txt;")
    };
    fs::write(dir.join("test.conf"), file("off")).unwrap();
    let mut command = std::process::Command::new(common::RUNNEL);
    // Half a day away, and a bit.
    command.args(["-c", "test.conf"]).env("TZ", "AWAY-12:45");
    let server = Server::spawn_silent(&mut command, port, dir);
    let log = server.dir.join("log.txt");
    let last = |part: &str| {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let line = text.lines().rev().find(|line| line.contains(part))?;
        let time: Vec<u32> = line.get(12..17)?.split(':').map(|n| n.parse().unwrap()).collect();
        Some(time[0] * 60 + time[1])
    };
    eventually("it listens", SOON, || last("RTMP listens").is_some());
    fs::write(server.dir.join("test.conf"), file("on")).unwrap();
    server.signal(Signal::HUP);
    eventually("it reloads", SOON, || last("reload config success").is_some());
    let (local, utc) = (last("RTMP listens").unwrap(), last("reload config success").unwrap());
    let ahead = (local + 24 * 60 - utc) % (24 * 60);
    assert!((12 * 60 + 43..=12 * 60 + 45).contains(&ahead), "{ahead} minutes");
}
