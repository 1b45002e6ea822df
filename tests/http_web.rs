//! The page at `/` and the list of streams that it shows.

#![cfg(feature = "web")]

mod common;

use common::client::Peer;
use common::http::{REMUX, get, server};
use common::media::demo;
use common::{run, tool};
use std::fs;

#[test]
fn the_page_and_what_it_needs_are_served() {
    let (server, http) = server(REMUX);
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/runnel.css", "text/css"),
        ("/runnel.js", "text/javascript"),
        ("/player.js", "text/javascript"),
        ("/runnel.svg", "image/svg+xml"),
        ("/streams.json", "application/json"),
    ] {
        let (head, body) = get(http, path, "");
        assert_eq!((head.status, head.get("Content-Type")), (200, Some(content_type)), "{path}");
        assert!(head.get("Content-Security-Policy").unwrap().starts_with("default-src 'self'"));
        assert!(!body.is_empty());
    }
    // Who has a page of his own, and what serves it, sees that.
    fs::create_dir_all(server.dir.join("www")).unwrap();
    fs::write(server.dir.join("www/index.html"), "mine").unwrap();
    assert_eq!(get(http, "/", "").1 == b"mine", cfg!(feature = "static-files"));
}

#[test]
fn curl_is_told_who_serves() {
    let Some(curl) = tool("curl") else { return };
    let (_server, http) = server(REMUX);
    let head = run(&curl, ["-sI", &format!("http://127.0.0.1:{http}/")]);
    let mut lines = head.lines().map(str::trim_end);
    assert_eq!(lines.next(), Some("HTTP/1.1 200 OK"));
    let name = lines.find_map(|line| line.strip_prefix("Server: ")).unwrap();
    assert_eq!(name, concat!("runnel/", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_list_tells_what_is_live() {
    let (server, http) = server(REMUX);
    let list = || String::from_utf8(get(http, "/streams.json", "").1).unwrap();
    assert_eq!(list(), format!("{{\"rtmp\":{},\"count\":0,\"streams\":[]}}", server.port));
    let mut publisher = Peer::publish(&server, "a\"<b>");
    demo().iter().filter(|p| !p.header || p.dts == 0).take(60).for_each(|p| publisher.send(p));
    server.line("audio sh");
    let list = list();
    for part in [
        "\"app\":\"live\",\"stream\":\"a\\\"\\u003cb>\"",
        "\"video\":\"H264\",\"audio\":\"AAC\",\"width\":320,\"height\":180",
        "\"viewers\":0",
    ] {
        assert!(list.contains(part), "{part} in {list}");
    }
    for part in ["\"flv\":\"/live/a%22%3Cb%3E.flv\"", "\"aac\":\"/live/a%22%3Cb%3E.aac\""] {
        assert_eq!(list.contains(part), cfg!(feature = "remux"), "{part} in {list}");
    }
    assert!(!list.contains("mp3"));
}
