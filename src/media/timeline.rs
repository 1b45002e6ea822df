//! What is wrong in the times of a source, put right where it comes in, so that no output has to.
//!
//! Cameras and encoders wrap, start anywhere, jump when their clock is set, send a frame with a
//! time that is hours off, stand still, or run their two tracks on two clocks. What leaves here
//! begins at 0 (or where the source does), rises strictly in each track, and has no jumps. Both
//! tracks are moved by the same amount, so that they stay in sync.

use super::time::{MASK, difference};
use super::{Kind, Packet};

/// A frame may be so many milliseconds after all that came before; more is a jump.
pub const GAP_MS: i64 = 5000;
/// Frames in a row that must agree on a jump before it is believed. Until then they are given times
/// right behind the last one.
pub const CONFIRM: u8 = 3;
/// The same for a step back of less than [`SMALL_MS`]: reordered frames look like that too.
pub const CONFIRM_SMALL: u8 = 12;
/// What a small step back is, in milliseconds.
pub const SMALL_MS: i64 = 500;
/// Frames that agree on a jump are no further from each other than this, in milliseconds.
const AGREE_MS: i64 = 1000;
/// Frames that come so many milliseconds apart, time after time, are those of a slow source.
const SLOW_MS: i64 = 120_000;
/// The longest step between frames that is learned for those that come without a time.
const USUAL_MS: i64 = 200;
/// From a frame to the next one when nothing is known of it.
const STEP_MS: i64 = 20;
/// The longest time from decoding to showing that is believed, in milliseconds.
pub const CTS_MAX: i32 = 10_000;

/// `cts` if it can be, 0 to [`CTS_MAX`]; else 0: the picture is shown when it is decoded.
pub const fn sane_cts(cts: i32) -> i32 {
    if 0 <= cts && cts <= CTS_MAX { cts } else { 0 }
}

/// Where the times of a stream begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Start {
    /// The first frame is at 0.
    #[default]
    Zero,
    /// The first frame keeps its time (`atc on`).
    Keep,
}

/// Corrects the times of one source. About 200 bytes.
#[derive(Clone, Debug)]
pub struct Timeline {
    start: Start,
    audio: Track,
    video: Track,
    /// The newest time of any track, as it came and made to go on; `None` before the first frame.
    newest_in: Option<(u32, i64)>,
    /// The latest time that was given.
    newest_out: i64,
    /// What the newest track to be moved adds to its times; the other one will follow.
    offset: i64,
    jumps: u32,
    corrected: u32,
}

#[derive(Clone, Copy, Debug)]
struct Track {
    /// The newest frame as it came: its time as it was, and made to go on. `None` before the first.
    last: Option<(u32, i64)>,
    /// The newest time that was given, −1 before the first.
    out: i64,
    /// What it adds to its times.
    offset: i64,
    /// What its clock is behind that of the other track, if they are two.
    skew: i64,
    /// From one frame to the next.
    step: i64,
    /// The same for a slow source, else 0.
    slow: i64,
    /// Frames that do not fit, and agree with each other.
    doubt: Option<Doubt>,
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    time: i64,
    frames: u8,
}

impl Timeline {
    /// For a source that has sent nothing yet.
    pub fn new(start: Start) -> Self {
        let track =
            Track { last: None, out: -1, offset: 0, skew: 0, step: STEP_MS, slow: 0, doubt: None };
        Self {
            start,
            audio: track,
            video: track,
            newest_in: None,
            newest_out: 0,
            offset: 0,
            jumps: 0,
            corrected: 0,
        }
    }

    /// The packet with the time that it should have. Once a packet, in the order in which they
    /// come.
    pub fn correct(&mut self, packet: Packet) -> Packet {
        let dts = self.time(packet.kind, packet.dts, packet.header);
        Packet { dts, ..packet }
    }

    /// The same for a packet that is not made yet: `header` says that it is a sequence header.
    /// Headers and metadata get the time of what comes next to them, and move nothing.
    pub fn time(&mut self, kind: Kind, dts: u32, header: bool) -> u32 {
        let out = match kind {
            Kind::Audio | Kind::Video if !header => self.frame(kind, dts),
            _ => self.beside(kind, dts),
        };
        // 31 bits of it, on purpose.
        out as u32 & MASK
    }

    /// A source was connected anew: it may begin anywhere, its two tracks from one clock, and goes
    /// on right behind what was given last.
    pub fn reconnected(&mut self) {
        self.newest_in = None;
        for track in [&mut self.audio, &mut self.video] {
            (track.last, track.skew, track.doubt) = (None, 0, None);
        }
    }

    /// Jumps of the source that were believed, and taken out.
    pub const fn jumps(&self) -> u32 {
        self.jumps
    }

    /// Frames that were given another time than their own and the jumps say.
    pub const fn corrected(&self) -> u32 {
        self.corrected
    }

    const fn track(&mut self, kind: Kind) -> &mut Track {
        match kind {
            Kind::Audio => &mut self.audio,
            Kind::Video | Kind::Data => &mut self.video,
        }
    }

    fn beside(&mut self, kind: Kind, dts: u32) -> i64 {
        let (newest, newest_in) = (self.newest_out, self.newest_in);
        let track = *self.track(kind);
        let Some((raw, time)) = newest_in else {
            let keep = self.start == Start::Keep && newest == 0;
            return if keep { dts.into() } else { newest };
        };
        let time = time.saturating_add(difference(dts, raw).into());
        let out = time.saturating_add(track.offset);
        // What is not near was not meant.
        let near = track.last.is_some() && (track.out..=newest + GAP_MS).contains(&out);
        if near { out } else { newest.max(track.out) }
    }

    fn frame(&mut self, kind: Kind, dts: u32) -> i64 {
        let raw = dts & MASK;
        let (out, time) = match (self.newest_in, self.track(kind).last) {
            (None, _) => self.first(kind, raw),
            (Some(newest), None) => self.second(kind, raw, newest),
            (Some(_), Some((last, time))) => {
                let time = time.saturating_add(difference(raw, last).into());
                (self.next(kind, time), time)
            }
        };
        let track = self.track(kind);
        track.last = Some((raw, time));
        track.out = out;
        self.newest_in = Some((raw, time));
        self.newest_out = self.newest_out.max(out);
        out
    }

    /// The first frame of all, or of a new connection.
    fn first(&mut self, kind: Kind, raw: u32) -> (i64, i64) {
        let time = i64::from(raw);
        let begun = self.audio.out.max(self.video.out) >= 0;
        let out = match self.start {
            _ if begun => self.newest_out.saturating_add(self.track(kind).step),
            Start::Zero => 0,
            Start::Keep => time,
        };
        self.offset = out - time;
        self.track(kind).offset = out - time;
        (out, time)
    }

    /// The first frame of the other track.
    fn second(&mut self, kind: Kind, raw: u32, newest: (u32, i64)) -> (i64, i64) {
        let (offset, newest_out) = (self.offset, self.newest_out);
        let time = newest.1.saturating_add(difference(raw, newest.0).into());
        let near = time.saturating_add(offset);
        let skew = if near.abs_diff(newest_out) <= GAP_MS.unsigned_abs() {
            0
        } else {
            self.corrected = self.corrected.saturating_add(1);
            newest_out.saturating_sub(near)
        };
        let track = self.track(kind);
        (track.offset, track.skew) = (offset.saturating_add(skew), skew);
        // What began before the other track cannot be before the start.
        (near.saturating_add(skew).max(track.out + 1), time)
    }

    fn next(&mut self, kind: Kind, time: i64) -> i64 {
        let (newest, shared) = (self.newest_out, self.offset);
        let track = self.track(kind);
        let last = track.out;
        let latest = newest.saturating_add(GAP_MS).max(last.saturating_add(2 * track.slow));
        let fits = |out: i64| last < out && out <= latest;
        let own = time.saturating_add(track.offset);
        if fits(own) {
            // A track that was silent for some time says nothing about its frames.
            if track.doubt.is_none() && own - last <= USUAL_MS {
                (track.step, track.slow) = (own - last, 0);
            }
            track.doubt = None;
            return own;
        }
        if (-GAP_MS..0).contains(&own) {
            // It began before the other track, and waits for it to begin.
            return last + 1;
        }
        // The other track was moved: this one came to the same place.
        let followed = shared.saturating_add(track.skew);
        let moved = time.saturating_add(followed);
        if followed != track.offset && moved > last - SMALL_MS && moved <= latest {
            track.offset = followed;
            track.doubt = None;
            return moved.max(last + 1);
        }
        self.doubt(kind, time, own)
    }

    /// A frame that does not fit.
    fn doubt(&mut self, kind: Kind, time: i64, own: i64) -> i64 {
        self.corrected = self.corrected.saturating_add(1);
        let newest = self.newest_out;
        let track = self.track(kind);
        let small = own <= track.out && own > track.out - SMALL_MS;
        let ahead = own > track.out;
        let most = if ahead { SLOW_MS } else { AGREE_MS };
        let apart = track.doubt.map(|doubt| (time - doubt.time, doubt.frames));
        let frames = match apart {
            // Frames of one time are one.
            Some((0, frames)) => frames,
            Some((apart, frames)) if (1..=most).contains(&apart) => frames.saturating_add(1),
            _ => 1,
        };
        track.doubt = Some(Doubt { time, frames });
        // A frame a little too early is late or out of order; others have times that say nothing.
        let out = track.out + if small { 1 } else { track.step.max(1) };
        if frames < if small { CONFIRM_SMALL } else { CONFIRM } {
            return out;
        }
        track.doubt = None;
        if let Some((apart @ GAP_MS.., _)) = apart
            && ahead
        {
            track.slow = apart;
            if own <= newest.saturating_add(i64::from(CONFIRM) * apart) {
                return own;
            }
        }
        track.offset = out - time;
        self.offset = track.offset.saturating_sub(track.skew);
        self.jumps = self.jumps.saturating_add(1);
        out
    }
}

#[cfg(test)]
mod tests;
