//! Bytes of a configuration file to tokens, with the line of each.

use super::Error;
use std::ops::Range;

/// What a configuration file is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A name or an argument, without its quotes; never empty.
    Word(&'a str),
    /// `;`
    Semicolon,
    /// `{`
    Open,
    /// `}`
    Close,
    /// The end of the file.
    End,
}

/// Reads tokens one after the other.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
    /// Where the last token starts.
    start: usize,
}

impl<'a> Lexer<'a> {
    /// A lexer at line 1 of `text`. A UTF-8 byte order mark is skipped: editors add it unasked.
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text), at: 0, line: 1, start: 0 }
    }

    /// Where the last token stands, its quotes included.
    pub(super) fn span(&self) -> Range<usize> {
        self.start..self.at
    }

    /// The next token and the line where it starts; at the end of the file always [`Token::End`].
    pub(super) fn token(&mut self) -> Result<(u32, Token<'a>), Error> {
        loop {
            let line = self.line;
            self.start = self.at;
            let Some(byte) = self.peek() else { return Ok((line, Token::End)) };
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.skip(),
                // Only here, where a token could start: `a#b` is one word.
                b'#' => {
                    while self.peek().is_some_and(|b| b != b'\n') {
                        self.skip();
                    }
                }
                b';' => return Ok((line, self.mark(Token::Semicolon))),
                b'{' => return Ok((line, self.mark(Token::Open))),
                b'}' => return Ok((line, self.mark(Token::Close))),
                b'"' | b'\'' => {
                    // `""` adds no argument.
                    if let Some(word) = self.quoted(byte)? {
                        return Ok((line, Token::Word(word)));
                    }
                }
                _ => return Ok((line, Token::Word(self.plain()?))),
            }
        }
    }

    /// A word in quotes: up to the next quote of the same kind, no escapes, line ends kept.
    fn quoted(&mut self, quote: u8) -> Result<Option<&'a str>, Error> {
        self.skip();
        let (start, line) = (self.at, self.line);
        while self.peek().is_some_and(|b| b != quote) {
            self.skip();
        }
        let word = self.word(start, line)?;
        if self.peek().is_none() {
            return Err(Error::new(self.line, END_IN_DIRECTIVE));
        }
        self.skip();
        match self.peek() {
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{') => {}
            Some(b) if b.is_ascii_graphic() => {
                return Err(Error::new(self.line, format!("unexpected '{}'", char::from(b))));
            }
            Some(b) => return Err(Error::new(self.line, format!("unexpected '\\x{b:02x}'"))),
        }
        Ok((!word.is_empty()).then_some(word))
    }

    /// A word without quotes: up to white space, `;` or `{`; `}` does not end it.
    fn plain(&mut self) -> Result<&'a str, Error> {
        let start = self.at;
        while !matches!(self.peek(), None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{')) {
            self.skip();
        }
        self.word(start, self.line)
    }

    fn word(&self, start: usize, line: u32) -> Result<&'a str, Error> {
        let bytes = self.text.get(start..self.at).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| Error::new(line, "a word is not UTF-8"))
    }

    fn mark(&mut self, token: Token<'a>) -> Token<'a> {
        self.skip();
        token
    }

    fn skip(&mut self) {
        if self.peek() == Some(b'\n') {
            self.line = self.line.saturating_add(1);
        }
        self.at += 1;
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

/// The file ends in the middle of a directive.
pub(super) const END_IN_DIRECTIVE: &str = "unexpected end of file, expecting ; or \"}\"";

#[cfg(test)]
mod tests {
    use super::{Lexer, Token};

    /// Text, and the words of its tokens (`;`, `{`, `}` as themselves).
    const CASES: &[(&str, &[&str])] = &[
        ("listen 1935;", &["listen", "1935", ";"]),
        ("a b\tc\r\nd;", &["a", "b", "c", "d", ";"]),
        ("# all; of { it\na;# more\nb;", &["a", ";", "b", ";"]),
        ("a#b #c\n;", &["a#b", ";"]),
        ("a{b;}", &["a", "{", "b", ";", "}"]),
        ("a on};", &["a", "on}", ";"]),
        ("a \"b; {c}\n# 'd\";", &["a", "b; {c}\n# 'd", ";"]),
        ("a 'b\\' c;", &["a", "b\\", "c", ";"]),
        ("a b\"c\";", &["a", "b\"c\"", ";"]),
        ("a \"\" '' b;", &["a", "b", ";"]),
        ("a \"b\"{}", &["a", "b", "{", "}"]),
        ("\u{feff}a;", &["a", ";"]),
        ("vhost 直播.cn;", &["vhost", "直播.cn", ";"]),
        ("", &[]),
        (" \n# c", &[]),
    ];

    #[test]
    fn words_are_cut_as_the_grammar_says() {
        for (text, words) in CASES {
            let mut lexer = Lexer::new(text.as_bytes());
            let mut got = Vec::new();
            loop {
                match lexer.token().unwrap().1 {
                    Token::Word(word) => got.push(word),
                    Token::Semicolon => got.push(";"),
                    Token::Open => got.push("{"),
                    Token::Close => got.push("}"),
                    Token::End => break,
                }
            }
            assert_eq!(&got, words, "{text:?}");
            assert_eq!(lexer.token().unwrap().1, Token::End);
        }
    }

    #[test]
    fn a_token_has_the_line_where_it_starts() {
        let mut lexer = Lexer::new(b"a\n\n'b\nb' c;\r\nd");
        let lines: Vec<u32> = (0..6).map(|_| lexer.token().unwrap().0).collect();
        assert_eq!(lines, [1, 3, 4, 4, 5, 5]);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_in_words_only() {
        assert!(Lexer::new(b"# \xff\xfe\na;").token().is_ok());
        assert_eq!(Lexer::new(b"\n\xff;").token().unwrap_err().line, 2);
    }
}
