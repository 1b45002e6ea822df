//! What it costs to fetch a stream: the server by itself, against `ffmpeg -c copy` that publishes the
//! same source to it, in turn and in one run. And many cameras at once on one thread.
//!
//! ```text
//! cargo bench --bench ingest                          every row, about six minutes
//! cargo bench --bench ingest -- udp rtsp              rows with one of these words in their name
//! cargo bench --bench ingest -- --seconds 4 --rounds 2 --pulls 4 --cameras 16
//! ```
//!
//! What is counted, for one stream of an hour (25 pictures a second that came in, times 3600):
//!
//! * **runnel**: CPU time of the process while it fetches, less that of an idle one; nobody plays.
//! * **ffmpeg**: CPU time of the ffmpegs, and beside it that of the server that takes their RTMP, less
//!   that of an idle one. The ratio is runnel to both, then runnel to the ffmpegs alone.
//! * Memory is the highest `RssAnon` since the start (resident memory that is not of files): what
//!   the server has more than an idle one, a pull; and all of one ffmpeg, without the server.
//!
//! What serves the sources is not counted. Rows whose program is missing say so. Files and HLS are
//! published at the speed of the clock both ways (`-re`); in one more row ffmpeg sends the segments of
//! a live playlist on as fast as they come, which is less work and not the same.

#[path = "ingest/machine.rs"]
mod machine;
#[allow(dead_code)]
#[path = "fanout/process.rs"]
mod process;
#[path = "ingest/sources.rs"]
mod sources;
#[path = "ingest/ways.rs"]
mod ways;

use machine::Result;
use sources::{Camera, Files, Origin, Source};
use ways::{Cost, Idle, Plan};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.first().map(String::as_str) {
        Some(machine::EXEC) => machine::exec(&words[1..]),
        _ => arguments(&words).and_then(|args| run(&args)),
    };
    if let Err(e) = done {
        eprintln!("ingest: {e}");
        std::process::exit(1);
    }
}

struct Args {
    plan: Plan,
    cameras: usize,
    /// Rows are measured that have one of them in their name; all for none.
    words: Vec<String>,
}

impl Args {
    fn wants(&self, row: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| row.contains(word.as_str()))
    }
}

fn run(args: &Args) -> Result<()> {
    let files = Files::make()?;
    let idle = ways::idle()?;
    let Plan { pulls, rounds, seconds } = args.plan;
    println!(
        "{rounds} x {seconds} s of {pulls} pulls of 2 Mbit/s each way, in turn; load average {}; \
         an idle server: {:.1} CPU s an hour, {:.1} MB",
        process::load_average(),
        idle.cpu * 3600.0,
        idle.kilobytes / 1024.0
    );
    println!("\nCPU seconds for each hour of a stream; peak of memory for each stream:\n");
    println!(
        "| source | runnel | ffmpeg + server | ratio, to ffmpeg alone | runnel | ffmpeg | ratio |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut origin = None;
    for name in sources::NAMES {
        if !args.wants(name) {
            continue;
        }
        let source = Source::open(name, pulls, &files, &mut origin);
        if let Err(e) = source.and_then(|source| row(&source, &args.plan, &idle)) {
            println!("| {name} | not measured: {e} | | | | | |");
        }
    }
    println!("| asked for | | | <= 0.3 | | | <= 0.1 |\n");
    drop::<Option<Origin>>(origin);
    for udp in [false, true] {
        let name = format!("{} cameras over {}", args.cameras, if udp { "UDP" } else { "TCP" });
        if !args.wants(&name) {
            continue;
        }
        let measured = Camera::start(&files, udp)
            .and_then(|camera| ways::cameras(&camera.url(), args.cameras, seconds * 2));
        match measured {
            Ok(all) => println!(
                "| {name}, 2 Mbit/s each, on one thread: CPU, memory in all (RSS) | {:.1} %, {:.1} MB |",
                all.share * 100.0,
                all.kilobytes / 1024.0
            ),
            Err(e) => println!("| {name} | not measured: {e} |"),
        }
    }
    Ok(())
}

/// Measures one source both ways in turn, and prints its row.
fn row(source: &Source, plan: &Plan, idle: &Idle) -> Result<()> {
    let (mut own, mut program, mut server) = (Cost::default(), Cost::default(), Cost::default());
    for _ in 0..plan.rounds {
        own.add(&ways::native(source, plan, idle)?);
        let [one, other] = ways::by_ffmpeg(source, plan, idle)?;
        program.add(&one);
        server.add(&other);
    }
    let (ours, theirs, taken) = (own.per_hour(), program.per_hour(), server.per_hour());
    println!(
        "| {} | {ours:.1} | {theirs:.1} + {taken:.1} | {:.2}, {:.2} | {:.0} KB | {:.0} KB | {:.3} |",
        source.name,
        ours / (theirs + taken),
        ours / theirs,
        own.kilobytes,
        program.kilobytes,
        own.kilobytes / program.kilobytes
    );
    Ok(())
}

fn arguments(words: &[String]) -> Result<Args> {
    let plan = Plan { pulls: 4, rounds: 2, seconds: 4 };
    let mut args = Args { plan, cameras: 16, words: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut number = || -> Result<usize> {
            Ok(words.next().ok_or("a number is missing")?.parse::<usize>()?.max(1))
        };
        match word.as_str() {
            "--seconds" => args.plan.seconds = u64::try_from(number()?)?,
            "--rounds" => args.plan.rounds = number()?,
            "--pulls" => args.plan.pulls = number()?,
            "--cameras" => args.cameras = number()?,
            "--bench" => {}
            other if other.starts_with('-') => return Err(format!("{other}: not known").into()),
            other => args.words.push(other.to_owned()),
        }
    }
    Ok(args)
}
