//! AMF0 (Action Message Format 0, Adobe 2006), the values of RTMP commands and metadata.
//!
//! Reading works over a slice and never allocates by a length that it read: a string is at most
//! as long as the message, the number of values is bounded by [`limits::AMF_VALUES`], their
//! nesting by [`limits::AMF_DEPTH`].

use std::{borrow::Cow, fmt};

use crate::limits;

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

/// Reads values from the front of a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    input: &'a [u8],
    rest: &'a [u8],
    values: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `input`.
    pub const fn new(input: &'a [u8]) -> Self {
        Self { input, rest: input, values: 0 }
    }

    /// The next value, whatever it is.
    pub fn value(&mut self) -> Result<Value, Error> {
        self.nested(0)
    }

    /// The next value if it is a string. A value of another type is read over and is `None`, and
    /// so is the end of the message.
    pub fn string(&mut self) -> Result<Option<Cow<'a, str>>, Error> {
        match self.rest.first() {
            Some(&STRING) => {
                self.u8()?;
                let text = self.short_text()?;
                Ok(Some(text))
            }
            Some(&LONG_STRING) => {
                self.u8()?;
                let text = self.long_text()?;
                Ok(Some(text))
            }
            Some(_) => self.skip().map(|_| None),
            None => Ok(None),
        }
    }

    /// The next value if it is a number; else as [`string`](Self::string).
    pub fn number(&mut self) -> Result<Option<f64>, Error> {
        if self.rest.first() == Some(&NUMBER) {
            self.u8()?;
            return self.f64().map(Some);
        }
        if self.is_empty() { Ok(None) } else { self.skip().map(|_| None) }
    }

    /// Reads over one value and returns its bytes. Only its nesting is bounded, as nothing is
    /// built from it.
    pub fn skip(&mut self) -> Result<&'a [u8], Error> {
        let start = self.rest;
        self.skip_nested(0)?;
        Ok(start.get(..start.len() - self.rest.len()).unwrap_or_default())
    }

    /// Enters an object or an ECMA array: its properties follow, see [`key`](Self::key). Another
    /// value is read over and is `false`.
    pub fn enter(&mut self) -> Result<bool, Error> {
        match self.rest.first() {
            Some(&OBJECT) => self.u8().map(|_| true),
            Some(&ECMA_ARRAY) => {
                self.u8()?;
                self.u32().map(|_| true)
            }
            Some(_) => self.skip().map(|_| false),
            None => Ok(false),
        }
    }

    /// The next key inside an object, with its bytes as sent; `None` at the end of the object.
    /// The end of the message is taken as the end of the object: encoders leave the marker out.
    pub fn key(&mut self) -> Result<Option<&'a [u8]>, Error> {
        if self.is_empty() {
            return Ok(None);
        }
        let len = self.u16()?;
        if len == 0 && self.rest.first() == Some(&OBJECT_END) {
            self.u8()?;
            return Ok(None);
        }
        self.bytes(len.into()).map(Some)
    }

    /// Whether the input is used up.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes were read.
    pub const fn at(&self) -> usize {
        self.input.len() - self.rest.len()
    }

    fn nested(&mut self, depth: usize) -> Result<Value, Error> {
        self.values += 1;
        if self.values > limits::AMF_VALUES {
            return Err(Error::TooMany);
        }
        Ok(match self.u8()? {
            NUMBER => Value::Number(self.f64()?),
            BOOLEAN => Value::Boolean(self.u8()? != 0),
            STRING => Value::String(self.short_text()?.into_owned()),
            LONG_STRING => Value::String(self.long_text()?.into_owned()),
            OBJECT => Value::Object(self.pairs(deeper(depth)?)?),
            NULL => Value::Null,
            UNDEFINED => Value::Undefined,
            ECMA_ARRAY => {
                let count = self.u32()?;
                Value::EcmaArray { count, pairs: self.pairs(deeper(depth)?)? }
            }
            STRICT_ARRAY => {
                let depth = deeper(depth)?;
                let mut values = Vec::new();
                for _ in 0..self.u32()? {
                    values.push(self.nested(depth)?);
                }
                Value::StrictArray(values)
            }
            DATE => Value::Date { ms: self.f64()?, tz: self.u16()?.cast_signed() },
            marker => return Err(Error::Marker(marker)),
        })
    }

    fn pairs(&mut self, depth: usize) -> Result<Object, Error> {
        let mut pairs = Object::new();
        while let Some(key) = self.key()? {
            let value = self.nested(depth)?;
            pairs.set(String::from_utf8_lossy(key), value);
        }
        Ok(pairs)
    }

    fn skip_nested(&mut self, depth: usize) -> Result<(), Error> {
        match self.u8()? {
            NUMBER => self.bytes(8).map(drop),
            BOOLEAN => self.bytes(1).map(drop),
            STRING => self.u16().and_then(|len| self.bytes(len.into())).map(drop),
            LONG_STRING => self.long_text().map(drop),
            NULL | UNDEFINED => Ok(()),
            DATE => self.bytes(10).map(drop),
            marker @ (OBJECT | ECMA_ARRAY) => {
                let depth = deeper(depth)?;
                if marker == ECMA_ARRAY {
                    self.u32()?;
                }
                while self.key()?.is_some() {
                    self.skip_nested(depth)?;
                }
                Ok(())
            }
            STRICT_ARRAY => {
                let depth = deeper(depth)?;
                for _ in 0..self.u32()? {
                    self.skip_nested(depth)?;
                }
                Ok(())
            }
            marker => Err(Error::Marker(marker)),
        }
    }

    fn short_text(&mut self) -> Result<Cow<'a, str>, Error> {
        let len = self.u16()?;
        self.bytes(len.into()).map(String::from_utf8_lossy)
    }

    fn long_text(&mut self) -> Result<Cow<'a, str>, Error> {
        let len = self.u32()?;
        let len = usize::try_from(len).map_err(|_| Error::Incomplete)?;
        self.bytes(len).map(String::from_utf8_lossy)
    }

    fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    fn f64(&mut self) -> Result<f64, Error> {
        self.array().map(f64::from_be_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(Error::Incomplete)?;
        self.rest = rest;
        Ok(*array)
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Error::Incomplete)?;
        self.rest = rest;
        Ok(bytes)
    }
}

/// Appends values to a buffer.
#[derive(Debug)]
pub struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    /// A number.
    pub fn number(&mut self, number: f64) -> &mut Self {
        self.0.push(NUMBER);
        self.0.extend(number.to_be_bytes());
        self
    }

    /// A truth value.
    pub fn boolean(&mut self, truth: bool) -> &mut Self {
        self.0.extend([BOOLEAN, truth.into()]);
        self
    }

    /// A string; one of more than 65535 bytes becomes a long string.
    pub fn string(&mut self, text: &str) -> &mut Self {
        if let Ok(len) = u16::try_from(text.len()) {
            self.0.push(STRING);
            self.0.extend(len.to_be_bytes());
        } else {
            self.0.push(LONG_STRING);
            self.0.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        }
        self.0.extend(text.as_bytes());
        self
    }

    /// Null.
    pub fn null(&mut self) -> &mut Self {
        self.0.push(NULL);
        self
    }

    /// Undefined.
    pub fn undefined(&mut self) -> &mut Self {
        self.0.push(UNDEFINED);
        self
    }

    /// The start of an object, to be followed by keys with their values and [`end`](Self::end).
    pub fn object(&mut self) -> &mut Self {
        self.0.push(OBJECT);
        self
    }

    /// The start of an ECMA array that says it holds `count`.
    pub fn ecma_array(&mut self, count: u32) -> &mut Self {
        self.0.push(ECMA_ARRAY);
        self.0.extend(count.to_be_bytes());
        self
    }

    /// A key, its value is to follow. What is over 65535 bytes is cut.
    pub fn key(&mut self, key: impl AsRef<[u8]>) -> &mut Self {
        let key = key.as_ref();
        let len = u16::try_from(key.len()).unwrap_or(u16::MAX);
        self.0.extend(len.to_be_bytes());
        self.0.extend(key.iter().take(len.into()));
        self
    }

    /// The end of an object or an ECMA array.
    pub fn end(&mut self) -> &mut Self {
        self.0.extend([0, 0, OBJECT_END]);
        self
    }

    /// All properties of `object`, without start and end.
    pub fn pairs(&mut self, object: &Object) -> &mut Self {
        for (key, value) in object.iter() {
            self.key(key).value(value);
        }
        self
    }

    /// Any value.
    pub fn value(&mut self, value: &Value) -> &mut Self {
        match value {
            Value::Number(number) => self.number(*number),
            Value::Boolean(truth) => self.boolean(*truth),
            Value::String(text) => self.string(text),
            Value::Object(pairs) => self.object().pairs(pairs).end(),
            Value::Null => self.null(),
            Value::Undefined => self.undefined(),
            Value::EcmaArray { count, pairs } => self.ecma_array(*count).pairs(pairs).end(),
            Value::StrictArray(values) => {
                self.0.push(STRICT_ARRAY);
                self.0.extend(u32::try_from(values.len()).unwrap_or(u32::MAX).to_be_bytes());
                for value in values {
                    self.value(value);
                }
                self
            }
            Value::Date { ms, tz } => {
                self.0.push(DATE);
                self.0.extend(ms.to_be_bytes());
                self.0.extend(tz.to_be_bytes());
                self
            }
        }
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

const fn deeper(depth: usize) -> Result<usize, Error> {
    if depth < limits::AMF_DEPTH { Ok(depth + 1) } else { Err(Error::TooDeep) }
}

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
