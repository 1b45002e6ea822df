//! Both ends of a connection, talking to each other.

use bytes::Bytes;

use super::{
    client::{self, Client, Config, Role, ServerInfo, Status},
    command::Style,
    message::Heap,
    server::{self, ConnectReply, Server},
};
use crate::{
    limits,
    media::{Kind, Packet},
    proto::{
        Machine,
        amf0::{Object, Value},
    },
};

/// What the owner of the server decides.
#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Accept,
    RefuseConnect,
    RefuseStream,
}

/// A client and a server, and the bytes between them in slices.
struct Pair {
    client: Client,
    server: Server,
    verdict: Verdict,
    slice: usize,
    random: fastrand::Rng,
    to_client: Vec<u8>,
    /// The names of what the server saw, without packets.
    server_events: Vec<String>,
    published: Vec<Packet>,
    client_events: Vec<client::Event>,
}

impl Pair {
    fn new(role: Role, slice: usize) -> Self {
        Self::with(config(role), Verdict::Accept, slice)
    }

    /// Runs until nothing more happens. A `slice` of 0 stands for random ones.
    fn with(config: Config, verdict: Verdict, slice: usize) -> Self {
        let mut pair = Self {
            client: Client::new(config),
            server: Server::new(0),
            verdict,
            slice,
            random: fastrand::Rng::with_seed(8),
            to_client: Vec::new(),
            server_events: Vec::new(),
            published: Vec::new(),
            client_events: Vec::new(),
        };
        pair.run();
        pair
    }

    fn run(&mut self) {
        loop {
            let up = self.next_slice(self.client.send_buf().len());
            let bytes = self.client.send_buf()[..up].to_vec();
            self.client.send_done(up);
            let mut input = &*bytes;
            while let Some(event) = self.server.receive(&mut input).unwrap() {
                self.decide(event);
            }
            assert!(input.is_empty());

            let down = self.next_slice(self.server.send_buf().len());
            let bytes = self.server.send_buf()[..down].to_vec();
            self.server.send_done(down);
            self.to_client.extend(&bytes);
            let mut input = &*bytes;
            while let Some(event) = self.client.receive(&mut input).unwrap() {
                self.client_events.push(event);
            }
            assert!(input.is_empty());
            if up + down == 0 {
                return;
            }
        }
    }

    fn next_slice(&mut self, len: usize) -> usize {
        let slice = if self.slice == 0 { self.random.usize(1..2000) } else { self.slice };
        slice.min(len)
    }

    fn decide(&mut self, event: server::Event) {
        let name = match event {
            server::Event::Handshake(form) => format!("{form:?}"),
            server::Event::Connect(connect) => {
                if self.verdict == Verdict::RefuseConnect {
                    self.server.refuse_connect("go away");
                } else {
                    let (pid, id, server_ip) = (12, 34, "1.2.3.4".into());
                    let reply = ConnectReply { pid, id, server_ip, ..ConnectReply::default() };
                    self.server.accept_connect(&reply);
                }
                format!("connect {} {}", connect.tc_url, connect.flash_ver)
            }
            server::Event::Publish(publish) => {
                if self.verdict == Verdict::RefuseStream {
                    self.server.refuse("NetStream.Publish.BadName", "stream busy");
                } else {
                    self.server.accept_publish(Box::new(Heap { media_max: limits::MESSAGE_MAX }));
                }
                format!("{} {}", publish.style, publish.name)
            }
            server::Event::Play(play) => {
                if self.verdict == Verdict::RefuseStream {
                    self.server.refuse("NetStream.Play.StreamNotFound", "no such stream");
                } else {
                    self.server.accept_play();
                }
                format!("play {}", play.name)
            }
            server::Event::Packet(packet) => return self.published.push(packet),
            other => format!("{other:?}"),
        };
        self.server_events.push(name);
    }

    fn client_saw(&mut self) -> Vec<String> {
        let name = |event| match event {
            client::Event::Connected(_) => "connected".into(),
            client::Event::Status(status) => status.code,
            client::Event::Refused(status) => format!("refused: {}", status.code),
            other => format!("{other:?}"),
        };
        self.client_events.drain(..).map(name).collect()
    }

    fn server_saw(&mut self) -> Vec<String> {
        std::mem::take(&mut self.server_events)
    }
}

fn config(role: Role) -> Config {
    Config::new("rtmp://host/live?k=1", "live", role)
}

fn play(stream: &str) -> Role {
    Role::Play { stream: stream.into(), start: -2.0, buffer_ms: 1000 }
}

fn publish(stream: &str, style: Style) -> Role {
    Role::Publish { stream: stream.into(), style }
}

fn media() -> Vec<Packet> {
    let metadata = Bytes::from_static(b"\x02\0\x0aonMetaData\x03\0\0\x09");
    let key: Bytes = [&b"\x17\x01\0\0\0"[..], &[5; 200_000]].concat().into();
    vec![
        Packet::new(Kind::Data, 0, metadata),
        Packet::new(Kind::Audio, 0, Bytes::from_static(b"\xaf\x00\x12\x10")),
        Packet::new(Kind::Video, 0, key),
        Packet::new(Kind::Audio, 0x0100_0000, Bytes::from_static(b"\xaf\x01a")),
        Packet::new(Kind::Video, 0x7fff_ffff, Bytes::from_static(b"\x27\x01\0\0\0v")),
    ]
}

const SLICES: [usize; 4] = [1, 7, 0, usize::MAX];

#[test]
fn packets_arrive_as_they_were_sent() {
    for slice in SLICES {
        for style in [Style::Fmle, Style::Flash, Style::Haivision] {
            let mut pair = Pair::new(publish("s?k=2", style), slice);
            let expected = [
                "Simple".to_owned(),
                "connect rtmp://host/live?k=1 WIN 15,0,0,239".into(),
                format!("{style} s?k=2"),
            ];
            assert_eq!(pair.server_saw(), expected);
            assert_eq!(pair.client_saw(), ["Handshake(Simple)", "connected", "Started"]);
            for packet in media() {
                assert!(pair.client.send_packet(&packet));
                pair.run();
            }
            assert_eq!(pair.published, media());
        }
    }
}

#[test]
fn a_player_is_told_what_it_needs_and_plays() {
    for slice in SLICES {
        let mut pair = Pair::new(play("s"), slice);
        let expected = ["Simple", "connect rtmp://host/live?k=1 WIN 15,0,0,239", "play s"];
        let seen = pair.server_saw();
        assert_eq!(seen[..3], expected);
        assert_eq!(seen[3..], ["BufferLength(1000)"]);
        let expected = ["Handshake(Simple)", "connected", "NetStream.Play.Reset", "Started"];
        assert_eq!(pair.client_saw(), expected);

        let chunk_size = pair.server.out_chunk_size();
        let mut bytes = Vec::new();
        for packet in media() {
            let type_id = packet.kind.type_id();
            super::chunk::write_message(
                &mut bytes,
                chunk_size,
                6,
                type_id,
                1,
                packet.dts,
                &packet.payload,
            );
        }
        let mut received = Vec::new();
        for slice in bytes.chunks(slice.clamp(1, bytes.len())) {
            let mut input = slice;
            while let Some(event) = pair.client.receive(&mut input).unwrap() {
                let client::Event::Packet(packet) = event else { panic!("{event:?}") };
                received.push(packet);
            }
        }
        assert_eq!(received, media());

        pair.client.pause(true);
        pair.client.pause(false);
        pair.client.set_buffer_length(500);
        pair.client.call("seek", &[Value::Null, 0.0.into()]);
        pair.run();
        assert_eq!(pair.client_saw(), ["NetStream.Pause.Notify", "NetStream.Unpause.Notify"]);
        let expected = ["Pause(true)", "Pause(false)", "BufferLength(500)"];
        assert_eq!(pair.server_saw(), expected);
    }
}

#[test]
fn one_connection_plays_and_publishes_again_and_again() {
    for slice in SLICES {
        let mut pair = Pair::new(play("a"), slice);
        assert!(!pair.client.start(play("b")));
        pair.server_saw();
        pair.client.close_stream();
        assert!(pair.client.start(play("b")));
        pair.run();
        pair.client.close_stream();
        for style in [Style::Fmle, Style::Flash, Style::Haivision] {
            assert!(pair.client.start(publish("c", style)));
            pair.run();
            assert!(pair.client.send_packet(&media()[1]));
            pair.run();
            pair.client.unpublish();
            assert!(!pair.client.send_packet(&media()[1]));
        }
        pair.run();
        let names: Vec<_> =
            pair.server_saw().into_iter().filter(|name| !name.starts_with("Buffer")).collect();
        let expected = [
            "CloseStream",
            "play b",
            "CloseStream",
            "fmle-publish c",
            "Unpublish",
            "flash-publish c",
            "Unpublish",
            "haivision-publish c",
            "Unpublish",
        ];
        assert_eq!(names, expected);
        assert_eq!(pair.published.len(), 3);
        let seen = pair.client_saw();
        assert_eq!(seen.iter().filter(|name| *name == "Started").count(), 5);
        assert_eq!(seen.iter().filter(|name| *name == "NetStream.Unpublish.Success").count(), 2);
    }
}

#[test]
fn refusals_reach_the_client() {
    for slice in SLICES {
        let mut pair = Pair::with(config(play("s")), Verdict::RefuseConnect, slice);
        let seen = pair.client_saw();
        assert_eq!(seen, ["Handshake(Simple)", "refused: NetConnection.Connect.Rejected"]);
        assert!(!pair.client.start(play("s")));

        let mut pair = Pair::with(config(play("s")), Verdict::RefuseStream, slice);
        let seen = pair.client_saw();
        assert_eq!(seen.last().unwrap(), "refused: NetStream.Play.StreamNotFound");
        assert!(pair.client.start(publish("s", Style::Fmle)));
        pair.run();
        assert_eq!(pair.client_saw(), ["refused: NetStream.Publish.BadName"]);
        pair.verdict = Verdict::Accept;
        assert!(pair.client.start(publish("s", Style::Fmle)));
        pair.run();
        assert_eq!(pair.client_saw(), ["Started"]);
        pair.server.end("error", "NetStream.Publish.BadName", "kicked");
        pair.run();
        assert_eq!(pair.client_saw(), ["refused: NetStream.Publish.BadName"]);
        assert!(!pair.client.send_packet(&media()[0]));
    }
}

#[test]
fn the_server_says_who_it_is() {
    let mut pair = Pair::new(play("s"), usize::MAX);
    let info = pair.client_events.drain(..).find_map(|event| match event {
        client::Event::Connected(info) => Some(*info),
        _ => None,
    });
    let expected = ServerInfo {
        signature: "runnel".into(),
        server: super::RUNNEL.server.into(),
        primary: super::RUNNEL.primary.into(),
        authors: super::RUNNEL.authors.into(),
        version: super::RUNNEL.version.into(),
        server_ip: "1.2.3.4".into(),
        pid: Some(12),
        id: Some(34),
    };
    assert_eq!(info, Some(expected));
}

#[test]
fn both_ends_agree_on_the_form_of_the_handshake() {
    let config = Config { form: super::handshake::Form::Complex, ..config(play("s")) };
    let mut pair = Pair::with(config, Verdict::Accept, 7);
    let form = pair.server_saw().remove(0);
    assert_eq!(pair.client_saw()[0], format!("Handshake({form})"));
}

#[test]
fn arguments_of_connect_arrive() {
    let args = Object::from_iter([("token", "x")]);
    let mut client = Client::new(Config { args: Some(args.clone()), ..config(play("s")) });
    let mut server = Server::new(0);
    let mut connect = None;
    for _ in 0..3 {
        let bytes = client.send_buf().to_vec();
        client.send_done(bytes.len());
        let mut input = &*bytes;
        while let Some(event) = server.receive(&mut input).unwrap() {
            if let server::Event::Connect(event) = event {
                connect = Some(event);
            }
        }
        let bytes = server.send_buf().to_vec();
        server.send_done(bytes.len());
        client.receive(&mut &*bytes).unwrap();
    }
    let connect = connect.unwrap();
    assert_eq!(connect.args, Some(args));
}

#[test]
fn a_publisher_is_held_back_by_a_server_that_does_not_read() {
    let mut pair = Pair::new(publish("s", Style::Fmle), usize::MAX);
    let packet = Packet::new(Kind::Video, 0, vec![0x27; limits::MESSAGE_MAX / 4].into());
    let sent = (0..100).take_while(|_| pair.client.send_packet(&packet)).count();
    assert_eq!(sent, 4);
    pair.run();
    assert!(pair.client.send_packet(&packet));
}

/// A client past connect, and what is fed to it by hand.
fn fed(role: Role, messages: &[(u8, &str, f64, &[Value])]) -> (Client, Vec<client::Event>) {
    let mut client = Client::new(config(role));
    let mut server = Server::new(0);
    server.receive(&mut client.send_buf()).unwrap();
    client.send_done(1537);
    client.receive(&mut &server.send_buf()[..3073]).unwrap();
    client.send_done(client.send_buf().len());
    let mut bytes = Vec::new();
    for (type_id, name, transaction, values) in messages {
        let mut payload = Vec::new();
        let mut writer = crate::proto::amf0::Writer(&mut payload);
        writer.string(name).number(*transaction);
        for value in *values {
            writer.value(value);
        }
        super::chunk::write_message(&mut bytes, 128, 3, *type_id, 0, 0, &payload);
    }
    let mut input = &*bytes;
    let mut events = Vec::new();
    while let Some(event) = client.receive(&mut input).unwrap() {
        events.push(event);
    }
    (client, events)
}

#[test]
fn servers_of_other_makes_are_understood() {
    let created = (20, "_result", 2.0, &[Value::Null, Value::Number(7.0)][..]);
    let success = Object::from_iter([("level", "status")]).into();
    let connected = [Value::Null, success];
    let started = Object::from_iter([("level", "status"), ("code", "NetStream.Play.Start")]);
    let started = [Value::Null, started.into()];
    let (client, events) = fed(
        play("s"),
        &[
            (20, "onBWDone", 0.0, &[Value::Null, 8192.0.into()]),
            (20, "_result", 9.0, &[Value::Null]),
            (20, "_result", 1.0, &connected),
            (20, "_onbwcheck", 3.0, &[Value::Null]),
            created,
            (20, "onStatus", 0.0, &started),
        ],
    );
    assert!(matches!(&events[..], [client::Event::Connected(_), client::Event::Started]));
    let sent = client.send_buf();
    let answer = b"\x02\0\x07_result\0\x40\x08\0\0\0\0\0\0\x05\x05";
    assert!(sent.windows(answer.len()).any(|bytes| bytes == answer));
    let play = sent.windows(7).position(|bytes| bytes == b"\x02\0\x04play").unwrap();
    assert_eq!(sent[play - 4..play], [7, 0, 0, 0], "the stream's own number");
}

#[test]
fn a_redirect_comes_with_the_refusal() {
    let ex = Object::from_iter([("code", Value::Number(302.0)), ("redirect", "rtmp://b/".into())]);
    let information = Object::from_iter([
        ("level", "error".into()),
        ("code", "NetConnection.Connect.Rejected".into()),
        ("ex", Value::Object(ex)),
    ]);
    let values = [Value::Null, information.into()];
    let (_, events) = fed(play("s"), &[(20, "_error", 1.0, &values)]);
    let [client::Event::Refused(status)] = &events[..] else { panic!("{events:?}") };
    let expected = Status {
        level: "error".into(),
        code: "NetConnection.Connect.Rejected".into(),
        description: String::new(),
        redirect: Some("rtmp://b/".into()),
    };
    assert_eq!(**status, expected);
}

#[test]
fn changed_answers_of_a_server_never_panic() {
    let mut random = fastrand::Rng::with_seed(9);
    for role in [play("s"), publish("s", Style::Fmle)] {
        let record = Pair::new(role.clone(), usize::MAX).to_client;
        for _ in 0..2000 {
            let mut changed = record.clone();
            for _ in 0..random.usize(0..6) {
                let at = random.usize(3073..changed.len());
                changed[at] = random.u8(..);
            }
            let mut client = Client::new(config(role.clone()));
            let mut rest = &*changed;
            'client: while !rest.is_empty() {
                let (mut input, later) = rest.split_at(random.usize(1..=rest.len()));
                rest = later;
                loop {
                    match client.receive(&mut input) {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'client,
                    }
                }
                client.send_done(client.send_buf().len());
            }
        }
    }
}
