//! A client that plays over HTTP.

use super::Format;
use super::derive::Derived;
use crate::config::Vhost;
use crate::context::{self, Context};
use crate::format::flv;
use crate::hub::pithy::Stage;
use crate::hub::{Caller, Client, ClientKind, Consumer, Refused, Settings, Source, StreamKey};
use crate::io::link::End;
use crate::io::player::Player;
use crate::io::{clock, tcp};
use crate::limits::SNDBUF;
use crate::proto::framing::{Flv, Framing, Raw};
use crate::proto::http::{Error, Length, Response};
use crate::service::admission::{Event, Refusal, Step, as_it_is, ask, tell, want};
use crate::service::http::{Connection, Outcome, allow};
use crate::service::terms::Terms;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// An empty ID3v2.3 tag, which some players want in front of MP3.
const ID3: &[u8] = b"ID3\x03\0\0\0\0\0\x0a\0\0\0\0\0\0\0\0\0\0";

/// A stream that had only sound or only picture for so long stays so.
const KNOWN_AFTER_MS: u64 = 3000;

/// What is to be played.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) key: StreamKey,
    pub(super) vhost: Rc<Vhost>,
    pub(super) format: Format,
    /// Pages of other sites may play it.
    pub(super) crossdomain: bool,
    /// The parameters of the url with their `?`, or nothing.
    pub(super) param: String,
    /// What it said of itself.
    pub(super) caller: Caller,
}

/// Sends the stream until it or the connection ends. Waits for a stream that is not there.
pub(super) async fn serve(
    mut link: Connection,
    cx: Rc<Context>,
    wanted: Wanted,
) -> (Connection, Outcome) {
    let played = admitted(&mut link, &cx, wanted).await;
    let outcome = match played {
        Ok(()) => {
            link.machine.finish();
            Outcome::Close
        }
        Err(end) => Outcome::End(end),
    };
    (link, outcome)
}

/// Asks first whether the client may.
async fn admitted(
    link: &mut Connection,
    cx: &Rc<Context>,
    mut wanted: Wanted,
) -> Result<(), End<Error>> {
    let client = Rc::new(Client {
        id: link.session().id(),
        ip: link.session().peer(),
        kind: ClientKind::HttpPlay,
        vhost: wanted.vhost.clone(),
        key: wanted.key.clone(),
        param: std::mem::take(&mut wanted.param),
        caller: Rc::new(std::mem::take(&mut wanted.caller)),
        since: clock::now(),
    });
    // The end of the stream is the end of the connection: whatever the client says meanwhile is
    // not kept.
    link.machine.close_after();
    link.session().relax();
    if let Err(refusal) = link.unless_kicked(ask(cx, &client, Step::Play)).await? {
        refuse(link, &refusal);
        return Ok(());
    }
    link.session().set_client(client.clone());
    let played = match as_it_is(cx, &wanted.vhost) {
        Ok(vhost) => {
            wanted.vhost = vhost;
            want(cx, &wanted.key, &wanted.vhost, &client.caller, Duration::ZERO);
            play(link, cx, &wanted).await
        }
        Err(refusal) => {
            refuse(link, &refusal);
            Ok(())
        }
    };
    tell(cx, &Event::Stopped(&client));
    played
}

fn refuse(link: &mut Connection, refusal: &Refusal) {
    log::warn!("client refused, {refusal}");
    let head = Response { status: 403, content_type: "", length: Length::Known(0), headers: &[] };
    link.machine.respond(&head);
}

async fn play(link: &mut Connection, cx: &Rc<Context>, wanted: &Wanted) -> Result<(), End<Error>> {
    let settings = context::settings(&wanted.vhost);
    let mut headers = vec![("Cache-Control", "no-cache".to_owned())];
    allow(wanted.crossdomain, &mut headers);
    let mut head = Response {
        status: 200,
        content_type: wanted.format.content_type(),
        length: Length::Open,
        headers: &headers,
    };
    let consumer = match join(cx, wanted, settings) {
        Ok(consumer) => consumer,
        Err(refused) => {
            let status = refused.map_or(404, |refused| {
                log::warn!("client refused, {refused}");
                503
            });
            head = Response { status, content_type: "", length: Length::Known(0), ..head };
            link.machine.respond(&head);
            return Ok(());
        }
    };
    if !link.machine.respond(&head) {
        return Ok(());
    }
    let chunked = link.machine.is_chunked();
    match wanted.format {
        Format::Flv => link.machine.body(&file_header(consumer.source())),
        Format::Mp3 => link.machine.body(ID3),
        Format::Ts | Format::Aac => {}
    }
    link.machine.ignore_input();
    if let Err(e) = tcp::set_send_buffer(link.socket(), SNDBUF) {
        log::warn!("socket options: {e}");
    }
    log::info!(
        "http: start play {} as {}, ip={}",
        wanted.key,
        wanted.format.name(),
        link.session().peer()
    );
    match wanted.format {
        Format::Flv => send(link, cx, wanted, consumer, Flv { chunked }).await,
        Format::Ts | Format::Aac | Format::Mp3 => {
            // Whoever looks at the stream itself sees this player, too.
            let mut present = cx.hub.consume(&wanted.key, settings).ok();
            if let Some(present) = &mut present {
                present.pause(true);
            }
            send(link, cx, wanted, consumer, Raw { chunked }).await
        }
    }
}

/// The header of an FLV file. Some players wait for both sound and picture where it announces
/// both, so that it tells what is known of a stream that has run for a while.
fn file_header(source: &Source) -> [u8; 13] {
    let mut header = flv::FILE_HEADER;
    let (headers, now) = (source.headers(), clock::now());
    let measured = source.measure(now);
    let known = measured.since.is_some_and(|since| now.saturating_sub(since) > KNOWN_AFTER_MS);
    let audio = headers.audio.is_some() || measured.audio.is_some();
    let video = headers.video.is_some() || measured.video.is_some();
    if known && audio != video {
        header[4] = if audio { 4 } else { 1 };
    }
    header
}

/// A place in the stream or in another form of it, which is made if nobody had it yet. Fails with
/// `None` when the stream has no such form.
fn join(
    cx: &Rc<Context>,
    wanted: &Wanted,
    settings: Settings,
) -> Result<Consumer, Option<Refused>> {
    let (key, format) = (&wanted.key, wanted.format);
    if format == Format::Flv {
        return cx.hub.consume(key, settings).map_err(Some);
    }
    let derived = key.derived(format.name());
    let settings = context::derived_settings(&wanted.vhost);
    // Before the form is made: it is not made without players.
    let waiting = cx.hub.consume(&derived, settings).map_err(Some)?;
    if waiting.source().publisher().is_some() {
        return Ok(waiting);
    }
    if let Some(source) = cx.hub.find(key).filter(|source| source.publisher().is_some())
        && let Some(form) = Derived::new(cx, key, &wanted.vhost, format, false)
        && !source.attach(Box::new(form))
    {
        return Err(None);
    }
    // Again, to start at the key frame that is there now.
    cx.hub.consume(&derived, settings).map_err(Some)
}

async fn send<F: Framing>(
    link: &mut Connection,
    cx: &Rc<Context>,
    wanted: &Wanted,
    consumer: Consumer,
    framing: F,
) -> Result<(), End<Error>> {
    link.session().relax();
    let source: Rc<Source> = consumer.source().clone();
    // What a form is made of: while that is waited for, so is the form.
    let origin = cx.hub.find(&wanted.key);
    let mut terms = Terms::new(cx, wanted.vhost.clone());
    let mut player = Player::new(consumer, framing, terms.interval());
    let mut progress = cx.stages.enter(Stage::HttpStream);
    let epoch = source.epoch();
    let mut was_live = false;
    let outcome = poll_fn(|task| {
        terms.follow(cx, &mut player, link);
        let polled = player.poll(task, link, |_, _, _| ControlFlow::<()>::Continue(()));
        terms.settle(&player, link);
        if let Some(line) = progress.tick(link.traffic()) {
            let (msgs, mw) = (player.packets(), cx.merge_ms(&source.settings()));
            log::info!("{line}, msgs={msgs}, mw={mw}, {}", line.minute());
        }
        let is_held = || origin.as_ref().is_some_and(|o| o.is_live() && o.publisher().is_none());
        let is_live = source.publisher().is_some() || is_held();
        // A form that cannot be made ends before its players are asked.
        was_live |= source.epoch() != epoch;
        if was_live && !is_live && player.consumer.is_caught_up() {
            return Poll::Ready(Ok(()));
        }
        if polled.is_pending() && link.session().is_leaving() && player.consumer.at_boundary() {
            return Poll::Ready(Ok(()));
        }
        was_live |= is_live;
        polled
    })
    .await;
    log::info!("http: stop play, msgs={}, skipped={}", player.packets(), player.consumer.skipped());
    outcome
}
