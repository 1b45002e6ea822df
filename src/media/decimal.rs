//! Numbers with a fraction, as configurations, playlists and addresses have them.

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

fn digit(byte: u8) -> Option<f64> {
    byte.is_ascii_digit().then(|| f64::from(byte - b'0'))
}

const PLACES: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

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
