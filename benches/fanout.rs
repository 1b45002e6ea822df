//! The load and latency benchmark: one publisher in real time, many players in another process, and
//! what they cost the server. It prints a table and never fails a build.
//!
//! ```text
//! cargo bench --bench fanout                                  1,000 players and the floor, latency
//! cargo bench --bench fanout -- --players 1000 --floor --peer nginx-rtmp
//! cargo bench --bench fanout -- --players 1,100,500,1000,2000 --setting auto
//! cargo bench --bench fanout -- --outputs --hls --mux --cluster
//! cargo bench --bench fanout -- --publishers 4000 --kbps 200 --gop 2
//! cargo bench --bench fanout -- --help
//! ```
//!
//! Nothing here uses the crate's own protocol code: the few bytes of RTMP are written again in
//! `wire.rs` (those of HTTP, FLV and MPEG-TS in `http.rs` and `reader.rs`), so that other servers
//! can be measured and a fault of ours is not hidden by itself. The program starts itself again for
//! its roles (`publish`, `load`, `fetch`, `floor`), each a process.

#[path = "fanout/args.rs"]
mod args;
#[path = "fanout/children.rs"]
mod children;
#[path = "fanout/client.rs"]
mod client;
#[path = "fanout/cluster.rs"]
mod cluster;
#[path = "fanout/fetch.rs"]
mod fetch;
#[path = "fanout/floor.rs"]
mod floor;
#[path = "fanout/histogram.rs"]
mod histogram;
#[path = "fanout/hls.rs"]
mod hls;
#[path = "fanout/http.rs"]
mod http;
#[path = "fanout/load.rs"]
mod load;
#[path = "fanout/measure.rs"]
mod measure;
#[path = "fanout/media.rs"]
mod media;
#[path = "fanout/mux.rs"]
mod mux;
#[path = "fanout/process.rs"]
mod process;
#[path = "fanout/publish.rs"]
mod publish;
#[path = "fanout/reader.rs"]
mod reader;
#[path = "fanout/server.rs"]
mod server;
#[path = "fanout/table.rs"]
mod table;
#[path = "fanout/wire.rs"]
mod wire;

use std::process::ExitCode;

use args::{Options, Start};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match words.first().map(String::as_str) {
        Some("role") => children::play_role(&words[1..]),
        _ => match args::read(&words) {
            Ok(Start::Help) => {
                print!("{}", args::HELP);
                Ok(())
            }
            Ok(Start::NotABench) => Ok(()),
            Ok(Start::Run(options)) => bench(&options),
            Err(message) => Err(message),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("fanout: {message}");
            ExitCode::from(2)
        }
    }
}

/// Runs every row that was asked for. A row that cannot be measured says why and the next one runs.
fn bench(options: &Options) -> Result<(), String> {
    let files = process::raise_file_limit();
    let cases = options.cases();
    table::print_head(options, files);
    if !cases.is_empty() {
        table::print_columns(options);
    }
    if options.pin {
        // So that neither we nor `perf` stand in the server's way.
        process::pin(children::LOAD_CORE);
    }
    let mut rows = Vec::new();
    for case in cases {
        let needed = case.players.max(case.publishers) as u64 + 100;
        if needed > files {
            println!("{}: skipped, {needed} files are needed and {files} allowed", case.label());
            continue;
        }
        match measure::run(&case, options) {
            Ok(row) => {
                table::print_row(&row, &rows);
                rows.push(row);
            }
            Err(message) => println!("{}: not measured: {message}", case.label()),
        }
    }
    table::print_targets(&rows);
    for (is_wanted, name, run) in [
        (options.hls, "hls", hls::run as fn(&Options) -> _),
        (options.mux, "mux", mux::run),
        (options.cluster, "cluster", cluster::run),
    ] {
        if is_wanted && let Err(message) = run(options) {
            println!("{name}: not measured: {message}");
        }
    }
    Ok(())
}
