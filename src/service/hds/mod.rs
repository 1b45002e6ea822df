//! Adobe HTTP Dynamic Streaming: each stream of a vhost with `hds { enabled on; }` becomes a
//! manifest, a bootstrap and fragments below `hds_path/app`, which any HTTP server can deliver.
//!
//! SRS cuts fragments at any frame. Here one begins at a key frame when there is one within twice
//! `hds_fragment`, so that a player can begin with it.
//!
//! What the disk refuses is told once, then nothing is written for a while; the stream goes on. What
//! an earlier process left of a stream goes when it is published: numbers begin at 1 again.

mod segment;

use crate::config::{Hds, Vhost};
use crate::context::Context;
use crate::format::f4::{self, Fragment};
use crate::hub::{Sink, SinkError, StreamKey};
use crate::io::disk::Reply;
use crate::io::{clock, storage};
use crate::limits::MAX_STREAMS;
use crate::media::time::{Algorithm, Jitter, difference};
use crate::media::{Kind, Packet};
use crate::service::Service;
use crate::service::path::{safe, safe_path};
use bytes::Bytes;
use segment::{Kept, Segment};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::path::Path;
use std::rc::Rc;

/// Joins streams of vhosts with HDS.
pub const SERVICE: Service =
    Service { attach, differs: |old, new| old.hds != new.hds, ..Service::new("hds") };

fn attach(cx: &Rc<Context>, key: &StreamKey, vhost: &Vhost) -> Option<Box<dyn Sink>> {
    vhost.hds.enabled.then(|| Box::new(Cutter::new(cx, key, &vhost.hds)) as Box<dyn Sink>)
}

/// What goes on from one publish of a stream to the next: numbers, times, the window.
#[derive(Debug)]
struct Course {
    last_number: u32,
    window: VecDeque<Fragment>,
    jitter: Jitter,
    last: Option<u32>,
    /// Milliseconds; does not wrap.
    now: u64,
    /// The newest files are not written.
    failing: bool,
}

impl Default for Course {
    fn default() -> Self {
        let jitter = Jitter::new(Algorithm::Full);
        Self { last_number: 0, window: VecDeque::new(), jitter, last: None, now: 0, failing: false }
    }
}

impl Course {
    /// The time of `packet` on a line without jumps.
    fn time(&mut self, packet: &Packet) -> u64 {
        let dts = self.jitter.correct(packet.kind, packet.dts);
        let step = self.last.map_or(0, |last| difference(dts, last));
        self.last = Some(dts);
        self.now = self.now.saturating_add_signed(step.into());
        self.now
    }
}

/// The courses of all streams since the process started, [`MAX_STREAMS`] at most.
#[derive(Debug, Default)]
struct Courses(RefCell<HashMap<StreamKey, Rc<RefCell<Course>>>>);

/// Cuts one stream.
struct Cutter {
    cx: Rc<Context>,
    key: StreamKey,
    hds: Rc<Hds>,
    /// The directory, and what the names of all files begin with.
    dir: String,
    name: String,
    course: Rc<RefCell<Course>>,
    video: Option<Packet>,
    audio: Option<Packet>,
    current: Option<Segment>,
    /// What will have become of the newest fragments and lists.
    kept: VecDeque<(u32, Kept)>,
    replaced: VecDeque<Reply<io::Result<()>>>,
    /// Nothing is written before this time of the clock, after a failure.
    retry: u64,
}

impl Cutter {
    fn new(cx: &Rc<Context>, key: &StreamKey, hds: &Rc<Hds>) -> Self {
        let courses = cx.part::<Courses>();
        let mut courses = courses.0.borrow_mut();
        if courses.len() >= MAX_STREAMS {
            courses.retain(|key, _| cx.hub.find(key).is_some());
        }
        let new = !courses.contains_key(key);
        let mut cutter = Self {
            cx: cx.clone(),
            key: key.clone(),
            hds: hds.clone(),
            dir: format!("{}/{}", hds.hds_path.trim_end_matches('/'), safe_path(key.app())),
            name: safe(key.stream()),
            course: courses.entry(key.clone()).or_default().clone(),
            video: None,
            audio: None,
            current: None,
            kept: VecDeque::new(),
            replaced: VecDeque::new(),
            retry: 0,
        };
        if new {
            cutter.sweep(f4::is_of);
        }
        cutter.replace("f4m", f4::manifest(&cutter.name).into());
        cutter
    }

    /// Deletes files of the stream.
    fn sweep(&self, unwanted: impl Fn(&str, &str) -> bool + Send + 'static) {
        let (dir, name) = (self.dir.clone(), self.name.clone());
        drop(self.cx.disk.ask(move || {
            let count = storage::sweep(Path::new(&dir), |file| unwanted(&name, file));
            if count > 0 {
                log::info!("hds: {count} old files of {dir}/{name} are deleted");
            }
        }));
    }

    fn replace(&mut self, ending: &str, bytes: Bytes) {
        let path = format!("{}/{}.{ending}", self.dir, self.name);
        match self.cx.disk.replace(&path, bytes) {
            Ok(reply) => self.replaced.push_back(reply),
            Err(full) => self.fail(&format!("{path}: {full}")),
        }
        if self.replaced.len() > UNANSWERED {
            self.replaced.pop_front();
        }
    }

    fn path(&self, number: u32) -> String {
        format!("{}/{}", self.dir, f4::fragment_name(&self.name, number))
    }

    /// Whether the fragment ends before `packet`, at `now` of the stream.
    fn is_over(&self, packet: &Packet, now: u64) -> bool {
        let most = u64::try_from(self.hds.hds_fragment.0.as_millis()).unwrap_or(u64::MAX);
        let age = self.current.as_ref().map_or(0, |segment| segment.age(now));
        age >= most && (packet.key || self.video.is_none() || age >= most.saturating_mul(2))
    }

    fn begin(&mut self, now: u64) {
        let mut course = self.course.borrow_mut();
        course.last_number = course.last_number.wrapping_add(1).max(1);
        let number = course.last_number;
        drop(course);
        let mut segment = Segment::new(&self.cx.disk, self.path(number), number, now);
        for header in [&self.video, &self.audio].into_iter().flatten() {
            segment.put(header, now);
        }
        self.current = Some(segment);
    }

    /// Closes the fragment, tells players, deletes what left the window.
    fn finish(&mut self, next: Option<u64>) {
        let segment = self.current.take().and_then(|segment| segment.finish(next));
        let Some((fragment, kept)) = segment else { return };
        self.kept.push_back((fragment.number, kept));
        if self.kept.len() > UNANSWERED {
            self.kept.pop_front();
        }
        let mut course = self.course.borrow_mut();
        course.window.push_back(fragment);
        let most = self.hds.hds_window.0.as_millis();
        let mut gone = Vec::new();
        while course.window.len() > 1
            && course.window.iter().map(|f| u128::from(f.duration)).sum::<u128>() > most
        {
            gone.extend(course.window.pop_front());
        }
        drop(course);
        self.list();
        for fragment in gone {
            self.cx.disk.remove(self.path(fragment.number));
        }
    }

    fn list(&mut self) {
        let list = f4::bootstrap(self.course.borrow_mut().window.make_contiguous());
        self.replace("abst", list.into());
    }

    /// Looks what became of the files, and gives up for a while when they cannot be written.
    fn check(&mut self) {
        if let Some(e) = self.current.as_ref().and_then(Segment::failed).map(str::to_owned) {
            self.fail(&e);
        }
        while let Some((number, answer)) = self.kept.front_mut().and_then(|(number, kept)| {
            Some((*number, kept.take()?.unwrap_or_else(|full| Err(full.to_string()))))
        }) {
            self.kept.pop_front();
            match answer {
                Ok(()) => self.course.borrow_mut().failing = false,
                Err(e) => {
                    // Players must not ask for it.
                    self.course.borrow_mut().window.retain(|f| f.number != number);
                    self.fail(&e);
                    self.remains(number);
                    self.list();
                }
            }
        }
        while let Some(answer) = self.replaced.front_mut().and_then(Reply::take) {
            self.replaced.pop_front();
            if let Ok(Err(e)) = answer {
                self.fail(&format!("{}/{}: {e}", self.dir, self.name));
            }
        }
    }

    fn fail(&mut self, error: &str) {
        if !std::mem::replace(&mut self.course.borrow_mut().failing, true) {
            log::error!("hds: {} is not cut, the stream goes on: {error}", self.key);
        }
        if let Some(segment) = self.current.take() {
            self.remains(segment.number());
        }
        self.retry = clock::now().saturating_add(RETRY_MS);
    }

    /// Deletes what there is of a fragment that could not be written.
    fn remains(&self, number: u32) {
        let unfinished = format!("{}.tmp", f4::fragment_name(&self.name, number));
        self.sweep(move |_, file| file == unfinished);
    }
}

impl Sink for Cutter {
    fn service(&self) -> &'static str {
        "hds"
    }

    fn on_packet(&mut self, packet: &Packet) -> Result<(), SinkError> {
        if packet.kind == Kind::Data {
            return Ok(());
        }
        let now = self.course.borrow_mut().time(packet);
        self.check();
        if packet.header {
            let payload = Bytes::copy_from_slice(&packet.payload);
            let kept = Some(Packet { payload, ..packet.clone() });
            match packet.kind {
                Kind::Video => self.video = kept,
                _ => self.audio = kept,
            }
        } else if self.current.is_none() {
            let first = packet.key || packet.kind == Kind::Audio && self.video.is_none();
            if first && clock::now() >= self.retry {
                self.begin(now);
            }
        } else if self.is_over(packet, now) {
            self.finish(Some(now));
            self.begin(now);
        }
        if let Some(segment) = &mut self.current {
            segment.put(packet, now);
        }
        Ok(())
    }

    fn on_unpublish(&mut self) {
        self.check();
        self.finish(None);
        // Nobody asks any more what became of the last ones.
        let (kept, replaced) = (std::mem::take(&mut self.kept), std::mem::take(&mut self.replaced));
        let (course, key) = (self.course.clone(), self.key.clone());
        self.cx.spawner.spawn(async move {
            let mut failed = None;
            for (_, kept) in kept {
                failed = failed.or(kept.await.unwrap_or(Ok(())).err());
            }
            for replaced in replaced {
                let replaced = replaced.await.unwrap_or(Ok(()));
                failed = failed.or(replaced.err().map(|e| e.to_string()));
            }
            if let Some(e) = failed
                && !std::mem::replace(&mut course.borrow_mut().failing, true)
            {
                log::error!("hds: the end of {key} is not written: {e}");
            }
        });
    }
}

impl fmt::Debug for Cutter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cutter({})", self.key)
    }
}

/// After a failure.
const RETRY_MS: u64 = 10_000;
/// Files of which it is not known whether they are written, a stream. The oldest is not asked for.
const UNANSWERED: usize = 8;

#[cfg(test)]
mod tests;
