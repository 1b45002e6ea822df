//! References in a playlist (RFC 3986 §5).

use crate::limits::URL_MAX;

/// The address that `reference` has in a playlist at `base`, which is one with `http` or `https`.
/// `None` if it is of another scheme, has spaces or control characters, or is longer than
/// [`URL_MAX`]. A fragment is left out.
pub fn resolve(base: &str, reference: &str) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or_default();
    if reference.bytes().chain(base.bytes()).any(|byte| byte <= b' ' || byte == 0x7f) {
        return None;
    }
    let url = if has_scheme(reference) { reference.to_owned() } else { join(base, reference)? };
    let lower = url.get(..8).unwrap_or(&url).to_ascii_lowercase();
    let web = lower.starts_with("http://") || lower.starts_with("https://");
    Some(url).filter(|url| web && url.len() <= URL_MAX)
}

/// `scheme:` before anything else that may have a colon.
fn has_scheme(reference: &str) -> bool {
    let end = reference.find([':', '/', '?']).and_then(|at| reference.get(at..));
    end.is_some_and(|rest| rest.starts_with(':'))
        && reference.starts_with(|c: char| c.is_ascii_alphabetic())
}

fn join(base: &str, reference: &str) -> Option<String> {
    let base = base.split('#').next().unwrap_or_default();
    let (scheme, rest) = base.split_once("://")?;
    if reference.starts_with("//") {
        return Some(format!("{scheme}:{reference}"));
    }
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    if reference.is_empty() {
        return Some(format!("{scheme}://{host}{path}{query}"));
    }
    if reference.starts_with('?') {
        return Some(format!("{scheme}://{host}{path}{reference}"));
    }
    let (target, query) = reference.split_at(reference.find('?').unwrap_or(reference.len()));
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let whole = match target.starts_with('/') {
        true => target.to_owned(),
        false => format!("{directory}/{target}"),
    };
    Some(format!("{scheme}://{host}{}{query}", without_dots(&whole)))
}

/// §5.2.4. `path` begins with a slash.
fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        parts.push("");
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_those_of_the_standard() {
        let base = "http://a/b/c/d;p?q";
        for (reference, want) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/../h", "http://a/b/c/h"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("x:y", ""),
            ("./x:y", "http://a/b/c/x:y"),
            ("https://h/x.ts", "https://h/x.ts"),
            ("HTTP://h/x.ts", "HTTP://h/x.ts"),
            ("file:///etc/passwd", ""),
            ("a b.ts", ""),
            ("a\r\nHost: b", ""),
        ] {
            let got = resolve(base, reference).unwrap_or_default();
            assert_eq!(got, want, "{reference:?}");
        }
        assert_eq!(resolve("http://a", "g").as_deref(), Some("http://a/g"));
        assert_eq!(resolve("http://a?x=/y", "g").as_deref(), Some("http://a/g"));
        assert_eq!(resolve("a/b", "g"), None);
        assert_eq!(resolve(base, &"g".repeat(URL_MAX)), None);
    }
}
