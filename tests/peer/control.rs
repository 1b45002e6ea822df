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
    stop: Arc<AtomicBool>,
    /// Frames that were published, known when the publisher has ended.
    published: Option<JoinHandle<u32>>,
    played: Option<JoinHandle<(u32, u32)>>,
    seen: Arc<AtomicU32>,
}

impl Control {
    /// The player is there first, so that it has to see every frame.
    pub(crate) fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(AtomicU32::new(0));
        let mut player = Peer::player(address, NAME);
        let mut publisher = Peer::publisher(address, NAME);
        let played = {
            let (stop, seen) = (stop.clone(), seen.clone());
            thread::spawn(move || watch(&mut player, &stop, &seen))
        };
        let published = {
            let stop = stop.clone();
            thread::spawn(move || publish(&mut publisher, &stop))
        };
        let end = Instant::now() + SOON;
        while seen.load(Ordering::Relaxed) < 5 {
            assert!(Instant::now() < end, "the control stream does not start");
            thread::sleep(STEP);
        }
        Self { stop, published: Some(published), played: Some(played), seen }
    }

    /// Frames that its player has seen.
    pub(crate) fn seen(&self) -> u32 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Stops the stream and makes sure that its player had all of it.
    pub(crate) fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let (published, played) = (self.published.take(), self.played.take());
        let published = published.and_then(|thread| thread.join().ok());
        let published = published.expect("the control publisher was left alone");
        let played = played.and_then(|thread| thread.join().ok());
        let (video, audio) = played.expect("the control player had a clean stream");
        assert_eq!((video, audio), (published, published), "frames and sounds that arrived");
    }
}

impl Drop for Control {
    /// A test that failed is not to be followed by complaints of these two.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn publish(peer: &mut Peer, stop: &AtomicBool) -> u32 {
    peer.headers();
    let start = Instant::now();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let time = number * STEP.as_millis() as u32;
        let key = number % GOP == 0;
        let len = if key { 4000 } else { 400 + (number as usize * 37) % 400 };
        peer.message(VIDEO, 1, time, &media::video(key, number, len));
        peer.message(AUDIO, 1, time, &media::audio(number, 90));
        number += 1;
        thread::sleep((start + STEP * number).saturating_duration_since(Instant::now()));
        assert!(peer.is_there() || stop.load(Ordering::Relaxed), "the control publisher was closed");
    }
    // The last frames reach the server before the end of the stream does.
    peer.stays(Duration::from_millis(300));
    number
}

fn watch(peer: &mut Peer, stop: &AtomicBool, seen: &AtomicU32) -> (u32, u32) {
    let (mut video, mut audio) = (0, 0);
    loop {
        let wait = Duration::from_millis(700);
        let Some((_, _, payload)) = peer.next_media(wait) else {
            if stop.load(Ordering::Relaxed) {
                return (video, audio);
            }
            assert!(!peer.is_closed(), "the control player was closed at frame {video}");
            continue;
        };
        match media::read(&payload) {
            Frame::Header => {}
            Frame::Video { number, .. } => {
                assert_eq!(number, video, "a frame of the control stream is missing");
                video += 1;
                seen.store(video, Ordering::Relaxed);
            }
            Frame::Audio(number) => {
                assert_eq!(number, audio, "a sound of the control stream is missing");
                audio += 1;
            }
        }
    }
}
