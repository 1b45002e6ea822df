//! Links that lose packets: MPEG-TS and RTSP pushed through them, cameras pulled.

use super::common::client::Peer;
use super::common::link::{FAR, Link, NEAR, Quality};
use super::common::media::{AAC, TONE, make, publish_live};
use super::common::{
    Running, SOON, Server, at_once, eventually, free_port, run, skip, spawn, start, tool,
};
use super::media::Source;
use super::{assert_part, number, times};
use runnel::media::{Kind, Packet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Eight seconds of small pictures: one of some packets that are lost is no rare thing, nor is a whole
/// one.
fn sample(ffmpeg: &Path) -> PathBuf {
    const PICTURE: &str = "-f lavfi -i testsrc2=s=160x90:r=25";
    const H264: &str = "-c:v libx264 -threads 1 -preset ultrafast -bf 2 -g 25 -pix_fmt yuv420p";
    make(ffmpeg, "lossy.flv", &format!("{PICTURE} {TONE} -t 8 {H264} {AAC}"))
}

/// GStreamer with what it takes to send and to be a camera.
fn gstreamer() -> Option<PathBuf> {
    let inspect = tool("gst-inspect-1.0")?;
    for element in ["rtspclientsink", "h264parse", "flvdemux", "rtpmp4gpay", "mpegtsmux", "qtdemux"]
    {
        if !Command::new(&inspect).arg(element).output().unwrap().status.success() {
            return skip(&format!("{element} of GStreamer"));
        }
    }
    tool("gst-launch-1.0")
}

/// A link that loses so many of a hundred packets.
fn link(percent: u32, jitter: Duration) -> Option<Link> {
    let (delay, loss) = (Duration::from_millis(30), f64::from(percent) / 100.0);
    Link::new(Quality { delay, jitter, loss }, percent.into())
}

/// A server at the far end with a stream that is published beside it, and what its player gets.
struct Far {
    server: Arc<Server>,
    healthy: Running,
    player: JoinHandle<Vec<Packet>>,
}

impl Far {
    /// With `text` before the default vhost, and `vhost` in it.
    fn start(link: &Link, ffmpeg: &Path, file: &Path, text: &str, vhost: &str) -> Self {
        let server = link.far.run(|| {
            let vhost = format!("vhost __defaultVhost__ {{ min_latency on; {vhost} }}");
            Arc::new(Server::with(&format!("{text} {vhost}")))
        });
        let healthy = link.far.run(|| publish_live(ffmpeg, file, &server.url("healthy")));
        let player = play(link, &server, "healthy", SOON);
        Self { server, healthy, player }
    }

    /// All that a player gets of a stream until it ends. To be called before it begins.
    fn played(&self, link: &Link, stream: &'static str) -> JoinHandle<Vec<Packet>> {
        play(link, &self.server, stream, Duration::from_secs(3))
    }

    fn dvr(&self, stream: &str) -> PathBuf {
        self.server.dir.path().join("rec").join(stream).with_extension("flv")
    }

    /// The other stream went on all the time, without a hole.
    fn finish(mut self) {
        assert!(self.healthy.is_running());
        self.healthy.stop();
        drop(self.server);
        let packets = self.player.join().unwrap();
        for kind in [Kind::Video, Kind::Audio] {
            let times = times(&packets, kind);
            assert!(times.len() > 150, "{kind:?} {}", times.len());
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] < 100), "{kind:?} {times:?}");
        }
    }
}

/// A player at the far end, which has begun, and ends when nothing comes for `silence`.
fn play(
    link: &Link,
    server: &Arc<Server>,
    stream: &'static str,
    silence: Duration,
) -> JoinHandle<Vec<Packet>> {
    let (begun, wait) = channel();
    let server = server.clone();
    let player = link.far.run(|| {
        thread::spawn(move || {
            let mut player = Peer::play(&server, stream);
            drop(server);
            begun.send(()).unwrap();
            let mut packets = vec![player.packet(SOON * 3).expect("a packet")];
            packets.extend(player.packets_until_silence(silence));
            packets
        })
    });
    wait.recv().expect("a player begins");
    player
}

/// A recording is read and decoded to its end.
fn assert_decodes(ffmpeg: &Path, file: &Path) {
    let Some(ffprobe) = tool("ffprobe") else { return };
    eventually("the recording is there", SOON, || file.is_file());
    let file = file.to_str().unwrap();
    let show = "-v fatal -count_frames -show_entries stream=codec_name,nb_read_frames -of csv";
    let shown = run(&ffprobe, show.split(' ').chain([file]));
    let frames = |codec: &str| {
        let line = shown.lines().find(|line| line.contains(codec));
        let line = line.unwrap_or_else(|| panic!("no {codec} in {shown}"));
        line.rsplit(',').next().unwrap().parse::<u64>().unwrap()
    };
    assert!(frames("h264") > 10 && frames("aac") > 100, "{shown}");
    run(ffmpeg, ["-v", "fatal", "-i", file, "-f", "null", "-"]);
}

const RECORDED: &str = "dvr { enabled on; dvr_path rec/[stream].flv; dvr_plan session; }";

#[test]
fn mpegts_over_a_link_with_losses_is_found_again_and_gives_whole_pictures() {
    let (Some(ffmpeg), Some(launch)) = (tool("ffmpeg"), gstreamer()) else { return };
    let file = sample(&ffmpeg);
    let source = Source::of(&file);
    let links: Vec<_> = [2, 5].map(|percent| (percent, link(percent, Duration::ZERO))).into();
    at_once(links, |(percent, link)| {
        let Some(link) = link else { return };
        let senders = ["ffmpeg", "gstreamer"].map(|sender| (sender, link.far.run(free_port)));
        let casters = senders.map(|(sender, port)| {
            format!(
                "stream_caster {{ enabled on; caster mpegts_over_udp; listen {FAR}:{port}; \
                 output rtmp://127.0.0.1/live/{sender}; }}"
            )
        });
        let far = Far::start(&link, &ffmpeg, &file, &casters.concat(), RECORDED);
        let played = senders.map(|(sender, port)| {
            let player = far.played(&link, sender);
            let path = file.display();
            let (program, args) = if sender == "ffmpeg" {
                let args = format!(
                    "-v error -re -i {path} -c copy -f mpegts udp://{FAR}:{port}?pkt_size=1316"
                );
                (&ffmpeg, args)
            } else {
                // Without the parameter sets again and again nobody could begin later.
                let args = format!(
                    "-q filesrc location={path} ! flvdemux name=d mpegtsmux name=m alignment=7 ! \
                     udpsink host={FAR} port={port} d.video ! queue ! h264parse config-interval=-1 ! m. \
                     d.audio ! queue ! aacparse ! m."
                );
                (&launch, args)
            };
            let push = link.near.run(|| spawn(program, args.split_whitespace()));
            (sender, player, push)
        });
        for (sender, player, mut push) in played {
            push.finish();
            let name = format!("{sender}, {percent} %");
            let packets = player.join().unwrap();
            // 16 packets of the sound may be lost in a row, which is once round its counter.
            let unseen = usize::from(percent == 5);
            let came = assert_part(&name, &source, &packets, false, unseen);
            println!("{name}: {came} of {} pictures", source.pictures.len());
            assert!(came > source.pictures.len() / 2, "{name}");
            assert!(came < source.pictures.len(), "{name}: nothing was lost");
            assert_decodes(&ffmpeg, &far.dvr(sender));
        }
        for at in [1, 2] {
            let end = far.server.line_number("MPEG-TS ends, timeout", at);
            assert!(number(&end, "continuity=") > 0, "{end}");
        }
        assert_eq!(far.server.count("start publish"), 3, "each is one stream");
        assert!(link.counts().1 > 0);
        far.finish();
    });
}

#[test]
fn rtsp_pushed_over_a_link_with_losses_gives_whole_pictures_from_key_frames_on() {
    let (Some(ffmpeg), Some(launch)) = (tool("ffmpeg"), gstreamer()) else { return };
    let file = sample(&ffmpeg);
    let source = Source::of(&file);
    let links: Vec<_> =
        [2, 5].map(|percent| (percent, link(percent, Duration::from_millis(4)))).into();
    at_once(links, |(percent, link)| {
        let Some(link) = link else { return };
        let port = link.far.run(free_port);
        let caster = format!(
            "stream_caster {{ enabled on; caster rtsp; listen {FAR}:{port}; rtp_port_min 40000; \
             rtp_port_max 40100; output rtmp://127.0.0.1/[app]/[stream]; }}"
        );
        let far = Far::start(&link, &ffmpeg, &file, &caster, RECORDED);
        let played = ["ffmpeg", "gstreamer"].map(|sender| {
            let player = far.played(&link, sender);
            let (path, url) = (file.display(), format!("rtsp://{FAR}:{port}/live/{sender}"));
            let (program, args) = if sender == "ffmpeg" {
                let to = format!("-f rtsp -rtsp_transport udp {url}");
                (&ffmpeg, format!("-v error -re -i {path} -c copy {to}"))
            } else {
                let args = format!(
                    "-q filesrc location={path} ! flvdemux name=d rtspclientsink name=s \
                     protocols=udp location={url} sink_1::payloader=rtpmp4gpay \
                     d.video ! queue ! h264parse ! s.sink_0 d.audio ! queue ! aacparse ! s.sink_1"
                );
                (&launch, args)
            };
            // GStreamer hangs at its end now and then: it is not waited for.
            let push = link.near.run(|| spawn(program, args.split_whitespace()));
            (sender, player, push)
        });
        for (sender, player, _push) in played {
            let name = format!("{sender}, {percent} %");
            let packets = player.join().unwrap();
            let came = assert_part(&name, &source, &packets, true, 0);
            println!("{name}: {came} of {} pictures", source.pictures.len());
            assert!(came > 10 && came < source.pictures.len(), "{name}: {came} pictures");
            assert_decodes(&ffmpeg, &far.dvr(sender));
        }
        for at in [1, 2] {
            let end = far.server.line_number("RECORD ends", at);
            assert!(number(&end, "lost=") > 0, "{end}");
            assert!(number(&end, "pictures dropped=") > 0, "{end}");
        }
        far.finish();
    });
}

#[test]
fn a_camera_over_a_link_with_losses_gives_whole_pictures_from_key_frames_on() {
    let (Some(ffmpeg), Some(_)) = (tool("ffmpeg"), gstreamer()) else { return };
    let file = sample(&ffmpeg);
    let source = Source::of(&file);
    let mp4 = make(&ffmpeg, "lossy.mp4", &format!("-i {} -c copy", file.display()));
    let python = PathBuf::from("/usr/bin/python3");
    let check = "import gi; gi.require_version('GstRtspServer', '1.0')";
    let works = Command::new(&python).args(["-c", check]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        skip::<()>("gir1.2-gst-rtsp-server-1.0 and python3-gi");
        return;
    }
    let links: Vec<_> =
        [2, 5].map(|percent| (percent, link(percent, Duration::from_millis(4)))).into();
    at_once(links, |(percent, link)| {
        let Some(link) = link else { return };
        let port = link.near.run(free_port);
        let pipeline = format!(
            "( filesrc location={} ! qtdemux name=d d.video_0 ! queue ! h264parse ! \
             rtph264pay name=pay0 pt=96 config-interval=-1 d.audio_0 ! queue ! aacparse ! \
             rtpmp4gpay name=pay1 pt=97 )",
            mp4.display()
        );
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/rtsp_server.py");
        let camera = link.near.run(|| {
            let mut command = Command::new(&python);
            command.arg(script).arg(port.to_string()).arg(pipeline).args(["udp", NEAR]);
            start(&mut command)
        });
        camera.out.wait("listening", 1, SOON).expect("the camera listens");
        let ingest = format!(
            "ingest cam {{ enabled on; on_demand on; linger 1; \
             input {{ type stream; url rtsp://{NEAR}:{port}/s; }} \
             engine {{ output rtmp://127.0.0.1:[port]/live/cam; }} }} {RECORDED}"
        );
        let far = Far::start(&link, &ffmpeg, &file, "", &ingest);
        let player = far.played(&link, "cam");
        let name = format!("{percent} %");
        let packets = player.join().unwrap();
        let came = assert_part(&name, &source, &packets, true, 0);
        println!("{name}: {came} of {} pictures", source.pictures.len());
        assert!(came > 10 && came < source.pictures.len(), "{name}: {came} pictures");
        far.server.line("packets over UDP");
        let end = far.server.line("camera ends, ");
        assert!(number(&end, "lost=") > 0, "{end}");
        assert!(number(&end, "pictures dropped=") > 0, "{end}");
        assert_decodes(&ffmpeg, &far.dvr("cam"));
        far.finish();
    });
}
