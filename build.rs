//! Turns `[limits]` of `boards/$BOARD.toml` (`generic` unless set) into constants.

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

fn main() {
    let board = env::var("BOARD").unwrap_or_else(|_| "generic".into());
    let file = format!("boards/{board}.toml");
    println!("cargo:rerun-if-env-changed=BOARD");
    println!("cargo:rerun-if-changed={file}");
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}"));
    let mut section = "";
    let mut seen = Vec::new();
    let mut out =
        format!("/// The board this image is made for.\npub const BOARD: &str = {board:?};\n");
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name;
        } else if section == "limits" && !line.is_empty() {
            let at = format!("{file} line {}", number + 1);
            let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{at}: no `=`"));
            let (name, value) = (name.trim(), value.trim());
            assert!(NAMES.contains(&name), "{at}: no limit is called {name}");
            let value: u64 = value.parse().unwrap_or_else(|e| panic!("{at}: {name}: {e}"));
            seen.push(name.to_owned());
            let name = name.to_uppercase();
            writeln!(out, "#[allow(missing_docs)]\npub const {name}: usize = {value};")
                .expect("a String takes what is written");
        }
    }
    for name in NAMES {
        assert!(seen.iter().any(|s| s == name), "{file}: limit {name} is not set");
    }
    let path = Path::new(&env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("limits.rs");
    fs::write(&path, out).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
