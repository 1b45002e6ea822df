//! What the limits of a board have to hold to; others do not build.

use super::line::Line;
use super::{
    CONTROL_MAX, MAX_CLIENTS, MEDIA_POOL, MEMORY, MESSAGE_MAX, NAME_MAX, RING_BYTES, URL_MAX,
    board, worst_case,
};

const _: () = assert!(MESSAGE_MAX <= RING_BYTES / 4, "{}", LONG_MESSAGE.text());
const _: () = assert!(RING_BYTES <= MEDIA_POOL, "{}", SMALL_POOL.text());
const _: () = assert!(CONTROL_MAX >= URL_MAX + 2 * NAME_MAX, "connect must fit a control message");
const _: () = assert!(worst_case(MAX_CLIENTS) <= MEMORY, "{}", TOO_MUCH.text());

/// What is wrong with a board whose limits need more than its memory, with the line and the sum.
const TOO_MUCH: Line = Line::new()
    .and(board::LIMITS_AT)
    .and(": these limits need ")
    .number(worst_case(MAX_CLIENTS))
    .and(" bytes at most, memory is ")
    .number(MEMORY);
/// The same of one whose rings have room for fewer than four of the longest messages.
const LONG_MESSAGE: Line = Line::new()
    .and(board::MESSAGE_MAX_AT)
    .and(": message_max is ")
    .number(MESSAGE_MAX)
    .and(", a quarter of ring_bytes is ")
    .number(RING_BYTES / 4);
/// And of one where not even a single ring fits.
const SMALL_POOL: Line = Line::new()
    .and(board::MEDIA_POOL_AT)
    .and(": media_pool is ")
    .number(MEDIA_POOL)
    .and(", one ring (ring_bytes) is ")
    .number(RING_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BOARD;

    #[test]
    fn what_is_wrong_with_a_board_is_told_with_the_sum() {
        let text = Line::new().and("boards/x.toml line 7: ").number(0).and(" ").number(1200450);
        assert_eq!(text.text(), "boards/x.toml line 7: 0 1200450");
        assert!(TOO_MUCH.text().ends_with(&format!("memory is {MEMORY}")), "{}", TOO_MUCH.text());
        let at = format!("boards/{BOARD}.toml line ");
        for line in [TOO_MUCH, LONG_MESSAGE, SMALL_POOL] {
            assert!(line.text().starts_with(&at), "{}", line.text());
        }
    }
}
