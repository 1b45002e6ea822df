//! Other qualities of a stream, made by programs as long as it is published.

use super::program::argv::{Input, encode};
use super::program::{self, Job, while_published};
use super::{Service, admission};
use crate::config::{Config, Engine, Transcode, Vhost};
use crate::context::Context;
use crate::hub::{Sink, StreamKey};
use std::rc::Rc;

/// Runs the engines that a vhost has for a stream.
pub(super) const SERVICE: Service = Service {
    attach,
    differs: |a, b| a.transcodes != b.transcodes,
    reload: |cx, old| program::follow_listen(cx, old, NAME, attach),
    ..Service::new(NAME)
};

const NAME: &str = "transcode";

fn attach(cx: &Rc<Context>, key: &StreamKey, vhost: &Vhost) -> Option<Box<dyn Sink>> {
    let engines: Vec<_> = engines(vhost, key).collect();
    if engines.is_empty() {
        return None;
    }
    if program::is_output(cx, key) {
        log::info!("{key} comes from a transcoder and is not transcoded again. ret=3029");
        return None;
    }
    let param =
        admission::publisher(cx, key).map(|client| client.param.clone()).unwrap_or_default();
    let config = cx.config();
    let mut jobs = Vec::new();
    for (transcode, engine) in engines {
        match job(&config, key, &param, transcode, engine) {
            Ok(job) if job.output.as_ref() == Some(key) => {
                log::error!("engine {}: its output is its input. ret=3029", engine.name);
            }
            Ok(job) => jobs.push((says(&job), job)),
            Err(why) => log::error!("engine {}: {why}", engine.name),
        }
    }
    Some(while_published(cx, NAME, key, jobs))
}

/// Another engine, or the same one changed, has other words.
fn says(job: &Job) -> Vec<String> {
    let words = [&job.name, &job.program].into_iter().chain(&job.args).cloned();
    words.chain(job.output.is_some().then(|| OURS.to_owned())).collect()
}

/// The words of a job whose output is a stream of this server.
const OURS: &str = "";

/// The engines for a stream: those for all streams, for its app, for itself.
fn engines<'v>(
    vhost: &'v Vhost,
    key: &StreamKey,
) -> impl Iterator<Item = (&'v Rc<Transcode>, &'v Rc<Engine>)> {
    let scopes = [String::new(), key.app().into(), format!("{}/{}", key.app(), key.stream())];
    scopes.into_iter().flat_map(move |scope| {
        let blocks = vhost.transcodes.iter().filter(move |block| block.scope == scope);
        let enabled = blocks.filter(|block| block.enabled);
        enabled.flat_map(|block| {
            let engines = block.engines.iter().filter(|engine| engine.enabled);
            engines.map(move |engine| (block, engine))
        })
    })
}

fn job(
    config: &Config,
    key: &StreamKey,
    param: &str,
    transcode: &Transcode,
    engine: &Engine,
) -> Result<Job, String> {
    let url = program::address(config, key);
    let output = output(config, key, param, engine);
    let args = encode(engine, Input { url: &url, realtime: false, format: true }, &output)?;
    if transcode.ffmpeg.is_empty() {
        return Err("no ffmpeg is named. ret=3032".into());
    }
    Ok(Job {
        name: format!("encoder {}", engine.name),
        program: transcode.ffmpeg.clone(),
        args,
        log: program::log_file(config, "encoder", key, &engine.name),
        output: program::own_stream(config, &output),
        told: program::told_url(config, &output),
        derives: true,
    })
}

/// The output with its variables replaced; names are not looked at again for others.
fn output(config: &Config, key: &StreamKey, param: &str, engine: &Engine) -> String {
    let port = program::port(config).to_string();
    let variables = [
        ("[vhost]", key.vhost()),
        ("[port]", port.as_str()),
        ("[app]", key.app()),
        ("[stream]", key.stream()),
        ("[param]", param),
        ("[engine]", engine.name.as_str()),
    ];
    program::replace(&engine.output, &variables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn all_blocks_whose_scope_fits_count() {
        let engine =
            |name: &str| format!("engine {name} {{ enabled on; vcodec copy; acodec copy; }}");
        let text = format!(
            "listen 1; vhost v {{ transcode live/s {{ enabled on; {} engine off {{ }} }} \
             transcode {{ enabled on; {} }} transcode live {{ enabled on; {} {} }} \
             transcode other {{ enabled on; {} }} transcode {{ {} }} }}",
            engine("d"),
            engine("a"),
            engine("b"),
            engine("c"),
            engine("x"),
            engine("y")
        );
        let config = config::load(text.as_bytes()).unwrap().config;
        let names = |app: &str, stream: &str| {
            let key = StreamKey::new("v", app, stream);
            let found = engines(&config.vhosts[0], &key).map(|(_, engine)| engine.name.clone());
            found.collect::<Vec<_>>().join("")
        };
        assert_eq!(names("live", "s"), "abcd");
        assert_eq!(names("live", "t"), "abc");
        assert_eq!(names("none", "s"), "a");
    }

    #[test]
    fn outputs_name_what_is_transcoded() {
        let text = "listen 19350; vhost v { transcode { enabled on; ffmpeg ./f; engine ff { \
            enabled on; vcodec copy; acodec an; \
            output rtmp://127.0.0.1:[port]/[app]?vhost=[vhost]/[stream]_[engine][param]; } } }";
        let config = config::load(text.as_bytes()).unwrap().config;
        let transcode = &config.vhosts[0].transcodes[0];
        let key = StreamKey::new("v", "live", "[app]");
        let job = job(&config, &key, "?a=b", transcode, &transcode.engines[0]).unwrap();
        assert_eq!(
            job.args.join(" "),
            "-f flv -i rtmp://127.0.0.1:19350/live?vhost=v/[app] -vcodec copy -an -f flv -y \
             rtmp://127.0.0.1:19350/live?vhost=v/[app]_ff?a=b"
        );
        assert_eq!(job.output.map(|key| key.to_string()).as_deref(), Some("v/live/[app]_ff"));
        assert_eq!(job.name, "encoder ff");
    }
}
