//! The rules of a vhost for what is asked for by path: `security` and `refer` hold for the
//! playlists and segments of a stream as for those who play it over a connection.

use super::{Answer, Ask, Reply, Router};
use crate::config::Role;
use crate::context::Context;
use crate::hub::StreamKey;
use crate::service::SERVICES;
use std::rc::Rc;

/// The stream that `path` of `host` is a part of; `None` for what is no part of one.
pub fn stream_at(cx: &Rc<Context>, host: &str, path: &str) -> Option<StreamKey> {
    SERVICES.iter().find_map(|service| (service.stream_at)(cx, host, path))
}

/// Asks the rules before anybody answers, where there are any.
pub(super) fn routes(cx: &Rc<Context>, router: &mut Router) {
    let rules = cx
        .config()
        .vhosts
        .iter()
        .any(|vhost| vhost.enabled && (vhost.security.enabled || vhost.refer.enabled));
    if rules {
        router.ahead(answer);
    }
}

fn answer(ask: &Ask) -> Answer {
    let request = &ask.request;
    let Some(key) = stream_at(&ask.cx, &request.host, &request.path) else { return Answer::Next };
    let config = ask.cx.config();
    let Some(vhost) = config.block(key.vhost()) else { return Answer::Next };
    let page = request.header("referer").unwrap_or_default();
    if let Err(why) = vhost.admit(Role::Play, ask.peer, page) {
        log::warn!("client refused, {why}");
        return Reply::status(403).into();
    }
    Answer::Next
}
