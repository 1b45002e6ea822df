use super::*;
use crate::codec::testing::mutations;

const ID: u16 = 0x1234;

/// A name in an answer: text, a pointer behind it where there is one.
fn name(text: &str, pointer: Option<u8>) -> Vec<u8> {
    let labels = text.split('.').filter(|l| !l.is_empty());
    let mut bytes: Vec<u8> =
        labels.flat_map(|l| [&[l.len() as u8], l.as_bytes()].concat()).collect();
    match pointer {
        Some(at) => bytes.extend([0xc0, at]),
        None => bytes.push(0),
    }
    bytes
}

fn record(owner: Vec<u8>, kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = owner;
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 0, 60]);
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

/// The answer to `query`, with `flags` beside the one that says that it is one.
fn reply(query: &[u8], flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = query.to_vec();
    bytes[2..4].copy_from_slice(&(0x8080 | flags).to_be_bytes());
    bytes[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    bytes.extend(records.concat());
    bytes
}

fn srv(priority: u16, weight: u16, port: u16, host: Vec<u8>) -> Vec<u8> {
    [[priority, weight, port].map(u16::to_be_bytes).concat(), host].concat()
}

/// The name asked for is at 12, `example` of `a.example` at 14.
fn cases() -> Vec<(&'static str, Kind, Vec<u8>, Answer)> {
    let query = |kind| query(ID, "A.example", kind).unwrap();
    let own = || name("", Some(12));
    let ip = |n| IpAddr::from([10, 0, 0, n]);
    let of = |addresses| Answer { addresses, ..Answer::default() };
    let service =
        |priority, weight, port, host: &str| Service { priority, weight, port, host: host.into() };
    vec![
        ("none", Kind::A, reply(&query(Kind::A), 0, &[]), Answer::default()),
        (
            "two",
            Kind::A,
            reply(
                &query(Kind::A),
                0,
                &[
                    record(own(), 1, &[10, 0, 0, 1]),
                    record(name("A.eXample", None), 1, &[10, 0, 0, 2]),
                ],
            ),
            of(vec![ip(1), ip(2)]),
        ),
        (
            "IPv6",
            Kind::Aaaa,
            reply(&query(Kind::Aaaa), 0, &[record(own(), 28, &[0xfe; 16])]),
            of(vec![IpAddr::from([0xfe; 16])]),
        ),
        (
            "aliases in any order, and what is of no interest",
            Kind::A,
            reply(
                &query(Kind::A),
                0,
                &[
                    record(name("c", Some(14)), 1, &[10, 0, 0, 3]),
                    record(own(), 46, b"signature"),
                    record(name("b", Some(14)), CNAME, &name("c", Some(14))),
                    record(own(), CNAME, &name("b", Some(14))),
                    record(name("other", None), 1, &[10, 0, 0, 4]),
                ],
            ),
            of(vec![ip(3)]),
        ),
        (
            "an alias that leads out of the answer",
            Kind::A,
            reply(&query(Kind::A), 0, &[record(own(), CNAME, &name("far.away", None))]),
            Answer { alias: Some("far.away".into()), ..Answer::default() },
        ),
        (
            "services",
            Kind::Srv,
            reply(
                &query(Kind::Srv),
                0,
                &[
                    record(own(), SRV, &srv(1, 2, 3, name("H", Some(14)))),
                    record(own(), SRV, &srv(4, 5, 6, name("", None))),
                ],
            ),
            Answer {
                services: vec![service(1, 2, 3, "h.example"), service(4, 5, 6, "")],
                ..Answer::default()
            },
        ),
    ]
}

#[test]
fn answers_are_read() {
    for (what, kind, packet, want) in cases() {
        assert_eq!(answer(&packet, ID, "a.Example.", kind), Ok(want), "{what}");
    }
}

#[test]
fn an_answer_that_is_cut_off_is_an_error_wherever_the_cut_is() {
    for (what, kind, packet, want) in cases() {
        for len in 0..packet.len() {
            assert!(answer(&packet[..len], ID, "a.example", kind).is_err(), "{what} {len}");
        }
        // Said to be cut off, what is whole counts.
        let mut packet = packet;
        packet[2] |= 2;
        let want = Answer { truncated: true, ..want };
        assert_eq!(answer(&packet, ID, "a.example", kind), Ok(want));
        for len in packet.len() / 2..packet.len() {
            let cut = answer(&packet[..len], ID, "a.example", kind);
            assert!(cut.is_err() || cut.is_ok_and(|a| a.truncated));
        }
    }
}

#[test]
fn whatever_comes_is_bounded() {
    for (_, kind, packet, _) in cases() {
        mutations(&packet, |bytes| {
            if let Ok(answer) = answer(bytes, ID, "a.example", kind) {
                assert!(answer.addresses.len() + answer.services.len() <= DNS_RECORDS);
                assert!(answer.alias.is_none_or(|name| name.len() <= DNS_NAME));
            }
        });
    }
    let a_query = query(ID, "a", Kind::A).unwrap();
    let many = vec![record(name("", Some(12)), 1, &[1, 2, 3, 4]); 200];
    let many = reply(&a_query, 0, &many);
    assert_eq!(answer(&many, ID, "a", Kind::A).unwrap().addresses.len(), DNS_RECORDS);
}

#[test]
fn only_the_answer_to_the_question_counts() {
    let asked = query(ID, "a.example", Kind::A).unwrap();
    let good = reply(&asked, 0, &[]);
    let foreign = Err(Error::Foreign);
    assert_eq!(answer(&good, ID + 1, "a.example", Kind::A), foreign);
    assert_eq!(answer(&good, ID, "b.example", Kind::A), foreign);
    assert_eq!(answer(&good, ID, "a.example", Kind::Aaaa), foreign);
    assert_eq!(answer(&asked, ID, "a.example", Kind::A), foreign, "a question");
    assert_eq!(answer(&reply(&asked, 0x2800, &[]), ID, "a.example", Kind::A), foreign);
    for (flags, error) in
        [(2, Error::Server(2)), (3, Error::NotFound), (5, Error::Server(5)), (4, Error::Server(4))]
    {
        let packet = reply(&asked, flags, &[]);
        assert_eq!(answer(&packet, ID, "a.example", Kind::A), Err(error));
    }
    let bare = [0x12, 0x34, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(answer(&bare, ID, "a.example", Kind::A), Err(Error::Server(1)));
}

#[test]
fn pointers_that_do_not_lead_back_are_refused() {
    let asked = query(ID, "a", Kind::A).unwrap();
    let at = asked.len() as u8;
    for owner in [
        vec![0xc0, at],
        vec![0xc0, at + 1],
        vec![1, b'x', 0xc0, at],
        vec![0xc0, at + 2, 0xc0, at],
        vec![0xff, 0xff],
        vec![0x40, 1],
        vec![0x80, 1],
    ] {
        let packet = reply(&asked, 0, &[record(owner.clone(), 1, &[1, 2, 3, 4])]);
        let got = answer(&packet, ID, "a", Kind::A);
        assert!(matches!(got, Err(Error::Malformed(_))), "{owner:?} {got:?}");
    }
    // Pointers to pointers, 128 labels of two bytes each.
    let mut long = reply(&asked, 0, &[]);
    long[7] = 1;
    for _ in 0..128 {
        long.extend([1, b'x']);
    }
    long.push(0);
    assert!(answer(&long, ID, "a", Kind::A).is_err());
}

#[test]
fn names_that_cannot_be_asked_for_are_refused() {
    let label = "a".repeat(63);
    let longest = [label.as_str(); 4].join(".")[..DNS_NAME].to_owned();
    for good in ["a", "a.", "_x._tcp.a-b", "127.0.0.1", &label, &longest] {
        assert!(query(1, good, Kind::A).is_ok(), "{good}");
    }
    let long = longest + "a";
    for bad in ["", ".", "a..b", ".a", "a b", "ä", "a\0", "a\n", &"a".repeat(64), &long] {
        assert_eq!(query(1, bad, Kind::A), Err(Error::Name), "{bad}");
    }
    let bytes = query(0x0102, "ab.c.", Kind::Srv).unwrap();
    assert_eq!(bytes, *b"\x01\x02\x01\0\0\x01\0\0\0\0\0\0\x02ab\x01c\0\0\x21\0\x01");
}

#[test]
fn services_are_tried_by_priority_and_as_often_as_their_weight_says() {
    let service = |priority, weight, port| Service { priority, weight, port, host: "h".into() };
    let all = vec![service(2, 0, 4), service(1, 10, 1), service(1, 30, 2), service(1, 0, 3)];
    let mut random = fastrand::Rng::with_seed(1);
    let mut first = [0; 5];
    for _ in 0..4000 {
        let ordered = order(all.clone(), &mut random);
        let mut ports: Vec<_> = ordered.iter().map(|s| s.port).collect();
        assert_eq!(ports[3], 4);
        first[usize::from(ports[0])] += 1;
        ports.sort_unstable();
        assert_eq!(ports, [1, 2, 3, 4]);
    }
    // Shares of 10 : 30, and a small chance for the weight of 0.
    assert!((850..1150).contains(&first[1]) && (2700..3100).contains(&first[2]), "{first:?}");
    assert!((1..250).contains(&first[3]), "{first:?}");
    assert!(order(vec![], &mut random).is_empty());
}
