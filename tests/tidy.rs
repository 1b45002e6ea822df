//! Reads the sources and tells where they break the rules of the crate docs: layers, places of
//! system calls and of features, bounds, sizes. Each test prints `file:line: what`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The modules of the crate. One may use itself and those above it.
const LAYERS: &[&str] = &[
    "limits", "media", "config", "codec", "format", "proto", "hub", "io", "context", "service",
    "server",
];
/// Stands aside: a library of its own, on the protocols.
const CLIENT: &str = "client";
const CLIENT_MAY_USE: &[&str] = &["limits", "media", "codec", "format", "proto", CLIENT];

/// What only [`SYSTEM_PLACES`] may name.
const SYSTEM: &[&str] = &[
    "smol",
    "async_io",
    "async_signal",
    "rustix",
    "simple_logger",
    "std::net",
    "std::fs",
    "std::process",
    "std::thread",
    "std::os",
    "Instant::now",
    "SystemTime",
];
const SYSTEM_PLACES: &[&str] = &["src/io/", "src/client/", "src/main.rs"];

/// Where the time of day may be asked for: it jumps when it is set. All timing is by `io::clock`.
const WALL_CLOCK_PLACES: &[&str] =
    &["src/io/clock.rs", "src/io/log.rs", "src/io/log/", "src/io/storage.rs"];

/// Where `cfg(feature = …)` may stand before anything; in `main.rs` and each `mod.rs` before the
/// declaration of a module.
const FEATURE_PLACES: &[&str] = &["src/lib.rs", "src/service/mod.rs"];

/// Where lengths come from the wire.
const WIRE_PLACES: &[&str] = &["src/codec/", "src/format/", "src/proto/"];

/// Features that only stand for others.
const PRESETS: &[&str] = &["rtmp", "rtmp-hls", "pi", "full"];

/// Lines of a file, tests not counted.
const LINES_MAX: usize = 600;

#[test]
fn modules_use_only_layers_below_them() {
    check(|source, report| {
        let Some(own) = source.module() else { return };
        for (line, path) in source.paths() {
            let mut parts = path.split("::");
            if parts.next() == Some("super") {
                let depth = 1 + parts.take_while(|part| *part == "super").count();
                if depth >= source.depth() {
                    report(line, format!("{path} leaves the module: say crate::"));
                }
            } else if let Some(used) = path.strip_prefix("crate::") {
                let used = used.split("::").next().unwrap_or_default();
                if !may_use(own, used) {
                    report(line, format!("{own} may not use {used}: {path}"));
                }
            }
        }
    });
}

#[test]
fn every_module_has_its_layer() {
    for file in files("src") {
        let source = Source::read(&file);
        if let Some(module) = source.module() {
            assert!(rank(module).is_some() || module == CLIENT, "{}: no layer", source.name);
        }
    }
}

#[test]
fn the_system_is_called_from_its_place_only() {
    check(|source, report| {
        if source.is_in(SYSTEM_PLACES) {
            return;
        }
        for (line, path) in source.paths() {
            // core::net has addresses only, no sockets.
            let found =
                SYSTEM.iter().find(|name| format!("::{path}::").contains(&format!("::{name}::")));
            if let Some(name) = found {
                report(line, format!("{name} belongs to io"));
            }
        }
    });
}

#[test]
fn the_wall_clock_has_no_part_in_timing() {
    check(|source, report| {
        for (at, line) in source.code.lines().enumerate() {
            if line.contains("SystemTime") && !source.is_in(WALL_CLOCK_PLACES) {
                report(at + 1, "SystemTime: ask io::clock".into());
            }
        }
    });
}

#[test]
fn features_are_asked_where_modules_are_declared() {
    check(|source, report| {
        if source.is_in(FEATURE_PLACES) {
            return;
        }
        let modules = source.name == "src/main.rs" || source.name.ends_with("/mod.rs");
        let lines: Vec<_> = source.code.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if !(line.contains("cfg") && line.contains("feature =")) {
                continue;
            }
            let next = lines.get(at + 1).copied().unwrap_or_default().trim_start();
            let words = next.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            let module = words.starts_with("mod ") && next.ends_with(';');
            if !(modules && module) {
                report(at + 1, "cfg(feature) outside a module line".into());
            }
        }
    });
}

#[test]
fn nothing_grows_without_a_bound() {
    check(|source, report| {
        for (at, line) in source.code.lines().enumerate() {
            if line.contains("unbounded") {
                report(at + 1, "unbounded".into());
            }
            let Some((_, rest)) = line.split_once("with_capacity(") else { continue };
            // A constant, the length of what is here, or what somebody bounded.
            let argument = rest.replace("limits::", "");
            let argument = argument.split(')').next().unwrap_or_default();
            let constant = !argument.contains(|c: char| c.is_ascii_lowercase());
            let bounded = rest.contains(".len()") || rest.contains(".min(");
            if source.is_in(WIRE_PLACES) && !constant && !bounded {
                report(at + 1, "capacity that may come from the wire".into());
            }
        }
    });
}

#[test]
fn files_are_short_and_do_not_panic() {
    check(|source, report| {
        let lines = source.lines_without_tests;
        if lines > LINES_MAX {
            report(lines, format!("{lines} lines without tests, {LINES_MAX} are allowed"));
        }
        for (at, line) in source.code.lines().enumerate() {
            for word in [".unwrap()", "todo!", "unimplemented!", "dbg!", "unsafe "] {
                if line.contains(word) {
                    report(at + 1, format!("{word} outside tests"));
                }
            }
        }
    });
}

#[test]
fn every_feature_is_described_used_and_offered() {
    let manifest = read(Path::new("Cargo.toml"));
    let section = manifest.split("[features]").nth(1).unwrap().split("\n[").next().unwrap();
    let sources: String = files("src").iter().map(|file| read(file)).collect();
    let config_in =
        fs::read_to_string(root().join("buildroot/package/runnel/Config.features")).ok();
    let mut broken = Vec::new();
    let mut described = false;
    let mut features = Vec::new();
    for line in section.lines() {
        if let Some((name, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let name = name.trim();
            features.push(name.to_owned());
            if name == "default" || name.starts_with('_') {
                continue;
            }
            if !described {
                broken.push(format!("{name}: no comment above it in Cargo.toml"));
            }
            if !PRESETS.contains(&name) && !sources.contains(&format!("feature = \"{name}\"")) {
                broken.push(format!("{name}: nothing in src/ depends on it"));
            }
            let option = name.to_uppercase().replace('-', "_");
            let option = format!("FEATURE_{option}\n");
            let preset = PRESETS.contains(&name);
            if !preset && config_in.as_ref().is_some_and(|text| !text.contains(&option)) {
                broken.push(format!("{name}: no option for Buildroot: boards/build --options"));
            }
        }
        described = line.starts_with('#');
    }
    let options = config_in.as_deref().unwrap_or_default().lines();
    for option in options.filter_map(|line| line.strip_prefix("config BR2_PACKAGE_RUNNEL_FEATURE_"))
    {
        if !features.contains(&option.to_lowercase().replace('_', "-")) {
            broken.push(format!("{option}: an option for Buildroot without a feature"));
        }
    }
    for board in fs::read_dir(root().join("boards")).unwrap() {
        let path = board.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let list = text.lines().find_map(|line| line.strip_prefix("features = ["));
        let names = list.into_iter().flat_map(|list| list.split('"').skip(1).step_by(2));
        for name in names.filter(|name| !features.iter().any(|feature| feature == name)) {
            broken.push(format!("{}: no feature {name}", path.display()));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn the_reader_of_these_rules_reads_rust() {
    let code = Source::new(
        "src/media/x.rs",
        "use crate::{\n    io::{self, log::id},\n    hub,\n};\n// crate::server\n\
         fn f<'a>() { g(\"crate::server \\\" \", 'c', '\\'', r#\"x \" y\"#); crate::codec::h() }\n\
         #[cfg(test)]\nmod tests {\n    use crate::server;\n}\nfn last() {}\n",
    );
    let paths: Vec<_> = code.paths().into_iter().filter(|(_, p)| p.starts_with("crate")).collect();
    let want = [
        (2, "crate::io::self"),
        (2, "crate::io::log::id"),
        (3, "crate::hub"),
        (6, "crate::codec::h"),
    ];
    assert_eq!(paths, want.map(|(line, path)| (line, path.to_owned())));
    assert_eq!(code.lines_without_tests, 7);
    assert!(code.code.contains("fn last"));
    assert!(may_use("io", "hub") && may_use("io", "io") && !may_use("hub", "io"));
    assert!(may_use(CLIENT, "proto") && !may_use(CLIENT, "hub"));
}

/// Runs `rule` on each source file and fails with all that it reports.
fn check(rule: impl Fn(&Source, &mut dyn FnMut(usize, String))) {
    let mut broken = Vec::new();
    for file in files("src") {
        let source = Source::read(&file);
        rule(&source, &mut |line, what| broken.push(format!("{}:{line}: {what}", source.name)));
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

fn may_use(own: &str, used: &str) -> bool {
    if own == CLIENT {
        return CLIENT_MAY_USE.contains(&used);
    }
    match (rank(own), rank(used)) {
        (Some(own), Some(used)) => used <= own,
        _ => false,
    }
}

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| *layer == module)
}

struct Source {
    /// Relative to the package, with `/`.
    name: String,
    /// Comments, the insides of strings and tests are blank; lines are where they were.
    code: String,
    lines_without_tests: usize,
}

impl Source {
    fn read(file: &Path) -> Self {
        Self::new(&file.to_string_lossy().replace('\\', "/"), &read(file))
    }

    fn new(name: &str, text: &str) -> Self {
        let all = text.lines().count();
        let mut code = without_comments(text);
        let mut test_lines = 0;
        if name.ends_with("/tests.rs") || name.contains("/tests/") {
            code = "\n".repeat(all);
            test_lines = all;
        }
        while let Some(start) = code.find("#[cfg(test)]") {
            let end = start + item_len(&code[start..]);
            let blank: String = code[start..end].chars().filter(|c| *c == '\n').collect();
            test_lines += blank.len() + 1;
            code.replace_range(start..end, &blank);
        }
        Self { name: name.to_owned(), code, lines_without_tests: all - test_lines.min(all) }
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.name.starts_with(place))
    }

    /// `media` of `src/media/time.rs`; none of `lib.rs` and `main.rs`, which may use all.
    fn module(&self) -> Option<&str> {
        let path = self.name.strip_prefix("src/")?;
        let module = path.split('/').next()?.trim_end_matches(".rs");
        (!matches!(module, "lib" | "main")).then_some(module)
    }

    /// Modules between the crate and the code of this file.
    fn depth(&self) -> usize {
        let path = self.name.trim_start_matches("src/").trim_end_matches("/mod.rs");
        path.split('/').count()
    }

    /// All paths of two or more names, and those of `use` trees one by one, with their lines.
    fn paths(&self) -> Vec<(usize, String)> {
        let mut paths = Vec::new();
        let mut at = 0;
        while at < self.code.len() {
            match name_len(&self.code[at..]) {
                0 => at += self.code[at..].chars().next().map_or(1, char::len_utf8),
                _ => at = self.tree(at, "", &mut paths),
            }
        }
        paths
    }

    /// Adds the path or the tree that starts at `at`; where it ends.
    fn tree(&self, mut at: usize, prefix: &str, paths: &mut Vec<(usize, String)>) -> usize {
        let mut path = prefix.to_owned();
        loop {
            let rest = &self.code[at..];
            let len = name_len(rest);
            if len > 0 {
                path.push_str(&rest[..len]);
                at += len;
                if self.code[at..].starts_with("::") {
                    path.push_str("::");
                    at += 2;
                    continue;
                }
            } else if rest.starts_with('{') && path.ends_with("::") {
                at += 1;
                while at < self.code.len() && !self.code[at..].starts_with('}') {
                    match name_len(&self.code[at..]) {
                        0 => at += self.code[at..].chars().next().map_or(1, char::len_utf8),
                        _ => at = self.tree(at, &path, paths),
                    }
                }
                return at + 1;
            }
            let line = self.code[..at].matches('\n').count() + 1;
            if path.contains("::") {
                paths.push((line, path));
            }
            return at;
        }
    }
}

/// The length of the name at the start of `text`; 0 for none.
fn name_len(text: &str) -> usize {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    if text.starts_with(|c: char| c.is_ascii_digit()) { 0 } else { end }
}

/// Bytes up to the end of the item at the start of `text`: a `;` or a block, whichever is first.
fn item_len(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '}' if depth == 1 => return at + 1,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// `text` with comments and what stands in quotes blanked, names of features too.
fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let len = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            'r' if rest.starts_with("r\"") || rest.starts_with("r#") => raw_string_len(rest),
            '"' => string_len(rest),
            '\'' => char_len(rest),
            _ => 0,
        };
        if len == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.extend(rest[..len].chars().map(|c| if c == '\n' { c } else { ' ' }));
            rest = &rest[len..];
        }
    }
    out
}

fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string_len(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    let Some(body) = text[1 + hashes..].strip_prefix('"') else { return 0 };
    let end = format!("\"{}", "#".repeat(hashes));
    body.find(&end).map_or(text.len(), |at| 2 + hashes + at + end.len())
}

/// Of a character; 0 for a lifetime.
fn char_len(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(0, |at| 3 + at + 1),
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// The Rust files under `dir`, relative to the package, in order.
fn files(dir: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![PathBuf::from(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(root().join(&dir)).unwrap() {
            let entry = entry.unwrap();
            let path = dir.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
