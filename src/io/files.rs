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
