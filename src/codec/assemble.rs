//! From NAL units to tag bodies: parameter sets become sequence headers, the other units of a
//! picture one packet with lengths. What a TS, an RTSP source or a file of units has in common.
//!
//! H.264 gets the header of FLV (codec 7), HEVC that of Enhanced RTMP (`hvc1`).

use bytes::{BufMut, BytesMut};

use super::nal::{self, Set, Unit, Video};
use super::{Error, avc, hevc};
use crate::limits::{MESSAGE_MAX, PARAMETER_SETS, PARAMETER_SETS_COUNT};
use crate::media::arena::{Full, Memory};
use crate::media::{Kind, Packet, timeline::sane_cts};

/// Makes the packets of one video stream.
#[derive(Debug)]
pub struct Assembler {
    video: Video,
    /// In the order of kind and id.
    sets: Vec<ParameterSet>,
    /// The sets are not those of the last header.
    changed: bool,
    headed: bool,
    /// Pictures and sets that could not be used.
    dropped: u32,
}

#[derive(Debug)]
struct ParameterSet {
    kind: Set,
    id: u32,
    bytes: Vec<u8>,
}

/// When a picture is decoded and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Milliseconds; the lower 31 bits count.
    pub dts: u32,
    /// Milliseconds from decoding to showing; what cannot be is clamped by [`sane_cts`].
    pub cts: i32,
}

impl Assembler {
    /// For a stream whose parameter sets are to come.
    pub const fn new(video: Video) -> Self {
        Self { video, sets: Vec::new(), changed: false, headed: false, dropped: 0 }
    }

    /// The codec.
    pub const fn video(&self) -> Video {
        self.video
    }

    /// Whether there was a sequence header: pictures before it are dropped.
    pub const fn headed(&self) -> bool {
        self.headed
    }

    /// Pictures that had no header to be decoded with or were too long, and parameter sets that
    /// could not be read.
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Takes a parameter set without start code, from the stream or from elsewhere (SDP).
    /// Anything else is refused; so are sets beyond [`PARAMETER_SETS`] bytes.
    pub fn parameter_set(&mut self, unit: &[u8]) -> Result<(), Error> {
        let Unit::Set(kind) = self.video.unit(unit) else {
            return Err(Error::Invalid("not a parameter set"));
        };
        let id = match (self.video, kind) {
            (Video::H264, Set::Sps) => avc::sps_id(unit),
            (Video::H264, _) => avc::pps_id(unit),
            (Video::Hevc, Set::Vps) => hevc::vps_id(unit),
            (Video::Hevc, Set::Sps) => hevc::sps_id(unit),
            (Video::Hevc, Set::Pps) => hevc::pps_id(unit),
        }?;
        let at = self.sets.binary_search_by_key(&(kind, id), |set| (set.kind, set.id));
        if at.is_ok_and(|at| self.sets.get(at).is_some_and(|set| set.bytes == unit)) {
            return Ok(());
        }
        // Three bytes each are for the start code that a TS muxer puts in front.
        let others = (self.sets.iter().enumerate()).filter(|&(i, _)| Ok(i) != at);
        let (count, bytes) = others.fold((1, unit.len() + 3), |(count, bytes), (_, set)| {
            (count + 1, bytes + set.bytes.len() + 3)
        });
        if count > PARAMETER_SETS_COUNT || bytes > PARAMETER_SETS {
            return Err(Error::Unsupported("parameter sets longer than limit parameter_sets"));
        }
        let set = ParameterSet { kind, id, bytes: unit.to_vec() };
        match at {
            Ok(at) => {
                if let Some(old) = self.sets.get_mut(at) {
                    *old = set;
                }
            }
            Err(at) => self.sets.insert(at, set),
        }
        self.changed = true;
        Ok(())
    }

    /// The sequence header, if all sets that it needs are there and it is not what the last one
    /// was. To be called before the first picture where the sets come from elsewhere.
    pub fn header(&mut self, dts: u32, memory: &mut dyn Memory) -> Result<Option<Packet>, Full> {
        if !self.changed {
            return Ok(None);
        }
        let of = |kind| -> Vec<&[u8]> {
            let sets = self.sets.iter().filter(|set| set.kind == kind);
            sets.map(|set| &set.bytes[..]).collect()
        };
        let (vps, sps, pps) = (of(Set::Vps), of(Set::Sps), of(Set::Pps));
        if sps.is_empty() || pps.is_empty() || self.video == Video::Hevc && vps.is_empty() {
            return Ok(None);
        }
        let (head, record): (&[u8], _) = match self.video {
            Video::H264 => (&[0x17, 0, 0, 0, 0], avc::decoder_config(&sps, &pps)),
            Video::Hevc => (b"\x90hvc1", hevc::decoder_config(&vps, &sps, &pps)),
        };
        // Sets that cannot be read are not in the list.
        let Ok(record) = record else { return Ok(None) };
        let mut body = memory.alloc(head.len() + record.len())?;
        body.put_slice(head);
        body.put_slice(&record);
        self.changed = false;
        self.headed = true;
        Ok(Some(Packet::new(Kind::Video, dts, body.freeze())))
    }

    /// Takes the units of one access unit, without start codes: gives the sequence header if it
    /// changed, then the picture, if there is one. Delimiters, filler and parameter sets are left
    /// out of it; sets stay in a picture at which a decoder can start though it is no IDR, because
    /// nobody else would put them there. Where `memory` has no room nothing of the picture is
    /// given and the next one may be taken; a picture of more than [`MESSAGE_MAX`] bytes is
    /// dropped.
    pub fn picture<'a>(
        &mut self,
        units: impl Iterator<Item = &'a [u8]> + Clone,
        time: Time,
        memory: &mut dyn Memory,
        out: &mut dyn FnMut(Packet),
    ) -> Result<(), Full> {
        let (mut start, mut slices) = (false, false);
        for unit in units.clone() {
            match self.video.unit(unit) {
                Unit::Set(_) if self.parameter_set(unit).is_err() => self.drop_one(),
                Unit::Slice { start: this, .. } => {
                    slices = true;
                    start |= this;
                }
                _ => {}
            }
        }
        if !slices {
            return Ok(());
        }
        if let Some(header) = self.header(time.dts, memory)? {
            out(header);
        }
        if !self.headed {
            self.drop_one();
            return Ok(());
        }
        let recovers = !start && self.video.recovers(units.clone());
        let video = self.video;
        let kept = units.filter(|unit| match video.unit(unit) {
            Unit::Delimiter | Unit::Filler => false,
            Unit::Set(_) => recovers,
            _ => !unit.is_empty(),
        });
        let head = self.picture_head(start || recovers, sane_cts(time.cts));
        let len = kept.clone().fold(head.len(), |len, unit| len.saturating_add(4 + unit.len()));
        if len > MESSAGE_MAX {
            self.drop_one();
            return Ok(());
        }
        let mut body = match memory.alloc(len) {
            Err(Full::TooLong { .. }) => {
                self.drop_one();
                return Ok(());
            }
            body => body?,
        };
        body.put_slice(&head);
        for unit in kept {
            put_unit(&mut body, unit);
        }
        out(Packet::new(Kind::Video, time.dts, body.freeze()));
        Ok(())
    }

    fn picture_head(&self, key: bool, cts: i32) -> heapless::Vec<u8, 8> {
        let frame: u8 = if key { 1 } else { 2 };
        let [_, a, b, c] = cts.to_be_bytes();
        let mut head = heapless::Vec::new();
        // Cannot fail: 8 is the longer of both.
        let _ = match self.video {
            Video::H264 => head.extend_from_slice(&[frame << 4 | 7, 1, a, b, c]),
            Video::Hevc => {
                head.extend_from_slice(&[0x81 | frame << 4, b'h', b'v', b'c', b'1', a, b, c])
            }
        };
        head
    }

    const fn drop_one(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }
}

fn put_unit(body: &mut BytesMut, unit: &[u8]) {
    // Pictures are shorter than MESSAGE_MAX.
    body.put_u32(unit.len() as u32);
    body.put_slice(unit);
}

/// Gathers the units of a picture that come in pieces (RTP), [`MESSAGE_MAX`] bytes at most, in one
/// buffer that is used again. A picture with more is marked [`over`](Self::over).
#[derive(Debug, Default)]
pub struct Gather {
    /// Units with lengths of four bytes.
    bytes: Vec<u8>,
    /// Where the length of the unit in progress is.
    open: Option<usize>,
    over: bool,
}

impl Gather {
    /// Nothing gathered, nothing allocated.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), open: None, over: false }
    }

    /// A whole unit.
    pub fn unit(&mut self, unit: &[u8]) {
        self.begin();
        self.extend(unit);
        self.end();
    }

    /// A unit begins. One that has not [ended](Self::end) is taken out again.
    pub fn begin(&mut self) {
        self.abandon();
        self.open = Some(self.bytes.len());
        self.put(&[0; 4]);
    }

    /// Bytes of the unit that has begun; nothing happens if none has.
    pub fn extend(&mut self, piece: &[u8]) {
        if self.open.is_some() {
            self.put(piece);
        }
    }

    /// The unit that has begun is whole.
    pub fn end(&mut self) {
        let Some(at) = self.open.take() else { return };
        let len = self.bytes.len().saturating_sub(at + 4);
        if let Some(room) = self.bytes.get_mut(at..at + 4) {
            // `put` keeps it shorter than MESSAGE_MAX.
            room.copy_from_slice(&(len as u32).to_be_bytes());
        }
    }

    /// Takes the unit that has begun out again: the rest of it was lost.
    pub fn abandon(&mut self) {
        if let Some(at) = self.open.take() {
            self.bytes.truncate(at);
        }
    }

    /// Whether a unit has begun.
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether nothing is there.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether there were more bytes than a picture may have, and some are missing.
    pub const fn over(&self) -> bool {
        self.over
    }

    /// The units that are whole.
    pub fn units(&self) -> nal::Prefixed<'_> {
        let end = self.open.unwrap_or(self.bytes.len());
        nal::prefixed(self.bytes.get(..end).unwrap_or_default(), 4)
    }

    /// Makes room for the next picture.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.open = None;
        self.over = false;
    }

    fn put(&mut self, piece: &[u8]) {
        if self.over || !extend_bounded(&mut self.bytes, piece, MESSAGE_MAX) {
            self.over = true;
            self.abandon();
        }
    }
}

/// Appends `piece` if there are not more than `most` bytes then; the capacity never passes `most`.
pub fn extend_bounded(bytes: &mut Vec<u8>, piece: &[u8], most: usize) -> bool {
    let len = bytes.len().saturating_add(piece.len());
    if len > most {
        return false;
    }
    if len > bytes.capacity() {
        let wanted = bytes.capacity().saturating_mul(2).clamp(len, most);
        bytes.reserve_exact(wanted.saturating_sub(bytes.len()));
    }
    bytes.extend_from_slice(piece);
    true
}

#[cfg(test)]
mod tests;
