//! What the log tells, and where it goes.

mod common;

use common::client::Peer;
use common::{RUNNEL, Server, TempDir, eventually, free_port};
use runnel::media::Kind;
use rustix::process::Signal;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// Level, process, connection, and the rest of a line.
fn parts(line: &str) -> Option<(&str, u32, u32, &str)> {
    let mut fields = line.strip_prefix('[')?.splitn(5, ']');
    let mut field = || fields.next().map(|f| f.trim_start_matches('['));
    let time = field()?;
    let (level, pid, id) = (field()?, field()?.parse().ok()?, field()?.parse().ok()?);
    let well_formed = time.len() == 23 && time.is_ascii() && time.as_bytes()[4] == b'-';
    well_formed.then(|| (level, pid, id, fields.next().unwrap_or_default()))
}

#[test]
fn every_line_names_its_connection_and_a_player_names_its_publisher() {
    let server = Server::with("vhost __defaultVhost__ { min_latency on; }");
    let mut publisher = Peer::publish(&server, "s");
    let player = Peer::play(&server, "s");
    let other = Peer::play(&server, "unpublished");
    publisher.send_bytes(Kind::Audio, 0, b"\x2fsound");
    drop((player, other, publisher));
    server.line_number("client finished", 3);
    let lines = server.log.all();
    let parsed: Vec<_> = lines.iter().map(|l| (parts(l), l)).collect();
    for (parts, line) in &parsed {
        let (_, pid, id, _) = parts.unwrap_or_else(|| panic!("{line}"));
        assert_eq!(pid, server.pid(), "{line}");
        assert!(id >= 100, "no connection: {line}");
    }
    let id_of = |text: &str, nth: usize| {
        let found = parsed.iter().filter(|(_, line)| line.contains(text)).nth(nth);
        found.and_then(|(parts, _)| *parts).map(|parts| parts.2).unwrap()
    };
    let publisher = id_of("type=fmle-publish", 0);
    let player = id_of("type=Play, stream_name=s,", 0);
    let other = id_of("type=Play, stream_name=unpublished", 0);
    // From accept to the end all lines of a connection have its number, and nobody else's.
    for (id, role) in [(publisher, "start publish"), (player, "start play"), (other, "start play")]
    {
        let own: Vec<_> = parsed.iter().filter(|(p, _)| p.is_some_and(|p| p.2 == id)).collect();
        for text in ["RTMP client ip=127.0.0.1", "handshake success", "connect app", role] {
            let count = own.iter().filter(|(_, line)| line.contains(text)).count();
            assert_eq!(count, 1, "{text} of {id}");
        }
        assert!(own[0].1.contains("RTMP client"), "the first line");
        assert!(own.last().unwrap().1.contains("client finished"), "the last line");
    }
    let source_of = |id: u32| {
        let own = |p: &Option<(&str, u32, u32, &str)>| p.is_some_and(|p| p.2 == id);
        let line = parsed.iter().find(|(p, line)| own(p) && line.contains("source_id="));
        line.unwrap().1.rsplit_once("source_id=").unwrap().1.to_owned()
    };
    assert_eq!(source_of(player), format!("{publisher}[{publisher}]"));
    assert_eq!(source_of(publisher), format!("{publisher}[{publisher}]"));
    assert_eq!(source_of(other), "-1[-1]", "nobody publishes that");
}

#[test]
fn a_player_that_waits_is_told_who_publishes_then() {
    let server = Server::with("vhost __defaultVhost__ { min_latency on; }");
    let mut player = Peer::play(&server, "s");
    let mut publisher = Peer::publish(&server, "s");
    publisher.send_bytes(Kind::Audio, 0, b"\x2fsound");
    player.packets(1);
    let publisher = parts(&server.line("start publish")).unwrap().2;
    let line = server.line("update source_id=");
    assert_eq!(parts(&line).map(|p| p.2), parts(&server.line("start play")).map(|p| p.2));
    assert!(line.ends_with(&format!("source_id={publisher}[{publisher}]")), "{line}");
    let line = server.line_number("protocol in.buffer=", 2);
    assert!(line.contains("out.ack=2500000") && line.ends_with("out.chunk=60000"), "{line}");
}

#[test]
fn a_log_file_is_opened_anew_at_usr1() {
    let (dir, port) = (TempDir::new(), free_port());
    let text = format!(
        "listen 127.0.0.1:{port}; daemon off; srs_log_tank file; srs_log_file ./server.log;\n\
         vhost __defaultVhost__ {{ }}\n"
    );
    fs::write(dir.join("test.conf"), text).unwrap();
    let server = Server::spawn_silent(Command::new(RUNNEL).args(["-c", "test.conf"]), port, dir);
    let (file, moved) = (server.dir.join("server.log"), server.dir.join("server.log.1"));
    let holds = |file: &std::path::Path, text: &str| {
        eventually(text, Duration::from_secs(5), || {
            fs::read_to_string(file).is_ok_and(|log| log.contains(text))
        });
    };
    holds(&file, "RTMP listens at");
    fs::rename(&file, &moved).unwrap();
    let first = Peer::play(&server, "before");
    holds(&moved, "stream_name=before");
    assert!(!file.exists(), "before the signal the old file is written");
    server.signal(Signal::USR1);
    holds(&file, "log file reopened");
    let second = Peer::play(&server, "after");
    holds(&file, "stream_name=after");
    let old = fs::read_to_string(&moved).unwrap();
    assert!(!old.contains("stream_name=after") && !old.contains("reopened"));
    // Lines are added to a file that is there.
    drop((first, second));
    holds(&file, "client finished");
    assert!(fs::read_to_string(&file).unwrap().lines().all(|line| parts(line).is_some()));
    assert_eq!(server.log.all(), Vec::<String>::new(), "nothing on the console");
}

#[test]
fn the_level_decides_what_is_logged() {
    let server = Server::with("vhost __defaultVhost__ { }");
    Peer::play(&server, "s");
    server.line("client finished");
    let (dir, port) = (TempDir::new(), free_port());
    let text = format!(
        "listen 127.0.0.1:{port}; daemon off; srs_log_tank console; srs_log_level warn;\n\
         vhost __defaultVhost__ {{ }}\n"
    );
    fs::write(dir.join("test.conf"), text).unwrap();
    let quiet = Server::spawn_silent(Command::new(RUNNEL).args(["-c", "test.conf"]), port, dir);
    eventually("it listens", Duration::from_secs(5), || {
        std::net::TcpStream::connect(quiet.address()).is_ok()
    });
    drop(Peer::play(&quiet, "s"));
    let line = quiet.line("client disconnect peer");
    assert_eq!(parts(&line).map(|p| p.0), Some("warn"));
    assert_eq!(quiet.count("[trace]"), 0);
    assert_eq!((server.count("[debug]"), server.count("[verb]")), (0, 0));
    let port = free_port();
    let all = Server::with_file(
        port,
        &format!(
            "listen 127.0.0.1:{port}; daemon off; srs_log_tank console; srs_log_level verbose;\n\
             vhost __defaultVhost__ {{ }}\n"
        ),
    );
    let _player = Peer::play(&all, "s");
    assert!(all.line("client buffers").contains("[debug]"));
    Peer::publish(&all, "s").send_bytes(Kind::Audio, 0, b"\x2fsound");
    assert!(all.line("Audio dts=0, 6B").contains("[verb]"));
}

#[test]
fn a_name_with_control_characters_does_not_break_a_line() {
    let server = Server::start();
    let mut raw = common::raw::Raw::connect(&server);
    raw.command(0, |w| {
        w.string("createStream").number(2.0).null();
    });
    raw.command(1, |w| {
        w.string("play").number(0.0).null().string("a\n[2026-01-01 00:00:00.000][error][1][1] b");
    });
    server.line("start play");
    drop(raw);
    server.line("client finished");
    for line in server.log.all() {
        assert_eq!(parts(&line).map(|p| p.1), Some(server.pid()), "{line}");
    }
}

#[test]
fn progress_is_logged_at_the_interval_of_the_configuration() {
    let port = free_port();
    let server = Server::with_file(
        port,
        &format!(
            "listen 127.0.0.1:{port}; daemon off; srs_log_tank console; pithy_print_ms 300;\n\
             vhost __defaultVhost__ {{ min_latency on; }}\n"
        ),
    );
    let mut player = Peer::play(&server, "s");
    let mut publisher = Peer::publish(&server, "s");
    for i in 0..30 {
        publisher.send_bytes(Kind::Audio, i * 40, &[0x2f; 1000]);
        player.packets(1);
        std::thread::sleep(Duration::from_millis(40));
    }
    for mark in ["<- CPB time=", "-> PLA time="] {
        let line = server.line(mark);
        assert!(line.contains("okbps=") && line.contains("ikbps="), "{line}");
        let minute = line.rsplit_once(", 1m=").and_then(|(_, rates)| rates.split_once('/'));
        let (sent, received) = minute.unwrap_or_else(|| panic!("{line}"));
        let flows = if mark.starts_with('<') { received } else { sent };
        assert!(flows.parse::<u32>().unwrap() > 0, "{line}");
        assert!(sent.parse::<u32>().is_ok(), "{line}");
    }
}

#[test]
fn ten_players_print_as_often_as_one() {
    let port = free_port();
    let server = Server::with_file(
        port,
        &format!(
            "listen 127.0.0.1:{port}; daemon off; srs_log_tank console; pithy_print_ms 500;\n\
             vhost __defaultVhost__ {{ min_latency on; }}\n"
        ),
    );
    let mut publisher = Peer::publish(&server, "s");
    let mut players: Vec<_> = (0..10).map(|_| Peer::play(&server, "s")).collect();
    for i in 0..75 {
        publisher.send_bytes(Kind::Audio, i * 40, &[0x2f; 100]);
        players.iter_mut().for_each(|player| drop(player.packets(1)));
        std::thread::sleep(Duration::from_millis(40));
    }
    // 3 seconds and more: some six lines, not sixty.
    let lines = server.count("-> PLA time=");
    assert!((3..=15).contains(&lines), "{lines}");
}

#[test]
fn a_client_is_identified_with_its_parameters() {
    let server = Server::start();
    let _publisher = Peer::publish(&server, "s?token=1");
    let _player = Peer::play(&server, "s?user=2");
    let _other = Peer::play(&server, "s");
    for (form, end) in [
        ("fmle-publish", "stream_name=s, duration=-1.00, param=?token=1"),
        ("Play", "stream_name=s, duration=-1.00, param=?user=2"),
    ] {
        let line = server.line(&format!("client identified, type={form}"));
        assert!(line.ends_with(end), "{line}");
    }
    let line = server.line_number("client identified, type=Play", 2);
    assert!(line.ends_with("stream_name=s, duration=-1.00"), "{line}");
}

#[test]
fn what_is_dropped_is_told_once_at_the_level_of_details() {
    let port = free_port();
    let server = Server::with_file(
        port,
        &format!(
            "listen 127.0.0.1:{port}; daemon off; srs_log_tank console; srs_log_level info;\n\
             vhost __defaultVhost__ {{ }}\n"
        ),
    );
    for verb in ["publish", "play"] {
        let mut raw = common::raw::Raw::started(&server, verb, "s");
        for _ in 0..3 {
            raw.send(3, 77, 1, 0, b"?");
            raw.send(3, 8, 1, 0, b"");
        }
        drop(raw);
        server.line("client finished");
    }
    server.line_number("client finished", 2);
    for text in ["ignore empty message", "drop unknown message, type=77"] {
        assert!(server.line(text).contains("[debug]"));
        assert_eq!(server.count(text), 2, "once a connection");
    }
}

#[test]
fn a_player_that_says_nonsense_hears_of_it() {
    let server = Server::start();
    let nonsense = b"\x02\0\x09s";
    let mut raw = common::raw::Raw::connect(&server);
    raw.send(3, common::raw::COMMAND, 0, 0, nonsense);
    raw.answer("_error", 0.0);
    for (verb, code) in [("play", "NetStream.Play.Failed"), ("publish", "NetStream.Publish.Failed")]
    {
        let mut raw = common::raw::Raw::started(&server, verb, "s");
        raw.send(3, common::raw::COMMAND, 1, 0, nonsense);
        let status = raw.status(code);
        assert!(status.str("description").is_some_and(|text| text.contains("before byte")));
        assert_eq!(raw.message(common::SOON), None, "it is closed");
    }
}
