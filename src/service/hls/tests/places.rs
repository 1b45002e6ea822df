//! Memory and files: what is there, what is bounded, what is deleted.

use super::*;
use crate::limits::HLS_FILE;

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
fn a_segment_in_a_file_is_closed_at_its_bound() {
    let mut rig = Rig::new(Hls { hls_storage: HlsStorage::Disk, ..ram() });
    rig.both(0, 1000, 25);
    rig.cutter.as_mut().unwrap().pretend_written(HLS_FILE - 1000);
    rig.both(1000, 1000, 25);
    rig.unpublish();
    let text = String::from_utf8(rig.map.files.borrow()["d/live/cam.m3u8"].clone()).unwrap();
    let lengths: Vec<_> =
        Playlist::parse(&text).unwrap().segments.iter().map(|segment| segment.millis).collect();
    assert_eq!(lengths, [1000, 980]);
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
