//! The command line, and the rows that follow from it.

use std::path::PathBuf;

use lexopt::prelude::*;

use crate::media::Shape;

/// What the program is to do.
pub(crate) enum Start {
    /// `cargo test --benches` runs benchmarks too: there is nothing to do for it.
    NotABench,
    Help,
    Run(Options),
}

/// How the server is set, in the terms of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Writes are merged for 350 ms.
    Default,
    /// Every message at once.
    Low,
    /// `mw_latency auto`.
    Auto,
}

/// Who sends the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Ours,
    NginxRtmp,
    Floor,
}

/// What players are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Rtmp,
    /// FLV over HTTP, in chunks.
    Flv,
    /// MPEG-TS over HTTP, in chunks.
    Ts,
}

/// One row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) target: Target,
    pub(crate) setting: Setting,
    pub(crate) output: Output,
    pub(crate) players: usize,
    pub(crate) publishers: usize,
    pub(crate) shape: Shape,
}

impl Case {
    pub(crate) fn label(&self) -> String {
        let Self { players, publishers, output, .. } = self;
        let (target, setting) = (self.target.name(), self.setting.name());
        format!("{target} {setting} {} {publishers}>{players}", output.name())
    }
}

impl Target {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "runnel",
            Self::NginxRtmp => "nginx-rtmp",
            Self::Floor => "floor",
        }
    }
}

impl Setting {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Low => "low",
            Self::Auto => "auto",
        }
    }
}

impl Output {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rtmp => "rtmp",
            Self::Flv => "flv",
            Self::Ts => "ts",
        }
    }
}

/// What was asked for.
pub(crate) struct Options {
    pub(crate) seconds: u64,
    pub(crate) server: PathBuf,
    pub(crate) pin: bool,
    pub(crate) syscalls: bool,
    pub(crate) shape: Shape,
    /// HLS from memory against nginx with the same files.
    pub(crate) hls: bool,
    /// Connections that fetch.
    pub(crate) connections: usize,
    /// What HLS and recordings of one stream cost.
    pub(crate) mux: bool,
    /// What edges and forwards add.
    pub(crate) cluster: bool,
    /// The bit rate was given.
    is_rated: bool,
    outputs: Vec<Output>,
    rounds: u32,
    players: Vec<usize>,
    settings: Vec<Setting>,
    publishers: usize,
    floor: bool,
    peer: bool,
    latency: bool,
}

impl Options {
    /// The stream of the measurements that have one of their own rate, if no other was asked for.
    pub(crate) fn shape_of(&self, kbps: u32) -> Shape {
        if self.is_rated { self.shape } else { Shape { kbps, ..self.shape } }
    }

    /// The rows to measure. What others are compared with comes in front of them.
    pub(crate) fn cases(&self) -> Vec<Case> {
        use Target::{Floor, NginxRtmp, Ours};
        let has_rows = !self.players.is_empty() || !self.settings.is_empty() || self.latency;
        if !self.outputs.is_empty() {
            return self.cases_of_outputs();
        }
        if (self.hls || self.mux || self.cluster) && !has_rows {
            return Vec::new();
        }
        let mut cases: Vec<Case> = Vec::new();
        let mut add = |target, setting, players, publishers| {
            let is_known = cases.iter().any(|known| {
                known.target == target && known.setting == setting && known.players == players
            });
            if !is_known {
                let (output, shape) = (Output::Rtmp, self.shape);
                cases.push(Case { target, setting, output, players, publishers, shape });
            }
        };
        if self.publishers > 1 {
            let players = self.players.first().copied().unwrap_or(1);
            if self.peer {
                add(NginxRtmp, Setting::Default, players, self.publishers);
            }
            add(Ours, Setting::Default, players, self.publishers);
            return cases;
        }
        let is_plain = !has_rows;
        let of_load = if self.latency && self.players.is_empty() { &[][..] } else { &[1000] };
        let players = if self.players.is_empty() { of_load } else { &self.players };
        let settings =
            if self.settings.is_empty() { &[Setting::Default][..] } else { &self.settings };
        let wants_floor = self.floor || is_plain;
        let mut add_with_rivals = |setting, count| {
            // No constant cadence is the floor of one that changes.
            if wants_floor && setting != Setting::Auto {
                add(Floor, setting, count, 1);
            }
            if self.peer {
                // It does not merge writes, so that one row stands for all settings.
                add(NginxRtmp, Setting::Default, count, 1);
            }
            add(Ours, setting, count, 1);
        };
        for &setting in settings {
            for &count in players {
                add_with_rivals(setting, count);
            }
        }
        if self.latency || is_plain {
            for count in [1, 500] {
                add_with_rivals(Setting::Low, count);
                if self.latency {
                    add_with_rivals(Setting::Default, count);
                }
            }
        }
        cases
    }

    /// The same stream in each form, RTMP first: the others are compared with it. Several times.
    fn cases_of_outputs(&self) -> Vec<Case> {
        let players = if self.players.is_empty() { &[1000][..] } else { &self.players };
        let settings =
            if self.settings.is_empty() { &[Setting::Default][..] } else { &self.settings };
        let (target, publishers, shape) = (Target::Ours, 1, self.shape);
        let wanted = |output: &Output| *output == Output::Rtmp || self.outputs.contains(output);
        let mut cases = Vec::new();
        for &setting in settings {
            for &players in players {
                // In turns: what else the machine does hits all forms alike.
                for _ in 0..self.rounds {
                    let outputs = [Output::Rtmp, Output::Flv, Output::Ts];
                    cases.extend(outputs.into_iter().filter(wanted).map(|output| Case {
                        target,
                        setting,
                        output,
                        players,
                        publishers,
                        shape,
                    }));
                }
            }
        }
        cases
    }
}

/// Reads the words behind the program's name.
pub(crate) fn read(words: &[String]) -> Result<Start, String> {
    if words.iter().any(|word| word == "--help") {
        return Ok(Start::Help);
    }
    if !words.iter().any(|word| word == "--bench") {
        return Ok(Start::NotABench);
    }
    let mut options = Options {
        seconds: 10,
        server: PathBuf::from(env!("CARGO_BIN_EXE_runnel")),
        pin: true,
        syscalls: true,
        shape: Shape { kbps: 500, gop: 2 },
        hls: false,
        connections: 50,
        mux: false,
        cluster: false,
        is_rated: false,
        outputs: Vec::new(),
        rounds: 3,
        players: Vec::new(),
        settings: Vec::new(),
        publishers: 1,
        floor: false,
        peer: false,
        latency: false,
    };
    fill(&mut options, words).map_err(|error| format!("{error}; see --help"))?;
    Ok(Start::Run(options))
}

fn fill(options: &mut Options, words: &[String]) -> Result<(), lexopt::Error> {
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(word) = parser.next()? {
        match word {
            Long("bench") => {}
            Long("players") => options.players = list(&parser.value()?.string()?)?,
            Long("setting") => {
                let names = parser.value()?.string()?;
                options.settings = names.split(',').map(setting).collect::<Result<_, _>>()?;
            }
            Long("publishers") => options.publishers = parser.value()?.parse()?,
            Long("kbps") => {
                let kbps = parser.value()?.parse_with(|text| text.parse::<u32>())?;
                options.shape.kbps = kbps.clamp(64, 50_000);
                options.is_rated = true;
            }
            Long("gop") => {
                let gop = parser.value()?.parse_with(|text| text.parse::<u32>())?;
                options.shape.gop = gop.clamp(1, 10);
            }
            Long("rounds") => {
                let rounds = parser.value()?.parse_with(|text| text.parse::<u32>())?;
                options.rounds = rounds.clamp(1, 100);
            }
            Long("seconds") => {
                let seconds = parser.value()?.parse_with(|text| text.parse::<u64>())?;
                options.seconds = seconds.clamp(1, 600);
            }
            Long("outputs") => options.outputs = vec![Output::Rtmp, Output::Flv, Output::Ts],
            Long("output") => {
                let names = parser.value()?.string()?;
                options.outputs = names.split(',').map(output).collect::<Result<_, _>>()?;
            }
            Long("hls") => options.hls = true,
            Long("connections") => {
                let count = parser.value()?.parse_with(|text| text.parse::<usize>())?;
                options.connections = count.clamp(1, 10_000);
            }
            Long("mux") => options.mux = true,
            Long("cluster") => options.cluster = true,
            Long("floor") => options.floor = true,
            Long("latency") => options.latency = true,
            Long("no-pin") => options.pin = false,
            Long("no-syscalls") => options.syscalls = false,
            Long("server") => options.server = parser.value()?.into(),
            Long("peer") => match parser.value()?.string()?.as_str() {
                "nginx-rtmp" => options.peer = true,
                other => return Err(format!("no peer is called {other}").into()),
            },
            other => return Err(other.unexpected()),
        }
    }
    Ok(())
}

fn list(text: &str) -> Result<Vec<usize>, String> {
    let numbers = text.split(',').map(str::parse::<usize>);
    let numbers: Result<Vec<_>, _> = numbers.collect();
    numbers.map_err(|error| format!("{text}: {error}"))
}

fn setting(name: &str) -> Result<Setting, String> {
    [Setting::Default, Setting::Low, Setting::Auto]
        .into_iter()
        .find(|setting| setting.name() == name)
        .ok_or_else(|| format!("no setting is called {name}"))
}

fn output(name: &str) -> Result<Output, String> {
    [Output::Rtmp, Output::Flv, Output::Ts]
        .into_iter()
        .find(|output| output.name() == name)
        .ok_or_else(|| format!("no output is called {name}"))
}

pub(crate) const HELP: &str = "\
cargo bench --bench fanout -- [options]

Without options: 1,000 players against the floor, and latency with 1 and 500 players.

  --players LIST     how many players, such as 1,100,500,1000,2000
  --setting LIST     default (merges writes for 350 ms), low (every message at once), auto
  --kbps N           bit rate of each stream (500)
  --gop N            seconds between key frames (2)
  --publishers N     many publishers instead: what each costs
  --outputs          players over RTMP, HTTP-FLV and HTTP-TS, compared
  --output LIST      of these: rtmp,flv,ts
  --rounds N         how often they are measured, one after the other in turns (3)
  --hls              HLS from memory against nginx with the same files (4,000 kbit/s)
  --connections N    how many fetch at once (50)
  --mux              what HLS, recordings and HDS of one stream cost (4,000 kbit/s), and the memory
                     of the HLS window
  --cluster          what an edge adds to the latency, its players at the origin, what passing a
                     stream on costs beside playing it, in turns (4,000 kbit/s)
  --latency          latency with 1 and 500 players, low and default setting
  --floor            a program that only calls writev, for the same players
  --peer nginx-rtmp  Debian's nginx with libnginx-mod-rtmp, for the same players
  --server PATH      another binary than the one that was just built
  --seconds N        how long each row is measured (10)
  --no-pin           do not keep the server on core 0 and the load on core 1
  --no-syscalls      do not count system calls with perf or strace after each row
";
