use super::super::check::{Checked, Pes};
use super::*;
use crate::codec::testing::{hex, mutations};
use crate::format::flv;
use crate::limits::MESSAGE_MAX;
use crate::media::Kind;

const VIDEO_HEADER: &str = "17 00 000000 0142c00cffe10004 6742c00c 010002 68cb";
const AUDIO_HEADER: &str = "af 00 1210";
const SETS: &str = "000001 6742c00c 000001 68cb";

fn packet(kind: Kind, dts: u32, bytes: &str) -> Packet {
    Packet::new(kind, dts, hex(bytes).into())
}

fn video(dts: u32, bytes: &str) -> Packet {
    packet(Kind::Video, dts, bytes)
}

fn audio(dts: u32, bytes: &str) -> Packet {
    packet(Kind::Audio, dts, bytes)
}

fn headers() -> [Packet; 2] {
    [video(0, VIDEO_HEADER), audio(0, AUDIO_HEADER)]
}

/// Muxes `packets` and checks what comes out.
fn mux(defaults: Defaults, packets: impl IntoIterator<Item = Packet>) -> Checked {
    let (mut mux, mut out) = (Mux::new(defaults), Vec::new());
    for packet in packets {
        mux.packet(&packet, &mut out).unwrap();
    }
    mux.flush(&mut out);
    read(&out)
}

fn read(out: &[u8]) -> Checked {
    let mut checked = Checked::default();
    checked.read(out);
    checked
}

/// The built-in stream: 320x180, 25 pictures a second, AAC of 32 kHz.
fn demo() -> Vec<Packet> {
    let mut input = &include_bytes!("../../../../tests/data/moving.flv")[..];
    flv::Tag::start(&mut input).unwrap();
    std::iter::from_fn(|| flv::Tag::take(&mut input).ok())
        .map(|tag| Packet::new(tag.kind, tag.timestamp, tag.body.to_vec().into()))
        .collect()
}

/// Name, packets after the headers, elementary bytes that come out.
type Case = (&'static str, &'static str, &'static str);

const PICTURES: &[Case] = &[
    (
        "a key frame gets delimiter and parameter sets",
        "17 01 000000 00000003 658801",
        "00000001 09f0 000001 6742c00c 000001 68cb 000001 658801",
    ),
    (
        "an inter frame gets a delimiter",
        "27 01 000000 00000003 419a01",
        "00000001 09f0 000001 419a01",
    ),
    (
        "a delimiter of the source is kept",
        "17 01 000000 00000002 0910 00000003 658801",
        "00000001 0910 000001 6742c00c 000001 68cb 000001 658801",
    ),
    (
        "parameter sets of the source are kept",
        "17 01 000000 00000002 6755 00000002 6866 00000003 658801",
        "00000001 09f0 000001 6755 000001 6866 000001 658801",
    ),
    (
        "sets stand before the first slice only",
        "17 01 000000 00000002 0605 00000003 658801 00000003 658802",
        "00000001 09f0 000001 0605 000001 6742c00c 000001 68cb 000001 658801 000001 658802",
    ),
    (
        "start codes in the packet",
        "17 01 000000 00000001 658801 000001 658802",
        "00000001 09f0 000001 6742c00c 000001 68cb 000001 658801 000001 658802",
    ),
    ("Enhanced RTMP avc1", "a1 61766331 000000 00000003 419a01", "00000001 09f0 000001 419a01"),
];

#[test]
fn pictures_become_access_units() {
    for &(name, bytes, want) in PICTURES {
        let checked = mux(Defaults::default(), headers().into_iter().chain([video(0, bytes)]));
        let pictures: Vec<_> = checked.of(0x100).collect();
        assert_eq!(pictures.len(), 1, "{name}");
        assert_eq!(pictures[0].data, hex(want), "{name}");
    }
}

#[test]
fn hevc_has_its_own_delimiter_and_stream_type() {
    let header = "90 68766331 0101600000009000000000003ff000fcfdf8f800000f03
        20000100024001 21000100024201 22000100024401";
    let checked = mux(
        Defaults::default(),
        [video(0, header), video(0, "91 68766331 000014 00000003 260199")],
    );
    let pes = checked.of(0x100).next().unwrap();
    assert_eq!(pes.data, hex("00000001 460150 0000014001 0000014201 0000014401 000001260199"));
    assert_eq!((pes.pts, pes.dts), (20 * TICKS, 0));
    assert_eq!(checked.map.get(&0x100), Some(&0x24));
}

#[test]
fn aac_gets_adts_and_mp3_stays_as_it_is() {
    let checked = mux(
        Defaults::default(),
        [headers()[1].clone(), audio(0, "af 01 aabb"), audio(10, "2f ffb3"), audio(20, "af01cc")],
    );
    let data = |pid| checked.of(pid).map(|pes| pes.data.clone()).collect::<Vec<_>>();
    assert_eq!(data(0x101), [hex("fff95080013ffcaabb"), hex("fff95080011ffccc")]);
    assert_eq!(data(0x102), [hex("ffb3")]);
    assert_eq!(checked.map.get(&0x101), Some(&0x0f));
    assert_eq!(checked.tables, 3, "each change of codec");
}

/// ISO/IEC 14496-3 table 1.18.
#[test]
fn every_sampling_rate_is_in_the_headers() {
    for rate in 0..13_u8 {
        let header = [0xaf, 0, 2 << 3 | rate >> 1, (rate & 1) << 7 | 2 << 3];
        let header = Packet::new(Kind::Audio, 0, header.to_vec().into());
        let out = mux(Defaults::default(), [header, audio(0, "af 01 aabb")]);
        let frame = &out.of(0x101).next().unwrap().data;
        assert_eq!((frame[2] >> 6, frame[2] >> 2 & 15), (1, rate), "LC");
        assert_eq!(frame[7..], [0xaa, 0xbb]);
    }
}

#[test]
fn composition_times_are_signed() {
    for (cts, want) in [("000028", 3600), ("ffffd8", -3600), ("000000", 0)] {
        let frame = format!("27 01 {cts} 00000003 419a01");
        let checked = mux(Defaults::default(), headers().into_iter().chain([video(1000, &frame)]));
        let pes = &checked.pes[0];
        assert_eq!((pes.dts, pes.pts), (90_000, 90_000 + want));
    }
}

#[test]
fn the_clock_comes_with_key_frames_and_every_tenth_of_a_second() {
    let key = "17 01 000000 00000003 658801";
    let inter = "27 01 000000 00000003 419a01";
    let sound = "af 01 aabb";
    let packets = [
        video(0, key),
        audio(5, sound),
        video(40, inter),
        video(80, inter),
        video(100, key),
        audio(125, sound),
    ];
    let checked = mux(Defaults::default(), headers().into_iter().chain(packets));
    let with: Vec<_> = checked.pes.iter().filter_map(|pes| pes.pcr).collect();
    assert_eq!(with, [0, 80 * TICKS, 100 * TICKS]);
    assert_eq!((checked.clock, checked.tables), (0x100, 2));
    let rare = (0..400).map(|i| video(i * 40, inter));
    let checked = mux(Defaults::default(), headers().into_iter().chain(rare));
    let with: Vec<_> = checked.pes.iter().filter_map(|pes| pes.pcr).collect();
    let want: Vec<_> = (0..200).map(|i| i * 80 * TICKS).collect();
    assert_eq!(with, want, "no key frame at all");
}

#[test]
fn sound_alone_carries_the_clock_and_the_map_forgets_the_picture() {
    let frames = (0..200).map(|i| audio(i * 23, "af 01 aabb"));
    let checked = mux(Defaults::default(), [headers()[1].clone()].into_iter().chain(frames));
    assert!(checked.pes.iter().all(|pes| pes.pcr.is_some()));
    assert_eq!((checked.clock, checked.map.len()), (0x101, 1));
    assert_eq!(checked.tables, 5, "one a second");
}

#[test]
fn what_falls_silent_leaves_the_map_and_comes_back() {
    let key = |dts| video(dts, "17 01 000000 00000003 658801");
    let sound = |dts| audio(dts, "af 01 aabb");
    let (mut mux, mut out) = (Mux::new(Defaults::default()), Vec::new());
    let mut feed = |packets: Vec<Packet>| {
        for packet in packets {
            mux.packet(&packet, &mut out).unwrap();
        }
        let checked = read(&out);
        (checked.map.into_keys().collect::<Vec<_>>(), checked.clock)
    };
    let both = headers().into_iter().chain([key(0), sound(1)]).collect();
    assert_eq!(feed(both), (vec![0x100, 0x101], 0x100));
    let pictures = (1..10).map(|i| key(i * 1000)).collect();
    assert_eq!(feed(pictures), (vec![0x100], 0x100));
    assert_eq!(feed(vec![sound(10_000)]), (vec![0x100, 0x101], 0x100));
    assert_eq!(feed((10..600).map(|i| sound(i * 1000)).collect()), (vec![0x101], 0x101));
    assert_eq!(feed(vec![key(600_000)]), (vec![0x100, 0x101], 0x100));
}

#[test]
fn gathered_sound_shares_a_header() {
    let defaults = Defaults { video: None, gather_ms: 720, ..Defaults::default() };
    let frames = || (0..100).map(|i| audio(i * 23, "af 01 aabb"));
    let checked = mux(defaults, [headers()[1].clone()].into_iter().chain(frames()));
    let starts: Vec<_> = checked.pes.iter().map(|pes| pes.dts / TICKS).collect();
    assert_eq!(starts, [0, 33 * 23, 66 * 23, 99 * 23], "the times of the first frames");
    let bytes: usize = checked.pes.iter().map(|pes| pes.data.len()).sum();
    assert_eq!(bytes, 100 * 9, "nothing is lost");
    // With a picture nothing is gathered any more.
    let checked = mux(defaults, headers().into_iter().chain(frames()));
    assert_eq!(checked.pes.len(), 100);
}

#[test]
fn gathered_sound_is_bounded() {
    let defaults = Defaults { video: None, gather_ms: 3_000_000, ..Defaults::default() };
    let frame = format!("af 01 {}", "aa".repeat(8000));
    let frames = (0..50).map(|i| audio(i, &frame));
    let checked = mux(defaults, [headers()[1].clone()].into_iter().chain(frames));
    assert!(checked.pes.iter().all(|pes| pes.data.len() <= GATHERED_AUDIO));
    assert_eq!(checked.pes.len(), 13, "four frames each");
}

#[test]
fn times_wrap_at_31_and_at_33_bits() {
    let inter = "27 01 000000 00000003 419a01";
    let start = time::MASK - 39;
    let frames = [video(start, inter), video(0, inter), video(40, inter)];
    let (mut mux, mut out) = (Mux::new(Defaults::default()), Vec::new());
    let mut times = Vec::new();
    for packet in headers().into_iter().chain(frames) {
        if let Muxed::Frame { time, .. } = mux.packet(&packet, &mut out).unwrap() {
            times.push(time - i64::from(start));
        }
    }
    assert_eq!(times, [0, 40, 80]);
    let clock = |time: i64| (time * TICKS).rem_euclid(1 << 33);
    let dts: Vec<_> = read(&out).pes.iter().map(|pes| pes.dts).collect();
    assert_eq!(dts, [0, 40, 80].map(|more| clock(i64::from(start) + more)));
}

#[test]
fn segments_begin_with_tables_and_counters_go_on() {
    let mut mux = Mux::new(Defaults::default());
    let mut checked = Checked::default();
    for (i, packet) in demo().iter().enumerate() {
        let mut out = Vec::new();
        if i % 50 == 0 {
            mux.begin_segment();
        }
        let muxed = mux.packet(packet, &mut out).unwrap();
        if let Muxed::Frame { tables, .. } = muxed {
            assert_eq!(tables, out[1..3] == [0x40, 0], "tables in front");
        }
        checked.read(&out);
    }
    mux.restart(Defaults::default());
    for packet in demo() {
        let mut out = Vec::new();
        mux.packet(&packet, &mut out).unwrap();
        checked.read(&out);
    }
    let pictures: Vec<&Pes> = checked.of(0x100).collect();
    assert_eq!(pictures.len(), 400);
    let clocks: Vec<_> = pictures[..200].iter().filter_map(|pes| pes.pcr).collect();
    assert!(clocks.windows(2).all(|pair| (1..=80 * TICKS).contains(&(pair[1] - pair[0]))));
    assert_eq!(checked.of(0x101).count(), 500);
}

#[test]
fn frames_before_their_header_are_left_out() {
    let checked = mux(
        Defaults::default(),
        [video(0, "17 01 000000 00000003 658801"), audio(0, "af 01 aabb"), video(0, "1702000000")],
    );
    assert!(checked.pes.is_empty() && checked.tables == 0);
}

#[test]
fn a_header_says_whether_it_changed() {
    let mut mux = Mux::new(Defaults::default());
    let mut header = |packet: &Packet| mux.packet(packet, &mut Vec::new()).unwrap();
    for changed in [true, false] {
        for packet in headers() {
            assert_eq!(header(&packet), Muxed::Header { changed });
        }
    }
    assert_eq!(header(&audio(0, "af 00 1190")), Muxed::Header { changed: true });
}

#[test]
fn a_bad_packet_writes_nothing_and_the_stream_goes_on() {
    let bad = [
        video(0, "17 01 000000 00000004 658801"),
        video(0, "17 01 000000 ffffffff 658801"),
        video(0, "17 00 000000 0142c00cffe10004 6542c00c 010002 68cb"),
        video(0, "17 00 000000 01"),
        video(0, "14 00 1234"),
        video(0, "17 01"),
        audio(0, "af 00 00"),
        audio(0, "b6 00"),
        audio(0, &format!("af 01 {}", "aa".repeat(0x2000))),
        audio(0, &format!("2f {}", "aa".repeat(0x10000))),
    ];
    let (mut mux, mut out) = (Mux::new(Defaults::default()), Vec::new());
    for packet in headers() {
        mux.packet(&packet, &mut out).unwrap();
    }
    for packet in &bad {
        assert!(mux.packet(packet, &mut out).is_err(), "{:02x?}", packet.payload.get(..8));
        assert!(out.is_empty());
    }
    mux.packet(&video(0, "17 01 000000 00000003 658801"), &mut out).unwrap();
    assert!(read(&out).pes[0].data.ends_with(&hex(&format!("{SETS} 000001 658801"))));
}

#[test]
fn a_message_gives_no_more_than_the_bound() {
    let start = "17 00 000000 0142c00cff e1";
    let sets = format!("{start} 1f00 67{} 010002 68cb", "11".repeat(0x1eff));
    for lengths in ["fc", "ff"] {
        let (mut mux, mut out) = (Mux::new(Defaults::default()), Vec::new());
        let mut header = hex(&sets);
        header[9] = hex(lengths)[0];
        let header = Packet::new(Kind::Video, 0, header.into());
        mux.packet(&header, &mut out).unwrap();
        let most = if lengths == "fc" {
            // Units of one byte behind lengths of one byte grow most.
            [&hex("17 01 000000")[..], &[1, 0x65].repeat(NAL_UNITS)].concat()
        } else {
            let len = (MESSAGE_MAX - 9) as u32;
            [&hex("17 01 000000")[..], &len.to_be_bytes(), &vec![0x65; len as usize]].concat()
        };
        let most = Packet::new(Kind::Video, 0, most.into());
        mux.packet(&most, &mut out).unwrap();
        assert!(out.len() <= bound(most.payload.len()), "{} bytes", out.len());
        assert!(!read(&out).pes.is_empty());
    }
    assert!(bound(MESSAGE_MAX) < MESSAGE_MAX + MESSAGE_MAX / 40 + 64 * 1024);
}

#[test]
fn mutated_streams_are_muxed_or_refused() {
    let inputs: Vec<_> = headers()
        .into_iter()
        .chain(PICTURES.iter().map(|&(_, bytes, _)| video(0, bytes)))
        .chain([audio(7, "af 01 aabb"), audio(8, "2f ffb3")])
        .collect();
    for (i, input) in inputs.iter().enumerate() {
        let (mut mux, mut checked) = (Mux::new(Defaults::default()), Checked::default());
        let mut rng = fastrand::Rng::with_seed(3);
        mutations(&input.payload, |changed| {
            let mut out = Vec::new();
            let changed = Packet::new(input.kind, rng.u32(..), changed.to_vec().into());
            let _ = mux.packet(&changed, &mut out);
            // Something whole between, so that headers are there.
            let _ = mux.packet(&inputs[rng.usize(..inputs.len())], &mut out);
            assert!(out.len() <= bound(changed.payload.len()) + bound(100), "input {i}");
            checked.read(&out);
        });
    }
}
