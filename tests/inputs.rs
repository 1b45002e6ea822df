//! What comes in by HLS, from files and from groups, in the forms that others give it; what starts
//! and ends with players of every kind; and `srs_ingest_hls`.

#![cfg(all(
    feature = "ingest",
    feature = "srs-ingest-hls",
    feature = "hls",
    feature = "remux",
    feature = "demo",
    feature = "static-files"
))]

mod common;

use common::client::Peer;
use common::elementary::{extract, only_slices, slices};
use common::fetched::{
    assert_from, assert_part, assert_times, frames, ingest, nginx, play, sample, units,
};
use common::http::{Http, get, server_with};
use common::media::{self, AAC, H264, PICTURE, TONE};
use common::{RUNNEL, Running, SOON, Server, TempDir, eventually, free_port, run, spawn, tool};
use runnel::codec::nal::{self, Video};
use runnel::format::ts::{Body, read};
use runnel::media::{Kind, Packet};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

fn server(ingests: &str) -> Server {
    Server::with(&format!("vhost __defaultVhost__ {{ min_latency on; {ingests} }}"))
}

/// Has ffmpeg cut `file` into segments of a second in `dir`; the playlist is called `name`.
fn cut(ffmpeg: &Path, file: &Path, dir: &Path, name: &str, more: &str) -> String {
    fs::create_dir_all(dir).unwrap();
    let list = dir.join(name);
    let args = ["-v", "error", "-i", file.to_str().unwrap(), "-c", "copy", "-f", "hls"];
    let more = "-hls_time 1 -hls_list_size 0 ".to_owned() + more;
    let more = more.split_whitespace().chain([list.to_str().unwrap()]);
    run(ffmpeg, args.into_iter().chain(more));
    fs::read_to_string(list).unwrap()
}

#[test]
fn segments_are_beside_where_redirects_lead() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let dir = TempDir::new();
    let Some((_nginx, port)) = nginx(&dir) else { return };
    let deep = dir.join("www/deep");
    cut(&ffmpeg, &file, &deep, "v.m3u8", "");
    let master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=900000\nv.m3u8\n\
                  #EXT-X-STREAM-INF:BANDWIDTH=1000\nnone.m3u8\n";
    fs::write(deep.join("m.m3u8"), master).unwrap();
    let url = |path: &str| format!("http://127.0.0.1:{port}/{path}");
    let ingests = ingest("list", "stream", &url("go/v.m3u8"), "")
        + &ingest("master", "stream", &url("go/m.m3u8"), "");
    let server = server(&ingests);
    for stream in ["list", "master"] {
        let packets = play(&server, stream, Duration::from_secs(4));
        assert!(units(&packets).len() > 60, "{stream} {}", units(&packets).len());
        assert_from(&packets, &file);
    }
    let log = fs::read_to_string(dir.join("access.log")).unwrap();
    assert!(log.contains("GET /deep/v0.ts") && !log.contains("GET /go/v0.ts"), "{log}");
}

#[test]
fn parts_of_one_file_are_segments() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let dir = TempDir::new();
    let Some((_nginx, port)) = nginx(&dir) else { return };
    let www = dir.join("www");
    let list = cut(&ffmpeg, &file, &www, "v.m3u8", "-hls_flags single_file");
    assert!(list.matches("#EXT-X-BYTERANGE:").count() > 1 && list.contains("@0"), "{list}");
    // Each goes on where the one before ended: the offsets need not be there.
    let bare: Vec<_> = list
        .lines()
        .map(|line| match line.strip_prefix("#EXT-X-BYTERANGE:") {
            Some(range) if !range.ends_with("@0") => line.split('@').next().unwrap(),
            _ => line,
        })
        .collect();
    fs::write(www.join("bare.m3u8"), bare.join("\n")).unwrap();
    let url = |path: &str| format!("http://127.0.0.1:{port}/{path}");
    let ingests = ingest("whole", "stream", &url("v.m3u8"), "")
        + &ingest("bare", "stream", &url("bare.m3u8"), "");
    let server = server(&ingests);
    thread::scope(|scope| {
        for stream in ["whole", "bare"] {
            let (server, file) = (&server, &file);
            scope.spawn(move || {
                let packets = play(server, stream, Duration::from_secs(5));
                assert!(units(&packets).len() > 80, "{stream} {}", units(&packets).len());
                assert_from(&packets, file);
            });
        }
    });
    let log = fs::read_to_string(dir.join("access.log")).unwrap();
    assert!(log.contains("\" 206 ") && !log.contains("ts HTTP/1.1\" 200 "), "{log}");
}

#[test]
fn a_discontinuity_is_no_step_in_time_and_brings_its_own_headers() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let one = media::sample(&ffmpeg);
    let args = format!("-f lavfi -i testsrc2=s=160x90:r=25 {TONE} -t 3 {H264} {AAC}");
    let other = media::make(&ffmpeg, "other.flv", &args);
    let dir = TempDir::new();
    let Some((_nginx, port)) = nginx(&dir) else { return };
    let www = dir.join("www");
    let first = cut(&ffmpeg, &one, &www, "one.m3u8", "");
    // Its times begin an hour later.
    let second = cut(&ffmpeg, &other, &www, "other.m3u8", "-output_ts_offset 3600");
    let segments = |list: &str| -> String {
        let lines =
            list.lines().filter(|line| line.starts_with("#EXTINF") || !line.starts_with('#'));
        lines.map(|line| format!("{line}\n")).collect()
    };
    let list = format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n{}#EXT-X-DISCONTINUITY\n{}#EXT-X-ENDLIST\n",
        segments(&first),
        segments(&second)
    );
    fs::write(www.join("both.m3u8"), list).unwrap();
    let url = format!("http://127.0.0.1:{port}/both.m3u8");
    let server = server(&ingest("both", "stream", &url, ""));
    let packets = play(&server, "both", Duration::from_secs(9));
    let all = |file: &Path| media::flv_packets(&fs::read(file).unwrap());
    let pictures: Vec<_> = [all(&one), all(&other)].iter().flat_map(|p| units(p)).collect();
    assert_part("pictures", &units(&packets), &pictures);
    assert!(units(&packets).len() > 170, "{}", units(&packets).len());
    assert_times(&packets);
    let headers = packets.iter().filter(|p| p.header && p.kind == Kind::Video).count();
    assert!((3..=4).contains(&headers), "{headers} headers of pictures");
    assert_eq!(server.count("start publish"), 1);
}

#[test]
fn hls_that_is_not_read_is_said_once() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let dir = TempDir::new();
    let Some((_nginx, port)) = nginx(&dir) else { return };
    let www = dir.join("www");
    let list = cut(&ffmpeg, &file, &www, "mp4.m3u8", "-hls_segment_type fmp4");
    assert!(list.contains("#EXT-X-MAP"), "{list}");
    let list = cut(&ffmpeg, &file, &www, "v.m3u8", "");
    let keyed = |method: &str, name: &str| {
        let key = format!("#EXT-X-KEY:METHOD={method},URI=\"{name}.key\"\n#EXTINF");
        fs::write(www.join(format!("{name}.m3u8")), list.replacen("#EXTINF", &key, 1)).unwrap();
    };
    keyed("SAMPLE-AES", "sample");
    keyed("AES-128", "nokey");
    keyed("AES-128", "nosecret");
    fs::write(www.join("nosecret.key"), [7; 17]).unwrap();
    keyed("AES-128", "wrong");
    fs::write(www.join("wrong.key"), [7; 16]).unwrap();
    let url = |path: &str| format!("http://127.0.0.1:{port}/{path}");
    let cases = [
        ("mp4", "HLS of fragmented MP4"),
        ("sample", "HLS encrypted in another way than AES-128"),
        ("nokey", "nokey.key: the server answers 404"),
        ("nosecret", "nosecret.key: no key of 16 bytes"),
        ("wrong", "an encrypted segment"),
    ];
    let all = cases.map(|(id, _)| ingest(id, "stream", &url(&format!("{id}.m3u8")), ""));
    let server = server(&all.concat());
    for (id, what) in cases {
        let end = format!("ingest {id} {}: ", url(&format!("{id}.m3u8")));
        let line = (0..100).find_map(|_| {
            thread::sleep(Duration::from_millis(100));
            let lines = server.log.all();
            lines.into_iter().find(|l| l.contains(&end) && l.contains(what))
        });
        let line = line.unwrap_or_else(|| panic!("{id}: {what}"));
        assert!(line.contains("tried again"), "{line}");
    }
    thread::sleep(Duration::from_secs(3));
    assert_eq!(server.count("HLS of fragmented MP4"), 1, "said once");
}

#[test]
#[cfg(feature = "hls-keys")]
fn encrypted_hls_of_another_server_and_of_ffmpeg_is_read() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let (origin, http) = server_with(
        "vhost __defaultVhost__ { hls { enabled on; hls_fragment 1; hls_window 10; \
         hls_storage ram; hls_keys on; hls_fragments_per_key 2; } }",
        "",
    );
    let _publisher = media::publish_live(&ffmpeg, &file, &origin.url("secret"));
    let list = || get(http, "/live/secret.m3u8", "").1;
    let text = || String::from_utf8_lossy(&list()).into_owned();
    eventually("there are segments", SOON * 2, || text().matches(".ts").count() > 2);
    assert!(text().contains("#EXT-X-KEY:METHOD=AES-128"), "{}", text());
    // A key of ffmpeg, which states no vector: it is the number of the segment.
    let dir = TempDir::new();
    let Some((_nginx, port)) = nginx(&dir) else { return };
    let www = dir.join("www");
    fs::write(www.join("f.key"), b"0123456789abcdef").unwrap();
    let info = format!("f.key\n{}\n", www.join("f.key").display());
    fs::write(dir.join("info"), info).unwrap();
    let more = format!("-hls_key_info_file {}", dir.join("info").display());
    let list = cut(&ffmpeg, &file, &www, "f.m3u8", &more);
    assert!(list.contains("METHOD=AES-128"), "{list}");
    let ingests =
        ingest("live", "stream", &format!("http://127.0.0.1:{http}/live/secret.m3u8"), "")
            + &ingest("vod", "stream", &format!("http://127.0.0.1:{port}/f.m3u8"), "");
    let server = server(&ingests);
    thread::scope(|scope| {
        for stream in ["live", "vod"] {
            let (server, file) = (&server, &file);
            scope.spawn(move || {
                let packets = play(server, stream, Duration::from_secs(6));
                assert!(units(&packets).len() > 100, "{stream} {}", units(&packets).len());
                assert_from(&packets, file);
            });
        }
    });
}

/// The frames of a file of sound, without the headers of ADTS.
fn sound(packets: &[Packet]) -> Vec<Vec<u8>> {
    let frames = packets.iter().filter(|p| p.kind == Kind::Audio && !p.header).map(|packet| {
        let Ok(Body::Sound(_, data)) = read(packet.kind, &packet.payload) else { panic!() };
        data.to_vec()
    });
    frames.collect()
}

/// A tag as those of music have it, with a cover of so many bytes that look like frames.
fn id3(len: usize) -> Vec<u8> {
    let size = [21, 14, 7, 0].map(|shift| (len >> shift & 0x7f) as u8);
    [b"ID3\x03\0\0", &size[..], &[0xff, 0xfb].repeat(len / 2)].concat()
}

#[test]
fn files_of_sound_are_a_radio() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let dir = TempDir::new();
    let Some((_nginx, port)) = nginx(&dir) else { return };
    let aac = media::make(&ffmpeg, "radio.aac", &format!("{TONE} -t 3 {AAC} -f adts"));
    let args = format!("{TONE} -t 3 -c:a libmp3lame -b:a 64k -write_xing 0 -id3v2_version 0");
    let plain = media::make(&ffmpeg, "radio.mp3", &args);
    let plain = fs::read(plain).unwrap();
    let aac_frames = {
        let bytes = fs::read(&aac).unwrap();
        let (mut rest, mut frames) = (bytes.as_slice(), Vec::new());
        while let Ok(head) = runnel::format::adts::read(rest) {
            frames.push(rest[head.header..head.len].to_vec());
            rest = &rest[head.len..];
        }
        frames
    };
    let mp3_frames = {
        let (mut rest, mut frames) = (plain.as_slice(), Vec::new());
        while let Ok(head) = runnel::codec::mp3::Header::parse(rest) {
            frames.push(rest[..head.len].to_vec());
            rest = &rest[head.len..];
        }
        frames
    };
    assert!(mp3_frames.len() > 100 && aac_frames.len() > 100);
    let www = dir.join("www");
    fs::write(dir.join("tagged.mp3"), [id3(300_000), plain.clone()].concat()).unwrap();
    fs::write(www.join("tagged.mp3"), [id3(3000), plain].concat()).unwrap();
    fs::write(www.join("r.aac"), fs::read(&aac).unwrap()).unwrap();
    let url = |path: &str| format!("http://127.0.0.1:{port}/{path}");
    let ingests = ingest("mp3", "file", dir.join("tagged.mp3").to_str().unwrap(), "")
        + &ingest("aac", "file", aac.to_str().unwrap(), "")
        + &ingest("webmp3", "file", &url("tagged.mp3"), "")
        + &ingest("webaac", "file", &url("r.aac"), "");
    let server = server(&ingests);
    thread::scope(|scope| {
        for (stream, all) in [
            ("mp3", &mp3_frames),
            ("aac", &aac_frames),
            ("webmp3", &mp3_frames),
            ("webaac", &aac_frames),
        ] {
            let server = &server;
            scope.spawn(move || {
                let packets = play(server, stream, Duration::from_secs(5));
                let got = sound(&packets);
                assert_part(&format!("frames of {stream}"), &got, all);
                // At the speed of the clock, over the end of the file.
                assert!((150..400).contains(&got.len()), "{stream} {}", got.len());
                assert_times(&packets);
            });
        }
    });
    assert_eq!(server.count("start publish"), 4, "a round is no new stream");
}

#[test]
fn a_file_that_is_missing_grows_is_replaced_or_goes_is_followed() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let one = media::sample(&ffmpeg);
    let args = format!("-f lavfi -i testsrc2=s=160x90:r=25 {TONE} -t 3 {H264} {AAC}");
    let other = media::make(&ffmpeg, "other.flv", &args);
    let dir = TempDir::new();
    let file = dir.join("live.flv");
    let server = server(&ingest("a", "file", file.to_str().unwrap(), ""));
    let no_file = format!("ingest a {}: No such file", file.display());
    let missing = server.line(&no_file);
    assert!(missing.contains("tried again in 1."), "{missing}");
    thread::sleep(Duration::from_secs(4));
    assert_eq!(server.count(&no_file), 1, "said once");
    // It comes, half of it, and the rest a moment later.
    let bytes = fs::read(&one).unwrap();
    let half = bytes.len() / 2;
    fs::write(&file, &bytes[..half]).unwrap();
    let mut player = Peer::play(&server, "a");
    let first = player.packet(Duration::from_secs(20)).expect("it is tried again");
    let rest = bytes[half..].to_vec();
    std::io::Write::write_all(&mut fs::OpenOptions::new().append(true).open(&file).unwrap(), &rest)
        .unwrap();
    let mut packets = vec![first];
    let until = Instant::now() + Duration::from_secs(5);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        packets.extend(player.packet(left));
    }
    assert_from(&packets, &one);
    assert!(units(&packets).len() > 100, "{}", units(&packets).len());
    // Another one stands there from the next round on.
    let next = dir.join("next");
    fs::copy(&other, &next).unwrap();
    fs::rename(&next, &file).unwrap();
    let until = Instant::now() + Duration::from_secs(8);
    let mut packets = Vec::new();
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        packets.extend(player.packet(left));
    }
    let new = packets.iter().position(|p| p.header && p.kind == Kind::Video);
    let new = new.expect("the header of the other file");
    let all = units(&media::flv_packets(&fs::read(&other).unwrap()));
    assert_part("pictures of the other file", &units(&packets[new..]), &all);
    assert_times(&packets);
    assert_eq!(server.count("start publish"), 1);
    // It goes.
    fs::remove_file(&file).unwrap();
    let gone = server.line_number(&no_file, 2);
    assert!(gone.contains("tried again in"), "{gone}");
    server.line("stop publish");
}

#[test]
fn a_group_is_joined_by_an_ingest() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let port = free_port();
    let ingests = |localaddr: &str| {
        let url = format!("udp://@239.255.78.1:{port}?localaddr={localaddr}");
        server(&ingest("group", "stream", &url, ""))
    };
    let all = media::flv_packets(&fs::read(&file).unwrap());
    for localaddr in ["127.0.0.1", "lo"] {
        let server = ingests(localaddr);
        let out = format!("udp://239.255.78.1:{port}?pkt_size=1316&localaddr=127.0.0.1");
        let input = ["-re", "-stream_loop", "-1", "-i", file.to_str().unwrap(), "-c", "copy"];
        let _sender =
            spawn(&ffmpeg, ["-v", "error"].into_iter().chain(input).chain(["-f", "mpegts", &out]));
        let packets = play(&server, "group", Duration::from_secs(3));
        assert!(units(&packets).len() > 40, "{localaddr} {}", units(&packets).len());
        assert_part("pictures", &units(&packets), &units(&all));
    }
}

#[test]
fn players_of_every_kind_begin_an_ingest_and_their_end_ends_it() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let ingests = ingest("od", "file", file.to_str().unwrap(), "on_demand on; linger 2;");
    let (server, http) = server_with(
        &format!(
            "vhost __defaultVhost__ {{ min_latency on; {ingests} \
             http_remux {{ enabled on; mount [vhost]/[app]/[stream].*; }} \
             hls {{ enabled on; hls_fragment 1; hls_window 10; hls_storage ram; }} }}"
        ),
        "",
    );
    thread::sleep(Duration::from_millis(500));
    assert_eq!(server.count("start publish"), 0, "nobody wants it");
    for (round, form) in ["flv", "ts", "aac"].into_iter().enumerate() {
        let mut player = Http::connect(http);
        let head = player.ask(&format!("/live/od.{form}"), "");
        assert_eq!(head.status, 200, "{form}");
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(4) {
            player.chunks(1000);
        }
        assert_eq!(server.count("nobody plays it"), round, "{form}: it stays while it is played");
        drop(player);
        let left = Instant::now();
        server.line_number("ends, nobody plays it", round + 1);
        assert!(left.elapsed() > Duration::from_millis(1000), "{form}: it lingers");
        assert_eq!(server.count("start publish"), round + 1, "{form}");
    }
    // A player of HLS asks now and then. What is listed at first is of the streams before.
    let newest = || {
        let (head, body) = get(http, "/live/od.m3u8", "");
        let text = String::from_utf8_lossy(&body).into_owned();
        let name = text.lines().rfind(|line| line.contains(".ts")).map(ToOwned::to_owned);
        name.filter(|_| head.status == 200)
    };
    let before = newest();
    server.line_number("start publish", 4);
    let mut segment = None;
    eventually("there is a segment", SOON * 3, || {
        segment = newest().filter(|name| Some(name) != before.as_ref());
        segment.is_some()
    });
    let path = format!("/live/{}", segment.unwrap());
    let (head, body) = get(http, &path, "");
    assert!(head.status == 200 && body.len() > 188 * 10, "{path}");
    let asked = Instant::now();
    assert_eq!(server.count("start publish"), 4);
    // Nobody asks any more.
    let ended = server.wait_for_line("ends, nobody plays it", 4, Duration::from_secs(60));
    assert!(ended.is_some() && asked.elapsed() > Duration::from_secs(2), "{:?}", asked.elapsed());
}

/// The body of a tag of pictures with start codes in place of lengths.
fn annex_b(payload: &[u8]) -> Vec<u8> {
    let units = nal::prefixed(&payload[5..], 4).map(|unit| [&[0, 0, 0, 1], unit].concat());
    [payload[..5].to_vec(), units.collect::<Vec<_>>().concat()].concat()
}

#[test]
fn pictures_with_start_codes_in_rtmp_are_whole_in_hls() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::make(
        &ffmpeg,
        "annexb.flv",
        &format!("{PICTURE} {TONE} -t 6 {H264} {AAC} -flvflags no_sequence_end"),
    );
    let all = media::flv_packets(&fs::read(&file).unwrap());
    let want = slices(&all, Video::H264);
    let (server, http) = server_with(
        "vhost __defaultVhost__ { hls { enabled on; hls_fragment 1; hls_window 60; \
         hls_storage ram; hls_dispose 60; } }",
        "",
    );
    // Throughout, up to the middle, and nowhere.
    for (stream, until) in [("codes", all.len()), ("mixed", all.len() / 2), ("lengths", 0)] {
        let mut publisher = Peer::publish(&server, stream);
        for (at, packet) in all.iter().enumerate() {
            if packet.kind == Kind::Video && !packet.header && at < until {
                publisher.send_bytes(packet.kind, packet.dts, &annex_b(&packet.payload));
            } else {
                publisher.send(packet);
            }
        }
        let list = || {
            String::from_utf8_lossy(&get(http, &format!("/live/{stream}.m3u8"), "").1).into_owned()
        };
        eventually("there are segments", SOON, || list().matches(".ts").count() >= 5);
        let mut ts = Vec::new();
        for name in list().lines().filter(|line| line.contains(".ts")) {
            ts.extend(get(http, &format!("/live/{name}"), "").1);
        }
        let dir = TempDir::new();
        fs::write(dir.join("all.ts"), ts).unwrap();
        let stream_of = extract(&ffmpeg, &dir.join("all.ts"), "-map 0:v -c copy -f h264");
        let got = only_slices(Video::H264, nal::units(&stream_of));
        assert!(got.len() >= 100, "{stream}: {} pictures", got.len());
        assert!(want.starts_with(&got), "{stream}: {} of {} pictures", got.len(), want.len());
        drop(publisher);
    }
}

/// This program by the name that the original's tool has.
fn applet(dir: &TempDir) -> PathBuf {
    let path = dir.join("srs_ingest_hls");
    symlink(RUNNEL, &path).unwrap();
    path
}

fn pass_on(program: &Path, from: &str, to: &str) -> Running {
    spawn(program, ["-i", from, "-y", to])
}

#[test]
fn srs_ingest_hls_passes_a_playlist_on_and_ends_with_it() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let dir = TempDir::new();
    let Some((_nginx, port)) = nginx(&dir) else { return };
    cut(&ffmpeg, &file, &dir.join("www"), "v.m3u8", "");
    let program = applet(&dir);
    let from = format!("http://127.0.0.1:{port}/v.m3u8");
    let server = Server::start();
    let all = media::flv_packets(&fs::read(&file).unwrap());
    for (stream, to) in
        [("a", server.url("a")), ("b", format!("{}?vhost=__defaultVhost__/b", server.tc_url()))]
    {
        let mut player = Peer::play(&server, stream);
        let mut passing = pass_on(&program, &from, &to);
        let packets = {
            let mut packets = vec![player.packet(SOON).expect("a packet")];
            packets.extend(player.packets_until_silence(Duration::from_secs(3)));
            packets
        };
        passing.finish();
        assert!(
            units(&packets) == units(&all),
            "{} pictures of {}",
            units(&packets).len(),
            units(&all).len()
        );
        assert!(frames(&all).starts_with(&frames(&packets)) && frames(&packets).len() > 100);
        assert!(passing.err.all().iter().any(|line| line.contains("is passed on")));
    }
    // The name may be the first word.
    let mut passing =
        spawn(Path::new(RUNNEL), ["srs_ingest_hls", "-i", &from, "-y", &server.url("c")]);
    server.line("fmle-publish, stream_name=c");
    passing.finish();
}

#[test]
fn srs_ingest_hls_follows_a_live_playlist_of_the_same_server() {
    let http = free_port();
    let server = Server::without_file(&["--demo", "--http-port", &http.to_string()]);
    server.line("HTTP listens at");
    eventually("there are segments", SOON + SOON, || {
        get(http, "/live/demo.m3u8", "").1.windows(3).filter(|w| w == b".ts").count() > 1
    });
    let dir = TempDir::new();
    let from = format!("http://127.0.0.1:{http}/live/demo.m3u8");
    let mut passing = pass_on(&applet(&dir), &from, &server.url("b"));
    let packets = play(&server, "b", Duration::from_secs(6));
    let all = media::built_in();
    assert_part("pictures", &units(&packets), &units(&all));
    assert_part("frames", &frames(&packets), &frames(&all));
    assert_times(&packets);
    assert!(units(&packets).len() > 100, "{}", units(&packets).len());
    assert!(passing.is_running());
    passing.signal(Signal::TERM);
    assert!(passing.wait(SOON).is_some());
    server.line("stop publish");
}

#[test]
fn srs_ingest_hls_says_why_it_cannot() {
    let dir = TempDir::new();
    let program = applet(&dir);
    let Some((_nginx, port)) = nginx(&dir) else { return };
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    cut(&ffmpeg, &media::sample(&ffmpeg), &dir.join("www"), "v.m3u8", "");
    let server = Server::start();
    let _busy = Peer::publish(&server, "busy");
    let good = format!("http://127.0.0.1:{port}/v.m3u8");
    let none = format!("http://127.0.0.1:{port}/none.m3u8");
    let nobody = format!("rtmp://127.0.0.1:{}/live/s", free_port());
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for (words, status, what) in [
        (words(&[]), 255, "Usage: srs_ingest_hls"),
        (words(&["-i", &good]), 255, "-y is missing"),
        (words(&["-i", "http://h/a.flv", "-y", "rtmp://h/a/b"]), 255, "is no HLS"),
        (words(&["-i", "https://h/a.m3u8", "-y", "rtmp://h/a/b"]), 255, "https"),
        (words(&["-i", &none, "-y", &server.url("s")]), 185, "the server answers 404"),
        (words(&["-i", &good, "-y", &nobody]), 250, "127.0.0.1"),
        (words(&["-i", &good, "-y", &server.url("busy")]), 216, "refused"),
        (words(&["-i", &good, "-y", "rtmp://h"]), 214, "tcUrl"),
    ] {
        let mut passing = spawn(&program, &words);
        let ended = passing.wait(SOON * 2).unwrap_or_else(|| panic!("{words:?} goes on"));
        passing.err.wait_for_end();
        let said = passing.err.all().join("\n");
        assert!(said.contains(what), "{words:?}: {said}");
        assert_eq!(ended.code(), Some(status), "{words:?}: {said}");
    }
}

#[test]
fn srs_ingest_hls_is_run_by_an_ingest_whose_output_is_elsewhere() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let file = media::sample(&ffmpeg);
    let dir = TempDir::new();
    let Some((_nginx, port)) = nginx(&dir) else { return };
    cut(&ffmpeg, &file, &dir.join("www"), "v.m3u8", "");
    let program = applet(&dir);
    let there = Server::start();
    let ingest = format!(
        "ingest x {{ enabled on; input {{ type stream; url http://127.0.0.1:{port}/v.m3u8; }} \
         ffmpeg {}; engine {{ enabled off; output {}; }} }}",
        program.display(),
        there.url("x")
    );
    let here = server(&ingest);
    let line = here.line("fork ingest x");
    let pid: i32 = line.rsplit_once("pid=").unwrap().1.parse().unwrap();
    let packets = play(&there, "x", Duration::from_secs(1));
    assert_from(&packets, &file);
    let argv = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let argv = String::from_utf8_lossy(&argv).replace('\0', " ");
    let want = format!("-i http://127.0.0.1:{port}/v.m3u8 -vcodec copy -acodec copy -f flv -y ");
    assert!(argv.contains(&want), "{argv}");
    let log = here.dir.join("objs/ffmpeg-ingest-__defaultVhost__-live-x.log");
    assert!(fs::read_to_string(log).unwrap().contains("params: "));
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    here.line_number("fork ingest x", 2);
    there.line_number("fmle-publish, stream_name=x", 2);
    // Where the output is here, no program is needed.
    let here = server(&ingest.replace(&there.url("x"), "rtmp://127.0.0.1:[port]/live/x"));
    let packets = play(&here, "x", Duration::from_secs(1));
    assert_from(&packets, &file);
    assert_eq!(here.count("fork ingest"), 0);
}

#[test]
fn the_samples_fetch_what_they_say() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let http = free_port();
    let origin = Server::without_file(&["--demo", "--http-port", &http.to_string()]);
    eventually("there are segments", SOON + SOON, || {
        get(http, "/live/demo.m3u8", "").1.windows(3).filter(|w| w == b".ts").count() > 1
    });
    let dir = TempDir::new();
    fs::create_dir(dir.join("objs")).unwrap();
    symlink(RUNNEL, dir.join("objs/srs_ingest_hls")).unwrap();
    let (own, theirs) = (http.to_string(), origin.port.to_string());
    let changes = [("18080", own.as_str()), ("19350", theirs.as_str())];
    let server = sample("ingest.hls", free_port(), &changes, dir);
    for (server, stream) in [(&server, "livestream"), (&origin, "back")] {
        let packets = play(server, stream, Duration::from_secs(2));
        assert_part("pictures", &units(&packets), &units(&media::built_in()));
    }
    drop(server);

    let server = sample("ingest.ondemand", free_port(), &changes, TempDir::new());
    thread::scope(|scope| {
        for stream in ["rtmp", "flv", "hls"] {
            let server = &server;
            scope.spawn(move || {
                let packets = play(server, stream, Duration::from_secs(2));
                assert_part("pictures", &units(&packets), &units(&media::built_in()));
            });
        }
    });
    assert_eq!(server.count("start publish"), 3);
    // A linger of 10 s, as it is said and by default.
    let ended = server.wait_for_line("ends, nobody plays it", 3, SOON * 2);
    assert!(ended.is_some());
    drop(server);

    let dir = TempDir::new();
    fs::create_dir(dir.join("doc")).unwrap();
    let file = media::sample(&ffmpeg);
    fs::copy(&file, dir.join("doc/source.flv")).unwrap();
    let server = sample("ingest", free_port(), &[], dir);
    let packets = play(&server, "livestream", Duration::from_secs(4));
    assert_from(&packets, &file);
    assert!(units(&packets).len() > 75, "{}", units(&packets).len());
    assert_eq!(server.count("fork ingest"), 0);
    drop(server);

    let dir = TempDir::new();
    fs::create_dir(dir.join("doc")).unwrap();
    let args = format!("-i {} -vn -c:a libmp3lame", media::sample(&ffmpeg).display());
    let file = media::make(&ffmpeg, "radio-sample.mp3", &args);
    fs::copy(file, dir.join("doc/radio.mp3")).unwrap();
    let http = free_port();
    let listen = format!("listen {http};");
    let server = sample("ingest.radio", free_port(), &[("listen 8080;", &listen)], dir);
    server.line("start publish /live/radio");
    let mut player = Http::connect(http);
    assert_eq!(player.ask("/live/radio.mp3", "").status, 200);
    assert!(player.chunks(20_000).len() >= 20_000);
    drop(server);

    let port = free_port().to_string();
    let server = sample("ingest.udp", free_port(), &[("8935", &port)], TempDir::new());
    let file = media::sample(&ffmpeg);
    let out = format!("udp://239.255.77.1:{port}?pkt_size=1316&localaddr=127.0.0.1");
    let args = ["-v", "error", "-re", "-stream_loop", "-1", "-i", file.to_str().unwrap()];
    let _sender = spawn(&ffmpeg, args.into_iter().chain(["-c", "copy", "-f", "mpegts", &out]));
    let packets = play(&server, "livestream", Duration::from_secs(2));
    assert!(units(&packets).len() > 20, "{}", units(&packets).len());
}
