//! Reports to a server of the user's that this one lives.

use crate::config::Heartbeat;
use crate::context::Context;
use crate::format::json::object;
use crate::io::log::{next_id, traced};
use crate::io::proc::Addresses;
use crate::io::run;
use crate::service::{Service, stats};
use std::rc::Rc;
use std::time::Duration;

/// Reports as `heartbeat` says.
pub const SERVICE: Service = Service { start, ..Service::new("heartbeat") };

/// While reports are off: a reload may switch them on.
const LOOK: Duration = Duration::from_secs(1);

fn start(cx: &Rc<Context>) {
    let context = cx.clone();
    cx.spawner.spawn(traced(next_id(), async move {
        loop {
            let heartbeat = context.config().heartbeat.clone();
            if !heartbeat.enabled {
                run::sleep(LOOK).await;
                continue;
            }
            run::sleep(interval(&heartbeat)).await;
            report(&context, &heartbeat).await;
        }
    }));
}

/// Whole seconds, as in the original, and at least one.
fn interval(heartbeat: &Heartbeat) -> Duration {
    Duration::from_secs(heartbeat.interval.0.as_secs().max(1))
}

/// `{"device_id":…,"ip":…,"summaries":{…}}`.
fn body(cx: &Context, heartbeat: &Heartbeat) -> String {
    let at = usize::try_from(cx.config().stats.network).unwrap_or(usize::MAX);
    let ip = Addresses::read().ipv4.get(at).map(ToString::to_string).unwrap_or_default();
    object(|o| {
        o.text("device_id", &heartbeat.device_id);
        o.text("ip", &ip);
        if heartbeat.summaries {
            o.raw("summaries", &stats::summaries(cx));
        }
    })
}

async fn report(cx: &Rc<Context>, heartbeat: &Heartbeat) {
    let body = body(cx, heartbeat);
    log::warn!("heartbeat to {}: no way to send {} bytes", heartbeat.url, body.len());
}
