//! The bytes of a connection: those of its socket, or what TLS makes of them. Whoever reads and
//! writes does not see which.

use crate::io::tcp::Socket;
use crate::io::tls;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::task::{Context, Poll};

/// A connection's bytes. Reads and writes do not block: with [`ErrorKind::WouldBlock`] the task that
/// asks [`poll_readable`](Self::poll_readable) or [`poll_writable`](Self::poll_writable) next is
/// woken when there is more to do.
#[derive(Debug)]
pub enum Wire {
    /// As they are.
    Plain(Socket),
    /// Over TLS.
    Tls(tls::Stream),
}

impl From<Socket> for Wire {
    fn from(socket: Socket) -> Self {
        Self::Plain(socket)
    }
}

impl Wire {
    /// The socket, for its options.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket.get_ref(),
            Self::Tls(stream) => stream.socket().get_ref(),
        }
    }

    /// From now on its reader may be woken some milliseconds late, with more to read.
    pub fn be_patient(&self) {
        match self {
            Self::Plain(socket) => socket.be_patient(),
            Self::Tls(stream) => stream.socket().be_patient(),
        }
    }

    /// Ready when a read is worth it; else the task is woken when it is.
    pub fn poll_readable(&self, task: &Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(socket) => socket.poll_readable(task),
            Self::Tls(stream) => stream.poll_readable(task),
        }
    }

    /// Ready when a write is worth it; else the task is woken when it is.
    pub fn poll_writable(&self, task: &Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(socket) => socket.poll_writable(task),
            Self::Tls(stream) => stream.socket().poll_writable(task),
        }
    }

    /// Up to `out.len()` bytes; 0 is the end.
    pub fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => read(socket, out),
            Self::Tls(stream) => stream.read(out),
        }
    }

    /// How many of `bytes` were taken. Fewer than all: the socket is full.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => write(socket, bytes.len(), |mut to| to.write(bytes)),
            Self::Tls(stream) => stream.write(&[IoSlice::new(bytes)]),
        }
    }

    /// The same for two pieces, one behind the other.
    pub fn write_both(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        let slices = [IoSlice::new(first), IoSlice::new(second)];
        match self {
            Self::Plain(socket) => {
                let len = first.len().saturating_add(second.len());
                write(socket, len, |mut to| to.write_vectored(&slices))
            }
            Self::Tls(stream) => stream.write(&slices),
        }
    }

    /// Ready when all that was taken is with the kernel.
    pub fn poll_flush(&mut self, task: &Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_flush(task),
        }
    }

    /// Says that nothing more comes. Ready when that is with the kernel.
    pub fn poll_finish(&mut self, task: &Context<'_>) -> Poll<io::Result<()>> {
        if let Self::Tls(stream) = self {
            std::task::ready!(stream.poll_farewell(task))?;
        }
        Poll::Ready(self.socket().shutdown(Shutdown::Write))
    }
}

/// One read from a socket, which knows behind it whether there may be more.
pub(super) fn read(socket: &Socket, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.get_ref().read(out) {
            Ok(n) => {
                if n < out.len() {
                    socket.is_drained();
                }
                return Ok(n);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => {
                if e.kind() == ErrorKind::WouldBlock {
                    socket.would_block_read();
                }
                return Err(e);
            }
        }
    }
}

/// One write of `len` bytes to a socket, which knows behind it whether it is full.
pub(super) fn write(
    socket: &Socket,
    len: usize,
    mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
) -> io::Result<usize> {
    loop {
        match write(socket.get_ref()) {
            Ok(n) => {
                if n < len {
                    socket.is_full();
                }
                return Ok(n);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => {
                if e.kind() == ErrorKind::WouldBlock {
                    socket.is_full();
                }
                return Err(e);
            }
        }
    }
}
