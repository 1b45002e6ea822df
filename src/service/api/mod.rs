//! The HTTP API: what SRS 2.0 answers below `/api/v1/`, with its field names and types, the raw API
//! of 3.0, `/metrics` and `/healthz`.
//!
//! Reading is as open as in the original. Whatever changes something goes by `guard` first.

mod guard;
mod held;
mod lists;
mod metrics;
mod raw;
mod system;
mod token;
mod v1;

use crate::context::Context;
use crate::format::json::object;
use crate::hub::session::Kick;
use crate::io::log::{next_id, traced};
use crate::limits::API_BODY;
use crate::proto::http::Method;
use crate::service::http::{self, Answer, Ask, Cached, Reply, Router};
use crate::service::{Port, SERVICES, Service};
use std::rc::Rc;

/// Answers where `http_api` says.
pub const SERVICE: Service = Service {
    port: Some(Port {
        name: "API",
        endpoints: |config| {
            config.http_api.enabled.then_some(config.http_api.listen).into_iter().collect()
        },
        serve: |socket, id, peer, cx| Box::pin(http::serve(socket, id, peer, cx, site)),
    }),
    start: |cx| cx.spawner.spawn(traced(next_id(), token::announce(cx.clone()))),
    routes: |_, router| {
        router.on("/api/v1/versions", answer);
        // A file of the user's goes before it.
        router.last(|ask| match ask.request.path.as_str() {
            "/healthz" => healthz(ask),
            _ => Answer::Next,
        });
    },
    api_routes: |_, router| router.last(answer),
    ..Service::new("api")
};

/// What is kept for the port of `http_api`.
#[derive(Default)]
struct Site(Cached);

fn site(cx: &Rc<Context>) -> Rc<Router> {
    http::cached(cx, &cx.part::<Site>().0, |config| {
        let mut router = Router::default();
        (router.crossdomain, router.read_only) = (config.http_api.crossdomain, true);
        for service in SERVICES {
            (service.api_routes)(cx, &mut router);
        }
        router
    })
}

/// The host that the original has for a test of virtual hosts.
const ERROR_HOST: &str = "error.srs.com";

fn answer(ask: &Ask) -> Answer {
    let path = ask.request.path.as_str();
    let path = path.strip_suffix('/').unwrap_or(path);
    if ask.request.host == ERROR_HOST && path != "/api/v1/tests/errors" {
        return Answer::Next;
    }
    if let Err(refused) = guard::may_read(ask) {
        return refused.into();
    }
    match path {
        "/metrics" => return metrics::answer(ask),
        "/healthz" => return healthz(ask),
        "/api" => return json(ask, &v1::api(ask)),
        "/api/v1" => return json(ask, &v1::index(ask)),
        _ => {}
    }
    let Some(rest) = path.strip_prefix("/api/v1/") else { return Answer::Next };
    let (name, id) = rest.split_once('/').unwrap_or((rest, ""));
    if let Some((_, tell)) = READ.iter().find(|(path, _)| *path == rest) {
        return json(ask, &tell(ask));
    }
    match (name, id) {
        ("tests", "redirects") => v1::redirect(ask),
        ("raw", "") => raw(ask),
        ("vhosts" | "streams", id) => match method(ask) {
            Method::Get | Method::Head => json(ask, &lists::places(ask, name, id)),
            _ => Reply::status(405).into(),
        },
        ("clients", id) => match method(ask) {
            Method::Get | Method::Head => json(ask, &lists::clients(ask, id)),
            Method::Delete => match guard::may_change(ask) {
                Ok(()) => kick(ask, id),
                Err(refused) => refused.into(),
            },
            _ => Reply::status(405).into(),
        },
        _ => Answer::Next,
    }
}

/// Makes the answer to a request.
type Tell = fn(&Ask) -> String;

/// What only tells, whatever the method.
const READ: &[(&str, Tell)] = &[
    ("versions", v1::versions),
    ("summaries", |ask| crate::service::stats::summaries(&ask.cx)),
    ("rusages", system::rusages),
    ("self_proc_stats", system::self_proc_stats),
    ("system_proc_stats", system::system_proc_stats),
    ("meminfos", system::meminfos),
    ("authors", v1::authors),
    ("features", v1::features),
    ("clusters", v1::clusters),
    ("upstreams", lists::upstreams),
    ("inputs", lists::inputs),
    ("requests", v1::requests),
    ("tests/requests", v1::requests),
    ("tests/errors", |_| code(100)),
];

/// What is to be done. With JSONP the url may say it, as it does in the original: only to read.
fn method(ask: &Ask) -> Method {
    if guard::callback(ask).is_some() {
        return match ask.request.param("method").as_deref() {
            None | Some("" | "GET") => Method::Get,
            Some(_) => Method::Other,
        };
    }
    ask.request.method
}

fn kick(ask: &Ask, id: &str) -> Answer {
    let found = id.parse().ok().and_then(|id| lists::client(ask, id));
    let Some((session, client)) = found else { return json(ask, &code(2049)) };
    log::warn!("kickoff client id={} ok, {}", client.id, client.key);
    session.kick(Kick::Operator);
    json(ask, &code(0))
}

/// The raw API, whose parameters may be in the url or, as JSON, in the body.
fn raw(ask: &Ask) -> Answer {
    let has_body = ask.request.length != Some(0);
    if !has_body || !matches!(ask.request.method, Method::Post | Method::Put) {
        return raw::answer(ask, raw::Params::default());
    }
    let ask = ask.clone();
    Answer::Body(
        API_BODY,
        Box::new(move |body| match raw::Params::parse(&body) {
            Ok(params) => raw::answer(&ask, params),
            Err(e) => text(400, e.to_string()).into(),
        }),
    )
}

fn healthz(ask: &Ask) -> Answer {
    if !matches!(ask.request.method, Method::Get | Method::Head) {
        return Reply::status(405).into();
    }
    let mut reply = match ask.cx.leaving.get() {
        false => Reply::new("text/plain; charset=utf-8", &b"ok\n"[..]),
        true => text(503, "leaving\n"),
    };
    reply.headers.push(("Cache-Control", "no-store".into()));
    reply.into()
}

/// `{"code":…}`.
fn code(code: u16) -> String {
    object(|o| o.int("code", code))
}

/// An answer in JSON, or in JSONP where that is asked for.
fn json(ask: &Ask, text: &str) -> Answer {
    let (content_type, text) = match guard::callback(ask) {
        None => ("application/json", text.to_owned()),
        Some(name) => ("text/javascript", format!("{name}({text})")),
    };
    let mut reply = match held::body(text) {
        Some(body) => Reply::new(content_type, body),
        None => return Reply::status(503).into(),
    };
    reply.headers.push(("Cache-Control", "no-cache".into()));
    reply.headers.push(("X-Content-Type-Options", "nosniff".into()));
    reply.into()
}

/// A status with words of our own.
fn text(status: u16, words: impl Into<String>) -> Reply {
    Reply { body: words.into().into(), ..Reply::status(status) }
}

#[cfg(test)]
mod tests;
