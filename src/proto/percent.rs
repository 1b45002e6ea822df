//! Percent-encoding (RFC 3986 §2.1), read.

/// Replaces `%41` by `A`; a `%` without two digits stays.
pub(crate) fn decode(raw: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut out = Vec::new();
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let value = (byte == b'%').then(|| Some(digit(after.first())? << 4 | digit(after.get(1))?));
        match value.flatten() {
            Some(value) => {
                // Two digits.
                out.push(value as u8);
                rest = after.get(2..).unwrap_or_default();
            }
            None => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_digits_behind_a_percent_sign_are_a_byte() {
        for (raw, want) in [
            ("", ""),
            ("a%41b", "aAb"),
            ("%2f%2F", "//"),
            ("%2", "%2"),
            ("%", "%"),
            ("%zz%", "%zz%"),
            ("%%41", "%A"),
        ] {
            assert_eq!(decode(raw.as_bytes()), want.as_bytes(), "{raw}");
        }
        assert_eq!(decode(b"%ff%00"), [0xff, 0]);
    }
}
