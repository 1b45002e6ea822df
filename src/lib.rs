//! runnel

pub mod hub;
pub mod io;
pub mod limits;
pub mod media;
pub mod proto;
