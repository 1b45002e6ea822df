//! The digest ("complex") handshake. Adobe never published it; all servers and players agree on it.
//!
//! C1 and S1 are `time(4) version(4)` and two blocks of 764 bytes. One of them hides a digest of the
//! packet, the other a Diffie-Hellman key, each at a place that four of its bytes add up to. Which
//! block comes first is the *schema*, chosen by the client. S2 and C2 end with a digest that proves
//! that the digest of C1 or S1 was found.
//!
//! The place of the key holds random bytes here, like the rest of the block: only RTMPE derives
//! anything from it, and RTMPE is refused.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::handshake::{PACKET, Packet, filler};

/// Appends S1 and S2 if `c1` carries a digest.
pub(super) fn answer(c1: &Packet, time: u32, out: &mut Vec<u8>) -> bool {
    let Some((schema, digest)) = find(PLAYER_KEY, c1) else {
        return false;
    };
    out.extend_from_slice(&first_packet(schema, SERVER_KEY, time, SERVER_VERSION));
    out.extend_from_slice(&second_packet(SERVER_KEY, &digest));
    true
}

/// Appends C1.
pub(super) fn hello(time: u32, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(&first_packet(Schema::DigestFirst, PLAYER_KEY, time, PLAYER_VERSION));
    true
}

/// Appends C2 if `s1` carries a digest.
pub(super) fn finish(s1: &Packet, out: &mut Vec<u8>) -> bool {
    let Some((_, digest)) = find(SERVER_KEY, s1) else {
        return false;
    };
    out.extend_from_slice(&second_packet(PLAYER_KEY, &digest));
    true
}

/// The order of the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Schema {
    /// "Schema 0".
    KeyFirst,
    /// "Schema 1".
    DigestFirst,
}

impl Schema {
    /// Where the block with the digest begins.
    fn digest_block(self) -> usize {
        match self {
            Self::KeyFirst => HEAD + BLOCK,
            Self::DigestFirst => HEAD,
        }
    }

    /// Where the digest begins: the first four bytes of its block say how far behind them.
    fn digest_place(self, packet: &Packet) -> usize {
        let block = self.digest_block();
        let sum: usize = packet[block..block + 4].iter().map(|&byte| usize::from(byte)).sum();
        block + 4 + sum % (BLOCK - DIGEST - 4)
    }

    /// The digest that `packet` has to carry, and the one it carries.
    fn digests(self, key: Key, packet: &Packet) -> (Digest, &[u8]) {
        let (before, rest) = packet.split_at(self.digest_place(packet));
        let (carried, after) = rest.split_at(DIGEST);
        (hmac(key.text.as_bytes(), &[before, after]), carried)
    }
}

/// The digest of C1 or S1, made with `key`, in whichever schema it is.
fn find(key: Key, packet: &Packet) -> Option<(Schema, Digest)> {
    [Schema::KeyFirst, Schema::DigestFirst].into_iter().find_map(|schema| {
        let (digest, carried) = schema.digests(key, packet);
        (digest == carried).then_some((schema, digest))
    })
}

/// C1 or S1.
fn first_packet(schema: Schema, key: Key, time: u32, version: [u8; 4]) -> Packet {
    let mut packet: Packet = filler();
    packet[..4].copy_from_slice(&time.to_be_bytes());
    packet[4..HEAD].copy_from_slice(&version);
    let (digest, _) = schema.digests(key, &packet);
    let place = schema.digest_place(&packet);
    packet[place..place + DIGEST].copy_from_slice(&digest);
    packet
}

/// C2 or S2, for the digest of the peer's packet.
fn second_packet(key: Key, digest: &Digest) -> Packet {
    let mut packet: Packet = filler();
    let proof = hmac(
        &hmac(&[key.text.as_bytes(), &KEY_END].concat(), &[digest]),
        &[&packet[..PACKET - DIGEST]],
    );
    packet[PACKET - DIGEST..].copy_from_slice(&proof);
    packet
}

/// HMAC-SHA256 over the parts.
fn hmac(key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

type Digest = [u8; DIGEST];

/// One of Adobe's two keys, known to everybody.
#[derive(Clone, Copy)]
struct Key {
    /// C1 and S1 are made with the text alone, C2 and S2 with text and [`KEY_END`].
    text: &'static str,
}

const PLAYER_KEY: Key = Key { text: "Genuine Adobe Flash Player 001" };
const SERVER_KEY: Key = Key { text: "Genuine Adobe Flash Media Server 001" };
const KEY_END: [u8; 32] = [
    0xf0, 0xee, 0xc2, 0x4a, 0x80, 0x68, 0xbe, 0xe8, 0x2e, 0x00, 0xd0, 0xd1, 0x02, 0x9e, 0x7e, 0x57,
    0x6e, 0xec, 0x5d, 0x2d, 0x29, 0x80, 0x6f, 0xab, 0x93, 0xb8, 0xe6, 0x36, 0xcf, 0xeb, 0x31, 0xae,
];

/// Anything but 0, which says that a peer knows no digests.
const SERVER_VERSION: [u8; 4] = [1, 0, 5, 4];
const PLAYER_VERSION: [u8; 4] = [0x80, 0, 7, 2];

/// Time and version.
const HEAD: usize = 8;
/// The block of the key, the block of the digest.
const BLOCK: usize = 764;
const DIGEST: usize = 32;

const _: () = assert!(HEAD + 2 * BLOCK == PACKET);
const _: () = assert!(PLAYER_KEY.text.len() == 30 && SERVER_KEY.text.len() == 36);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_found_in_both_schemas_and_only_with_its_key() {
        for schema in [Schema::KeyFirst, Schema::DigestFirst] {
            for _ in 0..50 {
                let packet = first_packet(schema, PLAYER_KEY, 7, PLAYER_VERSION);
                let place = schema.digest_place(&packet);
                assert!(place >= HEAD + 4 && place + DIGEST <= PACKET);
                assert_eq!(packet[..8], [0, 0, 0, 7, 0x80, 0, 7, 2]);
                let (found, digest) = find(PLAYER_KEY, &packet).expect("a digest");
                assert_eq!((found, &digest[..]), (schema, &packet[place..place + DIGEST]));
                assert_eq!(find(SERVER_KEY, &packet), None);
            }
        }
    }

    #[test]
    fn the_digest_stays_in_its_block_whatever_the_offset_bytes_are() {
        for schema in [Schema::KeyFirst, Schema::DigestFirst] {
            let block = schema.digest_block();
            for offset in [[0; 4], [0xff; 4], [0xff, 0xff, 0xd9, 0], [0xff, 0xff, 0xda, 0]] {
                let mut packet = [0; PACKET];
                packet[block..block + 4].copy_from_slice(&offset);
                let place = schema.digest_place(&packet);
                assert!(place >= block + 4 && place + DIGEST <= block + BLOCK);
            }
        }
    }

    #[test]
    fn a_changed_bit_anywhere_makes_the_digest_wrong() {
        let packet = first_packet(Schema::DigestFirst, PLAYER_KEY, 0, PLAYER_VERSION);
        for at in (0..PACKET).step_by(37) {
            let mut changed = packet;
            changed[at] ^= 1;
            assert_eq!(find(PLAYER_KEY, &changed), None, "byte {at}");
        }
    }

    #[test]
    fn the_server_answers_in_the_schema_of_the_client() {
        for schema in [Schema::KeyFirst, Schema::DigestFirst] {
            let c1 = first_packet(schema, PLAYER_KEY, 1, PLAYER_VERSION);
            let mut out = Vec::new();
            assert!(answer(&c1, 0x0102_0304, &mut out));
            let (s1, s2) = out.split_first_chunk::<PACKET>().expect("S1");
            assert_eq!(s1[..8], [1, 2, 3, 4, 1, 0, 5, 4]);
            assert_eq!(find(SERVER_KEY, s1).map(|(schema, _)| schema), Some(schema));
            let (_, c1_digest) = find(PLAYER_KEY, &c1).expect("a digest");
            assert!(proves(SERVER_KEY, &c1_digest, s2));
        }
    }

    #[test]
    fn the_client_proves_that_it_found_the_digest_of_the_server() {
        for schema in [Schema::KeyFirst, Schema::DigestFirst] {
            let s1 = first_packet(schema, SERVER_KEY, 1, SERVER_VERSION);
            let mut c2 = Vec::new();
            assert!(finish(&s1, &mut c2));
            let (_, digest) = find(SERVER_KEY, &s1).expect("a digest");
            assert!(proves(PLAYER_KEY, &digest, &c2));
        }
    }

    #[test]
    fn nothing_is_written_for_a_peer_without_digest() {
        let mut out = Vec::new();
        assert!(!answer(&[0; PACKET], 0, &mut out));
        assert!(!finish(&filler(), &mut out));
        assert!(out.is_empty());
    }

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        let mac = hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(mac[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
        assert_eq!(mac[24..], [0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43][..]);
    }

    /// As written by the other side's rules: the 32 bytes at the end over those before.
    fn proves(key: Key, digest: &Digest, packet: &[u8]) -> bool {
        assert_eq!(packet.len(), PACKET);
        let (random, proof) = packet.split_at(1504);
        let full = [key.text.as_bytes(), &KEY_END].concat();
        assert!([62, 68].contains(&full.len()));
        hmac(&hmac(&full, &[digest]), &[random]) == *proof
    }
}
