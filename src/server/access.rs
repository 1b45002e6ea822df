//! Who may publish and play what. Decided before anything is promised to the peer.

use crate::config::{Config, Denied, Role, Vhost};
use crate::hub::{Refused, StreamKey};
use crate::proto::rtmp::command::Connect;
use crate::proto::rtmp::url;
use core::net::IpAddr;
use std::fmt;
use std::rc::Rc;

/// A request that was let in.
#[derive(Debug)]
pub struct Opened {
    /// The stream.
    pub key: StreamKey,
    /// The vhost block that serves it.
    pub vhost: Rc<Vhost>,
    /// The parameters of the url, with their `?`.
    pub param: String,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The number of the original, for logs, the API and hooks.
    pub code: u16,
    /// What the peer and the log are told.
    pub text: String,
}

impl Refusal {
    /// A refusal with the original's number.
    pub fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. ret={}", self.text, self.code)
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let code = match refused {
            Refused::Busy { .. } => 1028,
            Refused::TooManyStreams => 1021,
        };
        Self::new(code, refused.to_string())
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::new(denied.code, denied.text)
    }
}

impl From<url::Error> for Refusal {
    fn from(error: url::Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// Whether the client at `ip` that sent `connect` may take `role` on the stream called `name`.
pub fn open(
    config: &Config,
    connect: &Connect,
    name: &str,
    role: Role,
    ip: IpAddr,
) -> Result<Opened, Refusal> {
    let address = url::discovery(&connect.tc_url, name)?;
    let Some(vhost) = config.vhost(&address.vhost) else {
        return Err(Refusal::new(2014, format!("no vhost is called {}", address.vhost)));
    };
    vhost.admit(role, ip, &connect.page_url)?;
    let key = StreamKey::new(&vhost.name, &address.app, &address.stream);
    Ok(Opened { key, vhost: vhost.clone(), param: address.param })
}
