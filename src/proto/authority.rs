//! `host:port` as it stands in urls and in the configuration (RFC 3986 §3.2).

use core::net::Ipv6Addr;

/// Takes `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address apart; `port` where there
/// is none. The host comes without brackets. `None` for no host, for characters that no host has,
/// and for a port that is none.
pub fn split(text: &str, port: u16) -> Option<(&str, u16)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, rest)
        }
        None if text.parse::<Ipv6Addr>().is_ok() => (text, ""),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
        None if rest.is_empty() => port,
        _ => return None,
    };
    let named = !host.is_empty() && host.bytes().all(is_of_host) && port != 0;
    named.then_some((host, port))
}

/// `host` in front of a port: an IPv6 address in brackets.
pub fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:%".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        for (text, want) in [
            ("a", Some(("a", 80))),
            ("a.example:8080", Some(("a.example", 8080))),
            ("10.0.0.1:1", Some(("10.0.0.1", 1))),
            ("[::1]", Some(("::1", 80))),
            ("[::1]:1935", Some(("::1", 1935))),
            ("fe80::1", Some(("fe80::1", 80))),
            ("", None),
            (":80", None),
            ("a:", None),
            ("a:0", None),
            ("a:65536", None),
            ("a:+1", None),
            ("a:1:2", None),
            ("[a]:1", None),
            ("[::1", None),
            ("[::1]x", None),
            ("a b", None),
            ("a/b", None),
            ("a\r\nb", None),
            ("ä", None),
        ] {
            assert_eq!(split(text, 80), want, "{text}");
            if let Some((host, port)) = want {
                assert_eq!(split(&join(host, port), 1), Some((host, port)));
            }
        }
    }
}
