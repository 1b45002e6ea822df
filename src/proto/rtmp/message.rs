//! Messages (RTMP 1.0 §5.4, §6, §7.1): their types, the memory that they are put together in, and
//! aggregates.

use bytes::{Buf, Bytes, BytesMut};

use super::{
    chunk::{Buffers, Message, Refused},
    error::Cause,
    metadata,
};
use crate::{
    limits,
    media::{Kind, Packet, time},
};

/// Set Chunk Size, §5.4.1.
pub const SET_CHUNK_SIZE: u8 = 1;
/// Abort, §5.4.2.
pub const ABORT: u8 = 2;
/// Acknowledgement, §5.4.3.
pub const ACKNOWLEDGEMENT: u8 = 3;
/// User Control, §6.2: an event and its data.
pub const USER_CONTROL: u8 = 4;
/// Window Acknowledgement Size, §5.4.4.
pub const WINDOW_ACK_SIZE: u8 = 5;
/// Set Peer Bandwidth, §5.4.5.
pub const SET_PEER_BANDWIDTH: u8 = 6;
/// Audio, §7.1.4.
pub const AUDIO: u8 = 8;
/// Video, §7.1.5.
pub const VIDEO: u8 = 9;
/// Data in AMF3, §7.1.2.
pub const DATA_AMF3: u8 = 15;
/// A command in AMF3, §7.1.1.
pub const COMMAND_AMF3: u8 = 17;
/// Data in AMF0, §7.1.2.
pub const DATA: u8 = 18;
/// A command in AMF0, §7.1.1.
pub const COMMAND: u8 = 20;
/// Several messages in one, §7.1.6.
pub const AGGREGATE: u8 = 22;

/// Whether messages of this type carry media, and so may be long.
pub const fn is_media(type_id: u8) -> bool {
    matches!(type_id, AUDIO | VIDEO | DATA_AMF3 | DATA | AGGREGATE)
}

/// Memory from the allocator, for sessions without memory of their own.
#[derive(Clone, Copy, Debug)]
pub struct Heap {
    /// The longest media message. All others end at [`limits::CONTROL_MAX`].
    pub media_max: usize,
}

impl Buffers for Heap {
    fn buffer(&mut self, type_id: u8, len: usize) -> Result<BytesMut, Refused> {
        let max = if is_media(type_id) { self.media_max } else { limits::CONTROL_MAX };
        if len > max {
            return Err(Refused::TooLong { max });
        }
        // What is announced is not yet sent: a long message grows as it comes.
        Ok(BytesMut::with_capacity(len.min(limits::CONTROL_MAX)))
    }
}

/// As [`Heap`], for a client that fills its calls with bytes to measure how fast they come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls;

impl Buffers for Calls {
    fn buffer(&mut self, _: u8, len: usize) -> Result<BytesMut, Refused> {
        if len > limits::CALL_MAX {
            return Err(Refused::TooLong { max: limits::CALL_MAX });
        }
        Ok(BytesMut::with_capacity(len.min(limits::CONTROL_MAX)))
    }
}

/// Media in the memory of its stream, everything else from the allocator.
pub(super) struct Media<'a>(pub(super) &'a mut dyn Buffers);

impl Buffers for Media<'_> {
    fn buffer(&mut self, type_id: u8, len: usize) -> Result<BytesMut, Refused> {
        if is_media(type_id) {
            self.0.buffer(type_id, len)
        } else {
            Heap { media_max: 0 }.buffer(type_id, len)
        }
    }
}

/// What a message is to a stream.
pub(super) enum Content {
    /// Audio, video or metadata.
    Packet(Packet),
    /// Several packets.
    Aggregate(Aggregate),
    /// Data that is no metadata.
    OtherData,
    /// A command in AMF0.
    Command(BytesMut),
    /// Nothing that is known.
    Unknown,
}

impl From<Message> for Content {
    fn from(message: Message) -> Self {
        let Message { type_id, timestamp, mut payload, .. } = message;
        let kind = match type_id {
            AUDIO => Kind::Audio,
            VIDEO => Kind::Video,
            DATA | DATA_AMF3 => {
                // Some clients put the byte of AMF3 commands in front of data too.
                if type_id == DATA_AMF3 && payload.starts_with(&[0, 2]) {
                    payload.advance(1);
                }
                if !metadata::is_metadata(&payload) {
                    return Self::OtherData;
                }
                Kind::Data
            }
            AGGREGATE => return Self::Aggregate(Aggregate::new(timestamp, payload.freeze())),
            COMMAND => return Self::Command(payload),
            COMMAND_AMF3 => {
                // The first byte says that AMF0 follows.
                if payload.first() == Some(&0) {
                    payload.advance(1);
                }
                return Self::Command(payload);
            }
            _ => return Self::Unknown,
        };
        Self::Packet(Packet::new(kind, timestamp, payload.freeze()))
    }
}

/// The messages inside an aggregate, §7.1.6: audio and video, with their times moved so that the
/// first has the time of the aggregate. They share its memory.
#[derive(Debug)]
pub(super) struct Aggregate {
    rest: Bytes,
    timestamp: u32,
    /// What is added to each time; known from the first message on.
    delta: Option<u32>,
}

impl Aggregate {
    pub(super) const fn new(timestamp: u32, payload: Bytes) -> Self {
        Self { rest: payload, timestamp, delta: None }
    }

    pub(super) fn next(&mut self) -> Result<Option<Packet>, Cause> {
        while !self.rest.is_empty() {
            let Some(&[type_id, l0, l1, l2, t0, t1, t2, t3, _, _, _]) =
                self.rest.first_chunk::<SUB_HEADER>()
            else {
                return Err(Cause::Aggregate);
            };
            let len = u32::from_be_bytes([0, l0, l1, l2]) as usize;
            let timestamp = u32::from_be_bytes([t3, t0, t1, t2]);
            if self.rest.len() < SUB_HEADER + len + BACK_POINTER {
                return Err(Cause::Aggregate);
            }
            self.rest.advance(SUB_HEADER);
            let payload = self.rest.split_to(len);
            self.rest.advance(BACK_POINTER);
            let first = self.timestamp.wrapping_sub(timestamp);
            let delta = *self.delta.get_or_insert(first);
            let kind = match type_id {
                AUDIO => Kind::Audio,
                VIDEO => Kind::Video,
                _ => continue,
            };
            if !payload.is_empty() {
                let dts = timestamp.wrapping_add(delta) & time::MASK;
                return Ok(Some(Packet::new(kind, dts, payload)));
            }
        }
        Ok(None)
    }
}

const SUB_HEADER: usize = 11;
const BACK_POINTER: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn sub(type_id: u8, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let [t3, t0, t1, t2] = timestamp.to_be_bytes();
        let mut out = vec![type_id, 0, 0, payload.len() as u8, t0, t1, t2, t3, 0, 0, 0];
        out.extend(payload);
        out.extend((11 + payload.len() as u32).to_be_bytes());
        out
    }

    fn split(timestamp: u32, bytes: &[u8]) -> Result<Vec<(Kind, u32, Bytes)>, Cause> {
        let mut aggregate = Aggregate::new(timestamp, Bytes::copy_from_slice(bytes));
        let mut packets = Vec::new();
        while let Some(packet) = aggregate.next()? {
            packets.push((packet.kind, packet.dts, packet.payload));
        }
        Ok(packets)
    }

    #[test]
    fn an_aggregate_gives_its_packets_at_the_time_of_the_aggregate() {
        let bytes = [
            sub(DATA, 1000, b"x"),
            sub(AUDIO, 1010, b"\xaf\x01a"),
            sub(VIDEO, 1020, b""),
            sub(VIDEO, 0x0100_0000, b"\x27\x01v"),
        ]
        .concat();
        let expected = vec![
            (Kind::Audio, 50_010, Bytes::from_static(b"\xaf\x01a")),
            (Kind::Video, 0x0100_0000 + 49_000, Bytes::from_static(b"\x27\x01v")),
        ];
        assert_eq!(split(50_000, &bytes), Ok(expected.clone()));
        let wrapped = split(10, &bytes).unwrap();
        assert_eq!(wrapped[0].1, 20);
    }

    #[test]
    fn a_cut_aggregate_is_an_error() {
        let bytes = [sub(AUDIO, 0, b"\xaf\x01a"), sub(VIDEO, 20, b"\x27\x01v")].concat();
        let whole = [0, bytes.len() / 2, bytes.len()];
        for len in 0..=bytes.len() {
            let result = split(0, &bytes[..len]);
            assert_eq!(result.is_ok(), whole.contains(&len), "{len}");
        }
    }

    #[test]
    fn media_may_be_long_and_commands_may_not() {
        let mut heap = Heap { media_max: 10_000 };
        assert!(heap.buffer(VIDEO, 10_000).is_ok());
        assert_eq!(heap.buffer(VIDEO, 10_001), Err(Refused::TooLong { max: 10_000 }));
        let max = limits::CONTROL_MAX;
        assert!(heap.buffer(COMMAND, max).is_ok());
        assert_eq!(heap.buffer(COMMAND, max + 1), Err(Refused::TooLong { max }));
    }
}
