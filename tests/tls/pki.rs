//! Certificates of all kinds, made anew by openssl.

use crate::common::{TempDir, run, tool};
use std::fs;
use std::path::{Path, PathBuf};

/// `ca` is an authority. Of it are `good`, `rsa`, `name` (for another name), `expired` and `early`;
/// `foreign` is of another one, `own`, `ownname` and `ownexpired` are of themselves.
pub(crate) struct Pki {
    pub(crate) dir: TempDir,
    openssl: PathBuf,
    faketime: PathBuf,
}

const EC: &str = "ec -pkeyopt ec_paramgen_curve:prime256v1";

impl Pki {
    pub(crate) fn new() -> Option<Self> {
        let (openssl, faketime) = (tool("openssl")?, tool("faketime")?);
        let pki = Self { dir: TempDir::new(), openssl, faketime };
        pki.own("ca", "authority.example", "");
        pki.own("otherca", "other-authority.example", "");
        pki.own("own", "localhost", "");
        pki.own("ownname", "other.example", "");
        pki.own("ownexpired", "localhost", "2021-03-01 12:00:00");
        pki.signed("good", EC, "localhost", "ca", "");
        pki.signed("rsa", "rsa:2048", "localhost", "ca", "");
        pki.signed("name", EC, "other.example", "ca", "");
        pki.signed("foreign", EC, "localhost", "otherca", "");
        pki.signed("expired", EC, "localhost", "ca", "2021-03-01 12:00:00");
        pki.signed("early", EC, "localhost", "ca", "2060-03-01 12:00:00");
        Some(pki)
    }

    pub(crate) fn certificate(&self, name: &str) -> String {
        self.file(name, "pem")
    }

    pub(crate) fn key(&self, name: &str) -> String {
        self.file(name, "key")
    }

    fn file(&self, name: &str, kind: &str) -> String {
        self.dir.join(&format!("{name}.{kind}")).display().to_string()
    }

    /// One for two days from `date` on, from now on when it is empty, that signs itself.
    fn own(&self, file: &str, name: &str, date: &str) {
        let (out, key) = (self.certificate(file), self.key(file));
        let text = format!(
            "req -x509 -newkey {EC} -nodes -days 2 -subj /CN={name} \
             -addext subjectAltName=DNS:{name} -out {out} -keyout {key}"
        );
        self.openssl(&text, date);
    }

    fn signed(&self, file: &str, kind: &str, name: &str, authority: &str, date: &str) {
        let (request, names) = (self.file(file, "csr"), self.file(file, "names"));
        let (out, key) = (self.certificate(file), self.key(file));
        let text =
            format!("req -newkey {kind} -nodes -subj /CN={name} -out {request} -keyout {key}");
        self.openssl(&text, "");
        fs::write(&names, format!("subjectAltName=DNS:{name}\n")).unwrap();
        let (ca, cakey) = (self.certificate(authority), self.key(authority));
        let serial = self.file(file, "srl");
        let text = format!(
            "x509 -req -days 2 -in {request} -CA {ca} -CAkey {cakey} -CAserial {serial} \
             -CAcreateserial -extfile {names} -out {out}"
        );
        self.openssl(&text, date);
    }

    fn openssl(&self, args: &str, date: &str) {
        let args = args.split_ascii_whitespace();
        if date.is_empty() {
            run(&self.openssl, args);
        } else {
            let program: &Path = &self.openssl;
            run(&self.faketime, [date, program.to_str().unwrap()].into_iter().chain(args));
        }
    }
}
