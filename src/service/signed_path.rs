//! Signed URLs of HLS: a playlist is asked for with a signature, its segments by names that have
//! none. So the player is redirected from the signed playlist to `/~EXPIRES-SIGN/…`, and the names
//! in the playlist, which are relative, lead to segments below the same place. Playlists and
//! segments are the same for all viewers, and no playlist is made for one of them.

use crate::config::{Config, HlsStorage, Role, Vhost};
use crate::context::Context;
use crate::io::clock;
use crate::proto::http::{Method, encode_path};
use crate::service::Service;
use crate::service::http::{Answer, Ask, Reply, Router, stream_at};
use crate::service::sign::{check, wants};
use std::rc::Rc;

/// Looks at what is asked for by path.
pub const SERVICE: Service = Service { routes, ..Service::new("sign") };

fn routes(cx: &Rc<Context>, router: &mut Router) {
    if cx.config().vhosts.iter().any(|vhost| is_signed(vhost)) {
        router.ahead(answer);
    }
}

fn is_signed(vhost: &Vhost) -> bool {
    vhost.enabled && wants(&vhost.signed_url, Role::Play)
}

fn answer(ask: &Ask) -> Answer {
    let request = &ask.request;
    if ask.renamed || !matches!(request.method, Method::Get | Method::Head) {
        return Answer::Next;
    }
    let token = token(&request.path);
    let (path, query) = match token {
        Some((expires, sign, path)) => (path, format!("expires={expires}&sign={sign}")),
        None => (request.path.as_str(), request.query.clone()),
    };
    let config = ask.cx.config();
    let known = stream_at(&ask.cx, &request.host, path);
    match known.as_ref().and_then(|key| Some((key, config.block(key.vhost())?))) {
        Some((key, vhost)) => {
            let now = clock::unix() / 1000;
            if let Err(refusal) = check(&vhost.signed_url, Role::Play, key, &query, now) {
                log::warn!("client refused, {refusal}");
                return Reply::status(403).into();
            }
            if token.is_none() && is_signed(vhost) && path.ends_with(".m3u8") {
                return redirect(path, &query).into();
            }
        }
        None if is_of_files(path) && has_signed_files(&config) => {
            log::warn!("client refused, no live stream has {path}. ret=1052");
            return Reply::status(403).into();
        }
        None => {}
    }
    match token {
        None => Answer::Next,
        Some((.., path)) => {
            let mut renamed = (**request).clone();
            (renamed.path, renamed.query) = (path.to_owned(), query);
            Answer::As(Box::new(renamed))
        }
    }
}

/// The time, the signature and the path behind them of `/~EXPIRES-SIGN/path`.
fn token(path: &str) -> Option<(&str, &str, &str)> {
    let rest = path.strip_prefix("/~")?;
    let at = rest.find('/')?;
    let (token, path) = rest.split_at(at);
    let (expires, sign) = token.split_once('-')?;
    Some((expires, sign, path))
}

/// To the place where the signature is part of the path. The way there is a relative one: a proxy
/// may have put something in front.
fn redirect(path: &str, query: &str) -> Reply {
    let value = |name| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    };
    let (expires, sign) = (value("expires"), value("sign"));
    let up = "../".repeat(path.matches('/').count().saturating_sub(1));
    let mut reply = Reply::status(302);
    let to = format!("{up}~{expires}-{sign}{}", encode_path(path));
    reply.headers = vec![("Location", to), ("Cache-Control", "no-store".into())];
    reply
}

/// Whether segments are called so.
fn is_of_files(path: &str) -> bool {
    [".ts", ".m3u8"].iter().any(|end| path.ends_with(end))
}

/// Whether there may be files of streams that this process did not have: from before its start.
fn has_signed_files(config: &Config) -> bool {
    let in_files =
        |vhost: &Rc<Vhost>| vhost.hls.enabled && vhost.hls.hls_storage != HlsStorage::Ram;
    config.vhosts.iter().any(|vhost| is_signed(vhost) && in_files(vhost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_gives_its_signature_back() {
        let found = token("/~17-ab-c_d/live/s.m3u8");
        assert_eq!(found, Some(("17", "ab-c_d", "/live/s.m3u8")));
        for path in ["/live/s.m3u8", "/~17/live/s.m3u8", "/~17-ab", "/", "/~"] {
            assert_eq!(token(path), None, "{path}");
        }
    }

    #[test]
    fn the_redirect_is_relative() {
        let to = |path, query| redirect(path, query).headers[0].1.clone();
        assert_eq!(to("/live/s.m3u8", "expires=7&sign=ab"), "../~7-ab/live/s.m3u8");
        assert_eq!(to("/a/b/s 1.m3u8", "sign=ab&expires=7"), "../../~7-ab/a/b/s%201.m3u8");
        assert_eq!(to("/s.m3u8", "expires=7&sign=ab"), "~7-ab/s.m3u8");
    }
}
