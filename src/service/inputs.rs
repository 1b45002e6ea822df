//! Streams that come in by other protocols than RTMP, and what programs of ours make: what the
//! configuration asks for, and how each of them is doing.

use crate::config::shown;
use crate::hub::session::{Kick, Session};
use crate::io::clock;
use crate::limits::{INPUTS, INPUTS_LISTED};
use crate::service::admission::Refusal;
use std::cell::{Cell, RefCell};
use std::fmt::{self, Display};
use std::rc::{Rc, Weak};

/// What is known of all inputs of the process: a part of the context.
#[derive(Debug, Default)]
pub struct Inputs {
    all: RefCell<Vec<Rc<Input>>>,
    places: Rc<Cell<usize>>,
}

impl Inputs {
    /// Every input that the configuration asks for, whether something comes in or not.
    pub fn all(&self) -> Vec<Rc<Input>> {
        self.all.borrow().clone()
    }

    /// Enters an input: `service` takes it in, `name` tells it from others, `output` is where it
    /// is published; both without what is secret. One that is called as another gets a number
    /// behind its name. Beyond [`INPUTS_LISTED`] it works, but is not listed.
    pub fn enter(&self, service: &'static str, mut name: String, output: String) -> Rc<Input> {
        let mut all = self.all.borrow_mut();
        let is_taken = |name: &str| {
            all.iter().any(|i| (i.service, &*i.name, &*i.output) == (service, name, &*output))
        };
        if is_taken(&name) {
            let mut numbered = (2..=INPUTS_LISTED + 1).map(|number| format!("{name} {number}"));
            name = numbered.find(|name| !is_taken(name)).unwrap_or(name);
        }
        let input = Rc::new(Input { service, name, output, ..Input::default() });
        if all.len() < INPUTS_LISTED {
            all.push(input.clone());
        }
        input
    }

    /// The input is no more: what it publishes ends.
    pub fn leave(&self, input: &Rc<Input>) {
        self.all.borrow_mut().retain(|other| !Rc::ptr_eq(other, input));
        input.over.set(true);
        for session in input.sessions.borrow().iter().filter_map(Weak::upgrade) {
            session.kick(Kick::Input);
        }
    }

    /// A place for a stream with memory of its own, of which there are [`INPUTS`].
    pub fn place(&self) -> Result<Place, Refusal> {
        let taken = self.places.get();
        if taken >= INPUTS {
            let text = format!("{INPUTS} streams come in by RTSP and MPEG-TS already");
            return Err(Refusal::new(1021, text));
        }
        self.places.set(taken + 1);
        Ok(Place(self.places.clone()))
    }
}

/// A place for a stream, until it is dropped.
#[derive(Debug)]
pub struct Place(Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// One input of the configuration, and how it is doing.
#[derive(Debug, Default)]
pub struct Input {
    /// The service that takes it in, by the name of its feature.
    pub service: &'static str,
    /// What tells it from others: where it listens, or what it pulls.
    pub name: String,
    /// Where it is published, as the configuration says it, without what is secret.
    pub output: String,
    sessions: RefCell<Vec<Weak<Session>>>,
    /// Streams that its program publishes.
    programs: Cell<usize>,
    bytes: Cell<u64>,
    packets: Cell<u64>,
    damage: Cell<u64>,
    starts: Cell<u32>,
    since: Cell<Option<u64>>,
    last_error: RefCell<Option<Failure>>,
    over: Cell<bool>,
    state: Cell<State>,
}

/// What an input is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It waits for a sender, for the first player, or for a place for its program.
    #[default]
    Waiting,
    /// It turns to where its stream comes from.
    Connecting,
    /// Something comes in, or its program runs.
    Running,
    /// It failed, and is tried again after a pause.
    Retrying,
}

impl Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Connecting => "connecting",
            Self::Running => "running",
            Self::Retrying => "retrying",
        })
    }
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// What.
    pub text: String,
}

impl Input {
    /// Streams that it publishes now.
    pub fn streams(&self) -> usize {
        let sessions = self.sessions.borrow();
        let live = sessions.iter().filter(|session| session.strong_count() > 0);
        live.count().saturating_add(self.programs.get())
    }

    /// Bytes that came in so far, all its streams together; of a program those of its packets.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Packets that were published so far.
    pub fn packets(&self) -> u64 {
        self.packets.get()
    }

    /// Losses and damages of the transport so far.
    pub fn damage(&self) -> u64 {
        self.damage.get()
    }

    /// Streams that began so far.
    pub fn starts(&self) -> u32 {
        self.starts.get()
    }

    /// How often it began anew.
    pub fn restarts(&self) -> u32 {
        self.starts.get().saturating_sub(1)
    }

    /// When the newest of its streams began, by the process's clock in milliseconds; `None` when
    /// nothing comes in.
    pub fn since(&self) -> Option<u64> {
        self.since.get().filter(|_| self.state() == State::Running)
    }

    /// What it is doing; of a caster, whether something comes in.
    pub fn state(&self) -> State {
        match self.state.get() {
            State::Waiting if self.streams() > 0 => State::Running,
            state => state,
        }
    }

    /// It does something else from now on.
    pub fn set_state(&self, state: State) {
        self.state.set(state);
    }

    /// A stream of it begins, or a program that publishes for it.
    pub fn count_start(&self) {
        self.starts.set(self.starts.get().saturating_add(1));
        self.since.set(Some(clock::now()));
    }

    /// Whether the configuration has it no more.
    pub fn is_over(&self) -> bool {
        self.over.get()
    }

    /// What went wrong last.
    pub fn last_error(&self) -> Option<Failure> {
        self.last_error.borrow().clone()
    }

    /// Something went wrong. Whoever reads the API reads it: urls in it are told without secrets.
    pub fn fail(&self, what: &dyn Display) {
        let failure = Failure { at: clock::unix(), text: shown::text(&what.to_string()) };
        *self.last_error.borrow_mut() = Some(failure);
    }

    /// More came in, and was published.
    pub fn count(&self, bytes: u64, packets: u64) {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
        self.packets.set(self.packets.get().saturating_add(packets));
    }

    /// Adds to [`damage`](Self::damage).
    pub fn add_damage(&self, count: u64) {
        self.damage.set(self.damage.get().saturating_add(count));
    }

    /// A stream of it begins; it ends with the input.
    pub fn begin(&self, session: &Rc<Session>) {
        let mut sessions = self.sessions.borrow_mut();
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Rc::downgrade(session));
        self.count_start();
    }

    /// Its program publishes a stream.
    pub fn begin_stream(&self) {
        self.programs.set(self.programs.get().saturating_add(1));
    }

    /// A stream of its program ended.
    pub fn end_stream(&self) {
        self.programs.set(self.programs.get().saturating_sub(1));
    }

    /// The stream ended.
    pub fn end(&self, session: &Rc<Session>) {
        self.sessions.borrow_mut().retain(|other| !Weak::ptr_eq(other, &Rc::downgrade(session)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_the_limit_says() {
        let inputs = Inputs::default();
        let mut places: Vec<_> = (0..INPUTS).map(|_| inputs.place().unwrap()).collect();
        assert!(inputs.place().is_err());
        places.pop();
        assert!(inputs.place().is_ok());
    }

    #[test]
    fn an_input_that_leaves_is_not_listed_any_more() {
        let inputs = Inputs::default();
        let one = inputs.enter("caster-flv", "flv 8936".into(), "rtmp://a/b/c".into());
        let two = inputs.enter("caster-flv", "flv 8937".into(), "rtmp://a/b/c".into());
        one.fail(&"http://u:p@h/a?k=s3 broken");
        assert_eq!(inputs.all().len(), 2);
        inputs.leave(&one);
        assert_eq!(inputs.all().iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["flv 8937"]);
        assert_eq!(one.last_error().map(|e| e.text), Some("http://h/a?k=... broken".into()));
        assert_eq!((two.streams(), two.restarts(), two.since()), (0, 0, None));
        two.begin_stream();
        assert_eq!((two.streams(), two.state()), (1, State::Running));
        two.end_stream();
        assert_eq!((two.streams(), two.state()), (0, State::Waiting));
    }

    #[test]
    fn no_two_inputs_are_called_the_same() {
        let inputs = Inputs::default();
        let enter = |output: &str| {
            let input = inputs.enter("exec", "exec ./f /live/s".into(), output.into());
            (input.name.clone(), input)
        };
        let names = [enter("a").0, enter("a").0, enter("b").0];
        assert_eq!(names, ["exec ./f /live/s", "exec ./f /live/s 2", "exec ./f /live/s"]);
        let (name, third) = enter("a");
        assert_eq!(name, "exec ./f /live/s 3");
        inputs.leave(&third);
        assert_eq!(enter("a").0, "exec ./f /live/s 3");
    }
}
