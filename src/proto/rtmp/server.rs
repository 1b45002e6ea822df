//! The server's end of a connection, from the handshake to play and publish.

use std::{cmp::Ordering, fmt};

mod calls;

pub use super::reply::ConnectReply;

use super::{
    Cause, Error,
    chunk::{Buffers, Message},
    command::{self, Command, Connect, Play, Publish, Style},
    control::{CONNECTION, Control, Received, STREAM_BEGIN, STREAM_EOF},
    handshake::{Form, ServerHandshake},
    message::{Aggregate, Calls, Content, Heap, Media},
    reply::{self, CLIENT_ID, DETAILS, STREAM},
};
use crate::{
    limits,
    media::Packet,
    proto::{Machine, amf0::Object},
};

/// A client, as the server sees it.
///
/// After [`Event::Connect`], [`Event::Publish`] and [`Event::Play`] it waits for its owner's answer
/// and takes no input. `receive` is to be called until it returns `None`, also with empty input:
/// one message can hold several packets.
#[derive(Debug)]
pub struct Server {
    control: Control,
    state: State,
    dropped: u32,
    /// It connects again when it is asked to.
    reconnects: bool,
    /// Said once a connection.
    noted_empty: bool,
    noted_unknown: bool,
}

/// What a client does.
#[derive(Debug)]
pub enum Event {
    /// The handshake is over.
    Handshake(Form),
    /// It connects to an app. Answer with [`Server::accept_connect`] or
    /// [`Server::refuse_connect`].
    Connect(Box<Connect>),
    /// It wants to publish. Answer with [`Server::accept_publish`] or [`Server::refuse`].
    Publish(Box<Publish>),
    /// It wants to play. Answer with [`Server::accept_play`] or [`Server::refuse`].
    Play(Box<Play>),
    /// It published a packet: audio, video, or `onMetaData` as the client sent it, with or without
    /// `@setDataFrame` in front. Payloads are never empty.
    Packet(Packet),
    /// It pauses (true) or goes on with playing; it knows already that this is done.
    Pause(bool),
    /// It stopped to play, and may play or publish again.
    CloseStream,
    /// It stopped to publish, and may publish or play again.
    Unpublish,
    /// It buffers so many milliseconds.
    BufferLength(u32),
    /// It called this, having been let in for that alone ([`Server::accept_calls`]).
    Called(String),
    /// Something for the log.
    Note(Note),
}

/// What is odd, and tolerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The client's chunks are of so many bytes, over 65536.
    LargeChunks(u32),
    /// A message without payload was dropped, the first of this client.
    Empty,
    /// A message of this type, which is not known, was dropped, the first of this client.
    Unknown(u8),
}

impl Note {
    /// Whether the peer should do otherwise; the rest is for those who look for something.
    pub const fn is_warning(self) -> bool {
        matches!(self, Self::LargeChunks(_))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LargeChunks(size) => write!(f, "client uses chunks of {size} bytes"),
            Self::Empty => f.write_str("ignore empty message"),
            Self::Unknown(type_id) => write!(f, "drop unknown message, type={type_id}"),
        }
    }
}

impl Server {
    /// Waits for the handshake. `time`, in milliseconds from any start, is what it tells the
    /// client.
    pub fn new(time: u32) -> Self {
        Self {
            control: Control::new(limits::CONTROL_OUT_MAX),
            state: State::Handshake(Box::new(ServerHandshake::new(time))),
            dropped: 0,
            reconnects: false,
            noted_empty: false,
            noted_unknown: false,
        }
    }

    /// Lets the client connect. Without effect unless a connect waits for its answer, like all
    /// answers below.
    pub fn accept_connect(&mut self, reply: &ConnectReply) {
        let State::Asked(asked) = &self.state else { return };
        let Asked::Connect { transaction, object_encoding, enhanced } = &**asked else { return };
        let control = &mut self.control;
        self.reconnects = reply::can_reconnect(enhanced);
        control.send_window(reply.window_ack);
        control.send_bandwidth(reply.peer_bandwidth);
        control.send_chunk_size(reply.chunk_size);
        let data = reply.data();
        control
            .command(0, |w| reply::connected(w, *transaction, *object_encoding, enhanced, &data));
        control.command(0, reply::on_bw_done);
        if reply.in_ack_size > 0 {
            control.set_window(reply.in_ack_size);
        }
        self.state = State::Idle(Idle::default());
    }

    /// Tells the client that it may not connect. All that it sends from here on is ignored.
    pub fn refuse_connect(&mut self, description: &str) {
        let State::Asked(asked) = &self.state else { return };
        let &Asked::Connect { transaction, .. } = &**asked else { return };
        self.control.command(0, |w| reply::rejected(w, transaction, description));
        self.state = State::Refused;
    }

    /// Lets the client publish. From here on its media is put together in `media`, which goes with
    /// the last packet; everything else stays bounded by [`limits::CONTROL_MAX`].
    pub fn accept_publish(&mut self, media: Box<dyn Buffers>) {
        let State::Asked(asked) = &self.state else { return };
        let &Asked::Publish(style) = &**asked else { return };
        if style != Style::Flash {
            self.control
                .command(STREAM, |w| reply::on_fc(w, "onFCPublish", PUBLISH_START, STARTED));
        }
        self.status("status", PUBLISH_START, STARTED, &[CLIENT_ID]);
        self.state = State::Publishing(Box::new(Publishing { style, media, aggregate: None }));
    }

    /// Lets the client play: media may follow at once.
    pub fn accept_play(&mut self) {
        if !self.asked(|asked| matches!(asked, Asked::Play)) {
            return;
        }
        let more = &[DETAILS, CLIENT_ID];
        self.control.event(STREAM_BEGIN, &[STREAM]);
        self.status("status", "NetStream.Play.Reset", "Playing and resetting stream.", more);
        self.status("status", "NetStream.Play.Start", "Started playing stream.", more);
        self.control.data(STREAM, reply::sample_access);
        self.control.data(STREAM, reply::data_start);
        self.state = State::Playing;
    }

    /// Tells the client that it may not publish or play, with a code such as
    /// `NetStream.Publish.BadName` or `NetStream.Play.StreamNotFound`. It may ask again, unless the
    /// owner closes.
    pub fn refuse(&mut self, code: &str, description: &str) {
        if self.asked(|asked| !matches!(asked, Asked::Connect { .. })) {
            self.status("error", code, description, &[CLIENT_ID]);
            self.state = State::Idle(Idle::default());
        }
    }

    /// Ends play or publish from this side and tells the client why, at `level` `status` or
    /// `error`. The memory given to [`accept_publish`](Self::accept_publish) goes.
    pub fn end(&mut self, level: &str, code: &str, description: &str) {
        if matches!(self.state, State::Playing | State::Publishing(_)) {
            self.status(level, code, description, &[CLIENT_ID]);
            self.state = State::Idle(Idle::default());
        }
    }

    /// Tells the client, wherever it is behind the handshake, why its connection ends. All that it
    /// sends from here on is ignored.
    pub fn fail(&mut self, description: &str) {
        match &self.state {
            State::Handshake(_) | State::Asked(_) | State::Refused => return,
            State::Connect => self.control.command(0, |w| reply::rejected(w, 1.0, description)),
            State::Idle(_) | State::Calling => self.control.command(0, |w| {
                reply::on_status(w, "error", "NetConnection.Connect.Closed", description, &[]);
            }),
            State::Playing => {
                self.status("error", "NetStream.Play.Failed", description, &[CLIENT_ID]);
            }
            State::Publishing(_) => {
                self.status("error", "NetStream.Publish.Failed", description, &[CLIENT_ID]);
            }
        }
        self.state = State::Refused;
    }

    /// Asks the client to connect again, to `tc_url` or where it is; it may go on until it has.
    /// Whether it said that it does so when asked (`capsEx`); else it is not asked.
    pub fn request_reconnect(&mut self, tc_url: Option<&str>, description: &str) -> bool {
        let connected = matches!(
            self.state,
            State::Idle(_) | State::Asked(_) | State::Playing | State::Publishing(_)
        );
        let asked = self.reconnects && connected;
        if asked {
            self.control.command(0, |w| reply::reconnect(w, tc_url, description));
        }
        asked
    }

    /// Tells a player something about its stream that changes nothing here, such as
    /// `NetStream.Play.UnpublishNotify`.
    pub fn notify(&mut self, code: &str, description: &str) {
        self.status("status", code, description, &[CLIENT_ID]);
    }

    /// The size that chunks to the client have.
    pub fn out_chunk_size(&self) -> usize {
        self.control.out_chunk_size()
    }

    /// The size that chunks of the client have.
    pub fn in_chunk_size(&self) -> usize {
        self.control.in_chunk_size()
    }

    /// Bytes after half of which we acknowledge, and after half of which the client is to; 0 for
    /// never.
    pub fn windows(&self) -> (u32, u32) {
        self.control.windows()
    }

    /// Bytes received since the start.
    pub fn received(&self) -> u64 {
        self.control.received().1
    }

    /// Data messages of a publisher that were no metadata and were dropped.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Where the client is, for the log.
    pub fn state(&self) -> &'static str {
        match &self.state {
            State::Handshake(_) => "handshake",
            State::Connect => "connect",
            State::Asked(_) => "deciding",
            State::Idle(_) => "idle",
            State::Calling => "calls",
            State::Playing => "play",
            State::Publishing(_) => "publish",
            State::Refused => "refused",
        }
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Cause> {
        loop {
            let received = match &mut self.state {
                State::Handshake(handshake) => {
                    let form = self.control.handshake(input, |i, out| handshake.receive(i, out))?;
                    if form.is_some() {
                        self.state = State::Connect;
                    }
                    return Ok(form.map(Event::Handshake));
                }
                State::Asked(_) => return Ok(None),
                State::Refused => {
                    *input = &[];
                    return Ok(None);
                }
                State::Publishing(publishing) => {
                    if let Some(packet) = publishing.next_of_aggregate()? {
                        return Ok(Some(Event::Packet(packet)));
                    }
                    self.control.receive(input, &mut Media(&mut *publishing.media))?
                }
                State::Connect | State::Idle(_) | State::Playing => {
                    self.control.receive(input, &mut Heap { media_max: limits::CONTROL_MAX })?
                }
                State::Calling => self.control.receive(input, &mut Calls)?,
            };
            let event = match received {
                None => return Ok(self.first_empty()),
                Some(Received::Message(message)) => self.message(message)?,
                Some(Received::LargeChunks(size)) => Some(Event::Note(Note::LargeChunks(size))),
                Some(Received::BufferLength(ms)) => Some(Event::BufferLength(ms)),
                Some(Received::Done) => None,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    fn first_empty(&mut self) -> Option<Event> {
        let first = self.control.had_empty() && !self.noted_empty;
        self.noted_empty |= first;
        first.then_some(Event::Note(Note::Empty))
    }

    fn message(&mut self, message: Message) -> Result<Option<Event>, Cause> {
        let type_id = message.type_id;
        let publishing = match &mut self.state {
            State::Publishing(publishing) => Some(publishing),
            _ => None,
        };
        match (Content::from(message), publishing) {
            (Content::Command(payload), _) => return self.command(&payload),
            (Content::Packet(packet), Some(_)) => return Ok(Some(Event::Packet(packet))),
            (Content::Aggregate(aggregate), Some(publishing)) => {
                publishing.aggregate = Some(aggregate);
            }
            (Content::OtherData, Some(_)) => self.dropped = self.dropped.saturating_add(1),
            (Content::Unknown, _) if !self.noted_unknown => {
                self.noted_unknown = true;
                return Ok(Some(Event::Note(Note::Unknown(type_id))));
            }
            _ => {}
        }
        Ok(None)
    }

    fn command(&mut self, payload: &[u8]) -> Result<Option<Event>, Cause> {
        if matches!(self.state, State::Calling) {
            let name = command::name(payload)?;
            return Ok(Some(Event::Called(name)));
        }
        let decoded = command::decode(payload);
        if let Err(error) = &decoded {
            self.misunderstood(payload, error);
        }
        let (command, transaction) = decoded?;
        let control = &mut self.control;
        Ok(match &mut self.state {
            State::Connect => {
                let Command::Connect(connect) = command else { return Ok(None) };
                let asked = Asked::Connect {
                    transaction: if transaction > 0.0 { transaction } else { 1.0 },
                    object_encoding: connect.object_encoding,
                    enhanced: connect.enhanced.clone(),
                };
                self.state = State::Asked(Box::new(asked));
                Some(Event::Connect(connect))
            }
            State::Idle(idle) => {
                idle.command(control, command, transaction).map(|(asked, event)| {
                    self.state = State::Asked(Box::new(asked));
                    event
                })
            }
            State::Playing => self.command_of_player(&command, transaction),
            State::Publishing(publishing) => {
                let style = publishing.style;
                self.command_of_publisher(style, &command, transaction)
            }
            State::Handshake(_) | State::Asked(_) | State::Calling | State::Refused => None,
        })
    }

    /// Answers a command that cannot be read. Who plays or publishes hears of it by status, when
    /// its owner ends the stream.
    fn misunderstood(&mut self, payload: &[u8], error: &command::Error) {
        let text = error.to_string();
        match &self.state {
            State::Connect => self.control.command(0, |w| reply::rejected(w, 1.0, &text)),
            State::Idle(_) => {
                let transaction = command::transaction(payload);
                self.control.command(0, |w| reply::failed(w, transaction, &text));
            }
            _ => return,
        }
        self.state = State::Refused;
    }

    /// Only pause and closeStream have an effect on a live stream. A seek or the deletion of the
    /// stream is answered and ignored: clients that mean it close the connection.
    fn command_of_player(&mut self, command: &Command, transaction: f64) -> Option<Event> {
        match command {
            Command::Pause(true) => {
                self.status("status", "NetStream.Pause.Notify", "Paused stream.", &[]);
                self.control.event(STREAM_EOF, &[STREAM]);
                Some(Event::Pause(true))
            }
            Command::Pause(false) => {
                self.status("status", "NetStream.Unpause.Notify", "Unpaused stream.", &[]);
                self.control.event(STREAM_BEGIN, &[STREAM]);
                Some(Event::Pause(false))
            }
            Command::CloseStream => {
                self.state = State::Idle(Idle::default());
                Some(Event::CloseStream)
            }
            command => {
                answer(&mut self.control, command, transaction);
                None
            }
        }
    }

    /// An encoder ends with FCUnpublish or by what follows it, Flash with whatever it says.
    fn command_of_publisher(
        &mut self,
        style: Style,
        command: &Command,
        transaction: f64,
    ) -> Option<Event> {
        let mut idle = Idle::default();
        match (style, command) {
            (_, Command::Answer) => return None,
            (Style::Fmle | Style::Haivision, Command::Fmle(_)) => {
                let control = &mut self.control;
                control.command(STREAM, |w| {
                    reply::on_fc(w, "onFCUnpublish", UNPUBLISH_SUCCESS, "Stop publishing stream.");
                });
                control.command_on(CONNECTION, STREAM, |w| reply::fmle(w, transaction));
                let description = "Stream is now unpublished";
                self.status("status", UNPUBLISH_SUCCESS, description, &[CLIENT_ID]);
            }
            (_, Command::CloseStream | Command::DeleteStream) | (Style::Flash, _) => {
                answer(&mut self.control, command, transaction);
                idle.created = matches!(command, Command::CreateStream);
            }
            _ => {
                answer(&mut self.control, command, transaction);
                return None;
            }
        }
        self.state = State::Idle(idle);
        Some(Event::Unpublish)
    }

    fn status(&mut self, level: &str, code: &str, description: &str, more: &[(&str, &str)]) {
        self.control.command(STREAM, |w| reply::on_status(w, level, code, description, more));
    }

    fn asked(&self, expected: impl Fn(&Asked) -> bool) -> bool {
        matches!(&self.state, State::Asked(asked) if expected(asked))
    }
}

impl Machine for Server {
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

    fn leave(&mut self) -> bool {
        self.request_reconnect(None, "The server leaves.");
        matches!(self.state, State::Handshake(_) | State::Connect)
    }
}

/// Where a client is. What only exists in one state lives there.
#[derive(Debug)]
enum State {
    Handshake(Box<ServerHandshake>),
    /// Everything before `connect` is skipped.
    Connect,
    /// The owner is to decide.
    Asked(Box<Asked>),
    /// Connected: neither playing nor publishing.
    Idle(Idle),
    /// Connected for calls of its own, in the place of streams.
    Calling,
    Playing,
    Publishing(Box<Publishing>),
    /// Not let in.
    Refused,
}

/// What waits for an answer of the owner.
#[derive(Debug)]
enum Asked {
    Connect { transaction: f64, object_encoding: f64, enhanced: Object },
    Publish(Style),
    Play,
}

struct Publishing {
    style: Style,
    media: Box<dyn Buffers>,
    /// The aggregate that is being given out.
    aggregate: Option<Aggregate>,
}

impl Publishing {
    fn next_of_aggregate(&mut self) -> Result<Option<Packet>, Cause> {
        let Some(aggregate) = &mut self.aggregate else { return Ok(None) };
        let packet = aggregate.next()?;
        if packet.is_none() {
            self.aggregate = None;
        }
        Ok(packet)
    }
}

impl fmt::Debug for Publishing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publishing").field("style", &self.style).finish_non_exhaustive()
    }
}

/// What a client said on its way to publish or play, which tells the styles apart.
#[derive(Debug, Default)]
struct Idle {
    created: bool,
    style: Option<Style>,
    /// The name that came with `releaseStream` or `FCPublish`, for encoders that publish without.
    name: String,
}

impl Idle {
    fn command(
        &mut self,
        control: &mut Control,
        command: Command,
        transaction: f64,
    ) -> Option<(Asked, Event)> {
        match command {
            Command::CreateStream => {
                self.created = true;
                answer(control, &command, transaction);
            }
            Command::Fmle(name) => {
                let first = if self.created { Style::Haivision } else { Style::Fmle };
                self.style.get_or_insert(first);
                self.name = name;
                control.command(0, |w| reply::fmle(w, transaction));
            }
            Command::Publish(name) => {
                let name = if name.is_empty() { std::mem::take(&mut self.name) } else { name };
                let style = self.style.unwrap_or(Style::Flash);
                let publish = Publish { name, style };
                return Some((Asked::Publish(style), Event::Publish(Box::new(publish))));
            }
            Command::Play(play) => return Some((Asked::Play, Event::Play(play))),
            // Before it said what it came for, a client gets an answer to every call.
            Command::Call if !self.created && self.style.is_none() => {
                control.command(0, |w| reply::nothing(w, transaction));
            }
            command => answer(control, &command, transaction),
        }
        None
    }
}

/// Answers a command that has no effect where the client is.
fn answer(control: &mut Control, command: &Command, transaction: f64) {
    match command {
        Command::Answer | Command::Connect(_) => {}
        Command::CreateStream => control.command(0, |w| reply::stream_created(w, transaction)),
        // Not above 0, or no number at all.
        _ if transaction.partial_cmp(&0.0) != Some(Ordering::Greater) => {}
        Command::Fmle(_) => control.command(0, |w| reply::fmle(w, transaction)),
        _ => control.command(0, |w| reply::nothing(w, transaction)),
    }
}

const PUBLISH_START: &str = "NetStream.Publish.Start";
const STARTED: &str = "Started publishing stream.";
const UNPUBLISH_SUCCESS: &str = "NetStream.Unpublish.Success";

/// There may be 10,000 of them.
const _: () = assert!(size_of::<Server>() <= 256);

#[cfg(test)]
mod tests;
