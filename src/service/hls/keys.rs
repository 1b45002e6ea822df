//! Encrypted segments: AES-128 in CBC mode with the padding of PKCS #7 (RFC 8216 §4.3.2.4, §5).

use crate::io::random;
use aes::Aes128;
use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockEncryptMut, KeyIvInit};
use std::fmt;

/// This image can encrypt.
pub(super) const SUPPORTED: bool = true;

/// What players need to decrypt segments.
#[derive(PartialEq, Eq)]
pub(super) struct Secret([u8; BLOCK]);

/// Encrypts one segment.
pub(super) struct Cipher(cbc::Encryptor<Aes128>);

impl Secret {
    /// One that nobody can guess.
    pub(super) fn new() -> Result<Self, String> {
        let mut secret = [0; BLOCK];
        random::fill(&mut secret).map_err(|e| format!("no key for segments: {e}"))?;
        Ok(Self(secret))
    }

    /// As a key file has it.
    pub(super) const fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// To encrypt the segment of this initialization vector.
    pub(super) fn cipher(&self, iv: [u8; BLOCK]) -> Cipher {
        Cipher(cbc::Encryptor::new(&self.0.into(), &iv.into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Cipher {
    /// Encrypts what comes next, but for the end of it that fills no block, which comes back.
    pub(super) fn piece(&mut self, bytes: &mut Vec<u8>) -> Vec<u8> {
        let rest = bytes.split_off(bytes.len() - bytes.len() % BLOCK);
        self.blocks(bytes);
        rest
    }

    /// Encrypts the last bytes.
    pub(super) fn finish(mut self, bytes: &mut Vec<u8>) {
        let padding = BLOCK - bytes.len() % BLOCK;
        bytes.reserve_exact(padding);
        // It is 16 at most.
        bytes.extend(std::iter::repeat_n(padding as u8, padding));
        self.blocks(bytes);
    }

    fn blocks(&mut self, bytes: &mut [u8]) {
        for block in bytes.chunks_exact_mut(BLOCK) {
            self.0.encrypt_block_mut(GenericArray::from_mut_slice(block));
        }
    }
}

/// Bytes that are encrypted together.
const BLOCK: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::hex;

    /// NIST SP 800-38A, F.2.1.
    #[test]
    fn blocks_are_those_of_the_standard() {
        let array = |text: &str| -> [u8; BLOCK] { hex(text).try_into().unwrap() };
        let secret = Secret(array("2b7e151628aed2a6abf7158809cf4f3c"));
        let iv = array("000102030405060708090a0b0c0d0e0f");
        let plain = hex("6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51");
        let want = hex("7649abac8119b246cee98e9b12e9197d 5086cb9b507219ee95db113a917678b2");
        let mut whole = plain.clone();
        secret.cipher(iv).finish(&mut whole);
        assert_eq!((&whole[..32], whole.len()), (&want[..], 48), "a block of padding");
        // The same in pieces of any length.
        for len in 1..plain.len() {
            let mut cipher = secret.cipher(iv);
            let (mut out, mut rest) = (Vec::new(), Vec::new());
            for part in plain.chunks(len) {
                rest.extend_from_slice(part);
                let left = cipher.piece(&mut rest);
                out.append(&mut rest);
                rest = left;
            }
            cipher.finish(&mut rest);
            out.append(&mut rest);
            assert_eq!(out, whole, "{len}");
        }
    }
}
