//! The `onMetaData` message, which an encoder sends once and every player gets first.

use bytes::Bytes;

use super::Identity;
use crate::{
    media::Codec,
    proto::amf0::{Error, Reader, Writer},
};

/// Metadata as it goes to players, and what the server itself wants to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// `"onMetaData"` and an object: what RTMP players and FLV get.
    pub payload: Bytes,
    /// Pixels.
    pub width: Option<f64>,
    /// Pixels.
    pub height: Option<f64>,
    /// `videocodecid`.
    pub video_codec: Option<Codec>,
    /// `audiocodecid`.
    pub audio_codec: Option<Codec>,
    /// The encoder asks for its absolute timestamps to be kept (`bravo_atc` is `"true"`).
    pub bravo_atc: bool,
}

/// Whether a data message is metadata, bare or inside `@setDataFrame`. Anything else that an
/// encoder sends as data (`onTextData`, `onCuePoint`, …) is none.
pub fn is_metadata(payload: &[u8]) -> bool {
    after_names(&mut Reader::new(payload)).is_some()
}

/// Makes the metadata of an encoder fit for players: `@setDataFrame` goes, an ECMA array becomes an
/// object, `duration` goes, and what `identity` says is added. All other properties are relayed
/// byte for byte, whatever their type and number.
pub fn normalise(payload: &[u8], identity: &Identity) -> Result<Metadata, Error> {
    let mut reader = Reader::new(payload);
    let mut out = Vec::with_capacity(256);
    let mut writer = Writer(&mut out);
    let mut metadata = Metadata {
        payload: Bytes::new(),
        width: None,
        height: None,
        video_codec: None,
        audio_codec: None,
        bravo_atc: false,
    };
    writer.string(ON_METADATA).object();
    if after_names(&mut reader).is_some() && reader.enter()? {
        while let Some(key) = reader.key()? {
            let value = reader.skip()?;
            if !OURS.contains(&key) {
                metadata.note(key, value);
                writer.key(key).0.extend(value);
            }
        }
    }
    writer.key("server").string(identity.server);
    writer.key("srs_primary").string(identity.primary);
    writer.key("srs_authors").string(identity.authors);
    writer.key("server_version").string(identity.version).end();
    metadata.payload = out.into();
    Ok(metadata)
}

impl Metadata {
    fn note(&mut self, key: &[u8], value: &[u8]) {
        let number = || Reader::new(value).number().ok().flatten();
        match key {
            b"width" => self.width = number(),
            b"height" => self.height = number(),
            b"videocodecid" => self.video_codec = codec(value),
            b"audiocodecid" => self.audio_codec = codec(value),
            b"bravo_atc" => {
                let text = Reader::new(value).string();
                self.bravo_atc = text.is_ok_and(|text| text.as_deref() == Some("true"));
            }
            _ => {}
        }
    }
}

/// A codec is a number of FLV, or a fourCC as a number (Enhanced RTMP) or as a text (`avc1`,
/// `mp4a`).
fn codec(value: &[u8]) -> Option<Codec> {
    if let Ok(Some(number)) = Reader::new(value).number() {
        return Some(match number as u32 {
            id @ 0..=255 => Codec::Id(id as u8),
            cc => Codec::FourCc(cc.to_be_bytes()),
        });
    }
    let text = Reader::new(value).string().ok()??;
    text.as_bytes().try_into().ok().map(Codec::FourCc)
}

/// Reads over the one or two names in front of the properties.
fn after_names(reader: &mut Reader<'_>) -> Option<()> {
    let mut name = reader.string().ok()??;
    if name == SET_DATA_FRAME {
        name = reader.string().ok()??;
    }
    (name == ON_METADATA).then_some(())
}

const ON_METADATA: &str = "onMetaData";
const SET_DATA_FRAME: &str = "@setDataFrame";
/// What an encoder says of these is not passed on.
const OURS: [&[u8]; 5] =
    [b"duration", b"server", b"srs_primary", b"srs_authors", b"server_version"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{
        amf0::{Object, Value},
        rtmp::RUNNEL,
    };

    fn message(names: &[&str], properties: Option<Value>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer(&mut out);
        for name in names {
            writer.string(name);
        }
        if let Some(properties) = &properties {
            writer.value(properties);
        }
        out
    }

    fn properties() -> Object {
        Object::from_iter([
            ("duration", Value::Number(12.0)),
            ("width", Value::Number(1280.0)),
            ("server", "theirs".into()),
            ("height", Value::Number(720.0)),
            ("videocodecid", Value::Number(7.0)),
            ("audiocodecid", "mp4a".into()),
            ("bravo_atc", "true".into()),
            ("created", Value::Date { ms: 1.0, tz: 0 }),
            ("list", Value::StrictArray(vec![Value::Null, Value::Number(1.0)])),
            ("inner", Object::from_iter([("duration", 1.0)]).into()),
        ])
    }

    fn cases() -> Vec<Vec<u8>> {
        let array = Value::EcmaArray { count: 0, pairs: properties() };
        vec![
            message(&["onMetaData"], Some(properties().into())),
            message(&["@setDataFrame", "onMetaData"], Some(array)),
        ]
    }

    #[test]
    fn players_get_an_object_with_our_names() {
        let mut expected = properties();
        expected.remove("duration");
        expected.set("server", RUNNEL.server);
        expected.set("srs_primary", RUNNEL.primary);
        expected.set("srs_authors", RUNNEL.authors);
        expected.set("server_version", RUNNEL.version);
        let expected = message(&["onMetaData"], Some(expected.into()));
        for case in cases() {
            let metadata = normalise(&case, &RUNNEL).unwrap();
            assert_eq!(metadata.payload, expected);
            assert_eq!((metadata.width, metadata.height), (Some(1280.0), Some(720.0)));
            assert_eq!(metadata.video_codec, Some(Codec::Id(7)));
            assert_eq!(metadata.audio_codec, Some(Codec::FourCc(*b"mp4a")));
            assert!(metadata.bravo_atc);
            assert_eq!(normalise(&metadata.payload, &RUNNEL).unwrap().payload, expected);
        }
    }

    #[test]
    fn a_four_cc_may_come_as_a_number() {
        let object = Object::from_iter([("videocodecid", f64::from(u32::from_be_bytes(*b"hvc1")))]);
        let metadata = normalise(&message(&["onMetaData"], Some(object.into())), &RUNNEL).unwrap();
        assert_eq!(metadata.video_codec, Some(Codec::FourCc(*b"hvc1")));
    }

    #[test]
    fn only_metadata_is_metadata() {
        for case in cases() {
            assert!(is_metadata(&case));
        }
        for names in
            [&["onTextData"][..], &["@setDataFrame", "onTextData"], &["@setDataFrame"], &[]]
        {
            assert!(!is_metadata(&message(names, Some(Value::Null))), "{names:?}");
        }
    }

    #[test]
    fn metadata_without_properties_gets_ours() {
        for value in [None, Some(Value::Null)] {
            let metadata = normalise(&message(&["onMetaData"], value), &RUNNEL).unwrap();
            let mut reader = Reader::new(&metadata.payload);
            assert_eq!(reader.string().unwrap().unwrap(), "onMetaData");
            assert_eq!(reader.value().unwrap().as_object().unwrap().len(), 4);
        }
    }

    #[test]
    fn a_list_of_key_frames_longer_than_other_bounds_is_relayed() {
        let times = Value::StrictArray(vec![Value::Number(0.5); 5000]);
        let object = Object::from_iter([("keyframes", Object::from_iter([("times", times)]))]);
        let case = message(&["onMetaData"], Some(object.into()));
        assert!(normalise(&case, &RUNNEL).unwrap().payload.len() > 45_000);
    }

    #[test]
    fn cut_or_changed_metadata_never_panics() {
        let mut random = fastrand::Rng::with_seed(4);
        for case in cases() {
            for len in 0..case.len() {
                let _ = normalise(&case[..len], &RUNNEL);
            }
            for _ in 0..3000 {
                let mut changed = case.clone();
                let at = random.usize(..changed.len());
                changed[at] = random.u8(..);
                if let Ok(metadata) = normalise(&changed, &RUNNEL) {
                    assert!(is_metadata(&metadata.payload));
                }
            }
        }
    }
}
