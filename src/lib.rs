//! runnel, a live-streaming server for small boards: RTMP streams come in, and go out to many
//! players, with every buffer bounded.
//!
//! # Layers
//!
//! A module uses those to its left and none to its right; `tests/tidy.rs` holds the tree to it.
//!
//! ```text
//! limits  media  config | codec | format  proto | hub | io | context  service | server | main
//! └───────────────── pure: no runtime, socket, file, clock ┘
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`limits`] | every bound: a number with a name, what it costs, what happens when it is reached |
//! | [`media`] | what travels: [`Packet`](media::Packet), its memory ([`media::arena`]), its time |
//! | [`config`] | the configuration language and every directive, declared once each |
//! | [`codec`] | what sequence headers say: H.264, HEVC, AAC |
//! | [`mod@format`] | containers and manifests: FLV, MPEG-TS, M3U8, the boxes of HDS |
//! | [`proto`] | protocols as machines without I/O: bytes in, events and bytes out |
//! | [`hub`] | who gets which packet: sources, cursors, sinks, the registry of connections |
//! | [`io`] | sockets, the reactor, timers, the log, signals: the only place that names them |
//! | [`context`] | what is handed to services: hub, connections, configuration |
//! | [`service`] | what can be left out of an image, one folder or file a feature |
//! | [`server`] | the process: command line, first screen, listening, one RTMP connection |
//!
//! # The way of a packet
//!
//! One thread does all of this; the tasks that a packet touches are its publisher's and its
//! players'. There are no channels, no locks, and no allocation per packet or per player.
//!
//! 1. [`io::link`] reads from the publisher's socket into the thread's one read buffer.
//! 2. [`proto::rtmp::chunk`] takes the chunk headers apart and copies the payload into a block of
//!    the publisher's [`Arena`](media::arena::Arena). A complete message becomes a
//!    [`Packet`](media::Packet); its first bytes say what it is (`media::classify`).
//! 3. [`hub::Publisher::push`] shows it to the stream's [sinks](hub::Sink) and appends it to the
//!    stream's [ring](hub::ring). Sequence headers and metadata are kept beside the ring.
//! 4. When the merge interval is over, [`hub::Publisher::flush`] makes what came in visible to
//!    players and wakes them all.
//! 5. [`io::player`] has [`hub::Consumer::send`] lay out the visible packets as they go on the
//!    wire ([`proto::framing`]): once for all players that stand at the same packet
//!    ([`hub::images`]); each player writes its own timestamps in and sends it with one `write`.
//!
//! A new player starts at the newest key frame in the ring: that is the GOP cache. The ring keeps
//! what is younger than that, and what the slowest player still needs, within its bounds. A player
//! that falls behind goes on at the newest key frame.
//!
//! # Where things go
//!
//! * A new output that reads streams: a folder in [`service`], one line in
//!   [`service::SERVICES`], a cargo feature. It gets packets as a [`hub::Sink`], or as a player
//!   through [`io::player`] with a [`proto::framing::Framing`] of its own. The hub is not touched.
//! * A form that costs something to make (TS, AAC, MP3) is made once a stream: a sink pushes into
//!   a *derived* source ([`StreamKey::derived`](hub::StreamKey::derived)), and its players have
//!   cursors there. The sink goes with the last of them.
//! * What goes to a file goes through the disk thread ([`io::disk`]), which only takes what fits
//!   its queue: a card that stalls holds up nobody.
//! * A new HTTP path: the `routes` of a service, `api_routes` on the port of the API; its handler
//!   gives a reply, a file, or takes the connection over.
//! * A new figure to be told: `service::stats`, from where the API, the page, `/metrics` and the
//!   heartbeat have theirs.
//! * A new input: a machine in [`proto`], a task that pushes into a
//!   [`service::ingress::Ingress`], which does for every input what an RTMP publisher gets. Where
//!   the protocol is not RTMP, `service::input::Feed` stands in front: it asks, puts times right,
//!   and keeps the state of the input for those that list it.
//! * Who may, and who is told: [`service::admission`]. Every way in and out asks the services
//!   before it promises anything, and tells them what happened.
//! * A reload compares the vhosts: services whose part differs ([`Service`](service::Service))
//!   begin anew with a live stream, and everybody else goes on as if nothing had happened.
//! * What turns to other servers: [`io::connect`] for a connection by name (`srv:` names too),
//!   `io::fetch` for HTTP. Neither blocks the thread; both end when they are dropped.
//! * A tool that is this program under another name: the `applet` of a service.
//! * A new directive: one line in the `section!` it belongs to ([`config`]); `conf/full.conf` is
//!   generated from it.
//! * A new bound: [`limits`], and in `boards/*.toml` when it depends on the board.
//!
//! # What differs from the usual
//!
//! * *The reactor is ours* ([`io`]): sockets belong to one thread and are registered once. With
//!   the shared one of async-io a publisher's packet took ten system calls; it serves signals.
//! * *Publishers go ahead of players*: two executors, so that what came in while players are
//!   being served goes out with the same writes.
//! * *`mw_latency auto`*: the merge interval follows the load of the thread ([`io::load`]).
//! * *A half-sent message that leaves the ring is copied* for its player, within
//!   [`limits::STALLED_BYTES`], where others cut the connection.
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | vhost, app, stream; [`StreamKey`](hub::StreamKey) | the address of a live stream |
//! | [`Source`](hub::Source) | a live stream in the hub |
//! | [`Publisher`](hub::Publisher) | the right to send into a source, one at a time |
//! | [`Consumer`](hub::Consumer) | a cursor into a source; a *player* is a client that has one |
//! | [`Sink`](hub::Sink) | an inline receiver: HLS, DVR |
//! | [`Service`](service::Service) | an optional feature |
//! | [`Client`](hub::Client) | who publishes or plays, as hooks and the API know it |
//! | [`Ingress`](service::ingress::Ingress) | a stream that comes in, wherever from |
//! | [`Packet`](media::Packet) | one RTMP message, one FLV tag |
//! | headers | metadata and codec sequence headers, which a player must have first |
//! | [`Ring`](hub::ring::Ring), [`Seq`](hub::ring::Seq), join | history, a place in it, where to start |
//! | [`Image`](proto::framing::Image) | a run of packets laid out for the wire |
//! | [`Arena`](media::arena::Arena), block | a publisher's memory |
//! | csid, msid | chunk stream id, message stream id |
//! | dts, pts, cts | decode time, presentation time, their difference |
//! | merged write, merged read | several packets a system call (`mw_latency`, `mr`) |
//! | origin, edge, forward, ingest, transcode, caster, hooks, refer | as in SRS |

#![forbid(unsafe_code)]

pub mod codec;
pub mod config;
pub mod context;
pub mod format;
pub mod hub;
pub mod io;
pub mod limits;
pub mod media;
pub mod proto;
pub mod server;
pub mod service;
