//! MPEG audio: the header of a frame (ISO/IEC 11172-3 §2.4.1.3, ISO/IEC 13818-3 §2.4.1.3, and the
//! extension to lower rates that is called MPEG 2.5).

use super::Error;

/// What the header of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// 1, 2 or 3.
    pub layer: u8,
    /// Samples a second.
    pub rate: u32,
    /// Kilobits a second.
    pub kbps: u32,
    /// One channel; else two.
    pub mono: bool,
    /// Bytes of the frame, the header with it.
    pub len: usize,
    /// Samples of the frame, of each channel.
    pub samples: u32,
}

/// Bytes of a header.
pub const HEADER: usize = 4;

impl Header {
    /// Reads the header at the front of `frame`. Frames of a free bit rate are not read.
    pub fn parse(frame: &[u8]) -> Result<Self, Error> {
        let &[sync, second, third, fourth] = match frame.first_chunk::<HEADER>() {
            Some(header) => header,
            None if frame.iter().zip([0xff, 0xe0]).all(|(&b, mask)| b & mask == mask) => {
                return Err(Error::Incomplete);
            }
            None => return Err(SYNC),
        };
        if sync != 0xff || second & 0xe0 != 0xe0 {
            return Err(SYNC);
        }
        // 0 is version 2.5, 2 version 2, 3 version 1.
        let version = second >> 3 & 3;
        let layer = 4 - (second >> 1 & 3);
        let (bit_rate, rate) = (usize::from(third >> 4), usize::from(third >> 2 & 3));
        if version == 1 || layer == 4 || bit_rate == 15 || rate == 3 || fourth & 3 == 2 {
            return Err(Error::Invalid("header of an MPEG audio frame"));
        }
        if bit_rate == 0 {
            return Err(Error::Unsupported("MPEG audio of a free bit rate"));
        }
        let table = match (version, layer) {
            (3, 1) => 0,
            (3, 2) => 1,
            (3, _) => 2,
            (_, 1) => 3,
            _ => 4,
        };
        let kbps = KBPS.get(table).and_then(|row| row.get(bit_rate - 1)).copied();
        let kbps = u32::from(kbps.ok_or(SYNC)?);
        let rate = RATES.get(rate).copied().ok_or(SYNC)? >> [2, 0, 1, 0][usize::from(version)];
        let padding = u32::from(third >> 1 & 1);
        let (samples, len) = match (layer, version) {
            (1, _) => (384, (12_000 * kbps / rate + padding) * 4),
            (3, 0 | 2) => (576, 72_000 * kbps / rate + padding),
            _ => (1152, 144_000 * kbps / rate + padding),
        };
        // 2881 bytes at most.
        let len = len as usize;
        Ok(Self { layer, rate, kbps, mono: fourth >> 6 == 3, len, samples })
    }

    /// The first byte of an FLV tag body with this frame (FLV 10.1 §E.4.2.1); `None` for layers
    /// that FLV has not. FLV knows three rates of MP3, and one more as a format of its own: the
    /// others get the one of their family, and players read the rate in the frame.
    pub const fn flags(&self) -> Option<u8> {
        if self.layer != 3 {
            return None;
        }
        let (format, rate) = match self.rate {
            8000 => (14, 0),
            32_000.. => (2, 3),
            16_000.. => (2, 2),
            _ => (2, 1),
        };
        Some(format << 4 | rate << 2 | 2 | if self.mono { 0 } else { 1 })
    }
}

const SYNC: Error = Error::Invalid("no MPEG audio frame where one is due");
const RATES: [u32; 3] = [44100, 48000, 32000];
/// Layers 1, 2, 3 of version 1; layer 1, layers 2 and 3 of the others.
const KBPS: [[u16; 14]; 5] = [
    [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    /// Header, layer, rate, kbit/s, mono, bytes, samples, flags.
    type Case = (&'static str, u8, u32, u32, bool, usize, u32, Option<u8>);

    const CASES: &[Case] = &[
        ("fffb9064", 3, 44100, 128, false, 417, 1152, Some(0x2f)),
        ("fffb9264", 3, 44100, 128, false, 418, 1152, Some(0x2f)),
        ("fffb94c4", 3, 48000, 128, true, 384, 1152, Some(0x2e)),
        ("fff380c4", 3, 22050, 64, true, 208, 576, Some(0x2a)),
        ("ffe340c4", 3, 11025, 32, true, 208, 576, Some(0x26)),
        ("ffe348c4", 3, 8000, 32, true, 288, 576, Some(0xe2)),
        ("fffd8404", 2, 48000, 128, false, 384, 1152, None),
        ("ffff1404", 1, 48000, 32, false, 32, 384, None),
    ];

    #[test]
    fn a_header_says_how_long_its_frame_is() {
        for &(bytes, layer, rate, kbps, mono, len, samples, flags) in CASES {
            let header = Header::parse(&hex(bytes)).expect(bytes);
            assert_eq!(header, Header { layer, rate, kbps, mono, len, samples }, "{bytes}");
            assert_eq!(header.flags(), flags, "{bytes}");
            for end in 0..HEADER {
                assert_eq!(Header::parse(&hex(bytes)[..end]), Err(Error::Incomplete), "{bytes}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for bytes in ["00", "ff00", "fffb9c64", "fffbf064", "ffeb9064", "fff99064", "fffb9066"] {
            assert!(matches!(Header::parse(&hex(bytes)), Err(Error::Invalid(_))), "{bytes}");
        }
        assert!(matches!(Header::parse(&hex("fffb0064")), Err(Error::Unsupported(_))));
        for (bytes, ..) in CASES {
            mutations(&hex(bytes), |changed| {
                if let Ok(header) = Header::parse(changed) {
                    assert!((HEADER..3000).contains(&header.len), "{header:?}");
                }
            });
        }
    }
}
