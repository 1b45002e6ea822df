//! What the server says (RTMP 1.0 §7.2): each function writes the values of one message. Order,
//! spelling and texts are those that players and encoders have been tested against.

use super::command::ENHANCED;
use super::{Identity, RUNNEL};
use crate::proto::amf0::{Object, Value, Writer};

/// What the server says to a client that may connect.
#[derive(Clone, Debug)]
pub struct ConnectReply {
    /// Bytes after half of which the client is to acknowledge; 0 asks for none.
    pub window_ack: u32,
    /// Bytes that the client may have under way.
    pub peer_bandwidth: u32,
    /// The chunk size of what the server sends.
    pub chunk_size: u32,
    /// Acknowledge every half of so many bytes even when the client does not ask for it; 0 for
    /// only when it asks.
    pub in_ack_size: u32,
    /// Who the server is.
    pub identity: Identity,
    /// The server's address on this connection.
    pub server_ip: String,
    /// The server's process.
    pub pid: u32,
    /// The connection's number in the log.
    pub id: u32,
}

impl Default for ConnectReply {
    fn default() -> Self {
        Self {
            window_ack: 2_500_000,
            peer_bandwidth: 2_500_000,
            chunk_size: 60_000,
            in_ack_size: 0,
            identity: RUNNEL,
            server_ip: String::new(),
            pid: 0,
            id: 0,
        }
    }
}

impl ConnectReply {
    /// Who the server is, as the answer says it.
    pub(super) fn data(&self) -> Object {
        self.identity.properties(&self.server_ip, self.pid, self.id)
    }
}

/// Answers `connect`. Of `enhanced`, what the client sent, it says that every codec is forwarded,
/// and that of the extensions of `capsEx` requests to reconnect are used.
pub(super) fn connected(
    w: &mut Writer<'_>,
    transaction: f64,
    object_encoding: f64,
    enhanced: &Object,
    data: &Object,
) {
    w.string("_result").number(transaction);
    w.object().key("fmsVer").string("FMS/3,5,3,888");
    w.key("capabilities").number(127.0).key("mode").number(1.0);
    for key in ENHANCED {
        if let Some(value) = enhanced.value(key) {
            w.key(key).value(&offer(value));
        }
    }
    w.end();
    w.object().key("level").string("status");
    w.key("code").string("NetConnection.Connect.Success");
    w.key("description").string("Connection succeeded");
    w.key("objectEncoding").number(object_encoding);
    w.key("data").ecma_array(0).key("version").string("3,5,3,888").pairs(data).end();
    w.end();
}

/// Asks the client to connect again (Enhanced RTMP v2, "Reconnect Request"): to `tc_url`, or where
/// it is. It may go on until it has done so.
pub(super) fn reconnect(w: &mut Writer<'_>, tc_url: Option<&str>, description: &str) {
    w.string("onStatus").number(0.0).null();
    w.object();
    if let Some(url) = tc_url {
        w.key("tcUrl").string(url);
    }
    w.key("code").string("NetConnection.Connect.ReconnectRequest");
    w.key("description").string(description).key("level").string("status");
    w.end();
}

/// Whether a client that said `enhanced` takes that.
pub(super) fn can_reconnect(enhanced: &Object) -> bool {
    let caps = enhanced.number("capsEx").unwrap_or_default();
    caps as u32 & RECONNECT != 0
}

/// Refuses `connect`.
pub(super) fn rejected(w: &mut Writer<'_>, transaction: f64, description: &str) {
    w.string("_error").number(transaction).null();
    w.object().key("level").string("error");
    w.key("code").string("NetConnection.Connect.Rejected");
    w.key("description").string(description).end();
}

/// Refuses a call that cannot be read.
pub(super) fn failed(w: &mut Writer<'_>, transaction: f64, description: &str) {
    w.string("_error").number(transaction).null();
    w.object().key("level").string("error");
    w.key("code").string("NetConnection.Call.Failed");
    w.key("description").string(description).end();
}

/// The end of the bandwidth detection that some clients wait for.
pub(super) fn on_bw_done(w: &mut Writer<'_>) {
    w.string("onBWDone").number(0.0).null();
}

/// Answers a call that has no result.
pub(super) fn nothing(w: &mut Writer<'_>, transaction: f64) {
    w.string("_result").number(transaction).null().null();
}

/// Answers `releaseStream`, `FCPublish` and `FCUnpublish`.
pub(super) fn fmle(w: &mut Writer<'_>, transaction: f64) {
    w.string("_result").number(transaction).null().undefined();
}

/// Answers `createStream`.
pub(super) fn stream_created(w: &mut Writer<'_>, transaction: f64) {
    w.string("_result").number(transaction).null().number(STREAM.into());
}

/// `onFCPublish` and `onFCUnpublish`.
pub(super) fn on_fc(w: &mut Writer<'_>, name: &str, code: &str, description: &str) {
    w.string(name).number(0.0).null();
    w.object().key("code").string(code).key("description").string(description).end();
}

/// `onStatus`, followed by `more` properties.
pub(super) fn on_status(
    w: &mut Writer<'_>,
    level: &str,
    code: &str,
    description: &str,
    more: &[(&str, &str)],
) {
    w.string("onStatus").number(0.0).null();
    w.object().key("level").string(level).key("code").string(code);
    w.key("description").string(description);
    for (key, text) in more {
        w.key(key).string(text);
    }
    w.end();
}

/// A data message: the player may read the samples of audio and video.
pub(super) fn sample_access(w: &mut Writer<'_>) {
    w.string("|RtmpSampleAccess").boolean(true).boolean(true);
}

/// A data message: media is about to follow.
pub(super) fn data_start(w: &mut Writer<'_>) {
    w.string("onStatus").object().key("code").string("NetStream.Data.Start").end();
}

/// What is said of a capability that the client named: the same codecs, as far as a server is
/// concerned with them.
fn offer(value: &Value) -> Value {
    match value {
        Value::Object(codecs) | Value::EcmaArray { pairs: codecs, .. } => {
            codecs.iter().map(|(codec, _)| (codec, CAN_FORWARD)).collect::<Object>().into()
        }
        Value::Number(_) => Value::Number(CAPS_EX),
        other => other.clone(),
    }
}

/// The one message stream that a connection has.
pub(super) const STREAM: u32 = 1;
/// The id that `onStatus` gives every client.
pub(super) const CLIENT_ID: (&str, &str) = ("clientid", "ASAICiss");
/// Said by `onStatus` of play.
pub(super) const DETAILS: (&str, &str) = ("details", "stream");
/// Enhanced RTMP v2, FourCcInfoMask.
const CAN_FORWARD: f64 = 4.0;
/// Enhanced RTMP v2, CapsExMask: reconnect requests, no multitrack, no ModEx.
const CAPS_EX: f64 = RECONNECT as f64;
/// Enhanced RTMP v2, CapsExMask.Reconnect.
pub(super) const RECONNECT: u32 = 1;
