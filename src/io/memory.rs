//! How much memory there is for this process.

use crate::io::files;
use rustix::process::{Resource, getrlimit};
use std::path::{Path, PathBuf};

/// The bytes that this process may still take: what the machine has to spare, or less where a
/// control group or `ulimit -v` says so. Nothing where the system does not tell.
pub fn available() -> Option<usize> {
    let spare = text("/proc/meminfo").and_then(|text| spare(&text));
    let group = text("/proc/self/cgroup")
        .and_then(|text| groups(&text).into_iter().filter_map(|dir| group(&dir)).min());
    let address_space = getrlimit(Resource::As).current;
    let least = [spare, group, address_space].into_iter().flatten().min()?;
    Some(usize::try_from(least).unwrap_or(usize::MAX))
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    files::read(path.as_ref(), MOST).ok().and_then(|bytes| String::from_utf8(bytes).ok())
}

/// `MemAvailable` of /proc/meminfo.
fn spare(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The directories of the control groups of version 2 that /proc/self/cgroup names, and the root:
/// in a container that is the group itself.
fn groups(text: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    root.join(own)
        .ancestors()
        .take_while(|dir| dir.starts_with(root))
        .map(Path::to_path_buf)
        .collect()
}

/// What the group at `dir` may still take. Without a limit it says `max`.
fn group(dir: &Path) -> Option<u64> {
    let number = |name| text(dir.join(name))?.trim().parse::<u64>().ok();
    let most = number("memory.max")?;
    Some(most.saturating_sub(number("memory.current").unwrap_or_default()))
}

/// Of the files that are read here.
const MOST: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_how_much_there_is() {
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
        assert_eq!(
            spare("MemTotal: 8 kB\nMemAvailable:   123 kB\nBuffers: 1 kB\n"),
            Some(123 << 10)
        );
        for text in
            ["", "MemAvailable: x kB", "MemAvailable:", "MemAvailable: 99999999999999999999 kB"]
        {
            assert_eq!(spare(text), None, "{text}");
        }
    }

    #[test]
    fn a_control_group_stands_in_those_above() {
        let dirs = groups("12:cpu:/x\n0::/system.slice/runnel.service\n");
        let names: Vec<_> = dirs.iter().map(|dir| dir.to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "/sys/fs/cgroup/system.slice/runnel.service",
                "/sys/fs/cgroup/system.slice",
                "/sys/fs/cgroup"
            ]
        );
        assert_eq!(groups(""), [Path::new("/sys/fs/cgroup")]);
        assert_eq!(group(Path::new("/no/such/group")), None);
    }
}
