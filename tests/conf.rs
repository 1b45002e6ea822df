//! The samples in `conf`, as they are and damaged: each is a configuration, or an error that says
//! its line.

mod common;

use common::{RUNNEL, Server, TempDir, free_port};
use runnel::config::{Config, Loaded, load};
use runnel::context::settings;
use runnel::service::FEATURES;
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// What SRS 1.0 and 2.0 have under `trunk/conf`.
const OF_SRS_2: &[&str] = &[
    "bandwidth",
    "console",
    "demo",
    "demo.19350",
    "dvr.path",
    "dvr.segment",
    "dvr.session",
    "edge",
    "edge.token.traverse",
    "ffmpeg.transcode",
    "forward.master",
    "forward.slave",
    "full",
    "hds",
    "hls",
    "http.aac.live",
    "http.flv.live",
    "http.flv.live.edge1",
    "http.flv.live.edge2",
    "http.heartbeat",
    "http.hls",
    "http.hooks.callback",
    "http.mp3.live",
    "http.server",
    "http.ts.live",
    "ingest",
    "mac.dev",
    "origin",
    "push.flv",
    "push.mpegts.over.udp",
    "push.rtsp",
    "ram.hls",
    "realtime",
    "rtmp",
    "security.deny.publish",
    "srs",
    "transcode2hls.audio.only",
    "transform.edge",
];

/// What SRS 3.0 added, of what this server means to do.
const OF_SRS_3: &[&str] = &[
    "compatible",
    "dash",
    "docker",
    "edge2",
    "exec",
    "go-oryx-edge",
    "go-oryx-edge2",
    "hls.realtime",
    "http.api.raw",
    "ingest.rtsp",
];

fn samples() -> Vec<(String, PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == "conf"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = fs::read(&path).unwrap();
            (name, path, text)
        })
        .collect();
    all.sort();
    all
}

/// The names of what is not in an image with `features`, in the order of the lines.
fn absent(loaded: &Loaded, features: &[&str]) -> Vec<String> {
    let name = |text: &str| text.split(':').next().unwrap().to_owned();
    loaded.absent(features).iter().map(|notice| name(&notice.text)).collect()
}

#[test]
fn there_is_a_sample_for_each_of_srs() {
    let have: Vec<_> = samples().into_iter().map(|(name, ..)| name).collect();
    for name in OF_SRS_2.iter().chain(OF_SRS_3) {
        assert!(have.iter().any(|have| have == name), "conf/{name}.conf");
    }
}

#[test]
fn every_sample_is_right_and_says_what_it_is_for() {
    for (name, path, text) in samples() {
        let loaded = load(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(loaded.warnings, [], "{name}");
        assert!(text.starts_with(b"# "), "{name} begins with what it is for");
        // A directive of a part that is not there is named once, however often it stands there.
        let mut names = absent(&loaded, &[]);
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "{name}: {names:?}");
        // And a server says so, and that the file is right.
        let out = Command::new(RUNNEL).args(["-t", "-c"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && said.contains("config file is ok"), "{name}: {said}");
        for missing in absent(&loaded, FEATURES) {
            assert_eq!(said.matches(&format!(": {missing}: ")).count(), 1, "{name}: {said}");
        }
    }
}

#[test]
fn samples_ask_for_what_they_are_about() {
    for (sample, part) in [
        ("bandwidth", "bandcheck"),
        ("edge", "mode remote"),
        ("edge.token.traverse", "mode remote"),
        ("exec", "exec"),
        ("ffmpeg.transcode", "transcode"),
        ("forward.master", "forward"),
        ("http.api.raw", "http_api"),
        ("http.heartbeat", "heartbeat"),
        ("http.hooks.callback", "http_hooks"),
        ("ingest", "ingest"),
        ("ingest.rtsp", "ingest"),
        ("push.flv", "stream_caster flv"),
        ("push.mpegts.over.udp", "stream_caster mpegts_over_udp"),
        ("push.rtsp", "stream_caster rtsp"),
        ("signed.url", "signed_url"),
        ("dash", "dash"),
    ] {
        let (.., text) = samples().into_iter().find(|(name, ..)| name == sample).unwrap();
        let names = absent(&load(&text).unwrap(), &[]);
        assert!(names.iter().any(|name| name == part), "{sample}: {names:?}");
    }
}

#[test]
fn old_names_in_samples_mean_what_they_did() {
    let sample = |wanted: &str| -> Config {
        let (.., text) = samples().into_iter().find(|(name, ..)| name == wanted).unwrap();
        load(&text).unwrap().config
    };
    let edge = sample("edge.token.traverse").vhosts[0].cluster.clone();
    assert!(edge.token_traverse && edge.origin == ["127.0.0.1:19350"]);
    assert_eq!(sample("transform.edge").vhosts[0].cluster.vhost, "transform.srs.edge.com");
    let forward = sample("forward.master").vhosts[0].forward.clone();
    assert!(forward.enabled && forward.destination == ["127.0.0.1:19350"]);
    let hooks = sample("http.hooks.callback").vhosts[0].http_hooks.clone();
    assert_eq!((hooks.on_publish.len(), hooks.on_hls_notify.len()), (2, 1));
    let engine = sample("ffmpeg.transcode").vhosts[0].transcodes[0].engines[0].clone();
    assert_eq!((engine.vwidth, &*engine.acodec, engine.achannels), (768, "aac", 2));
    let test = sample("bandwidth").vhosts[1].bandcheck.clone();
    assert!(test.enabled && test.limit_kbps == 4000 && test.key.len() == 32);
    let old = sample("compatible");
    assert!(old.http_server.enabled && old.vhosts[0].refer.all.len() == 4);
    let realtime = sample("realtime").vhosts[0].clone();
    assert!(realtime.min_latency && realtime.tcp_nodelay && !realtime.publish.mr);
}

/// Values that are asked for somewhere, and some that nobody asks for.
const WORDS: &[&str] = &[
    "on",
    "off",
    "0",
    "1",
    "-1",
    "65536",
    "4294967296",
    "1e9",
    "0.5",
    "127.0.0.1:1",
    "[::1]:1",
    "all",
    "play",
    "publish",
    "::/129",
    "x.ts",
    "[app]/[stream].flv",
    "auto",
    "ram",
    "\"a b\"",
    "'",
    "\"",
    "#",
    "{",
    "}",
    ";",
    ";;",
    "直播",
    "\u{0}",
    "enabled",
    "vhost",
    "listen",
    "hls",
    "secret",
];

/// Another file made of a right one, by what people do to files.
fn damaged(text: &str, random: &mut fastrand::Rng) -> Vec<u8> {
    let mut words: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        words.extend(line.replace(';', " ; ").split_whitespace().map(str::to_owned));
        words.push("\n".into());
    }
    for _ in 0..random.usize(1..4) {
        if words.is_empty() {
            break;
        }
        let at = random.usize(0..words.len());
        match random.u8(0..8) {
            0 => drop(words.remove(at)),
            1 => words.insert(at, WORDS[random.usize(0..WORDS.len())].into()),
            2 => words[at] = WORDS[random.usize(0..WORDS.len())].into(),
            3 => {
                let other = random.usize(0..words.len());
                words.swap(at, other);
            }
            4 => {
                // Again, or elsewhere: a piece of the file.
                let end = (at + random.usize(1..30)).min(words.len());
                let piece = words[at..end].to_vec();
                let to = random.usize(0..=words.len());
                words.splice(to..to, piece);
            }
            5 => words.truncate(at),
            6 => words[at] = words[at].repeat(random.usize(2..300)),
            _ => {
                let mut bytes = std::mem::take(&mut words[at]).into_bytes();
                let byte = random.usize(0..bytes.len().max(1));
                if let Some(byte) = bytes.get_mut(byte) {
                    *byte ^= 1 << random.u8(0..8);
                }
                words[at] = String::from_utf8_lossy(&bytes).into_owned();
            }
        }
    }
    words.join(" ").into_bytes()
}

#[test]
fn a_thousand_damaged_files_are_configurations_or_errors_with_a_line() {
    let samples = samples();
    let mut random = fastrand::Rng::with_seed(4);
    let (mut good, mut bad, mut run) = (0, 0, Vec::new());
    for number in 0..3000 {
        let (name, _, text) = &samples[number % samples.len()];
        let text = damaged(std::str::from_utf8(text).unwrap(), &mut random);
        match load(&text) {
            Ok(loaded) => {
                good += 1;
                loaded.absent(FEATURES);
                assert!(!loaded.config.listen.is_empty(), "{name}");
                for vhost in &loaded.config.vhosts {
                    assert!(settings(vhost).queue_ms > 0);
                    loaded.config.vhost(&vhost.name);
                }
            }
            Err(e) => {
                bad += 1;
                let lines = text.split(|byte| *byte == b'\n').count();
                let whole = ["conf is empty", "no directive listen"].contains(&&*e.text);
                let line = usize::try_from(e.line).unwrap();
                assert!(whole || (1..=lines).contains(&line), "{name}: {e}");
                assert!(!e.text.is_empty());
            }
        }
        if number % 60 == 0 {
            run.push(text);
        }
    }
    assert!(good > 300 && bad > 300, "{good} good, {bad} bad");
    let dir = TempDir::new();
    for text in run {
        let file = dir.join("test.conf");
        fs::write(&file, &text).unwrap();
        let out = Command::new(RUNNEL).args(["-t", "-c"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        let fits = load(&text).is_ok();
        assert!(!said.contains("panicked") && out.status.code().is_some(), "{said}");
        assert!(said.contains("config file is ok") || said.contains("ret=1023"), "{said}");
        assert!(fits || said.contains("ret=1023"), "{said}");
    }
}

#[test]
fn a_server_lives_through_reloads_of_damaged_files() {
    let port = free_port();
    let head = format!(
        "listen 127.0.0.1:{port}; daemon off; srs_log_tank console; auto_reload_for_docker off;"
    );
    let server = Server::with_file(port, &format!("{head} vhost __defaultVhost__ {{ }}"));
    let samples = samples();
    let mut random = fastrand::Rng::with_seed(11);
    let file = server.dir.join("test.conf");
    let mut tried = 0;
    for number in 0..300 {
        let (.., text) = &samples[number % samples.len()];
        let text = std::str::from_utf8(text).unwrap();
        // Ports of its own are kept, others may be anybody's; programs are not run.
        let vhost = text.find("vhost").map_or("", |at| &text[at..]);
        let text = damaged(vhost, &mut random);
        let lossy = String::from_utf8_lossy(&text);
        if ["listen", "enabled on ; url", "stream_caster", "srs_log"]
            .iter()
            .any(|w| lossy.contains(w))
        {
            continue;
        }
        tried += 1;
        fs::write(&file, [head.as_bytes(), b"\n", &text].concat()).unwrap();
        server.signal(Signal::HUP);
        thread::sleep(Duration::from_millis(3));
    }
    assert!(tried > 100, "{tried}");
    fs::write(
        &file,
        format!("{head} vhost __defaultVhost__ {{ min_latency on; }} vhost last {{ }}"),
    )
    .unwrap();
    server.signal(Signal::HUP);
    server.line("vhost last is new");
    assert!(server.count("reload config success") > 10);
    common::client::Peer::publish(&server, "s");
}
