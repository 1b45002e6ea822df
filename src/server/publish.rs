//! A connection that publishes.

use crate::codec;
use crate::context::{self, Context};
use crate::hub::pithy::Stage;
use crate::hub::session::Kick;
use crate::hub::{Publisher, SinkError, StreamKey};
use crate::io::clock;
use crate::io::link::Link;
use crate::io::tcp;
use crate::io::timer::{Alarm, Pause};
use crate::limits::{HEADER_MAX, MESSAGE_MAX, RING_BYTES};
use crate::media::arena::{Arena, Full};
use crate::media::{Codec, Kind, Packet};
use crate::proto::rtmp::chunk::{Buffers, Refused};
use crate::proto::rtmp::server::{Event, Server};
use crate::proto::rtmp::{RUNNEL, metadata};
use crate::server::access::{Opened, Refusal};
use crate::server::rtmp::{Outcome, is_for_the_peer, log_note, log_protocol};
use crate::service::attach;
use bytes::BytesMut;
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
    opened: Opened,
) -> (Box<Link<Server>>, Outcome) {
    let outcome = take_stream(&mut link, &cx, &opened).await;
    (link, outcome)
}

async fn take_stream(link: &mut Link<Server>, cx: &Rc<Context>, opened: &Opened) -> Outcome {
    let vhost = opened.vhost.clone();
    let settings = context::settings(&vhost);
    let id = link.session().id();
    let former = cx.hub.find(&opened.key).and_then(|source| source.publisher());
    let publisher = match cx.hub.publish(&opened.key, settings, id, vhost.publish.takeover) {
        Ok(publisher) => publisher,
        Err(refused) => return Outcome::Refused(refused.into()),
    };
    if let Some(former) = former.and_then(|id| cx.sessions.find(id)) {
        log::warn!("take over the stream from {}", former.id());
        former.kick(Kick::Takeover);
    }
    let share = RING_BYTES + 4 * MESSAGE_MAX;
    let arena = Arena::new(cx.hub.pool().clone(), share, MESSAGE_MAX);
    link.hurry = false;
    link.machine.accept_publish(Box::new(Media(arena)));
    let options = &vhost.publish;
    if let Err(e) = tcp::set_nodelay(link.socket(), vhost.tcp_nodelay) {
        log::warn!("socket options: {e}");
    }
    log::info!(
        "source url={}, ip={}, cache={}, is_edge=0, source_id={id}[{id}]",
        opened.key,
        link.session().peer(),
        u8::from(settings.gop_cache)
    );
    log::info!(
        "start publish mr={}/{}, p1stpt={}, pnt={}, tcp_nodelay={}",
        u8::from(options.mr),
        options.mr_latency.0.as_millis(),
        options.firstpkt_timeout.0.as_millis(),
        options.normal_timeout.0.as_millis(),
        u8::from(vhost.tcp_nodelay)
    );
    let mut ingest = Ingest::new(publisher, &opened.key, options.parse_sps);
    attach(&mut ingest.publisher, cx, &opened.key, &vhost);
    link.session().expect(clock::after(options.firstpkt_timeout.0), "the publisher sent nothing");

    let mut merge = MergedRead::new(options.mr && !vhost.min_latency, options.mr_latency.0);
    merge.size_buffer(link);
    let mut progress = cx.stages.enter(Stage::Publish);
    let mut alarm = Alarm::default();
    let outcome = poll_fn(|task| {
        if merge.pause.poll(task).is_ready() {
            let before = ingest.packets;
            let polled = ingest.poll(task, link);
            if polled.is_ready() {
                return polled;
            }
            if ingest.packets > before {
                if before == 0 {
                    log_protocol(link);
                }
                let until = clock::after(options.normal_timeout.0);
                link.session().expect(until, "the publisher fell silent");
                merge.after_read(link);
            }
        }
        ingest.flush_when_due(cx, task, &mut alarm);
        if let Some(line) = progress.tick(link.traffic()) {
            log::info!(
                "{line}, mr={}/{}, p1stpt={}, pnt={}, {}",
                u8::from(options.mr),
                options.mr_latency.0.as_millis(),
                options.firstpkt_timeout.0.as_millis(),
                options.normal_timeout.0.as_millis(),
                line.minute()
            );
        }
        Poll::Pending
    })
    .await;
    let dropped = ingest.publisher.dropped() + u64::from(link.machine.dropped());
    log::info!("stop publish, msgs={}, dropped={dropped}", ingest.packets);
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

/// The arena as the chunk layer sees it.
struct Media(Arena);

impl Buffers for Media {
    fn buffer(&mut self, _type_id: u8, len: usize) -> Result<BytesMut, Refused> {
        self.0.alloc(len).map_err(|full| match full {
            Full::TooLong { max } => Refused::TooLong { max },
            Full::NoMemory => Refused::NoMemory,
        })
    }
}

/// From the machine's packets to the hub.
struct Ingest<'a> {
    publisher: Publisher,
    key: &'a StreamKey,
    parse_sps: bool,
    packets: u64,
}

impl<'a> Ingest<'a> {
    fn new(publisher: Publisher, key: &'a StreamKey, parse_sps: bool) -> Self {
        Self { publisher, key, parse_sps, packets: 0 }
    }

    /// Takes what arrived. Ready when the client stopped or has to go.
    fn poll(&mut self, task: &mut Task<'_>, link: &mut Link<Server>) -> Poll<Outcome> {
        let now = clock::now();
        let read = link.poll_read(task, |_, event| match event {
            Event::Packet(packet) => match self.take(packet, now) {
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

    fn take(&mut self, packet: Packet, now: u64) -> Result<(), Refusal> {
        self.packets += 1;
        let Packet { kind, dts, key, header, .. } = packet;
        let len = packet.payload.len();
        log::trace!("{kind:?} dts={dts}, {len}B, key={key}, header={header}");
        let taken = if packet.kind == Kind::Data {
            self.take_metadata(&packet, now)
        } else {
            if packet.header {
                Self::bound(&packet)?;
                self.describe(&packet)?;
            }
            self.publisher.push(packet, now)
        };
        taken.map_err(|_: SinkError| Refusal::new(3001, "an output of the stream failed"))
    }

    fn take_metadata(&mut self, packet: &Packet, now: u64) -> Result<(), SinkError> {
        let shown = match metadata::normalise(&packet.payload, &RUNNEL) {
            Ok(shown) => shown,
            Err(e) => {
                log::warn!("ignore metadata of {}, {e}", self.key);
                return Ok(());
            }
        };
        if shown.payload.len() > HEADER_MAX {
            let len = shown.payload.len();
            log::warn!("ignore metadata of {}, {len} bytes, {HEADER_MAX} are allowed", self.key);
            return Ok(());
        }
        let number = |value: Option<f64>| value.unwrap_or_default();
        let name = |codec| match codec {
            None => "none".into(),
            Some(Codec::Id(id)) => id.to_string(),
            Some(codec) => codec.name().to_owned(),
        };
        log::info!(
            "got metadata, width={}, height={}, vcodec={}, acodec={}",
            number(shown.width),
            number(shown.height),
            name(shown.video_codec),
            name(shown.audio_codec)
        );
        let source = self.publisher.source();
        let settings = source.settings();
        if shown.bravo_atc && settings.atc_auto && !settings.atc {
            log::info!("atc of the stream is on, bravo_atc");
            source.set_settings(crate::hub::Settings { atc: true, ..settings });
        }
        let shown = Packet::new(Kind::Data, packet.dts, shown.payload);
        self.publisher.push_metadata(packet, shown, now)
    }

    fn bound(packet: &Packet) -> Result<(), Refusal> {
        let len = packet.payload.len();
        if len <= HEADER_MAX {
            return Ok(());
        }
        let text =
            format!("{:?} sequence header of {len} bytes, {HEADER_MAX} are allowed", packet.kind);
        Err(Refusal::new(3001, text))
    }

    /// Logs what a sequence header says. A broken one ends the stream, as players could do nothing
    /// with it; `parse_sps off` lets it pass.
    fn describe(&self, packet: &Packet) -> Result<(), Refusal> {
        match codec::describe(packet.kind, &packet.payload) {
            Ok(Some(description)) => log::info!("{description}"),
            Ok(None) => log::info!("{}B {:?} sequence header", packet.payload.len(), packet.kind),
            Err(e) if self.parse_sps && !matches!(e, codec::Error::Unsupported(_)) => {
                return Err(Refusal::new(3001, format!("{:?} sequence header: {e}", packet.kind)));
            }
            Err(e) => log::warn!("{:?} sequence header: {e}", packet.kind),
        }
        Ok(())
    }

    /// Shows players what came, when the merge interval is over.
    fn flush_when_due(&mut self, cx: &Context, task: &mut Task<'_>, alarm: &mut Alarm) {
        while let Some(due) = cx.flush_when_due(&mut self.publisher) {
            if alarm.poll(task, due).is_pending() {
                return;
            }
        }
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
