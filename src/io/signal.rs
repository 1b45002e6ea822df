//! Signals, as a stream of what they ask for.

use async_signal::{Signal, Signals as Stream};
use smol::stream::StreamExt as _;
use std::io;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// TERM: end.
    Stop,
    /// INT: end at once.
    Quit,
    /// QUIT: end when clients are gone, after the waits of a graceful stop.
    Grace,
    /// USR2: end when clients are gone, which are asked to reconnect.
    Drain,
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
        let signals =
            [Signal::Term, Signal::Int, Signal::Quit, Signal::Hup, Signal::Usr1, Signal::Usr2];
        Ok(Self(Stream::new(signals)?))
    }

    /// The next one. When no more can be received, that is a reason to stop.
    pub async fn next(&mut self) -> Request {
        loop {
            match self.0.next().await {
                Some(Ok(Signal::Usr1)) => return Request::Reopen,
                Some(Ok(Signal::Hup)) => return Request::Reload,
                Some(Ok(Signal::Int)) => return Request::Quit,
                Some(Ok(Signal::Quit)) => return Request::Grace,
                Some(Ok(Signal::Usr2)) => return Request::Drain,
                Some(Ok(_)) | None => return Request::Stop,
                Some(Err(e)) => log::error!("signals: {e}"),
            }
        }
    }
}
