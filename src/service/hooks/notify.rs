//! `on_hls_notify`: the address of each segment is fetched, so that a cache has it before players
//! ask. What comes of it does not matter.

use super::Hooks;
use super::fields::is_http;
use crate::config::Vhost;
use crate::config::shown::shown;
use crate::context::Context;
use crate::io::fetch::{self, Request};
use crate::io::log as tank;
use crate::io::run::within;
use crate::limits::{HOOK_NOTIFIES, HOOK_NOTIFIES_VHOST, HOOK_NOTIFY_TIMEOUT};
use crate::proto::http::encode_path;
use crate::service::admission::Segment;
use std::rc::Rc;

/// Fetches all urls of the vhost for a segment.
pub(super) fn notify(hooks: &Rc<Hooks>, cx: &Context, vhost: &Vhost, segment: &Segment<'_>) {
    let config = &vhost.http_hooks;
    if !config.enabled {
        return;
    }
    let client = segment.by.map_or(0, |client| client.id);
    let most = usize::try_from(vhost.hls.hls_nb_notify).unwrap_or(usize::MAX);
    for template in &config.on_hls_notify {
        let (desk, hooks) = (hooks.desk(&vhost.name), hooks.clone());
        let (all, own) = (hooks.notifying.get(), desk.notifying.get());
        if all >= HOOK_NOTIFIES || own >= HOOK_NOTIFIES_VHOST {
            let lost = desk.lose();
            if lost.is_power_of_two() {
                log::warn!("on_hls_notify is left out, the server is too slow; {lost} so far");
            }
            continue;
        }
        hooks.notifying.set(all + 1);
        desk.notifying.set(own + 1);
        let url = address(template, segment);
        cx.spawner.spawn(tank::traced(client, async move {
            let shown = shown(&url);
            let done = within(HOOK_NOTIFY_TIMEOUT, Box::pin(fetch(&hooks.http, &url, most))).await;
            match done {
                Some(Ok((status, len))) => {
                    log::debug!("on_hls_notify ok, url={shown}, status={status}, {len} bytes");
                }
                Some(Err(e)) => log::warn!("ignore on_hls_notify failed, {e}, url={shown}"),
                None => log::warn!("ignore on_hls_notify failed, timed out, url={shown}. ret=1011"),
            }
            hooks.notifying.set(hooks.notifying.get().saturating_sub(1));
            desk.notifying.set(desk.notifying.get().saturating_sub(1));
        }));
    }
}

/// Reads `most` bytes of the answer. Its status, and how many there were.
async fn fetch(http: &fetch::Client, url: &str, most: usize) -> Result<(u16, usize), fetch::Error> {
    let mut request = Request::get(url)?;
    request.timeout = HOOK_NOTIFY_TIMEOUT;
    let mut stream = http.open(&request).await?;
    let mut len = 0;
    while len < most
        && let Some(piece) = stream.next().await?
    {
        len += piece.len();
    }
    Ok((stream.head().status, len))
}

/// What `template` is for a segment.
fn address(template: &str, segment: &Segment<'_>) -> String {
    if is_http(segment.uri) {
        // Whoever gives segments addresses of their own wants those to be fetched.
        return segment.uri.to_owned();
    }
    let param = segment.by.map_or("", |client| client.param.as_str());
    template
        .replace("[app]", &part(segment.key.app()))
        .replace("[stream]", &part(segment.key.stream()))
        .replace("[ts_url]", segment.uri)
        .replace("[param]", param)
}

/// A name of a publisher's in a path, which it cannot leave.
fn part(name: &str) -> String {
    let safe = |part: &str| match part {
        "." | ".." => "_".to_owned(),
        part => encode_path(part),
    };
    name.split('/').map(safe).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Vhost;
    use crate::hub::{ClientKind, StreamKey};
    use crate::service::hooks::fields::tests::someone;

    #[test]
    fn the_address_has_what_the_publisher_gave_and_stays_in_its_path() {
        let vhost = Rc::new(Vhost { name: "v".into(), ..Vhost::default() });
        let by = someone(&vhost, ClientKind::FmlePublish);
        let template = "http://h/x/[app]/[stream]/[ts_url][param]";
        let get = |app: &str, stream: &str, uri: &str| {
            let key = StreamKey::new("v", app, stream);
            address(
                template,
                &Segment {
                    key: &key,
                    by: Some(&by),
                    duration: 1.0,
                    file: "",
                    uri,
                    playlist: "",
                    playlist_uri: "",
                    number: 0,
                },
            )
        };
        assert_eq!(get("live", "cam", "cam-7.ts"), "http://h/x/live/cam/cam-7.ts?token=a\"b");
        assert_eq!(get("a/../b", "..", "u"), "http://h/x/a/_/b/_/u?token=a\"b");
        assert_eq!(get("a?b", "c#d", "u"), "http://h/x/a%3Fb/c%23d/u?token=a\"b");
        assert_eq!(get("live", "cam", "http://cdn/a.ts"), "http://cdn/a.ts");
    }
}
