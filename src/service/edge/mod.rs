//! An edge: a vhost whose streams are those of an origin.
//!
//! The first player of a stream has it fetched (`pull`), the last one ends that. A publisher is
//! taken when the origin takes it: its stream is published here, for the players of this edge, and
//! passed on to the origin (`push`). With `token_traverse` the origin is asked about each client
//! before it is let in (`token`).

mod pull;
mod push;
mod splice;
mod token;

use crate::config::{Balance, Cluster, Mode, Vhost};
use crate::context::Context;
use crate::hub::{Client, ClientKind, StreamKey};
use crate::service::admission::{Event, Refusal, Step};
use crate::service::relay::{Kind, Relays, Upstream};
use crate::service::{Service, Task};
use pull::Pulls;
use push::Pushes;
use std::rc::Rc;

/// Fetches and passes on the streams of vhosts with `mode remote`.
pub const SERVICE: Service = Service {
    attach: push::attach,
    ask,
    tell,
    wanted: pull::want,
    upstreams: |cx| cx.part::<Relays>().reports(|kind| kind != Kind::Forward),
    ..Service::new("edge")
};

/// Whether `vhost` is an edge.
fn is_edge(vhost: &Vhost) -> bool {
    vhost.cluster.mode == Mode::Remote
}

fn ask(cx: &Rc<Context>, client: &Rc<Client>, step: Step) -> Option<Task<Result<(), Refusal>>> {
    if !is_edge(&client.vhost) {
        return None;
    }
    let token = token::is_due(cx, client, step);
    let push = step == Step::Publish;
    if !token && !push {
        return None;
    }
    let (cx, client) = (cx.clone(), client.clone());
    Some(Box::pin(async move {
        if token {
            token::traverse(&cx, &client).await?;
        }
        if push { push::prepare(&cx, &client).await } else { Ok(()) }
    }))
}

fn tell(cx: &Rc<Context>, event: &Event<'_>) {
    match event {
        Event::Stopped(client) if is_edge(&client.vhost) => {
            cx.part::<Pulls>().look(&client.key);
        }
        Event::Unpublished(client) | Event::Closed { client, .. } if is_edge(&client.vhost) => {
            let pushes = cx.part::<Pushes>();
            pushes.forget(client.id);
            if matches!(client.kind, ClientKind::Play | ClientKind::HttpPlay) {
                cx.part::<Pulls>().look(&client.key);
            }
        }
        _ => {}
    }
}

/// The cluster of the vhost called `name`, as it is configured now; `None` if it is no edge any
/// more.
fn cluster(cx: &Context, name: &str) -> Option<Rc<Cluster>> {
    let config = cx.config();
    let vhost = config.block(name).filter(|vhost| vhost.enabled && is_edge(vhost))?;
    Some(vhost.cluster.clone())
}

fn upstream(key: &StreamKey, cluster: &Cluster) -> Rc<Upstream> {
    Rc::new(Upstream::new(key, &cluster.origin, cluster.balance == Balance::Hash))
}

/// The vhost at the origin; empty for the origin's own name.
fn vhost_there(cluster: &Cluster, own: &str) -> String {
    cluster.vhost.replace("[vhost]", own)
}

/// The first origin, for a report before any was reached.
fn first_origin(cluster: &Cluster) -> &str {
    cluster.origin.first().map_or("", String::as_str)
}
