//! More than one server: edges, origins, forwards, as processes; and what can go wrong between
//! them.

#![cfg(all(feature = "edge", feature = "forward"))]

#[path = "../common/mod.rs"]
mod common;

#[cfg(all(feature = "api", feature = "service"))]
mod chapter;
#[cfg(feature = "service")]
mod drain;
mod edge;
mod failover;
mod faults;
mod forward;
#[cfg(all(feature = "remux", feature = "service"))]
mod kubernetes;
mod links;
mod others;
mod peers;
mod recipes;
mod samples;
mod story;
mod web;
