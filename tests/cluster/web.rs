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

#[cfg(feature = "api")]
#[test]
fn connections_to_other_servers_are_told_by_the_api_and_the_metrics() {
    let (origin, api, away) = (Server::start(), free_port(), free_port());
    let _encoder = Encoder::start(&origin, "s");
    let edge = Server::with(&format!(
        "http_api {{ enabled on; listen 127.0.0.1:{api}; }}
         vhost __defaultVhost__ {{ {} }}
         vhost out {{ forward 127.0.0.1:{} 127.0.0.1:{away}; }}",
        cluster(&[origin.port]),
        origin.port
    ));
    let mut player = crate::common::client::Peer::play(&edge, "s");
    player.packets(20);
    let _out = Encoder::to(&[&edge], "t", "rtmp://out/live", 0);
    let text = |path: &str| String::from_utf8(get(api, path, "").1).unwrap();
    eventually("all are told", SOON, || {
        let list = text("/api/v1/upstreams");
        list.matches("\"kind\":").count() == 3
            && list.contains("\"kind\":\"pull\"")
            && list.matches("\"connected\":true").count() == 2
            && list.contains("refused")
    });
    let metrics = text("/metrics");
    let line = format!(
        "runnel_upstream_connected{{kind=\"forward\",vhost=\"out\",app=\"live\",stream=\"t\",server=\"127.0.0.1:{away}\"}} 0"
    );
    assert!(metrics.contains(&line), "{metrics}");
    drop(player);
    eventually("the pull is gone", SOON, || !text("/api/v1/upstreams").contains("pull"));
}
