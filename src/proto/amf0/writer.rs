//! Writing.

use super::{
    BOOLEAN, DATE, ECMA_ARRAY, LONG_STRING, NULL, NUMBER, OBJECT, OBJECT_END, Object, STRICT_ARRAY,
    STRING, UNDEFINED, Value,
};

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
