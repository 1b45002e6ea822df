//! FLV (Adobe Flash Video File Format Specification 10.1, annex E): file header and tags.

use std::fmt;

use bytes::{BufMut, BytesMut};

use super::Error;
use crate::{
    limits,
    media::{
        Kind, Packet,
        arena::{Full, Memory},
        time, timeline,
    },
};

/// The file header for sound and picture, and the size 0 of the tag before the first one.
pub const FILE_HEADER: [u8; 13] = *b"FLV\x01\x05\0\0\0\x09\0\0\0\0";

/// Bytes of a tag in front of its body.
pub const TAG_HEADER: usize = 11;

/// One tag, its body where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    /// Audio, video or data.
    pub kind: Kind,
    /// Milliseconds; all 32 bits of the file.
    pub timestamp: u32,
    /// What an RTMP message carries too.
    pub body: &'a [u8],
}

impl<'a> Tag<'a> {
    /// Takes a file header and the tag size behind it from the front of `input`.
    pub fn start(input: &mut &'a [u8]) -> Result<(), Error> {
        let (head, rest) = input.split_first_chunk().ok_or(Error::Incomplete)?;
        file_header(head)?;
        *input = rest.get(4..).ok_or(Error::Incomplete)?;
        Ok(())
    }

    /// Takes a tag and the tag size behind it from the front of `input`, which stays as it is
    /// after an error. The tag size is not compared: some writers get it wrong.
    pub fn take(input: &mut &'a [u8]) -> Result<Self, Error> {
        let (head, rest) = input.split_first_chunk().ok_or(Error::Incomplete)?;
        let (kind, timestamp, len) = parse_tag_header(head)?;
        let (body, rest) = rest.split_at_checked(len).ok_or(Error::Incomplete)?;
        *input = rest.get(4..).ok_or(Error::Incomplete)?;
        Ok(Self { kind, timestamp, body })
    }
}

/// The header of a tag with a body of `len` bytes. `None` when they are more than 24 bits can say.
/// Data tags are written at 0, as players expect of `onMetaData`.
pub fn tag_header(kind: Kind, timestamp: u32, len: usize) -> Option<[u8; TAG_HEADER]> {
    let [0, a, b, c] = u32::try_from(len).ok()?.to_be_bytes() else { return None };
    let timestamp = if kind == Kind::Data { 0 } else { timestamp & time::MASK };
    let [high, t0, t1, t2] = timestamp.to_be_bytes();
    Some([kind.type_id(), a, b, c, t0, t1, t2, high, 0, 0, 0])
}

/// What follows the body of a tag: the size of header and body. For the lengths that
/// [`tag_header`] takes.
pub fn tag_trailer(len: usize) -> [u8; 4] {
    u32::try_from(len.saturating_add(TAG_HEADER)).unwrap_or(u32::MAX).to_be_bytes()
}

/// Appends `packet` as a tag. [`Error::Unsupported`] and nothing written when it is too long.
pub fn write(packet: &Packet, out: &mut impl BufMut) -> Result<(), Error> {
    let len = packet.payload.len();
    let head = tag_header(packet.kind, packet.dts, len).ok_or(TOO_LONG)?;
    out.put_slice(&head);
    out.put_slice(&packet.payload);
    out.put_slice(&tag_trailer(len));
    Ok(())
}

/// Reads an FLV stream that comes in pieces: a POST, a pull, a file. Holds the tag in progress,
/// which may have [`limits::MESSAGE_MAX`] bytes, in memory that is given for it.
#[derive(Debug)]
pub struct Reader {
    state: State,
    /// The header in progress.
    head: [u8; BETWEEN],
    filled: usize,
}

#[derive(Debug)]
enum State {
    FileHeader,
    /// The size of the tag before and the header of the next one.
    Between,
    Body {
        kind: Kind,
        timestamp: u32,
        missing: usize,
        body: BytesMut,
    },
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is no FLV, or none that is read.
    Format(Error),
    /// There is no memory for a tag.
    Memory(Full),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Format(error)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(error) => error.fmt(f),
            Self::Memory(full) => full.fmt(f),
        }
    }
}

impl std::error::Error for Stop {}

const BETWEEN: usize = 4 + TAG_HEADER;

impl Reader {
    /// A reader at the start of a stream.
    pub const fn new() -> Self {
        Self { state: State::FileHeader, head: [0; BETWEEN], filled: 0 }
    }

    /// Takes bytes from the front of `input` until a tag is whole; `None` when all of them were
    /// taken and more are needed. After an error the reader is not to be used again. A composition
    /// time that cannot be is put right ([`sane_cts`](timeline::sane_cts)); sizes of tags before
    /// are not compared, because some writers get them wrong.
    pub fn read(
        &mut self,
        input: &mut &[u8],
        memory: &mut dyn Memory,
    ) -> Result<Option<Packet>, Stop> {
        loop {
            match &mut self.state {
                State::FileHeader => {
                    let Some(head) = self.fill::<9>(input) else { return Ok(None) };
                    file_header(&head)?;
                    self.state = State::Between;
                }
                State::Between => {
                    let Some(head) = self.fill::<BETWEEN>(input) else { return Ok(None) };
                    let (_, head) = head.split_last_chunk().ok_or(Error::Incomplete)?;
                    let (kind, timestamp, missing) = parse_tag_header(head)?;
                    let body = memory.alloc(missing).map_err(Stop::Memory)?;
                    self.state = State::Body { kind, timestamp, missing, body };
                }
                State::Body { kind, timestamp, missing, body } => {
                    let (piece, rest) = input.split_at(input.len().min(*missing));
                    body.extend_from_slice(piece);
                    *missing -= piece.len();
                    *input = rest;
                    if *missing > 0 {
                        return Ok(None);
                    }
                    if *kind == Kind::Video {
                        correct_cts(body);
                    }
                    let packet = Packet::new(*kind, *timestamp, body.split().freeze());
                    self.state = State::Between;
                    return Ok(Some(packet));
                }
            }
        }
    }

    /// Whether the stream may end here: after a whole tag, or before the first byte of all.
    pub fn at_end(&self) -> bool {
        match self.state {
            State::FileHeader => self.filled == 0,
            State::Between => matches!(self.filled, 0 | 4),
            State::Body { .. } => false,
        }
    }

    /// Takes bytes until there are `N` of them.
    fn fill<const N: usize>(&mut self, input: &mut &[u8]) -> Option<[u8; N]> {
        let room = self.head.get_mut(self.filled..N)?;
        let (piece, rest) = input.split_at(input.len().min(room.len()));
        room.get_mut(..piece.len())?.copy_from_slice(piece);
        self.filled += piece.len();
        *input = rest;
        if self.filled < N {
            return None;
        }
        self.filled = 0;
        self.head.first_chunk().copied()
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes the composition time of a picture one that can be.
fn correct_cts(body: &mut [u8]) {
    let at = match *body {
        // H.264 and HEVC (§E.4.3.1); the same in Enhanced RTMP, where others have no such time.
        [first, 1, ..] if first & 0x80 == 0 && matches!(first & 15, 7 | 12) => 2,
        [first, b'a', b'v', b'c', b'1', ..] | [first, b'h', b'v', b'c', b'1', ..]
            if first & 0x8f == 0x81 =>
        {
            5
        }
        _ => return,
    };
    if let Some(bytes) = body.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<3>()) {
        let [a, b, c] = *bytes;
        let cts = timeline::sane_cts(i32::from_be_bytes([a, b, c, 0]) >> 8);
        let [_, sane @ ..] = cts.to_be_bytes();
        *bytes = sane;
    }
}

fn file_header(head: &[u8; 9]) -> Result<(), Error> {
    match head {
        [b'F', b'L', b'V', 1, _, 0, 0, 0, 9] => Ok(()),
        [b'F', b'L', b'V', ..] => Err(Error::Unsupported("FLV version or header size")),
        _ => Err(Error::Invalid("not an FLV file")),
    }
}

/// Kind, timestamp, length of the body.
fn parse_tag_header(head: &[u8; TAG_HEADER]) -> Result<(Kind, u32, usize), Error> {
    let [tag_type, a, b, c, t0, t1, t2, high, ..] = *head;
    // The two upper bits are reserved.
    let kind = match tag_type & 0x3f {
        8 => Kind::Audio,
        9 => Kind::Video,
        18 => Kind::Data,
        0x28 | 0x29 | 0x32 => return Err(Error::Unsupported("encrypted FLV tag")),
        _ => return Err(Error::Invalid("FLV tag type")),
    };
    let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    if len > limits::MESSAGE_MAX {
        return Err(TOO_LONG);
    }
    Ok((kind, u32::from_be_bytes([high, t0, t1, t2]), len))
}

const TOO_LONG: Error = Error::Unsupported("FLV tag longer than message_max");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{hex, mutations};
    use crate::media::arena::{Arena, Pool};

    /// Name, tag as it stands in a file with the size behind it, kind, dts, body.
    type Case = (&'static str, &'static str, Kind, u32, &'static str);

    const CASES: &[Case] = &[
        ("data", "12 000003 000000 00 000000 020000 0000000e", Kind::Data, 0, "020000"),
        (
            "audio header",
            "08 000004 000000 00 000000 af001210 0000000f",
            Kind::Audio,
            0,
            "af001210",
        ),
        ("audio", "08 000003 000017 00 000000 af0121 0000000e", Kind::Audio, 23, "af0121"),
        (
            "video after 4.7 hours",
            "09 000006 020304 01 000000 170100000001 00000011",
            Kind::Video,
            0x0102_0304,
            "170100000001",
        ),
        (
            "the last timestamp",
            "09 000005 ffffff 7f 000000 2701000000 00000010",
            Kind::Video,
            time::MASK,
            "2701000000",
        ),
        ("no body", "08 000000 000000 00 000000 0000000b", Kind::Audio, 0, ""),
    ];

    fn memory() -> Arena {
        Arena::new(Pool::new(16 << 20), 16 << 20, limits::MESSAGE_MAX)
    }

    fn packet(case: &Case) -> Packet {
        Packet::new(case.2, case.3, hex(case.4).into())
    }

    fn file() -> Vec<u8> {
        let mut file = FILE_HEADER.to_vec();
        CASES.iter().for_each(|case| file.extend(hex(case.1)));
        file
    }

    #[test]
    fn tags_are_read_where_they_lie() {
        let file = file();
        let mut input = &file[..];
        Tag::start(&mut input).unwrap();
        for case in CASES {
            let body = &hex(case.4)[..];
            let want = Tag { kind: case.2, timestamp: case.3, body };
            assert_eq!(Tag::take(&mut input), Ok(want), "{}", case.0);
        }
        assert!(input.is_empty());
    }

    #[test]
    fn packets_are_written_as_tags() {
        for case in CASES {
            let mut out = Vec::new();
            write(&packet(case), &mut out).unwrap();
            assert_eq!(out, hex(case.1), "{}", case.0);
        }
        assert_eq!(tag_header(Kind::Video, 0, 1 << 24), None);
        assert_eq!(tag_header(Kind::Data, 77, 1), tag_header(Kind::Data, 0, 1));
    }

    #[test]
    fn a_tag_cut_off_is_incomplete() {
        for case in CASES {
            let tag = hex(case.1);
            for len in 0..tag.len() {
                let mut input = &tag[..len];
                assert_eq!(Tag::take(&mut input), Err(Error::Incomplete), "{} {len}", case.0);
                assert_eq!(input.len(), len);
            }
        }
        for len in 0..FILE_HEADER.len() {
            assert_eq!(Tag::start(&mut &FILE_HEADER[..len]), Err(Error::Incomplete));
        }
    }

    #[test]
    fn a_stream_in_pieces_gives_the_same_packets() {
        let file = file();
        let want: Vec<_> = CASES.iter().map(packet).collect();
        for size in [1, 2, 7, 13, 15, file.len()] {
            let mut reader = Reader::new();
            let mut packets = Vec::new();
            for mut piece in file.chunks(size) {
                while let Some(packet) = reader.read(&mut piece, &mut memory()).unwrap() {
                    packets.push(packet);
                }
                assert!(piece.is_empty());
            }
            assert_eq!(packets, want, "pieces of {size}");
            assert!(reader.at_end());
        }
    }

    #[test]
    fn a_stream_may_end_after_a_tag_only() {
        let file = file();
        // The file header; then each tag before and after the size that follows it.
        let mut ends = vec![0, 9, 13];
        for case in CASES {
            let end = ends[ends.len() - 1] + hex(case.1).len();
            ends.extend([end - 4, end]);
        }
        for len in 0..=file.len() {
            let (mut reader, mut input) = (Reader::new(), &file[..len]);
            while reader.read(&mut input, &mut memory()).unwrap().is_some() {}
            assert_eq!(reader.at_end(), ends.contains(&len), "{len}");
        }
    }

    #[test]
    fn a_mutated_stream_is_read_or_refused() {
        mutations(&file(), |changed| {
            let (mut reader, mut input) = (Reader::new(), changed);
            while let Ok(Some(packet)) = reader.read(&mut input, &mut memory()) {
                assert!(packet.payload.len() <= changed.len());
            }
        });
    }

    #[test]
    fn what_is_no_flv_is_refused() {
        let read = |bytes: &[u8]| match Reader::new().read(&mut &bytes[..], &mut memory()) {
            Err(Stop::Format(error)) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(read(b"GET / HTTP/1.1"), Error::Invalid("not an FLV file"));
        assert_eq!(
            read(b"FLV\x02\x05\0\0\0\x09"),
            Error::Unsupported("FLV version or header size")
        );
        let tag = |head: &str| read(&[&FILE_HEADER[..], &hex(head)].concat());
        assert_eq!(tag("29000001 00000000 000000"), Error::Unsupported("encrypted FLV tag"));
        assert_eq!(tag("07000001 00000000 000000"), Error::Invalid("FLV tag type"));
        assert_eq!(tag("09ffffff 00000000 000000"), TOO_LONG);
    }

    #[test]
    fn composition_times_that_cannot_be_are_put_right() {
        for (body, want) in [
            ("2701 000050 aa", "2701 000050 aa"),
            ("2701 ffffd8 aa", "2701 000000 aa"),
            ("1c01 7fffff aa", "1c01 000000 aa"),
            ("2700 ffffd8 aa", "2700 ffffd8 aa"),
            ("a1 68766331 ffffd8 aa", "a1 68766331 000000 aa"),
            ("a3 68766331 ffffd8 aa", "a3 68766331 ffffd8 aa"),
            ("a1 61763031 ffffd8 aa", "a1 61763031 ffffd8 aa"),
            ("2701 ffff", "2701 ffff"),
            ("27", "27"),
        ] {
            let (mut body, want) = (hex(body), hex(want));
            correct_cts(&mut body);
            assert_eq!(body, want);
        }
    }

    #[test]
    fn without_memory_the_stream_ends() {
        let mut none = Arena::new(Pool::new(0), 0, limits::MESSAGE_MAX);
        let read = Reader::new().read(&mut &file()[..], &mut none);
        assert_eq!(read, Err(Stop::Memory(Full::NoMemory)));
    }
}
