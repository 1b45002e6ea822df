//! AAC in RTP as LATM (RFC 6416 §5): AudioMuxElements, whole or in several packets.

use super::{Content, Error, Unit};
use crate::codec::bits::Bits;
use crate::codec::latm::{Mux, stream_mux_config};
use crate::limits::RTP_AUDIO_FRAME;

/// The elements of a track.
#[derive(Debug)]
pub(super) struct Elements {
    /// Elements say themselves how they are laid out (`cpresent=1`).
    in_band: bool,
    /// As it was said last.
    mux: Option<Mux>,
    /// What the stream said of its decoder last.
    config: Vec<u8>,
    clock_rate: u32,
    /// The element in progress, and its time.
    data: Vec<u8>,
    time: i64,
    /// Packets are missing: it may be the end of one whose begin is not there.
    torn: bool,
    /// Frames of an element, one behind the other, and their lengths, 64 at most.
    frames: Vec<u8>,
    lens: Vec<usize>,
}

impl Elements {
    pub(super) fn new(in_band: bool, mux: Option<Mux>, clock_rate: u32) -> Self {
        Self {
            in_band,
            mux,
            config: Vec::new(),
            clock_rate,
            data: Vec::new(),
            time: 0,
            torn: false,
            frames: Vec::new(),
            lens: Vec::new(),
        }
    }

    /// Takes the payload of a packet at `time`; `lost` ones are missing before it, and with
    /// `marker` it ends an element.
    pub(super) fn take(
        &mut self,
        (time, lost, marker): (i64, bool, bool),
        payload: &[u8],
        out: &mut impl FnMut(Unit<'_>),
    ) -> Result<(), Error> {
        if lost {
            self.data.clear();
            self.torn = true;
        }
        let mut result = Ok(());
        if time != self.time && !self.data.is_empty() {
            // The marker did not come: it is whole if it looks so.
            self.torn = true;
            result = self.end(&[], out);
        }
        self.time = time;
        if self.data.len().saturating_add(payload.len()) > ELEMENT {
            self.data.clear();
            self.torn = true;
            return Err(Error::TooLong);
        }
        if marker {
            return self.end(payload, out).and(result);
        }
        self.data.extend_from_slice(payload);
        result
    }

    /// Forgets the element in progress.
    pub(super) fn clear(&mut self) {
        self.data.clear();
        self.torn = true;
    }

    /// The element in progress ends with `last`.
    fn end(&mut self, last: &[u8], out: &mut impl FnMut(Unit<'_>)) -> Result<(), Error> {
        let mut data = std::mem::take(&mut self.data);
        let element = if data.is_empty() {
            last
        } else {
            data.extend_from_slice(last);
            &data
        };
        let torn = std::mem::take(&mut self.torn);
        let result = self.element(element, torn, out);
        data.clear();
        self.data = data;
        result
    }

    /// Hands the frames of an element out; of one that may be `torn` only when it fits to its end.
    fn element(
        &mut self,
        element: &[u8],
        torn: bool,
        out: &mut impl FnMut(Unit<'_>),
    ) -> Result<(), Error> {
        let mut bits = Bits::new(element);
        let mut said = None;
        if self.in_band && !bits.bit().map_err(|_| Error::Short)? {
            said = Some(stream_mux_config(&mut bits).map_err(|_| Error::AudioConfig)?);
        }
        let mux = said.as_ref().map(|(mux, _)| *mux).or(self.mux);
        // Until it is said how to read them nothing can be read.
        let Some(mux) = mux else { return Ok(()) };
        self.frames.clear();
        self.lens.clear();
        for _ in 0..mux.frames {
            let before = self.frames.len();
            if !frame(&mut bits, &mut self.frames) {
                return Err(Error::Short);
            }
            self.lens.push(self.frames.len() - before);
        }
        if torn && bits.left() >= 8 {
            return Err(Error::Fragment);
        }
        self.mux = Some(mux);
        let mut time = self.time;
        if let Some((_, config)) = said
            && config != self.config
        {
            self.config = config;
            out(Unit { time, content: Content::AudioConfig(&self.config) });
        }
        let ticks = u64::from(self.clock_rate) * u64::from(mux.samples) / u64::from(mux.core_rate);
        let mut rest = self.frames.as_slice();
        for len in &self.lens {
            let Some((raw, after)) = rest.split_at_checked(*len) else { break };
            if !raw.is_empty() {
                out(Unit { time, content: Content::Audio(raw) });
            }
            time = time.saturating_add_unsigned(ticks);
            rest = after;
        }
        Ok(())
    }
}

/// Appends the next frame: PayloadLengthInfo and PayloadMux (ISO/IEC 14496-3 §1.7.3). False: there
/// is less than it says.
fn frame(bits: &mut Bits<'_>, out: &mut Vec<u8>) -> bool {
    let mut len = 0;
    loop {
        let Ok(byte) = bits.bits(8) else { return false };
        len += byte as usize;
        if byte != 255 {
            break;
        }
    }
    if len > bits.left() / 8 {
        return false;
    }
    // There are as many.
    out.extend((0..len).map_while(|_| bits.bits(8).ok()).map(|byte| byte as u8));
    true
}

/// Bytes of an element, which has up to 64 frames, and of the frames in it: together those of an audio
/// frame. A longer one is left out.
const ELEMENT: usize = RTP_AUDIO_FRAME / 2;
