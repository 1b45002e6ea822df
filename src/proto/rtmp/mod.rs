//! RTMP 1.0 and Enhanced RTMP.
