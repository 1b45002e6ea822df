//! `/metrics`, in the text format of Prometheus (0.0.4).

use super::held;
use crate::io::{clock, proc};
use crate::limits::{BOARD, METRICS_STREAMS};
use crate::media::Decimal;
use crate::proto::http::Method;
use crate::service::http::{Answer, Ask, Reply};
use crate::service::inputs::{Input, Inputs, State};
use crate::service::stats::{self, StreamRow};
use crate::service::upstreams::{self, Report};
use std::collections::HashSet;
use std::fmt::{Display, Write as _};
use std::rc::Rc;

pub(super) fn answer(ask: &Ask) -> Answer {
    if !matches!(ask.request.method, Method::Get | Method::Head) {
        return Reply::status(405).into();
    }
    let mut page = Page::default();
    process(&mut page, ask);
    streams(&mut page, ask);
    connections_to_others(&mut page, ask);
    inputs(&mut page, &ask.cx.part::<Inputs>().all());
    let Some(body) = held::body(page.0) else { return Reply::status(503).into() };
    let mut reply = Reply::new("text/plain; version=0.0.4; charset=utf-8", body);
    reply.headers.push(("Cache-Control", "no-store".into()));
    reply.into()
}

fn process(page: &mut Page, ask: &Ask) {
    let (cx, stats) = (&ask.cx, stats::of(&ask.cx));
    let bytes = stats.process(cx);
    let uptime = clock::now().saturating_sub(cx.started);
    page.head("runnel_build_info", "gauge", "What this server is.");
    let version = ("version", env!("CARGO_PKG_VERSION"));
    page.value("runnel_build_info", &[version, ("board", BOARD)], 1);
    page.one(
        "runnel_uptime_seconds",
        "gauge",
        "Since it started.",
        Decimal::short(uptime as f64 / 1000.0),
    );
    page.one("runnel_connections", "gauge", "Connections of all kinds.", cx.sessions.len());
    let most = cx.max_clients();
    page.one("runnel_connections_max", "gauge", "Connections that are allowed.", most);
    let text = "Bytes from clients that publish or play.";
    page.one("runnel_received_bytes_total", "counter", text, bytes.received);
    let text = "Bytes to clients that publish or play.";
    page.one("runnel_sent_bytes_total", "counter", text, bytes.sent);
    let queued = cx.disk.queued();
    page.one("runnel_disk_queue_bytes", "gauge", "Bytes that wait for the disk.", queued);
    let system = stats.system();
    let process = &system.process;
    let seconds = process.ticks as f64 / clock::ticks_a_second() as f64;
    let text = "Time of a core that the process used.";
    page.one("process_cpu_seconds_total", "counter", text, Decimal::short(seconds));
    let resident = process.resident_kb.saturating_mul(1024);
    page.one("process_resident_memory_bytes", "gauge", "Memory that it has.", resident);
    page.one("process_open_fds", "gauge", "Files and sockets that it has.", proc::open_files());
    let start = clock::unix().saturating_sub(uptime) as f64 / 1000.0;
    let text = "When it started, since 1970.";
    page.one("process_start_time_seconds", "gauge", text, Decimal::short(start));
}

/// What is told of each stream: name, type, text, value.
type Series = (&'static str, &'static str, &'static str, fn(&StreamRow) -> u64);

const SERIES: &[Series] = &[
    ("runnel_stream_publishing", "gauge", "Whether somebody publishes the stream.", |row| {
        row.active.into()
    }),
    ("runnel_stream_clients", "gauge", "Connections that publish or play the stream.", |row| {
        row.clients.into()
    }),
    (
        "runnel_stream_received_bytes_total",
        "counter",
        "Bytes from the clients of the stream.",
        |row| row.bytes.received,
    ),
    ("runnel_stream_sent_bytes_total", "counter", "Bytes to the clients of the stream.", |row| {
        row.bytes.sent
    }),
    ("runnel_stream_video_frames_total", "counter", "Video frames that were published.", |row| {
        row.frames
    }),
];

fn streams(page: &mut Page, ask: &Ask) {
    let (rows, live, left_out) = stats::of(&ask.cx).liveliest(&ask.cx, METRICS_STREAMS);
    page.one("runnel_streams", "gauge", "Streams that somebody publishes.", live);
    let text = "Streams that have no series of their own here, for there are too many.";
    page.one("runnel_streams_left_out", "gauge", text, left_out);
    for (name, kind, text, value) in SERIES {
        if rows.is_empty() {
            break;
        }
        page.head(name, kind, text);
        for row in &rows {
            let key = &row.key;
            let labels = [("vhost", key.vhost()), ("app", key.app()), ("stream", key.stream())];
            page.value(name, &labels, value(row));
        }
    }
}

/// The same of each connection to another server.
type Upstreams = (&'static str, &'static str, &'static str, fn(&Report) -> u64);

const UPSTREAMS: &[Upstreams] = &[
    ("runnel_upstream_connected", "gauge", "Whether the server is connected.", |report| {
        report.connected.is_some().into()
    }),
    ("runnel_upstream_received_bytes_total", "counter", "Bytes from the server.", |report| {
        report.traffic.0
    }),
    ("runnel_upstream_sent_bytes_total", "counter", "Bytes to the server.", |report| {
        report.traffic.1
    }),
    ("runnel_upstream_restarts_total", "counter", "Connections after the first.", |report| {
        report.restarts.into()
    }),
    ("runnel_upstream_skipped_packets_total", "counter", "Packets it did not get.", |report| {
        report.skipped
    }),
];

/// Edges and forwards, as many as there are streams with series of their own.
fn connections_to_others(page: &mut Page, ask: &Ask) {
    let mut reports = upstreams::all(&ask.cx);
    // One that still sends the end of a stream has the labels of the next: the newer one counts.
    let mut seen = HashSet::new();
    reports.reverse();
    reports.retain(|report| seen.insert((report.kind, report.key.clone(), report.name.clone())));
    reports.reverse();
    reports.truncate(METRICS_STREAMS);
    for (name, kind, text, value) in UPSTREAMS.iter().filter(|_| !reports.is_empty()) {
        page.head(name, kind, text);
        for report in &reports {
            let key = &report.key;
            let labels = [
                ("kind", report.kind.name()),
                ("vhost", key.vhost()),
                ("app", key.app()),
                ("stream", key.stream()),
                ("server", &report.name),
            ];
            page.value(name, &labels, value(report));
        }
    }
}

/// The same of each input.
type InputSeries = (&'static str, &'static str, &'static str, fn(&Input) -> u64);

const INPUTS: &[InputSeries] = &[
    ("runnel_input_up", "gauge", "Whether something comes in.", |input| {
        (input.state() == State::Running).into()
    }),
    ("runnel_input_bytes_total", "counter", "Bytes that came in.", Input::bytes),
    ("runnel_input_packets_total", "counter", "Packets that were published.", Input::packets),
    ("runnel_input_damage_total", "counter", "Losses and damages on the way.", Input::damage),
    ("runnel_input_restarts_total", "counter", "Starts after the first.", |input| {
        input.restarts().into()
    }),
    (
        "runnel_input_age_seconds",
        "gauge",
        "Since it began last; 0 while it does not run.",
        |input| input.since().map_or(0, |since| clock::now().saturating_sub(since) / 1000),
    ),
    (
        "runnel_input_last_error_timestamp_seconds",
        "gauge",
        "When something went wrong last, since 1970; 0 for never.",
        |input| input.last_error().map_or(0, |failure| failure.at / 1000),
    ),
];

/// Casters, ingests and engines, as many as there are streams with series of their own.
fn inputs(page: &mut Page, all: &[Rc<Input>]) {
    let labels = |input: &Input| (input.service, input.name.clone(), input.output.clone());
    // The same labels twice would have the whole page refused.
    let mut seen = HashSet::new();
    let all = all.iter().filter(|input| seen.insert(labels(input)));
    let rows: Vec<_> = all.take(METRICS_STREAMS).collect();
    for (name, kind, text, value) in INPUTS.iter().filter(|_| !rows.is_empty()) {
        page.head(name, kind, text);
        for row in &rows {
            let labels = [("service", row.service), ("name", &*row.name), ("output", &*row.output)];
            page.value(name, &labels, value(row));
        }
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn one(&mut self, name: &str, kind: &str, text: &str, value: impl Display) {
        self.head(name, kind, text);
        self.value(name, &[], value);
    }

    fn head(&mut self, name: &str, kind: &str, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {text}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"{}\"", escaped(text));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }
}

/// As the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::default();
        page.one("a", "gauge", "Text.", 1.5);
        page.value("b", &[("x", "1\"\\\n"), ("y", "é")], 7);
        let want = "# HELP a Text.\n# TYPE a gauge\na 1.5\nb{x=\"1\\\"\\\\\\n\",y=\"é\"} 7\n";
        assert_eq!(page.0, want);
    }

    #[test]
    fn inputs_have_series_of_their_own_up_to_the_limit() {
        let list = Inputs::default();
        let mut page = Page::default();
        inputs(&mut page, &list.all());
        assert_eq!(page.0, "");
        for number in 0..=METRICS_STREAMS {
            let input = list.enter("caster-flv", format!("flv {number}"), "rtmp://h/[app]".into());
            input.count(5, 2);
        }
        list.enter("caster-flv", "flv 0".into(), "rtmp://h/[app]".into());
        inputs(&mut page, &list.all());
        for (name, ..) in INPUTS {
            let lines = page.0.lines().filter(|line| line.starts_with(&format!("{name}{{")));
            assert_eq!(lines.count(), METRICS_STREAMS, "{name}");
        }
        let first = "{service=\"caster-flv\",name=\"flv 0\",output=\"rtmp://h/[app]\"}";
        for line in
            [format!("runnel_input_bytes_total{first} 5"), format!("runnel_input_up{first} 0")]
        {
            assert_eq!(page.0.lines().filter(|l| **l == line).count(), 1, "{line}");
        }
    }
}
