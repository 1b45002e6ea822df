//! Packets of a live stream into a transport stream.

use super::nal::{Layout as UnitLayout, Parameters, Role, Units};
use super::packet::{Line, Pieces};
use super::psi::{self, Layout, Tables, audio_pid};
use super::tag::{self, Body};
use super::{Audio, Defaults, Error, PACKET, TICKS, Video, pes};
use crate::codec::aac;
use crate::format::adts::{self, Adts};
use crate::limits::{GATHERED_AUDIO, NAL_UNITS, PARAMETER_SETS};
use crate::media::{Codec, Packet, time};

/// Tables are repeated at least so often in the stream's time; without video this makes the
/// points at which a player can join.
const TABLES_MS: u64 = 5000;
const TABLES_AUDIO_MS: u64 = 1000;
/// The clock reference comes with key frames, and with the first picture after this time: no more
/// than 100 ms may be between two (ISO/IEC 13818-1 §2.7.2).
const CLOCK_MS: u64 = 50;
/// A stream that the tables state and that had no frame for so long, while the other one had, is
/// left out of them.
const REVIEW_MS: u64 = 2000;

/// The most bytes that one packet with a payload of `len` bytes gives.
pub const fn bound(len: usize) -> usize {
    // Start codes are at most 3 bytes longer than the lengths they replace.
    let picture = len + PARAMETER_SETS + 3 * NAL_UNITS + 16 + pes::HEADER_MAX;
    packets(picture) + packets(GATHERED_AUDIO + pes::HEADER_MAX) + 4 * PACKET
}

const fn packets(len: usize) -> usize {
    (len / (PACKET - 4) + 2) * PACKET
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Muxed {
    /// Nothing of it belongs into the stream: data, commands, frames before their sequence header.
    Nothing,
    /// A sequence header. It is kept; frames of now on need it.
    Header {
        /// It is not the one that was kept before; true for the first one too.
        changed: bool,
    },
    /// A frame.
    Frame {
        /// Its decode time in milliseconds, 2^31 and all wraps of the source passed over.
        time: i64,
        /// A decoder can start at it.
        key: bool,
        /// The tables were written in front of it: a receiver can start here, if it is a key
        /// frame or there is no video.
        tables: bool,
    },
}

/// Muxes one stream. Counters run on over segments and [`restart`](Self::restart).
#[derive(Debug)]
pub struct Mux {
    defaults: Defaults,
    video: Track<Video>,
    audio: Track<Audio>,
    parameters: Option<Parameters>,
    units: Option<UnitLayout>,
    adts: Option<Adts>,
    lines: Lines,
    tables: Tables,
    clock: Clock,
    /// The next frame must have tables in front of it.
    due: bool,
    tables_at: i64,
    reference_at: Option<i64>,
    reviewed_at: Option<i64>,
    gathered: Gathered,
}

/// One of the two streams.
#[derive(Clone, Copy, Debug)]
struct Track<C> {
    /// What the tables state.
    codec: Option<C>,
    /// It is not just the default.
    real: bool,
    /// It had a frame since the last review.
    seen: bool,
}

#[derive(Debug)]
struct Lines {
    video: Line,
    aac: Line,
    mp3: Line,
}

/// Audio frames that wait for others, to share the headers.
#[derive(Debug)]
struct Gathered {
    codec: Audio,
    bytes: Vec<u8>,
    /// When the first of them is played.
    time: i64,
}

impl Mux {
    /// A muxer for a new stream. It takes about 400 bytes, and the parameter sets of the stream.
    pub fn new(defaults: Defaults) -> Self {
        Self {
            video: Track::new(defaults.video),
            audio: Track::new(defaults.audio),
            defaults,
            parameters: None,
            units: None,
            adts: None,
            lines: Lines {
                video: Line::new(psi::VIDEO),
                aac: Line::new(psi::AAC),
                mp3: Line::new(psi::MP3),
            },
            tables: Tables::new(),
            clock: Clock::default(),
            due: true,
            tables_at: 0,
            reference_at: None,
            reviewed_at: None,
            gathered: Gathered { codec: Audio::Aac, bytes: Vec::new(), time: 0 },
        }
    }

    /// Appends `packet` to `out`: nothing, or whole transport packets, [`bound`] at most. After
    /// an error nothing was written and the stream can go on.
    pub fn packet(&mut self, packet: &Packet, out: &mut Vec<u8>) -> Result<Muxed, Error> {
        match tag::read(packet.kind, &packet.payload)? {
            Body::Nothing => Ok(Muxed::Nothing),
            Body::VideoHeader(video, record) => self.video_header(video, record),
            Body::AudioHeader(config) => self.audio_header(config),
            Body::Picture(video, cts, data) => self.picture(packet, video, cts, data, out),
            Body::Sound(audio, data) => self.sound(packet, audio, data, out),
        }
    }

    /// The next frame gets tables in front of it, the next picture a clock reference. Call [`flush`](Self::flush) before, for what
    /// belongs into the segment that ends.
    pub fn begin_segment(&mut self) {
        self.due = true;
        self.reference_at = None;
    }

    /// Writes audio that was gathered.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        if self.gathered.bytes.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.gathered.bytes);
        self.write_sound(self.gathered.codec, self.gathered.time, [&[], &bytes], out);
    }

    /// Another stream follows: headers and times of this one are forgotten, and audio that was
    /// gathered. Counters go on.
    pub fn restart(&mut self, defaults: Defaults) {
        let lines = Lines { ..self.lines };
        let tables = std::mem::replace(&mut self.tables, Tables::new());
        *self = Self { lines, tables, ..Self::new(defaults) };
    }

    /// What the metadata says about the codecs, which counts until there are frames: tables that
    /// state a stream that never comes make players wait for it.
    pub fn expect(&mut self, video: Option<Video>, audio: Option<Audio>) {
        if !self.video.real {
            self.video.codec = video;
        }
        if !self.audio.real {
            self.audio.codec = audio;
        }
    }

    /// The time that a packet at `dts` would get, in milliseconds as in [`Muxed::Frame`].
    pub fn time(&self, dts: u32) -> i64 {
        self.clock.time(dts)
    }

    /// Whether the stream has no video, as far as is known.
    pub fn audio_only(&self) -> bool {
        !self.video.real
    }

    fn video_header(&mut self, video: Video, record: &[u8]) -> Result<Muxed, Error> {
        let parameters = Parameters::parse(video, record)?;
        self.video.is(video);
        let changed = self.parameters.as_ref() != Some(&parameters);
        self.parameters = Some(parameters);
        Ok(Muxed::Header { changed })
    }

    fn audio_header(&mut self, config: &[u8]) -> Result<Muxed, Error> {
        let config = aac::Config::parse(config)
            .map_err(|_| Error::Corrupt("AudioSpecificConfig cannot be read"))?;
        let adts = Adts::new(&config).map_err(|_| Error::Unsupported(Codec::Id(10)))?;
        self.audio.is(Audio::Aac);
        let changed = self.adts != Some(adts);
        self.adts = Some(adts);
        Ok(Muxed::Header { changed })
    }

    fn picture(
        &mut self,
        packet: &Packet,
        video: Video,
        cts: i32,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Muxed, Error> {
        let Some(parameters) = self.parameters.take_if(|parameters| parameters.video == video)
        else {
            return Ok(Muxed::Nothing);
        };
        let units = parameters.units(data, &mut self.units);
        let muxed = units.map(|units| match units.is_empty() {
            true => Muxed::Nothing,
            false => self.write_picture(packet, &parameters, cts, &units, out),
        });
        self.parameters = Some(parameters);
        muxed
    }

    fn write_picture(
        &mut self,
        packet: &Packet,
        parameters: &Parameters,
        cts: i32,
        units: &Units<'_>,
        out: &mut Vec<u8>,
    ) -> Muxed {
        self.flush(out);
        let time = self.clock.advance(packet.dts);
        self.video.is(parameters.video);
        self.video.seen = true;
        let tables = self.write_tables(time, packet.key, out);
        let mut len = 0;
        access_unit(parameters, units, |bytes| len += bytes.len());
        let dts = time.saturating_mul(TICKS);
        let pts = dts.saturating_add(i64::from(cts) * TICKS);
        let head = pes::header(pes::VIDEO, pts, dts, len);
        let old = self.reference_at.is_none_or(|at| time.abs_diff(at) >= CLOCK_MS);
        let pcr = (packet.key || old).then(|| pes::on_clock(dts));
        if pcr.is_some() {
            self.reference_at = Some(time);
        }
        let mut pieces = Pieces::new(out, &mut self.lines.video, head.len() + len, pcr);
        pieces.put(&head);
        access_unit(parameters, units, |bytes| pieces.put(bytes));
        Muxed::Frame { time, key: packet.key, tables }
    }

    fn sound(
        &mut self,
        packet: &Packet,
        audio: Audio,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Muxed, Error> {
        if data.is_empty() {
            return Ok(Muxed::Nothing);
        }
        let header = match (audio, &self.adts) {
            (Audio::Mp3, _) => None,
            (Audio::Aac, None) => return Ok(Muxed::Nothing),
            (Audio::Aac, Some(adts)) => Some(adts.header(data.len()).ok_or(LONG)?),
        };
        let header: &[u8] = header.as_ref().map_or(&[], |header| header);
        if data.len() + adts::HEADER > GATHERED_AUDIO {
            return Err(LONG);
        }
        let time = self.clock.advance(packet.dts);
        let gather = self.video.codec.is_none() && self.defaults.gather_ms > 0;
        let size = self.gathered.bytes.len() + header.len() + data.len();
        if !gather || self.gathered.codec != audio || size > GATHERED_AUDIO {
            self.flush(out);
        }
        self.audio.is(audio);
        self.audio.seen = true;
        let mut tables = false;
        if gather {
            let gathered = &mut self.gathered;
            if gathered.bytes.is_empty() {
                (gathered.time, gathered.codec) = (time, audio);
            }
            gathered.bytes.extend_from_slice(header);
            gathered.bytes.extend_from_slice(data);
            if time.abs_diff(gathered.time) >= u64::from(self.defaults.gather_ms) {
                self.flush(out);
            }
        } else {
            tables = self.write_sound(audio, time, [header, data], out);
        }
        Ok(Muxed::Frame { time, key: false, tables })
    }

    /// Whether tables were written too.
    fn write_sound(
        &mut self,
        audio: Audio,
        time: i64,
        parts: [&[u8]; 2],
        out: &mut Vec<u8>,
    ) -> bool {
        let tables = self.write_tables(time, false, out);
        let len = parts.iter().map(|part| part.len()).sum();
        let dts = time.saturating_mul(TICKS);
        let head = pes::header(pes::AUDIO, dts, dts, len);
        let pcr = (!self.video.real).then(|| pes::on_clock(dts));
        let line = self.lines.of(audio);
        debug_assert_eq!(line.pid(), audio_pid(audio));
        let mut pieces = Pieces::new(out, line, head.len() + len, pcr);
        pieces.put(&head);
        parts.iter().for_each(|part| pieces.put(part));
        tables
    }

    /// Writes the tables if they are due at a frame. Returns whether they were.
    fn write_tables(&mut self, time: i64, key: bool, out: &mut Vec<u8>) -> bool {
        let interval = if self.video.real { TABLES_MS } else { TABLES_AUDIO_MS };
        let due = self.due || key || time.abs_diff(self.tables_at) >= interval;
        if due {
            self.review(time);
        } else if !self.tables.differ(self.layout()) {
            return false;
        }
        self.due = false;
        self.tables_at = time;
        self.tables.write(self.layout(), out);
        true
    }

    fn layout(&self) -> Layout {
        Layout {
            video: self.video.codec,
            audio: self.audio.codec,
            video_clock: self.video.real || self.audio.codec.is_none(),
        }
    }

    /// Leaves out of the tables what is not there, now and then.
    fn review(&mut self, time: i64) {
        let &mut at = self.reviewed_at.get_or_insert(time);
        if time.abs_diff(at) < REVIEW_MS {
            return;
        }
        self.reviewed_at = Some(time);
        if !self.video.seen && self.audio.seen {
            self.video = Track::new(None);
        } else if !self.audio.seen && self.video.seen {
            self.audio = Track::new(None);
        }
        self.video.seen = false;
        self.audio.seen = false;
    }
}

impl<C> Track<C> {
    const fn new(codec: Option<C>) -> Self {
        Self { codec, real: false, seen: false }
    }

    fn is(&mut self, codec: C) {
        self.codec = Some(codec);
        self.real = true;
    }
}

impl Lines {
    const fn of(&mut self, audio: Audio) -> &mut Line {
        match audio {
            Audio::Aac => &mut self.aac,
            Audio::Mp3 => &mut self.mp3,
        }
    }
}

/// Times of 31 bits made into one that goes on.
#[derive(Debug, Default)]
struct Clock {
    /// The newest one, as it came and as it counts.
    last: Option<(u32, i64)>,
}

impl Clock {
    fn time(&self, dts: u32) -> i64 {
        match self.last {
            None => dts.into(),
            Some((last, time)) => time.saturating_add(time::difference(dts, last).into()),
        }
    }

    fn advance(&mut self, dts: u32) -> i64 {
        let time = self.time(dts);
        self.last = Some((dts, time));
        time
    }
}

/// A picture in annex B form, piece by piece: a delimiter first, parameter sets before the first
/// slice at which a decoder can start, where the source has none.
fn access_unit(parameters: &Parameters, units: &Units<'_>, mut put: impl FnMut(&[u8])) {
    let video = parameters.video;
    let has = |role| units.iter().any(|unit| video.role(unit) == role);
    let mut code: &[u8] = &[0, 0, 0, 1];
    if !has(Role::Delimiter) {
        put(code);
        put(video.delimiter());
        code = &[0, 0, 1];
    }
    let mut sets = !has(Role::Parameters);
    for unit in units {
        if sets && video.role(unit) == Role::Start {
            put(&parameters.sets);
            sets = false;
        }
        put(code);
        put(unit);
        code = &[0, 0, 1];
    }
}

const LONG: Error = Error::Corrupt("audio frame is too long");

#[cfg(test)]
mod tests;
