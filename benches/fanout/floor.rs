//! The floor: a program that does nothing but write the bytes of a stream to every socket. What it
//! costs is the kernel's part, which no server can be under.
//!
//! Words: `PORT KBPS GOP MERGE_MS`. With 0 every message is written alone. Says `listening`, ends
//! with its input. Each connection gets chunks from the first byte: no handshake, no commands.

use std::io::{ErrorKind, IoSlice, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use crate::children::number;
use crate::media::{Shape, Source};
use crate::process::now_ns;
use crate::wire::{Envelope, RAW_CHUNK, put_message};

pub(crate) fn play(words: &[String]) -> Result<(), String> {
    let port: u16 = number(words, 0)?;
    let shape = Shape { kbps: number(words, 1)?, gop: number(words, 2)? };
    let merge_ns = number::<u64>(words, 3)? * 1_000_000;
    let listener = TcpListener::bind(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    let (sender, joined) = channel();
    std::thread::spawn(move || accept_for_ever(&listener, &sender));
    std::thread::spawn(|| {
        while std::io::stdin().lines().next().is_some() {}
        std::process::exit(0);
    });
    println!("listening");
    let mut players: Vec<Player> = Vec::new();
    let mut source = Source::new(shape, now_ns());
    let mut payload = Vec::new();
    loop {
        let due = source.due_ns() + merge_ns;
        std::thread::sleep(Duration::from_nanos(due.saturating_sub(now_ns())));
        players.extend(joined.try_iter().map(|socket| Player { socket, unsent: Vec::new() }));
        let mut messages: Vec<Vec<u8>> = Vec::new();
        // What came due while the last messages were written goes out with these.
        let until = due.max(now_ns());
        while source.due_ns() <= until {
            // One that merges would have got the frame at its time and kept it since. Else this is
            // the publisher too, and sends when it was woken.
            let sent_ns = if merge_ns > 0 { source.due_ns() } else { now_ns() };
            let frame = source.write_next(sent_ns, &mut payload);
            let to = Envelope {
                chunk_stream: 6,
                kind: frame.kind,
                message_stream: 1,
                time_ms: frame.time_ms,
            };
            let mut message = Vec::with_capacity(payload.len() + 12);
            put_message(&mut message, to, &payload, RAW_CHUNK);
            messages.push(message);
        }
        players.retain_mut(|player| player.send(&messages).is_ok());
    }
}

struct Player {
    socket: TcpStream,
    /// What the socket did not take. Empty on a machine that is fast enough.
    unsent: Vec<u8>,
}

impl Player {
    fn send(&mut self, messages: &[Vec<u8>]) -> std::io::Result<()> {
        for batch in messages.chunks(SLICES - 1) {
            let before = std::mem::take(&mut self.unsent);
            let mut slices = [IoSlice::new(&[]); SLICES];
            slices[0] = IoSlice::new(&before);
            for (slice, message) in slices[1..].iter_mut().zip(batch) {
                *slice = IoSlice::new(message);
            }
            let first = usize::from(before.is_empty());
            let mut sent = match self.socket.write_vectored(&slices[first..=batch.len()]) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            for slice in &slices[..=batch.len()] {
                let skipped = sent.min(slice.len());
                sent -= skipped;
                self.unsent.extend_from_slice(&slice[skipped..]);
            }
        }
        Ok(())
    }
}

fn accept_for_ever(listener: &TcpListener, sender: &Sender<TcpStream>) {
    for socket in listener.incoming().map_while(Result::ok) {
        let is_set = socket.set_nonblocking(true).and_then(|()| socket.set_nodelay(true));
        if is_set.is_ok() && sender.send(socket).is_err() {
            return;
        }
    }
}

/// What one call of `writev` takes; 350 ms are about 24 messages.
const SLICES: usize = 64;
