//! A blocking HTTP client by hand, and servers with a port for it.

use super::{SOON, Server, free_port};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// A server that also serves HTTP, and that port. `vhost` is what stands in the default vhost.
pub fn server(vhost: &str) -> (Server, u16) {
    server_with(&format!("vhost __defaultVhost__ {{ {vhost} }}"), "")
}

/// The same with `text` at the end of the file, and `more` in `http_server`.
pub fn server_with(text: &str, more: &str) -> (Server, u16) {
    let http = free_port();
    let http_server =
        format!("http_server {{ enabled on; listen 127.0.0.1:{http}; dir www; {more} }}");
    let server = Server::with(&format!("{http_server} {text}"));
    server.line("HTTP listens at");
    (server, http)
}

/// All four formats.
pub const REMUX: &str = "http_remux { enabled on; mount [vhost]/[app]/[stream].*; }";

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// A connection.
pub struct Http {
    pub socket: TcpStream,
    input: BufReader<TcpStream>,
}

impl Http {
    pub fn connect(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.set_write_timeout(Some(SOON)).unwrap();
        let input = BufReader::new(socket.try_clone().unwrap());
        Self { socket, input }
    }

    /// Sends the whole of a request.
    pub fn send(&mut self, text: impl AsRef<[u8]>) {
        self.socket.write_all(text.as_ref()).unwrap();
    }

    /// Asks for `path`, with further header lines.
    pub fn ask(&mut self, path: &str, lines: &str) -> Head {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n"));
        self.head().unwrap()
    }

    /// The next head; none when the connection ends instead.
    pub fn head(&mut self) -> Option<Head> {
        let first = self.line()?;
        assert!(first.starts_with("HTTP/1.1 "), "{first}");
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(": ") else {
                assert!(line.is_empty(), "{line}");
                return Some(Head { status, headers });
            };
            headers.push((name.to_owned(), value.to_owned()));
        }
    }

    /// The body that follows `head`.
    pub fn body(&mut self, head: &Head) -> Vec<u8> {
        let mut body = Vec::new();
        if head.status == 304 {
            return body;
        }
        if head.get("Transfer-Encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                body.extend_from_slice(&chunk);
            }
        } else if let Some(length) = head.get("Content-Length") {
            body.resize(length.parse().unwrap(), 0);
            self.input.read_exact(&mut body).unwrap();
        } else {
            self.input.read_to_end(&mut body).unwrap();
        }
        body
    }

    /// The next chunk; none for the last one.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.line().expect("a chunk");
        let mut chunk = vec![0; usize::from_str_radix(&line, 16).unwrap() + 2];
        self.input.read_exact(&mut chunk).unwrap();
        assert!(chunk.ends_with(b"\r\n"));
        chunk.truncate(chunk.len() - 2);
        (!chunk.is_empty()).then_some(chunk)
    }

    /// At least `len` bytes of chunks.
    pub fn chunks(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            bytes.extend(self.chunk().expect("more chunks"));
        }
        bytes
    }

    /// Whether the server closes within `timeout`; what it says before is dropped.
    pub fn is_closed_within(&mut self, timeout: Duration) -> bool {
        self.socket.set_read_timeout(Some(timeout)).unwrap();
        let mut rest = Vec::new();
        match self.input.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(e) => e.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    /// Nothing more is sent.
    pub fn shut(&mut self) {
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.input.read_until(b'\n', &mut line) {
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return None,
            read => drop(read.unwrap()),
        }
        let line = line.strip_suffix(b"\r\n")?;
        Some(String::from_utf8(line.to_vec()).unwrap())
    }
}

/// Status, head and body of one request.
pub fn get(port: u16, path: &str, lines: &str) -> (Head, Vec<u8>) {
    let mut http = Http::connect(port);
    let head = http.ask(path, lines);
    let body = http.body(&head);
    (head, body)
}
