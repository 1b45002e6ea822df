//! The configuration file: its grammar, and typed values for every directive.
//!
//! The syntax is that of SRS: `name value;` and `name value { … }`. [`load()`] turns the text of a
//! file into a [`Config`] or an [`Error`] with its line; [`reference()`] prints every directive there
//! is, and is what `conf/full.conf` holds. Directives of parts that are not in this image are read
//! and checked like all others; [`Loaded::absent`] names them.
//!
//! Each directive is declared once, in a `section!`: field, type, range, default, documentation.
//! Where SRS 2 and SRS 3 spell a directive differently, sections follow SRS 3 and
//! [`load()`] accepts both.

mod access;
mod delivery;
pub mod dump;
pub mod edit;
mod global;
mod lexer;
mod load;
mod presets;
mod programs;
mod reference;
mod section;
pub mod shown;
mod tree;
mod value;
mod vhost;

pub use access::{Bandcheck, Denied, Peers, Refer, Role, Rule, Security, SignedUrl, Verdict};
pub use delivery::{
    Dash, Dvr, DvrPlan, Hds, Hls, HlsAcodec, HlsOnError, HlsStorage, HlsVcodec, HttpRemux,
    HttpStatic,
};
pub use global::{
    Caster, Config, Heartbeat, HttpApi, HttpServer, LogLevel, LogTank, RawApi, Stats, StreamCaster,
};
pub use load::{Loaded, load};
pub use programs::{Engine, Exec, HttpHooks, Ingest, Input, InputType, Transcode};
pub use reference::{Description, fields, reference};
pub use value::{Endpoint, MergedWrite, Millis, Pair, Seconds, Size};
pub use vhost::{Balance, Cluster, Forward, Mode, Play, Publish, TimeJitter, Vhost};

use core::net::Ipv4Addr;
use std::{fmt, rc::Rc};

/// The vhost that serves the names that no other vhost has.
pub const DEFAULT_VHOST: &str = "__defaultVhost__";

impl Config {
    /// What the server runs with when it is given no file: RTMP on port 1935 of every address, HTTP
    /// on 8080 with all streams in all formats, the API for this machine only, the log on the console, one vhost made for little
    /// delay, nothing written to disk.
    ///
    /// HLS is in memory, in segments of two seconds where key frames allow it: a player is 6 s behind.
    /// Key frames may be 10 s apart before segments begin without one.
    pub fn builtin() -> Self {
        let play = Play { mw_latency: MergedWrite::Auto, ..Play::default() };
        let http_remux = HttpRemux {
            enabled: true,
            mount: "[vhost]/[app]/[stream].*".into(),
            ..HttpRemux::default()
        };
        let hls = Hls {
            enabled: true,
            hls_fragment: Seconds::from_millis(2000),
            hls_window: Seconds::from_millis(10_000),
            hls_aof_ratio: 5.0,
            hls_storage: HlsStorage::Ram,
            ..Hls::default()
        };
        let api = HttpApi {
            enabled: true,
            listen: Endpoint { ip: Some(Ipv4Addr::LOCALHOST.into()), port: 1985 },
            crossdomain: false,
            ..HttpApi::default()
        };
        let vhost = Vhost {
            name: DEFAULT_VHOST.into(),
            chunk_size: Self::default().chunk_size,
            tcp_nodelay: true,
            play: Rc::new(play),
            http_remux: Rc::new(http_remux),
            hls: Rc::new(hls),
            ..Vhost::default()
        };
        Self {
            listen: vec![Endpoint::any(1935)],
            daemon: false,
            pid: String::new(),
            log_tank: LogTank::Console,
            http_server: Rc::new(HttpServer { enabled: true, ..HttpServer::default() }),
            http_api: Rc::new(api),
            vhosts: vec![Rc::new(vhost)],
            ..Self::default()
        }
    }

    /// The vhost that serves `name`: the one of that name, else one whose name differs in nothing
    /// but the case of its letters, else [`DEFAULT_VHOST`]. `None` (SRS error 2014) when there is
    /// none, or when the one that is found is not enabled.
    pub fn vhost(&self, name: &str) -> Option<&Rc<Vhost>> {
        let find = |name: &str| self.vhosts.iter().find(|vhost| vhost.name == name);
        let alike = || self.vhosts.iter().find(|vhost| vhost.name.eq_ignore_ascii_case(name));
        let found = find(name).or_else(alike).or_else(|| find(DEFAULT_VHOST));
        found.filter(|vhost| vhost.enabled)
    }

    /// The vhost block called `name`, if it is on; no other stands in for it.
    pub fn block(&self, name: &str) -> Option<&Rc<Vhost>> {
        self.vhosts.iter().find(|vhost| vhost.name == name).filter(|vhost| vhost.enabled)
    }

    /// The file descriptors that are open beside the connections: listeners, log, and what
    /// every process has. Together with `max_connections` they must stay under `RLIMIT_NOFILE`.
    pub fn descriptors(&self) -> usize {
        const API: usize = 1;
        const HTTP: usize = 1;
        const STANDARD: usize = 3;
        let log = usize::from(self.log_tank == LogTank::File);
        let casters = self.stream_casters.iter().filter(|caster| caster.enabled);
        let casters: usize = casters.map(|caster| caster.descriptors()).sum();
        // A stream that is fetched: a connection, four ports of a camera, a name that is looked up;
        // a program: its pipe, its end, its log. And one for those who guard them.
        const INGEST: usize = 6;
        const PROGRAM: usize = 3;
        let vhosts = self.vhosts.iter().filter(|vhost| vhost.enabled);
        let ingests = vhosts.flat_map(|vhost| &vhost.ingests).filter(|ingest| ingest.enabled);
        let ingests = ingests.map(|ingest| ingest.engines.len()).sum::<usize>() * INGEST;
        let runs = |vhost: &Rc<Vhost>| {
            vhost.exec.enabled || vhost.transcodes.iter().any(|transcode| transcode.enabled)
        };
        let most = usize::try_from(self.ff_max).unwrap_or(usize::MAX).min(crate::limits::CHILDREN);
        let programs = if self.vhosts.iter().any(runs) { PROGRAM * most } else { 0 };
        let guard = usize::from(ingests + programs > 0);
        self.listen.len() + API + HTTP + log + STANDARD + casters + ingests + programs + guard
    }
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The line, from 1; 0 for the file as a whole.
    pub line: u32,
    /// What is wrong there.
    pub text: String,
}

impl Error {
    fn new(line: u32, text: impl Into<String>) -> Self {
        Self { line, text: text.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        at_line(f, self.line, &self.text)
    }
}

impl std::error::Error for Error {}

/// Something to be told about a file that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The line, from 1; 0 for the file as a whole.
    pub line: u32,
    /// What is to be told.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        at_line(f, self.line, &self.text)
    }
}

fn at_line(f: &mut fmt::Formatter<'_>, line: u32, text: &str) -> fmt::Result {
    match line {
        0 => f.write_str(text),
        line => write!(f, "line {line}: {text}"),
    }
}

#[cfg(test)]
mod tests;
