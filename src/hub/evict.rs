//! What leaves the ring though somebody may still need it.

use super::Lag;
use super::ring::Evicted;
use super::source::State;
use super::stalled::{Copied, Stalled};

impl State {
    /// Takes what the bounds do not allow to stay. The players that stand in the middle of such a
    /// packet get a copy of it, so that their connections can go on at the next whole one.
    pub(super) fn evict(&mut self) {
        let lag = self.lag;
        let queue_ms = self.settings.queue_ms.max(lag.map_or(0, |lag| lag.ms));
        while let Some(evicted) = self.ring.evict(queue_ms).or_else(|| self.surplus(lag?)) {
            let mut copy = None;
            for (i, cursor) in self.cursors.iter().enumerate() {
                if !cursor.half || cursor.next != Some(evicted.seq) {
                    continue;
                }
                if copy.is_none() {
                    copy = Copied::new(&evicted.packet, &self.stalled_bytes);
                }
                let Some(copy) = &copy else { break };
                self.stalled.push(Stalled { cursor: i, copy: copy.clone() });
            }
        }
    }

    /// What is kept for those alone that pass the stream on, beyond the bytes that they may lag.
    fn surplus(&mut self, lag: Lag) -> Option<Evicted> {
        if self.ring.bytes() <= lag.bytes {
            return None;
        }
        let first = self.ring.first();
        let players = self.cursors.iter().filter(|cursor| cursor.lag.is_none());
        let needed = players.filter_map(|cursor| cursor.next).chain(self.ring.join()).min();
        needed.is_none_or(|needed| needed > first).then(|| self.ring.evict_first()).flatten()
    }
}

/// The most that any of them may lag.
pub(super) fn widest(lags: impl Iterator<Item = Lag>) -> Option<Lag> {
    lags.reduce(|a, b| Lag { ms: a.ms.max(b.ms), bytes: a.bytes.max(b.bytes) })
}
