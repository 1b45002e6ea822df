//! Pairs of UDP ports: an even one for RTP, the next one for RTCP (RFC 3550 §11).

use crate::context::Context;
use crate::io::udp::Udp;
use crate::limits::RTP_PORT_TRIES;
use core::net::IpAddr;
use std::cell::Cell;

/// Two ports that packets of a track come to.
#[derive(Debug)]
pub(in crate::service) struct Pair {
    pub(in crate::service) rtp: Udp,
    pub(in crate::service) rtcp: Udp,
    /// That of RTP.
    pub(in crate::service) port: u16,
}

/// Where the search begins: a port that was in use a moment ago may still get packets.
#[derive(Debug, Default)]
struct Next(Cell<u16>);

/// A pair in `ports`, the second of which is behind the last one; `None` when none is free.
pub(in crate::service) fn bind(cx: &Context, address: IpAddr, ports: (u16, u16)) -> Option<Pair> {
    let next = cx.part::<Next>();
    let first = ports.0.checked_next_multiple_of(2)?;
    let pairs = ports.1.saturating_sub(first) / 2;
    for _ in 0..usize::from(pairs).min(RTP_PORT_TRIES) {
        let at = next.0.get() % pairs;
        next.0.set(at.wrapping_add(1));
        let port = first.checked_add(at.checked_mul(2)?)?;
        let (Ok(rtp), Ok(rtcp)) =
            (Udp::listen(Some(address), port, ""), Udp::listen(Some(address), port + 1, ""))
        else {
            continue;
        };
        return Some(Pair { rtp, rtcp, port });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::io::run::run;
    use core::net::Ipv4Addr;

    #[test]
    fn pairs_are_even_and_end_with_the_range() {
        run(|spawner| async move {
            let config = config::load(b"listen 1;").unwrap().config;
            let cx = Context::new(config, false, spawner);
            let ip = Ipv4Addr::LOCALHOST.into();
            // A range that is free in most places; others may have some of it.
            let pairs: Vec<_> = (0..5).map_while(|_| bind(&cx, ip, (61_001, 61_008))).collect();
            assert!(pairs.len() <= 3, "61002, 61004 and 61006");
            assert!(pairs.iter().all(|p| p.port % 2 == 0 && (61_002..61_007).contains(&p.port)));
            if pairs.len() == 3 {
                drop(pairs);
                assert!(bind(&cx, ip, (61_001, 61_008)).is_some(), "they are free again");
            }
            for none in [(0, 0), (9, 9), (10, 11), (u16::MAX, u16::MAX), (5000, 4000)] {
                assert!(bind(&cx, ip, none).is_none(), "{none:?}");
            }
        })
        .unwrap();
    }
}
