//! Pacing of the lines that tell how clients are doing: about one line per kind of client and
//! interval, however many clients there are.

use std::{cell::Cell, rc::Rc};

/// A kind of client, or of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Stage {
    Play,
    Publish,
    Forward,
    Encoder,
    Hls,
    Ingester,
    EdgePull,
    EdgePush,
    Caster,
    HttpStream,
    HttpCache,
}

impl Stage {
    /// How its lines begin.
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Play => "-> PLA",
            Self::Publish => "<- CPB",
            Self::Forward => "-> FWR",
            Self::Encoder => "-> ENC",
            Self::Hls => "-> HLS",
            Self::Ingester => "-> IGS",
            Self::EdgePull => "<- EIG",
            Self::EdgePush => "-> EFW",
            Self::Caster => "<- SCS",
            Self::HttpStream => "-> HTS",
            Self::HttpCache => "-> HTC",
        }
    }
}

const STAGES: usize = Stage::HttpCache as usize + 1;

/// The pace of all stages, shared by all clients. Clones are handles to the same one.
#[derive(Clone, Debug, Default)]
pub struct Pithy(Rc<[Cell<Pace>; STAGES]>);

#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    clients: u32,
    /// Milliseconds that all clients together lived since the last line.
    age: u64,
}

impl Pithy {
    /// A client joins `stage` at `now` milliseconds, until its turn is dropped.
    pub fn join(&self, stage: Stage, now: u64) -> Turn {
        let turn = Turn { pithy: self.clone(), stage, start: now, last: now };
        let mut pace = turn.pace().get();
        pace.clients += 1;
        turn.pace().set(pace);
        turn
    }
}

/// A client's part in the pace of its stage.
#[derive(Debug)]
pub struct Turn {
    pithy: Pithy,
    stage: Stage,
    start: u64,
    last: u64,
}

impl Turn {
    /// Whether this client prints now, with lines every `interval` milliseconds: `Some` has the
    /// milliseconds since it joined. To be called now and then, by each client.
    pub fn due(&mut self, now: u64, interval: u64) -> Option<u64> {
        let mut pace = self.pace().get();
        pace.age = pace.age.saturating_add(now.saturating_sub(self.last));
        let due = pace.age >= interval.saturating_mul(pace.clients.into());
        if due {
            pace.age = 0;
        }
        self.pace().set(pace);
        self.last = now;
        due.then(|| now.saturating_sub(self.start))
    }

    /// The stage that it joined.
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    fn pace(&self) -> &Cell<Pace> {
        &self.pithy.0[self.stage as usize]
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut pace = self.pace().get();
        pace.clients = pace.clients.saturating_sub(1);
        self.pace().set(pace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines in 10 minutes of `count` clients that ask every 350 ms, a line every 10 seconds.
    fn lines(count: usize) -> usize {
        let pithy = Pithy::default();
        let mut turns: Vec<_> = (0..count).map(|i| pithy.join(Stage::Play, i as u64)).collect();
        let mut lines = 0;
        for now in (350..600_000).step_by(350) {
            lines += turns.iter_mut().filter_map(|turn| turn.due(now, 10_000)).count();
        }
        lines
    }

    #[test]
    fn a_thousand_clients_print_no_more_than_one() {
        for count in [1, 2, 10, 1000] {
            assert!((56..=60).contains(&lines(count)), "{count} clients: {} lines", lines(count));
        }
    }

    #[test]
    fn a_line_tells_the_age_of_its_client() {
        let pithy = Pithy::default();
        let mut turn = pithy.join(Stage::Publish, 1000);
        assert_eq!(turn.due(5000, 10_000), None);
        assert_eq!(turn.due(11_000, 10_000), Some(10_000));
        assert_eq!(turn.due(12_000, 10_000), None);
        assert_eq!(turn.due(21_000, 10_000), Some(20_000));
        assert_eq!(turn.stage().mark(), "<- CPB");
    }

    #[test]
    fn stages_do_not_wait_for_one_another() {
        let pithy = Pithy::default();
        let _players: Vec<_> = (0..100).map(|_| pithy.join(Stage::Play, 0)).collect();
        let mut publisher = pithy.join(Stage::Publish, 0);
        assert!(publisher.due(10_000, 10_000).is_some());
    }

    #[test]
    fn who_has_left_is_not_waited_for() {
        let pithy = Pithy::default();
        let mut stays = pithy.join(Stage::Play, 0);
        let leaves: Vec<_> = (0..9).map(|_| pithy.join(Stage::Play, 0)).collect();
        assert_eq!(stays.due(10_000, 10_000), None);
        drop(leaves);
        assert_eq!(stays.due(10_001, 10_000), Some(10_001));
    }
}
