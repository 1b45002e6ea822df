//! An origin that speaks as Flash Media Server does, which cannot be had for tests: it wants the
//! handshake with digests, answers in another order, with other objects and with messages that
//! nobody asked for, and sends media in aggregates.

use crate::common::client::Peer;
use crate::common::media::{self, bodies, frames};
use crate::common::raw::{COMMAND, values};
use crate::common::{SOON, eventually};
use crate::peers::{Encoder, accept, edge};
use runnel::media::{Kind, Packet};
use runnel::proto::amf0::{Value, Writer};
use runnel::proto::rtmp::chunk::{Decoder, Message, write_message};
use runnel::proto::rtmp::handshake::{Form, ServerHandshake};
use runnel::proto::rtmp::message::{AGGREGATE, DATA, Heap, USER_CONTROL};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The message stream, as this origin numbers it.
const STREAM: u32 = 5;

struct Fms {
    port: u16,
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
}

#[derive(Default)]
struct Seen {
    /// Commands, by name and number of their message stream.
    commands: Mutex<Vec<(String, u32)>>,
    /// Answers to what the origin asked: of a command, of a ping.
    answers: Mutex<Vec<&'static str>>,
    /// Media that was published.
    taken: Mutex<Vec<Packet>>,
}

impl Fms {
    /// Players get `packets` in real time.
    fn start(packets: Vec<Packet>) -> Self {
        let (port, seen) = (crate::common::free_port(), Arc::<Seen>::default());
        let (stop, shared) = (Arc::<AtomicBool>::default(), seen.clone());
        let over = stop.clone();
        accept(("127.0.0.1", port), &stop, move |socket| {
            let mut one = Connection {
                socket,
                chunk_size: 128,
                seen: &shared,
                rest: packets.clone(),
                playing: None,
            };
            while !over.load(Ordering::Relaxed) && one.handshake_and_serve(&over).is_some() {}
        });
        Self { port, seen, stop }
    }
}

impl Drop for Fms {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Connection<'a> {
    socket: TcpStream,
    chunk_size: usize,
    seen: &'a Seen,
    rest: Vec<Packet>,
    playing: Option<Instant>,
}

impl Connection<'_> {
    /// None at the end of the connection.
    fn read(&mut self, input: &mut [u8]) -> Option<usize> {
        match self.socket.read(input) {
            Ok(0) => None,
            Ok(n) => Some(n),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Some(0),
            Err(_) => None,
        }
    }

    fn handshake_and_serve(&mut self, over: &AtomicBool) -> Option<()> {
        let mut handshake = ServerHandshake::new(1);
        let (mut input, mut kept) = ([0; 65536], Vec::new());
        loop {
            let n = self.read(&mut input)?;
            let (mut bytes, mut out) = (&input[..n], Vec::new());
            let form = handshake.receive(&mut bytes, &mut out).ok()?;
            self.socket.write_all(&out).ok()?;
            if let Some(form) = form {
                assert_eq!(form, Form::Complex, "nothing else is let in");
                kept.extend_from_slice(bytes);
                break;
            }
        }
        let mut decoder = Decoder::default();
        while !over.load(Ordering::Relaxed) {
            let mut bytes = &kept[..];
            while let Some(message) =
                decoder.receive(&mut bytes, &mut Heap { media_max: 1 << 21 }).ok()?
            {
                if message.type_id == 1 {
                    let size = u32::from_be_bytes(message.payload[..4].try_into().ok()?);
                    decoder.set_chunk_size(size).ok()?;
                }
                self.hear(&message)?;
            }
            kept.drain(..kept.len() - bytes.len());
            let n = self.read(&mut input)?;
            kept.extend_from_slice(&input[..n]);
            self.play()?;
        }
        None
    }

    fn send(&mut self, csid: u8, type_id: u8, msid: u32, dts: u32, payload: &[u8]) -> Option<()> {
        let mut out = Vec::new();
        write_message(&mut out, self.chunk_size, csid, type_id, msid, dts, payload);
        self.socket.write_all(&out).ok()
    }

    fn say(&mut self, type_id: u8, msid: u32, fill: impl FnOnce(&mut Writer<'_>)) -> Option<()> {
        let mut payload = Vec::new();
        fill(&mut Writer(&mut payload));
        self.send(if msid == 0 { 3 } else { 5 }, type_id, msid, 0, &payload)
    }

    /// An event with one number.
    fn event(&mut self, event: u16, number: u32) -> Option<()> {
        let payload = [&event.to_be_bytes()[..], &number.to_be_bytes()].concat();
        self.send(2, USER_CONTROL, 0, 0, &payload)
    }

    fn set_chunk_size(&mut self, size: u32) -> Option<()> {
        self.send(2, 1, 0, 0, &size.to_be_bytes())?;
        self.chunk_size = size as usize;
        Some(())
    }

    fn hear(&mut self, message: &Message) -> Option<()> {
        match message.type_id {
            COMMAND => self.command(message),
            USER_CONTROL if message.payload.starts_with(&[0, 7]) => {
                self.seen.answers.lock().unwrap().push("ping");
                Some(())
            }
            8 | 9 => {
                let kind = if message.type_id == 8 { Kind::Audio } else { Kind::Video };
                let payload = message.payload.clone().freeze();
                assert_eq!(message.msid, STREAM);
                self.seen.taken.lock().unwrap().push(Packet::new(kind, message.timestamp, payload));
                Some(())
            }
            _ => Some(()),
        }
    }

    fn command(&mut self, message: &Message) -> Option<()> {
        let values = values(&message.payload);
        let name = values[0].as_str()?.to_owned();
        let transaction = values[1].as_number()?;
        if name == "_result" {
            self.seen.answers.lock().unwrap().push("_result");
            return Some(());
        }
        self.seen.commands.lock().unwrap().push((name.clone(), message.msid));
        match &*name {
            "connect" => {
                self.send(2, 5, 0, 0, &2_500_000_u32.to_be_bytes())?;
                self.send(2, 6, 0, 0, &[0, 0x26, 0x25, 0xa0, 2])?;
                self.event(0, 0)?;
                self.say(COMMAND, 0, |w| {
                    w.string("onBWDone").number(0.0).null();
                })?;
                // Of something else.
                self.say(COMMAND, 0, |w| {
                    w.string("_result").number(77.0).null().object().key("code");
                    w.string("NetConnection.Connect.Success").end();
                })?;
                // No object in front, an array with other keys behind.
                self.say(COMMAND, 0, |w| {
                    w.string("_result").number(transaction).string("FMS/4,5,0,297");
                    w.ecma_array(4).key("objectEncoding").number(0.0);
                    w.key("data").ecma_array(1).key("version").string("4,5,0,297").end();
                    w.key("code").string("NetConnection.Connect.Success");
                    w.key("level").string("status").end();
                })?;
                // It wants an answer.
                self.say(COMMAND, 0, |w| {
                    w.string("_onbwcheck").number(8.0).null().strict(&[0.0, 1.0]);
                    w.number(0.0);
                })
            }
            "releaseStream" | "FCPublish" => {
                self.say(COMMAND, 0, |w| {
                    w.string("_error").number(transaction).null().object();
                    w.key("level").string("error");
                    w.key("code").string("NetConnection.Call.Failed").end();
                })?;
                self.say(COMMAND, 0, |w| {
                    w.string("onFCPublish").number(0.0).null().object();
                    w.key("code").string("NetStream.Publish.Start").end();
                })
            }
            "createStream" => {
                self.say(COMMAND, 0, |w| {
                    w.string("onStatus").number(0.0).null().object();
                    w.key("code").string("NetConnection.Connect.Info");
                    w.key("level").string("status").end();
                })?;
                self.say(COMMAND, 0, |w| {
                    w.string("_result").number(transaction + 90.0).null().number(9.0);
                })?;
                self.say(COMMAND, 0, |w| {
                    w.string("_result").number(transaction).object().end().number(STREAM.into());
                })
            }
            "play" => self.begin(),
            "publish" => self.say(COMMAND, STREAM, |w| {
                w.string("onStatus").number(0.0).null().ecma_array(0);
                w.key("clientid").number(1e9).key("details").string("s");
                w.key("code").string("NetStream.Publish.Start");
                w.key("description").string("").key("level").string("status").end();
            }),
            _ => Some(()),
        }
    }

    /// What comes between play and media.
    fn begin(&mut self) -> Option<()> {
        self.event(0, STREAM)?;
        self.event(4, STREAM)?;
        self.event(6, 1234)?;
        self.say(DATA, STREAM, |w| {
            w.string("|RtmpSampleAccess").boolean(false).boolean(false);
        })?;
        let status = |code: &'static str| {
            move |w: &mut Writer<'_>| {
                w.string("onStatus").number(0.0).null().ecma_array(9);
                w.key("timecodeOffset").string("12").key("details").string("s");
                w.key("isFastPlay").boolean(false).key("code").string(code);
                w.key("level").string("status").end();
            }
        };
        self.say(COMMAND, STREAM, status("NetStream.Play.Reset"))?;
        self.set_chunk_size(4096)?;
        // As data as well, and in front of the one that counts.
        for code in ["NetStream.Play.Start", "NetStream.Data.Start"] {
            self.say(DATA, STREAM, |w| {
                w.string("onStatus").object().key("code").string(code).end();
            })?;
        }
        self.say(COMMAND, STREAM, status("NetStream.Play.Start"))?;
        self.say(COMMAND, STREAM, status("NetStream.Play.PublishNotify"))?;
        self.event(32, STREAM)?;
        self.say(DATA, STREAM, |w| {
            w.string("onMetaData").ecma_array(0).key("width").number(320.0).end();
        })?;
        self.playing = Some(Instant::now());
        Some(())
    }

    /// Sends what is due: headers as they are, the rest in turns as one message, then as an
    /// aggregate whose inner times begin elsewhere.
    fn play(&mut self) -> Option<()> {
        let Some(since) = self.playing else { return Some(()) };
        let due = self.rest.iter().take_while(|p| since.elapsed().as_millis() >= p.dts.into());
        let due: Vec<_> = self.rest.drain(..due.count()).collect();
        for (i, batch) in due.chunks(4).enumerate() {
            if i % 2 == 0 || batch.iter().any(|p| p.header) {
                for packet in batch {
                    let csid = if packet.kind == Kind::Audio { 11 } else { 12 };
                    let type_id = packet.kind.type_id();
                    self.send(csid, type_id, STREAM, packet.dts, &packet.payload)?;
                }
            } else {
                let at = batch[0].dts;
                let mut body = Vec::new();
                for packet in batch {
                    let time = (packet.dts - at + 700).to_be_bytes();
                    body.push(packet.kind.type_id());
                    body.extend(&(packet.payload.len() as u32).to_be_bytes()[1..]);
                    body.extend([time[1], time[2], time[3], time[0], 0, 0, 0]);
                    body.extend_from_slice(&packet.payload);
                    body.extend((packet.payload.len() as u32 + 11).to_be_bytes());
                }
                self.send(13, AGGREGATE, STREAM, at, &body)?;
            }
            if i == 2 {
                self.set_chunk_size(if self.chunk_size == 4096 { 200 } else { 4096 })?;
            }
        }
        Some(())
    }
}

/// Arrays, for which the writer of the library has no method.
trait Strict {
    fn strict(&mut self, numbers: &[f64]) -> &mut Self;
}

impl Strict for Writer<'_> {
    fn strict(&mut self, numbers: &[f64]) -> &mut Self {
        self.value(&Value::StrictArray(numbers.iter().map(|n| Value::Number(*n)).collect()))
    }
}

#[test]
fn a_stream_of_such_an_origin_reaches_players_of_the_edge_bit_for_bit() {
    let mut packets: Vec<_> = media::demo();
    packets.retain(|p| p.kind != Kind::Data && p.dts < 4000);
    let origin = Fms::start(packets.clone());
    let edge = edge(&[origin.port], "play { time_jitter off; }");
    let mut player = Peer::play(&edge, "s?key=1");
    let mut got = Vec::new();
    while frames(&got).len() < frames(&packets).len() {
        got.push(player.packet(SOON).expect("all of the stream"));
    }
    assert_eq!(media::headers(&got).len(), 2);
    for kind in [Kind::Audio, Kind::Video] {
        let of = |list: &[Packet]| -> Vec<_> {
            frames(list).into_iter().filter(|p| p.kind == kind).collect()
        };
        let (sent, got) = (of(&packets), of(&got));
        assert_eq!(bodies(&got), bodies(&sent), "{kind:?}");
        let times =
            |list: &[Packet]| -> Vec<_> { list.iter().map(|p| p.dts - list[0].dts).collect() };
        assert_eq!(times(&got), times(&sent), "{kind:?}");
    }
    let commands = origin.seen.commands.lock().unwrap().clone();
    let want = [("connect", 0), ("createStream", 0), ("play", STREAM)];
    assert_eq!(commands, want.map(|(name, stream)| (name.to_owned(), stream)));
    let answers = origin.seen.answers.lock().unwrap().clone();
    assert!(answers.contains(&"ping") && answers.contains(&"_result"), "{answers:?}");
    assert_eq!(edge.count("again in"), 0, "one connection");
}

#[test]
fn such_an_origin_takes_what_is_published_at_the_edge() {
    let origin = Fms::start(Vec::new());
    let edge = edge(&[origin.port], "");
    let _encoder = Encoder::start(&edge, "s");
    let packets = media::demo();
    let sent: Vec<_> = packets.iter().filter(|p| p.kind != Kind::Data && p.dts < 2000).collect();
    eventually("it is there", SOON, || origin.seen.taken.lock().unwrap().len() > sent.len());
    let taken = origin.seen.taken.lock().unwrap().clone();
    for kind in [Kind::Audio, Kind::Video] {
        let want: Vec<_> = sent.iter().filter(|p| p.kind == kind).map(|p| &p.payload).collect();
        let got: Vec<_> = taken.iter().filter(|p| p.kind == kind).map(|p| &p.payload).collect();
        assert_eq!(got[..want.len()], want[..], "{kind:?}");
    }
    let names: Vec<_> =
        origin.seen.commands.lock().unwrap().iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, ["connect", "releaseStream", "FCPublish", "createStream", "publish"]);
}
