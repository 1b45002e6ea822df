//! Which addresses the machine has, and on which devices, from the routing tables in /proc.

use super::read;
use core::net::{Ipv4Addr, Ipv6Addr};

/// The addresses of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4, in the order of the routing table, without those of the loopback. At most
    /// 64.
    pub ipv4: Vec<Ipv4Addr>,
    /// Devices that have an address that the internet can reach.
    public: Vec<String>,
}

impl Addresses {
    /// As they are now.
    pub fn read() -> Self {
        let [trie, route, inet6] =
            ["/proc/net/fib_trie", "/proc/net/route", "/proc/net/if_inet6"].map(read);
        Self::parse(&trie, &route, &inet6)
    }

    pub(super) fn parse(fib_trie: &str, route: &str, if_inet6: &str) -> Self {
        let ipv4 = local_addresses(fib_trie);
        let routes: Vec<Route> = route.lines().skip(1).filter_map(Route::parse).collect();
        let mut public: Vec<String> = Vec::new();
        let mut add = |device: &str| {
            if !public.iter().any(|known| known == device) {
                public.push(device.to_owned());
            }
        };
        for address in ipv4.iter().filter(|address| is_public(**address)) {
            let ways = routes.iter().filter(|route| route.leads_to(*address));
            if let Some(route) = ways.max_by_key(|route| route.mask) {
                add(route.device);
            }
        }
        for line in if_inet6.lines().take(ADDRESSES) {
            let mut words = line.split_ascii_whitespace();
            let bits = words.next().and_then(|word| u128::from_str_radix(word, 16).ok());
            // 2000::/3 is what is given out for the internet.
            let global =
                bits.is_some_and(|bits| Ipv6Addr::from_bits(bits).segments()[0] >> 13 == 1);
            if let Some(device) = words.nth(4).filter(|_| global) {
                add(device);
            }
        }
        Self { ipv4, public }
    }

    /// Whether `device` has an address that the internet can reach.
    pub fn is_public(&self, device: &str) -> bool {
        self.public.iter().any(|known| known == device)
    }
}

/// The leaves of the table that are addresses of this machine: `|-- 192.168.1.5` and, in the next
/// line, `/32 host LOCAL`.
fn local_addresses(fib_trie: &str) -> Vec<Ipv4Addr> {
    let mut found: Vec<Ipv4Addr> = Vec::new();
    let mut leaf = None;
    for line in fib_trie.lines() {
        let line = line.trim_start();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.trim_end().parse::<Ipv4Addr>().ok();
        } else if line.trim_end() == "/32 host LOCAL"
            && let Some(address) = leaf
            && !address.is_loopback()
            && !found.contains(&address)
            && found.len() < ADDRESSES
        {
            found.push(address);
        }
    }
    found
}

struct Route<'a> {
    device: &'a str,
    network: u32,
    mask: u32,
}

impl<'a> Route<'a> {
    /// `eth0 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0`: numbers of the network as the machine
    /// has them in memory.
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let device = words.next()?;
        let hex = |word: &str| {
            let number = u32::from_str_radix(word, 16).ok()?;
            Some(u32::from_be_bytes(number.to_ne_bytes()))
        };
        let network = hex(words.next()?)?;
        let mask = hex(words.nth(5)?)?;
        Some(Self { device, network, mask })
    }

    fn leads_to(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask == self.network
    }
}

fn is_public(address: Ipv4Addr) -> bool {
    // Also what providers share among their customers (RFC 6598).
    let shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
    !(address.is_private() || address.is_loopback() || address.is_link_local() || shared)
}

/// Addresses that are looked at.
const ADDRESSES: usize = 64;
