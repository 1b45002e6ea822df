//! Audio without a container: segments of HLS (RFC 8216 §3.4), and what radios send.

use super::super::Audio;
use super::audio::Frames;
use super::marks::Clock;
use super::{Counters, Note, Notes, Port, Stop};
use crate::codec::mp3;
use crate::format::adts;
use crate::limits::{ID3_BYTES, TS_SEARCH};
use crate::media::Packet;
use crate::media::arena::Memory;

/// Reads AAC in ADTS or MP3, whichever comes. Times follow from the number of samples; an ID3 tag
/// in front of a segment may state them.
#[derive(Debug)]
pub struct Sound {
    state: State,
    /// The start of a tag or of the first frame.
    held: Vec<u8>,
    frames: Option<Frames>,
    /// Bytes without a frame before the first one.
    searched: usize,
    clock: Clock,
    counters: Counters,
    notes: Notes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A tag or a frame may begin.
    Start,
    /// So many bytes of a tag are to come. Those at its front are held.
    Tag(usize),
    Frames,
}

/// Bytes in front of a tag.
const HEAD: usize = 10;
/// Who states the time in a tag (RFC 8216 §3.4).
const OWNER: &[u8] = b"com.apple.streaming.transportStreamTimestamp\0";

impl Sound {
    /// A reader at the start of a stream, at 0 unless a tag says something else.
    pub fn new() -> Self {
        Self {
            state: State::Start,
            held: Vec::new(),
            frames: None,
            searched: 0,
            clock: Clock::default(),
            counters: Counters::default(),
            notes: Notes::default(),
        }
    }

    /// A segment begins with the next byte, with a tag or without one.
    pub fn begin_segment(&mut self) {
        self.state = State::Start;
        self.held.clear();
    }

    /// Takes the next bytes. [`Stop::NoSound`] when there is no frame in
    /// [`TS_SEARCH`](crate::limits::TS_SEARCH) bytes at its start.
    pub fn receive(
        &mut self,
        mut input: &[u8],
        memory: &mut dyn Memory,
        out: &mut dyn FnMut(Packet),
    ) -> Result<(), Stop> {
        while !input.is_empty() {
            match self.state {
                State::Start => {
                    self.hold(&mut input, HEAD);
                    if self.held.len() == HEAD {
                        self.state = start(&self.held);
                    }
                }
                State::Tag(left) => {
                    let (piece, rest) = input.split_at(left.min(input.len()));
                    self.hold(&mut &*piece, HEAD + ID3_BYTES);
                    input = rest;
                    self.state = State::Tag(left - piece.len());
                    if left == piece.len() {
                        self.begin(time(&self.held));
                        self.held.clear();
                        // Another tag may follow.
                        self.state = State::Start;
                    }
                }
                State::Frames if self.frames.is_none() => {
                    self.hold(&mut input, HEAD + ID3_BYTES);
                    self.search()?;
                }
                State::Frames => {
                    self.give_held(memory, out)?;
                    return self.data(input, memory, out);
                }
            }
        }
        if self.state == State::Frames { self.give_held(memory, out) } else { Ok(()) }
    }

    /// What went wrong so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The next thing to be said.
    pub fn note(&mut self) -> Option<Note> {
        self.notes.take()
    }

    fn hold(&mut self, input: &mut &[u8], most: usize) {
        let room = most.saturating_sub(self.held.len());
        let (piece, rest) = input.split_at(room.min(input.len()));
        self.held.extend_from_slice(piece);
        *input = rest;
    }

    /// The time of the next frame is stated, or not.
    fn begin(&mut self, ticks: Option<u64>) {
        let Some(ticks) = ticks else { return };
        let ticks = self.clock.advance(ticks);
        if let Some(frames) = &mut self.frames {
            frames.begin(Some(ticks));
        }
    }

    /// Looks for the first frame in what is held, and drops what is in front of it.
    fn search(&mut self) -> Result<(), Stop> {
        let found = (self.held.windows(HEAD).enumerate()).find_map(|(at, bytes)| {
            match (adts::read(bytes), mp3::Header::parse(bytes)) {
                (Ok(_), _) => Some((at, Audio::Aac)),
                (_, Ok(_)) => Some((at, Audio::Mp3)),
                _ => None,
            }
        });
        let passed = match found {
            Some((at, audio)) => {
                let mut frames = Frames::new(audio);
                frames.begin(Some(self.clock.last().unwrap_or_default()));
                self.frames = Some(frames);
                at
            }
            None => self.held.len().saturating_sub(HEAD - 1),
        };
        self.held.drain(..passed);
        self.searched += passed;
        if self.searched > TS_SEARCH { Err(Stop::NoSound) } else { Ok(()) }
    }

    fn give_held(
        &mut self,
        memory: &mut dyn Memory,
        out: &mut dyn FnMut(Packet),
    ) -> Result<(), Stop> {
        if self.frames.is_none() {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        self.data(&held, memory, out)
    }

    fn data(
        &mut self,
        data: &[u8],
        memory: &mut dyn Memory,
        out: &mut dyn FnMut(Packet),
    ) -> Result<(), Stop> {
        let Self { clock, counters, notes, .. } = self;
        let mut port = Port { memory, out, clock, counters, notes };
        self.frames.as_mut().map_or(Ok(()), |frames| frames.data(data, &mut port))
    }
}

impl Default for Sound {
    fn default() -> Self {
        Self::new()
    }
}

/// What begins with these ten bytes. The length of a tag has four bytes of seven bits (ID3 2.4 §3.1).
fn start(head: &[u8]) -> State {
    match *head {
        [b'I', b'D', b'3', _, _, flags, a, b, c, d] if (a | b | c | d) & 0x80 == 0 => {
            let len = [a, b, c, d].iter().fold(0, |len, &byte| len << 7 | usize::from(byte));
            // A footer may follow.
            State::Tag(len + if flags & 0x10 != 0 { HEAD } else { 0 })
        }
        _ => State::Frames,
    }
}

/// The time that a tag states, 33 bits of 90 kHz.
fn time(tag: &[u8]) -> Option<u64> {
    let at = tag.windows(OWNER.len()).position(|window| window == OWNER)?;
    let bytes = tag.get(at + OWNER.len()..)?.first_chunk()?;
    Some(u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{hex, mutations};
    use crate::limits::MESSAGE_MAX;
    use crate::media::arena::{Arena, Pool};

    fn frames(count: u8) -> Vec<u8> {
        (1..=count).flat_map(|n| [hex("fff150800d7ffc"), vec![n; 100]].concat()).collect()
    }

    fn tag(ticks: u64) -> Vec<u8> {
        let body = [b"PRIV\0\0\0\x35\0\0", OWNER, &ticks.to_be_bytes()].concat();
        [b"ID3\x04\0\0\0\0\0", &[body.len() as u8][..], &body].concat()
    }

    fn read(segments: &[Vec<u8>], size: usize) -> Vec<(u32, usize)> {
        let mut memory = Arena::new(Pool::new(8 << 20), 8 << 20, MESSAGE_MAX);
        let (mut sound, mut got) = (Sound::new(), Vec::new());
        for segment in segments {
            sound.begin_segment();
            for piece in segment.chunks(size) {
                sound
                    .receive(piece, &mut memory, &mut |packet| {
                        got.push((packet.dts, packet.payload.len()));
                    })
                    .unwrap();
            }
        }
        got
    }

    #[test]
    fn segments_with_and_without_tags_are_one_stream() {
        let step = |n: u32| n * 1024 * 1000 / 44_100;
        let plain = [frames(3), frames(2)];
        let tagged = [[tag(900_000), frames(3)].concat(), [tag(990_000), frames(2)].concat()];
        for size in [1, 5, 64, 5000] {
            let got = read(&plain, size);
            assert_eq!(got.len(), 6, "{size}: {got:?}");
            for (n, frame) in got[1..].iter().enumerate() {
                assert!(frame.0.abs_diff(step(n as u32)) <= 1 && frame.1 == 102, "{got:?}");
            }
            let times: Vec<_> = read(&tagged, size).iter().map(|frame| frame.0).collect();
            assert_eq!(times, [10_000, 10_000, 10_023, 10_046, 11_000, 11_023], "{size}");
        }
        for junk in 0..30 {
            let got = read(&[[vec![b'x'; junk], frames(3)].concat()], 7);
            assert_eq!(got.len(), 4, "{junk}: {got:?}");
        }
        let mp3 = [hex("fffb9064"), vec![1; 413]].concat().repeat(4);
        assert_eq!(read(&[mp3], 100), [(0, 418), (26, 418), (52, 418), (78, 418)]);
    }

    #[test]
    fn what_is_no_audio_is_refused() {
        let mut memory = Arena::new(Pool::new(8 << 20), 8 << 20, MESSAGE_MAX);
        let text = "<html>".repeat(TS_SEARCH);
        let read = Sound::new().receive(text.as_bytes(), &mut memory, &mut |_| panic!("no packet"));
        assert_eq!(read, Err(Stop::NoSound));
        mutations(&[tag(0), frames(5)].concat(), |changed| {
            let mut sound = Sound::new();
            let _ = sound.receive(changed, &mut memory, &mut |_| {});
        });
    }
}
