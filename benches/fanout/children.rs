//! The processes of a run. Each dies with the value that holds it, and with this process whatever
//! ends it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::{fetch, floor, load, process, publish};

/// The core of the server, and of everything else.
pub(crate) const SERVER_CORE: usize = 0;
pub(crate) const LOAD_CORE: usize = 1;

/// A child that is killed and waited for on drop, also by a panic.
pub(crate) struct Guarded(Child);

impl Guarded {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.0.try_wait().ok().flatten().map(|status| status.to_string())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Both fail only when the child is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a foreign program through our `exec` role, which ties its life to ours and pins it.
/// The caller sets where its output goes.
pub(crate) fn foreign(core: Option<usize>, program: OsString) -> Result<Command, String> {
    let mut command = ourselves(core)?;
    command.arg("exec").arg(program).stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command)
}

pub(crate) fn spawn(command: &mut Command) -> Result<Guarded, String> {
    command.spawn().map(Guarded).map_err(|error| format!("cannot start a process: {error}"))
}

/// One of our own roles: it takes words on its input and answers in lines.
pub(crate) struct Role {
    guarded: Guarded,
    input: ChildStdin,
    lines: Receiver<String>,
}

/// A line of a role: `word key=value key=value`.
pub(crate) struct Report(HashMap<String, String>);

impl Report {
    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        self.0.get(key)?.parse().ok()
    }

    pub(crate) fn count(&self, key: &str) -> u64 {
        self.0.get(key).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

impl Role {
    pub(crate) fn start(core: Option<usize>, words: &[String]) -> Result<Self, String> {
        let mut command = ourselves(core)?;
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut guarded = spawn(&mut command)?;
        let (input, output) = (guarded.0.stdin.take(), guarded.0.stdout.take());
        let (Some(input), Some(output)) = (input, output) else {
            return Err("a role has no pipes".into());
        };
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { guarded, input, lines })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.guarded.pid()
    }

    pub(crate) fn tell(&mut self, word: &str) -> Result<(), String> {
        writeln!(self.input, "{word}").map_err(|error| format!("a role has ended: {error}"))
    }

    /// Waits for the line that starts with `word`.
    pub(crate) fn wait_for(&self, word: &str, patience: Duration) -> Result<Report, String> {
        let end = Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).map_err(|_| format!("no \"{word}\" came"))?;
            let mut words = line.split_whitespace();
            match words.next() {
                Some("failed") => return Err(line),
                Some(first) if first == word => {
                    let pairs = words.filter_map(|pair| pair.split_once('='));
                    let owned = pairs.map(|(key, value)| (key.to_string(), value.to_string()));
                    return Ok(Report(owned.collect()));
                }
                _ => {}
            }
        }
    }
}

fn ourselves(core: Option<usize>) -> Result<Command, String> {
    let program = std::env::current_exe().map_err(|error| format!("own program: {error}"))?;
    let mut command = Command::new(program);
    command.arg("role").arg(core.map_or_else(|| "-".to_string(), |core| core.to_string()));
    Ok(command)
}

/// The other end of [`Role::start`] and [`foreign`]: `CORE ROLE WORDS...`.
pub(crate) fn play_role(words: &[String]) -> Result<(), String> {
    let [core, role, words @ ..] = words else {
        return Err("a role needs a core and a name".into());
    };
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| error.to_string())?;
    process::raise_file_limit();
    if let Ok(core) = core.parse() {
        process::pin(core);
    }
    let outcome = match (role.as_str(), words) {
        ("exec", [program, words @ ..]) => {
            // Comes back only when it failed.
            Err(format!("{program}: {}", Command::new(program).args(words).exec()))
        }
        ("publish", words) => publish::play(words),
        ("load", words) => load::play(words),
        ("fetch", words) => fetch::play(words),
        ("floor", words) => floor::play(words),
        _ => Err(format!("no role is called {role}")),
    };
    outcome.inspect_err(|message| println!("failed {message}"))
}

/// A word of a role's command line as a number.
pub(crate) fn number<T: std::str::FromStr>(words: &[String], at: usize) -> Result<T, String> {
    let word = words.get(at).ok_or("a role has too few words")?;
    word.parse().map_err(|_| format!("{word} is not a number"))
}
