//! Which presets of cargo features have a part that this image is without.

use std::fmt::Write as _;

include!(concat!(env!("OUT_DIR"), "/presets.rs"));

/// `; in the presets pi, full` for the parts `needs`, of which any will do; nothing for parts that
/// no preset has.
pub(super) fn with(needs: &str) -> String {
    let mut text = String::new();
    for (preset, features) in PRESETS {
        if needs.split('|').any(|part| features.contains(&part)) {
            let head = if text.is_empty() { "; in the presets " } else { ", " };
            // A String takes what is written.
            let _ = write!(text, "{head}{preset}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_has_what_it_turns_on_and_what_that_turns_on() {
        assert_eq!(with("digest"), "; in the presets rtmp, rtmp-hls, pi, full");
        assert_eq!(with("hls"), "; in the presets rtmp-hls, pi, full");
        assert_eq!(with("no-such-part|remux"), "; in the presets pi, full");
        assert_eq!(with("no-such-part"), "");
    }
}
