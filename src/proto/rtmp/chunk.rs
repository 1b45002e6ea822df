//! The chunk layer (RTMP 1.0 §5.3): messages travel cut into chunks, those of several chunk
//! streams in turns.

use bytes::BytesMut;

use crate::{limits, media::time};

pub use error::Error;

mod error;

/// A message, put together again.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// What the payload is: 8 audio, 9 video, 20 a command (§5.4, §7.1).
    pub type_id: u8,
    /// The chunk stream that it came on, 2..=65599.
    pub csid: u32,
    /// Message stream id.
    pub msid: u32,
    /// Milliseconds, 31 bits, absolute.
    pub timestamp: u32,
    /// Never empty: messages without payload are dropped.
    pub payload: BytesMut,
}

/// Where the payload of a message goes.
pub trait Buffers {
    /// An empty buffer with room for `len` bytes, 1..=0xFFFFFF, or why there is none. It is asked
    /// for when the header of the message is there, before any of its payload.
    fn buffer(&mut self, type_id: u8, len: usize) -> Result<BytesMut, Refused>;
}

/// Why there is no buffer for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Messages of this type may have `max` bytes.
    TooLong {
        /// The most bytes such a message may have.
        max: usize,
    },
    /// No memory is left for it.
    NoMemory,
}

/// Puts messages together from chunks. Keeps nothing of the input but an unfinished header:
/// payload goes straight to the buffer of its message.
#[derive(Debug)]
pub struct Decoder {
    streams: Vec<ChunkStream>,
    /// Bytes taken from the input since the start.
    received: u64,
    chunk_size: u32,
    /// Payload bytes of the current chunk that are still to come; 0 between chunks.
    left: u32,
    /// The first `held` bytes were taken from the input and not used yet.
    header: [u8; HEADER_MAX],
    held: u8,
    /// Place of the current chunk's stream in `streams`.
    current: u8,
    /// There was a message without payload.
    empty: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            streams: Vec::new(),
            received: 0,
            chunk_size: INITIAL_CHUNK_SIZE,
            left: 0,
            header: [0; HEADER_MAX],
            held: 0,
            current: 0,
            empty: false,
        }
    }
}

impl Decoder {
    /// Takes bytes from the front of `input`. Returns at the first message, with the rest still in
    /// `input`; `None` means that all of it was taken. After an error the decoder is of no more
    /// use.
    ///
    /// Messages of type 1 and 2 are returned like any other: the owner calls
    /// [`set_chunk_size`](Self::set_chunk_size) and [`abort`](Self::abort) before the next call.
    pub fn receive(
        &mut self,
        input: &mut &[u8],
        buffers: &mut dyn Buffers,
    ) -> Result<Option<Message>, Error> {
        loop {
            if self.left > 0 {
                if let Some(message) = self.take_payload(input) {
                    return Ok(Some(message));
                }
                if self.left > 0 {
                    return Ok(None);
                }
            }
            if !self.take_header(input, buffers)? {
                return Ok(None);
            }
        }
    }

    /// The peer announced that its chunks will have `size` bytes (message type 1, §5.4.1): from
    /// [`limits::CHUNK_SIZE_MIN`] to [`limits::CHUNK_SIZE_MAX`], else [`Error::ChunkSize`].
    /// Tiny chunks would cost a header each and much time; large ones cost nothing, because
    /// buffers are made for messages, not for chunks.
    pub fn set_chunk_size(&mut self, size: u32) -> Result<(), Error> {
        if !(limits::CHUNK_SIZE_MIN..=limits::CHUNK_SIZE_MAX).contains(&(size as usize)) {
            return Err(Error::ChunkSize { size, at: self.offset() });
        }
        self.chunk_size = size;
        Ok(())
    }

    /// The peer gave up the message that it had begun on `csid` (message type 2, §5.4.2).
    pub fn abort(&mut self, csid: u32) {
        if let Some(stream) = self.find(csid).and_then(|place| self.streams.get_mut(place)) {
            stream.payload = None;
        }
    }

    /// How many payload bytes a chunk of the peer has, but for the last of a message.
    pub fn chunk_size(&self) -> usize {
        self.chunk_size as usize
    }

    /// Whether there were messages without payload so far, which were dropped.
    pub fn had_empty(&self) -> bool {
        self.empty
    }

    /// Bytes taken since the start, of those that [`receive`](Self::receive) was given.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Moves payload to the current message. Returns the message when that completes it.
    fn take_payload(&mut self, input: &mut &[u8]) -> Option<Message> {
        let stream = self.streams.get_mut(usize::from(self.current))?;
        if self.held > 0 {
            // What was held as an extended timestamp and turned out to be payload.
            let held = usize::from(self.held);
            let n = held.min(self.left as usize);
            stream.extend(&self.header[..n]);
            self.header.copy_within(n..held, 0);
            self.held -= n as u8;
            self.left -= n as u32;
        }
        let (payload, rest) = input.split_at((self.left as usize).min(input.len()));
        stream.extend(payload);
        *input = rest;
        self.received += payload.len() as u64;
        self.left -= payload.len() as u32;
        if self.left == 0 { stream.finish() } else { None }
    }

    /// Takes the header of a chunk and gets ready for its payload. False: more bytes are needed,
    /// all of the input was taken.
    fn take_header(&mut self, input: &mut &[u8], buffers: &mut dyn Buffers) -> Result<bool, Error> {
        let at = self.offset();
        let Some(header) = self.next_header(input, at)? else {
            return Ok(false);
        };
        let place = header.place.unwrap_or(self.streams.len());
        if header.place.is_none() {
            self.streams.push(ChunkStream { state: header.state, payload: None });
        }
        // `parse` keeps the streams few enough for a byte.
        self.current = place as u8;
        let Some(stream) = self.streams.get_mut(place) else {
            return Ok(true);
        };
        stream.state = header.state;
        let State { csid, type_id, len, .. } = header.state;
        if len == 0 {
            self.empty = true;
            return Ok(true);
        }
        let filled = match &stream.payload {
            Some(payload) => payload.len(),
            None => {
                let payload =
                    buffers.buffer(type_id, len as usize).map_err(|refused| match refused {
                        Refused::TooLong { max } => Error::TooLong { csid, len, max, at },
                        Refused::NoMemory => Error::NoMemory { csid, len, at },
                    })?;
                stream.payload = Some(payload);
                0
            }
        };
        self.left = len.saturating_sub(filled as u32).min(self.chunk_size);
        Ok(true)
    }

    /// The next header: straight from the input when it is there as a whole, as nearly always,
    /// else gathered in `self.header`.
    fn next_header(&mut self, input: &mut &[u8], at: u64) -> Result<Option<Header>, Error> {
        let held = usize::from(self.held);
        if held == 0
            && let Some(header) = self.parse(input, at)?
        {
            self.take(input, header.size);
            return Ok(Some(header));
        }
        let more = input.len().min(HEADER_MAX - held);
        self.header[held..held + more].copy_from_slice(&input[..more]);
        let Some(header) = self.parse(&self.header[..held + more], at)? else {
            self.take(input, more);
            self.held = (held + more) as u8;
            return Ok(None);
        };
        if header.size >= held {
            self.take(input, header.size - held);
            self.held = 0;
        } else {
            self.header.copy_within(header.size..held, 0);
            self.held = (held - header.size) as u8;
        }
        Ok(Some(header))
    }

    /// Reads the header at the front of `bytes`, without any effect. `None`: it is not all there;
    /// [`HEADER_MAX`] bytes are always enough.
    fn parse(&self, bytes: &[u8], at: u64) -> Result<Option<Header>, Error> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let format = first >> 6;
        let (csid, mut rest) = match first & 0x3f {
            0 => match rest.split_first() {
                Some((&id, rest)) => (64 + u32::from(id), rest),
                None => return Ok(None),
            },
            1 => match rest.split_first_chunk() {
                Some((&id, rest)) => (64 + u32::from(u16::from_le_bytes(id)), rest),
                None => return Ok(None),
            },
            id => (u32::from(id), rest),
        };

        let place = self.find(csid);
        let (mut state, partial) = match place.and_then(|place| self.streams.get(place)) {
            Some(stream) => (stream.state, stream.payload.is_some()),
            // librtmp sends its first ping with a short header.
            None if format > 1 || (format == 1 && csid != CONTROL_CSID) => {
                return Err(Error::FreshChunkStream { csid, format, at });
            }
            None if self.streams.len() >= limits::CHUNK_STREAMS => {
                return Err(Error::TooManyChunkStreams { csid, at });
            }
            None => (State { csid, ..State::default() }, false),
        };
        if format == 0 && partial {
            return Err(Error::Interrupted { csid, at });
        }

        if format <= 2 {
            let Some((&[a, b, c], tail)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            rest = tail;
            state.delta = u32::from_be_bytes([0, a, b, c]);
            state.extended = state.delta >= EXTENDED;
        }
        if format <= 1 {
            let Some((&[a, b, c, type_id], tail)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            rest = tail;
            let len = u32::from_be_bytes([0, a, b, c]);
            if !partial {
                (state.len, state.type_id) = (len, type_id);
            } else if len != state.len {
                return Err(Error::LengthChanged { csid, len, was: state.len, at });
            }
        }
        if format == 0 {
            let Some((&msid, tail)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            rest = tail;
            state.msid = u32::from_le_bytes(msid);
        }

        if state.extended {
            // Some peers leave the extended timestamp out of the chunks that continue a message,
            // which nothing announces: then it is payload that stands here.
            let optional = format == 3 && partial && state.timestamp > 0;
            if !(optional && differs(rest, state.timestamp)) {
                let Some((&timestamp, tail)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                rest = tail;
                state.timestamp = u32::from_be_bytes(timestamp) & time::MASK;
            }
        } else if format == 0 {
            state.timestamp = state.delta;
        } else if !partial {
            state.timestamp = state.timestamp.wrapping_add(state.delta) & time::MASK;
        }
        Ok(Some(Header { size: bytes.len() - rest.len(), place, state }))
    }

    fn take(&mut self, input: &mut &[u8], n: usize) {
        *input = input.get(n..).unwrap_or_default();
        self.received += n as u64;
    }

    /// Where `csid` is in `streams`; most often it is the stream of the chunk before.
    fn find(&self, csid: u32) -> Option<usize> {
        let current = usize::from(self.current);
        match self.streams.get(current) {
            Some(stream) if stream.state.csid == csid => Some(current),
            _ => self.streams.iter().position(|stream| stream.state.csid == csid),
        }
    }

    /// The offset of the first byte that was not used yet.
    fn offset(&self) -> u64 {
        self.received - u64::from(self.held)
    }
}

/// Appends one message as chunks of `chunk_size` bytes, the first with a full header and the rest
/// with the shortest. `csid` is 2..=63, `payload` shorter than 16 MiB.
pub fn write_message(
    out: &mut Vec<u8>,
    chunk_size: usize,
    csid: u8,
    type_id: u8,
    msid: u32,
    timestamp: u32,
    payload: &[u8],
) {
    debug_assert!((2..=0x3f).contains(&csid) && payload.len() <= 0xff_ffff);
    let chunk_size = chunk_size.max(1);
    let chunks = payload.len().div_ceil(chunk_size).max(1);
    out.reserve(payload.len() + 11 + 5 * chunks);

    let extended = timestamp >= EXTENDED;
    let [_, time @ ..] = timestamp.min(EXTENDED).to_be_bytes();
    let [_, len @ ..] = (payload.len() as u32).to_be_bytes();
    out.push(csid & 0x3f);
    out.extend_from_slice(&time);
    out.extend_from_slice(&len);
    out.push(type_id);
    out.extend_from_slice(&msid.to_le_bytes());
    if extended {
        out.extend_from_slice(&timestamp.to_be_bytes());
    }
    for (i, chunk) in payload.chunks(chunk_size).enumerate() {
        if i > 0 {
            out.push(0xc0 | csid);
            if extended {
                out.extend_from_slice(&timestamp.to_be_bytes());
            }
        }
        out.extend_from_slice(chunk);
    }
}

/// A chunk stream of the peer.
#[derive(Debug)]
struct ChunkStream {
    state: State,
    /// The message that has begun and is not complete.
    payload: Option<BytesMut>,
}

impl ChunkStream {
    fn extend(&mut self, bytes: &[u8]) {
        if let Some(payload) = &mut self.payload {
            payload.extend_from_slice(bytes);
        }
    }

    fn finish(&mut self) -> Option<Message> {
        let payload = self.payload.take_if(|payload| payload.len() >= self.state.len as usize)?;
        let State { csid, msid, timestamp, type_id, .. } = self.state;
        Some(Message { type_id, csid, msid, timestamp, payload })
    }
}

/// What later headers of a chunk stream leave out.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    csid: u32,
    msid: u32,
    timestamp: u32,
    /// The last 24-bit field: a header without one adds it again.
    delta: u32,
    len: u32,
    type_id: u8,
    /// Extended timestamps follow, until a header says otherwise.
    extended: bool,
}

/// A chunk header that was read.
struct Header {
    /// Its bytes.
    size: usize,
    /// Where its stream is, `None` when this is the first chunk of it.
    place: Option<usize>,
    /// The stream after this header.
    state: State,
}

/// Whether `bytes` begin with something else than `timestamp`. The first different byte decides,
/// so that the end of a message never waits for more than it must.
fn differs(bytes: &[u8], timestamp: u32) -> bool {
    let masks = time::MASK.to_be_bytes();
    let expected = timestamp.to_be_bytes();
    bytes.iter().zip(masks).zip(expected).any(|((byte, mask), expected)| byte & mask != expected)
}

/// Basic header 3, message header 11, extended timestamp 4.
const HEADER_MAX: usize = 18;
/// A 24-bit timestamp field from here on says that the extended one follows.
const EXTENDED: u32 = 0xff_ffff;
/// Until the peer sets another (§5.4.1).
const INITIAL_CHUNK_SIZE: u32 = 128;
/// Protocol control messages (§5.4).
const CONTROL_CSID: u32 = 2;

const _: () = assert!(size_of::<Decoder>() <= 64 && size_of::<ChunkStream>() <= 64);
const _: () = assert!(limits::CHUNK_STREAMS <= u8::MAX as usize);

#[cfg(test)]
mod tests;
