//! Packets out of a stream of bytes, and the way back to them when bytes were lost.

use super::super::PACKET;
use super::{Counters, Stop};
use crate::limits::TS_SEARCH;

const SYNC: u8 = 0x47;
/// A sync byte is believed with two more behind it at the right distances.
const BELIEVED: usize = 2 * PACKET + 1;
const HELD: usize = 3 * PACKET;

/// Cuts packets. Holds less than three of them.
#[derive(Debug, Default)]
pub(super) struct Sync {
    held: heapless::Vec<u8, HELD>,
    synced: bool,
    /// There were packets before.
    ever: bool,
    /// Bytes passed over since the last packet.
    skipped: usize,
}

impl Sync {
    /// Takes bytes from the front of `input` up to the end of a packet; `None` when all were taken
    /// and more are needed. [`Stop::NotTs`] after [`TS_SEARCH`] bytes without a packet.
    pub(super) fn next(
        &mut self,
        input: &mut &[u8],
        counters: &mut Counters,
    ) -> Result<Option<[u8; PACKET]>, Stop> {
        loop {
            if !self.synced {
                if !self.search(input, counters)? {
                    return Ok(None);
                }
                continue;
            }
            if self.held.is_empty()
                && let Some((&packet, rest)) = input.split_first_chunk()
                && packet.first() == Some(&SYNC)
            {
                *input = rest;
                return Ok(Some(packet));
            }
            self.hold(input, PACKET);
            match self.held.first_chunk() {
                None => return Ok(None),
                Some(&packet) if packet.first() == Some(&SYNC) => {
                    self.drop_front(PACKET);
                    return Ok(Some(packet));
                }
                Some(_) => {
                    self.synced = false;
                    Counters::add(&mut counters.resyncs);
                }
            }
        }
    }

    /// Whether the next packet was found.
    fn search(&mut self, input: &mut &[u8], counters: &mut Counters) -> Result<bool, Stop> {
        loop {
            self.hold(input, HELD);
            let fits = |at: &usize| self.held.iter().skip(*at).step_by(PACKET).all(|&b| b == SYNC);
            let at = (0..self.held.len()).find(fits).unwrap_or(self.held.len());
            self.drop_front(at);
            self.skipped = self.skipped.saturating_add(at);
            counters.skipped = counters.skipped.saturating_add(at as u64);
            if self.skipped > TS_SEARCH {
                self.skipped = 0;
                return Err(Stop::NotTs { before: self.ever });
            }
            if self.held.len() >= BELIEVED {
                self.skipped = 0;
                self.synced = true;
                self.ever = true;
                return Ok(true);
            }
            if input.is_empty() {
                return Ok(false);
            }
        }
    }

    /// Moves bytes from `input`, until `most` are held.
    fn hold(&mut self, input: &mut &[u8], most: usize) {
        let room = most.saturating_sub(self.held.len());
        let (piece, rest) = input.split_at(room.min(input.len()));
        // Cannot fail: `most` is HELD at most.
        let _ = self.held.extend_from_slice(piece);
        *input = rest;
    }

    fn drop_front(&mut self, len: usize) {
        let len = len.min(self.held.len());
        self.held.rotate_left(len);
        self.held.truncate(self.held.len() - len);
    }
}
