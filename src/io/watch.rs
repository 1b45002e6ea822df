//! Tells when a file is written, or replaced: itself, or a link on the way to it. Editors write
//! another file and rename it; Kubernetes swaps a link to the directory of the file.

use super::reactor::Evented;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

/// Links that are followed from one to the next.
const LINKS: usize = 8;
/// Bytes of events that are read at once; one with a name takes up to 272.
const EVENTS: usize = 2048;

/// Watches a file.
#[derive(Debug)]
pub struct Watch {
    inotify: Evented<OwnedFd>,
    path: PathBuf,
    /// Directories that are watched, and what of them leads to the file.
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    id: i32,
    file: PathBuf,
}

impl Watch {
    /// Watches `path`, which need not be there, but its directory must.
    pub fn new(path: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let inotify = Evented::new(inotify)?;
        let mut watch = Self { inotify, path: path.to_owned(), places: Vec::new() };
        watch.renew()?;
        Ok(watch)
    }

    /// Waits until the file may be another one. Whether it is shows when it is read.
    pub async fn changed(&mut self) -> io::Result<()> {
        poll_fn(|task| self.poll(task)).await?;
        self.renew()
    }

    fn poll(&self, task: &Context<'_>) -> Poll<io::Result<()>> {
        if self.inotify.poll_readable(task).is_pending() {
            return Poll::Pending;
        }
        let mut buffer = [const { MaybeUninit::uninit() }; EVENTS];
        let mut events = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
        let mut changed = false;
        loop {
            match events.next() {
                Ok(event) => changed |= self.matters(&event),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Poll::Ready(Err(e.into())),
            }
        }
        self.inotify.would_block_read();
        if changed {
            return Poll::Ready(Ok(()));
        }
        // What was read is gone: the task has to be woken by what comes.
        match self.inotify.poll_readable(task) {
            Poll::Ready(()) => self.poll(task),
            Poll::Pending => Poll::Pending,
        }
    }

    /// A file that was created is still to be written; its end brings another event. A link that
    /// was created is all there is.
    fn matters(&self, event: &inotify::Event<'_>) -> bool {
        let kind = event.events();
        let name = event.file_name().map(|name| name.to_bytes());
        let mut here = self.places.iter().filter(|place| place.id == event.wd());
        if kind.contains(ReadFlags::CREATE) {
            return here.any(|place| {
                let made = name.and_then(|name| std::str::from_utf8(name).ok());
                made.is_some_and(|made| place.file.with_file_name(made).is_symlink())
            });
        }
        if kind.contains(ReadFlags::CLOSE_WRITE) {
            let is = |place: &Place| {
                place.file.file_name().map(std::ffi::OsStr::as_encoded_bytes) == name
            };
            return here.any(is);
        }
        true
    }

    /// Watches the directories on the way to the file as it is now.
    fn renew(&mut self) -> io::Result<()> {
        let flags = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR;
        let mut places = Vec::new();
        let mut file = self.path.clone();
        for _ in 0..LINKS {
            match inotify::add_watch(self.inotify.get_ref(), directory(&file), flags) {
                Ok(id) => places.push(Place { id, file: file.clone() }),
                Err(e) if places.is_empty() => return Err(e.into()),
                // The link leads nowhere for now.
                Err(_) => break,
            }
            let Ok(to) = std::fs::read_link(&file) else { break };
            file = directory(&file).join(to);
        }
        for old in std::mem::take(&mut self.places) {
            if !places.iter().any(|place: &Place| place.id == old.id) {
                // It may be gone with its directory.
                let _ = inotify::remove_watch(self.inotify.get_ref(), old.id);
            }
        }
        self.places = places;
        Ok(())
    }
}

fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::run;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    /// A directory for one test, empty.
    fn place(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("runnel-watch-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Whether `act` is told to who watches `file`.
    fn is_told(file: PathBuf, act: impl FnOnce() + 'static) -> bool {
        run::run(move |_| async move {
            let mut watch = Watch::new(&file).unwrap();
            act();
            run::within(Duration::from_millis(300), watch.changed()).await.is_some()
        })
        .unwrap()
    }

    #[test]
    fn a_file_that_is_written_or_replaced_is_told() {
        let dir = place("written");
        let (file, other) = (dir.join("a.conf"), dir.join("b"));
        fs::write(&file, "1").unwrap();
        let to = file.clone();
        assert!(is_told(file.clone(), move || fs::write(to, "2").unwrap()));
        let (from, to) = (other.clone(), file.clone());
        assert!(is_told(file.clone(), move || {
            fs::write(&from, "3").unwrap();
            fs::rename(from, to).unwrap();
        }));
        let to = other.clone();
        assert!(!is_told(file, move || fs::write(to, "4").unwrap()), "another file");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_link_on_the_way_that_is_swapped_is_told() {
        let dir = place("links");
        for (name, text) in [("..1", "1"), ("..2", "2")] {
            fs::create_dir(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("a.conf"), text).unwrap();
        }
        symlink("..1", dir.join("..data")).unwrap();
        symlink("..data/a.conf", dir.join("a.conf")).unwrap();
        let at = dir.clone();
        assert!(is_told(dir.join("a.conf"), move || {
            symlink("..2", at.join("..tmp")).unwrap();
            fs::rename(at.join("..tmp"), at.join("..data")).unwrap();
        }));
        assert_eq!(fs::read(dir.join("a.conf")).unwrap(), b"2");
        let at = dir.join("..2/a.conf");
        assert!(is_told(dir.join("a.conf"), move || fs::write(at, "3").unwrap()), "in its place");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn without_its_directory_nothing_can_be_watched() {
        run::run(|_| async {
            assert!(Watch::new(Path::new("/nowhere/a.conf")).is_err());
        })
        .unwrap();
    }
}
