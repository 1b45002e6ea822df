//! A hardware watchdog (`/dev/watchdog`): it restarts the machine unless it is written to again and
//! again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// An open device: from here on the machine is restarted when nobody [feeds](Self::feed) it.
#[derive(Debug)]
pub struct Watchdog(File);

impl Watchdog {
    /// Opens `path`, which has to exist.
    pub fn open(path: &Path) -> io::Result<Self> {
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        OpenOptions::new().write(true).custom_flags(nonblock).open(path).map(Self)
    }

    /// All is well.
    pub fn feed(&mut self) -> io::Result<()> {
        self.0.write_all(b"\0")
    }

    /// Closes the device, which is not waited for any more: the "magic close" of the kernel. A
    /// driver that was built with `nowayout` goes on regardless.
    pub fn disarm(mut self) -> io::Result<()> {
        self.0.write_all(b"V")
    }
}
