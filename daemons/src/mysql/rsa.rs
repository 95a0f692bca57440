//! A password for `caching_sha2_password`, made unreadable for all but the
//! owner of an RSA key: OAEP with SHA-1 (RFC 8017, 7.1.1), as MySQL wants it
//! over TCP without TLS.
//!
//! Only the public half of RSA, which holds no secret but the padded text, so
//! that plain arithmetic is good enough; once per connection.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY as SHA1, digest};

/// Keys between 1024 and 4096 bits; in limbs of 32 bits.
const LIMBS: std::ops::RangeInclusive<usize> = 32..=128;
/// Of SHA-1, bytes.
const HASH: usize = 20;

/// A public key.
#[derive(Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Least significant limb first, none of them more than needed.
    modulus: Vec<u32>,
    exponent: u64,
}

impl PublicKey {
    /// From a PEM file's text (`BEGIN PUBLIC KEY`).
    pub fn parse(pem: &str) -> Option<PublicKey> {
        let (_, rest) = pem.split_once("-----BEGIN PUBLIC KEY-----")?;
        let (body, _) = rest.split_once("-----END PUBLIC KEY-----")?;
        let bytes = base64(body)?;
        let mut outer = Der(Der(&bytes).next(0x30)?);
        outer.next(0x30)?;
        let bits = outer.next(0x03)?.strip_prefix(&[0])?;
        let mut key = Der(Der(bits).next(0x30)?);
        let (modulus, exponent) = (limbs(key.next(0x02)?), key.next(0x02)?);
        if exponent.len() > 4 || !LIMBS.contains(&modulus.len()) {
            return None;
        }
        let exponent = exponent.iter().fold(0, |n, b| n << 8 | u64::from(*b));
        (exponent > 2).then_some(PublicKey { modulus, exponent })
    }

    /// The text, encrypted; `None`: it is too long for this key. `seed` must be
    /// random, and used once.
    pub fn encrypt(&self, text: &[u8], seed: [u8; HASH]) -> Option<Vec<u8>> {
        let size = self.size();
        let room = size.checked_sub(2 * HASH + 2)?;
        let padding = room.checked_sub(text.len())?;
        let mut block = digest(&SHA1, b"").as_ref().to_vec();
        block.resize(HASH + padding, 0);
        block.push(1);
        block.extend_from_slice(text);
        let block = masked(&block, &seed);
        let seed = masked(&seed, &block);
        let padded = [&[0][..], &seed, &block].concat();
        Some(bytes(&self.power(&limbs(&padded)), size))
    }

    /// Of the modulus, bytes.
    fn size(&self) -> usize {
        let top = self.modulus.last().map_or(0, |l| l.leading_zeros() as usize);
        (self.modulus.len() * 32 - top).div_ceil(8)
    }

    fn power(&self, base: &[u32]) -> Vec<u32> {
        let n = self.modulus.len();
        let mut base = base.to_vec();
        base.resize(n, 0);
        let mut result = vec![0; n];
        result[0] = 1;
        for bit in (0..64 - self.exponent.leading_zeros()).rev() {
            result = self.times(&result, &result);
            if self.exponent >> bit & 1 == 1 {
                result = self.times(&result, &base);
            }
        }
        result
    }

    /// By doubling and adding: slow, and short.
    fn times(&self, a: &[u32], b: &[u32]) -> Vec<u32> {
        let mut result = vec![0; self.modulus.len()];
        for limb in b.iter().rev() {
            for bit in (0..32).rev() {
                let twice = result.clone();
                self.add(&mut result, &twice);
                if limb >> bit & 1 == 1 {
                    self.add(&mut result, a);
                }
            }
        }
        result
    }

    /// Both are below the modulus, and so is the sum then.
    fn add(&self, to: &mut [u32], other: &[u32]) {
        let mut carry = 0u64;
        for (t, o) in to.iter_mut().zip(other) {
            let sum = u64::from(*t) + u64::from(*o) + carry;
            (*t, carry) = (sum as u32, sum >> 32);
        }
        if carry == 0 && to.iter().rev().lt(self.modulus.iter().rev()) {
            return;
        }
        let mut borrow = false;
        for (t, m) in to.iter_mut().zip(&self.modulus) {
            let (less, one) = t.overflowing_sub(*m);
            let (less, two) = less.overflowing_sub(u32::from(borrow));
            (*t, borrow) = (less, one || two);
        }
    }
}

/// XOR with MGF1 of the seed.
fn masked(text: &[u8], seed: &[u8]) -> Vec<u8> {
    let mask = (0u32..).flat_map(|i| {
        let part = digest(&SHA1, &[seed, &i.to_be_bytes()].concat());
        part.as_ref().to_vec()
    });
    text.iter().zip(mask).map(|(t, m)| t ^ m).collect()
}

/// From bytes, the most significant one first.
fn limbs(bytes: &[u8]) -> Vec<u32> {
    let limb = |chunk: &[u8]| chunk.iter().fold(0, |n, b| n << 8 | u32::from(*b));
    let mut limbs: Vec<u32> = bytes.rchunks(4).map(limb).collect();
    while limbs.last() == Some(&0) {
        limbs.pop();
    }
    limbs
}

/// The last `size` bytes of a number.
fn bytes(limbs: &[u32], size: usize) -> Vec<u8> {
    let all: Vec<u8> = limbs.iter().rev().flat_map(|l| l.to_be_bytes()).collect();
    all[all.len().saturating_sub(size)..].to_vec()
}

/// Values of DER, one after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next one, which must be of this kind.
    fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(2)?;
        if head[0] != tag {
            return None;
        }
        let (len, rest) = match head[1] {
            n @ 0..=0x7f => (usize::from(n), rest),
            n @ 0x81..=0x83 => {
                let (len, rest) = rest.split_at_checked(usize::from(n - 0x80))?;
                (len.iter().fold(0, |n, b| n << 8 | usize::from(*b)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some(content)
    }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut held, mut bits) = (vec![], 0u32, 0);
    for b in text.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b'=') {
        let six = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::reply;
    use proptest::prelude::*;

    /// The same as Python's pow() gives, which openssl decrypted.
    #[test]
    fn a_known_text_is_encrypted() {
        let key = PublicKey::parse(&reply("mysql/public_key.pem")).expect("a key");
        assert_eq!((key.size(), key.exponent), (256, 65_537));
        let scramble = b"12345678abcdefghijkl";
        let text: Vec<u8> = b"sesame\0".iter().zip(scramble).map(|(a, b)| a ^ b).collect();
        let seed = std::array::from_fn(|i| i as u8);
        let got = key.encrypt(&text, seed).expect("short enough");
        let hash = digest(&ring::digest::SHA256, &got);
        let hex: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            (got.len(), &*hex),
            (256, "c3d92d8bb7853f463f9f123b524457843d6270e7920edb84023b7b43834a8059")
        );
        assert_eq!(key.encrypt(&[0; 215], seed), None, "too long");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn nothing_panics(at in 0..300usize, byte in any::<u8>(), junk in "\\PC{0,80}") {
            let _ = PublicKey::parse(&junk);
            let mut pem = reply("mysql/public_key.pem").into_bytes();
            let at = at % pem.len();
            pem[at] = byte;
            if let Some(key) = PublicKey::parse(&String::from_utf8_lossy(&pem)) {
                let _ = key.encrypt(b"sesame", [7; HASH]);
            }
        }
    }
}
