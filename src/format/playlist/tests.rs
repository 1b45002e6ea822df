use std::time::Duration;

use super::*;
use crate::codec::testing::mutations;

const LIVE: &str = "#EXTM3U\n\
    #EXT-X-VERSION:3\n\
    #EXT-X-TARGETDURATION:10\n\
    #EXT-X-MEDIA-SEQUENCE:7\n\
    #EXTINF:10.000, no desc\n\
    cam-7.ts?a=1\n\
    #EXT-X-PROGRAM-DATE-TIME:2024-03-09T05:06:07.089Z\n\
    #EXTINF:9.5,\n\
    cam-8.ts\n\
    #EXT-X-DISCONTINUITY\n\
    #EXTINF:4\n\
    http://cdn/cam-9.ts\n";
const MASTER: &str = "#EXTM3U\n\
    #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a,b=c\",URI=\"x\"\n\
    #EXT-X-STREAM-INF:PROGRAM-ID=1,BANDWIDTH=800000,RESOLUTION=640x360,CODECS=\"avc1.4d401f,mp4a.40.2\"\n\
    low.m3u8\n\
    #EXT-X-STREAM-INF:CODECS=\"a,BANDWIDTH=9\",BANDWIDTH=2000000\n\
    high/index.m3u8\n\
    #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=9999999,URI=\"i.m3u8\"\n\
    #EXT-X-STREAM-INF:BANDWIDTH=2000000\n\
    again.m3u8\n";
const RANGES: &str = "#EXTM3U\n\
    #EXT-X-TARGETDURATION:2\n\
    #EXT-X-KEY:METHOD=NONE\n\
    #EXT-X-BYTERANGE:1000@0\n#EXTINF:2,\nall.ts\n\
    #EXT-X-BYTERANGE:500\n#EXTINF:2,\nall.ts\n\
    #EXT-X-BYTERANGE:7@4000\n#EXTINF:2,\nall.ts\n\
    #EXTINF:2,\nother.ts\n\
    #EXT-X-ENDLIST\n";

fn segment(number: u64, uri: &str, millis: u32) -> Segment {
    Segment { number, uri: uri.into(), millis, ..Segment::default() }
}

fn media(text: &str, from: u64) -> Media {
    match parse(text.as_bytes(), from) {
        Ok(Playlist::Media(media)) => media,
        other => panic!("{other:?}"),
    }
}

/// A live playlist of `count` segments of two seconds.
fn live(sequence: u64, count: u64, end: &str) -> String {
    let segments: String =
        (sequence..sequence + count).map(|n| format!("#EXTINF:2,\n{n}.ts\n")).collect();
    format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{sequence}\n{segments}{end}")
}

#[test]
fn a_media_playlist_is_read_from_a_number_on() {
    let last = Segment { discontinuity: true, ..segment(9, "http://cdn/cam-9.ts", 4000) };
    let all = vec![segment(7, "cam-7.ts?a=1", 10_000), segment(8, "cam-8.ts", 9500), last];
    for (from, kept) in [(0, 3), (7, 3), (8, 2), (9, 1), (10, 0)] {
        let want = Media {
            target: 10,
            sequence: 7,
            count: 3,
            ended: false,
            wanted: all[3 - kept..].to_vec(),
            newest: all.clone().into(),
        };
        assert_eq!(media(LIVE, from), want);
        assert_eq!(media(&LIVE.replace('\n', "\r\n"), from), want);
        assert_eq!(media(&format!("\u{feff}{LIVE}"), from), want);
        assert_eq!(media(LIVE.trim_end(), from), want);
    }
}

#[test]
fn pieces_of_any_size_give_the_same() {
    for text in [LIVE, MASTER, RANGES] {
        let want = parse(text.as_bytes(), 0).unwrap();
        for size in [1, 2, 7, 64] {
            let mut reader = Reader::new(0);
            text.as_bytes().chunks(size).for_each(|piece| reader.push(piece).unwrap());
            assert_eq!(reader.finish().unwrap(), want);
        }
        // Cut off it is a shorter one, or none.
        for len in 0..text.len() {
            let _ = parse(&text.as_bytes()[..len], 0);
        }
        mutations(text.as_bytes(), |changed| {
            if let Ok(Playlist::Media(media)) = parse(changed, 0) {
                assert!(media.wanted.len() <= 8 && media.newest.len() <= NEWEST);
            }
        });
    }
}

#[test]
fn parts_of_a_file_follow_each_other() {
    let media = media(RANGES, 0);
    let ranges: Vec<_> = media.wanted.iter().map(|segment| segment.range).collect();
    let range = |start, len| Some(Range { start, len });
    assert_eq!(ranges, [range(0, 1000), range(1000, 500), range(4000, 7), None]);
    assert!(media.ended);
}

#[test]
fn a_master_playlist_names_its_variants() {
    let Ok(Playlist::Master(variants)) = parse(MASTER.as_bytes(), 0) else { panic!() };
    let variant =
        |uri: &str, bandwidth, resolution| Variant { uri: uri.into(), bandwidth, resolution };
    let want = [
        variant("low.m3u8", 800_000, Some((640, 360))),
        variant("high/index.m3u8", 2_000_000, None),
        variant("again.m3u8", 2_000_000, None),
    ];
    assert_eq!(variants, want);
    assert_eq!(best(&variants), Some(&want[1]));
    assert_eq!(best(&[]), None);
}

#[test]
fn what_cannot_be_pulled_is_refused() {
    for (text, unsupported) in [
        ("", false),
        ("<html>", false),
        ("#EXTM3U", false),
        ("#EXTM3U\na.ts", false),
        ("#EXTM3U\n#EXTINF:x,\na.ts", false),
        ("#EXTM3U\n#EXTINF:-1,\na.ts", false),
        ("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:-1", false),
        ("#EXTM3U\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"k\"\n#EXTINF:2,\na.ts", true),
        ("#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\",KEYFORMAT=\"com.apple\"\n", true),
        ("#EXTM3U\n#EXT-X-KEY:METHOD=AES-128\n", false),
        ("#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\",IV=0xg\n", false),
        ("#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\",IV=17\n", false),
        ("#EXTM3U\n#EXT-X-KEY:URI=\"k\"\n", true),
        ("#EXTM3U\n#EXT-X-MAP:URI=\"init.mp4\"\n", true),
    ] {
        let error = parse(text.as_bytes(), 0).unwrap_err();
        assert_eq!(matches!(error, Error::Unsupported(_)), unsupported, "{text}");
    }
    assert!(parse(b"#EXTM3U\n\xff\xfe", 0).is_err());
}

#[test]
fn segments_have_the_key_that_stands_before_them() {
    let key = |uri: &str, iv| Some(Rc::new(Key { uri: uri.into(), iv }));
    let ivs = ["0x", "0X"].map(|x| format!("{x}000102030405060708090A0b0C0d0e0f"));
    for iv in ivs {
        let text = format!(
            "#EXTM3U\n#EXTINF:2,\n0.ts\n#EXT-X-KEY:METHOD=AES-128,URI=\"a,b.key\",IV={iv}\n\
             #EXTINF:2,\n1.ts\n#EXTINF:2,\n2.ts\n\
             #EXT-X-KEY:METHOD=AES-128,KEYFORMAT=\"identity\",URI=\"c.key\"\n#EXTINF:2,\n3.ts\n\
             #EXT-X-KEY:METHOD=NONE\n#EXTINF:2,\n4.ts\n"
        );
        let one = key("a,b.key", Some(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f));
        let keys: Vec<_> = media(&text, 0).wanted.into_iter().map(|s| s.key).collect();
        assert_eq!(keys, [None, one.clone(), one, key("c.key", None), None]);
    }
    let long =
        format!("#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"{}\"\n", "k".repeat(PLAYLIST_KEY + 1));
    assert!(matches!(parse(long.as_bytes(), 0), Err(Error::Unsupported(_))));
    mutations(long.as_bytes(), |changed| drop(parse(changed, 0)));
}

#[test]
fn a_playlist_without_end_is_refused_early() {
    let mut reader = Reader::new(0);
    reader.push(b"#EXTM3U\n").unwrap();
    let mut bytes = 0;
    let text = "#EXTINF:2,\na.ts\n".repeat(1000);
    while reader.push(text.as_bytes()).is_ok() {
        bytes += text.len();
        assert!(bytes <= PLAYLIST_BYTES);
        assert!(reader.media.wanted.len() <= PLAYLIST_SEGMENTS);
    }
    let mut reader = Reader::new(0);
    reader.push(b"#EXTM3U\n").unwrap();
    assert!(reader.push(&[b'a'; PLAYLIST_LINE + 1]).is_err());
    let variants = "#EXT-X-STREAM-INF:BANDWIDTH=1\na\n".repeat(PLAYLIST_VARIANTS + 5);
    let Ok(Playlist::Master(variants)) = parse(format!("#EXTM3U\n{variants}").as_bytes(), 0) else {
        panic!()
    };
    assert_eq!(variants.len(), PLAYLIST_VARIANTS);
}

/// Sequence, count and end of a fetched list; numbers that are new, missed, restarted, refresh in
/// milliseconds.
type Fetch = (u64, u64, &'static str, &'static [u64], u64, bool, Option<u64>);

#[test]
fn new_segments_are_told_from_those_that_were_taken() {
    const END: &str = "#EXT-X-ENDLIST\n";
    let cases: &[(&str, &[Fetch])] = &[
        (
            "live",
            &[
                (100, 5, "", &[104], 0, false, Some(2000)),
                (100, 5, "", &[], 0, false, Some(1000)),
                (101, 5, "", &[105], 0, false, Some(2000)),
                (103, 5, "", &[106, 107], 0, false, Some(2000)),
                (120, 3, "", &[120, 121, 122], 12, false, Some(2000)),
                (121, 3, END, &[123], 0, false, None),
            ],
        ),
        ("on demand", &[(0, 4, END, &[0, 1, 2, 3], 0, false, None)]),
        (
            "a live one that begins",
            &[(0, 0, "", &[], 0, false, Some(1000)), (0, 1, "", &[0], 0, false, Some(2000))],
        ),
        (
            "a server that began anew",
            &[
                (500, 3, "", &[502], 0, false, Some(2000)),
                (0, 2, "", &[1], 0, true, Some(2000)),
                (0, 3, "", &[2], 0, false, Some(2000)),
            ],
        ),
        (
            "a cache that is behind",
            &[
                (10, 3, "", &[12], 0, false, Some(2000)),
                (9, 3, "", &[], 0, false, Some(1000)),
                (11, 3, "", &[13], 0, false, Some(2000)),
            ],
        ),
        (
            "a server that began anew soon",
            &[
                (3, 3, "", &[5], 0, false, Some(2000)),
                (0, 1, "", &[], 0, false, Some(1000)),
                (0, 1, "", &[], 0, false, Some(1000)),
                (0, 2, "", &[], 0, false, Some(1000)),
                (0, 2, "", &[1], 0, true, Some(2000)),
            ],
        ),
    ];
    for (name, fetches) in cases {
        let mut follow = Follow::new();
        for (i, &(sequence, count, end, numbers, missed, restarted, refresh)) in
            fetches.iter().enumerate()
        {
            let fresh = follow.fetched(media(&live(sequence, count, end), follow.from()));
            let got: Vec<_> = fresh.segments.iter().map(|segment| segment.number).collect();
            assert_eq!(got, numbers, "{name} {i}");
            assert_eq!((fresh.missed, fresh.restarted), (missed, restarted), "{name} {i}");
            assert_eq!(fresh.refresh, refresh.map(Duration::from_millis), "{name} {i}");
        }
    }
}

#[test]
fn a_long_recording_is_taken_in_parts() {
    let text = live(0, 1000, "#EXT-X-ENDLIST\n");
    let (mut follow, mut next) = (Follow::new(), 0);
    loop {
        let fresh = follow.fetched(media(&text, follow.from()));
        assert!(fresh.segments.len() <= PLAYLIST_SEGMENTS);
        for segment in fresh.segments {
            assert_eq!(segment.number, next);
            next += 1;
        }
        match fresh.refresh {
            Some(pause) => assert_eq!(pause, Duration::ZERO),
            None => break,
        }
    }
    assert_eq!(next, 1000);
}
