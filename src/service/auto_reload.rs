//! Reads the configuration file again when it changes: `inotify_auto_reload`, and inside a
//! container `auto_reload_for_docker`. SIGHUP does so without this.

use crate::context::{Change, Context};
use crate::io::run::{self, Once};
use crate::io::watch::Watch;
use crate::io::{files, log as tank};
use crate::limits::CONF_BYTES;
use crate::service::Service;
use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Watches the configuration file.
pub const SERVICE: Service =
    Service { start: follow, reload: |cx, _| follow(cx), ..Service::new("reload") };

/// From a change to the look at it: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(300);

/// Ends the watch that there is.
#[derive(Default)]
struct Watching(RefCell<Option<Once>>);

/// Begins or ends to watch, as the configuration says.
fn follow(cx: &Rc<Context>) {
    let config = cx.config();
    let wanted =
        config.inotify_auto_reload || config.auto_reload_for_docker && files::is_in_container();
    let Some(file) = cx.file().filter(|_| wanted) else {
        if let Some(end) = cx.part::<Watching>().0.take() {
            end.set();
        }
        return;
    };
    let watching = cx.part::<Watching>();
    if watching.0.borrow().is_some() {
        return;
    }
    let (end, ended) = run::once();
    *watching.0.borrow_mut() = Some(end);
    let context = cx.clone();
    cx.spawner.spawn(tank::traced(tank::next_id(), async move {
        run::first(ended, async {
            if let Err(e) = watch_file(&context, &file).await {
                log::error!("{} cannot be watched, reload with SIGHUP: {e}", file.display());
                std::future::pending::<()>().await;
            }
        })
        .await;
    }));
}

async fn watch_file(cx: &Rc<Context>, file: &Path) -> io::Result<()> {
    let mut watch = Watch::new(file)?;
    if let Some(text) = read(cx, file).await {
        cx.has_seen(&text);
    }
    log::info!("{} is watched: a change counts at once", file.display());
    loop {
        watch.changed().await?;
        run::sleep(SETTLE).await;
        // It may be between two names.
        let Some(text) = read(cx, file).await else { continue };
        if cx.has_seen(&text) {
            continue;
        }
        log::info!("{} has changed", file.display());
        // What became of it is in the log.
        let _ = cx.reloads.ask(Change::File).await;
    }
}

async fn read(cx: &Rc<Context>, file: &Path) -> Option<Vec<u8>> {
    let path = file.to_owned();
    cx.disk.ask(move || files::read(&path, CONF_BYTES)).await.ok()?.ok()
}
