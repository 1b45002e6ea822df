//! How often the server's path of a packet allocates, from the publisher's bytes to those of its
//! players: never, once it runs. And how much it holds when players stall: no more than its
//! bounds.

// The one way to count allocations is to be the allocator. It hands every call on as it is.
#![allow(unsafe_code)]

use bytes::BytesMut;
use runnel::hub::images::Images;
use runnel::hub::{Consumer, Hub, Merge, Publisher, Sent, Settings, StreamKey};
use runnel::limits::{IMAGE_BYTES, MESSAGE_MAX, READ_BUF, RING_BYTES, RING_PACKETS, STALLED_BYTES};
use runnel::media::arena::{Arena, Full, Pool};
use runnel::proto::Machine as _;
use runnel::proto::amf0::{Object, Writer};
use runnel::proto::framing::Rtmp;
use runnel::proto::rtmp::Server;
use runnel::proto::rtmp::chunk::{Buffers, Refused, write_message};
use runnel::proto::rtmp::handshake::{ClientHandshake, Form};
use runnel::proto::rtmp::message::{AUDIO, COMMAND, VIDEO};
use runnel::proto::rtmp::server::{ConnectReply, Event};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::convert::Infallible;
use std::task::{Context, Waker};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn note(count: usize, more: isize) {
    COUNT.set(COUNT.get() + count);
    HELD.set(HELD.get() + more);
    PEAK.set(PEAK.get().max(HELD.get()));
}

// SAFETY: every call goes to the system's allocator with the arguments that it came with; the
// counters are plain cells without destructors, which do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, size as isize - layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(ptr, layout, size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        note(0, -(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FRAMING: Rtmp = Rtmp { chunk_size: 60_000 };
const CHUNK: usize = 4096;

/// The arena as the server gives it to the machine.
struct Media(Arena);

impl Buffers for Media {
    fn buffer(&mut self, _type_id: u8, len: usize) -> Result<BytesMut, Refused> {
        self.0.alloc(len).map_err(|full| match full {
            Full::TooLong { max } => Refused::TooLong { max },
            Full::NoMemory => Refused::NoMemory,
        })
    }
}

/// A publisher's connection without its socket.
struct Ingest {
    machine: Server,
    publisher: Publisher,
}

impl Ingest {
    fn new(hub: &Hub, settings: Settings) -> Self {
        let key = StreamKey::new("v", "live", "s");
        let publisher = hub.publish(&key, settings, 1, false).expect("nobody else publishes");
        let mut machine = Server::new(0);
        let mut hello = Vec::new();
        let _ = ClientHandshake::new(Form::Simple, 0, &mut hello);
        hello.extend([0; 1536]);
        command(&mut hello, |w| {
            let properties = Object::from_iter([("tcUrl", "rtmp://h/live")]);
            w.string("connect").number(1.0).value(&properties.into());
        });
        command(&mut hello, |w| _ = w.string("publish").number(0.0).null().string("s"));
        write_message(&mut hello, 128, 2, 1, 0, 0, &(CHUNK as u32).to_be_bytes());
        let mut input = &*hello;
        while let Some(event) = machine.receive(&mut input).expect("a good publisher") {
            match event {
                Event::Connect(_) => machine.accept_connect(&ConnectReply::default()),
                Event::Publish(_) => {
                    let share = RING_BYTES + 4 * MESSAGE_MAX;
                    let arena = Arena::new(hub.pool().clone(), share, MESSAGE_MAX);
                    machine.accept_publish(Box::new(Media(arena)));
                }
                _ => {}
            }
        }
        machine.send_done(machine.send_buf().len());
        assert_eq!(machine.state(), "publish");
        Self { machine, publisher }
    }

    /// What a read of the socket brought.
    fn take(&mut self, mut input: &[u8]) -> usize {
        let mut packets = 0;
        while let Some(event) = self.machine.receive(&mut input).expect("a good publisher") {
            if let Event::Packet(packet) = event {
                self.publisher.push(packet, 0).expect("no sink can fail");
                packets += 1;
            }
        }
        self.publisher.flush();
        packets
    }
}

fn command(out: &mut Vec<u8>, write: impl FnOnce(&mut Writer<'_>)) {
    let mut payload = Vec::new();
    write(&mut Writer(&mut payload));
    write_message(out, 128, 3, COMMAND, 0, 0, &payload);
}

/// `frames` frames with a sound after each, as a publisher sends them: `gop` frames from key to
/// key, `len` bytes an inter frame, times from `start` on.
fn stream(start: u32, frames: u32, gop: u32, len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for i in 0..frames {
        let time = start + i * 40;
        let (first, len) =
            if i % gop == 0 { (0x17, 5 * len) } else { (0x27, len + i as usize % 97) };
        let mut frame = vec![7; len];
        frame[..2].copy_from_slice(&[first, 1]);
        write_message(&mut out, CHUNK, 6, VIDEO, 1, time, &frame);
        write_message(
            &mut out,
            CHUNK,
            4,
            AUDIO,
            1,
            time + 10,
            &[&[0xaf, 1][..], &[7; 200]].concat(),
        );
    }
    out
}

fn settings() -> Settings {
    Settings { merge: Merge::Every(0), queue_ms: 10_000, ..Settings::default() }
}

fn players(hub: &Hub, count: usize) -> Vec<Consumer> {
    let key = StreamKey::new("v", "live", "s");
    (0..count).map(|_| hub.consume(&key, settings()).expect("there is room")).collect()
}

/// One turn of a player whose socket takes `room` bytes at a time, `turns` times.
fn send(player: &mut Consumer, images: &mut Images, room: usize, turns: usize) -> Sent {
    let mut sent = Sent::CaughtUp;
    let task = Context::from_waker(Waker::noop());
    for _ in 0..turns {
        if player.poll_ready(&task).is_pending() {
            break;
        }
        let written =
            player.send(&FRAMING, images, |bytes| Ok::<_, Infallible>(bytes.len().min(room)));
        sent = written.expect("the closure does not fail");
    }
    sent
}

#[test]
fn nothing_is_allocated_per_packet_and_per_player() {
    let hub = Hub::new(Pool::new(1 << 30));
    let mut ingest = Ingest::new(&hub, settings());
    let mut fast = players(&hub, 50);
    let mut slow = players(&hub, 10);
    let mut images = Images::default();
    let mut packets = 0;
    let mut round = |number: u32, wire: &[u8]| {
        for (i, read) in wire.chunks(10_000).enumerate() {
            packets += ingest.take(read);
            for player in &mut fast {
                assert_ne!(send(player, &mut images, usize::MAX, 100), Sent::Lost);
            }
            // These take a part of a packet at a time, and are behind by different stretches.
            for (j, player) in slow.iter_mut().enumerate() {
                if (i + j) % 3 == 0 {
                    assert_ne!(send(player, &mut images, 901 + number as usize, 40), Sent::Lost);
                }
            }
        }
        packets
    };
    let warm = 10;
    let wires: Vec<_> = (0..30).map(|i| stream(i * 8000, 200, 50, 1000)).collect();
    for (i, wire) in wires.iter().take(warm).enumerate() {
        round(i as u32, wire);
    }
    let before = (COUNT.get(), round(0, &[]));
    for (i, wire) in wires.iter().enumerate().skip(warm) {
        round(i as u32, wire);
    }
    let after = (COUNT.get(), round(0, &[]));
    assert_eq!(after.1 - before.1, 8000, "packets in the measured part");
    assert_eq!(after.0 - before.0, 0, "allocations for them and 60 players");
    // A player that is lapped inside a packet costs one, for the copy that it goes on with.
    assert!(slow.iter().all(|player| player.skipped() == 0), "they are slow, not lapped");
}

#[test]
fn twenty_stalled_players_among_a_hundred_stay_inside_the_sum_of_the_bounds() {
    let hub = Hub::new(Pool::new(1 << 30));
    let base = HELD.get();
    PEAK.set(base);
    let mut ingest = Ingest::new(&hub, Settings { queue_ms: 1_000_000, ..settings() });
    let mut fast = players(&hub, 80);
    let mut stalled = players(&hub, 20);
    let mut images = Images::default();
    // One GOP that is longer than the ring, then short ones; 60 MB.
    ingest.take(&stream(0, 10, 1000, 20_000));
    for player in &mut stalled {
        assert!(matches!(send(player, &mut images, 1000, 1), Sent::Some { packets: 0, .. }));
    }
    let start = PEAK.get();
    assert!(start >= base);
    for i in 0..30u32 {
        // What the test itself holds is not the server's.
        let peak = PEAK.get();
        let wire = stream(400 + i * 4000, 100, if i < 15 { 10_000 } else { 50 }, 20_000);
        let own = wire.capacity() as isize;
        note(0, -own);
        PEAK.set(peak);
        for read in wire.chunks(READ_BUF) {
            ingest.take(read);
            for player in &mut fast {
                assert_ne!(send(player, &mut images, usize::MAX, 100), Sent::Lost);
            }
        }
        note(0, own);
    }
    let peak = (PEAK.get() - base) as usize;
    let ring = RING_BYTES + 4 * MESSAGE_MAX + RING_PACKETS * 40;
    let bound = ring + STALLED_BYTES + 4 * IMAGE_BYTES + READ_BUF + 100 * 4096;
    assert!(peak > RING_BYTES && peak < bound, "{peak} bytes at most, {bound} are allowed");
    let mut sent = stalled.iter_mut().map(|player| send(player, &mut images, 1000, 1));
    assert!(sent.all(|sent| sent != Sent::Lost), "one copy is enough for all of them");
}
