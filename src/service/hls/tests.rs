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
        let stream = self.live.stream(&Self::key(), &self.config, || Box::new(map)).unwrap();
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
fn segments_are_cut_by_the_rules() {
    type Feed = fn(&mut Rig);
    // Name, configuration, packets, lengths.
    let cases: &[(&str, Hls, Feed, &[u32])] = &[
        ("at key frames", ram(), |rig| rig.both(0, 8000, 75), &[3000, 3000, 1980]),
        ("a key frame too early is none", ram(), |rig| rig.both(0, 8000, 40), &[3200, 3200, 1580]),
        (
            "without waiting for a key frame",
            Hls { hls_wait_keyframe: false, ..ram() },
            |rig| rig.both(0, 5000, 500),
            &[2000, 2000, 980],
        ),
        ("sound at twice the length", ram(), |rig| rig.sound(0, 10_000), &[4000, 4000, 1980]),
        (
            "sound at aof",
            Hls { hls_aof_ratio: 1.5, ..ram() },
            |rig| rig.sound(0, 7000),
            &[3000, 3000, 980],
        ),
        ("key frames that stay away", ram(), |rig| rig.both(0, 9000, 1000), &[4020, 4000, 960]),
        ("no key frame at all, no sound", ram(), |rig| rig.pictures(0, 9000, 0), &[8000, 960]),
        (
            "a fragment of nearly nothing",
            Hls { hls_fragment: seconds(10), hls_wait_keyframe: false, ..ram() },
            |rig| rig.pictures(0, 1000, 0),
            &[200, 200, 200, 200, 160],
        ),
        ("shorter than 100 ms", ram(), |rig| rig.both(0, 2080, 50), &[2000]),
    ];
    for (name, config, feed, want) in cases {
        let mut rig = Rig::new(config.clone());
        feed(&mut rig);
        rig.unpublish();
        assert_eq!(rig.lengths(), *want, "{name}");
        rig.check();
    }
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
fn changed_headers_begin_a_segment() {
    let mut rig = Rig::new(ram());
    for second in 0..6 {
        rig.both(second * 1000, 1000, 25);
        let header = VIDEO_HEADER.replace("68cb", &format!("68{second:02x}"));
        rig.feed(Kind::Video, second * 1000 + 990, &header).unwrap();
    }
    rig.unpublish();
    assert_eq!(rig.lengths(), [980; 6]);
    assert!(rig.list().segments.iter().all(|segment| segment.discontinuity));
    // The same header again changes nothing.
    let mut rig = Rig::new(ram());
    rig.both(0, 1000, 25);
    rig.headers();
    rig.both(1000, 1000, 25);
    rig.unpublish();
    assert_eq!(rig.lengths(), [1980]);
}

#[test]
fn a_first_header_may_come_late() {
    let mut rig = Rig::new(ram());
    rig.unpublish();
    rig.cutter = Some(rig.cutter());
    rig.feed(Kind::Video, 0, VIDEO_HEADER).unwrap();
    rig.video(0, true);
    rig.feed(Kind::Audio, 0, AUDIO_HEADER).unwrap();
    rig.both(40, 1960, 50);
    rig.unpublish();
    assert_eq!(rig.lengths(), [1980]);
}

#[test]
fn times_that_jump_begin_a_segment() {
    for (name, to) in [("an hour", 3_604_000), ("a day", 86_400_000), ("back", 100)] {
        let mut rig = Rig::new(ram());
        rig.both(90_000, 4000, 50);
        rig.both(to, 4000, 50);
        rig.unpublish();
        assert_eq!(rig.lengths(), [2000, 1980, 2000, 1980], "{name}");
        let marks: Vec<_> = rig.list().segments.iter().map(|s| s.discontinuity).collect();
        assert_eq!(marks, [true, false, true, false], "{name}");
    }
    // Sound jumps half a second after the picture.
    let mut rig = Rig::new(ram());
    rig.both(0, 4000, 50);
    for i in 0..100 {
        rig.video(3_600_000 + i * 40, i.is_multiple_of(50));
        rig.audio(if i < 12 { 4000 } else { 3_600_000 } + i * 40);
    }
    rig.unpublish();
    assert_eq!(rig.lengths(), [2000, 1980, 2000, 1960]);
    // Wraps are no jumps.
    let mut rig = Rig::new(ram());
    rig.both(time::MASK - 1999, 4000, 50);
    rig.unpublish();
    assert_eq!(rig.lengths(), [2000, 1980]);
    assert!(!rig.list().segments[1].discontinuity);
}

#[test]
fn pictures_a_minute_apart_are_no_jumps() {
    let mut rig = Rig::new(ram());
    for i in 0..4 {
        CLOCK.set(1000 + u64::from(i) * 60_000);
        rig.video(i * 60_000, true);
    }
    rig.unpublish();
    assert_eq!(rig.lengths(), [60_000; 3]);
    assert!(!rig.list().segments[1].discontinuity);
}

#[test]
fn times_at_random_neither_panic_nor_make_long_segments() {
    let mut rng = fastrand::Rng::with_seed(9);
    let mut rig = Rig::new(ram());
    for _ in 0..500 {
        let dts = rng.u32(..) & time::MASK;
        let run = rng.u32(..60);
        for i in 0..run {
            rig.video((dts + i * 40) & time::MASK, rng.bool());
            rig.audio((dts + i * rng.u32(..50)) & time::MASK);
        }
    }
    rig.unpublish();
    assert!(rig.lengths().iter().all(|&millis| millis <= 20_000));
}

#[test]
fn codecs_without_a_place_follow_the_policy() {
    let vp6 = "14 00 112233";
    for (policy, want) in [
        (HlsOnError::Ignore, Err(SinkError::Ignore)),
        (HlsOnError::Disconnect, Err(SinkError::Disconnect)),
        (HlsOnError::Continue, Ok(())),
    ] {
        let mut rig = Rig::new(Hls { hls_on_error: policy, ..ram() });
        assert_eq!(rig.feed(Kind::Video, 0, vp6), want);
    }
    let mut rig = Rig::new(ram());
    for i in 0..250 {
        rig.feed(Kind::Video, i * 40, vp6).unwrap();
        rig.audio(i * 40);
    }
    rig.unpublish();
    let bytes: usize = rig.check().of(0x101).map(|pes| pes.data.len()).sum();
    assert_eq!(bytes, 250 * 9, "the sound is there");
}

#[test]
fn bad_packets_are_left_out_and_the_stream_goes_on() {
    let mut rig = Rig::new(ram());
    rig.both(0, 1000, 25);
    for bad in [
        "17 00 000000 0142c00cffe10004 6542c00c 010002 68cb",
        "17 00 000000 0142c00cffe1",
        "17 01 000000 00000400 658801",
        "17 01 000000 ffffffff 658801",
        "17 01",
        "17",
    ] {
        rig.feed(Kind::Video, 1000, bad).unwrap();
    }
    rig.feed(Kind::Audio, 1000, "af 00 ff").unwrap();
    rig.feed(Kind::Audio, 1000, "b6 00").unwrap();
    rig.both(1000, 1000, 25);
    rig.unpublish();
    assert_eq!(rig.lengths(), [1980]);
    assert_eq!(rig.check().pes.len(), 100);
}

#[test]
fn mutated_packets_leave_whole_segments() {
    let mut input = &include_bytes!("../demo/loop.flv")[..];
    Tag::start(&mut input).unwrap();
    let tags: Vec<_> = std::iter::from_fn(|| Tag::take(&mut input).ok()).collect();
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..20 {
        let mut rig = Rig::new(ram());
        for tag in &tags {
            let mut body = tag.body.to_vec();
            if rng.u8(..8) == 0 {
                for _ in 0..rng.usize(1..4) {
                    let at = rng.usize(..body.len().min(24));
                    body[at] = rng.u8(..);
                }
                body.truncate(rng.usize(1..=body.len()));
            }
            let dts = if rng.u8(..100) == 0 { rng.u32(..) } else { tag.timestamp };
            let packet = Packet::new(tag.kind, dts, body.into());
            rig.cutter.as_mut().unwrap().on_packet(&packet).unwrap();
        }
        rig.unpublish();
        for segment in rig.list().segments {
            let mut checked = Checked::default();
            checked.read(&rig.segment(&segment.uri));
            assert!(checked.tables > 0 && !checked.pes.is_empty());
        }
    }
}

#[test]
fn start_codes_inside_rtmp_are_taken() {
    let mut rig = Rig::new(ram());
    for i in 0..50 {
        rig.feed(Kind::Video, i * 40, "17 01 000000 00000001 658801 000001 658802").unwrap();
    }
    rig.unpublish();
    let checked = rig.check();
    assert_eq!(checked.of(0x100).count(), 50);
    assert!(checked.pes[0].data.ends_with(&hex("000001 658801 000001 658802")));
}

#[test]
fn audio_and_video_can_be_left_out() {
    for (config, left, pid) in [
        (Hls { hls_vcodec: HlsVcodec::None, ..ram() }, 0x100, 0x101),
        (Hls { hls_acodec: HlsAcodec::None, ..ram() }, 0x101, 0x100),
    ] {
        let mut rig = Rig::new(config);
        rig.both(0, 6000, 25);
        rig.unpublish();
        let checked = rig.check();
        assert_eq!((checked.of(left).count(), checked.clock), (0, pid));
        assert_eq!(checked.map.len(), 1);
    }
}

#[test]
fn sound_alone_shares_pes_packets_and_is_whole() {
    let mut rig = Rig::new(Hls { hls_vcodec: HlsVcodec::None, ..ram() });
    rig.sound(0, 9000);
    rig.unpublish();
    let checked = rig.check();
    let bytes: usize = checked.pes.iter().map(|pes| pes.data.len()).sum();
    assert_eq!(bytes, 450 * 9);
    assert!(checked.pes.len() < 20);
}

#[test]
fn the_first_map_states_the_codecs_of_the_metadata_or_the_directives() {
    let mut rig = Rig::new(Hls { hls_acodec: HlsAcodec::Mp3, ..ram() });
    rig.feed(Kind::Video, 0, "17 01 000000 00000003 658801").unwrap();
    rig.pictures(40, 1000, 0);
    rig.unpublish();
    assert_eq!(rig.check().map.get(&0x101), Some(&0x0f), "the header was there");
    let mut rig = Rig::new(Hls { hls_acodec: HlsAcodec::Mp3, ..ram() });
    rig.unpublish();
    rig.cutter = Some(rig.cutter());
    rig.feed(Kind::Video, 0, VIDEO_HEADER).unwrap();
    rig.pictures(0, 1000, 25);
    rig.unpublish();
    assert_eq!(rig.check().map.get(&0x102), Some(&0x04));
    // onMetaData with a videocodecid of 7 and nothing else.
    let metadata =
        "02000a6f6e4d65746144617461 03 000c766964656f636f6465636964 00401c000000000000 000009";
    let mut rig = Rig::new(ram());
    rig.unpublish();
    rig.cutter = Some(rig.cutter());
    rig.feed(Kind::Data, 0, metadata).unwrap();
    rig.feed(Kind::Video, 0, VIDEO_HEADER).unwrap();
    rig.pictures(0, 1000, 25);
    rig.unpublish();
    assert_eq!(rig.check().map.into_iter().collect::<Vec<_>>(), [(0x100, 0x1b)]);
}

#[test]
fn files_are_written_under_another_name_first() {
    let config = Hls { hls_storage: HlsStorage::Disk, hls_window: seconds(4000), ..ram() };
    let mut rig = Rig::new(config);
    rig.both(0, 11_000, 25);
    let kept = ["d/live/cam-2.ts", "d/live/cam-3.ts", "d/live/cam-4.ts", "d/live/cam.m3u8"];
    assert_eq!(rig.map.names(), kept);
    let frame = format!("27 01 000000 00011170 {}", "41".repeat(70_000));
    rig.feed(Kind::Video, 11_000, &frame).unwrap();
    assert!(rig.map.names().contains(&"d/live/cam-5.ts.tmp".into()));
    let mut checked = Checked::default();
    for seq in 2..5 {
        checked.read(&rig.map.files.borrow()[&format!("d/live/cam-{seq}.ts")]);
    }
    assert_eq!(checked.of(0x100).count(), 150);
    assert!(rig.live.ram.used() < 100_000, "only what is being written");
    rig.unpublish();
    assert_eq!(rig.live.ram.used(), 0);
}

#[test]
fn large_segments_go_to_the_disk_in_pieces() {
    let mut rig = Rig::new(Hls { hls_storage: HlsStorage::Disk, ..ram() });
    let frame = format!("27 01 000000 00004e20 {}", "41".repeat(20_000));
    for i in 0..100 {
        rig.feed(Kind::Video, i * 40, &frame).unwrap();
        assert!(rig.cutter.as_ref().unwrap().held() < 100_000);
    }
    rig.unpublish();
    assert!(rig.map.files.borrow()["d/live/cam-0.ts"].len() > 2_000_000);
}

#[test]
fn old_files_stay_when_cleanup_is_off() {
    let config = Hls { hls_cleanup: false, hls_storage: HlsStorage::Disk, ..ram() };
    let mut rig = Rig::new(Hls { hls_window: seconds(2000), ..config });
    rig.both(0, 20_000, 50);
    rig.unpublish();
    assert_eq!(rig.map.names().len(), 10 + 1);
}

#[test]
fn both_means_memory_and_files() {
    let mut rig = Rig::new(Hls { hls_storage: HlsStorage::Both, ..ram() });
    rig.both(0, 6000, 50);
    rig.unpublish();
    assert_eq!(rig.map.names().len(), 4);
    for name in ["cam-0.ts", "cam-2.ts", "cam.m3u8"] {
        assert_eq!(rig.segment(name), rig.map.files.borrow()[&format!("d/live/{name}")]);
    }
}

#[test]
fn a_disk_that_is_full_drops_segments_or_the_publisher() {
    for storage in [HlsStorage::Disk, HlsStorage::Both] {
        let mut rig = Rig::new(Hls { hls_storage: storage, ..ram() });
        rig.both(0, 5000, 50);
        rig.map.full.set(true);
        rig.both(5000, 5000, 50);
        rig.map.full.set(false);
        rig.both(10_000, 6000, 50);
        rig.unpublish();
        let text = String::from_utf8(rig.map.files.borrow()["d/live/cam.m3u8"].clone()).unwrap();
        let list = Playlist::parse(&text).unwrap();
        assert!(list.segments.len() >= 5, "{text}");
        assert!(list.segments.iter().skip(1).any(|s| s.discontinuity), "{text}");
        assert!(!rig.map.names().iter().any(|name| name.ends_with(".tmp")));
    }
    let config =
        Hls { hls_storage: HlsStorage::Disk, hls_on_error: HlsOnError::Disconnect, ..ram() };
    let mut rig = Rig::new(config);
    rig.map.full.set(true);
    let frame = Packet::new(Kind::Video, 0, hex("17 01 000000 00000003 658801").into());
    let cutter = rig.cutter.as_mut().unwrap();
    cutter.on_packet(&frame).unwrap();
    let later = Packet { dts: 2000, ..frame };
    assert_eq!(cutter.on_packet(&later), Err(SinkError::Disconnect));
}

#[test]
fn memory_is_bounded_a_segment_a_stream_and_in_all() {
    let config = Hls { hls_fragment: seconds(3_600_000), hls_aof_ratio: 100.0, ..ram() };
    let mut rig = Rig::new(config);
    let mut frame = hex("27 01 000000 00100000");
    frame.resize(frame.len() + (1 << 20), 0x41);
    let frame = Bytes::from(frame);
    let all = HLS_RAM_STREAM * 2;
    for i in 0..(all / frame.len()) as u32 {
        let packet = Packet::new(Kind::Video, i * 40, frame.clone());
        rig.cutter.as_mut().unwrap().on_packet(&packet).unwrap();
        assert!(rig.cutter.as_ref().unwrap().held() <= HLS_SEGMENT);
        assert!(rig.live.ram.used() <= HLS_RAM_STREAM + HLS_SEGMENT + bound(MESSAGE_MAX));
    }
    let finished: usize =
        rig.list().segments.iter().map(|segment| rig.segment(&segment.uri).len()).sum();
    assert!(finished <= HLS_RAM_STREAM && finished > HLS_RAM_STREAM - HLS_SEGMENT);
    // Others use all memory: the oldest segments go, and what comes later stays.
    let taken = HLS_RAM - rig.live.ram.used() - 100_000;
    assert!(rig.live.ram.charge(taken));
    let first = rig.list().sequence;
    for i in 0..100 {
        let packet = Packet::new(Kind::Video, 100_000 + i * 40, frame.clone());
        rig.cutter.as_mut().unwrap().on_packet(&packet).unwrap();
        assert!(rig.live.ram.used() <= HLS_RAM);
    }
    assert!(rig.list().sequence > first);
    // When nothing is left packets are left out, and later ones stay again.
    let mut second = Rig::new(ram());
    assert!(second.live.ram.charge(HLS_RAM));
    second.both(0, 6000, 50);
    assert_eq!(second.live.ram.used(), HLS_RAM);
    second.live.ram.uncharge(HLS_RAM);
    second.both(6000, 6000, 50);
    assert_eq!(second.list().segments.len(), 2);
}

#[test]
fn floors_count_by_one_and_follow_the_clock() {
    let config =
        Hls { hls_ts_floor: true, hls_ts_file: "[app]/[stream]-[timestamp].ts".into(), ..ram() };
    let mut rig = Rig::new(config);
    for i in 0..30 {
        UNIX.set(NOW + u64::from(i) * 2000);
        rig.both(i * 2000, 2000, 50);
    }
    rig.unpublish();
    let floor = |uri: &str| -> u64 { uri[4..uri.len() - 3].parse().unwrap() };
    let floors: Vec<_> = rig.list().segments.iter().map(|s| floor(&s.uri)).collect();
    assert!(floors.windows(2).all(|pair| pair[1] == pair[0] + 1), "{floors:?}");
    assert_eq!(floors[0], NOW / 2000 - 1);
    // A clock that jumps is followed at once.
    rig.publish();
    UNIX.set(NOW + 10_000_000);
    rig.both(70_000, 4000, 50);
    rig.unpublish();
    let floors: Vec<_> = rig.list().segments.iter().map(|s| floor(&s.uri)).collect();
    assert!(floors.contains(&((NOW + 10_000_000) / 2000 - 1)), "{floors:?}");
}

#[test]
fn a_stream_ahead_of_the_clock_gets_longer_segments() {
    let config = Hls { hls_ts_floor: true, ..ram() };
    let mut rig = Rig::new(config);
    // The clock stands still: each segment is 0.6 s longer than the one before.
    rig.both(0, 40_000, 5);
    rig.unpublish();
    let lengths = rig.lengths();
    assert_eq!(lengths[..5], [1400, 2000, 2600, 3200, 3800]);
}

#[test]
fn a_stream_that_ended_is_disposed_or_leaves_the_memory() {
    let config = Hls { hls_storage: HlsStorage::Both, hls_dispose: seconds(120_000), ..ram() };
    let mut rig = Rig::new(config);
    rig.both(0, 6000, 50);
    rig.live.sweep(1_000_000_000);
    assert_eq!(rig.map.names().len(), 3, "it is published");
    rig.unpublish();
    rig.live.sweep(1000 + 119_999);
    assert_eq!(rig.map.names().len(), 4);
    rig.live.sweep(1000 + 120_000);
    assert!(rig.map.names().is_empty() && rig.live.ram.names().is_empty());
    assert!(rig.live.streams.borrow().is_empty());
    // Without hls_dispose memory is given back, the numbers stay.
    let mut rig = Rig::new(Hls { hls_window: seconds(10_000), ..ram() });
    rig.both(0, 6000, 50);
    rig.unpublish();
    let idle = 1000 + 20_000 + HLS_IDLE.as_millis() as u64;
    rig.live.sweep(idle - 1);
    assert!(rig.live.ram.used() > 0);
    rig.live.sweep(idle);
    assert_eq!((rig.live.ram.used(), rig.live.ram.names().len()), (0, 0));
    rig.publish();
    rig.both(0, 3000, 50);
    assert_eq!(rig.list().sequence, 3);
}

#[test]
fn at_the_end_of_the_process_hls_dispose_counts() {
    let config = Hls { hls_storage: HlsStorage::Disk, hls_dispose: seconds(120_000), ..ram() };
    for (config, left) in [(config.clone(), 0), (Hls { hls_dispose: seconds(0), ..config }, 3)] {
        let mut rig = Rig::new(config);
        rig.both(0, 5000, 50);
        rig.live.dispose_all();
        assert_eq!(rig.map.names().len(), left);
    }
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
    let stream = |i| live.stream(&key(i), &config, || Box::new(Map::default()));
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
fn times_can_be_corrected() {
    let mut rig = Rig::new(Hls { hls_dts_directly: false, ..ram() });
    rig.both(5000, 2040, 51);
    rig.both(3_600_000, 2040, 51);
    rig.unpublish();
    let list = rig.list();
    assert_eq!(list.segments.len(), 2);
    assert!(!list.segments[1].discontinuity, "a jump is none any more");
}

#[test]
fn dates_follow_a_clock_that_is_set_once_and_nothing_else_does() {
    let mut anchor = segment::Anchor::new(5000, NOW, 1000);
    // A burst: the stream is ahead of both clocks.
    assert_eq!(anchor.date(9000, NOW + 100, 1100), NOW + 4000);
    // Corrected a little.
    assert_eq!(anchor.date(15_000, NOW + 11_500, 11_000), NOW + 10_000);
    let year = 365 * 86_400_000;
    for _ in 0..2 {
        assert_eq!(anchor.date(25_000, NOW + 20_000 + year, 21_000), NOW + 20_000 + year);
    }
    assert_eq!(anchor.date(27_000, NOW + 22_000 + year, 23_000), NOW + 22_000 + year);
    assert_eq!(anchor.date(29_000, NOW + 24_000 - year, 25_000), NOW + 24_000 - year);
    assert_eq!(anchor.date(31_000, 5, 27_000), 5, "a board without a battery");
}
