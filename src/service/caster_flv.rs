//! FLV in the body of a POST (or PUT): of a length, in chunks, or to the end of the connection.

use super::caster::{self, Running};
use super::http::{self, Answer, Ask, Connection, Outcome, Reply, Router};
use super::input::{Feed, Named, Target};
use super::{Port, Service};
use crate::config::Caster;
use crate::context::Context;
use crate::format::flv::{Reader, Stop};
use crate::io::link::End;
use crate::io::tcp;
use crate::proto::http::{Error, Event, Length, Method, Request, Response};
use crate::service::admission::Refusal;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::Poll;

/// Listens where casters of FLV are.
pub(super) const SERVICE: Service = Service {
    port: Some(Port {
        name: "FLV caster",
        endpoints: |config| caster::endpoints(config, Caster::Flv),
        serve: |socket, id, peer, cx| Box::pin(http::serve(socket, id, peer, cx, router)),
    }),
    start: |cx| drop(caster::follow(cx, Caster::Flv)),
    reload: |cx, _| drop(caster::follow(cx, Caster::Flv)),
    ..Service::new("caster-flv")
};

fn router(_: &Rc<Context>) -> Rc<Router> {
    let mut router = Router::default();
    router.last(answer);
    Rc::new(router)
}

fn answer(ask: &Ask) -> Answer {
    if !matches!(ask.request.method, Method::Post | Method::Put) {
        let mut reply = Reply::status(405);
        reply.headers.push(("Allow", "POST, PUT".into()));
        return reply.into();
    }
    let (cx, request) = (ask.cx.clone(), ask.request.clone());
    Answer::Take(Box::new(move |link| Box::pin(serve(link, cx, request))))
}

/// How a body ended.
enum Ended {
    /// All is well.
    Whole,
    /// In the middle of a tag.
    Cut,
    /// It is no FLV, or there is no memory for it.
    Stop(Stop),
    /// The server does not want it, or not any more.
    Refused(Refusal),
}

async fn serve(
    mut link: Connection,
    cx: Rc<Context>,
    request: Rc<Request>,
) -> (Connection, Outcome) {
    let address = link.socket().local_addr().ok();
    let found = address.and_then(|at| caster::at(&cx, Caster::Flv, at));
    let Some(caster) = found else {
        log::warn!("a reload took away the caster of this port");
        return refuse(link, 503);
    };
    let ended = match receive(&mut link, &cx, &caster, &request).await {
        Ok(ended) => ended,
        Err(end) => {
            caster.input.fail(&end);
            return (link, Outcome::End(end));
        }
    };
    match &ended {
        Ended::Whole => {
            let head =
                Response { status: 200, content_type: "", length: Length::Known(0), headers: &[] };
            link.machine.respond(&head);
            let outcome = match link.flush().await {
                Err(end) => Outcome::End(end),
                Ok(()) if link.machine.finish() => Outcome::Again,
                Ok(()) => Outcome::Close,
            };
            (link, outcome)
        }
        Ended::Cut => {
            let text = "the body ends in the middle of an FLV tag";
            log::warn!("{text}");
            caster.input.fail(&text);
            caster.input.add_damage(1);
            refuse(link, 400)
        }
        Ended::Stop(stop) => {
            log::warn!("stop to read the body: {stop}. ret=3001");
            caster.input.fail(stop);
            caster.input.add_damage(1);
            refuse(link, if matches!(stop, Stop::Memory(_)) { 503 } else { 400 })
        }
        Ended::Refused(refusal) => {
            log::warn!("client refused, {refusal}");
            caster.input.fail(refusal);
            refuse(link, if refusal.code == 1028 { 409 } else { 403 })
        }
    }
}

/// An answer, after which nothing more is listened to.
fn refuse(mut link: Connection, status: u16) -> (Connection, Outcome) {
    link.machine.close_after();
    link.machine.ignore_input();
    link.discard();
    let head = Response { status, content_type: "", length: Length::Known(0), headers: &[] };
    link.machine.respond(&head);
    (link, Outcome::Close)
}

/// Publishes the body.
async fn receive(
    link: &mut Connection,
    cx: &Rc<Context>,
    caster: &Rc<Running>,
    request: &Request,
) -> Result<Ended, End<Error>> {
    if let Err(e) = tcp::set_nodelay(link.socket(), true) {
        log::warn!("socket options: {e}");
    }
    let named = named(request);
    let ip = link.session().peer();
    let target = match Target::find(&cx.config(), &caster.block.output, named, ip) {
        Ok(target) => target,
        Err(refusal) => return Ok(Ended::Refused(refusal)),
    };
    let to_the_end = request.is_silent_on_body();
    if to_the_end {
        link.machine.open_body();
    }
    let session = link.session().clone();
    let feed = link.unless_kicked(Feed::open(cx, &session, &caster.input, target)).await?;
    let mut feed = match feed {
        Ok(feed) => feed,
        Err(refusal) => return Ok(Ended::Refused(refusal)),
    };
    let mut reader = Reader::new();
    let ended = poll_fn(|task| {
        // What is due is "100 Continue".
        if let Poll::Ready(Err(end)) = link.poll_flush(task) {
            return Poll::Ready(Err(end));
        }
        let read = link.poll_read(task, |_, event| match event {
            Event::Body(bytes) => take(&bytes, &mut reader, &mut feed),
            Event::End => ControlFlow::Break(Ended::Whole),
            Event::Begun | Event::Request(_) => ControlFlow::Continue(()),
        });
        feed.poll(task, &"");
        read
    })
    .await;
    match ended {
        Ok(Ended::Whole) if !reader.at_end() => Ok(Ended::Cut),
        Err(End::Closed) if to_the_end && reader.at_end() => Ok(Ended::Whole),
        Err(End::Closed) if !reader.at_end() => {
            log::warn!("the connection ends in the middle of an FLV tag");
            Err(End::Closed)
        }
        ended => ended,
    }
}

/// App, stream and parameters of the path: `/app/stream.flv?parameters`.
fn named(request: &Request) -> Named<'_> {
    let path = request.path.trim_matches('/');
    let (app, stream) = path.rsplit_once('/').unwrap_or(("", path));
    let stream = stream.strip_suffix(".flv").unwrap_or(stream);
    Named { app, stream, query: &request.query }
}

fn take(mut bytes: &[u8], reader: &mut Reader, feed: &mut Feed) -> ControlFlow<Ended> {
    let made = feed.make(|memory, out| {
        loop {
            match reader.read(&mut bytes, memory) {
                Ok(Some(packet)) => out(packet),
                Ok(None) => return Ok(()),
                Err(stop) => return Err(stop),
            }
        }
    });
    match made {
        Ok(Ok(())) => ControlFlow::Continue(()),
        Ok(Err(stop)) => ControlFlow::Break(Ended::Stop(stop)),
        Err(refusal) => ControlFlow::Break(Ended::Refused(refusal)),
    }
}
