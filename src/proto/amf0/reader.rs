//! Reading, with every length checked against the message.

use std::borrow::Cow;

use super::{
    BOOLEAN, DATE, ECMA_ARRAY, Error, LONG_STRING, NULL, NUMBER, OBJECT, OBJECT_END, Object,
    STRICT_ARRAY, STRING, UNDEFINED, Value,
};
use crate::limits;

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
            DATE => Value::Date { ms: self.f64()?, tz: self.array().map(i16::from_be_bytes)? },
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

const fn deeper(depth: usize) -> Result<usize, Error> {
    if depth < limits::AMF_DEPTH { Ok(depth + 1) } else { Err(Error::TooDeep) }
}
