//! What is fetched: files, a server of ours, a camera, a sender of datagrams. All have the same
//! stream of 2 Mbit/s with sound.

use crate::machine::{Result, Running, Server, dir, free_port, free_udp_port, get, in_tests};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) const PICTURES_A_SECOND: f64 = 25.0;
const SECONDS: u32 = 60;
const SOURCE: &str = "-f lavfi -i testsrc2=s=1280x720:r=25 -f lavfi -i sine=f=440:r=44100 -t 60 \
                      -c:v libx264 -preset ultrafast -b:v 2M -minrate 2M -maxrate 2M -bufsize 1M \
                      -g 50 -pix_fmt yuv420p -c:a aac -ac 2 -b:a 64k";

/// One row each.
pub(crate) const NAMES: [&str; 11] = [
    "file .flv",
    "file .ts",
    "rtmp://",
    "http:// .flv",
    "http:// .ts",
    "http:// .m3u8, live",
    "http:// .m3u8, live, ffmpeg in bursts",
    "http:// .m3u8, VOD",
    "udp://",
    "rtsp:// over TCP",
    "rtsp:// over UDP",
];

/// A minute of the stream in its containers.
pub(crate) struct Files {
    flv: PathBuf,
    ts: PathBuf,
    mp4: PathBuf,
}

impl Files {
    /// They are kept for the next run.
    pub(crate) fn make() -> Result<Self> {
        let dir = dir()?;
        let [flv, ts, mp4] = ["minute.flv", "minute.ts", "minute.mp4"].map(|name| dir.join(name));
        convert(SOURCE, &flv)?;
        for file in [&ts, &mp4] {
            convert(&format!("-i {} -c copy", flv.display()), file)?;
        }
        let list = dir.join("vod.m3u8");
        let options = "-c copy -f hls -hls_time 2 -hls_list_size 0";
        convert(&format!("-i {} {options}", flv.display()), &list)?;
        Ok(Self { flv, ts, mp4 })
    }
}

fn convert(args: &str, file: &Path) -> Result<()> {
    if file.is_file() {
        return Ok(());
    }
    let part =
        file.with_file_name(format!("part-{}", file.file_name().unwrap_or_default().display()));
    let mut command = Command::new("ffmpeg");
    let command = command.args(["-v", "error", "-y"]).args(args.split_whitespace()).arg(&part);
    if !command.status()?.success() {
        return Err("ffmpeg makes no source".into());
    }
    Ok(fs::rename(part, file)?)
}

/// Something to fetch.
pub(crate) struct Source {
    pub(crate) name: &'static str,
    /// Of the input, in the configuration.
    pub(crate) kind: &'static str,
    /// For each pull one.
    pub(crate) urls: Vec<String>,
    /// What ffmpeg is told in front of the url.
    pub(crate) before: &'static str,
    _camera: Option<Camera>,
    _sender: Option<Sender>,
}

impl Source {
    pub(crate) fn open(
        name: &'static str,
        pulls: usize,
        files: &Files,
        origin: &mut Option<Origin>,
    ) -> Result<Self> {
        let source = |kind, url: String, before| {
            let urls = vec![url; pulls];
            Self { name, kind, urls, before, _camera: None, _sender: None }
        };
        let mut live = |form| -> Result<String> {
            if origin.is_none() {
                *origin = Some(Origin::start(&files.flv)?);
            }
            Ok(origin.as_ref().map(|origin| origin.url(form)).unwrap_or_default())
        };
        Ok(match name {
            "file .flv" => source("file", files.flv.display().to_string(), "-re"),
            "file .ts" => source("file", files.ts.display().to_string(), "-re"),
            "rtmp://" => source("stream", live("")?, ""),
            "http:// .flv" => source("stream", live("live/s.flv")?, ""),
            "http:// .ts" => source("stream", live("live/s.ts")?, ""),
            "http:// .m3u8, live" => source("stream", live("live/s.m3u8")?, "-re"),
            "http:// .m3u8, live, ffmpeg in bursts" => source("stream", live("live/s.m3u8")?, ""),
            "http:// .m3u8, VOD" => source("stream", live("vod.m3u8")?, "-re"),
            "udp://" => {
                let ports = (0..pulls).map(|_| free_udp_port()).collect::<Result<Vec<_>>>()?;
                let urls = ports.iter().map(|port| format!("udp://127.0.0.1:{port}")).collect();
                let sender = Sender::start(fs::read(&files.ts)?, ports)?;
                Self { urls, _sender: Some(sender), ..source("stream", String::new(), "") }
            }
            _ => {
                let udp = name.ends_with("UDP");
                let camera = Camera::start(files, udp)?;
                let url = camera.url();
                let before = if udp { "-rtsp_transport udp" } else { "-rtsp_transport tcp" };
                Self { _camera: Some(camera), ..source("stream", url, before) }
            }
        })
    }
}

/// A server of ours that has the stream live, and the files.
pub(crate) struct Origin {
    server: Server,
    http: u16,
}

impl Origin {
    fn start(flv: &Path) -> Result<Self> {
        let http = free_port()?;
        let server = Server::start(
            "origin",
            &format!(
                "http_server {{ enabled on; listen 127.0.0.1:{http}; dir {}; }}\n\
                 vhost __defaultVhost__ {{ min_latency on; \
                 http_remux {{ enabled on; mount [vhost]/[app]/[stream].*; }}\n\
                 hls {{ enabled on; hls_storage ram; hls_fragment 2; hls_window 12; }}\n\
                 ingest s {{ enabled on; input {{ type file; url {}; }} \
                 engine {{ output rtmp://127.0.0.1:[port]/live/s; }} }} }}",
                dir()?.display(),
                flv.display()
            ),
        )?;
        let until = Instant::now() + Duration::from_secs(20);
        // A playlist with some segments comes last.
        while get(http, "/live/s.m3u8").unwrap_or_default().matches("#EXTINF").count() < 3 {
            if Instant::now() > until {
                return Err("the origin has no playlist".into());
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(Self { server, http })
    }

    /// Over HTTP, or over RTMP without a path.
    fn url(&self, path: &str) -> String {
        match path {
            "" => format!("rtmp://127.0.0.1:{}/live/s", self.server.port),
            path => format!("http://127.0.0.1:{}/{path}", self.http),
        }
    }
}

/// GStreamer's server with the file, from its start for each client.
pub(crate) struct Camera {
    _running: Running,
    port: u16,
}

impl Camera {
    pub(crate) fn start(files: &Files, udp: bool) -> Result<Self> {
        let port = free_port()?;
        let pipeline = format!(
            "( filesrc location={} ! qtdemux name=d d.video_0 ! queue ! h264parse ! \
             rtph264pay name=pay0 pt=96 config-interval=-1 d.audio_0 ! queue ! aacparse ! \
             rtpmp4gpay name=pay1 pt=97 )",
            files.mp4.display()
        );
        let script = in_tests("common/rtsp_server.py").display().to_string();
        let mut args = vec![script, port.to_string(), pipeline];
        args.extend(udp.then(|| "udp".to_owned()));
        let mut running = Running::start("/usr/bin/python3", args)?;
        let out = running.0.stdout.take().ok_or("no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        if line.trim() != "listening" {
            return Err("GStreamer's RTSP server does not run".into());
        }
        Ok(Self { _running: running, port })
    }

    pub(crate) fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/s", self.port)
    }
}

/// Sends a transport stream in datagrams to several ports at the pace of its bytes, over and over.
struct Sender {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    fn start(file: Vec<u8>, ports: Vec<u16>) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let over = Arc::new(AtomicBool::new(false));
        let end = over.clone();
        let every = Duration::from_secs(SECONDS.into()) * 1316 / u32::try_from(file.len())?;
        let work = move || {
            let mut due = Instant::now();
            for piece in file.chunks(1316).cycle() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                for port in &ports {
                    // Nobody may listen just now.
                    let _ = socket.send_to(piece, ("127.0.0.1", *port));
                }
                due += every;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        };
        Ok(Self { over, thread: Some(thread::spawn(work)) })
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
