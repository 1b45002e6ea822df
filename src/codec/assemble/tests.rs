use super::super::testing::*;
use super::*;
use crate::media::arena::{Arena, Pool};

const SPS: &str = "6742c00cd901419f9f011000000300100000030320f142a480";
const PPS: &str = "68cb83cb20";
const OTHER_PPS: &str = "68ce3c80";
const VPS5: &str = "40010c01ffff01600000030090000003000003003f959809";
const SPS5: &str =
    "42010101600000030090000003000003003fa005020171f265959a4932bc05a02000000300200000030321";
const PPS5: &str = "4401c172b46240";

fn memory() -> Arena {
    Arena::new(Pool::new(8 << 20), 8 << 20, MESSAGE_MAX)
}

/// Gives `pictures`, each of them units, and tells what came out.
fn run(video: Video, pictures: &[&[&str]]) -> Vec<Packet> {
    let (mut assembler, mut memory, mut packets) = (Assembler::new(video), memory(), Vec::new());
    for (i, picture) in pictures.iter().enumerate() {
        let units: Vec<_> = picture.iter().map(|unit| hex(unit)).collect();
        let time = Time { dts: 40 * i as u32, cts: 80 };
        let units = units.iter().map(|unit| &unit[..]);
        assembler.picture(units, time, &mut memory, &mut |packet| packets.push(packet)).unwrap();
    }
    packets
}

/// Name, codec, units of each picture, tag bodies (`header` for one that is not looked at).
type Case = (&'static str, Video, &'static [&'static [&'static str]], &'static [&'static str]);

const CASES: &[Case] = &[
    (
        "header and key frame",
        Video::H264,
        &[&["09f0", SPS, PPS, "0605", "6588", "6540"]],
        &["header", "17 01 000050 00000002 0605 00000002 6588 00000002 6540"],
    ),
    ("nothing before the sets", Video::H264, &[&["6588"], &[SPS, "6588"]], &[]),
    ("sets alone are no picture", Video::H264, &[&[SPS], &[PPS], &["09f0"]], &[]),
    (
        "sets repeated",
        Video::H264,
        &[&[SPS, PPS, "6588"], &["419a"], &[SPS, PPS, "6588"]],
        &[
            "header",
            "17 01 000050 00000002 6588",
            "27 01 000050 00000002 419a",
            "17 01 000050 00000002 6588",
        ],
    ),
    (
        "sets changed",
        Video::H264,
        &[&[SPS, PPS, "6588"], &[OTHER_PPS, "6588"]],
        &["header", "17 01 000050 00000002 6588", "header", "17 01 000050 00000002 6588"],
    ),
    (
        "a recovery point keeps its sets",
        Video::H264,
        &[&[SPS, PPS, "060601c480", "419a"]],
        &[
            "header",
            "17 01 000050 00000019 6742c00cd901419f9f011000000300100000030320f142a480
            00000005 68cb83cb20 00000005 060601c480 00000002 419a",
        ],
    ),
    (
        "filler is left out",
        Video::H264,
        &[&[SPS, PPS, "0cffff80", "6588", "0cffff80", ""]],
        &["header", "17 01 000050 00000002 6588"],
    ),
    (
        "hevc",
        Video::Hevc,
        &[&["460150", VPS5, SPS5, PPS5, "260180"], &["020180"]],
        &["header", "91 68766331 000050 00000003 260180", "a1 68766331 000050 00000003 020180"],
    ),
    ("hevc without vps", Video::Hevc, &[&[SPS5, PPS5, "260180"]], &[]),
];

#[test]
fn pictures_become_packets_behind_their_header() {
    for &(name, video, pictures, want) in CASES {
        let packets = run(video, pictures);
        assert_eq!(packets.len(), want.len(), "{name}: {packets:?}");
        for (packet, want) in packets.iter().zip(want) {
            assert_eq!(packet.header, *want == "header", "{name}");
            if packet.header {
                assert!(super::super::describe(Kind::Video, &packet.payload).unwrap().is_some());
            } else {
                assert_eq!(packet.payload, hex(want), "{name}");
                assert_eq!(packet.key, matches!(packet.payload[0], 0x17 | 0x91), "{name}");
            }
        }
    }
}

#[test]
fn a_header_can_come_from_elsewhere() {
    let mut assembler = Assembler::new(Video::H264);
    assert_eq!(assembler.header(0, &mut memory()), Ok(None));
    for set in [SPS, PPS] {
        assert_eq!(assembler.parameter_set(&hex(set)), Ok(()));
    }
    let header = assembler.header(7, &mut memory()).unwrap().unwrap();
    let want = format!("17 00 000000 0142c00cffe10019 {SPS} 010005 {PPS}");
    assert_eq!((header.payload, header.dts), (hex(&want).into(), 7));
    assert_eq!(assembler.header(0, &mut memory()), Ok(None), "once");
    for wrong in ["", "6588", "6742", "88", "67420000"] {
        assert!(assembler.parameter_set(&hex(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn sets_are_bounded_in_number_and_bytes() {
    let mut assembler = Assembler::new(Video::H264);
    assembler.parameter_set(&hex(SPS)).unwrap();
    let long = |len: usize| [hex("68cb"), vec![0x55; len]].concat();
    assert!(assembler.parameter_set(&long(PARAMETER_SETS)).is_err());
    assert!(assembler.parameter_set(&long(PARAMETER_SETS - 100)).is_ok());
    assert!(assembler.parameter_set(&long(PARAMETER_SETS - 50)).is_ok(), "in place of it");
    // Many short ones, their ids as Exp-Golomb numbers.
    let mut assembler = Assembler::new(Video::H264);
    let sets =
        (1..256_u32).map(|n| [&[0x68][..], &(n << (31 - 2 * n.ilog2())).to_be_bytes()].concat());
    let taken = sets.filter(|set| assembler.parameter_set(set).is_ok()).count();
    assert_eq!((taken, assembler.sets.len()), (PARAMETER_SETS_COUNT, PARAMETER_SETS_COUNT));
}

#[test]
fn a_picture_without_memory_is_given_up() {
    let units = [hex(SPS), hex(PPS), hex("6588")];
    let units = units.iter().map(|unit| &unit[..]);
    let mut assembler = Assembler::new(Video::H264);
    let mut none = Arena::new(Pool::new(0), 0, MESSAGE_MAX);
    let time = Time { dts: 0, cts: 0 };
    let full = assembler.picture(units.clone(), time, &mut none, &mut |_| panic!("no packet"));
    assert_eq!(full, Err(Full::NoMemory));
    let mut packets = 0;
    assembler.picture(units, time, &mut memory(), &mut |_| packets += 1).unwrap();
    assert_eq!(packets, 2);
    let huge = vec![0x65; MESSAGE_MAX];
    assembler.picture([&huge[..]].into_iter(), time, &mut memory(), &mut |_| panic!()).unwrap();
    assert_eq!(assembler.dropped(), 1);
}

#[test]
fn units_are_gathered_from_pieces() {
    let mut gather = Gather::new();
    gather.extend(b"lost");
    gather.unit(b"ab");
    gather.begin();
    gather.extend(b"cd");
    gather.extend(b"e");
    assert_eq!(gather.units().collect::<Vec<_>>(), [b"ab"]);
    gather.end();
    gather.begin();
    gather.extend(b"given up");
    gather.begin();
    gather.extend(b"this too");
    gather.abandon();
    assert_eq!(gather.units().collect::<Vec<_>>(), [&b"ab"[..], b"cde"]);
    gather.unit(&vec![1; MESSAGE_MAX]);
    assert!(gather.over());
    gather.unit(b"f");
    assert_eq!(gather.units().count(), 2);
    assert!(gather.bytes.capacity() <= MESSAGE_MAX);
    gather.clear();
    assert!(gather.is_empty() && !gather.over());
}

#[test]
fn mutated_units_are_taken_or_dropped() {
    for (video, sets) in [(Video::H264, [SPS, SPS, PPS]), (Video::Hevc, [VPS5, SPS5, PPS5])] {
        let stream: Vec<u8> = sets
            .iter()
            .chain(&["6588", "260180"])
            .flat_map(|unit| hex(&format!("000001{unit}")))
            .collect();
        mutations(&stream, |changed| {
            let mut assembler = Assembler::new(video);
            let mut memory = memory();
            let time = Time { dts: 0, cts: -5 };
            assembler
                .picture(nal::units(changed), time, &mut memory, &mut |packet| {
                    assert!(packet.payload.len() < 4 * changed.len() + 100);
                })
                .unwrap();
        });
    }
}
