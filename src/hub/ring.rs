//! The history of one stream: packets in order, each with a number that never comes again.

use crate::limits;
use crate::media::time::difference;
use crate::media::{Kind, Packet};
use std::collections::VecDeque;

/// The place of a packet in its stream, counted from 0 and never reset.
pub type Seq = u64;

/// What a ring may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Payload bytes.
    pub bytes: usize,
    /// Packets.
    pub packets: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: limits::RING_BYTES, packets: limits::RING_PACKETS }
    }
}

/// A packet that left the ring because of a bound, though somebody may still have needed it.
#[derive(Debug)]
pub struct Evicted {
    /// Its place.
    pub seq: Seq,
    /// What left.
    pub packet: Packet,
}

/// Audio messages after the last video one after which the encoder is taken to have stopped its
/// video (3 s of AAC at 44.1 kHz): a new player is not shown the old picture then.
const AUDIO_AFTER_VIDEO: u32 = 115;
/// Room grows by this many packets at a time, so that a small stream owns few slots.
const GROWTH: usize = 32;

/// The packets of a stream from the newest key frame on, and older ones that a player still has
/// to read.
#[derive(Debug, Default)]
pub struct Ring {
    packets: VecDeque<Packet>,
    first: Seq,
    bytes: usize,
    bounds: Bounds,
    /// The newest key frame.
    key: Option<Seq>,
    audio_after_video: u32,
    /// The time of the newest audio or video packet.
    head: Option<u32>,
    /// Without key frames new players start so many milliseconds ago; 0 for at the end.
    hold: u32,
}

impl Ring {
    /// An empty ring.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// Appends a packet. Returns whether the GOP cache was given up because audio alone goes on.
    pub fn push(&mut self, packet: Packet) -> bool {
        let mut video_stopped = false;
        match packet.kind {
            Kind::Video => {
                self.audio_after_video = 0;
                if packet.key {
                    self.key = Some(self.end());
                }
            }
            Kind::Audio if self.key.is_some() => {
                self.audio_after_video += 1;
                if self.audio_after_video > AUDIO_AFTER_VIDEO {
                    self.key = None;
                    video_stopped = true;
                }
            }
            Kind::Audio | Kind::Data => {}
        }
        if packet.kind != Kind::Data {
            self.head = Some(packet.dts);
        }
        self.bytes += packet.payload.len();
        if self.packets.len() == self.packets.capacity() {
            self.packets.reserve_exact(GROWTH);
        }
        self.packets.push_back(packet);
        if self.hold > 0 {
            let mut start = self.key.unwrap_or(self.first).max(self.first);
            while start + 1 < self.end() && self.age(start) > i64::from(self.hold) {
                start += 1;
            }
            self.key = Some(start);
            return false;
        }
        video_stopped
    }

    /// Keeps `ms` milliseconds for new players, of a stream that has no key frames.
    pub fn hold(&mut self, ms: u32) {
        self.hold = ms;
    }

    /// Drops what neither a new player nor the slowest of the present ones needs: all before the
    /// newest key frame and before `slowest`.
    pub fn trim(&mut self, slowest: Seq) {
        let keep = self.key.map_or(slowest, |key| key.min(slowest));
        while self.first < keep && self.pop().is_some() {}
    }

    /// The next packet that has to leave, needed or not: the ring is over its bounds, or the
    /// packet is older than `queue_length` milliseconds and not part of the GOP cache.
    pub fn evict(&mut self, queue_length: u32) -> Option<Evicted> {
        let over = self.bytes > self.bounds.bytes || self.packets.len() > self.bounds.packets;
        let cached = self.key.is_some_and(|key| key <= self.first);
        if over || !cached && self.age(self.first) > i64::from(queue_length) {
            return self.evict_first();
        }
        None
    }

    /// Takes the oldest packet out.
    pub fn evict_first(&mut self) -> Option<Evicted> {
        let seq = self.first;
        self.pop().map(|packet| Evicted { seq, packet })
    }

    /// Forgets the key frame: the next new player waits for another.
    pub fn forget_key(&mut self) {
        self.key = None;
        self.audio_after_video = 0;
    }

    /// Where a new player starts: the newest key frame that is still held, or `None`.
    pub fn join(&self) -> Option<Seq> {
        self.key
    }

    /// The packet at `seq`, or `None` if it left or is yet to come.
    pub fn get(&self, seq: Seq) -> Option<&Packet> {
        let index = seq.checked_sub(self.first)?;
        self.packets.get(usize::try_from(index).ok()?)
    }

    /// The packets from `seq` to the end, with their places.
    pub fn from(&self, seq: Seq) -> impl Iterator<Item = (Seq, &Packet)> {
        let skip = usize::try_from(seq.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let skip = skip.min(self.packets.len());
        (self.first + skip as u64..).zip(self.packets.range(skip..))
    }

    /// The newest packet of `kind` that is held.
    pub fn newest(&self, kind: Kind) -> Option<&Packet> {
        self.packets.iter().rev().find(|packet| packet.kind == kind)
    }

    /// The place of the oldest packet.
    pub fn first(&self) -> Seq {
        self.first
    }

    /// The place that the next packet will have.
    pub fn end(&self) -> Seq {
        self.first + self.packets.len() as u64
    }

    /// How far, in milliseconds, the packet at `seq` is behind the newest; 0 if it is not there.
    pub fn age(&self, seq: Seq) -> i64 {
        match (self.head, self.get(seq)) {
            (Some(head), Some(packet)) if packet.kind != Kind::Data => {
                i64::from(difference(head, packet.dts))
            }
            _ => 0,
        }
    }

    /// Payload bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Packets held.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    fn pop(&mut self) -> Option<Packet> {
        let packet = self.packets.pop_front()?;
        if self.key == Some(self.first) {
            self.key = None;
        }
        self.first += 1;
        self.bytes -= packet.payload.len();
        if self.packets.is_empty() && self.packets.capacity() > 4 * GROWTH {
            self.packets.shrink_to(GROWTH);
        }
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const KEY: &[u8] = b"\x17\x01key";
    const INTER: &[u8] = b"\x27\x01int";
    const SOUND: &[u8] = b"\xaf\x01snd";

    fn push(ring: &mut Ring, kind: Kind, bytes: &'static [u8], dts: u32) -> bool {
        ring.push(Packet::new(kind, dts, Bytes::from_static(bytes)))
    }

    #[test]
    fn a_new_player_starts_at_the_newest_key_frame() {
        let mut ring = Ring::new(Bounds::default());
        assert_eq!(ring.join(), None);
        push(&mut ring, Kind::Video, INTER, 0);
        assert_eq!(ring.join(), None, "not at an inter frame");
        push(&mut ring, Kind::Video, KEY, 40);
        push(&mut ring, Kind::Video, INTER, 80);
        assert_eq!(ring.join(), Some(1));
        push(&mut ring, Kind::Video, KEY, 120);
        assert_eq!(ring.join(), Some(3));
        ring.trim(Seq::MAX);
        assert_eq!((ring.first(), ring.len()), (3, 1), "without players only the GOP stays");
    }

    #[test]
    fn what_the_slowest_player_needs_stays() {
        let mut ring = Ring::new(Bounds::default());
        for i in 0..10 {
            push(&mut ring, Kind::Video, KEY, i * 40);
        }
        ring.trim(4);
        assert_eq!(ring.first(), 4);
        assert!(ring.evict(30_000).is_none(), "nothing is over a bound");
        assert_eq!(ring.evict(100).map(|e| e.seq), Some(4), "older than the queue");
    }

    #[test]
    fn the_bounds_hold_at_and_over_the_number() {
        let bounds = Bounds { bytes: 50, packets: 100 };
        let mut ring = Ring::new(bounds);
        push(&mut ring, Kind::Video, KEY, 0);
        for i in 1..10 {
            push(&mut ring, Kind::Video, INTER, i * 40);
        }
        assert!(ring.evict(30_000).is_none(), "50 bytes are allowed");
        push(&mut ring, Kind::Video, INTER, 400);
        assert_eq!(ring.evict(30_000).map(|e| e.seq), Some(0), "55 are not");
        assert_eq!(ring.join(), None, "the key frame is gone with its packet");
        let mut ring = Ring::new(Bounds { bytes: 5000, packets: 3 });
        for i in 0..4 {
            push(&mut ring, Kind::Video, INTER, i * 40);
        }
        assert!(ring.evict(30_000).is_some() && ring.evict(30_000).is_none());
    }

    #[test]
    fn a_gop_longer_than_the_queue_stays_cached() {
        let mut ring = Ring::new(Bounds::default());
        push(&mut ring, Kind::Video, KEY, 0);
        for i in 1..1000 {
            push(&mut ring, Kind::Video, INTER, i * 40);
        }
        ring.trim(Seq::MAX);
        assert!(ring.evict(10_000).is_none());
        assert_eq!(ring.join(), Some(0));
    }

    #[test]
    fn audio_alone_for_116_messages_ends_the_gop_cache() {
        let mut ring = Ring::new(Bounds::default());
        push(&mut ring, Kind::Video, KEY, 0);
        for i in 0..115 {
            assert!(!push(&mut ring, Kind::Audio, SOUND, i * 23));
        }
        assert_eq!(ring.join(), Some(0));
        assert!(push(&mut ring, Kind::Audio, SOUND, 115 * 23));
        assert_eq!(ring.join(), None);
        ring.trim(Seq::MAX);
        assert!(ring.is_empty());
    }

    #[test]
    fn ten_thousand_random_steps_keep_the_invariants() {
        let mut random = fastrand::Rng::with_seed(7);
        let bounds = Bounds { bytes: 400, packets: 60 };
        let mut ring = Ring::new(bounds);
        let mut cursor = 0;
        let mut dts = crate::media::time::MASK - 100_000;
        for _ in 0..10_000 {
            dts = (dts + random.u32(0..60)) & crate::media::time::MASK;
            match random.u8(0..10) {
                0 => push(&mut ring, Kind::Video, KEY, dts),
                1..5 => push(&mut ring, Kind::Video, INTER, dts),
                _ => push(&mut ring, Kind::Audio, SOUND, dts),
            };
            if random.u8(0..3) > 0 {
                let step = random.u64(0..4);
                cursor = (cursor + step).max(ring.first()).min(ring.end());
            }
            ring.trim(cursor);
            while let Some(evicted) = ring.evict(1000) {
                assert_eq!(evicted.seq + 1, ring.first());
            }
            assert!(ring.bytes() <= bounds.bytes && ring.len() <= bounds.packets);
            assert_eq!(ring.from(0).map(|(_, p)| p.payload.len()).sum::<usize>(), ring.bytes());
            if let Some(seq) = ring.join() {
                assert!(ring.get(seq).is_some_and(|p| p.key), "a player joins at a key frame");
            }
            assert!(ring.from(cursor).all(|(seq, p)| ring.get(seq) == Some(p)));
        }
    }
}
