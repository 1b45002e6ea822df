//! The page at `/`: what is live, a player, and the addresses for other programs.

use crate::codec;
use crate::config::{DEFAULT_VHOST, HlsStorage, Vhost};
use crate::context::Context;
use crate::hub::Source;
use crate::io::clock;
use crate::limits::STREAMS_LISTED;
use crate::media::{Codec, Kind, classify};
use crate::proto::http::{Method, encode_path};
use crate::service::http::{Answer, Ask, Reply, Router};
use crate::service::{FEATURES, Service};
use std::fmt::Write as _;
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
    let config = cx.config();
    let mut sources: Vec<Rc<Source>> = cx.hub.streams();
    sources.retain(|source| source.publisher().is_some());
    sources.sort_by_key(|source| source.key().to_string());
    let port = config.listen.first().map_or(1935, |endpoint| endpoint.port);
    let all: Vec<String> = sources
        .iter()
        .take(STREAMS_LISTED)
        .filter_map(|source| Some(stream(source, config.vhost(source.key().vhost())?)))
        .collect();
    let count = sources.len();
    format!("{{\"rtmp\":{port},\"count\":{count},\"streams\":[{}]}}", all.join(","))
}

fn stream(source: &Source, vhost: &Vhost) -> String {
    let key = source.key();
    let (headers, now) = (source.headers(), clock::now());
    let measured = source.measure(now);
    let describe = |kind: Kind| {
        let (header, last) = match kind {
            Kind::Audio => (&headers.audio, &measured.audio),
            _ => (&headers.video, &measured.video),
        };
        let packet = header.as_ref().or(last.as_ref())?;
        Some((classify(kind, &packet.payload).codec, packet.payload.clone()))
    };
    let (video, audio) = (describe(Kind::Video), describe(Kind::Audio));
    let size = video.as_ref().and_then(|(_, payload)| {
        let description = codec::describe(Kind::Video, payload).ok().flatten()?;
        description.detail.size()
    });
    let sound = audio.as_ref().map_or("", |(codec, _)| match codec {
        // The number means another codec where it stands for a picture.
        Codec::Id(2 | 14) => "MP3",
        codec => codec.name(),
    });
    let (width, height) = size.unwrap_or_default();
    let mut text = format!(
        "{{\"vhost\":{},\"app\":{},\"stream\":{},\"video\":{},\"audio\":{},\"width\":{width},\
         \"height\":{height},\"fps\":{},\"kbps\":{},\"viewers\":{},\"age\":{}",
        quoted(key.vhost()),
        quoted(key.app()),
        quoted(key.stream()),
        video.as_ref().map_or("null".into(), |(codec, _)| quoted(codec.name())),
        audio.as_ref().map_or("null".into(), |_| quoted(sound)),
        measured.fps,
        measured.kbps,
        source.players(),
        measured.since.map_or(0, |since| now.saturating_sub(since)),
    );
    for (form, path) in paths(key.app(), key.stream(), vhost) {
        let service = if form == "hls" { "hls" } else { "remux" };
        if !FEATURES.contains(&service) {
            continue;
        }
        if matches!(form, "aac" | "mp3") && !form.eq_ignore_ascii_case(sound) {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = write!(text, ",\"{form}\":{}", quoted(&encode_path(&path)));
    }
    text.push('}');
    text
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

/// `text` as a JSON string (RFC 8259 §7).
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpRemux;

    #[test]
    fn strings_are_those_of_json() {
        assert_eq!(quoted("a\"b\\c\n\u{7f}é"), "\"a\\\"b\\\\c\\u000a\\u007fé\"");
    }

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
