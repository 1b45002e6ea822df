//! Mounts: which path is which stream.

use super::Format;
use crate::config::DEFAULT_VHOST;
use crate::limits::NAME_MAX;

/// The stream that a path stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) app: String,
    pub(super) stream: String,
    pub(super) format: Format,
    /// The mount is for this host only.
    pub(super) bound: bool,
}

/// The stream at `path` of `host` under the mount `template` of `vhost`.
pub(super) fn find(template: &str, vhost: &str, host: &str, path: &str) -> Option<Place> {
    let template = template.replace("[vhost]", vhost);
    // What is mounted under the default vhost is there for every host.
    let template = template.strip_prefix(DEFAULT_VHOST).unwrap_or(&template);
    let (bound_to, template) = template.split_at(template.find('/')?);
    if !(bound_to.is_empty() || bound_to.eq_ignore_ascii_case(host)) {
        return None;
    }
    let (template, ending) = template.rsplit_once('.')?;
    let (path, asked) = path.rsplit_once('.')?;
    let format = Format::ALL.into_iter().find(|format| format.name() == asked)?;
    if ending != "*" && ending != asked {
        return None;
    }
    let (mut app, mut stream) = (None, None);
    if !fits(template, path, &mut app, &mut stream) {
        return None;
    }
    // Without [stream] in it a template stands for no stream.
    let (app, stream) = (app.unwrap_or_default(), stream?);
    Some(Place { app, stream, format, bound: !bound_to.is_empty() })
}

/// Whether a mount serves `format`.
pub(super) fn serves(template: &str, format: Format) -> bool {
    let ending = template.rsplit_once('.').map_or("", |(_, ending)| ending);
    ending == "*" || ending == format.name()
}

/// Whether `path` is what `template` says, and what its variables then are.
fn fits(template: &str, path: &str, app: &mut Option<String>, stream: &mut Option<String>) -> bool {
    let Some(at) = template.find('[') else { return template == path };
    let (literal, template) = template.split_at(at);
    let Some(path) = path.strip_prefix(literal) else { return false };
    let (is_app, template) = if let Some(rest) = template.strip_prefix("[app]") {
        (true, rest)
    } else if let Some(rest) = template.strip_prefix("[stream]") {
        (false, rest)
    } else {
        return false;
    };
    // The longest first, so that an app may have several parts.
    let ends =
        path.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|at| *at <= NAME_MAX);
    let ends: Vec<usize> = ends.collect();
    for end in ends.into_iter().rev() {
        let (value, rest) = path.split_at(end);
        if !is_app && value.contains('/') {
            continue;
        }
        let slot = if is_app { &mut *app } else { &mut *stream };
        if slot.as_ref().is_some_and(|known| known != value) {
            continue;
        }
        let before = slot.replace(value.to_owned());
        if fits(template, rest, app, stream) {
            return true;
        }
        *if is_app { &mut *app } else { &mut *stream } = before;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_give_the_names_back() {
        // Template, vhost, host, path, what is found.
        for (template, vhost, host, path, want) in [
            ("[vhost]/[app]/[stream].flv", DEFAULT_VHOST, "x", "/live/s.flv", Some(("live", "s"))),
            ("[vhost]/[app]/[stream].flv", DEFAULT_VHOST, "x", "/a/b/s.flv", Some(("a/b", "s"))),
            ("[vhost]/[app]/[stream].flv", DEFAULT_VHOST, "x", "/live/s.ts", None),
            ("[vhost]/[app]/[stream].flv", DEFAULT_VHOST, "x", "/s.flv", None),
            ("[vhost]/[app]/[stream].flv", "a.com", "a.com", "/live/s.flv", Some(("live", "s"))),
            ("[vhost]/[app]/[stream].flv", "a.com", "b.com", "/live/s.flv", None),
            ("/[app]/[stream].flv", "a.com", "b.com", "/live/s.flv", Some(("live", "s"))),
            ("[vhost]/[app]/[stream].*", DEFAULT_VHOST, "", "/live/s.x.aac", Some(("live", "s.x"))),
            ("[vhost]/[app]/[stream].*", DEFAULT_VHOST, "", "/live/s.m3u8", None),
            ("/h/[stream]-of-[app].ts", DEFAULT_VHOST, "", "/h/s-of-l.ts", Some(("l", "s"))),
            ("/[app]/[stream]/[stream].flv", "v", "", "/a/s/s.flv", Some(("a", "s"))),
            ("/[app]/[stream]/[stream].flv", "v", "", "/a/s/t.flv", None),
        ] {
            let found = find(template, vhost, host, path);
            let found = found.as_ref().map(|p| (p.app.as_str(), p.stream.as_str()));
            assert_eq!(found, want, "{template} {path}");
        }
    }

    #[test]
    fn long_paths_take_no_long_time() {
        let path = format!("/{}", "a/".repeat(1000));
        assert_eq!(find("/[app]/[stream].flv", "v", "", &format!("{path}.flv")), None);
    }
}
