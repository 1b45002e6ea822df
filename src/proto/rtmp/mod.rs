//! RTMP (Adobe RTMP 1.0, 2012; Enhanced RTMP v2, 2024) without I/O.
//!
//! [`Server`] and [`Client`] are the two ends of a connection: they take bytes, keep the protocol
//! going by themselves (handshake, acknowledgements, pings, answers to calls) and tell their owner
//! what it has to decide or to pass on.

pub mod chunk;
pub mod client;
pub mod command;
mod control;
mod error;
pub mod handshake;
#[cfg(feature = "digest")]
mod handshake_digest;
#[path = "handshake_plain.rs"]
#[cfg(not(feature = "digest"))]
mod handshake_digest;
mod identity;
pub mod message;
pub mod metadata;
mod reply;
pub mod server;
pub mod url;

pub use client::Client;
pub use error::{Cause, Error};
pub use identity::{Identity, RUNNEL};
pub use server::Server;
