use super::*;
use crate::io::run::{run, sleep};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// A server on a thread: `serve` gets each connection, and what was asked on it, one by one. The
/// connection ends when it says so. How many connections and requests there were is counted.
fn server(
    serve: impl Fn(&mut TcpStream, &str, usize) -> bool + Send + Sync + 'static,
) -> (String, Arc<[AtomicUsize; 2]>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let (counted, serve) = (counts.clone(), Arc::new(serve));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            counted[0].fetch_add(1, Ordering::SeqCst);
            let (counted, serve) = (counted.clone(), serve.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while let Some(asked) = request(&mut reader) {
                    let before = counted[1].fetch_add(1, Ordering::SeqCst);
                    if !serve(&mut stream, &asked, before) {
                        return;
                    }
                }
            });
        }
    });
    (format!("http://{address}"), counts)
}

/// Head and body of a request.
fn request(reader: &mut impl BufRead) -> Option<String> {
    let (mut text, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap();
        }
        text.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(text + &String::from_utf8(body).unwrap())
}

fn say(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) -> bool {
    stream.write_all(bytes.as_ref()).is_ok()
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn get(url: &str) -> Request {
    Request { timeout: Duration::from_secs(10), ..Request::get(url).unwrap() }
}

fn fetch(request: Request) -> Result<Reply, Error> {
    run(|_| async move { Client::default().fetch(&request).await }).unwrap()
}

#[test]
fn a_reply_is_given_whole_in_whatever_form_it_comes() {
    let (base, _) = server(|stream, asked, _| {
        let path = asked.split(' ').nth(1).unwrap();
        match path {
            "/length" => say(stream, ok("hello")),
            "/chunks" => {
                say(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                for piece in ["2\r\nhe\r", "\n3\r\nll", "o\r\n0\r\n\r\n"] {
                    std::thread::sleep(Duration::from_millis(20));
                    say(stream, piece);
                }
                true
            }
            "/close" => {
                say(stream, "HTTP/1.0 200 OK\r\n\r\nhello");
                false
            }
            _ => say(stream, "HTTP/1.1 404 Not Found\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello"),
        }
    });
    for (path, status) in [("/length", 200), ("/chunks", 200), ("/close", 200), ("/none", 404)] {
        let reply = fetch(get(&format!("{base}{path}"))).unwrap();
        assert_eq!((reply.head.status, reply.body.as_slice()), (status, b"hello".as_slice()));
        assert_eq!(reply.head.header("x-a").is_some(), status == 404);
    }
}

#[test]
fn a_post_has_its_body_and_the_url_its_user() {
    let (base, _) = server(|stream, asked, _| say(stream, ok(asked)));
    let url = base.replace("http://", "http://me:secret@") + "/hook?a=b";
    let reply = fetch(Request::post(&url, "application/json", "{\"a\":1}").unwrap()).unwrap();
    let text = String::from_utf8(reply.body).unwrap();
    assert!(text.starts_with("POST /hook?a=b HTTP/1.1\r\nHost: 127.0.0.1:"), "{text}");
    assert!(text.contains("\r\nContent-Type: application/json\r\n"));
    assert!(text.contains("\r\nAuthorization: Basic bWU6c2VjcmV0\r\n"));
    assert!(text.ends_with("\r\nContent-Length: 7\r\n\r\n{\"a\":1}"));
}

#[test]
fn connections_are_used_again_one_request_after_another() {
    let (base, counts) = server(|stream, _, _| say(stream, ok("x")));
    run(|_| async move {
        let client = Client::default();
        for _ in 0..20 {
            assert_eq!(client.fetch(&get(&base)).await.unwrap().body, b"x");
        }
        assert_eq!(client.connections(), 1);
        // A body that was not wanted is in the way.
        let request = Request { max_body: 0, ..get(&base) };
        assert!(matches!(client.fetch(&request).await, Err(Error::TooLarge(0))));
        client.fetch(&get(&base)).await.unwrap();
        client.forget();
        client.fetch(&get(&base)).await.unwrap();
        assert_eq!(client.connections(), 3);
    })
    .unwrap();
    assert_eq!(counts[0].load(Ordering::SeqCst), 3);
    assert_eq!(counts[1].load(Ordering::SeqCst), 23);
}

#[test]
fn requests_at_once_have_connections_of_their_own_and_few_are_kept() {
    let (base, counts) = server(|stream, _, _| {
        std::thread::sleep(Duration::from_millis(100));
        say(stream, ok("x"))
    });
    run(|spawner| async move {
        let client = Rc::new(Client::default());
        let done = Rc::new(Cell::new(0));
        for _ in 0..2 * FETCHES {
            let (client, done, request) = (client.clone(), done.clone(), get(&base));
            spawner.spawn(async move {
                client.fetch(&request).await.unwrap();
                done.set(done.get() + 1);
            });
        }
        while done.get() < 2 * FETCHES {
            sleep(Duration::from_millis(5)).await;
        }
        assert!(client.kept.borrow().len() <= FETCH_KEPT);
    })
    .unwrap();
    let connections = counts[0].load(Ordering::SeqCst);
    assert!((FETCHES..2 * FETCHES).contains(&connections), "{connections}");
}

#[test]
fn a_kept_connection_that_the_server_closed_is_made_anew() {
    // At once, a little later, only when the next request is there.
    for pause in [0, 50, 200] {
        let (base, counts) = server(move |stream, _, before| {
            if before == 1 && pause == 200 {
                return false;
            }
            say(stream, ok("x"));
            std::thread::sleep(Duration::from_millis(pause));
            pause == 200
        });
        run(move |_| async move {
            let client = Client::default();
            client.fetch(&get(&base)).await.unwrap();
            if pause != 200 {
                sleep(Duration::from_millis(2 * pause)).await;
            }
            let post = Request::post(&base, "text/plain", "y").unwrap();
            assert_eq!(client.fetch(&post).await.unwrap().body, b"x");
            assert_eq!(client.connections(), 2);
        })
        .unwrap();
        assert_eq!(counts[0].load(Ordering::SeqCst), 2);
    }
}

#[test]
fn a_new_connection_that_brings_nothing_is_not_tried_twice() {
    let (base, counts) = server(|_, _, _| false);
    let error = fetch(get(&base)).unwrap_err();
    assert!(matches!(error, Error::Http(client::Error::CutOff)), "{error}");
    assert_eq!(counts[0].load(Ordering::SeqCst), 1);
}

#[test]
fn a_body_that_ends_too_early_is_an_error_and_not_a_short_body() {
    for reply in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 O",
    ] {
        let (base, _) = server(move |stream, _, _| {
            say(stream, reply);
            false
        });
        let error = fetch(get(&base)).unwrap_err();
        assert_eq!(error.to_string(), "the connection ended before the reply did");
    }
}

#[test]
fn garbage_is_refused() {
    for garbage in [&b"\0\xff\n\n\x80garbage\r\n\r\n"[..], b"SSH-2.0-x\r\n\r\n", &[b'x'; 20_000]] {
        let (base, _) = server(move |stream, _, _| {
            say(stream, garbage);
            std::thread::sleep(Duration::from_secs(1));
            false
        });
        let error = fetch(get(&base)).unwrap_err();
        assert!(matches!(error, Error::Http(_)), "{error}");
    }
}

#[test]
fn a_server_that_dribbles_does_not_outlive_the_deadline() {
    let (base, _) = server(|stream, asked, _| {
        let head = if asked.contains("/body") { "HTTP/1.1 200 OK\r\n\r\n" } else { "" };
        say(stream, head);
        while say(stream, "H") {
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    });
    let limit = Duration::from_millis(300);
    for (path, doing) in [("/head", "waiting for the reply"), ("/body", "in the body of the reply")]
    {
        let start = Instant::now();
        let error = fetch(Request { timeout: limit, ..get(&format!("{base}{path}")) }).unwrap_err();
        assert_eq!(error.to_string(), format!("timed out after 0.3 s, {doing}"));
        // The clock has whole milliseconds.
        let took = start.elapsed() + Duration::from_millis(1);
        assert!(took >= limit && took < Duration::from_secs(5));
    }
}

#[test]
fn a_long_body_is_given_up_at_its_bound() {
    const LEN: usize = 100 << 20;
    for known in [true, false] {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = sent.clone();
        let (base, _) = server(move |stream, _, _| {
            let length = format!("Content-Length: {LEN}\r\n");
            let length = if known { length.as_str() } else { "" };
            say(stream, format!("HTTP/1.1 200 OK\r\n{length}\r\n"));
            let piece = vec![b'x'; 64 * 1024];
            while counted.load(Ordering::SeqCst) < LEN && say(stream, &piece) {
                counted.fetch_add(piece.len(), Ordering::SeqCst);
            }
            false
        });
        let request = Request { max_body: 100_000, ..get(&base) };
        assert!(matches!(fetch(request), Err(Error::TooLarge(100_000))));
        // What the kernel's buffers took.
        assert!(sent.load(Ordering::SeqCst) < LEN / 2);
    }
}

#[test]
fn redirects_are_followed_as_far_as_is_allowed() {
    let (other, _) = server(|stream, asked, _| say(stream, ok(asked)));
    let (base, _) = server(move |stream, asked, _| {
        let (to, status) = match asked.split(' ').nth(1).unwrap() {
            "/1" => ("/2".to_owned(), 302),
            "/2" => (format!("{other}/3"), 307),
            "/see" => (format!("{other}/seen"), 303),
            "/other" => ("ftp://a/".to_owned(), 301),
            _ => ("/loop".to_owned(), 301),
        };
        say(stream, format!("HTTP/1.1 {status} X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"))
    });
    let url = |path: &str| base.replace("http://", "http://u:p@") + path;
    let follow = |path, redirects| fetch(Request { redirects, ..get(&url(path)) });
    assert_eq!(follow("/1", 0).unwrap_err().to_string(), "redirected to /2, which is not followed");
    assert!(matches!(follow("/1", 1), Err(Error::Redirect(_))));
    assert!(matches!(follow("/loop", 5), Err(Error::Redirect(_))));
    assert!(matches!(follow("/other", 5), Err(Error::Url(url::Error::Scheme))));
    let text = String::from_utf8(follow("/1", 2).unwrap().body).unwrap();
    assert!(text.starts_with("GET /3 ") && !text.contains("Authorization"), "{text}");
    let mut post = Request::post(&url("/see"), "text/plain", "abc").unwrap();
    post.redirects = 1;
    let text = String::from_utf8(fetch(post).unwrap().body).unwrap();
    assert!(text.starts_with("GET /seen ") && text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn a_stream_is_taken_as_it_comes_and_waits_for_who_takes_it() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let (base, _) = server(move |stream, asked, _| {
        assert!(asked.contains("Connection: close"));
        say(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        say(stream, "3\r\nFLV\r\n");
        std::thread::sleep(Duration::from_millis(50));
        let piece = [b"10000\r\n", vec![b'x'; 65536].as_slice(), b"\r\n"].concat();
        for _ in 0..320 {
            if !say(stream, &piece) {
                return false;
            }
            counted.fetch_add(65536, Ordering::SeqCst);
        }
        say(stream, "0\r\n\r\n")
    });
    run(move |_| async move {
        let mut stream = Client::default().open(&get(&base)).await.unwrap();
        assert_eq!(stream.head().header("content-type"), Some("video/x-flv"));
        assert_eq!(stream.next().await.unwrap().as_deref(), Some(b"FLV".as_slice()));
        sleep(Duration::from_millis(300)).await;
        assert!(sent.load(Ordering::SeqCst) < 320 * 65536, "the kernel's buffers are full");
        let mut len = 0;
        while let Some(piece) = stream.next().await.unwrap() {
            assert!(piece.len() <= crate::limits::READ_BUF);
            len += piece.len();
        }
        assert_eq!(len, 320 * 65536);
        assert!(stream.next().await.unwrap().is_none());
    })
    .unwrap();
}

#[test]
fn what_is_given_up_closes_its_connection() {
    let open = Arc::new(AtomicUsize::new(0));
    let counted = open.clone();
    let (base, counts) = server(move |stream, _, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        let end = stream.read(&mut [0]).unwrap_or(0);
        counted.fetch_sub(1, Ordering::SeqCst);
        end > 0
    });
    run(move |_| async move {
        let client = Client::default();
        for _ in 0..FETCHES + 5 {
            let request = get(&base);
            let asked = within(Duration::from_millis(20), client.fetch(&request)).await;
            assert!(asked.is_none());
        }
        let free: Vec<_> = std::iter::from_fn(|| client.slots.try_acquire()).collect();
        assert_eq!(free.len(), FETCHES);
    })
    .unwrap();
    let start = Instant::now();
    while open.load(Ordering::SeqCst) > 0 && start.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(open.load(Ordering::SeqCst), 0);
    assert!(counts[0].load(Ordering::SeqCst) >= FETCHES);
}

#[test]
#[cfg_attr(target_arch = "mips", ignore = "qemu-user 7.2 tells the host's number for a refusal")]
fn a_server_that_is_not_there_is_named() {
    let (_reserved, address) = connect::closed();
    let error = fetch(get(&format!("http://{address}/x"))).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot connect to {address}: 127.0.0.1 refused"));
    let error = Request::get("ftp://a/").unwrap_err();
    assert_eq!(error.to_string(), "the url does not begin with http://");
}

#[test]
fn what_waits_for_a_reply_is_small() {
    let (client, request) = (Client::default(), Request::get("http://a").unwrap());
    let sizes = (size_of_val(&client.fetch(&request)), size_of_val(&client.open(&request)));
    assert!(sizes.0 < 512 && sizes.1 < 512, "{sizes:?}");
    let stage = Cell::new("");
    let work = client.reach(&request, true, &stage);
    assert!(size_of_val(&work) < 4096, "{}", size_of_val(&work));
}
