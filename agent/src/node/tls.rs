//! TLS for `starttls`: the node's certificate, and whether masters need one, and whose.

use regex_lite::Regex;
use rookery_plugins::munin::certificate_names;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};

/// Which masters may come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masters {
    /// PEM: their certificates come from one of these; `None`: they need none.
    pub ca: Option<PathBuf>,
    /// With at most so many authorities between.
    pub depth: Option<usize>,
    /// What the names in them must match: see [`certificate_names`].
    pub matches: Option<String>,
}

/// Reads the PEM files. The error names the file, or the key.
pub fn acceptor(certificate: &Path, key: &Path, masters: &Masters) -> Result<TlsAcceptor, String> {
    crate::ship::install_crypto();
    let wrong = |what: &str, path: &Path, e: &dyn std::fmt::Display| {
        format!("{what} {}: {e}; it must hold PEM", path.display())
    };
    let chain = certificates(certificate).map_err(|e| wrong("tls_certificate", certificate, &e))?;
    let key_der =
        PrivateKeyDer::from_pem_file(key).map_err(|e| wrong("tls_private_key", key, &e))?;
    let builder = ServerConfig::builder();
    let builder = match &masters.ca {
        None if masters.matches.is_some() => {
            return Err("tls_match: masters need not show a certificate: set tls_ca, too \
                        (munin-node.conf: tls_verify_certificate and tls_ca_certificate)"
                .to_owned());
        }
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for cert in certificates(ca).map_err(|e| wrong("tls_ca", ca, &e))? {
                roots.add(cert).map_err(|e| wrong("tls_ca", ca, &e))?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
            let chain = verifier.map_err(|e| wrong("tls_ca", ca, &e))?;
            let matches = masters.matches.as_deref().map(Regex::new).transpose();
            let matches = matches.map_err(|e| format!("tls_match: {e}"))?;
            let depth = masters.depth.unwrap_or(usize::MAX);
            builder.with_client_cert_verifier(Arc::new(Verifier { chain, depth, matches }))
        }
    };
    let config = builder
        .with_single_cert(chain, key_der)
        .map_err(|e| format!("tls_certificate {}: {e}", certificate.display()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The chain, and then the names.
#[derive(Debug)]
struct Verifier {
    chain: Arc<dyn ClientCertVerifier>,
    depth: usize,
    matches: Option<Regex>,
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // Each certifies the one before it: a longer way needs more of them.
        let intermediates = &intermediates[..intermediates.len().min(self.depth)];
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        let Some(wanted) = &self.matches else { return Ok(verified) };
        let names = certificate_names(end_entity).unwrap_or_default();
        match wanted.is_match(&names) {
            true => Ok(verified),
            false => Err(Error::General(format!("tls_match: it is another's: {names:?}"))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// All certificates of a file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certs = CertificateDer::pem_file_iter(path).map_err(|e| e.to_string())?;
    let certs: Vec<_> = certs.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    if certs.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(certs) }
}
