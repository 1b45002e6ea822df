use super::*;
use Kind::{Audio as A, Video as V};

/// Frames, each with the time that it must get.
type Frames = Vec<(Kind, i64, i64)>;

fn run(start: Start, frames: &Frames) -> (Vec<i64>, Timeline) {
    let mut timeline = Timeline::new(start);
    let times = frames
        .iter()
        .map(|&(kind, time, _)| timeline.time(kind, (time as u32) & MASK, false).into())
        .collect();
    (times, timeline)
}

/// `count` frames of one kind, `step` apart, from `time` on, which should get times from `out` on.
fn frames(kind: Kind, count: i64, step: i64, time: i64, out: i64) -> Frames {
    (0..count).map(|i| (kind, time + i * step, out + i * step)).collect()
}

/// Both kinds in the order of their times.
fn both(mut a: Frames, b: Frames) -> Frames {
    a.extend(b);
    a.sort_by_key(|frame| frame.1);
    a
}

/// Name, start, frames with the times they should get, jumps.
type Case = (&'static str, Start, Frames, u32);

fn cases() -> Vec<Case> {
    let zero = Start::Zero;
    let av = |count: i64, time: i64, out: i64| {
        both(frames(V, count, 40, time, out), frames(A, count * 2, 20, time, out))
    };
    vec![
        ("a start at 0", zero, av(10, 0, 0), 0),
        ("a start anywhere", zero, av(10, 987_654, 0), 0),
        ("a start that is kept", Start::Keep, av(10, 987_654, 987_654), 0),
        ("across 2^24", zero, av(10, (1 << 24) - 100, 0), 0),
        ("across 2^31", zero, av(10, (1 << 31) - 100, 0), 0),
        ("across 2^32", zero, av(10, (1 << 32) - 100, 0), 0),
        ("where 33 bits of 90 kHz end", zero, av(10, (1 << 33) / 90 - 100, 0), 0),
        (
            "across 2^31, kept",
            Start::Keep,
            frames(V, 5, 40, (1 << 31) - 80, (1 << 31) - 80)
                .into_iter()
                .map(|(kind, time, out)| (kind, time, out & i64::from(MASK)))
                .collect(),
            0,
        ),
        (
            "a frame that is hours off",
            zero,
            vec![(V, 0, 0), (V, 40, 40), (V, 7_200_000, 80), (V, 120, 120), (V, 160, 160)],
            0,
        ),
        (
            "two frames that are hours off",
            zero,
            vec![(V, 0, 0), (V, 40, 40), (V, 9_000_000, 80), (V, 9_000_040, 120), (V, 160, 160)],
            0,
        ),
        (
            "frames hours off, each somewhere else",
            zero,
            vec![
                (V, 0, 0),
                (V, 40, 40),
                (V, 9_000_000, 80),
                (V, 3_000_000, 120),
                (V, 6_000_000, 160),
                (V, 1_000_000, 200),
                (V, 240, 240),
            ],
            0,
        ),
        (
            "a jump of an hour of both tracks",
            zero,
            [av(10, 0, 0), av(10, 3_600_400, 400)].concat(),
            1,
        ),
        ("a restart at 0", zero, [av(10, 500_000, 0), av(10, 0, 400)].concat(), 1),
        ("24 bits that wrap", zero, [av(10, (1 << 24) - 400, 0), av(10, 0, 400)].concat(), 1),
        (
            "a step back of two seconds",
            zero,
            [frames(V, 100, 40, 0, 0), frames(V, 100, 40, 2000, 4000)].concat(),
            1,
        ),
        ("a pause of a minute", zero, [av(10, 0, 0), av(10, 60_400, 400)].concat(), 1),
        ("a pause of four seconds stays", zero, [av(10, 0, 0), av(10, 4400, 4400)].concat(), 0),
        (
            "a track that falls silent comes back in sync",
            zero,
            both(
                frames(V, 1000, 40, 0, 0),
                [frames(A, 10, 20, 0, 0), frames(A, 10, 20, 30_000, 30_000)].concat(),
            ),
            0,
        ),
        (
            "a track that was silent during a jump comes back in sync",
            zero,
            [
                av(10, 0, 0),
                frames(V, 100, 40, 1_000_400, 400),
                both(frames(V, 10, 40, 1_004_400, 4400), frames(A, 10, 20, 1_004_400, 4400)),
            ]
            .concat(),
            1,
        ),
        (
            "audio that begins before video",
            zero,
            [
                vec![(V, 1000, 0), (A, 960, 0), (A, 980, 1), (A, 1000, 2), (A, 1020, 20)],
                frames(A, 10, 20, 1040, 40),
            ]
            .concat(),
            0,
        ),
        (
            "two clocks",
            zero,
            (0..50)
                .flat_map(|i| [(V, 5000 + i * 40, i * 40), (A, 90_000_000 + i * 40, i * 40)])
                .collect(),
            0,
        ),
        (
            "frames out of order",
            zero,
            [
                (0, 0),
                (120, 120),
                (40, 121),
                (80, 122),
                (240, 240),
                (160, 241),
                (200, 242),
                (360, 360),
            ]
            .map(|(time, out)| (V, time, out))
            .to_vec(),
            0,
        ),
        (
            "frames of one time",
            zero,
            [(0, 0), (0, 1), (0, 2), (60, 60), (60, 61), (60, 62), (120, 120)]
                .map(|(time, out)| (A, time, out))
                .to_vec(),
            0,
        ),
        ("a time that stands still", zero, (0..300).map(|i| (V, 1000, i)).collect(), 0),
        (
            "a picture each ten seconds",
            zero,
            [
                vec![(V, 0, 0), (V, 10_000, 20), (V, 20_000, 40), (V, 30_000, 30_000)],
                frames(V, 20, 10_000, 40_000, 40_000),
            ]
            .concat(),
            0,
        ),
    ]
}

#[test]
fn times_of_real_sources_are_put_right() {
    for (name, start, frames, jumps) in cases() {
        let (times, timeline) = run(start, &frames);
        for (i, (frame, got)) in frames.iter().zip(&times).enumerate() {
            assert_eq!(*got, frame.2, "{name}: frame {i} {frame:?} of {times:?}");
        }
        assert_eq!(timeline.jumps(), jumps, "{name}");
    }
}

#[test]
fn a_new_connection_goes_on_behind_the_old_one_in_sync() {
    let mut timeline = Timeline::new(Start::Zero);
    let mut time = |kind, dts| timeline.time(kind, dts, false);
    assert_eq!([time(V, 1000), time(A, 1010), time(V, 1040), time(A, 1030)], [0, 10, 40, 30]);
    timeline.reconnected();
    let mut time = |kind, dts| timeline.time(kind, dts, false);
    assert_eq!([time(A, 77_000), time(V, 77_010), time(A, 77_020)], [60, 70, 80]);
    timeline.reconnected();
    let mut time = |kind, dts| timeline.time(kind, dts, false);
    // Video begins before what it was given last.
    assert_eq!([time(A, 500), time(V, 440), time(V, 480), time(V, 520)], [100, 71, 80, 120]);
}

#[test]
fn headers_and_metadata_stand_beside_frames() {
    let mut timeline = Timeline::new(Start::Zero);
    assert_eq!(timeline.time(Kind::Data, 0, false), 0);
    assert_eq!(timeline.time(V, 500_000, true), 0);
    assert_eq!(timeline.time(V, 500_000, false), 0);
    assert_eq!(timeline.time(A, 0, true), 0);
    assert_eq!(timeline.time(V, 500_040, true), 40);
    assert_eq!(timeline.time(V, 500_040, false), 40);
    assert_eq!(timeline.time(V, 0, true), 40);
    assert_eq!(timeline.time(Kind::Data, 0, false), 40);
    assert_eq!(timeline.time(V, 500_080, false), 80);
    let packet = Packet::new(V, 500_120, bytes::Bytes::from_static(b"\x27\x01\0\0\0"));
    assert_eq!(timeline.correct(packet).dts, 120);
    let mut kept = Timeline::new(Start::Keep);
    assert_eq!(kept.time(V, 7000, true), 7000);
    assert_eq!((timeline.jumps(), timeline.corrected()), (0, 0));
}

#[test]
fn any_times_come_out_rising_and_without_gaps() {
    let mut rng = fastrand::Rng::with_seed(11);
    for round in 0..300 {
        let mut timeline = Timeline::new(if round % 2 == 0 { Start::Zero } else { Start::Keep });
        let (mut clock, mut last) = ([rng.u32(..); 2], [None::<u32>; 2]);
        let mut newest = None::<u32>;
        for _ in 0..500 {
            let kind = rng.usize(..2);
            clock[kind] = match rng.u8(..40) {
                0 => rng.u32(..),
                1 => clock[kind].wrapping_sub(rng.u32(..10_000)),
                2 => clock[kind].wrapping_add(rng.u32(..100_000)),
                3 => clock[1 - kind],
                _ => clock[kind].wrapping_add(rng.u32(..60)),
            };
            if rng.u16(..200) == 0 {
                timeline.reconnected();
            }
            let out = timeline.time([A, V][kind], clock[kind] & MASK, false);
            if let Some(last) = last[kind] {
                assert!(difference(out, last) > 0, "{round}: {last} {out}");
            }
            if let Some(newest) = newest {
                assert!(i64::from(difference(out, newest)) <= 3 * SLOW_MS, "{newest} {out}");
            }
            last[kind] = Some(out);
            newest = Some(newest.map_or(out, |n| if difference(out, n) > 0 { out } else { n }));
        }
    }
}

#[test]
fn composition_times_are_those_that_can_be() {
    for (cts, want) in
        [(0, 0), (80, 80), (-40, 0), (CTS_MAX, CTS_MAX), (i32::MAX, 0), (i32::MIN, 0)]
    {
        assert_eq!(sane_cts(cts), want);
    }
}
