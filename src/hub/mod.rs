//! Who gets which packet. Pure: no sockets, no clock.

pub mod pithy;
pub mod rate;
