//! The greeting and the login, by the ways to log in that need no TLS:
//! by password (`mysql_native_password`, `caching_sha2_password`) and by being
//! who one is on a socket (`unix_socket`, `auth_socket`).
//!
//! An own client: the crate `mysql` (28.0) refuses `unix_socket`, which is how
//! root logs in where Debian has set up MariaDB, takes an empty packet for a
//! reason to panic, and would bring 39 crates.

use super::rsa::PublicKey;
use super::wire::{self, Cursor, Refusal};
use crate::support::{Address, Link};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY as SHA1, SHA256};
use ring::rand::{SecureRandom, SystemRandom};
use rookery_plugins::ProbeError;

const LONG_PASSWORD: u32 = 1;
const PROTOCOL_41: u32 = 1 << 9;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;

const NATIVE: &[u8] = b"mysql_native_password";
const SHA2: &[u8] = b"caching_sha2_password";
/// UTF-8 as every server since 5.0 knows it.
const UTF8: u8 = 33;
/// A login takes two or three exchanges.
const ROUNDS_MAX: usize = 8;

/// Why there is no connection.
#[derive(Debug)]
pub enum Failure {
    /// The server said no.
    Refused(Refusal),
    /// Anything else, already in words.
    Broken(ProbeError),
}

impl From<ProbeError> for Failure {
    fn from(error: ProbeError) -> Failure {
        Failure::Broken(error)
    }
}

/// Which server it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// As the server gives it, without the `5.5.5-` that MariaDB puts before it
    /// for clients that know no higher one.
    pub text: String,
    /// Whether it is a MariaDB.
    pub is_mariadb: bool,
    /// Major, minor, patch.
    pub number: (u32, u32, u32),
}

impl Version {
    /// From the greeting's text.
    pub fn parse(text: &str) -> Version {
        let is_mariadb = text.contains("MariaDB");
        let text = match is_mariadb {
            true => text.strip_prefix("5.5.5-").unwrap_or(text),
            false => text,
        };
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        let number = (next(), next(), next());
        Version { text: text.to_owned(), is_mariadb, number }
    }

    /// `MariaDB` or `MySQL`.
    pub fn product(&self) -> &'static str {
        if self.is_mariadb { "MariaDB" } else { "MySQL" }
    }
}

/// What a server says first.
#[derive(Debug, PartialEq, Eq)]
struct Greeting {
    version: Version,
    scramble: Vec<u8>,
    plugin: Vec<u8>,
}

fn greeting(content: &[u8]) -> Option<Greeting> {
    let mut at = Cursor(content);
    if at.take(1)? != [10] {
        return None;
    }
    let version = Version::parse(std::str::from_utf8(at.zeroed()).ok()?);
    at.take(4)?;
    let mut scramble = at.take(8)?.to_vec();
    at.take(1)?;
    let low = at.take(2)?;
    at.take(3)?;
    let high = at.take(2)?;
    let can = u32::from_le_bytes([low[0], low[1], high[0], high[1]]);
    let needed = PROTOCOL_41 | SECURE_CONNECTION;
    if can & needed != needed {
        return None;
    }
    let n = usize::from(at.take(1)?[0]);
    at.take(10)?;
    let rest = at.take(n.saturating_sub(8).max(13))?;
    scramble.extend_from_slice(rest.strip_suffix(&[0]).unwrap_or(rest));
    let plugin = if can & PLUGIN_AUTH == 0 { NATIVE } else { at.zeroed() };
    Some(Greeting { version, scramble, plugin: plugin.to_vec() })
}

/// Greets and logs in on a new connection. `key`: the server's, where it is
/// known beforehand.
pub fn log_in(
    link: &mut Link,
    user: &str,
    password: &str,
    key: Option<PublicKey>,
) -> Result<Version, Failure> {
    let bytes = link.read_until(|b| wire::one_packet(b, 0))?;
    let foreign = || link.failed("it does not speak MySQL's protocol");
    let content = wire::content(&bytes, 0).ok_or_else(foreign)?;
    if let Some(refusal) = Refusal::parse(content) {
        return Err(Failure::Refused(refusal));
    }
    let mut hello = greeting(content).ok_or_else(foreign)?;
    let mut seq = 1;
    let first = answer(&hello.plugin, password, &hello.scramble, link).map_or_else(
        || (NATIVE.to_vec(), native(password, &hello.scramble)),
        |a| (hello.plugin, a),
    );
    link.send(&wire::packed(seq, &hello_back(user, &first.0, &first.1)))?;
    hello.plugin = first.0;
    for _ in 0..ROUNDS_MAX {
        seq += 1;
        let bytes = link.read_until(|b| wire::one_packet(b, seq))?;
        let broken = |why: &str| Failure::from(link.failed(format!("its login {why}")));
        let content = wire::content(&bytes, seq).ok_or_else(|| broken("is cut"))?;
        if let Some(refusal) = Refusal::parse(content) {
            return Err(Failure::Refused(refusal));
        }
        seq += 1;
        match content {
            [0x00, ..] => return Ok(hello.version),
            [0xfe, switch @ ..] if !switch.is_empty() => {
                let mut at = Cursor(switch);
                hello.plugin = at.zeroed().to_vec();
                hello.scramble = at.0.strip_suffix(&[0]).unwrap_or(at.0).to_vec();
                let answer = answer(&hello.plugin, password, &hello.scramble, link);
                let answer = answer.ok_or_else(|| Failure::from(unknown(&hello.plugin, link)))?;
                link.send(&wire::packed(seq, &answer))?;
            }
            // The password is known to be right; what follows is the end.
            [0x01, 0x03] if hello.plugin == SHA2 => seq -= 1,
            [0x01, 0x04] if hello.plugin == SHA2 && is_socket(link) => {
                link.send(&wire::packed(seq, &zeroed(password)))?;
            }
            [0x01, 0x04] if hello.plugin == SHA2 => match &key {
                Some(key) => {
                    let hidden = hidden(password, &hello.scramble, key);
                    let hidden = hidden.ok_or_else(|| broken("has too short a key"))?;
                    link.send(&wire::packed(seq, &hidden))?;
                }
                None if is_loopback(link) => link.send(&wire::packed(seq, &[0x02]))?,
                None => return Err(unready(link).into()),
            },
            // The key that was asked for.
            [0x01, pem @ ..] if hello.plugin == SHA2 && is_loopback(link) => {
                let key = std::str::from_utf8(pem).ok().and_then(PublicKey::parse);
                let key = key.ok_or_else(|| broken("has no key that is understood"))?;
                let hidden = hidden(password, &hello.scramble, &key);
                let hidden = hidden.ok_or_else(|| broken("has too short a key"))?;
                link.send(&wire::packed(seq, &hidden))?;
            }
            _ => return Err(broken("goes a way that is not known here")),
        }
    }
    Err(link.failed("its login does not end").into())
}

fn is_socket(link: &Link) -> bool {
    matches!(link.address, Address::Unix(_))
}

/// Whether nobody on the way can pass for the server.
fn is_loopback(link: &Link) -> bool {
    let Address::Tcp(text) = &link.address else { return false };
    ["127.", "localhost:", "[::1]:"].iter().any(|start| text.starts_with(start))
}

/// The password, for the owner of this key only.
fn hidden(password: &str, scramble: &[u8], key: &PublicKey) -> Option<Vec<u8>> {
    let mut seed = [0; 20];
    SystemRandom::new().fill(&mut seed).ok()?;
    let text = zeroed(password);
    let text: Vec<u8> = text.iter().zip(scramble.iter().cycle()).map(|(a, b)| a ^ b).collect();
    key.encrypt(&text, seed)
}

fn unknown(plugin: &[u8], link: &Link) -> ProbeError {
    let plugin = String::from_utf8_lossy(plugin).into_owned();
    link.failed(format!(
        "its user is to log in by {plugin:?}, which is not known here: give it a password \
         (mysql_native_password, caching_sha2_password) or unix_socket"
    ))
}

fn unready(link: &Link) -> ProbeError {
    link.failed(
        "caching_sha2_password wants to see the password once, and whoever answers here might \
         not be the server: copy its public_key.pem here and name it as `server_key` in \
         [probe.mysql], or use its socket as `address`",
    )
}

/// What proves, by this plugin, who we are; `None`: not known here.
fn answer(plugin: &[u8], password: &str, scramble: &[u8], link: &Link) -> Option<Vec<u8>> {
    match plugin {
        NATIVE => Some(native(password, scramble)),
        SHA2 => Some(sha2(password, scramble)),
        b"unix_socket" | b"auth_socket" if is_socket(link) => Some(vec![]),
        // Nobody but the server reads along on its socket.
        b"mysql_clear_password" | b"sha256_password" if is_socket(link) => Some(zeroed(password)),
        _ => None,
    }
}

fn zeroed(password: &str) -> Vec<u8> {
    [password.as_bytes(), &[0]].concat()
}

fn hello_back(user: &str, plugin: &[u8], answer: &[u8]) -> Vec<u8> {
    let can = LONG_PASSWORD | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
    let mut bytes = can.to_le_bytes().to_vec();
    bytes.extend_from_slice(&(crate::support::REPLY_BYTES_MAX as u32).to_le_bytes());
    bytes.push(UTF8);
    bytes.extend_from_slice(&[0; 23]);
    bytes.extend(user.bytes().filter(|b| *b != 0));
    bytes.push(0);
    // An answer is never longer than a hash, but for a password over a socket.
    let answer = answer.get(..255).unwrap_or(answer);
    bytes.push(answer.len() as u8);
    bytes.extend_from_slice(answer);
    bytes.extend_from_slice(plugin);
    bytes.push(0);
    bytes
}

fn digest(of: &'static ring::digest::Algorithm, parts: &[&[u8]]) -> Vec<u8> {
    let mut context = Context::new(of);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().to_vec()
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// SHA1(password) XOR SHA1(scramble, SHA1(SHA1(password))).
fn native(password: &str, scramble: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return vec![];
    }
    let once = digest(&SHA1, &[password.as_bytes()]);
    let twice = digest(&SHA1, &[&once]);
    xor(&once, &digest(&SHA1, &[scramble, &twice]))
}

/// SHA256(password) XOR SHA256(SHA256(SHA256(password)), scramble).
fn sha2(password: &str, scramble: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return vec![];
    }
    let once = digest(&SHA256, &[password.as_bytes()]);
    let twice = digest(&SHA256, &[&once]);
    xor(&once, &digest(&SHA256, &[&twice, scramble]))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A greeting as a server sends it.
    pub fn hello(version: &str, plugin: &[u8]) -> Vec<u8> {
        let mut content = vec![10];
        content.extend_from_slice(version.as_bytes());
        content.extend_from_slice(&[0, 1, 0, 0, 0]);
        content.extend_from_slice(b"12345678\0");
        content.extend_from_slice(&[0xff, 0xf7, 33, 2, 0, 0xff, 0x81, 21]);
        content.extend_from_slice(&[0; 10]);
        content.extend_from_slice(b"abcdefghijkl\0");
        content.extend_from_slice(plugin);
        content.push(0);
        content
    }

    #[test]
    fn a_greeting_is_read() {
        let read = greeting(&hello("5.5.5-10.11.19-MariaDB-0+deb12u1", NATIVE)).expect("reads");
        assert_eq!(read.scramble, b"12345678abcdefghijkl");
        assert_eq!(read.plugin, NATIVE);
        let want = (true, (10, 11, 19), "10.11.19-MariaDB-0+deb12u1");
        let version = &read.version;
        assert_eq!((version.is_mariadb, version.number, &*version.text), want);
        let version = Version::parse("8.0.36-0ubuntu0.22.04.1");
        assert_eq!((version.product(), version.number), ("MySQL", (8, 0, 36)));
    }

    /// Worked out by Python's hashlib, from the protocol's description.
    #[test]
    fn passwords_are_scrambled() {
        let hex = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let scramble = b"12345678abcdefghijkl";
        assert_eq!(hex(&native("sesame", scramble)), NATIVE_WANT);
        assert_eq!(hex(&sha2("sesame", scramble)), SHA2_WANT);
        assert!(native("", scramble).is_empty() && sha2("", scramble).is_empty());
    }

    const NATIVE_WANT: &str = "d1b949be93915491c8b2f4270d34cdbcf6388582";
    const SHA2_WANT: &str = "d2b6366cb02cf18eefcba150a0bd0a94453253edc2793a0273aa4144acc33fe4";

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..99usize) {
            let _ = (greeting(&bytes), Refusal::parse(&bytes));
            let mut whole = hello("8.0.36", SHA2);
            whole.truncate(whole.len().saturating_sub(cut));
            let _ = greeting(&whole);
        }

        #[test]
        fn versions_never_panic(text in "\\PC*") {
            let _ = Version::parse(&text);
        }
    }
}
