//! More than one server: edges, origins, forwards, as processes; and what can go wrong between
//! them.

#![cfg(all(feature = "edge", feature = "forward"))]

#[path = "../common/mod.rs"]
mod common;

mod chapter;
mod drain;
mod edge;
mod failover;
mod faults;
mod fleet;
mod forward;
mod links;
mod others;
mod peers;
mod recipes;
mod samples;
mod story;
mod web;
