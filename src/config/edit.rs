//! Changes to the text of a configuration file. What they do not concern stays as the user wrote
//! it, comments and layout included.

use super::Error;
use super::lexer::{Lexer, Token};
use super::tree;
use std::fmt;
use std::ops::Range;

/// What is to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A directive outside the vhosts gets these words.
    Set(&'static str, Vec<String>),
    /// A vhost that is not there is added.
    CreateVhost(String),
    /// A vhost gets another name.
    RenameVhost(String, String),
    /// A vhost goes.
    DeleteVhost(String),
    /// A vhost is switched.
    SwitchVhost(String, bool),
    /// The words of a directive in a block of a vhost.
    SetInVhost {
        /// The vhost.
        vhost: String,
        /// The block, which is added when it is missing.
        block: &'static str,
        /// The directive.
        name: &'static str,
        /// Its words.
        words: Vec<String>,
    },
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(name, words) => write!(f, "{name} {}", words.join(" ")),
            Self::CreateVhost(name) => write!(f, "create vhost {name}"),
            Self::RenameVhost(name, to) => write!(f, "rename vhost {name} to {to}"),
            Self::DeleteVhost(name) => write!(f, "delete vhost {name}"),
            Self::SwitchVhost(name, on) => write!(f, "vhost {name} enabled {on}"),
            Self::SetInVhost { vhost, block, name, words } => {
                write!(f, "vhost {vhost} {block} {name} {}", words.join(" "))
            }
        }
    }
}

/// The text with `edit` done to it. Whether it can be used then is for [`load`](super::load()) to
/// say. Fails where the text has a syntax error, or no place for the edit.
pub fn apply(text: &[u8], edit: &Edit) -> Result<Vec<u8>, Error> {
    // Also bounds how deep blocks stand.
    tree::parse(text)?;
    let (mark, text) = match text.strip_prefix(MARK) {
        Some(rest) => (MARK, rest),
        None => (&[][..], text),
    };
    let text = std::str::from_utf8(text).map_err(|_| Error::new(0, "the file is not UTF-8"))?;
    let root = Node { body: Some(0..text.len()), children: nodes(text)?, ..Node::default() };
    let vhost = |name: &str| {
        let found = root.children.iter().find(|n| n.name == "vhost" && n.words == [name]);
        found.ok_or_else(|| Error::new(0, format!("no vhost is called {name}")))
    };
    let changed = match edit {
        Edit::Set(name, words) => set(text, &root, 0, name, words)?,
        Edit::CreateVhost(name) => {
            if vhost(name).is_ok() {
                return Err(Error::new(0, format!("there is a vhost {name}")));
            }
            let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            format!("{text}{gap}vhost {} {{\n}}\n", word(name)?)
        }
        Edit::RenameVhost(from, to) => {
            if vhost(to).is_ok() {
                return Err(Error::new(0, format!("there is a vhost {to}")));
            }
            replaced(text, vhost(from)?.args.clone(), &format!(" {} ", word(to)?))
        }
        Edit::DeleteVhost(name) => replaced(text, lines(text, vhost(name)?.whole.clone()), ""),
        Edit::SwitchVhost(name, on) => {
            let on = if *on { "on" } else { "off" };
            set(text, vhost(name)?, 1, "enabled", &[on.to_owned()])?
        }
        Edit::SetInVhost { vhost: of, block, name, words } => {
            let of = vhost(of)?;
            match of.children.iter().find(|n| n.name == *block && n.body.is_some()) {
                Some(found) => set(text, found, 2, name, words)?,
                None => {
                    let line = format!("{block} {{ {name}{}; }}", joined(words)?);
                    insert(text, of, 1, &line)
                }
            }
        }
    };
    Ok([mark, changed.as_bytes()].concat())
}

/// A directive and where it stands.
#[derive(Debug, Default)]
struct Node {
    name: String,
    words: Vec<String>,
    /// From its name to its `;` or `}`.
    whole: Range<usize>,
    /// Between its name and its `;` or `{`.
    args: Range<usize>,
    /// Between its braces.
    body: Option<Range<usize>>,
    children: Vec<Self>,
}

/// The directives of `text`, whose syntax is known to be right.
fn nodes(text: &str) -> Result<Vec<Node>, Error> {
    let mut lexer = Lexer::new(text.as_bytes());
    let mut outer: Vec<Node> = Vec::new();
    let mut children: Vec<Node> = Vec::new();
    let mut pending: Option<Node> = None;
    // The children of those in `outer` that came before.
    let mut before: Vec<Vec<Node>> = Vec::new();
    loop {
        let (_, token) = lexer.token()?;
        let span = lexer.span();
        match token {
            Token::Word(word) => match &mut pending {
                None => {
                    let args = span.end..span.end;
                    let whole = span;
                    pending = Some(Node { name: word.into(), whole, args, ..Node::default() });
                }
                Some(node) => node.words.push(word.into()),
            },
            Token::Semicolon => {
                if let Some(mut node) = pending.take() {
                    node.args.end = span.start;
                    node.whole.end = span.end;
                    children.push(node);
                }
            }
            Token::Open => {
                if let Some(mut node) = pending.take() {
                    node.args.end = span.start;
                    node.body = Some(span.end..span.end);
                    outer.push(node);
                    before.push(std::mem::take(&mut children));
                }
            }
            Token::Close => {
                if let (Some(mut node), Some(siblings)) = (outer.pop(), before.pop()) {
                    node.body = node.body.map(|body| body.start..span.start);
                    node.whole.end = span.end;
                    node.children = std::mem::replace(&mut children, siblings);
                    children.push(node);
                }
            }
            Token::End => return Ok(children),
        }
    }
}

/// Gives the first directive `name` in `block` other words, or adds one.
fn set(
    text: &str,
    block: &Node,
    depth: usize,
    name: &str,
    words: &[String],
) -> Result<String, Error> {
    let words = joined(words)?;
    Ok(match block.children.iter().find(|n| n.name == name && n.body.is_none()) {
        Some(found) => replaced(text, found.args.clone(), &words),
        None => insert(text, block, depth, &format!("{name}{words};")),
    })
}

/// Puts a line at the end of `block`, or beside what stands there in one line.
fn insert(text: &str, block: &Node, depth: usize, line: &str) -> String {
    let body = block.body.clone().unwrap_or_default();
    let inside = text.get(body.clone()).unwrap_or_default();
    let pad = "    ".repeat(depth);
    let last = inside.rfind('\n').map_or(0, |at| at + 1);
    let (start, line) = if depth == 0 {
        let gap = if inside.is_empty() || inside.ends_with('\n') { "" } else { "\n" };
        (body.end, format!("{gap}{line}\n"))
    } else if !inside.contains('\n') {
        let gap = if inside.ends_with(' ') { "" } else { " " };
        (body.end, format!("{gap}{line} "))
    } else if inside.get(last..).is_some_and(|rest| rest.trim().is_empty()) {
        (body.start + last, format!("{pad}{line}\n"))
    } else {
        (body.end, format!("\n{pad}{line}\n"))
    };
    replaced(text, start..start, &line)
}

/// `whole` with the lines that it alone stands in.
fn lines(text: &str, whole: Range<usize>) -> Range<usize> {
    let before = text.get(..whole.start).unwrap_or_default();
    let after = text.get(whole.end..).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let end = after.find('\n').map_or(after.len(), |at| at + 1);
    let alone = |part: Option<&str>| part.is_some_and(|part| part.trim().is_empty());
    if alone(before.get(start..)) && alone(after.get(..end)) {
        start..whole.end + end
    } else {
        whole
    }
}

fn replaced(text: &str, range: Range<usize>, by: &str) -> String {
    let before = text.get(..range.start).unwrap_or_default();
    let after = text.get(range.end..).unwrap_or_default();
    format!("{before}{by}{after}")
}

/// Each word with a blank before it.
fn joined(words: &[String]) -> Result<String, Error> {
    let words: Result<Vec<_>, _> = words.iter().map(|w| word(w).map(|w| format!(" {w}"))).collect();
    words.map(|words| words.concat())
}

/// `text` as a word of the file.
fn word(text: &str) -> Result<String, Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:/[]@%+=,".contains(c);
    let wrong = || Error::new(0, format!("`{}` cannot be written", text.escape_default()));
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(wrong());
    }
    if text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    let quote = ['"', '\''].into_iter().find(|quote| !text.contains(*quote)).ok_or_else(wrong)?;
    Ok(format!("{quote}{text}{quote}"))
}

/// The mark that some editors put at the beginning of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::mutations;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn dvr(vhost: &str, words: &[&str]) -> Edit {
        let (vhost, words) = (vhost.to_owned(), strings(words));
        Edit::SetInVhost { vhost, block: "dvr", name: "dvr_apply", words }
    }

    const FILE: &str = "# mine\nlisten   1935; # rtmp\nmax_connections 10 ;\n\nvhost a { }\n# b's\n\
                        vhost b.com {\n    dvr {\n        enabled on; # yes\n    }\n}\n";

    /// Text, the edit, the text then.
    fn cases() -> Vec<(&'static str, Edit, String)> {
        let set = |name, words: &[&str]| Edit::Set(name, strings(words));
        vec![
            (
                FILE,
                set("listen", &["1935", "1936"]),
                FILE.replace("listen   1935", "listen 1935 1936"),
            ),
            (FILE, set("max_connections", &["20"]), FILE.replace(" 10 ;", " 20;")),
            (FILE, set("pid", &["./a b.pid"]), format!("{FILE}pid \"./a b.pid\";\n")),
            ("listen 1;", set("pid", &["x;y"]), "listen 1;\npid \"x;y\";\n".into()),
            ("\u{feff}listen 1;", set("listen", &["2"]), "\u{feff}listen 2;".into()),
            (FILE, Edit::CreateVhost("c".into()), format!("{FILE}vhost c {{\n}}\n")),
            (
                FILE,
                Edit::RenameVhost("b.com".into(), "c.com".into()),
                FILE.replace("b.com", "c.com"),
            ),
            (FILE, Edit::DeleteVhost("a".into()), FILE.replace("vhost a { }\n", "")),
            ("vhost a{} vhost b{}", Edit::DeleteVhost("a".into()), " vhost b{}".into()),
            (
                FILE,
                Edit::SwitchVhost("a".into(), false),
                FILE.replace("a { }", "a { enabled off; }"),
            ),
            (
                FILE,
                Edit::SwitchVhost("b.com".into(), false),
                FILE.replace("    }\n}\n", "    }\n    enabled off;\n}\n"),
            ),
            (
                "vhost a {\n    enabled off; }",
                Edit::SwitchVhost("a".into(), true),
                "vhost a {\n    enabled on; }".into(),
            ),
            (
                FILE,
                dvr("b.com", &["live/a", "live/b"]),
                FILE.replace("# yes\n", "# yes\n        dvr_apply live/a live/b;\n"),
            ),
            (FILE, dvr("a", &["none"]), FILE.replace("a { }", "a { dvr { dvr_apply none; } }")),
        ]
    }

    #[test]
    fn only_what_is_meant_changes() {
        for (text, edit, want) in cases() {
            let got = apply(text.as_bytes(), &edit).unwrap();
            assert_eq!(String::from_utf8(got).unwrap(), want, "{edit:?}");
            tree::parse(want.as_bytes()).unwrap();
        }
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let edits = [
            Edit::DeleteVhost("x".into()),
            Edit::CreateVhost("a".into()),
            Edit::CreateVhost("".into()),
            Edit::CreateVhost("x\n".into()),
            Edit::CreateVhost("'\"".into()),
            Edit::RenameVhost("a".into(), "b.com".into()),
            Edit::SwitchVhost("x".into(), true),
        ];
        for edit in edits {
            assert!(apply(FILE.as_bytes(), &edit).is_err(), "{edit:?}");
        }
        assert!(apply(b"a {", &Edit::Set("b", Vec::new())).is_err());
    }

    #[test]
    fn no_word_becomes_a_directive() {
        for name in ["a; vhost x {}", "a {", "#", "a }", "b\" c", "\\"] {
            let text = apply(b"listen 1;", &Edit::CreateVhost(name.into())).unwrap();
            let tree = tree::parse(&text).unwrap();
            assert_eq!(tree.children.len(), 2, "{name}");
            assert_eq!(tree.children.last().unwrap().args, [name]);
        }
    }

    #[test]
    fn an_edit_of_a_damaged_file_is_right_or_refused() {
        let edits = [
            Edit::Set("listen", strings(&["7"])),
            Edit::SwitchVhost("b.com".into(), false),
            Edit::DeleteVhost("a".into()),
            dvr("b.com", &["x"]),
        ];
        mutations(FILE.as_bytes(), |text| {
            for edit in &edits {
                if let Ok(after) = apply(text, edit) {
                    tree::parse(&after).unwrap();
                }
            }
        });
    }
}
