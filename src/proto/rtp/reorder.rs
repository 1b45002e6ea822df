//! Packets in the order of their numbers: late ones are waited for a little, doubles dropped.

use crate::limits::{RTP_REORDER, RTP_REORDER_BYTES};
use std::collections::VecDeque;
use std::time::Duration;

/// A jump ahead of more than this is a sender that began anew (RFC 3550 §A.1: `MAX_DROPOUT`).
const DROPOUT: u16 = 3000;
/// So far back a packet is late or double; further, the sender began anew (`MAX_MISORDER`).
const MISORDER: u16 = 100;

/// Puts the packets of a track in order. One that comes in order goes through without a copy.
#[derive(Debug)]
pub(super) struct Reorder {
    /// Whether packets may overtake one another at all: not over TCP.
    waits: bool,
    next: Option<u16>,
    /// Those that came too early, in order.
    held: VecDeque<Held>,
    held_bytes: usize,
    /// What would follow a packet that fits nowhere.
    stray: Option<u16>,
    counts: Counts,
}

#[derive(Debug)]
struct Held {
    sequence: u16,
    since: Duration,
    packet: Vec<u8>,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) lost: u32,
    pub(super) doubles: u32,
    pub(super) restarts: u32,
    /// Wraps of the sequence number, for the extended one of RTCP.
    pub(super) cycles: u16,
}

impl Reorder {
    pub(super) fn new(waits: bool) -> Self {
        let (held, counts) = (VecDeque::new(), Counts::default());
        Self { waits, next: None, held, held_bytes: 0, stray: None, counts }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The extended number of the newest packet in order (RFC 3550 §6.4.1).
    pub(super) fn newest(&self) -> u32 {
        let last = self.next.unwrap_or(0).wrapping_sub(1);
        u32::from(self.counts.cycles) << 16 | u32::from(last)
    }

    /// A packet with the number `sequence`, at `now`. `out` gets those that are due, each with
    /// whether packets before it are missing.
    pub(super) fn push(
        &mut self,
        now: Duration,
        sequence: u16,
        packet: &[u8],
        out: &mut impl FnMut(&[u8], bool),
    ) {
        let next = *self.next.get_or_insert(sequence);
        let ahead = sequence.wrapping_sub(next);
        if ahead == 0 {
            self.step(sequence);
            out(packet, false);
            self.drain(out);
        } else if ahead.wrapping_neg() <= MISORDER {
            self.counts.doubles = self.counts.doubles.wrapping_add(1);
        } else if ahead > DROPOUT {
            // One stray packet means nothing; two in a row do.
            if self.stray == Some(sequence) {
                self.restart(out);
                self.counts.restarts = self.counts.restarts.wrapping_add(1);
                self.step(sequence);
                out(packet, true);
            } else {
                self.stray = Some(sequence.wrapping_add(1));
            }
        } else {
            self.hold(now, sequence, packet);
            while !self.waits
                || self.held.len() > RTP_REORDER
                || self.held_bytes > RTP_REORDER_BYTES
            {
                if !self.skip(out) {
                    break;
                }
            }
        }
    }

    /// Gives those up that have been waited for longer than `patience`.
    pub(super) fn expire(
        &mut self,
        now: Duration,
        patience: Duration,
        out: &mut impl FnMut(&[u8], bool),
    ) {
        let late = |held: &Held| now.saturating_sub(held.since) >= patience;
        // The first in order need not be the first that came.
        while self.held.iter().any(late) && self.skip(out) {}
    }

    /// Since when the packet is held that came first, if any is.
    pub(super) fn held_since(&self) -> Option<Duration> {
        self.held.iter().map(|held| held.since).min()
    }

    /// Hands out what is held: the sender begins anew.
    pub(super) fn restart(&mut self, out: &mut impl FnMut(&[u8], bool)) {
        while self.skip(out) {}
        self.next = None;
        self.stray = None;
    }

    fn hold(&mut self, since: Duration, sequence: u16, packet: &[u8]) {
        let next = self.next.unwrap_or(sequence);
        let ahead = sequence.wrapping_sub(next);
        let at = self.held.partition_point(|held| held.sequence.wrapping_sub(next) < ahead);
        if self.held.get(at).is_some_and(|held| held.sequence == sequence) {
            self.counts.doubles = self.counts.doubles.wrapping_add(1);
            return;
        }
        self.held_bytes += packet.len();
        self.held.insert(at, Held { sequence, since, packet: packet.to_vec() });
    }

    /// Gives up what is missing before the first one held. False: none is held.
    fn skip(&mut self, out: &mut impl FnMut(&[u8], bool)) -> bool {
        let Some(held) = self.held.pop_front() else {
            return false;
        };
        let missing = held.sequence.wrapping_sub(self.next.unwrap_or(held.sequence));
        self.counts.lost = self.counts.lost.wrapping_add(missing.into());
        self.held_bytes -= held.packet.len();
        if held.sequence < self.next.unwrap_or(0) {
            self.counts.cycles = self.counts.cycles.wrapping_add(1);
        }
        self.step(held.sequence);
        out(&held.packet, missing > 0);
        self.drain(out);
        true
    }

    fn drain(&mut self, out: &mut impl FnMut(&[u8], bool)) {
        while self.held.front().is_some_and(|held| Some(held.sequence) == self.next) {
            let Some(held) = self.held.pop_front() else { break };
            self.held_bytes -= held.packet.len();
            self.step(held.sequence);
            out(&held.packet, false);
        }
        if self.held.is_empty() {
            self.held.shrink_to(0);
        }
    }

    fn step(&mut self, sequence: u16) {
        self.stray = None;
        let next = sequence.wrapping_add(1);
        if next == 0 {
            self.counts.cycles = self.counts.cycles.wrapping_add(1);
        }
        self.next = Some(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    /// Packets of two bytes, their number; what comes out, `!` behind a gap.
    fn order(waits: bool, numbers: &[u16]) -> (String, Counts) {
        let mut reorder = Reorder::new(waits);
        let mut got = Vec::new();
        let mut out = |packet: &[u8], gap: bool| {
            let number = u16::from_be_bytes([packet[0], packet[1]]);
            got.push(format!("{}{number}", if gap { "!" } else { "" }));
        };
        for number in numbers {
            reorder.push(Duration::ZERO, *number, &number.to_be_bytes(), &mut out);
        }
        reorder.expire(Duration::from_secs(1), PATIENCE, &mut out);
        assert_eq!((reorder.held.len(), reorder.held_bytes), (0, 0));
        (got.join(" "), reorder.counts())
    }

    /// Numbers as they come, as they go, lost, doubles, restarts.
    const CASES: &[(&[u16], &str, u32, u32, u32)] = &[
        (&[1, 2, 3], "1 2 3", 0, 0, 0),
        (&[1, 3, 2, 4], "1 2 3 4", 0, 0, 0),
        (&[1, 4, 3, 2, 5], "1 2 3 4 5", 0, 0, 0),
        (&[1, 3, 4], "1 !3 4", 1, 0, 0),
        (&[1, 3, 6, 4], "1 !3 4 !6", 2, 0, 0),
        (&[1, 2, 2, 1, 3, 3], "1 2 3", 0, 3, 0),
        (&[1, 3, 3, 2], "1 2 3", 0, 1, 0),
        (&[65534, 65535, 0, 1], "65534 65535 0 1", 0, 0, 0),
        (&[65534, 0, 65535, 1], "65534 65535 0 1", 0, 0, 0),
        (&[65534, 1], "65534 !1", 2, 0, 0),
        (&[1, 30000, 2], "1 2", 0, 0, 0),
        (&[1, 30000, 30001, 30002], "1 !30001 30002", 0, 0, 1),
        (&[40000, 1, 2, 3], "40000 !2 3", 0, 0, 1),
        (&[1, 3, 30000, 30001], "1 !3 !30001", 1, 0, 1),
    ];

    #[test]
    fn packets_come_out_in_order_and_once() {
        for &(numbers, want, lost, doubles, restarts) in CASES {
            let (got, counts) = order(true, numbers);
            assert_eq!(got, want);
            let Counts { lost: l, doubles: d, restarts: r, .. } = counts;
            assert_eq!((l, d, r), (lost, doubles, restarts), "{numbers:?}");
        }
    }

    #[test]
    fn over_tcp_nothing_is_waited_for() {
        assert_eq!(order(false, &[1, 3, 2, 4]).0, "1 !3 4");
    }

    #[test]
    fn what_is_held_is_bounded_in_number_and_bytes() {
        for (len, most) in [(10, RTP_REORDER), (60_000, RTP_REORDER_BYTES / 60_000)] {
            let mut reorder = Reorder::new(true);
            let mut out = 0;
            reorder.push(Duration::ZERO, 0, &[0], &mut |_, _| {});
            for number in 2..200 {
                reorder.push(Duration::ZERO, number, &vec![0; len], &mut |_, _| out += 1);
                assert!(reorder.held.len() <= most);
            }
            assert_eq!((out, reorder.counts().lost), (198, 1));
        }
    }

    #[test]
    fn a_late_packet_is_waited_for_as_long_as_the_caller_says() {
        let mut reorder = Reorder::new(true);
        let ms = Duration::from_millis;
        let mut got = Vec::new();
        let mut out = |packet: &[u8], _: bool| got.push(packet[0]);
        reorder.push(ms(0), 1, &[1], &mut out);
        assert_eq!(reorder.held_since(), None);
        reorder.push(ms(10), 3, &[3], &mut out);
        assert_eq!(reorder.held_since(), Some(ms(10)));
        reorder.expire(ms(109), PATIENCE, &mut out);
        reorder.push(ms(109), 4, &[4], &mut out);
        assert_eq!(reorder.held_since(), Some(ms(10)), "the one that came first");
        reorder.expire(ms(110), PATIENCE, &mut out);
        assert_eq!(reorder.held_since(), None);
        reorder.push(ms(110), 2, &[2], &mut out);
        reorder.push(ms(110), 5, &[5], &mut out);
        assert_eq!(got, [1, 3, 4, 5]);
        assert_eq!((reorder.counts().lost, reorder.counts().doubles), (1, 1));
    }

    #[test]
    fn the_extended_number_counts_wraps() {
        let mut reorder = Reorder::new(true);
        for number in (65530..=65535).chain([1, 0]) {
            reorder.push(Duration::ZERO, number, &[], &mut |_, _| {});
        }
        assert_eq!(reorder.newest(), 0x1_0001);
        let mut reorder = Reorder::new(false);
        for number in [65530, 3] {
            reorder.push(Duration::ZERO, number, &[], &mut |_, _| {});
        }
        assert_eq!(reorder.newest(), 0x1_0003);
    }

    #[test]
    fn any_order_of_numbers_is_taken() {
        let mut rng = fastrand::Rng::with_seed(3);
        for round in 0..200_u32 {
            let mut reorder = Reorder::new(true);
            let mut last = None;
            let mut at: u16 = rng.u16(..);
            for step in 0..500_u64 {
                at = if rng.u8(..) == 0 { rng.u16(..) } else { at.wrapping_add(rng.u16(..4)) };
                let number = at.wrapping_add(rng.u16(..8));
                let now = Duration::from_millis(step * 10);
                let mut out = |packet: &[u8], _: bool| {
                    let number = u16::from_be_bytes([packet[0], packet[1]]);
                    assert_ne!(last, Some(number), "{round}");
                    last = Some(number);
                };
                reorder.push(now, number, &number.to_be_bytes(), &mut out);
                reorder.expire(now, PATIENCE, &mut out);
                assert!(reorder.held.len() <= RTP_REORDER);
            }
        }
    }
}
