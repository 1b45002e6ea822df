//! Streams that come in by other protocols than RTMP: where they are published, and what every such
//! stream does on its way into the hub.

mod order;

use crate::config::{Config, Role, Vhost};
use crate::context::Context;
use crate::hub::pithy::Stage;
use crate::hub::session::{Kick, Session};
use crate::hub::{Caller, Client, ClientKind, StreamKey};
use crate::io::clock;
use crate::io::stage::Progress;
use crate::limits::{NAME_MAX, URL_MAX};
use crate::media::Packet;
use crate::media::arena::{Arena, Memory};
use crate::media::timeline::{Start, Timeline};
use crate::proto::rtmp::url;
use crate::service::admission::{Event, Refusal, Step, ask, tell};
use crate::service::ingress::Ingress;
use crate::service::inputs::Input;
use core::net::IpAddr;
use order::Order;
use std::fmt::{self, Display};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{self, Poll};
use std::time::Duration;

/// Where a stream is published.
#[derive(Debug)]
pub struct Target {
    /// The stream.
    pub key: StreamKey,
    /// The vhost block that serves it.
    pub vhost: Rc<Vhost>,
    /// The parameters, with their `?`.
    pub param: String,
    caller: Rc<Caller>,
}

/// What a sender said of its stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named<'a> {
    /// What `[app]` stands for; empty for none.
    pub app: &'a str,
    /// What `[stream]` stands for; empty for none.
    pub stream: &'a str,
    /// Parameters without `?`, for those that decide whether it may.
    pub query: &'a str,
}

impl Target {
    /// Where `output` says, a url of RTMP whose host is the vhost, unless its parameters name one.
    /// Names of the sender cannot choose the vhost. Refused as a publisher of RTMP at `ip` would
    /// be.
    pub fn find(
        config: &Config,
        output: &str,
        named: Named<'_>,
        ip: IpAddr,
    ) -> Result<Self, Refusal> {
        let (tc_url, last) = output.trim().rsplit_once('/').unwrap_or((output, ""));
        let mut address = url::discovery(tc_url, last)?;
        let fill = |template: &str| {
            if template.contains("[app]") && named.app.is_empty() {
                return Err(refused("the address has no app"));
            }
            if template.contains("[stream]") && named.stream.is_empty() {
                return Err(refused("the address has no stream"));
            }
            Ok(template.replace("[app]", named.app).replace("[stream]", named.stream))
        };
        for part in [&mut address.app, &mut address.stream] {
            *part = fill(part)?.trim_matches('/').to_owned();
            let bad = part.chars().any(char::is_control) || part.split('/').any(|p| p == "..");
            if bad || part.is_empty() || part.len() > NAME_MAX {
                return Err(refused("no valid app and stream in the address"));
            }
        }
        let mut param = address.param;
        if !named.query.is_empty() {
            param.push(if param.is_empty() { '?' } else { '&' });
            param.push_str(named.query);
        }
        if param.len() > URL_MAX || param.chars().any(char::is_control) {
            return Err(refused("no valid parameters in the address"));
        }
        let Some(vhost) = config.vhost(&address.vhost) else {
            return Err(Refusal::new(2014, format!("no vhost is called {}", address.vhost)));
        };
        vhost.admit(Role::Publish, ip, "")?;
        let tc_url = tc_url.replace("[app]", &address.app);
        let caller = Caller { tc_url, ..Caller::default() };
        let key = StreamKey::new(&vhost.name, &address.app, &address.stream);
        Ok(Self { key, vhost: vhost.clone(), param, caller: Rc::new(caller) })
    }
}

fn refused(text: &str) -> Refusal {
    Refusal::new(2006, text)
}

/// A stream on its way in: asked for, announced, its times put right.
#[derive(Debug)]
pub struct Feed {
    cx: Rc<Context>,
    session: Rc<Session>,
    input: Rc<Input>,
    client: Rc<Client>,
    ingress: Option<Ingress>,
    arena: Arena,
    timeline: Timeline,
    order: Option<Order>,
    progress: Progress,
    /// Packets when the deadline was last moved.
    heard: u64,
    /// Bytes of the session that the input has counted.
    counted: u64,
    /// For how long the sender may be silent, unless the vhost says it.
    patience: Option<Duration>,
}

impl Feed {
    /// Asks whether the client of `session` may publish `target`, and takes the stream.
    pub async fn open(
        cx: &Rc<Context>,
        session: &Rc<Session>,
        input: &Rc<Input>,
        target: Target,
    ) -> Result<Self, Refusal> {
        let opened = Self::ask(cx, session, input, target).await;
        if let Err(refusal) = &opened {
            input.fail(refusal);
        }
        opened
    }

    async fn ask(
        cx: &Rc<Context>,
        session: &Rc<Session>,
        input: &Rc<Input>,
        target: Target,
    ) -> Result<Self, Refusal> {
        let Target { key, vhost, param, caller } = target;
        let client = Rc::new(Client {
            id: session.id(),
            ip: session.peer(),
            kind: ClientKind::Input(input.service),
            vhost: vhost.clone(),
            key: key.clone(),
            param,
            caller,
            since: clock::now(),
        });
        log::info!(
            "client identified, type={}, stream_name={}, param={}",
            client.kind,
            key.stream(),
            client.param
        );
        // The services have deadlines of their own.
        session.relax();
        ask(cx, &client, Step::Publish).await?;
        session.set_client(client.clone());
        let ingress = if input.is_over() {
            Err(Refusal::new(1023, Kick::Input.to_string()))
        } else {
            Ingress::open(cx, &key, &vhost, session.id())
        };
        let ingress = match ingress {
            Ok(ingress) => ingress,
            Err(refusal) => {
                tell(cx, &Event::Unpublished(&client));
                return Err(refusal);
            }
        };
        log::info!("start publish {key} from {}, ip={}", input.name, session.peer());
        input.begin(session);
        session.expect(clock::after(vhost.publish.firstpkt_timeout.0), "no media came");
        let start = if vhost.play.atc { Start::Keep } else { Start::Zero };
        Ok(Self {
            cx: cx.clone(),
            session: session.clone(),
            input: input.clone(),
            client,
            ingress: Some(ingress),
            arena: Ingress::arena(cx),
            timeline: Timeline::new(start),
            order: None,
            progress: cx.stages.enter(Stage::Caster),
            heard: 0,
            counted: session.traffic().0,
            patience: None,
        })
    }

    /// Puts sound and picture into the order of their times from here on. For transports that
    /// gather sound: in MPEG-TS of ffmpeg it comes up to 0.7 s late, and players would take such a
    /// step for a jump of the clock. Adds as much delay as one kind is late.
    pub fn in_order(mut self) -> Self {
        self.order = Some(Order::default());
        self
    }

    /// There is only sound, or only picture: nothing is waited for.
    pub const fn is_alone(&mut self) {
        if let Some(order) = &mut self.order {
            order.begin();
        }
    }

    /// Runs `make`, which is given memory and where packets go. The stream has to end when it is
    /// refused.
    pub fn make<T>(
        &mut self,
        make: impl FnOnce(&mut dyn Memory, &mut dyn FnMut(Packet)) -> T,
    ) -> Result<T, Refusal> {
        let Self { ingress: Some(ingress), arena, timeline, order, .. } = self else {
            return Ok(make(&mut self.arena, &mut |_| {}));
        };
        let mut result = Ok(());
        let mut take = |packet| {
            if result.is_ok() {
                result = ingress.take(packet);
            }
        };
        let made = make(arena, &mut |packet| {
            let packet = timeline.correct(packet);
            match order {
                Some(order) => order.take(packet, &mut take),
                None => take(packet),
            }
        });
        result.map(|()| made)
    }

    /// The memory of the stream, for packets that are [taken](Self::take) later.
    pub fn memory(&mut self) -> &mut dyn Memory {
        &mut self.arena
    }

    /// Puts the time of `packet` right, and gives what is to be [taken](Self::take) next: itself,
    /// or, [in order](Self::in_order), others that it was waited for.
    pub fn correct(&mut self, packet: Packet, out: &mut impl FnMut(Packet)) {
        let packet = self.timeline.correct(packet);
        match &mut self.order {
            Some(order) => order.take(packet, out),
            None => out(packet),
        }
    }

    /// Publishes a packet whose time was put right. The stream has to end when it is refused.
    pub fn take(&mut self, packet: Packet) -> Result<(), Refusal> {
        self.ingress.as_mut().map_or(Ok(()), |ingress| ingress.take(packet))
    }

    /// The source begins anew: its times may, too, and go on behind the last ones.
    pub fn begin_anew(&mut self) {
        self.timeline.reconnected();
    }

    /// The source may be silent for so long.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = Some(patience);
        self.session.expect(clock::after(patience), SILENT);
    }

    /// Packets so far.
    pub fn packets(&self) -> u64 {
        self.ingress.as_ref().map_or(0, Ingress::packets)
    }

    /// To be called at the end of each poll of the task that publishes: shows players what came,
    /// moves the deadline, counts, and now and then writes the line about it, with `more`.
    pub fn poll(&mut self, task: &mut task::Context<'_>, more: &dyn Display) {
        if let Some(ingress) = &mut self.ingress {
            ingress.flush_when_due(task);
        }
        let (packets, (received, _)) = (self.packets(), self.session.traffic());
        if packets > self.heard {
            let patience = self.patience.unwrap_or(self.client.vhost.publish.normal_timeout.0);
            self.session.expect(clock::after(patience), SILENT);
        }
        let bytes = received.saturating_sub(self.counted);
        self.input.count(bytes, packets.saturating_sub(self.heard));
        (self.heard, self.counted) = (packets, received);
        if let Some(line) = self.progress.tick(self.session.traffic()) {
            let (jumps, corrected) = (self.timeline.jumps(), self.timeline.corrected());
            log::info!("{line}, jumps={jumps}, corrected={corrected}{more}, {}", line.minute());
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let Some(mut ingress) = self.ingress.take() else { return };
        while let Some(packet) = self.order.as_mut().and_then(|order| order.pop()) {
            // It ends anyway.
            let _ = ingress.take(packet);
        }
        let (packets, dropped) = (ingress.packets(), ingress.publisher.dropped());
        log::info!("stop publish, msgs={packets}, dropped={dropped}");
        // The stream ends before it is told.
        drop(ingress);
        self.input.end(&self.session);
        tell(&self.cx, &Event::Unpublished(&self.client));
    }
}

const SILENT: &str = "the sender fell silent";

/// Waits for `future`, unless somebody ends the session meanwhile.
pub async fn unless_kicked<T>(
    session: &Session,
    future: impl Future<Output = T>,
) -> Result<T, Kick> {
    let mut future = pin!(future);
    poll_fn(|task| {
        session.set_waker(task.waker());
        match session.kicked() {
            Some(why) => Poll::Ready(Err(why)),
            None => future.as_mut().poll(task).map(Ok),
        }
    })
    .await
}

impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::media::Kind;
    use crate::service::inputs::Inputs;

    const IP: IpAddr = IpAddr::V4(core::net::Ipv4Addr::LOCALHOST);

    fn find(output: &str, app: &str, stream: &str, query: &str) -> Result<String, u16> {
        let text = b"listen 1; vhost __defaultVhost__ {} vhost v { \
            security { enabled on; allow publish 10.0.0.0/8; } } vhost w {} vhost off { enabled off; }";
        let config = config::load(text).unwrap().config;
        let target = Target::find(&config, output, Named { app, stream, query }, IP);
        target.map(|t| format!("{} {}{}", t.vhost.name, t.key, t.param)).map_err(|e| e.code)
    }

    #[test]
    fn the_output_says_vhost_app_and_stream() {
        const FILL: &str = "rtmp://127.0.0.1/[app]/[stream]";
        const D: &str = "__defaultVhost__";
        for (output, app, stream, query, want) in [
            ("rtmp://127.0.0.1/live/a", "x", "y", "", Ok(format!("{D} /live/a"))),
            ("rtmp://127.0.0.1:1935/live/a", "", "", "", Ok(format!("{D} /live/a"))),
            (FILL, "live", "cam 1", "", Ok(format!("{D} /live/cam 1"))),
            (FILL, "a/b", "s", "token=1", Ok(format!("{D} /a/b/s?token=1"))),
            ("rtmp://w/x_[app]/[stream]_y", "a", "s", "", Ok("w w/x_a/s_y".into())),
            ("rtmp://127.0.0.1/live?vhost=w/a", "", "", "b=2", Ok("w w/live/a?vhost=w&b=2".into())),
            ("rtmp://127.0.0.1/live/a?vhost=w", "", "", "", Ok("w w/live/a?vhost=w".into())),
            (FILL, "live", "s", "vhost=w", Ok(format!("{D} /live/s?vhost=w"))),
            (FILL, "live?vhost=w", "s", "", Ok(format!("{D} /live?vhost=w/s"))),
            (FILL, "", "s", "", Err(2006)),
            (FILL, "live", "", "", Err(2006)),
            (FILL, "..", "s", "", Err(2006)),
            (FILL, "live", "a\nb", "", Err(2006)),
            (FILL, "live", "s", "a\tb", Err(2006)),
            ("rtmp://v/live/a", "", "", "", Err(1052)),
            ("rtmp://off/live/a", "", "", "", Err(2014)),
            ("nonsense", "", "", "", Err(2006)),
            ("rtmp://127.0.0.1/live/", "", "", "", Err(2050)),
        ] {
            assert_eq!(find(output, app, stream, query), want, "{output} {app} {stream} {query}");
        }
        assert_eq!(find(FILL, &"x".repeat(NAME_MAX + 1), "s", ""), Err(2006));
        assert_eq!(find(FILL, "a", "s", &"x".repeat(URL_MAX)), Err(2006));
    }

    #[test]
    fn an_input_knows_how_it_is_doing_and_its_streams_end_with_it() {
        crate::io::run::run(|spawner| async move {
            let config = config::load(b"listen 1; vhost __defaultVhost__ {}").unwrap().config;
            let cx = Context::new(config, false, spawner);
            let inputs = cx.part::<Inputs>();
            let output = "rtmp://127.0.0.1/live/a";
            let input = inputs.enter("caster-flv", "flv 8936".into(), output.into());
            let target = || Target::find(&cx.config(), output, Named::default(), IP).unwrap();
            let session = cx.sessions.enter(100, IP);
            let mut feed = Feed::open(&cx, &session, &input, target()).await.unwrap();
            let packet = Packet::new(Kind::Audio, 0, b"\xaf\x01x"[..].into());
            feed.make(|_, out| out(packet)).unwrap();
            session.count(500, 0);
            poll_fn(|task| {
                feed.poll(task, &"");
                Poll::Ready(())
            })
            .await;
            assert_eq!((input.bytes(), input.packets(), input.streams()), (500, 1, 1));
            assert!(input.since().is_some() && input.last_error().is_none());
            let other = cx.sessions.enter(101, IP);
            let refused = Feed::open(&cx, &other, &input, target()).await.unwrap_err();
            assert_eq!(refused.code, 1028);
            assert_eq!(input.last_error().unwrap().text, refused.to_string());
            drop(feed);
            assert_eq!((input.streams(), input.since()), (0, None));
            let again = Feed::open(&cx, &other, &input, target()).await.unwrap();
            assert_eq!((input.starts(), input.restarts(), input.streams()), (2, 1, 1));
            inputs.leave(&input);
            assert_eq!((other.kicked(), session.kicked()), (Some(Kick::Input), None));
            drop(again);
            let late = cx.sessions.enter(102, IP);
            assert!(Feed::open(&cx, &late, &input, target()).await.is_err(), "it is over");
            assert!(inputs.all().is_empty());
        })
        .unwrap();
    }
}
