use super::super::psi::crc32;
use super::super::{Audio, Defaults, Mux, TICKS, Video};
use super::*;
use crate::codec::testing::{hex, mutations};
use crate::format::flv;
use crate::limits::{MESSAGE_MAX, TS_SEARCH};
use crate::media::arena::{Arena, Full, Pool};
use crate::media::{Kind, time};

const SPS: &str = "6742c00cd901419f9f011000000300100000030320f142a480";
const PPS: &str = "68cb83cb20";

/// What came out of a stream.
#[derive(Debug, Default, PartialEq)]
struct Read {
    packets: Vec<Packet>,
    notes: Vec<Note>,
    counters: Counters,
    stop: Option<Stop>,
}

impl Read {
    fn of(&self, kind: Kind) -> Vec<&Packet> {
        self.packets.iter().filter(|packet| packet.kind == kind).collect()
    }
}

/// Reads a stream in pieces of `size` bytes, to its end.
fn read(stream: &[u8], size: usize) -> Read {
    let mut memory = Arena::new(Pool::new(64 << 20), 64 << 20, MESSAGE_MAX);
    let (mut demux, mut read) = (Demux::new(), Read::default());
    let mut out = |packet| read.packets.push(packet);
    let received =
        stream.chunks(size).try_for_each(|piece| demux.receive(piece, &mut memory, &mut out));
    read.stop = received.and_then(|()| demux.finish(&mut memory, &mut out)).err();
    read.notes.extend(std::iter::from_fn(|| demux.note()));
    read.counters = *demux.counters();
    read
}

/// Nothing was wrong.
fn clean(stream: &[u8]) -> Read {
    let read = read(stream, 1316);
    assert!(read.counters.is_clean(), "{}", read.counters);
    assert_eq!(read.stop, None);
    read
}

fn flv_packets(file: &[u8]) -> Vec<Packet> {
    let mut input = file;
    flv::Tag::start(&mut input).unwrap();
    std::iter::from_fn(|| flv::Tag::take(&mut input).ok())
        .map(|tag| Packet::new(tag.kind, tag.timestamp, tag.body.to_vec().into()))
        .collect()
}

/// The built-in stream: 320x180, 25 pictures a second, AAC of 32 kHz.
fn demo() -> Vec<Packet> {
    flv_packets(include_bytes!("../../../../tests/data/moving.flv"))
}

fn mux(packets: &[Packet]) -> Vec<u8> {
    let (mut mux, mut out) = (Mux::new(Defaults::default()), Vec::new());
    for packet in packets {
        mux.packet(packet, &mut out).unwrap();
    }
    mux.flush(&mut out);
    out
}

/// Packets of `kind` but for the end-of-sequence markers that encoders write last.
fn frames(packets: &[Packet], kind: Kind) -> Vec<&Packet> {
    packets
        .iter()
        .filter(|p| p.kind == kind && !matches!(p.payload[..2], [0x17, 2]) && p.payload.len() > 2)
        .collect()
}

#[test]
fn what_our_muxer_wrote_comes_back_bit_for_bit() {
    let source = demo();
    let stream = mux(&source);
    let back = clean(&stream);
    for kind in [Kind::Video, Kind::Audio] {
        let (want, got) = (frames(&source, kind), back.of(kind));
        assert_eq!(want.len(), got.len(), "{kind:?}");
        for (want, got) in want.iter().zip(got) {
            // Of an audio header what follows the channels gets lost.
            let len = if want.header && kind == Kind::Audio { 4 } else { want.payload.len() };
            assert_eq!(want.payload[..len], got.payload);
            assert_eq!((want.key, want.header), (got.key, got.header));
            assert!(want.header || want.dts == got.dts, "{} {}", want.dts, got.dts);
        }
    }
    let program = Note::Program { number: 1, video: Some(Video::H264), audio: Some(Audio::Aac) };
    assert_eq!(back.notes, [program]);
}

#[test]
fn pieces_of_any_size_give_the_same() {
    let stream = mux(&demo()[..80]);
    let want = read(&stream, stream.len());
    assert!(want.packets.len() > 70);
    for size in [1, 2, 3, 47, 187, 188, 189, 376, 377, 1316, 1500] {
        assert_eq!(read(&stream, size), want, "{size}");
    }
}

#[test]
fn a_stream_cut_off_anywhere_gives_what_was_whole() {
    let stream = mux(&demo()[..12]);
    let all = read(&stream, stream.len());
    let mut most = 0;
    for len in 0..stream.len() {
        let cut = read(&stream[..len], len.max(1));
        for kind in [Kind::Video, Kind::Audio] {
            let (cut, all) = (cut.of(kind), all.of(kind));
            // The last picture is what there is of it: nothing says that it is not whole.
            let whole = cut.iter().zip(&all).take_while(|(cut, all)| cut == all).count();
            assert!(whole + 1 >= cut.len(), "{len}: {whole} of {}", cut.len());
            most = most.max(whole);
        }
    }
    assert!(most >= 5, "{most}");
}

#[test]
fn lost_bytes_are_found_again() {
    let stream = mux(&demo());
    let all = clean(&stream).packets.len();
    for (from, len) in [(5000, 1), (5000, 100), (5001, 187), (20_000, 700), (33_333, 3333)] {
        let mut broken = stream.clone();
        broken.drain(from..from + len);
        let back = read(&broken, 1316);
        assert_eq!(back.counters.resyncs, 1, "{from} {len}");
        assert!(back.counters.continuity + back.counters.damaged > 0);
        assert!(back.packets.len() + 12 > all, "{} of {all}", back.packets.len());
        let mut more = stream.clone();
        more.splice(from..from, (0..len).map(|i| (i * 7) as u8));
        let back = read(&more, 1316);
        assert!(back.counters.skipped as usize >= len.min(188), "{}", back.counters);
        assert!(back.packets.len() + 4 > all);
    }
}

#[test]
fn lost_packets_damage_the_pictures_they_belong_to_only() {
    let source = demo();
    let stream = mux(&source);
    let all = clean(&stream).packets;
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..30 {
        let mut packets: Vec<_> = stream.chunks(PACKET).collect();
        let lost = rng.usize(10..packets.len() - 10);
        packets.remove(lost);
        let back = read(&packets.concat(), 1316);
        assert!(back.counters.continuity <= 1, "{lost}");
        assert!(back.packets.len() + 2 >= all.len(), "{lost}: {}", back.packets.len());
        let intact = back.packets.iter().filter(|packet| all.contains(packet)).count();
        assert!(intact + 1 >= back.packets.len(), "{lost}");
    }
}

#[test]
fn packets_that_come_twice_change_nothing() {
    let stream = mux(&demo());
    let twice: Vec<u8> =
        stream.chunks(PACKET).flat_map(|packet| [packet, packet].concat()).collect();
    let back = clean(&twice);
    assert_eq!(back.packets, clean(&stream).packets);
    assert!(back.counters.duplicates > 100);
}

#[test]
fn scrambled_packets_are_counted_and_passed_over() {
    let mut stream = mux(&demo());
    for packet in stream.chunks_mut(PACKET).skip(2) {
        packet[3] |= 0x80;
    }
    let back = read(&stream, 1316);
    assert!(back.packets.is_empty() && back.counters.scrambled > 100);
    assert!(back.notes.contains(&Note::Scrambled));
}

#[test]
fn what_is_no_transport_stream_is_refused() {
    let text = "<html>not found</html>\n".repeat(TS_SEARCH / 16);
    assert_eq!(read(text.as_bytes(), 1000).stop, Some(Stop::NotTs { before: false }));
    let stream = [mux(&demo()[..20]), text.into_bytes()].concat();
    assert_eq!(read(&stream, 1000).stop, Some(Stop::NotTs { before: true }));
}

#[test]
fn mutated_streams_are_read_within_bounds() {
    let stream = mux(&demo()[..30]);
    mutations(&stream, |changed| {
        let back = read(changed, 1316);
        let bytes: usize = back.packets.iter().map(|packet| packet.payload.len()).sum();
        assert!(bytes <= changed.len() + 16 * 1024, "{bytes}");
    });
    let mut rng = fastrand::Rng::with_seed(8);
    for _ in 0..20 {
        // Many changes, so that headers meet headers.
        let mut stream = stream.clone();
        for _ in 0..400 {
            let at = rng.usize(..stream.len());
            stream[at] = rng.u8(..);
        }
        read(&stream, 1000);
    }
}

#[test]
fn without_memory_the_stream_ends() {
    let stream = mux(&demo()[..30]);
    let mut none = Arena::new(Pool::new(0), 0, MESSAGE_MAX);
    let stopped = Demux::new().receive(&stream, &mut none, &mut |_| panic!("no packet"));
    assert_eq!(stopped, Err(Stop::Memory(Full::NoMemory)));
}

/// Writes streams that our muxer would not.
#[derive(Default)]
struct Writer {
    out: Vec<u8>,
    counters: std::collections::BTreeMap<u16, u8>,
}

impl Writer {
    fn packets(&mut self, pid: u16, bytes: &[u8]) {
        for (i, piece) in bytes.chunks(184).enumerate() {
            let counter = self.counters.entry(pid).or_default();
            let stuffing = 184 - piece.len();
            let start = if i == 0 { 0x40 } else { 0 };
            let field = if stuffing > 0 { 0x30 } else { 0x10 };
            self.out.extend([0x47, start | (pid >> 8) as u8, pid as u8, field | *counter]);
            *counter = (*counter + 1) & 15;
            if stuffing > 0 {
                self.out.push(stuffing as u8 - 1);
                self.out.extend(std::iter::once(0).chain([0xff].repeat(184)).take(stuffing - 1));
            }
            self.out.extend_from_slice(piece);
        }
    }

    fn table(&mut self, pid: u16, section: &[u8]) {
        let mut whole = section.to_vec();
        let len = (section.len() - 3 + 4) as u16;
        whole[1..3].copy_from_slice(&(0xb000 | len).to_be_bytes());
        let crc = crc32(&whole);
        whole.extend(crc.to_be_bytes());
        whole.insert(0, 0);
        self.packets(pid, &whole);
    }

    fn pat(&mut self, version: u8, programs: &[(u16, u16)]) {
        let mut section = vec![0, 0, 0, 0, 1, 0xc1 | version << 1, 0, 0];
        for (number, pid) in programs {
            section.extend(number.to_be_bytes());
            section.extend((0xe000 | pid).to_be_bytes());
        }
        self.table(0, &section);
    }

    fn pmt(&mut self, pid: u16, number: u16, version: u8, streams: &[(u8, u16)]) {
        let [a, b] = number.to_be_bytes();
        let mut section = vec![2, 0, 0, a, b, 0xc1 | version << 1, 0, 0, 0xff, 0xff, 0xf0, 0];
        for &(kind, pid) in streams {
            section.push(kind);
            section.extend((0xe000 | pid).to_be_bytes());
            section.extend([0xf0, 0]);
        }
        self.table(pid, &section);
    }

    fn pes(&mut self, pid: u16, times: Option<(i64, i64)>, len: Option<usize>, data: &[u8]) {
        let mut head = match times {
            Some((pts, dts)) => super::super::pes::header(0xe0, pts, dts, 0).to_vec(),
            None => vec![0, 0, 1, 0xe0, 0, 0, 0x80, 0, 0],
        };
        let len = len.map_or(0, |len| (len + head.len() - 6) as u16);
        head[4..6].copy_from_slice(&len.to_be_bytes());
        head.extend_from_slice(data);
        self.packets(pid, &head);
    }

    fn start(streams: &[(u8, u16)]) -> Self {
        let mut writer = Self::default();
        writer.pat(0, &[(1, 0x20)]);
        writer.pmt(0x20, 1, 0, streams);
        writer
    }
}

fn key() -> Vec<u8> {
    hex(&format!("00000001 {SPS} 000001 {PPS} 000001 6588{}", "41".repeat(300)))
}

fn inter(n: u8) -> Vec<u8> {
    [hex("00000001 419a"), vec![n.max(1); 250]].concat()
}

/// dts and cts of pictures, in the form of H.264 in FLV.
fn times(read: &Read) -> Vec<(u32, i32)> {
    (read.of(Kind::Video).iter().filter(|packet| !packet.header))
        .map(|p| (p.dts, i32::from_be_bytes([0, p.payload[2], p.payload[3], p.payload[4]])))
        .collect()
}

#[test]
fn pes_packets_may_be_cut_anywhere() {
    // Name, PES packets: time of each in ms, and the pictures or parts of pictures in it.
    let (k, a, b, c) = (key(), inter(1), inter(2), inter(3));
    let all = [&k[..], &a, &b, &c].concat();
    type Pes<'a> = (Option<i64>, &'a [u8]);
    let cases: &[(&str, Vec<Pes<'_>>, [u32; 4])] = &[
        (
            "one picture each",
            vec![(Some(0), &k), (Some(40), &a), (Some(80), &b), (Some(120), &c)],
            [0, 40, 80, 120],
        ),
        ("all in one", vec![(Some(1000), &all)], [1000, 1040, 1080, 1120]),
        (
            "two in each",
            vec![(Some(0), &all[..k.len() + a.len()]), (Some(100), &all[k.len() + a.len()..])],
            [0, 40, 100, 150],
        ),
        (
            "a picture in three, the first with a time",
            vec![
                (Some(0), &k[..100]),
                (None, &k[100..203]),
                (None, &k[203..]),
                (Some(40), &a),
                (Some(80), &b),
                (Some(120), &c),
            ],
            [0, 40, 80, 120],
        ),
        (
            "cut in a start code",
            vec![
                (Some(0), &all[..k.len() + 2]),
                (Some(80), &all[k.len() + 2..k.len() + a.len() + 3]),
                (Some(120), &all[k.len() + a.len() + 3..]),
            ],
            [0, 40, 80, 160],
        ),
    ];
    for (name, packets, want) in cases {
        for stated in [false, true] {
            let mut writer = Writer::start(&[(0x1b, 0x100)]);
            for (time, data) in packets {
                let time = time.map(|time| ((time + 80) * TICKS, time * TICKS));
                writer.pes(0x100, time, stated.then_some(data.len()), data);
            }
            let back = clean(&writer.out);
            let pictures = back.of(Kind::Video);
            assert_eq!(pictures.len(), 5, "{name}: header and four");
            assert!(pictures[0].header && pictures[1].key && !pictures[2].key);
            for (picture, source) in pictures[2..].iter().zip([&a, &b, &c]) {
                assert_eq!(picture.payload[9..], source[4..], "{name}");
            }
            if *name != "cut in a start code" {
                assert_eq!(times(&back), want.map(|dts| (dts, 80)), "{name} {stated}");
            }
        }
    }
}

#[test]
fn a_stream_that_states_lengths_is_given_at_once() {
    let mut memory = Arena::new(Pool::new(8 << 20), 8 << 20, MESSAGE_MAX);
    let mut demux = Demux::new();
    let mut writer = Writer::start(&[(0x1b, 0x100)]);
    let mut waits = Vec::new();
    let mut given = 0;
    for n in 0..10_i64 {
        let data = if n == 0 { key() } else { inter(n as u8) };
        writer.pes(0x100, Some((n * 3600, n * 3600)), Some(data.len()), &data);
        let piece = std::mem::take(&mut writer.out);
        demux.receive(&piece, &mut memory, &mut |p| given += usize::from(!p.header)).unwrap();
        waits.push(n as usize + 1 - given);
    }
    assert_eq!(waits, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0], "three were right, then trusted");
    // A slice that goes on in the next packet: what it was believed to be no more.
    writer.pes(0x100, Some((36000, 36000)), Some(5), &hex("0000014111"));
    demux.receive(&writer.out, &mut memory, &mut |_| given += 1).unwrap();
    assert_eq!(given, 10);
}

#[test]
fn lengths_that_lie_are_counted_and_the_data_taken() {
    for lie in [3, 100, 250, 5000] {
        let mut writer = Writer::start(&[(0x1b, 0x100)]);
        writer.pes(0x100, Some((0, 0)), None, &key());
        for n in 1..20 {
            let time = i64::from(n) * 3600;
            writer.pes(0x100, Some((time, time)), Some(lie), &inter(n));
        }
        let back = read(&writer.out, 1316);
        assert!(back.counters.lengths >= 18, "{}", back.counters);
        let pictures = back.of(Kind::Video);
        assert_eq!(pictures.len(), 21, "{lie}");
        assert!(pictures[2..].iter().all(|p| p.payload.len() == 9 + 252), "{lie}");
    }
}

#[test]
fn a_loss_that_the_counter_does_not_show_is_seen_by_the_length() {
    let adts = |n: u8| [hex("fff150800d7ffc"), vec![n; 100]].concat();
    let sound = |frames: core::ops::Range<u8>| frames.flat_map(adts).collect::<Vec<_>>();
    // 19 packets each with the header, of which 16 are lost: up to a start, or a start among them.
    // Then one frame is put together before the length is over, and no other.
    for (first, broken) in [(3, 0), (4, 1), (10, 1), (18, 1)] {
        let mut writer = Writer::start(&[(0x0f, 0x101)]);
        let head = writer.out.len();
        for n in 0..6 {
            let data = sound(n * 32..n * 32 + 32);
            let time = i64::from(n) * 90_000;
            writer.pes(0x101, Some((time, time)), Some(data.len()), &data);
        }
        let at = head + (4 * 19 + first) * PACKET;
        writer.out.drain(at..at + 16 * PACKET);
        let back = read(&writer.out, 1316);
        assert_eq!((back.counters.continuity, back.counters.lengths), (0, 1), "{first}");
        let frames = back.of(Kind::Audio);
        let whole = |frame: &&Packet| frame.payload[2..].iter().all(|b| *b == frame.payload[2]);
        let came = frames.iter().skip(1).filter(|frame| !whole(frame)).count();
        assert!(came <= broken, "{first}: {came}");
        assert!(frames.len() > 4 * 32, "{first}: {}", frames.len());
    }
}

#[test]
fn times_go_on_where_33_bits_end() {
    let mut writer = Writer::start(&[(0x1b, 0x100), (0x0f, 0x101)]);
    let begin = (1_i64 << 33) - 5 * 3600;
    for n in 0..10_i64 {
        let time = begin + n * 3600;
        let data = if n == 0 { key() } else { inter(n as u8) };
        writer.pes(0x100, Some((time + 7200, time)), None, &data);
        writer.pes(0x101, Some((time, time)), None, &hex("fff9508000fffc")[..0]);
    }
    let back = clean(&writer.out);
    let times = times(&back);
    assert_eq!(times.len(), 10);
    for pair in times.windows(2) {
        assert_eq!(time::difference(pair[1].0, pair[0].0), 40);
        assert_eq!(pair[0].1, 80);
    }
}

#[test]
fn maps_repeat_change_and_break() {
    let mut writer = Writer::start(&[(0x1b, 0x100), (0x0f, 0x101)]);
    let picture = |writer: &mut Writer, pid, n: i64| {
        writer.pes(pid, Some((n * 3600, n * 3600)), None, &key());
    };
    picture(&mut writer, 0x100, 0);
    writer.pmt(0x20, 1, 0, &[(0x1b, 0x100), (0x0f, 0x101)]);
    picture(&mut writer, 0x100, 1);
    // A table with a wrong CRC changes nothing.
    let before = writer.out.len();
    writer.pmt(0x20, 1, 1, &[(0x1b, 0x200)]);
    let end = writer.out.len() - 1;
    writer.out[end] ^= 1;
    assert_eq!(end, before + 187);
    picture(&mut writer, 0x100, 2);
    // Video moves to another PID, audio leaves.
    writer.pmt(0x20, 1, 1, &[(0x1b, 0x200)]);
    picture(&mut writer, 0x200, 3);
    // The map moves.
    writer.pat(1, &[(1, 0x30)]);
    picture(&mut writer, 0x200, 4);
    writer.pmt(0x30, 1, 2, &[(0x24, 0x200), (0x0f, 0x101)]);
    let back = read(&writer.out, 1316);
    assert_eq!(back.counters.crc, 1);
    assert_eq!(times(&back).iter().map(|t| t.0).collect::<Vec<_>>(), [0, 40, 80, 120, 160]);
    assert_eq!(back.of(Kind::Video).len(), 6, "one header");
    let program = |video, audio| Note::Program { number: 1, video: Some(video), audio };
    assert_eq!(
        back.notes,
        [
            program(Video::H264, Some(Audio::Aac)),
            program(Video::H264, None),
            program(Video::Hevc, Some(Audio::Aac)),
        ]
    );
}

#[test]
fn the_first_program_with_something_is_taken() {
    let mut writer = Writer::default();
    writer.pat(0, &[(0, 0x10), (7, 0x20), (8, 0x21), (9, 0x22)]);
    writer.pmt(0x22, 9, 0, &[(0x1b, 0x300)]);
    writer.pmt(0x20, 7, 0, &[(0x02, 0x100), (0x81, 0x101), (0x11, 0x102)]);
    writer.pmt(0x21, 8, 0, &[(0x06, 0x201), (0x1b, 0x200)]);
    writer.pes(0x300, Some((0, 0)), None, &inter(1));
    writer.pes(0x200, Some((0, 0)), None, &key());
    let back = clean(&writer.out);
    assert_eq!(back.of(Kind::Video).len(), 2);
    assert_eq!(
        back.notes,
        [
            Note::Unsupported { stream_type: 2 },
            Note::Unsupported { stream_type: 0x81 },
            Note::Latm,
            Note::Program { number: 8, video: Some(Video::H264), audio: None },
        ]
    );
    let mut nothing = Writer::start(&[(0x11, 0x100)]);
    nothing.pmt(0x20, 1, 0, &[(0x11, 0x100)]);
    assert_eq!(clean(&nothing.out).notes, [Note::Latm, Note::NothingToTake]);
}

#[test]
fn a_program_that_is_listed_no_more_makes_room_for_another_one() {
    let gone = |change: fn(&mut Writer)| {
        let mut writer = Writer::start(&[(0x1b, 0x100)]);
        writer.pes(0x100, Some((0, 0)), None, &key());
        change(&mut writer);
        // The map of the first one never comes.
        for _ in 0..PATIENCE + 10 {
            writer.pmt(0x22, 3, 0, &[(0x1b, 0x300)]);
        }
        writer.pes(0x300, Some((3600, 3600)), None, &key());
        times(&clean(&writer.out)).len()
    };
    assert_eq!(gone(|writer| writer.pat(1, &[(2, 0x21), (3, 0x22)])), 2, "it is not listed");
    let empty = |writer: &mut Writer| {
        writer.pat(1, &[(1, 0x20), (2, 0x21), (3, 0x22)]);
        writer.pmt(0x20, 1, 1, &[(0x06, 0x100)]);
    };
    assert_eq!(gone(empty), 2, "it has nothing any more");
}

#[test]
fn a_long_map_goes_over_packets() {
    let streams: Vec<(u8, u16)> =
        (0..100).map(|i| (0x06, 0x400 + i)).chain([(0x1b, 0x100)]).collect();
    let mut writer = Writer::start(&streams);
    writer.pes(0x100, Some((0, 0)), None, &key());
    assert_eq!(clean(&writer.out).of(Kind::Video).len(), 2);
}

fn adts(len: usize, fill: u8) -> Vec<u8> {
    let config = crate::codec::aac::Config::parse(&[0x12, 0x10]).unwrap();
    let head = crate::format::adts::Adts::new(&config).unwrap().header(len).unwrap();
    [&head[..], &vec![fill; len]].concat()
}

#[test]
fn audio_frames_have_their_own_times_wherever_they_are_cut() {
    let all: Vec<u8> = (0..12).flat_map(|n| adts(100 + usize::from(n), n + 1)).collect();
    let frame = |n: usize| (0..n).map(|i| 107 + i).sum::<usize>();
    for cut in [frame(5), frame(5) + 1, frame(5) + 3, frame(6) - 1, frame(5) + 50] {
        let mut writer = Writer::start(&[(0x0f, 0x101)]);
        writer.pes(0x101, Some((90_000, 90_000)), Some(cut), &all[..cut]);
        // The time is that of the first frame that begins in the packet.
        let first = if cut == frame(5) { 5 } else { 6 };
        let time = 90_000 + first * 1024 * 90_000 / 44_100;
        writer.pes(0x101, Some((time, time)), None, &all[cut..]);
        let back = clean(&writer.out);
        let sounds = back.of(Kind::Audio);
        assert_eq!(sounds.len(), 13, "{cut}");
        assert_eq!(sounds[0].payload, hex("af001210"));
        for (n, sound) in sounds[1..].iter().enumerate() {
            assert_eq!(sound.payload.len(), 2 + 100 + n);
            assert_eq!(sound.payload[..3], [0xaf, 1, n as u8 + 1]);
            let want = 1000.0 + n as f64 * 1024.0 / 44.1;
            assert!((f64::from(sound.dts) - want).abs() <= 1.0, "{cut} {n}: {}", sound.dts);
        }
    }
}

#[test]
fn damaged_audio_is_found_again() {
    let all: Vec<u8> = (0..40).flat_map(|n| adts(100, n + 1)).collect();
    for (from, len) in [(107 * 3 + 2, 1), (107 * 5, 7), (107 * 4 + 20, 300)] {
        let mut broken = all.clone();
        broken.drain(from..from + len);
        let mut writer = Writer::start(&[(0x0f, 0x101)]);
        writer.pes(0x101, Some((0, 0)), None, &broken);
        let back = read(&writer.out, 188);
        assert!(back.counters.damaged >= 1, "{}", back.counters);
        assert!((34..=40).contains(&back.of(Kind::Audio).len()), "{}", back.of(Kind::Audio).len());
    }
}

#[test]
fn audio_that_is_not_read_is_told_once() {
    let mut none = adts(20, 1);
    (none[2], none[3]) = (none[2] & 0xfe, none[3] & 0x3f);
    let mut blocks = adts(20, 1);
    blocks[6] |= 1;
    let layer2 = [hex("fffd8404"), vec![7; 380]].concat();
    for (kind, frame, note) in [
        (0x0f, none, Note::AacChannels),
        (0x0f, blocks, Note::AacBlocks),
        (0x03, layer2, Note::MpegLayer { layer: 2 }),
    ] {
        let mut writer = Writer::start(&[(kind, 0x101)]);
        for n in 0..5 {
            writer.pes(0x101, Some((n * 1000, n * 1000)), None, &frame.repeat(3));
        }
        let back = clean(&writer.out);
        assert_eq!(back.packets, []);
        assert_eq!(back.notes[1..], [note]);
    }
}

#[test]
fn a_picture_longer_than_a_message_is_left_out() {
    let mut writer = Writer::start(&[(0x1b, 0x100)]);
    writer.pes(0x100, Some((0, 0)), None, &key());
    let long = [inter(1), vec![7; MESSAGE_MAX]].concat();
    writer.pes(0x100, Some((3600, 3600)), None, &long);
    writer.pes(0x100, Some((7200, 7200)), None, &inter(2));
    let back = read(&writer.out, 1316);
    assert_eq!(back.counters.oversized, 1);
    assert_eq!(times(&back), [(0, 0), (80, 0)]);
}

#[test]
fn a_picture_of_many_units_is_whole() {
    use crate::limits::NAL_UNITS;
    let mut writer = Writer::start(&[(0x1b, 0x100)]);
    let mut picture = key();
    for _ in 0..2 * NAL_UNITS {
        picture.extend(hex("000001 6540 aabbcc"));
    }
    writer.pes(0x100, Some((0, 0)), None, &picture);
    let back = clean(&writer.out);
    let key = back.of(Kind::Video)[1];
    assert_eq!(key.payload.len(), 5 + 4 + 302 + 2 * NAL_UNITS * 9);
}
