//! A server process, and peers made of raw bytes that do to it what they like.

pub(crate) mod control;
pub(crate) mod media;
pub(crate) mod server;

use bytes::Bytes;
use runnel::limits::MERGE_MS;
use runnel::proto::amf0::{Object, Reader, Writer};
use runnel::proto::rtmp::chunk::{Decoder, Message, write_message};
use runnel::proto::rtmp::handshake::{ClientHandshake, Form};
use runnel::proto::rtmp::message::{
    AUDIO, COMMAND, DATA, Heap, SET_CHUNK_SIZE, USER_CONTROL, VIDEO,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// For whatever is expected of the server to happen.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// The chunk size that peers announce, so that media goes in one piece.
pub(crate) const CHUNK: usize = 60_000;
/// Memory that the allocator may keep after a test's load is gone, in kB.
pub(crate) const KEPT: usize = 2048;
const BLOCK: usize = 64 * 1024;
const PACED: usize = 4 * 1024;

/// One connection to the server.
pub(crate) struct Peer {
    pub(crate) sock: TcpStream,
    decoder: Decoder,
    input: Vec<u8>,
    out_chunk: usize,
    /// Bytes sent behind the handshake: where the next one is, in the server's log.
    pub(crate) sent: usize,
    closed: bool,
    /// Read 4 kB at a time, with this pause before each.
    pub(crate) pace: Option<Duration>,
}

impl Peer {
    /// A connection on which nothing was said yet.
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("the server accepts"))
    }

    /// The same over a socket that has options of its own.
    pub(crate) fn over(sock: TcpStream) -> Self {
        sock.set_nodelay(true).unwrap();
        sock.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (decoder, input) = (Decoder::default(), Vec::new());
        sock.set_write_timeout(Some(SOON)).unwrap();
        Self { sock, decoder, input, out_chunk: 128, sent: 0, closed: false, pace: None }
    }

    /// A connection behind the handshake.
    pub(crate) fn shaken(address: SocketAddr) -> Self {
        let mut peer = Self::open(address);
        peer.shake();
        peer
    }

    /// A connection that is connected to the app `live` and waits for publish or play.
    pub(crate) fn connected(address: SocketAddr) -> Self {
        Self::connected_to(address, "rtmp://127.0.0.1/live")
    }

    pub(crate) fn connected_to(address: SocketAddr, tc_url: &str) -> Self {
        let mut peer = Self::shaken(address);
        peer.connect(tc_url);
        assert_eq!(peer.reply().0, "_result", "connect to {tc_url}");
        peer
    }

    /// A publisher that was let in and that uses large chunks.
    pub(crate) fn publisher(address: SocketAddr, name: &str) -> Self {
        let mut peer = Self::connected(address);
        peer.publish(name);
        assert_eq!(peer.status(), "NetStream.Publish.Start", "{name}");
        peer.announce_chunks(CHUNK as u32);
        peer
    }

    /// A player that was let in.
    pub(crate) fn player(address: SocketAddr, name: &str) -> Self {
        let mut peer = Self::connected(address);
        peer.play(name);
        peer.await_play();
        peer
    }

    pub(crate) fn shake(&mut self) {
        let mut out = Vec::new();
        let mut handshake = ClientHandshake::new(Form::Simple, 0, &mut out);
        self.raw(&out);
        let end = Instant::now() + SOON;
        loop {
            let mut out = Vec::new();
            let input = std::mem::take(&mut self.input);
            let mut rest = &*input;
            let done = handshake.receive(&mut rest, &mut out).expect("the server speaks RTMP");
            self.input = rest.to_vec();
            if !out.is_empty() {
                self.raw(&out);
            }
            if done.is_some() {
                self.sent = 0;
                return;
            }
            assert!(!self.closed && Instant::now() < end, "the handshake does not end");
            self.fill();
        }
    }

    pub(crate) fn connect(&mut self, tc_url: &str) {
        let properties = Object::from_iter([("app", "live"), ("tcUrl", tc_url)]);
        self.command(0, |w| {
            w.string("connect").number(1.0).value(&properties.into());
        });
    }

    /// Asks to publish in the way of Flash, the shortest.
    pub(crate) fn publish(&mut self, name: &str) {
        self.command(1, |w| {
            w.string("publish").number(0.0).null().string(name).string("live");
        });
    }

    pub(crate) fn play(&mut self, name: &str) {
        self.command(1, |w| {
            w.string("play").number(0.0).null().string(name);
        });
    }

    pub(crate) fn await_play(&mut self) {
        assert_eq!(self.status(), "NetStream.Play.Reset");
        assert_eq!(self.status(), "NetStream.Play.Start");
    }

    /// Bytes as they are. The server may be gone.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.sent += bytes.len();
        let _ = self.sock.write_all(bytes);
    }

    pub(crate) fn command(&mut self, msid: u32, write: impl FnOnce(&mut Writer<'_>)) {
        let mut payload = Vec::new();
        write(&mut Writer(&mut payload));
        self.message(COMMAND, msid, 0, &payload);
    }

    pub(crate) fn message(&mut self, type_id: u8, msid: u32, time: u32, payload: &[u8]) {
        let csid = match type_id {
            AUDIO => 4,
            VIDEO => 6,
            DATA => 5,
            COMMAND => 3,
            _ => 2,
        };
        let mut out = Vec::new();
        write_message(&mut out, self.out_chunk, csid, type_id, msid, time, payload);
        self.raw(&out);
    }

    pub(crate) fn announce_chunks(&mut self, size: u32) {
        self.message(SET_CHUNK_SIZE, 0, 0, &size.to_be_bytes());
        self.out_chunk = size as usize;
    }

    /// The sequence headers of [`media`].
    pub(crate) fn headers(&mut self) {
        self.message(AUDIO, 1, 0, media::AUDIO_HEADER);
        self.message(VIDEO, 1, 0, &media::video_header());
    }

    /// Waits until the server has taken all that was sent, and has shown it to players.
    pub(crate) fn sync(&mut self) {
        let mark = self.sent as u32;
        let [a, b, c, d] = mark.to_be_bytes();
        self.message(USER_CONTROL, 0, 0, &[0, 6, a, b, c, d]);
        let end = Instant::now() + SOON;
        loop {
            let message = self.next(end.saturating_duration_since(Instant::now()));
            let message = message.expect("a ping is answered");
            if message.type_id == USER_CONTROL && *message.payload == [0, 7, a, b, c, d] {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(u64::from(MERGE_MS) + 50));
    }

    /// The next message within `time`; `None` when none came or the connection is closed.
    pub(crate) fn next(&mut self, time: Duration) -> Option<Message> {
        let end = Instant::now() + time;
        loop {
            let input = std::mem::take(&mut self.input);
            let mut rest = &*input;
            let mut heap = Heap { media_max: 0xff_ffff };
            let message = self.decoder.receive(&mut rest, &mut heap);
            let message = message.expect("what the server sends is never out of step");
            self.input = rest.to_vec();
            match message {
                Some(message) if message.type_id == SET_CHUNK_SIZE => {
                    let size = message.payload.first_chunk().expect("four bytes");
                    self.decoder.set_chunk_size(u32::from_be_bytes(*size)).unwrap();
                }
                Some(message) => return Some(message),
                None if self.closed || Instant::now() >= end => return None,
                None => self.fill(),
            }
        }
    }

    /// The next audio, video or metadata message.
    pub(crate) fn next_media(&mut self, time: Duration) -> Option<(u8, u32, Bytes)> {
        let end = Instant::now() + time;
        while let Some(message) = self.next(end.saturating_duration_since(Instant::now())) {
            if matches!(message.type_id, AUDIO | VIDEO) {
                return Some((message.type_id, message.timestamp, message.payload.freeze()));
            }
        }
        None
    }

    /// The next command: its name, and the code and description in it, if any.
    pub(crate) fn reply(&mut self) -> (String, String, String) {
        let end = Instant::now() + SOON;
        while let Some(message) = self.next(end.saturating_duration_since(Instant::now())) {
            if message.type_id == COMMAND {
                return command_of(&message.payload);
            }
        }
        panic!("no command came, closed={}", self.closed);
    }

    /// The code of the next `onStatus`.
    pub(crate) fn status(&mut self) -> String {
        self.status_and_text().0
    }

    pub(crate) fn status_and_text(&mut self) -> (String, String) {
        loop {
            let (name, code, text) = self.reply();
            if name == "onStatus" {
                return (code, text);
            }
        }
    }

    /// Reads on until the server closes, whatever comes before.
    pub(crate) fn expect_close(&mut self, within: Duration) {
        let end = Instant::now() + within;
        while !self.closed {
            assert!(Instant::now() < end, "the server does not close the connection");
            self.input.clear();
            self.fill();
        }
    }

    /// Looks, without waiting, whether the server has closed.
    pub(crate) fn is_there(&mut self) -> bool {
        self.sock.set_nonblocking(true).unwrap();
        self.input.clear();
        self.fill();
        self.sock.set_nonblocking(false).unwrap();
        !self.closed
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether the connection is still there after `time`, whatever comes in it.
    pub(crate) fn stays(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while !self.closed && Instant::now() < end {
            self.input.clear();
            self.fill();
        }
        !self.closed
    }

    /// One read.
    pub(crate) fn fill(&mut self) {
        let mut block = vec![0; if self.pace.is_some() { PACED } else { BLOCK }];
        if let Some(pace) = self.pace {
            std::thread::sleep(pace);
        }
        match self.sock.read(&mut block) {
            Ok(0) => self.closed = true,
            Ok(n) => self.input.extend(&block[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => self.closed = true,
        }
    }
}

/// Name, code and description of a command of the server.
fn command_of(payload: &[u8]) -> (String, String, String) {
    let mut reader = Reader::new(payload);
    let name = reader.string().unwrap().unwrap_or_default().into_owned();
    let (mut code, mut description) = (String::new(), String::new());
    while let Ok(value) = reader.value() {
        if let Some(object) = value.as_object()
            && let Some(text) = object.str("code")
        {
            code = text.into();
            description = object.str("description").unwrap_or_default().into();
        }
    }
    (name, code, description)
}
