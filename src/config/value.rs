//! The types that a directive's value can have.

use super::{
    Error,
    access::Peers,
    section::{Field, Reader, Section, Value, fill, wrong},
    tree::Directive,
};
use crate::media::{Decimal, decimal};
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::{fmt, rc::Rc, time::Duration};

/// A time that files give in seconds, with or without a fraction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Duration);

impl Seconds {
    /// `ms` milliseconds, which files give as `ms / 1000`.
    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }
}

/// A time that files give in milliseconds, with or without a fraction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub Duration);

impl Millis {
    /// `ms` milliseconds.
    pub const fn new(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }
}

/// A number of bytes, which files give alone or with K, M, G or T behind it (1024 each).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

    fn parse(text: &str) -> Option<Self> {
        let unit = Self::UNITS.iter().find_map(|&(unit, shift)| {
            let digits =
                text.strip_suffix(unit).or_else(|| text.strip_suffix(unit.to_ascii_lowercase()))?;
            Some((digits, shift))
        });
        let (digits, shift) = unit.unwrap_or((text, 0));
        let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>());
        number?.ok()?.checked_mul(1 << shift).map(Self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |shift: u32| self.0 > 0 && self.0.trailing_zeros() >= shift;
        match Self::UNITS.iter().find(|(_, shift)| whole(*shift)) {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// How long a player's packets are collected for one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergedWrite {
    /// As long as the load of the server makes worth it.
    Auto,
    /// Always so many milliseconds.
    Fixed(u32),
}

/// Where to listen: `port`, `ip:port` or `[ip]:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `None`: any address, IPv6 and IPv4 (a bare port, or `[::]`). `0.0.0.0` is any IPv4
    /// address.
    pub ip: Option<IpAddr>,
    /// 1..=65535.
    pub port: u16,
}

impl Endpoint {
    /// `port` of any address.
    pub const fn any(port: u16) -> Self {
        Self { ip: None, port }
    }

    /// Whether `address` is one that it names.
    pub fn covers(&self, address: SocketAddr) -> bool {
        self.port == address.port() && self.ip.is_none_or(|ip| ip == address.ip())
    }

    /// Reads an endpoint; `None` when `text` is none.
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix(':').unwrap_or(text);
        let endpoint = if bare.bytes().all(|b| b.is_ascii_digit()) {
            Self::any(bare.parse().ok()?)
        } else {
            let addr: SocketAddr = text.parse().ok()?;
            let ip = Some(addr.ip()).filter(|ip| *ip != IpAddr::V6(Ipv6Addr::UNSPECIFIED));
            Self { ip, port: addr.port() }
        };
        (endpoint.port != 0).then_some(endpoint)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            None => write!(f, "{}", self.port),
            Some(ip) => write!(f, "{}", SocketAddr::new(ip, self.port)),
        }
    }
}

/// An option of another program: `name value value;` inside a block of free names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// Without the dash.
    pub name: String,
    /// What follows it.
    pub values: Vec<String>,
}

/// Declares an enum of words. `else warn Variant` says what an unknown word means; without it an
/// unknown word is an error.
macro_rules! choice {
    (
        $(#[doc = $about:literal])+
        $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+ }
        $(else warn $other:ident)?
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $doc])+ $variant,)+ }

        impl $name {
            /// Every word and its meaning; the default comes first.
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];

            /// The word of the configuration file.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl $crate::config::section::Value for $name {
            fn kind(&self) -> String {
                let words = Self::WORDS.iter().map(|(word, _)| *word).filter(|w| !w.is_empty());
                words.collect::<Vec<_>>().join("|")
            }

            fn set(
                &mut self,
                directive: &$crate::config::tree::Directive,
                _field: &$crate::config::section::Field,
                reader: &mut $crate::config::section::Reader,
            ) -> Result<(), $crate::config::Error> {
                let Some(word) = reader.one(directive, self.word())? else { return Ok(()) };
                if let Some((_, value)) = Self::WORDS.iter().find(|(w, _)| *w == word) {
                    *self = *value;
                    return Ok(());
                }
                let text = format!("`{word}` is none of {}", self.kind());
                $(
                    reader.warn(directive, format!("{text}, taken as {}", Self::$other.word()));
                    *self = Self::$other;
                    return Ok(());
                )?
                #[allow(unreachable_code)]
                Err($crate::config::section::wrong(directive, text))
            }

            fn text(&self) -> String {
                self.word().to_owned()
            }

            fn used(&self) -> bool {
                Self::WORDS.first().is_some_and(|(_, first)| first != self)
            }
        }
    };
}

pub(super) use choice;

impl Value for bool {
    fn kind(&self) -> String {
        "on|off".into()
    }

    /// A switch that is off by default takes only `on` for on; one that is on by default takes
    /// only `off` for off.
    fn set(&mut self, d: &Directive, _field: &Field, reader: &mut Reader) -> Result<(), Error> {
        if let Some(word) = reader.one(d, &self.text())? {
            if word != "on" && word != "off" {
                let text = format!("`{word}` is neither on nor off, taken as {}", self.text());
                reader.warn(d, text);
            }
            *self = if *self { word != "off" } else { word == "on" };
        }
        Ok(())
    }

    fn text(&self) -> String {
        if *self { "on" } else { "off" }.into()
    }

    fn used(&self) -> bool {
        *self
    }
}

/// A number within the field's range, or within 0..=2^31-1 when it has none.
fn number(word: &str, d: &Directive, field: &Field) -> Result<f64, Error> {
    let Some(number) = decimal(word) else {
        return Err(wrong(d, format!("`{word}` is not a number")));
    };
    let (low, high) = *field.range.unwrap_or(&ANY);
    if number < low || number > high {
        let (low, high) = (Decimal::short(low), Decimal::short(high));
        return Err(wrong(d, format!("{word} is not within {low} and {high}")));
    }
    Ok(number)
}

/// The range of a number that declares none.
const ANY: (f64, f64) = (0.0, i32::MAX as f64);

fn whole<T: TryFrom<i64>>(word: &str, d: &Directive, field: &Field) -> Result<T, Error> {
    number(word, d, field)?;
    let whole = word.parse::<i64>().ok().and_then(|n| T::try_from(n).ok());
    whole.ok_or_else(|| wrong(d, format!("`{word}` is not a whole number, or too large")))
}

/// [`Value`] for the types with one word: kind, how to read it, how to print it.
macro_rules! word {
    (
        $ty:ty, $kind:literal,
        |$word:ident, $d:ident, $field:ident| $read:expr, |$it:ident| $text:expr
    ) => {
        impl Value for $ty {
            fn kind(&self) -> String {
                $kind.into()
            }

            fn set(
                &mut self,
                $d: &Directive,
                $field: &Field,
                reader: &mut Reader,
            ) -> Result<(), Error> {
                if let Some($word) = reader.one($d, &self.text())? {
                    *self = $read;
                }
                Ok(())
            }

            fn text(&self) -> String {
                let $it = self;
                $text
            }
        }
    };
}

word!(u16, "whole number", |w, d, f| whole(w, d, f)?, |it| it.to_string());
word!(u32, "whole number", |w, d, f| whole(w, d, f)?, |it| it.to_string());
word!(f64, "number", |w, d, f| number(w, d, f)?, |it| Decimal::short(*it).to_string());
word!(String, "text", |w, _d, _f| w.to_owned(), |it| it.clone());
word!(Seconds, "seconds", |w, d, f| Self(duration(number(w, d, f)?, d)?), |it| Decimal::short(
    it.0.as_secs_f64()
)
.to_string());
word!(Millis, "milliseconds", |w, d, f| Self(duration(number(w, d, f)? / 1000.0, d)?), |it| {
    Decimal::short(it.0.as_secs_f64() * 1000.0).to_string()
});
word!(
    Size,
    "bytes",
    |w, d, _f| Self::parse(w)
        .ok_or_else(|| wrong(d, format!("`{w}` is not a number of bytes, like 500M")))?,
    |it| it.to_string()
);
word!(
    MergedWrite,
    "milliseconds|auto",
    |w, d, f| if w == "auto" { Self::Auto } else { Self::Fixed(whole(w, d, f)?) },
    |it| match it {
        Self::Auto => "auto".into(),
        Self::Fixed(ms) => ms.to_string(),
    }
);

fn duration(seconds: f64, d: &Directive) -> Result<Duration, Error> {
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong(d, "is not a length of time"))
}

/// The endpoint that `word`, an argument of `d`, names.
fn endpoint(word: &str, d: &Directive) -> Result<Endpoint, Error> {
    Endpoint::parse(word).ok_or_else(|| {
        let hint = if d.arg() == word { "" } else { "; is a ; missing before it?" };
        wrong(d, format!("`{word}` is not [ip:]port with a port from 1 to 65535{hint}"))
    })
}

impl Value for Endpoint {
    fn kind(&self) -> String {
        "[ip:]port".into()
    }

    fn set(&mut self, d: &Directive, _field: &Field, reader: &mut Reader) -> Result<(), Error> {
        let word = reader.one(d, "")?.ok_or_else(|| wrong(d, "no port"))?;
        *self = endpoint(word, d)?;
        Ok(())
    }

    fn text(&self) -> String {
        if self.port == 0 { String::new() } else { self.to_string() }
    }
}

impl Value for Vec<Endpoint> {
    fn kind(&self) -> String {
        "[ip:]port ...".into()
    }

    fn set(&mut self, d: &Directive, _field: &Field, reader: &mut Reader) -> Result<(), Error> {
        if d.block {
            return Err(wrong(d, "takes ports, not a block"));
        }
        self.clear();
        for word in &d.args {
            let endpoint = endpoint(word, d)?;
            if self.contains(&endpoint) {
                reader.warn(d, format!("{word} is given twice"));
            } else {
                self.push(endpoint);
            }
        }
        if self.is_empty() { Err(wrong(d, "no port")) } else { Ok(()) }
    }

    fn text(&self) -> String {
        self.iter().map(Endpoint::to_string).collect::<Vec<_>>().join(" ")
    }
}

impl Value for Vec<String> {
    fn kind(&self) -> String {
        "text ...".into()
    }

    fn set(&mut self, d: &Directive, _field: &Field, _reader: &mut Reader) -> Result<(), Error> {
        if d.block {
            return Err(wrong(d, "takes values, not a block"));
        }
        if !d.args.is_empty() {
            self.clone_from(&d.args);
        }
        Ok(())
    }

    fn text(&self) -> String {
        self.join(" ")
    }
}

impl Value for Vec<Peers> {
    fn kind(&self) -> String {
        "ip[/bits] ...".into()
    }

    fn set(&mut self, d: &Directive, _field: &Field, _reader: &mut Reader) -> Result<(), Error> {
        if d.block {
            return Err(wrong(d, "takes addresses, not a block"));
        }
        self.clear();
        for word in &d.args {
            let peers = Peers::parse(word);
            self.push(peers.ok_or_else(|| wrong(d, format!("`{word}` is not all or ip[/bits]")))?);
        }
        Ok(())
    }

    fn text(&self) -> String {
        self.iter().map(Peers::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// Command lines, one a directive.
impl Value for Vec<Vec<String>> {
    fn kind(&self) -> String {
        "program argument ..., repeatable".into()
    }

    fn set(&mut self, d: &Directive, _field: &Field, _reader: &mut Reader) -> Result<(), Error> {
        if d.block || d.args.is_empty() {
            return Err(wrong(d, "takes a program and its arguments"));
        }
        self.push(d.args.clone());
        Ok(())
    }

    fn text(&self) -> String {
        String::new()
    }

    fn many(&self) -> bool {
        true
    }
}

impl Value for Vec<Pair> {
    fn kind(&self) -> String {
        "{ name value; ... }".into()
    }

    fn set(&mut self, d: &Directive, _field: &Field, _reader: &mut Reader) -> Result<(), Error> {
        if !d.block {
            return Err(wrong(d, "takes a block { }"));
        }
        for child in &d.children {
            if child.block {
                return Err(wrong(child, "takes values, not a block"));
            }
            self.push(Pair { name: child.name.clone(), values: child.args.clone() });
        }
        Ok(())
    }

    fn text(&self) -> String {
        String::new()
    }
}

impl<S: Section + Default + 'static> Value for Rc<S> {
    fn kind(&self) -> String {
        "{ }".into()
    }

    fn set(&mut self, d: &Directive, _field: &Field, reader: &mut Reader) -> Result<(), Error> {
        let mut section = S::default();
        fill(&mut section, d, reader)?;
        *self = Self::new(section);
        Ok(())
    }

    fn text(&self) -> String {
        String::new()
    }

    fn sections(&self) -> Vec<&dyn Section> {
        vec![&**self]
    }

    fn section(&self) -> Option<Box<dyn Section>> {
        Some(Box::new(S::default()))
    }
}

impl<S: Section + Default + 'static> Value for Vec<Rc<S>> {
    fn kind(&self) -> String {
        "{ }, repeatable".into()
    }

    fn set(&mut self, d: &Directive, _field: &Field, reader: &mut Reader) -> Result<(), Error> {
        let mut section = S::default();
        fill(&mut section, d, reader)?;
        self.push(Rc::new(section));
        Ok(())
    }

    fn text(&self) -> String {
        String::new()
    }

    fn many(&self) -> bool {
        true
    }

    fn sections(&self) -> Vec<&dyn Section> {
        self.iter().map(|section| &**section as &dyn Section).collect()
    }

    fn section(&self) -> Option<Box<dyn Section>> {
        Some(Box::new(S::default()))
    }
}
