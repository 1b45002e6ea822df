//! The wall clock jumps while streams run: a board whose clock was wrong, set over the network.

#![cfg(all(feature = "dvr", feature = "hls", feature = "remux", target_env = "gnu"))]

mod common;

use common::client::Peer;
use common::http::{Http, get};
use common::{RUNNEL, SOON, Server, TempDir, eventually, free_port, skip, tool};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// The library that shows a process another time of day. The monotonic clock stays what it is.
fn faketime() -> Option<PathBuf> {
    let found = fs::read_dir("/usr/lib").ok().and_then(|entries| {
        let mut places =
            entries.flatten().map(|entry| entry.path().join("faketime/libfaketime.so.1"));
        places.find(|path| path.is_file())
    });
    found.or_else(|| skip("libfaketime (faketime)"))
}

/// The years in `text` behind each `mark`, one for each run of equal ones.
fn years(text: &str, mark: &str) -> Vec<u32> {
    let found = text.lines().filter_map(|line| line.strip_prefix(mark)?.get(..4)?.parse().ok());
    let mut years: Vec<u32> = found.collect();
    years.dedup();
    years
}

#[test]
fn the_wall_clock_may_jump_by_a_year_either_way_while_streams_run() {
    let (Some(ffmpeg), Some(library)) = (tool("ffmpeg"), faketime()) else { return };
    let (dir, port, http) = (TempDir::new(), free_port(), free_port());
    let offset = dir.join("offset");
    fs::write(&offset, "+0\n").unwrap();
    // Short limits, each of which a jump would reach.
    let conf = format!(
        "listen 127.0.0.1:{port}; daemon off; srs_log_tank file; srs_log_file a.log; utc_time on;\n\
         pithy_print_ms 1000;\n\
         http_server {{ enabled on; listen 127.0.0.1:{http}; dir www; }}\n\
         vhost __defaultVhost__ {{ min_latency on;\n\
             publish {{ firstpkt_timeout 3000; normal_timeout 2000; }}\n\
             http_remux {{ enabled on; mount [vhost]/[app]/[stream].*; }}\n\
             hls {{ enabled on; hls_storage ram; hls_fragment 1; hls_window 60; }}\n\
             dvr {{ enabled on; dvr_plan segment; dvr_duration 1; dvr_wait_keyframe on;\n\
                    dvr_path ./rec/[2006]-[timestamp].flv; }}\n\
         }}\n"
    );
    fs::write(dir.join("test.conf"), conf).unwrap();
    let mut command = Command::new(RUNNEL);
    command
        .args(["-c", "test.conf"])
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &offset)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let mut server = Server::spawn_silent(&mut command, port, dir);
    eventually("it listens", SOON, || std::net::TcpStream::connect(server.address()).is_ok());

    let long = common::media::make(
        &ffmpeg,
        "clock.flv",
        &format!(
            "{} {} -t 30 {} {}",
            common::media::PICTURE,
            common::media::TONE,
            common::media::H264,
            common::media::AAC
        ),
    );
    let mut publisher =
        common::media::publish_with(&ffmpeg, "-re", &long, "-c copy", &server.url("s"));
    let mut player = Peer::play(&server, "s");
    let mut live = Http::connect(http);
    assert_eq!(live.ask("/live/s.flv", "").status, 200);
    // Says nothing all the time.
    let idle = Peer::publish(&server, "idle");
    drop(idle);

    let start = Instant::now();
    let (mut last, mut longest, mut jumps) = (Instant::now(), Duration::ZERO, 0);
    player.packets(1);
    while start.elapsed() < Duration::from_secs(14) {
        let jump = match (jumps, start.elapsed().as_secs()) {
            (0, 4..) => Some("+366d\n"),
            (1, 9..) => Some("-365d\n"),
            _ => None,
        };
        if let Some(jump) = jump {
            fs::write(&offset, jump).unwrap();
            jumps += 1;
        }
        player.packet(Duration::from_secs(2)).expect("the stream goes on");
        live.chunk().expect("over HTTP, too");
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    assert!(longest < Duration::from_millis(1000), "{longest:?} without a packet");
    assert!(publisher.is_running(), "the publisher was not dropped");

    // Segments before, between and behind: each has the date of its time, and none is missing.
    let playlist = String::from_utf8(get(http, "/live/s.m3u8", "").1).unwrap();
    let dates = years(&playlist, "#EXT-X-PROGRAM-DATE-TIME:");
    assert_eq!(dates.len(), 3, "{playlist}");
    assert!(dates[1] > dates[0] && dates[2] < dates[0], "{dates:?}");
    let breaks = playlist.matches("#EXT-X-DISCONTINUITY\n").count();
    assert_eq!(breaks, 1, "but for the start of the stream: {playlist}");
    let segments = playlist.lines().filter(|line| line.starts_with("#EXTINF")).count();
    assert!((11..=15).contains(&segments), "{segments} {playlist}");
    for line in playlist.lines().filter_map(|line| line.strip_prefix("#EXTINF:")) {
        let seconds: f64 = line.split(',').next().unwrap().parse().unwrap();
        assert!(seconds < 1.6, "{playlist}");
    }
    publisher.stop();
    server.signal(rustix::process::Signal::TERM);
    assert!(server.wait(SOON).is_some_and(|status| status.success()));
    // Recordings follow once, in the same way.
    let files = fs::read_dir(server.dir.join("rec")).unwrap().flatten();
    let names: Vec<String> = files.map(|f| f.file_name().to_string_lossy().into_owned()).collect();
    let recorded: BTreeSet<u32> = names.iter().filter_map(|n| n.get(..4)?.parse().ok()).collect();
    let mut want = dates.clone();
    want.sort_unstable();
    assert_eq!(recorded.into_iter().collect::<Vec<_>>(), want);
    assert!((11..=17).contains(&names.len()), "{names:?}");
    // And the log, in which nobody was cut and no line was repeated.
    let log = fs::read_to_string(server.dir.join("a.log")).unwrap();
    assert_eq!(years(&log, "["), dates);
    for word in ["timeout", "ret=1011", "silent", "lost"] {
        assert!(!log.contains(word), "{word} in {log}");
    }
    let lines = log.lines().filter(|line| line.contains("-> PLA")).count();
    assert!((5..=40).contains(&lines), "{lines} lines of the play stage");
}
