//! What many streams cost: those that came and went, and those that are only configured.

use crate::common::client::{Peer, play, publish};
use crate::common::{SOON, Server, eventually, free_port, media};
use crate::peers::cluster;
use runnel::media::Packet;
use runnel::proto::rtmp::client::Config;
use std::fs;
use std::io::Write as _;
use std::time::Duration;

fn peer(server: &Server, vhost: &str, role: runnel::proto::rtmp::client::Role) -> Peer {
    let mut peer = Peer::with(server, Config::new(format!("rtmp://{vhost}/live"), "live", role));
    peer.started();
    peer
}

/// Memory in KB, and descriptors.
fn holds(server: &Server) -> (u64, usize) {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    (server.resident(), descriptors)
}

/// Rounds of [`nothing_is_left_of_streams_that_came_and_went`]: those after which it is what it is,
/// and all.
const ROUNDS: [usize; 2] = [100, 300];

#[test]
fn nothing_is_left_of_streams_that_came_and_went() {
    let soon = "min_latency on; play { mw_latency 10; }";
    let origin = Server::with(&format!("vhost __defaultVhost__ {{ {soon} }}"));
    let dead = free_port();
    let edge = Server::with(&format!(
        "vhost in {{ {} vhost __defaultVhost__; {soon} }}
         vhost out {{ forward 127.0.0.1:{dead} rtmp://127.0.0.1:{}/copy/[stream]; }}
         vhost pushed {{ {} vhost __defaultVhost__; }}",
        cluster(&[origin.port]),
        origin.port,
        cluster(&[origin.port])
    ));
    let packets: Vec<Packet> = media::demo().into_iter().filter(|p| p.dts < 400).collect();
    let send = |peer: &mut Peer| packets.iter().for_each(|packet| peer.send(packet));
    let mut holds_after = Vec::new();
    for round in 1..=ROUNDS[1] {
        // Names come again, as statistics keep some of them.
        let name = format!("s{}", round % 20);
        let mut encoder = Peer::publish(&origin, &name);
        send(&mut encoder);
        peer(&edge, "in", play(&name)).packets(5);
        let (forwarded, pushed) = (format!("f{}", round % 20), format!("p{}", round % 20));
        send(&mut peer(&edge, "out", publish(&forwarded)));
        send(&mut peer(&edge, "pushed", publish(&pushed)));
        drop(encoder);
        if ROUNDS.contains(&round) {
            eventually("all of it ends", SOON * 3, || {
                let [fetched, passed, forwarded] =
                    ["it is fetched", " is passed on", "forward: out/"].map(|t| edge.count(t));
                edge.count("is not fetched any more") == fetched
                    && edge.count("is not passed on any more") == passed
                    && 2 * edge.count(" ends, skipped ") == forwarded
            });
            std::thread::sleep(Duration::from_millis(1500));
            holds_after.push(holds(&edge));
        }
    }
    let begun = ["it is fetched", " is passed on", " ends, skipped "].map(|t| edge.count(t));
    // A name that is played again within half a second is still fetched.
    assert!(begun[0] >= ROUNDS[1] / 8 && begun[1..] == [ROUNDS[1], 2 * ROUNDS[1]], "{begun:?}");
    let [(kb, fds), (kb_after, fds_after)] = holds_after[..] else { panic!() };
    let told = format!("{kb} KB and {fds} descriptors, then {kb_after} KB and {fds_after}");
    let _ = writeln!(std::io::stderr(), "after {ROUNDS:?} rounds: {told}");
    assert!(fds_after <= fds + 2, "{told}");
    assert!(kb_after <= kb + 300, "{told}");
}

/// What a server did: times that it woke, and ticks of a core.
fn work(server: &Server) -> (u64, u64) {
    let number = |line: &str| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
    let mut woke = 0;
    for task in fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        woke += number(status.lines().find(|l| l.starts_with("voluntary_ctxt")).unwrap());
    }
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    (woke, ticks(11) + ticks(12))
}

#[test]
fn two_hundred_streams_that_are_only_configured_cost_nothing() {
    let dead = free_port();
    let vhosts: String = (0..200)
        .map(|i| {
            let ingest = if cfg!(feature = "ingest") {
                "ingest i { enabled on; on_demand on; input { type file; url no.flv; } \
                 engine { enabled off; output rtmp://127.0.0.1:[port]/live/i?vhost=[vhost]; } }"
            } else {
                ""
            };
            format!(
                "vhost edge{i} {{ mode remote; origin 127.0.0.1:{dead} srv:_rtmp._tcp.o{i}.test; }}
                 vhost out{i} {{ forward 127.0.0.1:{dead} 127.0.0.1:{}; {ingest} }}\n",
                dead + 1
            )
        })
        .collect();
    let servers = [Server::start(), Server::with(&vhosts)];
    // What starting takes is over.
    std::thread::sleep(Duration::from_secs(2));
    let before = servers.each_ref().map(work);
    std::thread::sleep(Duration::from_secs(10));
    let after = servers.each_ref().map(work);
    let [(empty, empty_ticks), (full, full_ticks)] =
        [0, 1].map(|i| (after[i].0 - before[i].0, after[i].1 - before[i].1));
    let memory = servers.each_ref().map(Server::resident);
    let told = format!(
        "in 10 s woke {empty} times without, {full} times with 400 vhosts; ticks {empty_ticks} and \
         {full_ticks}; {} KB and {} KB",
        memory[0], memory[1]
    );
    let _ = writeln!(std::io::stderr(), "{told}");
    assert!(full <= empty + 10, "{told}");
    assert!(full_ticks <= empty_ticks + 20, "{told}");
    assert!(memory[1] <= memory[0] + 400 * 16, "{told}");
    assert_eq!(servers[1].count("again in"), 0);
}
