//! Recordings from a place or a time on.

use crate::format::{flv, mp4};
use crate::io::read::{Opened, Room};
use crate::limits::MP4_INDEX;
use bytes::Bytes;
use std::io;
use std::ops::Range;

/// Where a player that seeks in a recording goes on.
#[derive(Debug)]
pub(super) enum Seek {
    /// The file header, the sequence headers, the rest from there.
    To(Vec<Range<u64>>),
    /// The file is not one to seek in.
    Nowhere,
    /// The place is behind its end.
    Beyond,
}

/// Finds the sequence headers: from the first audio or video tag to the end of the first of each.
pub(super) async fn flv(file: &Opened, start: u64) -> io::Result<Seek> {
    if start == 0 {
        return Ok(Seek::Nowhere);
    }
    if start > file.size {
        return Ok(Seek::Beyond);
    }
    let header = flv::FILE_HEADER.len() as u64;
    let (mut at, mut first, mut end) = (header, None, 0);
    let (mut audio, mut video) = (false, false);
    for _ in 0..FLV_TAGS {
        let head = file.read(at, flv::TAG_HEADER as u64).await?;
        let Some(&[kind, a, b, c, ..]) = head.first_chunk::<{ flv::TAG_HEADER }>() else { break };
        let next = at + flv::TAG_HEADER as u64 + u64::from(u32::from_be_bytes([0, a, b, c])) + 4;
        let seen = match kind {
            8 => &mut audio,
            9 => &mut video,
            _ => {
                at = next;
                continue;
            }
        };
        first.get_or_insert(at);
        if !std::mem::replace(seen, true) {
            end = next;
        }
        at = next;
        if audio && video {
            break;
        }
    }
    let Some(first) = first.filter(|_| end <= file.size) else { return Ok(Seek::Nowhere) };
    Ok(Seek::To(vec![0..header, first..end, start..file.size]))
}

/// The head of the part of a file that is asked for, and where its media is.
pub(super) async fn mp4(file: &Opened, start: u64, end: Option<u64>) -> Part<Bytes> {
    let room = Room::take().await?;
    let size = file.size;
    let cut = file.search(move |read| cut(read, size, start, end)).await??;
    Ok(cut.map(|(lead, data)| (Bytes::from_owner(Held { lead, _room: room }), data)))
}

/// What is sent before the media, and where that is; or why the file cannot be cut.
type Part<T> = io::Result<Result<(T, Range<u64>), mp4::Error>>;
/// Up to so many bytes at a place of the file.
type Read<'a> = &'a dyn Fn(u64, usize) -> io::Result<Vec<u8>>;

fn cut(read: Read<'_>, size: u64, start: u64, end: Option<u64>) -> Part<Vec<u8>> {
    let (mut at, mut kind_of_file, mut index) = (0, Vec::new(), None);
    for _ in 0..MP4_BOXES {
        let head = read(at, mp4::HEAD)?;
        if head.is_empty() {
            break;
        }
        let head = match mp4::head(&head) {
            Ok(head) => head,
            Err(e) => return Ok(Err(e)),
        };
        let end = head.total.and_then(|total| at.checked_add(total)).unwrap_or(size).min(size);
        let len = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        match &head.kind {
            b"ftyp" if len <= MP4_TYPE => kind_of_file = read(at, len)?,
            b"moov" if len <= MP4_INDEX => {
                let skip = usize::try_from(head.len).unwrap_or_default();
                index = Some(read(at.saturating_add(head.len), len.saturating_sub(skip))?);
            }
            b"moov" => return Ok(Err(mp4::Error::Unsupported("so long an index"))),
            _ => {}
        }
        at = end;
        if index.is_some() && !kind_of_file.is_empty() || at >= size {
            break;
        }
    }
    let Some(index) = index else { return Ok(Err(mp4::Error::Malformed("a file without index"))) };
    Ok(mp4::cut(&index, start, end, &kind_of_file).and_then(|cut| {
        if cut.data.end > size {
            return Err(mp4::Error::Malformed("a file that was cut"));
        }
        Ok((cut.index, cut.data))
    }))
}

/// Tags looked at for the sequence headers of a recording.
const FLV_TAGS: usize = 64;
/// Boxes looked at for the index: as a rule there are four.
const MP4_BOXES: usize = 64;
/// Bytes of an `ftyp`: brands, 4 bytes each.
const MP4_TYPE: usize = 1024;

/// What is sent before the media, and its room.
struct Held {
    lead: Vec<u8>,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.lead
    }
}
