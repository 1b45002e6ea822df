//! From packets of RTP to packets of the stream: one video and one audio track, in sync.

use super::NAME;
use super::ports::Pair;
use crate::codec::assemble::{Assembler, Time};
use crate::codec::nal::{Set, Unit as NalUnit, Video};
use crate::hub::session::Session;
use crate::io::{clock, random};
use crate::media::arena::{Full, Memory};
use crate::media::{Kind, Packet};
use crate::proto::rtp::{Content, Decode, Nals, Payload, Sync, Track, Unit, reorder_depth};
use crate::proto::rtsp::sdp::{self, Parameters};
use crate::service::admission::Refusal;
use crate::service::input::Feed;
use bytes::BufMut;
use core::net::{IpAddr, SocketAddr};
use std::fmt::{self, Display};
use std::ops::ControlFlow;
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

/// How long a packet that is late is waited for.
const PATIENCE: Duration = Duration::from_millis(100);
/// Between two reports, in milliseconds (RFC 3550 §6.2).
const REPORT_MS: u64 = 5000;

/// The media of a push.
#[derive(Debug)]
pub(in crate::service) struct Media {
    /// As they were announced.
    lanes: Vec<Lane>,
    sync: Sync,
    /// Our source in reports.
    ssrc: u32,
    reported: u64,
}

/// A track, on its way here.
#[derive(Debug)]
struct Lane {
    /// `None` for one that is not taken.
    taken: Option<Taken>,
    way: Option<Way>,
    in_connection: bool,
}

/// Where packets come over UDP.
#[derive(Debug)]
pub(in crate::service) struct Way {
    pair: Pair,
    /// Who may send.
    peers: Vec<IpAddr>,
    /// The one that packets came from last, and the port of his that reports go to.
    peer: IpAddr,
    port: Option<u16>,
    /// Where his reports came from: behind a router it is not the port that was told.
    reports: Option<SocketAddr>,
}

#[derive(Debug)]
struct Taken {
    announced: sdp::Track,
    track: Track,
    maker: Maker,
    told: bool,
}

/// Makes packets of the stream.
#[derive(Debug)]
enum Maker {
    Picture { assembler: Assembler, decode: Decode, payload: Payload, depth: Option<u8> },
    Audio { config: Vec<u8>, headed: bool },
}

impl Way {
    /// From `peer`, or from the address that he says he sends from; his ports are these if he told
    /// them.
    pub(in crate::service) fn new(
        pair: Pair,
        peer: IpAddr,
        source: Option<IpAddr>,
        ports: Option<(u16, u16)>,
    ) -> Self {
        let mut peers = vec![peer];
        peers.extend(source.filter(|source| *source != peer));
        Self { pair, peers, peer, port: ports.map(|(_, rtcp)| rtcp), reports: None }
    }

    /// Sends a report, where it is known where to.
    fn report(&self, report: &[u8]) {
        let told = self.port.map(|port| SocketAddr::new(self.peer, port));
        if let Some(to) = self.reports.or(told) {
            self.pair.rtcp.send(report, to);
        }
    }
}

impl Media {
    /// For what is announced: the first video and the first audio track. With what is to be said
    /// of it.
    pub(in crate::service) fn new(session: &sdp::Session) -> (Self, Vec<String>) {
        let (mut video, mut audio) = (false, false);
        let mut notes = session.notes.iter().map(ToString::to_string).collect::<Vec<_>>();
        let lanes = session.tracks.iter().enumerate().map(|(at, announced)| {
            let had = match announced.format.payload {
                payload if payload.is_audio() => &mut audio,
                _ => &mut video,
            };
            let wanted = !std::mem::replace(had, true);
            if !wanted {
                notes.push(format!("track {at} is ignored, one of its kind is taken"));
            }
            let taken = wanted.then(|| Taken::new(announced.clone(), true, &mut notes));
            Lane { taken, way: None, in_connection: false }
        });
        let lanes = lanes.collect();
        let sync = Sync::new(session.tracks.iter().map(|track| track.format.clock_rate));
        // Reports need no secret.
        let ssrc = random::bytes().map_or(1, u32::from_ne_bytes);
        (Self { lanes, sync, ssrc, reported: clock::now() }, notes)
    }

    /// Packets of `track` are to come by `way`; in the connection where there is none.
    pub(in crate::service) fn set_up(&mut self, track: usize, way: Option<Way>) {
        let Some(lane) = self.lanes.get_mut(track) else { return };
        lane.in_connection = way.is_none();
        if let Some(taken) = &mut lane.taken {
            // What there is to say was said.
            *taken = Taken::new(taken.announced.clone(), way.is_none(), &mut Vec::new());
        }
        lane.way = way;
    }

    /// Gives the ports of a track back.
    pub(in crate::service) fn close(&mut self, track: usize) {
        if let Some(lane) = self.lanes.get_mut(track) {
            lane.way = None;
        }
    }

    /// Whether both sound and picture are to come.
    pub(in crate::service) fn is_both(&self) -> bool {
        let comes =
            |lane: &&Lane| lane.taken.is_some() && (lane.in_connection || lane.way.is_some());
        self.lanes.iter().filter(comes).count() == 2
    }

    /// When [`expire`](Self::expire) and [`report`](Self::report) are to be called next, in
    /// milliseconds of the clock: whoever waits for nothing does not wake up for it.
    pub(in crate::service) fn due(&self) -> u64 {
        let ways = self.lanes.iter().filter(|lane| lane.way.is_some());
        let taken = ways.filter_map(|lane| lane.taken.as_ref());
        let late = taken.filter_map(|taken| taken.track.waits_since()).min();
        let late = late.map(|since| u64::try_from((since + PATIENCE).as_millis()).unwrap_or(0));
        late.into_iter().fold(self.reported + REPORT_MS, u64::min)
    }

    /// Takes a packet of a track.
    pub(in crate::service) fn take(
        &mut self,
        track: usize,
        rtcp: bool,
        packet: &[u8],
        feed: &mut Feed,
    ) -> Result<(), Refusal> {
        let Self { lanes, sync, .. } = self;
        match lanes.get_mut(track).and_then(|lane| lane.taken.as_mut()) {
            Some(taken) => taken.take((track, sync), rtcp, packet, feed),
            None => Ok(()),
        }
    }

    /// Takes what came over UDP.
    pub(in crate::service) fn poll(
        &mut self,
        task: &Task<'_>,
        session: &Session,
        feed: &mut Feed,
    ) -> Result<(), Refusal> {
        let Self { lanes, sync, .. } = self;
        for (at, lane) in lanes.iter_mut().enumerate() {
            let Lane { taken, way: Some(way), .. } = lane else { continue };
            let Way { pair, peers, peer, reports, .. } = way;
            for rtcp in [true, false] {
                let socket = if rtcp { &pair.rtcp } else { &pair.rtp };
                let polled = socket.poll_receive(task, |datagram, from| {
                    let ip = from.ip().to_canonical();
                    if !peers.contains(&ip) {
                        return ControlFlow::Continue(());
                    }
                    session.count(datagram.len(), 0);
                    if rtcp {
                        *reports = Some(from);
                    } else {
                        *peer = ip;
                    }
                    let Some(taken) = taken.as_mut() else { return ControlFlow::Continue(()) };
                    match taken.take((at, &mut *sync), rtcp, datagram, feed) {
                        Ok(()) => ControlFlow::Continue(()),
                        Err(refusal) => ControlFlow::Break(refusal),
                    }
                });
                match polled {
                    Poll::Ready(Ok(refusal)) => return Err(refusal),
                    Poll::Ready(Err(e)) => return Err(Refusal::new(4011, e.to_string())),
                    Poll::Pending => {}
                }
            }
        }
        Ok(())
    }

    /// Gives late packets up.
    pub(in crate::service) fn expire(&mut self, feed: &mut Feed) -> Result<(), Refusal> {
        let Self { lanes, sync, .. } = self;
        for (at, lane) in lanes.iter_mut().enumerate().filter(|(_, lane)| lane.way.is_some()) {
            if let Some(Taken { track, maker, .. }) = &mut lane.taken {
                let now = now();
                let mut result = Ok(());
                track.expire(now, PATIENCE, &mut |unit| {
                    maker.next((at, &mut *sync), now, unit, feed, &mut result);
                });
                result?;
            }
        }
        Ok(())
    }

    /// Takes what is there still, and hands out the picture in progress.
    pub(in crate::service) fn finish(
        &mut self,
        session: &Session,
        feed: &mut Feed,
    ) -> Result<(), Refusal> {
        for Way { pair, .. } in self.lanes.iter().filter_map(|lane| lane.way.as_ref()) {
            pair.rtp.look();
        }
        self.poll(&Task::from_waker(Waker::noop()), session, feed)?;
        let Self { lanes, sync, .. } = self;
        for (at, lane) in lanes.iter_mut().enumerate() {
            if let Some(Taken { track, maker, .. }) = &mut lane.taken {
                let now = now();
                let mut result = Ok(());
                track.finish(&mut |unit| {
                    maker.next((at, &mut *sync), now, unit, feed, &mut result);
                });
                result?;
            }
        }
        Ok(())
    }

    /// Sends receiver reports, when it is time: by `send` for tracks in the connection.
    pub(in crate::service) fn report(&mut self, mut send: impl FnMut(usize, &[u8]) -> bool) {
        if clock::now() < self.reported + REPORT_MS {
            return;
        }
        self.reported = clock::now();
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            let Some(Taken { track, .. }) = &mut lane.taken else { continue };
            let mut report = Vec::new();
            if !track.write_report(now(), self.ssrc, NAME, &mut report) {
                continue;
            }
            match &lane.way {
                Some(way) => way.report(&report),
                // Whoever does not read it has no use for it.
                None => drop(send(at, &report)),
            }
        }
    }

    /// Packets that were lost or of no use, and pictures that were left out.
    pub(in crate::service) fn damage(&self) -> u64 {
        let taken = self.lanes.iter().filter_map(|lane| lane.taken.as_ref());
        let stats = taken.map(|taken| taken.track.stats());
        stats
            .map(|s| [s.lost, s.errors, s.pictures_dropped].map(u64::from).iter().sum::<u64>())
            .sum()
    }
}

/// What the line in the log says of the tracks.
impl Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, lane) in self.lanes.iter().enumerate() {
            let Some(Taken { track, maker, .. }) = &lane.taken else { continue };
            if !(lane.in_connection || lane.way.is_some()) {
                continue;
            }
            let stats = track.stats();
            let unusable = match maker {
                Maker::Picture { assembler, .. } => assembler.dropped(),
                Maker::Audio { .. } => 0,
            };
            write!(
                f,
                ", track {at}: packets={}, lost={}, double={}, errors={}, pictures dropped={}",
                stats.received,
                stats.lost,
                stats.doubles,
                stats.errors,
                stats.pictures_dropped.saturating_add(unusable)
            )?;
        }
        Ok(())
    }
}

impl Taken {
    fn new(announced: sdp::Track, ordered: bool, notes: &mut Vec<String>) -> Self {
        let track = Track::new(announced.format, ordered);
        let maker = Maker::new(&announced, notes);
        Self { announced, track, maker, told: false }
    }

    fn take(
        &mut self,
        (at, sync): (usize, &mut Sync),
        rtcp: bool,
        packet: &[u8],
        feed: &mut Feed,
    ) -> Result<(), Refusal> {
        let Self { track, maker, told, .. } = self;
        let now = now();
        let mut result = Ok(());
        let taken = if rtcp {
            track.receive_report(now, packet).map(|(report, _)| {
                if let Some(report) = report {
                    sync.report(at, report);
                }
            })
        } else {
            track.receive(now, packet, &mut |unit| {
                maker.next((at, &mut *sync), now, unit, feed, &mut result);
            })
        };
        if let Err(e) = taken
            && !std::mem::replace(told, true)
        {
            log::warn!("track {at}: {e}; others like it are counted");
        }
        result
    }
}

impl Maker {
    fn new(announced: &sdp::Track, notes: &mut Vec<String>) -> Self {
        let payload = announced.format.payload;
        let video = if payload == Payload::Hevc { Video::Hevc } else { Video::H264 };
        match &announced.parameters {
            Parameters::Aac(config) => Self::Audio { config: config.clone(), headed: false },
            Parameters::Sets(sets) => {
                let mut assembler = Assembler::new(video);
                let mut depth = None;
                for set in sets {
                    if let Err(e) = assembler.parameter_set(set) {
                        notes.push(format!("parameter set in the SDP: {e}"));
                    } else if video.unit(set) == NalUnit::Set(Set::Sps) {
                        depth = reorder_depth(payload, set);
                    }
                }
                let decode = Decode::new(depth.unwrap_or(0));
                Self::Picture { assembler, decode, payload, depth }
            }
        }
    }

    /// Publishes a unit of the track `at` that came `now`, unless something before it failed.
    fn next(
        &mut self,
        (at, sync): (usize, &mut Sync),
        now: Duration,
        unit: Unit<'_>,
        feed: &mut Feed,
        result: &mut Result<(), Refusal>,
    ) {
        if result.is_err() {
            return;
        }
        let time = sync.place(at, unit.time, now);
        let made = match (self, unit.content) {
            (Self::Audio { config, headed }, Content::AudioConfig(new)) => {
                if config != new {
                    *config = new.to_vec();
                    *headed = false;
                }
                Ok(Ok(()))
            }
            (Self::Audio { config, headed }, Content::Audio(frame)) => feed
                .make(|memory, out| sound(config, headed, frame, milliseconds(time), memory, out)),
            (
                Self::Picture { assembler, decode, payload, depth },
                Content::Picture { nals, .. },
            ) => {
                follow_depth(assembler.video(), nals, *payload, depth, decode);
                let (dts, pts) = decode.next(time);
                // Both of whole milliseconds, so that pictures are shown evenly.
                let cts = pts.div_euclid(90) - dts.div_euclid(90);
                let cts = i32::try_from(cts).unwrap_or(i32::MAX);
                let time = Time { dts: milliseconds(dts), cts };
                feed.make(|memory, out| assembler.picture(nals, time, memory, out))
            }
            _ => Ok(Ok(())),
        };
        *result = match made {
            Ok(Ok(())) => Ok(()),
            Ok(Err(full)) => Err(Refusal::new(3001, full.to_string())),
            Err(refusal) => Err(refusal),
        };
    }
}

/// A stream may say in a new parameter set that it reorders more, or less.
fn follow_depth(
    video: Video,
    nals: Nals<'_>,
    payload: Payload,
    depth: &mut Option<u8>,
    decode: &mut Decode,
) {
    for sps in nals.filter(|nal| video.unit(nal) == NalUnit::Set(Set::Sps)) {
        let new = reorder_depth(payload, sps);
        if new.is_some() && new != *depth {
            *decode = Decode::new(new.unwrap_or(0));
            *depth = new;
        }
    }
}

/// One AAC frame, before the first one the sequence header.
fn sound(
    config: &[u8],
    headed: &mut bool,
    frame: &[u8],
    dts: u32,
    memory: &mut dyn Memory,
    out: &mut dyn FnMut(Packet),
) -> Result<(), Full> {
    let mut tag = |kind: u8, bytes: &[u8]| {
        let mut body = memory.alloc(2 + bytes.len())?;
        body.put_slice(&[0xaf, kind]);
        body.put_slice(bytes);
        out(Packet::new(Kind::Audio, dts, body.freeze()));
        Ok(())
    };
    if !std::mem::replace(headed, true) {
        tag(0, config)?;
    }
    tag(1, frame)
}

/// Of 90 kHz; the low 32 bits, because the time line goes on over their wraps.
fn milliseconds(time: i64) -> u32 {
    time.div_euclid(90) as u32
}

fn now() -> Duration {
    Duration::from_millis(clock::now())
}
