//! Segments that only those can read who have the key.

use super::*;
use aes::Aes128;
use aes::cipher::{BlockDecryptMut, KeyIvInit, block_padding::Pkcs7};

fn keyed(config: Hls) -> Hls {
    Hls { hls_keys: true, hls_fragments_per_key: 2, hls_key_file_path: "k".into(), ..config }
}

fn decrypt(secret: &[u8], iv: u128, body: &[u8]) -> Vec<u8> {
    let secret: [u8; 16] = secret.try_into().unwrap();
    let cipher = cbc::Decryptor::<Aes128>::new(&secret.into(), &iv.to_be_bytes().into());
    cipher.decrypt_padded_vec_mut::<Pkcs7>(body).unwrap()
}

/// Reads all segments of `list` as one stream, with the keys that it names.
fn check(list: &Playlist, file: impl Fn(&str) -> Bytes) -> Checked {
    let mut checked = Checked::default();
    for segment in &list.segments {
        let key = segment.key.as_ref().expect("it is encrypted");
        let body = file(&segment.uri);
        assert!(body.len().is_multiple_of(16) && body[0] != 0x47);
        let plain = decrypt(&file(&key.uri), key.iv, &body);
        assert_eq!(plain[..3], [0x47, 0x40, 0], "tables first");
        checked.read(&plain);
    }
    checked
}

#[test]
fn segments_in_memory_are_read_with_their_keys() {
    let mut rig = Rig::new(keyed(ram()));
    rig.both(0, 11_000, 50);
    rig.unpublish();
    let list = rig.list();
    assert_eq!(check(&list, |uri| rig.segment(uri)).of(0x100).count(), 275);
    let keys: Vec<_> = list.segments.iter().map(|s| s.key.clone().unwrap()).collect();
    assert_eq!(list.segments.len(), 6);
    for (number, key) in keys.iter().enumerate() {
        let first = number / 2 * 2;
        assert!(key.uri.ends_with(&format!("-{first}.key")), "{}", key.uri);
        assert_eq!(key.iv, number as u128);
    }
    let secret = |number: usize| rig.segment(&keys[number].uri);
    assert!(secret(0) != secret(2) && secret(0).len() == 16);
    let stored = rig.live.ram.get("", &format!("/live/{}", keys[0].uri)).unwrap();
    assert_eq!(stored.cache_control, "private, no-store");
    assert!(rig.map.names().is_empty(), "no file");
    rig.live.sweep(1 << 40);
    assert_eq!((rig.live.ram.used(), rig.live.ram.names().len()), (0, 0), "keys go too");
}

#[test]
fn segments_and_keys_are_files() {
    let config = Hls { hls_storage: HlsStorage::Disk, hls_window: seconds(4000), ..ram() };
    let mut rig = Rig::new(keyed(Hls { hls_dispose: seconds(120_000), ..config }));
    // Long enough for several pieces.
    for i in 0..300 {
        let frame =
            format!("{}7 01 000000 00001770 {}", 1 + u8::from(i % 50 > 0), "41".repeat(6000));
        rig.feed(Kind::Video, i * 40, &frame).unwrap();
    }
    rig.unpublish();
    let kept = ["d/live/cam-3.ts", "d/live/cam-4.ts", "d/live/cam-5.ts", "d/live/cam.m3u8"];
    let keys = ["k/live/cam-2.key", "k/live/cam-4.key"];
    assert_eq!(rig.map.names(), [&kept[..], &keys].concat());
    let files = rig.map.files.borrow().clone();
    let text = String::from_utf8(files["d/live/cam.m3u8"].clone()).unwrap();
    let list = Playlist::parse(&text).unwrap();
    let file = |uri: &str| {
        let dir = if uri.ends_with(".key") { "k" } else { "d" };
        files[&format!("{dir}/live/{uri}")].clone().into()
    };
    assert_eq!(check(&list, file).of(0x100).count(), 150);
    rig.live.sweep(1 << 40);
    assert!(rig.map.names().is_empty(), "{:?}", rig.map.names());
}

#[test]
fn keys_that_somebody_else_gives_out_are_not_in_memory() {
    for (url, want) in [
        ("https://k/", "https://k/live/cam-e-0.key"),
        ("https://k", "https://k/live/cam-e-0.key"),
        ("https://k/?name=", "https://k/?name=live/cam-e-0.key"),
    ] {
        let key_file = "[app]/[stream]-e-[seq].key".into();
        let config = Hls { hls_key_url: url.into(), hls_key_file: key_file, ..ram() };
        let mut rig = Rig::new(keyed(config));
        rig.both(0, 4000, 50);
        assert_eq!(rig.list().segments[0].key.as_ref().unwrap().uri, want);
        assert_eq!(rig.map.names(), ["k/live/cam-e-0.key"], "{url}");
        assert!(!rig.live.ram.names().iter().any(|name| name.ends_with(".key")));
    }
}

#[test]
fn a_key_that_cannot_be_written_makes_no_segment() {
    let mut rig = Rig::new(keyed(Hls { hls_storage: HlsStorage::Disk, ..ram() }));
    rig.map.full.set(true);
    rig.both(0, 4000, 50);
    assert!(rig.map.names().is_empty());
    rig.map.full.set(false);
    rig.both(4000, 4000, 50);
    rig.unpublish();
    assert_eq!(rig.map.names().iter().filter(|name| name.ends_with(".key")).count(), 1);
}
