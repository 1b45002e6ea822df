//! Recordings: each stream of a vhost with `dvr { enabled on; }` becomes FLV files.
//!
//! A file is `<name>.tmp` until it is finished (not with plan append). It begins with the encoder's
//! metadata and with sequence headers, so that each plays alone; at its end duration, size and an
//! index of key frames are written into the metadata. When the process or the power dies at any
//! moment, the next start cuts what was unfinished to its last whole tag and finishes it.
//! Everything is written by the thread of the [disk](crate::io::disk): a disk that stalls, fills up
//! or goes away ends recordings, never streams.

mod journal;
mod metadata;
mod plan;
mod recording;
mod repair;
mod space;

pub use recording::Recorded;

use crate::config::{Dvr, Vhost};
use crate::context::Context;
use crate::hub::{Client, Sink, StreamKey};
use crate::io::disk::Reply;
use crate::io::zone::Zone;
use crate::media::Decimal;
use crate::service::Service;
use crate::service::admission::{Event, tell};
use crate::service::path::{Stamp, Template};
use journal::{Entry, Journal};
use metadata::Summary;
use repair::Repaired;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;

/// Joins streams of vhosts that record, and finishes what the last process left.
pub const SERVICE: Service = Service {
    attach,
    differs: |old, new| old.dvr != new.dvr,
    start: |cx| {
        for vhost in cx.config().vhosts.iter().filter(|v| v.enabled && v.dvr.enabled) {
            let template = template(&vhost.dvr.dvr_path);
            cx.part::<Recordings>().journal(cx, template.root());
        }
    },
    ..Service::new("dvr")
};

fn attach(cx: &Rc<Context>, key: &StreamKey, vhost: &Vhost) -> Option<Box<dyn Sink>> {
    let dvr = &vhost.dvr;
    if !dvr.enabled || !applies(dvr, key) {
        return None;
    }
    Some(Box::new(plan::Recorder::new(cx, key, dvr)))
}

/// Whether `dvr_apply` names the stream.
fn applies(dvr: &Dvr, key: &StreamKey) -> bool {
    let named = |name: &String| {
        let rest = name.strip_prefix(key.app()).and_then(|rest| rest.strip_prefix('/'));
        name == "all" || rest == Some(key.stream())
    };
    dvr.dvr_apply.iter().any(named)
}

/// The file for `dvr_path`; a directory gets a name as SRS gives it.
fn template(dvr_path: &str) -> Template {
    if dvr_path.ends_with(".flv") {
        return Template::new(dvr_path);
    }
    Template::new(&format!("{}/[stream].[timestamp].flv", dvr_path.trim_end_matches('/')))
}

type Listener = Rc<dyn Fn(&Recorded)>;

/// All recordings of the process.
pub struct Recordings {
    journals: RefCell<HashMap<String, Rc<Journal>>>,
    listeners: RefCell<Vec<Listener>>,
    zone: Zone,
}

impl Recordings {
    /// Calls `listener` for every file that is finished from now on, with its final name.
    pub fn on_file(&self, listener: impl Fn(&Recorded) + 'static) {
        self.listeners.borrow_mut().push(Rc::new(listener));
    }

    /// The journal of the recordings below `root`. When it is new, what it tells is repaired.
    fn journal(&self, cx: &Rc<Context>, root: &str) -> Rc<Journal> {
        if let Some(journal) = self.journals.borrow().get(root) {
            return journal.clone();
        }
        let journal = Rc::new(Journal::new(root, &cx.disk));
        self.journals.borrow_mut().insert(root.to_owned(), journal.clone());
        let loading = journal.clone();
        cx.spawner.spawn(async move { loading.load().await });
        journal
    }

    fn stamp(&self, cx: &Context) -> Stamp {
        let utc = cx.config().utc_time;
        Stamp::now(if utc { &UTC } else { &self.zone })
    }

    /// Waits for the end of a file, and tells who wants to know.
    async fn finished(
        &self,
        cx: &Rc<Context>,
        journal: &Rc<Journal>,
        (key, by): (StreamKey, Option<Rc<Client>>),
        (entry, summary, closed): (Entry, Summary, Reply<Result<(), String>>),
    ) {
        let (path, summary) = match closed.await {
            Ok(Ok(())) => {
                journal.remove(&entry.path);
                (PathBuf::from(&entry.path), summary)
            }
            // What is there of it is worth keeping.
            _ => match journal.repair(&entry).await {
                Some(Repaired::Finished { path, summary, .. }) => (path, summary),
                _ => return,
            },
        };
        let seconds = Decimal::new(summary.duration as f64 / 1000.0, 3);
        let missing = match summary.gaps {
            0 => String::new(),
            gaps => format!(", {gaps} gaps"),
        };
        log::info!("dvr: {} done, {seconds} s, {} bytes{missing}", path.display(), summary.size);
        let recorded = Recorded { key, path, size: summary.size, duration: summary.duration };
        tell(cx, &Event::Recorded { key: &recorded.key, by: by.as_ref(), file: &recorded.path });
        let listeners = self.listeners.borrow().clone();
        listeners.iter().for_each(|listener| listener(&recorded));
    }
}

impl Default for Recordings {
    fn default() -> Self {
        Self { journals: RefCell::default(), listeners: RefCell::default(), zone: Zone::local() }
    }
}

impl fmt::Debug for Recordings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recordings").field("journals", &self.journals).finish_non_exhaustive()
    }
}

static UTC: Zone = Zone::UTC;

#[cfg(test)]
mod tests;
