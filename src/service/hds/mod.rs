//! Adobe HTTP Dynamic Streaming: each stream of a vhost with `hds { enabled on; }` becomes a
//! manifest, a bootstrap and fragments below `hds_path/app`, which any HTTP server can deliver.
//!
//! SRS cuts fragments at any frame. Here one begins at a key frame when there is one within twice
//! `hds_fragment`, so that a player can begin with it.

mod segment;

use crate::config::{Hds, Vhost};
use crate::context::Context;
use crate::format::f4::{self, Fragment};
use crate::hub::{Sink, SinkError, StreamKey};
use crate::io::clock;
use crate::limits::MAX_STREAMS;
use crate::media::time::{Algorithm, Jitter, difference};
use crate::media::{Kind, Packet};
use crate::service::Service;
use crate::service::path::{safe, safe_path};
use bytes::Bytes;
use segment::Segment;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
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
}

impl Default for Course {
    fn default() -> Self {
        let jitter = Jitter::new(Algorithm::Full);
        Self { last_number: 0, window: VecDeque::new(), jitter, last: None, now: 0 }
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
    /// Nothing is written before this time of the clock, after a failure.
    retry: u64,
    told: Option<String>,
}

impl Cutter {
    fn new(cx: &Rc<Context>, key: &StreamKey, hds: &Rc<Hds>) -> Self {
        let courses = cx.part::<Courses>();
        let mut courses = courses.0.borrow_mut();
        if courses.len() >= MAX_STREAMS {
            courses.retain(|key, _| cx.hub.find(key).is_some());
        }
        let cutter = Self {
            cx: cx.clone(),
            key: key.clone(),
            hds: hds.clone(),
            dir: format!("{}/{}", hds.hds_path.trim_end_matches('/'), safe_path(key.app())),
            name: safe(key.stream()),
            course: courses.entry(key.clone()).or_default().clone(),
            video: None,
            audio: None,
            current: None,
            retry: 0,
            told: None,
        };
        cutter.replace("f4m", f4::manifest(&cutter.name).into());
        cutter
    }

    fn replace(&self, ending: &str, bytes: Bytes) {
        let path = format!("{}/{}.{ending}", self.dir, self.name);
        if self.cx.disk.replace(&path, bytes).is_err() {
            log::warn!("hds: {path} is not written, the disk is too slow");
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
        let Some(fragment) = self.current.take().and_then(|segment| segment.finish(next)) else {
            return;
        };
        let mut course = self.course.borrow_mut();
        course.window.push_back(fragment);
        let most = self.hds.hds_window.0.as_millis();
        let mut gone = Vec::new();
        while course.window.len() > 1
            && course.window.iter().map(|f| u128::from(f.duration)).sum::<u128>() > most
        {
            gone.extend(course.window.pop_front());
        }
        let list = f4::bootstrap(course.window.make_contiguous());
        drop(course);
        self.replace("abst", list.into());
        for fragment in gone {
            self.cx.disk.remove(self.path(fragment.number));
        }
    }

    /// Gives up for a while when the fragment cannot be written.
    fn check(&mut self) {
        let Some(error) = self.current.as_ref().and_then(Segment::failed) else { return };
        if self.told.as_deref() != Some(error) {
            log::error!("hds: {} is not cut, the stream goes on: {error}", self.key);
            self.told = Some(error.to_owned());
        }
        self.current = None;
        self.retry = clock::now().saturating_add(RETRY_MS);
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
    }
}

impl fmt::Debug for Cutter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cutter({})", self.key)
    }
}

/// After a failure.
const RETRY_MS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::format::flv::Tag;
    use crate::io::disk::testing::Dir;
    use crate::io::run;
    use std::fs;
    use std::time::Duration;

    fn packet(kind: Kind, dts: u32, body: &'static [u8]) -> Packet {
        Packet::new(kind, dts, Bytes::from_static(body))
    }

    /// Publishes `seconds` of pictures, a key frame each second, `times` times; what is there then.
    fn cut(dir: &Dir, hds: &str, seconds: u32, times: usize) -> Vec<(String, Vec<u8>)> {
        let path = dir.path().display();
        let text = format!("listen 1; vhost v {{ hds {{ enabled on; hds_path {path}; {hds} }} }}");
        let config = config::load(text.as_bytes()).unwrap().config;
        let vhost = config.vhosts[0].clone();
        run::run(|spawner| async move {
            let cx = Context::new(config, false, spawner);
            for _ in 0..times {
                let key = StreamKey::new("v", "live", "cam");
                let mut sink = (SERVICE.attach)(&cx, &key, &vhost).unwrap();
                let mut send = |kind, dts, body| {
                    sink.on_packet(&packet(kind, dts, body)).unwrap();
                };
                send(Kind::Video, 7000, b"\x17\0\0\0\0video header");
                send(Kind::Audio, 7000, b"\xaf\0audio header");
                for i in 0..seconds * 10 {
                    let key = i % 10 == 0;
                    let body = if key { &b"\x17\x01\0\0\0key"[..] } else { b"\x27\x01\0\0\0x" };
                    send(Kind::Video, 7000 + i * 100, body);
                }
                sink.on_unpublish();
            }
            assert!(cx.disk.finish(Duration::from_secs(20)));
        })
        .unwrap();
        let mut files: Vec<_> = fs::read_dir(dir.join("live"))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    fn tags(fragment: &[u8]) -> Vec<(u32, Vec<u8>)> {
        assert_eq!(fragment[..4], (fragment.len() as u32).to_be_bytes());
        assert_eq!(&fragment[4..8], b"mdat");
        let mut input = &fragment[8..];
        let mut tags = Vec::new();
        while !input.is_empty() {
            let tag = Tag::take(&mut input).unwrap();
            tags.push((tag.timestamp, tag.body.to_vec()));
        }
        tags
    }

    #[test]
    fn each_fragment_begins_with_headers_and_a_key_frame() {
        let dir = Dir::new();
        let files = cut(&dir, "hds_fragment 1.5; hds_window 100;", 5, 1);
        let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
        let fragments = ["camSeg1-Frag1", "camSeg1-Frag2", "camSeg1-Frag3"];
        assert_eq!(names, [&["cam.abst", "cam.f4m"][..], &fragments].concat());
        for (i, (_, bytes)) in files[2..].iter().enumerate() {
            let tags = tags(bytes);
            assert_eq!(tags[0].1, b"\x17\0\0\0\0video header");
            assert_eq!(tags[1].1, b"\xaf\0audio header");
            assert_eq!(tags[2].1, b"\x17\x01\0\0\0key");
            assert_eq!(tags[0].0, tags[2].0);
            assert_eq!(tags.len(), if i == 2 { 12 } else { 22 });
        }
        let list = &files[0].1;
        let want = [
            Fragment { number: 1, start: 0, duration: 2000 },
            Fragment { number: 2, start: 2000, duration: 2000 },
            Fragment { number: 3, start: 4000, duration: 900 },
        ];
        assert_eq!(*list, f4::bootstrap(&want));
    }

    #[test]
    fn the_window_moves_and_numbers_go_on_after_a_republish() {
        let dir = Dir::new();
        let files = cut(&dir, "hds_fragment 1; hds_window 3;", 5, 2);
        let names: Vec<_> = files[2..].iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["camSeg1-Frag10", "camSeg1-Frag8", "camSeg1-Frag9"]);
        assert!(files[1].1.starts_with(b"<?xml"));
        let times: Vec<_> = files[2..].iter().map(|(_, bytes)| tags(bytes)[0].0).collect();
        assert!(times[1] < times[2] && times[2] < times[0], "{times:?}");
    }

    #[test]
    fn without_key_frames_a_fragment_ends_at_twice_its_length() {
        let dir = Dir::new();
        let files = cut(&dir, "hds_fragment 0.3; hds_window 100;", 2, 1);
        // 0, 600, then the key frame at 1000.
        assert_eq!(files.len() - 2, 4);
    }
}
