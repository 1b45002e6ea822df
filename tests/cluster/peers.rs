//! Who is at the other ends: a publisher that sends in real time, and an origin that does what the
//! test wants.

use crate::common::client::{Peer, publish};
use crate::common::{Server, media};
use runnel::media::{Kind, Packet};
use runnel::proto::Machine as _;
use runnel::proto::amf0::Writer;
use runnel::proto::framing::{Framing as _, Rtmp};
use runnel::proto::rtmp::client::Config;
use runnel::proto::rtmp::command::Connect;
use runnel::proto::rtmp::message::Heap;
use runnel::proto::rtmp::server::{ConnectReply, Event, Server as Machine};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// An encoder that publishes the test stream in real time, for ever.
pub(crate) struct Encoder {
    stop: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Encoder {
    /// Publishes `live/stream`.
    pub(crate) fn start(server: &Server, stream: &str) -> Self {
        Self::to(&[server], stream, &server.tc_url(), 0)
    }

    /// The same packets to several servers, with times from `start` on.
    pub(crate) fn to(servers: &[&Server], stream: &str, tc_url: &str, start: u32) -> Self {
        Self::sends(servers, stream, tc_url, start, media::demo())
    }

    /// The same, and metadata say that the times are absolute.
    pub(crate) fn bravo(servers: &[&Server], stream: &str, start: u32) -> Self {
        let mut payload = Vec::new();
        let mut writer = Writer(&mut payload);
        writer.string("@setDataFrame").string("onMetaData");
        writer.object().key("bravo_atc").string("true").end();
        let mut packets = media::demo();
        packets[0] = Packet::new(Kind::Data, 0, payload.into());
        Self::sends(servers, stream, "", start, packets)
    }

    fn sends(
        servers: &[&Server],
        stream: &str,
        tc_url: &str,
        start: u32,
        packets: Vec<Packet>,
    ) -> Self {
        let one = servers.len() == 1 && !tc_url.is_empty();
        let ends: Vec<_> = servers
            .iter()
            .map(|server| {
                let url = if one { tc_url.to_owned() } else { server.tc_url() };
                (server.address(), url)
            })
            .collect();
        let (stop, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (told, over) = (stop.clone(), ended.clone());
        let (ready, wait) = channel();
        let stream = stream.to_owned();
        let thread = thread::spawn(move || {
            let connect = |(address, url): &(SocketAddr, String)| {
                let config = Config::new(url.clone(), "live", publish(&stream));
                let mut peer = Peer::over(TcpStream::connect(address).unwrap(), config);
                peer.started();
                Some(peer)
            };
            let mut peers: Vec<Option<Peer>> = ends.iter().map(connect).collect();
            ready.send(()).unwrap();
            let begin = Instant::now();
            for round in 0.. {
                for packet in
                    packets.iter().filter(|p| round == 0 || !p.header && p.kind != Kind::Data)
                {
                    let at = round * 8000 + packet.dts;
                    let due = begin + Duration::from_millis(at.into());
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    let packet = Packet { dts: start + at, ..packet.clone() };
                    for peer in &mut peers {
                        if peer.as_mut().is_some_and(|peer| !peer.try_send(&packet)) {
                            *peer = None;
                        }
                    }
                    if told.load(Ordering::Relaxed) || peers.iter().all(Option::is_none) {
                        return over.store(true, Ordering::Relaxed);
                    }
                }
            }
        });
        wait.recv().expect("it may publish");
        Self { stop, ended, thread: Some(thread) }
    }

    /// Whether nobody takes the stream any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What an origin of the test does.
#[derive(Clone)]
pub(crate) enum Does {
    /// Takes the connection and says nothing.
    Nothing,
    /// Lets everybody play, and sends nothing.
    Silence,
    /// Refuses who connects with `bad` in the tcUrl.
    Checks,
    /// Closes when somebody wants to play.
    Closes,
    /// Lets everybody play, and closes.
    Drops,
    /// Says this and that to who wants to play, but never that it starts.
    Chats,
    /// Sends these packets to players, in real time.
    Plays(Vec<Packet>),
    /// Keeps what is published.
    Takes,
    /// What the first one is given who publishes, the second one, and so on; all others the last.
    Turns(Vec<Turn>),
}

/// What somebody is given who publishes.
#[derive(Clone, Copy)]
pub(crate) enum Turn {
    /// He is refused.
    Refuses,
    /// His stream is kept.
    Takes,
    /// The same for so long, then the connection is closed.
    Closes(Duration),
    /// The same for so long, then he is refused.
    Ends(Duration),
}

impl Does {
    /// For who is the `nth` that publishes.
    fn turn(&self, nth: usize) -> Turn {
        match self {
            Self::Takes => Turn::Takes,
            Self::Turns(turns) => *turns.get(nth).or(turns.last()).unwrap(),
            _ => Turn::Refuses,
        }
    }
}

/// An origin of the test.
pub(crate) struct Origin {
    pub(crate) port: u16,
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
}

/// What an origin of the test saw.
#[derive(Default)]
pub(crate) struct Seen {
    /// What was published: one list a connection.
    pub(crate) taken: Mutex<Vec<Vec<Packet>>>,
    /// The names that were played or published.
    pub(crate) names: Mutex<Vec<String>>,
    /// The tcUrls.
    pub(crate) urls: Mutex<Vec<String>>,
    /// All of connect.
    pub(crate) connects: Mutex<Vec<Connect>>,
}

impl std::ops::Deref for Origin {
    type Target = Seen;

    fn deref(&self) -> &Seen {
        &self.seen
    }
}

impl Origin {
    pub(crate) fn start(does: Does) -> Self {
        Self::on(crate::common::free_port(), does)
    }

    pub(crate) fn on(port: u16, does: Does) -> Self {
        Self::at(("127.0.0.1", port), does)
    }

    pub(crate) fn at((address, port): (&str, u16), does: Does) -> Self {
        let (seen, stop) = (Arc::<Seen>::default(), Arc::<AtomicBool>::default());
        let (shared, over) = (seen.clone(), stop.clone());
        accept((address, port), &stop, move |socket| serve(socket, &does, &over, &shared));
        Self { port, seen, stop }
    }
}

/// Has `serve` serve each connection to an address in a thread of its own until `stop`.
pub(crate) fn accept(
    (address, port): (&str, u16),
    stop: &Arc<AtomicBool>,
    serve: impl Fn(TcpStream) + Clone + Send + 'static,
) {
    let listener = TcpListener::bind((address, port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let stop = stop.clone();
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let Ok((socket, _)) = listener.accept() else {
                thread::sleep(Duration::from_millis(5));
                continue;
            };
            socket.set_nonblocking(false).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let serve = serve.clone();
            thread::spawn(move || serve(socket));
        }
    });
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn serve(mut socket: TcpStream, does: &Does, stop: &AtomicBool, seen: &Seen) {
    let Seen { taken, names, urls, connects } = seen;
    let mut machine = Machine::new(0);
    let mut input = [0; 65536];
    let mut playing: Option<(Instant, usize)> = None;
    let (mut place, mut until, mut chat) = (None, None, None);
    while !stop.load(Ordering::Relaxed) {
        while !machine.send_buf().is_empty() {
            let Ok(n) = socket.write(machine.send_buf()) else { return };
            machine.send_done(n);
        }
        if let (Does::Plays(packets), Some((begin, next))) = (does, &mut playing) {
            let mut out = Vec::new();
            while let Some(packet) = packets.get(*next)
                && begin.elapsed() >= Duration::from_millis(packet.dts.into())
            {
                let framing = Rtmp { chunk_size: 60_000 };
                let at = out.len();
                framing.append(&mut out, packet, false);
                framing.stamp(&mut out[at..], packet.dts, false);
                *next += 1;
            }
            if socket.write_all(&out).is_err() {
                return;
            }
        }
        if let Some(said) = chat.filter(|said: &Instant| said.elapsed() > CHAT) {
            chat = Some(said + CHAT);
            machine.notify("NetStream.Play.Whatever", "still here");
        }
        if let Some((_, turn)) = until.filter(|(end, _)| Instant::now() > *end) {
            if matches!(turn, Turn::Closes(_)) {
                return;
            }
            until = None;
            machine.end("error", "NetStream.Publish.Denied", "not any more");
        }
        let read = match socket.read(&mut input) {
            Ok(0) => return,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        if matches!(does, Does::Nothing) {
            continue;
        }
        let mut rest = &input[..read];
        loop {
            let Ok(event) = machine.receive(&mut rest) else { return };
            match event {
                // Nothing more is read before what was asked has its answer.
                None if rest.is_empty() || chat.is_some() => break,
                None => {}
                Some(Event::Connect(connect)) => {
                    urls.lock().unwrap().push(connect.tc_url.clone());
                    connects.lock().unwrap().push((*connect).clone());
                    if matches!(does, Does::Checks) && connect.tc_url.contains("bad") {
                        machine.refuse_connect("the token is bad");
                    } else {
                        machine.accept_connect(&ConnectReply::default());
                    }
                }
                Some(Event::Play(play)) => {
                    names.lock().unwrap().push(play.name);
                    if matches!(does, Does::Closes) {
                        return;
                    }
                    if matches!(does, Does::Chats) {
                        chat = Some(Instant::now());
                        continue;
                    }
                    machine.accept_play();
                    if matches!(does, Does::Drops) {
                        let _ = socket.write_all(machine.send_buf());
                        return;
                    }
                    playing = Some((Instant::now(), 0));
                }
                Some(Event::Publish(publish)) => {
                    let turn = {
                        let mut names = names.lock().unwrap();
                        names.push(publish.name);
                        does.turn(names.len() - 1)
                    };
                    match turn {
                        Turn::Refuses => {
                            machine.refuse("NetStream.Publish.BadName", "not here");
                            continue;
                        }
                        Turn::Closes(time) | Turn::Ends(time) => {
                            until = Some((Instant::now() + time, turn));
                        }
                        Turn::Takes => {}
                    }
                    machine.accept_publish(Box::new(Heap { media_max: 1 << 21 }));
                    let mut all = taken.lock().unwrap();
                    place = Some(all.len());
                    all.push(Vec::new());
                }
                Some(Event::Packet(packet)) => {
                    if let Some(place) = place {
                        taken.lock().unwrap()[place].push(packet);
                    }
                }
                Some(Event::Unpublish) => return,
                Some(_) => {}
            }
        }
    }
}

/// Between two things that an origin says that chats.
const CHAT: Duration = Duration::from_millis(500);

/// A hook server that refuses whatever has `bad` in it.
pub(crate) struct Hooks {
    pub(crate) port: u16,
    /// The bodies that it was asked with.
    pub(crate) told: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Hooks {
    pub(crate) fn start() -> Self {
        let (port, told) = (crate::common::free_port(), Arc::<Mutex<Vec<String>>>::default());
        let (stop, list) = (Arc::default(), told.clone());
        accept(("127.0.0.1", port), &stop, move |mut socket| {
            let (mut request, mut input) = (Vec::new(), [0; 4096]);
            while let Ok(n @ 1..) = socket.read(&mut input) {
                request.extend_from_slice(&input[..n]);
            }
            let text = String::from_utf8(request).unwrap();
            let (_, body) = text.split_once("\r\n\r\n").unwrap();
            let code = i32::from(body.contains("bad"));
            list.lock().unwrap().push(body.to_owned());
            let _ = write!(
                socket,
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n{code}"
            );
        });
        Self { port, told, stop }
    }

    /// `http_hooks` that ask it about these events.
    pub(crate) fn asks(&self, events: &[&str]) -> String {
        let url = format!("http://127.0.0.1:{}/", self.port);
        let lines: String = events.iter().map(|event| format!("{event} {url}; ")).collect();
        format!("http_hooks {{ enabled on; {lines} }}")
    }

    /// What it was asked of `event`, each time.
    pub(crate) fn of(&self, event: &str) -> Vec<String> {
        let mark = format!("\"action\":\"{event}\"");
        self.told.lock().unwrap().iter().filter(|body| body.contains(&mark)).cloned().collect()
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The numbers of the frames in a list.
pub(crate) fn numbers(packets: &[Packet]) -> Vec<u32> {
    frames(packets, Kind::Video).into_iter().map(number).collect()
}

/// An edge of the origins at `ports`, with `more` in its vhost.
pub(crate) fn edge(ports: &[u16], more: &str) -> Server {
    Server::with(&format!("vhost __defaultVhost__ {{ {} {more} }}", cluster(ports)))
}

/// What makes a vhost an edge.
pub(crate) fn cluster(ports: &[u16]) -> String {
    let origins: String = ports.iter().map(|port| format!(" 127.0.0.1:{port}")).collect();
    format!("mode remote; origin{origins};")
}

/// Times rise, in each kind; by no more than `most`, if there is one.
pub(crate) fn assert_rising(packets: &[Packet], most: Option<u32>) {
    for kind in [Kind::Audio, Kind::Video] {
        let times: Vec<_> =
            packets.iter().filter(|p| p.kind == kind && !p.header).map(|p| p.dts).collect();
        for pair in times.windows(2) {
            assert!(pair[0] <= pair[1], "{kind:?} goes back: {pair:?}");
            assert!(most.is_none_or(|most| pair[1] - pair[0] <= most), "{kind:?} jumps: {pair:?}");
        }
    }
}

/// Packets of `peer` for so long.
pub(crate) fn watch(peer: &mut Peer, time: Duration) -> Vec<Packet> {
    let until = Instant::now() + time;
    let mut packets = Vec::new();
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        packets.extend(peer.packet(left));
    }
    packets
}

/// The frames of a list, of one kind.
pub(crate) fn frames(packets: &[Packet], kind: Kind) -> Vec<&Packet> {
    packets.iter().filter(|p| p.kind == kind && !p.header).collect()
}

/// Numbers every frame in its payload, so that what is missing can be told.
pub(crate) struct Numbered {
    peer: Peer,
    /// The number of the next frame.
    pub(crate) next: u32,
}

impl Numbered {
    pub(crate) fn new(server: &Server) -> Self {
        let mut peer = Peer::publish(server, "s");
        let header = [&[0x17, 0, 0, 0, 0][..], &AVC].concat();
        peer.send_bytes(Kind::Video, 0, &header);
        Self { peer, next: 0 }
    }

    /// `count` frames of `size` bytes, 40 ms apart, a key frame each second, at `pace` times the
    /// speed of the clock.
    pub(crate) fn send(&mut self, count: u32, size: usize, pace: u32) {
        let begin = Instant::now();
        for sent in 0..count {
            let key = self.next.is_multiple_of(25);
            let mut payload = vec![if key { 0x17 } else { 0x27 }, 1, 0, 0, 0];
            payload.extend(self.next.to_be_bytes());
            payload.resize(size, 7);
            self.peer.send_bytes(Kind::Video, self.next * 40, &payload);
            self.next += 1;
            let due = begin + Duration::from_millis(40) * (sent + 1) / pace;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

/// The number of a frame of [`Numbered`].
pub(crate) fn number(packet: &Packet) -> u32 {
    u32::from_be_bytes(packet.payload[5..9].try_into().unwrap())
}

/// Of 16×16 pixels.
const AVC: [u8; 32] = [
    1, 0x42, 0xc0, 0x0a, 0xff, 0xe1, 0, 17, 0x67, 0x42, 0xc0, 0x0a, 0xd9, 0x1e, 0x84, 0, 0, 3, 0,
    4, 0, 0, 3, 0, 0xca, 1, 0, 4, 0x68, 0xce, 0x3c, 0x80,
];
