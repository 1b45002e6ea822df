//! What servers gave to make the next handshake with them short.

use crate::limits::TLS_SESSIONS;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// The newest session with each of [`TLS_SESSIONS`] servers; the server that was heard of the
/// longest time ago leaves.
#[derive(Default)]
pub(super) struct Sessions(Mutex<VecDeque<Server>>);

struct Server {
    name: ServerName<'static>,
    group: Option<NamedGroup>,
    old: Option<Tls12ClientSessionValue>,
    ticket: Option<Tls13ClientSessionValue>,
}

impl Sessions {
    fn of<T>(
        &self,
        name: &ServerName<'_>,
        get: impl FnOnce(&mut Server) -> Option<T>,
    ) -> Option<T> {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        servers.iter_mut().find(|server| server.name == *name).and_then(get)
    }

    fn put(&self, name: ServerName<'static>, put: impl FnOnce(&mut Server)) {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = servers.iter().position(|server| server.name == name);
        let known = at.and_then(|at| servers.remove(at));
        let mut server = known.unwrap_or(Server { name, group: None, old: None, ticket: None });
        put(&mut server);
        servers.truncate(TLS_SESSIONS - 1);
        servers.push_front(server);
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.put(name, |server| server.group = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.of(name, |server| server.group)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.put(name, |server| server.old = Some(value));
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.of(name, |server| server.old.clone())
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.of(name, |server| server.old.take());
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.put(name, |server| server.ticket = Some(value));
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.of(name, |server| server.ticket.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_heard_of_the_longest_time_ago_leaves() {
        let sessions = Sessions::default();
        let name = |i: usize| ServerName::try_from(format!("s{i}.example")).unwrap();
        for i in 0..TLS_SESSIONS {
            sessions.set_kx_hint(name(i), NamedGroup::X25519);
        }
        sessions.set_kx_hint(name(0), NamedGroup::secp256r1);
        sessions.set_kx_hint(name(99), NamedGroup::secp384r1);
        assert_eq!(sessions.kx_hint(&name(0)), Some(NamedGroup::secp256r1));
        assert_eq!(sessions.kx_hint(&name(1)), None);
        assert_eq!(sessions.kx_hint(&name(99)), Some(NamedGroup::secp384r1));
        assert_eq!(sessions.0.lock().unwrap().len(), TLS_SESSIONS);
    }
}
