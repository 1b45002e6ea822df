//! Recordings made by the real server of what ffmpeg publishes, read by ffprobe.

#![cfg(feature = "dvr")]

mod common;

use common::client::Peer;
use common::media::{self, Contents};
use common::{RUNNEL, SOON, Server, TempDir, eventually, free_port, skip, spawn, tool};
use runnel::media::{Kind, Packet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// For what waits for the disk, which may be busy with the files of others.
const DISK: Duration = Duration::from_secs(60);

/// A server that records as `dvr` says.
fn server(dvr: &str) -> Server {
    let text = format!("utc_time on; vhost __defaultVhost__ {{ dvr {{ enabled on; {dvr} }} }}");
    Server::with(&text)
}

/// The finished and unfinished recordings below `dir`.
fn recordings(dir: &TempDir) -> Vec<PathBuf> {
    let all = dir.listing().into_iter();
    all.filter(|path| path.to_string_lossy().contains(".flv")).collect()
}

/// The duration that ffprobe reads. It has nothing to complain about, nor has a decoder.
fn duration(file: &Path) -> f64 {
    let ffprobe = tool("ffprobe").unwrap();
    let args = ["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"];
    let mut probe = spawn(&ffprobe, args.iter().map(|a| (*a).into()).chain([file.to_owned()]));
    probe.finish();
    eventually("ffprobe tells", SOON, || !probe.out.all().is_empty());
    assert_eq!(probe.err.all(), [""; 0], "{}", file.display());
    let ffmpeg = tool("ffmpeg").unwrap();
    let file = file.to_str().unwrap();
    let mut decode = spawn(&ffmpeg, ["-v", "warning", "-i", file, "-f", "null", "-"]);
    decode.finish();
    assert_eq!(decode.err.all(), [""; 0], "{file}");
    probe.out.all()[0].parse().unwrap()
}

/// The number called `name` in the metadata of a file.
fn number(file: &Path, name: &str) -> f64 {
    let bytes = fs::read(file).unwrap();
    let key = [&(name.len() as u16).to_be_bytes()[..], name.as_bytes(), &[0]].concat();
    let at = bytes.windows(key.len()).position(|w| w == key).unwrap() + key.len();
    f64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn a_session_is_recorded_as_it_was_published() {
    let (Some(ffmpeg), Some(_)) = (tool("ffmpeg"), tool("ffprobe")) else { return };
    let sample = media::sample(&ffmpeg);
    let server = server("dvr_path rec/[app]/[stream].flv;");
    media::publish(&ffmpeg, &sample, &server.url("cam"));
    server.line("dvr: rec/live/cam.flv done");
    let files = recordings(&server.dir);
    assert_eq!(files, [server.dir.join("rec/live/cam.flv")]);
    let (got, want) = (Contents::of(&ffmpeg, &files[0]), Contents::of(&ffmpeg, &sample));
    assert_eq!(got.headers, want.headers);
    let sums = |contents: &Contents| {
        let hashes = |packets: &Vec<media::Seen>| -> Vec<String> {
            packets.iter().map(|packet| packet.hash.clone()).collect()
        };
        contents.packets.values().map(hashes).collect::<Vec<_>>()
    };
    assert_eq!(sums(&got), sums(&want));
    got.assert_monotonic();
    assert!((duration(&files[0]) - 3.0).abs() < 0.1, "{}", duration(&files[0]));
    assert_eq!(number(&files[0], "filesize"), fs::metadata(&files[0]).unwrap().len() as f64);
    assert!((number(&files[0], "duration") - 3.0).abs() < 0.1);
    // A player can seek: what it gets from the index is a key frame.
    let at = ["-v", "error", "-ss", "1.5", "-i", files[0].to_str().unwrap()];
    let rest = ["-frames:v", "1", "-f", "null", "-"];
    let mut seek = spawn(&ffmpeg, at.iter().chain(&rest));
    seek.finish();
    assert_eq!(seek.err.all(), [""; 0]);
}

#[test]
fn each_segment_plays_alone() {
    let (Some(ffmpeg), Some(_)) = (tool("ffmpeg"), tool("ffprobe")) else { return };
    let server = server("dvr_plan segment; dvr_duration 1; dvr_path rec;");
    let sample = media::sample(&ffmpeg);
    let mut publisher = media::publish_live(&ffmpeg, &sample, &server.url("cam"));
    server.wait_for_line("flv done", 4, DISK).unwrap();
    publisher.stop();
    // Until then a segment may begin.
    server.line("cleanup when unpublish");
    let mut files = Vec::new();
    eventually("every file is finished", DISK, || {
        files = recordings(&server.dir);
        let done = server.count("flv done");
        files.len() == done && server.count("dvr: record ") == done
    });
    assert!(files.len() >= 4, "{files:?}");
    for (i, file) in files.iter().enumerate() {
        let seconds = duration(file);
        let last = i + 1 == files.len();
        assert!((last || seconds > 0.9) && seconds < 1.2, "{seconds}");
        assert_eq!(number(file, "filesize"), fs::metadata(file).unwrap().len() as f64);
        let packets = media::flv_packets(&fs::read(file).unwrap());
        assert!(packets.iter().find(|p| p.kind == Kind::Video && !p.header).unwrap().key);
    }
}

#[test]
fn a_second_publish_is_appended() {
    let (Some(ffmpeg), Some(_)) = (tool("ffmpeg"), tool("ffprobe")) else { return };
    let server = server("dvr_plan append; dvr_path rec/[stream].flv;");
    let sample = media::sample(&ffmpeg);
    for round in 1..=2 {
        media::publish(&ffmpeg, &sample, &server.url("cam"));
        server.line_number("flv done", round);
    }
    let files = recordings(&server.dir);
    assert_eq!(files.len(), 1);
    assert!((duration(&files[0]) - 6.0).abs() < 0.2);
    assert!((number(&files[0], "duration") - 6.0).abs() < 0.2);
}

#[test]
fn a_path_has_the_date_and_stays_in_its_directory() {
    let server =
        server("dvr_path rec/[vhost]/[app]/[2006]/[01]/[02]/[stream]-[15].[04].[05].[999].flv;");
    for name in ["cam", "..x", "%2e%2e%2f%2e%2e%2fx"] {
        let mut peer = Peer::publish(&server, name);
        media::demo().iter().take(100).for_each(|packet| peer.send(packet));
        drop(peer);
    }
    server.line_number("flv done", 3);
    let files = recordings(&server.dir);
    assert_eq!(files.len(), 3);
    for file in &files {
        let path = file.strip_prefix(server.dir.join("rec/__defaultVhost__/live")).unwrap();
        let path = path.to_str().unwrap().replace(|c: char| c.is_ascii_digit(), "9");
        assert!(path.starts_with("9999/99/99/") && path.ends_with("-99.99.99.999.flv"), "{path}");
        assert_eq!(path.matches('/').count(), 3);
    }
}

#[test]
fn where_nothing_can_be_written_the_stream_goes_on() {
    let server = server("dvr_path /proc/runnel/[stream].flv;");
    goes_on(&server, || {});
    let line = server.line("is not recorded, the stream goes on: /proc/runnel/cam.flv");
    assert!(line.contains("os error"), "{line}");
    assert_eq!(server.count("is not recorded"), 1);
}

#[test]
fn a_directory_removed_while_it_is_written_to_ends_the_recording() {
    let server = server("dvr_fsync 0.2; dvr_path rec/[stream].flv;");
    let dir = server.dir.join("rec");
    goes_on(&server, || {
        server.line("dvr: record rec/cam.flv");
        eventually("there is a file", SOON, || dir.join("cam.flv.tmp").exists());
        fs::remove_dir_all(&dir).unwrap();
    });
    server.line("is not recorded, the stream goes on: rec/cam.flv.tmp: No such file");
}

#[test]
fn a_disk_that_stalls_holds_up_nobody() {
    let dir = TempDir::new();
    let fifo = dir.join("cam.flv");
    if !Command::new("mkfifo").arg(&fifo).status().is_ok_and(|status| status.success()) {
        return skip("mkfifo").unwrap_or_default();
    }
    // To open it for writing blocks until somebody reads, which nobody does.
    let server =
        server(&format!("dvr_plan append; dvr_path {}/[stream].flv;", dir.path().display()));
    goes_on(&server, || {
        server.line("dvr: record ");
    });
    assert!(server.resident() < 60_000, "{} KB", server.resident());
}

#[test]
fn a_full_disk_ends_the_recording_and_what_is_there_plays() {
    let Some(_) = tool("ffprobe") else { return };
    let dir = TempDir::new();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=6m", "none"])
        .arg(dir.path())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return skip("the right to mount a tmpfs").unwrap_or_default();
    }
    let _unmount = Unmount(dir.path());
    let server = server(&format!("dvr_path {}/[stream].flv;", dir.path().display()));
    let mut peer = Peer::publish(&server, "cam");
    let mut player = Peer::play(&server, "cam");
    // A picture of 8 MB in all, after one second of the demo.
    let demo = media::demo();
    demo.iter().take(60).for_each(|packet| peer.send(packet));
    let dts = demo[59].dts;
    for i in 1..80 {
        let body = [&b"\x27\x01\0\0\0\0\x01\x86\x9c\x01"[..], &[7; 99_995]].concat();
        peer.send_bytes(Kind::Video, dts + 40 * i, &body);
        thread::sleep(Duration::from_millis(5));
    }
    let line = server.line("is not recorded, the stream goes on");
    assert!(line.contains("No space left on device"), "{line}");
    assert_eq!(server.count("is not recorded"), 1);
    server.line("was not finished, now it is");
    let file = dir.join("cam.flv");
    let bytes = fs::read(&file).unwrap();
    assert_eq!(number(&file, "filesize"), bytes.len() as f64);
    assert!(bytes.len() > 4 << 20 && media::flv_packets(&bytes).len() > 80);
    // Live goes on.
    peer.send_bytes(Kind::Video, dts + 40 * 81, b"\x17\x01\0\0\0last");
    while !player.packet(SOON).expect("the last frame").payload.ends_with(b"last") {}
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// Publishes eight seconds, with `then` after two of them; a player gets all of it in time.
fn goes_on(server: &Server, then: impl FnOnce()) {
    let mut peer = Peer::publish(server, "cam");
    let mut player = Peer::play(server, "cam");
    let demo = media::demo();
    let send = |peer: &mut Peer, packets: &[Packet]| {
        for packet in packets {
            peer.send(packet);
            thread::sleep(Duration::from_millis(2));
        }
    };
    send(&mut peer, &demo[..110]);
    then();
    let start = Instant::now();
    send(&mut peer, &demo[110..]);
    let last = demo.last().unwrap();
    while player.packet(SOON).expect("the player gets the last frame").payload != last.payload {}
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

#[test]
fn a_server_that_stops_finishes_its_files() {
    let Some(_) = tool("ffprobe") else { return };
    let mut server = server("dvr_path rec/[stream].flv;");
    let mut peer = Peer::publish(&server, "cam");
    media::demo().iter().take(200).for_each(|packet| peer.send(packet));
    server.line("dvr: record ");
    server.signal(rustix::process::Signal::TERM);
    assert!(server.wait(SOON).is_some());
    let left = server.dir.listing();
    let names: Vec<_> = left.iter().filter_map(|p| p.file_name()?.to_str()).collect();
    assert_eq!(names, ["rec", "cam.flv", "test.conf"]);
    assert!(duration(&server.dir.join("rec/cam.flv")) > 2.0);
}

#[test]
fn a_stop_finishes_the_recording_of_every_stream() {
    let Some(_) = tool("ffprobe") else { return };
    let dvr = "dvr { enabled on; dvr_path rec/[stream].flv; }";
    let hls = "hls { enabled on; hls_storage disk; hls_path hls; hls_fragment 60; }";
    let demo = if cfg!(feature = "demo") { &["--demo"][..] } else { &[] };
    let (port, dir) = (free_port(), TempDir::new());
    let head = format!("listen 127.0.0.1:{port}; daemon off; srs_log_tank console;");
    let text = format!("{head} vhost __defaultVhost__ {{ {dvr} {hls} }}");
    fs::write(dir.join("test.conf"), text).unwrap();
    let args = ["-c", "test.conf"].iter().chain(demo);
    let server = Server::spawn(Command::new(RUNNEL).args(args), port, dir);
    let mut peer = Peer::publish(&server, "cam");
    media::demo().iter().take(200).for_each(|packet| peer.send(packet));
    server.line_number("dvr: record ", 1 + demo.len());
    thread::sleep(Duration::from_millis(1500));
    server.signal(rustix::process::Signal::TERM);
    server.line("server stops");
    server.log.wait_for_end();
    assert_eq!(server.count("flv done"), 1 + demo.len());
    let files = recordings(&server.dir);
    assert_eq!(files.len(), 1 + demo.len(), "{files:?}");
    for file in &files {
        assert!(duration(file) > 1.0, "{}", file.display());
        assert_eq!(number(file, "filesize"), fs::metadata(file).unwrap().len() as f64);
    }
    if cfg!(feature = "hls") {
        let all = server.dir.listing();
        let ending =
            |ending: &str| all.iter().filter(|p| p.to_str().unwrap().ends_with(ending)).count();
        assert_eq!((ending(".ts"), ending(".m3u8")), (1 + demo.len(), 1 + demo.len()), "{all:?}");
        assert_eq!(ending(".tmp"), 0, "{all:?}");
    }
}

#[test]
fn another_publisher_begins_a_recording_of_its_own() {
    let Some(_) = tool("ffprobe") else { return };
    let dvr = "dvr { enabled on; dvr_path rec/[stream].[timestamp].flv; }";
    let server =
        Server::with(&format!("vhost __defaultVhost__ {{ publish {{ takeover on; }} {dvr} }}"));
    let mut first = Peer::publish(&server, "cam");
    media::demo().iter().take(100).for_each(|packet| first.send(packet));
    server.line("dvr: record ");
    let mut second = Peer::publish(&server, "cam");
    media::demo().iter().take(100).for_each(|packet| second.send(packet));
    drop(second);
    server.line_number("flv done", 2);
    let order: Vec<_> = server.log.all().into_iter().filter(|l| l.contains("dvr: ")).collect();
    let done = |line: &&String| line.contains("flv done");
    assert!(order.iter().take(3).any(|line| done(&line)), "{order:?}");
    let files = recordings(&server.dir);
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|file| duration(file) > 1.0));
}

#[test]
fn the_samples_record() {
    for name in ["dvr.session", "dvr.segment", "dvr.path"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("conf/{name}.conf"));
        let text = fs::read_to_string(path).unwrap();
        let port = free_port();
        let dir = TempDir::new();
        let text = text.replace("listen 1935", &format!("listen 127.0.0.1:{port}"));
        fs::write(dir.join("test.conf"), text).unwrap();
        let server = Server::spawn(Command::new(RUNNEL).args(["-c", "test.conf"]), port, dir);
        let mut peer = Peer::publish(&server, "cam");
        media::demo().iter().take(100).for_each(|packet| peer.send(packet));
        drop(peer);
        server.wait_for_line("flv done", 1, DISK).unwrap();
        assert_eq!(recordings(&server.dir).len(), 1, "{name}");
    }
}
