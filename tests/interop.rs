//! Programs of others publish and play: what comes out is, byte for byte, what went in.

mod common;

use common::media::{self, AAC, Contents, H264, PICTURE, Recorder, TONE};
use common::{Running, SOON, Server, TempDir, eventually, free_port, run, spawn, start, tool};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Publishes `file` while a player records, and compares.
fn relay(ffmpeg: &Path, file: &Path) -> Contents {
    relay_through(Server::start(), ffmpeg, file)
}

fn relay_through(server: Server, ffmpeg: &Path, file: &Path) -> Contents {
    let url = server.url("livestream");
    let recorder = Recorder::start(ffmpeg, &server, &url);
    media::publish(ffmpeg, file, &url);
    let expected = Contents::of(ffmpeg, file).starting_at_zero();
    let recorded = recorder.finish(&server, expected.count()).starting_at_zero();
    assert_eq!(recorded.headers, expected.headers, "sequence headers");
    for (stream, packets) in &expected.packets {
        let seen = recorded.packets.get(stream).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(seen.len(), packets.len(), "packets of stream {stream}");
        for (i, (seen, sent)) in seen.iter().zip(packets).enumerate() {
            assert_eq!(seen, sent, "packet {i} of stream {stream}");
        }
    }
    expected
}

#[test]
fn h264_with_b_frames_and_aac_pass_unchanged() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let contents = relay(&ffmpeg, &media::sample(&ffmpeg));
    let video = contents.packets.get(&0).unwrap();
    assert_eq!(video.len(), 75);
    assert!(video.windows(2).any(|pair| pair[1].pts < pair[0].pts), "there are no B-frames");
}

#[test]
fn audio_alone_passes_unchanged() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    relay(&ffmpeg, &media::make(&ffmpeg, "audio.flv", &format!("{TONE} -t 4 {AAC}")));
}

#[test]
fn video_alone_passes_unchanged() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    relay(&ffmpeg, &media::make(&ffmpeg, "video.flv", &format!("{PICTURE} -t 4 {H264}")));
}

#[test]
fn mp3_passes_unchanged() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let args = format!("{PICTURE} {TONE} -t 3 {H264} -c:a libmp3lame -b:a 64k");
    relay(&ffmpeg, &media::make(&ffmpeg, "mp3.flv", &args));
}

#[test]
fn a_transport_stream_is_published_though_its_first_header_of_sound_is_empty() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let sample = media::sample(&ffmpeg);
    let file = media::make(&ffmpeg, "sample.ts", &format!("-i {} -c copy", sample.display()));
    let server = Server::start();
    let url = server.url("livestream");
    let recorder = Recorder::start(&ffmpeg, &server, &url);
    media::publish(&ffmpeg, &file, &url);
    server.line("ignore an empty Audio sequence header");
    let expected = Contents::of(&ffmpeg, &sample);
    let recorded = recorder.finish(&server, expected.count());
    let hashes = |contents: &Contents| -> Vec<_> {
        contents.packets[&1].iter().map(|packet| packet.hash.clone()).collect()
    };
    assert_eq!(hashes(&recorded), hashes(&expected), "the sound");
    assert_eq!(recorded.packets[&0].len(), expected.packets[&0].len(), "the pictures");
}

#[test]
fn old_codecs_pass_unchanged() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let args = format!("{PICTURE} {TONE} -t 3 -c:v flv1 -g 25 -c:a adpcm_swf");
    relay(&ffmpeg, &media::make(&ffmpeg, "flv1.flv", &args));
}

#[test]
fn a_stream_that_starts_beyond_the_24_bits_of_a_timestamp_passes_unchanged() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let sample = media::sample(&ffmpeg);
    // From 777 ms before 2^24.
    for seconds in ["16776.439", "20000"] {
        let args = format!("-i {} -c copy -output_ts_offset {seconds}", sample.display());
        let file = media::make(&ffmpeg, "24bit.flv", &args);
        relay(&ffmpeg, &file);
        let small = Server::with("chunk_size 128; vhost __defaultVhost__ { }");
        relay_through(small, &ffmpeg, &file);
    }
}

#[test]
fn a_stream_across_the_31_bits_of_a_timestamp_goes_on() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let sample = media::sample(&ffmpeg);
    let server = Server::start();
    let url = server.url("livestream");
    let recorder = Recorder::start(&ffmpeg, &server, &url);
    // From 1.5 s before 2^31.
    let after = "-c copy -output_ts_offset 2147482.148";
    media::publish_with(&ffmpeg, "", &sample, after, &url).finish();
    let expected = Contents::of(&ffmpeg, &sample).starting_at_zero();
    let recorded = recorder.finish(&server, expected.count()).starting_at_zero();
    recorded.assert_monotonic();
    assert_eq!(recorded, expected);
}

#[test]
fn ffprobe_finds_both_streams_and_a_key_frame_first() {
    let (Some(ffmpeg), Some(ffprobe)) = (tool("ffmpeg"), tool("ffprobe")) else { return };
    let server = Server::start();
    let url = server.url("livestream");
    let _publisher = media::publish_live(&ffmpeg, &media::sample(&ffmpeg), &url);
    server.line("start publish");
    let show = "-v error -rw_timeout 5000000 -show_streams -of compact";
    let shown = run(&ffprobe, show.split(' ').chain([url.as_str()]));
    for codec in ["codec_name=h264", "codec_name=aac"] {
        assert!(shown.contains(codec), "{codec}: {shown}");
    }
    if cfg!(feature = "digest") {
        server.line("complex handshake success");
    }
    let show = "-v error -select_streams v -show_entries packet=flags -of csv -read_intervals %+#1";
    let shown = run(&ffprobe, show.split(' ').chain([url.as_str()]));
    assert!(shown.starts_with("packet,K"), "the first picture is no key frame: {shown}");
}

#[test]
fn rtmpdump_records_what_ffmpeg_publishes() {
    let (Some(ffmpeg), Some(rtmpdump)) = (tool("ffmpeg"), tool("rtmpdump")) else { return };
    record(&ffmpeg, |url, file| spawn(&rtmpdump, ["--live", "-r", url, "-o", file]));
}

#[test]
fn gstreamer_plays_what_ffmpeg_publishes() {
    let (Some(ffmpeg), Some(gst)) = (tool("ffmpeg"), gstreamer()) else { return };
    record(&ffmpeg, |url, file| {
        let sink = format!("filesink location={file} buffer-mode=unbuffered sync=false");
        spawn(&gst, format!("-q rtmp2src location={url} ! {sink}").split(' '))
    });
}

/// What `player` writes to an FLV file is what was published.
fn record(ffmpeg: &Path, player: impl Fn(&str, &str) -> Running) {
    let server = Server::start();
    let dir = TempDir::new();
    let file = dir.join("record.flv");
    let url = server.url("livestream");
    let mut player = player(&url, &file.display().to_string());
    server.line("start play");
    let sample = media::sample(ffmpeg);
    media::publish(ffmpeg, &sample, &url);
    let wanted = fs::metadata(&sample).unwrap().len();
    eventually("the player has the stream", Duration::from_secs(10), || {
        // The player writes blocks of 4 KB.
        fs::metadata(&file).is_ok_and(|m| m.len() + 5000 > wanted)
    });
    std::thread::sleep(Duration::from_millis(300));
    server.signal(Signal::TERM);
    assert!(player.wait(SOON).is_some(), "the player does not end with the server");
    let expected = Contents::of(ffmpeg, &sample).starting_at_zero();
    assert_eq!(Contents::of(ffmpeg, &file).starting_at_zero(), expected);
}

#[test]
fn gstreamer_publishes_and_ffmpeg_records() {
    let (Some(ffmpeg), Some(gst)) = (tool("ffmpeg"), gstreamer()) else { return };
    let server = Server::start();
    let url = server.url("livestream");
    let sample = media::sample(&ffmpeg);
    let recorder = Recorder::start(&ffmpeg, &server, &url);
    let pipeline = format!(
        "-q filesrc location={} ! flvdemux name=d ! queue ! h264parse ! flvmux streamable=true \
         name=m ! rtmp2sink location={url} d.audio ! queue ! aacparse ! m.",
        sample.display()
    );
    run(&gst, pipeline.split(' '));
    server.line("stop publish");
    let expected = Contents::of(&ffmpeg, &sample).starting_at_zero();
    let recorded = recorder.finish(&server, expected.count());
    // Its muxer writes sequence headers and times anew; the frames stay as they are.
    for (stream, packets) in &expected.packets {
        let hashes = |c: &[media::Seen]| c.iter().map(|p| p.hash.clone()).collect::<Vec<_>>();
        let seen = recorded.packets.get(stream).unwrap();
        assert_eq!(hashes(seen), hashes(packets), "stream {stream}");
    }
}

fn gstreamer() -> Option<std::path::PathBuf> {
    let (gst, inspect) = (tool("gst-launch-1.0")?, tool("gst-inspect-1.0")?);
    let found = Command::new(inspect).args(["--exists", "rtmp2sink"]).status();
    if found.is_ok_and(|s| s.success()) { Some(gst) } else { common::skip("GStreamer's rtmp2") }
}

/// nginx with RTMP, which has `relay` as a line of its application.
fn nginx(relay: &str) -> Option<(Running, TempDir, u16)> {
    let nginx = tool("nginx")?;
    let module = Path::new("/usr/lib/nginx/modules/ngx_rtmp_module.so");
    if !module.is_file() {
        return common::skip("nginx's RTMP module");
    }
    let (dir, port) = (TempDir::new(), free_port());
    let conf = format!(
        "load_module {};\ndaemon off; master_process off; pid {1}/nginx.pid;\n\
         error_log {1}/error.log; events {{ worker_connections 64; }}\n\
         rtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ live on; {relay} }} }} }}\n",
        module.display(),
        dir.path().display(),
    );
    fs::write(dir.join("nginx.conf"), conf).unwrap();
    let arguments = ["-e", "error.log", "-c", "nginx.conf", "-p", "."];
    let mut peer = start(Command::new(nginx).args(arguments).current_dir(dir.path()));
    eventually("nginx listens", Duration::from_secs(5), || {
        assert!(peer.is_running());
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    Some((peer, dir, port))
}

/// Every packet that was recorded is one of the file's.
fn assert_from(recorded: &Contents, source: &Contents) {
    for (stream, packets) in &recorded.packets {
        let source = source.packets.get(stream).unwrap();
        for packet in packets {
            let known = source.iter().any(|p| p.hash == packet.hash);
            assert!(known, "a packet of stream {stream} is none of the publisher's: {packet:?}");
        }
    }
    assert_eq!(recorded.packets.len(), source.packets.len());
    recorded.assert_monotonic();
}

#[test]
fn nginx_rtmp_pulls_a_stream() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let server = Server::start();
    let Some((_nginx, _dir, port)) = nginx(&format!("pull {};", server.tc_url())) else { return };
    let sample = media::sample(&ffmpeg);
    let _publisher = media::publish_live(&ffmpeg, &sample, &server.url("livestream"));
    server.line("start publish");
    let url = format!("rtmp://127.0.0.1:{port}/live/livestream");
    let recorded = Recorder::start(&ffmpeg, &server, &url).take(60);
    assert_from(&recorded, &Contents::of(&ffmpeg, &sample));
}

#[test]
fn nginx_rtmp_pushes_a_stream() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let server = Server::start();
    let Some((_nginx, _dir, port)) = nginx(&format!("push {};", server.tc_url())) else { return };
    let sample = media::sample(&ffmpeg);
    let url = format!("rtmp://127.0.0.1:{port}/live/livestream");
    let _publisher = media::publish_live(&ffmpeg, &sample, &url);
    server.line("start publish");
    let recorded = Recorder::start(&ffmpeg, &server, &server.url("livestream")).take(60);
    assert_from(&recorded, &Contents::of(&ffmpeg, &sample));
}

#[cfg(feature = "demo")]
#[test]
fn ffprobe_plays_the_demo() {
    let Some(ffprobe) = tool("ffprobe") else { return };
    let server = Server::without_file(&["--demo"]);
    let show = "-v error -rw_timeout 5000000 -show_streams -of compact";
    let shown = run(&ffprobe, show.split(' ').chain([server.url("demo").as_str()]));
    for codec in ["codec_name=h264", "codec_name=aac"] {
        assert!(shown.contains(codec), "{codec}: {shown}");
    }
}
