//! Every bound of the server: a number with a name, what it costs, what happens when it is reached.
//! Those that depend on the board come from `boards/<board>.toml`.

mod check;
mod line;

use std::time::Duration;

/// The numbers of the board, from `boards/<board>.toml`, and what is in the image.
#[allow(dead_code, missing_docs, unreachable_pub)]
mod board {
    include!(concat!(env!("OUT_DIR"), "/limits.rs"));
}

/// The board this image is made for.
pub const BOARD: &str = board::BOARD;
/// The memory that the process may take on this board, in bytes. Limits whose worst case is more do
/// not build.
pub const MEMORY: usize = board::MEMORY;

/// Streams at once. Costs about 700 bytes each before any media, [`STREAM_BYTES`] at most beside
/// it. One more publish or play of an
/// unknown name is refused.
pub const MAX_STREAMS: usize = board::MAX_STREAMS;
/// Connections at once, whatever `max_connections` says. Costs less than 4 KB each when the peer
/// behaves, [`CLIENT_BYTES`] when it does its worst; the kernel's socket buffers are not counted.
/// One more is closed at accept.
pub const MAX_CLIENTS: usize = board::MAX_CLIENTS;
/// Bytes of media in memory, all streams together; of blocks that come back [`MEDIA_KEPT`] more
/// are kept for the next stream. A publisher that needs a block when none is
/// left is dropped.
pub const MEDIA_POOL: usize = board::MEDIA_POOL;
/// Bytes of media that one stream keeps. The oldest packet leaves, the GOP cache included.
pub const RING_BYTES: usize = board::RING_BYTES;
/// Packets that one stream keeps, [`PACKET_BYTES`] each beside their payload. The oldest packet leaves.
pub const RING_PACKETS: usize = board::RING_PACKETS;
/// The longest audio, video or data message. A longer one ends the publisher's connection.
pub const MESSAGE_MAX: usize = board::MESSAGE_MAX;
/// Bytes of metadata as players get it, and of each sequence header. They are kept with the stream,
/// and a player that stalls in them has a copy. Longer metadata is left out, a longer sequence
/// header ends the publisher's connection.
pub const HEADER_MAX: usize = 16 * 1024;
/// Bytes kept, all streams together, for players that stopped reading in the middle of a message
/// that has left the ring; those that stand in the same one share it. A player for whose message
/// there is no room is dropped.
pub const STALLED_BYTES: usize = board::STALLED_BYTES;
/// `SO_SNDBUF` of a player's socket (the kernel doubles it): without it autotuning takes
/// megabytes. When it is full the player lags in the ring.
pub const SNDBUF: usize = board::SNDBUF;

/// The buffer that all reads of the thread go through, once a thread.
pub const READ_BUF: usize = 64 * 1024;
/// A command or control message; before publish any message. A longer one ends the connection.
pub const CONTROL_MAX: usize = 4 * 1024;
/// A message of the client whose bandwidth is measured, of whom there is one at a time; its messages
/// grow while it is fast. A longer one ends the connection.
pub const CALL_MAX: usize = 128 * 1024;
/// Bytes of replies due to a peer that does not read them. More ends the connection.
pub const CONTROL_OUT_MAX: usize = 16 * 1024;
/// Bytes of media due to a server that this one publishes to through `rtmp::Client`. A packet for
/// which there is no room is not taken.
pub const CLIENT_OUT_MAX: usize = MESSAGE_MAX + 64 * 1024;
/// Chunk streams a connection, about 80 bytes each, allocated when used. One more ends it.
pub const CHUNK_STREAMS: usize = 16;
/// The smallest chunk size that a peer may set; a smaller one ends its connection.
pub const CHUNK_SIZE_MIN: usize = 128;
/// The largest one, that of the standard; a larger one ends the connection. It costs nothing, as
/// messages are bounded by [`MESSAGE_MAX`]; above 65536 the log has a warning.
pub const CHUNK_SIZE_MAX: usize = 0x7fff_ffff;
/// Objects and arrays inside one another in AMF0. One more makes the message invalid.
pub const AMF_DEPTH: usize = 8;
/// Values in one AMF0 message. One more makes the message invalid.
pub const AMF_VALUES: usize = 256;
/// Bytes of a vhost, an app or a stream name. A longer one is refused, never cut.
pub const NAME_MAX: usize = 256;
/// Bytes of a tcUrl, a pageUrl or a swfUrl. A longer one is refused.
pub const URL_MAX: usize = 2 * 1024;
/// Bytes that a client may add to `connect` for the origin of an edge. More is not passed on, and logged.
pub const CONNECT_ARGS: usize = 1024;
/// Payload and headers of one merged write, built once a thread and shared by all players that
/// stand at the same packet. A message that is longer by itself makes the buffer grow to
/// [`MESSAGE_MAX`] and its chunk headers.
pub const IMAGE_BYTES: usize = 64 * 1024;
/// Packets in one merged write.
pub const IMAGE_PACKETS: usize = 128;
/// Bytes of log lines that wait for a console or a file that stalls. Lines beyond are dropped
/// and counted.
pub const LOG_QUEUE: usize = 64 * 1024;
/// For the lines of a start, which nobody waits for yet, to find room there, all together; then
/// they are dropped like others.
pub const LOG_START: Duration = Duration::from_secs(2);
/// The longest log line, its line end included; the rest is cut.
pub const LOG_LINE: usize = 4096;
/// Bytes of the head of an HTTP request, kept while it comes in, and its lines until it is answered;
/// of a player only until it starts. A longer one is refused (431), and so is a client that sent
/// more requests than that ahead of their answers. The same for the head of a reply to a request of
/// our own; with a longer one it fails.
pub const HTTP_HEAD: usize = 8 * 1024;
/// Header lines of an HTTP request. One more is refused (431).
pub const HTTP_HEADERS: usize = 64;
/// Bytes of a request's body that nobody wants, read so that the connection can be used again.
/// More ends it after the answer.
pub const HTTP_UNWANTED: usize = 64 * 1024;
/// Bytes of a body that a service has in memory at once, unless it says less. A longer one is
/// refused (413).
pub const HTTP_BODY: usize = 64 * 1024;
/// Bytes of a host name (RFC 1035 §2.3.4). A longer one is refused.
pub const DNS_NAME: usize = 253;
/// Bytes of an answer of a name server, kept while it is read. The rest of a longer one is cut, and
/// with it the answer is refused.
pub const DNS_PACKET: usize = 4096;
/// Records of an answer, about 80 bytes each while it is read. The others do not count.
pub const DNS_RECORDS: usize = 64;
/// Addresses of a host that are tried, 32 bytes each. The others are not.
pub const DNS_ADDRESSES: usize = 8;
/// Hosts of a service (SRV) that are tried, each looked up when it is its turn. The others are not.
pub const DNS_HOSTS: usize = 8;
/// Name servers and search domains that are used, of `/etc/resolv.conf`. The others are not.
pub const DNS_SERVERS: usize = 3;
/// Bytes of `/etc/hosts` and `/etc/resolv.conf` that are looked at, kept meanwhile.
pub const DNS_FILE: usize = 64 * 1024;
/// For the answer of a name server; then it is the next one's turn. `options timeout:` in
/// `/etc/resolv.conf` says otherwise.
pub const DNS_TIMEOUT: Duration = Duration::from_secs(2);
/// How often each name server is asked. `options attempts:` says otherwise.
pub const DNS_ATTEMPTS: u32 = 3;
/// For IPv6 addresses when those for IPv4 are here, and the other way round: there are name servers
/// that do not answer for both.
pub const DNS_OTHER: Duration = Duration::from_millis(500);
/// From one attempt to connect to the next address of the same host, which does not end the first
/// (RFC 8305 §5).
pub const CONNECT_STAGGER: Duration = Duration::from_millis(250);
/// Whether the text of every directive is in this image.
pub const REFERENCE: bool = board::HAS_REFERENCE;
/// Whether TLS is in this image.
pub const TLS: bool = board::HAS_TLS;
/// Bytes of a TLS connection that are encrypted and not with the kernel yet; more is taken when these
/// are.
pub const TLS_OUT: usize = 32 * 1024;
/// Bytes that are read at once from a TLS connection, through one buffer of the thread.
pub const TLS_IN: usize = 40 * 1024;
/// The most that TLS has of a connection: what waits to be sent, a message of the handshake or some
/// records of what comes, the certificates of the server (64 KB each, RFC 8446 §4), keys. Servers as
/// they are cost about 35 KB.
pub const TLS_BYTES: usize = TLS_OUT + 2 * 64 * 1024 + 2 * 16 * 1024 + 16 * 1024;
/// Connections over TLS at once, [`TLS_BYTES`] each at most beside what they cost without. One more
/// is not made, which is told as any server is that cannot be reached.
pub const TLS_CONNECTIONS: usize = match MAX_CLIENTS / 8 {
    0..8 => 8,
    some @ 8..1024 => some,
    _ => 1024,
};
/// Bytes of the file with the certificates of authorities; they are kept, some 100 KB those of a
/// system. A longer one is not read, and no connection over TLS is made.
pub const TLS_CA_FILE: usize = 512 * 1024;
/// Servers with which the next handshake is a short one, some KB each, 128 KB if they do their worst.
/// The one that was heard of the longest time ago is forgotten.
pub const TLS_SESSIONS: usize = 8;
/// HTTP requests of one service at once, a descriptor each (three while a name is looked up) and
/// [`FETCH_BYTES`] at most. The next one waits, within its time.
pub const FETCHES: usize = 16;
/// The most that an HTTP request of our own has in memory, with a body of the reply of
/// [`HTTP_BODY`]: its task, the reply's head and lines, a read of the body.
pub const FETCH_BYTES: usize = 8 * 1024 + 2 * HTTP_HEAD + READ_BUF + HTTP_BODY;
/// Connections to HTTP servers that a service keeps for its next request, a descriptor each. The
/// oldest one is closed.
pub const FETCH_KEPT: usize = 8;
/// For an HTTP request of our own from its begin to its end, unless its maker says otherwise.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// For how long such a connection is used again.
pub const FETCH_IDLE: Duration = Duration::from_secs(30);
/// For the answer of an RTMP server that we connect to: to connect, and to each step after that. Then
/// it is the next one's turn.
pub const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(3);
/// For all names that one attempt to reach an RTMP server has to look up. Then it failed.
pub const UPSTREAM_NAMES: Duration = Duration::from_secs(5);
/// An origin that is silent for so long while its stream is played is left for the next one.
pub const UPSTREAM_SILENCE: Duration = Duration::from_secs(3);
/// The first pause before an origin is tried again, when all have failed.
pub const UPSTREAM_RETRY: Duration = Duration::from_secs(1);
/// A server that takes no byte of a stream for so long, while some are due, is left; so is one that
/// acknowledges none of what the kernel has sent.
pub const UPSTREAM_STALL: Duration = Duration::from_secs(10);
/// Servers that a stream is passed on to; each is a connection, [`CLIENT_BYTES`] at most. The others are
/// not used, and logged.
pub const FORWARDS: usize = 32;
/// The same for all streams together. One more is not begun, and logged.
pub const FORWARDS_ALL: usize = MAX_CLIENTS / 4;
/// Streams that an edge fetches because somebody asked for a playlist of them, and that never came; a
/// connection each. One more is not fetched before one of them is given up or comes.
pub const PULLS_UNSEEN: usize = if MAX_STREAMS < 64 { MAX_STREAMS } else { 64 };
/// A stream that is fetched and of which nothing came for so long is not published here any more.
pub const UPSTREAM_LOST: Duration = Duration::from_secs(10);
/// A server that could not be reached is tried after all others for so long.
pub const UPSTREAM_DOWN: Duration = Duration::from_secs(10);
/// Servers that are remembered as such, about 100 bytes each. With more all are forgotten.
pub const UPSTREAMS_DOWN: usize = 64;
/// When a publisher stops: for what is left to be sent to the server that its stream is passed on to.
pub const UPSTREAM_DRAIN: Duration = Duration::from_secs(10);
/// An origin that refuses a publisher's stream for so long after it was lost ends the publisher.
pub const UPSTREAM_REFUSES: Duration = Duration::from_secs(30);
/// An edge fetches a stream for so long after a playlist of it was asked for, or for three segments.
pub const PLAYLIST_HOLD: Duration = Duration::from_secs(30);
/// A playlist that an edge does not have yet is waited for so long.
pub const PLAYLIST_WAIT: Duration = Duration::from_secs(20);
/// HTTP requests of the hooks of one vhost at once, of [`FETCHES`]. The next one waits, within its
/// time; so a server that is dead leaves some for those of other vhosts.
pub const HOOK_REQUESTS_VHOST: usize = FETCHES / 4 * 3;
/// Reports of `heartbeat` at once. The next one is made when this one is answered or too late.
pub const HEARTBEATS: usize = 1;
/// Bytes of the body of a hook's reply. A longer one is no answer.
pub const HOOK_REPLY: usize = 16 * 1024;
/// Bytes of events that wait to be told to hooks, some 500 each. The newest one is not told; that
/// is counted and logged.
pub const HOOK_QUEUE: usize = 256 * 1024;
/// The same for one vhost.
pub const HOOK_QUEUE_VHOST: usize = HOOK_QUEUE / 4 * 3;
/// Fetches of on_hls_notify at once, a descriptor each (three while a name is looked up) and
/// [`FETCH_BYTES`] at most. One more is left out; that is counted and logged.
pub const HOOK_NOTIFIES: usize = 8;
/// The same for one vhost.
pub const HOOK_NOTIFIES_VHOST: usize = HOOK_NOTIFIES / 4 * 3;
/// For each of them, from its begin to the last byte that is read.
pub const HOOK_NOTIFY_TIMEOUT: Duration = Duration::from_secs(10);
/// For what is queued to be told when the server stops. The rest is not told, and counted.
pub const HOOK_FLUSH: Duration = Duration::from_secs(2);
/// Streams in the list of the page at `/`, some 300 bytes each in an answer. The others are counted.
pub const STREAMS_LISTED: usize = 200;
/// Bytes of JSON that is read. More is refused.
pub const JSON_IN: usize = 64 * 1024;
/// Objects and lists inside one another in JSON that is read. One more is refused.
pub const JSON_DEPTH: usize = 16;
/// Streams that statistics know beside those that are live, [`KNOWN_BYTES`] each at most. The one that was
/// live the longest time ago is forgotten, with its bytes; those of the vhost and the process stay.
pub const STREAMS_KNOWN: usize = MAX_STREAMS;
/// Streams or clients in one answer of the API, some 500 bytes each. More are asked for with
/// `start`.
pub const API_LISTED: usize = 500;
/// Bytes of answers of the API that clients have not taken yet, those above [`API_SMALL`]. One more
/// is refused (503).
pub const API_OUT: usize = 2 << 20;
/// Bytes of an answer of the API that count as part of its connection.
pub const API_SMALL: usize = 16 * 1024;
/// Bytes of the body of a request to the API. A longer one is refused (413).
pub const API_BODY: usize = 16 * 1024;
/// Streams with series of their own in `/metrics`, some 700 bytes each in an answer. The others are
/// in the sums of the process only; `runnel_streams_left_out` counts them.
pub const METRICS_STREAMS: usize = 200;
/// Files that are sent over HTTP at once, one descriptor each. One more is refused (503).
pub const FILES_OPEN: usize = 64;
/// Bytes of the index (`moov`) of an MP4 file that may be sent from a time on: some hours of it. A
/// file with a longer one is sent whole.
pub const MP4_INDEX: usize = if MEDIA_POOL / 16 < 2 << 20 { MEDIA_POOL / 16 } else { 2 << 20 };
/// Such indexes in memory at once, the old one and the new one. The next request waits.
pub const MP4_INDEXES: usize = 2;
/// Pieces of files that are read at once, [`FILE_PIECE`] bytes each, allocated when first used. The
/// next one waits.
pub const FILE_PIECES: usize = 4;
/// Bytes of a file that are read at once.
pub const FILE_PIECE: usize = 64 * 1024;

/// Bytes of the head of an RTSP message, kept while it comes in. A longer one ends the connection.
pub const RTSP_HEAD: usize = 8 * 1024;
/// Header lines of an RTSP message. One more ends the connection.
pub const RTSP_HEADERS: usize = 64;
/// Bytes of the body of an RTSP message, an SDP mostly. A longer one ends the connection.
pub const RTSP_BODY: usize = 16 * 1024;
/// Bytes between two messages or frames of a camera that are neither, and are skipped. One more ends
/// the connection.
pub const RTSP_RESYNC: usize = 64 * 1024;
/// Audio and video of one RTSP session, some hundred bytes each. The others are left out, and said.
pub const RTSP_TRACKS: usize = 8;
/// Requests with wrong credentials on one RTSP connection. One more ends it.
pub const RTSP_LOGINS: usize = 3;
/// Packets of a track that wait for one that is late. Before one more is kept, the late one is
/// counted as lost.
pub const RTP_REORDER: usize = 64;
/// Bytes of them, a track; with more the late one is counted as lost.
pub const RTP_REORDER_BYTES: usize = 256 * 1024;
/// Bytes of the buffer that a video track gathers a picture in and that stay allocated between
/// pictures; a picture has [`MESSAGE_MAX`] at most and is left out with more.
pub const RTP_PICTURE_KEPT: usize = 128 * 1024;
/// Bytes of an audio frame that comes in several packets. A longer one is left out.
pub const RTP_AUDIO_FRAME: usize = 16 * 1024;
/// Bytes of the AudioSpecificConfig in LATM. A track with a longer one is not taken.
pub const LATM_CONFIG: usize = 256;

/// Streams at once that come in as MPEG-TS or over RTSP, [`INPUT_BYTES`] each beside their media.
/// One more is refused.
pub const INPUTS: usize = if MAX_STREAMS < 64 { MAX_STREAMS } else { 64 };
/// The most that such a stream has in memory beside its packets, by what is in this image.
pub const INPUT_BYTES: usize = {
    let rtsp = with(board::HAS_RTSP, RTSP_INPUT);
    let ts = with(board::HAS_CASTER_MPEGTS || board::HAS_INGEST, TS_INPUT);
    let fetched = FETCH_BYTES + PLAYLIST_SEGMENTS * (PLAYLIST_LINE + PLAYLIST_KEY + 128);
    (if rtsp > ts { rtsp } else { ts }) + with(board::HAS_INGEST, fetched)
};
/// The same over RTSP: packets of one video and one audio track that wait for late ones, the picture
/// in progress, what was announced, a message.
const RTSP_INPUT: usize = 2 * RTP_REORDER_BYTES
    + MESSAGE_MAX
    + RTP_AUDIO_FRAME
    + PARAMETER_SETS
    + PARAMETER_SETS_COUNT * 48
    + RTSP_TRACKS * 2048
    + RTSP_HEAD
    + 2 * RTSP_BODY;
/// From the begin of an attempt to connect to what is fetched, and for the begin of its answer.
pub const INGEST_CONNECT: Duration = Duration::from_secs(10);
/// Bytes of a file that are read at once, and kept until their packets are due.
pub const INGEST_READ: usize = 32 * 1024;
/// Redirects that are followed. One more is an error.
pub const INGEST_REDIRECTS: u8 = 5;
/// Playlists that only list others, one in the other. One more is an error.
pub const INGEST_PLAYLISTS: u32 = 4;
/// Where packets of cameras come over UDP.
pub const INGEST_RTP_PORTS: (u16, u16) = (50_000, 60_000);
/// Child processes at once, whatever `ff_max` says: a few KB each, a pipe and a descriptor for its
/// end. One more waits.
pub const CHILDREN: usize = if MAX_STREAMS < 64 { MAX_STREAMS } else { 64 };
/// Bytes of the log of a child process, and of the older one beside it (`.1`): so much may come at once.
pub const CHILD_LOG: usize = 1 << 20;
/// Bytes a second that it may grow for long, as cards wear out. What is more is left out.
pub const CHILD_LOG_RATE: u64 = 1024;
/// Bytes that were printed last of what is left out; they are kept.
pub const CHILD_LAST: usize = 8 * 1024;
/// Bytes of what a child prints that are read at once.
pub const CHILD_READ: usize = 16 * 1024;
/// After so many there is a pause: what prints faster waits.
pub const CHILD_PAUSE: (usize, Duration) = (4 * CHILD_READ, Duration::from_millis(10));
/// From the end of a child to its next start, at first and at most: twice as long each time, unless
/// it ran for longer than the latter.
pub const CHILD_RETRY: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(60));
/// For a child to end when it is asked to. Then it is killed.
pub const CHILD_GRACE: Duration = Duration::from_secs(1);
/// The same when the server ends.
pub const CHILD_LAST_GRACE: Duration = Duration::from_millis(500);
/// Ports that are tried for a track that comes over UDP before it is refused.
pub const RTP_PORT_TRIES: usize = 128;
/// `SO_RCVBUF` of sockets that media comes to in datagrams (the kernel doubles it): what comes while
/// the thread is busy elsewhere, 0.4 s of 10 Mbit/s. What does not fit is lost.
pub const DATAGRAM_RCVBUF: usize = 512 * 1024;
/// Entries in the state of inputs that the API lists, about 300 bytes each.
pub const INPUTS_LISTED: usize = 256;
/// From one attempt to take up an input that failed to the next one, at first and at most: twice as
/// long each time.
pub const INPUT_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Bytes of all files together that wait for the disk. What a recording or a segment has no room
/// for is missing in it; that is counted and logged.
pub const DISK_QUEUE: usize = if MEDIA_POOL / 16 < 16 << 20 { MEDIA_POOL / 16 } else { 16 << 20 };
/// The same for what finishes files: indexes, names.
pub const DISK_RESERVE: usize = DISK_QUEUE + 1024 * 1024;

/// A file of small state: the list of unfinished recordings, about 100 bytes each. More is not
/// saved, and logged.
pub const STATE_BYTES: usize = 256 * 1024;
/// Directories inside one another that are searched for old recordings. What lies deeper is not
/// found.
pub const STORAGE_DEPTH: usize = 12;
/// Key frames in the index of a recording, 18 bytes of the file and 16 of memory each. When it is
/// full every other one leaves, and the rest are twice as far apart.
pub const INDEX_ENTRIES: usize = 2048;
/// Bytes of a stream that wait for its file to be opened. What comes then is missing in it.
pub const RECORD_HELD: usize = MESSAGE_MAX + 256 * 1024;
/// Bytes that must be free for a recording to begin, so that a full disk does not fill up with
/// recordings of a second.
pub const RECORD_START_FREE: u64 = 4 << 20;
/// Bytes of a file that are gathered for one write; a longer message goes with it whole.
pub const WRITE_BYTES: usize = 32 * 1024;
/// Old recordings that are looked for in one walk through the directories.
pub const OLDEST_FILES: usize = 64;

/// A player that waits for a key frame gets video without one after this many milliseconds of the
/// stream: encoders with intra refresh send one key frame at their start and then never again.
pub const KEY_WAIT_MS: i32 = 30_000;
/// The longest merge interval of `mw_latency auto`, in milliseconds; the directive's default.
pub const MERGE_MS: u32 = 350;
/// Payload bytes after which a merged write starts before its interval is over.
pub const MERGE_BYTES: usize = 64 * 1024;
/// The longest configuration file, in bytes; its tree takes about 30 times as much while it is
/// read. A longer one is refused.
pub const CONF_BYTES: usize = 1024 * 1024;
/// Blocks inside one another in a configuration file. One more makes the file invalid.
pub const CONF_DEPTH: usize = 64;
/// Warnings kept from one configuration file, about 100 bytes each. The rest are not reported.
pub const CONF_WARNINGS: usize = 100;
/// NAL units of one picture in TS, 16 bytes each on the stack. A picture with more is left out.
pub const NAL_UNITS: usize = 128;
/// Bytes of an incoming transport stream in which there is no packet before it is said to be none.
pub const TS_SEARCH: usize = 256 * 1024;
/// Programs of an incoming transport stream that are looked at, about 1 KB each. Others are passed
/// over.
pub const TS_PROGRAMS: usize = 16;
/// The most that a transport stream that comes in has in memory beside its packets: the picture in
/// progress, parameter sets, frames of sound, sections of tables.
pub const TS_INPUT: usize =
    MESSAGE_MAX + PARAMETER_SETS + PARAMETER_SETS_COUNT * 48 + TS_PROGRAMS * 2048 + 40 * 1024;
/// Bytes of a playlist that is pulled. They are not kept; a longer one is refused.
pub const PLAYLIST_BYTES: usize = 4 << 20;
/// The longest line of it. A longer one makes the playlist invalid.
pub const PLAYLIST_LINE: usize = 4 * 1024;
/// Segments of it that are taken at once, 128 bytes and an address of [`PLAYLIST_LINE`] bytes at most
/// each, beside that of its key. The playlist is read again for the next ones.
pub const PLAYLIST_SEGMENTS: usize = 16;
/// The longest address of a key. A longer one makes the playlist one that is not read.
pub const PLAYLIST_KEY: usize = 512;
/// Variants of a master playlist. Others are not looked at.
pub const PLAYLIST_VARIANTS: usize = 32;
/// Bytes of an ID3 tag in front of audio in which its time is looked for. The rest of a longer one
/// is passed over.
pub const ID3_BYTES: usize = 1024;
/// Different notes about an incoming transport stream. Others are not given.
pub const TS_NOTES: usize = 16;
/// Bytes of the parameter sets that a TS muxer keeps, a stream, and an input that makes sequence
/// headers of them. A sequence header with more cannot be muxed; a set beyond it is not taken.
pub const PARAMETER_SETS: usize = 8 * 1024;
/// Parameter sets that an input keeps, 48 bytes each beside their own. One more is not taken.
pub const PARAMETER_SETS_COUNT: usize = 64;
/// Bytes of audio that a TS muxer gathers for one PES packet, a stream; the length of a PES packet
/// has 16 bits. More begins the next one; a single frame that is longer is left out.
pub const GATHERED_AUDIO: usize = 32 * 1024;
/// Bytes of HLS segments in memory, those being written too, all streams together. At it the
/// oldest segments of the stream that needs room leave, then packets are left out.
pub const HLS_RAM: usize = MEDIA_POOL / 4;
/// The same for the finished segments of one stream. The oldest one leaves, whatever hls_window
/// says.
pub const HLS_RAM_STREAM: usize = if 2 * RING_BYTES < HLS_RAM { 2 * RING_BYTES } else { HLS_RAM };
/// Bytes of one HLS segment in memory. It is closed before it has more, key frame or not.
pub const HLS_SEGMENT: usize = RING_BYTES / 2;
/// Bytes of one HLS segment in a file, which memory does not bound. It is closed before it has
/// more: timestamps that stand still would make it grow for ever.
pub const HLS_FILE: usize = 1 << 30;
/// Bytes of an HLS segment that are gathered for one write, when it is not kept in memory.
pub const HLS_PIECE: usize = 64 * 1024;
/// Segments in an HLS playlist, about 300 bytes each beside their media. The oldest one leaves.
pub const HLS_SEGMENTS: usize = 1024;
/// A player that asks for the playlist of a stream whose first segment is not finished waits so
/// long, one connection each; then it is told to come again (503). Players give up after 8 s.
pub const HLS_WAIT: Duration = Duration::from_secs(7);
/// Segments of a stream that is not published any more leave the memory after this time and twice
/// hls_window; its numbers stay until [`MAX_STREAMS`] others are there.
pub const HLS_IDLE: Duration = Duration::from_secs(30);

/// For the header of the PROXY protocol, from accept, where `proxy_protocol` asks for it.
pub const PROXY_TIMEOUT: Duration = Duration::from_secs(5);
/// From accept to the end of the handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// For each step from there to publish or play.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// A peer that takes no byte for so long, while some are due, is dropped.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// For the head of an HTTP request, from its first byte (from accept, for the first one).
pub const HTTP_HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// From an HTTP answer to the next request on the same connection.
pub const HTTP_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// For each piece of the body of an HTTP request.
pub const HTTP_BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// From FCUnpublish to the next publish on the same connection.
pub const REPUBLISH_TIMEOUT: Duration = Duration::from_secs(180);
/// From closeStream to the next play on the same connection.
pub const REPLAY_TIMEOUT: Duration = Duration::from_secs(1800);
/// For files to be finished when the server stops. What is unfinished then is finished at the next
/// start.
pub const DISK_TIMEOUT: Duration = Duration::from_secs(5);

/// For the last bytes to reach a peer that is refused. Then it is cut off.
pub const LINGER: Duration = Duration::from_secs(1);
/// Bytes that a peer that is refused may still send. Then it is cut off.
pub const LINGER_BYTES: usize = 256 * 1024;
/// For connections to end when the server stops. Those that are left then are cut.
pub const GRACE: Duration = Duration::from_millis(500);
/// For files to be finished when the server has to stop at once (INT). What is unfinished then is
/// finished at the next start.
pub const QUICK_DISK_TIMEOUT: Duration = Duration::from_millis(500);

/// Packets that `mix_correct` holds back, a stream. After so many in a row of one kind the other,
/// which fell silent, is not waited for. They stay within the stream's share of [`MEDIA_POOL`].
pub const MIX_SILENT: usize = 64;
/// The same for a kind that was never there: a second of the other one, as sound may be late. A stream
/// without it begins so many packets late.
pub const MIX_UNSEEN: usize = 60;

/// A packet in a ring, its payload not counted.
pub const PACKET_BYTES: usize = 40;
/// Free media blocks that are kept for the next stream that needs one; more go back to the
/// allocator, so that the process gets small again.
pub const MEDIA_KEPT: usize = if MEDIA_POOL / 4 < 2 << 20 { MEDIA_POOL / 4 } else { 2 << 20 };

/// The most that statistics have of a stream: its names, its counters.
pub const KNOWN_BYTES: usize = 3 * NAME_MAX + 512;
/// The most that a connection has in memory: its task, messages begun on all chunk streams, a
/// read that waits behind one of them, replies and headers that the peer does not read.
pub const CLIENT_BYTES: usize =
    4 * 1024 + CHUNK_STREAMS * CONTROL_MAX + READ_BUF + 2 * CONTROL_OUT_MAX + HEADERS_BYTES;
/// The most that a stream has in memory beside media: its tables, slots of the ring, headers.
pub const STREAM_BYTES: usize = 1024 + RING_PACKETS * PACKET_BYTES + HEADERS_BYTES;
/// Metadata and two sequence headers, on the wire with chunk headers.
const HEADERS_BYTES: usize = 3 * (HEADER_MAX + HEADER_MAX / CHUNK_SIZE_MIN * 5);
/// The longest merged write, the buffer having doubled when it grew.
const IMAGE_MAX: usize = 2 * (IMAGE_BYTES + MESSAGE_MAX + MESSAGE_MAX / CHUNK_SIZE_MIN * 5);

/// Connections that a `max_connections` of the configuration allows on this board.
pub fn clients(max_connections: u32) -> usize {
    usize::try_from(max_connections).unwrap_or(usize::MAX).min(MAX_CLIENTS)
}

/// The most memory that the process can use for its work, in bytes, with `clients` connections
/// allowed, all of them doing their worst: media, streams (each has a connection, and one to the
/// origin where it may be fetched), connections, copies for stalled players, the buffers that exist
/// once, and what the services of this image have. The kernel's socket buffers and child processes
/// are not counted.
pub const fn worst_case(clients: usize) -> usize {
    let clients = if clients < MAX_CLIENTS { clients } else { MAX_CLIENTS };
    let streams = if clients < MAX_STREAMS { clients } else { MAX_STREAMS };
    let inputs = if streams < INPUTS { streams } else { INPUTS };
    let once = 2 * READ_BUF + 2 * IMAGE_MAX + LOG_QUEUE + MEDIA_KEPT + STALLED_BYTES;
    // A 32-bit machine has no more than it can address.
    clients
        .saturating_mul(CLIENT_BYTES)
        .saturating_add(streams.saturating_mul(STREAM_BYTES))
        .saturating_add(inputs.saturating_mul(INPUT_BYTES))
        .saturating_add(with(board::HAS_EDGE, streams.saturating_mul(CLIENT_BYTES)))
        .saturating_add(MEDIA_POOL)
        .saturating_add(once)
        .saturating_add(SERVICES)
}

/// The most that the services of this image have in memory beside what they have of each stream.
const SERVICES: usize = {
    let writes = board::HAS_HLS || board::HAS_HDS || board::HAS_DVR;
    let files = FILE_PIECES * FILE_PIECE + 2 * MP4_INDEXES * MP4_INDEX;
    let hooks = (FETCHES + HOOK_NOTIFIES) * FETCH_BYTES + HOOK_QUEUE;
    with(board::HAS_HLS, HLS_RAM)
        + with(writes, DISK_RESERVE)
        + with(board::HAS_STATIC_FILES, files)
        + with(board::HAS_HOOKS, hooks)
        + with(board::HAS_HEARTBEAT, HEARTBEATS * FETCH_BYTES)
        + with(board::HAS_STATS, (STREAMS_KNOWN + MAX_STREAMS) * KNOWN_BYTES)
        + with(board::HAS_API, API_OUT)
        + with(board::HAS_PROCESS, CHILDREN * (CHILD_READ + CHILD_LAST + 8 * 1024))
        + with(board::HAS_EDGE, PULLS_UNSEEN * CLIENT_BYTES + MAX_CLIENTS * CONNECT_ARGS)
        + with(board::HAS_FORWARD, FORWARDS_ALL * CLIENT_BYTES)
        + with(board::HAS_BANDWIDTH, 2 * CALL_MAX)
        + with(TLS, TLS_ALL)
};

/// TLS with all others: connections, the buffer for what comes, certificates as text while they are
/// read and twice taken apart, sessions.
const TLS_ALL: usize =
    TLS_CONNECTIONS * TLS_BYTES + TLS_IN + 3 * TLS_CA_FILE + TLS_SESSIONS * 128 * 1024;

/// The bytes of what may not be there.
const fn with(there: bool, bytes: usize) -> usize {
    if there { bytes } else { 0 }
}

/// With less memory than the worst case: what to lower, and to how much. Nothing when `available`
/// bytes do.
pub fn advice(clients: usize, available: usize) -> Option<String> {
    let needed = worst_case(clients);
    if needed <= available {
        return None;
    }
    let head = format!("the limits allow for {needed} bytes of memory, there are {available}");
    // The sum grows with each connection.
    let (mut fits, mut over) = (0, clients);
    while over - fits > 1 {
        let middle = fits + (over - fits) / 2;
        if worst_case(middle) <= available {
            fits = middle;
        } else {
            over = middle;
        }
    }
    // Fewer would not be of use.
    if fits >= 4 {
        return Some(format!("{head}: lower max_connections from {clients} to {fits}"));
    }
    // HLS in memory and what waits for the disk are shares of it.
    let pool = MEDIA_POOL.saturating_sub((needed - available) / 5 * 4);
    Some(if pool >= 4 * MESSAGE_MAX {
        format!(
            "{head}: lower media_pool in boards/{BOARD}.toml from {MEDIA_POOL} to {pool}, and build again"
        )
    } else {
        format!(
            "{head}: build for a smaller board than {BOARD}, or lower max_clients and media_pool in its file"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_configuration_allows_more_connections_than_the_board() {
        assert_eq!(clients(1), 1);
        let most = u32::try_from(MAX_CLIENTS).unwrap();
        assert_eq!((clients(most), clients(most + 1)), (MAX_CLIENTS, MAX_CLIENTS));
    }

    #[test]
    fn the_sum_counts_every_connection_and_stream_that_may_be() {
        let more = worst_case(2) - worst_case(1);
        let origin = with(board::HAS_EDGE, CLIENT_BYTES);
        assert_eq!(more, CLIENT_BYTES + STREAM_BYTES + INPUT_BYTES + origin);
        assert_eq!(worst_case(MAX_CLIENTS), worst_case(usize::MAX), "the board has no more");
        assert_eq!(INPUT_BYTES != 0, board::HAS_RTSP || board::HAS_CASTER_MPEGTS);
        let some = with(board::HAS_HLS, HLS_RAM) + with(board::HAS_API, API_OUT);
        assert!(SERVICES.checked_sub(some).is_some());
        assert!(worst_case(1) > MEDIA_POOL + STALLED_BYTES);
    }

    #[test]
    fn too_little_memory_is_told_with_the_number_to_lower() {
        let clients = MAX_CLIENTS.min(1000);
        assert_eq!(advice(clients, worst_case(clients)), None);
        let text = advice(clients, worst_case(clients) - 1).unwrap();
        assert!(text.contains(&format!("lower max_connections from {clients} to {}", clients - 1)));
        assert!(advice(clients, worst_case(1)).unwrap().contains("lower media_pool"));
        assert!(advice(clients, 0).unwrap().contains("smaller board"));
        assert!(advice(0, 0).is_some());
    }
}
