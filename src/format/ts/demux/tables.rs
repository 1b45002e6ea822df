//! The tables of a stream (ISO/IEC 13818-1 §2.4.4): sections put together from packets, and what
//! a program map says.

use super::super::psi::crc32;
use super::super::{Audio, Video};
use super::{Counters, Note, Notes};
use crate::limits::TS_PROGRAMS;

/// The longest section of these tables (§2.4.4.4, §2.4.4.9).
const SECTION: usize = 1024;

/// Puts the sections of one PID together.
#[derive(Debug, Default)]
pub(super) struct Sections {
    bytes: Vec<u8>,
    /// A section began; without that, bytes are the rest of one whose start was lost.
    open: bool,
}

impl Sections {
    /// Something was lost: the section in progress is given up.
    pub(super) fn lost(&mut self) {
        self.open = false;
        self.bytes.clear();
    }

    /// Takes the payload of a packet; `start` says that a section begins in it. `done` gets each
    /// section that is whole and whose CRC is right.
    pub(super) fn payload(
        &mut self,
        start: bool,
        payload: &[u8],
        counters: &mut Counters,
        done: &mut dyn FnMut(&[u8]),
    ) {
        if !start {
            return self.feed(payload, counters, done);
        }
        let Some((&pointer, rest)) = payload.split_first() else { return };
        let Some((end, begin)) = rest.split_at_checked(pointer.into()) else {
            return self.lost();
        };
        self.feed(end, counters, done);
        self.bytes.clear();
        self.open = true;
        self.feed(begin, counters, done);
    }

    fn feed(&mut self, mut data: &[u8], counters: &mut Counters, done: &mut dyn FnMut(&[u8])) {
        while self.open && !data.is_empty() {
            if self.bytes.is_empty() && data.first() == Some(&0xff) {
                // Stuffing up to the end of the packet.
                self.open = false;
                return;
            }
            let wanted = match *self.bytes {
                [_, high, low, ..] => 3 + (usize::from(high & 15) << 8 | usize::from(low)),
                _ => 3,
            };
            if wanted > SECTION {
                return self.lost();
            }
            let missing = wanted.saturating_sub(self.bytes.len());
            let (piece, rest) = data.split_at(missing.min(data.len()));
            self.bytes.extend_from_slice(piece);
            data = rest;
            // The length is known once three bytes are there, and may be 0.
            let whole = match *self.bytes {
                [_, high, low, ..] => {
                    self.bytes.len() == 3 + (usize::from(high & 15) << 8 | usize::from(low))
                }
                _ => false,
            };
            if whole {
                if crc32(&self.bytes) == 0 {
                    done(&self.bytes);
                } else {
                    Counters::add(&mut counters.crc);
                }
                self.bytes.clear();
            }
        }
    }
}

/// The programs of a program association table: number and PID of the map, in the order of the
/// table, [`TS_PROGRAMS`] at most. `None` if `section` is no such table or not valid yet.
pub(super) fn programs(section: &[u8]) -> Option<heapless::Vec<(u16, u16), TS_PROGRAMS>> {
    // Of a table in several sections the first one counts: it has 253 programs.
    let (&[0, _, _, _, _, valid, 0, _], body) = section.split_first_chunk::<8>()? else {
        return None;
    };
    if valid & 1 == 0 {
        return None;
    }
    let body = body.get(..body.len().checked_sub(4)?)?;
    let entries = body.chunks_exact(4).filter_map(|entry| match *entry {
        // Program 0 is the network table.
        [0, 0, ..] => None,
        [a, b, c, d] => Some((u16::from_be_bytes([a, b]), pid(c, d))),
        _ => None,
    });
    Some(entries.take(TS_PROGRAMS).collect())
}

/// What a program has that can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) video: Option<(u16, Video)>,
    pub(super) audio: Option<(u16, Audio)>,
}

impl Map {
    pub(super) fn is_empty(&self) -> bool {
        self.video.is_none() && self.audio.is_none()
    }
}

/// Reads the program map of program `number`: the first video and the first audio stream of a
/// codec that is read. `None` if `section` is another table, or not valid yet.
pub(super) fn map(section: &[u8], number: u16, notes: &mut Notes) -> Option<Map> {
    let (&[2, _, _, a, b, valid, 0, _, _, _, high, low], rest) =
        section.split_first_chunk::<12>()?
    else {
        return None;
    };
    if valid & 1 == 0 || u16::from_be_bytes([a, b]) != number {
        return None;
    }
    let rest = rest.get(..rest.len().checked_sub(4)?)?;
    let mut rest = rest.get(usize::from(pid(high & 15, low))..)?;
    let mut map = Map::default();
    while let Some((&[kind, a, b, high, low], after)) = rest.split_first_chunk() {
        // A length that lies ends the map, with what was read before.
        let Some((descriptors, after)) = after.split_at_checked(pid(high & 15, low).into()) else {
            break;
        };
        rest = after;
        let pid = pid(a, b);
        match kind {
            0x1b => drop(map.video.get_or_insert((pid, Video::H264))),
            0x24 => drop(map.video.get_or_insert((pid, Video::Hevc))),
            0x06 if registered(descriptors, b"HEVC") => {
                map.video.get_or_insert((pid, Video::Hevc));
            }
            0x0f => drop(map.audio.get_or_insert((pid, Audio::Aac))),
            0x03 | 0x04 => drop(map.audio.get_or_insert((pid, Audio::Mp3))),
            0x11 => notes.add(Note::Latm),
            // Tables, private data, metadata: nothing that would be missed.
            0x05 | 0x06 | 0x0b | 0x0c | 0x0d | 0x15 | 0x86 => {}
            stream_type => notes.add(Note::Unsupported { stream_type }),
        }
    }
    Some(map)
}

/// 13 bits.
fn pid(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high & 31, low])
}

/// Whether there is a registration descriptor with `format` (§2.6.8).
fn registered(mut descriptors: &[u8], format: &[u8; 4]) -> bool {
    while let Some((&[tag, len], rest)) = descriptors.split_first_chunk() {
        let Some((body, rest)) = rest.split_at_checked(len.into()) else { return false };
        if tag == 5 && body.starts_with(format) {
            return true;
        }
        descriptors = rest;
    }
    false
}
