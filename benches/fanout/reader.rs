//! What players read: RTMP, or FLV or MPEG-TS over HTTP. Tells of each whole frame in the terms of
//! [`Message`], whatever carried it.

use crate::http::Answer;
use crate::media::MARK;
use crate::wire::{AUDIO, ChunkReader, Message, PREFIX, VIDEO};

pub(crate) enum Reader {
    Rtmp(ChunkReader),
    Flv(Answer, FlvReader),
    Ts(Answer, TsReader),
}

impl Reader {
    pub(crate) fn flv() -> Self {
        let prefix = [0; TAG_HEAD + PREFIX];
        Self::Flv(Answer::default(), FlvReader { got: 0, is_past_header: false, prefix })
    }

    pub(crate) fn ts() -> Self {
        Self::Ts(Answer::default(), TsReader { packet: [0; PACKET], have: 0 })
    }

    /// True once the RTMP handshake is over; what HTTP has of it is a request.
    pub(crate) fn is_past_handshake(&self) -> bool {
        match self {
            Self::Rtmp(reader) => reader.is_past_handshake(),
            Self::Flv(..) | Self::Ts(..) => true,
        }
    }

    /// Takes what was read. An error means that it is not what was asked for.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        mut told: impl FnMut(&Message<'_>),
    ) -> Result<(), String> {
        match self {
            Self::Rtmp(reader) => reader.feed(bytes, told),
            Self::Flv(answer, reader) => answer.feed(bytes, |body| {
                reader.feed(body, &mut told);
                Ok(())
            }),
            Self::Ts(answer, reader) => answer.feed(bytes, |body| reader.feed(body, &mut told)),
        }
    }
}

/// FLV tags. Keeps the first bytes of each only.
pub(crate) struct FlvReader {
    /// Of the tag, and before the first one of the file header.
    got: usize,
    is_past_header: bool,
    prefix: [u8; TAG_HEAD + PREFIX],
}

impl FlvReader {
    fn feed(&mut self, mut bytes: &[u8], told: &mut impl FnMut(&Message<'_>)) {
        while !bytes.is_empty() {
            let take = (self.need() - self.got).min(bytes.len());
            if let Some(room) = self.prefix.get_mut(self.got..) {
                let kept = room.len().min(take);
                room[..kept].copy_from_slice(&bytes[..kept]);
            }
            self.got += take;
            bytes = &bytes[take..];
            if self.got < self.need() {
                continue;
            }
            if self.is_past_header {
                let length = self.length().min(PREFIX);
                let prefix = &self.prefix[TAG_HEAD..TAG_HEAD + length];
                told(&Message { kind: self.prefix[0], prefix });
            }
            self.is_past_header = true;
            self.got = 0;
        }
    }

    /// Bytes of what is in progress, as far as those so far can tell.
    fn need(&self) -> usize {
        match self.got {
            _ if !self.is_past_header => FILE_HEAD,
            0..TAG_HEAD => TAG_HEAD,
            _ => TAG_HEAD + self.length() + TAG_TAIL,
        }
    }

    fn length(&self) -> usize {
        let [_, a, b, c, ..] = self.prefix;
        u32::from_be_bytes([0, a, b, c]) as usize
    }
}

/// Packets of a transport stream. Tells of a frame at its first packet.
pub(crate) struct TsReader {
    packet: [u8; PACKET],
    have: usize,
}

impl TsReader {
    fn feed(
        &mut self,
        mut bytes: &[u8],
        told: &mut impl FnMut(&Message<'_>),
    ) -> Result<(), String> {
        while !bytes.is_empty() {
            let take = (PACKET - self.have).min(bytes.len());
            self.packet[self.have..self.have + take].copy_from_slice(&bytes[..take]);
            self.have += take;
            bytes = &bytes[take..];
            if self.have == PACKET {
                self.have = 0;
                self.take_packet(told)?;
            }
        }
        Ok(())
    }

    fn take_packet(&self, told: &mut impl FnMut(&Message<'_>)) -> Result<(), String> {
        let packet = &self.packet;
        if packet[0] != 0x47 {
            return Err("no packet of a transport stream".into());
        }
        if packet[1] & 0x40 == 0 {
            return Ok(());
        }
        let adaptation = if packet[3] & 0x20 == 0 { 0 } else { 1 + usize::from(packet[4]) };
        let payload = packet.get(4 + adaptation..).unwrap_or_default();
        let kind = match payload {
            [0, 0, 1, 0xE0..=0xEF, ..] => VIDEO,
            [0, 0, 1, 0xC0..=0xDF, ..] => AUDIO,
            _ => return Ok(()),
        };
        // In RTMP the mark stands behind the tag's header and the length of the NAL unit; here there
        // are longer headers in front of it.
        let before = if kind == VIDEO { 10 } else { 2 };
        let at = packet.windows(MARK.len()).position(|bytes| *bytes == MARK);
        if let Some(prefix) = at.and_then(|at| packet.get(at.checked_sub(before)?..)) {
            told(&Message { kind, prefix });
        }
        Ok(())
    }
}

/// The file header with the size of the tag that is not before it.
const FILE_HEAD: usize = 13;
const TAG_HEAD: usize = 11;
const TAG_TAIL: usize = 4;
const PACKET: usize = 188;
