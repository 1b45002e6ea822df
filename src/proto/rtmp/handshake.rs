//! The handshake (RTMP 1.0 §5.2), the server's and the client's side.
//!
//! Both sides send a byte 3 and a packet of 1536 bytes (C1, S1), then answer the other's packet
//! (S2, C2). In the *simple* form the answer is a copy. In the *complex* form, which Flash Player
//! asks for before it plays H.264, packets carry digests: see `handshake_digest`. The answer of the
//! peer is counted, never looked at: too many peers send rubbish there.

use super::handshake_digest;

pub use super::chunk::Error;

/// How the handshake went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// With copies.
    Simple,
    /// With digests.
    Complex,
}

/// The server's side: C0 C1 in, S0 S1 S2 out, C2 in.
#[derive(Debug)]
pub struct ServerHandshake {
    time: u32,
    step: Step,
}

impl ServerHandshake {
    /// `time` goes into S1: milliseconds from any start, 0 will do.
    pub fn new(time: u32) -> Self {
        Self { time, step: Step::First(Vec::new()) }
    }

    /// Takes bytes from the front of `input`, not one beyond the handshake. Appends S0 S1 S2 (3073
    /// bytes) to `out` when C1 is there, and returns how it went once C2 is in. `None` means that
    /// all of the input was taken. Fails with [`Error::PlainRequired`] at the very first byte.
    pub fn receive(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Option<Form>, Error> {
        let time = self.time;
        self.step.receive(input, Error::PlainRequired, |c1| {
            out.reserve(1 + 2 * PACKET);
            out.push(VERSION);
            if handshake_digest::answer(c1, time, out) {
                return Form::Complex;
            }
            let [a, b, c, d, ..] = *c1;
            out.extend_from_slice(&time.to_be_bytes());
            out.extend_from_slice(&[a, b, c, d]);
            out.extend_from_slice(&filler::<{ PACKET - 8 }>());
            out.extend_from_slice(c1);
            Form::Simple
        })
    }
}

/// The client's side: C0 C1 out, S0 S1 S2 in, C2 out.
#[derive(Debug)]
pub struct ClientHandshake {
    form: Form,
    step: Step,
}

impl ClientHandshake {
    /// Appends C0 C1 (1537 bytes) to `out`. `time` goes into C1: milliseconds from any start, 0
    /// will do. [`Form::Complex`] becomes simple in a build without the feature `digest`.
    pub fn new(form: Form, time: u32, out: &mut Vec<u8>) -> Self {
        out.reserve(1 + PACKET);
        out.push(VERSION);
        let complex = form == Form::Complex && handshake_digest::hello(time, out);
        if !complex {
            out.extend_from_slice(&time.to_be_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&filler::<{ PACKET - 8 }>());
        }
        Self {
            form: if complex { Form::Complex } else { Form::Simple },
            step: Step::First(Vec::new()),
        }
    }

    /// Takes bytes from the front of `input`, not one beyond the handshake. Appends C2 (1536 bytes)
    /// to `out` when S1 is there, and returns how it went once S2 is in: complex only if the server
    /// knows it too. `None` means that all of the input was taken. Fails with
    /// [`Error::Handshake`] at the very first byte.
    pub fn receive(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Option<Form>, Error> {
        let form = self.form;
        self.step.receive(input, Error::Handshake, |s1| {
            if form == Form::Complex && handshake_digest::finish(s1, out) {
                return Form::Complex;
            }
            out.extend_from_slice(s1);
            Form::Simple
        })
    }
}

/// C1, S1, C2 or S2.
pub(super) type Packet = [u8; PACKET];

/// Bytes of a [`Packet`].
pub(super) const PACKET: usize = 1536;

/// Random bytes of the range that Adobe's own peers use. They need not be hard to guess.
pub(super) fn filler<const N: usize>() -> [u8; N] {
    let mut random = fastrand::Rng::new();
    std::array::from_fn(|_| random.u8(0x0f..=0xf0))
}

/// What is expected of the peer.
#[derive(Debug)]
enum Step {
    /// The byte 3 and the first packet. What has come of them is gathered here, unless they come
    /// in one piece.
    First(Vec<u8>),
    /// So many bytes of the second packet.
    Second(Form, usize),
}

impl Step {
    /// Hands the peer's first packet to `answer`.
    fn receive(
        &mut self,
        input: &mut &[u8],
        wrong_version: fn(u8) -> Error,
        answer: impl FnOnce(&Packet) -> Form,
    ) -> Result<Option<Form>, Error> {
        if let Self::First(gathered) = self {
            let Some(&version) = gathered.first().or_else(|| input.first()) else {
                return Ok(None);
            };
            if version != VERSION {
                return Err(wrong_version(version));
            }
            let missing = (1 + PACKET).saturating_sub(gathered.len());
            let (more, rest) = input.split_at(missing.min(input.len()));
            *input = rest;
            let form = if more.len() > PACKET {
                first_packet(more).map(answer)
            } else {
                gathered.reserve_exact(missing);
                gathered.extend_from_slice(more);
                first_packet(gathered).map(answer)
            };
            let Some(form) = form else {
                return Ok(None);
            };
            *self = Self::Second(form, PACKET);
        }
        let Self::Second(form, missing) = self else {
            return Ok(None);
        };
        let n = input.len().min(*missing);
        *input = &input[n..];
        *missing -= n;
        Ok((*missing == 0).then_some(*form))
    }
}

/// The packet behind the version byte, when all of it is there.
fn first_packet(bytes: &[u8]) -> Option<&Packet> {
    bytes.split_first().and_then(|(_, packet)| packet.first_chunk())
}

/// Plain RTMP. 6 and 8 would be RTMPE.
const VERSION: u8 = 3;

const _: () = assert!(size_of::<ServerHandshake>() <= 48);

#[cfg(test)]
mod tests;
