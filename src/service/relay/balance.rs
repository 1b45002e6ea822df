//! Which of several servers is next, and when.

use std::time::Duration;

/// Puts `servers` into the order in which they are tried for `stream`: with `hash` by their ranks,
/// and of the same rank in that of a rendezvous hash of their names (the highest weight first), which
/// is the same on every edge and moves only the streams of a server that comes or goes. `known` says
/// the rank and the name.
pub fn arrange<T>(
    servers: &mut [T],
    stream: &str,
    hash: bool,
    known: impl for<'a> Fn(&'a T) -> (u32, &'a str),
) {
    if hash {
        servers.sort_by_cached_key(|server| {
            let (rank, name) = known(server);
            (rank, std::cmp::Reverse(weight(stream, name)))
        });
    }
}

/// Where the first of `servers` is that failed longest ago, `failed` being 0 for those that did not.
pub fn next<T>(servers: &[T], failed: impl Fn(&T) -> u32) -> Option<usize> {
    // Of equals the first.
    servers.iter().enumerate().min_by_key(|(_, server)| failed(server)).map(|(at, _)| at)
}

/// FNV-1a of both, with a finish that moves every bit of it.
fn weight(stream: &str, server: &str) -> u64 {
    let bytes = stream.bytes().chain([0]).chain(server.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ hash >> 33
}

/// The pauses between attempts: each twice the one before, up to the longest, and a quarter more or
/// less, so that those who lost the same server do not come back at once.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// From `first` to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next pause. `chance` is any number.
    pub fn pause(&mut self, chance: u8) -> Duration {
        let pause = self.next.min(self.longest);
        self.next = pause.saturating_mul(2);
        pause.saturating_mul(384 + u32::from(chance)) / 512
    }

    /// Another longest pause from now on.
    pub fn follow(&mut self, longest: Duration) {
        self.longest = longest;
    }

    /// It went well: the next pause is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(stream: &str, servers: &[&'static str]) -> Vec<&'static str> {
        let mut servers = servers.to_vec();
        arrange(&mut servers, stream, true, |name| (0, name));
        servers
    }

    #[test]
    fn the_order_does_not_depend_on_how_servers_are_listed() {
        assert_eq!(order("live/a", &["a", "b", "c"]), order("live/a", &["c", "a", "b"]));
        let mut listed = ["b", "a"];
        arrange(&mut listed, "live/a", false, |name| (0, name));
        assert_eq!(listed, ["b", "a"]);
    }

    #[test]
    fn a_rank_goes_before_the_hash() {
        for stream in ["live/a", "live/b", "live/c", "live/d"] {
            let mut servers = [(20, "a"), (10, "b"), (20, "c"), (10, "d")];
            arrange(&mut servers, stream, true, |(rank, name)| (*rank, name));
            assert_eq!(servers.map(|(rank, _)| rank), [10, 10, 20, 20]);
            let names = servers.map(|(_, name)| name);
            assert_eq!([order(stream, &["b", "d"]), order(stream, &["a", "c"])].concat(), names);
        }
    }

    #[test]
    fn streams_spread_and_a_server_that_goes_moves_its_own_only() {
        let mut first = [0; 3];
        for i in 0..3000 {
            let stream = format!("v/live/{i}");
            let with = order(&stream, &["a:1935", "b:1935", "c:1935"]);
            first[["a:1935", "b:1935", "c:1935"].iter().position(|s| *s == with[0]).unwrap()] += 1;
            let without = order(&stream, &["a:1935", "b:1935"]);
            assert_eq!(without[0], if with[0] == "c:1935" { with[1] } else { with[0] });
        }
        assert!(first.iter().all(|n| (850..1150).contains(n)), "{first:?}");
    }

    #[test]
    fn who_failed_longest_ago_is_next() {
        let failed = |name: &&str| match *name {
            "a" => 2,
            "b" => 1,
            _ => 0,
        };
        assert_eq!(next(&["a", "b"], failed), Some(1));
        assert_eq!(next(&["a", "c", "d"], failed), Some(1));
        assert_eq!(next(&[], failed), None);
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_vary_by_a_quarter() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let pauses: Vec<_> = (0..5).map(|_| backoff.pause(128).as_millis()).collect();
        assert_eq!(pauses, [1000, 2000, 4000, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.pause(0).as_millis(), 750);
        assert!(backoff.pause(255).as_millis() < 2500);
        backoff.follow(Duration::from_secs(2));
        assert_eq!([backoff.pause(128), backoff.pause(128)].map(|p| p.as_secs()), [2, 2]);
        backoff.follow(Duration::from_secs(60));
        assert_eq!([backoff.pause(128), backoff.pause(128)].map(|p| p.as_secs()), [4, 8]);
    }
}
