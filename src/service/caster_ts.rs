//! MPEG-TS in datagrams, to an address of this machine or to a multicast group. One sender at a
//! time is listened to.

use super::caster::{self, Running};
use super::datagrams::{self, Receiver};
use super::input::{Feed, Named, Target, unless_kicked};
use super::inputs::Inputs;
use super::{Service, Task};
use crate::config::Caster;
use crate::context::Context;
use crate::format::ts::datagram::is_ts;
use crate::hub::session::Kick;
use crate::io::log::{next_id, traced};
use crate::io::run;
use crate::io::udp::Udp;
use crate::limits::INPUT_RETRY;
use crate::service::admission::{Refusal, tell_closed};
use core::net::SocketAddr;
use std::fmt::{self, Display};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

/// Listens where casters of MPEG-TS are.
pub(super) const SERVICE: Service = Service {
    start: follow,
    reload: |cx, _| follow(cx),
    leave: |cx| caster::leave(cx, Caster::MpegTs),
    ..Service::new("caster-mpegts")
};

fn follow(cx: &Rc<Context>) {
    if cx.sessions.is_leaving() {
        // The ports are those of the next server.
        return;
    }
    for caster in caster::follow(cx, Caster::MpegTs) {
        let (stop, stopped) = run::once();
        caster.on_stop(stop);
        let context = cx.clone();
        let task = async move { serve(context, caster, Box::pin(stopped)).await };
        cx.spawner.spawn(traced(next_id(), task));
    }
}

/// Takes one stream after another until a reload takes the caster away or the server leaves, which
/// end the stream, too.
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
                if run::unless(stopped.as_mut(), retry.wait()).await.is_none() {
                    break;
                }
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
    Stream(datagrams::Over),
}

impl Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kicked(why) => why.fmt(f),
            Self::Leaving => Kick::Shutdown.fmt(f),
            Self::Stream(over) => over.fmt(f),
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
    let mut receiver = Receiver::new(sender);
    let over = poll_fn(|task| {
        session.set_waker(task.waker());
        if let Some(why) = session.kicked() {
            return Poll::Ready(Over::Kicked(why));
        }
        if session.take_leave() {
            return Poll::Ready(Over::Leaving);
        }
        let input = &caster.input;
        receiver.poll(task, socket, (&session, &mut feed, input)).map(Over::Stream)
    })
    .await;
    receiver.finish(&mut feed);
    match &over {
        Over::Stream(datagrams::Over::Broken(_) | datagrams::Over::Refused(_)) => {
            log::warn!("MPEG-TS ends, {over}{receiver}. ret=4011");
        }
        _ => log::info!("MPEG-TS ends, {over}{receiver}"),
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
        Over::Stream(datagrams::Over::Refused(refusal)) => Err(refusal),
        Over::Stream(datagrams::Over::Broken(_)) => Ok(Next::Pause),
        _ => Ok(Next::Again),
    }
}
