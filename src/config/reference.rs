//! Every directive there is, in words.

use super::{
    Config,
    load::{MOVED, MOVED_MR},
    section::{Block, Field, Section},
};
use crate::media::{Decimal, decimal};

/// One directive, for programs that print or check the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The blocks it stands in, as `vhost.hls`; empty for the file itself.
    pub section: String,
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Its type, and its range if it has one.
    pub kind: String,
    /// The default as a file would say it, or `none`.
    pub default: String,
    /// The part of the image it needs; `a|b` for one of two, empty for none.
    pub needs: &'static str,
}

/// All directives, in the order of [`reference()`]; a block comes before what is in it.
pub fn fields() -> Vec<Description> {
    let mut fields = Vec::new();
    list(&Config::default(), "", "", &mut fields);
    fields
}

/// A configuration file with every directive, its meaning, its type and its default. What costs
/// something is off in it.
pub fn reference() -> String {
    let mut out = String::from(HEAD);
    print(&Config::default(), "", 0, &mut out);
    out
}

fn list(section: &dyn Section, path: &str, needs: &'static str, out: &mut Vec<Description>) {
    let block = section.block();
    for (field, value) in block.fields.iter().zip(section.values()) {
        let range = field
            .range
            .map(|(low, high)| format!(", {} to {}", Decimal::short(*low), Decimal::short(*high)));
        let inner = value.section();
        let needs = [field.needs, inner.as_ref().map_or("", |inner| inner.block().needs), needs]
            .into_iter()
            .find(|needs| !needs.is_empty())
            .unwrap_or("");
        out.push(Description {
            section: path.into(),
            name: field.name,
            doc: field.doc.trim(),
            kind: value.kind() + &range.unwrap_or_default(),
            default: default(field, &value.text()).into(),
            needs,
        });
        if let Some(inner) = inner {
            list(&*inner, &join(path, field.name), needs, out);
        }
    }
}

fn print(section: &dyn Section, path: &str, depth: usize, out: &mut String) {
    let pad = "    ".repeat(depth);
    let block = section.block();
    for (at, (field, value)) in block.fields.iter().zip(section.values()).enumerate() {
        if at > 0 {
            out.push('\n');
        }
        let sample = if field.sample.is_empty() { value.text() } else { field.sample.into() };
        if let Some(inner) = value.section() {
            let about = inner.block();
            let args = if sample.is_empty() { sample } else { format!(" {sample}") };
            let lines = [about.about.trim().into(), notes(about, field, path, "")];
            comment(&pad, &lines, out);
            *out += &format!("{pad}{}{args} {{\n", field.name);
            print(&*inner, &join(path, field.name), depth + 1, out);
            *out += &format!("{pad}}}\n");
            continue;
        }
        let kind = match field.range {
            Some((low, high)) => {
                format!("{}, {} to {}", value.kind(), Decimal::short(*low), Decimal::short(*high))
            }
            None => value.kind(),
        };
        let default = format!("default: {}", default(field, &value.text()));
        let notes = notes(block, field, path, &kind);
        comment(&pad, &[field.doc.trim().into(), notes, default], out);
        let end = if sample.starts_with('{') { "" } else { ";" };
        *out += &format!("{pad}{} {sample}{end}\n", field.name);
    }
}

/// The type of a directive, what it needs, and what it was called.
fn notes(block: &Block, field: &Field, path: &str, kind: &str) -> String {
    let mut notes = String::from(kind);
    let is_block = kind.is_empty();
    let needs = if is_block { block.needs } else { field.needs };
    let mut add = |text: String| {
        let gap = if notes.is_empty() { "" } else { "; " };
        notes += &format!("{gap}{text}");
    };
    if !needs.is_empty() {
        add(format!("needs {}", needs.replace('|', " or ")));
    }
    for old in old_names(path, field.name) {
        add(format!("also {old}"));
    }
    notes
}

fn comment(pad: &str, lines: &[String], out: &mut String) {
    for line in lines.iter().filter(|line| !line.is_empty()) {
        for line in line.lines() {
            *out += &format!("{pad}# {}\n", line.trim_start());
        }
    }
}

/// How the directive `name` of the block at `path` was written in SRS 1 and 2.
fn old_names(path: &str, name: &str) -> Vec<String> {
    let mut names = Vec::new();
    let block = path.strip_prefix("vhost.").unwrap_or_default();
    for (old, at, new) in MOVED {
        if *at == block && *new == name {
            names.push(format!("{old} in vhost"));
        }
    }
    for (old, new) in MOVED_MR.iter().filter(|_| block == "publish") {
        if *new == name {
            names.push(format!("{old} in vhost.mr"));
        }
    }
    match (path, name) {
        ("", "http_server") => names.push("http_stream".into()),
        ("vhost", "http_static") => names.push("http".into()),
        _ => {}
    }
    names
}

/// The default in words. One outside its own range stands for no value.
fn default<'t>(field: &Field, text: &'t str) -> &'t str {
    let number = decimal(text);
    let outside = match (field.range, number) {
        (Some((low, high)), Some(number)) => number < *low || number > *high,
        _ => false,
    };
    if text.is_empty() || outside { "none" } else { text }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

const HEAD: &str = "\
# Every directive that runnel knows, with its type and its default.
#
# A directive is `name value;` or `name value { more directives }`. A value with a space, a ; or a {
# in it stands in quotes, \" or '. Of a directive given twice the first one counts. A part that an
# image was made without is read and checked all the same, and named once at start.
#
# This file is generated: UPDATE_CONF=1 cargo test --lib config

";
