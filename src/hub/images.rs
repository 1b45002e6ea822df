//! The images that are shared by players that stand at the same packet.

use super::ring::{Ring, Seq};
use crate::media::Packet;
use crate::proto::framing::{Framing, Image};

/// What an image was built from. Two players for whom all of it is equal send the same bytes, but
/// for the timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Built {
    source: u32,
    from: Seq,
    to: Seq,
    framing: u32,
    wide: bool,
}

/// The image that was built last, and one for what a single player needs (its headers). Once a
/// thread.
#[derive(Debug, Default)]
pub struct Images {
    run: Image,
    built: Option<Built>,
    own: Image,
}

impl Images {
    /// The packets from `from` up to `to` of the ring of `source`, as many as fit an image.
    pub fn run<F: Framing>(
        &mut self,
        (source, ring): (u32, &Ring),
        (from, to): (Seq, Seq),
        framing: &F,
        wide: bool,
    ) -> &mut Image {
        let wanted = Built { source, from, to, framing: framing.id(), wide };
        if self.built != Some(wanted) {
            self.built = Some(wanted);
            self.run.clear();
            for (seq, packet) in ring.from(from).take_while(|&(seq, _)| seq < to) {
                if !self.run.has_room() {
                    break;
                }
                self.run.push(framing, packet, seq, wide);
            }
        }
        &mut self.run
    }

    /// Packets that stand in no ring.
    pub fn own<'a, F: Framing>(
        &mut self,
        packets: impl Iterator<Item = &'a Packet>,
        framing: &F,
        wide: bool,
    ) -> &mut Image {
        self.own.clear();
        for packet in packets {
            self.own.push(framing, packet, 0, wide);
        }
        &mut self.own
    }
}
