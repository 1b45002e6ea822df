//! Sound and picture of an input in the order of their times.

use crate::media::mix::Mix;
use crate::media::{Kind, Packet, time};

/// For so long, in milliseconds of the stream, the other kind is waited for at the start of a
/// stream.
const START_MS: i32 = 1000;
/// The same in packets.
const START_PACKETS: u32 = 60;
/// The same when it is known that there is only one kind.
const UNSEEN_PACKETS: usize = 10;

/// Packets that wait for those of the other kind.
#[derive(Debug)]
pub(super) struct Order {
    mix: Mix,
    /// Sequence headers, audio and video, that go right before the next frame of their kind.
    headers: (Option<Packet>, Option<Packet>),
    /// Both kinds came, or one of them was waited for in vain.
    begun: bool,
    seen: (bool, bool),
    first: Option<u32>,
    packets: u32,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            mix: Mix::new(UNSEEN_PACKETS),
            headers: (None, None),
            begun: false,
            seen: (false, false),
            first: None,
            packets: 0,
        }
    }
}

impl Order {
    /// Nothing is to be waited for at the start: there is only one kind.
    pub(super) const fn begin(&mut self) {
        self.begun = true;
    }

    /// Takes a packet; those that nothing can come before any more go to `out`.
    pub(super) fn take(&mut self, packet: Packet, out: &mut impl FnMut(Packet)) {
        let (header, seen) = match packet.kind {
            Kind::Audio => (&mut self.headers.0, &mut self.seen.0),
            Kind::Video => (&mut self.headers.1, &mut self.seen.1),
            Kind::Data => return out(packet),
        };
        if packet.header {
            *header = Some(packet);
            return;
        }
        *seen = true;
        let header = header.take();
        if !self.begun {
            self.packets += 1;
            let since = time::difference(packet.dts, *self.first.get_or_insert(packet.dts));
            self.begun =
                self.seen == (true, true) || since >= START_MS || self.packets >= START_PACKETS;
        }
        if let Some(header) = header {
            self.mix.push(Packet { dts: packet.dts, ..header });
        }
        self.mix.push(packet);
        while self.begun
            && let Some(packet) = self.mix.due()
        {
            out(packet);
        }
    }

    /// What is left at the end of the stream.
    pub(super) fn pop(&mut self) -> Option<Packet> {
        self.mix.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: Kind, dts: u32) -> Packet {
        let payload: &[u8] =
            if kind == Kind::Video { &[0x27, 1, 0, 0, 0] } else { &[0xaf, 1, 1, 2] };
        Packet::new(kind, dts, payload.to_vec().into())
    }

    #[test]
    fn sound_that_comes_late_goes_out_in_its_place_and_headers_before_their_frames() {
        for pictures in [10, 20] {
            let mut order = Order::default();
            let mut got = Vec::new();
            let mut take = |packet| order.take(packet, &mut |p| got.push(p));
            // Headers have no times of their own.
            take(Packet::new(Kind::Video, 500, vec![0x17, 0, 0, 0, 0].into()));
            (0..pictures).for_each(|at| take(frame(Kind::Video, 40 * at)));
            take(Packet::new(Kind::Audio, 360, vec![0xaf, 0, 1, 2].into()));
            (0..20).for_each(|at| take(frame(Kind::Audio, 10 + 20 * at)));
            (pictures..2 * pictures).for_each(|at| take(frame(Kind::Video, 40 * at)));
            got.extend(std::iter::from_fn(|| order.pop()));
            assert!(got.windows(2).all(|pair| pair[0].dts <= pair[1].dts), "{got:?}");
            assert_eq!(got.len(), 1 + 2 * pictures as usize + 1 + 20);
            for kind in [Kind::Video, Kind::Audio] {
                assert!(got.iter().find(|p| p.kind == kind).unwrap().header, "{got:?}");
            }
        }
    }

    #[test]
    fn a_kind_that_never_comes_is_waited_for_at_the_start_only() {
        for (alone, step, most) in [(true, 40, 11), (false, 40, 26), (false, 1, 60)] {
            let mut order = Order::default();
            if alone {
                order.begin();
            }
            let (mut out, mut first) = (0, None);
            for at in 1..=100_u32 {
                order.take(frame(Kind::Video, at * step), &mut |_| out += 1);
                first = first.or((out > 0).then_some(at));
            }
            assert!(first.is_some_and(|at| at <= most), "{first:?}");
            assert_eq!(out, 100, "nothing is held back any more");
        }
    }
}
