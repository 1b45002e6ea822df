//! A connection that publishes.

use crate::config::{Mode, Vhost};
use crate::context::Context;
use crate::hub::pithy::Stage;
use crate::io::clock;
use crate::io::link::Link;
use crate::io::tcp;
use crate::io::timer::Pause;
use crate::proto::rtmp::server::{Event, Server};
use crate::server::access::Opened;
use crate::server::rtmp::{Outcome, is_for_the_peer, log_note, log_protocol};
use crate::service::admission;
use crate::service::ingress::{Ingress, Media};
use std::fmt;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

/// A read that brings less than this is followed by the pause of merged read.
const MERGED_READ_SMALL: usize = 4096;

/// Takes the stream until the client stops. Gives the connection back.
pub(super) async fn serve(
    mut link: Box<Link<Server>>,
    cx: Rc<Context>,
    mut opened: Opened,
) -> (Box<Link<Server>>, Outcome) {
    let outcome = match admission::as_it_is(&cx, &opened.vhost) {
        Ok(vhost) => {
            opened.vhost = vhost;
            take_stream(&mut link, &cx, &opened).await
        }
        Err(refusal) => Outcome::Refused(refusal),
    };
    (link, outcome)
}

async fn take_stream(link: &mut Link<Server>, cx: &Rc<Context>, opened: &Opened) -> Outcome {
    let id = link.session().id();
    let mut ingress = match Ingress::open(cx, &opened.key, &opened.vhost, id) {
        Ok(ingress) => ingress,
        Err(refusal) => return Outcome::Refused(refusal),
    };
    link.hurry = false;
    link.machine.accept_publish(Box::new(Media(Ingress::arena(cx))));
    log::info!(
        "source url={}, ip={}, cache={}, is_edge={}, source_id={id}[{id}]",
        opened.key,
        link.session().peer(),
        u8::from(opened.vhost.play.gop_cache),
        u8::from(opened.vhost.cluster.mode == Mode::Remote)
    );
    let mut terms = Terms::new(opened.vhost.clone(), link);
    log::info!("start publish {terms}, tcp_nodelay={}", u8::from(opened.vhost.tcp_nodelay));
    let first = clock::after(opened.vhost.publish.firstpkt_timeout.0);
    link.session().expect(first, "the publisher sent nothing");

    let mut progress = cx.stages.enter(Stage::Publish);
    let mut generation = cx.generation();
    let outcome = poll_fn(|task| {
        if std::mem::replace(&mut generation, cx.generation()) != generation {
            terms.follow(cx, link);
        }
        if terms.merge.pause.poll(task).is_ready() {
            let before = ingress.packets();
            let polled = poll(task, link, &mut ingress);
            if polled.is_ready() {
                return polled;
            }
            if ingress.packets() > before {
                if before == 0 {
                    log_protocol(link);
                }
                let until = clock::after(terms.vhost.publish.normal_timeout.0);
                link.session().expect(until, "the publisher fell silent");
                terms.merge.after_read(link);
            }
        }
        ingress.flush_when_due(task);
        if let Some(line) = progress.tick(link.traffic()) {
            log::info!("{line}, {terms}, {}", line.minute());
        }
        Poll::Pending
    })
    .await;
    let dropped = ingress.publisher.dropped() + u64::from(link.machine.dropped());
    log::info!("stop publish, msgs={}, dropped={dropped}", ingress.packets());
    log::info!("cleanup when unpublish");
    tell(link, outcome)
}

/// Says to a publisher that is still there why its stream ends.
fn tell(link: &mut Link<Server>, outcome: Outcome) -> Outcome {
    let (text, outcome) = match outcome {
        Outcome::Refused(refusal) => (refusal.text.clone(), Outcome::Refused(refusal)),
        Outcome::End(end) if is_for_the_peer(&end) => (end.to_string(), Outcome::Told(end)),
        outcome => return outcome,
    };
    link.machine.end("error", "NetStream.Publish.Failed", &text);
    outcome
}

/// Takes what arrived. Ready when the client stopped or has to go.
fn poll(task: &mut Task<'_>, link: &mut Link<Server>, ingress: &mut Ingress) -> Poll<Outcome> {
    let read = link.poll_read(task, |_, event| match event {
        Event::Packet(packet) => match ingress.take(packet) {
            Ok(()) => ControlFlow::Continue(()),
            Err(refusal) => ControlFlow::Break(Some(refusal)),
        },
        Event::Unpublish => ControlFlow::Break(None),
        Event::Note(note) => {
            log_note(note);
            ControlFlow::Continue(())
        }
        _ => ControlFlow::Continue(()),
    });
    if let Poll::Ready(Err(end)) = link.poll_flush(task) {
        return Poll::Ready(Outcome::End(end));
    }
    match read {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Ok(None)) => Poll::Ready(Outcome::Again),
        Poll::Ready(Ok(Some(refusal))) => Poll::Ready(Outcome::Refused(refusal)),
        Poll::Ready(Err(end)) => Poll::Ready(Outcome::End(end)),
    }
}

/// How a publisher is read, as its vhost says; a reload may change it.
struct Terms {
    vhost: Rc<Vhost>,
    merge: MergedRead,
}

impl Terms {
    fn new(vhost: Rc<Vhost>, link: &Link<Server>) -> Self {
        let options = &vhost.publish;
        let merge = MergedRead::new(options.mr && !vhost.min_latency, options.mr_latency.0);
        merge.size_buffer(link);
        if let Err(e) = tcp::set_nodelay(link.socket(), vhost.tcp_nodelay) {
            log::warn!("socket options: {e}");
        }
        Self { vhost, merge }
    }

    /// Takes what a reload changed.
    fn follow(&mut self, cx: &Context, link: &Link<Server>) {
        let Some(vhost) = cx.config().block(&self.vhost.name).cloned() else { return };
        if vhost.publish == self.vhost.publish
            && (vhost.min_latency, vhost.tcp_nodelay)
                == (self.vhost.min_latency, self.vhost.tcp_nodelay)
        {
            return;
        }
        *self = Self::new(vhost, link);
        log::info!("reload {self}");
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.vhost.publish;
        write!(
            f,
            "mr={}/{}, p1stpt={}, pnt={}",
            u8::from(options.mr),
            options.mr_latency.0.as_millis(),
            options.firstpkt_timeout.0.as_millis(),
            options.normal_timeout.0.as_millis(),
        )
    }
}

/// `mr`: after a small read, nothing is read for a while, so that the next one brings more.
struct MergedRead {
    latency: Option<Duration>,
    pause: Pause,
}

impl MergedRead {
    fn new(on: bool, latency: Duration) -> Self {
        Self { latency: on.then_some(latency), pause: Pause::default() }
    }

    /// The kernel must hold what comes in the meantime: 5 Mbit/s of it.
    fn size_buffer(&self, link: &Link<Server>) {
        if let Some(latency) = self.latency {
            let bytes = usize::try_from(latency.as_millis() * 5000 / 8 / 2).unwrap_or(usize::MAX);
            if let Err(e) = tcp::set_receive_buffer(link.socket(), bytes.min(256 * 1024)) {
                log::warn!("socket options: {e}");
            }
        }
    }

    fn after_read(&mut self, link: &Link<Server>) {
        if let Some(latency) = self.latency
            && link.last_read() < MERGED_READ_SMALL
        {
            self.pause.begin(latency);
        }
    }
}
