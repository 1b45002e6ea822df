//! The two ways a stream comes in, and what each of them takes.

use crate::machine::{Result, Running, Server, anonymous_kb};
use crate::process::{cpu_seconds, rss_kb};
use crate::sources::{PICTURES_A_SECOND, Source};
use std::thread;
use std::time::{Duration, Instant};

/// How much is measured.
pub(crate) struct Plan {
    pub(crate) pulls: usize,
    /// Times that each way has its turn.
    pub(crate) rounds: usize,
    /// Of one turn.
    pub(crate) seconds: u64,
}

/// An idle server.
pub(crate) struct Idle {
    /// CPU seconds a second.
    pub(crate) cpu: f64,
    pub(crate) kilobytes: f64,
}

/// What streams took.
#[derive(Default)]
pub(crate) struct Cost {
    cpu: f64,
    /// That came in, of all streams together.
    stream_seconds: f64,
    /// The peak, a stream.
    pub(crate) kilobytes: f64,
}

/// What many cameras took.
pub(crate) struct All {
    /// Of one core.
    pub(crate) share: f64,
    /// Resident, files among them.
    pub(crate) kilobytes: f64,
}

impl Cost {
    pub(crate) fn add(&mut self, other: &Self) {
        self.cpu += other.cpu;
        self.stream_seconds += other.stream_seconds;
        self.kilobytes = self.kilobytes.max(other.kilobytes);
    }

    /// CPU seconds for an hour of one stream.
    pub(crate) fn per_hour(&self) -> f64 {
        self.cpu / self.stream_seconds * 3600.0
    }
}

/// A server that has nothing to do.
pub(crate) fn idle() -> Result<Idle> {
    let server = Server::start("idle", "vhost __defaultVhost__ { }")?;
    let window = Window::measure(&server, &mut [], 0, 2)?;
    Ok(Idle { cpu: window.server.cpu / window.seconds, kilobytes: window.server.peak })
}

/// The server fetches the source itself.
pub(crate) fn native(source: &Source, plan: &Plan, idle: &Idle) -> Result<Cost> {
    let server = fetching(source.kind, &source.urls)?;
    let window = Window::measure(&server, &mut [], plan.pulls, plan.seconds)?;
    Ok(window.cost_of_server(idle, plan.pulls))
}

/// ffmpeg fetches it and publishes it to the server: what the ffmpegs take, and the server.
pub(crate) fn by_ffmpeg(source: &Source, plan: &Plan, idle: &Idle) -> Result<[Cost; 2]> {
    let server = Server::start("ffmpeg", "vhost __defaultVhost__ { }")?;
    let mut programs = Vec::new();
    for (at, url) in source.urls.iter().enumerate() {
        let to = format!("rtmp://127.0.0.1:{}/live/i{at}", server.port);
        let before = source.before.split_whitespace();
        let args = ["-v", "error"].into_iter().chain(before);
        let args = args.chain(["-i", url, "-c", "copy", "-f", "flv", &to]);
        programs.push(Running::start("ffmpeg", args)?);
    }
    let window = Window::measure(&server, &mut programs, plan.pulls, plan.seconds)?;
    let stream_seconds = window.stream_seconds;
    let ffmpegs = Cost {
        cpu: window.programs.iter().map(|program| program.cpu).sum(),
        stream_seconds,
        kilobytes: window.programs.iter().map(|program| program.peak).sum::<f64>()
            / plan.pulls as f64,
    };
    Ok([ffmpegs, window.cost_of_server(idle, plan.pulls)])
}

/// So many cameras at once.
pub(crate) fn cameras(url: &str, count: usize, seconds: u64) -> Result<All> {
    let server = fetching("stream", &vec![url.to_owned(); count])?;
    let window = Window::measure(&server, &mut [], count, seconds)?;
    let kilobytes = rss_kb(server.pid()).ok_or("no memory is told")?;
    Ok(All { share: window.server.cpu / window.seconds, kilobytes })
}

fn fetching(kind: &str, urls: &[String]) -> Result<Server> {
    let ingests = urls.iter().enumerate().map(|(at, url)| {
        format!(
            "ingest i{at} {{ enabled on; input {{ type {kind}; url {url}; }} \
             engine {{ output rtmp://127.0.0.1:[port]/live/i{at}; }} }}\n"
        )
    });
    let ingests: String = ingests.collect();
    Server::start("native", &format!("vhost __defaultVhost__ {{ {ingests} }}"))
}

/// What a process took while it was looked at.
struct Taken {
    cpu: f64,
    /// KB, since its start.
    peak: f64,
}

/// Some seconds in which so many streams come in.
struct Window {
    server: Taken,
    programs: Vec<Taken>,
    seconds: f64,
    stream_seconds: f64,
}

/// How long streams may take to begin: ffmpeg looks at a source for 5 s.
const BEGIN: Duration = Duration::from_secs(25);
/// What comes at once at the start does not count.
const SETTLE: Duration = Duration::from_millis(2500);
const SAMPLE: Duration = Duration::from_millis(20);

impl Window {
    fn measure(
        server: &Server,
        programs: &mut [Running],
        streams: usize,
        seconds: u64,
    ) -> Result<Self> {
        let pids: Vec<u32> =
            [server.pid()].into_iter().chain(programs.iter().map(Running::pid)).collect();
        let mut peaks = vec![0.0_f64; pids.len()];
        let mut watch = |time: Duration| {
            let until = Instant::now() + time;
            while Instant::now() < until {
                for (pid, peak) in pids.iter().zip(&mut peaks) {
                    *peak = peak.max(anonymous_kb(*pid).unwrap_or_default());
                }
                thread::sleep(SAMPLE);
            }
        };
        let until = Instant::now() + BEGIN;
        loop {
            let came = server.pictures()?.into_iter().filter(|count| *count > 0).count();
            if came >= streams {
                break;
            }
            if programs.iter_mut().any(Running::has_ended) {
                return Err("a program ended before its stream began".into());
            }
            if Instant::now() > until {
                return Err(format!("{came} of {streams} streams began").into());
            }
            watch(Duration::from_millis(200));
        }
        watch(SETTLE);
        let all = || -> Result<Vec<f64>> {
            let each = pids.iter().map(|pid| cpu_seconds(*pid).ok_or("a process is gone".into()));
            each.collect()
        };
        let pictures = || -> Result<u64> { Ok(server.pictures()?.iter().sum()) };
        let first = pictures()?;
        let (begun, before) = (Instant::now(), all()?);
        watch(Duration::from_secs(seconds));
        let (after, seconds) = (all()?, begun.elapsed().as_secs_f64());
        let came = pictures()?.saturating_sub(first);
        if programs.iter_mut().any(Running::has_ended) {
            return Err("a program ended".into());
        }
        let stream_seconds = came as f64 / PICTURES_A_SECOND;
        // What comes in bunches may have fewer or more of them in the window.
        if stream_seconds < seconds * streams as f64 / 3.0 {
            return Err(format!("{came} pictures of {streams} streams in {seconds:.0} s").into());
        }
        let mut taken = before
            .iter()
            .zip(after)
            .zip(peaks)
            .map(|((before, after), peak)| Taken { cpu: after - before, peak });
        let server = taken.next().ok_or("no server")?;
        let programs = taken.collect();
        Ok(Self { server, programs, seconds, stream_seconds })
    }

    fn cost_of_server(&self, idle: &Idle, streams: usize) -> Cost {
        Cost {
            cpu: self.server.cpu - idle.cpu * self.seconds,
            stream_seconds: self.stream_seconds,
            kilobytes: (self.server.peak - idle.kilobytes).max(0.0) / streams as f64,
        }
    }
}
