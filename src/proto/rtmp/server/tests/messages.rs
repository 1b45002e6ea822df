//! Media, control messages, bounds, errors.

use super::*;

#[test]
fn media_comes_as_packets() {
    let mut peer = Peer::publishing(Style::Fmle);
    let events = peer.send(9, 40, b"\x17\x01\0\0\0v").unwrap();
    let [Event::Packet(packet)] = &events[..] else { panic!("{events:?}") };
    assert!(packet.key && !packet.header);
    assert_eq!(packets(&events), [(Kind::Video, 40, &b"\x17\x01\0\0\0v"[..])]);
    let events = peer.send(8, 0x7fff_ffff, b"\xaf\x00\x12").unwrap();
    assert_eq!(packets(&events), [(Kind::Audio, 0x7fff_ffff, &b"\xaf\x00\x12"[..])]);
    let events = peer.send(8, 50, b"").unwrap();
    assert!(matches!(events[..], [Event::Note(Note::Empty)]), "{events:?}");
    assert!(peer.send(8, 50, b"").unwrap().is_empty());
}

#[test]
fn only_metadata_is_taken_of_data() {
    let mut peer = Peer::publishing(Style::Fmle);
    let metadata = metadata();
    let with_byte = [&b"\0"[..], &metadata].concat();
    for (type_id, payload) in [(DATA, &metadata), (DATA_AMF3, &metadata), (DATA_AMF3, &with_byte)] {
        let events = peer.send(type_id, 5, payload).unwrap();
        assert_eq!(packets(&events), [(Kind::Data, 5, &*metadata)]);
    }
    for payload in [&b"\x02\0\x0aonTextData\x05"[..], b"\x05", b"\x02\xff\xff"] {
        assert!(peer.send(DATA, 5, payload).unwrap().is_empty());
    }
    assert_eq!(peer.server.dropped(), 3);
}

#[test]
fn aggregates_are_split() {
    let mut peer = Peer::publishing(Style::Fmle);
    let sub = |type_id: u8, time: u8, byte: u8| {
        [&[type_id, 0, 0, 2, 0, 0, time, 0, 0, 0, 0, 0xaf, byte][..], &[0, 0, 0, 13]].concat()
    };
    let payload = [sub(8, 10, 1), sub(9, 20, 2), sub(8, 30, 3)].concat();
    let events = peer.send(22, 1000, &payload).unwrap();
    let expected = [
        (Kind::Audio, 1000, &b"\xaf\x01"[..]),
        (Kind::Video, 1010, b"\xaf\x02"),
        (Kind::Audio, 1020, b"\xaf\x03"),
    ];
    assert_eq!(packets(&events), expected);
    let error = peer.send(22, 1000, &payload[..40]).unwrap_err();
    assert_eq!((error.cause, error.code()), (Cause::Aggregate, 2024));
}

/// Counts what is asked of it.
struct Counted(Rc<Cell<usize>>);

impl Buffers for Counted {
    fn buffer(&mut self, type_id: u8, len: usize) -> Result<BytesMut, Refused> {
        assert_eq!(type_id, 9);
        self.0.set(self.0.get() + len);
        Ok(BytesMut::with_capacity(len))
    }
}

#[test]
fn media_of_a_publisher_is_put_into_its_own_memory_and_nothing_else_is() {
    let mut peer = Peer::connected();
    peer.command("publish", 0.0, &[Value::Null, "s".into()]);
    let count = Rc::new(Cell::new(0));
    peer.server.accept_publish(Box::new(Counted(count.clone())));
    peer.send(9, 0, &[0x27; 1000]).unwrap();
    assert_eq!((count.get(), Rc::strong_count(&count)), (1000, 2));
    peer.command("closeStream", 0.0, &[]);
    assert_eq!((count.get(), Rc::strong_count(&count)), (1000, 1));
}

#[test]
fn only_media_may_be_long_and_only_of_a_publisher() {
    let long = vec![0x27; limits::CONTROL_MAX + 1];
    let max = limits::CONTROL_MAX;
    for (mut peer, type_id) in [
        (Peer::new(), 9),
        (Peer::connected(), 9),
        (Peer::playing(), 9),
        (Peer::publishing(Style::Fmle), COMMAND),
        (Peer::publishing(Style::Fmle), 77),
    ] {
        let error = peer.send(type_id, 0, &long).unwrap_err();
        let Cause::Chunk(chunk::Error::TooLong { max: told, .. }) = error.cause else { panic!() };
        assert_eq!(told, max);
    }
    assert_eq!(Peer::publishing(Style::Fmle).send(9, 0, &long).unwrap().len(), 1);
}

#[test]
fn what_was_received_is_acknowledged_when_the_peer_asks_for_it() {
    let mut peer = Peer::publishing(Style::Fmle);
    peer.send(9, 0, &[0x27; 5000]).unwrap();
    assert!(peer.replies().is_empty());
    peer.send(5, 0, &2000u32.to_be_bytes()).unwrap();
    let ack = |received: usize| {
        let [a, b, c, d] = (received as u32).to_be_bytes();
        format!("3 2 0 {a:02x} {b:02x} {c:02x} {d:02x}")
    };
    assert_eq!(peer.replies(), [ack(peer.record.len())]);
    for _ in 0..3 {
        peer.send(9, 0, &[0x27; 500]).unwrap();
        assert!(peer.replies().is_empty());
        peer.send(9, 0, &[0x27; 500]).unwrap();
        assert_eq!(peer.replies(), [ack(peer.record.len())]);
    }
    assert_eq!(peer.server.received(), peer.record.len() as u64);
}

#[test]
fn a_window_of_our_own_makes_acknowledgements() {
    let mut peer = Peer::new();
    peer.command("connect", 1.0, &[properties()]);
    let reply = ConnectReply { in_ack_size: 100, ..ConnectReply::default() };
    peer.server.accept_connect(&reply);
    peer.replies();
    peer.command("anything", 0.0, &["x".repeat(100).into()]);
    assert!(peer.replies()[0].starts_with("3 2 0 "));
}

#[test]
fn control_messages_are_handled_in_every_state() {
    for mut peer in [Peer::new(), Peer::connected(), Peer::playing(), Peer::publishing(Style::Fmle)]
    {
        peer.send(4, 0, b"\0\x06\x01\x02\x03\x04").unwrap();
        assert_eq!(peer.replies(), ["4 2 0 00 07 01 02 03 04"]);
        let events = peer.send(4, 0, b"\0\x03\0\0\0\x01\0\0\x03\xe8").unwrap();
        assert!(matches!(events[..], [Event::BufferLength(1000)]));
        for (type_id, payload) in [
            (2, &b"\0\0\0\x09"[..]),
            (3, b"\0\0\0\0"),
            (4, b"\0\x1a\0"),
            (4, b"\0\0\0\0\0\x01"),
            (4, b"\0\x07\0\0\0\x01"),
            (5, b"\0\0\0\0"),
            (6, b"\0\0\0\0\x02"),
        ] {
            assert!(peer.send(type_id, 0, payload).unwrap().is_empty());
        }
        assert!(peer.replies().is_empty());
        let events = peer.send(1, 0, &65_537u32.to_be_bytes()).unwrap();
        assert!(matches!(events[..], [Event::Note(Note::LargeChunks(65_537))]));
    }
}

#[test]
fn unknown_and_empty_messages_are_noted_once() {
    for mut peer in [Peer::new(), Peer::connected(), Peer::playing(), Peer::publishing(Style::Fmle)]
    {
        let events = peer.send(77, 0, b"?").unwrap();
        assert!(matches!(events[..], [Event::Note(Note::Unknown(77))]), "{events:?}");
        let events = peer.send(9, 0, b"").unwrap();
        assert!(matches!(events[..], [Event::Note(Note::Empty)]), "{events:?}");
        for (type_id, payload) in [(78, &b"?"[..]), (9, b""), (8, b"")] {
            assert!(peer.send(type_id, 0, payload).unwrap().is_empty());
        }
        assert!(peer.replies().is_empty());
    }
    assert!(!Note::Empty.is_warning() && !Note::Unknown(77).is_warning());
    assert!(Note::LargeChunks(65_537).is_warning());
    assert_eq!(Note::Unknown(77).to_string(), "drop unknown message, type=77");
}

#[test]
fn who_has_to_go_is_told_why_in_every_state() {
    let rejected = "20 3 0 '_error' 1 null {level='error',\
        code='NetConnection.Connect.Rejected',description='late'}";
    let closed = "20 3 0 'onStatus' 0 null {level='error',\
        code='NetConnection.Connect.Closed',description='late'}";
    let status = |code| {
        format!(
            "20 5 1 'onStatus' 0 null {{level='error',code='NetStream.{code}.Failed',\
             description='late',clientid='ASAICiss'}}"
        )
    };
    for (mut peer, said) in [
        (Peer::new(), rejected.to_owned()),
        (Peer::connected(), closed.to_owned()),
        (Peer::playing(), status("Play")),
        (Peer::publishing(Style::Fmle), status("Publish")),
    ] {
        peer.server.fail("late");
        assert_eq!(peer.replies(), [said]);
        peer.server.fail("late");
        assert!(peer.send(COMMAND, 0, b"\x10").unwrap().is_empty(), "it is ignored");
        assert!(peer.replies().is_empty(), "told once");
    }
    let mut server = Server::new(0);
    server.fail("late");
    assert!(server.send_buf().is_empty(), "there is no way to say it");
}

#[test]
fn a_command_that_cannot_be_read_is_answered() {
    let mut call = command("createStream", 7.0, &[]);
    let name = command("publish", 8.0, &[Value::Null]);
    for (payload, transaction) in
        [([&name[..], b"\x02\0\x09s"].concat(), 8), (b"\x02\0\x09s".to_vec(), 0)]
    {
        let mut peer = Peer::connected();
        let error = peer.send(COMMAND, 0, &payload).unwrap_err();
        assert!(matches!(error.cause, Cause::Command(_)));
        let [said] = &peer.replies()[..] else { panic!("one answer") };
        let start = format!(
            "20 3 0 '_error' {transaction} null {{level='error',code='NetConnection.Call.Failed'"
        );
        assert!(said.starts_with(&start), "{said}");
        peer.server.fail("again");
        assert!(peer.replies().is_empty(), "told once");
    }
    call.truncate(20);
    for mut peer in [Peer::playing(), Peer::publishing(Style::Fmle)] {
        assert!(peer.send(COMMAND, 0, &call).is_err());
        assert!(peer.replies().is_empty(), "that is for its owner");
    }
}

#[test]
fn short_control_messages_are_errors() {
    for (type_id, payload) in [
        (1, &b"\0\0\x10"[..]),
        (2, b"\0"),
        (4, b"\0"),
        (4, b"\0\x06\0\0\0"),
        (4, b"\0\x03\0\0\0\x01\0\0\0"),
        (5, b"\0\0"),
    ] {
        let error = Peer::connected().send(type_id, 0, payload).unwrap_err();
        assert_eq!((error.cause, error.code()), (Cause::Control(type_id), 2007));
    }
    let error = Peer::connected().send(1, 0, &127u32.to_be_bytes()).unwrap_err();
    assert_eq!(error.code(), 2010);
}

#[test]
fn amf0_that_does_not_end_well_is_an_error_with_its_place() {
    let deep = |levels: usize| {
        [&b"\x02\0\x07connect\0\0\0\0\0\0\0\0\0"[..], &b"\x03\0\x01a".repeat(levels)].concat()
    };
    let error = Peer::new().send(COMMAND, 0, &deep(1000)).unwrap_err();
    assert_eq!(error.cause, amf0::Error::TooDeep.into());
    assert_eq!(error.code(), 2003);
    assert!(error.to_string().ends_with(&format!("before byte {}", error.at)));
    let error = Peer::new().send(COMMAND, 0, &deep(10_000)).unwrap_err();
    assert_eq!(error.code(), 2002);
    let error = Peer::connected().send(COMMAND, 0, b"\x02\xff\xffab").unwrap_err();
    assert_eq!(error.code(), 2003);
    let error = Peer::connected().send(COMMAND, 0, b"\x10").unwrap_err();
    assert_eq!(error.code(), 2004);
}

#[test]
fn a_peer_that_never_reads_is_left() {
    let mut peer = Peer::connected();
    let ping = b"\0\x06\x01\x02\x03\x04";
    let pings = (0..10_000).take_while(|_| peer.send(4, 0, ping).is_ok()).count();
    assert!((500..5000).contains(&pings));
    assert!(peer.server.send_buf().len() <= limits::CONTROL_OUT_MAX + 100);
    assert_eq!(peer.send(4, 0, ping).unwrap_err().cause, Cause::PeerDoesNotRead);
}

#[test]
fn what_was_sent_leaves_no_memory_behind() {
    let mut peer = Peer::connected();
    peer.server.notify("a", "b");
    let all = peer.server.send_buf().to_vec();
    let mut sent = Vec::new();
    while !peer.server.send_buf().is_empty() {
        sent.push(peer.server.send_buf()[0]);
        peer.server.send_done(1);
    }
    assert_eq!(sent, all);
    peer.server.send_done(5);
    assert!(peer.server.send_buf().is_empty());
}
