//! More than one server: edges, origins, forwards, as processes; and what can go wrong between
//! them.

#![cfg(all(feature = "edge", feature = "forward"))]

#[path = "../common/mod.rs"]
mod common;

mod atc;
#[cfg(all(feature = "api", feature = "service"))]
mod chapter;
mod cost;
#[cfg(feature = "service")]
mod drain;
mod edge;
mod failover;
mod faults;
#[cfg(feature = "digest")]
mod fms;
mod forward;
#[cfg(all(feature = "remux", feature = "service"))]
mod kubernetes;
mod links;
mod names;
mod others;
mod peers;
mod recipes;
mod restarts;
mod samples;
mod story;
mod token;
mod web;
