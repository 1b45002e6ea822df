//! How much of a stream comes, and how fast.

use crate::media::{Kind, Packet};

/// Counts what comes for [`WINDOW_MS`], then tells it until the next window is over.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    pub(super) since: Option<u64>,
    start: u64,
    bytes: u64,
    pictures: u64,
    pub(super) rates: Option<(u32, u32)>,
}

/// Long enough to hold some frames, short enough to follow an encoder that adapts.
const WINDOW_MS: u64 = 3000;

impl Meter {
    pub(super) fn count(&mut self, packet: &Packet, now: u64) {
        if self.since.is_none() {
            (self.since, self.start) = (Some(now), now);
        }
        if now.saturating_sub(self.start) >= WINDOW_MS {
            self.rates = Some(self.rates(now));
            (self.start, self.bytes, self.pictures) = (now, 0, 0);
        }
        self.bytes += packet.payload.len() as u64;
        self.pictures += u64::from(packet.kind == Kind::Video && !packet.header);
    }

    /// Kbit/s and pictures a second since the window began.
    pub(super) fn rates(&self, now: u64) -> (u32, u32) {
        let ms = now.saturating_sub(self.start).max(1);
        let fps = (self.pictures * 1000 + ms / 2) / ms;
        let whole = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        (whole(self.bytes * 8 / ms), whole(fps))
    }
}
