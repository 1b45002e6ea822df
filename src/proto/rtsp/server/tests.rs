use super::super::auth::{Challenge, Credentials};
use super::*;
use crate::codec::testing::mutations;

fn config() -> Config {
    let (session, name) = ("a1B2".into(), "runnel".into());
    Config { session, timeout: 60, name, udp: true, gate: None }
}

/// Feeds `input` in pieces of `step` and says yes to everything. The events, what was sent, and
/// how it ended.
fn converse(config: Config, input: &[u8], step: usize) -> (Vec<String>, String, Result<(), Error>) {
    let mut server = Server::new(config);
    let mut events = Vec::new();
    let mut sent = Vec::new();
    let mut result = Ok(());
    'all: for mut piece in input.chunks(step.max(1)) {
        loop {
            let event = server.receive(&mut piece);
            sent.extend_from_slice(server.send_buf());
            server.send_done(server.send_buf().len());
            match event {
                Ok(None) => break,
                Ok(Some(event)) => events.push(answered(&mut server, event)),
                Err(error) => {
                    result = Err(error);
                    break 'all;
                }
            }
        }
    }
    sent.extend_from_slice(server.send_buf());
    (events, String::from_utf8(sent).unwrap(), result)
}

fn answered(server: &mut Server, event: Event) -> String {
    match event {
        Event::Announce(announce) => {
            server.allow();
            let (app, stream) = announce.url.app_and_stream().unwrap_or_default();
            let tracks = announce.session.tracks.len();
            format!("announce {app} {stream} {} {tracks}", announce.url.query)
        }
        Event::Setup(track, transport) => {
            match transport.lower {
                Lower::Tcp => server.allow(),
                Lower::Udp => server.allow_ports(8000, 8001),
            }
            format!("setup {track} {transport}")
        }
        Event::Record => {
            server.allow();
            "record".into()
        }
        Event::Packet { track, rtcp, packet } => {
            format!("packet {track} {rtcp} {}", String::from_utf8_lossy(&packet))
        }
        Event::Alive => "alive".into(),
        Event::Teardown => "teardown".into(),
    }
}

const SDP: &str = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:streamid=0\r\n\
    m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/44100/2\r\na=fmtp:97 config=1210\r\n\
    a=control:streamid=1\r\n";
const URI: &str = "rtsp://h:8554/live/s.sdp?token=1";

fn announce() -> String {
    let len = SDP.len();
    format!(
        "ANNOUNCE {URI} RTSP/1.0\r\nContent-Type: application/sdp\r\nCSeq: 2\r\n\
         Content-Length: {len}\r\n\r\n{SDP}"
    )
}

fn setup(track: usize, transport: &str) -> String {
    format!(
        "SETUP {URI}/streamid={track} RTSP/1.0\r\nTransport: {transport}\r\nCSeq: {}\r\n\r\n",
        3 + track
    )
}

const TCP: &str = "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record";
const RECORD: &str = "RECORD rtsp://h:8554/live/s.sdp RTSP/1.0\r\nCSeq: 5\r\nSession: a1B2\r\n\r\n";

/// As ffmpeg does it over TCP.
fn push() -> Vec<u8> {
    let text = format!(
        "OPTIONS rtsp://h:8554/live/s.sdp RTSP/1.0\r\nCSeq: 1\r\n\r\n{}{}{}{RECORD}$\0\0\u{2}v1$\u{1}\0\u{1}s\
         $\u{2}\0\u{1}aGET_PARAMETER * RTSP/1.0\r\nCSeq: 6\r\n\r\n$\u{9}\0\u{1}?$\u{3}\0\0\
         TEARDOWN rtsp://h:8554/live/s.sdp RTSP/1.0\r\nCSeq: 7\r\nSession: a1B2\r\n\r\n$\0\0\u{1}-",
        announce(),
        setup(0, TCP),
        setup(1, "RTP/AVP/TCP;unicast;interleaved=2-3;mode=record"),
    );
    text.into_bytes()
}

#[test]
fn an_encoder_pushes_over_tcp_wherever_reads_cut() {
    let bytes = push();
    let (events, sent, result) = converse(config(), &bytes, bytes.len());
    let want = [
        "alive",
        "announce live s token=1 2",
        "setup 0 RTP/AVP/TCP;unicast;interleaved=0-1;mode=record",
        "setup 1 RTP/AVP/TCP;unicast;interleaved=2-3;mode=record",
        "record",
        "packet 0 false v1",
        "packet 0 true s",
        "packet 1 false a",
        "alive",
        "packet 1 true ",
        "teardown",
    ];
    assert_eq!((events.clone(), result), (want.map(str::to_owned).to_vec(), Ok(())));
    assert_eq!(sent.matches("RTSP/1.0 200 OK\r\n").count(), 7);
    assert_eq!(sent.matches("Session: a1B2;timeout=60\r\n").count(), 6);
    for cseq in 1..=7 {
        assert!(sent.contains(&format!("CSeq: {cseq}\r\n")), "{sent}");
    }
    for step in 1..200 {
        assert_eq!(converse(config(), &bytes, step), (events.clone(), sent.clone(), Ok(())));
    }
}

#[test]
fn an_encoder_pushes_over_udp_where_that_is_allowed() {
    let udp = "RTP/AVP/UDP;unicast;client_port=5000-5001;mode=record";
    let text = announce() + &setup(0, udp) + RECORD;
    let (events, sent, _) = converse(config(), text.as_bytes(), 100);
    assert_eq!(events[1], "setup 0 RTP/AVP;unicast;client_port=5000-5001;mode=record");
    assert_eq!(events[2], "record");
    let answer =
        "Transport: RTP/AVP;unicast;client_port=5000-5001;server_port=8000-8001;mode=record";
    assert!(sent.contains(answer), "{sent}");
    let (events, sent, _) = converse(Config { udp: false, ..config() }, text.as_bytes(), 100);
    assert_eq!(events[1], "alive");
    assert!(sent.contains("RTSP/1.0 461 Unsupported Transport"));
    assert!(sent.contains("RTSP/1.0 455 "), "nothing was set up");
}

#[test]
fn the_first_transport_that_can_be_served_is_taken() {
    let many =
        "RTP/AVP;multicast,RTP/SAVP;unicast,RTP/AVP;unicast;client_port=6-7,RTP/AVP/TCP;unicast";
    for (udp, want) in [
        (true, "setup 1 RTP/AVP;unicast;client_port=6-7"),
        (false, "setup 1 RTP/AVP/TCP;unicast;interleaved=2-3"),
    ] {
        let text = announce() + &setup(1, many);
        let (events, _, _) = converse(Config { udp, ..config() }, text.as_bytes(), 1000);
        assert_eq!(events[1], want);
    }
}

/// Requests behind an ANNOUNCE and a SETUP of the first track, and the status of the last.
const REFUSED: &[(&str, u16)] = &[
    ("DESCRIBE rtsp://h/a RTSP/1.0\r\nCSeq: 9\r\n\r\n", 405),
    ("PLAY rtsp://h/a RTSP/1.0\r\nCSeq: 9\r\n\r\n", 405),
    ("PAUSE rtsp://h/a RTSP/1.0\r\n\r\n", 405),
    ("FLY rtsp://h/a RTSP/1.0\r\n\r\n", 501),
    ("RECORD rtsp://h/a RTSP/1.0\r\nSession: other\r\n\r\n", 454),
    ("ANNOUNCE rtsp://h/a/b RTSP/1.0\r\n\r\n", 455),
    ("SETUP rtsp://h/live/s/other=7 RTSP/1.0\r\nTransport: RTP/AVP/TCP\r\n\r\n", 404),
    ("SETUP rtsp://h/live/s/streamid=1 RTSP/1.0\r\nTransport: RAW\r\n\r\n", 461),
    ("SETUP rtsp://h/live/s/streamid=1 RTSP/1.0\r\n\r\n", 461),
    ("SETUP rtsp://h/x/streamid=1 RTSP/1.0\r\nTransport: RTP/AVP/TCP;interleaved=1-2\r\n\r\n", 461),
    ("SETUP rtsp://h/x/streamid=1 RTSP/1.0\r\nTransport: RTP/AVP/TCP;interleaved=4-4\r\n\r\n", 461),
];

#[test]
fn what_cannot_be_done_is_refused_and_the_session_goes_on() {
    for (request, status) in REFUSED {
        let text = announce() + &setup(0, TCP) + request + RECORD;
        let (events, sent, result) = converse(config(), text.as_bytes(), 1000);
        assert!(sent.contains(&format!("RTSP/1.0 {status} ")), "{request} {sent}");
        assert_eq!((events.last().map(String::as_str), result), (Some("record"), Ok(())));
    }
    for (request, status) in [
        (RECORD.replace("Session: a1B2\r\n", ""), 455),
        (setup(0, TCP), 455),
        ("ANNOUNCE * RTSP/1.0\r\n\r\n".into(), 400),
        ("ANNOUNCE rtsp://h/a RTSP/1.0\r\nContent-Type: text/plain\r\n\r\n".into(), 415),
    ] {
        let (_, sent, _) = converse(config(), request.as_bytes(), 1000);
        assert!(sent.starts_with(&format!("RTSP/1.0 {status} ")), "{sent}");
    }
}

#[test]
fn an_owner_that_says_no_ends_nothing() {
    let mut server = Server::new(config());
    let text = announce() + &announce();
    let mut input = text.as_bytes();
    for _ in 0..2 {
        assert!(matches!(server.receive(&mut input), Ok(Some(Event::Announce(_)))));
        assert!(matches!(server.receive(&mut input), Ok(None)), "it waits for the owner");
        server.refuse(403);
    }
    let sent = String::from_utf8_lossy(server.send_buf()).into_owned();
    assert_eq!(sent.matches("RTSP/1.0 403 Forbidden").count(), 2);
    assert!(!sent.contains("Session"));
}

#[test]
fn who_announces_must_know_the_password() {
    let credentials = Credentials { user: "u".into(), password: "p".into() };
    let gate = Gate { realm: "r".into(), nonce: "n".into(), credentials, basic: false };
    let config = Config { gate: Some(gate.clone()), ..config() };
    let (events, sent, result) = converse(config.clone(), announce().as_bytes(), 1000);
    assert_eq!((events, result), (vec!["alive".to_owned()], Ok(())));
    assert!(sent.starts_with("RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"r\""));
    let answer = |password: &str| {
        let lines = gate.challenges();
        let challenge = Challenge::choose(lines.iter().map(String::as_str)).unwrap();
        let credentials = Credentials { user: "u".into(), password: password.into() };
        let line = challenge.answer(&credentials, ("ANNOUNCE", URI), 1, "");
        announce().replace("CSeq: 2", &format!("CSeq: 2\r\nAuthorization: {line}"))
    };
    let text = announce() + &answer("wrong") + &answer("p") + &setup(0, TCP);
    let (events, sent, result) = converse(config.clone(), text.as_bytes(), 77);
    assert_eq!(events[..3], ["alive", "alive", "announce live s token=1 2"]);
    assert_eq!((sent.matches(" 401 ").count(), events.len(), result), (2, 4, Ok(())));
    let text = answer("wrong").repeat(RTSP_LOGINS + 1);
    assert_eq!(converse(config, text.as_bytes(), 1000).2, Err(Error::Logins));
}

#[test]
fn reports_go_out_on_the_channel_of_their_track() {
    let mut server = Server::new(config());
    let text = announce() + &setup(1, "RTP/AVP/TCP;interleaved=6-7");
    let mut input = text.as_bytes();
    while let Some(event) = server.receive(&mut input).unwrap() {
        answered(&mut server, event);
    }
    server.send_done(server.send_buf().len());
    assert!(!server.send_report(0, b"x") && !server.send_report(9, b"x"));
    assert!(server.send_report(1, b"rr"));
    assert_eq!(server.send_buf(), b"$\x07\0\x02rr");
    while server.send_report(1, &[0; 1000]) {
        assert!(server.send_buf().len() <= CONTROL_OUT_MAX);
    }
}

#[test]
fn a_client_that_reads_no_answers_is_dropped() {
    let mut server = Server::new(config());
    let text = "OPTIONS * RTSP/1.0\r\n\r\n".repeat(1000);
    let mut input = text.as_bytes();
    let error = loop {
        match server.receive(&mut input) {
            Ok(Some(_)) => assert!(server.send_buf().len() <= CONTROL_OUT_MAX),
            other => break other,
        }
    };
    assert!(matches!(error, Err(Error::PeerDoesNotRead)));
}

#[test]
fn what_is_cut_off_or_changed_is_waited_for_or_refused() {
    let bytes = push();
    for len in 0..bytes.len() {
        assert_eq!(converse(config(), &bytes[..len], 500).2, Ok(()), "{len}");
    }
    mutations(&bytes, |changed| {
        let (_, sent, result) = converse(config(), changed, 500);
        if let Err(error) = result {
            assert!(sent.contains(" 400 ") || sent.contains(" 413 "), "{error}");
        }
    });
}
