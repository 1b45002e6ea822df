//! RTCP (RFC 3550 §6): what senders report, and the reports of a receiver.

use super::Error;

/// Packet types.
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const DESCRIPTION: u8 = 202;
const BYE: u8 = 203;

/// One packet of a compound packet that means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A sender report (§6.4.1).
    Sender(SenderReport),
    /// The source with this SSRC is over (§6.6).
    Bye(u32),
}

/// What a sender says of its clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// Whose it is.
    pub ssrc: u32,
    /// The wall clock, seconds since 1900 in 32.32 bits; 0 for a sender without one.
    pub ntp: u64,
    /// The RTP timestamp of the same moment.
    pub timestamp: u32,
    /// RTP packets sent.
    pub packets: u32,
    /// Bytes of payload sent.
    pub bytes: u32,
}

/// Calls `each` for what stands in a compound packet. What is not known is passed over; what stands
/// before an error counts.
pub fn parse(mut compound: &[u8], mut each: impl FnMut(Packet)) -> Result<(), Error> {
    while !compound.is_empty() {
        let (&[first, kind, high, low], rest) = compound.split_first_chunk().ok_or(Error::Short)?;
        if first >> 6 != 2 {
            return Err(Error::Version);
        }
        let len = 4 * usize::from(u16::from_be_bytes([high, low]));
        let (body, rest) = rest.split_at_checked(len).ok_or(Error::Short)?;
        compound = rest;
        let mut words = body.as_chunks::<4>().0.iter().map(|word| u32::from_be_bytes(*word));
        let mut word = || words.next().ok_or(Error::Short);
        match kind {
            SENDER_REPORT => each(Packet::Sender(SenderReport {
                ssrc: word()?,
                ntp: u64::from(word()?) << 32 | u64::from(word()?),
                timestamp: word()?,
                packets: word()?,
                bytes: word()?,
            })),
            BYE => {
                for _ in 0..first & 31 {
                    each(Packet::Bye(word()?));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// How a source is received (§6.4.1, the report block).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reception {
    /// The source.
    pub ssrc: u32,
    /// Packets lost since the last report, of 256.
    pub fraction: u8,
    /// Packets lost so far.
    pub lost: u32,
    /// The newest sequence number, its wraps above it.
    pub newest: u32,
    /// In ticks of the RTP clock.
    pub jitter: u32,
    /// The middle 32 bits of the last sender report's `ntp`; 0 for none.
    pub last_report: u32,
    /// The time since then, in 1/65536 seconds.
    pub since_report: u32,
}

/// Appends a receiver report from `ssrc` with a description whose canonical name is `name`, of
/// which 255 bytes count: a compound packet as §6.1 wants it.
pub fn write_reception(ssrc: u32, name: &str, reception: &Reception, out: &mut Vec<u8>) {
    let mut put = |words: &[u32]| {
        for word in words {
            out.extend_from_slice(&word.to_be_bytes());
        }
    };
    let head = |count: u8, kind: u8, words: u32| {
        0x8000_0000 | u32::from(count) << 24 | u32::from(kind) << 16 | words
    };
    let lost = reception.lost.min(0x7f_ffff);
    put(&[head(1, RECEIVER_REPORT, 7), ssrc, reception.ssrc]);
    put(&[u32::from(reception.fraction) << 24 | lost, reception.newest, reception.jitter]);
    put(&[reception.last_report, reception.since_report]);
    let name = name.as_bytes().get(..name.len().min(255)).unwrap_or_default();
    // Item type, length, name, and one to four zeros.
    let words = (name.len() + 2) / 4 + 1;
    put(&[head(1, DESCRIPTION, words as u32 + 1), ssrc]);
    out.extend_from_slice(&[1, name.len() as u8]);
    out.extend_from_slice(name);
    out.resize(out.len() + 4 * words - name.len() - 2, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{hex, mutations};

    /// As ffmpeg sends it: a report, a description; then a BYE of two.
    const COMPOUND: &str = "80c80006 11223344 e1a2b3c4 80000000 0001e240 00000005 00000bb8
        81ca0003 11223344 01046100 00000000
        82cb0002 11223344 55667788";

    fn all(bytes: &[u8]) -> (Vec<Packet>, Result<(), Error>) {
        let mut got = Vec::new();
        let result = parse(bytes, |packet| got.push(packet));
        (got, result)
    }

    #[test]
    fn a_sender_report_ties_wall_clock_and_timestamp() {
        let want = SenderReport {
            ssrc: 0x1122_3344,
            ntp: 0xe1a2_b3c4_8000_0000,
            timestamp: 123_456,
            packets: 5,
            bytes: 3000,
        };
        let bye = [Packet::Bye(0x1122_3344), Packet::Bye(0x5566_7788)];
        let (got, result) = all(&hex(COMPOUND));
        assert_eq!((got, result), (vec![Packet::Sender(want), bye[0], bye[1]], Ok(())));
    }

    #[test]
    fn a_compound_cut_off_gives_what_is_whole() {
        let bytes = hex(COMPOUND);
        for len in 1..bytes.len() {
            let (got, result) = all(&bytes[..len]);
            assert_eq!(result.is_ok(), matches!(len, 28 | 44), "{len}");
            assert_eq!(got.len(), usize::from(len >= 28), "{len}");
        }
        mutations(&bytes, |changed| {
            let (got, _) = all(changed);
            assert!(got.len() < 64);
        });
        assert_eq!(all(&hex("80c80001 11223344")).1, Err(Error::Short), "its length lies");
        assert_eq!(all(&hex("80c9ffff")).1, Err(Error::Short));
    }

    #[test]
    fn a_receiver_report_is_laid_out_in_words() {
        let reception = Reception {
            ssrc: 2,
            fraction: 64,
            lost: u32::MAX,
            newest: 0x1_0005,
            jitter: 9,
            last_report: 0xb3c4_8000,
            since_report: 65536,
        };
        for (name, tail) in [("", "01000000"), ("ab", "01026162 00000000"), ("a", "01016100")] {
            let mut out = Vec::new();
            write_reception(1, name, &reception, &mut out);
            let report = "81c90007 00000001 00000002 407fffff 00010005 00000009 b3c48000 00010000";
            let words = hex(tail).len() / 4 + 1;
            let want = format!("{report} 81ca000{words} 00000001 {tail}");
            assert_eq!(out, hex(&want), "{name}");
            assert_eq!(all(&out), (vec![], Ok(())));
        }
    }
}
