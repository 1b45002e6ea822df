//! runnel

pub mod limits;
pub mod media;
pub mod proto;
