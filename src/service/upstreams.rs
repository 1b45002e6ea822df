//! What others are told of our connections to other servers.

use super::SERVICES;
use crate::context::Context;
use crate::hub::StreamKey;
use std::rc::Rc;

/// All connections of ours that carry streams to or from other servers.
pub fn all(cx: &Rc<Context>) -> Vec<Report> {
    SERVICES.iter().flat_map(|service| (service.upstreams)(cx)).collect()
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A stream is fetched from an origin.
    Pull,
    /// A publisher of an edge is passed on to the origin.
    Push,
    /// A stream is passed on to another server.
    Forward,
}

impl Kind {
    /// In metrics and in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Forward => "forward",
        }
    }
}

/// How one of them is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it is for.
    pub kind: Kind,
    /// The stream here.
    pub key: StreamKey,
    /// The number of its task, as in the log.
    pub id: u32,
    /// The server as the configuration names it, without keys; of several the first one. Where a
    /// stream is passed on to one server twice the second has `#2` behind it.
    pub name: String,
    /// The one in use, or the last that was, with its address; before that the same as the name.
    pub server: String,
    /// Since when it is connected, in milliseconds of the clock; `None` while it is not.
    pub connected: Option<u64>,
    /// Bytes received and sent, all connections together.
    pub traffic: (u64, u64),
    /// Packets that a server that was away too long did not get.
    pub skipped: u64,
    /// Connections after the first.
    pub restarts: u32,
    /// Why the last one ended, or was not made; empty if nothing went wrong yet.
    pub error: String,
}
