//! Containers: parsed and written over slices.

pub mod flv;

pub use crate::codec::Error;
