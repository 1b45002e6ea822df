//! A publisher of an edge, passed on to the origin.
//!
//! The origin is asked before the publisher is told that it may begin: its refusal is the
//! publisher's. Then the stream is published here as anywhere, so that the players of this edge
//! have it at once, and goes to the origin over one connection, which is made anew when it breaks.

use super::pull::Pulls;
use super::{cluster, first_origin, is_edge, upstream, vhost_there};
use crate::config::{Balance, Cluster, Vhost};
use crate::context::{self, Context};
use crate::hub::pithy::Stage;
use crate::hub::session::Kick;
use crate::hub::{Caller, Client, Lag, Sink, SinkError, StreamKey};
use crate::io::{clock, log as tank};
use crate::limits::{LINGER, RING_BYTES, UPSTREAM_REFUSES, UPSTREAM_RETRY};
use crate::media::Packet;
use crate::proto::rtmp::client::Role;
use crate::proto::rtmp::command::Style;
use crate::service::admission::Refusal;
use crate::service::relay::balance::Backoff;
use crate::service::relay::push::{Push, Stop, player};
use crate::service::relay::{Aim, Failure, Kind, Opened, Relays, Upstream};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Connections to origins that wait for their publishers, by the publishers' ids.
#[derive(Debug, Default)]
pub(super) struct Pushes(RefCell<HashMap<u32, Prepared>>);

#[derive(Debug)]
struct Prepared {
    key: StreamKey,
    /// `None` while the origin is being asked.
    opened: Option<(Opened, Rc<Upstream>)>,
    by: By,
}

/// What the origin is told of the publisher.
#[derive(Clone, Debug, Default)]
struct By {
    param: String,
    caller: Rc<Caller>,
}

impl Pushes {
    /// The publisher is gone, or was never let in.
    pub(super) fn forget(&self, id: u32) {
        self.0.borrow_mut().remove(&id);
    }
}

/// Holds a stream for the publisher that the origin is being asked about.
struct Asking<'a> {
    pushes: &'a Pushes,
    id: u32,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut all = self.pushes.0.borrow_mut();
        if all.get(&self.id).is_some_and(|prepared| prepared.opened.is_none()) {
            all.remove(&self.id);
        }
    }
}

/// Has the origin take the stream of `client`, or says why it does not.
pub(super) async fn prepare(cx: &Rc<Context>, client: &Client) -> Result<(), Refusal> {
    let (key, vhost) = (&client.key, &client.vhost);
    let pushes = cx.part::<Pushes>();
    let busy = |id: u32| Refusal::new(1028, format!("stream is busy, published by {id}"));
    let publisher = cx.hub.find(key).and_then(|source| source.publisher());
    if let Some(id) = publisher.filter(|id| !cx.part::<Pulls>().is(key, *id))
        && !vhost.publish.takeover
    {
        return Err(busy(id));
    }
    let asking = pushes.0.borrow().iter().find(|(_, other)| other.key == *key).map(|(id, _)| *id);
    if let Some(id) = asking.filter(|id| publisher.is_none() && *id != client.id) {
        return Err(busy(id));
    }
    let by = By { param: client.param.clone(), caller: client.caller.clone() };
    let mut prepared = Prepared { key: key.clone(), opened: None, by: by.clone() };
    pushes.0.borrow_mut().insert(client.id, prepared);
    let asking = Asking { pushes: &pushes, id: client.id };
    let upstream = upstream(key, &vhost.cluster);
    let aim = aim(&vhost.cluster, key, &by);
    // Each once; who was reached and refuses has the last word.
    let mut last = Failure::Config("no origin is configured".into());
    let (mut made, mut tried) = (None, 0);
    // What a name stands for is known behind the first attempt.
    while made.is_none() && tried < upstream.count().min(MOST) {
        tried += 1;
        match upstream.open(cx, &aim).await {
            Ok(opened) => made = Some(opened),
            Err(failure @ (Failure::Refused(_) | Failure::Ourselves)) => return Err(failure.into()),
            Err(failure) => {
                log::warn!("edge: {failure}. ret={}", failure.code());
                last = failure;
            }
        }
    }
    let opened = made.ok_or_else(|| Refusal::from(last))?;
    log::info!("edge: {} takes {key}", opened.dialled);
    cx.part::<Pulls>().yield_to_publisher(cx, key);
    prepared = Prepared { key: key.clone(), opened: Some((opened, upstream)), by };
    pushes.0.borrow_mut().insert(client.id, prepared);
    drop(asking);
    Ok(())
}

/// Passes a stream on that is published at an edge and does not come from the origin.
pub(super) fn attach(cx: &Rc<Context>, key: &StreamKey, vhost: &Vhost) -> Option<Box<dyn Sink>> {
    if !is_edge(vhost) || vhost.cluster.origin.is_empty() {
        return None;
    }
    let publisher = cx.hub.find(key)?.publisher()?;
    if cx.part::<Pulls>().is(key, publisher) {
        return None;
    }
    let cluster_then = vhost.cluster.clone();
    let prepared = cx.part::<Pushes>().0.borrow_mut().remove(&publisher);
    let prepared = prepared.filter(|prepared| prepared.key == *key);
    let (opened, by) = match prepared {
        Some(Prepared { opened, by, .. }) => (opened, by),
        None => (None, By::default()),
    };
    let (opened, upstream) = match opened {
        Some((opened, upstream)) => (Some(opened), upstream),
        None => (None, upstream(key, &cluster_then)),
    };
    let settings = context::settings(vhost);
    let lag = Lag { ms: settings.queue_ms, bytes: RING_BYTES };
    let consumer = cx.hub.follow(key, settings, lag).ok()?;
    let stop = Rc::new(Stop::default());
    let sink = Passed(stop.clone());
    let (context, key) = (cx.clone(), key.clone());
    cx.spawner.spawn(tank::traced(tank::next_id(), async move {
        log::info!("edge: {key} of {publisher} is passed on");
        let state = context.part::<Relays>().enter(Kind::Push, &key, first_origin(&cluster_then));
        let backoff = Backoff::new(UPSTREAM_RETRY, cluster_then.retry_max.0);
        let now = {
            let (cx, key) = (context.clone(), key.clone());
            Rc::new(move || cluster(&cx, key.vhost()).unwrap_or_else(|| cluster_then.clone()))
        };
        let retry_max = {
            let now = now.clone();
            Box::new(move || now().retry_max.0)
        };
        let aim = {
            let (upstream, key) = (upstream.clone(), key.clone());
            Box::new(move || {
                let cluster = now();
                upstream.follow(&cluster.origin, cluster.balance == Balance::Hash);
                aim(&cluster, &key, &by)
            })
        };
        let push = Push {
            cx: context.clone(),
            stage: Stage::EdgePush,
            upstream,
            aim,
            player: player(consumer),
            stop,
            backoff,
            retry_max,
            state,
            drain: LINGER,
            patience: Some(UPSTREAM_REFUSES),
            lasting: true,
        };
        let began = clock::now();
        if let Some(failure) = push.run(opened).await {
            log::error!("edge: {key} ends, {failure}. ret={}", failure.code());
            if let Some(session) = context.sessions.find(publisher) {
                session.kick(Kick::Upstream);
            }
        }
        log::info!("edge: {key} is not passed on any more, after {} ms", clock::now() - began);
    }));
    Some(Box::new(sink))
}

fn aim(cluster: &Cluster, key: &StreamKey, by: &By) -> Aim {
    let stream = format!("{}{}", key.stream(), by.param);
    let role = Role::Publish { stream, style: Style::Fmle };
    let vhost = vhost_there(cluster, key.vhost());
    let caller = by.caller.clone();
    Aim { caller, ..Aim::new(&vhost, key.app(), cluster.debug_srs_upnode, role, key.vhost()) }
}

/// Hears of the end of the stream.
struct Passed(Rc<Stop>);

impl Sink for Passed {
    fn service(&self) -> &'static str {
        super::SERVICE.name
    }

    fn on_packet(&mut self, _: &Packet) -> Result<(), SinkError> {
        Ok(())
    }

    fn on_unpublish(&mut self) {
        self.0.end();
    }
}

/// Origins that are tried for a publisher that waits.
const MOST: usize = 4;
