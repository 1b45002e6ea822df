//! What receives a stream inside the publisher's task: HLS, DVR, derived rings.

use crate::media::Packet;
use std::fmt;

/// Sees every packet of one stream, in order, before any player. What it keeps it copies.
pub trait Sink {
    /// The service that it belongs to, for logs.
    fn service(&self) -> &'static str;

    /// One packet. Metadata comes as the publisher sent it.
    fn on_packet(&mut self, packet: &Packet) -> Result<(), SinkError>;

    /// Players are shown what came since the last time.
    fn on_flush(&mut self) {}

    /// The publisher stopped; nothing more comes.
    fn on_unpublish(&mut self) {}

    /// It is taken away from a stream that goes on: another one of its service may follow at once.
    fn on_detach(&mut self) {
        self.on_unpublish();
    }
}

/// What becomes of the stream when a sink fails or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkError {
    /// The sink is given up, the stream goes on.
    Ignore,
    /// The sink has no more to do; it goes, the stream goes on.
    Finished,
    /// The publisher is disconnected.
    Disconnect,
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ignore => "Ignore",
            Self::Finished => "Finished",
            Self::Disconnect => "Disconnect",
        })
    }
}
