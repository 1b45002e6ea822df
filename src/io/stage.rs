//! The periodic log lines: how each kind of client is doing, about one line a kind and interval.

use crate::hub::pithy::{Pithy, Stage, Turn};
use crate::hub::rate::{Rate, Window};
use crate::io::clock;
use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// How often the windows of the rates are looked at.
const SAMPLE_MS: u64 = 3000;

/// The pace of all stages, `pithy_print_ms`.
#[derive(Debug)]
pub struct Stages {
    pithy: Pithy,
    interval: Rc<Cell<u64>>,
}

impl Stages {
    /// A line every `interval`.
    pub fn new(interval: Duration) -> Self {
        let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        Self { pithy: Pithy::default(), interval: Rc::new(Cell::new(interval)) }
    }

    /// A line every `interval` from now on.
    pub fn set_interval(&self, interval: Duration) {
        self.interval.set(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX));
    }

    /// One more client of `stage`, until the value is dropped.
    pub fn enter(&self, stage: Stage) -> Progress {
        let now = clock::now();
        Progress {
            turn: self.pithy.join(stage, now),
            interval: self.interval.clone(),
            sampled: now,
            received: Rate::new(now),
            sent: Rate::new(now),
        }
    }
}

/// A client's traffic and its turn to print.
#[derive(Debug)]
pub struct Progress {
    turn: Turn,
    interval: Rc<Cell<u64>>,
    sampled: u64,
    received: Rate,
    sent: Rate,
}

impl Progress {
    /// To be called at every poll with the bytes received and sent so far. The line, when it is
    /// this client's turn.
    pub fn tick(&mut self, (received, sent): (u64, u64)) -> Option<Line> {
        let now = clock::now();
        if now.saturating_sub(self.sampled) >= SAMPLE_MS {
            self.sampled = now;
            self.sample(now, received, sent);
        }
        let age = self.turn.due(now, self.interval.get())?;
        self.sample(now, received, sent);
        Some(Line { mark: self.turn.stage().mark(), age, sent: self.sent, received: self.received })
    }

    /// The same for a client whose line has no rates: its age in milliseconds, when it is its turn.
    pub fn age(&mut self) -> Option<u64> {
        self.turn.due(clock::now(), self.interval.get())
    }

    fn sample(&mut self, now: u64, received: u64, sent: u64) {
        for (rate, bytes) in [(&mut self.received, received), (&mut self.sent, sent)] {
            let more = bytes.saturating_sub(rate.bytes());
            rate.add(usize::try_from(more).unwrap_or(usize::MAX));
            rate.sample(now);
        }
    }
}

/// The beginning of a line: the mark of the stage, the client's age, its rates.
#[derive(Debug)]
pub struct Line {
    mark: &'static str,
    age: u64,
    sent: Rate,
    received: Rate,
}

impl Line {
    /// The end of a line: the rates of the last minute, sent and received, in kbit/s.
    pub fn minute(&self) -> String {
        let [sent, received] = [self.sent, self.received].map(|rate| rate.window(Window::Minute));
        format!("1m={sent}/{received}")
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = clock::now();
        let (mark, age) = (self.mark, self.age);
        write!(f, "{mark} time={age}, okbps={}", self.sent.kbps(now))?;
        write!(f, ", ikbps={}", self.received.kbps(now))
    }
}
