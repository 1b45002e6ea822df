//! Every bound of a board at its number and one over it, on a board so small that a test reaches
//! them all: `BOARD=test cargo test --test tiny`.

mod common;

use common::client::{Got, Peer, play, publish};
use common::raw::Raw;
use common::{SOON, Server, eventually};
use runnel::limits::{
    self, CHUNK_STREAMS, CONTROL_MAX, MAX_CLIENTS, MAX_STREAMS, MEDIA_POOL, MESSAGE_MAX,
    RING_BYTES, RING_PACKETS, STALLED_BYTES,
};
use runnel::media::{Kind, Packet};
use runnel::proto::rtmp::client::Event;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

const AT_ONCE: &str = "vhost __defaultVhost__ { min_latency on; }";
const KEY: u8 = 0x17;
const INTER: u8 = 0x27;
/// For what must not happen.
const MOMENT: Duration = Duration::from_millis(300);

/// The server, unless this is another board.
fn server() -> Option<Server> {
    if limits::BOARD == "test" {
        return Some(Server::with(AT_ONCE));
    }
    // Not to where the harness keeps what a test prints.
    let text = format!("SKIPPED: made for BOARD=test, this is {}\n", limits::BOARD);
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    None
}

/// A frame whose bytes tell its time.
fn frame(first: u8, dts: u32, len: usize) -> Packet {
    let mut payload = vec![first, 1, 0, 0, 0];
    payload.extend((payload.len()..len).map(|i| (i as u32 ^ dts) as u8));
    Packet::new(Kind::Video, dts, payload.into())
}

/// Waits until the server has taken all that `publisher` sent: it plays what comes last.
fn sync(server: &Server, publisher: &mut Peer, stream: &str, dts: u32) {
    let mut player = Peer::play(server, stream);
    publisher.send(&frame(INTER, dts, 10));
    publisher.send(&frame(KEY, dts + 1, 10));
    let until = |packet: &Packet| packet.key && packet.payload == frame(KEY, dts + 1, 10).payload;
    while !until(&player.packet(SOON).expect("the key frame arrives")) {}
}

/// Waits until the server says that it refuses or ends something: code and text.
fn refused(peer: &mut Peer) -> (String, String) {
    let Some(Event::Refused(status)) = peer.wait_for(|e| matches!(e, Event::Refused(_))) else {
        panic!("closed without a word")
    };
    (status.code, status.description)
}

#[test]
fn there_are_max_clients_and_no_more() {
    let Some(server) = server() else { return };
    let mut clients: Vec<_> = (0..MAX_CLIENTS).map(|_| Raw::connect(&server)).collect();
    let mut over = TcpStream::connect(server.address()).unwrap();
    over.set_read_timeout(Some(SOON)).unwrap();
    let read = std::io::Read::read(&mut over, &mut [0]);
    assert!(
        matches!(read, Ok(0))
            || read.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
    );
    let line = server.line("exceed the max connections, drop client ip=127.0.0.1");
    assert!(line.contains(&format!("max={MAX_CLIENTS} (max_connections, board test)")), "{line}");
    // Who is there notices nothing, and who leaves makes room.
    for client in &mut clients {
        client.command(0, |w| {
            w.string("createStream").number(2.0).null();
        });
        client.answer("_result", 2.0);
    }
    clients.pop();
    server.line("client finished");
    Raw::connect(&server);
}

#[test]
fn there_are_max_streams_and_no_more() {
    let Some(server) = server() else { return };
    let mut holders: Vec<_> = (0..MAX_STREAMS)
        .map(|i| match i % 2 {
            0 => Peer::publish(&server, &format!("s{i}")),
            _ => Peer::play(&server, &format!("s{i}")),
        })
        .collect();
    let full = format!("all {MAX_STREAMS} streams of this board are in use (limit max_streams)");
    for (role, code) in
        [(publish("other"), "NetStream.Publish.BadName"), (play("other"), "NetStream.Play.Failed")]
    {
        let mut over = Peer::new(&server, role);
        assert_eq!(refused(&mut over), (code.to_owned(), full.clone()));
        assert!(over.is_closed_within(SOON));
    }
    server.line_number(&format!("client refused, {full}. ret="), 2);
    // Those that are there may still be played.
    holders[0].send(&frame(KEY, 0, 100));
    assert_eq!(Peer::play(&server, "s0").packets(1)[0].payload.len(), 100);
    let finished = server.count("client finished");
    holders.pop();
    server.line_number("client finished", finished + 1);
    Peer::publish(&server, "other");
}

#[test]
fn publishers_share_the_pool_and_who_finds_no_room_is_told() {
    let Some(server) = server() else { return };
    let len = MESSAGE_MAX * 3 / 4;
    let names: Vec<_> = (0..MAX_STREAMS).map(|i| format!("s{i}")).collect();
    let mut publishers: Vec<_> =
        names.iter().map(|name| Some(Peer::publish(&server, name))).collect();
    let mut told = 0;
    // Each fills its ring: with what a block wastes that is more than there is for all.
    for round in 0..10 {
        for slot in &mut publishers {
            let Some(publisher) = slot else { continue };
            publisher.try_send(&frame(if round == 0 { KEY } else { INTER }, round, len));
            match publisher.next(Duration::from_millis(60)) {
                Got::Silence => {}
                Got::Event(Event::Refused(status)) => {
                    assert_eq!(status.code, "NetStream.Publish.Failed");
                    let text = format!("no memory for a message of {len} bytes");
                    assert!(status.description.starts_with(&text), "{}", status.description);
                    assert!(publisher.is_closed_within(SOON));
                    told += 1;
                    *slot = None;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let left = publishers.iter().flatten().count();
    assert!(told > 0 && left > 0, "{told} of {MAX_STREAMS} were told, {left} are left");
    server.line_number(&format!("no memory for a message of {len} bytes"), told);
    assert_eq!(server.count("ret=1022"), told);
    // The others go on, and there is room for a new one that wants less.
    for (name, publisher) in names.iter().zip(&mut publishers) {
        if let Some(publisher) = publisher {
            publisher.send(&frame(KEY, 1000, 1000));
            let seen = Peer::play(&server, name).packets(1);
            assert_eq!(seen[0].payload, frame(KEY, 1000, 1000).payload);
        }
    }
    let mut small = Peer::publish(&server, "small");
    small.send(&frame(KEY, 0, 100));
    assert_eq!(Peer::play(&server, "small").packets(1).len(), 1);
    drop(publishers);
}

#[test]
fn a_gop_as_long_as_the_ring_is_kept_and_a_longer_one_is_not() {
    let Some(server) = server() else { return };
    let inside = |frames: usize, len: usize| {
        assert!(frames * len <= RING_BYTES && frames <= RING_PACKETS);
        let mut publisher = Peer::publish(&server, "s");
        let mut watcher = Peer::play(&server, "s");
        publisher.send(&frame(KEY, 0, len));
        for dts in 1..frames as u32 {
            publisher.send(&frame(INTER, dts, len));
        }
        assert_eq!(watcher.packets(frames).len(), frames);
        let kept = Peer::play(&server, "s").packets(frames);
        assert!(kept[0].key && kept.iter().all(|packet| packet.payload.len() == len));
        // One more, and a new player waits for the next key frame.
        publisher.send(&frame(INTER, frames as u32, 10));
        assert_eq!(watcher.packets(1)[0].payload.len(), 10);
        let mut late = Peer::play(&server, "s");
        assert!(late.packet(MOMENT).is_none(), "the key frame has left");
        publisher.send(&frame(KEY, frames as u32 + 1, 20));
        assert_eq!(late.packets(1)[0].payload.len(), 20);
        drop((publisher, watcher, late));
        eventually("all have left", SOON, || {
            server.count("client finished") == server.count("RTMP client ip=")
        });
    };
    inside(RING_PACKETS, 100);
    inside(4, RING_BYTES / 4);
}

#[test]
fn a_message_has_message_max_bytes_and_no_more() {
    let Some(server) = server() else { return };
    let mut publisher = Peer::publish(&server, "s");
    let mut player = Peer::play(&server, "s");
    let longest = frame(KEY, 0, MESSAGE_MAX);
    publisher.send(&longest);
    assert_eq!(player.packets(1)[0].payload, longest.payload);
    publisher.try_send(&frame(KEY, 1, MESSAGE_MAX + 1));
    let (code, text) = refused(&mut publisher);
    assert_eq!(code, "NetStream.Publish.Failed");
    assert!(text.starts_with(&format!("a message of {} bytes", MESSAGE_MAX + 1)), "{text}");
    assert!(text.ends_with(&format!("{MESSAGE_MAX} are allowed")), "{text}");
    assert!(publisher.is_closed_within(SOON));
    server.line("are allowed. ret=2002");
    assert!(matches!(player.next(MOMENT), Got::Silence), "players stay");
}

/// Players of `stream` that stand inside its first frame, of `len` bytes, when that has left the
/// ring.
fn stalled(server: &Server, publisher: &mut Peer, stream: &str, len: usize, n: usize) -> Vec<Peer> {
    let players = (0..n).map(|_| Peer::play_narrow(server, stream)).collect();
    publisher.send(&frame(KEY, 0, len));
    thread::sleep(MOMENT);
    for dts in 1..2 * RING_PACKETS as u32 {
        publisher.send(&frame(INTER, dts, 100));
    }
    sync(server, publisher, stream, 2 * RING_PACKETS as u32);
    players
}

#[test]
fn what_stalled_players_need_is_kept_up_to_stalled_bytes() {
    let Some(server) = server() else { return };
    let mut publisher = Peer::publish(&server, "at");
    // All of them stand in one packet, of which there is one copy.
    let mut players = stalled(&server, &mut publisher, "at", STALLED_BYTES, 3);
    // It takes all the room there is.
    let mut other = Peer::publish(&server, "more");
    let mut lost = stalled(&server, &mut other, "more", STALLED_BYTES, 1);
    for player in &mut lost {
        assert!(player.is_closed_within(SOON), "in the middle of a packet there is no way on");
    }
    server.line("timeout, the player stopped reading. ret=1011");
    for player in &mut players {
        let seen = player.packets(2);
        assert_eq!(seen[0].payload, frame(KEY, 0, STALLED_BYTES).payload);
        assert!(seen[1].key, "it goes on at a key frame");
    }
    server.line_number("shrink the cache queue, skipped", 3);
    drop((players, lost, other));
    // Now there is room again, but not for more than that.
    let mut over = Peer::publish(&server, "over");
    for player in &mut stalled(&server, &mut over, "over", STALLED_BYTES + 1, 2) {
        assert!(player.is_closed_within(SOON));
    }
    server.line_number("timeout, the player stopped reading. ret=1011", 3);
    over.send(&frame(KEY, 100_000, 100));
    publisher.send(&frame(KEY, 100_000, 100));
}

#[test]
fn at_the_worst_the_process_is_smaller_than_the_sum_says() {
    let Some(server) = server() else { return };
    let most = limits::worst_case(MAX_CLIENTS) as u64 / 1024;
    let idle = server.resident();
    let mut peak = idle;
    let mut look = || peak = peak.max(server.resident());
    // Two rings of the longest messages, and a publisher that fills what is left of the pool.
    let mut publishers: Vec<_> =
        ["a", "b", "c"].iter().map(|name| Peer::publish(&server, name)).collect();
    let stalled: Vec<_> =
        ["a", "b", "c"].iter().map(|name| Peer::play_narrow(&server, name)).collect();
    // Peers that begin as many messages as they may.
    let mut begun = [Raw::connect(&server), Raw::connect(&server)];
    assert_eq!(publishers.len() + stalled.len() + begun.len(), MAX_CLIENTS);
    for peer in &mut begun {
        for csid in 4..4 + CHUNK_STREAMS as u8 - 1 {
            let [_, _, high, low] = (CONTROL_MAX as u32).to_be_bytes();
            peer.write(&[csid, 0, 0, 0, 0, high, low, 20, 0, 0, 0, 0]);
            peer.write(&[2; 128]);
            // All but the last chunk.
            for _ in 2..CONTROL_MAX / 128 {
                peer.write(&[0xc0 | csid]);
                peer.write(&[2; 128]);
            }
        }
    }
    for round in 0..40 {
        for publisher in &mut publishers {
            let len = if round < 3 { STALLED_BYTES / 4 } else { MESSAGE_MAX };
            publisher.try_send(&frame(if round % 8 == 0 { KEY } else { INTER }, round, len));
        }
        look();
        thread::sleep(Duration::from_millis(10));
    }
    look();
    let held = MEDIA_POOL as u64 / 1024 / 2;
    assert!(peak > idle + held, "{idle} kB grew to {peak} kB: this was no load");
    assert!(peak < most, "{peak} kB resident, {most} kB are the worst case");
    for peer in &mut begun {
        peer.send(3, 4, 0, 0, &[0, 6, 0, 0, 0, 7]);
        peer.wait_for("pong", |message| *message.payload == [0, 7, 0, 0, 0, 7]);
    }
    println!("{idle} kB idle, {peak} kB at most, {most} kB are allowed");
}
