//! Vhosts, streams and clients.

use super::code;
use super::v1::headed;
use crate::config::Config;
use crate::format::json::Object;
use crate::hub::session::Session;
use crate::hub::{Client, ClientKind};
use crate::io::clock;
use crate::limits::API_LISTED;
use crate::service::http::Ask;
use crate::service::inputs::{Input, Inputs};
use crate::service::stats::{self, Bytes, StreamRow, VhostRow, WINDOWS};
use crate::service::upstreams::{self, Report};
use std::rc::Rc;

/// Clients in an answer, unless `count` says otherwise.
const CLIENTS: usize = 10;

/// `vhosts` or `streams`: all of them, or the one called `id`.
pub(super) fn places(ask: &Ask, name: &str, id: &str) -> String {
    let (cx, stats) = (&ask.cx, stats::of(&ask.cx));
    // Without a number it is all of them, as in the original.
    let id = id.parse::<u32>().unwrap_or(0);
    if name == "vhosts" {
        let rows = stats.vhosts(cx);
        let config = cx.config();
        if id == 0 {
            return headed(ask, |o| {
                o.list("vhosts", |l| {
                    rows.iter().for_each(|row| l.object(|o| vhost(o, row, &config)));
                });
            });
        }
        return match rows.iter().find(|row| row.id == id) {
            Some(row) => headed(ask, |o| o.object("vhost", |o| vhost(o, row, &config))),
            None => code(2048),
        };
    }
    if id == 0 {
        let (start, count) = range(ask, API_LISTED);
        let rows = stats.streams(cx, start, count);
        return headed(ask, |o| {
            o.list("streams", |l| rows.iter().for_each(|row| l.object(|o| stream(o, row))));
        });
    }
    match stats.stream(cx, id) {
        Some(row) => headed(ask, |o| o.object("stream", |o| stream(o, &row))),
        None => code(2048),
    }
}

/// The first clients, or the one called `id`.
pub(super) fn clients(ask: &Ask, id: &str) -> String {
    if let Ok(id) = id.parse() {
        return match client(ask, id) {
            Some((_, client)) => headed(ask, |o| o.object("client", |o| write(o, ask, &client))),
            None => code(2049),
        };
    }
    let (start, count) = range(ask, CLIENTS);
    let all = ask.cx.sessions.all();
    let named = all.iter().filter_map(|session| stats::named(session)).skip(start).take(count);
    headed(ask, |o| {
        o.list("clients", |l| named.for_each(|client| l.object(|o| write(o, ask, &client))));
    })
}

/// Connections of ours to other servers.
pub(super) fn upstreams(ask: &Ask) -> String {
    let (start, count) = range(ask, API_LISTED);
    let reports = upstreams::all(&ask.cx);
    let wanted = reports.iter().skip(start).take(count);
    headed(ask, |o| {
        o.list("upstreams", |l| wanted.for_each(|report| l.object(|o| upstream(o, report))));
    })
}

fn upstream(o: &mut Object<'_>, report: &Report) {
    o.int("id", report.id);
    o.text("kind", report.kind.name());
    o.text("vhost", report.key.vhost());
    o.text("app", report.key.app());
    o.text("name", report.key.stream());
    o.text("server", &report.server);
    o.bool("connected", report.connected.is_some());
    let ms = report.connected.map_or(0, |since| clock::now().saturating_sub(since));
    o.int("connected_ms", ms);
    o.int("recv_bytes", report.traffic.0);
    o.int("send_bytes", report.traffic.1);
    o.int("restarts", report.restarts);
    o.int("skipped", report.skipped);
    o.text("error", &report.error);
}

/// What casters and ingests take in, and engines make.
pub(super) fn inputs(ask: &Ask) -> String {
    let (start, count) = range(ask, API_LISTED);
    let all = ask.cx.part::<Inputs>().all();
    let wanted = all.iter().skip(start).take(count);
    headed(ask, |o| o.list("inputs", |l| wanted.for_each(|row| l.object(|o| input(o, row)))))
}

fn input(o: &mut Object<'_>, input: &Input) {
    o.text("service", input.service);
    o.text("name", &input.name);
    o.text("output", &input.output);
    o.text("state", &input.state().to_string());
    o.int("streams", input.streams());
    o.int("bytes", input.bytes());
    o.int("packets", input.packets());
    o.int("damage", input.damage());
    o.int("age_ms", input.since().map_or(0, |since| clock::now().saturating_sub(since)));
    o.int("starts", input.starts());
    o.int("restarts", input.restarts());
    o.text("error", &input.last_error().map(|failure| failure.text).unwrap_or_default());
}

/// The client called `id`.
pub(super) fn client(ask: &Ask, id: u32) -> Option<(Rc<Session>, Rc<Client>)> {
    let session = ask.cx.sessions.find(id)?;
    let client = stats::named(&session)?;
    Some((session, client))
}

/// `start` and `count` of the query.
fn range(ask: &Ask, usual: usize) -> (usize, usize) {
    let number = |name| ask.request.param(name).and_then(|text| text.parse::<usize>().ok());
    let count = number("count").filter(|count| *count > 0).unwrap_or(usual);
    (number("start").unwrap_or(0), count.min(API_LISTED))
}

fn vhost(o: &mut Object<'_>, row: &VhostRow, config: &Config) {
    let block = config.vhosts.iter().find(|vhost| vhost.name == row.name);
    o.int("id", row.id);
    o.text("name", &row.name);
    o.bool("enabled", block.is_some_and(|vhost| vhost.enabled));
    o.int("clients", row.clients);
    o.int("streams", row.streams);
    traffic(o, &row.bytes);
    o.object("hls", |o| {
        let hls = block.map(|vhost| &vhost.hls).filter(|hls| hls.enabled);
        o.bool("enabled", hls.is_some());
        if let Some(hls) = hls {
            o.float("fragment", hls.hls_fragment.0.as_secs_f64());
        }
    });
}

fn stream(o: &mut Object<'_>, row: &StreamRow) {
    o.int("id", row.id);
    o.text("name", row.key.stream());
    o.int("vhost", row.vhost);
    o.text("app", row.key.app());
    o.int("live_ms", clock::unix());
    o.int("clients", row.clients);
    o.int("frames", row.frames);
    traffic(o, &row.bytes);
    o.object("publish", |o| {
        o.bool("active", row.active);
        o.int("cid", row.publisher);
    });
    match &row.shape.video {
        None => o.null("video"),
        Some(video) => o.object("video", |o| {
            o.text("codec", video.codec);
            o.text("profile", video.profile);
            o.text("level", &video.level);
            o.int("width", video.width);
            o.int("height", video.height);
        }),
    }
    match &row.shape.audio {
        None => o.null("audio"),
        Some(audio) => o.object("audio", |o| {
            o.text("codec", audio.codec);
            o.int("sample_rate", audio.rate);
            o.int("channel", audio.channels);
            o.text("profile", audio.profile);
        }),
    }
}

fn traffic(o: &mut Object<'_>, bytes: &Bytes) {
    o.int("send_bytes", bytes.sent);
    o.int("recv_bytes", bytes.received);
    o.object("kbps", |o| {
        for ((_, received, sent), kbps) in WINDOWS.iter().zip(bytes.kbps) {
            o.int(received, kbps.0);
            o.int(sent, kbps.1);
        }
    });
}

fn write(o: &mut Object<'_>, ask: &Ask, client: &Client) {
    let (vhost, stream) = stats::of(&ask.cx).ids(client);
    o.int("id", client.id);
    o.int("vhost", vhost);
    o.int("stream", stream);
    o.text("ip", &client.ip.to_string());
    o.text("pageUrl", &client.caller.page_url);
    o.text("swfUrl", &client.caller.swf_url);
    o.text("tcUrl", &client.caller.tc_url);
    o.text("url", &client.key.to_string());
    let kind = match client.kind {
        // Consoles know this one; its url says that it is HTTP.
        ClientKind::HttpPlay => ClientKind::Play,
        kind => kind,
    };
    o.text("type", &kind.to_string());
    o.bool("publish", client.publishes());
    o.int("alive", clock::now().saturating_sub(client.since));
}
