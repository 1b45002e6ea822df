//! A transport stream in datagrams, bare or in RTP (RFC 2250).

use super::live::{Attempt, Over};
use crate::format::ts::datagram::is_ts;
use crate::io::udp::Udp;
use crate::service::datagrams::Receiver;
use crate::service::inputs::State;
use core::net::IpAddr;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// A sender that is silent for so long has ended, also when no other one sends.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens, and publishes what a sender sends until it stays out or another one follows it. Who
/// sends is not asked.
pub(super) async fn pull(
    attempt: &Attempt<'_>,
    address: Option<IpAddr>,
    port: u16,
    interface: &str,
) -> Result<(), Over> {
    let socket = Udp::listen(address, port, interface)
        .map_err(|e| Over::Failed(format!("listen at UDP port {port}: {e}")))?;
    let input = &attempt.worker.input;
    input.set_state(State::Waiting);
    let first = poll_fn(|task| socket.poll_wanted(task, |datagram, _| is_ts(datagram)));
    let sender = attempt.while_wanted(first).await?.map_err(|e| Over::Failed(e.to_string()))?;
    log::info!("MPEG-TS from {sender}");
    let mut live = attempt.begin(false, true).await?;
    live.feed.set_patience(PATIENCE);
    let mut receiver = Receiver::new(sender);
    let over = poll_fn(|task| {
        if let Err(over) = live.check(task) {
            return Poll::Ready(over);
        }
        receiver.poll(task, &socket, (&live.session, &mut live.feed, input)).map(Over::from)
    })
    .await;
    receiver.finish(&mut live.feed);
    log::info!("MPEG-TS ends, {over}{receiver}");
    Err(over)
}
