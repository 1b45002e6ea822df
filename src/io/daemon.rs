//! Leaving the terminal: the program starts itself again in a session of its own. The first process
//! waits until the second one serves or has failed, so that whoever started it learns which.

use rustix::stdio::{dup2_stderr, dup2_stdout};
use std::env;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

/// Starts this program again with its own arguments and `argument`, hands on what it prints, and
/// waits until it says that it is [released](release) or ends. Its exit status, 0 when it runs.
pub fn start(argument: &str) -> io::Result<u8> {
    let args = env::args_os().collect::<Vec<_>>();
    let (own_name, args) = args.split_first().ok_or(io::ErrorKind::NotFound)?;
    let program = env::current_exe().unwrap_or_else(|_| own_name.into());
    let mut child = Command::new(program)
        .args(args)
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let out = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    if relay(out, &mut io::stdout()) {
        return Ok(0);
    }
    let status = child.wait()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

/// Copies `from` to its end. Whether that is [`RELEASED`], which is not copied.
fn relay(mut from: impl Read, to: &mut impl Write) -> bool {
    let mut buffer = [0; 1024];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => 0,
        };
        let bytes = buffer.get(..n).unwrap_or_default();
        let released = bytes.strip_suffix(&[RELEASED]);
        // Whoever does not read it does not want it.
        let _ = to.write_all(released.unwrap_or(bytes)).and_then(|()| to.flush());
        if released.is_some() || n == 0 {
            return released.is_some();
        }
    }
}

/// Leaves the terminal and its session, as the process that [`start`] started.
pub fn detach() -> io::Result<()> {
    // It leads no group: it was started in that of its parent.
    rustix::process::setsid()?;
    Ok(())
}

/// Tells the process that waits in [`start`] that all is well, and lets go of standard output and
/// error.
pub fn release() -> io::Result<()> {
    let mut out = io::stdout();
    // It may have been ended meanwhile.
    let _ = out.write_all(&[RELEASED]).and_then(|()| out.flush());
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

/// The number of the parent process; 0 for one outside of our view.
pub fn parent() -> u32 {
    rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs())
}

/// The last byte of what a process prints that goes on without its parent. No text has it.
const RELEASED: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_handed_on_and_its_end_says_how_it_went() {
        let long = vec![b'x'; 5000];
        let released = [&long[..], &[RELEASED]].concat();
        for (printed, ready) in
            [(&released[..], true), (&long, false), (&[RELEASED], true), (&[], false)]
        {
            let mut out = Vec::new();
            assert_eq!(relay(printed, &mut out), ready);
            assert_eq!(out, printed.strip_suffix(&[RELEASED]).unwrap_or(printed));
        }
    }
}
