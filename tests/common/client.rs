//! A blocking RTMP client over the machine of the library.

use super::{SOON, Server};
use runnel::media::{Kind, Packet};
use runnel::proto::Machine as _;
use runnel::proto::rtmp::client::{Client, Config, Event, Role};
use runnel::proto::rtmp::command::Style;
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How waiting for an event ended.
#[derive(Debug)]
pub enum Got {
    Event(Event),
    /// Nothing in time.
    Silence,
    /// The server closed the connection.
    Closed,
}

/// A connection to the server.
pub struct Peer {
    pub socket: TcpStream,
    pub machine: Client,
    input: Vec<u8>,
    at: usize,
}

/// To play `stream`.
pub fn play(stream: &str) -> Role {
    Role::Play { stream: stream.into(), start: -2.0, buffer_ms: 1000 }
}

/// To publish `stream`.
pub fn publish(stream: &str) -> Role {
    Role::Publish { stream: stream.into(), style: Style::Fmle }
}

impl Peer {
    pub fn new(server: &Server, role: Role) -> Self {
        Self::with(server, Config::new(server.tc_url(), "live", role))
    }

    pub fn with(server: &Server, config: Config) -> Self {
        Self::over(TcpStream::connect(server.address()).unwrap(), config)
    }

    /// Over a connected socket that has options of its own.
    pub fn over(socket: TcpStream, config: Config) -> Self {
        socket.set_nodelay(true).unwrap();
        // A server that reads nothing must not hold the test up for ever.
        socket.set_write_timeout(Some(SOON)).unwrap();
        Self { socket, machine: Client::new(config), input: Vec::new(), at: 0 }
    }

    /// Plays `stream` from here on; the kernel takes little for it.
    pub fn play_narrow(server: &Server, stream: &str) -> Self {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
        rustix::net::connect(&socket, &server.address()).unwrap();
        let config = Config::new(server.tc_url(), "live", play(stream));
        let mut peer = Self::over(TcpStream::from(socket), config);
        peer.started();
        peer
    }

    /// Plays `stream` from here on.
    pub fn play(server: &Server, stream: &str) -> Self {
        let mut peer = Self::new(server, play(stream));
        peer.started();
        peer
    }

    /// May publish `stream` from here on.
    pub fn publish(server: &Server, stream: &str) -> Self {
        let mut peer = Self::new(server, publish(stream));
        peer.started();
        peer
    }

    /// A client that connects again when it is asked to; after its start.
    pub fn able(server: &Server, role: Role) -> Self {
        let config = Config { reconnects: true, ..Config::new(server.tc_url(), "live", role) };
        let mut peer = Self::with(server, config);
        peer.started();
        peer
    }

    /// Waits until the server asks it to connect again.
    pub fn is_asked_to_reconnect(&mut self) {
        let asked = self.wait_for(|event| match event {
            Event::Status(status) => status.code == "NetConnection.Connect.ReconnectRequest",
            _ => false,
        });
        let Some(Event::Status(status)) = asked else { panic!("it is asked to connect again") };
        assert_eq!((&*status.level, &*status.description), ("status", "The server leaves."));
    }

    /// Waits until play or publish has started.
    pub fn started(&mut self) {
        let started = self.wait_for(|event| matches!(event, Event::Started));
        assert!(started.is_some(), "{:?} has not started", self.machine);
    }

    /// Waits for an event; the others are dropped. None at the end of the connection.
    pub fn wait_for(&mut self, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
        let until = Instant::now() + SOON;
        loop {
            match self.next(until.saturating_duration_since(Instant::now())) {
                Got::Event(event) if wanted(&event) => return Some(event),
                Got::Event(_) => {}
                Got::Silence => panic!("{:?} waits in vain", self.machine),
                Got::Closed => return None,
            }
        }
    }

    /// The next thing that happens within `timeout`.
    pub fn next(&mut self, timeout: Duration) -> Got {
        let until = Instant::now() + timeout;
        loop {
            let mut input = self.input.get(self.at..).unwrap_or_default();
            let event = self.machine.receive(&mut input).unwrap();
            self.at = self.input.len() - input.len();
            if !self.flush() {
                return Got::Closed;
            }
            if let Some(event) = event {
                return Got::Event(event);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Got::Silence;
            }
            self.socket.set_read_timeout(Some(left)).unwrap();
            self.input.resize(64 * 1024, 0);
            self.at = 0;
            match self.socket.read(&mut self.input) {
                Ok(0) => return Got::Closed,
                Ok(n) => self.input.truncate(n),
                Err(e) => {
                    self.input.clear();
                    match e.kind() {
                        ErrorKind::Interrupted => {}
                        ErrorKind::WouldBlock | ErrorKind::TimedOut => return Got::Silence,
                        ErrorKind::ConnectionReset => return Got::Closed,
                        _ => panic!("{e}"),
                    }
                }
            }
        }
    }

    /// The next packet, also of metadata, within `timeout`. None when nothing comes.
    pub fn packet(&mut self, timeout: Duration) -> Option<Packet> {
        let until = Instant::now() + timeout;
        loop {
            match self.next(until.saturating_duration_since(Instant::now())) {
                Got::Event(Event::Packet(packet)) => return Some(packet),
                Got::Event(_) => {}
                Got::Silence | Got::Closed => return None,
            }
        }
    }

    /// `count` packets.
    pub fn packets(&mut self, count: usize) -> Vec<Packet> {
        let mut packets = Vec::new();
        while packets.len() < count {
            let packet = self.packet(SOON);
            let Some(packet) = packet else {
                panic!("{} packets of {count}: {packets:?}", packets.len())
            };
            packets.push(packet);
        }
        packets
    }

    /// All packets until nothing comes for `silence`.
    pub fn packets_until_silence(&mut self, silence: Duration) -> Vec<Packet> {
        std::iter::from_fn(|| self.packet(silence)).collect()
    }

    /// Whether the server closes within `timeout`; what it says before is dropped.
    pub fn is_closed_within(&mut self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        loop {
            match self.next(until.saturating_duration_since(Instant::now())) {
                Got::Event(_) => {}
                Got::Silence => return false,
                Got::Closed => return true,
            }
        }
    }

    /// Publishes one packet.
    pub fn send(&mut self, packet: &Packet) {
        assert!(self.machine.send_packet(packet), "{:?} takes no packet", self.machine);
        assert!(self.flush(), "the server closed");
    }

    /// Publishes one packet with these bytes.
    pub fn send_bytes(&mut self, kind: Kind, dts: u32, payload: &[u8]) {
        self.send(&Packet::new(kind, dts, payload.to_vec().into()));
    }

    /// The same where the server may refuse it. Whether it was all sent.
    pub fn try_send(&mut self, packet: &Packet) -> bool {
        self.machine.send_packet(packet) && self.flush()
    }

    /// Sends what is due. Whether the server takes it.
    pub fn flush(&mut self) -> bool {
        while !self.machine.send_buf().is_empty() {
            match self.socket.write(self.machine.send_buf()) {
                Ok(n) => self.machine.send_done(n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}
