use super::*;

/// Name, bytes, value.
fn cases() -> Vec<(&'static str, &'static [u8], Value)> {
    let object = || Object::from_iter([("a", Value::Number(1.0)), ("b", Value::Null)]);
    vec![
        ("number", b"\0\x3f\xf0\0\0\0\0\0\0", Value::Number(1.0)),
        ("boolean", b"\x01\x01", Value::Boolean(true)),
        ("string", b"\x02\0\x04live", "live".into()),
        ("empty string", b"\x02\0\0", "".into()),
        ("null", b"\x05", Value::Null),
        ("undefined", b"\x06", Value::Undefined),
        ("empty object", b"\x03\0\0\x09", Object::new().into()),
        ("object", b"\x03\0\x01a\0\x3f\xf0\0\0\0\0\0\0\0\x01b\x05\0\0\x09", object().into()),
        ("empty key", b"\x03\0\0\x05\0\0\x09", Object::from_iter([("", Value::Null)]).into()),
        (
            "array whose count is wrong",
            b"\x08\0\0\0\x63\0\x01a\0\x3f\xf0\0\0\0\0\0\0\0\x01b\x05\0\0\x09",
            Value::EcmaArray { count: 99, pairs: object() },
        ),
        (
            "strict array",
            b"\x0a\0\0\0\x02\x05\x0a\0\0\0\0",
            Value::StrictArray(vec![Value::Null, Value::StrictArray(vec![])]),
        ),
        ("date", b"\x0b\x3f\xf0\0\0\0\0\0\0\xff\xfe", Value::Date { ms: 1.0, tz: -2 }),
    ]
}

fn read(bytes: &[u8]) -> Result<Value, Error> {
    Reader::new(bytes).value()
}

fn written(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    Writer(&mut out).value(value);
    out
}

#[test]
fn what_is_read_is_written_back() {
    for (name, bytes, value) in cases() {
        let mut reader = Reader::new(bytes);
        assert_eq!(reader.value().as_ref(), Ok(&value), "{name}");
        assert!(reader.is_empty(), "{name}");
        assert_eq!(written(&value), bytes, "{name}");
        assert_eq!(Reader::new(bytes).skip(), Ok(bytes), "{name}");
    }
}

#[test]
fn a_cut_value_is_incomplete_or_an_object_without_its_end() {
    for (name, bytes, value) in cases() {
        for len in 0..bytes.len() {
            let cut = &bytes[..len];
            let skipped = Reader::new(cut).skip();
            match read(cut) {
                Err(error) => {
                    assert_eq!(error, Error::Incomplete, "{name} {len}");
                    assert_eq!(skipped, Err(error), "{name} {len}");
                }
                Ok(shorter) => {
                    assert!(value.as_object().is_some(), "{name} {len}");
                    assert!(shorter.as_object().is_some(), "{name} {len}");
                    assert_eq!(skipped, Ok(cut), "{name} {len}");
                }
            }
        }
    }
}

#[test]
fn changed_bytes_never_panic() {
    let mut random = fastrand::Rng::with_seed(2);
    for (_, bytes, _) in cases() {
        for _ in 0..2000 {
            let mut changed = bytes.to_vec();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..changed.len());
                changed[at] = random.u8(..);
            }
            if let Ok(value) = read(&changed) {
                written(&value);
            }
            let _ = Reader::new(&changed).skip();
            let _ = Reader::new(&changed).string();
            let _ = Reader::new(&changed).number();
        }
    }
}

#[test]
fn types_that_nobody_sends_are_refused_by_their_marker() {
    for marker in [0x04, 0x07, 0x09, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x20, 0x3f, 0xff] {
        assert_eq!(read(&[marker, 0, 0, 0]), Err(Error::Marker(marker)));
        assert_eq!(Reader::new(&[marker]).skip(), Err(Error::Marker(marker)));
        assert_eq!(Error::Marker(marker).code(), 2004);
    }
}

#[test]
fn a_long_string_is_read_and_written() {
    assert_eq!(read(b"\x0c\0\0\0\x02ab"), Ok("ab".into()));
    assert_eq!(read(b"\x0c\xff\xff\xff\xffab"), Err(Error::Incomplete));
    let long = Value::String("x".repeat(70_000));
    assert_eq!(read(&written(&long)), Ok(long));
}

#[test]
fn a_string_longer_than_the_message_is_incomplete() {
    assert_eq!(read(b"\x02\xff\xffab"), Err(Error::Incomplete));
    assert_eq!(read(b"\x03\xff\xffab"), Err(Error::Incomplete));
}

#[test]
fn nesting_ends_at_its_bound() {
    for start in [b"\x03\0\x01a".as_slice(), b"\x0a\0\0\0\x01", b"\x08\0\0\0\0\0\x01a"] {
        let deep = |levels: usize| {
            let mut bytes = start.repeat(levels);
            bytes.push(NULL);
            bytes
        };
        assert!(read(&deep(limits::AMF_DEPTH)).is_ok());
        assert!(Reader::new(&deep(limits::AMF_DEPTH)).skip().is_ok());
        for levels in [limits::AMF_DEPTH + 1, 10_000] {
            assert_eq!(read(&deep(levels)), Err(Error::TooDeep));
            assert_eq!(Reader::new(&deep(levels)).skip(), Err(Error::TooDeep));
        }
    }
}

#[test]
fn the_number_of_values_ends_at_its_bound() {
    let mut bytes = b"\x0a\x7f\xff\xff\xff".to_vec();
    bytes.resize(100_000, NULL);
    assert_eq!(read(&bytes), Err(Error::TooMany));
    let mut reader = Reader::new(&bytes[5..]);
    let read = (0..).take_while(|_| reader.value().is_ok()).count();
    assert_eq!(read, limits::AMF_VALUES);
}

#[test]
fn setting_a_key_again_moves_it_to_the_end() {
    let mut object = Object::from_iter([("a", 1.0), ("b", 2.0)]);
    object.set("a", 3.0);
    let keys: Vec<_> = object.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["b", "a"]);
    assert_eq!(object.number("a"), Some(3.0));
    assert_eq!(object.remove("b"), Some(Value::Number(2.0)));
    assert_eq!(object.remove("b"), None);
    assert_eq!(
        read(b"\x03\0\x01a\x05\0\x01b\x05\0\x01a\x06\0\0\x09").map(|v| written(&v)).unwrap(),
        b"\x03\0\x01b\x05\0\x01a\x06\0\0\x09"
    );
}

#[test]
fn a_value_of_another_type_counts_as_absent() {
    let object = Object::from_iter([("n", Value::Number(1.0)), ("s", "x".into())]);
    assert_eq!(object.str("n"), None);
    assert_eq!(object.number("s"), None);
    assert_eq!(object.object("s"), None);
    assert_eq!(object.value("none"), None);
    let mut reader = Reader::new(b"\x05\x02\0\x01a\x03\0\0\x09\x02\0\x01b");
    assert_eq!(reader.string(), Ok(None));
    assert_eq!(reader.number(), Ok(None));
    assert_eq!(reader.number(), Ok(None));
    assert_eq!(reader.string(), Ok(Some("b".into())));
    assert_eq!(reader.string(), Ok(None));
    assert_eq!(reader.number(), Ok(None));
}
