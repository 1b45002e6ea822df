//! Files that are sent to clients. A thread of their own opens and reads them, so that a disk that
//! stalls holds up no stream; they are read in pieces, a bounded number of which is in memory.

use crate::io::sandbox;
use crate::limits::{FILE_PIECE, FILE_PIECES, FILES_OPEN, MP4_INDEXES};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use smol::channel::{Receiver, Sender, bounded};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Work that waits for the thread; whoever has more waits with it.
const QUEUE: usize = 16;

type Job = Box<dyn FnOnce() + Send>;
type Rooms = (Sender<()>, Receiver<()>);

thread_local! {
    static QUEUED: RefCell<Option<Sender<Job>>> = const { RefCell::new(None) };
    static PIECES: Rooms = rooms(FILE_PIECES);
    /// Memory of pieces that are gone.
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static OPEN: Cell<usize> = const { Cell::new(0) };
    static ROOMS: Rooms = rooms(MP4_INDEXES);
}

/// What stands at a path.
#[derive(Debug)]
pub enum Found {
    /// A regular file, opened.
    File(Opened),
    /// A directory.
    Directory,
}

/// A file that may be read. At most [`FILES_OPEN`] at once.
#[derive(Debug)]
pub struct Opened {
    file: Arc<File>,
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970 at which it was changed.
    pub modified: u64,
    _slot: Slot,
}

/// A piece of a file. Its memory is used again when it is dropped.
#[derive(Debug)]
pub struct Piece(Vec<u8>);

/// Opens what stands at `path`, whose parts are separated by `/`, in or below the directory `root`:
/// no `..` and no symbolic link leads out of it. [`io::ErrorKind::NotFound`] for whatever is
/// neither a file nor a directory; `ResourceBusy` when too many files are open.
pub async fn open(root: &str, path: &str) -> io::Result<Found> {
    let slot = Slot::take().ok_or(io::ErrorKind::ResourceBusy)?;
    let (root, path) = (PathBuf::from(root), path.trim_matches('/').to_owned());
    let found = run(move || open_beneath(&root, &path)).await??;
    let Some((file, size, modified)) = found else { return Ok(Found::Directory) };
    Ok(Found::File(Opened { file: Arc::new(file), size, modified, _slot: slot }))
}

/// Opens a file that the configuration names, wherever it is and whatever links lead there.
pub async fn open_named(path: &str) -> io::Result<Opened> {
    let slot = Slot::take().ok_or(io::ErrorKind::ResourceBusy)?;
    let path = PathBuf::from(path);
    let (file, size, modified) = run(move || {
        // A pipe must not be waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let found = regular(openat(CWD, &path, flags, Mode::empty())?)?;
        found.ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))
    })
    .await??;
    Ok(Opened { file: Arc::new(file), size, modified, _slot: slot })
}

impl Opened {
    /// Up to `len` bytes at `at`, no more than [`FILE_PIECE`]; less only where the file ends.
    pub async fn read(&self, at: u64, len: u64) -> io::Result<Piece> {
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(FILE_PIECE);
        let pieces = PIECES.with(|(_, rooms)| rooms.clone());
        pieces.recv().await.map_err(|_| io::ErrorKind::Other)?;
        let mut piece = Piece(FREE.with_borrow_mut(Vec::pop).unwrap_or_default());
        let mut bytes = std::mem::take(&mut piece.0);
        let file = self.file.clone();
        let (bytes, result) = run(move || {
            bytes.resize(len, 0);
            let read = read_full(&file, &mut bytes, at);
            (bytes, read)
        })
        .await?;
        piece.0 = bytes;
        piece.0.truncate(result?);
        Ok(piece)
    }

    /// Gives `job` to the thread for files, with a way to read up to so many bytes at a place: for
    /// what takes many short reads. Nothing else is read meanwhile.
    pub async fn search<T: Send + 'static>(
        &self,
        job: impl FnOnce(&dyn Fn(u64, usize) -> io::Result<Vec<u8>>) -> T + Send + 'static,
    ) -> io::Result<T> {
        let file = self.file.clone();
        run(move || {
            job(&|at, len| {
                let mut bytes = vec![0; len];
                let read = read_full(&file, &mut bytes, at)?;
                bytes.truncate(read);
                Ok(bytes)
            })
        })
        .await
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // The thread may be at its end.
        let _ = FREE.try_with(|free| free.borrow_mut().push(std::mem::take(&mut self.0)));
        let _ = PIECES.try_with(|(rooms, _)| rooms.try_send(()));
    }
}

/// Room for one of [`MP4_INDEXES`] in memory.
#[derive(Debug)]
pub struct Room(());

impl Room {
    /// Waits until there is some.
    pub async fn take() -> io::Result<Self> {
        let free = ROOMS.with(|(_, free)| free.clone());
        free.recv().await.map_err(|_| io::ErrorKind::Other)?;
        Ok(Self(()))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = ROOMS.try_with(|(rooms, _)| rooms.try_send(()));
    }
}

/// One of [`FILES_OPEN`].
#[derive(Debug)]
struct Slot(());

impl Slot {
    fn take() -> Option<Self> {
        let open = OPEN.get();
        (open < FILES_OPEN).then(|| {
            OPEN.set(open + 1);
            Self(())
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        OPEN.set(OPEN.get().saturating_sub(1));
    }
}

/// Whoever takes one of `count` gives it back.
fn rooms(count: usize) -> Rooms {
    let rooms = bounded(count);
    for _ in 0..count {
        let _ = rooms.0.try_send(());
    }
    rooms
}

/// Runs `job` on the thread for files.
pub(super) async fn run<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let result = Arc::new(Mutex::new(None));
    let place = result.clone();
    run_job(Box::new(move || *lock(&place) = Some(job()))).await?;
    let result = lock(&result).take();
    result.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
}

/// The same for every type of result, so that it is in the image once.
async fn run_job(job: Job) -> io::Result<()> {
    let (sender, receiver) = bounded(1);
    let job: Job = Box::new(move || {
        job();
        let _ = sender.try_send(());
    });
    let queue = QUEUED.with_borrow_mut(|slot| match slot {
        Some(queue) => Ok(queue.clone()),
        None => start().inspect(|queue| *slot = Some(queue.clone())),
    })?;
    queue.send(job).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
    receiver.recv().await.map_err(|_| io::ErrorKind::BrokenPipe.into())
}

fn lock<T>(result: &Mutex<T>) -> MutexGuard<'_, T> {
    result.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start() -> io::Result<Sender<Job>> {
    let (sender, receiver) = bounded::<Job>(QUEUE);
    thread::Builder::new().name("files".into()).spawn(move || {
        while let Ok(job) = receiver.recv_blocking() {
            job();
        }
    })?;
    Ok(sender)
}

fn read_full(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// `None` for a directory, else the file, its size, when it was changed.
fn open_beneath(root: &Path, path: &str) -> io::Result<Option<(File, u64, u64)>> {
    let root =
        openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = if path.is_empty() { "." } else { path };
    // A pipe must not be waited for.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = if sandbox::ends_for_new_calls() {
        walk(&root, path, flags)?
    } else {
        match openat2(&root, path, flags, Mode::empty(), resolve) {
            // Older than Linux 5.6, or forbidden by a sandbox that is.
            Err(Errno::NOSYS | Errno::PERM) => walk(&root, path, flags)?,
            result => result?,
        }
    };
    regular(file)
}

/// `None` for a directory, else the file, its size, when it was changed. Others are not found.
fn regular(file: OwnedFd) -> io::Result<Option<(File, u64, u64)>> {
    // By std: rustix's fstat reads wild memory on 32-bit MIPS (1.1.6, libc back end).
    let file = File::from(file);
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Ok(None);
    }
    if !metadata.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    // Before 1970 is 1970.
    let modified = u64::try_from(metadata.mtime()).unwrap_or_default();
    Ok(Some((file, metadata.len(), modified)))
}

/// Opens `path` part by part, following no symbolic link.
fn walk(root: &impl AsFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut dir = root.as_fd().try_clone_to_owned().map_err(|_| Errno::MFILE)?;
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        if part == ".." {
            return Err(Errno::XDEV);
        }
        let step = if parts.peek().is_some() {
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC
        } else {
            flags
        };
        dir = openat(&dir, part, step | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::run;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, SystemTime};

    fn tree(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("runnel-read-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("www/sub")).unwrap();
        std::fs::write(root.join("www/sub/file"), b"0123456789").unwrap();
        std::fs::write(root.join("secret"), b"secret").unwrap();
        symlink("../../secret", root.join("www/sub/out")).unwrap();
        symlink("/etc/passwd", root.join("www/absolute")).unwrap();
        symlink("..", root.join("www/up")).unwrap();
        root
    }

    #[test]
    fn nothing_outside_the_directory_is_opened() {
        let root = tree("beneath");
        let www = root.join("www");
        let dir = openat(CWD, &www, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        for path in ["sub/out", "absolute", "up/secret", "../secret", "sub/../../secret", "none"] {
            assert!(open_beneath(&www, path).is_err(), "{path}");
            assert!(walk(&dir, path, OFlags::RDONLY).is_err(), "{path}");
        }
        assert!(open_beneath(&www, "sub").unwrap().is_none());
        assert!(open_beneath(&www, "").unwrap().is_none());
        let (_, size, modified) = open_beneath(&www, "sub/file").unwrap().unwrap();
        assert!(size == 10 && modified > 1_000_000_000);
        assert!(walk(&dir, "sub/file", OFlags::RDONLY).is_ok());
        let _ = std::fs::remove_dir_all(root);
    }

    #[test]
    fn a_file_may_be_of_any_year() {
        // After 2106: 32 bits have no room for it, whether they have a sign or not.
        let late = (1 << 32) + 86_400;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(late);
        let shared = PathBuf::from("/dev/shm");
        // A file system in memory has every time; others may end in 2038.
        let every = shared.is_dir();
        let root = if every { shared } else { std::env::temp_dir() };
        let path = root.join(format!("runnel-read-late-{}", std::process::id()));
        let set = File::create(&path).and_then(|file| file.set_modified(time));
        // Fails where time_t has 32 bits: on MIPS timers do not fire then (boards/cross).
        set.expect("a file of after 2106");
        let found = open_beneath(&root, path.file_name().unwrap().to_str().unwrap());
        let told = std::fs::metadata(&path).and_then(|found| found.modified());
        let _ = std::fs::remove_file(&path);
        let (_, _, modified) = found.unwrap().unwrap();
        if !every && modified < late {
            eprintln!(
                "SKIPPED: the file system has no time after 2038 (a_file_may_be_of_any_year)"
            );
            return;
        }
        assert_eq!(modified, late);
        assert_eq!(told.unwrap(), time);
    }

    #[test]
    fn files_are_read_in_pieces_by_another_thread() {
        let root = tree("pieces");
        let www = root.join("www").to_string_lossy().into_owned();
        run::run(|_| async move {
            let Found::File(file) = open(&www, "/sub/file").await.unwrap() else { panic!() };
            assert_eq!(&*file.read(0, 4).await.unwrap(), b"0123");
            assert_eq!(&*file.read(8, 100).await.unwrap(), b"89");
            assert_eq!(&*file.read(10, 100).await.unwrap(), b"");
            assert!(matches!(open(&www, "sub").await, Ok(Found::Directory)));
            for _ in 0..2 * FILES_OPEN {
                open(&www, "none").await.unwrap_err();
            }
        })
        .unwrap();
        let _ = std::fs::remove_dir_all(root);
    }

    #[test]
    fn no_more_files_are_open_than_allowed() {
        let slots: Vec<_> = std::iter::from_fn(Slot::take).collect();
        assert_eq!(slots.len(), FILES_OPEN);
        drop(slots);
        assert!(Slot::take().is_some());
    }
}
