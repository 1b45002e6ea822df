//! The files that the documentation offers, with programs of others that use them.

use crate::common::client::Peer;
use crate::common::http::{Http, get};
use crate::common::{self, Running, SOON, Server, TempDir, eventually, free_port, start, tool};
use crate::peers::Encoder;
use runnel::proto::rtmp::client::Config;
use rustix::net::{AddressFamily, SocketType};
use std::fs;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A file of the documentation, with what the test has in other places.
fn recipe(name: &str, changes: &[(&str, String)]) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes").join(name);
    let mut text = fs::read_to_string(file).unwrap();
    for (documented, own) in changes {
        assert!(text.contains(documented), "{name}: {documented}");
        text = text.replace(documented, own);
    }
    text
}

fn listens(what: &str, port: u16) {
    eventually(what, SOON, || TcpStream::connect(("127.0.0.1", port)).is_ok());
}

/// Servers behind a balancer, with the ports at which it tells them who the client is.
fn behind() -> ([Server; 2], [u16; 2]) {
    let told = [free_port(), free_port()];
    let servers = told.map(|told| {
        let port = free_port();
        let text = format!(
            "listen 127.0.0.1:{port} 127.0.0.1:{told}; proxy_protocol 127.0.0.1:{told};
             daemon off; srs_log_tank console; vhost __defaultVhost__ {{ }}"
        );
        Server::with_file(port, &text)
    });
    (servers, told)
}

/// Players through a balancer at `port` are at both servers, which know their address.
fn spread(servers: &[Server; 2], port: u16) {
    let _encoders = [Encoder::start(&servers[0], "s"), Encoder::start(&servers[1], "s")];
    let connect = || {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
        rustix::net::connect(&socket, &SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
        let role = common::client::play("s");
        Peer::over(TcpStream::from(socket), Config::new("rtmp://127.0.0.1/live", "live", role))
    };
    let mut players: Vec<_> = (0..6).map(|_| connect()).collect();
    for player in &mut players {
        player.packets(10);
    }
    for server in servers {
        server.line("type=Play");
        server.line("RTMP client ip=127.0.0.2");
    }
}

#[test]
fn haproxy_spreads_rtmp_and_tells_the_addresses_of_clients() {
    let Some(haproxy) = tool("haproxy") else { return };
    let (servers, told) = behind();
    let (dir, port) = (TempDir::new(), free_port());
    let text = recipe(
        "haproxy-rtmp.cfg",
        &[
            ("bind :1935", format!("bind 127.0.0.1:{port}")),
            ("10.0.0.11:1935", format!("127.0.0.1:{}", told[0])),
            ("10.0.0.12:1935", format!("127.0.0.1:{}", told[1])),
        ],
    );
    fs::write(dir.join("haproxy.cfg"), text).unwrap();
    let mut command = Command::new(haproxy);
    let _haproxy: Running = start(command.arg("-f").arg(dir.join("haproxy.cfg")).arg("-db"));
    listens("haproxy", port);
    spread(&servers, port);
}

#[test]
fn varnish_asks_once_for_each_segment() {
    let Some(varnish) = tool("varnishd") else { return };
    let http = free_port();
    let server = Server::without_file(&["--demo", "--http-port", &http.to_string()]);
    server.line("HTTP listens at");
    let (dir, port) = (TempDir::new(), free_port());
    let text = recipe("varnish-hls.vcl", &[(".port = \"8080\"", format!(".port = \"{http}\""))]);
    fs::write(dir.join("hls.vcl"), text).unwrap();
    let mut command = Command::new(varnish);
    command.arg("-F").args(["-a", &format!("127.0.0.1:{port}"), "-s", "malloc,32m", "-n"]);
    command.arg(dir.join("varnish")).arg("-f").arg(dir.join("hls.vcl"));
    let _varnish = start(&mut command);
    eventually("varnish answers", SOON * 3, || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
            && get(port, "/live/demo.m3u8", "").0.status == 200
    });
    let text = String::from_utf8(get(port, "/live/demo.m3u8", "").1).unwrap();
    let uri = text.lines().find(|line| line.ends_with(".ts")).unwrap();
    let before = server.count(&format!("HTTP GET /live/{uri}"));
    for viewer in 0..50 {
        let (head, body) = get(port, &format!("/live/{uri}?viewer={viewer}"), "");
        assert!(head.status == 200 && body.len() > 188, "{}", head.status);
    }
    assert!(server.count(&format!("HTTP GET /live/{uri}")) <= before.max(1), "once a segment");
    // A live stream goes through.
    let mut live = Http::connect(port);
    assert_eq!(live.ask("/live/demo.flv", "").status, 200);
    assert!(live.chunk().is_some());
}

#[test]
fn stunnel_speaks_rtmps_for_a_forward() {
    let (Some(stunnel), Some(openssl)) = (tool("stunnel4"), tool("openssl")) else { return };
    let (dir, tls, plain) = (TempDir::new(), free_port(), free_port());
    let (key, certificate) = (dir.join("key.pem"), dir.join("certificate.pem"));
    let args = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost";
    common::run(
        &openssl,
        args.split(' ').chain([
            "-keyout",
            key.to_str().unwrap(),
            "-out",
            certificate.to_str().unwrap(),
        ]),
    );
    let slave = Server::start();
    // What stands for the service of others: TLS in front of a server.
    fs::write(
        dir.join("service.conf"),
        format!(
            "foreground = yes\npid =\n[rtmps]\naccept = 127.0.0.1:{tls}\nconnect = 127.0.0.1:{}\n\
             cert = {}\nkey = {}\n",
            slave.port,
            certificate.display(),
            key.display()
        ),
    )
    .unwrap();
    let text = recipe(
        "stunnel-rtmps.conf",
        &[
            ("127.0.0.1:19443", format!("127.0.0.1:{plain}")),
            ("live-api-s.facebook.com:443", format!("localhost:{tls}")),
            ("checkHost = live-api-s.facebook.com", "checkHost = localhost".into()),
            ("/etc/ssl/certs/ca-certificates.crt", certificate.display().to_string()),
        ],
    );
    fs::write(dir.join("client.conf"), text).unwrap();
    let _running = ["service.conf", "client.conf"]
        .map(|name| start(Command::new(&stunnel).arg(dir.join(name))));
    listens("the service", tls);
    listens("stunnel", plain);
    let master = Server::with(&format!(
        "vhost __defaultVhost__ {{ forward {{ enabled on; destination rtmp://127.0.0.1:{plain}/rtmp/KEY-[stream]; }} }}"
    ));
    let _encoder = Encoder::start(&master, "s");
    slave.line("stream_name=KEY-s");
    slave.line("got metadata");
}

#[test]
fn nginx_spreads_rtmp_and_tells_the_addresses_of_clients() {
    let Some(nginx) = tool("nginx") else { return };
    let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
    if !module.is_file() {
        let _: Option<()> = common::skip("nginx's stream module");
        return;
    }
    let (servers, told) = behind();
    let (dir, port) = (TempDir::new(), free_port());
    let text = recipe(
        "nginx-rtmp-balance.conf",
        &[
            ("listen 1935;", format!("listen 127.0.0.1:{port};")),
            ("10.0.0.11:1935", format!("127.0.0.1:{}", told[0])),
            ("10.0.0.12:1935", format!("127.0.0.1:{}", told[1])),
        ],
    );
    let head = format!(
        "load_module {};\ndaemon off; master_process off; pid nginx.pid;\nevents {{ }}\n",
        module.display()
    );
    fs::write(dir.join("nginx.conf"), head + &text).unwrap();
    let args = ["-e", "error.log", "-c", "nginx.conf", "-p", "."];
    let _nginx = start(Command::new(nginx).args(args).current_dir(dir.path()));
    listens("nginx", port);
    spread(&servers, port);
}

/// The answer of the name server at `port`, once it has one.
pub(crate) fn named_by(port: u16) -> [u8; 512] {
    let question =
        b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x05_rtmp\x04_tcp\x07example\x03lan\0\0\x21\0\x01";
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut answer = [0; 512];
    eventually("the name server answers", SOON, || {
        // Refused as long as it does not listen.
        socket.send_to(question, ("127.0.0.1", port)).is_ok() && socket.recv(&mut answer).is_ok()
    });
    answer
}

#[test]
fn dnsmasq_names_the_origins() {
    let Some(dnsmasq) = tool("dnsmasq") else { return };
    let (dir, port) = (TempDir::new(), free_port());
    let text = recipe("dnsmasq-srv.conf", &[("port=53", format!("port={port}"))]);
    fs::write(dir.join("dnsmasq.conf"), text).unwrap();
    let mut command = Command::new(dnsmasq);
    command
        .arg("--keep-in-foreground")
        .arg(format!("--conf-file={}", dir.join("dnsmasq.conf").display()));
    command.args(["--user=root", "--listen-address=127.0.0.1", "--bind-interfaces"]);
    let _dnsmasq = start(&mut command);
    let answer = named_by(port);
    assert_eq!((answer[3] & 15, answer[7]), (0, 2), "two origins");
}
