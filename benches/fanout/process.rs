//! What the kernel says of a process: CPU time, memory, system calls; and the clock and limits of
//! our own.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// The monotonic clock, which all processes of the machine share.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// CPU time that a process and its threads have used. To the nanosecond where the kernel keeps
/// `schedstat`, else to the tick (10 ms).
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    from_schedstat(pid).or_else(|| from_stat(pid))
}

fn from_schedstat(pid: u32) -> Option<f64> {
    let mut ns = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        ns += text.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    (ns > 0.0).then_some(ns / 1e9)
}

fn from_stat(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; utime and stime are fields 14 and 15 of the line.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / rustix::param::clock_ticks_per_second() as f64)
}

/// Resident memory of a process in KB.
pub(crate) fn rss_kb(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Memory of all TCP sockets of the machine in KB, both ends of each connection.
pub(crate) fn kernel_tcp_kb() -> Option<f64> {
    let text = fs::read_to_string("/proc/net/sockstat").ok()?;
    let line = text.lines().find(|line| line.starts_with("TCP:"))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "mem").skip(1);
    let pages: f64 = words.next()?.parse().ok()?;
    Some(pages * rustix::param::page_size() as f64 / 1024.0)
}

/// How many TCP connections over IPv4 to `port` of this machine there are.
pub(crate) fn connections(port: u16) -> Option<usize> {
    let text = fs::read_to_string("/proc/net/tcp").ok()?;
    let is_one = |line: &&str| {
        // "0: 0100007F:0790 0100007F:B1C2 01": number, local, remote, state, 01 being established.
        let mut words = line.split_whitespace().skip(1);
        let local = words.next().and_then(|word| word.rsplit_once(':'));
        local.is_some_and(|(_, hex)| u16::from_str_radix(hex, 16) == Ok(port))
            && words.nth(1) == Some("01")
    };
    Some(text.lines().filter(is_one).count())
}

/// How busy the machine has been for a minute: what else runs makes every figure doubtful.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_string()
}

/// System calls per second of a process, counted for two seconds: by `perf` if the kernel lets us,
/// else by `strace`, which slows the process but not its number of calls by much. `None` without
/// either.
pub(crate) fn syscalls_per_second(pid: u32) -> Option<f64> {
    count_with_perf(pid).or_else(|| count_with_strace(pid))
}

fn count_with_perf(pid: u32) -> Option<f64> {
    let seconds = COUNT_FOR.as_secs_f64();
    let output = Command::new("perf")
        .args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", &pid.to_string()])
        .args(["--", "sleep", &seconds.to_string()])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.contains("raw_syscalls"))?;
    let count: f64 = line.split(',').next()?.parse().ok()?;
    (count > 0.0).then_some(count / seconds)
}

fn count_with_strace(pid: u32) -> Option<f64> {
    let child = Command::new("strace")
        .args(["-c", "-f", "-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    std::thread::sleep(COUNT_FOR);
    // On an interrupt strace lets the process go and prints its table.
    kill_process(Pid::from_child(&child), Signal::INT).ok()?;
    let output = child.wait_with_output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    // "100.00    0.123456           1     12345       100 total", the errors may be missing.
    let line = text.lines().find(|line| line.trim_end().ends_with("total"))?;
    let count: f64 = line.split_whitespace().nth(3)?.parse().ok()?;
    Some(count / COUNT_FOR.as_secs_f64())
}

/// Raises the limit of open files to what is allowed, and tells it.
pub(crate) fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // A refusal leaves the old limit, which is read again below.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Keeps this process on one core. The benchmark goes on without it where that is refused.
pub(crate) fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    let _ = sched_setaffinity(None, &set);
}

const COUNT_FOR: Duration = Duration::from_secs(2);
