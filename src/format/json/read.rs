//! JSON that others send. A reader of our own: its numbers are those of `media::decimal`, where any
//! other brings the standard library's reader of floats and its tables along.

use super::super::Error;
use crate::limits::{JSON_DEPTH, JSON_IN};
use crate::media::decimal;

/// A value that was read.
#[derive(Clone, Debug, PartialEq)]
pub enum JsonValue {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number, never infinite.
    Number(f64),
    /// A string.
    String(String),
    /// A list.
    Array(Vec<Self>),
    /// The members of an object in their order; of two with one name the last one counts.
    Object(Vec<(String, Self)>),
}

impl JsonValue {
    /// The member `name`; `None` when there is none, or when this is no object.
    pub fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().rfind(|(n, _)| n == name).map(|(_, value)| value)
    }
}

/// Reads a text of at most [`JSON_IN`] bytes and [`JSON_DEPTH`] levels.
pub fn parse(text: &[u8]) -> Result<JsonValue, Error> {
    if text.len() > JSON_IN {
        return Err(Error::Invalid("JSON too long"));
    }
    let text = std::str::from_utf8(text).map_err(|_| Error::Invalid("JSON not UTF-8"))?;
    let mut reader = Reader { rest: text };
    let value = reader.value(JSON_DEPTH)?;
    if reader.rest.is_empty() { Ok(value) } else { Err(NOT_JSON) }
}

const NOT_JSON: Error = Error::Invalid("JSON");

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    /// A value and the space around it; `levels` may be inside one another.
    fn value(&mut self, levels: usize) -> Result<JsonValue, Error> {
        self.skip_space();
        let value = match self.rest.as_bytes().first() {
            Some(b'{') => {
                let mut members = Vec::new();
                self.items('}', levels, &mut |reader, levels| {
                    reader.skip_space();
                    let name = reader.string()?;
                    reader.skip_space();
                    reader.expect(":")?;
                    members.push((name, reader.value(levels)?));
                    Ok(())
                })?;
                JsonValue::Object(members)
            }
            Some(b'[') => {
                let mut values = Vec::new();
                self.items(']', levels, &mut |reader, levels| {
                    values.push(reader.value(levels)?);
                    Ok(())
                })?;
                JsonValue::Array(values)
            }
            Some(b'"') => JsonValue::String(self.string()?),
            Some(b't') => self.expect("true").map(|()| JsonValue::Boolean(true))?,
            Some(b'f') => self.expect("false").map(|()| JsonValue::Boolean(false))?,
            Some(b'n') => self.expect("null").map(|()| JsonValue::Null)?,
            _ => JsonValue::Number(self.number()?),
        };
        self.skip_space();
        Ok(value)
    }

    /// What stands between a bracket and the `end` for it, by commas.
    fn items(
        &mut self,
        end: char,
        levels: usize,
        item: &mut dyn FnMut(&mut Self, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let levels = levels.checked_sub(1).ok_or(Error::Invalid("JSON too deep"))?;
        self.char()?;
        self.skip_space();
        if self.rest.starts_with(end) {
            return self.char().map(drop);
        }
        loop {
            item(self, levels)?;
            match self.char()? {
                ',' => {}
                c if c == end => return Ok(()),
                _ => return Err(NOT_JSON),
            }
        }
    }

    fn string(&mut self) -> Result<String, Error> {
        self.expect("\"")?;
        let mut text = String::new();
        loop {
            match self.char()? {
                '"' => return Ok(text),
                '\\' => text.push(self.escaped()?),
                c if c < ' ' => return Err(NOT_JSON),
                c => text.push(c),
            }
        }
    }

    /// What stands behind a backslash.
    fn escaped(&mut self) -> Result<char, Error> {
        Ok(match self.char()? {
            c @ ('"' | '\\' | '/') => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let mut code = self.hexadecimal()?;
                if (0xd800..0xdc00).contains(&code) {
                    // Two halves of a character (RFC 8259 §7).
                    self.expect("\\u")?;
                    let low = self.hexadecimal()?.checked_sub(0xdc00).filter(|low| *low < 0x400);
                    code = 0x10000 + ((code - 0xd800) << 10) + low.ok_or(NOT_JSON)?;
                }
                char::from_u32(code).ok_or(NOT_JSON)?
            }
            _ => return Err(NOT_JSON),
        })
    }

    fn hexadecimal(&mut self) -> Result<u32, Error> {
        let mut code = 0;
        for _ in 0..4 {
            code = code << 4 | self.char()?.to_digit(16).ok_or(NOT_JSON)?;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<f64, Error> {
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
        let len = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(len);
        self.rest = rest;
        number(text).ok_or(NOT_JSON)
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn expect(&mut self, text: &str) -> Result<(), Error> {
        self.rest = self.rest.strip_prefix(text).ok_or(NOT_JSON)?;
        Ok(())
    }

    fn char(&mut self) -> Result<char, Error> {
        let mut chars = self.rest.chars();
        let c = chars.next().ok_or(NOT_JSON)?;
        self.rest = chars.as_str();
        Ok(c)
    }
}

/// RFC 8259 §6. To the last bit where no digits stand behind `e`.
fn number(text: &str) -> Option<f64> {
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let unsigned = digits.strip_prefix('-').unwrap_or(digits);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let plain = whole == "0" || whole.starts_with(|c: char| matches!(c, '1'..='9'));
    if !plain || fraction.is_empty() {
        return None;
    }
    let number = decimal(digits)?;
    let exponent: i32 = exponent.parse().ok()?;
    let scale = 10_f64.powi(exponent.saturating_abs().min(INFINITE));
    let number = match exponent {
        _ if number == 0.0 => number,
        0.. => number * scale,
        _ => number / scale,
    };
    number.is_finite().then_some(number)
}

/// This power of ten is none any more.
const INFINITE: i32 = 309;

#[cfg(test)]
mod tests {
    use super::*;

    /// What tinyjson says of the same text.
    fn is(ours: &JsonValue, theirs: &tinyjson::JsonValue) -> bool {
        use tinyjson::JsonValue as Theirs;
        match (ours, theirs) {
            (JsonValue::Null, Theirs::Null) => true,
            (JsonValue::Boolean(a), Theirs::Boolean(b)) => a == b,
            (JsonValue::Number(a), Theirs::Number(b)) => a == b,
            (JsonValue::String(a), Theirs::String(b)) => a == b,
            (JsonValue::Array(a), Theirs::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is(a, b))
            }
            (JsonValue::Object(a), Theirs::Object(b)) => {
                a.iter().all(|(name, _)| b.contains_key(name))
                    && b.iter().all(|(name, b)| ours.member(name).is_some_and(|a| is(a, b)))
            }
            _ => false,
        }
    }

    /// A text and whether it is JSON.
    const CASES: &[(&str, bool)] = &[
        ("0", true),
        (" -0.5\r\n", true),
        ("10.25e2", true),
        ("1E+2", true),
        ("25e-1", true),
        ("4294967296", true),
        ("0.1", true),
        ("\t[ 1 , true,false , null,\"a\" ] ", true),
        ("[]", true),
        ("{}", true),
        ("{\"a\":{\"b\":[{}]},\"c\":1}", true),
        ("{\"a\":1,\"a\":2}", true),
        (r#""\"\\\/\b\f\n\r\t\u0041\ud83d\ude00é""#, true),
        ("\"\u{2028}\"", true),
        ("", false),
        ("nul", false),
        ("01", false),
        ("-", false),
        ("+1", false),
        (".5", false),
        ("1.", false),
        ("1e", false),
        ("1e+-1", false),
        ("--1", false),
        ("1 2", false),
        ("[1,]", false),
        ("[,1]", false),
        ("[1 2]", false),
        ("[1}", false),
        ("{\"a\"}", false),
        ("{\"a\":1,}", false),
        ("{a:1}", false),
        ("\"\n\"", false),
        (r#""\x""#, false),
        (r#""\u12g4""#, false),
        (r#""\ud83d""#, false),
        (r#""\ud83d\u0041""#, false),
        (r#""\ude00""#, false),
        ("\u{a0}1", false),
    ];

    #[test]
    fn another_reader_reads_the_same() {
        for (text, good) in CASES {
            let (ours, theirs) = (parse(text.as_bytes()), text.parse::<tinyjson::JsonValue>());
            assert_eq!(ours.is_ok(), *good, "{text}");
            assert_eq!(theirs.is_ok(), *good, "{text}");
            if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
                assert!(is(&ours, &theirs), "{text}: {ours:?}");
            }
        }
    }

    #[test]
    fn of_two_members_with_one_name_the_last_one_counts() {
        let value = parse(b"{\"a\":1,\"b\":3,\"a\":2}").unwrap();
        assert_eq!(value.member("a"), Some(&JsonValue::Number(2.0)));
        assert_eq!(value.member("c"), None);
    }

    #[test]
    fn numbers_are_finite() {
        assert!(parse(b"1e999").is_err() && parse(b"-9e308").is_err());
        assert_eq!(parse(b"1e-2147483648"), Ok(JsonValue::Number(0.0)));
        assert_eq!(parse(b"0e2147483647"), Ok(JsonValue::Number(0.0)));
        assert_eq!(parse(b"123e22"), Ok(JsonValue::Number(1.23e24)));
    }
}
