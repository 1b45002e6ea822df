//! Sinks: when they join, fail and end.

use super::*;

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
