//! One row: starts what it needs, waits until it runs evenly, measures, and ends it all.

use std::time::{Duration, Instant};

use crate::args::{Case, Options, Output, Target};
use crate::children::{LOAD_CORE, Report, Role};
use crate::media::Shape;
use crate::process::{cpu_seconds, kernel_tcp_kb, rss_kb, syscalls_per_second};
use crate::server::Server;

/// What a row has measured. `None` where the machine does not tell.
pub(crate) struct Row {
    pub(crate) case: Case,
    pub(crate) mbps: f64,
    /// CPU seconds of the server for each GB (10^9 bytes) that players have read.
    pub(crate) cpu_per_gb: Option<f64>,
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) load_percent: Option<f64>,
    pub(crate) syscalls: Option<f64>,
    /// Before the players, and before the publishers if there are many.
    pub(crate) rss_base_kb: Option<f64>,
    pub(crate) rss_kb: Option<f64>,
    /// The highest seen, over what it was before.
    pub(crate) kernel_kb: Option<f64>,
    pub(crate) gaps: u64,
    pub(crate) ended: u64,
    pub(crate) joined: Option<Report>,
    pub(crate) latency_p50: Option<f64>,
    pub(crate) latency_p99: Option<f64>,
    pub(crate) publisher_late_ms: Option<f64>,
    pub(crate) publisher_stalls: u64,
}

impl Row {
    /// How many connections the row's memory is divided by.
    pub(crate) fn connections(&self) -> usize {
        if self.case.publishers > 1 { self.case.publishers } else { self.case.players.max(1) }
    }

    pub(crate) fn rss_each_kb(&self) -> Option<f64> {
        Some((self.rss_kb? - self.rss_base_kb?) / self.connections() as f64)
    }
}

pub(crate) fn run(case: &Case, options: &Options) -> Result<Row, String> {
    let server = Server::start(case, options)?;
    let core = options.pin.then_some(LOAD_CORE);
    let empty = (rss_kb(server.pid()), kernel_tcp_kb());
    let mut publisher = match case.target {
        Target::Floor => None,
        _ => Some(start_publishers(case.shape, case.publishers, server.port, core)?),
    };
    let with_publisher = (rss_kb(server.pid()), kernel_tcp_kb());
    let (rss_base_kb, kernel_base) = if case.publishers > 1 { empty } else { with_publisher };
    let (mut load, joined) = match case.players {
        0 => (None, None),
        _ => {
            let port = if case.output == Output::Rtmp { server.port } else { server.http_port };
            let (load, joined) = start_players(case, port, core)?;
            (Some(load), Some(joined))
        }
    };
    std::thread::sleep(SETTLE);

    tell(&mut load, "mark")?;
    let load_pid = load.as_ref().map(Role::pid);
    let cpu = || (cpu_seconds(server.pid()), load_pid.and_then(cpu_seconds));
    let (begin, before) = (Instant::now(), cpu());
    let mut kernel_peak = None;
    while begin.elapsed() < Duration::from_secs(options.seconds) {
        std::thread::sleep(Duration::from_millis(10));
        let now = kernel_tcp_kb().zip(kernel_base).map(|(now, base)| (now - base).max(0.0));
        kernel_peak = [kernel_peak, now].into_iter().flatten().reduce(f64::max);
    }
    let (seconds, after) = (begin.elapsed().as_secs_f64(), cpu());
    tell(&mut load, "report")?;
    let report = load.as_ref().map(|load| load.wait_for("report", ANSWER)).transpose()?;
    let paced = match &mut publisher {
        Some(role) => {
            role.tell("report")?;
            Some(role.wait_for("report", ANSWER)?)
        }
        None => None,
    };
    let rss_kb = rss_kb(server.pid());
    let syscalls = options.syscalls.then(|| syscalls_per_second(server.pid())).flatten();

    let used = |after: Option<f64>, before: Option<f64>| Some(after? - before?);
    let server_cpu = used(after.0, before.0);
    let number = |key| report.as_ref().and_then(|report| report.number(key));
    let count = |key| report.as_ref().map_or(0, |report| report.count(key));
    let bytes = number("bytes").unwrap_or(0.0);
    Ok(Row {
        case: *case,
        mbps: bytes * 8.0 / 1e6 / seconds,
        cpu_per_gb: server_cpu.map(|cpu| cpu / (bytes / 1e9)).filter(|cost| cost.is_finite()),
        cpu_percent: server_cpu.map(|cpu| cpu / seconds * 100.0),
        load_percent: used(after.1, before.1).map(|cpu| cpu / seconds * 100.0),
        syscalls,
        rss_base_kb,
        rss_kb,
        kernel_kb: kernel_peak,
        gaps: count("gaps"),
        ended: count("ended"),
        joined,
        latency_p50: number("p50").filter(|ms| ms.is_finite()),
        latency_p99: number("p99").filter(|ms| ms.is_finite()),
        publisher_late_ms: paced.as_ref().and_then(|report| report.number("late_ms")),
        publisher_stalls: paced.as_ref().map_or(0, |report| report.count("stalls")),
    })
}

/// Returns when the server has had a whole GOP of each publisher, which it may keep.
pub(crate) fn start_publishers(
    shape: Shape,
    count: usize,
    port: u16,
    core: Option<usize>,
) -> Result<Role, String> {
    let numbers = [u64::from(port), shape.kbps.into(), shape.gop.into(), count as u64];
    let words = numbers.iter().map(u64::to_string);
    let words: Vec<String> = std::iter::once("publish".to_string()).chain(words).collect();
    let role = Role::start(core, &words)?;
    role.wait_for("publishing", patience(count))?;
    // Many publishers begin one after the other within the first GOP.
    let gops = if count > 1 { 2 } else { 1 };
    std::thread::sleep(shape.gop_length() * gops + Duration::from_millis(500));
    Ok(role)
}

fn start_players(case: &Case, port: u16, core: Option<usize>) -> Result<(Role, Report), String> {
    let kind = if case.target == Target::Floor { "raw" } else { case.output.name() };
    let numbers = [usize::from(port), case.players, case.publishers];
    let words = numbers.iter().map(usize::to_string);
    let words = std::iter::once("load".to_string()).chain(words).chain([kind.to_string()]);
    let role = Role::start(core, &words.collect::<Vec<_>>())?;
    let joined = role.wait_for("joined", patience(case.players))?;
    let started = joined.count("started");
    if started < case.players as u64 {
        return Err(format!("only {started} of {} players got a picture", case.players));
    }
    Ok((role, joined))
}

fn tell(role: &mut Option<Role>, word: &str) -> Result<(), String> {
    role.as_mut().map_or(Ok(()), |role| role.tell(word))
}

/// How long so many connections may take to begin.
fn patience(connections: usize) -> Duration {
    Duration::from_secs(20) + Duration::from_millis(10) * connections as u32
}

const SETTLE: Duration = Duration::from_secs(2);
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
