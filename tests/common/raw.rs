//! A connection on which bytes are written by hand.

use super::{SOON, Server};
use runnel::proto::amf0::{Object, Reader, Value, Writer};
use runnel::proto::rtmp::chunk::{Decoder, Message, write_message};
use runnel::proto::rtmp::message::Heap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const HANDSHAKE: usize = 1536;
/// The type of commands.
pub const COMMAND: u8 = 20;

/// The client's end; chunks of 128 bytes, as nothing else is announced.
pub struct Raw {
    pub socket: TcpStream,
    decoder: Decoder,
    input: Vec<u8>,
}

impl Raw {
    /// After the simple handshake.
    pub fn new(server: &Server) -> Self {
        let mut socket = TcpStream::connect(server.address()).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let mut hello = vec![0; 1 + HANDSHAKE];
        hello[0] = 3;
        socket.write_all(&hello).unwrap();
        let mut answer = vec![0; 1 + 2 * HANDSHAKE];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(answer[0], 3, "the version of RTMP");
        socket.write_all(&answer[1..=HANDSHAKE]).unwrap();
        Self { socket, decoder: Decoder::default(), input: Vec::new() }
    }

    /// After connect to the app `live`.
    pub fn connect(server: &Server) -> Self {
        let mut raw = Self::new(server);
        let tc_url = server.tc_url();
        raw.command(0, |w| {
            w.string("connect").number(1.0).object().key("app").string("live");
            w.key("tcUrl").string(&tc_url).end();
        });
        raw.answer("_result", 1.0);
        raw
    }

    /// After play or publish of `stream` has begun.
    pub fn started(server: &Server, verb: &str, stream: &str) -> Self {
        let mut raw = Self::connect(server);
        raw.command(0, |w| {
            w.string("createStream").number(2.0).null();
        });
        raw.answer("_result", 2.0);
        raw.command(1, |w| {
            w.string(verb).number(3.0).null().string(stream).string("live");
        });
        let verb = if verb == "play" { "NetStream.Play.Start" } else { "NetStream.Publish.Start" };
        raw.status(verb);
        raw
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Sends one message.
    pub fn send(&mut self, csid: u8, type_id: u8, msid: u32, timestamp: u32, payload: &[u8]) {
        let mut out = Vec::new();
        write_message(&mut out, 128, csid, type_id, msid, timestamp, payload);
        self.write(&out);
    }

    pub fn command(&mut self, msid: u32, fill: impl FnOnce(&mut Writer<'_>)) {
        let mut payload = Vec::new();
        fill(&mut Writer(&mut payload));
        self.send(3, COMMAND, msid, 0, &payload);
    }

    /// The next message within `timeout`. None when there is none, or the server closed.
    pub fn message(&mut self, timeout: Duration) -> Option<Message> {
        let until = Instant::now() + timeout;
        loop {
            let mut input = self.input.as_slice();
            let message = self.decoder.receive(&mut input, &mut Heap { media_max: 1 << 21 });
            let used = self.input.len() - input.len();
            self.input.drain(..used);
            if let Some(message) = message.unwrap() {
                if message.type_id == 1 {
                    let size = u32::from_be_bytes(message.payload[..4].try_into().unwrap());
                    self.decoder.set_chunk_size(size).unwrap();
                }
                return Some(message);
            }
            let left = until.checked_duration_since(Instant::now()).filter(|l| !l.is_zero())?;
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut buffer = [0; 4096];
            match self.socket.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => self.input.extend(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return None;
                }
                Err(e) => panic!("{e}"),
            }
        }
    }

    /// Waits for a message that is wanted; the others are dropped.
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        loop {
            let message = self.message(SOON);
            let message = message.unwrap_or_else(|| panic!("no {what} comes"));
            if wanted(&message) {
                return message;
            }
        }
    }

    /// Waits for the answer to a transaction; the values behind its number.
    pub fn answer(&mut self, name: &str, transaction: f64) -> Vec<Value> {
        let message = self.wait_for("answer", |message| {
            let mut reader = Reader::new(&message.payload);
            message.type_id == COMMAND
                && reader.string().unwrap().as_deref() == Some(name)
                && reader.number().unwrap() == Some(transaction)
        });
        values(&message.payload).split_off(2)
    }

    /// Waits for an `onStatus` with this code.
    pub fn status(&mut self, code: &str) -> Object {
        loop {
            let message = self.wait_for(code, |message| message.type_id == COMMAND);
            let values = values(&message.payload);
            let object = values.get(3).and_then(Value::as_object);
            if let Some(object) = object.filter(|object| object.str("code") == Some(code)) {
                return object.clone();
            }
        }
    }
}

/// Every value of a message in AMF0.
pub fn values(payload: &[u8]) -> Vec<Value> {
    let mut reader = Reader::new(payload);
    let mut values = Vec::new();
    while !reader.is_empty() {
        values.push(reader.value().unwrap());
    }
    values
}
