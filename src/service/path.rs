//! Names of files that are made of names of streams and of the time. Whatever a client calls its
//! stream, the file stays in the directory that the configuration names.

use crate::hub::StreamKey;
use crate::io::clock;
use crate::io::zone::{Civil, Zone};
use crate::limits::NAME_MAX;
use std::fmt::Write;

/// A moment, as names of files say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    civil: Civil,
    /// Milliseconds since 1970-01-01 UTC.
    unix: u64,
}

impl Stamp {
    /// Now, in `zone`.
    pub fn now(zone: &Zone) -> Self {
        Self::at(clock::unix(), zone)
    }

    /// `unix` milliseconds since 1970-01-01 UTC, in `zone`.
    pub fn at(unix: u64, zone: &Zone) -> Self {
        let seconds = i64::try_from(unix / 1000).unwrap_or_default();
        Self { civil: Civil::at(seconds + i64::from(zone.offset(seconds))), unix }
    }
}

/// What a part of a path may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    Vhost,
    App,
    Stream,
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
    Timestamp,
}

impl Variable {
    /// As the configuration writes them.
    const NAMES: &'static [(&'static str, Self)] = &[
        ("[vhost]", Self::Vhost),
        ("[app]", Self::App),
        ("[stream]", Self::Stream),
        ("[2006]", Self::Year),
        ("[01]", Self::Month),
        ("[02]", Self::Day),
        ("[15]", Self::Hour),
        ("[04]", Self::Minute),
        ("[05]", Self::Second),
        ("[999]", Self::Millisecond),
        ("[timestamp]", Self::Timestamp),
    ];

    /// How many digits it has at least; 0 for a name.
    const fn digits(self) -> usize {
        match self {
            Self::Vhost | Self::App | Self::Stream => 0,
            Self::Timestamp => 1,
            Self::Year => 4,
            Self::Millisecond => 3,
            _ => 2,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(Variable),
}

/// A path with variables: `[vhost]`, `[app]`, `[stream]`, `[timestamp]` (milliseconds since 1970),
/// and the date and time that `[2006]-[01]-[02] [15]:[04]:[05].[999]` show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

impl Template {
    /// Reads `text`. What is no variable stands for itself.
    pub fn new(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let variable = Variable::NAMES.iter().find(|(name, _)| rest.starts_with(name));
            let Some((name, variable)) = variable else {
                plain.push(c);
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
                continue;
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Variable(*variable));
            rest = rest.get(name.len()..).unwrap_or_default();
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Self(pieces)
    }

    /// The path for the stream `key` at `stamp`.
    pub fn expand(&self, key: &StreamKey, stamp: &Stamp) -> String {
        let mut path = String::new();
        for piece in &self.0 {
            let civil = &stamp.civil;
            // A String takes what is written.
            let _ = match piece {
                Piece::Text(text) => path.write_str(text),
                Piece::Variable(variable) => match variable {
                    Variable::Vhost => path.write_str(&safe(key.vhost())),
                    Variable::App => path.write_str(&safe_path(key.app())),
                    Variable::Stream => path.write_str(&safe(key.stream())),
                    Variable::Year => write!(path, "{:04}", civil.year),
                    Variable::Month => write!(path, "{:02}", civil.month),
                    Variable::Day => write!(path, "{:02}", civil.day),
                    Variable::Hour => write!(path, "{:02}", civil.hour),
                    Variable::Minute => write!(path, "{:02}", civil.minute),
                    Variable::Second => write!(path, "{:02}", civil.second),
                    Variable::Millisecond => write!(path, "{:03}", stamp.unix % 1000),
                    Variable::Timestamp => write!(path, "{}", stamp.unix),
                },
            };
        }
        path
    }

    /// The directory that all its paths are in, whatever the variables are; `.` for none.
    pub fn root(&self) -> &str {
        match self.0.first() {
            Some(Piece::Text(text)) => match text.rfind('/') {
                Some(0) => "/",
                Some(end) => text.get(..end).unwrap_or("."),
                None => ".",
            },
            _ => ".",
        }
    }

    /// Whether `path` may have been made of it, for a stream of `vhost`.
    pub fn matches(&self, vhost: &str, path: &str) -> bool {
        matches(&self.0, &safe(vhost), path)
    }
}

fn matches(pieces: &[Piece], vhost: &str, path: &str) -> bool {
    let Some((piece, pieces)) = pieces.split_first() else { return path.is_empty() };
    let rest_after = |len: usize| path.get(len..).is_some_and(|p| matches(pieces, vhost, p));
    match piece {
        Piece::Text(text) => path.starts_with(text.as_str()) && rest_after(text.len()),
        Piece::Variable(Variable::Vhost) => path.starts_with(vhost) && rest_after(vhost.len()),
        Piece::Variable(variable) => {
            let digits = variable.digits();
            let end = path.find(|c: char| match digits {
                0 => c == '/' && *variable != Variable::App,
                _ => !c.is_ascii_digit(),
            });
            let end = end.unwrap_or(path.len());
            let shortest = digits.max(1);
            let longest = if *variable == Variable::Timestamp { end } else { digits };
            let longest = if digits == 0 { end } else { longest };
            longest <= end && (shortest..=longest).rev().any(rest_after)
        }
    }
}

/// `name` as the name of one file: no slash, not `.` or `..`, no control characters, 100 bytes at
/// most. Other names stay different from each other: what is not safe becomes `%` and two digits.
pub fn safe(name: &str) -> String {
    let dots = !name.is_empty() && name.bytes().all(|b| b == b'.');
    let mut out = String::new();
    for c in name.chars() {
        if c == '/' || c == '%' || c == '\\' || c.is_control() || dots {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(out, "%{byte:02X}");
            }
        } else {
            out.push(c);
        }
    }
    if out.is_empty() {
        out.push('_');
    }
    if out.len() > LONGEST {
        let mut end = LONGEST - 17;
        while !out.is_char_boundary(end) {
            end -= 1;
        }
        out.truncate(end);
        let _ = write!(out, "%{:016x}", hash(name));
    }
    out
}

/// The same for a name whose slashes stand for directories.
pub fn safe_path(name: &str) -> String {
    let parts: Vec<_> = name.split('/').filter(|part| !part.is_empty()).map(safe).collect();
    if parts.is_empty() { "_".into() } else { parts.join("/") }
}

/// FNV-1a, to tell long names apart.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Bytes of a name in a path: two of them, dates and an ending fit the 255 of file systems.
const LONGEST: usize = 100;

/// The app and the stream for which `path` is what `template` says, with `[app]` and `[stream]` in
/// it.
pub fn names(template: &str, path: &str) -> Option<(String, String)> {
    let (mut app, mut stream) = (None, None);
    if !fits(template, path, &mut app, &mut stream) {
        return None;
    }
    // Without [stream] in it a template stands for no stream.
    Some((app.unwrap_or_default(), stream?))
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
    use std::path::{Component, Path};

    fn stamp() -> Stamp {
        // 2024-03-09 05:06:07.089 UTC
        Stamp::at(1_709_960_767_089, &Zone::default())
    }

    #[test]
    fn every_variable_is_replaced_wherever_it_stands() {
        let key = StreamKey::new("a.com", "live/sub", "cam");
        for (text, path) in [
            ("[vhost]/[app]/[stream].flv", "a.com/live/sub/cam.flv"),
            ("[2006]/[01]/[02]/[15].[04].[05].[999]", "2024/03/09/05.06.07.089"),
            ("d/[stream]-[timestamp]-[stream].flv", "d/cam-1709960767089-cam.flv"),
            ("[03][streams][", "[03][streams]["),
            ("", ""),
        ] {
            assert_eq!(Template::new(text).expand(&key, &stamp()), path);
        }
        let odd = StreamKey::new("v", "[stream]", "[2006]");
        assert_eq!(Template::new("[app][stream]").expand(&odd, &stamp()), "[stream][2006]");
    }

    #[test]
    fn no_name_leaves_the_directory() {
        let template = Template::new("d/[vhost]/[app]/[stream].flv");
        let names = [
            "..",
            ".",
            "",
            "/",
            "../..",
            "/etc/passwd",
            "a/../../b",
            "..\\..",
            "a\0b",
            "...",
            "//",
            "%2e%2e",
            "./.",
            "-",
            "\u{202e}",
            "a\nb",
        ];
        let long = "é/".repeat(200);
        for name in names.into_iter().chain([long.as_str()]) {
            for key in [
                StreamKey::new(name, "live", "s"),
                StreamKey::new("v", name, "s"),
                StreamKey::new("v", "live", name),
            ] {
                let path = template.expand(&key, &stamp());
                let parts: Vec<_> = Path::new(&path).components().collect();
                assert_eq!(parts.first(), Some(&Component::Normal("d".as_ref())), "{path}");
                assert!(parts.iter().all(|p| matches!(p, Component::Normal(_))), "{path}");
                assert!(parts.iter().all(|p| p.as_os_str().len() <= 200), "{path}");
                assert!(parts.len() >= 4, "{path}");
                assert!(!path.contains(['\0', '\n', '\\']), "{path}");
                assert!(template.matches(key.vhost(), &path), "{path}");
            }
        }
        let different = ["a/b", "a_b", "a%2Fb", "a\\b", "..", "%2E%2E"].map(safe);
        for (i, one) in different.iter().enumerate() {
            assert!(different.iter().skip(i + 1).all(|other| one != other));
        }
        assert_ne!(safe(&"a".repeat(200)), safe(&"a".repeat(201)));
    }

    #[test]
    fn the_root_is_what_no_variable_changes() {
        for (text, root) in [
            ("./objs/html/[app]/[stream].flv", "./objs/html"),
            ("/rec/x-[stream].flv", "/rec"),
            ("/[stream].flv", "/"),
            ("[app]/[stream].flv", "."),
            ("a.flv", "."),
            ("/rec/a.flv", "/rec"),
        ] {
            assert_eq!(Template::new(text).root(), root, "{text}");
        }
    }

    #[test]
    fn only_paths_that_it_makes_match() {
        let template = Template::new("r/[app]/[stream].[timestamp].flv");
        for path in ["r/live/cam.1.flv", "r/live/sub/cam.1709960767089.flv", "r/a/b.c.5.flv"] {
            assert!(template.matches("v", path), "{path}");
        }
        for path in ["r/live/cam.flv", "r/live/cam.x1.flv", "r/cam.1.flv", "r/a/b.1.flv.tmp", "r"] {
            assert!(!template.matches("v", path), "{path}");
        }
        let dates = Template::new("[vhost]/[2006]-[01]/[stream].flv");
        assert!(dates.matches("v", "v/2024-03/cam.flv"));
        for path in
            ["w/2024-03/cam.flv", "v/2024-3/cam.flv", "v/2024-03/x/cam.flv", "v/20240-03/c.flv"]
        {
            assert!(!dates.matches("v", path), "{path}");
        }
    }
}
