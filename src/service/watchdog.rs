//! A hardware watchdog that is fed as long as the thread that serves goes round.

use crate::config::Config;
use crate::context::Context;
use crate::io::run::sleep;
use crate::io::watchdog::Watchdog;
use crate::service::Service;
use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Feeds the device of `watchdog`.
pub(super) const SERVICE: Service = Service { start, reload, stop, ..Service::new("watchdog") };

/// Hardware that gives less time than this is not known.
const INTERVAL: Duration = Duration::from_secs(1);

thread_local! {
    static DEVICE: RefCell<Option<Watchdog>> = const { RefCell::new(None) };
    /// Counts starts and stops: a task of a former one ends.
    static ROUND: Cell<u32> = const { Cell::new(0) };
}

fn start(cx: &Rc<Context>) {
    let path = cx.config().watchdog.clone();
    if !path.is_empty() {
        cx.spawner.spawn(feed(path));
    }
}

fn reload(cx: &Rc<Context>, old: &Config) {
    if cx.config().watchdog != old.watchdog {
        stop();
        start(cx);
    }
}

/// Opens the device and feeds it until it is stopped. One that cannot be opened is tried again: the
/// server before this one may still have it.
async fn feed(path: String) {
    let own = ROUND.get();
    let mut failed = false;
    while ROUND.get() == own {
        match DEVICE.with_borrow_mut(|device| open_or_feed(device, &path)) {
            Ok(()) => failed = false,
            Err(e) if !failed => {
                failed = true;
                log::error!("watchdog {path}: {e}");
            }
            Err(_) => {}
        }
        sleep(INTERVAL).await;
    }
}

fn open_or_feed(device: &mut Option<Watchdog>, path: &str) -> io::Result<()> {
    match device {
        Some(device) => device.feed(),
        None => {
            *device = Some(Watchdog::open(Path::new(path))?);
            log::info!("watchdog {path} is armed");
            Ok(())
        }
    }
}

fn stop() {
    ROUND.set(ROUND.get().wrapping_add(1));
    if let Some(device) = DEVICE.take() {
        match device.disarm() {
            Ok(()) => log::info!("watchdog disarmed"),
            Err(e) => log::error!("watchdog: {e}, the machine will restart"),
        }
    }
}
