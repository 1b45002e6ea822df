//! The first tag of a recording: what the encoder said, and room for what is known at the end:
//! duration, size and an index of key frames.
//!
//! The room is filled by numbers, two for each entry that the index does not have, so that the tag
//! keeps its length while the index grows. (A text would do, but ffmpeg reads none of over 1 KB.)

use crate::limits::INDEX_ENTRIES;
use crate::media::time;
use crate::proto::amf0::{Reader, Value, Writer};
use crate::proto::rtmp::RUNNEL;

/// Where the key frames of a file are. Bounded: when it is full every other one leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index {
    /// Offset of the tag in the file, and its time in milliseconds.
    entries: Vec<(u64, u64)>,
    capacity: usize,
    /// Milliseconds between two entries at least.
    spacing: u64,
}

impl Index {
    /// An index that never has more than `capacity` entries.
    pub(super) const fn new(capacity: usize) -> Self {
        Self { entries: Vec::new(), capacity, spacing: 0 }
    }

    /// A key frame at `offset` of the file, `ms` of its time.
    pub(super) fn push(&mut self, offset: u64, ms: u64) {
        if let Some((_, last)) = self.entries.last()
            && ms < last.saturating_add(self.spacing.max(1))
        {
            return;
        }
        if self.entries.len() >= self.capacity {
            let mut even = false;
            self.entries.retain(|_| {
                even = !even;
                even
            });
            let span = self.entries.last().zip(self.entries.first());
            let span = span.map_or(0, |((_, last), (_, first))| last.saturating_sub(*first));
            let gaps = u64::try_from(self.entries.len()).unwrap_or(1).max(1);
            self.spacing = (span / gaps).max(self.spacing);
        }
        if self.entries.len() < self.capacity {
            self.entries.push((offset, ms));
        }
    }

    /// Forgets what is at `end` of the file and behind it.
    pub(super) fn cut(&mut self, end: u64) {
        self.entries.retain(|(offset, _)| *offset < end);
    }

    /// The time of the newest entry.
    pub(super) fn last(&self) -> Option<u64> {
        self.entries.last().map(|(_, ms)| *ms)
    }
}

/// What is known of a file when it is finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// Bytes of the file.
    pub(super) size: u64,
    /// Milliseconds.
    pub(super) duration: u64,
    /// How often the disk was too slow, and something is missing.
    pub(super) gaps: u32,
}

/// Where in the tag's body the values lie that are known at the end. A part that the body does not
/// have is `None`: it is not ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    size: Option<usize>,
    duration: Option<usize>,
    gaps: Option<usize>,
    /// Start and length of the index with its room.
    index: Option<(usize, usize)>,
}

impl Layout {
    /// Finds the values in the body of a file's first tag.
    pub(super) fn find(body: &[u8]) -> Self {
        let mut layout = Self::default();
        // What cannot be read has no values.
        let _ = layout.look(body);
        layout
    }

    fn look(&mut self, body: &[u8]) -> Result<(), crate::proto::amf0::Error> {
        let mut reader = Reader::new(body);
        if reader.string()?.as_deref() != Some(ON_METADATA) || !reader.enter()? {
            return Ok(());
        }
        let mut index = None;
        let mut before = reader.at();
        while let Some(key) = reader.key()? {
            let at = reader.at();
            let value = reader.skip()?;
            let number = (value.first() == Some(&0)).then_some(at + 1);
            match key {
                b"filesize" => self.size = number,
                b"duration" => self.duration = number,
                b"gaps" => self.gaps = number,
                b"keyframes" => index = Some(before),
                b"spacer" => {
                    let start = index.take().unwrap_or(before);
                    self.index = Some((start, reader.at() - start));
                }
                _ => index = None,
            }
            before = reader.at();
        }
        Ok(())
    }

    /// How many entries an index may have here.
    pub(super) fn capacity(&self) -> usize {
        let room = self.index.map_or(0, |(_, len)| len.saturating_sub(EMPTY));
        (room / ENTRY).min(INDEX_ENTRIES)
    }

    /// The index that `body` has.
    pub(super) fn index(&self, body: &[u8]) -> Index {
        let mut index = Index::new(self.capacity());
        let region = self.index.and_then(|(start, len)| body.get(start..start.checked_add(len)?));
        if let Some((offsets, times)) = region.and_then(arrays) {
            for (offset, time) in offsets.zip(times) {
                // Floats that are no file offset or time become 0 or the largest.
                index.push(offset as u64, (time * 1000.0).round() as u64);
            }
        }
        index
    }

    /// The duration that `body` tells, in milliseconds.
    pub(super) fn duration(&self, body: &[u8]) -> u64 {
        let number = self.duration.and_then(|at| body.get(at..)?.first_chunk());
        number.map_or(0, |bytes| (f64::from_be_bytes(*bytes) * 1000.0).round() as u64)
    }

    /// What to write where in the body, to tell `summary` and `index`.
    pub(super) fn patches(&self, summary: &Summary, index: &Index) -> Vec<(usize, Vec<u8>)> {
        let mut patches = Vec::new();
        if let Some((start, len)) = self.index {
            let region = region(&index.entries, len);
            // Room of another size is not ours.
            patches.extend((region.len() == len).then_some((start, region)));
        }
        let seconds = summary.duration as f64 / 1000.0;
        for (at, number) in [
            (self.gaps, f64::from(summary.gaps)),
            (self.size, summary.size as f64),
            (self.duration, seconds),
        ] {
            patches.extend(at.map(|at| (at, number.to_be_bytes().to_vec())));
        }
        patches
    }
}

/// The body of the first tag: the properties in `received`, an encoder's metadata, then ours, with
/// room for `capacity` entries of the index.
pub(super) fn build(received: Option<&[u8]>, capacity: usize) -> Vec<u8> {
    let mut properties = Vec::new();
    let mut count = OURS_WRITTEN;
    if let Some(received) = received {
        count += copy(received, &mut Writer(&mut properties));
    }
    let mut body = Vec::new();
    let mut writer = Writer(&mut body);
    writer.string(ON_METADATA).ecma_array(count).0.extend(properties);
    writer.key("service").string(RUNNEL.server);
    let room = EMPTY + capacity.min(INDEX_ENTRIES) * ENTRY;
    writer.0.extend(region(&[], room));
    writer.key("gaps").number(0.0);
    writer.key("filesize").number(0.0);
    writer.key("duration").number(0.0).end();
    body
}

/// Copies the properties that are not [`OURS`], as many as are whole; how many.
fn copy(received: &[u8], writer: &mut Writer<'_>) -> u32 {
    let mut reader = Reader::new(received);
    let mut name = reader.string();
    if matches!(&name, Ok(Some(name)) if name == "@setDataFrame") {
        name = reader.string();
    }
    if name.is_err() || !reader.enter().unwrap_or(false) {
        return 0;
    }
    let mut count = 0;
    while let Ok(Some(key)) = reader.key() {
        let Ok(value) = reader.skip() else { break };
        if !OURS.contains(&key) {
            // As the encoder wrote it, whatever its characters are.
            let len = u16::try_from(key.len()).unwrap_or_default();
            writer.0.extend(len.to_be_bytes());
            writer.0.extend(key);
            writer.0.extend(value);
            count += 1;
        }
    }
    count
}

/// The index and the numbers behind it, `len` bytes in all.
fn region(entries: &[(u64, u64)], len: usize) -> Vec<u8> {
    let numbers = |number: fn(&(u64, u64)) -> f64| {
        Value::StrictArray(entries.iter().map(number).map(Value::Number).collect())
    };
    let mut region = Vec::with_capacity(len);
    let mut writer = Writer(&mut region);
    // An index of one place helps nobody, and ffmpeg warns of it.
    if entries.len() > 1 {
        writer.key("keyframes").object();
        writer.key("filepositions").value(&numbers(|(offset, _)| *offset as f64));
        writer.key("times").value(&numbers(|(_, ms)| *ms as f64 / 1000.0)).end();
    }
    let room = len.saturating_sub(writer.0.len() + SPACER);
    let mut filling = vec![Value::Number(0.0); room / NUMBER];
    filling.resize(room / NUMBER + room % NUMBER, Value::Null);
    writer.key("spacer").value(&Value::StrictArray(filling));
    region
}

type Numbers<'a> = Box<dyn Iterator<Item = f64> + 'a>;

/// The two arrays of a region.
fn arrays(region: &[u8]) -> Option<(Numbers<'_>, Numbers<'_>)> {
    let mut reader = Reader::new(region);
    if reader.key().ok()?? != b"keyframes" {
        return None;
    }
    reader.enter().ok()?;
    reader.key().ok()??;
    let offsets = numbers(reader.skip().ok()?);
    reader.key().ok()??;
    Some((offsets, numbers(reader.skip().ok()?)))
}

fn numbers(array: &[u8]) -> Numbers<'_> {
    let entries = array.get(5..).unwrap_or_default().chunks_exact(9);
    Box::new(entries.filter_map(|entry| Some(f64::from_be_bytes(*entry.get(1..)?.first_chunk()?))))
}

/// Adds what goes by from `before` to `now`, if it goes forward, in the circle of 31 bits.
pub(super) fn elapsed(before: u32, now: u32) -> u64 {
    u64::try_from(time::difference(now, before)).unwrap_or(0)
}

const ON_METADATA: &str = "onMetaData";
/// A number with its marker.
const NUMBER: usize = 9;
const ENTRY: usize = 2 * NUMBER;
/// Bytes of a region with an index of no entries and no room.
const EMPTY: usize = (2 + 9) + 1 + (2 + 13 + 5) + (2 + 5 + 5) + 3 + SPACER;
/// The key of the numbers, the marker and the length of their array.
const SPACER: usize = 2 + 6 + 5;
/// service, keyframes, spacer, gaps, filesize, duration.
const OURS_WRITTEN: u32 = 6;
/// What an encoder says of these is not true of the file.
const OURS: &[&[u8]] = &[
    b"service",
    b"keyframes",
    b"hasKeyframes",
    b"spacer",
    b"gaps",
    b"filesize",
    b"duration",
    b"datasize",
    b"videosize",
    b"audiosize",
    b"lasttimestamp",
    b"lastkeyframetimestamp",
    b"lastkeyframelocation",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::mutations;
    use crate::proto::amf0::Object;

    fn received(names: &[&str]) -> Vec<u8> {
        let properties = Object::from_iter([
            ("duration", Value::Number(0.0)),
            ("width", Value::Number(320.0)),
            ("filesize", Value::Number(0.0)),
            ("encoder", "Lavf".into()),
        ]);
        let mut out = Vec::new();
        let mut writer = Writer(&mut out);
        for name in names {
            writer.string(name);
        }
        writer.value(&Value::EcmaArray { count: 4, pairs: properties });
        out
    }

    fn patched(body: &[u8], summary: &Summary, index: &Index) -> Vec<u8> {
        let mut body = body.to_vec();
        for (at, bytes) in Layout::find(&body.clone()).patches(summary, index) {
            body[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        body
    }

    #[test]
    fn the_tag_says_what_the_encoder_said_then_what_the_file_is() {
        for names in [&["onMetaData"][..], &["@setDataFrame", "onMetaData"]] {
            let body = build(Some(&received(names)), 4);
            let mut index = Index::new(4);
            index.push(100, 0);
            index.push(5000, 2000);
            let summary = Summary { size: 1 << 33, duration: 12_345, gaps: 2 };
            let done = patched(&body, &summary, &index);
            assert_eq!(done.len(), body.len());
            assert_eq!(region(&[(1, 1), (2, 2)], EMPTY + 2 * ENTRY).len(), EMPTY + 2 * ENTRY);
            assert_eq!(region(&[], EMPTY).len(), EMPTY);
            let mut reader = Reader::new(&done);
            assert_eq!(reader.string().unwrap().unwrap(), "onMetaData");
            let Value::EcmaArray { count, pairs } = reader.value().unwrap() else { panic!() };
            let keys: Vec<_> = pairs.iter().map(|(key, _)| key).collect();
            assert_eq!(
                keys,
                [
                    "width",
                    "encoder",
                    "service",
                    "keyframes",
                    "spacer",
                    "gaps",
                    "filesize",
                    "duration"
                ]
            );
            assert_eq!(count as usize, keys.len());
            assert_eq!(pairs.number("duration"), Some(12.345));
            assert_eq!(pairs.number("filesize"), Some(8_589_934_592.0));
            assert_eq!(pairs.number("gaps"), Some(2.0));
            let keyframes = pairs.object("keyframes").unwrap();
            let list = |a: f64, b: f64| Value::StrictArray(vec![a.into(), b.into()]);
            assert_eq!(keyframes.value("filepositions"), Some(&list(100.0, 5000.0)));
            assert_eq!(keyframes.value("times"), Some(&list(0.0, 2.0)));
            // And it is found again, to go on.
            let layout = Layout::find(&done);
            assert_eq!((layout.index(&done), layout.capacity()), (index, 4));
            assert_eq!(layout.duration(&done), 12_345);
        }
    }

    #[test]
    fn a_full_index_keeps_the_whole_file_in_reach() {
        for frames in [1_u64, 7, 8, 9, 100, 5000] {
            let mut index = Index::new(8);
            for frame in 0..frames {
                index.push(frame * 1000, frame * 40);
            }
            assert!(index.entries.len() <= 8);
            assert_eq!(index.entries[0], (0, 0));
            let (last, span) = (index.last().unwrap(), (frames - 1) * 40);
            assert!(span - last <= span / 2, "{frames}: {last} of {span}");
            let gaps = index.entries.windows(2).map(|w| w[1].1 - w[0].1);
            assert!(gaps.max().unwrap_or(0) <= span.max(4) / 2 + 40);
            let body = patched(&build(None, 8), &Summary::default(), &index);
            let layout = Layout::find(&body);
            let one = index.entries.len() < 2;
            let want = if one { Vec::new() } else { index.entries.clone() };
            assert_eq!(layout.index(&body).entries, want);
        }
        let mut none = Index::new(0);
        none.push(1, 1);
        assert_eq!(none.last(), None);
    }

    #[test]
    fn metadata_of_others_is_left_alone() {
        let others = received(&["onMetaData"]);
        let layout = Layout::find(&others);
        assert_eq!(layout.capacity(), 0);
        let done =
            patched(&others, &Summary { duration: 1000, ..Summary::default() }, &Index::new(0));
        assert_eq!(layout.duration(&done), 1000);
        assert_eq!(Layout::find(b"\x02\0\x01x"), Layout::default());
        assert_eq!(Layout::find(b""), Layout::default());
    }

    #[test]
    fn cut_or_changed_metadata_never_panics() {
        let body = build(Some(&received(&["onMetaData"])), 8);
        let check = |body: &[u8]| {
            let layout = Layout::find(body);
            let index = layout.index(body);
            for (at, bytes) in layout.patches(&Summary::default(), &index) {
                assert!(at + bytes.len() <= body.len());
            }
            layout.duration(body);
            Layout::find(&build(Some(body), 3));
        };
        (0..body.len()).for_each(|len| check(&body[..len]));
        mutations(&body, check);
    }
}
