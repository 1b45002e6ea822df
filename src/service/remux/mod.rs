//! Live streams over HTTP: `.flv` as it is, `.ts`, `.aac` and `.mp3` made once a stream for all
//! its players.

mod derive;
mod mount;
mod play;

use crate::config::{Denied, Role, Vhost};
use crate::context::Context;
use crate::hub::{Caller, Sink, SinkError, StreamKey};
use crate::media::Packet;
use crate::proto::http::Method;
use crate::service::Service;
use crate::service::http::{Answer, Ask, Reply, Router};
use derive::Derived;
use play::Wanted;
use std::rc::Rc;

/// Answers at the `http_remux` mounts of vhosts.
pub const SERVICE: Service = Service {
    attach,
    differs: |old, new| old.http_remux != new.http_remux,
    routes,
    ..Service::new("remux")
};

/// What a stream is sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Flv,
    Ts,
    Aac,
    Mp3,
}

impl Format {
    const ALL: [Self; 4] = [Self::Flv, Self::Ts, Self::Aac, Self::Mp3];

    /// How its urls end, without the dot.
    const fn name(self) -> &'static str {
        match self {
            Self::Flv => "flv",
            Self::Ts => "ts",
            Self::Aac => "aac",
            Self::Mp3 => "mp3",
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Flv => "video/x-flv",
            Self::Ts => "video/MP2T",
            Self::Aac => "audio/x-aac",
            Self::Mp3 => "audio/mpeg",
        }
    }
}

fn routes(cx: &Rc<Context>, router: &mut Router) {
    for vhost in cx.config().vhosts.iter().filter(|v| v.enabled && v.http_remux.enabled) {
        let remux = &vhost.http_remux;
        log::info!("http: streams of {} are served at {}", vhost.name, remux.mount);
    }
    router.ahead(|ask| live(ask, false));
    router.last(|ask| live(ask, true));
}

/// The stream that is asked for, if it is live; `wait`: or may become so.
fn live(ask: &Ask, wait: bool) -> Answer {
    let (request, config) = (&ask.request, ask.cx.config());
    if !matches!(request.method, Method::Get | Method::Head) {
        return Answer::Next;
    }
    let mounts = config.vhosts.iter().filter(|v| v.enabled && v.http_remux.enabled);
    let found = mounts.filter_map(|vhost| {
        let remux = &vhost.http_remux;
        let place = mount::find(&remux.mount, &vhost.name, &request.host, &request.path)?;
        let key = StreamKey::new(&vhost.name, &place.app, &place.stream);
        let is_live = ask.cx.hub.find(&key).is_some_and(|source| source.is_live());
        (is_live || wait && remux.hstrs).then(|| (place.bound, vhost.clone(), key, place.format))
    });
    // A mount that names the host goes before one that does not.
    let Some((_, vhost, key, format)) = found.max_by_key(|(bound, ..)| *bound) else {
        return Answer::Next;
    };
    if let Err(why) = admit(&vhost, ask) {
        log::warn!("client refused, {why}");
        return Reply::status(403).into();
    }
    let (cx, crossdomain) = (ask.cx.clone(), ask.crossdomain);
    let caller = Caller {
        tc_url: format!("http://{}{}", request.host, request.path),
        page_url: request.header("referer").unwrap_or_default().to_owned(),
        ..Caller::default()
    };
    let mark = if request.query.is_empty() { "" } else { "?" };
    let param = format!("{mark}{}", request.query);
    let wanted = Wanted { key, vhost, format, crossdomain, param, caller };
    Answer::Take(Box::new(move |link| Box::pin(play::serve(link, cx, wanted))))
}

/// The rules that hold for playing over RTMP. The page is the one that the client says it is on.
fn admit(vhost: &Vhost, ask: &Ask) -> Result<(), Denied> {
    let page = ask.request.header("referer").unwrap_or_default();
    vhost.admit(Role::Play, ask.peer, page)
}

/// Joins a stream for players that wait for it, and for those to come that shall not wait.
fn attach(cx: &Rc<Context>, key: &StreamKey, vhost: &Vhost) -> Option<Box<dyn Sink>> {
    let remux = &vhost.http_remux;
    if !remux.enabled {
        return None;
    }
    let all = Format::ALL.into_iter().filter_map(|format| {
        let sound = matches!(format, Format::Aac | Format::Mp3);
        let kept = sound && !remux.fast_cache.0.is_zero() && mount::serves(&remux.mount, format);
        let awaited = || cx.hub.find(&key.derived(format.name())).is_some_and(|s| s.players() > 0);
        if kept || awaited() { Derived::new(cx, key, vhost, format, kept) } else { None }
    });
    let all: Vec<_> = all.collect();
    (!all.is_empty()).then(|| Box::new(Forms(all)) as Box<dyn Sink>)
}

/// Several forms of one stream.
struct Forms(Vec<Derived>);

impl Sink for Forms {
    fn service(&self) -> &'static str {
        SERVICE.name
    }

    fn on_packet(&mut self, packet: &Packet) -> Result<(), SinkError> {
        self.0.retain_mut(|form| form.on_packet(packet).is_ok());
        if self.0.is_empty() { Err(SinkError::Finished) } else { Ok(()) }
    }

    fn on_flush(&mut self) {
        self.0.iter_mut().for_each(Sink::on_flush);
    }
}
