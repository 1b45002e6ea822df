//! What RTSP in both directions has in common: packets of RTP on their way into the hub, and the
//! ports that they come to.

pub(in crate::service) mod media;
pub(in crate::service) mod ports;

/// Our name in answers and reports.
pub(in crate::service) const NAME: &str = "runnel";
