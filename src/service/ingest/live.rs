//! A source that is read, on its way into the hub: parsed, at the speed of the clock where the
//! source has none, until somebody ends it or nobody wants it.

use super::plan::Format;
use super::{LOOK, Worker};
use crate::context::Context;
use crate::format::flv;
use crate::format::ts::{Demux, Sound};
use crate::hub::session::{Kick, Session};
use crate::io::link::End;
use crate::io::timer::Alarm;
use crate::io::{clock, run};
use crate::media::arena::Memory;
use crate::media::{Kind, Packet, time};
use crate::service::admission::Refusal;
use crate::service::datagrams;
use crate::service::input::{Feed, Named, Target, unless_kicked};
use crate::service::inputs::State;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::fmt::{self, Display};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{self, Poll};
use std::time::Duration;

/// Where streams that are fetched seem to come from: as if a program here published them.
pub(super) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Why a source is not read any more.
#[derive(Debug)]
pub(super) enum Over {
    Kicked(Kick),
    /// The server leaves.
    Leaving,
    /// Nobody has wanted it for the time of `linger`.
    Idle,
    /// The source ended.
    Ended,
    /// The sender fell silent, and another one sends.
    Other(SocketAddr),
    Failed(String),
    Refused(Refusal),
}

impl Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kicked(why) => why.fmt(f),
            Self::Leaving => Kick::Shutdown.fmt(f),
            Self::Idle => f.write_str("nobody plays it"),
            Self::Ended => f.write_str("the source ended"),
            Self::Other(other) => datagrams::Over::Other(*other).fmt(f),
            Self::Failed(what) => f.write_str(what),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl From<Refusal> for Over {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<datagrams::Over> for Over {
    fn from(over: datagrams::Over) -> Self {
        match over {
            datagrams::Over::Other(other) => Self::Other(other),
            datagrams::Over::Broken(what) => Self::Failed(what),
            datagrams::Over::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

impl From<Kick> for Over {
    fn from(why: Kick) -> Self {
        Self::Kicked(why)
    }
}

/// That `error` ended what `what` names.
pub(super) fn failed(what: &dyn Display, error: &dyn Display) -> Over {
    Over::Failed(format!("{what}: {error}"))
}

/// That a connection to `who` ended.
pub(super) fn ended<E: Display>(who: &str, end: &End<E>) -> Over {
    match end {
        End::Closed => Over::Failed(format!("the {who} closed the connection")),
        End::Io(e) => Over::Failed(format!("connection lost, {e}")),
        End::Protocol(e) => Over::Failed(e.to_string()),
        End::Kicked(why) => Over::Kicked(*why),
    }
}

/// One attempt to read a source.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    pub(super) cx: &'a Rc<Context>,
    pub(super) worker: &'a Worker,
    pub(super) session: Rc<Session>,
    /// What ends begins again from its start.
    pub(super) again: bool,
}

impl Attempt<'_> {
    /// Waits for what comes before the stream, `limit` at most, and no longer than it is wanted.
    pub(super) async fn before<T>(
        &self,
        limit: Duration,
        what: &'static str,
        future: impl Future<Output = T>,
    ) -> Result<T, Over> {
        self.worker.input.set_state(State::Connecting);
        let done = self.while_wanted(run::within(limit, future)).await?;
        done.ok_or_else(|| Over::Failed(format!("timed out after {} s, {what}", limit.as_secs())))
    }

    /// Waits for what comes before the stream, for as long as it is wanted.
    pub(super) async fn while_wanted<T>(&self, future: impl Future<Output = T>) -> Result<T, Over> {
        run::first(async { Err(self.unwanted().await) }, async { Ok(future.await) }).await
    }

    /// Ready when the source is to be left. Boxed, that the code is there once.
    fn unwanted(&self) -> Pin<Box<dyn Future<Output = Over> + '_>> {
        let (mut alarm, mut due) = (Alarm::default(), clock::after(LOOK));
        Box::pin(poll_fn(move |task| {
            // Nobody says that a player went.
            while self.worker.ingest.on_demand && alarm.poll(task, due).is_ready() {
                due = clock::after(LOOK);
            }
            match check(self.cx, self.worker, &self.session, task) {
                Err(over) => Poll::Ready(over),
                Ok(()) => Poll::Pending,
            }
        }))
    }

    /// The source is there: its stream begins, at the speed of the clock if it is `paced`;
    /// `in_order` where its two tracks come in bunches.
    pub(super) async fn begin(&self, paced: bool, in_order: bool) -> Result<Live<'_>, Over> {
        let target = Target::find(&self.cx.config(), &self.worker.output, Named::default(), HERE)?;
        let opening = Feed::open(self.cx, &self.session, &self.worker.input, target);
        let feed = unless_kicked(&self.session, opening).await??;
        let feed = if in_order { feed.in_order() } else { feed };
        self.worker.input.set_state(State::Running);
        Ok(Live {
            cx: self.cx,
            worker: self.worker,
            session: self.session.clone(),
            feed,
            pacer: paced.then(Pacer::default),
            headers: [None, None],
            queue: Vec::new(),
        })
    }
}

/// Why a source is to be left, if it is. To be asked in each poll.
fn check(
    cx: &Context,
    worker: &Worker,
    session: &Session,
    task: &task::Context<'_>,
) -> Result<(), Over> {
    session.set_waker(task.waker());
    if let Some(why) = session.kicked() {
        return Err(Over::Kicked(why));
    }
    if session.is_leaving() {
        return Err(Over::Leaving);
    }
    if worker.is_idle(cx) { Err(Over::Idle) } else { Ok(()) }
}

/// A stream that is published while its source is read.
pub(super) struct Live<'a> {
    cx: &'a Rc<Context>,
    worker: &'a Worker,
    pub(super) session: Rc<Session>,
    pub(super) feed: Feed,
    pacer: Option<Pacer>,
    /// The newest sequence headers, of audio and video.
    headers: [Option<Vec<u8>>; 2],
    queue: Vec<Packet>,
}

impl Live<'_> {
    /// Why the stream has to end now, if it has. To be asked in each poll.
    pub(super) fn check(&self, task: &task::Context<'_>) -> Result<(), Over> {
        check(self.cx, self.worker, &self.session, task)
    }

    /// Waits for `future` while the stream is served.
    pub(super) async fn wait<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Over> {
        let mut future = pin!(future);
        poll_fn(|task| {
            if let Err(over) = self.check(task) {
                return Poll::Ready(Err(over));
            }
            let done = future.as_mut().poll(task).map(Ok);
            self.feed.poll(task, &"");
            done
        })
        .await
    }

    /// Publishes what `bytes` of the source hold.
    pub(super) async fn parse(&mut self, parser: &mut Parser, bytes: &[u8]) -> Result<(), Over> {
        let parsed = parser.receive(bytes, self.feed.memory(), &mut self.queue);
        self.publish().await?;
        parsed.map_err(Over::Failed)
    }

    /// The source ended: publishes what is left of it.
    pub(super) async fn finish(&mut self, parser: &mut Parser) -> Result<(), Over> {
        parser.finish(self.feed.memory(), &mut self.queue);
        self.publish().await
    }

    /// The source begins anew, or goes on somewhere else.
    pub(super) fn begin_anew(&mut self) {
        self.feed.begin_anew();
    }

    /// What is behind goes out without waiting.
    pub(super) fn hurry(&mut self, hurry: bool) {
        if let Some(pacer) = &mut self.pacer {
            pacer.hurry = hurry;
        }
    }

    async fn publish(&mut self) -> Result<(), Over> {
        let mut queue = std::mem::take(&mut self.queue);
        let mut ready = Vec::new();
        for packet in queue.drain(..) {
            if ends_sequence(&packet) || self.is_known(&packet) {
                continue;
            }
            self.feed.correct(packet, &mut |packet| ready.push(packet));
            for packet in ready.drain(..) {
                self.send(packet).await?;
            }
        }
        self.queue = queue;
        Ok(())
    }

    /// Publishes a packet when it is due.
    async fn send(&mut self, packet: Packet) -> Result<(), Over> {
        if let Some(pacer) = &mut self.pacer
            && packet.kind != Kind::Data
            && let due = pacer.due(packet.dts, clock::now())
            && due > clock::after(AHEAD)
        {
            let pause = Duration::from_millis(due.saturating_sub(clock::now()));
            self.wait(run::sleep(pause)).await?;
        }
        Ok(self.feed.take(packet)?)
    }

    /// Sequence headers that are repeated, as each round of a file and each segment do.
    fn is_known(&mut self, packet: &Packet) -> bool {
        let [audio, video] = &mut self.headers;
        let slot = match packet.kind {
            Kind::Audio if packet.header => audio,
            Kind::Video if packet.header => video,
            _ => return false,
        };
        let known = slot.as_ref().is_some_and(|known| **known == *packet.payload);
        if !known {
            *slot = Some(packet.payload.to_vec());
        }
        known
    }
}

/// A file says at its end that the sequence is over, which it is not: it begins again.
fn ends_sequence(packet: &Packet) -> bool {
    packet.kind == Kind::Video
        && match *packet.payload {
            [first, 2, ..] if first & 0x80 == 0 => matches!(first & 15, 7 | 12),
            [first, ..] => first & 0x8f == 0x82,
            [] => false,
        }
}

/// What the first bytes of a source say that makes it none.
pub(super) fn refuse(format: Format, start: &[u8]) -> Result<(), Over> {
    let what = match format {
        _ if start.is_empty() => "no packet in it",
        Format::Flv if !start.starts_with(start.get(..3).map_or(&b"F"[..], |_| b"FLV")) => {
            "not an FLV file"
        }
        Format::Ts if !start.contains(&0x47) => "not a transport stream",
        _ => return Ok(()),
    };
    Err(Over::Failed(what.into()))
}

/// When packets are due that have no clock but their times.
#[derive(Debug, Default)]
struct Pacer {
    /// When the last packet was due, and its time.
    last: Option<(u64, u32)>,
    hurry: bool,
}

/// What is due so soon goes out with what is due now: waking up costs more than a packet.
const AHEAD: Duration = Duration::from_millis(40);
/// A source that is later than this does not make up for it.
const LATE_MS: u64 = 500;

impl Pacer {
    /// When a packet with the time `dts` is due, in milliseconds of the clock.
    fn due(&mut self, dts: u32, now: u64) -> u64 {
        let Some((due, last)) = self.last else {
            self.last = Some((now, dts));
            return now;
        };
        let step = i64::from(time::difference(dts, last));
        let next = due.saturating_add_signed(step);
        let late = next.saturating_add(LATE_MS) < now;
        let next = if late || self.hurry { now } else { next };
        self.last = Some((next, dts));
        next
    }
}

/// Packets out of the bytes of a source.
#[derive(Debug)]
pub(super) enum Parser {
    Flv(flv::Reader),
    Ts(Box<Demux>),
    Sound(Box<Sound>),
}

impl Parser {
    pub(super) fn new(format: Format) -> Self {
        match format {
            Format::Flv => Self::Flv(flv::Reader::new()),
            Format::Ts => Self::Ts(Box::default()),
            Format::Sound => Self::Sound(Box::default()),
        }
    }

    pub(super) fn format(&self) -> Format {
        match self {
            Self::Flv(_) => Format::Flv,
            Self::Ts(_) => Format::Ts,
            Self::Sound(_) => Format::Sound,
        }
    }

    /// The next bytes begin a segment.
    pub(super) fn begin_segment(&mut self) {
        if let Self::Sound(sound) = self {
            sound.begin_segment();
        }
    }

    fn receive(
        &mut self,
        mut bytes: &[u8],
        memory: &mut dyn Memory,
        queue: &mut Vec<Packet>,
    ) -> Result<(), String> {
        let mut out = |packet| queue.push(packet);
        let result = match self {
            Self::Flv(reader) => loop {
                match reader.read(&mut bytes, memory) {
                    Ok(Some(packet)) => out(packet),
                    Ok(None) => break Ok(()),
                    Err(stop) => break Err(stop.to_string()),
                }
            },
            Self::Ts(demux) => demux.receive(bytes, memory, &mut out).map_err(|e| e.to_string()),
            Self::Sound(sound) => sound.receive(bytes, memory, &mut out).map_err(|e| e.to_string()),
        };
        self.say();
        result
    }

    fn finish(&mut self, memory: &mut dyn Memory, queue: &mut Vec<Packet>) {
        if let Self::Ts(demux) = self {
            // A picture that nobody has room for is given up.
            let _ = demux.finish(memory, &mut |packet| queue.push(packet));
        }
    }

    fn say(&mut self) {
        loop {
            let note = match self {
                Self::Flv(_) => None,
                Self::Ts(demux) => demux.note(),
                Self::Sound(sound) => sound.note(),
            };
            let Some(note) = note else { return };
            log::info!("{note}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_due_as_their_times_say() {
        let mut pacer = Pacer::default();
        assert_eq!(pacer.due(1000, 50), 50, "the first one at once");
        assert_eq!(pacer.due(1040, 51), 90);
        assert_eq!(pacer.due(1030, 52), 80, "the other track may be behind");
        assert_eq!(pacer.due(1080, 200), 130, "what is late makes up for it");
        assert_eq!(pacer.due(1120, 10_000), 10_000, "unless it is very late");
        assert_eq!(pacer.due(1160, 10_000), 10_040);
        pacer.hurry = true;
        assert_eq!(pacer.due(5160, 10_001), 10_001);
        let mut pacer = Pacer { last: Some((7, time::MASK)), hurry: false };
        assert_eq!(pacer.due(19, 7), 27, "times wrap");
    }

    #[test]
    fn the_first_bytes_say_what_is_no_source() {
        let fails = |format, bytes: &[u8]| refuse(format, bytes).is_err();
        assert!(
            fails(Format::Flv, b"") && fails(Format::Flv, b"GET /") && fails(Format::Ts, b"FLV")
        );
        assert!(!fails(Format::Flv, b"FLV\x01") && !fails(Format::Flv, b"F"));
        assert!(!fails(Format::Ts, b"xG") && !fails(Format::Sound, b"x"));
    }

    #[test]
    fn the_end_of_a_sequence_is_left_out() {
        let packet = |bytes: &'static [u8]| Packet::new(Kind::Video, 0, bytes.into());
        assert!(ends_sequence(&packet(b"\x17\x02\0\0\0")));
        assert!(ends_sequence(&packet(b"\x92hvc1")));
        for other in [&b"\x17\x01\0\0\0a"[..], b"\x17\0\0\0\0", b"\x90hvc1", b"", b"\x17"] {
            assert!(!ends_sequence(&packet(other)));
        }
    }
}
