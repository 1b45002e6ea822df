//! Which recordings are not finished, kept where the recordings are, so that they can be finished
//! after a power loss: also on another board that the card is put into.

use super::repair::{Repair, Repaired};
use crate::io::disk::Disk;
use crate::io::durable;
use crate::media::Decimal;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};

/// An unfinished recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The name it will have.
    pub(super) path: String,
    /// The name it has; the same one when it goes on with a file that was there.
    pub(super) temp: String,
    /// The length of the file that it goes on with; 0 for a new one.
    pub(super) from: u64,
    /// The duration of that file in milliseconds.
    pub(super) duration: u64,
}

/// The unfinished recordings below one directory. In memory it is what the file will be when the
/// disk has caught up.
#[derive(Debug)]
pub(super) struct Journal {
    root: PathBuf,
    disk: Disk,
    entries: RefCell<Vec<Entry>>,
    /// Those that could not be repaired: they do not bar their names, and are tried again at the
    /// next start.
    left: RefCell<Vec<Entry>>,
    /// What the file told is known, so it may be written over.
    loaded: Cell<bool>,
}

impl Journal {
    /// Of the recordings below `root`. Nothing may be added before [`Self::load`] is done.
    pub(super) fn new(root: &str, disk: &Disk) -> Self {
        let root = PathBuf::from(root);
        Self {
            root,
            disk: disk.clone(),
            entries: RefCell::default(),
            left: RefCell::default(),
            loaded: Cell::new(false),
        }
    }

    /// The directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Who does the work.
    pub(super) const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Whether recordings can be added.
    pub(super) fn is_ready(&self) -> bool {
        self.loaded.get()
    }

    /// Whether `path` is being written or repaired.
    pub(super) fn is_busy(&self, path: &str) -> bool {
        self.entries.borrow().iter().any(|entry| entry.path == path)
    }

    /// The files that must not be deleted.
    pub(super) fn busy(&self) -> Vec<PathBuf> {
        let entries = self.entries.borrow();
        entries.iter().flat_map(|e| [&e.path, &e.temp]).map(PathBuf::from).collect()
    }

    /// A recording begins. What is asked of the disk from now on happens after it is noted.
    pub(super) fn add(&self, entry: Entry) {
        self.left.borrow_mut().retain(|left| left.path != entry.path);
        self.entries.borrow_mut().push(entry);
        self.save();
    }

    /// What is to be known of a recording changed.
    pub(super) fn change(&self, entry: &Entry) {
        let mut entries = self.entries.borrow_mut();
        if let Some(old) = entries.iter_mut().find(|old| old.path == entry.path) {
            if old == entry {
                return;
            }
            old.clone_from(entry);
        }
        drop(entries);
        self.save();
    }

    /// A recording is finished.
    pub(super) fn remove(&self, path: &str) {
        self.entries.borrow_mut().retain(|entry| entry.path != path);
        self.save();
    }

    /// Repairs what a former process left, once.
    pub(super) async fn load(&self) {
        let path = self.file();
        let left = self.disk.ask(move || durable::load::<Vec<Entry>>(&path)).await;
        let left = left.ok().flatten().unwrap_or_default();
        self.entries.borrow_mut().clone_from(&left);
        self.loaded.set(true);
        for entry in left {
            self.repair(&entry).await;
        }
    }

    /// Finishes the file of `entry` as far as it is whole, and logs what came of it.
    pub(super) async fn repair(&self, entry: &Entry) -> Option<Repaired> {
        match self.try_repair(entry.clone()).await {
            Ok(done) => {
                match &done {
                    Repaired::Finished { path, summary, lost } => log::warn!(
                        "dvr: {} was not finished, now it is: {} s, {} bytes, {lost} cut off",
                        path.display(),
                        Decimal::new(summary.duration as f64 / 1000.0, 3),
                        summary.size
                    ),
                    Repaired::Empty => log::info!("dvr: {} was empty", entry.temp),
                    Repaired::Gone => {}
                }
                self.remove(&entry.path);
                Some(done)
            }
            Err(e) => {
                log::warn!("dvr: {} cannot be finished: {e}", entry.temp);
                self.entries.borrow_mut().retain(|other| other.path != entry.path);
                self.left.borrow_mut().push(entry.clone());
                None
            }
        }
    }

    async fn try_repair(&self, entry: Entry) -> io::Result<Repaired> {
        let begun = self.disk.ask(move || Repair::begin(&entry)).await;
        let Some(mut repair) = begun.map_err(io::Error::other)?? else {
            return Ok(Repaired::Gone);
        };
        loop {
            let step = move || repair.step().map(|done| (done, repair));
            let (done, back) = self.disk.ask(step).await.map_err(io::Error::other)??;
            repair = back;
            if done {
                let finished = self.disk.ask(move || repair.finish()).await;
                return finished.map_err(io::Error::other)?;
            }
        }
    }

    fn save(&self) {
        let path = self.file();
        let entries = [self.entries.borrow(), self.left.borrow()];
        let entries: Vec<&Entry> = entries.iter().flat_map(|list| list.iter()).collect();
        let bytes = durable::encode(&entries).map(|bytes| (bytes, entries.is_empty()));
        // The answer is in the log.
        drop(self.disk.ask(move || {
            let saved = bytes.and_then(|(bytes, empty)| match empty {
                true => {
                    durable::clear(&path);
                    Ok(())
                }
                false => durable::store(&path, &bytes),
            });
            if let Err(e) = saved {
                log::warn!(
                    "dvr: {}: {e}, a power loss would leave files unfinished",
                    path.display()
                );
            }
        }));
    }

    fn file(&self) -> PathBuf {
        self.root.join(FILE)
    }
}

const FILE: &str = ".runnel-dvr";
