//! When a stream's files begin and end.
//!
//! | plan | a file begins | and ends |
//! |---|---|---|
//! | session | with the first frame of a publish | with the publish |
//! | segment | the same, and where the last one ended | after `dvr_duration`, and with the publish |
//! | append | goes on with the file of the last publish | with the publish |
//!
//! SRS leaves the segment open when the publisher goes, to go on with it at the next publish. Here
//! it ends: the file can be watched, and a stream that never comes back leaves no `.tmp` behind.

use super::Recordings;
use super::journal::Entry;
use super::journal::Journal;
use super::recording::{Headers, Opened, Recording, open, temporary};
use super::space::{Room, Space};
use crate::config::{Dvr, DvrPlan};
use crate::context::Context;
use crate::hub::{Client, Sink, SinkError, StreamKey};
use crate::io::clock;
use crate::io::disk::{Full, Reply};
use crate::io::run::sleep;
use crate::limits::RECORD_HELD;
use crate::media::{Kind, Packet};
use crate::proto::rtmp::metadata::is_metadata;
use crate::service::admission;
use crate::service::path::Template;
use bytes::Bytes;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Records one stream.
pub(super) struct Recorder {
    cx: Rc<Context>,
    recordings: Rc<Recordings>,
    key: StreamKey,
    /// Who publishes it.
    by: Option<Rc<Client>>,
    dvr: Rc<Dvr>,
    template: Template,
    space: Space,
    journal: Rc<Journal>,
    headers: Headers,
    state: State,
    /// The last failure that was logged.
    told: Option<String>,
    /// When room was looked for last, and the answer that is due.
    looked: u64,
    room: Option<Reply<io::Result<Room>>>,
}

enum State {
    /// No file; the next one may begin at this time of the clock.
    Idle(u64),
    Opening(Opening),
    Recording(Box<Recording>),
}

/// A file that the disk is looking for, and what came meanwhile.
struct Opening {
    path: String,
    room: Option<Reply<io::Result<Room>>>,
    /// `None` before the disk was asked: what a former process left is looked for first.
    opened: Option<Reply<io::Result<Opened>>>,
    headers: Headers,
    held: Vec<Packet>,
    bytes: usize,
    lost: bool,
}

impl Recorder {
    pub(super) fn new(cx: &Rc<Context>, key: &StreamKey, dvr: &Rc<Dvr>) -> Self {
        let recordings = cx.part::<Recordings>();
        let template = super::template(&dvr.dvr_path);
        Self {
            space: Space::new(&template, key.vhost(), dvr),
            journal: recordings.journal(cx, template.root()),
            template,
            cx: cx.clone(),
            recordings,
            key: key.clone(),
            by: admission::publisher(cx, key),
            dvr: dvr.clone(),
            headers: Headers::default(),
            state: State::Idle(0),
            told: None,
            looked: 0,
            room: None,
        }
    }

    /// Does what is due before the next packet.
    fn look_after(&mut self, now: u64) {
        self.state = match std::mem::replace(&mut self.state, State::Idle(now)) {
            State::Opening(opening) => self.poll_opening(opening, now),
            State::Recording(recording) => self.check(recording, now),
            idle => idle,
        };
    }

    fn poll_opening(&mut self, mut opening: Opening, now: u64) -> State {
        if opening.opened.is_none() {
            if !self.journal.is_ready() {
                return State::Opening(opening);
            }
            if !opening.ask(&self.cx, &self.journal, (self.dvr.dvr_plan, &self.space)) {
                return State::Idle(now.saturating_add(BUSY_MS));
            }
        }
        if let Some(room) = &mut opening.room {
            match room.take() {
                None => return State::Opening(opening),
                Some(room) => {
                    opening.room = None;
                    if let Err(text) = enough(room, &self.dvr) {
                        self.journal.remove(&opening.path);
                        return self.failed(text, now);
                    }
                }
            }
        }
        match opening.opened.as_mut().and_then(Reply::take) {
            None => State::Opening(opening),
            Some(opened) => match opening.start(opened, &self.dvr, &self.journal, now) {
                Ok(recording) => {
                    self.told = None;
                    self.looked = now;
                    State::Recording(Box::new(recording))
                }
                Err(text) => self.failed(text, now),
            },
        }
    }

    fn check(&mut self, recording: Box<Recording>, now: u64) -> State {
        if let Some(error) = recording.failed() {
            let text = error.to_owned();
            self.finish(*recording);
            return self.failed(text, now);
        }
        if self.space.is_bounded() && now.saturating_sub(self.looked) >= LOOK_MS {
            self.looked = now;
            self.room = Some(self.space.make(&self.journal));
        }
        if let Some(room) = self.room.as_mut().and_then(Reply::take) {
            self.room = None;
            if let Err(text) = enough(room, &self.dvr) {
                self.finish(*recording);
                return self.failed(text, now);
            }
        }
        State::Recording(recording)
    }

    /// Logs why there is no recording, once, and waits for better times.
    fn failed(&mut self, text: String, now: u64) -> State {
        if self.told.as_ref() != Some(&text) {
            log::error!("dvr: {} is not recorded, the stream goes on: {text}", self.key);
            self.told = Some(text);
        }
        State::Idle(now.saturating_add(RETRY_MS))
    }

    fn begin(&mut self, now: u64) -> State {
        let stamp = self.recordings.stamp(&self.cx);
        let path = self.template.expand(&self.key, &stamp);
        let mut opening = Opening {
            path,
            room: None,
            opened: None,
            headers: self.headers.clone(),
            held: Vec::new(),
            bytes: 0,
            lost: false,
        };
        let asked = opening.ask(&self.cx, &self.journal, (self.dvr.dvr_plan, &self.space));
        if !asked && self.journal.is_ready() {
            // What a former process left, or a publisher whose place this one took, is finished
            // first.
            return State::Idle(now.saturating_add(BUSY_MS));
        }
        State::Opening(opening)
    }

    /// Whether a new file may begin with `packet`.
    fn may_begin(&self, packet: &Packet) -> bool {
        packet.kind == Kind::Audio || packet.key || !self.dvr.dvr_wait_keyframe
    }

    /// Whether the file ends before `packet`.
    fn is_over(&self, recording: &Recording, packet: &Packet) -> bool {
        self.dvr.dvr_plan == DvrPlan::Segment
            && u128::from(recording.duration_to(packet)) >= self.dvr.dvr_duration.0.as_millis()
            && (packet.key || !self.dvr.dvr_wait_keyframe || !recording.has_video())
    }

    fn stream(&self) -> (StreamKey, Option<Rc<Client>>) {
        (self.key.clone(), self.by.clone())
    }

    fn finish(&self, recording: Recording) {
        let (cx, recordings) = (self.cx.clone(), self.recordings.clone());
        let (journal, stream) = (self.journal.clone(), self.stream());
        // Orders to the disk are given now, only the answer is waited for.
        let finished = recording.finish();
        let context = cx.clone();
        cx.spawner.spawn(async move {
            recordings.finished(&context, &journal, stream, finished).await;
        });
    }
}

impl Opening {
    /// Notes the recording, and has the disk make room and look for its file. False: not yet.
    fn ask(&mut self, cx: &Context, journal: &Journal, (plan, space): (DvrPlan, &Space)) -> bool {
        if !journal.is_ready() || journal.is_busy(&self.path) {
            return false;
        }
        let (path, temp) = (self.path.clone(), temporary(&self.path));
        journal.add(Entry { path, temp, from: 0, duration: 0 });
        self.room = space.is_bounded().then(|| space.make(journal));
        let place = self.path.clone();
        self.opened = Some(cx.disk.ask(move || open(&place, plan)));
        true
    }

    fn hold(&mut self, packet: &Packet) {
        self.bytes += packet.payload.len() + size_of::<Packet>();
        self.lost |= self.bytes > RECORD_HELD;
        if !self.lost {
            // A copy: what is held must not pin the publisher's memory.
            let payload = Bytes::copy_from_slice(&packet.payload);
            self.held.push(Packet { payload, ..packet.clone() });
        }
    }

    fn start(
        self,
        opened: Result<io::Result<Opened>, Full>,
        dvr: &Dvr,
        journal: &Rc<Journal>,
        now: u64,
    ) -> Result<Recording, String> {
        let opened = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(e)) => {
                journal.remove(&self.path);
                return Err(format!("{}: {e}", self.path));
            }
            Err(full) => {
                journal.remove(&self.path);
                return Err(full.to_string());
            }
        };
        let mut recording = Recording::start(opened, &self.headers, dvr, journal, now);
        log::info!("dvr: record {}", recording.path());
        for packet in &self.held {
            recording.push(packet, now);
        }
        if self.lost {
            recording.gap();
        }
        Ok(recording)
    }
}

fn enough(room: Result<io::Result<Room>, Full>, dvr: &Dvr) -> Result<(), String> {
    match room {
        Ok(Ok(Room::Enough)) => Ok(()),
        Ok(Ok(Room::Short { free: _ })) => Err(format!(
            "less than {} is free, and no recording is left to delete (dvr_min_free)",
            dvr.dvr_min_free
        )),
        Ok(Err(e)) => Err(e.to_string()),
        Err(full) => Err(full.to_string()),
    }
}

impl Sink for Recorder {
    fn service(&self) -> &'static str {
        "dvr"
    }

    fn on_packet(&mut self, packet: &Packet) -> Result<(), SinkError> {
        if packet.kind == Kind::Data {
            if is_metadata(&packet.payload) && packet.payload.len() <= METADATA_MAX {
                self.headers.metadata = Some(Bytes::copy_from_slice(&packet.payload));
            }
            return Ok(());
        }
        let now = clock::now();
        self.look_after(now);
        if packet.header {
            let payload = Bytes::copy_from_slice(&packet.payload);
            let kept = Some(Packet { payload, ..packet.clone() });
            match packet.kind {
                Kind::Video => self.headers.video = kept,
                _ => self.headers.audio = kept,
            }
        } else {
            let over = matches!(&self.state, State::Recording(r) if self.is_over(r, packet));
            if over
                && let State::Recording(recording) =
                    std::mem::replace(&mut self.state, State::Idle(now))
            {
                self.finish(*recording);
            }
            if matches!(self.state, State::Idle(at) if at <= now) && self.may_begin(packet) {
                self.state = self.begin(now);
            }
        }
        match &mut self.state {
            State::Idle(_) => {}
            State::Opening(opening) => opening.hold(packet),
            State::Recording(recording) => recording.push(packet, now),
        }
        Ok(())
    }

    fn on_unpublish(&mut self) {
        let now = clock::now();
        self.look_after(now);
        match std::mem::replace(&mut self.state, State::Idle(now)) {
            State::Idle(_) => {}
            State::Recording(recording) => self.finish(*recording),
            State::Opening(mut opening) => {
                let (recordings, journal) = (self.recordings.clone(), self.journal.clone());
                let (stream, dvr, cx) = (self.stream(), self.dvr.clone(), self.cx.clone());
                let space = self.space.clone();
                self.cx.spawner.spawn(async move {
                    let until = clock::now().saturating_add(PATIENCE_MS);
                    while opening.opened.is_none()
                        && !opening.ask(&cx, &journal, (dvr.dvr_plan, &space))
                    {
                        if clock::now() > until {
                            let path = &opening.path;
                            log::error!("dvr: {} is not recorded: {path} is in use", stream.0);
                            return;
                        }
                        sleep(Duration::from_millis(BUSY_MS)).await;
                    }
                    if let Some(room) = opening.room.take() {
                        // A short stream: what little it has is kept.
                        let _ = room.await;
                    }
                    let Some(opened) = opening.opened.take() else { return };
                    let opened = opened.await;
                    match opening.start(opened, &dvr, &journal, now) {
                        Ok(recording) => {
                            recordings.finished(&cx, &journal, stream, recording.finish()).await;
                        }
                        Err(text) => log::error!("dvr: {} is not recorded: {text}", stream.0),
                    }
                });
            }
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorder({})", self.key)
    }
}

/// After a failure. A card that was put back, or room that somebody made, is used from then on.
const RETRY_MS: u64 = 60_000;
const BUSY_MS: u64 = 500;
/// A stream that ended before its file could be opened waits so long for it.
const PATIENCE_MS: u64 = 30_000;
/// How often room is looked for while a file is written.
const LOOK_MS: u64 = 30_000;
/// Longer metadata of an encoder is left out of the file.
const METADATA_MAX: usize = 64 * 1024;
