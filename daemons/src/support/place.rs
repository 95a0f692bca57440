//! Where a daemon is asked, by whom, and for how long.

use rookery_plugins::ProbeError;
use rookery_plugins::config::parse_span_ms;
use rookery_plugins::probe::ProbeConfig;
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A daemon that has not answered after this has failed; `timeout` in
/// `[probe.NAME]` says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(3);
/// The longest `timeout`.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// An address of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `HOST:PORT`.
    Tcp(String),
    /// A socket's path.
    Unix(PathBuf),
}

impl Address {
    /// From `HOST:PORT`, `HOST` (with the daemon's usual port), `unix:PATH`, or a
    /// path with a slash in it and no colon; one that does not begin with a slash
    /// is meant from the agent's working folder.
    pub fn parse(text: &str, port: u16) -> Result<Address, String> {
        let wrong = || format!("address = {text:?}: write HOST:PORT or /PATH/OF/SOCKET");
        let is_path = text.starts_with('/') || text.contains('/') && !text.contains(':');
        if let Some(path) = text.strip_prefix("unix:").or(is_path.then_some(text)) {
            return Ok(Address::Unix(path.into()));
        }
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(wrong());
        }
        let has_port = match text.rsplit_once(':') {
            // A bare IPv6 address has colons, too.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                port.parse::<u16>().map_err(|_| wrong())?;
                true
            }
            _ => false,
        };
        Ok(Address::Tcp(match has_port {
            true => text.to_owned(),
            false if text.contains(':') && !text.starts_with('[') => format!("[{text}]:{port}"),
            false => format!("{text}:{port}"),
        }))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(text) => f.write_str(text),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Where a daemon is, and how long it may take to answer.
#[derive(Clone, Debug)]
pub struct Place {
    /// What it is called in messages: `memcached`.
    pub daemon: &'static str,
    /// Where to look, the first that answers counts.
    pub addresses: Vec<Address>,
    /// Whether `agent.toml` names it: then it is an error if it is not there.
    pub given: bool,
    /// For one reading, connecting included.
    pub timeout: Duration,
}

impl Place {
    /// The `address` of `[probe.NAME]`, or without one the `usual` ones.
    pub fn new(
        daemon: &'static str,
        table: &ProbeConfig,
        address: Option<&str>,
        usual: &[&str],
        port: u16,
    ) -> Result<Place, String> {
        let texts = address.as_ref().map_or(usual, std::slice::from_ref);
        let parse = |text: &&str| Address::parse(text, port);
        let addresses = texts.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Place { daemon, addresses, given: address.is_some(), timeout: timeout(table)? })
    }

    /// Why it cannot be reached: not here, unless it was said to be.
    pub fn unreachable(&self, address: &Address, error: &std::io::Error) -> ProbeError {
        let text = format!("{} at {address}: {error}", self.daemon);
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            // It is here: only we may not.
            return ProbeError::Failed(format!(
                "{text}; let the agent's user into the group that may use it"
            ));
        }
        match self.given {
            false => ProbeError::NotHere(text),
            true => ProbeError::Failed(format!(
                "{text}; is it running there? see `address` in [probe.{}] of agent.toml",
                self.daemon
            )),
        }
    }
}

/// `timeout` of `[probe.NAME]`.
pub fn timeout(table: &ProbeConfig) -> Result<Duration, String> {
    let wrong = |why: String| format!("timeout: {why}; write a span such as \"3s\"");
    let span = match table.get("timeout") {
        None => return Ok(TIMEOUT),
        Some(toml::Value::String(text)) => parse_span_ms(text).map_err(wrong)?,
        Some(toml::Value::Integer(s)) => u64::try_from(*s).unwrap_or(0).saturating_mul(1000),
        Some(other) => return Err(wrong(format!("{} is no span", shown_value(other)))),
    };
    let span = Duration::from_millis(span);
    if span.is_zero() || span > TIMEOUT_MAX {
        return Err(wrong(format!("more than 0 and at most {} s", TIMEOUT_MAX.as_secs())));
    }
    Ok(span)
}

/// A value of a table as it may stand in a message.
pub fn shown_value(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => format!("{text:?}"),
        toml::Value::Integer(n) => n.to_string(),
        toml::Value::Float(n) => n.to_string(),
        toml::Value::Boolean(b) => b.to_string(),
        other => format!("({})", other.type_str()),
    }
}

/// A password, from `agent.toml` itself, a file, or the agent's environment.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Secret {
    /// As it is.
    pub password: Option<String>,
    /// A file that holds it; one newline at its end is not part of it.
    pub password_file: Option<PathBuf>,
    /// A variable of the agent's environment that holds it.
    pub password_env: Option<String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A log must not hold it.
        f.write_str("Secret")
    }
}

impl Secret {
    /// The password; read at each call, so that a new one needs no restart. An
    /// empty one is none.
    pub fn read(&self) -> Result<Option<String>, ProbeError> {
        Ok(self.find()?.filter(|password| !password.is_empty()))
    }

    fn find(&self) -> Result<Option<String>, ProbeError> {
        if let Some(password) = &self.password {
            return Ok(Some(password.clone()));
        }
        if let Some(file) = &self.password_file {
            let text = std::fs::read_to_string(file).map_err(|e| {
                ProbeError::Failed(format!("password_file {}: {e}", file.display()))
            })?;
            let text = text.strip_suffix('\n').unwrap_or(&text);
            return Ok(Some(text.strip_suffix('\r').unwrap_or(text).to_owned()));
        }
        if let Some(name) = &self.password_env {
            let why = |e| ProbeError::Failed(format!("password_env {name:?}: {e}"));
            return std::env::var(name).map(Some).map_err(why);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let tcp = |text: &str| Ok(Address::Tcp(text.to_owned()));
        for (text, want) in [
            ("db1", "db1:7"),
            ("db1:9", "db1:9"),
            ("10.0.0.1", "10.0.0.1:7"),
            ("[::1]:9", "[::1]:9"),
            ("[::1]", "[::1]:7"),
            ("fe80::1", "[fe80::1]:7"),
        ] {
            assert_eq!(Address::parse(text, 7), tcp(want), "{text}");
        }
        for text in ["unix:/run/x", "/run/x"] {
            assert_eq!(Address::parse(text, 7), Ok(Address::Unix("/run/x".into())));
        }
        assert_eq!(Address::parse("run/x.sock", 7), Ok(Address::Unix("run/x.sock".into())));
        for text in ["", "a b", "http://x/", "db:99999", "db:x"] {
            assert!(Address::parse(text, 7).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_are_checked() {
        let of = |text: &str| timeout(&text.parse().expect("TOML"));
        assert_eq!(of(""), Ok(TIMEOUT));
        assert_eq!(of("timeout = \"500ms\""), Ok(Duration::from_millis(500)));
        assert_eq!(of("timeout = 2"), Ok(Duration::from_secs(2)));
        for text in ["timeout = 0", "timeout = -1", "timeout = \"1d\"", "timeout = true"] {
            assert!(of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_is_read_anew_and_never_shown() {
        let file = tempfile::NamedTempFile::new().expect("tmp");
        std::fs::write(file.path(), "sesame\n").expect("writes");
        let path = file.path().to_owned();
        let secret = Secret { password_file: Some(path.clone()), ..Secret::default() };
        assert_eq!(secret.read().expect("reads").as_deref(), Some("sesame"));
        std::fs::remove_file(path).expect("removes");
        assert!(secret.read().is_err_and(|e| e.to_string().contains("password_file")));
        let secret = Secret { password: Some("sesame".to_owned()), ..Secret::default() };
        assert!(!format!("{secret:?}").contains("sesame"));
    }
}
