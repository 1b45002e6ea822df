//! What encoders and cameras push over RTSP: ANNOUNCE, SETUP, RECORD; packets in the connection or
//! over UDP.

use super::caster::{self, Running};
use super::input::{Feed, Named, Target};
use super::inputs::Inputs;
use super::rtp::media::{Media, Way};
use super::rtp::{NAME, ports};
use super::{Port, Service};
use crate::config::{Caster, StreamCaster};
use crate::context::Context;
use crate::hub::session::Kick;
use crate::io::link::{End, Link};
use crate::io::timer::Alarm;
use crate::io::{clock, random, tcp};
use crate::limits::COMMAND_TIMEOUT;
use crate::proto::rtsp::auth::{Credentials, Gate};
use crate::proto::rtsp::server::{Announce, Config, Event, Server};
use crate::proto::rtsp::{Error, Lower, Transport};
use crate::service::admission::{Refusal, tell_closed};
use core::net::IpAddr;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::Poll;

/// Listens where casters of RTSP are.
pub(super) const SERVICE: Service = Service {
    port: Some(Port {
        name: "RTSP caster",
        endpoints: |config| caster::endpoints(config, Caster::Rtsp),
        serve: |socket, id, peer, cx| Box::pin(serve(socket, id, peer, cx)),
    }),
    start: |cx| drop(caster::follow(cx, Caster::Rtsp)),
    reload: |cx, _| drop(caster::follow(cx, Caster::Rtsp)),
    ..Service::new("caster-rtsp")
};

/// Seconds without a sign of life that a client is told. Media that stays out ends it sooner.
const TIMEOUT_S: u32 = 60;

type Connection = Box<Link<Server>>;

/// How a push ended.
enum Outcome {
    /// The client said so.
    Over,
    /// It may not, with the status of the answer.
    Refused(u16, Refusal),
    End(End<Error>),
}

impl From<End<Error>> for Outcome {
    fn from(end: End<Error>) -> Self {
        Self::End(end)
    }
}

async fn serve(socket: tcp::Socket, id: u32, peer: IpAddr, cx: Rc<Context>) {
    log::info!("RTSP client ip={peer}");
    let Ok(local) = socket.get_ref().local_addr() else { return };
    let Some(caster) = caster::at(&cx, Caster::Rtsp, local) else {
        return log::warn!("a reload took away the caster of this port");
    };
    let config = match config(&caster.block) {
        Ok(config) => config,
        Err(e) => return log::error!("no random numbers: {e}"),
    };
    let session = cx.sessions.enter(id, peer);
    let mut link = Box::new(Link::new(socket, Server::new(config), session));
    if let Err(e) = tcp::set_nodelay(link.socket(), true) {
        log::warn!("socket options: {e}");
    }
    let mut push = Push { cx: &cx, caster: &caster, local: local.ip().to_canonical(), media: None };
    let outcome = push.serve(&mut link).await;
    let strays = link.machine.strays();
    if strays > 0 {
        log::warn!("{strays} frames on channels that were not set up");
    }
    match &outcome {
        Outcome::Over => log::info!("RTSP client is done"),
        Outcome::Refused(status, refusal) => {
            log::warn!("client refused with {status}, {refusal}");
            caster.input.fail(refusal);
            link.machine.refuse(*status);
        }
        Outcome::End(end) => {
            match end {
                End::Protocol(e) => log::warn!("{e}. ret=4011"),
                _ => log::info!("{end}"),
            }
            if !matches!(end, End::Kicked(Kick::Shutdown)) {
                caster.input.fail(end);
            }
        }
    }
    if !matches!(outcome, Outcome::End(End::Closed | End::Io(_))) {
        link.close().await;
    }
    tell_closed(&cx, link.session());
    let (received, sent) = link.traffic();
    log::info!("RTSP client finished, received={received}, sent={sent}");
}

fn config(block: &StreamCaster) -> std::io::Result<Config> {
    let gate = if block.username.is_empty() {
        None
    } else {
        let (user, password) = (block.username.clone(), block.password.clone());
        Some(Gate {
            realm: NAME.into(),
            nonce: random::hex::<16>()?,
            credentials: Credentials { user, password },
            basic: block.basic_auth,
        })
    };
    Ok(Config {
        session: random::hex::<8>()?,
        timeout: TIMEOUT_S,
        name: NAME.into(),
        udp: block.rtp_port_min > 0,
        gate,
    })
}

/// A push on its way.
struct Push<'a> {
    cx: &'a Rc<Context>,
    caster: &'a Rc<Running>,
    /// Our address, which packets come to.
    local: IpAddr,
    media: Option<Announced>,
}

struct Announced {
    target: Target,
    media: Media,
}

impl Push<'_> {
    async fn serve(&mut self, link: &mut Connection) -> Outcome {
        expect(link, "no ANNOUNCE");
        loop {
            let event = match link.next().await {
                Ok(event) => event,
                Err(end) => return end.into(),
            };
            match event {
                Event::Announce(announce) => {
                    match self.announced(&announce, link.session().peer()) {
                        Ok(announced) => self.media = Some(announced),
                        Err((status, refusal)) => return Outcome::Refused(status, refusal),
                    }
                    link.machine.allow();
                    expect(link, "no SETUP");
                }
                Event::Setup(track, transport) => {
                    if let Err((status, refusal)) = self.set_up(link, track, &transport) {
                        return Outcome::Refused(status, refusal);
                    }
                    expect(link, "no RECORD");
                }
                Event::Record => {
                    let Some(announced) = self.media.take() else { return Outcome::Over };
                    return self.record(link, announced).await;
                }
                Event::Teardown => return Outcome::Over,
                Event::Packet { .. } | Event::Alive => {}
            }
        }
    }

    /// Whether what is announced may come.
    fn announced(&self, announce: &Announce, ip: IpAddr) -> Result<Announced, (u16, Refusal)> {
        let Announce { url, session } = announce;
        log::info!("ANNOUNCE {}", url.request_uri());
        let (media, notes) = Media::new(session);
        for note in &notes {
            log::warn!("{note}");
        }
        if session.tracks.is_empty() {
            return Err((415, Refusal::new(4011, "no track that can be taken is announced")));
        }
        let (app, stream) = url.app_and_stream().unwrap_or_default();
        let named = Named { app: &app, stream: &stream, query: &url.query };
        let target = Target::find(&self.cx.config(), &self.caster.block.output, named, ip)
            .map_err(|refusal| (if refusal.code == 2006 { 400 } else { 403 }, refusal))?;
        Ok(Announced { target, media })
    }

    /// Says where the packets of a track are to come.
    fn set_up(
        &mut self,
        link: &mut Connection,
        track: usize,
        transport: &Transport,
    ) -> Result<(), (u16, Refusal)> {
        let Some(Announced { media, .. }) = &mut self.media else { return Ok(()) };
        if transport.lower == Lower::Tcp {
            log::info!("SETUP track {track}, in the connection");
            media.set_up(track, None);
            link.machine.allow();
            return Ok(());
        }
        // What the track had before is free again.
        media.close(track);
        let block = &self.caster.block;
        let ports = (block.rtp_port_min, block.rtp_port_max);
        let Some(pair) = ports::bind(self.cx, self.local, ports) else {
            let text = format!("no pair of ports from {} to {} is free for RTP", ports.0, ports.1);
            return Err((453, Refusal::new(4011, text)));
        };
        let port = pair.port;
        log::info!("SETUP track {track}, over UDP to ports {port} and {}", port.saturating_add(1));
        let peer = link.session().peer();
        media.set_up(track, Some(Way::new(pair, peer, None, transport.client_port)));
        link.machine.allow_ports(port, port.saturating_add(1));
        Ok(())
    }

    /// Publishes what comes until the client ends it.
    async fn record(&mut self, link: &mut Connection, announced: Announced) -> Outcome {
        let Announced { target, mut media } = announced;
        // Not before: who announces and does no more has little memory.
        let _place = match self.cx.part::<Inputs>().place() {
            Ok(place) => place,
            Err(refusal) => return Outcome::Refused(453, refusal),
        };
        let session = link.session().clone();
        let opening = Feed::open(self.cx, &session, &self.caster.input, target);
        let mut feed = match link.unless_kicked(opening).await {
            Ok(Ok(feed)) if media.is_both() => feed.in_order(),
            Ok(Ok(feed)) => feed,
            Ok(Err(refusal)) => return Outcome::Refused(403, refusal),
            Err(end) => return end.into(),
        };
        link.machine.allow();
        link.be_patient();
        let (mut alarm, mut damage) = (Alarm::default(), 0);
        let outcome = poll_fn(|task| {
            let read = link.poll_read(task, |_, event| match event {
                Event::Packet { track, rtcp, packet } => {
                    match media.take(track, rtcp, &packet, &mut feed) {
                        Ok(()) => ControlFlow::Continue(()),
                        Err(refusal) => ControlFlow::Break(Outcome::Refused(0, refusal)),
                    }
                }
                Event::Teardown => ControlFlow::Break(Outcome::Over),
                _ => ControlFlow::Continue(()),
            });
            let mut over = match read {
                Poll::Ready(Ok(outcome)) => Some(outcome),
                Poll::Ready(Err(end)) => Some(end.into()),
                Poll::Pending => None,
            };
            if let Err(refusal) = media.poll(task, &session, &mut feed) {
                over.get_or_insert(Outcome::Refused(0, refusal));
            }
            while alarm.poll(task, media.due()).is_ready() {
                if let Err(refusal) = media.expire(&mut feed) {
                    over.get_or_insert(Outcome::Refused(0, refusal));
                }
                media.report(|track, report| link.machine.send_report(track, report));
            }
            let now = media.damage();
            self.caster.input.add_damage(now.saturating_sub(damage));
            damage = now;
            if let Poll::Ready(Err(end)) = link.poll_flush(task) {
                over.get_or_insert(end.into());
            }
            feed.poll(task, &media);
            over.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        // The last picture; one that nobody has room for is given up.
        let _ = media.finish(&session, &mut feed);
        self.caster.input.add_damage(media.damage().saturating_sub(damage));
        log::info!("RECORD ends{media}");
        outcome
    }
}

fn expect(link: &Connection, what: &'static str) {
    link.session().expect(clock::after(COMMAND_TIMEOUT), what);
}
