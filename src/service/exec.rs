//! Programs that run while a stream is published.

use super::Service;
use super::admission;
use super::path::{Stamp, Template};
use super::program::{self, Job, while_published};
use crate::config::{Config, Vhost};
use crate::context::Context;
use crate::hub::{Caller, Sink, StreamKey};
use crate::io::zone::Zone;
use std::rc::Rc;

/// Runs the programs of a vhost's `exec`.
pub(super) const SERVICE: Service =
    Service { attach, differs: |a, b| a.exec != b.exec, ..Service::new(NAME) };

const NAME: &str = "exec";

fn attach(cx: &Rc<Context>, key: &StreamKey, vhost: &Vhost) -> Option<Box<dyn Sink>> {
    if !vhost.exec.enabled || vhost.exec.publish.is_empty() {
        return None;
    }
    if program::is_output(cx, key) {
        log::info!("{key} comes from a program of ours, none is run for it. ret=3029");
        return None;
    }
    let client = admission::publisher(cx, key);
    let (param, caller) = match &client {
        Some(client) => (client.param.as_str(), client.caller.clone()),
        None => ("", Rc::default()),
    };
    let config = cx.config();
    let mut jobs = Vec::new();
    for words in &vhost.exec.publish {
        match job(&config, key, param, &caller, words, &Stamp::now(&zone(&config))) {
            // As they stand in the file: dates differ each time.
            Ok(job) => jobs.push((words.clone(), job)),
            Err(why) => log::error!("exec publish {}: {why}", words.join(" ")),
        }
    }
    Some(while_published(cx, NAME, key, jobs))
}

fn zone(config: &Config) -> Zone {
    if config.utc_time { Zone::default() } else { Zone::local() }
}

fn job(
    config: &Config,
    key: &StreamKey,
    param: &str,
    caller: &Caller,
    words: &[String],
    stamp: &Stamp,
) -> Result<Job, String> {
    let (port, url) = (program::port(config).to_string(), program::address(config, key));
    let variables = [
        ("[vhost]", key.vhost()),
        ("[port]", port.as_str()),
        ("[app]", key.app()),
        ("[stream]", key.stream()),
        ("[param]", param),
        ("[url]", url.as_str()),
        ("[tcUrl]", caller.tc_url.as_str()),
        ("[swfUrl]", caller.swf_url.as_str()),
        ("[pageUrl]", caller.page_url.as_str()),
    ];
    let (program, args) = words.split_first().ok_or("no program")?;
    let mut filled = Vec::new();
    for word in args {
        // Dates first: what clients say is not looked at for them.
        let dated = Template::new(&shielded(word, &variables)).expand(key, stamp);
        let value = program::replace(&unshielded(&dated), &variables);
        // What a client says must not become an option.
        if value.starts_with('-') && !word.starts_with('-') {
            return Err(format!("{word} would be {value}, an option"));
        }
        filled.push(value);
    }
    let output =
        filled.iter().find_map(|word| program::own_stream(config, word).filter(|k| k != key));
    Ok(Job {
        name: format!("exec {program}"),
        program: program.clone(),
        args: filled,
        log: program::log_file(config, "exec", key, ""),
        output,
    })
}

/// `word` with its own variables hidden from those of dates: the path template knows some of them,
/// and writes them as names of files.
fn shielded(word: &str, variables: &[(&str, &str)]) -> String {
    variables.iter().fold(word.to_owned(), |word, (name, _)| {
        word.replace(name, &name.replacen('[', "[\u{1}", 1))
    })
}

fn unshielded(word: &str) -> String {
    word.replace("[\u{1}", "[")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn words_are_filled_in_and_none_becomes_an_option() {
        let config = config::load(b"listen 19350; vhost v {}").unwrap().config;
        let stamp = Stamp::at(1_709_960_767_089, &Zone::default());
        let caller = Caller { tc_url: "rtmp://h/live".into(), ..Caller::default() };
        let fill = |stream: &str, words: &str| {
            let words: Vec<_> = words.split(' ').map(ToOwned::to_owned).collect();
            let key = StreamKey::new("v", "live", stream);
            job(&config, &key, "?t=1", &caller, &words, &stamp).map(|job| job.args.join(" "))
        };
        assert_eq!(
            fill("s", "./f -i [url] -c copy [stream]-[2006][01].flv[param]").unwrap(),
            "-i rtmp://127.0.0.1:19350/live?vhost=v/s -c copy s-202403.flv?t=1"
        );
        assert_eq!(fill("a/[01]", "./f [stream] [tcUrl]").unwrap(), "a/[01] rtmp://h/live");
        assert_eq!(fill("[app] x;y", "./f [stream]").unwrap(), "[app] x;y", "one word, no shell");
        assert!(fill("-x", "./f [stream]").is_err());
        assert_eq!(fill("-x", "./f a[stream] -o").unwrap(), "a-x -o");
    }
}
