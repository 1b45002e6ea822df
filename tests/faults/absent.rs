//! Peers that say nothing more, or read nothing.

use crate::input::{connected, header, opened, playing, publishing, shaken};
use crate::peer::control::Control;
use crate::peer::server::Server;
use crate::peer::{KEPT, Peer, SOON};
use crate::slow::{Source, TEN_SECONDS, narrow_player};
use runnel::limits::{self, SEND_TIMEOUT};
use runnel::proto::rtmp::message::VIDEO;
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn who_does_nothing_for_thirty_seconds_is_dropped_unless_it_may() {
    let server = Server::start(TEN_SECONDS);
    let control = Control::start(server.address);
    let mut source = Source::new(server.address, "s", 50, 8000);
    source.send(1);
    let mut dead = narrow_player(server.address, "s");
    let mut idle = narrow_player(server.address, "nobody publishes this");
    let mut paused = narrow_player(server.address, "s");
    paused.command(1, |w| _ = w.string("pause").number(0.0).null().boolean(true).number(0.0));
    // These two are late with their next command.
    let mut shaken = Peer::shaken(server.address);
    let mut connected = Peer::connected(server.address);
    let start = Instant::now();
    let longest = SEND_TIMEOUT + Duration::from_secs(4);
    let text = "timeout, the player takes no data. ret=1011";
    while server.lines(&["[warn]", text]).is_empty() {
        source.send(5);
        thread::sleep(Duration::from_millis(100));
        assert!(start.elapsed() < longest, "it is not dropped");
    }
    assert!(start.elapsed() > SEND_TIMEOUT, "dropped after {:?}", start.elapsed());
    let (name, code, told) = shaken.reply();
    assert_eq!((&*name, &*code), ("_error", "NetConnection.Connect.Rejected"));
    assert_eq!(told, "timeout, no connect");
    let (code, told) = connected.status_and_text();
    assert_eq!(code, "NetConnection.Connect.Closed");
    assert_eq!(told, "timeout, neither publish nor play");
    for late in [&mut dead, &mut shaken, &mut connected] {
        late.expect_close(SOON);
    }
    server.logged(&["[warn]", "timeout, no connect. ret=1011"]);
    server.logged(&["[warn]", "timeout, neither publish nor play. ret=1011"]);
    let moment = Duration::from_millis(100);
    assert!(idle.stays(moment), "who has nothing to read may wait");
    assert!(paused.stays(moment), "who is paused too");
    server.logged_times(&[text], 1);
    control.finish();
}

#[test]
fn a_handshake_that_does_not_end_is_over_after_five_seconds() {
    let server = Server::plain();
    let control = Control::start(server.address);
    let start = Instant::now();
    let mut peers: Vec<_> = [0, 1, 100, 1537, 3000]
        .into_iter()
        .map(|bytes| {
            let mut peer = opened(&server);
            // C0, then random C1 and C2: of these any bytes will do, but too few come.
            peer.raw(&[&[3][..], &[0xa5; 4000]].concat()[..bytes]);
            (bytes, peer)
        })
        .collect();
    let mut slow = opened(&server);
    slow.raw(&[3]);
    while !slow.is_closed() {
        slow.raw(&[0x55]);
        slow.fill();
        assert!(start.elapsed() < limits::HANDSHAKE_TIMEOUT + Duration::from_secs(2));
    }
    for (bytes, peer) in &mut peers {
        peer.expect_close(Duration::from_secs(2));
        let received = format!("received={bytes},");
        server.logged(&["timeout, handshake not finished. ret=1011", &received]);
    }
    assert!(start.elapsed() >= limits::HANDSHAKE_TIMEOUT);
    control.finish();
}

#[test]
fn a_publisher_that_stops_in_a_message_is_dropped() {
    let server = Server::start(
        "vhost __defaultVhost__ {\n publish { firstpkt_timeout 1000; normal_timeout 1000; }\n}\n",
    );
    let control = Control::start(server.address);
    let before = server.rss();
    // Half a message and silence; half a message and a byte now and then; silence from the start.
    let mut peers: Vec<_> = (0..4)
        .map(|i| {
            let mut peer = Peer::publisher(server.address, &format!("stops{i}"));
            if i > 0 {
                peer.headers();
                peer.raw(&[&header(6, 500_000, VIDEO)[..], &[0x27; 30_000]].concat());
            }
            peer
        })
        .collect();
    let mut closed = peers.pop().expect("there are four");
    closed.sock.shutdown(Shutdown::Both).unwrap();
    closed.expect_close(SOON);
    server.logged(&["client disconnect peer. ret=1004"]);
    let start = Instant::now();
    while !peers[2].is_closed() && start.elapsed() < SOON {
        peers[2].raw(&[0x27]);
        peers[2].fill();
    }
    for peer in &mut peers {
        peer.expect_close(SOON);
    }
    server.logged(&["timeout, the publisher sent nothing. ret=1011"]);
    server.logged_times(&["timeout, the publisher fell silent. ret=1011"], 2);
    server.settles(before + KEPT);
    control.finish();
}

#[test]
fn half_open_connections_end_wherever_they_stand() {
    let server = Server::plain();
    let control = Control::start(server.address);
    for start in [opened, shaken, connected, publishing, playing] {
        let mut peer = start(&server);
        let lines = server.lines(&["client disconnect peer. ret=1004"]).len();
        peer.sock.shutdown(Shutdown::Write).unwrap();
        peer.expect_close(SOON);
        server.logged_times(&["client disconnect peer. ret=1004"], lines + 1);
    }
    control.finish();
}
