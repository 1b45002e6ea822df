//! HE-AAC as an encoder of others makes it (libfdk_aac; `data/`), on its way into HLS.
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

#[test]
fn he_aac_plays_in_hls_and_over_http() {
    let (Some(ffmpeg), Some(ffprobe)) = (tool("ffmpeg"), tool("ffprobe")) else { return };
    for &(name, profile, want, rate, channels) in CASES {
        let http = free_port();
        let server = Server::with(&format!(
            "http_server {{ enabled on; listen 127.0.0.1:{http}; }}
            vhost __defaultVhost__ {{
                hls {{ enabled on; hls_storage ram; hls_fragment 0.5; hls_window 60; }}
            }}"
        ));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
        media::publish(&ffmpeg, &file, &server.url("livestream"));
        let line = server.line("audio sh");
        assert!(line.contains(&format!(" {profile},")) || line.contains(profile), "{line}");
        let list = || {
            let (head, body) = get(http, "/live/livestream.m3u8", "");
            let text = (head.status == 200).then(|| String::from_utf8(body).unwrap());
            Playlist::parse(&text.unwrap_or("#EXTM3U\n".into())).unwrap()
        };
        eventually("segments", SOON, || list().segments.len() >= 2);
        let dir = TempDir::new();
        let mut all = Vec::new();
        for segment in list().segments {
            all.extend(get(http, &format!("/live/{}", segment.uri), "").1);
        }
        let ts = dir.join("all.ts");
        fs::write(&ts, &all).unwrap();
        let ts = ts.to_str().unwrap();
        let entries = "stream=profile,sample_rate,channels";
        let seen = run(&ffprobe, ["-v", "error", "-show_entries", entries, "-of", "csv=p=0", ts]);
        assert_eq!(seen.lines().find(|line| !line.is_empty()), Some(want));
        let null = run(&ffmpeg, ["-v", "error", "-xerror", "-i", ts, "-f", "null", "-"]);
        assert_eq!(null, "");
        // The header says LC with the rate and the channels of the core: what is beyond is found
        // in the frames (ISO/IEC 14496-3 §1.6.5.2, implicit signalling).
        let adts = all.windows(4).find(|w| w[..2] == [0xff, 0xf9]).expect("an ADTS header");
        let (object, index) = (adts[2] >> 6, adts[2] >> 2 & 15);
        assert_eq!((object, index, (adts[2] & 1) << 2 | adts[3] >> 6), (1, rate, channels));
    }
}
