use super::super::Content;
use super::*;
use crate::codec::latm::Mux;
use crate::codec::testing::{hex, mutations};
use crate::limits::{KEY_WAIT_MS, MESSAGE_MAX, RTP_AUDIO_FRAME, RTP_PICTURE_KEPT};

const H264: Format = Format { payload: Payload::H264, payload_type: 96, clock_rate: 90_000 };
const HEVC: Format = Format { payload: Payload::Hevc, ..H264 };
const HBR: Format = aac(13, 3, 3, 1024);
const LBR: Format = aac(6, 2, 2, 1024);

/// One frame an element, of 1024 samples at 48 kHz.
const LATM: Format = latm(false, Some(Mux { frames: 1, samples: 1024, core_rate: 48_000 }));
const LATM2: Format = latm(false, Some(Mux { frames: 2, samples: 1024, core_rate: 48_000 }));
const LATM_IN_BAND: Format = latm(true, None);

const fn latm(in_band: bool, mux: Option<Mux>) -> Format {
    Format { payload: Payload::Latm { in_band, mux }, payload_type: 96, clock_rate: 48_000 }
}

const fn aac(size_length: u8, index_length: u8, delta: u8, frame_ticks: u32) -> Format {
    let index_delta_length = delta;
    let payload = Payload::Aac { size_length, index_length, index_delta_length, frame_ticks };
    Format { payload, payload_type: 96, clock_rate: 48_000 }
}

/// Number, timestamp, marker, payload.
type Sent = (u16, u32, bool, &'static str);

fn packet(ssrc: u32, (sequence, timestamp, marker, payload): Sent) -> Vec<u8> {
    let mut bytes = Vec::new();
    Header { marker, payload_type: 96, sequence, timestamp, ssrc }.write(&mut bytes);
    bytes.extend(hex(payload));
    bytes
}

fn text(unit: Unit<'_>) -> String {
    let digits = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    match unit.content {
        Content::Audio(frame) => format!("{} {}", unit.time, digits(frame)),
        Content::AudioConfig(config) => format!("{}C {}", unit.time, digits(config)),
        Content::Picture { nals, key } => {
            let lens: usize = nals.map(|nal| nal.len() + 4).sum();
            assert_eq!(nals.with_lengths().len(), lens, "lengths add up");
            let units: Vec<_> = nals.map(digits).collect();
            format!("{}{} {}", unit.time, if key { "K" } else { "" }, units.join("+"))
        }
    }
}

fn receive(format: Format, ordered: bool, packets: &[Vec<u8>]) -> (Vec<String>, Stats) {
    let mut track = Track::new(format, ordered);
    let mut got = Vec::new();
    for packet in packets {
        let _ = track.receive(Duration::ZERO, packet, &mut |unit| got.push(text(unit)));
    }
    track.finish(&mut |unit| got.push(text(unit)));
    (got, track.stats())
}

/// Name, format, packets, units, pictures dropped.
type Case = (&'static str, Format, &'static [Sent], &'static [&'static str], u32);

const CASES: &[Case] = &[
    (
        "H.264: sets, a key picture, a picture of two slices",
        H264,
        &[
            (1, 0, false, "674201"),
            (2, 0, false, "68ce"),
            (3, 0, true, "658801"),
            (4, 3600, false, "419a01"),
            (5, 3600, true, "410502"),
        ],
        &["0K 674201+68ce+658801", "3600 419a01+410502"],
        0,
    ),
    (
        "H.264: the timestamp ends pictures where no marker does",
        H264,
        &[(1, 0, false, "6588"), (2, 3600, false, "419a"), (3, 7200, false, "419b")],
        &["0K 6588", "3600 419a", "7200 419b"],
        0,
    ),
    (
        "H.264: markers behind sets alone mean nothing",
        H264,
        &[
            (1, 0, true, "6742"),
            (2, 0, true, "68ce"),
            (3, 0, true, "6588"),
            (4, 1, true, "6742"),
            (5, 9, true, "419a"),
        ],
        &["0K 6742+68ce+6588", "9 6742+419a"],
        0,
    ),
    (
        "H.264: an aggregate is split",
        H264,
        &[(1, 0, true, "78 0003 674201 0002 68ce 0000 0002 6588")],
        &["0K 674201+68ce+6588"],
        0,
    ),
    (
        "H.264: fragments are joined",
        H264,
        &[
            (1, 0, false, "7c85 8801"),
            (2, 0, false, "7c05 0203"),
            (3, 0, true, "7c45 04"),
            (4, 9, true, "5c c1 9a05"),
        ],
        &["0K 6588 01 02 03 04", "9 419a05"],
        0,
    ),
    (
        "H.264: B-frames behind a broken picture are shown before it, and dropped like others",
        H264,
        &[
            (1, 0, true, "6588"),
            (2, 10_800, false, "7c81 9a01"),
            (4, 10_800, true, "7c41 03"),
            (5, 3600, true, "019a"),
            (6, 7200, true, "019b"),
            (7, 14_400, true, "6589"),
            (8, 12_600, true, "019c"),
        ],
        &["0K 6588", "14400K 6589", "12600 019c"],
        3,
    ),
    (
        "H.264: a clock that was set back ends the wait for a key frame",
        H264,
        &[
            (1, 1_000_000, true, "6588"),
            (3, 1_003_600, true, "419a"),
            (4, 103_500, true, "419b"),
            (5, 103_600, true, "419c"),
        ],
        &["1000000K 6588", "103500 419b", "103600 419c"],
        1,
    ),
    (
        "H.264: a lost fragment drops pictures up to a key frame",
        H264,
        &[
            (1, 0, true, "6588"),
            (2, 10, false, "5c81 9a"),
            (4, 10, true, "5c41 03"),
            (5, 20, true, "419a"),
            (6, 30, true, "6588"),
            (7, 40, true, "419a"),
        ],
        &["0K 6588", "30K 6588", "40 419a"],
        2,
    ),
    (
        "H.264: a whole picture lost, and half of the key frame behind it",
        H264,
        &[
            (1, 0, true, "6588"),
            (3, 20, true, "65 08"),
            (4, 30, true, "6588"),
            (6, 50, true, "6588"),
        ],
        &["0K 6588", "30K 6588", "50K 6588"],
        1,
    ),
    (
        "H.264: a fragment without its beginning",
        H264,
        &[
            (1, 0, false, "7c05 01"),
            (2, 0, true, "7c45 02"),
            (3, 10, true, "419a"),
            (4, 20, true, "6588"),
        ],
        &["20K 6588"],
        2,
    ),
    (
        "H.264: a unit amid fragments, fragments amid fragments",
        H264,
        &[
            (1, 0, false, "7c85 88"),
            (2, 0, true, "6588"),
            (3, 10, false, "7c85 88"),
            (4, 10, false, "7c85 88"),
            (5, 10, true, "7c45 88"),
            (6, 20, false, "7c85 88"),
            (7, 30, true, "6588"),
        ],
        &["30K 6588"],
        3,
    ),
    (
        "H.264: an aggregate that lies, kinds that are not read",
        H264,
        &[
            (1, 0, true, "78 0003 6588"),
            (2, 10, true, "79 0000 0002 6588"),
            (3, 20, true, "7d85 0000 88"),
            (4, 30, true, "7c"),
            (5, 40, true, ""),
            (6, 50, true, "6588"),
        ],
        &["50K 6588"],
        4,
    ),
    (
        "H.264: late and double packets are put right",
        H264,
        &[
            (1, 0, false, "7c85 01"),
            (3, 0, true, "7c45 03"),
            (2, 0, false, "7c05 02"),
            (2, 0, false, "7c05 02"),
        ],
        &["0K 65010203"],
        0,
    ),
    (
        "H.265: sets in an aggregate, fragments, a later picture",
        HEVC,
        &[
            (1, 0, false, "6001 0003 400101 0003 420101 0003 440101"),
            (2, 0, false, "6201 93 aa"),
            (3, 0, false, "6201 13 bb"),
            (4, 0, true, "6201 53 cc"),
            (5, 90, true, "0201 dd"),
        ],
        &["0K 400101+420101+440101+2601aabbcc", "90 0201dd"],
        0,
    ),
    (
        "H.265: a loss drops up to a key frame, PACI is refused",
        HEVC,
        &[
            (1, 0, true, "260180"),
            (3, 20, true, "020180"),
            (4, 30, true, "2a0180"),
            (5, 40, true, "640100"),
            (6, 50, true, "260180"),
            (7, 60, true, "02"),
            (8, 70, true, "6001 0009 26"),
            (9, 80, true, "6201"),
            (10, 90, true, "260180"),
        ],
        &["0K 260180", "30K 2a0180", "50K 260180", "90K 260180"],
        5,
    ),
    (
        "AAC: one frame, three frames",
        HBR,
        &[(1, 1000, true, "0010 0018 aabbcc"), (2, 2024, true, "0030 0008 0010 0008 aa bbbb cc")],
        &["1000 aabbcc", "2024 aa", "3048 bbbb", "4072 cc"],
        0,
    ),
    (
        "AAC: low bit rate, indices that leave frames out",
        LBR,
        &[(1, 0, true, "0010 0805 aabb cc")],
        &["0 aabb", "2048 cc"],
        0,
    ),
    (
        "AAC: a frame in three packets, then one with a hole",
        HBR,
        &[
            (1, 0, false, "0010 0028 aabb"),
            (2, 0, false, "0010 0028 ccdd"),
            (3, 0, true, "0010 0028 ee"),
            (4, 1024, false, "0010 0028 aabb"),
            (6, 1024, true, "0010 0028 ee"),
            (7, 2048, true, "0010 0008 aa"),
        ],
        &["0 aabbccddee", "2048 aa"],
        0,
    ),
    (
        "AAC: a frame of a packet that is cut off, headers that lie",
        HBR,
        &[
            (1, 0, true, "0020 0008 0010 aa bb"),
            (2, 10, true, "0010"),
            (3, 20, true, "ffff 0008 aa"),
            (4, 30, true, "00"),
            (5, 40, true, "0000 aa"),
            (6, 50, true, "0008 00 aa"),
            (7, 60, true, "0010 0008 aa"),
        ],
        &["0 aa", "60 aa"],
        0,
    ),
    (
        "AAC: with ADTS headers that should not be there",
        HBR,
        &[
            (1, 0, true, "0010 0048 fff15080013ffc aabb"),
            (2, 9, true, "0010 0048 fff1508001fffc aabb"),
        ],
        &["0 aabb", "9 fff1508001fffcaabb"],
        0,
    ),
    (
        "LATM: a frame an element, an element in several packets",
        LATM,
        &[
            (1, 0, true, "03 aabbcc"),
            (2, 1024, false, "05 dd"),
            (3, 1024, false, "eeff"),
            (4, 1024, true, "0102"),
            (5, 2048, true, "00"),
            (6, 3072, true, "01 03 7777"),
        ],
        &["0 aabbcc", "1024 ddeeff0102", "3072 03"],
        0,
    ),
    (
        "LATM: two frames an element",
        LATM2,
        &[(1, 5, true, "01aa 02bbcc")],
        &["5 aa", "1029 bbcc"],
        0,
    ),
    (
        "LATM: a lost packet costs its element",
        LATM,
        &[
            (1, 0, false, "05 aabb"),
            (3, 0, true, "01ddee"),
            (4, 1024, true, "01 ff"),
            (6, 3072, true, "01 fe"),
        ],
        &["1024 ff", "3072 fe"],
        0,
    ),
    (
        "LATM: the timestamp ends elements where no marker does",
        LATM,
        &[(1, 0, false, "02 aabb"), (2, 1024, false, "01 cc"), (3, 2048, true, "01 dd")],
        &["0 aabb", "1024 cc", "2048 dd"],
        0,
    ),
    (
        "LATM: in band, first without a config, then with one, then with another",
        LATM_IN_BAND,
        &[
            (1, 0, true, "80e600"),
            (2, 1024, true, "200011901fe01555d8"),
            (3, 2048, true, "80e600"),
            (4, 3072, true, "200011901fe01555d8"),
            (5, 4096, true, "200012101fe00f70"),
            (6, 5120, true, "601011901fe01555d8"),
        ],
        &["1024C 1190", "1024 aabb", "2048 cc", "3072 aabb", "4096C 1210", "4096 ee"],
        0,
    ),
];

fn joined(want: &[&str]) -> Vec<String> {
    let join = |unit: &&str| match unit.split_once(' ') {
        Some((time, rest)) => format!("{time} {}", rest.replace(' ', "")),
        None => (*unit).to_owned(),
    };
    want.iter().map(join).collect()
}

#[test]
fn units_come_out_of_packets() {
    for (name, format, sent, want, dropped) in CASES {
        let packets: Vec<_> = sent.iter().map(|sent| packet(7, *sent)).collect();
        let (got, stats) = receive(*format, false, &packets);
        assert_eq!((got, stats.pictures_dropped), (joined(want), *dropped), "{name}");
    }
}

#[test]
fn packets_cut_off_or_changed_do_no_harm() {
    for (name, format, sent, _, _) in CASES {
        let packets: Vec<_> = sent.iter().map(|sent| packet(7, *sent)).collect();
        for (at, whole) in packets.iter().enumerate() {
            let mut packets = packets.clone();
            for len in 0..whole.len() {
                packets[at].truncate(0);
                packets[at].extend_from_slice(&whole[..len]);
                let (got, _) = receive(*format, len % 2 == 0, &packets);
                assert!(got.len() < 20, "{name}");
            }
            let mut count = 0;
            mutations(whole, |changed| {
                count += 1;
                if count % 8 == 0 {
                    packets[at] = changed.to_vec();
                    receive(*format, true, &packets);
                }
            });
        }
    }
}

#[test]
fn frames_of_all_sizes_are_read_whole() {
    for len in [1, 255, 256, 257, 511, 1024, 8191_usize] {
        let frame: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let mut bytes = packet(1, (1, 0, true, "0010"));
        bytes.extend_from_slice(&((len as u16) << 3).to_be_bytes());
        bytes.extend_from_slice(&frame);
        let mut got = None;
        let mut track = Track::new(HBR, true);
        let result = track.receive(Duration::ZERO, &bytes, &mut |unit| {
            if let Content::Audio(frame) = unit.content {
                got = Some(frame.to_vec());
            }
        });
        assert_eq!((result, got), (Ok(()), Some(frame)), "{len}");
    }
}

#[test]
fn pictures_and_frames_longer_than_their_limits_are_left_out() {
    let mut track = Track::new(H264, true);
    let mut units = 0;
    let mut errors = Vec::new();
    let mut sequence = 0;
    let mut send = |track: &mut Track, time: u32, head: &'static str, len: usize, marker| {
        sequence += 1;
        let mut bytes = packet(1, (sequence, time, marker, head));
        bytes.resize(bytes.len() + len, 0x55);
        errors.extend(track.receive(Duration::ZERO, &bytes, &mut |_| units += 1).err());
    };
    send(&mut track, 0, "7c85 88", 1000, false);
    for _ in 0..MESSAGE_MAX / 60_000 + 2 {
        send(&mut track, 0, "7c05", 60_000, false);
    }
    send(&mut track, 0, "7c45", 10, true);
    send(&mut track, 90, "6588", RTP_PICTURE_KEPT, true);
    assert_eq!(errors, [Error::TooLong], "once");
    assert_eq!((units, track.stats().errors), (1, 1));

    let big = aac(16, 0, 0, 1024);
    let mut track = Track::new(big, true);
    let mut bytes = packet(1, (1, 0, false, "0010"));
    bytes.extend_from_slice(&(RTP_AUDIO_FRAME as u16 + 1).to_be_bytes());
    bytes.push(1);
    let result = track.receive(Duration::ZERO, &bytes, &mut |_| panic!("a frame"));
    assert_eq!(result, Err(Error::TooLong));
}

#[test]
fn a_stream_without_key_frames_goes_on_after_the_time_that_players_wait() {
    let wait = KEY_WAIT_MS as u32 * 90;
    let mut packets = vec![(1, 0, true, "6588"), (3, 3600, true, "419a")];
    packets.push((4, 3600 + wait, true, "419b"));
    packets.push((5, 3601 + wait, true, "419c"));
    let packets: Vec<_> = packets.into_iter().map(|sent| packet(1, sent)).collect();
    let (got, _) = receive(H264, true, &packets);
    assert_eq!(got, ["0K 6588".to_owned(), format!("{} 419c", 3601 + wait)]);
}

#[test]
fn another_source_takes_over_with_its_second_packet() {
    let packets = [
        packet(1, (65535, u32::MAX, true, "6588")),
        packet(2, (9, 5000, true, "419a")),
        packet(1, (0, 3599, true, "419a")),
        packet(2, (10, 9000, true, "419b")),
        packet(2, (11, 12_600, true, "419c")),
        packet(2, (12, 16_200, true, "6588")),
        packet(2, (13, 19_800, true, "419d")),
    ];
    let (got, stats) = receive(H264, false, &packets);
    let first = i64::from(u32::MAX);
    let want = [
        format!("{first}K 6588"),
        format!("{} 419a", first + 3600),
        format!("{}K 6588", first + 3600 + 3600),
        format!("{} 419d", first + 3600 + 7200),
    ];
    assert_eq!(got, want, "its pictures begin with a key frame");
    assert_eq!((stats.ssrc_changes, stats.received, stats.lost), (1, 3, 0));
}

#[test]
fn a_new_source_goes_on_in_the_time_of_the_old_one() {
    let mut track = Track::new(HBR, true);
    let mut got = Vec::new();
    for (at, ssrc, sent) in [
        (1000, 1, (1, 100, true, "0010 0008 aa")),
        (1100, 2, (1, 7_000_000, true, "0010 0008 bb")),
        (1200, 2, (2, 7_004_800, true, "0010 0008 cc")),
    ] {
        let now = Duration::from_millis(at);
        track.receive(now, &packet(ssrc, sent), &mut |unit| got.push(text(unit))).unwrap();
    }
    assert_eq!(got, ["100 aa", "9700 cc"]);
    let report = hex("80c80006 00000002 00000064 80000000 006acfc0 00000001 00000001");
    let report = track.receive_report(Duration::ZERO, &report).unwrap().0.unwrap();
    assert_eq!(report.timestamp, 9700 - 4800);
}

#[test]
fn what_was_not_announced_is_counted() {
    let mut track = Track::new(H264, false);
    let mut bytes = packet(1, (1, 0, true, "6588"));
    bytes[1] = 97;
    let mut none = |_: Unit<'_>| panic!("a unit");
    let now = Duration::ZERO;
    assert_eq!(track.receive(now, &bytes, &mut none), Err(Error::PayloadType(97)));
    assert_eq!(track.receive(now, &[0; 12], &mut none), Err(Error::Version));
    assert_eq!(track.receive(now, &[], &mut none), Err(Error::Short));
    let Stats { errors, last_error, received, .. } = track.stats();
    assert_eq!((errors, last_error, received), (3, Some(Error::Short), 0));
}

#[test]
fn a_gap_is_given_up_after_the_patience_of_the_caller() {
    let mut track = Track::new(H264, false);
    let mut got = Vec::new();
    let ms = Duration::from_millis;
    for (at, sent) in
        [(0, (1, 0, true, "6588")), (40, (3, 7200, true, "6588")), (80, (4, 10_800, true, "419a"))]
    {
        track.receive(ms(at), &packet(1, sent), &mut |unit| got.push(text(unit))).unwrap();
    }
    track.expire(ms(139), ms(100), &mut |unit| got.push(text(unit)));
    assert_eq!(got.len(), 1);
    track.expire(ms(140), ms(100), &mut |unit| got.push(text(unit)));
    assert_eq!(got, ["0K 6588", "7200K 6588", "10800 419a"]);
    assert_eq!(track.stats().lost, 1);
}

#[test]
fn reports_go_both_ways() {
    let mut track = Track::new(H264, true);
    let mut out = Vec::new();
    let sender = hex("80c80006 00000001 00000064 80000000 00000e10 00000001 00000001");
    let ms = Duration::from_millis;
    let found = track.receive_report(ms(0), &sender).unwrap().0.unwrap();
    assert_eq!((found.ntp, found.timestamp), (0x64_8000_0000, 3600), "before any packet");
    assert!(!track.write_report(ms(0), 2, "a", &mut out));
    for sequence in [10, 11, 13, 14] {
        let sent = packet(1, (sequence, u32::from(sequence) * 3600, true, "6588"));
        track.receive(ms(u64::from(sequence) * 40), &sent, &mut |_| {}).unwrap();
    }
    assert_eq!(track.receive_report(ms(1000), &sender), Ok((Some(found), false)));
    assert!(track.write_report(ms(1500), 2, "a", &mut out));
    let want = "81c90007 00000002 00000001 33000001 0000000e 00000000 00648000 00008000
        81ca0002 00000002 01016100";
    assert_eq!(out, hex(want), "one of five lost");
    out.clear();
    assert!(track.write_report(ms(1500), 2, "a", &mut out));
    assert_eq!(out[12], 0, "none since then");
    let bye = hex("81cb0001 00000001");
    assert_eq!(track.receive_report(ms(2000), &bye), Ok((None, true)));
    assert_eq!(track.receive_report(ms(2000), &bye[..5]), Err(Error::Short));
    let other = hex("80c80006 00000009 00000064 80000000 00000e10 00000001 00000001");
    assert_eq!(track.receive_report(ms(2000), &other), Ok((None, false)));
}
