//! What players see of a fault, and what the log tells of it.

use crate::common::Server;
use crate::common::client::Peer;
use runnel::media::Packet;
use std::time::{Duration, Instant};

/// The longest time without a packet while `peer` plays for `time`, and the packets.
pub(crate) fn gap(peer: &mut Peer, time: Duration) -> (Duration, Vec<Packet>) {
    let (until, mut last, mut longest) = (Instant::now() + time, Instant::now(), Duration::ZERO);
    let mut packets = Vec::new();
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        let packet = peer.packet(left);
        longest = longest.max(last.elapsed());
        if let Some(packet) = packet {
            last = Instant::now();
            packets.push(packet);
        }
    }
    (longest, packets)
}

/// Waits until packets come, behind those that are there, and takes those of a second more: the
/// longest time without one, and what came.
pub(crate) fn recovery(peer: &mut Peer) -> (Duration, Vec<Packet>) {
    peer.packets_until_silence(Duration::from_millis(50));
    let begin = Instant::now();
    let first = peer.packet(BACK_OFF).expect("it comes within the longest pause");
    let waited = begin.elapsed();
    let (longest, mut packets) = gap(peer, Duration::from_secs(1));
    packets.insert(0, first);
    (longest.max(waited), packets)
}

/// What a server writes into its log from some time on.
pub(crate) struct Story<'a>(&'a Server, usize);

impl<'a> Story<'a> {
    pub(crate) fn of(server: &'a Server) -> Self {
        Self(server, server.log.all().len())
    }

    /// It tells all of `told`, and fits a screen.
    pub(crate) fn is_a_screen_with(&self, told: &[&str]) {
        let mut lines = self.0.log.all().split_off(self.1);
        // What each connection carries is told all the time.
        lines.retain(|line| !line.contains("okbps="));
        for text in told {
            assert!(lines.iter().any(|line| line.contains(text)), "{text:?} is not told");
        }
        assert!(lines.len() <= SCREEN, "{} lines:\n{}", lines.len(), lines.join("\n"));
    }
}

/// The lines of a terminal.
const SCREEN: usize = 25;

/// The longest that players wait for what comes after a fault: three seconds until it is seen, then
/// the longest pause between two attempts, a quarter more.
pub(crate) const BACK_OFF: Duration = Duration::from_millis(3000 + 6250);
