//! What goes wrong between servers, in network namespaces of the tests: addresses that answer
//! nothing, links that lose, name servers that fail.
//!
//! A test that needs one runs itself again in a namespace, as root.

use crate::common::client::{Peer, play};
use crate::common::{SOON, Server, eventually, free_port, media, skip, tool};
use crate::peers::{Does, Encoder, Origin, assert_rising, edge, gap, watch};
use runnel::media::{Kind, Packet};
use runnel::proto::rtmp::client::Config;
use rustix::process::Signal;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Whether this is the namespace of `test`. Else the test is run in one, if that can be.
fn inside(test: &str) -> bool {
    if std::env::var_os("RUNNEL_NAMESPACE").is_some() {
        run("ip", "link set lo up");
        return true;
    }
    let (Some(unshare), Some(_), Some(_)) = (tool("unshare"), tool("ip"), tool("iptables")) else {
        return false;
    };
    if !rustix::process::geteuid().is_root() {
        let _: Option<()> = skip("root, for network namespaces");
        return false;
    }
    let mut command = Command::new(unshare);
    command.args(["--net", "--mount"]).arg(std::env::current_exe().unwrap());
    command.args([&format!("faults::{test}"), "--exact", "--nocapture"]);
    let output = command.env("RUNNEL_NAMESPACE", "1").output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}\n{}", said[0], said[1]);
    assert!(said[0].contains("1 passed"), "{}", said[0]);
    false
}

fn run(program: &str, args: &str) {
    let done = Command::new(program).args(args.split(' ')).status().unwrap();
    assert!(done.success(), "{program} {args}");
}

/// A server with a port for encoders, its own, and one for edges.
fn with_two_ports() -> (Server, u16) {
    let [port, second] = [free_port(), free_port()];
    let text = format!(
        "listen 127.0.0.1:{port} 127.0.0.1:{second}; daemon off; srs_log_tank console;
         vhost __defaultVhost__ {{ }}"
    );
    (Server::with_file(port, &text), second)
}

/// Descriptors that a server has open.
fn descriptors(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

#[test]
fn an_origin_that_cannot_be_reached_any_more_is_left() {
    if !inside("an_origin_that_cannot_be_reached_any_more_is_left") {
        return;
    }
    let [(one, first), (two, second)] = [(); 2].map(|()| with_two_ports());
    let _encoders = [Encoder::start(&one, "s"), Encoder::start(&two, "s")];
    let edge = edge(&[first, second], "");
    let mut player = Peer::play(&edge, "s");
    watch(&mut player, Duration::from_secs(1));
    // The edge's packets, and those of the origin to it, are lost.
    for direction in ["dport", "sport"] {
        run("iptables", &format!("-A INPUT -p tcp --{direction} {first} -j DROP"));
    }
    let (longest, packets) = gap(&mut player, Duration::from_secs(7));
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    assert_rising(&packets, Some(250));
    edge.line("silent, no data");
    // Both are away, and come back.
    for direction in ["dport", "sport"] {
        run("iptables", &format!("-A INPUT -p tcp --{direction} {second} -j DROP"));
    }
    edge.line("timed out after 3 s");
    run("iptables", "-F INPUT");
    let (_, packets) = gap(&mut player, Duration::from_secs(12));
    assert!(packets.len() > 100, "{} packets", packets.len());
    assert_rising(&packets, Some(250));
    assert!(edge.log.all().len() < 60, "the log is a screen or two");
}

#[test]
fn a_link_that_loses_a_tenth_and_is_slow_still_carries_the_stream() {
    if !inside("a_link_that_loses_a_tenth_and_is_slow_still_carries_the_stream") {
        return;
    }
    let (origin, port) = with_two_ports();
    let _encoder = Encoder::start(&origin, "s");
    let slow = delay(port, Duration::from_millis(150));
    for direction in ["dport", "sport"] {
        let lose = "-m statistic --mode random --probability 0.1 -j DROP";
        run("iptables", &format!("-A INPUT -p tcp --{direction} {port} {lose}"));
        run("iptables", &format!("-A INPUT -p tcp --{direction} {slow} {lose}"));
    }
    let edge = edge(&[slow], "");
    let mut player = Peer::play(&edge, "s");
    player.packets(3);
    let (longest, packets) = gap(&mut player, Duration::from_secs(20));
    assert!(longest < Duration::from_secs(6), "{longest:?}");
    assert!(packets.len() > 500, "{} packets of 1100", packets.len());
    assert_rising(&packets, None);
}

/// A port behind which `port` is, everything so much later each way. No tc: few kernels of
/// containers have netem.
fn delay(port: u16, by: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            for (from, to) in [(&client, &server), (&server, &client)] {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                let (sender, receiver) = channel::<(Instant, Vec<u8>)>();
                thread::spawn(move || {
                    let mut buffer = [0; 16384];
                    while let Ok(n @ 1..) = from.read(&mut buffer) {
                        if sender.send((Instant::now() + by, buffer[..n].to_vec())).is_err() {
                            return;
                        }
                    }
                });
                thread::spawn(move || {
                    for (due, bytes) in receiver {
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        if to.write_all(&bytes).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    own
}

#[test]
fn names_that_fail_flap_or_lead_nowhere_are_asked_for_again() {
    if !inside("names_that_fail_flap_or_lead_nowhere_are_asked_for_again") {
        return;
    }
    let names = Names::start();
    let origin = Server::start();
    let encoder = Encoder::start(&origin, "s");
    let edge = Server::with(&format!(
        "vhost plain {{ mode remote; origin origin.test:{0}; vhost __defaultVhost__; }}
         vhost service {{ mode remote; origin srv:_rtmp._tcp.origin.test; vhost __defaultVhost__; }}",
        origin.port
    ));
    for (does, told) in [
        (Name::Fails, "the name server"),
        (Name::Nothing, "has no address"),
        (Name::Wrong, "refused"),
    ] {
        names.set(does, origin.port);
        let mut player = Peer::with(&edge, Config::new("rtmp://plain/live", "live", play("s")));
        player.started();
        eventually(told, SOON, || {
            edge.log.all().iter().any(|l| l.contains("again in") && l.contains(told))
        });
        names.set(Name::Right, origin.port);
        player.packets(20);
        // It is gone again; who has the stream does not care.
        names.set(Name::Fails, origin.port);
        player.packets(20);
    }
    names.set(Name::Right, origin.port);
    let mut player = Peer::with(&edge, Config::new("rtmp://service/live", "live", play("s")));
    player.packets(20);
    drop(encoder);
}

/// What the name server answers.
#[derive(Clone, Copy, PartialEq)]
enum Name {
    Fails,
    Nothing,
    /// An address at which nobody listens.
    Wrong,
    Right,
}

/// A name server at 127.0.0.1:53 that knows one name and one service.
struct Names(Arc<Mutex<(Name, u16)>>);

impl Names {
    fn start() -> Self {
        let conf = std::env::temp_dir().join(format!("runnel-resolv-{}", std::process::id()));
        fs::write(&conf, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").unwrap();
        run("mount", &format!("--bind {} /etc/resolv.conf", conf.display()));
        fs::remove_file(&conf).unwrap();
        let state = Arc::new(Mutex::new((Name::Fails, 0)));
        let (socket, shared) = (UdpSocket::bind("127.0.0.1:53").unwrap(), state.clone());
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((len, client)) = socket.recv_from(&mut query) {
                let (does, port) = *shared.lock().unwrap();
                let _ = socket.send_to(&answer(&query[..len], does, port), client);
            }
        });
        Self(state)
    }

    fn set(&self, does: Name, port: u16) {
        *self.0.lock().unwrap() = (does, port);
    }
}

/// RFC 1035 §4.1, RFC 2782.
fn answer(query: &[u8], does: Name, port: u16) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|b| *b == 0).unwrap() + 5;
    let kind = u16::from_be_bytes([query[end - 4], query[end - 3]]);
    let mut record = Vec::new();
    match (does, kind) {
        (Name::Right, 1) => record.extend([127, 0, 0, 1]),
        (Name::Wrong, 1) => record.extend([127, 9, 9, 9]),
        (Name::Right | Name::Wrong, 33) => {
            record.extend([0, 1, 0, 1]);
            record.extend(port.to_be_bytes());
            record.extend(b"\x06origin\x04test\0");
        }
        _ => {}
    }
    let count = u8::from(!record.is_empty());
    let code = if does == Name::Fails { 2 } else { 0 };
    let mut out = vec![query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0];
    out.extend(&query[12..end]);
    if count > 0 {
        out.extend([0xc0, 12, kind.to_be_bytes()[0], kind.to_be_bytes()[1], 0, 1, 0, 0, 0, 0]);
        out.extend((record.len() as u16).to_be_bytes());
        out.extend(record);
    }
    out
}

#[test]
fn other_data_and_other_codecs_are_a_seam_and_nothing_else() {
    // A second and a half of the test stream; then sound alone, then pictures of another size.
    let first: Vec<_> = media::demo().into_iter().filter(|p| p.dts < 1500).collect();
    let sound: Vec<_> = first.iter().filter(|p| p.kind == Kind::Audio).cloned().collect();
    let other: Vec<_> = first
        .iter()
        .filter(|p| p.kind == Kind::Video)
        .map(|p| {
            // HEVC by its number of the enhanced header; nobody looks into the frames.
            let start = if p.header {
                0x90
            } else if p.key {
                0x91
            } else {
                0xa1
            };
            let mut payload = vec![start, b'a', b'v', b'0', b'1'];
            payload.extend([0x81, 0, 0xc, 0, 9, 9, 9, 9]);
            Packet::new(Kind::Video, p.dts, payload.into())
        })
        .collect();
    let origins = [first, sound, other].map(|packets| Origin::start(Does::Plays(packets)));
    let edge = edge(&origins.each_ref().map(|origin| origin.port), "publish { parse_sps off; }");
    let mut player = Peer::play(&edge, "s");
    let (longest, packets) = gap(&mut player, Duration::from_secs(12));
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    assert_rising(&packets, None);
    let video = packets.iter().filter(|p| p.kind == Kind::Video);
    let codecs: Vec<_> = video.map(|p| (p.payload[0] & 0x80, p.header)).collect();
    let change = codecs.iter().position(|codec| codec.0 == 0x80).expect("the other codec");
    assert!(codecs[change].1, "its header goes first");
    assert_eq!(edge.count("panicked"), 0);
}

#[test]
fn fifty_edges_of_an_origin_that_start_at_once_come_and_come_back() {
    let port = free_port();
    let text = format!(
        "listen 127.0.0.1:{port}; daemon off; srs_log_tank console; vhost __defaultVhost__ {{ }}"
    );
    let mut origin = Server::with_file(port, &text);
    let vhosts: String = (0..50)
        .map(|i| {
            format!(
                "vhost v{i} {{ mode remote; origin 127.0.0.1:{port}; vhost __defaultVhost__; }}\n"
            )
        })
        .collect();
    let edge = Server::with(&vhosts);
    let before = descriptors(&edge);
    let encoder = Encoder::start(&origin, "s");
    let mut players: Vec<_> = (0..50)
        .map(|i| {
            let config = Config::new(format!("rtmp://v{i}/live"), "live", play("s"));
            let mut player = Peer::with(&edge, config);
            player.started();
            player
        })
        .collect();
    for player in &mut players {
        player.packets(10);
    }
    assert_eq!(origin.count("type=Play"), 50, "one each");
    origin.signal(Signal::KILL);
    origin.wait(SOON).unwrap();
    drop((origin, encoder));
    let origin = Server::with_file(port, &text);
    let _encoder = Encoder::start(&origin, "s");
    let back = Instant::now();
    for player in &mut players {
        // What it had, then the new.
        let packets = watch(player, Duration::from_millis(10));
        assert_rising(&packets, None);
    }
    eventually("all are back", SOON, || origin.count("type=Play") >= 50);
    assert!(back.elapsed() < Duration::from_secs(10));
    for player in &mut players {
        player.packets(10);
    }
    drop(players);
    // The watch of the file and a look at /proc may have begun after the count.
    eventually("nothing is left", SOON, || descriptors(&edge) <= before + 2);
    assert_eq!(edge.count("is not fetched any more"), 50);
}
