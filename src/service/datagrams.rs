//! A transport stream in datagrams, on its way into the hub. One sender at a time is listened to.

use super::input::Feed;
use super::inputs::Input;
use crate::format::ts::datagram::{is_ts, packets};
use crate::format::ts::{Counters, Demux, Note};
use crate::hub::session::Session;
use crate::io::clock;
use crate::io::udp::Udp;
use crate::service::admission::Refusal;
use core::net::SocketAddr;
use std::fmt::{self, Display};
use std::ops::ControlFlow;
use std::task::{self, Poll};

/// A sender that was silent for so long, in milliseconds, makes room for another one.
const SILENT_MS: u64 = 1000;

/// What one sender sends.
pub(super) struct Receiver {
    sender: SocketAddr,
    demux: Box<Demux>,
    /// When it sent last.
    heard: u64,
    /// Datagrams of others.
    others: u64,
    /// What was counted of it.
    damage: u64,
}

/// Why a stream is over.
#[derive(Debug)]
pub(super) enum Over {
    /// The sender was silent while this one was not.
    Other(SocketAddr),
    /// Not what it should be.
    Broken(String),
    Refused(Refusal),
}

impl Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(other) => write!(f, "the sender fell silent, {other} follows"),
            Self::Broken(what) => f.write_str(what),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl Receiver {
    /// At the begin of what `sender` sends.
    pub(super) fn new(sender: SocketAddr) -> Self {
        Self { sender, demux: Box::default(), heard: clock::now(), others: 0, damage: 0 }
    }

    /// Publishes what is there of the sender, and does what is to be done in each poll of a
    /// stream. Ready when it is over.
    pub(super) fn poll(
        &mut self,
        task: &mut task::Context<'_>,
        socket: &Udp,
        (session, feed, input): (&Session, &mut Feed, &Input),
    ) -> Poll<Over> {
        let Self { sender, demux, heard, others, .. } = self;
        let received = socket.poll_receive(task, |datagram, from| {
            let now = clock::now();
            if from != *sender {
                if now.saturating_sub(*heard) > SILENT_MS && is_ts(datagram) {
                    return ControlFlow::Break(Over::Other(from));
                }
                if *others == 0 {
                    log::warn!("ignore datagrams of {from} while {sender} sends");
                }
                *others = others.saturating_add(1);
                return ControlFlow::Continue(());
            }
            *heard = now;
            session.count(datagram.len(), 0);
            match feed.make(|memory, out| demux.receive(packets(datagram), memory, out)) {
                Ok(Ok(())) => ControlFlow::Continue(()),
                Ok(Err(stop)) => ControlFlow::Break(Over::Broken(stop.to_string())),
                Err(refusal) => ControlFlow::Break(Over::Refused(refusal)),
            }
        });
        while let Some(note) = demux.note() {
            if let Note::Program { video: None, .. } | Note::Program { audio: None, .. } = note {
                feed.is_alone();
            }
            say(&note);
        }
        let damage = damaged(demux.counters());
        input.add_damage(damage.saturating_sub(self.damage));
        self.damage = damage;
        feed.poll(task, self);
        match received {
            Poll::Ready(Ok(over)) => Poll::Ready(over),
            Poll::Ready(Err(e)) => Poll::Ready(Over::Broken(e.to_string())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The stream is over: publishes the last picture.
    pub(super) fn finish(&mut self, feed: &mut Feed) {
        // One that nobody has room for is the last one anyway.
        let _ = feed.make(|memory, out| self.demux.finish(memory, out));
    }
}

fn say(note: &Note) {
    match note {
        Note::Program { .. } => log::info!("MPEG-TS: {note}"),
        _ => log::warn!("MPEG-TS: {note}"),
    }
}

fn damaged(counters: &Counters) -> u64 {
    let Counters { resyncs, continuity, crc, damaged, oversized, .. } = *counters;
    [resyncs, continuity, crc, damaged, oversized].into_iter().map(u64::from).sum()
}

/// What is odd about the stream, for its line in the log.
impl Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ", {}", self.demux.counters())?;
        if self.others > 0 {
            write!(f, ", others={}", self.others)?;
        }
        Ok(())
    }
}
