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
fn a_lapped_player_resumes_at_a_key_frame_and_gets_changed_headers_again() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    publish(&mut publisher, [metadata(1), video_header(1), audio_header(1), video(KEY, 0, 100)]);
    let mut player = Player::join(&hub, "s", every_packet());
    assert_eq!(player.seen().len(), 4);
    let len = RING_BYTES / 100;
    publish(&mut publisher, [video_header(2)]);
    for i in 1..=250u32 {
        publish(&mut publisher, [video(if i % 50 == 0 { KEY } else { INTER }, i * 10, len)]);
    }
    assert!(publisher.source().held().0 <= RING_BYTES);
    let seen = player.seen();
    assert_eq!(seen, [(2, 2500), (0xaf, 2500), (KEY, 2500), (KEY, 2500)]);
    assert!(player.consumer.skipped() > 200, "{}", player.consumer.skipped());
    // Unchanged headers are not sent again.
    for i in 251..=500u32 {
        publish(&mut publisher, [video(if i % 50 == 0 { KEY } else { INTER }, i * 10, len)]);
    }
    assert_eq!(player.seen(), [(KEY, 5000)]);
}

#[test]
fn a_lapped_player_without_a_key_frame_gets_sound_and_waits_for_the_picture() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    publish(&mut publisher, [video(KEY, 0, 100)]);
    let mut player = Player::join(&hub, "s", every_packet());
    player.seen();
    for i in 1..=250u32 {
        publish(&mut publisher, [video(INTER, i * 10, RING_BYTES / 100)]);
    }
    assert_eq!(player.seen(), []);
    publish(&mut publisher, [sound(2600), video(INTER, 2610, 50), sound(2620)]);
    publish(&mut publisher, [video(KEY, 2650, 50), video(INTER, 2690, 50)]);
    assert_eq!(player.seen(), [(0xaf, 2600), (0xaf, 2620), (KEY, 2650), (INTER, 2690)]);
}

#[test]
fn a_player_behind_by_more_than_the_queue_goes_to_the_newest_key_frame() {
    let hub = hub();
    let settings = Settings { queue_ms: 1000, ..every_packet() };
    let mut publisher = hub.publish(&key("s"), settings, 1, false).unwrap();
    publish(&mut publisher, [video(KEY, 0, 50)]);
    let mut player = Player::join(&hub, "s", settings);
    player.seen();
    for i in 1..=25 {
        publish(&mut publisher, [video(if i == 20 { KEY } else { INTER }, i * 40, 50)]);
    }
    assert_eq!(player.seen().len(), 25, "1000 ms are allowed");
    for i in 26..=55 {
        publish(&mut publisher, [video(if i == 50 { KEY } else { INTER }, i * 40, 50)]);
    }
    let seen = player.seen();
    assert_eq!((seen.first(), seen.len()), (Some(&(KEY, 2000)), 6), "1200 ms are not");
}

#[test]
fn a_half_sent_packet_that_left_the_ring_is_sent_to_its_end() {
    for room in [1, 15, 5000] {
        let hub = hub();
        let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
        let first = video(KEY, 7, 30_000);
        publish(&mut publisher, [first.clone()]);
        let mut player = Player::join(&hub, "s", every_packet());
        assert_eq!(player.send(room), Sent::Some { bytes: room, packets: 0 });
        for i in 0..200 {
            publish(&mut publisher, [video(INTER, 10 + i, RING_BYTES / 100)]);
        }
        publish(&mut publisher, [video(KEY, 1000, 50)]);
        assert!(publisher.source().peek().ring.first() > 0, "it left");
        assert_eq!(publisher.source().peek().stalled.len(), 1);
        player.drain(4096);
        let seen = player.messages();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].payload, first.payload);
        assert_eq!((seen[1].timestamp, seen[1].payload[0]), (1000, KEY));
        assert!(publisher.source().peek().stalled.is_empty(), "the copy is gone");
    }
}

/// Players that stand in the first packet of a stream of `len` bytes.
fn stand(hub: &Hub, publisher: &mut Publisher, stream: &str, len: usize, n: usize) -> Vec<Player> {
    publish(publisher, [video(KEY, 7, len)]);
    let mut players: Vec<_> = (0..n).map(|_| Player::join(hub, stream, every_packet())).collect();
    for player in &mut players {
        assert_eq!(player.send(100), Sent::Some { bytes: 100, packets: 0 });
    }
    players
}

fn lap(publisher: &mut Publisher) {
    for i in 0..200 {
        publish(publisher, [video(INTER, 10 + i, RING_BYTES / 100)]);
    }
}

#[test]
fn copies_for_stalled_players_are_bounded() {
    let hub = hub();
    let len = STALLED_BYTES / 4;
    let mut players = Vec::new();
    let mut publishers = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        let mut publisher = hub.publish(&key(name), every_packet(), 1, false).unwrap();
        players.append(&mut stand(&hub, &mut publisher, name, len, 1));
        lap(&mut publisher);
        publishers.push(publisher);
    }
    assert_eq!(hub.inner.stalled.get(), STALLED_BYTES, "four fit to the byte");
    let sent: Vec<_> = players.iter_mut().map(|player| player.send(100)).collect();
    assert_eq!(sent.iter().position(|sent| *sent == Sent::Lost), Some(4), "{sent:?}");
    assert!(sent[..4].iter().all(|sent| *sent != Sent::Lost), "{sent:?}");
    drop(players);
    assert_eq!(hub.inner.stalled.get(), 0, "who leaves takes its copy along");
}

#[test]
fn players_that_stand_in_the_same_packet_share_its_copy() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    let len = STALLED_BYTES;
    let mut players = stand(&hub, &mut publisher, "s", len, 20);
    lap(&mut publisher);
    assert_eq!(publisher.source().peek().stalled.len(), 20);
    assert_eq!(hub.inner.stalled.get(), len, "one copy for twenty");
    for player in &mut players[..19] {
        player.drain(len);
        assert_eq!(player.messages()[0].payload.len(), len);
        assert_eq!(hub.inner.stalled.get(), len, "the others need it");
    }
    drop(players);
    assert_eq!(hub.inner.stalled.get(), 0);
}

#[test]
fn a_packet_of_one_byte_more_than_there_is_room_for_loses_its_players() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    let mut players = stand(&hub, &mut publisher, "s", STALLED_BYTES + 1, 3);
    lap(&mut publisher);
    assert!(players.iter_mut().all(|player| player.send(100) == Sent::Lost));
    assert_eq!(hub.inner.stalled.get(), 0);
}

#[test]
fn a_paused_player_gets_nothing_and_goes_on_at_the_newest_key_frame() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    publish(&mut publisher, [video(KEY, 0, 50)]);
    let mut player = Player::join(&hub, "s", every_packet());
    player.seen();
    player.consumer.pause(true);
    let frames = (1..100).map(|i| video(if i % 25 == 0 { KEY } else { INTER }, i * 40, 50));
    publish(&mut publisher, frames);
    assert_eq!(player.seen(), []);
    assert!(!player.ready(Waker::noop()));
    assert!(publisher.source().held().1 <= 25, "nothing is kept for it");
    player.consumer.pause(false);
    let seen = player.seen();
    assert_eq!((seen.first(), seen.len()), (Some(&(KEY, 3000)), 25));
}

#[test]
fn a_player_that_pauses_within_a_gop_sees_nothing_twice() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    let mut player = Player::join(&hub, "s", every_packet());
    publish(&mut publisher, [video(KEY, 0, 50), video(INTER, 40, 50)]);
    assert_eq!(player.seen().len(), 2);
    player.consumer.pause(true);
    publish(&mut publisher, [video(INTER, 80, 50)]);
    player.consumer.pause(false);
    publish(&mut publisher, [video(INTER, 120, 50)]);
    assert_eq!(player.seen(), [(INTER, 80), (INTER, 120)]);
}

#[test]
fn a_player_that_pauses_inside_a_packet_gets_the_rest_of_it_and_no_more() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    publish(&mut publisher, (0..10).map(|i| video(KEY, i * 40, 500)));
    let mut player = Player::join(&hub, "s", every_packet());
    publish(&mut publisher, (10..20).map(|i| video(INTER, i * 40, 500)));
    assert!(matches!(player.send(700), Sent::Some { packets: 1, .. }));
    player.consumer.pause(true);
    assert!(!player.consumer.at_boundary() && player.ready(Waker::noop()));
    player.drain(usize::MAX);
    assert!(player.consumer.at_boundary() && !player.ready(Waker::noop()));
    assert_eq!(player.messages().len(), 2);
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
fn players_stay_when_the_stream_is_published_again() {
    let hub = hub();
    let mut player = Player::join(&hub, "s", every_packet());
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    publish(&mut publisher, [video_header(1), video(KEY, 0, 50), video(INTER, 40, 50)]);
    let source = publisher.source().clone();
    drop(publisher);
    assert_eq!((source.publisher(), source.players()), (None, 1));
    let mut publisher = hub.publish(&key("s"), every_packet(), 2, false).unwrap();
    assert!(Rc::ptr_eq(publisher.source(), &source));
    publish(&mut publisher, [video_header(2), video(KEY, 5, 50)]);
    assert_eq!(player.seen(), [(KEY, 0), (KEY, 0), (INTER, 40), (KEY, 0), (KEY, 5)]);
    // Who comes after the end of a stream does not get its last picture.
    drop(publisher);
    assert_eq!(Player::join(&hub, "s", every_packet()).seen(), []);
}

#[test]
fn the_media_of_a_stream_goes_when_it_has_ended_and_was_read() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    let mut player = Player::join(&hub, "s", every_packet());
    let mut slow = Player::join(&hub, "s", every_packet());
    let frames = |from: u32| {
        let inter = move |i: u32| video(INTER, from + i * 40, 500);
        std::iter::once(video(KEY, from, 500)).chain((1..50).map(inter))
    };
    publish(&mut publisher, frames(0));
    player.seen();
    let source = publisher.source().clone();
    drop(publisher);
    assert_eq!(source.held(), (50 * 500, 50), "one of them needs it");
    slow.send(1000);
    assert!(source.held().1 < 50, "what both have goes");
    slow.seen();
    assert_eq!(source.held(), (0, 0));
    // The same when the slow one leaves.
    let mut publisher = hub.publish(&key("s"), every_packet(), 2, false).unwrap();
    publish(&mut publisher, frames(5000));
    player.seen();
    drop(publisher);
    assert_eq!(source.held().1, 50);
    drop(slow);
    assert_eq!(source.held(), (0, 0));
}

#[test]
fn a_player_that_waited_through_a_republish_without_headers_is_not_stuck() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    publish(&mut publisher, [audio_header(1), sound(0)]);
    let mut player = Player::join(&hub, "s", every_packet());
    drop(publisher);
    let mut publisher = hub.publish(&key("s"), every_packet(), 2, false).unwrap();
    publish(&mut publisher, [sound(10), sound(20)]);
    assert_eq!(player.seen(), [(0xaf, 10), (0xaf, 20)]);
}

#[test]
fn a_stream_that_is_taken_over_hears_nothing_more_of_the_old_publisher() {
    let hub = hub();
    let mut old = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    publish(&mut old, [video_header(1), video(KEY, 0, 50)]);
    let calls = Rc::new(Cell::new(0));
    old.attach(Box::new(Failing(SinkError::Disconnect, calls.clone())));
    let mut player = Player::join(&hub, "s", every_packet());
    player.seen();
    let busy = hub.publish(&key("s"), every_packet(), 2, false).err();
    assert_eq!(busy, Some(Refused::Busy { publisher: 1 }));
    let mut new = hub.publish(&key("s"), every_packet(), 2, true).unwrap();
    assert!(old.is_stale() && !new.is_stale());
    publish(&mut old, [metadata(9), video_header(9), video(KEY, 40, 50)]);
    assert_eq!(calls.get(), 0, "nor do its sinks");
    publish(&mut new, [video_header(2), video(KEY, 7, 50)]);
    drop(old);
    assert_eq!(new.source().publisher(), Some(2), "the old one takes nothing along");
    publish(&mut new, [video(INTER, 47, 50)]);
    assert_eq!(player.seen(), [(KEY, 1), (KEY, 1), (INTER, 41)], "the times go on");
}

#[test]
fn a_publisher_that_leaves_late_takes_no_other_stream_along() {
    let hub = hub();
    let old = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    let new = hub.publish(&key("s"), every_packet(), 2, true).unwrap();
    drop(new);
    let next = hub.publish(&key("s"), every_packet(), 3, false).unwrap();
    drop(old);
    assert_eq!(hub.find(&key("s")).and_then(|source| source.publisher()), Some(3));
    drop(next);
    assert!(hub.find(&key("s")).is_none());
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
fn a_source_leaves_the_hub_when_nobody_is_left() {
    let hub = hub();
    let publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    let player = hub.consume(&key("s"), every_packet()).unwrap();
    drop(publisher);
    assert!(hub.find(&key("s")).is_some(), "a player waits");
    drop(player);
    assert!(hub.find(&key("s")).is_none() && hub.sources().is_empty());
    let player = hub.consume(&key("s"), every_packet()).unwrap();
    let publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    drop(player);
    assert!(hub.find(&key("s")).is_some());
    drop(publisher);
    assert!(hub.find(&key("s")).is_none());
}

#[test]
fn there_are_max_streams_and_no_more() {
    let hub = hub();
    let open = |i: usize| hub.consume(&key(&i.to_string()), every_packet());
    let mut all: Vec<_> = (0..MAX_STREAMS).map(|i| open(i).unwrap()).collect();
    assert_eq!(open(MAX_STREAMS).err(), Some(Refused::TooManyStreams));
    assert!(open(7).is_ok(), "a stream that is there has room for players");
    let refused = hub.publish(&key("new"), every_packet(), 1, false).err();
    assert_eq!(refused, Some(Refused::TooManyStreams));
    all.pop();
    assert!(hub.publish(&key("new"), every_packet(), 1, false).is_ok());
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

#[test]
fn a_failing_sink_is_given_up_or_ends_the_stream() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    let calls = Rc::new(Cell::new(0));
    publisher.attach(Box::new(Failing(SinkError::Ignore, calls.clone())));
    publish(&mut publisher, (0..5).map(|i| video(KEY, i * 20, 50)));
    assert_eq!(calls.get(), 3, "given up at its first failure");
    publisher.attach(Box::new(Failing(SinkError::Disconnect, calls)));
    assert_eq!(publisher.push(video(KEY, 100, 50), 0), Err(SinkError::Disconnect));
}

/// What a sink that joins later saw: first bytes, and flushes.
#[derive(Clone, Default)]
struct Seen(Rc<RefCell<Vec<u8>>>, Rc<Cell<usize>>);

impl Sink for Seen {
    fn service(&self) -> &'static str {
        "test"
    }

    fn on_packet(&mut self, packet: &Packet) -> Result<(), SinkError> {
        self.0.borrow_mut().push(packet.payload[0] ^ packet.dts as u8);
        if packet.dts == 99 { Err(SinkError::Finished) } else { Ok(()) }
    }

    fn on_flush(&mut self) {
        self.1.set(self.1.get() + 1);
    }
}

#[test]
fn a_sink_that_joins_a_live_stream_sees_it_from_the_key_frame_on() {
    let hub = hub();
    let seen = Seen::default();
    let idle = hub.consume(&key("s"), every_packet()).unwrap();
    assert!(!idle.source().attach(Box::new(seen.clone())), "nobody publishes");
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    publish(&mut publisher, [video_header(1), audio_header(1), video(KEY, 1, 50)]);
    publish(&mut publisher, [video(INTER, 2, 50), video(KEY, 4, 50), video(INTER, 5, 50)]);
    assert!(publisher.source().attach(Box::new(seen.clone())));
    // Audio header, video header, the newest key frame and what follows.
    assert_eq!(seen.0.take(), [0xaf, KEY, KEY ^ 4, INTER ^ 5]);
    publish(&mut publisher, [video(INTER, 6, 50), video(INTER, 99, 50), video(INTER, 7, 50)]);
    assert_eq!(seen.0.take(), [INTER ^ 6, INTER ^ 99], "it went when it had finished");
    assert_eq!(seen.1.get(), 1, "when it joined");
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
fn the_sinks_of_a_publisher_end_before_those_of_the_next_begin() {
    let (hub, log) = (hub(), Rc::default());
    let mut first = hub.publish(&key("s"), every_packet(), 1, true).unwrap();
    first.attach(Writer::new("a", &log));
    publish(&mut first, [video(KEY, 1, 50)]);
    let mut second = hub.publish(&key("s"), every_packet(), 2, true).unwrap();
    second.attach(Writer::new("b", &log));
    publish(&mut first, [video(KEY, 2, 50)]);
    first.attach(Writer::new("late", &log));
    publish(&mut second, [video(KEY, 3, 50)]);
    drop(first);
    publish(&mut second, [video(KEY, 4, 50)]);
    drop(second);
    let want = ["a begins", "a 1", "a ends", "b begins", "late begins", "b 2", "b 3", "b ends"];
    assert_eq!(*log.borrow(), want);
}

#[test]
fn the_end_of_the_hub_ends_every_stream_once() {
    let (hub, log) = (hub(), Rc::default());
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    publisher.attach(Writer::new("a", &log));
    publish(&mut publisher, [video(KEY, 1, 50)]);
    hub.end();
    assert!(publisher.is_stale() && publisher.source().publisher().is_none());
    publish(&mut publisher, [video(KEY, 2, 50)]);
    drop(publisher);
    assert_eq!(*log.borrow(), ["a begins", "a 1", "a ends"]);
    assert!(hub.find(&key("s")).is_none());
}

#[test]
fn another_form_of_a_stream_lives_beside_it() {
    let hub = hub();
    let form = key("s").derived("ts");
    let mut publisher = hub.publish(&form, every_packet(), 1, false).unwrap();
    assert!(hub.find(&key("s")).is_none());
    // Not checked: no FLV tag begins so.
    let packet = |key| Packet {
        payload: Bytes::from_static(&[0x47, 1]),
        dts: 0,
        kind: Kind::Video,
        key,
        header: false,
    };
    publisher.push_derived(packet(true));
    publisher.push_derived(packet(false));
    publisher.flush();
    let player = hub.consume(&form, every_packet()).unwrap();
    assert_eq!((player.source().gop().0, publisher.dropped()), (2, 0));
    let live = player.source().clone();
    drop(publisher);
    assert!(live.publisher().is_none());
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

#[test]
fn rates_are_those_of_the_last_seconds() {
    let hub = hub();
    let mut publisher = hub.publish(&key("s"), every_packet(), 1, false).unwrap();
    assert_eq!(publisher.source().measure(0).since, None);
    for i in 0..200 {
        publisher.push(video(KEY, i * 40, 500), 1000 + u64::from(i) * 40).unwrap();
    }
    let measured = publisher.source().measure(9000);
    assert_eq!((measured.since, measured.kbps, measured.fps), (Some(1000), 100, 25));
}

#[test]
fn a_stream_that_is_held_goes_on_with_the_next_publisher() {
    let (hub, settings) = (hub(), Settings { hold_ms: 3000, ..every_packet() });
    let mut first = hub.publish(&key("s"), settings, 1, false).unwrap();
    first.push(video(KEY, 70_000, 50), 1000).unwrap();
    first.push(video(INTER, 70_040, 50), 1040).unwrap();
    first.flush();
    let mut player = Player::join(&hub, "s", settings);
    first.hold(4040);
    drop(first);
    let source = hub.find(&key("s")).unwrap();
    hub.sweep(4039);
    assert!(source.is_live() && source.publisher().is_none());
    let mut second = hub.publish(&key("s"), settings, 2, false).unwrap();
    hub.sweep(9000);
    assert!(source.is_live(), "it is not waited for any more");
    second.push(video_header(2), 3000).unwrap();
    second.push(video(KEY, 0, 50), 3040).unwrap();
    second.push(video(INTER, 40, 50), 3080).unwrap();
    second.flush();
    let times: Vec<_> = player.seen().iter().map(|(_, time)| *time).collect();
    assert_eq!(times, [70_000, 70_040, 72_000, 72_040, 72_080], "with the gap as it was");
}

#[test]
fn a_stream_that_is_held_ends_when_nobody_comes() {
    let (hub, settings) = (hub(), Settings { hold_ms: 3000, ..every_packet() });
    let mut publisher = hub.publish(&key("s"), settings, 1, false).unwrap();
    publish(&mut publisher, [video(KEY, 0, 50)]);
    let mut player = Player::join(&hub, "s", settings);
    let mut form = hub.consume(&key("s").derived("ts"), settings).unwrap();
    player.seen();
    publisher.hold(3000);
    drop(publisher);
    let wakes = Arc::new(Count::default());
    let waker = Waker::from(wakes.clone());
    let task = Context::from_waker(&waker);
    assert!(player.consumer.poll_ready(&task).is_pending());
    assert!(form.poll_ready(&task).is_pending());
    let source = hub.find(&key("s")).unwrap();
    hub.sweep(2999);
    assert!(source.is_live() && wakes.0.load(Ordering::Relaxed) == 0);
    hub.sweep(3000);
    assert!(!source.is_live());
    assert_eq!(wakes.0.load(Ordering::Relaxed), 2, "players of its forms, too");
    drop(player);
    assert!(hub.find(&key("s")).is_none(), "nothing is left of it");
}

#[test]
fn a_stream_without_players_is_not_held() {
    let (hub, settings) = (hub(), Settings { hold_ms: 3000, ..every_packet() });
    let mut publisher = hub.publish(&key("s"), settings, 1, false).unwrap();
    publish(&mut publisher, [video(KEY, 0, 50)]);
    publisher.hold(3000);
    drop(publisher);
    assert!(hub.find(&key("s")).is_none());
    let mut publisher = hub.publish(&key("s"), settings, 2, false).unwrap();
    publisher.hold(3000);
    let _player = hub.consume(&key("s"), settings).unwrap();
    publisher.source().end();
    let source = publisher.source().clone();
    drop(publisher);
    assert!(!source.is_live(), "what was ended is not waited for");
}
