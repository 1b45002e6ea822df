//! The only folder that names the runtime, sockets, files, processes, threads and the clock.

#[cfg(feature = "_process")]
pub mod child;
#[path = "child_plain.rs"]
#[cfg(not(feature = "_process"))]
pub mod child;
pub mod clock;
pub mod connect;
#[cfg(feature = "service")]
pub mod daemon;
pub mod disk;
#[cfg(feature = "_state")]
pub mod durable;
#[cfg(feature = "_fetch")]
pub mod fetch;
pub mod files;
#[cfg(feature = "_process")]
mod guard;
pub mod link;
pub mod load;
pub mod log;
pub mod memory;
#[cfg(feature = "service")]
pub mod notify;
#[cfg(feature = "service")]
pub mod pidfile;
pub mod player;
#[cfg(feature = "_process")]
pub mod printed;
pub mod proc;
pub mod proxied;
#[cfg(feature = "_random")]
pub mod random;
mod reactor;
pub mod read;
pub mod requests;
pub mod resolve;
pub mod run;
mod sandbox;
pub mod signal;
pub mod stage;
pub mod storage;
mod syslog;
pub mod tcp;
pub mod timer;
#[cfg(feature = "tls")]
pub mod tls;
#[path = "tls_none.rs"]
#[cfg(not(feature = "tls"))]
pub mod tls;
pub mod udp;
#[cfg(feature = "reload")]
pub mod watch;
#[cfg(feature = "watchdog")]
pub mod watchdog;
pub mod wire;
pub mod zone;
