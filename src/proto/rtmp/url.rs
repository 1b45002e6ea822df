//! Where a stream lives: from tcUrl and stream name to vhost, app and stream.

use std::fmt;

use crate::config::DEFAULT_VHOST;
use crate::limits;

/// What tcUrl and stream name say together. Nothing in it is empty after [`discovery`] except
/// `param`; nothing in it has control characters, and `app` and `stream` have no `..` component,
/// so that they can name files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// `rtmp`, as sent.
    pub schema: String,
    /// The host of tcUrl, without port; an IPv6 address without brackets.
    pub host: String,
    /// The port of tcUrl; 1935, with `rtmps` 443, when it has none.
    pub port: u16,
    /// The vhost asked for: from `vhost=` or else the host.
    pub vhost: String,
    /// The app, which may hold `/`.
    pub app: String,
    /// The stream, without parameters.
    pub stream: String,
    /// The parameters with their `?`, as sent; those of the stream before those of tcUrl.
    pub param: String,
}

/// Takes `tc_url` and the stream name of play or publish apart. `vhost=` is found in the
/// parameters of both, written with `?`, `&`, `,`, `=` or `...`, and a trailing `/_definst_` is
/// dropped.
pub fn discovery(tc_url: &str, stream: &str) -> Result<Address, Error> {
    let mut address = parse(tc_url)?;
    bounded("stream", stream, limits::URL_MAX)?;
    address.stream = resolve(stream, &mut address.vhost, &mut address.param);
    let address = cleaned(address)?;
    if address.stream.is_empty() { Err(Error::NoStream) } else { Ok(address) }
}

/// As [`discovery`], before a stream is named: what can be known at connect.
pub fn connection(tc_url: &str) -> Result<Address, Error> {
    cleaned(parse(tc_url)?)
}

/// The tcUrl for a connection of our own to `server`, with TLS where it is `secure`; its `port` is
/// left out when it is that of the protocol. The default vhost is not named.
pub fn tc_url(
    secure: bool,
    server: &str,
    port: u16,
    vhost: &str,
    app: &str,
    param: &str,
) -> String {
    let schema = if secure { SECURE } else { "rtmp" };
    let host = if vhost == DEFAULT_VHOST || vhost.is_empty() { server } else { vhost };
    let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
    if port == default_port(schema) {
        format!("{schema}://{open}{host}{close}/{app}{param}")
    } else {
        format!("{schema}://{open}{host}{close}:{port}/{app}{param}")
    }
}

/// Why an address is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// No tcUrl.
    NoTcUrl,
    /// This part of tcUrl is missing or is not what it should be.
    Missing(&'static str),
    /// No stream name.
    NoStream,
    /// This part is longer than its bound.
    TooLong(&'static str, usize),
    /// This part has control characters or a `..`.
    Unsafe(&'static str),
}

impl Error {
    /// The number in logs and in the API.
    pub const fn code(self) -> u16 {
        match self {
            Self::NoTcUrl => 2005,
            Self::NoStream => 2050,
            Self::Missing(_) | Self::TooLong(..) | Self::Unsafe(_) => 2006,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTcUrl => write!(f, "no tcUrl"),
            Self::Missing(part) => write!(f, "no valid {part} in tcUrl"),
            Self::NoStream => write!(f, "no stream name"),
            Self::TooLong(part, max) => write!(f, "{part} is longer than {max} bytes"),
            Self::Unsafe(part) => write!(f, "{part} has control characters or a \"..\""),
        }
    }
}

impl std::error::Error for Error {}

fn parse(tc_url: &str) -> Result<Address, Error> {
    if tc_url.is_empty() {
        return Err(Error::NoTcUrl);
    }
    bounded("tcUrl", tc_url, limits::URL_MAX)?;
    let (schema, rest) = tc_url.split_once("://").ok_or(Error::Missing("schema"))?;
    let (host, app) = rest.split_once('/').ok_or(Error::Missing("app"))?;
    let (host, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match host.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host, None),
        },
    };
    let port = match port {
        Some(port) => port.trim().parse().ok().filter(|&port| port != 0),
        None => Some(default_port(schema)),
    };
    let mut address = Address {
        schema: schema.into(),
        host: host.into(),
        port: port.ok_or(Error::Missing("port"))?,
        vhost: host.into(),
        ..Address::default()
    };
    address.app = resolve(app, &mut address.vhost, &mut address.param);
    Ok(address)
}

/// The name in front of the parameters of `text`; from these, the vhost.
fn resolve(text: &str, vhost: &mut String, param: &mut String) -> String {
    if let Some(at) = text.find('?') {
        *param = text.get(at..).unwrap_or_default().into();
    }
    let text = text.replace("...", "?").replace([',', '&', '='], "?");
    let mut words = text.split('?');
    let name = words.next().unwrap_or_default();
    let mut words = words.skip_while(|&word| word != "vhost").skip(1);
    if let Some(word) = words.next().filter(|word| !word.is_empty()) {
        *vhost = word.into();
    }
    name.strip_suffix("/_definst_").unwrap_or(name).into()
}

fn cleaned(mut address: Address) -> Result<Address, Error> {
    if address.param == DEFAULT_VHOST_PARAM {
        address.param.clear();
    }
    for host in [&mut address.host, &mut address.vhost] {
        host.retain(|c| !matches!(c, '/' | ' ' | '\n' | '\r' | '\t'));
    }
    for name in [&mut address.app, &mut address.stream] {
        name.retain(|c| !matches!(c, ' ' | '\n' | '\r'));
        *name = name.trim_matches('/').into();
    }
    let parts = [
        ("schema", &address.schema),
        ("host", &address.host),
        ("vhost", &address.vhost),
        ("app", &address.app),
    ];
    for (part, text) in parts.into_iter().chain([("stream", &address.stream)]) {
        bounded(part, text, limits::NAME_MAX)?;
        if text.chars().any(char::is_control) || text.split('/').any(|name| name == "..") {
            return Err(Error::Unsafe(part));
        }
    }
    if address.param.chars().any(char::is_control) {
        return Err(Error::Unsafe("param"));
    }
    if let Some((part, _)) = parts.into_iter().find(|(_, text)| text.is_empty()) {
        return Err(Error::Missing(part));
    }
    Ok(address)
}

const fn bounded(part: &'static str, text: &str, max: usize) -> Result<(), Error> {
    if text.len() > max { Err(Error::TooLong(part, max)) } else { Ok(()) }
}

/// RTMP over TLS.
pub const SECURE: &str = "rtmps";

/// The port of a url that names none.
pub fn default_port(schema: &str) -> u16 {
    if schema.eq_ignore_ascii_case(SECURE) { 443 } else { 1935 }
}

const DEFAULT_VHOST_PARAM: &str = "?vhost=__defaultVhost__";

#[cfg(test)]
mod tests {
    use super::*;

    /// tcUrl, stream; host, port, vhost, app, stream, param.
    type Case = (&'static str, &'static str, [&'static str; 6]);

    const CASES: &[Case] = &[
        ("rtmp://ip/app", "s", ["ip", "1935", "ip", "app", "s", ""]),
        ("rtmp://ip:19350/app", "s", ["ip", "19350", "ip", "app", "s", ""]),
        ("rtmp://[::1]:19350/app", "s", ["::1", "19350", "::1", "app", "s", ""]),
        ("rtmp://[::1]/app", "s", ["::1", "1935", "::1", "app", "s", ""]),
        ("rtmp://ip/app?vhost=v", "s", ["ip", "1935", "v", "app", "s", "?vhost=v"]),
        ("rtmp://ip/app...vhost...v", "s", ["ip", "1935", "v", "app", "s", ""]),
        ("rtmp://ip/app,vhost=v", "s", ["ip", "1935", "v", "app", "s", ""]),
        (
            "rtmp://ip/app?a=b&&vhost=v&c=d",
            "s",
            ["ip", "1935", "v", "app", "s", "?a=b&&vhost=v&c=d"],
        ),
        ("rtmp://ip/app?vhost=", "s", ["ip", "1935", "ip", "app", "s", "?vhost="]),
        ("rtmp://ip/app?xvhost=v", "s", ["ip", "1935", "ip", "app", "s", "?xvhost=v"]),
        ("rtmp://ip/app", "s?vhost=v", ["ip", "1935", "v", "app", "s", "?vhost=v"]),
        ("rtmp://ip/app?x=1", "s?key=2", ["ip", "1935", "ip", "app", "s", "?key=2"]),
        ("rtmp://ip/app?x=1", "s", ["ip", "1935", "ip", "app", "s", "?x=1"]),
        ("rtmp://ip/app?vhost=a", "s?vhost=b", ["ip", "1935", "b", "app", "s", "?vhost=b"]),
        (
            "rtmp://ip/app?vhost=__defaultVhost__",
            "s",
            ["ip", "1935", DEFAULT_VHOST, "app", "s", ""],
        ),
        ("rtmp://ip/app/_definst_", "s", ["ip", "1935", "ip", "app", "s", ""]),
        ("rtmp://ip/app/_definst_?vhost=v", "s", ["ip", "1935", "v", "app", "s", "?vhost=v"]),
        ("rtmp://ip/a/b/", "/s/t/", ["ip", "1935", "ip", "a/b", "s/t", ""]),
        ("rtmp://i p\t/a pp\n", " s\r\n", ["ip", "1935", "ip", "app", "s", ""]),
        ("rtmp://ip/直播", "频道", ["ip", "1935", "ip", "直播", "频道", ""]),
        ("rtmp://ip/app", "a..b", ["ip", "1935", "ip", "app", "a..b", ""]),
    ];

    #[test]
    fn the_address_is_found_in_all_spellings() {
        for &(tc_url, stream, [host, port, vhost, app, name, param]) in CASES {
            let found = discovery(tc_url, stream).unwrap();
            let expected = Address {
                schema: "rtmp".into(),
                host: host.into(),
                port: port.parse().unwrap(),
                vhost: vhost.into(),
                app: app.into(),
                stream: name.into(),
                param: param.into(),
            };
            assert_eq!(found, expected, "{tc_url} {stream}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let cases: &[(&str, &str, Error, u16)] = &[
            ("", "s", Error::NoTcUrl, 2005),
            ("ip/app", "s", Error::Missing("schema"), 2006),
            ("://ip/app", "s", Error::Missing("schema"), 2006),
            ("rtmp://ip", "s", Error::Missing("app"), 2006),
            ("rtmp://ip/", "s", Error::Missing("app"), 2006),
            ("rtmp:///app", "s", Error::Missing("host"), 2006),
            ("rtmp://ip:/app", "s", Error::Missing("port"), 2006),
            ("rtmp://ip:0/app", "s", Error::Missing("port"), 2006),
            ("rtmp://ip:70000/app", "s", Error::Missing("port"), 2006),
            ("rtmp://ip/app", "", Error::NoStream, 2050),
            ("rtmp://ip/app", "?vhost=v", Error::NoStream, 2050),
            ("rtmp://ip/app", "//", Error::NoStream, 2050),
        ];
        for &(tc_url, stream, error, code) in cases {
            assert_eq!(discovery(tc_url, stream), Err(error), "{tc_url} {stream}");
            assert_eq!(error.code(), code);
        }
        assert_eq!(connection("rtmp://ip/app").unwrap().stream, "");
    }

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for (tc_url, stream, part) in [
            ("rtmp://ip/../etc", "s", "app"),
            ("rtmp://ip/a/../b", "s", "app"),
            ("rtmp://ip/app", "../s", "stream"),
            ("rtmp://ip/app", "a/..", "stream"),
            ("rtmp://ip/app", "a/. ./b", "stream"),
            ("rtmp://ip/app", "s\0", "stream"),
            ("rtmp://ip/app", "s\u{1b}[0m", "stream"),
            ("rtmp://ip/app\x07", "s", "app"),
            ("rtmp://ip/app", "s?vhost=..", "vhost"),
            ("rtmp://ip/app", "s?a=\n", "param"),
        ] {
            assert_eq!(discovery(tc_url, stream), Err(Error::Unsafe(part)), "{tc_url} {stream}");
        }
    }

    #[test]
    fn long_names_are_refused_and_not_cut() {
        let name = "n".repeat(limits::NAME_MAX);
        assert_eq!(discovery("rtmp://ip/app", &name).unwrap().stream, name);
        let error = discovery("rtmp://ip/app", &(name.clone() + "n"));
        assert_eq!(error, Err(Error::TooLong("stream", limits::NAME_MAX)));
        let error = discovery(&format!("rtmp://ip/{name}n"), "s");
        assert_eq!(error, Err(Error::TooLong("app", limits::NAME_MAX)));
        let error = discovery(&"n".repeat(limits::URL_MAX + 1), "s");
        assert_eq!(error, Err(Error::TooLong("tcUrl", limits::URL_MAX)));
    }

    #[test]
    fn any_text_gives_an_address_or_an_error() {
        let alphabet: Vec<char> = "rtmp://?&=,..vhost/_definst_:[]\0\n é".chars().collect();
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..20_000 {
            let len = random.usize(..60);
            let text: String = (0..len).filter_map(|_| random.choice(&alphabet)).collect();
            let cut = random.usize(..=text.chars().count());
            let stream: String = text.chars().skip(cut).collect();
            let _ = discovery(&text, &stream);
            if let Ok(address) = discovery(&format!("rtmp://ip/{text}"), &stream) {
                assert!(!address.stream.is_empty() && !address.vhost.is_empty());
                assert!(!address.app.split('/').any(|name| name == ".."));
            }
        }
    }

    #[test]
    fn a_url_of_our_own_names_port_and_vhost_when_needed() {
        let plain = |server, port, vhost, param| tc_url(false, server, port, vhost, "app", param);
        assert_eq!(plain("1.2.3.4", 1935, DEFAULT_VHOST, ""), "rtmp://1.2.3.4/app");
        assert_eq!(plain("1.2.3.4", 19350, "v", "?x=1"), "rtmp://v:19350/app?x=1");
        assert_eq!(plain("::1", 19350, "", ""), "rtmp://[::1]:19350/app");
        assert_eq!(tc_url(true, "h", 443, "", "app", ""), "rtmps://h/app");
        assert_eq!(tc_url(true, "h", 1935, "v", "app", ""), "rtmps://v:1935/app");
        assert_eq!(connection("rtmps://h/app").unwrap().port, 443);
        assert_eq!(connection("rtmps://h:1935/app").unwrap().port, 1935);
    }
}
