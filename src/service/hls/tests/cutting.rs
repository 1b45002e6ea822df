//! Where segments begin and end.

use super::*;

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
        (
            "key frames ten seconds apart",
            ram(),
            |rig| rig.both(0, 30_000, 250),
            &[10_000, 10_000, 9980],
        ),
        (
            "the same without waiting for them",
            Hls { hls_wait_keyframe: false, ..ram() },
            |rig| rig.both(0, 7000, 250),
            &[2000, 2000, 2000, 980],
        ),
        (
            "key frames that stay away are waited for once",
            ram(),
            |rig| rig.both(0, 45_000, 10_000),
            &[30_000, 4000, 4000, 4000, 2980],
        ),
        (
            "key frames that come again are waited for again",
            ram(),
            |rig| {
                rig.both(0, 35_000, 10_000);
                rig.both(35_000, 20_000, 250);
            },
            &[30_000, 4000, 11_000, 9980],
        ),
        (
            "no key frame at all, no sound",
            ram(),
            |rig| rig.pictures(0, 40_000, 0),
            &[30_000, 4000, 4000, 1960],
        ),
        (
            "pictures that stop",
            ram(),
            |rig| {
                rig.both(0, 3000, 25);
                rig.sound(3000, 12_000);
            },
            &[2000, 4000, 4000, 4000, 980],
        ),
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
    assert!(rig.lengths().iter().all(|&millis| millis <= 40_000));
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
