//! A publisher that leaves and comes back, or is taken over: players stay, and times go on.

#![cfg(all(feature = "hls", feature = "remux", feature = "dvr"))]

mod common;

use common::client::Peer;
use common::http::{Http, REMUX, get, server};
use common::media::{self, AAC, H264, PICTURE, TONE, bodies, flv_packets};
use common::{SOON, Server, eventually, tool};
use runnel::media::{Kind, Packet};
use runnel::proto::rtmp::client::Config;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

fn key(dts: u32) -> Packet {
    Packet::new(Kind::Video, dts, vec![0x17, 1, 0, 0, 0, 1, 2, 3].into())
}

/// A minute, so that it goes on until it is stopped.
fn long(ffmpeg: &Path) -> PathBuf {
    let args = format!("{PICTURE} {TONE} -t 60 {H264} {AAC}");
    media::make(ffmpeg, "hold.flv", &args)
}

/// The times that ffmpeg finds in a file that it wrote, in order, by stream, and what it had to
/// complain about.
fn times(ffmpeg: &Path, file: &Path) -> media::Contents {
    media::Contents::of(ffmpeg, file)
}

/// Records `url` to `file` until the stream ends or it is stopped.
fn record(ffmpeg: &Path, url: &str, file: &Path, form: &str) -> common::Running {
    let file = file.to_str().unwrap();
    let args = ["-v", "error", "-y", "-copyts", "-i", url, "-c", "copy", "-flush_packets", "1"];
    common::spawn(ffmpeg, args.iter().chain(&["-f", form, file]))
}

#[test]
fn players_stay_while_a_real_encoder_is_gone_twice() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    for jitter in ["full", "off"] {
        let rules = format!(
            "{REMUX} publish {{ hold 6; }} time_jitter {jitter}; min_latency on; \
             hls {{ enabled on; hls_storage ram; hls_fragment 1; hls_window 60; }} \
             dvr {{ enabled on; dvr_path rec/[stream].[timestamp].flv; }}"
        );
        let (server, http) = server(&rules);
        let at = |form: &str| format!("http://127.0.0.1:{http}/live/s.{form}");
        let long = long(&ffmpeg);
        let publish = |seek: &str| {
            let before = format!("-re -ss {seek}");
            media::publish_with(&ffmpeg, &before, &long, "-c copy", &server.url("s"))
        };
        let mut encoder = publish("0");
        server.line("start publish");
        let files = ["a.flv", "b.ts", "c.flv"].map(|name| server.dir.join(name));
        let mut players = [
            record(&ffmpeg, &at("flv"), &files[0], "flv"),
            record(&ffmpeg, &at("ts"), &files[1], "mpegts"),
            record(&ffmpeg, &server.url("s"), &files[2], "flv"),
        ];
        server.line_number("start play", 3);
        for (round, seek) in [(1, "20"), (2, "5")] {
            thread::sleep(Duration::from_millis(2500));
            encoder.stop();
            server.line_number("stop publish", round);
            thread::sleep(Duration::from_millis(1500));
            encoder = publish(seek);
            server.line_number("start publish", round + 1);
        }
        thread::sleep(Duration::from_millis(2500));
        assert!(players.iter_mut().all(common::Running::is_running), "{jitter}: nobody was ended");
        let list = String::from_utf8(get(http, "/live/s.m3u8", "").1).unwrap();
        // The first segment begins with one, too.
        assert_eq!(list.matches("#EXT-X-DISCONTINUITY\n").count(), 3, "{list}");
        encoder.stop();
        server.line_number("stop publish", 3);
        // It ends as without hold, only later.
        server.line_number("http: stop play", 2);
        for player in &mut players[..2] {
            player.wait(SOON).expect("the end of the stream");
            assert_eq!(player.err.all(), [""; 0], "{jitter}");
        }
        players[2].stop();
        assert!(server.wait_for_line("nobody published /live/s again", 1, SOON).is_some());
        for file in &files {
            let seen = times(&ffmpeg, file);
            seen.assert_monotonic();
            assert!(seen.packets.values().all(|packets| packets.len() > 100), "{}", file.display());
        }
        // With the times of the source the gaps are there.
        let flv = flv_packets(&fs::read(&files[0]).unwrap());
        let pictures: Vec<_> = flv.iter().filter(|p| p.kind == Kind::Video).collect();
        let longest = pictures.windows(2).map(|w| w[1].dts - w[0].dts).max().unwrap();
        match jitter {
            "off" => assert!((1000..6500).contains(&longest), "{longest}"),
            _ => assert!(longest < 1000, "{longest}"),
        }
        // A recording is one publish, as ever.
        let recordings = || {
            let files = fs::read_dir(server.dir.join("rec")).unwrap().flatten();
            files.filter(|f| f.path().extension().is_some_and(|e| e == "flv")).count()
        };
        eventually("three recordings", SOON, || recordings() == 3);
    }
}

#[test]
fn a_takeover_goes_on_in_time_too() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let (server, http) = server(&format!(
        "{REMUX} publish {{ takeover on; hold 3; }} time_jitter off; min_latency on;"
    ));
    let long = long(&ffmpeg);
    let publish = |seek: &str| {
        let before = format!("-re -ss {seek}");
        media::publish_with(&ffmpeg, &before, &long, "-c copy", &server.url("s"))
    };
    let _first = publish("30");
    server.line("start publish");
    let file = server.dir.join("a.flv");
    let mut player = record(&ffmpeg, &format!("http://127.0.0.1:{http}/live/s.flv"), &file, "flv");
    server.line("http: start play");
    let mut others = Vec::new();
    for (round, seek) in [(2, "0"), (3, "40")] {
        thread::sleep(Duration::from_secs(2));
        others.push(publish(seek));
        server.line_number("start publish", round);
    }
    thread::sleep(Duration::from_secs(2));
    drop(others);
    server.line_number("stop publish", 3);
    player.wait(SOON).expect("the end of the stream");
    let seen = times(&ffmpeg, &file);
    seen.assert_monotonic();
    let flv = flv_packets(&fs::read(&file).unwrap());
    let pictures: Vec<_> = flv.iter().filter(|p| p.kind == Kind::Video).collect();
    let longest = pictures.windows(2).map(|w| w[1].dts - w[0].dts).max().unwrap();
    assert!(longest < 3000, "there is no gap but that of the encoder's start: {longest}");
}

#[test]
fn without_hold_players_over_http_end_with_the_publisher() {
    let (server, http) = server(&format!("{REMUX} min_latency on;"));
    let mut publisher = Peer::publish(&server, "s");
    publisher.send(&key(0));
    let mut player = Http::connect(http);
    player.ask("/live/s.flv", "");
    drop(publisher);
    assert!(player.is_closed_within(SOON));
}

#[test]
fn who_comes_in_the_gap_waits_as_well() {
    let (server, http) = server(
        "http_remux { enabled on; hstrs off; mount /[app]/[stream].flv; } \
         min_latency on; publish { hold 3; }",
    );
    let mut publisher = Peer::publish(&server, "s");
    publisher.send(&key(0));
    let mut first = Http::connect(http);
    assert_eq!(first.ask("/live/s.flv", "").status, 200);
    first.chunks(20);
    drop(publisher);
    server.line("stop publish");
    let mut late = Http::connect(http);
    assert_eq!(late.ask("/live/s.flv", "").status, 200);
    let mut publisher = Peer::publish(&server, "s");
    publisher.send(&key(0));
    for player in [&mut first, &mut late] {
        player.chunks(20);
    }
    drop(publisher);
    for player in [&mut first, &mut late] {
        assert!(player.is_closed_within(SOON));
    }
    // Nothing is left: whoever asks now is told that there is no stream.
    assert_eq!(get(http, "/live/s.flv", "").0.status, 404);
}

#[test]
fn many_that_come_and_go_leave_nothing_behind() {
    let server = Server::with("vhost __defaultVhost__ { min_latency on; publish { hold 3600; } }");
    for number in 0..200 {
        let mut publisher = Peer::publish(&server, &format!("s{number}"));
        publisher.send(&key(0));
    }
    server.line_number("stop publish", 200);
    let mut player = Peer::play(&server, "s7");
    let config = Config::new(server.tc_url(), "live", common::client::publish("s7"));
    let mut publisher = Peer::with(&server, config);
    publisher.started();
    publisher.send(&key(0));
    assert_eq!(bodies(&player.packets(1)), bodies(&[key(0)]));
}
