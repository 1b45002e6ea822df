//! Requests, responses and interleaved frames: reading and writing (RFC 2326 §4-7, §10.12).

use super::Error;
use crate::limits::{RTSP_BODY, RTSP_HEAD, RTSP_HEADERS, RTSP_RESYNC};
use bytes::Bytes;
use std::fmt;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Method {
    Options,
    Describe,
    Announce,
    Setup,
    Play,
    Pause,
    Record,
    Teardown,
    GetParameter,
    SetParameter,
    Redirect,
    /// Any other.
    Other,
}

/// All that have a name.
const METHODS: [Method; 11] = [
    Method::Options,
    Method::Describe,
    Method::Announce,
    Method::Setup,
    Method::Play,
    Method::Pause,
    Method::Record,
    Method::Teardown,
    Method::GetParameter,
    Method::SetParameter,
    Method::Redirect,
];

impl Method {
    /// As it stands in a request.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Options => "OPTIONS",
            Self::Describe => "DESCRIBE",
            Self::Announce => "ANNOUNCE",
            Self::Setup => "SETUP",
            Self::Play => "PLAY",
            Self::Pause => "PAUSE",
            Self::Record => "RECORD",
            Self::Teardown => "TEARDOWN",
            Self::GetParameter => "GET_PARAMETER",
            Self::SetParameter => "SET_PARAMETER",
            Self::Redirect => "REDIRECT",
            Self::Other => "other",
        }
    }

    fn parse(name: &str) -> Self {
        METHODS.into_iter().find(|method| method.name() == name).unwrap_or(Self::Other)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Header lines in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first value of `name`, whatever the case of its letters.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of `name`.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let lines = self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value.as_str())
    }

    /// Adds a line. Line ends in the value become spaces.
    pub fn push(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into().replace(['\r', '\n'], " ");
        self.0.push((name.to_owned(), value));
    }

    /// The number in `CSeq`, if there is one.
    pub fn cseq(&self) -> Option<u32> {
        self.get("cseq")?.parse().ok()
    }

    /// The id in `Session`, and the seconds after which it ends without a sign of life
    /// (RFC 2326 §12.37).
    pub fn session(&self) -> Option<(&str, Option<u32>)> {
        let mut parts = self.get("session")?.split(';').map(str::trim);
        let id = parts.next().filter(|id| !id.is_empty())?;
        let timeout = parts.find_map(|part| {
            let (name, seconds) = part.split_once('=')?;
            let right = name.trim().eq_ignore_ascii_case("timeout");
            seconds.trim().parse().ok().filter(|_| right)
        });
        Some((id, timeout))
    }
}

/// A request, with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub method: Method,
    /// Of what: a url, or `*`.
    pub uri: String,
    /// Header lines.
    pub headers: Headers,
    /// The body, empty for none.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without header lines.
    pub fn new(method: Method, uri: impl Into<String>) -> Self {
        Self { method, uri: uri.into(), headers: Headers::default(), body: Vec::new() }
    }

    /// With one more header line.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// Appends the request.
    pub fn write(&self, out: &mut Vec<u8>) {
        let uri = self.uri.replace(|c: char| c.is_ascii_whitespace() || c.is_control(), "%20");
        out.extend_from_slice(format!("{} {uri} RTSP/1.0\r\n", self.method).as_bytes());
        write_rest(&self.headers, &self.body, out);
    }
}

/// A response, with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Three digits.
    pub status: u16,
    /// Header lines.
    pub headers: Headers,
    /// The body, empty for none.
    pub body: Vec<u8>,
}

impl Response {
    /// A response without header lines.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Headers::default(), body: Vec::new() }
    }

    /// With one more header line.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// Appends the response.
    pub fn write(&self, out: &mut Vec<u8>) {
        let line = format!("RTSP/1.0 {} {}\r\n", self.status, reason(self.status));
        out.extend_from_slice(line.as_bytes());
        write_rest(&self.headers, &self.body, out);
    }
}

fn write_rest(headers: &Headers, body: &[u8], out: &mut Vec<u8>) {
    for (name, value) in &headers.0 {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if !body.is_empty() {
        out.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// What stands behind a status; empty for one that is not known.
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        453 => "Not Enough Bandwidth",
        454 => "Session Not Found",
        455 => "Method Not Valid in This State",
        459 => "Aggregate Operation Not Allowed",
        461 => "Unsupported Transport",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "RTSP Version Not Supported",
        551 => "Option not supported",
        _ => "",
    }
}

/// Appends a frame between messages (§10.12). Of `packet` 65535 bytes are sent, which no RTCP
/// packet of ours has.
pub(super) fn write_frame(channel: u8, packet: &[u8], out: &mut Vec<u8>) {
    let packet = packet.get(..packet.len().min(65535)).unwrap_or_default();
    out.extend_from_slice(&[b'$', channel]);
    out.extend_from_slice(&(packet.len() as u16).to_be_bytes());
    out.extend_from_slice(packet);
}

/// What a peer sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
    /// A packet on an interleaved channel.
    Frame(u8, Bytes),
}

/// Takes what a peer sends apart, wherever reads cut it.
#[derive(Debug, Default)]
pub struct Parser {
    state: State,
    /// The head of a message or of a frame, the body behind it, or the packet in progress.
    data: Vec<u8>,
    lines: usize,
    /// Channels that frames come on; none: what is neither a message nor a frame is an error.
    channels: Vec<u8>,
    /// Bytes that were skipped since the last item.
    skipped: usize,
    resyncs: u32,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Start,
    /// At what may be neither a message nor a frame: `data` has what may begin one.
    Lost,
    Head,
    Body(Box<Item>, usize),
    FrameHead,
    Frame(u8, usize),
}

impl Parser {
    /// Frames come on these channels. From now on bytes that are neither a message nor a frame are
    /// skipped up to the next message or frame on such a channel, [`RTSP_RESYNC`] at most.
    pub fn expect(&mut self, (rtp, rtcp): (u8, u8)) {
        for channel in [rtp, rtcp] {
            if !self.channels.contains(&channel) {
                self.channels.push(channel);
            }
        }
    }

    /// How often bytes were skipped.
    pub const fn resyncs(&self) -> u32 {
        self.resyncs
    }

    /// Takes the next item from the front of `input`; `None`: all was taken, more is needed.
    /// After an error nothing more can be read.
    pub fn receive(&mut self, input: &mut &[u8]) -> Result<Option<Item>, Error> {
        loop {
            match &mut self.state {
                State::Start => match input.split_first() {
                    None => return Ok(None),
                    // Some peers end bodies with an empty line.
                    Some((b'\r' | b'\n', rest)) => *input = rest,
                    Some((b'$', _)) => {
                        if let Some(item) = whole_frame(input) {
                            return Ok(Some(item));
                        }
                        self.state = State::FrameHead;
                    }
                    Some(_) if !self.channels.is_empty() => {
                        self.skipped = 0;
                        self.state = State::Lost;
                    }
                    Some((first, _)) if first.is_ascii_alphabetic() => self.state = State::Head,
                    Some(_) => return Err(Error::Malformed("neither a message nor a frame")),
                },
                State::Lost => {
                    let Some((byte, rest)) = input.split_first() else { return Ok(None) };
                    self.data.push(*byte);
                    *input = rest;
                    self.state = self.search()?;
                }
                State::Head => {
                    if !self.line(input)? {
                        return Ok(None);
                    }
                    if let Some(item) = self.head_ends()? {
                        return Ok(Some(item));
                    }
                }
                State::Body(_, len) => {
                    if !fill(&mut self.data, *len, input) {
                        return Ok(None);
                    }
                    let body = std::mem::take(&mut self.data);
                    if let State::Body(item, _) = std::mem::take(&mut self.state) {
                        return Ok(Some(with_body(*item, body)));
                    }
                }
                State::FrameHead => {
                    if !fill(&mut self.data, 4, input) {
                        return Ok(None);
                    }
                    if let [_, channel, high, low] = *self.data {
                        let len = usize::from(u16::from_be_bytes([high, low]));
                        self.state = State::Frame(channel, len);
                    }
                    self.data.clear();
                }
                State::Frame(channel, len) => {
                    if !fill(&mut self.data, *len, input) {
                        return Ok(None);
                    }
                    let item = Item::Frame(*channel, std::mem::take(&mut self.data).into());
                    self.state = State::Start;
                    return Ok(Some(item));
                }
            }
        }
    }

    /// Looks at what came so far of a begin, and skips what begins nothing. What is to follow.
    fn search(&mut self) -> Result<State, Error> {
        loop {
            match *self.data {
                [b'$'] => return Ok(State::Lost),
                [b'$', channel, ref rest @ ..] if self.channels.contains(&channel) => match *rest {
                    // Packets have the version of RTP, and no fewer bytes than a report (RFC 3550 §6.4.2).
                    [high, low, first] => {
                        let len = usize::from(u16::from_be_bytes([high, low]));
                        if first >> 6 == 2 && len >= 8 {
                            self.data = vec![first];
                            return Ok(State::Frame(channel, len));
                        }
                    }
                    _ => return Ok(State::Lost),
                },
                _ => {}
            }
            match begins(&self.data) {
                Some(true) => return Ok(State::Head),
                Some(false) => return Ok(State::Lost),
                None => {}
            }
            if self.skipped == 0 {
                self.resyncs = self.resyncs.saturating_add(1);
            }
            self.skipped = self.skipped.saturating_add(1);
            if self.skipped > RTSP_RESYNC {
                return Err(Error::Malformed("neither a message nor a frame"));
            }
            // Few: what begins something is short.
            self.data.remove(0);
        }
    }

    /// Moves the rest of a line to `data`. Whether its end was there.
    fn line(&mut self, input: &mut &[u8]) -> Result<bool, Error> {
        let end = input.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
        let (line, rest) = input.split_at(end.unwrap_or(input.len()));
        if self.data.len() + line.len() > RTSP_HEAD {
            return Err(Error::HeadTooLong);
        }
        self.data.extend_from_slice(line);
        *input = rest;
        if end.is_some() {
            self.lines += 1;
            // The first line, and the empty one.
            if self.lines > RTSP_HEADERS + 2 {
                return Err(Error::HeadTooLong);
            }
        }
        Ok(end.is_some())
    }

    /// The message if the line was the last one of its head, and there is no body to come.
    fn head_ends(&mut self) -> Result<Option<Item>, Error> {
        if !(self.data.ends_with(b"\n\n") || self.data.ends_with(b"\n\r\n")) {
            return Ok(None);
        }
        let (item, len) = head(&String::from_utf8_lossy(&self.data))?;
        // Not only cleared: a connection lives long.
        self.data = Vec::new();
        self.lines = 0;
        self.state = State::Start;
        if len == 0 {
            return Ok(Some(item));
        }
        self.state = State::Body(Box::new(item), len);
        Ok(None)
    }
}

/// Whether `data` has all that a message is known by, or less; `None`: it is of no message.
fn begins(data: &[u8]) -> Option<bool> {
    let names = METHODS.iter().map(|method| (method.name(), " ")).chain([("RTSP", "/1.")]);
    let fits = |(name, behind): (&str, &str)| {
        let all = name.bytes().chain(behind.bytes());
        all.zip(data)
            .all(|(want, have)| want == *have)
            .then_some(data.len() >= name.len() + behind.len())
    };
    names.filter_map(fits).max()
}

/// A frame that is all there, which is the usual case.
fn whole_frame(input: &mut &[u8]) -> Option<Item> {
    let (&[_, channel, high, low], rest) = input.split_first_chunk()?;
    let len = usize::from(u16::from_be_bytes([high, low]));
    let (packet, rest) = rest.split_at_checked(len)?;
    *input = rest;
    Some(Item::Frame(channel, Bytes::copy_from_slice(packet)))
}

/// Moves bytes from `input` until `data` has `len`. Whether it has.
fn fill(data: &mut Vec<u8>, len: usize, input: &mut &[u8]) -> bool {
    let due = len.saturating_sub(data.len());
    let (piece, rest) = input.split_at(due.min(input.len()));
    data.extend_from_slice(piece);
    *input = rest;
    data.len() >= len
}

fn with_body(mut item: Item, bytes: Vec<u8>) -> Item {
    if let Item::Request(Request { body, .. }) | Item::Response(Response { body, .. }) = &mut item {
        *body = bytes;
    }
    item
}

/// Reads a head, up to its empty line; the message, and the length of its body.
fn head(text: &str) -> Result<(Item, usize), Error> {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let mut headers = Headers::default();
    for line in lines {
        if line.is_empty() {
            break;
        }
        if line.starts_with([' ', '\t']) {
            // The line before goes on.
            if let Some((_, value)) = headers.0.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(Error::Malformed("header line"))?;
        headers.0.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let mut len = None;
    for value in headers.all("content-length") {
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        if !digits {
            return Err(Error::Malformed("Content-Length"));
        }
        // Digits only: too many of them.
        let number = value.parse::<usize>().unwrap_or(usize::MAX);
        if len.is_some_and(|other| other != number) {
            return Err(Error::Malformed("two Content-Lengths"));
        }
        len = Some(number);
    }
    let len = len.unwrap_or(0);
    if len > RTSP_BODY {
        return Err(Error::BodyTooLong);
    }
    let body = Vec::new();
    let mut words = first.split_ascii_whitespace();
    let (one, two) = (words.next().unwrap_or_default(), words.next());
    let item = if one.starts_with("RTSP/") {
        let status = two.filter(|word| word.len() == 3).and_then(|word| word.parse().ok());
        let status = status.ok_or(Error::Malformed("status line"))?;
        Item::Response(Response { status, headers, body })
    } else {
        let (Some(uri), Some(version), None) = (two, words.next(), words.next()) else {
            return Err(Error::Malformed("request line"));
        };
        if !version.starts_with("RTSP/1.") {
            return Err(Error::Malformed("not RTSP/1"));
        }
        Item::Request(Request { method: Method::parse(one), uri: uri.to_owned(), headers, body })
    };
    Ok((item, len))
}

#[cfg(test)]
mod tests;
