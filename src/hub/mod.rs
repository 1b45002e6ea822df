//! Who gets which packet. Pure: it stores wakers, nothing else of the runtime.
//!
//! A [`Source`] is a live stream: one ring of packets, and a cursor into it for each player. The
//! [`Publisher`] appends; what it appended becomes visible to players when it flushes, all at
//! once, so that their cursors stay together and one [`images::Images`] serves them all.

mod by_id;
pub mod client;
mod consumer;
mod evict;
mod headers;
pub mod images;
mod key;
mod meter;
pub mod pithy;
pub mod rate;
pub mod ring;
pub mod session;
mod sink;
mod source;
mod stalled;
mod timeline;

pub use by_id::ById;
pub use client::{Caller, Client, ClientKind};
pub use consumer::{Consumer, Sent};
pub use headers::Headers;
pub use key::StreamKey;
pub use sink::{Sink, SinkError};
pub use source::{Measured, Publisher, Source};

use crate::limits::{MAX_STREAMS, MERGE_MS};
use crate::media::arena::Pool;
use crate::media::time::Algorithm;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::{Rc, Weak};

/// What the vhost says of a stream and its players. Read when it is used, so that a reload
/// applies from then on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// New players start at the newest key frame instead of at the live edge.
    pub gop_cache: bool,
    /// How far a player may lag, in milliseconds.
    pub queue_ms: u32,
    /// How players' times are corrected.
    pub jitter: Algorithm,
    /// Source times pass unchanged, headers take the time of the packet after them.
    pub atc: bool,
    /// A bravo_atc of "true" in the metadata switches `atc` on.
    pub atc_auto: bool,
    /// Audio and video are put into the order of their times.
    pub mix_correct: bool,
    /// Identical sequence headers and later metadata do not go to players again.
    pub reduce_headers: bool,
    /// How long packets are gathered before players are woken.
    pub merge: Merge,
    /// How long players wait for a publisher to come back, in milliseconds; 0: they do not.
    pub hold_ms: u32,
}

impl Settings {
    /// How players' times are corrected; with `atc` not at all.
    pub(crate) const fn correction(&self) -> Algorithm {
        if self.atc { Algorithm::Off } else { self.jitter }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gop_cache: true,
            queue_ms: 30_000,
            jitter: Algorithm::Full,
            atc: false,
            atc_auto: true,
            mix_correct: false,
            reduce_headers: false,
            merge: Merge::Every(MERGE_MS),
            hold_ms: 0,
        }
    }
}

/// How far one that passes a stream on may be behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Milliseconds of the stream.
    pub ms: u32,
    /// Bytes in the ring; those that players need count, but are not taken away.
    pub bytes: usize,
}

/// The merge interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Follows the load of the thread, see [`Hub::set_auto_merge`].
    Auto,
    /// Milliseconds; 0 sends every packet alone.
    Every(u32),
}

/// Why a stream could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Somebody else publishes it.
    Busy {
        /// The connection that does.
        publisher: u32,
    },
    /// [`MAX_STREAMS`] are in use.
    TooManyStreams,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { publisher } => write!(f, "stream is busy, published by {publisher}"),
            Self::TooManyStreams => {
                write!(f, "all {MAX_STREAMS} streams of this board are in use (limit max_streams)")
            }
        }
    }
}

/// All streams of a thread.
#[derive(Debug)]
pub struct Hub {
    inner: Rc<Inner>,
    pool: Rc<Pool>,
}

#[derive(Debug, Default)]
struct Inner {
    sources: RefCell<HashMap<StreamKey, Rc<Source>>>,
    next_source: Cell<u32>,
    auto_merge: Cell<u32>,
    /// Bytes kept for players that stopped reading in the middle of a packet.
    stalled: Rc<Cell<usize>>,
}

impl Hub {
    /// A hub whose publishers take their memory from `pool`.
    pub fn new(pool: Rc<Pool>) -> Self {
        Self { inner: Rc::default(), pool }
    }

    /// The media memory.
    pub fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// The right to publish `key`, for connection `id`. With `takeover` the present publisher
    /// loses it: its receivers end, what it still sends goes nowhere.
    pub fn publish(
        &self,
        key: &StreamKey,
        settings: Settings,
        id: u32,
        takeover: bool,
    ) -> Result<Publisher, Refused> {
        let source = self.source(key, settings)?;
        if let Some(publisher) = source.publisher()
            && !takeover
        {
            return Err(Refused::Busy { publisher });
        }
        source.set_settings(settings);
        Ok(Publisher::start(source, id))
    }

    /// A cursor into `key`, whether it is published or not.
    pub fn consume(&self, key: &StreamKey, settings: Settings) -> Result<Consumer, Refused> {
        Ok(Consumer::join(self.source(key, settings)?))
    }

    /// A cursor for passing `key` on to another server. It is no player: nobody counts it, times
    /// stay as they are, and what it could not send is kept for it as far as `lag` says.
    pub fn follow(
        &self,
        key: &StreamKey,
        settings: Settings,
        lag: Lag,
    ) -> Result<Consumer, Refused> {
        Ok(Consumer::follow(self.source(key, settings)?, lag))
    }

    /// The stream `key` if it is published or played.
    pub fn find(&self, key: &StreamKey) -> Option<Rc<Source>> {
        self.inner.sources.borrow().get(key).cloned()
    }

    /// All that is published or played, other forms of streams too.
    pub fn sources(&self) -> Vec<Rc<Source>> {
        self.inner.sources.borrow().values().cloned().collect()
    }

    /// The streams that are published or played, by name: what operators know as streams. Other
    /// forms of them do not count.
    pub fn streams(&self) -> Vec<Rc<Source>> {
        let mut sources = self.sources();
        sources.retain(|source| !source.key().is_derived());
        sources.sort_by_cached_key(|source| source.key().to_string());
        sources
    }

    /// Ends all streams: their receivers finish what they write. For the end of the process, when
    /// not every publisher is a connection that could be told.
    pub fn end(&self) {
        self.sources().iter().for_each(|source| source.end());
    }

    /// To be called now and then: players that waited for a publisher until `now` do not wait any
    /// longer.
    pub fn sweep(&self, now: u64) {
        let sources = self.sources();
        for given_up in sources.iter().filter(|source| source.gives_up(now)) {
            log::info!("nobody published {} again", given_up.key());
            let forms = sources.iter().filter(|s| s.key().is_form_of(given_up.key()));
            forms.for_each(|form| form.wake());
        }
    }

    /// The merge interval of [`Merge::Auto`] streams from now on, in milliseconds.
    pub fn set_auto_merge(&self, ms: u32) {
        self.inner.auto_merge.set(ms);
    }

    /// The merge interval of [`Merge::Auto`] streams, in milliseconds.
    pub fn auto_merge(&self) -> u32 {
        self.inner.auto_merge.get()
    }

    fn source(&self, key: &StreamKey, settings: Settings) -> Result<Rc<Source>, Refused> {
        let mut sources = self.inner.sources.borrow_mut();
        if let Some(source) = sources.get(key) {
            return Ok(source.clone());
        }
        // Other forms of a stream belong to it: there are no more than kinds of them.
        let streams = || sources.keys().filter(|key| !key.is_derived()).count();
        if !key.is_derived() && sources.len() >= MAX_STREAMS && streams() >= MAX_STREAMS {
            return Err(Refused::TooManyStreams);
        }
        let id = self.inner.next_source.get();
        self.inner.next_source.set(id.wrapping_add(1));
        let (owner, stalled) = (Rc::downgrade(&self.inner), self.inner.stalled.clone());
        let source = Rc::new(Source::new(key.clone(), id, settings, owner, stalled));
        sources.insert(key.clone(), source.clone());
        Ok(source)
    }
}

/// What a source needs of its hub.
type Owner = Weak<Inner>;

#[cfg(test)]
mod tests;
