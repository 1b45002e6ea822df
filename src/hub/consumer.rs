//! A player's side of a source: a cursor, and what of its packet has been sent.

use super::Lag;
use super::images::Images;
use super::ring::Seq;
use super::source::{Source, State};
use super::stalled::Stalled;
use crate::limits::KEY_WAIT_MS;
use crate::media::time::{Algorithm, Jitter, difference};
use crate::media::{Kind, Packet};
use crate::proto::framing::{Framing, Image};
use std::rc::Rc;
use std::task::{Context, Poll};

/// What [`Consumer::send`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Some was sent, and there may be more.
    Some {
        /// Bytes on the wire.
        bytes: usize,
        /// Packets that were sent to their end.
        packets: usize,
    },
    /// Nothing is due.
    CaughtUp,
    /// The writer took nothing.
    Blocked,
    /// The rest of a half-sent packet is lost: it left the ring, and the room for such packets
    /// was used up. The connection cannot go on.
    Lost,
}

/// A cursor into a source. It owns no media: what it sends stays in the ring.
#[derive(Debug)]
pub struct Consumer {
    source: Rc<Source>,
    cursor: usize,
    next: Seq,
    /// Bytes of the packet at `next` that were sent.
    offset: usize,
    /// What was not sent of metadata and sequence headers; empty but for moments.
    rest: Vec<u8>,
    jitter: Jitter,
    /// The headers that the player has; `None`: none yet, or not those of the packet at `next`.
    generation: Option<u32>,
    wait_key: bool,
    /// The source's time of the first video packet that was left out for want of a key frame.
    waiting_since: Option<u32>,
    paused: bool,
    /// One packet a write.
    alone: bool,
    skipped: u64,
    /// It passes the stream on.
    lag: Option<Lag>,
    /// The key frame that the packet at `next` depends on, of one that passes the stream on.
    gop: Option<Seq>,
    /// The source's time of the last packet sent, and milliseconds of the stream sent so far.
    last_dts: Option<u32>,
    played: u32,
}

impl Consumer {
    pub(super) fn join(source: Rc<Source>) -> Self {
        let algorithm = source.state().settings.correction();
        Self::new(source, algorithm, None)
    }

    pub(super) fn follow(source: Rc<Source>, lag: Lag) -> Self {
        Self::new(source, Algorithm::Off, Some(lag))
    }

    fn new(source: Rc<Source>, algorithm: Algorithm, lag: Option<Lag>) -> Self {
        let cursor = source.state().take(lag);
        let jitter = Jitter::new(algorithm);
        let mut consumer = Self {
            source,
            cursor,
            next: 0,
            offset: 0,
            rest: Vec::new(),
            jitter,
            generation: None,
            wait_key: false,
            waiting_since: None,
            paused: false,
            alone: false,
            skipped: 0,
            lag,
            gop: None,
            last_dts: None,
            played: 0,
        };
        consumer.start();
        consumer
    }

    /// The stream.
    pub fn source(&self) -> &Rc<Source> {
        &self.source
    }

    /// Packets that it was too slow for.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Milliseconds of the stream that were sent.
    pub fn played(&self) -> u32 {
        self.played
    }

    /// Whether all that is visible was sent.
    pub fn is_caught_up(&self) -> bool {
        self.at_boundary() && self.next >= self.source.peek().visible
    }

    /// Whether the last packet was sent to its end, so that other messages may follow.
    pub fn at_boundary(&self) -> bool {
        self.offset == 0 && self.rest.is_empty()
    }

    /// Stops sending, or goes on: where it stopped when that is behind the newest key frame, else
    /// at that. Packets are not kept for it meanwhile.
    pub fn pause(&mut self, pause: bool) {
        if self.paused && !pause && self.at_boundary() {
            self.start();
        }
        self.paused = pause;
        self.note_place(&mut self.source.clone().state());
    }

    /// The connection was made anew, of one that passes the stream on: it begins with the headers,
    /// then the key frame that the next packet depends on if it is still there, else the oldest one
    /// behind it. What is left out counts as [`skipped`](Self::skipped).
    pub fn rejoin(&mut self) {
        (self.offset, self.rest) = (0, Vec::new());
        let source = self.source.clone();
        let state = &mut *source.state();
        state.stalled.retain(|stalled| stalled.cursor != self.cursor);
        self.resume(state);
        let none_yet = state.headers.iter().next().is_none();
        self.generation = none_yet.then_some(state.headers.generation);
        self.note_place(state);
    }

    /// Milliseconds of the stream that are still to be sent.
    pub fn behind(&self) -> i64 {
        let state = self.source.peek();
        state.ring.age(self.next.max(state.ring.first()))
    }

    /// Whether from now on each write has one packet.
    pub fn send_alone(&mut self, alone: bool) {
        self.alone = alone;
    }

    /// Ready when [`send`](Self::send) has something to do.
    pub fn poll_ready(&mut self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.source.state();
        let idle = self.paused || self.next >= state.visible;
        if self.at_boundary() && idle {
            if let Some(cursor) = state.cursors.get_mut(self.cursor)
                && cursor.waker.as_ref().is_none_or(|w| !w.will_wake(cx.waker()))
            {
                cursor.waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Sends what is due, at most one image, by one call of `write`, which returns how many bytes
    /// it took; 0 means that it would block.
    pub fn send<F: Framing, E>(
        &mut self,
        framing: &F,
        images: &mut Images,
        write: impl FnOnce(&[u8]) -> Result<usize, E>,
    ) -> Result<Sent, E> {
        if !self.rest.is_empty() {
            return self.send_rest(write);
        }
        let source = self.source.clone();
        let state = &mut *source.state();
        let sent = if self.offset > 0 && self.next < state.ring.first() {
            self.send_stalled(state, framing, images, write)?
        } else {
            if self.offset == 0 {
                if self.paused {
                    return Ok(Sent::CaughtUp);
                }
                if self.lag.is_none() {
                    // Metadata may have switched it since the player came.
                    self.jitter.set_algorithm(state.settings.correction());
                }
                self.keep_up(state);
                self.skip_to_key(state);
                if let Some(next) = self.headers_due(state) {
                    let time = self.jitter.now(next);
                    let wide = framing.wide(time);
                    let image = images.own(state.headers.iter(), framing, wide);
                    let bytes = image.stamp(framing, wide, |_| time);
                    return self.send_headers(bytes, write);
                }
            }
            let to = self.run_end(state);
            if self.next >= to {
                self.note_place(state);
                return Ok(Sent::CaughtUp);
            }
            let wide = self.is_wide(state.ring.get(self.next), framing);
            let run = (source.id(), &state.ring);
            let from = self.next;
            let image = images.run(run, (from, to), framing, wide);
            let sent = self.send_image(image, framing, wide, write)?;
            if self.lag.is_some() {
                let sent = state.ring.from(from).take_while(|&(seq, _)| seq < self.next);
                let key = sent.filter(|(_, packet)| packet.key).last();
                self.gop = key.map(|(seq, _)| seq).or(self.gop);
            }
            sent
        };
        self.note_place(state);
        Ok(sent)
    }

    /// Where a new player, or one that lost its place, begins.
    fn start(&mut self) {
        let source = self.source.clone();
        let state = &mut *source.state();
        self.go(state);
        self.note_place(state);
    }

    fn go(&mut self, state: &State) {
        let join = state.ring.join().filter(|_| state.settings.gop_cache);
        // After a short pause it is behind that key frame, and sees nothing twice.
        self.next = join.map_or(state.visible, |key| key.max(self.next));
        self.wait_key = join.is_none();
        self.waiting_since = None;
        // Who is there before the stream gets its headers from the ring.
        let none_yet = state.headers.iter().next().is_none();
        if none_yet {
            self.generation = Some(state.headers.generation);
        } else if self.generation != Some(state.headers.generation) {
            self.generation = None;
        }
    }

    /// A player that lags too far goes to the newest key frame.
    fn keep_up(&mut self, state: &State) {
        let lapped = self.next < state.ring.first();
        if let Some(lag) = self.lag {
            if lapped || state.ring.age(self.next) > i64::from(lag.ms) {
                let before = self.skipped;
                self.resume(state);
                let skipped = self.skipped - before;
                log::warn!("the other server is too slow, skipped {skipped} packets");
            }
            return;
        }
        let late = state.ring.age(self.next) > i64::from(state.settings.queue_ms);
        let better = state.ring.join().is_some_and(|key| key > self.next);
        if lapped || late && better {
            let from = self.next;
            self.go(state);
            let skipped = self.next.saturating_sub(from);
            self.skipped += skipped;
            log::info!("shrink the cache queue, skipped {skipped} packets, player is too slow");
        }
    }

    /// Goes to the oldest key frame that can still be sent, from that of the present packet on.
    fn resume(&mut self, state: &State) {
        let (ring, from) = (&state.ring, self.next);
        let start = self.gop.filter(|&key| key >= ring.first()).unwrap_or(from).max(ring.first());
        let held = || ring.from(start).take_while(|&(seq, _)| seq < state.visible);
        // Frames in front of a header that changed cannot be decoded with the new one.
        let changed = self.generation.is_some_and(|known| known != state.headers.generation);
        let header = held().filter(|(_, p)| p.kind == Kind::Video && p.header).last();
        let first = header.filter(|_| changed).map_or(start, |(seq, _)| seq);
        let video = state.headers.video.is_some() || held().any(|(_, p)| p.kind == Kind::Video);
        let most = self.lag.map_or(i64::MAX, |lag| lag.ms.into());
        let found = held()
            .find(|&(seq, packet)| seq >= first && (packet.key || !video) && ring.age(seq) <= most);
        self.next = found.map_or(state.visible, |(seq, _)| seq);
        self.wait_key = video && found.is_none();
        self.waiting_since = None;
        self.gop = None;
        // Headers are sent again with what follows.
        let gone = ring.first().min(self.next).saturating_sub(from);
        let left = ring.from(from.max(ring.first())).take_while(|&(seq, _)| seq < self.next);
        let frames = left.filter(|(_, p)| !p.header && p.kind != Kind::Data).count();
        self.skipped = self.skipped.saturating_add(gone).saturating_add(frames as u64);
    }

    /// The headers that the player lacks, and the time of the packet that follows them.
    fn headers_due(&mut self, state: &State) -> Option<u32> {
        if self.generation.is_some() || self.next >= state.visible {
            return None;
        }
        self.generation = Some(state.headers.generation);
        // There may be none: the next publisher has not sent its own yet.
        state.headers.iter().next()?;
        state.ring.get(self.next).map(|first| first.dts)
    }

    /// Leaves out video until a key frame comes.
    fn skip_to_key(&mut self, state: &State) {
        while self.wait_key && self.next < state.visible {
            let Some(packet) = state.ring.get(self.next) else { return };
            if packet.kind != Kind::Video || packet.header {
                return;
            }
            let since = *self.waiting_since.get_or_insert(packet.dts);
            if packet.key || difference(packet.dts, since) > KEY_WAIT_MS {
                self.wait_key = false;
                return;
            }
            self.next += 1;
        }
    }

    /// The end of the run that may be sent: what is visible, or the next video packet that may
    /// have to be left out.
    fn run_end(&self, state: &State) -> Seq {
        if self.alone || self.offset > 0 && self.paused {
            return state.visible.min(self.next + 1);
        }
        if !self.wait_key || self.offset > 0 {
            return state.visible;
        }
        let video = |&(_, p): &(Seq, &Packet)| p.kind == Kind::Video && !p.header;
        state
            .ring
            .from(self.next)
            .find(video)
            .map_or(state.visible, |(seq, _)| seq)
            .min(state.visible)
    }

    fn is_wide<F: Framing>(&self, packet: Option<&Packet>, framing: &F) -> bool {
        let mut jitter = self.jitter;
        packet.is_some_and(|p| framing.wide(jitter.correct(p.kind, p.dts)))
    }

    fn send_image<F: Framing, E>(
        &mut self,
        image: &mut Image,
        framing: &F,
        wide: bool,
        write: impl FnOnce(&[u8]) -> Result<usize, E>,
    ) -> Result<Sent, E> {
        let mut jitter = self.jitter;
        let bytes = image.stamp(framing, wide, |span| jitter.correct(span.kind, span.dts));
        let taken = write(bytes.get(self.offset..).unwrap_or_default())?;
        if taken == 0 {
            return Ok(Sent::Blocked);
        }
        let end = self.offset + taken;
        self.offset = 0;
        let mut packets = 0;
        for span in image.spans() {
            if span.end > end {
                self.offset = end.saturating_sub(span.start);
                break;
            }
            self.jitter.correct(span.kind, span.dts);
            if span.kind != Kind::Data {
                let step = self.last_dts.map_or(0, |last| difference(span.dts, last));
                self.played = self.played.saturating_add_signed(step);
                self.last_dts = Some(span.dts);
            }
            self.next = span.seq + 1;
            packets += 1;
        }
        Ok(Sent::Some { bytes: taken, packets })
    }

    /// Metadata and sequence headers. What the writer does not take is copied, for they stand in
    /// no ring.
    fn send_headers<E>(
        &mut self,
        bytes: &[u8],
        write: impl FnOnce(&[u8]) -> Result<usize, E>,
    ) -> Result<Sent, E> {
        let taken = write(bytes)?;
        self.rest = bytes.get(taken..).unwrap_or_default().to_vec();
        Ok(if taken == 0 { Sent::Blocked } else { Sent::Some { bytes: taken, packets: 0 } })
    }

    fn send_rest<E>(&mut self, write: impl FnOnce(&[u8]) -> Result<usize, E>) -> Result<Sent, E> {
        let taken = write(&self.rest)?;
        if taken == 0 {
            return Ok(Sent::Blocked);
        }
        if taken >= self.rest.len() {
            self.rest = Vec::new();
        } else {
            self.rest.drain(..taken);
        }
        Ok(Sent::Some { bytes: taken, packets: 0 })
    }

    /// The rest of a packet that has left the ring.
    fn send_stalled<F: Framing, E>(
        &mut self,
        state: &mut State,
        framing: &F,
        images: &mut Images,
        write: impl FnOnce(&[u8]) -> Result<usize, E>,
    ) -> Result<Sent, E> {
        let mine = |stalled: &Stalled| stalled.cursor == self.cursor;
        let Some(at) = state.stalled.iter().position(mine) else {
            return Ok(Sent::Lost);
        };
        let packet = &state.stalled[at].copy.packet;
        let next = self.next;
        let wide = self.is_wide(Some(packet), framing);
        let image = images.own(std::iter::once(packet), framing, wide);
        let sent = self.send_image(image, framing, wide, write)?;
        if self.offset == 0 && sent != Sent::Blocked {
            state.stalled.swap_remove(at);
            self.next = next + 1;
        } else {
            self.next = next;
        }
        Ok(sent)
    }

    /// Tells the source which packet must stay for this player.
    fn note_place(&self, state: &mut State) {
        if let Some(cursor) = state.cursors.get_mut(self.cursor) {
            cursor.half = self.offset > 0;
            cursor.next = (cursor.half || !self.paused).then_some(self.next);
            cursor.keep = self.lag.map(|_| self.gop.map_or(self.next, |key| key.min(self.next)));
        }
        state.release();
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.source.leave(self.cursor);
    }
}
