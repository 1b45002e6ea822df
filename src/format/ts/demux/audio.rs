//! Frames out of an elementary stream of audio, wherever its PES packets are cut.

use bytes::BufMut;

use super::super::Audio;
use super::marks::{Marks, millis};
use super::packets::Piece;
use super::{Counters, Note, Port, Stop};
use crate::codec::{Error, mp3};
use crate::format::adts;
use crate::media::{Kind, Packet};

/// No frame is longer, neither of AAC nor of MP3.
const FRAME: usize = 0x1fff;

#[derive(Debug)]
pub(super) struct Frames {
    audio: Audio,
    /// Less than a frame, and what came with it.
    bytes: Vec<u8>,
    marks: Marks,
    /// The time of the last frame that had one, the frames since then with it, and how long they
    /// are, in samples and in samples a second.
    since: Option<(i64, u64)>,
    /// A frame begins at the front of `bytes`; else one is looked for.
    locked: bool,
    /// Bytes were passed over since the last frame.
    searching: bool,
    /// What the header of the last frame had in common with those of its stream.
    mark: Option<[u8; 3]>,
    /// The AudioSpecificConfig that was given.
    config: Option<[u8; 2]>,
    /// The stream is none that can be given.
    refused: bool,
}

/// A frame at the front of the buffer.
struct Frame {
    /// With its header.
    len: usize,
    /// Bytes that are not given.
    header: usize,
    samples: u32,
    rate: u32,
    /// The bits of its header that are the same in all of a stream.
    mark: [u8; 3],
    form: Form,
}

enum Form {
    Aac([u8; 2]),
    Mp3(u8),
    Refused(Note),
}

impl Frames {
    pub(super) fn new(audio: Audio) -> Self {
        Self {
            audio,
            bytes: Vec::new(),
            marks: Marks::default(),
            since: None,
            locked: false,
            searching: false,
            mark: None,
            config: None,
            refused: false,
        }
    }

    pub(super) const fn audio(&self) -> Audio {
        self.audio
    }

    /// Takes a piece of a PES packet.
    pub(super) fn piece(&mut self, piece: &Piece<'_>, port: &mut Port<'_>) -> Result<(), Stop> {
        if let Some(begin) = &piece.begin {
            if let Some(pts) = begin.pts {
                let pts = port.clock.advance(pts);
                self.marks.push(self.bytes.len(), pts, pts);
            }
            self.locked |= self.bytes.is_empty();
        }
        self.data(piece.data, port)
    }

    /// From the next byte on the time is `ticks`, and a frame begins there. What was not whole
    /// before it is gone.
    pub(super) fn begin(&mut self, ticks: Option<i64>) {
        self.bytes.clear();
        self.marks.clear();
        self.locked = true;
        if let Some(ticks) = ticks {
            self.marks.push(0, ticks, ticks);
        }
    }

    /// Takes the next bytes of the stream.
    pub(super) fn data(&mut self, data: &[u8], port: &mut Port<'_>) -> Result<(), Stop> {
        if self.refused {
            return Ok(());
        }
        // Some of it at a time: what is held stays within two frames.
        for piece in data.chunks(FRAME) {
            self.bytes.extend_from_slice(piece);
            let (used, given) = self.frames(port);
            self.bytes.drain(..used.min(self.bytes.len()));
            self.marks.advance(used);
            given?;
        }
        Ok(())
    }

    /// The frame in progress is damaged.
    pub(super) fn lost(&mut self, counters: &mut Counters) {
        if !self.bytes.is_empty() {
            Counters::add(&mut counters.damaged);
        }
        self.bytes.clear();
        self.marks.clear();
        self.locked = false;
    }

    /// Gives all frames that are whole. How many bytes were used, and how it went.
    fn frames(&mut self, port: &mut Port<'_>) -> (usize, Result<(), Stop>) {
        let mut at = 0;
        loop {
            let rest = self.bytes.get(at..).unwrap_or_default();
            let found = match parse(self.audio, rest) {
                Ok(frame) => self.believe(frame, rest),
                Err(error) => Err(error),
            };
            let frame = match found {
                Ok(frame) => frame,
                Err(Error::Incomplete) => return (at, Ok(())),
                Err(_) => {
                    if !self.searching {
                        Counters::add(&mut port.counters.damaged);
                    }
                    self.searching = true;
                    self.locked = false;
                    at += 1;
                    continue;
                }
            };
            self.locked = true;
            self.searching = false;
            self.mark = Some(frame.mark);
            let data = rest.get(frame.header..frame.len).unwrap_or_default();
            let time = next_time(&mut self.since, &mut self.marks, at, &frame);
            let given = match (frame.form, time) {
                (Form::Refused(note), _) => {
                    port.notes.add(note);
                    self.refused = true;
                    self.bytes = Vec::new();
                    return (0, Ok(()));
                }
                (_, None) => {
                    Counters::add(&mut port.counters.damaged);
                    Ok(())
                }
                (Form::Aac(config), Some(time)) => {
                    let header = if self.config == Some(config) {
                        Ok(())
                    } else {
                        give(port, time, &[0xaf, 0], &config)
                    };
                    let given = header.and_then(|()| give(port, time, &[0xaf, 1], data));
                    if given.is_ok() {
                        self.config = Some(config);
                    }
                    given
                }
                (Form::Mp3(flags), Some(time)) => give(port, time, &[flags], data),
            };
            at += frame.len;
            if given.is_err() {
                return (at, given);
            }
        }
    }
}

impl Frames {
    /// A frame that is whole, where one is due. One that is not like the last one, or not where
    /// one is due, is believed when there is another one like it behind it.
    fn believe(&self, frame: Frame, bytes: &[u8]) -> Result<Frame, Error> {
        let next = bytes.get(frame.len..).ok_or(Error::Incomplete)?;
        if self.locked && self.mark.is_none_or(|mark| mark == frame.mark) {
            return Ok(frame);
        }
        match parse(self.audio, next)? {
            next if next.mark == frame.mark => Ok(frame),
            _ => Err(Error::Invalid("a frame of another stream")),
        }
    }
}

/// The time of the frame at `at`, in milliseconds.
fn next_time(
    since: &mut Option<(i64, u64)>,
    marks: &mut Marks,
    at: usize,
    frame: &Frame,
) -> Option<u32> {
    if let Some(mark) = marks.take(at) {
        *since = Some((mark.pts, 0));
    }
    let (start, samples) = since.as_mut()?;
    let ticks = samples.saturating_mul(90_000) / u64::from(frame.rate.max(1));
    *samples = samples.saturating_add(frame.samples.into());
    Some(millis(start.saturating_add_unsigned(ticks)))
}

fn give(port: &mut Port<'_>, dts: u32, head: &[u8], data: &[u8]) -> Result<(), Stop> {
    let mut body = port.memory.alloc(head.len() + data.len()).map_err(Stop::Memory)?;
    body.put_slice(head);
    body.put_slice(data);
    (port.out)(Packet::new(Kind::Audio, dts, body.freeze()));
    Ok(())
}

fn parse(audio: Audio, bytes: &[u8]) -> Result<Frame, Error> {
    match audio {
        Audio::Aac => {
            let head = adts::read(bytes)?;
            let form = match head.config() {
                _ if head.blocks > 1 => Form::Refused(Note::AacBlocks),
                Some(config) => Form::Aac(config),
                None => Form::Refused(Note::AacChannels),
            };
            let adts::Frame { len, header, rate, .. } = head;
            let mark = mark(bytes, [0xff, 0xfd, 0xf0]);
            Ok(Frame { len, header, samples: 1024, rate, mark, form })
        }
        Audio::Mp3 => {
            let head = mp3::Header::parse(bytes)?;
            let form = match head.flags() {
                Some(flags) => Form::Mp3(flags),
                None => Form::Refused(Note::MpegLayer { layer: head.layer }),
            };
            let mp3::Header { len, samples, rate, .. } = head;
            let mark = mark(bytes, [0xff, 0x0c, 0]);
            Ok(Frame { len, header: 0, samples, rate, mark, form })
        }
    }
}

/// The second to fourth byte of a header, as far as they are in `bits`.
fn mark(bytes: &[u8], bits: [u8; 3]) -> [u8; 3] {
    match *bytes {
        [_, a, b, c, ..] => [a & bits[0], b & bits[1], c & bits[2]],
        _ => [0; 3],
    }
}
