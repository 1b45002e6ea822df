//! The sample configurations of edges, origins and forwards, run as they are but for the ports.

use crate::common::client::{Peer, play};
use crate::common::http::Http;
use crate::common::{RUNNEL, Server, TempDir, free_port};
use crate::peers::{Does, Encoder, Origin};
use runnel::proto::rtmp::client::{Config, Event};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A server with the sample `name`, which listens at `listen`, with other `ports`.
fn sample(name: &str, listen: u16, ports: &[(&str, String)]) -> Server {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("conf/{name}.conf"));
    let (port, dir) = (free_port(), TempDir::new());
    let mut text = fs::read_to_string(path).unwrap();
    let own = (format!("listen {listen};"), format!("listen 127.0.0.1:{port};"));
    let others = ports.iter().map(|(from, to)| ((*from).to_owned(), to.clone()));
    for (from, to) in std::iter::once(own).chain(others) {
        assert!(text.contains(&from), "{name}: {from}");
        text = text.replace(&from, &to);
    }
    fs::write(dir.join("test.conf"), text).unwrap();
    Server::spawn(Command::new(RUNNEL).args(["-c", "test.conf"]), port, dir)
}

fn at(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

#[test]
fn edges_play_what_the_origin_has() {
    let origin = sample("origin", 19350, &[]);
    let _encoder = Encoder::start(&origin, "livestream");
    for (name, listen) in [("edge", 1935), ("edge2", 1936)] {
        let edge = sample(name, listen, &[("127.0.0.1:19350", at(origin.port))]);
        assert!(Peer::play(&edge, "livestream").packets(40).iter().any(|p| p.key));
        let _encoder = Encoder::start(&edge, name);
        assert!(Peer::play(&origin, name).packets(40).iter().any(|p| p.key));
    }
}

#[test]
fn the_edge_asks_the_origin_about_tokens() {
    let origin = Origin::start(Does::Checks);
    let edge = sample("edge.token.traverse", 1935, &[("127.0.0.1:19350", at(origin.port))]);
    for (token, let_in) in [("bad", false), ("ok", true)] {
        let url = format!("rtmp://127.0.0.1:{}/live?token={token}", edge.port);
        let mut peer = Peer::with(&edge, Config::new(url, "live", play("s")));
        let answer = peer.wait_for(|e| matches!(e, Event::Started | Event::Refused(_)));
        assert_eq!(matches!(answer, Some(Event::Started)), let_in, "{token}");
    }
}

#[test]
fn the_edge_calls_another_vhost_of_the_origin() {
    let there = "transform.srs.edge.com";
    let origin = Server::with(&format!("vhost {there} {{ }}"));
    let edge = sample("transform.edge", 1935, &[("127.0.0.1:19350", at(origin.port))]);
    let _encoder = Encoder::to(&[&origin], "s", &format!("rtmp://{there}/live"), 0);
    Peer::play(&edge, "s").packets(20);
    assert!(origin.count(&format!("vhost={there}")) >= 2);
}

#[test]
fn the_slave_has_what_the_master_gets() {
    let slave = sample("forward.slave", 19350, &[]);
    let master =
        sample("forward.master", 1935, &[("127.0.0.1:19350;", format!("{};", at(slave.port)))]);
    let _encoder = Encoder::start(&master, "livestream");
    slave.line("start publish");
    assert!(Peer::play(&slave, "livestream").packets(40).iter().any(|p| p.key));
}

#[test]
fn http_flv_edges_are_one_player_each() {
    let http = free_port();
    let listen = ("listen 8080;", format!("listen 127.0.0.1:{http};"));
    let origin = sample("http.flv.live", 1935, &[listen]);
    let _encoder = Encoder::start(&origin, "livestream");
    for n in [1, 2] {
        let http = free_port();
        let edge = sample(
            &format!("http.flv.live.edge{n}"),
            19350 + n,
            &[
                (&format!("listen 808{n};"), format!("listen 127.0.0.1:{http};")),
                ("origin 127.0.0.1;", format!("origin {};", at(origin.port))),
            ],
        );
        edge.line("HTTP listens at");
        let mut players = [(); 2].map(|()| Http::connect(http));
        for player in &mut players {
            assert_eq!(player.ask("/live/livestream.flv", "").status, 200);
            assert!(player.chunks(5000).starts_with(b"FLV"));
        }
        assert_eq!(origin.count("type=Play"), usize::from(n), "one player per edge");
    }
}
