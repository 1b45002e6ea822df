//! Whole files.

use super::*;
use core::net::{IpAddr, Ipv4Addr};

fn loaded(text: &str) -> Loaded {
    load(text.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn config(text: &str) -> Config {
    loaded(text).config
}

/// The first vhost of a file with one vhost, which has `inside`.
fn vhost(inside: &str) -> Vhost {
    (*config(&format!("listen 1935; vhost v {{ {inside} }}")).vhosts[0]).clone()
}

fn warnings(text: &str) -> Vec<String> {
    loaded(text).warnings.iter().map(Notice::to_string).collect()
}

const FULL: &str = include_str!("../../conf/full.conf");

const SAMPLES: &[(&str, &str)] = &[
    ("full", FULL),
    ("rtmp", include_str!("../../conf/rtmp.conf")),
    ("realtime", include_str!("../../conf/realtime.conf")),
    ("console", include_str!("../../conf/console.conf")),
    ("hls", include_str!("../../conf/hls.conf")),
    ("hls.realtime", include_str!("../../conf/hls.realtime.conf")),
    ("http.hls", include_str!("../../conf/http.hls.conf")),
    ("ram.hls", include_str!("../../conf/ram.hls.conf")),
    ("origin", include_str!("../../conf/origin.conf")),
    ("srs", include_str!("../../conf/srs.conf")),
    ("dvr.session", include_str!("../../conf/dvr.session.conf")),
    ("dvr.segment", include_str!("../../conf/dvr.segment.conf")),
    ("dvr.path", include_str!("../../conf/dvr.path.conf")),
    ("hds", include_str!("../../conf/hds.conf")),
    ("security.deny.publish", include_str!("../../conf/security.deny.publish.conf")),
];

/// A file that is refused, the line, and a part of the message.
const ERRORS: &[(&str, u32, &str)] = &[
    ("", 0, "conf is empty"),
    (" # only this\n", 0, "conf is empty"),
    ("daemon off;", 0, "no directive listen"),
    ("listen;", 1, "listen: no port"),
    ("\nlisten abc;", 2, "`abc` is not [ip:]port"),
    ("listen 0;", 1, "`0`"),
    ("listen 65536;", 1, "`65536`"),
    ("listen 1935 {}", 1, "not a block"),
    ("listen 1.2.3:1935;", 1, "`1.2.3:1935`"),
    ("daemon off;\nlisten 1935\nmax_connections 1000;", 2, "is a ; missing before it?"),
    ("listen 1935;\n\nlissten 1936;", 3, "lissten: no directive of the file"),
    ("listen 1935;\nvhost v {\n hls {\n  x 1;\n }\n}", 4, "x: no directive of hls"),
    ("listen 1935;\nvhost v {\n x 1;\n}", 3, "x: no directive of vhost"),
    ("listen 1935;\nvhost {}", 2, "vhost: no name"),
    ("listen 1935;\nvhost v;", 2, "takes a block"),
    ("listen 1935;\nchunk_size 127;", 2, "chunk_size: 127 is not within 128 and 65536"),
    ("listen 1935;\nchunk_size 65537;", 2, "within"),
    ("listen 1935;\nchunk_size 4k;", 2, "`4k` is not a number"),
    ("listen 1935;\nchunk_size 128.5;", 2, "not a whole number"),
    ("listen 1935;\nchunk_size -5;", 2, "within"),
    ("listen 1935;\nchunk_size 1e3;", 2, "not a number"),
    ("listen 1935;\nvhost v {\n chunk_size 70000;\n}", 3, "within"),
    ("listen 1935;\nmax_connections 0;", 2, "within"),
    ("listen 1935;\nmax_connections { }", 2, "takes a value"),
    ("listen 1935;\nsrs_log_level loud;", 2, "none of verbose|info|trace|warn|error"),
    ("listen 1935;\nsrs_log_file;", 2, "no file"),
    ("listen 1935;\nasprocess on;", 2, "not together with daemon"),
    ("listen 1935;\nheartbeat {\n interval 0;\n}", 3, "interval"),
    ("listen 1935;\nstats { network -1; }", 2, "within"),
    ("listen 1935;\nhttp_api {\n listen;\n}", 3, "no port"),
    ("listen 1935;\nhttp_stream {\n listen x;\n}", 3, "`x`"),
    ("listen 1935;\nstream_caster {\n enabled on;\n}", 2, "no caster"),
    ("listen 1935;\nstream_caster { caster sip; }", 2, "none of mpegts_over_udp|rtsp|flv"),
    ("listen 1935;\nstream_caster { enabled on; caster flv; output x; }", 2, "no listen"),
    ("listen 1935;\nstream_caster { enabled on; caster flv; listen 9; }", 2, "no output"),
    (
        "listen 1;\nstream_caster { enabled on; caster rtsp; listen 9; output x; rtp_port_min 9; }",
        2,
        "rtp_port_min must be below",
    ),
    (
        "listen 1;\nstream_caster { enabled on; caster flv; listen 239.0.0.1:9; output x; }",
        2,
        "only mpegts_over_udp",
    ),
    (
        "listen 1;\nstream_caster { enabled on; caster rtsp; listen 9; output x; password p; }",
        2,
        "no username",
    ),
    ("listen 1;\nvhost v {\n ingest a {}\n ingest b {}\n ingest a {}\n}", 5, "line 3 has the id"),
    ("listen 1;\nvhost v {\n dvr { dvr_plan x; }\n}", 3, "session|segment|append"),
    ("listen 1;\nvhost v {\n mode far;\n}", 3, "mode: `far` is none of local|remote"),
    ("listen 1;\nvhost v {\n publish_1stpkt_timeout x;\n}", 3, "publish_1stpkt_timeout: `x`"),
    ("listen 1;\nvhost v {\n mr { latency x; }\n}", 3, "latency: `x`"),
    ("listen 1;\nvhost v {\n mr { x; }\n}", 3, "x: no directive of publish"),
    ("listen 1;\nvhost v {\n security { allow all; }\n}", 3, "takes publish or play"),
    ("listen 1;\nvhost v {\n security { allow watch all; }\n}", 3, "neither publish nor play"),
    ("listen 1;\nvhost v {\n security {\n  deny play 1.2.3;\n }\n}", 4, "`1.2.3`"),
    ("listen 1;\nvhost v { http_remux { enabled on;\n mount a.mp4; } }", 3, "must end with"),
    ("listen 1;\nvhost v { hls { hls_storage ram;\n hls_mount a; } }", 3, ".m3u8"),
    ("listen 1;\nvhost v {\n signed_url { enabled on; }\n}", 3, "there is no secret"),
    ("listen 1;\nvhost v { hls on; }", 2, "hls: takes a block"),
    (
        "listen 1;\nvhost v { transcode { enabled on;\n engine { enabled on; vcodec vn; acodec an; } } }",
        3,
        "neither video nor audio",
    ),
    (
        "listen 1;\nvhost v { transcode { enabled on;\n engine { enabled on; vcodec libx264; } } }",
        3,
        "vprofile",
    ),
    (
        "listen 1;\nvhost v { transcode { enabled on;\n engine { enabled on; vcodec copy; acodec libaacplus; abitrate 100; } } }",
        3,
        "ret=3019",
    ),
    (
        "listen 1;\nvhost v { ingest a { enabled on;\n engine { enabled on; vcodec copy; acodec libaacplus; abitrate 15; } } }",
        3,
        "ret=3019",
    ),
];

#[test]
fn encoders_of_sound_that_ffmpeg_may_have_are_let_through() {
    for engine in [
        "acodec libfdk_aac; abitrate 100;",
        "acodec libfdk_aac; aparams { profile:a aac_he_v2; };",
        "acodec aac;",
        "acodec libaacplus; abitrate 16;",
        "acodec libaacplus; abitrate 72;",
        "acodec libaacplus;",
        "acodec libmp3lame; abitrate 320;",
    ] {
        let engine = engine.replace("};", "}");
        let text = format!(
            "listen 1; vhost v {{ transcode {{ enabled on; ffmpeg f; engine e {{ enabled on; \
             vcodec copy; {engine} output rtmp://h/a/s; }} }} }}"
        );
        let config = load(text.as_bytes()).expect(&text).config;
        assert!(config.vhosts[0].transcodes[0].engines[0].enabled);
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_line() {
    for (text, line, part) in ERRORS {
        let error = load(text.as_bytes()).expect_err(text);
        assert_eq!(error.line, *line, "{error}\n{text}");
        assert!(error.text.contains(part), "{error}\n{text}");
    }
}

#[test]
fn what_is_odd_is_told_with_its_line() {
    const CASES: &[(&str, &str)] = &[
        ("daemon maybe;", "line 2: daemon: `maybe` is neither on nor off, taken as on"),
        ("utc_time true;", "line 2: utc_time: `true` is neither on nor off, taken as off"),
        (
            "srs_log_tank x;",
            "line 2: srs_log_tank: `x` is none of file|console|syslog, taken as file",
        ),
        ("daemon off;\ndaemon on;", "line 3: daemon: ignored, line 2 gave it already"),
        ("chunk_size;", "line 2: chunk_size: no value, the default counts: 60000"),
        ("listen 1936;", "line 2: listen: ignored, line 1 gave it already"),
        ("pid a b;", "line 2: pid: takes one value, `b` is ignored; is a ; missing before it?"),
        ("vhost w {}\nvhost w {}", "line 3: vhost: ignored, line 2 has the name w already"),
        ("vhost w { mode remote; }", "line 2: mode: remote, but there is no origin"),
        (
            "vhost w { mode remote; origin a;\n token_traverse on;\n hls { enabled on; } }",
            "line 3: token_traverse: players of hls are not asked about at the origin, \
             signed_url is for these",
        ),
        (
            "vhost w { cluster {\n origin_cluster on; coworkers a:1; } }",
            "line 3: origin_cluster: without effect: no other origin is asked; \
             give edges all of them as `origin`",
        ),
        (
            "vhost w { forward { enabled on; } }",
            "line 2: forward: enabled, but there is no destination",
        ),
        (
            "vhost w { http_hooks { on_play http://a/ ftp://a/; } }",
            "line 2: on_play: `ftp://a/` does not begin with http://, nothing else is spoken",
        ),
        ("vhost w { hds { x; } }", "line 2: x: no directive of hds is called so"),
        (
            "vhost w { time_jitter x; }",
            "line 2: time_jitter: `x` is none of full|zero|off, taken as off",
        ),
        (
            "vhost w { mr { enabled on; }\n publish { mr off; } }",
            "line 3: mr: ignored, line 2 gave it already",
        ),
        (
            "vhost w { publish { }\n publish { } }",
            "line 3: publish: ignored, line 2 gave it already",
        ),
        (
            "vhost w { tcp_nodelay on\n min_latency on; }",
            "line 2: tcp_nodelay: takes one value, `min_latency` is ignored; is a ; missing before it?",
        ),
    ];
    for (text, expected) in CASES {
        let got = warnings(&format!("listen 1935; vhost v {{}}\n{text}"));
        assert_eq!(got, [*expected], "{text}");
    }
    assert_eq!(warnings("listen 1935;"), ["no vhost: nobody can publish or play"]);
    let many = format!("listen 1935; vhost v {{}} {}", "daemon off;".repeat(1000));
    assert_eq!(warnings(&many).len(), crate::limits::CONF_WARNINGS);
}

#[test]
fn an_empty_file_with_a_port_has_the_defaults_of_the_reference() {
    let config = config("listen 1935; vhost __defaultVhost__ {}");
    assert_eq!((config.chunk_size, config.max_connections), (60_000, 1000));
    assert!(config.daemon && !config.utc_time && !config.asprocess);
    assert_eq!((config.log_tank, config.log_level), (LogTank::File, LogLevel::Trace));
    assert_eq!(config.http_api.listen, Endpoint::any(1985));
    assert_eq!(config.http_server.listen, Endpoint::any(8080));
    assert_eq!(config.heartbeat.interval, Seconds::from_millis(9900));
    assert_eq!(config.descriptors(), 7);
    let vhost = config.vhost("any").unwrap();
    assert!(vhost.enabled && !vhost.tcp_nodelay && !vhost.min_latency);
    assert_eq!((vhost.chunk_size, vhost.in_ack_size, vhost.out_ack_size), (60_000, 0, 2_500_000));
    let play = &vhost.play;
    assert_eq!(play.mw_latency, MergedWrite::Fixed(350));
    assert_eq!(play.queue_length.0.as_secs(), 30);
    assert!(play.gop_cache && play.atc_auto && !play.atc && !play.mix_correct);
    let publish = &vhost.publish;
    assert_eq!(publish.firstpkt_timeout.0.as_millis(), 20_000);
    assert_eq!(publish.normal_timeout.0.as_millis(), 5_000);
    assert!(publish.parse_sps && !publish.mr && !publish.takeover);
    assert!(!vhost.hls.enabled && vhost.hls.hls_cleanup);
}

#[test]
fn old_and_new_spellings_mean_the_same() {
    const PAIRS: &[(&str, &str)] = &[
        ("time_jitter zero;", "play { time_jitter zero; }"),
        ("mix_correct on; atc on; atc_auto off;", "play { mix_correct on; atc on; atc_auto off; }"),
        ("mw_latency 100; gop_cache off;", "play { mw_latency 100; gop_cache off; }"),
        ("queue_length 10;", "play { queue_length 10; }"),
        ("send_min_interval 10.5;", "play { send_min_interval 10.5; }"),
        ("reduce_sequence_header on;", "play { reduce_sequence_header on; }"),
        ("mr { enabled on; latency 99; }", "publish { mr on; mr_latency 99; }"),
        ("publish_1stpkt_timeout 1;", "publish { firstpkt_timeout 1; }"),
        ("publish_normal_timeout 2;", "publish { normal_timeout 2; }"),
        (
            "publish_normal_timeout 2; publish { parse_sps off; } mr { enabled on; }",
            "publish { normal_timeout 2; parse_sps off; mr on; }",
        ),
        ("mode remote; origin a b:1;", "cluster { mode remote; origin a b:1; }"),
        (
            "token_traverse on; vhost x; debug_srs_upnode off;",
            "cluster { token_traverse on; vhost x; debug_srs_upnode off; }",
        ),
        ("forward a b;", "forward { enabled on; destination a b; }"),
        ("refer a b;", "refer { enabled on; all a b; }"),
        ("refer_play a; refer_publish b;", "refer { enabled on; play a; publish b; }"),
        ("http { enabled on; mount x; }", "http_static { enabled on; mount x; }"),
    ];
    for (old, new) in PAIRS {
        assert_eq!(vhost(old), vhost(new), "{old}");
        assert_ne!(vhost(old), vhost(""), "{old}");
        assert!(
            warnings(&format!("listen 1; vhost v {{ {old} }}"))
                .iter()
                .all(|w| w.contains("origin"))
        );
    }
    assert_eq!(
        config("listen 1; http_stream { enabled on; }"),
        config("listen 1; http_server { enabled on; }")
    );
}

#[test]
fn of_two_spellings_the_first_in_the_file_counts() {
    assert_eq!(vhost("gop_cache off; play { gop_cache on; }"), vhost("gop_cache off;"));
    assert_eq!(vhost("play { gop_cache off; } gop_cache on;"), vhost("gop_cache off;"));
    assert_eq!(
        vhost("forward { enabled off; destination a; } forward b;"),
        vhost("forward { destination a; }")
    );
    assert_eq!(vhost("forward b; forward { enabled off; destination a; }"), vhost("forward b;"));
    // A second block of the same name does not add to the first.
    assert_eq!(vhost("play { atc on; } play { gop_cache off; }"), vhost("atc on;"));
}

#[test]
fn values_are_read_by_their_type() {
    let v = vhost("play { mw_latency auto; } hls { hls_fragment 0.2; hls_td_ratio 1.25; }");
    assert_eq!(v.play.mw_latency, MergedWrite::Auto);
    assert_eq!(v.hls.hls_fragment.0.as_millis(), 200);
    assert_eq!(v.hls.hls_td_ratio, 1.25);
    let v = vhost("publish { takeover on; } exec { publish a -b c; publish d; }");
    assert!(v.publish.takeover);
    assert_eq!(v.exec.publish, [vec!["a".to_owned(), "-b".into(), "c".into()], vec!["d".into()]]);
    let v = vhost(
        "transcode live/s { engine ff { vfilter { i logo.png; filter_complex 'overlay=1:2;x'; } } }",
    );
    let transcode = &v.transcodes[0];
    assert_eq!((transcode.scope.as_str(), transcode.engines[0].name.as_str()), ("live/s", "ff"));
    let pair = &transcode.engines[0].vfilter[1];
    assert_eq!(
        (pair.name.as_str(), pair.values.as_slice()),
        ("filter_complex", &["overlay=1:2;x".into()][..])
    );
    let v = vhost("ingest a { input { type stream; url rtsp://c/1; } engine { output x; } }");
    assert_eq!(v.ingests[0].id, "a");
    assert_eq!(v.ingests[0].input.kind, InputType::Stream);
    let v = vhost("security { enabled on; allow play all; deny publish 10.0.0.0/8; }");
    assert_eq!(v.security.allow, [Rule { role: Role::Play, from: Peers::All }]);
    let net = Peers::Net(Ipv4Addr::new(10, 0, 0, 0).into(), 8);
    assert_eq!(v.security.deny, [Rule { role: Role::Publish, from: net }]);
}

#[test]
fn endpoints_are_read() {
    let lo = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let cases: &[(&str, Option<Endpoint>)] = &[
        ("1935", Some(Endpoint::any(1935))),
        (":1935", Some(Endpoint::any(1935))),
        ("[::]:1935", Some(Endpoint::any(1935))),
        ("127.0.0.1:80", Some(Endpoint { ip: lo, port: 80 })),
        ("0.0.0.0:80", Some(Endpoint { ip: Some(Ipv4Addr::UNSPECIFIED.into()), port: 80 })),
        ("[::1]:80", Some(Endpoint { ip: Some("::1".parse().unwrap()), port: 80 })),
        ("", None),
        ("0", None),
        ("127.0.0.1:0", None),
        ("65536", None),
        ("+1935", None),
        ("localhost:1935", None),
        ("::1:80", None),
    ];
    for (text, expected) in cases {
        assert_eq!(Endpoint::parse(text), *expected, "{text}");
        if let Some(endpoint) = expected {
            assert_eq!(Endpoint::parse(&endpoint.to_string()), *expected);
        }
    }
    let config = config("listen 1935 [::1]:19350 1935;");
    assert_eq!(config.listen.iter().map(|e| e.port).collect::<Vec<_>>(), [1935, 19350]);
}

#[test]
fn a_vhost_is_found_by_name_or_by_default() {
    let text = "listen 1; vhost a.com {} vhost b.com { enabled off; } vhost b.com {}";
    let some = config(text);
    assert_eq!(some.vhost("a.com").map(|v| v.name.as_str()), Some("a.com"));
    assert_eq!(some.vhost("b.com"), None);
    assert_eq!(some.vhost("c.com"), None);
    assert_eq!(some.vhost("A.Com").map(|v| v.name.as_str()), Some("a.com"), "as of hosts");
    assert_eq!(some.vhost("B.COM"), None, "nor is another spelling of one that is off");
    let all = config(&format!("{text} vhost __defaultVhost__ {{}}"));
    assert_eq!(all.vhost("c.com").map(|v| v.name.as_str()), Some(DEFAULT_VHOST));
    assert_eq!(all.vhost("b.com"), None, "a vhost that is off is not replaced");
    let off = config("listen 1; vhost __defaultVhost__ { enabled off; }");
    assert_eq!(off.vhost("c.com"), None);
}

#[test]
fn a_vhost_has_the_chunk_size_of_the_server_unless_it_sets_its_own() {
    let config = config("listen 1; vhost a { chunk_size 128; } vhost b {} chunk_size 4096;");
    assert_eq!(config.vhosts.iter().map(|v| v.chunk_size).collect::<Vec<_>>(), [128, 4096]);
}

#[test]
fn without_a_file_the_server_is_made_for_a_board() {
    let config = Config::builtin();
    let api = &config.http_api;
    assert!(api.enabled && api.listen.ip.is_some_and(|ip| ip.is_loopback()) && !api.crossdomain);
    assert!(!api.raw_api.enabled);
    assert_eq!(config.listen, [Endpoint::any(1935)]);
    assert!(!config.daemon && config.pid.is_empty());
    assert_eq!(config.log_tank, LogTank::Console);
    let vhost = config.vhost("anything").unwrap();
    assert_eq!(vhost.play.mw_latency, MergedWrite::Auto);
    assert!(vhost.tcp_nodelay && vhost.play.gop_cache);
    assert_eq!(vhost.chunk_size, 60_000);
}

#[test]
fn what_the_image_lacks_is_named_once_with_its_line() {
    let text = "listen 1;\ndaemon on;\nhttp_api { enabled on; }\nheartbeat { }\nvhost a {\n\
        hls { enabled on; }\n\
        dvr { enabled off; }\n mode remote; origin x;\n ingest i { }\n}\n\
        vhost b { hls { enabled on; } }\n\
        vhost c { enabled off; hds { enabled on; } }\n\
        stream_caster { enabled on; caster flv; listen 1; output x; }";
    let loaded = loaded(text);
    let told = |present: &[&str]| {
        let notices = loaded.absent(present).into_iter().map(|notice| notice.to_string());
        // Behind it stand the presets that have it.
        notices.map(|n| n.split(';').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let hls = loaded.absent(&[]).into_iter().find(|notice| notice.line == 6).unwrap();
    assert!(hls.text.ends_with("; in the presets rtmp-hls, pi, full"), "{hls}");
    assert_eq!(
        told(&[]),
        [
            "line 2: daemon: not in this image",
            "line 3: http_api: not in this image",
            "line 6: hls: not in this image",
            "line 8: mode remote: not in this image",
            "line 13: stream_caster flv: not in this image",
        ]
    );
    assert_eq!(
        told(&["service", "api", "hls", "caster-rtsp", "edge"]),
        ["line 13: stream_caster flv: not in this image"]
    );
    let quiet = load(b"listen 1; daemon off; vhost v { hls { hls_fragment 5; } }").unwrap();
    assert_eq!(quiet.absent(&[]), []);
    // What it says holds for forwards, too.
    let text = b"listen 1; daemon off; vhost v { forward a; debug_srs_upnode off; }";
    let forward = load(text).unwrap();
    assert!(!forward.config.vhosts[0].cluster.debug_srs_upnode);
    assert_eq!(forward.absent(&["forward"]), []);
    let silent = load(b"listen 1; vhost v {}").unwrap();
    assert_eq!(silent.absent(&[]).len(), 1, "daemon is on unless the file says off");
    assert_eq!(silent.absent(&["service"]), []);
}

#[test]
fn every_sample_loads_without_a_warning() {
    for (name, text) in SAMPLES {
        let loaded = loaded(text);
        assert_eq!(loaded.warnings, [], "{name}");
        assert!(loaded.config.vhost("anything").is_some(), "{name}");
        for notice in loaded.absent(&[]) {
            // Only what says where things would be, or what the file's purpose is.
            let about = [
                "pid",
                "tls_ca",
                "ff_",
                "http_api",
                "http_server",
                "daemon",
                "stats",
                "hls",
                "dvr",
                "hds",
            ];
            let stop = [
                "grace_",
                "drain_timeout",
                "watchdog",
                "disable_daemon_for_docker",
                "auto_reload_for_docker",
            ];
            let about = [&about[..], &stop].concat();
            assert!(about.iter().any(|a| notice.text.starts_with(a)), "{name}: {notice}");
        }
    }
}

#[test]
fn the_samples_do_what_they_are_for() {
    let sample = |name: &str| {
        let (_, text) = SAMPLES.iter().find(|(n, _)| *n == name).unwrap();
        config(text)
    };
    assert_eq!(sample("origin").listen, [Endpoint::any(19350)]);
    assert_eq!(sample("srs").log_tank, LogTank::File);
    let console = sample("console");
    assert!(!console.daemon && console.log_tank == LogTank::Console);
    let realtime = sample("realtime").vhosts[0].clone();
    assert!(realtime.min_latency && realtime.tcp_nodelay && !realtime.play.gop_cache);
    assert_eq!(realtime.play.mw_latency, MergedWrite::Fixed(100));
    let segment = sample("dvr.segment").vhosts[0].dvr.clone();
    assert_eq!(segment.dvr_plan, DvrPlan::Segment);
    assert_eq!((segment.dvr_max_bytes, segment.dvr_min_free), (Size(20 << 30), Size(16 << 20)));
    assert!(sample("hds").vhosts[0].hds.enabled);
    let security = sample("security.deny.publish").vhosts[0].security.clone();
    let ip = "127.0.0.1".parse().unwrap();
    assert_eq!(security.check(Role::Publish, ip), Verdict::Denied);
    assert_eq!(security.check(Role::Play, ip), Verdict::Allowed);
}

#[test]
fn full_conf_is_the_reference() {
    if !crate::limits::REFERENCE {
        return;
    }
    let text = reference();
    if std::env::var_os("UPDATE_CONF").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/full.conf");
        std::fs::write(path, &text).unwrap();
    } else {
        assert!(FULL == text, "conf/full.conf is old: UPDATE_CONF=1 cargo test --lib config");
    }
    // Every directive is in it, none of them as a comment, with its default.
    let mut lines = text.lines().map(str::trim_start);
    for field in fields() {
        let name = field.name;
        let at = |line: &&str| line.split([' ', ';']).next() == Some(name);
        if field.kind.starts_with("{ }") {
            assert!(lines.by_ref().any(|line| at(&line)), "{}.{name}", field.section);
        } else {
            let default = format!("# default: {}", field.default);
            assert!(lines.by_ref().any(|line| line == default), "{}.{name}", field.section);
            assert!(lines.next().as_ref().is_some_and(at), "{}.{name}", field.section);
        }
    }
    assert!(text.lines().all(|line| line.len() <= 110));
}

#[test]
fn full_conf_sets_what_it_calls_the_default() {
    let vhost = config(FULL).vhosts[0].clone();
    assert_eq!((*vhost.play).clone(), Play::default());
    assert_eq!((*vhost.publish).clone(), Publish::default());
    assert_eq!((*vhost.dvr).clone(), Dvr::default());
    assert_eq!((*vhost.hds).clone(), Hds::default());
    assert_eq!((*vhost.dash).clone(), Dash::default());
    assert_eq!((*vhost.http_static).clone(), HttpStatic::default());
    assert_eq!((*vhost.http_remux).clone(), HttpRemux::default());
    let mut hls = (*vhost.hls).clone();
    hls.hls_entry_prefix.clear();
    hls.hls_key_url.clear();
    assert_eq!(hls, Hls::default());
}

#[test]
fn every_directive_of_the_reference_has_a_value_there() {
    for (number, line) in FULL.lines().enumerate() {
        let words = line.split_whitespace().filter(|w| *w != "{").count();
        let one_word = matches!(line.trim_start().chars().next(), Some('a'..='z')) && words == 1;
        assert!(!one_word || line.ends_with('{'), "line {}: {line}", number + 1);
    }
}

#[test]
fn a_cut_file_is_an_error_or_loads_but_never_panics() {
    let bare: String = FULL.lines().filter(|l| !l.trim_start().starts_with('#')).collect();
    for at in 0..bare.len() {
        if let Some(cut) = bare.get(..at) {
            let _ = load(cut.as_bytes());
        }
    }
    assert!(load(bare.as_bytes()).is_ok());
}

#[test]
fn a_damaged_file_is_an_error_or_loads_but_never_panics() {
    let bare: String = FULL
        .lines()
        .filter(|l| !l.trim_start().starts_with('#'))
        .map(|l| format!("{l}\n"))
        .collect();
    let mut random = fastrand::Rng::with_seed(7);
    let pieces: &[&[u8]] =
        &[b";", b"{", b"}", b"\"", b"'", b"#", b" ", b"-1", b"99999999999", b"\xff", b"on"];
    for _ in 0..1500 {
        let mut text = bare.clone().into_bytes();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(0..text.len());
            let piece = pieces[random.usize(0..pieces.len())];
            let end = (at + random.usize(0..8)).min(text.len());
            text.splice(at..end, piece.iter().copied());
        }
        if let Ok(loaded) = load(&text) {
            let _ = loaded.absent(&[]);
        }
    }
}

#[test]
fn bytes_may_have_a_unit() {
    for (word, bytes) in [
        ("0", 0),
        ("1", 1),
        ("3k", 3 << 10),
        ("500M", 500 << 20),
        ("20G", 20 << 30),
        ("16777215T", 16_777_215 << 40),
    ] {
        let dvr = vhost(&format!("dvr {{ dvr_max_bytes {word}; }}")).dvr;
        assert_eq!(dvr.dvr_max_bytes, Size(bytes), "{word}");
        let text = dvr.dvr_max_bytes.to_string();
        let again = vhost(&format!("dvr {{ dvr_max_bytes {text}; }}")).dvr;
        assert_eq!(again, dvr, "{text}");
    }
    for word in ["G", "-1", "1.5G", "1GB", "16777216T", "99999999999999999999", "1 000"] {
        let text = format!("listen 1; vhost v {{ dvr {{ dvr_min_free \"{word}\"; }} }}");
        let error = load(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("is not a number of bytes"), "{word}: {error}");
    }
}
