//! Times on the wire: 24, 31 and 32 bits, jumps, and how the directives correct them.

mod common;

use common::Server;
use common::client::Peer;
use common::media::{bodies, demo, frames, headers};
use common::raw::Raw;
use runnel::media::{Kind, Packet};

fn audio(dts: u32, number: u8) -> Packet {
    Packet::new(Kind::Audio, dts, vec![0x2f, number].into())
}

fn times(packets: &[Packet]) -> Vec<u32> {
    packets.iter().map(|p| p.dts).collect()
}

/// Publishes packets at these times to `server`; the times that arrive.
fn relay(server: &Server, sent: &[u32]) -> Vec<u32> {
    let mut player = Peer::play(server, "s");
    let mut publisher = Peer::publish(server, "s");
    for (i, &dts) in sent.iter().enumerate() {
        publisher.send(&audio(dts, i as u8));
    }
    times(&player.packets(sent.len()))
}

fn with_jitter(algorithm: &str) -> Server {
    Server::with(&format!("vhost __defaultVhost__ {{ play {{ time_jitter {algorithm}; }} }}"))
}

#[test]
fn each_jitter_algorithm_corrects_as_it_says() {
    let sent = [500_000, 500_040, 510_040, 510_080, 500_000, 500_040, 500_020];
    let cases: [(&str, [u32; 7]); 3] = [
        // A jump of 10 s either way becomes 10 ms.
        ("full", [9, 49, 59, 99, 109, 149, 129]),
        ("zero", [0, 40, 10_040, 10_080, 0, 40, 20]),
        ("off", sent),
    ];
    for (algorithm, expected) in cases {
        assert_eq!(relay(&with_jitter(algorithm), &sent), expected, "{algorithm}");
    }
}

#[test]
fn atc_gives_players_the_times_of_the_encoder() {
    let sent = [500_000, 500_040, 510_040];
    let server = Server::with("vhost __defaultVhost__ { play { atc on; } }");
    assert_eq!(relay(&server, &sent), sent);
}

#[test]
fn the_old_names_of_the_directives_count_too() {
    let sent = [500_000, 500_040, 510_040];
    let server = Server::with("vhost __defaultVhost__ { time_jitter zero; }");
    assert_eq!(relay(&server, &sent), [0, 40, 10_040]);
}

/// A stream of frames that are longer than a chunk, around the time where the extended field
/// begins, arrives at players with 128-byte chunks as it was, with `time_jitter off`.
fn long_frames_around(middle: u32, chunk_size: u32) {
    let server = Server::with(&format!(
        "vhost __defaultVhost__ {{ chunk_size {chunk_size}; play {{ time_jitter off; }} }}"
    ));
    let mut player = Peer::play(&server, "s");
    let mut publisher = Raw::started(&server, "publish", "s");
    let source = demo();
    let mut sent = headers(&source);
    sent.extend(frames(&source).into_iter().take(100));
    assert!(sent.iter().any(|p| p.payload.len() > 3 * 128), "long ones");
    let start = middle.wrapping_sub(1000);
    for packet in &mut sent {
        packet.dts = packet.dts.wrapping_add(start) & 0x7fff_ffff;
        let csid = if packet.kind == Kind::Video { 6 } else { 4 };
        publisher.send(csid, packet.kind.type_id(), 1, packet.dts, &packet.payload);
    }
    let arrived = player.packets(sent.len());
    assert_eq!(bodies(&arrived), bodies(&sent));
    assert_eq!(times(&frames(&arrived)), times(&frames(&sent)), "{middle:#x}, {chunk_size}");
}

#[test]
fn a_stream_passes_the_24_bits_of_the_first_timestamp_field() {
    for chunk_size in [128, 60_000] {
        long_frames_around(0xff_ffff, chunk_size);
    }
}

#[test]
fn a_stream_passes_the_31_bits_of_a_timestamp() {
    for chunk_size in [128, 60_000] {
        long_frames_around(0x8000_0000, chunk_size);
    }
}

#[test]
fn the_highest_bit_of_a_timestamp_does_not_count() {
    let server = with_jitter("off");
    let mut player = Peer::play(&server, "s");
    let mut publisher = Raw::started(&server, "publish", "s");
    publisher.send(4, 8, 1, 0x8000_0001, &[0x2f, 1]);
    publisher.send(4, 8, 1, 0xffff_ffff, &[0x2f, 2]);
    assert_eq!(times(&player.packets(2)), [1, 0x7fff_ffff]);
}

#[test]
fn chunks_that_leave_the_extended_timestamp_out_are_understood() {
    let server = with_jitter("off");
    let mut player = Peer::play(&server, "s");
    let mut publisher = Raw::started(&server, "publish", "s");
    let mut payload = vec![0x2f];
    payload.extend((0..400).map(|n| n as u8 | 1));
    // As old librtmp does: the extended time stands in the first chunk only.
    let mut out = vec![4, 0xff, 0xff, 0xff, 0, 1, 0x91, 8, 1, 0, 0, 0];
    out.extend(0x0123_4567_u32.to_be_bytes());
    for (i, chunk) in payload.chunks(128).enumerate() {
        if i > 0 {
            out.push(0xc4);
        }
        out.extend(chunk);
    }
    publisher.write(&out);
    publisher.send(4, 8, 1, 0x0123_4580, &payload);
    let arrived = player.packets(2);
    assert_eq!(times(&arrived), [0x0123_4567, 0x0123_4580]);
    assert!(arrived.iter().all(|p| p.payload == payload), "no byte was taken for a time");
}

#[test]
fn four_and_a_half_hours_are_no_limit() {
    let server =
        Server::with("vhost __defaultVhost__ { min_latency on; play { time_jitter zero; } }");
    let mut player = Peer::play(&server, "s");
    let mut publisher = Peer::publish(&server, "s");
    let mut last = 0;
    for i in 0..20_u32 {
        let dts = 0xff_ffff - 10_000 + i * 1000;
        publisher.send(&audio(dts, i as u8));
        let arrived = player.packets(1);
        assert_eq!(arrived[0].payload.as_ref(), [0x2f, i as u8]);
        assert!(i == 0 || arrived[0].dts == last + 1000, "{} after {last}", arrived[0].dts);
        last = arrived[0].dts;
    }
}

#[test]
fn mix_correct_sorts_audio_and_video() {
    let server =
        Server::with("vhost __defaultVhost__ { play { mix_correct on; time_jitter off; } }");
    let mut player = Peer::play(&server, "s");
    let mut publisher = Peer::publish(&server, "s");
    for i in 0..50_u32 {
        // The sound comes 60 ms late.
        publisher.send_bytes(Kind::Video, 60 + i * 20, &[0x14, 0, i as u8]);
        publisher.send_bytes(Kind::Audio, i * 20, &[0x2f, i as u8]);
    }
    let arrived = times(&player.packets(90));
    assert!(arrived.is_sorted(), "{arrived:?}");
}

#[test]
fn sound_a_second_late_is_sorted_with_mix_correct_and_only_then() {
    for (mix, sorted) in [("on", true), ("off", false)] {
        let server = Server::with(&format!(
            "vhost __defaultVhost__ {{ play {{ mix_correct {mix}; time_jitter off; }} }}"
        ));
        let mut player = Peer::play(&server, "s");
        let mut publisher = Peer::publish(&server, "s");
        // 25 pictures and 50 frames a second; a frame is sent with the picture a second behind it.
        for i in 0..150_u32 {
            publisher.send_bytes(Kind::Video, i * 40, &[0x14, 0, i as u8]);
            if let Some(late) = (i * 40).checked_sub(1000) {
                publisher.send_bytes(Kind::Audio, late, &[0x2f, i as u8]);
                publisher.send_bytes(Kind::Audio, late + 20, &[0x2f, i as u8]);
            }
        }
        let packets = player.packets(300);
        assert_eq!(times(&packets).is_sorted(), sorted, "{mix}: {:?}", times(&packets));
        let sound = packets.iter().filter(|p| p.kind == Kind::Audio).count();
        assert!(sound > 150, "{mix}: {sound} frames of sound");
    }
}
