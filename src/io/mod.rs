//! The only folder that names the runtime, sockets, files, processes, threads and the clock.

pub mod clock;
pub mod disk;
#[cfg(feature = "_state")]
pub mod durable;
pub mod files;
pub mod link;
pub mod load;
pub mod log;
pub mod memory;
pub mod player;
mod reactor;
#[cfg(feature = "_http")]
pub mod read;
pub mod run;
pub mod signal;
pub mod stage;
pub mod storage;
pub mod tcp;
pub mod timer;
pub mod zone;
