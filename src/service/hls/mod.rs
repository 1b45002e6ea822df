//! HLS: live streams cut into segments of MPEG-TS, and playlists of them.
//!
//! The sink of a stream cuts it (`segment`); what is finished goes into memory, from where [`get`]
//! answers HTTP requests, or to the thread of the disk, or both (`store`). The numbers of segments
//! go on when a stream is published again (`stream`). With `hls_keys` they are encrypted (`keys`).

#[cfg(feature = "hls-keys")]
mod keys;
#[path = "keys_none.rs"]
#[cfg(not(feature = "hls-keys"))]
mod keys;
mod playlist;
mod segment;
mod store;
mod stream;
mod wanted;

pub use store::Stored;

use crate::config::{Hls, HlsStorage, Vhost};
use crate::context::Context;
use crate::format::ts::bound;
use crate::hub::pithy::Stage;
use crate::hub::{Sink, StreamKey};
use crate::io::clock;
use crate::io::disk::Disk;
use crate::io::run::sleep;
use crate::io::zone::Zone;
use crate::limits::{HLS_RAM, HLS_RAM_STREAM, HLS_SEGMENT, HLS_WAIT, MAX_STREAMS, MESSAGE_MAX};
use crate::proto::http::Method;
use crate::service::admission::{self, Event, Segment};
use crate::service::http::{Answer, Ask, Reply};
use crate::service::{Router, Service};
use playlist::Names;
use segment::{Clock, Cutter};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use store::{Files, OnDisk, Ram};
use stream::{Kept, Stream};

/// Cuts the streams of vhosts with `hls` on.
pub const SERVICE: Service = Service {
    attach: |cx, key, vhost| attach(cx, key, vhost),
    differs: |old, new| old.hls != new.hls,
    start: |cx| {
        cx.spawner.spawn(async {
            loop {
                sleep(SWEEP).await;
                LIVE.with(|live| live.sweep(clock::now()));
            }
        })
    },
    stop: || LIVE.with(Live::dispose_all),
    reload: |cx, _| {
        let config = cx.config();
        LIVE.with(|live| live.forget(|key| config.block(key.vhost()).is_none()));
    },
    stream_at: |cx, host, path| {
        LIVE.with(|live| live.owner(host, path)).or_else(|| wanted::stream_at(cx, host, path))
    },
    routes,
    ..Service::new("hls")
};

/// How often streams without a publisher are looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// How often it is looked for the first segment of a stream that somebody waits for.
const LOOK: Duration = Duration::from_millis(200);

const _: () = assert!(HLS_SEGMENT >= bound(MESSAGE_MAX), "a segment holds the longest message");
const _: () = assert!(HLS_RAM_STREAM >= 2 * HLS_SEGMENT, "a stream has two segments");
const _: () = assert!(HLS_RAM >= HLS_RAM_STREAM, "there is room for one stream");

thread_local! {
    static LIVE: Live = Live::default();
}

/// The playlist or segment at `path` (decoded, with its slash) of `host`, from memory.
pub fn get(host: &str, path: &str) -> Option<Stored> {
    LIVE.with(|live| live.ram.get(host, path))
}

fn routes(cx: &Rc<Context>, router: &mut Router) {
    let on = |vhost: &&Rc<Vhost>| vhost.enabled && vhost.hls.enabled;
    for vhost in cx.config().vhosts.iter().filter(on) {
        if vhost.hls.hls_storage != HlsStorage::Disk {
            log::info!("http: hls of {} is served at {}", vhost.name, vhost.hls.hls_mount);
        }
    }
    router.ahead(answer);
}

fn answer(ask: &Ask) -> Answer {
    let request = &ask.request;
    if !matches!(request.method, Method::Get | Method::Head) {
        return Answer::Next;
    }
    if let Some(waits) = wanted::playlist(ask) {
        return waits;
    }
    if let Some(stored) = get(&request.host, &request.path) {
        return reply(ask, stored).into();
    }
    if let Some(stream) = LIVE.with(|live| live.awaited(&request.host, &request.path)) {
        return Answer::Later(Box::pin(first(ask.clone(), stream)));
    }
    // Nobody else's: a live stream of that name would be waited for.
    let gone = LIVE.with(|live| live.was(&request.path));
    if gone { Reply::status(404).into() } else { Answer::Next }
}

fn reply(ask: &Ask, stored: Stored) -> Reply {
    let Stored { body, content_type, etag, cache_control, .. } = stored;
    let known = ask.request.header("If-None-Match").is_some_and(|known| known.contains(&etag));
    let headers = vec![("ETag", etag), ("Cache-Control", cache_control)];
    if known {
        return Reply { headers, content_type: "", ..Reply::status(304) };
    }
    Reply { headers, ..Reply::new(content_type, body) }
}

/// Waits for the first segment. Players do not ask again for a playlist that is not there, and
/// whoever starts one beside the encoder is there before the segment is.
async fn first(ask: Ask, stream: Rc<RefCell<Stream>>) -> Answer {
    let until = clock::after(HLS_WAIT);
    while !stream.borrow().has_segments() {
        if stream.borrow().idle().is_some() {
            return Answer::Next;
        }
        if clock::now() >= until {
            let headers = vec![("Retry-After", "1".to_owned())];
            return Reply { headers, ..Reply::status(503) }.into();
        }
        sleep(LOOK).await;
    }
    match get(&ask.request.host, &ask.request.path) {
        Some(stored) => reply(&ask, stored).into(),
        None => {
            // Behind the files that are to be written. That it failed is told elsewhere.
            let _ = ask.cx.disk.ask(|| ()).await;
            Answer::Next
        }
    }
}

fn attach(cx: &Rc<Context>, key: &StreamKey, vhost: &Vhost) -> Option<Box<dyn Sink>> {
    let config = vhost.hls.clone();
    if !config.enabled {
        return None;
    }
    if config.hls_keys && !keys::SUPPORTED {
        log::error!("hls: hls_keys needs the feature hls-keys: {key} is not cut");
        return None;
    }
    let disk = cx.disk.clone();
    LIVE.with(|live| {
        let stream = live.stream(key, &config, &move || on_disk(&disk))?;
        let clock = Clock { unix: clock::unix, now: clock::now };
        let progress = cx.stages.enter(Stage::Hls);
        let zone = if cx.config().utc_time { Rc::default() } else { live.zone.clone() };
        let mut cutter = Cutter::new(stream, clock, zone, Some(progress));
        cutter.tell_to(teller(cx, key, config.hls_storage));
        if let Some(source) = cx.hub.find(key) {
            // The stream holds the cutter.
            let source = Rc::downgrade(&source);
            cutter.follow(move || source.upgrade().is_some_and(|source| source.settings().atc));
        }
        Some(Box::new(cutter) as Box<dyn Sink>)
    })
}

fn on_disk(disk: &Disk) -> Box<dyn Files> {
    Box::new(OnDisk::new(disk.clone()))
}

/// Tells services of the segments of `key`, once those that are files are there.
fn teller(cx: &Rc<Context>, key: &StreamKey, storage: HlsStorage) -> impl Fn(Kept) + use<> {
    let (cx, key, by) = (cx.clone(), key.clone(), admission::publisher(cx, key));
    move |kept| {
        let (cx, key, by) = (cx.clone(), key.clone(), by.clone());
        // Not now: who is told may look at the stream, which is in the midst of a packet.
        cx.spawner.clone().spawn(async move {
            if storage != HlsStorage::Ram {
                // Behind what is to be written. Where there is no room even for that, at once.
                let _ = cx.disk.ask(|| ()).await;
            }
            let segment = Segment {
                key: &key,
                by: by.as_ref(),
                duration: f64::from(kept.millis) / 1000.0,
                file: &kept.file,
                uri: &kept.uri,
                playlist: &kept.playlist,
                playlist_uri: &kept.playlist_uri,
                number: kept.number,
            };
            admission::tell(&cx, &Event::Segment(&segment));
        });
    }
}

/// The streams of this thread, those that were published before too.
struct Live {
    streams: RefCell<HashMap<StreamKey, Rc<RefCell<Stream>>>>,
    ram: Rc<Ram>,
    zone: Rc<Zone>,
}

impl Default for Live {
    fn default() -> Self {
        Self { streams: RefCell::default(), ram: Rc::default(), zone: Rc::new(Zone::local()) }
    }
}

impl Live {
    /// The stream `key`: the one that was published before, or its successor if the configuration
    /// is another one.
    fn stream(
        &self,
        key: &StreamKey,
        config: &Rc<Hls>,
        files: &dyn Fn() -> Box<dyn Files>,
    ) -> Option<Rc<RefCell<Stream>>> {
        let mut streams = self.streams.borrow_mut();
        let before = streams.get(key).cloned();
        if let Some(stream) = &before
            && stream.borrow().config() == config
        {
            return before;
        }
        if before.is_none() && streams.len() >= MAX_STREAMS {
            let oldest = streams
                .iter()
                .filter_map(|(key, stream)| Some((stream.borrow().idle()?, key.clone())))
                .min_by_key(|(since, _)| *since);
            let Some((_, oldest)) = oldest else {
                log::warn!("hls: no room for {key} (limit max_streams)");
                return None;
            };
            if let Some(stream) = streams.remove(&oldest) {
                stream.borrow_mut().release();
            }
        }
        let (ram, disk) = match config.hls_storage {
            HlsStorage::Ram => (true, false),
            HlsStorage::Disk => (false, true),
            HlsStorage::Both => (true, true),
        };
        let names = Names::new(key, config, ram, disk, epoch(clock::unix()));
        let key_files = config.hls_keys && (disk || !config.hls_key_url.is_empty());
        let mut stream = Stream::new(
            config.clone(),
            names,
            self.ram.clone(),
            ram,
            disk.then(files),
            key_files.then(files),
        );
        if let Some(before) = before {
            stream.succeed(&mut before.borrow_mut());
        }
        let stream = Rc::new(RefCell::new(stream));
        streams.insert(key.clone(), stream.clone());
        Some(stream)
    }

    /// The stream whose playlist `path` of `host` is going to be.
    fn awaited(&self, host: &str, path: &str) -> Option<Rc<RefCell<Stream>>> {
        let streams = self.streams.borrow();
        path.ends_with(".m3u8").then_some(())?;
        streams.values().find(|stream| stream.borrow().is_awaited(host, path)).cloned()
    }

    /// Gives up what is in memory of the streams that are `gone`.
    fn forget(&self, gone: impl Fn(&StreamKey) -> bool) {
        self.streams.borrow_mut().retain(|key, stream| {
            let stays = !gone(key);
            if !stays {
                stream.borrow_mut().release();
            }
            stays
        });
    }

    /// The stream that the playlist or segment at `path` of `host` is of.
    fn owner(&self, host: &str, path: &str) -> Option<StreamKey> {
        if let Some(stored) = self.ram.get(host, path) {
            return Some(stored.key);
        }
        let streams = self.streams.borrow();
        let mut owners = streams.iter().filter(|(_, stream)| stream.borrow().owns(path));
        owners.next().map(|(key, _)| key.clone())
    }

    /// Whether `path` is that of a segment that left the memory.
    fn was(&self, path: &str) -> bool {
        path.ends_with(".ts") && self.streams.borrow().values().any(|s| s.borrow().was(path))
    }

    /// Whether `key` has a playlist.
    fn is_listed(&self, key: &StreamKey) -> bool {
        self.streams.borrow().get(key).is_some_and(|stream| stream.borrow().has_segments())
    }

    fn sweep(&self, now: u64) {
        self.streams.borrow_mut().retain(|_, stream| !stream.borrow_mut().sweep(now));
    }

    fn dispose_all(&self) {
        for (_, stream) in self.streams.borrow_mut().drain() {
            let mut stream = stream.borrow_mut();
            if !stream.config().hls_dispose.0.is_zero() {
                stream.dispose();
            }
        }
    }
}

/// What makes names different from those of all runs before, twelve digits: the time, and a number
/// for boards whose clock starts again with each run.
fn epoch(unix: u64) -> String {
    format!("{:08x}{:04x}", unix / 1000, fastrand::u16(..))
}

#[cfg(test)]
mod tests;
