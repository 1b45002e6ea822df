//! What a configuration says, for programs that show it.

use super::Config;
use super::section::Section;
use super::shown;
use crate::media::decimal;

/// The value of a directive.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// on or off.
    Switch(bool),
    /// A number, in the unit of the directive.
    Number(f64),
    /// Anything else of one word.
    Text(String),
    /// Words.
    List(Vec<String>),
    /// What stands in its braces.
    Block(Vec<(&'static str, Self)>),
    /// The same, of a directive that may be there many times.
    Blocks(Vec<Vec<(&'static str, Self)>>),
}

/// Every directive outside the vhosts.
pub fn global(config: &Config) -> Vec<(&'static str, Said)> {
    let rest = Config { vhosts: Vec::new(), ..config.clone() };
    let mut said = section(&rest);
    said.retain(|(name, _)| *name != "vhost");
    said
}

/// Every directive of the vhost block `name`, whether it is on or not.
pub fn vhost(config: &Config, name: &str) -> Option<Vec<(&'static str, Said)>> {
    let found = config.vhosts.iter().find(|vhost| vhost.name == name)?;
    Some(section(&**found))
}

fn section(section: &dyn Section) -> Vec<(&'static str, Said)> {
    let mut said = Vec::new();
    for (field, value) in section.block().fields.iter().zip(section.values()) {
        let (text, kind) = (value.text(), value.kind());
        // What is secret in the file is not told by the server.
        if kind.starts_with("text") && SECRET.iter().any(|word| field.name.contains(word)) {
            continue;
        }
        let hide = |word: &str| match field.name {
            "destination" => shown::without_key(word),
            "output" if !is_here(word) => shown::without_key(word),
            _ => shown::shown(word),
        };
        let words = || text.split_ascii_whitespace().map(hide).collect();
        let value = match kind.as_str() {
            "{ }" => match value.sections().pop() {
                Some(inner) => Said::Block(self::section(inner)),
                None => continue,
            },
            "{ }, repeatable" => {
                let blocks = value.sections().into_iter().map(self::section);
                Said::Blocks(blocks.collect())
            }
            "on|off" => Said::Switch(text == "on"),
            kind if kind.ends_with(" ...") => Said::List(words()),
            _ => match decimal(&text) {
                Some(number) if kind != "text" => Said::Number(number),
                _ => Said::Text(hide(&text)),
            },
        };
        said.push((field.name, value));
    }
    said
}

/// Whether a stream that is published there stays on this machine.
fn is_here(output: &str) -> bool {
    let host = output.split_once("://").map_or("", |(_, rest)| rest);
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|here| {
        let rest = host.strip_prefix(here);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/', '?']))
    })
}

/// Parts of the names of directives whose values are secrets.
const SECRET: &[&str] = &["token", "secret", "password"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_types_of_their_directives() {
        let text = b"listen 1935 1936; chunk_size 4096; http_api { enabled on; token x; }
            stats { disk sda sdb; } vhost a { play { gop_cache off; queue_length 2.5; mw_latency auto; }
            ingest i { enabled on; input { url 007; } } }";
        let config = super::super::load(text).unwrap().config;
        let said = global(&config);
        let find = |said: &[(&str, Said)], name: &str| {
            said.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone())
        };
        let list = |words: &[&str]| Said::List(words.iter().map(|w| (*w).into()).collect());
        assert_eq!(find(&said, "listen"), Some(list(&["1935", "1936"])));
        assert_eq!(find(&said, "chunk_size"), Some(Said::Number(4096.0)));
        let Some(Said::Block(api)) = find(&said, "http_api") else { panic!() };
        assert_eq!(find(&api, "enabled"), Some(Said::Switch(true)));
        assert_eq!(find(&api, "token"), None);
        assert_eq!(find(&said, "vhost"), None);
        let said = vhost(&config, "a").unwrap();
        let Some(Said::Block(play)) = find(&said, "play") else { panic!() };
        assert_eq!(find(&play, "gop_cache"), Some(Said::Switch(false)));
        assert_eq!(find(&play, "queue_length"), Some(Said::Number(2.5)));
        assert_eq!(find(&play, "mw_latency"), Some(Said::Text("auto".into())));
        assert!(matches!(find(&said, "ingest"), Some(Said::Blocks(all)) if all.len() == 1));
        assert_eq!(vhost(&config, "b"), None);
    }

    #[test]
    fn secrets_are_not_told() {
        let text = b"listen 1; http_api { enabled on; token s3; }
            stream_caster { enabled on; caster rtsp; listen 9; output rtmp://127.0.0.1/[app]/[stream];
                username u; password s3; }
            heartbeat { url http://u:s3@h/a?k=s3; }
            vhost a { signed_url { secret s3 s3b; }
                forward { enabled on; destination 10.0.0.2 rtmp://a.example/live2/s3 rtmp://h/[app]/[stream]?k=s3; }
                http_hooks { enabled on; on_play http://h/x?secret=s3 http://u:s3@h/y; }
                ingest i { enabled on; input { type stream; url rtsp://u:s3@cam/user=u&password=s3?k=s3; }
                    engine { enabled off; output rtmp://a.example/live2/s3; } }
                ingest j { enabled on; input { type stream; url http://h/a.flv; }
                    engine { enabled off; output rtmp://127.0.0.1:1935/live/cam?token=s3; } } }";
        let config = super::super::load(text).unwrap().config;
        let said = format!("{:?} {:?}", global(&config), vhost(&config, "a").unwrap());
        assert!(!said.contains("s3"), "{said}");
        for there in [
            "10.0.0.2",
            "rtmp://a.example/live2/...",
            "rtmp://h/[app]/[stream]?k=...",
            "http://h/x?secret=...",
            "http://h/y",
            "rtsp://cam/user=...&password=...?k=...",
            "rtmp://127.0.0.1:1935/live/cam?token=...",
            "rtmp://127.0.0.1/[app]/[stream]",
            "http://h/a?k=...",
        ] {
            assert!(said.contains(there), "{there}: {said}");
        }
    }
}
