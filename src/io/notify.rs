//! Notices to the service manager (`sd_notify(3)`): a datagram to the socket that `NOTIFY_SOCKET`
//! names.

use rustix::time::{ClockId, clock_gettime};
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

/// The manager that started this process, if it is to be told anything.
#[derive(Debug)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

/// Whether a service manager waits for notices.
pub fn is_wanted() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty())
}

impl Notify {
    /// As the environment says.
    pub fn from_environment() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty());
        let connected = socket.map(|name| (connect(&name), name));
        let socket = match connected {
            Some((Ok(socket), _)) => Some(socket),
            Some((Err(e), name)) => {
                log::warn!("NOTIFY_SOCKET {}: {e}", name.to_string_lossy());
                None
            }
            None => None,
        };
        let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let mine = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|us| mine && *us > 0);
        Self { socket, watchdog: watchdog.map(Duration::from_micros) }
    }

    /// The longest time between two [`alive`](Self::alive) that the manager allows.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.socket.is_some())
    }

    /// The server serves; also after [`reloading`](Self::reloading).
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}\nMAINPID={}", process::id()));
    }

    /// The configuration is being read again.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let us = now.tv_sec.saturating_mul(1_000_000) + now.tv_nsec as i64 / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={us}"));
    }

    /// The server ends.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping");
    }

    /// What the server does, for people.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}"));
    }

    /// The server is not stuck.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, text: &str) {
        if let Some(socket) = &self.socket {
            // The manager that does not read it will tell by itself.
            let _ = socket.send(text.as_bytes());
        }
    }
}

/// To `/path`, or `@name` in the abstract namespace.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(OsString::from(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_reach_named_and_abstract_sockets() {
        let dir = env::temp_dir().join(format!("runnel-{}-notify", process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("socket");
        let name = format!("runnel-{}-notify", process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        for (manager, name) in [
            (UnixDatagram::bind(&path).unwrap(), path.as_os_str().to_owned()),
            (UnixDatagram::bind_addr(&abstract_address).unwrap(), format!("@{name}").into()),
        ] {
            let notify = Notify { socket: Some(connect(&name).unwrap()), watchdog: None };
            let mut buffer = [0; 200];
            let mut said = || {
                let n = manager.recv(&mut buffer).unwrap();
                String::from_utf8_lossy(&buffer[..n]).into_owned()
            };
            notify.ready("serving");
            assert_eq!(said(), format!("READY=1\nSTATUS=serving\nMAINPID={}", process::id()));
            notify.reloading();
            let text = said();
            let us = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(us.parse::<u64>().is_ok(), "{us}");
            notify.alive();
            assert_eq!(said(), "WATCHDOG=1");
            notify.stopping();
            assert_eq!(said(), "STOPPING=1\nSTATUS=stopping");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
