//! nginx in front of HLS, with the file that the documentation offers.

#![cfg(all(feature = "hls", feature = "demo", feature = "remux"))]

mod common;

use common::client::Peer;
use common::http::{Http, get};
use common::media::demo;
use common::{RUNNEL, SOON, Server, TempDir, eventually, free_port, start, tool};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

const VIEWERS: usize = 200;
/// In the log of the server.
const LIST: &str = "HTTP GET /live/demo.m3u8";

#[test]
fn two_hundred_viewers_of_a_segment_are_one_request() {
    let Some(nginx) = tool("nginx") else { return };
    let http = free_port();
    let server = Server::without_file(&["--demo", "--http-port", &http.to_string()]);
    server.line("HTTP listens at");
    let dir = TempDir::new();
    let cache = free_port();
    fs::write(dir.join("nginx.conf"), configuration(dir.path(), http, cache)).unwrap();
    let mut command = Command::new(nginx);
    command.arg("-p").arg(dir.path()).args(["-e", "error.log", "-c", "nginx.conf"]);
    let _nginx = start(&mut command);
    eventually("nginx listens", SOON, || TcpStream::connect(("127.0.0.1", cache)).is_ok());
    eventually("there are segments", SOON, || segments(&playlist(http)).len() >= 2);

    let before = server.count(LIST);

    // All of them follow the stream, and all begin at once.
    let begin = Barrier::new(VIEWERS);
    let started = Instant::now();
    let seen: Vec<BTreeMap<String, Vec<u8>>> = thread::scope(|scope| {
        let viewers: Vec<_> = (0..VIEWERS)
            .map(|number| {
                let begin = &begin;
                scope.spawn(move || {
                    begin.wait();
                    watch(cache, number, Duration::from_secs(6))
                })
            })
            .collect();
        viewers.into_iter().map(|viewer| viewer.join().unwrap()).collect()
    });
    let seconds = started.elapsed().as_secs() as usize;
    let mut all: BTreeMap<&String, &Vec<u8>> = BTreeMap::new();
    for (uri, body) in seen.iter().flatten() {
        assert!(body.len() > 188 && *all.entry(uri).or_insert(body) == body, "{uri} differs");
    }
    assert!(all.len() >= 3, "{:?}", all.keys());
    for uri in all.keys() {
        let watched = seen.iter().filter(|seen| seen.contains_key(*uri)).count();
        assert!(watched > VIEWERS / 2, "{watched} viewers saw {uri}");
        assert_eq!(server.count(&format!("HTTP GET /live/{uri}")), 1, "{uri}");
    }
    let lists = server.count(LIST) - before;
    assert!((2..=seconds + 2).contains(&lists), "{lists} playlists in {seconds} s");

    // What is no HLS goes through.
    let mut live = Http::connect(cache);
    assert_eq!(live.ask("/live/demo.ts", "").status, 200);
    assert!(live.chunk().is_some_and(|chunk| chunk.first() == Some(&0x47)));
    assert_eq!(get(cache, "/streams.json", "").0.status, 200);
    // Nor is a live stream whose name looks like a number of a segment.
    let mut publisher = Peer::publish(&server, "cam-1");
    demo().iter().for_each(|packet| publisher.send(packet));
    let mut live = Http::connect(cache);
    let head = live.ask("/live/cam-1.ts", "");
    assert_eq!((head.status, head.get("X-Cache")), (200, None));
    assert!(live.chunk().is_some_and(|chunk| chunk.first() == Some(&0x47)));
    let (head, _) = get(cache, "/live/demo.m3u8", "");
    assert!(head.get("X-Cache").is_some());
}

/// Fetches the playlist and what is new in it, as a player does.
fn watch(port: u16, number: usize, time: Duration) -> BTreeMap<String, Vec<u8>> {
    let mut http = Http::connect(port);
    let mut seen = BTreeMap::new();
    let until = Instant::now() + time;
    while Instant::now() < until {
        let head = http.ask(&format!("/live/demo.m3u8?viewer={number}"), "");
        assert_eq!(head.status, 200, "the playlist");
        let list = String::from_utf8(http.body(&head)).unwrap();
        for uri in segments(&list) {
            if let Entry::Vacant(new) = seen.entry(uri) {
                let head = http.ask(&format!("/live/{}", new.key()), "");
                assert_eq!(head.status, 200, "{}", new.key());
                new.insert(http.body(&head));
            }
        }
        thread::sleep(Duration::from_millis(500));
    }
    seen
}

fn playlist(port: u16) -> String {
    let (head, body) = get(port, "/live/demo.m3u8", "");
    if head.status == 200 { String::from_utf8(body).unwrap() } else { String::new() }
}

fn segments(list: &str) -> Vec<String> {
    list.lines().filter(|line| line.ends_with(".ts")).map(str::to_owned).collect()
}

/// The file of the documentation in a whole one, with ports and directories of the test.
fn configuration(dir: &Path, http: u16, cache: u16) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/nginx-hls-cache.conf");
    let mut text = fs::read_to_string(file).unwrap();
    for (documented, own) in [
        ("server 127.0.0.1:8080;", format!("server 127.0.0.1:{http};")),
        ("listen 80;", format!("listen 127.0.0.1:{cache};")),
        ("/var/lib/nginx/hls ", format!("{}/cache ", dir.display())),
    ] {
        assert!(text.contains(documented), "{documented}");
        text = text.replace(documented, &own);
    }
    whole(dir, &text)
}

/// `inside` as the `http` of a whole file.
fn whole(dir: &Path, inside: &str) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {}/{name};\n", dir.display()))
        .concat();
    format!(
        "daemon off; master_process off; pid nginx.pid;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off;\n{temporary}{inside}}}\n"
    )
}

#[test]
fn nginx_serves_the_files_that_hls_writes() {
    let Some(nginx) = tool("nginx") else { return };
    let (port, listen, dir) = (free_port(), free_port(), TempDir::new());
    let text = format!(
        "listen 127.0.0.1:{port}; daemon off; srs_log_tank console;
        vhost __defaultVhost__ {{
            hls {{ enabled on; hls_fragment 2; hls_window 60; hls_path html; }}
        }}"
    );
    fs::write(dir.join("test.conf"), text).unwrap();
    let mut command = Command::new(RUNNEL);
    let server = Server::spawn(command.args(["-c", "test.conf", "--demo"]), port, dir);
    let root = server.dir.path().join("html");
    let inside = format!(
        "types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; }}
        server {{ listen 127.0.0.1:{listen}; root {}; }}",
        root.display()
    );
    let own = TempDir::new();
    fs::write(own.join("nginx.conf"), whole(own.path(), &inside)).unwrap();
    let mut command = Command::new(nginx);
    command.arg("-p").arg(own.path()).args(["-e", "error.log", "-c", "nginx.conf"]);
    let _nginx = start(&mut command);
    eventually("nginx listens", SOON, || TcpStream::connect(("127.0.0.1", listen)).is_ok());
    let fetch = |path: &str| get(listen, path, "");
    eventually("there are segments", SOON, || {
        let (head, body) = fetch("/live/demo.m3u8");
        head.status == 200 && segments(&String::from_utf8(body).unwrap()).len() >= 2
    });
    let (head, body) = fetch("/live/demo.m3u8");
    assert_eq!(head.get("Content-Type"), Some("application/vnd.apple.mpegurl"));
    for uri in segments(&String::from_utf8(body).unwrap()) {
        let (head, body) = fetch(&format!("/live/{uri}"));
        assert_eq!((head.status, head.get("Content-Type")), (200, Some("video/mp2t")));
        assert_eq!(body, fs::read(root.join("live").join(&uri)).unwrap());
    }
}
