//! Streams that the server fetches by itself: files, what nginx serves, another server, cameras.
//! What players get is what is there, bit for bit.

#![cfg(all(feature = "ingest", feature = "hls", feature = "demo", feature = "static-files"))]

mod common;

use common::client::Peer;
use common::elementary::{extract, only_slices, slices};
use common::fetched::{
    assert_from, assert_part, assert_times, frames, ingest, nginx, play, sample, units,
};
use common::media::{self, AAC, H264, PICTURE, TONE};
use common::{
    Running, SOON, Server, TempDir, at_once, eventually, free_port, run, skip, spawn, tool,
};
use runnel::codec::nal::{self, Video};
use runnel::media::Kind;
use rustix::process::Signal;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// What becomes of an url that needs TLS.
const HTTPS: &str = if cfg!(feature = "tls") { "cannot connect to" } else { "https is not spoken" };

fn server(ingests: &str) -> Server {
    Server::with(&format!("vhost __defaultVhost__ {{ min_latency on; {ingests} }}"))
}

/// Rewrites the configuration and has it read again.
fn reload(server: &Server, ingests: &str) {
    let text = format!(
        "listen 127.0.0.1:{}; daemon off; srs_log_tank console;\n\
         vhost __defaultVhost__ {{ min_latency on; {ingests} }}\n",
        server.port
    );
    let before = server.count("reload config success");
    fs::write(server.dir.join("test.conf"), text).unwrap();
    server.signal(Signal::HUP);
    server.line_number("reload config success", before + 1);
}

fn sample_ts(ffmpeg: &Path) -> PathBuf {
    let args = format!("-i {} -c copy", media::sample(ffmpeg).display());
    media::make(ffmpeg, "sample.ts", &args)
}

#[test]
fn files_are_published_at_the_speed_of_the_clock_and_over_again() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let ts = sample_ts(&ffmpeg);
    let ingests = ingest("flv", "file", file.to_str().unwrap(), "")
        + &ingest("ts", "file", ts.to_str().unwrap(), "");
    let server = server(&ingests);
    for stream in ["flv", "ts"] {
        let began = Instant::now();
        let packets = play(&server, stream, Duration::from_secs(5));
        assert_from(&packets, &file);
        let pictures = units(&packets).len();
        let most = 25 * (began.elapsed().as_secs() as usize + 3);
        assert!(pictures > 100 && pictures < most, "{stream}: {pictures} pictures, at most {most}");
        let headers = packets.iter().filter(|p| p.header).count();
        assert_eq!(headers, 2, "{stream}: headers are not repeated");
    }
    assert_eq!(server.count("start publish"), 2, "a round is no new stream");
}

#[test]
fn what_nginx_serves_is_fetched() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let dir = TempDir::new();
    let Some((_nginx, port)) = nginx(&dir) else { return };
    let www = dir.join("www");
    fs::copy(&file, www.join("s.flv")).unwrap();
    fs::copy(sample_ts(&ffmpeg), www.join("s.ts")).unwrap();
    let list = www.join("v.m3u8");
    let input = file.to_str().unwrap();
    let args = ["-v", "error", "-i", input, "-c", "copy", "-f", "hls", "-hls_time", "1"];
    run(&ffmpeg, args.into_iter().chain(["-hls_list_size", "0", list.to_str().unwrap()]));
    let master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nnone.m3u8\n\
                  #EXT-X-STREAM-INF:BANDWIDTH=900000\nv.m3u8\n";
    fs::write(www.join("m.m3u8"), master).unwrap();

    let url = |path: &str| format!("http://127.0.0.1:{port}/{path}");
    let ingests = ingest("flv", "file", &url("s.flv"), "")
        + &ingest("ts", "file", &url("s.ts"), "")
        + &ingest("moved", "file", &url("moved/s.flv"), "")
        + &ingest("hls", "stream", &url("m.m3u8?x=1"), "ffmpeg ./objs/srs_ingest_hls;");
    let server = server(&ingests);
    thread::scope(|scope| {
        for stream in ["flv", "ts", "moved", "hls"] {
            let (server, file) = (&server, &file);
            scope.spawn(move || {
                let packets = play(server, stream, Duration::from_secs(5));
                assert!(units(&packets).len() > 90, "{stream} {}", units(&packets).len());
                assert_from(&packets, file);
            });
        }
    });
}

#[test]
fn another_server_is_pulled_by_rtmp_flv_ts_and_live_hls() {
    let http = free_port();
    let origin = Server::without_file(&["--demo", "--http-port", &http.to_string()]);
    origin.line("HTTP listens at");
    eventually("there are segments", SOON + SOON, || {
        common::http::get(http, "/live/demo.m3u8", "").1.windows(3).filter(|w| w == b".ts").count()
            > 1
    });
    let at = |path: &str| format!("http://127.0.0.1:{http}/live/demo.{path}");
    let ingests = ingest("rtmp", "stream", &origin.url("demo"), "")
        + &ingest("flv", "stream", &at("flv"), "")
        + &ingest("ts", "stream", &at("ts"), "")
        + &ingest("hls", "stream", &at("m3u8"), "");
    let server = server(&ingests);
    let all = media::built_in();
    thread::scope(|scope| {
        for stream in ["rtmp", "flv", "ts", "hls"] {
            let (server, all) = (&server, &all);
            scope.spawn(move || {
                let packets = play(server, stream, Duration::from_secs(6));
                assert_part(&format!("pictures of {stream}"), &units(&packets), &units(all));
                assert_part(&format!("frames of {stream}"), &frames(&packets), &frames(all));
                assert_times(&packets);
                assert!(units(&packets).len() > 100, "{stream} {}", units(&packets).len());
            });
        }
    });
    // The origin goes: the streams end, and are tried for again.
    drop(origin);
    for stream in ["rtmp", "flv", "ts"] {
        server.line(&format!("ingest {stream} "));
        let ended = server.wait_for_line("tried again in", 3, SOON);
        assert!(ended.is_some(), "{stream}");
    }
}

#[test]
fn an_ffmpeg_that_listens_for_rtmp_is_pulled() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let newer = std::env::var_os("RUNNEL_FFMPEG_NEW").map(PathBuf::from);
    let programs = [Some(ffmpeg), newer.filter(|path| path.is_file())];
    at_once(programs.into_iter().flatten(), |ffmpeg| {
        let url = format!("rtmp://127.0.0.1:{}/live/s", free_port());
        let server = server(&ingest("listens", "stream", &url, ""));
        // Nobody is there at first.
        server.line("ingest listens rtmp://");
        let mut player = Peer::play(&server, "listens");
        let after = "-c copy -listen 1";
        let mut origin = media::publish_with(&ffmpeg, "-re", &file, after, &url);
        server.line("start publish /live/listens");
        let packets = player.packets_until_silence(SOON / 2);
        assert_from(&packets, &file);
        assert_eq!(units(&packets).len(), 75, "all of them");
        assert!(origin.wait(SOON).is_some(), "it ends with its file");
        server.line("stop publish");
    });
}

/// A server of GStreamer with the sample, its sound in the form of `payloader`.
fn camera(ffmpeg: &Path, method: &str, payloader: &str) -> Option<(Running, u16)> {
    let args = format!("{PICTURE} {TONE} -t 8 {H264} {AAC}");
    film(&media::make(ffmpeg, "camera.mp4", &args), "h264", method, payloader)
}

/// The same with a file of pictures of this codec.
fn film(file: &Path, codec: &str, method: &str, payloader: &str) -> Option<(Running, u16)> {
    let inspect = tool("gst-inspect-1.0")?;
    let (pay, parse) = (format!("rtp{codec}pay"), format!("{codec}parse"));
    for element in [&pay, &parse, "qtdemux", payloader] {
        if !Command::new(&inspect).arg(element).output().unwrap().status.success() {
            return skip(&format!("{element} of GStreamer"));
        }
    }
    let python = PathBuf::from("/usr/bin/python3");
    let check = "import gi; gi.require_version('GstRtspServer', '1.0')";
    let works = Command::new(&python).args(["-c", check]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        return skip("gir1.2-gst-rtsp-server-1.0 and python3-gi");
    }
    let port = free_port();
    let pipeline = format!(
        "( filesrc location={} ! qtdemux name=d d.video_0 ! queue ! {parse} ! {pay} name=pay0 \
         pt=96 config-interval=-1 mtu=700 d.audio_0 ! queue ! aacparse ! {payloader} name=pay1 pt=97 )",
        file.display()
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/rtsp_server.py");
    let args = [script.into(), port.to_string().into(), pipeline.into(), OsString::from(method)];
    let server = spawn(&python, args);
    server.out.wait("listening", 1, SOON + SOON).expect("the camera listens");
    Some((server, port))
}

fn camera_flv(ffmpeg: &Path) -> PathBuf {
    let mp4 = media::make(ffmpeg, "camera.mp4", &format!("{PICTURE} {TONE} -t 8 {H264} {AAC}"));
    media::make(ffmpeg, "camera.flv", &format!("-i {} -c copy", mp4.display()))
}

#[test]
fn cameras_are_pulled_with_and_without_credentials_over_tcp_and_udp() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = camera_flv(&ffmpeg);
    let cases = [
        ("", "", "rtpmp4gpay"),
        ("basic", "cam:secret@", "rtpmp4gpay"),
        ("digest", "cam:secret@", "rtpmp4gpay"),
        ("udp", "", "rtpmp4gpay"),
        ("", "", "rtpmp4apay"),
        ("udp", "", "rtpmp4apay"),
    ];
    at_once(cases, |(method, login, payloader)| {
        let Some((camera, port)) = camera(&ffmpeg, method, payloader) else { return };
        let server =
            server(&ingest("cam", "stream", &format!("rtsp://{login}127.0.0.1:{port}/s"), ""));
        let packets = play(&server, "cam", Duration::from_secs(4));
        assert_from(&packets, &file);
        assert!(units(&packets).len() > 50, "{method} {}", units(&packets).len());
        assert!(
            !server.log.all().iter().any(|line| line.contains("secret")),
            "no password is told"
        );
        let udp = server.count("packets over UDP");
        assert_eq!(udp, usize::from(method == "udp"), "UDP is for those who want it");
        // A camera that goes is asked for again.
        drop(camera);
        server.line("tried again in");
    });
}

#[test]
fn cameras_with_hevc_are_pulled_over_tcp_and_udp() {
    const HEVC: &str = "-c:v libx265 -preset ultrafast -g 25 -bf 2 -tag:v hvc1 \
                        -x265-params log-level=none:pools=1:frame-threads=1";
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file =
        media::make(&ffmpeg, "camera-hevc.mp4", &format!("{PICTURE} {TONE} -t 8 {HEVC} {AAC}"));
    let pictures = extract(&ffmpeg, &file, "-map 0:v -c copy -f hevc");
    let pictures = only_slices(Video::Hevc, nal::units(&pictures));
    assert_eq!(pictures.len(), 200);
    let sound = format!("-i {} -vn -c copy", file.display());
    let sound = media::make(&ffmpeg, "camera-hevc.flv", &sound);
    let sound = frames(&media::flv_packets(&fs::read(sound).unwrap()));
    at_once(["", "udp"], |method| {
        let Some((_camera, port)) = film(&file, "h265", method, "rtpmp4gpay") else { return };
        let server = server(&ingest("cam", "stream", &format!("rtsp://127.0.0.1:{port}/s"), ""));
        let packets = play(&server, "cam", Duration::from_secs(4));
        let got = slices(&packets, Video::Hevc);
        assert!(got.len() > 50, "{method} {}", got.len());
        assert_part("pictures", &got, &pictures);
        assert_part("frames", &frames(&packets), &sound);
        assert_times(&packets);
    });
}

#[test]
fn the_sample_of_cameras_pulls_what_it_says() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = camera_flv(&ffmpeg);
    let Some((_camera, port)) = camera(&ffmpeg, "digest", "rtpmp4gpay") else { return };
    let address = format!("cam:secret@127.0.0.1:{port}/s");
    let changes = [("admin:12345678@192.168.1.21:554/ch1", address.as_str())];
    let server = sample("ingest.rtsp", free_port(), &changes, TempDir::new());
    let packets = play(&server, "livestream", Duration::from_secs(3));
    assert_from(&packets, &file);
    assert!(units(&packets).len() > 50, "{}", units(&packets).len());
}

#[test]
fn wrong_credentials_are_said_and_not_tried_all_the_time() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let Some((_camera, port)) = camera(&ffmpeg, "digest", "rtpmp4gpay") else { return };
    let server = server(&ingest("cam", "stream", &format!("rtsp://cam:no@127.0.0.1:{port}/s"), ""));
    server.line("the server refuses the credentials");
    thread::sleep(Duration::from_secs(4));
    assert_eq!(server.count("credentials"), 1, "once, until something else happens");
}

#[test]
fn a_transport_stream_over_udp_is_taken_by_an_ingest() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let port = free_port();
    let server = server(&ingest("udp", "stream", &format!("udp://127.0.0.1:{port}"), ""));
    let out = format!("udp://127.0.0.1:{port}?pkt_size=1316");
    let mut sender = spawn(
        &ffmpeg,
        ["-v", "error", "-re", "-stream_loop", "-1", "-i", file.to_str().unwrap(), "-c", "copy"]
            .into_iter()
            .chain(["-f", "mpegts", &out]),
    );
    let packets = play(&server, "udp", Duration::from_secs(3));
    assert!(units(&packets).len() > 40);
    let all = media::flv_packets(&fs::read(&file).unwrap());
    assert_part("pictures", &units(&packets), &units(&all));
    sender.stop();
    assert!(server.wait_for_line("the sender fell silent", 1, SOON * 2).is_some());
}

fn send_ts(ffmpeg: &Path, file: &Path, port: u16) -> Running {
    let out = format!("udp://127.0.0.1:{port}?pkt_size=1316");
    let args = ["-v", "error", "-re", "-stream_loop", "-1", "-i", file.to_str().unwrap()];
    spawn(ffmpeg, args.into_iter().chain(["-c", "copy", "-f", "mpegts", &out]))
}

fn is_free(port: u16) -> bool {
    UdpSocket::bind(("127.0.0.1", port)).is_ok()
}

#[test]
fn a_sender_that_begins_anew_is_followed_within_seconds() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let port = free_port();
    let server = server(&ingest("udp", "stream", &format!("udp://127.0.0.1:{port}"), ""));
    let mut player = Peer::play(&server, "udp");
    let first = send_ts(&ffmpeg, &file, port);
    player.packets(50);
    drop(first);
    let _second = send_ts(&ffmpeg, &file, port);
    let began = Instant::now();
    server.line("the sender fell silent, 127.0.0.1:");
    server.line_number("start publish", 2);
    player.packets(50);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(server.count("tried again in"), 0);
}

#[test]
fn a_udp_ingest_that_waits_for_a_sender_ends_with_a_reload() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let port = free_port();
    let url = format!("udp://127.0.0.1:{port}");
    let server = server(&ingest("one", "stream", &url, ""));
    eventually("it listens", SOON, || !is_free(port));
    // Another stream of the same port.
    reload(&server, &ingest("two", "stream", &url, ""));
    let sender = send_ts(&ffmpeg, &file, port);
    assert!(units(&play(&server, "two", Duration::from_secs(1))).len() > 10);
    assert_eq!((server.count("in use"), server.count("start publish")), (0, 1));
    drop(sender);
    // And with a reload that takes it away, before a sender and behind one.
    reload(&server, &ingest("three", "stream", &url, ""));
    eventually("it listens", SOON, || !is_free(port));
    reload(&server, "");
    eventually("the port is free", Duration::from_secs(2), || is_free(port));
}

#[test]
fn a_udp_ingest_on_demand_that_waits_for_a_sender_ends_with_its_player() {
    let port = free_port();
    let url = format!("udp://127.0.0.1:{port}");
    let server = server(&ingest("od", "stream", &url, "on_demand on; linger 1;"));
    assert!(is_free(port), "nobody wants it");
    for round in 1..3 {
        let player = Peer::play(&server, "od");
        eventually("it listens", SOON, || !is_free(port));
        thread::sleep(Duration::from_secs(3));
        assert!(!is_free(port), "it waits as long as somebody plays");
        drop(player);
        server.line_number("ends, nobody plays it", round);
        eventually("the port is free", Duration::from_secs(1), || is_free(port));
    }
}

#[test]
#[cfg(feature = "service")]
fn a_server_that_leaves_does_not_wait_for_sources_that_do_not_come() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    let udp = free_port();
    let urls = [
        format!("udp://127.0.0.1:{udp}"),
        format!("http://{silent}/a.flv"),
        format!("http://{silent}/a.m3u8"),
        format!("rtsp://{silent}/a"),
        format!("rtmp://{silent}/live/a"),
        // One that is tried again.
        format!("rtmp://127.0.0.1:{}/live/a", free_port()),
    ];
    let ingests: String = urls
        .iter()
        .enumerate()
        .map(|(at, url)| ingest(&format!("i{at}"), "stream", url, ""))
        .collect();
    let mut server =
        Server::with(&format!("drain_timeout 0; vhost __defaultVhost__ {{ {ingests} }}"));
    server.line("tried again in");
    eventually("it listens", SOON, || !is_free(udp));
    server.signal(Signal::USR2);
    let ended = server.wait(Duration::from_secs(3));
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    assert_eq!(server.count("start publish"), 0);
}

#[test]
#[cfg(feature = "service")]
fn a_server_that_leaves_ends_the_programs_of_its_ingests() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let mp4 = media::make(&ffmpeg, "camera.mp4", &format!("{PICTURE} {TONE} -t 8 {H264} {AAC}"));
    let more = format!("ffmpeg {};", ffmpeg.display());
    let ingests = ingest("x", "file", mp4.to_str().unwrap(), &more);
    let server = Server::with(&format!(
        "drain_timeout 60; vhost __defaultVhost__ {{ min_latency on; {ingests} }}"
    ));
    // Somebody who does not go.
    let mut player = Peer::play(&server, "x");
    player.packets(20);
    server.signal(Signal::USR2);
    server.line("ingest x ends, pid=");
    server.line("stop publish");
    // Longer than until a program that ended is started again.
    thread::sleep(Duration::from_secs(5));
    assert_eq!((server.count("fork ingest x"), server.count("start publish")), (1, 1));
}

#[test]
fn an_ingest_on_demand_begins_with_a_player_and_ends_after_the_last() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let ingests = ingest("od", "file", file.to_str().unwrap(), "on_demand on; linger 2;");
    let server = server(&ingests);
    thread::sleep(Duration::from_millis(500));
    assert_eq!(server.count("start publish"), 0, "nobody wants it");
    let mut player = Peer::play(&server, "od");
    player.packets(50);
    drop(player);
    let left = Instant::now();
    server.line("ends, nobody plays it");
    assert!(left.elapsed() > Duration::from_millis(1000));
    let mut again = Peer::play(&server, "od");
    again.packets(200);
    assert_eq!(server.count("start publish"), 2);
    assert_eq!(server.count("nobody plays it"), 1, "it stays while it is played");
}

#[test]
fn a_reload_changes_one_ingest_and_leaves_the_others() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let ts = sample_ts(&ffmpeg);
    let (file, ts) = (file.to_str().unwrap(), ts.to_str().unwrap());
    let server = server(&(ingest("a", "file", file, "") + &ingest("b", "file", file, "")));
    let mut a = Peer::play(&server, "a");
    a.packets(20);
    server.line_number("start publish", 2);
    // Another source for b, and c is new.
    let changed = ingest("a", "file", file, "")
        + &ingest("b", "file", ts, "")
        + &ingest("c", "file", file, "");
    reload(&server, &changed);
    server.line_number("start publish", 4);
    server.line("start publish /live/b from ingest b");
    server.line("start publish /live/c from ingest c");
    // b and c go.
    reload(&server, &ingest("a", "file", file, ""));
    server.line("ingest c");
    server.line_number("stop publish", 3);
    let mut dts = 0;
    for packet in a.packets(100) {
        if packet.kind == Kind::Video {
            assert!(packet.dts >= dts);
            dts = packet.dts;
        }
    }
    assert_eq!(server.count("start publish /live/a"), 1, "a went on");
}

#[test]
fn sources_that_are_no_good_are_said_once_and_harm_nobody() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let dir = TempDir::new();
    let Some((_nginx, port)) = nginx(&dir) else { return };
    let www = dir.join("www");
    let mut long = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n".to_vec();
    while long.len() < 10 << 20 {
        long.extend_from_slice(b"#EXTINF:1,\nnone.ts\n");
    }
    fs::write(www.join("long.m3u8"), long).unwrap();
    fs::write(www.join("cycle.m3u8"), "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\ncycle.m3u8\n")
        .unwrap();
    fs::write(www.join("text.m3u8"), "hello").unwrap();
    fs::write(www.join("noise.ts"), vec![7; 1 << 20]).unwrap();
    fs::write(www.join("noise.flv"), vec![7; 1 << 20]).unwrap();
    let mut cut = fs::read(&file).unwrap();
    cut.truncate(300);
    fs::write(www.join("cut.flv"), &cut).unwrap();
    fs::write(www.join("empty.flv"), []).unwrap();
    let url = |path: &str| format!("http://127.0.0.1:{port}/{path}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let cases = [
        ("long", url("long.m3u8"), "playlist longer than limit playlist_bytes"),
        ("cycle", url("cycle.m3u8"), "playlists that list only one another"),
        ("text", url("text.m3u8"), "a playlist begins with #EXTM3U"),
        ("loop", url("loop.flv"), "/loop.flv, which is not followed"),
        ("closed", url("closed.flv"), "the server answers 403"),
        ("none", url("none.ts"), "the server answers 404"),
        ("noise", url("noise.ts"), "not a transport stream"),
        ("noiseflv", url("noise.flv"), "not an FLV file"),
        ("empty", www.join("empty.flv").display().to_string(), "no packet in it"),
        ("gone", "./gone.flv".into(), "No such file"),
        ("https", "https://127.0.0.1/a.m3u8".into(), HTTPS),
        ("format", "./a.mkv".into(), "needs `ffmpeg PATH;`"),
        ("silent", format!("http://127.0.0.1:{silent_port}/a.flv"), "timed out after"),
        ("refused", format!("rtmp://127.0.0.1:{}/live/x", free_port()), "refused"),
    ];
    let mut ingests = ingest("good", "file", file.to_str().unwrap(), "");
    for (id, url, _) in &cases {
        ingests += &ingest(id, "stream", url, "");
    }
    let server = server(&ingests);
    let mut player = Peer::play(&server, "good");
    player.packets(20);
    for (id, _, what) in &cases {
        let line = (0..150).find_map(|_| {
            let lines = server.log.all();
            let found =
                lines.iter().find(|l| l.contains(&format!("ingest {id} ")) && l.contains(what));
            if found.is_none() {
                thread::sleep(Duration::from_millis(100));
            }
            found.cloned()
        });
        assert!(line.is_some(), "{id}: {what}");
    }
    player.packets(100);
    let about_long = server.count("limit playlist_bytes");
    assert!(about_long <= 2, "{about_long}");
    assert!(server.resident() < 60_000, "{} KB", server.resident());
}

#[test]
fn a_server_that_sends_half_a_tag_and_stops_is_left() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let bytes = fs::read(media::sample(&ffmpeg)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/a.flv", listener.local_addr().unwrap().port());
    let config = "publish { normal_timeout 1000; firstpkt_timeout 1000; }";
    let server = Server::with(&format!(
        "vhost __defaultVhost__ {{ {config} {} }}",
        ingest("a", "stream", &url, "")
    ));
    let (mut socket, _) = listener.accept().unwrap();
    let _ = socket.read(&mut [0; 1024]);
    socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    socket.write_all(&bytes[..20_000]).unwrap();
    server.line("start publish");
    server.line("the sender fell silent");
    server.line("stop publish");
    let (mut again, _) = listener.accept().unwrap();
    assert!(again.read(&mut [0; 1024]).unwrap() > 0, "it is asked again");
}
