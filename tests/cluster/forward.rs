//! Streams that are passed on to other servers.

use crate::common::client::{Peer, play, publish};
use crate::common::{SOON, Server, eventually, free_port};
use crate::peers::{Does, Encoder, Numbered, Origin, assert_rising, frames, number};
use runnel::media::Kind;
use runnel::proto::rtmp::client::{Config, Event};
use rustix::process::Signal;
use std::fs;
use std::time::{Duration, Instant};

fn master(forward: &str) -> Server {
    Server::with(&format!("vhost __defaultVhost__ {{ {forward} }}"))
}

#[test]
fn a_stream_goes_to_all_destinations_and_on_after_a_restart() {
    let slaves = [Server::start(), Server::start()];
    let [ref one, ref two] = slaves;
    let master = master(&format!("forward 127.0.0.1:{} 127.0.0.1:{};", one.port, two.port));
    let encoder = Encoder::start(&master, "livestream");
    for slave in &slaves {
        let packets = Peer::play(slave, "livestream").packets(60);
        assert!(packets[..3].iter().all(|p| p.header || p.kind == Kind::Data));
        assert_rising(&packets, Some(250));
        slave.line("edge-srs ip=127.0.0.1");
    }
    let [mut one, two] = slaves;
    let (port, text) = (one.port, fs::read_to_string(one.dir.join("test.conf")).unwrap());
    one.signal(Signal::KILL);
    one.wait(SOON).unwrap();
    drop(one);
    let began = Instant::now();
    let one = Server::with_file(port, &text);
    one.line("start publish");
    let mut player = Peer::play(&one, "livestream");
    let packets = player.packets(30);
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert!(packets[..3].iter().any(|p| p.header && p.kind == Kind::Video), "headers first");
    assert!(frames(&packets, Kind::Video)[0].key, "then a key frame");
    assert_eq!(two.count("stop publish"), 0);
    drop(encoder);
    let ended = Instant::now();
    one.line("stop publish");
    two.line("stop publish");
    assert!(ended.elapsed() < Duration::from_secs(1), "{:?}", ended.elapsed());
}

#[test]
fn what_would_come_back_is_refused() {
    let port = free_port();
    for (destination, name) in [
        (format!("127.0.0.1:{port}"), "s"),
        (format!("rtmp://127.0.0.1:{port}/live/[stream]_copy"), "s"),
    ] {
        let text = format!(
            "listen 127.0.0.1:{port}; daemon off; srs_log_tank console;
             vhost __defaultVhost__ {{ forward {destination}; }} vhost other {{ }}"
        );
        let server = Server::with_file(port, &text);
        let mut peer = Peer::new(&server, publish(name));
        let refused = peer.wait_for(|event| matches!(event, Event::Refused(_)));
        assert!(matches!(refused, Some(Event::Refused(_))), "{destination}");
        server.line("ret=1030");
    }
}

#[test]
fn another_vhost_of_the_same_server_is_another_place() {
    let port = free_port();
    let text = format!(
        "listen 127.0.0.1:{port}; daemon off; srs_log_tank console;
         vhost __defaultVhost__ {{ forward rtmp://127.0.0.1:{port}/live/[stream]?vhost=other; }}
         vhost other {{ }}"
    );
    let server = Server::with_file(port, &text);
    let _encoder = Encoder::start(&server, "s");
    let config = Config::new("rtmp://other/live", "live", play("s"));
    Peer::with(&server, config).packets(20);
}

#[test]
fn what_was_published_while_a_destination_was_away_reaches_it() {
    let port = free_port();
    let master = master(&format!(
        "parse_sps off; forward {{ enabled on; destination 127.0.0.1:{port}; retry 0.3; retry_max 0.3; }}"
    ).replace("parse_sps off;", "publish { parse_sps off; }"));
    let mut encoder = Numbered::new(&master);
    // Nobody is there for four seconds of the stream.
    encoder.send(100, 600, 2);
    let slave = Origin::on(port, Does::Takes);
    encoder.send(50, 600, 2);
    eventually("the frames are there", SOON, || {
        slave.taken.lock().unwrap().first().is_some_and(|p| frames(p, Kind::Video).len() >= 150)
    });
    {
        let taken = slave.taken.lock().unwrap();
        assert!(taken[0][0].header, "the header first");
        let numbers: Vec<_> = frames(&taken[0], Kind::Video).iter().map(|p| number(p)).collect();
        assert_eq!(numbers[..150], (0..150).collect::<Vec<_>>()[..], "all of it, in order");
    }
    // It goes away, and comes back.
    drop(slave);
    encoder.send(60, 600, 2);
    let slave = Origin::on(port, Does::Takes);
    encoder.send(25, 600, 2);
    let last = encoder.next - 1;
    eventually("the frames are there", SOON, || {
        let taken = slave.taken.lock().unwrap();
        taken
            .first()
            .is_some_and(|p| frames(p, Kind::Video).last().is_some_and(|p| number(p) == last))
    });
    let taken = slave.taken.lock().unwrap();
    let all = frames(&taken[0], Kind::Video);
    assert!(all[0].key && number(all[0]) <= 151, "from the key frame before: {}", number(all[0]));
    assert!(all.windows(2).all(|w| number(w[1]) == number(w[0]) + 1));
    master.line("skipped 0 packets");
}

#[test]
fn what_is_kept_for_a_destination_is_bounded() {
    for (bound, most) in [("buffer 2;", 80), ("buffer_bytes 100K;", 60)] {
        let port = free_port();
        let master = master(&format!(
            "publish {{ parse_sps off; }}
             forward {{ enabled on; destination 127.0.0.1:{port}; retry 0.3; retry_max 0.3; {bound} }}"
        ));
        let mut encoder = Numbered::new(&master);
        encoder.send(200, 2500, 4);
        let slave = Origin::on(port, Does::Takes);
        encoder.send(50, 2500, 1);
        let sent = encoder.next;
        eventually("the frames are there", SOON, || {
            let taken = slave.taken.lock().unwrap();
            taken.first().is_some_and(|p| {
                frames(p, Kind::Video).last().is_some_and(|p| number(p) + 3 >= sent)
            })
        });
        let taken = slave.taken.lock().unwrap();
        let all = frames(&taken[0], Kind::Video);
        let first = number(all[0]);
        assert!(all[0].key && first > 0, "{bound} from {first}");
        assert!(first + most >= 200, "{bound} from {first}: the oldest that fits");
        assert!(all.windows(2).all(|w| number(w[1]) == number(w[0]) + 1), "{bound}");
        let line = master.line("ms behind, skipped");
        assert!(!line.contains("skipped 0 packets"), "{line}");
    }
}

#[test]
fn one_line_passes_every_stream_on_with_its_key() {
    let upstream = Origin::start(Does::Takes);
    let master = master(&format!(
        "forward {{ enabled on; destination rtmp://127.0.0.1:{}/live2/KEY-[app]-[stream]?x=1; }}",
        upstream.port
    ));
    let _encoders = [Encoder::start(&master, "a"), Encoder::start(&master, "b")];
    eventually("both are there", SOON, || upstream.names.lock().unwrap().len() == 2);
    let mut names = upstream.names.lock().unwrap().clone();
    names.sort();
    assert_eq!(names, ["KEY-live-a?x=1", "KEY-live-b?x=1"]);
    let url = format!("rtmp://127.0.0.1:{}/live2", upstream.port);
    assert_eq!(*upstream.urls.lock().unwrap(), [url.clone(), url]);
    eventually("metadata as encoders send it", SOON, || {
        let taken = upstream.taken.lock().unwrap();
        taken
            .iter()
            .flatten()
            .any(|p| p.kind == Kind::Data && p.payload.starts_with(b"\x02\0\x0d@setDataFrame"))
    });
    assert_eq!(master.count("KEY-live"), 0, "the key is in no line of the log");
}

#[test]
fn the_parameters_of_the_publisher_go_along() {
    let upstream = Origin::start(Does::Takes);
    let master = master(&format!("forward 127.0.0.1:{};", upstream.port));
    let _peer = Peer::publish(&master, "s?token=1");
    eventually("it is there", SOON, || *upstream.names.lock().unwrap() == ["s?token=1"]);
}

#[test]
fn a_reload_begins_and_ends_forwards_of_a_live_stream() {
    let (one, two) = (Server::start(), Server::start());
    let master = master(&format!("forward 127.0.0.1:{};", one.port));
    let encoder = Encoder::start(&master, "s");
    one.line("start publish");
    let conf = master.dir.join("test.conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, text.replace(&one.port.to_string(), &two.port.to_string())).unwrap();
    master.signal(Signal::HUP);
    two.line("start publish");
    one.line("stop publish");
    let packets = Peer::play(&two, "s").packets(20);
    assert!(frames(&packets, Kind::Video)[0].key);
    fs::write(&conf, text.replace("forward ", "#")).unwrap();
    fs::write(&conf, text.replace(&format!("forward 127.0.0.1:{};", one.port), "")).unwrap();
    master.signal(Signal::HUP);
    two.line("stop publish");
    assert!(!encoder.has_ended());
}

#[test]
fn a_destination_that_takes_nothing_holds_up_nobody() {
    let dead = Origin::start(Does::Nothing);
    let alive = Server::start();
    let master = master(&format!(
        "forward 127.0.0.1:{} 127.0.0.1:{} rtmps://127.0.0.1/live/KEY;",
        dead.port, alive.port
    ));
    let _encoder = Encoder::start(&master, "s");
    let mut player = Peer::play(&master, "s");
    player.packets(40);
    Peer::play(&alive, "s").packets(40);
    master.line("silent, no handshake, again in");
    let tls = cfg!(feature = "tls");
    let why = if tls { "cannot connect to 127.0.0.1:443" } else { "TLS is not in this image" };
    let line = master.line(why);
    assert!((tls || line.contains("stunnel")) && !line.contains("KEY"), "{line}");
}
