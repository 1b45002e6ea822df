//! Files, and bodies over HTTP.

use super::live::{Attempt, Live, Over, Parser, failed};
use super::plan::Format;
use crate::io::fetch::{Client, Request, Stream};
use crate::io::read;
use crate::limits::{INGEST_CONNECT, INGEST_READ, INGEST_REDIRECTS};
use crate::proto::http::Method;
use crate::proto::http::url::Url;
use std::time::Duration;

/// A file may have a hole of so long between two of its packets.
const FILE_PATIENCE: Duration = Duration::from_secs(3600);

/// Reads a file over and over.
pub(super) async fn file(attempt: &Attempt<'_>, path: &str, format: Format) -> Result<(), Over> {
    let mut live: Option<Live<'_>> = None;
    loop {
        let opening = attempt.before(INGEST_CONNECT, "the file is opened", read::open_named(path));
        let opened = match &mut live {
            None => opening.await?,
            Some(live) => live.wait(read::open_named(path)).await?,
        };
        let file = opened.map_err(|e| failed(&path, &e))?;
        let live = next_round(attempt, &mut live, true).await?;
        live.feed.set_patience(FILE_PATIENCE);
        let before = live.feed.packets();
        let mut parser = Parser::new(format);
        let mut at: u64 = 0;
        loop {
            // Not kept: others wait for its memory.
            let piece = live.wait(file.read(at, INGEST_READ as u64)).await?;
            let bytes = piece.map_err(|e| failed(&path, &e))?.to_vec();
            if bytes.is_empty() {
                break;
            }
            at = at.saturating_add(bytes.len() as u64);
            live.session.count(bytes.len(), 0);
            live.parse(&mut parser, &bytes).await?;
        }
        live.finish(&mut parser).await?;
        if live.feed.packets() == before {
            return Err(Over::Failed(format!("{path}: no packet in it")));
        }
    }
}

/// Reads a body: `paced` over and over, else once.
pub(super) async fn http(
    attempt: &Attempt<'_>,
    url: &Url,
    format: Format,
    paced: bool,
) -> Result<(), Over> {
    let client = Client::default();
    let request = request(url);
    let mut live: Option<Live<'_>> = None;
    loop {
        let body = match &mut live {
            None => {
                attempt.before(INGEST_CONNECT, "the server is asked", client.open(&request)).await
            }
            Some(live) => live.wait(client.open(&request)).await,
        };
        let mut body = accepted(url, body?.map_err(|e| failed(url, &e))?)?;
        let live = next_round(attempt, &mut live, paced).await?;
        let before = live.feed.packets();
        let mut parser = Parser::new(format);
        while let Some(piece) = live.wait(body.next()).await?.map_err(|e| failed(url, &e))? {
            live.session.count(piece.len(), 0);
            live.parse(&mut parser, &piece).await?;
        }
        live.finish(&mut parser).await?;
        if !paced {
            return Err(Over::Ended);
        }
        if live.feed.packets() == before {
            return Err(Over::Failed(format!("{url}: no packet in it")));
        }
    }
}

/// What to ask for a url with; a server has some seconds to begin its answer.
pub(super) fn request(url: &Url) -> Request {
    let headers = vec![("User-Agent".to_owned(), "runnel".to_owned())];
    Request {
        headers,
        timeout: INGEST_CONNECT,
        redirects: INGEST_REDIRECTS,
        ..Request::new(Method::Get, url.clone())
    }
}

/// The body, if the server gives it.
pub(super) fn accepted(url: &Url, body: Stream) -> Result<Stream, Over> {
    match body.head().status {
        200 => Ok(body),
        status => Err(Over::Failed(format!("{url}: the server answers {status}"))),
    }
}

/// The stream, begun for the first round.
async fn next_round<'l, 'a>(
    attempt: &'a Attempt<'_>,
    live: &'l mut Option<Live<'a>>,
    paced: bool,
) -> Result<&'l mut Live<'a>, Over> {
    match live {
        Some(live) => {
            live.begin_anew();
            Ok(live)
        }
        None => Ok(live.insert(attempt.begin(paced).await?)),
    }
}
