//! A healthy publisher and a healthy player beside whatever a test does. At the end nothing is
//! missing: no frame, no sound, no byte of them.

use super::media::{self, Frame};
use super::{Peer, SOON};
use runnel::proto::rtmp::message::{AUDIO, VIDEO};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const NAME: &str = "control";
/// From frame to frame; a sound goes with each.
const STEP: Duration = Duration::from_millis(20);
const GOP: u32 = 50;

pub(crate) struct Control {
    shared: Arc<Shared>,
    publisher: Option<JoinHandle<()>>,
    player: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// How many frames there are; `u32::MAX` until that is known.
    total: AtomicU32,
    seen: AtomicU32,
    done: AtomicBool,
}

impl Control {
    /// The player is there first, so that it has to see every frame.
    pub(crate) fn start(address: SocketAddr) -> Self {
        let shared = Arc::new(Shared { total: u32::MAX.into(), ..Shared::default() });
        let mut player = Peer::player(address, NAME);
        let mut publisher = Peer::publisher(address, NAME);
        let (of_player, of_publisher) = (shared.clone(), shared.clone());
        let player = thread::spawn(move || watch(&mut player, &of_player));
        let publisher = thread::spawn(move || publish(&mut publisher, &of_publisher));
        let control = Self { shared, publisher: Some(publisher), player: Some(player) };
        let end = Instant::now() + SOON;
        while control.seen() < 5 {
            assert!(Instant::now() < end, "the control stream does not start");
            thread::sleep(STEP);
        }
        control
    }

    /// Frames that its player has seen.
    pub(crate) fn seen(&self) -> u32 {
        self.shared.seen.load(Ordering::Relaxed)
    }

    /// Stops the stream and makes sure that its player had all of it.
    pub(crate) fn finish(mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let (publisher, player) = (self.publisher.take(), self.player.take());
        for (who, thread) in [("player", player), ("publisher", publisher)] {
            let ended = thread.is_some_and(|thread| thread.join().is_ok());
            assert!(ended, "the control {who} was disturbed");
        }
        let total = self.shared.total.load(Ordering::Relaxed);
        assert_eq!(self.seen(), total, "frames that arrived");
    }
}

impl Drop for Control {
    /// A test that failed is not to be followed by complaints of these two.
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.done.store(true, Ordering::Relaxed);
    }
}

fn publish(peer: &mut Peer, shared: &Shared) {
    peer.headers();
    let start = Instant::now();
    let mut number = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        let time = number * STEP.as_millis() as u32;
        let key = number % GOP == 0;
        let len = if key { 4000 } else { 400 + (number as usize * 37) % 400 };
        peer.message(VIDEO, 1, time, &media::video(key, number, len));
        peer.message(AUDIO, 1, time, &media::audio(number, 90));
        number += 1;
        thread::sleep((start + STEP * number).saturating_duration_since(Instant::now()));
        let stopped = shared.stop.load(Ordering::Relaxed);
        assert!(peer.is_there() || stopped, "the control publisher was closed");
    }
    shared.total.store(number, Ordering::Relaxed);
    while !shared.done.load(Ordering::Relaxed) {
        thread::sleep(STEP);
    }
}

fn watch(peer: &mut Peer, shared: &Shared) {
    let (mut video, mut audio) = (0, 0);
    let mut quiet = Instant::now();
    while video.min(audio) < shared.total.load(Ordering::Relaxed) {
        let Some((_, _, payload)) = peer.next_media(2 * STEP) else {
            let stopped = shared.stop.load(Ordering::Relaxed);
            assert!(!peer.is_closed() || stopped, "the control player was closed at {video}");
            if quiet.elapsed() > SOON || peer.is_closed() {
                break;
            }
            continue;
        };
        quiet = Instant::now();
        match media::read(&payload) {
            Frame::Header => {}
            Frame::Video { number, .. } => {
                assert_eq!(number, video, "a frame of the control stream is missing");
                video += 1;
                shared.seen.store(video, Ordering::Relaxed);
            }
            Frame::Audio(number) => {
                assert_eq!(number, audio, "a sound of the control stream is missing");
                audio += 1;
            }
        }
    }
    assert!(video == audio || shared.done.load(Ordering::Relaxed), "{video} {audio}");
    shared.done.store(true, Ordering::Relaxed);
}
