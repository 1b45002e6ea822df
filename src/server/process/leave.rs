//! Leaving without harm: no new clients, those that are there are asked to go elsewhere.

use crate::context::Context;
use crate::io::clock;
use crate::io::run::sleep;
use crate::media::Decimal;
use crate::server::admission::Admission;
use crate::service::SERVICES;
use std::rc::Rc;
use std::time::Duration;

/// Lets nobody in any more, asks all clients to reconnect, and waits until they are gone or
/// `drain_timeout` is over. With `grace` it waits `grace_start_wait` before and
/// `grace_final_wait` behind.
pub(in crate::server) async fn leave(cx: Rc<Context>, grace: bool) {
    let config = cx.config();
    cx.leaving.set(true);
    if grace {
        log::info!("graceful stop, begins in {} ms", config.grace_start_wait.0.as_millis());
        sleep(config.grace_start_wait.0).await;
    }
    cx.part::<Admission>().close();
    cx.sessions.leave();
    SERVICES.iter().for_each(|service| (service.leave)(&cx));
    let limit = config.drain_timeout.0;
    log::info!(
        "server leaves: no new clients, {} are asked to reconnect, at most {} s (drain_timeout)",
        cx.sessions.len(),
        Decimal::short(limit.as_secs_f64())
    );
    let (until, mut told) = (clock::after(limit), clock::after(TELL));
    while !cx.sessions.is_empty() {
        let now = clock::now();
        if !limit.is_zero() && now >= until {
            log::warn!("drain_timeout is over, {} clients are left", cx.sessions.len());
            break;
        }
        if now >= told {
            told = clock::after(TELL);
            log::info!("server leaves: {} clients are left", cx.sessions.len());
        }
        sleep(LOOK).await;
    }
    if grace {
        sleep(config.grace_final_wait.0).await;
    }
}

/// How often connections are counted, and how often the log is told.
const LOOK: Duration = Duration::from_millis(50);
const TELL: Duration = Duration::from_secs(10);
