use super::*;
use crate::io::run::run;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;

const LIMIT: Duration = Duration::from_millis(400);

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Somebody listens, and accepts nobody: what does not fit the queue is not answered.
fn full() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    use rustix::net::{bind, listen, socket};
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&fd, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    listen(&fd, 0).unwrap();
    let listener = TcpListener::from(fd);
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        waiting.push(stream);
    }
    (listener, waiting, address)
}

#[test]
fn a_listener_is_reached_by_name_and_by_address() {
    let (listener, address) = listener();
    for text in [address.to_string(), format!("localhost:{}", address.port())] {
        let socket = run(|_| async move { to(&text, 1, LIMIT).await }).unwrap().unwrap();
        assert_eq!(socket.get_ref().peer_addr().unwrap(), address);
        assert_eq!(listener.accept().unwrap().1, socket.get_ref().local_addr().unwrap());
    }
    let socket = run(move |_| async move { host("127.0.0.1", address.port(), LIMIT).await });
    assert!(socket.unwrap().is_ok());
}

#[test]
fn all_addresses_are_tried_in_turn() {
    let (listener, address) = listener();
    let (_one, one) = closed();
    let (_two, two) = closed();
    let addresses = [one, two, address];
    let socket = run(move |_| async move { first(&addresses, LIMIT).await }).unwrap().unwrap();
    assert_eq!(socket.get_ref().peer_addr().unwrap(), listener.local_addr().unwrap());
}

#[test]
fn an_address_that_does_not_answer_holds_the_next_one_up_only_a_moment() {
    let (_full, _waiting, silent) = full();
    let (_listener, address) = listener();
    let start = Instant::now();
    let limit = Duration::from_secs(20);
    let socket = run(move |_| async move { first(&[silent, address], limit).await });
    assert_eq!(socket.unwrap().unwrap().get_ref().peer_addr().unwrap(), address);
    // The clock has whole milliseconds.
    let took = start.elapsed() + Duration::from_millis(1);
    assert!(took >= CONNECT_STAGGER && took < Duration::from_secs(10));
}

#[test]
#[cfg_attr(target_arch = "mips", ignore = "qemu-user 7.2 tells the host's number for a refusal")]
fn the_error_names_each_address_and_what_happened() {
    let (_full, _waiting, silent) = full();
    let (_reserved, refused) = closed();
    let tried = run(move |_| async move { first(&[silent, refused], LIMIT).await.err() });
    let mut tried = tried.unwrap().unwrap();
    tried.reverse();
    let want = [
        Failure { address: silent, why: Why::TimedOut(LIMIT) },
        Failure { address: refused, why: Why::Refused },
    ];
    assert_eq!(tried, want);
    let error = Error::Connect { target: "srv:_x".into(), tried: tried[1..].to_vec() };
    assert_eq!(error.to_string(), format!("cannot connect to srv:_x: {refused} refused"));
    let error = Error::Connect { target: "origin.example:1935".into(), tried };
    let text = "cannot connect to origin.example:1935: 127.0.0.1 timed out after 0.4 s, \
        127.0.0.1 refused";
    assert_eq!(error.to_string(), text);
    assert_eq!(run(|_| async { first(&[], LIMIT).await.err() }).unwrap(), Some(vec![]));
}

#[test]
fn an_attempt_that_is_given_up_leaves_nothing_behind() {
    let (_full, _waiting, silent) = full();
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    run(move |_| async move {
        for _ in 0..200 {
            let limit = Duration::from_secs(20);
            let attempt = crate::io::run::within(Duration::from_millis(1), async {
                first(&[silent], limit).await.is_ok()
            });
            assert_eq!(attempt.await, None);
        }
        // Other tests open some at the same time.
        assert!(open() < 190, "{}", open());
    })
    .unwrap();
}
