//! Where streams live, who is let in, and how many.

mod common;

use common::client::{Peer, play, publish};
use common::media::bodies;
use common::raw::Raw;
use common::{RUNNEL, SOON, Server, TempDir, eventually, free_port, media, tool};
use runnel::media::{Kind, Packet};
use runnel::proto::rtmp::client::{Config, Event};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

fn sound(number: u8) -> Packet {
    Packet::new(Kind::Audio, 0, vec![0xaf, 1, number].into())
}

/// Whether a publisher at this address is let in.
fn may_publish(server: &Server, tc_url: &str, stream: &str) -> bool {
    let mut peer = Peer::with(server, Config::new(tc_url, "live", publish(stream)));
    let event = peer.wait_for(|event| matches!(event, Event::Started | Event::Refused(_)));
    matches!(event, Some(Event::Started))
}

#[test]
fn a_vhost_is_chosen_by_parameter_or_by_host() {
    let server = Server::with("vhost a.com { enabled on; } vhost off.com { enabled off; }");
    let at = |app: &str| format!("rtmp://127.0.0.1:{}/{app}", server.port);
    assert!(may_publish(&server, &at("live?vhost=a.com"), "s1"));
    assert!(may_publish(&server, &at("live...vhost...a.com"), "s2"));
    assert!(may_publish(&server, &at("live"), "s3?vhost=a.com"));
    assert!(may_publish(&server, &format!("rtmp://a.com:{}/live", server.port), "s4"));
    assert!(may_publish(&server, &format!("rtmp://A.COM:{}/live", server.port), "s4b"));
    assert_eq!(server.count("ret=2014"), 0);
    assert!(!may_publish(&server, &at("live"), "s5"), "no vhost, and no default one");
    assert!(!may_publish(&server, &at("live?vhost=off.com"), "s6"), "one that is off");
    server.line_number("ret=2014", 2);
}

#[test]
fn the_default_vhost_serves_all_other_names() {
    let server = Server::with("vhost a.com { } vhost __defaultVhost__ { min_latency on; }");
    let at = |vhost: &str| format!("rtmp://{vhost}:{}/live", server.port);
    let mut publisher = Peer::with(&server, Config::new(at("b.com"), "live", publish("s")));
    publisher.started();
    // Every name that the default vhost serves is the same place.
    let mut same = Peer::with(&server, Config::new(at("c.com"), "live", play("s")));
    same.started();
    let mut other = Peer::with(&server, Config::new(at("a.com"), "live", play("s")));
    other.started();
    publisher.send(&sound(1));
    assert_eq!(bodies(&same.packets(1)), bodies(&[sound(1)]));
    assert_eq!(other.packet(Duration::from_millis(300)), None);
}

#[test]
fn ffmpeg_names_a_vhost_in_its_url() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let server = Server::with("vhost a.com { enabled on; }");
    let sample = media::sample(&ffmpeg);
    let url = format!("rtmp://127.0.0.1:{}/live?vhost=a.com/s", server.port);
    media::publish(&ffmpeg, &sample, &url);
    assert!(server.line("source url=").contains("source url=a.com/live/s,"));
    let refused = media::publish_with(&ffmpeg, "", &sample, "-c copy", &server.url("s")).wait(SOON);
    assert!(refused.is_some_and(|status| !status.success()), "{refused:?}");
    server.line("ret=2014");
}

#[test]
fn a_stream_from_one_port_is_played_from_another() {
    let (port, other) = (free_port(), free_port());
    let mut server = Server::with_file(
        port,
        &format!(
            "listen 127.0.0.1:{port} 127.0.0.1:{other};\n\
             daemon off; srs_log_tank console; vhost __defaultVhost__ {{ min_latency on; }}\n"
        ),
    );
    server.line_number("RTMP listens at", 2);
    let mut publisher = Peer::publish(&server, "s");
    server.port = other;
    let mut player = Peer::play(&server, "s");
    publisher.send(&sound(1));
    assert_eq!(bodies(&player.packets(1)), bodies(&[sound(1)]));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let server = Server::start();
    let dir = TempDir::new();
    let text = format!(
        "listen 127.0.0.1:{}; daemon off; srs_log_tank console; vhost __defaultVhost__ {{ }}",
        server.port
    );
    std::fs::write(dir.join("test.conf"), text).unwrap();
    let out = Command::new(RUNNEL).arg("-c").arg(dir.join("test.conf")).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success());
    assert!(said.contains(&server.port.to_string()) && said.contains("another program"), "{said}");
}

#[test]
fn a_vhost_has_a_chunk_size_of_its_own() {
    let server =
        Server::with("chunk_size 4096; vhost __defaultVhost__ { } vhost small { chunk_size 128; }");
    for (vhost, expected) in [("127.0.0.1", 4096_u32), ("small", 128)] {
        let mut raw = Raw::new(&server);
        raw.command(0, |w| {
            w.string("connect").number(1.0).object().key("app").string("live");
            w.key("tcUrl").string(&format!("rtmp://{vhost}/live")).end();
        });
        let size = raw.wait_for("chunk size", |message| message.type_id == 1);
        assert_eq!(size.payload.as_ref(), expected.to_be_bytes(), "{vhost}");
    }
    // And it is kept to: a player of each gets the same payload.
    let mut publisher = Peer::publish(&server, "s");
    let mut player = Peer::play(&server, "s");
    let long = Packet::new(Kind::Audio, 0, vec![0x2f; 10_000].into());
    publisher.send(&long);
    assert_eq!(bodies(&player.packets(1)), bodies(std::slice::from_ref(&long)));
}

#[test]
fn one_connection_over_the_bound_is_closed_at_once() {
    let port = free_port();
    let server = Server::with_file(
        port,
        &format!(
            "listen 127.0.0.1:{port}; max_connections 2; daemon off; srs_log_tank console;\n\
             vhost __defaultVhost__ {{ min_latency on; }}\n"
        ),
    );
    let mut publisher = Peer::publish(&server, "s");
    let mut player = Peer::play(&server, "s");
    for _ in 0..3 {
        let mut third = TcpStream::connect(server.address()).unwrap();
        third.set_read_timeout(Some(SOON)).unwrap();
        let mut byte = [0];
        let read = loop {
            match third.read(&mut byte) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        assert!(!matches!(read, Ok(1)), "no byte comes");
        assert!(!read.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock), "not closed");
    }
    server.line("exceed the max connections");
    publisher.send(&sound(1));
    assert_eq!(bodies(&player.packets(1)), bodies(&[sound(1)]), "the two go on");
    drop(player);
    server.line("stop play");
    server.line("client finished");
    let mut player = Peer::play(&server, "s");
    publisher.send(&sound(2));
    assert_eq!(bodies(&player.packets(1)), bodies(&[sound(2)]), "there is room again");
}

#[test]
fn security_and_refer_tell_those_that_they_refuse() {
    let server = Server::with(
        "vhost __defaultVhost__ { security { enabled on; allow play all; deny publish all; } }\n\
         vhost pages { refer { enabled on; all good.com; } }",
    );
    assert!(!may_publish(&server, &server.tc_url(), "s"));
    assert!(server.line("client refused").contains("security"));
    Peer::play(&server, "s");
    for (page, allowed) in [("http://www.good.com/x", true), ("http://bad.com/good.com", false)] {
        let tc_url = format!("rtmp://pages:{}/live", server.port);
        let config = Config { page_url: page.into(), ..Config::new(tc_url, "live", play("s")) };
        let mut peer = Peer::with(&server, config);
        let event = peer.wait_for(|e| matches!(e, Event::Started | Event::Refused(_)));
        assert_eq!(matches!(event, Some(Event::Started)), allowed, "{page}: {event:?}");
    }
    server.line("ret=2015");
}

#[test]
fn rules_for_ipv6_hold_for_clients_that_come_over_it() {
    if TcpListener::bind("[::1]:0").is_err() {
        common::skip::<()>("IPv6");
        return;
    }
    let port = free_port();
    let server = Server::with_file(
        port,
        &format!(
            "listen {port}; daemon off; srs_log_tank console;\n\
             vhost a {{ security {{ enabled on; allow publish ::/64; }} }}\n\
             vhost b {{ security {{ enabled on; allow publish all; deny publish ::1; }} }}\n\
             vhost c {{ security {{ enabled on; allow publish 127.0.0.0/8; allow publish 2001:db8::/32; }} }}\n\
             vhost d {{ security {{ enabled on; }} }}\n"
        ),
    );
    let may = |vhost: &str, ip: &str| {
        let socket = TcpStream::connect((ip, port)).unwrap();
        let config = Config::new(format!("rtmp://{vhost}/live"), "live", publish("s"));
        let mut peer = Peer::over(socket, config);
        let event = peer.wait_for(|e| matches!(e, Event::Started | Event::Refused(_)));
        drop(peer);
        matches!(event, Some(Event::Started))
    };
    let cases = [("a", true, false), ("b", false, true), ("c", false, true), ("d", false, false)];
    for (vhost, over_v6, over_v4) in cases {
        assert_eq!(may(vhost, "::1"), over_v6, "{vhost}");
        eventually("it left", SOON, || {
            server.count("client finished") >= server.count("RTMP client ip=")
        });
        assert_eq!(may(vhost, "127.0.0.1"), over_v4, "{vhost}");
    }
}
