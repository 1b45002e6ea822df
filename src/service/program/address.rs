//! What programs are told of this server, and what the log is told of them.

use crate::config::{Config, shown};
use crate::hub::StreamKey;
use crate::proto::rtmp::url;
use crate::service::path::{safe, safe_path};
use core::net::IpAddr;
use std::path::{Path, PathBuf};

/// The stream of this server that `address` names, an address of RTMP; `None` for others.
pub fn own_stream(config: &Config, address: &str) -> Option<StreamKey> {
    let (tc_url, stream) = address.rsplit_once('/')?;
    let address = url::discovery(tc_url, stream).ok()?;
    let host = address.host.parse::<IpAddr>().ok();
    let local =
        address.host == "localhost" || host.is_some_and(|ip| ip.to_canonical().is_loopback());
    let ours = config.listen.iter().any(|endpoint| {
        let here = match endpoint.ip {
            None => local,
            Some(ip) if ip.is_unspecified() => local,
            Some(ip) => host.map_or(ip.is_loopback(), |host| host == ip),
        };
        endpoint.port == address.port && here
    });
    let vhost = config.vhost(&address.vhost).filter(|_| ours)?;
    Some(StreamKey::new(&vhost.name, &address.app, &address.stream))
}

/// The address of `key` for programs on this machine.
pub fn address(config: &Config, key: &StreamKey) -> String {
    let (host, port) = (local_host(config), port(config));
    format!("rtmp://{host}:{port}/{}?vhost={}/{}", key.app(), key.vhost(), key.stream())
}

/// The port that programs of ours turn to.
pub fn port(config: &Config) -> u16 {
    config.listen.first().map_or(1935, |endpoint| endpoint.port)
}

fn local_host(config: &Config) -> String {
    match config.listen.first().and_then(|endpoint| endpoint.ip) {
        Some(IpAddr::V4(ip)) if !ip.is_unspecified() => ip.to_string(),
        Some(IpAddr::V6(ip)) if !ip.is_unspecified() => format!("[{ip}]"),
        _ => "127.0.0.1".into(),
    }
}

/// `text` with each of `variables` replaced, in one go: what stands in for one is not looked at
/// for others.
pub fn replace(text: &str, variables: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let found = variables.iter().find(|(name, _)| rest.starts_with(name));
        let len = match found {
            Some((name, value)) => {
                out.push_str(value);
                name.len()
            }
            None => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = rest.get(len..).unwrap_or_default();
    }
    out
}

/// The log of a program of `kind` for `key`; `None` when none is to be kept.
pub fn log_file(config: &Config, kind: &str, key: &StreamKey, engine: &str) -> Option<PathBuf> {
    let dir = config.ff_log_dir.as_str();
    if dir == "/dev/null" {
        return None;
    }
    let app = safe_path(key.app()).replace('/', "-");
    let mut name = format!("ffmpeg-{kind}-{}-{app}-{}", safe(key.vhost()), safe(key.stream()));
    if !engine.is_empty() {
        name.push('-');
        name.push_str(&safe(engine));
    }
    Some(Path::new(dir).join(format!("{name}.log")))
}

/// Program and arguments as logs may have them: without passwords, without the values of parameters,
/// and where a stream goes elsewhere without its key.
pub fn told(config: &Config, program: &str, args: &[String]) -> String {
    let mut words = vec![program.to_owned()];
    let mut hides = false;
    for arg in args {
        let word = if hides { HIDDEN.to_owned() } else { told_word(config, arg) };
        hides = SECRET.contains(&arg.as_str());
        words.push(word);
    }
    words.join(" ")
}

/// One argument; several urls may be in it, as in `tee:[f=flv]rtmp://...|[f=flv]rtmp://...`.
fn told_word(config: &Config, word: &str) -> String {
    let part = |part: &str| {
        let (options, url) = match part.starts_with('[').then(|| part.split_once(']')).flatten() {
            Some((options, url)) => (format!("{options}]"), url),
            None => (String::new(), part),
        };
        // What is read has no key.
        let is_rtmp = url.to_ascii_lowercase().starts_with("rtmp");
        options + &if is_rtmp { told_url(config, url) } else { shown::shown(url) }
    };
    let piece = |text: &str| text.split('|').map(part).collect::<Vec<_>>().join("|");
    word.split(' ').map(piece).collect::<Vec<_>>().join(" ")
}

/// Where something is published, as the API, metrics and logs may have it: elsewhere the last part is
/// a key.
pub fn told_url(config: &Config, url: &str) -> String {
    if own_stream(config, url).is_some() { shown::shown(url) } else { shown::without_key(url) }
}

const HIDDEN: &str = "...";
/// Options of ffmpeg whose value is secret, or has what is.
const SECRET: &[&str] = &[
    "-headers",
    "-cookies",
    "-passphrase",
    "-password",
    "-rtmp_conn",
    "-encryption_key",
    "-decryption_key",
    "-cryptokey",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn outputs_of_this_server_are_known() {
        let text = b"listen 19350 [::1]:1936; vhost __defaultVhost__ {} vhost a {}";
        let config = config::load(text).unwrap().config;
        for (address, want) in [
            ("rtmp://127.0.0.1:19350/live/s", Some("/live/s")),
            ("rtmp://localhost:19350/live?vhost=a/s", Some("a/live/s")),
            ("rtmp://localhost:19350/live/s?vhost=a&x=1", Some("a/live/s")),
            ("rtmp://[::1]:1936/live/s", Some("/live/s")),
            ("rtmp://127.0.0.1:1936/live/s", None),
            ("rtmp://127.0.0.1/live/s", None),
            ("rtmp://192.0.2.1:19350/live/s", None),
            ("./a.flv", None),
            ("", None),
        ] {
            let key = own_stream(&config, address).map(|key| key.to_string());
            assert_eq!(key.as_deref(), want, "{address}");
        }
        let key = StreamKey::new("a", "live", "s");
        assert_eq!(address(&config, &key), "rtmp://127.0.0.1:19350/live?vhost=a/s");
        assert_eq!(own_stream(&config, &address(&config, &key)), Some(key));
    }

    #[test]
    fn commands_are_told_without_what_is_secret() {
        let config =
            config::load(b"listen 19350; vhost __defaultVhost__ {} vhost a {}").unwrap().config;
        for (args, want) in [
            (
                &[
                    "-i",
                    "rtsp://u:s3cret@cam/a?k=s3cret",
                    "-y",
                    "rtmp://localhost:19350/live/s?t=s3cret",
                ][..],
                "-i rtsp://cam/a?k=... -y rtmp://localhost:19350/live/s?t=...",
            ),
            (&["rtmp://a.example/live2/s3cret"], "rtmp://a.example/live2/..."),
            (
                &["rtmp://127.0.0.1:19350/live?vhost=a/s?token=s3cret/1&b=s3cret"],
                "rtmp://127.0.0.1:19350/live?vhost=a/s?token=...&b=...",
            ),
            (&["rtmps://a.example/live2/s3cret?b=s3cret"], "rtmps://a.example/live2/..."),
            (
                &[
                    "-f",
                    "tee",
                    "[f=flv]rtmp://a.example/x/s3cret|[f=flv]rtmp://u:s3cret@b.example/x/s3cret",
                ],
                "-f tee [f=flv]rtmp://a.example/x/...|[f=flv]rtmp://b.example/x/...",
            ),
            (&["-headers", "Authorization: Basic s3cret", "-i", "a.mp4"], "-headers ... -i a.mp4"),
            (&["RTMP://a.example/live2/s3cret"], "RTMP://a.example/live2/..."),
            (&["a b http://u:s3cret@h/x"], "a b http://h/x"),
            (&["-c", "copy", "./a@b.flv"], "-c copy ./a@b.flv"),
            (&["[0:v]scale=2:2[a];[a]null"], "[0:v]scale=2:2[a];[a]null"),
        ] {
            let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
            assert_eq!(told(&config, "./f", &args), format!("./f {want}"));
        }
    }

    #[test]
    fn logs_are_called_as_in_the_original_and_stay_in_their_directory() {
        let of = |dir: &str| {
            let text = format!("listen 1; ff_log_dir {dir};");
            config::load(text.as_bytes()).unwrap().config
        };
        let key = StreamKey::new("v", "live/sub", "../s");
        let log = log_file(&of("./objs"), "encoder", &key, "ff");
        assert_eq!(log, Some("./objs/ffmpeg-encoder-v-live-sub-..%2Fs-ff.log".into()));
        let log = log_file(&of("/log"), "ingest", &StreamKey::new("v", "a", "s"), "");
        assert_eq!(log, Some("/log/ffmpeg-ingest-v-a-s.log".into()));
        assert_eq!(log_file(&of("/dev/null"), "encoder", &key, "ff"), None);
    }
}
