//! RTMP (Adobe's RTMP 1.0 of 2012) as machines without I/O.

pub mod chunk;
pub mod handshake;
#[cfg(feature = "digest")]
mod handshake_digest;

/// Without the feature no peer is known to speak the digest handshake.
#[cfg(not(feature = "digest"))]
mod handshake_digest {
    use super::handshake::Packet;

    pub(super) fn answer(_c1: &Packet, _time: u32, _out: &mut Vec<u8>) -> bool {
        false
    }

    pub(super) fn hello(_time: u32, _out: &mut Vec<u8>) -> bool {
        false
    }

    pub(super) fn finish(_s1: &Packet, _out: &mut Vec<u8>) -> bool {
        false
    }
}
