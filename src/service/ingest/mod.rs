//! Streams that the server fetches, by itself where it can read the source (`plan`), else by a
//! program; always, or while somebody plays them.

#[cfg(feature = "srs-ingest-hls")]
pub mod applet;
mod body;
#[cfg(feature = "hls-keys")]
mod decrypt;
#[path = "decrypt_none.rs"]
#[cfg(not(feature = "hls-keys"))]
mod decrypt;
mod hls;
mod live;
mod plan;
mod rtmp;
mod rtsp;
mod udp;

use super::Service;
use super::admission::{Refusal, tell_closed};
use super::inputs::{Input, Inputs, State};
use super::program::{self, Job, argv};
use crate::config::shown;
use crate::config::{Engine, Ingest, InputType};
use crate::context::Context;
use crate::hub::StreamKey;
use crate::hub::session::{Kick, Session};
use crate::io::log::{next_id, traced};
use crate::io::{clock, run};
use crate::limits::INPUT_RETRY;
use crate::media::Decimal;
use crate::proto::rtmp::url;
use live::{Attempt, HERE, Over};
use plan::{Plan, Source, plan};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

/// Runs the ingests of all vhosts.
pub const SERVICE: Service = Service {
    start: follow,
    reload: |cx, _| follow(cx),
    leave,
    wanted: |cx, key, _, _, hold| wanted(cx, key, hold),
    ..Service::new("ingest")
};

/// A source that ran for so long, in milliseconds, is tried again at once when it ends.
const STEADY_MS: u64 = 30_000;
/// One that published for so long, in milliseconds, and ends for the reason that was told last, is told
/// again.
const NEWS_MS: u64 = 5_000;
/// How often players are counted.
const LOOK: Duration = Duration::from_secs(1);

/// All ingests that run, a part of the context.
#[derive(Debug, Default)]
struct Ingests(RefCell<Vec<Rc<Worker>>>);

/// One engine of one ingest.
#[derive(Debug)]
struct Worker {
    vhost: String,
    ingest: Rc<Ingest>,
    engine: Rc<Engine>,
    plan: Plan,
    /// Where it is published.
    output: String,
    /// That stream, if it is one of ours.
    key: Option<StreamKey>,
    input: Rc<Input>,
    bell: Bell,
    stopped: Cell<bool>,
    /// That of the attempt to read the source.
    session: RefCell<Weak<Session>>,
    /// When somebody wanted the stream last, and when that was looked at.
    wanted: Cell<Option<u64>>,
    looked: Cell<u64>,
    /// The packets of the camera are to come over UDP.
    udp: Cell<bool>,
    /// What was odd about the source.
    odd: RefCell<Vec<String>>,
}

/// Wakes a worker that waits.
#[derive(Debug, Default)]
struct Bell {
    rung: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Bell {
    fn ring(&self) {
        self.rung.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    async fn wait(&self) {
        poll_fn(|task| {
            if self.rung.take() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(task.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Has the ingests be those of the configuration. Those that went or changed end; the others are
/// not touched.
fn follow(cx: &Rc<Context>) {
    let (config, ingests, inputs) = (cx.config(), cx.part::<Ingests>(), cx.part::<Inputs>());
    let mut wanted = Vec::new();
    for vhost in config.vhosts.iter().filter(|vhost| vhost.enabled) {
        for ingest in vhost.ingests.iter().filter(|ingest| ingest.enabled) {
            if ingest.engines.is_empty() {
                log::error!("ingest {}: no engine says where to publish. ret=3034", ingest.id);
            }
            for engine in &ingest.engines {
                let plan = plan(&config, &vhost.name, ingest, engine);
                wanted.push((vhost.name.clone(), ingest.clone(), engine.clone(), plan));
            }
        }
    }
    let mut running = ingests.0.borrow_mut();
    running.retain(|worker| {
        let same = wanted.iter().position(|(vhost, ingest, engine, plan)| {
            (vhost, engine, plan) == (&worker.vhost, &worker.engine, &worker.plan)
                && plan.key(&config) == worker.key
                && same_but_engines(ingest, &worker.ingest)
        });
        match same {
            Some(at) => drop(wanted.swap_remove(at)),
            None => {
                log::info!("{} ends", worker.input.name);
                inputs.leave(&worker.input);
                worker.stop();
            }
        }
        same.is_some()
    });
    for (vhost, ingest, engine, plan) in wanted {
        let url = shown::shown(ingest.input.url.trim());
        let (output, key) = (plan.output().to_owned(), plan.key(&config));
        let name = format!("ingest {} {url}", ingest.id);
        let input = inputs.enter("ingest", name, program::told_url(&config, &output));
        let udp = Cell::new(plan::over_udp(&engine));
        let worker = Rc::new(Worker {
            vhost,
            ingest,
            engine,
            plan,
            output,
            key,
            input,
            bell: Bell::default(),
            stopped: Cell::new(false),
            session: RefCell::default(),
            wanted: Cell::new(None),
            looked: Cell::new(0),
            udp,
            odd: RefCell::default(),
        });
        running.push(worker.clone());
        cx.spawner.spawn(traced(next_id(), work(cx.clone(), worker)));
    }
}

/// The server leaves: those that wait for something notice.
fn leave(cx: &Rc<Context>) {
    let ingests = cx.part::<Ingests>();
    for worker in &*ingests.0.borrow() {
        worker.bell.ring();
    }
}

/// An engine goes on when others of its ingest change.
fn same_but_engines(one: &Ingest, other: &Ingest) -> bool {
    let all = |ingest: &Ingest| Ingest { engines: Vec::new(), ..ingest.clone() };
    all(one) == all(other)
}

/// Somebody plays `key`, or does so for `hold` without being a player.
fn wanted(cx: &Rc<Context>, key: &StreamKey, hold: Duration) {
    let ingests = cx.part::<Ingests>();
    let running = ingests.0.borrow();
    let on_demand = running.iter().filter(|worker| worker.ingest.on_demand);
    for worker in on_demand.filter(|worker| worker.key.as_ref() == Some(key)) {
        worker.want(clock::after(hold));
        worker.bell.ring();
    }
}

impl Worker {
    /// The configuration has it no more.
    fn stop(&self) {
        self.stopped.set(true);
        // What does not publish yet is not known as a stream of the input.
        if let Some(session) = self.session.borrow().upgrade() {
            session.kick(Kick::Input);
        }
        self.bell.ring();
    }

    /// Whether it is to end for good.
    fn is_over(&self, cx: &Context) -> bool {
        self.stopped.get() || cx.sessions.is_leaving()
    }

    /// Says what is odd about the source, unless it is what was odd about it before.
    fn tell(&self, odd: Vec<String>) {
        if *self.odd.borrow() != odd {
            odd.iter().for_each(|what| log::warn!("{what}"));
            *self.odd.borrow_mut() = odd;
        }
    }

    /// Whether nobody has played the stream for the time of `linger`.
    fn is_idle(&self, cx: &Context) -> bool {
        if !self.ingest.on_demand {
            return false;
        }
        let now = clock::now();
        if now >= self.looked.get() {
            self.looked.set(clock::after(LOOK));
            if self.players(cx) > 0 {
                self.want(now);
            }
        }
        let linger = u64::try_from(self.ingest.linger.0.as_millis()).unwrap_or(u64::MAX);
        self.wanted.get().is_none_or(|last| now > last.saturating_add(linger))
    }

    /// Somebody wants the stream until then.
    fn want(&self, until: u64) {
        self.wanted.set(self.wanted.get().max(Some(until)));
    }

    /// Players of the stream in all its forms.
    fn players(&self, cx: &Context) -> usize {
        let Some(key) = &self.key else { return 0 };
        let mut sources = cx.hub.sources();
        sources.retain(|source| {
            let other = source.key();
            (other.vhost(), other.app(), other.stream()) == (key.vhost(), key.app(), key.stream())
        });
        sources.iter().map(|source| source.players()).sum()
    }
}

/// Runs until the configuration has the ingest no more, or the server leaves.
async fn work(cx: Rc<Context>, worker: Rc<Worker>) {
    let name = &worker.input.name;
    if let Plan::Impossible(why) = &worker.plan {
        log::error!("{name} is not run: {why}");
        return worker.input.fail(why);
    }
    let (mut failures, mut told) = (0_u32, String::new());
    while !worker.is_over(&cx) {
        if worker.is_idle(&cx) {
            worker.input.set_state(State::Waiting);
            worker.bell.wait().await;
            continue;
        }
        let (begun, starts) = (clock::now(), worker.input.starts());
        let over = match &worker.plan {
            Plan::Native { source, paced, .. } => {
                let id = next_id();
                traced(id, attempt(&cx, &worker, source, *paced, id)).await
            }
            _ => run_program(&cx, &worker).await,
        };
        if matches!(over, Over::Leaving | Over::Kicked(Kick::Shutdown)) {
            return;
        }
        if worker.is_over(&cx) {
            return;
        }
        if matches!(over, Over::Idle) {
            log::info!("{name} ends, nobody plays it");
            continue;
        }
        worker.input.fail(&over);
        if matches!(over, Over::Other(_)) {
            continue;
        }
        worker.input.set_state(State::Retrying);
        let lasted = clock::now().saturating_sub(begun);
        if lasted > STEADY_MS {
            failures = 0;
        }
        if lasted > NEWS_MS && worker.input.starts() > starts {
            told.clear();
        }
        let outside = matches!(over, Over::Kicked(Kick::Operator | Kick::Takeover));
        let pause = pause(if outside { u32::MAX } else { failures });
        failures = failures.saturating_add(1);
        let what = over.to_string();
        if what == told && failures > 1 {
            log::debug!("{name}: {what}");
        } else {
            log::warn!("{name}: {what}; tried again in {} s", Decimal::new(pause.as_secs_f64(), 1));
            told = what;
        }
        let until = clock::after(pause);
        while !worker.is_over(&cx) && clock::now() < until {
            let left = Duration::from_millis(until.saturating_sub(clock::now()));
            run::first(run::sleep(left), worker.bell.wait()).await;
        }
    }
}

/// Longer each time, and not the same for all.
fn pause(failures: u32) -> Duration {
    let pause = run::growing(INPUT_RETRY, failures);
    let quarter = u64::try_from(pause.as_millis() / 4).unwrap_or_default();
    pause + Duration::from_millis(fastrand::u64(..=quarter))
}

/// Reads the source until it ends, or nobody wants it.
async fn attempt(cx: &Rc<Context>, worker: &Worker, source: &Source, paced: bool, id: u32) -> Over {
    if cx.sessions.len() >= cx.max_clients() {
        return Over::Refused(Refusal::new(1021, "exceed the max connections"));
    }
    let _place = match cx.part::<Inputs>().place() {
        Ok(place) => place,
        Err(refusal) => return Over::Refused(refusal),
    };
    let session = cx.sessions.enter(id, HERE);
    *worker.session.borrow_mut() = Rc::downgrade(&session);
    let attempt = Attempt { cx, worker, session: session.clone(), again: true };
    let attempt = &attempt;
    let result: Result<(), Over> = match source {
        Source::File(path, format) => Box::pin(body::file(attempt, path, *format)).await,
        Source::Http(url, format) => Box::pin(body::http(attempt, url, *format, paced)).await,
        Source::Hls(url) => Box::pin(hls::pull(attempt, url)).await,
        Source::Rtmp { host, port, secure, tc_url, app, stream } => {
            let (port, secure) = (*port, *secure);
            let asked = rtmp::Asked { host, port, secure, tc_url, app, stream };
            Box::pin(rtmp::pull(attempt, &asked)).await
        }
        Source::Udp { address, port, interface } => {
            Box::pin(udp::pull(attempt, *address, *port, interface)).await
        }
        Source::Rtsp(url) => Box::pin(rtsp::pull(attempt, url)).await,
    };
    tell_closed(cx, &session);
    result.err().unwrap_or(Over::Ended)
}

/// Has a program publish the stream, until the configuration does not want that any more, the
/// server leaves or, on demand, nobody plays it.
async fn run_program(cx: &Rc<Context>, worker: &Rc<Worker>) -> Over {
    let guard = match job(cx, worker) {
        Ok(job) => program::start(cx, job, worker.input.clone()),
        Err(why) => return Over::Failed(why),
    };
    while !worker.is_over(cx) && !worker.is_idle(cx) {
        if worker.ingest.on_demand {
            run::first(run::sleep(LOOK), worker.bell.wait()).await;
        } else {
            worker.bell.wait().await;
        }
    }
    drop(guard);
    Over::Idle
}

fn job(cx: &Context, worker: &Worker) -> Result<Job, String> {
    let Worker { ingest, engine, output, key, .. } = worker;
    let config = cx.config();
    let realtime = ingest.input.kind == InputType::File;
    let input = argv::Input { url: ingest.input.url.trim(), realtime, format: false };
    let encodes = engine.enabled && !engine.vcodec.is_empty() && !engine.acodec.is_empty();
    let args = if encodes {
        argv::encode(engine, input, output)?
    } else {
        argv::copy(engine, input, output)
    };
    // Elsewhere it has names, too, if it is RTMP.
    let address = output.rsplit_once('/').and_then(|(at, name)| url::discovery(at, name).ok());
    let (app, stream) = match (key, &address) {
        (Some(key), _) => (key.app(), key.stream()),
        (None, Some(address)) => (address.app.as_str(), address.stream.as_str()),
        (None, None) => ("", ingest.id.as_str()),
    };
    let named = StreamKey::new(&worker.vhost, app, stream);
    Ok(Job {
        name: format!("ingest {}", ingest.id),
        program: ingest.ffmpeg.clone(),
        args,
        log: program::log_file(&config, "ingest", &named, ""),
        output: key.clone(),
        told: worker.input.output.clone(),
        // A stream that is fetched may be transcoded.
        derives: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let (first, most) = INPUT_RETRY;
        assert!((first..=first * 5 / 4).contains(&pause(0)));
        assert!((first * 8..=first * 10).contains(&pause(3)));
        assert!((most..=most * 5 / 4).contains(&pause(u32::MAX)));
        assert!((0..100).any(|_| pause(5) != pause(5)));
    }

    #[test]
    fn a_bell_that_rang_before_is_heard() {
        run::run(|_| async {
            let bell = Bell::default();
            bell.ring();
            bell.wait().await;
            assert!(run::within(Duration::from_millis(5), bell.wait()).await.is_none());
        })
        .unwrap();
    }
}
