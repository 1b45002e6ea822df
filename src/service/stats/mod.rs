//! What is counted of the process, its vhosts, streams and clients, for everybody who tells it: the
//! API, `/metrics`, the page at `/`, the heartbeat.
//!
//! A stream is known from its first client or publisher on, and stays known when it is idle, until
//! [`STREAMS_KNOWN`] others are there. Its numbers begin again when it was forgotten. Bytes are
//! those of connections, protocol headers included; of a publisher that is no connection, those of
//! its packets.

mod shape;
mod summary;

pub use shape::{Audio, Shape, Video};
pub use summary::summaries;

use crate::config::Config;
use crate::context::Context;
use crate::hub::rate::{Rate, Window};
use crate::hub::session::Session;
use crate::hub::{ById, Client, Sink, SinkError, StreamKey};
use crate::io::proc::{self, Figures};
use crate::io::{clock, run};
use crate::limits::{MAX_STREAMS, STREAMS_KNOWN};
use crate::media::{Kind, Packet};
use crate::service::Service;
use crate::service::admission::Event;
use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// Counts, and takes a sample every 3 seconds.
pub const SERVICE: Service = Service {
    attach: |cx, key, _| Some(Box::new(Counter::new(cx, key))),
    tell,
    reload: |cx, old| {
        if cx.config().stats.disk != old.stats.disk {
            of(cx).look_at(&cx.config());
        }
    },
    start,
    ..Service::new("_stats")
};

/// Between two samples of rates and of the system.
const EVERY: Duration = Duration::from_secs(3);
/// The connections are not looked at more often than this, in milliseconds: there may be many.
const LOOK_MS: u64 = 200;

/// The statistics of the process.
pub fn of(cx: &Context) -> Rc<Stats> {
    cx.part::<Stats>()
}

fn start(cx: &Rc<Context>) {
    let stats = of(cx);
    stats.look_at(&cx.config());
    let cx = cx.clone();
    cx.clone().spawner.spawn(async move {
        // The first rates are there soon.
        let mut pause = Duration::from_secs(1);
        loop {
            stats.sample(&cx);
            run::sleep(std::mem::replace(&mut pause, EVERY)).await;
        }
    });
}

fn tell(cx: &Rc<Context>, event: &Event<'_>) {
    let stats = of(cx);
    match event {
        Event::Unpublished(client) | Event::Stopped(client) => {
            if let Some(session) = cx.sessions.find(client.id) {
                stats.book.borrow_mut().account(client, session.traffic());
            }
        }
        Event::Closed { client, received, sent } => {
            let mut book = stats.book.borrow_mut();
            book.account(client, (*received, *sent));
            book.counted.remove(client.id);
        }
        _ => {}
    }
}

/// See [`of`].
#[derive(Debug)]
pub struct Stats {
    book: RefCell<Book>,
    system: RefCell<proc::Stats>,
    looked: Cell<Option<u64>>,
}

impl Default for Stats {
    fn default() -> Self {
        let server = run::process_id();
        let book = Book {
            server,
            last_id: server,
            process: Traffic::new(),
            vhosts: Vec::new(),
            streams: HashMap::new(),
            counted: ById::default(),
        };
        Self { book: RefCell::new(book), system: RefCell::default(), looked: Cell::new(None) }
    }
}

/// What is known of a vhost.
#[derive(Clone, Debug)]
pub struct VhostRow {
    /// Never that of another vhost or stream.
    pub id: u32,
    /// The name of its block.
    pub name: String,
    /// Connections that publish or play.
    pub clients: u32,
    /// Its streams that are known.
    pub streams: u32,
    /// Its traffic.
    pub bytes: Bytes,
}

/// What is known of a stream.
#[derive(Clone, Debug)]
pub struct StreamRow {
    /// Never that of another vhost or stream.
    pub id: u32,
    /// Its vhost.
    pub vhost: u32,
    /// Its name.
    pub key: StreamKey,
    /// Connections that publish or play it.
    pub clients: u32,
    /// Those that play it.
    pub players: usize,
    /// Video messages since it is known.
    pub frames: u64,
    /// Its traffic.
    pub bytes: Bytes,
    /// Somebody publishes it.
    pub active: bool,
    /// The connection that publishes it, or was the last one to do so.
    pub publisher: u32,
    /// What is published.
    pub shape: Shape,
    /// Kbit/s and pictures a second that come in now.
    pub rate: (u32, u32),
    /// Milliseconds since the first packet of its publisher.
    pub age_ms: u64,
}

/// The spans of time that rates are told for, with their names in the API.
pub const WINDOWS: [(Window, &str, &str); 4] = [
    (Window::HalfMinute, "recv_30s", "send_30s"),
    (Window::Minute, "recv_1m", "send_1m"),
    (Window::FiveMinutes, "recv_5m", "send_5m"),
    (Window::Hour, "recv_60m", "send_60m"),
];

/// Traffic as it is told.
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    /// Since it is known.
    pub received: u64,
    /// Since it is known.
    pub sent: u64,
    /// Kbit/s, received and sent, over each of [`WINDOWS`].
    pub kbps: [(u32, u32); WINDOWS.len()],
}

impl Stats {
    /// The number of this server, from which those of vhosts and streams go on.
    pub fn server(&self) -> u32 {
        self.book.borrow().server
    }

    /// The traffic of all that publish and play.
    pub fn process(&self, cx: &Context) -> Bytes {
        self.look(cx);
        self.book.borrow().process.bytes()
    }

    /// What the last sample of the system found.
    pub fn system(&self) -> Ref<'_, Figures> {
        Ref::map(self.system.borrow(), proc::Stats::figures)
    }

    /// The vhosts that are known, by id.
    pub fn vhosts(&self, cx: &Context) -> Vec<VhostRow> {
        self.look(cx);
        let book = self.book.borrow();
        let mut rows: Vec<VhostRow> = book
            .vhosts
            .iter()
            .map(|vhost| VhostRow {
                id: vhost.id,
                name: vhost.name.clone(),
                clients: vhost.clients,
                streams: 0,
                bytes: vhost.traffic.bytes(),
            })
            .collect();
        rows.sort_by_key(|row| row.id);
        for stream in book.streams.values() {
            if let Ok(at) = rows.binary_search_by_key(&stream.vhost, |row| row.id)
                && let Some(row) = rows.get_mut(at)
            {
                row.streams += 1;
            }
        }
        rows
    }

    /// How many streams are known.
    pub fn streams_known(&self, cx: &Context) -> usize {
        self.look(cx);
        self.book.borrow().streams.len()
    }

    /// The `count` streams from the `start`th on, by id.
    pub fn streams(&self, cx: &Context, start: usize, count: usize) -> Vec<StreamRow> {
        self.look(cx);
        let book = self.book.borrow();
        let mut all: Vec<_> = book.streams.iter().collect();
        all.sort_unstable_by_key(|(_, stream)| stream.id);
        all.into_iter().skip(start).take(count).map(|(key, s)| s.row(cx, key)).collect()
    }

    /// The `count` streams that matter most: those that are published, then the others, by id. Also
    /// how many are published, and how many were left out.
    pub fn liveliest(&self, cx: &Context, count: usize) -> (Vec<StreamRow>, usize, usize) {
        self.look(cx);
        let book = self.book.borrow();
        let is_live = |key| cx.hub.find(key).is_some_and(|source| source.publisher().is_some());
        let mut all: Vec<_> = book
            .streams
            .iter()
            .map(|(key, stream)| (!is_live(key), stream.id, key, stream))
            .collect();
        all.sort_unstable_by_key(|(idle, id, ..)| (*idle, *id));
        let live = all.iter().filter(|(idle, ..)| !idle).count();
        let left_out = all.len().saturating_sub(count);
        let rows = all.into_iter().take(count).map(|(_, _, key, stream)| stream.row(cx, key));
        (rows.collect(), live, left_out)
    }

    /// The stream called `id`.
    pub fn stream(&self, cx: &Context, id: u32) -> Option<StreamRow> {
        self.look(cx);
        let book = self.book.borrow();
        book.streams.iter().find(|(_, s)| s.id == id).map(|(key, s)| s.row(cx, key))
    }

    /// The stream `key`.
    pub fn stream_of(&self, cx: &Context, key: &StreamKey) -> Option<StreamRow> {
        self.look(cx);
        self.book.borrow().streams.get(key).map(|stream| stream.row(cx, key))
    }

    /// The ids of the vhost and of the stream of `client`.
    pub fn ids(&self, client: &Client) -> (u32, u32) {
        let mut book = self.book.borrow_mut();
        let vhost = book.vhost(client.key.vhost()).id;
        (vhost, book.stream(&client.key).id)
    }

    /// The id of the vhost block `name`; `None` when it is not known.
    pub fn vhost_id(&self, name: &str) -> Option<u32> {
        self.book.borrow().vhosts.iter().find(|vhost| vhost.name == name).map(|vhost| vhost.id)
    }

    fn look_at(&self, config: &Config) {
        *self.system.borrow_mut() = proc::Stats::new(&config.stats.disk);
    }

    fn sample(&self, cx: &Context) {
        self.looked.set(None);
        self.look(cx);
        self.book.borrow_mut().sample();
        self.system.borrow_mut().sample();
    }

    /// Counts what connections did since the last time.
    fn look(&self, cx: &Context) {
        let now = clock::now();
        if self.looked.get().is_some_and(|at| now < at + LOOK_MS) {
            return;
        }
        self.looked.set(Some(now));
        let book = &mut *self.book.borrow_mut();
        book.vhosts.iter_mut().for_each(|vhost| vhost.clients = 0);
        book.streams.values_mut().for_each(|stream| stream.clients = 0);
        for session in cx.sessions.all() {
            let Some(client) = named(&session) else { continue };
            book.account(&client, session.traffic());
            book.vhost(client.key.vhost()).clients += 1;
            book.stream(&client.key).clients += 1;
        }
        for source in cx.hub.streams() {
            if let Some(id) = source.publisher() {
                book.stream(source.key()).publisher = id;
            }
        }
        book.forget(cx, now);
    }
}

/// The client of a connection, once it named a stream.
pub fn named(session: &Session) -> Option<Rc<Client>> {
    session.client().filter(|client| !client.key.stream().is_empty())
}

/// All that is kept.
#[derive(Debug)]
struct Book {
    server: u32,
    last_id: u32,
    process: Traffic,
    /// Few.
    vhosts: Vec<Vhost>,
    streams: HashMap<StreamKey, Stream>,
    /// What is counted already of the bytes of each connection.
    counted: ById<(u64, u64)>,
}

#[derive(Debug)]
struct Vhost {
    name: String,
    id: u32,
    traffic: Traffic,
    clients: u32,
}

#[derive(Debug)]
struct Stream {
    id: u32,
    vhost: u32,
    traffic: Traffic,
    clients: u32,
    publisher: u32,
    counts: Rc<Counts>,
    /// When it was live or had clients, the last time.
    used: u64,
}

/// What the publishers of a stream sent.
#[derive(Debug, Default)]
struct Counts {
    frames: Cell<u64>,
    /// Of those that are no connection, and not in the books yet.
    bytes: Cell<u64>,
}

impl Book {
    fn next_id(&mut self) -> u32 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }

    fn vhost(&mut self, name: &str) -> &mut Vhost {
        let at = self.vhosts.iter().position(|vhost| vhost.name == name).unwrap_or_else(|| {
            let (name, id) = (name.to_owned(), self.next_id());
            self.vhosts.push(Vhost { name, id, traffic: Traffic::new(), clients: 0 });
            self.vhosts.len() - 1
        });
        self.vhosts.get_mut(at).expect("it was found or put there")
    }

    fn stream(&mut self, key: &StreamKey) -> &mut Stream {
        if !self.streams.contains_key(key) {
            if self.streams.len() >= STREAMS_KNOWN + MAX_STREAMS {
                // Many were named since the last time that idle ones were forgotten.
                let free = |s: &Stream| s.clients == 0 && Rc::strong_count(&s.counts) == 1;
                let oldest =
                    self.streams.iter().filter(|(_, s)| free(s)).min_by_key(|(_, s)| s.used);
                if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                    self.streams.remove(&key);
                }
            }
            let vhost = self.vhost(key.vhost()).id;
            let stream = Stream {
                id: self.next_id(),
                vhost,
                traffic: Traffic::new(),
                clients: 0,
                publisher: 0,
                counts: Rc::default(),
                used: clock::now(),
            };
            self.streams.insert(key.clone(), stream);
        }
        self.streams.get_mut(key).expect("it was put there")
    }

    /// Enters what the connection of `client` did since the last time; `traffic` is all of it.
    fn account(&mut self, client: &Client, traffic: (u64, u64)) {
        let before = self.counted.insert(client.id, traffic).unwrap_or_default();
        let received = traffic.0.saturating_sub(before.0);
        let sent = traffic.1.saturating_sub(before.1);
        self.process.add(received, sent);
        self.vhost(client.key.vhost()).traffic.add(received, sent);
        if !client.key.stream().is_empty() {
            self.stream(&client.key).traffic.add(received, sent);
        }
    }

    fn sample(&mut self) {
        let now = clock::now();
        self.process.sample(now);
        self.vhosts.iter_mut().for_each(|vhost| vhost.traffic.sample(now));
        self.streams.values_mut().for_each(|stream| stream.traffic.sample(now));
    }

    /// Enters what came from publishers that are no connections, and leaves out what is too much.
    fn forget(&mut self, cx: &Context, now: u64) {
        for (key, stream) in &mut self.streams {
            let bytes = stream.counts.bytes.take();
            if bytes > 0 {
                stream.traffic.add(bytes, 0);
                self.process.add(bytes, 0);
                let mut vhosts = self.vhosts.iter_mut();
                if let Some(vhost) = vhosts.find(|vhost| vhost.name == key.vhost()) {
                    vhost.traffic.add(bytes, 0);
                }
            }
            if stream.clients > 0 || cx.hub.find(key).is_some() {
                stream.used = now;
            }
        }
        let mut idle: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, s)| s.used < now)
            .map(|(k, s)| (s.used, k.clone()))
            .collect();
        if let Some(excess) = idle.len().checked_sub(STREAMS_KNOWN).filter(|excess| *excess > 0) {
            idle.sort_unstable_by_key(|(used, _)| *used);
            idle.iter().take(excess).for_each(|(_, key)| drop(self.streams.remove(key)));
        }
        // Those of the file are few; others are known for as long as their streams are.
        let config = cx.config();
        let streams = &self.streams;
        self.vhosts.retain(|vhost| {
            config.vhosts.iter().any(|block| block.name == vhost.name)
                || streams.values().any(|stream| stream.vhost == vhost.id)
        });
        if self.counted.len() > cx.sessions.len() {
            self.counted.retain(|id| cx.sessions.find(id).is_some());
        }
    }
}

impl Stream {
    fn row(&self, cx: &Context, key: &StreamKey) -> StreamRow {
        let now = clock::now();
        let source = cx.hub.find(key);
        let active = source.as_ref().and_then(|source| source.publisher());
        let live = source.as_ref().filter(|_| active.is_some());
        let measured = live.map(|source| source.measure(now)).unwrap_or_default();
        StreamRow {
            id: self.id,
            vhost: self.vhost,
            key: key.clone(),
            clients: self.clients,
            players: source.as_ref().map_or(0, |source| source.players()),
            frames: self.counts.frames.get(),
            bytes: self.traffic.bytes(),
            active: active.is_some(),
            publisher: active.unwrap_or(self.publisher),
            shape: live.map(|source| Shape::of(source, &measured)).unwrap_or_default(),
            rate: (measured.kbps, measured.fps),
            age_ms: measured.since.map_or(0, |since| now.saturating_sub(since)),
        }
    }
}

/// Bytes both ways with their rates.
#[derive(Clone, Copy, Debug)]
struct Traffic {
    received: Rate,
    sent: Rate,
}

impl Traffic {
    fn new() -> Self {
        let rate = Rate::new(clock::now());
        Self { received: rate, sent: rate }
    }

    fn add(&mut self, received: u64, sent: u64) {
        self.received.add(usize::try_from(received).unwrap_or(usize::MAX));
        self.sent.add(usize::try_from(sent).unwrap_or(usize::MAX));
    }

    fn sample(&mut self, now: u64) {
        self.received.sample(now);
        self.sent.sample(now);
    }

    fn bytes(&self) -> Bytes {
        let kbps = WINDOWS.map(|(w, ..)| (self.received.window(w), self.sent.window(w)));
        Bytes { received: self.received.bytes(), sent: self.sent.bytes(), kbps }
    }
}

/// Counts the packets of a publisher.
struct Counter {
    counts: Rc<Counts>,
    /// It is no connection whose bytes are counted.
    own: bool,
}

impl Counter {
    fn new(cx: &Context, key: &StreamKey) -> Self {
        let publisher = cx.hub.find(key).and_then(|source| source.publisher());
        let own = publisher.and_then(|id| cx.sessions.find(id)).is_none();
        let stats = of(cx);
        let mut book = stats.book.borrow_mut();
        let stream = book.stream(key);
        stream.publisher = publisher.unwrap_or(stream.publisher);
        Self { counts: stream.counts.clone(), own }
    }
}

impl Sink for Counter {
    fn service(&self) -> &'static str {
        SERVICE.name
    }

    fn on_packet(&mut self, packet: &Packet) -> Result<(), SinkError> {
        let Counts { frames, bytes } = &*self.counts;
        if packet.kind == Kind::Video && !packet.header {
            frames.set(frames.get() + 1);
        }
        if self.own {
            bytes.set(bytes.get() + packet.payload.len() as u64);
        }
        Ok(())
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter").field("counts", &self.counts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
