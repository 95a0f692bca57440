//! A client of NSCA's wire, version 3.
//!
//! The server speaks first: 128 bytes of an initialisation vector and its time
//! (u32). Then packets of 4,304 bytes, big-endian as C lays them out: version i16, 2 bytes
//! of nothing, CRC-32 of the packet with this field 0, the server's time u32, the
//! code i16, host[64], service[128] (empty: the host itself), output[4096], 2 bytes
//! of nothing. Encrypted with method 0 (not at all), 1 (xor with the vector, then
//! with the password), or 14 (mcrypt's rijndael-128 in 8-bit CFB: AES with a key of
//! 32 bytes, the password filled up with zeros, one stream for all packets).
//!
//! The server answers nothing. One that cannot decrypt a packet hangs up, which
//! its own client does not notice; this one waits a moment after the first packet
//! to see it.

use super::{CheckResult, PassiveConfig, Taken};
use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// NSCA's port.
const PORT: u16 = 5667;
const VECTOR_BYTES: usize = 128;
const PACKET_BYTES: usize = 4304;
/// The longest name of a host, bytes: one of 64 is its end.
pub const HOST_BYTES_MAX: usize = 63;
/// The longest name of a service, bytes.
pub const SERVICE_BYTES_MAX: usize = 127;
/// The longest output, bytes.
pub(super) const OUTPUT_BYTES: usize = 4095;
/// How long a step may take: connecting, greeting, taking a batch.
const STEP_MAX: Duration = Duration::from_secs(10);
/// How long a server may take to hang up on a packet that it cannot read.
const DOUBT: Duration = Duration::from_millis(300);

/// How packets are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    None,
    Xor,
    Aes,
}

/// An NSCA server.
#[derive(Debug)]
pub(super) struct Nsca {
    address: String,
    method: Method,
    password: Vec<u8>,
}

impl Nsca {
    pub(super) fn new(config: &PassiveConfig) -> Result<Nsca, String> {
        let method = match config.method.as_str() {
            "none" | "0" => Method::None,
            "" | "xor" | "1" => Method::Xor,
            "aes" | "14" => Method::Aes,
            other => {
                return Err(format!(
                    "method = {other:?}: write none, xor or aes (decryption_method 0, 1 or 14 \
                     of nsca.cfg)"
                ));
            }
        };
        let address = match config.address.as_str() {
            "" => return Err("address is missing: write HOST or HOST:5667".to_owned()),
            text if text.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok()) => {
                text.to_owned()
            }
            text => format!("{text}:{PORT}"),
        };
        let has_secret = !config.secret_file.as_os_str().is_empty();
        let password = match method {
            Method::None => String::new(),
            // A server without a password is one with an empty one.
            Method::Xor if !has_secret => String::new(),
            _ => config.secret()?,
        };
        Ok(Nsca { address, method, password: password.into_bytes() })
    }

    /// Sends the batch over one connection.
    pub(super) async fn send(&self, batch: &[CheckResult]) -> Result<Taken, String> {
        let fits = |r: &&CheckResult| {
            r.host.len() <= HOST_BYTES_MAX
                && r.service.as_ref().is_none_or(|s| s.len() <= SERVICE_BYTES_MAX)
        };
        let (good, long): (Vec<&CheckResult>, Vec<&CheckResult>) = batch.iter().partition(fits);
        if !good.is_empty() {
            let done = timeout(STEP_MAX * 3, self.talk(&good)).await;
            let done = done.unwrap_or_else(|_| Err("it does not take what is sent".to_owned()));
            done.map_err(|e| format!("NSCA at {}: {e}", self.address))?;
        }
        let note = long.first().map(|r| {
            format!(
                "NSCA knows no names longer than {HOST_BYTES_MAX} and {SERVICE_BYTES_MAX} bytes: \
                 {} results are not sent, {} is one",
                long.len(),
                r.place()
            )
        });
        Ok(Taken { n_taken: good.len(), n_refused: long.len(), note, ..Taken::default() })
    }

    async fn talk(&self, batch: &[&CheckResult]) -> Result<(), String> {
        let slow = |what: &str| format!("no {what} in {} s", STEP_MAX.as_secs());
        let text = |e: std::io::Error| e.to_string();
        let mut stream = timeout(STEP_MAX, TcpStream::connect(&self.address))
            .await
            .map_err(|_| slow("connection"))?
            .map_err(text)?;
        let mut greeting = [0u8; VECTOR_BYTES + 4];
        timeout(STEP_MAX, stream.read_exact(&mut greeting))
            .await
            .map_err(|_| slow("greeting"))?
            .map_err(|e| format!("no greeting ({e}): is this host in its allowed_hosts?"))?;
        let (vector, time) = greeting.split_at(VECTOR_BYTES);
        let mut cipher = Cipher::new(self.method, &self.password, vector);
        for (i, result) in batch.iter().enumerate() {
            let mut packet = packet(result, time)?;
            cipher.encrypt(&mut packet);
            stream.write_all(&packet).await.map_err(text)?;
            if i == 0 && self.method != Method::None {
                // It has nothing to say: whatever comes is the end.
                let mut byte = [0u8];
                if timeout(DOUBT, stream.read(&mut byte)).await.is_ok() {
                    return Err("it hung up on the first packet; are method and password those \
                                of its nsca.cfg, and is its clock steady?"
                        .to_owned());
                }
            }
        }
        stream.shutdown().await.map_err(text)?;
        // It ends when it has read all.
        let mut byte = [0u8];
        match timeout(STEP_MAX, stream.read(&mut byte)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(format!("it broke off: {e}")),
            Err(_) => Err(slow("end")),
        }
    }
}

/// A packet, not encrypted yet. What its texts leave is filled with random bytes, as
/// the xor method would show the password there.
fn packet(result: &CheckResult, time: &[u8]) -> Result<[u8; PACKET_BYTES], String> {
    let mut packet = [0u8; PACKET_BYTES];
    getrandom::fill(&mut packet).map_err(|e| format!("no random numbers: {e}"))?;
    packet[0..8].copy_from_slice(&[0, 3, 0, 0, 0, 0, 0, 0]);
    packet[8..12].copy_from_slice(time);
    packet[12..14].copy_from_slice(&i16::from(result.code).to_be_bytes());
    let mut put = |at: usize, text: &str| {
        packet[at..at + text.len()].copy_from_slice(text.as_bytes());
        packet[at + text.len()] = 0;
    };
    put(14, &result.host);
    put(78, result.service.as_deref().unwrap_or(""));
    put(206, &result.output(OUTPUT_BYTES));
    let crc = crc32fast::hash(&packet);
    packet[4..8].copy_from_slice(&crc.to_be_bytes());
    Ok(packet)
}

/// The encryption of one connection.
enum Cipher {
    None,
    Xor { vector: Vec<u8>, password: Vec<u8> },
    Aes { key: Box<Aes256>, register: [u8; 16] },
}

impl Cipher {
    fn new(method: Method, password: &[u8], vector: &[u8]) -> Cipher {
        match method {
            Method::None => Cipher::None,
            Method::Xor => Cipher::Xor { vector: vector.to_vec(), password: password.to_vec() },
            Method::Aes => {
                let mut key = [0u8; 32];
                let n = password.len().min(key.len());
                key[..n].copy_from_slice(&password[..n]);
                let mut register = [0u8; 16];
                register.copy_from_slice(&vector[..16]);
                Cipher::Aes { key: Box::new(Aes256::new(&key.into())), register }
            }
        }
    }

    fn encrypt(&mut self, packet: &mut [u8]) {
        match self {
            Cipher::None => {}
            Cipher::Xor { vector, password } => {
                for (byte, key) in packet.iter_mut().zip(vector.iter().cycle()) {
                    *byte ^= key;
                }
                for (byte, key) in packet.iter_mut().zip(password.iter().cycle()) {
                    *byte ^= key;
                }
            }
            Cipher::Aes { key, register } => {
                for byte in packet {
                    let mut block = (*register).into();
                    key.encrypt_block(&mut block);
                    *byte ^= block[0];
                    register.copy_within(1.., 0);
                    register[15] = *byte;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn a_packet_is_laid_out_as_the_server_reads_it() {
        let p = packet(&sample(), &[1, 2, 3, 4]).expect("packs");
        assert_eq!(p[0..2], [0, 3]);
        assert_eq!(p[8..14], [1, 2, 3, 4, 0, 2]);
        assert_eq!(p[14..19], *b"web1\0");
        assert_eq!(p[78..82], *b"cpu\0");
        assert!(p[206..].starts_with(b"CPU CRITICAL - c:\\\\temp is 95 | 'user'=95;80;90"));
        let mut bare = p;
        bare[4..8].fill(0);
        assert_eq!(p[4..8], crc32fast::hash(&bare).to_be_bytes());
        let long = CheckResult { text: "x".repeat(9000), ..sample() };
        let p = packet(&long, &[0; 4]).expect("packs");
        assert_eq!((&p[206 + 4088..206 + 4095], p[206 + 4095]), (&b"x (cut)"[..], 0));
    }

    /// NIST SP 800-38A, F.3.11: CFB8-AES256.
    #[test]
    fn aes_is_cfb8_with_256_bits() {
        let hex = |t: &str| -> Vec<u8> {
            let digit = |i| u8::from_str_radix(&t[i..i + 2], 16).expect("hex");
            (0..t.len()).step_by(2).map(digit).collect()
        };
        let key = hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
        let mut cipher = Cipher::new(Method::Aes, &key, &hex("000102030405060708090a0b0c0d0e0f"));
        let mut text = hex("6bc1bee22e409f96e93d7e117393172aae2d");
        cipher.encrypt(&mut text);
        assert_eq!(text, hex("dc1f1a8520a64db55fcc8ac554844e889700"));
    }

    #[test]
    fn xor_begins_anew_with_each_packet() {
        let mut cipher = Cipher::new(Method::Xor, b"ab", &[7; 128]);
        let (mut a, mut b) = ([1u8; 5], [1u8; 5]);
        cipher.encrypt(&mut a);
        cipher.encrypt(&mut b);
        assert_eq!(a, b);
        assert_eq!(a[..3], [1 ^ 7 ^ b'a', 1 ^ 7 ^ b'b', 1 ^ 7 ^ b'a']);
        // No password: only the vector.
        let mut bare = [1u8; 2];
        Cipher::new(Method::Xor, b"", &[7; 128]).encrypt(&mut bare);
        assert_eq!(bare, [6, 6]);
    }

    #[tokio::test]
    async fn names_that_are_too_long_are_told_and_nobody_there_is_an_error() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = free.local_addr().expect("an address").to_string();
        let config = PassiveConfig {
            kind: "nsca".to_owned(),
            address: address.clone(),
            method: "none".to_owned(),
            ..PassiveConfig::default()
        };
        let nsca = Nsca::new(&config).expect("right");
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut stream, _) = free.accept().expect("a client");
            stream.write_all(&[0; 132]).expect("greets");
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all);
            assert_eq!(all.len(), PACKET_BYTES);
        });
        let long = CheckResult { host: "h".repeat(64), ..sample() };
        let taken = nsca.send(&[long.clone(), sample()]).await.expect("sends");
        assert_eq!((taken.n_taken, taken.n_refused), (1, 1));
        assert!(taken.note.is_some_and(|n| n.contains("1 results are not sent, hhh")));
        // Nothing to send: nobody needs to be there.
        assert_eq!(nsca.send(&[long]).await.map(|t| t.n_refused), Ok(1));
        let e = nsca.send(&[sample()]).await.expect_err("nobody");
        assert!(e.starts_with(&format!("NSCA at {address}: ")), "{e}");
    }
}
