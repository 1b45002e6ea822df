//! What an `ingest` block asks for: which sources are read without a program, which are not.

use crate::config::{Config, Engine, Ingest, InputType, Pair};
use crate::format::ts;
use crate::hub::StreamKey;
use crate::limits::TLS;
use crate::proto::authority;
use crate::proto::http::url as http;
use crate::proto::rtmp::url as rtmp;
use crate::proto::rtsp;
use crate::service::program;
use core::net::IpAddr;

/// What is to be done for one engine of an ingest.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plan {
    /// The server reads the source itself.
    Native {
        /// What is read.
        source: Box<Source>,
        /// Where it is published.
        output: String,
        /// That stream.
        key: StreamKey,
        /// At the speed of the clock, over and over; else as it comes.
        paced: bool,
    },
    /// A program does all of it. Where it publishes.
    Program(String),
    /// Neither can.
    Impossible(String),
}

/// A source that is read without a program.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// A file.
    File(String, Format),
    /// A body over HTTP.
    Http(http::Url, Format),
    /// A playlist over HTTP.
    Hls(http::Url),
    /// A stream of another server.
    Rtmp {
        /// Name or address.
        host: String,
        /// Its port.
        port: u16,
        /// Whether it is spoken to over TLS.
        secure: bool,
        /// `rtmp://host/app?parameters`.
        tc_url: String,
        /// App without parameters.
        app: String,
        /// Stream with parameters.
        stream: String,
    },
    /// A transport stream in datagrams, at a port of ours or of a group.
    Udp {
        /// The group, or the address to listen at.
        address: Option<IpAddr>,
        /// The port.
        port: u16,
        /// `localaddr` of the url: the interface of a group.
        interface: String,
    },
    /// A camera.
    Rtsp(rtsp::Url),
}

/// How a file or a body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Flv,
    Ts,
    /// AAC with ADTS headers, or MP3.
    Sound,
}

impl Plan {
    /// Where it is published; empty for nowhere.
    pub(super) fn output(&self) -> &str {
        match self {
            Self::Native { output, .. } | Self::Program(output) => output,
            Self::Impossible(_) => "",
        }
    }

    /// That stream, if it is one of ours.
    pub(super) fn key(&self, config: &Config) -> Option<StreamKey> {
        match self {
            Self::Native { key, .. } => Some(key.clone()),
            Self::Program(output) => program::own_stream(config, output),
            Self::Impossible(_) => None,
        }
    }
}

/// What becomes of `engine` of `ingest` in the vhost block called `vhost`.
pub(super) fn plan(config: &Config, vhost: &str, ingest: &Ingest, engine: &Engine) -> Plan {
    let url = ingest.input.url.trim();
    if url.is_empty() {
        return Plan::Impossible("the input has no url".into());
    }
    let output = output(config, vhost, engine);
    if output.is_empty() {
        return Plan::Impossible("the engine has no output. ret=3034".into());
    }
    let source = Source::parse(url);
    let why = match (&source, program::own_stream(config, &output)) {
        _ if !is_copy(engine) => "the engine encodes",
        (_, None) => "the output is no stream of this server",
        (Ok(source), Some(key)) => {
            let file = ingest.input.kind == InputType::File;
            let paced = match source {
                Source::File(..) | Source::Hls(_) => true,
                Source::Http(..) => file,
                Source::Rtmp { .. } | Source::Udp { .. } | Source::Rtsp(_) => false,
            };
            return Plan::Native { source: Box::new(source.clone()), output, key, paced };
        }
        (Err(why), _) => why,
    };
    if ingest.ffmpeg.is_empty() {
        return Plan::Impossible(format!("{why}: this needs `ffmpeg PATH;`. ret=3032"));
    }
    Plan::Program(output)
}

/// `[vhost]` and `[port]` of an output replaced.
fn output(config: &Config, vhost: &str, engine: &Engine) -> String {
    let port = program::port(config).to_string();
    engine.output.replace("[vhost]", vhost).replace("[port]", &port)
}

/// Whether the engine leaves everything as it is.
pub(super) fn is_copy(engine: &Engine) -> bool {
    let copies = |codec: &str| matches!(codec, "" | "copy");
    let default = Engine::default();
    !engine.enabled
        || copies(&engine.vcodec)
            && copies(&engine.acodec)
            && engine.vfilter.is_empty()
            && engine.perfile.iter().all(|pair| pair.name == "rtsp_transport")
            && [default.oformat.as_str(), "off"].contains(&engine.oformat.as_str())
}

/// Whether the packets of a camera are to come over UDP, and not in the connection first.
pub(super) fn over_udp(engine: &Engine) -> bool {
    let wanted = |pair: &Pair| pair.name == "rtsp_transport" && pair.values == ["udp"];
    engine.perfile.iter().any(wanted)
}

impl Source {
    /// What `url` names. An error says why a program is needed for it.
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        let Some((scheme, rest)) = url.split_once("://") else {
            let format = Format::of(url).ok_or("only .flv, .ts, .aac and .mp3 files are read")?;
            return Ok(Self::File(url.to_owned(), format));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "file" => Self::parse(rest),
            "https" if !TLS => {
                Err("https is not spoken (it needs the feature tls; or stunnel, and http here)")
            }
            "rtmps" if !TLS => {
                Err("rtmps is not spoken (it needs the feature tls; or stunnel, and rtmp here)")
            }
            "http" | "https" => {
                let parsed = http::Url::parse(url).map_err(|_| "the url is no valid one")?;
                let path = parsed.target.split('?').next().unwrap_or_default();
                if ends_with(path, ".m3u8") || ends_with(path, ".m3u") {
                    return Ok(Self::Hls(parsed));
                }
                let format = Format::of(path)
                    .ok_or("over http only .flv, .ts, .aac, .mp3 and .m3u8 are read")?;
                Ok(Self::Http(parsed, format))
            }
            "rtmp" | "rtmps" => Self::rtmp(url).ok_or("the url is no valid one"),
            "udp" => Self::udp(rest).ok_or("the url is no valid one"),
            "rtsp" => rtsp::Url::parse(url).map(Self::Rtsp).ok_or("the url is no valid one"),
            _ => Err("this kind of url is not read"),
        }
    }

    fn rtmp(url: &str) -> Option<Self> {
        let (tc_url, stream) = url.rsplit_once('/')?;
        let address = rtmp::discovery(tc_url, stream).ok()?;
        let rtmp::Address { schema, host, port, app, .. } = address;
        let secure = schema.eq_ignore_ascii_case(rtmp::SECURE);
        Some(Self::Rtmp { host, port, secure, tc_url: tc_url.into(), app, stream: stream.into() })
    }

    /// `[@][address]:port[?localaddr=interface]`; without an address, any.
    fn udp(rest: &str) -> Option<Self> {
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let place = place.trim_end_matches('/').trim_start_matches('@');
        let (address, port) = match place.strip_prefix(':') {
            Some(port) => (None, port.parse().ok()?),
            None => {
                let (host, port) = authority::split(place, 0)?;
                (Some(host.parse().ok()?), port)
            }
        };
        let mut options = query.split('&').filter_map(|option| option.split_once('='));
        let interface = options.find(|(name, _)| *name == "localaddr").map_or("", |(_, v)| v);
        (port != 0).then(|| Self::Udp { address, port, interface: interface.into() })
    }
}

impl Format {
    fn of(path: &str) -> Option<Self> {
        [
            (".flv", Self::Flv),
            (".ts", Self::Ts),
            (".m2ts", Self::Ts),
            (".aac", Self::Sound),
            (".mp3", Self::Sound),
        ]
        .into_iter()
        .find(|(end, _)| ends_with(path, end))
        .map(|(_, format)| format)
    }
}

fn ends_with(path: &str, end: &str) -> bool {
    let at = path.len().checked_sub(end.len());
    at.and_then(|at| path.get(at..)).is_some_and(|last| last.eq_ignore_ascii_case(end))
}

/// Bytes at the start of a segment that say what it is.
pub(super) fn sniff(uri: &str, start: &[u8]) -> Format {
    let path = uri.split('?').next().unwrap_or_default();
    match start {
        [0x47, ..] if start.get(ts::PACKET).is_none_or(|&next| next == 0x47) => Format::Ts,
        [b'I', b'D', b'3', ..] | [0xff, 0xe0..=0xff, ..] => Format::Sound,
        _ => Format::of(path).filter(|format| *format != Format::Flv).unwrap_or(Format::Ts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn what_can_be_read_is_read_without_a_program() {
        const OWN: &str = "output rtmp://127.0.0.1:[port]/live?vhost=[vhost]/s;";
        let tls = |with, without| if TLS { with } else { without };
        let cases = [
            ("url ./a.flv;", "", OWN, "native paced"),
            ("url a.TS; type file;", "ffmpeg f;", OWN, "native paced"),
            ("url a.mp4;", "ffmpeg f;", OWN, "program"),
            ("url a.mp4;", "", OWN, "impossible"),
            ("type stream; url http://h/a.flv?x=1;", "", OWN, "native"),
            ("type file; url http://h/a.ts;", "", OWN, "native paced"),
            ("type stream; url http://h/a.m3u8;", "ffmpeg f;", OWN, "native paced"),
            ("type stream; url https://h/a.m3u8;", "", OWN, tls("native paced", "impossible")),
            (
                "type stream; url https://h/a.m3u8;",
                "ffmpeg f;",
                OWN,
                tls("native paced", "program"),
            ),
            ("type stream; url https://h/a.flv;", "", OWN, tls("native", "impossible")),
            ("type stream; url rtmps://h/live/s;", "", OWN, tls("native", "impossible")),
            ("type stream; url rtmp://h/live/s;", "ffmpeg f;", OWN, "native"),
            ("type stream; url rtsp://u:p@h/1;", "", OWN, "native"),
            ("type stream; url udp://@239.1.1.1:5000?localaddr=eth0;", "", OWN, "native"),
            ("type stream; url udp://:5000;", "", OWN, "native"),
            ("type stream; url udp://h:5000;", "", OWN, "impossible"),
            ("type stream; url srt://h:5000;", "ffmpeg f;", OWN, "program"),
            (
                "url a.flv;",
                "ffmpeg f;",
                "enabled on; vcodec libx264; vprofile main; vpreset fast; acodec copy; output rtmp://127.0.0.1:[port]/live/s;",
                "program",
            ),
            (
                "url a.flv;",
                "ffmpeg f;",
                "enabled off; vcodec libx264; output rtmp://127.0.0.1:[port]/live/s;",
                "native paced",
            ),
            ("url a.flv;", "ffmpeg f;", "output rtmp://192.0.2.1/live/s;", "program"),
            ("url a.flv;", "", "output rtmp://192.0.2.1/live/s;", "impossible"),
            ("url a.flv;", "ffmpeg f;", "", "impossible"),
            (
                "type stream; url rtsp://h/1;",
                "ffmpeg f;",
                "enabled on; perfile { rtsp_transport tcp; } vcodec copy; acodec copy; \
                 output rtmp://127.0.0.1:[port]/live/s;",
                "native",
            ),
            ("url '';", "ffmpeg f;", OWN, "impossible"),
        ];
        for (input, ffmpeg, engine, want) in cases {
            let text = format!(
                "listen 19350; vhost __defaultVhost__ {{}} vhost v {{ ingest i {{ enabled on; input {{ {input} }} {ffmpeg} engine {{ {engine} }} }} }}"
            );
            let config = config::load(text.as_bytes()).unwrap().config;
            let ingest = &config.vhosts[1].ingests[0];
            let got = match plan(&config, "v", ingest, &ingest.engines[0]) {
                Plan::Native { paced: true, .. } => "native paced",
                Plan::Native { .. } => "native",
                Plan::Program(output) => {
                    assert!(!output.contains('['), "{output}");
                    "program"
                }
                Plan::Impossible(_) => "impossible",
            };
            assert_eq!(got, want, "{input} {ffmpeg} {engine}");
        }
    }

    #[test]
    fn segments_say_what_they_are() {
        let mut packet = vec![0; 200];
        packet[0] = 0x47;
        packet[188] = 0x47;
        assert_eq!(sniff("a", &packet), Format::Ts);
        assert_eq!(sniff("a.ts", b"ID3\x04"), Format::Sound);
        assert_eq!(sniff("a.ts", &[0xff, 0xf1]), Format::Sound);
        assert_eq!(sniff("a.aac?x", &[0]), Format::Sound);
        assert_eq!(sniff("a", &[]), Format::Ts);
    }
}
