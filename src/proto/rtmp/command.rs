//! Commands of a client (RTMP 1.0 §7.2): what they ask for, field by field.

use std::fmt;

use crate::{
    limits,
    proto::amf0::{self, Object, Reader, Value},
};

/// A command message.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `connect`.
    Connect(Box<Connect>),
    /// `createStream`.
    CreateStream,
    /// `play`.
    Play(Box<Play>),
    /// `publish` with its name, empty when it has none: that is how Flash stops to publish.
    Publish(String),
    /// `releaseStream`, `FCPublish` and `FCUnpublish` with their stream name: encoders in the way
    /// of the Flash Media Live Encoder send them around `createStream` and `publish`.
    Fmle(String),
    /// `pause`, true to pause and false to go on.
    Pause(bool),
    /// `closeStream`.
    CloseStream,
    /// `deleteStream`.
    DeleteStream,
    /// An answer to a call (`_result`, `_error`, `onStatus`): the server calls nothing.
    Answer,
    /// Any other name: a call that wants an answer when its transaction is above 0.
    Call,
}

/// `connect`: what a client says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connect {
    /// Where the client believes to connect to: `rtmp://host[:port]/app[?param]`. Never empty.
    pub tc_url: String,
    /// The app by itself; the address is taken from `tc_url`.
    pub app: String,
    /// The page that the player is on, for refer checks.
    pub page_url: String,
    /// The player.
    pub swf_url: String,
    /// The client's name.
    pub flash_ver: String,
    /// 0 for AMF0 (the default), 3 for AMF3; sent back as it is.
    pub object_encoding: f64,
    /// The transaction, which should be 1; the answer carries it.
    pub transaction: f64,
    /// The argument after the properties: `srs_*` of an edge, or what a player's page adds.
    pub args: Option<Object>,
    /// There was an argument, and it was no object.
    pub args_dropped: bool,
    /// `fourCcList`, `videoFourCcInfoMap`, `audioFourCcInfoMap` and `capsEx` as sent (Enhanced
    /// RTMP v2, Enhancing NetConnection connect Command); empty for most clients.
    pub enhanced: Object,
}

/// `play`: which stream, from where.
#[derive(Clone, Debug, PartialEq)]
pub struct Play {
    /// The stream with its parameters, as sent; empty when it has none.
    pub name: String,
    /// −2 by default; live streams have no other start.
    pub start: f64,
    /// Milliseconds of stream time to play, −1 (the default) for all.
    pub duration: f64,
    /// Whether a playlist is dropped first.
    pub reset: bool,
}

/// `publish`: which stream, in whose way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The stream with its parameters, as sent; empty when it has none.
    pub name: String,
    /// Which sequence of commands the client goes through.
    pub style: Style,
}

/// The sequences of commands in which clients publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// releaseStream, FCPublish, createStream, publish: FFmpeg, OBS, FMLE.
    Fmle,
    /// createStream, publish: Flash, and servers.
    Flash,
    /// createStream, FCPublish, publish: encoders of Haivision.
    Haivision,
}

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fmle => "fmle-publish",
            Self::Flash => "flash-publish",
            Self::Haivision => "haivision-publish",
        })
    }
}

/// Reads the command in `payload` and its transaction. Arguments of another type than expected
/// count as absent; those that no part of the server uses are not even read.
pub fn decode(payload: &[u8]) -> Result<(Command, f64), Error> {
    let mut reader = Reader::new(payload);
    let name = reader.string()?.unwrap_or_default();
    let transaction = reader.number()?.unwrap_or_default();
    let command = match &*name {
        "connect" => Command::Connect(Box::new(connect(&mut reader, transaction)?)),
        "createStream" => Command::CreateStream,
        "play" => Command::Play(Box::new(play(&mut reader)?)),
        "publish" => Command::Publish(stream_name(&mut reader)?),
        "releaseStream" | "FCPublish" | "FCUnpublish" => Command::Fmle(stream_name(&mut reader)?),
        "pause" => Command::Pause(pause(&mut reader)?),
        "closeStream" => Command::CloseStream,
        "deleteStream" => Command::DeleteStream,
        "_result" | "_error" | "onStatus" => Command::Answer,
        _ => Command::Call,
    };
    Ok((command, transaction))
}

/// The name of the command in `payload`, whatever follows it.
pub fn name(payload: &[u8]) -> Result<String, Error> {
    Ok(Reader::new(payload).string()?.unwrap_or_default().into_owned())
}

/// The transaction of a command that cannot be read to its end, 0 if not even that can be read.
pub fn transaction(payload: &[u8]) -> f64 {
    let mut reader = Reader::new(payload);
    let name = reader.string();
    name.and_then(|_| reader.number()).ok().flatten().unwrap_or_default()
}

/// What is wrong with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read.
    Amf0(amf0::Error),
    /// `connect` without tcUrl.
    NoTcUrl,
    /// This URL is longer than [`limits::URL_MAX`].
    UrlTooLong(&'static str),
}

impl Error {
    /// The number in logs and in the API.
    pub const fn code(self) -> u16 {
        match self {
            Self::Amf0(error) => error.code(),
            Self::NoTcUrl | Self::UrlTooLong(_) => 2005,
        }
    }
}

impl From<amf0::Error> for Error {
    fn from(error: amf0::Error) -> Self {
        Self::Amf0(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amf0(error) => error.fmt(f),
            Self::NoTcUrl => write!(f, "connect without tcUrl"),
            Self::UrlTooLong(which) => {
                write!(f, "{which} is longer than {} bytes", limits::URL_MAX)
            }
        }
    }
}

impl std::error::Error for Error {}

fn connect(reader: &mut Reader<'_>, transaction: f64) -> Result<Connect, Error> {
    let mut properties = match reader.value()? {
        Value::Object(pairs) | Value::EcmaArray { pairs, .. } => pairs,
        _ => Object::new(),
    };
    let at_end = reader.is_empty();
    // An argument that cannot be read is dropped like one of another type: it asks for nothing.
    let (args, args_dropped) = match reader.value() {
        Ok(Value::Object(args)) => (Some(args), false),
        Ok(Value::Null | Value::Undefined) => (None, false),
        _ => (None, !at_end),
    };
    let mut enhanced = Object::new();
    for key in ENHANCED {
        if let Some(value) = properties.remove(key) {
            enhanced.set(key, value);
        }
    }
    let mut text = |key| match properties.remove(key) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let connect = Connect {
        tc_url: text("tcUrl"),
        app: text("app"),
        page_url: text("pageUrl"),
        swf_url: text("swfUrl"),
        flash_ver: text("flashVer"),
        object_encoding: properties.number("objectEncoding").unwrap_or_default(),
        transaction,
        args,
        args_dropped,
        enhanced,
    };
    let urls =
        [("tcUrl", &connect.tc_url), ("pageUrl", &connect.page_url), ("swfUrl", &connect.swf_url)];
    if let Some((which, _)) = urls.into_iter().find(|(_, url)| url.len() > limits::URL_MAX) {
        return Err(Error::UrlTooLong(which));
    }
    if connect.tc_url.is_empty() { Err(Error::NoTcUrl) } else { Ok(connect) }
}

fn play(reader: &mut Reader<'_>) -> Result<Play, Error> {
    let name = stream_name(reader)?;
    let start = reader.number()?.unwrap_or(-2.0);
    let duration = reader.number()?.unwrap_or(-1.0);
    let reset = truth(reader)?.unwrap_or(true);
    Ok(Play { name, start, duration, reset })
}

fn pause(reader: &mut Reader<'_>) -> Result<bool, Error> {
    command_object(reader)?;
    Ok(truth(reader)?.unwrap_or(true))
}

fn stream_name(reader: &mut Reader<'_>) -> Result<String, Error> {
    command_object(reader)?;
    Ok(reader.string()?.unwrap_or_default().into_owned())
}

/// The value after the transaction, null in all these commands.
fn command_object(reader: &mut Reader<'_>) -> Result<(), Error> {
    if !reader.is_empty() {
        reader.skip()?;
    }
    Ok(())
}

/// Clients send truth values as numbers too.
fn truth(reader: &mut Reader<'_>) -> Result<Option<bool>, Error> {
    if reader.is_empty() {
        return Ok(None);
    }
    Ok(match reader.value()? {
        Value::Boolean(truth) => Some(truth),
        Value::Number(number) => Some(number != 0.0),
        _ => None,
    })
}

pub(super) const ENHANCED: [&str; 4] =
    ["fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap", "capsEx"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::amf0::Writer;

    fn message(name: &str, transaction: f64, values: &[Value]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer(&mut out);
        writer.string(name).number(transaction);
        for value in values {
            writer.value(value);
        }
        out
    }

    fn properties(tc_url: &str) -> Value {
        Object::from_iter([
            ("app", "live".into()),
            ("tcUrl", tc_url.into()),
            ("pageUrl", Value::Null),
            ("swfUrl", Value::Number(1.0)),
            ("flashVer", "LNX 9,0".into()),
            ("objectEncoding", Value::Number(3.0)),
            ("fourCcList", Value::StrictArray(vec!["hvc1".into()])),
        ])
        .into()
    }

    fn cases() -> Vec<(Vec<u8>, Command)> {
        let play = |start, duration, reset| {
            Command::Play(Box::new(Play { name: "s?a=1".into(), start, duration, reset }))
        };
        let name = || Value::from("s?a=1");
        vec![
            (message("createStream", 2.0, &[Value::Null]), Command::CreateStream),
            (message("createStream", 2.0, &[]), Command::CreateStream),
            (message("play", 2.0, &[Value::Null, name()]), play(-2.0, -1.0, true)),
            (
                message("play", 2.0, &[Value::Null, name(), 0.0.into(), 5.0.into(), false.into()]),
                play(0.0, 5.0, false),
            ),
            (
                message("play", 2.0, &[Value::Null, name(), "x".into(), "y".into(), 0.0.into()]),
                play(-2.0, -1.0, false),
            ),
            (
                message("publish", 2.0, &[Value::Null, name(), "live".into()]),
                Command::Publish("s?a=1".into()),
            ),
            (message("publish", 2.0, &[Value::Null, false.into()]), Command::Publish("".into())),
            (message("releaseStream", 2.0, &[Value::Null, name()]), Command::Fmle("s?a=1".into())),
            (message("FCPublish", 2.0, &[Value::Null, name()]), Command::Fmle("s?a=1".into())),
            (message("FCUnpublish", 2.0, &[Value::Null]), Command::Fmle("".into())),
            (message("pause", 2.0, &[Value::Null, true.into(), 5.0.into()]), Command::Pause(true)),
            (message("pause", 2.0, &[Value::Null, false.into()]), Command::Pause(false)),
            (message("closeStream", 2.0, &[Value::Null]), Command::CloseStream),
            (message("deleteStream", 2.0, &[Value::Null, 1.0.into()]), Command::DeleteStream),
            (message("_checkbw", 2.0, &[Value::Null]), Command::Call),
            (message("_result", 2.0, &[]), Command::Answer),
        ]
    }

    #[test]
    fn commands_are_told_apart() {
        for (payload, command) in cases() {
            assert_eq!(decode(&payload), Ok((command, 2.0)));
        }
    }

    #[test]
    fn connect_says_who_the_client_is() {
        let args = Object::from_iter([("token", "x")]);
        let payload = message("connect", 1.0, &[properties("rtmp://h/live"), args.clone().into()]);
        let expected = Connect {
            tc_url: "rtmp://h/live".into(),
            app: "live".into(),
            flash_ver: "LNX 9,0".into(),
            object_encoding: 3.0,
            transaction: 1.0,
            args: Some(args),
            enhanced: Object::from_iter([("fourCcList", Value::StrictArray(vec!["hvc1".into()]))]),
            ..Connect::default()
        };
        assert_eq!(decode(&payload), Ok((Command::Connect(Box::new(expected)), 1.0)));
    }

    #[test]
    fn an_argument_of_connect_that_is_no_object_is_dropped() {
        for (tail, dropped) in [
            (&b""[..], false),
            (b"\x05", false),
            (b"\x02\0\x01a", true),
            (b"\x02\0\x05a", true),
            (b"\x10", true),
        ] {
            let mut payload = message("connect", 1.0, &[properties("rtmp://h/live")]);
            payload.extend(tail);
            let Ok((Command::Connect(connect), _)) = decode(&payload) else { panic!() };
            assert_eq!((connect.args, connect.args_dropped), (None, dropped), "{tail:?}");
        }
    }

    #[test]
    fn connect_without_a_usable_tc_url_is_refused() {
        let decode = |values: &[Value]| decode(&message("connect", 1.0, values)).map(drop);
        assert_eq!(decode(&[Object::new().into()]), Err(Error::NoTcUrl));
        assert_eq!(decode(&[Value::Null]), Err(Error::NoTcUrl));
        assert_eq!(decode(&[]), Err(Error::Amf0(amf0::Error::Incomplete)));
        let number = Object::from_iter([("tcUrl", 1.0)]);
        assert_eq!(decode(&[number.into()]), Err(Error::NoTcUrl));
        assert_eq!(Error::NoTcUrl.code(), 2005);
        let long = properties(&"x".repeat(limits::URL_MAX + 1));
        assert_eq!(decode(&[long]), Err(Error::UrlTooLong("tcUrl")));
    }

    #[test]
    fn cut_or_changed_commands_never_panic() {
        let mut random = fastrand::Rng::with_seed(5);
        let connect = message("connect", 1.0, &[properties("rtmp://h/live"), properties("a")]);
        for payload in cases().into_iter().map(|(payload, _)| payload).chain([connect]) {
            for len in 0..payload.len() {
                let _ = decode(&payload[..len]);
            }
            for _ in 0..1000 {
                let mut changed = payload.clone();
                let at = random.usize(..changed.len());
                changed[at] = random.u8(..);
                let _ = decode(&changed);
            }
        }
    }
}
