//! Transport streams of ffmpeg, demuxed: elementary streams and times are those that ffmpeg itself
//! reads of them.
#![cfg(feature = "hls")]

mod common;

use common::elementary::extract;
use common::media::{self, AAC, Contents, H264, PICTURE, TONE};
use common::tool;
use runnel::codec::nal::{self, Unit, Video};
use runnel::format::ts::{Audio, Body, Counters, Demux, Note, read};
use runnel::limits::MESSAGE_MAX;
use runnel::media::arena::{Arena, Pool};
use runnel::media::{Kind, Packet, timeline::Start, timeline::Timeline};
use std::path::Path;

const HEVC: &str = "-c:v libx265 -preset ultrafast -g 25 -bf 2 -tag:v hvc1 \
                    -x265-params log-level=none:pools=1:frame-threads=1";

struct Demuxed {
    packets: Vec<Packet>,
    notes: Vec<Note>,
    counters: Counters,
}

fn demux(file: &Path, size: usize) -> Demuxed {
    let bytes = std::fs::read(file).unwrap();
    let mut memory = Arena::new(Pool::new(64 << 20), 64 << 20, MESSAGE_MAX);
    let (mut demux, mut packets) = (Demux::new(), Vec::new());
    let mut out = |packet| packets.push(packet);
    for piece in bytes.chunks(size) {
        demux.receive(piece, &mut memory, &mut out).unwrap();
    }
    demux.finish(&mut memory, &mut out).unwrap();
    let notes = std::iter::from_fn(|| demux.note()).collect();
    Demuxed { packets, notes, counters: *demux.counters() }
}

impl Demuxed {
    fn frames(&self, kind: Kind) -> impl Iterator<Item = &Packet> {
        self.packets.iter().filter(move |packet| packet.kind == kind && !packet.header)
    }

    /// NAL units of all pictures.
    fn units(&self) -> Vec<Vec<u8>> {
        let pictures = self.frames(Kind::Video).flat_map(|packet| {
            let Ok(Body::Picture(_, _, data)) = read(packet.kind, &packet.payload) else {
                panic!()
            };
            nal::prefixed(data, 4)
        });
        pictures.map(|unit| unit.to_vec()).collect()
    }

    fn sound(&self) -> Vec<u8> {
        let frames = self.frames(Kind::Audio).map(|packet| {
            let Ok(Body::Sound(_, data)) = read(packet.kind, &packet.payload) else { panic!() };
            data
        });
        frames.collect::<Vec<_>>().concat()
    }

    /// dts and pts in milliseconds.
    fn times(&self, kind: Kind) -> Vec<(i64, i64)> {
        let time = |packet: &Packet| {
            let dts = i64::from(packet.dts);
            match read(packet.kind, &packet.payload) {
                Ok(Body::Picture(_, cts, _)) => (dts, dts + i64::from(cts)),
                _ => (dts, dts),
            }
        };
        self.frames(kind).map(time).collect()
    }
}

/// The units of an elementary stream that stay in pictures.
fn kept(video: Video, stream: &[u8]) -> Vec<Vec<u8>> {
    nal::units(stream)
        .filter(|unit| !matches!(video.unit(unit), Unit::Set(_) | Unit::Delimiter | Unit::Filler))
        .map(<[u8]>::to_vec)
        .collect()
}

/// The frames of an ADTS stream without their headers.
fn without_adts(stream: &[u8]) -> Vec<u8> {
    let (mut rest, mut frames) = (stream, Vec::new());
    while let Ok(head) = runnel::format::adts::read(rest) {
        frames.extend_from_slice(&rest[head.header..head.len]);
        rest = &rest[head.len..];
    }
    assert!(rest.is_empty());
    frames
}

/// Name, codecs and options of the muxer, video, audio.
type Case = (&'static str, String, Option<Video>, Option<Audio>);

fn cases() -> Vec<Case> {
    let (h264, hevc) = (Some(Video::H264), Some(Video::Hevc));
    let (aac, mp3) = (Some(Audio::Aac), Some(Audio::Mp3));
    let av = format!("{PICTURE} {TONE} -t 4");
    vec![
        ("plain", format!("{av} {H264} {AAC}"), h264, aac),
        ("lengths", format!("{av} {H264} {AAC} -omit_video_pes_length 0"), h264, aac),
        ("slices", format!("{av} {H264} -x264-params slices=4:aud=1 {AAC}"), h264, aac),
        ("open gop", format!("{av} {H264} -x264-params open-gop=1:bframes=3 {AAC}"), h264, aac),
        ("constant", format!("{av} {H264} {AAC} -muxrate 3M -pcr_period 20"), h264, aac),
        ("wrap", format!("{av} {H264} {AAC} -output_ts_offset 95440"), h264, aac),
        ("interlaced", format!("{av} {H264} -flags +ildct+ilme -top 1 {AAC}"), h264, aac),
        (
            "intra refresh",
            format!(
                "{av} -c:v libx264 -preset ultrafast -x264-params \
            intra-refresh=1:keyint=25 -pix_fmt yuv420p {AAC}"
            ),
            h264,
            aac,
        ),
        ("few large pes", format!("{av} {H264} {AAC} -pes_payload_size 16000"), h264, aac),
        ("frames alone", format!("{av} {H264} {AAC} -pes_payload_size 0"), h264, aac),
        ("aac 5.1", format!("{TONE} -t 4 -c:a aac -ac 6 -ar 48000"), None, aac),
        ("mp3", format!("{av} {H264} -c:a libmp3lame -b:a 96k"), h264, mp3),
        ("mp3 of 22 kHz", format!("{TONE} -t 4 -c:a libmp3lame -ar 22050 -ac 1"), None, mp3),
        ("hevc", format!("{av} {HEVC} {AAC}"), hevc, aac),
        (
            "big",
            "-f lavfi -i testsrc2=s=1280x720:r=25 -vf noise=alls=20:allf=t -t 1 \
            -c:v libx264 -preset ultrafast -qp 26 -bf 2 -pix_fmt yuv420p -omit_video_pes_length 0"
                .into(),
            h264,
            None,
        ),
    ]
}

#[test]
fn what_ffmpeg_muxed_is_read_as_ffmpeg_reads_it() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    for (name, args, video, audio) in cases() {
        let file = media::make(&ffmpeg, "demux.ts", &format!("{args} -f mpegts"));
        let demuxed = demux(&file, 1316);
        assert!(demuxed.counters.is_clean(), "{name}: {}", demuxed.counters);
        assert_eq!(demuxed.notes, [Note::Program { number: 1, video, audio }], "{name}");
        let truth = Contents::of(&ffmpeg, &file);
        let mut streams = truth.packets.values();
        if let Some(video) = video {
            let format = if video == Video::H264 { "h264" } else { "hevc" };
            let es = extract(&ffmpeg, &file, &format!("-map 0:v -c copy -f {format}"));
            let (units, want) = (demuxed.units(), kept(video, &es));
            let units: Vec<_> = (units.into_iter())
                .filter(|unit| !matches!(video.unit(unit), Unit::Set(_)))
                .collect();
            assert!(units == want, "{name}: {} units of {}", units.len(), want.len());
            let times: Vec<_> = (streams.next().unwrap().iter())
                .map(|p| ((p.dts + 45) / 90, (p.pts + 45) / 90))
                .collect();
            // ffmpeg begins at 0, so that it rounds otherwise.
            let (got, times) = (unwrapped(demuxed.times(Kind::Video)), unwrapped(times));
            assert_eq!(got.len(), times.len(), "{name}");
            for (got, want) in got.iter().zip(times) {
                let off = (got.0 - want.0).abs().max((got.1 - want.1).abs());
                assert!(off <= 1, "{name}: {got:?} {want:?}");
            }
            let keys = demuxed.frames(Kind::Video).filter(|packet| packet.key).count();
            assert!(keys >= 1 && keys <= times_of(&args, want.len()), "{name}: {keys}");
            assert_eq!(
                demuxed.packets.iter().filter(|p| p.header && p.kind == Kind::Video).count(),
                1
            );
        }
        if let Some(audio) = audio {
            let es = match audio {
                Audio::Aac => without_adts(&extract(&ffmpeg, &file, "-map 0:a -c copy -f adts")),
                Audio::Mp3 => extract(
                    &ffmpeg,
                    &file,
                    "-map 0:a -c copy -write_xing 0 -id3v2_version 0 -f mp3",
                ),
            };
            assert!(demuxed.sound() == es, "{name}: {} of {}", demuxed.sound().len(), es.len());
            let truth: Vec<_> =
                streams.next().unwrap().iter().map(|p| ((p.dts + 45) / 90, 0)).collect();
            let got = demuxed.times(Kind::Audio);
            assert_eq!(got.len(), truth.len(), "{name}");
            for (got, want) in unwrapped(got).iter().zip(unwrapped(truth)) {
                assert!((got.0 - want.0).abs() <= 1, "{name}: {got:?} {want:?}");
            }
        }
    }
}

/// At most as many key frames as there may be: one a second, or all of a stream without others.
fn times_of(args: &str, pictures: usize) -> usize {
    if args.contains("-t 1") { pictures } else { 5 }
}

/// From the first one on, so that a wrap in between does not count.
fn unwrapped(times: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    const WRAP: i64 = (1 << 33) / 90;
    let first = times.first().map_or(0, |time| time.0);
    let near = |time: i64| {
        let time = time - first;
        if time < -WRAP / 2 { time + WRAP } else { time }
    };
    times.into_iter().map(|(dts, pts)| (near(dts), near(pts))).collect()
}

#[test]
fn pieces_of_any_size_of_a_long_file_give_the_same() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let args = format!("{PICTURE} {TONE} -t 4 {H264} {AAC} -f mpegts");
    let file = media::make(&ffmpeg, "demux.ts", &args);
    let want = demux(&file, usize::MAX).packets;
    for size in [100, 188, 1000, 1316, 65_536] {
        assert_eq!(demux(&file, size).packets, want, "{size}");
    }
}

#[test]
fn latm_is_refused_and_the_video_comes() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let args = format!("{PICTURE} {TONE} -t 2 {H264} {AAC} -mpegts_flags latm -f mpegts");
    let file = media::make(&ffmpeg, "latm.ts", &args);
    let demuxed = demux(&file, 1316);
    let program = Note::Program { number: 1, video: Some(Video::H264), audio: None };
    assert_eq!(demuxed.notes, [Note::Latm, program]);
    assert_eq!(demuxed.frames(Kind::Video).count(), 50);
    assert_eq!(demuxed.frames(Kind::Audio).count(), 0);
}

#[test]
fn files_one_after_the_other_are_one_stream_in_time() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let args = format!("{PICTURE} {TONE} -t 2 {H264} {AAC} -f mpegts");
    let file = media::make(&ffmpeg, "loop.ts", &args);
    let once = std::fs::read(&file).unwrap();
    let looped = std::env::temp_dir().join(format!("loop-{}.ts", std::process::id()));
    std::fs::write(&looped, once.repeat(4)).unwrap();
    let demuxed = demux(&looped, 1316);
    std::fs::remove_file(&looped).unwrap();
    let mut timeline = Timeline::new(Start::Zero);
    let mut last = [None::<u32>; 2];
    for packet in demuxed.packets {
        if packet.header {
            continue;
        }
        let kind = usize::from(packet.kind == Kind::Video);
        let dts = timeline.correct(packet).dts;
        if let Some(last) = last[kind] {
            assert!(dts > last && dts - last < 200, "{last} {dts}");
        }
        last[kind] = Some(dts);
    }
    let [audio, video] = last.map(|last| last.unwrap());
    assert!((7700..8200).contains(&video), "{video}");
    assert!(audio.abs_diff(video) < 200, "{audio} {video}: in sync");
    assert!(timeline.jumps() <= 3, "{}", timeline.jumps());
}
