use super::*;
use crate::codec::testing::hex;
use crate::config::{DEFAULT_VHOST, HlsAcodec, HlsOnError, HlsVcodec, Seconds};
use crate::format::flv::Tag;
use crate::format::m3u8::Playlist;
use crate::format::ts::check::Checked;
use crate::hub::SinkError;
use crate::limits::HLS_IDLE;
use crate::media::{Kind, Packet, time};
use bytes::Bytes;
use std::cell::Cell;
use std::collections::BTreeMap;

mod cutting;
#[cfg(feature = "hls-keys")]
mod encryption;
mod packets;
mod places;

const NOW: u64 = 1_709_960_767_089; // 2024-03-09 05:06:07.089 UTC
const VIDEO_HEADER: &str = "17 00 000000 0142c00cffe10004 6742c00c 010002 68cb";
const AUDIO_HEADER: &str = "af 00 1210";

thread_local! {
    static UNIX: Cell<u64> = const { Cell::new(NOW) };
    static CLOCK: Cell<u64> = const { Cell::new(1000) };
}

fn clock() -> Clock {
    Clock { unix: || UNIX.get(), now: || CLOCK.get() }
}

/// Files that are only in a map.
#[derive(Clone, Default)]
struct Map {
    files: Rc<RefCell<BTreeMap<String, Vec<u8>>>>,
    open: Option<String>,
    full: Rc<Cell<bool>>,
}

impl Map {
    fn names(&self) -> Vec<String> {
        self.files.borrow().keys().cloned().collect()
    }

    fn check(&self) -> Result<(), String> {
        if self.full.get() { Err("full".into()) } else { Ok(()) }
    }
}

impl Files for Map {
    fn begin(&mut self, path: &str) {
        let path = format!("{path}.tmp");
        self.files.borrow_mut().insert(path.clone(), Vec::new());
        self.open = Some(path);
    }

    fn append(&mut self, bytes: Bytes) -> Result<(), String> {
        self.check()?;
        let open = self.open.as_ref().expect("a file is open");
        self.files.borrow_mut().get_mut(open).expect("it is there").extend_from_slice(&bytes);
        Ok(())
    }

    fn keep(&mut self, path: &str) -> Result<(), String> {
        let open = self.open.take().expect("a file is open");
        let bytes = self.files.borrow_mut().remove(&open).expect("it is there");
        let before = self.files.borrow_mut().insert(path.into(), bytes);
        assert!(before.is_none(), "{path} is new");
        Ok(())
    }

    fn discard(&mut self) {
        if let Some(open) = self.open.take() {
            self.files.borrow_mut().remove(&open);
        }
    }

    fn replace(&mut self, path: &str, bytes: Bytes) -> Result<(), String> {
        self.check()?;
        self.files.borrow_mut().insert(path.into(), bytes.to_vec());
        Ok(())
    }

    fn remove(&mut self, path: &str) {
        let removed = self.files.borrow_mut().remove(path);
        assert!(removed.is_some(), "{path} was there");
    }

    fn failed(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// One stream, its memory and its files.
struct Rig {
    live: Live,
    config: Rc<Hls>,
    map: Map,
    cutter: Option<Cutter>,
}

impl Rig {
    fn new(config: Hls) -> Self {
        UNIX.set(NOW);
        CLOCK.set(1000);
        let config = Hls { enabled: true, hls_path: "d".into(), ..config };
        let live = Live { zone: Rc::default(), ..Live::default() };
        let mut rig = Self { live, config: Rc::new(config), map: Map::default(), cutter: None };
        rig.publish();
        rig
    }

    fn publish(&mut self) {
        let cutter = self.cutter();
        self.cutter = Some(cutter);
        self.headers();
    }

    fn headers(&mut self) {
        for (kind, header) in [(Kind::Video, VIDEO_HEADER), (Kind::Audio, AUDIO_HEADER)] {
            self.feed(kind, 0, header).unwrap();
        }
    }

    fn key() -> StreamKey {
        StreamKey::new(DEFAULT_VHOST, "live", "cam")
    }

    fn cutter(&self) -> Cutter {
        let map = self.map.clone();
        let stream =
            self.live.stream(&Self::key(), &self.config, &move || Box::new(map.clone())).unwrap();
        Cutter::new(stream, clock(), self.live.zone.clone(), None)
    }

    fn unpublish(&mut self) {
        self.cutter.take().unwrap().on_unpublish();
    }

    fn feed(&mut self, kind: Kind, dts: u32, bytes: &str) -> Result<(), SinkError> {
        let packet = Packet::new(kind, dts, hex(bytes).into());
        self.cutter.as_mut().unwrap().on_packet(&packet)
    }

    fn video(&mut self, dts: u32, key: bool) {
        let frame =
            if key { "17 01 000000 00000003 658801" } else { "27 01 000000 00000003 419a01" };
        self.feed(Kind::Video, dts, frame).unwrap();
    }

    fn audio(&mut self, dts: u32) {
        self.feed(Kind::Audio, dts, "af 01 aabb").unwrap();
    }

    /// 25 pictures a second, a key frame each `gop` of them, from `start` for `millis`; and sound.
    fn both(&mut self, start: u32, millis: u32, gop: u32) {
        for i in 0..millis / 40 {
            self.video(start.wrapping_add(i * 40) & time::MASK, i.is_multiple_of(gop));
            self.audio(start.wrapping_add(i * 40 + 20) & time::MASK);
        }
    }

    fn sound(&mut self, start: u32, millis: u32) {
        (0..millis / 20).for_each(|i| self.audio(start + i * 20));
    }

    fn pictures(&mut self, start: u32, millis: u32, gop: u32) {
        for i in 0..millis / 40 {
            self.video(start + i * 40, gop > 0 && i.is_multiple_of(gop));
        }
    }

    fn text(&self) -> String {
        let stored = self.live.ram.get("", "/live/cam.m3u8").expect("there is a playlist");
        String::from_utf8(stored.body.to_vec()).unwrap()
    }

    fn list(&self) -> Playlist {
        Playlist::parse(&self.text()).unwrap()
    }

    /// Milliseconds of all segments.
    fn lengths(&self) -> Vec<u32> {
        self.list().segments.iter().map(|segment| segment.millis).collect()
    }

    fn segment(&self, uri: &str) -> Bytes {
        self.live.ram.get("", &format!("/live/{uri}")).expect("the segment is there").body
    }

    /// Reads all segments in the list as one stream.
    fn check(&self) -> Checked {
        let mut checked = Checked::default();
        for segment in self.list().segments {
            let body = self.segment(&segment.uri);
            assert_eq!(body[..3], [0x47, 0x40, 0], "tables first");
            checked.read(&body);
        }
        checked
    }
}

fn seconds(millis: u64) -> Seconds {
    Seconds::from_millis(millis)
}

/// Memory, two seconds a segment, all of them in the list.
fn ram() -> Hls {
    Hls {
        hls_fragment: seconds(2000),
        hls_window: seconds(600_000),
        hls_storage: HlsStorage::Ram,
        hls_mount: "/[app]/[stream].m3u8".into(),
        ..Hls::default()
    }
}

#[test]
fn the_playlist_is_as_it_should_be() {
    let mut rig = Rig::new(Hls {
        hls_window: seconds(3000),
        hls_ts_file: "[app]/[stream]-a-[seq].ts".into(),
        ..ram()
    });
    rig.both(1000, 11_000, 25);
    rig.unpublish();
    let want = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-ALLOW-CACHE:YES\n#EXT-X-MEDIA-SEQUENCE:3\n\
        #EXT-X-DISCONTINUITY-SEQUENCE:1\n#EXT-X-TARGETDURATION:3\n\
        #EXT-X-PROGRAM-DATE-TIME:2024-03-09T05:06:13.089Z\n#EXTINF:2.000, no desc\ncam-a-3.ts\n\
        #EXT-X-PROGRAM-DATE-TIME:2024-03-09T05:06:15.089Z\n#EXTINF:2.000, no desc\ncam-a-4.ts\n\
        #EXT-X-PROGRAM-DATE-TIME:2024-03-09T05:06:17.089Z\n#EXTINF:0.980, no desc\ncam-a-5.ts\n";
    assert_eq!(rig.text(), want);
    assert_eq!(
        rig.live.ram.names(),
        ["/live/cam-a-3.ts", "/live/cam-a-4.ts", "/live/cam-a-5.ts", "/live/cam.m3u8"]
    );
    let stored = rig.live.ram.get("any.host", "/live/cam-a-3.ts").unwrap();
    assert_eq!(
        (stored.content_type, &stored.cache_control[..]),
        ("video/MP2T", "public, max-age=3")
    );
    assert_eq!(stored.etag.matches('"').count(), 2);
}

#[test]
fn segments_are_one_stream_and_begin_with_tables_and_a_key_frame() {
    let mut rig = Rig::new(ram());
    rig.both(0, 9000, 25);
    rig.unpublish();
    let checked = rig.check();
    assert_eq!(checked.of(0x100).count(), 225);
    assert_eq!(checked.of(0x101).count(), 225);
    for segment in rig.list().segments {
        let mut alone = Checked::default();
        alone.read(&rig.segment(&segment.uri));
        assert!(alone.pes[0].pcr.is_some(), "a key frame first");
    }
}

#[test]
fn names_without_a_file_of_configuration_never_come_again() {
    let mut rig = Rig::new(ram());
    rig.both(0, 5000, 25);
    let uri = rig.list().segments[0].uri.clone();
    assert!(uri.starts_with("cam-") && uri.ends_with("-0.ts") && uri.len() > 16, "{uri}");
    let stored = rig.live.ram.get("", &format!("/live/{uri}")).unwrap();
    assert!(stored.cache_control.contains("immutable"));
}

#[test]
fn numbers_go_on_when_the_stream_is_published_again() {
    let mut rig = Rig::new(ram());
    rig.both(0, 5000, 50);
    rig.unpublish();
    rig.publish();
    rig.both(70_000, 3000, 50);
    rig.unpublish();
    let list = rig.list();
    for (number, segment) in list.segments.iter().enumerate() {
        assert!(segment.uri.ends_with(&format!("-{number}.ts")), "{}", segment.uri);
    }
    assert_eq!(list.segments.len(), 5);
    let marks: Vec<_> = list.segments.iter().map(|segment| segment.discontinuity).collect();
    assert_eq!(marks, [true, false, false, true, false]);
    rig.check();
}

#[test]
fn numbers_go_on_under_another_configuration() {
    let mut rig = Rig::new(ram());
    rig.both(0, 5000, 50);
    rig.unpublish();
    rig.config = Rc::new(Hls { hls_fragment: seconds(1000), ..(*rig.config).clone() });
    rig.publish();
    rig.both(0, 3000, 25);
    rig.unpublish();
    assert_eq!(rig.lengths(), [2000, 2000, 980, 1000, 1000, 980]);
    let mount = "/tv/[stream].m3u8".into();
    rig.config = Rc::new(Hls { hls_mount: mount, ..(*rig.config).clone() });
    rig.publish();
    assert_eq!((rig.live.ram.used(), rig.live.ram.names().len()), (0, 0), "it is elsewhere now");
    rig.both(0, 3000, 25);
    let stored = rig.live.ram.get("", "/tv/cam.m3u8").unwrap();
    let list = Playlist::parse(std::str::from_utf8(&stored.body).unwrap()).unwrap();
    assert_eq!(list.sequence, 6);
}

#[test]
fn who_lost_the_stream_writes_nothing() {
    let mut rig = Rig::new(ram());
    rig.both(0, 3000, 50);
    let mut old = rig.cutter.take().unwrap();
    rig.publish();
    let frame = Packet::new(Kind::Video, 3000, hex("17 01 000000 00000003 658801").into());
    old.on_packet(&frame).unwrap();
    rig.both(60_000, 3000, 50);
    old.on_unpublish();
    drop(old);
    rig.both(63_000, 3000, 50);
    rig.unpublish();
    let bytes: usize = rig.list().segments.iter().map(|s| rig.segment(&s.uri).len()).sum();
    assert_eq!(rig.live.ram.used(), bytes + rig.text().len(), "all is counted");
    assert_eq!(rig.lengths(), [2000, 2000, 3000, 980]);
}

#[test]
fn the_number_of_streams_is_bounded() {
    let live = Live { zone: Rc::default(), ..Live::default() };
    let config = Rc::new(ram());
    let key = |i: usize| StreamKey::new("v", "live", &i.to_string());
    let stream = |i| live.stream(&key(i), &config, &|| Box::new(Map::default()));
    for i in 0..MAX_STREAMS {
        let stream = stream(i).unwrap();
        stream.borrow_mut().publish();
    }
    assert!(stream(MAX_STREAMS).is_none(), "all are published");
    stream(5).unwrap().borrow_mut().unpublish(7);
    stream(9).unwrap().borrow_mut().unpublish(6);
    assert!(stream(MAX_STREAMS).is_some());
    assert!(live.streams.borrow().contains_key(&key(5)), "the oldest left");
    assert!(!live.streams.borrow().contains_key(&key(9)));
}

#[test]
fn with_absolute_times_segments_end_at_the_same_times_whenever_they_began() {
    // A key frame each second, segments of two; from when the stream is there.
    let cut = |from: u32, atc: bool| {
        let mut rig = Rig::new(Hls { hls_fragment: seconds(2000), ..ram() });
        rig.cutter.as_mut().unwrap().follow(move || atc);
        rig.both(from, 10_000, 25);
        rig.unpublish();
        let mut at = from;
        let ends = rig.lengths().into_iter().map(|length| {
            at += length;
            at
        });
        ends.collect::<Vec<_>>()
    };
    let (first, second) = (cut(1_000_400, true), cut(1_003_400, true));
    assert_eq!(first[..4], [1_002_400, 1_004_400, 1_006_400, 1_008_400]);
    assert_eq!(second[..3], [1_004_400, 1_006_400, 1_008_400]);
    assert_eq!(cut(1_003_400, false)[..3], [1_005_400, 1_007_400, 1_009_400]);
    // Sound alone is cut at any frame.
    let cut = |from: u32| {
        let mut rig = Rig::new(Hls { hls_fragment: seconds(2000), ..ram() });
        rig.cutter.as_mut().unwrap().follow(|| true);
        rig.sound(from, 9000);
        rig.unpublish();
        from + rig.lengths()[0]
    };
    assert_eq!((cut(1_000_400), cut(1_001_800)), (1_002_000, 1_002_000));
}
