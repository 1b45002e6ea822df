//! The `stream_caster` blocks of the configuration: which of them run, and what a reload changes.

use super::inputs::{Input, Inputs};
use crate::config::shown;
use crate::config::{Caster, Config, Endpoint, StreamCaster};
use crate::context::Context;
use crate::io::run::Once;
use core::net::SocketAddr;
use std::cell::RefCell;
use std::rc::Rc;

/// A caster that runs.
#[derive(Debug)]
pub struct Running {
    /// What the configuration says of it.
    pub block: Rc<StreamCaster>,
    /// How it is doing.
    pub input: Rc<Input>,
    stop: RefCell<Option<Once>>,
}

impl Running {
    /// What is to be done when the configuration does not have it any more.
    pub fn on_stop(&self, stop: Once) {
        *self.stop.borrow_mut() = Some(stop);
    }
}

/// All casters that run, a part of the context.
#[derive(Debug, Default)]
struct Casters(RefCell<Vec<Rc<Running>>>);

/// Has the casters of `kind` be those of the configuration. Those that went or changed end, with
/// what came in through them; those that came or changed are given. The others are not touched.
pub fn follow(cx: &Rc<Context>, kind: Caster) -> Vec<Rc<Running>> {
    let (casters, inputs, config) = (cx.part::<Casters>(), cx.part::<Inputs>(), cx.config());
    let mut wanted: Vec<_> = enabled(&config, kind).cloned().collect();
    let mut running = casters.0.borrow_mut();
    running.retain(|caster| {
        if caster.block.caster != kind {
            return true;
        }
        if let Some(at) = wanted.iter().position(|block| **block == *caster.block) {
            wanted.remove(at);
            return true;
        }
        log::info!("{} takes nothing in any more", caster.input.name);
        inputs.leave(&caster.input);
        if let Some(stop) = caster.stop.take() {
            stop.set();
        }
        false
    });
    let new: Vec<_> = wanted
        .into_iter()
        .map(|block| {
            let name = format!("{} {}", block.caster.word(), block.listen);
            let input = inputs.enter(kind.needs(), name, shown::shown(&block.output));
            Rc::new(Running { block, input, stop: RefCell::default() })
        })
        .collect();
    running.extend(new.iter().cloned());
    new
}

/// Has the casters of `kind` listen no more: the server leaves, and the next one wants their ports.
pub fn leave(cx: &Context, kind: Caster) {
    let casters = cx.part::<Casters>();
    let running = casters.0.borrow();
    for caster in running.iter().filter(|caster| caster.block.caster == kind) {
        if let Some(stop) = caster.stop.take() {
            stop.set();
        }
    }
}

/// The caster of `kind` that a connection at `address` of ours is for.
pub fn at(cx: &Context, kind: Caster, address: SocketAddr) -> Option<Rc<Running>> {
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    let casters = cx.part::<Casters>();
    let running = casters.0.borrow();
    let mut fit = running
        .iter()
        .filter(|caster| caster.block.caster == kind && caster.block.listen.covers(address));
    fit.next().cloned()
}

/// Where casters of `kind` listen.
pub fn endpoints(config: &Config, kind: Caster) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for block in enabled(config, kind) {
        if !endpoints.contains(&block.listen) {
            endpoints.push(block.listen);
        }
    }
    endpoints
}

fn enabled(config: &Config, kind: Caster) -> impl Iterator<Item = &Rc<StreamCaster>> {
    config.stream_casters.iter().filter(move |block| block.enabled && block.caster == kind)
}
