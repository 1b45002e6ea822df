//! The tables that say what is in the stream (ISO/IEC 13818-1 §2.4.4): one program, its map.

use super::packet::{Line, PAYLOAD};
use super::{Audio, PACKET, Video};

/// The PID of the program association table.
const PAT: u16 = 0;
/// The PID of the program map table.
const PMT: u16 = 0x1001;
/// The PID of video.
pub(super) const VIDEO: u16 = 0x100;
/// The PID of AAC.
pub(super) const AAC: u16 = 0x101;
/// The PID of MP3.
pub(super) const MP3: u16 = 0x102;

/// What the program map states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) video: Option<Video>,
    pub(super) audio: Option<Audio>,
    /// Whether video carries the clock; else audio does.
    pub(super) video_clock: bool,
}

impl Layout {
    fn clock(&self) -> u16 {
        match self.audio {
            Some(audio) if !self.video_clock => audio_pid(audio),
            _ => VIDEO,
        }
    }
}

pub(super) const fn audio_pid(audio: Audio) -> u16 {
    match audio {
        Audio::Aac => AAC,
        Audio::Mp3 => MP3,
    }
}

/// Writes the two tables.
#[derive(Debug)]
pub(super) struct Tables {
    pat: Line,
    pmt: Line,
    /// Grows with each change of the map, so that receivers read it again.
    version: u8,
    written: Option<Layout>,
}

impl Tables {
    pub(super) const fn new() -> Self {
        Self { pat: Line::new(PAT), pmt: Line::new(PMT), version: 0, written: None }
    }

    /// Whether the stream's map, as last written, is another one.
    pub(super) fn differ(&self, layout: Layout) -> bool {
        self.written != Some(layout)
    }

    /// Two packets.
    pub(super) fn write(&mut self, layout: Layout, out: &mut Vec<u8>) {
        if self.written.is_some_and(|written| written != layout) {
            self.version = (self.version + 1) & 31;
        }
        self.written = Some(layout);
        // transport_stream_id 1, version 0; program 1 has its map on PMT.
        let [high, low] = PMT.to_be_bytes();
        section(&mut self.pat, out, 0x00, &[0, 1, 0xc1, 0, 0, 0, 1, high | 0xe0, low]);
        let [high, low] = layout.clock().to_be_bytes();
        let mut map: heapless::Vec<u8, MAP> = heapless::Vec::new();
        // Cannot fail: MAP is the length of both entries and what is before them.
        let _ = map.extend_from_slice(&[0, 1, 0xc1 | self.version << 1, 0, 0]);
        let _ = map.extend_from_slice(&[high | 0xe0, low, 0xf0, 0]);
        let audio = layout.audio.map(|audio| match audio {
            Audio::Aac => (0x0f, AAC),
            Audio::Mp3 => (0x04, MP3),
        });
        let video = layout.video.map(|video| match video {
            Video::H264 => (0x1b, VIDEO),
            Video::Hevc => (0x24, VIDEO),
        });
        for (stream_type, pid) in [audio, video].into_iter().flatten() {
            let [high, low] = pid.to_be_bytes();
            let _ = map.extend_from_slice(&[stream_type, high | 0xe0, low, 0xf0, 0]);
        }
        section(&mut self.pmt, out, 0x02, &map);
    }
}

const MAP: usize = 9 + 2 * 5;

/// A packet with one section: header, `body`, CRC, and stuffing to its end.
fn section(line: &mut Line, out: &mut Vec<u8>, table: u8, body: &[u8]) {
    let end = out.len() + PACKET;
    out.extend_from_slice(&line.header(true, PAYLOAD));
    out.push(0); // pointer_field
    let start = out.len();
    // Bodies are shorter than 100 bytes.
    out.extend_from_slice(&[table, 0xb0, body.len() as u8 + 4]);
    out.extend_from_slice(body);
    let crc = crc32(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_be_bytes());
    out.resize(end, 0xff);
}

/// The CRC of ISO/IEC 13818-1 annex A: 0 over a section that is whole.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::hex;

    #[test]
    fn the_crc_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
    }

    #[test]
    fn tables_are_those_of_the_original() {
        let mut tables = Tables::new();
        let mut out = Vec::new();
        let both = Layout { video: Some(Video::H264), audio: Some(Audio::Aac), video_clock: true };
        tables.write(both, &mut out);
        assert_eq!(out.len(), 2 * PACKET);
        let pat = hex("47400010 00 00b00d0001c10000 0001f001 2e701905");
        let pmt = hex("47500110 00 02b0170001c10000 e100f000 0fe101f000 1be100f000");
        assert_eq!(out[..pat.len()], pat);
        assert!(out[pat.len()..PACKET].iter().all(|&b| b == 0xff));
        assert_eq!(out[PACKET..PACKET + pmt.len()], pmt);
        assert_eq!(crc32(&out[PACKET + 5..PACKET + pmt.len() + 4]), 0);
    }

    #[test]
    fn a_changed_map_has_another_version_and_clock() {
        let mut tables = Tables::new();
        let mut out = Vec::new();
        let sound = Layout { video: None, audio: Some(Audio::Mp3), video_clock: false };
        let both = Layout { video: Some(Video::Hevc), video_clock: true, ..sound };
        tables.write(sound, &mut out);
        tables.write(sound, &mut out);
        tables.write(both, &mut out);
        let maps: Vec<_> = out.chunks(PACKET).skip(1).step_by(2).map(|p| &p[3..27]).collect();
        assert_eq!(maps[0][..18], hex("10 00 02b0120001c10000 e102f000 04e102f0"));
        assert_eq!(maps[1][0], 0x11, "counted on");
        assert_eq!(maps[2][..24], hex("12 00 02b0170001c30000 e100f000 04e102f000 24e100f000"));
    }
}
