use super::*;

/// One way to cut messages into chunks, and what they are. The owner in [`run`] obeys set chunk
/// size and abort.
struct Case {
    name: &'static str,
    wire: &'static [&'static [u8]],
    messages: &'static [Expected],
}

/// Type, chunk stream, message stream, timestamp, parts of the payload.
type Expected = (u8, u32, u32, u32, &'static [&'static [u8]]);

const A: &[u8] = &counting::<128>(0);
const B: &[u8] = &counting::<128>(100);
const C: &[u8] = &counting::<44>(200);

const CASES: &[Case] = &[
    Case {
        name: "one chunk",
        wire: &[b"\x03\0\0\x05\0\0\x02\x14\x01\0\0\0hi"],
        messages: &[(20, 3, 1, 5, &[b"hi"])],
    },
    Case {
        name: "three chunks",
        wire: &[b"\x06\0\0\x05\0\x01\x2c\x09\x01\0\0\0", A, b"\xc6", B, b"\xc6", C],
        messages: &[(9, 6, 1, 5, &[A, B, C])],
    },
    Case {
        name: "a message that ends with its chunk",
        wire: &[
            b"\x06\0\0\x05\0\x01\0\x09\x01\0\0\0",
            A,
            b"\xc6",
            B,
            b"\x46\0\0\x01\0\0\x80\x09",
            A,
            b"\xc6",
            B,
        ],
        messages: &[(9, 6, 1, 5, &[A, B]), (9, 6, 1, 6, &[A]), (9, 6, 1, 7, &[B])],
    },
    Case {
        name: "the chunk stream id in 1, 2 and 3 bytes",
        wire: &[
            b"\x3f\0\0\0\0\0\x01\x08\x01\0\0\0a",
            b"\0\0\0\0\0\0\0\x01\x08\x01\0\0\0b",
            b"\0\xff\0\0\0\0\0\x01\x08\x01\0\0\0c",
            b"\x01\0\x01\0\0\0\0\0\x01\x08\x01\0\0\0d",
            b"\x01\xff\xff\0\0\0\0\0\x01\x08\x01\0\0\0e",
            b"\x01\0\0\0\0\0\0\0\x01\x08\x01\0\0\0f",
            b"\xc0\0g",
        ],
        messages: &[
            (8, 63, 1, 0, &[b"a"]),
            (8, 64, 1, 0, &[b"b"]),
            (8, 319, 1, 0, &[b"c"]),
            (8, 320, 1, 0, &[b"d"]),
            (8, 65599, 1, 0, &[b"e"]),
            (8, 64, 1, 0, &[b"f"]),
            (8, 64, 1, 0, &[b"g"]),
        ],
    },
    Case {
        name: "librtmp's ping as the first bytes",
        wire: &[b"\x42\0\0\0\0\0\x06\x04\0\x06\0\0\x0d\x0f"],
        messages: &[(4, 2, 0, 0, &[b"\0\x06\0\0\x0d\x0f"])],
    },
    Case {
        name: "headers of all types",
        wire: &[
            b"\x04\0\x03\xe8\0\0\x01\x08\x01\0\0\x80a",
            b"\x44\0\0\x14\0\0\x02\x12bc",
            b"\x84\0\0\x16de",
            b"\xc4fg",
            b"\xc4hi",
        ],
        messages: &[
            (8, 4, 0x8000_0001, 1000, &[b"a"]),
            (18, 4, 0x8000_0001, 1020, &[b"bc"]),
            (18, 4, 0x8000_0001, 1042, &[b"de"]),
            (18, 4, 0x8000_0001, 1064, &[b"fg"]),
            (18, 4, 0x8000_0001, 1086, &[b"hi"]),
        ],
    },
    Case {
        name: "a full header counts as a delta for the shortest",
        wire: &[b"\x04\0\x03\xe8\0\0\x01\x08\x01\0\0\0a", b"\xc4b"],
        messages: &[(8, 4, 1, 1000, &[b"a"]), (8, 4, 1, 2000, &[b"b"])],
    },
    Case {
        name: "audio between the chunks of video",
        wire: &[
            b"\x06\0\0\x05\0\x01\x2c\x09\x01\0\0\0",
            A,
            b"\x07\0\0\x06\0\0\x80\x08\x01\0\0\0",
            B,
            b"\xc6",
            B,
            b"\xc7",
            A,
            b"\xc6",
            C,
        ],
        messages: &[(8, 7, 1, 6, &[B]), (8, 7, 1, 12, &[A]), (9, 6, 1, 5, &[A, B, C])],
    },
    Case {
        name: "longer headers inside a message",
        wire: &[
            b"\x06\0\0\x05\0\x01\x2c\x09\x01\0\0\0",
            A,
            b"\x46\0\0\x05\0\x01\x2c\x09",
            B,
            b"\x86\0\0\x05",
            C,
            b"\x86\0\0\x05",
            A,
            b"\xc6",
            B,
            b"\xc6",
            C,
        ],
        messages: &[(9, 6, 1, 5, &[A, B, C]), (9, 6, 1, 10, &[A, B, C])],
    },
    Case {
        name: "an extended timestamp on every chunk",
        wire: &[
            b"\x06\xff\xff\xff\0\x01\x2c\x09\x01\0\0\0\x01\0\0\0",
            A,
            b"\xc6\x01\0\0\0",
            B,
            b"\xc6\x01\0\0\0",
            C,
        ],
        messages: &[(9, 6, 1, 0x0100_0000, &[A, B, C])],
    },
    Case {
        name: "an extended timestamp on the first chunk only",
        wire: &[b"\x06\xff\xff\xff\0\x01\x2c\x09\x01\0\0\0\x01\0\0\0", B, b"\xc6", B, b"\xc6", C],
        messages: &[(9, 6, 1, 0x0100_0000, &[B, B, C])],
    },
    Case {
        name: "payload that looks almost like the extended timestamp",
        wire: &[
            b"\x06\xff\xff\xff\0\0\x84\x09\x01\0\0\0\x01\x02\x03\x04",
            A,
            b"\xc6\x01\x02\x03\x05",
            b"\x06\xff\xff\xff\0\0\x82\x09\x01\0\0\0\x01\x02\x03\x04",
            A,
            b"\xc6\x01\x02\x06\0\0\0\0\0\x01\x09\x01\0\0\0!",
            b"\x06\xff\xff\xff\0\0\x81\x09\x01\0\0\0\x09\xc6\x66\x04",
            A,
            b"\xc6\x09\xc6fgh",
        ],
        messages: &[
            (9, 6, 1, 0x0102_0304, &[A, b"\x01\x02\x03\x05"]),
            (9, 6, 1, 0x0102_0304, &[A, b"\x01\x02"]),
            (9, 6, 1, 0, &[b"!"]),
            (9, 6, 1, 0x09c6_6604, &[A, b"\x09"]),
        ],
    },
    Case {
        name: "an extended timestamp replaces, in all headers",
        wire: &[
            b"\x04\0\0\x01\0\0\x01\x08\x01\0\0\0a",
            b"\x44\xff\xff\xff\0\0\x01\x08\0\0\0\x10b",
            b"\x84\xff\xff\xff\0\0\0\x20c",
            b"\xc4\0\0\0\x30d",
            b"\x84\0\0\x01e",
        ],
        messages: &[
            (8, 4, 1, 1, &[b"a"]),
            (8, 4, 1, 0x10, &[b"b"]),
            (8, 4, 1, 0x20, &[b"c"]),
            (8, 4, 1, 0x30, &[b"d"]),
            (8, 4, 1, 0x31, &[b"e"]),
        ],
    },
    Case {
        name: "timestamps have 31 bits",
        wire: &[
            b"\x04\xff\xff\xff\0\0\x01\x08\x01\0\0\0\xff\xff\xff\xffa",
            b"\x84\0\0\x02b",
            b"\x06\xff\xff\xff\0\0\x81\x09\x01\0\0\0\x80\0\0\x07",
            A,
            b"\xc6\x80\0\0\x07!",
        ],
        messages: &[
            (8, 4, 1, 0x7fff_ffff, &[b"a"]),
            (8, 4, 1, 1, &[b"b"]),
            (9, 6, 1, 7, &[A, b"!"]),
        ],
    },
    Case {
        name: "an extended timestamp of 0 is always repeated",
        wire: &[b"\x06\xff\xff\xff\0\0\x81\x09\x01\0\0\0\0\0\0\0", A, b"\xc6\0\0\0\0!"],
        messages: &[(9, 6, 1, 0, &[A, b"!"])],
    },
    Case {
        name: "empty messages move the time on and are dropped",
        wire: &[
            b"\x04\0\0\x0a\0\0\0\x08\x01\0\0\0",
            b"\xc4",
            b"\x44\0\0\x05\0\0\x01\x08a",
            b"\x44\0\0\x05\0\0\0\x08",
            b"\x44\0\0\x05\0\0\x01\x08b",
        ],
        messages: &[(8, 4, 1, 25, &[b"a"]), (8, 4, 1, 35, &[b"b"])],
    },
    Case {
        name: "a chunk size set in the middle of a message",
        wire: &[
            b"\x06\0\0\x05\0\x01\x2c\x09\x01\0\0\0",
            A,
            b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\0\x01\0\x01",
            b"\xc6",
            B,
            C,
        ],
        messages: &[(1, 2, 0, 0, &[b"\0\x01\0\x01"]), (9, 6, 1, 5, &[A, B, C])],
    },
    Case {
        name: "the largest chunk size",
        wire: &[
            b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\x7f\xff\xff\xff",
            b"\x06\0\0\x05\0\x01\x2c\x09\x01\0\0\0",
            A,
            B,
            C,
        ],
        messages: &[(1, 2, 0, 0, &[b"\x7f\xff\xff\xff"]), (9, 6, 1, 5, &[A, B, C])],
    },
    Case {
        name: "a message given up",
        wire: &[
            b"\x06\0\0\x05\0\x01\x2c\x09\x01\0\0\0",
            A,
            b"\x02\0\0\0\0\0\x04\x02\0\0\0\0\0\0\0\x06",
            b"\x06\0\0\x07\0\0\x01\x09\x01\0\0\0!",
        ],
        messages: &[(2, 2, 0, 0, &[b"\0\0\0\x06"]), (9, 6, 1, 7, &[b"!"])],
    },
];

/// What a peer may not do. Each ends with the first wrong byte or header.
const REFUSED: &[(&str, &[&[u8]], Error, u16)] = &[
    (
        "a fresh chunk stream without a full header",
        &[b"\x03\0\0\0\0\0\x01\x08\x01\0\0\0a\x44"],
        Error::FreshChunkStream { csid: 4, format: 1, at: 13 },
        2001,
    ),
    (
        "a fresh control stream with a shorter header than librtmp's",
        &[b"\x82"],
        Error::FreshChunkStream { csid: 2, format: 2, at: 0 },
        2001,
    ),
    (
        "a fresh chunk stream with the shortest header",
        &[b"\xc1\x01\0"],
        Error::FreshChunkStream { csid: 65, format: 3, at: 0 },
        2001,
    ),
    (
        "a message in a message",
        &[b"\x06\0\0\x05\0\x01\x2c\x09\x01\0\0\0", A, b"\x06"],
        Error::Interrupted { csid: 6, at: 140 },
        2001,
    ),
    (
        "another length in a message",
        &[b"\x06\0\0\x05\0\x01\x2c\x09\x01\0\0\0", A, b"\x46\0\0\0\0\x01\x2d\x09"],
        Error::LengthChanged { csid: 6, len: 301, was: 300, at: 140 },
        2013,
    ),
    (
        "a chunk size of 1",
        &[b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\0\0\0\x01"],
        Error::ChunkSize { size: 1, at: 16 },
        2010,
    ),
    (
        "a chunk size of 127",
        &[b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\0\0\0\x7f"],
        Error::ChunkSize { size: 127, at: 16 },
        2010,
    ),
    (
        "a chunk size with the top bit",
        &[b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\x80\0\0\x80"],
        Error::ChunkSize { size: 0x8000_0080, at: 16 },
        2010,
    ),
    (
        "a message of 16 MiB",
        &[b"\x06\0\0\x05\xff\xff\xff\x09\x01\0\0\0"],
        Error::TooLong { csid: 6, len: 0xff_ffff, max: LONGEST, at: 0 },
        2002,
    ),
    (
        "a message that there is no memory for",
        &[b"\x06\0\0\x05\0\0\x07\xff\x01\0\0\0"],
        Error::NoMemory { csid: 6, len: 7, at: 0 },
        1022,
    ),
];

/// Longer messages are refused by [`Owner`].
const LONGEST: usize = 0x2_0000;

/// The owner of a decoder. Has no memory for messages of type 255.
#[derive(Default)]
struct Owner {
    asked: usize,
}

impl Buffers for Owner {
    fn buffer(&mut self, type_id: u8, len: usize) -> Result<BytesMut, Refused> {
        self.asked += 1;
        match (type_id, len) {
            (255, _) => Err(Refused::NoMemory),
            (_, len) if len > LONGEST => Err(Refused::TooLong { max: LONGEST }),
            (_, len) => Ok(BytesMut::with_capacity(len)),
        }
    }
}

const fn counting<const N: usize>(from: u8) -> [u8; N] {
    let mut bytes = [0; N];
    let mut i = 0;
    while i < N {
        bytes[i] = from.wrapping_add(i as u8);
        i += 1;
    }
    bytes
}

/// Decodes `wire`, handed over in slices.
fn run(wire: &[u8], mut slice: impl FnMut() -> usize) -> (Vec<Message>, Result<(), Error>) {
    let mut decoder = Decoder::default();
    let mut owner = Owner::default();
    let mut messages = Vec::new();
    let mut wire = wire;
    let mut given = 0;
    while !wire.is_empty() {
        let (mut input, rest) = wire.split_at(slice().min(wire.len()));
        wire = rest;
        given += input.len() as u64;
        loop {
            let message = match decoder.receive(&mut input, &mut owner) {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            };
            assert_eq!(decoder.received(), given - input.len() as u64);
            let number = message.payload.first_chunk().map(|&bytes| u32::from_be_bytes(bytes));
            match (message.type_id, number) {
                (1, Some(size)) => {
                    if let Err(error) = decoder.set_chunk_size(size) {
                        return (messages, Err(error));
                    }
                    assert_eq!(decoder.chunk_size(), size as usize);
                }
                (2, Some(csid)) => decoder.abort(csid),
                _ => {}
            }
            messages.push(message);
        }
        assert!(input.is_empty(), "`None` means that all was taken");
        assert_eq!(decoder.received(), given);
        assert!(decoder.streams.len() <= limits::CHUNK_STREAMS);
    }
    (messages, Ok(()))
}

fn expected(case: &Case) -> Vec<Message> {
    let message = |&(type_id, csid, msid, timestamp, parts): &Expected| Message {
        type_id,
        csid,
        msid,
        timestamp,
        payload: BytesMut::from(&parts.concat()[..]),
    };
    case.messages.iter().map(message).collect()
}

#[test]
fn every_case_decodes_in_slices_of_any_size() {
    let mut random = fastrand::Rng::with_seed(3);
    for case in CASES {
        let wire = case.wire.concat();
        for slice in [1, 2, 3, 7, 128, wire.len()] {
            assert_eq!(run(&wire, || slice), (expected(case), Ok(())), "{}", case.name);
        }
        for _ in 0..20 {
            let result = run(&wire, || random.usize(1..200));
            assert_eq!(result, (expected(case), Ok(())), "{}", case.name);
        }
    }
}

#[test]
fn every_prefix_of_a_case_is_no_error_and_gives_no_message_too_many() {
    for case in CASES {
        let (wire, expected) = (case.wire.concat(), expected(case));
        let mut count = 0;
        for end in 0..=wire.len() {
            let (messages, result) = run(&wire[..end], || usize::MAX);
            assert_eq!(result, Ok(()), "{} cut at {end}", case.name);
            assert!(messages.len() >= count && messages.len() <= expected.len());
            assert_eq!(messages, expected[..messages.len()], "{} cut at {end}", case.name);
            count = messages.len();
        }
        assert_eq!(count, expected.len(), "{}", case.name);
    }
}

#[test]
fn what_a_peer_may_not_do_is_refused_with_its_place_and_number() {
    for &(name, wire, error, code) in REFUSED {
        let wire = wire.concat();
        for slice in [1, 7, wire.len()] {
            assert_eq!(run(&wire, || slice).1, Err(error), "{name}");
        }
        assert_eq!(error.code(), code, "{name}");
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn what_is_refused_is_refused_at_the_byte_that_shows_it() {
    for &(name, wire, ..) in REFUSED {
        let wire = wire.concat();
        for end in 0..wire.len() {
            assert_eq!(run(&wire[..end], || usize::MAX).1, Ok(()), "{name} cut at {end}");
        }
    }
}

#[test]
fn as_many_chunk_streams_as_allowed_and_not_one_more() {
    let mut wire = Vec::new();
    for csid in 0..limits::CHUNK_STREAMS as u8 {
        // All of them with a message that has begun.
        wire.extend_from_slice(&[csid + 3, 0, 0, 0, 0, 0, 200, 9, 1, 0, 0, 0]);
        wire.extend_from_slice(A);
    }
    assert_eq!(run(&wire, || 7), (vec![], Ok(())));
    let at = wire.len() as u64;
    wire.push(2);
    let error = Error::TooManyChunkStreams { csid: 2, at };
    assert_eq!(run(&wire, || 7), (vec![], Err(error)));
    assert_eq!(error.code(), 2001);
}

#[test]
fn a_written_message_is_read_back() {
    let sizes = [128, 4096, 60_000, 65_536];
    let timestamps = [0, 1, 0xff_fffe, 0xff_ffff, 0x100_0000, 0x7fff_ffff];
    let lengths = [1, 127, 128, 129, 256, 4096, 4097, 65_535, 65_536, 65_537, 100_000];
    for size in sizes {
        for timestamp in timestamps {
            let mut wire = Vec::new();
            write_message(&mut wire, 128, 2, 1, 0, 0, &(size as u32).to_be_bytes());
            let mut sent = Vec::new();
            for (i, length) in lengths.into_iter().enumerate() {
                let payload: Vec<u8> = (0..length).map(|at| (at * 7 + i) as u8).collect();
                write_message(&mut wire, size, 6, 9, 1, timestamp, &payload);
                sent.push(Message {
                    type_id: 9,
                    csid: 6,
                    msid: 1,
                    timestamp,
                    payload: BytesMut::from(&payload[..]),
                });
            }
            for slice in [7, 1000, wire.len()] {
                let (mut messages, result) = run(&wire, || slice);
                assert_eq!(result, Ok(()));
                messages.remove(0);
                assert!(messages == sent, "chunks of {size} at {timestamp}, slices of {slice}");
            }
        }
    }
}

#[test]
fn written_bytes_are_those_of_the_standard() {
    let mut out = Vec::new();
    write_message(&mut out, 128, 3, 20, 0x0403_0201, 0x0102_0304, &[A, C].concat());
    let head = b"\x03\xff\xff\xff\0\0\xac\x14\x01\x02\x03\x04\x01\x02\x03\x04";
    assert_eq!(out, [head, A, b"\xc3\x01\x02\x03\x04", C].concat());
    out.clear();
    write_message(&mut out, 128, 2, 4, 0, 0xff_fffe, b"");
    assert_eq!(out, b"\x02\xff\xff\xfe\0\0\0\x04\0\0\0\0");
}

#[test]
fn a_buffer_is_asked_for_once_a_message_and_never_for_an_empty_one() {
    for case in CASES.iter().filter(|case| case.name.contains("message")) {
        let mut owner = Owner::default();
        let mut decoder = Decoder::default();
        let wire = case.wire.concat();
        let mut input = &wire[..];
        let mut messages = 0;
        while let Ok(Some(message)) = decoder.receive(&mut input, &mut owner) {
            messages += 1;
            assert_eq!(message.payload.capacity(), message.payload.len(), "it never grew");
            match message.type_id {
                1 => decoder.set_chunk_size(256).expect("a good size"),
                2 => decoder.abort(6),
                _ => {}
            }
        }
        let begun = owner.asked - messages;
        assert!(begun <= 1, "{}: {begun} buffers too many", case.name);
    }
}

#[test]
fn abort_may_come_at_any_time() {
    let mut decoder = Decoder::default();
    let mut owner = Owner::default();
    decoder.abort(6);
    let wire = [b"\x06\0\0\x05\0\x01\x2c\x09\x01\0\0\0", A].concat();
    assert_eq!(decoder.receive(&mut &wire[..50], &mut owner), Ok(None));
    decoder.abort(6);
    assert_eq!(decoder.receive(&mut &wire[50..], &mut owner), Ok(None));
    let next = b"\x06\0\0\x05\0\0\x01\x09\x01\0\0\0!";
    let message = decoder.receive(&mut &next[..], &mut owner).expect("no error");
    assert_eq!(message.map(|message| message.payload), Some(BytesMut::from(&b"!"[..])));
}

#[test]
fn damaged_bytes_never_panic_and_mean_the_same_in_any_slices() {
    let mut random = fastrand::Rng::with_seed(4);
    for round in 0..20_000 {
        let mut wire = CASES[random.usize(..CASES.len())].wire.concat();
        if random.bool() {
            wire.extend(CASES[random.usize(..CASES.len())].wire.concat());
        }
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..wire.len());
            match random.u8(..4) {
                0 => wire[at] ^= 1 << random.u8(..8),
                1 => wire[at] = random.u8(..),
                2 => wire.insert(at, random.u8(..)),
                _ => drop(wire.remove(at)),
            }
        }
        let whole = run(&wire, || usize::MAX);
        assert_eq!(run(&wire, || 1), whole, "round {round}");
        assert_eq!(run(&wire, || random.usize(1..40)), whole, "round {round}");
    }
}

#[test]
fn noise_never_panics() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..5_000 {
        let mut wire = vec![0; random.usize(1..600)];
        random.fill(&mut wire);
        let whole = run(&wire, || usize::MAX);
        assert_eq!(run(&wire, || random.usize(1..40)), whole);
    }
}
