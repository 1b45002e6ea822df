//! The client's end of a connection: plays from or publishes to another server. Edges, forwards
//! and tests use it.

use std::fmt;

use super::{
    Cause, Error,
    chunk::Buffers,
    command::Style,
    control::{Control, Received, SET_BUFFER_LENGTH},
    handshake::{ClientHandshake, Form},
    message::{Aggregate, Content, Heap, Media},
    reply::RECONNECT,
};
use crate::{
    limits,
    media::{Kind, Packet},
    proto::{
        Machine,
        amf0::{Object, Reader, Value, Writer},
    },
};

/// A connection to a server.
///
/// `receive` is to be called until it returns `None`, also with empty input: one message can hold
/// several packets.
pub struct Client {
    control: Control,
    state: State,
    config: Box<Config>,
    media: Box<dyn Buffers>,
    aggregate: Option<Aggregate>,
    /// The message stream, as the server numbered it.
    stream: u32,
    /// The last transaction.
    transaction: u32,
}

/// What to connect to and what for.
#[derive(Clone, Debug)]
pub struct Config {
    /// The handshake to ask for.
    pub form: Form,
    /// Milliseconds from any start, told to the server in the handshake.
    pub time: u32,
    /// `rtmp://host[:port]/app[?param]`.
    pub tc_url: String,
    /// The app.
    pub app: String,
    /// The page of the player.
    pub page_url: String,
    /// The player.
    pub swf_url: String,
    /// The client's name.
    pub flash_ver: String,
    /// The argument after the properties of `connect`.
    pub args: Option<Object>,
    /// What to do once connected.
    pub role: Role,
    /// The chunk size of what the client sends; 0 to keep to 128 and say nothing.
    pub chunk_size: u32,
    /// Tells the server that this client connects again when it is asked to, by a status
    /// `NetConnection.Connect.ReconnectRequest` (Enhanced RTMP v2, `capsEx`).
    pub reconnects: bool,
}

impl Config {
    /// A simple handshake, no page, no arguments, chunks of 60000 bytes.
    pub fn new(tc_url: impl Into<String>, app: impl Into<String>, role: Role) -> Self {
        Self {
            form: Form::Simple,
            time: 0,
            tc_url: tc_url.into(),
            app: app.into(),
            page_url: String::new(),
            swf_url: String::new(),
            flash_ver: "WIN 15,0,0,239".into(),
            args: None,
            role,
            chunk_size: 60_000,
            reconnects: false,
        }
    }
}

/// What a connection is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// Play a stream.
    Play {
        /// Its name with parameters.
        stream: String,
        /// Where to start, −2 for live or else recorded.
        start: f64,
        /// The buffer told to the server, in milliseconds.
        buffer_ms: u32,
    },
    /// Publish a stream.
    Publish {
        /// Its name with parameters.
        stream: String,
        /// The sequence of commands.
        style: Style,
    },
}

/// What the server does.
#[derive(Debug)]
pub enum Event {
    /// The handshake is over.
    Handshake(Form),
    /// The server lets the client connect.
    Connected(Box<ServerInfo>),
    /// Play or publish has started: packets come, or may be sent.
    Started,
    /// A packet of the stream that is played.
    Packet(Packet),
    /// The server says something that does not end anything.
    Status(Box<Status>),
    /// The server refuses to connect, to play or to publish, or ends what it had allowed.
    Refused(Box<Status>),
}

/// What a server says of itself in the answer to connect; empty where it does not say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// `srs_sig`.
    pub signature: String,
    /// `srs_server`: name and version.
    pub server: String,
    /// `srs_primary`.
    pub primary: String,
    /// `srs_authors`.
    pub authors: String,
    /// `srs_version`.
    pub version: String,
    /// `srs_server_ip`.
    pub server_ip: String,
    /// `srs_pid`: its process.
    pub pid: Option<u32>,
    /// `srs_id`: its number for this connection.
    pub id: Option<u32>,
}

/// The information object of `onStatus` and of `_error`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// `status`, `warning` or `error`.
    pub level: String,
    /// Such as `NetStream.Play.Start`.
    pub code: String,
    /// Free text.
    pub description: String,
    /// Where to go instead: `ex.redirect` of a refusal, `tcUrl` of a request to reconnect.
    pub redirect: Option<String>,
}

impl Status {
    /// Whether the server asks the client to connect again (Enhanced RTMP v2).
    pub fn is_reconnect_request(&self) -> bool {
        self.code == "NetConnection.Connect.ReconnectRequest"
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.level, self.code, self.description)
    }
}

impl Client {
    /// Begins the handshake.
    pub fn new(config: Config) -> Self {
        let mut control = Control::new(limits::CLIENT_OUT_MAX + limits::CONTROL_OUT_MAX);
        let handshake = control
            .handshake(&mut &[][..], |_, out| ClientHandshake::new(config.form, config.time, out));
        Self {
            control,
            state: State::Handshake(Box::new(handshake)),
            config: Box::new(config),
            media: Box::new(Heap { media_max: limits::MESSAGE_MAX }),
            aggregate: None,
            stream: 0,
            transaction: 0,
        }
    }

    /// Puts the media that is played together in `media`; by default it comes from the allocator,
    /// each message bounded by [`limits::MESSAGE_MAX`].
    pub fn set_media(&mut self, media: Box<dyn Buffers>) {
        self.media = media;
    }

    /// Sends a packet. False: nothing is published (yet), or the server does not keep up and
    /// [`limits::CLIENT_OUT_MAX`] bytes are waiting.
    pub fn send_packet(&mut self, packet: &Packet) -> bool {
        let room = limits::CLIENT_OUT_MAX.saturating_sub(self.control.pending().len());
        if !matches!(self.state, State::Publishing) || packet.payload.len() > room {
            return false;
        }
        let csid = match packet.kind {
            Kind::Data => 4,
            Kind::Video => 6,
            Kind::Audio => 7,
        };
        let type_id = packet.kind.type_id();
        self.control.send(csid, type_id, self.stream, packet.dts, &packet.payload);
        true
    }

    /// Tells the server how much the player buffers.
    pub fn set_buffer_length(&mut self, ms: u32) {
        self.control.event(SET_BUFFER_LENGTH, &[self.stream, ms]);
    }

    /// Pauses (true) or goes on with playing.
    pub fn pause(&mut self, pause: bool) {
        if matches!(self.state, State::Playing) {
            self.control.command(self.stream, |w| {
                w.string("pause").number(0.0).null().boolean(pause).number(0.0);
            });
        }
    }

    /// Stops to play or, in the way of Flash, to publish; the connection stays.
    pub fn close_stream(&mut self) {
        if matches!(self.state, State::Playing | State::Publishing | State::Starting) {
            self.control.command(self.stream, |w| {
                w.string("closeStream").number(0.0).null();
            });
            self.state = State::Idle;
        }
    }

    /// Stops to publish in the way of an encoder; the connection stays.
    pub fn unpublish(&mut self) {
        let Role::Publish { stream, style } = &self.config.role else { return };
        if !matches!(self.state, State::Publishing | State::Starting) {
            return;
        }
        if *style != Style::Flash {
            self.transaction += 1;
            let transaction = self.transaction.into();
            self.control.command(0, |w| call(w, "FCUnpublish", transaction, stream));
        }
        self.transaction += 1;
        let (transaction, stream) = (self.transaction.into(), self.stream.into());
        self.control.command(0, |w| {
            w.string("deleteStream").number(transaction).null().number(stream);
        });
        self.state = State::Idle;
    }

    /// Plays or publishes something else on the same connection, after
    /// [`close_stream`](Self::close_stream), [`unpublish`](Self::unpublish) or a refusal. False:
    /// not now.
    pub fn start(&mut self, role: Role) -> bool {
        let idle = matches!(self.state, State::Idle);
        if idle {
            self.config.role = role;
            self.create_stream();
        }
        idle
    }

    /// Sends a command that has no part in play or publish, with `values` behind its transaction.
    /// Returns the transaction; its answer is not reported.
    pub fn call(&mut self, name: &str, values: &[Value]) -> u32 {
        self.transaction += 1;
        let transaction = self.transaction;
        self.control.command(0, |w| {
            w.string(name).number(transaction.into());
            for value in values {
                w.value(value);
            }
        });
        transaction
    }

    /// The message stream, as the server numbered it; 0 before it did.
    pub fn stream(&self) -> u32 {
        self.stream
    }

    /// The size that chunks to the server have.
    pub fn out_chunk_size(&self) -> usize {
        self.control.out_chunk_size()
    }

    /// Bytes received since the start.
    pub fn received(&self) -> u64 {
        self.control.received().1
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Cause> {
        loop {
            if let State::Handshake(handshake) = &mut self.state {
                let form = self.control.handshake(input, |i, out| handshake.receive(i, out))?;
                if form.is_some() {
                    self.connect();
                }
                return Ok(form.map(Event::Handshake));
            }
            if let Some(aggregate) = &mut self.aggregate {
                if let Some(packet) = aggregate.next()? {
                    return Ok(Some(Event::Packet(packet)));
                }
                self.aggregate = None;
            }
            let event = match self.control.receive(input, &mut Media(&mut *self.media))? {
                None => return Ok(None),
                Some(Received::Message(message)) => self.content(message.into())?,
                Some(_) => None,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    fn content(&mut self, content: Content) -> Result<Option<Event>, Cause> {
        let plays = matches!(self.config.role, Role::Play { .. })
            && matches!(self.state, State::Starting | State::Playing);
        match content {
            Content::Command(payload) => return self.command(&payload),
            Content::Packet(packet) if plays => return Ok(Some(Event::Packet(packet))),
            Content::Aggregate(aggregate) if plays => self.aggregate = Some(aggregate),
            _ => {}
        }
        Ok(None)
    }

    fn command(&mut self, payload: &[u8]) -> Result<Option<Event>, Cause> {
        let mut reader = Reader::new(payload);
        let name = reader.string()?.unwrap_or_default();
        let transaction = reader.number()?.unwrap_or_default();
        match &*name {
            "_result" => self.result(&mut reader, transaction),
            "_error" => {
                let asked = match self.state {
                    State::Connecting => Some((CONNECT, State::Closed)),
                    State::Creating(create) => Some((create, State::Idle)),
                    _ => None,
                };
                let Some((asked, next)) = asked else { return Ok(None) };
                if f64::from(asked) != transaction {
                    return Ok(None);
                }
                self.state = next;
                Ok(Some(Event::Refused(Box::new(status(&information(&mut reader)?)))))
            }
            "onStatus" => {
                let status = status(&information(&mut reader)?);
                Ok(Some(self.status(status)))
            }
            _ => {
                if transaction > 0.0 {
                    self.control.command(0, |w| {
                        w.string("_result").number(transaction).null().null();
                    });
                }
                Ok(None)
            }
        }
    }

    fn result(
        &mut self,
        reader: &mut Reader<'_>,
        transaction: f64,
    ) -> Result<Option<Event>, Cause> {
        match self.state {
            State::Connecting if transaction == f64::from(CONNECT) => {
                let information = information(reader)?;
                let info = server_info(information.object("data"));
                self.create_stream();
                Ok(Some(Event::Connected(Box::new(info))))
            }
            State::Creating(create) if transaction == f64::from(create) => {
                if !reader.is_empty() {
                    reader.skip()?;
                }
                self.stream = reader.number()?.map_or(1, |id| id as u32);
                self.start_stream();
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn status(&mut self, status: Status) -> Event {
        let started = match self.config.role {
            Role::Play { .. } if status.code == "NetStream.Play.Start" => Some(State::Playing),
            Role::Publish { .. } if status.code == "NetStream.Publish.Start" => {
                Some(State::Publishing)
            }
            _ => None,
        };
        match (&self.state, started) {
            (State::Starting, Some(state)) => {
                self.state = state;
                Event::Started
            }
            (State::Connecting, _) if status.level == "error" => {
                self.state = State::Closed;
                Event::Refused(Box::new(status))
            }
            _ if status.level == "error" => {
                self.state = State::Idle;
                Event::Refused(Box::new(status))
            }
            _ => Event::Status(Box::new(status)),
        }
    }

    fn connect(&mut self) {
        self.transaction = CONNECT;
        let config = &*self.config;
        self.control.command(0, |w| {
            w.string("connect").number(CONNECT.into()).object();
            w.key("app").string(&config.app).key("flashVer").string(&config.flash_ver);
            w.key("swfUrl").string(&config.swf_url).key("tcUrl").string(&config.tc_url);
            w.key("fpad").boolean(false).key("capabilities").number(239.0);
            w.key("audioCodecs").number(3575.0).key("videoCodecs").number(252.0);
            w.key("videoFunction").number(1.0).key("pageUrl").string(&config.page_url);
            if config.reconnects {
                w.key("capsEx").number(RECONNECT.into());
            }
            w.key("objectEncoding").number(0.0).end();
            if let Some(args) = &config.args {
                w.object().pairs(args).end();
            }
        });
        self.control.send_window(WINDOW);
        self.state = State::Connecting;
    }

    fn create_stream(&mut self) {
        let control = &mut self.control;
        let mut next = || {
            self.transaction += 1;
            self.transaction
        };
        if let Role::Publish { stream, style: Style::Fmle } = &self.config.role {
            control.command(0, |w| call(w, "releaseStream", next().into(), stream));
            control.command(0, |w| call(w, "FCPublish", next().into(), stream));
        }
        let create = next();
        control.command(0, |w| {
            w.string("createStream").number(create.into()).null();
        });
        if let Role::Publish { stream, style: Style::Haivision } = &self.config.role {
            control.command(0, |w| call(w, "FCPublish", next().into(), stream));
        }
        self.state = State::Creating(create);
    }

    fn start_stream(&mut self) {
        let control = &mut self.control;
        match &self.config.role {
            Role::Play { stream, start, buffer_ms } => {
                control.command(self.stream, |w| {
                    w.string("play").number(0.0).null().string(stream).number(*start);
                });
                control.event(SET_BUFFER_LENGTH, &[self.stream, *buffer_ms]);
                announce(control, self.config.chunk_size);
            }
            Role::Publish { stream, .. } => {
                announce(control, self.config.chunk_size);
                control.command(self.stream, |w| {
                    w.string("publish").number(0.0).null().string(stream).string("live");
                });
            }
        }
        self.state = State::Starting;
    }
}

impl Machine for Client {
    type Event = Event;
    type Error = Error;

    fn receive(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Error> {
        self.advance(input).map_err(|cause| Error { at: self.control.received().0, cause })
    }

    fn send_buf(&self) -> &[u8] {
        self.control.pending()
    }

    fn send_done(&mut self, n: usize) {
        self.control.sent(n);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, config, stream, .. } = self;
        f.debug_struct("Client")
            .field("state", state)
            .field("config", config)
            .field("stream", stream)
            .finish_non_exhaustive()
    }
}

/// How far the connection is.
#[derive(Debug)]
enum State {
    Handshake(Box<ClientHandshake>),
    Connecting,
    /// `createStream` of this transaction is on its way.
    Creating(u32),
    /// Play or publish is on its way.
    Starting,
    Playing,
    Publishing,
    /// Connected, without a stream.
    Idle,
    /// Not let in.
    Closed,
}

fn call(w: &mut Writer<'_>, name: &str, transaction: f64, stream: &str) {
    w.string(name).number(transaction).null().string(stream);
}

fn announce(control: &mut Control, chunk_size: u32) {
    if chunk_size > 0 {
        control.send_chunk_size(chunk_size);
    }
}

/// The second value behind the transaction. What is in front of it may be anything: some servers
/// send no object.
fn information(reader: &mut Reader<'_>) -> Result<Object, Cause> {
    if !reader.is_empty() {
        reader.skip()?;
    }
    if reader.is_empty() {
        return Ok(Object::new());
    }
    match reader.value()? {
        Value::Object(pairs) | Value::EcmaArray { pairs, .. } => Ok(pairs),
        _ => Ok(Object::new()),
    }
}

fn status(information: &Object) -> Status {
    let text = |key| information.str(key).unwrap_or_default().to_owned();
    Status {
        level: text("level"),
        code: text("code"),
        description: text("description"),
        redirect: information
            .object("ex")
            .and_then(|ex| ex.str("redirect"))
            .or_else(|| information.str("tcUrl"))
            .map(Into::into),
    }
}

fn server_info(data: Option<&Object>) -> ServerInfo {
    let text = |key| data.and_then(|data| data.str(key)).unwrap_or_default().to_owned();
    let number = |key| data.and_then(|data| data.number(key)).map(|number| number as u32);
    ServerInfo {
        signature: text("srs_sig"),
        server: text("srs_server"),
        primary: text("srs_primary"),
        authors: text("srs_authors"),
        version: text("srs_version"),
        server_ip: text("srs_server_ip"),
        pid: number("srs_pid"),
        id: number("srs_id"),
    }
}

/// The transaction of `connect`.
const CONNECT: u32 = 1;
/// Bytes after half of which the server is to acknowledge.
const WINDOW: u32 = 2_500_000;
