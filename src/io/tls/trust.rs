//! Whom to trust: the authorities that the system knows, or those of `tls_ca`. Read when the first
//! connection needs them, by the thread for files, and then kept.

use super::fault;
use super::sessions::Sessions;
use crate::io::{files, read};
use crate::limits::TLS_CA_FILE;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedCipherSuite,
};
use smol::lock::Mutex;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Where systems have them: Debian, Buildroot, OpenWrt and Alpine; Fedora; openSUSE; Alpine without
/// the package, and the BSDs.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

#[derive(Default)]
struct Trust {
    /// `tls_ca`; empty for the system's.
    file: RefCell<String>,
    config: RefCell<Option<Arc<ClientConfig>>>,
    /// Who reads it; others wait.
    reading: Mutex<()>,
}

thread_local! {
    static TRUST: Rc<Trust> = Rc::default();
}

/// The certificates in `file` are trusted from the next connection on; those of the system when
/// it is empty. It is read again.
pub fn trust(file: &str) {
    TRUST.with(|trust| {
        file.clone_into(&mut trust.file.borrow_mut());
        trust.config.take();
    });
}

/// What connections are made with.
pub(super) async fn config() -> Result<Arc<ClientConfig>, String> {
    let trust = TRUST.with(Rc::clone);
    let _turn = trust.reading.lock().await;
    if let Some(config) = &*trust.config.borrow() {
        return Ok(config.clone());
    }
    let file = trust.file.borrow().clone();
    let named = file.clone();
    let loaded = read::run(move || load(&named)).await.map_err(|e| e.to_string())??;
    // Another one may be wanted by now.
    if *trust.file.borrow() == file {
        *trust.config.borrow_mut() = Some(loaded.clone());
    }
    Ok(loaded)
}

/// Reads the file; takes some milliseconds, on a small board a hundred.
fn load(file: &str) -> Result<Arc<ClientConfig>, String> {
    let there = BUNDLES.iter().find(|path| Path::new(path).exists());
    let path = match file {
        "" => there.ok_or("no certificates to trust on this machine: install ca-certificates, or name a file with tls_ca")?,
        file => file,
    };
    let text = files::read(Path::new(path), TLS_CA_FILE).map_err(|e| format!("{path}: {e}"))?;
    if text.len() > TLS_CA_FILE {
        return Err(format!("{path} has more than {TLS_CA_FILE} bytes"));
    }
    made(&text, !file.is_empty()).map_err(|e| format!("{path}: {e}"))
}

/// What the certificates in `text` are good for; with `pinned` each of them also for itself.
pub(super) fn made(text: &[u8], pinned: bool) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let mut own = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text) {
        let certificate = certificate.map_err(|e| format!("not PEM: {e}"))?;
        if pinned {
            own.push(certificate.clone());
        }
        // Of a system's hundred there may be one that is too old to be understood.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err("there is no certificate in it".into());
    }
    let mut provider = ring::default_provider();
    arrange(&mut provider.cipher_suites, has_aes());
    let provider = Arc::new(provider);
    let authorities =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let authorities = authorities.map_err(|e| e.to_string())?;
    let versions = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let mut config = versions
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { authorities, own }))
        .with_no_client_auth();
    config.resumption = Resumption::store(Arc::new(Sessions::default()));
    Ok(Arc::new(config))
}

/// Whether the processor has instructions for AES. Without them ChaCha20 takes a third of the time; a
/// Raspberry Pi 4 has none.
fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    let has = std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}

/// Puts what is fastest in front; most servers follow.
pub(super) fn arrange(suites: &mut [SupportedCipherSuite], aes: bool) {
    let is_aes = |suite: &SupportedCipherSuite| {
        let name = suite.suite().as_str().unwrap_or_default();
        !name.contains("CHACHA20")
    };
    suites.sort_by_key(|suite| is_aes(suite) != aes);
}

/// The rules of the Web, and a server whose very certificate is in `tls_ca` is that server.
#[derive(Debug)]
struct Verifier {
    authorities: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let checked = self.authorities.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match checked {
            // Its time was checked before, its name was not; that the server has its key the
            // handshake shows.
            Err(e) if is_about_issuer(&e) && self.own.iter().any(|own| own == end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            checked => checked,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Whether nothing else is wrong with a certificate than who signed it: nobody that is known, or
/// itself.
fn is_about_issuer(error: &Error) -> bool {
    let Error::InvalidCertificate(error) = error else { return false };
    *error == CertificateError::UnknownIssuer || fault::is_of_itself(error)
}
