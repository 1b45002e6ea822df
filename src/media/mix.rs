//! `mix_correct`: audio and video put into the order of their timestamps.

use super::time::difference;
use super::{Kind, Packet};
use crate::limits::{MIX_SILENT, MIX_UNSEEN};
use std::collections::VecDeque;

/// Holds packets back until one of the other kind says what came between. The delay that it adds
/// is the distance by which one kind arrives after the other.
#[derive(Debug)]
pub struct Mix {
    held: VecDeque<Packet>,
    audio: Track,
    video: Track,
    /// So many packets of one kind before the first of the other one mean that there is none.
    unseen: usize,
}

impl Default for Mix {
    fn default() -> Self {
        Self::new(MIX_UNSEEN)
    }
}

#[derive(Debug, Default)]
struct Track {
    /// The newest time that arrived; `None` before the first.
    newest: Option<u32>,
    /// Packets of the other kind since then.
    silent: usize,
}

impl Mix {
    /// A kind that does not come is given up after `unseen` packets of the other one.
    pub fn new(unseen: usize) -> Self {
        Self { held: VecDeque::new(), audio: Track::default(), video: Track::default(), unseen }
    }

    /// Takes a packet. Take out what is [`due`](Self::due) after each one.
    pub fn push(&mut self, packet: Packet) {
        let (own, other) = match packet.kind {
            Kind::Video => (&mut self.video, &mut self.audio),
            Kind::Audio | Kind::Data => (&mut self.audio, &mut self.video),
        };
        if packet.kind != Kind::Data {
            own.newest = Some(packet.dts);
            own.silent = 0;
            other.silent += 1;
        }
        let later = |held: &Packet| difference(held.dts, packet.dts) > 0;
        let at = self.held.iter().rposition(|held| !later(held)).map_or(0, |i| i + 1);
        self.held.insert(at, packet);
    }

    /// The next packet that nothing can come before any more.
    pub fn due(&mut self) -> Option<Packet> {
        let first = self.held.front()?;
        let passed = |track: &Track| match track.newest {
            Some(newest) => difference(newest, first.dts) >= 0 || track.silent >= MIX_SILENT,
            None => track.silent >= self.unseen,
        };
        let due = passed(&self.audio) && passed(&self.video) || self.held.len() > MIX_SILENT;
        if due { self.pop() } else { None }
    }

    /// The next packet in order, when the stream ends or the directive is switched off.
    pub fn pop(&mut self) -> Option<Packet> {
        self.held.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn packet(kind: Kind, dts: u32) -> Packet {
        Packet::new(kind, dts, Bytes::from_static(b"\x27\x01"))
    }

    /// Feeds packets and collects what comes out, the rest at the end.
    fn run(input: impl IntoIterator<Item = Packet>) -> Vec<Packet> {
        let mut mix = Mix::default();
        let mut out = Vec::new();
        for packet in input {
            mix.push(packet);
            out.extend(std::iter::from_fn(|| mix.due()));
            assert!(mix.held.len() <= MIX_SILENT, "bounded");
        }
        out.extend(std::iter::from_fn(|| mix.pop()));
        out
    }

    #[test]
    fn audio_a_second_late_comes_out_in_order() {
        let start = [packet(Kind::Audio, 0)].into_iter();
        let video = (0..25).map(|i| packet(Kind::Video, i * 40));
        let both = (0..200u32)
            .flat_map(|i| [packet(Kind::Video, 1000 + i * 40), packet(Kind::Audio, i * 40)]);
        let out = run(start.chain(video).chain(both));
        assert_eq!(out.len(), 426, "nothing is lost");
        assert!(out.windows(2).all(|w| w[0].dts <= w[1].dts), "in order");
    }

    #[test]
    fn a_kind_that_never_comes_is_waited_for_some_packets() {
        for (mut mix, packets) in [(Mix::default(), 60), (Mix::new(10), 10)] {
            for i in 1..packets {
                mix.push(packet(Kind::Video, i));
                assert_eq!(mix.due(), None);
            }
            mix.push(packet(Kind::Video, packets));
            assert_eq!(mix.due().map(|p| p.dts), Some(1));
        }
    }

    #[test]
    fn sound_whose_first_frame_is_a_second_late_comes_out_in_order() {
        let video = (0..25).map(|i| packet(Kind::Video, i * 40));
        let both = (0..200u32)
            .flat_map(|i| [packet(Kind::Video, 1000 + i * 40), packet(Kind::Audio, i * 40)]);
        let out = run(video.chain(both));
        assert!(out.len() == 425 && out.windows(2).all(|w| w[0].dts <= w[1].dts));
    }

    #[test]
    fn a_kind_that_falls_silent_holds_nothing_for_ever() {
        let audio = (0..5).map(|i| packet(Kind::Audio, i * 23));
        let video = (0..500).map(|i| packet(Kind::Video, i * 40));
        assert_eq!(run(audio.chain(video)).len(), 505);
    }
}
