//! The chapter of the manual on more than one box, command by command as it stands there. Each walk
//! has a network namespace, with the addresses of the chapter and a name server.

use crate::common::client::{Peer, play};
use crate::common::http::get;
use crate::common::link::{Namespace, with_mount};
use crate::common::{self, RUNNEL, Running, SOON, Server, TempDir, eventually, free_port, tool};
use crate::peers::{Does, Encoder, Origin};
use crate::recipes::named_by;
use runnel::proto::rtmp::client::Config;
use rustix::process::Signal;
use std::cell::Cell;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The sections with something to run, and how many blocks of it: one more needs a test here.
const SECTIONS: [(&str, usize); 8] = [
    ("One box", 1),
    ("Two boxes: an origin and an edge", 1),
    ("Two origins", 2),
    ("Origins by name", 2),
    ("Passing streams on", 2),
    ("RTMPS", 1),
    ("Many: in front of us", 1),
    ("Restarting a box", 1),
];

/// The blocks of a chapter, with the headings of their sections. Comments are left out.
fn blocks(language: &str) -> Vec<(String, Vec<String>)> {
    let file = root().join(format!("docs/{language}/cluster.md"));
    let (mut blocks, mut heading, mut inside) = (Vec::new(), String::new(), false);
    for line in fs::read_to_string(file).unwrap().lines() {
        if let Some(text) = line.strip_prefix("## ") {
            heading = text.to_owned();
        } else if line.starts_with("```") {
            inside = !inside;
            if inside {
                blocks.push((heading.clone(), Vec::new()));
            }
        } else if inside {
            let text = line.split("  #").next().unwrap_or_default().trim_end();
            blocks.last_mut().unwrap().1.push(text.to_owned());
        }
    }
    blocks
}

/// The blocks of one section.
fn section(name: &str) -> Vec<Vec<String>> {
    let all = blocks("en").into_iter();
    all.filter(|(heading, _)| heading == name).map(|(_, lines)| lines).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn both_languages_go_the_same_way_and_all_of_it_is_walked() {
    let (english, chinese) = (blocks("en"), blocks("zh"));
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for (heading, _) in &english {
        match counts.last_mut() {
            Some((last, count)) if last == heading => *count += 1,
            _ => counts.push((heading, 1)),
        }
    }
    assert_eq!(counts, SECTIONS);
    let lines = |blocks: Vec<(String, Vec<String>)>| -> Vec<_> {
        blocks.into_iter().map(|(_, lines)| lines).collect()
    };
    assert_eq!(lines(english), lines(chinese));
}

/// A place with nothing but the files of the repository, the addresses of the chapter, and a name
/// server, if one is started.
struct Walk {
    namespace: Namespace,
    dir: TempDir,
    steps: Cell<u32>,
}

/// A command of the chapter that runs.
struct Step {
    running: Running,
    log: PathBuf,
}

impl Walk {
    fn new() -> Option<Self> {
        let (namespace, ffmpeg) = (Namespace::new()?, tool("ffmpeg")?);
        for address in ["10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.21", "10.0.0.22"] {
            namespace.ip(&format!("address add {address}/32 dev lo"));
        }
        let dir = TempDir::new();
        symlink(common::media::sample(&ffmpeg), dir.join("FILE.flv")).unwrap();
        symlink(root().join("conf"), dir.join("conf")).unwrap();
        fs::create_dir_all(dir.join("docs/recipes")).unwrap();
        for file in fs::read_dir(root().join("docs/recipes")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), dir.join("docs/recipes").join(file.file_name())).unwrap();
        }
        fs::write(dir.join("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
        Some(Self { namespace, dir, steps: Cell::new(0) })
    }

    /// Starts what a line of the chapter says, as a shell does.
    fn start(&self, line: &str) -> Step {
        let number = self.steps.replace(self.steps.get() + 1);
        let script =
            format!("mount --bind resolv.conf /etc/resolv.conf && exec {line} > {number}.log 2>&1");
        let own = Path::new(RUNNEL).parent().unwrap().display();
        let path = format!("{own}:{}:/usr/sbin", std::env::var("PATH").unwrap());
        let mut command = with_mount(&self.dir.join("resolv.conf"), "/etc/resolv.conf");
        command.args(["sh", "-c", &script]).current_dir(self.dir.path());
        // ffplay without a screen.
        command.env("PATH", path).env("SDL_VIDEODRIVER", "dummy").env("SDL_AUDIODRIVER", "dummy");
        let running = self.namespace.run(|| common::start(&mut command));
        Step { running, log: self.dir.join(&format!("{number}.log")) }
    }

    /// The same of a server, which listens then.
    fn serve(&self, line: &str) -> Step {
        let step = self.start(line);
        step.says("RTMP listens at");
        step
    }

    /// A server with the file of this text.
    fn serve_with(&self, name: &str, text: &str) -> Step {
        fs::write(self.dir.join(name), format!("daemon off; srs_log_tank console; {text}"))
            .unwrap();
        self.serve(&format!("runnel -c {name}"))
    }

    /// An origin at port 1935 of `address`, and an encoder that publishes `live/livestream` to it.
    fn origin(&self, address: &str, more: &str) -> (Server, Encoder) {
        self.namespace.run(|| {
            let port = free_port();
            let server = Server::with_file(
                port,
                &format!(
                    "listen 127.0.0.1:{port} {address}:1935; daemon off; srs_log_tank console;
                     {more} vhost __defaultVhost__ {{ }}"
                ),
            );
            let encoder = Encoder::start(&server, "livestream");
            (server, encoder)
        })
    }

    /// The name server of the chapter, with names that are others' besides.
    fn names(&self, others: &[(&str, &str)]) -> Step {
        let mut line = section("Origins by name")[0][0].clone();
        assert!(line.starts_with("dnsmasq "), "{line}");
        for (name, address) in others {
            line.push_str(&format!(" --address=/{name}/{address}"));
        }
        let step = self.start(&line);
        self.namespace.run(|| named_by(53));
        step
    }

    /// A player of `live/livestream` at `address`.
    fn player(&self, address: &str) -> Peer {
        self.player_of(address, "livestream")
    }

    fn player_of(&self, address: &str, stream: &str) -> Peer {
        self.namespace.run(|| {
            let url = format!("rtmp://{address}/live");
            let socket = TcpStream::connect((address, 1935)).unwrap();
            Peer::over(socket, Config::new(url, "live", play(stream)))
        })
    }
}

impl Step {
    fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn count(&self, text: &str) -> usize {
        self.text().matches(text).count()
    }

    fn says(&self, text: &str) {
        eventually(text, SOON * 2, || self.count(text) > 0);
    }

    /// ffplay shows the picture: its clock goes on.
    fn plays(&self) {
        let clock = || {
            let text = self.text();
            let last = text.rsplit('\r').find(|part| part.contains("A-V:"))?;
            // It begins with "nan".
            last.split_whitespace().next()?.parse().ok().filter(|time: &f64| time.is_finite())
        };
        let mut first = None;
        eventually("ffplay plays", SOON * 3, || {
            first = first.or(clock());
            first.zip(clock()).is_some_and(|(first, now)| now > first + 0.5)
        });
    }

    /// Waits for its good end.
    fn finish(mut self) -> String {
        self.running.finish();
        self.text()
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = self.text();
            let lines: Vec<_> = text.lines().rev().take(15).collect();
            for line in lines.iter().rev() {
                eprintln!("  {}", &line[line.len().saturating_sub(300)..]);
            }
        }
    }
}

#[test]
fn the_walk_begins_with_one_box() {
    let Some(walk) = Walk::new() else { return };
    let [server, encoder, player] = &section("One box")[0][..] else { panic!() };
    let server = walk.serve(server);
    let _encoder = walk.start(encoder);
    server.says("start publish");
    walk.start(player).plays();
    server.says("type=Play");
}

#[test]
fn the_walk_goes_on_with_an_edge_and_restarts_it() {
    let Some(walk) = Walk::new() else { return };
    let [origin, edge, encoder, player] = &section("Two boxes: an origin and an edge")[0][..]
    else {
        panic!()
    };
    let [leave, again] = &section("Restarting a box")[0][..] else { panic!() };
    let origin = walk.serve(origin);
    let mut old = walk.serve(edge);
    let _encoder = walk.start(encoder);
    origin.says("start publish");
    let players = [walk.start(player), walk.start(player)];
    for player in &players {
        player.plays();
    }
    assert_eq!(origin.count("type=Play"), 1, "one for the edge");
    let leave = leave.replace("PID", &old.running.pid().to_string());
    walk.start(&format!("/bin/{leave}")).finish();
    old.says("listens no more");
    let new = walk.serve(again);
    walk.start(player).plays();
    new.says("type=Play");
    // Who does not know how to connect again stays where it is.
    for player in &players {
        player.plays();
    }
    drop(players);
    assert!(old.running.wait(SOON).is_some_and(|status| status.success()));
}

#[test]
fn the_walk_comes_to_two_origins() {
    let Some(walk) = Walk::new() else { return };
    let origins = section("Two origins")[0].join("\n");
    let (mut one, _encoder) = walk.origin("10.0.0.11", "");
    let (two, _other) = walk.origin("10.0.0.12", "");
    let vhost = format!("vhost __defaultVhost__ {{ mode remote; {origins} }}");
    let _edge = walk.serve_with("edge.conf", &format!("listen 127.0.0.1:1935; {vhost}"));
    let mut player = walk.player("127.0.0.1");
    player.packets(20);
    assert_eq!((one.count("type=Play"), two.count("type=Play")), (1, 0));
    one.signal(Signal::KILL);
    one.wait(SOON).unwrap();
    two.line("type=Play");
    player.packets(40);
}

#[test]
fn the_walk_has_one_encoder_for_both_origins() {
    let Some(walk) = Walk::new() else { return };
    let atc = "vhost __defaultVhost__ { atc on; min_latency on; }";
    let [one, two] = ["10.0.0.11", "10.0.0.12"].map(|address| {
        let text = format!("listen {address}:1935; {atc}");
        walk.serve_with(&format!("{address}.conf"), &text)
    });
    // As a shell reads it: a line that goes on in the next.
    let line = section("Two origins")[1].join("\n").replace("\\\n", "");
    let _encoder = walk.start(&line);
    one.says("start publish");
    two.says("start publish");
    for address in ["10.0.0.11", "10.0.0.12"] {
        let packets = walk.player_of(address, "s").packets(40);
        assert!(packets.iter().filter(|p| !p.header).any(|p| p.dts >= 1_000_000), "{address}");
    }
}

#[test]
fn the_walk_finds_origins_by_their_name() {
    let Some(walk) = Walk::new() else { return };
    let blocks = section("Origins by name");
    let [_, ask] = &blocks[0][..] else { panic!() };
    let _names = walk.names(&[]);
    let answer = walk.start(ask).finish();
    let mut lines: Vec<_> = answer.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["10 50 1935 one.example.lan.", "10 50 1935 two.example.lan."]);
    let (mut one, _encoder) = walk.origin("10.0.0.11", "");
    let (mut two, _other) = walk.origin("10.0.0.12", "");
    let vhost = format!("vhost __defaultVhost__ {{ mode remote; {} }}", blocks[1].join("\n"));
    let edge = walk.serve_with("edge.conf", &format!("listen 127.0.0.1:1935; {vhost}"));
    let mut player = walk.player("127.0.0.1");
    player.packets(20);
    let used = if one.count("type=Play") > 0 { &mut one } else { &mut two };
    used.signal(Signal::KILL);
    used.wait(SOON).unwrap();
    eventually("the other one is asked", SOON, || edge.count("edge: plays ") == 2);
    player.packets(40);
}

#[test]
fn the_walk_passes_a_stream_on() {
    let Some(walk) = Walk::new() else { return };
    let blocks = section("Passing streams on");
    let [slave, master, encoder, player] = &blocks[0][..] else { panic!() };
    let (slave, master) = (walk.serve(slave), walk.serve(master));
    let publisher = walk.start(encoder);
    slave.says("start publish");
    walk.start(player).plays();
    drop((slave, master, publisher));
    // The same to a service, with a key.
    let _names = walk.names(&[("live.example.com", "10.0.0.13")]);
    let takers = walk
        .namespace
        .run(|| ["10.0.0.12", "10.0.0.13"].map(|at| Origin::at((at, 1935), Does::Takes)));
    let vhost = format!("vhost __defaultVhost__ {{ {} }}", blocks[1].join("\n"));
    let master = walk.serve_with("forward.conf", &format!("listen 127.0.0.1:1935; {vhost}"));
    let _publisher = walk.start(encoder);
    let first = |list: &std::sync::Mutex<Vec<String>>| list.lock().unwrap().first().cloned();
    for (taker, name, url) in [
        (&takers[0], "livestream", "rtmp://10.0.0.12/live"),
        (&takers[1], "livestream?key=SECRET", "rtmp://live.example.com/live2"),
    ] {
        eventually(name, SOON, || first(&taker.names).is_some());
        assert_eq!(first(&taker.names).as_deref(), Some(name));
        let there = first(&taker.urls).unwrap().replace(":1935", "");
        assert!(there == url || there == "rtmp://127.0.0.1/live", "{there}");
    }
    assert_eq!(master.count("SECRET"), 0);
}

#[test]
fn the_walk_speaks_rtmps_by_stunnel() {
    let (Some(walk), Some(_)) = (Walk::new(), tool("stunnel4")) else { return };
    let [install, run] = &section("RTMPS")[0][..] else { panic!() };
    assert_eq!(install, "apt-get install stunnel4");
    let _names = walk.names(&[("live-api-s.facebook.com", "10.0.0.13")]);
    let _stunnel = walk.start(run);
    eventually("stunnel listens", SOON, || {
        walk.namespace.run(|| TcpStream::connect(("127.0.0.1", 19443)).is_ok())
    });
}

/// Two origins and two edges that find them by name, and Prometheus, which finds all four.
#[test]
fn the_walk_ends_with_a_fleet() {
    let (Some(walk), Some(promtool)) = (Walk::new(), tool("promtool")) else { return };
    let [prometheus, rate] = &section("Many: in front of us")[0][..] else { panic!() };
    let (file, rules) = ("docs/recipes/prometheus.yml", "docs/recipes/prometheus-rules.yml");
    for (what, file) in [("config", file), ("rules", rules)] {
        common::run(&promtool, ["check", what, walk.dir.join(file).to_str().unwrap()]);
    }
    let text = fs::read_to_string(walk.dir.join(file)).unwrap();
    assert_eq!(text.matches("_interval: 15s").count(), 2);
    fs::write(walk.dir.join(file), text.replace("_interval: 15s", "_interval: 1s")).unwrap();
    let _names = walk.names(&[]);
    let api = |address: &str| format!("http_api {{ enabled on; listen {address}:1985; }}");
    let _origins = ["10.0.0.11", "10.0.0.12"].map(|address| walk.origin(address, &api(address)));
    let vhost = format!(
        "vhost __defaultVhost__ {{ mode remote; {} }}",
        section("Origins by name")[1].join("\n")
    );
    let edges = ["10.0.0.21", "10.0.0.22"].map(|address| {
        let text = format!("listen {address}:1935; {} {vhost}", api(address));
        walk.serve_with(&format!("{address}.conf"), &text)
    });
    let mut players = ["10.0.0.21", "10.0.0.22"].map(|address| walk.player(address));
    for player in &mut players {
        player.packets(20);
    }
    let _prometheus = walk.start(prometheus);
    let ask = |query: &str| {
        walk.namespace.run(|| {
            TcpStream::connect(("127.0.0.1", 9090)).ok()?;
            let (_, body) = get(9090, &format!("/api/v1/query?query={query}"), "");
            String::from_utf8(body).ok()
        })
    };
    let has = |query: &str, part: &str| ask(query).is_some_and(|text| text.contains(part));
    eventually("all four are up", SOON * 4, || has("sum(up)", "\"4\"]"));
    eventually("the players are counted", SOON * 2, || {
        has("sum(runnel_upstream_connected)", "\"2\"]")
    });
    // Each of them sends: origins to edges or to nobody, edges to players.
    eventually("the rate that the chapter asks for", SOON * 3, || {
        let answer = walk.start(rate).finish();
        let bits = |edge: &str| {
            let (_, rest) = answer.split_once(&format!("{edge}.example.lan"))?;
            let (_, value) = rest.split_once("\"value\":[")?;
            value.split('"').nth(1)?.parse::<f64>().ok()
        };
        let sends = |edge| bits(edge).is_some_and(|bits| bits > 10_000.0);
        answer.matches("\"instance\"").count() == 4 && sends("edge1") && sends("edge2")
    });
    assert!(has("runnel:sent_bits:rate1m", "edge1.example.lan"));
    drop(edges);
    eventually("the rules see that two are gone", SOON * 2, || {
        has("count(ALERTS{alertname=\"RunnelIsDown\"})", "\"2\"]")
    });
}
