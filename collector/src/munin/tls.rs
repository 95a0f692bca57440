//! TLS with a munin-node: `starttls` in the dialogue, then the client's part of TLS.
//!
//! As with Munin's master only the chain of certificates is checked
//! (`tls_verify_certificate`, `tls_verify_depth`), never the name in it, unless by
//! `tls_match`. A node without a certificate of its own says `TLS MAYBE` and wants to be
//! the client: that is done where its certificate need not be checked, with our own.

use rookery_plugins::munin::certificate_names;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Whether a node is spoken with by TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    /// In the clear.
    #[default]
    Disabled,
    /// By TLS where the node offers it, and one of both has a certificate.
    Auto,
    /// By TLS, or not at all.
    #[serde(alias = "paranoid")]
    Enabled,
}

impl Wish {
    /// Munin's word.
    pub fn parse(text: &str) -> Option<Wish> {
        Some(match text.to_ascii_lowercase().as_str() {
            "disabled" | "no" => Wish::Disabled,
            "auto" => Wish::Auto,
            "enabled" | "paranoid" | "yes" => Wish::Enabled,
            _ => return None,
        })
    }
}

/// What is said of TLS with a node, in Munin's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whether it is used.
    pub wish: Wish,
    /// The node's certificate must come from an authority of `ca`.
    pub verify: bool,
    /// PEM; needed with `verify`.
    pub ca: Option<PathBuf>,
    /// What is shown to a node that asks, PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// With `verify`: at most so many authorities between the node's and one of `ca`.
    pub depth: Option<usize>,
    /// What the names in the node's certificate must match.
    pub matches: Option<String>,
}

/// How TLS is spoken with a node.
#[derive(Clone)]
pub struct Secure {
    /// As its client.
    pub connector: TlsConnector,
    /// As its server, which a node without a certificate wants; `None`: it is to be
    /// checked, or there is none of our own.
    pub acceptor: Option<TlsAcceptor>,
    /// Its certificate is checked.
    pub is_checked: bool,
}

impl Tls {
    /// Reads the files. The error names the key and the file.
    pub fn secure(&self) -> Result<Option<Secure>, String> {
        if self.wish == Wish::Disabled {
            return Ok(None);
        }
        let provider = Arc::new(ring::default_provider());
        let chain = match (&self.ca, self.verify) {
            (Some(ca), true) => {
                let trusted = certificates("tls_ca_certificate", ca)?;
                let mut roots = RootCertStore::empty();
                for one in &trusted {
                    roots
                        .add(one.clone())
                        .map_err(|e| format!("tls_ca_certificate {}: {e}", ca.display()))?;
                }
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
                let verifier = verifier.build().map_err(|e| format!("tls_ca_certificate: {e}"))?;
                Some((verifier, trusted))
            }
            (None, true) => {
                return Err("tls_verify_certificate: name tls_ca_certificate, too".to_owned());
            }
            (_, false) => None,
        };
        let matches = match &self.matches {
            Some(_) if !self.verify => {
                return Err("tls_match: anyone can write a certificate that matches: set \
                            tls_verify_certificate, too"
                    .to_owned());
            }
            Some(text) => {
                Some(regex_lite::Regex::new(text).map_err(|e| format!("tls_match: {e}"))?)
            }
            None => None,
        };
        let depth = self.depth.unwrap_or(usize::MAX);
        let verifier = Verifier { chain, depth, matches, provider: provider.clone() };
        let verifier = Arc::new(verifier);
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| format!("tls: {e}"))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut acceptor = None;
        let config = match (&self.certificate, &self.key) {
            (Some(certificate), key) => {
                let chain = certificates("tls_certificate", certificate)?;
                // As in Munin, both may stand in one file.
                let file = key.as_ref().unwrap_or(certificate);
                let key = PrivateKeyDer::from_pem_file(file)
                    .map_err(|e| format!("tls_private_key {}: {e}", file.display()))?;
                let wrong = |e| format!("tls_certificate {}: {e}", certificate.display());
                if !self.verify {
                    let server = ServerConfig::builder_with_provider(provider)
                        .with_safe_default_protocol_versions()
                        .map_err(|e| format!("tls: {e}"))?
                        .with_no_client_auth()
                        .with_single_cert(chain.clone(), key.clone_key())
                        .map_err(wrong)?;
                    acceptor = Some(TlsAcceptor::from(Arc::new(server)));
                }
                builder.with_client_auth_cert(chain, key).map_err(wrong)?
            }
            (None, _) => builder.with_no_client_auth(),
        };
        Ok(Some(Secure {
            connector: TlsConnector::from(Arc::new(config)),
            acceptor,
            is_checked: self.verify,
        }))
    }
}

fn certificates(key: &str, file: &PathBuf) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |e: &dyn std::fmt::Display| format!("{key} {}: {e}", file.display());
    let certs = CertificateDer::pem_file_iter(file).map_err(|e| wrong(&e))?;
    let certs: Vec<_> = certs.collect::<Result<_, _>>().map_err(|e| wrong(&e))?;
    if certs.is_empty() { Err(wrong(&"no certificate in it")) } else { Ok(certs) }
}

/// Checks the chain, where it is to be checked; that the node has the certificate's
/// key, always.
#[derive(Debug)]
struct Verifier {
    chain: Option<(Arc<WebPkiServerVerifier>, Vec<CertificateDer<'static>>)>,
    /// So many authorities that the node names are looked at.
    depth: usize,
    matches: Option<regex_lite::Regex>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// Whether the names in a certificate whose chain is right are those that are wanted.
    fn is_wanted(&self, certificate: &CertificateDer<'_>) -> Result<ServerCertVerified, Error> {
        let Some(wanted) = &self.matches else { return Ok(ServerCertVerified::assertion()) };
        let names = certificate_names(certificate).unwrap_or_default();
        match wanted.is_match(&names) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::General(format!("tls_match: it is another's: {names:?}"))),
        }
    }
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
        let Some((verifier, trusted)) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        // A self-made one that is itself the authority.
        if trusted.iter().any(|c| c.as_ref() == end_entity.as_ref()) {
            return self.is_wanted(end_entity);
        }
        // Each certifies the one before it: a longer way needs more of them.
        let intermediates = &intermediates[..intermediates.len().min(self.depth)];
        match verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        ) {
            // The chain is right: the name comes last, and is of no account to Munin.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => self.is_wanted(end_entity),
            Ok(_) => self.is_wanted(end_entity),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
