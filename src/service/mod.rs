//! What can be left out of an image: one folder or file a feature, one line in [`SERVICES`].

#[cfg(feature = "demo")]
pub mod demo;
#[cfg(feature = "dvr")]
pub mod dvr;
#[cfg(feature = "hds")]
pub mod hds;
#[cfg(any(feature = "dvr", feature = "hds"))]
pub mod path;

use crate::config::Vhost;
use crate::context::Context;
use crate::hub::{Publisher, Sink, StreamKey};
use std::rc::Rc;

/// See [`Service::attach`].
pub type Attach = fn(&Rc<Context>, &StreamKey, &Vhost) -> Option<Box<dyn Sink>>;

/// The whole contract of an optional feature.
pub struct Service {
    /// Its name, which is that of its cargo feature.
    pub name: &'static str,
    /// Joins a stream that starts, when its vhost asks for this service.
    pub attach: Attach,
    /// What runs without a stream.
    pub start: fn(&Rc<Context>),
}

impl Service {
    /// A service that does nothing.
    pub const fn new(name: &'static str) -> Self {
        Self { name, attach: |_, _, _| None, start: |_| {} }
    }
}

/// Every service of this image.
pub static SERVICES: &[Service] = &[
    #[cfg(feature = "demo")]
    demo::SERVICE,
    #[cfg(feature = "dvr")]
    dvr::SERVICE,
    #[cfg(feature = "hds")]
    hds::SERVICE,
];

/// Gives a stream that starts the sinks that its vhost asks for.
pub fn attach(publisher: &mut Publisher, cx: &Rc<Context>, key: &StreamKey, vhost: &Vhost) {
    for service in SERVICES {
        if let Some(sink) = (service.attach)(cx, key, vhost) {
            publisher.attach(sink);
        }
    }
}

/// The cargo features of this image, for the banner and for directives that need another.
pub const FEATURES: &[&str] = &[
    #[cfg(feature = "digest")]
    "digest",
    #[cfg(feature = "demo")]
    "demo",
    #[cfg(feature = "dvr")]
    "dvr",
    #[cfg(feature = "hds")]
    "hds",
];
