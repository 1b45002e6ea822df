//! Room for recordings: the oldest ones are deleted for it.

use super::journal::Journal;
use crate::config::Dvr;
use crate::io::disk::Reply;
use crate::io::storage::{self, Found};
use crate::limits::OLDEST_FILES;
use crate::service::path::Template;
use std::collections::BinaryHeap;
use std::io;
use std::path::{Path, PathBuf};

/// What a vhost says of room.
#[derive(Clone, Debug)]
pub(super) struct Space {
    template: Template,
    vhost: String,
    min_free: u64,
    max_bytes: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is enough.
    Enough,
    /// There is less than `dvr_min_free`, and no recording left to delete.
    Short {
        /// Bytes that are free.
        free: u64,
    },
}

impl Space {
    /// Of the files that `template` makes for `vhost`.
    pub(super) fn new(template: &Template, vhost: &str, dvr: &Dvr) -> Self {
        Self {
            template: template.clone(),
            vhost: vhost.to_owned(),
            min_free: dvr.dvr_min_free.0,
            max_bytes: dvr.dvr_max_bytes.0,
        }
    }

    /// Whether anything is asked for.
    pub(super) const fn is_bounded(&self) -> bool {
        self.min_free > 0 || self.max_bytes > 0
    }

    /// Has the disk make room.
    pub(super) fn make(&self, journal: &Journal) -> Reply<io::Result<Room>> {
        let (space, root, busy) = (self.clone(), journal.root().to_owned(), journal.busy());
        journal.disk().ask(move || space.free(&root, &busy, &storage::free))
    }

    fn free(
        &self,
        root: &Path,
        busy: &[PathBuf],
        free: &dyn Fn(&Path) -> io::Result<u64>,
    ) -> io::Result<Room> {
        loop {
            let now = free(root)?;
            let missing = self.min_free.saturating_sub(now);
            if missing == 0 && self.max_bytes == 0 {
                return Ok(Room::Enough);
            }
            let (oldest, total) = self.oldest(root, busy);
            let too_many = match self.max_bytes {
                0 => 0,
                max => total.saturating_sub(max),
            };
            let mut wanted = missing.max(too_many);
            if wanted == 0 {
                return Ok(Room::Enough);
            }
            let mut deleted = false;
            for found in oldest {
                if wanted == 0 {
                    break;
                }
                match storage::remove(&found.path, root) {
                    Ok(()) => {
                        log::info!("dvr: {} deleted, to make room", found.path.display());
                        wanted = wanted.saturating_sub(found.len);
                        deleted = true;
                    }
                    Err(e) => log::warn!("dvr: {} stays: {e}", found.path.display()),
                }
            }
            if !deleted {
                return Ok(if missing > 0 { Room::Short { free: now } } else { Room::Enough });
            }
        }
    }

    /// The oldest recordings, oldest first, and the bytes of all.
    fn oldest(&self, root: &Path, busy: &[PathBuf]) -> (Vec<Found>, u64) {
        let mut oldest = BinaryHeap::new();
        let mut total = 0_u64;
        storage::walk(root, &mut |found| {
            let name = found.path.to_string_lossy();
            // A template without a directory gives names without `./`.
            let bare = name.strip_prefix("./").unwrap_or(&name);
            let ours = |name: &str| {
                let name = name.strip_suffix(".tmp").unwrap_or(name);
                self.template.matches(&self.vhost, name)
            };
            if !ours(&name) && !ours(bare) {
                return;
            }
            total = total.saturating_add(found.len);
            let used = busy.iter().any(|busy| *busy == found.path || *busy == Path::new(bare));
            if !used && !name.ends_with(".tmp") {
                oldest.push(found);
                if oldest.len() > OLDEST_FILES {
                    oldest.pop();
                }
            }
        });
        (oldest.into_sorted_vec(), total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Size;
    use crate::io::disk::testing::Dir;
    use std::fs;
    use std::time::{Duration, SystemTime};

    fn space(dir: &Dir, min_free: u64, max_bytes: u64) -> Space {
        let path = format!("{}/[app]/[stream].[timestamp].flv", dir.path().display());
        let dvr =
            Dvr { dvr_min_free: Size(min_free), dvr_max_bytes: Size(max_bytes), ..Dvr::default() };
        Space::new(&Template::new(&path), "v", &dvr)
    }

    /// Ten recordings of 100 bytes, oldest first, and files that are none.
    fn fill(dir: &Dir) -> Vec<PathBuf> {
        for app in 0..5 {
            fs::create_dir_all(dir.join(&format!("app{app}"))).unwrap();
        }
        let put = |name: &str, age: u64| {
            let path = dir.join(name);
            fs::write(&path, [0; 100]).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
            path
        };
        put("app0/holiday.flv", 99_999);
        put("index.html", 99_999);
        put("app1/cam.5.flv.tmp", 99_999);
        (0..10).map(|i| put(&format!("app{}/cam.{i}.flv", i / 2), 1000 - i)).collect()
    }

    #[test]
    fn the_oldest_recordings_go_first_and_nothing_else() {
        let dir = Dir::new();
        let files = fill(&dir);
        // Eleven count, with the unfinished one.
        let room = space(&dir, 0, 650).free(dir.path(), &files[1..2], &|_| Ok(0)).unwrap();
        assert_eq!(room, Room::Enough);
        let left: Vec<_> = files.iter().map(|file| file.exists()).collect();
        assert_eq!(
            left,
            [false, true, false, false, false, false, true, true, true, true],
            "the one that is being written stays"
        );
        assert!(dir.join("app0/holiday.flv").exists() && dir.join("index.html").exists());
        assert!(dir.join("app1/cam.5.flv.tmp").exists());
        assert!(!dir.join("app2").exists(), "a directory that is empty goes too");
    }

    #[test]
    fn free_space_is_made_until_nothing_is_left_to_delete() {
        let dir = Dir::new();
        let files = fill(&dir);
        let free =
            |_: &Path| Ok(1000 - 100 * files.iter().filter(|file| file.exists()).count() as u64);
        let room = space(&dir, 300, 0).free(dir.path(), &[], &free).unwrap();
        assert_eq!(room, Room::Enough);
        assert_eq!(files.iter().filter(|file| file.exists()).count(), 7);
        let room = space(&dir, 2000, 0).free(dir.path(), &[], &free).unwrap();
        assert_eq!(room, Room::Short { free: 1000 });
        assert!(dir.join("app0/holiday.flv").exists());
    }
}
