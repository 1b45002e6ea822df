//! Files at start, and how many may be open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The contents of a file of at most `max` bytes; a longer one is cut one byte after.
pub fn read(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What relative paths are relative to from now on.
pub fn change_directory(path: &Path) -> io::Result<()> {
    std::env::set_current_dir(path)
}

/// Makes sure that `needed` files can be open at once (RLIMIT_NOFILE). The soft limit is ours to
/// raise; beyond the hard one it fails with the most that is possible.
pub fn allow_open(needed: u64) -> Result<(), u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| needed <= current) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
    let may = limit.maximum.is_none_or(|most| needed <= most);
    if may && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    Err(limit.maximum.or(limit.current).unwrap_or_default())
}
