//! Clients that fetch files: one thread, each connection with one request at a time.
//!
//! Words: `PORT CONNECTIONS PLAYLIST SEGMENT...`. Every other request is for the playlist, those
//! between go through the segments. Says `fetching` when each connection has had an answer; `mark`
//! begins a window and `report` ends it; the end of the input ends the process.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use crate::children::number;
use crate::histogram::Histogram;
use crate::http::{Answer, request};
use crate::process::now_ns;

pub(crate) fn play(words: &[String]) -> Result<(), String> {
    let (port, wanted): (u16, usize) = (number(words, 0)?, number(words, 1)?);
    let requests: Vec<Vec<u8>> = words.iter().skip(2).map(|path| request(path)).collect();
    if requests.len() < 2 {
        return Err("no segment to fetch".into());
    }
    let errno = |error: rustix::io::Errno| error.to_string();
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(errno)?;
    let watch = |socket: &TcpStream, at: u64| {
        epoll::add(&poll, socket, epoll::EventData::new_u64(at), epoll::EventFlags::IN)
    };
    let input = epoll::EventData::new_u64(INPUT);
    epoll::add(&poll, std::io::stdin(), input, epoll::EventFlags::IN).map_err(errno)?;
    let mut clients = Vec::with_capacity(wanted);
    for at in 0..wanted {
        let socket = connect(port).map_err(|error| error.to_string())?;
        watch(&socket, at as u64).map_err(errno)?;
        // Each begins at another segment.
        let mut client = Client { socket, next: 2 * at, answer: Answer::default(), asked_at: 0 };
        client.ask(&requests).map_err(|error| error.to_string())?;
        clients.push(client);
    }
    let mut counts = Counts::new();
    let (mut answered, mut has_told) = (0, false);
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; READ];
    loop {
        match epoll::wait(&poll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.to_string()),
        }
        for event in events.drain(..) {
            let at = event.data.u64();
            if at == INPUT {
                if !obey(&mut counts, &mut buffer) {
                    return Ok(());
                }
                continue;
            }
            let Some(client) = clients.get_mut(at as usize) else { continue };
            if !client.read(&mut buffer, &mut counts)? {
                continue;
            }
            answered += 1;
            if client.answer.is_last() {
                // Servers end a connection after so many requests.
                client.socket = connect(port).map_err(|error| error.to_string())?;
                watch(&client.socket, at).map_err(errno)?;
            }
            client.ask(&requests).map_err(|error| error.to_string())?;
        }
        if !has_told && answered >= 2 * wanted {
            has_told = true;
            println!("fetching");
        }
    }
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Obeys the words on the input. False at its end.
fn obey(counts: &mut Counts, buffer: &mut [u8]) -> bool {
    let Ok(got @ 1..) = std::io::stdin().read(buffer) else {
        return false;
    };
    match buffer[..got].trim_ascii() {
        b"mark" => *counts = Counts::new(),
        b"report" => counts.tell(),
        _ => {}
    }
    true
}

struct Client {
    socket: TcpStream,
    next: usize,
    answer: Answer,
    asked_at: u64,
}

impl Client {
    /// Sends the next request, into an empty send buffer.
    fn ask(&mut self, requests: &[Vec<u8>]) -> std::io::Result<()> {
        let at = match self.next % 2 {
            0 => 0,
            _ => 1 + self.next / 2 % (requests.len() - 1),
        };
        self.next += 1;
        self.answer = Answer::default();
        self.asked_at = now_ns();
        self.socket.write_all(&requests[at])
    }

    /// Whether the answer is complete.
    fn read(&mut self, buffer: &mut [u8], counts: &mut Counts) -> Result<bool, String> {
        let got = match self.socket.read(buffer) {
            Ok(0) => return Err("the server has closed".into()),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.to_string()),
        };
        counts.bytes += got as u64;
        self.answer.feed(&buffer[..got], |_| Ok(()))?;
        if self.answer.is_done() {
            counts.requests += 1;
            counts.times.add(now_ns() - self.asked_at);
        }
        Ok(self.answer.is_done())
    }
}

struct Counts {
    bytes: u64,
    requests: u64,
    times: Histogram,
}

impl Counts {
    fn new() -> Self {
        Self { bytes: 0, requests: 0, times: Histogram::new() }
    }

    fn tell(&self) {
        let ms = |part| self.times.quantile_ms(part).unwrap_or(f64::NAN);
        let Self { bytes, requests, .. } = self;
        println!("report bytes={bytes} requests={requests} p50={} p99={}", ms(0.5), ms(0.99));
    }
}

/// The input among the sockets.
const INPUT: u64 = u64::MAX;
/// One read takes all that a socket commonly holds.
const READ: usize = 256 * 1024;
