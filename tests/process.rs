//! Child processes: what they are started with, that they end with the stream and with the server,
//! and what programs can do wrong. And real transcoding by ffmpeg.

#![cfg(all(feature = "transcode", feature = "exec", feature = "ingest"))]

mod common;

use common::client::Peer;
use common::elementary::slices;
use common::media::{self, AAC, H264, PICTURE, TONE};
use common::{Running, SOON, Server, TempDir, eventually, free_port, tool};
use runnel::codec::nal::Video;
use runnel::codec::{Detail, describe};
use runnel::media::{Kind, Packet};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// A server with `vhost` in its default vhost and `head` before it.
fn server(head: &str, vhost: &str) -> Server {
    Server::with(&format!("{head}\nvhost __defaultVhost__ {{ min_latency on; {vhost} }}"))
}

/// A program that is a script of the shell; it is run as any other.
fn script(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn transcode(program: &Path, engine: &str) -> String {
    format!("transcode {{ enabled on; ffmpeg {}; {engine} }}", program.display())
}

fn copying(name: &str) -> String {
    format!(
        "engine {name} {{ enabled on; vcodec copy; acodec copy; \
         output rtmp://127.0.0.1:[port]/[app]?vhost=[vhost]/[stream]_[engine]; }}"
    )
}

/// The number behind the `count`th `fork … pid=`.
fn pid(server: &Server, count: usize) -> u32 {
    let line = server.line_number("fork ", count);
    line.rsplit_once("pid=").unwrap().1.parse().unwrap()
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn field(pid: u32, number: usize) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = stat.rsplit_once(") ").unwrap().1;
    rest.split(' ').nth(number - 3).unwrap().to_owned()
}

/// The words of its command line, once it is what it was to become.
fn argv(pid: u32) -> Vec<String> {
    let mut words = Vec::new();
    eventually("the program runs", SOON, || {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words = line
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        words.pop();
        !words.is_empty() && words.iter().all(|word| word != "--become")
    });
    words
}

/// Children of `parent` that nobody waited for.
fn zombies(parent: u32) -> usize {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let stats = all.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter(|stat| {
            let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            rest.starts_with(&format!("Z {parent} "))
        })
        .count()
}

fn gone(pid: u32, within: Duration) {
    eventually(&format!("{pid} is gone"), within, || !is_alive(pid));
}

#[test]
fn a_program_has_nothing_of_ours_and_ends_with_its_stream() {
    let dir = TempDir::new();
    // A name of the original's: the words are what counts.
    let program = script(&dir, "ffmpeg", "exec sleep 100");
    let sleeper = Path::new("/bin/sleep");
    let engine = "engine ff { enabled on; vfilter { i ./doc/logo.png; filter_complex overlay=10:10; } \
                  vcodec libx264; vbitrate 500; vfps 25; vwidth 769; vheight 320; vthreads 2; \
                  vprofile main; vpreset fast; vparams { g 50; } acodec aac; abitrate 64; \
                  asample_rate 44100; achannels 2; output rtmp://127.0.0.1:[port]/[app]/[stream]_ff[param]; }";
    let exec = format!("exec {{ enabled on; publish {} 100; }}", sleeper.display());
    let server = server("ff_nice 7;", &(transcode(&program, engine) + &exec));
    let publisher = Peer::publish(&server, "s?token=1");
    let first = server.line("fork encoder ff");
    server.line("fork exec");
    let params = server.line(&format!("params: {}", program.display()));
    let port = server.port;
    let want = format!(
        "-f flv -i rtmp://127.0.0.1:{port}/live?vhost=__defaultVhost__/s -i ./doc/logo.png \
         -filter_complex overlay=10:10 -vcodec libx264 -b:v 500000 -r 25.00 -s 768x320 \
         -aspect 768:320 -threads 2 -profile:v main -preset fast -g 50 -acodec aac -b:a 64000 \
         -ar 44100 -ac 2 -f flv -y rtmp://127.0.0.1:{port}/live/s_ff?token=..."
    );
    assert!(params.ends_with(&want), "{params}");
    let pids = [pid(&server, 1), pid(&server, 2)];
    let encoder = if first.contains(&format!("pid={}", pids[0])) { pids[0] } else { pids[1] };
    let other = pids.into_iter().find(|pid| *pid != encoder).unwrap();
    assert_eq!(argv(other), ["/bin/sleep", "100"], "each word is one argument");
    for pid in pids {
        eventually("the program is there", SOON, || {
            fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default() == "sleep\n"
        });
        // What this test was started with is not the server's.
        let outside = |name: &str| {
            let of = |pid: &str| fs::read_link(format!("/proc/{pid}/fd/{name}")).ok();
            of("self").is_some() && of("self") == of(&pid.to_string())
        };
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let mut open: Vec<_> =
            open.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        open.retain(|name| ["0", "1", "2"].contains(&name.as_str()) || !outside(name));
        open.sort();
        assert_eq!(open, ["0", "1", "2"], "nothing of the server's is open");
        let target = fs::read_link(format!("/proc/{pid}/fd/0")).unwrap();
        assert_eq!(target, Path::new("/dev/null"));
        assert_eq!(field(pid, 5), pid.to_string(), "a process group of its own");
        let own: i32 = field(std::process::id(), 19).parse().unwrap();
        assert_eq!(field(pid, 19), (own + 7).min(19).to_string(), "nice");
    }
    drop(publisher);
    pids.into_iter().for_each(|pid| gone(pid, SOON));
    let log =
        fs::read_to_string(server.dir.join("objs/ffmpeg-encoder-__defaultVhost__-live-s-ff.log"))
            .unwrap();
    assert!(log.contains("ffmpeg cid=") && log.contains("params: "), "{log}");
    assert_eq!(zombies(server.pid()), 0);
}

#[test]
fn children_do_not_outlive_a_server_that_is_killed_or_leaves() {
    let dir = TempDir::new();
    let stubborn = script(&dir, "ffmpeg", "trap '' TERM INT\nwhile :; do sleep 1; done");
    for signal in [Signal::KILL, Signal::TERM, Signal::INT] {
        let mut server = server("", &transcode(&stubborn, &copying("ff")));
        let _publisher = Peer::publish(&server, "s");
        let pid = pid(&server, 1);
        argv(pid);
        thread::sleep(Duration::from_millis(200));
        assert!(is_alive(pid));
        server.signal(signal);
        assert!(server.wait(SOON).is_some());
        gone(pid, Duration::from_secs(2));
    }
}

#[test]
fn programs_run_and_end_in_an_app_of_android_too() {
    let vhost = "vhost __defaultVhost__ { exec { enabled on; publish /bin/sleep 100; } }";
    let Some(server) = Server::in_an_app_of_android(vhost, "pidfd_open") else { return };
    let publisher = Peer::publish(&server, "s");
    server.line("fork exec");
    let program = pid(&server, 1);
    assert_eq!(argv(program), ["/bin/sleep", "100"]);
    drop(publisher);
    gone(program, SOON);
}

#[test]
fn what_ignores_the_signal_to_end_is_killed_with_all_it_started() {
    let dir = TempDir::new();
    let file = dir.join("pid");
    let text = format!(
        "trap '' TERM\nsleep 1000 &\necho $! > {}\nwhile :; do sleep 1; done",
        file.display()
    );
    let stubborn = script(&dir, "ffmpeg", &text);
    let server = server("", &transcode(&stubborn, &copying("ff")));
    let publisher = Peer::publish(&server, "s");
    let pid = pid(&server, 1);
    eventually("it started another", SOON, || {
        fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n'))
    });
    let other: u32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    assert!(is_alive(other));
    drop(publisher);
    gone(pid, Duration::from_secs(4));
    gone(other, Duration::from_secs(1));
    assert_eq!(zombies(server.pid()), 0);
}

/// An engine that starts a program without becoming it, whose number it writes to `file`. `before`
/// stands before that.
fn wrapper(dir: &TempDir, file: &Path, before: &str) -> PathBuf {
    let text = format!("{before}\nsleep 1000 &\necho $! > {}\nwait", file.display());
    script(dir, "ffmpeg", &text)
}

/// The number in `file`, once it is there.
fn number_in(file: &Path) -> u32 {
    eventually("it started another", SOON, || {
        fs::read_to_string(file).is_ok_and(|text| text.ends_with('\n'))
    });
    fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

/// The processes that guard the children of `parent`.
fn guards(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().into_string().ok()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        rest.split(' ').nth(1) == Some(&parent.to_string())
            && line == b"runnel-guard\0--guard\0"
            && !rest.starts_with('Z')
    })
    .collect()
}

#[test]
fn what_programs_started_ends_with_a_server_that_is_killed() {
    let dir = TempDir::new();
    let file = dir.join("pid");
    let engine = wrapper(&dir, &file, "");
    let mut server = server("", &transcode(&engine, &copying("ff")));
    assert!(guards(server.pid()).is_empty(), "none without a child");
    let _publisher = Peer::publish(&server, "s");
    let (leader, other) = (pid(&server, 1), number_in(&file));
    eventually("there is a guard", SOON, || guards(server.pid()).len() == 1);
    let guard = guards(server.pid())[0];
    assert_eq!(field(guard, 5), guard.to_string(), "a process group of its own");
    let open = |name: &str| fs::read_link(format!("/proc/{guard}/fd/{name}")).unwrap();
    for entry in fs::read_dir(format!("/proc/{guard}/fd")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let ours = fs::read_link(format!("/proc/self/fd/{name}")).ok();
        let outside = name.parse::<u32>().unwrap() > 2 && ours == Some(open(&name));
        assert!(["0", "1", "2"].contains(&name.as_str()) || outside, "{name}: {:?}", open(&name));
    }
    assert!(open("0").to_string_lossy().starts_with("pipe:"));
    assert_eq!((open("1"), open("2")), (PathBuf::from("/dev/null"), PathBuf::from("/dev/null")));
    assert_eq!(server.count("fork "), 1, "it is no engine");
    assert!(is_alive(leader) && is_alive(other));
    server.signal(Signal::KILL);
    assert!(server.wait(SOON).is_some());
    for pid in [leader, other, guard] {
        gone(pid, Duration::from_secs(2));
    }
}

#[test]
fn a_guard_that_is_lost_has_another_with_the_next_program() {
    let dir = TempDir::new();
    let file = dir.join("pid");
    let engine = wrapper(&dir, &file, "");
    let mut server = server("", &transcode(&engine, &copying("ff")));
    let _one = Peer::publish(&server, "one");
    let first = number_in(&file);
    let lost = guards(server.pid())[0];
    kill_process(Pid::from_raw(lost as i32).unwrap(), Signal::KILL).unwrap();
    gone(lost, SOON);
    fs::remove_file(&file).unwrap();
    let two = Peer::publish(&server, "two");
    let second = number_in(&file);
    server.line("the guard of children ended with signal: 9");
    assert_eq!((guards(server.pid()).len(), zombies(server.pid())), (1, 0));
    assert!(is_alive(first) && is_alive(second));
    // One that is lost while a program ends is missed at once.
    let lost = guards(server.pid())[0];
    kill_process(Pid::from_raw(lost as i32).unwrap(), Signal::KILL).unwrap();
    gone(lost, SOON);
    drop(two);
    gone(second, SOON);
    server.line_number("the guard of children ended with signal: 9", 2);
    eventually("there is another", SOON, || guards(server.pid()).len() == 1);
    server.signal(Signal::KILL);
    assert!(server.wait(SOON).is_some());
    gone(first, Duration::from_secs(2));
}

#[test]
fn a_server_that_stops_leaves_nothing_of_its_programs() {
    let dir = TempDir::new();
    let file = dir.join("pid");
    // It ends at once when it is asked to, what it started does not.
    let engine = script(
        &dir,
        "ffmpeg",
        &format!("(trap '' TERM; exec sleep 1000) &\necho $! > {}\nwait", file.display()),
    );
    // An ingest does not end with the connections.
    let ingest = format!(
        "ingest a {{ enabled on; input {{ type file; url a.mp4; }} ffmpeg {}; \
         engine {{ output rtmp://127.0.0.1:[port]/live/a; }} }}",
        engine.display()
    );
    let mut server = server("", &ingest);
    let (leader, other) = (pid(&server, 1), number_in(&file));
    let guard = guards(server.pid())[0];
    thread::sleep(Duration::from_millis(100));
    server.signal(Signal::TERM);
    assert!(server.wait(SOON).is_some_and(|status| status.success()));
    for pid in [leader, other, guard] {
        gone(pid, Duration::from_secs(1));
    }
}

#[test]
fn a_server_that_is_given_orphans_waits_for_them() {
    let Some(python) = tool("python3") else { return };
    let (dir, own, port) = (TempDir::new(), TempDir::new(), free_port());
    let file = dir.join("pid");
    let text = format!("sleep 1000 &\necho $! > {}\nexit 3", file.display());
    let engine = transcode(&script(&dir, "ffmpeg", &text), &copying("ff"));
    let head = format!("listen 127.0.0.1:{port}; daemon off; srs_log_tank console;");
    fs::write(own.join("test.conf"), format!("{head} vhost __defaultVhost__ {{ {engine} }}"))
        .unwrap();
    // PR_SET_CHILD_SUBREAPER, as the first process of a container is.
    let become_it = "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); \
                     os.execv(sys.argv[1], sys.argv[1:])";
    let mut command = std::process::Command::new(python);
    command.args(["-c", become_it, common::RUNNEL, "-c", "test.conf"]);
    let server = Server::spawn(&mut command, port, own);
    let _publisher = Peer::publish(&server, "s");
    let other = number_in(&file);
    server.line("encoder ff ended with exit status: 3");
    gone(other, SOON);
    eventually("nobody is left", SOON, || zombies(server.pid()) == 0);
}

#[test]
fn an_ingest_by_a_program_ends_when_the_server_leaves() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::make(&ffmpeg, "ingest.mp4", &format!("{PICTURE} {TONE} -t 20 {H264} {AAC}"));
    let ingest = format!(
        "ingest a {{ enabled on; input {{ type file; url {}; }} ffmpeg {}; \
         engine {{ enabled off; output rtmp://127.0.0.1:[port]/live?vhost=[vhost]/a; }} }}",
        file.display(),
        ffmpeg.display()
    );
    let mut server = server("drain_timeout 30;", &ingest);
    server.line("start publish");
    let (program, guard) = (pid(&server, 1), guards(server.pid())[0]);
    server.signal(Signal::USR2);
    assert!(server.wait(SOON).is_some_and(|status| status.success()), "nobody is waited for");
    gone(program, SOON);
    gone(guard, SOON);
}

#[test]
fn programs_that_are_missing_or_crash_are_tried_more_and_more_rarely() {
    let dir = TempDir::new();
    let crashing = script(&dir, "crash", "echo last words; exit 7");
    let ingest = |id: &str, program: &Path| {
        format!(
            "ingest {id} {{ enabled on; input {{ type file; url a.mp4; }} ffmpeg {}; \
             engine {{ output rtmp://127.0.0.1:[port]/live/{id}; }} }}",
            program.display()
        )
    };
    let more = ingest("crash", &crashing) + &ingest("none", Path::new("./objs/none"));
    let server = server("", &more);
    server.line("ingest none cannot run ./objs/none: No such file or directory");
    server.line("ingest crash ended with exit status: 7; tried again in");
    thread::sleep(Duration::from_secs(11));
    // At 0, after 3 s, after 6 more.
    let starts = server.count("fork ingest crash");
    assert!((2..=3).contains(&starts), "{starts}");
    assert_eq!(server.count("cannot run ./objs/none"), 1, "said once");
    let log = server.dir.join("objs/ffmpeg-ingest-__defaultVhost__-live-crash.log");
    assert!(fs::read_to_string(log).unwrap().contains("last words"));
    assert_eq!(zombies(server.pid()), 0);
}

#[test]
fn what_prints_without_end_costs_nothing() {
    let dir = TempDir::new();
    let noisy = script(&dir, "ffmpeg", "exec yes 0123456789012345678901234567890123456789");
    let server = server("", &transcode(&noisy, &copying("ff")));
    let _publisher = Peer::publish(&server, "s");
    let noisy = pid(&server, 1);
    argv(noisy);
    let (before, cpu) = (server.resident(), ticks(server.pid()));
    thread::sleep(Duration::from_secs(6));
    assert!(server.resident() < before + 3000, "{} KB, {before} before", server.resident());
    let spent = ticks(server.pid()) - cpu;
    assert!(spent < 60, "{spent} hundredths of a second in 6 s");
    assert!(is_alive(noisy));
    let log = server.dir.join("objs/ffmpeg-encoder-__defaultVhost__-live-s-ff.log");
    let len = fs::metadata(&log).unwrap().len();
    assert!(len < (1 << 20) + 1000, "{len}");
    // Without a log nothing is read at all.
    drop(server);
    let noisy = script(&dir, "ffmpeg2", "exec yes");
    let server = self::server("ff_log_dir /dev/null;", &transcode(&noisy, &copying("ff")));
    let _publisher = Peer::publish(&server, "s");
    let noisy = pid(&server, 1);
    argv(noisy);
    assert_eq!(fs::read_link(format!("/proc/{noisy}/fd/1")).unwrap(), Path::new("/dev/null"));
    assert!(!server.dir.join("objs").exists(), "no log files");
}

/// CPU time in hundredths of a second.
fn ticks(pid: u32) -> u64 {
    [14, 15].into_iter().map(|number| field(pid, number).parse::<u64>().unwrap()).sum()
}

#[test]
fn no_more_programs_run_than_may() {
    let dir = TempDir::new();
    let program = script(&dir, "ffmpeg", "exec sleep 100");
    let engines = copying("a") + &copying("b") + &copying("c");
    let server = server("ff_max 2;", &transcode(&program, &engines));
    let publisher = Peer::publish(&server, "s");
    server.line("encoder c waits: 2 programs run already (ff_max)");
    assert_eq!(server.count("fork "), 2);
    let (a, b) = (pid(&server, 1), pid(&server, 2));
    drop(publisher);
    gone(a, SOON);
    gone(b, SOON);
    let _publisher = Peer::publish(&server, "t");
    server.line_number("fork ", 4);
}

#[test]
fn who_waits_for_a_place_has_it_when_it_is_free() {
    let dir = TempDir::new();
    let program = script(&dir, "ffmpeg", "exec sleep 100");
    let server = server("ff_max 1;", &transcode(&program, &copying("a")));
    let first = Peer::publish(&server, "one");
    let running = pid(&server, 1);
    let _second = Peer::publish(&server, "two");
    server.line("encoder a waits: 1 programs run already (ff_max)");
    let third = Peer::publish(&server, "three");
    server.line_number("encoder a waits", 2);
    // As long as this a program that fails would wait for the next time.
    thread::sleep(Duration::from_secs(5));
    assert_eq!((server.count("fork "), server.count("encoder a waits")), (1, 2), "said once");
    drop(third);
    drop(first);
    gone(running, SOON);
    let free = Instant::now();
    let next = pid(&server, 2);
    assert!(free.elapsed() < Duration::from_secs(2), "{:?}", free.elapsed());
    let params: Vec<_> = server.log.all().into_iter().filter(|l| l.contains("params: ")).collect();
    assert!(params[1].contains("/two_a"), "{params:?}");
    // A reload makes more room.
    let _fourth = Peer::publish(&server, "four");
    server.line_number("encoder a waits", 3);
    let text = server.conf().replace("ff_max 1;", "ff_max 2;");
    fs::write(server.dir.join("test.conf"), text).unwrap();
    server.signal(Signal::HUP);
    assert!(is_alive(pid(&server, 3)) && is_alive(next));
}

#[test]
fn another_port_begins_those_anew_that_are_told_of_it() {
    let dir = TempDir::new();
    let program = script(&dir, "ffmpeg", "exec sleep 100");
    let exec = |words: &str| format!("publish {} {words};", program.display());
    let exec = format!("exec {{ enabled on; {} {} }}", exec("x [stream]"), exec("x [port]"));
    let server = server("", &(transcode(&program, &copying("ff")) + &exec));
    let _publisher = Peer::publish(&server, "s");
    server.line_number("fork ", 3);
    let (encoder, stays, goes) = (newest(&server, "encoder ff"), pid(&server, 2), pid(&server, 3));
    let port = free_port();
    let text = server.conf().replace(&server.port.to_string(), &port.to_string());
    fs::write(server.dir.join("test.conf"), text).unwrap();
    server.signal(Signal::HUP);
    server.line_number("fork ", 5);
    [encoder, goes].into_iter().for_each(|pid| gone(pid, SOON));
    assert!(is_alive(stays), "it is told nothing of it");
    let lines = server.log.all();
    let params: Vec<_> = lines.iter().filter(|line| line.contains("params: ")).collect();
    assert_eq!(params.len(), 5, "{params:?}");
    let to = format!("-f flv -y rtmp://127.0.0.1:{port}/live?vhost=__defaultVhost__/s_ff");
    let from = format!("-i rtmp://127.0.0.1:{port}/live?vhost=__defaultVhost__/s -");
    let new = &params[3..];
    assert!(new.iter().any(|line| line.ends_with(&to) && line.contains(&from)), "{new:?}");
    assert!(new.iter().any(|line| line.ends_with(&format!("x {port}"))), "{new:?}");
    assert_eq!((server.count("start publish"), server.count("stop publish")), (1, 0));
}

#[test]
fn passwords_are_not_written_down() {
    let dir = TempDir::new();
    let program = script(&dir, "ffmpeg", "exec sleep 100");
    let away = "engine away { enabled on; vcodec copy; acodec copy; \
                output rtmp://127.0.0.1:1/live2/s3cret?k=s3cret; }";
    let vhost = transcode(&program, &(copying("ff") + away))
        + &format!(
            "exec {{ enabled on; publish {0} -i [url][param] -headers 's3cret: a' rtmp://127.0.0.1:1/a/s3cret; \
             publish {0} [stream] rtmp://u:s3cret@127.0.0.1:1/a/s3cret; }}
             ingest one {{ enabled on; input {{ type stream; url srt://u:s3cret@127.0.0.1:1?k=s3cret; }}
             ffmpeg {0}; engine {{ output rtmp://127.0.0.1:[port]/live/one?token=s3cret; }} }}",
            program.display()
        );
    let server = server("", &vhost);
    let _publisher = Peer::publish(&server, "s?token=s3cret");
    server.line_number("fork ", 5);
    let _other = Peer::publish(&server, "-x?token=s3cret");
    server.line("[stream] would be -x, an option");
    let heads = || {
        let logs =
            server.dir.listing().into_iter().filter(|p| p.extension().is_some_and(|e| e == "log"));
        logs.map(|path| fs::read_to_string(path).unwrap()).collect::<Vec<_>>()
    };
    eventually("the heads are written", SOON, || {
        heads().iter().filter(|head| head.contains("params: ")).count() >= 5
    });
    let log = server.log.all().into_iter().filter(|line| !line.contains("client identified"));
    for text in log.chain(heads()) {
        assert!(!text.contains("s3cret"), "{text}");
    }
    assert!(heads().iter().any(|head| head.contains("-y rtmp://127.0.0.1:1/live2/...")));
}

#[test]
fn of_a_program_that_prints_much_the_last_words_are_kept() {
    let dir = TempDir::new();
    let file = dir.join("done");
    let text = format!(
        "yes 0123456789012345678901234567890123456789 | head -c 20500000\n\
         echo the last words\ntouch {}\nexec sleep 100",
        file.display()
    );
    let program = script(&dir, "ffmpeg", &text);
    let server = server("", &transcode(&program, &copying("ff")));
    let publisher = Peer::publish(&server, "s");
    let begun = Instant::now();
    eventually("it is not held up", Duration::from_secs(30), || file.exists());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let program = pid(&server, 1);
    drop(publisher);
    gone(program, SOON);
    let log = server.dir.join("objs/ffmpeg-encoder-__defaultVhost__-live-s-ff.log");
    eventually("the last words are kept", SOON, || {
        fs::read_to_string(&log).is_ok_and(|text| text.ends_with("\nthe last words\n"))
    });
    let old = log.with_extension("log.1");
    let lens = [&log, &old].map(|path| fs::metadata(path).map_or(0, |metadata| metadata.len()));
    assert!(lens.iter().all(|len| *len <= 1 << 20), "{lens:?}");
    // There is no older one where the disk was slow.
    let all = fs::read_to_string(old).unwrap_or_default() + &fs::read_to_string(log).unwrap();
    assert!(all.contains("params: ") && all.contains(" bytes are left out]"));
}

#[test]
fn what_a_transcoder_makes_is_not_transcoded_again() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let own = "engine own { enabled on; vcodec copy; acodec copy; \
               output rtmp://127.0.0.1:[port]/[app]?vhost=[vhost]/[stream]; }";
    let server = server("", &transcode(&ffmpeg, &(copying("ff") + own)));
    let _publisher = media::publish_live(&ffmpeg, &file, &server.url("s"));
    server.line("engine own: its output is its input");
    server.line("/live/s_ff comes from a transcoder");
    let mut player = Peer::play(&server, "s_ff");
    player.packets(100);
    assert_eq!(server.count("fork encoder"), 1);
}

#[test]
fn a_reload_turns_transcoding_on_and_off_while_a_stream_goes_on() {
    let dir = TempDir::new();
    let program = script(&dir, "ffmpeg", "exec sleep 100");
    let on = transcode(&program, &copying("ff"));
    let server = server("", "");
    let _publisher = Peer::publish(&server, "s");
    server.line("start publish");
    let reload = |vhost: &str, count| reload(&server, vhost, count);
    reload(&on, 1);
    let first = pid(&server, 1);
    assert!(is_alive(first));
    reload(&(on.clone() + "gop_cache off;"), 2);
    assert!(is_alive(first), "something else changed");
    reload("", 3);
    gone(first, SOON);
    reload(&on, 4);
    assert!(is_alive(pid(&server, 2)));
    assert_eq!(server.count("start publish"), 1);
}

/// Rewrites the configuration, and has it read again for the `count`th time.
fn reload(server: &Server, vhost: &str, count: usize) {
    let text = format!(
        "listen 127.0.0.1:{}; daemon off; srs_log_tank console;\n\
         vhost __defaultVhost__ {{ min_latency on; {vhost} }}",
        server.port
    );
    fs::write(server.dir.join("test.conf"), text).unwrap();
    server.signal(Signal::HUP);
    server.line_number("reload config success", count);
}

/// The number behind the newest `fork NAME, pid=`.
fn newest(server: &Server, name: &str) -> u32 {
    let lines = server.log.all();
    let line = lines.iter().rfind(|line| line.contains(&format!("fork {name}, pid="))).unwrap();
    line.rsplit_once("pid=").unwrap().1.parse().unwrap()
}

#[test]
fn a_reload_starts_changes_and_ends_single_engines_and_leaves_the_others() {
    let dir = TempDir::new();
    let program = script(&dir, "ffmpeg", "exec sleep 100");
    let exec = |words: &[&str]| {
        let all =
            words.iter().map(|word| format!("publish {} {word} [timestamp];", program.display()));
        format!("exec {{ enabled on; {} }}", all.collect::<String>())
    };
    let changed = |rate: &str| {
        format!(
            "engine b {{ enabled on; vcodec vn; acodec aac; abitrate {rate}; \
             output rtmp://127.0.0.1:[port]/[app]?vhost=[vhost]/[stream]_[engine]; }}"
        )
    };
    let all = |engines: &str, words: &[&str]| transcode(&program, engines) + &exec(words);
    let before = all(&(copying("a") + &changed("64") + &copying("c")), &["one", "two"]);
    let server = server("", &before);
    let _publisher = Peer::publish(&server, "s");
    server.line_number("fork ", 5);
    let [a, b, c] = ["a", "b", "c"].map(|name| newest(&server, &format!("encoder {name}")));
    let (one, two) = (pid(&server, 4), pid(&server, 5));
    let running = |pids: &[u32]| pids.iter().all(|pid| is_alive(*pid));
    // Another rate for b, c goes, d comes in front; of the programs two goes and three comes.
    thread::sleep(Duration::from_millis(50));
    let after = all(&(copying("d") + &changed("32") + &copying("a")), &["three", "one"]);
    reload(&server, &after, 1);
    server.line_number("fork ", 8);
    [b, c, two].into_iter().for_each(|pid| gone(pid, SOON));
    assert!(running(&[a, one]), "they are the same as before");
    let (d, b2) = (newest(&server, "encoder d"), newest(&server, "encoder b"));
    assert!(argv(b2).join(" ") == "sleep 100" && b2 != b && running(&[d, b2]));
    assert_eq!(server.count("fork encoder a,"), 1);
    // Only the order is another one.
    let again = all(&(copying("a") + &copying("d") + &changed("32")), &["one", "three"]);
    reload(&server, &again, 2);
    thread::sleep(Duration::from_millis(300));
    assert!(running(&[a, one, d, b2]) && server.count("fork ") == 8);
    // Another program is another engine.
    let other = script(&dir, "ffmpeg2", "exec sleep 100");
    let moved = transcode(&other, &copying("a")) + &exec(&["one"]);
    reload(&server, &moved, 3);
    server.line_number("fork ", 9);
    [a, d, b2].into_iter().for_each(|pid| gone(pid, SOON));
    assert!(running(&[one, newest(&server, "encoder a")]));
    // All of it goes.
    let left = newest(&server, "encoder a");
    reload(&server, "", 4);
    [one, left].into_iter().for_each(|pid| gone(pid, SOON));
    assert_eq!((zombies(server.pid()), server.count("start publish")), (0, 1));
}

#[test]
fn a_reload_leaves_the_programs_of_ingests_and_engines_that_stay() {
    let dir = TempDir::new();
    let program = script(&dir, "ffmpeg", "exec sleep 100");
    let engine = |stream: &str| {
        format!(
            "engine {stream} {{ enabled on; vcodec copy; acodec an; \
             output rtmp://127.0.0.1:[port]/live?vhost=[vhost]/{stream}; }}"
        )
    };
    let ingest = |id: &str, url: &str, engines: &str| {
        format!(
            "ingest {id} {{ enabled on; input {{ type file; url {url}; }} ffmpeg {}; {engines} }}",
            program.display()
        )
    };
    let before =
        ingest("a", "a.mp4", &(engine("x") + &engine("y"))) + &ingest("b", "b.mp4", &engine("z"));
    let server = server("", &before);
    let [x, y, z] = [1, 2, 3].map(|count| pid(&server, count));
    // y is another one and stands first, b reads another file, c is new.
    let after = ingest("a", "a.mp4", &(engine("y2") + &engine("x")))
        + &ingest("b", "c.mp4", &engine("z"))
        + &ingest("c", "c.mp4", &engine("w"));
    reload(&server, &after, 1);
    server.line_number("fork ", 6);
    [y, z].into_iter().for_each(|pid| gone(pid, SOON));
    assert!(is_alive(x), "its words did not change");
    reload(&server, &ingest("a", "a.mp4", &engine("x")), 2);
    [4, 5, 6].into_iter().for_each(|count| gone(pid(&server, count), SOON));
    assert!(is_alive(x) && server.count("fork ") == 6);
    reload(&server, "", 3);
    gone(x, SOON);
    assert_eq!(zombies(server.pid()), 0);
}

#[test]
fn an_ingest_by_a_program_is_started_again_when_it_dies() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::make(&ffmpeg, "ingest.mp4", &format!("{PICTURE} {TONE} -t 20 {H264} {AAC}"));
    let ingest = format!(
        "ingest a {{ enabled on; input {{ type file; url {}; }} ffmpeg {}; \
         engine {{ enabled off; output rtmp://127.0.0.1:[port]/live?vhost=[vhost]/a; }} }}",
        file.display(),
        ffmpeg.display()
    );
    let server = server("", &ingest);
    let mut player = Peer::play(&server, "a");
    player.packets(50);
    let first = pid(&server, 1);
    let words = argv(first);
    let port = server.port;
    let want = format!(
        "{} -re -i {} -vcodec copy -acodec copy -f flv -y rtmp://127.0.0.1:{port}/live?vhost=__defaultVhost__/a",
        ffmpeg.display(),
        file.display()
    );
    assert_eq!(words.join(" "), want);
    kill_process(Pid::from_raw(first as i32).unwrap(), Signal::KILL).unwrap();
    let killed = Instant::now();
    let second = pid(&server, 2);
    let took = killed.elapsed();
    assert!(took > Duration::from_millis(2900) && took < Duration::from_secs(6), "{took:?}");
    player.packets(50);
    assert_ne!(first, second);
    assert_eq!(zombies(server.pid()), 0);
}

fn played(server: &Server, stream: &str, count: usize) -> Vec<Packet> {
    Peer::play(server, stream).packets(count)
}

fn publish(ffmpeg: &Path, file: &Path, server: &Server) -> Running {
    media::publish_live(ffmpeg, file, &server.url("s"))
}

#[test]
fn mp3_becomes_aac_and_the_picture_stays_as_it_is() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let args = format!("{PICTURE} {TONE} -t 6 {H264} -c:a libmp3lame -b:a 64k");
    let file = media::make(&ffmpeg, "transcode-mp3.flv", &args);
    let engine = "engine ff { enabled on; vcodec copy; acodec aac; abitrate 45; \
                  asample_rate 44100; achannels 2; output rtmp://127.0.0.1:[port]/[app]?vhost=[vhost]/[stream]_[engine]; }";
    let server = server("", &transcode(&ffmpeg, engine));
    let _publisher = publish(&ffmpeg, &file, &server);
    let packets = played(&server, "s_ff", 300);
    let audio = packets.iter().find(|p| p.kind == Kind::Audio && p.header).expect("an AAC header");
    let audio = describe(Kind::Audio, &audio.payload).unwrap().unwrap();
    assert!(matches!(audio.detail, Detail::Aac(_)), "{audio}");
    let all = slices(&media::flv_packets(&fs::read(&file).unwrap()), Video::H264);
    let got = slices(&packets, Video::H264);
    assert!(got.len() > 60, "{}", got.len());
    let start = all.iter().position(|slice| *slice == got[0]).expect("a slice of the source");
    for (i, slice) in got.iter().enumerate() {
        assert!(*slice == all[(start + i) % all.len()], "slice {i} of {}", got.len());
    }
}

#[test]
fn speex_becomes_aac_and_a_radio_has_no_picture() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let args = format!("{PICTURE} {TONE} -t 6 {H264} -c:a libspeex -ar 16000 -ac 1");
    let file = media::make(&ffmpeg, "transcode-speex.flv", &args);
    let engine = |name: &str, vcodec: &str| {
        format!(
            "engine {name} {{ enabled on; vcodec {vcodec}; acodec aac; abitrate 45; \
             asample_rate 44100; achannels 2; \
             output rtmp://127.0.0.1:[port]/[app]?vhost=[vhost]/[stream]_[engine]; }}"
        )
    };
    let engines = engine("ff", "copy") + &engine("radio", "vn");
    let server = server("", &transcode(&ffmpeg, &engines));
    let _publisher = publish(&ffmpeg, &file, &server);
    let source = Peer::play(&server, "s").packets(40);
    let speex = |p: &Packet| p.kind == Kind::Audio && p.payload[0] >> 4 == 11;
    assert!(source.iter().any(speex), "the source has speex");
    for (stream, has_picture) in [("s_ff", true), ("s_radio", false)] {
        let packets = played(&server, stream, 200);
        let audio = packets.iter().find(|p| p.kind == Kind::Audio && p.header).expect("AAC");
        let audio = describe(Kind::Audio, &audio.payload).unwrap().unwrap();
        assert!(matches!(audio.detail, Detail::Aac(_)), "{stream} {audio}");
        let pictures = packets.iter().filter(|p| p.kind == Kind::Video && !p.header).count();
        assert_eq!(pictures > 20, has_picture, "{stream}: {pictures} pictures");
    }
}

#[test]
fn a_stream_is_scaled_with_a_logo() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let logo = media::make(&ffmpeg, "logo.png", "-f lavfi -i color=red:s=32x32 -frames:v 1");
    let engine = format!(
        "engine ff {{ enabled on; vfilter {{ i {}; filter_complex overlay=10:10; }} vcodec libx264; \
         vbitrate 300; vfps 20; vwidth 160; vheight 90; vthreads 1; vprofile baseline; \
         vpreset superfast; acodec an; \
         output rtmp://127.0.0.1:[port]/[app]?vhost=[vhost]/[stream]_[engine]; }}",
        logo.display()
    );
    let server = server("", &transcode(&ffmpeg, &engine));
    let _publisher = publish(&ffmpeg, &file, &server);
    let packets = played(&server, "s_ff", 40);
    assert!(packets.iter().all(|packet| packet.kind != Kind::Audio), "no sound");
    assert_eq!(size(&packets), Some((160, 90)));
    // The logo is 16 pixels wide by now, and 5 from the edges.
    let red = |stream: &str| {
        let seen = pixels(&ffmpeg, &server.url(stream), "scale=160:90,crop=8:8:9:9");
        let is_red = |pixel: &&[u8]| pixel[0] > 200 && pixel[1] < 60 && pixel[2] < 60;
        seen.chunks_exact(3).filter(is_red).count()
    };
    assert_eq!(red("s_ff"), 64, "all of it");
    assert!(red("s") < 32, "the picture is another one there");
}

/// The picture of `packets`.
fn size(packets: &[Packet]) -> Option<(u16, u16)> {
    let video = packets.iter().find(|p| p.kind == Kind::Video && p.header)?;
    describe(Kind::Video, &video.payload).unwrap().unwrap().detail.size()
}

/// The first picture of `url` behind `filter`: red, green and blue of each pixel.
fn pixels(ffmpeg: &Path, url: &str, filter: &str) -> Vec<u8> {
    let args = ["-v", "error", "-i", url, "-frames:v", "1", "-vf", filter];
    let args = args.into_iter().chain(["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]);
    std::process::Command::new(ffmpeg).args(args).output().unwrap().stdout
}

/// A server with the sample `name`, at a port of its own and with the `ffmpeg` that is here.
fn sample(name: &str, ffmpeg: &Path) -> Server {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("conf/{name}.conf"));
    let (port, text) = (free_port(), fs::read_to_string(path).unwrap());
    assert!(text.contains("listen 1935;") && text.contains("/usr/bin/ffmpeg"), "{name}");
    let text = text
        .replace("listen 1935;", &format!("listen 127.0.0.1:{port};"))
        .replace("/usr/bin/ffmpeg", &ffmpeg.display().to_string());
    Server::with_file(port, &text)
}

/// Codecs and sizes that ffprobe finds in `place`.
fn probed(place: &str) -> String {
    let entries = "stream=codec_name,width,height,sample_rate,channels";
    let args = ["-v", "error", "-show_entries", entries, "-of", "csv=p=0", place];
    let text = common::run(&tool("ffprobe").unwrap(), args);
    let mut lines: Vec<_> = text.lines().map(|line| line.trim_end_matches(',')).collect();
    // ffmpeg takes a message that is neither sound nor picture for a stream.
    lines.retain(|line| !matches!(*line, "" | "unknown"));
    lines.sort_unstable();
    lines.dedup();
    lines.join(" ")
}

#[test]
fn the_sample_of_transcoding_makes_what_it_says() {
    let (Some(ffmpeg), Some(_)) = (tool("ffmpeg"), tool("ffprobe")) else { return };
    let server = sample("ffmpeg.transcode", &ffmpeg);
    let _publisher =
        media::publish_live(&ffmpeg, &media::sample(&ffmpeg), &server.url("livestream"));
    server.line("start publish");
    let packets = played(&server, "livestream_ff", 60);
    assert_eq!(size(&packets), Some((768, 320)));
    let pictures = packets.iter().filter(|p| p.kind == Kind::Video && !p.header).count();
    assert!((10..50).contains(&pictures), "{pictures}");
    assert_eq!(probed(&server.url("livestream_ff")), "aac,44100,2 h264,768,320");
    assert_eq!(server.count("fork encoder ff"), 1);
}

#[test]
fn the_sample_of_audio_only_makes_hls_of_mp3_and_speex() {
    let (Some(ffmpeg), Some(_)) = (tool("ffmpeg"), tool("ffprobe")) else { return };
    let sounds = [("mp3", "-c:a libmp3lame -b:a 64k"), ("speex", "-c:a libspeex -ar 16000 -ac 1")];
    common::at_once(sounds, |(name, sound)| {
        let args = format!("{PICTURE} {TONE} -t 6 {H264} {sound}");
        let file = media::make(&ffmpeg, &format!("transcode-{name}.flv"), &args);
        let server = sample("transcode2hls.audio.only", &ffmpeg);
        let _publisher = media::publish_live(&ffmpeg, &file, &server.url("livestream"));
        let dir = server.dir.join("objs/nginx/html/live");
        let list = dir.join("livestream_ff.m3u8");
        let mut text = String::new();
        eventually("a segment of ten seconds", Duration::from_secs(40), || {
            text = fs::read_to_string(&list).unwrap_or_default();
            text.contains("#EXTINF")
        });
        let segment = text.lines().find(|line| line.ends_with(".ts")).expect("a segment");
        let found = probed(&dir.join(segment).display().to_string());
        assert_eq!(found, "aac,44100,2 h264,320,180", "{name}");
        assert!(!dir.join("livestream.m3u8").exists(), "what comes in is not in that vhost");
    });
}

#[test]
fn the_sample_of_exec_records_as_long_as_the_stream_lives() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let server = sample("exec", &ffmpeg);
    fs::create_dir_all(server.dir.join("objs")).unwrap();
    let mut publisher =
        media::publish_live(&ffmpeg, &media::sample(&ffmpeg), &server.url("livestream"));
    let program = pid(&server, 1);
    let file = server.dir.join("objs/livestream.flv");
    eventually("it records", SOON, || fs::metadata(&file).is_ok_and(|file| file.len() > 50_000));
    publisher.stop();
    gone(program, SOON);
    let packets = media::flv_packets(&fs::read(&file).unwrap());
    assert!(packets.len() > 50 && size(&packets) == Some((320, 180)), "{}", packets.len());
}

#[test]
fn exec_runs_programs_with_what_is_known_of_the_stream() {
    let dir = TempDir::new();
    let out = dir.join("out");
    let tells =
        script(&dir, "tell", &format!("printf '%s\\n' \"$@\" > {}; exec sleep 100", out.display()));
    let exec = format!(
        "exec {{ enabled on; publish {} [url] [stream] [app] [vhost] [param] 'a b;$(x)' [tcUrl]; }}",
        tells.display()
    );
    let server = server("", &exec);
    let publisher = Peer::publish(&server, "s?k=v");
    let url = format!("rtmp://127.0.0.1:{}/live?vhost=__defaultVhost__/s", server.port);
    let want = format!("{url}\ns\nlive\n__defaultVhost__\n?k=v\na b;$(x)\n{}\n", server.tc_url());
    eventually("the program runs", SOON, || {
        fs::read_to_string(&out).is_ok_and(|t| t.lines().count() == 7)
    });
    assert_eq!(fs::read_to_string(&out).unwrap(), want);
    let first = pid(&server, 1);
    drop(publisher);
    gone(first, SOON);
    let publisher = Peer::publish(&server, "-x");
    server.line("[stream] would be -x, an option");
    drop(publisher);
}

#[test]
fn each_program_of_a_stream_has_a_log_of_its_own() {
    let dir = TempDir::new();
    let says = script(&dir, "say", "echo \"$1 speaks\"; exec sleep 100");
    let exec = |words: &[&str]| {
        let all = words.iter().map(|word| format!("publish {} {word};", says.display()));
        format!("exec {{ enabled on; {} }}", all.collect::<String>())
    };
    let server = server("", &exec(&["one", "two"]));
    let _publisher = Peer::publish(&server, "s");
    let log = |suffix: &str| {
        let name = format!("objs/ffmpeg-exec-__defaultVhost__-live-s{suffix}.log");
        fs::read_to_string(server.dir.join(&name)).unwrap_or_default()
    };
    let has = |suffix: &str, word: &str| {
        let line = format!("{word} speaks\n");
        eventually(&line, SOON, || log(suffix).ends_with(&line));
        assert_eq!(log(suffix).matches("speaks").count(), log(suffix).matches("params: ").count());
    };
    has("", "one");
    has("-2", "two");
    // The one that stays has its log, the new one that of the other.
    reload(&server, &exec(&["two", "three"]), 1);
    has("", "three");
    has("-2", "two");
    assert_eq!(log("-2").matches("params: ").count(), 1);
}

#[test]
fn the_hidden_argument_is_of_no_use_to_others() {
    let port = free_port();
    let mut command = std::process::Command::new(common::RUNNEL);
    command.args(["--become", "1", "0", "/bin/echo", &port.to_string()]);
    let output = command.output().unwrap();
    assert!(output.stdout.is_empty() && !output.status.success());
    // Nobody tells this one anything.
    let mut command = std::process::Command::new(common::RUNNEL);
    let output = command.arg("--guard").stdin(std::process::Stdio::null()).output().unwrap();
    assert!(output.stdout.is_empty() && output.stderr.is_empty() && output.status.success());
}
