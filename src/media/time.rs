//! Timestamps.

/// Timestamps are 31 bits wide.
pub const MASK: u32 = 0x7fff_ffff;
