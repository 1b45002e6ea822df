use super::*;
use crate::codec::testing::mutations;

/// Name, bytes, how many items; written again they are the same.
const CASES: &[(&str, &str, usize)] = &[
    ("options", "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", 1),
    (
        "announce with a body",
        "ANNOUNCE rtsp://h/live/s RTSP/1.0\r\nCSeq: 2\r\nContent-Length: 5\r\n\r\nv=0\r\n",
        1,
    ),
    ("response", "RTSP/1.0 200 OK\r\nCSeq: 3\r\nSession: 12;timeout=30\r\n\r\n", 1),
    ("response with a body", "RTSP/1.0 404 Not Found\r\nContent-Length: 2\r\n\r\nno", 1),
    ("frames", "$\0\0\u{2}ab$\u{1}\0\0$\u{2}\0\u{1}$", 3),
    (
        "all mixed",
        "$\0\0\u{4}OPT\nRTSP/1.0 200 OK\r\nCSeq: 9\r\n\r\n$\u{7}\0\u{3}\r\n$\
         SET_PARAMETER rtsp://h/ RTSP/1.0\r\nContent-Length: 1\r\n\r\nx$\0\0\u{1}y",
        5,
    ),
];

/// Items in pieces of `step`.
fn items(bytes: &[u8], step: usize) -> Result<Vec<Item>, Error> {
    let mut parser = Parser::default();
    let mut got = Vec::new();
    for mut piece in bytes.chunks(step) {
        while let Some(item) = parser.receive(&mut piece)? {
            got.push(item);
        }
        assert!(piece.is_empty());
        assert!(parser.data.len() <= RTSP_HEAD.max(RTSP_BODY).max(65535));
    }
    Ok(got)
}

fn written(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        match item {
            Item::Request(request) => {
                let mut request = request.clone();
                request.headers.0.retain(|(name, _)| name != "Content-Length");
                request.write(&mut out);
            }
            Item::Response(response) => {
                let mut response = response.clone();
                response.headers.0.retain(|(name, _)| name != "Content-Length");
                response.write(&mut out);
            }
            Item::Frame(channel, packet) => write_frame(*channel, packet, &mut out),
        }
    }
    out
}

#[test]
fn messages_and_frames_are_read_wherever_they_are_cut() {
    for (name, text, count) in CASES {
        let bytes = text.as_bytes();
        let whole = items(bytes, bytes.len()).unwrap();
        assert_eq!(whole.len(), *count, "{name}");
        for step in 1..bytes.len() {
            assert_eq!(items(bytes, step).unwrap(), whole, "{name} {step}");
        }
        assert_eq!(written(&whole), bytes, "{name}");
    }
}

#[test]
fn what_is_cut_off_is_waited_for() {
    for (name, text, count) in CASES {
        for len in 0..text.len() {
            let got = items(&text.as_bytes()[..len], text.len());
            assert!(got.is_ok_and(|items| items.len() < *count), "{name} {len}");
        }
    }
}

#[test]
fn changed_messages_are_read_or_refused() {
    for (_, text, _) in CASES {
        mutations(text.as_bytes(), |changed| {
            if !changed.is_empty() {
                let whole = items(changed, changed.len());
                assert_eq!(whole, items(changed, 3));
            }
        });
    }
}

#[test]
fn lines_may_end_with_lf_alone_and_go_on_in_the_next() {
    let text = "\r\n\nSETUP rtsp://h/a/t=1  RTSP/1.0\ncseq:7\nTransport: RTP/AVP;\n unicast\n\
                session :  ab ; timeout = 30\n\n";
    let Some(Item::Request(request)) = items(text.as_bytes(), 5).unwrap().pop() else {
        panic!("a request");
    };
    assert_eq!((request.method, &*request.uri), (Method::Setup, "rtsp://h/a/t=1"));
    assert_eq!(request.headers.cseq(), Some(7));
    assert_eq!(request.headers.get("TRANSPORT"), Some("RTP/AVP; unicast"));
    assert_eq!(request.headers.session(), Some(("ab", Some(30))));
}

/// Message, why it is refused.
const REFUSED: &[(&str, Error)] = &[
    ("\u{1}", Error::Malformed("neither a message nor a frame")),
    ("GET / HTTP/1.1\r\n\r\n", Error::Malformed("not RTSP/1")),
    ("GET /\r\n\r\n", Error::Malformed("request line")),
    ("A B C D\r\n\r\n", Error::Malformed("request line")),
    ("RTSP/1.0 OK\r\n\r\n", Error::Malformed("status line")),
    ("RTSP/1.0 -20 OK\r\n\r\n", Error::Malformed("status line")),
    ("OPTIONS * RTSP/1.0\r\nCSeq 1\r\n\r\n", Error::Malformed("header line")),
    ("OPTIONS * RTSP/1.0\r\nContent-Length: -1\r\n\r\n", Error::Malformed("Content-Length")),
    (
        "OPTIONS * RTSP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        Error::Malformed("two Content-Lengths"),
    ),
    ("OPTIONS * RTSP/1.0\r\nContent-Length: 16385\r\n\r\n", Error::BodyTooLong),
    ("OPTIONS * RTSP/1.0\r\nContent-Length: 99999999999999999999999\r\n\r\n", Error::BodyTooLong),
];

#[test]
fn what_is_no_rtsp_is_refused() {
    for (text, error) in REFUSED {
        assert_eq!(items(text.as_bytes(), 1).as_ref(), Err(error), "{text}");
    }
    let line = format!("OPTIONS * RTSP/1.0\r\nA: {}", "a".repeat(RTSP_HEAD));
    assert_eq!(items(line.as_bytes(), 1000), Err(Error::HeadTooLong));
    let lines = format!("OPTIONS * RTSP/1.0\r\n{}\r\n", "A:\r\n".repeat(RTSP_HEADERS));
    assert!(items(lines.as_bytes(), 1000).is_ok());
    let lines = format!("OPTIONS * RTSP/1.0\r\n{}\r\n", "A:\r\n".repeat(RTSP_HEADERS + 1));
    assert_eq!(items(lines.as_bytes(), 1000), Err(Error::HeadTooLong));
}

/// A frame as cameras send them.
fn frame(channel: u8, len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(channel, &[vec![0x80], vec![b'$'; len - 1]].concat(), &mut out);
    out
}

#[test]
fn bytes_between_frames_are_skipped_where_frames_are_expected() {
    let answer = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n";
    let all: [&[u8]; 4] = [&frame(2, 300), answer, &frame(3, 40), b"OPTIONS * RTSP/1.0\r\n\r\n"];
    // What stands in front of each.
    let noises: [&[u8]; 9] = [
        b"\0",
        b"x",
        b"\0$$$\x02$\x09",
        b"\0$\x02\0\x09\x20",
        b"\0$\x02\0\x01\x80",
        b"RTSP/RTSP/1",
        b"OPTIONSGET_PARAMETE",
        b"\r\n\xff\r\n\r\n",
        &[0x55; 5000],
    ];
    for noise in noises {
        let stream: Vec<u8> = all.iter().flat_map(|item| [noise, item].concat()).collect();
        for step in [1, 2, 3, 7, stream.len()] {
            let mut parser = Parser::default();
            parser.expect((2, 3));
            let (mut count, mut skipped) = (0, 0);
            for mut piece in stream.chunks(step) {
                while let Some(item) = parser.receive(&mut piece).unwrap() {
                    count += 1;
                    skipped += usize::from(parser.resyncs() == count);
                    match (count, item) {
                        (1, Item::Frame(2, packet)) => assert_eq!(packet.len(), 300),
                        (2, Item::Response(response)) => assert_eq!(response.status, 200),
                        (3, Item::Frame(3, packet)) => assert_eq!(packet.len(), 40),
                        (4, Item::Request(request)) => {
                            assert_eq!(request.method, Method::Options);
                        }
                        (_, item) => panic!("{noise:?} {step}: {item:?}"),
                    }
                }
            }
            assert_eq!((count, skipped), (4, 4), "{noise:?} {step}");
        }
    }
}

#[test]
fn what_has_no_frame_for_long_is_refused() {
    let mut parser = Parser::default();
    parser.expect((0, 1));
    assert_eq!(parser.receive(&mut &[0x55; RTSP_RESYNC][..]), Ok(None));
    let error = Error::Malformed("neither a message nor a frame");
    assert_eq!(parser.receive(&mut &[0x55; 2][..]), Err(error));
    for (_, text, _) in CASES {
        mutations(text.as_bytes(), |changed| {
            let mut parser = Parser::default();
            parser.expect((0, 2));
            for mut piece in changed.chunks(3) {
                while let Ok(Some(_)) = parser.receive(&mut piece) {}
                assert!(parser.data.len() <= 65535);
            }
        });
    }
}

#[test]
fn nothing_can_be_smuggled_into_a_line() {
    let mut out = Vec::new();
    let request = Request::new(Method::Setup, "rtsp://h/a b\r\nX: y");
    request.with("Session", "1\r\nInjected: 2").write(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(
        text,
        "SETUP rtsp://h/a%20b%20%20X:%20y RTSP/1.0\r\nSession: 1  Injected: 2\r\n\r\n"
    );
}
