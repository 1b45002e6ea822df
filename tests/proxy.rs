//! Behind a proxy, and connections of one address: `proxy_protocol`, `max_connections_per_ip`.

mod common;

use common::client::{Peer, play, publish};
use common::{SOON, Server, eventually, free_port};
use runnel::media::Kind;
use runnel::proto::rtmp::client::{Config, Role};
use rustix::net::{AddressFamily, SocketType};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A connection to `port` from another address of this machine.
fn from(address: [u8; 4], port: u16) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::from(address), 0))).unwrap();
    rustix::net::connect(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// A header of version 2 for an address.
fn header(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend_from_slice(&client);
    header.extend_from_slice(&[127, 0, 0, 1, 0x30, 0x39, 7, 0x8f]);
    header
}

fn config(server: &Server, role: Role) -> Config {
    Config::new(server.tc_url(), "live", role)
}

fn is_closed(mut socket: TcpStream) -> bool {
    let mut byte = [0];
    match socket.read(&mut byte) {
        Ok(n) => n == 0,
        Err(e) => e.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// A server whose ports are for a proxy: it, RTMP, HTTP.
fn behind(more: &str) -> (Server, u16, u16) {
    let (rtmp, http) = (free_port(), free_port());
    let server = if cfg!(feature = "static-files") {
        format!("http_server {{ enabled on; listen 127.0.0.1:{http}; dir www; }}")
    } else {
        String::new()
    };
    let text = format!(
        "listen 127.0.0.1:{rtmp}; daemon off; srs_log_tank console; proxy_protocol {rtmp} {http};\n\
         {more} {server} vhost __defaultVhost__ {{ min_latency on; }}\n"
    );
    (Server::with_file(rtmp, &text), rtmp, http)
}

#[test]
fn the_client_is_who_the_header_names() {
    let (server, rtmp, _) = behind("");
    server.line("behind a proxy");
    let mut socket = from([127, 0, 0, 1], rtmp);
    // In pieces, with the handshake right behind it.
    let header_bytes = header([192, 0, 2, 7]);
    for piece in header_bytes.chunks(5) {
        socket.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut publisher = Peer::over(socket, config(&server, publish("s")));
    publisher.started();
    server.line("RTMP client ip=192.0.2.7");
    assert!(server.line("source url=").contains("ip=192.0.2.7"));
    let mut socket = from([127, 0, 0, 1], rtmp);
    socket.write_all(b"PROXY TCP6 2001:db8::9 ::1 1 1935\r\n").unwrap();
    let mut player = Peer::over(socket, config(&server, play("s")));
    player.started();
    server.line("RTMP client ip=2001:db8::9");
    publisher.send_bytes(Kind::Audio, 0, b"\x2fsound");
    player.packets(1);
    // A check of the proxy itself.
    let mut socket = from([127, 0, 0, 9], rtmp);
    socket.write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").unwrap();
    let mut own = Peer::over(socket, config(&server, play("s")));
    own.started();
    server.line("RTMP client ip=127.0.0.9");
}

#[test]
fn without_a_header_nobody_is_let_in() {
    let (server, rtmp, _) = behind("max_connections 8;");
    let mut socket = from([127, 0, 0, 1], rtmp);
    socket.write_all(&[3; 1537]).unwrap();
    assert!(is_closed(socket));
    server.line("drop client of the proxy ip=127.0.0.1: no PROXY protocol header");
    let mut socket = from([127, 0, 0, 1], rtmp);
    socket.write_all(b"PROXY TCP4 nonsense\r\n").unwrap();
    assert!(is_closed(socket));
    server.line("malformed PROXY protocol header");
    // Those that say nothing have 5 s, and count as connections meanwhile.
    let start = Instant::now();
    let silent: Vec<TcpStream> = (0..8).map(|_| from([127, 0, 0, 1], rtmp)).collect();
    server_is_full(&server, rtmp);
    for socket in silent {
        assert!(is_closed(socket));
    }
    let took = start.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(8), "{took:?}");
    assert_eq!(server.count("RTMP client ip"), 0);
    let mut socket = from([127, 0, 0, 1], rtmp);
    socket.write_all(&header([192, 0, 2, 7])).unwrap();
    Peer::over(socket, config(&server, play("s"))).started();
}

fn server_is_full(server: &Server, rtmp: u16) {
    assert!(is_closed(from([127, 0, 0, 1], rtmp)), "one over");
    server.line("exceed the max connections, drop client ip=127.0.0.1, max=8");
}

#[test]
fn an_address_has_no_more_connections_than_it_may() {
    let (server, rtmp, _) = behind("max_connections_per_ip 2;");
    let client = |address| {
        let mut socket = from([127, 0, 0, 1], rtmp);
        socket.write_all(&header(address)).unwrap();
        socket
    };
    let join = |address| {
        let mut peer = Peer::over(client(address), config(&server, play("s")));
        peer.started();
        peer
    };
    let (first, second) = (join([192, 0, 2, 1]), join([192, 0, 2, 1]));
    assert!(is_closed(client([192, 0, 2, 1])), "one over");
    let line = server.line("exceed the max connections of one address");
    assert!(line.contains("ip=192.0.2.1, max=2 (max_connections_per_ip)"), "{line}");
    let _other = join([192, 0, 2, 2]);
    drop(first);
    server.line("client finished.");
    let third = join([192, 0, 2, 1]);
    assert!(is_closed(client([192, 0, 2, 1])));
    drop((second, third));
}

#[test]
fn connections_of_an_address_count_without_a_proxy_too() {
    let server = Server::with("max_connections_per_ip 3; vhost __defaultVhost__ { }");
    let players: Vec<Peer> = (0..3).map(|_| Peer::play(&server, "s")).collect();
    assert!(is_closed(from([127, 0, 0, 1], server.port)));
    let mut other = Peer::over(from([127, 0, 0, 2], server.port), config(&server, play("s")));
    other.started();
    drop(players);
    eventually("there is room again", SOON, || {
        let socket = from([127, 0, 0, 1], server.port);
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        !is_closed(socket)
    });
}

#[cfg(feature = "static-files")]
mod over_http {
    use super::*;
    use common::{TempDir, spawn, tool};
    use std::fs;
    use std::process::Command;

    #[test]
    fn haproxy_in_front_names_the_clients_of_rtmp_and_http() {
        let (Some(haproxy), Some(ffmpeg), Some(curl)) =
            (tool("haproxy"), tool("ffmpeg"), tool("curl"))
        else {
            return;
        };
        for version in
            ["send-proxy-v2", "send-proxy", "send-proxy-v2 proxy-v2-options crc32c,unique-id"]
        {
            let (server, rtmp, http) = behind("");
            fs::create_dir_all(server.dir.join("www")).unwrap();
            fs::write(server.dir.join("www/a.txt"), "found\n").unwrap();
            let (front, front_http, dir) = (free_port(), free_port(), TempDir::new());
            let check = format!("{version} check inter 300 check-send-proxy");
            let conf = format!(
                "global\n  maxconn 50\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  \
             timeout server 60s\nfrontend rtmp\n  unique-id-format %{{+X}}o%ci\n  \
             bind 127.0.0.1:{front}\n  \
             default_backend rtmp\nfrontend http\n  unique-id-format %{{+X}}o%ci\n  mode http\n  \
             bind 127.0.0.1:{front_http}\n  \
             default_backend http\nbackend rtmp\n  server s 127.0.0.1:{rtmp} {check}\nbackend http\n  \
             mode http\n  server s 127.0.0.1:{http} {check}\n"
            );
            fs::write(dir.join("a.cfg"), conf).unwrap();
            let file = dir.join("a.cfg").display().to_string();
            let _haproxy = spawn(&haproxy, ["-db", "-f", &file]);
            eventually("haproxy listens", SOON, || {
                [front, front_http]
                    .iter()
                    .all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
            });
            let mut player =
                Peer::over(from([127, 0, 0, 5], front), config(&server, play("livestream")));
            player.started();
            server.line("RTMP client ip=127.0.0.5");
            let sample = common::media::sample(&ffmpeg);
            let url = format!("rtmp://127.0.0.1:{front}/live/livestream");
            common::media::publish(&ffmpeg, &sample, &url);
            player.packets(100);
            let out = Command::new(&curl)
                .args(["-sS", "--interface", "127.0.0.6"])
                .arg(format!("http://127.0.0.1:{front_http}/a.txt"))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert_eq!(String::from_utf8_lossy(&out.stdout), "found\n", "{said}");
            server.line("HTTP client ip=127.0.0.6");
        }
    }

    /// curl speaks version 1 by itself.
    #[test]
    fn curl_may_be_the_proxy() {
        let Some(curl) = tool("curl") else { return };
        let (server, _, http) = behind("");
        fs::create_dir_all(server.dir.join("www")).unwrap();
        fs::write(server.dir.join("www/a.txt"), "found\n").unwrap();
        let url = format!("http://127.0.0.1:{http}/a.txt");
        let out = Command::new(&curl).args(["-sS", "--haproxy-protocol", &url]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), "found\n");
        let out = Command::new(&curl).args(["-sS", &url]).output().unwrap();
        assert!(!out.status.success(), "without the header it gets nothing");
    }
}
