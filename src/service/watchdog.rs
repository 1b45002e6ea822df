//! A hardware watchdog that is fed as long as the thread that serves goes round.

use crate::config::Config;
use crate::context::Context;
use crate::io::run::sleep;
use crate::io::watchdog::Watchdog;
use crate::service::Service;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Feeds the device of `watchdog`.
pub(super) const SERVICE: Service = Service { start, reload, stop, ..Service::new("watchdog") };

/// Hardware that gives less time than this is not known.
const INTERVAL: Duration = Duration::from_secs(1);

thread_local! {
    static DEVICE: RefCell<Option<Watchdog>> = const { RefCell::new(None) };
    /// Counts the devices.
    static ROUND: Cell<u32> = const { Cell::new(0) };
}

fn start(cx: &Rc<Context>) {
    let path = cx.config().watchdog.clone();
    if path.is_empty() {
        return;
    }
    match Watchdog::open(Path::new(&path)) {
        Ok(device) => {
            DEVICE.set(Some(device));
            ROUND.set(ROUND.get().wrapping_add(1));
            log::info!("watchdog {path} is armed");
            cx.spawner.spawn(feed(path));
        }
        Err(e) => log::error!("watchdog {path}: {e}"),
    }
}

fn reload(cx: &Rc<Context>, old: &Config) {
    if cx.config().watchdog != old.watchdog {
        stop();
        start(cx);
    }
}

/// Feeds the device until there is another one.
async fn feed(path: String) {
    let mut failed = false;
    let own = ROUND.get();
    loop {
        if ROUND.get() != own {
            return;
        }
        let fed = DEVICE.with_borrow_mut(|device| device.as_mut().map(Watchdog::feed));
        match fed {
            None => return,
            Some(Ok(())) => failed = false,
            Some(Err(e)) if !failed => {
                failed = true;
                log::error!("watchdog {path}: {e}");
            }
            Some(Err(_)) => {}
        }
        sleep(INTERVAL).await;
    }
}

fn stop() {
    if let Some(device) = DEVICE.take() {
        match device.disarm() {
            Ok(()) => log::info!("watchdog disarmed"),
            Err(e) => log::error!("watchdog: {e}, the machine will restart"),
        }
    }
}
