//! The first screen: what this is, what it may use, where to publish and where to watch.

use crate::config::Config;
use crate::io::tcp;
use crate::limits;
use crate::media::Decimal;
use crate::server::listen::Listener;
use crate::server::options::Options;
use crate::service::FEATURES;
use core::net::{IpAddr, Ipv4Addr};
use std::fmt::Write as _;
use std::time::Duration;

/// The port that RTMP urls leave out.
const RTMP_PORT: u16 = 1935;

/// `runnel VERSION (board BOARD)`.
pub fn version() -> String {
    format!("runnel {} (board {})", env!("CARGO_PKG_VERSION"), limits::BOARD)
}

/// Prints the first screen to standard output.
pub fn print(options: &Options, config: &Config, listeners: &[Listener]) {
    let ports: Vec<(&str, u16)> =
        listeners.iter().map(|l| (l.protocol(), l.address.port())).collect();
    let local_only = listeners.iter().all(|l| l.address.ip().is_loopback());
    let host = if local_only { None } else { tcp::lan_address() };
    print!("{}", screen(options, config, &ports, host));
}

fn screen(
    options: &Options,
    config: &Config,
    ports: &[(&str, u16)],
    host: Option<IpAddr>,
) -> String {
    let clients = limits::clients(config.max_connections);
    let host = host.unwrap_or(Ipv4Addr::LOCALHOST.into());
    let host = if host.is_ipv6() { format!("[{host}]") } else { host.to_string() };
    let port = match ports.first() {
        Some(&(_, RTMP_PORT)) | None => String::new(),
        Some((_, port)) => format!(":{port}"),
    };
    let http = ports.iter().find(|(name, _)| *name == "HTTP");
    let http = http.map(|(_, port)| format!("http://{host}:{port}"));
    let app = format!("rtmp://{host}{port}/live");
    let mut text = String::new();
    let listens: Vec<String> =
        ports.iter().map(|(name, port)| format!("{name} on {port}")).collect();
    let file = options
        .config
        .as_ref()
        .map_or("none, built-in defaults".into(), |path| path.display().to_string());
    let features = if FEATURES.is_empty() { "none".into() } else { FEATURES.join(" ") };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", version());
    let _ = writeln!(text, "features  {features}");
    let _ = writeln!(
        text,
        "memory    {} at most: {} of media, {clients} connections (--limits lists the bounds)",
        megabytes(limits::worst_case(clients)),
        megabytes(limits::MEDIA_POOL)
    );
    let _ = writeln!(text, "config    {file}");
    let _ = writeln!(text, "listens   {}\n", listens.join(", "));
    let _ = writeln!(text, "Publish");
    let _ = writeln!(text, "  OBS     server {app}   stream key livestream");
    let _ = writeln!(text, "  ffmpeg  ffmpeg -re -i FILE -c copy -f flv {app}/livestream\n");
    let _ = writeln!(text, "Watch");
    if let Some(http) = http.as_ref().filter(|_| FEATURES.contains(&"web")) {
        let _ = writeln!(text, "  browser {http}/");
    }
    let _ = writeln!(text, "  VLC     {app}/livestream");
    let _ = writeln!(text, "  ffplay  ffplay -fflags nobuffer {app}/livestream");
    if let Some(http) = http.filter(|_| options.config.is_none() && FEATURES.contains(&"remux")) {
        let hls = if FEATURES.contains(&"hls") { ", .m3u8 (HLS)" } else { "" };
        let _ = writeln!(text, "  HTTP    {http}/live/livestream.flv   also .ts .aac .mp3{hls}");
    }
    if options.demo {
        let _ = writeln!(text, "  demo    ffplay -fflags nobuffer {app}/demo");
    } else if FEATURES.contains(&"demo") {
        let _ =
            writeln!(text, "  no encoder at hand? --demo publishes a test picture as {app}/demo");
    }
    text.push('\n');
    text
}

/// Every bound of the image with its number, and their sum.
pub fn limits(config: &Config) -> String {
    let clients = limits::clients(config.max_connections);
    let rows: &[(&str, usize, &str)] = &[
        ("max_streams", limits::MAX_STREAMS, w("streams; one more is refused")),
        ("max_clients", limits::MAX_CLIENTS, w("connections; one more is closed at accept")),
        ("max_connections", clients, w("of them allowed by the configuration")),
        (
            "media_pool",
            limits::MEDIA_POOL,
            w("bytes of media; a publisher without room is dropped"),
        ),
        ("ring_bytes", limits::RING_BYTES, w("bytes a stream; the oldest packet leaves")),
        ("ring_packets", limits::RING_PACKETS, w("packets a stream; the oldest leaves")),
        ("message_max", limits::MESSAGE_MAX, w("bytes a message; a longer one ends the publisher")),
        ("header_max", limits::HEADER_MAX, w("bytes of metadata, and of a sequence header")),
        ("stalled_bytes", limits::STALLED_BYTES, w("bytes kept for stalled players, all streams")),
        ("sndbuf", limits::SNDBUF, w("bytes of kernel buffer a player, doubled by the kernel")),
        ("read_buf", limits::READ_BUF, w("bytes of the one buffer that all is read through")),
        (
            "image_bytes",
            limits::IMAGE_BYTES,
            w("bytes of a merged write; one message may be longer"),
        ),
        ("image_packets", limits::IMAGE_PACKETS, w("packets of a merged write")),
        (
            "control_max",
            limits::CONTROL_MAX,
            w("bytes a command; a longer one ends the connection"),
        ),
        ("call_max", limits::CALL_MAX, w("the same while its bandwidth is measured")),
        ("control_out_max", limits::CONTROL_OUT_MAX, w("bytes of replies that are not read")),
        ("chunk_streams", limits::CHUNK_STREAMS, w("chunk streams a connection")),
        ("amf_depth", limits::AMF_DEPTH, w("objects inside one another")),
        ("amf_values", limits::AMF_VALUES, w("values in a message")),
        ("name_max", limits::NAME_MAX, w("bytes of a vhost, app or stream name")),
        ("url_max", limits::URL_MAX, w("bytes of a url")),
        ("hls_ram", limits::HLS_RAM, w("bytes of HLS in memory; the oldest segments leave")),
        ("hls_ram_stream", limits::HLS_RAM_STREAM, w("of them a stream")),
        ("hls_segment", limits::HLS_SEGMENT, w("bytes a segment in memory; it is closed before")),
        ("hls_file", limits::HLS_FILE, w("bytes a segment in a file; it is closed then")),
        ("hls_segments", limits::HLS_SEGMENTS, w("segments in a playlist; the oldest leaves")),
        ("nal_units", limits::NAL_UNITS, w("in a picture in TS; one with more is left out")),
        ("parameter_sets", limits::PARAMETER_SETS, w("bytes a stream in TS")),
        ("ts_input", limits::TS_INPUT, w("bytes of a TS that comes in, each")),
        (
            "playlist_bytes",
            limits::PLAYLIST_BYTES,
            w("of a playlist that is pulled; more is refused"),
        ),
        ("playlist_segments", limits::PLAYLIST_SEGMENTS, w("of it taken at once")),
        (
            "http_head",
            limits::HTTP_HEAD,
            w("bytes of the head of an HTTP request; more is refused"),
        ),
        ("http_headers", limits::HTTP_HEADERS, w("lines of it")),
        ("http_body", limits::HTTP_BODY, w("bytes of a request's body in memory; more is refused")),
        ("forwards", limits::FORWARDS, w("servers that a stream is passed on to")),
        ("forwards_all", limits::FORWARDS_ALL, w("the same of all streams; more are not begun")),
        ("tls_connections", limits::TLS_CONNECTIONS, w("to others at once; one more is not made")),
        ("tls_bytes", limits::TLS_BYTES, w("the most that TLS has of each")),
        ("tls_out", limits::TLS_OUT, w("of them encrypted and not sent yet")),
        ("tls_ca_file", limits::TLS_CA_FILE, w("bytes of the file of authorities")),
        ("tls_sessions", limits::TLS_SESSIONS, w("servers whose next handshake is short")),
        ("fetches", limits::FETCHES, w("HTTP requests of a service at once; the next one waits")),
        (
            "fetch_kept",
            limits::FETCH_KEPT,
            w("connections of a service kept; the oldest is closed"),
        ),
        ("hook_requests", limits::HOOK_REQUESTS_VHOST, w("of a vhost, of fetches; the next waits")),
        ("hook_reply", limits::HOOK_REPLY, w("bytes of the reply of a hook; a longer one is none")),
        ("hook_queue", limits::HOOK_QUEUE, w("bytes of events that wait; more are not told")),
        ("hook_queue_vhost", limits::HOOK_QUEUE_VHOST, w("of them of one vhost")),
        ("hook_notifies", limits::HOOK_NOTIFIES, w("fetches of on_hls_notify at once")),
        ("heartbeats", limits::HEARTBEATS, w("reports at once; the next one waits")),
        ("json_depth", limits::JSON_DEPTH, w("levels of JSON that comes in; more is refused")),
        ("api_listed", limits::API_LISTED, w("streams or clients in an answer of the API")),
        ("api_body", limits::API_BODY, w("bytes of a request to it; more is refused")),
        ("api_out", limits::API_OUT, w("bytes of long answers not taken yet; more is refused")),
        (
            "metrics_streams",
            limits::METRICS_STREAMS,
            w("streams with series; others are in the sums"),
        ),
        (
            "streams_known",
            limits::STREAMS_KNOWN,
            w("idle streams in statistics; the oldest leaves"),
        ),
        ("files_open", limits::FILES_OPEN, w("files sent over HTTP at once; one more is refused")),
        ("file_pieces", limits::FILE_PIECES, w("pieces of them in memory, 64 KB each")),
        ("conf_bytes", limits::CONF_BYTES, w("bytes of a configuration file")),
        ("conf_depth", limits::CONF_DEPTH, w("blocks inside one another in it")),
        ("log_line", limits::LOG_LINE, w("bytes of a log line; the rest is cut")),
        ("disk_queue", limits::DISK_QUEUE, w("bytes that wait for the disk; more is not recorded")),
        ("log_queue", limits::LOG_QUEUE, w("bytes of log lines that wait; more are dropped")),
        ("mix_silent", limits::MIX_SILENT, w("packets that mix_correct waits for a silent kind")),
        ("mix_unseen", limits::MIX_UNSEEN, w("packets that it waits for a kind never seen")),
        ("linger_bytes", limits::LINGER_BYTES, w("bytes that a refused peer may still send")),
    ];
    let timeouts: &[(&str, Duration, &str)] = &[
        ("handshake", limits::HANDSHAKE_TIMEOUT, w("from accept to the end of the handshake")),
        ("proxy", limits::PROXY_TIMEOUT, w("for the header of the PROXY protocol before it")),
        ("command", limits::COMMAND_TIMEOUT, w("for each step from there to publish or play")),
        ("send", limits::SEND_TIMEOUT, w("for a player to take a byte")),
        ("republish", limits::REPUBLISH_TIMEOUT, w("from FCUnpublish to the next publish")),
        ("replay", limits::REPLAY_TIMEOUT, w("from closeStream to the next play")),
        ("http_head", limits::HTTP_HEAD_TIMEOUT, w("for the head of an HTTP request")),
        ("http_body", limits::HTTP_BODY_TIMEOUT, w("for each piece of its body")),
        ("http_idle", limits::HTTP_IDLE_TIMEOUT, w("from its answer to the next request")),
        ("hls_wait", limits::HLS_WAIT, w("that a player waits for the first segment")),
        ("hls_idle", limits::HLS_IDLE, w("that segments stay after the end of their stream")),
        ("log_start", limits::LOG_START, w("for what a start says to find room in log_queue")),
        ("linger", limits::LINGER, w("for the last bytes to reach a refused peer")),
        ("grace", limits::GRACE, w("for connections to end when the server stops")),
        ("disk", limits::DISK_TIMEOUT, w("for files to be finished then")),
        ("quick_disk", limits::QUICK_DISK_TIMEOUT, w("the same when it stops at once (INT)")),
        (
            "fetch",
            limits::FETCH_TIMEOUT,
            w("for an HTTP request of our own, unless said otherwise"),
        ),
        ("fetch_idle", limits::FETCH_IDLE, w("that its connection is kept for the next one")),
        ("hook_notify", limits::HOOK_NOTIFY_TIMEOUT, w("for a fetch of on_hls_notify")),
        ("dns", limits::DNS_TIMEOUT, w("for the answer of a name server; then the next is asked")),
        ("hook_flush", limits::HOOK_FLUSH, w("for hooks to be told what waits then")),
    ];
    let mut text = version();
    text.push('\n');
    // Writing to a String cannot fail.
    for (name, value, what) in rows {
        let _ = writeln!(text, "{}", format!("{name:<16} {value:>12}  {what}").trim_end());
    }
    for (name, time, what) in timeouts {
        let _ =
            writeln!(text, "{:<18} {:>10}  ms {what}", format!("{name} timeout"), time.as_millis());
    }
    let _ = writeln!(
        text,
        "worst case       {:>12}  bytes in all, kernel socket buffers not counted ({} of them)",
        limits::worst_case(clients),
        megabytes((2 * limits::SNDBUF).saturating_mul(clients))
    );
    text
}

/// From where on the ring of a stream, and not `queue_length`, says how far players may lag: a line
/// for all vhosts that have the same one.
pub fn rings<'v>(vhosts: impl Iterator<Item = (&'v str, u32)>) -> Vec<String> {
    let mut alike: Vec<(u32, &str, usize)> = Vec::new();
    for (name, queue_ms) in vhosts {
        match alike.iter_mut().find(|(ms, ..)| *ms == queue_ms) {
            Some((.., more)) => *more += 1,
            None => alike.push((queue_ms, name, 0)),
        }
    }
    let lines = alike.iter().map(|(queue_ms, vhost, more)| {
        let ms = u64::from(*queue_ms).max(1);
        let more = if *more == 0 { String::new() } else { format!(" and {more} more") };
        format!(
            "vhost {vhost}{more}: players may lag {} s (queue_length), less in streams above {} \
             kbit/s (ring_bytes) or {} packets/s (ring_packets)",
            Decimal::short(f64::from(*queue_ms) / 1000.0),
            limits::RING_BYTES as u64 * 8 / ms,
            limits::RING_PACKETS as u64 * 1000 / ms
        )
    });
    lines.collect()
}

/// What a limit does is said by images that have words for the directives, too.
const fn w(what: &'static str) -> &'static str {
    if limits::REFERENCE { what } else { "" }
}

fn megabytes(bytes: usize) -> String {
    format!("{} MB", Decimal::new(bytes as f64 / (1 << 20) as f64, 1))
}
