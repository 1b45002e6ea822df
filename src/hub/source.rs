//! A live stream and the right to send into it.

use super::evict::widest;
use super::headers::Headers;
use super::meter::Meter;
use super::ring::{Bounds, Ring, Seq};
use super::stalled::Stalled;
use super::timeline::{End, Rebase};
use super::{Lag, Merge, Owner, Settings, Sink, SinkError, StreamKey};
use crate::limits::MERGE_BYTES;
use crate::media::mix::Mix;
use crate::media::{Kind, Packet, classify};
use bytes::Bytes;
use std::cell::{Cell, Ref, RefCell, RefMut};
use std::fmt;
use std::rc::Rc;
use std::task::Waker;

/// What is to be told of a stream.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Kilobits a second, over the last seconds.
    pub kbps: u32,
    /// Video frames a second.
    pub fps: u32,
    /// When the first packet of the publisher came, by the owner's clock.
    pub since: Option<u64>,
    /// The newest audio packet that is held.
    pub audio: Option<Packet>,
    /// The newest video packet that is held.
    pub video: Option<Packet>,
}

/// A live stream: history, headers, the cursors of its players. It exists while somebody
/// publishes or plays it.
pub struct Source {
    key: StreamKey,
    id: u32,
    owner: Owner,
    state: RefCell<State>,
    /// The receivers of the present publisher. They go when it goes, or when another takes over.
    sinks: RefCell<Vec<Box<dyn Sink>>>,
}

pub(super) struct State {
    pub(super) ring: Ring,
    pub(super) headers: Headers,
    /// Players may send up to here; moves when the publisher flushes.
    pub(super) visible: Seq,
    pub(super) cursors: Vec<Cursor>,
    /// Half-sent packets that left the ring.
    pub(super) stalled: Vec<Stalled>,
    /// Bytes of those of all streams.
    pub(super) stalled_bytes: Rc<Cell<usize>>,
    pub(super) settings: Settings,
    players: usize,
    /// The most that one that passes the stream on may be behind, if there is one.
    pub(super) lag: Option<Lag>,
    publisher: Option<u32>,
    epoch: u32,
    meter: Meter,
    /// The newest time of the stream.
    last: Option<End>,
    /// Nobody publishes, and until then players wait for somebody.
    held: Option<u64>,
}

/// A player's place.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// The packet that it needs next; `None` if it needs none: free or paused.
    pub(super) next: Option<Seq>,
    /// Part of that packet has been sent.
    pub(super) half: bool,
    /// What it may need again, when its connection is made anew.
    pub(super) keep: Option<Seq>,
    /// It passes the stream on to another server, and may lag so far.
    pub(super) lag: Option<Lag>,
    /// Whoever waits for more.
    pub(super) waker: Option<Waker>,
    taken: bool,
}

impl Cursor {
    /// The oldest packet that has to stay for it.
    fn held(&self) -> Option<Seq> {
        self.keep.or(self.next)
    }
}

impl Source {
    /// `stalled` counts the bytes of stalled packets of all streams.
    pub(super) fn new(
        key: StreamKey,
        id: u32,
        settings: Settings,
        owner: Owner,
        stalled: Rc<Cell<usize>>,
    ) -> Self {
        let state = State {
            ring: Ring::new(Bounds::default()),
            headers: Headers::default(),
            visible: 0,
            cursors: Vec::new(),
            stalled: Vec::new(),
            stalled_bytes: stalled,
            settings,
            players: 0,
            lag: None,
            publisher: None,
            epoch: 0,
            meter: Meter::default(),
            last: None,
            held: None,
        };
        Self { key, id, owner, state: RefCell::new(state), sinks: RefCell::default() }
    }

    /// Its address.
    pub fn key(&self) -> &StreamKey {
        &self.key
    }

    /// A number that no other source of the thread has.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The connection that publishes it.
    pub fn publisher(&self) -> Option<u32> {
        self.state.borrow().publisher
    }

    /// Whether somebody publishes it, or is waited for.
    pub fn is_live(&self) -> bool {
        let state = self.state.borrow();
        state.publisher.is_some() || state.held.is_some()
    }

    /// What is to be told of it at `now`.
    pub fn measure(&self, now: u64) -> Measured {
        let state = self.state.borrow();
        let (kbps, fps) = state.meter.rates.unwrap_or_else(|| state.meter.rates(now));
        let newest = |kind| state.ring.newest(kind).cloned();
        let (audio, video) = (newest(Kind::Audio), newest(Kind::Video));
        Measured { kbps, fps, since: state.meter.since, audio, video }
    }

    /// Counts how often somebody began to publish it.
    pub fn epoch(&self) -> u32 {
        self.state.borrow().epoch
    }

    /// How many players it has.
    pub fn players(&self) -> usize {
        self.state.borrow().players
    }

    /// Packets from the newest key frame on, and how many milliseconds they span.
    pub fn gop(&self) -> (u64, i64) {
        let state = self.state.borrow();
        let ring = &state.ring;
        ring.join().map_or((0, 0), |key| (ring.end() - key, ring.age(key)))
    }

    /// Payload bytes and packets in memory.
    pub fn held(&self) -> (usize, usize) {
        let state = self.state.borrow();
        (state.ring.bytes(), state.ring.len())
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.state.borrow().settings
    }

    /// Other settings from now on.
    pub fn set_settings(&self, settings: Settings) {
        self.state.borrow_mut().settings = settings;
    }

    /// The metadata and sequence headers of now.
    pub fn headers(&self) -> Headers {
        self.state.borrow().headers.clone()
    }

    /// Adds a receiver to a live stream. It sees the sequence headers and what is held from the
    /// newest key frame on, then what comes. Returns whether it was taken: somebody publishes, and
    /// it did not fail.
    pub fn attach(&self, mut sink: Box<dyn Sink>) -> bool {
        let taken = {
            let state = self.state.borrow();
            let held = state.ring.join().map(|key| state.ring.from(key));
            let held = held.into_iter().flatten().map(|(_, packet)| packet);
            let mut packets = state.headers.iter().chain(held);
            state.publisher.is_some() && packets.all(|packet| sink.on_packet(packet).is_ok())
        };
        if taken {
            sink.on_flush();
            self.sinks.borrow_mut().push(sink);
        }
        taken
    }

    /// A new player gets this many milliseconds at once, where no key frame says better. For
    /// streams of sound alone.
    pub fn hold(&self, ms: u32) {
        self.state.borrow_mut().ring.hold(ms);
    }

    /// Takes the receivers of the service called `name` away; they finish.
    pub fn detach(&self, name: &str) {
        let gone: Vec<_> = {
            let mut sinks = self.sinks.borrow_mut();
            let (gone, left) =
                std::mem::take(&mut *sinks).into_iter().partition(|sink| sink.service() == name);
            *sinks = left;
            gone
        };
        for mut sink in gone {
            sink.on_flush();
            sink.on_detach();
        }
    }

    /// Ends the stream: its receivers finish, what its publisher still sends goes nowhere.
    pub fn end(&self) {
        self.end_until(None);
    }

    /// The same; until `held` players wait for another publisher.
    fn end_until(&self, held: Option<u64>) {
        self.end_sinks();
        let mut state = self.state.borrow_mut();
        (state.publisher, state.held) = (None, held);
        state.ring.forget_key();
        state.trim();
    }

    /// Whether players have waited long enough at `now`: from then on it is not live.
    pub(super) fn gives_up(&self, now: u64) -> bool {
        let mut state = self.state.borrow_mut();
        let over = state.held.is_some_and(|until| until <= now);
        if over {
            state.held = None;
        }
        over
    }

    /// Has all players look at it.
    pub(super) fn wake(&self) {
        self.state.borrow_mut().wake();
    }

    /// Before anybody else writes what they write.
    fn end_sinks(&self) {
        let sinks = self.sinks.take();
        for mut sink in sinks {
            sink.on_flush();
            sink.on_unpublish();
        }
    }

    pub(super) fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    pub(super) fn peek(&self) -> Ref<'_, State> {
        self.state.borrow()
    }

    /// Leaves the hub when nobody is left.
    fn retire(&self) {
        let state = self.state.borrow();
        if state.players == 0
            && state.publisher.is_none()
            && let Some(owner) = self.owner.upgrade()
        {
            let mut sources = owner.sources.borrow_mut();
            // There may be another one by now: a publisher that was taken over leaves late.
            if sources.get(&self.key).is_some_and(|source| std::ptr::eq(&**source, self)) {
                sources.remove(&self.key);
            }
        }
    }

    pub(super) fn leave(&self, cursor: usize) {
        self.state.borrow_mut().give_back(cursor);
        self.retire();
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("key", &self.key).field("id", &self.id).finish()
    }
}

impl State {
    /// Whether the publisher that began `epoch` is the present one.
    const fn is_of(&self, epoch: u32) -> bool {
        self.epoch == epoch && self.publisher.is_some()
    }

    /// Makes room for one more player, or for one that passes the stream on; gives the number of
    /// its cursor.
    pub(super) fn take(&mut self, lag: Option<Lag>) -> usize {
        self.players += usize::from(lag.is_none());
        self.lag = widest(self.lag.into_iter().chain(lag));
        let taken = Cursor { taken: true, lag, ..Cursor::default() };
        match self.cursors.iter().position(|c| !c.taken) {
            Some(free) => {
                self.cursors[free] = taken;
                free
            }
            None => {
                self.cursors.push(taken);
                self.cursors.len() - 1
            }
        }
    }

    fn give_back(&mut self, cursor: usize) {
        if let Some(cursor) = self.cursors.get_mut(cursor) {
            self.players -= usize::from(cursor.lag.is_none());
            *cursor = Cursor::default();
        }
        if self.lag.is_some() {
            self.lag = widest(self.cursors.iter().filter_map(|cursor| cursor.lag));
        }
        while self.cursors.last().is_some_and(|c| !c.taken) {
            self.cursors.pop();
        }
        self.stalled.retain(|stalled| stalled.cursor != cursor);
        self.release();
    }

    fn wake(&mut self) {
        for cursor in &mut self.cursors {
            if let Some(waker) = cursor.waker.take() {
                waker.wake();
            }
        }
    }

    /// Drops what neither new players nor the present ones need.
    fn trim(&mut self) {
        let slowest = self.cursors.iter().filter_map(Cursor::held).min().unwrap_or(Seq::MAX);
        self.ring.trim(slowest);
    }

    /// Does so when the slowest player went on after the end of the stream: no publisher comes by
    /// to do it. Players are served in the order of their cursors, so the last one is looked at
    /// first.
    pub(super) fn release(&mut self) {
        let first = self.ring.first();
        let needed = |cursor: &Cursor| cursor.held().is_some_and(|held| held <= first);
        if self.publisher.is_none()
            && !self.ring.is_empty()
            && !self.cursors.iter().rev().any(needed)
        {
            self.trim();
        }
    }

    /// Keeps a sequence header or metadata. Returns whether it is new.
    fn keep_header(&mut self, packet: &Packet) -> bool {
        let slot = match packet.kind {
            Kind::Data => &mut self.headers.metadata,
            Kind::Video if packet.header => &mut self.headers.video,
            Kind::Audio if packet.header => &mut self.headers.audio,
            Kind::Audio | Kind::Video => return true,
        };
        let changed = slot.as_ref().is_none_or(|old| old.payload != packet.payload);
        // A copy: a header is kept for as long as the stream, it must not pin a block.
        let payload = Bytes::copy_from_slice(&packet.payload);
        *slot = Some(Packet { payload, ..packet.clone() });
        if changed {
            self.headers.generation += 1;
            if packet.kind == Kind::Video {
                // The cached frames belong to the old header.
                self.ring.forget_key();
            }
        }
        changed
    }
}

/// The part of a merge interval that is left for the writes.
const WRITES_SHARE: u32 = 16;

/// The right to send into a source, one at a time. Dropping it unpublishes.
pub struct Publisher {
    source: Rc<Source>,
    epoch: u32,
    mix: Mix,
    /// Payload bytes that players do not see yet.
    pending: usize,
    /// When the oldest of them came, in milliseconds of the owner's clock.
    pending_since: Option<u64>,
    /// Packets of an unknown codec or frame type, which were left out.
    dropped: u64,
    rebase: Rebase,
    /// See [`hold`](Self::hold).
    held: Option<u64>,
}

impl Publisher {
    /// The receivers of a publisher before it end here: both might write the same files.
    pub(super) fn start(source: Rc<Source>, id: u32) -> Self {
        source.end_sinks();
        let (epoch, rebase) = {
            let mut state = source.state();
            let goes_on = state.publisher.is_some() || state.settings.hold_ms > 0;
            (state.publisher, state.held) = (Some(id), None);
            state.epoch = state.epoch.wrapping_add(1);
            state.meter = Meter::default();
            let generation = state.headers.generation.wrapping_add(1);
            state.headers = Headers { generation, ..Headers::default() };
            state.ring.forget_key();
            (state.epoch, Rebase::new(state.last.filter(|_| goes_on)))
        };
        let (mix, pending, pending_since) = (Mix::default(), 0, None);
        Self { source, epoch, mix, pending, pending_since, dropped: 0, rebase, held: None }
    }

    /// When this publisher leaves, players wait for another one until `until` on the owner's clock.
    pub fn hold(&mut self, until: u64) {
        self.held = Some(until);
    }

    /// The stream.
    pub fn source(&self) -> &Rc<Source> {
        &self.source
    }

    /// Adds a receiver; it sees what comes from now on, until this publisher ends or loses the
    /// stream to another.
    pub fn attach(&mut self, sink: Box<dyn Sink>) {
        if !self.is_stale() {
            self.source.sinks.borrow_mut().push(sink);
        }
    }

    /// Packets left out because their codec or frame type is unknown.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether somebody took the stream over, or ended it.
    pub fn is_stale(&self) -> bool {
        !self.source.peek().is_of(self.epoch)
    }

    /// One packet of the stream, at `now` milliseconds of the owner's clock. Players see it after
    /// the next [`flush`](Self::flush). Fails when a sink's policy is to end the stream.
    pub fn push(&mut self, mut packet: Packet, now: u64) -> Result<(), SinkError> {
        if !classify(packet.kind, &packet.payload).acceptable {
            if self.dropped == 0 {
                log::warn!("drop {} of unknown codec or frame type", packet.kind);
            }
            self.dropped += 1;
            return Ok(());
        }
        let settings = self.source.settings();
        packet.dts = self.rebase.time(&packet, now, settings.atc);
        if !settings.mix_correct {
            self.drain(now)?;
            return self.deliver(packet, now);
        }
        self.mix.push(packet);
        while let Some(packet) = self.mix.due() {
            self.deliver(packet, now)?;
        }
        Ok(())
    }

    /// Metadata: sinks get it as it came, players as the server shows it.
    pub fn push_metadata(
        &mut self,
        received: &Packet,
        mut shown: Packet,
        now: u64,
    ) -> Result<(), SinkError> {
        let atc = self.source.settings().atc;
        shown.dts = self.rebase.time(&shown, now, atc);
        self.feed_sinks(&Packet { dts: shown.dts, ..received.clone() })?;
        self.append(shown, now);
        Ok(())
    }

    /// One packet of another form of a stream, whose payload is no FLV tag body. Its flags count;
    /// it is neither checked nor put into order.
    pub fn push_derived(&mut self, packet: Packet) {
        self.append(packet, 0);
    }

    /// When the packets that players do not see yet are due, in milliseconds of the owner's
    /// clock. `auto` is the interval of streams that follow the load.
    pub fn due(&self, auto: u32) -> Option<u64> {
        let since = self.pending_since?;
        let interval = match self.source.peek().settings.merge {
            Merge::Every(ms) => ms,
            Merge::Auto => auto,
        };
        // The interval is the most that a message may wait: what the writes take is part of it.
        let wait = u64::from(interval - interval / WRITES_SHARE);
        Some(if self.pending >= MERGE_BYTES { since } else { since + wait })
    }

    /// Shows players all that was pushed, and wakes them.
    pub fn flush(&mut self) {
        self.pending = 0;
        self.pending_since = None;
        if !self.is_stale() {
            self.source.sinks.borrow_mut().iter_mut().for_each(|sink| sink.on_flush());
        }
        let mut state = self.source.state();
        state.visible = state.ring.end();
        if !state.settings.gop_cache {
            state.ring.forget_key();
        }
        state.trim();
        state.wake();
    }

    /// Delivers what `mix_correct` still holds back.
    fn drain(&mut self, now: u64) -> Result<(), SinkError> {
        while let Some(packet) = self.mix.pop() {
            self.deliver(packet, now)?;
        }
        Ok(())
    }

    fn deliver(&mut self, packet: Packet, now: u64) -> Result<(), SinkError> {
        self.feed_sinks(&packet)?;
        self.append(packet, now);
        Ok(())
    }

    /// What comes after a takeover is no part of the stream, for sinks as for players.
    fn feed_sinks(&mut self, packet: &Packet) -> Result<(), SinkError> {
        if self.is_stale() {
            return Ok(());
        }
        let mut failed = None;
        self.source.sinks.borrow_mut().retain_mut(|sink| match sink.on_packet(packet) {
            Ok(()) => true,
            Err(SinkError::Finished) => false,
            Err(error) => {
                log::warn!("{} failed, policy {error}", sink.service());
                if error == SinkError::Disconnect {
                    failed = Some(error);
                }
                false
            }
        });
        failed.map_or(Ok(()), Err)
    }

    fn append(&mut self, packet: Packet, now: u64) {
        let mut state = self.source.state();
        if !state.is_of(self.epoch) {
            return;
        }
        let later_metadata = packet.kind == Kind::Data && state.headers.metadata.is_some();
        let new = state.keep_header(&packet);
        if state.settings.reduce_headers && (!new || later_metadata) {
            return;
        }
        state.meter.count(&packet, now);
        state.last = End::newer(state.last, &packet, now);
        self.pending += packet.payload.len();
        self.pending_since.get_or_insert(now);
        if state.ring.push(packet) {
            log::info!("clear gop cache for guess pure audio overflow");
        }
        state.evict();
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // A sink that fails now has nothing left to end.
        let _ = self.drain(0);
        self.flush();
        if !self.is_stale() {
            self.source.end_until(self.held);
        }
        self.source.retire();
    }
}
