//! How the process lives among others: as a daemon, under a service manager, with its number in a
//! file, and how it leaves.

mod leave;

pub(super) use leave::leave;

use crate::config::{Config, LogTank};
use crate::context::Context;
use crate::io::notify::{self, Notify};
use crate::io::pidfile::{PidFile, Refused};
use crate::io::{daemon, files, log as tank, run};
use crate::server::StartError;
use crate::server::options::{DETACHED, Options};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Whether another process serves in place of this one, as a daemon, and already does. Its failure
/// is ours.
pub(super) fn hand_over(options: &Options, config: &Config) -> Result<bool, StartError> {
    if !config.daemon || options.detached {
        return Ok(false);
    }
    let stays = if notify::is_wanted() {
        Some("a service manager waits for it")
    } else if config.disable_daemon_for_docker && files::is_in_container() {
        Some("this is a container (disable_daemon_for_docker)")
    } else {
        None
    };
    if let Some(why) = stays {
        log::info!("daemon is off: {why}");
        return Ok(false);
    }
    match daemon::start(DETACHED) {
        Ok(0) => Ok(true),
        Ok(status) => Err(StartError::new(status.into(), "the daemon does not start, see above")),
        Err(e) => Err(StartError::new(1023, format!("daemon: {e}"))),
    }
}

/// What is held as long as the server runs.
pub(super) struct Process {
    /// Its name, and the file, which is deleted at the end; else why there is none.
    pid: RefCell<(String, Result<Option<PidFile>, String>)>,
    notify: Rc<Notify>,
    detached: bool,
    /// The parent without which it does not go on.
    parent: Option<u32>,
}

impl Process {
    /// Takes what the process must have for itself, before it listens.
    pub(super) fn begin(options: &Options, config: &Config) -> Result<Self, StartError> {
        if options.detached {
            daemon::detach().map_err(|e| StartError::new(1023, format!("daemon: {e}")))?;
        }
        let parent = config.asprocess.then(daemon::parent);
        if parent == Some(1) {
            let text = "asprocess: the parent is process 1, which does not end";
            return Err(StartError::new(1023, text));
        }
        Ok(Self {
            pid: RefCell::new((config.pid.clone(), lock(config)?)),
            notify: Rc::new(Notify::from_environment()),
            detached: options.detached,
            parent,
        })
    }

    /// The server listens: tells whoever waits for it.
    pub(super) fn ready(&self, cx: &Context) {
        if let Err(why) = &self.pid.borrow().1 {
            // Not before: now the log is where it belongs. In the foreground nobody needs it.
            let level = if self.detached { log::Level::Warn } else { log::Level::Info };
            log::log!(level, "{why}");
        }
        self.notify.ready("serving");
        if let Some(limit) = self.notify.watchdog() {
            let notify = self.notify.clone();
            cx.spawner.spawn(async move {
                loop {
                    notify.alive();
                    run::sleep(limit / 2).await;
                }
            });
        }
        if self.detached {
            if cx.config().log_tank == LogTank::Console {
                log::warn!(
                    "srs_log_tank console: a daemon has none, this is the last line of the log"
                );
            }
            tank::flush(LAST_LINES);
            if let Err(e) = daemon::release() {
                log::warn!("daemon: standard output stays open: {e}");
            }
        }
    }

    /// The configuration is read again; [`reloaded`](Self::reloaded) follows.
    pub(super) fn reloading(&self) {
        self.notify.reloading();
    }

    /// The configuration was read again, or is as it was.
    pub(super) fn reloaded(&self, cx: &Context) {
        let config = cx.config();
        self.follow_pid(&config);
        self.notify.ready("serving");
    }

    fn follow_pid(&self, config: &Config) {
        let mut pid = self.pid.borrow_mut();
        // Another name of the same file is none: closing the one would open the lock of the other.
        let is_same = matches!(&pid.1, Ok(Some(file)) if file.is_at(Path::new(&config.pid)));
        if pid.0 == config.pid || is_same {
            return;
        }
        match lock(config) {
            Ok(file) => {
                *pid = (config.pid.clone(), file);
                log::info!("reload: pid {}", if pid.0.is_empty() { "none" } else { &pid.0 });
            }
            Err(e) => log::error!("reload: the pid file stays as it is: {}", e.text),
        }
    }

    /// The server leaves, and waits for its clients. Unless that is a stop, `for_another` may take
    /// its place meanwhile, with the same pid file.
    pub(super) fn leaving(&self, for_another: bool) {
        if for_another {
            self.pid.borrow_mut().1 = Ok(None);
        }
        self.notify.status("leaving, waits for its clients to go");
    }

    /// The server ends.
    pub(super) fn stopping(&self) {
        self.notify.stopping();
    }

    /// Waits for the end of the parent, if the server is to end then.
    pub(super) async fn orphaned(&self) {
        loop {
            run::sleep(LOOK).await;
            if let Some(parent) = self.parent
                && daemon::parent() != parent
            {
                return log::warn!("the parent process {parent} is gone (asprocess)");
            }
        }
    }
}

/// The pid file. Where it cannot be written, and was not asked for, the server does without, and
/// says why.
fn lock(config: &Config) -> Result<Result<Option<PidFile>, String>, StartError> {
    if config.pid.is_empty() {
        return Ok(Ok(None));
    }
    match PidFile::lock(Path::new(&config.pid)) {
        Ok(file) => Ok(Ok(Some(file))),
        Err(e @ Refused::Held(_)) => {
            Err(StartError::new(1035, format!("runnel is {e}: it has locked {} (pid)", config.pid)))
        }
        Err(Refused::Io(e)) if config.pid == Config::default().pid => {
            Ok(Err(format!("no pid file, {}: {e}", config.pid)))
        }
        Err(Refused::Io(e)) => Err(StartError::new(1023, format!("pid {}: {e}", config.pid))),
    }
}

/// For lines on their way to a console that is let go of.
const LAST_LINES: Duration = Duration::from_millis(300);
/// How often the parent is looked for.
const LOOK: Duration = Duration::from_secs(1);
