//! What goes into segments, and what does not.

use super::*;

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
    let mut input = &include_bytes!("../../../../tests/data/moving.flv")[..];
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
