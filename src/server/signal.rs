//! Signals: TERM and INT stop the server, USR1 reopens the log file.

use crate::io::log as tank;
use async_signal::{Signal, Signals as Stream};
use smol::stream::StreamExt as _;
use std::io;

/// The signals that the server handles, as a stream.
#[derive(Debug)]
pub struct Signals(Stream);

impl Signals {
    /// From now on these signals no longer end the process by themselves.
    pub fn new() -> io::Result<Self> {
        let signals = [Signal::Term, Signal::Int, Signal::Hup, Signal::Usr1];
        Ok(Self(Stream::new(signals)?))
    }

    /// Returns when the server has to stop; acts on the others.
    pub async fn until_stop(&mut self) {
        while let Some(signal) = self.0.next().await {
            match signal {
                Ok(Signal::Usr1) => {
                    tank::reopen();
                    log::info!("log file reopened");
                }
                Ok(Signal::Hup) => log::warn!("reload is not in this image, restart instead"),
                Ok(signal) => {
                    log::info!("{signal:?} received");
                    return;
                }
                Err(e) => log::error!("signals: {e}"),
            }
        }
    }
}
