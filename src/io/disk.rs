//! Files written while streams run: one thread of the process does it, everybody else only puts
//! work into its queue, which is bounded in bytes. A card that stalls for a second stalls nobody.
//!
//! Work is done in the order in which it was given, whatever file it is for. What goes wrong with
//! a file is kept for its owner to see ([`File::failed`]); the file ignores the rest.

use crate::limits::{DISK_QUEUE, DISK_RESERVE};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// The queue has no room: the disk is slower than what is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DISK_QUEUE} bytes wait for the disk already")
    }
}

impl std::error::Error for Full {}

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreateOptions {
    /// Makes the directories that are missing.
    pub dirs: bool,
    /// Keeps what is in the file and writes behind it; else the file begins empty.
    pub append: bool,
    /// Fails when the file exists.
    pub exclusive: bool,
}

/// The thread. Cheap to clone; it ends, with its work done, after the last handle and file.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Owner>);

impl Disk {
    /// A handle whose thread starts when there is work for it.
    pub fn new() -> Self {
        Self(Arc::new(Owner(Arc::default())))
    }

    /// A handle whose thread runs already.
    pub fn start() -> io::Result<Self> {
        let disk = Self::new();
        disk.0.0.start(&mut disk.0.0.queue())?;
        Ok(disk)
    }

    /// Opens `path` for writing.
    pub fn create(&self, path: impl Into<PathBuf>, options: CreateOptions) -> File {
        let path = path.into();
        let cost = COST + path.as_os_str().len();
        let state = Arc::new(FileState::default());
        state.open().path.clone_from(&path);
        let file = File { disk: self.clone(), state };
        file.job(cost, DISK_RESERVE, move |open| {
            open.file = Some(create(&path, options)?);
            Ok(())
        });
        file
    }

    /// Deletes a file. That there is none, or that it cannot be deleted, is only logged.
    pub fn remove(&self, path: impl Into<PathBuf>) {
        let path = path.into();
        self.run(move || {
            if let Err(e) = fs::remove_file(&path) {
                log::warn!("remove {}: {e}", path.display());
            }
        });
    }

    /// Renames a file. That it fails is only logged.
    pub fn rename(&self, from: impl Into<PathBuf>, to: impl Into<PathBuf>) {
        let (from, to) = (from.into(), to.into());
        self.run(move || {
            if let Err(e) = fs::rename(&from, &to) {
                log::warn!("rename {} to {}: {e}", from.display(), to.display());
            }
        });
    }

    /// Puts `bytes` in place of the file at once: readers see the old file or the new one. Its
    /// directory is made when it is missing. The answer need not be waited for.
    pub fn replace(
        &self,
        path: impl Into<PathBuf>,
        bytes: Bytes,
    ) -> Result<Reply<io::Result<()>>, Full> {
        let path = path.into();
        let cost = bytes.len() + path.as_os_str().len();
        self.ask_within(cost, DISK_QUEUE, move || {
            make_parent(&path)?;
            let temp = beside(&path, ".temp");
            let written = fs::write(&temp, &bytes).and_then(|()| fs::rename(&temp, &path));
            written.inspect_err(|_| drop(fs::remove_file(&temp)))
        })
    }

    /// The bytes that are free, for this user, on the file system of `path`. For a path that does
    /// not exist it is that of the nearest directory above.
    pub fn free(&self, path: impl Into<PathBuf>) -> Reply<io::Result<u64>> {
        let path = path.into();
        self.ask(move || crate::io::files::free(&path))
    }

    /// Has the thread do `work`, after all that was given before, and gives the answer. Never
    /// ready when even the reserve of the queue is used up: [`Reply`] tells.
    pub fn ask<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Reply<T> {
        let asked = self.ask_within(0, DISK_RESERVE, work);
        asked.unwrap_or_else(|Full| Reply(Arc::new(Mutex::new(Answer::Refused))))
    }

    /// The bytes that wait to be written.
    pub fn queued(&self) -> usize {
        self.0.0.queue().cost
    }

    /// Waits until all work is done, `timeout` at most. Whether it is. Blocks: for the end of the
    /// process and for tests.
    pub fn finish(&self, timeout: Duration) -> bool {
        let start = Instant::now();
        let shared = &self.0.0;
        let mut queue = shared.queue();
        while queue.busy || !queue.jobs.is_empty() {
            let Some(left) = timeout.checked_sub(start.elapsed()) else { return false };
            let waited = shared.idle.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn ask_within<T: Send + 'static>(
        &self,
        cost: usize,
        room: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Reply<T>, Full> {
        let answer = Arc::new(Mutex::new(Answer::Waited(None)));
        let reply = Reply(answer.clone());
        let work = Box::new(move || {
            let value = work();
            let before = std::mem::replace(&mut *lock(&answer), Answer::Here(value));
            if let Answer::Waited(Some(waker)) = before {
                waker.wake();
            }
        });
        self.0.0.push(COST + cost, room, Work::Plain(work))?;
        Ok(reply)
    }

    fn run(&self, work: impl FnOnce() + Send + 'static) {
        if self.0.0.push(COST, DISK_RESERVE, Work::Plain(Box::new(work))).is_err() {
            log::error!("disk: {Full}, and the reserve is used up: an order to it is lost");
        }
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

/// A file that is being written. When it is dropped it is closed.
#[derive(Debug)]
pub struct File {
    disk: Disk,
    state: Arc<FileState>,
}

impl File {
    /// Writes behind what was written. [`Full`] and nothing written when the queue has no room.
    pub fn append(&self, bytes: Bytes) -> Result<(), Full> {
        self.write(bytes.len(), DISK_QUEUE, move |file| file.write_all(&bytes))
    }

    /// Writes at `offset`, over what is there. It may use the reserve of the queue: it is what
    /// finishes a file.
    pub fn write_at(&self, offset: u64, bytes: Bytes) -> Result<(), Full> {
        self.write(bytes.len(), DISK_RESERVE, move |file| file.write_all_at(&bytes, offset))
    }

    /// Has the system write all of it to the medium. The file fails when its name is gone by now:
    /// nobody would find what is written.
    pub fn sync(&self) {
        self.job(COST, DISK_RESERVE, |open| {
            let file = open.file()?;
            file.sync_data()?;
            let number = file.metadata()?.ino();
            if fs::metadata(&open.path)?.ino() != number {
                return Err(io::Error::other("somebody put another file in its place"));
            }
            if !std::mem::replace(&mut open.named, true) {
                sync_directory(&open.path)?;
            }
            Ok(())
        });
    }

    /// Gives the file another name, for good: also when the power fails right after.
    pub fn rename(&self, to: impl Into<PathBuf>) {
        let to = to.into();
        self.job(COST + to.as_os_str().len(), DISK_RESERVE, move |open| {
            fs::rename(&open.path, &to)?;
            open.path = to;
            sync_directory(&open.path)
        });
    }

    /// Closes and deletes it.
    pub fn remove(self) {
        self.job(COST, DISK_RESERVE, |open| {
            open.file = None;
            fs::remove_file(&open.path)
        });
    }

    /// Closes it. The answer, which need not be waited for, tells how everything went.
    pub fn close(self) -> Reply<Result<(), String>> {
        let state = self.state.clone();
        self.disk.ask(move || {
            state.open().file = None;
            state.failed.get().map_or(Ok(()), |e| Err(e.clone()))
        })
    }

    /// Gives it up: it ignores everything from now on.
    pub fn fail(&self, why: &str) {
        // The first reason stays.
        let _ = self.state.failed.set(why.to_owned());
    }

    /// What went wrong, if something did: the file ignores everything since.
    pub fn failed(&self) -> Option<&str> {
        self.state.failed.get().map(String::as_str)
    }

    fn write(
        &self,
        len: usize,
        room: usize,
        work: impl FnOnce(&mut fs::File) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Full> {
        self.try_job(COST + len, room, Box::new(move |open| work(open.file()?)))
    }

    /// For what must not get lost: without room for it the file fails.
    fn job(
        &self,
        cost: usize,
        room: usize,
        work: impl FnOnce(&mut Open) -> io::Result<()> + Send + 'static,
    ) {
        if let Err(full) = self.try_job(cost, room, Box::new(work)) {
            let _ = self.state.failed.set(full.to_string());
        }
    }

    fn try_job(&self, cost: usize, room: usize, work: FileWork) -> Result<(), Full> {
        if self.state.failed.get().is_some() {
            return Ok(());
        }
        self.disk.0.0.push(cost, room, Work::On(self.state.clone(), work))
    }
}

impl Drop for File {
    /// Closing may take its time too, so it is the thread that does it.
    fn drop(&mut self) {
        let state = self.state.clone();
        self.disk.run(move || state.open().file = None);
    }
}

/// What the thread answers. Waiting for it is not necessary.
#[derive(Debug)]
pub struct Reply<T>(Arc<Mutex<Answer<T>>>);

#[derive(Debug)]
enum Answer<T> {
    /// Not yet; whoever waits for it.
    Waited(Option<Waker>),
    Here(T),
    Taken,
    /// There was no room for the question.
    Refused,
}

impl<T> Reply<T> {
    /// The answer if it is here, once.
    pub fn take(&mut self) -> Option<Result<T, Full>> {
        let mut answer = lock(&self.0);
        match &*answer {
            Answer::Waited(_) | Answer::Taken => None,
            Answer::Refused => Some(Err(Full)),
            Answer::Here(_) => match std::mem::replace(&mut *answer, Answer::Taken) {
                Answer::Here(value) => Some(Ok(value)),
                _ => None,
            },
        }
    }
}

impl<T> Future for Reply<T> {
    type Output = Result<T, Full>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(answer) = self.take() {
            return Poll::Ready(answer);
        }
        let mut answer = lock(&self.0);
        match &mut *answer {
            Answer::Waited(waker) => {
                *waker = Some(task.waker().clone());
                Poll::Pending
            }
            // It came between the two looks.
            _ => {
                task.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// Tells the thread when it is not needed any more.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.queue().closing = true;
        self.0.work.notify_one();
    }
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is something to do.
    work: Condvar,
    /// All is done.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Of all jobs, the one that is being done too.
    cost: usize,
    running: bool,
    busy: bool,
    closing: bool,
}

struct Job {
    cost: usize,
    work: Work,
}

enum Work {
    Plain(Box<dyn FnOnce() + Send>),
    /// On a file that has not failed.
    On(Arc<FileState>, FileWork),
}

type FileWork = Box<dyn FnOnce(&mut Open) -> io::Result<()> + Send>;

impl Work {
    fn run(self) {
        let (state, work) = match self {
            Self::Plain(work) => return work(),
            Self::On(state, work) => (state, work),
        };
        if state.failed.get().is_some() {
            return;
        }
        let mut open = state.open();
        if let Err(e) = work(&mut open) {
            let _ = state.failed.set(format!("{}: {e}", open.path.display()));
            open.file = None;
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({})", self.cost)
    }
}

impl Shared {
    fn push(self: &Arc<Self>, cost: usize, room: usize, work: Work) -> Result<(), Full> {
        let mut queue = self.queue();
        // One that is larger than the queue goes alone.
        if queue.cost > 0 && queue.cost.saturating_add(cost) > room {
            return Err(Full);
        }
        if let Err(e) = self.start(&mut queue) {
            log::error!("the disk has no thread: {e}");
            return Err(Full);
        }
        queue.cost += cost;
        queue.jobs.push_back(Job { cost, work });
        drop(queue);
        self.work.notify_one();
        Ok(())
    }

    fn start(self: &Arc<Self>, queue: &mut Queue) -> io::Result<()> {
        if !queue.running {
            let shared = self.clone();
            let thread = thread::Builder::new().name("disk".into()).stack_size(STACK);
            thread.spawn(move || shared.run())?;
            queue.running = true;
        }
        Ok(())
    }

    fn run(&self) {
        let mut queue = self.queue();
        loop {
            while let Some(job) = queue.jobs.pop_front() {
                queue.busy = true;
                drop(queue);
                job.work.run();
                queue = self.queue();
                queue.busy = false;
                queue.cost -= job.cost;
            }
            self.idle.notify_all();
            if queue.closing {
                return;
            }
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

#[derive(Debug, Default)]
struct FileState {
    /// Only the thread uses it while it runs.
    open: Mutex<Open>,
    failed: OnceLock<String>,
}

#[derive(Debug, Default)]
struct Open {
    path: PathBuf,
    file: Option<fs::File>,
    /// The name is on the medium too.
    named: bool,
}

impl Open {
    fn file(&mut self) -> io::Result<&mut fs::File> {
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl FileState {
    fn open(&self) -> MutexGuard<'_, Open> {
        lock(&self.open)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn create(path: &Path, options: CreateOptions) -> io::Result<fs::File> {
    if options.dirs {
        make_parent(path)?;
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .create_new(options.exclusive)
        .truncate(!options.append)
        .open(path)?;
    if options.append {
        file.seek(SeekFrom::End(0))?;
    }
    Ok(file)
}

/// Makes the directories that `path` lies in.
pub fn make_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => fs::create_dir_all(parent),
        _ => Ok(()),
    }
}

/// Has the system write the directory that `path` lies in to the medium, so that a name given or
/// taken there stays so.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// `path` with `suffix` behind its name.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// What an order takes in the queue beside the bytes that it carries.
const COST: usize = 256;
/// Of the thread; the work of services runs on it too.
const STACK: usize = 256 * 1024;

#[cfg(test)]
pub(crate) mod testing {
    /// A directory that goes with its owner.
    pub(crate) struct Dir(super::PathBuf);

    impl Dir {
        pub(crate) fn new() -> Self {
            let name = format!("runnel-{}-{}", std::process::id(), fastrand::u64(..));
            let path = std::env::temp_dir().join(name);
            super::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self) -> &super::Path {
            &self.0
        }

        pub(crate) fn join(&self, name: &str) -> super::PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = super::fs::remove_dir_all(&self.0);
        }
    }
}

#[cfg(test)]
mod tests;
