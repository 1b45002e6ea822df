//! A virtual host and how its streams are played, published and passed on.

use super::{
    access::{Bandcheck, Refer, Security, SignedUrl},
    delivery::{Dash, Dvr, Hds, Hls, HttpRemux, HttpStatic},
    programs::{Exec, HttpHooks, Ingest, Transcode},
    section::section,
    value::{MergedWrite, Millis, Seconds, Size, choice},
};
use std::rc::Rc;

section! {
    /// A virtual host; `__defaultVhost__` serves the names that no other has.
    Vhost ("vhost", arg name) {
        /// Whether it exists; one that is off is refused, not replaced by the default one.
        enabled: bool = true;
        /// Bytes of an RTMP chunk that is sent; unset, that of the whole server.
        chunk_size: u32 [128..=65536] = 0 => "60000";
        /// Whether packets go out as they come: mw_latency and mr do not count then.
        min_latency: bool = false;
        /// Whether small packets are sent at once (TCP_NODELAY).
        tcp_nodelay: bool = false;
        /// The acknowledgement window to assume for a peer that sets none; 0 for none.
        in_ack_size: u32 = 0;
        /// The acknowledgement window that a client is told; 0 for none.
        out_ack_size: u32 = 2_500_000;
        /// How players are served.
        play: Rc<Play> = Rc::default();
        /// How publishers are served.
        publish: Rc<Publish> = Rc::default();
        /// Where streams come from that are not published here.
        cluster: Rc<Cluster> = Rc::default();
        /// Passes every stream on to other servers.
        forward: Rc<Forward> = Rc::default();
        /// Which pages may embed a player or a publisher.
        refer: Rc<Refer> = Rc::default();
        /// Who may publish and play, by address.
        security: Rc<Security> = Rc::default();
        /// Lets in who has a signed URL.
        signed_url: Rc<SignedUrl> = Rc::default();
        /// Makes this vhost a test of the bandwidth.
        bandcheck: Rc<Bandcheck> = Rc::default();
        /// Records streams.
        dvr: Rc<Dvr> = Rc::default();
        /// Cuts streams into HLS.
        hls: Rc<Hls> = Rc::default();
        /// Cuts streams into HDS.
        hds: Rc<Hds> = Rc::default();
        /// Cuts streams into MPEG-DASH.
        dash: Rc<Dash> = Rc::default();
        /// Serves files over HTTP under the name of this vhost.
        http_static: Rc<HttpStatic> = Rc::default();
        /// Serves live streams over HTTP.
        http_remux: Rc<HttpRemux> = Rc::default();
        /// Tells a server of yours what clients do, and asks whether they may.
        http_hooks: Rc<HttpHooks> = Rc::default();
        /// Runs programs while a stream is published.
        exec: Rc<Exec> = Rc::default();
        /// Runs a program that publishes a file, a camera or another stream here.
        ingests as "ingest": Vec<Rc<Ingest>> = Vec::new() => "livestream";
        /// Runs a program that makes other qualities of a stream; for all, an app or an app/stream.
        transcodes as "transcode": Vec<Rc<Transcode>> = Vec::new() => "live/livestream";
    }
}

section! {
    /// How players are served.
    Play ("play") {
        /// How time stamps are made even: full, zero (only moved to start at 0), or off.
        time_jitter: TimeJitter = TimeJitter::Full;
        /// Whether audio and video are put into the order of their time stamps.
        mix_correct: bool = false;
        /// Whether players get absolute time stamps.
        atc: bool = false;
        /// Whether the metadata bravo_atc turns atc on.
        atc_auto: bool = true;
        /// How long packets are collected for one write; auto follows the load of the server.
        mw_latency: MergedWrite = MergedWrite::Fixed(350);
        /// Whether a new player starts with the last key frame at once.
        gop_cache: bool = true;
        /// Seconds of media that a slow player may lag before it skips; less than 1 counts as 1.
        queue_length: Seconds = Seconds::from_millis(30_000);
        /// Above 0: one message a write, and this pause after each.
        send_min_interval: Millis = Millis::new(0);
        /// Whether a sequence header that says nothing new is left out.
        reduce_sequence_header: bool = false;
    }
}

choice! {
    /// How time stamps are made to run evenly.
    TimeJitter {
        /// Starts at zero, never goes back, no gaps.
        Full = "full",
        /// Starts at zero.
        Zero = "zero",
        /// As they come.
        Off = "off",
    } else warn Off
}

section! {
    /// How publishers are served.
    Publish ("publish") {
        /// Whether reads are collected, for fewer of them.
        mr: bool = false;
        /// How long reads are collected.
        mr_latency: Millis = Millis::new(350);
        /// How long a publisher may take until its first packet.
        firstpkt_timeout: Millis = Millis::new(20_000);
        /// How long a publisher may then be silent.
        normal_timeout: Millis = Millis::new(5_000);
        /// Whether a broken sequence header ends the stream; else the log has a warning.
        parse_sps: bool = true;
        /// Whether a new publisher of a live stream takes its place; else the new one is refused.
        takeover: bool = false;
        /// Seconds for which players wait for a publisher that left to come back: connections over
        /// HTTP stay open, and its times go on. 0: they end with it.
        hold: Seconds [0..=3600] = Seconds::from_millis(0);
    }
}

section! {
    /// Where streams come from that are not published here.
    Cluster ("cluster", needs "edge") {
        /// local: streams are published here; remote: they are fetched from an origin (edge).
        mode: Mode = Mode::Local;
        /// The origins as host or host:port, or srv:name for those that DNS names (SRV); one that
        /// fails is tried again last.
        origin: Vec<String> = Vec::new() => "127.0.0.1:19350";
        /// round_robin: the first origin first; hash: each stream has its own order, the same on
        /// all edges.
        balance: Balance = Balance::RoundRobin;
        /// Seconds that a stream is still fetched when its last player has left.
        linger: Seconds [0..=86400] = Seconds::from_millis(0);
        /// The longest pause between two attempts to reach an origin; the first one is a second.
        retry_max: Seconds [1..=3600] = Seconds::from_millis(5_000);
        /// Whether the origin is asked first about each client; about players of HLS it is not, for
        /// these there is signed_url.
        token_traverse: bool = false;
        /// The vhost at the origin; `[vhost]` is the one of the client.
        vhost: String = "[vhost]".into();
        /// Whether the origin is told who asks, and a server that streams are passed on to who sends.
        debug_srs_upnode: bool = true;
        /// Of SRS 3, without effect: an origin that asks others for streams that it has not. Give
        /// edges all origins instead.
        origin_cluster: bool = false;
        /// Of SRS 3, without effect: the HTTP interfaces of the other origins, as host:port.
        coworkers: Vec<String> = Vec::new() => "127.0.0.1:9091";
    }
}

choice! {
    /// Which origin a stream is fetched from.
    Balance {
        /// In the order in which they stand.
        RoundRobin = "round_robin",
        /// In the order of a hash of the stream and each origin.
        Hash = "hash",
    }
}

choice! {
    /// Whether a vhost is an origin or an edge.
    Mode {
        /// Streams are published here.
        Local = "local",
        /// Streams are fetched from an origin.
        Remote = "remote",
    }
}

section! {
    /// Passes every stream on to other servers.
    Forward ("forward", needs "forward"; free) {
        /// Whether streams are passed on.
        enabled: bool = false;
        /// The servers as host or host:port, or the whole rtmp:// url of the stream there; with
        /// `[vhost]`, `[app]`, `[stream]` and `[param]`.
        destination: Vec<String> = Vec::new() => "127.0.0.1:19350";
        /// The first pause between two attempts to reach a server. It doubles with each.
        retry: Seconds [0.1..=3600] = Seconds::from_millis(1_000);
        /// The longest of these pauses.
        retry_max: Seconds [0.1..=3600] = Seconds::from_millis(5_000);
        /// Seconds of the stream that are kept for a server that cannot be reached.
        buffer: Seconds [0..=3600] = Seconds::from_millis(30_000);
        /// Bytes, or K, M, G, of the same; the ring of the stream, a limit of the board, is the most.
        buffer_bytes: Size = Size(8 << 20);
    }
}
