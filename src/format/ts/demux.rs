//! Packets of ours out of a transport stream that comes in pieces of any size: datagrams, pieces
//! of an HTTP body, a file.

mod audio;
mod marks;
mod packets;
mod report;
mod sound;
mod sync;
mod tables;
mod video;

use super::PACKET;
use crate::limits::TS_PROGRAMS;
use crate::media::Packet;
use crate::media::arena::Memory;
pub use report::{Counters, Note, Stop};
pub use sound::Sound;

use audio::Frames;
use marks::Clock;
use packets::{Continuity, Order, Parsed, Pes};
use report::Notes;
use sync::Sync;
use tables::{Map, Sections};
use video::Pictures;

/// The program association table.
const PAT: u16 = 0;
/// Packets after which a program is taken though the map of one before it never came.
const PATIENCE: u32 = 4000;

/// Demuxes one stream: the first program that has video or audio of a codec that is read.
///
/// Holds the picture in progress, [`MESSAGE_MAX`](crate::limits::MESSAGE_MAX) bytes at most, less
/// than 20 KB beside it for sound, and a kilobyte a program.
#[derive(Debug, Default)]
pub struct Demux {
    sync: Sync,
    pat: Table,
    programs: heapless::Vec<Program, TS_PROGRAMS>,
    /// The program that is taken.
    chosen: Option<u16>,
    /// Packets since the table of programs changed.
    waited: u32,
    video: Option<Stream<Pictures>>,
    audio: Option<Stream<Frames>>,
    clock: Clock,
    counters: Counters,
    notes: Notes,
}

#[derive(Debug, Default)]
struct Table {
    continuity: Continuity,
    sections: Sections,
}

#[derive(Debug)]
struct Program {
    number: u16,
    pid: u16,
    table: Table,
    /// The newest one that was whole.
    map: Option<Map>,
}

/// An elementary stream.
#[derive(Debug)]
struct Stream<T> {
    pid: u16,
    continuity: Continuity,
    pes: Pes,
    units: T,
}

/// What a packet may need on its way out.
struct Port<'a> {
    memory: &'a mut dyn Memory,
    out: &'a mut dyn FnMut(Packet),
    clock: &'a mut Clock,
    counters: &'a mut Counters,
    notes: &'a mut Notes,
}

impl Demux {
    /// A demuxer at the start of a stream, or anywhere in one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes. Packets go to `out` in the order in which they are whole: those of
    /// each kind in the order of the stream, a sequence header before what needs it.
    ///
    /// Times are those of the stream, in milliseconds from its own start, 31 bits of them; they
    /// jump where the stream's do.
    pub fn receive(
        &mut self,
        mut input: &[u8],
        memory: &mut dyn Memory,
        out: &mut dyn FnMut(Packet),
    ) -> Result<(), Stop> {
        while let Some(packet) = self.sync.next(&mut input, &mut self.counters)? {
            self.counters.packets = self.counters.packets.saturating_add(1);
            self.packet(&packet, memory, out)?;
        }
        Ok(())
    }

    /// The stream ended: gives the last picture.
    pub fn finish(
        &mut self,
        memory: &mut dyn Memory,
        out: &mut dyn FnMut(Packet),
    ) -> Result<(), Stop> {
        let Some(stream) = &mut self.video else { return Ok(()) };
        let (clock, counters) = (&mut self.clock, &mut self.counters);
        stream.pes.lost();
        stream.units.finish(&mut Port { memory, out, clock, counters, notes: &mut self.notes })
    }

    /// What went wrong so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Pictures without a sequence header, and parameter sets that could not be read.
    pub fn dropped(&self) -> u32 {
        self.video.as_ref().map_or(0, |stream| stream.units.dropped())
    }

    /// The next thing to be said.
    pub fn note(&mut self) -> Option<Note> {
        self.notes.take()
    }

    fn packet(
        &mut self,
        packet: &[u8; PACKET],
        memory: &mut dyn Memory,
        out: &mut dyn FnMut(Packet),
    ) -> Result<(), Stop> {
        let Some(packet) = Parsed::new(packet) else { return Ok(()) };
        let Self { clock, counters, notes, .. } = self;
        let mut port = Port { memory, out, clock, counters, notes };
        if let Some(stream) = self.video.as_mut().filter(|stream| stream.pid == packet.pid) {
            return stream.video(&packet, &mut port);
        }
        if let Some(stream) = self.audio.as_mut().filter(|stream| stream.pid == packet.pid) {
            return stream.audio(&packet, &mut port);
        }
        if self.chosen.is_none() {
            self.waited = self.waited.saturating_add(1);
        }
        if packet.pid == PAT {
            self.association(&packet);
        } else if self.programs.iter().any(|program| program.pid == packet.pid) {
            self.maps(&packet);
        } else {
            return Ok(());
        }
        self.choose(memory, out)
    }

    fn association(&mut self, packet: &Parsed<'_>) {
        let mut listed = None;
        let counters = &mut self.counters;
        self.pat.packet(packet, counters, &mut |section| {
            listed = tables::programs(section).or(listed.take());
        });
        let Some(listed) = listed else { return };
        let same = |program: &Program, entry: &(u16, u16)| {
            (program.number, program.pid) == (entry.0, entry.1)
        };
        if listed.len() == self.programs.len()
            && self.programs.iter().zip(&listed).all(|(program, entry)| same(program, entry))
        {
            return;
        }
        self.waited = 0;
        let mut old = std::mem::take(&mut self.programs);
        for entry in &listed {
            let kept = old.iter().position(|program| same(program, entry));
            let program = kept.map(|at| old.swap_remove(at)).unwrap_or_else(|| Program {
                number: entry.0,
                pid: entry.1,
                table: Table::default(),
                map: None,
            });
            // Cannot fail: both have the same bound.
            let _ = self.programs.push(program);
        }
    }

    fn maps(&mut self, packet: &Parsed<'_>) {
        // Several programs may have their maps on one PID: each reads them all.
        let mut counted = Counters::default();
        for (i, program) in
            self.programs.iter_mut().filter(|program| program.pid == packet.pid).enumerate()
        {
            let (number, notes) = (program.number, &mut self.notes);
            let counters = if i == 0 { &mut self.counters } else { &mut counted };
            let map = &mut program.map;
            program.table.packet(packet, counters, &mut |section| {
                *map = tables::map(section, number, notes).or(*map);
            });
        }
    }

    /// Sets up the streams of the first program that has some, unless they are.
    fn choose(&mut self, memory: &mut dyn Memory, out: &mut dyn FnMut(Packet)) -> Result<(), Stop> {
        // One whose map did not come yet after a change of its PID is waited for.
        let stays = |program: &&Program| {
            Some(program.number) == self.chosen && program.map.is_none_or(|map| !map.is_empty())
        };
        let chosen = self.programs.iter().find(stays);
        if chosen.is_none() {
            self.chosen = None;
        }
        let useful = |program: &&Program| program.map.is_some_and(|map| !map.is_empty());
        let chosen = chosen.or_else(|| {
            let first = self.programs.iter().find(useful)?;
            let unknown = |program: &Program| program.map.is_none();
            let before = self.programs.iter().take_while(|program| program.number != first.number);
            let wait = self.waited < PATIENCE && before.into_iter().any(unknown);
            if wait { None } else { Some(first) }
        });
        let Some(&Program { number, map: Some(map), .. }) = chosen else {
            let known = self.programs.iter().all(|program| program.map.is_some());
            if known && !self.programs.is_empty() && self.chosen.is_none() {
                self.notes.add(Note::NothingToTake);
            }
            return Ok(());
        };
        self.chosen = Some(number);
        let now = Map {
            video: self.video.as_ref().map(|stream| (stream.pid, stream.units.video())),
            audio: self.audio.as_ref().map(|stream| (stream.pid, stream.units.audio())),
        };
        if now == map {
            return Ok(());
        }
        let (video, audio) = (map.video.map(|(_, v)| v), map.audio.map(|(_, a)| a));
        self.notes.tell(Note::Program { number, video, audio });
        let finished = if now.video == map.video { Ok(()) } else { self.finish(memory, out) };
        Stream::follow(&mut self.video, map.video, Pictures::new, |old, video| {
            old.video() == video
        });
        Stream::follow(&mut self.audio, map.audio, Frames::new, |old, audio| old.audio() == audio);
        let Self { counters, .. } = self;
        if now.audio != map.audio
            && let Some(stream) = &mut self.audio
        {
            stream.units.lost(counters);
        }
        finished
    }
}

impl Table {
    fn packet(
        &mut self,
        packet: &Parsed<'_>,
        counters: &mut Counters,
        done: &mut dyn FnMut(&[u8]),
    ) {
        if packet.broken || packet.scrambled {
            Counters::add(&mut counters.damaged);
            return self.sections.lost();
        }
        match self.continuity.check(packet, counters) {
            // Tables are often written with a counter that stands still: one that begins is read.
            Order::Duplicate if !packet.start => return,
            Order::Lost => self.sections.lost(),
            Order::Duplicate | Order::Next => {}
        }
        self.sections.payload(packet.start, packet.payload, counters, done);
    }
}

impl<T> Stream<T> {
    /// Makes `stream` what the map says. A stream that only moved to another PID goes on.
    fn follow<C: Copy>(
        stream: &mut Option<Self>,
        entry: Option<(u16, C)>,
        new: impl Fn(C) -> T,
        same: impl Fn(&T, C) -> bool,
    ) {
        let Some((pid, codec)) = entry else {
            *stream = None;
            return;
        };
        let units = match stream.take() {
            Some(old) if old.pid == pid && same(&old.units, codec) => {
                *stream = Some(old);
                return;
            }
            Some(old) if same(&old.units, codec) => old.units,
            _ => new(codec),
        };
        let (continuity, pes) = (Continuity::default(), Pes::default());
        *stream = Some(Self { pid, continuity, pes, units });
    }

    /// Looks at the header of a packet. `None`: nothing is to be read of it. True: what is in
    /// progress is damaged.
    fn check(&mut self, packet: &Parsed<'_>, port: &mut Port<'_>) -> Option<bool> {
        if packet.scrambled {
            Counters::add(&mut port.counters.scrambled);
            port.notes.add(Note::Scrambled);
            self.continuity.check(packet, &mut Counters::default());
            return None;
        }
        match self.continuity.check(packet, port.counters) {
            Order::Duplicate => None,
            Order::Next => Some(packet.broken),
            Order::Lost => Some(true),
        }
    }
}

impl Stream<Pictures> {
    fn video(&mut self, packet: &Parsed<'_>, port: &mut Port<'_>) -> Result<(), Stop> {
        let damaged = self.check(packet, port);
        if damaged != Some(false) {
            if damaged.is_some() || packet.scrambled {
                // A picture whose PES packet is known to be whole stays.
                if self.pes.is_open() {
                    self.units.lost(port.counters);
                }
                self.pes.lost();
            }
            if damaged.is_none() || packet.broken {
                return Ok(());
            }
        }
        let Some(piece) = self.pes.payload(packet.start, packet.payload, port.counters) else {
            return Ok(());
        };
        if piece.cut {
            self.units.lost(port.counters);
        }
        if !self.units.piece(&piece, port)? {
            self.pes.lost();
        }
        Ok(())
    }
}

impl Stream<Frames> {
    fn audio(&mut self, packet: &Parsed<'_>, port: &mut Port<'_>) -> Result<(), Stop> {
        let damaged = self.check(packet, port);
        if damaged != Some(false) {
            if damaged.is_some() || packet.scrambled {
                self.units.lost(port.counters);
                self.pes.lost();
            }
            if damaged.is_none() || packet.broken {
                return Ok(());
            }
        }
        let Some(piece) = self.pes.payload(packet.start, packet.payload, port.counters) else {
            return Ok(());
        };
        if piece.cut {
            self.units.lost(port.counters);
        }
        self.units.piece(&piece, port)
    }
}

#[cfg(test)]
mod tests;
