//! runnel

pub mod hub;
pub mod limits;
pub mod media;
pub mod proto;
