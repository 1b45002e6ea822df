//! Another configuration for a server that runs: read, checked, and applied where it differs.
//! Whatever did not change keeps its sockets and its streams.

use crate::config::{Config, Mode, Vhost};
use crate::context::{self, Change, Context, Edit, Rejected};
use crate::hub::session::Kick;
use crate::hub::{Settings, Source};
use crate::io::{files, log as tank, tls};
use crate::limits;
use crate::server::listen::{Listeners, check_files};
use crate::server::options::Options;
use crate::server::{StartError, log_settings, parse};
use crate::service::SERVICES;
use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;

/// What is in force and stands in no file.
type Unsaved = RefCell<Option<Vec<u8>>>;

/// Makes `change`. With an error in it nothing changes. Says in the log what became of it, and to
/// whoever asked.
pub(super) async fn reload(
    cx: &Rc<Context>,
    options: &Options,
    change: Change,
) -> Result<(), Rejected> {
    log::info!("reload config");
    let made = match change {
        Change::File => read(cx, options).await,
        Change::Edit { edit, persist } => change_text(cx, options, edit, persist).await,
    };
    match &made {
        Ok(()) => log::info!("reload config success"),
        Err(e) => {
            log::error!("ignore config reloader, all stays as it is: {}. ret={}", e.text, e.code)
        }
    }
    made.map_err(|e| Rejected { code: e.code, text: e.text })
}

/// The text of the file, which comes into force.
async fn read(cx: &Rc<Context>, options: &Options) -> Result<(), StartError> {
    let text = text(cx, path(options)?).await?;
    cx.has_seen(&text);
    follow(cx, options, &text).await?;
    cx.part::<Unsaved>().replace(None);
    Ok(())
}

async fn change_text(
    cx: &Rc<Context>,
    options: &Options,
    edit: Edit,
    persist: bool,
) -> Result<(), StartError> {
    let path = path(options)?;
    let unsaved = cx.part::<Unsaved>();
    let before = unsaved.borrow().clone();
    let before = match before {
        Some(text) => text,
        None => text(cx, path).await?,
    };
    let after = edit(&before).map_err(|e| StartError::new(e.code, e.text))?;
    follow(cx, options, &after).await?;
    if !persist {
        unsaved.replace(Some(after));
        return Ok(());
    }
    // Whoever watches the file need not read it again.
    cx.has_seen(&after);
    let file = path.to_owned();
    let stored = cx.disk.ask(move || files::store(&file, &after)).await;
    if let Err(e) = stored.unwrap_or_else(|e| Err(io::Error::other(e))) {
        // What was in force before is known to be right.
        follow(cx, options, &before).await?;
        return Err(StartError::new(1059, format!("{} cannot be written: {e}", path.display())));
    }
    unsaved.replace(None);
    Ok(())
}

fn path(options: &Options) -> Result<&Path, StartError> {
    let text = "the server was started without a file";
    options.config.as_deref().ok_or_else(|| StartError::new(1023, text))
}

async fn text(cx: &Context, path: &Path) -> Result<Vec<u8>, StartError> {
    let file = path.to_owned();
    let text = cx.disk.ask(move || files::read(&file, limits::CONF_BYTES)).await;
    let text = text.unwrap_or_else(|e| Err(io::Error::other(e)));
    text.map_err(|e| StartError::new(1023, format!("{}: {e}", path.display())))
}

async fn follow(cx: &Rc<Context>, options: &Options, text: &[u8]) -> Result<(), StartError> {
    let config = parse(path(options)?, text, options, true)?;
    // What can fail comes first.
    check_files(&config)?;
    cx.part::<Listeners>().follow(cx, &config).await?;
    let old = cx.set_config(config);
    let new = cx.config();
    if log_settings(&old) != log_settings(&new)
        && let Err(e) = tank::configure(&log_settings(&new))
    {
        log::error!("the log stays as it is: {e}");
    }
    cx.stages.set_interval(new.pithy_print_ms.0);
    tls::trust(&new.tls_ca);
    for vhost in &old.vhosts {
        follow_vhost(cx, vhost, new.block(&vhost.name));
    }
    for vhost in new.vhosts.iter().filter(|vhost| vhost.enabled) {
        if old.block(&vhost.name).is_none() {
            log::info!("reload: vhost {} is new", vhost.name);
        }
    }
    for service in SERVICES {
        (service.reload)(cx, &old);
    }
    tell_what_waits(&old, &new);
    Ok(())
}

/// What a running server does not change.
fn tell_what_waits(old: &Config, new: &Config) {
    for (name, differs) in
        [("daemon", old.daemon != new.daemon), ("work_dir", old.work_dir != new.work_dir)]
    {
        if differs {
            log::warn!("reload: {name} counts at the next start");
        }
    }
}

fn follow_vhost(cx: &Rc<Context>, old: &Rc<Vhost>, new: Option<&Rc<Vhost>>) {
    if !old.enabled {
        return;
    }
    let streams = cx.hub.sources().into_iter().filter(|source| source.key().vhost() == old.name);
    let Some(new) = new.filter(|new| is_edge(new) == is_edge(old)) else {
        log::info!("reload: vhost {} is gone, or another thing: its clients go", old.name);
        for session in cx.sessions.all() {
            if session.client().is_some_and(|client| client.vhost.name == old.name) {
                session.kick(Kick::Vhost);
            }
        }
        streams.for_each(|source| source.end());
        return;
    };
    if old == new {
        return;
    }
    log::info!("reload: vhost {} changed", old.name);
    for source in streams {
        if source.key().is_derived() {
            source.set_settings(context::derived_settings(new));
            continue;
        }
        source.set_settings(settings(source.settings(), old, new));
        rejoin(cx, &source, old, new);
    }
}

/// What holds for a stream from now on, for which `now` held. What its metadata switched stays so
/// while the file says the same of it.
fn settings(now: Settings, old: &Vhost, new: &Vhost) -> Settings {
    let (before, after) = (context::settings(old), context::settings(new));
    let same = (before.atc, before.atc_auto) == (after.atc, after.atc_auto);
    Settings { atc: if same { now.atc } else { after.atc }, ..after }
}

fn is_edge(vhost: &Vhost) -> bool {
    vhost.cluster.mode == Mode::Remote
}

/// Has the services whose part of the vhost changed begin anew with a live stream.
fn rejoin(cx: &Rc<Context>, source: &Rc<Source>, old: &Vhost, new: &Vhost) {
    for service in SERVICES.iter().filter(|service| (service.differs)(old, new)) {
        source.detach(service.name);
        if source.publisher().is_some()
            && let Some(sink) = (service.attach)(cx, source.key(), new)
        {
            let joined = if source.attach(sink) { "joins" } else { "cannot join" };
            log::info!("reload: {} {joined} {}", service.name, source.key());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_metadata_switched_stays_unless_the_file_says_otherwise() {
        let vhost = |inside: &str| {
            let text = format!("listen 1; vhost v {{ {inside} }}");
            crate::config::load(text.as_bytes()).unwrap().config.vhosts[0].clone()
        };
        let switched = Settings { atc: true, ..context::settings(&vhost("")) };
        for (new, atc) in [
            ("hls { enabled on; }", true),
            ("play { queue_length 3; }", true),
            ("play { atc_auto off; }", false),
        ] {
            let after = settings(switched, &vhost(""), &vhost(new));
            assert_eq!(after, Settings { atc, ..context::settings(&vhost(new)) }, "{new}");
        }
        assert!(!settings(switched, &vhost("atc on;"), &vhost("")).atc);
    }
}
