//! The memory that media lives in.
