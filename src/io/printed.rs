//! What child processes print, and the files that it goes to.

use crate::io::disk::{CreateOptions, Disk, File, beside};
use crate::io::reactor::Evented;
use crate::io::{clock, run};
use crate::limits::{CHILD_LAST, CHILD_LOG, CHILD_LOG_RATE, CHILD_PAUSE, CHILD_READ, DISK_QUEUE};
use bytes::Bytes;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind, PipeReader, Read};
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::Duration;

/// A child that is quiet for so long has said what is its last word so far.
const QUIET: Duration = Duration::from_secs(5);
/// For the disk to say how long a log is.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes that there must be room for before a log that left something out goes on.
const ROOM: usize = CHILD_LOG / 16;

/// What a child prints, on both of its outputs.
#[derive(Debug)]
pub struct Output(Evented<PipeReader>);

impl Output {
    /// Of a pipe that does not block.
    pub(super) fn new(reader: PipeReader) -> io::Result<Self> {
        Evented::new(reader).map(Self)
    }

    /// The next bytes; none at the end.
    pub async fn next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|task| {
            loop {
                if self.0.poll_readable(task).is_pending() {
                    return Poll::Pending;
                }
                match self.0.get_ref().read(buffer) {
                    Err(e) if e.kind() == ErrorKind::WouldBlock => self.0.would_block_read(),
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    read => return Poll::Ready(read),
                }
            }
        })
        .await
    }

    /// Writes what the child prints to `log`, as long as it prints. What prints without end waits for
    /// us now and then, whether it is kept or not.
    pub async fn keep(mut self, mut log: Log) {
        let (most, pause) = CHILD_PAUSE;
        let (mut buffer, mut read) = (vec![0; CHILD_READ], 0);
        loop {
            let next = self.next(&mut buffer);
            let got = if log.left_out() {
                match run::within(QUIET, next).await {
                    Some(got) => got,
                    None => {
                        log.catch_up();
                        continue;
                    }
                }
            } else {
                next.await
            };
            let Ok(len @ 1..) = got else { return };
            log.write(buffer.get(..len).unwrap_or_default());
            read += len;
            if read >= most || len < buffer.len() {
                read = 0;
                run::sleep(pause).await;
            }
        }
    }
}

/// The log of a child: a file and an older one, of [`CHILD_LOG`] bytes each. What comes too fast for
/// that is left out, but for its end.
#[derive(Debug)]
pub struct Log {
    disk: Disk,
    path: PathBuf,
    file: File,
    /// Of the file.
    len: usize,
    /// Bytes that may be written at once, and when that was so, in milliseconds.
    room: usize,
    at: u64,
    /// Bytes that were left out since the last ones that were written, and their end.
    missing: u64,
    last: VecDeque<u8>,
}

impl Log {
    /// Goes on with the file at `path`; one that is long is put aside before.
    pub async fn open(disk: &Disk, path: &Path) -> Self {
        let (old, aside) = (path.to_owned(), beside(path, ".1"));
        let len = disk.ask(move || {
            let len = std::fs::metadata(&old).map_or(0, |metadata| metadata.len());
            if len < CHILD_LOG as u64 {
                return len;
            }
            let _ = std::fs::rename(&old, &aside);
            0
        });
        // A child does not wait for a disk that is stuck. Without an answer, as if it were full.
        let len = run::within(PATIENCE, len).await.and_then(Result::ok);
        let len = len.unwrap_or(CHILD_LOG as u64);
        let options = CreateOptions { dirs: true, append: true, exclusive: false };
        Self {
            disk: disk.clone(),
            path: path.to_owned(),
            file: disk.create(path, options),
            len: usize::try_from(len).unwrap_or(CHILD_LOG),
            room: CHILD_LOG,
            at: clock::now(),
            missing: 0,
            last: VecDeque::new(),
        }
    }

    /// Writes `bytes`, or leaves them out.
    pub fn write(&mut self, bytes: &[u8]) {
        self.write_at(bytes, clock::now());
    }

    /// Whether something is left out of which the last is to be written yet.
    pub fn left_out(&self) -> bool {
        self.missing > 0
    }

    /// Writes the last of what was left out, if there is room for it.
    pub fn catch_up(&mut self) {
        self.refill(clock::now());
        if self.room >= 2 * CHILD_LAST {
            self.tell_missing();
        }
    }

    fn write_at(&mut self, bytes: &[u8], now: u64) {
        self.refill(now);
        let needed = if self.left_out() { ROOM } else { bytes.len() };
        // Recordings go before.
        if self.room < needed || self.disk.queued() > DISK_QUEUE / 4 {
            return self.leave_out(bytes);
        }
        self.tell_missing();
        if self.left_out() || !self.append(bytes) {
            self.leave_out(bytes);
        }
    }

    fn refill(&mut self, now: u64) {
        let ms = now.saturating_sub(self.at);
        let more = ms.saturating_mul(CHILD_LOG_RATE) / 1000;
        if more > 0 {
            self.at = now;
            let more = usize::try_from(more).unwrap_or(CHILD_LOG);
            self.room = self.room.saturating_add(more).min(CHILD_LOG);
        }
    }

    fn leave_out(&mut self, bytes: &[u8]) {
        self.missing = self.missing.saturating_add(bytes.len() as u64);
        let bytes = bytes.get(bytes.len().saturating_sub(CHILD_LAST)..).unwrap_or_default();
        let over = (self.last.len() + bytes.len()).saturating_sub(CHILD_LAST);
        self.last.drain(..over.min(self.last.len()));
        self.last.extend(bytes);
    }

    fn tell_missing(&mut self) {
        if !self.left_out() {
            return;
        }
        let gone = self.missing.saturating_sub(self.last.len() as u64);
        let mut text = format!("\n[runnel: {gone} bytes are left out]\n").into_bytes();
        if gone == 0 {
            text.clear();
        }
        text.extend(self.last.iter());
        if self.append(&text) {
            self.missing = 0;
            self.last = VecDeque::new();
        }
    }

    /// Whether the disk takes it.
    fn append(&mut self, bytes: &[u8]) -> bool {
        if self.len.saturating_add(bytes.len()) > CHILD_LOG {
            self.disk.rename(&self.path, beside(&self.path, ".1"));
            let options = CreateOptions { dirs: true, append: false, exclusive: false };
            self.file = self.disk.create(&self.path, options);
            self.len = 0;
        }
        let taken = self.file.append(Bytes::copy_from_slice(bytes)).is_ok();
        if taken {
            self.len = self.len.saturating_add(bytes.len());
            self.room = self.room.saturating_sub(bytes.len());
        }
        taken
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.tell_missing();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::disk::testing::Dir;
    use std::fs;

    /// A log in `dir` that `write` is done with; the file and the one beside it.
    fn written(dir: &Dir, write: impl FnOnce(&mut Log) + 'static) -> (String, String) {
        let path = dir.join("a.log");
        let (disk, file) = (Disk::new(), path.clone());
        let own = disk.clone();
        run::run(|_| async move {
            let mut log = Log::open(&own, &file).await;
            write(&mut log);
        })
        .unwrap();
        assert!(disk.finish(Duration::from_secs(5)));
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        (read(&path), read(&beside(&path, ".1")))
    }

    #[test]
    fn what_comes_slowly_is_kept_in_two_files() {
        let dir = Dir::new();
        let line = format!("{}\n", "x".repeat(99));
        let (log, old) = written(&dir, move |log| {
            let start = log.at;
            // Three files' worth, a line a second.
            for number in 0..3 * CHILD_LOG as u64 / 100 {
                log.write_at(line.as_bytes(), start + number * 1000);
                // The disk of this machine may be slow, that is not what this is about.
                while log.disk.queued() > DISK_QUEUE / 8 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            log.write_at(b"the last", start + CHILD_LOG as u64 * 1000);
        });
        assert!(log.ends_with("x\nthe last") && !log.contains("left out"));
        assert!(log.len() <= CHILD_LOG && old.len() <= CHILD_LOG && old.len() > CHILD_LOG - 200);
        // The next run goes on where this one ended.
        let (more, _) = written(&dir, |log| log.write(b"more"));
        assert_eq!(more, log + "more");
    }

    #[test]
    fn of_what_comes_too_fast_the_end_is_kept() {
        let dir = Dir::new();
        let (log, old) = written(&dir, |log| {
            let start = log.at;
            for number in 0..400 {
                log.write_at(&[b'a' + (number % 26) as u8; CHILD_READ], start);
                while log.disk.queued() > DISK_QUEUE / 8 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            log.write_at(b"last words", start);
            assert!(log.left_out() && log.last.len() == CHILD_LAST);
        });
        let all = old.clone() + &log;
        assert!(log.ends_with("jlast words"), "{}", &log[log.len().saturating_sub(50)..]);
        assert!(log.len() <= CHILD_LOG && old.len() <= CHILD_LOG);
        let kept = CHILD_LOG / CHILD_READ * CHILD_READ + CHILD_LAST;
        let gone = 400 * CHILD_READ + 10 - kept;
        assert!(all.contains(&format!("\n[runnel: {gone} bytes are left out]\n")));
        // Later there is room again, and it goes on.
        let dir = Dir::new();
        let (log, _) = written(&dir, |log| {
            log.room = 10;
            let start = log.at;
            log.write_at(b"first....", start);
            log.write_at(b"second...", start);
            log.write_at(b"third", start + ROOM as u64 * 1000 / CHILD_LOG_RATE - 1000);
            assert!(log.left_out());
            log.write_at(b"fourth", start + ROOM as u64 * 1000 / CHILD_LOG_RATE + 1000);
            assert!(!log.left_out());
        });
        assert_eq!(log, "first....second...thirdfourth", "all of it is the end");
    }

    #[test]
    fn a_child_that_falls_quiet_has_said_its_last() {
        let dir = Dir::new();
        let (log, _) = written(&dir, |log| {
            log.room = 0;
            log.write(b"nothing");
            log.catch_up();
            assert!(log.left_out(), "no room yet");
            log.room = 2 * CHILD_LAST;
            log.catch_up();
            assert!(!log.left_out());
        });
        assert_eq!(log, "nothing");
    }
}
