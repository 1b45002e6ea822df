//! A camera by script: an RTSP server that sends the packets it was given, in their time.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Something to send.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// After the camera was let go.
    pub(crate) at: Duration,
    pub(crate) track: usize,
    pub(crate) rtcp: bool,
    pub(crate) bytes: Vec<u8>,
}

/// What the camera does.
pub(crate) struct Script {
    pub(crate) sdp: String,
    pub(crate) items: Vec<Item>,
    /// Packets go over UDP, and nothing else is allowed.
    pub(crate) udp: bool,
    /// Bytes of a write.
    pub(crate) piece: usize,
    /// Seconds after which it wants a sign of life.
    pub(crate) timeout: u32,
    /// It answers what it is asked while it plays, with numbers of its own; else nothing.
    pub(crate) answers: bool,
    /// Where it says that packets over UDP come from, and where they do. They do so once the way is
    /// opened from the other end, as through a router.
    pub(crate) source: Option<[&'static str; 2]>,
    /// What stands in the connection before every tenth packet.
    pub(crate) noise: &'static [u8],
    /// How often it plays.
    pub(crate) rounds: usize,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            sdp: String::new(),
            items: Vec::new(),
            udp: false,
            piece: usize::MAX,
            timeout: 60,
            answers: false,
            source: None,
            noise: b"",
            rounds: 1,
        }
    }
}

/// Plays its script, to whoever asks first, and is gone.
pub(crate) struct Camera {
    pub(crate) port: u16,
    go: Arc<AtomicBool>,
}

impl Camera {
    pub(crate) fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let go = Arc::new(AtomicBool::new(false));
        let begin = go.clone();
        thread::spawn(move || {
            let mut rounds = script.rounds;
            for socket in listener.incoming() {
                let Ok(socket) = socket else { return };
                if Connection::new(socket, &script).serve(&begin) {
                    rounds -= 1;
                    if rounds == 0 {
                        return;
                    }
                }
            }
        });
        Self { port, go }
    }

    pub(crate) fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/stream", self.port)
    }

    /// Packets begin to go out, once somebody plays.
    pub(crate) fn go(&self) {
        self.go.store(true, Ordering::Release);
    }
}

struct Connection<'a> {
    socket: TcpStream,
    script: &'a Script,
    /// Of each track that was set up.
    ways: Vec<(usize, Way)>,
}

/// How packets of a track go out.
enum Way {
    /// The channel of RTP; that of RTCP is the next one.
    Channel(u8),
    /// Sockets for RTP and RTCP, and the ports that they send to.
    Ports([(UdpSocket, u16); 2]),
}

impl<'a> Connection<'a> {
    fn new(socket: TcpStream, script: &'a Script) -> Self {
        socket.set_nodelay(true).unwrap();
        Self { socket, script, ways: Vec::new() }
    }

    /// Whether it played.
    fn serve(&mut self, begin: &AtomicBool) -> bool {
        while let Some(request) = self.request() {
            let field = |name: &str| {
                let line = request.lines().find(|line| line.starts_with(name));
                line.map_or("", |line| &line[name.len()..]).trim().to_owned()
            };
            let (method, cseq) = (request.split(' ').next().unwrap_or_default(), field("CSeq:"));
            let head = |status: &str, lines: &str| {
                format!("RTSP/1.0 {status}\r\nCSeq: {cseq}\r\n{lines}\r\n")
            };
            let answer = match method {
                "OPTIONS" => head("200 OK", "Public: DESCRIBE, SETUP, PLAY, GET_PARAMETER\r\n"),
                "DESCRIBE" => {
                    let sdp = &self.script.sdp;
                    let kind = "Content-Type: application/sdp\r\n";
                    head("200 OK", &format!("{kind}Content-Length: {}\r\n", sdp.len())) + sdp
                }
                "SETUP" => {
                    let url = request.split(' ').nth(1).unwrap_or_default();
                    let track = usize::from(url.ends_with("track1"));
                    match self.set_up(track, &field("Transport:")) {
                        Some(transport) => {
                            let timeout = self.script.timeout;
                            let session = format!("Session: 12345678;timeout={timeout}\r\n");
                            head("200 OK", &format!("{session}Transport: {transport}\r\n"))
                        }
                        None => head("461 Unsupported Transport", ""),
                    }
                }
                "PLAY" => head("200 OK", "Session: 12345678\r\n"),
                _ => head("200 OK", ""),
            };
            self.write(answer.as_bytes());
            if method == "PLAY" {
                self.play(begin);
                return true;
            }
        }
        false
    }

    fn request(&mut self) -> Option<String> {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if self.socket.read(&mut byte).ok()? == 0 {
                return None;
            }
            text.push(byte[0]);
        }
        Some(String::from_utf8(text).unwrap())
    }

    /// What is answered; none for a transport that is not spoken.
    fn set_up(&mut self, track: usize, asked: &str) -> Option<String> {
        let value = |name: &str| asked.split(name).nth(1)?.split([';', '-']).next();
        if !self.script.udp {
            let channel = value("interleaved=")?.parse().ok()?;
            self.ways.push((track, Way::Channel(channel)));
            return Some(asked.to_owned());
        }
        let port: u16 = value("client_port=")?.parse().ok()?;
        let [says, from] = self.script.source.unwrap_or(["", "127.0.0.1"]);
        let pair = [port, port + 1].map(|to| (UdpSocket::bind((from, 0)).unwrap(), to));
        let [a, b] = [0, 1].map(|at: usize| pair[at].0.local_addr().unwrap().port());
        self.ways.push((track, Way::Ports(pair)));
        let source = if says.is_empty() { String::new() } else { format!(";source={says}") };
        Some(format!("RTP/AVP;unicast;client_port={port}-{}{source};server_port={a}-{b}", port + 1))
    }

    /// Whether the other end opened the way of packets over UDP.
    fn is_open(&self) -> bool {
        let opened = |socket: &UdpSocket| {
            socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            socket.recv(&mut [0; 100]).is_ok()
        };
        self.ways.iter().all(|(_, way)| match way {
            Way::Ports(pair) => pair.iter().all(|(socket, _)| opened(socket)),
            Way::Channel(_) => true,
        })
    }

    /// Answers what was asked meanwhile, with a number that nobody knows.
    fn answer(&mut self) {
        if !self.script.answers {
            return;
        }
        let mut asked = [0; 4096];
        self.socket.set_nonblocking(true).unwrap();
        let read = self.socket.read(&mut asked);
        self.socket.set_nonblocking(false).unwrap();
        let asked = String::from_utf8_lossy(&asked[..read.unwrap_or(0)]).into_owned();
        for _ in asked.matches("CSeq: ") {
            self.write(b"RTSP/1.0 200 OK\r\nCSeq: 4711\r\n\r\n");
        }
    }

    fn play(&mut self, begin: &AtomicBool) {
        while !begin.load(Ordering::Acquire) {
            self.answer();
            thread::sleep(Duration::from_millis(5));
        }
        if self.script.source.is_some() && !self.is_open() {
            return;
        }
        let start = Instant::now();
        for (at, item) in self.script.items.iter().enumerate() {
            self.answer();
            thread::sleep(item.at.saturating_sub(start.elapsed()));
            match self.ways.iter().find(|(track, _)| *track == item.track) {
                Some((_, Way::Ports(pair))) => {
                    let (socket, port) = &pair[usize::from(item.rtcp)];
                    let _ = socket.send_to(&item.bytes, ("127.0.0.1", *port));
                }
                Some((_, Way::Channel(channel))) => {
                    let channel = channel + u8::from(item.rtcp);
                    let len = u16::try_from(item.bytes.len()).unwrap().to_be_bytes();
                    let head = [b'$', channel, len[0], len[1]];
                    let noise = if at % 10 == 9 { self.script.noise } else { b"" };
                    self.write(&[noise, &head, item.bytes.as_slice()].concat());
                }
                None => {}
            }
        }
        // What is on its way arrives, and what is late is given up.
        thread::sleep(Duration::from_millis(500));
        // What was asked meanwhile: a socket with something unread is reset.
        self.socket.set_nonblocking(true).unwrap();
        let mut rest = [0; 4096];
        while matches!(self.socket.read(&mut rest), Ok(1..)) {}
    }

    /// Whoever reads no more is gone.
    fn write(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(self.script.piece) {
            match self.socket.write_all(piece) {
                Err(e) if e.kind() != ErrorKind::Interrupted => return,
                _ => {}
            }
        }
    }
}
