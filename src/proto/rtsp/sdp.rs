//! SDP (RFC 4566) as RTSP uses it (RFC 2326 §C): which tracks there are, and what decoders must
//! know before the first packet.
//!
//! Cameras and encoders take liberties; what can be understood is. What cannot is left out with a
//! [`Note`], and the other tracks go on.

use super::base64;
use super::url::resolve;
use crate::codec::{aac, latm};
use crate::limits::{HEADER_MAX, RTSP_TRACKS};
use crate::proto::rtp::{Format, Payload};
use std::fmt;

/// `m=` lines that are looked at; more are no stream of anybody, and would fill the log.
const NOTED: usize = 4 * RTSP_TRACKS;

/// What a session is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// `s=`, as it came.
    pub name: String,
    /// The control of the session as a whole, as it came.
    pub control: Option<String>,
    /// The tracks that can be received, in their order.
    pub tracks: Vec<Track>,
    /// What was left out, for the log.
    pub notes: Vec<Note>,
}

/// One track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// What its packets are.
    pub format: Format,
    /// What decoders must know, as far as it is said.
    pub parameters: Parameters,
    /// Its control, as it came; empty for none.
    pub control: String,
}

/// What decoders must know before the first packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameters {
    /// The parameter sets of H.264 or H.265, NAL units without start codes, in the order in which
    /// they are said. Empty when they come with the stream.
    Sets(Vec<Vec<u8>>),
    /// The AudioSpecificConfig of AAC. Empty when it comes with the stream.
    Aac(Vec<u8>),
}

/// Something that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Which `m=` line, 0 for the first one.
    pub media: usize,
    /// What it is.
    pub what: Left,
}

/// Why something was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Left {
    /// A media type that is neither audio nor video.
    Media(String),
    /// A profile other than RTP/AVP, SRTP say.
    Profile(String),
    /// A codec, by its name in `rtpmap`.
    Codec(String),
    /// A payload type that nothing is said of.
    PayloadType(String),
    /// AAC in another mode than hbr and lbr, or with fields that are not read.
    AacMode(String),
    /// An AudioSpecificConfig that cannot be read.
    AacConfig,
    /// Interleaved packets: `packetization-mode=2`, `sprop-max-don-diff`.
    Interleaved,
    /// A parameter set that cannot be read; the track is there.
    ParameterSet,
    /// More tracks than [`RTSP_TRACKS`].
    Many,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "track {} of the SDP: ", self.media)?;
        match &self.what {
            Left::Media(name) => write!(f, "m={name} is ignored"),
            Left::Profile(name) => write!(f, "{name} is not supported, only RTP/AVP"),
            Left::Codec(name) => write!(f, "codec {name} is not supported, ignored"),
            Left::PayloadType(number) => write!(f, "payload type {number} is unknown, ignored"),
            Left::AacMode(mode) => write!(f, "AAC mode {mode} is not supported, ignored"),
            Left::AacConfig => f.write_str("AAC config cannot be read, ignored"),
            Left::Interleaved => f.write_str("interleaved NAL units are not supported, ignored"),
            Left::ParameterSet => f.write_str("parameter sets cannot be read, left out"),
            Left::Many => write!(f, "more than {RTSP_TRACKS} tracks, ignored"),
        }
    }
}

impl Session {
    /// Reads an SDP. What is not known is passed over, so this cannot fail; a session without
    /// tracks is of no use.
    pub fn parse(text: &str) -> Self {
        let mut session = Self::default();
        let mut media: Vec<Media<'_>> = Vec::new();
        for line in text.lines() {
            let Some((kind, value)) = line.trim_end().split_once('=') else { continue };
            match (kind.trim(), media.last_mut()) {
                ("m", _) => media.push(Media::new(value)),
                ("s", None) => session.name = value.to_owned(),
                ("a", Some(media)) => media.attributes.push(value),
                ("a", None) => {
                    if let Some(control) = attribute(value, "control") {
                        session.control = Some(control.to_owned());
                    }
                }
                _ => {}
            }
        }
        for (index, media) in media.iter().enumerate().take(NOTED) {
            let mut note = |what| session.notes.push(Note { media: index, what });
            match media.track(&mut note) {
                Ok(_) if session.tracks.len() >= RTSP_TRACKS => note(Left::Many),
                Ok(track) => session.tracks.push(track),
                Err(what) => note(what),
            }
        }
        session
    }

    /// The url of the session as a whole, described at `base`.
    pub fn url(&self, base: &str) -> String {
        resolve(base, self.control.as_deref().unwrap_or("*"))
    }

    /// The url of a track, described at `base`.
    pub fn track_url(&self, track: &Track, base: &str) -> String {
        resolve(base, &track.control)
    }
}

/// An `m=` line and the attributes behind it.
struct Media<'a> {
    line: &'a str,
    attributes: Vec<&'a str>,
}

impl<'a> Media<'a> {
    const fn new(line: &'a str) -> Self {
        Self { line, attributes: Vec::new() }
    }

    fn track(&self, note: &mut impl FnMut(Left)) -> Result<Track, Left> {
        let mut words = self.line.split_ascii_whitespace();
        let (kind, _port) = (words.next().unwrap_or_default(), words.next());
        let profile = words.next().unwrap_or_default();
        if !matches!(kind, "video" | "audio") {
            return Err(Left::Media(kind.to_owned()));
        }
        if !profile.to_ascii_uppercase().starts_with("RTP/AVP") {
            return Err(Left::Profile(profile.to_owned()));
        }
        let control = self.attributes.iter().find_map(|a| attribute(a, "control"));
        let mut left = Left::PayloadType(String::new());
        for number in words {
            match self.payload(kind, number, note) {
                Ok((format, parameters)) => {
                    let control = control.unwrap_or_default().to_owned();
                    return Ok(Track { format, parameters, control });
                }
                Err(what) => left = what,
            }
        }
        Err(left)
    }

    /// What the payload type `number` is.
    fn payload(
        &self,
        kind: &str,
        number: &str,
        note: &mut impl FnMut(Left),
    ) -> Result<(Format, Parameters), Left> {
        let unknown = || Left::PayloadType(number.to_owned());
        let payload_type: u8 = number.parse().ok().filter(|&n| n < 128).ok_or_else(unknown)?;
        let of_this = |name| {
            self.attributes.iter().filter_map(move |a| attribute(a, name)).find_map(|value| {
                let (n, rest) = value.split_once([' ', '\t'])?;
                (n == number).then(|| rest.trim())
            })
        };
        let fmtp = Fmtp(of_this("fmtp").unwrap_or_default());
        let map =
            of_this("rtpmap").map(str::to_owned).or_else(|| assumed(kind, payload_type, &fmtp));
        let map = map.ok_or_else(unknown)?;
        let mut parts = map.split('/').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let rate = parts.next().and_then(|rate| rate.parse::<u32>().ok()).filter(|&rate| rate > 0);
        let channels = parts.next().and_then(|n| n.parse::<u8>().ok()).unwrap_or(1);
        let (payload, clock_rate, parameters) = match name.to_ascii_uppercase().as_str() {
            "H264" => {
                if fmtp.get("packetization-mode") == Some("2") {
                    return Err(Left::Interleaved);
                }
                let sets = fmtp.sets(&["sprop-parameter-sets"], |set| {
                    set.first().is_some_and(|first| matches!(first & 0x9f, 7 | 8))
                });
                (Payload::H264, rate.unwrap_or(90_000), noted(sets, note))
            }
            "H265" | "HEVC" => {
                let apart = |name| fmtp.get(name).is_some_and(|diff| diff != "0");
                if apart("sprop-max-don-diff") || apart("sprop-depack-buf-nalus") {
                    return Err(Left::Interleaved);
                }
                let names = ["sprop-vps", "sprop-sps", "sprop-pps"];
                let sets = fmtp.sets(&names, |set| {
                    set.first().is_some_and(|first| matches!(first >> 1, 32..=34))
                });
                (Payload::Hevc, rate.unwrap_or(90_000), noted(sets, note))
            }
            "MPEG4-GENERIC" => {
                let (payload, rate, config) = aac(&fmtp, rate, channels)?;
                (payload, rate, Parameters::Aac(config))
            }
            "MP4A-LATM" => {
                let (payload, rate, config) = latm(&fmtp, rate)?;
                (payload, rate, Parameters::Aac(config))
            }
            _ => return Err(Left::Codec(name.to_owned())),
        };
        Ok((Format { payload, payload_type, clock_rate }, parameters))
    }
}

fn noted((sets, whole): (Vec<Vec<u8>>, bool), note: &mut impl FnMut(Left)) -> Parameters {
    if !whole {
        note(Left::ParameterSet);
    }
    Parameters::Sets(sets)
}

/// The `rtpmap` of a payload type that has none: those of RFC 3551 §6, for their names in notes,
/// and what the parameters give away.
fn assumed(kind: &str, payload_type: u8, fmtp: &Fmtp<'_>) -> Option<String> {
    let map = match payload_type {
        0 => "PCMU/8000",
        3 => "GSM/8000",
        4 => "G723/8000",
        5 | 6 => "DVI4/8000",
        8 => "PCMA/8000",
        9 => "G722/8000",
        10 | 11 => "L16/44100",
        14 => "MPA/90000",
        26 => "JPEG/90000",
        32 => "MPV/90000",
        33 => "MP2T/90000",
        96.. if kind == "video" && fmtp.get("sprop-parameter-sets").is_some() => "H264/90000",
        96.. if kind == "video" && fmtp.get("sprop-sps").is_some() => "H265/90000",
        96.. if kind == "audio" && fmtp.get("sizelength").is_some() => "MPEG4-GENERIC",
        _ => return None,
    };
    Some(map.to_owned())
}

/// The parameters of AAC (RFC 3640 §4.1).
fn aac(fmtp: &Fmtp<'_>, rate: Option<u32>, channels: u8) -> Result<(Payload, u32, Vec<u8>), Left> {
    let mode = fmtp.get("mode").unwrap_or("AAC-hbr");
    let lengths = match mode.to_ascii_uppercase().as_str() {
        "AAC-HBR" => [13, 3, 3],
        "AAC-LBR" => [6, 2, 2],
        _ => return Err(Left::AacMode(mode.to_owned())),
    };
    for name in [
        "ctsdeltalength",
        "dtsdeltalength",
        "randomaccessindication",
        "streamstateindication",
        "auxiliarydatasizelength",
    ] {
        if fmtp.get(name).is_some_and(|bits| bits != "0") {
            return Err(Left::AacMode(format!("{mode} with {name}")));
        }
    }
    let names = ["sizelength", "indexlength", "indexdeltalength"];
    let mut lengths = lengths.into_iter().zip(names).map(|(usual, name)| match fmtp.get(name) {
        None | Some("") => Some(usual),
        Some(bits) => bits.parse::<u8>().ok().filter(|&bits| bits <= 16),
    });
    let mut length = || lengths.next().flatten();
    let (Some(size_length @ 1..), Some(index_length), Some(index_delta_length)) =
        (length(), length(), length())
    else {
        return Err(Left::AacMode(format!("{mode} with these lengths")));
    };
    let config = match fmtp.get("config").map(|text| text.trim_matches('"')) {
        Some(text) if !text.is_empty() => unhex(text),
        // AAC-LC, from what the map says.
        _ => rate.and_then(|rate| low_complexity(rate, channels)),
    };
    let config = config.filter(|config| config.len() <= HEADER_MAX / 2).ok_or(Left::AacConfig)?;
    let read = aac::Config::parse(&config).map_err(|_| Left::AacConfig)?;
    if read.core_rate == 0 {
        return Err(Left::AacConfig);
    }
    let clock_rate = rate.unwrap_or(read.core_rate);
    // 1024 samples; a clock of the rate with SBR has two ticks a sample.
    let frame_ticks = u64::from(clock_rate) * 1024 / u64::from(read.core_rate);
    let frame_ticks = u32::try_from(frame_ticks).map_err(|_| Left::AacConfig)?;
    let payload = Payload::Aac { size_length, index_length, index_delta_length, frame_ticks };
    Ok((payload, clock_rate, config))
}

/// The parameters of AAC as LATM (RFC 6416 §7.3). Where packets say how they are to be read, the
/// SDP need not.
fn latm(fmtp: &Fmtp<'_>, rate: Option<u32>) -> Result<(Payload, u32, Vec<u8>), Left> {
    let in_band = fmtp.get("cpresent") != Some("0");
    let said = fmtp.get("config").and_then(|text| unhex(text.trim_matches('"')));
    let said = said.and_then(|bytes| latm::config(&bytes).ok());
    let (mux, config) = match said {
        Some((mux, config)) => (Some(mux), config),
        None if in_band => (None, Vec::new()),
        None => return Err(Left::AacConfig),
    };
    let clock_rate = rate.or(mux.map(|mux| mux.core_rate)).ok_or(Left::AacConfig)?;
    Ok((Payload::Latm { in_band, mux }, clock_rate, config))
}

/// The AudioSpecificConfig of AAC-LC (ISO/IEC 14496-3 §1.6.2.1).
fn low_complexity(rate: u32, channels: u8) -> Option<Vec<u8>> {
    const RATES: [u32; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025,
        8_000, 7_350,
    ];
    let index = RATES.iter().position(|known| *known == rate)?;
    let index = u16::try_from(index).ok()?;
    let bits = 2 << 11 | index << 7 | u16::from(channels & 15) << 3;
    Some(bits.to_be_bytes().to_vec())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<_>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    // Two digits make a byte; an odd one ends it, with zeros behind.
    let last = rest.first().map(|high| high << 4);
    Some(pairs.iter().map(|[high, low]| high << 4 | low).chain(last).map(|b| b as u8).collect())
}

/// The value of the attribute `name`.
fn attribute<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = line.split_once(':')?;
    found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
}

/// Format parameters: `name=value`, with semicolons between.
struct Fmtp<'a>(&'a str);

impl<'a> Fmtp<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.split(';').find_map(|pair| {
            let (found, value) = pair.split_once('=')?;
            found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The parameter sets under `names`; false when one of them is broken.
    fn sets(&self, names: &[&str], right: impl Fn(&[u8]) -> bool) -> (Vec<Vec<u8>>, bool) {
        let (mut sets, mut whole, mut bytes) = (Vec::new(), true, 0);
        for text in names.iter().filter_map(|name| self.get(name)).flat_map(|list| list.split(','))
        {
            if text.trim().is_empty() {
                continue;
            }
            let set = base64::decode(text.trim().trim_matches('"'));
            let set = set.map(|set| without_start_code(&set).to_vec());
            match set.filter(|set| right(set) && bytes + set.len() <= HEADER_MAX / 2) {
                Some(set) => {
                    bytes += set.len();
                    sets.push(set);
                }
                None => whole = false,
            }
        }
        (sets, whole)
    }
}

/// Some cameras leave a start code before a set, or zeros behind it.
fn without_start_code(set: &[u8]) -> &[u8] {
    let zeros = set.iter().take_while(|&&byte| byte == 0).count();
    let set = match set.get(zeros..) {
        Some([1, unit @ ..]) if zeros >= 2 => unit,
        _ => set,
    };
    let end = set.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    set.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
