//! Files that were not finished: cut to the last whole tag, their index built anew. All of it
//! blocks, and is done by the thread of the disk, a piece at a time.

use super::journal::Entry;
use super::metadata::{Index, Layout, Summary, elapsed};
use crate::format::flv::{FILE_HEADER, TAG_HEADER};
use crate::io::storage::{self, Existing};
use crate::media::{Kind, classify};
use std::io;
use std::path::{Path, PathBuf};

/// What was made of an unfinished file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Repaired {
    /// It has its name and plays.
    Finished {
        /// Its name.
        path: PathBuf,
        /// What is in it.
        summary: Summary,
        /// Bytes cut off.
        lost: u64,
    },
    /// Nothing of a stream was in it, it is deleted.
    Empty,
    /// There is no such file: it was finished, or deleted.
    Gone,
}

/// A file on its way.
#[derive(Debug)]
pub(super) struct Repair {
    temp: PathBuf,
    path: PathBuf,
    file: Existing,
    /// The end of the last whole tag.
    at: u64,
    body: Vec<u8>,
    layout: Layout,
    index: Index,
    duration: u64,
    last: Option<u32>,
    video: bool,
    media: bool,
}

impl Repair {
    /// Begins with the file of `entry`; `None` when there is none.
    pub(super) fn begin(entry: &Entry) -> io::Result<Option<Self>> {
        let temp = PathBuf::from(&entry.temp);
        let Some(file) = Existing::open(&temp)? else { return Ok(None) };
        let start = FILE_HEADER.len() as u64;
        let mut repair = Self {
            temp,
            path: PathBuf::from(&entry.path),
            file,
            at: 0,
            body: Vec::new(),
            layout: Layout::default(),
            index: Index::new(0),
            duration: 0,
            last: None,
            video: false,
            media: entry.from > 0,
        };
        let mut head = [0; FILE_HEADER.len()];
        if repair.file.read_at(0, &mut head)? < head.len() || !head.starts_with(b"FLV\x01") {
            if repair.media {
                return Err(io::Error::other("its start is no FLV file any more"));
            }
            return Ok(Some(repair));
        }
        repair.at = start;
        if let Some((Kind::Data, _, len)) = repair.tag(start)? {
            repair.body = vec![0; len];
            repair.file.read_at(start + TAG_HEADER as u64, &mut repair.body)?;
            repair.layout = Layout::find(&repair.body);
            repair.index = Index::new(repair.layout.capacity());
        }
        // Shorter than it was: some of the old part is lost too, so all of it is looked at.
        if entry.from > start && entry.from <= repair.file.len() {
            repair.index = repair.layout.index(&repair.body);
            repair.index.cut(entry.from);
            repair.duration = entry.duration;
            repair.at = entry.from;
        }
        Ok(Some(repair))
    }

    /// Reads on, [`STEP`] bytes of the file or so. Whether the end of what is whole is found.
    pub(super) fn step(&mut self) -> io::Result<bool> {
        let until = self.at.saturating_add(STEP);
        let mut buffer = vec![0; READ];
        while self.at < until && self.at > 0 {
            let filled = self.file.read_at(self.at, &mut buffer)?;
            let mut rest = buffer.get(..filled).unwrap_or_default();
            while let Some((head, body, after)) = whole(rest) {
                self.take(head, body);
                self.at += (rest.len() - after.len()) as u64;
                rest = after;
            }
            if rest.len() < filled {
                continue;
            }
            // The tag is cut off, longer than the buffer, or none.
            let Some((_, _, len)) = self.tag(self.at)? else { return Ok(true) };
            let Some((head, body)) = rest.split_first_chunk() else { return Ok(true) };
            let head = *head;
            let first = body.get(..len.min(8)).unwrap_or_default().to_vec();
            self.take(head, &first);
            self.at += (len + AROUND) as u64;
        }
        Ok(self.at == 0)
    }

    /// Cuts, patches, and gives the file its name.
    pub(super) fn finish(self) -> io::Result<Repaired> {
        if !self.media {
            let root = self.temp.parent().unwrap_or(Path::new(".")).to_owned();
            drop(self.file);
            storage::remove(&self.temp, &root)?;
            return Ok(Repaired::Empty);
        }
        let summary = Summary { size: self.at, duration: self.duration, gaps: 0 };
        for (at, bytes) in self.layout.patches(&summary, &self.index) {
            let start = (FILE_HEADER.len() + TAG_HEADER + at) as u64;
            self.file.write_at(start, &bytes)?;
        }
        let lost = self.file.len().saturating_sub(self.at);
        self.file.finish(self.at)?;
        if self.temp != self.path {
            storage::rename(&self.temp, &self.path)?;
        }
        Ok(Repaired::Finished { path: self.path, summary, lost })
    }

    /// All of it at once.
    pub(super) fn run(entry: &Entry) -> io::Result<Repaired> {
        let Some(mut repair) = Self::begin(entry)? else { return Ok(Repaired::Gone) };
        while !repair.step()? {}
        repair.finish()
    }

    fn take(&mut self, head: Head, body: &[u8]) {
        let Some((kind, dts, _)) = parse(&head) else { return };
        if kind == Kind::Data {
            return;
        }
        let class = classify(kind, body);
        // The first step of an appended file is not in it: it goes on a frame later.
        self.duration += self.last.map_or(0, |last| elapsed(last, dts));
        self.last = Some(dts);
        self.media |= !class.header;
        self.video |= kind == Kind::Video;
        note(&mut self.index, self.at, dts, class.key, class.header, self.video);
    }

    /// The tag at `at`, if all of it is in the file.
    fn tag(&self, at: u64) -> io::Result<Option<(Kind, u32, usize)>> {
        let mut head = [0; TAG_HEADER];
        if self.file.read_at(at, &mut head)? < head.len() {
            return Ok(None);
        }
        let Some((kind, dts, len)) = parse(&head) else { return Ok(None) };
        let mut size = [0; 4];
        let end = at.saturating_add((TAG_HEADER + len) as u64);
        let read = self.file.read_at(end, &mut size)?;
        let whole = read == 4 && usize::try_from(u32::from_be_bytes(size)) == Ok(len + TAG_HEADER);
        Ok(whole.then_some((kind, dts, len)))
    }
}

/// Puts a frame into the index if it is one to start at: a key frame, or sound every two seconds
/// while there is no picture.
pub(super) fn note(index: &mut Index, at: u64, dts: u32, key: bool, header: bool, video: bool) {
    let ms = u64::from(dts);
    let sound = || !video && !header && index.last().is_none_or(|last| ms >= last + SOUND_MS);
    if key || sound() {
        index.push(at, ms);
    }
}

/// The latest time of the last tags of an FLV file, when its end is whole. Sound and picture come
/// in any order.
pub(super) fn last_time(file: &Existing) -> io::Result<Option<u32>> {
    let mut latest = None;
    let mut end = file.len();
    for _ in 0..LAST_TAGS {
        let mut size = [0; 4];
        let Some(at) = end.checked_sub(4) else { break };
        file.read_at(at, &mut size)?;
        let Some(start) = at.checked_sub(u64::from(u32::from_be_bytes(size))) else { break };
        let mut head = [0; TAG_HEADER];
        file.read_at(start, &mut head)?;
        match parse(&head) {
            Some((_, dts, len)) if start + (len + TAG_HEADER) as u64 == at => {
                latest = latest.max(Some(dts));
            }
            _ => break,
        }
        end = start;
    }
    Ok(latest)
}

type Head = [u8; TAG_HEADER];

/// The tag at the start of `input`, if it is whole: header, body, what follows.
fn whole(input: &[u8]) -> Option<(Head, &[u8], &[u8])> {
    let (head, rest) = input.split_first_chunk()?;
    let (_, _, len) = parse(head)?;
    let (body, rest) = rest.split_at_checked(len)?;
    let (size, rest) = rest.split_first_chunk()?;
    (usize::try_from(u32::from_be_bytes(*size)) == Ok(len + TAG_HEADER))
        .then_some((*head, body, rest))
}

/// Kind, time, length of the body; `None` for what this server does not write.
fn parse(head: &Head) -> Option<(Kind, u32, usize)> {
    let [tag_type, a, b, c, t0, t1, t2, high, 0, 0, 0] = *head else { return None };
    let kind = match tag_type {
        8 => Kind::Audio,
        9 => Kind::Video,
        18 => Kind::Data,
        _ => return None,
    };
    let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    Some((kind, u32::from_be_bytes([high, t0, t1, t2]), len))
}

/// A tag's header and the size behind it.
const AROUND: usize = TAG_HEADER + 4;
/// Bytes of a file that are looked at before others get their turn on the disk.
const STEP: u64 = 8 << 20;
const READ: usize = 128 * 1024;
const SOUND_MS: u64 = 2000;
/// Encoders send sound and picture no further apart.
const LAST_TAGS: usize = 64;
