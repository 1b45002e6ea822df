//! AMF0 (Action Message Format 0, Adobe 2006), the values of RTMP commands and metadata.
//!
//! Reading works over a slice and never allocates by a length that it read: a string is at most
//! as long as the message, the number of values is bounded by [`limits::AMF_VALUES`], their
//! nesting by [`limits::AMF_DEPTH`].

mod reader;
mod writer;

use std::fmt;

use crate::limits;

pub use self::{reader::Reader, writer::Writer};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Marker 00.
    Number(f64),
    /// Marker 01.
    Boolean(bool),
    /// Marker 02, and 0C when it is longer than 65535 bytes. What is not UTF-8 is replaced.
    String(String),
    /// Marker 03.
    Object(Object),
    /// Marker 05.
    Null,
    /// Marker 06.
    Undefined,
    /// Marker 08.
    EcmaArray {
        /// The count on the wire, which does not have to be true; kept and written back.
        count: u32,
        /// What it holds.
        pairs: Object,
    },
    /// Marker 0A.
    StrictArray(Vec<Self>),
    /// Marker 0B.
    Date {
        /// Milliseconds since 1970-01-01.
        ms: f64,
        /// Reserved, should be 0; kept and written back.
        tz: i16,
    },
}

impl Value {
    /// The text, when it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The number, when it is one.
    pub fn as_number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// The truth value, when it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Boolean(truth) = self { Some(*truth) } else { None }
    }

    /// The properties of an object or of an ECMA array.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(pairs) | Self::EcmaArray { pairs, .. } => Some(pairs),
            _ => None,
        }
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<Object> for Value {
    fn from(pairs: Object) -> Self {
        Self::Object(pairs)
    }
}

/// Properties in the order in which they were set, each key once.
///
/// The typed look-ups take a value of another type as absent: peers send numbers as strings, or
/// null for what they do not know, and none of that is a reason to refuse them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    /// No properties.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Sets `key`. A key that is there already moves to the end.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let key = key.into();
        self.remove(&key);
        self.0.push((key, value.into()));
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.0.iter().position(|(k, _)| k == key)?;
        Some(self.0.remove(at).1)
    }

    /// The value of `key`.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// The text of `key`, absent when it is no text.
    pub fn str(&self, key: &str) -> Option<&str> {
        self.value(key)?.as_str()
    }

    /// The number of `key`, absent when it is no number.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.value(key)?.as_number()
    }

    /// The object or ECMA array of `key`, absent when it is neither.
    pub fn object(&self, key: &str) -> Option<&Self> {
        self.value(key)?.as_object()
    }

    /// The properties in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut object = Self::new();
        for (key, value) in pairs {
            object.set(key, value);
        }
        object
    }
}

/// What is wrong with a message of AMF0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The message ends inside a value.
    Incomplete,
    /// A type that this server does not read: references, XML, typed objects, AMF3.
    Marker(u8),
    /// More than [`limits::AMF_DEPTH`] objects inside one another.
    TooDeep,
    /// More than [`limits::AMF_VALUES`] values.
    TooMany,
}

impl Error {
    /// The number in logs and in the API.
    pub const fn code(self) -> u16 {
        match self {
            Self::Incomplete | Self::TooDeep | Self::TooMany => 2003,
            Self::Marker(_) => 2004,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete => write!(f, "AMF0 ends inside a value"),
            Self::Marker(marker) => write!(f, "AMF0 type {marker:#04x} is not supported"),
            Self::TooDeep => write!(f, "AMF0 nested deeper than {}", limits::AMF_DEPTH),
            Self::TooMany => write!(f, "AMF0 with more than {} values", limits::AMF_VALUES),
        }
    }
}

impl std::error::Error for Error {}

const NUMBER: u8 = 0x00;
const BOOLEAN: u8 = 0x01;
const STRING: u8 = 0x02;
const OBJECT: u8 = 0x03;
const NULL: u8 = 0x05;
const UNDEFINED: u8 = 0x06;
const ECMA_ARRAY: u8 = 0x08;
const OBJECT_END: u8 = 0x09;
const STRICT_ARRAY: u8 = 0x0a;
const DATE: u8 = 0x0b;
const LONG_STRING: u8 = 0x0c;

#[cfg(test)]
mod tests;
