//! The client's side, for cameras that are pulled: OPTIONS, DESCRIBE, SETUP of each track, PLAY
//! (RFC 2326 §10).

use super::Error;
use super::auth::Challenge;
use super::message::{Item, Method, Parser, Request, Response, write_frame};
use super::sdp::Session;
use super::transport::{Lower, Transport};
use super::url::Url;
use crate::limits::CONTROL_OUT_MAX;
use crate::proto::Machine;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;

/// A server that does not say after how many seconds a session ends means so many (§12.37).
const SESSION_TIMEOUT: u32 = 60;

/// What to pull.
#[derive(Clone, Debug)]
pub struct Config {
    /// The camera and its stream. Credentials in it are used when they are asked for.
    pub url: Url,
    /// The name of the client.
    pub name: String,
    /// A text for digests that the server cannot foretell; letters and digits.
    pub own: String,
}

/// How to receive a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its number in [`Session::tracks`].
    pub track: usize,
    /// The ports for RTP and RTCP over UDP, or over TCP with `None`.
    pub ports: Option<(u16, u16)>,
}

/// What the server does.
#[derive(Debug)]
pub enum Event {
    /// It says what there is. It goes on with [`Client::setup`].
    Described(Box<Session>),
    /// It sends a track in this way.
    SetUp(usize, Box<Transport>),
    /// It begins. Packets may have come before.
    Playing,
    /// A packet of a track over TCP.
    Packet {
        /// Which one, a number in [`Session::tracks`].
        track: usize,
        /// It is RTCP, else RTP.
        rtcp: bool,
        /// The packet.
        packet: Bytes,
    },
    /// The stream is somewhere else. The connection is of no more use.
    Redirect(String),
    /// The session is over, on the server's wish or ours.
    Ended,
}

/// A connection as its client sees it.
#[derive(Debug)]
pub struct Client {
    config: Config,
    parser: Parser,
    out: Vec<u8>,
    sent: usize,
    state: State,
    cseq: u32,
    /// The request that is not answered yet.
    asked: Option<Asked>,
    /// The challenge that is met, and how often it was.
    challenge: Option<(Challenge, u32)>,
    session: Option<String>,
    timeout: u32,
    /// The server knows GET_PARAMETER.
    parameters: bool,
    /// What controls are relative to.
    base: String,
    described: Session,
    choices: VecDeque<(Choice, Transport)>,
    /// Track, channels.
    channels: Vec<(usize, (u8, u8))>,
    strays: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    /// Described, or not yet.
    Choosing,
    SettingUp,
    Playing,
    Over,
}

#[derive(Debug)]
struct Asked {
    /// Without what is added when it is sent.
    request: Request,
    cseq: u32,
    /// How often it was refused for want of credentials.
    tried: u8,
}

impl Client {
    /// Begins.
    pub fn new(config: Config) -> Self {
        let base = config.url.request_uri();
        let mut client = Self {
            config,
            parser: Parser::default(),
            out: Vec::new(),
            sent: 0,
            state: State::Starting,
            cseq: 0,
            asked: None,
            challenge: None,
            session: None,
            timeout: SESSION_TIMEOUT,
            parameters: false,
            base,
            described: Session::default(),
            choices: VecDeque::new(),
            channels: Vec::new(),
            strays: 0,
        };
        client.ask(Request::new(Method::Options, client.base.clone()));
        client
    }

    /// Asks for tracks once they are described, and begins to play. False: not now, or none of
    /// `choices` is there.
    pub fn setup(&mut self, choices: &[Choice]) -> bool {
        if self.state != State::Choosing {
            return false;
        }
        let known = choices.iter().filter(|choice| choice.track < self.described.tracks.len());
        let ways = known.enumerate().map(|(at, choice)| {
            let transport = match choice.ports {
                Some(ports) => Transport::udp(ports, false),
                None => {
                    let rtp = u8::try_from(2 * at).unwrap_or(254) & 254;
                    Transport::tcp((rtp, rtp + 1), false)
                }
            };
            (*choice, transport)
        });
        self.choices = ways.collect();
        if self.choices.is_empty() {
            return false;
        }
        self.state = State::SettingUp;
        self.next_setup();
        true
    }

    /// The time between signs of life that the server wants: half its timeout. Counts from
    /// [`Event::Playing`].
    pub fn keep_alive_every(&self) -> Duration {
        Duration::from_secs((self.timeout / 2).max(1).into())
    }

    /// Sends a sign of life. False: the one before is not answered. If nothing else comes, either,
    /// the server is gone.
    pub fn keep_alive(&mut self) -> bool {
        if self.state != State::Playing {
            return true;
        }
        let answered = self.asked.take().is_none();
        // Who reads none gets no more.
        if self.pending() <= CONTROL_OUT_MAX {
            let method = if self.parameters { Method::GetParameter } else { Method::Options };
            self.ask(Request::new(method, self.described.url(&self.base)));
        }
        answered
    }

    /// Sends a packet of RTCP on the channel of a track. False: it has none, or the server does
    /// not read.
    pub fn send_report(&mut self, track: usize, packet: &[u8]) -> bool {
        let room = CONTROL_OUT_MAX.saturating_sub(self.pending());
        let found = self.channels.iter().find(|(of, _)| *of == track);
        let Some((_, (_, channel))) = found.filter(|_| packet.len() + 4 <= room) else {
            return false;
        };
        write_frame(*channel, packet, &mut self.out);
        true
    }

    /// Ends the session; [`Event::Ended`] follows if the server answers.
    pub fn teardown(&mut self) {
        if self.session.is_some() && self.state != State::Over {
            self.asked = None;
            self.ask(Request::new(Method::Teardown, self.described.url(&self.base)));
        }
    }

    /// Frames on channels that were not set up; they are dropped.
    pub const fn strays(&self) -> u32 {
        self.strays
    }

    /// How often bytes were skipped that are neither a message nor a frame.
    pub const fn resyncs(&self) -> u32 {
        self.parser.resyncs()
    }

    fn pending(&self) -> usize {
        self.out.len() - self.sent
    }

    fn ask(&mut self, request: Request) {
        self.send(request, 0);
    }

    fn send(&mut self, request: Request, tried: u8) {
        self.cseq = self.cseq.wrapping_add(1);
        let mut full = request.clone().with("CSeq", self.cseq.to_string());
        full.headers.push("User-Agent", self.config.name.as_str());
        if let Some(session) = &self.session {
            full.headers.push("Session", session.as_str());
        }
        if let (Some((challenge, count)), Some(credentials)) =
            (&mut self.challenge, &self.config.url.credentials)
        {
            *count = count.wrapping_add(1);
            let asked = (request.method.name(), request.uri.as_str());
            let line = challenge.answer(credentials, asked, *count, &self.config.own);
            full.headers.push("Authorization", line);
        }
        full.write(&mut self.out);
        self.asked = Some(Asked { request, cseq: self.cseq, tried });
    }

    fn item(&mut self, item: Item) -> Result<Option<Event>, Error> {
        match item {
            Item::Frame(channel, packet) => Ok(self.frame(channel, packet)),
            Item::Request(request) => self.request(&request),
            Item::Response(response) => self.response(response),
        }
    }

    fn frame(&mut self, channel: u8, packet: Bytes) -> Option<Event> {
        let found = self.channels.iter().find(|(_, (a, b))| channel == *a || channel == *b);
        let Some(&(track, (_, second))) = found else {
            self.strays = self.strays.wrapping_add(1);
            return None;
        };
        Some(Event::Packet { track, rtcp: channel == second, packet })
    }

    /// A server may ask too (§10.1, §10.10).
    fn request(&mut self, request: &Request) -> Result<Option<Event>, Error> {
        let (status, event) = match request.method {
            Method::Options | Method::GetParameter | Method::SetParameter | Method::Announce => {
                (200, None)
            }
            Method::Teardown => (200, Some(Event::Ended)),
            Method::Redirect => {
                let location = request.headers.get("location").unwrap_or_default();
                (200, Some(Event::Redirect(location.to_owned())))
            }
            _ => (501, None),
        };
        let mut response = Response::new(status);
        if let Some(cseq) = request.headers.get("cseq") {
            response.headers.push("CSeq", cseq);
        }
        response.write(&mut self.out);
        if event.is_some() {
            self.state = State::Over;
        }
        if self.pending() > CONTROL_OUT_MAX {
            return Err(Error::PeerDoesNotRead);
        }
        Ok(event)
    }

    fn response(&mut self, response: Response) -> Result<Option<Event>, Error> {
        let cseq = response.headers.cseq();
        let ours = self.asked.as_ref().is_some_and(|a| cseq.is_none_or(|cseq| cseq == a.cseq));
        if response.status < 200 {
            return Ok(None);
        }
        if !ours {
            // Late, or of one that counts in its own way: a sign of life all the same.
            let waits = |asked: &Asked| asked.request.method != Method::Teardown;
            if self.state == State::Playing && self.asked.as_ref().is_some_and(waits) {
                self.asked = None;
            }
            return Ok(None);
        }
        let Some(Asked { request, tried, .. }) = self.asked.take() else { return Ok(None) };
        let method = request.method;
        match response.status {
            200..=299 => return self.granted(method, &response),
            401 => return self.unauthorized(request, tried, &response).map(|()| None),
            300..=399 => {
                if let Some(location) = response.headers.get("location") {
                    self.state = State::Over;
                    return Ok(Some(Event::Redirect(location.to_owned())));
                }
            }
            _ => {}
        }
        let status = response.status;
        match (self.state, method) {
            // Cameras that do not know it know DESCRIBE.
            (State::Starting, Method::Options) => self.describe(),
            (_, Method::Teardown) => {
                self.state = State::Over;
                return Ok(Some(Event::Ended));
            }
            // Any answer is a sign of life, unless the session is gone.
            (State::Playing, _) if status != 454 => self.parameters = false,
            _ => return Err(Error::Refused { method, status }),
        }
        Ok(None)
    }

    fn granted(&mut self, method: Method, response: &Response) -> Result<Option<Event>, Error> {
        match (self.state, method) {
            (State::Starting, Method::Options) => {
                let mut public = response.headers.all("public").flat_map(|list| list.split(','));
                self.parameters = public.any(|name| name.trim() == Method::GetParameter.name());
                self.describe();
                Ok(None)
            }
            (State::Starting, Method::Describe) => self.described(response).map(Some),
            (State::SettingUp, Method::Setup) => self.set_up(response).map(Some),
            (State::SettingUp, Method::Play) => {
                self.state = State::Playing;
                Ok(Some(Event::Playing))
            }
            (_, Method::Teardown) => {
                self.state = State::Over;
                Ok(Some(Event::Ended))
            }
            _ => Ok(None),
        }
    }

    fn describe(&mut self) {
        let request = Request::new(Method::Describe, self.base.clone());
        self.ask(request.with("Accept", "application/sdp"));
    }

    fn described(&mut self, response: &Response) -> Result<Event, Error> {
        let headers = &response.headers;
        let kind = headers.get("content-type").unwrap_or("application/sdp");
        if response.body.is_empty() || !kind.to_ascii_lowercase().starts_with("application/sdp") {
            return Err(Error::NotSdp);
        }
        // Some say a path here, which means nothing to a client.
        let base = headers.get("content-base").or(headers.get("content-location"));
        if let Some(base) = base.filter(|base| Url::parse(base).is_some()) {
            self.base = base.to_owned();
        }
        self.described = Session::parse(&String::from_utf8_lossy(&response.body));
        self.state = State::Choosing;
        Ok(Event::Described(Box::new(self.described.clone())))
    }

    /// Asks for the next track, or to play when all are there.
    fn next_setup(&mut self) {
        let request = match self.choices.front() {
            Some((choice, transport)) => {
                let track = self.described.tracks.get(choice.track);
                let url = track.map(|track| self.described.track_url(track, &self.base));
                let request = Request::new(Method::Setup, url.unwrap_or_default());
                request.with("Transport", transport.to_string())
            }
            None => {
                let request = Request::new(Method::Play, self.described.url(&self.base));
                request.with("Range", "npt=0.000-")
            }
        };
        self.ask(request);
    }

    fn set_up(&mut self, response: &Response) -> Result<Event, Error> {
        let (choice, asked) = self.choices.pop_front().ok_or(Error::Transport)?;
        if let Some((id, timeout)) = response.headers.session() {
            self.session = Some(id.to_owned());
            self.timeout = timeout.filter(|&seconds| seconds > 0).unwrap_or(SESSION_TIMEOUT);
        }
        let transport = match response.headers.get("transport") {
            Some(line) => Transport::parse(line).into_iter().next().ok_or(Error::Transport)?,
            None => asked.clone(),
        };
        if transport.lower != asked.lower || transport.multicast {
            return Err(Error::Transport);
        }
        if transport.lower == Lower::Tcp {
            let channels = transport.interleaved.or(asked.interleaved).ok_or(Error::Transport)?;
            self.channels.push((choice.track, channels));
            self.parser.expect(channels);
        }
        self.next_setup();
        Ok(Event::SetUp(choice.track, Box::new(transport)))
    }

    /// Asks again with credentials; a third time only if they were answered too late.
    fn unauthorized(
        &mut self,
        request: Request,
        tried: u8,
        response: &Response,
    ) -> Result<(), Error> {
        let challenge = Challenge::choose(response.headers.all("www-authenticate"));
        let challenge = challenge.ok_or(Error::Unauthorized)?;
        let again = tried == 0 || (tried == 1 && challenge.stale);
        if self.config.url.credentials.is_none() || !again {
            return Err(Error::Unauthorized);
        }
        self.challenge = Some((challenge, 0));
        self.send(request, tried + 1);
        Ok(())
    }
}

impl Machine for Client {
    type Event = Event;
    type Error = Error;

    fn receive(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Error> {
        loop {
            if self.state == State::Over {
                *input = &[];
                return Ok(None);
            }
            let Some(item) = self.parser.receive(input)? else { return Ok(None) };
            if let Some(event) = self.item(item)? {
                return Ok(Some(event));
            }
        }
    }

    fn send_buf(&self) -> &[u8] {
        self.out.get(self.sent..).unwrap_or_default()
    }

    fn send_done(&mut self, n: usize) {
        self.sent += n;
        if self.sent >= self.out.len() {
            self.out = Vec::new();
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests;
