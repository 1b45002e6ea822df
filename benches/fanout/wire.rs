//! The few bytes of RTMP that a benchmark needs: chunks in, chunks out, and AMF0 commands.

/// Message types (RTMP 1.0, 5.4 and 7.1).
pub(crate) const SET_CHUNK_SIZE: u8 = 1;
pub(crate) const AUDIO: u8 = 8;
pub(crate) const VIDEO: u8 = 9;
pub(crate) const DATA: u8 = 18;
pub(crate) const COMMAND: u8 = 20;

/// How many bytes at the start of a payload the reader keeps.
pub(crate) const PREFIX: usize = 32;

/// A whole message went by.
pub(crate) struct Message<'a> {
    pub(crate) kind: u8,
    /// The first bytes of the payload, at most [`PREFIX`].
    pub(crate) prefix: &'a [u8],
}

/// Reads chunks and tells of each whole message. Keeps only the first bytes of a payload.
pub(crate) struct ChunkReader {
    skip: usize,
    chunk_size: u32,
    head: [u8; HEAD_MAX],
    head_have: usize,
    current: usize,
    chunk_left: u32,
    streams: Vec<ChunkStream>,
}

impl ChunkReader {
    /// `skip`: bytes in front of the first chunk (S0, S1, S2) that mean nothing to us. Without any
    /// the chunks are the floor's, of [`RAW_CHUNK`].
    pub(crate) fn new(skip: usize) -> Self {
        Self {
            skip,
            chunk_size: if skip == 0 { RAW_CHUNK as u32 } else { 128 },
            head: [0; HEAD_MAX],
            head_have: 0,
            current: 0,
            chunk_left: 0,
            streams: Vec::with_capacity(4),
        }
    }

    /// True once the bytes to skip have all come.
    pub(crate) fn is_past_handshake(&self) -> bool {
        self.skip == 0
    }

    /// Takes what was read. An error means that the peer does not speak RTMP.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut told: impl FnMut(&Message<'_>),
    ) -> Result<(), String> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        bytes = &bytes[skipped..];
        while !bytes.is_empty() {
            if self.chunk_left > 0 {
                let take = (self.chunk_left as usize).min(bytes.len());
                let stream = &mut self.streams[self.current];
                stream.keep(&bytes[..take]);
                self.chunk_left -= take as u32;
                bytes = &bytes[take..];
            } else {
                let take = (self.head_need() - self.head_have).min(bytes.len());
                self.head[self.head_have..self.head_have + take].copy_from_slice(&bytes[..take]);
                self.head_have += take;
                bytes = &bytes[take..];
                if self.head_have < self.head_need() {
                    continue;
                }
                self.begin_chunk()?;
            }
            if self.chunk_left == 0 {
                self.end_chunk(&mut told);
            }
        }
        Ok(())
    }

    /// How long the header is, as far as the bytes so far can tell.
    fn head_need(&self) -> usize {
        if self.head_have == 0 {
            return 1;
        }
        let (format, basic) = (self.head[0] >> 6, basic_len(self.head[0]));
        if self.head_have < basic {
            return basic;
        }
        let plain = basic + [11, 7, 3, 0][usize::from(format)];
        if self.head_have < plain {
            return plain;
        }
        let extended = if format == 3 {
            let id = self.stream_id();
            self.streams.iter().any(|stream| stream.id == id && stream.extended)
        } else {
            self.head[basic..basic + 3] == [0xFF; 3]
        };
        plain + if extended { 4 } else { 0 }
    }

    fn stream_id(&self) -> u32 {
        match self.head[0] & 0x3F {
            0 => 64 + u32::from(self.head[1]),
            1 => 64 + u32::from(self.head[1]) + 256 * u32::from(self.head[2]),
            id => u32::from(id),
        }
    }

    fn begin_chunk(&mut self) -> Result<(), String> {
        let id = self.stream_id();
        let (format, basic) = (self.head[0] >> 6, basic_len(self.head[0]));
        let found = self.streams.iter().position(|stream| stream.id == id);
        self.current = match found {
            Some(at) => at,
            None if format == 3 => return Err(format!("chunk stream {id} starts with format 3")),
            None if self.streams.len() == STREAMS_MAX => return Err("too many streams".into()),
            None => {
                self.streams.push(ChunkStream { id, ..ChunkStream::default() });
                self.streams.len() - 1
            }
        };
        let stream = &mut self.streams[self.current];
        let fields = &self.head[basic..];
        if format < 3 {
            stream.extended = fields[..3] == [0xFF; 3];
        }
        if format < 2 {
            stream.length = u32::from_be_bytes([0, fields[3], fields[4], fields[5]]);
            stream.kind = fields[6];
        }
        self.head_have = 0;
        self.chunk_left = (stream.length - stream.got.min(stream.length)).min(self.chunk_size);
        Ok(())
    }

    fn end_chunk(&mut self, told: &mut impl FnMut(&Message<'_>)) {
        let stream = &mut self.streams[self.current];
        if stream.got < stream.length {
            return;
        }
        let prefix = &stream.prefix[..PREFIX.min(stream.length as usize)];
        if let (SET_CHUNK_SIZE, &[a, b, c, d, ..]) = (stream.kind, prefix) {
            self.chunk_size = (u32::from_be_bytes([a, b, c, d]) & 0x7FFF_FFFF).max(1);
        }
        told(&Message { kind: stream.kind, prefix });
        stream.got = 0;
    }
}

#[derive(Default)]
struct ChunkStream {
    id: u32,
    extended: bool,
    kind: u8,
    length: u32,
    got: u32,
    prefix: [u8; PREFIX],
}

impl ChunkStream {
    fn keep(&mut self, bytes: &[u8]) {
        if let Some(room) = self.prefix.get_mut(self.got as usize..) {
            let take = room.len().min(bytes.len());
            room[..take].copy_from_slice(&bytes[..take]);
        }
        self.got += bytes.len() as u32;
    }
}

fn basic_len(first: u8) -> usize {
    match first & 0x3F {
        0 => 2,
        1 => 3,
        _ => 1,
    }
}

/// Where a message goes: chunk stream, message type, message stream, time in milliseconds.
#[derive(Clone, Copy)]
pub(crate) struct Envelope {
    pub(crate) chunk_stream: u8,
    pub(crate) kind: u8,
    pub(crate) message_stream: u32,
    pub(crate) time_ms: u32,
}

/// Appends a message as a full header and chunks of `chunk_size`.
pub(crate) fn put_message(out: &mut Vec<u8>, to: Envelope, payload: &[u8], chunk_size: usize) {
    out.push(to.chunk_stream);
    out.extend_from_slice(&to.time_ms.to_be_bytes()[1..]);
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.push(to.kind);
    out.extend_from_slice(&to.message_stream.to_le_bytes());
    for (number, chunk) in payload.chunks(chunk_size).enumerate() {
        if number > 0 {
            out.push(0xC0 | to.chunk_stream);
        }
        out.extend_from_slice(chunk);
    }
}

/// A value of AMF0, as far as commands need them.
pub(crate) enum Amf<'a> {
    Number(f64),
    Text(&'a str),
    Null,
    Object(&'a [(&'a str, Self)]),
    EcmaArray(&'a [(&'a str, Self)]),
}

/// Appends values of AMF0, one after the other.
pub(crate) fn put_amf(out: &mut Vec<u8>, values: &[Amf<'_>]) {
    for value in values {
        match value {
            Amf::Number(number) => {
                out.push(0);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Amf::Text(text) => {
                out.push(2);
                put_name(out, text);
            }
            Amf::Null => out.push(5),
            Amf::Object(fields) => {
                out.push(3);
                put_fields(out, fields);
            }
            Amf::EcmaArray(fields) => {
                out.push(8);
                out.extend_from_slice(&(fields.len() as u32).to_be_bytes());
                put_fields(out, fields);
            }
        }
    }
}

fn put_fields(out: &mut Vec<u8>, fields: &[(&str, Amf<'_>)]) {
    for (name, value) in fields {
        put_name(out, name);
        put_amf(out, std::slice::from_ref(value));
    }
    out.extend_from_slice(&[0, 0, 9]);
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(&(name.len() as u16).to_be_bytes());
    out.extend_from_slice(name.as_bytes());
}

/// The floor's chunks: no message is longer, so that each has one header.
pub(crate) const RAW_CHUNK: usize = 1 << 20;
/// Basic header of 3, message header of 11, extended time of 4.
const HEAD_MAX: usize = 18;
/// More chunk streams than this on one connection is a fault, not a server.
const STREAMS_MAX: usize = 32;
