//! The file with the number of the process, locked as long as it runs.

use rustix::fs::{FlockOperation, fcntl_lock};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process;

/// A locked file; it is deleted when this is dropped.
#[derive(Debug)]
pub struct PidFile {
    file: File,
    path: PathBuf,
}

/// Why there is none.
#[derive(Debug)]
pub enum Refused {
    /// Another process holds it: the one with this number, if it has said so.
    Held(Option<u32>),
    /// It cannot be written.
    Io(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(Some(pid)) => write!(f, "already running, as process {pid}"),
            Self::Held(None) => f.write_str("already running"),
            Self::Io(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for Refused {}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl PidFile {
    /// Locks `path`, which is created where it is missing, and writes the number of this process.
    /// The lock is that of SRS (`fcntl`): the system opens it when the process ends, however it
    /// does.
    pub fn lock(path: &Path) -> Result<Self, Refused> {
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o644);
            let mut file = options.open(path)?;
            if let Err(e) = fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                use rustix::io::Errno;
                if e != Errno::AGAIN && e != Errno::ACCESS {
                    return Err(io::Error::from(e).into());
                }
                let mut text = String::new();
                let read = (&mut file).take(PID_MAX).read_to_string(&mut text);
                return Err(Refused::Held(read.ok().and_then(|_| text.trim().parse().ok())));
            }
            if !is_at(&file, path) {
                // Whoever had it before deleted it between our two steps.
                continue;
            }
            file.set_len(0)?;
            file.write_all(process::id().to_string().as_bytes())?;
            return Ok(Self { file, path: path.to_owned() });
        }
    }

    /// Whether `path` is a name of this file.
    pub fn is_at(&self, path: &Path) -> bool {
        is_at(&self.file, path)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // While it is locked nobody else takes it for theirs.
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether `path` is still the name of `file`.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), fs::metadata(path)) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

/// Bytes of a file that are looked at.
const PID_MAX: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_there_as_long_as_it_is_locked() {
        let dir = std::env::temp_dir().join(format!("runnel-{}-pidfile", process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a.pid");
        fs::write(&path, "a stale number, and more").unwrap();
        let held = PidFile::lock(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), process::id().to_string());
        drop(held);
        assert!(!path.exists());
        // Somebody else's by now.
        let held = PidFile::lock(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "1").unwrap();
        drop(held);
        assert!(path.exists());
        assert!(matches!(PidFile::lock(&dir.join("no/such")), Err(Refused::Io(_))));
        fs::remove_dir_all(&dir).unwrap();
    }
}
