//! What children have started ends with the server, too, when that is killed (`kill -9`).
//!
//! The kernel kills a child then, for it asked for that; what the child has started it does not
//! reach. So there is one more process, this very program again, which is told of the group of each
//! child, and waits: when nobody can tell it more the server is gone, and it kills the groups that are
//! left. It comes with the first child.

use crate::io::child::{Outcome, own_program};
use crate::limits::CHILDREN;
use rustix::process::{Pid, Signal, kill_process_group};
use std::cell::{Cell, RefCell};
use std::env;
use std::io::{self, PipeWriter, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{self, ExitCode, ExitStatus, Stdio};

/// The first argument of a process that guards; it is not for people.
pub(super) const GUARD: &str = "--guard";
/// What it is called among the processes.
const NAME: &str = "runnel-guard";

/// The number of a group; below zero when it is no more.
type Message = [u8; 4];

thread_local! {
    static ONE: RefCell<Option<Guard>> = const { RefCell::new(None) };
    /// There was none once, and the log says so.
    static WARNED: Cell<bool> = const { Cell::new(false) };
}

#[derive(Debug)]
struct Guard {
    process: process::Child,
    /// Its standard input. The kernel closes it when we are gone.
    groups: PipeWriter,
}

/// A child is about to start: from here on there is a guard, which knows of the groups `alive`. Without
/// one the children run, too.
pub(super) fn begin(alive: &[Pid]) {
    ONE.with_borrow_mut(|one| {
        if let Some(guard) = one {
            match guard.process.try_wait() {
                Ok(None) => return,
                Ok(Some(status)) => mourn(status),
                Err(e) => log::warn!("the guard of children is lost: {e}"),
            }
        }
        *one = start(alive).map_err(|e| warn(&e)).ok();
    });
}

/// The group `pid` is one of those `alive` now.
pub(super) fn began(pid: Pid, alive: &[Pid]) {
    tell(message(pid, true), alive);
}

/// The group `pid` is killed, and its number is free in a moment. Those `alive` are left.
pub(super) fn ended(pid: Pid, alive: &[Pid]) {
    tell(message(pid, false), alive);
}

fn tell(message: Message, alive: &[Pid]) {
    ONE.with_borrow_mut(|one| {
        let Some(guard) = one else { return };
        let Err(e) = send(&mut guard.groups, message) else { return };
        match guard.process.try_wait() {
            Ok(Some(status)) => mourn(status),
            _ => {
                log::warn!("the guard of children does not listen: {e}");
                // It must not act on what it knew.
                let _ = guard.process.kill();
                let _ = guard.process.wait();
            }
        }
        *one = if alive.is_empty() { None } else { start(alive).map_err(|e| warn(&e)).ok() };
    });
}

fn mourn(status: ExitStatus) {
    // A service manager asks all processes of a service to end.
    let asked = status.signal() == Some(Signal::TERM.as_raw());
    let level = if asked { log::Level::Debug } else { log::Level::Warn };
    log::log!(level, "the guard of children ended with {}", Outcome(status));
}

fn start(alive: &[Pid]) -> io::Result<Guard> {
    let (reader, mut groups) = io::pipe()?;
    // It reads all the time; we wait for nobody.
    rustix::io::ioctl_fionbio(&groups, true)?;
    let mut command = own_program()?;
    let process = command
        .arg0(NAME)
        .arg(GUARD)
        .stdin(reader)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // What ends our group leaves it alone.
        .process_group(0)
        .spawn()?;
    drop(command);
    for pid in alive {
        send(&mut groups, message(*pid, true))?;
    }
    Ok(Guard { process, groups })
}

fn send(to: &mut PipeWriter, message: Message) -> io::Result<()> {
    // The kernel takes so little as a whole or not at all.
    to.write_all(&message)
}

fn warn(e: &io::Error) {
    let level = if WARNED.replace(true) { log::Level::Debug } else { log::Level::Warn };
    log::log!(
        level,
        "children have no guard ({e}): what they start themselves would outlive a kill -9 of the server"
    );
}

fn message(pid: Pid, lives: bool) -> Message {
    let number = pid.as_raw_nonzero().get();
    if lives { number } else { number.wrapping_neg() }.to_be_bytes()
}

/// In the process that guards: waits for the end of the server, and kills what it left.
pub(super) fn serve() -> ExitCode {
    // It keeps no disk busy.
    let _ = env::set_current_dir("/");
    for pid in groups(&mut io::stdin().lock()) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    ExitCode::SUCCESS
}

/// The groups that are left when no more is told.
fn groups(input: &mut impl Read) -> Vec<Pid> {
    let (mut left, mut message) = (Vec::with_capacity(CHILDREN), Message::default());
    while input.read_exact(&mut message).is_ok() {
        let number = i32::from_be_bytes(message);
        // 1 would be everybody.
        let named = number.checked_abs().filter(|number| *number > 1);
        let Some(pid) = named.and_then(Pid::from_raw) else { continue };
        left.retain(|other| *other != pid);
        if number > 0 && left.len() < CHILDREN {
            left.push(pid);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(number: i32) -> Pid {
        Pid::from_raw(number).unwrap()
    }

    #[test]
    fn the_groups_that_are_left_are_known_whatever_is_told() {
        let told = [(7, true), (8, true), (9, true), (8, false), (7, true), (10, false)];
        let mut bytes: Vec<u8> =
            told.iter().flat_map(|(n, lives)| message(pid(*n), *lives)).collect();
        assert_eq!(groups(&mut bytes.as_slice()), [pid(9), pid(7)]);
        // Neither everybody, nor our own, nor what is cut off.
        for number in [0, 1, -1, i32::MIN] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend([0, 0, 0]);
        let all = groups(&mut bytes.as_slice());
        assert_eq!(all, [pid(9), pid(7)]);
        let many: Vec<u8> = (2..2000).flat_map(|n| message(pid(n), true)).collect();
        assert_eq!(groups(&mut many.as_slice()).len(), CHILDREN);
        assert!(groups(&mut [].as_slice()).is_empty());
    }
}
