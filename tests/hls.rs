//! HLS as players see it: published by ffmpeg, fetched over HTTP, read by ffmpeg and ffprobe.
#![cfg(feature = "hls")]

mod common;

use common::client::{Got, Peer};
use common::media::{self, AAC, Contents, H264, PICTURE, TONE, flv_packets};
use common::{RUNNEL, SOON, Server, TempDir, eventually, free_port, run, tool};
use runnel::format::m3u8::Playlist;
use runnel::media::{Kind, Packet};
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
    media::check_ts(&file, &[0x100, 0x101]);
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

/// The text of the playlist.
fn text(port: u16) -> String {
    String::from_utf8(get(port, "/live/livestream.m3u8", "").2).unwrap()
}

/// The numbers of the segments in front of which the list says that something is different.
fn breaks(text: &str) -> Vec<usize> {
    let mut broken = false;
    let mut numbers = Vec::new();
    for line in text.lines() {
        broken |= line == "#EXT-X-DISCONTINUITY";
        let name = line.strip_suffix(".ts").and_then(|name| name.rsplit_once('-'));
        if let Some((_, number)) = name
            && std::mem::take(&mut broken)
        {
            numbers.push(number.parse().unwrap());
        }
    }
    numbers
}

#[test]
fn the_list_says_where_a_stream_begins_again_or_changes() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let (server, http) = server("hls_fragment 2; hls_window 100; hls_storage ram;");
    let large = sample(&ffmpeg);
    let small = format!("-f lavfi -i testsrc2=s=160x90:r=25 {TONE} -t 4 {H264} {AAC}");
    let small = media::make(&ffmpeg, "hls-small.flv", &small);
    for (count, file) in [(4, &large), (8, &large)] {
        media::publish(&ffmpeg, file, &server.url("livestream"));
        segments(http, count);
    }
    assert_eq!(breaks(&text(http)), [0, 4], "{}", text(http));
    // The encoder changes its picture while it publishes.
    let mut publisher = Peer::publish(&server, "livestream");
    for (file, from) in [(&large, 0), (&small, 8000)] {
        for mut packet in flv_packets(&fs::read(file).unwrap()) {
            packet.dts += from;
            publisher.send(&packet);
        }
    }
    segments(http, 13);
    assert_eq!(breaks(&text(http)), [0, 4, 8, 12], "{}", text(http));
    assert!(text(http).contains("#EXT-X-MEDIA-SEQUENCE:0\n"));
    assert!(text(http).matches("#EXTINF").count() >= 13);
}

#[test]
fn key_frames_ten_seconds_apart_are_waited_for_or_not() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let args = format!("{PICTURE} {TONE} -t 31 {H264} -g 250 -sc_threshold 0 {AAC}");
    let sample = media::make(&ffmpeg, "hls-ten.flv", &args);
    for (wait, want) in [("on", 10_000), ("off", 2000)] {
        let hls = format!("hls_wait_keyframe {wait}; hls_fragment 2; hls_window 100;");
        let (server, http) = server(&format!("{hls} hls_storage ram;"));
        media::publish(&ffmpeg, &sample, &server.url("livestream"));
        server.line("cleanup when unpublish");
        let list = segments(http, 30_000 / want);
        for segment in list.segments.iter().take(30_000 / want) {
            assert!(segment.millis.abs_diff(want as u32) <= 50, "{wait}: {list:?}");
        }
    }
}

#[test]
fn a_player_that_is_there_before_the_first_segment_waits_for_it() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    for storage in ["hls_storage ram;", "hls_path objs/nginx/html;"] {
        let (server, http) = server(&format!("hls_fragment 2; {storage}"));
        assert_eq!(get(http, "/live/livestream.m3u8", "").0, 404, "nobody publishes");
        let _live = media::publish_live(&ffmpeg, &sample(&ffmpeg), &server.url("livestream"));
        server.line("start publish");
        let (status, head, body) = get(http, "/live/livestream.m3u8", "");
        if status == 404 && cfg!(not(feature = "static-files")) {
            return;
        }
        assert_eq!(status, 200, "{storage} {head}");
        let list = Playlist::parse(&String::from_utf8(body).unwrap()).unwrap();
        assert_eq!(list.segments.len(), 1);
    }
    // Not for ever.
    let (server, http) = server("hls_fragment 60; hls_storage ram;");
    let _live = media::publish_live(&ffmpeg, &sample(&ffmpeg), &server.url("livestream"));
    server.line("start publish");
    let (status, head, _) = get(http, "/live/livestream.m3u8", "");
    assert!(status == 503 && head.contains("Retry-After: 1"), "{head}");
}

#[test]
#[cfg(feature = "hls-keys")]
fn encrypted_segments_are_played() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let keys = "hls_keys on; hls_fragments_per_key 2; hls_key_file_path objs/nginx/html;";
    for storage in ["hls_storage ram;", "hls_path objs/nginx/html;"] {
        let (server, http) = server(&format!(
            "hls_fragment 1; hls_window 100; hls_wait_keyframe on; {keys} {storage}"
        ));
        media::publish(&ffmpeg, &sample(&ffmpeg), &server.url("livestream"));
        server.line("cleanup when unpublish");
        let url = match storage {
            "hls_storage ram;" => {
                segments(http, 8);
                format!("http://127.0.0.1:{http}/live/livestream.m3u8")
            }
            _ => {
                let file = server.dir.join("objs/nginx/html/live/livestream.m3u8");
                let count = || fs::read_to_string(&file).unwrap_or_default().matches(".ts").count();
                eventually("eight segments", SOON, || count() == 8);
                file.display().to_string()
            }
        };
        let dir = TempDir::new();
        let file = dir.join("played.ts");
        let live = ["-v", "error", "-live_start_index", "0", "-allowed_extensions", "ALL"];
        // The list has no end: all but the last picture or two is here at once.
        let args = ["-i", &url, "-t", "7.5", "-c", "copy", file.to_str().unwrap()];
        run(&ffmpeg, live.iter().chain(&args));
        flawless(&ffmpeg, &file);
        let counts = counts(&Contents::of(&ffmpeg, &file));
        assert!(counts.iter().all(|&count| count > 180), "{storage} {counts:?}");
    }
}

#[test]
fn sound_alone_is_cut_at_aof_ratio() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let sample = media::make(&ffmpeg, "hls-long-sound.flv", &format!("{TONE} -t 65 {AAC}"));
    let (server, http) = server("hls_vcodec vn; hls_window 100; hls_storage ram;");
    media::publish(&ffmpeg, &sample, &server.url("livestream"));
    let list = segments(http, 3);
    for segment in list.segments.iter().take(3) {
        assert!((20_000..20_100).contains(&segment.millis), "{list:?}");
        let file = server.dir.join("one.ts");
        fs::write(&file, get(http, &format!("/live/{}", segment.uri), "").2).unwrap();
        flawless(&ffmpeg, &file);
        let Some(tsinfo) = tool("tsinfo") else { continue };
        let said = run(&tsinfo, [file.to_str().unwrap()]);
        assert!(said.contains("PCR PID 0101 "), "{said}");
        assert!(said.contains("PID 0101 ( 257) -> Stream type 0f"), "{said}");
        assert_eq!(said.matches("-> Stream type").count(), 1, "{said}");
    }
}

#[test]
fn what_hls_cannot_hold_ends_the_publisher_or_not() {
    for (policy, stays) in [("disconnect", false), ("ignore", true), ("continue", true)] {
        let (server, _) = server(&format!("hls_storage ram; hls_on_error {policy};"));
        let mut publisher = Peer::publish(&server, "livestream");
        // VP6.
        let packet = |dts| Packet::new(Kind::Video, dts, vec![0x14, 0, 1, 2, 3].into());
        (0..20).for_each(|i| publisher.send(&packet(i * 40)));
        server.line("hls: ");
        let got = publisher.next(Duration::from_millis(700));
        assert_eq!(matches!(got, Got::Silence), stays, "{policy}: {got:?}");
    }
}

#[test]
fn segments_go_on_when_the_picture_stops() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let (picture, sound) = (PICTURE.replace("-i", "-t 3 -i"), TONE.replace("-i", "-t 15 -i"));
    let args = format!("{picture} {sound} {H264} {AAC}");
    let sample = media::make(&ffmpeg, "hls-picture-stops.flv", &args);
    let (server, http) = server("hls_fragment 1; hls_window 60; hls_aof_ratio 2; hls_storage ram;");
    media::publish(&ffmpeg, &sample, &server.url("livestream"));
    let list = segments(http, 8);
    let all: u64 = list.segments.iter().map(|segment| u64::from(segment.millis)).sum();
    assert!((14_000..15_500).contains(&all), "{list:?}");
    for segment in &list.segments {
        // Where the picture stops its last second is in front.
        assert!(segment.millis <= 3000, "{list:?}");
        let file = server.dir.join("one.ts");
        fs::write(&file, get(http, &format!("/live/{}", segment.uri), "").2).unwrap();
        flawless(&ffmpeg, &file);
        // 43 frames of sound a second.
        let Some(ffprobe) = tool("ffprobe") else { continue };
        let count = "-v error -select_streams a -count_packets -of csv=p=0 -show_entries";
        let args = count.split(' ').chain(["stream=nb_read_packets", file.to_str().unwrap()]);
        let said = run(&ffprobe, args);
        let frames: u32 = said.split_whitespace().next().unwrap().parse().unwrap();
        assert!(frames.abs_diff(segment.millis * 43 / 1000) < 5, "{segment:?}: {frames}");
    }
}
