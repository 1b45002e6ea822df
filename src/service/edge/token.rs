//! `token_traverse`: the origin is asked about a client before the edge lets it in.

use super::{upstream, vhost_there};
use crate::config::Config;
use crate::context::Context;
use crate::hub::{Client, ClientKind};
use crate::proto::rtmp::url;
use crate::service::admission::{Refusal, Step};
use crate::service::relay::{Aim, Failure};
use std::rc::Rc;

/// Whether the origin is to be asked about `client` at `step`: when it connects, so that it gets no
/// answer before; later where it names another vhost than then, or had nothing to connect.
pub(super) fn is_due(cx: &Context, client: &Client, step: Step) -> bool {
    let cluster = &client.vhost.cluster;
    if !cluster.token_traverse || cluster.origin.is_empty() {
        return false;
    }
    step == Step::Connect
        || never_connects(client.kind)
        || connected_to(&cx.config(), client).as_deref() != Some(&client.vhost.name)
}

/// Whether there is no connect of RTMP: a player over HTTP, and what comes in by another protocol.
fn never_connects(kind: ClientKind) -> bool {
    matches!(kind, ClientKind::HttpPlay | ClientKind::Input(_))
}

/// The vhost that the client connected to.
fn connected_to(config: &Config, client: &Client) -> Option<String> {
    let address = url::connection(&client.caller.tc_url).ok()?;
    config.vhost(&address.vhost).map(|vhost| vhost.name.clone())
}

/// Connects to an origin as the client did, and takes its answer.
pub(super) async fn traverse(cx: &Rc<Context>, client: &Client) -> Result<(), Refusal> {
    let cluster = &client.vhost.cluster;
    let upstream = upstream(&client.key, cluster);
    let app = client.key.app();
    let tc_url = if never_connects(client.kind) {
        // What it would have connected to over RTMP.
        let vhost = vhost_there(cluster, &client.vhost.name);
        url::tc_url(false, "origin", 1935, &vhost, app, &client.param)
    } else {
        client.caller.tc_url.clone()
    };
    let aim = Aim {
        vhost: client.vhost.name.clone(),
        app: app.to_owned(),
        tc_url: Some(tc_url),
        caller: client.caller.clone(),
        names_us: cluster.debug_srs_upnode,
        role: None,
        own_vhost: client.vhost.name.clone(),
    };
    let mut last = Failure::Config("no origin is configured".into());
    let mut tried = 0;
    // What a name stands for is known behind the first attempt.
    while tried < upstream.count() {
        tried += 1;
        match upstream.open(cx, &aim).await {
            Ok(opened) => {
                log::info!("edge: {} lets the client in", opened.dialled);
                return Ok(());
            }
            // Only who cannot be reached has no say.
            Err(failure @ (Failure::Connect(_) | Failure::Resolve(_))) => last = failure,
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(last.into())
}
