//! Every stream of a vhost passed on to other servers.
//!
//! Each destination has a connection of its own, which reads the stream as a player does, from the
//! ring. While a destination cannot be reached its place in the ring stays, as far as `buffer` and
//! `buffer_bytes` allow: it costs no memory beyond the ring's. Then it goes on from a key frame,
//! behind metadata and sequence headers.

mod target;

use crate::config::{Forward, Vhost, shown};
use crate::context::{self, Context};
use crate::hub::pithy::Stage;
use crate::hub::{Client, Lag, Sink, SinkError, StreamKey};
use crate::io::log as tank;
use crate::limits::{FORWARDS, FORWARDS_ALL, RING_BYTES, UPSTREAM_DRAIN};
use crate::media::Packet;
use crate::service::admission::{Refusal, Step};
use crate::service::relay::balance::Backoff;
use crate::service::relay::push::{Push, Stop, player};
use crate::service::relay::{Kind, Relays, Upstream};
use crate::service::{Service, Task};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use target::Target;

/// Passes on the streams of vhosts with `forward` on.
pub const SERVICE: Service = Service {
    attach,
    differs: |old, new| old.forward != new.forward,
    ask,
    upstreams: |cx| cx.part::<Relays>().reports(|kind| kind == Kind::Forward),
    ..Service::new("forward")
};

/// The forwards that run, by stream and destination.
#[derive(Debug, Default)]
struct Forwards(RefCell<HashMap<(StreamKey, String), Rc<Stop>>>);

/// A stream that would come back is not taken.
fn ask(cx: &Rc<Context>, client: &Rc<Client>, step: Step) -> Option<Task<Result<(), Refusal>>> {
    let forward = &client.vhost.forward;
    if step != Step::Publish || !forward.enabled {
        return None;
    }
    let config = cx.config();
    let looped = forward.destination.iter().find(|text| {
        let target = Target::new(text, &client.key, &client.param);
        target.is_ok_and(|target| target.is_ourselves(&config, client))
    })?;
    let text = format!("forward to {} would come back", shown::without_key(looped));
    Some(Box::pin(async { Err(Refusal::new(1030, text)) }))
}

fn attach(cx: &Rc<Context>, key: &StreamKey, vhost: &Vhost) -> Option<Box<dyn Sink>> {
    let forward = &vhost.forward;
    if !forward.enabled {
        return None;
    }
    let publisher = cx.hub.find(key)?.publisher()?;
    let client = cx.sessions.find(publisher).and_then(|session| session.client());
    let param = client.map(|client| client.param.clone()).unwrap_or_default();
    let all = &forward.destination;
    if all.len() > FORWARDS {
        log::error!("forward: {} destinations, {FORWARDS} are used (limit forwards)", all.len());
    }
    let stops: Vec<_> = all
        .iter()
        .take(FORWARDS)
        .filter_map(|text| match Target::new(text, key, &param) {
            Ok(target) => start(cx, key, vhost, text, target),
            Err(e) => {
                log::error!("forward: {e}. ret=1018");
                None
            }
        })
        .collect();
    (!stops.is_empty()).then(|| Box::new(Forwarded(stops)) as Box<dyn Sink>)
}

/// Passes `key` on to `target`, which the configuration calls `text`.
fn start(
    cx: &Rc<Context>,
    key: &StreamKey,
    vhost: &Vhost,
    text: &str,
    target: Target,
) -> Option<Rc<Stop>> {
    let name = (key.clone(), text.to_owned());
    let forwards = cx.part::<Forwards>();
    let full = {
        let all = forwards.0.borrow();
        all.len() >= FORWARDS_ALL && !all.contains_key(&name)
    };
    if full {
        let shown = shown::without_key(text);
        log::error!("forward: {key} is not passed on to {shown}, {FORWARDS_ALL} run already");
        return None;
    }
    let Forward { retry, retry_max, buffer, buffer_bytes, .. } = &*vhost.forward;
    let settings = context::settings(vhost);
    let ms = u32::try_from(buffer.0.as_millis()).unwrap_or(u32::MAX).max(MIN_MS);
    let bytes = usize::try_from(buffer_bytes.0).unwrap_or(usize::MAX).min(RING_BYTES);
    let consumer = match cx.hub.follow(key, settings, Lag { ms, bytes }) {
        Ok(consumer) => consumer,
        Err(refused) => {
            log::error!("forward: {refused}");
            return None;
        }
    };
    let stop = Rc::new(Stop::default());
    // One that still sends the end of the stream before is in the way.
    if let Some(before) = forwards.0.borrow_mut().insert(name.clone(), stop.clone()) {
        before.now();
    }
    let (context, key, stopped, sender) = (cx.clone(), key.clone(), stop.clone(), stop.clone());
    let backoff = Backoff::new(retry.0, retry_max.0.max(retry.0));
    cx.spawner.spawn(tank::traced(tank::next_id(), async move {
        log::info!("forward: {key} to {}", target.server);
        let state = context.part::<Relays>().enter(Kind::Forward, &key, &target.server);
        let push = Push {
            cx: context.clone(),
            stage: Stage::Forward,
            upstream: Rc::new(Upstream::new(&key, std::slice::from_ref(&target.server), false)),
            aim: Box::new(move || target.aim.clone()),
            player: player(consumer),
            stop,
            backoff,
            state: state.clone(),
            drain: UPSTREAM_DRAIN,
            patience: None,
            lasting: true,
        };
        if let Some(failure) = push.run(None).await {
            log::error!("forward: {key} is not passed on, {failure}. ret={}", failure.code());
        }
        let skipped = state.report().skipped;
        let shown = shown::without_key(&name.1);
        log::info!("forward: {key} to {shown} ends, skipped {skipped} packets");
        let mut all = forwards.0.borrow_mut();
        if all.get(&name).is_some_and(|stop| Rc::ptr_eq(stop, &stopped)) {
            all.remove(&name);
        }
    }));
    Some(sender)
}

/// Hears of the end of the stream.
struct Forwarded(Vec<Rc<Stop>>);

impl Sink for Forwarded {
    fn service(&self) -> &'static str {
        SERVICE.name
    }

    fn on_packet(&mut self, _: &Packet) -> Result<(), SinkError> {
        Ok(())
    }

    fn on_unpublish(&mut self) {
        self.0.iter().for_each(|stop| stop.end());
    }
}

/// The least that a forward may be behind, in milliseconds: as for players.
const MIN_MS: u32 = 1000;
