//! Who answered: the collector that took this very batch, or something between that knows
//! nothing of it (a captive portal, a proxy's error page, the wrong virtual host).
//!
//! A collector names the CRC-32 of the body that it answers to in the header
//! [`ACK`]. Only an answer with the right one counts: as durable, and as a refusal. A
//! collector of before that header is believed by what it alone says: 200 with an empty
//! body, refusals as JSON with an "error". Once this agent's collector has sent a
//! checksum, one without is somebody else; that is remembered in the spool's folder.

use reqwest::{StatusCode, header::HeaderMap};
use std::path::{Path, PathBuf};

/// The answer's header: the body's CRC-32, eight hexadecimal digits.
pub const ACK: &str = "rookery-ack";

/// In the spool's folder: the collector has sent checksums.
const FILE: &str = "collector-sends-checksums";

/// What an answer proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It is the collector's, and to this batch.
    Ours,
    /// There is no checksum, but it looks as a collector's of before there were any.
    Old,
    /// It is something else's.
    Foreign,
}

/// What these bytes' answer must say.
pub(super) fn checksum(bytes: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(bytes))
}

/// Judges an answer to the batch of this checksum.
pub(super) fn judge(expected: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Proof {
    match headers.get(ACK) {
        Some(ack) if ack.as_bytes() == expected.as_bytes() => Proof::Ours,
        Some(_) => Proof::Foreign,
        None if status == StatusCode::OK && body.is_empty() => Proof::Old,
        None if status.is_client_error() && is_error(body) => Proof::Old,
        None => Proof::Foreign,
    }
}

/// As collectors have always written it.
fn is_error(body: &[u8]) -> bool {
    body.starts_with(b"{\"error\":\"")
}

/// Whether the collector is known to send checksums.
#[derive(Debug)]
pub(super) struct Known {
    file: PathBuf,
    sends_checksums: bool,
    /// It was said that it sends none.
    is_said: bool,
}

impl Known {
    /// As it was remembered in the spool's folder.
    pub fn read(spool: &Path) -> Known {
        let file = spool.join(FILE);
        let sends_checksums = file.exists();
        Known { file, sends_checksums, is_said: false }
    }

    /// Whether this answer is to be believed; the error says why not.
    pub fn believes(&mut self, proof: Proof, collector: &str) -> Result<(), String> {
        match proof {
            Proof::Ours => {
                if !self.sends_checksums {
                    self.sends_checksums = true;
                    if let Err(error) = std::fs::write(&self.file, "") {
                        tracing::warn!(file = %self.file.display(), %error, "not remembered");
                    }
                }
                Ok(())
            }
            Proof::Old if !self.sends_checksums => {
                if !std::mem::replace(&mut self.is_said, true) {
                    tracing::warn!(
                        %collector,
                        "the collector sends no checksums with its answers, so that another \
                         server's could be taken for its: upgrade it"
                    );
                }
                Ok(())
            }
            Proof::Old => Err(format!(
                "its answer has no checksum, which it had before: something between answers for \
                 it, or it was downgraded (then delete {})",
                self.file.display()
            )),
            Proof::Foreign => Err("its answer is not a collector's to this batch: something \
                                   between answers for it (a portal, a proxy, another server)"
                .to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn only_the_collectors_own_answers_count() {
        let ours = checksum(b"batch");
        let of = |ack: Option<&str>, status: u16, body: &str| {
            let mut headers = HeaderMap::new();
            if let Some(ack) = ack {
                headers.insert(ACK, HeaderValue::from_str(ack).expect("a value"));
            }
            judge(&ours, StatusCode::from_u16(status).expect("a status"), &headers, body.as_bytes())
        };
        for (ack, status, body, want) in [
            (Some(ours.as_str()), 200, "", Proof::Ours),
            (Some(&ours), 400, "{\"error\":\"x\"}", Proof::Ours),
            (Some("00000000"), 200, "", Proof::Foreign),
            (Some(""), 400, "{\"error\":\"x\"}", Proof::Foreign),
            (None, 200, "", Proof::Old),
            (None, 200, "<html>Log in</html>", Proof::Foreign),
            (None, 200, "{}", Proof::Foreign),
            (None, 204, "", Proof::Foreign),
            (None, 400, "{\"error\":\"x\"}", Proof::Old),
            (None, 413, "Request Entity Too Large", Proof::Foreign),
            (None, 400, "", Proof::Foreign),
            (None, 409, "{\"error\":\"x\",\"unknown_layouts\":[]}", Proof::Old),
        ] {
            assert_eq!(of(ack, status, body), want, "{ack:?} {status} {body}");
        }
    }

    #[test]
    fn who_once_sent_checksums_is_not_believed_without() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut known = Known::read(dir.path());
        assert!(known.believes(Proof::Old, "c").is_ok(), "a collector of before");
        assert!(known.believes(Proof::Foreign, "c").is_err());
        assert!(known.believes(Proof::Ours, "c").is_ok());
        assert!(known.believes(Proof::Old, "c").is_err());
        let mut known = Known::read(dir.path());
        let why = known.believes(Proof::Old, "c").expect_err("also after a restart");
        assert!(why.contains(FILE), "{why}");
    }
}
