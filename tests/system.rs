//! A whole machine: qemu-system-arm with a kernel of Debian's, a read-only root, and an image of
//! `boards/build` started from it. Its clock passes 2038-01-19 03:14:07, after which the seconds
//! since 1970 need more than 31 bits, while a stream is live.
//!
//! Needs `boards/system setup` and `boards/build imx6ull`.

// Once is enough: the images are not those of this build.
#![cfg(feature = "hls")]

mod common;

use common::http::get;
use common::media::{self, AAC, H264, PICTURE, TONE};
use common::{RUNNEL, Server, TempDir, free_port, run, skip_image, spawn, tool};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// For a machine that is emulated beside other tests.
const PATIENCE: Duration = Duration::from_secs(120);
const CONF: &str = "
    listen 1935; daemon off; srs_log_tank console; utc_time on; max_connections 20;
    http_server { enabled on; listen 8080; dir /tmp/rec; }
    vhost __defaultVhost__ {
        http_remux { enabled on; mount [vhost]/[app]/[stream].*; }
        hls { enabled on; hls_storage ram; hls_fragment 2; hls_window 120;
            hls_mount /[app]/[stream].m3u8; }
        dvr { enabled on; dvr_path /tmp/rec/[stream]-[2006].flv; }
    }";

/// The image, when there are a kernel and qemu, too; says what is missing.
fn image() -> Option<PathBuf> {
    let image = common::image("imx6ull")?;
    let target = Path::new(RUNNEL).ancestors().nth(2).unwrap();
    if !target.join("system/root/boot").exists() {
        return skip_image("a kernel, fetched by boards/system setup");
    }
    tool("qemu-system-arm")?;
    Some(image)
}

/// The codecs in a file or a stream, of which ffprobe complains about nothing.
fn codecs(url: &str) -> String {
    let show = "-v error -rw_timeout 20000000 -show_entries stream=codec_name -of csv=p=0";
    let text = run(&tool("ffprobe").unwrap(), show.split(' ').chain([url]));
    let mut names: Vec<_> = text.split_whitespace().collect();
    names.sort_unstable();
    names.dedup();
    names.join(" ")
}

#[test]
fn a_board_boots_serves_a_stream_and_passes_the_year_2038() {
    let (Some(ffmpeg), Some(_), Some(image)) = (tool("ffmpeg"), tool("ffprobe"), image()) else {
        return;
    };
    let (dir, port, http) = (TempDir::new(), free_port(), free_port());
    let conf = dir.join("runnel.conf");
    fs::write(&conf, CONF).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("boards/system");
    let mut machine = Command::new(script);
    machine.env("CARGO_TARGET_DIR", image.ancestors().nth(3).unwrap());
    machine.arg("run").args([&image, &conf]).args([port.to_string(), http.to_string()]);
    // Half a minute before the moment; at boot the kernel takes over no time after it.
    machine.env("CLOCK", "2147483615");
    let server = Server::spawn_silent(&mut machine, port, dir);
    let console = &server.screen;
    let line = |text: &str| {
        let found = console.wait(text, 1, PATIENCE);
        found.unwrap_or_else(|| panic!("no {text:?}:\n{}", console.all().join("\n")))
    };
    line("RTMP listens at");
    line("HTTP listens at");
    line("Read-only file system");
    assert!(!console.all().iter().any(|line| line.contains("the root is writable")));
    let first = line("[trace]");
    assert!(first.starts_with("[2038-01-19 03:13:"), "{first}");

    let sample =
        media::make(&ffmpeg, "system.flv", &format!("{PICTURE} {TONE} -t 10 {H264} -b:v 2M {AAC}"));
    let mut publisher = media::publish_live(&ffmpeg, &sample, &server.url("s"));
    line("start publish");
    let record = server.dir.join("out.flv");
    let args = ["-v", "error", "-i", &server.url("s"), "-t", "40", "-c", "copy", "-y"];
    let mut player = spawn(&ffmpeg, args.into_iter().chain([record.to_str().unwrap()]));
    assert_eq!(codecs(&format!("http://127.0.0.1:{http}/live/s.flv")), "aac h264");
    // From before the moment until after it.
    let until = Instant::now() + PATIENCE;
    let after = || {
        let (head, body) = get(http, "/live/s.m3u8", "");
        let list = String::from_utf8(body).unwrap();
        (head.status == 200 && list.contains("2038-01-19T03:14:1")).then_some(list)
    };
    while after().is_none() {
        assert!(Instant::now() < until, "no segment of after 03:14:10");
        thread::sleep(Duration::from_secs(1));
    }
    assert!(player.wait(PATIENCE).is_some_and(|s| s.success()), "{:?}", player.err.all());
    assert_eq!(codecs(record.to_str().unwrap()), "aac h264");
    let (head, _) = get(http, "/live/s.m3u8", "");
    let date = head.get("Date").unwrap_or_default();
    assert!(date.is_empty() || date.contains("19 Jan 2038 03:1"), "{date}");
    publisher.stop();
    line("stop publish");
    line("s-2038.flv done");
    assert_eq!(codecs(&format!("http://127.0.0.1:{http}/s-2038.flv")), "aac h264");
    let (head, _) = get(http, "/s-2038.flv", "");
    let changed = head.get("Last-Modified").unwrap();
    assert!(changed.contains("19 Jan 2038 03:1"), "{changed}");
    let last = line("s-2038.flv done");
    assert!(last.starts_with("[2038-01-19 03:1"), "{last}");
    // What it takes, by the machine's own account.
    let lines = console.all();
    let used = lines.iter().filter_map(|line| line.strip_prefix("memory VmRSS:"));
    let used = used.filter_map(|rest| rest.split_whitespace().next()?.parse::<u32>().ok());
    let (least, most) = used.fold((u32::MAX, 0), |(l, m), kb| (l.min(kb), m.max(kb)));
    assert!(least < 1536, "{least} kB when idle");
    assert!(most < 24 * 1024, "{most} kB");
}
