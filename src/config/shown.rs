//! Urls of a configuration as logs, the API and metrics may have them: without what is secret.

/// `url` without user and password, and without the values of its parameters but those that only
/// choose a picture. What is not a url is given as it is.
pub fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (authority, path) = match (authority.rsplit_once('@'), path.rsplit_once('@')) {
        (Some((_, host)), _) => (host, path),
        // Not a port: the begin of a password that has a slash or a question mark of its own.
        (None, Some((_, rest))) if !is_place(authority) => {
            rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()))
        }
        _ => (authority, path),
    };
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    // Cameras have parameters, with passwords among them, in the path, too.
    let path: Vec<_> = path.split('/').map(|part| masked(part, false)).collect();
    // Behind `?vhost=` there may be a stream with parameters of its own.
    let query: Vec<_> = query.split('?').map(|part| masked(part, true)).collect();
    format!("{scheme}://{authority}{}{}", path.join("/"), query.join("?"))
}

/// A text with urls in it, each of them [`shown`].
pub fn text(text: &str) -> String {
    text.split(' ').map(shown).collect::<Vec<_>>().join(" ")
}

/// [`shown`], and without the last part of the path, which is the key of the stream where streams
/// are passed on to, unless the server fills it in.
pub fn without_key(url: &str) -> String {
    let shown = shown(url);
    let Some(start) = shown.find("://").map(|at| at.saturating_add(3)) else { return shown };
    let end = shown.find('?').unwrap_or(shown.len());
    let path = shown.get(start..end).unwrap_or_default();
    match path.rsplit_once('/') {
        Some((_, last)) if is_filled_in(last) => shown,
        Some((place, _)) => {
            let scheme = shown.get(..start).unwrap_or_default();
            format!("{scheme}{place}/{HIDDEN}")
        }
        None => shown,
    }
}

/// Whether the server fills in all of it, but for what is between variables.
fn is_filled_in(name: &str) -> bool {
    let mut inside = false;
    name.chars().all(|letter| {
        inside = letter == '[' || inside && letter != ']';
        inside || !letter.is_alphanumeric()
    })
}

/// Whether it may be a host with a port.
fn is_place(authority: &str) -> bool {
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    port.ends_with(']') || port.starts_with('[') || port.bytes().all(|b| b.is_ascii_digit())
}

/// `a=1&b=2` without values. A word alone is one, in a query.
fn masked(parameters: &str, query: bool) -> String {
    if !query && !parameters.contains('=') {
        return parameters.to_owned();
    }
    let one = |parameter: &str| match parameter.split_once('=') {
        Some((name, _)) if PLAIN.contains(&name) => parameter.to_owned(),
        Some((name, _)) => format!("{name}={HIDDEN}"),
        None if parameter.is_empty() || parameter.starts_with('[') => parameter.to_owned(),
        None => HIDDEN.to_owned(),
    };
    parameters.split('&').map(one).collect::<Vec<_>>().join("&")
}

const HIDDEN: &str = "...";

/// Parameters that choose a stream.
const PLAIN: &[&str] = &["vhost", "channel", "subtype", "stream", "profile", "camera"];

#[cfg(test)]
mod tests {
    use super::*;

    /// A url, how it is shown, and how without the key of its stream.
    const CASES: &[(&str, &str, &str)] = &[
        ("rtsp://u:p@h:554/a?b", "rtsp://h:554/a?...", "rtsp://h:554/..."),
        ("rtsp://u:p@@h/a@b", "rtsp://h/a@b", "rtsp://h/..."),
        ("rtsp://u:p/1@h/a", "rtsp://h/a", "rtsp://h/..."),
        ("rtsp://u:p?1@h:1/a", "rtsp://h:1/a", "rtsp://h:1/..."),
        ("rtsp://[::1]:554/a@b", "rtsp://[::1]:554/a@b", "rtsp://[::1]:554/..."),
        ("rtsp://[::1]/a@b", "rtsp://[::1]/a@b", "rtsp://[::1]/..."),
        ("http://h/a", "http://h/a", "http://h/..."),
        ("./a@b.flv", "./a@b.flv", "./a@b.flv"),
        ("127.0.0.1:19350", "127.0.0.1:19350", "127.0.0.1:19350"),
        ("rtsp://u:p@h", "rtsp://h", "rtsp://h"),
        ("udp://@239.0.0.1:5000", "udp://239.0.0.1:5000", "udp://239.0.0.1:5000"),
        (
            "rtsp://h/cam/realmonitor?channel=1&subtype=0&k=s3/x",
            "rtsp://h/cam/realmonitor?channel=1&subtype=0&k=...",
            "rtsp://h/cam/...",
        ),
        (
            "rtsp://h/user=admin&password=s3&channel=1&stream=0.sdp",
            "rtsp://h/user=...&password=...&channel=1&stream=0.sdp",
            "rtsp://h/...",
        ),
        ("rtmp://h/live2/s3-key", "rtmp://h/live2/s3-key", "rtmp://h/live2/..."),
        ("rtmp://h/live2/s3?a=b", "rtmp://h/live2/s3?a=...", "rtmp://h/live2/..."),
        (
            "rtmp://h/[app]/[stream]?key=s3",
            "rtmp://h/[app]/[stream]?key=...",
            "rtmp://h/[app]/[stream]?key=...",
        ),
        ("rtmp://h/live2/s3-[stream]", "rtmp://h/live2/s3-[stream]", "rtmp://h/live2/..."),
        ("rtmp://h/a/[app]-[stream]", "rtmp://h/a/[app]-[stream]", "rtmp://h/a/[app]-[stream]"),
        (
            "rtmp://127.0.0.1/live?vhost=w/a",
            "rtmp://127.0.0.1/live?vhost=w/a",
            "rtmp://127.0.0.1/...",
        ),
        (
            "rtmp://h/live?vhost=v/s?token=s3&a",
            "rtmp://h/live?vhost=v/s?token=...&...",
            "rtmp://h/...",
        ),
        ("://", "://", "://"),
        ("a://@?&", "a://?&", "a://?&"),
        ("", "", ""),
    ];

    #[test]
    fn urls_are_shown_without_passwords_and_keys() {
        for (url, want, bare) in CASES {
            assert_eq!((shown(url).as_str(), without_key(url).as_str()), (*want, *bare), "{url}");
        }
        let told = text("http://u:s3@h/a?k=s3: the server  answers 404");
        assert_eq!(told, "http://h/a?k=... the server  answers 404");
    }
}
