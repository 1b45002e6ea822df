//! What stays of a stream from one publish to the next: its segments, their numbers.

use super::keys::{self, Secret};
use super::playlist::{Entry, Key, Names, Numbers, Window};
use super::store::{Files, Ram, Stored};
use crate::config::Hls;
use crate::format::ts::Mux;
use crate::limits::{HLS_IDLE, HLS_RAM_STREAM};
use crate::service::path::Stamp;
use bytes::Bytes;
use std::rc::Rc;

/// The HLS side of a stream.
pub(super) struct Stream {
    config: Rc<Hls>,
    names: Names,
    /// The memory of all streams, which counts what this one holds.
    ram: Rc<Ram>,
    /// Finished segments are kept there.
    in_ram: bool,
    files: Option<Box<dyn Files>>,
    /// Writes the files of keys.
    key_files: Option<Box<dyn Files>>,
    /// That of the newest segments.
    key: Option<Rc<Key>>,
    window: Window,
    next: u64,
    floor: Option<i64>,
    /// The file of the open segment, while nothing of it is with the disk.
    unopened: Option<String>,
    /// Kept for its counters while nobody publishes.
    pub(super) mux: Option<Mux>,
    /// Grows with each publish: who has an older one may not write any more.
    pub(super) generation: u32,
    /// Since when nobody publishes, in milliseconds of the clock.
    idle: Option<u64>,
}

/// A segment that was written.
pub(super) struct Finished {
    pub(super) bytes: Vec<u8>,
    pub(super) millis: u32,
    pub(super) discontinuity: bool,
    /// When it began, in milliseconds since 1970.
    pub(super) unix: u64,
    pub(super) stamp: Stamp,
    pub(super) floor: Option<i64>,
    pub(super) key: Option<Rc<Key>>,
}

/// A segment that is in the playlist.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) number: u64,
    pub(super) millis: u32,
    pub(super) file: String,
    pub(super) uri: String,
    pub(super) playlist: String,
    pub(super) playlist_uri: String,
}

/// A number of hls_ts_floor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    pub(super) number: i64,
    /// How many numbers it is ahead of the clock.
    pub(super) ahead: i64,
}

/// More segments than this between the floor of the clock and that of the stream: the clock
/// jumped, or nobody published for a while.
const FLOOR_JUMP: u64 = 20;

impl Stream {
    pub(super) fn new(
        config: Rc<Hls>,
        names: Names,
        ram: Rc<Ram>,
        in_ram: bool,
        files: Option<Box<dyn Files>>,
        key_files: Option<Box<dyn Files>>,
    ) -> Self {
        Self {
            config,
            names,
            ram,
            in_ram,
            files,
            key_files,
            key: None,
            window: Window::default(),
            next: 0,
            floor: None,
            unopened: None,
            mux: None,
            generation: 0,
            idle: None,
        }
    }

    pub(super) fn config(&self) -> &Rc<Hls> {
        &self.config
    }

    /// Since when nobody publishes; `None` while somebody does.
    pub(super) const fn idle(&self) -> Option<u64> {
        self.idle
    }

    /// A publish begins. Returns its generation.
    pub(super) fn publish(&mut self) -> u32 {
        self.idle = None;
        // Of a publisher that lost the stream.
        self.discard();
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }

    /// Goes on where `old` stops, the same stream under another configuration: its numbers, and its
    /// segments if they stay where they are.
    pub(super) fn succeed(&mut self, old: &mut Self) {
        old.publish();
        self.next = old.next;
        self.mux = old.mux.take();
        self.floor = old.floor;
        let places = |stream: &Self| {
            let config = (*stream.config).clone();
            let Hls { hls_storage, hls_path, hls_m3u8_file, hls_ts_file, hls_mount, .. } = config;
            let Hls { hls_keys, hls_key_file, hls_key_file_path, hls_key_url, .. } = config;
            let segments = (hls_storage, hls_path, hls_m3u8_file, hls_ts_file, hls_mount);
            (segments, (hls_keys, hls_key_file, hls_key_file_path, hls_key_url))
        };
        if places(self) == places(old) {
            self.window = std::mem::take(&mut old.window);
            self.names.epoch.clone_from(&old.names.epoch);
            self.key = old.key.take();
        } else {
            old.release();
        }
    }

    pub(super) fn unpublish(&mut self, now: u64) {
        self.idle = Some(now);
    }

    /// The number that the next segment will have.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// What the open segment will be called, but for its duration.
    pub(super) fn name(&self, floor: Option<i64>, stamp: &Stamp) -> String {
        let numbers = Numbers { seq: self.next, millis: 0, floor };
        self.names.uri(&self.names.segment(numbers, stamp))
    }

    /// Whether only a segment of this stream can be called `path`.
    pub(super) fn was(&self, path: &str) -> bool {
        self.in_ram && self.names.unique && path.contains(&self.names.epoch)
    }

    /// Whether `path` is its playlist or one of its segments in files, below whatever the server of
    /// files calls the directory, or was a segment in memory.
    pub(super) fn owns(&self, path: &str) -> bool {
        let names = |name: &str| path.strip_suffix(name).is_some_and(|dir| dir.ends_with('/'));
        let in_files = || {
            let mut entries = self.window.entries();
            let key = |entry: &Entry| entry.key.as_ref().and_then(|key| key.file.clone());
            names(self.names.playlist_uri())
                || entries.any(|entry| {
                    let files = [Some(entry.file.clone()), key(entry)];
                    files.iter().flatten().any(|file| names(self.names.below(file)))
                })
        };
        self.was(path) || self.files.is_some() && in_files()
    }

    /// Segments are kept in memory.
    pub(super) const fn in_ram(&self) -> bool {
        self.in_ram
    }

    /// Whether players can follow it by now.
    pub(super) fn has_segments(&self) -> bool {
        !self.window.is_empty()
    }

    /// Whether somebody publishes it, has no segment yet, and `path` of `host` is its playlist.
    pub(super) fn is_awaited(&self, host: &str, path: &str) -> bool {
        if self.idle.is_some() || self.generation == 0 || self.has_segments() {
            return false;
        }
        if !self.in_ram {
            return self.names.playlist_path() == path;
        }
        let mount = self.names.playlist_mount();
        mount == path || mount.strip_suffix(path) == Some(host)
    }

    /// Counts `len` bytes more of the open segment, if the memory of all streams has room.
    pub(super) fn charge(&self, len: usize) -> bool {
        self.ram.charge(len)
    }

    pub(super) fn uncharge(&self, len: usize) {
        self.ram.uncharge(len);
    }

    /// A segment begins at `unix` milliseconds since 1970: the number of hls_ts_floor.
    pub(super) fn begin(&mut self, unix: u64, stamp: &Stamp) -> Option<Floor> {
        let floor = self.config.hls_ts_floor.then(|| self.advance_floor(unix));
        if !self.in_ram {
            let numbers = Numbers { seq: self.next, millis: 0, floor: floor.map(|it| it.number) };
            self.unopened = Some(self.names.file(&self.names.segment(numbers, stamp)));
        }
        floor
    }

    fn advance_floor(&mut self, unix: u64) -> Floor {
        let fragment = u64::try_from(self.config.hls_fragment.0.as_millis()).unwrap_or(u64::MAX);
        let current = i64::try_from(unix / fragment.max(1)).unwrap_or(i64::MAX);
        let accepted = self.floor.map_or(current, |last| last.saturating_add(1));
        let accepted = if accepted.abs_diff(current) > FLOOR_JUMP {
            log::warn!("hls: the clock is {current}, segments are at {accepted}: reset");
            current - 1
        } else if self.floor.is_none() {
            current - 1
        } else {
            accepted
        };
        self.floor = Some(accepted);
        Floor { number: accepted, ahead: accepted.saturating_sub(current) }
    }

    /// The key of the segment that begins, which players can fetch from now on.
    pub(super) fn key(&mut self, stamp: &Stamp) -> Result<Option<Rc<Key>>, String> {
        if !self.config.hls_keys || !keys::SUPPORTED {
            return Ok(None);
        }
        let count = u64::from(self.config.hls_fragments_per_key);
        if let Some(key) = &self.key
            && self.next.saturating_sub(key.seq) < count
        {
            return Ok(Some(key.clone()));
        }
        let (ram, disk) = (self.in_ram, self.files.is_some());
        let key = Rc::new(self.names.key(self.next, Secret::new()?, stamp, ram, disk));
        let body = Bytes::copy_from_slice(key.secret.bytes());
        if let (Some(file), Some(files)) = (&key.file, &mut self.key_files) {
            files.replace(file, body.clone())?;
        }
        if let Some(name) = &key.ram {
            let etag = format!("\"{}-{}-key\"", self.names.epoch, key.seq);
            let content_type = "application/octet-stream";
            let cache_control = "private, no-store".into();
            let key = self.names.stream().clone();
            self.ram.put(name, Stored { key, body, content_type, etag, cache_control });
        }
        if let Some(old) = self.key.replace(key.clone()) {
            self.forget_key(old);
        }
        Ok(Some(key))
    }

    /// Deletes a key that no segment in the playlist needs any more.
    fn forget_key(&mut self, key: Rc<Key>) {
        let Some(key) = Rc::into_inner(key) else { return };
        if let Some(name) = &key.ram {
            self.ram.remove(name);
        }
        if let (Some(file), Some(files)) = (&key.file, &mut self.key_files)
            && self.config.hls_cleanup
        {
            files.remove(file);
        }
    }

    /// Bytes of the open segment that do not stay in memory.
    pub(super) fn append(&mut self, bytes: Bytes) -> Result<(), String> {
        let Some(files) = &mut self.files else { return Ok(()) };
        if let Some(path) = self.unopened.take() {
            files.begin(&path);
        }
        files.append(bytes)
    }

    /// The open segment is not kept; its number is used again.
    pub(super) fn discard(&mut self) {
        self.unopened = None;
        if let Some(files) = &mut self.files {
            files.discard();
        }
    }

    /// Takes a segment into the playlist, and what is too old out of it. Returns what the
    /// playlist calls it.
    pub(super) fn keep(&mut self, segment: Finished) -> Result<String, String> {
        let Finished { bytes, millis, discontinuity, unix, stamp, floor, key } = segment;
        let numbers = Numbers { seq: self.next, millis, floor };
        let name = self.names.segment(numbers, &stamp);
        let bytes = Bytes::from(bytes);
        let entry = Entry {
            seq: self.next,
            millis,
            uri: self.names.uri(&name),
            file: self.names.file(&name),
            ram: self.names.segment_mount(&name),
            bytes: if self.in_ram { bytes.len() } else { 0 },
            discontinuity,
            unix,
            key,
        };
        let uri = entry.uri.clone();
        if self.in_ram {
            if !self.make_room(bytes.len()) {
                return Err("memory is used up (limit hls_ram)".into());
            }
            self.ram.put(&entry.ram, self.stored(&entry, bytes.clone()));
        }
        if let Err(e) = self.file(&entry.file, bytes) {
            self.ram.remove(&entry.ram);
            return Err(e);
        }
        self.next += 1;
        let window = u64::try_from(self.config.hls_window.0.as_millis()).unwrap_or(u64::MAX);
        self.window.push(entry, self.least_target());
        let expired: Vec<Entry> =
            std::iter::from_fn(|| self.window.expire(window, HLS_RAM_STREAM)).collect();
        let listed = self.list();
        // After the playlist that does not have them any more.
        expired.into_iter().for_each(|old| self.forget(old));
        listed.map(|()| uri)
    }

    /// The newest segment in the playlist.
    pub(super) fn newest(&self) -> Option<Kept> {
        let Entry { seq, millis, uri, file, .. } = self.window.newest()?;
        Some(Kept {
            number: *seq,
            millis: *millis,
            file: file.clone(),
            uri: uri.clone(),
            playlist: self.names.playlist_file(),
            playlist_uri: self.names.playlist_uri().to_owned(),
        })
    }

    /// Writes what is to be written of a segment that is whole.
    fn file(&mut self, path: &str, bytes: Bytes) -> Result<(), String> {
        if !self.in_ram && !bytes.is_empty() {
            self.append(bytes)?;
            return self.files.as_mut().map_or(Ok(()), |files| files.keep(path));
        }
        let Some(files) = &mut self.files else { return Ok(()) };
        if self.in_ram { files.replace(path, bytes) } else { files.keep(path) }
    }

    /// Gives up the oldest segments until there is memory for `len` bytes. Whether there is.
    pub(super) fn make_room(&mut self, len: usize) -> bool {
        while !self.ram.fits(len) {
            let Some(old) = self.window.pop() else { return false };
            self.forget(old);
        }
        true
    }

    /// hls_fragment times hls_td_ratio, in whole seconds.
    fn least_target(&self) -> u32 {
        let target = self.config.hls_fragment.0.as_secs_f64() * self.config.hls_td_ratio;
        // At least 1: players take it for the interval at which they ask. The cast saturates.
        (target as u32).max(1)
    }

    fn stored(&self, entry: &Entry, body: Bytes) -> Stored {
        let cache_control = match self.names.unique {
            true => "public, max-age=31536000, immutable".into(),
            false => format!("public, max-age={}", self.least_target()),
        };
        let etag = format!("\"{}-{}-{}\"", self.names.epoch, entry.seq, entry.unix);
        let key = self.names.stream().clone();
        Stored { key, body, content_type: "video/MP2T", etag, cache_control }
    }

    /// Writes the playlist of now.
    fn list(&mut self) -> Result<(), String> {
        let Some(text) = self.window.text() else { return Ok(()) };
        let body = Bytes::from(text);
        if self.in_ram {
            let etag = format!("\"{}-{}\"", self.names.epoch, self.next);
            let content_type = "application/vnd.apple.mpegurl";
            let cache_control = "public, max-age=1".into();
            let (key, body) = (self.names.stream().clone(), body.clone());
            let stored = Stored { key, body, content_type, etag, cache_control };
            self.ram.put(self.names.playlist_mount(), stored);
        }
        match &mut self.files {
            Some(files) => files.replace(&self.names.playlist_file(), body),
            None => Ok(()),
        }
    }

    /// A segment left the playlist.
    fn forget(&mut self, entry: Entry) {
        if self.in_ram {
            self.ram.remove(&entry.ram);
        }
        if let Some(files) = &mut self.files
            && self.config.hls_cleanup
        {
            files.remove(&entry.file);
        }
        if let Some(key) = entry.key {
            self.forget_key(key);
        }
    }

    /// Deletes everything: hls_dispose. Who still publishes writes nothing any more.
    pub(super) fn dispose(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.release();
        let entries: Vec<Entry> = std::iter::from_fn(|| self.window.pop()).collect();
        if let Some(files) = &mut self.files {
            files.discard();
            if !entries.is_empty() {
                files.remove(&self.names.playlist_file());
            }
            entries.iter().for_each(|entry| files.remove(&entry.file));
        }
        let keys = entries.into_iter().filter_map(|entry| entry.key).chain(self.key.take());
        keys.for_each(|key| self.forget_key(key));
    }

    /// Gives the memory of its segments back.
    pub(super) fn release(&mut self) {
        if !self.in_ram {
            return;
        }
        self.ram.remove(self.names.playlist_mount());
        if self.files.is_none() {
            while let Some(entry) = self.window.pop() {
                self.forget(entry);
            }
        } else {
            self.window.names_in_ram(|name| self.ram.remove(name));
        }
        // The next segment gets another one.
        if let Some(key) = self.key.take() {
            if let Some(name) = &key.ram {
                self.ram.remove(name);
            }
            self.forget_key(key);
        }
    }

    /// Called now and then: deletes what nobody publishes any more. Whether nothing is left.
    pub(super) fn sweep(&mut self, now: u64) -> bool {
        let Some(idle) = self.idle.map(|since| now.saturating_sub(since)) else { return false };
        if let Some(Err(e)) = self.files.as_mut().map(|files| files.failed()) {
            log::warn!("hls: {e}");
        }
        let millis =
            |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let dispose = millis(self.config.hls_dispose.0);
        if dispose > 0 && idle >= dispose {
            log::info!("hls: dispose {}", self.names.playlist_file());
            self.dispose();
            return true;
        }
        if idle >= millis(HLS_IDLE).saturating_add(2 * millis(self.config.hls_window.0)) {
            self.release();
        }
        false
    }
}
