//! What can be left out of an image: one folder or file a feature.

#[cfg(feature = "demo")]
pub mod demo;
