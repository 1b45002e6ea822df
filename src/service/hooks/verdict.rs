//! What a reply means. Yes is 200 or 201 with the body `0`, or with an object whose `code` is 0.

use crate::format::json::{self, JsonValue};
use crate::io::fetch;
use crate::proto::http::client;
use std::fmt;

/// Why there was no yes.
#[derive(Debug)]
pub(super) enum Failure {
    /// There was no reply, or none that may be used.
    Fetch(fetch::Error),
    /// The status is neither 200 nor 201.
    Status(u16),
    /// The body is neither a number nor an object, or a number other than 0.
    Body,
    /// The `code` of the object; `None` when there is no such whole number.
    Code(Option<i64>),
}

impl Failure {
    /// The number of the original.
    pub(super) fn code(&self) -> u16 {
        use fetch::Error as E;
        match self {
            Self::Status(_) | Self::Fetch(E::Redirect(_)) => 4005,
            Self::Code(_) => 3064,
            Self::Fetch(E::TimedOut(..)) => 1011,
            Self::Fetch(E::Connect(_)) => 1018,
            Self::Fetch(E::Io(_)) => 1004,
            Self::Body | Self::Fetch(_) => 3008,
        }
    }

    /// The server did not answer the question, by no fault of the client. What it said, and be it
    /// nonsense, is not that.
    pub(super) fn is_silence(&self) -> bool {
        use fetch::Error as E;
        match self {
            Self::Status(status) => *status >= 500,
            Self::Fetch(E::TimedOut(..) | E::Connect(_) | E::Io(_)) => true,
            Self::Fetch(E::Http(e)) => matches!(e, client::Error::CutOff),
            _ => false,
        }
    }

    /// The server may have said yes, too late.
    pub(super) fn may_be_a_yes(&self) -> bool {
        matches!(self, Self::Fetch(fetch::Error::TimedOut(..)))
    }
}

impl From<fetch::Error> for Failure {
    fn from(e: fetch::Error) -> Self {
        Self::Fetch(e)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch(e) => e.fmt(f),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Body => f.write_str("the reply is neither 0 nor an object"),
            Self::Code(Some(code)) => write!(f, "code {code}"),
            Self::Code(None) => f.write_str("the reply has no code"),
        }
    }
}

impl std::error::Error for Failure {}

/// What a reply says.
pub(super) fn read(status: u16, body: &[u8]) -> Result<(), Failure> {
    if !matches!(status, 200 | 201) {
        return Err(Failure::Status(status));
    }
    if body.trim_ascii() == b"0" {
        return Ok(());
    }
    let Ok(reply @ JsonValue::Object(_)) = json::parse(body) else { return Err(Failure::Body) };
    match reply.member("code") {
        Some(JsonValue::Number(0.0)) => Ok(()),
        Some(JsonValue::Number(code)) if code.fract() == 0.0 => {
            Err(Failure::Code(Some(*code as i64)))
        }
        _ => Err(Failure::Code(None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reply, and the number of the refusal; 0 for a yes.
    const CASES: &[(u16, &str, u16)] = &[
        (200, "0", 0),
        (201, "0", 0),
        (200, " 0\r\n", 0),
        (200, "{\"code\":0}", 0),
        (
            200,
            "{\"data\":{\"code\":7,\"a\":[1,{},[],\"x\\\"}\"]}, \"code\" : 0 , \"e\":-1.5e3}\n",
            0,
        ),
        (200, "{\"code\":1,\"code\":0}", 0),
        (200, "1", 3008),
        (200, "-1", 3008),
        (200, "00", 3008),
        (200, "0 0", 3008),
        (200, "0x", 3008),
        (200, "", 3008),
        (200, "  ", 3008),
        (200, "ok", 3008),
        (200, "<html>0</html>", 3008),
        (200, "\"0\"", 3008),
        (200, "[0]", 3008),
        (200, "null", 3008),
        (200, "0.0", 3008),
        (200, "99999999999999999999", 3008),
        (200, "{", 3008),
        (200, "{\"code\":0", 3008),
        (200, "{\"code\":0}}", 3008),
        (200, "{\"code\":0,}", 3008),
        (200, "{code:0}", 3008),
        (200, "{\"a\":\"\n\",\"code\":0}", 3008),
        (200, "{}", 3064),
        (200, "{\"code\":100}", 3064),
        (200, "{\"code\":\"0\"}", 3064),
        (200, "{\"code\":0.5}", 3064),
        (200, "{\"code\":null}", 3064),
        (200, "{\"data\":{\"code\":0}}", 3064),
        (200, "{\"a\":true,\"b\":false,\"code\":{}}", 3064),
        (404, "0", 4005),
        (204, "", 4005),
        (302, "0", 4005),
        (500, "0", 4005),
    ];

    fn code(status: u16, body: &[u8]) -> u16 {
        read(status, body).map_or_else(|failure| failure.code(), |()| 0)
    }

    #[test]
    fn only_0_and_objects_with_the_code_0_are_a_yes() {
        for (status, body, expected) in CASES {
            assert_eq!(code(*status, body.as_bytes()), *expected, "{status} {body}");
        }
    }

    #[test]
    fn a_yes_that_is_cut_off_is_none() {
        for (status, body, _) in CASES.iter().filter(|(.., code)| *code == 0) {
            let body = body.trim().as_bytes();
            for len in 0..body.len() {
                assert_ne!(code(*status, &body[..len]), 0, "{len} of {body:?}");
            }
        }
    }

    #[test]
    fn no_bytes_break_the_reader() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let (status, body, _) = CASES[random.usize(..CASES.len())];
            let mut bytes = body.as_bytes().to_vec();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..=bytes.len());
                match random.u8(..3) {
                    0 => bytes.insert(at, random.u8(..)),
                    1 => bytes.truncate(at),
                    _ => bytes.iter_mut().skip(at).take(1).for_each(|b| *b = random.u8(..)),
                }
            }
            let _ = code(status, &bytes);
        }
        let deep = "[".repeat(100_000);
        assert_eq!(code(200, deep.as_bytes()), 3008);
    }

    #[test]
    fn a_server_that_is_silent_is_not_one_that_says_no() {
        let silent = |failure: Failure| failure.is_silence();
        assert!(silent(Failure::Status(502)) && !silent(Failure::Status(404)));
        assert!(silent(fetch::Error::TimedOut(std::time::Duration::ZERO, "").into()));
        assert!(silent(fetch::Error::Http(client::Error::CutOff).into()));
        assert!(!silent(Failure::Body) && !silent(Failure::Code(None)));
        assert!(!silent(fetch::Error::TooLarge(1).into()));
        assert!(!silent(fetch::Error::Redirect("http://a/".into()).into()));
    }
}
