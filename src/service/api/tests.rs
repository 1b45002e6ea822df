use super::*;
use crate::codec::testing::mutations;
use crate::config::{Config, HttpApi, RawApi, load};
use crate::hub::{Caller, Client, ClientKind, StreamKey};
use crate::io::run;
use crate::proto::Machine as _;
use crate::proto::http::{Event, Request, Server};
use core::net::IpAddr;

const TOKEN: &str = "0123456789abcdef";
const HERE: &str = "127.0.0.1";
const THERE: &str = "192.0.2.7";

fn config(crossdomain: bool) -> Config {
    let raw_api =
        RawApi { enabled: true, allow_reload: true, allow_query: true, allow_update: true };
    let api = HttpApi {
        enabled: true,
        crossdomain,
        token: TOKEN.into(),
        hosts: vec!["media.example.com".into()],
        raw_api: Rc::new(raw_api),
        ..HttpApi::default()
    };
    Config { http_api: Rc::new(api), ..Config::builtin() }
}

fn with_context(config: Config, test: impl FnOnce(&Rc<Context>) + 'static) {
    run::run(|spawner| async move { test(&Context::new(config, false, spawner)) }).unwrap();
}

/// The request in `bytes`, when it is one.
fn request(bytes: &[u8]) -> Option<Request> {
    let mut server = Server::default();
    let mut rest = bytes;
    while let Some(event) = server.receive(&mut rest).ok()? {
        if let Event::Request(request) = event {
            return Some(*request);
        }
    }
    None
}

fn ask(cx: &Rc<Context>, bytes: &[u8], peer: &str) -> Option<Answer> {
    let ask = Ask {
        cx: cx.clone(),
        request: Rc::new(request(bytes)?),
        peer: peer.parse::<IpAddr>().unwrap(),
        mount: 0,
        crossdomain: cx.config().http_api.crossdomain,
        renamed: false,
    };
    Some(answer(&ask))
}

/// Status and body; 0 for an answer that is not there yet.
fn reply(cx: &Rc<Context>, line: &str, headers: &str, peer: &str) -> (u16, String) {
    let host = if headers.contains("Host:") { "" } else { "Host: 127.0.0.1\r\n" };
    let text = format!("{line} HTTP/1.1\r\n{host}{headers}\r\n");
    match ask(cx, text.as_bytes(), peer).expect("a request") {
        Answer::Reply(reply) => (reply.status, String::from_utf8(reply.body.to_vec()).unwrap()),
        Answer::Next => (404, String::new()),
        _ => (0, String::new()),
    }
}

fn enter(cx: &Context, id: u32) -> Rc<crate::hub::session::Session> {
    let ip = HERE.parse().unwrap();
    let session = cx.sessions.enter(id, ip);
    session.set_client(Rc::new(Client {
        id,
        ip,
        kind: ClientKind::Play,
        vhost: cx.config().vhosts[0].clone(),
        key: StreamKey::new("__defaultVhost__", "live", "s"),
        param: String::new(),
        caller: Rc::new(Caller { page_url: "http://a/\"b".into(), ..Caller::default() }),
        since: 0,
    }));
    session
}

/// Method, headers, peer, status of a kick.
const KICKS: &[(&str, &str, &str, u16)] = &[
    ("DELETE", "", HERE, 200),
    ("DELETE", "", "::1", 200),
    ("DELETE", "", "::ffff:127.0.0.1", 200),
    ("DELETE", "Host: localhost:1985\r\n", HERE, 200),
    ("DELETE", "Host: [::1]:1985\r\n", HERE, 200),
    ("DELETE", "Host: Media.Example.com\r\n", HERE, 200),
    ("DELETE", "Origin: http://127.0.0.1:1985\r\nSec-Fetch-Site: same-origin\r\n", HERE, 200),
    ("DELETE", "", THERE, 401),
    ("DELETE", "Authorization: Bearer 0123456789abcdef\r\n", THERE, 200),
    ("DELETE", "authorization: bearer  0123456789abcdef \r\n", THERE, 200),
    ("DELETE", "X-Api-Token: 0123456789abcdef\r\n", THERE, 200),
    ("DELETE", "Authorization: Bearer 0123456789abcdeg\r\n", THERE, 401),
    ("DELETE", "Authorization: Bearer\r\n", THERE, 401),
    ("DELETE", "Authorization: Basic 0123456789abcdef\r\n", THERE, 401),
    ("DELETE", "X-Api-Token: \r\n", THERE, 401),
    // Through a proxy on this machine.
    ("DELETE", "X-Forwarded-For: 127.0.0.1\r\n", HERE, 401),
    ("DELETE", "Forwarded: for=1.2.3.4\r\n", HERE, 401),
    // Names that somebody may have made lead here.
    ("DELETE", "Host: evil.example\r\n", HERE, 403),
    ("DELETE", "Host: evil.example:1985\r\nOrigin: http://evil.example:1985\r\n", HERE, 403),
    ("DELETE", "Host: localhost.evil.example\r\n", HERE, 403),
    ("DELETE", "Host: 127.0.0.1.evil.example\r\n", HERE, 403),
    ("DELETE", "Host: \r\n", HERE, 403),
    ("DELETE", "Host: evil.example\r\nX-Api-Token: 0123456789abcdef\r\n", THERE, 403),
    // Pages of others.
    ("DELETE", "Origin: http://evil.example\r\n", HERE, 403),
    ("DELETE", "Origin: null\r\n", HERE, 403),
    ("DELETE", "Origin: http://127.0.0.1@evil.example\r\n", HERE, 403),
    ("DELETE", "Origin: http://127.0.0.1\r\nOrigin: http://evil.example\r\n", HERE, 403),
    ("DELETE", "Origin: 127.0.0.1\r\n", HERE, 403),
    ("DELETE", "Sec-Fetch-Site: cross-site\r\n", HERE, 403),
    ("DELETE", "Origin: http://evil.example\r\nX-Api-Token: 0123456789abcdef\r\n", THERE, 403),
    // Reading, or nothing at all.
    ("POST", "", HERE, 405),
    ("PUT", "", HERE, 405),
    ("PATCH", "", HERE, 405),
    ("GET", "", THERE, 200),
];

#[test]
fn only_who_may_kicks_a_client() {
    with_context(config(true), |cx| {
        for (method, headers, peer, status) in KICKS {
            let session = enter(cx, 7);
            let (got, _) = reply(cx, &format!("{method} /api/v1/clients/7"), headers, peer);
            assert_eq!(got, *status, "{method} {headers:?} of {peer}");
            let kicked = *method == "DELETE" && *status == 200;
            assert_eq!(session.kicked().is_some(), kicked, "{method} {headers:?} of {peer}");
        }
    });
}

#[test]
fn without_a_token_in_the_file_one_is_made_for_the_time_of_a_run() {
    let mut config = config(true);
    let api = HttpApi { token: String::new(), ..HttpApi::clone(&config.http_api) };
    config.http_api = Rc::new(api);
    with_context(config, |cx| {
        let session = enter(cx, 7);
        let kick = |header: &str| reply(cx, "DELETE /api/v1/clients/7", header, THERE).0;
        assert_eq!((kick(""), kick("X-Api-Token: \r\n")), (401, 401));
        assert_eq!((kick("X-Api-Token: 0\r\n"), session.kicked()), (401, None));
        let token = token::made(cx).unwrap();
        assert_eq!((token.len(), token::made(cx)), (32, Some(token.clone())));
        assert_eq!(kick(&format!("X-Api-Token: {token}\r\n")), 200);
    });
}

#[test]
fn inputs_are_listed_a_part_at_a_time() {
    with_context(config(true), |cx| {
        let list = cx.part::<crate::service::inputs::Inputs>();
        for port in 1..=3 {
            let name = format!("flv {port}");
            let input = list.enter("caster-flv", name, "rtmp://127.0.0.1/[app]/[stream]".into());
            input.count(500, 7);
            input.add_damage(2);
            input.fail(&"\"broken\"");
        }
        let (_, body) = reply(cx, "GET /api/v1/inputs?start=1&count=1", "", HERE);
        let row = "\"inputs\":[{\"service\":\"caster-flv\",\"name\":\"flv 2\",\
            \"output\":\"rtmp://127.0.0.1/[app]/[stream]\",\"state\":\"waiting\",\"streams\":0,\
            \"bytes\":500,\"packets\":7,\"damage\":2,\"age_ms\":0,\"starts\":0,\"restarts\":0,\
            \"error\":\"\\\"broken\\\"\"}]";
        assert!(body.contains(row), "{body}");
        let (_, body) = reply(cx, "GET /api/v1/inputs", "", HERE);
        assert_eq!(body.matches("\"service\":").count(), 3, "{body}");
        let (_, body) = reply(cx, "GET /api/v1/inputs?start=3", "", HERE);
        assert!(body.contains("\"inputs\":[]"), "{body}");
    });
}

#[test]
fn a_url_alone_kicks_nobody() {
    with_context(config(true), |cx| {
        let session = enter(cx, 7);
        for (line, status) in [
            ("GET /api/v1/clients/7?callback=f&method=DELETE", 405),
            ("GET /api/v1/clients/7?method=DELETE", 200),
            ("DELETE /api/v1/clients/7?callback=f&method=DELETE", 405),
            ("DELETE /api/v1/clients/7?callback=f", 200),
        ] {
            assert_eq!(reply(cx, line, "", HERE).0, status, "{line}");
            assert_eq!(session.kicked(), None, "{line}");
        }
    });
}

/// What changes the configuration, and with GET.
#[test]
fn only_who_may_changes_the_configuration() {
    const GET: &str = "GET /api/v1/raw?rpc=reload";
    const POST: &str = "POST /api/v1/raw?rpc=update&scope=max_connections&value=20";
    let cases = [
        (GET, "", HERE, 0),
        (GET, "X-Api-Token: 0123456789abcdef\r\n", THERE, 0),
        (GET, "", THERE, 401),
        (GET, "Origin: http://127.0.0.1\r\n", HERE, 403),
        (GET, "Referer: http://127.0.0.1/\r\n", HERE, 403),
        (GET, "Sec-Fetch-Site: none\r\n", HERE, 403),
        (GET, "Sec-Fetch-Mode: no-cors\r\n", HERE, 403),
        (GET, "Host: evil.example\r\n", HERE, 403),
        (POST, "", HERE, 0),
        (POST, "Origin: http://127.0.0.1\r\n", HERE, 0),
        (POST, "Origin: http://evil.example\r\n", HERE, 403),
        (POST, "", THERE, 401),
        ("HEAD /api/v1/raw?rpc=reload", "", HERE, 405),
        ("PATCH /api/v1/raw?rpc=reload", "", HERE, 405),
        ("GET /api/v1/raw?rpc=reload&callback=f", "", HERE, 403),
    ];
    with_context(config(true), move |cx| {
        for (line, headers, peer, status) in cases {
            assert_eq!(reply(cx, line, headers, peer).0, status, "{line} {headers:?} of {peer}");
        }
    });
}

#[test]
fn without_crossdomain_other_sites_read_nothing() {
    with_context(config(false), |cx| {
        for (line, headers, status) in [
            ("GET /api/v1/versions", "", 200),
            ("GET /api/v1/versions", "Host: media.example.com:1985\r\n", 200),
            ("GET /api/v1/versions", "Host: evil.example\r\n", 403),
            ("GET /metrics", "Host: evil.example\r\n", 403),
            ("GET /api/v1/versions?callback=f", "", 403),
        ] {
            assert_eq!(reply(cx, line, headers, THERE).0, status, "{line} {headers:?}");
        }
    });
}

#[test]
fn callbacks_are_plain_names() {
    with_context(config(true), |cx| {
        let (status, body) = reply(cx, "GET /api/v1/tests/errors?callback=$a.b_1", "", THERE);
        assert_eq!((status, body.as_str()), (200, "$a.b_1({\"code\":100})"));
        let long = "a".repeat(65);
        for name in ["alert(1)//", "<script>", "a%28", "%22", "a+b", &long] {
            let line = format!("GET /api/v1/versions?callback={name}");
            assert_eq!(reply(cx, &line, "", THERE).0, 400, "{name}");
        }
        assert!(reply(cx, "GET /api/v1/versions?callback=", "", THERE).1.starts_with('{'));
    });
}

#[test]
fn the_raw_api_answers_with_the_codes_of_the_original() {
    let raw = |query: &str| format!("GET /api/v1/raw?{query}");
    let off = load(b"listen 1; http_api { enabled on; } vhost v {}").unwrap().config;
    with_context(off, move |cx| {
        assert!(reply(cx, &raw("rpc=raw"), "", THERE).1.starts_with("{\"code\":0,\"http_api\":{"));
        for rpc in ["reload", "query&scope=global", "update", "x", ""] {
            let (_, body) = reply(cx, &raw(&format!("rpc={rpc}")), "", HERE);
            assert_eq!(body, "{\"code\":1061}", "{rpc}");
        }
    });
    with_context(config(true), move |cx| {
        for (query, code) in [
            ("rpc=", 1060),
            ("rpc=x", 1060),
            ("rpc=query", 1062),
            ("rpc=query&scope=x", 1062),
            ("rpc=query&scope=vhost", 1063),
            ("rpc=query&scope=vhost&vhost=x", 1063),
            ("rpc=update", 1062),
            ("rpc=update&scope=daemon&value=on", 1062),
            ("rpc=update&scope=listen&value=", 1063),
            ("rpc=update&scope=listen&value=1935,x", 1063),
            ("rpc=update&scope=chunk_size&value=127", 1063),
            ("rpc=update&scope=chunk_size&value=%2B4096", 1063),
            ("rpc=update&scope=pid&value=/etc/x.pid", 1063),
            ("rpc=update&scope=pid&value=./../x.pid", 1063),
            ("rpc=update&scope=srs_log_file&value=/tmp/a/../../etc/x.log", 1063),
            ("rpc=update&scope=srs_log_tank&value=syslog", 1063),
            ("rpc=update&scope=srs_log_level&value=debug", 1063),
            ("rpc=update&scope=max_connections&value=9", 1063),
            ("rpc=update&scope=utc_time&value=1", 1063),
            ("rpc=update&scope=pithy_print_ms&value=99", 1063),
            ("rpc=update&scope=vhost&value=a&param=x", 1062),
            ("rpc=update&scope=vhost&value=a%3Bb&param=create", 1063),
            ("rpc=update&scope=vhost&value=__defaultVhost__&param=create", 1063),
            ("rpc=update&scope=vhost&value=__defaultVhost__&param=delete", 1063),
            ("rpc=update&scope=vhost&value=x&param=delete", 1063),
            ("rpc=update&scope=dvr&value=__defaultVhost__&param=enable&data=a/b", 1062),
        ] {
            let (_, body) = reply(cx, &raw(query), "", HERE);
            assert_eq!(body, format!("{{\"code\":{code}}}"), "{query}");
        }
        let (_, body) = reply(cx, &raw("rpc=query&scope=minimal"), "", THERE);
        assert_eq!(body, "{\"code\":0,\"minimal\":{\"listen\":[\"1935\"]}}");
        let (_, body) = reply(cx, &raw("rpc=query&scope=global"), "", THERE);
        assert!(body.contains("\"nb_vhosts\":1") && body.contains("\"max_connections\":1000"));
        assert!(!body.contains(TOKEN));
        let (_, body) = reply(cx, &raw("rpc=query&scope=vhost&vhost=__defaultVhost__"), "", THERE);
        assert!(body.contains("\"play\":{") && body.contains("\"gop_cache\":true"), "{body}");
    });
}

#[test]
fn bodies_are_small_plain_json_objects() {
    let parse = raw::Params::parse;
    assert!(parse(b"{\"rpc\":\"update\",\"value\":20,\"persist\":true}").is_ok());
    let deep = "{\"a\":".repeat(1000);
    let bodies: [&[u8]; 8] = [
        b"",
        b"[]",
        b"{\"a\":[]}",
        b"{\"a\":{}}",
        b"{\"a\":null}",
        b"{\"a\":\"\xff\"}",
        b"\xff\xfe",
        deep.as_bytes(),
    ];
    for body in bodies {
        assert!(parse(body).is_err(), "{body:?}");
    }
    mutations(b"{\"rpc\":\"update\",\"value\":20,\"persist\":true}", |body| drop(parse(body)));
}

#[test]
fn what_is_unknown_is_not_found() {
    with_context(config(true), |cx| {
        let not_found = ["/", "/api/v2", "/api/v1/nothing", "/api/v1/summaries/x", "/x"];
        for path in not_found {
            assert_eq!(reply(cx, &format!("GET {path}"), "", HERE).0, 404, "{path}");
        }
        let host = "Host: error.srs.com\r\n";
        assert_eq!(reply(cx, "GET /api/v1/versions", host, HERE).0, 404);
        let (_, body) = reply(cx, "GET /api/v1/tests/errors", host, HERE);
        assert_eq!(body, "{\"code\":100}");
        for (path, code) in [("vhosts/1", 2048), ("streams/1", 2048), ("clients/1", 2049)] {
            let (_, body) = reply(cx, &format!("GET /api/v1/{path}"), "", HERE);
            assert_eq!(body, format!("{{\"code\":{code}}}"), "{path}");
        }
        for path in ["clients/1", "clients", "clients/x"] {
            let (_, body) = reply(cx, &format!("DELETE /api/v1/{path}"), "", HERE);
            assert_eq!(body, "{\"code\":2049}", "{path}");
        }
    });
}

#[test]
fn no_request_kicks_or_panics_by_accident() {
    with_context(config(true), |cx| {
        let session = enter(cx, 7);
        let (rows, requests) = (
            std::cell::Cell::new(0),
            [
                "GET /api/v1/clients/7?start=0&count=10 HTTP/1.1\r\nHost: 1.2.3.4\r\n\r\n",
                "DELETE /api/v1/clients/7 HTTP/1.1\r\nHost: a.b\r\nOrigin: http://c.d\r\n\r\n",
                "POST /api/v1/raw?rpc=update&scope=vhost&value=a HTTP/1.1\r\nHost: [::1]\r\n\r\n",
                "GET /api/v1/tests/requests?callback=f HTTP/1.0\r\nX: \"\\\u{7f}é\r\n\r\n",
                "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
            ],
        );
        for text in requests {
            mutations(text.as_bytes(), |changed| {
                if let Some(Answer::Reply(reply)) = ask(cx, changed, THERE) {
                    rows.set(rows.get() + 1);
                    assert!(reply.body.len() < 64 * 1024);
                    if reply.content_type == "application/json" {
                        crate::format::json::parse(&reply.body).unwrap();
                    }
                }
            });
        }
        assert!(rows.get() > 300, "{}", rows.get());
        assert_eq!(session.kicked(), None);
    });
}
