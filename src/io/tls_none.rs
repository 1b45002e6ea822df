//! An image that does not speak TLS.

use crate::io::tcp::Socket;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};
use std::time::Duration;

/// There is none.
#[derive(Debug)]
pub enum Stream {}

/// Nothing is checked.
pub fn trust(_: &str) {}

/// Says that this image cannot.
pub async fn begin(_: Socket, _: &str, _: Duration) -> Result<Stream, String> {
    Err("TLS is not in this image, it needs the feature tls".into())
}

impl Stream {
    pub(super) fn socket(&self) -> &Socket {
        match *self {}
    }

    pub(super) fn poll_readable(&self, _: &Context<'_>) -> Poll<()> {
        match *self {}
    }

    pub(super) fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    pub(super) fn write(&mut self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        match *self {}
    }

    pub(super) fn poll_flush(&mut self, _: &Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }

    pub(super) fn poll_farewell(&mut self, _: &Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}
