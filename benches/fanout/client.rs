//! The client's side of the handshake and the commands of an RTMP session, as bytes.

use crate::wire::{Amf, COMMAND, Envelope, SET_CHUNK_SIZE, put_amf, put_message};

/// The application that all streams are in.
const APP: &str = "live";
/// The message stream that servers give first.
const STREAM: u32 = 1;
/// What encoders commonly use.
pub(crate) const PUBLISHER_CHUNK: usize = 4096;
/// S0, S1 and S2.
pub(crate) const SERVER_HANDSHAKE: usize = 1 + 2 * 1536;

/// C0 and C1 of the simple handshake.
pub(crate) fn hello() -> Vec<u8> {
    let mut out = vec![3, 0, 0, 0, 0, 0, 0, 0, 0];
    out.resize(1 + 1536, 0x5A);
    out
}

/// C2, whose contents no server looks at, and `connect`.
pub(crate) fn connect(port: u16) -> Vec<u8> {
    let mut out = vec![0x5A; 1536];
    let url = format!("rtmp://127.0.0.1:{port}/{APP}");
    let about = [
        ("app", Amf::Text(APP)),
        ("type", Amf::Text("nonprivate")),
        ("flashVer", Amf::Text("FMLE/3.0 (compatible; fanout)")),
        ("tcUrl", Amf::Text(&url)),
    ];
    command(&mut out, 0, &[Amf::Text("connect"), Amf::Number(1.0), Amf::Object(&about)]);
    out
}

/// What a player sends once it is connected.
pub(crate) fn create_stream() -> Vec<u8> {
    let mut out = Vec::new();
    command(&mut out, 0, &[Amf::Text("createStream"), Amf::Number(2.0), Amf::Null]);
    out
}

/// What a player sends once it has its stream.
pub(crate) fn play(stream: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let name = Amf::Text(stream);
    command(&mut out, STREAM, &[Amf::Text("play"), Amf::Number(3.0), Amf::Null, name]);
    out
}

/// What a publisher sends once it is connected.
pub(crate) fn announce(stream: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let to = Envelope { chunk_stream: 2, kind: SET_CHUNK_SIZE, message_stream: 0, time_ms: 0 };
    put_message(&mut out, to, &(PUBLISHER_CHUNK as u32).to_be_bytes(), 128);
    for (number, name) in [(3.0, "releaseStream"), (4.0, "FCPublish")] {
        let values = [Amf::Text(name), Amf::Number(number), Amf::Null, Amf::Text(stream)];
        command(&mut out, 0, &values);
    }
    command(&mut out, 0, &[Amf::Text("createStream"), Amf::Number(2.0), Amf::Null]);
    out
}

/// What a publisher sends once it has its stream.
pub(crate) fn publish(stream: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let (name, live) = (Amf::Text(stream), Amf::Text("live"));
    let values = [Amf::Text("publish"), Amf::Number(5.0), Amf::Null, name, live];
    command(&mut out, STREAM, &values);
    out
}

/// A media message as a publisher sends it.
pub(crate) fn put_media(out: &mut Vec<u8>, kind: u8, time_ms: u32, payload: &[u8]) {
    let to = Envelope { chunk_stream: 6, kind, message_stream: STREAM, time_ms };
    put_message(out, to, payload, PUBLISHER_CHUNK);
}

/// Which request a `_result` answers, by the first bytes of a command. `Err` for `_error`.
pub(crate) fn answered(prefix: &[u8]) -> Result<Option<u32>, String> {
    if prefix.starts_with(b"\x02\x00\x06_error") {
        return Err("the server answered _error".into());
    }
    let number = prefix.strip_prefix(b"\x02\x00\x07_result\x00");
    let number = number.and_then(|rest| rest.first_chunk::<8>());
    Ok(number.map(|bytes| f64::from_be_bytes(*bytes) as u32))
}

/// The numbers of the requests that are waited for.
pub(crate) const CONNECT: u32 = 1;
pub(crate) const CREATE_STREAM: u32 = 2;

fn command(out: &mut Vec<u8>, message_stream: u32, values: &[Amf<'_>]) {
    let mut payload = Vec::new();
    put_amf(&mut payload, values);
    // Publishers have set 4096 before their second command, and no command here is over 128 bytes
    // but `connect`, which comes before it.
    let to = Envelope { chunk_stream: 3, kind: COMMAND, message_stream, time_ms: 0 };
    put_message(out, to, &payload, 128);
}
