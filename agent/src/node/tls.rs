//! TLS for `starttls`: the node's certificate, and whether masters need one.

use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Reads the PEM files. With `ca` a master must show a certificate that one of
/// its authorities has signed. The error names the file.
pub fn acceptor(certificate: &Path, key: &Path, ca: Option<&Path>) -> Result<TlsAcceptor, String> {
    crate::ship::install_crypto();
    let wrong = |what: &str, path: &Path, e: &dyn std::fmt::Display| {
        format!("{what} {}: {e}; it must hold PEM", path.display())
    };
    let chain = certificates(certificate).map_err(|e| wrong("tls_certificate", certificate, &e))?;
    let key_der =
        PrivateKeyDer::from_pem_file(key).map_err(|e| wrong("tls_private_key", key, &e))?;
    let builder = ServerConfig::builder();
    let builder = match ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for cert in certificates(ca).map_err(|e| wrong("tls_ca", ca, &e))? {
                roots.add(cert).map_err(|e| wrong("tls_ca", ca, &e))?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
            builder.with_client_cert_verifier(verifier.map_err(|e| wrong("tls_ca", ca, &e))?)
        }
    };
    let config = builder
        .with_single_cert(chain, key_der)
        .map_err(|e| format!("tls_certificate {}: {e}", certificate.display()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// All certificates of a file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certs = CertificateDer::pem_file_iter(path).map_err(|e| e.to_string())?;
    let certs: Vec<_> = certs.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    if certs.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(certs) }
}
