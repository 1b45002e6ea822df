//! More than one server: edges, origins, forwards, as processes; and what can go wrong between
//! them.

#![cfg(all(feature = "edge", feature = "forward"))]

#[path = "../common/mod.rs"]
mod common;

mod edge;
mod failover;
mod faults;
mod forward;
mod links;
mod others;
mod peers;
mod recipes;
mod samples;
mod web;
