//! The page at `/`: what is live, a player, and the addresses for other programs.

use crate::config::{DEFAULT_VHOST, HlsStorage, Vhost};
use crate::context::Context;
use crate::format::json::{Object, object};
use crate::limits::STREAMS_LISTED;
use crate::proto::http::{Method, encode_path};
use crate::service::http::{Answer, Ask, Reply, Router};
use crate::service::stats::{self, StreamRow};
use crate::service::{FEATURES, Service};
use std::rc::Rc;

/// Answers where no file of the user's does.
pub const SERVICE: Service = Service { routes, ..Service::new("web") };

/// Path, type, contents.
const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("../../web/index.html")),
    ("/runnel.css", "text/css", include_str!("../../web/runnel.css")),
    ("/runnel.js", "text/javascript", include_str!("../../web/runnel.js")),
    ("/runnel.svg", "image/svg+xml", include_str!("../../web/runnel.svg")),
    ("/player.js", "text/javascript", include_str!("../../web/player.js")),
];

/// Nothing of others is loaded, and nothing that is in a name is run.
const POLICY: &str = "default-src 'self'; media-src 'self' blob:; frame-ancestors 'self'";

fn routes(_cx: &Rc<Context>, router: &mut Router) {
    router.last(answer);
}

fn answer(ask: &Ask) -> Answer {
    let path = ask.request.path.as_str();
    let file = FILES.iter().find(|(p, ..)| *p == path);
    if file.is_none() && path != "/streams.json" {
        return Answer::Next;
    }
    if !matches!(ask.request.method, Method::Get | Method::Head) {
        return Reply::status(405).into();
    }
    let mut reply = match file {
        Some((_, content_type, text)) => Reply::new(content_type, text.as_bytes()),
        None => Reply::new("application/json", streams(&ask.cx)),
    };
    reply.headers = vec![
        ("Cache-Control", "no-cache".to_owned()),
        ("Content-Security-Policy", POLICY.to_owned()),
        ("X-Content-Type-Options", "nosniff".to_owned()),
    ];
    reply.into()
}

/// `{"rtmp":1935,"count":…,"streams":[…]}`, the first of them by name.
fn streams(cx: &Context) -> String {
    let (config, stats) = (cx.config(), stats::of(cx));
    let mut sources = cx.hub.streams();
    sources.retain(|source| source.publisher().is_some());
    object(|o| {
        o.int("rtmp", config.listen.first().map_or(1935, |endpoint| endpoint.port));
        o.int("count", sources.len());
        o.list("streams", |l| {
            for source in sources.iter().take(STREAMS_LISTED) {
                let row = stats.stream_of(cx, source.key());
                if let Some((row, vhost)) = row.zip(config.vhost(source.key().vhost())) {
                    l.object(|o| stream(o, &row, vhost));
                }
            }
        });
    })
}

fn stream(o: &mut Object<'_>, row: &StreamRow, vhost: &Vhost) {
    let (key, shape) = (&row.key, &row.shape);
    let (width, height) = shape.video.as_ref().map_or((0, 0), |v| (v.width, v.height));
    o.text("vhost", key.vhost());
    o.text("app", key.app());
    o.text("stream", key.stream());
    match &shape.video {
        Some(video) => o.text("video", video.codec),
        None => o.null("video"),
    }
    match &shape.audio {
        Some(audio) => o.text("audio", audio.codec),
        None => o.null("audio"),
    }
    o.int("width", width);
    o.int("height", height);
    o.int("fps", row.rate.1);
    o.int("kbps", row.rate.0);
    o.int("viewers", row.players);
    o.int("age", row.age_ms);
    let sound = shape.audio.as_ref().map_or("", |audio| audio.codec);
    for (form, path) in paths(key.app(), key.stream(), vhost) {
        let service = if form == "hls" { "hls" } else { "remux" };
        if !FEATURES.contains(&service) {
            continue;
        }
        if matches!(form, "aac" | "mp3") && !form.eq_ignore_ascii_case(sound) {
            continue;
        }
        o.text(form, &encode_path(&path));
    }
}

/// Where the forms of a stream are on this port, for mounts that name no host.
fn paths(app: &str, stream: &str, vhost: &Vhost) -> Vec<(&'static str, String)> {
    let fill = |template: &str| {
        let path = template.replace("[vhost]", &vhost.name);
        let path = path.strip_prefix(DEFAULT_VHOST).unwrap_or(&path).to_owned();
        path.replace("[app]", app).replace("[stream]", stream)
    };
    let mut paths = Vec::new();
    let remux = &vhost.http_remux;
    if remux.enabled
        && let Some((start, ending)) = remux.mount.rsplit_once('.')
    {
        for form in
            ["flv", "ts", "aac", "mp3"].into_iter().filter(|f| ending == "*" || ending == *f)
        {
            paths.push((form, format!("{}.{form}", fill(start))));
        }
    }
    let hls = &vhost.hls;
    if hls.enabled {
        paths.push(match hls.hls_storage {
            HlsStorage::Disk => ("hls", format!("/{}", fill(&hls.hls_m3u8_file))),
            HlsStorage::Ram | HlsStorage::Both => ("hls", fill(&hls.hls_mount)),
        });
    }
    paths.retain(|(_, path)| path.starts_with('/'));
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpRemux;

    #[test]
    fn the_page_is_small() {
        let bytes: usize = FILES.iter().map(|(_, _, text)| text.len()).sum();
        assert!(bytes < 25 * 1024, "{bytes}");
    }

    #[test]
    fn names_from_publishers_are_never_html() {
        for (path, _, text) in FILES {
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"] {
                assert!(!text.contains(word), "{path}: {word}");
            }
        }
    }

    #[test]
    fn paths_follow_the_mounts() {
        let remux =
            |mount: &str| HttpRemux { enabled: true, mount: mount.into(), ..HttpRemux::default() };
        let vhost = |name: &str, mount: &str| Vhost {
            name: name.into(),
            http_remux: Rc::new(remux(mount)),
            ..Vhost::default()
        };
        let default = vhost(DEFAULT_VHOST, "[vhost]/[app]/[stream].flv");
        assert_eq!(paths("live", "s", &default), [("flv", "/live/s.flv".to_owned())]);
        assert_eq!(paths("live", "s", &vhost(DEFAULT_VHOST, "/x/[stream].*")).len(), 4);
        assert_eq!(paths("live", "s", &vhost("a.com", "[vhost]/[app]/[stream].flv")), []);
    }
}
