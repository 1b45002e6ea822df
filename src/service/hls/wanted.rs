//! Playlists of streams that are fetched on demand, by an edge or an ingest: whoever asks for one
//! has the stream fetched, and waits for it the first time.

use super::{LIVE, get};
use crate::config::{DEFAULT_VHOST, HlsStorage, Mode, Vhost};
use crate::context::Context;
use crate::hub::{Caller, StreamKey};
use crate::io::clock;
use crate::io::run::sleep;
use crate::limits::{PLAYLIST_HOLD, PLAYLIST_WAIT};
use crate::service::admission::want;
use crate::service::http::{Answer, Ask};
use crate::service::path::names;
use std::rc::Rc;
use std::time::Duration;

/// An answer when the playlist that is asked for may be fetched and is not there yet.
pub(super) fn playlist(ask: &Ask) -> Option<Answer> {
    let (key, vhost) = find(&ask.cx, &ask.request.host, &ask.request.path)?;
    let hold = vhost.hls.hls_fragment.0.saturating_mul(3).max(PLAYLIST_HOLD);
    let caller = Rc::new(Caller {
        tc_url: format!("http://{}{}", ask.request.host, ask.request.path),
        page_url: ask.request.header("referer").unwrap_or_default().to_owned(),
        ..Caller::default()
    });
    want(&ask.cx, &key, &vhost, &caller, hold);
    let listed = move || LIVE.with(|live| live.is_listed(&key));
    if listed() {
        return None;
    }
    let (ask, until) = (ask.clone(), clock::after(PLAYLIST_WAIT));
    Some(Answer::Later(Box::pin(async move {
        while !listed() && clock::now() < until {
            sleep(LOOK).await;
        }
        match get(&ask.request.host, &ask.request.path) {
            Some(stored) => super::reply(&ask, stored).into(),
            None => {
                // Behind the files that are to be written. That it failed is told elsewhere.
                let _ = ask.cx.disk.ask(|| ()).await;
                Answer::Next
            }
        }
    })))
}

/// The stream that may be fetched whose playlist is at `path` of `host`.
pub(super) fn stream_at(cx: &Context, host: &str, path: &str) -> Option<StreamKey> {
    find(cx, host, path).map(|(key, _)| key)
}

fn find(cx: &Context, host: &str, path: &str) -> Option<(StreamKey, Rc<Vhost>)> {
    if !path.ends_with(".m3u8") {
        return None;
    }
    let config = cx.config();
    let fetch = config
        .vhosts
        .iter()
        .filter(|vhost| vhost.enabled && vhost.hls.enabled && fetches_on_demand(vhost));
    fetch.filter_map(|vhost| Some((key(vhost, host, path)?, vhost.clone()))).next()
}

/// Whether streams of `vhost` may begin because somebody wants them.
fn fetches_on_demand(vhost: &Vhost) -> bool {
    vhost.cluster.mode == Mode::Remote
        || vhost.ingests.iter().any(|ingest| ingest.enabled && ingest.on_demand)
}

fn key(vhost: &Vhost, host: &str, path: &str) -> Option<StreamKey> {
    let template = match vhost.hls.hls_storage {
        HlsStorage::Disk => format!("[vhost]/{}", vhost.hls.hls_m3u8_file),
        HlsStorage::Ram | HlsStorage::Both => vhost.hls.hls_mount.clone(),
    };
    let template = template.replace("[vhost]", &vhost.name);
    let template = template.strip_prefix(DEFAULT_VHOST).unwrap_or(&template);
    let (bound, template) = template.split_at(template.find('/')?);
    if !bound.is_empty() && !bound.eq_ignore_ascii_case(host) {
        return None;
    }
    let (app, stream) = names(template, path)?;
    Some(StreamKey::new(&vhost.name, &app, &stream))
}

const LOOK: Duration = Duration::from_millis(200);
