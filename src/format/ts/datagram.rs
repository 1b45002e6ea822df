//! A transport stream in datagrams, bare or in RTP (RFC 2250).

use super::PACKET;

/// Bytes of RTP in front of a transport stream.
const RTP_HEADER: usize = 12;

/// Whether it looks like packets of a transport stream, bare or in RTP.
pub fn is_ts(datagram: &[u8]) -> bool {
    let bare = packets(datagram);
    bare.len() >= PACKET
        && bare.first() == Some(&0x47)
        && bare.get(PACKET).is_none_or(|&next| next == 0x47)
}

/// Without the header of RTP, where there is one.
pub fn packets(datagram: &[u8]) -> &[u8] {
    let inner = datagram.get(RTP_HEADER..).unwrap_or_default();
    let in_rtp = datagram.first() == Some(&0x80)
        && inner.first() == Some(&0x47)
        && inner.len().is_multiple_of(PACKET);
    if in_rtp { inner } else { datagram }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_stream_is_known_bare_and_in_rtp() {
        let mut two = [0xff; 2 * PACKET];
        (two[0], two[PACKET]) = (0x47, 0x47);
        let rtp = [&[0x80, 33, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1][..], &two].concat();
        assert!(is_ts(&two) && is_ts(&two[..PACKET]) && is_ts(&rtp));
        assert_eq!((packets(&two).len(), packets(&rtp).len()), (two.len(), two.len()));
        two[PACKET] = 0;
        for other in [&two[..], &two[1..], &two[..PACKET - 1], b"hello", b""] {
            assert!(!is_ts(other));
        }
    }

    #[test]
    fn the_header_of_rtp_is_left_out() {
        let mut bare = vec![0; PACKET];
        bare[0] = 0x47;
        let in_rtp = [&[0x80, 33][..], &[0; 10], &bare].concat();
        assert!(is_ts(&bare) && is_ts(&in_rtp) && !is_ts(&bare[1..]) && !is_ts(&[]));
        assert_eq!(packets(&in_rtp), bare);
        assert_eq!(packets(&bare), bare);
    }
}
