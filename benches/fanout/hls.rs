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
    let nginx = nginx.map_err(|message| println!("  nginx: not measured: {message}")).ok();
    let mut sums = (Sum::default(), Sum::default());
    // In turns, so that what else runs on the machine is in the way of both.
    for _ in 0..TURNS {
        if let Some(nginx) = &nginx {
            sums.0.measure(nginx, options, &paths)?;
        }
        sums.1.measure(&ours, options, &paths)?;
    }
    let theirs = nginx.as_ref().and_then(|nginx| sums.0.print("nginx", nginx, options, None));
    let cost = sums.1.print("runnel", &ours, options, theirs);
    let ratio = cost.zip(theirs).map(|(cost, theirs)| cost / theirs);
    judge("HLS from memory", "CPU for each GB to nginx's", 1.3, ratio, "times");
    Ok(())
}

/// What was measured of a server, in all turns.
#[derive(Default)]
struct Sum {
    seconds: f64,
    cpu: f64,
    load_cpu: f64,
    bytes: f64,
    requests: f64,
    calls: Option<f64>,
    /// Milliseconds; of the last turn.
    answer: [Option<f64>; 2],
}

impl Sum {
    fn measure(
        &mut self,
        server: &Server,
        options: &Options,
        paths: &[&str],
    ) -> Result<(), String> {
        let numbers = [usize::from(server.http_port), options.connections].map(|n| n.to_string());
        let words = numbers.iter().map(String::as_str).chain(paths.iter().copied());
        let words: Vec<String> = std::iter::once("fetch").chain(words).map(String::from).collect();
        let mut load = Role::start(options.pin.then_some(LOAD_CORE), &words)?;
        load.wait_for("fetching", Duration::from_secs(20))?;
        load.tell("mark")?;
        let used = |pid| cpu_seconds(pid).unwrap_or(f64::NAN);
        let (begin, before) = (Instant::now(), (used(server.pid()), used(load.pid())));
        std::thread::sleep(Duration::from_secs(options.seconds.div_ceil(TURNS)));
        self.cpu += used(server.pid()) - before.0;
        self.load_cpu += used(load.pid()) - before.1;
        self.seconds += begin.elapsed().as_secs_f64();
        load.tell("report")?;
        let report = load.wait_for("report", ANSWER)?;
        self.bytes += report.number("bytes").unwrap_or(0.0);
        self.requests += report.number("requests").unwrap_or(0.0);
        self.answer = [report.number("p50"), report.number("p99")];
        if options.syscalls && self.calls.is_none() {
            self.calls = syscalls_per_second(server.pid());
        }
        Ok(())
    }

    /// Prints a row. Returns CPU seconds for each GB.
    fn print(
        &self,
        name: &str,
        server: &Server,
        options: &Options,
        rival: Option<f64>,
    ) -> Option<f64> {
        let cost = Some(self.cpu / (self.bytes / 1e9)).filter(|cost| cost.is_finite());
        let [p50, p99] = self.answer;
        println!(
            "{name:>7} {:>11} {:>7} {:>8} {:>6} {:>8} {:>7} {:>6} {:>17} {:>7}",
            shown(Some(self.requests / self.seconds), 0),
            shown(Some(self.bytes / 1e6 / self.seconds), 0),
            shown(cost, 3),
            shown(Some(self.cpu / self.seconds * 100.0), 1),
            shown(self.calls.filter(|_| options.syscalls), 0),
            shown(rss_kb(server.pid()).map(|kb| kb / 1024.0), 1),
            shown(Some(self.load_cpu / self.seconds * 100.0), 0),
            format!("{}/{}", shown(p50, 1), shown(p99, 1)),
            shown(cost.zip(rival).map(|(cost, rival)| cost / rival), 2),
        );
        cost
    }
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
const TURNS: u64 = 4;
