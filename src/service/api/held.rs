//! Answers that clients have not taken yet: those that are long count, all together.

use crate::limits::{API_OUT, API_SMALL};
use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of long answers that are there.
static OUT: AtomicUsize = AtomicUsize::new(0);

/// `text` as the body of an answer; `None` when too many are there already.
pub(super) fn body(text: String) -> Option<Bytes> {
    let len = text.len();
    if len <= API_SMALL {
        return Some(text.into());
    }
    if OUT.fetch_add(len, Ordering::Relaxed).saturating_add(len) > API_OUT {
        OUT.fetch_sub(len, Ordering::Relaxed);
        log::warn!("API: no room for an answer of {len} bytes, {API_OUT} are due already");
        return None;
    }
    Some(Bytes::from_owner(Counted(text)))
}

/// Gives its bytes back when it is sent, or given up.
struct Counted(String);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        OUT.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_answers_are_bounded_together_and_give_their_room_back() {
        let long = || "x".repeat(API_OUT / 4);
        let held: Vec<_> = (0..4).map_while(|_| body(long())).collect();
        // Others may run beside this.
        assert!(held.len() >= 3);
        assert!(body("x".repeat(API_OUT / 2)).is_none());
        assert!(body("x".repeat(API_SMALL)).is_some());
        drop(held);
        assert!(body("x".repeat(API_OUT / 2)).is_some());
    }
}
