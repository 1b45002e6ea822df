//! The publishers: one thread that writes each frame at its time.
//!
//! Words: `PORT KBPS GOP COUNT`. Says `publishing` when all are, answers `report`, ends with its
//! input. Publisher `i` has the stream `s{i}`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::children::number;
use crate::client::{self, CONNECT, CREATE_STREAM, SERVER_HANDSHAKE};
use crate::media::{AAC_HEADER, AVC_HEADER, FPS, Shape, Source, metadata};
use crate::process::now_ns;
use crate::wire::{AUDIO, COMMAND, ChunkReader, DATA, VIDEO};

pub(crate) fn play(words: &[String]) -> Result<(), String> {
    let port = number(words, 0)?;
    let shape = Shape { kbps: number(words, 1)?, gop: number(words, 2)? };
    let count: usize = number(words, 3)?;
    let sockets = open_all(port, count, shape)?;
    println!("publishing");
    let wants_report = Arc::new(AtomicBool::new(false));
    listen_to_input(Arc::clone(&wants_report));
    send_for_ever(sockets, shape, &wants_report)
}

/// Opens several at a time: the answers of some servers wait for delayed acknowledgements.
fn open_all(port: u16, count: usize, shape: Shape) -> Result<Vec<TcpStream>, String> {
    let next = AtomicUsize::new(0);
    let open_some = || {
        let mut opened = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return Ok(opened);
            }
            opened.push((at, open(port, &format!("s{at}"), shape)?));
        }
    };
    let opened = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..OPENING).map(|_| scope.spawn(open_some)).collect();
        let results = threads.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| Err("a thread of the publishers died".to_string()))
        });
        results.collect::<Result<Vec<Vec<_>>, String>>()
    })?;
    let mut opened: Vec<(usize, TcpStream)> = opened.into_iter().flatten().collect();
    opened.sort_by_key(|(at, _)| *at);
    Ok(opened.into_iter().map(|(_, socket)| socket).collect())
}

/// Goes through the handshake and the commands, and sends what comes in front of the frames.
fn open(port: u16, stream: &str, shape: Shape) -> Result<TcpStream, String> {
    let failed = |error: std::io::Error| format!("publisher {stream}: {error}");
    let mut socket = TcpStream::connect(("127.0.0.1", port)).map_err(failed)?;
    socket.set_nodelay(true).map_err(failed)?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).map_err(failed)?;
    let mut reader = ChunkReader::new(SERVER_HANDSHAKE);
    socket.write_all(&client::hello()).map_err(failed)?;
    read_until(&mut socket, &mut reader, None).map_err(failed)?;
    socket.write_all(&client::connect(port)).map_err(failed)?;
    read_until(&mut socket, &mut reader, Some(CONNECT)).map_err(failed)?;
    socket.write_all(&client::announce(stream)).map_err(failed)?;
    read_until(&mut socket, &mut reader, Some(CREATE_STREAM)).map_err(failed)?;
    let mut out = client::publish(stream);
    client::put_media(&mut out, DATA, 0, &metadata(shape));
    client::put_media(&mut out, VIDEO, 0, &AVC_HEADER);
    client::put_media(&mut out, AUDIO, 0, &AAC_HEADER);
    socket.write_all(&out).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    Ok(socket)
}

/// Reads until the handshake is over, or until a request is answered.
fn read_until(
    socket: &mut TcpStream,
    reader: &mut ChunkReader,
    request: Option<u32>,
) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let got = socket.read(&mut buffer)?;
        if got == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut is_answered = false;
        let mut refused = Ok(());
        let fed = reader.feed(&buffer[..got], |message| {
            if message.kind == COMMAND && refused.is_ok() {
                match client::answered(message.prefix) {
                    Ok(number) => is_answered |= number.is_some() && number == request,
                    Err(message) => refused = Err(message),
                }
            }
        });
        fed.and(refused).map_err(std::io::Error::other)?;
        if is_answered || (request.is_none() && reader.is_past_handshake()) {
            return Ok(());
        }
    }
}

struct Publisher {
    socket: TcpStream,
    source: Source,
    /// What the socket did not take.
    unsent: Vec<u8>,
}

fn send_for_ever(
    sockets: Vec<TcpStream>,
    shape: Shape,
    wants_report: &AtomicBool,
) -> Result<(), String> {
    let count = sockets.len() as u64;
    let spread = shape.gop_length().as_nanos() as u64;
    let start = now_ns() + 10_000_000;
    let mut publishers: Vec<Publisher> = Vec::new();
    for (at, socket) in sockets.into_iter().enumerate() {
        let source = Source::new(shape, start + spread * at as u64 / count);
        publishers.push(Publisher { socket, source, unsent: Vec::new() });
    }
    let due = publishers.iter().map(|publisher| publisher.source.due_ns());
    let mut queue: BinaryHeap<_> = due.enumerate().map(|(at, due)| Reverse((due, at))).collect();
    // One publisher sends each frame alone, as encoders do. Many send some together: else they would
    // be the bottleneck, not the server.
    let pictures = (count * u64::from(FPS)).div_ceil(WRITES_PER_SECOND);
    let step_ns = (count > 1).then_some(pictures * 1_000_000_000 / u64::from(FPS));
    let (mut late_ns, mut stalls) = (0, 0u64);
    let (mut payload, mut out) = (Vec::new(), Vec::new());
    while let Some(Reverse((due, at))) = queue.pop() {
        std::thread::sleep(Duration::from_nanos(due.saturating_sub(now_ns())));
        let publisher = &mut publishers[at];
        late_ns = now_ns().saturating_sub(due).max(late_ns);
        out.clear();
        out.append(&mut publisher.unsent);
        while publisher.source.due_ns() <= due {
            let frame = publisher.source.write_next(now_ns(), &mut payload);
            client::put_media(&mut out, frame.kind, frame.time_ms, &payload);
        }
        let sent = match publisher.socket.write(&out) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(format!("publisher s{at}: {error}")),
        };
        if sent < out.len() {
            stalls += 1;
            publisher.unsent.extend_from_slice(&out[sent..]);
            if publisher.unsent.len() > UNSENT_MAX {
                return Err(format!("publisher s{at}: the server does not read"));
            }
        }
        let next = step_ns.map_or_else(|| publisher.source.due_ns(), |step| due + step);
        queue.push(Reverse((next, at)));
        if wants_report.swap(false, Ordering::Relaxed) {
            println!("report late_ms={:.1} stalls={stalls}", late_ns as f64 / 1e6);
            (late_ns, stalls) = (0, 0);
        }
    }
    Ok(())
}

/// Each line asks for a report; the end of the input ends the process.
fn listen_to_input(wants_report: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        for _ in std::io::stdin().lines().map_while(Result::ok) {
            wants_report.store(true, Ordering::Relaxed);
        }
        std::process::exit(0);
    });
}

const OPENING: usize = 32;
/// Many publishers together; one core does this with ease.
const WRITES_PER_SECOND: u64 = 20_000;
const UNSENT_MAX: usize = 1 << 20;
