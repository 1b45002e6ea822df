//! Turns `boards/$BOARD.toml` (`generic` unless set) and the features of this image into constants
//! of `limits`, and the presets of `Cargo.toml` into a table. What is wrong with a board ends the
//! build with the line.

use std::collections::BTreeMap;
use std::{env, fmt::Write, fs, path::Path};

/// The names that `[limits]` must set, no more and no fewer.
const NAMES: &[&str] = &[
    "max_streams",
    "max_clients",
    "media_pool",
    "ring_bytes",
    "ring_packets",
    "message_max",
    "stalled_bytes",
    "sndbuf",
];
/// What stands above them. Only `memory` and `features` matter here, the rest is for `boards/build`.
const KEYS: &[&str] = &["target", "features", "opt-level", "memory", "conf"];
/// The features that stand for others and have a name for users.
const PRESETS: &[&str] = &["rtmp", "rtmp-hls", "pi", "full"];

fn main() {
    let board = env::var("BOARD").unwrap_or_else(|_| "generic".into());
    let file = format!("boards/{board}.toml");
    for changed in [&file, "Cargo.toml", "build.rs"] {
        println!("cargo:rerun-if-changed={changed}");
    }
    println!("cargo:rerun-if-env-changed=BOARD");
    let features = features(&read("Cargo.toml"));
    write("limits.rs", &(limits(&board, &file, &features) + &image(&features)));
    write("presets.rs", &presets(&features));
}

/// The constants that the board sets.
fn limits(board: &str, file: &str, features: &BTreeMap<String, Vec<String>>) -> String {
    let text = read(file);
    let mut out = format!("pub const BOARD: &str = {board:?};\n");
    let mut in_limits = false;
    let mut seen = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let at = format!("{file} line {}", number + 1);
        if line.is_empty() {
            continue;
        }
        if line.starts_with('[') {
            assert!(line == "[limits]", "{at}: the only section is [limits]");
            in_limits = true;
            let _ = writeln!(out, "pub const LIMITS_AT: &str = {at:?};");
            continue;
        }
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{at}: no `=`"));
        let (name, value) = (name.trim(), value.trim());
        assert!(!seen.iter().any(|s| s == name), "{at}: {name} is there already");
        seen.push(name.to_owned());
        let known = if in_limits { NAMES } else { KEYS };
        assert!(known.contains(&name), "{at}: {name} is none of {}", known.join(", "));
        if name == "features" {
            for feature in strings(value) {
                assert!(features.contains_key(feature), "{at}: there is no feature {feature}");
            }
        } else if in_limits || name == "memory" {
            let value: u64 = value.parse().unwrap_or_else(|e| panic!("{at}: {name}: {e}"));
            assert!((1..1 << 40).contains(&value), "{at}: {name} is not from 1 to a terabyte");
            // A 32-bit machine has no more than it can address.
            let wide = env::var("CARGO_CFG_TARGET_POINTER_WIDTH").is_ok_and(|bits| bits == "64");
            let value = if wide { value } else { value.min(u32::MAX.into()) };
            let name = name.to_uppercase();
            let _ = writeln!(out, "pub const {name}: usize = {value};");
            let _ = writeln!(out, "pub const {name}_AT: &str = {at:?};");
        }
    }
    for name in NAMES.iter().chain(&["memory"]) {
        assert!(seen.iter().any(|s| s == name), "{file}: {name} is not set");
    }
    out
}

/// `HAS_...`: whether a feature is in this image.
fn image(features: &BTreeMap<String, Vec<String>>) -> String {
    let mut out = String::new();
    for feature in features.keys() {
        let name = feature.to_uppercase().replace('-', "_");
        let has = env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
        let _ = writeln!(out, "pub const HAS_{}: bool = {has};", name.trim_start_matches('_'));
    }
    out
}

/// The features of the package and what each one turns on by itself.
fn features(manifest: &str) -> BTreeMap<String, Vec<String>> {
    let section = manifest.split("\n[features]\n").nth(1).expect("Cargo.toml has features");
    let section = section.split("\n[").next().unwrap_or_default();
    let mut features = BTreeMap::new();
    let mut open = String::new();
    for line in section.lines().filter(|line| !line.trim_start().starts_with('#')) {
        open += line;
        if open.contains(']') {
            let (name, list) = open.split_once('=').expect("a feature is `name = [...]`");
            let list = strings(list).map(str::to_owned).collect();
            features.insert(name.trim().to_owned(), list);
            open.clear();
        }
    }
    features
}

/// `PRESETS`: each preset with all that it turns on.
fn presets(features: &BTreeMap<String, Vec<String>>) -> String {
    let mut out = String::from("const PRESETS: &[(&str, &[&str])] = &[\n");
    for preset in PRESETS {
        let mut all = vec![(*preset).to_owned()];
        let mut at = 0;
        while let Some(name) = all.get(at).cloned() {
            for more in features.get(&name).into_iter().flatten() {
                if !more.contains(':') && !all.contains(more) {
                    all.push(more.clone());
                }
            }
            at += 1;
        }
        let _ = writeln!(out, "    ({preset:?}, &{all:?}),");
    }
    out + "];\n"
}

/// What stands in double quotes.
fn strings(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn write(name: &str, text: &str) {
    let path = Path::new(&env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join(name);
    fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
