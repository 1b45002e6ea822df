//! A connection that plays.

use crate::config::Mode;
use crate::context::{self, Context};
use crate::hub::pithy::Stage;
use crate::hub::{Consumer, Merge};
use crate::io::link::{End, Link};
use crate::io::player::Player;
use crate::io::run::within;
use crate::io::tcp;
use crate::limits::{LINGER, SNDBUF};
use crate::media::Decimal;
use crate::media::time::Algorithm;
use crate::proto::framing::Rtmp;
use crate::proto::rtmp::server::{Event, Server};
use crate::server::access::Opened;
use crate::server::rtmp::{Outcome, log_note, log_protocol, tell};
use crate::service::admission::{self, Refusal};
use crate::service::terms::Terms;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::Poll;

/// Sends the stream until the client closes it. `duration` is what the client asked for in
/// milliseconds; at 0 and below there is no end.
pub(super) async fn serve(
    link: &mut Link<Server>,
    cx: &Rc<Context>,
    mut opened: Opened,
    duration: f64,
) -> Outcome {
    opened.vhost = match admission::as_it_is(cx, &opened.vhost) {
        Ok(vhost) => vhost,
        Err(refusal) => return Outcome::Refused(refusal),
    };
    let vhost = &opened.vhost;
    let settings = context::settings(vhost);
    let mut terms = Terms::new(cx, vhost.clone());
    let consumer = match cx.hub.consume(&opened.key, settings) {
        Ok(consumer) => consumer,
        Err(refused) => return Outcome::Refused(refused.into()),
    };
    if let Err(e) = tcp::set_send_buffer(link.socket(), SNDBUF) {
        log::warn!("socket options: {e}");
    }
    link.hurry = false;
    link.machine.accept_play();
    link.session().relax();
    announce(&consumer, link, cx, &opened);
    let mut source_id = consumer.source().publisher();

    let framing = Rtmp { chunk_size: link.machine.out_chunk_size() as u32 };
    let mut player = Player::new(consumer, framing, terms.interval());
    let mut progress = cx.stages.enter(Stage::Play);
    let mut flowing = false;
    let mut outcome = poll_fn(|task| {
        terms.follow(cx, &mut player, link);
        let polled = player.poll(task, link, |_, consumer, event| match event {
            Event::Pause(pause) => {
                consumer.pause(pause);
                ControlFlow::Continue(())
            }
            Event::CloseStream => ControlFlow::Break(()),
            Event::BufferLength(ms) => {
                log::debug!("client buffers {ms} ms");
                ControlFlow::Continue(())
            }
            Event::Note(note) => {
                log_note(note);
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        });
        if player.packets() > 0 && !flowing {
            flowing = true;
            log_protocol(link);
        }
        let publisher = player.consumer.source().publisher();
        if publisher != source_id {
            source_id = publisher;
            if let Some(id) = publisher {
                log::info!("update source_id={id}[{id}]");
            }
        }
        terms.settle(&player, link);
        let over = duration > 0.0 && f64::from(player.consumer.played()) >= duration;
        if over && polled.is_pending() && player.consumer.at_boundary() {
            let text = format!("the {} ms that were asked for are over", Decimal::short(duration));
            return Poll::Ready(Ok(Some(Refusal::new(2019, text))));
        }
        if let Some(line) = progress.tick(link.traffic()) {
            let mw = cx.merge_ms(&player.consumer.source().settings());
            let msgs = player.packets();
            log::info!("{line}, msgs={msgs}, mw={mw}, {}", line.minute());
        }
        polled.map_ok(|()| None)
    })
    .await;
    if matches!(outcome, Ok(None)) {
        outcome = poll_fn(|task| player.poll_finish(task, link)).await.map(|()| None);
    }
    if matches!(outcome, Err(End::Protocol(_))) {
        // It may be there to hear why, behind the message that it is in.
        within(LINGER, poll_fn(|task| player.poll_finish(task, link))).await;
    }
    log::info!("stop play, msgs={}, skipped={}", player.packets(), player.consumer.skipped());
    match outcome {
        Ok(None) => Outcome::Again,
        Ok(Some(over)) => {
            link.machine.end("status", "NetStream.Play.Stop", "Stopped playing stream.");
            Outcome::Over(over)
        }
        Err(end) if player.consumer.at_boundary() => tell(link, end),
        Err(end) => Outcome::End(end),
    }
}

fn announce(consumer: &Consumer, link: &Link<Server>, cx: &Context, opened: &Opened) {
    let source = consumer.source();
    let settings = source.settings();
    let publisher = source.publisher().map_or(-1, i64::from);
    log::info!(
        "source url={}, ip={}, cache={}, is_edge={}, source_id={publisher}[{publisher}]",
        opened.key,
        link.session().peer(),
        u8::from(settings.gop_cache),
        u8::from(opened.vhost.cluster.mode == Mode::Remote),
    );
    let (count, duration) = source.gop();
    log::info!("dispatch cached gop success. count={count}, duration={duration}");
    let jitter = match settings.jitter {
        Algorithm::Full => 1,
        Algorithm::Zero => 2,
        Algorithm::Off => 3,
    };
    log::info!(
        "create consumer, queue_size={}, jitter={jitter}",
        Decimal::new(f64::from(settings.queue_ms) / 1000.0, 2)
    );
    log::info!(
        "start play smi={}, mw_sleep={}, mw_enabled={}, realtime={}, tcp_nodelay={}",
        Decimal::new(opened.vhost.play.send_min_interval.0.as_secs_f64() * 1000.0, 2),
        cx.merge_ms(&settings),
        u8::from(settings.merge != Merge::Every(0)),
        u8::from(opened.vhost.min_latency),
        u8::from(opened.vhost.tcp_nodelay)
    );
}
