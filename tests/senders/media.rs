//! What a camera films: pictures and sound of a file, and the packets of RTP they go in.

use super::camera::Item;
use super::common::media;
use runnel::codec::nal;
use runnel::format::ts::{Body, read};
use runnel::media::Kind;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Of a packet's payload.
const MTU: usize = 700;
pub(crate) const VIDEO: usize = 0;
pub(crate) const AUDIO: usize = 1;
/// Ticks a second.
pub(crate) const RATES: [i64; 2] = [90_000, 44_100];
/// Seconds from 1900, of an ordinary day.
pub(crate) const DAY: u64 = 3_900_000_000;

/// A picture; times in milliseconds.
pub(crate) struct Picture {
    pub(crate) dts: i64,
    pub(crate) pts: i64,
    pub(crate) key: bool,
    pub(crate) nals: Vec<Vec<u8>>,
}

pub(crate) struct Source {
    /// SPS and PPS.
    pub(crate) sets: Vec<Vec<u8>>,
    config: Vec<u8>,
    pub(crate) pictures: Vec<Picture>,
    /// Time in milliseconds.
    pub(crate) frames: Vec<(i64, Vec<u8>)>,
}

impl Source {
    pub(crate) fn of(file: &Path) -> Self {
        let packets = media::flv_packets(&fs::read(file).unwrap());
        let (mut sets, mut config) = (Vec::new(), Vec::new());
        let (mut pictures, mut frames) = (Vec::new(), Vec::new());
        for packet in packets.iter().filter(|packet| packet.kind != Kind::Data) {
            let dts = i64::from(packet.dts);
            match (packet.header, packet.kind) {
                (true, Kind::Video) => sets = record(&packet.payload[5..]),
                (true, _) => config = packet.payload[2..].to_vec(),
                (false, _) => match read(packet.kind, &packet.payload) {
                    Ok(Body::Picture(_, cts, data)) => pictures.push(Picture {
                        dts,
                        pts: dts + i64::from(cts),
                        key: packet.key,
                        nals: nal::prefixed(data, 4).map(<[u8]>::to_vec).collect(),
                    }),
                    Ok(Body::Sound(_, data)) => frames.push((dts, data.to_vec())),
                    // The end of the sequence.
                    _ => {}
                },
            }
        }
        assert!(sets.len() == 2 && !config.is_empty() && pictures.len() > 100);
        Self { sets, config, pictures, frames }
    }

    /// Both tracks, the one of pictures with these lines.
    pub(crate) fn sdp(&self, video: &str) -> String {
        let config: String = self.config.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n{video}\
             a=control:track0\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/44100/2\r\n\
             a=fmtp:97 streamtype=5;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;\
             config={config}\r\na=control:track1\r\n"
        )
    }

    /// The line with the parameter sets.
    pub(crate) fn sprop(&self) -> String {
        let sets: Vec<_> = self.sets.iter().map(|set| base64(set)).collect();
        format!("a=fmtp:96 packetization-mode=1;sprop-parameter-sets={}\r\n", sets.join(","))
    }
}

/// The sets of an AVCDecoderConfigurationRecord with one of each.
fn record(record: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &record[5..];
    let mut sets = Vec::new();
    for _ in 0..2 {
        let len = usize::from(u16::from_be_bytes([rest[1], rest[2]]));
        sets.push(rest[3..3 + len].to_vec());
        rest = &rest[3 + len..];
    }
    sets
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// The timestamp of the picture or frame with this number and these milliseconds.
pub(crate) type Stamp = fn(usize, i64) -> i64;

/// How a camera stamps what it sends.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    /// Of the pictures, by their presentation time unless `decode_order`, and of the sound.
    pub(crate) stamps: [Stamp; 2],
    pub(crate) decode_order: bool,
    /// The wall clock of a sender report of a track at these milliseconds; none for no report.
    pub(crate) wall: fn(usize, i64) -> Option<u64>,
    /// Parameter sets go before each key frame.
    pub(crate) in_band: bool,
}

/// Stamps as they should be, from anywhere on.
pub(crate) fn right(track: usize) -> Stamp {
    if track == VIDEO { |_, ms| 1_000_000 + ms * 90 } else { |_, ms| 77_000 + ms * 441 / 10 }
}

/// The wall clock as NTP has it.
pub(crate) fn ntp(ms: i64) -> u64 {
    let ms = ms as u64;
    ((DAY + ms / 1000) << 32) | (((ms % 1000) << 32) / 1000)
}

impl Default for Clock {
    fn default() -> Self {
        let stamps = [right(VIDEO), right(AUDIO)];
        Self { stamps, decode_order: false, wall: |_, ms| Some(ntp(ms)), in_band: false }
    }
}

impl Clock {
    /// The source in packets, in the order and at the time in which a camera sends them.
    pub(crate) fn film(&self, source: &Source) -> Vec<Item> {
        let mut tracks = [Track::new(VIDEO), Track::new(AUDIO)];
        let mut items = Vec::new();
        let mut pictures = source.pictures.iter().enumerate().peekable();
        let mut frames = source.frames.iter().enumerate().peekable();
        let mut report = 0;
        loop {
            let next = [pictures.peek().map(|(_, p)| p.dts), frames.peek().map(|(_, f)| f.0)];
            let Some(now) = next.into_iter().flatten().min() else { return items };
            let at = Duration::from_millis(now as u64);
            let mut send = |track: usize, rtcp, bytes| items.push(Item { at, track, rtcp, bytes });
            while report <= now {
                for (track, rate) in RATES.iter().enumerate() {
                    if let Some(wall) = (self.wall)(track, report) {
                        let number =
                            (report * rate / 1000 / if track == VIDEO { 3600 } else { 1024 })
                                as usize;
                        let stamp = (self.stamps[track])(number, report) as u32;
                        send(track, true, tracks[track].report(wall, stamp));
                    }
                }
                report += 1000;
            }
            if next[VIDEO] == Some(now) {
                let (number, picture) = pictures.next().unwrap();
                let time = if self.decode_order { picture.dts } else { picture.pts };
                let stamp = (self.stamps[VIDEO])(number, time) as u32;
                let sets = source.sets.iter().filter(|_| self.in_band && picture.key);
                let nals: Vec<_> = sets.chain(&picture.nals).collect();
                for (at, nal) in nals.iter().enumerate() {
                    tracks[VIDEO]
                        .nal(stamp, nal, at + 1 == nals.len(), &mut |p| send(VIDEO, false, p));
                }
            } else {
                let (number, (time, frame)) = frames.next().unwrap();
                let stamp = (self.stamps[AUDIO])(number, *time) as u32;
                let size = (frame.len() as u16) << 3;
                let payload = [&[0, 16], &size.to_be_bytes()[..], frame].concat();
                send(AUDIO, false, tracks[AUDIO].packet(stamp, true, &payload));
            }
        }
    }
}

/// A sender of RTP.
pub(crate) struct Track {
    payload_type: u8,
    sequence: u16,
    ssrc: u32,
}

impl Track {
    fn new(track: usize) -> Self {
        // Numbers wrap on the way.
        Self { payload_type: 96 + track as u8, sequence: 65_500, ssrc: 0x1000 + track as u32 }
    }

    fn packet(&mut self, time: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = vec![0x80, self.payload_type | u8::from(marker) << 7];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(time.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend_from_slice(payload);
        packet
    }

    /// A unit in one packet, or in fragments.
    fn nal(&mut self, time: u32, nal: &[u8], last: bool, send: &mut impl FnMut(Vec<u8>)) {
        if nal.len() <= MTU {
            return send(self.packet(time, last, nal));
        }
        let (head, body) = (nal[0], &nal[1..]);
        let count = body.len().div_ceil(MTU);
        for (at, piece) in body.chunks(MTU).enumerate() {
            let (start, end) = (at == 0, at + 1 == count);
            let header = head & 0x1f | u8::from(start) << 7 | u8::from(end) << 6;
            let payload = [&[head & 0xe0 | 28, header], piece].concat();
            send(self.packet(time, last && end, &payload));
        }
    }

    /// A sender report.
    fn report(&self, wall: u64, time: u32) -> Vec<u8> {
        let mut packet = vec![0x80, 200, 0, 6];
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend(wall.to_be_bytes());
        packet.extend(time.to_be_bytes());
        packet.extend([0; 8]);
        packet
    }
}
