//! The one loop that sends a stream to a player, whatever its protocol.

use crate::hub::images::Images;
use crate::hub::session::Kick;
use crate::hub::{Consumer, Sent};
use crate::io::clock;
use crate::io::link::{End, Link};
use crate::io::timer::Pause;
use crate::limits::SEND_TIMEOUT;
use crate::proto::Machine;
use crate::proto::framing::Framing;
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::task::{Context, Poll};
use std::time::Duration;

/// Merged writes in one poll; then the other players have their turn.
const WRITES_A_POLL: usize = 4;

thread_local! {
    static IMAGES: RefCell<Images> = RefCell::default();
}

/// Packets sent to a player, and the pause between them.
#[derive(Debug)]
pub struct Player<F> {
    /// Its place in the stream.
    pub consumer: Consumer,
    framing: F,
    /// `send_min_interval`.
    interval: Duration,
    pause: Pause,
    packets: u64,
}

impl<F: Framing> Player<F> {
    /// Sends what `consumer` reads in `framing`. With an `interval` that is not zero each packet
    /// goes out alone, and that much later than the one before.
    pub fn new(consumer: Consumer, framing: F, interval: Duration) -> Self {
        let pause = Pause::default();
        let mut player = Self { consumer, framing, interval, pause, packets: 0 };
        player.set_interval(interval);
        player
    }

    /// Another interval from now on.
    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
        self.consumer.send_alone(!interval.is_zero());
    }

    /// Another wire form, for another connection.
    pub fn set_framing(&mut self, framing: F) {
        self.framing = framing;
    }

    /// Packets sent.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Sends what is due and takes what the peer says, which goes to `handle`. Ready when
    /// `handle` breaks or the connection ends.
    pub fn poll<M: Machine, B>(
        &mut self,
        cx: &mut Context<'_>,
        link: &mut Link<M>,
        mut handle: impl FnMut(&mut M, &mut Consumer, M::Event) -> ControlFlow<B>,
    ) -> Poll<Result<B, End<M::Error>>> {
        let consumer = &mut self.consumer;
        if let Poll::Ready(end) =
            link.poll_read(cx, |machine, event| handle(machine, consumer, event))
        {
            return Poll::Ready(end);
        }
        match self.poll_send(cx, link) {
            Poll::Ready(Err(end)) => Poll::Ready(Err(end)),
            _ => Poll::Pending,
        }
    }

    /// Sends nothing more than the rest of a half-sent packet, so that other messages may follow.
    /// Ready when that is done. Reads nothing.
    pub fn poll_finish<M: Machine>(
        &mut self,
        cx: &mut Context<'_>,
        link: &mut Link<M>,
    ) -> Poll<Result<(), End<M::Error>>> {
        if let Some(why) = link.session().kicked() {
            return Poll::Ready(Err(End::Kicked(why)));
        }
        self.consumer.pause(true);
        match self.poll_send(cx, link) {
            Poll::Ready(Err(end)) => Poll::Ready(Err(end)),
            _ if self.consumer.at_boundary() => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    fn poll_send<M: Machine>(
        &mut self,
        cx: &mut Context<'_>,
        link: &mut Link<M>,
    ) -> Poll<Result<(), End<M::Error>>> {
        for _ in 0..WRITES_A_POLL {
            if self.consumer.at_boundary() {
                // What the machine has to say goes between messages.
                if let Poll::Ready(Err(end)) = link.poll_flush(cx) {
                    return Poll::Ready(Err(end));
                }
                if !link.machine.send_buf().is_empty() {
                    Self::expect_progress(link);
                    return Poll::Pending;
                }
                if self.pause.poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
            if self.consumer.poll_ready(cx).is_pending() {
                // All was taken, and nothing is due.
                link.session().relax();
                return Poll::Pending;
            }
            let sent = IMAGES.with_borrow_mut(|images| {
                self.consumer.send(&self.framing, images, |bytes| link.write(cx, bytes))
            });
            match sent {
                Ok(Sent::Some { packets, .. }) => {
                    self.packets += packets as u64;
                    link.session().relax();
                    if !self.interval.is_zero() {
                        self.pause.begin(self.interval);
                    }
                }
                Ok(Sent::Blocked) => {
                    Self::expect_progress(link);
                    return Poll::Pending;
                }
                Ok(Sent::CaughtUp) => {}
                Ok(Sent::Lost) => {
                    let why = Kick::Timeout("the player stopped reading");
                    return Poll::Ready(Err(End::Kicked(why)));
                }
                Err(e) => return Poll::Ready(Err(End::Io(e))),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The peer has [`SEND_TIMEOUT`] to take a byte.
    fn expect_progress<M: Machine>(link: &Link<M>) {
        if !link.session().is_expecting() {
            link.session().expect(clock::after(SEND_TIMEOUT), "the player takes no data");
        }
    }
}
