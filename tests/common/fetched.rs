//! Streams that a server fetches: what is asked of it, and whether what players get is what is there.

use super::client::Peer;
use super::elementary::slices;
use super::{RUNNEL, Running, SOON, Server, TempDir, eventually, free_port, media, start, tool};
use runnel::codec::nal::Video;
use runnel::media::{Kind, Packet};
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// An ingest called `id` of `url`, which publishes `/live/id`.
pub fn ingest(id: &str, kind: &str, url: &str, more: &str) -> String {
    format!(
        "ingest {id} {{ enabled on; input {{ type {kind}; url {url}; }} {more} \
         engine {{ output rtmp://127.0.0.1:[port]/live?vhost=[vhost]/{id}; }} }}\n"
    )
}

/// What a player gets in `time`.
pub fn play(server: &Server, stream: &str, time: Duration) -> Vec<Packet> {
    let mut player = Peer::play(server, stream);
    let mut packets = vec![player.packet(SOON + SOON).expect("a packet")];
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        packets.extend(player.packet(left));
    }
    packets
}

pub fn units(packets: &[Packet]) -> Vec<Vec<u8>> {
    slices(packets, Video::H264)
}

pub fn frames(packets: &[Packet]) -> Vec<Vec<u8>> {
    let frames = packets.iter().filter(|p| p.kind == Kind::Audio && !p.header);
    frames.map(|packet| packet.payload.get(2..).unwrap().to_vec()).collect()
}

/// `got` is a part of `all`, which is repeated.
pub fn assert_part(what: &str, got: &[Vec<u8>], all: &[Vec<u8>]) {
    assert!(!got.is_empty(), "no {what}");
    let found = (0..all.len()).any(|start| {
        got.iter().enumerate().all(|(i, one)| all.get((start + i) % all.len()) == Some(one))
    });
    assert!(found, "{} {what} are not those of the source, {}", got.len(), all.len());
}

/// Pictures and sound are those of the file, and their times grow.
pub fn assert_from(packets: &[Packet], file: &Path) {
    let all = media::flv_packets(&fs::read(file).unwrap());
    assert_part("pictures", &units(packets), &units(&all));
    assert_part("frames", &frames(packets), &frames(&all));
    assert_times(packets);
}

pub fn assert_times(packets: &[Packet]) {
    for kind in [Kind::Video, Kind::Audio] {
        let frames = packets.iter().filter(|p| p.kind == kind && !p.header);
        let times: Vec<_> = frames.map(|p| p.dts).collect();
        let grows = times.windows(2).all(|pair| pair[0] < pair[1] && pair[1] - pair[0] < 200);
        assert!(grows, "{kind:?} {times:?}");
    }
}

/// nginx with the files of `dir`, and addresses that lead nowhere.
pub fn nginx(dir: &TempDir) -> Option<(Running, u16)> {
    let nginx = tool("nginx")?;
    let port = free_port();
    let path = dir.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {path}/{name};\n"))
        .concat();
    let text = format!(
        "user root; daemon off; master_process off; pid nginx.pid; events {{ }}\n\
         http {{ access_log access.log; {temporary} server {{ listen 127.0.0.1:{port}; root {path}/www;\n\
         location /loop {{ return 302 /loop.flv; }}\n\
         location /moved {{ return 302 /s.flv; }}\n\
         location /go/ {{ rewrite ^/go/(.*)$ /deep/$1 redirect; }}\n\
         location /closed {{ return 403; }} }} }}\n"
    );
    fs::write(dir.join("nginx.conf"), text).unwrap();
    fs::create_dir_all(dir.join("www")).unwrap();
    let mut command = Command::new(nginx);
    command.arg("-p").arg(dir.path()).args(["-e", "error.log", "-c", "nginx.conf"]);
    let running = start(&mut command);
    eventually("nginx listens", SOON, || TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some((running, port))
}

/// A server with the sample `name`, each of `changes` made in it.
pub fn sample(name: &str, port: u16, changes: &[(&str, &str)], dir: TempDir) -> Server {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("conf/{name}.conf"));
    let mut text = fs::read_to_string(path).unwrap();
    text = text.replace("listen 1935;", &format!("listen 127.0.0.1:{port};"));
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    fs::write(dir.join("test.conf"), text).unwrap();
    Server::spawn(Command::new(RUNNEL).args(["-c", "test.conf"]), port, dir)
}
