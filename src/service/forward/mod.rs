//! Every stream of a vhost passed on to other servers.
//!
//! Each destination has a connection of its own, which reads the stream as a player does, from the
//! ring. While a destination cannot be reached its place in the ring stays, as far as `buffer` and
//! `buffer_bytes` allow: it costs no memory beyond the ring's. Then it goes on from a key frame,
//! behind metadata and sequence headers.

mod target;

use crate::config::{Forward, Vhost};
use crate::context::{self, Context};
use crate::hub::pithy::Stage;
use crate::hub::{Client, Consumer, Lag, Sink, SinkError, Source, StreamKey};
use crate::io::log as tank;
use crate::limits::{FORWARDS, FORWARDS_ALL, RING_BYTES, UPSTREAM_DRAIN};
use crate::media::Packet;
use crate::service::admission::{Refusal, Step};
use crate::service::relay::balance::Backoff;
use crate::service::relay::push::{Push, Stop, player};
use crate::service::relay::{Kind, Relays, State, Upstream};
use crate::service::{Service, Task};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use target::{By, Target};

/// Passes on the streams of vhosts with `forward` on.
pub const SERVICE: Service = Service {
    attach,
    differs,
    ask,
    upstreams: |cx| cx.part::<Relays>().reports(|kind| kind == Kind::Forward),
    ..Service::new("forward")
};

/// Whether a stream is passed on in another way, or tells other things of us.
fn differs(old: &Vhost, new: &Vhost) -> bool {
    let upnode = |vhost: &Vhost| vhost.cluster.debug_srs_upnode;
    old.forward != new.forward || new.forward.enabled && upnode(old) != upnode(new)
}

/// The forwards that run, by stream and destination as the configuration has it.
#[derive(Debug, Default)]
struct Forwards(RefCell<HashMap<(StreamKey, String), Rc<Running>>>);

/// A forward.
#[derive(Debug)]
struct Running {
    /// Which stream of that name, and which publisher of it.
    of: (Weak<Source>, u32),
    /// What it began with.
    terms: Rc<Forward>,
    stop: Rc<Stop>,
    /// Where to, and as what.
    target: RefCell<Target>,
    upstream: Rc<Upstream>,
    /// What others are told of it, once it began.
    state: OnceCell<Rc<State>>,
}

/// A stream that would come back is not taken.
fn ask(cx: &Rc<Context>, client: &Rc<Client>, step: Step) -> Option<Task<Result<(), Refusal>>> {
    let forward = &client.vhost.forward;
    if step != Step::Publish || !forward.enabled {
        return None;
    }
    let config = cx.config();
    let targets = forward
        .destination
        .iter()
        .filter_map(|text| Target::new(text, &client.key, &by(client, &client.vhost)).ok());
    let looped = targets.into_iter().find(|target| target.is_ourselves(&config, client))?;
    let text = format!("forward to {} would come back", looped.server);
    Some(Box::pin(async { Err(Refusal::new(1030, text)) }))
}

fn attach(cx: &Rc<Context>, key: &StreamKey, vhost: &Vhost) -> Option<Box<dyn Sink>> {
    let forward = &vhost.forward;
    if !forward.enabled {
        return None;
    }
    let source = cx.hub.find(key)?;
    let client = source.publisher().and_then(|id| cx.sessions.find(id)?.client());
    let by = match &client {
        Some(client) => by(client, vhost),
        None => By { names_us: vhost.cluster.debug_srs_upnode, ..By::default() },
    };
    let wanted = targets(forward, key, &by);
    // After a reload what is still wanted goes on, then what is new takes the place, and what was
    // kept, of what is not wanted any more.
    let forwards = cx.part::<Forwards>();
    let mut left: Vec<_> = {
        let mut all = forwards.0.borrow_mut();
        all.extract_if(|(stream, _), run| stream == key && run.goes_on(&source, forward))
            .map(|((_, text), run)| (text, run))
            .collect()
    };
    let (mut stops, mut new) = (Vec::new(), Vec::new());
    for (text, target) in wanted {
        match left.iter().position(|(known, _)| known == text) {
            Some(at) => {
                let (_, run) = left.swap_remove(at);
                run.resume(target, false);
                stops.push(run.stop.clone());
                forwards.0.borrow_mut().insert((key.clone(), text.clone()), run);
            }
            None => new.push((text, target)),
        }
    }
    for (text, target) in new {
        let Some((_, run)) = left.pop() else {
            stops.extend(start(cx, key, vhost, text, target));
            continue;
        };
        log::info!("forward: {key} goes to {} from now on", target.server);
        run.resume(target, true);
        stops.push(run.stop.clone());
        forwards.0.borrow_mut().insert((key.clone(), text.clone()), run);
    }
    left.iter().for_each(|(_, run)| run.stop.end());
    (!stops.is_empty()).then(|| Box::new(Forwarded(stops)) as Box<dyn Sink>)
}

/// What `client` and `vhost` say that concerns a destination.
fn by(client: &Client, vhost: &Vhost) -> By {
    let (param, caller) = (client.param.clone(), client.caller.clone());
    By { param, caller, names_us: vhost.cluster.debug_srs_upnode }
}

/// Where `key` goes, by what the configuration says.
fn targets<'a>(forward: &'a Forward, key: &StreamKey, by: &By) -> Vec<(&'a String, Target)> {
    let all = &forward.destination;
    if all.len() > FORWARDS {
        log::error!("forward: {} destinations, {FORWARDS} are used (limit forwards)", all.len());
    }
    let mut targets: Vec<(&String, Target)> = Vec::new();
    for text in all.iter().take(FORWARDS) {
        let mut target = match Target::new(text, key, by) {
            Ok(target) => target,
            Err(e) => {
                log::error!("forward: {e}. ret=1018");
                continue;
            }
        };
        if targets.iter().any(|(other, _)| *other == text) {
            log::warn!("forward: {} is there twice, once is enough", target.server);
            continue;
        }
        let same = targets.iter().filter(|(_, other)| other.server == target.server).count();
        if same > 0 {
            target.name = format!("{}#{}", target.server, same + 1);
        }
        targets.push((text, target));
    }
    targets
}

impl Running {
    /// Whether it can go on with the present stream, on these terms.
    fn goes_on(&self, source: &Rc<Source>, forward: &Forward) -> bool {
        let terms = |f: &Forward| (f.retry, f.retry_max, f.buffer, f.buffer_bytes);
        let (same, epoch) = (std::ptr::eq(self.of.0.as_ptr(), Rc::as_ptr(source)), self.of.1);
        same && epoch == source.epoch()
            && terms(&self.terms) == terms(forward)
            && self.stop.resume()
    }

    /// Goes on to `target`, which is another one than before if it `moves`.
    fn resume(&self, target: Target, moves: bool) {
        self.upstream.follow(std::slice::from_ref(&target.server), false);
        if let Some(state) = self.state.get() {
            state.rename(&target.name);
        }
        *self.target.borrow_mut() = target;
        if moves {
            self.stop.moves();
        }
    }
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
        let server = &target.server;
        log::error!("forward: {key} is not passed on to {server}, {FORWARDS_ALL} run already");
        return None;
    }
    let terms = vhost.forward.clone();
    let settings = context::settings(vhost);
    let ms = u32::try_from(terms.buffer.0.as_millis()).unwrap_or(u32::MAX).max(MIN_MS);
    let bytes = usize::try_from(terms.buffer_bytes.0).unwrap_or(usize::MAX).min(RING_BYTES);
    let consumer = match cx.hub.follow(key, settings, Lag { ms, bytes }) {
        Ok(consumer) => consumer,
        Err(refused) => {
            log::error!("forward: {refused}");
            return None;
        }
    };
    let stop = Rc::new(Stop::default());
    let running = Rc::new(Running {
        of: (Rc::downgrade(consumer.source()), consumer.source().epoch()),
        terms,
        stop: stop.clone(),
        upstream: Rc::new(Upstream::new(key, std::slice::from_ref(&target.server), false)),
        target: RefCell::new(target),
        state: OnceCell::new(),
    });
    // One that still sends the end of the stream before is in the way.
    if let Some(before) = forwards.0.borrow_mut().insert(name, running.clone()) {
        before.stop.now();
    }
    cx.spawner
        .spawn(tank::traced(tank::next_id(), pass(cx.clone(), key.clone(), running, consumer)));
    Some(stop)
}

/// Passes `key` on until it ends.
async fn pass(cx: Rc<Context>, key: StreamKey, running: Rc<Running>, consumer: Consumer) {
    let name = running.target.borrow().name.clone();
    log::info!("forward: {key} to {name}");
    let state = cx.part::<Relays>().enter(Kind::Forward, &key, &name);
    let state = running.state.get_or_init(|| state).clone();
    let Forward { retry, retry_max, .. } = &*running.terms;
    let (from, most) = (running.clone(), retry_max.0.max(retry.0));
    let push = Push {
        cx: cx.clone(),
        stage: Stage::Forward,
        upstream: running.upstream.clone(),
        aim: Box::new(move || from.target.borrow().aim.clone()),
        player: player(consumer),
        stop: running.stop.clone(),
        backoff: Backoff::new(retry.0, most),
        retry_max: Box::new(move || most),
        state: state.clone(),
        drain: UPSTREAM_DRAIN,
        patience: None,
        lasting: true,
    };
    if let Some(failure) = push.run(None).await {
        log::error!("forward: {key} is not passed on, {failure}. ret={}", failure.code());
    }
    let (server, skipped) = (running.target.borrow().name.clone(), state.report().skipped);
    log::info!("forward: {key} to {server} ends, skipped {skipped} packets");
    cx.part::<Forwards>().0.borrow_mut().retain(|_, other| !Rc::ptr_eq(other, &running));
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
