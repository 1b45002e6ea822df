use super::*;
use crate::codec::testing::mutations;

/// Method, reply, status, body, how it ends.
type Case = (&'static str, Method, &'static [u8], u16, &'static [u8], Ends);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// The connection is good for another request.
    Free,
    /// It is not.
    Used,
    /// The body ends with the connection.
    WithClose,
}

const CASES: &[Case] = &[
    ("length", Method::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc", Ends::Free),
    ("empty", Method::Post, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"", Ends::Free),
    (
        "chunks",
        Method::Get,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\nT: u\r\n\r\n",
        200,
        b"abc",
        Ends::Free,
    ),
    (
        "chunks and a length",
        Method::Get,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        200,
        b"a",
        Ends::Used,
    ),
    ("until close", Method::Get, b"HTTP/1.1 200 OK\r\n\r\nabc", 200, b"abc", Ends::WithClose),
    ("HTTP/1.0", Method::Get, b"HTTP/1.0 404 Not Found\r\nContent-Length: 1\r\n\r\nx", 404, b"x", Ends::Used),
    (
        "HTTP/1.0 that stays",
        Method::Get,
        b"HTTP/1.0 200 OK\nConnection: Keep-Alive\nContent-Length: 1\n\nx",
        200,
        b"x",
        Ends::Free,
    ),
    (
        "close",
        Method::Get,
        b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\nx",
        200,
        b"x",
        Ends::Used,
    ),
    (
        "on the way",
        Method::Get,
        b"HTTP/1.1 100 Continue\r\n\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
        204,
        b"",
        Ends::Free,
    ),
    ("HEAD", Method::Head, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 200, b"", Ends::Free),
    ("not modified", Method::Get, b"HTTP/1.1 304 N\r\nContent-Length: 3\r\n\r\n", 304, b"", Ends::Free),
    ("no reason", Method::Get, b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", 200, b"x", Ends::Free),
];

fn asked(method: Method) -> Client {
    let mut client = Client::default();
    let request =
        Request { method, host: "a", target: "/", headers: &[], body: &[], keep_alive: true };
    client.request(&request).unwrap();
    client.send_done(client.send_buf().len());
    client
}

/// Feeds `input` in pieces of `step`. Status, body, whether its end was told.
fn read(
    client: &mut Client,
    input: &[u8],
    step: usize,
) -> Result<(Option<u16>, Vec<u8>, bool), Error> {
    let (mut status, mut body, mut over) = (None, Vec::new(), false);
    for piece in input.chunks(step) {
        let mut piece = piece;
        while let Some(event) = client.receive(&mut piece)? {
            assert!(!over, "{event:?} behind the end");
            match event {
                Event::Head(head) => assert_eq!(status.replace(head.status), None),
                Event::Body(bytes) => {
                    assert!(status.is_some() && !bytes.is_empty());
                    body.extend_from_slice(&bytes);
                }
                Event::End => over = true,
            }
        }
        assert!(piece.is_empty());
    }
    Ok((status, body, over))
}

#[test]
fn replies_are_read_wherever_reads_cut_them() {
    for &(what, method, bytes, status, body, ends) in CASES {
        for step in 1..=bytes.len() {
            let mut client = asked(method);
            let got = read(&mut client, bytes, step);
            let want = (Some(status), body.to_vec(), ends != Ends::WithClose);
            assert_eq!(got, Ok(want), "{what} {step}");
            assert_eq!(client.is_free(), ends == Ends::Free, "{what}");
            assert_eq!(client.closed(), Ok(()), "{what}");
            assert!(!client.is_free());
        }
    }
}

#[test]
fn a_connection_that_ends_too_early_is_noticed_wherever_it_does() {
    for &(what, method, bytes, _, _, ends) in CASES {
        for len in 0..bytes.len() {
            let mut client = asked(method);
            let (_, _, over) = read(&mut client, &bytes[..len], 7).unwrap();
            assert!(!over, "{what} {len}");
            assert_eq!(client.is_untouched(), len == 0);
            let in_head = ends != Ends::WithClose || len < bytes.len() - 3;
            assert_eq!(client.closed(), if in_head { Err(Error::CutOff) } else { Ok(()) });
        }
    }
}

#[test]
fn whatever_comes_in_is_a_reply_or_an_error() {
    for &(_, method, bytes, ..) in CASES {
        mutations(bytes, |bytes| {
            let mut client = asked(method);
            if let Ok((status, body, _)) = read(&mut client, bytes, 5) {
                assert!(body.len() <= bytes.len() && status.is_none_or(|s| s >= 200));
            } else {
                assert!(!client.is_free() && client.closed().is_err());
            }
            assert!(client.head.len() <= HTTP_HEAD);
        });
    }
}

#[test]
fn replies_that_cannot_be_trusted_are_refused() {
    for (bytes, error) in [
        (&b"garbage\r\n\r\n"[..], Error::Version),
        (b"\x16\x03\x01\x02\n\n", Error::Version),
        (b"HTTP/2 200 OK\r\n\r\n", Error::Version),
        (b"HTTP/1.1 20 OK\r\n\r\n", Error::Malformed("status line or header")),
        (b"HTTP/1.1 101 Switching\r\n\r\n", Error::Malformed("status")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Error::Malformed("Content-Length")),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            Error::Malformed("Content-Length"),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            Error::Malformed("two Content-Lengths"),
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Error::Coding),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            Error::Malformed("chunk size"),
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc", Error::Unasked),
    ] {
        assert_eq!(read(&mut asked(Method::Get), bytes, 1000).unwrap_err(), error);
    }
    for lines in ["A: b\r\n".repeat(HTTP_HEADERS + 1), format!("A: {}", "b".repeat(HTTP_HEAD))] {
        let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n");
        assert_eq!(read(&mut asked(Method::Get), text.as_bytes(), 100), Err(Error::TooLong));
    }
    let announced = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(usize::from(INTERIM_MAX) + 1);
    assert_eq!(read(&mut asked(Method::Get), &announced, 100), Err(Error::Malformed("status")));
    assert_eq!(read(&mut Client::default(), b"x", 1), Err(Error::Unasked));
}

#[test]
fn short_chunks_are_given_together() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice();
    let all = [head, &b"1\r\nx\r\n".repeat(1000)].concat();
    let mut client = asked(Method::Get);
    let mut input = all.as_slice();
    assert!(matches!(client.receive(&mut input), Ok(Some(Event::Head(_)))));
    let Ok(Some(Event::Body(bytes))) = client.receive(&mut input) else { panic!() };
    assert_eq!((bytes.len(), input.len()), (1000, 0));
}

#[test]
fn requests_are_written_as_they_are_asked_for() {
    let plain = Request {
        method: Method::Get,
        host: "a:81",
        target: "/x?y",
        headers: &[("X-Y", "ä b")],
        body: &[],
        keep_alive: true,
    };
    let written = |request: &Request<'_>| {
        let mut client = Client::default();
        client.request(request)?;
        Ok::<_, Error>(String::from_utf8(client.send_buf().to_vec()).unwrap())
    };
    let agent = concat!("runnel/", env!("CARGO_PKG_VERSION"));
    let want = format!(
        "GET /x?y HTTP/1.1\r\nHost: a:81\r\nUser-Agent: {agent}\r\n\
         Connection: Keep-Alive\r\nX-Y: ä b\r\n\r\n"
    );
    assert_eq!(written(&plain), Ok(want));
    let post = Request {
        method: Method::Post,
        headers: &[("User-Agent", "me")],
        body: b"{}",
        keep_alive: false,
        ..plain
    };
    let want = "POST /x?y HTTP/1.1\r\nHost: a:81\r\nConnection: close\r\nUser-Agent: me\r\n\
        Content-Length: 2\r\n\r\n{}";
    assert_eq!(written(&post).as_deref(), Ok(want));
    let empty = written(&Request { body: &[], ..post }).unwrap();
    assert!(empty.ends_with("Content-Length: 0\r\n\r\n"));
    let broken: &[Request<'_>] = &[
        Request { target: "x", ..plain },
        Request { target: "/x y", ..plain },
        Request { target: "/x\r\nA: b", ..plain },
        Request { host: "a\r\nA: b", ..plain },
        Request { headers: &[("A", "b\r\nC: d")], ..plain },
        Request { headers: &[("A\r\nB", "c")], ..plain },
        Request { headers: &[("A:", "b")], ..plain },
        Request { headers: &[("", "b")], ..plain },
        Request { headers: &[("A", "b\0")], ..plain },
        Request { method: Method::Other, ..plain },
    ];
    for request in broken {
        assert!(matches!(written(request), Err(Error::Request(_))), "{request:?}");
    }
}

#[test]
fn one_request_follows_the_reply_to_the_other() {
    let request = Request {
        method: Method::Get,
        host: "a",
        target: "/",
        headers: &[],
        body: &[],
        keep_alive: true,
    };
    let mut client = Client::default();
    for _ in 0..3 {
        client.request(&request).unwrap();
        assert!(client.request(&request).is_err(), "one at a time");
        assert!(!client.is_free());
        client.send_done(client.send_buf().len());
        assert!(client.is_untouched());
        assert!(read(&mut client, CASES[0].2, 9).is_ok_and(|(.., over)| over));
        assert!(client.is_free() && !client.is_untouched());
    }
    client.request(&Request { keep_alive: false, ..request }).unwrap();
    client.send_done(client.send_buf().len());
    assert!(read(&mut client, CASES[0].2, 9).is_ok_and(|(.., over)| over));
    assert!(!client.is_free() && client.request(&request).is_err());
}

#[test]
fn a_redirect_says_where_to() {
    for (status, to) in [(302, Some("/x")), (308, Some("/x")), (200, None), (304, None)] {
        let bytes = format!("HTTP/1.1 {status} X\r\nLocation: /x\r\n\r\n");
        let mut input = bytes.as_bytes();
        let Ok(Some(Event::Head(head))) = asked(Method::Get).receive(&mut input) else { panic!() };
        assert_eq!((head.location(), head.header("LOCATION")), (to, Some("/x")));
    }
}
