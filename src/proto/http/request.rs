//! The head of a request.

use super::Error;
use super::body::{Body, content_length};
use crate::limits::{HTTP_HEADERS, URL_MAX};
use crate::proto::percent::decode;
use std::fmt::Write as _;

/// What is asked to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    /// Any other.
    Other,
}

impl Method {
    /// As it stands in a request.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Other => "other",
        }
    }

    fn parse(name: &str) -> Self {
        let known = [Self::Get, Self::Head, Self::Post, Self::Put, Self::Delete, Self::Options];
        known.into_iter().find(|m| m.name() == name).unwrap_or(Self::Other)
    }
}

/// A request without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked to be done.
    pub method: Method,
    /// Percent-decoded, begins with `/`, at most [`URL_MAX`] bytes. Without `.`, `..`, empty parts
    /// and control characters, so that no part of it leads upwards. `*` for the server as a whole.
    pub path: String,
    /// What follows `?`, as it came; empty for none.
    pub query: String,
    /// The host in small letters, without its port; empty for none.
    pub host: String,
    /// HTTP/1.1, not 1.0.
    pub is_1_1: bool,
    /// The client wants the connection for more requests.
    pub keep_alive: bool,
    /// The body's length if the head tells it; 0 for no body, `None` for a chunked one.
    pub length: Option<u64>,
    headers: Vec<(String, String)>,
}

impl Request {
    /// The value of the header `name`, whatever the case of its letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Whether it says nothing of its body, though its method has one. By RFC 9112 §6.3 there is
    /// none then; some senders of streams mean one that goes on until they close the connection
    /// ([`Server::open_body`](super::Server::open_body)).
    pub fn is_silent_on_body(&self) -> bool {
        matches!(self.method, Method::Post | Method::Put)
            && self.length == Some(0)
            && self.header("content-length").is_none()
    }

    /// All headers in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The value of the parameter `name` of the query, decoded.
    pub fn param(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.into_iter().find(|(n, _)| *n == name)?;
        let bytes = decode(value.replace('+', " ").as_bytes());
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Reads the head that `bytes` begins with, and the form of the body that follows. `None`:
    /// there is more to come.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, Body, usize)>, Error> {
        let mut lines = [httparse::EMPTY_HEADER; HTTP_HEADERS];
        let mut head = httparse::Request::new(&mut lines);
        let len = match head.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(Error::TooLong),
            Err(httparse::Error::Version) => return Err(Error::Version),
            Err(_) => return Err(Error::Malformed("request line or header")),
        };
        let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
        let headers: Vec<_> =
            head.headers.iter().map(|h| (h.name.to_owned(), text(h.value))).collect();
        let (authority, path, query) = target(head.path.unwrap_or_default())?;
        let mut request = Self {
            method: Method::parse(head.method.unwrap_or_default()),
            path,
            query: query.to_owned(),
            host: String::new(),
            is_1_1: head.version == Some(1),
            keep_alive: false,
            length: Some(0),
            headers,
        };
        let host = authority.or(request.header("host")).unwrap_or_default();
        request.host = without_port(host).to_ascii_lowercase();
        let connection = request.header("connection").unwrap_or_default().to_ascii_lowercase();
        let says = |word: &str| connection.split(',').any(|w| w.trim() == word);
        request.keep_alive = if request.is_1_1 { !says("close") } else { says("keep-alive") };
        let body = request.body()?;
        request.length = body.length();
        Ok(Some((request, body, len)))
    }

    /// The form of the body (RFC 9112 §6.3). What two readers could understand differently is
    /// refused.
    fn body(&self) -> Result<Body, Error> {
        let all = |name: &'static str| {
            self.headers().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
        };
        let length = content_length(all("content-length")).map_err(Error::Malformed)?;
        let mut codings = all("transfer-encoding");
        match (codings.next(), codings.next()) {
            (None, _) => Ok(Body::of_length(length.unwrap_or(0))),
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => {
                if length.is_some() || !self.is_1_1 {
                    return Err(Error::Malformed("Transfer-Encoding where none may be"));
                }
                Ok(Body::chunked())
            }
            _ => Err(Error::Coding),
        }
    }
}

/// `path` as it is written in a url or a Location header.
pub fn encode_path(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Authority (of the absolute form), path and query of a request target.
fn target(target: &str) -> Result<(Option<&str>, String, &str), Error> {
    let (rest, query) = target.split_once('?').unwrap_or((target, ""));
    if rest.len() > URL_MAX || query.len() > URL_MAX {
        return Err(Error::PathTooLong);
    }
    if rest == "*" {
        return Ok((None, rest.to_owned(), query));
    }
    if rest.starts_with('/') {
        return Ok((None, path(rest)?, query));
    }
    let (_, rest) = rest.split_once("://").ok_or(Error::Malformed("request target"))?;
    let (authority, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Ok((Some(authority), path(rest)?, query))
}

fn path(raw: &str) -> Result<String, Error> {
    let decoded = String::from_utf8(decode(raw.as_bytes()));
    let decoded = decoded.map_err(|_| Error::Path("not UTF-8"))?;
    if decoded.chars().any(char::is_control) {
        return Err(Error::Path("control character"));
    }
    let mut path = String::new();
    for part in decoded.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(Error::Path("..")),
            part => {
                path.push('/');
                path.push_str(part);
            }
        }
    }
    if path.is_empty() || decoded.ends_with('/') || decoded.ends_with("/.") {
        path.push('/');
    }
    Ok(path)
}

fn without_port(host: &str) -> &str {
    if let Some(end) = host.find(']') {
        return host.get(..=end).unwrap_or(host);
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Result<Request, Error> {
        Request::parse(text.as_bytes()).map(|r| r.unwrap().0)
    }

    fn of_target(target: &str) -> Result<Request, Error> {
        request(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
    }

    /// Request target, path, query.
    const CASES: &[(&str, &str, &str)] = &[
        ("/", "/", ""),
        ("/live/s.flv", "/live/s.flv", ""),
        ("/live//./s.flv?a=1&b", "/live/s.flv", "a=1&b"),
        ("/a/", "/a/", ""),
        ("/a/.", "/a/", ""),
        ("//", "/", ""),
        ("/%41%2fb", "/A/b", ""),
        ("/a%zz%", "/a%zz%", ""),
        ("/%E2%82%AC", "/€", ""),
        ("/a..b/...", "/a..b/...", ""),
        ("http://h:80/x?y", "/x", "y"),
        ("http://h", "/", ""),
        ("*", "*", ""),
    ];

    #[test]
    fn paths_are_decoded_and_made_plain() {
        for (target, path, query) in CASES {
            let request = of_target(target).unwrap();
            assert_eq!((request.path.as_str(), request.query.as_str()), (*path, *query));
        }
    }

    #[test]
    fn paths_that_lead_astray_are_refused() {
        for target in ["/..", "/a/../b", "/%2e%2e/x", "/a/%2e.", "/..%2fetc", "/a%00b", "/%0a"] {
            assert!(matches!(of_target(target), Err(Error::Path(_))), "{target}");
        }
        assert_eq!(of_target("/%ff"), Err(Error::Path("not UTF-8")));
        assert_eq!(of_target(&format!("/{}", "n".repeat(4096))), Err(Error::PathTooLong));
        assert!(of_target("nowhere").is_err());
    }

    #[test]
    fn hosts_lose_their_port() {
        for (line, host) in [("A.com:8080", "a.com"), ("[::1]:80", "[::1]"), ("b", "b")] {
            let got = request(&format!("GET / HTTP/1.1\r\nHost: {line}\r\n\r\n")).unwrap();
            assert_eq!(got.host, host);
        }
        assert_eq!(of_target("http://C.de:1/").unwrap().host, "c.de");
    }

    #[test]
    fn connections_are_kept_as_the_version_says() {
        for (version, line, kept) in [
            ("1.1", "", true),
            ("1.1", "Connection: Upgrade, CLOSE\r\n", false),
            ("1.0", "", false),
            ("1.0", "connection: Keep-Alive\r\n", true),
        ] {
            let got = request(&format!("GET / HTTP/{version}\r\n{line}\r\n")).unwrap();
            assert_eq!(got.keep_alive, kept, "{version} {line}");
        }
    }

    #[test]
    fn bodies_that_could_be_read_in_two_ways_are_refused() {
        for lines in [
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert!(request(&format!("POST / HTTP/1.1\r\n{lines}\r\n")).is_err(), "{lines}");
        }
        assert!(request("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        let twice = "POST / HTTP/1.1\r\nContent-Length: 7\r\ncontent-length: 7\r\n\r\n";
        assert_eq!(request(twice).unwrap().length, Some(7));
    }

    #[test]
    fn parameters_are_decoded() {
        let request = of_target("/?a=x+y%26&b&start=12").unwrap();
        assert_eq!(request.param("a").as_deref(), Some("x y&"));
        assert_eq!(request.param("b").as_deref(), Some(""));
        assert_eq!(request.param("start").as_deref(), Some("12"));
        assert_eq!(request.param("c"), None);
    }

    #[test]
    fn an_encoded_path_is_read_as_it_was() {
        for path in ["/a b", "/€/x?y", "/%41", "/a;b=c", "/\"<>"] {
            assert_eq!(of_target(&encode_path(path)).unwrap().path, path);
        }
    }
}
