//! Which segments of a playlist that is fetched again and again are new.

use std::time::Duration;

use super::{Media, Segment};

/// Fetches of a playlist that has gone back, but not far, after which its numbers are believed:
/// a cache gives out an old one now and then.
const STALE: u8 = 3;
/// Going back further than this is a new start of its server.
const BACK: u64 = 10;
const REFRESH_MIN: Duration = Duration::from_millis(500);
const REFRESH_MAX: Duration = Duration::from_secs(10);

/// Follows one media playlist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Follow {
    /// The number of the next segment; `None` before the first fetch.
    next: Option<u64>,
    stale: u8,
}

/// What a fetch brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// To be played now, in order. When there are more the next fetch brings them, which need not
    /// wait.
    pub segments: Vec<Segment>,
    /// Segments that left the playlist before they could be fetched.
    pub missed: u64,
    /// The playlist began anew.
    pub restarted: bool,
    /// When to fetch it again; `None` when all of it was taken and nothing more comes.
    pub refresh: Option<Duration>,
}

impl Follow {
    /// At the start: of a live playlist the newest segment is taken first, of one that ended all.
    pub const fn new() -> Self {
        Self { next: None, stale: 0 }
    }

    /// What to ask [`Reader`](super::Reader) for.
    pub fn from(&self) -> u64 {
        self.next.unwrap_or_default()
    }

    /// Takes what a fetch gave, read from number [`from`](Self::from) on.
    pub fn fetched(&mut self, media: Media) -> Fresh {
        let end = media.next();
        let back = self.next.and_then(|next| next.checked_sub(end)).unwrap_or_default();
        if back > 0 && back <= BACK && self.stale < STALE {
            self.stale += 1;
            return Fresh {
                segments: Vec::new(),
                missed: 0,
                restarted: false,
                refresh: Some(pause(&media) / 2),
            };
        }
        self.stale = 0;
        let restarted = back > 0;
        let ended = media.ended;
        let pause = pause(&media);
        let (segments, missed) = match self.next {
            Some(next) if !restarted => (media.wanted, media.sequence.saturating_sub(next)),
            None if ended => (media.wanted, 0),
            // A live one, at its start: the newest is the nearest to now.
            _ => (media.newest.into_iter().next_back().into_iter().collect(), 0),
        };
        let next = segments.last().map(|segment| segment.number.saturating_add(1));
        let next = next.or(self.next).unwrap_or(end);
        self.next = Some(next);
        let more = next < end;
        let refresh = match (more, segments.last(), ended) {
            (true, ..) => Some(Duration::ZERO),
            (false, _, true) => None,
            (false, Some(last), false) => {
                Some(Duration::from_millis(last.millis.into()).clamp(REFRESH_MIN, REFRESH_MAX))
            }
            (false, None, false) => Some(pause / 2),
        };
        Fresh { segments, missed, restarted, refresh }
    }
}

/// The time between two changes of a live playlist (RFC 8216 §6.3.4).
fn pause(media: &Media) -> Duration {
    Duration::from_secs(media.target.into()).clamp(2 * REFRESH_MIN, REFRESH_MAX)
}
