//! Encrypted segments, in an image that cannot decrypt them.

/// Bytes of a key and of an initialization vector.
pub(super) const BLOCK: usize = 16;

/// There is none.
pub(super) enum Decryptor {}

impl Decryptor {
    pub(super) fn new(_: [u8; BLOCK], _: [u8; BLOCK]) -> Result<Self, &'static str> {
        Err("encrypted segments need the feature hls-keys")
    }

    pub(super) fn piece(&mut self, _: &[u8]) -> Vec<u8> {
        match *self {}
    }

    pub(super) fn finish(self) -> Result<Vec<u8>, &'static str> {
        match self {}
    }
}
