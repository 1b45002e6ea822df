//! Files over HTTP: `http_server.dir`, the `http_static` of vhosts, recordings with `?start=`.

mod seek;

use crate::config::DEFAULT_VHOST;
use crate::context::Context;
use crate::format::mp4;
use crate::io::read::{self, Found, Opened};
use crate::proto::http::{Method, Request, date};
use crate::service::Service;
use crate::service::http::{Answer, Ask, Parts, Reply, Router, to_slash};
use bytes::Bytes;
use seek::Seek;
use std::io;
use std::ops::Range;
use std::rc::Rc;

/// Serves files.
pub const SERVICE: Service = Service { routes, api_routes, ..Service::new("static-files") };

fn routes(cx: &Rc<Context>, router: &mut Router) {
    let config = cx.config();
    for vhost in config.vhosts.iter().filter(|v| v.enabled && v.http_static.enabled) {
        let name = &vhost.name;
        let mount = vhost.http_static.mount.replace("[vhost]", name);
        let mount = match mount.strip_prefix(DEFAULT_VHOST) {
            Some(path) => path.to_owned(),
            None => mount,
        };
        let slash = if mount.ends_with('/') { "" } else { "/" };
        log::info!("http: files of {} are served at {mount}{slash}", vhost.http_static.dir);
        let dir: Rc<str> = vhost.http_static.dir.as_str().into();
        router.on(&format!("{mount}{slash}"), move |ask| serve(ask, &dir));
    }
    let dir: Rc<str> = config.http_server.dir.as_str().into();
    router.on("/", move |ask| serve(ask, &dir));
}

/// A console, where people look for it.
fn api_routes(cx: &Rc<Context>, router: &mut Router) {
    let dir: Rc<str> = format!("{}/console", cx.config().http_server.dir).into();
    router.on("/console/", move |ask| serve(ask, &dir));
}

/// Answers with what stands in `dir` under the path behind the mount.
fn serve(ask: &Ask, dir: &Rc<str>) -> Answer {
    let (ask, dir) = (ask.clone(), dir.clone());
    Answer::Later(Box::pin(async move {
        let mut path = ask.below().to_owned();
        // What people hide stays so.
        if path.split('/').any(|part| part.starts_with('.')) {
            return Answer::Next;
        }
        if path.is_empty() || path.ends_with('/') {
            path.push_str("index.html");
        }
        let file = match read::open(&dir, &path).await {
            Ok(Found::File(file)) => file,
            Ok(Found::Directory) if ask.request.path.ends_with('/') => return Answer::Next,
            Ok(Found::Directory) => return to_slash(&ask),
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy => return Reply::status(503).into(),
            Err(e) => {
                log::debug!("no file {dir}/{path}: {e}");
                return Answer::Next;
            }
        };
        if !matches!(ask.request.method, Method::Get | Method::Head) {
            return Reply::status(405).into();
        }
        match answer(&ask.request, &path, file).await {
            Ok(answer) => answer,
            Err(e) => {
                log::warn!("read {dir}/{path}: {e}");
                Reply::status(500).into()
            }
        }
    }))
}

async fn answer(request: &Request, path: &str, file: Opened) -> io::Result<Answer> {
    let (size, content_type) = (file.size, mime(path));
    let tag = format!("\"{:x}-{:x}\"", size, file.modified);
    let modified = date(file.modified);
    let mut headers = vec![
        ("ETag", tag.clone()),
        ("Last-Modified", modified.clone()),
        ("Accept-Ranges", "bytes".to_owned()),
    ];
    if content_type == PLAYLIST {
        headers.push(("Cache-Control", "no-cache".to_owned()));
    }
    if is_unchanged(request, &tag, &modified) {
        return Ok(Reply { headers, content_type: "", ..Reply::status(304) }.into());
    }
    let whole = 0..size;
    let mut parts =
        Parts { file, lead: Bytes::new(), ranges: vec![whole], status: 200, content_type, headers };
    let flv = path.ends_with(".flv") || path.ends_with(".fhv");
    if flv && let Some(start) = request.param("start").and_then(|s| s.parse().ok()) {
        match seek::flv(&parts.file, start).await? {
            Seek::To(ranges) => parts.ranges = ranges,
            Seek::Nowhere => {}
            Seek::Beyond => return Ok(beyond(size).into()),
        }
        return Ok(Answer::File(Box::new(parts)));
    }
    let mp4 = path.ends_with(".mp4") || path.ends_with(".m4v") || path.ends_with(".m4a");
    let (start, end) = (moment(request, "start"), moment(request, "end"));
    if mp4 && (start.is_some() || end.is_some()) {
        match seek::mp4(&parts.file, start.unwrap_or_default(), end).await? {
            Ok((lead, data)) => {
                (parts.lead, parts.ranges) = (lead, vec![data]);
                // Places in it are not those in the file.
                parts.headers.retain(|(name, _)| *name == "Last-Modified");
                return Ok(Answer::File(Box::new(parts)));
            }
            Err(mp4::Error::Beyond) => return Ok(beyond(size).into()),
            Err(e) => log::info!("{path} is sent whole: {e}"),
        }
    }
    let asked = if path.ends_with(".mp4") {
        request.param("range").or_else(|| request.param("bytes")).map(|r| format!("bytes={r}"))
    } else {
        None
    };
    let header = || {
        let same = |given: &str| given == tag || given == modified;
        let fits = request.header("if-range").is_none_or(same);
        request.header("range").filter(|_| fits).map(str::to_owned)
    };
    match asked.or_else(header).and_then(|text| range(&text, size)) {
        None => {}
        Some(Err(NotThere)) => return Ok(beyond(size).into()),
        Some(Ok(range)) => {
            let text = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            parts.headers.push(("Content-Range", text));
            parts.status = 206;
            parts.ranges = vec![range];
        }
    }
    Ok(Answer::File(Box::new(parts)))
}

fn beyond(size: u64) -> Reply {
    let mut reply = Reply::status(416);
    reply.headers.push(("Content-Range", format!("bytes */{size}")));
    reply
}

/// Whether the client has this file already (RFC 9110 §13.2.2).
fn is_unchanged(request: &Request, tag: &str, modified: &str) -> bool {
    match request.header("if-none-match") {
        Some(tags) => tags.split(',').any(|t| {
            let t = t.trim();
            t == "*" || t.strip_prefix("W/").unwrap_or(t) == tag
        }),
        // As clients send back what they were given; a clock that was set is no reason to compare.
        None => request.header("if-modified-since").is_some_and(|since| since == modified),
    }
}

/// No byte of the range is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NotThere;

/// `bytes=a-b`, `bytes=a-`, `bytes=-n` (RFC 9110 §14.1.2); `None` for what is to be ignored, such
/// as several ranges.
fn range(text: &str, size: u64) -> Option<Result<Range<u64>, NotThere>> {
    let (first, last) = text.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let range = match (first, last) {
        ("", "") => return None,
        ("", last) => size.saturating_sub(number(last)?)..size,
        (first, "") => number(first)?..size,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..size.min(last.saturating_add(1))
        }
    };
    Some(if range.start < range.end { Ok(range) } else { Err(NotThere) })
}

/// A parameter in seconds, as milliseconds.
fn moment(request: &Request, name: &str) -> Option<u64> {
    let seconds: f64 = request.param(name)?.parse().ok()?;
    (0.0..LONGEST).contains(&seconds).then_some((seconds * 1000.0) as u64)
}

/// Seconds: ten years.
const LONGEST: f64 = 3e8;

const PLAYLIST: &str = "application/vnd.apple.mpegurl";

/// The type of a file by the end of its name.
fn mime(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or_default();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    MIME.iter().find(|(e, _)| *e == ending).map_or("application/octet-stream", |(_, mime)| mime)
}

const MIME: &[(&str, &str)] = &[
    ("ts", "video/MP2T"),
    ("flv", "video/x-flv"),
    ("m4v", "video/x-m4v"),
    ("3gpp", "video/3gpp"),
    ("3gp", "video/3gpp"),
    ("mp4", "video/mp4"),
    ("m4s", "video/mp4"),
    ("aac", "audio/x-aac"),
    ("mp3", "audio/mpeg"),
    ("m4a", "audio/x-m4a"),
    ("ogg", "audio/ogg"),
    ("m3u8", PLAYLIST),
    ("mpd", "application/dash+xml"),
    ("rss", "application/rss+xml"),
    ("json", "application/json"),
    ("swf", "application/x-shockwave-flash"),
    ("doc", "application/msword"),
    ("zip", "application/zip"),
    ("rar", "application/x-rar-compressed"),
    ("xml", "text/xml"),
    ("html", "text/html"),
    ("htm", "text/html"),
    ("txt", "text/plain"),
    ("js", "text/javascript"),
    ("css", "text/css"),
    ("ico", "image/x-icon"),
    ("png", "image/png"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("gif", "image/gif"),
    ("svg", "image/svg+xml"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_standard() {
        for (text, want) in [
            ("bytes=0-0", Some(Ok(0..1))),
            ("bytes=2-5", Some(Ok(2..6))),
            ("bytes=2-", Some(Ok(2..10))),
            ("bytes=-3", Some(Ok(7..10))),
            ("bytes=-30", Some(Ok(0..10))),
            ("bytes=5-99999999999999999999999", Some(Ok(5..10))),
            ("bytes=10-", Some(Err(NotThere))),
            ("bytes=99999999999999999999999-", Some(Err(NotThere))),
            ("bytes=-0", Some(Err(NotThere))),
            ("bytes=5-2", None),
            ("bytes=-", None),
            ("bytes=0-1,3-4", None),
            ("bytes=a-b", None),
            ("lines=1-2", None),
            ("", None),
        ] {
            assert_eq!(range(text, 10), want, "{text}");
        }
        assert_eq!(range("bytes=0-", 0), Some(Err(NotThere)));
    }

    #[test]
    fn types_follow_the_name() {
        assert_eq!(mime("/a/b.TS"), "video/MP2T");
        assert_eq!(mime("/a.b/c"), "application/octet-stream");
        assert_eq!(mime("index.html"), "text/html");
    }
}
