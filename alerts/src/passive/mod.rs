//! Passive results: how every service and node stands, sent to a Nagios or an
//! Icinga that asks nothing itself.
//!
//! A `[[passive]]` of `collector.toml` is one target. [`Target::send`] hands it a
//! batch; whoever calls it keeps what could not be sent in a [`Queue`] and comes
//! again. A target that does not answer, or lets nobody in, fails as a whole; one that
//! refuses single results has taken the others ([`Taken`]). Nagios' side is told names as
//! [`Names`] makes them.

mod icinga;
mod names;
mod nrdp;
mod nsca;
mod pipe;
mod queue;
mod spool;

use crate::message::CUT;
use rookery_plugins::config::parse_span_ms;
use rookery_plugins::{HostState, State, TimeMs};
use serde::Deserialize;
use std::path::{Path, PathBuf};

pub use names::{HEARTBEAT, Names, clean};
pub use nsca::{HOST_BYTES_MAX, SERVICE_BYTES_MAX};
pub use queue::{Queue, WAITING_MAX};

/// How often everything is sent anew unless `refresh` says otherwise, ms.
pub const REFRESH_MS: u64 = 60_000;
/// The shortest `refresh`, ms.
pub const REFRESH_MS_MIN: u64 = 1_000;
/// A result holds for so many refreshes: Nagios' `freshness_threshold`, Icinga's
/// `ttl`.
pub const FRESH_REFRESHES: u64 = 3;
/// How many results are handed over at once unless `batch` says otherwise.
pub const BATCH: usize = 500;
/// The host in Nagios that stands for the collector unless `host` says otherwise.
pub const HOST: &str = "rookery";
/// The most bytes of output: Nagios reads 8,192 of a line, with names and time.
const OUTPUT_BYTES_MAX: usize = 7_000;

/// A `[[passive]]`: where results go.
///
/// ```toml
/// [[passive]]
/// kind = "command-file"             # Nagios on this host
/// path = "/var/lib/nagios4/rw/nagios.cmd"
///
/// [[passive]]
/// kind = "nsca"
/// address = "nagios.example.com:5667"
/// method = "aes"                    # none, xor, aes (14)
/// secret_file = "/etc/rookery/nsca-password"
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PassiveConfig {
    /// `command-file`, `spool`, `nsca`, `nrdp` or `icinga2`.
    pub kind: String,
    /// Of `command-file` the pipe, of `spool` Nagios' `check_result_path`.
    pub path: PathBuf,
    /// Of `nsca`: `HOST[:PORT]`, port 5667 if none is given.
    pub address: String,
    /// Of `nsca`: none, xor or aes (or the numbers of `nsca.cfg`: 0, 1, 14).
    pub method: String,
    /// Of `nrdp` and `icinga2`: where it answers.
    pub url: String,
    /// Of `icinga2`: the API user.
    pub user: String,
    /// Password of `nsca` and `icinga2`, token of `nrdp`: the first line of a file.
    pub secret_file: PathBuf,
    /// Of `nrdp` and `icinga2`: the certificate (PEM) of who signed the server's,
    /// where the system does not know it.
    pub ca: PathBuf,
    /// How often everything is sent anew, `60s`.
    pub refresh: String,
    /// How many results are handed over at once.
    pub batch: usize,
    /// Only services that have limits.
    pub limits_only: bool,
    /// What the collector itself is called there.
    pub host: String,
}

impl PassiveConfig {
    /// How often everything is sent anew, ms.
    pub fn refresh_ms(&self) -> Result<u64, String> {
        if self.refresh.is_empty() {
            return Ok(REFRESH_MS);
        }
        let ms = parse_span_ms(&self.refresh).ok().filter(|ms| *ms >= REFRESH_MS_MIN);
        ms.ok_or_else(|| format!("refresh = {:?}: write 1s or more (60s, 5m)", self.refresh))
    }

    fn secret(&self) -> Result<String, String> {
        let file = &self.secret_file;
        if file.as_os_str().is_empty() {
            return Err("secret_file is missing: name a file whose first line is it".to_owned());
        }
        let text = std::fs::read_to_string(file)
            .map_err(|e| format!("secret_file {}: {e}", file.display()))?;
        Ok(text.lines().next().unwrap_or_default().trim_end().to_owned())
    }

    /// The HTTP client that `ca` asks for.
    fn client(&self) -> Result<reqwest::Client, String> {
        // Only the first of several is taken, and one is enough.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .timeout(std::time::Duration::from_secs(HTTP_SECONDS_MAX))
            // Password and token are for this address, and what a redirect leads to would
            // be asked without the results.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("rookery/", env!("CARGO_PKG_VERSION")));
        if !self.ca.as_os_str().is_empty() {
            let wrong = |e: &dyn std::fmt::Display| format!("ca {}: {e}", self.ca.display());
            let pem = std::fs::read(&self.ca).map_err(|e| wrong(&e))?;
            let all = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| wrong(&e))?;
            builder = builder.tls_certs_merge(all);
        }
        builder.build().map_err(|e| format!("no HTTP client: {}", chain(&e)))
    }

    /// `url`, with a path behind it.
    fn endpoint(&self, path: &str) -> Result<reqwest::Url, String> {
        let text = format!("{}{path}", self.url.trim_end_matches('/'));
        let wrong = |why: &str| format!("url = {:?}: {why}; write https://HOST/", self.url);
        let url = reqwest::Url::parse(&text).map_err(|e| wrong(&e.to_string()))?;
        match url.scheme() {
            "http" | "https" => Ok(url),
            _ => Err(wrong("neither http nor https")),
        }
    }
}

/// How long a server may take for an answer.
pub const HTTP_SECONDS_MAX: u64 = 20;

/// How a host or a service stands, in the names and numbers of Nagios.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckResult {
    /// The host.
    pub host: String,
    /// The service; `None`: the host itself.
    pub service: Option<String>,
    /// Of a service 0 to 3, of a host 0 UP, 1 DOWN, 2 UNREACHABLE.
    pub code: u8,
    /// One line.
    pub text: String,
    /// Perfdata, item by item.
    pub perf: Vec<String>,
    /// When it was so, ms.
    pub time_ms: TimeMs,
    /// For how long it holds, s.
    pub fresh_s: u64,
}

impl CheckResult {
    /// The code of a node's state, for a host.
    pub fn host_code(state: HostState) -> u8 {
        state as u8
    }

    /// The code of a service's state.
    pub fn service_code(state: State) -> u8 {
        state.exit_code()
    }

    /// Text and perfdata as Nagios takes them: one line, backslashes doubled, at most
    /// `bytes_max` long. Whole items of perfdata go first, then the text is cut, and
    /// says so.
    fn output(&self, bytes_max: usize) -> String {
        let mut out = self.text.replace('\\', "\\\\");
        if out.len() > bytes_max {
            let mut cut = out.floor_char_boundary(bytes_max.saturating_sub(CUT.len()));
            // Half of a doubled backslash would swallow what comes behind it.
            if out[..cut].bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1 {
                cut -= 1;
            }
            out.truncate(cut);
            out.push_str(CUT);
            return out;
        }
        let mut glue = " | ";
        for item in &self.perf {
            let item = item.replace('\\', "\\\\");
            if out.len() + glue.len() + item.len() > bytes_max {
                break;
            }
            out.push_str(glue);
            out.push_str(&item);
            glue = " ";
        }
        out
    }

    /// Whether something of it is left out of an output of so many bytes.
    fn is_cut(&self, bytes_max: usize) -> bool {
        let doubled = |text: &str| text.len() + text.bytes().filter(|b| *b == b'\\').count();
        let perf: usize = self.perf.iter().map(|item| doubled(item) + 1).sum();
        let glue = if self.perf.is_empty() { 0 } else { " | ".len() - 1 };
        doubled(&self.text) + glue + perf > bytes_max
    }

    /// `web1/cpu`, for a log.
    fn place(&self) -> String {
        match &self.service {
            Some(service) => format!("{}/{service}", self.host),
            None => self.host.clone(),
        }
    }
}

/// What became of a batch that a target has looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// How many results it has taken.
    pub n_taken: usize,
    /// How many it has refused and would refuse again.
    pub n_refused: usize,
    /// Those that it could not take now, and might later.
    pub again: Vec<CheckResult>,
    /// What is wrong on its side, and with whom; `None`: nothing.
    pub note: Option<String>,
}

impl Taken {
    fn all(batch: &[CheckResult]) -> Taken {
        Taken { n_taken: batch.len(), ..Taken::default() }
    }
}

/// Where results go, ready to be used.
#[derive(Debug)]
pub struct Target {
    name: String,
    way: Way,
    batch: usize,
}

#[derive(Debug)]
enum Way {
    Pipe(pipe::Pipe),
    Spool(spool::Spool),
    Nsca(nsca::Nsca),
    Nrdp(nrdp::Nrdp),
    Icinga(icinga::Icinga),
}

impl Target {
    /// Checks a configuration; the error names the key and the remedy. No connection
    /// is made yet.
    pub fn new(config: &PassiveConfig) -> Result<Target, String> {
        let what = match config.kind.as_str() {
            "command-file" | "spool" => config.path.display().to_string(),
            "nsca" => config.address.clone(),
            _ => config.url.clone(),
        };
        let name = format!("{} {what}", config.kind);
        let wrong = |e: String| format!("[[passive]] {}: {e}", name.trim_end());
        let path = || match config.path.is_absolute() {
            true => Ok(config.path.clone()),
            false => Err(wrong("path is missing, or not from the root".to_owned())),
        };
        let way = match config.kind.as_str() {
            "command-file" => Way::Pipe(pipe::Pipe::new(path()?)),
            "spool" => Way::Spool(spool::Spool::new(path()?)),
            "nsca" => Way::Nsca(nsca::Nsca::new(config).map_err(wrong)?),
            "nrdp" => Way::Nrdp(nrdp::Nrdp::new(config).map_err(wrong)?),
            "icinga2" => Way::Icinga(icinga::Icinga::new(config).map_err(wrong)?),
            other => {
                return Err(format!(
                    "[[passive]] kind = {other:?}: write \"command-file\", \"spool\", \"nsca\", \
                     \"nrdp\" or \"icinga2\""
                ));
            }
        };
        config.refresh_ms().map_err(wrong)?;
        let host = config.host.as_str();
        if !host.is_empty() && clean(host) != host {
            return Err(wrong(format!("host = {host:?}: Nagios takes no such name")));
        }
        let batch = if config.batch == 0 { BATCH } else { config.batch };
        Ok(Target { name, way, batch })
    }

    /// What it is called in the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many results it takes at once.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Hands over a batch. An error is of the target as a whole: all of it is to be sent
    /// again.
    pub async fn send(&self, batch: &[CheckResult]) -> Result<Taken, String> {
        let mut taken = match &self.way {
            Way::Pipe(pipe) => pipe.send(batch).await.map(|()| Taken::all(batch))?,
            Way::Spool(spool) => {
                let note = spool.send(batch).await?;
                Taken { note, ..Taken::all(batch) }
            }
            Way::Nsca(nsca) => nsca.send(batch).await?,
            Way::Nrdp(nrdp) => nrdp.send(batch).await?,
            Way::Icinga(icinga) => icinga.send(batch).await?,
        };
        if taken.note.is_none() {
            taken.note = self.cut_note(batch);
        }
        Ok(taken)
    }

    /// Says whose output is longer than the way takes.
    fn cut_note(&self, batch: &[CheckResult]) -> Option<String> {
        let max = match &self.way {
            // A line's head has room beside it.
            Way::Pipe(_) => pipe::OUTPUT_BYTES,
            Way::Spool(_) | Way::Nrdp(_) => OUTPUT_BYTES_MAX,
            Way::Nsca(_) => nsca::OUTPUT_BYTES,
            Way::Icinga(_) => return None,
        };
        let mut long = batch.iter().filter(|r| r.is_cut(max));
        let first = long.next()?;
        Some(format!(
            "{}: outputs of more than {max} bytes are cut: {} of {}, {} is one",
            self.name,
            long.count() + 1,
            batch.len(),
            first.place()
        ))
    }
}

/// Where an answer leads to, as an error: nothing is sent there.
fn redirected(place: &str, answer: &reqwest::Response) -> Option<String> {
    let status = answer.status();
    if !status.is_redirection() {
        return None;
    }
    let to = answer.headers().get("location").and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
    let to: String = crate::message::line(to).chars().take(ANSWER_CHARS_MAX).collect();
    Some(format!(
        "{place}: HTTP {} to {to}: if it has moved, write that as its url",
        status.as_u16()
    ))
}

/// How much of a refusal an error quotes, characters.
const ANSWER_CHARS_MAX: usize = 200;

/// An error with its causes: reqwest's own text hides "connection refused".
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

/// `path: why`.
fn at(path: &Path, why: &dyn std::fmt::Display) -> String {
    format!("{}: {why}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn sample() -> CheckResult {
        CheckResult {
            host: "web1".to_owned(),
            service: Some("cpu".to_owned()),
            code: 2,
            text: "CPU CRITICAL - c:\\temp is 95".to_owned(),
            perf: vec!["'user'=95;80;90".to_owned(), "'sys'=1".to_owned()],
            time_ms: 1_763_640_000_123,
            fresh_s: 180,
        }
    }

    #[test]
    fn output_is_cut_at_whole_items() {
        let r = sample();
        let whole = "CPU CRITICAL - c:\\\\temp is 95 | 'user'=95;80;90 'sys'=1";
        assert_eq!(r.output(1000), whole);
        assert_eq!(r.output(whole.len() - 1), "CPU CRITICAL - c:\\\\temp is 95 | 'user'=95;80;90");
        assert_eq!(r.output(24), "CPU CRITICAL - c: (cut)");
        assert_eq!(r.output(25), "CPU CRITICAL - c:\\\\ (cut)");
        for (max, is_cut) in [(whole.len(), false), (whole.len() - 1, true), (25, true)] {
            assert_eq!(r.is_cut(max), is_cut, "{max}");
        }
        let bare = CheckResult { perf: vec![], text: "x".repeat(20), ..r };
        assert!(!bare.is_cut(20) && bare.is_cut(19));
    }

    #[test]
    fn slips_are_named() {
        for (toml, want) in [
            ("", "kind = \"\": write \"command-file\""),
            ("kind = \"command-file\"", "path is missing"),
            ("kind = \"spool\"\npath = \"x\"", "path is missing"),
            ("kind = \"nsca\"", "address is missing"),
            ("kind = \"nsca\"\naddress = \"h\"\nmethod = \"3\"", "method = \"3\""),
            ("kind = \"nsca\"\naddress = \"h\"\nmethod = \"aes\"", "secret_file is missing"),
            ("kind = \"nrdp\"\nurl = \"ftp://x\"", "neither http nor https"),
            ("kind = \"nrdp\"\nurl = \"http://x\"", "secret_file is missing"),
            ("kind = \"icinga2\"\nurl = \"https://x\"", "user is missing"),
            (
                "kind = \"nsca\"\naddress = \"h\"\nmethod = \"0\"\nrefresh = \"0.1s\"",
                "refresh = \"0.1s\"",
            ),
            (
                "kind = \"spool\"\npath = \"/x\"\nhost = \"a;b\"",
                "host = \"a;b\": Nagios takes no such name",
            ),
        ] {
            let config: PassiveConfig = toml::from_str(toml).expect("TOML");
            let e = Target::new(&config).map(|t| t.name).expect_err(toml);
            assert!(e.contains(want) && e.starts_with("[[passive]]"), "{toml}: {e}");
        }
    }
}
