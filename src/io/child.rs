//! Child processes that end with this one, whatever ends it.
//!
//! A child is this very program, which makes itself ready ([`take_over`]) and then becomes the
//! program that is wanted: that the kernel is to kill it when we die can only be said by itself.
//! It leads a process group of its own, which is ended as a whole: by us, and where we were killed
//! by the process that `guard` starts.

use crate::io::guard;
use crate::io::printed::Output;
use crate::io::reactor::Evented;
use crate::io::{clock, run, sandbox};
use crate::limits::CHILD_GRACE;
use rustix::fd::OwnedFd;
use rustix::fs::{Access, access};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, getppid, kill_process_group, nice,
    pidfd_open, set_parent_process_death_signal, waitid, waitpid,
};
use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

/// The first argument of a process that is to become another; it is not for people.
const BECOME: &str = "--become";
/// How often a child is looked at where the kernel does not tell of its end (before Linux 5.3) or must
/// not be asked to (in an app of Android).
const LOOK: Duration = Duration::from_millis(200);
/// How often processes that were killed are looked at, for the short time that it takes them to end.
const ORPHANS: Duration = Duration::from_millis(5);
/// The status of a child that could not become what it should, as shells have it.
const NOT_RUN: u8 = 127;

thread_local! {
    /// Children that are not known to have ended.
    static ALIVE: RefCell<Vec<Pid>> = const { RefCell::new(Vec::new()) };
    /// No more are started.
    static OVER: Cell<bool> = const { Cell::new(false) };
}

/// What is to run. Never a shell: each argument is one, whatever is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The program, by its path; it is not searched for.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// How much it gives way to others, 0 to 19.
    pub nice: u32,
    /// Whether what it prints is wanted.
    pub printed: bool,
}

/// In a process that was started to become another: does so. Gives the status to exit with when
/// that fails; `None` in every other process.
pub fn take_over(args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.skip(1);
    match args.next()? {
        word if word == BECOME => {}
        word if word == guard::GUARD => return Some(guard::serve()),
        _ => return None,
    }
    let mut number = || args.next()?.to_str()?.parse::<i32>().ok();
    let (parent, gives_way) = (number()?, number()?);
    let program = args.next()?;
    let error = match make_ready(parent, gives_way) {
        Ok(()) => process::Command::new(&program).args(args).exec(),
        Err(e) => e,
    };
    eprintln!("{}: {error}", Path::new(&program).display());
    Some(ExitCode::from(NOT_RUN))
}

fn make_ready(parent: i32, gives_way: i32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before that.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return Err(io::Error::other("the server is gone"));
    }
    if gives_way != 0 {
        nice(gives_way)?;
    }
    Ok(())
}

/// A child. When it is dropped its group is killed.
#[derive(Debug)]
pub struct Child {
    child: process::Child,
    pid: Pid,
    /// Tells of its end.
    end: Option<Evented<OwnedFd>>,
}

impl Command {
    /// Whether the program can be run, as far as its file says.
    pub fn check(&self) -> io::Result<()> {
        access(self.path().as_path(), Access::EXEC_OK)?;
        let metadata = std::fs::metadata(self.path())?;
        if metadata.is_file() { Ok(()) } else { Err(ErrorKind::PermissionDenied.into()) }
    }

    /// Starts it; with what it prints, if that is wanted. Not behind [`end_all`].
    pub fn spawn(&self) -> io::Result<(Child, Option<Output>)> {
        if OVER.get() {
            return Err(io::Error::other("the server ends"));
        }
        let mut command = own_program()?;
        command
            .arg(BECOME)
            .arg(process::id().to_string())
            .arg(self.nice.to_string())
            .arg(self.path())
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let mut output = None;
        if self.printed {
            let (reader, writer) = io::pipe()?;
            rustix::io::ioctl_fionbio(&reader, true)?;
            command.stdout(writer.try_clone()?).stderr(writer);
            output = Some(Output::new(reader)?);
        }
        // Before it can start others.
        ALIVE.with_borrow(|alive| guard::begin(alive));
        let child = command.spawn()?;
        // Our ends of what it writes to.
        drop(command);
        let pid = Pid::from_child(&child);
        ALIVE.with_borrow_mut(|alive| {
            alive.push(pid);
            guard::began(pid, alive);
        });
        let end = if sandbox::ends_for_new_calls() { None } else { watched(pid) };
        Ok((Child { child, pid, end }, output))
    }

    /// A name without a directory is one in the working directory.
    fn path(&self) -> PathBuf {
        let path = Path::new(&self.program);
        if self.program.contains('/') { path.to_owned() } else { Path::new(".").join(path) }
    }
}

/// This very program, as it was started: another version may have its place by now.
pub(super) fn own_program() -> io::Result<process::Command> {
    let own = Path::new("/proc/self/exe");
    let own = if own.exists() { own.to_owned() } else { std::env::current_exe()? };
    let mut command = process::Command::new(own);
    // Notices to the service manager are ours.
    command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
    Ok(command)
}

impl Child {
    /// The number of the process, and of its group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end. What is left of its group is killed. Never ends behind [`end_all`].
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        loop {
            match &self.end {
                Some(end) => poll_fn(|task| end.poll_readable(task)).await,
                None => run::sleep(LOOK).await,
            }
            if !has_ended(self.pid) {
                if let Some(end) = &self.end {
                    end.would_block_read();
                }
                continue;
            }
            if !is_alive(self.pid) {
                return match self.child.try_wait() {
                    Ok(Some(status)) => Ok(status),
                    _ => std::future::pending().await,
                };
            }
            self.signal(Signal::KILL);
            forget(self.pid);
            let status = self.child.wait();
            reap_orphans(self.pid).await;
            return status;
        }
    }

    /// Asks its group to end, and after [`CHILD_GRACE`] kills it.
    pub async fn stop(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::TERM);
        if let Some(status) = run::within(CHILD_GRACE, self.ended()).await {
            return status;
        }
        self.signal(Signal::KILL);
        self.ended().await
    }

    fn signal(&self, signal: Signal) {
        // Else the number may be somebody else's by now.
        if is_alive(self.pid) {
            let _ = kill_process_group(self.pid, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if is_alive(self.pid) {
            let _ = kill_process_group(self.pid, Signal::KILL);
            // Killed is as good as ended, but for one in the depths of a driver.
            let _ = run_out(&[self.pid], Duration::from_millis(100));
            forget(self.pid);
        }
    }
}

/// Ends all children, and waits so long for them; no more are started. Blocks: for the end of the
/// process.
pub fn end_all(grace: Duration) {
    OVER.set(true);
    let all = ALIVE.with_borrow(Clone::clone);
    if all.is_empty() {
        return;
    }
    for pid in &all {
        let _ = kill_process_group(*pid, Signal::TERM);
    }
    let left = run_out(&all, grace);
    for pid in &left {
        let _ = kill_process_group(*pid, Signal::KILL);
    }
    if !left.is_empty() {
        log::warn!("{} child processes did not end by themselves, they are killed", left.len());
    }
    run_out(&left, grace);
    ALIVE.with_borrow_mut(Vec::clear);
}

/// Waits until `all` have ended; those that have not by then. What is left of the groups of those that
/// have is killed.
fn run_out(all: &[Pid], limit: Duration) -> Vec<Pid> {
    let until = clock::after(limit);
    let mut left = all.to_vec();
    loop {
        left.retain(|pid| {
            let ended = has_ended(*pid);
            if ended {
                let _ = kill_process_group(*pid, Signal::KILL);
                forget(*pid);
                let _ = waitpid(Some(*pid), WaitOptions::NOHANG);
            }
            !ended
        });
        if left.is_empty() || clock::now() >= until {
            return left;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How a child ended, in words. Those of the standard library have a name for each signal, 1 KB.
#[derive(Debug, Clone, Copy)]
pub struct Outcome(pub ExitStatus);

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(f, "exit status: {code}"),
            (None, Some(signal)) => write!(f, "signal: {signal}"),
            (None, None) => f.write_str("a status that is none"),
        }
    }
}

/// Tells when a child has ended.
fn watched(pid: Pid) -> Option<Evented<OwnedFd>> {
    pidfd_open(pid, PidfdFlags::empty()).ok().and_then(|fd| Evented::new(fd).ok())
}

/// Whether it has ended. As long as it was not waited for nobody else has its number.
fn has_ended(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
}

/// Waits for the rest of a group that was killed, where that is ours now: as the first process of a
/// container we are the parent of all that lost theirs.
async fn reap_orphans(group: Pid) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let until = clock::after(CHILD_GRACE);
    while clock::now() < until {
        match waitid(WaitId::Pgid(Some(group)), options) {
            Ok(Some(_)) => {}
            Ok(None) => run::sleep(ORPHANS).await,
            Err(_) => return,
        }
    }
}

/// Whether nobody waited for it yet.
fn is_alive(pid: Pid) -> bool {
    ALIVE.with_borrow(|alive| alive.contains(&pid))
}

/// It is about to be waited for, and its group is killed.
fn forget(pid: Pid) {
    ALIVE.with_borrow_mut(|alive| {
        if let Some(at) = alive.iter().position(|other| *other == pid) {
            alive.swap_remove(at);
            // At the end nobody has to be guarded any more.
            guard::ended(pid, if OVER.get() { &[] } else { alive });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_told_so_becomes_another_program() {
        for args in [&["runnel"][..], &["runnel", "-c", "x"], &["runnel", "x", BECOME]] {
            assert!(take_over(args.iter().map(OsString::from)).is_none());
        }
        let nobody = ["runnel", BECOME, "1", "0", "/none"];
        assert!(make_ready(1, 0).is_err() || getppid() == Pid::from_raw(1));
        assert!(take_over(nobody.iter().map(OsString::from)).is_some());
    }

    #[test]
    fn a_program_that_is_not_there_is_known_before_it_is_started() {
        let of = |program: &str| Command { program: program.into(), ..Command::default() };
        assert_eq!(of("/none/ffmpeg").check().unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(of("/").check().unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(of("/etc/passwd").check().unwrap_err().kind(), ErrorKind::PermissionDenied);
        of("/bin/sh").check().unwrap();
        assert_eq!(of("sh").path(), Path::new("./sh"), "it is not searched for");
    }
}
