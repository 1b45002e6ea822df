//! The process: start, listen, serve, stop.

pub mod access;
pub mod banner;
pub mod listen;
pub mod options;
mod play;
mod publish;
pub mod rtmp;

use crate::config::{self, Config, Endpoint, HttpServer, LogTank};
use crate::context::{self, Context};
use crate::hub::session::Kick;
use crate::io::run::{self, Spawner, sleep};
use crate::io::signal::{Request, Signals};
use crate::io::{clock, files, log as tank, memory};
use crate::limits;
use crate::service::{FEATURES, SERVICES};
use options::Options;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// How often deadlines of connections, and memory that may be free again, are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// Why the server does not start, and the number of the original, whose low byte is the exit
/// status.
#[derive(Debug)]
pub struct StartError {
    /// As in the original.
    pub code: u16,
    /// What to do about it is part of it.
    pub text: String,
}

impl StartError {
    fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// The process's exit status.
    pub fn status(&self) -> u8 {
        self.code.to_be_bytes()[1]
    }
}

/// The configuration that `options` name, with the notices that reading it gave already logged.
pub fn load(options: &Options) -> Result<Config, StartError> {
    let mut config = match &options.config {
        None => Config::builtin(),
        Some(path) => read(path)?,
    };
    if let Some(port) = options.port {
        config.listen = vec![Endpoint::any(port)];
    }
    if let Some(port) = options.http_port {
        let server = HttpServer {
            enabled: true,
            listen: Endpoint::any(port),
            ..(*config.http_server).clone()
        };
        config.http_server = Rc::new(server);
    }
    Ok(config)
}

fn read(path: &Path) -> Result<Config, StartError> {
    let text = files::read(path, limits::CONF_BYTES)
        .map_err(|e| StartError::new(1023, format!("{}: {e}", path.display())))?;
    let loaded = config::load(&text)
        .map_err(|e| StartError::new(1023, format!("{}: {e}", path.display())))?;
    for notice in loaded.warnings.iter().chain(&loaded.absent(FEATURES)) {
        log::warn!("{}: {notice}", path.display());
    }
    Ok(loaded.config)
}

/// Serves until a signal ends the process.
pub fn run(options: &Options, config: Config) -> Result<(), StartError> {
    if options.demo && !FEATURES.contains(&"demo") {
        return Err(StartError::new(1023, "--demo: not in this image (cargo feature demo)"));
    }
    if !matches!(config.work_dir.as_str(), "" | "./") {
        files::change_directory(Path::new(&config.work_dir))
            .map_err(|e| StartError::new(1023, format!("work_dir {}: {e}", config.work_dir)))?;
    }
    listen::check_files(&config)?;
    let listeners = listen::bind(&config, options.config.is_none())?;
    banner::print(options, &config, &listeners);
    tank::configure(&log_settings(&config))
        .map_err(|e| StartError::new(1023, format!("the log has no thread: {e}")))?;
    let allowed = limits::clients(config.max_connections);
    if let Some(text) = memory::available().and_then(|bytes| limits::advice(allowed, bytes)) {
        log::warn!("{text}");
    }
    run::run(|spawner| serve(options.demo, config, listeners, spawner))
        .map_err(|e| StartError::new(1013, format!("epoll: {e}")))?
}

fn log_settings(config: &Config) -> tank::Settings {
    tank::Settings {
        level: tank::level(config.log_level.word()),
        tank: match config.log_tank {
            LogTank::Console => tank::Tank::Console,
            LogTank::File => tank::Tank::File(PathBuf::from(&config.log_file)),
        },
        utc: config.utc_time,
    }
}

async fn serve(
    demo: bool,
    config: Config,
    listeners: Vec<listen::Listener>,
    spawner: Spawner,
) -> Result<(), StartError> {
    let signals = Signals::new()
        .map_err(|e| StartError::new(1048, format!("signals cannot be received: {e}")))?;
    let cx = Context::new(config, demo, spawner);
    for listener in listeners {
        let context = cx.clone();
        cx.spawner.spawn(tank::traced(tank::next_id(), listener.serve(context)));
    }
    for service in SERVICES {
        (service.start)(&cx);
    }
    tank::traced(tank::next_id(), async {
        for vhost in cx.config().vhosts.iter().filter(|vhost| vhost.enabled) {
            log::info!("{}", banner::ring(&vhost.name, context::settings(vhost).queue_ms));
        }
    })
    .await;
    let context = cx.clone();
    cx.spawner.spawn(async move {
        loop {
            sleep(SWEEP).await;
            context.sessions.sweep(clock::now());
            context.hub.pool().reap();
        }
    });
    // In a task of its own: this one is polled whenever any is.
    let (stop_now, stopping) = run::once();
    cx.spawner.spawn(async move {
        obey(signals).await;
        stop_now.set();
    });
    stopping.await;
    stop(&cx).await;
    Ok(())
}

/// Acts on signals until one of them is to stop.
async fn obey(mut signals: Signals) {
    loop {
        match signals.next().await {
            Request::Stop => return,
            Request::Reload => log::warn!("reload is not in this image, restart instead"),
            Request::Reopen => {
                tank::reopen();
                log::info!("log file reopened");
            }
        }
    }
}

/// Ends all connections, and waits a moment for them.
async fn stop(cx: &Rc<Context>) {
    let until = clock::after(limits::GRACE);
    loop {
        // Again: what was accepted a moment ago may only begin now.
        cx.sessions.kick_all(Kick::Shutdown);
        if cx.sessions.is_empty() || clock::now() >= until {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    cx.hub.end();
    SERVICES.iter().for_each(|service| (service.stop)());
    let written = cx.disk.finish(limits::DISK_TIMEOUT);
    // Whoever waited for that has more to write: lists of what is unfinished.
    sleep(Duration::from_millis(1)).await;
    if !written || !cx.disk.finish(limits::DISK_TIMEOUT) {
        log::warn!("the disk is too slow, {} bytes are not written", cx.disk.queued());
    }
    log::info!("server stops, {} connections were cut", cx.sessions.len());
}
