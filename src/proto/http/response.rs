//! The head of an answer.

use std::fmt::Write as _;

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many bytes.
    Known(u64),
    /// It ends when it ends: chunked for HTTP/1.1, else with the connection.
    Open,
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub struct Response<'a> {
    /// 200 and the like.
    pub status: u16,
    /// Empty for none.
    pub content_type: &'a str,
    /// The body's length.
    pub length: Length,
    /// Further headers.
    pub headers: &'a [(&'static str, String)],
}

/// What the status lines says beside the number.
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}

/// Whether an answer of `status` has a body at all (RFC 9110 §6.4.1).
pub(super) const fn has_body(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}

/// The form in which the body goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Chunked,
}

impl Response<'_> {
    /// Appends the head, headers sorted by name.
    pub(super) fn write(&self, form: Form, keep_alive: bool, out: &mut Vec<u8>) {
        let mut lines: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        lines.push(("Connection", if keep_alive { "Keep-Alive" } else { "close" }));
        lines.push(("Server", concat!("runnel/", env!("CARGO_PKG_VERSION"))));
        if !self.content_type.is_empty() {
            lines.push(("Content-Type", self.content_type));
        }
        let length;
        match (self.length, form) {
            (_, Form::Chunked) => lines.push(("Transfer-Encoding", "chunked")),
            (Length::Known(bytes), Form::Plain) if has_body(self.status) => {
                length = bytes.to_string();
                lines.push(("Content-Length", &length));
            }
            _ => {}
        }
        lines.sort_by_key(|(name, _)| *name);
        let mut text = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in lines {
            // A value that was taken from a request must not make lines of its own.
            let value = value.replace(|c: char| c.is_control(), " ");
            // Writing to a String cannot fail.
            let _ = write!(text, "{name}: {value}\r\n");
        }
        text.push_str("\r\n");
        out.extend_from_slice(text.as_bytes());
    }
}

/// `seconds` since 1970 as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
pub fn date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years that begin with March, so that the leap day is the last one; 400 of them are an era.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let mday = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 2, 0) } else { (month - 10, 1) };
    let name = |names: &[&'static str], index: u64| {
        usize::try_from(index).ok().and_then(|i| names.get(i)).copied().unwrap_or_default()
    };
    format!(
        "{}, {mday:02} {} {:04} {:02}:{:02}:{:02} GMT",
        name(&DAYS, days % 7),
        name(&MONTHS, month),
        era * 400 + year + next,
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_164_799, "Wed, 28 Feb 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }

    #[test]
    fn headers_are_sorted_and_cannot_be_split() {
        let headers = [("Location", "/a\r\nX: y".to_owned())];
        let head =
            Response { status: 302, content_type: "", length: Length::Known(0), headers: &headers };
        let mut out = Vec::new();
        head.write(Form::Plain, true, &mut out);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "HTTP/1.1 302 Found");
        assert_eq!(
            lines[1..4],
            ["Connection: Keep-Alive", "Content-Length: 0", "Location: /a  X: y"]
        );
        assert!(lines[4].starts_with("Server: runnel/") && lines[5].is_empty());
    }
}
