//! How the process and the machine do, from /proc. Its files are small texts that the kernel makes
//! when they are read; reading them waits for nothing.

mod net;
mod parse;

pub use net::Addresses;
pub use parse::{Cpu, Disk, Memory, Process, Sockets, Traffic};

use crate::io::{clock, files};
use std::path::Path;

/// What [`Stats::sample`] finds. Rates are those between the last two samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Whether there were two samples, so that rates are known.
    pub ok: bool,
    /// Of this process.
    pub process: Process,
    /// The share of one core that this process used, 0 to the number of cores.
    pub process_cpu: f64,
    /// The share of the time of all cores that was used, 0 to 1.
    pub cpu: f64,
    /// Cores that the machine has, and those that are in use.
    pub cpus: u32,
    /// See `cpus`.
    pub cpus_online: u32,
    /// Of the machine.
    pub memory: Memory,
    /// Seconds since the machine started.
    pub uptime: f64,
    /// Seconds that its cores did nothing, all added up.
    pub idle: f64,
    /// Tasks that ran or waited for a disk, the average of one minute, of 5 and of 15.
    pub load: [f64; 3],
    /// Of each network device, since it started.
    pub devices: Vec<Traffic>,
    /// Bytes received and sent by devices that have a public address, since they started.
    pub public: (u64, u64),
    /// The same of all others: the local network and the loopback.
    pub intranet: (u64, u64),
    /// Bytes a second, received and sent, by the devices with a public address, then by the others.
    pub net_rates: [(f64, f64); 2],
    /// Sockets of the machine.
    pub sockets: Sockets,
    /// Bytes a second that were read from the disks of `stats { disk }` and written to them.
    pub disk_rates: (f64, f64),
    /// Reads and writes of them a second.
    pub disk_operations: f64,
    /// The share of the time that these disks were busy, 0 to 1, the busiest one.
    pub disk_busy: f64,
    /// Milliseconds of the monotonic clock, of this sample.
    pub sampled_at: u64,
}

/// The statistics, and what the last sample found.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Names as in /proc/diskstats.
    disks: Vec<String>,
    last: Option<Raw>,
    figures: Figures,
}

/// Counters, as they were.
#[derive(Clone, Debug, Default)]
struct Raw {
    at: u64,
    process_ticks: u64,
    cpu: Cpu,
    disks: Vec<Disk>,
    net: [(u64, u64); 2],
}

impl Stats {
    /// Statistics that look at `disks`, named as in /proc/diskstats.
    pub fn new(disks: &[String]) -> Self {
        Self { disks: disks.to_vec(), ..Self::default() }
    }

    /// Looks again; to be called every few seconds. Reads a dozen files of a few hundred bytes.
    pub fn sample(&mut self) -> &Figures {
        let at = clock::now();
        let addresses = Addresses::read();
        let process = Process::parse(&read("/proc/self/stat"), &read("/proc/self/status"));
        let stat = read("/proc/stat");
        let cpu = Cpu::parse(&stat);
        let cpus_online = parse::cores(&stat);
        let present = parse::count_ranges(&read("/sys/devices/system/cpu/present"));
        let devices = Traffic::parse(&read("/proc/net/dev"));
        let sum = |public: bool| {
            let those = devices.iter().filter(|d| addresses.is_public(&d.name) == public);
            those.fold((0_u64, 0_u64), |(received, sent), d| {
                (received.saturating_add(d.received), sent.saturating_add(d.sent))
            })
        };
        let net = [sum(true), sum(false)];
        let disks = match self.disks.is_empty() {
            true => Vec::new(),
            false => Disk::parse(&read("/proc/diskstats"), &self.disks),
        };
        let (uptime, idle) = parse::uptime(&read("/proc/uptime"));
        let sockets = Sockets::parse(
            &read("/proc/net/sockstat"),
            &read("/proc/net/sockstat6"),
            &read("/proc/net/snmp"),
        );
        let raw = Raw { at, process_ticks: process.ticks, cpu, disks, net };
        let mut figures = Figures {
            process,
            cpus: present.max(cpus_online),
            cpus_online,
            memory: Memory::parse(&read("/proc/meminfo")),
            uptime,
            idle,
            load: parse::load(&read("/proc/loadavg")),
            devices,
            public: net[0],
            intranet: net[1],
            sockets,
            sampled_at: at,
            ..Figures::default()
        };
        match &self.last {
            Some(last) if at > last.at => {
                raw.rates(last, rustix::param::clock_ticks_per_second(), &mut figures);
            }
            // Too soon: the rates of before.
            Some(_) => {
                let old = &self.figures;
                figures.ok = old.ok;
                (figures.process_cpu, figures.cpu) = (old.process_cpu, old.cpu);
                (figures.net_rates, figures.disk_rates) = (old.net_rates, old.disk_rates);
                (figures.disk_operations, figures.disk_busy) = (old.disk_operations, old.disk_busy);
                self.figures = figures;
                return &self.figures;
            }
            None => {}
        }
        self.last = Some(raw);
        self.figures = figures;
        &self.figures
    }

    /// What the last sample found.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }
}

impl Raw {
    fn rates(&self, last: &Self, ticks_a_second: u64, figures: &mut Figures) {
        let ms = self.at.saturating_sub(last.at).max(1) as f64;
        let a_second = |now: u64, before: u64| grown(now, before) as f64 * 1000.0 / ms;
        let ticks = a_second(self.process_ticks, last.process_ticks);
        figures.ok = true;
        figures.process_cpu = ticks / ticks_a_second.max(1) as f64;
        let (busy, all) = (self.cpu.busy, self.cpu.all);
        let passed = grown(all, last.cpu.all);
        if passed > 0 {
            figures.cpu = (grown(busy, last.cpu.busy) as f64 / passed as f64).clamp(0.0, 1.0);
        }
        for (rate, (now, before)) in
            figures.net_rates.iter_mut().zip(self.net.iter().zip(&last.net))
        {
            *rate = (a_second(now.0, before.0), a_second(now.1, before.1));
        }
        for disk in &self.disks {
            let Some(before) = last.disks.iter().find(|d| d.name == disk.name) else { continue };
            figures.disk_rates.0 += a_second(disk.read, before.read);
            figures.disk_rates.1 += a_second(disk.written, before.written);
            figures.disk_operations += a_second(disk.operations, before.operations);
            let busy = grown(disk.busy_ms, before.busy_ms) as f64 / ms;
            figures.disk_busy = figures.disk_busy.max(busy.clamp(0.0, 1.0));
        }
    }
}

/// How much a counter grew. Those of 32-bit kernels begin again at 2^32; a device that went has
/// grown by nothing.
fn grown(now: u64, before: u64) -> u64 {
    const WRAP: u64 = 1 << 32;
    match now.checked_sub(before) {
        Some(more) => more,
        // Only where it was near the end does it make sense.
        None if before < WRAP && before > WRAP / 4 * 3 && now < WRAP / 4 => now + WRAP - before,
        None => 0,
    }
}

/// Descriptors that this process has open, 100,000 at most.
pub fn open_files() -> usize {
    let listed = std::fs::read_dir("/proc/self/fd");
    // One of them is the listing's own.
    listed.map_or(0, |entries| entries.take(MOST_FILES).count().saturating_sub(1))
}

/// The command line of this process, its words with a blank between them.
pub fn command_line() -> String {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    words.collect::<Vec<_>>().join(" ")
}

/// The directory that this process is in.
pub fn directory() -> String {
    std::env::current_dir().map_or_else(|_| String::new(), |dir| dir.display().to_string())
}

/// The lines of `path` that are there whole; none when it cannot be read.
fn read(path: &str) -> String {
    let mut bytes = files::read(Path::new(path), FILE_MAX).unwrap_or_default();
    if bytes.len() > FILE_MAX {
        let end = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        bytes.truncate(end);
    }
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Bytes of a file of /proc that are looked at; lines behind are not.
const FILE_MAX: usize = 64 * 1024;
/// Descriptors that are counted.
const MOST_FILES: usize = 100_000;

#[cfg(test)]
mod tests;
