//! Codecs of Enhanced RTMP, which are named by four characters: a newer ffmpeg publishes and
//! records them, and they pass unchanged.

mod common;

use common::media::{self, Contents, PICTURE, Recorder, TONE};
use common::{Server, newer_ffmpeg};
use std::process::Command;

const HEVC: &str = "-c:v libx265 -preset ultrafast -g 25 -bf 2 \
                    -x265-params log-level=none:pools=1:frame-threads=1";
const AV1: &str = "-c:v libsvtav1 -preset 12 -g 25 -svtav1-params lp=1";
const VP9: &str = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25 -threads 1";

/// Encodes with `codecs`, publishes the result while a player records, and compares.
fn relay(name: &str, codecs: &str, described: &str) {
    let Some(ffmpeg) = newer_ffmpeg() else { return };
    let encoder = |kind: &str| {
        let name = codecs.split(kind).nth(1).and_then(|rest| rest.split(' ').next());
        name.is_none_or(|name| {
            let help = format!("encoder={name}");
            let out = Command::new(&ffmpeg).args(["-v", "error", "-h", &help]).output().unwrap();
            !out.stdout.is_empty()
        })
    };
    if !encoder("-c:v ") || !encoder("-c:a ") {
        common::skip::<()>(&format!("an ffmpeg that encodes {name}"));
        return;
    }
    let server = Server::start();
    let url = server.url("livestream");
    let args = format!("{PICTURE} {TONE} -t 3 -pix_fmt yuv420p {codecs}");
    let file = media::make(&ffmpeg, &format!("{name}.flv"), &args);
    // What this ffmpeg publishes with `-c copy`: it writes some sequence headers anew.
    let args = format!("-i {} -c copy", file.display());
    let copy = media::make(&ffmpeg, &format!("{name}-copy.flv"), &args);
    let recorder = Recorder::start(&ffmpeg, &server, &url);
    media::publish(&ffmpeg, &file, &url);
    server.line(described);
    let expected = Contents::of(&ffmpeg, &copy).starting_at_zero();
    let recorded = recorder.finish(&server, expected.count()).starting_at_zero();
    assert_eq!(recorded.headers, expected.headers, "sequence headers");
    for (stream, packets) in &expected.packets {
        assert!(packets.len() > 20, "stream {stream} has {} packets", packets.len());
        let seen = recorded.packets.get(stream).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(seen.len(), packets.len(), "packets of stream {stream}");
        for (i, (seen, sent)) in seen.iter().zip(packets).enumerate() {
            assert_eq!(seen, sent, "packet {i} of stream {stream}");
        }
    }
}

#[test]
fn hevc_passes_unchanged() {
    relay("hevc", &format!("{HEVC} -c:a aac"), "vcodec=HEVC");
}

#[test]
fn av1_passes_unchanged() {
    relay("av1", &format!("{AV1} -c:a aac"), "vcodec=AV1");
}

#[test]
fn vp9_passes_unchanged() {
    relay("vp9", &format!("{VP9} -c:a aac"), "vcodec=VP9");
}

#[test]
fn opus_passes_unchanged() {
    relay("opus", &format!("{HEVC} -c:a libopus -ar 48000"), "acodec=Opus");
}

#[test]
fn flac_passes_unchanged() {
    relay("flac", &format!("{HEVC} -c:a flac -ar 48000"), "acodec=FLAC");
}

#[test]
fn ac3_passes_unchanged() {
    relay("ac3", &format!("{HEVC} -c:a ac3 -ar 48000"), "acodec=AC-3");
}

#[test]
fn a_late_player_of_hevc_starts_at_a_key_frame() {
    let Some(ffmpeg) = newer_ffmpeg() else { return };
    let server = Server::start();
    let url = server.url("livestream");
    let args = format!("{PICTURE} {TONE} -t 3 -pix_fmt yuv420p {HEVC} -c:a aac");
    let file = media::make(&ffmpeg, "hevc.flv", &args);
    let _publisher = media::publish_live(&ffmpeg, &file, &url);
    server.line("start publish");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let mut player = common::client::Peer::play(&server, "livestream");
    let packets = player.packets(20);
    let header = packets.iter().position(|p| p.kind == runnel::media::Kind::Video);
    let first = media::frames(&packets).into_iter().find(|p| p.kind == runnel::media::Kind::Video);
    assert!(header.is_some_and(|at| packets[at].header), "the sequence header comes first");
    assert!(first.is_some_and(|p| p.key), "then a key frame");
}
