//! runnel

pub mod limits;
pub mod media;
