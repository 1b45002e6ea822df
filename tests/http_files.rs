//! Files over HTTP: what may be asked for, what is kept from clients, recordings.

#![cfg(feature = "static-files")]

mod common;

use common::http::{Http, get, server, server_with};
use common::media::{flv_packets, sample};
use common::{Server, TempDir, free_port, run, tool};
use runnel::media::Kind;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// A server with a few files in its directory.
fn with_files() -> (Server, u16) {
    let (server, http) = server("");
    let www = server.dir.join("www");
    fs::create_dir_all(www.join("sub")).unwrap();
    fs::write(www.join("index.html"), "front").unwrap();
    fs::write(www.join("sub/index.html"), "below").unwrap();
    fs::write(www.join("a b.txt"), "0123456789").unwrap();
    fs::write(www.join("x.mp4"), "0123456789").unwrap();
    fs::write(www.join("x.m3u8"), "#EXTM3U").unwrap();
    fs::write(www.join(".hidden"), "hidden").unwrap();
    fs::write(server.dir.join("secret"), "secret").unwrap();
    symlink("../secret", www.join("out")).unwrap();
    symlink("/etc/passwd", www.join("passwd")).unwrap();
    symlink("..", www.join("up")).unwrap();
    (server, http)
}

fn text(http: u16, path: &str, lines: &str) -> (u16, String) {
    let (head, body) = get(http, path, lines);
    (head.status, String::from_utf8_lossy(&body).into_owned())
}

#[test]
fn files_directories_and_nothing() {
    let (_server, http) = with_files();
    assert_eq!(text(http, "/", ""), (200, "front".into()));
    assert_eq!(text(http, "/sub/", ""), (200, "below".into()));
    assert_eq!(text(http, "/a%20b.txt", ""), (200, "0123456789".into()));
    assert_eq!(text(http, "/none", ""), (404, "Not Found".into()));
    assert_eq!(text(http, "/index.html/x", "").0, 404);
    let (head, _) = get(http, "/sub?q=1", "");
    assert_eq!((head.status, head.get("Location")), (302, Some("/sub/?q=1")));
    let (head, _) = get(http, "/x.m3u8", "");
    assert_eq!(head.get("Content-Type"), Some("application/vnd.apple.mpegurl"));
    assert_eq!(head.get("Cache-Control"), Some("no-cache"));
}

#[test]
fn nothing_outside_the_directory_is_given_away() {
    let (_server, http) = with_files();
    for path in ["/out", "/passwd", "/up/secret", "/.hidden", "/sub/.././../secret"] {
        let (status, body) = text(http, path, "");
        assert!(status == 404 || status == 400, "{path} {status} {body}");
    }
    for path in ["/../secret", "/%2e%2e/secret", "/..%2fsecret", "/x%00.mp4", "/%ff"] {
        assert_eq!(text(http, path, "").0, 400, "{path}");
    }
    assert_eq!(text(http, &format!("/{}", "n".repeat(4096)), "").0, 414);
    assert_eq!(text(http, &format!("/{}", "n".repeat(1024)), "").0, 404, "too long for a file");
}

#[test]
fn an_app_of_android_serves_files_too() {
    let http = free_port();
    let conf = format!(
        "http_server {{ enabled on; listen 127.0.0.1:{http}; dir www; }} vhost __defaultVhost__ {{ }}"
    );
    let Some(server) = Server::in_an_app_of_android(&conf, "openat2") else { return };
    server.line("HTTP listens at");
    fs::create_dir_all(server.dir.join("www/sub")).unwrap();
    fs::write(server.dir.join("www/sub/file.txt"), "file").unwrap();
    fs::write(server.dir.join("secret"), "secret").unwrap();
    symlink("../secret", server.dir.join("www/out")).unwrap();
    assert_eq!(text(http, "/sub/file.txt", ""), (200, "file".into()));
    assert_eq!(text(http, "/out", "").0, 404);
    assert_eq!(text(http, "/none", "").0, 404);
}

#[test]
fn parts_of_files_are_sent() {
    let (_server, http) = with_files();
    let (head, body) = get(http, "/x.mp4", "Range: bytes=2-4\r\n");
    assert_eq!((head.status, body.as_slice()), (206, b"234".as_slice()));
    assert_eq!(head.get("Content-Range"), Some("bytes 2-4/10"));
    for query in ["range", "bytes"] {
        let (head, body) = get(http, &format!("/x.mp4?{query}=7-"), "");
        assert_eq!((head.status, body.as_slice()), (206, b"789".as_slice()));
    }
    let (head, _) = get(http, "/x.mp4", "Range: bytes=10-\r\n");
    assert_eq!((head.status, head.get("Content-Range")), (416, Some("bytes */10")));
    assert_eq!(text(http, "/x.mp4", "Range: bytes=1-1\r\nIf-Range: \"other\"\r\n").0, 200);
}

#[test]
fn a_file_that_the_client_has_is_not_sent_again() {
    let (_server, http) = with_files();
    let (head, _) = get(http, "/x.mp4", "");
    let (tag, date) = (head.get("ETag").unwrap(), head.get("Last-Modified").unwrap());
    assert_eq!(text(http, "/x.mp4", &format!("If-None-Match: W/{tag}\r\n")).0, 304);
    assert_eq!(text(http, "/x.mp4", &format!("If-Modified-Since: {date}\r\n")).0, 304);
    assert_eq!(text(http, "/x.mp4", "If-None-Match: \"x\"\r\n").0, 200);
}

#[test]
fn a_connection_serves_many_requests() {
    let (_server, http) = with_files();
    let mut client = Http::connect(http);
    client.send(
        "GET / HTTP/1.1\r\n\r\nHEAD /x.mp4 HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
         GET /sub/ HTTP/1.1\r\n\r\nGET /none HTTP/1.0\r\n\r\n",
    );
    let head = client.head().unwrap();
    assert_eq!((head.status, client.body(&head)), (200, b"front".to_vec()));
    let head = client.head().unwrap();
    assert_eq!((head.status, head.get("Content-Length")), (200, Some("10")));
    let head = client.head().unwrap();
    assert_eq!(head.status, 405);
    client.body(&head);
    let head = client.head().unwrap();
    assert_eq!(client.body(&head), b"below".to_vec());
    let head = client.head().unwrap();
    assert_eq!((head.status, head.get("Connection")), (404, Some("close")));
    client.body(&head);
    assert!(client.head().is_none());
}

#[test]
fn vhosts_serve_directories_of_their_own() {
    let (server, http) = server_with(
        "vhost a.com { http_static { enabled on; mount [vhost]/files; dir other; } }
         vhost __defaultVhost__ { http_static { enabled on; mount [vhost]/deep/; dir other; } }",
        "",
    );
    fs::create_dir_all(server.dir.join("other")).unwrap();
    fs::write(server.dir.join("other/f.txt"), "f").unwrap();
    assert_eq!(text(http, "/deep/f.txt", ""), (200, "f".into()));
    assert_eq!(text(http, "/files/f.txt", "").0, 404);
    let ask = |path: &str| {
        let mut client = Http::connect(http);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.com:80\r\n\r\n"));
        let head = client.head().unwrap();
        (head.status, head.get("Location").map(str::to_owned))
    };
    assert_eq!(ask("/files/f.txt").0, 200);
    assert_eq!(ask("/files"), (302, Some("/files/".into())));
    assert_eq!(ask("/deep/f.txt").0, 404);
}

#[test]
fn a_recording_is_played_from_any_place() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let (server, http) = with_files();
    let file = fs::read(sample(&ffmpeg)).unwrap();
    fs::write(server.dir.join("www/v.flv"), &file).unwrap();
    // A key frame in the middle: where its tag begins.
    let packets = flv_packets(&file);
    let mut at = 13;
    let mut starts = Vec::new();
    for packet in &packets {
        if packet.key {
            starts.push(at);
        }
        at += 11 + packet.payload.len() + 4;
    }
    let (head, body) = get(http, &format!("/v.flv?start={}", starts[1]), "");
    assert_eq!(head.get("Content-Type"), Some("video/x-flv"));
    let got = flv_packets(&body);
    assert!(got[..2].iter().all(|p| p.header && p.kind != Kind::Data));
    let key = packets.iter().filter(|p| p.key).nth(1);
    assert_eq!(got.get(2), key);
    assert_eq!(got.last(), packets.last());
    for (start, status) in [("0", 200), ("x", 200), ("999999999", 416), ("-1", 200)] {
        assert_eq!(get(http, &format!("/v.flv?start={start}"), "").0.status, status, "{start}");
    }
    assert_eq!(get(http, "/x.mp4?start=3", "").1.len(), 10, "no FLV");
}

/// What ffprobe says of the packets of a file, by stream: time, key frame, hash. Nothing is wrong.
fn mp4_packets(ffmpeg: &Path, file: &Path) -> Vec<Vec<(f64, bool, String)>> {
    let ffprobe = tool("ffprobe").unwrap();
    let show = ["-v", "error", "-show_packets", "-show_data_hash", "md5", "-of", "compact=p=0"];
    let output = Command::new(ffprobe).args(show).arg(file).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{}", file.display());
    let decode = ["-v", "error", "-xerror", "-i", file.to_str().unwrap(), "-f", "null", "-"];
    let decoded = Command::new(ffmpeg).args(decode).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&decoded.stderr), "", "{}", file.display());
    let mut packets = vec![Vec::new(), Vec::new()];
    let text = String::from_utf8(output.stdout).unwrap();
    // The first of AAC has side data, and no hash on its line.
    for line in text.lines().filter(|l| l.contains("stream_index=") && l.contains("data_hash=")) {
        let field = |name: &str| {
            let found = line.split('|').find_map(|f| f.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_default().to_owned()
        };
        let stream: usize = field("stream_index").parse().unwrap();
        let key = field("flags").starts_with('K');
        packets[stream].push((field("pts_time").parse().unwrap(), key, field("data_hash")));
    }
    packets
}

#[test]
fn an_mp4_is_played_from_a_time_to_another() {
    let (Some(ffmpeg), Some(_)) = (tool("ffmpeg"), tool("ffprobe")) else { return };
    let (server, http) = with_files();
    let www = server.dir.join("www");
    let (picture, sound) = ("testsrc2=s=320x180:r=25", "anoisesrc=r=44100:seed=1");
    let source =
        ["-v", "error", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-t", "8"];
    let codecs = ["-c:v", "libx264", "-g", "25", "-bf", "2", "-c:a", "aac"];
    for (name, flags) in [("end.mp4", "0"), ("start.mp4", "faststart")] {
        let file = www.join(name);
        let rest = ["-movflags", flags, file.to_str().unwrap()];
        run(&ffmpeg, source.iter().chain(&codecs).chain(&rest));
        let whole = mp4_packets(&ffmpeg, &file);
        // From, to; the second of the key frame, and seconds of picture.
        for (query, key, seconds) in [
            ("start=2.5", 2.0, 6.0),
            ("start=3&end=5.02", 3.0, 2.04),
            ("end=1.48", 0.0, 1.48),
            ("start=0", 0.0, 8.0),
            ("start=7.99", 7.0, 1.0),
        ] {
            let (head, body) = get(http, &format!("/{name}?{query}"), "");
            assert_eq!((head.status, head.get("Content-Type")), (200, Some("video/mp4")));
            assert!(body.len() < fs::metadata(&file).unwrap().len() as usize + 2000);
            let cut = server.dir.join("cut.mp4");
            fs::write(&cut, body).unwrap();
            let got = mp4_packets(&ffmpeg, &cut);
            assert!(got[0][0].1 && (got[0].len() as f64 / 25.0 - seconds).abs() < 0.01, "{query}");
            let mut drifts = Vec::new();
            for (got, whole) in got.iter().zip(&whole) {
                let from = whole.iter().position(|p| p.2 == got[0].2).unwrap();
                let same = got.iter().zip(&whole[from..]).all(|(a, b)| a.2 == b.2);
                assert!(same, "{name} {query}");
                drifts.push(whole[from].0 - got[0].0);
            }
            // The picture begins at its key frame, and sound stays with it, to a frame of AAC.
            assert!((drifts[0] - key).abs() < 0.001, "{name} {query} {drifts:?}");
            assert!((drifts[0] - drifts[1]).abs() < 0.024, "{name} {query} {drifts:?}");
        }
        assert_eq!(get(http, &format!("/{name}?start=8.1"), "").0.status, 416);
        for query in ["start=x", "start=-1", "start=NaN", "start=1e99"] {
            let (head, body) = get(http, &format!("/{name}?{query}"), "");
            assert_eq!((head.status, body.len() as u64), (200, fs::metadata(&file).unwrap().len()));
        }
    }
    // What is no MP4 of this kind is sent as it is.
    let fragments = www.join("fragments.mp4");
    let rest = ["-movflags", "frag_keyframe+empty_moov", fragments.to_str().unwrap()];
    run(&ffmpeg, source.iter().chain(&codecs).chain(&rest));
    for name in ["fragments.mp4", "x.mp4"] {
        let (head, body) = get(http, &format!("/{name}?start=3"), "");
        assert_eq!(head.status, 200);
        assert!(body == fs::read(www.join(name)).unwrap());
    }
}

#[test]
fn curl_gets_a_large_file_whole_in_parts_and_again() {
    let Some(curl) = tool("curl") else { return };
    let (server, http) = with_files();
    let bytes: Vec<u8> =
        (0..3_000_001_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(server.dir.join("www/big.mp4"), &bytes).unwrap();
    let url = format!("http://127.0.0.1:{http}/big.mp4");
    let dir = TempDir::new();
    let got = dir.join("got");
    let path = got.to_str().unwrap();
    run(&curl, ["-sS", "-o", path, &url]);
    assert!(fs::read(&got).unwrap() == bytes);
    fs::write(&got, &bytes[..1_000_000]).unwrap();
    run(&curl, ["-sS", "-C", "-", "-o", path, &url]);
    assert!(fs::read(&got).unwrap() == bytes);
}
