//! Programs that are started, the server among them, and what it says of itself.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, set_parent_process_death_signal};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

const RUNNEL: &str = env!("CARGO_BIN_EXE_runnel");
/// Started with this word we become the program that is named behind it.
pub(crate) const EXEC: &str = "exec";
const START: Duration = Duration::from_secs(10);

/// Becomes a program that ends with the one that started us.
pub(crate) fn exec(words: &[String]) -> Result<()> {
    let (program, args) = words.split_first().ok_or("no program")?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Err(Command::new(program).args(args).exec().into())
}

/// A program that ends with the value that holds it, or with this process.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(
        program: &str,
        args: impl IntoIterator<Item: AsRef<OsStr>>,
    ) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([EXEC, program]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok(Self(command.spawn()?))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server of ours.
pub(crate) struct Server {
    pub(crate) port: u16,
    api: u16,
    running: Running,
}

impl Server {
    /// With `text` behind what every server here has in its configuration.
    pub(crate) fn start(name: &str, text: &str) -> Result<Self> {
        let (port, api) = (free_port()?, free_port()?);
        let file = dir()?.join(format!("{name}.conf"));
        let head = "daemon off; srs_log_tank console; srs_log_level error; pid '';";
        let api_block = format!("http_api {{ enabled on; listen 127.0.0.1:{api}; }}");
        fs::write(&file, format!("listen 127.0.0.1:{port}; {head} {api_block}\n{text}\n"))?;
        let running = Running::start(RUNNEL, ["-c".into(), OsString::from(&file)])?;
        let server = Self { port, api, running };
        let until = Instant::now() + START;
        for port in [port, api] {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                if Instant::now() > until {
                    return Err(format!("the server {name} does not listen").into());
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Pictures that came in so far, of each stream.
    pub(crate) fn pictures(&self) -> Result<Vec<u64>> {
        let text = get(self.api, "/api/v1/streams?count=1000")?;
        let pieces = text.split("\"frames\":").skip(1);
        let numbers = pieces.map(|piece| {
            let digits: String = piece.chars().take_while(char::is_ascii_digit).collect();
            Ok(digits.parse()?)
        });
        numbers.collect()
    }
}

/// The body of an answer, with its head.
pub(crate) fn get(port: u16, path: &str) -> Result<String> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(START))?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    socket.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Resident memory that is not of files, in KB.
pub(crate) fn anonymous_kb(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with("RssAnon:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Where files of a run are.
pub(crate) fn dir() -> Result<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench-ingest");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// A file of the tests.
pub(crate) fn in_tests(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

pub(crate) fn free_udp_port() -> Result<u16> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port())
}
