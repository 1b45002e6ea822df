use super::*;
use crate::codec::testing::mutations;

fn config(url: &str) -> Config {
    Config { url: Url::parse(url).unwrap(), name: "runnel".into(), own: "0f1e".into() }
}

/// Answers what the client asks in turn, each in pieces of `step`; `CSEQ` stands for the number
/// of the request. What it asked, what happened, how it ended.
fn converse(
    url: &str,
    answers: &[&str],
    ports: bool,
    step: usize,
) -> (Vec<String>, Vec<String>, Result<(), Error>) {
    let mut client = Client::new(config(url));
    let (mut asked, mut events) = (Vec::new(), Vec::new());
    for answer in answers {
        let request = String::from_utf8(client.send_buf().to_vec()).unwrap();
        client.send_done(request.len());
        let cseq = request.split("CSeq: ").nth(1).and_then(|rest| rest.split('\r').next());
        let answer = answer.replace("CSEQ", cseq.unwrap_or("0"));
        if !request.is_empty() {
            asked.push(request);
        }
        for mut piece in answer.as_bytes().chunks(step) {
            loop {
                match client.receive(&mut piece) {
                    Ok(None) => break,
                    Ok(Some(event)) => events.push(text(&mut client, event, ports)),
                    Err(error) => return (asked, events, Err(error)),
                }
            }
        }
    }
    let last = String::from_utf8(client.send_buf().to_vec()).unwrap();
    asked.extend((!last.is_empty()).then_some(last));
    (asked, events, Ok(()))
}

fn text(client: &mut Client, event: Event, ports: bool) -> String {
    match event {
        Event::Described(session) => {
            let choice = |track| {
                let first = 5000 + 2 * track as u16;
                Choice { track, ports: ports.then_some((first, first + 1)) }
            };
            let choices: Vec<_> = (0..session.tracks.len()).map(choice).collect();
            let going = client.setup(&choices);
            format!("described {} {going}", session.tracks.len())
        }
        Event::SetUp(track, transport) => format!("set up {track} {transport}"),
        Event::Playing => format!("playing {:?}", client.keep_alive_every()),
        Event::Packet { track, rtcp, packet } => {
            format!("packet {track} {rtcp} {}", String::from_utf8_lossy(&packet))
        }
        Event::Redirect(location) => format!("redirect {location}"),
        Event::Ended => "ended".into(),
    }
}

fn lines(asked: &[String]) -> Vec<&str> {
    asked.iter().map(|request| request.split(" RTSP/1.0").next().unwrap()).collect()
}

const URL: &str = "rtsp://cam:8554/ch/1?q=2";
const OPTIONS: &str =
    "RTSP/1.0 200 OK\r\nCSeq: CSEQ\r\nPublic: OPTIONS, DESCRIBE, GET_PARAMETER\r\n\r\n";
const PLAY: &str =
    "RTSP/1.0 200 OK\r\nCSeq: CSEQ\r\nRTP-Info: url=t;seq=1\r\n\r\n$\0\0\u{1}v$\u{3}\0\u{1}a";

fn described(base: &str) -> String {
    let sdp = "v=0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:t=1\r\n\
        m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/8000\r\na=control:t=2\r\n";
    format!(
        "RTSP/1.0 200 OK\r\nCSeq: CSEQ\r\n{base}Content-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

fn set_up(transport: &str) -> String {
    format!("RTSP/1.0 200 OK\r\nCSeq: CSEQ\r\nSession: 77;timeout=30\r\n{transport}\r\n")
}

#[test]
fn a_camera_is_pulled_over_tcp_wherever_reads_cut() {
    let described = described("Content-Base: rtsp://cam:8554/ch/1/\r\n");
    let first = set_up("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n");
    let second = set_up("Transport: RTP/AVP/TCP;unicast;interleaved=2-3;ssrc=1\r\n");
    let answers = [OPTIONS, &*described, &*first, &*second, PLAY];
    let (asked, events, result) = converse(URL, &answers, false, 10_000);
    assert_eq!(
        lines(&asked),
        [
            "OPTIONS rtsp://cam:8554/ch/1?q=2",
            "DESCRIBE rtsp://cam:8554/ch/1?q=2",
            "SETUP rtsp://cam:8554/ch/1/t=1",
            "SETUP rtsp://cam:8554/ch/1/t=2",
            "PLAY rtsp://cam:8554/ch/1/",
        ]
    );
    assert!(asked[3].contains("Transport: RTP/AVP/TCP;unicast;interleaved=2-3\r\n"));
    assert!(asked[3].contains("Session: 77\r\n") && !asked[2].contains("Session"));
    assert_eq!(
        events,
        [
            "described 2 true",
            "set up 0 RTP/AVP/TCP;unicast;interleaved=0-1",
            "set up 1 RTP/AVP/TCP;unicast;interleaved=2-3;ssrc=00000001",
            "playing 15s",
            "packet 0 false v",
            "packet 1 true a",
        ]
    );
    for step in 1..100 {
        let again = converse(URL, &answers, false, step);
        assert_eq!(again, (asked.clone(), events.clone(), result.clone()));
    }
}

#[test]
fn a_camera_is_pulled_over_udp() {
    let described = described("");
    let first = set_up(
        "Transport: RTP/AVP;unicast;client_port=5000-5001;server_port=70-71;source=1.2.3.4\r\n",
    );
    let second = set_up("");
    let play = PLAY.split('$').next().unwrap();
    let answers = [OPTIONS, &*described, &*first, &*second, play];
    let (asked, events, result) = converse(URL, &answers, true, 50);
    assert_eq!(result, Ok(()));
    assert_eq!(
        lines(&asked)[2..4],
        ["SETUP rtsp://cam:8554/ch/1?q=2/t=1", "SETUP rtsp://cam:8554/ch/1?q=2/t=2"]
    );
    assert_eq!(
        events[1..],
        [
            "set up 0 RTP/AVP;unicast;client_port=5000-5001;server_port=70-71",
            "set up 1 RTP/AVP;unicast;client_port=5002-5003",
            "playing 15s",
        ]
    );
}

#[test]
fn credentials_are_given_when_they_are_asked_for() {
    let asks = "RTSP/1.0 401 Unauthorized\r\nCSeq: CSEQ\r\nWWW-Authenticate: Basic realm=\"r\"\r\n\
        WWW-Authenticate: Digest realm=\"r\", nonce=\"n1\", qop=\"auth\"\r\n\r\n";
    let stale = "RTSP/1.0 401 Unauthorized\r\nCSeq: CSEQ\r\n\
        WWW-Authenticate: Digest realm=\"r\", nonce=\"n2\", stale=true\r\n\r\n";
    let url = "rtsp://u:p@cam/ch";
    let described = described("");
    let (asked, events, result) = converse(url, &[OPTIONS, asks, &described], false, 9);
    assert_eq!((events.len(), result), (1, Ok(())));
    let names: Vec<_> = lines(&asked).iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["OPTIONS", "DESCRIBE", "DESCRIBE", "SETUP"]);
    assert!(asked[2].contains("nc=00000001") && asked[3].contains("nc=00000002"), "{}", asked[3]);
    assert!(!asked.concat().contains("u:p@"));
    let (asked, _, result) = converse(url, &[OPTIONS, asks, stale, &described], false, 9);
    assert_eq!((asked.len(), result), (5, Ok(())));
    assert!(asked[4].contains("nonce=\"n2\""));
    for answers in [&[OPTIONS, asks, asks][..], &[OPTIONS, asks, stale, stale]] {
        assert_eq!(converse(url, answers, false, 9).2, Err(Error::Unauthorized), "wrong ones");
    }
    assert_eq!(converse(URL, &[asks], false, 9).2, Err(Error::Unauthorized), "none are known");
    let unknown = "RTSP/1.0 401 Unauthorized\r\nCSeq: CSEQ\r\nWWW-Authenticate: X\r\n\r\n";
    assert_eq!(converse(url, &[unknown], false, 9).2, Err(Error::Unauthorized));
}

/// Answers after the first to OPTIONS, and how it ends.
#[test]
fn what_a_server_does_wrong_ends_the_connection_in_one_line() {
    let described = described("");
    let tcp = set_up("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n");
    let udp = set_up("Transport: RTP/AVP;unicast;server_port=1-2\r\n");
    let raw = set_up("Transport: RAW/RAW\r\n");
    let multicast = set_up("Transport: RTP/AVP/TCP;multicast\r\n");
    let status = |status: u16| format!("RTSP/1.0 {status} No\r\nCSeq: CSEQ\r\n\r\n");
    let (ok, gone, unsupported) = (status(200), status(404), status(461));
    let html =
        "RTSP/1.0 200 OK\r\nCSeq: CSEQ\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\nx";
    let refused = |method, status| Err(Error::Refused { method, status });
    let cases: [(&[&str], Result<(), Error>); 10] = [
        (&[&gone], refused(Method::Describe, 404)),
        (&[&ok], Err(Error::NotSdp)),
        (&[html], Err(Error::NotSdp)),
        (&[&described, &unsupported], refused(Method::Setup, 461)),
        (&[&described, &udp], Err(Error::Transport)),
        (&[&described, &raw], Err(Error::Transport)),
        (&[&described, &multicast], Err(Error::Transport)),
        (&[&described, &tcp, &gone], refused(Method::Setup, 404)),
        (&[&described, &tcp, &tcp, &gone], refused(Method::Play, 404)),
        (&["HTTP/1.1 400 Bad Request\r\n\r\n"], Err(Error::Malformed("request line"))),
    ];
    for (answers, want) in cases {
        let answers: Vec<_> = [OPTIONS].iter().chain(answers).copied().collect();
        assert_eq!(converse(URL, &answers, false, 30).2, want);
    }
}

#[test]
fn a_camera_that_knows_no_options_is_described_all_the_same() {
    let none = "RTSP/1.0 501 Not Implemented\r\nCSeq: CSEQ\r\n\r\n";
    let (asked, _, result) = converse(URL, &[none], false, 9);
    assert_eq!((lines(&asked)[1], result), ("DESCRIBE rtsp://cam:8554/ch/1?q=2", Ok(())));
}

#[test]
fn answers_to_other_questions_are_passed_over() {
    let other =
        "RTSP/1.0 404 Not Found\r\nCSeq: 99\r\n\r\nRTSP/1.0 100 Continue\r\nCSeq: CSEQ\r\n\r\n";
    let both = format!("{other}{OPTIONS}");
    let (asked, _, result) = converse(URL, &[&both], false, 9);
    assert_eq!((asked.len(), result), (2, Ok(())));
}

#[test]
fn redirects_are_reported_not_followed() {
    let moved = "RTSP/1.0 302 Moved\r\nCSeq: CSEQ\r\nLocation: rtsp://other/\r\n\r\n";
    let asked = "REDIRECT * RTSP/1.0\r\nCSeq: 5\r\nLocation: rtsp://third/\r\n\r\n";
    for (answer, want) in [(moved, "redirect rtsp://other/"), (asked, "redirect rtsp://third/")] {
        assert_eq!(converse(URL, &[OPTIONS, answer], false, 9).1, [want]);
    }
}

/// A client that plays.
fn playing() -> Client {
    let mut client = Client::new(config(URL));
    let tcp = set_up("");
    for answer in [OPTIONS, &described(""), &tcp, &tcp, PLAY] {
        let answer = answer.replace("CSEQ", &client.cseq.to_string());
        let mut input = answer.as_bytes();
        while let Some(event) = client.receive(&mut input).unwrap() {
            text(&mut client, event, false);
        }
    }
    client.send_done(client.send_buf().len());
    client
}

fn sent(client: &mut Client) -> String {
    let text = String::from_utf8_lossy(client.send_buf()).into_owned();
    client.send_done(text.len());
    text
}

#[test]
fn signs_of_life_are_sent_in_a_way_that_the_server_knows() {
    let mut client = playing();
    assert!(client.keep_alive());
    assert!(sent(&mut client).starts_with("GET_PARAMETER rtsp://cam:8554/ch/1?q=2 RTSP/1.0"));
    assert!(!client.keep_alive(), "the last one is not answered");
    assert!(sent(&mut client).starts_with("GET_PARAMETER "), "it is asked again");
    let no = format!("RTSP/1.0 551 No\r\nCSeq: {}\r\n\r\n", client.cseq);
    assert!(matches!(client.receive(&mut no.as_bytes()), Ok(None)));
    assert!(client.keep_alive());
    assert!(sent(&mut client).starts_with("OPTIONS "));
    let gone = format!("RTSP/1.0 454 No\r\nCSeq: {}\r\n\r\n", client.cseq);
    let error = client.receive(&mut gone.as_bytes());
    assert!(matches!(error, Err(Error::Refused { status: 454, .. })));
}

#[test]
fn whatever_is_answered_is_a_sign_of_life() {
    let mut client = playing();
    for cseq in ["CSeq: 1\r\n", "CSeq: 4000000000\r\n", "CSeq: x\r\n", ""] {
        assert!(client.keep_alive(), "{cseq}");
        let answer = format!("RTSP/1.0 404 Not Found\r\n{cseq}\r\n");
        assert!(matches!(client.receive(&mut answer.as_bytes()), Ok(None)), "{cseq}");
    }
    client.teardown();
    let late = "RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n";
    assert!(matches!(client.receive(&mut late.as_bytes()), Ok(None)), "that was not asked last");
    // Who reads nothing is not asked for ever.
    let mut client = playing();
    for _ in 0..10_000 {
        client.keep_alive();
    }
    assert!(client.send_buf().len() < CONTROL_OUT_MAX + 1000);
}

#[test]
fn a_session_is_ended_by_either_side() {
    let mut client = playing();
    assert!(client.send_report(1, b"rr"));
    assert_eq!(sent(&mut client), "$\u{3}\0\u{2}rr");
    client.teardown();
    let request = sent(&mut client);
    assert!(request.starts_with("TEARDOWN ") && request.contains("Session: 77\r\n"));
    let yes = format!("$\0\0\u{1}xRTSP/1.0 200 OK\r\nCSeq: {}\r\n\r\n", client.cseq);
    let mut input = yes.as_bytes();
    assert!(matches!(client.receive(&mut input), Ok(Some(Event::Packet { .. }))));
    assert!(matches!(client.receive(&mut input), Ok(Some(Event::Ended))));
    let mut client = playing();
    let mut input =
        b"SET_PARAMETER * RTSP/1.0\r\nCSeq: 1\r\n\r\nTEARDOWN * RTSP/1.0\r\nCSeq: 2\r\n\r\n"
            .as_slice();
    assert!(matches!(client.receive(&mut input), Ok(Some(Event::Ended))));
    assert_eq!(sent(&mut client).matches("RTSP/1.0 200 OK").count(), 2);
}

#[test]
fn what_is_cut_off_or_changed_is_waited_for_or_refused() {
    let described = described("Content-Base: rtsp://cam:8554/ch/1/\r\n");
    let tcp = set_up("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n");
    let answers = [OPTIONS, &*described, &*tcp, &*tcp, PLAY];
    for (at, answer) in answers.iter().enumerate() {
        for len in 0..answer.len() {
            let mut cut = answers[..at].to_vec();
            cut.push(&answer[..len]);
            assert_eq!(converse(URL, &cut, false, 100).2, Ok(()), "{at} {len}");
        }
        mutations(answer.as_bytes(), |changed| {
            let changed = String::from_utf8_lossy(changed).into_owned();
            let mut with = answers;
            with[at] = &changed;
            let _ = converse(URL, &with, false, 300);
        });
    }
}
