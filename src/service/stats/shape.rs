//! What a stream carries, in words.

use crate::codec::{self, Detail};
use crate::hub::{Measured, Source};
use crate::media::{Codec, Kind, Packet, classify};

/// The codecs of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// `None` for no picture.
    pub video: Option<Video>,
    /// `None` for no sound.
    pub audio: Option<Audio>,
}

/// A video track. What its sequence header does not tell is empty or 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Video {
    /// `H264` and the like.
    pub codec: &'static str,
    /// `High` and the like.
    pub profile: &'static str,
    /// `3.1` and the like.
    pub level: String,
    /// Of the picture, in pixels.
    pub width: u16,
    /// See `width`.
    pub height: u16,
}

/// An audio track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audio {
    /// `AAC` and the like.
    pub codec: &'static str,
    /// Hertz.
    pub rate: u32,
    /// Channels.
    pub channels: u8,
    /// Of AAC: `LC` and the like.
    pub profile: &'static str,
}

impl Shape {
    /// That of a live stream, from its sequence headers; without them from its newest packets.
    pub fn of(source: &Source, measured: &Measured) -> Self {
        let headers = source.headers();
        let video = headers.video.as_ref().or(measured.video.as_ref());
        let audio = headers.audio.as_ref().or(measured.audio.as_ref());
        Self { video: video.map(Video::of), audio: audio.map(Audio::of) }
    }
}

impl Video {
    fn of(packet: &Packet) -> Self {
        let codec = classify(Kind::Video, &packet.payload).codec.name();
        let known = codec::describe(Kind::Video, &packet.payload).ok().flatten();
        let Some(detail) = known.map(|description| description.detail) else {
            return Self { codec, ..Self::default() };
        };
        let (width, height) = detail.size().unwrap_or_default();
        let (profile, level) = match &detail {
            Detail::Avc(c) => (c.profile_name(), c.level_text()),
            Detail::Hevc(c) => (c.profile_name(), format!("{}.{}", c.level / 30, c.level % 30 / 3)),
            _ => ("", String::new()),
        };
        Self { codec, profile, level, width, height }
    }
}

impl Audio {
    fn of(packet: &Packet) -> Self {
        let codec = classify(Kind::Audio, &packet.payload).codec;
        let name = match codec {
            // The number means another codec where it stands for a picture.
            Codec::Id(2 | 14) => "MP3",
            codec => codec.name(),
        };
        let known = codec::describe(Kind::Audio, &packet.payload).ok().flatten();
        if let Some(Detail::Aac(c)) = known.map(|description| description.detail) {
            let (rate, channels, profile) = (c.rate(), c.channels(), c.profile_name());
            return Self { codec: name, rate, channels, profile };
        }
        let flags = packet.payload.first().copied().unwrap_or_default();
        // What FLV says of it (FLV 10.1 §E.4.2.1); of a fourCC it says nothing.
        let (rate, channels) = match codec {
            Codec::Id(_) => {
                ([5512, 11025, 22050, 44100][usize::from(flags >> 2 & 3)], 1 + (flags & 1))
            }
            _ => (0, 0),
        };
        Self { codec: name, rate, channels, profile: "" }
    }
}
