use super::*;
use crate::config;
use crate::format::flv::{FILE_HEADER, Tag};
use crate::io::disk::testing::Dir;
use crate::io::run;
use crate::io::{clock, durable};
use crate::media::{Kind, Packet};
use crate::proto::amf0::{Object, Reader, Value};
use bytes::Bytes;
use repair::Repair;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// A tag of a file: kind, time, body.
type Read = (Kind, u32, Vec<u8>);

/// A server without sockets that records into a directory.
struct Rig {
    cx: Rc<Context>,
    vhost: Rc<Vhost>,
    done: Rc<RefCell<Vec<Recorded>>>,
}

/// Runs `test` with recordings as `dvr` says; `DIR` in it is the directory.
fn with<F: Future<Output = ()> + 'static>(dir: &Dir, dvr: &str, test: impl FnOnce(Rig) -> F) {
    let dvr = dvr.replace("DIR", &dir.path().display().to_string());
    let text = format!("listen 1; utc_time on; vhost v {{ dvr {{ enabled on; {dvr} }} }}");
    let config = config::load(text.as_bytes()).unwrap().config;
    let vhost = config.vhosts[0].clone();
    let outcome = run::run(|spawner| {
        let cx = Context::new(config, false, spawner);
        (SERVICE.start)(&cx);
        let done = Rc::new(RefCell::new(Vec::new()));
        let to = done.clone();
        cx.part::<Recordings>().on_file(move |file| to.borrow_mut().push(file.clone()));
        // A test that fails must not unwind through the executor.
        let test = AssertUnwindSafe(test(Rig { cx, vhost, done }));
        smol::future::FutureExt::catch_unwind(test)
    });
    if let Err(panic) = outcome.unwrap() {
        std::panic::resume_unwind(panic);
    }
}

impl Rig {
    async fn sink(&self, stream: &str) -> Box<dyn Sink> {
        let key = StreamKey::new("v", "live", stream);
        let sink = (SERVICE.attach)(&self.cx, &key, &self.vhost).unwrap();
        self.settle().await;
        sink
    }

    /// Lets the disk do its work, and whoever waits for it.
    async fn settle(&self) {
        for _ in 0..20 {
            run::sleep(Duration::from_millis(1)).await;
            assert!(self.cx.disk.finish(SOON));
        }
    }

    async fn feed(&self, sink: &mut dyn Sink, packets: &[Packet]) {
        for packet in packets {
            sink.on_packet(packet).unwrap();
            if packet.key {
                self.settle().await;
            }
        }
    }

    /// Waits until `count` files are finished; the last one.
    async fn finished(&self, count: usize) -> Recorded {
        let until = clock::after(SOON);
        while self.done.borrow().len() < count {
            assert!(clock::now() < until, "{count} files are not finished");
            run::sleep(Duration::from_millis(1)).await;
        }
        self.settle().await;
        self.done.borrow()[count - 1].clone()
    }
}

fn packet(kind: Kind, dts: u32, body: &'static [u8]) -> Packet {
    Packet::new(kind, dts, Bytes::from_static(body))
}

fn metadata() -> Packet {
    let mut body = Vec::new();
    let mut writer = crate::proto::amf0::Writer(&mut body);
    let width = Object::from_iter([("width", 320.0), ("duration", 0.0)]);
    writer.string("@setDataFrame").string("onMetaData").value(&width.into());
    Packet::new(Kind::Data, 0, body.into())
}

/// Metadata, sequence headers, then `seconds` of 10 pictures a second with a key frame each
/// second, and sound; from `start` on.
fn stream(start: u32, seconds: u32) -> Vec<Packet> {
    let mut packets = vec![
        metadata(),
        packet(Kind::Video, start, b"\x17\0\0\0\0video header"),
        packet(Kind::Audio, start, b"\xaf\0audio header"),
    ];
    for i in 0..seconds * 10 {
        let dts = start + i * 100;
        packets.push(match i % 10 {
            0 => packet(Kind::Video, dts, b"\x17\x01\0\0\0key frame"),
            _ => packet(Kind::Video, dts, b"\x27\x01\0\0\0frame"),
        });
        packets.push(packet(Kind::Audio, dts + 5, b"\xaf\x01sound"));
    }
    packets
}

fn read(path: &Path) -> (Object, Vec<Read>) {
    let bytes = fs::read(path).unwrap();
    let mut input = &bytes[..];
    Tag::start(&mut input).unwrap();
    let mut tags = Vec::new();
    while !input.is_empty() {
        let tag = Tag::take(&mut input).unwrap();
        tags.push((tag.kind, tag.timestamp, tag.body.to_vec()));
    }
    let metadata = properties(&tags[0].2);
    assert_eq!(metadata.number("filesize"), Some(bytes.len() as f64));
    check_index(&metadata, &bytes);
    (metadata, tags)
}

/// The metadata without what only fills it.
fn properties(body: &[u8]) -> Object {
    let mut reader = Reader::new(body);
    assert_eq!(reader.string().unwrap().as_deref(), Some("onMetaData"));
    assert!(reader.enter().unwrap());
    let mut metadata = Object::new();
    while let Some(key) = reader.key().unwrap() {
        let value = reader.skip().unwrap();
        if key != b"spacer" {
            let key = std::str::from_utf8(key).unwrap();
            metadata.set(key, Reader::new(value).value().unwrap());
        }
    }
    assert!(reader.is_empty());
    metadata
}

/// Every entry of the index is where it says.
fn check_index(metadata: &Object, bytes: &[u8]) {
    let Some(keyframes) = metadata.object("keyframes") else { return };
    let list = |name: &str| {
        let Some(Value::StrictArray(list)) = keyframes.value(name) else { panic!("no {name}") };
        list.iter().map(|value| value.as_number().unwrap()).collect::<Vec<_>>()
    };
    let (offsets, times) = (list("filepositions"), list("times"));
    assert_eq!(offsets.len(), times.len());
    for (offset, time) in offsets.iter().zip(times) {
        let tag = Tag::take(&mut &bytes[*offset as usize..]).unwrap();
        assert_eq!(f64::from(tag.timestamp) / 1000.0, time);
        assert!(tag.kind == Kind::Audio || tag.body[0] == 0x17 && tag.body[1] == 1);
    }
}

fn bodies(tags: &[Read]) -> Vec<&[u8]> {
    tags.iter().map(|(_, _, body)| &body[..]).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_session_is_one_file_from_metadata_to_the_last_frame() {
    let dir = Dir::new();
    with(&dir, "dvr_path DIR/[app]/[stream].flv;", |rig| async move {
        let mut sink = rig.sink("cam").await;
        let packets = stream(500_000, 3);
        rig.feed(&mut *sink, &packets).await;
        let path = rig.vhost.dvr.dvr_path.replace("[app]/[stream]", "live/cam");
        assert!(Path::new(&format!("{path}.tmp")).exists() && !Path::new(&path).exists());
        sink.on_unpublish();
        let file = rig.finished(1).await;
        assert_eq!(file.path, Path::new(&path));
        let (metadata, tags) = read(&file.path);
        assert_eq!(metadata.number("width"), Some(320.0));
        assert_eq!(metadata.number("gaps"), Some(0.0));
        let got = &bodies(&tags)[1..];
        let want: Vec<_> = packets[1..].iter().map(|p| &p.payload[..]).collect();
        assert_eq!(got, want);
        // Times start near 0 and keep their distances.
        let times: Vec<_> = tags.iter().map(|tag| tag.1).collect();
        assert_eq!(times[..6], [0, 0, 0, 9, 14, 109]);
        assert_eq!(file.duration, 2905);
        assert_eq!(metadata.number("duration"), Some(2.905));
        assert_eq!(names(file.path.parent().unwrap()), ["cam.flv"]);
        assert!(!file.path.with_file_name("../.runnel-dvr").exists(), "nothing is unfinished");
    });
}

#[test]
fn segments_begin_at_key_frames_and_play_alone() {
    let dir = Dir::new();
    let dvr = "dvr_plan segment; dvr_duration 1.5; dvr_path DIR/[stream].[timestamp].flv;";
    with(&dir, dvr, |rig| async move {
        let mut sink = rig.sink("cam").await;
        rig.feed(&mut *sink, &stream(0, 5)).await;
        sink.on_unpublish();
        rig.finished(3).await;
        let done = rig.done.borrow();
        let mut frames = Vec::new();
        for file in done.iter() {
            let (_, tags) = read(&file.path);
            let start: Vec<_> = bodies(&tags)[1..4].to_vec();
            assert_eq!(start[0], b"\x17\0\0\0\0video header");
            assert_eq!(start[1], b"\xaf\0audio header");
            assert_eq!(start[2], b"\x17\x01\0\0\0key frame");
            assert!(tags[3].1 < 20);
            frames.push(tags.len() - 3);
        }
        assert_eq!(frames, [40, 40, 20], "two, two and one second");
    });
}

#[test]
fn without_video_or_without_waiting_a_segment_ends_at_once() {
    for (wait, video) in [("on", false), ("off", true)] {
        let dir = Dir::new();
        let dvr = format!(
            "dvr_plan segment; dvr_duration 1.5; dvr_wait_keyframe {wait}; \
             dvr_path DIR/[stream].[timestamp].flv;"
        );
        with(&dir, &dvr, |rig| async move {
            let mut sink = rig.sink("cam").await;
            let packets = stream(0, 3);
            let packets = packets.into_iter().filter(|p| video || p.kind == Kind::Audio);
            for packet in packets {
                sink.on_packet(&packet).unwrap();
                rig.settle().await;
            }
            sink.on_unpublish();
            rig.finished(2).await;
            let duration = rig.done.borrow()[0].duration;
            assert!((1400..=1500).contains(&duration), "{duration}");
            let (metadata, _) = read(&rig.done.borrow()[1].path);
            assert_eq!(metadata.number("gaps"), Some(0.0));
        });
    }
}

#[test]
fn appended_publishes_become_one_film() {
    let dir = Dir::new();
    with(&dir, "dvr_plan append; dvr_path DIR/[stream].flv;", |rig| async move {
        for round in 1..=3 {
            let mut sink = rig.sink("cam").await;
            rig.feed(&mut *sink, &stream(round * 700_000, 2)).await;
            sink.on_unpublish();
            rig.finished(round as usize).await;
        }
        let file = rig.done.borrow()[2].clone();
        assert_eq!(names(file.path.parent().unwrap()), ["cam.flv"]);
        let (metadata, tags) = read(&file.path);
        let datas = tags.iter().filter(|tag| tag.0 == Kind::Data).count();
        assert_eq!((datas, tags.len()), (1, 1 + 3 * 42));
        assert!(tags.windows(2).all(|pair| pair[0].1 <= pair[1].1), "time goes on");
        let last = tags.last().unwrap().1;
        let duration = metadata.number("duration").unwrap();
        assert!((duration * 1000.0 - f64::from(last)).abs() < 50.0, "{duration} {last}");
        let keyframes = metadata.object("keyframes").unwrap();
        let Some(Value::StrictArray(times)) = keyframes.value("times") else { panic!() };
        assert_eq!(times.len(), 6);
    });
}

#[test]
fn a_file_of_somebody_else_is_not_damaged() {
    let dir = Dir::new();
    fs::write(dir.join("cam.flv"), b"FLV but a poem").unwrap();
    let path = dir.join("cam.flv");
    with(&dir, "dvr_path DIR/[stream].flv;", |rig| async move {
        let mut sink = rig.sink("cam").await;
        rig.feed(&mut *sink, &stream(0, 2)).await;
        sink.on_unpublish();
        rig.settle().await;
        assert_eq!(rig.done.borrow().len(), 0);
    });
    assert_eq!(fs::read(path).unwrap(), b"FLV but a poem");
}

#[test]
fn video_waits_for_a_key_frame_and_sound_does_not() {
    let dir = Dir::new();
    with(&dir, "dvr_path DIR/[stream].flv;", |rig| async move {
        let mut sink = rig.sink("cam").await;
        let mut packets = stream(0, 2);
        packets.remove(3); // the first key frame
        rig.feed(&mut *sink, &packets).await;
        sink.on_unpublish();
        let (_, tags) = read(&rig.finished(1).await.path);
        let video: Vec<_> = tags.iter().filter(|tag| tag.0 == Kind::Video).collect();
        assert_eq!(video[1].2, b"\x17\x01\0\0\0key frame");
        assert_eq!(video.len(), 1 + 10);
        assert_eq!(tags.iter().filter(|tag| tag.0 == Kind::Audio).count(), 1 + 20);
    });
}

#[test]
fn only_streams_that_dvr_apply_names_are_recorded() {
    let dvr = Dvr { dvr_apply: vec!["live/a".into(), "live/sub/b".into()], ..Dvr::default() };
    let recorded = |app, stream| applies(&dvr, &StreamKey::new("v", app, stream));
    assert!(recorded("live", "a") && recorded("live/sub", "b"));
    assert!(!recorded("live", "b") && !recorded("live", "") && !recorded("livea", "a"));
    assert!(applies(&Dvr::default(), &StreamKey::new("v", "x", "y")));
    assert_eq!(template("d/").root(), "d");
    let stamp = Stamp::at(5, &UTC);
    let key = StreamKey::new("v", "live", "s");
    assert_eq!(template("d/[app]").expand(&key, &stamp), "d/live/s.5.flv");
}

/// A finished file, and its end without the index.
async fn unfinished(rig: &Rig) -> Vec<u8> {
    let mut sink = rig.sink("cam").await;
    rig.feed(&mut *sink, &stream(0, 2)).await;
    sink.on_unpublish();
    fs::read(rig.finished(1).await.path).unwrap()
}

#[test]
fn a_file_cut_anywhere_is_finished_up_to_its_last_whole_tag() {
    let dir = Dir::new();
    let dvr = "dvr_plan segment; dvr_duration 1000; dvr_path DIR/[stream].flv;";
    let path = dir.join("x/a.flv").display().to_string();
    with(&dir, dvr, |rig| async move {
        let file = unfinished(&rig).await;
        let entry = Entry { temp: recording::temporary(&path), path, from: 0, duration: 0 };
        fs::create_dir_all(Path::new(&entry.path).parent().unwrap()).unwrap();
        let mut input = &file[..];
        Tag::start(&mut input).unwrap();
        let mut ends = Vec::new();
        while Tag::take(&mut input).is_ok() {
            ends.push(file.len() - input.len());
        }
        let cuts = (0..FILE_HEADER.len()).chain(ends[0] - 20..=file.len());
        for cut in cuts {
            // As it is, or with the zeros that a file system puts for what it had not written.
            for zeros in if cut % 8 == 0 { [0, 3000] } else { [0, 1] } {
                let mut bytes = file[..cut].to_vec();
                bytes.extend(vec![0; zeros]);
                fs::write(&entry.temp, bytes).unwrap();
                let done = Repair::run(&entry).unwrap();
                assert!(!Path::new(&entry.temp).exists());
                let whole = ends.iter().filter(|end| **end <= cut).count();
                if whole < 4 {
                    assert_eq!(done, Repaired::Empty, "{cut}: no frame is whole");
                    continue;
                }
                let Repaired::Finished { summary, lost, .. } = done else { panic!("{done:?}") };
                let end = ends[whole - 1];
                assert_eq!((summary.size, lost), (end as u64, (cut - end + zeros) as u64));
                let (metadata, tags) = read(Path::new(&entry.path));
                assert_eq!(tags.len(), whole);
                let duration = tags.last().unwrap().1 - tags[3].1;
                assert_eq!(metadata.number("duration"), Some(f64::from(duration) / 1000.0));
                fs::remove_file(&entry.path).unwrap();
            }
        }
        assert_eq!(Repair::run(&entry).unwrap(), Repaired::Gone);
    });
}

#[test]
fn an_appended_file_cut_anywhere_keeps_what_it_had() {
    let dir = Dir::new();
    let path = dir.join("cam.flv");
    let (from, duration, whole) = {
        let result = Rc::new(RefCell::new((0, 0, Vec::new())));
        let (to, path) = (result.clone(), path.clone());
        with(&dir, "dvr_plan append; dvr_path DIR/[stream].flv;", |rig| async move {
            let first = unfinished(&rig).await;
            let mut sink = rig.sink("cam").await;
            rig.feed(&mut *sink, &stream(0, 2)).await;
            sink.on_unpublish();
            rig.finished(2).await;
            let duration = rig.done.borrow()[0].duration;
            *to.borrow_mut() = (first.len() as u64, duration, fs::read(path).unwrap());
        });
        result.take()
    };
    let name = path.display().to_string();
    let entry = Entry { temp: name.clone(), path: name, from, duration };
    for cut in (from as usize..=whole.len()).step_by(3) {
        fs::write(&path, &whole[..cut]).unwrap();
        for _ in 0..2 {
            // Twice: power may fail again.
            assert!(matches!(Repair::run(&entry).unwrap(), Repaired::Finished { .. }));
            let (metadata, tags) = read(&path);
            assert!(tags.len() >= 43);
            let last = f64::from(tags.last().unwrap().1) / 1000.0;
            assert!((metadata.number("duration").unwrap() - last).abs() < 0.05, "{cut}");
        }
    }
}

#[test]
fn what_a_former_process_left_is_finished_at_the_start() {
    let dir = Dir::new();
    let keep = dir.join("keep");
    let kept = keep.clone();
    with(&dir, "dvr_path DIR/[stream].flv;", |rig| async move {
        fs::write(kept, unfinished(&rig).await).unwrap();
    });
    let bytes = fs::read(&keep).unwrap();
    fs::remove_file(dir.join("cam.flv")).unwrap();
    let entry = |name: &str| {
        let path = dir.join(name).display().to_string();
        Entry { temp: recording::temporary(&path), path, from: 0, duration: 0 }
    };
    fs::write(dir.join("a.flv.tmp"), &bytes[..bytes.len() - 5]).unwrap();
    fs::write(dir.join("b.flv.tmp"), b"FLV").unwrap();
    let entries = vec![entry("a.flv"), entry("b.flv"), entry("gone.flv")];
    let journal = dir.join(".runnel-dvr");
    durable::store(&journal, &durable::encode(&entries).unwrap()).unwrap();
    let path = dir.path().to_owned();
    with(&dir, "dvr_path DIR/[stream].flv;", |rig| async move {
        for _ in 0..20 {
            rig.settle().await;
        }
        assert_eq!(names(&path), ["a.flv", "keep"]);
        read(&path.join("a.flv"));
    });
}

#[test]
fn a_slow_disk_makes_a_gap_and_nothing_waits() {
    let dir = Dir::new();
    with(&dir, "dvr_path DIR/[stream].flv;", |rig| async move {
        let mut sink = rig.sink("cam").await;
        rig.feed(&mut *sink, &stream(0, 1)).await;
        let (gate, wait) = std::sync::mpsc::channel::<()>();
        drop(rig.cx.disk.ask(move || wait.recv().is_ok()));
        let large = Bytes::from([&b"\x27\x01\0\0\0"[..], &[7; 200_000]].concat());
        let mut dts = 1000;
        let count = 2 * crate::limits::DISK_QUEUE / large.len();
        for _ in 0..count {
            dts += 20;
            sink.on_packet(&Packet::new(Kind::Video, dts, large.clone())).unwrap();
        }
        assert!(rig.cx.disk.queued() <= crate::limits::DISK_QUEUE);
        drop(gate);
        rig.settle().await;
        let rest = stream(dts + 20, 1);
        rig.feed(&mut *sink, &rest[4..]).await;
        rig.feed(&mut *sink, &stream(dts + 1020, 1)[3..]).await;
        sink.on_unpublish();
        let file = rig.finished(1).await;
        let (metadata, tags) = read(&file.path);
        assert_eq!(metadata.number("gaps"), Some(1.0));
        let large = tags.iter().filter(|tag| tag.2.len() > 1000).count();
        assert!(large > count / 3 && large < count * 2 / 3, "{large} of {count}");
        // After the gap video goes on with a key frame, at the time that it has.
        let at = tags.iter().rposition(|tag| tag.2.len() > 1000).unwrap();
        let next = tags[at + 1..].iter().find(|tag| tag.0 == Kind::Video).unwrap();
        assert_eq!(next.2, b"\x17\x01\0\0\0key frame");
        assert!((u64::from(dts) + 2000).abs_diff(file.duration) < 200, "{}", file.duration);
    });
}

#[test]
fn a_directory_that_goes_away_ends_the_recording_and_not_the_stream() {
    let dir = Dir::new();
    let dvr = "dvr_fsync 0.1; dvr_path DIR/x/[stream].flv;";
    let path = dir.join("x");
    with(&dir, dvr, |rig| async move {
        let mut sink = rig.sink("cam").await;
        let packets = stream(0, 60);
        rig.feed(&mut *sink, &packets[..50]).await;
        fs::remove_dir_all(&path).unwrap();
        run::sleep(Duration::from_millis(150)).await;
        rig.feed(&mut *sink, &packets[50..100]).await;
        rig.feed(&mut *sink, &packets[100..]).await;
        sink.on_unpublish();
        rig.settle().await;
        assert_eq!(rig.done.borrow().len(), 0);
    });
}
