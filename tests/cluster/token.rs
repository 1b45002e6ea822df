//! What a client says of itself when it connects to an edge reaches the origin.

use crate::common::client::{Peer, play, publish};
use crate::common::raw::{Raw, values};
use crate::common::{SOON, Server, eventually, http};
use crate::peers::{Does, Encoder, Hooks, Origin, edge};
use runnel::proto::amf0::{Object, Value};
use runnel::proto::rtmp::client::{Config, Event, Role};

const PAGE: &str = "http://www.example.com/page.html";
const PLAYER: &str = "http://www.example.com/player.swf";

/// Who comes from a page, with `token` in the url and in what it adds to connect.
fn caller(server: &Server, token: &str, role: Role) -> Config {
    let url = format!("{}?token={token}", server.tc_url());
    Config {
        page_url: PAGE.into(),
        swf_url: PLAYER.into(),
        args: Some(Object::from_iter([("token", token), ("srs_version", "0.0.0")])),
        ..Config::new(url, "live", role)
    }
}

#[cfg(feature = "hooks")]
#[test]
fn the_hooks_of_the_origin_see_what_the_player_of_an_edge_said() {
    let hooks = Hooks::start();
    let asks = hooks.asks(&["on_connect", "on_play"]);
    let origin = Server::with(&format!("vhost __defaultVhost__ {{ {asks} }}"));
    let edge = edge(&[origin.port], "token_traverse on;");
    let mut bad = Peer::with(&edge, caller(&edge, "bad", play("s")));
    let answer = bad.wait_for(|e| matches!(e, Event::Connected(_) | Event::Refused(_)));
    assert!(matches!(answer, Some(Event::Refused(_))), "{answer:?}");
    assert!(bad.is_closed_within(SOON));
    assert_eq!(origin.count("type=Play"), 0);
    let mut good = Peer::with(&edge, caller(&edge, "ok", play("s")));
    good.started();
    eventually("the origin is asked to play", SOON, || hooks.of("on_play").len() == 1);
    let asked = hooks.of("on_connect");
    // Once about each client, once by the edge itself, which has no token of its own.
    assert_eq!(asked.len(), 3, "{asked:?}");
    for (body, url) in [(&asked[0], "live?token=bad"), (&asked[1], "live?token=ok")] {
        assert!(body.contains(url) && body.contains(PAGE), "{body}");
    }
    assert!(!asked[2].contains("token") && asked[2].contains(PAGE), "{}", asked[2]);
    assert!(hooks.of("on_play")[0].contains(PAGE));
    origin.line(&format!("pageUrl={PAGE}, swfUrl={PLAYER}"));
}

#[test]
fn who_the_origin_refuses_gets_no_result_of_connect() {
    let origin = Origin::start(Does::Checks);
    let edge = edge(&[origin.port], "token_traverse on;");
    let mut raw = Raw::new(&edge);
    let url = format!("{}?token=bad", edge.tc_url());
    raw.command(0, |w| {
        w.string("connect").number(1.0).object().key("app").string("live");
        w.key("tcUrl").string(&url).end();
    });
    while let Some(message) = raw.message(SOON) {
        if message.type_id == crate::common::raw::COMMAND {
            let name = values(&message.payload).swap_remove(0);
            assert_ne!(name, Value::String("_result".into()));
        }
    }
    edge.line("client finished");
}

#[test]
fn page_player_and_arguments_go_along_when_the_origin_is_asked_and_when_it_is_played() {
    // What the file says, and whether the argument of connect is there: when the origin is asked
    // about the client, and when it is played.
    for (more, asked, played) in [
        ("token_traverse on;", Some(true), true),
        ("", None, true),
        ("token_traverse on; debug_srs_upnode off;", Some(true), false),
        ("debug_srs_upnode off;", None, false),
    ] {
        let origin = Origin::start(Does::Silence);
        let edge = edge(&[origin.port], more);
        let mut player = Peer::with(&edge, caller(&edge, "ok", play("s")));
        player.started();
        eventually("it is played", SOON, || origin.names.lock().unwrap().len() == 1);
        let connects = origin.connects.lock().unwrap().clone();
        let want: Vec<_> = asked.into_iter().chain([played]).collect();
        assert_eq!(connects.len(), want.len(), "{more}");
        for (connect, with_args) in connects.iter().zip(want) {
            assert_eq!((&*connect.page_url, &*connect.swf_url), (PAGE, PLAYER), "{more}");
            let token = connect.args.as_ref().and_then(|args| args.str("token"));
            assert_eq!(token, with_args.then_some("ok"), "{more}");
            let version = connect.args.as_ref().and_then(|args| args.str("srs_version"));
            assert_ne!(version, Some("0.0.0"), "the client is no server");
            assert_eq!(version.is_some(), !more.contains("off"), "{more}");
        }
        // It is asked about the client with the client's url, and plays with its own.
        let urls: Vec<_> = connects.iter().map(|c| c.tc_url.contains("token=ok")).collect();
        assert_eq!(urls, if asked.is_some() { vec![true, false] } else { vec![false] }, "{more}");
    }
}

#[test]
fn a_publisher_is_passed_on_with_its_page_and_its_arguments() {
    let origin = Origin::start(Does::Takes);
    let edge = edge(&[origin.port], "");
    let mut encoder = Peer::with(&edge, caller(&edge, "ok", publish("s?key=1")));
    encoder.started();
    let connects = origin.connects.lock().unwrap().clone();
    assert_eq!(connects.len(), 1);
    assert_eq!((&*connects[0].page_url, &*connects[0].swf_url), (PAGE, PLAYER));
    assert_eq!(connects[0].args.as_ref().unwrap().str("token"), Some("ok"));
    assert_eq!(*origin.names.lock().unwrap(), ["s?key=1"]);
}

#[test]
fn arguments_that_are_too_long_are_left_out() {
    let origin = Origin::start(Does::Silence);
    let edge = edge(&[origin.port], "");
    let config = Config {
        args: Some(Object::from_iter([("token", &*"x".repeat(1100))])),
        ..Config::new(edge.tc_url(), "live", play("s"))
    };
    Peer::with(&edge, config).started();
    edge.line("the argument of connect is longer than");
    eventually("it is played", SOON, || !origin.connects.lock().unwrap().is_empty());
    let connects = origin.connects.lock().unwrap();
    assert_eq!(connects[0].args.as_ref().unwrap().str("token"), None);
}

#[cfg(feature = "remux")]
#[test]
fn the_page_of_a_player_over_http_is_told_to_the_origin() {
    let origin = Server::start();
    let _encoder = Encoder::start(&origin, "s");
    let (edge, port) = http::server(&format!(
        "{} token_traverse on; {}",
        crate::peers::cluster(&[origin.port]),
        http::REMUX
    ));
    let mut player = http::Http::connect(port);
    let head = player.ask("/live/s.flv?token=ok", &format!("Referer: {PAGE}\r\n"));
    assert_eq!(head.status, 200);
    player.chunks(1000);
    origin.line(&format!("live?token=ok, pageUrl={PAGE}"));
    assert_eq!(origin.count(&format!("pageUrl={PAGE}")), 2, "asked about, and played");
    drop(edge);
}

#[cfg(feature = "caster-flv")]
#[test]
fn the_origin_is_asked_about_what_comes_in_by_another_protocol() {
    let (origin, port) = (Origin::start(Does::Checks), crate::common::free_port());
    let edge = Server::with(&format!(
        "stream_caster {{ enabled on; caster flv; listen 127.0.0.1:{port};
             output rtmp://127.0.0.1/[app]/[stream]; }}
         vhost __defaultVhost__ {{ {} token_traverse on; }}",
        crate::peers::cluster(&[origin.port])
    ));
    edge.line("caster listens at");
    for token in ["bad", "ok"] {
        let mut http = http::Http::connect(port);
        http.send(format!(
            "POST /live/s.flv?token={token} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
        ));
        // In the end this origin takes nobody's stream.
        assert_eq!(http.head().unwrap().status, 403, "{token}");
        let urls = origin.urls.lock().unwrap().clone();
        assert!(urls.iter().any(|url| url.contains(&format!("live?token={token}"))), "{urls:?}");
    }
    assert_eq!(*origin.names.lock().unwrap(), ["s?token=ok"], "the other one got no further");
}
