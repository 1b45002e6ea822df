//! The raw API of SRS 3.0: the configuration is told, read again, changed.

use super::{code, guard, json};
use crate::config::dump::{self, Said};
use crate::config::edit::{self, Edit};
use crate::config::{Config, Error};
use crate::context::{Change, Rejected};
use crate::format::json::{self as text, JsonValue, List, Object, object};
use crate::limits::NAME_MAX;
use crate::service::http::{Answer, Ask};
use crate::service::stats;

/// Parameters that came in the body; those of the url are there beside them.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a JSON object of strings, numbers, `true` and `false`.
    pub(super) fn parse(body: &[u8]) -> Result<Self, crate::format::Error> {
        let not_so = crate::format::Error::Invalid("not a JSON object of plain values");
        let JsonValue::Object(members) = text::parse(body)? else { return Err(not_so) };
        let members = members.into_iter().map(|(name, value)| match value {
            JsonValue::String(text) => Ok((name, text)),
            JsonValue::Number(number) => Ok((name, number.to_string())),
            JsonValue::Boolean(on) => Ok((name, on.to_string())),
            _ => Err(not_so),
        });
        members.collect::<Result<_, _>>().map(Self)
    }

    fn get(&self, ask: &Ask, name: &str) -> String {
        let here = self.0.iter().rfind(|(n, _)| n == name).map(|(_, value)| value.clone());
        here.or_else(|| ask.request.param(name)).unwrap_or_default()
    }
}

/// The raw API is off, or this part of it.
const DISABLED: u16 = 1061;
/// There is no such scope, or not for this.
const NOT_ALLOWED: u16 = 1062;
/// A value is wrong.
const PARAMS: u16 = 1063;

pub(super) fn answer(ask: &Ask, params: Params) -> Answer {
    let config = ask.cx.config();
    let allow = &config.http_api.raw_api;
    let get = |name| params.get(ask, name);
    let refused = match get("rpc").as_str() {
        "raw" => return json(ask, &about(&config)),
        _ if !allow.enabled => DISABLED,
        "query" if allow.allow_query => {
            return match query(ask, &config, &get("scope"), &get("vhost")) {
                Ok(text) => json(ask, &text),
                Err(refused) => json(ask, &code(refused)),
            };
        }
        "reload" if allow.allow_reload => return change(ask, Change::File),
        "update" if allow.allow_update => match edit(&config, &get) {
            Ok(edit) => {
                let persist = matches!(get("persist").as_str(), "1" | "on" | "true" | "yes");
                log::warn!("raw api: {edit}, persist={persist}, of {}", ask.peer);
                let edit = Box::new(move |text: &[u8]| edit::apply(text, &edit).map_err(wrong));
                return change(ask, Change::Edit { edit, persist });
            }
            Err(refused) => refused,
        },
        "query" | "reload" | "update" => DISABLED,
        _ => 1060,
    };
    json(ask, &code(refused))
}

fn wrong(error: Error) -> Rejected {
    Rejected { code: PARAMS, text: error.to_string() }
}

/// Makes the change, when whoever asks may, and tells what became of it.
fn change(ask: &Ask, change: Change) -> Answer {
    if let Err(refused) = guard::may_change(ask) {
        return refused.into();
    }
    let ask = ask.clone();
    Answer::Later(Box::pin(async move {
        let gone = Rejected { code: 1023, text: "the server stops".into() };
        match ask.cx.reloads.ask(change).await.unwrap_or(Err(gone)) {
            Ok(()) => json(&ask, &code(0)),
            Err(e) => {
                let text = object(|o| {
                    o.int("code", e.code);
                    o.text("error", &e.text);
                });
                json(&ask, &text)
            }
        }
    }))
}

fn about(config: &Config) -> String {
    let api = &config.http_api;
    object(|o| {
        o.int("code", 0_u32);
        o.object("http_api", |o| {
            o.bool("enabled", api.enabled);
            o.text("listen", &api.listen.to_string());
            o.bool("crossdomain", api.crossdomain);
            o.object("raw_api", |o| {
                o.bool("enabled", api.raw_api.enabled);
                o.bool("allow_reload", api.raw_api.allow_reload);
                o.bool("allow_query", api.raw_api.allow_query);
                o.bool("allow_update", api.raw_api.allow_update);
            });
        });
    })
}

fn query(ask: &Ask, config: &Config, scope: &str, vhost: &str) -> Result<String, u16> {
    let id = |name: &str| stats::of(&ask.cx).vhost_id(name).unwrap_or_default();
    let switch = |name: &str| config.vhosts.iter().any(|v| v.name == name && v.enabled);
    Ok(match scope {
        "minimal" => told(|o| {
            o.object("minimal", |o| {
                o.list("listen", |l| config.listen.iter().for_each(|e| l.text(&e.to_string())));
            });
        }),
        "global" => told(|o| {
            o.object("global", |o| {
                say(o, &dump::global(config));
                o.int("nb_vhosts", config.vhosts.len());
                o.object("vhosts", |o| {
                    for vhost in &config.vhosts {
                        o.object(&vhost.name, |o| {
                            o.int("id", id(&vhost.name));
                            o.text("name", &vhost.name);
                            o.bool("enabled", vhost.enabled);
                            let parts = [
                                ("dvr", vhost.dvr.enabled),
                                ("http_static", vhost.http_static.enabled),
                                ("http_remux", vhost.http_remux.enabled),
                                ("hls", vhost.hls.enabled),
                                ("hds", vhost.hds.enabled),
                                ("forward", vhost.forward.enabled),
                                ("gop_cache", vhost.play.gop_cache),
                                ("tcp_nodelay", vhost.tcp_nodelay),
                                ("min_latency", vhost.min_latency),
                                ("mr", vhost.publish.mr),
                                ("atc", vhost.play.atc),
                                ("mix_correct", vhost.play.mix_correct),
                            ];
                            // Only what is on is told.
                            parts.iter().filter(|(_, on)| *on).for_each(|(n, _)| o.bool(n, true));
                        });
                    }
                });
            });
        }),
        "vhost" => {
            let said = dump::vhost(config, vhost).filter(|_| !vhost.is_empty()).ok_or(PARAMS)?;
            told(|o| {
                o.object("vhost", |o| {
                    o.int("id", id(vhost));
                    o.text("name", vhost);
                    o.bool("enabled", switch(vhost));
                    let rest: Vec<_> = said.into_iter().filter(|(n, _)| *n != "enabled").collect();
                    say(o, &rest);
                });
            })
        }
        _ => return Err(NOT_ALLOWED),
    })
}

fn told(fill: impl FnOnce(&mut Object<'_>)) -> String {
    object(|o| {
        o.int("code", 0_u32);
        fill(o);
    })
}

fn say(o: &mut Object<'_>, said: &[(&'static str, Said)]) {
    for (name, value) in said {
        match value {
            Said::Switch(on) => o.bool(name, *on),
            Said::Number(number) => o.float(name, *number),
            Said::Text(text) => o.text(name, text),
            Said::List(words) => o.list(name, |l| words.iter().for_each(|word| l.text(word))),
            Said::Block(block) => o.object(name, |o| say(o, block)),
            Said::Blocks(blocks) => o.list(name, |l: &mut List<'_>| {
                blocks.iter().for_each(|block| l.object(|o| say(o, block)));
            }),
        }
    }
}

/// What `scope`, `value`, `param` and `data` ask for. The ranges are those of the original; the
/// rest is for the reader of the file to judge.
fn edit(config: &Config, get: &dyn Fn(&'static str) -> String) -> Result<Edit, u16> {
    let value = get("value");
    let within = |low: u32, high: u32| {
        let plain = value.bytes().all(|b| b.is_ascii_digit());
        value.parse::<u32>().is_ok_and(|n| plain && (low..=high).contains(&n))
    };
    let set = |name: &'static str, fits: bool| match fits {
        true => Ok(Edit::Set(name, vec![value.clone()])),
        false => Err(PARAMS),
    };
    match get("scope").as_str() {
        "listen" => {
            let words: Vec<String> = value.split(',').map(|word| word.trim().into()).collect();
            let fits = |word: &String| crate::config::Endpoint::parse(word).is_some();
            if words.iter().all(fits) { Ok(Edit::Set("listen", words)) } else { Err(PARAMS) }
        }
        "pid" => set("pid", is_place(&value) && value.ends_with(".pid")),
        "chunk_size" => set("chunk_size", within(128, 65535)),
        "ff_log_dir" => set("ff_log_dir", value == "/dev/null" || is_place(&value)),
        "srs_log_tank" => set("srs_log_tank", matches!(value.as_str(), "file" | "console")),
        "srs_log_level" => {
            let levels = ["verbose", "info", "trace", "warn", "error"];
            set("srs_log_level", levels.contains(&value.as_str()))
        }
        "srs_log_file" => set("srs_log_file", is_place(&value) && value.ends_with(".log")),
        "max_connections" => set("max_connections", within(10, 65535)),
        "pithy_print_ms" => set("pithy_print_ms", within(100, 300_000)),
        "utc_time" => {
            let word = match value.as_str() {
                "true" | "on" => "on",
                "false" | "off" => "off",
                _ => return Err(PARAMS),
            };
            Ok(Edit::Set("utc_time", vec![word.into()]))
        }
        "vhost" => edit_vhost(config, value, &get("param"), get("data")),
        "dvr" => edit_dvr(config, value, &get("param"), get("data")),
        _ => Err(NOT_ALLOWED),
    }
}

/// Where the original lets files be written: below the working directory, /tmp and /var.
fn is_place(path: &str) -> bool {
    let starts = ["./", "/tmp/", "/var/"].iter().any(|start| path.starts_with(start));
    starts && !path.split('/').any(|part| part == "..")
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "._-/".contains(c);
    (1..=NAME_MAX).contains(&name.len()) && name.chars().all(plain)
}

fn edit_vhost(config: &Config, name: String, what: &str, data: String) -> Result<Edit, u16> {
    let vhost = config.vhosts.iter().find(|vhost| vhost.name == name);
    // A vhost has to be off before it goes or gets another name.
    let edit = match (what, vhost.map(|vhost| vhost.enabled)) {
        ("create", None) if is_name(&name) => Edit::CreateVhost(name),
        ("update", Some(false)) if is_name(&data) && data != name => Edit::RenameVhost(name, data),
        ("delete", Some(false)) => Edit::DeleteVhost(name),
        ("disable", Some(true)) => Edit::SwitchVhost(name, false),
        ("enable", Some(false)) => Edit::SwitchVhost(name, true),
        ("create" | "update" | "delete" | "disable" | "enable", _) => return Err(PARAMS),
        _ => return Err(NOT_ALLOWED),
    };
    Ok(edit)
}

fn edit_dvr(config: &Config, vhost: String, what: &str, stream: String) -> Result<Edit, u16> {
    if !matches!(what, "enable" | "disable") {
        return Err(NOT_ALLOWED);
    }
    let found = config.vhosts.iter().find(|v| v.name == vhost && v.dvr.enabled);
    let found = found.ok_or(NOT_ALLOWED)?;
    if !is_name(&stream) {
        return Err(PARAMS);
    }
    let mut words = found.dvr.dvr_apply.clone();
    let all = words.iter().any(|word| word == "all");
    if what == "enable" && !all {
        words.retain(|word| word != "none" && *word != stream);
        words.push(stream);
    } else if what == "disable" {
        // All but one cannot be said.
        if all {
            return Err(PARAMS);
        }
        words.retain(|word| *word != stream);
        if words.is_empty() {
            words.push("none".into());
        }
    }
    Ok(Edit::SetInVhost { vhost, block: "dvr", name: "dvr_apply", words })
}
