//! What services and the server share: the one thing that is handed around.

use crate::config::{Config, MergedWrite, TimeJitter, Vhost};
use crate::hub::session::Registry;
use crate::hub::{Hub, Merge, Publisher, Settings};
use crate::io::disk::Disk;
use crate::io::load::Load;
use crate::io::requests::Requests;
use crate::io::run::Spawner;
use crate::io::stage::Stages;
use crate::media::arena::Pool;
use crate::media::time::Algorithm;
use crate::{io::clock, limits};
use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Where another configuration comes from.
pub enum Change {
    /// From the file, read again.
    File,
    /// From the text of now, edited.
    Edit {
        /// Makes the new text of the old one.
        edit: Edit,
        /// The new text becomes the file.
        persist: bool,
    },
}

/// See [`Change::Edit`].
pub type Edit = Box<dyn FnOnce(&[u8]) -> Result<Vec<u8>, Rejected>>;

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("File"),
            Self::Edit { persist, .. } => write!(f, "Edit {{ persist: {persist} }}"),
        }
    }
}

/// Why a configuration does not come into force: all stays as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The number of the original.
    pub code: u16,
    /// In words, with the line.
    pub text: String,
}

/// Everything that lives as long as the process.
#[derive(Debug)]
pub struct Context {
    /// The streams.
    pub hub: Hub,
    /// The connections.
    pub sessions: Rc<Registry>,
    /// How busy the thread is.
    pub load: Load,
    /// The periodic log lines.
    pub stages: Stages,
    /// Writes files.
    pub disk: Disk,
    /// Starts tasks.
    pub spawner: Spawner,
    /// Publish the built-in test stream.
    pub demo: bool,
    /// When the process started, by the monotonic clock.
    pub started: u64,
    /// The server was told to leave: those who look after it send nobody here any more.
    pub leaving: Cell<bool>,
    /// Requests for another configuration.
    pub reloads: Requests<Change, Result<(), Rejected>>,
    file: RefCell<Option<PathBuf>>,
    /// A number of the text that was read last.
    seen: Cell<u64>,
    config: RefCell<Rc<Config>>,
    generation: Cell<u32>,
    /// One a service, few.
    parts: RefCell<Vec<(TypeId, Rc<dyn Any>)>>,
}

impl Context {
    /// A server without streams and connections.
    pub fn new(config: Config, demo: bool, spawner: Spawner) -> Rc<Self> {
        Rc::new(Self {
            hub: Hub::new(Pool::new(limits::MEDIA_POOL)),
            sessions: Rc::default(),
            load: Load::default(),
            stages: Stages::new(config.pithy_print_ms.0),
            disk: Disk::new(),
            spawner,
            demo,
            started: clock::now(),
            leaving: Cell::new(false),
            reloads: Requests::default(),
            file: RefCell::default(),
            seen: Cell::new(0),
            config: RefCell::new(Rc::new(config)),
            generation: Cell::new(0),
            parts: RefCell::default(),
        })
    }

    /// The configuration in force.
    pub fn config(&self) -> Rc<Config> {
        self.config.borrow().clone()
    }

    /// Another configuration from now on. Gives the one before.
    pub fn set_config(&self, config: Config) -> Rc<Config> {
        self.generation.set(self.generation.get().wrapping_add(1));
        self.config.replace(Rc::new(config))
    }

    /// The file that the configuration comes from; `None` for the built-in one.
    pub fn file(&self) -> Option<PathBuf> {
        self.file.borrow().clone()
    }

    /// Says where the configuration comes from.
    pub fn set_file(&self, file: Option<&Path>) {
        self.file.replace(file.map(Path::to_owned));
    }

    /// The text of the file is `text` from now on. Whether it was so before.
    pub fn has_seen(&self, text: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        self.seen.replace(hasher.finish()) == hasher.finish()
    }

    /// Another number after each change of the configuration: for those that look at it often.
    pub fn generation(&self) -> u32 {
        self.generation.get()
    }

    /// What a service keeps for as long as the process lives, by its type.
    pub fn part<T: Default + 'static>(&self) -> Rc<T> {
        let part = self.part_of(TypeId::of::<T>(), || Rc::<T>::default());
        part.downcast().unwrap_or_default()
    }

    fn part_of(&self, id: TypeId, make: fn() -> Rc<dyn Any>) -> Rc<dyn Any> {
        let mut parts = self.parts.borrow_mut();
        if let Some((_, part)) = parts.iter().find(|(of, _)| *of == id) {
            return part.clone();
        }
        let part = make();
        parts.push((id, part.clone()));
        part
    }

    /// The merge interval of streams with `settings`, in milliseconds.
    pub fn merge_ms(&self, settings: &Settings) -> u32 {
        match settings.merge {
            Merge::Auto => self.hub.auto_merge(),
            Merge::Every(ms) => ms,
        }
    }

    /// Shows players what `publisher` gathered, when the merge interval is over. Else says when
    /// that is, in milliseconds of the clock; `None` when there is nothing.
    pub fn flush_when_due(&self, publisher: &mut Publisher) -> Option<u64> {
        let due = publisher.due(self.hub.auto_merge())?;
        if due > clock::now() {
            return Some(due);
        }
        publisher.flush();
        self.hub.set_auto_merge(self.load.merge_interval());
        None
    }

    /// Connections that are allowed: `max_connections`, and no more than the board's.
    pub fn max_clients(&self) -> usize {
        limits::clients(self.config.borrow().max_connections)
    }
}

/// What a vhost says of its streams.
pub fn settings(vhost: &Vhost) -> Settings {
    let play = &vhost.play;
    let merge = match play.mw_latency {
        _ if vhost.min_latency => Merge::Every(0),
        MergedWrite::Auto => Merge::Auto,
        MergedWrite::Fixed(ms) => Merge::Every(ms),
    };
    let gathered = match merge {
        Merge::Auto => limits::MERGE_MS,
        Merge::Every(ms) => ms,
    };
    let shortest = gathered.saturating_mul(2).max(SHORTEST_QUEUE_MS);
    Settings {
        gop_cache: play.gop_cache,
        queue_ms: milliseconds(play.queue_length.0).max(shortest),
        jitter: match play.time_jitter {
            TimeJitter::Full => Algorithm::Full,
            TimeJitter::Zero => Algorithm::Zero,
            TimeJitter::Off => Algorithm::Off,
        },
        atc: play.atc,
        atc_auto: play.atc_auto,
        mix_correct: play.mix_correct,
        reduce_headers: play.reduce_sequence_header,
        merge,
        hold_ms: milliseconds(vhost.publish.hold.0),
    }
}

/// The same of a form of its streams that is made of them: their times and their order are right
/// already.
pub fn derived_settings(vhost: &Vhost) -> Settings {
    Settings { jitter: Algorithm::Off, mix_correct: false, hold_ms: 0, ..settings(vhost) }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// A queue shorter than this, or than two merge intervals, would lose packets that no player
/// could have had yet.
const SHORTEST_QUEUE_MS: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_holds_what_is_gathered_for_a_write() {
        let cases = [
            ("queue_length 0;", 1000),
            ("queue_length 1; mw_latency 1800;", 3600),
            ("queue_length 0; min_latency on; mw_latency 1800;", 1000),
            ("queue_length 10;", 10_000),
        ];
        for (text, queue_ms) in cases {
            let text = format!("listen 1935; vhost v {{ {text} }}");
            let config = crate::config::load(text.as_bytes()).unwrap().config;
            assert_eq!(settings(config.vhost("v").unwrap()).queue_ms, queue_ms, "{text}");
        }
    }
}
