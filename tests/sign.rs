//! Signed URLs, signed by openssl, used by ffmpeg and curl.

#![cfg(all(feature = "sign", feature = "hls", feature = "remux", feature = "static-files"))]

mod common;

use common::client::{Peer, play, publish};
use common::http::{REMUX, get, server};
use common::media::demo;
use common::{SOON, Server, eventually, media, run, tool};
use runnel::proto::rtmp::client::{Config, Event};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

const SIGNED: &str = "signed_url { enabled on; secret new s3cret; }";

/// The time in `seconds` from now, since 1970.
fn after(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    now as i64 + seconds
}

/// What the one line of the documentation prints.
fn sign(what: &str, expires: i64, secret: &str) -> String {
    let line = format!(
        "E={expires}; echo \"expires=$E&sign=$(printf '{what}:%s' $E | \
         openssl dgst -sha256 -hmac {secret} -r | cut -d' ' -f1)\""
    );
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What the server says to a client of RTMP: nothing when it is let in.
fn refused(server: &Server, config: Config) -> Option<String> {
    let mut peer = Peer::with(server, config);
    match peer.wait_for(|event| matches!(event, Event::Started | Event::Refused(_))) {
        Some(Event::Refused(status)) => Some(status.description),
        Some(_) => None,
        None => Some("closed".into()),
    }
}

#[test]
fn rtmp_clients_need_a_signature_for_what_they_do() {
    if tool("openssl").is_none() {
        return;
    }
    let server = Server::with(&format!(
        "vhost __defaultVhost__ {{ min_latency on; {SIGNED} }} vhost a.com {{ {SIGNED} }}\n\
         vhost open.com {{ signed_url {{ enabled on; secret x; play off; }} }}"
    ));
    let at = |role| refused(&server, Config::new(server.tc_url(), "live", role));
    let late = after(3600);
    let good = sign("publish:/live/s", late, "s3cret");
    assert_eq!(at(publish(&format!("s?{good}"))), None);
    assert_eq!(at(publish(&format!("s?{}", sign("publish:/live/s", late, "new")))), None);
    let played = sign("play:/live/s", late, "s3cret");
    assert_eq!(at(play(&format!("s?{played}"))), None);
    // Also behind the app, as OBS has it in "server".
    let tc_url = format!("{}?{played}", server.tc_url());
    assert_eq!(refused(&server, Config::new(tc_url, "live", play("s"))), None);
    for (role, part) in [
        (publish("s"), "not signed"),
        (publish(&format!("s?{played}")), "something else"),
        (publish(&format!("t?{good}")), "something else"),
        (publish(&format!("s?{}", sign("publish:/live/s", late, "old"))), "another secret"),
        (publish(&format!("s?{}", sign("publish:/live/s", after(-5), "s3cret"))), "is over since"),
        (play("s"), "not signed"),
        (play(&format!("s?{good}")), "something else"),
        (play(&format!("s?vhost=a.com&{played}")), "something else"),
    ] {
        let said = at(role).expect("refused");
        assert!(said.contains(part), "{said}");
    }
    let named = sign("play:a.com/live/s", late, "s3cret");
    assert_eq!(at(play(&format!("s?vhost=a.com&{named}"))), None);
    assert_eq!(at(play("s?vhost=open.com")), None);
    assert!(at(publish("s?vhost=open.com")).is_some());
}

#[test]
fn what_ffmpeg_and_curl_ask_for_over_http_is_signed() {
    let (Some(ffmpeg), Some(curl), Some(_)) = (tool("ffmpeg"), tool("curl"), tool("openssl"))
    else {
        return;
    };
    let rules = format!(
        "{REMUX} {SIGNED} hls {{ enabled on; hls_storage ram; hls_fragment 1; hls_window 30; }}"
    );
    let (server, http) = server(&rules);
    let sample = media::make(
        &ffmpeg,
        "sign.flv",
        &format!("{} {} -t 8 {} {}", media::PICTURE, media::TONE, media::H264, media::AAC),
    );
    let publish = sign("publish:/live/s", after(60), "s3cret");
    let url = format!("{}?{publish}", server.url("s"));
    let _live = media::publish_live(&ffmpeg, &sample, &url);
    server.line("start publish");
    let play = sign("play:/live/s", after(60), "s3cret");
    let base = format!("http://127.0.0.1:{http}/live");
    for form in ["flv", "ts"] {
        assert_eq!(get(http, &format!("/live/s.{form}"), "").0.status, 403, "{form}");
        let url = format!("{base}/s.{form}?{play}");
        run(&ffmpeg, ["-v", "error", "-i", &url, "-t", "1", "-c", "copy", "-f", "null", "-"]);
    }
    // HLS: the playlist is signed, and leads to its segments.
    eventually("a playlist", SOON, || {
        get(http, &format!("/live/s.m3u8?{play}"), "").0.status == 302
    });
    let (head, _) = get(http, &format!("/live/s.m3u8?{play}"), "");
    let to = head.get("Location").unwrap().to_owned();
    let token = play.replace("expires=", "").replace("&sign=", "-");
    assert_eq!(to, format!("../~{token}/live/s.m3u8"));
    let url = format!("{base}/s.m3u8?{play}");
    run(&ffmpeg, ["-v", "error", "-i", &url, "-t", "3", "-c", "copy", "-f", "null", "-"]);
    let dir = common::TempDir::new();
    let list = dir.join("list");
    let fetch = |url: &str| {
        run(&curl, ["-sfL", "-o", list.to_str().unwrap(), "-w", "%{url_effective}", url])
    };
    let effective = fetch(&url);
    let text = fs::read_to_string(&list).unwrap();
    let segment = text.lines().find(|line| !line.starts_with('#')).unwrap();
    let place = effective.rsplit_once('/').unwrap().0;
    fetch(&format!("{place}/{segment}"));
    assert_eq!(fs::read(&list).unwrap()[0], 0x47, "a segment");
    // The same for all: what a cache keeps is kept once, under the path behind the signature.
    let other =
        sign("play:/live/s", after(61), "new").replace("expires=", "").replace("&sign=", "-");
    let (head, body) = get(http, &format!("/~{other}/live/{segment}"), "");
    assert_eq!(
        (head.status, head.get("Cache-Control")),
        (200, Some("public, max-age=31536000, immutable"))
    );
    assert!(body == fs::read(&list).unwrap());
    let forged = |text: &str| text.replace(&token, &format!("{}0", &token[..token.len() - 1]));
    for path in [
        "/live/s.m3u8".to_owned(),
        format!("/live/{segment}"),
        forged(&format!("/~{token}/live/{segment}")),
        format!("/~1-{}/live/s.m3u8", "0".repeat(64)),
        format!("/live/s.m3u8?{}", sign("play:/live/s", after(-3), "s3cret")),
        format!("/live/s.m3u8?{publish}"),
    ] {
        let status = get(http, &path, "").0.status;
        // One last digit in 16 is right as it is.
        let same = path.contains(&token);
        assert!(status == 403 || same, "{status} {path}");
    }
    assert_eq!(get(http, "/nothing", "").0.status, 404, "what is not signed is as ever");
    assert_eq!(get(http, &format!("/~{token}/nothing"), "").0.status, 404);
}

#[test]
fn files_of_hls_are_signed_too() {
    let (Some(ffmpeg), Some(_)) = (tool("ffmpeg"), tool("openssl")) else { return };
    let rules = format!("{SIGNED} hls {{ enabled on; hls_path www; hls_fragment 1; }}");
    let (server, http) = server(&rules);
    let old = server.dir.join("www/live");
    fs::create_dir_all(&old).unwrap();
    fs::write(old.join("old-1.ts"), "from before").unwrap();
    let publish = sign("publish:/live/s", after(60), "s3cret");
    media::publish(&ffmpeg, &media::sample(&ffmpeg), &format!("{}?{publish}", server.url("s")));
    eventually("a playlist", SOON, || Path::new(&old).join("s.m3u8").exists());
    let play = sign("play:/live/s", after(60), "s3cret");
    for path in ["/live/s.m3u8", "/live/s-0.ts", "/live/old-1.ts"] {
        assert_eq!(get(http, path, "").0.status, 403, "{path}");
    }
    let url = format!("http://127.0.0.1:{http}/live/s.m3u8?{play}");
    run(&ffmpeg, ["-v", "error", "-i", &url, "-t", "1", "-c", "copy", "-f", "null", "-"]);
}

#[test]
fn security_and_refer_hold_for_hls() {
    let hls = "hls { enabled on; hls_storage ram; hls_fragment 1; }";
    let rules = "security { enabled on; allow publish all; deny play 127.0.0.1; }";
    for (rules, lines, status) in [
        ("", "", 200),
        (rules, "", 403),
        ("refer_play good.com;", "", 403),
        ("refer_play good.com;", "Referer: http://bad.com/x\r\n", 403),
        ("refer_play good.com;", "Referer: http://www.good.com/x\r\n", 200),
    ] {
        let (server, http) = server(&format!("{hls} {rules}"));
        let mut publisher = Peer::publish(&server, "s");
        demo().iter().for_each(|packet| publisher.send(packet));
        drop(publisher);
        server.line("stop publish");
        let (head, body) = get(http, "/live/s.m3u8", lines);
        assert_eq!(head.status, status, "{rules} {lines}");
        assert_eq!(body.starts_with(b"#EXTM3U"), status == 200);
    }
}
