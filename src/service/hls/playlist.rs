//! The segments that players may fetch: their names, their numbers, how long they stay.

use super::keys::Secret;
use crate::config::{DEFAULT_VHOST, Hls};
use crate::format::m3u8;
use crate::hub::StreamKey;
use crate::io::zone::Civil;
use crate::limits::HLS_SEGMENTS;
use crate::service::path::{Stamp, Template};
use std::collections::VecDeque;
use std::rc::Rc;

/// A finished segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its media sequence number.
    pub(super) seq: u64,
    /// Milliseconds.
    pub(super) millis: u32,
    /// As the playlist has it.
    pub(super) uri: String,
    /// Its file.
    pub(super) file: String,
    /// Its name in memory.
    pub(super) ram: String,
    /// Bytes in memory.
    pub(super) bytes: usize,
    /// It does not go on from the one before.
    pub(super) discontinuity: bool,
    /// When it began, in milliseconds since 1970.
    pub(super) unix: u64,
    /// It is encrypted.
    pub(super) key: Option<Rc<Key>>,
}

/// What encrypts some segments, one after the other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// The number of the first of them.
    pub(super) seq: u64,
    pub(super) secret: Secret,
    /// As the playlist has it.
    pub(super) uri: String,
    /// Its name in memory, if it is there.
    pub(super) ram: Option<String>,
    /// Its file, if it has one.
    pub(super) file: Option<String>,
}

/// The initialization vector of the segment `seq`: another one for each, stated in the playlist, so
/// that segments that begin alike do not look alike.
pub(super) fn vector(seq: u64) -> u128 {
    seq.into()
}

/// The finished segments of a stream that are in its playlist, and what is to be remembered of
/// those that are not any more.
#[derive(Debug, Default)]
pub(super) struct Window {
    entries: VecDeque<Entry>,
    discontinuities: u64,
    target: u32,
}

impl Window {
    /// Adds a segment; `target` is the least target duration. It never gets smaller, which the
    /// standard forbids (RFC 8216 §6.2.1).
    pub(super) fn push(&mut self, entry: Entry, target: u32) {
        self.target = self.target.max(target).max(entry.millis.div_ceil(1000));
        self.entries.push_back(entry);
    }

    /// Takes out the oldest one that is not to stay: when the segments after it are longer than
    /// `window` together in whole seconds, when they have more than `bytes` together with it, or
    /// when there are too many.
    pub(super) fn expire(&mut self, window: u64, bytes: usize) -> Option<Entry> {
        let seconds = |millis: u64| millis / 1000 * 1000;
        let later: u64 = self.entries.iter().skip(1).map(|entry| u64::from(entry.millis)).sum();
        let old = self.entries.len() > 1 && seconds(later) > window;
        if old || self.bytes() > bytes || self.entries.len() > HLS_SEGMENTS {
            return self.pop();
        }
        None
    }

    /// Takes out the oldest one.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.discontinuities += u64::from(entry.discontinuity);
        Some(entry)
    }

    /// Whether there is no segment.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The newest one.
    pub(super) fn newest(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// All of them, the oldest first.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Calls `forget` with the name in memory of each, which it does not have there any more.
    pub(super) fn names_in_ram(&mut self, mut forget: impl FnMut(&str)) {
        for entry in &mut self.entries {
            forget(&entry.ram);
            if let Some(ram) = entry.key.as_ref().and_then(|key| key.ram.as_deref()) {
                forget(ram);
            }
            entry.bytes = 0;
        }
    }

    /// Bytes in memory of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.bytes).sum()
    }

    /// The text of the playlist; `None` while there is no segment.
    pub(super) fn text(&self) -> Option<String> {
        let first = self.entries.front()?;
        let segment = |entry: &Entry| m3u8::Segment {
            uri: entry.uri.clone(),
            millis: entry.millis,
            discontinuity: entry.discontinuity,
            date: iso(entry.unix),
            key: entry
                .key
                .as_ref()
                .map(|key| m3u8::Key { uri: key.uri.clone(), iv: vector(entry.seq) }),
        };
        let playlist = m3u8::Playlist {
            target: self.target,
            sequence: first.seq,
            discontinuities: self.discontinuities,
            segments: self.entries.iter().map(segment).collect(),
        };
        Some(playlist.write())
    }
}

/// `unix` milliseconds since 1970 in ISO 8601, UTC.
fn iso(unix: u64) -> String {
    let c = Civil::at(i64::try_from(unix / 1000).unwrap_or_default());
    let (date, time) = ((c.year, c.month, c.day), (c.hour, c.minute, c.second));
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.0,
        date.1,
        date.2,
        time.0,
        time.1,
        time.2,
        unix % 1000
    )
}

/// What the files of a stream are called.
#[derive(Debug)]
pub(super) struct Names {
    key: StreamKey,
    directory: String,
    prefix: String,
    ts_file: String,
    key_file: String,
    key_directory: String,
    key_url: String,
    /// The playlist, relative to the directory.
    playlist: String,
    /// The playlist in memory: host, if it is for one, and path.
    mount: String,
    /// What makes names different from those of another run.
    pub(super) epoch: String,
    /// Whether the names of segments never come again.
    pub(super) unique: bool,
}

/// The variables of a segment's name that are not in all names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) seq: u64,
    pub(super) millis: u32,
    /// The number that hls_ts_floor counts.
    pub(super) floor: Option<i64>,
}

impl Names {
    /// The names that `config` gives the stream `key`. In memory the default name gets an epoch.
    pub(super) fn new(key: &StreamKey, config: &Hls, ram: bool, disk: bool, epoch: String) -> Self {
        let mut ts_file = config.hls_ts_file.clone();
        let mut key_file = config.hls_key_file.clone();
        let default = Hls::default();
        if ram && !disk {
            if ts_file == default.hls_ts_file {
                ts_file = "[app]/[stream]-[epoch]-[seq].ts".into();
            }
            if key_file == default.hls_key_file {
                key_file = "[app]/[stream]-[epoch]-[seq].key".into();
            }
        }
        let stamp = Stamp::at(0, &crate::io::zone::Zone::default());
        let mount = Template::new(&config.hls_mount).expand(key, &stamp);
        // Requests have the host in small letters.
        let host = mount.find('/').unwrap_or_default();
        let mount = match mount.split_at_checked(host) {
            Some((DEFAULT_VHOST, path)) => path.to_owned(),
            Some((host, path)) => host.to_ascii_lowercase() + path,
            None => mount,
        };
        Self {
            playlist: Template::new(&config.hls_m3u8_file).expand(key, &stamp),
            mount,
            directory: config.hls_path.trim_end_matches('/').to_owned(),
            prefix: config.hls_entry_prefix.clone(),
            unique: ts_file.contains("[epoch]"),
            ts_file,
            key_file,
            key_directory: config.hls_key_file_path.trim_end_matches('/').to_owned(),
            key_url: config.hls_key_url.clone(),
            key: key.clone(),
            epoch,
        }
    }

    /// The file of the playlist.
    pub(super) fn playlist_file(&self) -> String {
        format!("{}/{}", self.directory, self.playlist)
    }

    /// Where the playlist is when the directory is that of the HTTP server.
    pub(super) fn playlist_path(&self) -> String {
        format!("/{}", self.playlist)
    }

    /// The playlist below the directory.
    pub(super) fn playlist_uri(&self) -> &str {
        &self.playlist
    }

    /// The stream.
    pub(super) fn stream(&self) -> &StreamKey {
        &self.key
    }

    /// What `file` is called below the directory.
    pub(super) fn below<'f>(&self, file: &'f str) -> &'f str {
        let below = file.strip_prefix(&self.directory).unwrap_or(file);
        below.trim_start_matches('/')
    }

    /// The playlist in memory.
    pub(super) fn playlist_mount(&self) -> &str {
        &self.mount
    }

    /// A segment: its path below the directory.
    pub(super) fn segment(&self, numbers: Numbers, stamp: &Stamp) -> String {
        let seconds = format!("{}.{:03}", numbers.millis / 1000, numbers.millis % 1000);
        let mut text = self
            .ts_file
            .replace("[seq]", &numbers.seq.to_string())
            .replace("[epoch]", &self.epoch)
            .replace("[duration]", &seconds);
        if let Some(floor) = numbers.floor {
            text = text.replace("[timestamp]", &floor.to_string());
        }
        Template::new(&text).expand(&self.key, stamp)
    }

    /// The key of the segments from `seq` on. It is in memory if they are, and nobody else is to
    /// give it out; it has a file if they have, or if somebody else is.
    pub(super) fn key(
        &self,
        seq: u64,
        secret: Secret,
        stamp: &Stamp,
        ram: bool,
        disk: bool,
    ) -> Key {
        let text = self.key_file.replace("[seq]", &seq.to_string());
        let name = Template::new(&text.replace("[epoch]", &self.epoch)).expand(&self.key, stamp);
        let elsewhere = !self.key_url.is_empty();
        let uri = match self.key_url.as_str() {
            "" => m3u8::encode(&relative(directory(&self.playlist), &name)),
            url if url.ends_with(['/', '=']) => format!("{url}{}", m3u8::encode(&name)),
            url => format!("{url}/{}", m3u8::encode(&name)),
        };
        Key {
            seq,
            secret,
            uri,
            ram: (ram && !elsewhere).then(|| self.segment_mount(&name)),
            file: (disk || elsewhere).then(|| format!("{}/{name}", self.key_directory)),
        }
    }

    /// The file of a segment.
    pub(super) fn file(&self, segment: &str) -> String {
        format!("{}/{segment}", self.directory)
    }

    /// What the playlist calls a segment.
    pub(super) fn uri(&self, segment: &str) -> String {
        let relative = m3u8::encode(&relative(directory(&self.playlist), segment));
        if self.prefix.is_empty() || self.prefix.ends_with('/') {
            return format!("{}{relative}", self.prefix);
        }
        match directory(&self.playlist) {
            "" => format!("{}/{relative}", self.prefix),
            dir => format!("{}/{}/{relative}", self.prefix, m3u8::encode(dir)),
        }
    }

    /// A segment in memory: where a player finds it that resolves its name in the playlist.
    pub(super) fn segment_mount(&self, segment: &str) -> String {
        let mut parts: Vec<&str> = directory(&self.mount).split('/').collect();
        let relative = relative(directory(&self.playlist), segment);
        for part in relative.split('/') {
            match part {
                // The first part is the host.
                ".." if parts.len() > 1 => drop(parts.pop()),
                ".." => {}
                part => parts.push(part),
            }
        }
        parts.join("/")
    }
}

/// All but the last part of `path`; empty for none.
fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// How `path` is called from `directory`, both below the same place.
fn relative(directory: &str, path: &str) -> String {
    let from: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    let to: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let last = to.len().saturating_sub(1);
    let same = from.iter().zip(to.iter().take(last)).take_while(|(a, b)| a == b).count();
    let up = from.iter().skip(same).map(|_| "..");
    up.chain(to.iter().skip(same).copied()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::zone::Zone;

    fn names(config: &Hls, ram: bool) -> Names {
        Names::new(&StreamKey::new(DEFAULT_VHOST, "live", "cam"), config, ram, !ram, "e1".into())
    }

    #[test]
    fn segments_are_named_as_configured() {
        // Name, hls_ts_file, hls_m3u8_file, hls_entry_prefix, file, uri, in memory.
        type Case = (&'static str, &'static str, &'static str, &'static str, [&'static str; 3]);
        const CASES: &[Case] = &[
            (
                "default",
                "[app]/[stream]-[seq].ts",
                "[app]/[stream].m3u8",
                "",
                ["d/live/cam-7.ts", "cam-7.ts", "/live/cam-7.ts"],
            ),
            (
                "all variables",
                "[vhost]/[app]/[2006]-[01]-[02]/[stream]-[seq]-[duration]-[timestamp]-[epoch].ts",
                "[vhost]/[app]/[stream].m3u8",
                "",
                [
                    "d/__defaultVhost__/live/2024-03-09/cam-7-2.040-1709960767089-e1.ts",
                    "2024-03-09/cam-7-2.040-1709960767089-e1.ts",
                    "/live/2024-03-09/cam-7-2.040-1709960767089-e1.ts",
                ],
            ),
            (
                "beside the playlist",
                "ts/[app]/[stream]-[seq].ts",
                "m3u8/[stream].m3u8",
                "",
                ["d/ts/live/cam-7.ts", "../ts/live/cam-7.ts", "/ts/live/cam-7.ts"],
            ),
            (
                "prefix",
                "[app]/[stream]-[seq].ts",
                "[app]/[stream].m3u8",
                "http://cdn",
                ["d/live/cam-7.ts", "http://cdn/live/cam-7.ts", "/live/cam-7.ts"],
            ),
            (
                "prefix with a slash",
                "[app]/[stream]-[seq].ts",
                "[app]/[stream].m3u8",
                "http://cdn/x/",
                ["d/live/cam-7.ts", "http://cdn/x/cam-7.ts", "/live/cam-7.ts"],
            ),
            (
                "no directory",
                "[stream]-[seq].ts",
                "[stream].m3u8",
                "http://cdn",
                ["d/cam-7.ts", "http://cdn/cam-7.ts", "/live/cam-7.ts"],
            ),
        ];
        let stamp = Stamp::at(1_709_960_767_089, &Zone::default());
        for &(name, ts_file, m3u8_file, prefix, want) in CASES {
            let config = Hls {
                hls_path: "d/".into(),
                hls_ts_file: ts_file.into(),
                hls_m3u8_file: m3u8_file.into(),
                hls_entry_prefix: prefix.into(),
                ..Hls::default()
            };
            let names = names(&config, false);
            let segment = names.segment(Numbers { seq: 7, millis: 2040, floor: None }, &stamp);
            let got = [names.file(&segment), names.uri(&segment), names.segment_mount(&segment)];
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn names_in_memory_never_come_again() {
        let stamp = Stamp::at(0, &Zone::default());
        let numbers = Numbers { seq: 7, millis: 0, floor: None };
        let names = names(&Hls::default(), true);
        assert_eq!(names.segment(numbers, &stamp), "live/cam-e1-7.ts");
        assert!(names.unique);
        let own = Hls { hls_ts_file: "[stream]/[seq].ts".into(), ..Hls::default() };
        assert!(!self::names(&own, true).unique, "unless the name is given");
    }

    #[test]
    fn the_floor_takes_the_place_of_the_time() {
        let config = Hls { hls_ts_file: "[stream]-[timestamp].ts".into(), ..Hls::default() };
        let numbers = Numbers { seq: 7, millis: 0, floor: Some(170_996) };
        let stamp = Stamp::at(0, &Zone::default());
        assert_eq!(names(&config, false).segment(numbers, &stamp), "cam-170996.ts");
    }

    #[test]
    fn no_name_leaves_the_directory() {
        for name in ["..", "../../x", "/etc", "a/../..", "[seq]", "\0"] {
            let key = StreamKey::new("V", "live", name);
            let names = Names::new(&key, &Hls::default(), true, false, "e".into());
            let stamp = Stamp::at(0, &Zone::default());
            let segment = names.segment(Numbers { seq: 1, millis: 0, floor: None }, &stamp);
            let files = [names.file(&segment), names.playlist_file()];
            for file in files.into_iter().chain([names.segment_mount(&segment)]) {
                assert!(!file.split('/').any(|part| part == ".." || part.contains('\0')), "{file}");
            }
            assert!(names.playlist_mount().starts_with("v/live/"), "in small letters");
        }
    }

    fn entry(seq: u64, millis: u32) -> Entry {
        Entry {
            seq,
            millis,
            uri: format!("{seq}.ts"),
            file: String::new(),
            ram: String::new(),
            bytes: 100,
            discontinuity: seq.is_multiple_of(4),
            unix: seq * 1000,
            key: None,
        }
    }

    #[test]
    fn the_window_keeps_its_seconds_and_one_more() {
        let mut window = Window::default();
        for seq in 0..20 {
            window.push(entry(seq, 2500), 3);
            while window.expire(10_000, 100_000).is_some() {}
        }
        let list = m3u8::Playlist::parse(&window.text().unwrap()).unwrap();
        // 4 are 10 s, which is not more than 10: 5 stay after the oldest one.
        assert_eq!((list.segments.len(), list.sequence), (5, 15));
        assert_eq!((list.discontinuities, list.target), (4, 3));
        assert_eq!(list.segments[0].date, "1970-01-01T00:00:15.000Z");
    }

    #[test]
    fn the_window_is_bounded_in_bytes_and_in_number() {
        let mut window = Window::default();
        for seq in 0..10 {
            window.push(entry(seq, 2000), 3);
        }
        while window.expire(1 << 40, 350).is_some() {}
        assert_eq!(window.bytes(), 300);
        for seq in 10..10 + HLS_SEGMENTS as u64 {
            window.push(entry(seq, 1), 3);
            while window.expire(1 << 40, usize::MAX).is_some() {}
        }
        assert_eq!(window.entries.len(), HLS_SEGMENTS);
    }

    #[test]
    fn the_target_duration_holds_the_longest_and_never_falls() {
        let mut window = Window::default();
        window.push(entry(0, 10_001), 3);
        window.push(entry(1, 2000), 3);
        window.pop();
        assert!(window.text().unwrap().contains("#EXT-X-TARGETDURATION:11\n"));
    }
}
