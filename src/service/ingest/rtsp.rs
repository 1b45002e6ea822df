//! Cameras: RTSP, its packets in the connection first, over UDP where the camera wants that.

use super::live::{Attempt, Over, ended};
use crate::io::link::{End, Link};
use crate::io::timer::Alarm;
use crate::io::{clock, connect, random, tcp};
use crate::limits::{COMMAND_TIMEOUT, INGEST_CONNECT, INGEST_RTP_PORTS};
use crate::proto::rtsp::client::{Choice, Client, Config, Event};
use crate::proto::rtsp::sdp::Session;
use crate::proto::rtsp::{Error, Method, Transport, Url};
use crate::service::rtp::media::{Media, Way};
use crate::service::rtp::{NAME, ports};
use core::net::IpAddr;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::task::Poll;
use std::time::Duration;

/// For the answer to the last word of ours.
const GOODBYE: Duration = Duration::from_millis(300);

/// A camera that was asked.
struct Camera {
    link: Box<Link<Client>>,
    media: Media,
}

/// Why a camera does not play.
enum Refused {
    /// It wants the other transport.
    Transport(String),
    Over(Over),
}

impl From<Over> for Refused {
    fn from(over: Over) -> Self {
        Self::Over(over)
    }
}

/// Plays until the camera ends it.
pub(super) async fn pull(attempt: &Attempt<'_>, url: &Url) -> Result<(), Over> {
    let udp = &attempt.worker.udp;
    let camera = match open(attempt, url, udp.get()).await {
        Err(Refused::Transport(why)) => {
            let other = !udp.get();
            log::info!("{why}; packets {}", if other { "over UDP" } else { "in the connection" });
            udp.set(other);
            open(attempt, url, other).await
        }
        opened => opened,
    };
    let mut camera = camera.map_err(|refused| match refused {
        Refused::Transport(why) => Over::Failed(why),
        Refused::Over(over) => over,
    })?;
    let result = serve(attempt, &mut camera).await;
    if !matches!(result, Err(Over::Failed(_))) {
        camera.link.machine.teardown();
        // A camera that does not answer notices sooner or later.
        let _ = crate::io::run::within(GOODBYE, camera.link.flush()).await;
    }
    result
}

/// Connects, and asks for one video and one audio track until the camera plays.
async fn open(attempt: &Attempt<'_>, url: &Url, udp: bool) -> Result<Camera, Refused> {
    let connecting = connect::host(&url.host, url.port, INGEST_CONNECT);
    let socket = attempt.before(INGEST_CONNECT * 2, "connecting", connecting).await?;
    let socket = socket.map_err(|e| Over::Failed(e.to_string()))?;
    let _ = tcp::set_nodelay(socket.get_ref(), true);
    let own = random::hex::<8>().map_err(|e| Over::Failed(e.to_string()))?;
    let addresses =
        socket.get_ref().local_addr().and_then(|a| Ok((a, socket.get_ref().peer_addr()?)));
    let (local, peer) = addresses.map_err(|e| Over::Failed(e.to_string()))?;
    let (local, peer) = (local.ip().to_canonical(), peer.ip().to_canonical());
    let config = Config { url: url.clone(), name: NAME.into(), own };
    let link = Box::new(Link::new(socket, Client::new(config), attempt.session.clone()));
    let asking = Box::pin(ask(attempt, link, udp, local, peer));
    attempt.before(COMMAND_TIMEOUT, "the camera is asked", asking).await?
}

async fn ask(
    attempt: &Attempt<'_>,
    mut link: Box<Link<Client>>,
    udp: bool,
    local: IpAddr,
    peer: IpAddr,
) -> Result<Camera, Refused> {
    let mut media: Option<Media> = None;
    let mut pairs: Vec<(usize, ports::Pair)> = Vec::new();
    loop {
        let event = match link.next().await {
            Ok(event) => event,
            Err(End::Protocol(e)) if wants_other(&e) => {
                return Err(Refused::Transport(e.to_string()));
            }
            Err(end) => return Err(ended("camera", &end).into()),
        };
        match event {
            Event::Described(session) => {
                let (described, odd) = Media::new(&session);
                attempt.worker.tell(odd);
                let mut choices = Vec::new();
                for track in wanted(&session) {
                    let ports = if udp {
                        let pair = ports::bind(attempt.cx, local, INGEST_RTP_PORTS)
                            .ok_or_else(|| Over::Failed("no pair of ports is free".into()))?;
                        let port = pair.port;
                        pairs.push((track, pair));
                        Some((port, port.saturating_add(1)))
                    } else {
                        None
                    };
                    choices.push(Choice { track, ports });
                }
                if !link.machine.setup(&choices) {
                    let text = "the camera has no track that is read: H.264, HEVC, AAC";
                    return Err(Over::Failed(text.into()).into());
                }
                media = Some(described);
            }
            Event::SetUp(track, transport) => {
                let Some(media) = &mut media else { continue };
                media.close(track);
                let pair = pairs.iter().position(|(of, _)| *of == track);
                let way = pair.map(|at| way(pairs.swap_remove(at).1, &transport, peer));
                media.set_up(track, way);
            }
            Event::Playing => {
                let media = media.ok_or_else(|| Over::Failed("nothing was described".into()))?;
                return Ok(Camera { link, media });
            }
            Event::Packet { .. } => {}
            Event::Redirect(to) => {
                return Err(Over::Failed(format!("the camera says it is at {to}")).into());
            }
            Event::Ended => return Err(Over::Ended.into()),
        }
    }
}

/// Where packets of a track come from: the camera that was asked or, where it says so, another
/// machine. A camera behind a router may say what it is called there. First datagrams open the way
/// through routers.
fn way(pair: ports::Pair, transport: &Transport, peer: IpAddr) -> Way {
    let source = transport.source.as_ref().and_then(|source| source.parse().ok());
    let source = source.map(|ip: IpAddr| ip.to_canonical()).filter(|ip| !ip.is_unspecified());
    if let Some((rtp, rtcp)) = transport.server_port {
        for ip in [Some(peer), source].into_iter().flatten() {
            pair.rtp.send(&[], (ip, rtp).into());
            pair.rtcp.send(&[], (ip, rtcp).into());
        }
    }
    Way::new(pair, peer, source, transport.server_port)
}

/// The first video and the first audio track.
fn wanted(session: &Session) -> Vec<usize> {
    let is_audio =
        |at: &usize| session.tracks.get(*at).is_some_and(|track| track.format.payload.is_audio());
    let all = 0..session.tracks.len();
    let video = all.clone().find(|at| !is_audio(at));
    video.into_iter().chain(all.clone().find(is_audio)).collect()
}

/// Whether packets are to come the other way.
fn wants_other(error: &Error) -> bool {
    matches!(
        error,
        Error::Transport | Error::Refused { method: Method::Setup, status: 400 | 406 | 461 | 501 }
    )
}

async fn serve(attempt: &Attempt<'_>, camera: &mut Camera) -> Result<(), Over> {
    let Camera { link, media } = camera;
    link.be_patient();
    let mut live = attempt.begin(false, media.is_both()).await?;
    let input = &attempt.worker.input;
    let mut alarm = Alarm::default();
    let keep_alive = link.machine.keep_alive_every();
    let mut alive = clock::after(keep_alive);
    let (mut damage, mut heard) = (0, 0);
    let over = poll_fn(|task| {
        if let Err(over) = live.check(task) {
            return Poll::Ready(over);
        }
        let (feed, session) = (&mut live.feed, &live.session);
        let read = link.poll_read(task, |_, event| match event {
            Event::Packet { track, rtcp, packet } => match media.take(track, rtcp, &packet, feed) {
                Ok(()) => ControlFlow::Continue(()),
                Err(refusal) => ControlFlow::Break(Over::Refused(refusal)),
            },
            Event::Ended => ControlFlow::Break(Over::Ended),
            Event::Redirect(to) => {
                ControlFlow::Break(Over::Failed(format!("the camera says it is at {to}")))
            }
            _ => ControlFlow::Continue(()),
        });
        let mut over = match read {
            Poll::Ready(Ok(over)) => Some(over),
            Poll::Ready(Err(end)) => Some(ended("camera", &end)),
            Poll::Pending => None,
        };
        if let Err(refusal) = media.poll(task, session, feed) {
            over.get_or_insert(Over::Refused(refusal));
        }
        while alarm.poll(task, media.due().min(alive)).is_ready() {
            if clock::now() >= alive {
                alive = clock::after(keep_alive);
                let (received, _) = session.traffic();
                let silent = std::mem::replace(&mut heard, received) == received;
                // Some send all the time, and answer nothing.
                if !link.machine.keep_alive() && silent {
                    over.get_or_insert(Over::Failed("the camera does not answer".into()));
                }
            }
            if let Err(refusal) = media.expire(feed) {
                over.get_or_insert(Over::Refused(refusal));
            }
            media.report(|track, report| link.machine.send_report(track, report));
        }
        let now = media.damage().saturating_add(link.machine.resyncs().into());
        input.add_damage(now.saturating_sub(damage));
        damage = now;
        if let Poll::Ready(Err(end)) = link.poll_flush(task) {
            over.get_or_insert(ended("camera", &end));
        }
        live.feed.poll(task, &*media);
        over.map_or(Poll::Pending, Poll::Ready)
    })
    .await;
    // The last picture; one that nobody has room for is given up.
    let _ = media.finish(&live.session, &mut live.feed);
    let resyncs = link.machine.resyncs();
    input.add_damage(media.damage().saturating_add(resyncs.into()).saturating_sub(damage));
    log::info!("camera ends{media}, resync={resyncs}");
    Err(over)
}
