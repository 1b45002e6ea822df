//! How this server names itself to its peers.

use crate::proto::amf0::Object;

/// The strings of the `data` of connect's `_result`, of metadata, and of the arguments that an
/// edge sends. Their keys keep the spelling that players and tools read (`srs_server`, …).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `srs_sig`: the short name.
    pub signature: &'static str,
    /// `srs_server`, and `server` of metadata: name and version.
    pub server: &'static str,
    /// `srs_license`.
    pub license: &'static str,
    /// `srs_role`.
    pub role: &'static str,
    /// `srs_url`: where the project is.
    pub url: &'static str,
    /// `srs_version`, and `server_version` of metadata.
    pub version: &'static str,
    /// `srs_site`.
    pub site: &'static str,
    /// `srs_email`.
    pub email: &'static str,
    /// `srs_copyright`.
    pub copyright: &'static str,
    /// `srs_primary`: the release line.
    pub primary: &'static str,
    /// `srs_authors`.
    pub authors: &'static str,
}

/// This program.
pub const RUNNEL: Identity = Identity {
    signature: "runnel",
    server: concat!("runnel/", env!("CARGO_PKG_VERSION")),
    license: "The MIT License (MIT)",
    role: "cluster",
    url: env!("CARGO_PKG_REPOSITORY"),
    version: env!("CARGO_PKG_VERSION"),
    site: env!("CARGO_PKG_HOMEPAGE"),
    email: "",
    copyright: "Copyright (c) the runnel authors",
    primary: concat!(
        "runnel/",
        env!("CARGO_PKG_VERSION_MAJOR"),
        ".",
        env!("CARGO_PKG_VERSION_MINOR")
    ),
    authors: "the runnel authors",
};

impl Identity {
    /// The properties in their order, followed by the address of the server (left out when it is
    /// empty), its process and the id of the connection.
    pub fn properties(&self, server_ip: &str, pid: u32, id: u32) -> Object {
        let texts = [
            ("srs_sig", self.signature),
            ("srs_server", self.server),
            ("srs_license", self.license),
            ("srs_role", self.role),
            ("srs_url", self.url),
            ("srs_version", self.version),
            ("srs_site", self.site),
            ("srs_email", self.email),
            ("srs_copyright", self.copyright),
            ("srs_primary", self.primary),
            ("srs_authors", self.authors),
        ];
        let mut object = Object::from_iter(texts);
        if !server_ip.is_empty() {
            object.set("srs_server_ip", server_ip);
        }
        object.set("srs_pid", f64::from(pid));
        object.set("srs_id", f64::from(id));
        object
    }
}
