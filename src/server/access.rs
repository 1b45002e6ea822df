//! Who may publish and play what. Decided before anything is promised to the peer.

use crate::config::{Config, Role, Vhost};
use crate::hub::{Caller, StreamKey};
use crate::proto::rtmp::url;
use crate::service::admission::Refusal;
use core::net::IpAddr;
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

/// Whether the client at `ip` that connected as `caller` may take `role` on the stream called
/// `name`.
pub fn open(
    config: &Config,
    caller: &Caller,
    name: &str,
    role: Role,
    ip: IpAddr,
) -> Result<Opened, Refusal> {
    let address = url::discovery(&caller.tc_url, name)?;
    let Some(vhost) = config.vhost(&address.vhost) else {
        return Err(Refusal::new(2014, format!("no vhost is called {}", address.vhost)));
    };
    vhost.admit(role, ip, &caller.page_url)?;
    let key = StreamKey::new(&vhost.name, &address.app, &address.stream);
    Ok(Opened { key, vhost: vhost.clone(), param: address.param })
}
