//! A reader of transport streams that accepts only what is right, for tests.

use super::PACKET;
use super::psi::crc32;
use std::collections::BTreeMap;

/// What a stream held.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Stream type by PID, as in the newest map.
    pub(crate) map: BTreeMap<u16, u8>,
    /// The PID that carries the clock.
    pub(crate) clock: u16,
    /// PES packets in the order in which they begin.
    pub(crate) pes: Vec<Pes>,
    /// How often the tables were there.
    pub(crate) tables: usize,
    counters: BTreeMap<u16, u8>,
    open: BTreeMap<u16, usize>,
}

/// A PES packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pes {
    pub(crate) pid: u16,
    pub(crate) pts: i64,
    pub(crate) dts: i64,
    pub(crate) pcr: Option<i64>,
    pub(crate) data: Vec<u8>,
    stated: usize,
}

impl Checked {
    /// Reads one more piece of a stream: whole packets, the last PES packet of each PID whole.
    pub(crate) fn read(&mut self, stream: &[u8]) {
        assert_eq!(stream.len() % PACKET, 0, "whole packets");
        for packet in stream.chunks(PACKET) {
            self.packet(packet);
        }
        for &index in self.open.values() {
            let pes = &self.pes[index];
            assert!(pes.stated == 0 || pes.stated == pes.data.len(), "PES length");
        }
    }

    fn packet(&mut self, packet: &[u8]) {
        assert_eq!(packet[0], 0x47, "sync byte");
        assert_eq!(packet[1] & 0xa0, 0, "no error, no priority");
        let start = packet[1] & 0x40 != 0;
        let pid = u16::from(packet[1] & 31) << 8 | u16::from(packet[2]);
        assert_eq!(packet[3] & 0xd0, 0x10, "clear, with payload");
        let counter = packet[3] & 15;
        if let Some(last) = self.counters.insert(pid, counter) {
            assert_eq!(counter, (last + 1) & 15, "continuity of PID {pid:#x}");
        }
        let mut payload = &packet[4..];
        let mut pcr = None;
        if packet[3] & 0x20 != 0 {
            let len = usize::from(packet[4]);
            let field = &packet[5..5 + len];
            payload = &packet[5 + len..];
            assert!(!payload.is_empty());
            if let Some((&flags, mut rest)) = field.split_first() {
                assert_eq!(flags & !0x10, 0, "a clock and nothing else");
                if flags & 0x10 != 0 {
                    let base = rest[..4].iter().fold(0, |base, &b| base << 8 | i64::from(b));
                    pcr = Some(base << 1 | i64::from(rest[4] >> 7));
                    assert_eq!((rest[4] & 0x7f, rest[5]), (0x7e, 0), "extension 0");
                    rest = &rest[6..];
                }
                assert!(rest.iter().all(|&b| b == 0xff), "stuffing");
            }
        }
        match pid {
            0 => {
                let body = section(payload, 0);
                assert_eq!(body, [0, 1, 0xc1, 0, 0, 0, 1, 0xf0, 0x01]);
                self.tables += 1;
            }
            0x1001 => {
                let body = section(payload, 2);
                assert_eq!((&body[..2], body[2] & 0xc1), (&[0, 1][..], 0xc1));
                self.clock = u16::from(body[5] & 31) << 8 | u16::from(body[6]);
                self.map = (body[9..].chunks(5))
                    .map(|entry| (u16::from(entry[1] & 31) << 8 | u16::from(entry[2]), entry[0]))
                    .collect();
                assert!(self.map.contains_key(&self.clock), "the clock's PID is in the map");
            }
            _ => self.piece(pid, start, pcr, payload),
        }
    }

    fn piece(&mut self, pid: u16, start: bool, pcr: Option<i64>, payload: &[u8]) {
        assert!(self.map.contains_key(&pid), "PID {pid:#x} is in the map");
        assert!(pcr.is_none() || start && pid == self.clock, "the clock at the start of a PES");
        if !start {
            let index = *self.open.get(&pid).expect("a PES packet began");
            self.pes[index].data.extend_from_slice(payload);
            return;
        }
        if let Some(&last) = self.open.get(&pid) {
            let pes = &self.pes[last];
            assert!(pes.stated == 0 || pes.stated == pes.data.len(), "PES length");
        }
        assert_eq!(payload[..3], [0, 0, 1]);
        assert_eq!(payload[3], if pid == 0x100 { 0xe0 } else { 0xc0 });
        let len = usize::from(u16::from_be_bytes([payload[4], payload[5]]));
        assert!(len > 0 || pid == 0x100, "only video may have no length");
        assert_eq!(payload[6], 0x80);
        let header = usize::from(payload[8]);
        let pts = clock(&payload[9..14]);
        let dts = match payload[7] {
            0x80 => pts,
            0xc0 => clock(&payload[14..19]),
            flags => panic!("PES flags {flags:#x}"),
        };
        let stated = if len > 0 { len - 3 - header } else { 0 };
        let data = payload[9 + header..].to_vec();
        assert!(pcr.is_none_or(|pcr| pcr == dts), "the clock is the decode time");
        self.open.insert(pid, self.pes.len());
        self.pes.push(Pes { pid, pts, dts, pcr, data, stated });
    }

    /// Everything of one PID.
    pub(crate) fn of(&self, pid: u16) -> impl Iterator<Item = &Pes> {
        self.pes.iter().filter(move |pes| pes.pid == pid)
    }
}

fn section(payload: &[u8], table: u8) -> &[u8] {
    assert_eq!(payload[0], 0, "pointer");
    let len = usize::from(payload[2] & 15) << 8 | usize::from(payload[3]);
    let section = &payload[1..4 + len];
    assert_eq!((section[0], section[1] & 0xf0), (table, 0xb0));
    assert_eq!(crc32(section), 0, "CRC");
    assert!(payload[4 + len..].iter().all(|&b| b == 0xff));
    &section[3..section.len() - 4]
}

fn clock(bytes: &[u8]) -> i64 {
    let b = |i: usize| i64::from(bytes[i]);
    assert!(bytes[0] & bytes[2] & bytes[4] & 1 == 1, "marker bits");
    (b(0) >> 1 & 7) << 30 | b(1) << 22 | (b(2) >> 1) << 15 | b(3) << 7 | b(4) >> 1
}
