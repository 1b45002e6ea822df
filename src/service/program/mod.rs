//! Programs that run for a stream or for an ingest: started, watched, started again, ended.

mod address;
pub mod argv;
mod places;
mod published;

pub use address::{address, log_file, own_stream, port, replace, told, told_url};
pub use published::{follow_listen, while_published};

use crate::context::Context;
use crate::hub::StreamKey;
use crate::io::child::{self, Child, Command, Outcome};
use crate::io::clock;
use crate::io::log::{id, next_id, traced};
use crate::io::printed::{Log, Output};
use crate::io::run::{self, Once};
use crate::limits::{CHILD_LAST_GRACE, CHILD_RETRY, CHILDREN};
use crate::service::Service;
use crate::service::inputs::{Input, State};
use places::{Place, Places};
use published::Held;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Counts what programs publish here, and ends what is left when the server ends.
pub const SERVICE: Service = Service {
    attach: |cx, key, _| published::count(cx, key),
    reload: |cx, _| cx.part::<Programs>().places.look(),
    stop: || child::end_all(CHILD_LAST_GRACE),
    ..Service::new("process")
};

/// What is to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it is, for the log: `encoder ff`, `ingest cam`.
    pub name: String,
    /// The program.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Where what it prints goes; `None` for nowhere.
    pub log: Option<PathBuf>,
    /// The stream of ours that it publishes.
    pub output: Option<StreamKey>,
    /// Where it publishes, without what is secret; empty when that is not known.
    pub told: String,
    /// What it publishes is made of another stream of this server.
    pub derives: bool,
}

/// For what an ended program printed last.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A job that is done until this is dropped.
pub struct Guard(Option<Once>);

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(stop) = self.0.take() {
            stop.set();
        }
    }
}

/// Programs of the process: a part of the context.
#[derive(Debug, Default)]
struct Programs {
    places: Rc<Places>,
    made: RefCell<Vec<Made>>,
    /// What a reload took from a stream a moment ago, and perhaps gives back.
    taken: RefCell<Vec<Held>>,
}

/// A stream that a program publishes, or is about to.
#[derive(Debug)]
struct Made {
    key: StreamKey,
    derives: bool,
    input: Rc<Input>,
}

/// Does `job` until the guard is dropped. How it is doing is told to `input`.
pub fn start(cx: &Rc<Context>, job: Job, input: Rc<Input>) -> Guard {
    let (stop, stopped) = run::once();
    let programs = cx.part::<Programs>();
    if let Some(key) = job.output.clone() {
        let made = Made { key, derives: job.derives, input: input.clone() };
        programs.made.borrow_mut().push(made);
    }
    let context = cx.clone();
    cx.spawner.spawn(traced(next_id(), async move {
        supervise(&context, &job, &input, stopped).await;
        let mut made = programs.made.borrow_mut();
        if let Some(at) = made.iter().position(|made| Rc::ptr_eq(&made.input, &input)) {
            made.remove(at);
        }
    }));
    Guard(Some(stop))
}

/// Whether a program of ours makes `key` of another stream: what is made of it would come around
/// again.
pub fn is_output(cx: &Context, key: &StreamKey) -> bool {
    cx.part::<Programs>().made.borrow().iter().any(|made| made.derives && made.key == *key)
}

async fn supervise(cx: &Rc<Context>, job: &Job, input: &Input, stopped: impl Future<Output = ()>) {
    let mut stopped = pin!(stopped);
    let (mut failures, mut told) = (0_u32, String::new());
    loop {
        let Some(place) = run::unless(stopped.as_mut(), place(cx, job, input)).await else {
            return;
        };
        let begun = clock::now();
        let config = cx.config();
        let log = job.log.as_deref();
        let command = Command {
            program: job.program.clone(),
            args: with_level(&config.ff_log_level, &job.args),
            nice: config.ff_nice,
            printed: log.is_some(),
        };
        let params = told_params(cx, &command);
        let what = match begin(job, &command, &params) {
            Err(what) => what,
            Ok((mut child, output)) => {
                input.count_start();
                input.set_state(State::Running);
                told.clear();
                let is_kept = Cell::new(false);
                let mut kept = pin!(async {
                    keep(cx, output, log, &params).await;
                    is_kept.set(true);
                    std::future::pending::<()>().await;
                });
                let ended = {
                    let printing = async {
                        kept.as_mut().await;
                        None
                    };
                    let running = run::first(printing, async { Some(child.ended().await) });
                    run::unless(stopped.as_mut(), running).await
                };
                let Some(ended) = ended else {
                    let pid = child.id();
                    let printing = async {
                        kept.as_mut().await;
                    };
                    run::first(printing, async { drop(child.stop().await) }).await;
                    last_words(kept, &is_kept).await;
                    log::info!("{} ends, pid={pid}", job.name);
                    return;
                };
                // They say why.
                last_words(kept, &is_kept).await;
                match ended {
                    Some(Ok(status)) => format!("{} ended with {}", job.name, Outcome(status)),
                    Some(Err(e)) => format!("{} is lost: {e}", job.name),
                    None => return,
                }
            }
        };
        drop(place);
        if clock::now().saturating_sub(begun) > milliseconds(CHILD_RETRY.1) {
            failures = 0;
        }
        let pause = run::growing(CHILD_RETRY, failures);
        let pause = pause + Duration::from_millis(fastrand::u64(..=milliseconds(pause) / 5));
        failures = failures.saturating_add(1);
        input.set_state(State::Retrying);
        input.fail(&what);
        if what == told {
            log::debug!("{what}");
        } else {
            log::warn!("{what}; tried again in {} s, later more rarely", pause.as_secs());
            told = what;
        }
        if run::unless(stopped.as_mut(), run::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// One of the places for programs. To wait for it is no failure.
async fn place(cx: &Rc<Context>, job: &Job, input: &Input) -> Place {
    let most = || usize::try_from(cx.config().ff_max).unwrap_or(usize::MAX).min(CHILDREN);
    let places = cx.part::<Programs>().places.clone();
    if let Some(place) = places.free(most()) {
        return place;
    }
    let what = format!("{} waits: {} programs run already (ff_max)", job.name, most());
    log::warn!("{what}");
    input.set_state(State::Waiting);
    input.fail(&what);
    places.wait(most).await
}

/// ffmpeg is told its level only when it is not its own.
fn with_level(level: &str, args: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    // Programs that are not ffmpeg do not begin with an option of it.
    let is_ffmpeg = args.iter().any(|arg| arg == "-i");
    if is_ffmpeg && !matches!(level, "" | "info") {
        all.extend(["-loglevel".to_owned(), level.to_owned()]);
    }
    all.extend_from_slice(args);
    all
}

fn told_params(cx: &Context, command: &Command) -> String {
    told(&cx.config(), &command.program, &command.args)
}

fn begin(job: &Job, command: &Command, params: &str) -> Result<(Child, Option<Output>), String> {
    let path = &command.program;
    command.check().map_err(|e| format!("{} cannot run {path}: {e}. ret=3022", job.name))?;
    let none = PathBuf::from("/dev/null");
    let log = job.log.as_ref().unwrap_or(&none).display();
    log::info!("start ffmpeg, log: {log}, params: {params}");
    let (child, output) =
        command.spawn().map_err(|e| format!("{} cannot run {path}: {e}. ret=3006", job.name))?;
    log::info!("fork {}, pid={}", job.name, child.id());
    Ok((child, output))
}

/// Polls `kept` until what an ended program printed is kept.
async fn last_words(mut kept: Pin<&mut impl Future<Output = ()>>, is_kept: &Cell<bool>) {
    let all = poll_fn(|task| {
        let _ = kept.as_mut().poll(task);
        if is_kept.get() { Poll::Ready(()) } else { Poll::Pending }
    });
    run::within(LAST_WORDS, all).await;
}

async fn keep(cx: &Context, output: Option<Output>, log: Option<&Path>, params: &str) {
    let (Some(output), Some(path)) = (output, log) else { return };
    let mut log = Log::open(&cx.disk, path).await;
    let head = format!("\nffmpeg cid={}\nlog={}\nparams: {params}\n", id(), path.display());
    log.write(head.as_bytes());
    output.keep(log).await;
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
