//! Where segments and playlists are: in memory, in files, or both.

use crate::hub::StreamKey;
use crate::io::disk::{CreateOptions, Disk, File, Reply};
use crate::limits::HLS_RAM;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;

/// A file in memory, as HTTP answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The stream that it is a part of.
    pub key: StreamKey,
    /// What is in it.
    pub body: Bytes,
    /// Its media type.
    pub content_type: &'static str,
    /// Changes whenever the body does; with quotes.
    pub etag: String,
    /// How long it may be kept.
    pub cache_control: String,
}

/// The files in memory of all streams, [`HLS_RAM`] bytes at most.
#[derive(Debug, Default)]
pub(super) struct Ram {
    files: RefCell<HashMap<String, Stored>>,
    /// Bytes of files and of open segments.
    used: Cell<usize>,
}

impl Ram {
    /// The file at `path` of `host`, or of any host.
    pub(super) fn get(&self, host: &str, path: &str) -> Option<Stored> {
        let files = self.files.borrow();
        let own = (!host.is_empty()).then(|| files.get(&format!("{host}{path}"))).flatten();
        own.or_else(|| files.get(path)).cloned()
    }

    /// Puts a file in place of the one called `name`, host and path.
    pub(super) fn put(&self, name: &str, file: Stored) {
        let len = file.body.len();
        let before = self.files.borrow_mut().insert(name.to_owned(), file);
        let before = before.map_or(0, |before| before.body.len());
        self.used.set((self.used.get() + len).saturating_sub(before));
    }

    pub(super) fn remove(&self, name: &str) {
        if let Some(file) = self.files.borrow_mut().remove(name) {
            self.used.set(self.used.get().saturating_sub(file.body.len()));
        }
    }

    /// Whether `len` bytes more are within the bound.
    pub(super) fn fits(&self, len: usize) -> bool {
        self.used.get().saturating_add(len) <= HLS_RAM
    }

    /// Counts `len` bytes more of an open segment, if they are within the bound.
    pub(super) fn charge(&self, len: usize) -> bool {
        let fits = self.fits(len);
        if fits {
            self.used.set(self.used.get() + len);
        }
        fits
    }

    pub(super) fn uncharge(&self, len: usize) {
        self.used.set(self.used.get().saturating_sub(len));
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.get()
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.files.borrow().keys().cloned().collect();
        names.sort();
        names
    }
}

/// Files of one stream. All calls return at once; what fails later is told by the next one.
pub(super) trait Files {
    /// Opens `path` under a name that says that it is not finished.
    fn begin(&mut self, path: &str);
    /// Writes behind what was written since [`begin`](Self::begin).
    fn append(&mut self, bytes: Bytes) -> Result<(), String>;
    /// Closes the file and gives it its name.
    fn keep(&mut self, path: &str) -> Result<(), String>;
    /// Deletes the file that was begun.
    fn discard(&mut self);
    /// Puts `bytes` in place of the file `path` at once.
    fn replace(&mut self, path: &str, bytes: Bytes) -> Result<(), String>;
    /// Deletes a finished file.
    fn remove(&mut self, path: &str);
    /// What went wrong since the last call of any of them.
    fn failed(&mut self) -> Result<(), String>;
}

/// On the disk, by its thread.
#[derive(Debug)]
pub(super) struct OnDisk {
    disk: Disk,
    open: Option<File>,
    /// What became of the newest segment and the newest playlist.
    kept: Option<Reply<Result<(), String>>>,
    replaced: Option<Reply<io::Result<()>>>,
}

impl OnDisk {
    pub(super) const fn new(disk: Disk) -> Self {
        Self { disk, open: None, kept: None, replaced: None }
    }
}

impl Files for OnDisk {
    fn begin(&mut self, path: &str) {
        self.discard();
        let options = CreateOptions { dirs: true, ..CreateOptions::default() };
        self.open = Some(self.disk.create(format!("{path}.tmp"), options));
    }

    fn append(&mut self, bytes: Bytes) -> Result<(), String> {
        self.failed()?;
        let Some(file) = &self.open else { return Ok(()) };
        file.append(bytes).map_err(|full| full.to_string())
    }

    fn keep(&mut self, path: &str) -> Result<(), String> {
        self.failed()?;
        if let Some(file) = self.open.take() {
            file.rename(path);
            self.kept = Some(file.close());
        }
        Ok(())
    }

    fn discard(&mut self) {
        if let Some(file) = self.open.take() {
            file.remove();
        }
    }

    fn replace(&mut self, path: &str, bytes: Bytes) -> Result<(), String> {
        self.failed()?;
        let replaced = self.disk.replace(path, bytes).map_err(|full| full.to_string())?;
        self.replaced = Some(replaced);
        Ok(())
    }

    fn remove(&mut self, path: &str) {
        self.disk.remove(path);
    }

    fn failed(&mut self) -> Result<(), String> {
        if let Some(Ok(kept)) = self.kept.as_mut().and_then(Reply::take) {
            kept?;
        }
        if let Some(Ok(replaced)) = self.replaced.as_mut().and_then(Reply::take) {
            replaced.map_err(|e| e.to_string())?;
        }
        let file = self.open.as_ref().and_then(File::failed);
        file.map_or(Ok(()), |e| Err(e.to_owned()))
    }
}
