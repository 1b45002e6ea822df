//! HTTP requests of our own: small ones that are answered whole, and streams.
//!
//! Everything that runs is given up when its future is dropped.

use crate::hub::session::Registry;
use crate::io::link::{End, Link};
use crate::io::run::within;
use crate::io::{clock, connect, tcp};
use crate::limits::{FETCH_IDLE, FETCH_KEPT, FETCH_TIMEOUT, FETCHES, HTTP_BODY};
use crate::media::Decimal;
use crate::proto::http::Method;
use crate::proto::http::client::{self, Event, Head};
use crate::proto::http::url::{self, Url};
use bytes::Bytes;
use smol::lock::Semaphore;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// What to ask a server for.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET, HEAD, POST, PUT, DELETE or OPTIONS.
    pub method: Method,
    /// Of whom.
    pub url: Url,
    /// Beside `Host`, `Content-Length` and the url's user, which are there anyway.
    pub headers: Vec<(String, String)>,
    /// Empty for none.
    pub body: Vec<u8>,
    /// For everything, from the name server to the last byte of the body; with [`Client::open`] to
    /// the end of the head. [`FETCH_TIMEOUT`] unless it is changed.
    pub timeout: Duration,
    /// Bytes that the body of the reply may have. [`HTTP_BODY`] unless it is changed. Does not
    /// count with [`Client::open`].
    pub max_body: usize,
    /// How many redirects are followed. None unless it is changed: then one is an error.
    pub redirects: u8,
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: Method, url: Url) -> Self {
        let (headers, body) = (Vec::new(), Vec::new());
        let (timeout, max_body) = (FETCH_TIMEOUT, HTTP_BODY);
        Self { method, url, headers, body, timeout, max_body, redirects: 0 }
    }

    /// GET.
    pub fn get(url: &str) -> Result<Self, Error> {
        Ok(Self::new(Method::Get, Url::parse(url)?))
    }

    /// POST of `body`.
    pub fn post(url: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        let body = body.into();
        Ok(Self { headers, body, ..Self::new(Method::Post, Url::parse(url)?) })
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status and headers.
    pub head: Head,
    /// All of the body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The url, or one that the server redirects to.
    Url(url::Error),
    /// The server was not reached.
    Connect(connect::Error),
    /// The connection failed.
    Io(io::Error),
    /// The request or the reply is not what it should be.
    Http(client::Error),
    /// It took longer than the request allows; what was going on then.
    TimedOut(Duration, &'static str),
    /// The body has more bytes than the request allows.
    TooLarge(usize),
    /// The server redirects to there, which the request does not allow, or not any more.
    Redirect(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(e) => e.fmt(f),
            Self::Connect(e) => e.fmt(f),
            Self::Io(e) => e.fmt(f),
            Self::Http(e) => e.fmt(f),
            Self::TimedOut(limit, what) => {
                write!(f, "timed out after {} s, {what}", Decimal::short(limit.as_secs_f64()))
            }
            Self::TooLarge(max) => write!(f, "the body of the reply has more than {max} bytes"),
            Self::Redirect(to) => write!(f, "redirected to {to}, which is not followed"),
        }
    }
}

impl std::error::Error for Error {}

impl From<url::Error> for Error {
    fn from(e: url::Error) -> Self {
        Self::Url(e)
    }
}

impl From<connect::Error> for Error {
    fn from(e: connect::Error) -> Self {
        Self::Connect(e)
    }
}

impl From<client::Error> for Error {
    fn from(e: client::Error) -> Self {
        Self::Http(e)
    }
}

impl From<End<client::Error>> for Error {
    fn from(end: End<client::Error>) -> Self {
        match end {
            End::Closed => Self::Http(client::Error::CutOff),
            End::Io(e) => Self::Io(e),
            End::Protocol(e) => Self::Http(e),
            End::Kicked(why) => Self::Io(io::Error::other(why.to_string())),
        }
    }
}

/// Makes requests, [`FETCHES`] at once, and keeps connections for the next ones.
#[derive(Debug)]
pub struct Client {
    kept: RefCell<VecDeque<Kept>>,
    slots: Semaphore,
    sessions: Rc<Registry>,
    connections: Cell<u32>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            kept: RefCell::default(),
            slots: Semaphore::new(FETCHES),
            sessions: Rc::default(),
            connections: Cell::new(0),
        }
    }
}

impl Client {
    /// The reply to `request`, whatever its status. When a connection that was kept turns out to be
    /// closed before a byte of the reply came, the request is made once more on a new one: a server
    /// that ends right then may see it twice.
    pub async fn fetch(&self, request: &Request) -> Result<Reply, Error> {
        let stage = Cell::new("in the queue");
        let work = Box::pin(async {
            let _slot = self.slots.acquire().await;
            let (mut connection, head, _) = self.reach(request, true, &stage).await?;
            let most = request.max_body;
            let too_large = || Error::TooLarge(most);
            let fits = |len| usize::try_from(len).is_ok_and(|len: usize| len <= most);
            if !head.length.is_none_or(fits) {
                return Err(too_large());
            }
            stage.set("in the body of the reply");
            let mut body = Vec::new();
            while let Some(piece) = next(&mut connection.link).await? {
                if piece.len() > most.saturating_sub(body.len()) {
                    return Err(too_large());
                }
                body.extend_from_slice(&piece);
            }
            self.keep(connection);
            Ok(Reply { head: *head, body })
        });
        limited(request.timeout, &stage, work).await
    }

    /// As [`fetch`](Self::fetch), for a body without a bound that is taken as it comes. It has a
    /// connection of its own, which does not count among [`FETCHES`].
    pub async fn open(&self, request: &Request) -> Result<Stream, Error> {
        let stage = Cell::new("");
        let work = Box::pin(async {
            let (connection, head, url) = self.reach(request, false, &stage).await?;
            Ok(Stream { link: connection.link, head: *head, url, over: false })
        });
        limited(request.timeout, &stage, work).await
    }

    /// Connections that were made.
    pub fn connections(&self) -> u32 {
        self.connections.get()
    }

    /// Closes the connections that are kept.
    pub fn forget(&self) {
        self.kept.borrow_mut().clear();
    }

    /// The head of the reply, redirects being followed, and where the body comes from, with its url.
    async fn reach(
        &self,
        request: &Request,
        keep_alive: bool,
        stage: &Cell<&'static str>,
    ) -> Result<(Kept, Box<Head>, Url), Error> {
        let mut url = request.url.clone();
        let (mut method, mut body) = (request.method, request.body.as_slice());
        let mut redirects = 0;
        loop {
            let authorization = url.authorization();
            // What is meant for one server is not told to another.
            let same = url.is_same_server(&request.url);
            let theirs = request.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            let mut headers: Vec<_> = theirs.filter(|(name, _)| same || !is_secret(name)).collect();
            headers.extend(authorization.as_deref().map(|value| ("Authorization", value)));
            let host = url.authority();
            let target = url.target.as_str();
            let headers = headers.as_slice();
            let asked = client::Request { method, host: &host, target, headers, body, keep_alive };
            let (connection, head) = self.exchange(&url, &asked, request.timeout, stage).await?;
            let Some(location) = head.location() else { return Ok((connection, head, url)) };
            if redirects == request.redirects {
                return Err(Error::Redirect(location.to_owned()));
            }
            redirects += 1;
            url = url.join(location)?;
            // RFC 9110 §15.4: so browsers do.
            if head.status == 303 || (head.status < 303 && method == Method::Post) {
                (method, body) = (Method::Get, &[]);
            }
        }
    }

    /// One request and the head of its reply.
    async fn exchange(
        &self,
        url: &Url,
        request: &client::Request<'_>,
        limit: Duration,
        stage: &Cell<&'static str>,
    ) -> Result<(Kept, Box<Head>), Error> {
        stage.set("waiting for the reply");
        if request.keep_alive
            && let Some(mut kept) = self.take(url).await
        {
            match ask(&mut kept.link, request).await {
                Ok(head) => return Ok((kept, head)),
                // It was closed at the other end just now.
                Err(e) if is_dead(&e) && kept.link.machine.is_untouched() => {}
                Err(e) => return Err(e),
            }
        }
        stage.set("connecting");
        let wire = connect::wire(&url.host, url.port, url.secure, limit).await?;
        self.connections.set(self.connections.get().wrapping_add(1));
        // Without it a request in two writes is slower, nothing else.
        let _ = tcp::set_nodelay(wire.socket(), true);
        let peer = wire.socket().peer_addr();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| tcp::plain(peer.ip()));
        let session = self.sessions.enter(self.connections.get(), peer);
        let mut link = Link::new(wire, client::Client::default(), session);
        // A small reply often comes in two writes, and the second one waits for our acknowledgement.
        link.hurry = request.keep_alive;
        stage.set("waiting for the reply");
        let head = ask(&mut link, request).await?;
        Ok((Kept { url: url.clone(), since: 0, link }, head))
    }

    /// A connection to the server of `url` that nobody closed yet.
    async fn take(&self, url: &Url) -> Option<Kept> {
        loop {
            let mut kept = {
                let mut all = self.kept.borrow_mut();
                let now = clock::now();
                let idle = u64::try_from(FETCH_IDLE.as_millis()).unwrap_or(u64::MAX);
                all.retain(|kept| now.saturating_sub(kept.since) < idle);
                let at = all.iter().rposition(|kept| kept.url.is_same_server(url))?;
                all.remove(at)?
            };
            let link = &mut kept.link;
            let quiet = poll_fn(|task| {
                Poll::Ready(link.poll_read(task, |_, event| ControlFlow::Break(event)).is_pending())
            });
            if quiet.await {
                return Some(kept);
            }
        }
    }

    fn keep(&self, mut connection: Kept) {
        if !connection.link.machine.is_free() {
            return;
        }
        connection.since = clock::now();
        let mut all = self.kept.borrow_mut();
        if all.len() >= FETCH_KEPT {
            all.pop_front();
        }
        all.push_back(connection);
    }
}

/// A body that comes as long as the server sends.
pub struct Stream {
    link: Link<client::Client>,
    head: Head,
    url: Url,
    over: bool,
}

impl Stream {
    /// Status and headers.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Where the body comes from: the last one of the redirects.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// The next piece of the body, at most [`READ_BUF`](crate::limits::READ_BUF) bytes; `None` at
    /// its end. There is no deadline in it. What is not asked for stays in the kernel, and the
    /// server waits.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.over {
            return Ok(None);
        }
        let piece = next(&mut self.link).await;
        self.over = !matches!(piece, Ok(Some(_)));
        piece
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("head", &self.head).field("over", &self.over).finish()
    }
}

/// A connection, and whom it is to.
struct Kept {
    url: Url,
    /// When it became free, in milliseconds of the clock.
    since: u64,
    link: Link<client::Client>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.url)
    }
}

async fn limited<T>(
    limit: Duration,
    stage: &Cell<&'static str>,
    // Boxed: else `within` has room for it several times, and so has whoever waits for that.
    work: Pin<Box<impl Future<Output = Result<T, Error>>>>,
) -> Result<T, Error> {
    let done = within(limit, work).await;
    done.unwrap_or_else(|| Err(Error::TimedOut(limit, stage.get())))
}

async fn ask(
    link: &mut Link<client::Client>,
    request: &client::Request<'_>,
) -> Result<Box<Head>, Error> {
    link.machine.request(request)?;
    loop {
        if let Event::Head(head) = link.next().await? {
            return Ok(head);
        }
    }
}

async fn next(link: &mut Link<client::Client>) -> Result<Option<Bytes>, Error> {
    match link.next().await {
        Ok(Event::Body(bytes)) => Ok(Some(bytes)),
        Ok(Event::End | Event::Head(_)) => Ok(None),
        Err(End::Closed) => Ok(link.machine.closed().map(|()| None)?),
        Err(e) => Err(e.into()),
    }
}

fn is_dead(error: &Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error {
        Error::Http(client::Error::CutOff) => true,
        Error::Io(e) => {
            matches!(e.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
        }
        _ => false,
    }
}

fn is_secret(header: &str) -> bool {
    ["authorization", "cookie"].iter().any(|secret| header.eq_ignore_ascii_case(secret))
}

#[cfg(test)]
mod tests;
