//! A client that is there for calls, not for streams: what it calls is told to the owner, who calls
//! back.

use super::{Asked, ConnectReply, Server, State};
use crate::proto::amf0::Writer;
use crate::proto::rtmp::{control::STREAM, reply};

impl Server {
    /// Lets the client connect in order to call and be called: from here on each of its calls is
    /// an [`Event::Called`](super::Event::Called). Its chunks and ours stay as small as they are.
    pub fn accept_calls(&mut self, reply: &ConnectReply) {
        let State::Asked(asked) = &self.state else { return };
        let Asked::Connect { transaction, object_encoding, enhanced } = &**asked else { return };
        self.control.send_window(reply.window_ack);
        self.control.send_bandwidth(reply.peer_bandwidth);
        let data = reply.data();
        self.control
            .command(0, |w| reply::connected(w, *transaction, *object_encoding, enhanced, &data));
        self.state = State::Calling;
    }

    /// Calls the client, with what `write` says of the call's one object.
    pub fn call(&mut self, name: &str, write: impl FnOnce(&mut Writer<'_>)) {
        self.control.command_on(STREAM, 0, |w| {
            w.string(name).number(0.0).null().object();
            write(w);
            w.end();
        });
    }
}
