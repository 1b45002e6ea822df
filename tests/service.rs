//! The server as a service: daemon, pid file, signals, notices, logs, installation.

#![cfg(feature = "service")]

mod common;

use common::client::{Peer, play, publish};
use common::{RUNNEL, SOON, Server, TempDir, eventually, free_port, skip, tool};
use runnel::media::Kind;
use runnel::proto::rtmp::client::{Config, Event};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A daemon of a test; killed when it is dropped.
struct Daemon(Pid);

impl Daemon {
    fn of(pid_file: &Path) -> Self {
        let pid: i32 = fs::read_to_string(pid_file).unwrap().parse().unwrap();
        Self(Pid::from_raw(pid).unwrap())
    }

    /// A file of its directory in /proc.
    fn proc(&self, name: &str) -> std::path::PathBuf {
        Path::new("/proc").join(self.0.as_raw_nonzero().to_string()).join(name)
    }

    /// The fields of its `stat` from the third on.
    fn stat(&self) -> Vec<String> {
        let stat = fs::read_to_string(self.proc("stat")).unwrap();
        let fields = stat.rsplit_once(") ").unwrap().1;
        fields.split(' ').map(str::to_owned).collect()
    }

    /// It may be left to whoever is to take its exit status.
    fn is_gone(&self) -> bool {
        let stat = fs::read_to_string(self.proc("stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

fn daemon_conf(port: u16) -> String {
    format!(
        "listen 127.0.0.1:{port}; daemon on; disable_daemon_for_docker off; pid a.pid;\n\
         srs_log_tank file; srs_log_file a.log; vhost __defaultVhost__ {{ }}\n"
    )
}

fn run_in(dir: &TempDir) -> Output {
    let mut command = Command::new(RUNNEL);
    command.args(["-c", "a.conf"]).current_dir(dir.path()).stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn a_daemon_returns_when_it_listens_and_tells_when_it_does_not() {
    let (dir, port) = (TempDir::new(), free_port());
    fs::write(dir.join("a.conf"), daemon_conf(port)).unwrap();
    let out = run_in(&dir);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    // At once: it listens already.
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    assert!(text(&out.stdout).contains(&format!("RTMP on {port}")), "the first screen is seen");
    assert!(!out.stdout.contains(&0));
    let daemon = Daemon::of(&dir.join("a.pid"));
    // ppid, group, session: its parent is gone, the session is its own.
    let (stat, own) = (daemon.stat(), daemon.0.as_raw_nonzero().to_string());
    assert_ne!(stat[1], std::process::id().to_string());
    assert_eq!((stat[2].as_str(), stat[3].as_str()), (own.as_str(), own.as_str()));
    for fd in 0..3 {
        let link = fs::read_link(daemon.proc(&format!("fd/{fd}"))).unwrap();
        assert_eq!(link, Path::new("/dev/null"), "descriptor {fd}");
    }
    assert_eq!(fs::read_to_string(daemon.proc("comm")).unwrap().trim(), "runnel");
    eventually("the log is in its file", SOON, || {
        fs::read_to_string(dir.join("a.log")).is_ok_and(|log| log.contains("RTMP listens at"))
    });

    // A second one in the same place, whatever its port.
    let second = daemon_conf(free_port());
    fs::write(dir.join("a.conf"), &second).unwrap();
    let out = run_in(&dir);
    assert_eq!(out.status.code(), Some(1035 & 0xff));
    let said = text(&out.stderr);
    assert!(said.contains(&format!("already running, as process {own}")), "{said}");
    assert!(said.contains("a.pid") && said.contains("ret=1035"), "{said}");

    // The same port, another pid file.
    fs::write(dir.join("a.conf"), daemon_conf(port).replace("a.pid", "b.pid")).unwrap();
    let out = run_in(&dir);
    assert_eq!(out.status.code(), Some(1002 & 0xff));
    let said = text(&out.stderr);
    assert!(said.contains("another program has it"), "{said}");
    assert!(!dir.join("b.pid").exists());

    kill_process(daemon.0, Signal::TERM).unwrap();
    eventually("it ends", SOON, || daemon.is_gone());
    assert!(!dir.join("a.pid").exists(), "the pid file goes with it");
    // It can be started again where one was killed.
    fs::write(dir.join("a.conf"), &second).unwrap();
    fs::write(dir.join("a.pid"), own).unwrap();
    assert_eq!(run_in(&dir).status.code(), Some(0));
    drop(Daemon::of(&dir.join("a.pid")));
}

#[test]
fn what_is_odd_about_the_file_of_a_daemon_is_told_once() {
    let (dir, port) = (TempDir::new(), free_port());
    let conf = daemon_conf(port).replace("vhost", "utc_time maybe; vhost");
    fs::write(dir.join("a.conf"), conf).unwrap();
    let out = run_in(&dir);
    let daemon = Daemon::of(&dir.join("a.pid"));
    let said = text(&out.stderr);
    assert_eq!(said.matches("neither on nor off").count(), 1, "{said}");
    drop(daemon);
}

#[test]
fn the_pid_file_may_be_missing_unless_it_was_asked_for() {
    // The default, in a directory that is not there.
    let server = Server::start();
    server.line("no pid file, ./objs/srs.pid: No such file");
    let dir = TempDir::new();
    let conf = format!(
        "listen 127.0.0.1:{}; daemon off; srs_log_tank console; pid no/such.pid; vhost v {{ }}",
        free_port()
    );
    fs::write(dir.join("a.conf"), conf).unwrap();
    let out = run_in(&dir);
    assert_eq!(out.status.code(), Some(255));
    assert!(text(&out.stderr).contains("pid no/such.pid: No such file"), "{}", text(&out.stderr));
}

#[test]
fn a_reload_takes_another_pid_file_and_another_watchdog() {
    let (dir, port) = (TempDir::new(), free_port());
    fs::write(dir.join("one"), "").unwrap();
    fs::write(dir.join("two"), "").unwrap();
    let conf = |pid: &str, device: &str| {
        let device = if cfg!(feature = "watchdog") { device } else { "" };
        format!(
            "listen 127.0.0.1:{port}; daemon off; srs_log_tank console; pid {pid}; {device}\n\
             vhost __defaultVhost__ {{ }}\n"
        )
    };
    fs::write(dir.join("test.conf"), conf("a.pid", "watchdog one;")).unwrap();
    let mut server = Server::spawn(Command::new(RUNNEL).args(["-c", "test.conf"]), port, dir);
    let file = |name: &str| server.dir.join(name);
    assert_eq!(fs::read_to_string(file("a.pid")).unwrap(), server.pid().to_string());
    fs::write(file("test.conf"), conf("b.pid", "watchdog two;")).unwrap();
    server.signal(Signal::HUP);
    server.line("reload: pid b.pid");
    assert!(!file("a.pid").exists() && file("b.pid").exists());
    if cfg!(feature = "watchdog") {
        eventually("the other one is fed", SOON, || fs::read(file("two")).unwrap().len() > 1);
        assert!(fs::read(file("one")).unwrap().ends_with(b"V"));
    }
    // The same by another name.
    fs::write(file("test.conf"), conf("./b.pid", "watchdog two;")).unwrap();
    server.signal(Signal::HUP);
    server.line_number("reload config success", 2);
    assert!(file("b.pid").exists());
    // One that cannot be: all stays.
    fs::write(file("test.conf"), conf("no/such.pid", "")).unwrap();
    server.signal(Signal::HUP);
    server.line("the pid file stays as it is: pid no/such.pid");
    assert!(file("b.pid").exists());
    let b = file("b.pid");
    server.signal(Signal::TERM);
    assert!(server.wait(SOON).is_some_and(|status| status.success()));
    assert!(!b.exists());
}

#[test]
fn a_server_with_asprocess_ends_with_its_parent() {
    let (dir, port) = (TempDir::new(), free_port());
    let conf = format!(
        "listen 127.0.0.1:{port}; daemon off; asprocess on; srs_log_tank file;\n\
         srs_log_file a.log; pid a.pid; vhost __defaultVhost__ {{ }}"
    );
    fs::write(dir.join("a.conf"), conf).unwrap();
    let mut shell = Command::new("sh")
        .args(["-c", "\"$0\" -c a.conf & wait", RUNNEL])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it listens", SOON, || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let server = Daemon::of(&dir.join("a.pid"));
    shell.kill().unwrap();
    shell.wait().unwrap();
    eventually("it ends", SOON, || server.is_gone());
    let log = fs::read_to_string(dir.join("a.log")).unwrap();
    assert!(log.contains("is gone (asprocess)"), "{log}");
}

#[test]
fn a_server_that_leaves_asks_its_clients_to_reconnect_and_goes_when_they_are_gone() {
    let mut server = Server::with("drain_timeout 60; vhost __defaultVhost__ { min_latency on; }");
    let mut publisher = Peer::able(&server, publish("s"));
    let mut player = Peer::able(&server, play("s"));
    let mut old_player = Peer::play(&server, "s");
    publisher.send_bytes(Kind::Audio, 0, b"\x2fsound");
    player.packets(1);
    server.signal(Signal::USR2);
    publisher.is_asked_to_reconnect();
    player.is_asked_to_reconnect();
    server.line("listens no more");
    assert!(TcpStream::connect(server.address()).is_err(), "nobody is let in");
    // Until they go all is as before.
    publisher.send_bytes(Kind::Audio, 40, b"\x2fsound");
    player.packets(1);
    old_player.packets(2);
    drop((publisher, player));
    assert_eq!(server.wait(Duration::from_millis(500)), None, "one is left");
    drop(old_player);
    assert!(server.wait(SOON).is_some_and(|status| status.success()));
    server.line("server stops, 0 connections were cut");
}

#[test]
fn another_server_takes_the_place_of_one_that_leaves() {
    let (dir, port) = (TempDir::new(), free_port());
    let conf = daemon_conf(port).replace("daemon on", "drain_timeout 60; daemon on");
    fs::write(dir.join("a.conf"), conf).unwrap();
    let start = || {
        assert_eq!(run_in(&dir).status.code(), Some(0));
        Daemon::of(&dir.join("a.pid"))
    };
    let url = format!("rtmp://127.0.0.1:{port}/live");
    let join = || {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let config = Config { reconnects: true, ..Config::new(&url, "live", play("s")) };
        let mut peer = Peer::over(socket, config);
        peer.started();
        peer
    };
    let old = start();
    let mut player = join();
    kill_process(old.0, Signal::USR2).unwrap();
    player.is_asked_to_reconnect();
    eventually("its place is free", SOON, || !dir.join("a.pid").exists());
    let new = start();
    assert_ne!(old.0, new.0);
    // Where it was asked to go.
    let _again = join();
    assert!(!old.is_gone());
    drop(player);
    eventually("the old one goes", SOON, || old.is_gone());
    assert!(dir.join("a.pid").exists() && !new.is_gone());
}

#[test]
fn a_server_that_leaves_does_not_wait_longer_than_it_may() {
    let mut server = Server::with("drain_timeout 1; vhost __defaultVhost__ { }");
    let _player = Peer::play(&server, "s");
    let start = Instant::now();
    server.signal(Signal::USR2);
    assert!(server.wait(SOON).is_some_and(|status| status.success()));
    assert!(start.elapsed() >= Duration::from_millis(900));
    server.line("drain_timeout is over, 1 clients are left");
    // Not even that long when it is told to stop.
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::with("drain_timeout 0; vhost __defaultVhost__ { }");
        let _player = Peer::play(&server, "s");
        server.signal(Signal::USR2);
        server.line("server leaves");
        server.signal(signal);
        assert!(server.wait(Duration::from_secs(2)).is_some_and(|status| status.success()));
    }
}

#[test]
fn a_graceful_stop_waits_before_it_begins_and_at_its_end() {
    for (directive, signal) in [("", Signal::QUIT), ("force_grace_quit on;", Signal::TERM)] {
        let mut server = Server::with(&format!(
            "{directive} grace_start_wait 600; grace_final_wait 300; vhost __defaultVhost__ {{ }}"
        ));
        let start = Instant::now();
        server.signal(signal);
        server.line("graceful stop, begins in 600 ms");
        let player = Peer::play(&server, "s");
        server.line("server leaves");
        assert!(start.elapsed() >= Duration::from_millis(600));
        drop(player);
        assert!(server.wait(SOON).is_some_and(|status| status.success()));
        assert!(start.elapsed() >= Duration::from_millis(900), "{signal:?}");
    }
}

#[test]
#[cfg(feature = "api")]
fn a_server_that_is_to_leave_says_so_to_those_that_look_after_it() {
    use common::http::Http;
    let api = free_port();
    let mut server = Server::with(&format!(
        "grace_start_wait 600; grace_final_wait 0; http_api {{ enabled on; listen 127.0.0.1:{api}; }}
         vhost __defaultVhost__ {{ }}"
    ));
    let health = || {
        let mut http = Http::connect(api);
        let head = http.ask("/healthz", "Connection: close\r\n");
        (head.status, text(&http.body(&head)))
    };
    assert_eq!(health(), (200, "ok\n".to_owned()));
    server.signal(Signal::QUIT);
    server.line("graceful stop, begins in 600 ms");
    assert_eq!(health(), (503, "leaving\n".to_owned()));
    assert!(server.wait(SOON).is_some_and(|status| status.success()));
}

#[test]
#[cfg(feature = "remux")]
fn http_players_of_a_server_that_leaves_see_the_end_of_their_answer() {
    use common::http::{self, Http};
    let (mut server, port) = http::server_with(
        &format!("drain_timeout 30; vhost __defaultVhost__ {{ min_latency on; {} }}", http::REMUX),
        "",
    );
    let mut publisher = Peer::publish(&server, "s");
    publisher.send_bytes(Kind::Audio, 0, b"\x2fsound");
    let mut player = Http::connect(port);
    let head = player.ask("/live/s.flv", "");
    assert_eq!((head.status, head.get("Transfer-Encoding")), (200, Some("chunked")));
    player.chunk().expect("the header");
    // Between two requests, and before the first.
    let mut idle = Http::connect(port);
    let head = idle.ask("/nothing", "");
    idle.body(&head);
    let mut silent = Http::connect(port);
    server.line_number("HTTP client ip", 3);
    server.signal(Signal::USR2);
    // All of its chunks, and the last one, which is empty.
    while player.chunk().is_some() {}
    for client in [&mut player, &mut idle, &mut silent] {
        let mut rest = Vec::new();
        client.socket.read_to_end(&mut rest).unwrap();
        assert_eq!(text(&rest), "");
    }
    drop(publisher);
    assert!(server.wait(SOON).is_some_and(|status| status.success()));
}

/// What a service manager is told.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn start(conf: &str) -> (Self, Server) {
        let (home, port) = (TempDir::new(), free_port());
        // The path of a socket is short.
        let name = std::env::temp_dir().join(format!("runnel-notify-{port}"));
        let _ = fs::remove_file(&name);
        let socket = UnixDatagram::bind(&name).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let conf = format!("listen 127.0.0.1:{port}; srs_log_tank console; {conf}");
        fs::write(home.join("test.conf"), conf).unwrap();
        let mut command = Command::new(RUNNEL);
        command
            .args(["-c", "test.conf"])
            .env("NOTIFY_SOCKET", &name)
            .env("WATCHDOG_USEC", "400000");
        let server = Server::spawn(&mut command, port, home);
        fs::remove_file(&name).unwrap();
        (Self { socket }, server)
    }

    fn said(&self) -> String {
        let mut buffer = [0; 500];
        let n = self.socket.recv(&mut buffer).unwrap();
        text(&buffer[..n])
    }

    /// The next thing that is no sign of life.
    fn told(&self) -> String {
        loop {
            let said = self.said();
            if said != "WATCHDOG=1" {
                return said;
            }
        }
    }
}

#[test]
fn a_service_manager_is_told_what_goes_on() {
    // Under it there is no daemon, whatever the file says.
    let conf = "daemon on; pid a.pid; vhost __defaultVhost__ { }";
    let (manager, mut server) = Manager::start(conf);
    let pid = server.pid();
    assert_eq!(manager.told(), format!("READY=1\nSTATUS=serving\nMAINPID={pid}"));
    server.line("daemon is off: a service manager waits for it");
    let start = Instant::now();
    for _ in 0..6 {
        assert_eq!(manager.said(), "WATCHDOG=1");
    }
    let took = start.elapsed();
    assert!(took > Duration::from_millis(700) && took < Duration::from_millis(2400), "{took:?}");
    server.signal(Signal::HUP);
    assert!(manager.told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert!(manager.told().starts_with("READY=1\n"));
    let player = Peer::play(&server, "s");
    server.signal(Signal::USR2);
    assert_eq!(manager.told(), "STATUS=leaving, waits for its clients to go");
    drop(player);
    assert_eq!(manager.told(), "STOPPING=1\nSTATUS=stopping");
    assert!(server.wait(SOON).is_some_and(|status| status.success()));
}

#[test]
fn the_log_goes_to_syslog() {
    let (dir, port) = (TempDir::new(), free_port());
    let name = std::env::temp_dir().join(format!("runnel-syslog-{port}"));
    let _ = fs::remove_file(&name);
    let syslog = UnixDatagram::bind(&name).unwrap();
    syslog.set_read_timeout(Some(SOON)).unwrap();
    let conf = format!(
        "listen 127.0.0.1:{port}; daemon off; srs_log_tank syslog; syslog_socket {};\n\
         vhost __defaultVhost__ {{ }}",
        name.display()
    );
    fs::write(dir.join("test.conf"), conf).unwrap();
    let mut command = Command::new(RUNNEL);
    let server = Server::spawn_silent(command.args(["-c", "test.conf"]), port, dir);
    let line = |part: &str| {
        loop {
            let mut buffer = [0; 5000];
            let n = syslog.recv(&mut buffer).unwrap();
            let line = text(&buffer[..n]);
            if line.contains(part) {
                return line;
            }
        }
    };
    let first = line("RTMP listens at");
    assert!(first.starts_with("<30>"), "{first}");
    assert!(first.contains(&format!(" runnel[{}]: [", server.pid())), "{first}");
    drop(TcpStream::connect(server.address()).unwrap());
    let warning = line("client disconnect peer");
    assert!(warning.starts_with("<28>"), "{warning}");
    fs::remove_file(&name).unwrap();
}

#[test]
fn the_log_file_keeps_to_its_size_and_has_no_zeros() {
    let (dir, port) = (TempDir::new(), free_port());
    let conf = format!(
        "listen 127.0.0.1:{port}; daemon off; srs_log_tank file; srs_log_file a.log; pid a.pid;\n\
         srs_log_size 8K; vhost __defaultVhost__ {{ }}"
    );
    fs::write(dir.join("test.conf"), conf).unwrap();
    let mut command = Command::new(RUNNEL);
    let mut server = Server::spawn_silent(command.args(["-c", "test.conf"]), port, dir);
    eventually("it listens", SOON, || TcpStream::connect(server.address()).is_ok());
    let (log, old) = (server.dir.join("a.log"), server.dir.join("a.log.1"));
    for i in 0..60 {
        drop(Peer::play(&server, &format!("stream-number-{i}")));
    }
    let mut peer = Peer::new(&server, play("a\0b"));
    assert!(peer.wait_for(|event| matches!(event, Event::Refused(_))).is_some());
    drop(peer);
    server.signal(Signal::TERM);
    assert!(server.wait(SOON).is_some_and(|status| status.success()));
    let (log, old) = (fs::read(&log).unwrap(), fs::read(&old).unwrap());
    // One write of gathered lines may be longer than the bound.
    assert!(log.len() < 16 << 10 && old.len() < 40 << 10, "{} {}", log.len(), old.len());
    assert!(text(&log).contains("server stops"), "the new one has the end");
    assert!(old.ends_with(b"\n") && log.starts_with(b"["), "lines are whole");
    assert!(!log.contains(&0) && !old.contains(&0));
    let files = server.dir.listing();
    assert_eq!(files.len(), 3, "one old file is kept: {files:?}");
}

#[test]
#[cfg(feature = "watchdog")]
fn the_watchdog_is_fed_and_disarmed_by_a_stop_only() {
    for signal in [Signal::TERM, Signal::KILL] {
        let dir = TempDir::new();
        let device = dir.join("watchdog");
        fs::write(&device, "").unwrap();
        let conf = format!("watchdog {}; vhost __defaultVhost__ {{ }}", device.display());
        let mut server = Server::with(&conf);
        server.line("is armed");
        eventually("it is fed", SOON, || fs::read(&device).unwrap().len() >= 3);
        server.signal(signal);
        server.wait(SOON).unwrap();
        let written = fs::read(&device).unwrap();
        let fed = written.strip_suffix(b"V").unwrap_or(&written);
        assert_eq!(written.ends_with(b"V"), signal == Signal::TERM);
        assert!(fed.iter().all(|&byte| byte == 0));
    }
    let server = Server::with("watchdog /no/such/device; vhost __defaultVhost__ { }");
    server.line("watchdog /no/such/device: No such file");
}

#[test]
fn it_serves_without_a_place_to_write_to() {
    let Some(unshare) = tool("unshare") else { return };
    let namespace = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    // Everything that is mounted, but for devices and what only the kernel has.
    let script = "mount --make-rprivate / && \
        for at in $(cut -d' ' -f2 /proc/mounts | sort -u); do \
            case $at in /proc*|/sys*|/dev*) ;; *) mount -o remount,bind,ro \"$at\" || exit 9;; esac; \
        done; touch ./writable 2>/dev/null && exit 8; \"$@\"";
    let shell = |args: &[&str]| {
        let mut command = Command::new(&unshare);
        command.args([namespace, "sh", "-c", script, "sh"]).args(args);
        command
    };
    if !shell(&["true"]).output().is_ok_and(|out| out.status.success()) {
        skip::<()>("the right to mount");
        return;
    }
    let (dir, port) = (TempDir::new(), free_port());
    // Defaults: a log in a file and a pid file, neither of which can be.
    let conf = format!("listen 127.0.0.1:{port}; daemon off; vhost __defaultVhost__ {{ }}");
    fs::write(dir.join("test.conf"), conf).unwrap();
    let mut command = Command::new(&unshare);
    let exec = script.replace("\"$@\"", "exec \"$@\"");
    command.args([namespace, "sh", "-c", &exec, "sh", RUNNEL, "-c", "test.conf"]);
    let mut server = Server::spawn_silent(&mut command, port, dir);
    eventually("it listens", SOON, || TcpStream::connect(server.address()).is_ok());
    let mut publisher = Peer::publish(&server, "s");
    let mut player = Peer::play(&server, "s");
    for i in 0..50 {
        publisher.send_bytes(Kind::Audio, i * 40, b"\x2fsound");
    }
    player.packets(50);
    assert!(server.log.wait("log ./objs/srs.log", 1, SOON).is_some(), "told once");
    assert_eq!(server.count("log ./objs/srs.log"), 1);
    server.signal(Signal::TERM);
    assert!(server.wait(SOON).is_some_and(|status| status.success()));
    assert_eq!(server.dir.listing().len(), 1, "nothing but its configuration");
}

/// The program installed into a directory, with a configuration of the test.
fn install(prefix: &TempDir, more: &[&str]) -> Output {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(source.join("dist/install"));
    let dir = prefix.path().display().to_string();
    command.args(["--prefix", &dir, "--binary", RUNNEL]).args(more).output().unwrap()
}

#[test]
fn it_is_installed_and_removed_again() {
    let prefix = TempDir::new();
    for round in 0..2 {
        let out = install(&prefix, &[]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        assert!(!text(&out.stdout).contains("kept"), "round {round}");
    }
    let installed = prefix.listing();
    for name in ["bin/runnel", "conf/srs.conf", "conf/full.conf", "etc/init.d/runnel", "objs"] {
        assert!(installed.contains(&prefix.join(name)), "{name}");
    }
    assert!(!installed.iter().any(|path| path.extension().is_some_and(|e| e == "new")));
    let version = Command::new(prefix.join("bin/runnel")).arg("-v").output().unwrap();
    assert!(version.status.success());
    // What was changed stays.
    fs::write(prefix.join("conf/srs.conf"), "# mine\n").unwrap();
    assert!(text(&install(&prefix, &[]).stdout).contains("kept"));
    assert_eq!(fs::read_to_string(prefix.join("conf/srs.conf")).unwrap(), "# mine\n");
    assert!(prefix.join("conf/srs.conf.dist").exists());
    fs::write(prefix.join("objs/a.flv"), "mine, too").unwrap();
    assert!(install(&prefix, &["--uninstall"]).status.success());
    let mut left = prefix.listing();
    left.sort();
    let mine = ["conf", "conf/srs.conf", "objs", "objs/a.flv"].map(|name| prefix.join(name));
    assert_eq!(left, mine);
    // For a package.
    let (package, destdir) = (TempDir::new(), TempDir::new());
    let root = destdir.path().display().to_string();
    let out = install(&package, &["--destdir", &root, "--service"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(package.listing().is_empty(), "nothing outside of it");
    let link = fs::read_link(destdir.join("etc/init.d/runnel")).unwrap();
    assert_eq!(link, package.join("etc/init.d/runnel"));
}

#[test]
fn the_init_script_starts_reloads_and_stops_it() {
    let prefix = TempDir::new();
    assert!(install(&prefix, &[]).status.success());
    let script = prefix.join("etc/init.d/runnel");
    let mut shells = vec!["sh".into()];
    // What small boards have.
    shells.extend(tool("busybox").map(|path| path.display().to_string()));
    for shell in shells {
        let port = free_port();
        let conf = format!(
            "listen 127.0.0.1:{port};\npid ./objs/mine.pid;\nsrs_log_file ./objs/srs.log;\n\
             disable_daemon_for_docker off;\nvhost __defaultVhost__ {{ }}\n"
        );
        fs::write(prefix.join("conf/srs.conf"), conf).unwrap();
        let run = |command: &str| {
            let mut line = Command::new(&shell);
            if shell != "sh" {
                line.arg("sh");
            }
            let out = line.arg(&script).arg(command).current_dir("/").output().unwrap();
            (out.status.code(), text(&out.stdout), text(&out.stderr))
        };
        let pid_file = prefix.join("objs/mine.pid");
        let pid = || fs::read_to_string(&pid_file).unwrap();
        let (code, said, _) = run("status");
        assert_eq!(code, Some(1));
        assert!(said.starts_with("runnel is stopped, no pid file"), "{said}");
        assert_eq!(run("reload").0, Some(1));
        assert_eq!(run("stop").0, Some(0), "also when it does not run");

        let (code, said, errors) = run("start");
        assert_eq!(code, Some(0), "{said}{errors}");
        let first = pid();
        let _end = Daemon::of(&pid_file);
        assert_eq!(said, format!("Starting runnel, pid={first} [  OK  ]\n"));
        drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
        assert_eq!(
            run("status"),
            (Some(0), format!("runnel(pid {first}) is running.\n"), "".into())
        );
        let (code, said, _) = run("start");
        assert_eq!(code, Some(1));
        assert!(said.contains(&format!("already running, pid={first} [FAILED]")), "{said}");
        assert_eq!(run("reload").0, Some(0));
        let log = prefix.join("objs/srs.log");
        eventually("the log tells of it", SOON, || {
            fs::read_to_string(&log).is_ok_and(|log| log.contains("reload"))
        });
        let (code, said, _) = run("restart");
        assert_eq!(code, Some(0), "{said}");
        assert_ne!(pid(), first);
        let _end = Daemon::of(&pid_file);
        let (code, said, _) = run("stop");
        assert_eq!((code, said.as_str()), (Some(0), "Stopping runnel [  OK  ]\n"));
        assert!(!pid_file.exists() && TcpStream::connect(("127.0.0.1", port)).is_err());
        for wrong in ["", "drop"] {
            let (code, said, _) = run(wrong);
            assert_eq!(code, Some(1));
            assert!(said.contains("{start|stop|status|restart|reload}"), "{said}");
        }

        // A number that is another program's by now, and a file that is wrong.
        fs::write(&pid_file, "1").unwrap();
        let (code, said, _) = run("status");
        assert_eq!(code, Some(1));
        assert!(said.contains("another program"), "{said}");
        fs::remove_file(&pid_file).unwrap();
        fs::write(prefix.join("conf/srs.conf"), "listen 1935;\nnonsense;\n").unwrap();
        let (code, said, errors) = run("start");
        assert_eq!(code, Some(1));
        assert!(said.contains("[FAILED]") && errors.contains("did not start"), "{said}{errors}");
        fs::remove_file(&log).unwrap();
    }
}

#[test]
fn the_unit_is_one_that_systemd_knows() {
    let Some(analyze) = tool("systemd-analyze") else { return };
    let prefix = TempDir::new();
    assert!(install(&prefix, &[]).status.success());
    let unit = prefix.join("lib/systemd/system/runnel.service");
    let out = Command::new(analyze).arg("verify").arg(&unit).output().unwrap();
    let said = text(&out.stderr);
    let about: Vec<&str> = said.lines().filter(|line| line.contains("runnel")).collect();
    assert!(out.status.success() && about.is_empty(), "{said}");
}
