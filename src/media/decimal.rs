//! Numbers with a fraction, as configurations, playlists and addresses have them.

use std::fmt::{self, Display};

/// The number that `text` is: digits, at most one point, a sign before them. The standard library
/// reads more forms, at 15 KB of tables.
///
/// Exact to the last bit below 2^53 units of the last place; digits after the twelfth place do not
/// count.
pub fn decimal(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (mut number, mut unit) = (0.0, 1.0);
    for byte in whole.bytes() {
        number = number * 10.0 + digit(byte)?;
    }
    for (place, byte) in fraction.bytes().enumerate() {
        let digit = digit(byte)?;
        if place < PLACES {
            number = number * 10.0 + digit;
            unit *= 10.0;
        }
    }
    // Both are whole numbers without a rounding error, so the quotient is the nearest there is.
    let number = number / unit;
    Some(if text.starts_with('-') { -number } else { number }).filter(|n| n.is_finite())
}

/// A number with a fraction, to be written. The standard library writes all digits of every number,
/// at 6 KB of code and tables.
#[derive(Debug, Clone, Copy)]
pub struct Decimal {
    value: f64,
    places: usize,
    /// Zeros at the end are left out.
    short: bool,
}

impl Decimal {
    /// With so many places, six at most, rounded; what is beyond 2^64 is that much.
    pub fn new(value: f64, places: usize) -> Self {
        Self { value, places: places.min(SHORT), short: false }
    }

    /// With as many places as it has, six at most.
    pub fn short(value: f64) -> Self {
        Self { value, places: SHORT, short: true }
    }
}

impl Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, mut places, short } = *self;
        if value.is_nan() {
            return f.write_str("NaN");
        }
        let unit = (0..places).fold(1_u64, |unit, _| unit * 10);
        let mut whole = value.abs().trunc() as u64;
        let mut rest = (value.abs().fract() * unit as f64).round() as u64;
        if rest == unit {
            (whole, rest) = (whole.saturating_add(1), 0);
        }
        while short && places > 0 && rest.is_multiple_of(10) {
            (rest, places) = (rest / 10, places - 1);
        }
        let sign = if value < 0.0 && (whole, rest) != (0, 0) { "-" } else { "" };
        write!(f, "{sign}{whole}")?;
        if places > 0 { write!(f, ".{rest:0places$}") } else { Ok(()) }
    }
}

fn digit(byte: u8) -> Option<f64> {
    byte.is_ascii_digit().then(|| f64::from(byte - b'0'))
}

const PLACES: usize = 12;
/// Places that are written at most.
const SHORT: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        let all = [0.0, 1.0, 0.75, 29.97, 1.005, 0.0049, 999.999, 12345678.126, 4294967295.0, 1e12];
        for value in all.into_iter().flat_map(|value| [value, -value]) {
            let plain = |text: String| {
                if text.trim_matches(['-', '0', '.']).is_empty() {
                    text.trim_start_matches('-').to_owned()
                } else {
                    text
                }
            };
            for places in [0, 1, 2, 3, 6] {
                let want = plain(format!("{value:.places$}"));
                assert_eq!(Decimal::new(value, places).to_string(), want, "{places}");
            }
            assert_eq!(Decimal::short(value).to_string(), plain(value.to_string()));
        }
        assert_eq!(Decimal::short(1.0 / 3.0).to_string(), "0.333333");
        assert_eq!(Decimal::short(f64::NAN).to_string(), "NaN");
        assert_eq!(Decimal::short(f64::INFINITY).to_string(), u64::MAX.to_string());
    }

    #[test]
    fn numbers_are_those_of_the_standard_library() {
        for text in [
            "0",
            "1",
            "-1",
            "+7",
            "0.1",
            "0.3",
            ".5",
            "5.",
            "-0.25",
            "1.5",
            "10",
            "0.001",
            "9.009",
            "2147483647",
            "4294967295.5",
            "1234567890.12345",
            "0.000000000001",
            "00012.5000",
        ] {
            assert_eq!(decimal(text), text.parse().ok(), "{text}");
        }
        for milliseconds in 0..20_000 {
            let text = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
            assert_eq!(decimal(&text), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_number() {
        for text in
            ["", ".", "-", "+", "-.", "--1", "1.2.3", "1e3", "inf", "NaN", " 1", "1 ", "0x1"]
        {
            assert_eq!(decimal(text), None, "{text}");
        }
        assert_eq!(decimal(&"9".repeat(400)), None);
        assert_eq!(decimal("0.10000000000000000000009"), Some(0.1));
    }
}
