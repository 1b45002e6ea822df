//! A transport stream in datagrams, bare or in RTP (RFC 2250).

use super::live::{Attempt, Over};
use crate::format::ts::datagram::{is_ts, packets};
use crate::format::ts::{Demux, Note};
use crate::io::udp::Udp;
use core::net::IpAddr;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::task::Poll;
use std::time::Duration;

/// A sender that is silent for so long has ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens, and publishes what comes until it stays out. Who sends is not asked.
pub(super) async fn pull(
    attempt: &Attempt<'_>,
    address: Option<IpAddr>,
    port: u16,
    interface: &str,
) -> Result<(), Over> {
    let socket = Udp::listen(address, port, interface)
        .map_err(|e| Over::Failed(format!("listen at UDP port {port}: {e}")))?;
    let first = poll_fn(|task| socket.poll_wanted(task, |datagram, _| is_ts(datagram)));
    let sender = attempt.before(Duration::from_secs(3600), "no sender", first).await?;
    let sender = sender.map_err(|e| Over::Failed(e.to_string()))?;
    log::info!("MPEG-TS from {sender}");
    let mut live = attempt.begin(false, true).await?;
    live.feed.set_patience(PATIENCE);
    let mut demux = Demux::new();
    poll_fn(|task| {
        if let Err(over) = live.check(task) {
            return Poll::Ready(Err(over));
        }
        let (feed, session) = (&mut live.feed, &live.session);
        let received = socket.poll_receive(task, |datagram, from| {
            if from != sender {
                return ControlFlow::Continue(());
            }
            session.count(datagram.len(), 0);
            match feed.make(|memory, out| demux.receive(packets(datagram), memory, out)) {
                Ok(Ok(())) => ControlFlow::Continue(()),
                Ok(Err(stop)) => ControlFlow::Break(Over::Failed(stop.to_string())),
                Err(refusal) => ControlFlow::Break(Over::Refused(refusal)),
            }
        });
        while let Some(note) = demux.note() {
            if let Note::Program { video: None, .. } | Note::Program { audio: None, .. } = note {
                live.feed.is_alone();
            }
            log::info!("{note}");
        }
        live.feed.poll(task, &"");
        match received {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(over)) => Poll::Ready(Err(over)),
            Poll::Ready(Err(e)) => Poll::Ready(Err(Over::Failed(e.to_string()))),
        }
    })
    .await
}
