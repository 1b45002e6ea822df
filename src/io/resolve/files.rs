//! `/etc/hosts` and `/etc/resolv.conf`, as hosts(5) and resolv.conf(5) describe them.

use super::{PORT, Settings};
use crate::io::{files, read};
use crate::limits::{DNS_FILE, DNS_SERVERS};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::time::Duration;

/// What the files say about whom to ask, and about `name`. A file that is missing says nothing.
pub(super) async fn read(name: &str) -> (Settings, Vec<IpAddr>) {
    let name = name.to_owned();
    let job = move || {
        let settings = settings(&text("/etc/resolv.conf"), interface);
        (settings, listed(&text("/etc/hosts"), &name))
    };
    read::run(job).await.unwrap_or_default()
}

fn text(path: &str) -> String {
    let mut bytes = files::read(Path::new(path), DNS_FILE).unwrap_or_default();
    if bytes.len() > DNS_FILE {
        // Half a line could say something else.
        let last = bytes.iter().rposition(|&b| b == b'\n').unwrap_or(0);
        bytes.truncate(last);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The number of a network interface, for name servers with an address of one link.
fn interface(name: &str) -> Option<u32> {
    if name.contains(['/', '.']) {
        return None;
    }
    text(&format!("/sys/class/net/{name}/ifindex")).trim().parse().ok()
}

fn settings(text: &str, interface: impl Fn(&str) -> Option<u32>) -> Settings {
    let mut settings = Settings::default();
    let mut servers = Vec::new();
    for line in text.lines() {
        // There are no comments behind a directive.
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => servers.extend(words.next().and_then(|w| server(w, &interface))),
            Some("domain" | "search") => {
                let domains = words.map(|domain| domain.trim_matches('.').to_owned());
                settings.search =
                    domains.filter(|domain| !domain.is_empty()).take(DNS_SERVERS).collect();
            }
            Some("options") => words.for_each(|word| option(&mut settings, word)),
            _ => {}
        }
    }
    servers.truncate(DNS_SERVERS);
    if !servers.is_empty() {
        settings.servers = servers;
    }
    settings
}

fn server(word: &str, interface: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    if let Some((address, link)) = word.split_once('%') {
        let scope = link.parse().ok().or_else(|| interface(link))?;
        return Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, scope).into());
    }
    Some(SocketAddr::new(word.parse().ok()?, PORT))
}

fn option(settings: &mut Settings, word: &str) {
    let Some((name, Ok(number))) = word.split_once(':').map(|(n, v)| (n, v.parse::<u32>())) else {
        return;
    };
    match name {
        "timeout" => settings.timeout = Duration::from_secs(number.clamp(1, 30).into()),
        "attempts" => settings.attempts = number.clamp(1, 5),
        "ndots" => settings.ndots = usize::try_from(number.min(15)).unwrap_or(15),
        _ => {}
    }
}

/// The addresses that stand in front of `name`.
fn listed(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut addresses: Vec<IpAddr> = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read_as_its_manual_says() {
        let text = "# comment\n; comment\nnameserver 10.0.0.1\nnameserver   fe80::1%eth0\n\
            nameserver nonsense\nnameserver fe80::2%none\nnameserver ::1 # what is this\n\
            nameserver 10.0.0.4\n\
            domain old.example\nsearch a.example. b.example\noptions timeout:0 ndots:2 rotate\n\
            options attempts:9 edns0\nsortlist 1.2.3.4\n\n";
        let got = settings(text, |name| (name == "eth0").then_some(7));
        let want = Settings {
            servers: vec![
                "10.0.0.1:53".parse().unwrap(),
                SocketAddrV6::new("fe80::1".parse().unwrap(), 53, 0, 7).into(),
                "[::1]:53".parse().unwrap(),
            ],
            timeout: Duration::from_secs(1),
            attempts: 5,
            search: vec!["a.example".into(), "b.example".into()],
            ndots: 2,
        };
        assert_eq!(got, want);
        assert_eq!(settings("", |_| None), Settings::default());
        let candidates = |name| got.candidates(name).join(" ");
        assert_eq!(candidates("x.y"), "x.y.a.example x.y.b.example x.y");
        assert_eq!(candidates("x.y.z"), "x.y.z x.y.z.a.example x.y.z.b.example");
        assert_eq!(candidates("x."), "x.");
    }

    #[test]
    fn hosts_are_found_by_all_their_names() {
        let text = "127.0.0.1 localhost\n10.0.0.1\tA.example a # b\n::1 a\nbad a\n10.0.0.1 a\n";
        let found = |name| listed(text, name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found("a"), ["10.0.0.1", "::1"]);
        assert_eq!(found("a.EXAMPLE."), ["10.0.0.1"]);
        assert!(found("b").is_empty() && found("10.0.0.1").is_empty());
    }

    #[test]
    fn an_interface_cannot_name_another_file() {
        for name in ["../../../etc/hostname", ".", "..", "a/b"] {
            assert_eq!(interface(name), None);
        }
        assert_eq!(interface("lo"), text("/sys/class/net/lo/ifindex").trim().parse().ok());
    }
}
