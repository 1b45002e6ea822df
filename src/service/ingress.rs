//! A stream that comes in, wherever it comes from: its checks, its log lines, its metadata, and
//! its place in the hub with the sinks of its vhost. RTMP publishers, casters, ingests and pulls
//! all publish through here, so that no output can tell them apart.

use super::admission::Refusal;
use super::attach;
use crate::codec;
use crate::config::Vhost;
use crate::context::{self, Context};
use crate::hub::session::Kick;
use crate::hub::{Publisher, SinkError, StreamKey};
use crate::io::timer::Alarm;
use crate::io::{clock, run};
use crate::limits::{HEADER_MAX, MESSAGE_MAX, RING_BYTES};
use crate::media::arena::{Arena, Full};
use crate::media::{Codec, Decimal, Kind, Packet};
use crate::proto::rtmp::chunk::{Buffers, Refused};
use crate::proto::rtmp::{RUNNEL, metadata};
use bytes::BytesMut;
use std::fmt;
use std::rc::Rc;
use std::task;
use std::time::Duration;

/// The right to publish a stream, with all that belongs to one that comes in.
pub struct Ingress {
    /// The right itself.
    pub publisher: Publisher,
    cx: Rc<Context>,
    parse_sps: bool,
    packets: u64,
    alarm: Alarm,
}

impl Ingress {
    /// Takes `key` for the connection or task `id`, from its present publisher where the vhost
    /// allows a takeover, and joins the sinks that the vhost asks for.
    pub fn open(
        cx: &Rc<Context>,
        key: &StreamKey,
        vhost: &Vhost,
        id: u32,
    ) -> Result<Self, Refusal> {
        let settings = context::settings(vhost);
        let former = cx.hub.find(key).and_then(|source| source.publisher());
        let mut publisher = cx.hub.publish(key, settings, id, vhost.publish.takeover)?;
        if let Some(former) = former.and_then(|id| cx.sessions.find(id)) {
            log::warn!("take over the stream from {}", former.id());
            former.kick(Kick::Takeover);
        }
        attach(&mut publisher, cx, key, vhost);
        let parse_sps = vhost.publish.parse_sps;
        Ok(Self { publisher, cx: cx.clone(), parse_sps, packets: 0, alarm: Alarm::default() })
    }

    /// Memory for the payloads of one such stream: its part of the pool.
    pub fn arena(cx: &Context) -> Arena {
        Arena::new(cx.hub.pool().clone(), RING_BYTES + 4 * MESSAGE_MAX, MESSAGE_MAX)
    }

    /// Packets so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// One packet of the stream, as an RTMP publisher would send it. Fails when the stream has to
    /// end: a sequence header that no player could use, or an output whose policy it is.
    pub fn take(&mut self, packet: Packet) -> Result<(), Refusal> {
        let now = clock::now();
        self.packets += 1;
        let Packet { kind, dts, key, header, .. } = packet;
        let len = packet.payload.len();
        log::trace!("{kind} dts={dts}, {len}B, key={key}, header={header}");
        let taken = if packet.kind == Kind::Data {
            self.take_metadata(&packet, now)
        } else {
            if packet.header {
                if codec::is_blank_header(kind, &packet.payload) {
                    log::info!("ignore an empty {kind:?} sequence header");
                    return Ok(());
                }
                bound(&packet)?;
                self.describe(&packet)?;
            }
            self.publisher.push(packet, now)
        };
        taken.map_err(|_: SinkError| Refusal::new(3001, "an output of the stream failed"))
    }

    fn take_metadata(&mut self, packet: &Packet, now: u64) -> Result<(), SinkError> {
        let key = self.publisher.source().key();
        let shown = match metadata::normalise(&packet.payload, &RUNNEL) {
            Ok(shown) => shown,
            Err(e) => {
                log::warn!("ignore metadata of {key}, {e}");
                return Ok(());
            }
        };
        if shown.payload.len() > HEADER_MAX {
            let len = shown.payload.len();
            log::warn!("ignore metadata of {key}, {len} bytes, {HEADER_MAX} are allowed");
            return Ok(());
        }
        let number = |value: Option<f64>| Decimal::short(value.unwrap_or_default());
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

    /// Logs what a sequence header says. A broken one ends the stream, as players could do nothing
    /// with it; `parse_sps off` lets it pass.
    fn describe(&self, packet: &Packet) -> Result<(), Refusal> {
        match codec::describe(packet.kind, &packet.payload) {
            Ok(Some(description)) => log::info!("{description}"),
            Ok(None) => log::info!("{}B {} sequence header", packet.payload.len(), packet.kind),
            Err(e) if self.parse_sps && !matches!(e, codec::Error::Unsupported(_)) => {
                return Err(Refusal::new(3001, format!("{} sequence header: {e}", packet.kind)));
            }
            Err(e) => log::warn!("{} sequence header: {e}", packet.kind),
        }
        Ok(())
    }

    /// Shows players what came, when the merge interval is over; else has `task` woken then. To be
    /// called at the end of each poll of the task that publishes.
    pub fn flush_when_due(&mut self, task: &mut task::Context<'_>) {
        while let Some(due) = self.cx.flush_when_due(&mut self.publisher) {
            if self.alarm.poll(task, due).is_pending() {
                return;
            }
        }
    }

    /// Waits until `until` on the clock, and shows players what came as it becomes due.
    pub async fn sleep_until(&mut self, until: u64) {
        loop {
            let due = self.cx.flush_when_due(&mut self.publisher);
            let wait = until.saturating_sub(clock::now());
            if wait == 0 {
                return;
            }
            let until_due = due.map_or(wait, |due| due.saturating_sub(clock::now()));
            run::sleep(Duration::from_millis(wait.min(until_due))).await;
        }
    }
}

/// The arena as the chunk layer sees it.
#[derive(Debug)]
pub struct Media(pub Arena);

impl Buffers for Media {
    fn buffer(&mut self, _type_id: u8, len: usize) -> Result<BytesMut, Refused> {
        self.0.alloc(len).map_err(|full| match full {
            Full::TooLong { max } => Refused::TooLong { max },
            Full::NoMemory => Refused::NoMemory,
        })
    }
}

impl Drop for Ingress {
    fn drop(&mut self) {
        let hold = self.publisher.source().settings().hold_ms;
        if hold > 0 {
            self.publisher.hold(clock::after(Duration::from_millis(hold.into())));
        }
    }
}

impl fmt::Debug for Ingress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingress").field("source", self.publisher.source()).finish_non_exhaustive()
    }
}

fn bound(packet: &Packet) -> Result<(), Refusal> {
    let len = packet.payload.len();
    if len <= HEADER_MAX {
        return Ok(());
    }
    let text = format!("{} sequence header of {len} bytes, {HEADER_MAX} are allowed", packet.kind);
    Err(Refusal::new(3001, text))
}
