//! What it costs to fetch a stream: the server by itself, against `ffmpeg -c copy` that publishes the
//! same source to it, in one run. And many cameras at once.
//!
//! ```text
//! cargo bench --bench ingest -- [--seconds 10] [--pulls 4] [--cameras 16]
//! ```
//!
//! CPU is that of the process in `/proc/PID/stat`, in hundredths of a second, so a run takes some
//! seconds. For ffmpeg its own is counted and nothing of what the server spends on what it sends.
//! Memory is resident memory that is not of files (`RssAnon`): what the server has more than without
//! pulls, a pull; all of an ffmpeg. Sources that need a program that is missing are left out.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const RUNNEL: &str = env!("CARGO_BIN_EXE_runnel");
/// 2 Mbit/s with sound.
const SOURCE: &str = "-f lavfi -i testsrc2=s=1280x720:r=25 -f lavfi -i sine=f=440:r=44100 -t 20 \
                      -c:v libx264 -preset ultrafast -b:v 2M -minrate 2M -maxrate 2M -bufsize 1M \
                      -g 50 -pix_fmt yuv420p -c:a aac -ac 2 -b:a 64k";

fn main() {
    if let Err(e) = run() {
        eprintln!("ingest: {e}");
        std::process::exit(1);
    }
}

struct Args {
    seconds: u64,
    pulls: usize,
    cameras: usize,
}

fn run() -> Result<()> {
    let args = arguments()?;
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench-ingest");
    fs::create_dir_all(&dir)?;
    let flv = dir.join("source.flv");
    if !flv.is_file() {
        make(SOURCE, &flv)?;
    }
    let (ts, mp4) = (dir.join("source.ts"), dir.join("source.mp4"));
    for file in [&ts, &mp4] {
        make(&format!("-i {} -c copy", flv.display()), file)?;
    }
    let http = free_port()?;
    let origin = Server::start(
        &dir,
        "origin",
        &format!(
            "http_server {{ enabled on; listen 127.0.0.1:{http}; dir {}; }}\n\
             vhost __defaultVhost__ {{ min_latency on; http_remux {{ enabled on; mount [vhost]/[app]/[stream].*; }}\n\
             hls {{ enabled on; hls_storage ram; hls_fragment 2; hls_window 12; }}\n\
             ingest s {{ enabled on; input {{ type file; url {}; }} engine {{ output rtmp://127.0.0.1:[port]/live/s; }} }} }}",
            dir.display(),
            flv.display()
        ),
    )?;
    thread::sleep(Duration::from_secs(6));
    let rtmp = format!("rtmp://127.0.0.1:{}/live/s", origin.port);
    let live = |form: &str| format!("http://127.0.0.1:{http}/live/s.{form}");
    let camera = camera(&mp4);
    let mut sources = vec![
        ("file .flv", "file", flv.display().to_string(), "-re -stream_loop -1"),
        ("file .ts", "file", ts.display().to_string(), "-re -stream_loop -1"),
        ("rtmp", "stream", rtmp, ""),
        ("http .flv", "stream", live("flv"), ""),
        ("http .ts", "stream", live("ts"), ""),
        ("hls", "stream", live("m3u8"), ""),
    ];
    match &camera {
        Ok((_, port)) => {
            let url = format!("rtsp://127.0.0.1:{port}/s");
            sources.push(("rtsp", "stream", url, "-rtsp_transport tcp"));
        }
        Err(e) => println!("no cameras: {e}"),
    }
    println!("{} pulls of 2 Mbit/s, {} s each; per stream and hour", args.pulls, args.seconds);
    println!(
        "{:<10} {:>14} {:>14} {:>7} {:>12} {:>12} {:>7}",
        "source", "runnel CPU s", "ffmpeg CPU s", "ratio", "runnel KB", "ffmpeg KB", "ratio"
    );
    for (name, kind, url, before) in &sources {
        let own = native(&dir, kind, url, args.pulls, args.seconds)?;
        let Ok(other) = by_ffmpeg(&dir, before, url, args.pulls, args.seconds) else {
            println!("{name:<10} {:>14.1} (ffmpeg ends)", own.cpu);
            continue;
        };
        println!(
            "{name:<10} {:>14.1} {:>14.1} {:>7.3} {:>12.0} {:>12.0} {:>7.3}",
            own.cpu,
            other.cpu,
            own.cpu / other.cpu,
            own.kilobytes,
            other.kilobytes,
            own.kilobytes / other.kilobytes
        );
    }
    if let Ok((_, port)) = &camera {
        let url = format!("rtsp://127.0.0.1:{port}/s");
        let cost = native(&dir, "stream", &url, args.cameras, args.seconds)?;
        println!(
            "{} cameras of 2 Mbit/s on one thread: {:.1} % of a core, {:.1} MB",
            args.cameras,
            cost.cpu / 36.0 * args.cameras as f64,
            cost.all as f64 / 1024.0
        );
    }
    Ok(())
}

struct Cost {
    /// Seconds a stream and hour.
    cpu: f64,
    /// A stream.
    kilobytes: f64,
    /// Resident, all of it.
    all: u64,
}

fn native(dir: &Path, kind: &str, url: &str, pulls: usize, seconds: u64) -> Result<Cost> {
    let idle = Server::start(dir, "idle", "vhost __defaultVhost__ { }")?;
    thread::sleep(Duration::from_secs(1));
    let without = memory(idle.child.id())?;
    drop(idle);
    let ingests: String = (0..pulls)
        .map(|i| {
            format!(
                "ingest i{i} {{ enabled on; input {{ type {kind}; url {url}; }} \
                 engine {{ output rtmp://127.0.0.1:[port]/live/i{i}; }} }}\n"
            )
        })
        .collect();
    let server = Server::start(dir, "native", &format!("vhost __defaultVhost__ {{ {ingests} }}"))?;
    thread::sleep(Duration::from_secs(5));
    let pid = server.child.id();
    let spent = measure(&[pid], seconds)?;
    let kilobytes = memory(pid)?.saturating_sub(without) as f64 / pulls as f64;
    Ok(Cost { cpu: per_hour(spent, pulls, seconds), kilobytes, all: resident(pid)? })
}

fn by_ffmpeg(dir: &Path, before: &str, url: &str, pulls: usize, seconds: u64) -> Result<Cost> {
    let server = Server::start(dir, "ffmpeg", "vhost __defaultVhost__ { }")?;
    let mut all = Vec::new();
    for i in 0..pulls {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error"]).args(before.split_whitespace()).args(["-i", url]);
        command.args(["-c", "copy", "-f", "flv"]);
        command.arg(format!("rtmp://127.0.0.1:{}/live/i{i}", server.port));
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
        all.push(Killed(child));
    }
    thread::sleep(Duration::from_secs(7));
    let pids: Vec<_> = all.iter().map(|child| child.0.id()).collect();
    let spent = measure(&pids, seconds)?;
    let mut kilobytes = 0;
    for pid in &pids {
        kilobytes += memory(*pid)?;
    }
    let kilobytes = kilobytes as f64 / pulls as f64;
    Ok(Cost { cpu: per_hour(spent, pulls, seconds), kilobytes, all: 0 })
}

fn per_hour(ticks: u64, pulls: usize, seconds: u64) -> f64 {
    ticks as f64 / 100.0 / seconds as f64 * 3600.0 / pulls as f64
}

/// What the processes spend in so many seconds.
fn measure(pids: &[u32], seconds: u64) -> Result<u64> {
    let all = || pids.iter().map(|pid| ticks(*pid)).sum::<Result<u64>>();
    let before = all()?;
    thread::sleep(Duration::from_secs(seconds));
    Ok(all()? - before)
}

fn ticks(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(") ").ok_or("stat")?.1;
    let times = rest.split(' ').skip(11).take(2).map(str::parse::<u64>);
    Ok(times.sum::<std::result::Result<_, _>>()?)
}

fn memory(pid: u32) -> Result<u64> {
    status(pid, "RssAnon:")
}

fn resident(pid: u32) -> Result<u64> {
    status(pid, "VmRSS:")
}

fn status(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(name)).ok_or("status")?;
    Ok(line.split_whitespace().nth(1).ok_or("status")?.parse()?)
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(dir: &Path, name: &str, text: &str) -> Result<Self> {
        let port = free_port()?;
        let file = dir.join(format!("{name}.conf"));
        let head = "daemon off; srs_log_tank console; srs_log_level error; pid '';";
        fs::write(&file, format!("listen 127.0.0.1:{port}; {head}\n{text}\n"))?;
        let mut command = Command::new(RUNNEL);
        let command = command.arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn()?;
        let until = Instant::now() + Duration::from_secs(10);
        let server = Self { child, port };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > until {
                return Err(format!("the server {name} does not listen").into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// GStreamer's server with `file`, as the tests have it.
fn camera(file: &Path) -> Result<(Killed, u16)> {
    let port = free_port()?;
    let pipeline = format!(
        "( filesrc location={} ! qtdemux name=d d.video_0 ! queue ! h264parse ! rtph264pay name=pay0 \
         pt=96 config-interval=-1 d.audio_0 ! queue ! aacparse ! rtpmp4gpay name=pay1 pt=97 )",
        file.display()
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/rtsp_server.py");
    let mut command = Command::new("/usr/bin/python3");
    let command = command.arg(script).arg(port.to_string()).arg(pipeline);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let out = child.stdout.take().ok_or("no output")?;
    let child = Killed(child);
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    if line.trim() == "listening" { Ok((child, port)) } else { Err("GStreamer's server".into()) }
}

fn make(args: &str, file: &Path) -> Result<()> {
    let mut command = Command::new("ffmpeg");
    let command = command.args(["-v", "error", "-y"]).args(args.split_whitespace()).arg(file);
    if command.status()?.success() { Ok(()) } else { Err("ffmpeg makes no source".into()) }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn arguments() -> Result<Args> {
    let mut args = Args { seconds: 10, pulls: 4, cameras: 16 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number =
            || -> Result<usize> { Ok(words.next().ok_or("a number is missing")?.parse()?) };
        match word.as_str() {
            "--seconds" => args.seconds = u64::try_from(number()?)?,
            "--pulls" => args.pulls = number()?.max(1),
            "--cameras" => args.cameras = number()?.max(1),
            "--bench" => {}
            other => return Err(format!("{other}: not known").into()),
        }
    }
    Ok(args)
}
