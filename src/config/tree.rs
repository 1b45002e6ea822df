//! Tokens to a tree of directives.

use super::{
    Error,
    lexer::{END_IN_DIRECTIVE, Lexer, Token},
};
use crate::limits;

/// `name arg arg;` or `name arg { children }`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directive {
    /// The first word; once old names are replaced, the name of today.
    pub(super) name: String,
    /// The name in the file, when it was another one.
    pub(super) old_name: Option<&'static str>,
    /// The other words.
    pub(super) args: Vec<String>,
    /// What stands between the braces.
    pub(super) children: Vec<Self>,
    /// Whether there were braces.
    pub(super) block: bool,
    /// The line of the first word, from 1.
    pub(super) line: u32,
}

impl Directive {
    /// The name as it stands in the file.
    pub(super) fn written(&self) -> &str {
        self.old_name.unwrap_or(&self.name)
    }

    /// The first argument, empty when there is none.
    pub(super) fn arg(&self) -> &str {
        self.args.first().map_or("", String::as_str)
    }
}

/// The directives of a whole file, as children of a directive without a name.
pub(super) fn parse(text: &[u8]) -> Result<Directive, Error> {
    if text.len() > limits::CONF_BYTES {
        let max = limits::CONF_BYTES;
        return Err(Error::new(0, format!("the file is longer than {max} bytes")));
    }
    let mut lexer = Lexer::new(text);
    // The blocks that are open, outermost first; `current` is the innermost one.
    let mut outer: Vec<Directive> = Vec::new();
    let mut current = Directive { block: true, ..Directive::default() };
    let mut pending: Option<Directive> = None;
    loop {
        let (line, token) = lexer.token()?;
        match (token, pending.take()) {
            (Token::Word(word), None) => {
                pending = Some(Directive { name: word.into(), line, ..Directive::default() });
            }
            (Token::Word(word), Some(mut directive)) => {
                directive.args.push(word.into());
                pending = Some(directive);
            }
            (Token::Semicolon, Some(directive)) => current.children.push(directive),
            (Token::Open, Some(mut directive)) => {
                if outer.len() >= limits::CONF_DEPTH {
                    let max = limits::CONF_DEPTH;
                    return Err(Error::new(line, format!("more than {max} blocks deep")));
                }
                directive.block = true;
                outer.push(std::mem::replace(&mut current, directive));
            }
            (Token::Close, None) => {
                let Some(parent) = outer.pop() else {
                    return Err(Error::new(line, "unexpected \"}\""));
                };
                let done = std::mem::replace(&mut current, parent);
                current.children.push(done);
            }
            (Token::End, None) if outer.is_empty() => return Ok(current),
            (Token::End, None) => {
                let text = format!(
                    "unexpected end of file, expecting \"}}\" for {} of line {}",
                    current.name, current.line
                );
                return Err(Error::new(line, text));
            }
            (Token::End, Some(_)) => return Err(Error::new(line, END_IN_DIRECTIVE)),
            (Token::Semicolon, None) => return Err(Error::new(line, "unexpected ';'")),
            (Token::Open, None) => return Err(Error::new(line, "unexpected '{'")),
            (Token::Close, Some(directive)) => {
                let text = format!("unexpected '}}', no ; after {}", directive.name);
                return Err(Error::new(line, text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Directive, parse};
    use crate::limits;

    /// Text, the line of the error and the beginning of its message.
    const ERRORS: &[(&str, u32, &str)] = &[
        ("a;\n;", 2, "unexpected ';'"),
        ("a;;", 1, "unexpected ';'"),
        ("\"\";", 1, "unexpected ';'"),
        ("\n{", 2, "unexpected '{'"),
        ("a {\n{ } }", 2, "unexpected '{'"),
        ("a {\n b c\n}", 3, "unexpected '}'"),
        ("a;\n\n}", 3, "unexpected \"}\""),
        ("a { b; } }", 1, "unexpected \"}\""),
        ("a {\n b;\n", 3, "unexpected end of file, expecting \"}\""),
        ("a {", 1, "unexpected end of file, expecting \"}\""),
        ("a b\n", 2, "unexpected end of file, expecting ; or \"}\""),
        ("a {\n b", 2, "unexpected end of file, expecting ; or \"}\""),
        ("a \"b", 1, "unexpected end of file, expecting ; or \"}\""),
        ("a \"b\"", 1, "unexpected end of file, expecting ; or \"}\""),
        ("a;\nb \"c\"d;", 2, "unexpected 'd'"),
        ("b 'c'#d\n;", 1, "unexpected '#'"),
        ("b { c 'd'}", 1, "unexpected '}'"),
        ("b \"c\nc\"\"d\";", 2, "unexpected '\"'"),
        ("b 'c'\x01;", 1, "unexpected '\\x01'"),
    ];

    #[test]
    fn every_syntax_error_has_its_line() {
        for (text, line, core) in ERRORS {
            let error = parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.line, *line, "{text:?}: {error}");
            assert!(error.text.starts_with(core), "{text:?}: {error}");
            assert!(error.to_string().starts_with(&format!("line {line}: ")), "{error}");
        }
    }

    #[test]
    fn blocks_nest_and_keep_their_order() {
        let tree = parse(b"a 1 2;\nb x {\n c;\n d { }\n}\na 3;").unwrap();
        let names = |d: &Directive| d.children.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&tree), ["a", "b", "a"]);
        assert_eq!(tree.children[0].args, ["1", "2"]);
        let b = &tree.children[1];
        assert_eq!((b.line, b.arg(), b.block), (2, "x", true));
        assert_eq!(names(b), ["c", "d"]);
        assert!(b.children[1].block && !b.children[0].block);
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = |n: usize| format!("{}{}", "a {".repeat(n), "}".repeat(n));
        assert!(parse(deep(limits::CONF_DEPTH).as_bytes()).is_ok());
        assert!(parse(deep(limits::CONF_DEPTH + 1).as_bytes()).is_err());
        let mut long = vec![b' '; limits::CONF_BYTES];
        assert!(parse(&long).is_ok());
        long.push(b' ');
        assert!(parse(&long).is_err());
    }
}
