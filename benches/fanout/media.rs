//! A synthetic H.264 and AAC stream with an even bit rate, each frame marked with its number and
//! the time it was sent.

use std::time::Duration;

use crate::wire::{AUDIO, Amf, VIDEO, put_amf};

/// What a stream looks like.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Video and audio together, in kbit/s of payload.
    pub(crate) kbps: u32,
    /// Seconds from key frame to key frame.
    pub(crate) gop: u32,
}

impl Shape {
    pub(crate) fn gop_length(self) -> Duration {
        Duration::from_secs(u64::from(self.gop))
    }

    fn audio_kbps(self) -> u32 {
        (self.kbps / 8).clamp(16, 64)
    }

    fn audio_size(self) -> usize {
        (f64::from(self.audio_kbps()) * 125.0 * AUDIO_STEP_NS as f64 / 1e9) as usize
    }

    fn inter_size(self) -> usize {
        let gop_bytes = f64::from(self.kbps.saturating_sub(self.audio_kbps()) * 125 * self.gop);
        (gop_bytes / (f64::from(FPS * self.gop) - 1.0 + KEY_TO_INTER)) as usize
    }

    fn video_size(self, is_key: bool) -> usize {
        let inter = self.inter_size();
        if is_key { (inter as f64 * KEY_TO_INTER) as usize } else { inter }
    }
}

/// One publisher's frames in order of their time.
pub(crate) struct Source {
    shape: Shape,
    start_ns: u64,
    video: u32,
    audio: u32,
}

/// The kind and time of a frame that [`Source::write_next`] has written.
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) time_ms: u32,
}

impl Source {
    /// A stream whose first frame is due at `start_ns` on the clock of [`crate::process::now_ns`].
    pub(crate) fn new(shape: Shape, start_ns: u64) -> Self {
        Self { shape, start_ns, video: 0, audio: 0 }
    }

    /// When the next frame is to be sent.
    pub(crate) fn due_ns(&self) -> u64 {
        self.video_due_ns().min(self.audio_due_ns())
    }

    /// Replaces `out` with the next frame's payload, marked as sent at `sent_ns`.
    pub(crate) fn write_next(&mut self, sent_ns: u64, out: &mut Vec<u8>) -> Frame {
        let time_ms = ((self.due_ns() - self.start_ns) / 1_000_000) as u32;
        out.clear();
        let (kind, number, size) = if self.video_due_ns() <= self.audio_due_ns() {
            let is_key = self.video.is_multiple_of(FPS * self.shape.gop);
            let size = self.shape.video_size(is_key);
            let unit = size.saturating_sub(9) as u32;
            out.extend_from_slice(&[if is_key { 0x17 } else { 0x27 }, 1, 0, 0, 0]);
            out.extend_from_slice(&unit.to_be_bytes());
            out.push(if is_key { 0x65 } else { 0x41 });
            self.video += 1;
            (VIDEO, self.video, size)
        } else {
            out.extend_from_slice(&[0xAF, 1]);
            self.audio += 1;
            (AUDIO, self.audio, self.shape.audio_size())
        };
        out.extend_from_slice(&MARK);
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&sent_ns.to_be_bytes());
        out.resize(size.max(out.len()), FILLER);
        Frame { kind, time_ms }
    }

    fn video_due_ns(&self) -> u64 {
        self.start_ns + u64::from(self.video) * 1_000_000_000 / u64::from(FPS)
    }

    fn audio_due_ns(&self) -> u64 {
        self.start_ns + u64::from(self.audio) * AUDIO_STEP_NS
    }
}

/// The number and the sending time in a frame, from the first bytes of its payload. `None` for
/// everything that is not one of our frames: sequence headers, commands.
pub(crate) fn mark_of(kind: u8, prefix: &[u8]) -> Option<(u32, u64)> {
    let marked = match kind {
        VIDEO => prefix.get(10..26)?,
        AUDIO => prefix.get(2..18)?,
        _ => return None,
    };
    let (mark, rest) = marked.split_first_chunk::<4>()?;
    let (number, sent) = rest.split_first_chunk::<4>()?;
    let sent = sent.first_chunk::<8>()?;
    (*mark == MARK).then(|| (u32::from_be_bytes(*number), u64::from_be_bytes(*sent)))
}

/// The payload of the first data message of a publisher.
pub(crate) fn metadata(shape: Shape) -> Vec<u8> {
    let fields = [
        ("width", Amf::Number(320.0)),
        ("height", Amf::Number(240.0)),
        ("framerate", Amf::Number(f64::from(FPS))),
        ("videocodecid", Amf::Number(7.0)),
        ("videodatarate", Amf::Number(f64::from(shape.kbps - shape.audio_kbps().min(shape.kbps)))),
        ("audiocodecid", Amf::Number(10.0)),
        ("audiodatarate", Amf::Number(f64::from(shape.audio_kbps()))),
        ("audiosamplerate", Amf::Number(44_100.0)),
    ];
    let mut out = Vec::new();
    let name = Amf::Text("onMetaData");
    put_amf(&mut out, &[Amf::Text("@setDataFrame"), name, Amf::EcmaArray(&fields)]);
    out
}

/// AVC decoder configuration: baseline profile, 320 x 240, one SPS and one PPS.
pub(crate) const AVC_HEADER: [u8; 28] = [
    0x17, 0, 0, 0, 0, // key frame, sequence header
    1, 0x42, 0xC0, 0x1E, 0xFF, 0xE1, // version, profile, level, lengths of 4, one SPS
    0, 8, 0x67, 0x42, 0xC0, 0x1E, 0xDA, 0x05, 0x07, 0xE4, // SPS
    1, 0, 4, 0x68, 0xCE, 0x38, 0x80, // one PPS
];

/// AAC LC, 44,100 Hz, stereo.
pub(crate) const AAC_HEADER: [u8; 4] = [0xAF, 0, 0x12, 0x10];

pub(crate) const FPS: u32 = 25;
/// How much bigger a key frame is than the others.
const KEY_TO_INTER: f64 = 8.0;
/// 1,024 samples at 44,100 Hz.
const AUDIO_STEP_NS: u64 = 1_024_000_000_000 / 44_100;
pub(crate) const MARK: [u8; 4] = [0xFA, 0x17, 0x00, 0x75];
/// Never zero: runs of zeros would look like start codes.
const FILLER: u8 = 0xA5;
