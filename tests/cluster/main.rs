//! More than one server: edges, origins, forwards, as processes; and what can go wrong between
//! them.

#![cfg(all(feature = "edge", feature = "forward"))]

#[path = "../common/mod.rs"]
mod common;

mod atc;
mod cost;
mod edge;
mod failover;
mod faults;
#[cfg(feature = "digest")]
mod fms;
mod forward;
mod others;
mod peers;
mod recipes;
mod restarts;
mod samples;
mod token;
mod web;
