//! The sample configurations of what goes out over HTTP and to disk, run as they are but for the
//! ports, and read by programs of others.

#![cfg(all(feature = "hls", feature = "hds", feature = "remux", feature = "static-files"))]

mod common;

use common::client::{Peer, publish};
use common::http::{Http, get};
use common::media::{self, AAC, H264, PICTURE, TONE, bodies};
use common::{RUNNEL, SOON, Server, TempDir, eventually, free_port, run, tool};
use runnel::media::{Kind, Packet};
use runnel::proto::rtmp::client::{Config, Event};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A server with the sample `name`, and its HTTP port.
fn sample(name: &str) -> (Server, u16) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("conf/{name}.conf"));
    let (port, http, dir) = (free_port(), free_port(), TempDir::new());
    let text = fs::read_to_string(path).unwrap();
    // Each port is another one here; casters name no address.
    let mut caster = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        caster = line.starts_with("stream_caster") || caster && !line.starts_with('}');
        let number = line.trim().strip_prefix("listen ").and_then(|l| l.strip_suffix(';'));
        lines.push(match number {
            Some(_) if !line.starts_with(' ') => format!("listen 127.0.0.1:{port};"),
            Some("8080" | "8081" | "8082") => format!("listen 127.0.0.1:{http};"),
            Some(_) if caster => format!("listen {};", free_port()),
            Some(_) => format!("listen 127.0.0.1:{};", free_port()),
            None => line.replace("daemon on;", "daemon off;"),
        });
    }
    let text = lines.join("\n");
    fs::write(dir.join("test.conf"), text).unwrap();
    let server = Server::spawn(Command::new(RUNNEL).args(["-c", "test.conf"]), port, dir);
    (server, http)
}

/// 26 seconds, a key frame a second.
fn long(ffmpeg: &Path) -> PathBuf {
    media::make(ffmpeg, "long.flv", &format!("{PICTURE} {TONE} -t 26 {H264} {AAC}"))
}

/// The codecs that ffprobe finds, which has nothing to complain about.
fn codecs(url: &str) -> String {
    codecs_from(url, "error")
}

/// The same of a place where no key frame may be: what `level` leaves out is not looked at.
fn codecs_from(url: &str, level: &str) -> String {
    let args = ["-v", level, "-show_entries", "stream=codec_name", "-of", "csv=p=0", url];
    let output = Command::new(tool("ffprobe").unwrap()).args(args).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{url}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<_> = text.split_whitespace().collect();
    names.sort_unstable();
    names.dedup();
    names.join(" ")
}

#[test]
fn live_streams_go_out_in_the_form_of_the_sample() {
    let (Some(ffmpeg), Some(_)) = (tool("ffmpeg"), tool("ffprobe")) else { return };
    let mp3 = format!("{PICTURE} {TONE} -t 9 {H264} -c:a libmp3lame -b:a 64k");
    let mp3 = media::make(&ffmpeg, "samples-mp3.flv", &mp3);
    for (form, content_type, want) in [
        ("flv", "video/x-flv", "aac h264"),
        ("ts", "video/MP2T", "aac h264"),
        ("aac", "audio/x-aac", "aac"),
        ("mp3", "audio/mpeg", "mp3"),
    ] {
        let (server, http) = sample(&format!("http.{form}.live"));
        let path = format!("/live/livestream.{form}");
        // It waits for the encoder: hstrs is on.
        let mut early = Http::connect(http);
        early.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let file = if form == "mp3" { mp3.clone() } else { media::sample(&ffmpeg) };
        let _publisher = media::publish_live(&ffmpeg, &file, &server.url("livestream"));
        let head = early.head().unwrap();
        assert_eq!(head.status, 200, "{form}");
        assert_eq!(head.get("Content-Type"), Some(content_type));
        assert!(early.chunks(4000).len() >= 4000);
        assert_eq!(codecs(&format!("http://127.0.0.1:{http}{path}")), want);
    }
}

#[test]
fn hls_is_in_files_or_in_memory_as_the_sample_says() {
    let (Some(ffmpeg), Some(_)) = (tool("ffmpeg"), tool("ffprobe")) else { return };
    for name in ["hls", "hls.realtime", "http.hls", "ram.hls"] {
        let (server, http) = sample(name);
        let (long, url) = (long(&ffmpeg), server.url("livestream"));
        // Two seconds of it are kept: a player needs a stream that goes on.
        let _live = match name {
            "hls.realtime" => Some(media::publish_live(&ffmpeg, &long, &url)),
            _ => {
                media::publish(&ffmpeg, &long, &url);
                None
            }
        };
        let file = server.dir.join("objs/nginx/html/live/livestream.m3u8");
        let url = match name {
            "hls" => file.display().to_string(),
            _ => format!("http://127.0.0.1:{http}/live/livestream.m3u8"),
        };
        let text = || {
            if name == "hls" {
                return fs::read_to_string(&file).unwrap_or_default();
            }
            let (head, body) = get(http, "/live/livestream.m3u8", "");
            if head.status == 200 { String::from_utf8(body).unwrap() } else { String::new() }
        };
        eventually("the list is there", SOON, || text().matches("#EXTINF").count() >= 3);
        let text = text();
        let target = if name == "hls.realtime" { 1 } else { 15 };
        assert!(text.starts_with("#EXTM3U\n#EXT-X-VERSION:3\n"), "{text}");
        assert!(text.contains(&format!("#EXT-X-TARGETDURATION:{target}\n")), "{name}: {text}");
        // Its segments begin where they may.
        let level = if name == "hls.realtime" { "fatal" } else { "error" };
        assert_eq!(codecs_from(&url, level), "aac h264", "{name}");
        let files = server.dir.listing();
        let segments = files.iter().filter(|f| f.extension().is_some_and(|e| e == "ts")).count();
        match name {
            "ram.hls" | "hls.realtime" => assert_eq!(files, [server.dir.join("test.conf")]),
            _ => assert_eq!(segments, text.matches("#EXTINF").count(), "{name}: {files:?}"),
        }
    }
}

#[test]
fn files_and_hls_recordings_are_served_as_the_sample_says() {
    let (Some(ffmpeg), Some(_)) = (tool("ffmpeg"), tool("ffprobe")) else { return };
    let (server, http) = sample("http.server");
    let dir = server.dir.join("objs/nginx/html/vod");
    fs::create_dir_all(&dir).unwrap();
    let (file, list) = (long(&ffmpeg), dir.join("a.m3u8"));
    let args = ["-v", "error", "-i", file.to_str().unwrap(), "-c", "copy", "-hls_list_size", "0"];
    run(&ffmpeg, args.iter().chain(&[list.to_str().unwrap()]));
    assert_eq!(codecs(&format!("http://127.0.0.1:{http}/vod/a.m3u8")), "aac h264");
    let mut other = Http::connect(http);
    other.send("GET /vod/a.m3u8 HTTP/1.1\r\nHost: ossrs.net\r\n\r\n");
    assert_eq!(other.head().unwrap().status, 200);
    let (head, _) = get(http, "/vod", "");
    assert_eq!((head.status, head.get("Location")), (302, Some("/vod/")));
}

#[test]
fn hds_is_served_as_the_sample_says() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let (server, http) = sample("hds");
    media::publish(&ffmpeg, &long(&ffmpeg), &server.url("livestream"));
    eventually("a fragment", SOON, || get(http, "/live/livestreamSeg1-Frag2", "").0.status == 200);
    let manifest = String::from_utf8(get(http, "/live/livestream.f4m", "").1).unwrap();
    assert!(manifest.contains("url=\"livestream.abst\""), "{manifest}");
    assert_eq!(&get(http, "/live/livestream.abst", "").1[4..8], b"abst");
    assert_eq!(&get(http, "/live/livestreamSeg1-Frag1", "").1[4..8], b"mdat");
}

fn sound(number: u8) -> Packet {
    Packet::new(Kind::Audio, u32::from(number) * 23, vec![0xaf, 1, number].into())
}

#[test]
fn streams_pass_through_a_server_with_a_plain_sample() {
    for name in ["rtmp", "console", "origin", "realtime", "forward.slave", "demo.19350", "hold"] {
        let (server, _) = sample(name);
        let mut publisher = Peer::publish(&server, "s");
        let mut player = Peer::play(&server, "s");
        publisher.send(&sound(1));
        assert_eq!(bodies(&player.packets(1)), bodies(&[sound(1)]), "{name}");
    }
}

#[test]
fn the_sample_of_security_lets_nobody_publish() {
    let (server, _) = sample("security.deny.publish");
    let mut publisher = Peer::new(&server, publish("s"));
    let told = publisher.wait_for(|event| matches!(event, Event::Started | Event::Refused(_)));
    assert!(matches!(told, Some(Event::Refused(_))), "{told:?}");
    server.line("ret=1053");
    Peer::play(&server, "s");
}

#[test]
fn the_sample_of_signed_urls_lets_nobody_in_without_one() {
    let (server, http) = sample("signed.url");
    let mut publisher = Peer::new(&server, publish("s"));
    let told = publisher.wait_for(|event| matches!(event, Event::Started | Event::Refused(_)));
    assert!(matches!(told, Some(Event::Refused(_))), "{told:?}");
    assert_eq!(get(http, "/live/s.flv", "").0.status, 403);
}

#[test]
fn recordings_are_where_the_sample_says() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    for name in ["dvr.session", "dvr.segment", "dvr.path"] {
        let (server, _) = sample(name);
        media::publish(&ffmpeg, &long(&ffmpeg), &server.url("livestream"));
        let recorded = || {
            let files = server.dir.listing();
            files.iter().filter(|f| f.extension().is_some_and(|e| e == "flv")).count()
        };
        eventually(name, SOON, || recorded() == 1);
    }
}

#[test]
fn the_old_names_serve_players_over_http_and_files() {
    let (server, http) = sample("compatible");
    let page_url = "http://github.com/a".into();
    let config = Config { page_url, ..Config::new(server.tc_url(), "live", publish("s")) };
    let mut publisher = Peer::with(&server, config);
    publisher.started();
    let mut player = Http::connect(http);
    let head = player.ask("/live/s.flv", "Referer: http://www.github.com/a\r\n");
    assert_eq!(head.status, 200);
    publisher.send(&sound(1));
    assert!(player.chunks(13).len() >= 13);
    assert_eq!(get(http, "/live/s.flv", "Referer: http://x.com/\r\n").0.status, 403);
}
