//! Encrypted segments: AES-128 in CBC mode with the padding of PKCS #7 (RFC 8216 §4.3.2.4).

use aes::Aes128;
use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockDecryptMut, KeyIvInit};

/// Bytes that are decrypted together, of a key and of an initialization vector.
pub(super) const BLOCK: usize = 16;

/// Decrypts one segment.
pub(super) struct Decryptor {
    cipher: cbc::Decryptor<Aes128>,
    /// Less than a block, or the last one so far.
    held: Vec<u8>,
}

impl Decryptor {
    pub(super) fn new(key: [u8; BLOCK], iv: [u8; BLOCK]) -> Result<Self, &'static str> {
        Ok(Self { cipher: cbc::Decryptor::new(&key.into(), &iv.into()), held: Vec::new() })
    }

    /// What the next bytes say, but for those that may be the end.
    pub(super) fn piece(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let whole = self.held.len().saturating_sub(1) / BLOCK * BLOCK;
        let rest = self.held.split_off(whole);
        let mut blocks = std::mem::replace(&mut self.held, rest);
        self.blocks(&mut blocks);
        blocks
    }

    /// What the last bytes say.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, &'static str> {
        let mut last = std::mem::take(&mut self.held);
        if last.len() != BLOCK {
            return Err("an encrypted segment that is cut off");
        }
        self.blocks(&mut last);
        let padding = last.last().map_or(0, |&byte| usize::from(byte));
        if !(1..=BLOCK).contains(&padding) {
            return Err("an encrypted segment whose key is another one");
        }
        last.truncate(BLOCK - padding);
        Ok(last)
    }

    fn blocks(&mut self, bytes: &mut [u8]) {
        for block in bytes.chunks_exact_mut(BLOCK) {
            self.cipher.decrypt_block_mut(GenericArray::from_mut_slice(block));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::hex;

    fn array(text: &str) -> [u8; BLOCK] {
        hex(text).try_into().unwrap()
    }

    fn decrypt(bytes: &[u8], size: usize) -> Result<Vec<u8>, &'static str> {
        let key = array("2b7e151628aed2a6abf7158809cf4f3c");
        let mut cipher = Decryptor::new(key, array("000102030405060708090a0b0c0d0e0f"))?;
        let mut plain = Vec::new();
        for piece in bytes.chunks(size) {
            plain.extend(cipher.piece(piece));
        }
        plain.extend(cipher.finish()?);
        Ok(plain)
    }

    /// NIST SP 800-38A, F.2.1, and 16 bytes of padding behind it.
    #[test]
    fn blocks_are_those_of_the_standard_wherever_pieces_end() {
        let secret = hex("7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2
                          73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7
                          8cb82807230e1321d3fae00d18cc2012");
        let plain = hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51
                         30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710");
        for size in [1, 15, 16, 17, 33, 1000] {
            assert_eq!(decrypt(&secret, size).as_ref(), Ok(&plain), "{size}");
        }
        for len in 0..secret.len() {
            assert!(decrypt(&secret[..len], 7).is_err() || len % BLOCK == 0, "{len}");
        }
        assert!(decrypt(&secret[..BLOCK], 7).is_err(), "no padding");
    }
}
