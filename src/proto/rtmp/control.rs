//! What both ends of a connection do alike: chunks in and out, control messages (RTMP 1.0 §5.4,
//! §6.2), acknowledgements.

use super::{
    chunk::{Buffers, Decoder, Message, write_message},
    error::Cause,
    message::{
        ABORT, ACKNOWLEDGEMENT, COMMAND, DATA, SET_CHUNK_SIZE, SET_PEER_BANDWIDTH, USER_CONTROL,
        WINDOW_ACK_SIZE,
    },
};
use crate::proto::amf0::Writer;

/// The state of a connection below its messages.
#[derive(Debug)]
pub(super) struct Control {
    decoder: Decoder,
    out: Vec<u8>,
    /// How much of `out` is sent.
    sent: usize,
    /// More than this waiting to be sent is an error.
    out_max: usize,
    /// Bytes of the handshake that were received.
    handshake: u32,
    out_chunk_size: u32,
    /// What the peer was asked for; 0 for nothing.
    out_window: u32,
    /// The peer wants to hear of every half of this many bytes; 0 for never.
    window: u32,
    /// The number in the last acknowledgement.
    sequence: u32,
    /// Bytes received at the last acknowledgement.
    acknowledged: u64,
}

/// What came in.
pub(super) enum Received {
    /// A message that is not about the connection itself.
    Message(Message),
    /// The peer's chunks are larger from now on than a peer has reason for.
    LargeChunks(u32),
    /// A player wants so many milliseconds buffered.
    BufferLength(u32),
    /// Anything that is done with.
    Done,
}

impl Control {
    pub(super) fn new(out_max: usize) -> Self {
        Self {
            decoder: Decoder::default(),
            out: Vec::new(),
            sent: 0,
            out_max,
            handshake: 0,
            out_chunk_size: INITIAL_CHUNK_SIZE,
            out_window: 0,
            window: 0,
            sequence: 0,
            acknowledged: 0,
        }
    }

    /// Runs a step of the handshake and counts what it takes.
    pub(super) fn handshake<T>(
        &mut self,
        input: &mut &[u8],
        step: impl FnOnce(&mut &[u8], &mut Vec<u8>) -> T,
    ) -> T {
        let before = input.len();
        let result = step(input, &mut self.out);
        let taken = before.saturating_sub(input.len());
        self.handshake = self.handshake.saturating_add(u32::try_from(taken).unwrap_or(u32::MAX));
        result
    }

    /// The next thing in `input`, or `None` when all of it was taken.
    pub(super) fn receive(
        &mut self,
        input: &mut &[u8],
        buffers: &mut dyn Buffers,
    ) -> Result<Option<Received>, Cause> {
        let message = self.decoder.receive(input, buffers)?;
        self.acknowledge();
        let received = match message {
            Some(message) => Some(self.sort(message)?),
            None => None,
        };
        if self.pending().len() > self.out_max {
            return Err(Cause::PeerDoesNotRead);
        }
        Ok(received)
    }

    /// What waits to be sent.
    pub(super) fn pending(&self) -> &[u8] {
        self.out.get(self.sent..).unwrap_or_default()
    }

    /// The first `n` pending bytes were sent. When none is left the memory goes, as most of
    /// 10,000 players have nothing to hear for hours.
    pub(super) fn sent(&mut self, n: usize) {
        self.sent = self.sent.saturating_add(n);
        if self.sent >= self.out.len() {
            self.out = Vec::new();
            self.sent = 0;
        } else if self.sent > self.out.len() / 2 {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Sends a message.
    pub(super) fn send(&mut self, csid: u8, type_id: u8, msid: u32, dts: u32, payload: &[u8]) {
        let size = self.out_chunk_size();
        write_message(&mut self.out, size, csid, type_id, msid, dts, payload);
    }

    /// Sends a command on a stream, 0 for the connection.
    pub(super) fn command(&mut self, msid: u32, write: impl FnOnce(&mut Writer<'_>)) {
        let csid = if msid == 0 { CONNECTION } else { STREAM };
        self.command_on(csid, msid, write);
    }

    /// As [`command`](Self::command), on a chunk stream that clients are used to.
    pub(super) fn command_on(&mut self, csid: u8, msid: u32, write: impl FnOnce(&mut Writer<'_>)) {
        let mut payload = Vec::new();
        write(&mut Writer(&mut payload));
        self.send(csid, COMMAND, msid, 0, &payload);
    }

    /// Sends a data message on a stream.
    pub(super) fn data(&mut self, msid: u32, write: impl FnOnce(&mut Writer<'_>)) {
        let mut payload = Vec::new();
        write(&mut Writer(&mut payload));
        self.send(STREAM, DATA, msid, 0, &payload);
    }

    /// Sends a user control event with its data.
    pub(super) fn event(&mut self, event: u16, data: &[u32]) {
        let mut payload = event.to_be_bytes().to_vec();
        for word in data {
            payload.extend(word.to_be_bytes());
        }
        self.send(PROTOCOL, USER_CONTROL, 0, 0, &payload);
    }

    /// Asks the peer for acknowledgements; with 0 not: some peers end the connection at it.
    pub(super) fn send_window(&mut self, size: u32) {
        if size > 0 {
            self.send(PROTOCOL, WINDOW_ACK_SIZE, 0, 0, &size.to_be_bytes());
            self.out_window = size;
        }
    }

    /// Tells the peer how much it may have under way, as a dynamic limit.
    pub(super) fn send_bandwidth(&mut self, size: u32) {
        let [a, b, c, d] = size.to_be_bytes();
        self.send(PROTOCOL, SET_PEER_BANDWIDTH, 0, 0, &[a, b, c, d, DYNAMIC]);
    }

    /// Announces a chunk size, and uses it.
    pub(super) fn send_chunk_size(&mut self, size: u32) {
        let size = size.clamp(1, 0xff_ffff);
        self.send(PROTOCOL, SET_CHUNK_SIZE, 0, 0, &size.to_be_bytes());
        self.out_chunk_size = size;
    }

    /// Acknowledges as if the peer had asked for it.
    pub(super) fn set_window(&mut self, size: u32) {
        self.window = size;
    }

    pub(super) const fn out_chunk_size(&self) -> usize {
        self.out_chunk_size as usize
    }

    pub(super) fn in_chunk_size(&self) -> usize {
        self.decoder.chunk_size()
    }

    /// Whether the peer has sent messages without payload.
    pub(super) fn had_empty(&self) -> bool {
        self.decoder.had_empty()
    }

    /// The acknowledgement windows: of what the peer sends, and of what it gets.
    pub(super) const fn windows(&self) -> (u32, u32) {
        (self.window, self.out_window)
    }

    /// Bytes received behind the handshake, and with it.
    pub(super) fn received(&self) -> (u64, u64) {
        let received = self.decoder.received();
        (received, received + u64::from(self.handshake))
    }

    /// Handles what is about the connection itself.
    fn sort(&mut self, message: Message) -> Result<Received, Cause> {
        let payload = &*message.payload;
        let word = |at: usize| {
            let word = payload.get(at..).and_then(|rest| rest.first_chunk());
            word.map(|word| u32::from_be_bytes(*word)).ok_or(Cause::Control(message.type_id))
        };
        match message.type_id {
            SET_CHUNK_SIZE => {
                let size = word(0)?;
                self.decoder.set_chunk_size(size)?;
                return Ok(if size > LARGE_CHUNK {
                    Received::LargeChunks(size)
                } else {
                    Received::Done
                });
            }
            ABORT => {
                let csid = word(0)?;
                self.decoder.abort(csid);
            }
            ACKNOWLEDGEMENT | SET_PEER_BANDWIDTH => {}
            WINDOW_ACK_SIZE => {
                let size = word(0)?;
                if size > 0 {
                    self.window = size;
                }
            }
            USER_CONTROL => {
                let Some((event, _)) = payload.split_first_chunk() else {
                    return Err(Cause::Control(USER_CONTROL));
                };
                match u16::from_be_bytes(*event) {
                    SET_BUFFER_LENGTH => return word(6).map(Received::BufferLength),
                    PING_REQUEST => {
                        let time = word(2)?;
                        self.event(PING_RESPONSE, &[time]);
                    }
                    _ => {}
                }
            }
            _ => return Ok(Received::Message(message)),
        }
        Ok(Received::Done)
    }

    fn acknowledge(&mut self) {
        let (_, received) = self.received();
        let delta = received.saturating_sub(self.acknowledged);
        if self.window == 0 || delta < u64::from(self.window / 2) || delta == 0 {
            return;
        }
        self.acknowledged = received;
        let delta = u32::try_from(delta).unwrap_or(u32::MAX);
        // Some peers read the number as signed or add to it: it starts again before they could
        // see it wrap.
        let sum = self.sequence.checked_add(delta).filter(|&sum| sum <= SEQUENCE_MAX);
        self.sequence = sum.unwrap_or(delta);
        self.send(PROTOCOL, ACKNOWLEDGEMENT, 0, 0, &self.sequence.to_be_bytes());
    }
}

/// User control events (§7.1.7).
pub(super) const STREAM_BEGIN: u16 = 0;
pub(super) const STREAM_EOF: u16 = 1;
pub(super) const SET_BUFFER_LENGTH: u16 = 3;
const PING_REQUEST: u16 = 6;
const PING_RESPONSE: u16 = 7;

/// Chunk streams, as clients expect them.
const PROTOCOL: u8 = 2;
pub(super) const CONNECTION: u8 = 3;
pub(super) const STREAM: u8 = 5;

const INITIAL_CHUNK_SIZE: u32 = 128;
/// Above this a peer gets a line in the log: chunks are there to let audio through between them.
const LARGE_CHUNK: u32 = 65_536;
const SEQUENCE_MAX: u32 = 0xf000_0000;
/// Limit type of Set Peer Bandwidth (§5.4.5).
const DYNAMIC: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::rtmp::message::Heap;

    /// Feeds a message and returns the number in the acknowledgement that it causes.
    fn acknowledged(control: &mut Control, len: usize) -> Option<u32> {
        let mut bytes = Vec::new();
        write_message(&mut bytes, 128, 6, 77, 1, 0, &vec![0; len]);
        let received = control.receive(&mut &*bytes, &mut Heap { media_max: 0 });
        assert!(matches!(received, Ok(Some(Received::Message(_)))));
        let number = control.pending().last_chunk().map(|word| u32::from_be_bytes(*word));
        control.sent(control.pending().len());
        number
    }

    #[test]
    fn acknowledgements_start_again_before_they_could_wrap() {
        let mut control = Control::new(1000);
        control.set_window(400);
        control.sequence = SEQUENCE_MAX - 300;
        assert_eq!(acknowledged(&mut control, 100), None);
        assert_eq!(acknowledged(&mut control, 100), Some(SEQUENCE_MAX - 300 + 224));
        assert_eq!(acknowledged(&mut control, 200), Some(213));
    }

    #[test]
    fn a_window_of_nothing_is_not_announced() {
        let mut control = Control::new(1000);
        control.send_window(0);
        assert!(control.pending().is_empty(), "FFmpeg ends the connection at it");
        control.send_window(1000);
        assert_eq!((control.pending().len(), control.windows()), (16, (0, 1000)));
    }

    #[test]
    fn chunks_are_of_the_size_that_was_announced() {
        let mut control = Control::new(1000);
        control.send_chunk_size(0);
        assert_eq!(control.out_chunk_size(), 1);
        control.send_chunk_size(u32::MAX);
        assert_eq!(control.out_chunk_size(), 0xff_ffff);
        assert_eq!(control.pending()[..16], *b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\0\0\0\x01");
    }
}
