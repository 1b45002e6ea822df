//! The summary of the process and the machine, as the API and the heartbeat tell it.

use super::of;
use crate::context::Context;
use crate::format::json::{Object, object};
use crate::io::{clock, proc};

/// `{"code":0,"data":{…}}`.
pub fn summaries(cx: &Context) -> String {
    object(|o| {
        o.int("code", 0_u32);
        o.object("data", |o| data(o, cx));
    })
}

fn data(o: &mut Object<'_>, cx: &Context) {
    let stats = of(cx);
    let bytes = stats.process(cx);
    let system = stats.system();
    let (process, memory) = (&system.process, &system.memory);
    let now = clock::unix();
    // Of the wall clock, as the original tells it.
    let sampled = now.saturating_sub(clock::now().saturating_sub(system.sampled_at));
    let kilo = |rate: f64| (rate / 1000.0).round() as i64;
    o.bool("ok", system.ok);
    o.int("now_ms", now);
    o.object("self", |o| {
        o.text("version", env!("CARGO_PKG_VERSION"));
        o.int("pid", process.pid);
        o.int("ppid", process.ppid);
        o.text("argv", &proc::command_line());
        o.text("cwd", &proc::directory());
        o.int("mem_kbyte", process.most_kb);
        o.float("mem_percent", short(memory.share(process.most_kb)));
        o.float("cpu_percent", short(system.process_cpu));
        let tenths = clock::now().saturating_sub(cx.started) / 100;
        o.float("srs_uptime", tenths as f64 / 10.0);
    });
    o.object("system", |o| {
        o.float("cpu_percent", short(system.cpu));
        o.int("disk_read_KBps", kilo(system.disk_rates.0));
        o.int("disk_write_KBps", kilo(system.disk_rates.1));
        o.float("disk_busy_percent", short(system.disk_busy));
        o.int("mem_ram_kbyte", memory.total);
        o.float("mem_ram_percent", short(memory.used()));
        o.int("mem_swap_kbyte", memory.swap_total);
        o.float("mem_swap_percent", short(memory.swap_used()));
        o.int("cpus", system.cpus);
        o.int("cpus_online", system.cpus_online);
        o.float("uptime", system.uptime);
        // Its name is misspelt in the original.
        o.float("ilde_time", system.idle);
        let [one, five, fifteen] = system.load;
        o.float("load_1m", one);
        o.float("load_5m", five);
        o.float("load_15m", fifteen);
        o.int("net_sample_time", sampled);
        o.int("net_recv_bytes", system.public.0);
        o.int("net_send_bytes", system.public.1);
        o.int("net_recvi_bytes", system.intranet.0);
        o.int("net_sendi_bytes", system.intranet.1);
        o.int("srs_sample_time", now);
        o.int("srs_recv_bytes", bytes.received);
        o.int("srs_send_bytes", bytes.sent);
        o.int("conn_sys", system.sockets.tcp);
        o.int("conn_sys_et", system.sockets.established);
        o.int("conn_sys_tw", system.sockets.time_wait);
        o.int("conn_sys_udp", system.sockets.udp);
        o.int("conn_srs", cx.sessions.len());
    });
}

/// With six places: more is noise.
fn short(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}
