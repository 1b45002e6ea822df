//! The server is killed in the middle of recordings; what it finds at its next start it finishes.

#![cfg(feature = "dvr")]

mod common;

use common::client::Peer;
use common::media;
use common::{RUNNEL, SOON, Server, TempDir, eventually, free_port, spawn, tool};
use runnel::media::{Kind, Packet, time};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Times that the server is killed.
const ROUNDS: usize = 50;
/// Streams in each round, one for each plan.
const PLANS: [&str; 3] = ["session", "segment", "append"];
/// `dvr_fsync`.
const PERIOD: Duration = Duration::from_millis(300);
/// For the server to take from its socket what was sent, on a machine that is busy.
const ON_THE_WAY: Duration = Duration::from_millis(400);

/// The demo over and over, faster than it plays; when each packet was sent.
struct Feed {
    peer: Peer,
    packets: Vec<Packet>,
    at: usize,
    base: u32,
    sent: Vec<(Instant, u32)>,
}

impl Feed {
    fn new(server: &Server, plan: &str, stream: &str) -> Self {
        let config = runnel::proto::rtmp::client::Config::new(
            format!("rtmp://127.0.0.1:{}/live?vhost={plan}", server.port),
            "live",
            common::client::publish(stream),
        );
        let mut peer = Peer::with(server, config);
        peer.started();
        Self { peer, packets: media::demo(), at: 0, base: 0, sent: Vec::new() }
    }

    /// Sends the next packet; `false` when the server is gone.
    fn step(&mut self) -> bool {
        if self.at == self.packets.len() {
            self.at = self.packets.iter().position(|p| p.key).unwrap();
            self.base += 8000;
        }
        let packet = &self.packets[self.at];
        let dts = (self.base + packet.dts) & time::MASK;
        self.at += 1;
        let packet = Packet { dts, ..packet.clone() };
        if !self.peer.machine.send_packet(&packet) || !self.peer.flush() {
            return false;
        }
        if packet.kind != Kind::Data && !packet.header {
            self.sent.push((Instant::now(), dts));
        }
        true
    }

    /// Milliseconds of the stream that must not be lost when the server died at `end`.
    fn safe(&self, end: Instant) -> u32 {
        let until = end.checked_sub(PERIOD + ON_THE_WAY).unwrap();
        self.sent.iter().filter(|(at, _)| *at < until).map(|(_, dts)| *dts).max().unwrap_or(0)
    }
}

fn start(port: u16, dir: &Path) -> Server {
    let moved = TempDir::new();
    let mut command = Command::new(RUNNEL);
    command.arg("-c").arg(dir.join("test.conf"));
    let server = Server::spawn_silent(&mut command, port, moved);
    server.line("RTMP listens at");
    server
}

#[test]
fn a_recording_survives_the_end_of_the_process_at_any_moment() {
    let Some(ffprobe) = tool("ffprobe") else { return };
    let port = free_port();
    let dir = TempDir::new();
    let mut text = format!("listen 127.0.0.1:{port}; daemon off; srs_log_tank console;\n");
    for plan in PLANS {
        text += &format!(
            "vhost {plan} {{ dvr {{ enabled on; dvr_plan {plan}; dvr_duration 8; dvr_fsync {}; \
             dvr_path {}/[vhost]/[stream]{}.flv; }} }}\n",
            PERIOD.as_secs_f64(),
            dir.path().display(),
            if plan == "append" { "" } else { "-[timestamp]" },
        );
    }
    fs::write(dir.join("test.conf"), text).unwrap();
    let mut random = fastrand::Rng::with_seed(51);
    let mut safe = Vec::new();
    for round in 0..ROUNDS {
        let mut server = start(port, dir.path());
        let stream = |plan: &str| match plan {
            "append" => format!("s{}", round / 5),
            _ => format!("s{round}"),
        };
        let mut feeds = PLANS.map(|plan| Feed::new(&server, plan, &stream(plan)));
        // Now and then long enough for the period to count.
        let long = if round % 5 == 0 { 1500 } else { 400 };
        let end = Instant::now() + Duration::from_millis(random.u64(0..long));
        while Instant::now() < end {
            assert!(feeds.iter_mut().all(Feed::step));
            std::thread::sleep(Duration::from_micros(300));
        }
        let killed = Instant::now();
        server.signal(Signal::KILL);
        assert!(server.wait(SOON).is_some());
        safe.push(feeds.map(|feed| feed.safe(killed)));
    }
    // The last ones are finished by one more start.
    let server = start(port, dir.path());
    eventually("nothing is unfinished", Duration::from_secs(30), || {
        let listing = dir.listing();
        !listing.iter().any(|p| p.to_string_lossy().contains(".tmp"))
            && !dir.join(".runnel-dvr").exists()
    });
    drop(server);

    let files: Vec<_> =
        dir.listing().into_iter().filter(|p| p.extension().is_some_and(|e| e == "flv")).collect();
    assert!(files.len() > ROUNDS, "{} files", files.len());
    for file in &files {
        let args = ["-v", "error", "-show_entries", "format=duration", "-i"];
        let mut probe = spawn(&ffprobe, args.iter().map(|a| (*a).into()).chain([file.clone()]));
        probe.finish();
        assert_eq!(probe.err.all(), [""; 0], "{}", file.display());
    }
    let recorded = |plan: &str, round: usize| -> u32 {
        let start = dir.join(&format!("{plan}/s{round}-")).display().to_string();
        let mine = files.iter().filter(|f| f.to_string_lossy().starts_with(&start));
        // Each segment starts at 0 again.
        mine.map(|file| {
            let packets = media::flv_packets(&fs::read(file).unwrap());
            packets.last().map_or(0, |p| p.dts)
        })
        .sum()
    };
    for (round, safe) in safe.iter().enumerate() {
        for (plan, safe) in PLANS.iter().zip(safe).filter(|(plan, _)| **plan != "append") {
            let recorded = recorded(plan, round);
            // Between segments a frame's time is not counted, and the first frame has none.
            assert!(recorded + 500 >= *safe, "{plan} {round}: {recorded} of {safe} ms");
        }
    }
    let longest = safe.iter().flatten().max().unwrap();
    assert!(*longest > 5000, "the period counted: {longest}");
}
