//! The address of a live stream.

use crate::config::DEFAULT_VHOST;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// `vhost/app/stream`. Cheap to clone. Prints as the stream url: `/app/stream` in the default
/// vhost.
#[derive(Clone, Debug)]
pub struct StreamKey {
    text: Rc<str>,
    app: usize,
    stream: usize,
    form: &'static str,
}

impl StreamKey {
    /// The key of `stream` in `app` of the vhost block called `vhost`.
    pub fn new(vhost: &str, app: &str, stream: &str) -> Self {
        let text = format!("{vhost}/{app}/{stream}").into();
        Self { text, app: vhost.len() + 1, stream: vhost.len() + app.len() + 2, form: "" }
    }

    /// The same stream in another form (`ts`), which is made of it once for all its players. No
    /// client can name it.
    pub fn derived(&self, form: &'static str) -> Self {
        Self { form, ..self.clone() }
    }

    /// Whether it is made of another stream.
    pub fn is_derived(&self) -> bool {
        !self.form.is_empty()
    }

    /// Whether both are the same stream, in whatever forms.
    pub fn is_form_of(&self, other: &Self) -> bool {
        self.derived("") == other.derived("")
    }

    /// The name of the vhost block.
    pub fn vhost(&self) -> &str {
        self.text.get(..self.app.saturating_sub(1)).unwrap_or_default()
    }

    /// The app, which may contain slashes.
    pub fn app(&self) -> &str {
        self.text.get(self.app..self.stream.saturating_sub(1)).unwrap_or_default()
    }

    /// The stream name.
    pub fn stream(&self) -> &str {
        self.text.get(self.stream..).unwrap_or_default()
    }
}

impl PartialEq for StreamKey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
            && self.app == other.app
            && self.stream == other.stream
            && self.form == other.form
    }
}

impl Eq for StreamKey {}

impl Hash for StreamKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
        self.form.hash(state);
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vhost = if self.vhost() == DEFAULT_VHOST { "" } else { self.vhost() };
        write!(f, "{vhost}/{}/{}", self.app(), self.stream())?;
        if self.is_derived() { write!(f, " ({})", self.form) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gives_its_parts_back() {
        let key = StreamKey::new("a.com", "live/sub", "cam");
        assert_eq!((key.vhost(), key.app(), key.stream()), ("a.com", "live/sub", "cam"));
        assert_eq!(key.to_string(), "a.com/live/sub/cam");
        assert_eq!(StreamKey::new(DEFAULT_VHOST, "live", "s").to_string(), "/live/s");
    }

    #[test]
    fn another_form_of_a_stream_is_another_key() {
        let key = StreamKey::new("v", "a", "s");
        assert_ne!(key, key.derived("ts"));
        assert_eq!(key.derived("ts"), key.derived("ts"));
        assert_eq!(key.derived("ts").to_string(), "v/a/s (ts)");
        assert!(key.derived("ts").is_derived() && !key.is_derived());
        assert!(key.derived("ts").is_form_of(&key) && key.is_form_of(&key.derived("aac")));
        assert!(!key.is_form_of(&StreamKey::new("v", "a", "t")));
    }

    #[test]
    fn the_same_text_cut_elsewhere_is_another_stream() {
        assert_ne!(StreamKey::new("v", "a/b", "c"), StreamKey::new("v", "a", "b/c"));
    }
}
