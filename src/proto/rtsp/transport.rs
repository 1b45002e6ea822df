//! The `Transport` header (RFC 2326 §12.39).

use std::fmt;

/// What carries RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lower {
    /// Ports of their own.
    Udp,
    /// The connection of RTSP, in frames.
    Tcp,
}

/// One way to carry a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// What carries it.
    pub lower: Lower,
    /// To a group of receivers.
    pub multicast: bool,
    /// The sender records (`mode=record`), else the receiver plays.
    pub record: bool,
    /// The channels of RTP and RTCP.
    pub interleaved: Option<(u8, u8)>,
    /// The client's ports for RTP and RTCP.
    pub client_port: Option<(u16, u16)>,
    /// The server's ports for RTP and RTCP.
    pub server_port: Option<(u16, u16)>,
    /// The source of the packets, if it is known.
    pub ssrc: Option<u32>,
    /// The address that packets come from, when it is not that of the peer.
    pub source: Option<String>,
}

impl Transport {
    /// Packets in frames of the connection.
    pub fn tcp(interleaved: (u8, u8), record: bool) -> Self {
        Self { interleaved: Some(interleaved), ..Self::plain(Lower::Tcp, record) }
    }

    /// Packets to ports of the client.
    pub fn udp(client_port: (u16, u16), record: bool) -> Self {
        Self { client_port: Some(client_port), ..Self::plain(Lower::Udp, record) }
    }

    fn plain(lower: Lower, record: bool) -> Self {
        Self {
            lower,
            multicast: false,
            record,
            interleaved: None,
            client_port: None,
            server_port: None,
            ssrc: None,
            source: None,
        }
    }

    /// The transports of a header that can be read, the best liked first. Empty for none: what is
    /// not RTP/AVP is left out.
    pub fn parse(header: &str) -> Vec<Self> {
        // A comma between quotes belongs to a mode.
        let mut quoted = false;
        let ways = header.split(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        ways.filter_map(Self::one).collect()
    }

    fn one(way: &str) -> Option<Self> {
        let mut parts = way.split(';').map(str::trim);
        let lower = match parts.next()?.to_ascii_uppercase().as_str() {
            "RTP/AVP" | "RTP/AVP/UDP" | "RTP/AVPF" | "RTP/AVPF/UDP" => Lower::Udp,
            "RTP/AVP/TCP" | "RTP/AVPF/TCP" => Lower::Tcp,
            _ => return None,
        };
        let mut transport = Self::plain(lower, false);
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "multicast" => transport.multicast = true,
                "interleaved" => transport.interleaved = pair(value, |c: u8| c.checked_add(1)),
                "client_port" => transport.client_port = pair(value, |p: u16| p.checked_add(1)),
                "server_port" => transport.server_port = pair(value, |p: u16| p.checked_add(1)),
                "ssrc" => transport.ssrc = u32::from_str_radix(value, 16).ok(),
                "source" => transport.source = Some(value.to_owned()),
                "mode" => {
                    // RECEIVE is what old clients say.
                    let value = value.to_ascii_uppercase();
                    transport.record = value.contains("RECORD") || value.contains("RECEIVE");
                }
                _ => {}
            }
        }
        Some(transport)
    }
}

/// `4-5`, or `4` alone, of which the second follows.
fn pair<T: std::str::FromStr + Copy>(text: &str, next: impl Fn(T) -> Option<T>) -> Option<(T, T)> {
    let (first, second) = text.split_once('-').unwrap_or((text, ""));
    let first = first.trim().parse().ok()?;
    Some((first, second.trim().parse().ok().or_else(|| next(first))?))
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.lower {
            Lower::Udp => "RTP/AVP",
            Lower::Tcp => "RTP/AVP/TCP",
        })?;
        f.write_str(if self.multicast { ";multicast" } else { ";unicast" })?;
        if let Some((rtp, rtcp)) = self.interleaved {
            write!(f, ";interleaved={rtp}-{rtcp}")?;
        }
        if let Some((rtp, rtcp)) = self.client_port {
            write!(f, ";client_port={rtp}-{rtcp}")?;
        }
        if let Some((rtp, rtcp)) = self.server_port {
            write!(f, ";server_port={rtp}-{rtcp}")?;
        }
        if let Some(ssrc) = self.ssrc {
            write!(f, ";ssrc={ssrc:08X}")?;
        }
        if self.record {
            f.write_str(";mode=record")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::mutations;

    /// Header, the transports in it as they are written.
    const CASES: &[(&str, &[&str])] = &[
        (
            "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record",
            &["RTP/AVP/TCP;unicast;interleaved=0-1;mode=record"],
        ),
        (
            "RTP/AVP/UDP;unicast;client_port=5000-5001;mode=record",
            &["RTP/AVP;unicast;client_port=5000-5001;mode=record"],
        ),
        (
            "RTP/AVP;unicast;client_port=5000-5001;server_port=8000-8001;ssrc=1A2b3c4D;mode=\"PLAY\"",
            &["RTP/AVP;unicast;client_port=5000-5001;server_port=8000-8001;ssrc=1A2B3C4D"],
        ),
        ("rtp/avp ; UNICAST ; client_port = 5000", &["RTP/AVP;unicast;client_port=5000-5001"]),
        (
            "RTP/AVP;multicast;ttl=4,RTP/SAVP;unicast,RTP/AVP/TCP;mode=\"PLAY,RECORD\"",
            &["RTP/AVP;multicast", "RTP/AVP/TCP;unicast;mode=record"],
        ),
        ("RTP/AVP;client_port=70000", &["RTP/AVP;unicast"]),
        ("RTP/AVP/TCP;interleaved=255", &["RTP/AVP/TCP;unicast"]),
        ("RAW/RAW/UDP", &[]),
        ("", &[]),
    ];

    #[test]
    fn transports_are_read_in_their_order() {
        for (header, want) in CASES {
            let got: Vec<_> = Transport::parse(header).iter().map(ToString::to_string).collect();
            assert_eq!(got, *want, "{header}");
            for way in got {
                assert_eq!(Transport::parse(&way)[0].to_string(), way);
            }
        }
    }

    #[test]
    fn changed_headers_are_read_or_left_out() {
        for (header, _) in CASES {
            for len in 0..header.len() {
                Transport::parse(&header[..len]);
            }
            mutations(header.as_bytes(), |changed| {
                Transport::parse(&String::from_utf8_lossy(changed));
            });
        }
    }
}
