//! `srs_ingest_hls`: this program under that name, or with it as its first word, passes HLS of one
//! server on to another over RTMP. It listens nowhere, and ends with its source.

use super::live::{Attempt, HERE, Over};
use super::plan::{Plan, Source};
use super::{Bell, Worker, hls};
use crate::config::{self, Config, Engine, Ingest};
use crate::context::{self, Context};
use crate::hub::pithy::Stage;
use crate::hub::{Lag, StreamKey};
use crate::io::clock;
use crate::io::log::{next_id, traced};
use crate::io::run::{self, Spawner};
use crate::limits::{RING_BYTES, UPSTREAM_DRAIN};
use crate::proto::authority;
use crate::proto::http::url::Url;
use crate::proto::rtmp::client::Role;
use crate::proto::rtmp::command::Style;
use crate::proto::rtmp::url;
use crate::service::admission::{Refusal, tell_closed};
use crate::service::input::{Named, Target};
use crate::service::inputs::Inputs;
use crate::service::relay::balance::Backoff;
use crate::service::relay::push::{Push, Stop, player};
use crate::service::relay::{Aim, Failure, Kind, Relays, Upstream};
use crate::service::{Applet, Service};
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// The applet alone: a server has nothing of it.
pub const SERVICE: Service = Service {
    applet: Some(Applet { name: NAME, usage: USAGE, run }),
    ..Service::new("srs-ingest-hls")
};

const NAME: &str = "srs_ingest_hls";
const USAGE: &str = "\
Usage: srs_ingest_hls -i http://host/app/stream.m3u8 -y rtmp://host[:port]/app/stream

Passes HLS on to a server of RTMP until it ends. `runnel srs_ingest_hls ...` does the same.
Words that ffmpeg is given to copy are understood: -vcodec copy -acodec copy -f flv -re.";

/// How often what is over is looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// How often it is looked whether the stream has begun.
const LOOK: Duration = Duration::from_millis(20);
/// The source failed, in the original's numbers.
const SOURCE: u16 = 4025;

/// What the words of the command line say: from where, and to where.
fn parse(words: &[String]) -> Result<(Url, String), String> {
    let (mut from, mut to) = (None, None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} is followed by nothing"));
        match word.as_str() {
            "-i" => from = Some(value()?),
            "-y" => to = Some(value()?),
            "-re" => {}
            "-loglevel" => drop(value()?),
            "-vcodec" | "-acodec" | "-f" => {
                let value = value()?;
                if !matches!(value.as_str(), "copy" | "flv") {
                    return Err(format!("{word} {value}: nothing is encoded"));
                }
            }
            _ => return Err(format!("{word} is none of its options")),
        }
    }
    let (from, to) = (from.ok_or("-i is missing")?, to.ok_or("-y is missing")?);
    match Source::parse(from) {
        Ok(Source::Hls(url)) => Ok((url, to.clone())),
        Ok(_) => Err(format!("{from} is no HLS: http://.../....m3u8")),
        Err(why) => Err(format!("{from}: {why}")),
    }
}

fn run(words: &[String]) -> Result<(), Refusal> {
    let (from, to) = parse(words).map_err(|text| Refusal::new(Applet::USAGE, text))?;
    let loaded = config::load(b"listen 1935; vhost __defaultVhost__ { }");
    let mut config = loaded.map_err(|e| Refusal::new(1023, e.to_string()))?.config;
    // It listens nowhere: the stream cannot come back.
    config.listen.clear();
    let done = run::run(|spawner| traced(next_id(), pass_on(config, spawner, from, to)));
    done.map_err(|e| Refusal::new(1013, format!("epoll: {e}")))?
}

/// How the first of the two ended.
enum Ended {
    Source(Over),
    Push(Option<Failure>),
}

async fn pass_on(config: Config, spawner: Spawner, from: Url, to: String) -> Result<(), Refusal> {
    let target = Target::find(&config, &to, Named::default(), HERE)?;
    let cx = Context::new(config, false, spawner);
    let context = cx.clone();
    cx.spawner.spawn(async move {
        loop {
            run::sleep(SWEEP).await;
            context.sessions.sweep(clock::now());
            context.hub.sweep(clock::now());
            context.hub.pool().reap();
        }
    });
    let worker = worker(&cx, from.clone(), &to, target.key.clone());
    let session = cx.sessions.enter(next_id(), HERE);
    let attempt = Attempt { cx: &cx, worker: &worker, session: session.clone(), again: false };
    let stop = Rc::new(Stop::default());
    let mut pushing = Box::pin(async {
        while worker.input.streams() == 0 {
            run::sleep(LOOK).await;
        }
        push(&cx, &target, &to, stop.clone()).await
    });
    let ended = {
        let pulling = pin!(async {
            let over = hls::pull(&attempt, &from).await.err().unwrap_or(Over::Ended);
            Ended::Source(over)
        });
        run::first(pulling, async { Ended::Push(pushing.as_mut().await) }).await
    };
    let over = match ended {
        Ended::Push(failure) => {
            let failure = failure.unwrap_or(Failure::Silent("it takes no more"));
            return Err(Refusal::new(failure.code(), format!("{to}: {failure}")));
        }
        Ended::Source(over) => over,
    };
    stop.end();
    if worker.input.starts() > 0
        && let Some(failure) = pushing.await
    {
        return Err(Refusal::new(failure.code(), format!("{to}: {failure}")));
    }
    tell_closed(&cx, &session);
    match over {
        Over::Ended => {
            log::info!("all of {from} is passed on");
            Ok(())
        }
        Over::Refused(refusal) => Err(refusal),
        over => Err(Refusal::new(SOURCE, over.to_string())),
    }
}

/// As if the configuration had it.
fn worker(cx: &Context, from: Url, to: &str, key: StreamKey) -> Worker {
    let source = Box::new(Source::Hls(from));
    let plan = Plan::Native { source, output: to.to_owned(), key: key.clone(), paced: true };
    Worker {
        vhost: String::new(),
        ingest: Rc::new(Ingest::default()),
        engine: Rc::new(Engine::default()),
        plan,
        output: to.to_owned(),
        key: Some(key),
        input: cx.part::<Inputs>().enter("ingest", NAME.to_owned(), String::new()),
        bell: Bell::default(),
        stopped: Cell::new(false),
        session: RefCell::default(),
        wanted: Cell::new(None),
        looked: Cell::new(0),
        udp: Cell::new(false),
        odd: RefCell::default(),
    }
}

/// Sends the stream until it ends, or the server does not take it; why not.
async fn push(cx: &Rc<Context>, target: &Target, to: &str, stop: Rc<Stop>) -> Option<Failure> {
    let wrong = || Failure::Config("no address rtmp://host[:port]/app/stream".into());
    let (tc_url, stream) = to.trim().rsplit_once('/').unwrap_or_default();
    let Ok(address) = url::discovery(tc_url, stream) else { return Some(wrong()) };
    let server = authority::join(&address.host, address.port);
    let key = &target.key;
    let settings = context::settings(&target.vhost);
    let lag = Lag { ms: settings.queue_ms, bytes: RING_BYTES };
    let consumer = match cx.hub.follow(key, settings, lag) {
        Ok(consumer) => consumer,
        Err(refused) => return Some(Failure::Config(refused.to_string())),
    };
    let role = Role::Publish { stream: stream.to_owned(), style: Style::Fmle };
    let mut aim = Aim::new("", &address.app, false, role, key.vhost());
    aim.tc_url = Some(tc_url.to_owned());
    let push = Push {
        cx: cx.clone(),
        stage: Stage::Forward,
        upstream: Rc::new(Upstream::new(key, std::slice::from_ref(&server), false)),
        aim: Box::new(move || aim.clone()),
        player: player(consumer),
        stop,
        backoff: Backoff::new(LOOK, LOOK),
        retry_max: Box::new(|| LOOK),
        state: cx.part::<Relays>().enter(Kind::Forward, key, &server),
        drain: UPSTREAM_DRAIN,
        patience: Some(Duration::ZERO),
        lasting: false,
    };
    push.run(None).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<String, String> {
        let words: Vec<_> = line.split(' ').map(ToOwned::to_owned).collect();
        parse(&words).map(|(from, to)| format!("{from} {to}"))
    }

    #[test]
    fn the_words_of_people_and_of_the_supervisor_are_understood() {
        let want = "http://h/a.m3u8 rtmp://h/live/s";
        for line in [
            "-i http://h/a.m3u8 -y rtmp://h/live/s",
            "-y rtmp://h/live/s -i http://h/a.m3u8",
            "-i http://h/a.m3u8 -vcodec copy -acodec copy -f flv -y rtmp://h/live/s",
            "-loglevel warning -re -i http://h/a.m3u8 -vcodec copy -acodec copy -f flv -y rtmp://h/live/s",
        ] {
            assert_eq!(parsed(line).as_deref(), Ok(want), "{line}");
        }
        for (line, what) in [
            ("-i http://h/a.m3u8", "-y is missing"),
            ("-y rtmp://h/live/s", "-i is missing"),
            ("-y", "-y is followed by nothing"),
            ("-i http://h/a.flv -y rtmp://h/live/s", "is no HLS"),
            ("-i a -y rtmp://h/live/s", "only .flv"),
            ("-i http://h/a.m3u8 -vcodec libx264 -y rtmp://h/live/s", "nothing is encoded"),
            ("-c a.conf", "-c is none of its options"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(what), "{line}: {error}");
        }
    }
}
