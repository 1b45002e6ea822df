//! What comes in from senders and networks that do things wrong: cameras by script with broken
//! descriptions and times that lie, packets that are lost, double, late or of somebody else, links that
//! lose some. What players get is whole pictures of the source, in its order, their times rising.

#![cfg(all(feature = "ingest", feature = "hls"))]

mod camera;
mod cameras;
#[path = "../common/mod.rs"]
mod common;
#[cfg(all(feature = "caster-mpegts", feature = "caster-rtsp", feature = "dvr"))]
mod lossy;
mod media;

use common::elementary::only_slices;
use media::{Picture, Source};
use runnel::codec::nal::{self, Video};
use runnel::format::ts::{Body, read};
use runnel::media::{Kind, Packet};

fn sound(packets: &[Packet]) -> Vec<Vec<u8>> {
    let frames = packets.iter().filter(|p| p.kind == Kind::Audio && !p.header);
    frames.map(|packet| packet.payload[2..].to_vec()).collect()
}

fn times(packets: &[Packet], kind: Kind) -> Vec<i64> {
    let frames = packets.iter().filter(|p| p.kind == kind && !p.header);
    frames.map(|packet| i64::from(packet.dts)).collect()
}

fn slices_of(picture: &Picture) -> Vec<Vec<u8>> {
    only_slices(Video::H264, picture.nals.iter().map(Vec::as_slice))
}

/// What a line of the log says of `name`, of all tracks together.
fn number(line: &str, name: &str) -> u64 {
    assert!(line.contains(name), "no {name} in {line}");
    let digits = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next().map(str::to_owned);
    line.split(name).skip(1).map(|rest| digits(rest).unwrap().parse::<u64>().unwrap()).sum()
}

/// Every picture and frame is one of the source, whole and in their order; where pictures are missing
/// it goes on with a key frame, if that `waits`. So many frames of sound may be none. How many
/// pictures there are.
fn assert_part(
    name: &str,
    source: &Source,
    packets: &[Packet],
    waits: bool,
    unseen: usize,
) -> usize {
    let all: Vec<_> = source.pictures.iter().map(slices_of).collect();
    let (mut next, mut came) = (0, 0);
    for packet in packets.iter().filter(|p| p.kind == Kind::Video && !p.header) {
        let Ok(Body::Picture(_, _, data)) = read(packet.kind, &packet.payload) else { panic!() };
        let picture = only_slices(Video::H264, nal::prefixed(data, 4));
        let found = all[next..].iter().position(|one| *one == picture);
        let at = next + found.unwrap_or_else(|| panic!("{name}: picture {came} is none of them"));
        let goes_on = !waits || at == next || source.pictures[at].key;
        assert!(goes_on, "{name}: from picture {next} to {at}, which is no key frame");
        (next, came) = (at + 1, came + 1);
    }
    let (mut next, mut none) = (0, 0);
    for frame in sound(packets) {
        match source.frames[next..].iter().position(|(_, one)| *one == frame) {
            Some(at) => next += at + 1,
            None => none += 1,
        }
    }
    assert!(none <= unseen, "{name}: {none} frames are none of them");
    for kind in [Kind::Video, Kind::Audio] {
        let times = times(packets, kind);
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{name}: {kind:?} {times:?}");
    }
    came
}
