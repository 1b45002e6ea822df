//! One track as it is received.

use super::aac::{Fragments, Layout};
use super::clock::Unwrap;
use super::latm::Elements;
use super::picture::Picture;
use super::reorder::Reorder;
use super::rtcp::{self, Reception, SenderReport};
use super::{Error, Format, Header, Payload, Unit, avc, hevc};
use std::time::Duration;

/// Packets of one track in, pictures or audio frames out.
#[derive(Debug)]
pub struct Track {
    format: Format,
    reorder: Reorder,
    media: Media,
    ssrc: Option<u32>,
    /// Another source that sent the last packet.
    other: Option<u32>,
    ssrc_changes: u32,
    received: u32,
    last_error: Option<Error>,
    errors: u32,
    jitter: Jitter,
    report: Option<(Duration, SenderReport)>,
    /// Of the last report that was written: packets due and packets received.
    reported: (u32, u32),
    first: Option<u32>,
    last_packet: Duration,
}

/// What happened on a track so far. Numbers wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets of the right kind.
    pub received: u32,
    /// Packets that never came, or too late.
    pub lost: u32,
    /// Packets that came twice, or too late.
    pub doubles: u32,
    /// Sequence numbers that began anew.
    pub restarts: u32,
    /// Sources that took over.
    pub ssrc_changes: u32,
    /// Packets that could not be used.
    pub errors: u32,
    /// The last reason for that.
    pub last_error: Option<Error>,
    /// Pictures left out because they, or one before them, were not complete.
    pub pictures_dropped: u32,
}

impl Track {
    /// A track of `format`. `ordered`: packets cannot overtake one another, as over TCP; what is
    /// missing then is not waited for.
    pub fn new(format: Format, ordered: bool) -> Self {
        let content = match format.payload {
            Payload::Aac { size_length, index_length, index_delta_length, frame_ticks } => {
                let layout = Layout { size_length, index_length, index_delta_length, frame_ticks };
                Depacketizer::Aac(layout, Fragments::default())
            }
            Payload::Latm { in_band, mux } => {
                Depacketizer::Latm(Elements::new(in_band, mux, format.clock_rate))
            }
            Payload::H264 => Depacketizer::Avc(Picture::default()),
            Payload::Hevc => Depacketizer::Hevc(Picture::default()),
        };
        Self {
            format,
            reorder: Reorder::new(!ordered),
            media: Media { clock: Unwrap::default(), content, shift: 0, restart: None },
            ssrc: None,
            other: None,
            ssrc_changes: 0,
            received: 0,
            last_error: None,
            errors: 0,
            jitter: Jitter::default(),
            report: None,
            reported: (0, 0),
            first: None,
            last_packet: Duration::ZERO,
        }
    }

    /// What the track carries.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Takes an RTP packet that came at `now`, a time from any start; `out` gets what it
    /// completes. An error says why a packet was of no use; the track goes on.
    pub fn receive(
        &mut self,
        now: Duration,
        packet: &[u8],
        out: &mut impl FnMut(Unit<'_>),
    ) -> Result<(), Error> {
        let header = match Header::parse(packet) {
            Ok((header, _)) if header.payload_type == self.format.payload_type => header,
            Ok((header, _)) => return self.count(Error::PayloadType(header.payload_type)),
            Err(error) => return self.count(error),
        };
        if *self.ssrc.get_or_insert(header.ssrc) != header.ssrc {
            if self.other.replace(header.ssrc) != Some(header.ssrc) {
                // One stray packet means nothing; two in a row do.
                return Ok(());
            }
            self.change_source(now, header.ssrc, out);
        }
        self.last_packet = now;
        self.other = None;
        self.received = self.received.wrapping_add(1);
        self.first.get_or_insert(header.sequence.into());
        self.jitter.note(now, header.timestamp, self.format.clock_rate);
        let (media, mut error) = (&mut self.media, None);
        self.reorder.push(now, header.sequence, packet, &mut |packet, lost| {
            error = media.take(packet, lost, out).err().or(error);
        });
        error.map_or(Ok(()), |error| self.count(error))
    }

    /// Since when a packet is waited for, in the time of [`receive`](Self::receive), if one is.
    pub fn waits_since(&self) -> Option<Duration> {
        self.reorder.held_since()
    }

    /// Gives those packets up that have been waited for longer than `patience`. To be called that
    /// long after [`waits_since`](Self::waits_since), with a patience of some 100 ms.
    pub fn expire(&mut self, now: Duration, patience: Duration, out: &mut impl FnMut(Unit<'_>)) {
        let (media, mut error) = (&mut self.media, None);
        self.reorder.expire(now, patience, &mut |packet, lost| {
            error = media.take(packet, lost, out).err().or(error);
        });
        if let Some(error) = error {
            // Counted is enough: the packet came earlier.
            let _ = self.count(error);
        }
    }

    /// Hands out the picture in progress: the sender has ended.
    pub fn finish(&mut self, out: &mut impl FnMut(Unit<'_>)) {
        let media = &mut self.media;
        self.reorder.restart(&mut |packet, lost| {
            let _ = media.take(packet, lost, out);
        });
        if let Depacketizer::Avc(picture) | Depacketizer::Hevc(picture) = &mut media.content {
            picture.end(out);
        }
    }

    /// Takes an RTCP packet: the sender report of this track in it, in the time of its units, for
    /// [`Sync::report`](super::Sync::report), and whether the sender said goodbye.
    pub fn receive_report(
        &mut self,
        now: Duration,
        packet: &[u8],
    ) -> Result<(Option<SenderReport>, bool), Error> {
        let (mut found, mut bye) = (None, false);
        let source = self.ssrc;
        let result = rtcp::parse(packet, |packet| match packet {
            rtcp::Packet::Sender(report) if source.is_none_or(|ssrc| ssrc == report.ssrc) => {
                found = Some(report);
            }
            rtcp::Packet::Bye(ssrc) => bye |= source == Some(ssrc),
            rtcp::Packet::Sender(_) => {}
        });
        if found.is_none() {
            result?;
        }
        self.report = found.map(|report| (now, report)).or(self.report);
        let shifted = |report: SenderReport| SenderReport {
            timestamp: report.timestamp.wrapping_add(self.media.shift),
            ..report
        };
        Ok((found.map(shifted), bye))
    }

    /// Appends a receiver report from `ssrc`, named `name`. False: nothing to report yet.
    pub fn write_report(
        &mut self,
        now: Duration,
        ssrc: u32,
        name: &str,
        out: &mut Vec<u8>,
    ) -> bool {
        let (Some(source), Some(first)) = (self.ssrc, self.first) else { return false };
        let newest = self.reorder.newest();
        let due = newest.wrapping_sub(first).wrapping_add(1);
        let (due_before, received_before) = self.reported;
        let due_since = due.wrapping_sub(due_before);
        let lost_since = due_since.saturating_sub(self.received.wrapping_sub(received_before));
        self.reported = (due, self.received);
        let fraction = u64::from(lost_since) * 256 / u64::from(due_since.max(1));
        let (last_report, since_report) = self.report.map_or((0, 0), |(at, report)| {
            let since = now.saturating_sub(at).as_micros() * 65536 / 1_000_000;
            ((report.ntp >> 16) as u32, u32::try_from(since).unwrap_or(u32::MAX))
        });
        let reception = Reception {
            ssrc: source,
            fraction: u8::try_from(fraction).unwrap_or(u8::MAX),
            lost: due.saturating_sub(self.received),
            newest,
            jitter: self.jitter.value / 16,
            last_report,
            since_report,
        };
        rtcp::write_reception(ssrc, name, &reception, out);
        true
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        let counts = self.reorder.counts();
        let pictures_dropped = match &self.media.content {
            Depacketizer::Avc(picture) | Depacketizer::Hevc(picture) => picture.dropped,
            Depacketizer::Aac(..) | Depacketizer::Latm(_) => 0,
        };
        Stats {
            received: self.received,
            lost: counts.lost,
            doubles: counts.doubles,
            restarts: counts.restarts,
            ssrc_changes: self.ssrc_changes,
            errors: self.errors,
            last_error: self.last_error,
            pictures_dropped,
        }
    }

    /// The time line goes on: nobody behind this needs to know.
    fn change_source(&mut self, now: Duration, ssrc: u32, out: &mut impl FnMut(Unit<'_>)) {
        self.finish(out);
        let gap = now.saturating_sub(self.last_packet).as_micros();
        let gap = gap * u128::from(self.format.clock_rate) / 1_000_000;
        // A day at 192 kHz fits far.
        let gap = i64::try_from(gap).unwrap_or(0);
        self.ssrc = Some(ssrc);
        self.ssrc_changes = self.ssrc_changes.wrapping_add(1);
        self.media.restart(gap);
        (self.report, self.first) = (None, None);
        (self.received, self.reported) = (0, (0, 0));
        self.jitter = Jitter::default();
    }

    fn count(&mut self, error: Error) -> Result<(), Error> {
        self.errors = self.errors.wrapping_add(1);
        self.last_error = Some(error);
        Err(error)
    }
}

/// What happens to packets once they are in order.
#[derive(Debug)]
struct Media {
    clock: Unwrap,
    content: Depacketizer,
    /// Added to timestamps, so that a source goes on where the one before it ended.
    shift: u32,
    /// The next packet is of a new source, so many ticks after the old one's last.
    restart: Option<i64>,
}

#[derive(Debug)]
enum Depacketizer {
    Avc(Picture),
    Hevc(Picture),
    Aac(Layout, Fragments),
    Latm(Elements),
}

impl Media {
    fn take(
        &mut self,
        packet: &[u8],
        lost: bool,
        out: &mut impl FnMut(Unit<'_>),
    ) -> Result<(), Error> {
        let (header, payload) = Header::parse(packet)?;
        let gap = self.restart.take();
        if let (Some(gap), Some(last)) = (gap, self.clock.last()) {
            // The low 32 bits.
            let due = last.wrapping_add(gap) as u32;
            self.shift = due.wrapping_sub(header.timestamp);
        }
        let time = self.clock.next(header.timestamp.wrapping_add(self.shift));
        let lost = lost || gap.is_some();
        let (picture, hevc) = match &mut self.content {
            Depacketizer::Avc(picture) => (picture, false),
            Depacketizer::Hevc(picture) => (picture, true),
            Depacketizer::Latm(elements) => {
                return elements.take((time, lost, header.marker), payload, out);
            }
            Depacketizer::Aac(layout, fragments) => {
                return fragments.take(*layout, time, lost, payload, out);
            }
        };
        picture.begin(time, lost, out);
        let result = if hevc { hevc::take(picture, payload) } else { avc::take(picture, payload) };
        if header.marker {
            picture.marker(out);
        }
        result
    }

    fn restart(&mut self, gap: i64) {
        self.restart = Some(gap);
        match &mut self.content {
            Depacketizer::Avc(picture) | Depacketizer::Hevc(picture) => picture.restart(),
            Depacketizer::Aac(_, fragments) => fragments.clear(),
            Depacketizer::Latm(elements) => elements.clear(),
        }
    }
}

/// How unevenly packets come (RFC 3550 §A.8).
#[derive(Debug, Default)]
struct Jitter {
    transit: Option<u32>,
    /// Times 16, in ticks.
    value: u32,
}

impl Jitter {
    fn note(&mut self, now: Duration, timestamp: u32, clock_rate: u32) {
        // Only differences matter, so it may wrap.
        let arrival = (now.as_micros() * u128::from(clock_rate) / 1_000_000) as u32;
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(last) = self.transit.replace(transit) {
            let change = (transit.wrapping_sub(last) as i32).unsigned_abs();
            let fade = (self.value + 8) >> 4;
            self.value = (self.value - fade).saturating_add(change.min(1 << 24));
        }
    }
}

#[cfg(test)]
mod tests;
