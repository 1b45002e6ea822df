use super::*;
use crate::config;
use crate::format::flv::Tag;
use crate::io::disk::testing::Dir;
use crate::io::run;
use std::fs;
use std::time::Duration;

fn packet(kind: Kind, dts: u32, body: &'static [u8]) -> Packet {
    Packet::new(kind, dts, Bytes::from_static(body))
}

/// Publishes `seconds` of pictures, a key frame each second, `times` times; what is there then.
fn cut(dir: &Dir, hds: &str, seconds: u32, times: usize) -> Vec<(String, Vec<u8>)> {
    let path = dir.path().display();
    let text = format!("listen 1; vhost v {{ hds {{ enabled on; hds_path {path}; {hds} }} }}");
    let config = config::load(text.as_bytes()).unwrap().config;
    let vhost = config.vhosts[0].clone();
    run::run(|spawner| async move {
        let cx = Context::new(config, false, spawner);
        for _ in 0..times {
            let key = StreamKey::new("v", "live", "cam");
            let mut sink = (SERVICE.attach)(&cx, &key, &vhost).unwrap();
            let mut send = |kind, dts, body| {
                sink.on_packet(&packet(kind, dts, body)).unwrap();
            };
            send(Kind::Video, 7000, b"\x17\0\0\0\0video header");
            send(Kind::Audio, 7000, b"\xaf\0audio header");
            for i in 0..seconds * 10 {
                let key = i % 10 == 0;
                let body = if key { &b"\x17\x01\0\0\0key"[..] } else { b"\x27\x01\0\0\0x" };
                send(Kind::Video, 7000 + i * 100, body);
            }
            sink.on_unpublish();
        }
        assert!(cx.disk.finish(Duration::from_secs(20)));
    })
    .unwrap();
    let mut files: Vec<_> = fs::read_dir(dir.join("live"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn tags(fragment: &[u8]) -> Vec<(u32, Vec<u8>)> {
    assert_eq!(fragment[..4], (fragment.len() as u32).to_be_bytes());
    assert_eq!(&fragment[4..8], b"mdat");
    let mut input = &fragment[8..];
    let mut tags = Vec::new();
    while !input.is_empty() {
        let tag = Tag::take(&mut input).unwrap();
        tags.push((tag.timestamp, tag.body.to_vec()));
    }
    tags
}

#[test]
fn each_fragment_begins_with_headers_and_a_key_frame() {
    let dir = Dir::new();
    let files = cut(&dir, "hds_fragment 1.5; hds_window 100;", 5, 1);
    let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    let fragments = ["camSeg1-Frag1", "camSeg1-Frag2", "camSeg1-Frag3"];
    assert_eq!(names, [&["cam.abst", "cam.f4m"][..], &fragments].concat());
    for (i, (_, bytes)) in files[2..].iter().enumerate() {
        let tags = tags(bytes);
        assert_eq!(tags[0].1, b"\x17\0\0\0\0video header");
        assert_eq!(tags[1].1, b"\xaf\0audio header");
        assert_eq!(tags[2].1, b"\x17\x01\0\0\0key");
        assert_eq!(tags[0].0, tags[2].0);
        assert_eq!(tags.len(), if i == 2 { 12 } else { 22 });
    }
    let list = &files[0].1;
    let want = [
        Fragment { number: 1, start: 0, duration: 2000 },
        Fragment { number: 2, start: 2000, duration: 2000 },
        Fragment { number: 3, start: 4000, duration: 900 },
    ];
    assert_eq!(*list, f4::bootstrap(&want));
}

#[test]
fn the_window_moves_and_numbers_go_on_after_a_republish() {
    let dir = Dir::new();
    let files = cut(&dir, "hds_fragment 1; hds_window 3;", 5, 2);
    let names: Vec<_> = files[2..].iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["camSeg1-Frag10", "camSeg1-Frag8", "camSeg1-Frag9"]);
    assert!(files[1].1.starts_with(b"<?xml"));
    let times: Vec<_> = files[2..].iter().map(|(_, bytes)| tags(bytes)[0].0).collect();
    assert!(times[1] < times[2] && times[2] < times[0], "{times:?}");
}

#[test]
fn without_key_frames_a_fragment_ends_at_twice_its_length() {
    let dir = Dir::new();
    let files = cut(&dir, "hds_fragment 0.3; hds_window 100;", 2, 1);
    // 0, 600, then the key frame at 1000.
    assert_eq!(files.len() - 2, 4);
}

/// What is in the directory of the stream.
fn names(dir: &Dir) -> Vec<String> {
    let entries = fs::read_dir(dir.join("live")).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_an_earlier_process_left_is_deleted_and_nothing_else() {
    let dir = Dir::new();
    fs::create_dir(dir.join("live")).unwrap();
    let old = ["camSeg1-Frag77", "camSeg1-Frag78.tmp", "cam.abst"];
    let others = ["cam2Seg1-Frag7", "camera.abst", "cam.flv", "camSeg1-Fragment"];
    for file in old.iter().chain(&others) {
        fs::write(dir.join("live").join(file), "old").unwrap();
    }
    cut(&dir, "hds_fragment 2; hds_window 100;", 3, 1);
    let new = ["cam.abst", "cam.f4m", "camSeg1-Frag1", "camSeg1-Frag2"];
    let mut want: Vec<_> = others.iter().chain(&new).map(ToString::to_string).collect();
    want.sort();
    assert_eq!(names(&dir), want);
    assert_ne!(fs::read(dir.join("live/cam.abst")).unwrap(), b"old");
}

#[test]
fn a_fragment_that_does_not_get_its_name_is_not_in_the_list() {
    let dir = Dir::new();
    // A directory stands where the second fragment is to be, and is not empty.
    fs::create_dir_all(dir.join("live/camSeg1-Frag2/x")).unwrap();
    let path = dir.path().display();
    let text =
        format!("listen 1; vhost v {{ hds {{ enabled on; hds_path {path}; hds_fragment 1; }} }}");
    let config = config::load(text.as_bytes()).unwrap().config;
    let vhost = config.vhosts[0].clone();
    run::run(|spawner| async move {
        let cx = Context::new(config, false, spawner);
        let key = StreamKey::new("v", "live", "cam");
        let mut cutter = Cutter::new(&cx, &key, &vhost.hds);
        cutter.on_packet(&packet(Kind::Video, 0, b"\x17\0\0\0\0video header")).unwrap();
        // Ten pictures, the first is a key frame; what the disk has done is seen with the next one.
        let second = |cutter: &mut Cutter, second: u32| {
            for i in 0..10 {
                let body = if i == 0 { &b"\x17\x01\0\0\0key"[..] } else { b"\x27\x01\0\0\0x" };
                cutter.on_packet(&packet(Kind::Video, second * 1000 + i * 100, body)).unwrap();
                assert!(cx.disk.finish(Duration::from_secs(20)));
            }
        };
        let state = |cutter: &Cutter| {
            let course = cutter.course.borrow();
            let numbers: Vec<_> = course.window.iter().map(|fragment| fragment.number).collect();
            (course.failing, numbers, cutter.current.is_some())
        };
        (0..2).for_each(|i| second(&mut cutter, i));
        assert_eq!(state(&cutter), (false, vec![1], true));
        second(&mut cutter, 2);
        assert_eq!(state(&cutter), (true, vec![1], false));
        second(&mut cutter, 3);
        assert_eq!(state(&cutter), (true, vec![1], false), "it waits");
        cutter.retry = 0;
        (4..6).for_each(|i| second(&mut cutter, i));
        assert_eq!(state(&cutter), (false, vec![1, 4], true), "and goes on");
        cutter.on_unpublish();
        assert!(cx.disk.finish(Duration::from_secs(20)));
    })
    .unwrap();
    let finished: Vec<_> = names(&dir).into_iter().filter(|name| name.contains("Frag")).collect();
    let want = ["camSeg1-Frag1", "camSeg1-Frag2", "camSeg1-Frag4", "camSeg1-Frag5"];
    assert_eq!(finished, want, "nothing unfinished is left");
}
