use std::{cell::Cell, fmt::Write, rc::Rc};

use bytes::BytesMut;

use super::*;
use crate::proto::rtmp::{Identity, RUNNEL};
use crate::{
    media::Kind,
    proto::{
        amf0::{self, Reader, Value, Writer},
        rtmp::{
            chunk::{self, Decoder, Refused, write_message},
            handshake::ClientHandshake,
            message::{COMMAND, COMMAND_AMF3, DATA, DATA_AMF3},
        },
    },
};

/// A client made by hand.
struct Peer {
    server: Server,
    decoder: Decoder,
    /// What the server has not taken yet.
    backlog: Vec<u8>,
    /// All that was sent.
    record: Vec<u8>,
}

impl Peer {
    /// Past the handshake.
    fn new() -> Self {
        let mut server = Server::new(0);
        let mut hello = Vec::new();
        let mut handshake = ClientHandshake::new(Form::Simple, 0, &mut hello);
        assert!(server.receive(&mut &*hello).unwrap().is_none());
        let answer = server.send_buf().to_vec();
        server.send_done(answer.len());
        let mut rest = Vec::new();
        assert!(handshake.receive(&mut &*answer, &mut rest).unwrap().is_some());
        let event = server.receive(&mut &*rest).unwrap();
        assert!(matches!(event, Some(Event::Handshake(Form::Simple))));
        let record = [hello, rest].concat();
        Self { server, decoder: Decoder::default(), backlog: Vec::new(), record }
    }

    /// Past connect.
    fn connected() -> Self {
        let mut peer = Self::new();
        let events = peer.command("connect", 1.0, &[properties()]);
        assert!(matches!(events[..], [Event::Connect(_)]));
        peer.server.accept_connect(&ConnectReply::default());
        peer.replies();
        peer
    }

    /// Publishing.
    fn publishing(style: Style) -> Self {
        let mut peer = Self::connected();
        peer.publish(style);
        peer.replies();
        peer
    }

    /// Playing.
    fn playing() -> Self {
        let mut peer = Self::connected();
        peer.command("createStream", 2.0, &[Value::Null]);
        peer.command("play", 0.0, &[Value::Null, "s".into()]);
        peer.server.accept_play();
        peer.replies();
        peer
    }

    fn publish(&mut self, style: Style) {
        let name = || [Value::Null, "s".into()];
        if style == Style::Fmle {
            assert!(self.command("releaseStream", 2.0, &name()).is_empty());
            assert!(self.command("FCPublish", 3.0, &name()).is_empty());
        }
        assert!(self.command("createStream", 4.0, &[Value::Null]).is_empty());
        if style == Style::Haivision {
            assert!(self.command("FCPublish", 5.0, &name()).is_empty());
        }
        let events = self.command("publish", 0.0, &[Value::Null, "s?k=1".into(), "live".into()]);
        let [Event::Publish(publish)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(**publish, Publish { name: "s?k=1".into(), style });
        self.server.accept_publish(Box::new(Heap { media_max: 100_000 }));
    }

    fn command(&mut self, name: &str, transaction: f64, values: &[Value]) -> Vec<Event> {
        self.send(COMMAND, 0, &command(name, transaction, values)).unwrap()
    }

    fn send(&mut self, type_id: u8, timestamp: u32, payload: &[u8]) -> Result<Vec<Event>, Error> {
        let start = self.backlog.len();
        write_message(&mut self.backlog, 128, 3, type_id, 1, timestamp, payload);
        self.record.extend(&self.backlog[start..]);
        self.run()
    }

    fn run(&mut self) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        let mut input = &*self.backlog;
        let result = loop {
            match self.server.receive(&mut input) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break Ok(events),
                Err(error) => break Err(error),
            }
        };
        let left = input.len();
        self.backlog.drain(..self.backlog.len() - left);
        result
    }

    /// What the server said: type, chunk stream, message stream, content.
    fn replies(&mut self) -> Vec<String> {
        let bytes = self.server.send_buf().to_vec();
        self.server.send_done(bytes.len());
        let mut input = &*bytes;
        let mut replies = Vec::new();
        let mut heap = Heap { media_max: 100_000 };
        while let Some(message) = self.decoder.receive(&mut input, &mut heap).unwrap() {
            if message.type_id == 1 {
                let size = message.payload[..4].try_into().map(u32::from_be_bytes).unwrap();
                self.decoder.set_chunk_size(size).unwrap();
            }
            replies.push(text(&message));
        }
        replies
    }
}

fn command(name: &str, transaction: f64, values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer(&mut out);
    writer.string(name).number(transaction);
    for value in values {
        writer.value(value);
    }
    out
}

fn properties() -> Value {
    Object::from_iter([("app", "live"), ("tcUrl", "rtmp://host/live")]).into()
}

fn metadata() -> Vec<u8> {
    let mut out = Vec::new();
    let array = Object::from_iter([("width", 1280.0)]);
    let array = Value::EcmaArray { count: 1, pairs: array };
    Writer(&mut out).string("@setDataFrame").string("onMetaData").value(&array);
    out
}

fn text(message: &Message) -> String {
    let mut out = format!("{} {} {}", message.type_id, message.csid, message.msid);
    if !matches!(message.type_id, COMMAND | DATA) {
        for byte in &message.payload {
            write!(out, " {byte:02x}").unwrap();
        }
        return out;
    }
    let mut reader = Reader::new(&message.payload);
    while !reader.is_empty() {
        write!(out, " {}", value_text(&reader.value().unwrap())).unwrap();
    }
    out
}

fn value_text(value: &Value) -> String {
    let pairs = |pairs: &Object| {
        let pairs: Vec<_> =
            pairs.iter().map(|(key, value)| format!("{key}={}", value_text(value))).collect();
        pairs.join(",")
    };
    match value {
        Value::Number(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        Value::String(text) => format!("'{text}'"),
        Value::Null => "null".into(),
        Value::Undefined => "undefined".into(),
        Value::Object(object) => format!("{{{}}}", pairs(object)),
        Value::EcmaArray { count, pairs: array } => format!("[{count}: {}]", pairs(array)),
        Value::StrictArray(values) => {
            format!("[{}]", values.iter().map(value_text).collect::<Vec<_>>().join(","))
        }
        Value::Date { ms, .. } => format!("date {ms}"),
    }
}

fn packets(events: &[Event]) -> Vec<(Kind, u32, &[u8])> {
    let packet = |event| match event {
        &Event::Packet(Packet { kind, dts, ref payload, .. }) => (kind, dts, &**payload),
        other => panic!("{other:?}"),
    };
    events.iter().map(packet).collect()
}

const PUBLISH_STATUS: &str = "20 5 1 'onStatus' 0 null {level='status',\
    code='NetStream.Publish.Start',description='Started publishing stream.',clientid='ASAICiss'}";
const FC_PUBLISH: &str = "20 5 1 'onFCPublish' 0 null {code='NetStream.Publish.Start',\
    description='Started publishing stream.'}";

#[test]
fn connect_is_answered_in_the_order_that_clients_know() {
    let mut peer = Peer::new();
    let events = peer.command("connect", 1.0, &[properties(), properties()]);
    let [Event::Connect(connect)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(connect.tc_url, "rtmp://host/live");
    assert!(connect.args.is_some());
    let (server_ip, chunk_size) = ("1.2.3.4".into(), 4096);
    peer.server.accept_connect(&ConnectReply {
        server_ip,
        pid: 12,
        id: 34,
        chunk_size,
        ..ConnectReply::default()
    });
    let version = env!("CARGO_PKG_VERSION");
    let Identity { url, site, email, copyright, primary, authors, .. } = RUNNEL;
    let expected = [
        "5 2 0 00 26 25 a0".to_owned(),
        "6 2 0 00 26 25 a0 02".to_owned(),
        "1 2 0 00 00 10 00".to_owned(),
        format!(
            "20 3 0 '_result' 1 {{fmsVer='FMS/3,5,3,888',capabilities=127,mode=1}} \
             {{level='status',code='NetConnection.Connect.Success',\
             description='Connection succeeded',objectEncoding=0,data=[0: version='3,5,3,888',\
             srs_sig='runnel',srs_server='runnel/{version}',\
             srs_license='The MIT License (MIT)',srs_role='cluster',srs_url='{url}',\
             srs_version='{version}',srs_site='{site}',srs_email='{email}',\
             srs_copyright='{copyright}',srs_primary='{primary}',srs_authors='{authors}',\
             srs_server_ip='1.2.3.4',srs_pid=12,srs_id=34]}}"
        ),
        "20 3 0 'onBWDone' 0 null".to_owned(),
    ];
    assert_eq!(peer.replies(), expected);
    assert_eq!(peer.server.out_chunk_size(), 4096);
    assert_eq!(peer.server.state(), "idle");
}

#[test]
fn codecs_are_offered_to_those_who_offer_codecs() {
    let mut peer = Peer::new();
    let map = Object::from_iter([("*", 7.0), ("hvc1", 1.0)]);
    let properties = Object::from_iter([
        ("tcUrl", "rtmp://host/live".into()),
        ("objectEncoding", 3.0.into()),
        ("capsEx", 15.0.into()),
        ("videoFourCcInfoMap", Value::Object(map)),
        ("fourCcList", Value::StrictArray(vec!["av01".into(), "hvc1".into()])),
    ]);
    peer.command("connect", 1.0, &[properties.into()]);
    peer.server.accept_connect(&ConnectReply::default());
    let replies = peer.replies();
    assert!(replies[3].starts_with(
        "20 3 0 '_result' 1 {fmsVer='FMS/3,5,3,888',capabilities=127,mode=1,\
         fourCcList=['av01','hvc1'],videoFourCcInfoMap={*=4,hvc1=4},capsEx=1} "
    ));
    assert!(replies[3].contains("objectEncoding=3,"));
}

#[test]
fn a_client_that_can_is_asked_to_connect_again() {
    for (caps, able) in [(None, false), (Some(14.0), false), (Some(1.0), true), (Some(15.0), true)]
    {
        let mut peer = Peer::new();
        assert!(peer.server.leave(), "nothing is under way before connect");
        let caps = caps.map(|caps: f64| ("capsEx", Value::from(caps)));
        let url = ("tcUrl", Value::from("rtmp://host/live"));
        let properties = [url].into_iter().chain(caps);
        peer.command("connect", 1.0, &[Object::from_iter(properties).into()]);
        peer.server.accept_connect(&ConnectReply::default());
        peer.replies();
        let url = Some("rtmp://other/live");
        assert_eq!(peer.server.request_reconnect(url, "Bye."), able);
        assert!(!peer.server.leave());
        let status = "code='NetConnection.Connect.ReconnectRequest',description=";
        let expected = [
            format!(
                "20 3 0 'onStatus' 0 null {{tcUrl='rtmp://other/live',{status}'Bye.',level='status'}}"
            ),
            format!("20 3 0 'onStatus' 0 null {{{status}'The server leaves.',level='status'}}"),
        ];
        assert_eq!(peer.replies(), if able { &expected[..] } else { &[] });
        assert_eq!(peer.server.state(), "idle", "it goes on");
    }
}

#[test]
fn a_refused_client_is_told_and_then_ignored() {
    let mut peer = Peer::new();
    peer.command("connect", 1.0, &[properties()]);
    peer.server.refuse_connect("no such vhost");
    let rejected = "20 3 0 '_error' 1 null {level='error',\
        code='NetConnection.Connect.Rejected',description='no such vhost'}";
    assert_eq!(peer.replies(), [rejected]);
    assert!(peer.command("createStream", 2.0, &[]).is_empty());
    assert!(peer.replies().is_empty());
    assert_eq!(peer.server.state(), "refused");
}

#[test]
fn what_comes_before_connect_is_skipped() {
    let mut peer = Peer::new();
    assert!(peer.command("createStream", 2.0, &[]).is_empty());
    assert!(peer.send(9, 0, b"\x17\x01").unwrap().is_empty());
    assert!(peer.replies().is_empty());
    assert_eq!(peer.command("connect", 1.0, &[properties()]).len(), 1);
}

#[test]
fn connect_without_tc_url_is_an_error_with_an_answer() {
    for value in [Value::Null, 5.0.into(), true.into()] {
        let mut peer = Peer::new();
        let properties = Object::from_iter([("tcUrl", value)]);
        let payload = command("connect", 1.0, &[properties.into()]);
        let error = peer.send(COMMAND, 0, &payload).unwrap_err();
        assert_eq!(error.code(), 2005);
        let at = peer.record.len() - 3073;
        assert_eq!(error.to_string(), format!("connect without tcUrl, before byte {at}"));
        assert!(peer.replies()[0].contains("NetConnection.Connect.Rejected"));
    }
}

#[test]
fn properties_of_the_wrong_type_count_as_absent() {
    let mut peer = Peer::new();
    let properties = Object::from_iter([
        ("tcUrl", "rtmp://host/live".into()),
        ("pageUrl", Value::Number(1.0)),
        ("swfUrl", Value::Undefined),
        ("objectEncoding", "3".into()),
        ("app", Object::new().into()),
    ]);
    let events = peer.command("connect", 7.0, &[properties.into(), "x".into()]);
    let [Event::Connect(connect)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&*connect.page_url, &*connect.swf_url, &*connect.app), ("", "", ""));
    assert_eq!((connect.object_encoding, connect.transaction), (0.0, 7.0));
    assert!(connect.args_dropped);
    peer.server.accept_connect(&ConnectReply::default());
    assert!(peer.replies()[3].starts_with("20 3 0 '_result' 7 {"));
}

#[test]
fn an_encoder_publishes() {
    let mut peer = Peer::connected();
    peer.publish(Style::Fmle);
    let expected = [
        "20 3 0 '_result' 2 null undefined",
        "20 3 0 '_result' 3 null undefined",
        "20 3 0 '_result' 4 null 1",
        FC_PUBLISH,
        PUBLISH_STATUS,
    ];
    assert_eq!(peer.replies(), expected);
}

#[test]
fn flash_publishes() {
    let mut peer = Peer::connected();
    peer.publish(Style::Flash);
    assert_eq!(peer.replies(), ["20 3 0 '_result' 4 null 1", PUBLISH_STATUS]);
}

#[test]
fn haivision_publishes() {
    let mut peer = Peer::connected();
    peer.publish(Style::Haivision);
    let expected = [
        "20 3 0 '_result' 4 null 1",
        "20 3 0 '_result' 5 null undefined",
        FC_PUBLISH,
        PUBLISH_STATUS,
    ];
    assert_eq!(peer.replies(), expected);
}

#[test]
fn an_encoder_that_publishes_without_a_name_uses_the_one_it_released() {
    let mut peer = Peer::connected();
    peer.command("releaseStream", 2.0, &[Value::Null, "s".into()]);
    let events = peer.command("publish", 0.0, &[Value::Null]);
    assert!(matches!(&events[..], [Event::Publish(publish)] if publish.name == "s"));
}

#[test]
fn a_player_plays() {
    let mut peer = Peer::connected();
    peer.command("createStream", 2.0, &[Value::Null]);
    let events = peer.command("play", 0.0, &[Value::Null, "s?k=1".into(), (-1.0).into()]);
    let [Event::Play(play)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&*play.name, play.start, play.duration), ("s?k=1", -1.0, -1.0));
    peer.server.accept_play();
    let status = |code: &str, description: &str| {
        format!(
            "20 5 1 'onStatus' 0 null {{level='status',code='NetStream.Play.{code}',\
             description='{description}',details='stream',clientid='ASAICiss'}}"
        )
    };
    let expected = [
        "20 3 0 '_result' 2 null 1".to_owned(),
        "4 2 0 00 00 00 00 00 01".to_owned(),
        status("Reset", "Playing and resetting stream."),
        status("Start", "Started playing stream."),
        "18 5 1 '|RtmpSampleAccess' true true".to_owned(),
        "18 5 1 'onStatus' {code='NetStream.Data.Start'}".to_owned(),
    ];
    assert_eq!(peer.replies(), expected);
}

#[test]
fn play_needs_no_create_stream() {
    let mut peer = Peer::connected();
    let events = peer.command("play", 0.0, &[Value::Null, "s".into()]);
    assert!(matches!(events[..], [Event::Play(_)]));
}

#[test]
fn a_player_pauses_and_goes_on() {
    let mut peer = Peer::playing();
    let events = peer.command("pause", 0.0, &[Value::Null, true.into(), 5.0.into()]);
    assert!(matches!(events[..], [Event::Pause(true)]));
    let events = peer.command("pause", 0.0, &[Value::Null, false.into(), 5.0.into()]);
    assert!(matches!(events[..], [Event::Pause(false)]));
    let expected = [
        "20 5 1 'onStatus' 0 null {level='status',code='NetStream.Pause.Notify',\
         description='Paused stream.'}",
        "4 2 0 00 01 00 00 00 01",
        "20 5 1 'onStatus' 0 null {level='status',code='NetStream.Unpause.Notify',\
         description='Unpaused stream.'}",
        "4 2 0 00 00 00 00 00 01",
    ];
    assert_eq!(peer.replies(), expected);
}

#[test]
fn other_commands_of_a_player_are_answered_and_have_no_effect() {
    let mut peer = Peer::playing();
    for name in ["seek", "deleteStream", "getStreamLength", "play", "publish", "anything"] {
        assert!(peer.command(name, 5.0, &[Value::Null, 1.0.into()]).is_empty());
        assert_eq!(peer.replies(), ["20 3 0 '_result' 5 null null"], "{name}");
        assert!(peer.command(name, 0.0, &[Value::Null, 1.0.into()]).is_empty());
        assert!(peer.command(name, f64::NAN, &[Value::Null, 1.0.into()]).is_empty());
        assert!(peer.replies().is_empty(), "{name}");
    }
    assert!(peer.send(9, 0, b"\x17\x01").unwrap().is_empty());
    assert!(peer.send(22, 0, b"rubbish").unwrap().is_empty());
    assert_eq!(peer.server.state(), "play");
}

#[test]
fn a_player_that_closes_its_stream_may_play_or_publish_again() {
    let mut peer = Peer::playing();
    let events = peer.command("closeStream", 0.0, &[Value::Null]);
    assert!(matches!(events[..], [Event::CloseStream]));
    assert!(peer.replies().is_empty());
    let events = peer.command("play", 0.0, &[Value::Null, "t".into()]);
    assert!(matches!(&events[..], [Event::Play(play)] if play.name == "t"));
    peer.server.accept_play();
    assert_eq!(peer.replies().len(), 5);
    peer.command("closeStream", 0.0, &[Value::Null]);
    peer.publish(Style::Fmle);
}

#[test]
fn an_encoder_stops_and_publishes_again() {
    for style in [Style::Fmle, Style::Haivision] {
        let mut peer = Peer::publishing(style);
        let events = peer.command("FCUnpublish", 6.0, &[Value::Null, "s".into()]);
        assert!(matches!(events[..], [Event::Unpublish]));
        let expected = [
            "20 5 1 'onFCUnpublish' 0 null {code='NetStream.Unpublish.Success',\
             description='Stop publishing stream.'}",
            "20 3 1 '_result' 6 null undefined",
            "20 5 1 'onStatus' 0 null {level='status',code='NetStream.Unpublish.Success',\
             description='Stream is now unpublished',clientid='ASAICiss'}",
        ];
        assert_eq!(peer.replies(), expected);
        assert!(peer.command("deleteStream", 7.0, &[Value::Null, 1.0.into()]).is_empty());
        assert_eq!(peer.replies(), ["20 3 0 '_result' 7 null null"]);
        peer.publish(style);
        assert_eq!(packets(&peer.send(8, 1, b"\xaf\x01").unwrap()).len(), 1);
    }
}

#[test]
fn an_encoder_goes_on_through_other_commands() {
    let mut peer = Peer::publishing(Style::Fmle);
    assert!(peer.command("_checkbw", 5.0, &[Value::Null]).is_empty());
    assert!(peer.command("_checkbw", 0.0, &[Value::Null]).is_empty());
    assert_eq!(peer.replies(), ["20 3 0 '_result' 5 null null"]);
    assert_eq!(peer.server.state(), "publish");
    let events = peer.command("deleteStream", 0.0, &[Value::Null, 1.0.into()]);
    assert!(matches!(events[..], [Event::Unpublish]));
}

#[test]
fn whatever_flash_says_ends_what_it_publishes() {
    for name in ["closeStream", "deleteStream", "publish", "FCUnpublish", "anything"] {
        let mut peer = Peer::publishing(Style::Flash);
        let events = peer.command(name, 0.0, &[Value::Null, false.into()]);
        assert!(matches!(events[..], [Event::Unpublish]), "{name}");
        assert!(peer.replies().is_empty());
        peer.publish(Style::Flash);
    }
    let mut peer = Peer::publishing(Style::Flash);
    assert_eq!(peer.command("createStream", 9.0, &[Value::Null]).len(), 1);
    assert_eq!(peer.replies(), ["20 3 0 '_result' 9 null 1"]);
}

#[test]
fn a_refused_stream_can_be_asked_for_again() {
    let mut peer = Peer::connected();
    peer.command("play", 0.0, &[Value::Null, "s".into()]);
    peer.server.refuse("NetStream.Play.StreamNotFound", "no such stream");
    let refused = "20 5 1 'onStatus' 0 null {level='error',\
        code='NetStream.Play.StreamNotFound',description='no such stream',clientid='ASAICiss'}";
    assert_eq!(peer.replies(), [refused]);
    peer.publish(Style::Flash);
    peer.server.end("error", "NetStream.Publish.BadName", "another one took over");
    assert_eq!(peer.replies().len(), 3);
    assert_eq!(peer.server.state(), "idle");
}

#[test]
fn answers_that_nobody_waits_for_have_no_effect() {
    let mut peer = Peer::playing();
    peer.server.accept_connect(&ConnectReply::default());
    peer.server.refuse_connect("x");
    peer.server.accept_publish(Box::new(Heap { media_max: 0 }));
    peer.server.refuse("x", "y");
    peer.server.accept_play();
    assert!(peer.replies().is_empty());
    assert_eq!(peer.server.state(), "play");
}

#[test]
fn nothing_is_taken_while_an_answer_is_due() {
    let mut peer = Peer::connected();
    write_message(&mut peer.backlog, 128, 3, COMMAND, 1, 0, &command("createStream", 2.0, &[]));
    let publish = command("publish", 0.0, &[Value::Null, "s".into()]);
    write_message(&mut peer.backlog, 128, 3, COMMAND, 1, 0, &publish);
    let waiting = peer.backlog.len();
    write_message(&mut peer.backlog, 128, 6, 9, 1, 40, &vec![0x17; 50_000]);
    let media = peer.backlog.len() - waiting;
    assert!(matches!(peer.run().unwrap()[..], [Event::Publish(_)]));
    assert!(peer.run().unwrap().is_empty());
    assert_eq!(peer.backlog.len(), media);
    peer.server.accept_publish(Box::new(Heap { media_max: 100_000 }));
    assert_eq!(packets(&peer.run().unwrap())[0].2.len(), 50_000);
}

#[test]
fn calls_are_answered() {
    let mut peer = Peer::connected();
    assert!(peer.command("anything", 5.0, &[Value::Null]).is_empty());
    assert_eq!(peer.replies(), ["20 3 0 '_result' 5 null null"]);
    peer.command("anything", 0.0, &[Value::Null]);
    assert_eq!(peer.replies(), ["20 3 0 '_result' 0 null null"]);
    peer.command("createStream", 2.0, &[Value::Null]);
    peer.command("createStream", 3.0, &[Value::Null]);
    assert_eq!(peer.replies(), ["20 3 0 '_result' 2 null 1", "20 3 0 '_result' 3 null 1"]);
    peer.command("anything", 0.0, &[Value::Null]);
    assert!(peer.replies().is_empty());
    peer.command("_result", 5.0, &[Value::Null]);
    peer.command("pause", 0.0, &[Value::Null]);
    assert!(peer.replies().is_empty());
}

#[test]
fn commands_in_amf3_are_amf0_behind_a_zero() {
    let mut peer = Peer::connected();
    for prefix in [&b"\0"[..], b""] {
        let payload = [prefix, &command("createStream", 2.0, &[Value::Null])].concat();
        assert!(peer.send(COMMAND_AMF3, 0, &payload).unwrap().is_empty());
        assert_eq!(peer.replies(), ["20 3 0 '_result' 2 null 1"]);
    }
}

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

/// What clients send in whole sessions.
fn records() -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for style in [Style::Fmle, Style::Flash, Style::Haivision] {
        let mut peer = Peer::publishing(style);
        peer.send(DATA, 0, &metadata()).unwrap();
        peer.send(9, 0, &[0x17; 300]).unwrap();
        peer.send(22, 0, &[8, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xaf, 0, 0, 0, 12]).unwrap();
        peer.command("FCUnpublish", 9.0, &[Value::Null, "s".into()]);
        records.push(peer.record);
    }
    let mut peer = Peer::playing();
    peer.command("pause", 0.0, &[Value::Null, true.into()]);
    peer.command("closeStream", 0.0, &[Value::Null]);
    records.push(peer.record);
    records
}

/// Feeds `bytes` in slices, answering everything. Returns the number of events.
fn feed(bytes: &[u8], mut slice: impl FnMut() -> usize) -> usize {
    let mut server = Server::new(0);
    let mut events = 0;
    let mut rest = bytes;
    while !rest.is_empty() {
        let (mut input, later) = rest.split_at(slice().clamp(1, rest.len()));
        rest = later;
        loop {
            match server.receive(&mut input) {
                Err(error) => {
                    assert!(error.code() >= 1000 && !error.to_string().is_empty());
                    return events;
                }
                Ok(None) => break,
                Ok(Some(event)) => {
                    events += 1;
                    match event {
                        Event::Connect(_) => server.accept_connect(&ConnectReply::default()),
                        Event::Publish(_) => {
                            server.accept_publish(Box::new(Heap { media_max: 5000 }));
                        }
                        Event::Play(_) => server.accept_play(),
                        _ => {}
                    }
                }
            }
        }
        assert!(input.is_empty());
        server.send_done(server.send_buf().len());
    }
    events
}

#[test]
fn sessions_go_the_same_way_however_they_are_cut() {
    let mut random = fastrand::Rng::with_seed(6);
    for record in records() {
        let events = feed(&record, || usize::MAX);
        assert!(events >= 5);
        assert_eq!(feed(&record, || 1), events);
        assert_eq!(feed(&record, || 7), events);
        assert_eq!(feed(&record, || random.usize(1..500)), events);
    }
}

#[test]
fn changed_sessions_never_panic() {
    let mut random = fastrand::Rng::with_seed(7);
    for record in records() {
        for _ in 0..2000 {
            let mut changed = record.clone();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(3073..changed.len());
                changed[at] = random.u8(..);
            }
            if random.bool() {
                changed.truncate(random.usize(3073..changed.len()));
            }
            feed(&changed, || random.usize(1..5000));
        }
    }
}
