//! One RTMP connection: handshake, connect, then publish or play, as often as the client likes.

use crate::config::{Mode, Role};
use crate::context::Context;
use crate::hub::session::Kick;
use crate::hub::{Caller, Client, ClientKind, StreamKey};
use crate::io::link::{End, Link};
use crate::io::{clock, log as tank, run, tcp};
use crate::limits;
use crate::media::Decimal;
use crate::proto::Machine as _;
use crate::proto::rtmp::command::{Connect, Style};
use crate::proto::rtmp::server::{ConnectReply, Event, Note, Server};
use crate::proto::rtmp::{Error, url};
use crate::server::access::{self, Opened};
use crate::server::{play, publish};
use crate::service;
use crate::service::admission::{self, Refusal, Step};
use core::fmt::Display;
use core::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

/// How serving a stream ended.
#[derive(Debug)]
pub enum Outcome {
    /// The client may publish or play again.
    Again,
    /// The connection is over.
    End(End<Error>),
    /// The connection is over, and what the client is told of it is still to be sent.
    Told(End<Error>),
    /// The client is refused, and told so.
    Refused(Refusal),
    /// The client had all that it asked for, and is told so.
    Over(Refusal),
}

impl From<End<Error>> for Outcome {
    fn from(end: End<Error>) -> Self {
        Self::End(end)
    }
}

/// Serves one client to its end. `id` is the connection id, `peer` the client's address.
pub async fn serve(sock: tcp::Socket, id: u32, peer: IpAddr, cx: Rc<Context>) {
    log::info!("RTMP client ip={peer}");
    let session = cx.sessions.enter(id, peer);
    session.expect(clock::after(limits::HANDSHAKE_TIMEOUT), "handshake not finished");
    // The time that the handshake carries is only looked at by its owner.
    let machine = Server::new(clock::now() as u32);
    // Boxed: it moves between tasks, and a future keeps room for each place that it was at.
    let link = Box::new(Link::new(sock, machine, session));
    if let Err(e) = tcp::set_nodelay(link.socket(), true) {
        log::warn!("socket options: {e}");
    }
    let (mut link, outcome) = converse(link, &cx).await;
    admission::tell_closed(&cx, link.session());
    match outcome {
        Outcome::End(end) => say_why(&link, &end),
        Outcome::Told(end) => {
            say_why(&link, &end);
            if !link.machine.send_buf().is_empty() {
                link.close().await;
            }
        }
        Outcome::Refused(refusal) => {
            log::warn!("client refused, {refusal}");
            link.close().await;
        }
        Outcome::Over(over) => {
            log::info!("{over}");
            link.close().await;
        }
        Outcome::Again => {}
    }
    log::info!("client finished.");
}

/// The log's last word on a connection: `warn` when the peer is at fault, or nobody.
fn say_why(link: &Link<Server>, end: &End<Error>) {
    let (received, sent) = link.traffic();
    let code = match end {
        End::Closed | End::Io(_) => 1004,
        End::Protocol(e) => e.code(),
        End::Kicked(Kick::Timeout(_)) => 1011,
        End::Kicked(_) => 9001,
    };
    log::warn!("{end}. ret={code}, received={received}, sent={sent}");
}

/// What happens seldom is boxed: a future keeps room for each place that it was at.
async fn converse(mut link: Box<Link<Server>>, cx: &Rc<Context>) -> (Box<Link<Server>>, Outcome) {
    let mut connected: Option<Rc<Caller>> = None;
    loop {
        let event = match link.next().await {
            Ok(event) => event,
            Err(end) => {
                let outcome = tell(&mut link, end);
                return (link, outcome);
            }
        };
        let outcome = match (event, &connected) {
            (Event::Handshake(form), _) => {
                log::info!("{form} handshake success");
                expect(&link, limits::COMMAND_TIMEOUT, "no connect");
                continue;
            }
            (Event::Connect(connect), _) => {
                match Box::pin(accept(&mut link, cx, *connect)).await {
                    Ok(caller) => connected = Some(caller),
                    Err(outcome) => {
                        if let Outcome::Refused(refusal) = &outcome {
                            link.machine.refuse_connect(&refusal.text);
                        }
                        return (link, outcome);
                    }
                }
                expect(&link, limits::COMMAND_TIMEOUT, "neither publish nor play");
                continue;
            }
            (Event::Publish(request), Some(caller)) => {
                let opened = open(&link, cx, caller, &request.name, Role::Publish);
                log_identity(&request.style, &request.name, -1.0, &opened);
                let kind = match request.style {
                    Style::Fmle => ClientKind::FmlePublish,
                    Style::Flash => ClientKind::FlashPublish,
                    Style::Haivision => ClientKind::HaivisionPublish,
                };
                let outcome = match Box::pin(admit(&link, cx, caller, opened, kind)).await {
                    Ok((opened, client)) => {
                        let serve = publish::serve(link, cx.clone(), opened);
                        let task = tank::traced(tank::id(), serve);
                        let (back, outcome) = cx.spawner.urgent(task).await;
                        link = back;
                        admission::tell(cx, &admission::Event::Unpublished(&client));
                        outcome
                    }
                    Err(outcome) => outcome,
                };
                if let Outcome::Refused(refusal) = &outcome {
                    link.machine.refuse("NetStream.Publish.BadName", &refusal.text);
                }
                expect(&link, limits::REPUBLISH_TIMEOUT, "no publish after FCUnpublish");
                outcome
            }
            (Event::Play(request), Some(caller)) => {
                let opened = open(&link, cx, caller, &request.name, Role::Play);
                log_identity(&"Play", &request.name, request.duration, &opened);
                let kind = ClientKind::Play;
                let outcome = match Box::pin(admit(&link, cx, caller, opened, kind)).await {
                    Ok((opened, client)) => {
                        let none = Duration::ZERO;
                        admission::want(cx, &opened.key, &opened.vhost, caller, none);
                        let outcome =
                            Box::pin(play::serve(&mut link, cx, opened, request.duration)).await;
                        admission::tell(cx, &admission::Event::Stopped(&client));
                        outcome
                    }
                    Err(outcome) => outcome,
                };
                if let Outcome::Refused(refusal) = &outcome {
                    link.machine.refuse("NetStream.Play.Failed", &refusal.text);
                    link.machine.end("error", "NetStream.Play.Failed", &refusal.text);
                }
                expect(&link, limits::REPLAY_TIMEOUT, "no play after closeStream");
                outcome
            }
            (Event::Note(note), _) => {
                log_note(note);
                continue;
            }
            (Event::BufferLength(ms), _) => {
                log::debug!("client buffers {ms} ms");
                continue;
            }
            _ => continue,
        };
        if !matches!(outcome, Outcome::Again) {
            return (link, outcome);
        }
        link.hurry = true;
    }
}

/// Says to a client that is still there, and not inside a message of a stream, why it has to go.
pub(super) fn tell(link: &mut Link<Server>, end: End<Error>) -> Outcome {
    if !is_for_the_peer(&end) {
        return Outcome::End(end);
    }
    link.machine.fail(&end.to_string());
    Outcome::Told(end)
}

/// Whether the peer may be there to hear why it ended.
pub(super) fn is_for_the_peer(end: &End<Error>) -> bool {
    match end {
        End::Protocol(_) => true,
        End::Kicked(why) => *why != Kick::Shutdown,
        End::Closed | End::Io(_) => false,
    }
}

/// Who comes, for what. Of a name with parameters, the name.
fn log_identity(form: &dyn Display, name: &str, duration: f64, opened: &Result<Opened, Refusal>) {
    let (name, param) = match opened {
        Ok(opened) => (opened.key.stream(), opened.param.as_str()),
        Err(_) => (name, ""),
    };
    let comma = if param.is_empty() { "" } else { ", param=" };
    let duration = Decimal::new(duration, 2);
    log::info!(
        "client identified, type={form}, stream_name={name}, duration={duration}{comma}{param}"
    );
}

/// Logs what is odd about the client.
pub(super) fn log_note(note: Note) {
    let level = if note.is_warning() { log::Level::Warn } else { log::Level::Debug };
    log::log!(level, "{note}");
}

/// Answers connect, or says why not.
async fn accept(
    link: &mut Link<Server>,
    cx: &Rc<Context>,
    connect: Connect,
) -> Result<Rc<Caller>, Outcome> {
    let address = url::connection(&connect.tc_url).map_err(|e| Outcome::Refused(e.into()))?;
    log::info!(
        "connect app, tcUrl={}, pageUrl={}, swfUrl={}, schema={}, vhost={}, port={}, app={}, args={}",
        connect.tc_url,
        connect.page_url,
        connect.swf_url,
        address.schema,
        address.vhost,
        address.port,
        address.app,
        if connect.args.is_some() { "(obj)" } else { "null" }
    );
    if connect.args_dropped {
        log::warn!("ignore the argument of connect that is no object");
    }
    if connect.transaction != 1.0 {
        let transaction = Decimal::short(connect.transaction);
        log::warn!("connect has the transaction {transaction}, not 1");
    }
    if let Some(args) = &connect.args
        && let Some(version) = args.str("srs_version")
    {
        let text = |key| args.str(key).unwrap_or_default();
        let number = |key| Decimal::short(args.number(key).unwrap_or_default());
        log::info!(
            "edge-srs ip={}, version={version}, pid={}, id={}",
            text("srs_server_ip"),
            number("srs_pid"),
            number("srs_id")
        );
    }
    let config = cx.config();
    let mut caller = Caller {
        tc_url: connect.tc_url,
        page_url: connect.page_url,
        swf_url: connect.swf_url,
        args: Vec::new(),
    };
    // The vhost may be named with the stream only.
    if let Some(args) = &connect.args
        && config.vhosts.iter().any(|vhost| vhost.cluster.mode == Mode::Remote)
        && !caller.keep(args)
    {
        log::warn!("the argument of connect is longer than {} bytes", limits::CONNECT_ARGS);
    }
    let caller = Rc::new(caller);
    let vhost = config.vhost(&address.vhost);
    if let Some(vhost) = vhost {
        let client = Rc::new(Client {
            id: link.session().id(),
            ip: link.session().peer(),
            kind: ClientKind::Unknown,
            vhost: vhost.clone(),
            key: StreamKey::new(&vhost.name, &address.app, ""),
            param: address.param,
            caller: caller.clone(),
            since: clock::now(),
        });
        link.session().relax();
        link.unless_kicked(admission::ask(cx, &client, Step::Connect))
            .await?
            .map_err(Outcome::Refused)?;
        link.session().set_client(client);
    }
    let server_ip = link.socket().local_addr().map(|a| tcp::plain(a.ip()).to_string());
    let reply = ConnectReply {
        server_ip: server_ip.unwrap_or_default(),
        pid: run::process_id(),
        id: link.session().id(),
        window_ack: vhost.map_or(2_500_000, |v| v.out_ack_size),
        in_ack_size: vhost.map_or(0, |v| v.in_ack_size),
        chunk_size: vhost.map_or(config.chunk_size, |v| v.chunk_size),
        ..ConnectReply::default()
    };
    let client = link.session().client();
    if let Some((client, converse)) = client.zip(vhost.and_then(|v| service::converse(v))) {
        return Err(match converse(&client, &reply, link).await? {
            Ok(()) => Outcome::Over(Refusal::new(0, "the client has had its answer")),
            Err(refusal) => Outcome::Refused(refusal),
        });
    }
    link.machine.accept_connect(&reply);
    Ok(caller)
}

/// Asks whether the client may have what was opened. From then on it is known as such.
async fn admit(
    link: &Link<Server>,
    cx: &Rc<Context>,
    caller: &Rc<Caller>,
    opened: Result<Opened, Refusal>,
    kind: ClientKind,
) -> Result<(Opened, Rc<Client>), Outcome> {
    let opened = opened.map_err(Outcome::Refused)?;
    let client = Rc::new(Client {
        id: link.session().id(),
        ip: link.session().peer(),
        kind,
        vhost: opened.vhost.clone(),
        key: opened.key.clone(),
        param: opened.param.clone(),
        caller: caller.clone(),
        since: clock::now(),
    });
    let step = if client.publishes() { Step::Publish } else { Step::Play };
    link.session().relax();
    link.unless_kicked(admission::ask(cx, &client, step)).await?.map_err(Outcome::Refused)?;
    link.session().set_client(client.clone());
    Ok((opened, client))
}

/// What both sides agreed on, once a stream flows.
pub(super) fn log_protocol(link: &Link<Server>) {
    let machine = &link.machine;
    let (in_ack, out_ack) = machine.windows();
    log::info!(
        "protocol in.buffer={}, in.ack={in_ack}, out.ack={out_ack}, in.chunk={}, out.chunk={}",
        limits::READ_BUF,
        machine.in_chunk_size(),
        machine.out_chunk_size()
    );
}

fn open(
    link: &Link<Server>,
    cx: &Context,
    caller: &Caller,
    name: &str,
    role: Role,
) -> Result<Opened, Refusal> {
    access::open(&cx.config(), caller, name, role, link.session().peer())
}

fn expect(link: &Link<Server>, within: Duration, what: &'static str) {
    link.session().expect(clock::after(within), what);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::media::{Kind, Packet};
    use crate::proto::rtmp::client::{self, Client, Role};
    use core::net::{Ipv4Addr, SocketAddr};
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;

    /// Plays until the server says why it ends, or just ends; tells that and the bytes of media.
    fn play(address: SocketAddr, reads: &Receiver<()>) -> (Option<client::Status>, usize) {
        let role = Role::Play { stream: "s".into(), start: -2.0, buffer_ms: 100 };
        let mut machine = Client::new(client::Config::new("rtmp://127.0.0.1/live", "live", role));
        let mut socket = TcpStream::connect(address).unwrap();
        let mut media = 0;
        let mut input = [0; 4096];
        loop {
            while !machine.send_buf().is_empty() {
                let sent = socket.write(machine.send_buf()).unwrap();
                machine.send_done(sent);
            }
            let n = socket.read(&mut input).unwrap_or(0);
            let mut rest = &input[..n];
            loop {
                match machine.receive(&mut rest).unwrap() {
                    Some(client::Event::Refused(status)) => return (Some(*status), media),
                    Some(client::Event::Packet(packet)) => media += packet.payload.len(),
                    // From here on it reads when it may.
                    Some(client::Event::Started) => reads.recv().unwrap(),
                    Some(_) => {}
                    None => break,
                }
            }
            if n == 0 {
                return (None, media);
            }
        }
    }

    /// Ends a player that a key frame of `len` bytes was sent to, which it does not read before.
    fn kicked(why: Kick, len: usize) -> (Option<client::Status>, usize) {
        run::run(move |spawner| async move {
            let text = b"listen 1; vhost __defaultVhost__ { min_latency on; }";
            let cx = Context::new(config::load(text).unwrap().config, false, spawner);
            let listener = tcp::listen(Some(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
            let address =
                SocketAddr::from((Ipv4Addr::LOCALHOST, listener.address().unwrap().port()));
            let (read, reads) = channel();
            let player = thread::spawn(move || play(address, &reads));
            let (socket, peer) = listener.accept().await.unwrap();
            let task = serve(socket, 100, peer, cx.clone());
            let size = size_of_val(&task);
            assert!(size <= 1024, "each connection costs {size} bytes of it");
            cx.spawner.spawn(task);
            while cx.hub.sources().is_empty() {
                run::sleep(Duration::from_millis(1)).await;
            }
            let source = cx.hub.sources().remove(0);
            let settings = source.settings();
            let mut publisher = cx.hub.publish(source.key(), settings, 101, false).unwrap();
            let mut payload = vec![0x17, 1, 0, 0, 0];
            payload.resize(len, 7);
            publisher.push(Packet::new(Kind::Video, 0, payload.into()), clock::now()).unwrap();
            publisher.flush();
            run::sleep(Duration::from_millis(100)).await;
            cx.sessions.kick_all(why);
            run::sleep(Duration::from_millis(100)).await;
            read.send(()).unwrap();
            while !player.is_finished() {
                run::sleep(Duration::from_millis(1)).await;
            }
            player.join().unwrap()
        })
        .unwrap()
    }

    #[test]
    fn a_player_that_is_ended_between_packets_is_told_why() {
        for (why, text) in [
            (Kick::Operator, "kicked by the operator"),
            (Kick::Timeout("it was late"), "timeout, it was late"),
        ] {
            let (status, media) = kicked(why, 1000);
            let status = status.expect("it is told");
            assert_eq!((&*status.code, &*status.description), ("NetStream.Play.Failed", text));
            assert_eq!((&*status.level, media), ("error", 1000));
        }
        assert_eq!(kicked(Kick::Shutdown, 1000), (None, 1000), "there is no time for more");
    }

    #[test]
    fn a_player_that_is_ended_inside_a_packet_gets_nothing_that_is_out_of_step() {
        assert_eq!(kicked(Kick::Operator, limits::MESSAGE_MAX), (None, 0));
    }
}
