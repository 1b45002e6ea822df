//! Programs that run for a stream or for an ingest: started, watched, started again, ended.

pub mod argv;

use crate::config::Config;
use crate::context::Context;
use crate::hub::{Sink, SinkError, StreamKey};
use crate::io::child::{self, Child, Command, Log, Output};
use crate::io::clock;
use crate::io::log::{id, next_id, traced};
use crate::io::run::{self, Once};
use crate::limits::{CHILD_LAST_GRACE, CHILD_RETRY, CHILDREN};
use crate::media::Packet;
use crate::proto::rtmp::url;
use crate::service::Service;
use crate::service::path::{safe, safe_path};
use core::net::IpAddr;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// Ends what is left when the server ends.
pub const SERVICE: Service =
    Service { stop: || child::end_all(CHILD_LAST_GRACE), ..Service::new("process") };

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
}

/// What happens to a job.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// The program runs.
    Started,
    /// It does not, and is started again after a pause.
    Failed(&'a str),
}

/// Who hears of it.
pub type Hear = Box<dyn Fn(Change<'_>)>;

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
    running: Cell<usize>,
    outputs: RefCell<Vec<StreamKey>>,
    /// What a reload took from a stream a moment ago, and perhaps gives back.
    taken: RefCell<Vec<(&'static str, StreamKey, Held)>>,
}

/// What the configuration says of a job, and its guard.
type Held = (Vec<String>, Guard);

/// Does `job` until the guard is dropped.
pub fn start(cx: &Rc<Context>, job: Job, hear: Hear) -> Guard {
    let (stop, stopped) = run::once();
    let programs = cx.part::<Programs>();
    programs.outputs.borrow_mut().extend(job.output.clone());
    let context = cx.clone();
    cx.spawner.spawn(traced(next_id(), async move {
        supervise(&context, &job, stopped, &hear).await;
        let mut outputs = programs.outputs.borrow_mut();
        if let Some(at) = job.output.and_then(|key| outputs.iter().position(|o| *o == key)) {
            outputs.swap_remove(at);
        }
    }));
    Guard(Some(stop))
}

/// Whether a program of ours publishes `key`: what is made of it would come around again.
pub fn is_output(cx: &Context, key: &StreamKey) -> bool {
    cx.part::<Programs>().outputs.borrow().contains(key)
}

/// The stream of this server that `address` names, an address of RTMP; `None` for others.
pub fn own_stream(config: &Config, address: &str) -> Option<StreamKey> {
    let (tc_url, stream) = address.rsplit_once('/')?;
    let address = url::discovery(tc_url, stream).ok()?;
    let host = address.host.parse::<IpAddr>().ok();
    let local =
        address.host == "localhost" || host.is_some_and(|ip| ip.to_canonical().is_loopback());
    let ours = config.listen.iter().any(|endpoint| {
        let here = match endpoint.ip {
            None => local,
            Some(ip) if ip.is_unspecified() => local,
            Some(ip) => host.map_or(ip.is_loopback(), |host| host == ip),
        };
        endpoint.port == address.port && here
    });
    let vhost = config.vhost(&address.vhost).filter(|_| ours)?;
    Some(StreamKey::new(&vhost.name, &address.app, &address.stream))
}

/// The address of `key` for programs on this machine.
pub fn address(config: &Config, key: &StreamKey) -> String {
    let (host, port) = (local_host(config), port(config));
    format!("rtmp://{host}:{port}/{}?vhost={}/{}", key.app(), key.vhost(), key.stream())
}

/// The port that programs of ours turn to.
pub fn port(config: &Config) -> u16 {
    config.listen.first().map_or(1935, |endpoint| endpoint.port)
}

fn local_host(config: &Config) -> String {
    match config.listen.first().and_then(|endpoint| endpoint.ip) {
        Some(IpAddr::V4(ip)) if !ip.is_unspecified() => ip.to_string(),
        Some(IpAddr::V6(ip)) if !ip.is_unspecified() => format!("[{ip}]"),
        _ => "127.0.0.1".into(),
    }
}

/// `text` with each of `variables` replaced, in one go: what stands in for one is not looked at
/// for others.
pub fn replace(text: &str, variables: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let found = variables.iter().find(|(name, _)| rest.starts_with(name));
        let len = match found {
            Some((name, value)) => {
                out.push_str(value);
                name.len()
            }
            None => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = rest.get(len..).unwrap_or_default();
    }
    out
}

/// The log of a program of `kind` for `key`; `None` when none is to be kept.
pub fn log_file(config: &Config, kind: &str, key: &StreamKey, engine: &str) -> Option<PathBuf> {
    let dir = config.ff_log_dir.as_str();
    if dir == "/dev/null" {
        return None;
    }
    let app = safe_path(key.app()).replace('/', "-");
    let mut name = format!("ffmpeg-{kind}-{}-{app}-{}", safe(key.vhost()), safe(key.stream()));
    if !engine.is_empty() {
        name.push('-');
        name.push_str(&safe(engine));
    }
    Some(Path::new(dir).join(format!("{name}.log")))
}

/// A sink that does `jobs` of `service` while `key` is published. With each stands what the
/// configuration says of it: those of which it says the same after a reload go on.
pub fn while_published(
    cx: &Rc<Context>,
    service: &'static str,
    key: &StreamKey,
    jobs: Vec<(Vec<String>, Job)>,
) -> Box<dyn Sink> {
    let programs = cx.part::<Programs>();
    let jobs = jobs.into_iter().map(|(says, job)| {
        let mut taken = programs.taken.borrow_mut();
        let kept = taken
            .iter()
            .position(|(of, stream, (said, _))| (*of, stream, said) == (service, key, &says));
        match kept {
            Some(at) => taken.swap_remove(at).2,
            None => {
                drop(taken);
                (says, start(cx, job, Box::new(|_| {})))
            }
        }
    });
    Box::new(WhilePublished { cx: cx.clone(), service, key: key.clone(), jobs: jobs.collect() })
}

struct WhilePublished {
    cx: Rc<Context>,
    service: &'static str,
    key: StreamKey,
    jobs: Vec<Held>,
}

impl Sink for WhilePublished {
    fn service(&self) -> &'static str {
        self.service
    }

    fn on_packet(&mut self, _: &Packet) -> Result<(), SinkError> {
        Ok(())
    }

    fn on_unpublish(&mut self) {
        self.jobs.clear();
    }

    fn on_detach(&mut self) {
        let programs = self.cx.part::<Programs>();
        let jobs = self.jobs.drain(..).map(|held| (self.service, self.key.clone(), held));
        programs.taken.borrow_mut().extend(jobs);
        // Who wants one of them has it by then.
        self.cx.spawner.spawn(async move {
            let rest = programs.taken.take();
            drop(rest);
        });
    }
}

async fn supervise(cx: &Rc<Context>, job: &Job, stopped: impl Future<Output = ()>, hear: &Hear) {
    let mut stopped = pin!(stopped);
    let (mut failures, mut told) = (0_u32, String::new());
    loop {
        let begun = clock::now();
        let config = cx.config();
        let log = job.log.as_deref();
        let command = Command {
            program: job.program.clone(),
            args: with_level(&config.ff_log_level, &job.args),
            nice: config.ff_nice,
            printed: log.is_some(),
        };
        let what = match begin(cx, job, &command) {
            Err(what) => what,
            Ok((mut child, output, place)) => {
                hear(Change::Started);
                told.clear();
                let kept = keep(cx, output, log, &command);
                let mut kept = pin!(async {
                    kept.await;
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
                    log::info!("{} ends, pid={pid}", job.name);
                    return;
                };
                // Its last words say why.
                run::within(LAST_WORDS, kept.as_mut()).await;
                drop(place);
                match ended {
                    Some(Ok(status)) => format!("{} ended with {status}", job.name),
                    Some(Err(e)) => format!("{} is lost: {e}", job.name),
                    None => return,
                }
            }
        };
        if clock::now().saturating_sub(begun) > milliseconds(CHILD_RETRY.1) {
            failures = 0;
        }
        let pause = run::growing(CHILD_RETRY, failures);
        let pause = pause + Duration::from_millis(fastrand::u64(..=milliseconds(pause) / 5));
        failures = failures.saturating_add(1);
        hear(Change::Failed(&what));
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

/// One of [`CHILDREN`].
struct Place(Rc<Programs>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get().saturating_sub(1));
    }
}

fn begin(
    cx: &Context,
    job: &Job,
    command: &Command,
) -> Result<(Child, Option<Output>, Place), String> {
    let programs = cx.part::<Programs>();
    let most = usize::try_from(cx.config().ff_max).unwrap_or(usize::MAX).min(CHILDREN);
    let running = programs.running.get();
    if running >= most {
        return Err(format!("{} waits: {most} programs run already (ff_max)", job.name));
    }
    let path = &command.program;
    command.check().map_err(|e| format!("{} cannot run {path}: {e}. ret=3022", job.name))?;
    let none = PathBuf::from("/dev/null");
    let log = job.log.as_ref().unwrap_or(&none).display();
    log::info!("start ffmpeg, log: {log}, params: {path} {}", command.args.join(" "));
    let (child, output) =
        command.spawn().map_err(|e| format!("{} cannot run {path}: {e}. ret=3006", job.name))?;
    programs.running.set(running + 1);
    log::info!("fork {}, pid={}", job.name, child.id());
    Ok((child, output, Place(programs)))
}

async fn keep(cx: &Context, output: Option<Output>, log: Option<&Path>, command: &Command) {
    let (Some(output), Some(path)) = (output, log) else { return };
    let mut log = Log::open(&cx.disk, path);
    let (path, params) = (path.display(), command.args.join(" "));
    let head = format!("\nffmpeg cid={}\nlog={path}\nparams: {} {params}\n", id(), command.program);
    log.write(head.as_bytes());
    output.keep(log).await;
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn outputs_of_this_server_are_known() {
        let text = b"listen 19350 [::1]:1936; vhost __defaultVhost__ {} vhost a {}";
        let config = config::load(text).unwrap().config;
        for (address, want) in [
            ("rtmp://127.0.0.1:19350/live/s", Some("/live/s")),
            ("rtmp://localhost:19350/live?vhost=a/s", Some("a/live/s")),
            ("rtmp://localhost:19350/live/s?vhost=a&x=1", Some("a/live/s")),
            ("rtmp://[::1]:1936/live/s", Some("/live/s")),
            ("rtmp://127.0.0.1:1936/live/s", None),
            ("rtmp://127.0.0.1/live/s", None),
            ("rtmp://192.0.2.1:19350/live/s", None),
            ("./a.flv", None),
            ("", None),
        ] {
            let key = own_stream(&config, address).map(|key| key.to_string());
            assert_eq!(key.as_deref(), want, "{address}");
        }
        let key = StreamKey::new("a", "live", "s");
        assert_eq!(address(&config, &key), "rtmp://127.0.0.1:19350/live?vhost=a/s");
        assert_eq!(own_stream(&config, &address(&config, &key)), Some(key));
    }

    #[test]
    fn logs_are_called_as_in_the_original_and_stay_in_their_directory() {
        let of = |dir: &str| {
            let text = format!("listen 1; ff_log_dir {dir};");
            config::load(text.as_bytes()).unwrap().config
        };
        let key = StreamKey::new("v", "live/sub", "../s");
        let log = log_file(&of("./objs"), "encoder", &key, "ff");
        assert_eq!(log, Some("./objs/ffmpeg-encoder-v-live-sub-..%2Fs-ff.log".into()));
        let log = log_file(&of("/log"), "ingest", &StreamKey::new("v", "a", "s"), "");
        assert_eq!(log, Some("/log/ffmpeg-ingest-v-a-s.log".into()));
        assert_eq!(log_file(&of("/dev/null"), "encoder", &key, "ff"), None);
    }
}
