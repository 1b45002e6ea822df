//! TLS towards others: streams, files and hooks through real servers that speak it (stunnel, nginx,
//! Python), and certificates and servers that are not what they should be.

#![cfg(all(
    feature = "tls",
    feature = "forward",
    feature = "edge",
    feature = "ingest",
    feature = "hooks",
    feature = "heartbeat"
))]

#[path = "../common/mod.rs"]
mod common;
mod pki;

use common::client::{Peer, publish};
use common::media::{bodies, demo, frames};
use common::{Running, SOON, Server, eventually, free_port, start, tool};
use pki::Pki;
use runnel::media::{Kind, Packet};
use runnel::proto::rtmp::client::Config;
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// TLS in front of servers: `accept`, the name of a certificate, where to, and more lines.
fn stunnel(pki: &Pki, services: &[(u16, &str, u16, &str)]) -> Option<Running> {
    let program = tool("stunnel4")?;
    let mut text = "foreground = yes\npid =\n".to_owned();
    for (accept, name, connect, more) in services {
        let (certificate, key) = (pki.certificate(name), pki.key(name));
        text += &format!(
            "[{accept}]\naccept = 127.0.0.1:{accept}\nconnect = 127.0.0.1:{connect}\n\
             cert = {certificate}\nkey = {key}\n{more}\n"
        );
    }
    let file = pki.dir.join(&format!("stunnel-{}.conf", services[0].0));
    fs::write(&file, text).unwrap();
    let running = start(Command::new(program).arg(file));
    for (port, ..) in services {
        listens(*port);
    }
    Some(running)
}

fn listens(port: u16) {
    let there = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    eventually("a server listens", SOON, there);
}

/// A server whose destinations these are, which trusts `ca`.
fn forwards(ca: &str, destinations: &[String]) -> Server {
    Server::with(&conf(ca, destinations))
}

fn conf(ca: &str, destinations: &[String]) -> String {
    format!(
        "tls_ca {ca}; vhost __defaultVhost__ {{ min_latency on; forward {{ enabled on; retry 0.2; \
         destination {}; }} }}",
        destinations.join(" ")
    )
}

/// Publishes the test stream until it is dropped, in real time.
struct Encoder(#[allow(dead_code)] Sender<()>);

impl Encoder {
    fn start(server: &Server, stream: &str) -> Self {
        let config = Config::new(server.tc_url(), "live", publish(stream));
        let (address, (stop, stopped)) = (server.address(), channel());
        let (ready, wait) = channel();
        thread::spawn(move || {
            let mut peer = Peer::over(TcpStream::connect(address).unwrap(), config);
            peer.started();
            ready.send(()).unwrap();
            let (begin, packets) = (Instant::now(), demo());
            for (i, packet) in (0..).flat_map(|i| packets.iter().map(move |p| (i, p))) {
                let packet = Packet { dts: i * 8000 + packet.dts, ..packet.clone() };
                let due = begin + Duration::from_millis(packet.dts.into());
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if stopped.try_recv() != Err(TryRecvError::Empty) || !peer.try_send(&packet) {
                    return;
                }
            }
        });
        wait.recv().expect("it may publish");
        Self(stop)
    }
}

/// Key frames of up to 200 KB that nobody can foretell.
fn noise(count: u32) -> Vec<Packet> {
    let mut seed = 7_u32;
    let mut next = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed >> 8
    };
    let frame = |i: u32, next: &mut dyn FnMut() -> u32| {
        let len = 1 + next() as usize % 200_000;
        let mut payload = vec![0x17, 1, 0, 0, 0];
        payload.extend((0..len).map(|_| next() as u8));
        Packet::new(Kind::Video, i * 40, payload.into())
    };
    (0..count).map(|i| frame(i, &mut next)).collect()
}

#[test]
fn a_forward_over_tls_arrives_bit_for_bit() {
    let Some(pki) = Pki::new() else { return };
    let slave = Server::with("vhost __defaultVhost__ { play { gop_cache off; queue_length 60; } }");
    let ports = [free_port(), free_port()];
    let services = [
        (ports[0], "good", slave.port, "sslVersionMin = TLSv1.3"),
        (ports[1], "rsa", slave.port, "sslVersionMax = TLSv1.2"),
    ];
    let Some(_stunnel) = stunnel(&pki, &services) else { return };
    let to = |version: &str, port: u16| format!("rtmps://localhost:{port}/live/{version}-[stream]");
    let master = forwards(&pki.certificate("ca"), &[to("new", ports[0]), to("old", ports[1])]);
    let mut publisher = Peer::publish(&master, "s");
    let demo = demo();
    for packet in demo.iter().take_while(|p| p.dts < 1000) {
        publisher.send(packet);
    }
    for _ in 0..2 {
        master.line("publishes to localhost");
    }
    slave.line_number("got metadata", 2);
    let mut players = ["new-s", "old-s"].map(|stream| Peer::play(&slave, stream));
    // What came before it is sent.
    for player in &mut players {
        player.packets_until_silence(Duration::from_millis(500));
    }
    let sent: Vec<_> = noise(80).into_iter().map(|p| Packet { dts: 1000 + p.dts, ..p }).collect();
    let total: usize = sent.iter().map(|p| p.payload.len()).sum();
    assert!(total > 6 << 20, "{total}");
    for packet in &sent {
        publisher.send(packet);
        thread::sleep(Duration::from_millis(10));
    }
    for player in &mut players {
        let got = frames(&player.packets(sent.len()));
        assert!(bodies(&got) == bodies(&sent), "{} packets, and not the same", got.len());
    }
    drop(publisher);
    // It says that it is over.
    slave.line_number("stop publish", 2);
}

#[test]
fn an_edge_and_an_ingest_play_over_tls() {
    let Some(pki) = Pki::new() else { return };
    let origin = Server::start();
    let port = free_port();
    let Some(_stunnel) = stunnel(&pki, &[(port, "good", origin.port, "")]) else { return };
    let _encoder = Encoder::start(&origin, "s");
    let edge = Server::with(&format!(
        "tls_ca {}; vhost __defaultVhost__ {{ min_latency on; cluster {{ mode remote; \
         origin rtmps://localhost:{port}; }} }}",
        pki.certificate("ca")
    ));
    let ingest = Server::with(&format!(
        "tls_ca {}; vhost __defaultVhost__ {{ min_latency on; {} }}",
        pki.certificate("ca"),
        ingest("i", &format!("rtmps://localhost:{port}/live/s")),
    ));
    let all = frames(&demo());
    for (server, stream) in [(&edge, "s"), (&ingest, "i")] {
        eventually("the stream is there", SOON, || {
            Peer::play(server, stream).packet(Duration::from_secs(2)).is_some()
        });
        let got = frames(&Peer::play(server, stream).packets(60));
        assert_part(&got, &all);
    }
    // The origin is published to, too.
    let mut publisher = Peer::publish(&edge, "up");
    for packet in demo().iter().take_while(|p| p.dts < 2000) {
        publisher.send(packet);
    }
    let got = frames(&Peer::play(&origin, "up").packets(30));
    assert_part(&got, &all);
}

/// `got` is a part of `all`, which is repeated; of each kind for itself.
fn assert_part(got: &[Packet], all: &[Packet]) {
    for kind in [Kind::Audio, Kind::Video] {
        let of = |packets: &[Packet]| {
            let kind = packets.iter().filter(|p| p.kind == kind);
            kind.map(|p| p.payload.to_vec()).collect::<Vec<_>>()
        };
        let (got, all) = (of(got), of(all));
        assert!(got.len() > 5, "{} of {kind:?}", got.len());
        let found = (0..all.len()).any(|start| {
            got.iter().enumerate().all(|(i, one)| all.get((start + i) % all.len()) == Some(one))
        });
        assert!(found, "{} of {kind:?} are not those of the source", got.len());
    }
}

/// An ingest called `id` of `url`, which publishes `/live/id`.
fn ingest(id: &str, url: &str) -> String {
    format!(
        "ingest {id} {{ enabled on; input {{ type stream; url {url}; }} \
         engine {{ output rtmp://127.0.0.1:[port]/live?vhost=[vhost]/{id}; }} }}\n"
    )
}

/// Serves `www` over TLS, at the first port any version, at the second one TLS 1.2.
fn nginx(pki: &Pki) -> Option<(Running, [u16; 2])> {
    let nginx = tool("nginx")?;
    let (ports, path) = ([free_port(), free_port()], pki.dir.path().display());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {path}/{name};\n"))
        .concat();
    let server = |port: u16, name: &str, more: &str| {
        format!(
            "server {{ listen 127.0.0.1:{port} ssl; root {path}/www; {more} \
             ssl_certificate {}; ssl_certificate_key {}; }}\n",
            pki.certificate(name),
            pki.key(name)
        )
    };
    let text = format!(
        "user root; daemon off; master_process off; pid nginx.pid; events {{ }}\n\
         http {{ access_log access.log; {temporary} {} {} }}\n",
        server(ports[0], "good", "location /moved.flv { return 302 /s.flv; }"),
        server(ports[1], "rsa", "ssl_protocols TLSv1.2;"),
    );
    fs::write(pki.dir.join("nginx.conf"), text).unwrap();
    fs::create_dir_all(pki.dir.join("www")).unwrap();
    let mut command = Command::new(nginx);
    command.arg("-p").arg(pki.dir.path()).args(["-e", "error.log", "-c", "nginx.conf"]);
    let running = start(&mut command);
    ports.iter().for_each(|port| listens(*port));
    Some((running, ports))
}

#[test]
fn what_is_served_over_https_is_fetched() {
    let (Some(ffmpeg), Some(pki)) = (tool("ffmpeg"), Pki::new()) else { return };
    let Some((_nginx, [new, old])) = nginx(&pki) else { return };
    let www = pki.dir.join("www");
    let file = www.join("s.flv");
    fs::write(&file, include_bytes!("../data/moving.flv")).unwrap();
    let make = |args: &str| {
        let file = file.display().to_string();
        let args = args.replace("WWW", www.to_str().unwrap());
        let head = ["-v", "error", "-i", &file, "-c", "copy"];
        common::run(&ffmpeg, head.into_iter().chain(args.split(' ')));
    };
    make("WWW/s.ts");
    make("-f hls -hls_time 1 -hls_list_size 0 WWW/v.m3u8");
    let ingests = ingest("flv", &format!("https://localhost:{new}/s.flv"))
        + &ingest("moved", &format!("https://localhost:{new}/moved.flv"))
        + &ingest("ts", &format!("https://localhost:{old}/s.ts"))
        + &ingest("hls", &format!("https://localhost:{new}/v.m3u8"))
        + &ingest("oldhls", &format!("https://localhost:{old}/v.m3u8"));
    let server = Server::with(&format!(
        "tls_ca {}; vhost __defaultVhost__ {{ play {{ gop_cache on; }} {ingests} }}",
        pki.certificate("ca")
    ));
    let all = frames(&demo());
    for stream in ["flv", "moved", "hls", "ts", "oldhls"] {
        let mut got = Vec::new();
        eventually(stream, SOON + SOON, || {
            let mut player = Peer::play(&server, stream);
            got.clear();
            while let Some(packet) = player.packet(Duration::from_secs(1)) {
                got.push(packet);
                if got.len() > 100 {
                    return true;
                }
            }
            false
        });
        if matches!(stream, "flv" | "moved") {
            assert_part(&frames(&got), &all);
        }
    }
    // Five requests of segments and their playlists need no more connections than that.
    assert_eq!(server.count("its certificate"), 0);
}

/// A server of hooks and of bodies without a length over TLS.
const PYTHON: &str = r#"
import ssl, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print(self.path, body.decode(), flush=True)
        answer = b"1" if self.path == "/no" else b"0"
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        with open(sys.argv[4], "rb") as file:
            self.wfile.write(file.read())
        self.wfile.flush()
        if "whole" in self.path:
            self.connection.unwrap()

    def log_message(self, *_):
        pass

class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("listens", flush=True)
server.serve_forever()
"#;

fn python(pki: &Pki) -> Option<(Running, u16)> {
    let (python, port) = (tool("python3")?, free_port());
    let (script, file) = (pki.dir.join("server.py"), pki.dir.join("s.flv"));
    fs::write(&script, PYTHON).unwrap();
    fs::write(&file, include_bytes!("../data/moving.flv")).unwrap();
    let mut command = Command::new(python);
    command.arg("-u").arg(script).arg(port.to_string());
    command.args([pki.certificate("good"), pki.key("good")]).arg(file);
    let running = start(&mut command);
    running.out.wait("listens", 1, SOON).expect("it listens");
    Some((running, port))
}

#[test]
fn hooks_and_the_heartbeat_go_over_https() {
    let Some(pki) = Pki::new() else { return };
    let Some((told, port)) = python(&pki) else { return };
    let server = Server::with(&format!(
        "tls_ca {}; heartbeat {{ enabled on; interval 1; url https://localhost:{port}/beat; }}
         vhost __defaultVhost__ {{ http_hooks {{ enabled on; on_publish https://localhost:{port}/yes; }} }}
         vhost no {{ http_hooks {{ enabled on; on_publish https://localhost:{port}/no; }} }}
         vhost wrong {{ http_hooks {{ enabled on; on_publish https://127.0.0.1:{port}/yes; }} }}",
        pki.certificate("ca")
    ));
    let _publisher = Peer::publish(&server, "s");
    assert!(told.out.wait("/yes {\"action\":\"on_publish\"", 1, SOON).is_some());
    assert!(told.out.wait("/beat {\"device_id\"", 2, SOON).is_some());
    for (vhost, why) in
        [("no", "on_publish failed"), ("wrong", "its certificate is for DnsName(\"localhost\")")]
    {
        let url = format!("rtmp://127.0.0.1:{}/live?vhost={vhost}", server.port);
        let config = Config::new(url, "live", publish("s"));
        let mut refused = Peer::with(&server, config);
        assert!(refused.is_closed_within(SOON), "{vhost}");
        server.line(why);
    }
}

#[test]
fn a_body_that_is_cut_off_is_not_taken_for_its_end() {
    let Some(pki) = Pki::new() else { return };
    let Some((_python, port)) = python(&pki) else { return };
    let server = Server::with(&format!(
        "tls_ca {}; vhost __defaultVhost__ {{ {} {} }}",
        pki.certificate("ca"),
        ingest("cut", &format!("https://localhost:{port}/cut.flv?secret=S3")),
        ingest("whole", &format!("https://localhost:{port}/whole.flv")),
    ));
    let line = server.line("cut off: closed without the end of TLS");
    assert!(line.contains("ingest cut") && !line.contains("S3"), "{line}");
    let line = server.line("the source ended");
    assert!(line.contains("ingest whole"), "{line}");
}

#[test]
fn a_certificate_that_is_wrong_is_named_and_a_reload_trusts_another() {
    let Some(pki) = Pki::new() else { return };
    let slave = Server::start();
    let names = ["good", "foreign", "name", "expired", "early", "own"];
    let services = names.map(|name| (free_port(), name, slave.port, ""));
    let Some(_stunnel) = stunnel(&pki, &services) else { return };
    let port = |name: &str| services.iter().find(|service| service.1 == name).unwrap().0;
    let to = |name: &str| format!("rtmps://localhost:{}/live/SECRET-{name}", port(name));
    let destinations = names.map(to);
    let master = forwards(&pki.certificate("ca"), &destinations);
    let encoder = Encoder::start(&master, "s");
    master.line(&format!("publishes to localhost:{}", port("good")));
    for (name, why) in [
        ("foreign", "its certificate is of an unknown issuer"),
        ("name", "its certificate is for DnsName(\"other.example\"), not for localhost"),
        ("expired", "its certificate expired 2021-03-0"),
        ("early", "its certificate is not valid before 2060-03-0"),
        ("own", "its certificate signed itself"),
    ] {
        let line = master.line(&format!("cannot connect to localhost:{}: {why}", port(name)));
        assert!(line.contains("again in") && !line.contains("SECRET"), "{line}");
    }
    drop(encoder);
    let line = master.line("ends, skipped");
    assert!(!line.contains("SECRET"), "{line}");
    let _encoder = Encoder::start(&master, "s");
    // The certificate itself is enough for the server that has it, and for no other.
    let text = format!(
        "listen 127.0.0.1:{}; daemon off; srs_log_tank console; {}\n",
        master.port,
        conf(&pki.certificate("own"), &destinations)
    );
    fs::write(master.dir.join("test.conf"), text).unwrap();
    master.signal(Signal::HUP);
    master.line("reload config success");
    master.line(&format!("publishes to localhost:{}", port("own")));
    slave.line("SECRET-own");
    assert_eq!(master.count(&format!("publishes to localhost:{}", port("foreign"))), 0);
}

#[test]
fn an_own_certificate_counts_for_its_name_and_its_time_only() {
    let Some(pki) = Pki::new() else { return };
    let slave = Server::start();
    let names = ["own", "ownname", "ownexpired"];
    let services = names.map(|name| (free_port(), name, slave.port, ""));
    let Some(_stunnel) = stunnel(&pki, &services) else { return };
    let all = pki.dir.join("all.pem");
    let texts = names.map(|name| fs::read_to_string(pki.certificate(name)).unwrap());
    fs::write(&all, texts.concat()).unwrap();
    let to =
        services.map(|service| format!("rtmps://localhost:{}/live/x-{}", service.0, service.1));
    let master = forwards(all.to_str().unwrap(), &to);
    let _encoder = Encoder::start(&master, "s");
    for ((port, ..), what) in services.iter().zip([
        "publishes to localhost:PORT",
        "cannot connect to localhost:PORT: its certificate is for DnsName(\"other.example\")",
        "cannot connect to localhost:PORT: its certificate expired",
    ]) {
        master.line(&what.replace("PORT", &port.to_string()));
    }
}

#[test]
fn servers_that_speak_no_tls_are_told_and_hold_up_nobody() {
    let Some(pki) = Pki::new() else { return };
    let slave = Server::start();
    let (good, lost) = (free_port(), free_port());
    let Some(_stunnel) = stunnel(&pki, &[(good, "good", slave.port, "")]) else { return };
    let Some(mut killed) = stunnel(&pki, &[(lost, "good", slave.port, "")]) else { return };
    type Does = fn(TcpStream);
    let ports = [
        |mut stream: TcpStream| {
            let mut hello = [0; 16];
            let _ = stream.read_exact(&mut hello);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            thread::sleep(Duration::from_secs(1));
        },
        (|stream| drop(stream)) as Does,
        |stream| {
            thread::sleep(SOON);
            drop(stream);
        },
    ]
    .map(|does: Does| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || does(stream));
            }
        });
        port
    });
    let [plain, closes, silent] = ports;
    let all = [good, lost, plain, closes, silent, slave.port];
    let destinations = all.map(|port| format!("rtmps://localhost:{port}/live/KEY-{port}"));
    let master = forwards(&pki.certificate("ca"), &destinations);
    let _encoder = Encoder::start(&master, "s");
    slave.line(&format!("KEY-{good}"));
    slave.line(&format!("KEY-{lost}"));
    let closed = "the server closed the connection in the TLS handshake";
    for (port, why) in [
        (plain, "what it says is no TLS"),
        (closes, closed),
        (silent, "no answer to the TLS handshake after 3 s"),
        (slave.port, closed),
    ] {
        let line = master.line(&format!("cannot connect to localhost:{port}: {why}"));
        assert!(line.contains("again in") && !line.contains("KEY"), "{line}");
    }
    let before = slave.count(&format!("KEY-{lost}"));
    killed.signal(Signal::KILL);
    assert!(killed.wait(SOON).is_some());
    let line = master.line(&format!("cannot connect to localhost:{lost}: "));
    assert!(line.contains("refused"), "{line}");
    let Some(_again) = stunnel(&pki, &[(lost, "good", slave.port, "")]) else { return };
    eventually("it is there again", SOON, || slave.count(&format!("KEY-{lost}")) > before);
    let mut player = Peer::play(&slave, &format!("KEY-{good}"));
    player.packets(40);
}

#[test]
fn whom_the_system_trusts_is_read_where_nothing_else_is_said() {
    let Some(pki) = Pki::new() else { return };
    let slave = Server::start();
    let port = free_port();
    let Some(_stunnel) = stunnel(&pki, &[(port, "good", slave.port, "")]) else { return };
    let to = format!("rtmps://localhost:{port}/live/x");
    let text = conf("NONE", &[to]);
    let master = Server::with(text.split_once(';').unwrap().1);
    let _encoder = Encoder::start(&master, "s");
    let line = master.line(&format!("cannot connect to localhost:{port}: "));
    let there = Path::new("/etc/ssl/certs/ca-certificates.crt").exists();
    let why = if there { "unknown issuer" } else { "no certificates to trust" };
    assert!(line.contains(why), "{line}");
}
