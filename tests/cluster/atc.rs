//! Absolute times: two origins that one encoder feeds, and players that change between them.

use crate::common::client::Peer;
use crate::common::http::get;
use crate::common::media::{self, AAC, Contents, H264, PICTURE, TONE};
use crate::common::{self, Running, SOON, Server, TempDir, eventually, free_port, tool};
use crate::peers::{edge, watch};
use runnel::format::m3u8::Playlist;
use runnel::media::{Kind, Packet};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the encoder adds to all times.
const OFFSET_MS: u32 = 1_000_000;

/// An origin with absolute times that makes segments of two seconds, and its HTTP port.
fn origin() -> (Server, u16) {
    let http = free_port();
    let server = Server::with(&format!(
        "http_server {{ enabled on; listen 127.0.0.1:{http}; }}
         vhost __defaultVhost__ {{ atc on;
             hls {{ enabled on; hls_fragment 2; hls_window 60; hls_storage ram; }} }}"
    ));
    server.line("HTTP listens at");
    (server, http)
}

/// ffmpeg, which sends one stream to both, and goes on with one when the other is gone.
fn encoder(ffmpeg: &Path, origins: [&Server; 2]) -> Running {
    let args = format!("{PICTURE} {TONE} -t 30 {H264} {AAC}");
    let file = media::make(ffmpeg, "atc.flv", &args);
    let urls = origins.map(|origin| format!("[f=flv:onfail=ignore]{}", origin.url("s")));
    let args = ["-v", "error", "-re", "-copyts", "-i", file.to_str().unwrap(), "-map", "0"];
    let to = ["-c", "copy", "-copyts", "-output_ts_offset", "1000", "-f", "tee"];
    common::spawn(ffmpeg, args.iter().chain(&to).copied().chain([urls.join("|").as_str()]))
}

/// Time, kind and payload of the frames.
fn frames(packets: &[Packet]) -> Vec<(u32, Kind, bytes::Bytes)> {
    media::frames(packets).into_iter().map(|p| (p.dts, p.kind, p.payload)).collect()
}

#[test]
fn what_one_encoder_sends_to_two_origins_has_the_same_times_and_an_edge_changes_unseen() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let ((mut one, _), (two, _)) = (origin(), origin());
    let _encoder = encoder(&ffmpeg, [&one, &two]);
    for origin in [&one, &two] {
        origin.line("start publish");
    }
    let edge = edge(&[one.port, two.port], "atc on;");
    let mut player = Peer::play(&edge, "s");
    let mut direct = [Peer::play(&one, "s"), Peer::play(&two, "s")];
    let mut seen = watch(&mut player, Duration::from_millis(2500));
    let [a, b] = direct.each_mut().map(|peer| frames(&watch(peer, Duration::from_millis(300))));
    // From where both have begun to where the first one ends.
    let from = a[0].0.max(b[0].0) + 500;
    let to = a.last().unwrap().0.min(b.last().unwrap().0) - 500;
    assert!(from >= OFFSET_MS && to > from, "{from} to {to}");
    let part = |all: &[(u32, Kind, bytes::Bytes)], kind| -> Vec<_> {
        all.iter().filter(|f| f.1 == kind && (from..to).contains(&f.0)).cloned().collect()
    };
    for kind in [Kind::Audio, Kind::Video] {
        assert!(part(&a, kind).len() > 10);
        assert_eq!(part(&a, kind), part(&b, kind), "{kind:?}");
    }
    drop(direct);
    assert_eq!(two.count("edge-srs"), 0, "the edge plays the first one");
    // In the middle between two key frames: at the other origin the edge begins with the last one.
    while !seen.last().is_some_and(|p| p.key && !p.header) {
        seen.extend(player.packets(1));
    }
    seen.extend(watch(&mut player, Duration::from_millis(100)));
    one.signal(Signal::KILL);
    one.wait(SOON).unwrap();
    let killed = Instant::now();
    seen.extend(player.packets(30));
    assert!(killed.elapsed() < Duration::from_secs(4), "{:?}", killed.elapsed());
    seen.extend(watch(&mut player, Duration::from_secs(2)));
    two.line("edge-srs");
    for (kind, most) in [(Kind::Audio, 24), (Kind::Video, 40)] {
        let all: Vec<_> = seen.iter().filter(|p| p.kind == kind && !p.header).collect();
        assert!(all[0].dts >= OFFSET_MS, "{kind:?} {}", all[0].dts);
        assert!(all.windows(2).all(|w| w[1].dts > w[0].dts), "{kind:?} goes back");
        let gaps: Vec<_> = all.windows(2).filter(|w| w[1].dts - w[0].dts > most).collect();
        // No frame is missing, unless a key frame came while the edge changed.
        let key = |gap: &[&Packet]| kind == Kind::Audio || gap[1].key;
        let late = |gap: &[&Packet]| gap[1].dts - gap[0].dts <= 1000 && key(gap);
        assert!(gaps.len() <= 1 && gaps.iter().all(|gap| late(gap)), "{kind:?} {gaps:?}");
    }
}

#[cfg(feature = "hls")]
#[test]
fn a_player_of_hls_takes_some_segments_from_one_origin_and_the_rest_from_the_other() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let origins = [origin(), origin()];
    let encoder = encoder(&ffmpeg, [&origins[0].0, &origins[1].0]);
    let list = |port: u16| {
        let (head, body) = get(port, "/live/s.m3u8", "");
        (head.status == 200).then(|| Playlist::parse(&String::from_utf8(body).unwrap()).unwrap())
    };
    let dir = TempDir::new();
    eventually("five segments of both", SOON * 3, || {
        origins.iter().all(|(_, port)| list(*port).is_some_and(|l| l.segments.len() >= 5))
    });
    drop(encoder);
    // Each segment with the times of its packets.
    let segments = origins.each_ref().map(|(_, port)| {
        let list = list(*port).unwrap();
        let fetched = list.segments.iter().take(5).map(|segment| {
            let (head, body) = get(*port, &format!("/live/{}", segment.uri), "");
            assert_eq!(head.status, 200);
            let file = dir.join(&format!("{port}-{}", segment.uri.replace('/', "_")));
            fs::write(&file, &body).unwrap();
            (body, Contents::with_times(&ffmpeg, &file))
        });
        fetched.collect::<Vec<_>>()
    });
    let [a, b] = &segments;
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert_eq!(a.1.packets, b.1.packets, "segment {i}");
    }
    let first = a[0].1.packets.values().filter_map(|packets| packets.first()).map(|p| p.dts).min();
    assert!(first.unwrap() >= i64::from(OFFSET_MS) * 90, "{first:?}");
    // Two of the first, then two of the second, then one of the first again.
    let file = dir.join("changed.ts");
    let parts = [&a[0], &a[1], &b[2], &b[3], &a[4]];
    fs::write(&file, parts.iter().flat_map(|(body, _)| body.clone()).collect::<Vec<_>>()).unwrap();
    let all = Contents::with_times(&ffmpeg, &file);
    all.assert_monotonic();
    assert_eq!(all.packets.len(), 2);
    for (stream, packets) in &all.packets {
        let steps = packets.windows(2).map(|pair| pair[1].dts - pair[0].dts);
        let (least, most) = steps.fold((i64::MAX, 0), |(a, b), s| (a.min(s), b.max(s)));
        // A picture 40 ms, a frame of sound 1024/44100 s; FLV has whole milliseconds.
        assert!(most <= 3600 && most - least <= 180, "stream {stream}: {least} to {most}");
    }
}

#[cfg(feature = "hls")]
#[test]
fn segments_of_an_origin_that_got_the_stream_later_end_at_the_same_times() {
    use crate::peers::Encoder;

    // The metadata say that times are absolute.
    let origin = || {
        common::http::server(
            "atc_auto on; hls { enabled on; hls_fragment 4; hls_window 60; hls_storage ram; }",
        )
    };
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let ((one, one_http), (two, two_http)) = (origin(), origin());
    let _encoders =
        [Encoder::bravo(&[&one], "s", OFFSET_MS), Encoder::bravo(&[&two], "s", OFFSET_MS + 6000)];
    let dir = TempDir::new();
    let starts = [one_http, two_http].map(|port| {
        let list = || {
            let (head, body) = get(port, "/live/s.m3u8", "");
            let text = String::from_utf8(body).unwrap();
            (head.status == 200).then(|| Playlist::parse(&text).unwrap())
        };
        eventually("segments", SOON * 3, || list().is_some_and(|l| l.segments.len() >= 4));
        let segments = list().unwrap().segments;
        let first = |uri: &str| {
            let (file, body) = (dir.join("segment.ts"), get(port, &format!("/live/{uri}"), "").1);
            fs::write(&file, body).unwrap();
            let contents = Contents::with_times(&ffmpeg, &file);
            contents.packets[&0].first().unwrap().dts / 90
        };
        segments.iter().map(|segment| first(&segment.uri)).collect::<Vec<_>>()
    });
    let [a, b] = &starts;
    // What the second one began with is shorter, and then they are at the same times.
    let common: Vec<_> = a.iter().filter(|at| **at > b[0]).collect();
    assert!(common.len() >= 2 && common.iter().all(|at| b.contains(at)), "{starts:?}");
}
