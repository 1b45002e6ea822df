//! The body of a request as it comes in: of a length, or in chunks (RFC 9112 §7.1).

use super::Error;

/// The longest line between chunks; extensions and trailers are skipped within it.
const LINE_MAX: usize = 256;
/// Lines after the last chunk.
const TRAILERS_MAX: usize = 64;

/// What the `Content-Length` headers with these values say (RFC 9112 §6.3). What two readers could
/// understand differently is an error.
pub(super) fn content_length<'h>(
    values: impl Iterator<Item = &'h str>,
) -> Result<Option<u64>, &'static str> {
    let mut length = None;
    for value in values {
        let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        let number = value.parse::<u64>().ok().filter(|_| digits).ok_or("Content-Length")?;
        if length.is_some_and(|other| other != number) {
            return Err("two Content-Lengths");
        }
        length = Some(number);
    }
    Ok(length)
}

/// What is still to come of a body.
#[derive(Debug)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunks),
    /// All that comes before the client closes its side.
    Open,
}

/// A piece of input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Some of the body.
    Data(&'a [u8]),
    /// It is over.
    End,
    /// All was taken, more is needed.
    More,
}

/// Where in the chunks.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    line: Vec<u8>,
    trailers: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Size,
    Data(u64),
    /// The line end behind the data.
    After,
    Trailer,
}

impl Body {
    pub(super) const fn of_length(length: u64) -> Self {
        Self::Length(length)
    }

    pub(super) const fn chunked() -> Self {
        Self::Chunked(Chunks { state: State::Size, line: Vec::new(), trailers: 0 })
    }

    /// The length if it is known.
    pub(super) const fn length(&self) -> Option<u64> {
        match self {
            Self::Length(length) => Some(*length),
            Self::Chunked(_) | Self::Open => None,
        }
    }

    /// Takes the next piece from the front of `input`.
    pub(super) fn take<'a>(&mut self, input: &mut &'a [u8]) -> Result<Piece<'a>, Error> {
        match self {
            Self::Length(0) => Ok(Piece::End),
            Self::Length(left) => Ok(data(left, input)),
            Self::Chunked(chunks) => chunks.take(input),
            Self::Open if input.is_empty() => Ok(Piece::More),
            Self::Open => Ok(Piece::Data(std::mem::take(input))),
        }
    }
}

fn data<'a>(left: &mut u64, input: &mut &'a [u8]) -> Piece<'a> {
    let most = usize::try_from(*left).unwrap_or(usize::MAX);
    let (piece, rest) = input.split_at(input.len().min(most));
    *input = rest;
    *left -= piece.len() as u64;
    if piece.is_empty() { Piece::More } else { Piece::Data(piece) }
}

impl Chunks {
    fn take<'a>(&mut self, input: &mut &'a [u8]) -> Result<Piece<'a>, Error> {
        loop {
            if let State::Data(left) = &mut self.state {
                if *left > 0 {
                    return Ok(data(left, input));
                }
                self.state = State::After;
            }
            if !self.line(input)? {
                return Ok(Piece::More);
            }
            let line = std::mem::take(&mut self.line);
            match self.state {
                State::Size => {
                    self.state = match size(&line)? {
                        0 => State::Trailer,
                        size => State::Data(size),
                    };
                }
                State::After if line.is_empty() => self.state = State::Size,
                State::Trailer if line.is_empty() => return Ok(Piece::End),
                State::Trailer if self.trailers < TRAILERS_MAX => self.trailers += 1,
                _ => return Err(Error::Malformed("chunk")),
            }
        }
    }

    /// Gathers a line without its end. Whether it is whole.
    fn line(&mut self, input: &mut &[u8]) -> Result<bool, Error> {
        let end = input.iter().position(|&b| b == b'\n');
        let (piece, rest) = input.split_at(end.unwrap_or(input.len()));
        if self.line.len() + piece.len() > LINE_MAX {
            return Err(Error::Malformed("line between chunks too long"));
        }
        self.line.extend_from_slice(piece);
        *input = rest.get(1..).unwrap_or_default();
        if end.is_some() && self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        Ok(end.is_some())
    }
}

fn size(line: &[u8]) -> Result<u64, Error> {
    let text = line.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    let text = str::from_utf8(text).unwrap_or_default();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    let size = u64::from_str_radix(text, 16).ok().filter(|_| digits);
    size.ok_or(Error::Malformed("chunk size"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of a body that comes in pieces of `step`, and what is left behind it.
    fn read(mut body: Body, input: &[u8], step: usize) -> Result<(Vec<u8>, usize), Error> {
        let mut out = Vec::new();
        let mut left = input.len();
        for piece in input.chunks(step) {
            let mut piece = piece;
            loop {
                let before = piece.len();
                let taken = body.take(&mut piece)?;
                left -= before - piece.len();
                match taken {
                    Piece::Data(bytes) => out.extend_from_slice(bytes),
                    Piece::End => return Ok((out, left)),
                    Piece::More => break,
                }
            }
        }
        Err(Error::Malformed("cut off"))
    }

    #[test]
    fn chunks_are_joined_wherever_reads_cut_them() {
        let text =
            b"3\r\nabc\r\n1;ext=\"x\"\r\nd\r\n0010\n0123456789abcdef\r\n0\r\nT: x\r\n\r\nNEXT";
        for step in 1..text.len() {
            let (body, left) = read(Body::chunked(), text, step).unwrap();
            assert_eq!((body.as_slice(), left), (b"abcd0123456789abcdef".as_slice(), 4));
        }
    }

    #[test]
    fn a_length_is_kept() {
        assert_eq!(read(Body::of_length(3), b"abcd", 2), Ok((b"abc".to_vec(), 1)));
        assert_eq!(read(Body::of_length(0), b"abcd", 2), Ok((vec![], 4)));
    }

    #[test]
    fn broken_chunks_are_refused() {
        for text in ["x\r\n", "\r\n", "-1\r\n", "+1\r\n", "fffffffffffffffff\r\n", "1\r\nabc\r\n"] {
            assert!(read(Body::chunked(), text.as_bytes(), 1).is_err(), "{text}");
        }
        assert!(read(Body::chunked(), &b"0".repeat(LINE_MAX + 1), 64).is_err());
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(TRAILERS_MAX + 1));
        assert!(read(Body::chunked(), trailers.as_bytes(), 64).is_err());
    }
}
