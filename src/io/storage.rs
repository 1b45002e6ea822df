//! Files as they lie there: looked at, repaired, deleted. All of it blocks, so it is for the thread
//! of the disk: call it inside [`Disk::ask`](super::disk::Disk::ask).

use super::disk::sync_directory;
use crate::limits::STORAGE_DEPTH;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use super::disk::make_parent;
pub use super::files::free;

/// A file that is there, open for reading and writing.
#[derive(Debug)]
pub struct Existing {
    file: fs::File,
    len: u64,
}

impl Existing {
    /// Opens `path`; `None` when there is no regular file.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(found) if found.is_file() => {
                let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
                Ok(Some(Self { len: file.metadata()?.len(), file }))
            }
            Ok(_) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Its length in bytes when it was opened.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether it had no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads at `offset` until `buffer` is full or the file ends; how many bytes.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.file.read_at(room, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    /// Writes over what is at `offset`.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Cuts off what is behind `len` bytes, and has all written to the medium.
    pub fn finish(self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.file.sync_all()
    }
}

/// Gives a file its name for good: also when the power fails right after.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_directory(to)
}

/// Deletes a file, and the directories that are empty by it, up to `root`.
pub fn remove(path: &Path, root: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    let above = path.ancestors().skip(1);
    for dir in above.take_while(|dir| dir.starts_with(root) && *dir != root) {
        if fs::remove_dir(dir).is_err() {
            break;
        }
    }
    Ok(())
}

/// A file found by [`walk`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// When it was written to last.
    pub modified: SystemTime,
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
}

/// Tells `see` every regular file under `root`, [`STORAGE_DEPTH`] directories deep at most.
/// Symbolic links are not followed; what cannot be read is passed over.
pub fn walk(root: &Path, see: &mut dyn FnMut(Found)) {
    visit(root, STORAGE_DEPTH, see);
}

/// Deletes the regular files in `dir`, not those below it, whose names are `unwanted`; how many.
pub fn sweep(dir: &Path, unwanted: impl Fn(&str) -> bool) -> usize {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let unwanted = entries.flatten().filter(|entry| {
        entry.file_type().is_ok_and(|kind| kind.is_file())
            && entry.file_name().to_str().is_some_and(&unwanted)
    });
    unwanted.filter(|entry| fs::remove_file(entry.path()).is_ok()).count()
}

fn visit(dir: &Path, depth: usize, see: &mut dyn FnMut(Found)) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let Ok(found) = entry.metadata() else { continue };
        if found.is_dir() && depth > 0 {
            visit(&entry.path(), depth - 1, see);
        } else if found.is_file() {
            let modified = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            see(Found { modified, path: entry.path(), len: found.len() });
        }
    }
}
