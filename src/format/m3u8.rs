//! HLS media playlists (RFC 8216) of live streams.

use super::Error;
use super::playlist::{NUMBER, millis, number};
use std::fmt::Write;

/// A media playlist. Live: it has no end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Playlist {
    /// Whole seconds that no segment is longer than, its duration rounded.
    pub target: u32,
    /// The number of the first segment.
    pub sequence: u64,
    /// How many discontinuities were in segments that have left the list.
    pub discontinuities: u64,
    /// Oldest first.
    pub segments: Vec<Segment>,
}

/// A segment in a playlist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Where it is, relative to the playlist or whole; see [`encode`].
    pub uri: String,
    /// Its length in milliseconds.
    pub millis: u32,
    /// Times or codecs do not go on from the segment before.
    pub discontinuity: bool,
    /// When its first frame came, as ISO 8601 has it; empty if it is not stated.
    pub date: String,
    /// It is encrypted.
    pub key: Option<Key>,
}

/// How a segment is encrypted: AES-128 in CBC mode (§4.3.2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where the secret is, relative to the playlist or whole.
    pub uri: String,
    /// The initialization vector.
    pub iv: u128,
}

impl Playlist {
    /// The text of the playlist.
    pub fn write(&self) -> String {
        let mut text = String::with_capacity(160 + self.segments.len() * 128);
        // A String takes what is written.
        let _ = write!(
            text,
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-ALLOW-CACHE:YES\n#EXT-X-MEDIA-SEQUENCE:{}\n",
            self.sequence
        );
        if self.discontinuities > 0 {
            let _ = writeln!(text, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.discontinuities);
        }
        let _ = writeln!(text, "#EXT-X-TARGETDURATION:{}", self.target);
        let mut key = &None;
        for segment in &self.segments {
            if *key != segment.key {
                key = &segment.key;
                let _ = match key {
                    Some(Key { uri, iv }) => {
                        writeln!(text, "#EXT-X-KEY:METHOD=AES-128,URI=\"{uri}\",IV=0x{iv:032x}")
                    }
                    None => writeln!(text, "#EXT-X-KEY:METHOD=NONE"),
                };
            }
            if segment.discontinuity {
                text.push_str("#EXT-X-DISCONTINUITY\n");
            }
            if !segment.date.is_empty() {
                let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{}", segment.date);
            }
            let (seconds, millis) = (segment.millis / 1000, segment.millis % 1000);
            let _ = writeln!(text, "#EXTINF:{seconds}.{millis:03}, no desc\n{}", segment.uri);
        }
        text
    }

    /// Reads a media playlist. Tags that are not in [`Playlist`] are passed over.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut lines = text.lines().map(str::trim_end);
        if lines.next() != Some("#EXTM3U") {
            return Err(Error::Invalid("a playlist begins with #EXTM3U"));
        }
        let mut playlist = Self::default();
        let mut segment = Segment::default();
        let mut key = None;
        let mut timed = false;
        for line in lines.filter(|line| !line.is_empty()) {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            match tag {
                "#EXT-X-MEDIA-SEQUENCE" => playlist.sequence = number(value)?,
                "#EXT-X-DISCONTINUITY-SEQUENCE" => playlist.discontinuities = number(value)?,
                "#EXT-X-TARGETDURATION" => {
                    playlist.target = u32::try_from(number(value)?).map_err(|_| NUMBER)?;
                }
                "#EXT-X-DISCONTINUITY" => segment.discontinuity = true,
                "#EXT-X-PROGRAM-DATE-TIME" => segment.date = value.to_owned(),
                "#EXT-X-KEY" => key = parse_key(value)?,
                "#EXTINF" => {
                    segment.millis = millis(value)?;
                    timed = true;
                }
                _ if line.starts_with('#') => {}
                _ if !timed => return Err(Error::Invalid("a segment without #EXTINF")),
                _ => {
                    segment.uri = line.to_owned();
                    segment.key.clone_from(&key);
                    timed = false;
                    playlist.segments.push(std::mem::take(&mut segment));
                }
            }
        }
        Ok(playlist)
    }
}

/// `path` as a playlist has it: what a URI may not contain is percent-encoded (RFC 3986 §2.1).
pub fn encode(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=@".contains(&byte) {
            uri.push(byte.into());
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

/// The attributes of a key; `None` for no encryption.
fn parse_key(text: &str) -> Result<Option<Key>, Error> {
    let (mut uri, mut iv, mut rest) = (None, None, text);
    while let Some((name, value)) = rest.split_once('=') {
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or(KEY)?,
            None => value.split_at(value.find(',').unwrap_or(value.len())),
        };
        match name {
            "METHOD" if value == "NONE" => return Ok(None),
            "METHOD" if value != "AES-128" => return Err(KEY),
            "URI" => uri = Some(value.to_owned()),
            "IV" => {
                let digits = value.strip_prefix("0x").or_else(|| value.strip_prefix("0X"));
                let read = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
                iv = Some(read.ok_or(KEY)?);
            }
            _ => {}
        }
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    match (uri, iv) {
        (Some(uri), Some(iv)) => Ok(Some(Key { uri, iv })),
        _ => Err(KEY),
    }
}

const KEY: Error = Error::Invalid("key in a playlist");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::mutations;

    const GOLDEN: &str = "#EXTM3U\n\
        #EXT-X-VERSION:3\n\
        #EXT-X-ALLOW-CACHE:YES\n\
        #EXT-X-MEDIA-SEQUENCE:7\n\
        #EXT-X-DISCONTINUITY-SEQUENCE:2\n\
        #EXT-X-TARGETDURATION:15\n\
        #EXTINF:10.000, no desc\n\
        cam-7.ts\n\
        #EXT-X-KEY:METHOD=AES-128,URI=\"cam-8.key\",IV=0x00000000000000000000000000000108\n\
        #EXT-X-DISCONTINUITY\n\
        #EXT-X-PROGRAM-DATE-TIME:2024-03-09T05:06:07.089Z\n\
        #EXTINF:0.104, no desc\n\
        http://cdn/live/cam-8.ts\n";

    fn golden() -> Playlist {
        let first = Segment { uri: "cam-7.ts".into(), millis: 10_000, ..Segment::default() };
        let second = Segment {
            uri: "http://cdn/live/cam-8.ts".into(),
            millis: 104,
            discontinuity: true,
            date: "2024-03-09T05:06:07.089Z".into(),
            key: Some(Key { uri: "cam-8.key".into(), iv: 0x108 }),
        };
        Playlist { target: 15, sequence: 7, discontinuities: 2, segments: vec![first, second] }
    }

    #[test]
    fn a_playlist_is_written_and_read() {
        assert_eq!(golden().write(), GOLDEN);
        assert_eq!(Playlist::parse(GOLDEN), Ok(golden()));
        assert_eq!(Playlist::parse(&GOLDEN.replace('\n', "\r\n")), Ok(golden()));
    }

    #[test]
    fn what_is_no_playlist_is_refused() {
        for text in [
            "",
            "GET /",
            "#EXTM3U\na.ts",
            "#EXTM3U\n#EXTINF:x,\na.ts",
            "#EXTM3U\n#EXTINF:-1,\na.ts",
            "#EXTM3U\n#EXTINF:1e30,\na.ts",
            "#EXTM3U\n#EXT-X-TARGETDURATION:99999999999",
            "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128",
            "#EXTM3U\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"a\",IV=0x1",
            "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"a,IV=0x1",
            "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"a\",IV=1",
        ] {
            assert!(Playlist::parse(text).is_err(), "{text}");
        }
        mutations(GOLDEN.as_bytes(), |changed| {
            let _ = Playlist::parse(&String::from_utf8_lossy(changed));
        });
    }

    #[test]
    fn a_key_counts_until_the_next_one() {
        let text = "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"a\",IV=0x1\n#EXTINF:1,\n1.ts\n\
            #EXTINF:1,\n2.ts\n#EXT-X-KEY:METHOD=NONE\n#EXTINF:1,\n3.ts\n";
        let list = Playlist::parse(text).unwrap();
        let keys: Vec<_> = list.segments.iter().map(|s| s.key.as_ref().map(|k| k.iv)).collect();
        assert_eq!(keys, [Some(1), Some(1), None]);
        let again = list.write();
        assert_eq!(again.matches("#EXT-X-KEY").count(), 2);
        assert_eq!(Playlist::parse(&again), Ok(list));
    }

    #[test]
    fn names_become_uris() {
        assert_eq!(encode("live/cam-7.ts"), "live/cam-7.ts");
        assert_eq!(encode("a b#c?d%2F:é"), "a%20b%23c%3Fd%252F%3A%C3%A9");
    }
}
