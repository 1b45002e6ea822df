use super::*;
use crate::io::run::run;
use crate::io::tcp;
use std::net::{Ipv4Addr, TcpStream};

/// What a server that is no TLS server does with a client.
fn against(server: impl FnOnce(TcpStream) + Send + 'static) -> String {
    run(|_| async move {
        let listener = tcp::listen(Some(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
        let address = listener.address().unwrap();
        let thread = std::thread::spawn(move || server(TcpStream::connect(address).unwrap()));
        let (socket, _) = listener.accept().await.unwrap();
        let untrusting = begin_with_nobody(socket).await;
        thread.join().unwrap();
        untrusting
    })
    .unwrap()
}

/// A handshake that trusts one certificate that nobody has the key of.
async fn begin_with_nobody(socket: Socket) -> String {
    let config = trust::made(CERTIFICATE.as_bytes(), true).unwrap();
    let name = ServerName::try_from("a.example").unwrap();
    let session = Box::new(ClientConnection::new(config, name).unwrap());
    let slot = Slot::take().unwrap();
    let mut stream = Stream { socket, session, left: true, over: false, _slot: slot };
    let limit = Duration::from_millis(300);
    let done = within(limit, poll_fn(|task| stream.poll_handshake(task))).await;
    done.map_or_else(|| "silent".to_owned(), |done| done.unwrap_err())
}

#[test]
fn servers_that_speak_no_tls_are_told_apart() {
    let plain = |mut stream: TcpStream| {
        let mut hello = [0; 64];
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        // The client goes first.
        let _ = io::copy(&mut stream, &mut io::sink());
    };
    assert_eq!(against(plain), "what it says is no TLS");
    let closes = |stream: TcpStream| drop(stream);
    let text = "the server closed the connection in the TLS handshake";
    assert_eq!(against(closes), text);
    let half = |mut stream: TcpStream| {
        stream.write_all(&[22, 3, 3, 0, 100, 2, 0]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = io::copy(&mut stream, &mut io::sink());
    };
    assert_eq!(against(half), text);
    let alert = |mut stream: TcpStream| {
        let mut hello = [0; 64];
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(&[21, 3, 3, 0, 2, 2, 40]).unwrap();
        let _ = io::copy(&mut stream, &mut io::sink());
    };
    assert_eq!(against(alert), "the server refuses TLS with us: HandshakeFailure");
    let silent = |mut stream: TcpStream| {
        let _ = io::copy(&mut stream, &mut io::sink());
    };
    assert_eq!(against(silent), "silent");
}

#[test]
fn files_of_authorities_are_read_within_bounds() {
    let none = |text: &[u8]| trust::made(text, true).unwrap_err();
    assert_eq!(none(b""), "there is no certificate in it");
    assert!(none(b"-----BEGIN CERTIFICATE-----\nAAAA\n").starts_with("not PEM"));
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(none(broken), "there is no certificate in it");
    let some = [broken.as_slice(), CERTIFICATE.as_bytes()].concat();
    trust::made(&some, false).unwrap();
    // A prefix of it, wherever it ends, is none or an error.
    for end in 0..CERTIFICATE.len() - 1 {
        if let Ok(config) = trust::made(&CERTIFICATE.as_bytes()[..end], true) {
            panic!("{end}: {config:?}");
        }
    }
}

#[test]
fn what_is_fastest_on_the_processor_goes_first() {
    let first = |aes| {
        let mut suites = rustls::crypto::ring::default_provider().cipher_suites;
        let all = suites.len();
        trust::arrange(&mut suites, aes);
        assert_eq!(suites.len(), all);
        suites[0].suite()
    };
    assert_eq!(first(true), rustls::CipherSuite::TLS13_AES_256_GCM_SHA384);
    assert_eq!(first(false), rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
}

#[test]
fn who_to_trust_is_read_once_and_again_when_it_is_told() {
    run(|_| async {
        trust("/nowhere/ca.pem");
        let why = trust::config().await.unwrap_err();
        assert!(why.starts_with("/nowhere/ca.pem: No such file"), "{why}");
        let dir = crate::io::disk::testing::Dir::new();
        let file = dir.join("ca.pem");
        std::fs::write(&file, CERTIFICATE).unwrap();
        let file = file.to_str().unwrap();
        trust(file);
        let (first, second) = (trust::config().await.unwrap(), trust::config().await.unwrap());
        assert!(std::sync::Arc::ptr_eq(&first, &second));
        trust(file);
        assert!(!std::sync::Arc::ptr_eq(&first, &trust::config().await.unwrap()));
        std::fs::write(file, vec![b' '; crate::limits::TLS_CA_FILE + 1]).unwrap();
        trust(file);
        assert!(trust::config().await.unwrap_err().contains("has more than"));
    })
    .unwrap();
}

/// Of an authority, a.example, for a hundred years; its key is gone.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIUVzmN6oz1bsBW1j8PII2TaBT2OaUwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJYS5leGFtcGxlMCAXDTI2MTEyMjIwMzY1M1oYDzIxMjYxMDI5
MjAzNjUzWjAUMRIwEAYDVQQDDAlhLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAT5O1CePxFBObqHwmg39rfGZyYj5s1L4QSw5OgcGn9lBnBv1MZ5Z/PH
/s09NaVKN37p6gxg3uoeQAkeA0mmv7u6o2kwZzAdBgNVHQ4EFgQUQJlc8t+v64CR
OSENLqMxG+aEy5gwHwYDVR0jBBgwFoAUQJlc8t+v64CROSENLqMxG+aEy5gwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglhLmV4YW1wbGUwCgYIKoZIzj0EAwID
SAAwRQIgQ9qnuUWV/LOlPiG6DcBUo57+UaReOXuIo/N72A+sNK0CIQCjYAhuc/TS
GKqKZrdgVEPQlAHyY6XhzdqOS2zRcpifqQ==
-----END CERTIFICATE-----
";
