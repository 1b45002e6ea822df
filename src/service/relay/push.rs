//! A stream on its way to another server: one that reads the ring as players do, and goes on where
//! it stopped when its connection is made anew.

use super::balance::Backoff;
use super::{Aim, Failure, Opened, State, Upstream};
use crate::context::Context;
use crate::hub::Consumer;
use crate::hub::pithy::Stage;
use crate::io::clock;
use crate::io::link::Link;
use crate::io::player::Player;
use crate::io::run::{sleep, unless, within};
use crate::io::timer::Alarm;
use crate::limits::{LINGER, UPSTREAM_STALL};
use crate::proto::framing::Publish;
use crate::proto::rtmp::client::{Client, Event};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

/// Says that a push is to end.
#[derive(Debug, Default)]
pub struct Stop {
    now: Cell<bool>,
    /// When the stream ended here.
    ended: Cell<Option<u64>>,
    /// The server is another one now.
    moved: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Stop {
    /// The stream is over: what is left is sent first.
    pub fn end(&self) {
        if self.ended.get().is_none() {
            self.ended.set(Some(clock::now()));
        }
        self.wake();
    }

    /// Nothing more is to be sent.
    pub fn now(&self) {
        self.now.set(true);
        self.wake();
    }

    /// Takes an [`end`](Self::end) back. False: it ends [`now`](Self::now).
    pub fn resume(&self) -> bool {
        self.ended.set(None);
        !self.now.get()
    }

    /// What the push is told to connect to is another server: it leaves the one that it has, and
    /// goes on there from where it is.
    pub fn moves(&self) {
        self.moved.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn listen(&self, task: &Task<'_>) {
        *self.waker.borrow_mut() = Some(task.waker().clone());
    }
}

/// What a push needs to know.
pub struct Push {
    /// The process.
    pub cx: Rc<Context>,
    /// The pace of its log lines.
    pub stage: Stage,
    /// Where to.
    pub upstream: Rc<Upstream>,
    /// As what. Made anew for each connection, so that it follows the configuration.
    pub aim: Box<dyn Fn() -> Aim>,
    /// What sends it, from its place in the stream.
    pub player: Player<Publish>,
    /// Until when.
    pub stop: Rc<Stop>,
    /// The pauses between attempts.
    pub backoff: Backoff,
    /// The longest of them, as the configuration has it now.
    pub retry_max: Box<dyn Fn() -> Duration>,
    /// What others are told of it.
    pub state: Rc<State>,
    /// For what is left when the stream ends.
    pub drain: Duration,
    /// Servers that refuse for so long have the last word; without it they are asked for ever.
    pub patience: Option<Duration>,
    /// Connections are made anew; without it the first failure has the last word.
    pub lasting: bool,
}

impl std::fmt::Debug for Push {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

/// How one connection ended.
enum Over {
    /// All was sent that was to be sent.
    Done,
    /// Something went wrong.
    Failed(Failure),
    /// The server leaves, and another one is there.
    Moved(Box<Opened>),
    /// It is to go elsewhere.
    Away,
}

type Mover = Pin<Box<dyn Future<Output = Opened>>>;

/// What sends `consumer`'s stream to a server.
pub fn player(consumer: Consumer) -> Player<Publish> {
    Player::new(consumer, Publish { chunk_size: 128, stream: 1 }, Duration::ZERO)
}

impl Push {
    /// Until the stream is over and sent, or a server has the last word, which is given then.
    /// `first` is a connection that stands already.
    pub async fn run(mut self, first: Option<Opened>) -> Option<Failure> {
        let epoch = self.player.consumer.source().epoch();
        let mut opened = first;
        let mut refused: Option<u64> = None;
        let mut again = false;
        while !self.is_over(epoch) {
            let over = match opened.take() {
                Some(made) => {
                    refused = None;
                    self.send(made, epoch, std::mem::replace(&mut again, true)).await
                }
                None => match unless(self.stopped(epoch), self.connect()).await? {
                    Ok(made) => {
                        opened = Some(made);
                        continue;
                    }
                    Err(failure) => Over::Failed(failure),
                },
            };
            let failure = match over {
                Over::Done => return None,
                Over::Moved(made) => {
                    opened = Some(*made);
                    continue;
                }
                Over::Away => {
                    self.state.failed(&"the configuration names another server");
                    continue;
                }
                Over::Failed(failure) => failure,
            };
            self.state.failed(&failure);
            let now = clock::now();
            match &failure {
                _ if !self.lasting => return Some(failure),
                Failure::Ourselves => return Some(failure),
                Failure::Refused(_) => {
                    let since = *refused.get_or_insert(now);
                    let waited = Duration::from_millis(now.saturating_sub(since));
                    if self.patience.is_some_and(|patience| waited >= patience) {
                        return Some(failure);
                    }
                }
                _ => refused = None,
            }
            self.backoff.follow((self.retry_max)());
            let pause = self.backoff.pause(fastrand::u8(..));
            let (again, code) = (pause.as_millis(), failure.code());
            let kept = self.player.consumer.behind();
            log::warn!("{failure}, again in {again} ms, {kept} ms are kept. ret={code}");
            unless(self.stopped(epoch), sleep(pause)).await?;
        }
        None
    }

    async fn connect(&self) -> Result<Opened, Failure> {
        self.stop.moved.set(false);
        self.upstream.open(&self.cx, &(self.aim)()).await
    }

    /// Whether nothing is left to be done here, connected or not.
    fn is_over(&self, epoch: u32) -> bool {
        let consumer = &self.player.consumer;
        let drain = u64::try_from(self.drain.as_millis()).unwrap_or(u64::MAX);
        let late = |since: u64| clock::now().saturating_sub(since) > drain;
        let ended = self.stop.ended.get();
        self.stop.now.get()
            || consumer.source().epoch() != epoch
            || ended.is_some_and(|since| late(since) || consumer.is_caught_up())
    }

    /// Ready when that is so.
    async fn stopped(&self, epoch: u32) {
        let mut alarm = Alarm::default();
        let mut look = clock::after(LOOK);
        poll_fn(|task| {
            self.stop.listen(task);
            loop {
                if self.is_over(epoch) {
                    return Poll::Ready(());
                }
                if alarm.poll(task, look).is_pending() {
                    return Poll::Pending;
                }
                look = clock::after(LOOK);
            }
        })
        .await;
    }

    /// Sends until the connection or the stream ends.
    async fn send(&mut self, opened: Opened, epoch: u32, again: bool) -> Over {
        let Opened { mut link, dialled, .. } = opened;
        let stream = link.machine.stream();
        if stream > Publish::STREAM_MAX {
            let text = format!("{dialled} numbers its message stream {stream}");
            return Over::Failed(Failure::Config(text));
        }
        self.state.connected(&dialled.to_string(), link.session());
        let chunk_size = u32::try_from(link.machine.out_chunk_size()).unwrap_or(128);
        self.player.set_framing(Publish { chunk_size, stream });
        let consumer = &mut self.player.consumer;
        let (before, late) = (consumer.skipped(), again || !consumer.is_caught_up());
        if late {
            consumer.rejoin();
        }
        let (skipped, behind) = (consumer.skipped() - before, consumer.behind());
        log::info!("publishes to {dialled}, {behind} ms behind, skipped {skipped} packets");
        let mut progress = self.cx.stages.enter(self.stage);
        let (mut mover, mut alarm) = (None, Alarm::default());
        let since = clock::now();
        let mut moved = (since, 0);
        let mut over = poll_fn(|task| {
            if let Poll::Ready(over) = self.poll(task, &mut link, &mut mover, epoch) {
                return Poll::Ready(over);
            }
            let (now, sent) = (clock::now(), link.traffic().1);
            if sent != moved.1 || self.player.consumer.is_caught_up() {
                moved = (now, sent);
            }
            let stall = u64::try_from(UPSTREAM_STALL.as_millis()).unwrap_or(u64::MAX);
            if alarm.poll(task, moved.0 + stall).is_ready() {
                return Poll::Ready(Over::Failed(Failure::Silent("it takes no data")));
            }
            if let Some(line) = progress.tick(link.traffic()) {
                log::info!("{line}, msgs={}, {}", self.player.packets(), line.minute());
            }
            Poll::Pending
        })
        .await;
        if clock::now().saturating_sub(since) > STEADY_MS {
            self.backoff.reset();
        }
        self.state.set_skipped(self.player.consumer.skipped());
        match &mut over {
            Over::Failed(_) => self.upstream.mark(&dialled),
            Over::Done => {
                // From here on it cannot be taken back.
                self.stop.now.set(true);
                within(LINGER, poll_fn(|task| self.player.poll_finish(task, &mut link))).await;
                farewell(link).await;
            }
            Over::Moved(_) | Over::Away => {
                within(LINGER, poll_fn(|task| self.player.poll_finish(task, &mut link))).await;
                self.player.consumer.pause(false);
                self.cx.spawner.spawn(farewell(link));
            }
        }
        over
    }

    fn poll(
        &mut self,
        task: &mut Task<'_>,
        link: &mut Link<Client>,
        mover: &mut Option<Mover>,
        epoch: u32,
    ) -> Poll<Over> {
        self.stop.listen(task);
        if self.is_over(epoch) {
            return Poll::Ready(Over::Done);
        }
        if self.stop.moved.take() {
            return Poll::Ready(Over::Away);
        }
        let (mut leaves, upstream) = (false, self.upstream.clone());
        let polled = self.player.poll(task, link, |_, _, event| match event {
            Event::Refused(status) => ControlFlow::Break(Failure::Refused(*status)),
            Event::Status(status) => {
                if status.is_reconnect_request() {
                    leaves = true;
                    upstream.prefer(status.redirect.as_deref());
                }
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        });
        match polled {
            Poll::Ready(Ok(failure)) => return Poll::Ready(Over::Failed(failure)),
            Poll::Ready(Err(end)) => {
                return Poll::Ready(Over::Failed(Failure::Broken(end.to_string())));
            }
            Poll::Pending => {}
        }
        if leaves && mover.is_none() {
            log::info!("the server asks to reconnect");
            let (cx, upstream, aim) = (self.cx.clone(), self.upstream.clone(), (self.aim)());
            *mover = Some(Box::pin(elsewhere(cx, upstream, aim, self.backoff)));
        }
        let made = mover.as_mut().map(|mover| mover.as_mut().poll(task));
        if let Some(Poll::Ready(made)) = made {
            return Poll::Ready(Over::Moved(Box::new(made)));
        }
        if self.is_over(epoch) { Poll::Ready(Over::Done) } else { Poll::Pending }
    }
}

/// Another connection for one whose server leaves.
pub async fn elsewhere(
    cx: Rc<Context>,
    upstream: Rc<Upstream>,
    aim: Aim,
    mut backoff: Backoff,
) -> Opened {
    backoff.reset();
    loop {
        let failure = match upstream.open(&cx, &aim).await {
            Ok(opened) => return opened,
            Err(failure) => failure,
        };
        let pause = backoff.pause(fastrand::u8(..));
        log::info!("{failure}, again in {} ms", pause.as_millis());
        sleep(pause).await;
    }
}

/// Says that the stream is over, and closes.
async fn farewell(mut link: Link<Client>) {
    link.machine.unpublish();
    link.close().await;
}

/// How often it is looked whether the time to send what is left is over.
const LOOK: Duration = Duration::from_millis(500);
/// A connection that held for so long was a good one.
const STEADY_MS: u64 = 10_000;
