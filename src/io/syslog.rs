//! The system's log: datagrams to a Unix socket, as RFC 3164 has them on the local machine.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// A socket that lines go to. It never waits: what the other side does not take is lost.
#[derive(Debug)]
pub(super) struct Syslog {
    path: PathBuf,
    /// Connected when it could be; syslogd may come, go and come again.
    socket: Option<UnixDatagram>,
}

impl Syslog {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), socket: None }
    }

    /// Sends whole lines of the log. How many were lost, and the last reason.
    pub(super) fn write(&mut self, lines: &[u8]) -> (u32, Option<io::Error>) {
        let (mut lost, mut why) = (0_u32, None);
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            if let Err(e) = self.send(&message(&String::from_utf8_lossy(line))) {
                lost = lost.saturating_add(1);
                why = Some(e);
            }
        }
        (lost, why)
    }

    fn send(&mut self, message: &str) -> io::Result<()> {
        let fresh = self.socket.is_none();
        let result = self.send_once(message);
        match &result {
            Err(e) if e.kind() == ErrorKind::WouldBlock => result,
            // Somebody else listens there now.
            Err(_) if !fresh => {
                self.socket = None;
                self.send_once(message)
            }
            _ => result,
        }
    }

    fn send_once(&mut self, message: &str) -> io::Result<()> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                socket.connect(&self.path)?;
                self.socket.insert(socket)
            }
        };
        let sent = socket.send(message.as_bytes());
        if sent.as_ref().is_err_and(|e| e.kind() != ErrorKind::WouldBlock) {
            self.socket = None;
        }
        sent.map(drop)
    }
}

/// `<30>Jan 31 18:04:05 runnel[4711]: [104] text` of
/// `[2026-01-31 18:04:05.678][trace][4711][104] text`.
fn message(line: &str) -> String {
    let Some((time, level, pid, rest)) = fields(line) else {
        return format!("<{}>{NAME}: {line}", DAEMON + INFO);
    };
    let severity = match level {
        "error" => ERROR,
        "warn" => WARNING,
        "trace" => INFO,
        _ => DEBUG,
    };
    format!("<{}>{time} {NAME}[{pid}]: {rest}", DAEMON + severity)
}

/// Time as RFC 3164 has it, level, process, and the rest of a line.
fn fields(line: &str) -> Option<(String, &str, &str, &str)> {
    let (time, rest) = line.strip_prefix('[')?.split_once("][")?;
    let (level, rest) = rest.split_once("][")?;
    let (pid, rest) = rest.split_once(']')?;
    let (date, clock) = time.split_once(' ')?;
    let mut date = date.split('-').skip(1);
    let month: usize = date.next()?.parse().ok()?;
    let day: u8 = date.next()?.parse().ok()?;
    let month = MONTHS.get(month.checked_sub(1)?)?;
    let clock = clock.split('.').next()?;
    Some((format!("{month} {day:2} {clock}"), level, pid, rest))
}

const NAME: &str = env!("CARGO_PKG_NAME");
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Facility 3, and severities (RFC 3164 §4.1.1).
const DAEMON: u8 = 3 * 8;
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const INFO: u8 = 6;
const DEBUG: u8 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_messages_of_their_level() {
        for (line, want) in [
            (
                "[2026-01-31 18:04:05.678][trace][47][104] a",
                "<30>Jan 31 18:04:05 runnel[47]: [104] a",
            ),
            ("[2026-12-01 08:04:05.000][debug][47][0] a", "<31>Dec  1 08:04:05 runnel[47]: [0] a"),
            (
                "[2026-02-03 18:04:05.678][warn][4][1][32] b",
                "<28>Feb  3 18:04:05 runnel[4]: [1][32] b",
            ),
            (
                "[2026-02-03 18:04:05.678][error][4][1][0] b",
                "<27>Feb  3 18:04:05 runnel[4]: [1][0] b",
            ),
            ("something else", "<30>runnel: something else"),
            (
                "[2026-13-03 18:04:05.678][error][4][1] b",
                "<30>runnel: [2026-13-03 18:04:05.678][error][4][1] b",
            ),
        ] {
            assert_eq!(message(line), want);
        }
    }

    #[test]
    fn lines_that_nobody_takes_are_counted_and_a_daemon_that_comes_back_is_found() {
        let dir = std::env::temp_dir().join(format!("runnel-{}-syslog", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("log");
        let mut syslog = Syslog::new(&path);
        let line = b"[2026-01-31 18:04:05.678][trace][47][104] a\n";
        assert_eq!(syslog.write(line).0, 1, "nobody listens");
        for round in 0..2 {
            let daemon = UnixDatagram::bind(&path).unwrap();
            assert_eq!(syslog.write(line).0, 0, "round {round}");
            let mut buffer = [0; 200];
            let n = daemon.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..n], b"<30>Jan 31 18:04:05 runnel[47]: [104] a");
            drop(daemon);
            std::fs::remove_file(&path).unwrap();
        }
        let daemon = UnixDatagram::bind(&path).unwrap();
        // It does not read: the queue of the kernel is short.
        let (lost, why) = syslog.write(&line.repeat(5000));
        assert!(lost > 0 && lost < 5000, "{lost}");
        assert_eq!(why.unwrap().kind(), ErrorKind::WouldBlock, "and nobody waits");
        drop(daemon);
        let _ = std::fs::remove_dir_all(&dir);
    }
}
