//! HTTP hooks: a server of the user's is asked before a client may connect, publish or play, and
//! told what happened, by POSTs of JSON (`http_hooks` of a vhost).
//!
//! Questions are asked by the task of the client, one url after another; what is told goes through
//! a queue for each vhost, in order (`desk`). All requests share the connections of one HTTP client
//! (`gate`), so that neither the server of one vhost nor the disk nor a stream waits for the server
//! of another. What is looked up in the configuration is that of the moment.

mod desk;
mod fields;
mod gate;
mod notify;
mod verdict;

use crate::config::shown::shown;
use crate::config::{Config, Vhost};
use crate::context::Context;
use crate::hub::{ById, Client, ClientKind, StreamKey};
use crate::io::fetch::{self, Request};
use crate::io::run::{sleep, within};
use crate::io::{clock, log as tank};
use crate::limits::{HOOK_FLUSH, HOOK_QUEUE, HOOK_QUEUE_VHOST, HOOK_REPLY};
use crate::service::admission::{Event, Refusal, Step};
use crate::service::{Service, Task};
use desk::{Desk, Told};
use fields::Action;
use gate::Gate;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use verdict::Failure;

/// Asks and tells. It has to be the last one that is asked: what it says yes to, a server of the
/// user's has written down.
pub const SERVICE: Service = Service {
    ask,
    tell,
    reload: |cx, _| cx.part::<Hooks>().forget_others(&cx.config()),
    finish: |cx| Some(Box::pin(finish(cx.part::<Hooks>()))),
    ..Service::new("hooks")
};

/// The hooks of all vhosts.
#[derive(Debug, Default)]
struct Hooks {
    http: fetch::Client,
    gate: Gate,
    /// By vhost.
    desks: RefCell<HashMap<String, Rc<Desk>>>,
    /// Bytes that wait at all desks.
    queued: Cell<usize>,
    /// Notifications of segments that are on their way.
    notifying: Cell<usize>,
    /// The vhosts that each connection was let into.
    connections: RefCell<ById<Vec<Entry>>>,
}

/// A connection was let into the vhost of `client`.
#[derive(Debug)]
struct Entry {
    client: Rc<Client>,
    /// Somebody was asked.
    asked: bool,
}

fn ask(cx: &Rc<Context>, client: &Rc<Client>, step: Step) -> Option<Task<Result<(), Refusal>>> {
    let hooks = cx.part::<Hooks>();
    let vhost = cx.config().block(client.key.vhost()).filter(|v| v.http_hooks.enabled).cloned();
    let Some(vhost) = vhost else {
        if step == Step::Connect {
            hooks.enter(client, false);
        }
        return None;
    };
    let (cx, client) = (cx.clone(), client.clone());
    Some(Box::pin(async move {
        let mut arrival = Arrival { hooks: &hooks, cx: &cx, client: &client, stays: false };
        // Whoever names another vhost behind connect is asked for that one, too.
        if step == Step::Connect || connects(&client) && !hooks.knows(&client) {
            hooks.question(&cx, &vhost, &client, Action::Connect).await?;
            hooks.enter(&client, !vhost.http_hooks.on_connect.is_empty());
        }
        let action = match step {
            Step::Connect => None,
            Step::Publish => Some(Action::Publish),
            Step::Play => Some(Action::Play),
        };
        if let Some(action) = action {
            hooks.question(&cx, &vhost, &client, action).await?;
        }
        arrival.stays = true;
        Ok(())
    }))
}

fn tell(cx: &Rc<Context>, event: &Event<'_>) {
    let hooks = cx.part::<Hooks>();
    match event {
        Event::Unpublished(client) => {
            hooks.ended(cx, Action::Unpublish, client);
            if is_input(client) {
                hooks.close(cx, client, 0, 0);
            }
        }
        Event::Stopped(client) => hooks.ended(cx, Action::Stop, client),
        Event::Closed { client, received, sent } => hooks.close(cx, client, *received, *sent),
        Event::Recorded { key, by, file } => {
            let Some(vhost) = vhost_of(cx, key, *by) else { return };
            let body = fields::recorded(key, by.map(|it| &**it), file);
            hooks.put(cx, &vhost, Action::Dvr, by.map_or(0, |client| client.id), body);
        }
        Event::Segment(segment) => {
            let Some(vhost) = vhost_of(cx, segment.key, segment.by) else { return };
            let body = fields::segment(segment);
            hooks.put(cx, &vhost, Action::Hls, segment.by.map_or(0, |client| client.id), body);
            notify::notify(&hooks, cx, &vhost, segment);
        }
    }
}

/// Clients that have a connect before they publish or play. Players over HTTP have none, as in SRS.
fn connects(client: &Client) -> bool {
    !matches!(client.kind, ClientKind::Unknown | ClientKind::HttpPlay)
}

/// Inputs that are not RTMP: their connection is over with their stream.
fn is_input(client: &Client) -> bool {
    matches!(client.kind, ClientKind::Input(_))
}

impl Hooks {
    fn enter(&self, client: &Rc<Client>, asked: bool) {
        let mut connections = self.connections.borrow_mut();
        let mut entries = connections.remove(client.id).unwrap_or_default();
        entries.retain(|entry| entry.client.key.vhost() != client.key.vhost());
        entries.push(Entry { client: client.clone(), asked });
        connections.insert(client.id, entries);
    }

    /// Whether hooks let the connection of `client` into its vhost.
    fn knows(&self, client: &Client) -> bool {
        let connections = self.connections.borrow();
        let mut entries = connections.get(client.id).into_iter().flatten();
        entries.any(|entry| entry.asked && entry.client.key.vhost() == client.key.vhost())
    }

    /// Asks all urls of `action`; the first that does not agree counts.
    async fn question(
        self: &Rc<Self>,
        cx: &Rc<Context>,
        vhost: &Rc<Vhost>,
        client: &Rc<Client>,
        action: Action,
    ) -> Result<(), Refusal> {
        let config = &vhost.http_hooks;
        let urls = action.urls(config);
        if urls.is_empty() {
            return Ok(());
        }
        let (desk, limit) = (self.desk(&vhost.name), config.timeout.0);
        // That it stopped to publish is to be known before it publishes again.
        within(limit, desk.has_told(client.id)).await;
        let body = fields::client(action, client);
        let mut question = Question { hooks: self, cx, client, action, settled: false };
        for url in urls {
            let Err(failure) = self.post(&desk, url, &body, limit).await else {
                log::debug!("{} ok, url={}", action.name(), shown(url));
                continue;
            };
            let open = config.fail_open && failure.is_silence();
            log::warn!(
                "{} {}, {failure}, url={}, request={body}. ret={}",
                action.name(),
                if open { "has no answer, go on" } else { "failed" },
                shown(url),
                failure.code()
            );
            if !open {
                question.settled = !failure.may_be_a_yes();
                let text = format!("{} was not allowed", action.name());
                return Err(Refusal::new(failure.code(), text));
            }
        }
        question.settled = true;
        Ok(())
    }

    /// One request. `limit` is for all of it.
    async fn post(
        &self,
        desk: &Desk,
        url: &str,
        body: &str,
        limit: Duration,
    ) -> Result<(), Failure> {
        let mut request = Request::post(url, "application/json", body)?;
        request.max_body = HOOK_REPLY;
        let start = clock::now();
        let slot = within(limit, self.gate.enter(&desk.requests)).await;
        let Some(_slot) = slot else {
            return Err(fetch::Error::TimedOut(limit, "behind others").into());
        };
        let waited = Duration::from_millis(clock::now().saturating_sub(start));
        request.timeout = limit.saturating_sub(waited);
        let reply = self.http.fetch(&request).await?;
        verdict::read(reply.head.status, &reply.body)
    }

    /// A client does no more what it was allowed.
    fn ended(self: &Rc<Self>, cx: &Rc<Context>, action: Action, client: &Rc<Client>) {
        self.put_for(cx, client, action, fields::client(action, client));
    }

    /// The connection of `client` is over, for each vhost that it was let into.
    fn close(self: &Rc<Self>, cx: &Rc<Context>, client: &Client, received: u64, sent: u64) {
        let entries = self.connections.borrow_mut().remove(client.id);
        for Entry { client, .. } in entries.into_iter().flatten() {
            let body = fields::closed(&client, received, sent);
            self.put_for(cx, &client, Action::Close, body);
        }
    }

    fn put_for(
        self: &Rc<Self>,
        cx: &Rc<Context>,
        client: &Rc<Client>,
        action: Action,
        body: String,
    ) {
        if let Some(vhost) = vhost_of(cx, &client.key, Some(client)) {
            self.put(cx, &vhost, action, client.id, body);
        }
    }

    /// Queues `body` for the urls of `action`, if there are any.
    fn put(
        self: &Rc<Self>,
        cx: &Rc<Context>,
        vhost: &Vhost,
        action: Action,
        client: u32,
        body: String,
    ) {
        let config = &vhost.http_hooks;
        if !config.enabled || action.urls(config).is_empty() {
            return;
        }
        let desk = self.desk(&vhost.name);
        let told = Told { client, action, body, config: config.clone() };
        let cost = told.cost();
        let queued = self.queued.get().saturating_add(cost);
        if queued > HOOK_QUEUE || desk.queued().saturating_add(cost) > HOOK_QUEUE_VHOST {
            let lost = desk.lose();
            if lost.is_power_of_two() {
                let name = action.name();
                log::warn!("{name} is not told, the server is too slow; {lost} so far");
            }
            return;
        }
        self.queued.set(queued);
        if desk.put(told) {
            cx.spawner.spawn(work(self.clone(), desk));
        }
    }

    /// Tells one event to all of its urls.
    async fn deliver(&self, desk: &Desk, told: &Told) {
        let limit = told.config.timeout.0;
        for url in told.action.urls(&told.config) {
            let Err(failure) = self.post(desk, url, &told.body, limit).await else {
                log::debug!("{} ok, url={}", told.action.name(), shown(url));
                continue;
            };
            let (name, code) = (told.action.name(), failure.code());
            log::warn!(
                "ignore {name} failed, {failure}, url={}, request={}. ret={code}",
                shown(url),
                told.body
            );
            // As SRS does.
            if matches!(told.action, Action::Dvr | Action::Hls) {
                return;
            }
        }
    }

    fn desk(&self, vhost: &str) -> Rc<Desk> {
        let mut desks = self.desks.borrow_mut();
        if let Some(desk) = desks.get(vhost) {
            return desk.clone();
        }
        let desk = Rc::new(Desk::default());
        desks.insert(vhost.to_owned(), desk.clone());
        desk
    }

    /// Vhosts that are no more.
    fn forget_others(&self, config: &Config) {
        let mut desks = self.desks.borrow_mut();
        desks.retain(|name, desk| config.block(name).is_some() || Rc::strong_count(desk) > 1);
    }

    fn is_idle(&self) -> bool {
        self.desks.borrow().values().all(|desk| desk.is_idle())
    }
}

/// The vhost of a stream as it is now; when it is no more, as it was for the client, who goes then.
fn vhost_of(cx: &Context, key: &StreamKey, client: Option<&Rc<Client>>) -> Option<Rc<Vhost>> {
    let now = cx.config().block(key.vhost()).cloned();
    now.or_else(|| client.map(|client| client.vhost.clone()))
}

/// Empties the queue of a vhost.
async fn work(hooks: Rc<Hooks>, desk: Rc<Desk>) {
    while let Some(told) = desk.next() {
        tank::traced(told.client, hooks.deliver(&desk, &told)).await;
        hooks.queued.set(hooks.queued.get().saturating_sub(told.cost()));
        desk.done(&told);
    }
}

/// Gives what is queued a moment before the process ends.
async fn finish(hooks: Rc<Hooks>) {
    let until = clock::after(HOOK_FLUSH);
    loop {
        // First of all: recordings and segments that were finished just now are to be told.
        sleep(Duration::from_millis(5)).await;
        if hooks.is_idle() {
            return;
        }
        if clock::now() >= until {
            let left: usize = hooks.desks.borrow().values().map(|desk| desk.len()).sum();
            log::warn!("hooks: {left} events are not told");
            return;
        }
    }
}

/// A client that is being asked for.
struct Arrival<'a> {
    hooks: &'a Rc<Hooks>,
    cx: &'a Rc<Context>,
    client: &'a Rc<Client>,
    stays: bool,
}

impl Drop for Arrival<'_> {
    /// Of a connection that did nothing before, and of an input, nobody hears that it is over.
    fn drop(&mut self) {
        let session = self.cx.sessions.find(self.client.id);
        let known = session.as_ref().is_some_and(|session| session.client().is_some());
        if !self.stays && (!known || is_input(self.client)) {
            let (received, sent) = session.map_or((0, 0), |session| session.traffic());
            self.hooks.close(self.cx, self.client, received, sent);
        }
    }
}

/// A question that is being asked.
struct Question<'a> {
    hooks: &'a Rc<Hooks>,
    cx: &'a Rc<Context>,
    client: &'a Rc<Client>,
    action: Action,
    /// What the answer is, is known.
    settled: bool,
}

impl Drop for Question<'_> {
    /// The client was ended meanwhile, or waited long enough: whoever may have said yes hears that
    /// it is over.
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let (cx, client) = (self.cx, self.client);
        let (action, body) = match self.action.end() {
            Action::Close => {
                let session = cx.sessions.find(client.id);
                let (received, sent) = session.map_or((0, 0), |session| session.traffic());
                (Action::Close, fields::closed(client, received, sent))
            }
            end => (end, fields::client(end, client)),
        };
        self.hooks.put_for(cx, client, action, body);
    }
}

#[cfg(test)]
mod tests;
