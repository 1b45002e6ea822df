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
         -ar 44100 -ac 2 -f flv -y rtmp://127.0.0.1:{port}/live/s_ff?token=1"
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
    let video = packets.iter().find(|p| p.kind == Kind::Video && p.header).unwrap();
    let video = describe(Kind::Video, &video.payload).unwrap().unwrap();
    assert_eq!(video.detail.size(), Some((160, 90)));
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
    let _publisher = Peer::publish(&server, "-x");
    server.line("[stream] would be -x, an option");
}

#[test]
fn the_hidden_argument_is_of_no_use_to_others() {
    let port = free_port();
    let mut command = std::process::Command::new(common::RUNNEL);
    command.args(["--become", "1", "0", "/bin/echo", &port.to_string()]);
    let output = command.output().unwrap();
    assert!(output.stdout.is_empty() && !output.status.success());
}
