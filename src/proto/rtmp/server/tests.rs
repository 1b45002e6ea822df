use std::{cell::Cell, fmt::Write, rc::Rc};

use bytes::BytesMut;

use super::*;
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

mod commands;
mod messages;

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
