//! Directives outside the vhosts.

use super::{
    access::Peers,
    section::section,
    value::{Endpoint, Millis, Seconds, Size, choice},
    vhost::Vhost,
};
use crate::limits::{INPUTS, RTSP_TRACKS};
use std::rc::Rc;

section! {
    /// The whole file.
    Config ("") {
        /// Where RTMP is listened for, at least one; a bare port is any IPv6 and IPv4 address.
        listen: Vec<Endpoint> = Vec::new() => "1935";
        /// Bytes of an RTMP chunk that is sent; a vhost may set its own.
        chunk_size: u32 [128..=65536] = 60000;
        /// RTMP and HTTP connections together; one more is closed as it comes.
        max_connections: u32 [1..=1000000] = 1000;
        /// Connections of one address, of which an IPv6 client has 2^64 (its /64 counts as one); one
        /// more is closed as it comes. 0 is no bound.
        max_connections_per_ip: u32 [0..=1000000] = 0;
        /// Of the ports that are listened at, for RTMP or HTTP, those that only a proxy reaches:
        /// each connection must begin with the header of the PROXY protocol, version 1 or 2, and
        /// the client is who that names. Others are dropped.
        proxy_protocol: Vec<Endpoint> = Vec::new() => "19350";
        /// Whether the server leaves the terminal.
        daemon needs "service": bool = true => "off";
        /// The file that holds the process id while the server runs.
        pid needs "service": String = "./objs/srs.pid".into();
        /// Whether the server ends when its parent process does; not together with daemon.
        asprocess needs "service": bool = false;
        /// The directory that the server changes to at start; what else is named is relative to it.
        work_dir: String = "./".into();
        /// Where the log goes.
        log_tank as "srs_log_tank": LogTank = LogTank::File => "console";
        /// The least important level that is logged.
        log_level as "srs_log_level": LogLevel = LogLevel::Trace;
        /// The log file; lines are added at its end.
        log_file as "srs_log_file": String = "./objs/srs.log".into();
        /// Bytes of the log file at which it gets `.1` behind its name, in place of an older one, and
        /// a new one begins. 0 is no bound.
        log_size as "srs_log_size": Size = Size(0);
        /// The socket that the log goes to when srs_log_tank is syslog.
        syslog_socket: String = "/dev/log".into();
        /// The directory for the logs of child processes; /dev/null keeps none.
        ff_log_dir needs "transcode|ingest|exec": String = "./objs".into();
        /// The log level that child processes are given.
        ff_log_level needs "transcode|ingest|exec": String = "info".into();
        /// Child processes at once; one more waits for its turn. The board may allow less.
        ff_max needs "transcode|ingest|exec": u32 = 16;
        /// How much child processes give way to others, 0 to 19, as `nice` says it.
        ff_nice needs "transcode|ingest|exec": u32 [0..=19] = 0;
        /// How often a stage (play, publish, ...) logs how it does.
        pithy_print_ms: Millis [1..=86400000] = Millis::new(10_000);
        /// Whether log lines and dates in paths are in UTC.
        utc_time: bool = false;
        /// The file with the certificates (PEM) of those whose servers are believed to be who they
        /// are, for rtmps:// and https://; a server's own certificate in it is enough for that server.
        /// Empty: those that the system trusts. Read again at a reload.
        tls_ca needs "tls": String = String::new() => "/etc/ssl/certs/ca-certificates.crt";
        /// Accepted and ignored: this server never calls home.
        query_latest_version: bool = true => "off";
        /// How long a graceful stop waits before it begins.
        grace_start_wait needs "service": Millis = Millis::new(2300);
        /// How long a graceful stop waits when the last connection is gone.
        grace_final_wait needs "service": Millis = Millis::new(3200);
        /// Whether every stop is a graceful one.
        force_grace_quit needs "service": bool = false;
        /// How long a server that leaves (USR2, or a graceful stop) waits for its clients to go. 0
        /// is no bound.
        drain_timeout needs "service": Seconds [0..=604800] = Seconds::from_millis(300_000);
        /// The watchdog device that restarts the machine when the server hangs, such as
        /// /dev/watchdog; none by default. It is fed once a second.
        watchdog needs "watchdog": String = String::new() => "/dev/null";
        /// Accepted and ignored: the address of a client is always known.
        empty_ip_ok: bool = true;
        /// Whether daemon is off inside a container.
        disable_daemon_for_docker needs "service": bool = true;
        /// Whether a changed file is read again at once, without a signal.
        inotify_auto_reload needs "reload": bool = false;
        /// The same inside a container.
        auto_reload_for_docker needs "reload": bool = true;
        /// Reports to a server of yours that this one lives.
        heartbeat: Rc<Heartbeat> = Rc::default();
        /// What the statistics look at.
        stats: Rc<Stats> = Rc::default();
        /// The HTTP interface for other programs.
        http_api: Rc<HttpApi> = Rc::default();
        /// The HTTP server for files and live streams.
        http_server: Rc<HttpServer> = Rc::default();
        /// Takes a stream of another protocol and publishes it.
        stream_casters as "stream_caster": Vec<Rc<StreamCaster>> = Vec::new();
        /// A virtual host; `__defaultVhost__` serves the names that no other has.
        vhosts as "vhost": Vec<Rc<Vhost>> = Vec::new() => "__defaultVhost__";
    }
}

choice! {
    /// Where the log goes.
    LogTank {
        /// The file of `srs_log_file`.
        File = "file",
        /// Standard error, with colours.
        Console = "console",
        /// The system's log, through `syslog_socket`.
        Syslog = "syslog",
    } else warn File
}

choice! {
    /// How important a log line must be.
    LogLevel {
        /// Everything, every packet.
        Verbose = "verbose",
        /// What helps to find a fault.
        Info = "info",
        /// One line a step of a client.
        Trace = "trace",
        /// What a client did wrong.
        Warn = "warn",
        /// What we did wrong.
        Error = "error",
    }
}

section! {
    /// Reports to a server of yours that this one lives.
    Heartbeat ("heartbeat", needs "heartbeat") {
        /// Whether reports are sent.
        enabled: bool = false;
        /// Seconds between two reports; less than one counts as one.
        interval: Seconds [0.001..=86400] = Seconds::from_millis(9900);
        /// Where each report is posted.
        url: String = "http://127.0.0.1:8085/api/v1/servers".into();
        /// The name of this device in the report.
        device_id: String = String::new() => "my-device";
        /// Whether the report has the load of the system in it.
        summaries: bool = false;
    }
}

section! {
    /// What the statistics look at.
    Stats ("stats", needs "api|heartbeat") {
        /// Which of the IPv4 addresses, from 0, is told as the address of this server.
        network: u32 = 0;
        /// The disks whose traffic is counted, as in /proc/diskstats; none by default.
        disk: Vec<String> = Vec::new() => "mmcblk0 sda";
    }
}

section! {
    /// The HTTP interface for other programs.
    HttpApi ("http_api", needs "api") {
        /// Whether there is one.
        enabled: bool = false;
        /// Where it listens.
        listen: Endpoint = Endpoint::any(1985);
        /// Whether pages of other sites may read it (CORS and JSONP); none may change anything.
        crossdomain: bool = true;
        /// What a request from another machine that changes something has to bring, in its header
        /// Authorization: Bearer or X-Api-Token. Without one here one is made at each start, and
        /// stands in the log.
        token: String = String::new() => "32-random-letters-and-digits-here";
        /// The names of this server, beside its addresses and localhost. What changes something has
        /// to come to one of them, and with crossdomain off what reads, too.
        hosts: Vec<String> = Vec::new() => "media.example.com";
        /// The part of the interface that changes things.
        raw_api: Rc<RawApi> = Rc::default();
    }
}

section! {
    /// The part of the interface that changes things.
    RawApi ("raw_api", needs "api") {
        /// Whether there is one.
        enabled: bool = false;
        /// Whether a request may have the file read again.
        allow_reload: bool = false;
        /// Whether a request may read the configuration.
        allow_query: bool = false;
        /// Whether a request may change the configuration.
        allow_update: bool = false;
    }
}

section! {
    /// The HTTP server for files and live streams.
    HttpServer ("http_server", needs "static-files|remux|hls|web") {
        /// Whether there is one.
        enabled: bool = false;
        /// Where it listens.
        listen: Endpoint = Endpoint::any(8080);
        /// The directory of what is served at /.
        dir: String = "./objs/nginx/html".into();
        /// Whether pages of other sites may use it (CORS).
        crossdomain: bool = true;
        /// Addresses and networks (`10.0.0.0/8`) of proxies that are believed when they say, as
        /// X-Forwarded-For or X-Real-IP, who their client is; all for any. This machine always is.
        trusted_proxies: Vec<Peers> = Vec::new() => "10.0.0.0/8 fd00::1";
    }
}

section! {
    /// Takes a stream of another protocol and publishes it.
    StreamCaster ("stream_caster", needs "caster-mpegts|caster-rtsp|caster-flv") {
        /// Whether it listens.
        enabled: bool = false;
        /// The protocol: MPEG-TS over UDP, RTSP, or FLV posted over HTTP.
        caster: Caster = Caster::Unset => "mpegts_over_udp";
        /// Where to publish; `[app]` and `[stream]` are replaced for rtsp and flv.
        output: String = String::new() => "rtmp://127.0.0.1/live/livestream";
        /// Where to listen, UDP for mpegts_over_udp, else TCP. The address of a multicast group is
        /// joined.
        listen: Endpoint = Endpoint::any(0) => "8935";
        /// The interface on which a multicast group is joined, by its name or its address; by
        /// default the one that the routes of the system say. mpegts_over_udp only.
        interface: String = String::new() => "eth0";
        /// The first UDP port for RTP, rtsp only; without it and rtp_port_max packets come over the
        /// connection of RTSP only.
        rtp_port_min: u16 [1..=65535] = 0 => "57200";
        /// The UDP port behind the last one for RTP, rtsp only.
        rtp_port_max: u16 [1..=65535] = 0 => "57300";
        /// The name that who publishes has to give (digest), rtsp only; none by default.
        username: String = String::new() => "camera";
        /// The password that goes with it.
        password: String = String::new() => "secret";
        /// Whether the password may be sent in plain, too (basic), which whoever listens can read.
        basic_auth: bool = false;
    }
}

choice! {
    /// The protocol that a caster takes.
    Caster {
        /// None was named.
        Unset = "",
        /// MPEG-TS over UDP.
        MpegTs = "mpegts_over_udp",
        /// RTSP ANNOUNCE and RECORD.
        Rtsp = "rtsp",
        /// FLV posted over HTTP.
        Flv = "flv",
    }
}

impl StreamCaster {
    /// The file descriptors that it may have open beside its connections: where it listens, and a
    /// pair of ports for each track of RTSP that comes over UDP.
    pub(super) fn descriptors(&self) -> usize {
        let ports = self.rtp_port_max.saturating_sub(self.rtp_port_min);
        1 + usize::from(ports).min(INPUTS * 2 * RTSP_TRACKS)
    }
}

impl Caster {
    /// The part of the image that a caster of this protocol needs.
    pub const fn needs(self) -> &'static str {
        match self {
            Self::Unset => "",
            Self::MpegTs => "caster-mpegts",
            Self::Rtsp => "caster-rtsp",
            Self::Flv => "caster-flv",
        }
    }
}
