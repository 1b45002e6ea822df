//! rtsp:// addresses.

use super::auth::Credentials;
use crate::limits::URL_MAX;
use crate::proto::percent::decode;

/// The port of RTSP (RFC 2326 §3.2).
const PORT: u16 = 554;

/// The parts of `rtsp://user:password@host:port/path?query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Name or password, percent-decoded.
    pub credentials: Option<Credentials>,
    /// The host in small letters; an IPv6 address without its brackets.
    pub host: String,
    /// The port, 554 where none is given.
    pub port: u16,
    /// As it came, begins with `/`, or is empty.
    pub raw_path: String,
    /// What follows `?`, as it came; empty for none.
    pub query: String,
    authority: String,
}

impl Url {
    /// Reads a url of [`URL_MAX`] bytes at most. `None`: it is none, or of another scheme.
    pub fn parse(text: &str) -> Option<Self> {
        let scheme = text.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("rtsp://"))?;
        let bad = |c: char| c.is_control() || c.is_whitespace();
        if text.len() > URL_MAX || text.contains(bad) {
            return None;
        }
        let rest = text.get(scheme.len()..)?;
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        // A password may have an @ of its own.
        let (login, authority) = match authority.rsplit_once('@') {
            Some((login, authority)) => (Some(login), authority),
            None => (None, authority),
        };
        let credentials = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            Credentials { user: decode_lossy(user), password: decode_lossy(password) }
        });
        let (host, port) = match authority.strip_prefix('[') {
            Some(inner) => inner.split_once(']')?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some("") => PORT,
            Some(digits) => digits.parse().ok().filter(|&port| port > 0)?,
            None if port.is_empty() => PORT,
            None => return None,
        };
        if host.is_empty() {
            return None;
        }
        let (raw_path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Some(Self {
            credentials,
            host: host.to_ascii_lowercase(),
            port,
            raw_path: raw_path.to_owned(),
            query: query.to_owned(),
            authority: authority.to_owned(),
        })
    }

    /// The url as it stands in requests: without credentials.
    pub fn request_uri(&self) -> String {
        let Self { authority, raw_path, query, .. } = self;
        let path = if raw_path.is_empty() && query.is_empty() { "/" } else { raw_path };
        let mark = if query.is_empty() { "" } else { "?" };
        format!("rtsp://{authority}{path}{mark}{query}")
    }

    /// The path, percent-decoded, without its leading `/`, and app and stream of it: the stream is
    /// the last part, `.sdp` removed. `None` when one is missing, a part leads upwards, or it is
    /// not UTF-8 or has control characters.
    pub fn app_and_stream(&self) -> Option<(String, String)> {
        let path = String::from_utf8(decode(self.raw_path.as_bytes())).ok()?;
        if path.chars().any(char::is_control) {
            return None;
        }
        let parts: Vec<_> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        let (last, app) = parts.split_last()?;
        let stream = last.strip_suffix(".sdp").unwrap_or(last);
        if app.is_empty() || stream.is_empty() || parts.contains(&"..") {
            return None;
        }
        Some((app.join("/"), stream.to_owned()))
    }
}

/// The url of a track: `control` as it is said in an SDP that was described at `base` (RFC 2326
/// §C.1.1). Where `base` has a query the track goes behind it, as cameras expect.
pub(super) fn resolve(base: &str, control: &str) -> String {
    if control.is_empty() || control == "*" {
        return base.to_owned();
    }
    if control.contains("://") {
        return control.to_owned();
    }
    if control.starts_with('/') {
        let start = base.find("://").map_or(0, |at| at + 3);
        let authority = base.get(start..).and_then(|rest| rest.find('/'));
        let end = authority.map_or(base.len(), |at| start + at);
        return format!("{}{control}", base.get(..end).unwrap_or(base));
    }
    let slash = if base.ends_with('/') { "" } else { "/" };
    format!("{base}{slash}{control}")
}

fn decode_lossy(text: &str) -> String {
    String::from_utf8_lossy(&decode(text.as_bytes())).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::mutations;

    /// Url, user and password, host, port, app and stream, as requested.
    type Case = (
        &'static str,
        Option<(&'static str, &'static str)>,
        &'static str,
        u16,
        Option<(&'static str, &'static str)>,
        &'static str,
    );

    const CASES: &[Case] = &[
        (
            "rtsp://127.0.0.1:8554/live/livestream.sdp",
            None,
            "127.0.0.1",
            8554,
            Some(("live", "livestream")),
            "rtsp://127.0.0.1:8554/live/livestream.sdp",
        ),
        (
            "RTSP://Admin:p%40ss:w@rd@Cam/Streaming/Channels/101?a=1/2",
            Some(("Admin", "p@ss:w@rd")),
            "cam",
            554,
            Some(("Streaming/Channels", "101")),
            "rtsp://Cam/Streaming/Channels/101?a=1/2",
        ),
        (
            "rtsp://[::1]:99/a//b/./c",
            None,
            "::1",
            99,
            Some(("a/b", "c")),
            "rtsp://[::1]:99/a//b/./c",
        ),
        ("rtsp://h", None, "h", 554, None, "rtsp://h/"),
        ("rtsp://h?x", None, "h", 554, None, "rtsp://h?x"),
        ("rtsp://h/only", None, "h", 554, None, "rtsp://h/only"),
        ("rtsp://h/a/../b/c", None, "h", 554, None, "rtsp://h/a/../b/c"),
        ("rtsp://h/a/%2e%2e/c", None, "h", 554, None, "rtsp://h/a/%2e%2e/c"),
        ("rtsp://h/a/%0ac", None, "h", 554, None, "rtsp://h/a/%0ac"),
    ];

    #[test]
    fn a_url_has_its_parts() {
        for (text, login, host, port, name, uri) in CASES {
            let url = Url::parse(text).unwrap();
            let got = url.credentials.as_ref().map(|c| (&*c.user, &*c.password));
            assert_eq!((got, &*url.host, url.port), (*login, *host, *port), "{text}");
            let got = url.app_and_stream();
            assert_eq!(got.as_ref().map(|(app, stream)| (&**app, &**stream)), *name, "{text}");
            assert_eq!(url.request_uri(), *uri);
            mutations(text.as_bytes(), |changed| {
                if let Some(url) = Url::parse(&String::from_utf8_lossy(changed)) {
                    assert!(
                        url.app_and_stream().is_none_or(|(app, _)| !app.contains("..")
                            || !app.split('/').any(|part| part == ".."))
                    );
                }
            });
        }
        for text in [
            "",
            "rtsp:/",
            "http://h/a",
            "rtsp://",
            "rtsp://:1/",
            "rtsp://h:0/",
            "rtsp://h:x",
            "rtsp://[::1",
            "rtsp://[::1]x/",
            "rtsp://h/a b",
            "rtsp://h/\r\n",
        ] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
    }

    #[test]
    fn controls_are_put_behind_the_base() {
        for (base, control, want) in [
            ("rtsp://h/a", "*", "rtsp://h/a"),
            ("rtsp://h/a", "", "rtsp://h/a"),
            ("rtsp://h/a", "trackID=1", "rtsp://h/a/trackID=1"),
            ("rtsp://h/a/", "trackID=1", "rtsp://h/a/trackID=1"),
            ("rtsp://h/a?b=1", "trackID=1", "rtsp://h/a?b=1/trackID=1"),
            ("rtsp://h/a", "rtsp://o/t", "rtsp://o/t"),
            ("rtsp://h:1/a/b", "/c/t", "rtsp://h:1/c/t"),
            ("rtsp://h", "/c/t", "rtsp://h/c/t"),
        ] {
            assert_eq!(resolve(base, control), want);
        }
    }
}
