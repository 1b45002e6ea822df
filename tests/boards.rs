//! The images that `boards/build` made, one after the other: what ffmpeg publishes comes out of
//! RTMP, HTTP-FLV, HLS and a recording as it went in. Those for other processors run under
//! qemu-user.
//!
//! `target/boards/BOARD/run` starts an image. `RUNNEL_BOARDS="a b"` names those that must be there;
//! without it all that are there are taken, with `none` none.

// Once is enough: the images are not those of this build.
#![cfg(feature = "hls")]

mod common;

use common::http::{Http, get};
use common::media::{self, AAC, Contents, H264, PICTURE, Recorder, TONE};
use common::{SOON, Server, TempDir, eventually, free_port, images, run, skip_image, tool};
use runnel::format::m3u8::Playlist;
use runnel::limits::HANDSHAKE_TIMEOUT;
use rustix::process::Signal;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

/// A running image.
struct Image {
    server: Server,
    http: u16,
    api: u16,
    features: String,
}

impl Image {
    /// Starts the image of `board` with everything on that it has.
    fn start(board: &str) -> Self {
        let (port, http, api, dir) = (free_port(), free_port(), free_port(), TempDir::new());
        fs::write(dir.join("test.conf"), conf(port, http, api, "s")).unwrap();
        let server =
            Server::spawn(Command::new(program(board)).args(["-c", "test.conf"]), port, dir);
        let features = server.screen.wait("features ", 1, SOON).expect("the first screen");
        Self { server, http, api, features }
    }

    fn has(&self, feature: &str) -> bool {
        self.features.split_whitespace().any(|word| word == feature)
    }
}

/// Records streams as `rec/APP/[stream].flv`.
fn conf(port: u16, http: u16, api: u16, name: &str) -> String {
    format!(
        "listen 127.0.0.1:{port}; daemon off; srs_log_tank console; max_connections 20;
        http_server {{ enabled on; listen 127.0.0.1:{http}; dir www; }}
        http_api {{ enabled on; listen 127.0.0.1:{api}; raw_api {{ enabled on; allow_reload on; }} }}
        vhost __defaultVhost__ {{
            http_remux {{ enabled on; mount [vhost]/[app]/[stream].*; }}
            hls {{ enabled on; hls_storage ram; hls_fragment 1; hls_window 60;
                hls_mount /[app]/[stream].m3u8; }}
            dvr {{ enabled on; dvr_path rec/{name}-[stream].flv; }}
        }}"
    )
}

/// The script that starts the image of `board`.
fn program(board: &str) -> PathBuf {
    images().expect("looked for").join(board).join("run")
}

/// What there is to test; says so when there is nothing.
fn boards() -> Vec<String> {
    let wanted = std::env::var("RUNNEL_BOARDS").unwrap_or_default();
    let mut boards: Vec<String> = wanted.split_whitespace().map(str::to_owned).collect();
    if boards.is_empty() || images().is_none() {
        let there = images().and_then(|dir| fs::read_dir(dir).ok()).into_iter().flatten().flatten();
        boards = there.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        boards.retain(|board| program(board).exists());
        boards.sort();
    }
    if boards.is_empty() {
        let _: Option<()> = skip_image("an image in target/boards, made by boards/build");
    }
    boards
}

/// Tells which image it is, as the tests of all of them are one.
fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "  {what}");
}

/// Five seconds of H.264 with B-frames, and AAC; a key frame a second.
fn sample(ffmpeg: &Path) -> PathBuf {
    media::make(ffmpeg, "boards.flv", &format!("{PICTURE} {TONE} -t 5 {H264} {AAC}"))
}

/// Hashes of the slices of all pictures and of all frames of sound: the same whatever the container.
fn elementary(ffmpeg: &Path, file: &Path) -> [Vec<String>; 2] {
    let filters = [
        "-map 0:v -c copy -bsf:v h264_mp4toannexb,filter_units=remove_types=6-9",
        "-map 0:a -c copy -bsf:a aac_adtstoasc",
    ];
    filters.map(|filter| {
        let file = file.to_str().unwrap();
        let args = ["-v", "error", "-i", file].into_iter().chain(filter.split(' '));
        let text = run(ffmpeg, args.chain("-hash md5 -f framehash -".split(' ')));
        let hashes: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split(',').nth(5).unwrap().trim().to_owned())
            .collect();
        assert!(hashes.len() > 100, "{file}: {} frames of {filter}", hashes.len());
        hashes
    })
}

#[test]
fn what_is_published_comes_out_of_every_output_as_it_went_in() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let sample = sample(&ffmpeg);
    let expected = Contents::of(&ffmpeg, &sample).starting_at_zero();
    let frames = elementary(&ffmpeg, &sample);
    for board in boards() {
        let image = Image::start(&board);
        tell(&format!("{board}: {}", image.features));
        let (server, http) = (&image.server, image.http);
        let url = server.url("s");
        let recorder = Recorder::start(&ffmpeg, server, &url);
        let flv = image.has("remux").then(|| {
            let player = thread::spawn(move || {
                let mut player = Http::connect(http);
                let head = player.ask("/live/s.flv", "");
                player.body(&head)
            });
            server.line("http: start play");
            player
        });
        media::publish_with(&ffmpeg, "-re", &sample, "-c copy", &url).finish();
        server.line("stop publish");
        let compare = |what: &str, file: &Path| {
            for (seen, sent) in elementary(&ffmpeg, file).iter().zip(&frames) {
                let first = seen.iter().zip(sent).position(|(seen, sent)| seen != sent);
                let counts = (seen.len(), sent.len());
                assert!(seen == sent, "{board}: {what}: frame {first:?} differs, {counts:?}");
            }
        };
        if let Some(player) = flv {
            let file = server.dir.join("http.flv");
            fs::write(&file, player.join().unwrap()).unwrap();
            compare("HTTP-FLV", &file);
        }
        if image.has("hls") {
            let file = server.dir.join("hls.ts");
            fs::write(&file, segments(http)).unwrap();
            compare("HLS", &file);
        }
        if image.has("dvr") {
            server.line("s.flv done");
            let file = server.dir.join("rec/s-s.flv");
            compare("the recording", &file);
            let null = ["-v", "warning", "-ss", "2.5", "-i", file.to_str().unwrap()];
            run(&ffmpeg, null.into_iter().chain("-f null -".split(' ')));
        }
        let recorded = recorder.finish(server, expected.count()).starting_at_zero();
        assert_eq!(recorded.headers, expected.headers, "{board}: sequence headers");
        assert!(recorded.packets == expected.packets, "{board}: RTMP differs");
    }
}

/// All segments of the stream, when the last one is there.
fn segments(http: u16) -> Vec<u8> {
    let list = || {
        let (head, body) = get(http, "/live/s.m3u8", "");
        (head.status == 200).then(|| Playlist::parse(&String::from_utf8(body).unwrap()).unwrap())
    };
    eventually("five seconds are in segments", SOON, || {
        list().is_some_and(|l| l.segments.iter().map(|s| s.millis).sum::<u32>() > 4700)
    });
    let mut all = Vec::new();
    for segment in list().unwrap().segments {
        let (head, body) = get(http, &format!("/live/{}", segment.uri), "");
        assert_eq!(head.status, 200, "{}", segment.uri);
        all.extend(body);
    }
    all
}

#[test]
fn a_reload_takes_effect() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    for board in boards() {
        let image = Image::start(&board);
        let server = &image.server;
        let second = free_port();
        let more = format!(" 127.0.0.1:{second};");
        let after = conf(server.port, image.http, image.api, "new").replacen(';', &more, 1);
        fs::write(server.dir.join("test.conf"), after).unwrap();
        server.signal(Signal::HUP);
        server.line("reload config success");
        // By a port that was not there, to a file that was not called so.
        let url = server.url("s").replace(&server.port.to_string(), &second.to_string());
        media::publish(&ffmpeg, &media::sample(&ffmpeg), &url);
        server.line("stop publish");
        if image.has("dvr") {
            server.line("new-s.flv done");
            assert!(server.dir.join("rec/new-s.flv").exists(), "{board}");
            assert!(!server.dir.join("rec/s-s.flv").exists(), "{board}");
        }
    }
}

#[test]
fn an_image_drops_silent_clients_says_what_it_is_and_ends_when_asked() {
    for board in boards() {
        let mut image = Image::start(&board);
        // A client that says nothing is dropped: timers fire on this processor.
        let mut silent = TcpStream::connect(image.server.address()).unwrap();
        silent.set_read_timeout(Some(2 * HANDSHAKE_TIMEOUT)).unwrap();
        let begin = Instant::now();
        assert_eq!(silent.read(&mut [0; 16]).unwrap(), 0, "{board}: it is not dropped");
        assert!(begin.elapsed() > HANDSHAKE_TIMEOUT / 2, "{board}: dropped too soon");
        assert!(image.server.screen.all()[0].contains(&board), "{:?}", image.server.screen.all());
        if image.has("api") {
            // What nobody can guess is made for that: this processor has the kernel's randomness.
            let path = "/api/v1/raw?rpc=reload";
            let (head, _) = get(image.api, path, "X-Forwarded-For: 192.0.2.1\r\n");
            assert_eq!(head.status, 401, "{board}: changed without a token");
            assert_eq!(get(image.api, path, "").0.status, 200, "{board}");
        }
        image.server.signal(Signal::TERM);
        let status = image.server.wait(SOON).expect("it ends");
        assert!(status.success(), "{board}: {status}");
    }
}

/// What an image says of a configuration, which it finds good.
fn checked(board: &str, conf: &Path) -> String {
    let out = Command::new(program(board)).arg("-t").arg("-c").arg(conf).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() && said.contains("config file is ok"), "{board}: {said}");
    said
}

#[test]
fn what_an_image_is_without_is_told_with_the_presets_that_have_it() {
    let dir = TempDir::new();
    let conf = dir.join("full.conf");
    let vhost = "hls { enabled on; } transcode t { enabled on; } forward { enabled on; }";
    fs::write(&conf, format!("listen 1935;\nvhost __defaultVhost__ {{ {vhost} }}\n")).unwrap();
    for board in boards() {
        let image = Image::start(&board);
        let said = checked(&board, &conf);
        for (feature, presets) in
            [("hls", "rtmp-hls, pi, full"), ("transcode", "full"), ("forward", "full")]
        {
            let line = format!("line 2: {feature}: not in this image; in the presets {presets}\n");
            assert_eq!(said.contains(&line), !image.has(feature), "{board}: {line}: {said}");
        }
        tell(&format!("{board}: {} told", said.matches("not in this image").count()));
    }
}

#[test]
fn the_configuration_that_goes_with_an_image_asks_for_what_is_in_it() {
    for board in boards() {
        let said = checked(&board, &images().unwrap().join(&board).join("runnel.conf"));
        assert!(!said.contains("not in this image"), "{board}: {said}");
        assert!(!said.contains("[warn]"), "{board}: {said}");
    }
}
