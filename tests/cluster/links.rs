//! Servers with a bad uplink between them: each has a network namespace of its own.

use crate::common::client::Peer;
use crate::common::link::{FAR, Link, NEAR, Quality};
use crate::common::{SOON, Server, eventually, free_port};
use crate::peers::{Does, Encoder, Numbered, Origin, assert_rising, numbers};
use crate::story::{BACK_OFF, Story, gap};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// What a ship has on a bad day; as long as that lasts.
const BAD: Quality =
    Quality { delay: Duration::from_millis(150), jitter: Duration::ZERO, loss: 0.1 };
const MINUTE: Duration = Duration::from_secs(60);

/// A server that is reached at `address` too, with `vhost` in the default vhost.
fn reached_at(address: &str, vhost: &str) -> Server {
    let port = free_port();
    let text = format!(
        "listen 127.0.0.1:{port} {address}:{port}; daemon off; srs_log_tank console;
         vhost __defaultVhost__ {{ {vhost} }}"
    );
    Server::with_file(port, &text)
}

fn edge_of(origin: &Server) -> Server {
    Server::with(&format!(
        "vhost __defaultVhost__ {{ mode remote; origin {FAR}:{}; }}",
        origin.port
    ))
}

/// For the whole minute there is a stream, and when the link is good again it goes on as if nothing
/// had been.
fn is_watched(link: &Link, player: &mut Peer) {
    let (longest, packets) = gap(player, MINUTE);
    let (carried, lost) = link.counts();
    assert!(lost * 20 > carried, "the link loses: {lost} beside {carried}");
    assert!(longest < BACK_OFF, "{longest:?}");
    assert!(packets.len() > 1500, "{} packets of 3300", packets.len());
    assert_rising(&packets, None);
    link.set(Quality::default());
    // What had to wait comes at once; behind that all is as it should be.
    gap(player, Duration::from_secs(2));
    let (longest, packets) = gap(player, Duration::from_secs(3));
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    assert!(packets.len() > 130, "{} packets of 165", packets.len());
    assert_rising(&packets, Some(250));
}

#[test]
fn a_link_of_the_test_delays_and_loses_as_it_is_told() {
    let quality = Quality { delay: Duration::from_millis(100), loss: 0.1, ..Quality::default() };
    let Some(link) = Link::new(quality, 1) else { return };
    let sender = link.near.run(|| UdpSocket::bind((NEAR, 0)).unwrap());
    let receiver = link.far.run(|| UdpSocket::bind((FAR, 9)).unwrap());
    receiver.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let begin = Instant::now();
    let send = |count: u32| {
        for _ in 0..count {
            let now = u64::try_from(begin.elapsed().as_micros()).unwrap();
            sender.send_to(&now.to_be_bytes(), (FAR, 9)).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let mut buffer = [0; 8];
    std::thread::scope(|scope| {
        scope.spawn(|| send(500));
        let mut came = 0;
        while receiver.recv(&mut buffer).is_ok() {
            let sent = Duration::from_micros(u64::from_be_bytes(buffer));
            assert!(begin.elapsed() - sent >= Duration::from_millis(99));
            came += 1;
        }
        assert!((410..490).contains(&came), "{came} of 500");
    });
    link.set(Quality { loss: 1.0, ..quality });
    send(50);
    assert!(receiver.recv(&mut buffer).is_err(), "the cable is cut");
    let (carried, lost) = link.counts();
    // Ethernet asks for addresses as well.
    assert!((550..570).contains(&(carried + lost)), "{carried} and {lost}");
}

#[test]
fn a_minute_of_losses_and_delay_is_no_end_of_a_stream() {
    let Some(links) = (2..5).map(|seed| Link::new(BAD, seed)).collect::<Option<Vec<_>>>() else {
        return;
    };
    // A minute once, not three times.
    std::thread::scope(|scope| {
        for (link, test) in links.into_iter().zip([pulled, pushed, forwarded]) {
            scope.spawn(move || test(&link));
        }
    });
}

/// An edge with a bad uplink: its players have the stream.
fn pulled(link: &Link) {
    let (origin, _encoder) = link.far.run(|| {
        let origin = reached_at(FAR, "");
        let encoder = Encoder::start(&origin, "s");
        (origin, encoder)
    });
    let edge = link.near.run(|| edge_of(&origin));
    let story = Story::of(&edge);
    let mut player = link.near.run(|| Peer::play(&edge, "s"));
    player.packets(3);
    is_watched(link, &mut player);
    story.is_a_screen_with(&["edge: plays /live/s"]);
}

/// A publisher at an edge with a bad uplink: the players of the origin have the stream.
fn pushed(link: &Link) {
    let origin = link.far.run(|| reached_at(FAR, ""));
    let edge = link.near.run(|| edge_of(&origin));
    let story = Story::of(&edge);
    let encoder = link.near.run(|| Encoder::start(&edge, "s"));
    let mut player = link.far.run(|| Peer::play(&origin, "s"));
    player.packets(3);
    is_watched(link, &mut player);
    assert!(!encoder.has_ended());
    story.is_a_screen_with(&["client identified, type=fmle-publish"]);
}

/// A forward over a bad uplink that is cut for 35 seconds of the minute: what was published
/// meanwhile was kept. What the kernel had taken until the cut was seen, which takes ten to twenty
/// seconds, is lost, and nothing else.
fn forwarded(link: &Link) {
    let slave = link.far.run(|| Origin::at((FAR, free_port()), Does::Takes));
    let vhost = format!(
        "vhost __defaultVhost__ {{ publish {{ parse_sps off; }}
             forward {{ enabled on; destination {FAR}:{}; buffer 60; }} }}",
        slave.port
    );
    let master = link.near.run(|| Server::with(&vhost));
    let story = Story::of(&master);
    let mut encoder = link.near.run(|| Numbered::new(&master));
    // The rate of a telephone: 70 kbit/s.
    encoder.send(10 * 25, 350, 1);
    link.set(Quality { loss: 1.0, ..BAD });
    let cut = encoder.next;
    encoder.send(35 * 25, 350, 1);
    let back = encoder.next;
    link.set(BAD);
    encoder.send(15 * 25, 350, 1);
    link.set(Quality::default());
    encoder.send(50, 350, 1);
    let last = encoder.next - 1;
    let all =
        || -> Vec<Vec<u32>> { slave.taken.lock().unwrap().iter().map(|p| numbers(p)).collect() };
    eventually("all is there", SOON, || all().concat().last() == Some(&last));
    // The last connection has what was kept, all of it: from before the link was back, without a gap.
    let connections = all();
    let kept = connections.last().unwrap();
    assert!(kept.windows(2).all(|w| w[1] == w[0] + 1), "{kept:?}");
    // Twenty seconds until the cut is seen, and one for what was on its way before it.
    let most = cut + 21 * 25;
    assert!(kept[0].is_multiple_of(25) && kept[0] <= most, "from {}, cut at {cut}", kept[0]);
    let line = master.log.all().into_iter().rfind(|line| line.contains("publishes to")).unwrap();
    assert!(line.contains("skipped 0 packets"), "{line}");
    let behind: u32 =
        line.split_once(" ms behind").unwrap().0.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(behind >= (back - most) * 40, "{line}");
    // What is missing is missing between two connections, what is there twice is what stood between
    // the key frame and the cut.
    let (mut next, mut missing, mut twice) = (0, 0, 0);
    for number in connections.concat() {
        missing += number.saturating_sub(next);
        twice += u32::from(number < next);
        next = next.max(number + 1);
    }
    assert!(missing <= 21 * 25, "{missing} are missing");
    let count = u32::try_from(connections.len()).unwrap();
    assert!((2..6).contains(&count), "{count} connections");
    assert!(twice <= 25 * count, "{twice} twice in {count} connections");
    story.is_a_screen_with(&["client identified, type=fmle-publish", "ms are kept"]);
}
