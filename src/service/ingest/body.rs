//! Files, and bodies over HTTP.

use super::live::{Attempt, Live, Over, Parser, refuse};
use super::plan::Format;
use crate::io::fetch::{Client, Error, Request, Stream};
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
        let file = opened.map_err(|e| Over::Failed(e.to_string()))?;
        if live.is_none() {
            let start =
                attempt.before(INGEST_CONNECT, "the file is read", file.read(0, 188)).await?;
            refuse(format, &start.map_err(|e| Over::Failed(e.to_string()))?)?;
        }
        let live = next_round(attempt, &mut live, true, format).await?;
        live.feed.set_patience(FILE_PATIENCE);
        let before = live.feed.packets();
        let mut parser = Parser::new(format);
        let mut at: u64 = 0;
        loop {
            // Not kept: others wait for its memory.
            let piece = live.wait(file.read(at, INGEST_READ as u64)).await?;
            let bytes = piece.map_err(|e| Over::Failed(e.to_string()))?.to_vec();
            if bytes.is_empty() {
                break;
            }
            at = at.saturating_add(bytes.len() as u64);
            live.session.count(bytes.len(), 0);
            live.parse(&mut parser, &bytes).await?;
        }
        live.finish(&mut parser).await?;
        if live.feed.packets() == before {
            return Err(Over::Failed("no packet in it".into()));
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
        let mut body = accepted(body?.map_err(error)?)?;
        let mut piece = match &mut live {
            None => attempt.before(INGEST_CONNECT, "nothing comes", body.next()).await?,
            Some(live) => live.wait(body.next()).await?,
        }
        .map_err(error)?;
        if live.is_none() {
            refuse(format, piece.as_deref().unwrap_or_default())?;
        }
        let live = next_round(attempt, &mut live, paced, format).await?;
        let before = live.feed.packets();
        let mut parser = Parser::new(format);
        while let Some(bytes) = piece {
            live.session.count(bytes.len(), 0);
            live.parse(&mut parser, &bytes).await?;
            piece = live.wait(body.next()).await?.map_err(error)?;
        }
        live.finish(&mut parser).await?;
        if !paced {
            return Err(Over::Ended);
        }
        if live.feed.packets() == before {
            return Err(Over::Failed("no packet in it".into()));
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
pub(super) fn accepted(body: Stream) -> Result<Stream, Over> {
    match body.head().status {
        200 => Ok(body),
        status => Err(Over::Failed(format!("the server answers {status}"))),
    }
}

fn error(error: Error) -> Over {
    Over::Failed(error.to_string())
}

/// The stream, begun for the first round.
async fn next_round<'l, 'a>(
    attempt: &'a Attempt<'_>,
    live: &'l mut Option<Live<'a>>,
    paced: bool,
    format: Format,
) -> Result<&'l mut Live<'a>, Over> {
    match live {
        Some(live) => {
            live.begin_anew();
            Ok(live)
        }
        None => Ok(live.insert(attempt.begin(paced, format == Format::Ts).await?)),
    }
}
