//! What is wrong in the times of a source, put right where it comes in.
/// The longest time from decoding to showing that is believed, in milliseconds.
pub const CTS_MAX: i32 = 10_000;

/// `cts` if it can be, 0 to [`CTS_MAX`]; else 0: the picture is shown when it is decoded.
pub const fn sane_cts(cts: i32) -> i32 {
    if 0 <= cts && cts <= CTS_MAX { cts } else { 0 }
}
