//! HLS of another server: a playlist that is fetched again and again, or once and then over again.

use super::body::{accepted, request};
use super::decrypt::{BLOCK, Decryptor};
use super::live::{Attempt, Live, Over, Parser, failed};
use super::plan::sniff;
use crate::format::playlist::{self, Follow, Key, Playlist, Reader, Segment};
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
    let mut taker = Taker::default();
    let mut follow = Follow::new();
    let first = fetch(&taker.client, url, follow.from());
    let limit = INGEST_CONNECT.saturating_mul(INGEST_PLAYLISTS + 1);
    let (mut url, mut base, mut media) =
        attempt.before(limit, "the playlist is fetched", first).await??;
    let mut live = attempt.begin(true, true).await?;
    live.feed.set_patience(PATIENCE);
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
            match taker.take(&mut live, &base, segment).await {
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
            (url, base, media) = live.wait(fetch(&taker.client, &url, 0)).await??;
            continue;
        };
        let due = fetched.saturating_add(u64::try_from(refresh.as_millis()).unwrap_or(u64::MAX));
        let pause = due.saturating_sub(clock::now());
        live.wait(run::sleep(Duration::from_millis(pause))).await?;
        (url, base, media) = loop {
            match live.wait(fetch(&taker.client, &url, follow.from())).await? {
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

/// What segments are taken with.
#[derive(Default)]
struct Taker {
    client: Client,
    parser: Option<Parser>,
    /// The key that was fetched last, and from where.
    key: Option<(String, [u8; BLOCK])>,
}

impl Taker {
    /// Publishes one segment of the playlist at `base`.
    async fn take(
        &mut self,
        live: &mut Live<'_>,
        base: &Url,
        segment: &Segment,
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
            self.parser = None;
            live.begin_anew();
        }
        let mut cipher = match &segment.key {
            Some(key) => Some(self.cipher(live, base, key, segment.number).await?),
            None => None,
        };
        let opened = live.wait(self.client.open(&request)).await?;
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
            match &mut cipher {
                Some(cipher) => {
                    let piece = cipher.piece(&piece);
                    self.parse(live, segment, &mut begun, &piece).await?;
                }
                None => self.parse(live, segment, &mut begun, &piece).await?,
            }
        }
        if let Some(cipher) = cipher {
            let last = cipher.finish().map_err(|e| failed(&url, &e))?;
            self.parse(live, segment, &mut begun, &last).await?;
        }
        if let Some(parser) = &mut self.parser {
            live.finish(parser).await?;
            parser.begin_segment();
        }
        Ok(())
    }

    /// Publishes the next bytes of a segment; the first ones say what it is.
    async fn parse(
        &mut self,
        live: &mut Live<'_>,
        segment: &Segment,
        begun: &mut bool,
        piece: &[u8],
    ) -> Result<(), Over> {
        if piece.is_empty() {
            return Ok(());
        }
        if !std::mem::replace(begun, true) {
            let format = sniff(&segment.uri, piece);
            self.parser = self.parser.take().filter(|parser| parser.format() == format);
            self.parser.get_or_insert_with(|| Parser::new(format));
        }
        match &mut self.parser {
            Some(parser) => live.parse(parser, piece).await,
            None => Ok(()),
        }
    }

    /// What decrypts the segment `number`, with the key that is fetched when it is another one.
    async fn cipher(
        &mut self,
        live: &mut Live<'_>,
        base: &Url,
        key: &Key,
        number: u64,
    ) -> Result<Decryptor, Over> {
        let url = base.join(&key.uri).map_err(|e| failed(&key.uri, &e))?;
        let place = url.to_string();
        let known = self.key.take().filter(|(of, _)| *of == place);
        let (_, secret) = match known {
            Some(known) => self.key.insert(known),
            None => {
                let reply = live.wait(self.client.fetch(&request(&url))).await?;
                let reply = reply.map_err(|e| failed(&url, &e))?;
                let secret = match reply.head.status {
                    200 => reply.body.try_into().ok(),
                    status => {
                        return Err(failed(&url, &format_args!("the server answers {status}")));
                    }
                };
                let secret = secret.ok_or_else(|| failed(&url, &"no key of 16 bytes"))?;
                self.key.insert((place, secret))
            }
        };
        let iv = key.iv.unwrap_or(number.into()).to_be_bytes();
        Decryptor::new(*secret, iv).map_err(|e| failed(&base, &e))
    }
}
