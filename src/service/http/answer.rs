//! What services answer.

use crate::context::Context;
use crate::io::link::{End, Link};
use crate::io::read::Opened;
use crate::proto::http::{Error, Length, Request, Response, Server, reason};
use crate::service::Task;
use bytes::Bytes;
use core::net::IpAddr;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

/// A connection.
pub type Connection = Box<Link<Server>>;

/// A request and where it came from.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The process.
    pub cx: Rc<Context>,
    /// What is asked for.
    pub request: Rc<Request>,
    /// The client.
    pub peer: IpAddr,
    /// Bytes of the path that the pattern of the handler says.
    pub mount: usize,
    /// Whether the answer may be used by pages of other sites.
    pub crossdomain: bool,
    /// The request is another one than the client's, see [`Answer::As`].
    pub renamed: bool,
}

impl Ask {
    /// The path behind the pattern of the handler.
    pub fn below(&self) -> &str {
        self.request.path.get(self.mount..).unwrap_or_default()
    }
}

/// What becomes of a request.
pub enum Answer {
    /// A small answer.
    Reply(Reply),
    /// A file, or parts of one.
    File(Box<Parts>),
    /// The service speaks for itself: it calls [`Server::respond`] and [`Server::finish`].
    Take(Box<dyn FnOnce(Connection) -> Task<(Connection, Outcome)>>),
    /// The body is needed, of at most so many bytes.
    Body(usize, Box<dyn FnOnce(Vec<u8>) -> Self>),
    /// The answer is not known yet.
    Later(Task<Self>),
    /// What this other request is answered with. Once a request.
    As(Box<Request>),
    /// Somebody else's.
    Next,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(reply) => reply.fmt(f),
            Self::File(parts) => parts.fmt(f),
            Self::Take(_) => f.write_str("Take"),
            Self::Body(max, _) => write!(f, "Body({max})"),
            Self::As(request) => request.fmt(f),
            Self::Later(_) => f.write_str("Later"),
            Self::Next => f.write_str("Next"),
        }
    }
}

/// How serving a request ended.
#[derive(Debug)]
pub enum Outcome {
    /// The client may ask for more.
    Again,
    /// The connection is over, as agreed.
    Close,
    /// The connection broke.
    End(End<Error>),
}

/// An answer that is in memory.
#[derive(Clone, Debug)]
pub struct Reply {
    /// 200 and the like.
    pub status: u16,
    /// Empty for none.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// 200 with `body`.
    pub fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status: 200, content_type, headers: Vec::new(), body: body.into() }
    }

    /// A status and its words.
    pub fn status(status: u16) -> Self {
        let body = Bytes::from_static(reason(status).as_bytes());
        Self { status, ..Self::new("text/plain; charset=utf-8", body) }
    }

    /// The head.
    pub(super) fn head(&self) -> Response<'_> {
        Response {
            status: self.status,
            content_type: self.content_type,
            length: Length::Known(self.body.len() as u64),
            headers: &self.headers,
        }
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// Parts of a file, one after another.
#[derive(Debug)]
pub struct Parts {
    /// The file.
    pub file: Opened,
    /// Sent before it.
    pub lead: Bytes,
    /// What of it.
    pub ranges: Vec<Range<u64>>,
    /// 200 or 206.
    pub status: u16,
    /// The type of the whole.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
}

impl Parts {
    pub(super) fn head(&self) -> Response<'_> {
        let ranges = self.ranges.iter().map(|r| r.end.saturating_sub(r.start));
        let length = ranges.fold(self.lead.len() as u64, u64::saturating_add);
        Response {
            status: self.status,
            content_type: self.content_type,
            length: Length::Known(length),
            headers: &self.headers,
        }
    }
}
