//! One file while it is written.

use super::journal::{Entry, Journal};
use super::metadata::{self, Index, Layout, Summary, elapsed};
use super::repair::{Repair, last_time, note};
use crate::config::{Dvr, DvrPlan, TimeJitter};
use crate::format::flv::{FILE_HEADER, TAG_HEADER, tag_header, tag_trailer};
use crate::io::disk::{CreateOptions, File, Reply};
use crate::io::storage::{self, Existing};
use crate::limits::{INDEX_ENTRIES, RECORD_START_FREE, WRITE_BYTES};
use crate::media::time::{Algorithm, Jitter};
use crate::media::{Kind, Packet};
use bytes::{BufMut, Bytes, BytesMut};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What every file begins with.
#[derive(Clone, Debug, Default)]
pub(super) struct Headers {
    /// The encoder's metadata as it came.
    pub(super) metadata: Option<Bytes>,
    pub(super) video: Option<Packet>,
    pub(super) audio: Option<Packet>,
}

/// A place for a recording, found by [`open`].
#[derive(Debug)]
pub(super) struct Opened {
    entry: Entry,
    continued: Option<Continued>,
}

/// The file that is there already.
#[derive(Debug)]
struct Continued {
    /// Of its first tag, when that is metadata.
    body: Vec<u8>,
    /// Its last time.
    last: u32,
}

/// Looks at what is at `path`, on the thread of the disk: a recording goes on with a file that is
/// there, else it begins one.
pub(super) fn open(path: &str, plan: DvrPlan) -> io::Result<Opened> {
    let place = Path::new(path);
    storage::make_parent(place)?;
    let free = storage::free(place)?;
    if free < RECORD_START_FREE {
        return Err(io::Error::other(format!("only {free} bytes are free")));
    }
    let temp = temporary(path);
    let mut entry = Entry { path: path.into(), temp, from: 0, duration: 0 };
    if plan != DvrPlan::Append {
        // Left by somebody whose journal is lost.
        Repair::run(&entry)?;
    }
    let Some(file) = Existing::open(place)?.filter(|file| !file.is_empty()) else {
        if plan == DvrPlan::Append {
            entry.temp = path.into();
        }
        return Ok(Opened { entry, continued: None });
    };
    let mut head = [0; FILE_HEADER.len() + TAG_HEADER];
    file.read_at(0, &mut head)?;
    let last = last_time(&file)?.filter(|_| head.starts_with(b"FLV\x01"));
    let Some(last) = last else {
        return Err(io::Error::other("it is there, and does not end with a whole FLV tag"));
    };
    let mut body = Vec::new();
    if let [.., 18, a, b, c, _, _, _, _, 0, 0, 0] = head {
        body = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        let read = file.read_at(head.len() as u64, &mut body)?;
        body.truncate(read);
    }
    entry.temp = path.into();
    entry.from = file.len();
    entry.duration = Layout::find(&body).duration(&body);
    Ok(Opened { entry, continued: Some(Continued { body, last }) })
}

/// The name of the file for `path` while it is unfinished.
pub(super) fn temporary(path: &str) -> String {
    format!("{path}.tmp")
}

/// A file that is written.
#[derive(Debug)]
pub(super) struct Recording {
    file: File,
    entry: Entry,
    layout: Layout,
    index: Index,
    summary: Summary,
    /// Tags that are not with the disk yet, since when.
    batch: BytesMut,
    since: u64,
    /// The same when the disk had no room for them; until then nothing more is taken.
    stuck: Option<Bytes>,
    jitter: Jitter,
    /// What is added to times, when the file was there.
    base: u32,
    last: Option<u32>,
    /// The last time as the stream has it.
    last_in: Option<u32>,
    video: bool,
    /// Video waits for a key frame.
    wait: bool,
    wait_keyframe: bool,
    fsync_ms: u64,
    synced: u64,
    refreshed: u64,
}

impl Recording {
    /// Begins at `now`, with `headers`.
    pub(super) fn start(
        opened: Opened,
        headers: &Headers,
        dvr: &Dvr,
        journal: &Rc<Journal>,
        now: u64,
    ) -> Self {
        let Opened { entry, continued } = opened;
        journal.change(&entry);
        let options = CreateOptions { dirs: true, append: continued.is_some(), exclusive: false };
        let algorithm = algorithm(dvr.time_jitter);
        let last = continued.as_ref().map(|continued| continued.last);
        let mut recording = Self {
            file: journal.disk().create(&entry.temp, options),
            layout: Layout::default(),
            index: Index::new(0),
            summary: Summary { size: entry.from, duration: entry.duration, gaps: 0 },
            entry,
            batch: BytesMut::new(),
            since: now,
            stuck: None,
            jitter: Jitter::new(algorithm),
            base: match last {
                Some(last) if algorithm != Algorithm::Off => last.wrapping_add(FRAME_MS),
                _ => 0,
            },
            last,
            last_in: None,
            video: headers.video.is_some(),
            wait: dvr.dvr_wait_keyframe,
            wait_keyframe: dvr.dvr_wait_keyframe,
            fsync_ms: milliseconds(dvr.dvr_fsync.0),
            synced: now,
            refreshed: now,
        };
        match continued {
            Some(Continued { body, .. }) => {
                recording.layout = Layout::find(&body);
                recording.index = recording.layout.index(&body);
            }
            None => {
                let body = metadata::build(headers.metadata.as_deref(), entries(dvr));
                recording.layout = Layout::find(&body);
                recording.index = Index::new(recording.layout.capacity());
                recording.batch.put_slice(&FILE_HEADER);
                recording.summary.size = FILE_HEADER.len() as u64;
                recording.put(Kind::Data, 0, &body);
            }
        }
        for header in [&headers.video, &headers.audio].into_iter().flatten() {
            recording.put(header.kind, recording.base, &header.payload);
        }
        recording
    }

    /// One packet of the stream, at `now` of the clock.
    pub(super) fn push(&mut self, packet: &Packet, now: u64) {
        // Also for what is left out: what is missing takes its time.
        let dts = self.base.wrapping_add(self.jitter.correct(packet.kind, packet.dts));
        self.last_in = Some(packet.dts);
        self.video |= packet.kind == Kind::Video;
        if !self.unstick() {
            return;
        }
        if packet.kind == Kind::Video && !packet.header && self.wait {
            if !packet.key {
                return;
            }
            self.wait = false;
        }
        self.summary.duration += self.last.map_or(0, |last| elapsed(last, dts));
        self.last = Some(dts);
        note(&mut self.index, self.summary.size, dts, packet.key, packet.header, self.video);
        if self.batch.is_empty() {
            self.since = now;
        }
        self.put(packet.kind, dts, &packet.payload);
        if self.batch.len() >= WRITE_BYTES || now.saturating_sub(self.since) >= BATCH_MS {
            self.flush();
        }
        if now.saturating_sub(self.synced) >= self.fsync_ms {
            self.flush();
            self.file.sync();
            self.synced = now;
        }
        if self.entry.temp == self.entry.path && now.saturating_sub(self.refreshed) >= REFRESH_MS {
            // Nobody waits for the end of a file that has its name already.
            let _ = self.patch();
            self.refreshed = now;
        }
    }

    /// Milliseconds from where it began here to `packet`, if that were the next one.
    pub(super) fn duration_to(&self, packet: &Packet) -> u64 {
        let step = self.last_in.map_or(0, |last| elapsed(last, packet.dts)).min(STEP_MS);
        self.summary.duration.saturating_sub(self.entry.duration) + step
    }

    /// Whether there is video.
    pub(super) const fn has_video(&self) -> bool {
        self.video
    }

    /// What went wrong with the file.
    pub(super) fn failed(&self) -> Option<&str> {
        self.file.failed()
    }

    /// Its name when it is finished.
    pub(super) fn path(&self) -> &str {
        &self.entry.path
    }

    /// Notes that something is missing.
    pub(super) fn gap(&mut self) {
        if self.summary.gaps == 0 {
            log::warn!("dvr: {}: the disk is too slow, something is missing", self.entry.path);
        }
        self.summary.gaps += 1;
        self.wait = self.wait_keyframe;
    }

    /// Finishes the file. The answer comes when it is done.
    pub(super) fn finish(mut self) -> (Entry, Summary, Reply<Result<(), String>>) {
        self.unstick();
        self.flush();
        let mut whole = true;
        if let Some(rest) = self.stuck.take() {
            // What finishes a file may use the reserve.
            let at = self.summary.size - rest.len() as u64;
            whole = self.file.write_at(at, rest).is_ok();
        }
        if whole && self.patch().is_ok() {
            self.file.sync();
            if self.entry.temp != self.entry.path {
                self.file.rename(&self.entry.path);
            }
        } else {
            self.file.fail("the disk is too slow to finish it");
        }
        (self.entry, self.summary, self.file.close())
    }

    fn patch(&self) -> Result<(), crate::io::disk::Full> {
        for (at, bytes) in self.layout.patches(&self.summary, &self.index) {
            let start = (FILE_HEADER.len() + TAG_HEADER + at) as u64;
            self.file.write_at(start, bytes.into())?;
        }
        Ok(())
    }

    fn put(&mut self, kind: Kind, dts: u32, body: &[u8]) {
        // Longer ones are not taken from publishers.
        let Some(head) = tag_header(kind, dts, body.len()) else { return };
        self.batch.put_slice(&head);
        self.batch.put_slice(body);
        self.batch.put_slice(&tag_trailer(body.len()));
        self.summary.size += (head.len() + body.len() + 4) as u64;
    }

    /// Gives the disk what it had no room for. Whether nothing is left of it.
    fn unstick(&mut self) -> bool {
        if let Some(bytes) = self.stuck.take()
            && self.file.append(bytes.clone()).is_err()
        {
            self.stuck = Some(bytes);
        }
        self.stuck.is_none()
    }

    fn flush(&mut self) {
        if self.batch.is_empty() || self.stuck.is_some() {
            return;
        }
        let bytes = self.batch.split().freeze();
        if self.file.append(bytes.clone()).is_err() {
            self.stuck = Some(bytes);
            self.gap();
        }
    }
}

/// The name of a finished file and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// `vhost/app/stream` of it.
    pub key: crate::hub::StreamKey,
    /// Where it is, as the configuration says: relative to the working directory or absolute.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Milliseconds.
    pub duration: u64,
}

/// Key frames that the index of a new file has room for.
fn entries(dvr: &Dvr) -> usize {
    match dvr.dvr_plan {
        // Encoders make two a second at most, as a rule, and a file may be somewhat longer.
        DvrPlan::Segment => {
            let seconds = usize::try_from(dvr.dvr_duration.0.as_secs()).unwrap_or(usize::MAX);
            seconds.saturating_mul(3).saturating_add(60).min(INDEX_ENTRIES)
        }
        DvrPlan::Session | DvrPlan::Append => INDEX_ENTRIES,
    }
}

fn algorithm(time_jitter: TimeJitter) -> Algorithm {
    match time_jitter {
        TimeJitter::Full => Algorithm::Full,
        TimeJitter::Zero => Algorithm::Zero,
        TimeJitter::Off => Algorithm::Off,
    }
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// From the last frame of a file to the first one that is appended.
const FRAME_MS: u32 = 40;
/// A longer step is a jump of the stream's times.
const STEP_MS: u64 = 250;
/// A slow stream is written once in so many milliseconds.
const BATCH_MS: u64 = 1000;
/// Duration and index of a file that has its name already are brought up to date.
const REFRESH_MS: u64 = 60_000;
