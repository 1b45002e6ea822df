//! The HTTP API as other programs use it: curl, Prometheus, a server that gets heartbeats.
#![cfg(all(feature = "api", feature = "heartbeat", feature = "remux", feature = "demo"))]

mod common;

use common::client::{Peer, publish};
use common::http::{self, Http, get};
use common::{RUNNEL, SOON, Server, TempDir, eventually, free_port, media, run, spawn, tool};
use runnel::proto::rtmp::client::Config;
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tinyjson::JsonValue;

fn parse(text: &[u8]) -> Result<JsonValue, String> {
    let text = str::from_utf8(text).map_err(|e| e.to_string())?;
    text.parse().map_err(|e: tinyjson::JsonParseError| e.to_string())
}

/// A server with an API. `api` stands in `http_api`, `text` behind it.
struct Api {
    server: Server,
    port: u16,
}

impl Api {
    fn start(api: &str, text: &str) -> Self {
        Self::start_with(api, text, &[])
    }

    fn start_with(api: &str, text: &str, args: &[&str]) -> Self {
        let (rtmp, port) = (free_port(), free_port());
        let file = format!(
            "# kept\nlisten 127.0.0.1:{rtmp};\ndaemon off;\nsrs_log_tank console;\n\
             max_connections 50; # kept as well\n\
             http_api {{ enabled on; listen 127.0.0.1:{port}; {api} }}\n{text}\n"
        );
        let dir = TempDir::new();
        fs::write(dir.join("test.conf"), file).unwrap();
        let mut command = Command::new(RUNNEL);
        let server = Server::spawn(command.args(["-c", "test.conf"]).args(args), rtmp, dir);
        server.line("API listens at");
        Self { server, port }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What curl gets, whatever the status.
    fn curl(&self, args: &[&str], path: &str) -> Option<String> {
        let curl = tool("curl")?;
        let url = self.url(path);
        let all =
            ["-sS", "-g", "--max-time", "10"].iter().chain(args).copied().chain([url.as_str()]);
        Some(run(&curl, all))
    }

    fn json(&self, path: &str) -> JsonValue {
        let (head, body) = get(self.port, path, "");
        assert_eq!(head.status, 200, "{path}");
        assert_eq!(head.get("Content-Type"), Some("application/json"), "{path}");
        let value = parse(&body);
        value.unwrap_or_else(|e| panic!("{path}: {e}: {}", String::from_utf8_lossy(&body)))
    }

    /// Status and body of a request by hand.
    fn send(&self, method: &str, path: &str, lines: &str, body: &[u8]) -> (u16, String) {
        let mut http = Http::connect(self.port);
        let host = if lines.contains("Host:") { "" } else { "Host: 127.0.0.1\r\n" };
        let length = body.len();
        http.send(format!(
            "{method} {path} HTTP/1.1\r\n{host}Content-Length: {length}\r\n{lines}\r\n"
        ));
        // It may answer before it has all of it.
        let _ = http.socket.write_all(body);
        let head = http.head().unwrap();
        let text = String::from_utf8_lossy(&http.body(&head)).into_owned();
        (head.status, text)
    }
}

fn number(value: &JsonValue, name: &str) -> f64 {
    *value[name].get().unwrap_or_else(|| panic!("{name} is no number: {value:?}"))
}

fn text(value: &JsonValue, name: &str) -> String {
    value[name].get::<String>().unwrap_or_else(|| panic!("{name} is no text: {value:?}")).clone()
}

fn list(value: &JsonValue, name: &str) -> Vec<JsonValue> {
    value[name].get::<Vec<JsonValue>>().unwrap_or_else(|| panic!("{name} is no list")).clone()
}

/// The kinds of the members of `value`: `name:n` for numbers, `s` text, `b` switches, `o` objects,
/// `l` lists, `0` null; sorted.
fn kinds(value: &JsonValue) -> Vec<String> {
    let JsonValue::Object(members) = value else { panic!("no object: {value:?}") };
    let mut kinds: Vec<String> = members
        .iter()
        .map(|(name, value)| {
            let kind = match value {
                JsonValue::Number(_) => "n",
                JsonValue::String(_) => "s",
                JsonValue::Boolean(_) => "b",
                JsonValue::Object(_) => "o",
                JsonValue::Array(_) => "l",
                JsonValue::Null => "0",
            };
            format!("{name}:{kind}")
        })
        .collect();
    kinds.sort();
    kinds
}

fn assert_kinds(value: &JsonValue, want: &str) {
    let mut want: Vec<&str> = want.split_whitespace().collect();
    want.sort_unstable();
    assert_eq!(kinds(value), want);
}

/// Path and what `data` has, as the original's consoles read it.
const ENDPOINTS: &[(&str, &str)] = &[
    ("versions", "major:n minor:n revision:n version:s"),
    ("summaries", "ok:b now_ms:n self:o system:o"),
    (
        "rusages",
        "ok:b sample_time:n ru_utime:n ru_stime:n ru_maxrss:n ru_ixrss:n ru_idrss:n ru_isrss:n \
         ru_minflt:n ru_majflt:n ru_nswap:n ru_inblock:n ru_oublock:n ru_msgsnd:n ru_msgrcv:n \
         ru_nsignals:n ru_nvcsw:n ru_nivcsw:n",
    ),
    (
        "self_proc_stats",
        "ok:b sample_time:n percent:n pid:n comm:s state:s ppid:n pgrp:n session:n tty_nr:n tpgid:n \
         flags:n minflt:n cminflt:n majflt:n cmajflt:n utime:n stime:n cutime:n cstime:n priority:n \
         nice:n num_threads:n itrealvalue:n starttime:n vsize:n rss:n rsslim:n startcode:n endcode:n \
         startstack:n kstkesp:n kstkeip:n signal:n blocked:n sigignore:n sigcatch:n wchan:n nswap:n \
         cnswap:n exit_signal:n processor:n rt_priority:n policy:n delayacct_blkio_ticks:n \
         guest_time:n cguest_time:n",
    ),
    (
        "system_proc_stats",
        "ok:b sample_time:n percent:n user:n nice:n sys:n idle:n iowait:n irq:n softirq:n steal:n \
         guest:n",
    ),
    (
        "meminfos",
        "ok:b sample_time:n percent_ram:n percent_swap:n MemActive:n RealInUse:n NotInUse:n \
         MemTotal:n MemFree:n Buffers:n Cached:n SwapTotal:n SwapFree:n",
    ),
    ("authors", "primary:s license:s copyright:s authors:s contributors_link:s contributors:s"),
    (
        "features",
        "ssl:b hls:b hds:b callback:b api:b httpd:b dvr:b transcode:b ingest:b stat:b nginx:b \
         ffmpeg:b stream_caster:b complex_send:b tcp_nodelay:b so_sendbuf:b mr:b",
    ),
    ("tests/requests", "uri:s path:s METHOD:s headers:o server:o"),
    ("requests", "uri:s path:s METHOD:s headers:o server:o"),
    ("clusters?ip=1.2.3.4&vhost=v&app=live&stream=s", "query:o origin:0"),
];

#[test]
fn every_path_answers_with_the_fields_of_the_original() {
    let api = Api::start("", "vhost __defaultVhost__ { }");
    for (path, fields) in ENDPOINTS {
        let (name, query) = path.split_once('?').unwrap_or((path, ""));
        for slash in ["", "/"] {
            let value = api.json(&format!("/api/v1/{name}{slash}?{query}"));
            assert_eq!(number(&value, "code"), 0.0, "{path}");
            assert_kinds(&value["data"], fields);
            let has_server = !name.starts_with("summaries") && !name.starts_with("clusters");
            let JsonValue::Object(members) = &value else { panic!() };
            assert_eq!(members.contains_key("server"), has_server, "{path}");
        }
    }
    for path in ["/api/v1", "/api/v1/"] {
        let urls = &api.json(path)["urls"];
        for (name, _) in ENDPOINTS.iter().filter(|(name, _)| !name.contains(['/', '?'])) {
            text(urls, name);
        }
        assert_kinds(&urls["tests"], "requests:s errors:s redirects:s [vhost]:s");
    }
    assert_kinds(&api.json("/api/")["urls"], "v1:s");
    for (path, name) in [("vhosts", "vhosts"), ("streams/", "streams"), ("clients/", "clients")] {
        assert!(list(&api.json(&format!("/api/v1/{path}")), name).is_empty(), "{path}");
    }
    assert_eq!(number(&api.json("/api/v1/tests/errors"), "code"), 100.0);
    assert_eq!(number(&api.json("/api/v1/vhosts/12345678"), "code"), 2048.0);
    assert_eq!(number(&api.json("/api/v1/streams/12345678"), "code"), 2048.0);
    assert_eq!(number(&api.json("/api/v1/clients/12345678"), "code"), 2049.0);
    let (head, _) = get(api.port, "/api/v1/tests/redirects?a=b", "");
    assert_eq!((head.status, head.get("Location")), (301, Some("/api/v1/tests/errors?a=b")));
    // Any method reads, as in the original; only some lists insist.
    assert_eq!(api.send("POST", "/api/v1/versions", "", b"").0, 200);
    assert_eq!(api.send("POST", "/api/v1/vhosts/", "", b"").0, 405);
    assert_eq!(api.send("DELETE", "/api/v1/streams/", "", b"").0, 405);
    let echoed = api.send("PUT", "/api/v1/tests/requests?a=b", "", b"").1;
    assert_eq!(text(&parse(echoed.as_bytes()).unwrap()["data"], "METHOD"), "PUT");
    // Recordings have no list, as in the original.
    for path in ["/", "/api/v1/dvrs", "/api/v1/nothing"] {
        assert_eq!(get(api.port, path, "").0.status, 404, "{path}");
    }
}

#[test]
fn summaries_are_those_of_the_process_and_move() {
    let api = Api::start("", "vhost __defaultVhost__ { }");
    eventually("two samples", SOON, || api.json("/api/v1/summaries")["data"]["ok"] == true.into());
    let data = api.json("/api/v1/summaries")["data"].clone();
    assert_kinds(
        &data["self"],
        "version:s pid:n ppid:n argv:s cwd:s mem_kbyte:n mem_percent:n cpu_percent:n srs_uptime:n",
    );
    assert_kinds(
        &data["system"],
        "cpu_percent:n disk_read_KBps:n disk_write_KBps:n disk_busy_percent:n mem_ram_kbyte:n \
         mem_ram_percent:n mem_swap_kbyte:n mem_swap_percent:n cpus:n cpus_online:n uptime:n \
         ilde_time:n load_1m:n load_5m:n load_15m:n net_sample_time:n net_recv_bytes:n \
         net_send_bytes:n net_recvi_bytes:n net_sendi_bytes:n srs_sample_time:n srs_recv_bytes:n \
         srs_send_bytes:n conn_sys:n conn_sys_et:n conn_sys_tw:n conn_sys_udp:n conn_srs:n",
    );
    assert_eq!(number(&data["self"], "pid"), f64::from(api.server.pid()));
    assert_eq!(number(&data["self"], "ppid"), f64::from(std::process::id()));
    assert!(text(&data["self"], "argv").ends_with("-c test.conf"));
    assert!((100.0..1e6).contains(&number(&data["self"], "mem_kbyte")));
    let ram = number(&data["system"], "mem_ram_percent");
    assert!(ram > 0.0 && ram < 1.0, "{ram}");
    let before = number(&data["system"], "srs_recv_bytes");
    let mut peer = Peer::with(&api.server, Config::new(api.server.tc_url(), "live", publish("s")));
    peer.started();
    eventually("bytes and connections move", SOON, || {
        let system = api.json("/api/v1/summaries")["data"]["system"].clone();
        number(&system, "srs_recv_bytes") > before + 3000.0 && number(&system, "conn_srs") >= 1.0
    });
}

#[test]
fn the_share_of_the_processor_is_that_which_top_tells() {
    let Some(top) = tool("top") else { return };
    let api = Api::start("", "vhost __defaultVhost__ { }");
    let pid = api.server.pid().to_string();
    let stop = Arc::new(AtomicBool::new(false));
    // Work of one pace, that a busy machine does not slow down much.
    let load = thread::spawn({
        let (stop, port) = (stop.clone(), api.port);
        move || {
            let mut http = Http::connect(port);
            let mut next = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                let head = http.ask("/metrics", "");
                http.body(&head);
                next += Duration::from_millis(4);
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }
    });
    thread::sleep(Duration::from_secs(4));
    let watched = thread::spawn(move || run(&top, ["-b", "-d", "9", "-n", "2", "-p", &pid]));
    let mut shares = Vec::new();
    // Samples are of 3 seconds; the first one begins before those of top do.
    for _ in 0..3 {
        thread::sleep(Duration::from_secs(3));
        let data = api.json("/api/v1/summaries")["data"].clone();
        shares.push(100.0 * number(&data["self"], "cpu_percent"));
    }
    let text = watched.join().unwrap();
    stop.store(true, Ordering::Relaxed);
    load.join().unwrap();
    // The first page of top is the average since the process began.
    let line = text.lines().rfind(|line| line.trim_end().ends_with("runnel")).unwrap();
    let told: f64 = line.split_whitespace().nth(8).unwrap().parse().unwrap();
    let ours = shares.iter().sum::<f64>() / shares.len() as f64;
    assert!(told > 5.0, "too little work: {line}");
    assert!((ours - told).abs() < 5.0, "{shares:?}, top: {told}");
}

#[test]
fn a_published_stream_is_told_with_its_codecs_and_bytes() {
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let api = Api::start("", "vhost __defaultVhost__ { hls { enabled on; hls_fragment 4; } }");
    let sample = media::sample(&ffmpeg);
    let mut publisher = media::publish_with(
        &ffmpeg,
        "-re -stream_loop -1",
        &sample,
        "-c copy",
        &api.server.url("cam"),
    );
    eventually("the stream is there, with both headers", SOON, || {
        list(&api.json("/api/v1/streams/"), "streams").iter().any(|s| {
            number(s, "clients") == 1.0
                && matches!(
                    (&s["video"], &s["audio"]),
                    (JsonValue::Object(_), JsonValue::Object(_))
                )
        })
    });
    let stream = list(&api.json("/api/v1/streams"), "streams").remove(0);
    assert_kinds(
        &stream,
        "id:n name:s vhost:n app:s live_ms:n clients:n frames:n send_bytes:n recv_bytes:n kbps:o \
         publish:o video:o audio:o",
    );
    assert_kinds(
        &stream["kbps"],
        "recv_30s:n send_30s:n recv_1m:n send_1m:n recv_5m:n send_5m:n recv_60m:n send_60m:n",
    );
    assert_eq!((text(&stream, "name"), text(&stream, "app")), ("cam".into(), "live".into()));
    assert_kinds(&stream["video"], "codec:s profile:s level:s width:n height:n");
    assert_kinds(&stream["audio"], "codec:s sample_rate:n channel:n profile:s");
    assert_eq!(text(&stream["video"], "codec"), "H264");
    assert_eq!(text(&stream["audio"], "codec"), "AAC");
    assert_eq!(text(&stream["audio"], "profile"), "LC");
    assert_eq!(stream["publish"]["active"], true.into());
    let bytes = number(&stream, "recv_bytes");
    let id = number(&stream, "id");
    eventually("bytes, frames and rates grow", SOON, || {
        let stream = api.json(&format!("/api/v1/streams/{id}"))["stream"].clone();
        number(&stream, "recv_bytes") > bytes
            && number(&stream, "frames") > 10.0
            && number(&stream["kbps"], "recv_30s") > 0.0
    });
    let vhost = list(&api.json("/api/v1/vhosts/"), "vhosts").remove(0);
    assert_kinds(
        &vhost,
        "id:n name:s enabled:b clients:n streams:n send_bytes:n recv_bytes:n kbps:o hls:o",
    );
    assert_eq!(text(&vhost, "name"), "__defaultVhost__");
    assert_eq!((number(&vhost, "streams"), number(&vhost, "id")), (1.0, number(&stream, "vhost")));
    assert_eq!(
        (vhost["hls"]["enabled"].clone(), number(&vhost["hls"], "fragment")),
        (true.into(), 4.0)
    );
    let one = api.json(&format!("/api/v1/vhosts/{}", number(&vhost, "id")));
    assert_eq!(text(&one["vhost"], "name"), "__defaultVhost__");
    publisher.stop();
    eventually("it is idle, and still known", SOON, || {
        let stream = api.json(&format!("/api/v1/streams/{id}"))["stream"].clone();
        stream["publish"]["active"] == false.into()
            && number(&stream, "clients") == 0.0
            && stream["video"] == JsonValue::Null
            && number(&stream, "recv_bytes") > bytes
    });
}

#[test]
fn clients_are_listed_and_kicked_with_curl() {
    let port = free_port();
    let web = format!("http_server {{ enabled on; listen 127.0.0.1:{port}; }}");
    let vhost = format!("vhost __defaultVhost__ {{ {} }}", http::REMUX);
    let api = Api::start("", &format!("{web} {vhost}"));
    let config = Config::new(api.server.tc_url(), "live", publish("s"));
    let mut peer = Peer::with(&api.server, config);
    peer.started();
    let mut player = Http::connect(port);
    assert_eq!(player.ask("/live/s.flv?token=1", "Referer: http://a/p\r\n").status, 200);
    let mut clients = Vec::new();
    eventually("both are clients", SOON, || {
        clients = list(&api.json("/api/v1/clients/"), "clients");
        clients.len() == 2
    });
    let (one, two) = (&clients[0], &clients[1]);
    assert_kinds(
        one,
        "id:n vhost:n stream:n ip:s pageUrl:s swfUrl:s tcUrl:s url:s type:s publish:b alive:n",
    );
    assert_eq!((text(one, "type"), one["publish"].clone()), ("fmle-publish".into(), true.into()));
    assert_eq!((text(two, "type"), two["publish"].clone()), ("Play".into(), false.into()));
    assert_eq!((text(two, "url"), text(two, "ip")), ("/live/s".into(), "127.0.0.1".into()));
    assert_eq!(text(two, "pageUrl"), "http://a/p");
    let stream = &list(&api.json("/api/v1/streams"), "streams")[0];
    assert_eq!(number(stream, "id"), number(one, "stream"));
    eventually("players over HTTP count", SOON, || {
        number(&list(&api.json("/api/v1/streams"), "streams")[0], "clients") == 2.0
    });
    for (query, ids) in [("start=1", 1), ("count=1", 1), ("start=2", 0), ("start=x&count=y", 2)] {
        let found = list(&api.json(&format!("/api/v1/clients?{query}")), "clients");
        assert_eq!(found.len(), ids, "{query}");
    }
    let path = format!("/api/v1/clients/{}", number(two, "id"));
    assert_eq!(text(&api.json(&path)["client"], "url"), "/live/s");
    let Some(said) = api.curl(&["-X", "DELETE"], &path) else { return };
    assert_eq!(said, "{\"code\":0}");
    assert!(player.is_closed_within(SOON));
    eventually("the client is gone", SOON, || {
        api.curl(&["-X", "DELETE"], &path).as_deref() == Some("{\"code\":2049}")
    });
    let path = format!("/api/v1/clients/{}", number(one, "id"));
    assert_eq!(api.curl(&["-X", "DELETE"], &path).as_deref(), Some("{\"code\":0}"));
    api.server.line("kicked by the operator");
}

#[test]
fn consoles_of_other_sites_read_by_jsonp_and_cors() {
    let api = Api::start("", "vhost __defaultVhost__ { }");
    let Some(said) = api.curl(&["-i"], "/api/v1/versions?callback=f") else { return };
    assert!(said.contains("Content-Type: text/javascript"), "{said}");
    assert!(said.contains("Access-Control-Allow-Origin: *"), "{said}");
    let body = said.lines().last().unwrap();
    let inside = body.strip_prefix("f(").and_then(|rest| rest.strip_suffix(')')).unwrap();
    assert_eq!(number(&parse(inside.as_bytes()).unwrap(), "code"), 0.0);
    let said = api.curl(&["-i", "-X", "OPTIONS"], "/api/v1/clients/1").unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert!(said.contains("Access-Control-Allow-Methods: GET, HEAD"), "{said}");
    assert!(api.curl(&["-i"], "/api/v1/versions?callback=a(b)").unwrap().contains("400"));
    let closed = Api::start("crossdomain off;", "vhost __defaultVhost__ { }");
    let said = closed.curl(&["-i", "-X", "OPTIONS"], "/api/v1/versions").unwrap();
    assert!(said.starts_with("HTTP/1.1 405"), "{said}");
    let said = closed.curl(&["-i"], "/api/v1/versions").unwrap();
    assert!(said.contains("200 OK") && !said.contains("Access-Control"), "{said}");
    let said = closed.curl(&["-i", "-H", "Host: evil.example"], "/api/v1/versions").unwrap();
    assert!(said.starts_with("HTTP/1.1 403"), "{said}");
}

/// A server with the sample `name`; `from` and `to` are replaced in it, its ports are.
fn sample(name: &str, from: &str, to: &str) -> Api {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("conf/{name}.conf"));
    let (rtmp, port, dir) = (free_port(), free_port(), TempDir::new());
    let conf = fs::read_to_string(path).unwrap();
    let conf = conf.replace("listen 1935;", &format!("listen 127.0.0.1:{rtmp};"));
    let conf = conf.replace("listen 1985;", &format!("listen 127.0.0.1:{port};"));
    assert!(conf.contains(from));
    fs::write(dir.join("test.conf"), conf.replace(from, to)).unwrap();
    let server = Server::spawn(Command::new(RUNNEL).args(["-c", "test.conf"]), rtmp, dir);
    Api { server, port }
}

#[test]
fn the_samples_of_the_raw_api_and_of_heartbeats_do_what_they_say() {
    let api = sample("http.api.raw", "", "");
    api.server.line("API listens at");
    let raw = api.json("/api/v1/raw?rpc=raw")["http_api"]["raw_api"].clone();
    assert_kinds(&raw, "enabled:b allow_reload:b allow_query:b allow_update:b");
    assert_eq!((&raw["enabled"], &raw["allow_update"]), (&true.into(), &true.into()));
    assert_eq!(api.send("POST", "/api/v1/raw?rpc=reload", "", b"").1, "{\"code\":0}");
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = format!("127.0.0.1:{}/", listener.local_addr().unwrap().port());
    let start = Instant::now();
    let _api = sample("http.heartbeat", "127.0.0.1:8085/", &port);
    let (mut socket, _) = listener.accept().unwrap();
    assert!(start.elapsed() >= Duration::from_secs(9), "{:?}", start.elapsed());
    let mut bytes = [0; 64];
    socket.read_exact(&mut bytes).unwrap();
    assert!(bytes.starts_with(b"POST /api/v1/servers HTTP/1.1\r\n"));
}

/// All of the raw API.
const RAW: &str = "raw_api { enabled on; allow_reload on; allow_query on; allow_update on; }";

#[test]
fn a_change_that_persists_survives_a_restart_and_keeps_the_rest_of_the_file() {
    let mut api = Api::start(RAW, "vhost __defaultVhost__ { # mine\n}");
    let file = api.server.dir.join("test.conf");
    let before = fs::read_to_string(&file).unwrap();
    let update = |api: &Api, rest: &str| {
        api.curl(&["-X", "POST"], &format!("/api/v1/raw?rpc=update&{rest}"))
    };
    let Some(said) = update(&api, "scope=max_connections&value=60&persist=1") else { return };
    assert_eq!(said, "{\"code\":0}");
    let after = fs::read_to_string(&file).unwrap();
    assert_eq!(after, before.replace("max_connections 50;", "max_connections 60;"));
    assert_eq!(fs::read_to_string(api.server.dir.join("test.conf.bak")).unwrap(), before);
    // In the body, and a vhost.
    let json = "{\"rpc\":\"update\",\"scope\":\"vhost\",\"value\":\"a.com\",\"param\":\"create\",\
                \"persist\":true}";
    assert_eq!(api.send("POST", "/api/v1/raw", "", json.as_bytes()), (200, "{\"code\":0}".into()));
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{after}vhost a.com {{\n}}\n"));
    let status = {
        api.server.signal(Signal::TERM);
        api.server.wait(SOON)
    };
    assert!(status.is_some());
    let text = fs::read_to_string(&file).unwrap();
    let again = Server::with_file(api.server.port, &text);
    again.line("API listens at");
    let again = Api { server: again, port: api.port };
    let global = again.json("/api/v1/raw?rpc=query&scope=global")["global"].clone();
    assert_eq!((number(&global, "max_connections"), number(&global, "nb_vhosts")), (60.0, 2.0));
}

#[test]
fn a_change_that_does_not_persist_is_gone_with_the_next_reload() {
    let api = Api::start(RAW, "vhost __defaultVhost__ { }");
    let file = fs::read_to_string(api.server.dir.join("test.conf")).unwrap();
    let most =
        || number(&api.json("/api/v1/raw?rpc=query&scope=global")["global"], "max_connections");
    let path = "/api/v1/raw?rpc=update&scope=max_connections&value=";
    assert_eq!(api.send("POST", &format!("{path}60"), "", b"").1, "{\"code\":0}");
    assert_eq!(most(), 60.0);
    assert_eq!(
        api.send("POST", "/api/v1/raw?rpc=update&scope=utc_time&value=true", "", b"").0,
        200
    );
    assert_eq!(most(), 60.0, "changes add up");
    assert_eq!(fs::read_to_string(api.server.dir.join("test.conf")).unwrap(), file);
    let Some(said) = api.curl(&[], "/api/v1/raw?rpc=reload") else { return };
    assert_eq!((said.as_str(), most()), ("{\"code\":0}", 50.0));
}

#[test]
fn vhosts_are_made_renamed_switched_and_deleted() {
    let api = Api::start(RAW, "vhost __defaultVhost__ { dvr { enabled on; dvr_path ./dvr; } }");
    let update = |rest: &str| {
        let value = parse(
            api.send("POST", &format!("/api/v1/raw?rpc=update&{rest}"), "", b"").1.as_bytes(),
        );
        number(&value.unwrap(), "code")
    };
    let names = || {
        let global = api.json("/api/v1/raw?rpc=query&scope=global")["global"].clone();
        let JsonValue::Object(vhosts) = &global["vhosts"] else { panic!() };
        let mut names: Vec<_> =
            vhosts.iter().map(|(n, v)| format!("{n} {:?}", v["enabled"])).collect();
        names.sort();
        names.join(", ").replace("Boolean", "")
    };
    for (rest, code, then) in [
        ("value=a.com&param=create", 0, "__defaultVhost__ (true), a.com (true)"),
        ("value=a.com&param=create", 1063, "__defaultVhost__ (true), a.com (true)"),
        ("value=a.com&param=delete", 1063, "__defaultVhost__ (true), a.com (true)"),
        ("value=a.com&param=update&data=b.com", 1063, "__defaultVhost__ (true), a.com (true)"),
        ("value=a.com&param=disable", 0, "__defaultVhost__ (true), a.com (false)"),
        ("value=a.com&param=update&data=b.com", 0, "__defaultVhost__ (true), b.com (false)"),
        ("value=b.com&param=enable", 0, "__defaultVhost__ (true), b.com (true)"),
        ("value=b.com&param=disable", 0, "__defaultVhost__ (true), b.com (false)"),
        ("value=b.com&param=delete", 0, "__defaultVhost__ (true)"),
    ] {
        assert_eq!(update(&format!("scope=vhost&{rest}")), f64::from(code), "{rest}");
        assert_eq!(names(), then, "{rest}");
    }
    // All are recorded: all but one cannot be said.
    let dvr = "scope=dvr&value=__defaultVhost__&param";
    assert_eq!(update(&format!("{dvr}=disable&data=live/s")), 1063.0);
    assert_eq!(update(&format!("{dvr}=enable&data=live/s")), 0.0);
    let vhost =
        api.json("/api/v1/raw?rpc=query&scope=vhost&vhost=__defaultVhost__")["vhost"].clone();
    assert_eq!(vhost["dvr"]["dvr_apply"], vec![JsonValue::from("all".to_owned())].into());
}

#[test]
fn a_change_that_cannot_be_leaves_all_as_it_was() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let api = Api::start(RAW, "vhost __defaultVhost__ { }");
    let conf = api.server.dir.join("test.conf");
    let before = fs::read_to_string(&conf).unwrap();
    let port = taken.local_addr().unwrap().port();
    let path = format!("/api/v1/raw?rpc=update&persist=1&scope=listen&value=127.0.0.1:{port}");
    let said = api.send("POST", &path, "", b"").1;
    assert!(said.starts_with("{\"code\":1002,\"error\":"), "{said}");
    assert_eq!(fs::read_to_string(&conf).unwrap(), before);
    let mut peer = Peer::with(&api.server, Config::new(api.server.tc_url(), "live", publish("s")));
    peer.started();
    // The file has an error by now: the line is told.
    fs::write(&conf, format!("{before}\nnonsense on;\n")).unwrap();
    let said = api.send("POST", "/api/v1/raw?rpc=reload", "", b"").1;
    let line = before.lines().count() + 2;
    assert!(
        said.starts_with("{\"code\":1023,\"error\":") && said.contains(&format!("line {line}")),
        "{said}"
    );
    assert_eq!(number(&api.json("/api/v1/versions"), "code"), 0.0);
}

#[test]
fn a_change_that_cannot_be_written_is_taken_back() {
    let api = Api::start(RAW, "vhost __defaultVhost__ { }");
    // A directory where the new text is to be written: also root cannot.
    fs::create_dir(api.server.dir.join("test.conf.new")).unwrap();
    let path = "/api/v1/raw?rpc=update&persist=1&scope=max_connections&value=60";
    let said = api.send("POST", path, "", b"").1;
    assert!(said.starts_with("{\"code\":1059,\"error\":"), "{said}");
    let global = api.json("/api/v1/raw?rpc=query&scope=global")["global"].clone();
    assert_eq!(number(&global, "max_connections"), 50.0);
}

#[test]
fn whoever_is_not_on_this_machine_needs_the_token() {
    let api = Api::start(&format!("token sesame-open-sesame; {RAW}"), "vhost __defaultVhost__ { }");
    let path = "/api/v1/raw?rpc=reload";
    // As a proxy on this machine passes it on.
    let there = ["-H", "X-Forwarded-For: 192.0.2.1"];
    let token = ["-H", "Authorization: Bearer sesame-open-sesame"];
    let wrong = ["-H", "X-Api-Token: sesame-open-sesam"];
    let ask = |args: &[&str]| api.curl(&[&["-X", "POST", "-i"], args].concat(), path);
    let Some(said) = ask(&there) else { return };
    assert!(said.starts_with("HTTP/1.1 401"), "{said}");
    assert!(ask(&[there, wrong].concat()).unwrap().starts_with("HTTP/1.1 401"));
    assert!(ask(&[there, token].concat()).unwrap().ends_with("{\"code\":0}"));
    assert!(ask(&[]).unwrap().ends_with("{\"code\":0}"));
    let reading = api.curl(&["-i", there[0], there[1]], "/api/v1/summaries").unwrap();
    assert!(reading.starts_with("HTTP/1.1 200"), "{reading}");
    assert!(!api.server.log.all().iter().any(|line| line.contains("sesame")));
}

#[test]
fn bad_requests_are_refused_and_do_no_harm() {
    let api = Api::start(RAW, "vhost __defaultVhost__ { }");
    let raw = "/api/v1/raw?rpc=reload";
    let huge = vec![b'x'; 1 << 20];
    let deep = format!("{}1{}", "{\"a\":".repeat(1500), "}".repeat(1500));
    let cases: &[(&str, &str, &str, &[u8], u16)] = &[
        ("PATCH", raw, "", b"", 405),
        ("BREW", "/api/v1/vhosts/", "", b"", 405),
        ("POST", "/api/v1/raw", "", &huge, 413),
        ("POST", "/api/v1/raw", "", deep.as_bytes(), 400),
        ("POST", "/api/v1/raw", "", b"{\"rpc\":\"\xff\xfe\"}", 400),
        ("POST", "/api/v1/raw", "", b"{\"rpc\":", 400),
        ("POST", "/api/v1/raw", "", b"[]", 400),
        ("GET", "/api/v1/%ff", "", b"", 400),
        ("GET", "/api/v1/../x", "", b"", 400),
        ("POST", raw, "Host: evil.example\r\n", b"", 403),
        ("POST", raw, "Host: 127.0.0.1.evil.example\r\n", b"", 403),
        ("POST", raw, "Origin: http://evil.example\r\n", b"", 403),
        ("GET", raw, "Referer: http://127.0.0.1/page\r\n", b"", 403),
        ("POST", raw, "Forwarded: for=192.0.2.1\r\n", b"", 401),
        ("POST", raw, "Forwarded: for=192.0.2.1\r\nX-Api-Token: \r\n", b"", 401),
    ];
    for (method, path, lines, body, status) in cases {
        assert_eq!(api.send(method, path, lines, body).0, *status, "{method} {path} {lines}");
    }
    assert_eq!(api.server.count("reload config success"), 0);
    assert_eq!(number(&api.json("/api/v1/versions"), "code"), 0.0);
}

#[test]
fn the_port_of_http_server_has_the_version_and_the_health() {
    let port = free_port();
    let web = format!("http_server {{ enabled on; listen 127.0.0.1:{port}; dir www; }}");
    let api = Api::start("", &format!("{web} vhost __defaultVhost__ {{ }}"));
    fs::create_dir_all(api.server.dir.join("www/console")).unwrap();
    fs::write(api.server.dir.join("www/console/index.html"), "a console").unwrap();
    for port in [port, api.port] {
        let (head, body) = get(port, "/healthz", "");
        assert_eq!((head.status, body.as_slice()), (200, &b"ok\n"[..]));
        let (head, body) = get(port, "/api/v1/versions", "");
        assert_eq!(head.status, 200);
        assert_eq!(text(&parse(&body).unwrap()["data"], "version"), env!("CARGO_PKG_VERSION"));
    }
    assert_eq!(get(port, "/api/v1/summaries", "").0.status, 404);
    assert_eq!(get(port, "/metrics", "").0.status, 404);
    let (head, body) = get(api.port, "/console/", "");
    assert_eq!((head.status, body.as_slice()), (200, &b"a console"[..]));
}

#[test]
fn prometheus_takes_the_metrics() {
    let api = Api::start_with("", "vhost __defaultVhost__ { }", &["--demo"]);
    api.server.line("demo");
    let metric = |name: &str| {
        let (head, body) = get(api.port, "/metrics", "");
        assert_eq!(head.get("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let text = String::from_utf8(body).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next().unwrap().parse::<f64>().ok())
    };
    let frames =
        "runnel_stream_video_frames_total{vhost=\"__defaultVhost__\",app=\"live\",stream=\"demo\"}";
    eventually("frames are counted", SOON, || metric(frames).is_some_and(|n| n > 10.0));
    assert!(metric("runnel_received_bytes_total").is_some_and(|n| n > 1000.0));
    assert_eq!(metric("runnel_streams"), Some(1.0));
    assert!(metric("process_resident_memory_bytes").is_some_and(|n| n > 1e5));
    let (_, page) = get(api.port, "/metrics", "");
    let Some(promtool) = tool("promtool") else { return };
    let page_file = api.server.dir.join("metrics");
    fs::write(&page_file, page).unwrap();
    let checked = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(fs::File::open(&page_file).unwrap())
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && complaints.is_empty(), "{complaints}");
    let Some(prometheus) = tool("prometheus") else { return };
    let port = free_port();
    let config = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: runnel\n    static_configs:\n      \
         - targets: ['127.0.0.1:{}']\n",
        api.port
    );
    let dir = TempDir::new();
    fs::write(dir.join("prometheus.yml"), config).unwrap();
    let _running = spawn(
        &prometheus,
        [
            format!("--config.file={}", dir.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", dir.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ],
    );
    let query = |what: &str| -> Option<String> {
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        write!(socket, "GET /api/v1/query?query={what} HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        socket.read_to_string(&mut text).ok()?;
        Some(text)
    };
    eventually("prometheus has the stream", 3 * SOON, || {
        let has = |what, part| query(what).is_some_and(|text| text.contains(part));
        has("up", "\"1\"]") && has("runnel_stream_video_frames_total", "\"stream\":\"demo\"")
    });
}

#[cfg(feature = "ingest")]
#[test]
fn inputs_are_told_without_their_secrets() {
    let source = Api::start_with("", "vhost __defaultVhost__ { }", &["--demo"]);
    let away = free_port();
    let ingest = |name: &str, url: &str| {
        format!(
            "ingest {name} {{ enabled on; input {{ type stream; url {url}; }}
             engine {{ enabled off; output rtmp://127.0.0.1:[port]/live/{name}?token=s3cret; }} }}"
        )
    };
    let one = format!("rtmp://127.0.0.1:{}/live/demo?password=s3cret", source.server.port);
    let two = format!("rtsp://user:s3cret@127.0.0.1:{away}/a?token=s3cret");
    let vhost = format!(
        "vhost __defaultVhost__ {{ {} {}
         forward {{ enabled off; destination rtmp://a.example/live2/s3cret; }} }}",
        ingest("one", &one),
        ingest("two", &two)
    );
    let api = Api::start("raw_api { enabled on; allow_query on; } token s3cret;", &vhost);
    let inputs = || list(&api.json("/api/v1/inputs"), "inputs");
    eventually("one runs, the other is tried again", SOON, || match inputs().as_slice() {
        [one, two] => {
            number(one, "bytes") > 1000.0
                && text(one, "state") == "running"
                && text(two, "state") == "retrying"
                && !text(two, "error").is_empty()
        }
        _ => false,
    });
    for input in inputs() {
        assert_kinds(
            &input,
            "service:s name:s output:s state:s streams:n bytes:n packets:n damage:n age_ms:n \
             starts:n restarts:n error:s",
        );
    }
    let two = list(&api.json("/api/v1/inputs/?start=1&count=1"), "inputs");
    let name = format!("ingest two rtsp://127.0.0.1:{away}/a?token=...");
    assert_eq!(two.iter().map(|input| text(input, "name")).collect::<Vec<_>>(), [name]);
    let page = |path: &str| String::from_utf8(get(api.port, path, "").1).unwrap();
    let metrics = page("/metrics");
    let up = |name: &str| {
        let line = metrics.lines().find(|line| {
            line.starts_with(&format!("runnel_input_up{{service=\"ingest\",name=\"ingest {name} "))
        });
        line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
    };
    assert_eq!((up("one"), up("two")), (Some("1".into()), Some("0".into())), "{metrics}");
    for path in [
        "/metrics",
        "/api/v1/inputs",
        "/api/v1/raw?rpc=query&scope=global",
        "/api/v1/raw?rpc=query&scope=vhost&vhost=__defaultVhost__",
    ] {
        let page = page(path);
        assert!(page.len() > 100 && !page.contains("s3cret"), "{path}: {page}");
    }
}

#[cfg(all(feature = "transcode", feature = "exec", feature = "ingest"))]
#[test]
fn programs_are_told_with_their_state_bytes_restarts_and_last_error() {
    use std::os::unix::fs::PermissionsExt;
    let Some(ffmpeg) = tool("ffmpeg") else { return };
    let dir = TempDir::new();
    let fails = dir.join("fails");
    fs::write(&fails, "#!/bin/sh\nexit 7\n").unwrap();
    fs::set_permissions(&fails, fs::Permissions::from_mode(0o755)).unwrap();
    let film = media::make(
        &ffmpeg,
        "ingest.mp4",
        &format!("{} {} -t 20 {} {}", media::PICTURE, media::TONE, media::H264, media::AAC),
    );
    let (ffmpeg_path, fails) = (ffmpeg.display(), fails.display());
    let to = "output rtmp://127.0.0.1:[port]/[app]?vhost=[vhost]/[stream]_[engine]?token=s3cret;";
    let vhost = format!(
        "vhost __defaultVhost__ {{ min_latency on;
         transcode live/s {{ enabled on; ffmpeg {ffmpeg_path}; \
         engine ff {{ enabled on; vcodec copy; acodec copy; {to} }} }}
         exec {{ enabled on; publish {fails} [stream]; publish {fails} [stream]; }}
         ingest film {{ enabled on; input {{ type file; url {}; }} ffmpeg {ffmpeg_path}; \
         engine {{ output rtmp://127.0.0.1:[port]/live?vhost=[vhost]/film; }} }} }}",
        film.display()
    );
    let api = Api::start("", &vhost);
    let port = api.server.port;
    let inputs = || list(&api.json("/api/v1/inputs"), "inputs");
    let row = |service: &str, name: &str| {
        inputs().into_iter().find(|i| text(i, "service") == service && text(i, "name") == name)
    };
    let film = format!("ingest film {}", film.display());
    let fetched = || row("ingest", &film).unwrap();
    eventually("the film comes in", SOON, || {
        number(&fetched(), "bytes") > 10_000.0 && number(&fetched(), "packets") > 20.0
    });
    let film_row = fetched();
    assert_eq!((text(&film_row, "state"), number(&film_row, "streams")), ("running".into(), 1.0));
    assert!(number(&film_row, "age_ms") > 0.0);
    assert_eq!(inputs().len(), 3, "the film is a stream, and exec is for all of them");
    let publisher = media::publish_live(&ffmpeg, &media::sample(&ffmpeg), &api.server.url("s"));
    let engine = || row("transcode", "encoder ff /live/s");
    eventually("the engine publishes", SOON, || {
        engine().is_some_and(|row| number(&row, "bytes") > 10_000.0)
    });
    let before = engine().unwrap();
    assert_eq!(
        text(&before, "output"),
        format!("rtmp://127.0.0.1:{port}/live?vhost=__defaultVhost__/s_ff?token=...")
    );
    assert_eq!((text(&before, "state"), text(&before, "error")), ("running".into(), String::new()));
    assert_eq!((number(&before, "streams"), number(&before, "restarts")), (1.0, 0.0));
    let fork = api.server.line("fork encoder ff, pid=");
    let pid = fork.rsplit_once("pid=").unwrap().1.parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL)
        .unwrap();
    eventually("it is tried again", SOON, || text(&engine().unwrap(), "state") == "retrying");
    assert_eq!(text(&engine().unwrap(), "error"), "encoder ff ended with signal: 9");
    let bytes = number(&engine().unwrap(), "bytes");
    eventually("it publishes again", SOON, || {
        let now = engine().unwrap();
        number(&now, "restarts") == 1.0 && number(&now, "bytes") > bytes + 1000.0
    });
    let name = format!("exec {fails} /live/s");
    for name in [name.clone(), format!("{name} 2")] {
        let row = row("exec", &name).unwrap_or_else(|| panic!("{name}: {:?}", inputs()));
        assert_eq!(text(&row, "error"), format!("exec {fails} ended with exit status: 7"));
        assert!(number(&row, "restarts") >= 1.0 && number(&row, "bytes") == 0.0);
        assert_eq!(text(&row, "output"), "");
    }
    let metrics = String::from_utf8(get(api.port, "/metrics", "").1).unwrap();
    let value = |series: &str, service: &str, name: &str| -> f64 {
        let start = format!("runnel_input_{series}{{service=\"{service}\",name=\"{name}\",");
        let line = metrics.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("{start}: {metrics}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    for (service, name) in [("transcode", "encoder ff /live/s"), ("ingest", &film)] {
        assert_eq!(value("up", service, name), 1.0);
        assert!(value("bytes_total", service, name) > 10_000.0);
        assert!(value("packets_total", service, name) > 10.0);
        assert!(value("age_seconds", service, name) < 60.0);
    }
    assert_eq!(value("restarts_total", "transcode", "encoder ff /live/s"), 1.0);
    assert!(value("last_error_timestamp_seconds", "transcode", "encoder ff /live/s") > 1e9);
    assert_eq!(value("up", "exec", &name), 0.0);
    assert!(!metrics.contains("s3cret"));
    let series = metrics.lines().filter(|line| !line.starts_with('#'));
    let mut series: Vec<_> = series.map(|line| line.rsplit_once(' ').unwrap().0).collect();
    let count = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), count, "{metrics}");
    drop(publisher);
    eventually("they go with the stream", SOON, || engine().is_none());
    assert!(inputs().iter().all(|row| !text(row, "name").contains("/live/s")), "{:?}", inputs());
}

#[cfg(feature = "exec")]
#[test]
fn a_program_that_waits_for_a_place_says_so() {
    let exec = "ff_max 1; vhost __defaultVhost__ { exec { enabled on; publish /bin/sleep 100; } }";
    let api = Api::start("", exec);
    let row = |stream: &str| {
        let all = list(&api.json("/api/v1/inputs"), "inputs");
        let name = format!("exec /bin/sleep /live/{stream}");
        all.into_iter().find(|row| text(row, "name") == name)
    };
    let is =
        |stream: &str, state: &str| row(stream).is_some_and(|row| text(&row, "state") == state);
    let first = Peer::publish(&api.server, "one");
    eventually("the first runs", SOON, || is("one", "running"));
    let _second = Peer::publish(&api.server, "two");
    eventually("the second waits", SOON, || is("two", "waiting"));
    let waits = row("two").unwrap();
    let why = "exec /bin/sleep waits: 1 programs run already (ff_max)";
    assert_eq!((text(&waits, "error").as_str(), number(&waits, "starts")), (why, 0.0));
    assert_eq!(number(&waits, "age_ms"), 0.0);
    drop(first);
    eventually("it runs when the first has ended", SOON, || is("two", "running"));
    assert!(row("one").is_none());
}

#[test]
fn heartbeats_come_with_the_summary() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = format!(
        "heartbeat {{ enabled on; interval 1.9; url http://127.0.0.1:{port}/api/v1/servers?a=b; \
         device_id \"my-srs-device\"; summaries on; }} vhost __defaultVhost__ {{ }}"
    );
    let api = Api::start("", &text);
    let mut times = Vec::new();
    let (mut socket, _) = listener.accept().unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut bytes = Vec::new();
    while times.len() < 3 {
        let mut piece = [0; 4096];
        let n = socket.read(&mut piece).unwrap();
        assert!(n > 0, "the connection is kept");
        bytes.extend_from_slice(&piece[..n]);
        let request = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).unwrap();
        if body.len() < length.parse().unwrap() {
            continue;
        }
        assert!(head.starts_with("POST /api/v1/servers?a=b HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("Content-Type: application/json"), "{head}");
        let value = parse(body.as_bytes()).unwrap();
        assert_kinds(&value, "device_id:s ip:s summaries:o");
        assert_eq!(text_of(&value), "my-srs-device");
        assert_eq!(number(&value["summaries"], "code"), 0.0);
        let pid = number(&value["summaries"]["data"]["self"], "pid");
        assert_eq!(pid, f64::from(api.server.pid()));
        times.push(Instant::now());
        bytes.clear();
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    }
    let between = times[2].duration_since(times[0]);
    assert!(between >= Duration::from_millis(1800), "{between:?}");
    drop((socket, listener));
    api.server.line("heartbeat to ");
}

fn text_of(value: &JsonValue) -> String {
    text(value, "device_id")
}

#[test]
fn names_that_publishers_choose_are_escaped() {
    let api = Api::start("", "vhost __defaultVhost__ { }");
    let name = "a\\\"<script>";
    let config = Config::new(api.server.tc_url(), "live", publish(name));
    let mut peer = Peer::with(&api.server, config);
    peer.started();
    eventually("it is listed", SOON, || {
        list(&api.json("/api/v1/streams"), "streams").iter().any(|s| text(s, "name") == name)
    });
    let (_, body) = get(api.port, "/api/v1/streams?callback=f", "");
    assert!(!String::from_utf8(body).unwrap().contains("<script"));
    let (_, page) = get(api.port, "/metrics", "");
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("stream=\"a\\\\\\\"<script>\""), "{page}");
}
