//! What clients over HTTP can do wrong, and those that are slow or stand still.

#![cfg(all(feature = "static-files", feature = "remux"))]

mod common;

use common::client::Peer;
use common::http::{Http, REMUX, get, server};
use common::media::demo;
use common::{SOON, eventually};
use runnel::media::Kind;
use std::fs;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

#[test]
fn what_is_no_request_is_refused_and_harms_nobody() {
    let (_server, http) = server(REMUX);
    for (input, status) in [
        ("nonsense\r\n\r\n", 400),
        ("GET\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("GET /live/../../x HTTP/1.1\r\n\r\n", 400),
        ("\x16\x03\x01\x02\0\x01\0\n\r\n", 400),
    ] {
        let mut client = Http::connect(http);
        client.send(input);
        let got = client.head().unwrap().status;
        assert!(got == status || got == 505 && input.contains("2.0"), "{input:?} {got}");
        assert!(client.is_closed_within(SOON), "{input:?}");
    }
    assert_eq!(get(http, "/none", "").0.status, 404);
}

#[test]
fn a_head_without_end_costs_nothing() {
    let (server, http) = server(REMUX);
    let before = server.resident();
    let mut client = Http::connect(http);
    let line = format!("X-Filler: {}\r\n", "a".repeat(64 * 1024 - 12));
    let _ = client.socket.write_all(b"GET / HTTP/1.1\r\n");
    // 100 MB, of which the server reads what fits.
    let mut sent = 0;
    while sent < 100 << 20 {
        match client.socket.write(line.as_bytes()) {
            Ok(n) => sent += n,
            Err(_) => break,
        }
    }
    assert!(sent < 20 << 20, "{sent}");
    assert!(server.resident() < before + 2048);
    assert_eq!(get(http, "/none", "").0.status, 404);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let (_server, http) = server(REMUX);
    let mut slow = Http::connect(http);
    slow.socket.set_nodelay(true).unwrap();
    for byte in b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n" {
        slow.send([*byte]);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(slow.head().unwrap().status, 404);
}

#[test]
fn clients_that_do_not_finish_their_request_are_cut_off() {
    let (server, http) = server(REMUX);
    let start = Instant::now();
    let mut silent = Http::connect(http);
    let mut slow = Http::connect(http);
    slow.send("GET / HT");
    std::thread::sleep(Duration::from_secs(2));
    let _ = slow.socket.write_all(b"TP/1.1\r\nX: y\r\n");
    assert!(silent.is_closed_within(Duration::from_secs(10)));
    assert!(slow.is_closed_within(Duration::from_secs(10)));
    let took = start.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(9), "{took:?}");
    server.line("timeout, no request");
    server.line("timeout, the request does not end");
}

#[test]
fn readers_that_stand_still_hold_up_nobody() {
    let (server, http) = server(REMUX);
    fs::create_dir_all(server.dir.join("www")).unwrap();
    fs::write(server.dir.join("www/big.bin"), vec![7; 50 << 20]).unwrap();
    let mut stuck: Vec<Http> = (0..20)
        .map(|_| {
            let mut client = Http::connect(http);
            assert_eq!(client.ask("/big.bin", "").status, 200);
            client
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let resident = server.resident();
    let (head, body) = get(http, "/big.bin", "Range: bytes=1000000-1999999\r\n");
    assert_eq!((head.status, body.len()), (206, 1_000_000));
    assert!(server.resident() < resident + 4096, "files are not kept in memory");
    // One that reads slowly gets all of it.
    let mut client = stuck.pop().unwrap();
    let mut got = 0;
    let mut buffer = vec![0; 1 << 20];
    while got < 10 << 20 {
        let n = client.socket.read(&mut buffer).unwrap();
        assert!(n > 0);
        got += n;
        std::thread::sleep(Duration::from_millis(1));
    }
    // All gone at once.
    drop((client, stuck));
    eventually("the files are closed", SOON, || {
        fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count() < 25
    });
}

#[test]
fn a_stuck_player_does_not_hold_up_the_others() {
    let (server, http) = server(&format!("{REMUX} min_latency on;"));
    let mut publisher = Peer::publish(&server, "s");
    let packets = demo();
    packets.iter().filter(|p| p.header).for_each(|p| publisher.send(p));
    let mut stuck = Http::connect(http);
    stuck.ask("/live/s.flv", "");
    let mut stuck_ts = Http::connect(http);
    stuck_ts.ask("/live/s.ts", "");
    let mut player = Http::connect(http);
    player.ask("/live/s.ts", "");
    let media: Vec<_> = packets.iter().filter(|p| p.kind != Kind::Data && !p.header).collect();
    let reader = std::thread::spawn(move || {
        let mut got = 0;
        while let Some(chunk) = player.chunk() {
            got += chunk.len();
        }
        got
    });
    // Some 8 MB, more than sockets hold.
    for round in 0..60 {
        for packet in &media {
            let mut packet = (*packet).clone();
            packet.dts += round * 8000;
            publisher.send(&packet);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(500));
    drop(publisher);
    let got = reader.join().unwrap();
    assert!(got > 6_000_000, "{got}");
}

#[test]
fn a_pipeline_of_requests_behind_a_live_stream_is_ignored() {
    let (server, http) = server(REMUX);
    let mut client = Http::connect(http);
    client.send("GET /live/s.flv HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    for _ in 0..100 {
        client
            .send("GET /x HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n");
    }
    assert_eq!(client.chunk().unwrap().len(), 13);
    client.shut();
    // Whoever hangs up is gone, though there is no stream that would tell.
    server.line("http: stop play");
}
