//! Measures how fast a client gets and sends bytes, as the vhost's `bandcheck` says: the original's
//! protocol, in which both sides call each other with objects full of filler.

use crate::config::Bandcheck;
use crate::context::Context;
use crate::hub::Client;
use crate::io::clock;
use crate::io::link::{End, Link};
use crate::io::run::{give_way, sleep, within};
use crate::proto::amf0::Writer;
use crate::proto::rtmp::Error;
use crate::proto::rtmp::server::{ConnectReply, Event, Server};
use crate::service::admission::{Refusal, Step};
use crate::service::{Conversation, Service, Task};
use core::convert::Infallible;
use std::cell::Cell;
use std::future::{poll_fn, ready};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Every vhost with `bandcheck` is a test, and serves no streams.
pub(super) const SERVICE: Service = Service {
    ask,
    converse: |vhost| vhost.bandcheck.enabled.then_some(converse),
    ..Service::new("bandwidth")
};

/// How long each direction is measured.
const DURATION: Duration = Duration::from_secs(3);
/// What a client has to answer within.
const ANSWER: Duration = Duration::from_secs(6);
/// How long we wait while more was sent than may be.
const PACE: Duration = Duration::from_millis(100);
/// Between the last word and the end, for clients that read it late.
const PARTING: Duration = Duration::from_millis(600);
/// A message has one key of filler, then two more than the one before, up to so many: 4 KB.
const KEYS_MAX: usize = 61;
const FILLER: &str = "filler of a bandwidth check of runnel, not to be kept..";

thread_local! {
    /// When the last test of any client began. One runs at a time.
    static LAST: Cell<Option<u64>> = const { Cell::new(None) };
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// The one test that may run.
struct Turn;

impl Turn {
    /// Now, in milliseconds of [`clock::now`], unless another test runs or began less than
    /// `interval` ago.
    fn take(now: u64, interval: Duration) -> Option<Self> {
        let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        let early = LAST.get().is_some_and(|last| now.saturating_sub(last) < interval);
        if early || RUNNING.replace(true) {
            return None;
        }
        LAST.set(Some(now));
        Some(Self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        RUNNING.set(false);
    }
}

/// Streams are not served where the bandwidth is measured.
fn ask(_: &Rc<Context>, client: &Rc<Client>, step: Step) -> Option<Task<Result<(), Refusal>>> {
    let refused = step != Step::Connect && client.vhost.bandcheck.enabled;
    let refusal = || Refusal::new(1033, format!("{} is for bandwidth checks", client.vhost.name));
    refused.then(|| -> Task<_> { Box::pin(ready(Err(refusal()))) })
}

fn converse<'a>(
    client: &'a Rc<Client>,
    reply: &'a ConnectReply,
    link: &'a mut Link<Server>,
) -> Conversation<'a> {
    let check = client.vhost.bandcheck.clone();
    let known = client.caller.tc_url.contains(&format!("key={}", check.key));
    if !known {
        let refusal = Refusal::new(1032, "the key of the bandwidth check is wrong");
        return Box::pin(ready(Ok(Err(refusal))));
    }
    let Some(turn) = Turn::take(clock::now(), check.interval.0) else {
        let refusal = Refusal::new(1033, "bandcheck rejected: the last one is not long enough ago");
        return Box::pin(ready(Ok(Err(refusal))));
    };
    Box::pin(async move {
        let _turn = turn;
        link.machine.accept_calls(reply);
        let stays = client.caller.swf_url.is_empty();
        measure(link, &check, stays).await.map(Ok)
    })
}

/// Both directions, then the figures. A player of Flash, which `stays` false means, says less.
async fn measure(
    link: &mut Link<Server>,
    check: &Bandcheck,
    stays: bool,
) -> Result<(), End<Error>> {
    let start = clock::unix();
    let limits = |w: &mut Writer<'_>| {
        w.key("limit_kbps").number(check.limit_kbps.into());
        w.key("duration_ms").number(millis(DURATION)).key("interval_ms").number(0.0);
    };
    link.machine.call("onSrsBandCheckStartPlayBytes", limits);
    answer(link, "onSrsBandCheckStartingPlayBytes").await?;
    let play = send(link, check.limit_kbps).await?;
    link.machine.call("onSrsBandCheckStopPlayBytes", |w| play.write(w));
    answer(link, "onSrsBandCheckStoppedPlayBytes").await?;

    link.machine.call("onSrsBandCheckStartPublishBytes", limits);
    answer(link, "onSrsBandCheckStartingPublishBytes").await?;
    let publish = take(link).await?;
    link.machine.call("onSrsBandCheckStopPublishBytes", |w| publish.write(w));
    if stays {
        answer(link, "onSrsBandCheckStoppedPublishBytes").await?;
    }
    log::info!(
        "bandwidth check ok: play {} kbps, publish {} kbps, limit {} kbps",
        play.kbps(),
        publish.kbps(),
        check.limit_kbps
    );
    link.machine.call("onSrsBandCheckFinished", |w| {
        w.key("start_time").number(start as f64).key("end_time").number(clock::unix() as f64);
        w.key("play_kbps").number(play.kbps() as f64);
        w.key("publish_kbps").number(publish.kbps() as f64);
        w.key("play_bytes").number(play.bytes as f64);
        w.key("publish_bytes").number(publish.bytes as f64);
        w.key("play_time").number(play.ms as f64).key("publish_time").number(publish.ms as f64);
    });
    if stays {
        answer(link, "finalClientPacket").await?;
    } else {
        link.flush().await?;
    }
    sleep(PARTING).await;
    Ok(())
}

/// What went one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Measured {
    bytes: u64,
    ms: u64,
}

impl Measured {
    fn kbps(self) -> u64 {
        self.bytes.saturating_mul(8) / self.ms.max(1)
    }

    fn write(self, w: &mut Writer<'_>) {
        w.key("duration_ms").number(millis(DURATION)).key("interval_ms").number(0.0);
        w.key("duration_delta").number(self.ms as f64).key("bytes_delta").number(self.bytes as f64);
    }
}

/// Since a moment, of one direction's bytes so far.
struct Since {
    at: u64,
    bytes: u64,
}

impl Since {
    fn until(&self, bytes: u64) -> Measured {
        Measured {
            bytes: bytes.saturating_sub(self.bytes),
            ms: clock::now().saturating_sub(self.at),
        }
    }
}

/// Waits for a call of the client; others are not listened to.
async fn answer(link: &mut Link<Server>, name: &'static str) -> Result<(), End<Error>> {
    link.session().expect(clock::after(ANSWER), name);
    called(link, name).await?;
    link.session().relax();
    Ok(())
}

async fn called(link: &mut Link<Server>, name: &str) -> Result<(), End<Error>> {
    loop {
        if matches!(link.next().await?, Event::Called(called) if called == name) {
            return Ok(());
        }
    }
}

/// Fills the client's line, up to `limit_kbps`.
async fn send(link: &mut Link<Server>, limit_kbps: u32) -> Result<Measured, End<Error>> {
    let since = Since { at: clock::now(), bytes: link.traffic().1 };
    let over = clock::after(DURATION);
    link.session().expect(clock::after(DURATION + ANSWER), "the client does not read");
    let mut keys = 1;
    while clock::now() < over {
        link.machine.call("onSrsBandCheckPlaying", |w| {
            for key in 0..keys {
                w.key(key.to_string()).string(FILLER);
            }
        });
        keys = (keys + 2).min(KEYS_MAX);
        flush(link).await?;
        while clock::now() < over && since.until(link.traffic().1).kbps() > u64::from(limit_kbps) {
            // Whatever it says meanwhile is no answer.
            within(PACE, called(link, "")).await.transpose()?;
        }
        // A line that takes everything at once leaves the others their turn.
        give_way().await;
    }
    link.session().relax();
    Ok(since.until(link.traffic().1))
}

/// Sends what is to be sent; acknowledgements that come meanwhile are read.
async fn flush(link: &mut Link<Server>) -> Result<(), End<Error>> {
    poll_fn(|cx| {
        let read = link.poll_read(cx, |_, _| ControlFlow::<Infallible>::Continue(()));
        match read {
            Poll::Ready(Err(end)) => Poll::Ready(Err(end)),
            _ => link.poll_flush(cx),
        }
    })
    .await
}

/// Takes what the client sends, until it ends by itself or the time is over.
async fn take(link: &mut Link<Server>) -> Result<Measured, End<Error>> {
    let since = Since { at: clock::now(), bytes: link.traffic().0 };
    within(DURATION, called(link, "onSrsBandCheckStopPublishBytes")).await.transpose()?;
    Ok(since.until(link.traffic().0))
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_test_runs_at_a_time_and_then_none_for_the_interval() {
        let interval = Duration::from_millis(50);
        let turn = Turn::take(1000, interval);
        assert!(turn.is_some());
        assert!(Turn::take(2000, interval).is_none(), "another one runs");
        drop(turn);
        assert!(Turn::take(1049, interval).is_none(), "too soon");
        assert!(Turn::take(1050, interval).is_some());
    }

    #[test]
    fn figures_are_of_the_time_that_passed() {
        assert_eq!(Measured { bytes: 1_500_000, ms: 3000 }.kbps(), 4000);
        assert_eq!(Measured { bytes: 1, ms: 0 }.kbps(), 8);
        assert_eq!(Measured { bytes: u64::MAX, ms: 1 }.kbps(), u64::MAX);
    }
}
