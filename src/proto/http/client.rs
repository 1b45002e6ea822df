//! The client's side of a connection: one request after another, each when the reply to the last
//! one is over.

use super::body::{Body, Piece, content_length};
use super::response::has_body;
use super::{Error as Wrong, Method};
use crate::limits::{HTTP_HEAD, HTTP_HEADERS};
use crate::proto::Machine;
use bytes::Bytes;
use std::fmt;

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is to be done.
    pub method: Method,
    /// The header `Host`: [`Url::authority`](super::url::Url::authority).
    pub host: &'a str,
    /// Path and query: [`Url::target`](super::url::Url::target).
    pub target: &'a str,
    /// Further headers; a user agent is among them anyway.
    pub headers: &'a [(&'a str, &'a str)],
    /// Empty for none; POST and PUT have a length also then.
    pub body: &'a [u8],
    /// The connection is wanted for more requests.
    pub keep_alive: bool,
}

/// What a server did.
#[derive(Debug)]
pub enum Event {
    /// The head of its reply.
    Head(Box<Head>),
    /// Some of the body; all that one read brought.
    Body(Bytes),
    /// The body is over. Follows each head, also one without a body.
    End,
}

/// The head of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// 200 and the like; never below 200.
    pub status: u16,
    /// The body's length where it is known, 0 for none. What has another ends when it ends.
    pub length: Option<u64>,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The value of the header `name`, whatever the case of its letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All headers in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Where it sends the client, for a status that means that (RFC 9110 §15.4).
    pub fn location(&self) -> Option<&str> {
        let status = matches!(self.status, 301 | 302 | 303 | 307 | 308);
        self.header("location").filter(|_| status)
    }
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The request cannot be written: what cannot stand in it.
    Request(&'static str),
    /// The reply cannot be read.
    Malformed(&'static str),
    /// Its head is longer than [`HTTP_HEAD`], or has more than [`HTTP_HEADERS`] lines.
    TooLong,
    /// A transfer coding other than chunked.
    Coding,
    /// Not HTTP/1.
    Version,
    /// Bytes that answer no request.
    Unasked,
    /// The connection ended before the reply did.
    CutOff,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(what) => write!(f, "the request cannot have such a {what}"),
            Self::Malformed(what) => write!(f, "malformed HTTP reply: {what}"),
            Self::TooLong => {
                write!(
                    f,
                    "the reply's head has more than {HTTP_HEAD} bytes or {HTTP_HEADERS} lines"
                )
            }
            Self::Coding => f.write_str("unknown transfer coding of the reply"),
            Self::Version => f.write_str("the reply is not HTTP/1"),
            Self::Unasked => f.write_str("a reply that was not asked for"),
            Self::CutOff => f.write_str("the connection ended before the reply did"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Wrong> for Error {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Malformed(what) => Self::Malformed(what),
            Wrong::TooLong => Self::TooLong,
            Wrong::Coding => Self::Coding,
            Wrong::Version => Self::Version,
            Wrong::PathTooLong | Wrong::Path(_) => Self::Malformed("path"),
        }
    }
}

/// A connection as its client sees it.
#[derive(Debug)]
pub struct Client {
    state: State,
    /// The head in progress, at most [`HTTP_HEAD`] bytes.
    head: Vec<u8>,
    out: Vec<u8>,
    sent: usize,
    /// The reply in progress has no body, whatever it says.
    is_head: bool,
    keep_alive: bool,
    /// Nothing of the reply has come.
    untouched: bool,
}

#[derive(Debug)]
enum State {
    /// No reply is due.
    Idle,
    /// In a head. So many were only on the way to the reply.
    Head(u8),
    Body(Body),
    /// All that comes is body.
    UntilClose,
    /// The body was given away, its end was not told.
    End,
    /// Something was wrong.
    Broken(Error),
}

impl Default for Client {
    fn default() -> Self {
        Self {
            state: State::Idle,
            head: Vec::new(),
            out: Vec::new(),
            sent: 0,
            is_head: false,
            keep_alive: true,
            untouched: true,
        }
    }
}

impl Client {
    /// Writes a request. Only when no reply is due.
    pub fn request(&mut self, request: &Request<'_>) -> Result<(), Error> {
        if !matches!(self.state, State::Idle) || !self.keep_alive {
            return Err(Error::Request("predecessor"));
        }
        if request.method == Method::Other {
            return Err(Error::Request("method"));
        }
        let mut text = line(&[request.method.name(), " ", request.target, " HTTP/1.1"]);
        if !request.target.starts_with('/') || !request.target.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(Error::Request("target"));
        }
        let own = concat!("runnel/", env!("CARGO_PKG_VERSION"));
        let mut header = |name: &str, value: &str| {
            let is_token = |b: u8| b.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&b);
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(Error::Request("name of a header"));
            }
            if value.chars().any(char::is_control) {
                return Err(Error::Request("header"));
            }
            text.push_str(&line(&[name, ": ", value]));
            Ok(())
        };
        header("Host", request.host)?;
        if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
            header("User-Agent", own)?;
        }
        header("Connection", if request.keep_alive { "Keep-Alive" } else { "close" })?;
        for (name, value) in request.headers {
            header(name, value)?;
        }
        if !request.body.is_empty() || matches!(request.method, Method::Post | Method::Put) {
            header("Content-Length", &request.body.len().to_string())?;
        }
        text.push_str("\r\n");
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(request.body);
        self.state = State::Head(0);
        self.is_head = request.method == Method::Head;
        self.keep_alive = request.keep_alive;
        self.untouched = true;
        Ok(())
    }

    /// The server closed the connection. Whether the reply in progress, if there is one, is over
    /// with that; else it is cut off.
    pub fn closed(&mut self) -> Result<(), Error> {
        self.keep_alive = false;
        match std::mem::replace(&mut self.state, State::Broken(Error::CutOff)) {
            State::Idle | State::End | State::UntilClose => {
                self.state = State::Idle;
                Ok(())
            }
            State::Broken(error) => Err(error),
            State::Head(_) | State::Body(_) => Err(Error::CutOff),
        }
    }

    /// Whether another request may follow on the connection.
    pub fn is_free(&self) -> bool {
        matches!(self.state, State::Idle) && self.keep_alive && self.send_buf().is_empty()
    }

    /// Whether no byte has come since the request.
    pub fn is_untouched(&self) -> bool {
        self.untouched
    }

    fn receive_head(&mut self, input: &mut &[u8], interim: u8) -> Result<Option<Event>, Error> {
        self.untouched &= input.is_empty();
        while let Some(end) = input.iter().position(|&b| b == b'\n') {
            let (line, rest) = input.split_at(end + 1);
            *input = rest;
            if self.head.is_empty() && line.trim_ascii().is_empty() {
                // Behind the body of the reply before (RFC 9112 §2.2).
                continue;
            }
            self.append(line)?;
            if !(self.head.ends_with(b"\n\n") || self.head.ends_with(b"\n\r\n")) {
                continue;
            }
            let bytes = std::mem::take(&mut self.head);
            let (mut head, is_1_1) = parse(&bytes)?;
            match head.status {
                100 | 102..=199 if interim < INTERIM_MAX => {
                    self.state = State::Head(interim + 1);
                    return self.receive_head(input, interim + 1);
                }
                0..=199 => return Err(Error::Malformed("status")),
                _ => {}
            }
            self.begin_body(&mut head, is_1_1)?;
            return Ok(Some(Event::Head(Box::new(head))));
        }
        self.append(input)?;
        *input = &[];
        Ok(None)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.head.len() + bytes.len() > HTTP_HEAD {
            return Err(Error::TooLong);
        }
        self.head.extend_from_slice(bytes);
        Ok(())
    }

    /// The form of the body (RFC 9112 §6.3).
    fn begin_body(&mut self, head: &mut Head, is_1_1: bool) -> Result<(), Error> {
        let connection = head.header("connection").unwrap_or_default().to_ascii_lowercase();
        let says = |word: &str| connection.split(',').any(|w| w.trim() == word);
        self.keep_alive &= if is_1_1 { !says("close") } else { says("keep-alive") };
        if self.is_head || !has_body(head.status) {
            head.length = Some(0);
            self.state = State::End;
            return Ok(());
        }
        let all = |name: &'static str| {
            head.headers().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
        };
        let mut length = content_length(all("content-length")).map_err(Error::Malformed)?;
        let (coding, another) = {
            let mut codings = all("transfer-encoding");
            (codings.next(), codings.next())
        };
        self.state = match (coding, another, length) {
            (None, _, Some(length)) => State::Body(Body::of_length(length)),
            (None, _, None) => State::UntilClose,
            (Some(coding), None, _) if coding.eq_ignore_ascii_case("chunked") => {
                // Two readers could see two ends: what follows is not to be trusted.
                self.keep_alive &= length.is_none() && is_1_1;
                length = None;
                State::Body(Body::chunked())
            }
            _ => return Err(Error::Coding),
        };
        head.length = length;
        Ok(())
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Error> {
        match &mut self.state {
            State::Idle if input.is_empty() => Ok(None),
            State::Idle => Err(Error::Unasked),
            State::Broken(error) => Err(*error),
            State::Head(interim) => {
                let interim = *interim;
                self.receive_head(input, interim)
            }
            State::UntilClose if input.is_empty() => Ok(None),
            State::UntilClose => {
                Ok(Some(Event::Body(Bytes::copy_from_slice(std::mem::take(input)))))
            }
            State::Body(body) => {
                // In one piece, however short the chunks are.
                let mut all = Vec::new();
                let over = loop {
                    match body.take(input)? {
                        Piece::Data(bytes) => all.extend_from_slice(bytes),
                        Piece::End => break true,
                        Piece::More => break false,
                    }
                };
                if over {
                    self.state = State::End;
                }
                if !all.is_empty() {
                    return Ok(Some(Event::Body(all.into())));
                }
                if over { self.advance(input) } else { Ok(None) }
            }
            State::End => {
                self.state = State::Idle;
                Ok(Some(Event::End))
            }
        }
    }
}

impl Machine for Client {
    type Event = Event;
    type Error = Error;

    fn receive(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Error> {
        self.advance(input).inspect_err(|&error| {
            self.keep_alive = false;
            self.state = State::Broken(error);
        })
    }

    fn send_buf(&self) -> &[u8] {
        self.out.get(self.sent..).unwrap_or_default()
    }

    fn send_done(&mut self, n: usize) {
        self.sent += n;
        if self.sent >= self.out.len() {
            self.out = Vec::new();
            self.sent = 0;
        }
    }
}

/// Heads that only announce the reply.
const INTERIM_MAX: u8 = 8;

fn line(parts: &[&str]) -> String {
    parts.concat() + "\r\n"
}

fn parse(bytes: &[u8]) -> Result<(Head, bool), Error> {
    let mut lines = [httparse::EMPTY_HEADER; HTTP_HEADERS];
    let mut reply = httparse::Response::new(&mut lines);
    match reply.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Error::Malformed("empty line")),
        Err(httparse::Error::TooManyHeaders) => return Err(Error::TooLong),
        Err(httparse::Error::Version) => return Err(Error::Version),
        Err(_) => return Err(Error::Malformed("status line or header")),
    }
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
    let headers = reply.headers.iter().map(|h| (h.name.to_owned(), text(h.value))).collect();
    let status = reply.code.ok_or(Error::Malformed("status"))?;
    Ok((Head { status, length: None, headers }, reply.version == Some(1)))
}

#[cfg(test)]
mod tests;
