//! The only folder that names the runtime, sockets, files, processes, threads and the clock.

pub mod clock;
pub mod connect;
pub mod disk;
#[cfg(feature = "_state")]
pub mod durable;
#[cfg(feature = "_fetch")]
pub mod fetch;
pub mod files;
pub mod link;
pub mod load;
pub mod log;
pub mod player;
pub mod proc;
#[cfg(feature = "_random")]
pub mod random;
mod reactor;
pub mod read;
pub mod requests;
pub mod resolve;
pub mod run;
pub mod signal;
pub mod stage;
pub mod storage;
pub mod tcp;
pub mod timer;
pub mod zone;
