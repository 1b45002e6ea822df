use super::fields::tests::someone;
use super::*;
use crate::config;
use crate::hub::StreamKey;
use crate::hub::session::Kick;
use crate::io::run;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Receiver, channel};

/// A server on a thread: what it is asked goes into the channel, `answer` says what it says.
fn server(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let asked = request(&mut stream);
            let said = answer(&asked);
            let _ = sender.send(asked);
            match said {
                Some(said) => {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", said.len());
                    let text = format!("{head}Connection: close\r\n\r\n{said}");
                    let _ = stream.write_all(text.as_bytes());
                }
                None => silent.push(stream),
            }
        }
    });
    (port, receiver)
}

/// Target and body of a request.
fn request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if n == 0 || body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return format!("{} {body}", head.split(' ').nth(1).unwrap());
        }
    }
}

/// Runs `test` with `hooks` in the vhost v, and more in the file.
fn with<T: 'static, F: Future<Output = T> + 'static>(
    hooks: &str,
    more: &str,
    test: impl FnOnce(Rc<Context>) -> F,
) -> T {
    let text = format!("listen 1; {more} vhost v {{ http_hooks {{ enabled on; {hooks} }} }}");
    let config = config::load(text.as_bytes()).unwrap().config;
    // A test that fails must not unwind through the executor.
    let test = |cx| smol::future::FutureExt::catch_unwind(AssertUnwindSafe(test(cx)));
    match run::run(|spawner| test(Context::new(config, false, spawner))).unwrap() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn client(cx: &Context, vhost: &str, kind: ClientKind) -> Rc<Client> {
    someone(cx.config().block(vhost).unwrap(), kind)
}

async fn asked(cx: &Rc<Context>, client: &Rc<Client>, step: Step) -> Result<(), u16> {
    match ask(cx, client, step) {
        Some(task) => task.await.map_err(|refusal| refusal.code),
        None => Ok(()),
    }
}

/// The actions of what the server was asked.
fn actions(asked: &Receiver<String>) -> Vec<String> {
    let action = |text: String| text.split('"').nth(3).unwrap().to_owned();
    asked.try_iter().map(action).collect()
}

#[test]
fn urls_are_asked_in_their_order_and_the_first_no_counts() {
    let (port, asked_there) = server(|asked| {
        let no = asked.starts_with("/no");
        Some(if no { "{\"code\":7}" } else { "0" }.to_owned())
    });
    let at = |path: &str| format!("http://127.0.0.1:{port}/{path}");
    let hooks = format!(
        "on_publish {} {}; on_play {} {} {};",
        at("a?x=1"),
        at("b"),
        at("c"),
        at("no"),
        at("d")
    );
    let answers = with(&hooks, "", |cx| async move {
        let publisher = client(&cx, "v", ClientKind::FmlePublish);
        let player = client(&cx, "v", ClientKind::HttpPlay);
        (asked(&cx, &publisher, Step::Publish).await, asked(&cx, &player, Step::Play).await)
    });
    assert_eq!(answers, (Ok(()), Err(3064)));
    let paths: Vec<_> =
        asked_there.try_iter().map(|it| it.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(paths, ["/a?x=1", "/b", "/c", "/no"]);
}

#[test]
fn a_server_that_is_silent_refuses_unless_the_file_says_otherwise() {
    let (port, _there) = server(|_| None);
    // Nobody listens at the discard port.
    for (url, code) in
        [(format!("http://127.0.0.1:{port}/"), 1011), ("http://127.0.0.1:9/".into(), 1018)]
    {
        for (more, expected) in [("", Err(code)), ("fail_open on;", Ok(()))] {
            let hooks = format!("on_play {url}; timeout 0.2; {more}");
            let answer = with(&hooks, "", |cx| async move {
                let player = client(&cx, "v", ClientKind::HttpPlay);
                asked(&cx, &player, Step::Play).await
            });
            assert_eq!(answer, expected, "{url} {more}");
        }
    }
}

#[test]
fn fail_open_lets_nobody_in_whom_the_server_refuses() {
    let (port, _there) = server(|_| Some("1".into()));
    let hooks = format!("on_play http://127.0.0.1:{port}/; fail_open on;");
    let answer = with(&hooks, "", |cx| async move {
        asked(&cx, &client(&cx, "v", ClientKind::HttpPlay), Step::Play).await
    });
    assert_eq!(answer, Err(3008));
}

#[test]
fn another_vhost_than_that_of_connect_is_asked_for_its_own_connect() {
    let (port, there) = server(|_| Some("0".into()));
    let all = format!("on_connect http://127.0.0.1:{port}/; on_close http://127.0.0.1:{port}/;");
    let other = format!("vhost w {{ http_hooks {{ enabled on; {all} }} }}");
    let told = with(&all, &other, |cx| async move {
        let first = client(&cx, "v", ClientKind::Unknown);
        asked(&cx, &first, Step::Connect).await.unwrap();
        for _ in 0..2 {
            let play = client(&cx, "w", ClientKind::Play);
            asked(&cx, &play, Step::Play).await.unwrap();
            asked(&cx, &client(&cx, "v", ClientKind::Play), Step::Play).await.unwrap();
        }
        for _ in 0..2 {
            tell(&cx, &Event::Closed { client: &first, received: 1, sent: 2 });
        }
        finish(cx.part::<Hooks>()).await;
        assert!(cx.part::<Hooks>().connections.borrow().is_empty());
        let mut told: Vec<_> = there.try_iter().collect();
        told.iter_mut().for_each(|told| {
            let fields: Vec<_> = told.split('"').collect();
            *told = format!("{} {}", fields[3], fields[13]);
        });
        told
    });
    let (asked, mut closed) = (told[..2].to_vec(), told[2..].to_vec());
    assert_eq!(asked, ["on_connect v", "on_connect w"]);
    closed.sort();
    assert_eq!(closed, ["on_close v", "on_close w"]);
}

#[test]
fn an_input_has_a_connection_as_long_as_it_publishes() {
    let (port, there) =
        server(|asked| Some(if asked.contains("refused") { "1" } else { "0" }.to_owned()));
    let names = ["on_connect", "on_publish", "on_unpublish", "on_close"];
    let hooks: String =
        names.iter().map(|name| format!("{name} http://127.0.0.1:{port}/;")).collect();
    with(&hooks, "", |cx| async move {
        let input = client(&cx, "v", ClientKind::Input("rtsp"));
        asked(&cx, &input, Step::Publish).await.unwrap();
        tell(&cx, &Event::Unpublished(&input));
        finish(cx.part::<Hooks>()).await;
        assert_eq!(actions(&there), names);
        // And so has one that named no vhost of ours at connect.
        for kind in [ClientKind::Input("rtsp"), ClientKind::FmlePublish] {
            let key = StreamKey::new("v", "live", "refused");
            let refused = Rc::new(Client { key, kind, ..(*input).clone() });
            assert_eq!(asked(&cx, &refused, Step::Publish).await, Err(3008));
            finish(cx.part::<Hooks>()).await;
            assert_eq!(actions(&there), ["on_connect", "on_publish", "on_close"]);
            assert!(cx.part::<Hooks>().connections.borrow().is_empty());
        }
    });
}

#[test]
fn a_client_that_is_ended_while_it_is_asked_for_is_told_to_be_over() {
    let (port, there) = server(|asked| {
        // What is told is answered.
        asked
            .contains("on_un")
            .then(|| "0".to_owned())
            .or_else(|| asked.contains("on_stop").then(|| "0".to_owned()))
    });
    let names = ["on_publish", "on_unpublish", "on_play", "on_stop"];
    let hooks: String =
        names.iter().map(|name| format!("{name} http://127.0.0.1:{port}/;")).collect();
    with(&format!("{hooks} timeout 0.3;"), "", |cx| async move {
        let publisher = client(&cx, "v", ClientKind::FmlePublish);
        let session = cx.sessions.enter(publisher.id, publisher.ip);
        // As a connection does it: the question is dropped when somebody kicks it.
        let question = asked(&cx, &publisher, Step::Publish);
        assert!(within(Duration::from_millis(100), question).await.is_none());
        session.kick(Kick::Operator);
        finish(cx.part::<Hooks>()).await;
        // And the server may say yes after the deadline.
        let player = client(&cx, "v", ClientKind::HttpPlay);
        assert_eq!(asked(&cx, &player, Step::Play).await, Err(1011));
        finish(cx.part::<Hooks>()).await;
        assert_eq!(actions(&there), names);
    });
}

#[test]
fn who_publishes_again_is_told_to_have_stopped_before() {
    let (port, there) = server(|asked| {
        if asked.contains("on_unpublish") {
            std::thread::sleep(Duration::from_millis(300));
        }
        Some("0".into())
    });
    let url = format!("http://127.0.0.1:{port}/");
    with(&format!("on_publish {url}; on_unpublish {url};"), "", |cx| async move {
        let publisher = client(&cx, "v", ClientKind::FmlePublish);
        for _ in 0..2 {
            asked(&cx, &publisher, Step::Publish).await.unwrap();
            tell(&cx, &Event::Unpublished(&publisher));
        }
        finish(cx.part::<Hooks>()).await;
        assert_eq!(actions(&there), ["on_publish", "on_unpublish", "on_publish", "on_unpublish"]);
    });
}

#[test]
fn what_a_dead_server_is_not_told_is_bounded_and_holds_up_no_other_vhost() {
    let (dead, _silent) = server(|_| None);
    let (port, there) = server(|_| Some("0".into()));
    let other = format!(
        "vhost w {{ http_hooks {{ enabled on; on_play http://127.0.0.1:{port}/; \
         on_stop http://127.0.0.1:{port}/; }} }}"
    );
    let hooks = format!("on_play http://127.0.0.1:{dead}/; on_stop http://127.0.0.1:{dead}/;");
    with(&hooks, &other, |cx| async move {
        let hooks = cx.part::<Hooks>();
        let stuck = client(&cx, "v", ClientKind::HttpPlay);
        for _ in 0..2000 {
            tell(&cx, &Event::Stopped(&stuck));
        }
        assert!(hooks.desk("v").queued() <= HOOK_QUEUE_VHOST);
        assert!(hooks.desk("v").lose() > 100, "the newest are not told");
        for id in 0..50 {
            let stuck = Rc::new(Client { id, ..(*stuck).clone() });
            let task = ask(&cx, &stuck, Step::Play).unwrap();
            cx.spawner.spawn(async move { assert!(task.await.is_err()) });
        }
        sleep(Duration::from_millis(50)).await;
        let start = clock::now();
        let player = client(&cx, "w", ClientKind::HttpPlay);
        let player = Rc::new(Client { id: 900, ..(*player).clone() });
        for _ in 0..20 {
            asked(&cx, &player, Step::Play).await.unwrap();
            tell(&cx, &Event::Stopped(&player));
        }
        while !hooks.desk("w").is_idle() {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(clock::now() - start < 2000, "{} ms", clock::now() - start);
        assert_eq!(actions(&there).len(), 40);
        let start = clock::now();
        finish(hooks).await;
        let flush = u64::try_from(HOOK_FLUSH.as_millis()).unwrap();
        assert!(
            (flush..flush + 1000).contains(&(clock::now() - start)),
            "the end does not wait long"
        );
    });
}

#[test]
fn a_reload_counts_for_the_next_question_and_for_clients_that_are_there() {
    let (port, there) = server(|_| Some("0".into()));
    let url = format!("http://127.0.0.1:{port}/");
    let all = format!("on_connect {url}; on_close {url}; on_play {url}; on_stop {url};");
    with("", "", |cx| async move {
        let player = client(&cx, "v", ClientKind::Play);
        asked(&cx, &player, Step::Connect).await.unwrap();
        asked(&cx, &player, Step::Play).await.unwrap();
        let text = format!("listen 1; vhost v {{ http_hooks {{ enabled on; {all} }} }}");
        cx.set_config(config::load(text.as_bytes()).unwrap().config);
        tell(&cx, &Event::Stopped(&player));
        finish(cx.part::<Hooks>()).await;
        let now = client(&cx, "v", ClientKind::Play);
        asked(&cx, &now, Step::Play).await.unwrap();
        // The vhost is gone: those that were let in leave it.
        cx.set_config(config::load(b"listen 1; vhost x { }").unwrap().config);
        (SERVICE.reload)(&cx, &cx.config());
        tell(&cx, &Event::Stopped(&now));
        tell(&cx, &Event::Closed { client: &now, received: 0, sent: 0 });
        finish(cx.part::<Hooks>()).await;
        // It came in before there were hooks: they are asked for that first.
        let told = ["on_stop", "on_connect", "on_play", "on_stop", "on_close"];
        assert_eq!(actions(&there), told);
    });
}
