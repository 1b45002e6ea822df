//! Files at start, and how many may be open.

use super::disk::{beside, sync_directory};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The contents of a file of at most `max` bytes; a longer one is cut one byte after.
pub fn read(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Puts `bytes` in place of the file `path` at once, also when the power fails meanwhile: it holds
/// the old text or the new one. The old one stays as `<path>.bak`. Links are followed, the
/// permissions stay. Waits for the medium.
pub fn store(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let (temp, backup) = (beside(&path, ".new"), beside(&path, ".bak"));
    let written = write_through(&temp, bytes, fs::metadata(&path)?.permissions());
    let stored = written.and_then(|()| {
        let _ = fs::remove_file(&backup);
        // Some file systems have no links.
        if fs::hard_link(&path, &backup).is_err() {
            fs::copy(&path, &backup)?;
        }
        fs::rename(&temp, &path)?;
        sync_directory(&path)
    });
    stored.inspect_err(|_| drop(fs::remove_file(&temp)))
}

fn write_through(path: &Path, bytes: &[u8], mode: Permissions) -> io::Result<()> {
    // Not readable by others at any moment.
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(mode)?;
    file.sync_all()
}

/// What relative paths are relative to from now on.
pub fn change_directory(path: &Path) -> io::Result<()> {
    std::env::set_current_dir(path)
}

/// What relative paths are relative to; empty when that directory is gone.
pub fn current_directory() -> String {
    let directory = std::env::current_dir();
    directory.map_or_else(|_| String::new(), |path| path.display().to_string())
}

/// The bytes that are free, for this user, on the file system of `path`. For a path that does not
/// exist it is that of the nearest directory above.
pub fn free(path: &Path) -> io::Result<u64> {
    for above in path.ancestors() {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match rustix::fs::statvfs(above) {
            Ok(stat) => return Ok(stat.f_bavail.saturating_mul(stat.f_frsize)),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Whether this process is in a container: of Docker, Podman, systemd or Kubernetes.
pub fn is_in_container() -> bool {
    let marks = ["/.dockerenv", "/run/.containerenv"];
    let names = ["container", "KUBERNETES_SERVICE_HOST"];
    marks.iter().any(|mark| Path::new(mark).exists())
        || names.iter().any(|name| std::env::var_os(name).is_some())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::disk::testing::Dir;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn a_file_is_replaced_whole_and_its_former_text_stays() {
        let dir = Dir::new();
        let (file, link) = (dir.join("a.conf"), dir.join("link.conf"));
        let mut made = fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(&file);
        made.as_mut().unwrap().write_all(b"1").unwrap();
        symlink(&file, &link).unwrap();
        for text in ["2", "3"] {
            store(&link, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        assert_eq!(fs::read_to_string(dir.join("a.conf.bak")).unwrap(), "2");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "no .new is left");
        assert!(store(&dir.join("none"), b"x").is_err());
    }
}
