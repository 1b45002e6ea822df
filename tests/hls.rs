//! HLS as players see it: published by ffmpeg, fetched over HTTP, read by ffmpeg and ffprobe.
#![cfg(feature = "hls")]

mod common;

use common::media::{self, AAC, Contents, H264, PICTURE, TONE};
use common::{RUNNEL, SOON, Server, TempDir, eventually, free_port, run, tool};
use runnel::format::m3u8::Playlist;
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A GET: status, head, body.
fn get(port: u16, path: &str, more: &str) -> (u16, String, Vec<u8>) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{more}\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, answer[end..].to_vec())
}

/// A server with `hls` in its default vhost, and its HTTP port.
fn server(hls: &str) -> (Server, u16) {
    let http = free_port();
    let server = Server::with(&format!(
        "http_server {{ enabled on; listen 127.0.0.1:{http}; }}
        vhost __defaultVhost__ {{ hls {{ enabled on; {hls} }} }}"
    ));
    server.line("HTTP listens at");
    (server, http)
}

fn playlist(port: u16) -> Option<Playlist> {
    let (status, head, body) = get(port, "/live/livestream.m3u8", "");
    if status != 200 {
        return None;
    }
    assert!(head.contains("application/vnd.apple.mpegurl"), "{head}");
    assert!(head.contains("Cache-Control: public, max-age=1"), "{head}");
    Some(Playlist::parse(&String::from_utf8(body).unwrap()).unwrap())
}

/// Waits for `count` segments in the list.
fn segments(port: u16, count: usize) -> Playlist {
    let there = || playlist(port).filter(|list| list.segments.len() >= count);
    eventually("there are segments", SOON, || there().is_some());
    there().unwrap()
}

/// Reads a file that must have nothing wrong: ffprobe and ffmpeg are silent, tsdemux goes through.
fn flawless(ffmpeg: &Path, file: &Path) {
    let null = ["-v", "error", "-xerror", "-i", file.to_str().unwrap(), "-f", "null", "-"];
    let output = Command::new(ffmpeg).args(null).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{}: {said}", file.display());
    let Some(gst) = tool("gst-launch-1.0") else { return };
    let location = format!("location={}", file.display());
    run(&gst, ["-q", "filesrc", &location, "!", "tsdemux", "!", "fakesink"]);
}

/// Eight seconds, a key frame a second.
fn sample(ffmpeg: &Path) -> PathBuf {
    media::make(ffmpeg, "hls.flv", &format!("{PICTURE} {TONE} -t 8 {H264} {AAC}"))
}

/// Sizes and hashes of the packets of a stream, without the first bytes that TS adds.
fn counts(contents: &Contents) -> Vec<usize> {
    let mut counts: Vec<_> = contents.packets.values().map(Vec::len).collect();
    counts.sort_unstable();
    counts
}

#[test]
fn a_stream_is_played_from_memory() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let (server, http) = server("hls_fragment 2; hls_window 100; hls_storage ram;");
    assert_eq!(get(http, "/live/livestream.m3u8", "").0, 404);
    let sample = sample(&ffmpeg);
    media::publish(&ffmpeg, &sample, &server.url("livestream"));
    let list = segments(http, 4);
    let lengths: Vec<_> = list.segments.iter().map(|segment| segment.millis).collect();
    assert_eq!((list.sequence, &lengths[..3]), (0, &[2000, 2000, 2000][..]));
    let dir = TempDir::new();
    let mut all = Vec::new();
    for (i, segment) in list.segments.iter().enumerate() {
        let (status, head, body) = get(http, &format!("/live/{}", segment.uri), "");
        assert_eq!(status, 200, "{head}");
        assert!(head.contains("video/MP2T") && head.contains("immutable"), "{head}");
        let etag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap();
        let known = format!("If-None-Match: {etag}\r\n");
        let (status, head, rest) = get(http, &format!("/live/{}", segment.uri), &known);
        assert_eq!((status, rest.len()), (304, 0), "{head}");
        let file = dir.join(&format!("{i}.ts"));
        fs::write(&file, &body).unwrap();
        flawless(&ffmpeg, &file);
        all.extend(body);
    }
    // One behind the other they are the stream, every packet of it.
    let file = dir.join("all.ts");
    fs::write(&file, all).unwrap();
    flawless(&ffmpeg, &file);
    let want = counts(&Contents::of(&ffmpeg, &sample));
    assert_eq!(counts(&Contents::of(&ffmpeg, &file)), want);
    // What is not there, and what was there.
    assert_eq!(get(http, "/live/livestream-9.ts", "").0, 404);
    let gone = list.segments[0].uri.replace("-0.ts", "-77.ts");
    assert_eq!(get(http, &format!("/live/{gone}"), "").0, 404);
    assert!(server.dir.listing().len() <= 1, "nothing is written");
}

#[test]
fn a_player_follows_the_playlist() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let (server, http) = server("hls_fragment 1; hls_window 4; hls_storage ram;");
    let mut publisher = media::publish_live(&ffmpeg, &sample(&ffmpeg), &server.url("livestream"));
    segments(http, 2);
    let dir = TempDir::new();
    let file = dir.join("played.ts");
    let url = format!("http://127.0.0.1:{http}/live/livestream.m3u8");
    let args = ["-v", "error", "-i", &url, "-t", "5", "-c", "copy", file.to_str().unwrap()];
    run(&ffmpeg, args);
    flawless(&ffmpeg, &file);
    let contents = Contents::of(&ffmpeg, &file);
    assert!(counts(&contents).iter().all(|&count| count > 100), "{:?}", counts(&contents));
    publisher.stop();
}

#[test]
fn files_are_written_and_go_on_after_a_republish() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let (server, _) = server("hls_fragment 2; hls_window 100; hls_path html;");
    let sample = sample(&ffmpeg);
    for _ in 0..2 {
        media::publish(&ffmpeg, &sample, &server.url("livestream"));
        server.line("cleanup when unpublish");
    }
    let file = server.dir.join("html/live/livestream.m3u8");
    let read = || fs::read_to_string(&file).ok().and_then(|text| Playlist::parse(&text).ok());
    eventually("eight segments", SOON, || read().is_some_and(|list| list.segments.len() == 8));
    let list = read().unwrap();
    let marks: Vec<_> = list.segments.iter().map(|segment| segment.discontinuity).collect();
    assert_eq!(marks, [true, false, false, false, true, false, false, false]);
    for (number, segment) in list.segments.iter().enumerate() {
        assert_eq!(segment.uri, format!("livestream-{number}.ts"));
        flawless(&ffmpeg, &server.dir.join(&format!("html/live/{}", segment.uri)));
    }
    let names = fs::read_dir(server.dir.join("html/live")).unwrap().count();
    assert_eq!(names, 9, "no file under another name is left");
}

#[test]
fn without_a_file_hls_is_there_and_in_memory() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let (port, http) = (free_port(), free_port());
    let mut command = Command::new(RUNNEL);
    command.args(["-p", &port.to_string(), "--http-port", &http.to_string()]);
    let mut server = Server::spawn(&mut command, port, TempDir::new());
    server.line("HTTP listens at");
    // Its key frames are 8 s apart: segments still begin with them.
    let args = format!("{PICTURE} {TONE} -t 20 {H264} -g 200 {AAC}");
    let sample = media::make(&ffmpeg, "rare.flv", &args);
    media::publish(&ffmpeg, &sample, &server.url("livestream"));
    let list = segments(http, 2);
    assert!(list.segments[0].millis == 8000 && list.target == 8, "{list:?}");
    assert!(server.dir.listing().is_empty());
    server.signal(Signal::TERM);
    assert!(server.wait(SOON).is_some_and(|status| status.success()));
}

#[test]
fn a_stop_deletes_what_is_to_be_disposed() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let (mut server, _) = server("hls_fragment 1; hls_path html; hls_dispose 100;");
    let mut publisher = media::publish_live(&ffmpeg, &sample(&ffmpeg), &server.url("livestream"));
    let dir = server.dir.join("html/live");
    let count = || fs::read_dir(&dir).map_or(0, Iterator::count);
    eventually("files", SOON, || count() > 2);
    server.signal(Signal::TERM);
    assert!(server.wait(SOON).is_some_and(|status| status.success()));
    assert_eq!(count(), 0);
    publisher.wait(Duration::from_secs(5));
}

#[test]
fn sound_alone_and_mp3_are_played() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    for (name, args) in [
        ("sound.flv", format!("{TONE} -t 9 {AAC}")),
        ("mp3.flv", format!("{TONE} -t 9 -c:a libmp3lame -b:a 64k")),
        ("mp3-video.flv", format!("{PICTURE} {TONE} -t 5 {H264} -c:a libmp3lame -b:a 64k")),
    ] {
        let (server, http) = server("hls_fragment 2; hls_storage ram;");
        let sample = media::make(&ffmpeg, &format!("hls-{name}"), &args);
        media::publish(&ffmpeg, &sample, &server.url("livestream"));
        let list = segments(http, 2);
        let dir = TempDir::new();
        for segment in &list.segments {
            let body = get(http, &format!("/live/{}", segment.uri), "").2;
            let file = dir.join("one.ts");
            fs::write(&file, body).unwrap();
            flawless(&ffmpeg, &file);
        }
    }
}

#[test]
fn a_directory_that_cannot_be_written_ends_the_publisher_or_not() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let sample = sample(&ffmpeg);
    for (policy, stays) in [("disconnect", false), ("ignore", true), ("continue", true)] {
        // The configuration file stands where the directory should be made.
        let (server, _) =
            server(&format!("hls_fragment 1; hls_path test.conf; hls_on_error {policy};"));
        let mut publisher = media::publish_live(&ffmpeg, &sample, &server.url("livestream"));
        server.line("hls: test.conf/live");
        let ended = publisher.wait(Duration::from_secs(3)).is_some();
        assert_eq!(ended, !stays, "{policy}");
        publisher.stop();
    }
}
