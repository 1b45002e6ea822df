//! HLS from memory against nginx: a stream is published, its playlist and segments are taken from
//! our server and given to nginx as files, then the same clients fetch from each.

use std::time::{Duration, Instant};

use crate::args::Options;
use crate::children::{LOAD_CORE, Role};
use crate::http;
use crate::measure::{ANSWER, start_publishers};
use crate::process::{cpu_seconds, rss_kb, syscalls_per_second};
use crate::server::{Folder, Server};
use crate::table::{judge, shown};

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let shape = options.shape_of(KBPS);
    // What is published stays for the length of the window and more.
    let hls = format!(
        "hls {{ enabled on; hls_storage ram; hls_mount {PLAYLIST}; hls_fragment {}; hls_window 600; \
         hls_dispose 0; }}",
        shape.gop
    );
    let ours = Server::ours(options, options.connections + 50, true, &hls)?;
    let core = options.pin.then_some(LOAD_CORE);
    let publisher = start_publishers(shape, 1, ours.port, core)?;
    wait_for_segments(ours.http_port, shape.gop)?;
    drop(publisher);
    // The open segment is ended with the stream.
    std::thread::sleep(Duration::from_secs(1));
    let files = fetch_all(ours.http_port)?;
    let bytes: usize = files.iter().map(|(_, body)| body.len()).sum();
    println!(
        "\nHLS: playlist and {} segments, {:.1} MB, fetched in turn by {} connections; nginx has \
         them in files, sendfile on",
        files.len() - 1,
        bytes as f64 / 1e6,
        options.connections
    );
    println!(
        "{:>7} {:>11} {:>7} {:>8} {:>6} {:>8} {:>7} {:>6} {:>17} {:>7}",
        "server",
        "requests/s",
        "MB/s",
        "CPU s/GB",
        "CPU %",
        "calls/s",
        "RSS MB",
        "load %",
        "answer ms p50/p99",
        "x nginx"
    );
    let nginx = Server::nginx(
        options,
        |port| nginx_configuration(port, options.connections),
        |folder| write_all(folder, &files),
    );
    let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    let theirs = nginx.and_then(|nginx| measure("nginx", &nginx, options, &paths, None));
    let theirs = theirs.map_err(|message| println!("  nginx: not measured: {message}")).ok();
    let cost = measure("runnel", &ours, options, &paths, theirs)?;
    let ratio = theirs.map(|theirs| cost / theirs);
    judge("HLS from memory", "CPU for each GB to nginx's", 1.3, ratio, "times");
    Ok(())
}

/// Prints a row. Returns CPU seconds for each GB.
fn measure(
    name: &str,
    server: &Server,
    options: &Options,
    paths: &[&str],
    rival: Option<f64>,
) -> Result<f64, String> {
    let numbers = [usize::from(server.http_port), options.connections];
    let words = numbers.iter().map(usize::to_string).chain(paths.iter().map(|p| (*p).to_string()));
    let words: Vec<String> = std::iter::once("fetch".to_string()).chain(words).collect();
    let mut load = Role::start(options.pin.then_some(LOAD_CORE), &words)?;
    load.wait_for("fetching", Duration::from_secs(20))?;
    std::thread::sleep(Duration::from_secs(1));
    load.tell("mark")?;
    let used = || (cpu_seconds(server.pid()), cpu_seconds(load.pid()));
    let (begin, before) = (Instant::now(), used());
    std::thread::sleep(Duration::from_secs(options.seconds));
    let (seconds, after) = (begin.elapsed().as_secs_f64(), used());
    load.tell("report")?;
    let report = load.wait_for("report", ANSWER)?;
    let rss = rss_kb(server.pid());
    let calls = options.syscalls.then(|| syscalls_per_second(server.pid())).flatten();
    let bytes = report.number("bytes").unwrap_or(0.0);
    let cpu = after.0.zip(before.0).map(|(after, before)| after - before);
    let load_cpu = after.1.zip(before.1).map(|(after, before)| after - before);
    let cost = cpu.map(|cpu| cpu / (bytes / 1e9)).filter(|cost| cost.is_finite());
    println!(
        "{name:>7} {:>11} {:>7} {:>8} {:>6} {:>8} {:>7} {:>6} {:>17} {:>7}",
        shown(report.number("requests").map(|count| count / seconds), 0),
        shown(Some(bytes / 1e6 / seconds), 0),
        shown(cost, 3),
        shown(cpu.map(|cpu| cpu / seconds * 100.0), 1),
        shown(calls, 0),
        shown(rss.map(|kb| kb / 1024.0), 1),
        shown(load_cpu.map(|cpu| cpu / seconds * 100.0), 0),
        format!("{}/{}", shown(report.number("p50"), 1), shown(report.number("p99"), 1)),
        shown(cost.zip(rival).map(|(cost, rival)| cost / rival), 2),
    );
    cost.ok_or_else(|| format!("the CPU time of {name} is not known"))
}

fn wait_for_segments(port: u16, gop: u32) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(u64::from(gop) * (SEGMENTS + 2) + 10);
    while segments(port).map_or(0, |segments| segments.len() as u64) < SEGMENTS {
        if Instant::now() > end {
            return Err("no segments came".into());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// The paths of the segments in the playlist.
pub(crate) fn segments(port: u16) -> Result<Vec<String>, String> {
    let text = http::get(port, PATH)?;
    let text = String::from_utf8_lossy(&text);
    let names = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let folder = PATH.rsplit_once('/').map_or("", |(folder, _)| folder);
    Ok(names.map(|name| format!("{folder}/{name}")).collect())
}

/// Paths and contents, the playlist first.
fn fetch_all(port: u16) -> Result<Vec<(String, Vec<u8>)>, String> {
    let paths = std::iter::once(PATH.to_string()).chain(segments(port)?);
    paths.map(|path| http::get(port, &path).map(|body| (path, body))).collect()
}

fn write_all(folder: &Folder, files: &[(String, Vec<u8>)]) -> Result<(), String> {
    for (path, body) in files {
        folder.write(&format!("html{path}"), body)?;
    }
    Ok(())
}

/// Debian's settings of what matters here, in one process; but no log of requests, since ours
/// writes none, and no end of a connection after so many.
fn nginx_configuration(port: u16, connections: usize) -> String {
    let connections = connections + 50;
    let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {name};\n"))
        .concat();
    format!(
        "daemon off;\n\
         master_process off;\n\
         worker_rlimit_nofile {};\n\
         pid nginx.pid;\n\
         error_log stderr error;\n\
         events {{ worker_connections {connections}; }}\n\
         http {{\n\
           sendfile on;\n\
           tcp_nopush on;\n\
           types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; }}\n\
           access_log off;\n\
           gzip on;\n\
           keepalive_requests 1000000000;\n\
           {places}\
           server {{ listen 127.0.0.1:{port}; root html; }}\n\
         }}\n",
        2 * connections,
    )
}

/// Where the playlist is.
pub(crate) const PLAYLIST: &str = "/[app]/[stream].m3u8";
const PATH: &str = "/live/s0.m3u8";
/// What a player would find.
const SEGMENTS: u64 = 6;
const KBPS: u32 = 4000;
