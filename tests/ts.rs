//! What the TS muxer writes, read by programs of others: the elementary streams are, byte for
//! byte, those of the source.
#![cfg(feature = "hls")]

mod common;

use runnel::format::flv;
use runnel::format::ts::{Audio, Defaults, Mux, Muxed, Video};
use runnel::limits::MESSAGE_MAX;
use runnel::media::arena::{Arena, Pool};
use runnel::media::{Kind, Packet};
use runnel::proto::rtmp::{RUNNEL, metadata};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PICTURE: &str = "-f lavfi -i testsrc2=size=320x180:rate=25";
const TONE: &str = "-f lavfi -i sine=frequency=440:sample_rate=44100";
const H264: &str = "-c:v libx264 -preset veryfast -g 25 -bf 2";
const AAC: &str = "-c:a aac -b:a 64k";

/// Runs a program that must have nothing to say; `None` where it is not there.
fn quiet(program: &str, args: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new(program).args(args).output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{program} {args:?}: {said}");
    Some(output.stdout)
}

fn ffmpeg(args: &str) -> Option<Vec<u8>> {
    let all: Vec<&str> = "-v error -y".split(' ').chain(args.split_whitespace()).collect();
    quiet("ffmpeg", &all)
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ts-{}-{name}", std::process::id()))
}

/// The elementary stream of `map` in `file`; of H.264 the NAL units, delimiters left out.
fn extract(file: &Path, map: &str, format: &str) -> Vec<Vec<u8>> {
    let ts = file.extension().is_some_and(|extension| extension == "ts");
    // FLV has no ADTS headers, so that ffmpeg writes its own kind; make it write them here too.
    let filter = if ts && format == "adts" { "-bsf:a aac_adtstoasc" } else { "" };
    let file = file.display();
    let bytes = ffmpeg(&format!("-i {file} -map 0:{map} -c copy {filter} -f {format} -"))
        .expect("ffmpeg is there");
    match format {
        "h264" => units(&bytes).into_iter().filter(|unit| unit[0] & 31 != 9).collect(),
        _ => vec![bytes],
    }
}

fn units(stream: &[u8]) -> Vec<Vec<u8>> {
    let codes: Vec<_> =
        (0..stream.len()).filter(|&i| stream[i..].starts_with(&[0, 0, 1])).collect();
    let ends = codes.iter().skip(1).copied().chain([stream.len()]);
    let unit = |(start, end): (&usize, usize)| {
        let unit = &stream[start + 3..end];
        let zeros = unit.iter().rev().take_while(|&&byte| byte == 0).count();
        unit[..unit.len() - zeros].to_vec()
    };
    codes.iter().zip(ends).map(unit).collect()
}

/// Muxes an FLV file, a new segment every second, one `file` after the other.
fn mux(source: &Path) -> Vec<u8> {
    let (mut mux, mut reader) = (Mux::new(Defaults::default()), flv::Reader::new());
    let bytes = fs::read(source).unwrap();
    let (mut input, mut out, mut next) = (&bytes[..], Vec::new(), 0);
    let mut memory = Arena::new(Pool::new(64 << 20), 64 << 20, MESSAGE_MAX);
    while let Some(packet) = reader.read(&mut input, &mut memory).unwrap() {
        if packet.kind == Kind::Data {
            let told = metadata::normalise(&packet.payload, &RUNNEL).unwrap();
            mux.expect(told.video_codec.and_then(Video::of), told.audio_codec.and_then(Audio::of));
        }
        if mux.time(packet.dts) >= next && (packet.key || mux.audio_only()) {
            mux.flush(&mut out);
            mux.begin_segment();
            next += 1000;
        }
        let muxed = mux.packet(&packet, &mut out).unwrap();
        assert!(!matches!(muxed, Muxed::Frame { key: true, tables: false, .. }));
    }
    mux.flush(&mut out);
    out
}

/// Makes an FLV file, muxes it, compares streams. `streams`: map and format to compare in.
fn same(name: &str, args: &str, streams: &[(&str, &str)]) {
    let (source, ours) = (scratch(&format!("{name}.flv")), scratch(&format!("{name}.ts")));
    if ffmpeg(&format!("{args} -f flv {}", source.display())).is_none() {
        return;
    }
    fs::write(&ours, mux(&source)).unwrap();
    for (map, format) in streams {
        let (want, got) = (extract(&source, map, format), extract(&ours, map, format));
        assert!(want.iter().any(|unit| !unit.is_empty()));
        let at = want.iter().zip(&got).position(|(a, b)| a != b);
        assert!(want == got, "{map} {}/{}, differ at {at:?}", got.len(), want.len());
    }
    // Every frame decodes to the same, at the same time but for rounding.
    let (got, want) = (frames(&ours), frames(&source));
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(&want) {
        assert!(got.1 == want.1 && got.0.abs_diff(want.0) <= 1, "{got:?} {want:?}");
    }
    let pids = streams.iter().map(|(map, format)| match (*map, *format) {
        ("v", _) => 0x100,
        (_, "mp3") => 0x102,
        _ => 0x101,
    });
    common::media::check_ts(&ours, &pids.collect::<Vec<_>>());
    let uri = format!("location={}", ours.display());
    let play = ["-q", "filesrc", &uri, "!", "tsdemux", "!", "fakesink"];
    quiet("gst-launch-1.0", &play);
    for file in [source, ours] {
        fs::remove_file(file).unwrap();
    }
}

/// Presentation times in milliseconds, and sums, of all decoded frames.
fn frames(file: &Path) -> Vec<(i64, String)> {
    let file = file.display();
    let text =
        ffmpeg(&format!("-copyts -i {file} -map 0 -enc_time_base 1/1000 -f framecrc -")).unwrap();
    let text = String::from_utf8(text).unwrap();
    let frame = |line: &str| {
        let fields: Vec<_> = line.split(',').map(str::trim).collect();
        (fields[2].parse().unwrap(), fields[5].to_owned())
    };
    let mut frames: Vec<_> = text.lines().filter(|l| !l.starts_with('#')).map(frame).collect();
    // Streams are numbered as they stand in the file.
    frames.sort_by(|a, b| (&a.1, a.0).cmp(&(&b.1, b.0)));
    frames
}

#[test]
fn h264_with_b_frames_and_aac_come_out_unchanged() {
    let args = format!("{PICTURE} {TONE} -t 5 {H264} {AAC}");
    same("both", &args, &[("v", "h264"), ("a", "adts")]);
}

#[test]
fn sound_alone_comes_out_unchanged() {
    same("aac", &format!("{TONE} -t 6 {AAC}"), &[("a", "adts")]);
}

#[test]
fn a_picture_alone_comes_out_unchanged() {
    same("video", &format!("{PICTURE} -t 5 {H264}"), &[("v", "h264")]);
}

#[test]
fn mp3_comes_out_unchanged() {
    let args = format!("{PICTURE} {TONE} -t 4 {H264} -c:a libmp3lame -b:a 64k");
    same("mp3", &args, &[("v", "h264"), ("a", "mp3")]);
}

/// HEVC as x265 writes it, with delimiters, into packets of Enhanced RTMP and back.
#[test]
fn hevc_comes_out_unchanged() {
    let source = scratch("source.h265");
    let x265 = "-c:v libx265 -x265-params log-level=none:aud=1:keyint=25:bframes=0";
    if ffmpeg(&format!("{PICTURE} -t 2 {x265} -f hevc {}", source.display())).is_none() {
        return;
    }
    let units = units(&fs::read(&source).unwrap());
    let kind = |unit: &[u8]| unit[0] >> 1 & 63;
    let mut record = vec![1; 22];
    record[21] = 3;
    record.push(3);
    for wanted in 32..35 {
        let set = units.iter().find(|unit| kind(unit) == wanted).unwrap();
        record.extend([wanted, 0, 1]);
        record.extend((set.len() as u16).to_be_bytes());
        record.extend(set);
    }
    let (mut mux, mut out) =
        (Mux::new(Defaults { audio: None, ..Defaults::default() }), Vec::new());
    let mut feed = |dts, body: Vec<u8>| {
        mux.packet(&Packet::new(Kind::Video, dts, body.into()), &mut out).unwrap();
    };
    feed(0, [&b"\x90hvc1"[..], &record].concat());
    let mut frame = 0;
    for picture in units.split(|unit| kind(unit) == 35).filter(|units| !units.is_empty()) {
        // The muxer has to add delimiters and parameter sets.
        let start = picture.iter().any(|unit| (16..24).contains(&kind(unit)));
        let mut body = if start { b"\x93hvc1" } else { b"\xa3hvc1" }.to_vec();
        for unit in picture.iter().filter(|unit| !(32..35).contains(&kind(unit))) {
            body.extend((unit.len() as u32).to_be_bytes());
            body.extend(unit);
        }
        feed(frame * 40, body);
        frame += 1;
    }
    assert_eq!(frame, 50);
    let ours = scratch("hevc.ts");
    fs::write(&ours, out).unwrap();
    let sums = |file: &Path| {
        let text = ffmpeg(&format!("-i {} -f framemd5 -", file.display())).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit(',').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (want, got) = (sums(&source), sums(&ours));
    assert_eq!((want.len(), &want), (50, &got));
    for file in [source, ours] {
        fs::remove_file(file).unwrap();
    }
}
