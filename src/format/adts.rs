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

/// What the header of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The audio object type: 1 Main, 2 LC, 3 SSR, 4 LTP.
    pub object: u8,
    /// Samples a second.
    pub rate: u32,
    /// `channelConfiguration`, 0 when the frames state the channels.
    pub channels: u8,
    /// Bytes of the header, with the CRC if there is one.
    pub header: usize,
    /// Bytes of the frame, the header with it.
    pub len: usize,
    /// Raw data blocks: 1 where a frame is what others take for one.
    pub blocks: u8,
    rate_index: u8,
}

impl Frame {
    /// The AudioSpecificConfig of a stream of such frames; `None` when the channels are stated
    /// in the frames only.
    pub const fn config(&self) -> Option<[u8; 2]> {
        if self.channels == 0 {
            return None;
        }
        let Self { object, rate_index, channels, .. } = *self;
        Some([object << 3 | rate_index >> 1, rate_index << 7 | channels << 3])
    }
}

/// Reads the header at the front of `bytes`. With [`Error::Incomplete`] all that is there is fine.
pub fn read(bytes: &[u8]) -> Result<Frame, Error> {
    // Twelve bits of sync, then the layer, which is 0.
    if bytes
        .iter()
        .zip([(0xff, 0xff), (0xf6, 0xf0)])
        .any(|(&byte, (mask, want))| byte & mask != want)
    {
        return Err(Error::Invalid("no ADTS header where one is due"));
    }
    let &[_, second, third, fourth, fifth, sixth, seventh] =
        bytes.first_chunk::<HEADER>().ok_or(Error::Incomplete)?;
    let rate_index = third >> 2 & 15;
    let rate = RATES.get(usize::from(rate_index)).copied();
    let rate = rate.ok_or(Error::Invalid("ADTS sampling rate index"))?;
    let header = if second & 1 == 0 { HEADER + 2 } else { HEADER };
    let len = usize::from(fourth & 3) << 11 | usize::from(fifth) << 3 | usize::from(sixth >> 5);
    if len <= header {
        return Err(Error::Invalid("ADTS frame length"));
    }
    Ok(Frame {
        object: (third >> 6) + 1,
        rate,
        channels: (third & 1) << 2 | fourth >> 6,
        header,
        len,
        blocks: (seventh & 3) + 1,
        rate_index,
    })
}

/// ISO/IEC 13818-7 table 35, with the rate that MPEG-4 added.
const RATES: [u32; 13] =
    [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{hex, mutations};

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
    fn a_header_is_read_as_it_was_written() {
        for &(config, len, header) in CASES.iter().filter(|case| case.1 > 0) {
            let parsed = Config::parse(&hex(config)).unwrap();
            let header = hex(header);
            let frame = read(&header).unwrap();
            assert_eq!((frame.header, frame.len - HEADER, frame.blocks), (HEADER, len, 1));
            let again = Config::parse(&frame.config().unwrap()).unwrap();
            assert_eq!(again.channel_config, parsed.channel_config, "{config}");
            assert!(again.core_rate.abs_diff(parsed.core_rate) < 100, "{config}");
            for end in 0..HEADER {
                assert_eq!(read(&header[..end]), Err(Error::Incomplete), "{config} {end}");
            }
            mutations(&header, |changed| {
                assert!(
                    read(changed).is_ok_and(|frame| frame.len > frame.header)
                        || read(changed).is_err()
                );
            });
        }
        for wrong in ["00", "ffe0", "fffb", "fff97480 0d7ffc", "fff95080 00fffc"] {
            assert!(matches!(read(&hex(wrong)), Err(Error::Invalid(_))), "{wrong}");
        }
        let with_crc = read(&hex("fff850800d7ffc")).unwrap();
        assert_eq!(with_crc.header, HEADER + 2);
        assert_eq!(read(&hex("fff950000d7ffc")).unwrap().config(), None, "channels in the frames");
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
