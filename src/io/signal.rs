//! Signals, as a stream of what they ask for.

use async_signal::{Signal, Signals as Stream};
use smol::stream::StreamExt as _;
use std::io;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// TERM, INT: end.
    Stop,
    /// HUP: read the configuration again.
    Reload,
    /// USR1: open the log file again.
    Reopen,
}

/// The signals that the server handles.
#[derive(Debug)]
pub struct Signals(Stream);

impl Signals {
    /// From now on these signals no longer end the process by themselves.
    pub fn new() -> io::Result<Self> {
        let signals = [Signal::Term, Signal::Int, Signal::Hup, Signal::Usr1];
        Ok(Self(Stream::new(signals)?))
    }

    /// The next one. When no more can be received, that is a reason to stop.
    pub async fn next(&mut self) -> Request {
        loop {
            match self.0.next().await {
                Some(Ok(Signal::Usr1)) => return Request::Reopen,
                Some(Ok(Signal::Hup)) => return Request::Reload,
                Some(Ok(_)) | None => return Request::Stop,
                Some(Err(e)) => log::error!("signals: {e}"),
            }
        }
    }
}
