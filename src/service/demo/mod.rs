//! The built-in test stream: eight seconds of picture and sound in the image, repeated for ever.
//! `make.sh` makes them.

use bytes::Bytes;

use crate::config::DEFAULT_VHOST;
use crate::context::Context;
use crate::format::flv::Tag;
use crate::hub::StreamKey;
use crate::io::{clock, log};
use crate::media::{Kind, Packet, time};
use crate::service::Service;
use crate::service::ingress::Ingress;
use std::rc::Rc;

/// Publishes [`Loop`] as [`STREAM`] of the app `live` when the command line asks for it.
pub const SERVICE: Service = Service {
    start: |cx| {
        if cx.demo {
            let context = cx.clone();
            cx.spawner.spawn(log::traced(log::next_id(), publish(context)));
        }
    },
    ..Service::new("demo")
};

/// The name under which the test stream can be played.
pub const STREAM: &str = "demo";

/// Runs until the process ends.
async fn publish(cx: Rc<Context>) {
    let config = cx.config();
    let Some(vhost) = config.vhost(DEFAULT_VHOST) else {
        ::log::error!("the test stream needs a vhost {DEFAULT_VHOST}");
        return;
    };
    let key = StreamKey::new(&vhost.name, "live", STREAM);
    let mut ingress = match Ingress::open(&cx, &key, vhost, log::id()) {
        Ok(ingress) => ingress,
        Err(refused) => {
            ::log::error!("test stream: {refused}");
            return;
        }
    };
    ::log::info!("test stream is published as {key}");
    let start = clock::now();
    let mut sent: u64 = 0;
    let mut last = 0;
    for packet in Loop::new() {
        // Timestamps wrap, the clock does not.
        sent += u64::from(time::difference(packet.dts, last).unsigned_abs());
        last = packet.dts;
        ingress.sleep_until(start + sent).await;
        if ingress.publisher.is_stale() {
            if ingress.publisher.source().publisher().is_some() {
                ::log::warn!("test stream: another publisher took the stream over");
            }
            return;
        }
        if let Err(refusal) = ingress.take(packet) {
            ::log::error!("test stream: {refusal}");
            return;
        }
    }
}

/// The embedded stream: one round of [`ROUND`] milliseconds.
static FLV: &[u8] = include_bytes!("loop.flv");

/// Milliseconds from one round to the next: 200 pictures of 40 ms, 250 AAC frames of 32 ms.
pub const ROUND: u32 = 8000;

/// The test stream as packets without end: metadata and sequence headers once, at 0, then round
/// after round, each from a key frame, the timestamps going on. Payloads are not copied.
#[derive(Clone, Debug)]
pub struct Loop {
    /// What is left of this round.
    rest: &'static [u8],
    /// Where this round started.
    base: u32,
}

impl Loop {
    /// The stream from its first packet.
    pub const fn new() -> Self {
        Self { rest: FLV, base: 0 }
    }

    /// From the first tag of the file.
    fn rewind(&mut self) {
        self.rest = FLV;
        // The file was made by make.sh, and the tests read it to its end.
        Tag::start(&mut self.rest).expect("the embedded file starts with an FLV header");
    }
}

impl Default for Loop {
    fn default() -> Self {
        Self::new()
    }
}

impl Iterator for Loop {
    type Item = Packet;

    fn next(&mut self) -> Option<Packet> {
        let first = self.rest.len() == FLV.len();
        if first {
            self.rewind();
        }
        loop {
            if self.rest.is_empty() {
                self.base = self.base.wrapping_add(ROUND) & time::MASK;
                self.rewind();
            }
            // An unreadable file would end the stream, not hang it.
            let tag = Tag::take(&mut self.rest).ok()?;
            let dts = self.base.wrapping_add(tag.timestamp);
            let packet = Packet::new(tag.kind, dts, Bytes::from_static(tag.body));
            if self.base == 0 || !(packet.header || packet.kind == Kind::Data) {
                return Some(packet);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Detail, describe};

    const PER_ROUND: usize = 200 + 250;

    #[test]
    fn the_stream_starts_with_metadata_and_headers() {
        let start: Vec<_> = Loop::new().take(4).collect();
        assert_eq!(start[0].kind, Kind::Data);
        let headers: Vec<_> = start[1..3].iter().map(|p| (p.kind, p.header, p.dts)).collect();
        assert_eq!(headers, [(Kind::Video, true, 0), (Kind::Audio, true, 0)]);
        assert!(start[3].key);
        let video = describe(Kind::Video, &start[1].payload).unwrap().unwrap();
        assert_eq!(video.detail.size(), Some((320, 180)));
        let audio = describe(Kind::Audio, &start[2].payload).unwrap().unwrap();
        let Detail::Aac(audio) = audio.detail else { panic!("{audio}") };
        assert_eq!((audio.profile_name(), audio.rate(), audio.channels()), ("LC", 32000, 1));
    }

    #[test]
    fn frames_keep_their_distance_across_the_seam() {
        let packets: Vec<_> = Loop::new().skip(3).take(3 * PER_ROUND).collect();
        assert!(packets.iter().all(|p| !p.header && p.kind != Kind::Data));
        assert!(packets.windows(2).all(|pair| pair[0].dts <= pair[1].dts));
        for (kind, distance) in [(Kind::Video, 40), (Kind::Audio, 32)] {
            let track: Vec<_> = packets.iter().filter(|p| p.kind == kind).map(|p| p.dts).collect();
            assert!(track.windows(2).all(|pair| pair[1] - pair[0] == distance), "{kind:?}");
        }
    }

    #[test]
    fn each_round_starts_with_a_key_frame() {
        let packets: Vec<_> = Loop::new().skip(3).take(3 * PER_ROUND).collect();
        for (round, packets) in packets.chunks(PER_ROUND).enumerate() {
            let start = packets.iter().find(|p| p.kind == Kind::Video).unwrap();
            assert!(start.key);
            assert_eq!(start.dts, round as u32 * ROUND);
        }
    }

    #[test]
    fn key_frames_are_two_seconds_apart() {
        let keys: Vec<_> =
            Loop::new().take(2 * PER_ROUND + 3).filter(|p| p.key).map(|p| p.dts).collect();
        assert_eq!(keys, [0, 2000, 4000, 6000, 8000, 10000, 12000, 14000]);
    }

    #[test]
    fn timestamps_wrap_at_31_bits() {
        let base = time::MASK - 100;
        let wrapping = Loop { base, ..Loop::new() };
        let last = wrapping.take(PER_ROUND).last().unwrap();
        assert!(last.dts < ROUND);
    }
}
