//! Who may publish and play: addresses (`security`), pages (`refer`), the bandwidth test's key.

use super::{
    Error,
    section::{Field, Reader, Value, section, wrong},
    tree::Directive,
    value::Seconds,
    vhost::Vhost,
};
use core::net::IpAddr;
use std::fmt;

section! {
    /// Who may publish and play, by address: deny counts more than allow, no rule means no.
    Security ("security") {
        /// Whether the rules count; else everyone may.
        enabled: bool = false;
        /// Allows publish or play for all, an address or a network.
        allow: Vec<Rule> = Vec::new() => "play all";
        /// Denies it.
        deny: Vec<Rule> = Vec::new() => "publish 192.168.0.0/24";
    }
}

section! {
    /// Which pages may embed a player or a publisher.
    Refer ("refer") {
        /// Whether it is looked at.
        enabled: bool = false;
        /// The domains, with all below them, for everyone.
        all: Vec<String> = Vec::new() => "github.com github.io";
        /// The domains for publishers, beside all.
        publish: Vec<String> = Vec::new() => "github.com";
        /// The domains for players, beside all.
        play: Vec<String> = Vec::new() => "github.io";
    }
}

section! {
    /// Lets in who has a signed URL: `expires` and `sign` among its parameters.
    SignedUrl ("signed_url", needs "sign") {
        /// Whether URLs have to be signed.
        enabled: bool = false;
        /// What they are signed with. Several while one follows another: each is good.
        secret: Vec<String> = Vec::new() => "s3cret";
        /// Whether players need one.
        play: bool = true;
        /// Whether publishers need one.
        publish: bool = true;
    }
}

section! {
    /// Makes this vhost a test of the bandwidth.
    Bandcheck ("bandcheck", needs "bandwidth") {
        /// Whether it is one; streams are then not served.
        enabled: bool = false;
        /// The key that a client must know.
        key: String = String::new() => "35c9b402c12a7246868752e2878f7e0e";
        /// Seconds between two tests.
        interval: Seconds = Seconds::from_millis(30_000);
        /// The most kbit/s that a test uses.
        limit_kbps: u32 = 1000;
    }
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// To send a stream.
    Publish,
    /// To receive a stream.
    Play,
}

/// One `allow` or `deny`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// For whom.
    pub role: Role,
    /// Peers where.
    pub from: Peers,
}

impl Rule {
    fn matches(&self, role: Role, ip: IpAddr) -> bool {
        self.role == role && self.from.contains(ip)
    }
}

/// Where a client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Anywhere.
    All,
    /// Addresses whose first bits, as many as the number says, are these.
    Net(IpAddr, u8),
}

impl Peers {
    /// Reads `all`, an address, or `address/bits`; `None` when `text` is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "all" {
            return Some(Self::All);
        }
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let ip: IpAddr = ip.parse().ok()?;
        let max = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(max), |bits| bits.parse().ok())?;
        (bits <= max).then_some(Self::Net(ip, bits))
    }

    /// Whether `ip` is one of these. IPv4 inside IPv6 (`::ffff:1.2.3.4`) is IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self, ip.to_canonical()) {
            (Self::All, _) => true,
            (Self::Net(IpAddr::V4(net), bits), IpAddr::V4(ip)) => {
                let differ = net.to_bits() ^ ip.to_bits();
                differ.leading_zeros() >= u32::from(*bits)
            }
            (Self::Net(IpAddr::V6(net), bits), IpAddr::V6(ip)) => {
                let differ = net.to_bits() ^ ip.to_bits();
                differ.leading_zeros() >= u32::from(*bits)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Net(ip, bits) if *bits == if ip.is_ipv4() { 32 } else { 128 } => ip.fmt(f),
            Self::Net(ip, bits) => write!(f, "{ip}/{bits}"),
        }
    }
}

/// What the rules say about a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Allowed,
    /// No `allow` is for it (SRS error 1052).
    NotAllowed,
    /// A `deny` is for it (SRS error 1053).
    Denied,
}

impl Security {
    /// Whether a client from `ip` may. Rules count in no order: `deny` over `allow`, and without
    /// any rule for it a client may not.
    pub fn check(&self, role: Role, ip: IpAddr) -> Verdict {
        let any = |rules: &[Rule]| rules.iter().any(|rule| rule.matches(role, ip));
        match (self.enabled, any(&self.deny), any(&self.allow)) {
            (false, ..) => Verdict::Allowed,
            (true, true, _) => Verdict::Denied,
            (true, false, true) => Verdict::Allowed,
            (true, false, false) => Verdict::NotAllowed,
        }
    }
}

/// Why a client may not, with the number of the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// 2015 refer, 1052 no rule allows, 1053 a rule denies.
    pub code: u16,
    /// What the client and the log are told.
    pub text: String,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. ret={}", self.text, self.code)
    }
}

impl Vhost {
    /// Whether a client at `ip` that came from `page_url` may take `role`: `refer`, then
    /// `security`. Every way in and out asks here.
    pub fn admit(&self, role: Role, ip: IpAddr, page_url: &str) -> Result<(), Denied> {
        let denied = |code, text| Err(Denied { code, text });
        if !self.refer.check(role, page_url) {
            return denied(
                2015,
                format!("pageUrl \"{}\" is not allowed by refer", page_url.escape_default()),
            );
        }
        match self.security.check(role, ip) {
            Verdict::Allowed => Ok(()),
            Verdict::Denied => denied(1053, format!("denied by security, ip={ip}")),
            Verdict::NotAllowed => denied(1052, format!("no security rule allows ip={ip}")),
        }
    }
}

impl Refer {
    /// Whether a client that came from `page_url` may (false: SRS error 2015). An empty list
    /// allows every page.
    pub fn check(&self, role: Role, page_url: &str) -> bool {
        let own = match role {
            Role::Publish => &self.publish,
            Role::Play => &self.play,
        };
        let domain = domain(page_url);
        let passes = |list: &[String]| list.is_empty() || list.iter().any(|e| within(domain, e));
        !self.enabled || (passes(&self.all) && passes(own))
    }
}

/// The host of a URL, without its port.
fn domain(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match host.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// Whether `domain` is `parent` or below it. Whole labels count: `xgithub.com` is not
/// `github.com`.
fn within(domain: &str, parent: &str) -> bool {
    let parent = parent.trim_start_matches('.').as_bytes();
    let domain = domain.as_bytes();
    let Some(at) = domain.len().checked_sub(parent.len()) else { return false };
    let (below, tail) = domain.split_at(at);
    !parent.is_empty()
        && tail.eq_ignore_ascii_case(parent)
        && below.last().is_none_or(|byte| *byte == b'.')
}

impl Value for Vec<Rule> {
    fn kind(&self) -> String {
        "publish|play all|ip|ip/bits, repeatable".into()
    }

    fn set(&mut self, d: &Directive, _field: &Field, reader: &mut Reader) -> Result<(), Error> {
        let [role, from, rest @ ..] = d.args.as_slice() else {
            return Err(wrong(d, "takes publish or play, and all or an address"));
        };
        if d.block {
            return Err(wrong(d, "takes values, not a block"));
        }
        if let Some(extra) = rest.first() {
            let text = format!("`{extra}` is ignored; is a ; missing before it?");
            reader.warn(d, text);
        }
        let role = match role.as_str() {
            "publish" => Role::Publish,
            "play" => Role::Play,
            other => return Err(wrong(d, format!("`{other}` is neither publish nor play"))),
        };
        let from = Peers::parse(from)
            .ok_or_else(|| wrong(d, format!("`{from}` is not all, an address or a network")))?;
        self.push(Rule { role, from });
        Ok(())
    }

    fn text(&self) -> String {
        String::new()
    }

    fn many(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Peers, Refer, Role, Rule, Security, Verdict, domain, within};

    fn rule(role: Role, from: &str) -> Rule {
        Rule { role, from: Peers::parse(from).unwrap() }
    }

    #[test]
    fn networks_are_read_and_matched() {
        const CASES: &[(&str, &str, bool)] = &[
            ("all", "1.2.3.4", true),
            ("all", "::1", true),
            ("1.2.3.4", "1.2.3.4", true),
            ("1.2.3.4", "::ffff:1.2.3.4", true),
            ("1.2.3.4", "1.2.3.5", false),
            ("10.0.0.0/8", "10.9.8.7", true),
            ("10.1.2.3/8", "10.9.8.7", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/31", "10.0.0.1", true),
            ("10.0.0.0/31", "10.0.0.2", false),
            ("0.0.0.0/0", "9.9.9.9", true),
            ("0.0.0.0/0", "::1", false),
            ("2001:db8::/32", "2001:db8:1::5", true),
            ("2001:db8::/32", "2001:db9::5", false),
            ("::/0", "2001:db9::5", true),
            ("::1", "::1", true),
            ("::1", "::2", false),
        ];
        for (from, ip, expected) in CASES {
            let got = Peers::parse(from).unwrap().contains(ip.parse().unwrap());
            assert_eq!(got, *expected, "{from} {ip}");
        }
        for bad in ["", "ALL", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "::1/129", "a", "1.2.3.4/-1"] {
            assert_eq!(Peers::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn deny_counts_more_than_allow_and_no_rule_means_no() {
        let ip = "192.168.1.9".parse().unwrap();
        let mut security = Security::default();
        assert_eq!(security.check(Role::Publish, ip), Verdict::Allowed);
        security.enabled = true;
        assert_eq!(security.check(Role::Publish, ip), Verdict::NotAllowed);
        security.allow.push(rule(Role::Publish, "192.168.0.0/16"));
        assert_eq!(security.check(Role::Publish, ip), Verdict::Allowed);
        assert_eq!(security.check(Role::Play, ip), Verdict::NotAllowed);
        security.deny.push(rule(Role::Publish, "192.168.1.9"));
        assert_eq!(security.check(Role::Publish, ip), Verdict::Denied);
        let other = "192.168.1.8".parse().unwrap();
        assert_eq!(security.check(Role::Publish, other), Verdict::Allowed);
    }

    #[test]
    fn the_domain_is_the_host_of_the_page() {
        const CASES: &[(&str, &str)] = &[
            ("http://a.b/c:1/d", "a.b"),
            ("https://a.b:8080/x", "a.b"),
            ("a.b", "a.b"),
            ("http://a.b?x=//c.d", "a.b"),
            ("http://[::1]:80/", "::1"),
            ("", ""),
        ];
        for (url, host) in CASES {
            assert_eq!(domain(url), *host, "{url}");
        }
    }

    #[test]
    fn a_domain_matches_by_whole_labels() {
        const CASES: &[(&str, &str, bool)] = &[
            ("github.com", "github.com", true),
            ("GitHub.com", "github.COM", true),
            ("a.github.com", "github.com", true),
            ("a.b.github.com", ".github.com", true),
            ("xgithub.com", "github.com", false),
            ("github.com.evil.org", "github.com", false),
            ("com", "github.com", false),
            ("", "github.com", false),
            ("a.b", "", false),
            ("直播.cn", "播.cn", false),
        ];
        for (host, parent, expected) in CASES {
            assert_eq!(within(host, parent), *expected, "{host} {parent}");
        }
    }

    #[test]
    fn a_page_must_pass_the_common_list_and_its_own() {
        let mut refer = Refer { all: vec!["a.com".into()], ..Refer::default() };
        assert!(refer.check(Role::Play, "http://b.com"), "off");
        refer.enabled = true;
        assert!(!refer.check(Role::Play, "http://b.com"));
        assert!(refer.check(Role::Play, "http://www.a.com/page"));
        refer.play.push("live.a.com".into());
        assert!(!refer.check(Role::Play, "http://www.a.com/page"));
        assert!(refer.check(Role::Play, "http://live.a.com/page"));
        assert!(refer.check(Role::Publish, "http://www.a.com/page"));
        assert!(!refer.check(Role::Publish, ""));
    }
}
