//! runnel

pub mod config;
pub mod limits;
pub mod media;
