//! MP4 files that begin later or end sooner: the index (`moov`) of a part of the file
//! (ISO/IEC 14496-12). Samples are not touched.

use std::fmt;
use std::ops::Range;

/// The bytes that [`head`] needs.
pub const HEAD: usize = 16;

/// The first bytes of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// `moov` and the like.
    pub kind: [u8; 4],
    /// How long this head is: 8 or 16 bytes.
    pub len: u64,
    /// How long the box is, head included; `None` when it goes to the end of the file.
    pub total: Option<u64>,
}

/// A part of a file. To be sent: the index, [`data`](Self::data).
#[derive(Debug)]
pub struct Cut {
    /// What is to stand before it, the new `moov`, the head of the `mdat` behind it.
    pub index: Vec<u8>,
    /// Where in the old file the body of that `mdat` is.
    pub data: Range<u64>,
}

/// Why a file cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No sample is in the part that is asked for.
    Beyond,
    /// A box or table says what cannot be.
    Malformed(&'static str),
    /// It is made of fragments, or has tables that are not known here.
    Unsupported(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beyond => f.write_str("nothing is in that part"),
            Self::Malformed(what) => write!(f, "{what} is malformed"),
            Self::Unsupported(what) => write!(f, "{what} is not supported"),
        }
    }
}

impl std::error::Error for Error {}

type Result<T> = std::result::Result<T, Error>;

/// Reads the head of a box. Fails when `bytes` are too few or the length is below that of the head.
pub fn head(bytes: &[u8]) -> Result<Head> {
    let (&[a, b, c, d, k0, k1, k2, k3], rest) =
        bytes.split_first_chunk().ok_or(Error::Malformed("a box"))?;
    let kind = [k0, k1, k2, k3];
    let (len, total) = match u32::from_be_bytes([a, b, c, d]) {
        0 => (8, None),
        1 => {
            let long = rest.first_chunk().ok_or(Error::Malformed("a box"))?;
            (16, Some(u64::from_be_bytes(*long)))
        }
        total => (8, Some(u64::from(total))),
    };
    if total.is_some_and(|total| total < len) {
        return Err(Error::Malformed("a box"));
    }
    Ok(Head { kind, len, total })
}

/// The part of a file from `start` to `end`, both in milliseconds. It begins at the key frame
/// before `start`, as no decoder could begin elsewhere; `end` is `None` for the end of the file.
/// `moov` is the body of that box, `before` is what will stand before the new one: `ftyp`.
pub fn cut(moov: &[u8], start: u64, end: Option<u64>, before: &[u8]) -> Result<Cut> {
    if child(moov, b"mvex")?.is_some() {
        return Err(Error::Unsupported("a file of fragments"));
    }
    let mvhd = need(moov, b"mvhd")?;
    let scale = Times::of(mvhd)?.scale;
    let mut tracks = Vec::new();
    for item in boxes(moov) {
        let (kind, body) = item?;
        if kind == *b"trak" {
            if tracks.len() == TRACKS {
                return Err(Error::Unsupported("a file of so many tracks"));
            }
            tracks.push(Track::parse(body)?);
        }
    }
    choose(&mut tracks, start, end)?;
    let mut out = Vec::with_capacity(before.len() + moov.len() + MORE);
    out.extend_from_slice(before);
    let mut writer = Writer { out, offsets: Vec::new(), data: None };
    let longest = tracks.iter().map(|track| track.in_scale(scale)).max().unwrap_or_default();
    let mut cuts = tracks.iter();
    writer.parent(b"moov", |writer| {
        for item in boxes(moov) {
            match item? {
                (kind, body) if kind == *b"mvhd" => writer.timed(&kind, body, longest)?,
                (kind, body) if kind == *b"trak" => {
                    let track = cuts.next().ok_or(Error::Malformed("trak"))?;
                    writer.parent(b"trak", |writer| writer.trak(body, track, scale))?;
                }
                (kind, body) => writer.leaf(&kind, body)?,
            }
        }
        Ok(())
    })?;
    writer.finish()
}

/// Says which samples of each track are in the part.
fn choose(tracks: &mut [Track<'_>], start: u64, end: Option<u64>) -> Result<()> {
    // The picture leads: where it has a key frame, the others begin, too.
    let lead = tracks.iter().find(|track| track.keys.is_some()).or_else(|| tracks.first());
    let lead = lead.ok_or(Error::Beyond)?;
    let (mut sample, _) = lead.sample_at(scaled(start, 1000, lead.scale)?)?;
    if sample >= lead.sizes.count {
        return Err(Error::Beyond);
    }
    if let Some(keys) = lead.keys {
        let before = numbers(keys).filter(|key| *key > 0 && *key - 1 <= sample).max();
        sample = before.map_or(0, |key| key - 1);
    }
    let (at, at_scale) = (lead.time_of(sample)?, lead.scale);
    for track in tracks.iter_mut() {
        let count = track.sizes.count;
        let (first, _) = track.sample_at(scaled(at, at_scale, track.scale)?)?;
        let mut last = count;
        if let Some(end) = end {
            let end = scaled(end, 1000, track.scale)?;
            let (sample, time) = track.sample_at(end)?;
            last = sample.saturating_add(u32::from(time < end)).min(count);
        }
        track.samples = first.min(last)..last;
        track.duration = track.time_of(last)?.saturating_sub(track.time_of(track.samples.start)?);
    }
    match tracks.iter().all(|track| track.samples.is_empty()) {
        true => Err(Error::Beyond),
        false => Ok(()),
    }
}

/// What is needed of a track.
struct Track<'a> {
    /// Units in a second.
    scale: u32,
    /// `stts`: samples, and how long each is.
    times: &'a [u8],
    /// `stss`: key frames, the first sample being 1.
    keys: Option<&'a [u8]>,
    sizes: Sizes<'a>,
    /// Those that stay, the first being 0.
    samples: Range<u32>,
    /// Of those that stay.
    duration: u64,
}

impl<'a> Track<'a> {
    fn parse(trak: &'a [u8]) -> Result<Self> {
        let mdia = need(trak, b"mdia")?;
        let scale = Times::of(need(mdia, b"mdhd")?)?.scale;
        let stbl = need(need(mdia, b"minf")?, b"stbl")?;
        let keys = child(stbl, b"stss")?.map(|stss| table(stss, 4)).transpose()?;
        Ok(Self {
            scale,
            times: table(need(stbl, b"stts")?, 8)?,
            keys,
            sizes: Sizes::parse(stbl)?,
            samples: 0..0,
            duration: 0,
        })
    }

    /// The sample that is decoded at `at`, and when it begins; one more than there are, behind the
    /// end.
    fn sample_at(&self, at: u64) -> Result<(u32, u64)> {
        let (mut sample, mut time) = (0_u64, 0_u64);
        for (count, delta) in pairs(self.times) {
            let span = u64::from(count) * u64::from(delta);
            let end = time.checked_add(span).ok_or(Error::Malformed("stts"))?;
            if at < end {
                let within = (at - time) / u64::from(delta.max(1));
                (sample, time) = (sample + within, time + within * u64::from(delta));
                let sample = u32::try_from(sample).unwrap_or(u32::MAX);
                return Ok((sample.min(self.sizes.count), time));
            }
            (sample, time) = (sample + u64::from(count), end);
        }
        Ok((self.sizes.count, time))
    }

    /// When a sample is decoded.
    fn time_of(&self, sample: u32) -> Result<u64> {
        let (mut left, mut time) = (sample, 0_u64);
        for (count, delta) in pairs(self.times) {
            let span = u64::from(count.min(left)) * u64::from(delta);
            time = time.checked_add(span).ok_or(Error::Malformed("stts"))?;
            left = left.saturating_sub(count);
        }
        Ok(time)
    }

    fn in_scale(&self, scale: u32) -> u64 {
        scaled(self.duration, self.scale, scale).unwrap_or(u64::MAX)
    }
}

/// `stsz`.
struct Sizes<'a> {
    /// Of every sample; 0 when `table` says.
    all: u32,
    count: u32,
    table: &'a [u8],
}

impl<'a> Sizes<'a> {
    fn parse(stbl: &'a [u8]) -> Result<Self> {
        let Some(stsz) = child(stbl, b"stsz")? else { return Err(Error::Unsupported("stz2")) };
        let (all, count) = (number(stsz, 4)?, number(stsz, 8)?);
        let rest = stsz.get(4..).unwrap_or_default();
        let table = if all == 0 { table(rest, 4)? } else { &[] };
        Ok(Self { all, count, table })
    }

    /// Bytes of `samples`.
    fn sum(&self, samples: Range<u64>) -> Result<u64> {
        if self.all > 0 {
            let count = samples.end.saturating_sub(samples.start);
            return count.checked_mul(u64::from(self.all)).ok_or(Error::Malformed("stsz"));
        }
        Ok(numbers(self.slice(samples)?).map(u64::from).sum())
    }

    fn slice(&self, samples: Range<u64>) -> Result<&'a [u8]> {
        let at = |sample: u64| sample.checked_mul(4).and_then(|at| usize::try_from(at).ok());
        let range = at(samples.start).zip(at(samples.end));
        range.and_then(|(from, to)| self.table.get(from..to)).ok_or(Error::Malformed("stsz"))
    }
}

/// `stco` or `co64` that was written, with offsets into the old file.
struct Offsets {
    at: usize,
    count: usize,
    wide: bool,
}

struct Writer {
    out: Vec<u8>,
    offsets: Vec<Offsets>,
    /// From the first byte that is needed to the last one.
    data: Option<Range<u64>>,
}

impl Writer {
    fn leaf(&mut self, kind: &[u8; 4], body: &[u8]) -> Result<()> {
        self.parent(kind, |writer| {
            writer.out.extend_from_slice(body);
            Ok(())
        })
    }

    fn parent(&mut self, kind: &[u8; 4], body: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let at = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        self.out.extend_from_slice(kind);
        body(self)?;
        let len = u32::try_from(self.out.len() - at).map_err(|_| Error::Malformed("a box"))?;
        self.patch(at, &len.to_be_bytes());
        Ok(())
    }

    /// A table: version and flags, how many entries, the entries.
    fn table(&mut self, kind: &[u8; 4], width: usize, entries: &[u8]) -> Result<()> {
        let count =
            u32::try_from(entries.len() / width).map_err(|_| Error::Malformed("a table"))?;
        self.parent(kind, |writer| {
            writer.out.extend_from_slice(&[0; 4]);
            writer.out.extend_from_slice(&count.to_be_bytes());
            writer.out.extend_from_slice(entries);
            Ok(())
        })
    }

    /// `mvhd`, `mdhd` or `tkhd` with another duration.
    fn timed(&mut self, kind: &[u8; 4], body: &[u8], duration: u64) -> Result<()> {
        let at = self.out.len() + 8;
        self.leaf(kind, body)?;
        let long = body.first() == Some(&1);
        let place = match (kind == b"tkhd", long) {
            (false, false) => 16,
            (false, true) => 24,
            (true, false) => 20,
            (true, true) => 28,
        };
        if body.len() < place + if long { 8 } else { 4 } {
            return Err(Error::Malformed("the duration"));
        }
        self.duration(at + place, duration, long);
        Ok(())
    }

    fn duration(&mut self, at: usize, duration: u64, long: bool) {
        match long {
            true => self.patch(at, &duration.to_be_bytes()),
            false => self.patch(at, &u32::try_from(duration).unwrap_or(u32::MAX).to_be_bytes()),
        }
    }

    fn trak(&mut self, trak: &[u8], track: &Track<'_>, scale: u32) -> Result<()> {
        for item in boxes(trak) {
            match item? {
                (kind, body) if kind == *b"tkhd" => {
                    self.timed(&kind, body, track.in_scale(scale))?;
                }
                (kind, body) if kind == *b"edts" => self.edit(body, track.in_scale(scale))?,
                (kind, mdia) if kind == *b"mdia" => self.parent(&kind, |writer| {
                    for item in boxes(mdia) {
                        match item? {
                            (kind, body) if kind == *b"mdhd" => {
                                writer.timed(&kind, body, track.duration)?;
                            }
                            (kind, body) if kind == *b"minf" => writer.minf(body, track)?,
                            (kind, body) => writer.leaf(&kind, body)?,
                        }
                    }
                    Ok(())
                })?,
                (kind, body) => self.leaf(&kind, body)?,
            }
        }
        Ok(())
    }

    /// An edit list that only says at which time of its media the track begins stays: the delay
    /// of B-frames and of audio codecs is the same after a cut. Others would be wrong.
    fn edit(&mut self, edts: &[u8], duration: u64) -> Result<()> {
        let Some(elst) = child(edts, b"elst")? else { return Ok(()) };
        let long = elst.first() == Some(&1);
        let (place, entry) = if long { (16, 20) } else { (12, 12) };
        let begins = elst.get(place).is_some_and(|sign| sign & 0x80 == 0);
        if number(elst, 4)? != 1 || elst.len() != 8 + entry || !begins {
            return Ok(());
        }
        self.parent(b"edts", |writer| {
            let at = writer.out.len() + 8 + 8;
            writer.leaf(b"elst", elst)?;
            writer.duration(at, duration, long);
            Ok(())
        })
    }

    fn minf(&mut self, minf: &[u8], track: &Track<'_>) -> Result<()> {
        self.parent(b"minf", |writer| {
            for item in boxes(minf) {
                match item? {
                    (kind, stbl) if kind == *b"stbl" => {
                        writer.parent(&kind, |writer| writer.stbl(stbl, track))?;
                    }
                    (kind, body) => writer.leaf(&kind, body)?,
                }
            }
            Ok(())
        })
    }

    /// The tables of the samples that stay. What else speaks of samples is left out: players can
    /// do without.
    fn stbl(&mut self, stbl: &[u8], track: &Track<'_>) -> Result<()> {
        let (first, last) = (track.samples.start, track.samples.end);
        self.leaf(b"stsd", need(stbl, b"stsd")?)?;
        self.table(b"stts", 8, &clip(track.times, &track.samples))?;
        if let Some(ctts) = child(stbl, b"ctts")? {
            let at = self.out.len() + 8;
            self.table(b"ctts", 8, &clip(table(ctts, 8)?, &track.samples))?;
            // Its version says whether numbers have a sign.
            self.patch(at, ctts.get(..1).unwrap_or_default());
        }
        if let Some(keys) = track.keys {
            let kept = numbers(keys).filter(|key| *key > first && *key <= last);
            let kept: Vec<u8> = kept.flat_map(|key| (key - first).to_be_bytes()).collect();
            self.table(b"stss", 4, &kept)?;
        }
        let sizes = &track.sizes;
        self.parent(b"stsz", |writer| {
            writer.out.extend_from_slice(&[0; 4]);
            writer.out.extend_from_slice(&sizes.all.to_be_bytes());
            writer.out.extend_from_slice(&(last - first).to_be_bytes());
            if sizes.all == 0 {
                writer.out.extend_from_slice(sizes.slice(u64::from(first)..u64::from(last))?);
            }
            Ok(())
        })?;
        self.chunks(stbl, track)
    }

    /// `stco` or `co64`, and `stsc`.
    fn chunks(&mut self, stbl: &[u8], track: &Track<'_>) -> Result<()> {
        let (kind, width, places) = match child(stbl, b"stco")? {
            Some(stco) => (b"stco", 4, table(stco, 4)?),
            None => (b"co64", 8, table(need(stbl, b"co64")?, 8)?),
        };
        let stsc = table(need(stbl, b"stsc")?, 12)?;
        let mut groups = stsc.chunks_exact(12).peekable();
        let (mut per_chunk, mut entry) = (0, 0);
        let (first, last) = (u64::from(track.samples.start), u64::from(track.samples.end));
        let (mut kept, mut kept_groups, mut newest) = (Vec::new(), Vec::new(), None);
        let mut sample = 0_u64;
        for (chunk, place) in (1_u32..).zip(places.chunks_exact(width)) {
            while let Some(group) = groups.next_if(|g| number(g, 0).is_ok_and(|n| n <= chunk)) {
                (per_chunk, entry) = (number(group, 4)?, number(group, 8)?);
            }
            let behind = sample + u64::from(per_chunk);
            let (from, to) = (first.max(sample), last.min(behind));
            if from < to {
                let place = place.iter().fold(0, |place, byte| place << 8 | u64::from(*byte));
                let begin = place.checked_add(track.sizes.sum(sample..from)?);
                let end =
                    begin.zip(track.sizes.sum(from..to).ok()).and_then(|(b, n)| b.checked_add(n));
                let (begin, end) = begin.zip(end).ok_or(Error::Malformed("a chunk"))?;
                let data = self.data.take().unwrap_or(begin..end);
                self.data = Some(data.start.min(begin)..data.end.max(end));
                let narrow = u32::try_from(begin).map_err(|_| Error::Malformed("stco"));
                match width {
                    4 => kept.extend(narrow?.to_be_bytes()),
                    _ => kept.extend(begin.to_be_bytes()),
                }
                let group = (to - from, entry);
                if newest.replace(group) != Some(group) {
                    let number = u32::try_from(kept.len() / width).unwrap_or(u32::MAX);
                    let samples = u32::try_from(to - from).unwrap_or(u32::MAX);
                    kept_groups
                        .extend([number, samples, entry].iter().flat_map(|n| n.to_be_bytes()));
                }
            }
            sample = behind;
            if sample >= last {
                break;
            }
        }
        if sample < last {
            return Err(Error::Malformed("stsc"));
        }
        let (at, count) = (self.out.len() + 16, kept.len() / width);
        self.table(kind, width, &kept)?;
        self.offsets.push(Offsets { at, count, wide: width == 8 });
        self.table(b"stsc", 12, &kept_groups)
    }

    /// Puts the head of the media behind the index, and the places of chunks right.
    fn finish(mut self) -> Result<Cut> {
        let data = self.data.take().ok_or(Error::Beyond)?;
        let len = data.end - data.start;
        self.out.extend_from_slice(&1_u32.to_be_bytes());
        self.out.extend_from_slice(b"mdat");
        self.out.extend_from_slice(&len.saturating_add(16).to_be_bytes());
        let base = self.out.len() as u64;
        for Offsets { at, count, wide } in std::mem::take(&mut self.offsets) {
            let width = if wide { 8 } else { 4 };
            let places = self.out.get_mut(at..at + count * width).unwrap_or_default();
            for place in places.chunks_exact_mut(width) {
                let old = place.iter().fold(0, |place, byte| place << 8 | u64::from(*byte));
                let new = old.saturating_sub(data.start).checked_add(base);
                let new = new.ok_or(Error::Malformed("co64"))?;
                match u32::try_from(new) {
                    _ if wide => place.copy_from_slice(&new.to_be_bytes()),
                    Ok(new) => place.copy_from_slice(&new.to_be_bytes()),
                    Err(_) => return Err(Error::Unsupported("so long a part")),
                }
            }
        }
        Ok(Cut { index: self.out, data })
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.out.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
}

/// The scale of `mvhd` or `mdhd`.
struct Times {
    scale: u32,
}

impl Times {
    fn of(body: &[u8]) -> Result<Self> {
        let scale = number(body, if body.first() == Some(&1) { 20 } else { 12 })?;
        if scale == 0 { Err(Error::Malformed("the timescale")) } else { Ok(Self { scale }) }
    }
}

/// A time in units of `1 / from` seconds in those of `1 / to`, rounded down.
fn scaled(time: u64, from: u32, to: u32) -> Result<u64> {
    let wide = u128::from(time) * u128::from(to) / u128::from(from.max(1));
    u64::try_from(wide).map_err(|_| Error::Beyond)
}

/// Counts and values of `runs` for `samples` alone.
fn clip(runs: &[u8], samples: &Range<u32>) -> Vec<u8> {
    let (first, last) = (u64::from(samples.start), u64::from(samples.end));
    let (mut at, mut kept) = (0_u64, Vec::new());
    for (count, value) in pairs(runs) {
        let behind = at + u64::from(count);
        let stay = last.min(behind).saturating_sub(first.max(at));
        if let Ok(stay @ 1..) = u32::try_from(stay) {
            kept.extend(stay.to_be_bytes());
            kept.extend(value.to_be_bytes());
        }
        at = behind;
    }
    kept
}

/// The boxes in `body`. Nothing comes after an error.
fn boxes(body: &[u8]) -> impl Iterator<Item = Result<([u8; 4], &[u8])>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let taken = head(rest).and_then(|head| {
            let total = head.total.map_or(Ok(rest.len()), usize::try_from);
            let split = total.ok().and_then(|total| rest.split_at_checked(total));
            let (whole, behind) = split.ok_or(Error::Malformed("a box"))?;
            let len = if head.len == 16 { 16 } else { 8 };
            Ok((head.kind, whole.get(len..).unwrap_or_default(), behind))
        });
        Some(match taken {
            Ok((kind, body, behind)) => {
                rest = behind;
                Ok((kind, body))
            }
            Err(e) => {
                rest = &[];
                Err(e)
            }
        })
    })
}

fn child<'a>(body: &'a [u8], kind: &[u8; 4]) -> Result<Option<&'a [u8]>> {
    for item in boxes(body) {
        let (k, body) = item?;
        if k == *kind {
            return Ok(Some(body));
        }
    }
    Ok(None)
}

fn need<'a>(body: &'a [u8], kind: &[u8; 4]) -> Result<&'a [u8]> {
    child(body, kind)?.ok_or(Error::Malformed("a file without a box that it needs"))
}

/// The entries of a table, each of `width` bytes.
fn table(body: &[u8], width: usize) -> Result<&[u8]> {
    let count = usize::try_from(number(body, 4)?).ok();
    let end = count.and_then(|count| count.checked_mul(width)?.checked_add(8));
    end.and_then(|end| body.get(8..end)).ok_or(Error::Malformed("a table"))
}

fn number(bytes: &[u8], at: usize) -> Result<u32> {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk());
    four.map(|four| u32::from_be_bytes(*four)).ok_or(Error::Malformed("a box"))
}

fn numbers(table: &[u8]) -> impl Iterator<Item = u32> {
    table.chunks_exact(4).map(|four| four.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)))
}

fn pairs(table: &[u8]) -> impl Iterator<Item = (u32, u32)> {
    table.chunks_exact(8).map(|entry| {
        let mut two = numbers(entry);
        (two.next().unwrap_or_default(), two.next().unwrap_or_default())
    })
}

/// A file has a picture, sound in some languages, subtitles.
const TRACKS: usize = 16;
/// A new index may be so much longer: heads, and groups of chunks that were cut.
const MORE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        [&(body.len() as u32 + 8).to_be_bytes()[..], kind, &body].concat()
    }

    fn full(kind: &[u8; 4], numbers: &[u32]) -> Vec<u8> {
        let body: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
        atom(kind, &[&[0; 4], &body])
    }

    /// Pictures of 40 ms in chunks of 3, a key frame each 5; sound of 20 ms, 4 bytes each, in
    /// chunks of 6. A chunk of pictures is followed by one of sound.
    fn moov() -> Vec<u8> {
        let sizes: Vec<u32> = (0..15).map(|i| 100 + i).collect();
        let mut place = 1000;
        let (mut pictures, mut sounds) = (vec![5], vec![5]);
        for three in sizes.chunks(3) {
            pictures.push(place);
            place += three.iter().sum::<u32>();
            sounds.push(place);
            place += 24;
        }
        let keys = full(b"stss", &[3, 1, 6, 11]);
        let delays = full(b"ctts", &[2, 7, 80, 8, 40]);
        let stsz = full(b"stsz", &[&[0, 15][..], &sizes].concat());
        let video = [full(b"stts", &[1, 15, 40]), delays, keys, stsz].concat();
        let audio = [full(b"stts", &[1, 30, 20]), full(b"stsz", &[4, 30])].concat();
        let trak = |tables: Vec<u8>, per_chunk: u32, places: &[u32]| {
            let stsc = full(b"stsc", &[1, 1, per_chunk, 1]);
            let stsd = full(b"stsd", &[0]);
            let stbl = atom(b"stbl", &[&stsd, &tables, &stsc, &full(b"stco", places)]);
            let mdhd = full(b"mdhd", &[0, 0, 1000, 600, 0]);
            let mdia = atom(b"mdia", &[&mdhd, &atom(b"minf", &[&stbl])]);
            let elst = full(b"elst", &[1, 600, 80, 65536]);
            atom(b"trak", &[&full(b"tkhd", &[0, 0, 1, 0, 600]), &atom(b"edts", &[&elst]), &mdia])
        };
        let mvhd = full(b"mvhd", &[0, 0, 1000, 600]);
        [mvhd, trak(video, 3, &pictures), trak(audio, 6, &sounds)].concat()
    }

    /// Place, size, time and key frame of each sample of a track, as a player reads them.
    fn samples(moov: &[u8], track: usize) -> Vec<(u64, u32, u32, bool)> {
        let trak = boxes(moov).flatten().filter(|(kind, _)| kind == b"trak").nth(track).unwrap().1;
        let mdia = need(trak, b"mdia").unwrap();
        let stbl = need(need(mdia, b"minf").unwrap(), b"stbl").unwrap();
        let entries = |kind, width| table(need(stbl, kind).unwrap(), width).unwrap();
        let mut times = pairs(entries(b"stts", 8)).flat_map(|(n, delta)| vec![delta; n as usize]);
        let sizes = Sizes::parse(stbl).unwrap();
        let keys: Option<Vec<u32>> =
            child(stbl, b"stss").unwrap().map(|stss| numbers(table(stss, 4).unwrap()).collect());
        let groups: Vec<Vec<u32>> =
            entries(b"stsc", 12).chunks(12).map(|group| numbers(group).collect()).collect();
        let (mut all, mut time) = (Vec::new(), 0);
        for (chunk, place) in (1..).zip(numbers(entries(b"stco", 4))) {
            let group = groups.iter().rfind(|group| group[0] <= chunk).unwrap();
            let mut place = u64::from(place);
            for _ in 0..group[1] {
                let sample = all.len() as u64;
                let size = sizes.sum(sample..sample + 1).unwrap() as u32;
                let key = keys.as_ref().is_none_or(|keys| keys.contains(&(sample as u32 + 1)));
                all.push((place, size, time, key));
                place += u64::from(size);
                time += times.next().unwrap();
            }
        }
        assert!(times.next().is_none() && all.len() == sizes.count as usize);
        all
    }

    /// Start, end; the pictures and sounds that stay.
    type Case = (u64, Option<u64>, Range<usize>, Range<usize>);
    const CASES: &[Case] = &[
        (0, None, 0..15, 0..30),
        (199, None, 0..15, 0..30),
        (200, None, 5..15, 10..30),
        (399, Some(400), 5..10, 10..20),
        (399, Some(401), 5..11, 10..21),
        (599, Some(9999), 10..15, 20..30),
        (0, Some(1), 0..1, 0..1),
    ];

    #[test]
    fn a_part_has_the_samples_from_a_key_frame_on() {
        let moov = moov();
        for (start, end, pictures, sounds) in CASES {
            let cut = cut(&moov, *start, *end, &[0; 32]).unwrap();
            let (head, rest) = cut.index[32..].split_at(cut.index.len() - 48);
            let mdat = super::head(rest).unwrap();
            assert_eq!(mdat.total, Some(16 + cut.data.end - cut.data.start));
            let base = cut.index.len() as u64;
            for (track, kept) in [pictures, sounds].into_iter().enumerate() {
                let old = &samples(&moov, track)[kept.clone()];
                let new = samples(&head[8..], track);
                assert_eq!(old.len(), new.len(), "{start} {end:?}");
                for (old, new) in old.iter().zip(&new) {
                    assert_eq!(old.0 - cut.data.start, new.0 - base, "{start} {end:?}");
                    assert_eq!((old.1, old.3), (new.1, new.3), "{start} {end:?}");
                    assert!(old.0 + u64::from(old.1) <= cut.data.end);
                }
                assert_eq!(new[0].2, 0);
            }
        }
    }

    #[test]
    fn durations_are_those_of_the_part() {
        let cut = cut(&moov(), 200, Some(400), &[]).unwrap();
        let moov = &cut.index[8..cut.index.len() - 16];
        assert_eq!(number(need(moov, b"mvhd").unwrap(), 16), Ok(200));
        let trak = need(moov, b"trak").unwrap();
        assert_eq!(number(need(trak, b"tkhd").unwrap(), 20), Ok(200));
        let elst = need(need(trak, b"edts").unwrap(), b"elst").unwrap();
        assert_eq!((number(elst, 8), number(elst, 12)), (Ok(200), Ok(80)));
    }

    #[test]
    fn what_cannot_be_cut_says_why() {
        let moov = moov();
        assert_eq!(cut(&moov, 600, None, &[]).unwrap_err(), Error::Beyond);
        assert_eq!(cut(&moov, u64::MAX, None, &[]).unwrap_err(), Error::Beyond);
        assert_eq!(cut(&moov, 400, Some(100), &[]).unwrap_err(), Error::Beyond);
        let fragments = [moov.clone(), atom(b"mvex", &[])].concat();
        assert!(matches!(cut(&fragments, 0, None, &[]), Err(Error::Unsupported(_))));
        assert!(cut(&[], 0, None, &[]).is_err());
    }

    #[test]
    fn heads_are_short_long_or_open() {
        let head = |bytes: &[u8]| head(bytes).map(|head| (head.len, head.total));
        assert_eq!(head(b"\0\0\0\x08free"), Ok((8, Some(8))));
        assert_eq!(head(b"\0\0\0\0mdat"), Ok((8, None)));
        assert_eq!(head(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x20"), Ok((16, Some(32))));
        for bytes in [&b"\0\0\0\x07free"[..], b"\0\0\0\x08fre", b"\0\0\0\x01mdat\0\0\0\0\0\0\0"] {
            assert!(head(bytes).is_err());
        }
        assert!(head(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x0f").is_err());
    }

    #[test]
    fn damaged_files_are_refused_or_cut_without_a_panic() {
        let moov = moov();
        for len in 0..moov.len() {
            for (start, end, ..) in CASES {
                // Where a track ends, the rest is a file of its own.
                let _ = cut(&moov[..len], *start, *end, &[0; 32]);
            }
        }
        let mut random = fastrand::Rng::with_seed(4);
        for _ in 0..20_000 {
            let mut bytes = moov.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff, random.u8(..)][random.usize(..6)];
            }
            let (start, end, ..) = CASES[random.usize(..CASES.len())];
            if let Ok(cut) = cut(&bytes, start, end, &[0; 32]) {
                assert!(cut.index.len() <= moov.len() + MORE && cut.data.start <= cut.data.end);
            }
        }
    }
}
