//! AAC in RTP behind AU headers (RFC 3640 §3.2, §3.3.5, §3.3.6).

use super::{Content, Error, Unit};
use crate::codec::bits::Bits;
use crate::limits::RTP_AUDIO_FRAME;

/// How packets of a track are laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) size_length: u8,
    pub(super) index_length: u8,
    pub(super) index_delta_length: u8,
    pub(super) frame_ticks: u32,
}

/// The frame in progress, when it comes in several packets.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    data: Vec<u8>,
    /// Its length and time.
    due: Option<(usize, i64)>,
}

impl Fragments {
    /// Takes the payload of a packet at `time`; `lost` ones are missing before it.
    pub(super) fn take(
        &mut self,
        layout: Layout,
        time: i64,
        lost: bool,
        payload: &[u8],
        out: &mut impl FnMut(Unit<'_>),
    ) -> Result<(), Error> {
        let (len, rest) = payload.split_first_chunk().ok_or(Error::Short)?;
        let bits = usize::from(u16::from_be_bytes(*len));
        let (headers, data) = rest.split_at_checked(bits.div_ceil(8)).ok_or(Error::Short)?;
        let mut headers = Headers { bits: Bits::new(headers), left: bits, first: true, layout };
        if lost || self.due.is_some_and(|(_, at)| at != time) {
            self.clear();
        }
        let Some((size, _)) = headers.next() else { return Ok(()) };
        if self.due.is_some() || size > data.len() {
            return self.fragment(size, time, data, out);
        }
        let mut rest = data;
        let mut next = Some((size, 0));
        let mut at = time;
        while let Some((size, delta)) = next {
            let (frame, after) = rest.split_at_checked(size).ok_or(Error::Short)?;
            at += i64::from(delta) * i64::from(layout.frame_ticks);
            emit(frame, at, out);
            at += i64::from(layout.frame_ticks);
            rest = after;
            next = headers.next();
        }
        Ok(())
    }

    /// Each fragment has the size of the whole frame in its header.
    fn fragment(
        &mut self,
        size: usize,
        time: i64,
        piece: &[u8],
        out: &mut impl FnMut(Unit<'_>),
    ) -> Result<(), Error> {
        if size > RTP_AUDIO_FRAME {
            self.clear();
            return Err(Error::TooLong);
        }
        let (due, _) = *self.due.get_or_insert((size, time));
        if due != size || self.data.len() + piece.len() > size {
            self.clear();
            return Err(Error::Fragment);
        }
        self.data.extend_from_slice(piece);
        if self.data.len() == size {
            emit(&self.data, time, out);
            self.clear();
        }
        Ok(())
    }

    /// Forgets the frame in progress.
    pub(super) fn clear(&mut self) {
        self.data.clear();
        self.due = None;
    }
}

/// Hands a frame over, without the ADTS header that some cameras leave on it: a raw frame does not
/// begin with its bits (ISO/IEC 14496-3 table 4.3: the first element would be END).
fn emit(frame: &[u8], time: i64, out: &mut impl FnMut(Unit<'_>)) {
    let raw = match frame {
        [0xff, flags, _, a, b, c, ..] if flags & 0xf6 == 0xf0 => {
            let len = usize::from(a & 3) << 11 | usize::from(*b) << 3 | usize::from(c >> 5);
            let head = if flags & 1 == 0 { 9 } else { 7 };
            frame.get(head..).filter(|_| len == frame.len()).unwrap_or(frame)
        }
        _ => frame,
    };
    if !raw.is_empty() {
        out(Unit { time, content: Content::Audio(raw) });
    }
}

/// The AU headers of a packet: sizes, and frames left out before each.
struct Headers<'a> {
    bits: Bits<'a>,
    left: usize,
    first: bool,
    layout: Layout,
}

impl Iterator for Headers<'_> {
    type Item = (usize, u32);

    fn next(&mut self) -> Option<(usize, u32)> {
        let Layout { size_length, index_length, index_delta_length, .. } = self.layout;
        let first = std::mem::take(&mut self.first);
        let index = if first { index_length } else { index_delta_length };
        self.left = self.left.checked_sub(usize::from(size_length) + usize::from(index))?;
        let size = self.bits.bits(size_length.into()).ok()?;
        let index = self.bits.bits(index.into()).ok()?;
        // The index of the first one is a serial number, of no use without interleaving.
        Some((usize::try_from(size).ok()?, if first { 0 } else { index }))
    }
}
