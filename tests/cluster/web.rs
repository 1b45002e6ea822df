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
        // Longer than who only said that he will play has it fetched.
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(1500) {
            player.chunk().expect("it goes on");
        }
        assert_eq!(origin.count("type=Play"), count + 1, "one player per edge");
        assert_eq!(origin.count("stop play"), count, "{form}: it is still fetched");
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

/// An edge with RTMP and HTTP, of the server at `origin`.
#[cfg(feature = "remux")]
fn level(origin: u16) -> (Server, u16) {
    crate::common::http::server(&format!("{} {REMUX}", cluster(&[origin])))
}

#[cfg(feature = "remux")]
#[test]
fn an_edge_of_an_edge_has_the_stream_over_rtmp_and_http_and_each_level_is_one_player() {
    use crate::common::client::Peer;
    use runnel::media::Kind;

    let origin = Server::start();
    let (middle, middle_http) = level(origin.port);
    let ends = [level(middle.port), level(middle.port)];
    // Nobody publishes yet: the request waits.
    let mut early = Http::connect(ends[0].1);
    early.send("GET /live/s.flv HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.line("type=Play, stream_name=s");
    let encoder = Encoder::start(&origin, "s");
    assert_eq!(early.head().unwrap().status, 200);
    assert!(early.chunks(5000).starts_with(b"FLV"));
    for (server, http) in &ends {
        let mut rtmp = Peer::play(server, "s");
        let packets = rtmp.packets(40);
        assert!(packets.iter().any(|p| p.key) && packets.iter().any(|p| p.kind == Kind::Audio));
        crate::peers::assert_rising(&packets, Some(250));
        let mut flv = Http::connect(*http);
        assert_eq!(flv.ask("/live/s.flv", "").status, 200);
        assert!(flv.chunks(5000).starts_with(b"FLV"));
    }
    let mut direct = Http::connect(middle_http);
    assert_eq!(direct.ask("/live/s.flv", "").status, 200);
    direct.chunks(1000);
    assert_eq!(origin.count("type=Play"), 1, "the edge in the middle");
    assert_eq!(middle.count("type=Play"), 2, "one for each edge behind it");
    // The last player leaves, and so do all levels.
    drop((early, direct));
    let left = Instant::now();
    origin.line("stop play");
    assert!(left.elapsed() < Duration::from_secs(2), "{:?}", left.elapsed());
    drop(encoder);
    // Publishers go the other way.
    let _encoder = Encoder::start(&ends[0].0, "up");
    assert!(Peer::play(&origin, "up").packets(40).iter().any(|p| p.key));
    assert!(Peer::play(&ends[1].0, "up").packets(40).iter().any(|p| p.key));
}

#[cfg(feature = "api")]
#[test]
fn no_two_series_of_metrics_have_the_same_labels() {
    use crate::peers::{Does, Origin};
    use std::collections::HashSet;

    let (slave, silent, api) = (Server::start(), Origin::start(Does::Nothing), free_port());
    let (to, slow) = (format!("127.0.0.1:{}", slave.port), format!("127.0.0.1:{}", silent.port));
    let text = format!(
        "http_api {{ enabled on; listen 127.0.0.1:{api}; }}
         vhost a {{ forward {to} {to} rtmp://{to}/live/KEY1 rtmp://{to}/live/KEY2?x=1 {slow}; }}
         vhost b {{ forward {to}; }}"
    );
    let master = Server::with(&text);
    let unique = || {
        let page = String::from_utf8(get(api, "/metrics", "").1).unwrap();
        let mut seen = HashSet::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (series, _) = line.rsplit_once(' ').unwrap();
            assert!(seen.insert(series.to_owned()), "{series} is there twice");
        }
        page
    };
    // One after the other: what is left of a stream is on its way when the next one comes.
    for _ in 0..3 {
        let _out = Encoder::to(&[&master], "s", "rtmp://a/live", 0);
        unique();
        std::thread::sleep(Duration::from_millis(300));
        unique();
    }
    let _out = ["a", "b"].map(|v| Encoder::to(&[&master], "s", &format!("rtmp://{v}/live"), 0));
    let server = |vhost: &str, name: &str, value: u8| {
        format!(
            "runnel_upstream_connected{{kind=\"forward\",vhost=\"{vhost}\",app=\"live\",\
             stream=\"s\",server=\"{name}\"}} {value}"
        )
    };
    let second = format!("{to}#2");
    let third = format!("{to}#3");
    eventually("each destination is told once", SOON, || {
        let page = unique();
        [
            server("a", &to, 1),
            server("a", &second, 1),
            server("a", &third, 1),
            server("a", &slow, 0),
            server("b", &to, 0),
        ]
        .iter()
        .all(|line| page.contains(line))
    });
    master.line("is there twice, once is enough");
    assert_eq!(master.count("KEY"), 0, "keys are in no line of the log");
}
