use super::*;

/// Runs both sides against each other, `slice` bytes at a time, and checks that nothing beyond the
/// handshake is taken.
fn meet(form: Form, slice: impl Fn() -> usize) -> (Form, Form) {
    let mut to_server = Vec::new();
    let mut to_client = Vec::new();
    let mut client = ClientHandshake::new(form, 5, &mut to_server);
    let mut server = ServerHandshake::new(6);
    assert_eq!(to_server.len(), 1537);

    assert_eq!(feed(&to_server, &slice, |i| server.receive(i, &mut to_client)), (None, 0));
    assert_eq!(to_client.len(), 3073);
    to_client.extend_from_slice(b"later");
    to_server.clear();
    let (client_form, rest) = feed(&to_client, &slice, |i| client.receive(i, &mut to_server));
    assert_eq!((to_server.len(), rest), (1536, 5));
    to_server.extend_from_slice(b"later");
    let (server_form, rest) = feed(&to_server, &slice, |i| server.receive(i, &mut Vec::new()));
    assert_eq!(rest, 5);
    (client_form.expect("S2 is in"), server_form.expect("C2 is in"))
}

/// Hands `bytes` over in slices until the side is done. Returns its form and how much is left.
fn feed(
    bytes: &[u8],
    slice: impl Fn() -> usize,
    mut receive: impl FnMut(&mut &[u8]) -> Result<Option<Form>, Error>,
) -> (Option<Form>, usize) {
    let mut at = 0;
    while at < bytes.len() {
        let given = &bytes[at..bytes.len().min(at + slice())];
        let mut input = given;
        let form = receive(&mut input).expect("no error");
        at += given.len() - input.len();
        if form.is_some() {
            return (form, bytes.len() - at);
        }
        assert!(input.is_empty(), "all of the input is taken");
    }
    (None, 0)
}

/// What [`Form::Complex`] turns out to be in this build.
fn best() -> Form {
    if handshake_digest::hello(0, &mut Vec::new()) { Form::Complex } else { Form::Simple }
}

#[test]
fn both_forms_work_in_slices_of_any_size() {
    for slice in [1, 7, 1536, 1537, 1538, 3073, 10_000] {
        assert_eq!(meet(Form::Simple, || slice), (Form::Simple, Form::Simple));
        assert_eq!(meet(Form::Complex, || slice), (best(), best()));
    }
    let random = std::cell::RefCell::new(fastrand::Rng::with_seed(1));
    for _ in 0..50 {
        let slice = || random.borrow_mut().usize(1..2000);
        assert_eq!(meet(Form::Complex, slice), (best(), best()));
    }
}

#[test]
fn a_thousand_complex_handshakes_succeed() {
    for _ in 0..1000 {
        assert_eq!(meet(Form::Complex, || 4096), (best(), best()));
    }
}

#[test]
fn the_simple_answer_is_a_copy() {
    let mut c0c1 = vec![3, 0xaa, 0xbb, 0xcc, 0xdd, 0, 0, 0, 0];
    c0c1.resize(1537, 0x55);
    let mut out = b"kept".to_vec();
    let mut server = ServerHandshake::new(0x0102_0304);
    let mut input = &c0c1[..];
    assert_eq!(server.receive(&mut input, &mut out), Ok(None));
    assert_eq!(out[..13], *b"kept\x03\x01\x02\x03\x04\xaa\xbb\xcc\xdd");
    assert!(out[13..4 + 1537].iter().all(|byte| (0x0f..=0xf0).contains(byte)));
    assert_eq!(out[4 + 1537..], c0c1[1..]);
    assert_eq!(server.receive(&mut &[0; 1535][..], &mut out), Ok(None));
    assert_eq!(server.receive(&mut &[0xff][..], &mut out), Ok(Some(Form::Simple)));
    assert_eq!(out.len(), 4 + 3073);
}

#[test]
fn a_simple_client_sends_its_time_and_zero_and_copies_the_server() {
    let mut out = Vec::new();
    let mut client = ClientHandshake::new(Form::Simple, 0x0102_0304, &mut out);
    assert_eq!(out[..9], [3, 1, 2, 3, 4, 0, 0, 0, 0]);
    out.clear();
    let mut s0s1s2 = vec![3];
    s0s1s2.resize(3073, 0x77);
    assert_eq!(client.receive(&mut &s0s1s2[..], &mut out), Ok(Some(Form::Simple)));
    assert_eq!(out, s0s1s2[1..1537]);
}

#[test]
fn a_complex_client_falls_back_when_the_server_knows_no_digests() {
    let mut c0c1 = Vec::new();
    let mut client = ClientHandshake::new(Form::Complex, 0, &mut c0c1);
    let mut s0s1s2 = vec![3, 0, 0, 0, 9, 0, 0, 0, 0];
    s0s1s2.resize(1537, 0x21);
    s0s1s2.extend_from_slice(&c0c1[1..]);
    let mut c2 = Vec::new();
    assert_eq!(client.receive(&mut &s0s1s2[..], &mut c2), Ok(Some(Form::Simple)));
    assert_eq!(c2, s0s1s2[1..1537]);
}

#[test]
fn a_damaged_digest_makes_the_handshake_simple() {
    let mut c0c1 = Vec::new();
    ClientHandshake::new(Form::Complex, 0, &mut c0c1);
    c0c1[1536] ^= 1;
    let mut out = Vec::new();
    let mut server = ServerHandshake::new(0);
    assert_eq!(server.receive(&mut &c0c1[..], &mut out), Ok(None));
    assert_eq!(out[1537..], c0c1[1..]);
    assert_eq!(server.receive(&mut &c0c1[1..], &mut out), Ok(Some(Form::Simple)));
}

#[test]
fn anything_but_plain_rtmp_is_refused_at_the_first_byte() {
    for byte in (0..=0xff).filter(|&byte| byte != 3) {
        let mut out = Vec::new();
        let error = ServerHandshake::new(0).receive(&mut &[byte][..], &mut out);
        assert_eq!(error, Err(Error::PlainRequired(byte)));
        assert!(out.is_empty());
        let error = ClientHandshake::new(Form::Simple, 0, &mut Vec::new())
            .receive(&mut &[byte, 3, 3][..], &mut out);
        assert_eq!(error, Err(Error::Handshake(byte)));
        assert!(out.is_empty());
    }
    assert_eq!(Error::PlainRequired(b'G').code(), 2000);
    assert_eq!(Error::Handshake(6).code(), 2016);
}

#[test]
fn a_handshake_owns_memory_only_while_the_first_packet_comes_in_pieces() {
    let gathered = |server: &ServerHandshake| match &server.step {
        Step::First(gathered) => gathered.capacity(),
        Step::Second(..) => 0,
    };
    let mut server = ServerHandshake::new(0);
    let mut out = Vec::new();
    assert_eq!(server.receive(&mut &[][..], &mut out), Ok(None));
    assert_eq!(gathered(&server), 0);
    assert_eq!(server.receive(&mut &[3; 1536][..], &mut out), Ok(None));
    assert_eq!(gathered(&server), 1537);
    assert_eq!(server.receive(&mut &[3][..], &mut out), Ok(None));
    assert_eq!(gathered(&server), 0);
}

#[test]
fn garbage_behind_the_version_is_a_simple_handshake() {
    let mut random = fastrand::Rng::with_seed(2);
    for _ in 0..200 {
        let mut bytes = vec![3];
        bytes.resize_with(random.usize(1537..5000), || random.u8(..));
        let mut server = ServerHandshake::new(0);
        let mut out = Vec::new();
        let mut input = &bytes[..];
        let form = server.receive(&mut input, &mut out);
        let done = bytes.len() >= 3073;
        assert_eq!(form, Ok(done.then_some(Form::Simple)));
        assert_eq!(input.len(), bytes.len().saturating_sub(3073));
        assert_eq!(out.len(), 3073);
        // Done stays done and takes nothing more.
        if done {
            let rest = input;
            assert_eq!(server.receive(&mut input, &mut out), Ok(Some(Form::Simple)));
            assert_eq!(input, rest);
        }
    }
}
