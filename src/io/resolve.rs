//! From names to addresses, by questions of our own to the name servers.
//!
//! Not by `getaddrinfo`: it blocks its thread, knows no SRV records, and a static image of it with
//! musl is larger than this. Nothing is kept: whoever connects again asks again, which on a board
//! with a forwarder costs a millisecond, and an address that moved is found at once.

mod files;

use crate::io::connect;
use crate::io::reactor::Evented;
use crate::io::run::within;
use crate::io::timer::Pause;
use crate::limits::{
    DNS_ADDRESSES, DNS_ATTEMPTS, DNS_HOSTS, DNS_OTHER, DNS_PACKET, DNS_SERVERS, DNS_TIMEOUT,
};
use crate::proto::authority;
use crate::proto::dns::{self, Answer, Kind};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Aliases whose target another answer has to tell.
const ALIASES: usize = 4;

/// The addresses of `name`, with `port`, in the order in which they are to be tried: as the name
/// server has them, IPv6 and IPv4 in turn, [`DNS_ADDRESSES`] at most, at least one. `name` may be
/// an address itself. `/etc/hosts` goes first.
pub async fn host(name: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    Resolver::default().host(name, port).await
}

/// Where the service `name` (`_rtmp._tcp.example.net`) runs: the hosts, whose addresses nobody was
/// asked for yet, in the order in which they are to be tried, [`DNS_HOSTS`] at most, at least one.
/// `steady` makes that order, and which of them there are, the same for all who ask
/// ([`dns::steady`]); else weights and chance decide ([`dns::order`]).
pub async fn srv(name: &str, steady: bool) -> Result<Vec<Target>, Error> {
    Resolver::default().srv(name, steady).await
}

/// What `text` of a configuration leads to: `host`, `host:port`, an address with or without a port,
/// or `srv:name`. `port` is for what names none.
pub async fn targets(text: &str, port: u16) -> Result<Vec<Target>, Error> {
    Resolver::default().targets(text, port).await
}

/// A host that a name led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host as it was named, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Those of a service with the lowest number are tried first; 0 for what is none.
    pub priority: u16,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The name.
    pub name: String,
    /// What went wrong.
    pub why: Why,
}

/// What went wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The name or the answer.
    Dns(dns::Error),
    /// The name is there, but without what was asked for.
    Nothing,
    /// No name server answered.
    TimedOut,
    /// No name server was reached.
    Io(ErrorKind),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot resolve {}: ", self.name)?;
        match self.why {
            Why::Dns(e) => write!(f, "{e}"),
            Why::Nothing => f.write_str("it has no address"),
            Why::TimedOut => f.write_str("no name server answered"),
            Why::Io(e) => write!(f, "name server: {e}"),
        }
    }
}

impl std::error::Error for Error {}

/// Whom to ask, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name servers, asked in turn.
    pub servers: Vec<SocketAddr>,
    /// For one answer.
    pub timeout: Duration,
    /// How often each server is asked.
    pub attempts: u32,
    /// Domains that names without [`ndots`](Self::ndots) dots are looked for in first, others last.
    pub search: Vec<String>,
    /// See [`search`](Self::search).
    pub ndots: usize,
}

impl Default for Settings {
    /// The name server of this machine, as without `/etc/resolv.conf`.
    fn default() -> Self {
        Self {
            servers: vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT)],
            timeout: DNS_TIMEOUT,
            attempts: DNS_ATTEMPTS,
            search: Vec::new(),
            ndots: 1,
        }
    }
}

/// Looks names up. The default one does as `/etc/resolv.conf` says, which it reads each time.
#[derive(Clone, Debug, Default)]
pub struct Resolver(Option<Settings>);

impl Resolver {
    /// One that looks at no files.
    pub fn new(settings: Settings) -> Self {
        Self(Some(settings))
    }

    /// See [`host`].
    pub async fn host(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        if let Ok(address) = bare.parse() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        // Boxed, and so below: futures are copied into those that wait for them, several times.
        let found = Box::pin(self.look_up(name)).await;
        let mut addresses = found.map_err(|why| Error { name: name.to_owned(), why })?;
        addresses.truncate(DNS_ADDRESSES);
        Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    /// See [`srv`].
    pub async fn srv(&self, name: &str, steady: bool) -> Result<Vec<Target>, Error> {
        Box::pin(self.services(name, steady)).await
    }

    async fn services(&self, name: &str, steady: bool) -> Result<Vec<Target>, Error> {
        let error = |why| Error { name: name.to_owned(), why };
        let (settings, _) = self.settings(name).await;
        let mut answer = Err(Why::Nothing);
        for candidate in settings.candidates(name) {
            answer = settings.ask(&candidate, Kind::Srv).await;
            if !matches!(answer, Err(Why::Dns(dns::Error::NotFound) | Why::Nothing)) {
                break;
            }
        }
        let mut services = answer.map_err(error)?.services;
        services.retain(|service| !service.host.is_empty() && service.port != 0);
        let services = match steady {
            true => dns::steady(services),
            false => dns::order(services, &mut fastrand::Rng::new()),
        };
        let target = |dns::Service { host, port, priority, .. }| Target { host, port, priority };
        let targets: Vec<_> = services.into_iter().take(DNS_HOSTS).map(target).collect();
        if targets.is_empty() { Err(error(Why::Nothing)) } else { Ok(targets) }
    }

    /// See [`targets`].
    pub async fn targets(&self, text: &str, port: u16) -> Result<Vec<Target>, Error> {
        if let Some(name) = text.strip_prefix("srv:") {
            return self.srv(name, false).await;
        }
        let none = || Error { name: text.to_owned(), why: Why::Dns(dns::Error::Name) };
        let (host, port) = authority::split(text, port).ok_or_else(none)?;
        Ok(vec![Target { host: host.to_owned(), port, priority: 0 }])
    }

    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, Why> {
        dns::query(0, name, Kind::A).map_err(Why::Dns)?;
        let (settings, listed) = self.settings(name).await;
        if !listed.is_empty() {
            return Ok(listed);
        }
        let plain = name.trim_end_matches('.').to_ascii_lowercase();
        if plain == "localhost" || plain.ends_with(".localhost") {
            return Ok(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]);
        }
        let mut missing = Why::Nothing;
        for candidate in settings.candidates(name) {
            match settings.both(&candidate).await {
                Ok(addresses) => return Ok(addresses),
                Err(why @ (Why::Dns(dns::Error::NotFound) | Why::Nothing)) => missing = why,
                Err(why) => return Err(why),
            }
        }
        Err(missing)
    }

    /// Whom to ask, and what `/etc/hosts` says already.
    async fn settings(&self, name: &str) -> (Settings, Vec<IpAddr>) {
        match &self.0 {
            Some(settings) => (settings.clone(), Vec::new()),
            None => files::read(name).await,
        }
    }
}

impl Settings {
    /// The names to ask for in place of `name`, in their order.
    fn candidates(&self, name: &str) -> Vec<String> {
        let mut names = vec![name.to_owned()];
        if !name.ends_with('.') {
            let longer = self.search.iter().map(|domain| format!("{name}.{domain}"));
            let dots = name.bytes().filter(|&b| b == b'.').count();
            let at = if dots >= self.ndots { names.len() } else { 0 };
            names.splice(at..at, longer);
        }
        names
    }

    /// IPv6 and IPv4 addresses of `name`, in turn. The questions go out together, and when one is
    /// answered the other gets little more time.
    async fn both(&self, name: &str) -> Result<Vec<IpAddr>, Why> {
        let mut six = pin!(self.ask(name, Kind::Aaaa));
        let mut four = pin!(self.ask(name, Kind::A));
        let (mut sixes, mut fours) = (None, None);
        let (mut pause, mut hurried) = (Pause::default(), false);
        poll_fn(|task| {
            if sixes.is_none()
                && let Poll::Ready(answer) = six.as_mut().poll(task)
            {
                sixes = Some(answer);
            }
            if fours.is_none()
                && let Poll::Ready(answer) = four.as_mut().poll(task)
            {
                fours = Some(answer);
            }
            if sixes.is_some() && fours.is_some() {
                return Poll::Ready(());
            }
            // A name that is not there has nothing of the other kind, but for broken servers.
            let enough = |answer: &Option<Result<Answer, Why>>| {
                matches!(answer, Some(Ok(_) | Err(Why::Dns(dns::Error::NotFound))))
            };
            if enough(&sixes) || enough(&fours) {
                if !std::mem::replace(&mut hurried, true) {
                    pause.begin(DNS_OTHER);
                }
                return pause.poll(task);
            }
            Poll::Pending
        })
        .await;
        let mut missing = Why::Nothing;
        let mut addresses = |answer: Option<Result<Answer, Why>>| match answer {
            Some(Ok(answer)) => answer.addresses,
            Some(Err(why)) => {
                if why != Why::Nothing {
                    missing = why;
                }
                Vec::new()
            }
            None => Vec::new(),
        };
        let mut sixes = addresses(sixes).into_iter();
        let mut fours = addresses(fours).into_iter();
        let mut all = Vec::new();
        loop {
            let pair = (sixes.next(), fours.next());
            if pair == (None, None) {
                break;
            }
            all.extend(pair.0.into_iter().chain(pair.1));
        }
        if all.is_empty() { Err(missing) } else { Ok(all) }
    }

    /// Asks the servers in turn until one answers; an answer of nothing is [`Why::Nothing`].
    async fn ask(&self, name: &str, kind: Kind) -> Result<Answer, Why> {
        let mut name = name.to_owned();
        for _ in 0..ALIASES {
            let answer = self.ask_servers(&name, kind).await?;
            match answer.alias {
                Some(alias) => name = alias,
                None if answer.is_empty() => return Err(Why::Nothing),
                None => return Ok(answer),
            }
        }
        Err(Why::Nothing)
    }

    async fn ask_servers(&self, name: &str, kind: Kind) -> Result<Answer, Why> {
        let mut failure = Why::TimedOut;
        for _ in 0..self.attempts {
            for &server in self.servers.iter().take(DNS_SERVERS) {
                match ask_server(server, self.timeout, name, kind).await {
                    Err(why @ Why::Dns(dns::Error::Name | dns::Error::NotFound)) => {
                        return Err(why);
                    }
                    Err(why) => failure = why,
                    answer => return answer,
                }
            }
        }
        Err(failure)
    }
}

async fn ask_server(
    server: SocketAddr,
    timeout: Duration,
    name: &str,
    kind: Kind,
) -> Result<Answer, Why> {
    // Who guesses has to guess the port, too, which the kernel draws.
    let id = fastrand::u16(..);
    let query = dns::query(id, name, kind).map_err(Why::Dns)?;
    let read = |packet: &[u8]| dns::answer(packet, id, name, kind);
    let by_datagram = within(timeout, by_datagram(server, &query, read)).await;
    let answer = by_datagram.ok_or(Why::TimedOut)?.map_err(|e| Why::Io(e.kind()))?;
    let answer = answer.map_err(Why::Dns)?;
    if !answer.truncated {
        return Ok(answer);
    }
    // What is here is good, too, should there be no TCP.
    match within(timeout, Box::pin(by_stream(server, timeout, &query))).await {
        Some(Ok(packet)) => read(&packet).map_err(Why::Dns),
        _ if !answer.is_empty() => Ok(answer),
        Some(Err(e)) => Err(Why::Io(e.kind())),
        None => Err(Why::TimedOut),
    }
}

type Reading = Result<Answer, dns::Error>;

/// From a socket of its own, whose port the system draws; it takes answers of `server` only.
async fn by_datagram(
    server: SocketAddr,
    query: &[u8],
    read: impl Fn(&[u8]) -> Reading,
) -> io::Result<Reading> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(server)?;
    let socket = Evented::new(socket)?;
    socket.get_ref().send(query)?;
    let mut packet = vec![0; DNS_PACKET];
    loop {
        poll_fn(|task| socket.poll_readable(task)).await;
        match socket.get_ref().recv(&mut packet) {
            Ok(len) => match read(packet.get(..len).unwrap_or_default()) {
                // Somebody guesses, or it is late: the right one may still come.
                Err(dns::Error::Foreign) => {}
                answer => return Ok(answer),
            },
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => socket.would_block_read(),
            Err(e) => return Err(e),
        }
    }
}

/// The answer over TCP, where a length goes ahead of each message (RFC 1035 §4.2.2).
async fn by_stream(server: SocketAddr, timeout: Duration, query: &[u8]) -> io::Result<Vec<u8>> {
    let connected = connect::first(&[server], timeout).await;
    let socket = connected.map_err(|_| ErrorKind::ConnectionRefused)?;
    let len = u16::try_from(query.len()).map_err(|_| ErrorKind::InvalidInput)?;
    let message = [len.to_be_bytes().as_slice(), query].concat();
    let mut sent = 0;
    while let Some(rest) = message.get(sent..).filter(|rest| !rest.is_empty()) {
        poll_fn(|task| socket.poll_writable(task)).await;
        match socket.get_ref().write(rest) {
            Ok(n) => sent += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => socket.is_full(),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let mut got = Vec::new();
    let mut piece = [0; 512];
    loop {
        if let Some((len, rest)) = got.split_first_chunk::<2>() {
            let len = usize::from(u16::from_be_bytes(*len));
            if let Some(answer) = rest.get(..len) {
                return Ok(answer.to_vec());
            }
            if len > DNS_PACKET {
                return Err(ErrorKind::InvalidData.into());
            }
        }
        poll_fn(|task| socket.poll_readable(task)).await;
        match socket.get_ref().read(&mut piece) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => got.extend_from_slice(piece.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => socket.would_block_read(),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

const PORT: u16 = 53;

#[cfg(test)]
mod tests;
