//! Who may read, and who may change something.
//!
//! Against web pages, which can send requests from the browser of somebody who may: pages of other
//! sites are known by `Origin`, `Referer` and `Sec-Fetch-Site`; those that got themselves a name for
//! our address by the name that they use (`Host`). Against everybody else who is not on this
//! machine: the token.

use super::{text, token};
use crate::proto::http::{Method, Request};
use crate::service::http::{Ask, Reply};
use core::net::{Ipv4Addr, Ipv6Addr};

/// Whether the request may be answered at all. Where pages of other sites may not read, a name that
/// is not ours may come from one.
pub(super) fn may_read(ask: &Ask) -> Result<(), Reply> {
    if let Some(name) = ask.request.param("callback").filter(|name| !name.is_empty()) {
        if !ask.crossdomain {
            return Err(text(403, "no JSONP: crossdomain is off\n"));
        }
        if !is_callback(&name) {
            return Err(text(400, "callback: letters, digits, _ . $ only, 64 at most\n"));
        }
    }
    if !ask.crossdomain && !is_ours(ask, &ask.request.host) {
        return Err(unknown_host());
    }
    Ok(())
}

/// The function that JSONP wants called.
pub(super) fn callback(ask: &Ask) -> Option<String> {
    ask.request.param("callback").filter(|name| ask.crossdomain && is_callback(name))
}

fn is_callback(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'$');
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

/// Whether the request may change something.
pub(super) fn may_change(ask: &Ask) -> Result<(), Reply> {
    let request = &*ask.request;
    if callback(ask).is_some() {
        return Err(text(403, "JSONP is for reading\n"));
    }
    let is_get = match request.method {
        Method::Post | Method::Put | Method::Delete => false,
        Method::Get => true,
        _ => return Err(Reply::status(405)),
    };
    if !is_ours(ask, &request.host) {
        return Err(unknown_host());
    }
    if is_foreign(request, is_get) {
        log::warn!("API: refuse {} {} of a web page", request.method.name(), request.path);
        return Err(text(403, "not for web pages of other sites\n"));
    }
    if is_local(ask) || token::fits(ask, given_token(request)) {
        return Ok(());
    }
    log::warn!("API: refuse {} {} of {}, no token", request.method.name(), request.path, ask.peer);
    let mut reply = text(401, "a token is needed: Authorization: Bearer TOKEN (see docs, API)\n");
    reply.headers.push(("WWW-Authenticate", "Bearer".into()));
    Err(reply)
}

/// Whether a page may have sent it that is not from this server. With GET any page: browsers send
/// it for a picture as well.
fn is_foreign(request: &Request, is_get: bool) -> bool {
    if is_get {
        let signs = ["origin", "referer", "sec-fetch-site", "sec-fetch-mode"];
        return signs.iter().any(|name| request.header(name).is_some());
    }
    let all = |name: &'static str| {
        request.headers().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    };
    let same_host = |origin: &str| {
        let host = origin.split_once("://").map_or("", |(_, rest)| rest);
        without_port(host).eq_ignore_ascii_case(&request.host) && !host.contains('/')
    };
    !all("origin").all(same_host) || all("sec-fetch-site").any(|site| site == "cross-site")
}

fn without_port(host: &str) -> &str {
    match host.rfind(']') {
        Some(end) => host.get(..=end).unwrap_or(host),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}

/// Whether `host`, without its port, can only be this server: nobody can have it resolved to
/// another address.
fn is_ours(ask: &Ask, host: &str) -> bool {
    let ipv6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let config = ask.cx.config();
    host == "localhost"
        || host.parse::<Ipv4Addr>().is_ok()
        || ipv6.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
        || config.http_api.hosts.iter().any(|name| name.eq_ignore_ascii_case(host))
}

fn unknown_host() -> Reply {
    text(403, "unknown host: use an address, or name it in http_api { hosts }\n")
}

/// Whether the request comes from this machine, and not from another one through a proxy here.
fn is_local(ask: &Ask) -> bool {
    let through = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
    ask.peer.to_canonical().is_loopback()
        && !through.iter().any(|name| ask.request.header(name).is_some())
}

fn given_token(request: &Request) -> &str {
    let bearer = request.header("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.or(request.header("x-api-token")).unwrap_or_default()
}
