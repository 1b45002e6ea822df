//! The table, and the targets in plain lines under it.

use crate::args::{Case, Options, Output, Setting, Target};
use crate::measure::Row;
use crate::process;

/// Says what is measured.
pub(crate) fn print_head(options: &Options, files: u64) {
    println!(
        "{} s each row; {} cores, {}, load average {}; {files} files allowed",
        options.seconds,
        std::thread::available_parallelism().map_or(1, usize::from),
        if options.pin { "server on core 0, load on core 1" } else { "not pinned" },
        process::load_average(),
    );
}

/// Prints the names of the columns of [`print_row`].
pub(crate) fn print_columns(options: &Options) {
    let shape = options.shape;
    println!("streams of {} kbit/s, 25 frames/s, a key frame every {} s", shape.kbps, shape.gop);
    println!(
        "Columns: CPU of the server, and for 1,000 players (publishers, where there are many); its \
         RSS with all connections and before them, and for each in KB; kernel KB: memory of both ends' TCP sockets, at \
         its highest; first frame from connect and latency from publisher's write to player's \
         read, as p50/p99.\n"
    );
    let names: Vec<String> =
        COLUMNS.iter().map(|(name, width)| format!("{name:>width$}")).collect();
    println!("{}", names.join(" "));
}

/// Prints a row, compared with those before it.
pub(crate) fn print_row(row: &Row, before: &[Row]) {
    let case = &row.case;
    let joined = row.joined.as_ref();
    let first = |key| joined.and_then(|report| report.number(key));
    let per_thousand = row.cpu_percent.map(|cpu| cpu * 1000.0 / row.connections() as f64);
    let form = if case.output == Output::Rtmp { "" } else { case.output.name() };
    let streams = format!("{}>{} {form}", case.publishers, case.players);
    // A page more or less says nothing of few connections.
    let is_many = row.connections() >= 100;
    let cells = [
        case.target.name().to_string(),
        case.setting.name().to_string(),
        streams.trim_end().to_string(),
        format!("{:.1}", row.mbps),
        shown(row.cpu_per_gb.filter(|_| case.publishers == 1), 3),
        shown(row.cpu_percent, 1),
        shown(per_thousand.filter(|_| is_many), 1),
        shown(row.syscalls, 0),
        shown(row.rss_kb.map(|kb| kb / 1024.0), 1),
        shown(row.rss_base_kb.map(|kb| kb / 1024.0), 1),
        shown(row.rss_each_kb().filter(|_| is_many), 1),
        shown(row.kernel_kb.map(|kb| kb / row.connections() as f64).filter(|_| is_many), 1),
        row.gaps.to_string(),
        pair(first("connect_p50"), first("connect_p99")),
        pair(row.latency_p50, row.latency_p99),
        shown(row.load_percent, 0),
        shown(ratio(row, before, Target::Floor), 2),
        shown(ratio(row, before, Target::NginxRtmp), 2),
        shown(to_rtmp(row, before), 2),
    ];
    let cells = cells.iter().zip(COLUMNS).map(|(cell, (_, width))| format!("{cell:>width$}"));
    let notes = notes(row);
    println!("{} {}", cells.collect::<Vec<_>>().join(" "), notes.join(", "));
}

/// What makes a row doubtful.
fn notes(row: &Row) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(percent) = row.load_percent.filter(|percent| *percent > 90.0) {
        notes.push(format!("the load itself is at {percent:.0} % of a core"));
    }
    if row.ended > 0 {
        notes.push(format!("{} players were dropped", row.ended));
    }
    if let Some(ms) = row.publisher_late_ms.filter(|ms| *ms > 40.0) {
        notes.push(format!("a frame was published {ms:.0} ms late"));
    }
    if row.publisher_stalls > 0 {
        notes.push(format!("publishers had to wait {} times", row.publisher_stalls));
    }
    notes
}

/// CPU for each GB over that of another target.
fn ratio(row: &Row, before: &[Row], other: Target) -> Option<f64> {
    Some(row.cpu_per_gb? / rival(row, before, other)?.cpu_per_gb?)
}

/// The same of another form of the stream over that of RTMP, in the same round.
fn to_rtmp(row: &Row, before: &[Row]) -> Option<f64> {
    if row.case.output == Output::Rtmp {
        return None;
    }
    let rtmp = before.iter().rev().find(|other| is_form(other, &row.case, Output::Rtmp));
    Some(row.cpu_per_gb? / rtmp?.cpu_per_gb?)
}

/// The same over all rounds.
fn to_rtmp_in_all(case: &Case, rows: &[Row]) -> Option<f64> {
    let mean = |output| {
        let of_form = rows.iter().filter(|row| is_form(row, case, output));
        let costs: Vec<f64> = of_form.filter_map(|row| row.cpu_per_gb).collect();
        (!costs.is_empty()).then(|| costs.iter().sum::<f64>() / costs.len() as f64)
    };
    Some(mean(case.output)? / mean(Output::Rtmp)?)
}

/// Whether `row` is what `case` measures, in the form `output`.
fn is_form(row: &Row, case: &Case, output: Output) -> bool {
    row.case.output == output
        && row.case.target == case.target
        && row.case.setting == case.setting
        && row.case.players == case.players
}

/// The row of another target with as many players. The peer does not merge writes, and is measured
/// once for all settings.
fn rival<'a>(row: &Row, before: &'a [Row], other: Target) -> Option<&'a Row> {
    let case = &row.case;
    let is_same_setting = |row: &Row| other != Target::Floor || row.case.setting == case.setting;
    before.iter().find(|row| {
        row.case.target == other
            && row.case.players == case.players
            && row.case.publishers == case.publishers
            && is_same_setting(row)
    })
}

/// Names each target that the rows can tell of, and what was measured.
pub(crate) fn print_targets(rows: &[Row]) {
    if !rows.is_empty() {
        println!();
    }
    for (at, row) in rows.iter().enumerate() {
        // Once for all rounds.
        if rows.iter().take(at).any(|before| is_form(before, &row.case, row.case.output)) {
            continue;
        }
        let most = match row.case.output {
            Output::Rtmp => continue,
            Output::Flv => 1.1,
            Output::Ts => 1.25,
        };
        let name = format!("{} players of HTTP-{}", row.case.players, row.case.output.name());
        judge(
            &name,
            "CPU for each GB to that of RTMP",
            most,
            to_rtmp_in_all(&row.case, rows),
            "times",
        );
    }
    let ours = |row: &&Row| row.case.target == Target::Ours && row.case.output == Output::Rtmp;
    for row in rows.iter().filter(ours).filter(|row| row.case.publishers == 1) {
        let (setting, players) = (row.case.setting, row.case.players);
        let name = format!("{players} players, {}", setting.name());
        if players >= 1000 && setting == Setting::Default {
            let of_floor = ratio(row, rows, Target::Floor);
            judge(&name, "CPU to the floor's", 1.25, of_floor, "times");
            let of_peer = ratio(row, rows, Target::NginxRtmp);
            judge(&name, "CPU to nginx-rtmp's", 0.2, of_peer, "times");
            judge(&name, "RSS for each player", 4.0, row.rss_each_kb(), "KB");
        }
        if players >= 10_000 {
            judge(&name, "RSS in all", 45.0, row.rss_kb.map(|kb| kb / 1024.0), "MB");
            judge(&name, "gaps", 0.0, Some(row.gaps as f64), "");
        }
        let first = row.joined.as_ref().and_then(|report| report.number("connect_p99"));
        judge(&name, "first frame from connect, p99", 50.0, first, "ms");
        let most_ms = match setting {
            Setting::Low if players <= 1 => Some(1.0),
            Setting::Low if players <= 500 => Some(5.0),
            Setting::Default => Some(350.0),
            _ => None,
        };
        if let Some(most) = most_ms {
            judge(&name, "added latency, p99", most, row.latency_p99, "ms");
            if let Some(floor) = rival(row, rows, Target::Floor).and_then(|row| row.latency_p99) {
                println!("    the floor's, on this machine: {floor:.2} ms");
            }
        }
    }
    for row in rows.iter().filter(ours).filter(|row| row.case.publishers > 1) {
        let name = format!("{} publishers", row.case.publishers);
        judge(&name, "RSS for each", 65.0, row.rss_each_kb(), "KB");
    }
}

/// Prints a target and what was measured.
pub(crate) fn judge(name: &str, what: &str, most: f64, measured: Option<f64>, unit: &str) {
    let (measured, verdict) = match measured {
        Some(value) if value <= most => (format!("{value:.2} {unit}"), "reached"),
        Some(value) => (format!("{value:.2} {unit}"), "not reached"),
        None => ("not measured".to_string(), "unknown"),
    };
    println!("{name}: {what} at most {most} {unit}: {measured} ({verdict})");
}

pub(crate) fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
}

fn pair(one: Option<f64>, two: Option<f64>) -> String {
    format!("{}/{}", shown(one, 1), shown(two, 1))
}

const COLUMNS: [(&str, usize); 19] = [
    ("server", 10),
    ("setting", 7),
    ("streams", 11),
    ("Mbit/s", 7),
    ("CPU s/GB", 8),
    ("CPU %", 6),
    ("%/1,000", 8),
    ("calls/s", 8),
    ("RSS MB", 7),
    ("before", 7),
    ("KB each", 8),
    ("kernel KB", 9),
    ("gaps", 5),
    ("first ms", 13),
    ("latency ms", 13),
    ("load %", 6),
    ("x floor", 7),
    ("x nginx", 7),
    ("x rtmp", 6),
];
