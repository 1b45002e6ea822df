//! What there is to say about a stream: what was wrong, what is not read, why it ends.

use std::fmt;

use super::super::{Audio, Video};
use crate::limits::TS_NOTES;
use crate::media::arena::Full;

/// What went wrong so far. All of it is passed over, and the stream goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Transport packets that were read.
    pub packets: u64,
    /// Bytes between packets that are none.
    pub skipped: u64,
    /// The packets were not where they should be, and had to be looked for.
    pub resyncs: u32,
    /// Jumps of a packet counter: packets were lost.
    pub continuity: u32,
    /// Packets that came twice.
    pub duplicates: u32,
    /// Packets that are scrambled; nothing of them can be read.
    pub scrambled: u32,
    /// Tables whose CRC is wrong.
    pub crc: u32,
    /// Pictures, frames and PES packets that were damaged and left out.
    pub damaged: u32,
    /// PES packets that are longer or shorter than they say. Their data was taken.
    pub lengths: u32,
    /// Pictures that are longer than [`MESSAGE_MAX`](crate::limits::MESSAGE_MAX), left out.
    pub oversized: u32,
}

/// Something to be said once about a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A program is taken, or the one that is taken has other streams now.
    Program {
        /// Its number.
        number: u16,
        /// Its video.
        video: Option<Video>,
        /// Its audio.
        audio: Option<Audio>,
    },
    /// No program has a stream that is read.
    NothingToTake,
    /// A stream of this type is not read.
    Unsupported {
        /// As the program map states it.
        stream_type: u8,
    },
    /// AAC in LATM is not read.
    Latm,
    /// AAC that states its channels in the frames only is not read.
    AacChannels,
    /// AAC with several blocks in a frame is not read.
    AacBlocks,
    /// MPEG audio of another layer than 3 has no place in FLV.
    MpegLayer {
        /// 1 or 2.
        layer: u8,
    },
    /// Packets are scrambled.
    Scrambled,
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// So many bytes without a packet ([`TS_SEARCH`](crate::limits::TS_SEARCH)): this is no
    /// transport stream. The demuxer may go on.
    NotTs {
        /// There were packets before.
        before: bool,
    },
    /// The same of audio without a container ([`Sound`](super::Sound)).
    NoSound,
    /// There is no memory for a packet.
    Memory(Full),
}

/// Notes that were not taken yet, and which ones there were.
#[derive(Debug, Default)]
pub(super) struct Notes {
    waiting: heapless::Vec<Note, TS_NOTES>,
    given: heapless::Vec<Note, TS_NOTES>,
}

impl Counters {
    /// Packets were lost, or unreadable.
    pub const fn is_clean(&self) -> bool {
        let Self { resyncs, continuity, scrambled, crc, damaged, lengths, oversized, .. } = *self;
        resyncs | continuity | scrambled | crc | damaged | lengths | oversized == 0
    }

    pub(super) const fn add(counter: &mut u32) {
        *counter = counter.saturating_add(1);
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packets, skipped, resyncs, continuity, duplicates, .. } = self;
        let Self { scrambled, crc, damaged, lengths, oversized, .. } = self;
        write!(
            f,
            "packets={packets}, resync={resyncs}/{skipped}B, continuity={continuity}, \
             duplicate={duplicates}, scrambled={scrambled}, crc={crc}, damaged={damaged}, \
             length={lengths}, oversized={oversized}"
        )
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |has: Option<&'static str>| has.unwrap_or("none");
        match self {
            Self::Program { number, video, audio } => {
                let video = name(video.map(|video| match video {
                    Video::H264 => "H264",
                    Video::Hevc => "HEVC",
                }));
                let audio = name(audio.map(|audio| match audio {
                    Audio::Aac => "AAC",
                    Audio::Mp3 => "MP3",
                }));
                write!(f, "program {number}, video={video}, audio={audio}")
            }
            Self::NothingToTake => f.write_str("no program has H.264, HEVC, AAC or MP3"),
            Self::Unsupported { stream_type } => {
                write!(f, "stream type {stream_type:#04x} is not read")
            }
            Self::Latm => f.write_str("AAC in LATM is not read; send it in ADTS"),
            Self::AacChannels => f.write_str("AAC without a channel configuration is not read"),
            Self::AacBlocks => f.write_str("AAC with several blocks in a frame is not read"),
            Self::MpegLayer { layer } => {
                write!(f, "MPEG audio layer {layer} has no place in FLV, only layer 3")
            }
            Self::Scrambled => f.write_str("the stream is scrambled"),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTs { before: false } => f.write_str("not a transport stream"),
            Self::NotTs { before: true } => f.write_str("the transport stream was lost"),
            Self::NoSound => f.write_str("neither AAC in ADTS nor MP3"),
            Self::Memory(full) => full.fmt(f),
        }
    }
}

impl std::error::Error for Stop {}

impl Notes {
    /// Each note is given once.
    pub(super) fn add(&mut self, note: Note) {
        if !self.given.contains(&note) && self.given.push(note).is_ok() {
            self.tell(note);
        }
    }

    pub(super) fn take(&mut self) -> Option<Note> {
        let first = self.waiting.first().copied()?;
        self.waiting.remove(0);
        Some(first)
    }

    /// When nobody takes them the newest ones are lost.
    pub(super) fn tell(&mut self, note: Note) {
        let _ = self.waiting.push(note);
    }
}
