//! The few bytes of HTTP that a benchmark needs: requests, and answers taken apart.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A request of a client that keeps its connection.
pub(crate) fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: fanout\r\n\r\n").into_bytes()
}

/// The body of the answer for `path`.
pub(crate) fn get(port: u16, path: &str) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("{path}: {error}");
    let mut socket = TcpStream::connect(("127.0.0.1", port)).map_err(failed)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    socket.write_all(&request(path)).map_err(failed)?;
    let (mut answer, mut body) = (Answer::default(), Vec::new());
    let mut buffer = vec![0; 64 * 1024];
    while !answer.is_done() {
        let got = socket.read(&mut buffer).map_err(failed)?;
        if got == 0 {
            return Err(failed(ErrorKind::UnexpectedEof.into()));
        }
        answer
            .feed(&buffer[..got], |piece| {
                body.extend_from_slice(piece);
                Ok(())
            })
            .map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(body)
}

/// Takes an answer apart as it comes in. An answer that is not 200 is an error.
#[derive(Default)]
pub(crate) struct Answer {
    state: State,
    /// The line in progress, of the head or around a chunk.
    line: Vec<u8>,
    is_chunked: bool,
    length: u64,
    is_last: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Status,
    Head,
    /// So many bytes of a body of a known length, or of a chunk.
    Body(u64),
    ChunkSize,
    ChunkEnd,
    Done,
}

impl Answer {
    /// The body is over.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The server ends the connection behind it.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Takes what was read and hands on what belongs to the body. What follows the body is dropped:
    /// one request is sent at a time.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut body: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        while !bytes.is_empty() && self.state != State::Done {
            if let State::Body(left) = self.state {
                let take = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                body(&bytes[..take])?;
                bytes = &bytes[take..];
                self.state = match left - take as u64 {
                    0 if self.is_chunked => State::ChunkEnd,
                    0 => State::Done,
                    left => State::Body(left),
                };
                continue;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let take = end.map_or(bytes.len(), |end| end + 1);
            self.line.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.line.len() > LINE_MAX {
                return Err("a line without an end".into());
            }
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                self.take_line(line.trim_ascii())?;
                // Keeps its room.
                self.line = line;
                self.line.clear();
            }
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(line);
        self.state = match self.state {
            State::Status if text.starts_with("HTTP/1.1 200") => State::Head,
            State::Status => return Err(format!("the server answered {text}")),
            State::Head if !text.is_empty() => {
                let (name, value) = text.split_once(':').unwrap_or_default();
                let (name, value) = (name.to_ascii_lowercase(), value.trim());
                match name.as_str() {
                    "content-length" => self.length = value.parse().unwrap_or(0),
                    "transfer-encoding" => self.is_chunked = true,
                    "connection" => self.is_last = value.eq_ignore_ascii_case("close"),
                    _ => {}
                }
                State::Head
            }
            State::Head if self.is_chunked => State::ChunkSize,
            State::Head if self.length == 0 => State::Done,
            State::Head => State::Body(self.length),
            State::ChunkSize => match u64::from_str_radix(&text, 16) {
                Ok(0) => State::Done,
                Ok(length) => State::Body(length),
                Err(_) => return Err(format!("{text} is no length of a chunk")),
            },
            State::ChunkEnd => State::ChunkSize,
            State::Body(_) | State::Done => self.state,
        };
        Ok(())
    }
}

const LINE_MAX: usize = 8192;
const PATIENCE: Duration = Duration::from_secs(5);
