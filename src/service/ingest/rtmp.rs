//! A stream of another RTMP server.

use super::live::{Attempt, Over, ended};
use crate::io::link::Link;
use crate::io::{connect, tcp};
use crate::limits::{COMMAND_TIMEOUT, INGEST_CONNECT};
use crate::proto::rtmp::client::{Client, Config, Event, Role};
use crate::service::ingress::{Ingress, Media};
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::task::Poll;

/// What the server is told that is played.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) secure: bool,
    pub(super) tc_url: &'a str,
    pub(super) app: &'a str,
    pub(super) stream: &'a str,
}

/// The buffer that the server is told of, in milliseconds.
const BUFFER_MS: u32 = 1000;

/// Plays until the server ends it.
pub(super) async fn pull(attempt: &Attempt<'_>, asked: &Asked<'_>) -> Result<(), Over> {
    let connecting = connect::wire(asked.host, asked.port, asked.secure, INGEST_CONNECT);
    let wire = attempt.before(INGEST_CONNECT * 3, "connecting", connecting).await?;
    let wire = wire.map_err(|e| Over::Failed(e.to_string()))?;
    // Without it commands are slower, nothing else.
    let _ = tcp::set_nodelay(wire.socket(), true);
    let role = Role::Play { stream: asked.stream.into(), start: -2.0, buffer_ms: BUFFER_MS };
    let mut machine = Client::new(Config::new(asked.tc_url, asked.app, role));
    machine.set_media(Box::new(Media(Ingress::arena(attempt.cx))));
    let mut link = Box::new(Link::new(wire, machine, attempt.session.clone()));
    let started = Box::pin(async {
        loop {
            match link.next().await {
                Ok(Event::Started) => return Ok(()),
                Ok(Event::Refused(status)) => return Err(Over::Failed(status.to_string())),
                Ok(_) => {}
                Err(end) => return Err(ended("server", &end)),
            }
        }
    });
    attempt.before(COMMAND_TIMEOUT, "the server is asked", started).await??;
    link.hurry = false;
    let mut live = attempt.begin(false, false).await?;
    poll_fn(|task| {
        if let Err(over) = live.check(task) {
            return Poll::Ready(Err(over));
        }
        let feed = &mut live.feed;
        let read = link.poll_read(task, |_, event| match event {
            Event::Packet(packet) => match feed.make(|_, out| out(packet)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(refusal) => ControlFlow::Break(Over::Refused(refusal)),
            },
            Event::Refused(status) => ControlFlow::Break(Over::Failed(status.to_string())),
            Event::Status(status) if is_end(&status.code) => ControlFlow::Break(Over::Ended),
            _ => ControlFlow::Continue(()),
        });
        if let Poll::Ready(Err(end)) = link.poll_flush(task) {
            return Poll::Ready(Err(ended("server", &end)));
        }
        live.feed.poll(task, &"");
        match read {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(over)) => Poll::Ready(Err(over)),
            Poll::Ready(Err(end)) => Poll::Ready(Err(ended("server", &end))),
        }
    })
    .await
}

/// The server says that nobody publishes any more.
fn is_end(code: &str) -> bool {
    matches!(code, "NetStream.Play.UnpublishNotify" | "NetStream.Play.Complete")
}
