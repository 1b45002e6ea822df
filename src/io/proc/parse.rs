//! The texts of /proc, of kernels from 2.6 to today. What is missing in them is 0.

use crate::media::decimal;
/// What the kernel says of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent.
    pub ppid: u32,
    /// Threads.
    pub threads: u32,
    /// KB of memory that it has.
    pub resident_kb: u64,
    /// The most that it ever had.
    pub most_kb: u64,
    /// Time of a core that it used, in ticks of the clock (`USER_HZ`).
    pub ticks: u64,
}

impl Process {
    /// Reads `/proc/self/stat` and `/proc/self/status`.
    pub(super) fn parse(stat: &str, status: &str) -> Self {
        // The name is in brackets, and may have blanks and brackets in it.
        let (pid, rest) = stat.split_once(" (").unwrap_or_default();
        let fields: Vec<&str> =
            rest.rsplit_once(") ").map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
        let field = |number: usize| number_at(&fields, number - 3);
        let line = |name: &str| {
            let found = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            found.map_or(0, first_number)
        };
        Self {
            pid: pid.parse().unwrap_or_default(),
            ppid: clamp(field(4)),
            threads: clamp(field(20)),
            resident_kb: line("VmRSS"),
            most_kb: line("VmHWM"),
            ticks: field(14).saturating_add(field(15)),
        }
    }
}

/// Time of all cores, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Neither idle nor waiting for a disk.
    pub busy: u64,
    /// All of it.
    pub all: u64,
}

impl Cpu {
    /// Reads `/proc/stat`.
    pub(super) fn parse(stat: &str) -> Self {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
        let ticks: Vec<&str> = line.split_ascii_whitespace().collect();
        // user nice system idle iowait irq softirq steal; guests are in user already.
        let field = |at| number_at(&ticks, at);
        let all = (0..8).fold(0_u64, |sum, at| sum.saturating_add(field(at)));
        Self { busy: all.saturating_sub(field(3).saturating_add(field(4))), all }
    }
}

/// The cores in `/proc/stat`.
pub(super) fn cores(stat: &str) -> u32 {
    let core = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    clamp(stat.lines().filter(core).count() as u64)
}

/// How many numbers there are in `0-3,6`.
pub(super) fn count_ranges(list: &str) -> u32 {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    let all = list.trim().split(',').filter_map(count);
    clamp(all.fold(0, u64::saturating_add))
}

/// Memory of the machine, in KB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// Nobody uses it.
    pub free: u64,
    /// Programs could have it: free, and what the kernel only keeps for later.
    pub available: u64,
    /// On disk.
    pub swap_total: u64,
    /// Of that, unused.
    pub swap_free: u64,
}

impl Memory {
    /// Reads `/proc/meminfo`.
    pub(super) fn parse(meminfo: &str) -> Self {
        let find = |name: &str| {
            meminfo
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(first_number)
        };
        let field = |name| find(name).unwrap_or_default();
        let free = field("MemFree");
        // Since Linux 3.14.
        let kept = free.saturating_add(field("Buffers")).saturating_add(field("Cached"));
        let available = find("MemAvailable").unwrap_or(kept);
        let (swap_total, swap_free) = (field("SwapTotal"), field("SwapFree"));
        Self { total: field("MemTotal"), free, available, swap_total, swap_free }
    }

    /// The share that is in use, 0 to 1.
    pub fn used(&self) -> f64 {
        share(self.total.saturating_sub(self.available), self.total)
    }

    /// The share of the swap space that is in use, 0 to 1.
    pub fn swap_used(&self) -> f64 {
        share(self.swap_total.saturating_sub(self.swap_free), self.swap_total)
    }

    /// The share that `kb` are of all memory, 0 to 1.
    pub fn share(&self, kb: u64) -> f64 {
        share(kb, self.total)
    }
}

fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

/// Seconds up and seconds idle, of `/proc/uptime`.
pub(super) fn uptime(text: &str) -> (f64, f64) {
    let mut numbers = text.split_ascii_whitespace().map(float);
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

/// The three averages of `/proc/loadavg`.
pub(super) fn load(text: &str) -> [f64; 3] {
    let mut numbers = text.split_ascii_whitespace().map(float);
    [(); 3].map(|()| numbers.next().unwrap_or_default())
}

/// What a network device has moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Such as `eth0`.
    pub name: String,
    /// Bytes, since it started. 32-bit kernels begin again at 2^32.
    pub received: u64,
    /// The same.
    pub sent: u64,
}

impl Traffic {
    /// Reads `/proc/net/dev`, [`DEVICES`] devices at most.
    pub(super) fn parse(dev: &str) -> Vec<Self> {
        let device = |line: &str| {
            // Old kernels leave no blank behind the colon; an alias has one in its name.
            let (name, rest) = line.rsplit_once(':')?;
            let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
            let (received, sent) = (fields.first()?.parse().ok()?, fields.get(8)?.parse().ok()?);
            Some(Self { name: name.trim().to_owned(), received, sent })
        };
        dev.lines().filter_map(device).take(DEVICES).collect()
    }
}

/// What a disk has moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Such as `mmcblk0`.
    pub name: String,
    /// Bytes.
    pub read: u64,
    /// Bytes.
    pub written: u64,
    /// Reads and writes that were done.
    pub operations: u64,
    /// Milliseconds with something to do; 0 of a partition before Linux 2.6.25.
    pub busy_ms: u64,
}

impl Disk {
    /// The disks `names` of `/proc/diskstats`.
    pub(super) fn parse(diskstats: &str, names: &[String]) -> Vec<Self> {
        let disk = |line: &str| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let name = *fields.get(2)?;
            if !names.iter().any(|wanted| wanted == name) {
                return None;
            }
            let field = |at| number_at(&fields, at);
            // A partition of an old kernel: requests and sectors only.
            let (read, written, busy_ms, operations) = match fields.len() {
                7 => (field(4), field(6), 0, (field(3), field(5))),
                14.. => (field(5), field(9), field(12), (field(3), field(7))),
                _ => return None,
            };
            let operations = operations.0.saturating_add(operations.1);
            let bytes = |sectors: u64| sectors.saturating_mul(SECTOR);
            let (read, written) = (bytes(read), bytes(written));
            Some(Self { name: name.to_owned(), read, written, operations, busy_ms })
        };
        diskstats.lines().filter_map(disk).take(DEVICES).collect()
    }
}

/// Sockets of the machine, IPv4 and IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// TCP, in use or waiting for late packets.
    pub tcp: u64,
    /// TCP, connected.
    pub established: u64,
    /// TCP, closed, waiting for late packets.
    pub time_wait: u64,
    /// UDP.
    pub udp: u64,
}

impl Sockets {
    /// Reads `/proc/net/sockstat`, `/proc/net/sockstat6` and `/proc/net/snmp`.
    pub(super) fn parse(sockstat: &str, sockstat6: &str, snmp: &str) -> Self {
        let field = |text: &str, protocol: &str, name: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(protocol)?.strip_prefix(':'));
            let mut words = line.unwrap_or_default().split_ascii_whitespace();
            words.find(|word| *word == name);
            words.next().map_or(0, first_number)
        };
        let time_wait = field(sockstat, "TCP", "tw");
        let in_use =
            field(sockstat, "TCP", "inuse").saturating_add(field(sockstat6, "TCP6", "inuse"));
        // A line with the names, then one with the numbers.
        let mut tcp = snmp.lines().filter_map(|line| line.strip_prefix("Tcp:"));
        let names = tcp.next().unwrap_or_default().split_ascii_whitespace();
        let numbers = tcp.next().unwrap_or_default().split_ascii_whitespace();
        let established = names.zip(numbers).find(|(name, _)| *name == "CurrEstab");
        Self {
            tcp: in_use.saturating_add(time_wait),
            established: established.map_or(0, |(_, number)| first_number(number)),
            time_wait,
            udp: field(sockstat, "UDP", "inuse").saturating_add(field(sockstat6, "UDP6", "inuse")),
        }
    }
}

fn number_at(fields: &[&str], at: usize) -> u64 {
    fields.get(at).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn first_number(text: &str) -> u64 {
    text.split_ascii_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default()
}

fn float(text: &str) -> f64 {
    decimal(text).filter(|number| number.is_finite()).unwrap_or_default()
}

fn clamp(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Network devices or disks that are looked at.
const DEVICES: usize = 64;
/// Bytes of a sector in /proc/diskstats, whatever the disk has.
const SECTOR: u64 = 512;
