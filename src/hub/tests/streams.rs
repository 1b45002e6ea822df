//! Streams that begin, end, go to another publisher.

use super::*;

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
    assert!(hub.streams().is_empty(), "nobody lists it");
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
