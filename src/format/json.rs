//! JSON (RFC 8259): written piece by piece into a string, with the members in the order in which
//! they are given; read with bounds on its length and depth.

mod read;

pub use read::{JsonValue, parse};

use crate::media::Decimal;
use std::fmt::{Display, Write as _};

/// Writes an object.
pub fn object(fill: impl FnOnce(&mut Object<'_>)) -> String {
    let mut text = String::new();
    append_object(&mut text, fill);
    text
}

/// `text` as a JSON string, which also is one in JavaScript and in HTML scripts.
pub fn quoted(text: &str) -> String {
    let mut out = String::new();
    quote(&mut out, text);
    out
}

/// The members of an object that is being written.
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut String,
    any: bool,
}

impl Object<'_> {
    /// A string.
    #[inline(never)]
    pub fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        quote(self.out, value);
    }

    /// A whole number.
    #[inline]
    pub fn int(&mut self, name: &str, value: impl Into<Int>) {
        self.number(name, value.into());
    }

    #[inline(never)]
    fn number(&mut self, name: &str, value: Int) {
        self.name(name);
        if value.minus {
            self.out.push('-');
        }
        push(self.out, value.size);
    }

    /// A number; 0 for what is none.
    #[inline(never)]
    pub fn float(&mut self, name: &str, value: f64) {
        self.name(name);
        push(self.out, Decimal::short(if value.is_finite() { value } else { 0.0 }));
    }

    /// `true` or `false`.
    #[inline(never)]
    pub fn bool(&mut self, name: &str, value: bool) {
        self.name(name);
        self.out.push_str(if value { "true" } else { "false" });
    }

    /// `null`.
    pub fn null(&mut self, name: &str) {
        self.raw(name, "null");
    }

    /// An object.
    pub fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        append_object(self.out, fill);
    }

    /// A list.
    pub fn list(&mut self, name: &str, fill: impl FnOnce(&mut List<'_>)) {
        self.name(name);
        self.out.push('[');
        fill(&mut List { out: self.out, any: false });
        self.out.push(']');
    }

    /// Any value that is JSON already.
    #[inline(never)]
    pub fn raw(&mut self, name: &str, json: &str) {
        self.name(name);
        self.out.push_str(json);
    }

    // Many small calls: what is written in each place is what counts in the image.
    #[inline(never)]
    fn name(&mut self, name: &str) {
        if std::mem::replace(&mut self.any, true) {
            self.out.push(',');
        }
        quote(self.out, name);
        self.out.push(':');
    }
}

/// The values of a list that is being written.
#[derive(Debug)]
pub struct List<'a> {
    out: &'a mut String,
    any: bool,
}

impl List<'_> {
    /// A string.
    pub fn text(&mut self, value: &str) {
        self.next();
        quote(self.out, value);
    }

    /// An object.
    pub fn object(&mut self, fill: impl FnOnce(&mut Object<'_>)) {
        self.next();
        append_object(self.out, fill);
    }

    fn next(&mut self) {
        if std::mem::replace(&mut self.any, true) {
            self.out.push(',');
        }
    }
}

/// A whole number of any type.
#[derive(Clone, Copy, Debug)]
pub struct Int {
    minus: bool,
    size: u64,
}

macro_rules! int {
    ($($ty:ty)*) => { $(
        impl From<$ty> for Int {
            fn from(n: $ty) -> Self {
                Self { minus: false, size: n as u64 }
            }
        }
    )* };
}

int!(u8 u16 u32 u64 usize);

impl From<i64> for Int {
    fn from(n: i64) -> Self {
        Self { minus: n < 0, size: n.unsigned_abs() }
    }
}

fn append_object(out: &mut String, fill: impl FnOnce(&mut Object<'_>)) {
    out.push('{');
    fill(&mut Object { out, any: false });
    out.push('}');
}

fn push(out: &mut String, value: impl Display) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{value}");
}

/// RFC 8259 §7, and what JavaScript or HTML could understand in another way.
#[inline(never)]
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() || matches!(c, '<' | '\u{2028}' | '\u{2029}') => {
                push(out, format_args!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::mutations;
    use crate::limits::{JSON_DEPTH, JSON_IN};

    fn sample() -> String {
        object(|o| {
            o.int("code", 0_u32);
            o.text("na\"me", "a\"b\\c\n\u{7f}é</script>\u{2028}");
            o.int("minus", -7_i64);
            o.int("most", u64::MAX);
            o.float("half", 0.5);
            o.float("none", f64::NAN);
            o.object("in", |o| o.bool("on", true));
            o.list("list", |l| {
                l.text("x");
                l.object(|o| o.null("nothing"));
            });
            o.object("empty", |_| {});
        })
    }

    #[test]
    fn members_keep_their_order_and_strings_are_escaped() {
        assert_eq!(
            sample(),
            "{\"code\":0,\"na\\\"me\":\"a\\\"b\\\\c\\u000a\\u007fé\\u003c/script>\\u2028\",\
             \"minus\":-7,\"most\":18446744073709551615,\"half\":0.5,\"none\":0,\"in\":{\"on\":true},\"list\":[\"x\",{\"nothing\":null}],\
             \"empty\":{}}"
        );
    }

    #[test]
    fn what_is_written_is_read() {
        let value = parse(sample().as_bytes()).unwrap();
        let text = JsonValue::String("a\"b\\c\n\u{7f}é</script>\u{2028}".into());
        assert_eq!(value.member("na\"me"), Some(&text));
        assert_eq!(value.member("half"), Some(&JsonValue::Number(0.5)));
    }

    #[test]
    fn length_and_depth_are_bounded() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse(deep(JSON_DEPTH).as_bytes()).is_ok());
        assert!(parse(deep(JSON_DEPTH + 1).as_bytes()).is_err());
        assert!(parse("{\"a\":".repeat(10_000).as_bytes()).is_err());
        assert!(parse(format!("\"{}\"", "[".repeat(100)).as_bytes()).is_ok(), "in a string");
        let long = format!("\"{}\"", "x".repeat(JSON_IN));
        assert!(parse(long.as_bytes()).is_err());
        for text in ["", "{", "\"\\", "{\"a\":1}x", "[1,]", "nul", "\u{feff}{}"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn cut_or_damaged_text_never_panics() {
        let text = sample();
        for end in 0..text.len() {
            assert!(parse(&text.as_bytes()[..end]).is_err());
        }
        mutations(text.as_bytes(), |changed| drop(parse(changed)));
        mutations(b"[1e5,-0.25,\"\\ud83d\\ude00\\u0041\",1E+2]", |changed| drop(parse(changed)));
    }
}
