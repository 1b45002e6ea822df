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
pub(super) const SERVICE: Service = Service {
    attach,
    differs: |a, b| a.exec != b.exec,
    reload: |cx, old| program::follow_listen(cx, old, NAME, attach),
    ..Service::new(NAME)
};

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
            Ok(job) => jobs.push((says(&config, key, words, &job), job)),
            Err(why) => log::error!("exec publish {}: {why}", told(&config, words)),
        }
    }
    Some(while_published(cx, NAME, key, jobs))
}

/// What the file says of a job, and with which address of this server: dates differ each time.
fn says(config: &Config, key: &StreamKey, words: &[String], job: &Job) -> Vec<String> {
    let mut says = words.to_vec();
    let named = |name: &str| words.iter().any(|word| word.contains(name));
    if named("[port]") || named("[url]") {
        says.push(program::address(config, key));
    }
    if job.output.is_some() {
        // What is made of it is known to come around.
        says.push(String::new());
    }
    says
}

fn told(config: &Config, words: &[String]) -> String {
    let (program, args) = words.split_first().map_or(("", words), |(first, rest)| (first, rest));
    program::told(config, program, args)
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
    let own = |word: &String| program::own_stream(config, word).filter(|k| k != key);
    let output = filled.iter().find_map(|word| Some((own(word)?, program::told_url(config, word))));
    let (output, told) = output.unzip();
    Ok(Job {
        name: format!("exec {program}"),
        program: program.clone(),
        args: filled,
        log: program::log_file(config, NAME, key, ""),
        output,
        told: told.unwrap_or_default(),
        derives: true,
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
    fn another_port_is_another_job_where_it_is_told() {
        let says = |listen: &str, words: &[&str]| {
            let text = format!("listen {listen}; vhost __defaultVhost__ {{}}");
            let config = config::load(text.as_bytes()).unwrap().config;
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            let (key, caller) = (StreamKey::new("", "live", "s"), Caller::default());
            let stamp = Stamp::at(1_709_960_767_089, &Zone::default());
            let job = job(&config, &key, "", &caller, &words, &stamp).unwrap();
            says(&config, &key, &words, &job)
        };
        let one = |words: &[&str]| (says("1935", words), says("1936", words));
        for words in [&["./f", "[url]"][..], &["./f", "x[port]"]] {
            let (before, after) = one(words);
            assert_ne!(before, after, "{words:?}");
        }
        let (before, after) = one(&["./f", "[stream]", "[timestamp]"]);
        assert_eq!(before, after);
        let (before, after) = one(&["./f", "rtmp://127.0.0.1:1936/live/t"]);
        assert_ne!(before, after, "its output is ours now");
    }

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
