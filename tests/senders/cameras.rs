//! Cameras by script.

use super::camera::{Camera, Item, Script};
use super::common::client::Peer;
use super::common::elementary::slices;
use super::common::media::{AAC, H264, PICTURE, TONE, make};
use super::common::{SOON, Server, at_once, tool};
use super::media::{AUDIO, Clock, Source, VIDEO, ntp, right};
use super::{assert_part, number, slices_of, sound, times};
use runnel::codec::nal::Video;
use runnel::media::{Kind, Packet};
use std::thread;
use std::time::{Duration, Instant};

const RTPMAP: &str = "a=rtpmap:96 H264/90000\r\n";

/// Five seconds with B-frames, a key frame a second.
fn source() -> Option<Source> {
    let ffmpeg = tool("ffmpeg")?;
    let args = format!("{PICTURE} {TONE} -t 5 {H264} {AAC}");
    Some(Source::of(&make(&ffmpeg, "cameras.flv", &args)))
}

/// A server that pulls the camera.
fn pull(camera: &Camera) -> Server {
    pull_with(camera, "")
}

/// The same, with `more` in the engine.
fn pull_with(camera: &Camera, more: &str) -> Server {
    Server::with(&format!(
        "vhost __defaultVhost__ {{ min_latency on; \
         ingest cam {{ enabled on; input {{ type stream; url {}; }} \
         engine {{ {more} output rtmp://127.0.0.1:[port]/live/cam; }} }} }}",
        camera.url()
    ))
}

/// All that a player gets of a camera, and the server.
fn film(sdp: String, items: Vec<Item>, udp: bool, piece: usize) -> (Server, Vec<Packet>) {
    let camera = Camera::start(Script { sdp, items, udp, piece, ..Script::default() });
    let server = pull(&camera);
    let packets = filmed(&server, &camera, Duration::ZERO);
    (server, packets)
}

/// All that a player gets of the camera, which waits a moment before it films.
fn filmed(server: &Server, camera: &Camera, moment: Duration) -> Vec<Packet> {
    let mut player = Peer::play(server, "cam");
    server.line("start publish /live/cam");
    thread::sleep(moment);
    camera.go();
    let mut packets = vec![player.packet(SOON).expect("a packet")];
    packets.extend(player.packets_until_silence(Duration::from_millis(1500)));
    server.line("stop publish");
    packets
}

/// A camera with the source's film.
fn script(source: &Source) -> Script {
    let sdp = source.sdp(&(RTPMAP.to_owned() + &source.sprop()));
    Script { sdp, items: Clock::default().film(source), ..Script::default() }
}

/// Every picture and every frame of the source, and nothing else; their times rise, without holes.
fn assert_whole(name: &str, source: &Source, packets: &[Packet]) {
    let want: Vec<_> = source.pictures.iter().flat_map(slices_of).collect();
    let got = slices(packets, Video::H264);
    assert!(got == want, "{name}: {} slices of {}", got.len(), want.len());
    let want: Vec<_> = source.frames.iter().map(|(_, frame)| frame.clone()).collect();
    let got = sound(packets);
    assert!(got == want, "{name}: {} frames of {}", got.len(), want.len());
    for kind in [Kind::Video, Kind::Audio] {
        let times = times(packets, kind);
        let rise = times.windows(2).all(|pair| (1..200).contains(&(pair[1] - pair[0])));
        assert!(rise, "{name}: {kind:?} {times:?}");
    }
}

/// Pictures are as far from the sound as in the source, up to so many milliseconds.
fn assert_sync(name: &str, source: &Source, packets: &[Packet], within: i64) {
    let (video, audio) = (times(packets, Kind::Video), times(packets, Kind::Audio));
    let apart = |picture: usize, frame: usize| {
        let want = source.pictures[picture].dts - source.frames[frame].0;
        (video[picture] - audio[frame]) - want
    };
    // Decode times of B-frames are some frames behind, from the start on.
    let reordered = 80;
    for (picture, frame) in [(25, 43), (60, 100), (115, 200)] {
        let off = apart(picture, frame);
        assert!(off.abs() <= within + reordered, "{name}: {off} ms at picture {picture}");
    }
}

/// From here on, in the middle of the film.
const LATER: [usize; 2] = [62, 107];
const LATER_MS: i64 = 2480;

/// How a camera's clocks are, and by how much sound may be off.
fn clocks() -> Vec<(&'static str, Clock, i64)> {
    let usual = Clock::default();
    vec![
        ("as it should be", usual, 40),
        (
            "across 2^32",
            Clock {
                stamps: [
                    |_, ms| (1 << 32) + (ms - 2000) * 90,
                    |_, ms| (1 << 32) + (ms - 3000) * 441 / 10,
                ],
                ..usual
            },
            40,
        ),
        (
            "an hour ahead",
            Clock {
                stamps: [
                    |at, ms| (ms + if at < LATER[VIDEO] { 0 } else { 3_600_000 }) * 90,
                    |at, ms| (ms + if at < LATER[AUDIO] { 0 } else { 3_600_000 }) * 441 / 10,
                ],
                wall: |_, ms| Some(ntp(ms + if ms < LATER_MS { 0 } else { 3_600_000 })),
                ..usual
            },
            120,
        ),
        (
            "ten minutes back",
            Clock {
                stamps: [
                    |at, ms| (ms - if at < LATER[VIDEO] { 0 } else { 600_000 }) * 90,
                    |at, ms| (ms - if at < LATER[AUDIO] { 0 } else { 600_000 }) * 441 / 10,
                ],
                wall: |_, ms| Some(ntp(ms + if ms < LATER_MS { 700_000 } else { 100_000 })),
                ..usual
            },
            120,
        ),
        (
            "pictures that are hours off now and then",
            Clock {
                stamps: [
                    |at, ms| (ms + if at % 40 == 39 { 10_800_000 } else { 0 }) * 90,
                    right(AUDIO),
                ],
                ..usual
            },
            120,
        ),
        (
            "reports hours apart",
            Clock { wall: |track, ms| Some(ntp(ms + track as i64 * 18_000_000)), ..usual },
            120,
        ),
        (
            "reports 20 s apart",
            Clock { wall: |track, ms| Some(ntp(ms + track as i64 * 20_000)), ..usual },
            120,
        ),
        (
            "reports that are wrong from some time on",
            Clock {
                wall: |track, ms| {
                    Some(ntp(ms + if ms < LATER_MS { 0 } else { track as i64 * 40_000 }))
                },
                ..usual
            },
            120,
        ),
        ("reports without a clock", Clock { wall: |_, _| Some(0), ..usual }, 120),
        ("no reports", Clock { wall: |_, _| None, ..usual }, 120),
        (
            "sound that runs fast",
            Clock { stamps: [right(VIDEO), |_, ms| 5000 + ms * 441 / 10 * 105 / 100], ..usual },
            200,
        ),
        (
            "sound that runs slowly",
            Clock { stamps: [right(VIDEO), |_, ms| 5000 + ms * 441 / 10 * 95 / 100], ..usual },
            200,
        ),
        ("stamps in the order of decoding", Clock { decode_order: true, ..usual }, 120),
        (
            "two frames of sound with one time",
            Clock { stamps: [right(VIDEO), |at, _| 5000 + at as i64 / 2 * 2048], ..usual },
            120,
        ),
    ]
}

#[test]
fn times_that_lie_come_out_rising_and_sound_stays_with_the_picture() {
    let Some(source) = source() else { return };
    at_once(clocks(), |(name, clock, within)| {
        let sdp = source.sdp(&(RTPMAP.to_owned() + &source.sprop()));
        let (_, packets) = film(sdp, clock.film(&source), false, usize::MAX);
        assert_whole(name, &source, &packets);
        assert_sync(name, &source, &packets, within);
    });
}

#[test]
fn parameter_sets_come_from_the_description_or_from_the_stream() {
    let Some(source) = source() else { return };
    let broken = "a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z!!,aA==\r\n";
    let cut = "a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0I=,\r\n";
    let whole = source.sprop();
    let cases = [
        ("in the description alone", whole.as_str(), false),
        ("in the stream alone", "", true),
        ("in both", whole.as_str(), true),
        ("broken in the description", broken, true),
        ("cut off in the description", cut, true),
    ];
    at_once(cases, |(name, line, in_band)| {
        let clock = Clock { in_band, ..Clock::default() };
        let sdp = source.sdp(&(RTPMAP.to_owned() + line));
        let (server, packets) = film(sdp, clock.film(&source), false, usize::MAX);
        assert_whole(name, &source, &packets);
        let headers = packets.iter().filter(|p| p.header && p.kind == Kind::Video);
        assert_eq!(headers.count(), 1, "{name}");
        if line == broken {
            server.line("parameter sets cannot be read, left out");
        }
    });
}

#[test]
fn a_track_that_nothing_is_said_of_is_left_out() {
    let Some(source) = source() else { return };
    let items = Clock::default().film(&source);
    at_once([true, false], |with_sound| {
        let sdp = source.sdp("");
        if with_sound {
            let (server, packets) = film(sdp, items.clone(), false, usize::MAX);
            server.line("track 0 of the SDP: payload type 96 is unknown, ignored");
            assert!(packets.iter().all(|packet| packet.kind != Kind::Video));
            let want: Vec<_> = source.frames.iter().map(|(_, frame)| frame.clone()).collect();
            assert!(sound(&packets) == want, "the sound is whole");
        } else {
            let sdp = sdp.replace("a=rtpmap:97", "a=x:97").replace("a=fmtp:97", "a=y:97");
            let camera = Camera::start(Script { sdp, piece: 9, ..Script::default() });
            let server = pull(&camera);
            server.line("the camera has no track that is read: H.264, HEVC, AAC; tried again in");
            assert_eq!(server.count("start publish"), 0);
        }
    });
}

#[test]
fn what_a_camera_says_is_read_wherever_it_is_cut() {
    let Some(source) = source() else { return };
    at_once([1, 3], |piece| {
        let sdp = source.sdp(&(RTPMAP.to_owned() + &source.sprop()));
        let (_, packets) = film(sdp, Clock::default().film(&source), false, piece);
        assert_whole("cut", &source, &packets);
    });
}

/// Does something to the packets of a film.
type Fault = fn(Vec<Item>) -> Vec<Item>;

fn is_rtp(item: &Item, track: usize) -> bool {
    item.track == track && !item.rtcp
}

fn each(items: Vec<Item>, mut change: impl FnMut(usize, Item) -> Vec<Item>) -> Vec<Item> {
    items.into_iter().enumerate().flat_map(|(at, item)| change(at, item)).collect()
}

/// A change of a byte.
fn with(mut item: Item, at: usize, byte: u8) -> Item {
    item.bytes[at] = byte;
    item
}

/// The same packet of another sender.
fn of_another(mut item: Item) -> Item {
    let at = if item.rtcp { 4 } else { 8 };
    item.bytes[at] ^= 0x55;
    item
}

fn fragment_begins(item: &Item) -> bool {
    is_rtp(item, VIDEO) && item.bytes[12] & 31 == 28 && item.bytes[13] & 0x80 != 0
}

/// Name, what happens, whether it needs UDP, and how many of 125 pictures come out: all, or at least
/// so many.
const FAULTS: &[(&str, Fault, bool, usize)] = &[
    ("nothing", |items| items, true, 125),
    ("each packet twice", |items| each(items, |_, item| vec![item.clone(), item]), true, 125),
    (
        "neighbours change places",
        |mut items| {
            // What is ahead of the first packet that comes is not waited for.
            items[60..].chunks_mut(2).for_each(|pair| pair.reverse());
            items
        },
        true,
        125,
    ),
    (
        "one of fifty is late",
        |mut items| {
            for at in (60..items.len() - 10).step_by(50) {
                items[at..at + 6].rotate_left(1);
            }
            items
        },
        true,
        125,
    ),
    (
        "losses over UDP",
        |items| each(items, |at, item| if at % 97 == 96 { vec![] } else { vec![item] }),
        true,
        15,
    ),
    (
        "losses in the connection",
        |items| each(items, |at, item| if at % 97 == 96 { vec![] } else { vec![item] }),
        false,
        15,
    ),
    (
        "fragments without their begin",
        |items| {
            let mut count = 0;
            each(items, |_, item| {
                count += usize::from(fragment_begins(&item));
                if fragment_begins(&item) && count % 8 == 7 { vec![] } else { vec![item] }
            })
        },
        false,
        15,
    ),
    (
        "packets of others between them",
        |items| {
            each(items, |at, item| match at % 5 {
                // Of a payload type that was not announced, cut off, and of another sender.
                0 => vec![with(item.clone(), 1, 0x7f), item],
                1 => vec![Item { bytes: item.bytes[..8].to_vec(), ..item.clone() }, item],
                2 => vec![of_another(item.clone()), item],
                3 => vec![with(item.clone(), 0, 0x40), item],
                _ => vec![Item { bytes: vec![], ..item.clone() }, item],
            })
        },
        false,
        125,
    ),
    (
        "another sender takes over",
        |items| {
            let half = items.len() / 2;
            each(items, |at, item| vec![if at < half { item } else { of_another(item) }])
        },
        false,
        95,
    ),
    (
        "reports that are noise",
        |items| {
            each(items, |at, item| {
                let noise = (0..at % 90).map(|i| (i * 37 + at) as u8).collect();
                vec![Item { rtcp: true, bytes: noise, ..item.clone() }, item]
            })
        },
        false,
        125,
    ),
];

#[test]
fn packets_that_are_lost_late_double_or_strange_never_make_a_broken_picture() {
    let Some(source) = source() else { return };
    at_once(FAULTS, |(name, fault, udp, least)| {
        let sdp = source.sdp(&(RTPMAP.to_owned() + &source.sprop()));
        let items = fault(Clock::default().film(&source));
        let (server, packets) = film(sdp, items, *udp, usize::MAX);
        let came = assert_part(name, &source, &packets, true, 0);
        assert!(came >= *least, "{name}: {came} pictures of {least}");
        assert!(*least == 125 || came < 125, "{name}: {came} pictures, something was lost");
        let end = server.line("camera ends, ");
        assert_eq!(number(&end, "pictures dropped=") > 0, came < 125, "{name}: {end}");
    });
}

#[test]
fn a_camera_that_answers_wrongly_or_nothing_is_kept_as_long_as_it_sends() {
    let Some(source) = source() else { return };
    let cases = [
        ("nothing", false, 0),
        ("nothing, over UDP", false, 0),
        ("with other numbers, before it sends, too", true, 3000),
    ];
    at_once(cases, |(name, answers, moment)| {
        let udp = name.ends_with("UDP");
        let script = Script { timeout: 2, answers, udp, ..script(&source) };
        let camera = Camera::start(script);
        let server = pull(&camera);
        let packets = filmed(&server, &camera, Duration::from_millis(moment));
        assert_whole(name, &source, &packets);
        assert_eq!(server.count("does not answer"), 0, "{name}");
    });
    // One that neither sends nor answers is left.
    let camera = Camera::start(Script { timeout: 2, ..script(&source) });
    let server = pull(&camera);
    server.line("start publish");
    let began = Instant::now();
    server.line("the camera does not answer; tried again in");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn a_camera_may_send_from_where_it_says_and_from_where_it_is_asked() {
    let Some(source) = source() else { return };
    // What it says is its address behind a router, another machine, or nonsense.
    let cases = [
        ["192.0.2.9", "127.0.0.1"],
        ["127.0.0.2", "127.0.0.2"],
        ["127.0.0.1", "127.0.0.1"],
        ["0.0.0.0", "127.0.0.1"],
        ["camera.local", "127.0.0.1"],
    ];
    at_once(cases, |from| {
        let camera = Camera::start(Script { source: Some(from), udp: true, ..script(&source) });
        let server = pull(&camera);
        let packets = filmed(&server, &camera, Duration::ZERO);
        assert_whole(&from.join(" "), &source, &packets);
    });
}

#[test]
fn packets_come_over_udp_at_once_where_that_is_asked_for() {
    let Some(source) = source() else { return };
    let cases = [
        ("perfile { rtsp_transport udp; }", true, 0),
        ("enabled on; perfile { rtsp_transport udp; } vcodec copy; acodec copy;", true, 0),
        ("perfile { rtsp_transport tcp; }", true, 1),
        ("perfile { rtsp_transport tcp; }", false, 0),
        ("", true, 1),
    ];
    at_once(cases, |(more, udp, changes)| {
        let camera = Camera::start(Script { udp, ..script(&source) });
        let server = pull_with(&camera, more);
        let packets = filmed(&server, &camera, Duration::ZERO);
        assert_whole(more, &source, &packets);
        assert_eq!(server.count("packets over UDP"), changes, "{more} {udp}");
    });
    // And in the connection, when it is refused.
    let camera = Camera::start(script(&source));
    let server = pull_with(&camera, "perfile { rtsp_transport udp; }");
    let packets = filmed(&server, &camera, Duration::ZERO);
    assert_whole("refused", &source, &packets);
    server.line("packets in the connection");
}

#[test]
fn what_is_odd_about_a_camera_is_said_once() {
    let Some(source) = source() else { return };
    let broken = "a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0I=,Z!!\r\n";
    let clock = Clock { in_band: true, ..Clock::default() };
    let mut items = clock.film(&source);
    items.truncate(60);
    at_once([false, true], |udp| {
        let sdp = source.sdp(&(RTPMAP.to_owned() + broken));
        let items = items.clone();
        let camera = Camera::start(Script { sdp, items, udp, rounds: 3, ..Script::default() });
        let server = pull(&camera);
        camera.go();
        assert!(server.wait_for_line("camera ends", 3, SOON * 2).is_some());
        for what in ["parameter sets cannot be read, left out", "parameter set in the SDP: "] {
            assert_eq!(server.count(what), 1, "{what}");
        }
    });
}

#[test]
fn bytes_between_packets_are_skipped_and_counted() {
    let Some(source) = source() else { return };
    let noises: [&[u8]; 3] = [b"\0", b"RTSPX $ \xff$\0\0\x01", &[0xaa; 3000]];
    at_once(noises, |noise| {
        let camera = Camera::start(Script { noise, ..script(&source) });
        let server = pull(&camera);
        let packets = filmed(&server, &camera, Duration::ZERO);
        assert_whole("noise", &source, &packets);
        assert!(number(&server.line("camera ends, "), "resync=") > 10);
    });
}
