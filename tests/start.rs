//! The command line, the first screen, what the process leaves behind, and its end.

mod common;

use common::client::Peer;
use common::{RUNNEL, SOON, Server, TempDir, free_port, tool};
use runnel::limits;
use runnel::media::Kind;
use runnel::service::FEATURES;
use rustix::process::Signal;
use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const GOOD: &str = "listen 127.0.0.1:1935; daemon off; srs_log_tank console;\n\
                    vhost __defaultVhost__ { }\n";

fn runnel(args: &[&str]) -> Output {
    Command::new(RUNNEL).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What `-t` says of a file with this text: its exit status and standard error.
fn check(conf: &str) -> (Option<i32>, String) {
    let dir = TempDir::new();
    let file = dir.join("test.conf");
    fs::write(&file, conf).unwrap();
    let out = runnel(&["-t", "-c", &file.display().to_string()]);
    assert_eq!(dir.listing(), [file], "nothing is written");
    (out.status.code(), text(&out.stderr))
}

#[test]
fn a_good_file_is_said_to_be_good() {
    let (status, said) = check(GOOD);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("config file is ok"), "{said}");
    // The port does not have to be free.
    let server = Server::start();
    let conf = GOOD.replace("1935", &server.port.to_string());
    assert_eq!(check(&conf).0, Some(0));
}

#[test]
fn the_error_in_a_bad_file_is_named_with_its_line() {
    let cases = [
        ("listen 1935;\nvhost __defaultVhost__ {\n    chunk_size 5;\n}\n", "3"),
        ("listen 1935;\nmax_connections many;\n", "2"),
        ("listen 1935;\n\nno_such_directive on;\n", "3"),
        ("listen 1935;\nvhost a {\n", "2"),
        ("listen 1935;\nvhost a { }\nvhost a { } }\n", "3"),
        ("listen 65536;\n", "1"),
    ];
    for (conf, line) in cases {
        let (status, said) = check(conf);
        assert_eq!(status, Some(255), "{conf:?}: {said}");
        assert!(said.contains(&format!("line {line}")), "{conf:?}: {said}");
        assert!(!said.contains("is ok"), "{said}");
    }
    for conf in ["", "# nothing\n"] {
        assert_eq!(check(conf).0, Some(255), "{conf:?}");
    }
    let missing = runnel(&["-t", "-c", "/no/such/file.conf"]);
    assert_eq!(missing.status.code(), Some(255));
    assert!(text(&missing.stderr).contains("/no/such/file.conf"));
}

#[test]
fn every_sample_configuration_is_good() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let file = entry.unwrap().path();
        let out = runnel(&["-t", "-c", &file.display().to_string()]);
        let said = text(&out.stderr);
        assert!(out.status.success() && said.contains("config file is ok"), "{said}");
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn version_and_help_are_printed() {
    for flag in ["-v", "-V"] {
        let out = runnel(&[flag]);
        assert!(out.status.success());
        assert_eq!(text(&out.stderr).trim(), env!("CARGO_PKG_VERSION"), "as SRS does, to stderr");
    }
    for flag in ["-h", "-?"] {
        let out = runnel(&[flag]);
        assert!(out.status.success());
        let help = text(&out.stdout);
        assert!(help.starts_with("runnel ") && help.contains(env!("CARGO_PKG_VERSION")), "{help}");
        for option in ["-c FILE", "-t", "-p PORT", "-v", "--demo", "For example"] {
            assert!(help.contains(option), "{option}: {help}");
        }
    }
    for args in [&["-x"][..], &["-c"], &["-p", "0"], &["-t"], &["stray"]] {
        let out = runnel(args);
        assert_eq!(out.status.code(), Some(255), "{args:?}");
        assert!(text(&out.stderr).contains("Usage"), "{args:?}");
    }
}

#[test]
fn the_first_screen_says_where_to_publish_and_where_to_watch() {
    let server = Server::without_file(&[]);
    let port = server.port;
    assert!(server.screen.wait("Watch", 1, SOON).is_some());
    assert!(server.screen.wait("ffplay", 1, SOON).is_some());
    let screen = server.screen.all();
    assert!(screen[0].starts_with(&format!("runnel {}", env!("CARGO_PKG_VERSION"))), "{screen:?}");
    let line = |start: &str| {
        let found = screen.iter().find(|line| line.trim_start().starts_with(start));
        found.unwrap_or_else(|| panic!("no line {start:?} in {screen:#?}"))
    };
    assert!(line("listens").contains(&port.to_string()));
    assert!(line("memory").contains("MB at most"));
    assert!(line("config").contains("built-in defaults"));
    assert!(FEATURES.iter().all(|feature| line("features").contains(feature)));
    assert!(line("OBS").contains(&format!(":{port}/live   stream key livestream")));
    for program in ["ffmpeg", "VLC", "ffplay"] {
        let line = line(program);
        assert!(line.contains("rtmp://"), "{line}");
        assert!(line.ends_with(&format!(":{port}/live/livestream")), "{line}");
    }
}

const DEMO: &[&str] = if cfg!(feature = "demo") { &["--demo"] } else { &[] };

/// Publishes and plays, and ends the server.
fn work(mut server: Server) -> TempDir {
    let mut player = Peer::play(&server, "s");
    let mut publisher = Peer::publish(&server, "s");
    for i in 0..20 {
        publisher.send_bytes(Kind::Audio, i * 40, &[0x2f; 1000]);
    }
    player.packets(20);
    server.signal(Signal::TERM);
    assert!(server.wait(SOON).is_some_and(|status| status.success()));
    std::mem::replace(&mut server.dir, TempDir::new())
}

#[test]
fn without_a_configuration_file_nothing_is_written() {
    let dir = work(Server::without_file(DEMO));
    assert_eq!(dir.listing(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn without_a_configuration_file_no_file_is_opened_for_writing() {
    let Some(traced) = Traced::start(free_port()) else { return };
    traced.wrote_nothing(work);
}

/// The same while somebody watches over HTTP: HLS for longer than its window, a live stream of each
/// format, the page with its list, and what is not there.
#[test]
#[cfg(all(feature = "demo", feature = "hls", feature = "remux", feature = "web"))]
fn without_a_configuration_file_nothing_is_written_for_players_over_http() {
    use common::http::{Http, get};
    let http = free_port();
    let Some(traced) = Traced::start(http) else { return };
    traced.wrote_nothing(|server| {
        server.line("HTTP listens at");
        let mut live: Vec<Http> = ["flv", "ts", "aac"]
            .iter()
            .map(|form| {
                let mut player = Http::connect(http);
                assert_eq!(player.ask(&format!("/live/demo.{form}"), "").status, 200);
                player
            })
            .collect();
        for path in ["/", "/runnel.js", "/streams.json"] {
            assert_eq!(get(http, path, "").0.status, 200, "{path}");
        }
        assert_eq!(get(http, "/no/such/file.html", "").0.status, 404);
        let mut segments = std::collections::BTreeSet::new();
        // Two seconds each, and ten in the playlist.
        common::eventually("segments come and go", Duration::from_secs(40), || {
            let (head, list) = get(http, "/live/demo.m3u8", "");
            let list = text(&list);
            for uri in list.lines().filter(|line| head.status == 200 && line.ends_with(".ts")) {
                if segments.insert(uri.to_owned()) {
                    assert_eq!(get(http, &format!("/live/{uri}"), "").0.status, 200);
                }
            }
            for player in &mut live {
                player.chunk().expect("more of the stream");
            }
            segments.len() >= 7
        });
        drop(live);
        work(server)
    });
}

/// A server without a configuration file, and all its calls that name a file.
struct Traced {
    server: Server,
    traces: TempDir,
}

impl Traced {
    fn start(http: u16) -> Option<Self> {
        let strace = tool("strace")?;
        let allowed = Command::new(&strace).args(["-o", "/dev/null", "true"]).status();
        if !allowed.is_ok_and(|status| status.success()) {
            return common::skip("the right to trace processes");
        }
        let port = free_port();
        let (dir, traces) = (TempDir::new(), TempDir::new());
        // -D: the server is the child, strace its grandchild, so that signals reach the server.
        let mut command = Command::new(strace);
        command.args(["-D", "-f", "-e", "trace=%file", "-o"]).arg(traces.join("trace"));
        let (rtmp, http) = (port.to_string(), http.to_string());
        command.args([RUNNEL, "-p", &rtmp, "--http-port", &http]).args(DEMO);
        Some(Self { server: Server::spawn(&mut command, port, dir), traces })
    }

    /// Uses the server, which `work` ends, and reads what it did.
    fn wrote_nothing(self, work: impl FnOnce(Server) -> TempDir) {
        assert_eq!(work(self.server).listing(), Vec::<std::path::PathBuf>::new());
        let trace = self.traces.join("trace");
        // strace may write its last line after the end of the server.
        common::eventually("strace ends", SOON, || {
            fs::read_to_string(&trace).is_ok_and(|text| text.contains("+++ exited with 0"))
        });
        let text = fs::read_to_string(&trace).unwrap();
        assert!(text.contains("open"), "the trace has the opening of libraries: {text}");
        const WRITES: [&str; 12] = [
            "O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND", "creat(", "mkdir", "rename",
            "unlink", "link(", "mknod", "truncate",
        ];
        for line in text.lines().filter(|line| !line.contains("readlink")) {
            let harmless = line.contains("\"/dev/null\"") || line.contains("\"/proc/");
            let writes = WRITES.iter().any(|word| line.contains(word));
            assert!(harmless || !writes, "{line}");
        }
    }
}

#[test]
fn term_and_int_end_the_server_within_a_second() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start();
        let mut players: Vec<Peer> = (0..5).map(|_| Peer::play(&server, "s")).collect();
        let mut publishers: Vec<Peer> =
            ["s", "t", "u"].iter().map(|name| Peer::publish(&server, name)).collect();
        for publisher in &mut publishers {
            publisher.send_bytes(Kind::Audio, 0, b"\x2fsound");
        }
        let idle = TcpStream::connect(server.address()).unwrap();
        let start = Instant::now();
        server.signal(signal);
        let status = server.wait(Duration::from_secs(3));
        assert!(start.elapsed() < Duration::from_secs(1), "{signal:?}: {:?}", start.elapsed());
        assert!(status.is_some_and(|status| status.success()), "{signal:?}: {status:?}");
        for peer in players.iter_mut().chain(&mut publishers) {
            assert!(peer.is_closed_within(SOON));
        }
        drop(idle);
        server.line("server stops, 0 connections were cut");
    }
}

#[test]
fn a_limit_on_open_files_is_explained() {
    let Some(prlimit) = tool("prlimit") else { return };
    let dir = TempDir::new();
    let run = |connections: u32, limit: &str, args: &[&str]| {
        let conf = format!("max_connections {connections};\n{GOOD}");
        fs::write(dir.join("test.conf"), conf).unwrap();
        let out = Command::new(&prlimit)
            .arg(format!("--nofile={limit}"))
            .args([RUNNEL, "-c", "test.conf"])
            .args(args)
            .current_dir(dir.path())
            .output()
            .unwrap();
        (out.status.code(), text(&out.stderr))
    };
    let (status, said) = run(1000, "100:100", &[]);
    assert_eq!(status, Some(255), "{said}");
    for part in ["max_connections 1000", "100", "ulimit -HSn", "ret=1023"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Both ways out that it names work.
    let number = |before: &str| -> u32 {
        let rest = said.split(before).nth(1).unwrap();
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    };
    let (fit, needed) = (number("set max_connections to "), number("ulimit -HSn "));
    assert_eq!(run(fit, "100:100", &["-t"]).0, Some(0), "at the bound");
    assert_eq!(run(fit + 1, "100:100", &["-t"]).0, Some(255), "one over");
    assert_eq!(run(1000, &format!("{needed}:{needed}"), &["-t"]).0, Some(0));
    assert_eq!(run(1000, &format!("100:{needed}"), &["-t"]).0, Some(0), "the soft one is raised");
}

#[test]
fn the_server_uses_no_more_files_than_it_reckons_with() {
    let Some(prlimit) = tool("prlimit") else { return };
    let port = free_port();
    let dir = TempDir::new();
    let conf = format!(
        "listen 127.0.0.1:{port}; max_connections 30; daemon off; srs_log_tank console;\n\
         vhost __defaultVhost__ {{ }}\n"
    );
    fs::write(dir.join("test.conf"), &conf).unwrap();
    // Too few, so that it says how many it needs.
    let out = Command::new(&prlimit)
        .args(["--nofile=20:20", RUNNEL, "-t", "-c", "test.conf"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = text(&out.stderr);
    let needed = said.split("needs ").nth(1).unwrap().split(' ').next().unwrap();
    let needed = needed.parse::<usize>().unwrap() + inherited();
    let mut command = Command::new(&prlimit);
    command.args([&format!("--nofile={needed}:{needed}"), RUNNEL, "-c", "test.conf"]);
    let server = Server::spawn(&mut command, port, dir);
    let players: Vec<Peer> = (0..30).map(|i| Peer::play(&server, &format!("s{i}"))).collect();
    server.line_number("start play", players.len());
    // One more is closed, which takes a descriptor too.
    let mut over = TcpStream::connect(server.address()).unwrap();
    over.set_read_timeout(Some(SOON)).unwrap();
    let mut byte = [0];
    assert!(over.read(&mut byte).is_ok_and(|n| n == 0), "it is closed");
    assert_eq!(server.count("accept:"), 0);
}

/// Descriptors that whoever runs the tests left open in all of them.
fn inherited() -> usize {
    let out = Command::new("ls").arg("/proc/self/fd").output().unwrap();
    // The three standard ones, and the directory.
    text(&out.stdout).lines().count().saturating_sub(4)
}

#[test]
fn directives_count_in_the_spelling_of_srs_2_and_of_srs_3() {
    let spellings = [
        "gop_cache off; publish_1stpkt_timeout 700; publish_normal_timeout 500; mr { enabled on; \
         latency 100; } mw_latency 200;",
        "play { gop_cache off; mw_latency 200; } publish { firstpkt_timeout 700; \
         normal_timeout 500; mr on; mr_latency 100; }",
    ];
    for spelling in spellings {
        let server = Server::with(&format!("vhost __defaultVhost__ {{ {spelling} }}"));
        let mut silent = Peer::publish(&server, "silent");
        let mut stops = Peer::publish(&server, "stops");
        let _player = Peer::play(&server, "stops");
        stops.send_bytes(Kind::Audio, 0, b"\x2fsound");
        assert!(server.line("start publish").contains("mr=1/100, p1stpt=700, pnt=500"));
        assert!(server.line("start play").contains("mw_sleep=200"));
        assert!(server.line("source url=").contains("cache=0"));
        // Both are ended; deadlines are looked at once a second.
        assert!(silent.is_closed_within(Duration::from_secs(4)));
        assert!(stops.is_closed_within(Duration::from_secs(4)));
        server.line_number("ret=1011", 2);
        assert_eq!(server.count("[warn]"), 2, "no directive is complained about");
    }
}

#[test]
fn a_directive_of_a_part_that_is_missing_warns_once() {
    let parts = [("hls", "hls"), ("dvr", "dvr"), ("dash", "dash"), ("transcode", "transcode t")];
    let missing = parts.iter().find(|(name, _)| !FEATURES.contains(name));
    let Some((name, block)) = missing else { return };
    let block = format!("{block} {{ enabled on; }}");
    let server =
        Server::with(&format!("vhost __defaultVhost__ {{ {block} }} vhost a.com {{ {block} }}"));
    let line = server.line("not in this image");
    assert!(
        line.contains(&format!("{name}: not in this image")) && line.contains("line 2"),
        "{line}"
    );
    assert_eq!(server.count("not in this image"), 1);
    // It is checked all the same.
    let (status, said) =
        check(&format!("{GOOD}vhost b {{\n{name} x {{ no_such_thing on; }}\n}}\n"));
    assert_eq!(status, Some(255), "{said}");
}

#[test]
fn too_little_memory_is_told_at_start_with_the_number_to_lower() {
    let Some(prlimit) = tool("prlimit") else { return };
    let (port, dir) = (free_port(), TempDir::new());
    let conf = format!("listen 127.0.0.1:{port}; max_connections 100;\n");
    fs::write(dir.join("test.conf"), conf + "daemon off; srs_log_tank console;\n").unwrap();
    let mut command = Command::new(prlimit);
    command.arg(format!("--as={}", limits::worst_case(50)));
    let server = Server::spawn(command.args([RUNNEL, "-c", "test.conf"]), port, dir);
    let line = server.line("the limits allow for");
    let needed = format!("{} bytes of memory, there are", limits::worst_case(100));
    assert!(line.contains(&needed), "{line}");
    // The rest does for some connections, and not for those that it is just enough for without any more.
    let fits = line.split_once(": lower max_connections from 100 to ").expect(&line).1;
    let fits: usize = fits.parse().unwrap();
    assert!(line.contains("[warn]") && (4..=50).contains(&fits), "{line}");
}

#[cfg(not(feature = "demo"))]
#[test]
fn a_test_picture_that_is_not_in_the_image_is_asked_for_in_vain() {
    let out = runnel(&["--demo"]);
    assert_eq!(out.status.code(), Some(255));
    assert!(text(&out.stderr).contains("--demo: not in this image"));
}

#[test]
fn limits_are_listed_with_the_timeouts() {
    let out = Command::new(RUNNEL).arg("--limits").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    for (name, value) in [
        ("linger_bytes", limits::LINGER_BYTES.to_string()),
        ("mix_silent", limits::MIX_SILENT.to_string()),
        ("command timeout", limits::COMMAND_TIMEOUT.as_millis().to_string()),
        ("grace timeout", limits::GRACE.as_millis().to_string()),
        ("replay timeout", limits::REPLAY_TIMEOUT.as_millis().to_string()),
        ("worst case", limits::worst_case(limits::clients(1000)).to_string()),
    ] {
        let line = text.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not in\n{text}"));
        assert!(line.split_whitespace().any(|word| word == value), "{line}");
    }
}

#[test]
fn the_start_says_where_the_ring_is_shorter_than_the_queue() {
    let server = Server::with(
        "vhost __defaultVhost__ { } vhost other { queue_length 10; } vhost off { enabled off; }
         vhost third { } vhost fourth { queue_length 30; }",
    );
    for (vhost, seconds) in [("__defaultVhost__ and 2 more", 30), ("other", 10)] {
        let line = server.line(&format!("vhost {vhost}: players may lag {seconds} s"));
        let rates = format!(
            "above {} kbit/s (ring_bytes) or {} packets/s (ring_packets)",
            limits::RING_BYTES * 8 / 1000 / seconds,
            limits::RING_PACKETS / seconds
        );
        assert!(line.contains(&rates), "{line}: {rates}");
    }
    assert_eq!(server.count("players may lag"), 2);
}
