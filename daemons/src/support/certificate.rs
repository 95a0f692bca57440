//! A server's certificate as a check sees it: when it expires (X.509, RFC 5280
//! 4.1), and whether the authorities that this host knows vouch for it.
//!
//! A check speaks to servers whose certificate is wrong, too: what is wrong is
//! what it is to tell. It sends nothing that is secret.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// What there is to say of a certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// Unix seconds; `None`: it cannot be read.
    pub not_after: Option<i64>,
    /// Why it is not trusted; `None`: it is.
    pub distrust: Option<String>,
}

impl Certificate {
    /// Days until it expires.
    pub fn days_left(&self) -> Option<f64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
        Some((self.not_after? as f64 - now) / 86_400.0)
    }
}

/// Where the certificate of a connection is put.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Option<Certificate>>>);

impl Seen {
    /// What was seen.
    pub fn take(&self) -> Option<Certificate> {
        self.0.lock().ok()?.take()
    }
}

/// The client's end of a TLS connection to a server of this name.
pub fn client(name: &str, seen: &Seen) -> Result<ClientConnection, String> {
    let name = ServerName::try_from(name.to_owned()).map_err(|e| format!("{name:?}: {e}"))?;
    let provider = Arc::new(ring::default_provider());
    let looks = Looks { seen: seen.clone(), provider: provider.clone() };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS: {e}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(looks))
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), name).map_err(|e| format!("TLS: {e}"))
}

/// The authorities of this host; read once. `None`: there are none.
fn authorities() -> Option<&'static Arc<WebPkiServerVerifier>> {
    static KNOWN: OnceLock<Option<Arc<WebPkiServerVerifier>>> = OnceLock::new();
    let load = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(ring::default_provider());
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()
    };
    KNOWN.get_or_init(load).as_ref()
}

/// Writes down what it sees, and lets everyone in.
#[derive(Debug)]
struct Looks {
    seen: Seen,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Looks {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let distrust = match authorities() {
            None => Some("this host knows no authorities (ca-certificates)".to_owned()),
            Some(known) => {
                known.verify_server_cert(end, others, name, ocsp, now).err().map(|e| said(&e))
            }
        };
        if let Ok(mut seen) = self.seen.0.lock() {
            *seen = Some(Certificate { not_after: not_after(end), distrust });
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        end: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, end, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        end: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, end, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Why nobody trusts it, in words.
fn said(e: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    let rustls::Error::InvalidCertificate(bad) = e else { return e.to_string() };
    match bad {
        Bad::Expired | Bad::ExpiredContext { .. } => "it has expired".to_owned(),
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => "it is not valid yet".to_owned(),
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
            "it is for another name".to_owned()
        }
        Bad::UnknownIssuer => {
            "no authority that this host knows vouches for it, or one between is not sent along"
                .to_owned()
        }
        // What webpki says of one that signed itself.
        Bad::Other(why) if format!("{why:?}").contains("CaUsedAsEndEntity") => {
            "it vouches for itself".to_owned()
        }
        _ => e.to_string(),
    }
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// `tbsCertificate.validity.notAfter` of a certificate in DER, Unix seconds.
fn not_after(der: &[u8]) -> Option<i64> {
    let (_, certificate, _) = value(der, &[SEQUENCE])?;
    let (_, body, _) = value(certificate, &[SEQUENCE])?;
    let body = value(body, &[VERSION]).map_or(body, |(_, _, rest)| rest);
    let (_, _, rest) = value(body, &[INTEGER])?;
    // The algorithm, the issuer.
    let (_, _, rest) = value(rest, &[SEQUENCE])?;
    let (_, _, rest) = value(rest, &[SEQUENCE])?;
    let (_, validity, _) = value(rest, &[SEQUENCE])?;
    let (_, _, rest) = value(validity, &[UTC_TIME, GENERALIZED_TIME])?;
    let (tag, text, _) = value(rest, &[UTC_TIME, GENERALIZED_TIME])?;
    time(tag, text)
}

/// A value of one of these tags, and what follows it (X.690, 8.1).
fn value<'a>(der: &'a [u8], tags: &[u8]) -> Option<(u8, &'a [u8], &'a [u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if length >= 0x80 {
        let n = length - 0x80;
        // 4: no certificate is longer.
        let bytes = rest.get(..n).filter(|_| (1..=4).contains(&n))?;
        length = bytes.iter().fold(0, |sum, b| sum << 8 | usize::from(*b));
        rest = &rest[n..];
    }
    let (inside, after) = (rest.get(..length)?, &rest[length..]);
    tags.contains(tag).then_some((*tag, inside, after))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280, 4.1.2.5), Unix seconds.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME if text.len() == 12 => {
            let year: i64 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        GENERALIZED_TIME if text.len() == 14 => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |i: usize| rest[2 * i..2 * i + 2].parse::<i64>().ok();
    let (month, day) = (part(0)?, part(1)?);
    let (hour, minute, second) = (part(2)?, part(3)?, part(4)?);
    let is_time = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    is_time.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years begin in
/// March, so that the leap day is their last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 3 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    // 719468 days are from 0000-03-01 to 1970-01-01.
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_unix_seconds() {
        for (tag, text, want) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "000229120000Z", Some(951_825_600)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, "701301000000Z", None),
            (UTC_TIME, "7001010000Z", None),
            (UTC_TIME, "700101000000+0100", None),
            (GENERALIZED_TIME, "700101000000Z", None),
        ] {
            assert_eq!(time(tag, text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn a_real_certificate_expires_when_openssl_says() {
        let der = include_bytes!("../../testdata/certificate/self-signed.der");
        // openssl x509 -enddate: notAfter=Jul 30 17:43:41 2040 GMT
        assert_eq!(not_after(der), Some(2_227_283_021));
        // The first half is enough; before it nothing is.
        let end = der.windows(2).rposition(|w| w == [UTC_TIME, 13]).expect("a time") + 15;
        for at in 0..der.len() {
            assert!(not_after(&der[..at]).is_none(), "cut at {at} of {end}");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(der: Vec<u8>, at in 0usize..400, b: u8) {
            let _ = not_after(&der);
            let mut real = include_bytes!("../../testdata/certificate/self-signed.der").to_vec();
            let at = at % real.len();
            real[at] = b;
            let _ = not_after(&real);
        }
    }
}
