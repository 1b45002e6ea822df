//! Transport and PES packets taken apart (ISO/IEC 13818-1 §2.4.3).

use super::super::PACKET;
use super::Counters;

/// A transport packet with a payload.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    pub(super) pid: u16,
    /// A PES packet or a section begins in the payload.
    pub(super) start: bool,
    pub(super) counter: u8,
    /// The counter may jump here.
    pub(super) discontinuity: bool,
    pub(super) scrambled: bool,
    /// The receiver says that bits are wrong, or the adaptation field is longer than the packet.
    pub(super) broken: bool,
    pub(super) payload: &'a [u8],
}

impl<'a> Parsed<'a> {
    /// `None` for packets without payload.
    pub(super) fn new(packet: &'a [u8; PACKET]) -> Option<Self> {
        let [_, high, low, flags, rest @ ..] = packet;
        if flags & 0x10 == 0 {
            return None;
        }
        let (mut payload, mut discontinuity, mut broken) = (&rest[..], false, high & 0x80 != 0);
        if flags & 0x20 != 0 {
            let (&len, field) = payload.split_first()?;
            payload = field.get(usize::from(len)..).unwrap_or_default();
            broken |= payload.is_empty();
            discontinuity = len > 0 && field.first().is_some_and(|flags| flags & 0x80 != 0);
        }
        Some(Self {
            pid: u16::from_be_bytes([high & 31, *low]),
            start: high & 0x40 != 0,
            counter: flags & 15,
            discontinuity,
            scrambled: flags & 0xc0 != 0,
            broken,
            payload,
        })
    }
}

/// What a counter says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// It follows the one before.
    Next,
    /// It is the one before once more.
    Duplicate,
    /// Others were lost before it.
    Lost,
}

/// The counter of one PID.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Continuity {
    last: Option<u8>,
    /// The end of the last payload: a packet that has another one is no duplicate.
    tail: [u8; 8],
    repeated: bool,
}

impl Continuity {
    pub(super) fn check(&mut self, packet: &Parsed<'_>, counters: &mut Counters) -> Order {
        let tail = packet.payload.last_chunk().copied().unwrap_or_default();
        let order = match self.last {
            None => Order::Next,
            _ if packet.discontinuity => Order::Next,
            Some(last) if packet.counter == (last + 1) & 15 => Order::Next,
            Some(last) if packet.counter == last && tail == self.tail && !self.repeated => {
                Order::Duplicate
            }
            Some(_) => Order::Lost,
        };
        self.repeated = order == Order::Duplicate;
        self.last = Some(packet.counter);
        self.tail = tail;
        match order {
            Order::Next => {}
            Order::Duplicate => Counters::add(&mut counters.duplicates),
            Order::Lost => Counters::add(&mut counters.continuity),
        }
        order
    }
}

/// The longest PES header: its lengths count it with a byte.
const HEADER: usize = 9 + 255;

/// The PES packet in progress of one PID.
#[derive(Debug, Default)]
pub(super) struct Pes {
    state: State,
    header: heapless::Vec<u8, HEADER>,
    /// Bytes of the body that the header promised and that are still to come.
    left: Option<usize>,
    /// Packets in a row that were as long as they stated.
    kept: u8,
}

/// So many packets were as long as they stated: when another one is not, something was lost that the
/// counter of 4 bits does not show.
const TRUSTED: u8 = 3;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing is wanted before the next start.
    #[default]
    Idle,
    Header,
    Body,
}

/// A PES packet begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begin {
    /// Times of 33 bits.
    pub(super) pts: Option<u64>,
    pub(super) dts: Option<u64>,
    /// Bytes that are to come, if that is stated.
    pub(super) len: Option<usize>,
}

/// A piece of a PES packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// The packet begins with this piece.
    pub(super) begin: Option<Begin>,
    pub(super) data: &'a [u8],
    /// The stated length is reached with this piece.
    pub(super) end: bool,
    /// There is more than the length that was stated.
    pub(super) over: bool,
    /// What came before it was not whole.
    pub(super) cut: bool,
}

impl Pes {
    /// Something was lost: nothing is taken before the next start.
    pub(super) fn lost(&mut self) {
        self.state = State::Idle;
    }

    /// Whether a packet is in progress that is not known to be whole.
    pub(super) fn is_open(&self) -> bool {
        self.state != State::Idle && self.left != Some(0)
    }

    /// Takes a payload; `start` says that a packet begins with it. Gives what of it belongs to the
    /// elementary stream. Lengths that lie are counted, and the data is taken as it comes, unless
    /// they were right so far.
    pub(super) fn payload<'a>(
        &mut self,
        start: bool,
        mut data: &'a [u8],
        counters: &mut Counters,
    ) -> Option<Piece<'a>> {
        let mut cut = false;
        if start {
            if self.state == State::Body && self.left.is_some_and(|left| left > 0) {
                Counters::add(&mut counters.lengths);
                cut = self.is_trusted();
                self.kept = 0;
            }
            self.state = State::Header;
            self.header.clear();
            self.left = None;
        }
        let mut begin = None;
        if self.state == State::Header {
            begin = Some(self.take_header(&mut data, counters)?);
        }
        if self.state == State::Idle {
            return None;
        }
        let (mut end, mut over) = (false, false);
        if let Some(left) = self.left {
            match left.checked_sub(data.len()) {
                Some(rest) => {
                    end = rest == 0 && left > 0;
                    self.left = Some(rest);
                    self.kept = self.kept.saturating_add(end.into());
                }
                None => {
                    Counters::add(&mut counters.lengths);
                    over = true;
                    self.left = None;
                    if self.is_trusted() {
                        self.state = State::Idle;
                        (data, cut) = (&[], true);
                    }
                    self.kept = 0;
                }
            }
        }
        Some(Piece { begin, data, end, over, cut })
    }

    fn is_trusted(&self) -> bool {
        self.kept >= TRUSTED
    }

    /// Gathers the header. `None` while it is not whole, and if it is none.
    fn take_header(&mut self, data: &mut &[u8], counters: &mut Counters) -> Option<Begin> {
        loop {
            let wanted = match *self.header {
                [_, _, _, _, _, _, _, _, len, ..] => 9 + usize::from(len),
                _ => 9,
            };
            let missing = wanted.saturating_sub(self.header.len());
            if missing == 0 {
                break;
            }
            if data.is_empty() {
                return None;
            }
            let (piece, rest) = data.split_at(missing.min(data.len()));
            // Cannot fail: HEADER is the most that can be wanted.
            let _ = self.header.extend_from_slice(piece);
            *data = rest;
        }
        let begin = self.parse(counters);
        self.state = if begin.is_some() { State::Body } else { State::Idle };
        self.left = begin.and_then(|begin| begin.len);
        begin
    }

    fn parse(&self, counters: &mut Counters) -> Option<Begin> {
        let (&[0, 0, 1, id, high, low, marks, flags, len], rest) =
            self.header.split_first_chunk()?
        else {
            Counters::add(&mut counters.damaged);
            return None;
        };
        // Maps, padding, control messages and directories have no such header (§2.4.3.7).
        if matches!(id, 0xbc | 0xbe | 0xbf | 0xf0..=0xf2 | 0xf8 | 0xff) {
            return None;
        }
        if marks & 0xc0 != 0x80 {
            Counters::add(&mut counters.damaged);
            return None;
        }
        if marks & 0x30 != 0 {
            Counters::add(&mut counters.scrambled);
            return None;
        }
        let stated = usize::from(u16::from_be_bytes([high, low]));
        let body = stated.checked_sub(3 + usize::from(len));
        if stated > 0 && body.is_none() {
            Counters::add(&mut counters.lengths);
        }
        let pts = if flags & 0x80 != 0 { rest.first_chunk().and_then(time) } else { None };
        let dts = if flags & 0xc0 == 0xc0 {
            rest.get(5..).and_then(|rest| rest.first_chunk()).and_then(time)
        } else {
            None
        };
        Some(Begin { pts, dts, len: body.filter(|_| stated > 0) })
    }
}

/// 33 bits; `None` if a marker bit is missing.
fn time(&[a, b, c, d, e]: &[u8; 5]) -> Option<u64> {
    if a & c & e & 1 == 0 {
        return None;
    }
    let [a, b, c, d, e] = [a >> 1 & 7, b, c >> 1, d, e >> 1].map(u64::from);
    Some(a << 30 | b << 22 | c << 15 | d << 7 | e)
}
