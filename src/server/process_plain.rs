//! A process in the foreground, for images without `service`.

use crate::config::Config;
use crate::context::Context;
use crate::server::StartError;
use crate::server::admission::Admission;
use crate::server::options::Options;
use std::rc::Rc;

/// It never leaves the terminal.
pub(super) fn hand_over(_: &Options, _: &Config) -> Result<bool, StartError> {
    Ok(false)
}

/// To leave is to stop: nobody new is let in.
pub(super) async fn leave(cx: Rc<Context>, _: bool) {
    cx.part::<Admission>().close();
}

/// Nothing is held, nobody is told.
pub(super) struct Process;

impl Process {
    pub(super) fn begin(_: &Options, _: &Config) -> Result<Self, StartError> {
        Ok(Self)
    }

    pub(super) fn ready(&self, _: &Context) {}

    pub(super) fn reloading(&self) {}

    pub(super) fn reloaded(&self, _: &Context) {}

    pub(super) fn leaving(&self, _: bool) {}

    pub(super) fn stopping(&self) {}

    pub(super) async fn orphaned(&self) {
        std::future::pending().await
    }
}
