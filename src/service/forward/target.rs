//! Where a stream is passed on to, and as what.

use crate::config::{Config, DEFAULT_VHOST, shown};
use crate::hub::{Caller, Client, StreamKey};
use crate::limits;
use crate::proto::authority;
use crate::proto::rtmp::client::Role;
use crate::proto::rtmp::command::Style;
use crate::proto::rtmp::url;
use crate::service::relay::Aim;
use crate::service::relay::upstream::{PORT, TLS};
use std::rc::Rc;

/// A destination with its variables replaced.
#[derive(Debug)]
pub(super) struct Target {
    /// `host`, `host:port` or `srv:name`, without keys; behind `rtmps://` where it is over TLS.
    pub(super) server: String,
    /// The same, with `#2` for the second destination of a stream there.
    pub(super) name: String,
    pub(super) aim: Aim,
}

/// What there is to say of a stream's publisher, and of us.
#[derive(Clone, Debug, Default)]
pub(super) struct By {
    /// Its parameters, with their `?`.
    pub(super) param: String,
    pub(super) caller: Rc<Caller>,
    /// `debug_srs_upnode`.
    pub(super) names_us: bool,
}

impl Target {
    /// What `text` says of the stream `key`, which is published `by`: a server, which gets
    /// the stream under its own names, or `rtmp://server/app/stream`, where the last part with its
    /// parameters is the stream. The same with `rtmps://`.
    pub(super) fn new(text: &str, key: &StreamKey, by: &By) -> Result<Self, String> {
        let (vhost, param) = (key.vhost(), &by.param);
        let filled = text
            .replace("[vhost]", vhost)
            .replace("[app]", key.app())
            .replace("[stream]", key.stream())
            .replace("[param]", param);
        let secure = filled.starts_with(TLS);
        if secure && !limits::TLS {
            return Err(format!(
                "{}: TLS is not in this image; {RECIPE}",
                shown::without_key(&filled)
            ));
        }
        let publish = |stream: String| Role::Publish { stream, style: Style::Fmle };
        let scheme = if secure { TLS } else { "rtmp://" };
        let Some(rest) = filled.strip_prefix(scheme) else {
            let stream = format!("{}{param}", key.stream());
            let aim = Aim::new(vhost, key.app(), by.names_us, publish(stream), vhost);
            let aim = Aim { caller: by.caller.clone(), ..aim };
            return Ok(Self { name: filled.clone(), server: filled, aim });
        };
        let (server, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
        let (app, stream) = path.rsplit_once('/').unwrap_or((path, ""));
        if server.is_empty() || app.is_empty() || stream.is_empty() {
            return Err(format!(
                "{} is not {scheme}server/app/stream",
                shown::without_key(&filled)
            ));
        }
        if secure && server.starts_with("srv:") {
            return Err(format!("{}: {NO_SERVICE}", shown::without_key(&filled)));
        }
        let mut aim = Aim::new("", app, false, publish(format!("{stream}{query}")), vhost);
        if !server.starts_with("srv:") {
            aim.tc_url = Some(format!("{scheme}{server}/{app}"));
        }
        let server = if secure { format!("{TLS}{server}") } else { server.to_owned() };
        Ok(Self { name: server.clone(), server, aim })
    }

    /// Whether the stream would come back: the destination is the server that the publisher calls,
    /// or an address of this machine, with a port that is listened at, and its vhost is that of the
    /// stream. Where names hide it, it is found when the connection is made.
    pub(super) fn is_ourselves(&self, config: &Config, client: &Client) -> bool {
        let called = url::connection(&client.caller.tc_url).unwrap_or_default();
        // What stands behind TLS is not known.
        let Some((host, port)) = authority::split(&self.server, PORT) else { return false };
        let local = matches!(host, "127.0.0.1" | "localhost" | "::1") || host == called.host;
        let listened = config.listen.iter().any(|endpoint| endpoint.port == port);
        // As the original: this address alone stands for the one that the publisher calls.
        let same = self.server == "127.0.0.1" || listened;
        let there = match &self.aim.tc_url {
            Some(tc_url) => self.aim.vhost_of(tc_url),
            None if self.aim.vhost == DEFAULT_VHOST => host.to_owned(),
            None => self.aim.vhost.clone(),
        };
        local
            && same
            && listened
            && config.vhost(&there).is_some_and(|v| v.name == client.vhost.name)
    }
}

/// What to do instead.
const RECIPE: &str =
    "build it with the feature tls, or let stunnel speak it, docs/en/cluster.md, \"RTMPS\"";
/// Of what DNS says to be the servers of a service anybody may have certificates.
const NO_SERVICE: &str = "over TLS a server has to be named, srv: is not possible";

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> StreamKey {
        StreamKey::new("v.example", "live/sub", "cam")
    }

    #[test]
    fn destinations_say_where_and_as_what() {
        // Text, server, tcUrl, app, stream.
        for (text, server, tc_url, app, stream) in [
            ("10.0.0.2", "10.0.0.2", None, "live/sub", "cam?k=1"),
            ("up.example:19350", "up.example:19350", None, "live/sub", "cam?k=1"),
            ("srv:_rtmp._tcp.[vhost]", "srv:_rtmp._tcp.v.example", None, "live/sub", "cam?k=1"),
            (
                "rtmp://up.example/live2/KEY-[stream]?a=/b",
                "up.example",
                Some("rtmp://up.example/live2"),
                "live2",
                "KEY-cam?a=/b",
            ),
            (
                "rtmp://[::1]:1936/[app]/[stream][param]",
                "[::1]:1936",
                Some("rtmp://[::1]:1936/live/sub"),
                "live/sub",
                "cam?k=1",
            ),
        ] {
            let by = By { param: "?k=1".into(), ..By::default() };
            let target = Target::new(text, &key(), &by).unwrap();
            assert_eq!(target.server, server, "{text}");
            assert_eq!((target.aim.tc_url.as_deref(), &*target.aim.app), (tc_url, app), "{text}");
            let role = Role::Publish { stream: stream.into(), style: Style::Fmle };
            assert_eq!(target.aim.role, Some(role), "{text}");
        }
    }

    #[test]
    fn a_server_is_told_who_we_are_where_the_vhost_says_so_and_a_whole_url_is_not() {
        for names_us in [true, false] {
            let by = By { names_us, ..By::default() };
            let target = |text| Target::new(text, &key(), &by).unwrap();
            assert_eq!(target("10.0.0.2").aim.names_us, names_us);
            assert!(!target("rtmp://10.0.0.2/a/b").aim.names_us);
        }
    }

    #[test]
    fn what_cannot_be_is_said_without_the_key() {
        let tls = Target::new("rtmps://a.example/live/SECRET", &key(), &By::default());
        if limits::TLS {
            let Target { server, aim, .. } = tls.unwrap();
            assert_eq!(server, "rtmps://a.example");
            assert_eq!(aim.tc_url.unwrap(), "rtmps://a.example/live");
            let service =
                Target::new("rtmps://srv:_rtmps._tcp.a/live/SECRET", &key(), &By::default());
            let service = service.unwrap_err();
            assert!(service.contains("named") && !service.contains("SECRET"), "{service}");
        } else {
            let tls = tls.unwrap_err();
            assert!(tls.contains("stunnel") && !tls.contains("SECRET"), "{tls}");
        }
        for text in ["rtmp://", "rtmp://a", "rtmp://a/b", "rtmp://a/b/", "rtmp:///b/c"] {
            assert!(Target::new(text, &key(), &By::default()).is_err(), "{text}");
        }
    }
}
