//! MPEG-TS in datagrams, to an address of this machine or to a multicast group. One sender at a
//! time is listened to.

use super::caster::{self, Running};
use super::input::{Feed, Named, Target, unless_kicked};
use super::inputs::Inputs;
use super::{Service, Task};
use crate::config::Caster;
use crate::context::Context;
use crate::format::ts::datagram::{is_ts, packets};
use crate::format::ts::{Counters, Demux, Note};
use crate::hub::session::Kick;
use crate::io::log::{next_id, traced};
use crate::io::udp::Udp;
use crate::io::{clock, run};
use crate::limits::INPUT_RETRY;
use crate::service::admission::{Refusal, tell_closed};
use core::net::SocketAddr;
use std::fmt::{self, Display};
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::Poll;

/// Listens where casters of MPEG-TS are.
pub(super) const SERVICE: Service =
    Service { start: follow, reload: |cx, _| follow(cx), ..Service::new("caster-mpegts") };

/// A sender that was silent for so long, in milliseconds, makes room for another one.
const SILENT_MS: u64 = 1000;

fn follow(cx: &Rc<Context>) {
    for caster in caster::follow(cx, Caster::MpegTs) {
        let (stop, stopped) = run::once();
        caster.on_stop(stop);
        let context = cx.clone();
        let task = async move { serve(context, caster, Box::pin(stopped)).await };
        cx.spawner.spawn(traced(next_id(), task));
    }
}

/// Takes one stream after another until a reload takes the caster away, which ends the stream, too.
/// A port or an interface that is not there is waited for.
async fn serve(cx: Rc<Context>, caster: Rc<Running>, mut stopped: Task<()>) {
    let block = &caster.block;
    let mut retry = Retry::default();
    let socket = loop {
        match Udp::listen(block.listen.ip, block.listen.port, &block.interface) {
            Ok(socket) => break socket,
            Err(e) => {
                let e = format!("listen at {} for MPEG-TS: {e}", block.listen);
                if retry.is_first() {
                    log::error!("{e}; tried again until it works. ret=4011");
                }
                caster.input.fail(&e);
                if run::unless(stopped.as_mut(), retry.wait()).await.is_none() {
                    return;
                }
            }
        }
    };
    log::info!("MPEG-TS caster listens at {}", block.listen);
    let mut retry = Retry::default();
    loop {
        let sender = poll_fn(|task| socket.poll_wanted(task, |datagram, _| is_ts(datagram)));
        let sender = match run::unless(stopped.as_mut(), sender).await {
            Some(Ok(sender)) => sender,
            Some(Err(e)) => {
                caster.input.fail(&e);
                retry.wait().await;
                continue;
            }
            None => break,
        };
        let id = next_id();
        let (context, caster) = (cx.clone(), caster.clone());
        let taken = traced(id, async { take(&context, &caster, &socket, sender, id).await }).await;
        match taken {
            Ok(Next::Again) => retry = Retry::default(),
            Ok(Next::Leave) => break,
            Ok(Next::Pause) => {
                if run::unless(stopped.as_mut(), retry.wait()).await.is_none() {
                    break;
                }
                socket.discard();
            }
            Err(refusal) => {
                if retry.is_first() {
                    log::warn!("sender {sender} refused, {refusal}");
                }
                caster.input.fail(&refusal);
                if run::unless(stopped.as_mut(), retry.wait()).await.is_none() {
                    break;
                }
                socket.discard();
            }
        }
    }
    drop(socket);
    log::info!("MPEG-TS caster listens no more at {}", block.listen);
}

/// Pauses that grow.
#[derive(Default)]
struct Retry(u32);

impl Retry {
    fn is_first(&self) -> bool {
        self.0 == 0
    }

    async fn wait(&mut self) {
        run::sleep(run::growing(INPUT_RETRY, self.0)).await;
        self.0 = self.0.saturating_add(1);
    }
}

/// What follows a stream.
enum Next {
    /// Another one.
    Again,
    /// The same after a pause, so that a sender of nonsense does not keep the server busy.
    Pause,
    /// Nothing: the server leaves, and another process may want the port.
    Leave,
}

/// Why a stream is over.
enum Over {
    Kicked(Kick),
    /// The server leaves.
    Leaving,
    /// The sender was silent while this one was not.
    Other(SocketAddr),
    /// Not what it should be.
    Broken(String),
    Refused(Refusal),
}

impl Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kicked(why) => why.fmt(f),
            Self::Leaving => Kick::Shutdown.fmt(f),
            Self::Other(other) => write!(f, "the sender fell silent, {other} follows"),
            Self::Broken(what) => f.write_str(what),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

/// Publishes what `sender` sends until it is silent. Refused: it may not.
async fn take(
    cx: &Rc<Context>,
    caster: &Rc<Running>,
    socket: &Udp,
    sender: SocketAddr,
    id: u32,
) -> Result<Next, Refusal> {
    if cx.sessions.len() >= cx.max_clients() {
        return Err(Refusal::new(1021, "exceed the max connections"));
    }
    let _place = cx.part::<Inputs>().place()?;
    let ip = sender.ip().to_canonical();
    let target = Target::find(&cx.config(), &caster.block.output, Named::default(), ip)?;
    let session = cx.sessions.enter(id, ip);
    if session.is_leaving() {
        return Ok(Next::Leave);
    }
    log::info!("MPEG-TS from {sender} at {}", caster.block.listen);
    let opened = unless_kicked(&session, Feed::open(cx, &session, &caster.input, target)).await;
    let mut feed = match opened {
        Ok(feed) => feed?.in_order(),
        Err(Kick::Shutdown) => return Ok(Next::Leave),
        Err(why) => return Err(Refusal::new(1023, why.to_string())),
    };
    let mut demux = Demux::new();
    let (mut others, mut heard) = (0_u64, clock::now());
    let mut damage = 0;
    let over = poll_fn(|task| {
        session.set_waker(task.waker());
        if let Some(why) = session.kicked() {
            return Poll::Ready(Over::Kicked(why));
        }
        if session.take_leave() {
            return Poll::Ready(Over::Leaving);
        }
        let received = socket.poll_receive(task, |datagram, from| {
            let now = clock::now();
            if from != sender {
                if now.saturating_sub(heard) > SILENT_MS && is_ts(datagram) {
                    return ControlFlow::Break(Over::Other(from));
                }
                if others == 0 {
                    log::warn!("ignore datagrams of {from} while {sender} sends");
                }
                others = others.saturating_add(1);
                return ControlFlow::Continue(());
            }
            heard = now;
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
        let now_damaged = damaged(demux.counters());
        caster.input.add_damage(now_damaged.saturating_sub(damage));
        damage = now_damaged;
        feed.poll(task, &Line { counters: demux.counters(), others });
        match received {
            Poll::Ready(Ok(over)) => Poll::Ready(over),
            Poll::Ready(Err(e)) => Poll::Ready(Over::Broken(e.to_string())),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    // A picture that nobody has room for is the last one anyway.
    let _ = feed.make(|memory, out| demux.finish(memory, out));
    let line = Line { counters: demux.counters(), others };
    match &over {
        Over::Broken(_) | Over::Refused(_) => log::warn!("MPEG-TS ends, {over}{line}. ret=4011"),
        _ => log::info!("MPEG-TS ends, {over}{line}"),
    }
    let leaves = matches!(over, Over::Leaving | Over::Kicked(Kick::Shutdown));
    if !leaves {
        caster.input.fail(&over);
    }
    drop(feed);
    tell_closed(cx, &session);
    match over {
        _ if leaves => Ok(Next::Leave),
        // An operator, or who took the stream over, would not like to see it back at once.
        Over::Kicked(Kick::Operator | Kick::Takeover) => {
            Err(Refusal::new(1023, "it was ended from outside"))
        }
        Over::Refused(refusal) => Err(refusal),
        Over::Broken(_) => Ok(Next::Pause),
        _ => Ok(Next::Again),
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

/// What is odd about a stream, for its line in the log.
struct Line<'a> {
    counters: &'a Counters,
    others: u64,
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ", {}", self.counters)?;
        if self.others > 0 {
            write!(f, ", others={}", self.others)?;
        }
        Ok(())
    }
}
