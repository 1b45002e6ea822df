//! Servers of others as origins and as destinations.

use crate::common::client::Peer;
use crate::common::{
    self, Running, SOON, Server, TempDir, eventually, free_port, media, start, tool,
};
use crate::peers::{Encoder, assert_rising, edge};
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// nginx with RTMP.
fn nginx() -> Option<(Running, TempDir, u16)> {
    let nginx = tool("nginx")?;
    let module = Path::new("/usr/lib/nginx/modules/ngx_rtmp_module.so");
    if !module.is_file() {
        return common::skip("nginx's RTMP module");
    }
    let (dir, port) = (TempDir::new(), free_port());
    let conf = format!(
        "load_module {};\ndaemon off; master_process off; pid {1}/nginx.pid;\n\
         error_log {1}/error.log; events {{ worker_connections 64; }}\n\
         rtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ live on; }} }} }}\n",
        module.display(),
        dir.path().display(),
    );
    fs::write(dir.join("nginx.conf"), conf).unwrap();
    let arguments = ["-e", "error.log", "-c", "nginx.conf", "-p", "."];
    let peer = start(Command::new(nginx).args(arguments).current_dir(dir.path()));
    eventually("nginx listens", SOON, || TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some((peer, dir, port))
}

#[test]
fn nginx_rtmp_is_an_origin() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let Some((_nginx, _dir, port)) = nginx() else { return };
    let edge = edge(&[port], "");
    let url = format!("rtmp://127.0.0.1:{port}/live/s");
    let sample = media::sample(&ffmpeg);
    let _publisher = media::publish_live(&ffmpeg, &sample, &url);
    let packets = Peer::play(&edge, "s").packets(60);
    assert!(packets.iter().any(|p| p.key));
    assert_rising(&packets, None);
    // And takes what is published at the edge.
    let _encoder = Encoder::start(&edge, "pushed");
    let second = crate::peers::edge(&[port], "");
    let packets = Peer::play(&second, "pushed").packets(60);
    assert!(packets.iter().any(|p| p.key));
}

#[test]
fn nginx_rtmp_is_a_destination() {
    let Some((_nginx, _dir, port)) = nginx() else { return };
    let master = Server::with(&format!("vhost __defaultVhost__ {{ forward 127.0.0.1:{port}; }}"));
    let _encoder = Encoder::start(&master, "s");
    master.line("publishes to");
    let back = edge(&[port], "");
    let packets = Peer::play(&back, "s").packets(60);
    assert!(packets.iter().any(|p| p.key) && packets.iter().any(|p| p.header));
    assert_rising(&packets, None);
}

/// ffmpeg that waits for one connection, plays or takes one stream.
#[test]
fn ffmpeg_that_listens_is_an_origin() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let port = free_port();
    let sample = media::sample(&ffmpeg);
    let url = format!("rtmp://127.0.0.1:{port}/live/s");
    let args = ["-v", "error", "-re", "-stream_loop", "-1", "-i", sample.to_str().unwrap()];
    let to = ["-c", "copy", "-f", "flv", "-listen", "1", &url];
    let _origin = common::spawn(&ffmpeg, args.iter().chain(&to));
    std::thread::sleep(Duration::from_millis(500));
    let edge = edge(&[port], "");
    let packets = Peer::play(&edge, "s").packets(50);
    assert!(packets.iter().any(|p| p.key));
}

#[test]
fn ffmpeg_that_listens_is_a_destination() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let (port, dir) = (free_port(), TempDir::new());
    let (url, file) = (format!("rtmp://127.0.0.1:{port}/live/s"), dir.join("out.flv"));
    let args = ["-v", "error", "-y", "-listen", "1", "-i", &url, "-c", "copy"];
    let to = ["-t", "2", "-f", "flv", file.to_str().unwrap()];
    let mut taker = common::spawn(&ffmpeg, args.iter().chain(&to));
    std::thread::sleep(Duration::from_millis(500));
    let master = Server::with(&format!("vhost __defaultVhost__ {{ forward 127.0.0.1:{port}; }}"));
    let _encoder = Encoder::start(&master, "s");
    taker.finish();
    let packets = media::flv_packets(&fs::read(file).unwrap());
    assert!(packets.iter().any(|p| p.key) && packets.len() > 60, "{} packets", packets.len());
}
