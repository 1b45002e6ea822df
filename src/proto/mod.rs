//! Protocols without I/O: machines that take bytes and give events and bytes.

pub mod amf0;
pub mod authority;
pub mod dns;
pub mod framing;
#[cfg(any(feature = "_http", feature = "_fetch"))]
pub mod http;
#[cfg(any(feature = "_http", feature = "_fetch", feature = "_rtsp"))]
mod percent;
pub mod proxy;
pub mod rtmp;
#[cfg(feature = "_rtsp")]
pub mod rtp;
#[cfg(feature = "_rtsp")]
pub mod rtsp;

/// A protocol as a machine. Whoever drives it (see `io::link`) reads from the peer into a buffer
/// of its own, hands the bytes to [`receive`](Self::receive) until they are used up, and writes
/// what [`send_buf`](Self::send_buf) holds.
pub trait Machine {
    /// What can happen.
    type Event;
    /// What the peer can do wrong.
    type Error: std::error::Error + 'static;

    /// Takes bytes from the front of `input`. Returns at the first event, with the rest still in
    /// `input`; `None` means that more is needed, or, with bytes left in `input`, that the owner
    /// has to answer an event first. To be called until it returns `None`, also with an empty
    /// `input`: one message can bring several events. After an error the machine is only good for
    /// sending what `send_buf` holds.
    fn receive(&mut self, input: &mut &[u8]) -> Result<Option<Self::Event>, Self::Error>;

    /// Bytes due to the peer.
    fn send_buf(&self) -> &[u8];

    /// The first `n` bytes of `send_buf` were sent.
    fn send_done(&mut self, n: usize);

    /// The server leaves: says so to the peer, where the protocol can. Whether nothing is under
    /// way, so that the connection may end now.
    fn leave(&mut self) -> bool {
        false
    }
}
