//! Questions to a name server, and what its answers say (RFC 1035, RFC 3596, RFC 2782).

use crate::limits::{DNS_NAME, DNS_RECORDS};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Where a service runs.
    Srv,
}

impl Kind {
    const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Srv => SRV,
        }
    }
}

/// What an answer says. All empty when the name has nothing of the kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// In the order of the answer.
    pub addresses: Vec<IpAddr>,
    /// In the order of the answer; see [`order`].
    pub services: Vec<Service>,
    /// The name is another one's alias, about which the answer says nothing.
    pub alias: Option<String>,
    /// There is more; TCP has room for it.
    pub truncated: bool,
}

impl Answer {
    /// Neither addresses nor services.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.services.is_empty()
    }
}

/// A place where a service runs (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Those with the lowest number are tried first.
    pub priority: u16,
    /// Its share among those of the same priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host, in small letters; empty when the service is decidedly not there.
    pub host: String,
}

/// What is wrong with a name or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Not a name that can be asked for.
    Name,
    /// Not the answer to this question: wait on.
    Foreign,
    /// The answer cannot be read.
    Malformed(&'static str),
    /// There is no such name.
    NotFound,
    /// The server cannot or does not want to answer: its number (RFC 1035 §4.1.1).
    Server(u8),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("not a host name"),
            Self::Foreign => f.write_str("answer to another question"),
            Self::Malformed(what) => write!(f, "malformed answer: {what}"),
            Self::NotFound => f.write_str("no such name"),
            Self::Server(2) => f.write_str("the name server failed"),
            Self::Server(5) => f.write_str("the name server refused"),
            Self::Server(code) => write!(f, "error {code} from the name server"),
        }
    }
}

impl std::error::Error for Error {}

/// The question for `name`, which may end with a dot.
pub fn query(id: u16, name: &str, kind: Kind) -> Result<Vec<u8>, Error> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > DNS_NAME {
        return Err(Error::Name);
    }
    let mut packet = Vec::new();
    for word in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    for label in name.split('.') {
        let len = u8::try_from(label.len()).ok().filter(|len| (1..=LABEL_MAX).contains(len));
        packet.push(len.ok_or(Error::Name)?);
        if !label.bytes().all(is_of_label) {
            return Err(Error::Name);
        }
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    for word in [kind.number(), INTERNET] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    Ok(packet)
}

/// What `packet` says to the question with these values. Aliases are followed as far as the
/// packet does; of its records the first [`DNS_RECORDS`] count.
pub fn answer(packet: &[u8], id: u16, name: &str, kind: Kind) -> Result<Answer, Error> {
    let mut reader = Reader { packet, at: 0 };
    let (its_id, flags) = (reader.u16()?, reader.u16()?);
    let (questions, answers) = (reader.u16()?, reader.u16()?);
    reader.skip(4)?;
    if its_id != id || flags & (RESPONSE | OPCODE) != RESPONSE {
        return Err(Error::Foreign);
    }
    let code = (flags & 15) as u8;
    if questions == 0 && code != 0 {
        // Servers that did not get as far as the question.
        return Err(Error::Server(code));
    }
    let asked = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let same = questions == 1
        && reader.name()? == asked
        && reader.u16()? == kind.number()
        && reader.u16()? == INTERNET;
    match (same, code) {
        (false, _) => return Err(Error::Foreign),
        (true, 0) => {}
        (true, 3) => return Err(Error::NotFound),
        (true, code) => return Err(Error::Server(code)),
    }
    let truncated = flags & TRUNCATED != 0;
    let mut records = Vec::new();
    for _ in 0..usize::from(answers).min(DNS_RECORDS) {
        match reader.record() {
            Ok(record) => records.extend(record),
            Err(_) if truncated => break,
            Err(e) => return Err(e),
        }
    }
    Ok(Answer { truncated, ..follow(&records, asked) })
}

/// In the order in which they are to be tried: by priority, and at random by their weights among
/// those of the same (RFC 2782).
pub fn order(mut services: Vec<Service>, random: &mut fastrand::Rng) -> Vec<Service> {
    services.sort_by_key(|service| (service.priority, service.weight != 0));
    let mut ordered = Vec::new();
    while let Some(priority) = services.first().map(|first| first.priority) {
        let same = services.iter().take_while(|service| service.priority == priority);
        let sum = same.map(|service| u32::from(service.weight)).sum();
        let mut left = random.u32(0..=sum);
        let chosen = services.iter().position(|service| {
            let weight = u32::from(service.weight);
            let here = weight >= left;
            left = left.saturating_sub(weight);
            here
        });
        ordered.push(services.remove(chosen.unwrap_or(0)));
    }
    ordered
}

/// By priority, and those of the same by their names: the same order for all who ask, whatever the
/// weights.
pub fn steady(mut services: Vec<Service>) -> Vec<Service> {
    services.sort_by(|a, b| (a.priority, &a.host, a.port).cmp(&(b.priority, &b.host, b.port)));
    services
}

const INTERNET: u16 = 1;
const CNAME: u16 = 5;
const SRV: u16 = 33;
const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const LABEL_MAX: u8 = 63;

const fn is_of_label(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'.'
}

#[derive(Debug)]
enum Data {
    Alias(String),
    Address(IpAddr),
    Service(Service),
}

/// What the records say of `name`. An alias leads to records anywhere in the answer, and at most
/// once to each.
fn follow(records: &[(String, Data)], mut name: String) -> Answer {
    let mut answer = Answer::default();
    for hop in 0..=records.len() {
        let of_name = records.iter().filter(|(owner, _)| *owner == name);
        let mut alias = None;
        for (_, data) in of_name {
            match data {
                Data::Alias(target) => alias = Some(target),
                Data::Address(address) => answer.addresses.push(*address),
                Data::Service(service) => answer.services.push(service.clone()),
            }
        }
        match alias {
            Some(target) if answer.is_empty() => name.clone_from(target),
            _ => {
                answer.alias = (hop > 0 && answer.is_empty()).then_some(name);
                break;
            }
        }
    }
    answer
}

struct Reader<'a> {
    packet: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let end = self.at.saturating_add(len);
        let bytes = self.packet.get(self.at..end).ok_or(Error::Malformed("cut off"))?;
        self.at = end;
        Ok(bytes)
    }

    fn skip(&mut self, len: usize) -> Result<(), Error> {
        self.take(len).map(|_| ())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.take(N)?.try_into().map_err(|_| Error::Malformed("cut off"))
    }

    fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    /// A name, in small letters, without the dot at its end. A pointer leads only to before what
    /// was read so far, so that there is no way in a circle.
    fn name(&mut self) -> Result<String, Error> {
        let mut text = String::new();
        let (mut lowest, mut after) = (self.at, None);
        loop {
            let start = self.at;
            let [len] = self.array()?;
            match len {
                0 => break,
                1..=LABEL_MAX => {
                    let label = self.take(usize::from(len))?;
                    if !text.is_empty() {
                        text.push('.');
                    }
                    if !label.iter().all(|&b| is_of_label(b)) || text.len() + label.len() > DNS_NAME
                    {
                        return Err(Error::Malformed("name"));
                    }
                    text.extend(label.iter().map(|b| char::from(b.to_ascii_lowercase())));
                }
                0xc0.. => {
                    let [low] = self.array()?;
                    let target = usize::from(u16::from_be_bytes([len & 0x3f, low]));
                    if target >= lowest.min(start) {
                        return Err(Error::Malformed("pointer"));
                    }
                    after.get_or_insert(self.at);
                    (lowest, self.at) = (target, target);
                }
                _ => return Err(Error::Malformed("label")),
            }
        }
        self.at = after.unwrap_or(self.at);
        Ok(text)
    }

    /// A record and whose it is; `None` for a kind that says nothing to us.
    fn record(&mut self) -> Result<Option<(String, Data)>, Error> {
        let owner = self.name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        self.skip(4)?;
        let len = usize::from(self.u16()?);
        let start = self.at;
        self.skip(len)?;
        let end = self.at;
        if class != INTERNET {
            return Ok(None);
        }
        self.at = start;
        let data = match kind {
            1 => Data::Address(Ipv4Addr::from(self.array::<4>()?).into()),
            28 => Data::Address(Ipv6Addr::from(self.array::<16>()?).into()),
            CNAME => Data::Alias(self.name()?),
            SRV => {
                let (priority, weight, port) = (self.u16()?, self.u16()?, self.u16()?);
                Data::Service(Service { priority, weight, port, host: self.name()? })
            }
            _ => {
                self.at = end;
                return Ok(None);
            }
        };
        if self.at != end {
            return Err(Error::Malformed("length of a record"));
        }
        Ok(Some((owner, data)))
    }
}

#[cfg(test)]
mod tests;
