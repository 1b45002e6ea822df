//! The only folder that names sockets, files, threads and the clock.

pub mod log;
pub mod zone;
