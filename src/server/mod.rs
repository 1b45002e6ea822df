//! The process: start, listen, serve, stop.

pub mod access;
mod admission;
pub mod banner;
pub mod listen;
pub mod options;
mod play;
#[cfg(feature = "service")]
mod process;
#[path = "process_plain.rs"]
#[cfg(not(feature = "service"))]
mod process;
mod publish;
mod reload;
pub mod rtmp;

use crate::config::{self, Config, Endpoint, HttpServer, LogTank};
use crate::context::{self, Change, Context};
use crate::hub::session::Kick;
use crate::io::run::{self, Spawner, sleep};
use crate::io::signal::{Request, Signals};
use crate::io::{clock, files, log as tank, memory, tls};
use crate::limits;
use crate::service::{Applet, FEATURES, SERVICES};
use options::Options;
use process::Process;
use std::cell::Cell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// For the last log lines to be written.
pub const LAST_LINES: Duration = Duration::from_millis(300);
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
    let Some(path) = &options.config else { return Ok(adjusted(Config::builtin(), options)) };
    let text = files::read(path, limits::CONF_BYTES)
        .map_err(|e| StartError::new(1023, format!("{}: {e}", path.display())))?;
    // Whoever started a daemon has told what is odd about the file.
    parse(path, &text, options, !options.detached)
}

/// The configuration in `text`, which is that of the file `path`; `tell`: with its notices logged.
fn parse(path: &Path, text: &[u8], options: &Options, tell: bool) -> Result<Config, StartError> {
    let loaded = config::load(text)
        .map_err(|e| StartError::new(1023, format!("{}: {e}", path.display())))?;
    for notice in loaded.warnings.iter().chain(&loaded.absent(FEATURES)).filter(|_| tell) {
        log::warn!("{}: {notice}", path.display());
    }
    Ok(adjusted(loaded.config, options))
}

/// With what the command line says.
fn adjusted(mut config: Config, options: &Options) -> Config {
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
    config
}

/// In a process that is called as an applet of a service, by its own name or by its first word: does
/// that. Gives the status to exit with; `None` in every other process.
pub fn applet(args: impl Iterator<Item = OsString>) -> Option<u8> {
    let words: Vec<_> = args.map(|word| word.to_string_lossy().into_owned()).collect();
    let own = words.first()?.rsplit('/').next().unwrap_or_default();
    let applets = || SERVICES.iter().filter_map(|service| service.applet);
    let by_name = applets().find(|applet| applet.name == own).map(|applet| (applet, 1));
    let by_word = || applets().find(|a| words.get(1).is_some_and(|word| word == a.name));
    let (applet, skip) = by_name.or_else(|| by_word().map(|applet| (applet, 2)))?;
    tank::init();
    let result = (applet.run)(words.get(skip..).unwrap_or_default());
    let Err(refusal) = result else { return Some(0) };
    let error = StartError::new(refusal.code, refusal.text);
    if error.code == Applet::USAGE {
        eprintln!("{}: {}\n\n{}", applet.name, error.text, applet.usage);
    } else {
        log::error!("{}. ret={}", error.text, error.code);
    }
    tank::flush(LAST_LINES);
    Some(error.status())
}

/// Serves until a signal ends the process; as a daemon, until another process serves.
pub fn run(options: &Options, config: Config) -> Result<(), StartError> {
    if options.demo && !FEATURES.contains(&"demo") {
        return Err(StartError::new(1023, "--demo: not in this image (cargo feature demo)"));
    }
    if process::hand_over(options, &config)? {
        return Ok(());
    }
    let mut own = options.clone();
    // A reload finds it from another directory, too.
    own.config = own.config.map(|path| std::path::absolute(&path).unwrap_or(path));
    if !matches!(config.work_dir.as_str(), "" | "./") {
        files::change_directory(Path::new(&config.work_dir))
            .map_err(|e| StartError::new(1023, format!("work_dir {}: {e}", config.work_dir)))?;
    }
    let process = Process::begin(options, &config)?;
    listen::check_files(&config)?;
    let listeners = listen::bind(&config, options.config.is_none())?;
    banner::print(options, &config, &listeners);
    tank::configure(&log_settings(&config))
        .map_err(|e| StartError::new(1023, format!("the log has no thread: {e}")))?;
    let allowed = limits::clients(config.max_connections);
    if let Some(text) = memory::available().and_then(|bytes| limits::advice(allowed, bytes)) {
        log::warn!("{text}");
    }
    run::run(|spawner| serve(own, config, listeners, process, spawner))
        .map_err(|e| StartError::new(1013, format!("epoll: {e}")))?
}

fn log_settings(config: &Config) -> tank::Settings {
    tank::Settings {
        level: tank::level(config.log_level.word()),
        tank: match config.log_tank {
            LogTank::Console => tank::Tank::Console,
            LogTank::File => tank::Tank::File(PathBuf::from(&config.log_file), config.log_size.0),
            LogTank::Syslog => tank::Tank::Syslog(PathBuf::from(&config.syslog_socket)),
        },
        utc: config.utc_time,
    }
}

async fn serve(
    options: Options,
    config: Config,
    listeners: Vec<listen::Listener>,
    process: Process,
    spawner: Spawner,
) -> Result<(), StartError> {
    let signals = Signals::new()
        .map_err(|e| StartError::new(1048, format!("signals cannot be received: {e}")))?;
    tls::trust(&config.tls_ca);
    let cx = Context::new(config, options.demo, spawner);
    cx.set_file(options.config.as_deref());
    let open = cx.part::<listen::Listeners>();
    listeners.into_iter().for_each(|listener| open.open(&cx, listener));
    for service in SERVICES {
        (service.start)(&cx);
    }
    tank::traced(tank::next_id(), async {
        process.ready(&cx);
        let vhosts = cx.config();
        let vhosts = vhosts.vhosts.iter().filter(|vhost| vhost.enabled);
        for line in banner::rings(vhosts.map(|v| (&*v.name, context::settings(v).queue_ms))) {
            log::info!("{line}");
        }
    })
    .await;
    tank::started();
    let context = cx.clone();
    cx.spawner.spawn(async move {
        loop {
            sleep(SWEEP).await;
            context.sessions.sweep(clock::now());
            context.hub.sweep(clock::now());
            context.hub.pool().reap();
        }
    });
    let process = Rc::new(process);
    let quick = Rc::new(Cell::new(false));
    // In a task of its own: this one is polled whenever any is.
    let (stop_now, stopping) = run::once();
    cx.spawner.spawn(answer_reloads(cx.clone(), options.clone(), Rc::downgrade(&process)));
    let (context, own, at_once) = (cx.clone(), process.clone(), quick.clone());
    cx.spawner.spawn(async move {
        let obeyed = obey(signals, &context, &own);
        let how = run::unless(own.orphaned(), obeyed).await;
        at_once.set(how == Some(Stop::AtOnce));
        stop_now.set();
    });
    stopping.await;
    process.stopping();
    stop(&cx, quick.get()).await;
    Ok(())
}

/// How the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    InOrder,
    AtOnce,
}

/// Acts on signals until one of them is to stop, or the server has left.
async fn obey(mut signals: Signals, cx: &Rc<Context>, process: &Process) -> Stop {
    let mut leaving: Pin<Box<dyn Future<Output = ()>>> = Box::pin(std::future::pending());
    let mut leaves = false;
    loop {
        let Some(request) = run::unless(leaving.as_mut(), signals.next()).await else {
            return Stop::InOrder;
        };
        match request {
            Request::Quit => return Stop::AtOnce,
            Request::Stop if leaves || !cx.config().force_grace_quit => return Stop::InOrder,
            Request::Stop | Request::Grace | Request::Drain if !leaves => {
                leaves = true;
                let for_another = request == Request::Drain;
                process.leaving(for_another);
                leaving = Box::pin(process::leave(cx.clone(), !for_another));
            }
            Request::Stop | Request::Grace | Request::Drain => {}
            // When there is no room, enough reloads wait already.
            Request::Reload => {
                cx.reloads.tell(Change::File);
            }
            Request::Reopen => {
                tank::reopen();
                log::info!("log file reopened");
            }
        }
    }
}

/// Changes the configuration for the signal and for services that ask for it: one change after
/// another, and one for all who want the file read before that begins.
async fn answer_reloads(cx: Rc<Context>, options: Options, process: Weak<Process>) {
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(first) => Some(first),
            None => cx.reloads.next().await,
        };
        let (Some((change, asked)), Some(process)) = (first, process.upgrade()) else { return };
        let mut asked = vec![asked];
        if matches!(change, Change::File) {
            while let Some((other, waits)) = cx.reloads.next_of_now() {
                if !matches!(other, Change::File) {
                    next = Some((other, waits));
                    break;
                }
                asked.push(waits);
            }
        }
        process.reloading();
        let result = reload::reload(&cx, &options, change).await;
        process.reloaded(&cx);
        asked.into_iter().for_each(|asked| asked.answer(result.clone()));
    }
}

/// Ends all connections, and waits a moment for them. `quick`: the disk, too, has only a moment.
async fn stop(cx: &Rc<Context>, quick: bool) {
    let disk = if quick { limits::QUICK_DISK_TIMEOUT } else { limits::DISK_TIMEOUT };
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
    let written = cx.disk.finish(disk);
    // Whoever waited for that has more to write: lists of what is unfinished.
    sleep(Duration::from_millis(1)).await;
    if !written || !cx.disk.finish(disk) {
        log::warn!("the disk is too slow, {} bytes are not written", cx.disk.queued());
    }
    for finish in SERVICES.iter().filter_map(|service| (service.finish)(cx)) {
        finish.await;
    }
    log::info!("server stops, {} connections were cut", cx.sessions.len());
}
