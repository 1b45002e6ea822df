//! What an edge adds to the delay of its origin, how many players of the origin it is, and what
//! passing a stream on costs beside playing it. What is compared is measured at the same time or in
//! turns, so that what else runs on the machine is in the way of both.

use std::time::{Duration, Instant};

use crate::args::Options;
use crate::children::{LOAD_CORE, Report, Role};
use crate::measure::{ANSWER, start_publishers};
use crate::process::{connections, cpu_seconds};
use crate::server::Server;
use crate::table::{judge, shown};

pub(crate) fn run(options: &Options) -> Result<(), String> {
    delay(options)?;
    pulls(options)?;
    cost(options)
}

/// A player of the origin and one of an edge of it, at the same time.
fn delay(options: &Options) -> Result<(), String> {
    let core = options.pin.then_some(LOAD_CORE);
    let origin = Server::ours(options, 50, false, LOW)?;
    let edge = format!("{LOW} mode remote; origin 127.0.0.1:{};", origin.port);
    let edge = Server::ours(options, 50, false, &edge)?;
    let _publisher = start_publishers(options.shape, 1, origin.port, core)?;
    let mut loads = [players(origin.port, 1, 1, core)?, players(edge.port, 1, 1, core)?];
    std::thread::sleep(SETTLE);
    println!(
        "\nDelay from the encoder to a player in ms, low setting, {} kbit/s, in {TURNS} windows.",
        options.shape.kbps
    );
    println!("{:>8} {:>17} {:>17}", "", "origin", "edge");
    println!("{:>8} {:>8} {:>8} {:>8} {:>8} {:>8}", "window", "p50", "p99", "p50", "p99", "added");
    let mut all = Vec::new();
    for turn in 1..=TURNS {
        for load in &mut loads {
            load.tell("mark")?;
        }
        std::thread::sleep(window(options));
        let mut reports: Vec<Report> = Vec::new();
        for load in &mut loads {
            load.tell("report")?;
            reports.push(load.wait_for("report", ANSWER)?);
        }
        let of = |at: usize, key| reports.get(at).and_then(|report: &Report| report.number(key));
        let added = of(1, "p99").zip(of(0, "p99")).map(|(edge, origin)| edge - origin);
        let cells = [of(0, "p50"), of(0, "p99"), of(1, "p50"), of(1, "p99"), added];
        let cells = cells.map(|cell| format!(" {:>8}", shown(cell, 2))).concat();
        println!("{turn:>8}{cells}");
        all.extend(added);
    }
    judge("cluster", "an edge adds to p99", ADDED_MS, median(all), "ms");
    Ok(())
}

/// Several streams with several players each, at two edges.
fn pulls(options: &Options) -> Result<(), String> {
    let core = options.pin.then_some(LOAD_CORE);
    let origin = Server::ours(options, 100, false, "")?;
    let edge = format!("mode remote; origin 127.0.0.1:{};", origin.port);
    let start = || Server::ours(options, 100, false, &edge);
    let edges = [start()?, start()?];
    let _publishers = start_publishers(options.shape, STREAMS, origin.port, core)?;
    let alone = connections(origin.port);
    let mut loads = Vec::new();
    for edge in &edges {
        loads.push(players(edge.port, STREAMS * EACH, STREAMS, core)?);
    }
    let more = connections(origin.port).zip(alone).map(|(now, alone)| now.saturating_sub(alone));
    let each = more.map(|more| more as f64 / (STREAMS * edges.len()) as f64);
    println!(
        "\n{STREAMS} streams, two edges with {EACH} players of each: {} connections to the origin.",
        more.map_or_else(|| "-".into(), |more| more.to_string())
    );
    judge("cluster", "players of the origin for each stream and edge", 1.0, each, "players");
    Ok(())
}

/// The same stream to nobody, to players, and to as many other servers, in turns.
fn cost(options: &Options) -> Result<(), String> {
    let shape = options.shape_of(KBPS);
    let taker = Server::ours(options, COUNT + 50, false, "")?;
    let to: String =
        (0..COUNT).map(|i| format!(" rtmp://127.0.0.1:{}/live/copy{i}", taker.port)).collect();
    let passed = format!("forward {{ enabled on; destination{to}; }}");
    println!(
        "\nCPU of a server that sends one stream of {} kbit/s {COUNT} times, in s/GB, in {TURNS} turns.",
        shape.kbps
    );
    println!("{:>8} {:>8} {:>8} {:>8}", "turn", "players", "servers", "ratio");
    let gb = f64::from(shape.kbps) * COUNT as f64 / 8e6;
    let (mut players_cost, mut servers_cost) = (Vec::new(), Vec::new());
    for turn in 1..=TURNS {
        let alone = load_of(options, "", 0, None)?;
        let each = |busy: Option<f64>| busy.zip(alone).map(|(busy, alone)| (busy - alone) / gb);
        let to_players = || load_of(options, "", COUNT, None).map(each);
        let to_servers = || load_of(options, &passed, 0, Some(taker.port)).map(each);
        // The other way round every second time: what comes later is no warmer.
        let (players, servers) = if turn % 2 == 1 {
            let players = to_players()?;
            (players, to_servers()?)
        } else {
            let servers = to_servers()?;
            (to_players()?, servers)
        };
        let ratio = servers.zip(players).map(|(servers, players)| servers / players);
        println!(
            "{turn:>8} {:>8} {:>8} {:>8}",
            shown(players, 3),
            shown(servers, 3),
            shown(ratio, 2)
        );
        players_cost.extend(players);
        servers_cost.extend(servers);
    }
    let (players, servers) = (median(players_cost), median(servers_cost));
    println!("{:>8} {:>8} {:>8}", "median", shown(players, 3), shown(servers, 3));
    let ratio = servers.zip(players).map(|(servers, players)| servers / players);
    judge("cluster", "a server costs", RATIO, ratio, "of a player");
    Ok(())
}

/// The share of a core that a server with `vhost` and `count` players uses for one stream; with
/// `taker` when it has connected as often to that port.
fn load_of(
    options: &Options,
    vhost: &str,
    count: usize,
    taker: Option<u16>,
) -> Result<Option<f64>, String> {
    let core = options.pin.then_some(LOAD_CORE);
    let server = Server::ours(options, COUNT + 50, false, vhost)?;
    let _publisher = start_publishers(options.shape_of(KBPS), 1, server.port, core)?;
    let _load = if count > 0 { Some(players(server.port, count, 1, core)?) } else { None };
    std::thread::sleep(SETTLE);
    if let Some(port) = taker
        && let Some(found) = connections(port)
        && found < COUNT
    {
        return Err(format!("{found} of {COUNT} servers are sent to"));
    }
    let (begin, before) = (Instant::now(), cpu_seconds(server.pid()));
    std::thread::sleep(window(options));
    let used = cpu_seconds(server.pid()).zip(before).map(|(after, before)| after - before);
    Ok(used.map(|used| used / begin.elapsed().as_secs_f64()))
}

/// The time that is measured at once.
fn window(options: &Options) -> Duration {
    Duration::from_secs(options.seconds.div_ceil(2).max(1))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values.get(values.len().checked_sub(1)? / 2)?;
    Some((lower + upper) / 2.0)
}

fn players(port: u16, count: usize, streams: usize, core: Option<usize>) -> Result<Role, String> {
    let numbers = [usize::from(port), count, streams].map(|number| number.to_string());
    let words = std::iter::once("load".into()).chain(numbers).chain(["rtmp".into()]);
    let role = Role::start(core, &words.collect::<Vec<_>>())?;
    let joined = role.wait_for("joined", Duration::from_secs(30))?;
    if joined.count("started") < count as u64 {
        return Err(format!("not all of {count} players got a picture"));
    }
    Ok(role)
}

const LOW: &str = "min_latency on; mw_latency 0; tcp_nodelay on; mr { enabled off; }";
/// Destinations, and players.
const COUNT: usize = 16;
/// Streams at the origin, and players of each at an edge.
const STREAMS: usize = 8;
const EACH: usize = 4;
/// Unless the command line says otherwise: enough to be measured.
const KBPS: u32 = 4000;
const TURNS: usize = 4;
const SETTLE: Duration = Duration::from_secs(3);
const ADDED_MS: f64 = 5.0;
const RATIO: f64 = 1.2;
