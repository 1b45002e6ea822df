//! The server's side of a connection: requests come one after another, each is answered before the
//! next one is read.

use super::body::{Body, Piece};
use super::response::{Form, has_body};
use super::{Error, Length, Method, Request, Response, reason};
use crate::limits::{HTTP_HEAD, HTTP_UNWANTED};
use crate::proto::Machine;
use bytes::Bytes;

/// What a client did.
#[derive(Debug)]
pub enum Event {
    /// The first byte of a request came.
    Begun,
    /// The head of a request. It has to be answered: [`Server::respond`], the body through
    /// whoever drives the machine, [`Server::finish`].
    Request(Box<Request>),
    /// Some of the request's body.
    Body(Bytes),
    /// The body is over. Follows each request, also one without a body.
    End,
}

/// A connection as its server sees it.
#[derive(Debug)]
pub struct Server {
    state: State,
    /// The head in progress, at most [`HTTP_HEAD`] bytes.
    head: Vec<u8>,
    /// What is due of heads; bodies do not go through the machine.
    out: Vec<u8>,
    sent: usize,
    /// Of the request in progress.
    is_head: bool,
    is_1_1: bool,
    keep_alive: bool,
    /// The server leaves: this connection ends with the next answer.
    leaving: bool,
    form: Form,
    /// Whether there is a body to the answer in progress.
    sends_body: bool,
}

#[derive(Debug)]
enum State {
    /// Between requests, or in a head.
    Head,
    /// In the body of a request. Unwanted ones are dropped, up to so many bytes.
    Body { body: Body, unwanted: Option<usize> },
    /// All of the request is here, the answer is not.
    Answer,
    /// Nothing of what comes matters any more.
    Deaf,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            state: State::Head,
            head: Vec::new(),
            out: Vec::new(),
            sent: 0,
            is_head: false,
            is_1_1: true,
            keep_alive: true,
            leaving: false,
            form: Form::Plain,
            sends_body: false,
        }
    }
}

impl Server {
    /// Writes the head of the answer. Whether its body is to be sent: not for HEAD, nor for a
    /// status without one.
    pub fn respond(&mut self, response: &Response<'_>) -> bool {
        self.form = match response.length {
            Length::Open if self.is_1_1 => Form::Chunked,
            Length::Open => {
                self.keep_alive = false;
                Form::Plain
            }
            Length::Known(_) => Form::Plain,
        };
        response.write(self.form, self.keep_alive, &mut self.out);
        self.sends_body = has_body(response.status) && !self.is_head;
        self.sends_body
    }

    /// The connection ends with this answer, which is not yet begun.
    pub fn close_after(&mut self) {
        self.keep_alive = false;
    }

    /// Whether the body of the answer goes out in chunks.
    pub fn is_chunked(&self) -> bool {
        self.form == Form::Chunked
    }

    /// Adds to the body of the answer, as a chunk where that is its form. For what is small.
    pub fn body(&mut self, bytes: &[u8]) {
        if !self.sends_body || bytes.is_empty() {
            return;
        }
        if self.is_chunked() {
            self.out.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
        }
        self.out.extend_from_slice(bytes);
        if self.is_chunked() {
            self.out.extend_from_slice(b"\r\n");
        }
    }

    /// The answer is complete. Whether the connection goes on.
    pub fn finish(&mut self) -> bool {
        if self.is_chunked() && self.sends_body {
            self.out.extend_from_slice(b"0\r\n\r\n");
        }
        self.state = match std::mem::replace(&mut self.state, State::Deaf) {
            State::Body { body, .. } if self.keep_alive => {
                State::Body { body, unwanted: Some(HTTP_UNWANTED) }
            }
            State::Answer if self.keep_alive => State::Head,
            _ => State::Deaf,
        };
        self.keep_alive
    }

    /// Takes all that follows as the body of the request, which is
    /// [silent](Request::is_silent_on_body) on it. There is no [`Event::End`]: it is over when the
    /// client closes its side, and no other request follows.
    pub fn open_body(&mut self) {
        self.state = State::Body { body: Body::Open, unwanted: None };
        self.keep_alive = false;
    }

    /// From here on what the client sends is dropped: the answer goes on until somebody ends it.
    pub fn ignore_input(&mut self) {
        self.state = State::Deaf;
    }

    fn receive_head(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Error> {
        if self.head.is_empty() {
            // Some clients end a body with an empty line (RFC 9112 §2.2).
            while let [b'\r' | b'\n', rest @ ..] = input {
                *input = rest;
            }
            if input.is_empty() {
                return Ok(None);
            }
            let (first, rest) = input.split_at(1);
            self.head.extend_from_slice(first);
            *input = rest;
            return Ok(Some(Event::Begun));
        }
        while let Some(end) = input.iter().position(|&b| b == b'\n') {
            let (line, rest) = input.split_at(end + 1);
            self.append(line)?;
            *input = rest;
            if !(self.head.ends_with(b"\n\n") || self.head.ends_with(b"\n\r\n")) {
                continue;
            }
            let Some((request, body, _)) = Request::parse(&self.head)? else {
                return Err(Error::Malformed("empty line"));
            };
            let alone = request.length == Some(0) && !request.is_silent_on_body();
            if alone && input.len() > HTTP_HEAD {
                // It would be kept until this one is answered.
                return Err(Error::TooLong);
            }
            // Not only cleared: a player's connection lives long.
            self.head = Vec::new();
            self.begin(&request, body);
            return Ok(Some(Event::Request(Box::new(request))));
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

    fn begin(&mut self, request: &Request, body: Body) {
        self.is_head = request.method == Method::Head;
        self.is_1_1 = request.is_1_1;
        self.keep_alive = request.keep_alive && !self.leaving;
        self.form = Form::Plain;
        let expects =
            request.header("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue"));
        if expects && request.is_1_1 && request.length != Some(0) {
            self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.state = State::Body { body, unwanted: None };
    }

    /// Answers what is wrong, if no answer is under way; then the connection is over.
    fn refuse(&mut self, error: Error) -> Error {
        if matches!(self.state, State::Head) {
            self.keep_alive = false;
            (self.is_head, self.is_1_1) = (false, true);
            let text = reason(error.status());
            self.respond(&Response {
                status: error.status(),
                content_type: "text/plain; charset=utf-8",
                length: Length::Known(text.len() as u64),
                headers: &[],
            });
            self.body(text.as_bytes());
        }
        self.state = State::Deaf;
        error
    }
}

impl Machine for Server {
    type Event = Event;
    type Error = Error;

    fn receive(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Error> {
        loop {
            match &mut self.state {
                State::Head => return self.receive_head(input).map_err(|e| self.refuse(e)),
                State::Answer => return Ok(None),
                State::Deaf => {
                    *input = &[];
                    return Ok(None);
                }
                State::Body { body, unwanted } => {
                    let piece = body.take(input);
                    match (piece, unwanted) {
                        (Ok(Piece::More), _) => return Ok(None),
                        (Ok(Piece::End), None) => {
                            self.state = State::Answer;
                            return Ok(Some(Event::End));
                        }
                        (Ok(Piece::End), Some(_)) => self.state = State::Head,
                        (Ok(Piece::Data(bytes)), None) => {
                            return Ok(Some(Event::Body(Bytes::copy_from_slice(bytes))));
                        }
                        (Ok(Piece::Data(bytes)), Some(left)) => {
                            let Some(fewer) = left.checked_sub(bytes.len()) else {
                                return Err(self.refuse(Error::Malformed("a body nobody wants")));
                            };
                            *left = fewer;
                        }
                        (Err(e), _) => return Err(self.refuse(e)),
                    }
                }
            }
        }
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

    fn leave(&mut self) -> bool {
        self.leaving = true;
        self.keep_alive = false;
        matches!(self.state, State::Head) && self.head.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::mutations;

    const OK: Response<'_> = Response {
        status: 200,
        content_type: "text/plain",
        length: Length::Known(2),
        headers: &[],
    };

    /// Feeds `input` in pieces of `step` and answers each request with its own path. What was
    /// asked, bodies behind it, and all that was sent.
    fn converse(input: &[u8], step: usize) -> (Vec<String>, String, Result<(), Error>) {
        let mut server = Server::default();
        let mut asked: Vec<String> = Vec::new();
        let mut result = Ok(());
        'all: for piece in input.chunks(step) {
            let mut piece = piece;
            loop {
                match server.receive(&mut piece) {
                    Ok(Some(Event::Begun)) => {}
                    Ok(Some(Event::Request(request))) => {
                        asked.push(format!("{} {}", request.method.name(), request.path));
                    }
                    Ok(Some(Event::Body(bytes))) => {
                        let last = asked.last_mut().unwrap();
                        last.push_str(&format!(" {}", String::from_utf8_lossy(&bytes)));
                    }
                    Ok(Some(Event::End)) => {
                        server.respond(&OK);
                        server.body(b"ok");
                        if !server.finish() {
                            break 'all;
                        }
                    }
                    Ok(None) => break,
                    Err(e) => {
                        result = Err(e);
                        break 'all;
                    }
                }
            }
        }
        (asked, String::from_utf8_lossy(server.send_buf()).into_owned(), result)
    }

    const PIPELINE: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
        HEAD /c HTTP/1.1\n\nPUT /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n\
        GET /e HTTP/1.0\r\n\r\nGET /never HTTP/1.1\r\n\r\n";

    #[test]
    fn requests_in_one_packet_are_answered_in_turn() {
        let (asked, sent, result) = converse(PIPELINE, PIPELINE.len());
        assert_eq!(asked, ["GET /a", "POST /b abc", "HEAD /c", "PUT /d de", "GET /e"]);
        assert_eq!(result, Ok(()));
        assert_eq!(sent.matches("HTTP/1.1 200 OK").count(), 5);
        assert_eq!(sent.matches("\r\n\r\nok").count(), 4, "none for HEAD");
        assert_eq!(sent.matches("Connection: close").count(), 1);
    }

    #[test]
    fn it_does_not_matter_where_reads_cut() {
        let (_, whole, _) = converse(PIPELINE, PIPELINE.len());
        for step in 1..60 {
            let (asked, sent, result) = converse(PIPELINE, step);
            assert_eq!((asked.len(), sent, result), (5, whole.clone(), Ok(())));
        }
    }

    #[test]
    fn a_body_that_nothing_is_said_of_goes_on_to_the_end_when_that_is_wanted() {
        for (head, silent) in [
            ("POST /a HTTP/1.1\r\n\r\n", true),
            ("PUT /a HTTP/1.0\r\n\r\n", true),
            ("POST /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n", false),
            ("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("GET /a HTTP/1.1\r\n\r\n", false),
        ] {
            let mut server = Server::default();
            let body = if silent { vec![b'x'; 2 * HTTP_HEAD] } else { Vec::new() };
            let text = [head.as_bytes(), &body].concat();
            let mut input = text.as_slice();
            let request = loop {
                match server.receive(&mut input).unwrap().unwrap() {
                    Event::Request(request) => break request,
                    _ => continue,
                }
            };
            assert_eq!(request.is_silent_on_body(), silent, "{head}");
            if silent {
                server.open_body();
                let Ok(Some(Event::Body(bytes))) = server.receive(&mut input) else { panic!() };
                assert_eq!(bytes, body);
                assert!(matches!(server.receive(&mut input), Ok(None)));
                server.respond(&OK);
                assert!(!server.finish(), "no other request can follow");
            }
        }
    }

    #[test]
    fn a_head_without_end_is_refused_at_its_bound() {
        let mut server = Server::default();
        let line = b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
        let mut taken = 0;
        let error = loop {
            let mut input = if taken == 0 { b"GET / HTTP/1.1\r\n".as_slice() } else { line };
            taken += input.len();
            assert!(taken < 2 * HTTP_HEAD);
            while !input.is_empty() {
                if let Err(error) = server.receive(&mut input) {
                    taken = usize::MAX;
                    assert_eq!(error, Error::TooLong);
                    break;
                }
            }
            if taken == usize::MAX {
                break String::from_utf8_lossy(server.send_buf()).into_owned();
            }
        };
        assert!(error.starts_with("HTTP/1.1 431 "));
    }

    #[test]
    fn open_bodies_are_chunked_for_1_1_and_end_the_connection_for_1_0() {
        for (version, chunked) in [("1.1", true), ("1.0", false)] {
            let mut server = Server::default();
            let text = format!("GET / HTTP/{version}\r\nConnection: keep-alive\r\n\r\n");
            let mut input = text.as_bytes();
            while !matches!(server.receive(&mut input), Ok(Some(Event::End))) {}
            assert!(server.respond(&Response { length: Length::Open, ..OK }));
            server.body(b"abc");
            assert_eq!(server.finish(), chunked);
            let sent = String::from_utf8_lossy(server.send_buf()).into_owned();
            assert_eq!(sent.contains("Transfer-Encoding: chunked"), chunked);
            let end = if chunked { "\r\n\r\n3\r\nabc\r\n0\r\n\r\n" } else { "\r\n\r\nabc" };
            assert!(sent.ends_with(end), "{sent}");
        }
    }

    #[test]
    fn nothing_is_taken_while_an_answer_is_due() {
        let mut server = Server::default();
        let mut input = b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n".as_slice();
        while !matches!(server.receive(&mut input), Ok(Some(Event::End))) {}
        let left = input.len();
        assert!(matches!(server.receive(&mut input), Ok(None)));
        assert_eq!((left, input.len()), (19, 19));
    }

    #[test]
    fn requests_far_ahead_of_their_answers_are_refused() {
        let many = b"GET /a HTTP/1.1\r\n\r\n".repeat(HTTP_HEAD / 19 + 10);
        assert_eq!(converse(&many, many.len()).2, Err(Error::TooLong));
        assert_eq!(converse(&many, HTTP_HEAD).2, Ok(()));
    }

    #[test]
    fn a_body_that_nobody_wants_is_skipped_up_to_its_bound() {
        for (len, fits) in [(100, true), (HTTP_UNWANTED + 1, false)] {
            let mut server = Server::default();
            let head = format!("POST / HTTP/1.1\r\nContent-Length: {len}\r\n\r\n");
            let mut input = head.as_bytes();
            while !matches!(server.receive(&mut input), Ok(Some(Event::Request(_)))) {}
            server.respond(&OK);
            server.body(b"no");
            assert!(server.finish());
            let rest = [vec![b'x'; len], b"GET /next HTTP/1.1\r\n\r\n".to_vec()].concat();
            let mut input = rest.as_slice();
            let next = server.receive(&mut input);
            assert_eq!(matches!(next, Ok(Some(Event::Begun))), fits, "{next:?}");
        }
    }

    #[test]
    fn whatever_comes_in_is_answered_or_refused() {
        mutations(PIPELINE, |bytes| {
            let (asked, sent, result) = converse(bytes, 7);
            let answers = sent.matches("HTTP/1.1 ").count();
            assert!(answers >= asked.len().saturating_sub(1) || result.is_err());
        });
    }

    #[test]
    fn a_server_that_leaves_ends_a_connection_with_its_answer() {
        let mut server = Server::default();
        let mut input: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
        assert!(matches!(server.receive(&mut input), Ok(Some(Event::Begun))));
        assert!(!server.leave(), "a request is under way");
        while server.receive(&mut input).unwrap().is_some() {}
        server.respond(&OK);
        server.body(b"ok");
        assert!(!server.finish());
        let said = String::from_utf8_lossy(server.send_buf()).into_owned();
        assert!(said.contains("Connection: close") || said.contains("connection: close"), "{said}");
        assert!(Server::default().leave(), "nothing is under way");
    }
}
