//! A picture as it is gathered from packets; the same for H.264 and H.265.

use super::{Content, Error, Nals, Unit};
use crate::limits::{KEY_WAIT_MS, MESSAGE_MAX, RTP_PICTURE_KEPT};

/// Room that a picture leaves in its message, for the header of the tag.
const TAG_HEAD: usize = 64;
const LENGTH: usize = 4;
/// Of video, always (RFC 6184 §8.2.1, RFC 7798 §7.1); what was announced is not asked.
const TICKS_A_MS: i64 = 90;
/// A time so far before that of the missing picture is of a clock that was set back: B-frames are
/// shown before the picture that they stand behind, but not by 10 s.
const BACK: i64 = 10_000 * TICKS_A_MS;

/// What a NAL unit means for where pictures begin, and whether one can be decoded alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A slice.
    Slice {
        /// A decoder can start at it.
        key: bool,
        /// It is the first one of its picture.
        first: bool,
    },
    /// Parameter sets, SEI and others.
    Other,
}

/// The picture in progress.
#[derive(Debug, Default)]
pub(super) struct Picture {
    /// Units behind their lengths.
    data: Vec<u8>,
    time: Option<i64>,
    /// Where the length of the unit in fragments is.
    fragments: Option<usize>,
    key: bool,
    slices: bool,
    /// Something of it is missing.
    broken: bool,
    /// Packets before it are missing, perhaps its first ones.
    gap: bool,
    /// Since this time pictures are dropped because one before them is missing.
    waits: Option<i64>,
    /// Pictures that were left out.
    pub(super) dropped: u32,
}

impl Picture {
    /// A packet at `time`, `lost` packets behind the last one. What was gathered is over if it is
    /// of another time.
    pub(super) fn begin(&mut self, time: i64, lost: bool, out: &mut impl FnMut(Unit<'_>)) {
        if lost {
            // The missing packets may have been the end of this picture and others behind it.
            self.broken |= self.time.is_some();
            self.waits.get_or_insert(time);
        }
        if self.time.is_some_and(|old| old != time) {
            self.end(out);
        }
        self.time = Some(time);
        self.gap |= lost;
    }

    /// Several units, each behind its length of two bytes. `role` says what a unit is, `None` for
    /// one that is left out.
    pub(super) fn aggregate(
        &mut self,
        mut rest: &[u8],
        role: impl Fn(&[u8]) -> Option<Role>,
    ) -> Result<(), Error> {
        // One byte left is padding of an encoder.
        while let Some((len, after)) = rest.split_first_chunk() {
            let len = usize::from(u16::from_be_bytes(*len));
            let Some((unit, after)) = after.split_at_checked(len) else {
                self.damage();
                return Err(Error::Short);
            };
            rest = after;
            if let Some(role) = role(unit) {
                self.unit(unit, role)?;
            }
        }
        Ok(())
    }

    /// A whole unit. An empty one is passed over.
    pub(super) fn unit(&mut self, unit: &[u8], role: Role) -> Result<(), Error> {
        if self.fragments.take().is_some() {
            self.broken = true;
        }
        if unit.is_empty() {
            return Ok(());
        }
        // A NAL unit is bounded by its packet, which has 64 KB at most.
        let len = unit.len() as u32;
        self.note(role);
        self.append(&len.to_be_bytes())?;
        self.append(unit)
    }

    /// The first fragment of a unit, behind `head`, its header as it was before it was cut.
    pub(super) fn first_fragment(
        &mut self,
        head: &[u8],
        piece: &[u8],
        role: Role,
    ) -> Result<(), Error> {
        if self.fragments.is_some() {
            self.broken = true;
        }
        self.note(role);
        self.fragments = Some(self.data.len());
        self.append(&[0; LENGTH])?;
        self.append(head)?;
        self.append(piece)
    }

    /// One more fragment.
    pub(super) fn fragment(&mut self, piece: &[u8], last: bool) -> Result<(), Error> {
        let Some(start) = self.fragments else {
            let first = !self.broken;
            self.damage();
            return if first { Err(Error::Fragment) } else { Ok(()) };
        };
        self.append(piece)?;
        if last {
            self.fragments = None;
            let len = self.data.len().saturating_sub(start + LENGTH);
            // MESSAGE_MAX fits.
            let len = (len as u32).to_be_bytes();
            if let Some(field) = self.data.get_mut(start..start + LENGTH) {
                field.copy_from_slice(&len);
            }
        }
        Ok(())
    }

    /// The picture cannot be completed.
    pub(super) fn damage(&mut self) {
        self.broken = true;
        self.fragments = None;
    }

    /// The marker came. Cameras that set it behind parameter sets too mean nothing by it.
    pub(super) fn marker(&mut self, out: &mut impl FnMut(Unit<'_>)) {
        if self.slices || self.broken {
            self.end(out);
        }
    }

    /// Hands the picture over, or drops it; what has no slice stays for the next one.
    pub(super) fn end(&mut self, out: &mut impl FnMut(Unit<'_>)) {
        let Some(time) = self.time else { return };
        self.broken |= self.fragments.is_some();
        if !self.slices && !self.broken {
            return;
        }
        if self.broken {
            self.waits.get_or_insert(time);
        } else if self.may_go_on(time) {
            self.waits = None;
        }
        if self.broken || self.waits.is_some() {
            self.dropped = self.dropped.wrapping_add(1);
        } else {
            let content = Content::Picture { nals: Nals::new(&self.data), key: self.key };
            out(Unit { time, content });
        }
        self.clear();
    }

    /// Drops what is there.
    pub(super) fn restart(&mut self) {
        self.clear();
    }

    /// Whether a picture may follow one that is missing: a key frame, or any one after the time
    /// that players wait for one, as encoders with intra refresh send none.
    fn may_go_on(&self, time: i64) -> bool {
        self.key
            || self.waits.is_some_and(|since| {
                time.saturating_sub(since) > i64::from(KEY_WAIT_MS) * TICKS_A_MS
                    || since.saturating_sub(time) > BACK
            })
    }

    fn note(&mut self, role: Role) {
        let Role::Slice { key, first } = role else { return };
        self.broken |= self.gap && !self.slices && !first;
        self.slices = true;
        self.key |= key;
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.broken {
            return Ok(());
        }
        if self.data.len() + bytes.len() > MESSAGE_MAX - TAG_HEAD {
            self.damage();
            return Err(Error::TooLong);
        }
        self.data.extend_from_slice(bytes);
        Ok(())
    }

    fn clear(&mut self) {
        self.data.clear();
        self.data.shrink_to(RTP_PICTURE_KEPT);
        (self.time, self.fragments) = (None, None);
        (self.key, self.slices, self.broken, self.gap) = (false, false, false, false);
    }
}
