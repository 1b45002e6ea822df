//! Reports to a server of the user's that this one lives.

use crate::config::Heartbeat;
use crate::context::Context;
use crate::format::json::object;
use crate::io::fetch::{Client, Error, Request};
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
        let mut before = Ok(());
        loop {
            let heartbeat = context.config().heartbeat.clone();
            if !heartbeat.enabled {
                run::sleep(LOOK).await;
                continue;
            }
            run::sleep(interval(&heartbeat)).await;
            let sent = report(&context, &heartbeat).await.map_err(|e| e.to_string());
            // Once for as long as it is so: it may be so for days.
            if sent != before {
                match &sent {
                    Ok(()) => log::info!("heartbeat to {} works again", heartbeat.url),
                    Err(e) => log::warn!("heartbeat to {}: {e}", heartbeat.url),
                }
            }
            before = sent;
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

/// Sends a report. What the answer says does not matter.
async fn report(cx: &Rc<Context>, heartbeat: &Heartbeat) -> Result<(), Error> {
    let body = body(cx, heartbeat);
    let mut request = Request::post(&heartbeat.url, "application/json", body)?;
    // The next one is not late because of it.
    request.timeout = request.timeout.min(interval(heartbeat));
    cx.part::<Client>().fetch(&request).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Seconds};
    use crate::format::json::parse;

    #[test]
    fn a_report_has_the_fields_of_the_original_in_their_order() {
        let (short, long) = run::run(|spawner| async move {
            let cx = Context::new(Config::builtin(), false, spawner);
            let short = Heartbeat { device_id: "my \"device\"".into(), ..Heartbeat::default() };
            let long = Heartbeat { summaries: true, ..short.clone() };
            (body(&cx, &short), body(&cx, &long))
        })
        .unwrap();
        assert!(short.starts_with("{\"device_id\":\"my \\\"device\\\"\",\"ip\":\""), "{short}");
        assert!(short.ends_with("\"}"));
        let part = "\",\"summaries\":{\"code\":0,\"data\":{\"ok\":";
        assert!(long.contains(part), "{long}");
        parse(long.as_bytes()).unwrap();
    }

    #[test]
    fn an_interval_is_whole_seconds_and_at_least_one() {
        for (ms, seconds) in [(9900, 9), (1, 1), (1000, 1), (2999, 2)] {
            let heartbeat =
                Heartbeat { interval: Seconds::from_millis(ms), ..Heartbeat::default() };
            assert_eq!(interval(&heartbeat), Duration::from_secs(seconds));
        }
    }
}
