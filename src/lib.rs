//! runnel

pub mod codec;
pub mod limits;
pub mod media;
