//! What can be left out of an image: one folder or file a feature, one line in [`SERVICES`].

#[cfg(feature = "demo")]
pub mod demo;

use crate::config::Vhost;
use crate::context::Context;
use crate::hub::{Sink, StreamKey};
use std::rc::Rc;

/// The whole contract of an optional feature.
pub struct Service {
    /// Its name, which is that of its cargo feature.
    pub name: &'static str,
    /// Joins a stream that starts, when its vhost asks for this service.
    pub attach: fn(&StreamKey, &Vhost) -> Option<Box<dyn Sink>>,
    /// What runs without a stream.
    pub start: fn(&Rc<Context>),
}

impl Service {
    /// A service that does nothing.
    pub const fn new(name: &'static str) -> Self {
        Self { name, attach: |_, _| None, start: |_| {} }
    }
}

/// Every service of this image.
pub static SERVICES: &[Service] = &[
    #[cfg(feature = "demo")]
    demo::SERVICE,
];

/// The cargo features of this image, for the banner and for directives that need another.
pub const FEATURES: &[&str] = &[
    #[cfg(feature = "digest")]
    "digest",
    #[cfg(feature = "demo")]
    "demo",
];
