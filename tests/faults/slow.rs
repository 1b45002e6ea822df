//! Players that read slowly, late or never.

use crate::peer::control::Control;
use crate::peer::media::{self, Frame};
use crate::peer::server::Server;
use crate::peer::{CHUNK, KEPT, Peer, SOON};
use runnel::limits::{IMAGE_BYTES, KEY_WAIT_MS, MESSAGE_MAX, STALLED_BYTES};
use runnel::proto::rtmp::chunk::write_message;
use runnel::proto::rtmp::message::{AUDIO, VIDEO};
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) const TEN_SECONDS: &str =
    "vhost __defaultVhost__ {\n play { queue_length 10; mw_latency 10; }\n}\n";
const FRAME_MS: u32 = 40;

/// A player whose kernel takes little for it.
pub(crate) fn narrow_player(address: SocketAddr, name: &str) -> Peer {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    let mut peer = Peer::over(TcpStream::from(socket));
    peer.shake();
    peer.connect("rtmp://127.0.0.1/live");
    assert_eq!(peer.reply().0, "_result");
    peer.play(name);
    peer.await_play();
    peer
}

/// Publishes frames without waiting for the clock.
pub(crate) struct Source {
    peer: Peer,
    next: u32,
    /// Frames from key to key.
    gop: u32,
    len: usize,
}

impl Source {
    pub(crate) fn new(address: SocketAddr, name: &str, gop: u32, len: usize) -> Self {
        let mut peer = Peer::publisher(address, name);
        peer.headers();
        Self { peer, next: 0, gop, len }
    }

    pub(crate) fn send(&mut self, frames: u32) {
        for _ in 0..frames {
            let key = self.next.is_multiple_of(self.gop);
            let len = if key { 5 * self.len } else { self.len };
            let frame = media::video(key, self.next, len);
            self.peer.message(VIDEO, 1, self.next * FRAME_MS, &frame);
            self.next += 1;
        }
        assert!(self.peer.is_there(), "the publisher is closed");
    }
}

/// A player that looks at what it gets.
struct Viewer {
    peer: Peer,
    /// The number of the next frame, once there was one.
    expected: Option<u32>,
    gaps: usize,
}

impl Viewer {
    fn new(peer: Peer) -> Self {
        Self { peer, expected: None, gaps: 0 }
    }

    /// Reads frames up to number `last`: they come in order, and after each gap with a key frame.
    /// Returns how many gaps there were so far.
    fn watch(&mut self, last: u32) -> usize {
        let end = Instant::now() + 3 * SOON;
        while Instant::now() < end {
            let Some((_, _, payload)) = self.peer.next_media(SOON) else { break };
            let Frame::Video { key, number } = media::read(&payload) else { continue };
            match self.expected {
                None => assert!(key, "the first picture is a key frame"),
                Some(expected) if number == expected => {}
                Some(expected) => {
                    assert!(number > expected, "{number} came after {expected}");
                    assert!(key, "frame {number} cannot be decoded without what was skipped");
                    self.gaps += 1;
                }
            }
            self.expected = Some(number + 1);
            if number == last {
                return self.gaps;
            }
        }
        let closed = self.peer.is_closed();
        panic!("frame {last} does not come, {:?} is next, closed={closed}", self.expected);
    }
}

#[test]
fn a_player_that_stalls_for_twenty_seconds_goes_on_at_a_key_frame() {
    let server = Server::start(TEN_SECONDS);
    let control = Control::start(server.address);
    let before = server.rss();
    let mut source = Source::new(server.address, "s", 50, 8000);
    source.send(10);
    let mut healthy = Viewer::new(Peer::player(server.address, "s"));
    let mut stalled = Viewer::new(narrow_player(server.address, "s"));
    // Twenty seconds of the stream, 5 MB, while one of them reads and the other does not.
    for _ in 0..50 {
        source.send(10);
        assert_eq!(healthy.watch(source.next - 1), 0);
    }
    let tell = server.lines(&["shrink the cache queue"]).len();
    assert_eq!(tell, 0, "nothing happens to anyone while it stalls");
    let line = thread::scope(|scope| {
        let reader = scope.spawn(|| stalled.watch(519));
        let line = server.logged(&["shrink the cache queue, skipped", "player is too slow"]);
        source.send(10);
        assert_eq!(reader.join().unwrap(), 1, "one gap");
        line
    });
    let skipped = line.split("skipped ").nth(1).and_then(|s| s.split(' ').next());
    let skipped: u32 = skipped.and_then(|s| s.parse().ok()).expect("a number");
    assert!((200..500).contains(&skipped), "{line}");
    drop((healthy, stalled, source));
    server.logged(&["stop play, msgs=", &format!("skipped={skipped}")]);
    server.settles(before + 2 * KEPT);
    control.finish();
}

#[test]
fn a_player_on_a_slow_line_sees_whole_pictures_with_gaps() {
    let server = Server::start(TEN_SECONDS);
    let control = Control::start(server.address);
    let mut source = Source::new(server.address, "s", 25, 6000);
    source.send(1);
    let mut slow = narrow_player(server.address, "s");
    let reader = thread::spawn(move || {
        // About 1 MB a second; the stream has four times that.
        slow.pace = Some(Duration::from_millis(4));
        Viewer::new(slow).watch(1500)
    });
    for _ in 0..150 {
        source.send(10);
        thread::sleep(Duration::from_millis(15));
    }
    let gaps = reader.join().unwrap();
    assert!(gaps > 0, "too fast to be slow");
    server.logged(&["shrink the cache queue, skipped", "player is too slow"]);
    control.finish();
}

#[test]
fn twenty_stalled_players_among_a_hundred_cost_no_more_than_the_bound() {
    let server = Server::start(TEN_SECONDS);
    let control = Control::start(server.address);
    let before = server.rss();
    // Two seconds and 60 kB a GOP, so that ten seconds are 300 kB.
    let mut source = Source::new(server.address, "s", 50, 1100);
    source.send(1);
    let mut stalled: Vec<_> =
        (0..20).map(|_| Viewer::new(narrow_player(server.address, "s"))).collect();
    let mut healthy: Vec<_> =
        (0..80).map(|_| Viewer::new(Peer::player(server.address, "s"))).collect();
    for _ in 0..60 {
        source.send(25);
        for player in &mut healthy {
            assert_eq!(player.watch(source.next - 1), 0, "the others notice nothing");
        }
    }
    let grown = server.rss().saturating_sub(before);
    let bound = (600_000 + STALLED_BYTES + 2 * IMAGE_BYTES + 100 * 4096) / 1024 + KEPT;
    assert!(grown < bound, "{grown} kB, {bound} are allowed");
    // Each of the stalled ones goes on, or was dropped and the log says so.
    thread::scope(|scope| {
        let last = source.next + 24;
        let readers: Vec<_> =
            stalled.iter_mut().map(|player| scope.spawn(move || player.watch(last))).collect();
        let end = Instant::now() + SOON;
        while server.lines(&["shrink the cache queue"]).len() < 20 {
            assert!(Instant::now() < end, "{:?}", server.lines(&["shrink"]));
            thread::sleep(Duration::from_millis(20));
        }
        source.send(25);
        assert!(readers.into_iter().all(|reader| reader.join().unwrap() == 1));
    });
    drop((stalled, healthy, source));
    server.settles(before + 2 * KEPT);
    control.finish();
}

#[test]
fn a_player_that_closes_its_stream_inside_a_packet_can_play_again() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let mut source = Source::new(server.address, "s", 10, 300_000);
    source.send(1);
    let mut player = narrow_player(server.address, "s");
    // A frame of 1.5 MB does not fit the kernel's buffers: the player stands inside it.
    thread::sleep(Duration::from_millis(200));
    player.command(1, |w| _ = w.string("closeStream").number(0.0).null());
    player.play("control");
    thread::sleep(Duration::from_millis(200));
    // The peer's decoder takes nothing that is out of step.
    let (code, _) = player.status_and_text();
    assert_eq!(code, "NetStream.Play.Reset");
    player.status();
    for _ in 0..20 {
        let (_, _, payload) = player.next_media(SOON).expect("the other stream plays");
        assert!(payload.len() < 10_000, "nothing of the first stream follows");
    }
    control.finish();
}

#[test]
fn a_stream_without_key_frames_is_bounded_and_shown_after_thirty_seconds() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let before = server.rss();
    let mut peer = Peer::publisher(server.address, "s");
    peer.headers();
    // An hour of it, with nobody there.
    let mut out = Vec::new();
    for i in 0..20_000 {
        write_message(&mut out, CHUNK, 6, VIDEO, 1, i * 180, &media::video(false, i, 1000));
    }
    peer.raw(&out);
    peer.sync();
    let grown = server.rss().saturating_sub(before);
    assert!(grown < KEPT, "{grown} kB are held for nobody");
    let mut player = Peer::player(server.address, "s");
    let wait = KEY_WAIT_MS as u32;
    let start = 20_000 * 180;
    for time in (0..=wait + 2000).step_by(1000) {
        peer.message(AUDIO, 1, start + time, &media::audio(time, 100));
        peer.message(VIDEO, 1, start + time, &media::video(false, time, 100));
        if time == wait / 2 {
            // Who is behind by more than the queue would begin to wait anew.
            peer.sync();
        }
    }
    let mut sounds = 0;
    let first =
        std::iter::from_fn(|| player.next_media(SOON)).find_map(
            |(_, _, payload)| match media::read(&payload) {
                Frame::Header => None,
                Frame::Audio(_) => {
                    sounds += 1;
                    None
                }
                Frame::Video { number, .. } => Some(number),
            },
        );
    assert_eq!(first, Some(wait + 1000), "the first picture after 30 s");
    assert!(sounds > 30, "sound was there all the time");
    control.finish();
}

#[test]
fn sound_alone_plays_and_is_bounded() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let before = server.rss();
    let mut peer = Peer::publisher(server.address, "radio");
    peer.message(AUDIO, 1, 0, media::AUDIO_HEADER);
    let mut out = Vec::new();
    for i in 0..20_000 {
        write_message(&mut out, CHUNK, 4, AUDIO, 1, i * 23, &media::audio(i, 400));
    }
    peer.raw(&out);
    peer.sync();
    let grown = server.rss().saturating_sub(before);
    assert!(grown < KEPT, "{grown} kB are held for nobody");
    let mut player = Peer::player(server.address, "radio");
    for i in 20_000..20_100 {
        peer.message(AUDIO, 1, i * 23, &media::audio(i, 400));
    }
    let numbers: Vec<_> = std::iter::from_fn(|| player.next_media(SOON))
        .filter_map(|(_, _, payload)| match media::read(&payload) {
            Frame::Audio(number) => Some(number),
            _ => None,
        })
        .take(100)
        .collect();
    assert!(numbers.iter().copied().eq(20_000..20_100), "{numbers:?}");
    control.finish();
}

#[test]
fn a_slow_player_of_the_longest_frames_is_never_out_of_step() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let mut source = Source::new(server.address, "s", 4, MESSAGE_MAX / 5);
    source.send(1);
    source.peer.sync();
    let mut players: Vec<_> = (0..4).map(|_| narrow_player(server.address, "s")).collect();
    // Sixty megabytes pass by while all of them stand inside the first frame. There is room for
    // the rest of none of them, so they are dropped rather than sent something else.
    source.send(70);
    source.peer.sync();
    for player in &mut players {
        let mut seen = 0;
        while let Some((_, _, payload)) = player.next_media(SOON) {
            media::read(&payload);
            seen += 1;
        }
        assert!(player.is_closed() && seen <= 2, "{seen}: two headers are all that was whole");
    }
    server.logged_times(&["[warn]", "timeout, the player stopped reading. ret=1011"], 4);
    control.finish();
}
