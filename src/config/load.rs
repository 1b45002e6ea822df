//! The text of a file to a [`Config`]: old names to new ones, and the checks between directives.

use super::{
    Config, Engine, Error, LogTank, Notice, StreamCaster, Vhost,
    delivery::HlsStorage,
    global::Caster,
    presets,
    section::{Reader, Used, fill, wrong},
    tree::{Directive, parse},
    vhost::Mode,
};
use crate::limits;
use std::rc::Rc;

/// A file that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What is odd about it, in the order of the lines.
    pub warnings: Vec<Notice>,
    used: Vec<Used>,
}

impl Loaded {
    /// What the file asks for that is not in an image with the parts `present`: a notice each, once
    /// a name, in the order of the lines.
    pub fn absent(&self, present: &[&str]) -> Vec<Notice> {
        let here = |needs: &str| needs.split('|').any(|part| present.contains(&part));
        let mut names: Vec<&str> = Vec::new();
        let mut notices = Vec::new();
        for used in &self.used {
            if !here(used.needs) && !names.contains(&used.name.as_str()) {
                names.push(&used.name);
                let text = format!("{}: not in this image{}", used.name, presets::with(used.needs));
                notices.push(Notice { line: used.line, text });
            }
        }
        if self.config.daemon && !here("service") && !names.contains(&"daemon") {
            let text = "daemon: on unless the file says off, but not in this image";
            let text = format!("{text}{}", presets::with("service"));
            notices.push(Notice { line: 0, text });
        }
        notices
    }
}

/// Reads and checks a whole file. Nothing of it is used when anything is wrong. What needs the
/// machine (addresses, limits of the process) is not checked here.
pub fn load(text: &[u8]) -> Result<Loaded, Error> {
    let mut root = parse(text)?;
    if root.children.is_empty() {
        return Err(Error::new(0, "conf is empty"));
    }
    modern(&mut root);
    let mut config = Config::default();
    let mut reader = Reader::default();
    fill(&mut config, &root, &mut reader)?;
    check(&config, &root, &mut reader)?;
    finish(&mut config, &root, &mut reader);
    reader.warnings.sort_by_key(|notice| notice.line);
    reader.used.sort_by_key(|used| used.line);
    Ok(Loaded { config, warnings: reader.warnings, used: reader.used })
}

/// Where the directives of SRS 1 and 2 that stood in a vhost are now: old name, block, new name.
pub(super) const MOVED: &[(&str, &str, &str)] = &[
    ("time_jitter", "play", "time_jitter"),
    ("mix_correct", "play", "mix_correct"),
    ("atc", "play", "atc"),
    ("atc_auto", "play", "atc_auto"),
    ("mw_latency", "play", "mw_latency"),
    ("gop_cache", "play", "gop_cache"),
    ("queue_length", "play", "queue_length"),
    ("send_min_interval", "play", "send_min_interval"),
    ("reduce_sequence_header", "play", "reduce_sequence_header"),
    ("publish_1stpkt_timeout", "publish", "firstpkt_timeout"),
    ("publish_normal_timeout", "publish", "normal_timeout"),
    ("mode", "cluster", "mode"),
    ("origin", "cluster", "origin"),
    ("token_traverse", "cluster", "token_traverse"),
    ("vhost", "cluster", "vhost"),
    ("debug_srs_upnode", "cluster", "debug_srs_upnode"),
    ("forward", "forward", "destination"),
    ("refer", "refer", "all"),
    ("refer_play", "refer", "play"),
    ("refer_publish", "refer", "publish"),
];

/// The same for the block `mr` of a vhost, which is now part of `publish`.
pub(super) const MOVED_MR: &[(&str, &str)] = &[("enabled", "mr"), ("latency", "mr_latency")];

/// Gives the directives of SRS 1 and 2 the names and places of SRS 3. Of two that then are the
/// same, the one that stands first in the file stays first.
fn modern(root: &mut Directive) {
    for directive in &mut root.children {
        match directive.name.as_str() {
            "http_stream" => rename(directive, "http_stream", "http_server"),
            "vhost" => modern_vhost(directive),
            _ => {}
        }
    }
}

fn modern_vhost(vhost: &mut Directive) {
    let mut children: Vec<Directive> = Vec::with_capacity(vhost.children.len());
    // Blocks that were in the file. A second one of the same name is not joined with them.
    let mut joined: Vec<String> = Vec::new();
    for mut child in std::mem::take(&mut vhost.children) {
        let moved = MOVED.iter().find(|(old, ..)| !child.block && child.name == *old);
        if let Some((old, block, new)) = moved {
            let line = child.line;
            // These had no switch: what was given was on.
            if matches!(*block, "forward" | "refer") {
                let (name, args) = ("enabled".into(), vec!["on".into()]);
                let on =
                    Directive { name, args, old_name: Some(old), line, ..Directive::default() };
                let target = block_of(&mut children, block, line, old);
                if !target.children.iter().any(|child| child.name == "enabled") {
                    target.children.push(on);
                }
            }
            rename(&mut child, old, new);
            block_of(&mut children, block, line, old).children.push(child);
        } else if child.block && child.name == "mr" {
            for mut part in std::mem::take(&mut child.children) {
                if let Some((old, new)) = MOVED_MR.iter().find(|(old, _)| part.name == *old) {
                    rename(&mut part, old, new);
                }
                block_of(&mut children, "publish", child.line, "mr").children.push(part);
            }
        } else {
            if child.name == "http" {
                rename(&mut child, "http", "http_static");
            }
            let earlier = children.iter_mut().find(|c| c.block && c.name == child.name);
            let new_place = MOVED.iter().any(|(_, block, _)| child.name == *block);
            match earlier {
                Some(earlier) if child.block && new_place && !joined.contains(&child.name) => {
                    earlier.children.append(&mut child.children);
                    earlier.line = child.line;
                    earlier.old_name = None;
                    joined.push(child.name);
                }
                _ => {
                    joined.push(child.name.clone());
                    children.push(child);
                }
            }
        }
    }
    vhost.children = children;
}

/// The first block `name` among `children`, added when there is none.
fn block_of<'d>(
    children: &'d mut Vec<Directive>,
    name: &str,
    line: u32,
    old: &'static str,
) -> &'d mut Directive {
    let at = children.iter().position(|child| child.block && child.name == name);
    let at = at.unwrap_or_else(|| {
        let (name, old_name) = (name.into(), Some(old));
        children.push(Directive { name, old_name, block: true, line, ..Directive::default() });
        children.len() - 1
    });
    &mut children[at]
}

fn rename(directive: &mut Directive, old: &'static str, new: &str) {
    directive.old_name = Some(old);
    directive.name = new.into();
}

/// The checks that look at more than one directive.
fn check(config: &Config, root: &Directive, reader: &mut Reader) -> Result<(), Error> {
    if config.listen.is_empty() {
        return Err(Error::new(0, "no directive listen"));
    }
    if config.daemon && config.asprocess {
        let line = child(root, "asprocess").line;
        return Err(Error::new(line, "asprocess: not together with daemon, which is on"));
    }
    let log_file = child(root, "srs_log_file");
    if config.log_tank == LogTank::File && log_file.line > 0 && log_file.args.is_empty() {
        return Err(wrong(log_file, "no file, and srs_log_tank is file"));
    }
    for (directive, caster) in all(root, "stream_caster").zip(&config.stream_casters) {
        check_caster(directive, caster)?;
    }
    let mut names: Vec<(&str, u32)> = Vec::new();
    for (directive, vhost) in all(root, "vhost").zip(&config.vhosts) {
        if vhost.name.is_empty() {
            return Err(wrong(directive, "no name"));
        }
        if let Some((_, line)) = names.iter().find(|(name, _)| *name == vhost.name) {
            let text = format!("ignored, line {line} has the name {} already", vhost.name);
            reader.warn(directive, text);
        } else {
            names.push((&vhost.name, directive.line));
        }
        check_vhost(directive, vhost, reader)?;
    }
    if config.vhosts.is_empty() {
        let text = "no vhost: nobody can publish or play".into();
        reader.warnings.push(Notice { line: 0, text });
    }
    Ok(())
}

fn check_caster(directive: &Directive, caster: &StreamCaster) -> Result<(), Error> {
    if !caster.enabled {
        return Ok(());
    }
    if caster.caster == Caster::Unset {
        return Err(wrong(directive, "no caster"));
    }
    if caster.listen.port == 0 {
        return Err(wrong(directive, "no listen"));
    }
    let group = caster.listen.ip.is_some_and(|ip| ip.is_multicast());
    if group && caster.caster != Caster::MpegTs {
        return Err(wrong(directive, "only mpegts_over_udp comes from a multicast group"));
    }
    if caster.output.is_empty() {
        return Err(wrong(directive, "no output"));
    }
    let ports = (caster.rtp_port_min, caster.rtp_port_max);
    if caster.caster == Caster::Rtsp && ports != (0, 0) && (ports.0 == 0 || ports.0 >= ports.1) {
        return Err(wrong(directive, "rtp_port_min must be below rtp_port_max"));
    }
    if caster.username.is_empty() && !caster.password.is_empty() {
        return Err(wrong(directive, "a password, but no username"));
    }
    Ok(())
}

fn check_vhost(directive: &Directive, vhost: &Vhost, reader: &mut Reader) -> Result<(), Error> {
    let mut ids: Vec<(&str, u32)> = Vec::new();
    for (ingest, typed) in all(directive, "ingest").zip(&vhost.ingests) {
        if let Some((id, line)) = ids.iter().find(|(id, _)| *id == typed.id) {
            return Err(wrong(ingest, format!("line {line} has the id `{id}` already")));
        }
        ids.push((&typed.id, ingest.line));
        if typed.enabled {
            check_engines(ingest, &typed.engines)?;
        }
    }
    for (transcode, typed) in all(directive, "transcode").zip(&vhost.transcodes) {
        if typed.enabled {
            check_engines(transcode, &typed.engines)?;
        }
    }
    let ends = |path: &str, ends: &[&str]| ends.iter().any(|end| path.ends_with(end));
    let (remux, hls) = (&vhost.http_remux, &vhost.hls);
    if remux.enabled && !ends(&remux.mount, &[".flv", ".ts", ".aac", ".mp3", ".*"]) {
        let at = child(child(directive, "http_remux"), "mount");
        return Err(wrong(at, "must end with .flv, .ts, .aac, .mp3 or .*"));
    }
    if hls.hls_storage != HlsStorage::Disk && !ends(&hls.hls_mount, &[".m3u8"]) {
        let at = child(child(directive, "hls"), "hls_mount");
        return Err(wrong(at, "must end with .m3u8"));
    }
    if vhost.signed_url.enabled && vhost.signed_url.secret.iter().all(String::is_empty) {
        return Err(wrong(child(directive, "signed_url"), "enabled, but there is no secret"));
    }
    let differs = ["[seq]", "[timestamp]", "[999]", "[05]"];
    if hls.enabled && !differs.iter().any(|variable| hls.hls_ts_file.contains(variable)) {
        let at = child(child(directive, "hls"), "hls_ts_file");
        reader.warn(at, "all segments of a stream have this name, put [seq] into it");
    }
    let cluster = child(directive, "cluster");
    if vhost.cluster.mode == Mode::Remote && vhost.cluster.origin.is_empty() {
        reader.warn(child(cluster, "mode"), "remote, but there is no origin");
    }
    if vhost.cluster.mode == Mode::Remote && vhost.cluster.token_traverse && hls.enabled {
        let text = "players of hls are not asked about at the origin, signed_url is for these";
        reader.warn(child(cluster, "token_traverse"), text);
    }
    if vhost.cluster.origin_cluster {
        let text = "without effect: no other origin is asked; give edges all of them as `origin`";
        reader.warn(child(cluster, "origin_cluster"), text);
    }
    for hook in all(directive, "http_hooks").take(1).flat_map(|hooks| &hooks.children) {
        let urls = hook.args.iter().filter(|_| hook.name.starts_with("on_"));
        for url in urls.filter(|url| !url.starts_with("http://")) {
            let text = match url.starts_with("https://") {
                true if limits::TLS => continue,
                true => format!("`{url}`: https:// is not spoken, it needs the feature tls"),
                false => format!("`{url}` does not begin with http://, nothing else is spoken"),
            };
            reader.warn(hook, text);
        }
    }
    if vhost.forward.enabled && vhost.forward.destination.is_empty() {
        reader.warn(child(directive, "forward"), "enabled, but there is no destination");
    }
    Ok(())
}

fn check_engines(parent: &Directive, engines: &[Rc<Engine>]) -> Result<(), Error> {
    for (at, engine) in all(parent, "engine").zip(engines).filter(|(_, engine)| engine.enabled) {
        if engine.vcodec == "vn" && engine.acodec == "an" {
            return Err(wrong(at, "neither video nor audio"));
        }
        if engine.vcodec == "libx264" {
            if !["high", "main", "baseline"].contains(&engine.vprofile.as_str()) {
                return Err(wrong(at, "libx264 needs vprofile high, main or baseline"));
            }
            if engine.vpreset.is_empty() {
                return Err(wrong(at, "libx264 needs a vpreset"));
            }
        }
        let rate = engine.abitrate;
        if engine.acodec == "libaacplus" && rate != 0 && !(16..=72).contains(&rate) {
            return Err(wrong(at, "libaacplus needs an abitrate from 16 to 72. ret=3019"));
        }
    }
    Ok(())
}

/// What is taken over from one directive to another when all is known to be right.
fn finish(config: &mut Config, root: &Directive, reader: &mut Reader) {
    let mut first: Vec<String> = Vec::new();
    config.vhosts.retain(|vhost| {
        let new = !first.contains(&vhost.name);
        first.push(vhost.name.clone());
        new
    });
    for vhost in &mut config.vhosts {
        if vhost.chunk_size == 0 {
            Rc::make_mut(vhost).chunk_size = config.chunk_size;
        }
    }
    // A caster needs the part of its own protocol, not just any of them.
    reader.used.retain(|used| used.name != "stream_caster");
    for (at, caster) in all(root, "stream_caster").zip(&config.stream_casters) {
        if caster.enabled {
            let name = format!("stream_caster {}", caster.caster.word());
            reader.used.push(Used { needs: caster.caster.needs(), name, line: at.line });
        }
    }
}

fn all<'d>(parent: &'d Directive, name: &str) -> impl Iterator<Item = &'d Directive> {
    parent.children.iter().filter(move |child| child.name == name)
}

/// The first child called `name`; the parent itself when the child is not in the file.
fn child<'d>(parent: &'d Directive, name: &str) -> &'d Directive {
    all(parent, name).next().unwrap_or(parent)
}
