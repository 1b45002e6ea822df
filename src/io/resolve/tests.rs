use super::*;
use crate::io::run::run;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Flags and records: type, data.
type Told = (u16, Vec<(u16, Vec<u8>)>);

/// A name server on a thread. `answer` gets the name, the type and how many questions came before,
/// and gives records (type, data) and flags, or `None` to keep silent. It ends with the process.
fn server(
    answer: impl Fn(&str, u16, usize) -> Option<Told> + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    // Another test may have the port for TCP.
    let (socket, address, listener) = std::iter::repeat_with(|| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        TcpListener::bind(address).map(|listener| (socket, address, listener))
    })
    .find_map(Result::ok)
    .unwrap();
    let (count, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer));
    // Over TCP everything is told, and nothing is cut off.
    let by_stream = answer.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut len = [0; 2];
            stream.read_exact(&mut len).unwrap();
            let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
            stream.read_exact(&mut query).unwrap();
            let reply = reply(&query, |name, kind| by_stream(name, kind, usize::MAX)).unwrap();
            let whole = [(reply.len() as u16).to_be_bytes().as_slice(), &reply].concat();
            // In two pieces.
            stream.write_all(&whole[..7]).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(&whole[7..]).unwrap();
        }
    });
    let counted = count.clone();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((len, peer)) = socket.recv_from(&mut query) {
            let before = counted.fetch_add(1, Ordering::SeqCst);
            if let Some(reply) = reply(&query[..len], |name, kind| answer(name, kind, before)) {
                // Somebody who guesses, first: another id.
                let mut foreign = reply.clone();
                foreign[0] ^= 0x55;
                socket.send_to(&foreign, peer).unwrap();
                socket.send_to(&reply, peer).unwrap();
            }
        }
    });
    (address, count)
}

fn reply(query: &[u8], answer: impl Fn(&str, u16) -> Option<Told>) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let len = usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..at + 1 + len].to_vec()).unwrap());
        at += 1 + len;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let (flags, records) = answer(&labels.join("."), kind)?;
    let mut reply = query.to_vec();
    reply[2..4].copy_from_slice(&(0x8000 | flags).to_be_bytes());
    reply[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    for (kind, data) in records {
        reply.extend_from_slice(&[0xc0, 12]);
        reply.extend_from_slice(&kind.to_be_bytes());
        reply.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        reply.extend_from_slice(&(data.len() as u16).to_be_bytes());
        reply.extend_from_slice(&data);
    }
    Some(reply)
}

fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').flat_map(|l| [&[l.len() as u8], l.as_bytes()].concat());
    labels.chain([0]).collect()
}

fn asking(servers: &[SocketAddr]) -> Resolver {
    let timeout = Duration::from_millis(200);
    Resolver::new(Settings { servers: servers.to_vec(), timeout, ..Settings::default() })
}

fn look_up(resolver: &Resolver, name: &str) -> Result<Vec<String>, Why> {
    let (resolver, name) = (resolver.clone(), name.to_owned());
    let found = run(|_| async move { resolver.host(&name, 7).await }).unwrap();
    found.map(|all| all.iter().map(ToString::to_string).collect()).map_err(|e| e.why)
}

/// Where the name itself has another meaning.
fn target(text: &str) -> Vec<u8> {
    name(text)
}

fn zone(name: &str, kind: u16, _: usize) -> Option<Told> {
    let v4 = |n| (1, vec![10, 0, 0, n]);
    let v6 = |n| (28, [&[0xfd; 15][..], &[n]].concat());
    let records = match (name.to_lowercase().as_str(), kind) {
        ("both.example", 1) => vec![v4(1), v4(2), v4(3)],
        ("both.example", 28) => vec![v6(1)],
        ("four.example" | "four.lan", 1) => vec![v4(9)],
        ("alias.example", _) => vec![(5, target("four.example"))],
        ("circle.example", _) => vec![(5, target("circle.example"))],
        ("only6.example" | "gone.example", 1) => return None,
        ("only6.example", 28) => vec![v6(6)],
        ("many.example", 1) => (0..40).map(v4).collect(),
        ("four.example" | "four.lan", _) => vec![],
        _ => return Some((3, vec![])),
    };
    Some((0, records))
}

#[test]
fn addresses_of_both_kinds_come_in_turn() {
    let resolver = asking(&[server(zone).0]);
    let six = |n| format!("[fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fd{n:02x}]:7");
    let got = look_up(&resolver, "Both.example").unwrap();
    assert_eq!(got, [six(1), "10.0.0.1:7".into(), "10.0.0.2:7".into(), "10.0.0.3:7".into()]);
    assert_eq!(look_up(&resolver, "four.example."), Ok(vec!["10.0.0.9:7".into()]));
    assert_eq!(look_up(&resolver, "alias.example"), Ok(vec!["10.0.0.9:7".into()]));
    assert_eq!(look_up(&resolver, "only6.example"), Ok(vec![six(6)]));
    assert_eq!(look_up(&resolver, "many.example").unwrap().len(), DNS_ADDRESSES);
    assert_eq!(look_up(&resolver, "none.example"), Err(Why::Dns(dns::Error::NotFound)));
    assert_eq!(look_up(&resolver, "circle.example"), Err(Why::Nothing));
}

#[test]
fn addresses_and_this_machine_need_no_name_server() {
    let resolver = asking(&[]);
    assert_eq!(look_up(&resolver, "10.1.2.3"), Ok(vec!["10.1.2.3:7".into()]));
    assert_eq!(look_up(&resolver, "[::1]"), Ok(vec!["[::1]:7".into()]));
    let local = vec!["[::1]:7".to_owned(), "127.0.0.1:7".into()];
    assert_eq!(look_up(&resolver, "localhost"), Ok(local.clone()));
    assert_eq!(look_up(&resolver, "a.LocalHost."), Ok(local));
    for name in ["", ".", "a..b", "a b", &"a".repeat(64), &"a.".repeat(200)] {
        assert_eq!(look_up(&resolver, name), Err(Why::Dns(dns::Error::Name)), "{name}");
    }
    // As this machine has it in its files.
    assert!(!look_up(&Resolver::default(), "localhost").unwrap().is_empty());
}

#[test]
fn a_name_without_dots_is_looked_for_in_the_search_domains_first() {
    let (address, count) = server(zone);
    let search = vec!["none.example".into(), "lan".into()];
    let resolver =
        Resolver::new(Settings { search, servers: vec![address], ..Settings::default() });
    assert_eq!(look_up(&resolver, "four"), Ok(vec!["10.0.0.9:7".into()]));
    assert_eq!(count.load(Ordering::SeqCst), 4);
}

#[test]
fn a_server_that_keeps_silent_or_fails_is_not_the_last_one_asked() {
    let (silent, asked) = server(|_, _, _| None);
    let (failing, _) = server(|_, _, _| Some((2, vec![])));
    // A socket that hears another one only: for all else nobody is there.
    let reserved = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    reserved.connect((Ipv4Addr::LOCALHOST, 9)).unwrap();
    let nobody = reserved.local_addr().unwrap();
    let (good, _) = server(zone);
    let start = Instant::now();
    let four = look_up(&asking(&[nobody, failing, silent]), "four.example");
    assert_eq!(four, Err(Why::TimedOut));
    assert_eq!(asked.load(Ordering::SeqCst), 2 * DNS_ATTEMPTS as usize);
    assert!(start.elapsed() < Duration::from_secs(5));
    for bad in [nobody, failing, silent] {
        assert_eq!(look_up(&asking(&[bad, good]), "four.example"), Ok(vec!["10.0.0.9:7".into()]));
    }
    assert_eq!(look_up(&asking(&[failing]), "x.y"), Err(Why::Dns(dns::Error::Server(2))));
    assert_eq!(look_up(&asking(&[nobody]), "x.y"), Err(Why::Io(ErrorKind::ConnectionRefused)));
}

#[test]
fn a_server_that_answers_for_one_kind_only_costs_little() {
    let (address, _) = server(zone);
    let servers = vec![address];
    let slow = Resolver::new(Settings { servers, ..Settings::default() });
    let start = Instant::now();
    assert_eq!(look_up(&slow, "gone.example"), Err(Why::Dns(dns::Error::NotFound)));
    assert_eq!(look_up(&slow, "only6.example").map(|all| all.len()), Ok(1));
    assert!(start.elapsed() < 2 * DNS_TIMEOUT, "{:?}", start.elapsed());
}

#[test]
fn a_lost_packet_is_sent_again() {
    let (address, _) =
        server(|name, kind, before| if before < 2 { None } else { zone(name, kind, 0) });
    assert_eq!(look_up(&asking(&[address]), "four.example"), Ok(vec!["10.0.0.9:7".into()]));
}

#[test]
fn an_answer_that_is_too_long_for_a_datagram_comes_over_tcp() {
    let (address, _) = server(|name, kind, before| match before {
        usize::MAX => zone(name, kind, 0),
        _ => Some((0x0200, vec![])),
    });
    assert_eq!(look_up(&asking(&[address]), "four.example"), Ok(vec!["10.0.0.9:7".into()]));
    assert_eq!(look_up(&asking(&[address]), "many.example").unwrap().len(), DNS_ADDRESSES);
}

#[test]
fn services_lead_to_hosts_in_the_order_of_their_priorities() {
    let (address, count) = server(|asked, kind, before| match asked {
        "_rtmp._tcp.example" => Some((
            0,
            vec![
                service(20, 2, "four.example"),
                service(5, 5, "none.example"),
                service(10, 1, "both.example"),
            ],
        )),
        "_no._tcp.example" => Some((0, vec![service(0, 0, "")])),
        _ => zone(asked, kind, before),
    });
    let resolver = asking(&[address]);
    run(move |_| async move {
        let all = resolver.targets("srv:_rtmp._tcp.example", 1935).await.unwrap();
        let names: Vec<_> = all.iter().map(|t| (t.host.as_str(), t.port)).collect();
        assert_eq!(names, [("none.example", 5), ("both.example", 1), ("four.example", 2)]);
        assert_eq!(all.iter().map(|t| t.priority).collect::<Vec<_>>(), [5, 10, 20]);
        let error = resolver.srv("_no._tcp.example", false).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot resolve _no._tcp.example: it has no address");
        let plain = resolver.targets("[::1]", 1935).await.unwrap();
        assert_eq!((plain[0].host.as_str(), plain[0].port), ("::1", 1935));
        assert!(resolver.targets("a:b:c", 1935).await.is_err());
        assert_eq!(count.load(Ordering::SeqCst), 2, "nobody asks for addresses yet");
    })
    .unwrap();
}

const SRV: u16 = 33;

fn service(priority: u16, port: u16, host: &str) -> (u16, Vec<u8>) {
    let numbers = [priority, 0, port].map(u16::to_be_bytes).concat();
    (SRV, [numbers, if host.is_empty() { vec![0] } else { name(host) }].concat())
}

#[test]
fn of_more_hosts_than_are_tried_all_who_want_it_steady_have_the_same() {
    // More than fit, in another order each time.
    let (address, _) = server(|_, _, before| {
        let host = |n: usize| service(10 + (n % 2) as u16, 1, &format!("h{n:02}.example"));
        let mut all: Vec<_> = (0..14).map(host).collect();
        all.rotate_left(before % 14);
        Some((0, all))
    });
    let resolver = asking(&[address]);
    run(move |_| async move {
        let mut steady = Vec::new();
        let mut any = Vec::new();
        for _ in 0..10 {
            steady.push(resolver.srv("_a._b.example", true).await.unwrap());
            any.push(resolver.srv("_a._b.example", false).await.unwrap());
        }
        steady.dedup();
        assert_eq!(steady.len(), 1);
        let names: Vec<_> = steady[0].iter().map(|t| t.host.get(..3).unwrap()).collect();
        assert_eq!(names, ["h00", "h02", "h04", "h06", "h08", "h10", "h12", "h01"]);
        any.dedup();
        assert!(any.len() > 1, "else by chance");
    })
    .unwrap();
}

#[test]
fn what_waits_for_a_name_is_small() {
    let resolver = Resolver::default();
    let host = resolver.host("a", 1);
    let connection = connect::to("a", 1, DNS_TIMEOUT);
    let sizes = (size_of_val(&host), size_of_val(&connection));
    assert!(sizes.0 < 256 && sizes.1 < 1024, "{sizes:?}");
}
