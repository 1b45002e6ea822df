//! Programs of a stream, and streams of programs: what runs while a stream is published, and what
//! comes of it.

use super::{Guard, Job, Programs, start};
use crate::config::Config;
use crate::context::Context;
use crate::hub::{Sink, SinkError, StreamKey};
use crate::media::Packet;
use crate::service::Attach;
use crate::service::inputs::{Input, Inputs};
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A job of a stream, done until this is dropped.
pub(super) struct Held {
    service: &'static str,
    key: StreamKey,
    says: Vec<String>,
    log: Option<PathBuf>,
    inputs: Rc<Inputs>,
    input: Rc<Input>,
    _guard: Guard,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("says", &self.says).finish_non_exhaustive()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.inputs.leave(&self.input);
    }
}

/// A sink that does `jobs` of `service` while `key` is published. With each stands what the
/// configuration says of it: those of which it says the same after a reload go on.
pub fn while_published(
    cx: &Rc<Context>,
    service: &'static str,
    key: &StreamKey,
    jobs: Vec<(Vec<String>, Job)>,
) -> Box<dyn Sink> {
    let (programs, inputs) = (cx.part::<Programs>(), cx.part::<Inputs>());
    let (mut all, mut new) = (Vec::new(), Vec::new());
    for (says, job) in jobs {
        let mut taken = programs.taken.borrow_mut();
        let kept = taken
            .iter()
            .position(|held| (held.service, &held.key, &held.says) == (service, key, &says));
        match kept {
            Some(at) => all.push(taken.swap_remove(at)),
            None => new.push((says, job)),
        }
    }
    for (says, mut job) in new {
        // Two that write the same file would write over each other.
        job.log = job.log.map(|path| {
            let is_free =
                |path: &PathBuf| all.iter().all(|held: &Held| held.log.as_ref() != Some(path));
            let mut names = (1..=all.len() + 1).map(|number| numbered(&path, number));
            names.find(is_free).unwrap_or(path)
        });
        let log = job.log.clone();
        let input = inputs.enter(service, format!("{} {key}", job.name), job.told.clone());
        let _guard = start(cx, job, input.clone());
        let (key, inputs) = (key.clone(), inputs.clone());
        all.push(Held { service, key, says, log, inputs, input, _guard });
    }
    Box::new(WhilePublished { cx: cx.clone(), service, jobs: all })
}

/// `a.log`, `a-2.log`, `a-3.log`.
fn numbered(path: &Path, number: usize) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{number}.log"))
}

struct WhilePublished {
    cx: Rc<Context>,
    service: &'static str,
    jobs: Vec<Held>,
}

impl Sink for WhilePublished {
    fn service(&self) -> &'static str {
        self.service
    }

    fn on_packet(&mut self, _: &Packet) -> Result<(), SinkError> {
        Ok(())
    }

    fn on_unpublish(&mut self) {
        self.jobs.clear();
    }

    fn on_detach(&mut self) {
        let programs = self.cx.part::<Programs>();
        programs.taken.borrow_mut().append(&mut self.jobs);
        // Who wants one of them has it by then.
        self.cx.spawner.spawn(async move {
            let rest = programs.taken.take();
            drop(rest);
        });
    }
}

/// Acts on another `listen` than that of `old`: what programs of `service` are told of this server
/// is another. Those of which that is not true go on.
pub fn follow_listen(cx: &Rc<Context>, old: &Config, service: &'static str, attach: Attach) {
    let config = cx.config();
    if config.listen == old.listen {
        return;
    }
    for source in cx.hub.streams().into_iter().filter(|source| source.publisher().is_some()) {
        let Some(vhost) = config.block(source.key().vhost()) else { continue };
        source.detach(service);
        if let Some(sink) = attach(cx, source.key(), vhost) {
            // A sink of this kind takes everything.
            let _ = source.attach(sink);
        }
    }
}

/// A sink that counts what comes of a job, if `key` is its stream.
pub(super) fn count(cx: &Context, key: &StreamKey) -> Option<Box<dyn Sink>> {
    let programs = cx.part::<Programs>();
    let made = programs.made.borrow();
    let made = made.iter().rfind(|made| made.key == *key)?;
    made.input.begin_stream();
    Some(Box::new(Counter(made.input.clone())))
}

struct Counter(Rc<Input>);

impl Sink for Counter {
    fn service(&self) -> &'static str {
        super::SERVICE.name
    }

    fn on_packet(&mut self, packet: &Packet) -> Result<(), SinkError> {
        self.0.count(packet.payload.len() as u64, 1);
        Ok(())
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.0.end_stream();
    }
}
