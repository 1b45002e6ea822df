use super::images::Images;
use super::*;
use crate::limits::{KEY_WAIT_MS, MERGE_BYTES, RING_BYTES, STALLED_BYTES};
use crate::media::{Kind, Packet, time};
use crate::proto::framing::Rtmp;
use crate::proto::rtmp::chunk::{Decoder, Message};
use crate::proto::rtmp::message::Heap;
use bytes::Bytes;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

mod sinks;
mod slow;
mod streams;

const FRAMING: Rtmp = Rtmp { chunk_size: 1000 };
const KEY: u8 = 0x17;
const INTER: u8 = 0x27;
/// A way to send that fails never.
type Never = std::convert::Infallible;

fn hub() -> Hub {
    Hub::new(Pool::new(1 << 30))
}

fn key(stream: &str) -> StreamKey {
    StreamKey::new("v", "live", stream)
}

fn every_packet() -> Settings {
    Settings { merge: Merge::Every(0), jitter: Algorithm::Off, ..Settings::default() }
}

/// A frame whose payload names it.
fn video(first: u8, dts: u32, len: usize) -> Packet {
    let mut payload = vec![first, 1, 0, 0, 0];
    payload.extend(dts.to_be_bytes());
    payload.extend((payload.len()..len).map(|i| (i as u32 ^ dts) as u8));
    Packet::new(Kind::Video, dts, payload.into())
}

fn sound(dts: u32) -> Packet {
    let [a, b, c, d] = dts.to_be_bytes();
    Packet::new(Kind::Audio, dts, Bytes::copy_from_slice(&[0xaf, 1, a, b, c, d]))
}

fn video_header(version: u8) -> Packet {
    Packet::new(Kind::Video, 0, Bytes::copy_from_slice(&[KEY, 0, 0, 0, 0, version]))
}

fn audio_header(version: u8) -> Packet {
    Packet::new(Kind::Audio, 0, Bytes::copy_from_slice(&[0xaf, 0, version]))
}

fn metadata(version: u8) -> Packet {
    Packet::new(Kind::Data, 0, Bytes::copy_from_slice(&[2, 0, 1, version]))
}

fn publish(publisher: &mut Publisher, packets: impl IntoIterator<Item = Packet>) {
    for packet in packets {
        let pushed = match packet.kind {
            Kind::Data => publisher.push_metadata(&packet.clone(), packet, 0),
            _ => publisher.push(packet, 0),
        };
        assert_eq!(pushed, Ok(()));
    }
    publisher.flush();
}

/// A player that reads what it is sent.
struct Player {
    consumer: Consumer,
    images: Images,
    wire: Vec<u8>,
    decoder: Decoder,
    read: usize,
}

impl Player {
    fn join(hub: &Hub, stream: &str, settings: Settings) -> Self {
        let consumer = hub.consume(&key(stream), settings).unwrap();
        Self {
            consumer,
            images: Images::default(),
            wire: Vec::new(),
            decoder: Decoder::default(),
            read: 0,
        }
    }

    /// One that passes the stream on.
    fn follow(hub: &Hub, stream: &str, lag: Lag) -> Self {
        let consumer = hub.follow(&key(stream), every_packet(), lag).unwrap();
        Self { consumer, ..Self::join(hub, stream, every_packet()) }
    }

    /// One write that takes `room` bytes at most.
    fn send(&mut self, room: usize) -> Sent {
        let wire = &mut self.wire;
        let sent = self.consumer.send(&FRAMING, &mut self.images, |bytes| {
            assert!(!bytes.is_empty(), "a write of nothing cannot be told from a full socket");
            let taken = bytes.len().min(room);
            wire.extend_from_slice(&bytes[..taken]);
            Ok::<_, Never>(taken)
        });
        sent.unwrap()
    }

    /// Sends all that is due, `room` bytes at a time.
    fn drain(&mut self, room: usize) {
        loop {
            match self.send(room) {
                Sent::Some { .. } => {}
                Sent::CaughtUp => return,
                other => panic!("{other:?}"),
            }
        }
    }

    /// What arrived since the last call: every byte of it makes whole messages.
    fn messages(&mut self) -> Vec<Message> {
        let mut input = &self.wire[self.read..];
        let mut out = Vec::new();
        self.decoder.set_chunk_size(FRAMING.chunk_size).unwrap();
        let mut heap = Heap { media_max: 0xff_ffff };
        while let Some(message) = self.decoder.receive(&mut input, &mut heap).expect("in step") {
            out.push(message);
        }
        self.read = self.wire.len();
        out
    }

    /// Drains, and says what arrived by time and first byte.
    fn seen(&mut self) -> Vec<(u8, u32)> {
        self.drain(usize::MAX);
        self.messages().iter().map(|m| (m.payload[0], m.timestamp)).collect()
    }

    fn ready(&mut self, waker: &Waker) -> bool {
        self.consumer.poll_ready(&Context::from_waker(waker)).is_ready()
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Failing(SinkError, Rc<Cell<usize>>);

impl Sink for Failing {
    fn service(&self) -> &'static str {
        "test"
    }

    fn on_packet(&mut self, packet: &Packet) -> Result<(), SinkError> {
        self.1.set(self.1.get() + 1);
        if packet.dts < 40 { Ok(()) } else { Err(self.0) }
    }
}

/// Writes down its name when it begins and when it ends.
struct Writer(&'static str, Rc<RefCell<Vec<String>>>);

impl Writer {
    fn new(name: &'static str, log: &Rc<RefCell<Vec<String>>>) -> Box<Self> {
        log.borrow_mut().push(format!("{name} begins"));
        Box::new(Self(name, log.clone()))
    }
}

impl Sink for Writer {
    fn service(&self) -> &'static str {
        "test"
    }

    fn on_packet(&mut self, packet: &Packet) -> Result<(), SinkError> {
        self.1.borrow_mut().push(format!("{} {}", self.0, packet.dts));
        Ok(())
    }

    fn on_unpublish(&mut self) {
        self.1.borrow_mut().push(format!("{} ends", self.0));
    }
}

#[test]
fn a_late_player_gets_metadata_audio_header_video_header_and_then_the_key_frame() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    publish(&mut publisher, [video_header(1), audio_header(2), metadata(3)]);
    publish(&mut publisher, [video(KEY, 0, 50), sound(10), video(INTER, 40, 50)]);
    publish(&mut publisher, [video(KEY, 80, 50), sound(90), video(INTER, 120, 50)]);
    let mut player = Player::join(&hub, "s", every_packet());
    player.drain(usize::MAX);
    let seen: Vec<_> = player
        .messages()
        .into_iter()
        .map(|m| (m.type_id, m.timestamp, m.payload.to_vec()))
        .collect();
    let whole = |p: Packet| (p.kind.type_id(), p.dts, p.payload.to_vec());
    assert_eq!(
        seen,
        [
            (18, 80, metadata(3).payload.to_vec()),
            (8, 80, audio_header(2).payload.to_vec()),
            (9, 80, video_header(1).payload.to_vec()),
            whole(video(KEY, 80, 50)),
            whole(sound(90)),
            whole(video(INTER, 120, 50)),
        ]
    );
}

#[test]
fn who_is_there_first_gets_the_headers_in_their_place_and_once() {
    let hub = hub();
    let mut player = Player::join(&hub, "s", every_packet());
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    publish(&mut publisher, [audio_header(1), video_header(1), video(KEY, 0, 50)]);
    assert_eq!(player.seen(), [(0xaf, 0), (KEY, 0), (KEY, 0)]);
    publish(&mut publisher, [video_header(2), video(KEY, 40, 50)]);
    assert_eq!(player.seen(), [(KEY, 0), (KEY, 40)]);
}

#[test]
fn players_at_the_same_place_send_the_same_image() {
    let hub = hub();
    let settings = Settings { jitter: Algorithm::Full, ..every_packet() };
    let mut publisher = hub.publish(&key("s"), settings, 1, false).unwrap();
    publish(&mut publisher, [video(KEY, 100, 50), video(INTER, 140, 50)]);
    let mut consumers: Vec<_> = (0..3).map(|_| hub.consume(&key("s"), settings).unwrap()).collect();
    let mut images = Images::default();
    let mut places = Vec::new();
    for consumer in &mut consumers {
        let sent = consumer.send(&FRAMING, &mut images, |bytes| {
            places.push((bytes.as_ptr(), bytes.to_vec()));
            Ok::<_, Never>(bytes.len())
        });
        assert!(matches!(sent, Ok(Sent::Some { packets: 2, .. })));
    }
    assert!(places.iter().all(|place| *place == places[0]), "one image, the same bytes");
}

#[test]
fn without_gop_cache_a_player_waits_for_the_next_key_frame() {
    let hub = hub();
    let settings = Settings { gop_cache: false, ..every_packet() };
    let mut publisher = hub.publish(&key("s"), settings, 1, false).unwrap();
    publish(&mut publisher, [video_header(1), video(KEY, 0, 50), video(INTER, 40, 50)]);
    assert_eq!(publisher.source().held(), (0, 0), "nothing is kept for nobody");
    let mut player = Player::join(&hub, "s", settings);
    assert_eq!(player.seen(), []);
    publish(&mut publisher, [video(INTER, 80, 50), sound(85), video(INTER, 120, 50)]);
    publish(&mut publisher, [video(KEY, 160, 50), video(INTER, 200, 50)]);
    assert_eq!(player.seen(), [(KEY, 85), (0xaf, 85), (KEY, 160), (INTER, 200)]);
}

#[test]
fn a_stream_without_key_frames_is_shown_after_key_wait() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    let mut player = Player::join(&hub, "s", every_packet());
    let wait = KEY_WAIT_MS as u32;
    for dts in (0..=wait).step_by(1000) {
        publish(&mut publisher, [video(INTER, dts, 50)]);
        assert_eq!(player.seen(), [], "{dts}");
    }
    publish(&mut publisher, [video(INTER, wait + 1, 50), video(INTER, wait + 40, 50)]);
    assert_eq!(player.seen(), [(INTER, wait + 1), (INTER, wait + 40)]);
}

#[test]
fn times_follow_the_settings_of_the_player() {
    let cases = [
        (Algorithm::Off, false, [50_000, 50_000, 50_040, 60_000]),
        (Algorithm::Zero, false, [0, 0, 40, 10_000]),
        (Algorithm::Full, false, [0, 9, 49, 59]),
        (Algorithm::Full, true, [50_000, 50_000, 50_040, 60_000]),
    ];
    for (jitter, atc, times) in cases {
        let hub = hub();
        let settings = Settings { jitter, atc, ..every_packet() };
        let mut publisher = hub.publish(&key("s"), settings, 1, false).unwrap();
        publish(&mut publisher, [video_header(1), video(KEY, 50_000, 50)]);
        publish(&mut publisher, [video(INTER, 50_040, 50), video(INTER, 60_000, 50)]);
        let mut player = Player::join(&hub, "s", settings);
        let seen: Vec<_> = player.seen().into_iter().map(|(_, time)| time).collect();
        assert_eq!(seen, times, "{jitter:?} {atc}");
    }
}

#[test]
fn atc_that_metadata_switches_on_counts_for_those_who_were_there_first() {
    let hub = hub();
    let settings = Settings { jitter: Algorithm::Full, ..every_packet() };
    let mut player = Player::join(&hub, "s", settings);
    let mut publisher = hub.publish(&key("s"), settings, 1, false).unwrap();
    publisher.source().set_settings(Settings { atc: true, ..settings });
    publish(&mut publisher, [video_header(1), video(KEY, 20_000, 50)]);
    assert_eq!(player.seen(), [(KEY, 0), (KEY, 20_000)]);
}

#[test]
fn a_player_that_is_sent_packets_alone_gets_all_of_them() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    publish(&mut publisher, [video(KEY, 0, 50), sound(10), video(INTER, 40, 50)]);
    let mut player = Player::join(&hub, "s", every_packet());
    player.consumer.send_alone(true);
    for _ in 0..3 {
        assert!(matches!(player.send(usize::MAX), Sent::Some { packets: 1, .. }));
    }
    assert_eq!(player.send(usize::MAX), Sent::CaughtUp);
    assert_eq!(player.messages().len(), 3);
}

#[test]
fn mix_correct_puts_packets_in_order_and_loses_none() {
    let hub = hub();
    let settings = Settings { mix_correct: true, ..every_packet() };
    let mut publisher = hub.publish(&key("s"), settings, 1, false).unwrap();
    let mut player = Player::join(&hub, "s", settings);
    publish(&mut publisher, [video(KEY, 0, 50), video(INTER, 40, 50), sound(20), sound(60)]);
    assert_eq!(player.seen(), [(KEY, 0), (0xaf, 20), (INTER, 40)]);
    drop(publisher);
    assert_eq!(player.seen(), [(0xaf, 60)], "what was held back comes at the end");
}

#[test]
fn headers_that_say_nothing_new_are_left_out_on_request() {
    for (reduce_headers, expected) in [(false, 8), (true, 4)] {
        let hub = hub();
        let settings = Settings { reduce_headers, ..every_packet() };
        let mut publisher = hub.publish(&key("s"), settings, 1, false).unwrap();
        let mut player = Player::join(&hub, "s", settings);
        let headers = || [metadata(1), audio_header(1), video_header(1)];
        publish(&mut publisher, headers());
        publish(&mut publisher, headers());
        publish(&mut publisher, [metadata(2), video_header(2)]);
        assert_eq!(player.seen().len(), expected);
        assert_eq!(publisher.source().headers().metadata, Some(metadata(2)), "for who comes later");
    }
}

#[test]
fn packets_are_due_when_the_merge_interval_is_over_or_much_came() {
    let hub = hub();
    let settings = Settings { merge: Merge::Every(350), ..every_packet() };
    let mut publisher = hub.publish(&key("s"), settings, 1, false).unwrap();
    assert_eq!(publisher.due(0), None);
    publisher.push(video(KEY, 0, 50), 1000).unwrap();
    publisher.push(video(INTER, 40, 50), 1040).unwrap();
    // A sixteenth is left for the writes.
    assert_eq!(publisher.due(0), Some(1329), "the oldest counts");
    publisher.push(video(INTER, 80, MERGE_BYTES - 101), 1080).unwrap();
    assert_eq!(publisher.due(0), Some(1329));
    publisher.push(video(INTER, 120, 9), 1090).unwrap();
    assert_eq!(publisher.due(0), Some(1000), "MERGE_BYTES are due at once");
    publisher.flush();
    assert_eq!(publisher.due(0), None);
    publisher.source().set_settings(Settings { merge: Merge::Auto, ..settings });
    publisher.push(video(INTER, 160, 50), 2000).unwrap();
    assert_eq!((publisher.due(0), publisher.due(70)), (Some(2000), Some(2066)));
}

#[test]
fn players_are_woken_when_they_can_see_something_new() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    let mut player = Player::join(&hub, "s", every_packet());
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    assert!(!player.ready(&waker));
    publisher.push(video(KEY, 0, 50), 0).unwrap();
    assert!(!player.ready(&waker), "not visible yet");
    assert_eq!(player.send(usize::MAX), Sent::CaughtUp);
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    publisher.flush();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(player.ready(&waker));
    player.seen();
    assert!(!player.ready(&waker));
    drop(publisher);
    assert_eq!(count.0.load(Ordering::Relaxed), 2, "the end of a stream is something new");
}

/// Packets of all sizes whose times cross what three bytes can say.
fn long_stream() -> Vec<Packet> {
    let mut random = fastrand::Rng::with_seed(11);
    let mut dts = 0xff_ffff - 3000;
    let packet = |i: u32| {
        dts += random.u32(0..40);
        match i % 3 {
            _ if i.is_multiple_of(50) => video(KEY, dts, random.usize(2000..9000)),
            0 => sound(dts),
            1 => video(INTER, dts, random.usize(990..1010)),
            _ => video(INTER, dts, random.usize(9..3000)),
        }
    };
    (0..400).map(packet).collect()
}

#[test]
fn writes_of_any_size_make_the_same_bytes() {
    for algorithm in [Algorithm::Off, Algorithm::Zero, Algorithm::Full] {
        let hub = hub();
        let settings = Settings { jitter: algorithm, ..every_packet() };
        let mut publisher = hub.publish(&key("s"), settings, 1, false).unwrap();
        publish(&mut publisher, [metadata(1), audio_header(1), video_header(1)]);
        let packets = long_stream();
        publish(&mut publisher, [packets[0].clone()]);
        let mut whole = Player::join(&hub, "s", settings);
        let mut pieces: Vec<_> = [1, 2, 7, 100, 1500, 70_000]
            .map(|most| (most, Player::join(&hub, "s", settings)))
            .into();
        let mut random = fastrand::Rng::with_seed(3);
        for run in packets[1..].chunks(10) {
            publish(&mut publisher, run.iter().cloned());
            whole.drain(usize::MAX);
            for (most, player) in &mut pieces {
                // Some are behind at times, as on a slow network.
                for _ in 0..random.usize(0..100_000 / *most) {
                    if player.send(random.usize(1..=*most)) == Sent::CaughtUp {
                        break;
                    }
                }
            }
        }
        for (most, player) in &mut pieces {
            player.drain(*most);
            assert!(player.wire == whole.wire, "writes of 1 to {most} bytes, {algorithm:?}");
        }
        let seen = whole.messages();
        assert_eq!(seen.len(), packets.len() + 3);
        for (message, packet) in seen[3..].iter().zip(&packets) {
            assert_eq!(message.payload, packet.payload);
            if algorithm == Algorithm::Off {
                assert_eq!(message.timestamp, packet.dts);
            }
        }
        assert!(seen.last().unwrap().timestamp > 0xff_ffff || algorithm != Algorithm::Off);
    }
}

#[test]
fn times_that_wrap_at_31_bits_go_on() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    let mut player = Player::join(&hub, "s", every_packet());
    let start = time::MASK - 79;
    publish(&mut publisher, (0..5).map(|i| video(KEY, start.wrapping_add(i * 40), 50)));
    let seen: Vec<_> = player.seen().into_iter().map(|(_, time)| time).collect();
    assert_eq!(seen, [start, start + 40, 0, 40, 80]);
    assert_eq!(player.consumer.played(), 160);
}

#[test]
fn an_unknown_codec_is_left_out_and_counted() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    let mut player = Player::join(&hub, "s", every_packet());
    let odd = Packet::new(Kind::Video, 0, Bytes::from_static(&[0x1f, 1, 0, 0, 0]));
    publish(&mut publisher, [odd, video(KEY, 0, 50)]);
    assert_eq!((publisher.dropped(), player.seen()), (1, vec![(KEY, 0)]));
}

#[test]
fn sound_is_held_for_new_players_on_request() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    publisher.source().hold(100);
    publish(&mut publisher, (0..50).map(|i| sound(i * 20)));
    let held = publisher.source().held().1;
    let mut player = Player::join(&hub, "s", every_packet());
    let times: Vec<u32> = player.seen().iter().map(|(_, time)| *time).collect();
    assert_eq!(times, [880, 900, 920, 940, 960, 980]);
    assert_eq!(held, 6, "and no more than that");
}

/// Pictures of 1,000 bytes, 40 ms apart, every tenth of them a key frame.
fn pictures(from: u32, to: u32) -> impl Iterator<Item = Packet> {
    (from..to).map(|i| video(if i.is_multiple_of(10) { KEY } else { INTER }, i * 40, 1000))
}

const LAG: Lag = Lag { ms: 4000, bytes: 1 << 20 };

#[test]
fn who_passes_a_stream_on_is_no_player() {
    let hub = hub();
    let follower = hub.follow(&key("s"), every_packet(), LAG).unwrap();
    assert_eq!(follower.source().players(), 0);
    let player = Player::join(&hub, "s", every_packet());
    assert_eq!(follower.source().players(), 1);
    drop(player);
    assert_eq!(follower.source().players(), 0);
    drop(follower);
    assert!(hub.sources().is_empty());
}

#[test]
fn a_connection_made_anew_begins_at_the_key_frame_of_what_was_sent_last() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    let mut follower = Player::follow(&hub, "s", LAG);
    publish(&mut publisher, [video_header(1)]);
    publish(&mut publisher, pictures(0, 14));
    follower.drain(usize::MAX);
    // The connection breaks in the middle of a packet; much comes before there is another.
    publish(&mut publisher, pictures(14, 15));
    follower.send(100);
    publish(&mut publisher, pictures(15, 60));
    follower.consumer.rejoin();
    (follower.wire, follower.decoder, follower.read) = (Vec::new(), Decoder::default(), 0);
    follower.drain(usize::MAX);
    let messages = follower.messages();
    let times: Vec<_> = messages.iter().map(|m| m.timestamp / 40).collect();
    // The header has the time of what follows.
    assert_eq!(times, std::iter::once(10).chain(10..60).collect::<Vec<_>>());
    assert_eq!(follower.consumer.skipped(), 0);
}

#[test]
fn what_is_kept_for_one_that_is_away_is_bounded_in_time_and_in_bytes() {
    for lag in [Lag { ms: 2000, ..LAG }, Lag { ms: 1 << 20, bytes: 50_000 }] {
        let hub = hub();
        let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
        let mut follower = Player::follow(&hub, "s", lag);
        publish(&mut publisher, [video_header(1)]);
        for i in 0..205 {
            publish(&mut publisher, pictures(i, i + 1));
        }
        let (bytes, packets) = follower.consumer.source().held();
        let most = if lag.ms == 2000 { 800_000 } else { 51_000 };
        assert!(bytes <= most, "{bytes} bytes, {packets} packets");
        follower.consumer.rejoin();
        follower.drain(usize::MAX);
        let messages = follower.messages();
        let first = messages[1].timestamp / 40;
        assert!(first.is_multiple_of(10) && (150..=165).contains(&first), "{lag:?}: from {first}");
        assert_eq!(messages.len() as u32, 1 + 205 - first);
        // The header that is not in the ring any more is not told from a frame.
        let skipped = follower.consumer.skipped() - u64::from(first);
        assert_eq!(skipped, u64::from(lag.ms != 2000), "{lag:?}");
    }
}

#[test]
fn a_new_header_is_not_followed_by_old_pictures() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    let mut follower = Player::follow(&hub, "s", LAG);
    publish(&mut publisher, [video_header(1)]);
    publish(&mut publisher, pictures(0, 5));
    follower.drain(usize::MAX);
    publish(&mut publisher, pictures(5, 20));
    publish(&mut publisher, [video_header(2)]);
    publish(&mut publisher, pictures(20, 30));
    follower.consumer.rejoin();
    (follower.wire, follower.decoder, follower.read) = (Vec::new(), Decoder::default(), 0);
    follower.drain(usize::MAX);
    let messages = follower.messages();
    assert_eq!(messages[0].payload.last(), Some(&2));
    assert_eq!(messages[1].timestamp / 40, 20);
}
