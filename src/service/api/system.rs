//! What the kernel says, field by field.

use super::v1::headed;
use crate::format::json::Object;
use crate::io::{clock, files};
use crate::service::http::Ask;
use crate::service::stats;
use std::path::Path;

/// Bytes of a file of /proc that are looked at.
const FILE: usize = 16 * 1024;

/// The fields of `/proc/self/stat` behind the name and the state (proc_pid_stat(5)).
const SELF: &[&str] = &[
    "ppid",
    "pgrp",
    "session",
    "tty_nr",
    "tpgid",
    "flags",
    "minflt",
    "cminflt",
    "majflt",
    "cmajflt",
    "utime",
    "stime",
    "cutime",
    "cstime",
    "priority",
    "nice",
    "num_threads",
    "itrealvalue",
    "starttime",
    "vsize",
    "rss",
    "rsslim",
    "startcode",
    "endcode",
    "startstack",
    "kstkesp",
    "kstkeip",
    "signal",
    "blocked",
    "sigignore",
    "sigcatch",
    "wchan",
    "nswap",
    "cnswap",
    "exit_signal",
    "processor",
    "rt_priority",
    "policy",
    "delayacct_blkio_ticks",
    "guest_time",
    "cguest_time",
];

/// The fields of the first line of `/proc/stat` (proc_stat(5)).
const CPU: &[&str] = &["user", "nice", "sys", "idle", "iowait", "irq", "softirq", "steal", "guest"];

pub(super) fn self_proc_stats(ask: &Ask) -> String {
    let text = read("/proc/self/stat");
    let percent = stats::of(&ask.cx).system().process_cpu;
    headed(ask, |o| o.object("data", |o| self_stat(o, &text, percent)))
}

fn self_stat(o: &mut Object<'_>, text: &str, percent: f64) {
    // The name is in brackets, and may have blanks and brackets in it.
    let (pid, rest) = text.split_once(" (").unwrap_or_default();
    let (name, rest) = rest.rsplit_once(") ").unwrap_or_default();
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next().unwrap_or_default();
    o.bool("ok", !state.is_empty());
    o.int("sample_time", clock::unix());
    o.float("percent", percent);
    o.int("pid", number(pid));
    o.text("comm", &format!("({name})"));
    o.text("state", state);
    for field in SELF {
        let text = fields.next().unwrap_or_default();
        // Most are without a sign; a few are -1.
        match text.parse::<u64>() {
            Ok(number) => o.int(field, number),
            Err(_) => o.int(field, text.parse::<i64>().unwrap_or_default()),
        }
    }
}

pub(super) fn system_proc_stats(ask: &Ask) -> String {
    let text = read("/proc/stat");
    let percent = stats::of(&ask.cx).system().cpu;
    headed(ask, |o| o.object("data", |o| cpu(o, &text, percent)))
}

fn cpu(o: &mut Object<'_>, text: &str, percent: f64) {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "));
    let mut fields = line.unwrap_or_default().split_ascii_whitespace();
    o.bool("ok", line.is_some());
    o.int("sample_time", clock::unix());
    o.float("percent", percent);
    for name in CPU {
        o.int(name, number(fields.next().unwrap_or_default()));
    }
}

pub(super) fn meminfos(ask: &Ask) -> String {
    let text = read("/proc/meminfo");
    headed(ask, |o| o.object("data", |o| memory(o, &text)))
}

fn memory(o: &mut Object<'_>, text: &str) {
    let [total, free, buffers, cached, swap, swap_free] =
        ["MemTotal", "MemFree", "Buffers", "Cached", "SwapTotal", "SwapFree"]
            .map(|name| field(text, name));
    let active = total.saturating_sub(free);
    let used = active.saturating_sub(buffers).saturating_sub(cached);
    let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    o.bool("ok", total > 0);
    o.int("sample_time", clock::unix());
    o.float("percent_ram", share(used, total));
    o.float("percent_swap", share(swap.saturating_sub(swap_free), swap));
    o.int("MemActive", active);
    o.int("RealInUse", used);
    o.int("NotInUse", total.saturating_sub(used));
    o.int("MemTotal", total);
    o.int("MemFree", free);
    o.int("Buffers", buffers);
    o.int("Cached", cached);
    o.int("SwapTotal", swap);
    o.int("SwapFree", swap_free);
}

/// What getrusage(2) tells; what Linux does not keep is 0.
pub(super) fn rusages(ask: &Ask) -> String {
    let [stat, status, io] = ["/proc/self/stat", "/proc/self/status", "/proc/self/io"].map(read);
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let stat: Vec<&str> = rest.split_ascii_whitespace().skip(1).collect();
    let of_self = |name: &str| {
        let at = SELF.iter().position(|field| *field == name);
        at.and_then(|at| stat.get(at)).map_or(0, |text| number(text))
    };
    let seconds = |name| of_self(name) / clock::ticks_a_second();
    // Blocks of 512 bytes.
    let blocks = |name| field(&io, name) / 512;
    headed(ask, |o| {
        o.object("data", |o| {
            o.bool("ok", !stat.is_empty());
            o.int("sample_time", clock::unix());
            o.int("ru_utime", seconds("utime"));
            o.int("ru_stime", seconds("stime"));
            o.int("ru_maxrss", field(&status, "VmHWM"));
            for name in ["ru_ixrss", "ru_idrss", "ru_isrss"] {
                o.int(name, 0_u32);
            }
            o.int("ru_minflt", of_self("minflt"));
            o.int("ru_majflt", of_self("majflt"));
            o.int("ru_nswap", 0_u32);
            o.int("ru_inblock", blocks("read_bytes"));
            o.int("ru_oublock", blocks("write_bytes"));
            for name in ["ru_msgsnd", "ru_msgrcv", "ru_nsignals"] {
                o.int(name, 0_u32);
            }
            o.int("ru_nvcsw", field(&status, "voluntary_ctxt_switches"));
            o.int("ru_nivcsw", field(&status, "nonvoluntary_ctxt_switches"));
        });
    })
}

/// The number behind `name:` at the start of a line.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_ascii_whitespace().next()).map_or(0, number)
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_default()
}

fn read(path: &str) -> String {
    let bytes = files::read(Path::new(path), FILE).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::json::{JsonValue, object, parse};

    fn get(value: &JsonValue, name: &str) -> f64 {
        let Some(JsonValue::Number(number)) = value.member(name) else { panic!("{name}") };
        *number
    }

    #[test]
    fn fields_have_the_places_of_the_manual() {
        let stat = "411 (a) b (c)) R 1 411 410 0 -1 256 330 2 3 4 4021 977 5 6 15 -7 2 0 8120 1433600 \
                    231 18446744073709551615 4 5 6 7 8 9 10 11 12 13 14 15 17 3 1 2 99 98 97\n";
        let value = parse(object(|o| self_stat(o, stat, 0.25)).as_bytes()).unwrap();
        for (name, want) in [("comm", "(a) b (c))"), ("state", "R")] {
            assert_eq!(value.member(name), Some(&JsonValue::String(want.into())));
        }
        for (name, want) in [
            ("pid", 411.0),
            ("ppid", 1.0),
            ("tpgid", -1.0),
            ("minflt", 330.0),
            ("utime", 4021.0),
            ("nice", -7.0),
            ("rss", 231.0),
            ("rsslim", 18446744073709551615.0),
            ("exit_signal", 17.0),
            ("processor", 3.0),
            ("policy", 2.0),
            ("delayacct_blkio_ticks", 99.0),
            ("guest_time", 98.0),
        ] {
            assert_eq!(get(&value, name), want, "{name}");
        }
        assert_eq!(object(|o| self_stat(o, "", 0.0)).matches("\":").count(), SELF.len() + 6);
    }

    #[test]
    fn memory_in_use_is_what_programs_hold() {
        let text = "MemTotal: 1000 kB\nMemFree: 200 kB\nBuffers: 50 kB\nCached: 350 kB\n\
                    SwapCached: 7 kB\nSwapTotal: 100 kB\nSwapFree: 75 kB\n";
        let value = parse(object(|o| memory(o, text)).as_bytes()).unwrap();
        assert_eq!((get(&value, "MemActive"), get(&value, "RealInUse")), (800.0, 400.0));
        assert_eq!((get(&value, "NotInUse"), get(&value, "Cached")), (600.0, 350.0));
        assert_eq!((get(&value, "percent_ram"), get(&value, "percent_swap")), (0.4, 0.25));
        assert!(object(|o| memory(o, "")).starts_with("{\"ok\":false,"));
    }

    #[test]
    fn time_of_cores_is_told_in_ticks() {
        let text = "cpu  1 2 3 4 5 6 7 8 9 0\ncpu0 1 1 1 1\n";
        let value = parse(object(|o| cpu(o, text, 0.5)).as_bytes()).unwrap();
        assert_eq!((get(&value, "user"), get(&value, "sys")), (1.0, 3.0));
        assert_eq!((get(&value, "steal"), get(&value, "guest")), (8.0, 9.0));
    }
}
