//! H.264 and AAC with a number in each frame.

use bytes::Bytes;

/// AAC LC, 44.1 kHz, stereo.
pub(crate) const AUDIO_HEADER: &[u8] = &[0xaf, 0, 0x12, 0x10];
/// An AVCDecoderConfigurationRecord of 320x180.
const RECORD: &str =
    "0142c00cffe100196742c00cd901419f9f011000000300100000030320f142a48001000568cb83cb20";
const KEY: u8 = 0x17;
const INTER: u8 = 0x27;
const FRAME_HEAD: usize = 9;
const SOUND_HEAD: usize = 6;

pub(crate) fn video_header() -> Vec<u8> {
    let hex = RECORD.as_bytes().chunks(2);
    let record = hex.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap());
    [KEY, 0, 0, 0, 0].into_iter().chain(record).collect()
}

/// Frame `number` with `len` bytes, 9 at least. The rest is a pattern that begins with the number.
pub(crate) fn video(key: bool, number: u32, len: usize) -> Bytes {
    let mut out = vec![if key { KEY } else { INTER }, 1, 0, 0, 0];
    out.extend(number.to_be_bytes());
    fill(&mut out, number, len);
    out.into()
}

/// Sound `number` with `len` bytes, 6 at least.
pub(crate) fn audio(number: u32, len: usize) -> Bytes {
    let mut out = vec![0xaf, 1];
    out.extend(number.to_be_bytes());
    fill(&mut out, number, len);
    out.into()
}

/// What a received frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Header,
    Video { key: bool, number: u32 },
    Audio(u32),
}

/// Reads a frame of the above, and makes sure that it is whole.
pub(crate) fn read(payload: &[u8]) -> Frame {
    let number = |at: usize| u32::from_be_bytes(*payload[at..].first_chunk().unwrap());
    let whole = |at: usize| {
        let number = number(at - 4);
        let mut expected = payload[..at].to_vec();
        fill(&mut expected, number, payload.len());
        assert!(expected == payload, "frame {number} is damaged");
        number
    };
    match *payload {
        [_, 0, ..] => Frame::Header,
        [first @ (KEY | INTER), ..] => {
            Frame::Video { key: first == KEY, number: whole(FRAME_HEAD) }
        }
        [0xaf, ..] => Frame::Audio(whole(SOUND_HEAD)),
        _ => panic!("no frame of ours"),
    }
}

fn fill(out: &mut Vec<u8>, number: u32, len: usize) {
    let from = out.len();
    out.extend((from..len.max(from)).map(|i| (i as u32 ^ number) as u8));
}
