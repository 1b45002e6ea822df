//! What a packet holds for the muxer: FLV tag bodies (FLV 10.1 §E.4.2, §E.4.3) and those with a
//! fourCC (Enhanced RTMP v1 and v2).

use super::{Audio, Error, Video};
use crate::media::{Codec, Kind, classify};

/// The part of a packet that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Nothing: data, the end of a sequence, commands, colour information.
    Nothing,
    /// A decoder configuration record.
    VideoHeader(Video, &'a [u8]),
    /// The NAL units of a picture, and its composition time in milliseconds.
    Picture(Video, i32, &'a [u8]),
    /// An AudioSpecificConfig.
    AudioHeader(&'a [u8]),
    /// A frame of sound.
    Sound(Audio, &'a [u8]),
}

/// Reads the first bytes of `payload`.
pub fn read(kind: Kind, payload: &[u8]) -> Result<Body<'_>, Error> {
    match kind {
        Kind::Data => Ok(Body::Nothing),
        Kind::Video => video(payload),
        Kind::Audio => audio(payload),
    }
}

fn video(payload: &[u8]) -> Result<Body<'_>, Error> {
    let &first = payload.first().ok_or(CUT)?;
    if first >> 4 & 7 == 5 {
        return Ok(Body::Nothing);
    }
    let class = classify(Kind::Video, payload).codec;
    let codec = Video::of(class).ok_or(Error::Unsupported(class))?;
    if first & 0x80 == 0 {
        let (head, data) = payload.split_first_chunk::<5>().ok_or(CUT)?;
        let [_, packet, cts @ ..] = *head;
        return Ok(match packet {
            0 => Body::VideoHeader(codec, data),
            1 => Body::Picture(codec, signed(cts), data),
            _ => Body::Nothing,
        });
    }
    let data = payload.get(5..).ok_or(CUT)?;
    match first & 15 {
        0 => Ok(Body::VideoHeader(codec, data)),
        1 => {
            let (cts, data) = data.split_first_chunk().ok_or(CUT)?;
            Ok(Body::Picture(codec, signed(*cts), data))
        }
        3 => Ok(Body::Picture(codec, 0, data)),
        2 | 4 => Ok(Body::Nothing),
        _ => Err(Error::Unsupported(class)),
    }
}

fn audio(payload: &[u8]) -> Result<Body<'_>, Error> {
    let &first = payload.first().ok_or(CUT)?;
    let codec = classify(Kind::Audio, payload).codec;
    let audio = Audio::of(codec).ok_or(Error::Unsupported(codec))?;
    if matches!(codec, Codec::FourCc(_)) {
        let data = payload.get(5..).ok_or(CUT)?;
        return match (first & 15, audio) {
            (0, Audio::Aac) => Ok(Body::AudioHeader(data)),
            (1, audio) => Ok(Body::Sound(audio, data)),
            (0 | 2 | 4, _) => Ok(Body::Nothing),
            _ => Err(Error::Unsupported(codec)),
        };
    }
    if audio == Audio::Mp3 {
        return Ok(Body::Sound(audio, payload.get(1..).unwrap_or_default()));
    }
    let (&[_, packet], data) = payload.split_first_chunk().ok_or(CUT)?;
    Ok(match packet {
        0 => Body::AudioHeader(data),
        1 => Body::Sound(audio, data),
        _ => Body::Nothing,
    })
}

/// 24 bits, two's complement.
fn signed([a, b, c]: [u8; 3]) -> i32 {
    i32::from_be_bytes([a, b, c, 0]) >> 8
}

const CUT: Error = Error::Corrupt("packet is cut off");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{hex, mutations};

    /// Kind, packet, what it holds.
    type Case = (Kind, &'static str, Result<Body<'static>, Error>);

    const CASES: &[Case] = &[
        (Kind::Data, "02000a", Ok(Body::Nothing)),
        (Kind::Video, "1700000000aa", Ok(Body::VideoHeader(Video::H264, &[0xaa]))),
        (Kind::Video, "1701000028aa", Ok(Body::Picture(Video::H264, 40, &[0xaa]))),
        (Kind::Video, "2701ffffd8aa", Ok(Body::Picture(Video::H264, -40, &[0xaa]))),
        (Kind::Video, "2701800000", Ok(Body::Picture(Video::H264, -0x80_0000, &[]))),
        (Kind::Video, "1702000000", Ok(Body::Nothing)),
        (Kind::Video, "5700", Ok(Body::Nothing)),
        (Kind::Video, "1c01000000bb", Ok(Body::Picture(Video::Hevc, 0, &[0xbb]))),
        (Kind::Video, "9068766331aa", Ok(Body::VideoHeader(Video::Hevc, &[0xaa]))),
        (Kind::Video, "916876633100000aaa", Ok(Body::Picture(Video::Hevc, 10, &[0xaa]))),
        (Kind::Video, "a368766331aa", Ok(Body::Picture(Video::Hevc, 0, &[0xaa]))),
        (Kind::Video, "9361766331aa", Ok(Body::Picture(Video::H264, 0, &[0xaa]))),
        (Kind::Video, "9268766331", Ok(Body::Nothing)),
        (Kind::Video, "9568766331", Err(Error::Unsupported(Codec::FourCc(*b"hvc1")))),
        (Kind::Video, "9361763031aa", Err(Error::Unsupported(Codec::FourCc(*b"av01")))),
        (Kind::Video, "1400", Err(Error::Unsupported(Codec::Id(4)))),
        (Kind::Video, "17010000", Err(CUT)),
        (Kind::Video, "91687663310000", Err(CUT)),
        (Kind::Video, "", Err(CUT)),
        (Kind::Audio, "af001210", Ok(Body::AudioHeader(&[0x12, 0x10]))),
        (Kind::Audio, "af0121", Ok(Body::Sound(Audio::Aac, &[0x21]))),
        (Kind::Audio, "af02", Ok(Body::Nothing)),
        (Kind::Audio, "2ffffb", Ok(Body::Sound(Audio::Mp3, &[0xff, 0xfb]))),
        (Kind::Audio, "906d7034611210", Ok(Body::AudioHeader(&[0x12, 0x10]))),
        (Kind::Audio, "916d70346121", Ok(Body::Sound(Audio::Aac, &[0x21]))),
        (Kind::Audio, "912e6d7033ff", Ok(Body::Sound(Audio::Mp3, &[0xff]))),
        (Kind::Audio, "914f7075730a", Err(Error::Unsupported(Codec::FourCc(*b"Opus")))),
        (Kind::Audio, "b6", Err(Error::Unsupported(Codec::Id(11)))),
        (Kind::Audio, "af", Err(CUT)),
        (Kind::Audio, "", Err(CUT)),
    ];

    #[test]
    fn packets_are_read_as_their_first_bytes_say() {
        for &(kind, bytes, want) in CASES {
            assert_eq!(read(kind, &hex(bytes)), want, "{bytes}");
        }
    }

    #[test]
    fn a_mutated_packet_is_read_or_refused() {
        for &(kind, bytes, _) in CASES {
            mutations(&hex(bytes), |changed| {
                let _ = read(kind, changed);
            });
        }
    }
}
