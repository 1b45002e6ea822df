//! What does not change: the index, versions, features; and the tests of the original.

use crate::format::json::object;
use crate::io::clock;
use crate::proto::http::date;
use crate::service::http::{Answer, Ask, Reply};
use crate::service::{FEATURES, stats};

pub(super) fn api(ask: &Ask) -> String {
    headed(ask, |o| o.object("urls", |o| o.text("v1", "the api version 1.0")))
}

pub(super) fn index(ask: &Ask) -> String {
    let urls = [
        ("versions", "the version of the server"),
        ("summaries", "the summary(pid, argv, pwd, cpu, mem) of the server"),
        ("rusages", "the rusage of the server"),
        ("self_proc_stats", "the self process stats"),
        ("system_proc_stats", "the system process stats"),
        ("meminfos", "the meminfo of system"),
        ("authors", "the license, copyright, authors and contributors"),
        ("features", "the supported features"),
        ("requests", "the request itself, for http debug"),
        ("vhosts", "the vhosts, or one of them: vhosts/ID"),
        ("streams", "the streams, or one of them: streams/ID, ?start=&count="),
        ("clients", "the first 10 clients, or one of them: clients/ID, ?start=&count="),
        ("upstreams", "the connections of edges and forwards, ?start=&count="),
        ("inputs", "what casters and ingests take in and engines make, ?start=&count="),
        ("raw", "the raw api, for the configuration: ?rpc=raw|query|reload|update"),
        ("clusters", "origin cluster server API"),
    ];
    let tests = [
        ("requests", "show the request info"),
        ("errors", "always return an error 100"),
        ("redirects", "always redirect to /api/v1/tests/errors"),
        ("[vhost]", "http vhost for http://error.srs.com:1985/api/v1/tests/errors"),
    ];
    headed(ask, |o| {
        o.object("urls", |o| {
            urls.iter().for_each(|(name, text)| o.text(name, text));
            o.object("tests", |o| tests.iter().for_each(|(name, text)| o.text(name, text)));
        });
    })
}

pub(super) fn versions(ask: &Ask) -> String {
    let number = |text: &str| text.parse::<u32>().unwrap_or_default();
    headed(ask, |o| {
        o.object("data", |o| {
            o.int("major", number(env!("CARGO_PKG_VERSION_MAJOR")));
            o.int("minor", number(env!("CARGO_PKG_VERSION_MINOR")));
            o.int("revision", number(env!("CARGO_PKG_VERSION_PATCH")));
            o.text("version", env!("CARGO_PKG_VERSION"));
        });
    })
}

pub(super) fn authors(ask: &Ask) -> String {
    headed(ask, |o| {
        o.object("data", |o| {
            o.text("primary", env!("CARGO_PKG_NAME"));
            o.text("license", env!("CARGO_PKG_LICENSE"));
            o.text("copyright", "Copyright (c) the runnel authors");
            o.text("authors", "the runnel authors");
            o.text("contributors_link", env!("CARGO_PKG_REPOSITORY"));
            o.text("contributors", "the runnel authors");
        });
    })
}

/// The names of the original, and which part of ours stands for each.
const PARTS: &[(&str, &[&str])] = &[
    ("ssl", &["digest"]),
    ("hls", &["hls"]),
    ("hds", &["hds"]),
    ("callback", &["hooks"]),
    ("api", &["api"]),
    ("httpd", &["static-files"]),
    ("dvr", &["dvr"]),
    ("transcode", &["transcode"]),
    ("ingest", &["ingest"]),
    ("stat", &["api"]),
    ("nginx", &[]),
    ("ffmpeg", &[]),
    ("stream_caster", &["caster-mpegts", "caster-rtsp", "caster-flv"]),
    ("complex_send", &["api"]),
    ("tcp_nodelay", &["api"]),
    ("so_sendbuf", &["api"]),
    ("mr", &["api"]),
];

pub(super) fn features(ask: &Ask) -> String {
    headed(ask, |o| {
        o.object("data", |o| {
            for (name, parts) in PARTS {
                o.bool(name, parts.iter().any(|part| FEATURES.contains(part)));
            }
        });
    })
}

/// There is no cluster of origins: nobody else has the stream.
pub(super) fn clusters(ask: &Ask) -> String {
    object(|o| {
        o.int("code", 0_u32);
        o.object("data", |o| {
            o.object("query", |o| {
                for name in ["ip", "vhost", "app", "stream"] {
                    o.text(name, &ask.request.param(name).unwrap_or_default());
                }
            });
            o.null("origin");
        });
    })
}

/// Tells a request to whoever sent it; what is secret in it stays out of screenshots.
pub(super) fn requests(ask: &Ask) -> String {
    let request = &ask.request;
    headed(ask, |o| {
        o.object("data", |o| {
            let mark = if request.query.is_empty() { "" } else { "?" };
            o.text("uri", &format!("{}{mark}{}", request.path, request.query));
            o.text("path", &request.path);
            o.text("METHOD", request.method.name());
            o.object("headers", |o| {
                let secret = ["authorization", "x-api-token", "cookie"];
                for (name, value) in request.headers() {
                    let hidden = secret.iter().any(|s| name.eq_ignore_ascii_case(s));
                    o.text(name, if hidden { "..." } else { value });
                }
            });
            o.object("server", |o| {
                // Its name is misspelt in the original.
                o.text("sigature", env!("CARGO_PKG_NAME"));
                o.text("name", env!("CARGO_PKG_NAME"));
                o.text("version", env!("CARGO_PKG_VERSION"));
                o.text("link", env!("CARGO_PKG_REPOSITORY"));
                o.text("time", &date(clock::unix() / 1000));
            });
        });
    })
}

pub(super) fn redirect(ask: &Ask) -> Answer {
    let query = ask.request.query.as_str();
    let mark = if query.is_empty() { "" } else { "?" };
    let mut reply = Reply::status(301);
    reply.headers.push(("Location", format!("/api/v1/tests/errors{mark}{query}")));
    reply.into()
}

/// An object that begins as most answers do.
pub(super) fn headed(ask: &Ask, fill: impl FnOnce(&mut crate::format::json::Object<'_>)) -> String {
    object(|o| {
        o.int("code", 0_u32);
        o.int("server", stats::of(&ask.cx).server());
        fill(o);
    })
}
