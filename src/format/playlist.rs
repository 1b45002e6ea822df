//! Playlists of other servers (RFC 8216) as one who pulls them reads them: line by line, in
//! memory that does not grow with the playlist.

mod follow;
mod uri;

use std::collections::VecDeque;
use std::rc::Rc;

use super::Error;
use crate::limits::{
    PLAYLIST_BYTES, PLAYLIST_KEY, PLAYLIST_LINE, PLAYLIST_SEGMENTS, PLAYLIST_VARIANTS,
};
use crate::media::decimal;

pub use follow::{Follow, Fresh};
pub use uri::resolve;

/// What a playlist is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Playlist {
    /// A list of the same media in several forms, as they stand.
    Master(Vec<Variant>),
    /// A list of segments.
    Media(Media),
}

/// A form of the media of a master playlist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// Where its playlist is, as it is written.
    pub uri: String,
    /// Bits a second, 0 if that is not stated.
    pub bandwidth: u64,
    /// Width and height in pixels, if stated.
    pub resolution: Option<(u32, u32)>,
}

/// A media playlist, as much of it as is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// Whole seconds that no segment is longer than.
    pub target: u32,
    /// The number of the first segment in the list, kept or not.
    pub sequence: u64,
    /// How many segments the list has.
    pub count: u64,
    /// Nothing more will be added.
    pub ended: bool,
    /// The first of those that were asked for, [`PLAYLIST_SEGMENTS`] at most.
    pub wanted: Vec<Segment>,
    /// The last ones of the list, [`NEWEST`] at most.
    pub newest: VecDeque<Segment>,
}

/// A segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Counts up from the playlist's first number.
    pub number: u64,
    /// Where it is, as it is written; see [`resolve`].
    pub uri: String,
    /// Its length in milliseconds.
    pub millis: u32,
    /// Times or codecs do not go on from the segment before.
    pub discontinuity: bool,
    /// It is a part of the file: so many bytes from this place on.
    pub range: Option<Range>,
    /// With what it is encrypted, if it is.
    pub key: Option<Rc<Key>>,
}

/// With what segments are encrypted: AES-128 in CBC mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where its 16 bytes are, as it is written; [`PLAYLIST_KEY`] bytes at most.
    pub uri: String,
    /// The initialization vector, where it is not the number of the segment.
    pub iv: Option<u128>,
}

/// Bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first one.
    pub start: u64,
    /// How many.
    pub len: u64,
}

/// How many of the last segments are kept whatever is wanted.
pub const NEWEST: usize = 3;

impl Media {
    /// The number of the segment that would be added next.
    pub const fn next(&self) -> u64 {
        self.sequence.saturating_add(self.count)
    }
}

/// Reads one playlist that comes in pieces.
#[derive(Debug)]
pub struct Reader {
    from: u64,
    bytes: usize,
    line: Vec<u8>,
    begun: bool,
    media: Media,
    variants: Vec<Variant>,
    /// What was said about the segment that follows.
    next: Segment,
    timed: bool,
    key: Option<Rc<Key>>,
    /// A length without a start goes on where the last part ended.
    range: Option<(u64, Option<u64>)>,
    last_end: u64,
    variant: Option<Variant>,
    is_media: bool,
}

impl Reader {
    /// Of a media playlist the segments from number `from` on are wanted.
    pub fn new(from: u64) -> Self {
        Self {
            from,
            bytes: 0,
            line: Vec::new(),
            begun: false,
            media: Media::default(),
            variants: Vec::new(),
            next: Segment::default(),
            timed: false,
            key: None,
            range: None,
            last_end: 0,
            variant: None,
            is_media: false,
        }
    }

    /// Takes the next piece. A playlist of more than [`PLAYLIST_BYTES`] is refused as soon as it
    /// is, and what cannot be played is too: segments of which only a part is encrypted, and those of
    /// fragmented MP4. The reader is of no use after an error.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.bytes = self.bytes.saturating_add(piece.len());
        if self.bytes > PLAYLIST_BYTES {
            return Err(Error::Unsupported("playlist longer than limit playlist_bytes"));
        }
        for part in piece.split_inclusive(|&byte| byte == b'\n') {
            if self.line.len() + part.len() > PLAYLIST_LINE {
                return Err(Error::Unsupported(
                    "line of a playlist longer than limit playlist_line",
                ));
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.end_line()?;
            }
        }
        Ok(())
    }

    /// The whole playlist was pushed.
    pub fn finish(mut self) -> Result<Playlist, Error> {
        self.end_line()?;
        if !self.begun {
            return Err(NO_PLAYLIST);
        }
        if !self.variants.is_empty() {
            return Ok(Playlist::Master(self.variants));
        }
        if !self.is_media {
            return Err(Error::Invalid("a playlist with neither segments nor variants"));
        }
        Ok(Playlist::Media(self.media))
    }

    fn end_line(&mut self) -> Result<(), Error> {
        let mut line = std::mem::take(&mut self.line);
        let read = match std::str::from_utf8(&line) {
            Ok(text) => self.line(text.trim()),
            Err(_) => Err(Error::Invalid("a playlist that is not UTF-8")),
        };
        line.clear();
        self.line = line;
        read
    }

    fn line(&mut self, line: &str) -> Result<(), Error> {
        if !self.begun {
            if line.trim_start_matches('\u{feff}') != "#EXTM3U" {
                return Err(NO_PLAYLIST);
            }
            self.begun = true;
            return Ok(());
        }
        if line.is_empty() {
            return Ok(());
        }
        if !line.starts_with('#') {
            return self.uri(line);
        }
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        match tag {
            "#EXTINF" => {
                self.next.millis = millis(value)?;
                self.timed = true;
                self.is_media = true;
            }
            "#EXT-X-TARGETDURATION" => {
                self.media.target = millis(value)? / 1000;
                self.is_media = true;
            }
            "#EXT-X-MEDIA-SEQUENCE" if self.media.count == 0 => {
                self.media.sequence = number(value)?;
            }
            "#EXT-X-DISCONTINUITY" => self.next.discontinuity = true,
            "#EXT-X-ENDLIST" => {
                self.media.ended = true;
                self.is_media = true;
            }
            "#EXT-X-BYTERANGE" => {
                let (len, start) = match value.split_once('@') {
                    Some((len, start)) => (len, Some(number(start)?)),
                    None => (value, None),
                };
                self.range = Some((number(len)?, start));
            }
            "#EXT-X-KEY" => self.key = key(value)?,
            "#EXT-X-MAP" => return Err(Error::Unsupported("HLS of fragmented MP4")),
            "#EXT-X-STREAM-INF" => {
                let bandwidth = attribute(value, "BANDWIDTH").map_or(Ok(0), number)?;
                let resolution = attribute(value, "RESOLUTION").and_then(|size| {
                    let (width, height) = size.split_once('x')?;
                    Some((width.parse().ok()?, height.parse().ok()?))
                });
                self.variant = Some(Variant { uri: String::new(), bandwidth, resolution });
            }
            _ => {}
        }
        Ok(())
    }

    fn uri(&mut self, uri: &str) -> Result<(), Error> {
        if let Some(variant) = self.variant.take() {
            if self.variants.len() < PLAYLIST_VARIANTS {
                self.variants.push(Variant { uri: uri.to_owned(), ..variant });
            }
            return Ok(());
        }
        if !std::mem::take(&mut self.timed) {
            return Err(Error::Invalid("a segment without #EXTINF"));
        }
        let range = self.range.take().map(|(len, start)| {
            let start = start.unwrap_or(self.last_end);
            self.last_end = start.saturating_add(len);
            Range { start, len }
        });
        let number = self.media.next();
        self.media.count = self.media.count.saturating_add(1);
        let segment = Segment {
            number,
            range,
            uri: uri.to_owned(),
            key: self.key.clone(),
            ..std::mem::take(&mut self.next)
        };
        if number >= self.from && self.media.wanted.len() < PLAYLIST_SEGMENTS {
            self.media.wanted.push(segment.clone());
        }
        if self.media.newest.len() == NEWEST {
            self.media.newest.pop_front();
        }
        self.media.newest.push_back(segment);
        Ok(())
    }
}

/// Reads a playlist that is there as a whole; see [`Reader`].
pub fn parse(text: &[u8], from: u64) -> Result<Playlist, Error> {
    let mut reader = Reader::new(from);
    reader.push(text)?;
    reader.finish()
}

/// The variant that an input should pull: the one with the most bits a second, but the first of
/// several.
pub fn best(variants: &[Variant]) -> Option<&Variant> {
    variants.iter().rev().max_by_key(|variant| variant.bandwidth)
}

/// The attributes of `#EXT-X-KEY` (§4.3.2.4).
fn key(list: &str) -> Result<Option<Rc<Key>>, Error> {
    let own = attribute(list, "KEYFORMAT").is_none_or(|format| format == "identity");
    match attribute(list, "METHOD") {
        Some("NONE") => return Ok(None),
        Some("AES-128") if own => {}
        _ => return Err(Error::Unsupported("HLS encrypted in another way than AES-128")),
    }
    let uri = attribute(list, "URI").ok_or(Error::Invalid("a key without URI"))?.to_owned();
    if uri.len() > PLAYLIST_KEY {
        return Err(Error::Unsupported("address of a key longer than limit playlist_key"));
    }
    let iv = match attribute(list, "IV") {
        None => None,
        Some(text) => {
            let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
            let iv = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
            Some(iv.ok_or(NUMBER)?)
        }
    };
    Ok(Some(Rc::new(Key { uri, iv })))
}

/// The value of an attribute of a list, quotes taken off (§4.2).
fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = list.trim_start();
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"')?;
                (value, after.trim_start().strip_prefix(',').unwrap_or_default())
            }
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim() == name {
            return Some(value.trim());
        }
        rest = after;
    }
}

pub(super) fn number(text: &str) -> Result<u64, Error> {
    text.trim().parse().map_err(|_| NUMBER)
}

/// `seconds[.fraction][,title]`.
pub(super) fn millis(text: &str) -> Result<u32, Error> {
    let time = text.split(',').next().unwrap_or_default().trim();
    let seconds = decimal(time).ok_or(NUMBER)?;
    let millis = (seconds * 1000.0).round();
    // The cast is exact within these bounds.
    if (0.0..=f64::from(u32::MAX)).contains(&millis) { Ok(millis as u32) } else { Err(NUMBER) }
}

pub(super) const NUMBER: Error = Error::Invalid("number in a playlist");
const NO_PLAYLIST: Error = Error::Invalid("a playlist begins with #EXTM3U");

#[cfg(test)]
mod tests;
