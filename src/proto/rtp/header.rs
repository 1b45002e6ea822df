//! The fixed header of RTP packets (RFC 3550 §5.1).

use super::Error;

/// What stands in front of each payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The end of a picture, or of the last audio frame, by the rules of the payload.
    pub marker: bool,
    /// 0 to 127.
    pub payload_type: u8,
    /// One more with each packet; wraps.
    pub sequence: u16,
    /// In ticks of the payload's clock; wraps.
    pub timestamp: u32,
    /// The source of the packets.
    pub ssrc: u32,
}

impl Header {
    /// Reads a packet: its header, and its payload without contributing sources, extension and
    /// padding.
    pub fn parse(packet: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (head, mut payload) = packet.split_first_chunk::<12>().ok_or(Error::Short)?;
        let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *head;
        if first >> 6 != 2 {
            return Err(Error::Version);
        }
        payload = payload.get(4 * usize::from(first & 15)..).ok_or(Error::Short)?;
        if first & 0x10 != 0 {
            let (&[_, _, high, low], rest) = payload.split_first_chunk().ok_or(Error::Short)?;
            let words = usize::from(u16::from_be_bytes([high, low]));
            payload = rest.get(4 * words..).ok_or(Error::Short)?;
        }
        if first & 0x20 != 0 {
            // The last byte of the padding counts itself.
            let padding = payload.last().map_or(0, |&len| usize::from(len));
            let len = payload.len().checked_sub(padding).filter(|_| padding > 0);
            payload = len.and_then(|len| payload.get(..len)).ok_or(Error::Short)?;
        }
        let header = Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
        };
        Ok((header, payload))
    }

    /// Appends the header, 12 bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0x80, u8::from(self.marker) << 7 | self.payload_type & 0x7f]);
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{hex, mutations};

    const HEADER: Header = Header {
        marker: true,
        payload_type: 96,
        sequence: 0x1234,
        timestamp: 0x5678_9abc,
        ssrc: 0xdead_beef,
    };

    /// Name, packet, payload.
    const CASES: &[(&str, &str, &str)] = &[
        ("plain", "80e0 1234 56789abc deadbeef 0102", "0102"),
        ("no payload", "80e0 1234 56789abc deadbeef", ""),
        ("two sources", "82e0 1234 56789abc deadbeef 00000001 00000002 0102", "0102"),
        ("extension", "90e0 1234 56789abc deadbeef bede 0001 11223344 0102", "0102"),
        ("empty extension", "90e0 1234 56789abc deadbeef bede 0000 0102", "0102"),
        ("padding", "a0e0 1234 56789abc deadbeef 01 020003", "01"),
        ("all", "b1e0 1234 56789abc deadbeef 00000001 0000 0001 ffffffff 0102 01", "0102"),
        ("nothing but padding", "a0e0 1234 56789abc deadbeef 0002", ""),
    ];

    #[test]
    fn a_payload_stands_behind_sources_and_extension_and_before_padding() {
        for (name, packet, payload) in CASES {
            let packet = hex(packet);
            assert_eq!(Header::parse(&packet), Ok((HEADER, &*hex(payload))), "{name}");
        }
        let mut written = Vec::new();
        HEADER.write(&mut written);
        assert_eq!(written, hex(CASES[1].1));
    }

    #[test]
    fn a_header_that_is_cut_off_or_lies_is_refused() {
        for (name, packet, payload) in CASES {
            let (packet, payload) = (hex(packet), hex(payload));
            // Without a length of their own, payloads can be cut.
            let head = if packet[0] & 0x20 == 0 { packet.len() - payload.len() } else { 12 };
            for len in 0..head {
                assert_eq!(Header::parse(&packet[..len]), Err(Error::Short), "{name} {len}");
            }
            mutations(&packet, |changed| {
                let _ = Header::parse(changed);
            });
        }
        for (packet, error) in [
            ("40e0 1234 56789abc deadbeef", Error::Version),
            ("a0e0 1234 56789abc deadbeef 0100", Error::Short),
            ("a0e0 1234 56789abc deadbeef 0103", Error::Short),
            ("a0e0 1234 56789abc deadbeef", Error::Short),
        ] {
            assert_eq!(Header::parse(&hex(packet)), Err(error), "{packet}");
        }
    }
}
