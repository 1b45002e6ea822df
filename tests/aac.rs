//! AAC on its way into HLS: every rate, and HE-AAC as an encoder of others makes it (libfdk_aac;
//! `data/`).
#![cfg(feature = "hls")]

mod common;

use common::http::get;
use common::{SOON, Server, TempDir, eventually, free_port, media, run, tool};
use runnel::format::m3u8::Playlist;
use std::fs;
use std::path::Path;

/// File, name in the log, profile and rate as ffprobe names them, rate index and channels of the core.
const CASES: &[(&str, &str, &str, u8, u8)] = &[
    ("he-aac.flv", "HE", "HE-AAC,44100,2", 7, 2),
    ("he-aac-v2.flv", "HEv2", "HE-AACv2,48000,2", 6, 1),
];

/// A server that cuts short segments, its HTTP port, and what it says of the sound of `file`.
fn publish(ffmpeg: &Path, file: &Path) -> (Server, u16, String) {
    let http = free_port();
    let server = Server::with(&format!(
        "http_server {{ enabled on; listen 127.0.0.1:{http}; }}
        http_api {{ enabled on; listen 127.0.0.1:{}; }}
        vhost __defaultVhost__ {{
            hls {{ enabled on; hls_storage ram; hls_fragment 0.5; hls_window 60; }}
        }}",
        free_port()
    ));
    media::publish(ffmpeg, file, &server.url("livestream"));
    let line = server.line("audio sh");
    (server, http, line)
}

#[cfg(feature = "api")]
fn http_of_api(server: &Server) -> u16 {
    let line = server.line("API listens at");
    line.rsplit(':').next().unwrap().trim().parse().unwrap()
}

/// All segments, one after the other, in a file too.
fn fetch(http: u16, dir: &TempDir) -> (Vec<u8>, String) {
    let list = || {
        let (head, body) = get(http, "/live/livestream.m3u8", "");
        let text = (head.status == 200).then(|| String::from_utf8(body).unwrap());
        Playlist::parse(&text.unwrap_or("#EXTM3U\n".into())).unwrap()
    };
    eventually("segments", SOON, || list().segments.len() >= 2);
    let fetch = |uri: &str| get(http, &format!("/live/{uri}"), "").1;
    let all: Vec<u8> = list().segments.iter().flat_map(|segment| fetch(&segment.uri)).collect();
    let file = dir.join("all.ts");
    fs::write(&file, &all).unwrap();
    (all, file.to_str().unwrap().to_owned())
}

/// Profile, rate index and channels of the first ADTS header.
fn adts(ts: &[u8]) -> (u8, u8, u8) {
    let adts = ts.windows(4).find(|w| w[..2] == [0xff, 0xf9]).expect("an ADTS header");
    (adts[2] >> 6, adts[2] >> 2 & 15, (adts[2] & 1) << 2 | adts[3] >> 6)
}

#[test]
fn he_aac_plays_in_hls() {
    let (Some(ffmpeg), Some(ffprobe)) = (tool("ffmpeg"), tool("ffprobe")) else { return };
    for &(name, profile, want, rate, channels) in CASES {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
        let (server, http, line) = publish(&ffmpeg, &file);
        assert!(line.contains(&format!("profile={profile},")), "{line}");
        #[cfg(feature = "api")]
        {
            let _live = media::publish_live(&ffmpeg, &file, &server.url("live"));
            let says = || String::from_utf8(get(http_of_api(&server), "/api/v1/streams", "").1);
            let want = format!("\"profile\":\"{profile}\"");
            eventually("the API tells it", SOON, || says().unwrap().contains(&want));
        }
        let dir = TempDir::new();
        let (all, ts) = fetch(http, &dir);
        let entries = "stream=profile,sample_rate,channels";
        let seen = run(&ffprobe, ["-v", "error", "-show_entries", entries, "-of", "csv=p=0", &ts]);
        assert_eq!(seen.lines().find(|line| !line.is_empty()), Some(want));
        assert_eq!(run(&ffmpeg, ["-v", "error", "-xerror", "-i", &ts, "-f", "null", "-"]), "");
        // The header says LC with the rate and the channels of the core: what is beyond is found
        // in the frames (ISO/IEC 14496-3 §1.6.5.2, implicit signalling).
        assert_eq!(adts(&all), (1, rate, channels));
        drop(server);
    }
}

#[test]
fn every_rate_is_in_the_headers() {
    let (Some(ffmpeg), Some(ffprobe)) = (tool("ffmpeg"), tool("ffprobe")) else { return };
    for (rate, index) in [(96_000, 0), (48_000, 3), (22_050, 7), (8000, 11)] {
        let args = format!("-f lavfi -i sine=f=440:r={rate} -t 3 -c:a aac -ac 2 -b:a 32k");
        let file = media::make(&ffmpeg, &format!("aac-{rate}.flv"), &args);
        let (_server, http, line) = publish(&ffmpeg, &file);
        assert!(line.contains("profile=LC,"), "{line}");
        let dir = TempDir::new();
        let (all, ts) = fetch(http, &dir);
        assert_eq!(adts(&all), (1, index, 2), "{rate}");
        let entries = "stream=sample_rate";
        let seen = run(&ffprobe, ["-v", "error", "-show_entries", entries, "-of", "csv=p=0", &ts]);
        assert_eq!(seen.lines().find(|line| !line.is_empty()), Some(&*rate.to_string()));
    }
}
