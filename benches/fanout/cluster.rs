//! What an edge adds to the delay of its origin, and what passing a stream on costs beside playing it.

use std::time::{Duration, Instant};

use crate::args::Options;
use crate::children::{LOAD_CORE, Report, Role};
use crate::measure::{ANSWER, start_publishers};
use crate::process::cpu_seconds;
use crate::server::Server;
use crate::table::{judge, shown};

pub(crate) fn run(options: &Options) -> Result<(), String> {
    delay(options)?;
    cost(options)
}

/// A player of the origin and one of an edge of it, at the same time.
fn delay(options: &Options) -> Result<(), String> {
    let core = options.pin.then_some(LOAD_CORE);
    let origin = Server::ours(options, 50, false, LOW)?;
    let edge = format!("{LOW} mode remote; origin 127.0.0.1:{};", origin.port);
    let edge = Server::ours(options, 50, false, &edge)?;
    let _publisher = start_publishers(options.shape, 1, origin.port, core)?;
    let mut loads = [players(origin.port, 1, core)?, players(edge.port, 1, core)?];
    std::thread::sleep(SETTLE);
    for load in &mut loads {
        load.tell("mark")?;
    }
    std::thread::sleep(Duration::from_secs(options.seconds));
    let mut reports: Vec<Report> = Vec::new();
    for load in &mut loads {
        load.tell("report")?;
        reports.push(load.wait_for("report", ANSWER)?);
    }
    let of = |at: usize, key| reports.get(at).and_then(|report: &Report| report.number(key));
    println!(
        "\nDelay from the encoder to a player in ms, low setting, {} kbit/s.",
        options.shape.kbps
    );
    println!("{:>8} {:>8} {:>8}", "at", "p50", "p99");
    for (at, name) in ["origin", "edge"].into_iter().enumerate() {
        println!("{name:>8} {:>8} {:>8}", shown(of(at, "p50"), 2), shown(of(at, "p99"), 2));
    }
    let added = of(1, "p99").zip(of(0, "p99")).map(|(edge, origin)| edge - origin);
    judge("cluster", "an edge adds to p99", ADDED_MS, added, "ms");
    Ok(())
}

/// The same stream to players, and to as many other servers.
fn cost(options: &Options) -> Result<(), String> {
    let (core, shape) = (options.pin.then_some(LOAD_CORE), options.shape_of(KBPS));
    let taker = Server::ours(options, COUNT + 50, false, "")?;
    let to: String =
        (0..COUNT).map(|i| format!(" rtmp://127.0.0.1:{}/live/copy{i}", taker.port)).collect();
    let passed = format!("forward {{ enabled on; destination{to}; }}");
    println!("\nCPU of a server that sends one stream of {} kbit/s {COUNT} times.", shape.kbps);
    println!("{:>10} {:>10}", "to", "s/GB");
    let mut costs = Vec::new();
    for (name, vhost, count) in
        [("nobody", "", 0), ("players", "", COUNT), ("servers", &*passed, 0)]
    {
        let server = Server::ours(options, COUNT + 50, false, vhost)?;
        let _publisher = start_publishers(shape, 1, server.port, core)?;
        let _load = if count > 0 { Some(players(server.port, count, core)?) } else { None };
        std::thread::sleep(SETTLE);
        let (begin, before) = (Instant::now(), cpu_seconds(server.pid()));
        std::thread::sleep(Duration::from_secs(options.seconds));
        let used = cpu_seconds(server.pid()).zip(before).map(|(after, before)| after - before);
        costs.push(used.map(|used| used / begin.elapsed().as_secs_f64()));
        let gb = f64::from(shape.kbps) * COUNT as f64 / 8e6;
        let more = costs.last().copied().flatten().zip(costs.first().copied().flatten());
        let each = more.map(|(cost, alone)| (cost - alone) / gb).filter(|_| name != "nobody");
        println!("{name:>10} {:>10}", shown(each, 3));
        if let Some(cost) = costs.last_mut() {
            *cost = if name == "nobody" { *cost } else { each };
        }
    }
    let ratio = match costs.as_slice() {
        [_, Some(players), Some(servers)] => Some(servers / players),
        _ => None,
    };
    judge("cluster", "a server costs", RATIO, ratio, "of a player");
    Ok(())
}

fn players(port: u16, count: usize, core: Option<usize>) -> Result<Role, String> {
    let words = ["load".into(), port.to_string(), count.to_string(), "1".into(), "rtmp".into()];
    let role = Role::start(core, &words)?;
    let joined = role.wait_for("joined", Duration::from_secs(30))?;
    if joined.count("started") < count as u64 {
        return Err(format!("not all of {count} players got a picture"));
    }
    Ok(role)
}

const LOW: &str = "min_latency on; mw_latency 0; tcp_nodelay on; mr { enabled off; }";
const COUNT: usize = 16;
/// Unless the command line says otherwise: enough to be measured.
const KBPS: u32 = 4000;
const SETTLE: Duration = Duration::from_secs(3);
const ADDED_MS: f64 = 5.0;
const RATIO: f64 = 1.2;
