//! Streams that come in as MPEG-TS over UDP, over RTSP and as FLV over HTTP, pushed by ffmpeg,
//! GStreamer and curl. What players get is what was sent, bit for bit.

#![cfg(all(
    feature = "caster-mpegts",
    feature = "caster-rtsp",
    feature = "caster-flv",
    feature = "hls",
    feature = "dvr",
    feature = "service"
))]

mod common;

use common::client::Peer;
use common::elementary::{extract, only_slices, slices};
use common::http::Http;
use common::media::{self, AAC, H264, PICTURE, TONE};
use common::{
    RUNNEL, Running, SOON, Server, TempDir, at_once, eventually, free_port, run, skip, spawn, tool,
};
use runnel::codec::nal::{self, Video};
use runnel::format::ts::{Body, read};
use runnel::media::{Kind, Packet};
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const HEVC: &str = "-c:v libx265 -preset ultrafast -g 25 -bf 2 -tag:v hvc1 \
                    -x265-params log-level=none:pools=1:frame-threads=1";
/// How long a sender may be silent.
const SHORT: &str = "publish { firstpkt_timeout 2000; normal_timeout 2000; }";
const SECURITY: &str = "security { enabled on; deny publish 127.0.0.1; allow play all; }";

/// A server with the caster of `kind`, and its port. `more` stands in the caster's block, `vhost` in
/// the default vhost's.
fn caster(kind: &str, more: &str, vhost: &str) -> (Server, u16) {
    let port = free_port();
    let server =
        Server::with(&format!("{} vhost __defaultVhost__ {{ {vhost} }}", block(kind, port, more)));
    server.line("caster listens at");
    (server, port)
}

fn block(kind: &str, port: u16, more: &str) -> String {
    let output = match kind {
        "mpegts_over_udp" => "rtmp://127.0.0.1/live/livestream",
        _ => "rtmp://127.0.0.1/[app]/[stream]",
    };
    let output = if more.contains("output") { String::new() } else { format!("output {output};") };
    format!(
        "stream_caster {{ enabled on; caster {kind}; listen 127.0.0.1:{port}; {output} {more} }}"
    )
}

/// Ports for RTP that other tests do not have, and those at the same time least of all.
fn rtp_ports() -> String {
    let first = 33_000 + free_port() % 600 * 16;
    format!("rtp_port_min {first}; rtp_port_max {};", first + 16)
}

/// Runs ffmpeg with `args`, which are cut at blanks, `FILE` being the file.
fn ffmpeg(program: &Path, file: &Path, args: &str) -> Running {
    let file = file.to_str().unwrap();
    let args = args.split_whitespace().map(|arg| if arg == "FILE" { file } else { arg });
    spawn(program, ["-v", "error"].into_iter().chain(args))
}

fn push_ts(program: &Path, file: &Path, port: u16, more: &str) -> Running {
    let args = format!("-re -i FILE -c copy {more} -f mpegts udp://127.0.0.1:{port}?pkt_size=1316");
    ffmpeg(program, file, &args)
}

/// `transport` may be followed by other options.
fn push_rtsp(program: &Path, file: &Path, transport: &str, url: &str) -> Running {
    let args = format!("-re -i FILE -c copy -f rtsp -rtsp_transport {transport} {url}");
    ffmpeg(program, file, &args)
}

/// All that a player gets of a stream whose end the log has told.
fn rest_of(mut player: Peer) -> Vec<Packet> {
    let mut packets = vec![player.packet(SOON).expect("a packet")];
    packets.extend(player.packets_until_silence(Duration::from_secs(1)));
    packets
}

fn frames(packets: &[Packet], kind: Kind) -> impl Iterator<Item = &Packet> {
    packets.iter().filter(move |packet| packet.kind == kind && !packet.header)
}

fn sound(packets: &[Packet]) -> Vec<u8> {
    let frames = frames(packets, Kind::Audio).map(|packet| {
        let Ok(Body::Sound(_, data)) = read(packet.kind, &packet.payload) else { panic!() };
        data
    });
    frames.collect::<Vec<_>>().concat()
}

/// The frames of an ADTS stream without their headers.
fn without_adts(stream: &[u8]) -> Vec<u8> {
    let (mut rest, mut frames) = (stream, Vec::new());
    while let Ok(head) = runnel::format::adts::read(rest) {
        frames.extend_from_slice(&rest[head.header..head.len]);
        rest = &rest[head.len..];
    }
    frames
}

/// What is in a file.
struct Original {
    video: Video,
    slices: Vec<Vec<u8>>,
    sound: Vec<u8>,
}

fn original(program: &Path, file: &Path, video: Video, mp3: bool) -> Original {
    let form = if video == Video::Hevc { "hevc" } else { "h264" };
    let pictures = extract(program, file, &format!("-map 0:v -c copy -f {form}"));
    let slices = only_slices(video, nal::units(&pictures));
    let sound = if mp3 {
        extract(program, file, "-map 0:a -c copy -f mp3 -write_xing 0 -id3v2_version 0")
    } else {
        without_adts(&extract(program, file, "-map 0:a -c copy -f adts"))
    };
    Original { video, slices, sound }
}

impl Original {
    fn assert_is(&self, packets: &[Packet]) {
        self.assert_is_but(packets, 0);
    }

    /// The same for a sender that keeps the last frames of sound to itself.
    fn assert_is_but(&self, packets: &[Packet], bytes: usize) {
        let got = slices(packets, self.video);
        assert!(got == self.slices, "{} slices of {}", got.len(), self.slices.len());
        let (got, all) = (sound(packets), &self.sound);
        let whole = all.starts_with(&got) && got.len() + bytes >= all.len();
        assert!(whole, "{} bytes of sound of {}", got.len(), all.len());
        for kind in [Kind::Video, Kind::Audio] {
            let times: Vec<_> = frames(packets, kind).map(|packet| packet.dts).collect();
            assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{kind:?} {times:?}");
            let has_header = packets.iter().any(|packet| packet.kind == kind && packet.header);
            assert!(
                has_header || frames(packets, kind).all(|p| p.payload[0] >> 4 == 2),
                "{kind:?}"
            );
        }
    }
}

/// Video and audio are as far apart as in the FLV file, to `within` ms.
fn assert_in_sync(packets: &[Packet], file: &Path, within: i64) {
    let want = media::flv_packets(&fs::read(file).unwrap());
    let apart = |packets: &[Packet]| {
        let time = |kind, at| i64::from(frames(packets, kind).nth(at).unwrap().dts);
        time(Kind::Video, 50) - time(Kind::Audio, 80)
    };
    let (got, want) = (apart(packets), apart(&want));
    assert!((got - want).abs() <= within, "{got} ms, {want} in the file");
}

fn h264_mp4(program: &Path) -> PathBuf {
    media::make(program, "caster.mp4", &format!("-i {} -c copy", media::sample(program).display()))
}

fn hevc_mp4(program: &Path) -> PathBuf {
    media::make(program, "caster-hevc.mp4", &format!("{PICTURE} {TONE} -t 3 {HEVC} {AAC}"))
}

fn mp3_flv(program: &Path) -> PathBuf {
    let args = format!("{PICTURE} {TONE} -t 3 {H264} -c:a libmp3lame -b:a 64k");
    media::make(program, "caster-mp3.flv", &args)
}

/// Debian's ffmpeg and, where there is one, a newer one.
fn all_ffmpegs(program: PathBuf) -> Vec<PathBuf> {
    let newer = std::env::var_os("RUNNEL_FFMPEG_NEW").map(PathBuf::from);
    [program].into_iter().chain(newer.filter(|path| path.is_file())).collect()
}

#[test]
fn mpegts_over_udp_is_played_as_it_was_sent() {
    let Some(debian) = tool("ffmpeg") else { return };
    let (h264, hevc, mp3) = (media::sample(&debian), hevc_mp4(&debian), mp3_flv(&debian));
    let files =
        [(&h264, Video::H264, false), (&hevc, Video::Hevc, false), (&mp3, Video::H264, true)];
    let files = files.map(|(file, video, mp3)| (file, original(&debian, file, video, mp3)));
    let programs = all_ffmpegs(debian);
    let cases = programs.iter().flat_map(|program| files.iter().map(move |file| (program, file)));
    at_once(cases, |(program, (file, want))| {
        let (server, port) = caster("mpegts_over_udp", "", SHORT);
        let player = Peer::play(&server, "livestream");
        push_ts(program, file, port, "").finish();
        let end = server.line("MPEG-TS ends, timeout, the sender fell silent");
        let packets = rest_of(player);
        want.assert_is(&packets);
        if *file == &h264 {
            assert_in_sync(&packets, file, 30);
        }
        server.line("start publish /live/livestream from mpegts_over_udp 127.0.0.1");
        assert!(end.contains("continuity=0"), "{end}");
        server.line("stop publish");
    });
}

#[test]
fn sound_or_picture_alone_is_taken() {
    let Some(program) = tool("ffmpeg") else { return };
    let file = media::sample(&program);
    let want = original(&program, &file, Video::H264, false);
    let cases = [("mpegts_over_udp", "v"), ("mpegts_over_udp", "a"), ("rtsp", "v"), ("rtsp", "a")];
    at_once(cases, |(kind, only)| {
        let (server, port) = caster(kind, "", SHORT);
        let player = Peer::play(&server, "livestream");
        let to = match kind {
            "rtsp" => {
                format!("-f rtsp -rtsp_transport tcp rtsp://127.0.0.1:{port}/live/livestream")
            }
            _ => format!("-f mpegts udp://127.0.0.1:{port}?pkt_size=1316"),
        };
        ffmpeg(&program, &file, &format!("-re -i FILE -map 0:{only} -c copy {to}")).finish();
        server.line("stop publish");
        let packets = rest_of(player);
        if only == "v" {
            assert!(slices(&packets, Video::H264) == want.slices, "{kind}");
        } else {
            let sound = sound(&packets);
            assert!(want.sound.starts_with(&sound), "{kind}");
            assert!(sound.len() + 1500 >= want.sound.len(), "{kind}");
        }
    });
}

#[test]
fn mpegts_of_a_group_comes_through_the_interface_that_is_named() {
    let Some(program) = tool("ffmpeg") else { return };
    let file = media::sample(&program);
    let want = original(&program, &file, Video::H264, false);
    at_once([(1, "interface 127.0.0.1;"), (2, "interface lo;")], |(octet, interface)| {
        let (port, group) = (free_port(), format!("239.255.77.{octet}"));
        let server = Server::with(&format!(
            "stream_caster {{ enabled on; caster mpegts_over_udp; listen {group}:{port}; \
             {interface} output rtmp://127.0.0.1/live/livestream; }} vhost __defaultVhost__ {{ {SHORT} }}"
        ));
        server.line("MPEG-TS caster listens at");
        let player = Peer::play(&server, "livestream");
        let url = format!("udp://{group}:{port}?pkt_size=1316&localaddr=127.0.0.1");
        ffmpeg(&program, &file, &format!("-re -i FILE -c copy -f mpegts {url}")).finish();
        server.line("MPEG-TS ends");
        want.assert_is(&rest_of(player));
    });
}

#[test]
fn a_stream_that_falls_silent_ends_and_begins_again() {
    let Some(program) = tool("ffmpeg") else { return };
    let file = media::sample(&program);
    let (server, port) = caster("mpegts_over_udp", "", "publish { normal_timeout 1000; }");
    let want = original(&program, &file, Video::H264, false);
    for round in 1..=2 {
        let player = Peer::play(&server, "livestream");
        push_ts(&program, &file, port, "").finish();
        server.line_number("MPEG-TS ends, timeout, the sender fell silent", round);
        let packets = rest_of(player);
        want.assert_is(&packets);
    }
    assert_eq!(server.count("start publish"), 2);
}

#[test]
fn a_server_that_leaves_takes_no_datagrams_any_more() {
    let Some(program) = tool("ffmpeg") else { return };
    let file = media::sample(&program);
    let (server, port) = caster("mpegts_over_udp", "", "");
    // Somebody who does not go.
    let mut player = Peer::play(&server, "livestream");
    let args = format!(
        "-re -stream_loop -1 -i FILE -c copy -f mpegts udp://127.0.0.1:{port}?pkt_size=1316"
    );
    let _push = ffmpeg(&program, &file, &args);
    player.packets(10);
    server.signal(Signal::USR2);
    server.line("MPEG-TS ends, server stops");
    server.line("MPEG-TS caster listens no more at");
    let socket = UdpSocket::bind(("127.0.0.1", port));
    assert!(socket.is_ok(), "the port is free for the next server");
    assert_eq!(server.count("start publish"), 1);
}

#[test]
fn a_caster_without_a_sender_leaves_its_port_to_the_next_server() {
    let (server, port) = caster("mpegts_over_udp", "", "");
    // Somebody who does not go.
    let _player = Peer::play(&server, "livestream");
    server.signal(Signal::USR2);
    server.line("MPEG-TS caster listens no more at");
    eventually("the port is free", Duration::from_secs(1), || {
        UdpSocket::bind(("127.0.0.1", port)).is_ok()
    });
}

#[test]
fn one_sender_at_a_time_is_listened_to() {
    let Some(program) = tool("ffmpeg") else { return };
    let (file, other) = (media::sample(&program), mp3_flv(&program));
    let (server, port) = caster("mpegts_over_udp", "", SHORT);
    let player = Peer::play(&server, "livestream");
    let mut first = push_ts(&program, &file, port, "");
    server.line("start publish");
    let mut second = push_ts(&program, &other, port, "");
    server.line("ignore datagrams of 127.0.0.1:");
    first.finish();
    second.finish();
    // The other one may be taken for its last moments.
    server.line("MPEG-TS ends");
    let packets = rest_of(player);
    let want = original(&program, &file, Video::H264, false);
    let got = slices(&packets, Video::H264);
    assert!(got.starts_with(&want.slices), "{} {}", got.len(), want.slices.len());
    assert_eq!(server.count("ignore datagrams"), 1);
    let mut third = push_ts(&program, &other, port, "");
    server.line_number("start publish", 2);
    third.finish();
}

/// Passes datagrams on, but for those that it loses, doubles and brings out of order.
struct Relay {
    port: u16,
    over: Arc<AtomicBool>,
}

impl Relay {
    fn start(to: u16, lost: f32, late: f32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (port, over) = (socket.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let end = over.clone();
        thread::spawn(move || {
            let mut rng = fastrand::Rng::with_seed(9);
            let (mut buffer, mut held) = (vec![0; 65536], None::<Vec<u8>>);
            while !end.load(Ordering::Relaxed) {
                let Ok(len) = socket.recv(&mut buffer) else { continue };
                if rng.f32() < lost {
                    continue;
                }
                if held.is_none() && rng.f32() < late {
                    held = Some(buffer[..len].to_vec());
                    continue;
                }
                let _ = socket.send_to(&buffer[..len], ("127.0.0.1", to));
                if let Some(held) = held.take() {
                    let _ = socket.send_to(&held, ("127.0.0.1", to));
                }
            }
        });
        Self { port, over }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

#[test]
fn datagrams_that_are_lost_cost_pictures_and_no_more() {
    let Some(program) = tool("ffmpeg") else { return };
    let args = format!("{PICTURE} {TONE} -t 8 {H264} {AAC}");
    let file = media::make(&program, "caster-8s.flv", &args);
    let (server, port) = caster("mpegts_over_udp", "", SHORT);
    let relay = Relay::start(port, 0.02, 0.01);
    let player = Peer::play(&server, "livestream");
    push_ts(&program, &file, relay.port, "").finish();
    let end = server.line("MPEG-TS ends");
    let packets = rest_of(player);
    let want = original(&program, &file, Video::H264, false);
    let got = slices(&packets, Video::H264);
    let mut rest = want.slices.iter();
    assert!(got.iter().all(|slice| rest.any(|want| want == slice)), "no slice is broken");
    assert!(got.len() > want.slices.len() / 3 && got.len() < want.slices.len(), "{}", got.len());
    assert!(!end.contains("continuity=0"), "{end}");
    assert_eq!(server.count("start publish"), 1, "it is one stream");
}

#[test]
fn ffmpeg_pushes_over_rtsp() {
    let Some(debian) = tool("ffmpeg") else { return };
    let (h264, hevc) = (media::sample(&debian), hevc_mp4(&debian));
    let files = [(&h264, Video::H264), (&hevc, Video::Hevc)];
    let files = files.map(|(file, video)| (file, original(&debian, file, video, false)));
    for program in all_ffmpegs(debian) {
        let cases = files.iter().flat_map(|file| ["tcp", "udp"].map(|transport| (file, transport)));
        at_once(cases, |((file, want), transport)| {
            let (server, port) = caster("rtsp", &rtp_ports(), "");
            let player = Peer::play(&server, "livestream");
            let url = format!("rtsp://127.0.0.1:{port}/live/livestream.sdp");
            push_rtsp(&program, file, transport, &url).finish();
            let end = server.line("RECORD ends");
            let packets = rest_of(player);
            // The rest of a packet of several frames.
            want.assert_is_but(&packets, 1500);
            if *file == &h264 {
                assert_in_sync(&packets, file, 60);
            }
            let way = if transport == "tcp" { "in the connection" } else { "over UDP" };
            server.line(&format!("SETUP track 1, {way}"));
            assert!(end.contains("lost=0") && end.contains("errors=0"), "{end}");
            server.line("RTSP client is done");
        });
    }
}

#[test]
fn gstreamer_pushes_over_rtsp() {
    let Some(program) = tool("ffmpeg") else { return };
    let Some(inspect) = tool("gst-inspect-1.0") else { return };
    for element in ["rtspclientsink", "h264parse", "flvdemux", "rtpmp4gpay", "rtpmp4apay"] {
        if !Command::new(&inspect).arg(element).output().unwrap().status.success() {
            skip::<()>(&format!("{element} of GStreamer"));
            return;
        }
    }
    let launch = tool("gst-launch-1.0").unwrap();
    let file = media::sample(&program);
    let want = original(&program, &file, Video::H264, false);
    let cases = [
        ("tcp", "rtpmp4gpay"),
        ("udp", "rtpmp4gpay"),
        ("tcp", "rtpmp4apay"),
        ("udp", "rtpmp4apay"),
    ];
    at_once(cases, |(protocols, sound)| {
        let (server, port) = caster("rtsp", &rtp_ports(), "");
        let player = Peer::play(&server, "livestream");
        let pipeline = format!(
            "-q filesrc location={} ! flvdemux name=d rtspclientsink name=s protocols={protocols} \
             location=rtsp://127.0.0.1:{port}/live/livestream sink_1::payloader={sound} \
             d.video ! queue ! h264parse ! s.sink_0 d.audio ! queue ! aacparse ! s.sink_1",
            file.display()
        );
        let _push = spawn(&launch, pipeline.split_whitespace());
        // It hangs at its end now and then, and falls silent.
        assert!(server.wait_for_line("RECORD ends", 1, SOON * 2).is_some());
        want.assert_is(&rest_of(player));
    });
}

#[test]
fn ffmpeg_pushes_latm_over_rtsp() {
    let Some(debian) = tool("ffmpeg") else { return };
    let file = media::sample(&debian);
    let want = original(&debian, &file, Video::H264, false);
    for program in all_ffmpegs(debian.clone()) {
        for transport in ["tcp", "udp"] {
            let (server, port) = caster("rtsp", &rtp_ports(), "");
            let player = Peer::play(&server, "livestream");
            let url = format!("rtsp://127.0.0.1:{port}/live/livestream.sdp");
            push_rtsp(&program, &file, &format!("{transport} -rtpflags latm"), &url).finish();
            let end = server.line("RECORD ends");
            let packets = rest_of(player);
            want.assert_is_but(&packets, 1500);
            assert_in_sync(&packets, &file, 60);
            assert!(end.contains("lost=0") && end.contains("errors=0"), "{end}");
        }
    }
}

/// The elements of a LOAS stream (ISO/IEC 14496-3 §1.7.2).
fn elements(stream: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut elements) = (stream, Vec::new());
    while let [0x56, high, low, after @ ..] = rest {
        assert_eq!(high >> 5, 7);
        let len = usize::from(high & 0x1f) << 8 | usize::from(*low);
        let (element, next) = after.split_at(len);
        elements.push(element);
        rest = next;
    }
    assert!(rest.is_empty(), "{} bytes left", rest.len());
    elements
}

#[test]
fn latm_that_says_in_its_packets_what_it_is_is_taken() {
    let Some(program) = tool("ffmpeg") else { return };
    let file = media::sample(&program);
    let want = without_adts(&extract(&program, &file, "-map 0:a -c copy -f adts"));
    let stream = extract(&program, &file, "-map 0:a -c copy -f latm -smc-interval 8");
    let elements = elements(&stream);
    let (server, port) = caster("rtsp", "", "");
    let player = Peer::play(&server, "latm");
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let url = format!("rtsp://127.0.0.1:{port}/live/latm");
    let sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=audio 0 RTP/AVP 97\r\n\
               a=rtpmap:97 MP4A-LATM/44100/2\r\na=control:streamid=0\r\n";
    let said = [
        format!(
            "ANNOUNCE {url} RTSP/1.0\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        ),
        format!(
            "SETUP {url}/streamid=0 RTSP/1.0\r\nCSeq: 2\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record\r\n\r\n"
        ),
        format!("RECORD {url} RTSP/1.0\r\nCSeq: 3\r\n\r\n"),
    ];
    for text in said {
        socket.write_all(text.as_bytes()).unwrap();
        let mut answer = [0; 2048];
        let len = socket.read(&mut answer).unwrap();
        assert!(
            answer[..len].starts_with(b"RTSP/1.0 200"),
            "{}",
            String::from_utf8_lossy(&answer[..len])
        );
    }
    // The first ones come before anybody said what they are.
    let mut sequence = 0_u16;
    for (at, element) in elements.iter().enumerate() {
        // Each third one in two packets.
        let cut = if at % 3 == 0 { element.len() / 2 } else { element.len() };
        for (piece, last) in [(&element[..cut], cut == element.len()), (&element[cut..], true)] {
            if piece.is_empty() {
                continue;
            }
            let mut packet = vec![0x80, 97 | u8::from(last) << 7];
            packet.extend_from_slice(&sequence.to_be_bytes());
            packet.extend_from_slice(&(at as u32 * 1024).to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0, 7]);
            packet.extend_from_slice(piece);
            sequence += 1;
            let len = (packet.len() as u16).to_be_bytes();
            socket.write_all(&[&[b'$', 0], &len[..], &packet].concat()).unwrap();
        }
    }
    socket.write_all(format!("TEARDOWN {url} RTSP/1.0\r\nCSeq: 4\r\n\r\n").as_bytes()).unwrap();
    let end = server.line("RECORD ends");
    assert!(end.contains("errors=0"), "{end}");
    let packets = rest_of(player);
    assert!(sound(&packets) == want, "{} bytes of {}", sound(&packets).len(), want.len());
    assert!(packets.iter().filter(|p| p.header).count() == 1);
}

#[test]
fn a_push_over_rtsp_needs_the_password() {
    let Some(program) = tool("ffmpeg") else { return };
    let file = media::sample(&program);
    at_once(["off", "on"], |basic| {
        let login = format!("username cam; password se:cret; basic_auth {basic};");
        let (server, port) = caster("rtsp", &login, "");
        for (given, good) in [("", false), ("cam:wrong@", false), ("cam:se%3Acret@", true)] {
            let url = format!("rtsp://{given}127.0.0.1:{port}/live/s");
            let mut push = push_rtsp(&program, &file, "tcp", &url);
            assert_eq!(push.wait(SOON * 2).unwrap().success(), good, "{given:?}");
        }
        assert_eq!(server.count("start publish"), 1);
        assert_eq!(server.count("se:cret"), 0, "passwords are not in the log");
        // Without ports for RTP, UDP is refused, and tried again over TCP.
        let url = format!("rtsp://cam:se%3Acret@127.0.0.1:{port}/live/s");
        push_rtsp(&program, &file, "udp+tcp", &url).finish();
        assert_eq!(server.count("SETUP track 0, in the connection"), 2);
    });
}

#[test]
fn ports_of_a_push_are_free_again_after_it() {
    let Some(program) = tool("ffmpeg") else { return };
    let file = media::sample(&program);
    let first = 43_000 + free_port() % 5_000 * 2;
    // Room for one push with two tracks.
    let ports = format!("rtp_port_min {first}; rtp_port_max {};", first + 4);
    let (server, port) = caster("rtsp", &ports, "");
    for round in 1..=2 {
        let url = format!("rtsp://127.0.0.1:{port}/live/s");
        let mut push = push_rtsp(&program, &file, "udp", &url);
        server.line_number("start publish", round);
        let mut other = push_rtsp(&program, &file, "udp", &format!("{url}2"));
        assert!(!other.wait(SOON).unwrap().success());
        server.line_number("no pair of ports", round);
        push.finish();
        server.line_number("RTSP client finished", 2 * round);
    }
}

#[test]
fn a_push_that_falls_silent_is_ended() {
    let Some(program) = tool("ffmpeg") else { return };
    let file = media::sample(&program);
    let (server, port) = caster("rtsp", &rtp_ports(), "publish { normal_timeout 1000; }");
    at_once(["tcp", "udp"], |transport| {
        let url = format!("rtsp://127.0.0.1:{port}/live/{transport}");
        let mut push = ffmpeg(
            &program,
            &file,
            &format!(
                "-re -stream_loop -1 -i FILE -c copy -f rtsp -rtsp_transport {transport} {url}"
            ),
        );
        server.line(&format!("start publish /live/{transport} "));
        thread::sleep(Duration::from_secs(1));
        assert!(push.is_running());
        push.signal(Signal::STOP);
        // Of both, whichever is first.
        server.line_number("timeout, the sender fell silent", 2);
        server.line_number("RTSP client finished", 2);
    });
}

#[test]
fn flv_is_posted_by_ffmpeg_and_curl() {
    let (Some(debian), Some(curl)) = (tool("ffmpeg"), tool("curl")) else { return };
    let (h264, mp3) = (media::sample(&debian), mp3_flv(&debian));
    let (server, port) = caster("flv", "", "");
    let files = [(&h264, false), (&mp3, true)];
    let files = files.map(|(file, mp3)| (file, original(&debian, file, Video::H264, mp3)));
    let mut cases = Vec::new();
    for (file, want) in &files {
        let name = file.display();
        for program in all_ffmpegs(debian.clone()) {
            for more in ["", "-chunked_post 0 "] {
                let args = format!("-v error -re -i {name} -c copy -f flv {more}-method POST");
                cases.push((file, want, program.clone(), args));
            }
        }
        for args in [
            format!("-T {name}"),
            format!("-T {name} -H Transfer-Encoding:chunked"),
            format!("--data-binary @{name}"),
            format!("-0 --data-binary @{name}"),
            format!("-H Expect:100-continue -X PUT --data-binary @{name}"),
        ] {
            let args = format!("-s -w %{{http_code}} -H Content-Type:video/x-flv {args}");
            cases.push((file, want, curl.clone(), args));
        }
    }
    let count = cases.len();
    at_once(cases.into_iter().enumerate(), |(at, (file, want, program, args))| {
        let player = Peer::play(&server, &format!("s{at}"));
        let url = format!("http://127.0.0.1:{port}/live/s{at}.flv");
        let said = run(&program, args.split(' ').chain([url.as_str()]));
        let packets = rest_of(player);
        want.assert_is(&packets);
        if program == curl {
            assert_eq!(said, "200");
        } else {
            assert_in_sync(&packets, file, 1);
        }
    });
    server.line_number("stop publish", count);
    assert_eq!(server.count("in the middle"), 0);
}

#[test]
fn gstreamer_posts_flv() {
    let Some(program) = tool("ffmpeg") else { return };
    let Some(inspect) = tool("gst-inspect-1.0") else { return };
    // The other sink for HTTP, souphttpclientsink, makes a request of each buffer.
    for element in ["curlhttpsink", "flvmux", "flvdemux", "h264parse", "aacparse"] {
        if !Command::new(&inspect).arg(element).output().unwrap().status.success() {
            skip::<()>(&format!("{element} of GStreamer"));
            return;
        }
    }
    let launch = tool("gst-launch-1.0").unwrap();
    let file = media::sample(&program);
    let want = original(&program, &file, Video::H264, false);
    let (server, port) = caster("flv", "", "");
    let player = Peer::play(&server, "s");
    let pipeline = format!(
        "-q filesrc location={} ! flvdemux name=d flvmux name=m streamable=true ! \
         curlhttpsink location=http://127.0.0.1:{port}/live/s.flv \
         d.video ! queue ! h264parse ! m. d.audio ! queue ! aacparse ! m.",
        file.display()
    );
    run(&launch, pipeline.split_whitespace());
    let packets = rest_of(player);
    want.assert_is(&packets);
    assert_in_sync(&packets, &file, 1);
    server.line("stop publish");
    assert_eq!((server.count("start publish"), server.count("in the middle")), (1, 0));
}

#[test]
fn a_stream_of_a_caster_goes_out_in_every_form() {
    let Some(program) = tool("ffmpeg") else { return };
    let file = media::sample(&program);
    let outputs = "hls { enabled on; hls_path www; hls_fragment 1; hls_window 20; } \
                   dvr { enabled on; dvr_path www/[stream].flv; dvr_plan session; }";
    let vhost = &format!("{SHORT} {outputs}");
    let want = original(&program, &file, Video::H264, false);
    at_once(["mpegts_over_udp", "rtsp", "flv"], |kind| {
        let (server, port) = caster(kind, "", vhost);
        let mut push = match kind {
            "rtsp" => {
                let url = format!("rtsp://127.0.0.1:{port}/live/livestream");
                push_rtsp(&program, &file, "tcp", &url)
            }
            "flv" => {
                let url = format!("http://127.0.0.1:{port}/live/livestream.flv");
                ffmpeg(&program, &file, &format!("-re -i FILE -c copy -f flv -method POST {url}"))
            }
            _ => push_ts(&program, &file, port, ""),
        };
        push.finish();
        server.line_number("stop publish", 1);
        let recorded = server.dir.join("www/livestream.flv");
        eventually("the recording is there", SOON, || recorded.is_file());
        let missing = if kind == "rtsp" { 1500 } else { 0 };
        want.assert_is_but(&media::flv_packets(&fs::read(recorded).unwrap()), missing);
        let list = server.dir.join("www/live/livestream.m3u8");
        eventually("the list is there", SOON, || list.is_file());
        let whole = server.dir.join("www/live/whole.m3u8");
        let text = fs::read_to_string(&list).unwrap();
        fs::write(&whole, format!("{text}#EXT-X-ENDLIST\n")).unwrap();
        let seen = original(&program, &whole, Video::H264, false);
        assert!(seen.slices == want.slices, "{kind}: HLS");
        let whole = want.sound.starts_with(&seen.sound);
        assert!(whole && seen.sound.len() + missing >= want.sound.len(), "{kind}: HLS");
    });
}

#[test]
fn security_holds_for_casters() {
    let (Some(program), Some(curl)) = (tool("ffmpeg"), tool("curl")) else { return };
    let file = media::sample(&program);
    let (server, port) = caster("flv", "", SECURITY);
    let url = format!("http://127.0.0.1:{port}/live/s.flv");
    let args = ["-s", "-w", "%{http_code}", "-T", file.to_str().unwrap(), &url];
    assert_eq!(run(&curl, args), "403");
    server.line("denied by security, ip=127.0.0.1. ret=1053");
    let (server, port) = caster("rtsp", "", SECURITY);
    let mut push = push_rtsp(&program, &file, "tcp", &format!("rtsp://127.0.0.1:{port}/live/s"));
    assert!(!push.wait(SOON).unwrap().success());
    server.line("client refused with 403, denied by security, ip=127.0.0.1. ret=1053");
    let (server, port) = caster("mpegts_over_udp", "", SECURITY);
    push_ts(&program, &file, port, "").finish();
    server.line("refused, denied by security, ip=127.0.0.1. ret=1053");
    assert_eq!(server.count("start publish"), 0);
}

#[test]
fn a_reload_adds_changes_and_removes_casters_and_leaves_the_others() {
    let Some(program) = tool("ffmpeg") else { return };
    let file = media::sample(&program);
    let ports: Vec<_> = (0..4).map(|_| free_port()).collect();
    let rtmp = free_port();
    let text = |casters: &[String]| {
        format!(
            "listen 127.0.0.1:{rtmp}; daemon off; srs_log_tank console;\n{}\n\
             vhost __defaultVhost__ {{ }}",
            casters.join("\n")
        )
    };
    let stays = block("flv", ports[0], "");
    let changes = |stream| {
        let output = format!("output rtmp://127.0.0.1/live/{stream};");
        block("mpegts_over_udp", ports[1], &output)
    };
    let goes = block("flv", ports[2], "");
    let comes = block("rtsp", ports[3], "");
    let server = Server::with_file(rtmp, &text(&[stays.clone(), changes("one"), goes]));
    let post = |port, stream| {
        let url = format!("http://127.0.0.1:{port}/live/{stream}.flv");
        let args = format!("-re -stream_loop -1 -i FILE -c copy -f flv -method POST {url}");
        ffmpeg(&program, &file, &args)
    };
    let mut stays_push = post(ports[0], "stays");
    let _goes_push = post(ports[2], "goes");
    let args = format!(
        "-re -stream_loop -1 -i FILE -c copy -f mpegts udp://127.0.0.1:{}?pkt_size=1316",
        ports[1]
    );
    let _ts_push = ffmpeg(&program, &file, &args);
    for stream in ["stays", "goes", "one"] {
        server.line(&format!("start publish /live/{stream} from"));
    }
    fs::write(server.dir.join("test.conf"), text(&[stays, changes("two"), comes])).unwrap();
    server.signal(Signal::HUP);
    server.line("reload config success");
    server.line_number("a reload changed what takes it in", 2);
    server.line("start publish /live/two from");
    eventually("the port is closed", SOON, || TcpStream::connect(("127.0.0.1", ports[2])).is_err());
    let url = format!("rtsp://127.0.0.1:{}/live/new", ports[3]);
    push_rtsp(&program, &file, "tcp", &url).finish();
    server.line("start publish /live/new from");
    assert!(stays_push.is_running());
    let mut player = Peer::play(&server, "stays");
    player.packets(20);
    assert_eq!(server.count("stop publish"), 3, "goes, one and new");
    stays_push.stop();
}

/// A stream that goes on beside what is done to the server.
fn healthy(server: &Server, program: &Path) -> (Running, Peer) {
    let file = media::sample(program);
    let push = media::publish_live(program, &file, &server.url("healthy"));
    let mut player = Peer::play(server, "healthy");
    player.packets(20);
    (push, player)
}

#[test]
fn datagrams_that_are_no_good_harm_nobody() {
    let Some(program) = tool("ffmpeg") else { return };
    let file = media::sample(&program);
    let (server, port) = caster("mpegts_over_udp", "", SHORT);
    let (mut push, mut player) = healthy(&server, &program);
    let before = server.resident();
    let good = extract(&program, &file, "-c copy -f mpegts");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = ("127.0.0.1", port);
    let mut rng = fastrand::Rng::with_seed(4);
    // No transport stream at all.
    for len in [0, 1, 187, 188, 1316, 60_000] {
        let bytes: Vec<u8> = (0..len).map(|_| rng.u8(..)).collect();
        socket.send_to(&bytes, to).unwrap();
    }
    thread::sleep(Duration::from_millis(100));
    assert_eq!(server.count("start publish /live/livestream"), 0);
    // One that is broken in many ways, and one that is scrambled.
    for round in 0..12 {
        for piece in good.chunks(1316) {
            let mut piece = piece.to_vec();
            for _ in 0..rng.usize(..4) {
                let at = rng.usize(..piece.len());
                match round % 4 {
                    0 => piece[at] = rng.u8(..),
                    1 => piece.truncate(at.max(188)),
                    2 => piece.iter_mut().skip(3).step_by(188).for_each(|byte| *byte |= 0xc0),
                    _ => piece[at / 188 * 188] = 0,
                }
            }
            socket.send_to(&piece, to).unwrap();
        }
        thread::sleep(Duration::from_millis(50));
    }
    server.line("start publish /live/livestream");
    assert!(server.resident() < before + 40_000, "{} {before}", server.resident());
    player.packets(50);
    assert!(push.is_running());
    // Then a good one.
    server.line("MPEG-TS ends");
    let other = Peer::play(&server, "livestream");
    let ends = server.count("MPEG-TS ends");
    push_ts(&program, &file, port, "").finish();
    server.line_number("MPEG-TS ends", ends + 1);
    original(&program, &file, Video::H264, false).assert_is(&rest_of(other));
    push.stop();
}

const SDP: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\n\
    m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:streamid=0\r\n";

fn announce(port: u16, sdp: &str) -> String {
    format!(
        "ANNOUNCE rtsp://127.0.0.1:{port}/live/bad RTSP/1.0\r\nCSeq: 1\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

fn set_up(port: u16, transport: &str) -> String {
    format!(
        "SETUP rtsp://127.0.0.1:{port}/live/bad/streamid=0 RTSP/1.0\r\nCSeq: 2\r\n\
         Transport: {transport};mode=record\r\n\r\n"
    )
}

fn record(port: u16) -> String {
    format!("RECORD rtsp://127.0.0.1:{port}/live/bad RTSP/1.0\r\nCSeq: 3\r\n\r\n")
}

/// What is answered to `text`, sent in pieces, until the server closes or has nothing to say.
fn tell(port: u16, text: &[u8], piece: usize) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    for piece in text.chunks(piece) {
        if socket.write_all(piece).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn rtsp_that_is_no_good_harms_nobody() {
    let Some(program) = tool("ffmpeg") else { return };
    let (server, port) = caster("rtsp", &rtp_ports(), "");
    let (mut push, mut player) = healthy(&server, &program);
    let before = server.resident();
    for (sdp, want) in [
        ("", "415"),
        ("m=video 0 RTP/AVP 96\r\n", "415"),
        ("m=audio 0 RTP/AVP 14\r\n", "415"),
        ("m=video 0 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n", "415"),
        (&format!("{SDP}a=fmtp:96 sprop-parameter-sets=Z!!,aA==\r\n"), "200"),
        (&"m=video 0 RTP/AVP 96\r\n".repeat(500), "415"),
    ] {
        let answer = tell(port, announce(port, sdp).as_bytes(), 4096);
        assert!(answer.starts_with(&format!("RTSP/1.0 {want} ")), "{sdp:?}: {answer}");
    }
    for text in ["nonsense\r\n\r\n", "RECORD x RTSP/1.0\r\n\r\n", "$\0\0\x05hello", "\x16\x03\x01"]
    {
        tell(port, text.as_bytes(), 100);
    }
    // A name that leads out of the tree.
    let upwards = announce(port, SDP).replace("/live/bad", "/../../bad");
    assert!(tell(port, upwards.as_bytes(), 4096).starts_with("RTSP/1.0 400 "));
    // Requests byte by byte, then packets: a fragment without its begin, one of another source and
    // payload type, one that is too short, a loss.
    let mut text = announce(port, SDP);
    text.push_str(&set_up(port, "RTP/AVP/TCP;unicast;interleaved=0-1"));
    text.push_str(&record(port));
    let mut bytes = text.into_bytes();
    let mut sequence = 0_u16;
    let mut packet = |payload_type: u8, ssrc: u8, step: u16, payload: &[u8]| {
        sequence = sequence.wrapping_add(step);
        let [high, low] = sequence.to_be_bytes();
        let mut packet = vec![0x80, payload_type, high, low, 0, 0, 0, 1, 0, 0, 0, ssrc];
        packet.extend_from_slice(payload);
        let len = u16::try_from(packet.len()).unwrap().to_be_bytes();
        bytes.extend([b'$', 0, len[0], len[1]]);
        bytes.extend(packet);
    };
    packet(96, 1, 1, &[0x7c, 0x05, 1, 2, 3]);
    packet(96, 2, 1, &[0x7c, 0x85, 1, 2, 3]);
    packet(97, 1, 1, &[0x65, 1, 2, 3]);
    packet(96, 1, 1, &[]);
    packet(96, 1, 1, &[0x78, 0xff, 0xff, 1]);
    packet(96, 1, 500, &[0x7c, 0x45, 1, 2, 3]);
    packet(96, 9, 1, &[0x65, 1, 2, 3]);
    packet(96, 9, 1, &[0x65, 1, 2, 3]);
    bytes.extend(b"$\x01\x00\x02xx$\x07\x00\x01x");
    let answer = tell(port, &bytes, 1);
    assert_eq!(answer.matches("RTSP/1.0 200 ").count(), 3, "{answer}");
    server.line("start publish /live/bad");
    server.line("frames on channels that were not set up");
    // Megabytes of a fragment that does not end.
    let mut text = announce(port, SDP).into_bytes();
    text.extend(set_up(port, "RTP/AVP/TCP;unicast;interleaved=0-1").bytes());
    text.extend(record(port).bytes());
    for at in 0..20_000_u16 {
        let [high, low] = at.to_be_bytes();
        text.extend([b'$', 0, 4, 14, 0x80, 96, high, low, 0, 0, 0, 1, 0, 0, 0, 1]);
        text.extend([0x7c, if at == 0 { 0x85 } else { 0x05 }]);
        text.resize(text.len() + 1024, 7);
    }
    tell(port, &text, 64 * 1024);
    // What is announced, and never comes.
    let idle: Vec<_> = (0..8)
        .map(|_| {
            let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let text = announce(port, SDP) + &set_up(port, "RTP/AVP;unicast;client_port=9-10");
            socket.write_all(text.as_bytes()).unwrap();
            socket
        })
        .collect();
    assert!(server.resident() < before + 30_000, "{} {before}", server.resident());
    drop(idle);
    player.packets(50);
    assert!(push.is_running());
    push.stop();
}

#[test]
fn posts_that_are_no_good_harm_nobody() {
    let Some(program) = tool("ffmpeg") else { return };
    let (server, port) = caster("flv", "", "");
    let (mut push, mut player) = healthy(&server, &program);
    let before = server.resident();
    let file = fs::read(media::sample(&program)).unwrap();
    let post = |path: &str, body: &[u8]| {
        let mut http = Http::connect(port);
        let len = body.len();
        http.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n"));
        // The server may have said no already.
        let _ = http.socket.write_all(body);
        http.head().map(|head| head.status)
    };
    assert_eq!(post("/live/bad.flv", &file[..file.len() - 10]), Some(400));
    server.line("the body ends in the middle of an FLV tag");
    assert_eq!(post("/live/bad.flv", b"GIF89a, which is something else"), Some(400));
    server.line("stop to read the body: invalid: not an FLV file");
    let huge = [&file[..13], &[9, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0][..]].concat();
    assert_eq!(post("/live/bad.flv", &huge), Some(400));
    assert_eq!(post("/live/bad.flv", b""), Some(200), "nothing is nothing");
    assert_eq!(post("/bad.flv", &file), Some(403), "no app");
    assert_eq!(post("/live/healthy.flv", &file), Some(409), "somebody publishes it");
    let mut http = Http::connect(port);
    assert_eq!(http.ask("/live/bad.flv", "").status, 405);
    // Cut off in the middle of a tag, in each of the forms of a body.
    for head in ["Content-Length: 9999999\r\n", "Transfer-Encoding: chunked\r\n", ""] {
        let lines = server.count("the connection ends in the middle");
        let mut http = Http::connect(port);
        http.send(format!("POST /live/cut.flv HTTP/1.1\r\nHost: a\r\n{head}\r\n"));
        let part = &file[..5000];
        if head.starts_with('T') {
            http.send(format!("{:x}\r\n", part.len()));
        }
        http.send(part);
        server.line_number("start publish /live/cut", lines + 1);
        drop(http);
        server.line_number("the connection ends in the middle of an FLV tag", lines + 1);
    }
    // Two at once, and one after the other on the same connection.
    let mut http = Http::connect(port);
    for _ in 0..2 {
        let len = file.len();
        http.send(format!(
            "PUT /live/twice.flv HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n"
        ));
        http.send(&file);
        assert_eq!(http.head().unwrap().status, 200);
    }
    assert!(server.resident() < before + 20_000, "{} {before}", server.resident());
    player.packets(50);
    assert!(push.is_running());
    push.stop();
}

/// A server with the sample `name` as it is but for the ports; that of the caster.
fn sample(name: &str, caster: &str) -> (Server, u16) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("conf/{name}.conf"));
    let (port, own, dir) = (free_port(), free_port(), TempDir::new());
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(&format!("    listen {caster};")));
    let text = text.replace("listen 1935;", &format!("listen 127.0.0.1:{port};"));
    let text = text.replace(&format!("    listen {caster};"), &format!("    listen {own};"));
    fs::write(dir.join("test.conf"), text).unwrap();
    let server = Server::spawn(Command::new(RUNNEL).args(["-c", "test.conf"]), port, dir);
    server.line("caster listens at");
    (server, own)
}

#[test]
fn the_samples_take_what_they_say() {
    let Some(program) = tool("ffmpeg") else { return };
    let file = h264_mp4(&program);
    let want = original(&program, &file, Video::H264, false);
    let samples = [("push.mpegts.over.udp", "8935"), ("push.rtsp", "554"), ("push.flv", "8936")];
    at_once(samples, |(name, port)| {
        let (server, own) = sample(name, port);
        let player = Peer::play(&server, "livestream");
        let to = match port {
            "8935" => format!("-f mpegts udp://127.0.0.1:{own}?pkt_size=1316"),
            "554" => format!("-f rtsp rtsp://127.0.0.1:{own}/live/livestream.sdp"),
            _ => format!("-f flv -method POST http://127.0.0.1:{own}/live/livestream.flv"),
        };
        ffmpeg(&program, &file, &format!("-re -i FILE -c copy {to}")).finish();
        server.line("stop publish");
        want.assert_is_but(&rest_of(player), 1500);
    });
}
