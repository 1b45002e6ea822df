//! The servers under test: their configuration in a directory of its own, started on a free port.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::args::{Case, Options, Output, Setting, Target};
use crate::children::{self, Guarded, Role};

/// A running server.
pub(crate) struct Server {
    pub(crate) port: u16,
    /// Of one that speaks HTTP too.
    pub(crate) http_port: u16,
    body: Body,
    folder: Folder,
}

enum Body {
    Foreign(Guarded),
    Floor(Role),
}

impl Server {
    pub(crate) fn start(case: &Case, options: &Options) -> Result<Self, String> {
        match case.target {
            Target::Ours => {
                let setting = match case.setting {
                    Setting::Default => "mw_latency 350;",
                    Setting::Low => {
                        "min_latency on; mw_latency 0; tcp_nodelay on; mr { enabled off; }"
                    }
                    Setting::Auto => "mw_latency auto; tcp_nodelay on;",
                };
                let connections = case.players + case.publishers + 50;
                if case.output == Output::Rtmp {
                    return Self::ours(options, connections, false, setting);
                }
                let mount = "http_remux { enabled on; mount [vhost]/[app]/[stream].*; }";
                Self::ours(options, connections, true, &format!("{setting} {mount}"))
            }
            Target::NginxRtmp => {
                Self::nginx(options, |port| nginx_configuration(case, port), |_| Ok(()))
            }
            Target::Floor => {
                let port = free_port()?;
                let core = options.pin.then_some(children::SERVER_CORE);
                let body = Body::Floor(start_floor(case, port, core)?);
                Ok(Self { port, http_port: 0, body, folder: Folder::new(port)? })
            }
        }
    }

    /// Our server with `vhost` as the contents of the only vhost, with HTTP if `is_http`. Files
    /// that it writes go to its own directory.
    pub(crate) fn ours(
        options: &Options,
        connections: usize,
        is_http: bool,
        vhost: &str,
    ) -> Result<Self, String> {
        let (port, http_port) = (free_port()?, free_port()?);
        let folder = Folder::new(port)?;
        let http = match is_http {
            true => format!("http_server {{ enabled on; listen 127.0.0.1:{http_port}; }}"),
            false => String::new(),
        };
        let text = format!(
            "listen 127.0.0.1:{port};\n\
             max_connections {connections};\n\
             daemon off;\n\
             pid ./runnel.pid;\n\
             srs_log_tank console;\n\
             srs_log_level error;\n\
             {http}\n\
             vhost __defaultVhost__ {{ {vhost} }}\n",
        );
        let words = ["-c".into(), folder.write("runnel.conf", text.as_bytes())?];
        let core = options.pin.then_some(children::SERVER_CORE);
        let body = start_foreign(&options.server, &words, &folder, core)?;
        let mut server = Self { port, http_port, body, folder };
        server.wait_until_listening()?;
        Ok(server)
    }

    /// nginx with what `configuration` says for a port. `fill` puts files into its directory first.
    pub(crate) fn nginx(
        options: &Options,
        configuration: impl FnOnce(u16) -> String,
        fill: impl FnOnce(&Folder) -> Result<(), String>,
    ) -> Result<Self, String> {
        let port = free_port()?;
        let folder = Folder::new(port)?;
        fill(&folder)?;
        let text = configuration(port);
        let file = folder.write("nginx.conf", text.as_bytes())?;
        let prefix = folder.path.display().to_string();
        let words = ["-p".into(), prefix, "-c".into(), file];
        let core = options.pin.then_some(children::SERVER_CORE);
        let body = start_foreign(&find_nginx()?, &words, &folder, core)?;
        let mut server = Self { port, http_port: port, body, folder };
        server.wait_until_listening()?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        match &self.body {
            Body::Foreign(guarded) => guarded.pid(),
            Body::Floor(role) => role.pid(),
        }
    }

    fn wait_until_listening(&mut self) -> Result<(), String> {
        let end = Instant::now() + START_PATIENCE;
        let Body::Foreign(guarded) = &mut self.body else {
            return Ok(());
        };
        loop {
            if let Some(status) = guarded.ended() {
                return Err(format!("the server ended, {status}: {}", self.folder.last_words()));
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("the server does not listen: {}", self.folder.last_words()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn start_floor(case: &Case, port: u16, core: Option<usize>) -> Result<Role, String> {
    let merge_ms = if case.setting == Setting::Low { 0 } else { 350 };
    let (kbps, gop) = (case.shape.kbps, case.shape.gop);
    let words = ["floor".into(), port.to_string(), kbps.to_string(), gop.to_string()];
    let words = [&words[..], &[format!("{merge_ms}")]].concat();
    let role = Role::start(core, &words)?;
    role.wait_for("listening", START_PATIENCE)?;
    Ok(role)
}

fn start_foreign(
    program: &Path,
    words: &[String],
    folder: &Folder,
    core: Option<usize>,
) -> Result<Body, String> {
    let log = folder.path.join(LOG);
    let log = fs::File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let mut command = children::foreign(core, program.into())?;
    command.args(words).stderr(log).current_dir(&folder.path);
    children::spawn(&mut command).map(Body::Foreign)
}

/// Debian's defaults, in one process and with room for the connections. Its pings are off: our
/// players do not answer them, and a long row would lose its connections.
fn nginx_configuration(case: &Case, port: u16) -> String {
    let connections = case.players + case.publishers + 50;
    let files = connections + 50;
    let module = NGINX_MODULES.iter().find(|path| Path::new(path).exists());
    format!(
        "load_module {};\n\
         daemon off;\n\
         master_process off;\n\
         worker_rlimit_nofile {files};\n\
         pid nginx.pid;\n\
         error_log stderr error;\n\
         events {{ worker_connections {connections}; }}\n\
         rtmp {{ server {{\n\
           listen 127.0.0.1:{port};\n\
           chunk_size 4096;\n\
           ping 0;\n\
           application live {{ live on; }}\n\
         }} }}\n",
        module.unwrap_or(&"modules/ngx_rtmp_module.so"),
    )
}

fn find_nginx() -> Result<PathBuf, String> {
    let found = NGINX.iter().map(PathBuf::from).find(|path| path.exists());
    found.ok_or_else(|| "no nginx: apt-get install nginx libnginx-mod-rtmp".into())
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

/// A directory of this run, removed with the value.
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new(port: u16) -> Result<Self, String> {
        let name = format!("runnel-fanout-{}-{port}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path })
    }

    /// Writes a file, in directories of its own if `name` has some. Returns its whole name.
    pub(crate) fn write(&self, name: &str, contents: &[u8]) -> Result<String, String> {
        let path = self.path.join(name);
        let failed = |error| format!("{}: {error}", path.display());
        path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
        fs::write(&path, contents).map_err(failed)?;
        Ok(path.display().to_string())
    }

    /// The end of what the server has said.
    fn last_words(&self) -> String {
        let text = fs::read_to_string(self.path.join(LOG)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind is a directory of a few small files in the place for such.
        let _ = fs::remove_dir_all(&self.path);
    }
}

const LOG: &str = "stderr.log";
const START_PATIENCE: Duration = Duration::from_secs(5);
const NGINX: [&str; 2] = ["/usr/sbin/nginx", "/usr/local/sbin/nginx"];
const NGINX_MODULES: [&str; 2] =
    ["/usr/lib/nginx/modules/ngx_rtmp_module.so", "/usr/share/nginx/modules/ngx_rtmp_module.so"];
