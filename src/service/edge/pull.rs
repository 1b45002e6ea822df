//! A stream that is fetched while somebody plays it.

use super::splice::Splice;
use super::{cluster, first_origin, is_edge, upstream, vhost_there};
use crate::config::{Balance, Cluster, Vhost};
use crate::context::Context;
use crate::hub::pithy::Stage;
use crate::hub::{Caller, StreamKey};
use crate::io::link::Link;
use crate::io::run::{sleep, unless};
use crate::io::stage::Progress;
use crate::io::timer::Alarm;
use crate::io::{clock, log as tank};
use crate::limits::{PULLS_UNSEEN, UPSTREAM_LOST, UPSTREAM_RETRY, UPSTREAM_SILENCE};
use crate::media::{Kind as PacketKind, Packet};
use crate::proto::rtmp::client::{Client, Event, Role};
use crate::service::ingress::Ingress;
use crate::service::relay::balance::Backoff;
use crate::service::relay::push::elsewhere;
use crate::service::relay::{Aim, Failure, Kind, Opened, Relays, State, Upstream};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

/// The streams that are fetched.
#[derive(Debug, Default)]
pub(super) struct Pulls(RefCell<HashMap<StreamKey, Rc<Wanted>>>);

/// Why a stream is fetched.
#[derive(Debug)]
struct Wanted {
    /// The task, and the publisher of the stream here.
    id: u32,
    /// Whatever players there are.
    until: Cell<u64>,
    /// Since when nobody plays it.
    idle: Cell<Option<u64>>,
    /// Somebody publishes it here.
    yields: Cell<bool>,
    /// No player is known to be there, and nothing of it came.
    unseen: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Who played it first.
    caller: Rc<Caller>,
}

impl Wanted {
    /// Somebody plays it, or did until now.
    fn is_played(&self) {
        self.idle.set(None);
        self.look();
    }

    fn look(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Pulls {
    /// A player of `key` leaves: looks at once whether it is still played.
    pub(super) fn look(&self, key: &StreamKey) {
        if let Some(wanted) = self.0.borrow().get(key) {
            wanted.is_played();
        }
    }

    /// Whether `publisher` of `key` is a pull.
    pub(super) fn is(&self, key: &StreamKey, publisher: u32) -> bool {
        self.0.borrow().get(key).is_some_and(|wanted| wanted.id == publisher)
    }

    /// Somebody publishes `key` here: the pull leaves it alone.
    pub(super) fn yield_to_publisher(&self, cx: &Context, key: &StreamKey) {
        let Some(wanted) = self.0.borrow().get(key).cloned() else { return };
        if let Some(source) = cx.hub.find(key).filter(|s| s.publisher() == Some(wanted.id)) {
            source.end();
        }
        wanted.yields.set(true);
        wanted.look();
    }
}

/// Somebody plays `key`, or will within `hold`.
pub(super) fn want(
    cx: &Rc<Context>,
    key: &StreamKey,
    vhost: &Rc<Vhost>,
    caller: &Rc<Caller>,
    hold: Duration,
) {
    if !is_edge(vhost) || vhost.cluster.origin.is_empty() {
        return;
    }
    let pulls = cx.part::<Pulls>();
    let until = clock::after(hold.max(START));
    if let Some(wanted) = pulls.0.borrow().get(key) {
        wanted.until.set(wanted.until.get().max(until));
        return wanted.is_played();
    }
    // A player holds a connection, and those are bounded.
    let unseen = || pulls.0.borrow().values().filter(|wanted| wanted.unseen.get()).count();
    if !hold.is_zero() && unseen() >= PULLS_UNSEEN {
        return log::debug!("edge: {key} is not fetched, {PULLS_UNSEEN} others never came");
    }
    let id = tank::next_id();
    let wanted = Rc::new(Wanted {
        id,
        until: Cell::new(until),
        idle: Cell::default(),
        yields: Cell::new(false),
        unseen: Cell::new(!hold.is_zero()),
        waker: RefCell::default(),
        caller: caller.clone(),
    });
    pulls.0.borrow_mut().insert(key.clone(), wanted.clone());
    let (context, key, cluster) = (cx.clone(), key.clone(), vhost.cluster.clone());
    cx.spawner.spawn(tank::traced(id, async move {
        let spawner = context.spawner.clone();
        let pull = async move { Pull::new(context, key, wanted, &cluster).run().await };
        spawner.urgent(tank::traced(id, pull)).await;
    }));
}

struct Pull {
    cx: Rc<Context>,
    key: StreamKey,
    wanted: Rc<Wanted>,
    upstream: Rc<Upstream>,
    state: Rc<State>,
    ingress: Option<Ingress>,
    splice: Splice,
    /// When something came last.
    heard: u64,
    /// Sound or picture came over the last connection.
    came: bool,
}

/// How one connection ended.
enum Over {
    Failed(Failure),
    Moved(Box<Opened>),
    /// Somebody publishes the stream here.
    Published,
}

type Mover = Pin<Box<dyn Future<Output = Opened>>>;

impl Pull {
    fn new(cx: Rc<Context>, key: StreamKey, wanted: Rc<Wanted>, cluster: &Cluster) -> Self {
        let state = cx.part::<Relays>().enter(Kind::Pull, &key, first_origin(cluster));
        let upstream = upstream(&key, cluster);
        let (ingress, splice) = (None, Splice::default());
        Self { cx, key, wanted, upstream, state, ingress, splice, heard: clock::now(), came: false }
    }

    async fn run(mut self) {
        log::info!("edge: {} is played, it is fetched", self.key);
        let mut backoff = Backoff::new(UPSTREAM_RETRY, UPSTREAM_RETRY);
        let mut failures = 0;
        let mut opened: Option<Opened> = None;
        while let Some(cluster) = cluster(&self.cx, self.key.vhost()) {
            self.upstream.follow(&cluster.origin, cluster.balance == Balance::Hash);
            let (wanted, cx, key) = (self.wanted.clone(), self.cx.clone(), self.key.clone());
            let unwanted = wanted.is_over(&cx, &key, cluster.linger.0);
            if self.is_published_here() {
                // Nobody reads it.
                opened = None;
                if unless(unwanted, sleep(LOOK)).await.is_none() {
                    break;
                }
                continue;
            }
            self.wanted.yields.set(false);
            self.came = false;
            let Some(over) = unless(unwanted, self.once(&cluster, opened.take())).await else {
                break;
            };
            let failure = match over {
                Over::Failed(failure) => failure,
                Over::Moved(made) => {
                    opened = Some(*made);
                    continue;
                }
                Over::Published => {
                    log::info!("edge: {} is published here, it is not fetched", self.key);
                    self.ingress = None;
                    self.state.failed(&"published here");
                    continue;
                }
            };
            self.state.failed(&failure);
            let Some(cluster) = super::cluster(&self.cx, self.key.vhost()) else { break };
            backoff.follow(cluster.retry_max.0);
            if self.came {
                failures = 0;
                backoff.reset();
            }
            failures += 1;
            // The others are tried at once.
            let others = failures % self.upstream.count().max(1) != 0;
            let pause = if others { AT_ONCE } else { backoff.pause(fastrand::u8(..)) };
            log::warn!(
                "edge: {failure}, again in {} ms. ret={}",
                pause.as_millis(),
                failure.code()
            );
            let unwanted = wanted.is_over(&cx, &key, cluster.linger.0);
            if unless(unwanted, self.wait(pause)).await.is_none() {
                break;
            }
        }
        log::info!("edge: {} is not fetched any more", self.key);
        // At once: whoever plays it from now on needs another one.
        self.cx.part::<Pulls>().0.borrow_mut().remove(&self.key);
    }

    /// Whether somebody else publishes the stream.
    fn is_published_here(&self) -> bool {
        let publisher = self.cx.hub.find(&self.key).and_then(|source| source.publisher());
        publisher.is_some_and(|publisher| publisher != self.wanted.id)
    }

    /// Between two connections: what was published is, for a while, as players expect it to go on.
    async fn wait(&mut self, pause: Duration) {
        let until = clock::after(pause);
        while clock::now() < until {
            self.give_up();
            let next = until.min(clock::after(LOOK));
            match &mut self.ingress {
                Some(ingress) => ingress.sleep_until(next).await,
                None => sleep(Duration::from_millis(next.saturating_sub(clock::now()))).await,
            }
        }
    }

    /// When the stream is given up if nothing comes.
    fn lost_at(&self) -> u64 {
        let lost = u64::try_from(UPSTREAM_LOST.as_millis()).unwrap_or(u64::MAX);
        self.heard.saturating_add(lost)
    }

    /// The stream ends here when nothing came for too long.
    fn give_up(&mut self) {
        if self.ingress.is_some() && clock::now() >= self.lost_at() {
            log::warn!(
                "edge: {} is over, nothing came for {} s",
                self.key,
                UPSTREAM_LOST.as_secs()
            );
            self.ingress = None;
        }
    }

    fn aim(&self, cluster: &Cluster) -> Aim {
        let role =
            Role::Play { stream: self.key.stream().into(), start: -2.0, buffer_ms: BUFFER_MS };
        let vhost = vhost_there(cluster, self.key.vhost());
        let (app, names_us) = (self.key.app(), cluster.debug_srs_upnode);
        let caller = self.wanted.caller.clone();
        Aim { caller, ..Aim::new(&vhost, app, names_us, role, self.key.vhost()) }
    }

    /// One connection, from its begin or from `made`, to its end.
    async fn once(&mut self, cluster: &Cluster, made: Option<Opened>) -> Over {
        let opened = match made {
            Some(made) => made,
            None => {
                let (aim, cx) = (self.aim(cluster), self.cx.clone());
                let upstream = self.upstream.clone();
                // Players are shown what they are due meanwhile.
                match self.meanwhile(upstream.open(&cx, &aim)).await {
                    Ok(opened) => opened,
                    Err(failure) => return Over::Failed(failure),
                }
            }
        };
        let Opened { mut link, packet, dialled } = opened;
        log::info!("edge: plays {} of {dialled}", self.key);
        self.state.connected(&dialled.to_string(), link.session());
        let atc = self.cx.hub.find(&self.key).is_some_and(|source| source.settings().atc);
        self.splice.connected(atc);
        let mut over = packet.and_then(|packet| self.take(packet).err());
        if over.is_none() {
            let aim = self.aim(cluster);
            let (mut progress, mut alarm) =
                (self.cx.stages.enter(Stage::EdgePull), Alarm::default());
            let (mut mover, mut quiet) = (None, (clock::now(), 0));
            over = Some(
                poll_fn(|task| {
                    let polled = self.poll(task, &mut link, &aim, &mut mover, &mut progress);
                    if polled.is_ready() {
                        return polled;
                    }
                    let received = link.traffic().0;
                    if received != quiet.1 {
                        quiet = (clock::now(), received);
                    }
                    let silence = u64::try_from(UPSTREAM_SILENCE.as_millis()).unwrap_or(u64::MAX);
                    if alarm.poll(task, quiet.0 + silence).is_ready() {
                        return Poll::Ready(Over::Failed(Failure::Silent("no data")));
                    }
                    Poll::Pending
                })
                .await,
            );
        }
        self.upstream.mark(&dialled);
        over.unwrap_or(Over::Published)
    }

    /// Waits for `work`; players are shown what is due to them, for as long as they are to wait.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let (mut work, mut alarm) = (Box::pin(work), Alarm::default());
        poll_fn(|task| {
            if self.ingress.is_some() && alarm.poll(task, self.lost_at()).is_ready() {
                self.give_up();
            }
            if let Some(ingress) = &mut self.ingress {
                ingress.flush_when_due(task);
            }
            work.as_mut().poll(task)
        })
        .await
    }

    fn poll(
        &mut self,
        task: &mut Task<'_>,
        link: &mut Link<Client>,
        aim: &Aim,
        mover: &mut Option<Mover>,
        progress: &mut Progress,
    ) -> Poll<Over> {
        let mut leaves = false;
        let read = link.poll_read(task, |_, event| match event {
            Event::Packet(packet) => match self.take(packet) {
                Ok(()) => ControlFlow::Continue(()),
                Err(over) => ControlFlow::Break(over),
            },
            Event::Refused(status) => ControlFlow::Break(Over::Failed(Failure::Refused(*status))),
            Event::Status(status) => {
                if status.is_reconnect_request() {
                    leaves = true;
                    self.upstream.prefer(status.redirect.as_deref());
                }
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        });
        if let Some(ingress) = &mut self.ingress {
            ingress.flush_when_due(task);
        }
        let broken = |end: &dyn std::fmt::Display| {
            Poll::Ready(Over::Failed(Failure::Broken(end.to_string())))
        };
        match read {
            Poll::Ready(Ok(over)) => return Poll::Ready(over),
            Poll::Ready(Err(end)) => return broken(&end),
            Poll::Pending => {}
        }
        if let Poll::Ready(Err(end)) = link.poll_flush(task) {
            return broken(&end);
        }
        if self.wanted.yields.get() || self.is_published_here() {
            return Poll::Ready(Over::Published);
        }
        if leaves && mover.is_none() {
            log::info!("edge: the origin asks to reconnect");
            let (cx, upstream) = (self.cx.clone(), self.upstream.clone());
            let backoff = Backoff::new(UPSTREAM_RETRY, UPSTREAM_RETRY);
            *mover = Some(Box::pin(elsewhere(cx, upstream, aim.clone(), backoff)));
        }
        if let Some(Poll::Ready(made)) = mover.as_mut().map(|mover| mover.as_mut().poll(task)) {
            return Poll::Ready(Over::Moved(Box::new(made)));
        }
        if let Some(line) = progress.tick(link.traffic()) {
            let msgs = self.ingress.as_ref().map_or(0, Ingress::packets);
            log::info!("{line}, msgs={msgs}, {}", line.minute());
        }
        Poll::Pending
    }

    /// A packet of the origin. The stream is published here when the first one comes.
    fn take(&mut self, packet: Packet) -> Result<(), Over> {
        self.heard = clock::now();
        self.came |= packet.kind != PacketKind::Data;
        self.wanted.unseen.set(false);
        let failed = |text: String| Over::Failed(Failure::Broken(text));
        let Some(packet) = self.splice.take(packet) else { return Ok(()) };
        if self.ingress.as_ref().is_some_and(|ingress| ingress.publisher.is_stale()) {
            self.ingress = None;
        }
        if self.ingress.is_none() {
            if self.is_published_here() {
                return Err(Over::Published);
            }
            let config = self.cx.config();
            // A reload may have made it one where others publish.
            let vhost = config.block(self.key.vhost()).filter(|vhost| is_edge(vhost));
            let Some(vhost) = vhost else {
                return Err(failed(format!("{} is no edge any more", self.key.vhost())));
            };
            let opened = Ingress::open(&self.cx, &self.key, vhost, self.wanted.id);
            self.ingress = Some(opened.map_err(|refusal| failed(refusal.to_string()))?);
        }
        match &mut self.ingress {
            Some(ingress) => ingress.take(packet).map_err(|refusal| failed(refusal.to_string())),
            None => Ok(()),
        }
    }
}

impl Wanted {
    /// Ready when nobody plays `key` for `linger`.
    async fn is_over(&self, cx: &Context, key: &StreamKey, linger: Duration) {
        let mut alarm = Alarm::default();
        poll_fn(|task| {
            *self.waker.borrow_mut() = Some(task.waker().clone());
            loop {
                let now = clock::now();
                let players = cx.hub.find(key).map_or(0, |source| source.players());
                if players > 0 {
                    self.idle.set(None);
                    // Whoever leaves wakes this.
                    return Poll::Pending;
                }
                let since = self.idle.get().unwrap_or(now);
                self.idle.set(Some(since));
                let linger = u64::try_from(linger.as_millis()).unwrap_or(u64::MAX);
                let at = since.saturating_add(linger).max(self.until.get());
                if now >= at {
                    return Poll::Ready(());
                }
                if alarm.poll(task, at).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }
}

/// From the time that a player says that it plays to that at which it does.
const START: Duration = Duration::from_millis(500);
/// How often it is looked whether somebody still publishes the stream here.
const LOOK: Duration = Duration::from_millis(250);
/// Before the next origin is tried.
const AT_ONCE: Duration = Duration::from_millis(50);
/// What the origin is told that we buffer.
const BUFFER_MS: u32 = 1000;
