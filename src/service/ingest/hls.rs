//! HLS of another server: a playlist that is fetched again and again, or once and then over again.

use super::body::{accepted, request};
use super::live::{Attempt, Live, Over, Parser, failed};
use super::plan::sniff;
use crate::format::playlist::{self, Follow, Playlist, Reader, Segment};
use crate::io::fetch::{Client, Request};
use crate::io::{clock, run};
use crate::limits::{INGEST_CONNECT, INGEST_PLAYLISTS};
use crate::proto::http::url::Url;
use std::time::Duration;

/// A server that has no new segment for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// A segment may take so long.
const SEGMENT: Duration = Duration::from_secs(60);
/// So many segments that could not be fetched, one after another, end the attempt.
const FAILURES: u32 = 3;

/// Reads what `url` lists.
pub(super) async fn pull(attempt: &Attempt<'_>, url: &Url) -> Result<(), Over> {
    let client = Client::default();
    let mut follow = Follow::new();
    let first = fetch(&client, url, follow.from());
    let limit = INGEST_CONNECT.saturating_mul(INGEST_PLAYLISTS + 1);
    let (mut url, mut base, mut media) =
        attempt.before(limit, "the playlist is fetched", first).await??;
    let mut live = attempt.begin(true, true).await?;
    live.feed.set_patience(PATIENCE);
    let mut parser: Option<Parser> = None;
    let mut failures = 0;
    loop {
        let fetched = clock::now();
        let live_source = !media.ended;
        let fresh = follow.fetched(media);
        if fresh.restarted || fresh.missed > 0 {
            log::info!(
                "HLS: {} segments missed, {}",
                fresh.missed,
                if fresh.restarted { "the playlist began anew" } else { "it goes on" }
            );
            live.begin_anew();
        }
        // What is behind by more than a segment catches up.
        let many = fresh.segments.len();
        for (i, segment) in fresh.segments.iter().enumerate() {
            live.hurry(live_source && i + 2 < many);
            match take(&mut live, &client, &base, segment, &mut parser).await {
                Ok(()) => failures = 0,
                Err(Over::Failed(what)) => {
                    failures += 1;
                    log::warn!("segment {}: {what}", segment.number);
                    if failures >= FAILURES {
                        return Err(Over::Failed(what));
                    }
                    live.begin_anew();
                }
                Err(over) => return Err(over),
            }
        }
        let Some(refresh) = fresh.refresh else {
            // It ended: from its start again.
            if live.feed.packets() == 0 {
                return Err(Over::Failed(format!("{url}: no packet in it")));
            }
            if !attempt.again {
                return Err(Over::Ended);
            }
            follow = Follow::new();
            live.begin_anew();
            (url, base, media) = live.wait(fetch(&client, &url, 0)).await??;
            continue;
        };
        let due = fetched.saturating_add(u64::try_from(refresh.as_millis()).unwrap_or(u64::MAX));
        let pause = due.saturating_sub(clock::now());
        live.wait(run::sleep(Duration::from_millis(pause))).await?;
        (url, base, media) = loop {
            match live.wait(fetch(&client, &url, follow.from())).await? {
                Ok(next) => break next,
                Err(e) => {
                    failures += 1;
                    if failures >= FAILURES {
                        return Err(e);
                    }
                    log::warn!("{e}");
                    live.wait(run::sleep(Duration::from_secs(1))).await?;
                }
            }
        };
    }
}

/// The media playlist at `url`, through those that list others; where to ask for it again, and where
/// redirects led, beside which its segments are.
async fn fetch(client: &Client, url: &Url, from: u64) -> Result<(Url, Url, playlist::Media), Over> {
    let mut url = url.clone();
    for _ in 0..INGEST_PLAYLISTS {
        let done = run::within(INGEST_CONNECT, Box::pin(read(client, &url, from))).await;
        match done.unwrap_or_else(|| Err(failed(&url, &"the playlist does not end")))? {
            (base, Playlist::Media(media)) => return Ok((url, base, media)),
            (base, Playlist::Master(variants)) => {
                let best = playlist::best(&variants);
                let best = best.ok_or_else(|| failed(&url, &"a playlist that lists nothing"))?;
                url = base.join(&best.uri).map_err(|e| failed(&best.uri, &e))?;
            }
        }
    }
    Err(failed(&url, &"playlists that list only one another"))
}

/// The playlist at `url`, and where redirects led: what it lists stands beside that.
async fn read(client: &Client, url: &Url, from: u64) -> Result<(Url, Playlist), Over> {
    let opened = client.open(&request(url)).await.map_err(|e| failed(url, &e))?;
    let mut body = accepted(opened).map_err(|over| failed(url, &over))?;
    let mut reader = Reader::new(from);
    while let Some(piece) = body.next().await.map_err(|e| failed(url, &e))? {
        reader.push(&piece).map_err(|e| failed(url, &e))?;
    }
    let playlist = reader.finish().map_err(|e| failed(url, &e))?;
    Ok((body.url().clone(), playlist))
}

/// Publishes one segment.
async fn take(
    live: &mut Live<'_>,
    client: &Client,
    base: &Url,
    segment: &Segment,
    parser: &mut Option<Parser>,
) -> Result<(), Over> {
    let url = base.join(&segment.uri).map_err(|e| failed(&segment.uri, &e))?;
    let mut request: Request = request(&url);
    let mut expected = 200;
    if let Some(range) = segment.range {
        let last = range.start.saturating_add(range.len).saturating_sub(1);
        request.headers.push(("Range".into(), format!("bytes={}-{last}", range.start)));
        expected = 206;
    }
    if segment.discontinuity {
        // What follows may have other programs, and begins to count anew.
        *parser = None;
        live.begin_anew();
    }
    let opened = live.wait(client.open(&request)).await?;
    let mut body = opened.map_err(|e| failed(&url, &e))?;
    if body.head().status != expected {
        return Err(Over::Failed(format!("{url}: the server answers {}", body.head().status)));
    }
    let mut begun = false;
    loop {
        let next = live.wait(run::within(SEGMENT, body.next())).await?;
        let next = next.ok_or_else(|| failed(&url, &"the segment does not end"))?;
        let Some(piece) = next.map_err(|e| failed(&url, &e))? else { break };
        live.session.count(piece.len(), 0);
        if !std::mem::replace(&mut begun, true) {
            let format = sniff(&segment.uri, &piece);
            if parser.as_ref().is_none_or(|parser| parser.format() != format) {
                *parser = Some(Parser::new(format));
            }
        }
        let Some(parser) = parser.as_mut() else { break };
        if piece.is_empty() {
            continue;
        }
        live.parse(parser, &piece).await?;
    }
    if let Some(parser) = parser {
        live.finish(parser).await?;
        parser.begin_segment();
    }
    Ok(())
}
