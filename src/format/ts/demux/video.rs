//! Access units out of an elementary stream of video, wherever its PES packets are cut.

use super::super::{TICKS, Video};
use super::marks::{Mark, Marks, millis};
use super::packets::{Begin, Piece};
use super::{Counters, Port, Stop};
use crate::codec::assemble::{Assembler, Time, extend_bounded};
use crate::codec::nal::{self, Unit};
use crate::limits::{MESSAGE_MAX, NAL_UNITS};

/// Before a PES packet that states its length is taken for a whole picture, so many were one.
const TRUSTED: u8 = 3;
/// A picture that is longer than a PES packet can be is cut into several: the first ones are full.
const FULL: usize = 60_000;
/// Between two pictures of which nothing is known.
const STEP: i64 = 40 * TICKS;

#[derive(Debug)]
pub(super) struct Pictures {
    assembler: Assembler,
    /// The stream from the start of the picture in progress on.
    bytes: Vec<u8>,
    /// Before it there is no start code that was not looked at.
    scanned: usize,
    /// The picture in progress has a slice.
    slice: bool,
    marks: Marks,
    times: Times,
    edge: Edge,
}

/// The times of pictures that have none of their own follow from those that have.
#[derive(Debug)]
struct Times {
    last: Option<Mark>,
    /// Pictures since then, that one counted too.
    since: i64,
    /// From one picture to the next.
    step: i64,
}

/// What is known of where PES packets are cut. As long as each of them is one picture, a picture
/// need not wait for the start of the next one.
#[derive(Debug, Default)]
struct Edge {
    /// Where the newest PES packet begins, until its first unit was looked at.
    at: Option<usize>,
    /// It states its length, and how long it is.
    stated: Option<usize>,
    /// The packet before it stated its length.
    before: bool,
    right: u8,
    /// There was one that was no picture.
    wrong: bool,
}

impl Pictures {
    pub(super) fn new(video: Video) -> Self {
        Self {
            assembler: Assembler::new(video),
            bytes: Vec::new(),
            scanned: 0,
            slice: false,
            marks: Marks::default(),
            times: Times { last: None, since: 0, step: STEP },
            edge: Edge::default(),
        }
    }

    pub(super) const fn video(&self) -> Video {
        self.assembler.video()
    }

    /// Pictures and parameter sets that could not be used.
    pub(super) const fn dropped(&self) -> u32 {
        self.assembler.dropped()
    }

    /// Takes a piece of a PES packet. False: nothing more of it is wanted.
    pub(super) fn piece(&mut self, piece: &Piece<'_>, port: &mut Port<'_>) -> Result<bool, Stop> {
        if let Some(begin) = &piece.begin {
            self.begin(begin, port);
        }
        self.edge.wrong |= piece.over;
        if !extend_bounded(&mut self.bytes, piece.data, MESSAGE_MAX) {
            Counters::add(&mut port.counters.oversized);
            self.clear();
            return Ok(false);
        }
        self.scan(false, port)?;
        if piece.end && self.edge.is_trusted() {
            self.finish(port)?;
        }
        Ok(true)
    }

    /// The picture in progress is damaged.
    pub(super) fn lost(&mut self, counters: &mut Counters) {
        if !self.bytes.is_empty() {
            Counters::add(&mut counters.damaged);
        }
        self.clear();
    }

    /// The picture in progress is whole: nothing more of it comes.
    pub(super) fn finish(&mut self, port: &mut Port<'_>) -> Result<(), Stop> {
        self.scan(true, port)?;
        let given = if self.slice { self.give(self.bytes.len(), port) } else { Ok(()) };
        self.scanned = self.bytes.len();
        given
    }

    fn begin(&mut self, begin: &Begin, port: &mut Port<'_>) {
        self.edge.before = self.edge.stated.is_some();
        self.edge.at = Some(self.bytes.len());
        self.edge.stated = begin.len;
        let Some(pts) = begin.pts else { return };
        let dts = port.clock.advance(begin.dts.unwrap_or(pts));
        let pts = port.clock.near(pts);
        self.marks.push(self.bytes.len(), pts, dts);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.scanned = 0;
        self.slice = false;
        self.marks.clear();
        self.edge.at = None;
    }

    /// Looks at the units that came; gives the picture where the next one begins. `all` says that
    /// nothing follows.
    fn scan(&mut self, all: bool, port: &mut Port<'_>) -> Result<(), Stop> {
        let video = self.assembler.video();
        loop {
            let Some(found) = self.bytes.get(self.scanned..).and_then(nal::start_code) else {
                // The last two bytes may be the start of a start code.
                self.scanned = self.scanned.max(self.bytes.len().saturating_sub(2));
                return Ok(());
            };
            let mut at = self.scanned + found;
            let unit = self.bytes.get(at + 3..).unwrap_or_default();
            if unit.len() < video.head() && !all {
                self.scanned = at;
                return Ok(());
            }
            let (kind, next) = (video.unit(unit), video.begins_picture(unit));
            self.edge.unit(at, kind, next || !self.slice);
            if self.slice && next {
                self.give(at, port)?;
                at = 0;
            }
            self.slice |= matches!(kind, Unit::Slice { .. });
            self.scanned = at + 3;
        }
    }

    /// Gives the picture in the first `end` bytes, which are gone then.
    fn give(&mut self, end: usize, port: &mut Port<'_>) -> Result<(), Stop> {
        let picture = self.bytes.get(..end).unwrap_or_default();
        let start = nal::start_code(picture).unwrap_or_default();
        let time = self.times.next(self.marks.take(start));
        let given = match time {
            Some(time) => {
                let Port { memory, out, .. } = port;
                // They are gone through several times: looked for once, if they are not too many.
                let mut units = heapless::Vec::<&[u8], NAL_UNITS>::new();
                let assembler = &mut self.assembler;
                let given = match nal::units(picture).try_for_each(|unit| units.push(unit)) {
                    Ok(()) => assembler.picture(units.iter().copied(), time, *memory, *out),
                    Err(_) => assembler.picture(nal::units(picture), time, *memory, *out),
                };
                given.map_err(Stop::Memory)
            }
            // Nothing is known of the time before the first PES packet that states one.
            None => {
                Counters::add(&mut port.counters.damaged);
                Ok(())
            }
        };
        self.bytes.drain(..end.min(self.bytes.len()));
        self.marks.advance(end);
        self.edge.at = self.edge.at.map(|at| at.saturating_sub(end));
        self.scanned = 0;
        self.slice = false;
        given
    }
}

impl Times {
    fn next(&mut self, mark: Option<Mark>) -> Option<Time> {
        let (pts, dts) = match (mark, self.last) {
            (Some(mark), last) => {
                let step = last.map(|last| mark.dts.saturating_sub(last.dts) / self.since.max(1));
                if let Some(step @ TICKS..=90_000) = step {
                    self.step = step;
                }
                self.last = Some(mark);
                self.since = 0;
                (mark.pts, mark.dts)
            }
            (None, Some(last)) => {
                let later = self.step.saturating_mul(self.since);
                (last.pts.saturating_add(later), last.dts.saturating_add(later))
            }
            (None, None) => return None,
        };
        self.since = self.since.saturating_add(1);
        let (shown, dts) = (millis(pts), millis(dts));
        Some(Time { dts, cts: shown.wrapping_sub(dts).cast_signed() })
    }
}

impl Edge {
    /// A unit of kind `kind` begins at `at`, and `next` says whether it may begin a picture.
    fn unit(&mut self, at: usize, kind: Unit, next: bool) {
        let Some(edge) = self.at.filter(|&edge| at >= edge) else { return };
        self.at = None;
        // A start code has a zero more or none.
        let rest = matches!(kind, Unit::Slice { first: false, .. });
        if at - edge > 1 || !next || rest {
            self.wrong = true;
        } else if self.before {
            self.right = self.right.saturating_add(1);
        }
    }

    fn is_trusted(&self) -> bool {
        !self.wrong && self.right >= TRUSTED && self.stated.is_some_and(|len| len < FULL)
    }
}
