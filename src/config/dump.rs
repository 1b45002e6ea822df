//! What a configuration says, for programs that show it.

use super::section::Section;
use super::{Config, Vhost};

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
    let mut rest = Config { vhosts: Vec::new(), ..config.clone() };
    let mut said = section(&mut rest);
    said.retain(|(name, _)| *name != "vhost");
    said
}

/// Every directive of the vhost block `name`, whether it is on or not.
pub fn vhost(config: &Config, name: &str) -> Option<Vec<(&'static str, Said)>> {
    let found = config.vhosts.iter().find(|vhost| vhost.name == name)?;
    let mut copy = Vhost::clone(found);
    Some(section(&mut copy))
}

fn section(section: &mut dyn Section) -> Vec<(&'static str, Said)> {
    let mut said = Vec::new();
    for field in section.block().fields {
        let Some(value) = section.value(field.name) else { continue };
        let (text, kind) = (value.text(), value.kind());
        // What is secret in the file is not told by the server.
        if kind.starts_with("text") && SECRET.iter().any(|word| field.name.contains(word)) {
            continue;
        }
        let words = || text.split_ascii_whitespace().map(str::to_owned).collect();
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
            _ => match text.parse::<f64>() {
                Ok(number) if kind != "text" => Said::Number(number),
                _ => Said::Text(text),
            },
        };
        said.push((field.name, value));
    }
    said
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
}
