//! A stream in another form: made in the publisher's task, kept in a ring of its own.

use super::{Format, SERVICE};
use crate::codec::aac;
use crate::config::Vhost;
use crate::context::{self, Context};
use crate::format::adts::Adts;
use crate::format::ts::{self, Audio, Body, Mux, Muxed};
use crate::hub::{Publisher, Sink, SinkError, StreamKey};
use crate::limits::{MESSAGE_MAX, RING_BYTES};
use crate::media::arena::Arena;
use crate::media::{Kind, Packet};
use std::rc::Rc;

/// Room that the scratch buffer keeps from packet to packet.
const SCRATCH: usize = 64 * 1024;
const ARENA: usize = RING_BYTES + 4 * MESSAGE_MAX;

/// Sees a stream and publishes another form of it.
pub(super) struct Derived {
    publisher: Publisher,
    arena: Arena,
    maker: Maker,
    /// It stays without players.
    kept: bool,
    scratch: Vec<u8>,
    /// Something was left out; told once.
    complained: bool,
}

impl Derived {
    /// The ring of `format` of `key`. `None`, and a line in the log, if there can be none.
    pub(super) fn new(
        cx: &Rc<Context>,
        key: &StreamKey,
        vhost: &Vhost,
        format: Format,
        kept: bool,
    ) -> Option<Self> {
        let settings = context::derived_settings(vhost);
        let id = cx.hub.find(key).and_then(|source| source.publisher()).unwrap_or_default();
        let key = key.derived(format.name());
        let publisher = match cx.hub.publish(&key, settings, id, true) {
            Ok(publisher) => publisher,
            Err(refused) => {
                log::warn!("no {key}: {refused}");
                return None;
            }
        };
        let maker = match format {
            Format::Flv => return None,
            Format::Ts => Maker::Ts(Box::new(Mux::new(ts::Defaults::default()))),
            Format::Aac => Maker::Aac(None),
            Format::Mp3 => Maker::Mp3,
        };
        if kept {
            let ms = vhost.http_remux.fast_cache.0.as_millis();
            publisher.source().hold(u32::try_from(ms).unwrap_or(u32::MAX));
        }
        log::info!("{key} is made");
        let arena = Arena::new(cx.hub.pool().clone(), ARENA, ts::bound(MESSAGE_MAX));
        let (scratch, complained) = (Vec::new(), false);
        Some(Self { publisher, arena, maker, kept, scratch, complained })
    }

    fn complain(&mut self, what: &dyn std::fmt::Display) {
        if !std::mem::replace(&mut self.complained, true) {
            log::warn!("{}: left out: {what}", self.publisher.source().key());
        }
    }
}

impl Sink for Derived {
    fn service(&self) -> &'static str {
        SERVICE.name
    }

    fn on_packet(&mut self, packet: &Packet) -> Result<(), SinkError> {
        let unwanted = !self.kept && self.publisher.source().players() == 0;
        if unwanted || self.publisher.is_stale() {
            return Err(SinkError::Finished);
        }
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH);
        let (kind, key) = match self.maker.make(packet, &mut self.scratch) {
            Ok(flags) => flags,
            Err(Failure::Packet(e)) => {
                self.complain(&e);
                return Ok(());
            }
            Err(Failure::Stream(text)) => {
                log::warn!("{} ends: {text}", self.publisher.source().key());
                return Err(SinkError::Finished);
            }
        };
        if self.scratch.is_empty() {
            return Ok(());
        }
        match self.arena.alloc(self.scratch.len()) {
            Ok(mut buffer) => {
                buffer.extend_from_slice(&self.scratch);
                let (payload, dts) = (buffer.freeze(), packet.dts);
                self.publisher.push_derived(Packet { payload, dts, kind, key, header: false });
            }
            Err(_) => self.complain(&"no memory (media_pool)"),
        }
        Ok(())
    }

    fn on_flush(&mut self) {
        self.publisher.flush();
    }
}

/// What turns packets into the other form.
enum Maker {
    Ts(Box<Mux>),
    Aac(Option<Adts>),
    Mp3,
}

/// What cannot be turned.
enum Failure {
    /// This packet.
    Packet(ts::Error),
    /// The stream; the text has the number of the original.
    Stream(&'static str),
}

impl Maker {
    /// Appends the form of `packet` to `out`, nothing if it has none. What kind of packet that
    /// is, and whether players can start at it.
    fn make(&mut self, packet: &Packet, out: &mut Vec<u8>) -> Result<(Kind, bool), Failure> {
        if let Self::Ts(mux) = self {
            let muxed = mux.packet(packet, out).map_err(Failure::Packet)?;
            let start = match muxed {
                Muxed::Frame { key, tables, .. } => tables && (key || mux.audio_only()),
                _ => false,
            };
            // Also of sound: before the tables nothing is of use.
            return Ok((Kind::Video, start));
        }
        const SOUND: (Kind, bool) = (Kind::Audio, false);
        if packet.kind != Kind::Audio {
            return Ok(SOUND);
        }
        match (self, ts::read(packet.kind, &packet.payload)) {
            (Self::Aac(adts), Ok(Body::AudioHeader(config))) => {
                let config = aac::Config::parse(config).ok().and_then(|c| Adts::new(&c).ok());
                *adts = Some(config.ok_or(Failure::Stream("AAC that ADTS cannot hold. ret=4007"))?);
            }
            (Self::Aac(Some(adts)), Ok(Body::Sound(Audio::Aac, frame))) => {
                if let Some(mut header) = adts.header(frame.len()) {
                    // MPEG-4, as players of the original know it.
                    header[1] = 0xf1;
                    out.extend_from_slice(&header);
                    out.extend_from_slice(frame);
                }
            }
            (Self::Aac(_), Ok(Body::Sound(Audio::Mp3, _)) | Err(ts::Error::Unsupported(_))) => {
                return Err(Failure::Stream("the sound is not AAC. ret=4007"));
            }
            (Self::Mp3, Ok(Body::Sound(Audio::Mp3, frame))) => out.extend_from_slice(frame),
            (
                Self::Mp3,
                Ok(Body::AudioHeader(_) | Body::Sound(Audio::Aac, _))
                | Err(ts::Error::Unsupported(_)),
            ) => return Err(Failure::Stream("the sound is not MP3. ret=4009")),
            (_, Err(e)) => return Err(Failure::Packet(e)),
            _ => {}
        }
        Ok(SOUND)
    }
}
