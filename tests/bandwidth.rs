//! A vhost that measures the bandwidth of a client, with a client that speaks its protocol.

#![cfg(feature = "bandwidth")]

mod common;

use common::raw::{COMMAND, Raw, values};
use common::{SOON, Server};
use runnel::proto::amf0::{Object, Value};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

const KEY: &str = "35c9b402c12a7246868752e2878f7e0e";

/// `more` goes into `bandcheck`.
fn server(more: &str) -> Server {
    Server::with(&format!(
        "vhost __defaultVhost__ {{ }}\n\
         vhost bandcheck.srs.com {{ bandcheck {{ enabled on; key \"{KEY}\"; {more} }} }}"
    ))
}

/// Connects; what the server answers: its name, and the code of its object.
fn connect(server: &Server, key: &str, swf_url: &str) -> (Raw, String, String) {
    let mut raw = Raw::new(server);
    let tc_url = format!("rtmp://{}/app?key={key},vhost=bandcheck.srs.com", server.address());
    raw.command(0, |w| {
        w.string("connect").number(1.0).object().key("app").string("app");
        w.key("tcUrl").string(&tc_url).key("swfUrl").string(swf_url).end();
    });
    let message = raw.wait_for("an answer", |message| message.type_id == COMMAND);
    let values = values(&message.payload);
    let code = values[3].as_object().unwrap().str("code").unwrap().to_owned();
    let Value::String(name) = &values[0] else { panic!("{values:?}") };
    (raw, name.clone(), code)
}

/// Waits for a call; its object, and the bytes of the calls before it.
fn called(raw: &mut Raw, wanted: &str) -> (Object, usize) {
    let mut bytes = 0;
    loop {
        let message = raw.message(SOON).unwrap_or_else(|| panic!("no {wanted}"));
        if message.type_id != COMMAND {
            continue;
        }
        let values = values(&message.payload);
        let Value::String(name) = &values[0] else { panic!("{values:?}") };
        if name == wanted {
            return (values[3].as_object().unwrap().clone(), bytes);
        }
        assert_eq!(name, "onSrsBandCheckPlaying", "instead of {wanted}");
        bytes += message.payload.len();
    }
}

fn call(raw: &mut Raw, name: &str, keys: usize) {
    raw.command(0, |w| {
        w.string(name).number(0.0).null().object();
        for key in 0..keys {
            w.key(key.to_string()).string("what a client fills its messages with, as it likes it");
        }
        w.end();
    });
}

/// Goes through the test as a program does, with at most `kbps` up; the last figures.
fn run(raw: &mut Raw, kbps: u64) -> Object {
    let (limits, _) = called(raw, "onSrsBandCheckStartPlayBytes");
    assert_eq!(limits.number("duration_ms"), Some(3000.0));
    assert_eq!(limits.number("interval_ms"), Some(0.0));
    call(raw, "onSrsBandCheckStartingPlayBytes", 0);
    let (play, bytes) = called(raw, "onSrsBandCheckStopPlayBytes");
    let told = play.number("bytes_delta").unwrap() as usize;
    assert!(told >= bytes && told < bytes + bytes / 10 + 100, "{told} bytes, read {bytes}");
    call(raw, "onSrsBandCheckStoppedPlayBytes", 0);

    called(raw, "onSrsBandCheckStartPublishBytes");
    call(raw, "onSrsBandCheckStartingPublishBytes", 0);
    let (began, mut sent, mut keys) = (Instant::now(), 0, 1);
    while began.elapsed() < Duration::from_millis(2500) {
        call(raw, "onSrsBandCheckPublishing", keys);
        sent += 60 * keys as u64;
        keys += 2;
        while sent * 8 > kbps * began.elapsed().as_millis() as u64 {
            thread::sleep(Duration::from_millis(20));
        }
    }
    call(raw, "onSrsBandCheckStopPublishBytes", 0);
    let (publish, _) = called(raw, "onSrsBandCheckStopPublishBytes");
    assert!(publish.number("bytes_delta").unwrap() as u64 > sent / 2);
    call(raw, "onSrsBandCheckStoppedPublishBytes", 0);
    let (figures, _) = called(raw, "onSrsBandCheckFinished");
    call(raw, "finalClientPacket", 0);
    assert!(raw.message(SOON).is_none(), "the server closes");
    figures
}

#[test]
fn a_client_with_the_key_is_measured_and_then_none_for_the_interval() {
    let server = server("interval 30; limit_kbps 4000;");
    let (mut raw, name, code) = connect(&server, KEY, "");
    assert_eq!((&*name, &*code), ("_result", "NetConnection.Connect.Success"));
    let began = Instant::now();
    let figures = run(&mut raw, 2000);
    let number = |key| figures.number(key).unwrap();
    assert!(began.elapsed() >= Duration::from_secs(5));
    assert!((2000.0..4800.0).contains(&number("play_kbps")), "{figures:?}");
    assert!((1000.0..2400.0).contains(&number("publish_kbps")), "{figures:?}");
    assert!(number("end_time") >= number("start_time") + 5000.0, "{figures:?}");
    assert!((3000.0..6000.0).contains(&number("play_time")), "{figures:?}");
    let kbps = number("play_bytes") * 8.0 / number("play_time");
    assert!((kbps - number("play_kbps")).abs() < 1.0, "{figures:?}");
    assert!(server.wait_for_line("bandwidth check ok: play ", 1, SOON).is_some());

    let (mut raw, name, code) = connect(&server, KEY, "");
    assert_eq!((&*name, &*code), ("_error", "NetConnection.Connect.Rejected"));
    assert!(raw.message(SOON).is_none(), "and it is closed");
    assert!(server.wait_for_line("ret=1033", 1, SOON).is_some());
}

#[test]
fn flash_says_less_and_hears_the_same() {
    let server = server("interval 0; limit_kbps 1000;");
    let (mut raw, ..) = connect(&server, KEY, "http://127.0.0.1/player.swf");
    called(&mut raw, "onSrsBandCheckStartPlayBytes");
    call(&mut raw, "onSrsBandCheckStartingPlayBytes", 0);
    called(&mut raw, "onSrsBandCheckStopPlayBytes");
    call(&mut raw, "onSrsBandCheckStoppedPlayBytes", 0);
    called(&mut raw, "onSrsBandCheckStartPublishBytes");
    call(&mut raw, "onSrsBandCheckStartingPublishBytes", 0);
    // Says nothing more: the time is over by itself.
    called(&mut raw, "onSrsBandCheckStopPublishBytes");
    let (figures, _) = called(&mut raw, "onSrsBandCheckFinished");
    assert!(figures.number("play_kbps").unwrap() < 1300.0, "{figures:?}");
    assert_eq!(figures.number("publish_kbps"), Some(0.0));
    assert!(raw.message(SOON).is_none(), "the server closes");
}

#[test]
fn who_does_not_know_the_key_is_refused_and_streams_are_not_served() {
    let server = server("interval 0;");
    let (mut raw, name, code) = connect(&server, "guessed", "");
    assert_eq!((&*name, &*code), ("_error", "NetConnection.Connect.Rejected"));
    assert!(raw.message(SOON).is_none(), "and it is closed");
    assert!(server.wait_for_line("ret=1032", 1, SOON).is_some());

    // From the app of another vhost, by the parameters of the stream.
    let mut raw = Raw::connect(&server);
    raw.command(0, |w| {
        w.string("createStream").number(2.0).null();
    });
    raw.answer("_result", 2.0);
    raw.command(1, |w| {
        w.string("publish").number(3.0).null().string("s?vhost=bandcheck.srs.com").string("live");
    });
    raw.status("NetStream.Publish.BadName");
    assert!(server.wait_for_line("is for bandwidth checks", 1, SOON).is_some());
}

#[test]
fn a_client_that_is_silent_or_leaves_makes_room_for_the_next() {
    let server = server("interval 0; limit_kbps 100;");
    for how in ["leaves", "sends too much"] {
        let (mut raw, name, _) = connect(&server, KEY, "");
        assert_eq!(name, "_result", "before one {how}");
        called(&mut raw, "onSrsBandCheckStartPlayBytes");
        let (_, name, _) = connect(&server, KEY, "");
        assert_eq!(name, "_error", "one at a time");
        if how == "sends too much" {
            raw.send(3, COMMAND, 0, 0, &vec![2; runnel::limits::CALL_MAX + 1]);
            assert!(server.wait_for_line("131072 are allowed", 1, SOON).is_some());
        }
        drop(raw);
        let line = "client finished.";
        assert!(server.wait_for_line(line, 2, SOON).is_some(), "{how}");
    }
    let descriptors = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    assert!(descriptors < 40, "{descriptors}");
}
