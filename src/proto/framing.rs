//! How packets are wrapped for the wire, many at a time.
//!
//! Players of a stream differ in their timestamps only, and most of them stand at the same packet.
//! So a run of packets is laid out once, in one [`Image`], headers and payload as they go on the
//! wire; each player writes its own timestamps into it and sends it with one `write` of one slice.
//! Against a list of slices per player that saves the kernel's walk over two entries a message;
//! what it costs is one copy of the payload per run, whatever the number of players.

use crate::format::flv;
use crate::limits::{IMAGE_BYTES, IMAGE_PACKETS, MESSAGE_MAX};
use crate::media::{Kind, Packet};

/// The wire form of packets for one kind of player.
pub trait Framing: Copy {
    /// A number that only framings with the same wire form share.
    fn id(&self) -> u32;

    /// Whether a packet at `time` needs the longer header of late timestamps.
    fn wide(&self, time: u32) -> bool;

    /// Appends the wire form of `packet`, with any timestamp.
    fn append(&self, out: &mut Vec<u8>, packet: &Packet, wide: bool);

    /// Writes `time` into `message`, which [`append`](Self::append) wrote with the same `wide`.
    fn stamp(&self, message: &mut [u8], time: u32, wide: bool);
}

/// One packet of an image.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Where the packet begins in the image.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Its kind.
    pub kind: Kind,
    /// The source's time of it.
    pub dts: u32,
    /// Its place in the ring.
    pub seq: u64,
}

/// A run of packets as they go on the wire. Allocated once a thread; cleared, not freed.
#[derive(Debug, Default)]
pub struct Image {
    bytes: Vec<u8>,
    spans: heapless::Vec<Span, IMAGE_PACKETS>,
}

impl Image {
    /// Empties it. Memory that one long message took is given back.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(2 * IMAGE_BYTES);
        self.spans.clear();
    }

    /// Whether another packet may join: under [`IMAGE_BYTES`] and [`IMAGE_PACKETS`].
    pub fn has_room(&self) -> bool {
        self.bytes.len() < IMAGE_BYTES && self.spans.len() < IMAGE_PACKETS
    }

    /// Adds a packet at its place. Beyond [`IMAGE_PACKETS`] it is left out.
    pub fn push<F: Framing>(&mut self, framing: &F, packet: &Packet, seq: u64, wide: bool) {
        if self.spans.is_full() {
            return;
        }
        let start = self.bytes.len();
        framing.append(&mut self.bytes, packet, wide);
        let end = self.bytes.len();
        let span = Span { start, end, kind: packet.kind, dts: packet.dts, seq };
        // There was room.
        let _ = self.spans.push(span);
    }

    /// The packets in it.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Gives every packet its time, `time` being called once for each, in order. Returns the
    /// bytes up to the first packet whose time needs a header of the other width.
    pub fn stamp<F: Framing>(
        &mut self,
        framing: &F,
        wide: bool,
        mut time: impl FnMut(&Span) -> u32,
    ) -> &[u8] {
        let mut end = 0;
        for span in &self.spans {
            let time = time(span);
            if framing.wide(time) != wide {
                break;
            }
            if let Some(message) = self.bytes.get_mut(span.start..span.end) {
                framing.stamp(message, time, wide);
            }
            end = span.end;
        }
        self.bytes.get(..end).unwrap_or_default()
    }
}

/// RTMP chunks (RTMP 1.0 §5.3): a message is one chunk of type 0 and as many of type 3 as it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtmp {
    /// The chunk size that we announced to the peer, 128 or more.
    pub chunk_size: u32,
}

/// Chunk basic header and message header of type 0.
const HEAD: usize = 12;
/// Where the timestamp stands in it.
const TIME_AT: usize = 1;
/// A timestamp that does not fit three bytes is sent in four more, in every chunk.
const WIDE: u32 = 0xff_ffff;
/// The message stream that createStream gave to the player.
const STREAM_ID: u32 = 1;

impl Rtmp {
    /// Not the one that the publisher used, as SRS does: the image is the same for whatever came.
    fn csid(kind: Kind) -> u8 {
        match kind {
            Kind::Data => 4,
            Kind::Video => 6,
            Kind::Audio => 7,
        }
    }

    fn message(self, out: &mut Vec<u8>, kind: Kind, stream: u32, payload: &[u8], wide: bool) {
        let csid = Self::csid(kind);
        let length = (payload.len() as u32).to_be_bytes();
        out.extend_from_slice(&[csid, 0xff, 0xff, 0xff, length[1], length[2], length[3]]);
        out.push(kind.type_id());
        out.extend_from_slice(&stream.to_le_bytes());
        for (i, chunk) in payload.chunks(self.chunk_size as usize).enumerate() {
            if i > 0 {
                out.push(0xc0 | csid);
            }
            if wide {
                out.extend_from_slice(&[0; 4]);
            }
            out.extend_from_slice(chunk);
        }
    }
}

impl Framing for Rtmp {
    fn id(&self) -> u32 {
        self.chunk_size
    }

    fn wide(&self, time: u32) -> bool {
        time >= WIDE
    }

    fn append(&self, out: &mut Vec<u8>, packet: &Packet, wide: bool) {
        self.message(out, packet.kind, STREAM_ID, &packet.payload, wide);
    }

    fn stamp(&self, message: &mut [u8], time: u32, wide: bool) {
        let time = time.to_be_bytes();
        if !wide {
            if let Some(field) = message.get_mut(TIME_AT..TIME_AT + 3) {
                field.copy_from_slice(&time[1..]);
            }
            return;
        }
        let mut at = HEAD;
        while let Some(field) = message.get_mut(at..at + 4) {
            field.copy_from_slice(&time);
            at += 4 + self.chunk_size as usize + 1;
        }
    }
}

/// The same towards a server that the stream is published to: its own number of the message
/// stream, and metadata with `@setDataFrame` in front, as encoders send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The chunk size that we announced to the server, 128 to 65536.
    pub chunk_size: u32,
    /// The message stream, 0 to [`STREAM_MAX`](Self::STREAM_MAX).
    pub stream: u32,
}

impl Publish {
    /// The largest number of a message stream that there is an id for.
    pub const STREAM_MAX: u32 = 0x1fff;

    const fn chunks(self) -> Rtmp {
        Rtmp { chunk_size: self.chunk_size }
    }
}

/// AMF0: the string that encoders put in front of metadata.
const SET_DATA_FRAME: &[u8] = b"\x02\0\x0d@setDataFrame";

impl Framing for Publish {
    fn id(&self) -> u32 {
        PUBLISH_ID | (self.stream & Self::STREAM_MAX) << 17 | self.chunk_size & 0x1_ffff
    }

    fn wide(&self, time: u32) -> bool {
        time >= WIDE
    }

    fn append(&self, out: &mut Vec<u8>, packet: &Packet, wide: bool) {
        let (kind, payload) = (packet.kind, &packet.payload);
        if kind == Kind::Data && !payload.starts_with(SET_DATA_FRAME) {
            let payload = [SET_DATA_FRAME, payload].concat();
            return self.chunks().message(out, kind, self.stream, &payload, wide);
        }
        self.chunks().message(out, kind, self.stream, payload, wide);
    }

    fn stamp(&self, message: &mut [u8], time: u32, wide: bool) {
        self.chunks().stamp(message, time, wide);
    }
}

/// FLV tags over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flv {
    /// Each tag is a chunk of the HTTP answer. A chunk for each merged write would save ten bytes a
    /// packet, and make the bytes of a packet depend on where the player's last write ended: every
    /// player that lags would need an image of its own.
    pub chunked: bool,
}

/// Packets whose payloads are what goes over HTTP: transport streams, ADTS, MP3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Each payload is a chunk of the HTTP answer.
    pub chunked: bool,
}

/// Ids that no chunk size of [`Rtmp`] can be.
const PUBLISH_ID: u32 = 0x4000_0000;
const FLV_ID: u32 = 0x8000_0000;
const RAW_ID: u32 = 0x8000_0002;
/// The size of a chunk in hexadecimal digits, and the line end. Leading zeros are allowed
/// (RFC 9112 §7.1), and the tag always stands at the same place.
const CHUNK_HEAD: usize = 6 + 2;
/// Where in a tag the timestamp is: three bytes, then the highest one.
const TAG_TIME: usize = 4;
/// Transport packets are a little more than what they carry.
const _: () = assert!(MESSAGE_MAX < 0xff_ffff / 2, "a chunk's size must fit its digits");

/// Appends what `body` appends, as an HTTP chunk if it is to be one.
fn chunk(out: &mut Vec<u8>, chunked: bool, body: impl FnOnce(&mut Vec<u8>)) {
    if !chunked {
        return body(out);
    }
    let start = out.len();
    out.extend_from_slice(b"000000\r\n");
    body(out);
    let mut len = out.len() - start - CHUNK_HEAD;
    for digit in out.iter_mut().skip(start).take(CHUNK_HEAD - 2).rev() {
        *digit = b"0123456789abcdef".get(len & 15).copied().unwrap_or_default();
        len >>= 4;
    }
    out.extend_from_slice(b"\r\n");
}

impl Framing for Flv {
    fn id(&self) -> u32 {
        FLV_ID + u32::from(self.chunked)
    }

    fn wide(&self, _time: u32) -> bool {
        false
    }

    fn append(&self, out: &mut Vec<u8>, packet: &Packet, _wide: bool) {
        chunk(out, self.chunked, |out| {
            // A message is never as long as a tag can be.
            let _ = flv::write(packet, out);
        });
    }

    fn stamp(&self, message: &mut [u8], time: u32, _wide: bool) {
        let start = if self.chunked { CHUNK_HEAD } else { 0 };
        let Some([kind, .., a, b, c, high]) = message.get_mut(start..start + TAG_TIME + 4) else {
            return;
        };
        if *kind != Kind::Data.type_id() {
            [*high, *a, *b, *c] = time.to_be_bytes();
        }
    }
}

impl Framing for Raw {
    fn id(&self) -> u32 {
        RAW_ID + u32::from(self.chunked)
    }

    fn wide(&self, _time: u32) -> bool {
        false
    }

    fn append(&self, out: &mut Vec<u8>, packet: &Packet, _wide: bool) {
        chunk(out, self.chunked, |out| out.extend_from_slice(&packet.payload));
    }

    fn stamp(&self, _message: &mut [u8], _time: u32, _wide: bool) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn tags_and_payloads_are_chunks_of_http() {
        let packet = Packet::new(Kind::Audio, 5, Bytes::from_static(&[0xaf, 1, 7]));
        for (chunked, head, tail) in [(true, "000012\r\n", "\r\n"), (false, "", "")] {
            let framing = Flv { chunked };
            let mut image = Image::default();
            image.push(&framing, &packet, 0, false);
            let sent = image.stamp(&framing, false, |_| 0x1234_5678);
            let tag = [8, 0, 0, 3, 0x34, 0x56, 0x78, 0x12, 0, 0, 0, 0xaf, 1, 7, 0, 0, 0, 14];
            assert_eq!(sent, [head.as_bytes(), &tag, tail.as_bytes()].concat());
        }
        let mut out = Vec::new();
        Raw { chunked: true }.append(&mut out, &packet, false);
        assert_eq!(out, b"000003\r\n\xaf\x01\x07\r\n");
        out.clear();
        Raw { chunked: false }.append(&mut out, &packet, false);
        assert_eq!(out, [0xaf, 1, 7]);
    }

    #[test]
    fn metadata_in_flv_stays_at_zero() {
        let mut image = Image::default();
        let framing = Flv { chunked: false };
        image.push(&framing, &Packet::new(Kind::Data, 9, Bytes::from_static(&[2])), 0, false);
        assert_eq!(image.stamp(&framing, false, |_| 77)[4..8], [0; 4]);
    }

    fn packet(len: usize) -> Packet {
        let payload: Vec<u8> = (0..len).map(|i| i as u8 | 1).collect();
        Packet::new(Kind::Video, 0, Bytes::from(payload))
    }

    fn wire(chunk_size: u32, len: usize, time: u32) -> Vec<u8> {
        let framing = Rtmp { chunk_size };
        let wide = framing.wide(time);
        let mut image = Image::default();
        image.push(&framing, &packet(len), 0, wide);
        image.stamp(&framing, wide, |_| time).to_vec()
    }

    #[test]
    fn a_message_is_laid_out_as_the_standard_says() {
        assert_eq!(
            wire(128, 3, 0x010203),
            [6, 1, 2, 3, 0, 0, 3, 9, 1, 0, 0, 0, 1, 1, 3],
            "one chunk"
        );
        let two = wire(128, 130, 0x010203);
        assert_eq!(two.len(), 12 + 128 + 1 + 2);
        assert_eq!(two[12 + 128], 0xc6, "type 3");
        let late = wire(128, 130, 0x0102_0304);
        assert_eq!(late[..4], [6, 0xff, 0xff, 0xff]);
        assert_eq!(late[12..16], [1, 2, 3, 4]);
        assert_eq!(late[16 + 128..16 + 128 + 5], [0xc6, 1, 2, 3, 4], "repeated on type 3");
        assert_eq!(late.len(), 16 + 128 + 5 + 2);
        assert_eq!(wire(128, 256, 1).len(), 12 + 256 + 1, "no empty chunk at the end");
    }

    #[test]
    fn what_is_published_has_the_number_of_the_server_and_the_mark_of_encoders() {
        let framing = Publish { chunk_size: 128, stream: 5 };
        let mut out = Vec::new();
        framing.append(
            &mut out,
            &Packet::new(Kind::Data, 0, Bytes::from_static(&[2, 0, 0])),
            false,
        );
        assert_eq!(out[..12], [4, 0xff, 0xff, 0xff, 0, 0, 19, 18, 5, 0, 0, 0]);
        assert_eq!(out[12..], [SET_DATA_FRAME, &[2, 0, 0]].concat());
        out.clear();
        framing.append(&mut out, &packet(130), false);
        assert_eq!((out[7], out[8], out.len()), (9, 5, 12 + 128 + 1 + 2));
        let ids = [(128, 1), (128, 2), (65536, 1), (60_000, 0x1fff)].map(|(chunk_size, stream)| {
            let id = Publish { chunk_size, stream }.id();
            assert!(id < FLV_ID && id > Rtmp { chunk_size }.id());
            id
        });
        assert!(ids.iter().all(|id| ids.iter().filter(|other| *other == id).count() == 1));
    }

    #[test]
    fn an_image_stops_where_the_header_changes_its_width() {
        let framing = Rtmp { chunk_size: 60_000 };
        let mut image = Image::default();
        for seq in 0..3 {
            image.push(&framing, &packet(10), seq, false);
        }
        let times = [0xff_fffd, 0xff_fffe, 0xff_ffff];
        let sent = image.stamp(&framing, false, |span| times[span.seq as usize]).len();
        assert_eq!(sent, 2 * (12 + 10));
    }

    #[test]
    fn an_image_has_room_up_to_its_bounds() {
        let framing = Rtmp { chunk_size: 60_000 };
        let mut image = Image::default();
        let mut count = 0;
        while image.has_room() {
            image.push(&framing, &packet(10), count, false);
            count += 1;
        }
        assert_eq!(count as usize, IMAGE_PACKETS);
        image.clear();
        image.push(&framing, &packet(IMAGE_BYTES), 0, false);
        assert!(!image.has_room());
    }
}
