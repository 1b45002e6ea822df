//! The server as a process of its own, with a configuration of the test.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::SOON;

/// A running server; ended when dropped.
pub(crate) struct Server {
    child: Child,
    conf: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// With the default vhost and nothing in it.
    pub(crate) fn plain() -> Self {
        Self::start("vhost __defaultVhost__ {\n}\n")
    }

    /// With `vhosts` behind what makes it listen.
    pub(crate) fn start(vhosts: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let conf =
            std::env::temp_dir().join(format!("runnel-test-{}-{number}.conf", std::process::id()));
        let global = format!(
            "listen {address};\nmax_connections 500;\ndaemon off;\nsrs_log_tank console;\n"
        );
        fs::write(&conf, global + vhosts).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_runnel"))
            .arg("-c")
            .arg(&conf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server's binary runs");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let sink = log.clone();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                sink.lock().unwrap().push(line);
            }
        });
        let server = Self { child, conf, log, address };
        let end = Instant::now() + SOON;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < end, "the server does not start:\n{}", server.tail());
            thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// Waits for a log line that has all of `parts`, and returns it.
    pub(crate) fn logged(&self, parts: &[&str]) -> String {
        self.logged_within(parts, SOON)
    }

    pub(crate) fn logged_within(&self, parts: &[&str], time: Duration) -> String {
        let end = Instant::now() + time;
        loop {
            if let Some(line) = self.lines(parts).pop() {
                return line;
            }
            assert!(Instant::now() < end, "no line has {parts:?}:\n{}", self.tail());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until `count` lines have all of `parts`, and makes sure that there are no more.
    pub(crate) fn logged_times(&self, parts: &[&str], count: usize) {
        let end = Instant::now() + SOON;
        while self.lines(parts).len() < count {
            assert!(Instant::now() < end, "not {count} times {parts:?}:\n{}", self.tail());
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(self.lines(parts).len(), count, "{parts:?}");
    }

    /// The lines so far that have all of `parts`.
    pub(crate) fn lines(&self, parts: &[&str]) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|line| parts.iter().all(|part| line.contains(part))).cloned().collect()
    }

    /// Resident memory, in kilobytes.
    pub(crate) fn rss(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it lives");
        line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
    }

    /// Waits until resident memory is at most `kb`.
    pub(crate) fn settles(&self, kb: usize) {
        let end = Instant::now() + SOON;
        while self.rss() > kb {
            assert!(Instant::now() < end, "{} kB resident, {kb} are allowed", self.rss());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn tail(&self) -> String {
        let log = self.log.lock().unwrap();
        log[log.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let status = self.child.wait();
        let _ = fs::remove_file(&self.conf);
        if !thread::panicking() {
            assert!(status.is_ok_and(|s| s.success()), "it ends well:\n{}", self.tail());
        }
    }
}
