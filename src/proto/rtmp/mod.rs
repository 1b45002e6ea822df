//! RTMP (Adobe RTMP 1.0, 2012; Enhanced RTMP v2, 2024) without I/O.

mod identity;
pub mod metadata;
pub mod url;

pub use identity::{Identity, RUNNEL};
