//! runnel
fn main() {}
