//! Addresses of things on HTTP servers (RFC 3986, RFC 9110 §4.2.1).

use crate::limits::{TLS, URL_MAX};
use crate::proto::authority;
use crate::proto::percent::decode;
use std::fmt::{self, Write as _};

/// An `http://` or `https://` url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `https://`.
    pub secure: bool,
    /// Name or address, in small letters, without brackets.
    pub host: String,
    /// The port; 80, with `https` 443, when it names none.
    pub port: u16,
    /// Path and query as they go into a request: begins with `/`, printable ASCII without spaces.
    pub target: String,
    /// `user:password`, decoded; empty for none.
    pub user: String,
}

/// Why a text is no such url.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// More than [`URL_MAX`] bytes.
    TooLong,
    /// Not `http://`.
    Scheme,
    /// `https://`, and TLS is not in this image.
    Tls,
    /// No host, or not a host and port.
    Host,
    /// A control character.
    Control,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the url has more than {URL_MAX} bytes"),
            Self::Scheme => f.write_str("the url does not begin with http://"),
            Self::Tls => f.write_str("https:// is not in this image, it needs the feature tls"),
            Self::Host => f.write_str("no valid host and port in the url"),
            Self::Control => f.write_str("control character in the url"),
        }
    }
}

impl std::error::Error for Error {}

/// Without user and password, for logs.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority(), self.target)
    }
}

impl Url {
    /// Takes a url apart. A fragment is dropped; what must not stand in a request is encoded.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > URL_MAX {
            return Err(Error::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(Error::Control);
        }
        let (scheme, rest) = text.split_once("://").ok_or(Error::Scheme)?;
        let secure = scheme.eq_ignore_ascii_case("https");
        if !secure && !scheme.eq_ignore_ascii_case("http") {
            return Err(Error::Scheme);
        }
        if secure && !TLS {
            return Err(Error::Tls);
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (user, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (host, port) = authority::split(place, port(secure)).ok_or(Error::Host)?;
        let user = String::from_utf8(decode(user.as_bytes())).map_err(|_| Error::Host)?;
        let host = host.to_ascii_lowercase();
        Ok(Self { secure, host, port, target: encoded(target), user })
    }

    /// Where `location` of an answer to this url leads: a whole url or, from here, a part of one.
    /// User and password go with it only to the same server.
    pub fn join(&self, location: &str) -> Result<Self, Error> {
        let location = location.trim();
        let schemeless = location.split(['/', '?', '#']).next().unwrap_or_default();
        if schemeless.contains(':') {
            return Self::parse(location).map(|url| self.trusting(url));
        }
        if location.starts_with("//") {
            return Self::parse(&format!("{}:{location}", self.scheme()))
                .map(|url| self.trusting(url));
        }
        if location.len() > URL_MAX {
            return Err(Error::TooLong);
        }
        if location.chars().any(char::is_control) {
            return Err(Error::Control);
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let target = match location.bytes().next() {
            None | Some(b'#') => self.target.clone(),
            Some(b'/') => encoded(location),
            Some(b'?') => format!("{path}{}", encoded(location).trim_start_matches('/')),
            Some(_) => {
                let folder = path.rfind('/').and_then(|end| path.get(..=end)).unwrap_or("/");
                encoded(&format!("{folder}{location}"))
            }
        };
        if target.len() > URL_MAX {
            Err(Error::TooLong)
        } else {
            Ok(Self { target, ..self.clone() })
        }
    }

    /// `host:port` as in the header `Host`: without the port when it is that of the scheme.
    pub fn authority(&self) -> String {
        let mut all = authority::join(&self.host, self.port);
        if self.port == port(self.secure) {
            all.truncate(all.rfind(':').unwrap_or(all.len()));
        }
        all
    }

    /// Whether both lead to the same server, asked in the same way.
    pub fn is_same_server(&self, other: &Self) -> bool {
        (self.secure, &self.host, self.port) == (other.secure, &other.host, other.port)
    }

    fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// The value of the header `Authorization`, if the url names a user (RFC 7617).
    pub fn authorization(&self) -> Option<String> {
        (!self.user.is_empty()).then(|| format!("Basic {}", base64(self.user.as_bytes())))
    }

    fn trusting(&self, mut url: Self) -> Self {
        if url.user.is_empty() && url.is_same_server(self) {
            url.user.clone_from(&self.user);
        }
        url
    }
}

fn port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// Path and query without the fragment.
fn encoded(target: &str) -> String {
    let target = target.split('#').next().unwrap_or_default();
    let mut text = String::new();
    if !target.starts_with('/') {
        text.push('/');
    }
    for byte in target.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * i) & 63) as usize);
            let digit = digit.filter(|_| i <= group.len()).copied().unwrap_or(b'=');
            text.push(char::from(digit));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::mutations;

    /// Url; host, port, target, user, as a log shows it.
    type Case = (&'static str, &'static str, u16, &'static str, &'static str, &'static str);

    const CASES: &[Case] = &[
        ("http://a", "a", 80, "/", "", "http://a/"),
        ("HTTP://A.b:8080/x?y=z#f", "a.b", 8080, "/x?y=z", "", "http://a.b:8080/x?y=z"),
        ("http://a?q", "a", 80, "/?q", "", "http://a/?q"),
        ("http://a#f/x", "a", 80, "/", "", "http://a/"),
        ("http://u:p%40@[::1]:80/x", "::1", 80, "/x", "u:p@", "http://[::1]/x"),
        ("http://u@h@a:1", "a", 1, "/", "u@h", "http://a:1/"),
        ("http://a/b c/é%20", "a", 80, "/b%20c/%C3%A9%20", "", "http://a/b%20c/%C3%A9%20"),
        ("http://a:8080", "a", 8080, "/", "", "http://a:8080/"),
    ];

    #[test]
    fn urls_are_taken_apart() {
        for &(text, host, port, target, user, shown) in CASES {
            let url = Url::parse(text).unwrap();
            let got = (url.host.as_str(), url.port, url.target.as_str(), url.user.as_str());
            assert_eq!(got, (host, port, target, user), "{text}");
            assert_eq!(url.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for (text, error) in [
            ("", Error::Scheme),
            ("a/b", Error::Scheme),
            ("ftp://a/", Error::Scheme),
            ("http://", Error::Host),
            ("http:///x", Error::Host),
            ("http://a:0/", Error::Host),
            ("http://a:x/", Error::Host),
            ("http://[::1/", Error::Host),
            ("http://u@/", Error::Host),
            ("http://a b/", Error::Host),
            ("http://a/\r\nX: y", Error::Control),
        ] {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
        assert_eq!(Url::parse(&"x".repeat(URL_MAX + 1)), Err(Error::TooLong));
    }

    #[test]
    fn locations_lead_on_from_where_they_are_told() {
        let from = Url::parse("http://u:p@a:81/b/c?d").unwrap();
        for (location, to, user) in [
            ("http://x/y", "http://x/y", ""),
            ("http://a/y", "http://a/y", ""),
            ("http://A:81/y", "http://a:81/y", "u:p"),
            ("//x:1", "http://x:1/", ""),
            ("/y?z", "http://a:81/y?z", "u:p"),
            ("y", "http://a:81/b/y", "u:p"),
            ("?z", "http://a:81/b/c?z", "u:p"),
            ("", "http://a:81/b/c?d", "u:p"),
            ("/y?u=http://z", "http://a:81/y?u=http://z", "u:p"),
        ] {
            let url = from.join(location).unwrap();
            assert_eq!((url.to_string().as_str(), url.user.as_str()), (to, user), "{location}");
        }
        assert_eq!(from.join("ftp://a/"), Err(Error::Scheme));
        assert_eq!(from.join("/x\u{1}"), Err(Error::Control));
    }

    #[test]
    fn an_image_without_tls_says_so_and_one_with_it_keeps_servers_apart() {
        if !TLS {
            return assert_eq!(Url::parse("https://a/"), Err(Error::Tls));
        }
        for (text, port, shown) in [
            ("HTTPS://A/x", 443, "https://a/x"),
            ("https://a:443", 443, "https://a/"),
            ("https://a:80", 80, "https://a:80/"),
            ("http://a:443", 443, "http://a:443/"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.port, url.to_string().as_str()), (port, shown));
        }
        let from = Url::parse("https://u:p@a/b").unwrap();
        for (location, to, user) in [
            ("//a/c", "https://a/c", "u:p"),
            ("/c", "https://a/c", "u:p"),
            ("https://a:443/c", "https://a/c", "u:p"),
            ("http://a:443/c", "http://a:443/c", ""),
        ] {
            let url = from.join(location).unwrap();
            assert_eq!((url.to_string().as_str(), url.user.as_str()), (to, user), "{location}");
        }
    }

    #[test]
    fn user_and_password_are_encoded() {
        for (user, text) in [
            ("Aladdin:open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("a:bc", "Basic YTpiYw=="),
            ("a:b", "Basic YTpi"),
            ("a:b\u{fe}", "Basic YTpiw74="),
        ] {
            let url = Url { user: user.into(), ..Url::parse("http://a").unwrap() };
            assert_eq!(url.authorization().unwrap(), text);
        }
        assert_eq!(Url::parse("http://a").unwrap().authorization(), None);
    }

    #[test]
    fn whatever_is_taken_can_stand_in_a_request() {
        for &(text, ..) in CASES {
            mutations(text.as_bytes(), |bytes| {
                let Ok(url) = Url::parse(&String::from_utf8_lossy(bytes)) else { return };
                assert!(url.target.starts_with('/'));
                assert!(url.target.bytes().all(|b| b.is_ascii_graphic()), "{}", url.target);
                assert!(url.authority().bytes().all(|b| b.is_ascii_graphic()));
            });
        }
    }
}
