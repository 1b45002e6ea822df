//! Containers: parsed and written over slices.

pub mod f4;
pub mod flv;

pub use crate::codec::Error;
