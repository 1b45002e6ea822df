//! Players of an edge over HTTP.

use crate::common::http::{Http, REMUX, get};
use crate::common::{SOON, Server, eventually, free_port};
use crate::peers::{Encoder, cluster};
use std::time::{Duration, Instant};

fn edge(origin: &Server, more: &str) -> (Server, u16) {
    let http = free_port();
    let server = Server::with(&format!(
        "http_server {{ enabled on; listen 127.0.0.1:{http}; dir www; }}
         vhost __defaultVhost__ {{ {} {more} }}",
        cluster(&[origin.port])
    ));
    server.line("HTTP listens at");
    (server, http)
}

#[test]
fn a_request_has_the_stream_fetched_in_every_form() {
    let origin = Server::start();
    let _encoder = Encoder::start(&origin, "livestream");
    let (edge, http) = edge(&origin, REMUX);
    for (count, form) in ["flv", "ts", "aac"].into_iter().enumerate() {
        let mut player = Http::connect(http);
        let head = player.ask(&format!("/live/livestream.{form}"), "");
        assert_eq!(head.status, 200, "{form}");
        let bytes = player.chunks(5000);
        assert!(form != "flv" || bytes.starts_with(b"FLV\x01"));
        assert_eq!(origin.count("type=Play"), count + 1, "one player per edge");
        drop(player);
        let left = Instant::now();
        origin.line_number("stop play", count + 1);
        assert!(left.elapsed() < Duration::from_secs(1), "{form}: {:?}", left.elapsed());
    }
    assert_eq!(edge.count("edge: live"), 0);
}

#[test]
fn a_playlist_has_the_stream_fetched_as_long_as_it_is_asked_for() {
    let origin = Server::start();
    let _encoder = Encoder::start(&origin, "livestream");
    let (_edge, http) = edge(&origin, "hls { enabled on; hls_storage ram; hls_fragment 2; }");
    // It waits for the first segment.
    let (head, body) = get(http, "/live/livestream.m3u8", "");
    assert_eq!(head.status, 200);
    let text = String::from_utf8(body).unwrap();
    let uri = text.lines().find(|line| line.ends_with(".ts")).unwrap().to_owned();
    assert_eq!(get(http, &format!("/live/{uri}"), "").0.status, 200);
    eventually("it goes on", SOON, || {
        String::from_utf8(get(http, "/live/livestream.m3u8", "").1)
            .unwrap()
            .matches("#EXTINF")
            .count()
            >= 3
    });
    assert_eq!((origin.count("type=Play"), origin.count("stop play")), (1, 0));
}
