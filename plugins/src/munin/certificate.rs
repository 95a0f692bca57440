//! Whose a certificate is, as Munin's `tls_match` sees it: two lines, `Subject Name: /C=…/CN=…`
//! and `Issuer  Name: …`, with names in OpenSSL's one-line form.
//!
//! In: a certificate as DER (RFC 5280). Out: the lines; `None` where it is not one.

use std::fmt::Write;

const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// The version, which is left out for version 1.
const VERSION: u8 = 0xa0;

/// What OpenSSL calls the parts of a name.
const NAMES: [(&[u8], &str); 16] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "street"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 12], "title"),
    (&[0x55, 4, 17], "postalCode"),
    (&[0x55, 4, 42], "GN"),
    (&[0x55, 4, 43], "initials"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
];

/// The next element: its tag, what is in it, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (len, rest) = match first {
        0..0x80 => (usize::from(first), rest),
        _ => {
            let n = usize::from(first & 0x7f);
            if !(1..=4).contains(&n) {
                return None;
            }
            let (digits, rest) = rest.split_at_checked(n)?;
            (digits.iter().fold(0, |len, d| len << 8 | usize::from(*d)), rest)
        }
    };
    let (inner, rest) = rest.split_at_checked(len)?;
    Some((tag, inner, rest))
}

/// The next element, if it has this tag.
fn expect(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(t, ..)| *t == tag).map(|(_, inner, rest)| (inner, rest))
}

/// What `tls_match` is matched with.
pub fn certificate_names(der: &[u8]) -> Option<String> {
    let (certificate, _) = expect(SEQUENCE, der)?;
    let (mut rest, _) = expect(SEQUENCE, certificate)?;
    if let Some((_, after)) = expect(VERSION, rest) {
        rest = after;
    }
    let (_serial, rest) = expect(INTEGER, rest)?;
    let (_algorithm, rest) = expect(SEQUENCE, rest)?;
    let (issuer, rest) = expect(SEQUENCE, rest)?;
    let (_validity, rest) = expect(SEQUENCE, rest)?;
    let (subject, _) = expect(SEQUENCE, rest)?;
    Some(format!("Subject Name: {}\nIssuer  Name: {}\n", name(subject)?, name(issuer)?))
}

fn name(mut der: &[u8]) -> Option<String> {
    let mut out = String::new();
    while !der.is_empty() {
        let (mut set, rest) = expect(SET, der)?;
        der = rest;
        while !set.is_empty() {
            let (part, rest) = expect(SEQUENCE, set)?;
            set = rest;
            let (oid, value) = expect(OID, part)?;
            let (_, value, _) = element(value)?;
            match NAMES.iter().find(|(of, _)| *of == oid) {
                Some((_, name)) => write!(out, "/{name}=").ok()?,
                None => write!(out, "/{}=", dotted(oid)).ok()?,
            }
            for b in value {
                match b {
                    b' '..=b'~' => out.push(char::from(*b)),
                    b => write!(out, "\\x{b:02X}").ok()?,
                }
            }
        }
    }
    Some(out)
}

/// `1.2.840`.
fn dotted(oid: &[u8]) -> String {
    let mut numbers = Vec::new();
    let mut n = 0u64;
    for b in oid {
        n = n.wrapping_shl(7) | u64::from(b & 0x7f);
        if b & 0x80 == 0 {
            match numbers.is_empty() {
                true => numbers.extend([n.min(80) / 40, n - n.min(80) / 40 * 40]),
                false => numbers.push(n),
            }
            n = 0;
        }
    }
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tlv(tag: u8, inner: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        match u8::try_from(inner.len()) {
            Ok(n @ 0..0x80) => out.push(n),
            _ => out.extend([0x82, (inner.len() >> 8) as u8, inner.len() as u8]),
        }
        out.extend_from_slice(inner);
        out
    }

    fn rdn(oid: &[u8], value: &[u8]) -> Vec<u8> {
        tlv(SET, &tlv(SEQUENCE, &[tlv(OID, oid), tlv(0x0c, value)].concat()))
    }

    #[test]
    fn names_as_openssl_has_them() {
        let subject = [rdn(NAMES[3].0, b"DE"), rdn(&[0x2a, 0x86, 0x48], "ü".as_bytes())].concat();
        let long = vec![b'x'; 200];
        for version in [vec![], tlv(VERSION, &tlv(INTEGER, &[2]))] {
            let tbs = [
                version,
                tlv(INTEGER, &[1]),
                tlv(SEQUENCE, &[]),
                tlv(SEQUENCE, &rdn(NAMES[0].0, &long)),
                tlv(SEQUENCE, &[]),
                tlv(SEQUENCE, &subject),
            ];
            let der = tlv(SEQUENCE, &tlv(SEQUENCE, &tbs.concat()));
            let want = format!(
                "Subject Name: /C=DE/1.2.840=\\xC3\\xBC\nIssuer  Name: /CN={}\n",
                "x".repeat(200)
            );
            assert_eq!(certificate_names(&der).as_deref(), Some(want.as_str()));
            assert_eq!(certificate_names(&der[..der.len() - 1]), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = certificate_names(&bytes);
            let _ = name(&bytes);
        }
    }
}
