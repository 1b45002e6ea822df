//! PES packet headers (ISO/IEC 13818-1 §2.4.3.6).

/// The clock has so many bits.
const CLOCK: i64 = 1 << 33;

/// A time of 90 kHz on the clock.
pub(super) const fn on_clock(ticks: i64) -> u64 {
    ticks.rem_euclid(CLOCK).unsigned_abs()
}

/// The longest header.
pub(super) const HEADER_MAX: usize = 19;

/// `stream_id` of the first video stream.
pub(super) const VIDEO: u8 = 0xe0;
/// `stream_id` of the first audio stream.
pub(super) const AUDIO: u8 = 0xc0;

/// The header of a PES packet with `len` bytes behind it; times in ticks of 90 kHz. Where 16 bits
/// cannot state the length they are 0, which the standard allows for video only.
pub(super) fn header(
    stream_id: u8,
    pts: i64,
    dts: i64,
    len: usize,
) -> heapless::Vec<u8, HEADER_MAX> {
    let both = pts != dts;
    let times: u8 = if both { 10 } else { 5 };
    let [high, low] =
        u16::try_from(len.saturating_add(3 + usize::from(times))).unwrap_or(0).to_be_bytes();
    let flags = if both { 0xc0 } else { 0x80 };
    let mut header = heapless::Vec::new();
    // Cannot fail: HEADER_MAX is 9 and two times.
    let _ = header.extend_from_slice(&[0, 0, 1, stream_id, high, low, 0x80, flags, times]);
    let _ = header.extend_from_slice(&time(if both { 3 } else { 2 }, pts));
    if both {
        let _ = header.extend_from_slice(&time(1, dts));
    }
    header
}

/// 33 bits in three parts, each closed by a marker bit.
fn time(mark: u8, ticks: i64) -> [u8; 5] {
    let [.., top, a, b, c, d] = on_clock(ticks).to_be_bytes();
    [
        mark << 4 | (top & 1) << 3 | a >> 6 << 1 | 1,
        a << 2 | b >> 6,
        b << 2 | c >> 6 & 2 | 1,
        c << 1 | d >> 7,
        d << 1 | 1,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::hex;

    /// pts, dts, length, header.
    const CASES: &[(i64, i64, usize, &str)] = &[
        (0, 0, 0, "000001e0 0008 808005 2100010001"),
        (0, 0, 1, "000001e0 0009 808005 2100010001"),
        (0x1_ffff_ffff, 0x1_ffff_ffff, 0xfff7, "000001e0 ffff 808005 2fffffffff"),
        (1 << 33, 0, 0xfff8, "000001e0 0000 80c00a 3100010001 1100010001"),
        (-1, 900_000, 100, "000001e0 0071 80c00a 3fffffffff 110037 7741"),
        (1 << 15, 1 << 15, 10, "000001e0 0012 808005 2100030001"),
        (1 << 30, 1 << 30, 10, "000001e0 0012 808005 2300010001"),
    ];

    #[test]
    fn a_header_states_times_and_length() {
        for &(pts, dts, len, want) in CASES {
            assert_eq!(header(VIDEO, pts, dts, len)[..], hex(want), "{pts} {dts} {len}");
        }
    }
}
