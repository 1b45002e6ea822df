//! What is sent: JSON objects with the members of SRS, in its order.

use crate::config::HttpHooks;
use crate::format::json::{Object, object};
use crate::hub::{Client, StreamKey};
use crate::io::files;
use crate::media::Decimal;
use crate::service::admission::Segment;
use std::path::Path;

/// What happens, by the name of its directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Connect,
    Close,
    Publish,
    Unpublish,
    Play,
    Stop,
    Dvr,
    Hls,
}

impl Action {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "on_connect",
            Self::Close => "on_close",
            Self::Publish => "on_publish",
            Self::Unpublish => "on_unpublish",
            Self::Play => "on_play",
            Self::Stop => "on_stop",
            Self::Dvr => "on_dvr",
            Self::Hls => "on_hls",
        }
    }

    /// Whom to ask or to tell.
    pub(super) fn urls(self, config: &HttpHooks) -> &[String] {
        match self {
            Self::Connect => &config.on_connect,
            Self::Close => &config.on_close,
            Self::Publish => &config.on_publish,
            Self::Unpublish => &config.on_unpublish,
            Self::Play => &config.on_play,
            Self::Stop => &config.on_stop,
            Self::Dvr => &config.on_dvr,
            Self::Hls => &config.on_hls,
        }
    }

    /// What follows when it was allowed.
    pub(super) const fn end(self) -> Self {
        match self {
            Self::Connect => Self::Close,
            Self::Publish => Self::Unpublish,
            Self::Play => Self::Stop,
            end => end,
        }
    }
}

/// What a client asks for, or does no more.
pub(super) fn client(action: Action, client: &Client) -> String {
    let (key, caller) = (&client.key, &client.caller);
    event(action, key, Some(client), |o| {
        o.text("app", key.app());
        if matches!(action, Action::Connect | Action::Publish) {
            o.text("tcUrl", &caller.tc_url);
        }
        if action != Action::Connect {
            o.text("stream", key.stream());
            o.text("param", &client.param);
        }
        if matches!(action, Action::Connect | Action::Play) {
            o.text("pageUrl", &caller.page_url);
        }
    })
}

/// A connection is over. SRS counts from its own side: what it sent is `send_bytes`.
pub(super) fn closed(client: &Client, received: u64, sent: u64) -> String {
    event(Action::Close, &client.key, Some(client), |o| {
        o.int("send_bytes", sent);
        o.int("recv_bytes", received);
        o.text("app", client.key.app());
    })
}

/// A recording is complete.
pub(super) fn recorded(key: &StreamKey, by: Option<&Client>, file: &Path) -> String {
    of_stream(Action::Dvr, key, by, |o| {
        o.text("cwd", &files::current_directory());
        o.text("file", &file.display().to_string());
    })
}

/// A segment is complete.
pub(super) fn segment(segment: &Segment<'_>) -> String {
    let by = segment.by.map(|client| &**client);
    let mut url = segment.uri.to_owned();
    if !is_http(&url)
        && let Some((directory, _)) = segment.playlist_uri.rsplit_once('/')
    {
        url = format!("{directory}/{url}");
    }
    of_stream(Action::Hls, segment.key, by, |o| {
        // With a fraction in any case, so that typed languages see the same type always.
        let whole = if segment.duration.fract() == 0.0 { ".0" } else { "" };
        o.raw("duration", &format!("{}{whole}", Decimal::short(segment.duration)));
        o.text("cwd", &files::current_directory());
        o.text("file", segment.file);
        o.text("url", &url);
        o.text("m3u8", segment.playlist);
        o.text("m3u8_url", segment.playlist_uri);
        o.int("seq_no", segment.number);
    })
}

pub(super) fn is_http(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

fn of_stream(
    action: Action,
    key: &StreamKey,
    by: Option<&Client>,
    fill: impl FnOnce(&mut Object<'_>),
) -> String {
    event(action, key, by, |o| {
        o.text("app", key.app());
        o.text("stream", key.stream());
        o.text("param", by.map_or("", |client| &client.param));
        fill(o);
    })
}

/// What all events have, then `fill`. A stream that the server makes itself comes from client 0 of
/// this machine.
fn event(
    action: Action,
    key: &StreamKey,
    client: Option<&Client>,
    fill: impl FnOnce(&mut Object<'_>),
) -> String {
    let ip = client.map_or_else(|| "127.0.0.1".to_owned(), |client| client.ip.to_string());
    object(|o| {
        o.text("action", action.name());
        o.int("client_id", client.map_or(0, |client| client.id));
        o.text("ip", &ip);
        o.text("vhost", key.vhost());
        fill(o);
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::Vhost;
    use crate::hub::{Caller, ClientKind};
    use std::rc::Rc;

    pub(crate) fn someone(vhost: &Rc<Vhost>, kind: ClientKind) -> Rc<Client> {
        Rc::new(Client {
            id: 107,
            ip: [192, 0, 2, 7].into(),
            kind,
            vhost: vhost.clone(),
            key: StreamKey::new(&vhost.name, "live", "cam"),
            param: "?token=a\"b".into(),
            caller: Rc::new(Caller {
                tc_url: "rtmp://h/live?token=a\"b".into(),
                page_url: "http://p/\u{2028}ü\\".into(),
                swf_url: "s".into(),
                ..Caller::default()
            }),
            since: 0,
        })
    }

    #[test]
    fn events_have_the_members_of_srs_in_its_order() {
        let vhost = Rc::new(Vhost { name: "v".into(), ..Vhost::default() });
        let who = someone(&vhost, ClientKind::FmlePublish);
        let all = [Action::Connect, Action::Publish, Action::Unpublish, Action::Play, Action::Stop];
        let bodies: Vec<_> = all.map(|action| client(action, &who)).into();
        assert_eq!(
            bodies,
            [
                r#"{"action":"on_connect","client_id":107,"ip":"192.0.2.7","vhost":"v","app":"live","tcUrl":"rtmp://h/live?token=a\"b","pageUrl":"http://p/\u2028ü\\"}"#,
                r#"{"action":"on_publish","client_id":107,"ip":"192.0.2.7","vhost":"v","app":"live","tcUrl":"rtmp://h/live?token=a\"b","stream":"cam","param":"?token=a\"b"}"#,
                r#"{"action":"on_unpublish","client_id":107,"ip":"192.0.2.7","vhost":"v","app":"live","stream":"cam","param":"?token=a\"b"}"#,
                r#"{"action":"on_play","client_id":107,"ip":"192.0.2.7","vhost":"v","app":"live","stream":"cam","param":"?token=a\"b","pageUrl":"http://p/\u2028ü\\"}"#,
                r#"{"action":"on_stop","client_id":107,"ip":"192.0.2.7","vhost":"v","app":"live","stream":"cam","param":"?token=a\"b"}"#,
            ]
        );
        assert_eq!(
            closed(&who, 3, 4),
            r#"{"action":"on_close","client_id":107,"ip":"192.0.2.7","vhost":"v","send_bytes":4,"recv_bytes":3,"app":"live"}"#
        );
        let cwd = files::current_directory();
        assert_eq!(
            recorded(&who.key, Some(&who), Path::new("./a.flv")),
            format!(
                r#"{{"action":"on_dvr","client_id":107,"ip":"192.0.2.7","vhost":"v","app":"live","stream":"cam","param":"?token=a\"b","cwd":"{cwd}","file":"./a.flv"}}"#
            )
        );
    }

    #[test]
    fn the_url_of_a_segment_is_that_below_the_directory_of_its_playlist() {
        let key = StreamKey::new("v", "live", "cam");
        let cwd = files::current_directory();
        for (uri, playlist_uri, url) in [
            ("cam-7.ts", "live/cam.m3u8", "live/cam-7.ts"),
            ("cam-7.ts", "cam.m3u8", "cam-7.ts"),
            ("http://cdn/live/cam-7.ts", "live/cam.m3u8", "http://cdn/live/cam-7.ts"),
        ] {
            let body = segment(&Segment {
                key: &key,
                by: None,
                duration: 10.0,
                file: "./d/live/cam-7.ts",
                uri,
                playlist: "./d/live/cam.m3u8",
                playlist_uri,
                number: 7,
            });
            assert_eq!(
                body,
                format!(
                    r#"{{"action":"on_hls","client_id":0,"ip":"127.0.0.1","vhost":"v","app":"live","stream":"cam","param":"","duration":10.0,"cwd":"{cwd}","file":"./d/live/cam-7.ts","url":"{url}","m3u8":"./d/live/cam.m3u8","m3u8_url":"{playlist_uri}","seq_no":7}}"#
                )
            );
        }
    }
}
