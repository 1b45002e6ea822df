//! How a player is served, as its vhost says; a reload may change it.

use crate::config::Vhost;
use crate::context::Context;
use crate::io::link::Link;
use crate::io::player::Player;
use crate::io::tcp;
use crate::media::Decimal;
use crate::proto::Machine;
use crate::proto::framing::Framing;
use std::rc::Rc;
use std::time::Duration;

/// What the connection of a player does by its vhost; the stream itself knows the rest
/// ([`Settings`](crate::hub::Settings)).
#[derive(Debug)]
pub struct Terms {
    vhost: Rc<Vhost>,
    generation: u32,
    /// Until the first picture is out, small writes do not wait for acknowledgements.
    starting: bool,
}

impl Terms {
    /// For a player of a stream of `vhost`, on a connection that sends small writes at once.
    pub fn new(cx: &Context, vhost: Rc<Vhost>) -> Self {
        let starting = !vhost.tcp_nodelay;
        Self { vhost, generation: cx.generation(), starting }
    }

    /// The pause after each packet, `send_min_interval`.
    pub fn interval(&self) -> Duration {
        self.vhost.play.send_min_interval.0
    }

    /// Takes what a reload changed. To be called at each poll.
    pub fn follow<M: Machine, F: Framing>(
        &mut self,
        cx: &Context,
        player: &mut Player<F>,
        link: &Link<M>,
    ) {
        if std::mem::replace(&mut self.generation, cx.generation()) == cx.generation() {
            return;
        }
        let Some(vhost) = cx.config().block(&self.vhost.name).cloned() else { return };
        let before = std::mem::replace(&mut self.vhost, vhost);
        let (interval, nodelay) = (self.interval(), self.vhost.tcp_nodelay);
        if interval != before.play.send_min_interval.0 {
            player.set_interval(interval);
        }
        if nodelay != before.tcp_nodelay && !self.starting {
            set_nodelay(link, nodelay);
        }
        self.starting &= !nodelay;
        let smi = Decimal::new(interval.as_secs_f64() * 1000.0, 2);
        log::debug!("reload smi={smi}, tcp_nodelay={}", u8::from(nodelay));
    }

    /// Ends the beginning, when it is over. To be called after something may have been sent.
    pub fn settle<M: Machine, F: Framing>(&mut self, player: &Player<F>, link: &Link<M>) {
        if self.starting && player.packets() > 0 && player.consumer.is_caught_up() {
            self.starting = false;
            set_nodelay(link, false);
        }
    }
}

fn set_nodelay<M: Machine>(link: &Link<M>, on: bool) {
    if let Err(e) = tcp::set_nodelay(link.socket(), on) {
        log::warn!("socket options: {e}");
    }
}
