//! Transport packets (ISO/IEC 13818-1 §2.4.3): a PES packet cut into pieces of 184 bytes.

use super::PACKET;

/// Bytes behind the header of a packet.
const ROOM: usize = PACKET - 4;
/// Bytes of an adaptation field with a clock reference and nothing else.
const PCR_FIELD: usize = 8;

/// One elementary stream: its PID, and the number of its next packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pid: u16,
    counter: u8,
}

impl Line {
    pub(super) const fn new(pid: u16) -> Self {
        Self { pid, counter: 0 }
    }

    pub(super) const fn pid(&self) -> u16 {
        self.pid
    }

    /// The header of the next packet. `flags` says whether an adaptation field and a payload
    /// follow.
    pub(super) fn header(&mut self, start: bool, flags: u8) -> [u8; 4] {
        let [high, low] = self.pid.to_be_bytes();
        let counter = self.counter;
        self.counter = (counter + 1) & 15;
        [0x47, high | if start { 0x40 } else { 0 }, low, flags << 4 | counter]
    }
}

/// A payload follows.
pub(super) const PAYLOAD: u8 = 1;
/// An adaptation field and a payload follow.
const BOTH: u8 = 3;

/// Writes one PES packet whose length is known. The bytes go straight to where they belong.
pub(super) struct Pieces<'a> {
    out: &'a mut Vec<u8>,
    line: &'a mut Line,
    /// Bytes of the PES packet that are still to come.
    remaining: usize,
    /// Bytes that the packet in progress still takes.
    room: usize,
    start: bool,
    pcr: Option<u64>,
}

impl<'a> Pieces<'a> {
    /// A PES packet of `len` bytes, with a clock reference of 33 bits if there is one. All of
    /// them must be [`put`](Self::put).
    pub(super) fn new(
        out: &'a mut Vec<u8>,
        line: &'a mut Line,
        len: usize,
        pcr: Option<u64>,
    ) -> Self {
        Self { out, line, remaining: len, room: 0, start: true, pcr }
    }

    /// The next bytes of it.
    pub(super) fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.room == 0 {
                self.begin();
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(self.room));
            self.out.extend_from_slice(piece);
            self.room -= piece.len();
            self.remaining = self.remaining.saturating_sub(piece.len());
            bytes = rest;
        }
    }

    /// Starts the next packet: what the rest of the PES packet does not fill is stuffing.
    fn begin(&mut self) {
        let pcr = self.pcr.take();
        let least = if pcr.is_some() { PCR_FIELD } else { 0 };
        let payload = self.remaining.clamp(1, ROOM - least);
        let field = ROOM - payload;
        let flags = if field > 0 { BOTH } else { PAYLOAD };
        let header = self.line.header(self.start, flags);
        self.start = false;
        self.out.extend_from_slice(&header);
        // The field counts itself without its first byte.
        if let Some(len) = field.checked_sub(1) {
            self.out.push(len as u8);
            let end = self.out.len() + len;
            if len > 0 {
                self.out.push(if pcr.is_some() { 0x10 } else { 0 });
            }
            if let Some(pcr) = pcr {
                self.out.extend_from_slice(&clock_reference(pcr));
            }
            self.out.resize(end, 0xff);
        }
        self.room = payload;
    }
}

/// 33 bits of 90 kHz, six reserved bits, an extension of 0.
fn clock_reference(pcr: u64) -> [u8; 6] {
    let [.., a, b, c, d, e] = (pcr << 7).to_be_bytes();
    [a, b, c, d, e | 0x7e, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(len: usize, pcr: Option<u64>) -> Vec<u8> {
        let (mut out, mut line) = (Vec::new(), Line::new(0x100));
        let mut pieces = Pieces::new(&mut out, &mut line, len, pcr);
        let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
        bytes.chunks(7).for_each(|chunk| pieces.put(chunk));
        out
    }

    #[test]
    fn every_length_fills_whole_packets_and_comes_back() {
        for pcr in [None, Some(0x1_2345_6789)] {
            for len in 1..600 {
                let out = cut(len, pcr);
                assert_eq!(out.len() % PACKET, 0);
                let mut back = Vec::new();
                for (i, packet) in out.chunks(PACKET).enumerate() {
                    assert_eq!(packet[..3], [0x47, if i == 0 { 0x41 } else { 1 }, 0]);
                    assert_eq!(packet[3] & 15, i as u8);
                    let field = match packet[3] >> 4 {
                        1 => 0,
                        3 => 1 + usize::from(packet[4]),
                        other => panic!("flags {other}"),
                    };
                    assert!(field < ROOM, "each packet has payload");
                    let stuffing = if i == 0 && pcr.is_some() { PCR_FIELD } else { 2 };
                    if field > stuffing {
                        assert!(packet[4 + stuffing..4 + field].iter().all(|&b| b == 0xff));
                    }
                    back.extend_from_slice(&packet[4 + field..]);
                }
                assert_eq!(back, (0..len).map(|i| i as u8).collect::<Vec<_>>(), "{len}");
            }
        }
    }

    #[test]
    fn the_clock_has_33_bits() {
        let packet = &cut(10, Some(0x1_ffff_fffe))[..];
        assert_eq!(packet[5..12], [0x10, 0xff, 0xff, 0xff, 0xff, 0x7e, 0]);
        assert_eq!(cut(10, Some(1))[6..12], [0, 0, 0, 0, 0xfe, 0]);
    }
}
