//! AAC in the form of LATM: StreamMuxConfig (ISO/IEC 14496-3 §1.7.3). Of all that it can say, what
//! senders of RTP say: one program of one layer, frames of AAC that state their length.

use super::{Error, aac, bits::Bits};
use crate::limits::LATM_CONFIG;

/// How frames stand in an AudioMuxElement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mux {
    /// Frames of an element, 1 to 64.
    pub frames: u8,
    /// Samples of a frame, 960 or 1024.
    pub samples: u16,
    /// The sampling rate of the core stream in Hz, more than 0.
    pub core_rate: u32,
}

/// Reads a StreamMuxConfig to its last bit: how elements are laid out, and the AudioSpecificConfig
/// of the frames.
pub fn stream_mux_config(bits: &mut Bits<'_>) -> Result<(Mux, Vec<u8>), Error> {
    let (version, mux, config) = head(bits)?;
    tail(bits, version)?;
    Ok((mux, config))
}

/// The same of one that stands alone, in an SDP. GStreamer ends it behind the AudioSpecificConfig.
pub fn config(bytes: &[u8]) -> Result<(Mux, Vec<u8>), Error> {
    let mut bits = Bits::new(bytes);
    let (version, mux, config) = head(&mut bits)?;
    match tail(&mut bits, version) {
        Ok(()) | Err(Error::Incomplete) => Ok((mux, config)),
        Err(error) => Err(error),
    }
}

/// To the end of the AudioSpecificConfig; with whether it is version 1.
fn head(bits: &mut Bits<'_>) -> Result<(bool, Mux, Vec<u8>), Error> {
    let version = bits.bit()?;
    if version {
        if bits.bit()? {
            return Err(Error::Unsupported("audioMuxVersionA 1"));
        }
        value(bits)?; // taraBufferFullness
    }
    let same_time = bits.bit()?;
    let frames = bits.bits(6)? as u8 + 1;
    let (programs, layers) = (bits.bits(4)?, bits.bits(3)?);
    if !same_time || programs > 0 || layers > 0 {
        return Err(Error::Unsupported("LATM of several streams"));
    }
    let stated = if version { Some(value(bits)?) } else { None };
    let mut inner = bits.clone();
    let (config, samples) = aac::Config::take(&mut inner)?;
    let len = match stated {
        Some(len) => usize::try_from(len).unwrap_or(usize::MAX),
        None => bits.left().saturating_sub(inner.left()),
    };
    if len > bits.left() {
        return Err(Error::Incomplete);
    }
    if len > LATM_CONFIG * 8 {
        return Err(Error::Unsupported("AudioSpecificConfig longer than limit latm_config"));
    }
    let specific = copy(bits, len)?;
    if config.core_rate == 0 {
        return Err(Error::Invalid("AAC sampling rate 0"));
    }
    Ok((version, Mux { frames, samples, core_rate: config.core_rate }, specific))
}

/// What follows the AudioSpecificConfig.
fn tail(bits: &mut Bits<'_>, version: bool) -> Result<(), Error> {
    if bits.bits(3)? != 0 {
        return Err(Error::Unsupported("LATM frames of a fixed length"));
    }
    bits.skip(8)?; // latmBufferFullness
    // Other data stand behind the frames of an element, where nobody looks.
    if bits.bit()? {
        if version {
            value(bits)?;
        } else {
            while bits.bits(9)? & 0x100 != 0 {}
        }
    }
    if bits.bit()? {
        bits.skip(8)?; // crcCheckSum
    }
    Ok(())
}

/// LatmGetValue.
fn value(bits: &mut Bits<'_>) -> Result<u32, Error> {
    let bytes = bits.bits(2)? + 1;
    bits.bits(8 * bytes)
}

/// The next `len` bits as bytes, with zeros behind the last one.
fn copy(bits: &mut Bits<'_>, len: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut left = len;
    while left > 0 {
        let n = left.min(8) as u32;
        bytes.push((bits.bits(n)? << (8 - n)) as u8);
        left -= left.min(8);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    /// Name, bytes, bits of them, frames, samples, core rate, AudioSpecificConfig.
    type Case = (&'static str, &'static str, usize, u8, u16, u32, &'static str);

    const CASES: &[Case] = &[
        ("live555", "400023203fc0", 44, 1, 1024, 48000, "1190"),
        ("GStreamer", "400024203fc0", 44, 1, 1024, 44100, "1210"),
        ("two frames an element", "410024203fc0", 44, 2, 1024, 44100, "1210"),
        ("the extension in version 0", "40002420adca1fe0", 61, 1, 1024, 44100, "121056e500"),
        ("frames of 960 samples", "400024283fc0", 44, 1, 960, 44100, "1214"),
        ("he, explicit", "40005724101fe0", 53, 1, 1024, 22050, "2b920800"),
        ("other data and a checksum", "400024203fe10ad0", 61, 1, 1024, 44100, "1210"),
        ("version 1, other data, a checksum", "8ff80001012101ff042b40", 83, 1, 1024, 44100, "1210"),
        (
            "version 1, he for older decoders",
            "8ff800025139056e5a0ff0",
            86,
            1,
            1024,
            22050,
            "139056e5a0",
        ),
    ];

    fn digits(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn a_config_is_read_to_its_last_bit() {
        for &(name, bytes, len, frames, samples, core_rate, specific) in CASES {
            let bytes = hex(bytes);
            let mut bits = Bits::new(&bytes);
            let (mux, config) = stream_mux_config(&mut bits).expect(name);
            assert_eq!(mux, Mux { frames, samples, core_rate }, "{name}");
            assert_eq!(digits(&config), specific, "{name}");
            assert_eq!(bytes.len() * 8 - bits.left(), len, "{name}");
            for short in 0..len.div_ceil(8) {
                let read = stream_mux_config(&mut Bits::new(&bytes[..short]));
                // The begin of the extension looks like something else.
                assert!(read.is_err(), "{name} {short}");
            }
            mutations(&bytes, |changed| {
                if let Ok((mux, config)) = stream_mux_config(&mut Bits::new(changed)) {
                    assert!(mux.core_rate > 0 && mux.frames <= 64);
                    assert!(config.len() <= changed.len());
                }
            });
        }
    }

    #[test]
    fn the_config_of_an_sdp_may_end_behind_that_of_the_frames() {
        let mux = Mux { frames: 1, samples: 1024, core_rate: 44100 };
        for (bytes, specific) in [
            ("40002420adca00", "121056e500"),
            ("400024203fc0", "1210"),
            ("40002420", "1210"),
            // HE-AAC in the way that older decoders pass over, with and without PS.
            ("40002720adcb40", "139056e5a0"),
            ("40002710adcb4a9100", "138856e5a54880"),
        ] {
            let (read, config) = config(&hex(bytes)).expect(bytes);
            assert_eq!(digits(&config), specific, "{bytes}");
            assert!(read == mux || read.core_rate == 22050, "{bytes}: {read:?}");
        }
        assert!(config(&hex("400024")).is_err());
    }

    #[test]
    fn what_is_not_read_is_refused() {
        for (what, bytes) in [
            ("audioMuxVersionA", "c000000000000000"),
            ("two programs", "401024203fc00000"),
            ("two layers", "400224203fc00000"),
            ("each at its own time", "000024203fc00000"),
            ("channels in the stream", "400024003fc00000"),
            ("frames of a fixed length", "4000242042ff0000"),
            ("TwinVQ", "400074203fc00000"),
        ] {
            let read = stream_mux_config(&mut Bits::new(&hex(bytes)));
            assert!(matches!(read, Err(Error::Unsupported(_))), "{what}: {read:?}");
        }
    }
}
