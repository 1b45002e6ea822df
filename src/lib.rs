//! runnel

pub mod codec;
pub mod format;
pub mod hub;
pub mod io;
pub mod limits;
pub mod media;
pub mod service;
