//! The real server among peers that break the protocol, go to every bound and over it, or read
//! slowly or never. Each of them is told or dropped, the log says why and where, memory goes back
//! to what it was, and a healthy stream beside them loses nothing.

mod absent;
mod bounds;
mod input;
mod peer;
mod slow;
