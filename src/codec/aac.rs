//! AAC: AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1).

use super::{Error, bits::Bits};

/// What the server needs to know of an AAC stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The audio object type of the core stream: 1 Main, 2 LC, 3 SSR, 4 LTP, …; what an ADTS
    /// header must state.
    pub object: u8,
    /// The sampling rate of the core stream in Hz; half of what is heard with SBR.
    pub core_rate: u32,
    /// `channelConfiguration` of the core stream, 0 to 15; 0 when the stream states it elsewhere.
    pub channel_config: u8,
    /// The sampling rate after spectral band replication (HE-AAC), where that is signalled.
    pub sbr_rate: Option<u32>,
    /// Parametric stereo (HE-AAC v2) is signalled.
    pub ps: bool,
}

impl Config {
    /// Reads an AudioSpecificConfig. What follows it is not looked at.
    pub fn parse(config: &[u8]) -> Result<Self, Error> {
        let mut bits = Bits::new(config);
        let mut config = Self::head(&mut bits)?;
        if config.sbr_rate.is_none() {
            // The extension is optional: where it ends too early there is none.
            config.extension(&mut bits).ok();
        }
        Ok(config)
    }

    /// Reads one that does not say how long it is, to its last bit, and the samples of a frame. Only
    /// AAC Main, LC, SSR and LTP whose channels are stated here.
    pub(super) fn take(bits: &mut Bits<'_>) -> Result<(Self, u16), Error> {
        let mut config = Self::head(bits)?;
        if !matches!(config.object, 1..=4) || config.channel_config == 0 {
            return Err(Error::Unsupported("AAC of this object type"));
        }
        let samples = if bits.bit()? { 960 } else { 1024 };
        if bits.bit()? {
            bits.skip(14)?; // coreCoderDelay
        }
        if bits.bit()? {
            bits.skip(1)?; // extensionFlag3
        }
        let mut behind = bits.clone();
        if config.sbr_rate.is_none() && config.sync_extension(&mut behind).is_ok_and(|there| there)
        {
            *bits = behind;
        }
        Ok((config, samples))
    }

    fn head(bits: &mut Bits<'_>) -> Result<Self, Error> {
        let mut object = object_type(bits)?;
        let core_rate = rate(bits)?;
        let channel_config = bits.bits(4)? as u8;
        let mut sbr_rate = None;
        let mut ps = false;
        if matches!(object, 5 | 29) {
            ps = object == 29;
            sbr_rate = Some(rate(bits)?);
            object = object_type(bits)?;
        }
        if object == 0 {
            return Err(Error::Invalid("AAC object type 0"));
        }
        Ok(Self { object, core_rate, channel_config, sbr_rate, ps })
    }

    /// SBR and PS in the way that older decoders pass over (§1.6.6.1, `syncExtensionType`).
    fn extension(&mut self, bits: &mut Bits) -> Result<(), Error> {
        if !matches!(self.object, 1..=4) || self.channel_config == 0 {
            return Ok(());
        }
        bits.bit()?; // frameLengthFlag
        if bits.bit()? {
            bits.skip(14)?; // coreCoderDelay
        }
        bits.bit()?; // extensionFlag
        self.sync_extension(bits)?;
        Ok(())
    }

    /// Whether it is there. It ends where it does without PS; nothing else begins with these bits.
    fn sync_extension(&mut self, bits: &mut Bits) -> Result<bool, Error> {
        if bits.bits(11)? != 0x2b7 || object_type(bits)? != 5 {
            return Ok(false);
        }
        if bits.bit()? {
            self.sbr_rate = Some(rate(bits)?);
            let mut behind = bits.clone();
            if behind.bits(11).is_ok_and(|word| word == 0x548) {
                self.ps = behind.bit()?;
                *bits = behind;
            }
        }
        Ok(true)
    }

    /// The sampling rate that is heard, in Hz.
    pub fn rate(&self) -> u32 {
        self.sbr_rate.unwrap_or(self.core_rate)
    }

    /// The channels that are heard; 0 when the stream states them elsewhere.
    pub const fn channels(&self) -> u8 {
        match self.channel_config {
            1 if self.ps => 2,
            n @ 0..=6 => n,
            7 | 12 | 14 => 8,
            11 => 7,
            13 => 24,
            _ => 0,
        }
    }

    /// The name of the profile.
    pub const fn profile_name(&self) -> &'static str {
        match (self.object, self.sbr_rate) {
            (_, Some(_)) if self.ps => "HEv2",
            (_, Some(_)) => "HE",
            (1, _) => "Main",
            (2, _) => "LC",
            (3, _) => "SSR",
            (4, _) => "LTP",
            (23, _) => "LD",
            (39, _) => "ELD",
            _ => "Other",
        }
    }
}

fn object_type(bits: &mut Bits) -> Result<u8, Error> {
    match bits.bits(5)? as u8 {
        31 => Ok(32 + bits.bits(6)? as u8),
        object => Ok(object),
    }
}

fn rate(bits: &mut Bits) -> Result<u32, Error> {
    match bits.bits(4)? {
        15 => bits.bits(24),
        index => {
            RATES.get(index as usize).copied().ok_or(Error::Invalid("AAC sampling rate index"))
        }
    }
}

/// ISO/IEC 14496-3 table 1.18.
const RATES: [u32; 13] =
    [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    /// Name, bytes, how many of them are needed, profile, rate, channels, core rate.
    type Case = (&'static str, &'static str, usize, &'static str, u32, u8, u32);

    const CASES: &[Case] = &[
        ("ffmpeg, stereo", "121056e500", 2, "LC", 44100, 2, 44100),
        ("ffmpeg, mono", "118856e500", 2, "LC", 48000, 1, 48000),
        ("ffmpeg, 7.1", "11b856e500", 2, "LC", 48000, 8, 48000),
        ("ffmpeg, main", "0b9056e500", 2, "Main", 22050, 2, 22050),
        ("two bytes", "1390", 2, "LC", 22050, 2, 22050),
        ("he, explicit", "2b920800", 3, "HE", 44100, 2, 22050),
        ("he v2, explicit", "eb8a0800", 3, "HEv2", 44100, 2, 22050),
        ("he, backward compatible", "139056e5a0", 2, "HE", 44100, 2, 22050),
        ("he v2, backward compatible", "138856e5a54880", 2, "HEv2", 44100, 2, 22050),
        ("rate in full", "1780560090", 5, "LC", 44033, 2, 44033),
        ("eld", "f8e85000", 3, "ELD", 44100, 2, 44100),
    ];

    #[test]
    fn a_config_says_profile_rate_and_channels() {
        for &(name, bytes, _, profile, rate, channels, core_rate) in CASES {
            let config = Config::parse(&hex(bytes)).expect(name);
            assert_eq!(config.profile_name(), profile, "{name}");
            assert_eq!((config.rate(), config.channels()), (rate, channels), "{name}");
            assert_eq!(config.core_rate, core_rate, "{name}");
        }
    }

    #[test]
    fn a_config_cut_off_is_incomplete() {
        for &(name, bytes, need, ..) in CASES {
            let bytes = hex(bytes);
            for len in 0..bytes.len() {
                let read = Config::parse(&bytes[..len]);
                assert_eq!(read == Err(Error::Incomplete), len < need, "{name} {len} {read:?}");
            }
        }
    }

    #[test]
    fn a_mutated_config_is_read_or_refused() {
        for &(_, bytes, ..) in CASES {
            mutations(&hex(bytes), |changed| {
                if let Ok(config) = Config::parse(changed) {
                    assert!(config.rate() < 1 << 24 && config.channels() <= 24);
                }
            });
        }
    }

    #[test]
    fn wrong_configs_say_what_is_wrong() {
        assert_eq!(Config::parse(&[0, 0]), Err(Error::Invalid("AAC object type 0")));
        assert_eq!(Config::parse(&[0x16, 0x90]), Err(Error::Invalid("AAC sampling rate index")));
    }
}
