//! Players that lag, pause or stop reading.

use super::*;

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
