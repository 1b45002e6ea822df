//! The players: one thread that reads all their sockets, counts, and keeps nothing.
//!
//! Words: `PORT PLAYERS STREAMS rtmp|flv|ts|raw`. Says `joined` when each player has seen a video frame.
//! `mark` on its input begins a window and `report` ends it; the end of the input ends the process.
//! Player `i` plays the stream `s{i % STREAMS}`; raw players only connect.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::time::Timespec;

use crate::children::number;
use crate::client::{self, CONNECT, CREATE_STREAM, SERVER_HANDSHAKE};
use crate::histogram::Histogram;
use crate::http;
use crate::media::mark_of;
use crate::process::now_ns;
use crate::reader::Reader;
use crate::wire::{AUDIO, COMMAND, ChunkReader, VIDEO};

pub(crate) fn play(words: &[String]) -> Result<(), String> {
    let (port, wanted, streams): (u16, usize, usize) =
        (number(words, 0)?, number(words, 1)?, number(words, 2)?);
    let kind = words.get(3).ok_or("the load has no kind")?;
    let errno = |error: rustix::io::Errno| error.to_string();
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(errno)?;
    let watch = |data| (epoll::EventData::new_u64(data), epoll::EventFlags::IN);
    let (data, flags) = watch(INPUT);
    epoll::add(&poll, std::io::stdin(), data, flags).map_err(errno)?;
    let mut players: Vec<Player> = Vec::with_capacity(wanted);
    let mut counts = Counts::new();
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; READ];
    let (mut has_told, mut last_join) = (false, now_ns());
    loop {
        // A few at a time: what is measured is a player that joins, not a crowd in the backlog. A
        // server that waits for the next key frame is not waited for.
        while players.len() < wanted
            && (players.len() < counts.started + counts.lost + JOINING
                || now_ns() > last_join + JOIN_STEP_NS)
        {
            last_join = now_ns();
            let stream = format!("s{}", players.len() % streams.max(1));
            let player = Player::join(port, stream, kind).map_err(|error| error.to_string())?;
            let (data, flags) = watch(players.len() as u64);
            epoll::add(&poll, &player.socket, data, flags).map_err(errno)?;
            players.push(player);
        }
        if !has_told && counts.started + counts.lost == wanted {
            has_told = true;
            counts.tell_joined();
        }
        let step = Timespec { tv_sec: 0, tv_nsec: JOIN_STEP_NS as _ };
        let timeout = (players.len() < wanted).then_some(&step);
        match epoll::wait(&poll, spare_capacity(&mut events), timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.to_string()),
        }
        for event in events.drain(..) {
            let at = event.data.u64();
            if at == INPUT {
                if !answer(&mut counts, &mut buffer) {
                    return Ok(());
                }
            } else if let Some(player) = players.get_mut(at as usize)
                && let Err(reason) = player.read(&mut buffer, &mut counts, port)
            {
                let _ = epoll::delete(&poll, &player.socket);
                counts.lost += usize::from(player.first_frame.is_none());
                counts.ended += 1;
                eprintln!("player {at}: {reason}");
            }
        }
    }
}

/// Obeys the words on the input. False at its end.
fn answer(counts: &mut Counts, buffer: &mut [u8]) -> bool {
    let Ok(got @ 1..) = std::io::stdin().read(buffer) else {
        return false;
    };
    match buffer[..got].trim_ascii() {
        b"mark" => counts.begin_window(),
        b"report" => counts.tell_report(),
        _ => {}
    }
    true
}

struct Player {
    socket: TcpStream,
    stream: String,
    reader: Reader,
    is_greeted: bool,
    connected_at: u64,
    played_at: u64,
    first_frame: Option<u64>,
    /// The number of the last frame, of sound and of pictures.
    last: [Option<u32>; 2],
}

impl Player {
    fn join(port: u16, stream: String, kind: &str) -> std::io::Result<Self> {
        let connected_at = now_ns();
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        let (reader, hello) = match kind {
            "raw" => (Reader::Rtmp(ChunkReader::new(0)), Vec::new()),
            "flv" => (Reader::flv(), http::request(&format!("/live/{stream}.flv"))),
            "ts" => (Reader::ts(), http::request(&format!("/live/{stream}.ts"))),
            _ => (Reader::Rtmp(ChunkReader::new(SERVER_HANDSHAKE)), client::hello()),
        };
        socket.write_all(&hello)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            stream,
            reader,
            is_greeted: kind != "rtmp",
            connected_at,
            played_at: connected_at,
            first_frame: None,
            last: [None; 2],
        })
    }

    fn read(&mut self, buffer: &mut [u8], counts: &mut Counts, port: u16) -> Result<(), String> {
        let got = match self.socket.read(buffer) {
            Ok(0) => return Err("the server has closed".into()),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let now = now_ns();
        counts.reads += 1;
        counts.bytes += got as u64;
        let mut to_send = Vec::new();
        let mut refused = Ok(());
        let is_waiting = self.first_frame.is_none();
        let (last, first_frame) = (&mut self.last, &mut self.first_frame);
        let (stream, played_at) = (&self.stream, &mut self.played_at);
        self.reader.feed(&buffer[..got], |message| match message.kind {
            AUDIO | VIDEO => {
                let Some((number, sent)) = mark_of(message.kind, message.prefix) else { return };
                let is_video = message.kind == VIDEO;
                if is_video && first_frame.is_none() {
                    *first_frame = Some(now);
                }
                let last = &mut last[usize::from(is_video)];
                counts.take_frame(*last, number, now.saturating_sub(sent));
                *last = Some(number);
            }
            COMMAND => match client::answered(message.prefix) {
                Ok(Some(CONNECT)) => to_send = client::create_stream(),
                Ok(Some(CREATE_STREAM)) => {
                    to_send = client::play(stream);
                    *played_at = now;
                }
                Ok(_) => {}
                Err(error) => refused = Err(error),
            },
            _ => {}
        })?;
        refused?;
        if !self.is_greeted && self.reader.is_past_handshake() {
            self.is_greeted = true;
            to_send = client::connect(port);
        }
        if is_waiting && self.first_frame.is_some() {
            counts.started += 1;
            counts.from_connect.add(now - self.connected_at);
            counts.from_play.add(now - self.played_at);
        }
        if !to_send.is_empty() {
            // A few hundred bytes into an empty send buffer.
            self.socket.write_all(&to_send).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

struct Counts {
    started: usize,
    /// Players that ended before their first frame.
    lost: usize,
    ended: usize,
    from_connect: Histogram,
    from_play: Histogram,
    // Of the window:
    since: u64,
    bytes: u64,
    reads: u64,
    frames: u64,
    gaps: u64,
    latency: Histogram,
}

impl Counts {
    fn new() -> Self {
        Self {
            started: 0,
            lost: 0,
            ended: 0,
            from_connect: Histogram::new(),
            from_play: Histogram::new(),
            since: now_ns(),
            bytes: 0,
            reads: 0,
            frames: 0,
            gaps: 0,
            latency: Histogram::new(),
        }
    }

    /// A gap is a frame that never came, or one that came out of order.
    fn take_frame(&mut self, last: Option<u32>, number: u32, latency_ns: u64) {
        self.frames += 1;
        self.latency.add(latency_ns);
        if let Some(last) = last {
            self.gaps += u64::from(number.checked_sub(last + 1).unwrap_or(1));
        }
    }

    fn begin_window(&mut self) {
        (self.bytes, self.reads, self.frames, self.gaps) = (0, 0, 0, 0);
        self.latency.clear();
        self.since = now_ns();
    }

    fn tell_joined(&self) {
        let ms = |histogram: &Histogram, part| histogram.quantile_ms(part).unwrap_or(f64::NAN);
        println!(
            "joined started={} connect_p50={} connect_p99={} play_p50={} play_p99={}",
            self.started,
            ms(&self.from_connect, 0.5),
            ms(&self.from_connect, 0.99),
            ms(&self.from_play, 0.5),
            ms(&self.from_play, 0.99),
        );
    }

    fn tell_report(&self) {
        let ms = |part| self.latency.quantile_ms(part).unwrap_or(f64::NAN);
        println!(
            "report seconds={} bytes={} reads={} frames={} gaps={} ended={} p50={} p99={}",
            Duration::from_nanos(now_ns() - self.since).as_secs_f64(),
            self.bytes,
            self.reads,
            self.frames,
            self.gaps,
            self.ended,
            ms(0.5),
            ms(0.99),
        );
    }
}

/// The input among the sockets.
const INPUT: u64 = u64::MAX;
/// Players that may be without a picture before the next joins,
const JOINING: usize = 16;
/// or else the time between two.
const JOIN_STEP_NS: u64 = 5_000_000;
/// One read takes all that a socket commonly holds.
const READ: usize = 256 * 1024;
