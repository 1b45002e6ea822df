//! The only folder that names the runtime, sockets, files, processes and the clock.

pub mod clock;
pub mod link;
pub mod load;
pub mod player;
pub mod run;
pub mod tcp;
//! The only folder that names sockets, files, threads and the clock.

pub mod log;
pub mod zone;
