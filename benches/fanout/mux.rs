//! What HLS, recordings and HDS of one stream cost, and whether the memory of HLS is that of its
//! window: servers side by side that get the same stream, each with more of them on.

use std::time::{Duration, Instant};

use crate::args::Options;
use crate::children::{LOAD_CORE, Role};
use crate::hls::{PLAYLIST, segments};
use crate::http;
use crate::measure::start_publishers;
use crate::process::{cpu_seconds, rss_kb};
use crate::server::Server;
use crate::table::{judge, shown};

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let shape = options.shape_of(KBPS);
    let gop = shape.gop;
    let hls = format!(
        "hls {{ enabled on; hls_storage ram; hls_mount {PLAYLIST}; hls_fragment {gop}; \
         hls_window {WINDOW}; }}"
    );
    let dvr = "dvr { enabled on; dvr_path ./dvr/[app]/[stream].[timestamp].flv; }";
    let hds =
        format!("hds {{ enabled on; hds_path ./hds; hds_fragment {gop}; hds_window {WINDOW}; }}");
    let mut kinds = vec![
        ("nothing", String::new()),
        ("hls", hls.clone()),
        ("dvr", dvr.to_string()),
        ("hls+dvr", format!("{hls} {dvr}")),
    ];
    if cfg!(feature = "hds") {
        kinds.push(("hds", hds.clone()));
        kinds.push(("hls+dvr+hds", format!("{hls} {dvr} {hds}")));
    }
    let core = options.pin.then_some(LOAD_CORE);
    let mut rows = Vec::new();
    for (name, vhost) in kinds {
        let server = Server::ours(options, 50, true, &vhost)?;
        let publisher = start_publishers(shape, 1, server.port, core)?;
        rows.push(Running { name, _publisher: publisher, server });
    }
    std::thread::sleep(Duration::from_secs(WINDOW + 3 * u64::from(gop)));

    let seconds = options.seconds.max(SECONDS_MIN);
    let used = || rows.iter().map(|row| cpu_seconds(row.server.pid())).collect::<Vec<_>>();
    let (begin, before) = (Instant::now(), used());
    let (mut memory, mut samples) = (vec![0.0; rows.len()], 0);
    while begin.elapsed() < Duration::from_secs(seconds) {
        for (sum, row) in memory.iter_mut().zip(&rows) {
            *sum += rss_kb(row.server.pid()).unwrap_or(f64::NAN) / 1024.0;
        }
        samples += 1;
        std::thread::sleep(Duration::from_millis(250));
    }
    let (elapsed, after) = (begin.elapsed().as_secs_f64(), used());

    println!(
        "\nOne stream of {} kbit/s for {seconds} s, after {WINDOW} s that fill the window; segments \
         of {gop} s; recordings and HDS to files, HLS in memory. Compared with nothing on.",
        shape.kbps
    );
    println!(
        "{:>12} {:>14} {:>8} {:>8} {:>9} {:>8}",
        "on", "CPU s/stream-h", "more", "RSS MB", "window MB", "x window"
    );
    let costs = after.iter().zip(&before).map(|(after, before)| Some((*after)? - (*before)?));
    let costs: Vec<_> = costs.map(|cpu| cpu.map(|cpu| cpu / elapsed * 3600.0)).collect();
    let (base_cost, base_mb) = (costs[0], memory[0] / f64::from(samples));
    let (mut of_window, mut of_all) = (None, None);
    for ((row, cost), memory) in rows.iter().zip(costs).zip(&memory) {
        let rss_mb = memory / f64::from(samples);
        let window_mb =
            if row.name.contains("hls") { window_mb(row.server.http_port)? } else { None };
        let ratio = window_mb.map(|window| (rss_mb - base_mb) / window);
        let more = cost.zip(base_cost).map(|(cost, base)| cost - base);
        println!(
            "{:>12} {:>14} {:>8} {:>8} {:>9} {:>8}",
            row.name,
            shown(cost, 2),
            shown(more, 2),
            shown(Some(rss_mb), 1),
            shown(window_mb, 1),
            shown(ratio, 2)
        );
        if row.name == "hls" {
            of_window = ratio;
        }
        of_all = more;
    }
    let last = rows.last().map_or("", |row| row.name);
    println!("{last} of one stream: {} CPU seconds for each stream-hour", shown(of_all, 2));
    judge("HLS in memory", "RSS to the bytes in the window", 1.1, of_window, "times");
    Ok(())
}

struct Running {
    name: &'static str,
    /// Ends before its server does.
    _publisher: Role,
    server: Server,
}

/// The bytes of all segments in the playlist of now. The one that is being written is not in it.
fn window_mb(port: u16) -> Result<Option<f64>, String> {
    let mut bytes = 0;
    let segments = segments(port)?;
    for path in &segments {
        bytes += http::get(port, path)?.len();
    }
    Ok((!segments.is_empty()).then_some(bytes as f64 / f64::from(1 << 20)))
}

const KBPS: u32 = 4000;
/// Seconds.
const WINDOW: u64 = 40;
const SECONDS_MIN: u64 = 20;
