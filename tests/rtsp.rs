//! RTSP against real programs: ffmpeg and GStreamer push, a server of GStreamer is pulled. What
//! comes out is what went in, bit for bit.
#![cfg(feature = "_rtsp")]

mod common;

use common::media::{self, AAC, PICTURE, TONE};
use common::{Running, TempDir, free_port, run, skip, spawn, tool};
use runnel::format::flv;
use runnel::limits::MESSAGE_MAX;
use runnel::media::Kind;
use runnel::media::arena::{Arena, Pool};
use runnel::proto::Machine;
use runnel::proto::rtp::{Content, Decode, Sync, Track, Unit, reorder_depth};
use runnel::proto::rtsp::auth::{Credentials, Gate};
use runnel::proto::rtsp::sdp::{Parameters, Session};
use runnel::proto::rtsp::{Client, Error, Lower, Server, Url, client, server};
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A test that hangs ends after this.
const LONG: Duration = Duration::from_secs(25);
const PATIENCE: Duration = Duration::from_millis(100);

/// What came out of the tracks of a session.
struct Media {
    session: Session,
    tracks: Vec<Track>,
    sync: Sync,
    start: Instant,
    /// Ports of tracks over UDP.
    sockets: Vec<(usize, UdpSocket, UdpSocket)>,
    /// Presentation time on the common line, NAL units.
    pictures: Vec<(i64, Vec<Vec<u8>>)>,
    frames: Vec<(i64, Vec<u8>)>,
    reports: usize,
    /// RTP packets as they came, and their track.
    raw: Vec<(usize, Vec<u8>)>,
}

impl Media {
    fn new(session: Session, ordered: bool) -> Self {
        let tracks: Vec<_> = session.tracks.iter().map(|t| Track::new(t.format, ordered)).collect();
        let sync = Sync::new(session.tracks.iter().map(|track| track.format.clock_rate));
        let (pictures, frames) = (Vec::new(), Vec::new());
        let (start, sockets) = (Instant::now(), Vec::new());
        Self {
            session,
            tracks,
            sync,
            start,
            sockets,
            pictures,
            frames,
            reports: 0,
            raw: Vec::new(),
        }
    }

    /// Two ports for a track.
    fn bind(&mut self, track: usize) -> (u16, u16) {
        loop {
            let rtp = UdpSocket::bind("127.0.0.1:0").unwrap();
            let port = rtp.local_addr().unwrap().port();
            let Ok(rtcp) = UdpSocket::bind(("127.0.0.1", port ^ 1)) else { continue };
            for socket in [&rtp, &rtcp] {
                socket.set_nonblocking(true).unwrap();
            }
            let (rtp, rtcp) = if port.is_multiple_of(2) { (rtp, rtcp) } else { (rtcp, rtp) };
            self.sockets.push((track, rtp, rtcp));
            return (port & !1, port | 1);
        }
    }

    fn packet(&mut self, track: usize, rtcp: bool, packet: &[u8]) {
        let now = self.start.elapsed();
        if rtcp {
            if let (Some(report), _) = self.tracks[track].receive_report(now, packet).unwrap() {
                self.reports += 1;
                self.sync.report(track, report);
            }
            return;
        }
        self.raw.push((track, packet.to_vec()));
        let (pictures, frames, sync) = (&mut self.pictures, &mut self.frames, &mut self.sync);
        self.tracks[track]
            .receive(now, packet, &mut |unit| keep(sync, track, now, unit, pictures, frames))
            .unwrap();
    }

    fn poll(&mut self) {
        let mut buffer = vec![0; 65536];
        for at in 0..self.sockets.len() {
            for rtcp in [false, true] {
                loop {
                    let (track, a, b) = &self.sockets[at];
                    let track = *track;
                    let Ok(len) = (if rtcp { b } else { a }).recv(&mut buffer) else { break };
                    self.packet(track, rtcp, &buffer[..len]);
                }
            }
        }
        self.over(false);
    }

    fn over(&mut self, all: bool) {
        let now = self.start.elapsed();
        let (pictures, frames, sync) = (&mut self.pictures, &mut self.frames, &mut self.sync);
        for (at, track) in self.tracks.iter_mut().enumerate() {
            let mut out = |unit: Unit<'_>| keep(sync, at, now, unit, pictures, frames);
            if all {
                track.finish(&mut out);
            } else {
                track.expire(now, PATIENCE, &mut out);
            }
        }
    }

    /// The NAL units with slices, picture by picture.
    fn slices(&self, hevc: bool) -> Vec<Vec<Vec<u8>>> {
        self.pictures.iter().map(|(_, nals)| slices(nals, hevc)).collect()
    }

    fn assert_whole(&self) {
        for track in &self.tracks {
            let stats = track.stats();
            let kind = track.format().payload;
            assert!(stats.received > 0, "{kind:?} {stats:?}");
            assert_eq!((stats.lost, stats.errors, stats.pictures_dropped), (0, 0, 0), "{stats:?}");
        }
    }
}

fn keep(
    sync: &mut Sync,
    track: usize,
    now: Duration,
    unit: Unit<'_>,
    pictures: &mut Vec<(i64, Vec<Vec<u8>>)>,
    frames: &mut Vec<(i64, Vec<u8>)>,
) {
    let time = sync.place(track, unit.time, now);
    match unit.content {
        Content::Picture { nals, .. } => pictures.push((time, nals.map(<[u8]>::to_vec).collect())),
        Content::Audio(frame) => frames.push((time, frame.to_vec())),
        Content::AudioConfig(_) => {}
    }
}

fn slices(nals: &[Vec<u8>], hevc: bool) -> Vec<Vec<u8>> {
    let slice =
        |nal: &&Vec<u8>| if hevc { nal[0] >> 1 < 32 } else { (1..=5).contains(&(nal[0] & 31)) };
    nals.iter().filter(slice).cloned().collect()
}

/// A step of the loop that drives a machine: reads what is there, false at the end.
fn read(socket: &mut TcpStream, machine: &mut impl Machine, rest: &mut Vec<u8>) -> bool {
    let sent = machine.send_buf().to_vec();
    socket.write_all(&sent).unwrap();
    machine.send_done(sent.len());
    let mut buffer = [0; 16384];
    match socket.read(&mut buffer) {
        Ok(0) => false,
        Ok(len) => {
            rest.extend_from_slice(&buffer[..len]);
            true
        }
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => true,
        Err(e) if e.kind() == ErrorKind::ConnectionReset => false,
        Err(e) => panic!("{e}"),
    }
}

fn server_config(udp: bool, gate: Option<Gate>) -> server::Config {
    let (session, name) = ("5EcEd".into(), "runnel".into());
    server::Config { session, timeout: 60, name, udp, gate }
}

/// Takes one push to its end, or until nothing came for some seconds; the app and stream that it
/// was for.
fn take_push(listener: &TcpListener, config: server::Config) -> (String, Media) {
    let until = Instant::now() + LONG;
    listener.set_nonblocking(true).unwrap();
    let (mut machine, mut media, mut name) = (Server::new(config), None::<Media>, String::new());
    loop {
        let mut socket = loop {
            assert!(Instant::now() < until, "nobody came");
            match listener.accept() {
                Ok((socket, _)) => break socket,
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let mut rest = Vec::new();
        let mut over = false;
        let (mut last, mut packets) = (Instant::now(), 0);
        while read(&mut socket, &mut machine, &mut rest) && !over {
            assert!(Instant::now() < until, "the push does not end, {}", told(media.as_ref()));
            let mut input = rest.as_slice();
            while let Some(event) = machine.receive(&mut input).unwrap() {
                match event {
                    server::Event::Announce(announce) => {
                        let (app, stream) = announce.url.app_and_stream().unwrap();
                        name = format!("{app} {stream}");
                        media = Some(Media::new(announce.session, false));
                        machine.allow();
                    }
                    server::Event::Setup(track, transport) => match transport.lower {
                        Lower::Tcp => machine.allow(),
                        Lower::Udp => {
                            let (rtp, rtcp) = media.as_mut().unwrap().bind(track);
                            machine.allow_ports(rtp, rtcp);
                        }
                    },
                    server::Event::Record => machine.allow(),
                    server::Event::Packet { track, rtcp, packet } => {
                        media.as_mut().unwrap().packet(track, rtcp, &packet);
                    }
                    server::Event::Alive => {}
                    server::Event::Teardown => over = true,
                }
            }
            rest = input.to_vec();
            if let Some(media) = &mut media {
                media.poll();
                if media.raw.len() > packets {
                    (last, packets) = (Instant::now(), media.raw.len());
                }
                // As a server does it; GStreamer hangs at its end now and then.
                over |= packets > 0 && last.elapsed() > Duration::from_secs(5);
            }
        }
        if let Some(mut media) = media {
            media.poll();
            media.over(true);
            return (name, media);
        }
    }
}

/// Pulls to the end, or for some `seconds`.
fn pull(url: &str, udp: bool, seconds: u64) -> Result<Media, Error> {
    let url = Url::parse(url).unwrap();
    let mut socket = TcpStream::connect((&*url.host, url.port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let config = client::Config { url, name: "runnel".into(), own: "00c0ffee".into() };
    let mut machine = Client::new(config);
    let (mut media, mut rest) = (None::<Media>, Vec::new());
    let mut until = Instant::now() + LONG;
    let mut ended = false;
    while read(&mut socket, &mut machine, &mut rest) && !ended {
        let mut input = rest.as_slice();
        while let Some(event) = machine.receive(&mut input)? {
            match event {
                client::Event::Described(session) => {
                    let count = session.tracks.len();
                    let mut found = Media::new(*session, !udp);
                    let choices: Vec<_> = (0..count)
                        .map(|track| {
                            let ports = udp.then(|| found.bind(track));
                            client::Choice { track, ports }
                        })
                        .collect();
                    assert!(machine.setup(&choices));
                    media = Some(found);
                }
                client::Event::SetUp(_, transport) => {
                    assert_eq!(transport.server_port.is_some(), udp);
                }
                client::Event::Playing => {
                    until = Instant::now() + Duration::from_secs(seconds);
                    assert!(machine.keep_alive_every() > Duration::from_secs(1));
                    assert!(machine.keep_alive());
                }
                client::Event::Packet { track, rtcp, packet } => {
                    media.as_mut().unwrap().packet(track, rtcp, &packet);
                }
                client::Event::Redirect(to) => panic!("redirected to {to}"),
                client::Event::Ended => ended = true,
            }
        }
        rest = input.to_vec();
        if let Some(media) = &mut media {
            media.poll();
        }
        if Instant::now() > until {
            assert!(media.is_some(), "nothing is described");
            until += LONG;
            let mut report = Vec::new();
            let media = media.as_mut().unwrap();
            let now = media.start.elapsed();
            assert!(media.tracks[0].write_report(now, 1, "runnel", &mut report));
            assert_eq!(machine.send_report(0, &report), !udp);
            machine.teardown();
        }
    }
    let mut media = media.unwrap();
    media.over(true);
    Ok(media)
}

/// What is in an FLV file: pictures with decode and presentation time in ms, and frames.
struct Original {
    sets: Vec<u8>,
    pictures: Vec<(i64, i64, Vec<Vec<u8>>)>,
    frames: Vec<(i64, Vec<u8>)>,
}

fn original(file: &Path) -> Original {
    let bytes = std::fs::read(file).unwrap();
    let mut input = bytes.as_slice();
    flv::Tag::start(&mut input).unwrap();
    let mut found = Original { sets: Vec::new(), pictures: Vec::new(), frames: Vec::new() };
    let mut reader = flv::Reader::default();
    let mut memory = Arena::new(Pool::new(64 << 20), 64 << 20, MESSAGE_MAX);
    let mut input = bytes.as_slice();
    while let Some(packet) = reader.read(&mut input, &mut memory).unwrap() {
        let dts = i64::from(packet.dts);
        match packet.kind {
            Kind::Video if packet.header => found.sets = packet.payload[5..].to_vec(),
            Kind::Video if packet.payload[1] == 1 => {
                let c = &packet.payload[2..5];
                let cts = i32::from_be_bytes([c[0], c[1], c[2], 0]) >> 8;
                let mut rest = &packet.payload[5..];
                let mut nals = Vec::new();
                while let Some((len, after)) = rest.split_first_chunk::<4>() {
                    let (nal, after) = after.split_at(u32::from_be_bytes(*len) as usize);
                    nals.push(nal.to_vec());
                    rest = after;
                }
                found.pictures.push((dts, dts + i64::from(cts), slices(&nals, false)));
            }
            Kind::Audio if !packet.header => found.frames.push((dts, packet.payload[2..].to_vec())),
            _ => {}
        }
    }
    found
}

/// Pictures and frames are those of the file, and so are their times, up to one offset.
fn assert_same(media: &Media, file: &Path, together: bool) {
    let original = original(file);
    media.assert_whole();
    let want: Vec<_> = original.pictures.iter().map(|(_, _, nals)| nals.clone()).collect();
    assert_eq!(media.slices(false).len(), want.len());
    assert!(media.slices(false) == want, "the pictures of the file");
    let got: Vec<_> = media.frames.iter().map(|(_, frame)| frame).collect();
    let want: Vec<_> = original.frames.iter().map(|(_, frame)| frame).collect();
    // ffmpeg keeps what does not fill its last packet.
    assert!(got.len() + 6 > want.len(), "{} of {}", got.len(), want.len());
    assert!(got == want[..got.len()], "the frames of the file");

    let offset = media.pictures[0].0 - original.pictures[0].1 * 90;
    for ((pts, _), (_, want, _)) in media.pictures.iter().zip(&original.pictures) {
        let off = pts - offset - want * 90;
        assert!(off.abs() <= 90, "a picture is {off} ticks off");
    }
    let own = media.frames[0].0 - original.frames[0].0 * 90;
    for ((time, _), (want, _)) in media.frames.iter().zip(&original.frames) {
        let off = time - own - want * 90;
        assert!(off.abs() <= 180, "a frame is {off} ticks off");
    }
    if together {
        assert!((own - offset).abs() <= 900, "sound is {} ticks from the picture", own - offset);
    }

    let sets = media.session.tracks.iter().find_map(|track| match &track.parameters {
        Parameters::Sets(sets) => Some(sets),
        Parameters::Aac(_) => None,
    });
    let sps = &sets.unwrap()[0];
    assert!(original.sets.windows(sps.len()).any(|window| window == sps), "the SPS of the file");
    let depth = reorder_depth(media.tracks[0].format().payload, sps).unwrap();
    let mut decode = Decode::new(depth);
    let mut last = i64::MIN;
    for (at, ((pts, _), (want, _, _))) in media.pictures.iter().zip(&original.pictures).enumerate()
    {
        let (dts, same) = decode.next(*pts);
        assert!(dts > last && dts <= *pts && same == *pts);
        last = dts;
        let off = dts - offset - want * 90;
        // A frame takes 40 ms.
        assert!(at < usize::from(depth) || off.abs() <= 90 * 41, "decode time is {off} off");
    }
}

fn ffmpeg_push(ffmpeg: &Path, before: &str, file: &Path, transport: &str, url: &str) -> Running {
    let mut args: Vec<OsString> = "-v error".split(' ').map(Into::into).collect();
    args.extend(before.split_whitespace().map(Into::into));
    args.extend(["-i".into(), file.into()]);
    args.extend("-c copy -f rtsp -rtsp_transport".split(' ').map(Into::into));
    args.extend([transport.into(), url.into()]);
    spawn(ffmpeg, args)
}

fn told(media: Option<&Media>) -> String {
    let stats = |media: &Media| media.tracks.iter().map(Track::stats).collect::<Vec<_>>();
    media.map_or("nothing is announced".into(), |media| format!("{:?}", stats(media)))
}

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn ffmpeg_pushes_over_tcp() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let (listener, port) = listen();
    let url = format!("rtsp://127.0.0.1:{port}/live/livestream.sdp");
    let mut push = ffmpeg_push(&ffmpeg, "", &file, "tcp", &url);
    let (name, media) = take_push(&listener, server_config(true, None));
    assert_eq!(name, "live livestream");
    push.finish();
    assert!(media.reports >= 2, "a report for each track");
    assert_same(&media, &file, true);
}

#[test]
fn over_a_bad_network_no_picture_comes_out_broken() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let (listener, port) = listen();
    let url = format!("rtsp://127.0.0.1:{port}/live/livestream");
    let mut push = ffmpeg_push(&ffmpeg, "", &file, "tcp", &url);
    let (_, media) = take_push(&listener, server_config(true, None));
    push.finish();
    let mut rng = fastrand::Rng::with_seed(11);
    let (mut all, mut lossy) = (0, 0);
    for round in 0..60 {
        // In thousands: lost, double, late.
        let (lost, double, late) = [(0, 20, 100), (5, 0, 0), (20, 20, 50)][round % 3];
        let mut packets = Vec::new();
        for (at, (track, packet)) in media.raw.iter().enumerate() {
            // What is ahead of the first packet that comes is not waited for.
            let is_late = at > 40 && rng.usize(..1000) < late;
            let place = at + if is_late { rng.usize(1..20) } else { 0 };
            if rng.usize(..1000) >= lost {
                packets.push((place, *track, packet));
                if rng.usize(..1000) < double {
                    packets.push((place + rng.usize(..10), *track, packet));
                }
            }
        }
        packets.sort_by_key(|(place, ..)| *place);
        let mut got = Media::new(media.session.clone(), false);
        for (place, track, packet) in packets {
            let now = Duration::from_millis(place as u64);
            let (pictures, frames) = (&mut got.pictures, &mut got.frames);
            let sync = &mut got.sync;
            let mut out = |unit: Unit<'_>| keep(sync, track, now, unit, pictures, frames);
            got.tracks[track].receive(now, packet, &mut out).ok();
            got.tracks[track].expire(now, PATIENCE, &mut out);
        }
        got.over(true);
        let stats = got.tracks[0].stats();
        assert!(lost > 0 || stats.lost == 0, "{stats:?}");
        let mut rest = media.pictures.iter().map(|(_, nals)| nals);
        for (_, nals) in &got.pictures {
            // Nothing but SEI may be missing before a key frame.
            let nals = slices(nals, false);
            assert!(rest.any(|want| slices(want, false) == nals), "round {round}: {stats:?}");
        }
        let mut rest = media.frames.iter().map(|(_, frame)| frame);
        for (_, frame) in &got.frames {
            assert!(rest.any(|want| want == frame), "a frame that was not sent, or not in order");
        }
        if lost == 0 {
            assert_eq!(got.pictures.len(), media.pictures.len(), "{stats:?}");
            assert_eq!(got.frames.len(), media.frames.len());
            all += 1;
        } else if got.pictures.len() < media.pictures.len() {
            assert!(stats.pictures_dropped > 0 || stats.lost > 0);
            lossy += 1;
        }
    }
    assert!(all == 20 && lossy > 20, "{all} {lossy}");
}

#[test]
fn ffmpeg_pushes_over_udp() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let (listener, port) = listen();
    let url = format!("rtsp://127.0.0.1:{port}/live/livestream");
    let mut push = ffmpeg_push(&ffmpeg, "-re", &file, "udp", &url);
    let (_, media) = take_push(&listener, server_config(true, None));
    push.finish();
    assert_same(&media, &file, true);
}

#[test]
fn ffmpeg_takes_tcp_where_udp_is_not_allowed_and_says_who_it_is() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    for basic in [true, false] {
        let credentials = Credentials { user: "cam".into(), password: "se:cret".into() };
        let (realm, nonce) = ("runnel".into(), "c0de".into());
        let gate = Gate { realm, nonce, credentials, basic };
        let (listener, port) = listen();
        let url = format!("rtsp://cam:se%3Acret@127.0.0.1:{port}/live/s");
        let mut push = ffmpeg_push(&ffmpeg, "", &file, "udp+tcp", &url);
        let (_, media) = take_push(&listener, server_config(false, Some(gate)));
        push.finish();
        assert_same(&media, &file, true);
    }
}

#[test]
fn ffmpeg_pushes_h265() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let hevc = "-c:v libx265 -preset ultrafast -x265-params log-level=none:bframes=2:keyint=25";
    let file = media::make(&ffmpeg, "hevc.mp4", &format!("{PICTURE} {TONE} -t 2 {hevc} {AAC}"));
    let dir = TempDir::new();
    let raw = dir.join("raw.hevc");
    let mut args: Vec<OsString> = "-v error -i".split(' ').map(Into::into).collect();
    args.push(file.clone().into());
    args.extend("-c copy -an -f hevc".split(' ').map(Into::into));
    args.push(raw.clone().into());
    run(&ffmpeg, args);
    let bytes = std::fs::read(&raw).unwrap();
    let (listener, port) = listen();
    let url = format!("rtsp://127.0.0.1:{port}/live/livestream");
    let mut push = ffmpeg_push(&ffmpeg, "", &file, "tcp", &url);
    let (_, media) = take_push(&listener, server_config(true, None));
    push.finish();
    media.assert_whole();
    assert_eq!(media.pictures.len(), 50);
    let got: Vec<_> = media.slices(true).concat();
    assert!(got == slices(&units(&bytes), true), "the slices of the file");
    let Parameters::Sets(sets) = &media.session.tracks[0].parameters else { panic!("sets") };
    assert_eq!(sets.iter().map(|set| set[0] >> 1).collect::<Vec<_>>(), [32, 33, 34]);
    let mut decode =
        Decode::new(reorder_depth(media.tracks[0].format().payload, &sets[1]).unwrap());
    for (pts, _) in &media.pictures {
        assert_eq!(decode.next(*pts).1, *pts, "nothing has to be moved");
    }
}

/// The NAL units between start codes.
fn units(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut start = None;
    for at in 0..bytes.len() {
        if bytes[at..].starts_with(&[0, 0, 1]) || at + 1 == bytes.len() {
            let end = if at + 1 == bytes.len() { bytes.len() } else { at };
            if let Some(start) = start.replace(at + 3) {
                let unit: &[u8] = &bytes[start..end];
                let len = unit.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
                found.push(unit[..len].to_vec());
            }
        }
    }
    found
}

/// GStreamer with the elements that are needed.
fn gstreamer(elements: &[&str]) -> Option<PathBuf> {
    let inspect = tool("gst-inspect-1.0")?;
    for element in elements {
        let found = Command::new(&inspect).arg(element).output().unwrap();
        if !found.status.success() {
            return skip(&format!("{element} of GStreamer"));
        }
    }
    tool("gst-launch-1.0")
}

/// The sample in a container that GStreamer's server seeks in without harm.
fn sample_mp4(ffmpeg: &Path) -> PathBuf {
    media::make(ffmpeg, "sample.mp4", &format!("-i {} -c copy", media::sample(ffmpeg).display()))
}

#[test]
fn gstreamer_pushes() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let elements = ["rtspclientsink", "h264parse", "flvdemux", "rtpmp4gpay"];
    let Some(launch) = gstreamer(&elements) else { return };
    let file = media::sample(&ffmpeg);
    for protocols in ["tcp", "udp"] {
        let (listener, port) = listen();
        let url = format!("rtsp://127.0.0.1:{port}/live/s");
        // By itself it sends AAC as LATM.
        let pipeline = format!(
            "-q filesrc location={} ! flvdemux name=d rtspclientsink name=s protocols={protocols} \
             location={url} sink_1::payloader=rtpmp4gpay d.video ! queue ! h264parse ! s.sink_0 \
             d.audio ! queue ! aacparse ! s.sink_1",
            file.display()
        );
        let _push = spawn(&launch, pipeline.split_whitespace());
        let (name, media) = take_push(&listener, server_config(true, None));
        assert_eq!(name, "live s");
        assert_content(&media, &file);
    }
}

fn assert_content(media: &Media, file: &Path) {
    for note in &media.session.notes {
        println!("{note}");
    }
    media.assert_whole();
    let original = original(file);
    let want: Vec<_> = original.pictures.iter().map(|(_, _, nals)| nals.clone()).collect();
    let got = media.slices(false);
    assert!(got == want, "the pictures of the file: {} of {}", got.len(), want.len());
    let got: Vec<_> = media.frames.iter().map(|(_, frame)| frame).collect();
    let want: Vec<_> = original.frames.iter().map(|(_, frame)| frame).collect();
    assert!(got == want, "the frames of the file: {} of {}", got.len(), want.len());
}

/// A server of GStreamer with the sample, aggregates where they fit.
fn rtsp_server(file: &Path, method: &str) -> Option<(Running, u16)> {
    gstreamer(&["rtph264pay", "h264parse", "qtdemux"])?;
    let python = PathBuf::from("/usr/bin/python3");
    let check = "import gi; gi.require_version('GstRtspServer', '1.0')";
    let works = Command::new(&python).args(["-c", check]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        return skip("gir1.2-gst-rtsp-server-1.0 and python3-gi");
    }
    let port = free_port();
    let pipeline = format!(
        "( filesrc location={} ! qtdemux name=d d.video_0 ! queue ! h264parse ! rtph264pay name=pay0 \
         pt=96 aggregate-mode=zero-latency config-interval=-1 mtu=700 \
         d.audio_0 ! queue ! aacparse ! rtpmp4gpay name=pay1 pt=97 )",
        file.display()
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/rtsp_server.py");
    let args = [script.into(), port.to_string().into(), pipeline.into(), OsString::from(method)];
    let server = spawn(&python, args);
    server.out.wait("listening", 1, LONG).expect("the server listens");
    Some((server, port))
}

#[test]
fn a_server_is_pulled_over_tcp_and_udp() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let Some((_server, port)) = rtsp_server(&sample_mp4(&ffmpeg), "") else { return };
    for udp in [false, true] {
        let media = pull(&format!("rtsp://127.0.0.1:{port}/s"), udp, 5).unwrap();
        assert_content(&media, &file);
        assert!(media.reports >= 2, "a report for each track");
    }
}

#[test]
fn a_server_is_pulled_with_credentials() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = sample_mp4(&ffmpeg);
    for method in ["basic", "digest"] {
        let Some((_server, port)) = rtsp_server(&file, method) else { return };
        let media = pull(&format!("rtsp://cam:secret@127.0.0.1:{port}/s"), false, 2).unwrap();
        assert!(media.pictures.len() > 10);
        for login in ["cam:wrong@", ""] {
            let error = pull(&format!("rtsp://{login}127.0.0.1:{port}/s"), false, 1).err();
            assert_eq!(error, Some(Error::Unauthorized), "{method}");
        }
        let error = pull(&format!("rtsp://cam:secret@127.0.0.1:{port}/other"), false, 1).err();
        assert!(matches!(error, Some(Error::Refused { status: 404, .. })), "{error:?}");
    }
}
