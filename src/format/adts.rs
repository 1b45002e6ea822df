//! ADTS, the header in front of each AAC frame where the container has none of its own
//! (ISO/IEC 13818-7 §6.2).

use super::Error;
use crate::codec::aac::Config;

/// Bytes of a header.
pub const HEADER: usize = 7;

/// The longest frame: 13 bits count it, with its header.
pub const FRAME_MAX: usize = 0x1fff - HEADER;

/// Makes the headers of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adts {
    profile: u8,
    rate: u8,
    channels: u8,
}

impl Adts {
    /// For frames of a stream with `config`. With SBR the header states the core stream, and the
    /// decoder finds the rest. [`Error::Unsupported`] for more channels than a header can state.
    pub fn new(config: &Config) -> Result<Self, Error> {
        if config.channel_config > 7 {
            return Err(Error::Unsupported("AAC channel configuration above 7 in ADTS"));
        }
        let profile = match config.object {
            1 => 0,
            3 => 2,
            _ => 1,
        };
        // A rate that has no index of its own is decoded with the tables of the nearest one.
        let nearest = (0..13_u8).zip(RATES).min_by_key(|(_, rate)| rate.abs_diff(config.core_rate));
        let rate = nearest.map_or(4, |(index, _)| index);
        Ok(Self { profile, rate, channels: config.channel_config })
    }

    /// The header of a frame of `len` bytes; `None` when it is longer than [`FRAME_MAX`]. MPEG-2,
    /// no CRC, buffer fullness not stated, one raw data block.
    pub fn header(&self, len: usize) -> Option<[u8; HEADER]> {
        let len = u16::try_from(len).ok().filter(|len| usize::from(*len) <= FRAME_MAX)?;
        let [high, low] = (len + HEADER as u16).to_be_bytes();
        Some([
            0xff,
            0xf9,
            self.profile << 6 | self.rate << 2 | self.channels >> 2,
            self.channels << 6 | high >> 3,
            high << 5 | low >> 3,
            low << 5 | 0x1f,
            0xfc,
        ])
    }
}

/// ISO/IEC 13818-7 table 35, with the rate that MPEG-4 added.
const RATES: [u32; 13] =
    [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::hex;

    /// AudioSpecificConfig, length of a frame, header.
    const CASES: &[(&str, usize, &str)] = &[
        ("1210", 100, "fff950800d7ffc"),
        ("1188", 0, "fff94c4000fffc"),
        ("2b920800", FRAME_MAX, "fff95c83fffffc"),
        ("1780560090", 1, "fff95080011ffc"),
        ("11b8", 257, "fff94dc0211ffc"),
    ];

    #[test]
    fn a_header_states_profile_rate_channels_and_length() {
        for &(config, len, want) in CASES {
            let adts = Adts::new(&Config::parse(&hex(config)).unwrap()).unwrap();
            assert_eq!(adts.header(len).unwrap()[..], hex(want), "{config} {len}");
        }
    }

    #[test]
    fn what_a_header_cannot_state_is_refused() {
        let adts = Adts::new(&Config::parse(&[0x12, 0x10]).unwrap()).unwrap();
        assert_eq!(adts.header(FRAME_MAX + 1), None);
        assert_eq!(adts.header(1 << 17), None);
        // Channel configuration 12, 7.1 with front height.
        let seven = Config::parse(&[0x11, 0xe0]).unwrap();
        assert!(matches!(Adts::new(&seven), Err(Error::Unsupported(_))));
    }
}
