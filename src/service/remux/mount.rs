//! Mounts: which path is which stream.

use super::Format;
use crate::config::DEFAULT_VHOST;
use crate::service::path::names;

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
    let (app, stream) = names(template, path)?;
    Some(Place { app, stream, format, bound: !bound_to.is_empty() })
}

/// Whether a mount serves `format`.
pub(super) fn serves(template: &str, format: Format) -> bool {
    let ending = template.rsplit_once('.').map_or("", |(_, ending)| ending);
    ending == "*" || ending == format.name()
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
