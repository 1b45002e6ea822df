//! How old what a player of HLS shows is: the encoder writes the time into its picture.
#![cfg(feature = "hls")]

mod common;

use common::http::get;
use common::{SOON, Server, eventually, free_port, spawn, tool};
use runnel::format::m3u8::Playlist;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bars in the picture, one a bit, 16 pixels each: the time in tenths of a second.
const BITS: u32 = 20;
const TENTHS: u64 = 1 << BITS;

/// Now, in tenths of a second, as much of it as the picture holds.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    (since.as_millis() / 100) as u64 % TENTHS
}

/// How many seconds ago `then` was.
fn age(then: u64) -> f64 {
    ((now() + TENTHS - then) % TENTHS) as f64 / 10.0
}

/// What the picture says. From one number to the next only one bar changes (Gray code), so that a
/// picture made while the clock goes on is right.
fn clock(picture: &[u8]) -> u64 {
    let row = &picture[8 * 320..9 * 320];
    let bars = (0..BITS).map(|bit| u64::from(row[bit as usize * 16 + 8] > 125) << bit);
    let mut time: u64 = bars.sum();
    for shift in [1, 2, 4, 8, 16] {
        time ^= time >> shift;
    }
    time
}

/// The time in the first picture that ffmpeg shows of `input`.
fn first_picture(ffmpeg: &Path, input: &[&str]) -> u64 {
    let raw = ["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "gray", "-"];
    let mut command = Command::new(ffmpeg);
    let output = command.args(["-v", "error"]).args(input).args(raw).output().unwrap();
    assert_eq!(output.stdout.len(), 320 * 16, "{}", String::from_utf8_lossy(&output.stderr));
    clock(&output.stdout)
}

#[test]
fn a_player_of_hls_is_ten_seconds_behind_at_most() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let http = free_port();
    let server = Server::with(&format!(
        "http_server {{ enabled on; listen 127.0.0.1:{http}; }}
        vhost __defaultVhost__ {{
            hls {{ enabled on; hls_storage ram; hls_fragment 2; hls_window 10; }}
        }}"
    ));
    let bar = "floor(X/16)";
    let tenths = format!("mod(floor(time(0)*10)\\,{TENTHS})");
    let bit = |more: u32| format!("floor({tenths}/pow(2\\,{bar}+{more}))");
    let picture = format!(
        "color=s=320x16:r=25,geq=lum='if(mod({}+{}\\,2)\\,235\\,16)':cb=128:cr=128",
        bit(0),
        bit(1)
    );
    let encoder = "-c:v libx264 -preset ultrafast -tune zerolatency -g 25 -pix_fmt yuv420p -f flv";
    let url = server.url("livestream");
    let mut args = vec!["-v", "error", "-re", "-f", "lavfi", "-i", &picture];
    args.extend(encoder.split(' '));
    args.push(&url);
    let mut publisher = spawn(&ffmpeg, args);
    let list = || {
        let (head, body) = get(http, "/live/livestream.m3u8", "");
        let text = (head.status == 200).then(|| String::from_utf8(body).unwrap());
        Playlist::parse(&text.unwrap_or("#EXTM3U\n".into())).unwrap()
    };
    eventually("the list is full", 3 * SOON, || list().segments.len() >= 6);

    let url = format!("http://127.0.0.1:{http}/live/livestream.m3u8");
    for i in 0..4 {
        // As ffplay begins: at the third segment from the end.
        let shown = first_picture(&ffmpeg, &["-live_start_index", "-3", "-i", &url]);
        let delay = age(shown);
        println!("delay {delay} s");
        assert!((2.0..=10.0).contains(&delay), "{delay} s");
        // At another moment between two segments.
        sleep(Duration::from_millis(500 + i * 100));
    }
    // The list says when its pictures were made.
    let list = list();
    let segment = list.segments.last().unwrap();
    let file = server.dir.join("last.ts");
    std::fs::write(&file, get(http, &format!("/live/{}", segment.uri), "").1).unwrap();
    let made = first_picture(&ffmpeg, &["-i", file.to_str().unwrap()]);
    let fields: Vec<u64> =
        segment.date[11..21].split([':', '.']).map(|field| field.parse().unwrap()).collect();
    let stated = (fields[0] * 3600 + fields[1] * 60 + fields[2]) * 10 + fields[3];
    let days = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400;
    let stated = (days * 864_000 + stated) % TENTHS;
    let late = (stated + TENTHS - made) % TENTHS;
    assert!(late <= 20 || TENTHS - late <= 5, "{} states {stated}, made {made}", segment.date);
    publisher.stop();
}
