//! Stands in for `keys` in images without it: there is no secret, so no segment is encrypted.

use std::convert::Infallible;

pub(super) const SUPPORTED: bool = false;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Secret(Infallible);

pub(super) struct Cipher(Infallible);

impl Secret {
    pub(super) fn new() -> Result<Self, String> {
        Err("this image cannot encrypt segments".into())
    }

    pub(super) const fn bytes(&self) -> &[u8] {
        match self.0 {}
    }

    pub(super) const fn cipher(&self, _iv: [u8; 16]) -> Cipher {
        match self.0 {}
    }
}

impl Cipher {
    pub(super) const fn piece(&mut self, _bytes: &mut Vec<u8>) -> Vec<u8> {
        match self.0 {}
    }

    pub(super) const fn finish(self, _bytes: &mut Vec<u8>) {
        match self.0 {}
    }
}
