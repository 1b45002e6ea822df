//! HDS as a player sees it: manifest, bootstrap and fragments, fetched over HTTP by a player that is
//! written here from the standards (F4M 1.0; Adobe Flash Video File Format Specification 10.1,
//! §2.11.2), since the players of others are gone.
#![cfg(all(feature = "hds", feature = "static-files"))]

mod common;

use common::http::{get, server};
use common::media::{self, Contents, bodies, flv_packets, frames};
use common::{SOON, TempDir, eventually, run, tool};
use runnel::format::flv::FILE_HEADER;
use std::fs;

/// What a bootstrap says of a fragment: number, time, duration.
type Fragment = (u32, u64, u32);

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The box `kind` that `bytes` begin with, and what follows it.
fn take<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> (&'a [u8], &'a [u8]) {
    assert_eq!(&bytes[4..8], kind);
    bytes.split_at(word(bytes, 0) as usize)
}

/// The value of an attribute of the manifest.
fn attribute(manifest: &str, element: &str, name: &str) -> String {
    let (_, rest) = manifest.split_once(&format!("<{element} ")).expect(element);
    let (_, rest) = rest.split_once(&format!("{name}=\"")).expect(name);
    rest.split_once('"').unwrap().0.into()
}

/// The fragments of a bootstrap, all in the first segment.
fn fragments(abst: &[u8]) -> Vec<Fragment> {
    let (abst, rest) = take(abst, b"abst");
    assert!(rest.is_empty());
    // Version and flags, number, profile, time scale, time, SMPTE offset, five empty tables.
    assert_eq!((abst[16] & 0x20, word(abst, 17)), (0x20, 1000), "live, in milliseconds");
    let mut at = 21 + 8 + 8;
    assert_eq!(abst[at..at + 5], [0; 5]);
    at += 5;
    assert_eq!(abst[at], 1);
    let (asrt, rest) = take(&abst[at + 1..], b"asrt");
    assert_eq!((asrt[12], word(asrt, 13), word(asrt, 17)), (0, 1, 1), "one run of one segment");
    assert_eq!(rest[0], 1);
    let (afrt, rest) = take(&rest[1..], b"afrt");
    assert!(rest.is_empty());
    assert_eq!((word(afrt, 12), afrt[16]), (1000, 0));
    let runs = afrt[21..].chunks_exact(16);
    assert_eq!(runs.len(), word(afrt, 17) as usize);
    runs.map(|run| (word(run, 0), long(run, 4), word(run, 12))).collect()
}

#[test]
fn a_player_of_hds_gets_what_was_published() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let args = format!("{} {} -t 6 {} {}", media::PICTURE, media::TONE, media::H264, media::AAC);
    let sample = media::make(&ffmpeg, "hds.flv", &args);
    let (server, http) = server("hds { enabled on; hds_fragment 1; hds_window 60; hds_path www; }");
    let ask = |path: &str| {
        let (head, body) = get(http, path, "");
        (head.status == 200).then_some(body)
    };
    media::publish(&ffmpeg, &sample, &server.url("cam"));
    eventually("five fragments are there", SOON, || ask("/live/camSeg1-Frag5").is_some());
    let manifest = String::from_utf8(ask("/live/cam.f4m").unwrap()).unwrap();
    let bootstrap = attribute(&manifest, "bootstrapInfo", "url");
    assert_eq!(
        attribute(&manifest, "media", "bootstrapInfoId"),
        attribute(&manifest, "bootstrapInfo", "id")
    );
    let media = attribute(&manifest, "media", "url");
    let fragments = fragments(&ask(&format!("/live/{bootstrap}")).unwrap());
    let mut file = FILE_HEADER.to_vec();
    for (i, &(number, start, duration)) in fragments.iter().enumerate() {
        let fragment = ask(&format!("/live/{media}Seg1-Frag{number}")).unwrap();
        let (mdat, rest) = take(&fragment, b"mdat");
        assert!(rest.is_empty());
        let alone = [&FILE_HEADER[..], &mdat[8..]].concat();
        let packets = flv_packets(&alone);
        assert_eq!(packets.iter().filter(|packet| packet.header).count(), 2, "of {number}");
        assert_eq!(frames(&packets)[0].dts as u64, start, "of {number}");
        if let Some(&(next, begins, _)) = fragments.get(i + 1) {
            assert_eq!((next, begins), (number + 1, start + u64::from(duration)));
        }
        probe(&alone);
        file.extend(&mdat[8..]);
    }
    // The same frames in the same order, and whatever plays FLV plays them.
    let (got, sent) = (flv_packets(&file), flv_packets(&fs::read(&sample).unwrap()));
    let (got, sent) = (frames(&got), frames(&sent));
    assert!(got.len() > 5 * 25, "{} frames", got.len());
    assert_eq!(bodies(&got), bodies(&sent)[..got.len()]);
    let dir = TempDir::new();
    let whole = dir.join("whole.flv");
    fs::write(&whole, &file).unwrap();
    let null = ["-v", "error", "-xerror", "-i", whole.to_str().unwrap(), "-f", "null", "-"];
    assert_eq!(run(&ffmpeg, null), "");
    Contents::of(&ffmpeg, &whole).assert_monotonic();
}

/// A fragment can be read alone.
fn probe(file: &[u8]) {
    let Some(ffprobe) = tool("ffprobe") else { return };
    let dir = TempDir::new();
    let path = dir.join("fragment.flv");
    fs::write(&path, file).unwrap();
    let args = ["-v", "error", "-show_streams", path.to_str().unwrap()];
    let said = run(&ffprobe, args);
    assert_eq!(said.lines().filter(|line| line.starts_with("codec_name=")).count(), 2, "{said}");
}
