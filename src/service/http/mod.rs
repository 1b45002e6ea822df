//! The HTTP server that services answer on.

mod answer;
mod client;
mod guard;
mod router;

pub use answer::{Answer, Ask, Connection, Outcome, Parts, Reply};
pub use guard::stream_at;
pub use router::{Handler, Router, to_slash};

use crate::config::Config;
use crate::context::Context;
use crate::io::link::{End, Link};
use crate::io::{clock, tcp};
use crate::limits::{HTTP_BODY_TIMEOUT, HTTP_HEAD_TIMEOUT, HTTP_IDLE_TIMEOUT, SEND_TIMEOUT};
use crate::proto::http::{Error, Event, Method, Request, Server};
use crate::service::admission::tell_closed;
use crate::service::{Port, SERVICES, Service};
use core::net::IpAddr;
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Listens where `http_server` says.
pub const SERVICE: Service = Service {
    port: Some(Port {
        name: "HTTP",
        endpoints: |config| {
            config.http_server.enabled.then_some(config.http_server.listen).into_iter().collect()
        },
        serve: |socket, id, peer, cx| Box::pin(serve(socket, id, peer, cx, site)),
    }),
    ..Service::new("_http")
};

/// A router and the configuration that it was made from.
pub type Cached = RefCell<Option<(Rc<Config>, Rc<Router>)>>;

/// What is kept for the port of `http_server`.
#[derive(Default)]
struct Site(Cached);

/// The paths of all services under the configuration of now.
fn site(cx: &Rc<Context>) -> Rc<Router> {
    cached(cx, &cx.part::<Site>().0, |config| {
        let mut router = Router::default();
        router.crossdomain = config.http_server.crossdomain;
        guard::routes(cx, &mut router);
        for service in SERVICES {
            (service.routes)(cx, &mut router);
        }
        router
    })
}

/// The router that is kept in `place`, made anew after each change of the configuration.
pub fn cached(cx: &Context, place: &Cached, make: impl FnOnce(&Config) -> Router) -> Rc<Router> {
    let config = cx.config();
    let kept = place.borrow().clone();
    if let Some((_, router)) = kept.filter(|(of, _)| Rc::ptr_eq(of, &config)) {
        return router;
    }
    let router = Rc::new(make(&config));
    place.replace(Some((config, router.clone())));
    router
}

/// Serves a client to its end. `router` says who answers; it is asked at each request.
pub async fn serve(
    socket: tcp::Socket,
    id: u32,
    peer: IpAddr,
    cx: Rc<Context>,
    router: fn(&Rc<Context>) -> Rc<Router>,
) {
    log::info!("HTTP client ip={peer}");
    let session = cx.sessions.enter(id, peer);
    let mut link: Connection = Box::new(Link::new(socket, Server::default(), session));
    link.hurry = false;
    if let Err(e) = tcp::set_nodelay(link.socket(), true) {
        log::warn!("socket options: {e}");
    }
    expect(&link, HTTP_HEAD_TIMEOUT, "no request");
    loop {
        let outcome;
        (link, outcome) = match next_request(&mut link).await {
            Ok(request) => answer(link, &cx, peer, request, &router(&cx)).await,
            Err(end) => (link, Outcome::End(end)),
        };
        match outcome {
            Outcome::Again => expect(&link, HTTP_IDLE_TIMEOUT, "no further request"),
            Outcome::Close => break link.close().await,
            Outcome::End(end) => {
                if let End::Protocol(e) = &end {
                    log::warn!("{e}. ret={}", e.code());
                    link.close().await;
                } else if !matches!(end, End::Closed) {
                    log::info!("{end}");
                }
                break;
            }
        }
    }
    tell_closed(&cx, link.session());
    let (received, sent) = link.traffic();
    log::info!("HTTP client finished, received={received}, sent={sent}");
}

async fn next_request(link: &mut Connection) -> Result<Request, End<Error>> {
    loop {
        match link.next().await? {
            Event::Begun => expect(link, HTTP_HEAD_TIMEOUT, "the request does not end"),
            Event::Request(request) => return Ok(*request),
            Event::Body(_) | Event::End => {}
        }
    }
}

async fn answer(
    mut link: Connection,
    cx: &Rc<Context>,
    peer: IpAddr,
    request: Request,
    router: &Router,
) -> (Connection, Outcome) {
    let client = client::address(peer, &request, &cx.config().http_server.trusted_proxies);
    link.session().set_peer(client);
    match client == peer {
        true => log::info!("HTTP {} {}", request.method.name(), request.path),
        false => log::info!("HTTP {} {}, ip={client}", request.method.name(), request.path),
    }
    expect(&link, SEND_TIMEOUT, "no answer was found");
    let (method, crossdomain) = (request.method, router.crossdomain);
    let has_body = request.length != Some(0);
    let mut ask = Ask {
        cx: cx.clone(),
        request: Rc::new(request),
        peer: client,
        mount: 0,
        crossdomain,
        renamed: false,
    };
    let mut answer = Answer::Next;
    if method == Method::Options {
        answer = options(router).into();
    } else {
        let mut handlers = router.find(&ask.request.host, &ask.request.path).into_iter();
        while let Some((mount, handler)) = handlers.next() {
            ask.mount = mount;
            answer = handler(&ask);
            while let Answer::Later(task) = answer {
                answer = match link.unless_kicked(task).await {
                    Ok(answer) => answer,
                    Err(end) => return (link, Outcome::End(end)),
                };
            }
            match answer {
                Answer::As(request) if !ask.renamed => {
                    (ask.request, ask.renamed) = (Rc::new(*request), true);
                    handlers = router.find(&ask.request.host, &ask.request.path).into_iter();
                    answer = Answer::Next;
                }
                Answer::Next | Answer::As(_) => answer = Answer::Next,
                _ => break,
            }
        }
    }
    if has_body && matches!(answer, Answer::File(_)) {
        // Nobody will read it, and what came of it is not kept while the file is sent.
        link.machine.close_after();
        link.machine.ignore_input();
        link.discard();
    }
    // A player lives long; it does not need the request any more.
    drop(ask);
    give(link, answer, crossdomain).await
}

async fn give(mut link: Connection, answer: Answer, crossdomain: bool) -> (Connection, Outcome) {
    let mut answer = answer;
    loop {
        answer = match answer {
            Answer::Next | Answer::As(_) => Reply::status(404).into(),
            Answer::Later(task) => match link.unless_kicked(task).await {
                Ok(answer) => answer,
                Err(end) => return (link, Outcome::End(end)),
            },
            Answer::Take(take) => return take(link).await,
            Answer::Body(max, then) => match body(&mut link, max).await {
                Ok(Some(body)) => then(body),
                Ok(None) => {
                    link.machine.close_after();
                    Reply::status(413).into()
                }
                Err(end) => return (link, Outcome::End(end)),
            },
            Answer::Reply(mut reply) => {
                allow(crossdomain, &mut reply.headers);
                let wanted = link.machine.respond(&reply.head());
                let sent = match wanted {
                    true => send(&mut link, &reply.body).await,
                    false => Ok(()),
                };
                return finish(link, sent).await;
            }
            Answer::File(mut parts) => {
                allow(crossdomain, &mut parts.headers);
                let wanted = link.machine.respond(&parts.head());
                let sent = match wanted {
                    true => send_file(&mut link, &mut parts).await,
                    false => Ok(()),
                };
                return finish(link, sent).await;
            }
        };
    }
}

/// The body of the request; `None` when it is longer than `max`.
async fn body(link: &mut Connection, max: usize) -> Result<Option<Vec<u8>>, End<Error>> {
    let mut body = Vec::new();
    loop {
        expect(link, HTTP_BODY_TIMEOUT, "the body of the request does not come");
        match link.next().await? {
            Event::Body(piece) if body.len() + piece.len() > max => return Ok(None),
            Event::Body(piece) => body.extend_from_slice(&piece),
            _ => return Ok(Some(body)),
        }
    }
}

/// Ends an answer.
async fn finish(mut link: Connection, sent: Result<(), End<Error>>) -> (Connection, Outcome) {
    let outcome = match sent {
        Err(end) => Outcome::End(end),
        Ok(()) if link.machine.finish() => Outcome::Again,
        Ok(()) => Outcome::Close,
    };
    (link, outcome)
}

/// Sends what the machine has, then `bytes`.
pub async fn send(link: &mut Connection, bytes: &[u8]) -> Result<(), End<Error>> {
    expect(link, SEND_TIMEOUT, "the client takes no data");
    if bytes.is_empty() {
        return link.flush().await;
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let taken = write(link, rest).await?;
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(())
}

/// Sends the head and the parts. A piece that the socket does not take at once is given back and
/// read again later, so that slow clients hold no memory.
async fn send_file(link: &mut Connection, parts: &mut Parts) -> Result<(), End<Error>> {
    send(link, &std::mem::take(&mut parts.lead)).await?;
    for range in &parts.ranges {
        let mut at = range.start;
        while at < range.end {
            expect(link, SEND_TIMEOUT, "the client takes no data");
            link.writable().await?;
            let read = parts.file.read(at, range.end - at);
            let piece = link.unless_kicked(read).await?.map_err(End::Io)?;
            if piece.is_empty() {
                // It was cut meanwhile: the length that was promised cannot be kept.
                return Err(End::Closed);
            }
            at += write(link, &piece).await? as u64;
        }
    }
    Ok(())
}

/// Waits until the socket takes some of `bytes`, behind what the machine has, and gives it as much
/// as it takes then.
async fn write(link: &mut Connection, bytes: &[u8]) -> Result<usize, End<Error>> {
    link.writable().await?;
    let mut taken = 0;
    poll_fn(|cx| {
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            match link.write_behind(cx, rest) {
                Ok(0) => break,
                Ok(n) => taken += n,
                Err(e) => return Poll::Ready(Err(End::Io(e))),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await?;
    expect(link, SEND_TIMEOUT, "the client takes no data");
    Ok(taken)
}

/// `Access-Control-Allow-Origin`, if it is wanted.
pub fn allow(crossdomain: bool, headers: &mut Vec<(&'static str, String)>) {
    if crossdomain {
        headers.push(("Access-Control-Allow-Origin", "*".into()));
    }
}

fn options(router: &Router) -> Reply {
    if !router.crossdomain {
        return Reply::status(405);
    }
    let mut reply = Reply { body: bytes::Bytes::new(), ..Reply::status(200) };
    let all = "GET, POST, HEAD, PUT, DELETE";
    let methods = if router.read_only { "GET, HEAD" } else { all };
    let names = "Cache-Control,X-Proxy-Authorization,X-Requested-With,Content-Type,Range";
    reply.headers.push(("Access-Control-Allow-Methods", methods.into()));
    reply.headers.push(("Access-Control-Allow-Headers", names.into()));
    reply
}

fn expect(link: &Connection, within: Duration, what: &'static str) {
    link.session().expect(clock::after(within), what);
}
