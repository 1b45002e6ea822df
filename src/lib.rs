//! runnel

#![forbid(unsafe_code)]

pub mod codec;
pub mod config;
pub mod context;
pub mod format;
pub mod hub;
pub mod io;
pub mod limits;
pub mod media;
pub mod proto;
pub mod server;
pub mod service;
