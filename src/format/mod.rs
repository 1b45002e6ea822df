//! Containers: parsed and written over slices.

#[cfg(feature = "_ts")]
pub mod adts;
#[cfg(feature = "hds")]
pub mod f4;
pub mod flv;
#[cfg(feature = "_json")]
pub mod json;
#[cfg(feature = "hls")]
pub mod m3u8;
#[cfg(feature = "static-files")]
pub mod mp4;
pub mod playlist;
#[cfg(feature = "_ts")]
pub mod ts;

pub use crate::codec::Error;
