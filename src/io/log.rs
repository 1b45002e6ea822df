//! The log: lines as SRS writes them, to the console, a file or the system's log, by a thread of
//! its own, so that a card or a terminal that stalls holds up nobody. And the connection id that
//! each line carries.
//!
//! `[2026-01-31 18:04:05.678][trace][4711][104] message`; with a warning or an error a field more,
//! the system's error number that the message names, or 0:
//! `[2026-01-31 18:04:05.678][warn][4711][104][32] write: Broken pipe (os error 32)`.

use std::{
    cell::Cell,
    fmt::{self, Write as _},
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Write},
    mem,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    pin::Pin,
    process,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

use super::syslog::Syslog;
use super::zone::{Civil, Zone};
use crate::limits;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tank {
    /// Standard error; warnings in yellow and errors in red when it is a terminal.
    Console,
    /// Appended to a file, which is created with mode 0664 at the first line. At so many bytes (0:
    /// never) it becomes `FILE.1`.
    File(PathBuf, u64),
    /// The system's log, by its socket.
    Syslog(PathBuf),
}

/// What the configuration says of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The lowest level that is written, see [`level`].
    pub level: LevelFilter,
    /// Console or file.
    pub tank: Tank,
    /// Time in UTC, else the local one.
    pub utc: bool,
}

/// What `srs_log_level` says. An unknown word switches the log off, as it always did.
pub fn level(word: &str) -> LevelFilter {
    match word {
        "verbose" => LevelFilter::Trace,
        "info" => LevelFilter::Debug,
        "trace" => LevelFilter::Info,
        "warn" => LevelFilter::Warn,
        "error" => LevelFilter::Error,
        _ => LevelFilter::Off,
    }
}

/// Makes this the logger of the process, before the configuration is read: lines go to standard
/// error in `simple_logger`'s words. A second call does nothing.
pub fn init() {
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Applies the configuration, at start and at each reload. The first call starts the thread that
/// writes (so: after the process has become a daemon); its error says that there is no thread.
pub fn configure(settings: &Settings) -> io::Result<()> {
    match LOGGER.queue.get() {
        Some(queue) => queue.configure(settings),
        None => {
            // Nobody else calls this: the server has one thread that configures.
            let _ = LOGGER.queue.set(Queue::start(settings)?);
        }
    }
    log::set_max_level(settings.level);
    Ok(())
}

/// Ends what a start may do: from now on a line for which there is no room is dropped at once.
pub fn started() {
    if let Some(queue) = LOGGER.queue.get() {
        queue.state().patience = Duration::ZERO;
    }
}

/// Opens the log file anew before the next line, for logrotate (USR1).
pub fn reopen() {
    if let Some(queue) = LOGGER.queue.get() {
        queue.reopen();
    }
}

/// Waits until all lines are written, `timeout` at most. Whether they are.
pub fn flush(timeout: Duration) -> bool {
    LOGGER.queue.get().is_none_or(|queue| queue.flush(timeout))
}

/// The id of the connection that this thread works for at the moment; 0 for none.
pub fn id() -> u32 {
    ID.get()
}

/// The id of a new connection, from 100 upward.
pub fn next_id() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(FIRST_ID);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    if id >= FIRST_ID {
        return id;
    }
    // After 4 billion connections.
    NEXT.store(FIRST_ID + 1, Ordering::Relaxed);
    FIRST_ID
}

/// `future` with [`id`] set to `id` whenever it runs. Allocates once.
pub fn traced<'f, T>(id: u32, future: impl Future<Output = T> + 'f) -> Traced<'f, T> {
    Traced { id, future: Box::pin(future) }
}

/// See [`traced`].
pub struct Traced<'f, T> {
    id: u32,
    /// By its trait: one wrapper in the image, whatever runs in it.
    future: Pin<Box<dyn Future<Output = T> + 'f>>,
}

impl<T> Future for Traced<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let _before = Restore(ID.replace(self.id));
        self.future.as_mut().poll(context)
    }
}

impl<T> fmt::Debug for Traced<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Traced({})", self.id)
    }
}

thread_local! {
    static ID: Cell<u32> = const { Cell::new(0) };
}

/// Sets the id back, also when a future panics.
struct Restore(u32);

impl Drop for Restore {
    fn drop(&mut self) {
        ID.set(self.0);
    }
}

static LOGGER: Logger = Logger { early: OnceLock::new(), queue: OnceLock::new() };

struct Logger {
    early: OnceLock<SimpleLogger>,
    queue: OnceLock<Arc<Queue>>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // The crates below log each system call at the levels that ours are debugged with.
        let ours = metadata.target().starts_with(env!("CARGO_CRATE_NAME"));
        metadata.level() <= log::max_level() && (ours || metadata.level() <= Level::Warn)
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        match self.queue.get() {
            Some(queue) => queue.log(record.level(), *record.args()),
            None => self.early.get_or_init(SimpleLogger::new).log(record),
        }
    }

    fn flush(&self) {
        flush(FLUSH);
    }
}

/// Lines on their way to the thread that writes them.
struct Queue {
    state: Mutex<State>,
    /// There is something to do.
    work: Condvar,
    /// All is done.
    idle: Condvar,
}

struct State {
    /// Whole lines, [`QUEUE`] bytes at most.
    lines: Vec<u8>,
    /// Lines for which there was no room.
    dropped: u32,
    /// How long lines may still wait for room, all together; nothing once clients are served.
    patience: Duration,
    tank: Tank,
    /// The tank changed, or its file was moved away.
    reopen: bool,
    writing: bool,
    style: Style,
}

/// How a line looks.
struct Style {
    /// Local time, else UTC.
    zone: Option<Zone>,
    colour: bool,
}

impl Queue {
    fn start(settings: &Settings) -> io::Result<Arc<Self>> {
        let state = State {
            lines: Vec::with_capacity(QUEUE),
            dropped: 0,
            patience: limits::LOG_START,
            tank: settings.tank.clone(),
            reopen: false,
            writing: false,
            style: Style::new(settings),
        };
        let (work, idle) = (Condvar::new(), Condvar::new());
        let queue = Arc::new(Self { state: Mutex::new(state), work, idle });
        let shared = Arc::clone(&queue);
        thread::Builder::new().name("log".into()).stack_size(STACK).spawn(move || shared.run())?;
        Ok(queue)
    }

    fn configure(&self, settings: &Settings) {
        let style = Style::new(settings);
        let mut state = self.state();
        state.style = style;
        state.reopen |= state.tank != settings.tank;
        state.tank = settings.tank.clone();
        drop(state);
        self.work.notify_one();
    }

    fn reopen(&self) {
        // A board that travels may have a new /etc/localtime.
        let zone = Zone::local();
        let mut state = self.state();
        state.style.zone = state.style.zone.is_some().then_some(zone);
        state.reopen = true;
        drop(state);
        self.work.notify_one();
    }

    fn log(&self, level: Level, message: fmt::Arguments) {
        // Before the lock: what is printed may be slow, or log something itself.
        let mut text = Text(String::new());
        // The error is "no more room".
        let _ = text.write_fmt(message);
        let mut state = self.state();
        let line = state.style.line(level, &text.0, SystemTime::now());
        while !state.has_room(&line) && !state.patience.is_zero() {
            let (start, patience) = (Instant::now(), state.patience);
            let waited = self.idle.wait_timeout(state, patience);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.patience = state.patience.saturating_sub(start.elapsed());
        }
        state.push(&line);
        drop(state);
        self.work.notify_one();
    }

    fn flush(&self, timeout: Duration) -> bool {
        let start = Instant::now();
        let mut state = self.state();
        while state.writing || state.due() {
            let Some(left) = timeout.checked_sub(start.elapsed()) else { return false };
            let waited = self.idle.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Writes lines for ever.
    fn run(&self) {
        let mut output = Output::new(self.state().tank.clone());
        let mut lines = Vec::with_capacity(QUEUE + limits::LOG_LINE);
        let mut lost = 0_u32;
        let mut state = self.state();
        loop {
            while !state.due() {
                self.idle.notify_all();
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            // Before the lines: after USR1 nothing may be written to the file moved away.
            if mem::take(&mut state.reopen) {
                output = Output::new(state.tank.clone());
            }
            lost = lost.saturating_add(mem::take(&mut state.dropped));
            lines.clear();
            mem::swap(&mut lines, &mut state.lines);
            let count = lines.iter().filter(|&&byte| byte == b'\n').count() as u32;
            if lost > 0 && count > 0 {
                let text = format!("{lost} log lines lost, the log could not be written so fast");
                let line = state.style.line(Level::Warn, &text, SystemTime::now());
                lines.extend_from_slice(line.as_bytes());
            }
            state.writing = true;
            drop(state);
            if count > 0 {
                lost = match output.write(&lines) {
                    0 => 0,
                    some => lost.saturating_add(some.min(count)),
                };
            }
            state = self.state();
            state.writing = false;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self, line: &str) -> bool {
        self.lines.len() + line.len() <= QUEUE
    }

    fn push(&mut self, line: &str) {
        if self.has_room(line) {
            self.lines.extend_from_slice(line.as_bytes());
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// There is something to do.
    fn due(&self) -> bool {
        self.reopen || !self.lines.is_empty()
    }
}

impl Style {
    fn new(settings: &Settings) -> Self {
        let colour = settings.tank == Tank::Console && io::stderr().is_terminal();
        Self { zone: (!settings.utc).then(Zone::local), colour }
    }

    /// A whole line of [`limits::LOG_LINE`] bytes at most.
    fn line(&self, level: Level, text: &str, now: SystemTime) -> String {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix = i64::try_from(since.as_secs()).unwrap_or_default();
        let offset = self.zone.as_ref().map_or(0, |zone| zone.offset(unix));
        let Civil { year, month, day, hour, minute, second } = Civil::at(unix + i64::from(offset));
        let (colour, reset) = match level {
            Level::Error if self.colour => ("\x1b[31m", "\x1b[0m"),
            Level::Warn if self.colour => ("\x1b[33m", "\x1b[0m"),
            _ => ("", ""),
        };
        let (millis, name, pid) = (since.subsec_millis(), name(level), process::id());
        let mut line = format!(
            "{colour}[{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03}]\
             [{name}][{pid}][{}]",
            id()
        );
        if level <= Level::Warn {
            // A String takes what is written.
            let _ = write!(line, "[{}]", error_number(text));
        }
        line.push(' ');
        let mut room = limits::LOG_LINE.saturating_sub(line.len() + reset.len() + 1);
        if room < text.len() {
            while !text.is_char_boundary(room) {
                room -= 1;
            }
        }
        line.push_str(text.get(..room).unwrap_or(text));
        line.push_str(reset);
        line.push('\n');
        line
    }
}

/// What `line`s state as their level, since the first version of SRS.
const fn name(level: Level) -> &'static str {
    match level {
        Level::Trace => "verb",
        Level::Debug => "debug",
        Level::Info => "trace",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

/// The last number that the text of an [`io::Error`] states.
fn error_number(text: &str) -> u32 {
    let number = text.rsplit_once("(os error ").and_then(|(_, rest)| rest.split_once(')'));
    number.and_then(|(number, _)| number.parse().ok()).unwrap_or(0)
}

/// A message as it may stand in a line: control characters are blanks, and no longer than one.
struct Text(String);

impl fmt::Write for Text {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        for c in piece.chars() {
            if self.0.len() + c.len_utf8() > limits::LOG_LINE {
                return Err(fmt::Error);
            }
            self.0.push(if c.is_control() { ' ' } else { c });
        }
        Ok(())
    }
}

/// The tank as the thread has it.
struct Output {
    tank: Tank,
    /// Open from the first line on.
    file: Option<File>,
    /// Its bytes.
    len: u64,
    syslog: Option<Syslog>,
    /// The last write failed.
    failed: bool,
}

impl Output {
    fn new(tank: Tank) -> Self {
        let syslog = match &tank {
            Tank::Syslog(path) => Some(Syslog::new(path)),
            _ => None,
        };
        Self { tank, file: None, len: 0, syslog, failed: false }
    }

    /// How many of `lines` were not written. The first failure of several is told on standard
    /// error.
    fn write(&mut self, lines: &[u8]) -> u32 {
        let (lost, why) = match (&self.tank, &mut self.syslog) {
            (Tank::File(..), _) => match self.write_file(lines) {
                Ok(()) => (0, None),
                Err(e) => (u32::MAX, Some(e)),
            },
            (Tank::Syslog(_), Some(syslog)) => syslog.write(lines),
            _ => (if io::stderr().write_all(lines).is_ok() { 0 } else { u32::MAX }, None),
        };
        if let (Tank::File(path, _) | Tank::Syslog(path), Some(error), false) =
            (&self.tank, &why, self.failed)
        {
            let _ = writeln!(io::stderr(), "log {}: {error}", path.display());
        }
        self.failed = lost > 0;
        lost
    }

    fn write_file(&mut self, lines: &[u8]) -> io::Result<()> {
        let Tank::File(path, most) = &self.tank else { return Ok(()) };
        let more = lines.len() as u64;
        if self.file.is_none() {
            let file = OpenOptions::new().append(true).create(true).mode(0o664).open(path)?;
            self.len = file.metadata().map_or(0, |of| of.len());
            self.file = Some(file);
        }
        if *most > 0 && self.len > 0 && self.len.saturating_add(more) > *most {
            self.file = None;
            let mut old = path.clone().into_os_string();
            old.push(".1");
            // Where it cannot have another name it begins anew.
            let kept = fs::rename(path, old).is_ok();
            let file = OpenOptions::new().append(true).create(true).mode(0o664).open(path)?;
            if !kept {
                file.set_len(0)?;
            }
            self.len = 0;
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = file.write_all(lines);
        self.len = self.len.saturating_add(more);
        if written.is_err() {
            self.file = None;
        }
        written
    }
}

/// Half of the bound: while one half is written the other one fills.
const QUEUE: usize = limits::LOG_QUEUE / 2;
/// Of the thread that writes; it needs less than 8 KB.
const STACK: usize = 64 * 1024;
const FLUSH: Duration = Duration::from_secs(1);
const FIRST_ID: u32 = 100;

#[cfg(test)]
mod tests;
