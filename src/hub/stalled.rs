//! Half-sent packets that left the ring: what their players need to send them to their end.

use crate::limits::STALLED_BYTES;
use crate::media::Packet;
use bytes::Bytes;
use std::cell::Cell;
use std::rc::Rc;

/// A player that stands in the middle of a packet that has left the ring.
#[derive(Debug)]
pub(super) struct Stalled {
    pub(super) cursor: usize,
    /// Shared by all players that stand in the same packet.
    pub(super) copy: Rc<Copied>,
}

/// A copy of a packet, counted for as long as it is there.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) packet: Packet,
    all: Rc<Cell<usize>>,
}

impl Copied {
    /// Copies `packet`, unless the bytes of all copies, in `all`, would be more than
    /// [`STALLED_BYTES`].
    pub(super) fn new(packet: &Packet, all: &Rc<Cell<usize>>) -> Option<Rc<Self>> {
        let bytes = all.get() + packet.payload.len();
        if bytes > STALLED_BYTES {
            return None;
        }
        all.set(bytes);
        let payload = Bytes::copy_from_slice(&packet.payload);
        let packet = Packet { payload, ..packet.clone() };
        Some(Rc::new(Self { packet, all: all.clone() }))
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        self.all.set(self.all.get().saturating_sub(self.packet.payload.len()));
    }
}
