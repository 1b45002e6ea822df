//! The server's side, for what encoders push: ANNOUNCE, SETUP of each track, RECORD (RFC 2326
//! §10.3, §10.4, §10.11).

use super::Error;
use super::auth::Gate;
use super::message::{Item, Method, Parser, Request, Response, write_frame};
use super::sdp::Session;
use super::transport::{Lower, Transport};
use super::url::{Url, resolve};
use crate::limits::{CONTROL_OUT_MAX, RTSP_LOGINS};
use crate::proto::Machine;
use bytes::Bytes;

/// What we can do, for OPTIONS.
const PUBLIC: &str = "OPTIONS, ANNOUNCE, SETUP, RECORD, TEARDOWN, GET_PARAMETER, SET_PARAMETER";

/// How a connection is served.
#[derive(Clone, Debug)]
pub struct Config {
    /// The id of the session, which nobody can foretell; letters and digits.
    pub session: String,
    /// Seconds without a sign of life after which the owner ends the session; told to the client.
    pub timeout: u32,
    /// The name of the server.
    pub name: String,
    /// Tracks may come over UDP; else that is refused with 461, and encoders try TCP.
    pub udp: bool,
    /// Who may announce; `None` for everyone.
    pub gate: Option<Gate>,
}

/// What an encoder does. Nothing more is read before the first three are answered with
/// [`Server::allow`], [`Server::allow_ports`] or [`Server::refuse`].
#[derive(Debug)]
pub enum Event {
    /// It wants to publish.
    Announce(Box<Announce>),
    /// It wants to send a track, a number in [`Session::tracks`], in this way. One that was set up
    /// before may be set up anew.
    Setup(usize, Box<Transport>),
    /// It wants to begin. Then packets come.
    Record,
    /// A packet of a track that was set up over TCP.
    Packet {
        /// Which one.
        track: usize,
        /// It is RTCP, else RTP.
        rtcp: bool,
        /// The packet.
        packet: Bytes,
    },
    /// A sign of life without other meaning.
    Alive,
    /// It ends the session; the answer is written.
    Teardown,
}

/// What is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// Where to. Its path and query say which stream, and with what right.
    pub url: Url,
    /// The tracks; not all of them may be set up.
    pub session: Session,
}

/// A connection as its server sees it.
#[derive(Debug)]
pub struct Server {
    config: Config,
    parser: Parser,
    out: Vec<u8>,
    sent: usize,
    state: State,
    /// The request that waits for the owner.
    due: Option<Due>,
    logins: usize,
    /// The announced url, and the controls of its tracks.
    uri: String,
    tracks: Vec<Track>,
    strays: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Announced,
    Recording,
    Over,
}

#[derive(Debug)]
struct Track {
    control: String,
    set_up: bool,
    channels: Option<(u8, u8)>,
}

#[derive(Debug)]
struct Due {
    cseq: Option<String>,
    what: What,
}

#[derive(Debug)]
enum What {
    Announce(String, Vec<Track>),
    Setup(usize, Box<Transport>),
    Record,
}

impl Server {
    /// A new connection.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            parser: Parser::default(),
            out: Vec::new(),
            sent: 0,
            state: State::Idle,
            due: None,
            logins: 0,
            uri: String::new(),
            tracks: Vec::new(),
            strays: 0,
        }
    }

    /// Says yes to what waits for an answer; to a track over UDP by
    /// [`allow_ports`](Self::allow_ports).
    pub fn allow(&mut self) {
        self.answer(None);
    }

    /// Says yes to a track over UDP; RTP and RTCP are expected on these ports.
    pub fn allow_ports(&mut self, rtp: u16, rtcp: u16) {
        self.answer(Some((rtp, rtcp)));
    }

    /// Says no to what waits for an answer.
    pub fn refuse(&mut self, status: u16) {
        if let Some(due) = self.due.take() {
            self.send(Response::new(status), due.cseq);
        }
    }

    /// Sends a packet of RTCP on the channel of a track. False: it has none, or the client does
    /// not read.
    pub fn send_report(&mut self, track: usize, packet: &[u8]) -> bool {
        let channels = self.tracks.get(track).and_then(|track| track.channels);
        let room = CONTROL_OUT_MAX.saturating_sub(self.pending());
        let Some((_, channel)) = channels.filter(|_| packet.len() + 4 <= room) else {
            return false;
        };
        write_frame(channel, packet, &mut self.out);
        true
    }

    /// Frames on channels that were not set up, or before their time; they are dropped.
    pub const fn strays(&self) -> u32 {
        self.strays
    }

    fn pending(&self) -> usize {
        self.out.len() - self.sent
    }

    fn item(&mut self, item: Item) -> Result<Option<Event>, Error> {
        match item {
            Item::Frame(channel, packet) => Ok(self.frame(channel, packet)),
            // Nothing was asked.
            Item::Response(_) => Ok(None),
            Item::Request(request) => self.request(request),
        }
    }

    fn frame(&mut self, channel: u8, packet: Bytes) -> Option<Event> {
        let found = self.tracks.iter().enumerate().find_map(|(track, it)| {
            let (rtp, rtcp) = it.channels?;
            (channel == rtp || channel == rtcp).then_some((track, channel == rtcp))
        });
        match found {
            Some((track, rtcp)) if self.state == State::Recording => {
                Some(Event::Packet { track, rtcp, packet })
            }
            _ => {
                self.strays = self.strays.wrapping_add(1);
                None
            }
        }
    }

    fn request(&mut self, request: Request) -> Result<Option<Event>, Error> {
        let cseq = request.headers.get("cseq").map(str::to_owned);
        let other = request.headers.session().is_some_and(|(id, _)| id != self.config.session);
        let answer = match request.method {
            _ if other => Err(454),
            Method::Options => Ok(Response::new(200).with("Public", PUBLIC)),
            Method::GetParameter | Method::SetParameter => Ok(Response::new(200)),
            Method::Announce => return self.announce(request, cseq),
            Method::Setup => match self.setup(&request) {
                Ok((track, transport)) => {
                    let what = What::Setup(track, Box::new(transport.clone()));
                    self.due = Some(Due { cseq, what });
                    return Ok(Some(Event::Setup(track, Box::new(transport))));
                }
                Err(status) => Err(status),
            },
            Method::Record => {
                let ready = self.tracks.iter().any(|track| track.set_up);
                if self.state == State::Announced && ready {
                    self.due = Some(Due { cseq, what: What::Record });
                    return Ok(Some(Event::Record));
                }
                if self.state == State::Recording { Ok(Response::new(200)) } else { Err(455) }
            }
            Method::Teardown => {
                self.send(Response::new(200), cseq);
                self.state = State::Over;
                return Ok(Some(Event::Teardown));
            }
            Method::Describe | Method::Play | Method::Pause | Method::Redirect => Err(405),
            Method::Other => Err(501),
        };
        let answer = answer.unwrap_or_else(|status| {
            let response = Response::new(status);
            if status == 405 { response.with("Allow", PUBLIC) } else { response }
        });
        self.send(answer, cseq);
        self.check_out()?;
        Ok(Some(Event::Alive))
    }

    /// Credentials are asked for here only: what follows belongs to this connection.
    fn announce(&mut self, request: Request, cseq: Option<String>) -> Result<Option<Event>, Error> {
        if let Some(gate) = &self.config.gate {
            let line = request.headers.get("authorization");
            let method = request.method.name();
            if !line.is_some_and(|line| gate.admits(method, &request.uri, line)) {
                let mut response = Response::new(401);
                for challenge in gate.challenges() {
                    response = response.with("WWW-Authenticate", challenge);
                }
                self.logins += usize::from(line.is_some());
                self.send(response, cseq);
                self.check_out()?;
                if self.logins > RTSP_LOGINS {
                    self.state = State::Over;
                    return Err(Error::Logins);
                }
                return Ok(Some(Event::Alive));
            }
        }
        let sdp = request.headers.get("content-type");
        let sdp = sdp.is_none_or(|kind| kind.to_ascii_lowercase().starts_with("application/sdp"));
        let url = Url::parse(&request.uri);
        let status = match url {
            _ if self.state != State::Idle => 455,
            None => 400,
            Some(_) if !sdp => 415,
            Some(url) => {
                let session = Session::parse(&String::from_utf8_lossy(&request.body));
                let controls = session.tracks.iter().map(|track| track.control.clone());
                let tracks =
                    controls.map(|control| Track { control, set_up: false, channels: None });
                let what = What::Announce(request.uri, tracks.collect());
                self.due = Some(Due { cseq, what });
                return Ok(Some(Event::Announce(Box::new(Announce { url, session }))));
            }
        };
        self.send(Response::new(status), cseq);
        self.check_out()?;
        Ok(Some(Event::Alive))
    }

    /// The track that a SETUP is for, and the first way of it that can be served.
    fn setup(&self, request: &Request) -> Result<(usize, Transport), u16> {
        if self.state != State::Announced {
            return Err(455);
        }
        let track = self.find_track(&request.uri).ok_or(404_u16)?;
        let ways = request.headers.all("transport").flat_map(Transport::parse);
        let mut ways = ways.filter(|way| !way.multicast);
        let way = ways.find(|way| match way.lower {
            Lower::Tcp => true,
            Lower::Udp => self.config.udp && way.client_port.is_some(),
        });
        let mut way = way.ok_or(461_u16)?;
        if way.lower == Lower::Tcp {
            // RTSP_TRACKS is far below 128.
            let usual = (2 * track as u8, 2 * track as u8 + 1);
            let (rtp, rtcp) = *way.interleaved.get_or_insert(usual);
            let others = self.tracks.iter().enumerate().filter(|(other, _)| *other != track);
            let mut taken = others.filter_map(|(_, other)| other.channels);
            if rtp == rtcp || taken.any(|(a, b)| [a, b].iter().any(|c| *c == rtp || *c == rtcp)) {
                return Err(461);
            }
        }
        Ok((track, way))
    }

    fn find_track(&self, uri: &str) -> Option<usize> {
        let uri = uri.trim_end_matches('/');
        let full = |track: &Track| resolve(&self.uri, &track.control);
        let exact = self.tracks.iter().position(|t| full(t).trim_end_matches('/') == uri);
        let tail = || {
            self.tracks.iter().position(|track| {
                let rest = uri.strip_suffix(&*track.control);
                !track.control.is_empty() && rest.is_some_and(|rest| rest.ends_with('/'))
            })
        };
        exact.or_else(tail).or((self.tracks.len() == 1).then_some(0))
    }

    fn answer(&mut self, ports: Option<(u16, u16)>) {
        let Some(Due { cseq, what }) = self.due.take() else { return };
        let mut response = Response::new(200);
        match what {
            What::Announce(uri, tracks) => {
                (self.uri, self.tracks) = (uri, tracks);
                self.state = State::Announced;
            }
            What::Setup(track, mut transport) => {
                if transport.lower == Lower::Udp {
                    let Some(ports) = ports else {
                        return self.send(Response::new(461), cseq);
                    };
                    transport.server_port = Some(ports);
                    transport.interleaved = None;
                }
                transport.record = true;
                response = response.with("Transport", transport.to_string());
                if let Some(track) = self.tracks.get_mut(track) {
                    (track.set_up, track.channels) = (true, transport.interleaved);
                }
            }
            What::Record => self.state = State::Recording,
        }
        self.send(response, cseq);
    }

    fn send(&mut self, mut response: Response, cseq: Option<String>) {
        if let Some(cseq) = cseq {
            response.headers.push("CSeq", cseq);
        }
        response.headers.push("Server", self.config.name.as_str());
        if self.state != State::Idle {
            let Config { session, timeout, .. } = &self.config;
            response.headers.push("Session", format!("{session};timeout={timeout}"));
        }
        response.write(&mut self.out);
    }

    fn check_out(&self) -> Result<(), Error> {
        if self.pending() > CONTROL_OUT_MAX { Err(Error::PeerDoesNotRead) } else { Ok(()) }
    }

    fn status(error: &Error) -> u16 {
        match error {
            Error::BodyTooLong => 413,
            _ => 400,
        }
    }
}

impl Machine for Server {
    type Event = Event;
    type Error = Error;

    fn receive(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Error> {
        loop {
            if self.due.is_some() {
                return Ok(None);
            }
            if self.state == State::Over {
                *input = &[];
                return Ok(None);
            }
            match self.parser.receive(input) {
                Ok(None) => return Ok(None),
                Ok(Some(item)) => {
                    if let Some(event) = self.item(item)? {
                        return Ok(Some(event));
                    }
                }
                Err(error) => {
                    self.send(Response::new(Self::status(&error)), None);
                    self.state = State::Over;
                    return Err(error);
                }
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
