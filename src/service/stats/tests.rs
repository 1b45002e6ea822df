use super::*;
use crate::config::Vhost;
use crate::hub::{Caller, ClientKind};
use crate::service::admission;
use crate::service::ingress::Ingress;
use core::net::{IpAddr, Ipv4Addr};

fn with_context(test: impl FnOnce(&Rc<Context>) + 'static) {
    run::run(|spawner| async move { test(&Context::new(Config::builtin(), false, spawner)) })
        .unwrap();
}

fn key(name: &str) -> StreamKey {
    StreamKey::new("__defaultVhost__", "live", name)
}

/// A connection that does something with the stream `name`.
fn client(cx: &Context, id: u32, name: &str, kind: ClientKind) -> Rc<Session> {
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let session = cx.sessions.enter(id, ip);
    session.set_client(Rc::new(Client {
        id,
        ip,
        kind,
        vhost: Rc::new(Vhost::default()),
        key: key(name),
        param: String::new(),
        caller: Rc::new(Caller::default()),
        since: 0,
    }));
    session
}

fn look(cx: &Context) -> Rc<Stats> {
    let stats = of(cx);
    stats.looked.set(None);
    stats.look(cx);
    stats
}

#[test]
fn bytes_of_connections_count_once_while_they_live_and_after() {
    with_context(|cx| {
        let publisher = client(cx, 1, "a", ClientKind::FmlePublish);
        publisher.count(1000, 50);
        let player = client(cx, 2, "a", ClientKind::HttpPlay);
        player.count(10, 700);
        let row = look(cx).stream_of(cx, &key("a")).unwrap();
        assert_eq!((row.bytes.received, row.bytes.sent, row.clients), (1010, 750, 2));
        player.count(0, 300);
        admission::tell_closed(cx, &player);
        // It is still told why, or lingers.
        assert_eq!(look(cx).stream_of(cx, &key("a")).unwrap().clients, 1);
        admission::tell_closed(cx, &player);
        drop(player);
        publisher.count(500, 0);
        let stats = look(cx);
        let row = stats.stream_of(cx, &key("a")).unwrap();
        assert_eq!((row.bytes.received, row.bytes.sent, row.clients), (1510, 1050, 1));
        let all = stats.process(cx);
        assert_eq!((all.received, all.sent), (1510, 1050));
        let vhost = &stats.vhosts(cx)[0];
        assert_eq!((vhost.bytes.received, vhost.bytes.sent), (1510, 1050));
        assert_eq!((vhost.clients, vhost.streams), (1, 1));
        assert!(stats.book.borrow().counted.len() == 1);
    });
}

#[test]
fn a_connection_with_one_stream_after_another_counts_for_each() {
    with_context(|cx| {
        let session = client(cx, 1, "a", ClientKind::FmlePublish);
        session.count(100, 0);
        tell(cx, &Event::Unpublished(&session.client().unwrap()));
        let mut next = Client::clone(&session.client().unwrap());
        next.key = key("b");
        session.set_client(Rc::new(next));
        session.count(7, 0);
        let stats = look(cx);
        assert_eq!(stats.stream_of(cx, &key("a")).unwrap().bytes.received, 100);
        assert_eq!(stats.stream_of(cx, &key("b")).unwrap().bytes.received, 7);
    });
}

#[test]
fn a_publisher_that_is_no_connection_counts_by_its_packets() {
    with_context(|cx| {
        let vhost = cx.config().vhosts[0].clone();
        let mut ingress = Ingress::open(cx, &key("demo"), &vhost, 9).unwrap();
        for _ in 0..3 {
            let packet = Packet::new(Kind::Video, 0, vec![0x17, 1, 0, 0, 0].into());
            ingress.take(packet).unwrap();
        }
        let stats = look(cx);
        let row = stats.stream_of(cx, &key("demo")).unwrap();
        assert_eq!((row.frames, row.bytes.received, row.active, row.publisher), (3, 15, true, 9));
        assert_eq!(row.shape.video.map(|video| video.codec), Some("H264"));
        assert_eq!(stats.process(cx).received, 15);
        drop(ingress);
        let row = look(cx).stream_of(cx, &key("demo")).unwrap();
        assert_eq!((row.active, row.publisher, row.shape), (false, 9, Shape::default()));
        assert_eq!((row.frames, row.bytes.received), (3, 15), "they stay");
    });
}

#[test]
fn ids_begin_at_the_server_and_never_come_again() {
    with_context(|cx| {
        let stats = of(cx);
        assert_eq!(stats.server(), run::process_id());
        let first = client(cx, 1, "a", ClientKind::Play);
        let (vhost, a) = stats.ids(&first.client().unwrap());
        let second = client(cx, 2, "b", ClientKind::Play);
        let (same, b) = stats.ids(&second.client().unwrap());
        assert_eq!((vhost, same, a, b), (stats.server() + 1, vhost, vhost + 1, vhost + 2));
        assert_eq!(stats.stream(cx, b).unwrap().key, key("b"));
        assert!(stats.stream(cx, b + 1).is_none());
    });
}

#[test]
fn of_too_many_streams_the_one_idle_for_longest_is_forgotten() {
    with_context(|cx| {
        let live = client(cx, 1, "live", ClientKind::Play);
        let stats = look(cx);
        let mut first = 0;
        for number in 0..STREAMS_KNOWN + MAX_STREAMS + 20 {
            let mut book = stats.book.borrow_mut();
            let stream = book.stream(&key(&number.to_string()));
            (stream.used, stream.clients) = (number as u64 / 1000, 0);
            first = if number == 0 { stream.id } else { first };
            assert!(book.streams.len() <= STREAMS_KNOWN + MAX_STREAMS);
        }
        while clock::now() <= (STREAMS_KNOWN + MAX_STREAMS) as u64 / 1000 + 1 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let stats = look(cx);
        assert_eq!(stats.streams_known(cx), STREAMS_KNOWN + 1);
        assert!(stats.stream(cx, first).is_none());
        assert!(
            stats.stream_of(cx, live.client().map(|c| c.key.clone()).as_ref().unwrap()).is_some()
        );
        let (rows, ..) = stats.liveliest(cx, 3);
        assert_eq!(rows.len(), 3);
    });
}
