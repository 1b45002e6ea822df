//! The real server as a child process, and the programs that talk to it.

#![allow(dead_code, unreachable_pub)]

pub mod client;
#[cfg(feature = "_ts")]
pub mod elementary;
#[cfg(feature = "_ts")]
pub mod fetched;
pub mod http;
pub mod link;
pub mod media;
pub mod raw;

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// For what has to happen soon; generous, two cores may be busy with other tests.
pub const SOON: Duration = Duration::from_secs(10);

/// The program under test.
pub const RUNNEL: &str = env!("CARGO_BIN_EXE_runnel");

/// A directory that goes with its owner.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dir-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Every file and directory in it, sorted.
    pub fn listing(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.0.clone()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path.clone());
                }
                found.push(path);
            }
        }
        found.sort();
        found
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A port of 127.0.0.1 on which nothing listens, below those that the kernel gives to clients.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 1000 * 97 % 12_000) as u16;
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// What a program prints, line by line as it comes.
#[derive(Clone, Default)]
pub struct Lines(Arc<(Mutex<Vec<String>>, Condvar)>, Arc<AtomicBool>);

impl Lines {
    fn follow(input: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let to = lines.clone();
        thread::spawn(move || {
            let mut input = BufReader::new(input);
            let mut line = Vec::new();
            while input.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                to.0.0.lock().unwrap().push(text);
                to.0.1.notify_all();
                line.clear();
            }
            to.1.store(true, Ordering::Release);
        });
        lines
    }

    /// Waits until the program has closed its end.
    pub fn wait_for_end(&self) {
        eventually("the output ends", SOON, || self.1.load(Ordering::Acquire));
    }

    pub fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().clone()
    }

    /// Waits until `count` lines hold `text`.
    pub fn wait(&self, text: &str, count: usize, timeout: Duration) -> Option<String> {
        let until = Instant::now() + timeout;
        let mut lines = self.0.0.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().filter(|l| l.contains(text)).nth(count - 1) {
                return Some(line.clone());
            }
            let left = until.checked_duration_since(Instant::now())?;
            lines = self.0.1.wait_timeout(lines, left).unwrap().0;
        }
    }
}

/// A running server. Ends with SIGTERM when it is dropped; prints its log when the test fails.
pub struct Server {
    child: Child,
    pub port: u16,
    pub dir: TempDir,
    pub log: Lines,
    pub screen: Lines,
}

impl Server {
    /// With a small configuration file: the log on the console, everything else by default.
    pub fn start() -> Self {
        Self::with("vhost __defaultVhost__ { }")
    }

    /// The same with `text` in place of the vhost.
    pub fn with(text: &str) -> Self {
        let port = free_port();
        let head = "daemon off; srs_log_tank console;";
        Self::with_file(port, &format!("listen 127.0.0.1:{port}; {head}\n{text}\n"))
    }

    /// With `text` as the whole file. It has to have the log on the console and `port` among what
    /// is listened at.
    pub fn with_file(port: u16, text: &str) -> Self {
        let dir = TempDir::new();
        fs::write(dir.join("test.conf"), text).unwrap();
        Self::spawn(Command::new(RUNNEL).args(["-c", "test.conf"]), port, dir)
    }

    /// Without a configuration file.
    pub fn without_file(args: &[&str]) -> Self {
        let port = free_port();
        let dir = TempDir::new();
        Self::spawn(Command::new(RUNNEL).args(["-p", &port.to_string()]).args(args), port, dir)
    }

    /// Starts `command` in `dir`, and waits until it says that it listens.
    pub fn spawn(command: &mut Command, port: u16, dir: TempDir) -> Self {
        let server = Self::spawn_silent(command, port, dir);
        server.line("RTMP listens at");
        server
    }

    /// Starts `command` in `dir`, which does not log to the console.
    pub fn spawn_silent(command: &mut Command, port: u16, dir: TempDir) -> Self {
        let mut child = command
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Lines::follow(child.stderr.take().unwrap());
        let screen = Lines::follow(child.stdout.take().unwrap());
        Self { child, port, dir, log, screen }
    }

    /// The same as [`Server::with`] in an app of Android, as strace makes it: what makes one of the
    /// `calls`, which are not among those of Android's C library, gets SIGSYS. Nothing where no process
    /// may be traced.
    pub fn in_an_app_of_android(text: &str, calls: &str) -> Option<Self> {
        let strace = tool("strace")?;
        let allowed = Command::new(&strace).args(["-o", "/dev/null", "true"]).status();
        if !allowed.is_ok_and(|status| status.success()) {
            return skip("the right to trace processes");
        }
        let (port, dir) = (free_port(), TempDir::new());
        let head = "daemon off; srs_log_tank console;";
        let text = format!("listen 127.0.0.1:{port}; {head}\n{text}\n");
        fs::write(dir.join("test.conf"), text).unwrap();
        // -D: the server is the child, strace its grandchild.
        let mut command = Command::new(strace);
        command.args(["-D", "-f", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e"]);
        command.arg(format!("inject={calls}:signal=SYS")).args([RUNNEL, "-c", "test.conf"]);
        Some(Self::spawn(command.env("ANDROID_ROOT", "/system"), port, dir))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its configuration file.
    pub fn conf(&self) -> String {
        fs::read_to_string(self.dir.join("test.conf")).unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn tc_url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live", self.port)
    }

    pub fn url(&self, stream: &str) -> String {
        format!("{}/{stream}", self.tc_url())
    }

    /// The first line of the log with `text` in it; fails the test when none comes.
    pub fn line(&self, text: &str) -> String {
        self.line_number(text, 1)
    }

    /// The `count`th line with `text` in it.
    pub fn line_number(&self, text: &str, count: usize) -> String {
        let found = self.wait_for_line(text, count, SOON);
        found.unwrap_or_else(|| panic!("no {count} lines with {text:?} in the log"))
    }

    pub fn wait_for_line(&self, text: &str, count: usize, timeout: Duration) -> Option<String> {
        self.log.wait(text, count, timeout)
    }

    pub fn count(&self, text: &str) -> usize {
        self.log.all().iter().filter(|l| l.contains(text)).count()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end.
    pub fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        wait(&mut self.child, timeout)
    }

    /// Resident memory in KB.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if wait(&mut self.child, Duration::ZERO).is_none() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            if wait(&mut self.child, Duration::from_secs(3)).is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        if thread::panicking() {
            let lines = self.log.all();
            eprintln!("the server's log, last lines:");
            for line in lines.iter().skip(lines.len().saturating_sub(60)) {
                eprintln!("  {line}");
            }
        }
    }
}

fn wait(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() >= until {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Where a program is. When it is missing the test is to return: that is told on the standard error
/// of the test run, or fails the test where all programs are required.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(sbin);
    places.find_map(|dir| Some(dir.join(name)).filter(|p| p.is_file())).or_else(|| skip(name))
}

/// A Python that has `module`, which comes from PyPI: `.ci/run` makes one.
pub fn python(module: &str) -> Option<PathBuf> {
    let target = Path::new(RUNNEL).ancestors().nth(2).unwrap();
    let own = target.join("ci/python/bin/python");
    let python = if own.is_file() { own } else { tool("python3")? };
    let import = format!("import {module}");
    let found = Command::new(&python).args(["-c", &import]).output().unwrap();
    if found.status.success() { Some(python) } else { skip(&format!("{module}, from PyPI")) }
}

/// A newer ffmpeg than the distribution's, which knows Enhanced RTMP.
pub fn newer_ffmpeg() -> Option<PathBuf> {
    let path = std::env::var_os("RUNNEL_FFMPEG_NEW").map(PathBuf::from);
    path.filter(|p| p.is_file()).or_else(|| skip("a newer ffmpeg, named by RUNNEL_FFMPEG_NEW"))
}

/// Says that a test needs what is missing.
pub fn skip<T>(what: &str) -> Option<T> {
    skip_unless(std::env::var_os("RUNNEL_TEST_REQUIRE").is_some(), what)
}

/// The same for images of boards, which take long to make, where `RUNNEL_BOARDS` names some. When it
/// is `none` they are not even looked for.
pub fn skip_image<T>(what: &str) -> Option<T> {
    skip_unless(std::env::var_os("RUNNEL_BOARDS").is_some() && !without_images(), what)
}

fn without_images() -> bool {
    std::env::var_os("RUNNEL_BOARDS").is_some_and(|value| value == "none")
}

/// Where the images of boards are, unless they are not to be looked for.
pub fn images() -> Option<PathBuf> {
    let target = Path::new(RUNNEL).ancestors().nth(2).expect("in target/PROFILE");
    (!without_images()).then(|| target.join("boards"))
}

/// The image of `board`; says so when it is not there.
pub fn image(board: &str) -> Option<PathBuf> {
    let image = images().map(|dir| dir.join(board).join("runnel")).filter(|path| path.is_file());
    let wanted = std::env::var("RUNNEL_BOARDS").unwrap_or_default();
    let wanted = wanted.split_whitespace().any(|name| name == board);
    let what = format!("an image of {board}, made by boards/build");
    image.or_else(|| skip_unless(wanted, &what))
}

fn skip_unless<T>(required: bool, what: &str) -> Option<T> {
    let test = thread::current().name().unwrap_or_default().to_owned();
    assert!(!required, "{test} needs {what}");
    // Not by a macro: what those print is only shown when the test fails.
    let _ = writeln!(std::io::stderr(), "SKIPPED: needs {what} ({test})");
    None
}

/// A program that was started; killed when it is dropped.
pub struct Running {
    child: Child,
    name: String,
    pub out: Lines,
    pub err: Lines,
}

/// Starts `program`.
pub fn spawn(program: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Running {
    let mut command = Command::new(program);
    start(command.args(args))
}

/// Starts `command`.
pub fn start(command: &mut Command) -> Running {
    let name = format!("{command:?}");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    let out = Lines::follow(child.stdout.take().unwrap());
    let err = Lines::follow(child.stderr.take().unwrap());
    Running { child, name, out, err }
}

/// Runs `program` to its end, which has to be a good one. What it printed.
pub fn run(program: &Path, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let mut running = spawn(program, args);
    running.finish();
    // The reader may be behind the end of the process.
    running.out.wait_for_end();
    running.out.all().join("\n")
}

impl Running {
    /// Waits for a good end.
    pub fn finish(&mut self) {
        let status = wait(&mut self.child, Duration::from_secs(30));
        let good = status.is_some_and(|s| s.success());
        assert!(good, "{}: {status:?}\n{}", self.name, self.err.all().join("\n"));
    }

    /// Waits for any end.
    pub fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        wait(&mut self.child, timeout)
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to end, and waits. Twice: ffmpeg interrupts a read at the second signal only.
    pub fn stop(&mut self) {
        for wait in [100, 5000].map(Duration::from_millis) {
            if self.is_running() {
                kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
                self.wait(wait);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}:", self.name);
            for line in self.err.all().iter().rev().take(15).rev() {
                eprintln!("  {line}");
            }
        }
    }
}

/// Runs `one` for every case at the same time: most of what streams take is waiting.
pub fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, one: impl Fn(T) + Sync) {
    let test = thread::current().name().unwrap_or_default().to_owned();
    thread::scope(|scope| {
        for case in cases {
            let (one, builder) = (&one, thread::Builder::new().name(test.clone()));
            builder.spawn_scoped(scope, move || one(case)).unwrap();
        }
    });
}

/// Waits until `what` holds.
pub fn eventually(what: &str, timeout: Duration, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + timeout;
    while !holds() {
        assert!(Instant::now() < until, "not within {timeout:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
