//! What is wrong with TLS, in words for whoever runs the server.

use crate::io::zone::Civil;
use rustls::CertificateError as Certificate;
use rustls::Error;
use rustls::pki_types::UnixTime;
use std::io::{self, ErrorKind};

/// Names of a certificate that are told.
const NAMES: usize = 3;

/// What `error` means.
pub(super) fn text(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => format!("its certificate {}", certificate(error)),
        Error::InvalidMessage(_) => "what it says is no TLS".into(),
        Error::AlertReceived(alert) => format!("the server refuses TLS with us: {alert:?}"),
        Error::PeerIncompatible(why) => format!("no version or cipher of TLS in common: {why:?}"),
        Error::PeerMisbehaved(why) => format!("the server breaks the rules of TLS: {why:?}"),
        Error::DecryptError => "what came was changed on the way".into(),
        error => format!("TLS: {error}"),
    }
}

fn certificate(error: &Certificate) -> String {
    match error {
        Certificate::Expired => "has expired".into(),
        Certificate::ExpiredContext { time, not_after } => {
            format!("expired {}, the clock here says {}", date(*not_after), date(*time))
        }
        Certificate::NotValidYet => "is not valid yet".into(),
        Certificate::NotValidYetContext { time, not_before } => {
            let (from, now) = (date(*not_before), date(*time));
            format!("is not valid before {from}, the clock here says {now}")
        }
        Certificate::UnknownIssuer => {
            "is of an unknown issuer; tls_ca names a file of those to trust".into()
        }
        Certificate::NotValidForName => "is for another name".into(),
        Certificate::NotValidForNameContext { expected, presented } => {
            let mut names = presented.iter().take(NAMES).map(String::as_str).collect::<Vec<_>>();
            if presented.len() > NAMES {
                names.push("...");
            }
            let names = if names.is_empty() { "no name".into() } else { names.join(", ") };
            format!("is for {names}, not for {}", expected.to_str())
        }
        Certificate::Revoked => "was revoked".into(),
        Certificate::BadEncoding => "cannot be read".into(),
        Certificate::BadSignature => "or its proof has a wrong signature".into(),
        Certificate::InvalidPurpose | Certificate::InvalidPurposeContext { .. } => {
            "is not one of a server".into()
        }
        other if is_of_itself(other) => {
            "signed itself; in the file of tls_ca it counts, for its server".into()
        }
        other => format!("is not accepted: {other:?}"),
    }
}

/// Whether it is one of those that sign others, which most that sign themselves are.
pub(super) fn is_of_itself(error: &Certificate) -> bool {
    let Certificate::Other(other) = error else { return false };
    let why = other.0.downcast_ref::<webpki::Error>();
    matches!(why, Some(webpki::Error::CaUsedAsEndEntity))
}

fn date(time: UnixTime) -> String {
    let Civil { year, month, day, hour, minute, .. } =
        Civil::at(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// A socket that failed in the handshake.
pub(super) fn handshake(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            "the server closed the connection in the TLS handshake".into()
        }
        _ => format!("the connection failed in the TLS handshake: {error}"),
    }
}

/// The same as an error of the connection.
pub(super) fn io(error: &Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text(error))
}

/// A connection that ends without the end that TLS has (RFC 8446 §6.1): anybody on the way could have
/// done that.
pub(super) fn cut(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => {
            io::Error::new(ErrorKind::UnexpectedEof, "cut off: closed without the end of TLS")
        }
        _ => error,
    }
}
