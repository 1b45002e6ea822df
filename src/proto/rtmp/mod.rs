//! RTMP (Adobe RTMP 1.0, 2012; Enhanced RTMP v2, 2024) without I/O.

pub mod command;
mod identity;
pub mod metadata;
mod reply;
pub mod url;

pub use identity::{Identity, RUNNEL};
