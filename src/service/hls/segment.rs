//! Cuts a stream into segments.

use super::keys::Cipher;
use super::playlist::{Key, vector};

use super::stream::{Finished, Floor, Kept, Stream};
use crate::config::{Hls, HlsAcodec, HlsOnError, HlsVcodec};
use crate::format::ts::{self, Audio, Defaults, Mux, Muxed, TICKS, Video, bound};
use crate::hub::{Sink, SinkError};
use crate::io::stage::Progress;
use crate::io::zone::Zone;
use crate::limits::{HLS_FILE, HLS_PIECE, HLS_SEGMENT, KEY_WAIT_MS};
use crate::media::time::{Algorithm, Jitter};
use crate::media::{Decimal, Kind, Packet};
use crate::proto::rtmp::{RUNNEL, metadata};
use crate::service::path::Stamp;
use bytes::Bytes;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

/// A segment has at least so many milliseconds before it is cut for its length.
const SHORTEST_CUT_MS: i64 = 200;
/// A shorter one is not kept.
const SHORTEST_KEPT_MS: i64 = 100;
/// A time that is more than this before that of the packets before, or more than this after it, is
/// a jump.
const BACK_MS: i64 = 300;
const FORWARD_MS: i64 = 10_000;
/// Audio without video is written in PES packets of so many milliseconds.
const GATHER_MS: u32 = 720;
/// What the two clocks differ by more than this was set by somebody.
const CLOCK_SET_MS: u64 = 2000;
/// A stream that had no picture for so long, while it had sound, is cut as if it had none.
const SILENT_MS: i64 = 2000;

/// What the time is.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    /// Milliseconds since 1970.
    pub(super) unix: fn() -> u64,
    /// Milliseconds that never go back.
    pub(super) now: fn() -> u64,
}

/// Which date a time of the stream has. Dates follow the stream, whose packets may come earlier or
/// later; when the clock of the board is set they follow once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    /// Of the stream.
    at: i64,
    /// The date then, in milliseconds since 1970; the board may have been set to an earlier one.
    unix: i64,
    /// The monotonic clock then.
    began: u64,
}

impl Anchor {
    /// The stream's `at` is the date `unix`, with the monotonic clock at `began`.
    pub(super) const fn new(at: i64, unix: u64, began: u64) -> Self {
        Self { at, unix: unix.cast_signed(), began }
    }

    /// The date of `time`, when it is `unix` by one clock and `now` by the other.
    pub(super) fn date(&mut self, time: i64, unix: u64, now: u64) -> u64 {
        let expected = self.unix.saturating_add_unsigned(now.saturating_sub(self.began));
        let set = unix.cast_signed().saturating_sub(expected);
        if set.unsigned_abs() >= CLOCK_SET_MS {
            self.unix = self.unix.saturating_add(set);
        }
        let date = self.unix.saturating_add(time.saturating_sub(self.at));
        u64::try_from(date).unwrap_or_default()
    }
}

/// The sink of one publish.
pub(super) struct Cutter {
    stream: Rc<RefCell<Stream>>,
    generation: u32,
    config: Rc<Hls>,
    rules: Rules,
    clock: Clock,
    zone: Rc<Zone>,
    mux: Mux,
    jitter: Option<Jitter>,
    progress: Option<Progress>,
    /// Hears of each segment that is in the playlist.
    told: Option<Box<dyn Fn(Kept)>>,
    open: Option<Open>,
    /// Of the open segment, what is not with the disk yet.
    buffer: Vec<u8>,
    /// Bytes of it that the memory of all streams counts.
    charged: usize,
    /// The newest audio and video times.
    newest: [Option<i64>; 2],
    /// Sequence headers of audio and video were there.
    headers: [bool; 2],
    /// The next segment does not go on from the one before.
    broken: bool,
    /// The open segment ends before the next frame.
    ends: bool,
    /// Whether times are absolute.
    atc: Box<dyn Fn() -> bool>,
    /// No key frame came for as long as one is waited for: the next one is not waited for.
    keyless: bool,
    /// A time of the stream and when it was.
    anchor: Option<Anchor>,
    jumps: u64,
    left_out: u64,
    finished: bool,
}

/// When segments are cut, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Rules {
    fragment: i64,
    /// At any frame, of a stream without pictures or without key frames.
    audio: i64,
    /// At any frame of any stream.
    longest: i64,
    wait_keyframe: bool,
}

/// A segment that is being written.
struct Open {
    start: i64,
    end: i64,
    /// When it began, in milliseconds of the clock.
    began: u64,
    discontinuity: bool,
    unix: u64,
    stamp: Stamp,
    floor: Option<Floor>,
    key: Option<Rc<Key>>,
    cipher: Option<Cipher>,
    /// Bytes of it that are with the disk.
    written: usize,
}

/// Why a packet could not be taken.
#[derive(Debug)]
enum Error {
    Mux(ts::Error),
    Write(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mux(e) => e.fmt(f),
            Self::Write(e) => f.write_str(e),
        }
    }
}

impl Cutter {
    pub(super) fn new(
        stream: Rc<RefCell<Stream>>,
        clock: Clock,
        zone: Rc<Zone>,
        progress: Option<Progress>,
    ) -> Self {
        let (generation, config, mux) = {
            let mut stream = stream.borrow_mut();
            (stream.publish(), stream.config().clone(), stream.mux.take())
        };
        let defaults = Defaults {
            video: match config.hls_vcodec {
                HlsVcodec::H264 => Some(Video::H264),
                HlsVcodec::None => None,
            },
            audio: match config.hls_acodec {
                HlsAcodec::Aac => Some(Audio::Aac),
                HlsAcodec::Mp3 => Some(Audio::Mp3),
                HlsAcodec::None => None,
            },
            gather_ms: GATHER_MS,
        };
        let mux = match mux {
            Some(mut mux) => {
                mux.restart(defaults);
                mux
            }
            None => Mux::new(defaults),
        };
        let fragment = i64::try_from(config.hls_fragment.0.as_millis()).unwrap_or(i64::MAX);
        // The cast saturates.
        let audio = (fragment as f64 * config.hls_aof_ratio) as i64;
        let rules = Rules {
            fragment,
            audio,
            longest: audio.max(fragment).saturating_mul(2).max(KEY_WAIT_MS.into()),
            wait_keyframe: config.hls_wait_keyframe,
        };
        Self {
            stream,
            generation,
            jitter: (!config.hls_dts_directly).then(|| Jitter::new(Algorithm::Full)),
            config,
            rules,
            clock,
            zone,
            mux,
            progress,
            told: None,
            open: None,
            buffer: Vec::new(),
            charged: 0,
            newest: [None; 2],
            headers: [false; 2],
            broken: true,
            ends: false,
            atc: Box::new(|| false),
            keyless: false,
            anchor: None,
            jumps: 0,
            left_out: 0,
            finished: false,
        }
    }

    /// Times are absolute while `atc` says so: they are not corrected, and segments end where a
    /// multiple of their length is passed, so that those of every server that gets the stream do,
    /// whenever it got its first packet.
    pub(super) fn follow(&mut self, atc: impl Fn() -> bool + 'static) {
        self.atc = Box::new(atc);
    }

    /// Has `told` hear of each segment that is in the playlist.
    pub(super) fn tell_to(&mut self, told: impl Fn(Kept) + 'static) {
        self.told = Some(Box::new(told));
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.buffer.len()
    }

    /// As if so many bytes of the open segment were with the disk.
    #[cfg(test)]
    pub(super) fn pretend_written(&mut self, written: usize) {
        self.open.as_mut().expect("a segment is open").written = written;
    }

    fn take(&mut self, packet: &Packet) -> Result<(), Error> {
        match packet.kind {
            Kind::Data => {
                self.expect(&packet.payload);
                return Ok(());
            }
            Kind::Video if self.config.hls_vcodec == HlsVcodec::None => return Ok(()),
            Kind::Audio if self.config.hls_acodec == HlsAcodec::None => return Ok(()),
            Kind::Video | Kind::Audio => {}
        }
        if packet.header {
            return self.header(packet);
        }
        let packet = match &mut self.jitter {
            Some(jitter) if !(self.atc)() => {
                &Packet { dts: jitter.correct(packet.kind, packet.dts), ..packet.clone() }
            }
            _ => packet,
        };
        let cut = self.cut_before(packet);
        let written = self.write(packet);
        cut.and(written)
    }

    /// What the metadata says of the codecs, for the first program map.
    fn expect(&mut self, payload: &[u8]) {
        if metadata::is_metadata(payload)
            && let Ok(told) = metadata::normalise(payload, &RUNNEL)
            && (told.video_codec.is_some() || told.audio_codec.is_some())
        {
            let video = told.video_codec.and_then(Video::of);
            let audio = told.audio_codec.and_then(Audio::of);
            self.mux.expect(
                video.filter(|_| self.config.hls_vcodec != HlsVcodec::None),
                audio.filter(|_| self.config.hls_acodec != HlsAcodec::None),
            );
        }
    }

    fn header(&mut self, packet: &Packet) -> Result<(), Error> {
        let muxed = self.mux.packet(packet, &mut self.buffer).map_err(Error::Mux)?;
        let [audio, video] = &mut self.headers;
        let known = if packet.kind == Kind::Video { video } else { audio };
        // A first header may come after frames of the other kind: those go on.
        let again = std::mem::replace(known, true);
        if muxed == (Muxed::Header { changed: true }) && again {
            self.ends = self.open.is_some();
            self.broken = true;
        }
        Ok(())
    }

    /// Ends the segment if `packet` belongs into the next one.
    fn cut_before(&mut self, packet: &Packet) -> Result<(), Error> {
        let time = self.mux.time(packet.dts);
        let Some(open) = &self.open else { return Ok(()) };
        let jump = !self.newest.iter().flatten().any(|&newest| near(time, newest))
            && !self.on_clock(open, time);
        if self.ends || jump {
            if jump {
                self.jumps += 1;
                if self.jumps.is_power_of_two() {
                    let jumps = self.jumps;
                    log::warn!("hls: times jump to {time} ms, {jumps} jumps so far");
                }
            }
            self.broken = true;
            return self.close(None);
        }
        let duration = time.saturating_sub(open.start);
        // With hls_ts_floor three tenths of a segment for each one that the stream is ahead.
        let ahead = open.floor.map_or(0, |floor| floor.ahead);
        let deviation = self.rules.fragment.saturating_mul(3 * ahead) / 10;
        let longer =
            |than: i64| duration >= SHORTEST_CUT_MS && duration >= than.saturating_add(deviation);
        let Rules { fragment, audio, longest, wait_keyframe } = self.rules;
        let [_, picture] = self.newest;
        let pictures = packet.kind == Kind::Video
            || picture.is_some_and(|picture| time.saturating_sub(picture) < SILENT_MS);
        let starts = packet.kind == Kind::Video && (packet.key || !wait_keyframe);
        if starts {
            self.keyless = false;
        }
        // Where a key frame will come, nothing else cuts.
        let held = !starts && pictures && !self.keyless;
        let wait = if starts {
            fragment
        } else if held {
            longest
        } else {
            audio
        };
        let passed = || (self.atc)() && passes(open.start, time, fragment);
        let due = longer(wait) || !held && open.floor.is_none() && longer(0) && passed();
        self.keyless |= due && pictures && !starts;
        if due {
            return self.close(Some(time));
        }
        Ok(())
    }

    fn write(&mut self, packet: &Packet) -> Result<(), Error> {
        let most = bound(packet.payload.len());
        let longest = if self.stream.borrow().in_ram() { HLS_SEGMENT } else { HLS_FILE };
        let len = self.open.as_ref().map_or(0, |open| open.written + self.buffer.len());
        if len > 0 && len.saturating_add(most) > longest {
            log::warn!("hls: segment of {len} bytes is closed early");
            self.close(Some(self.mux.time(packet.dts)))?;
        }
        if !self.charge(most) {
            self.close(Some(self.mux.time(packet.dts)))?;
            self.stream.borrow_mut().make_room(most);
            if !self.charge(most) {
                self.broken = true;
                return Err(Error::Write("memory is used up (limit hls_ram)".into()));
            }
        }
        if self.open.is_none() {
            self.mux.begin_segment();
        }
        // What most packets need. Grows by a quarter, not to the double.
        let need = packet.payload.len() + packet.payload.len() / 32 + 4 * ts::PACKET;
        if self.buffer.capacity() - self.buffer.len() < need {
            self.buffer.reserve_exact(need.max(self.buffer.len() / 4));
        }
        let muxed = self.mux.packet(packet, &mut self.buffer).map_err(Error::Mux)?;
        if let Muxed::Frame { time, .. } = muxed {
            self.frame(packet.kind, time)?;
        }
        Ok(())
    }

    /// A frame at `time` was written.
    fn frame(&mut self, kind: Kind, time: i64) -> Result<(), Error> {
        // What jumped back or ahead while the other kind did not does not count.
        let counts = |open: &Open| near(time, open.end) || self.on_clock(open, time);
        let counts = self.open.as_ref().map(counts);
        match (&mut self.open, counts) {
            (Some(open), Some(true)) => open.end = open.end.max(time),
            (Some(_), _) => {}
            (None, _) => {
                if let Err(e) = self.begin(time) {
                    self.abandon();
                    return Err(Error::Write(e));
                }
            }
        }
        let [audio, video] = &mut self.newest;
        *(if kind == Kind::Video { video } else { audio }) = Some(time);
        self.tell(time);
        if !self.stream.borrow().in_ram() && self.buffer.len() >= HLS_PIECE {
            let mut piece = std::mem::take(&mut self.buffer);
            if let Some(open) = &mut self.open {
                if let Some(cipher) = &mut open.cipher {
                    self.buffer = cipher.piece(&mut piece);
                }
                open.written += piece.len();
            }
            let piece = Bytes::from(piece);
            // From now on the queue of the disk counts it.
            self.stream.borrow().uncharge(std::mem::take(&mut self.charged));
            let appended = self.stream.borrow_mut().append(piece);
            if let Err(e) = appended {
                self.abandon();
                return Err(Error::Write(e));
            }
        }
        Ok(())
    }

    fn begin(&mut self, time: i64) -> Result<(), String> {
        let now = (self.clock.unix)();
        let discontinuity = std::mem::take(&mut self.broken);
        if discontinuity {
            self.anchor = None;
        }
        let began = (self.clock.now)();
        let anchor = self.anchor.get_or_insert(Anchor::new(time, now, began));
        let unix = anchor.date(time, now, began);
        let stamp = Stamp::at(now, &self.zone);
        let mut stream = self.stream.borrow_mut();
        let key = stream.key(&stamp)?;
        let floor = stream.begin(now, &stamp);
        let iv = vector(stream.next()).to_be_bytes();
        self.ends = false;
        self.open = Some(Open {
            start: time,
            end: time,
            began,
            discontinuity,
            unix,
            stamp,
            floor,
            cipher: key.as_ref().map(|key| key.secret.cipher(iv)),
            key,
            written: 0,
        });
        Ok(())
    }

    /// Whether `time` goes on from the start of the segment at the pace of the clock: a stream may
    /// have a picture a minute.
    fn on_clock(&self, open: &Open, time: i64) -> bool {
        let elapsed = (self.clock.now)().saturating_sub(open.began);
        let longest = FORWARD_MS.saturating_add_unsigned(elapsed);
        time >= open.end && time.saturating_sub(open.start) <= longest
    }

    /// Ends the segment; the next one begins at `next`, if that is known.
    fn close(&mut self, next: Option<i64>) -> Result<(), Error> {
        let mut stream = self.stream.borrow_mut();
        stream.uncharge(std::mem::take(&mut self.charged));
        let Some(open) = self.open.take() else { return Ok(()) };
        self.ends = false;
        self.mux.flush(&mut self.buffer);
        let mut bytes = std::mem::take(&mut self.buffer);
        if let Some(cipher) = open.cipher {
            cipher.finish(&mut bytes);
        }
        bytes.shrink_to_fit();
        let millis = next.unwrap_or(open.end).max(open.start) - open.start;
        if millis < SHORTEST_KEPT_MS {
            stream.discard();
            self.broken = true;
            return Ok(());
        }
        let number = stream.next();
        let finished = Finished {
            bytes,
            millis: u32::try_from(millis).unwrap_or(u32::MAX),
            discontinuity: open.discontinuity,
            unix: open.unix,
            stamp: open.stamp,
            floor: open.floor.map(|floor| floor.number),
            key: open.key,
        };
        match stream.keep(finished) {
            Ok(uri) => {
                log::debug!("hls: segment {number}, {uri}, {millis} ms");
                if let (Some(told), Some(kept)) = (&self.told, stream.newest()) {
                    told(kept);
                }
                Ok(())
            }
            Err(e) => {
                stream.discard();
                self.broken = true;
                Err(Error::Write(e))
            }
        }
    }

    /// Gives the open segment up.
    fn abandon(&mut self) {
        self.open = None;
        self.broken = true;
        self.buffer.clear();
        let mut stream = self.stream.borrow_mut();
        stream.uncharge(std::mem::take(&mut self.charged));
        stream.discard();
    }

    /// Counts `most` bytes more than are in the buffer. Whether there is memory for them.
    fn charge(&mut self, most: usize) -> bool {
        let need = (self.buffer.len() + most).saturating_sub(self.charged);
        let there = self.stream.borrow().charge(need);
        if there {
            self.charged += need;
        }
        there
    }

    /// The periodic log line.
    fn tell(&mut self, time: i64) {
        let Some(age) = self.progress.as_mut().and_then(Progress::age) else { return };
        let Some(open) = &self.open else { return };
        let stream = self.stream.borrow();
        let duration = Decimal::new((open.end - open.start) as f64 / 1000.0, 2);
        log::info!(
            "-> HLS time={age}, stream dts={}({time}ms), sno={}, ts={}, dur={duration}, dva={}p",
            time.saturating_mul(TICKS),
            stream.next(),
            stream.name(open.floor.map(|floor| floor.number), &open.stamp),
            open.floor.map_or(0, |floor| floor.ahead),
        );
    }

    /// What the configuration says is to happen after an error.
    fn failed(&mut self, error: &Error) -> Result<(), SinkError> {
        self.left_out += 1;
        if self.left_out.is_power_of_two() {
            log::warn!("hls: {error}; {} packets left out. ret=3001", self.left_out);
        }
        match self.config.hls_on_error {
            HlsOnError::Ignore => Err(SinkError::Ignore),
            HlsOnError::Disconnect => Err(SinkError::Disconnect),
            HlsOnError::Continue => Ok(()),
        }
    }

    fn finish(&mut self) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if self.stream.borrow().generation != self.generation {
            // Somebody else writes the stream now.
            self.stream.borrow().uncharge(std::mem::take(&mut self.charged));
            return;
        }
        if let Err(e) = self.close(None) {
            log::warn!("hls: {e}");
        }
        let mut stream = self.stream.borrow_mut();
        stream.mux = Some(std::mem::replace(&mut self.mux, Mux::new(Defaults::default())));
        stream.unpublish((self.clock.now)());
    }
}

impl Sink for Cutter {
    fn service(&self) -> &'static str {
        "hls"
    }

    fn on_packet(&mut self, packet: &Packet) -> Result<(), SinkError> {
        if self.stream.borrow().generation != self.generation {
            return Ok(());
        }
        self.take(packet).or_else(|e| self.failed(&e))
    }

    fn on_unpublish(&mut self) {
        self.finish();
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Whether a multiple of `length` is between `start` and `time`.
fn passes(start: i64, time: i64, length: i64) -> bool {
    let length = length.max(1);
    start.div_euclid(length) != time.div_euclid(length)
}

/// Whether `time` goes on from `before`.
fn near(time: i64, before: i64) -> bool {
    (-BACK_MS..=FORWARD_MS).contains(&time.saturating_sub(before))
}
