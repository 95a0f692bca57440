//! `agent.toml`: every key has a working default.

use crate::check::{self, Check};
use crate::clock;
use crate::munin_conf::MuninNodeConf;
use crate::node::{Access, Listen, Masters};
use rookery_plugins::{Host, ProbeEntry, config as words, names};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the configuration is looked for.
pub const CONFIG_FILE: &str = "/etc/rookery/agent.toml";
/// Where a collector on the same host keeps its token.
pub const TOKEN_FILE: &str = "/var/lib/rookery/token";
/// The shortest step that is taken, ms.
pub const STEP_MS_MIN: u64 = 50;
/// The smallest spool that is taken, bytes.
pub const SPOOL_BYTES_MIN: u64 = 64 << 10;

/// A span of time, in TOML `"10s"`, `"500ms"`, or a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Milliseconds.
    pub ms: u64,
}

impl Span {
    /// So many seconds.
    pub const fn seconds(s: u64) -> Span {
        Span { ms: s * 1000 }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Span, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a span of time such as \"10s\", or a number of seconds")]
        enum Form {
            Seconds(u64),
            Text(String),
        }
        let text = match Form::deserialize(de)? {
            Form::Seconds(s) => s.to_string(),
            Form::Text(text) => text,
        };
        words::parse_span_ms(&text).map(|ms| Span { ms }).map_err(serde::de::Error::custom)
    }
}

/// The agent's configuration. `Config::default()` works as it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The node's name; empty: the host's name.
    pub node: String,
    /// The node's group; empty: by its name.
    pub group: String,
    /// The collector's URL.
    pub collector: String,
    /// The token that the collector asks for; empty: none.
    pub token: String,
    /// A file that holds the token, if `token` is empty; [`TOKEN_FILE`] if it is
    /// there.
    pub token_file: Option<PathBuf>,
    /// How often probes are read.
    pub step: Span,
    /// Where Munin's protocol is served: an address or several; `none` disables
    /// it.
    pub listen: Listen,
    /// Who may ask there: addresses and CIDR blocks.
    pub allow: Vec<String>,
    /// Who may not, allowed or not: addresses and CIDR blocks.
    pub deny: Vec<String>,
    /// The node's certificate (PEM), for `starttls`.
    pub tls_certificate: Option<PathBuf>,
    /// Its key (PEM).
    pub tls_private_key: Option<PathBuf>,
    /// Authorities (PEM), one of which must have signed a master's certificate.
    pub tls_ca: Option<PathBuf>,
    /// At most so many authorities between a master's certificate and one of these.
    pub tls_verify_depth: Option<usize>,
    /// What the names in a master's certificate must match.
    pub tls_match: Option<String>,
    /// Whether masters must begin with `starttls`.
    pub tls_required: bool,
    /// The spool's folder.
    pub spool: PathBuf,
    /// The most bytes kept there; then the oldest are dropped.
    pub spool_bytes_max: u64,
    /// Where /proc is.
    pub proc: PathBuf,
    /// Where /sys is.
    pub sys: PathBuf,
    /// Folders of plugin executables.
    pub plugin_dirs: Vec<PathBuf>,
    /// Folders of Munin's plugin configuration.
    pub plugin_conf_dirs: Vec<PathBuf>,
    /// How often plugins are fetched, unless they say otherwise.
    pub plugin_step: Span,
    /// After this a plugin and its children are killed.
    pub plugin_timeout: Span,
    /// Where plugins keep their state between runs (`MUNIN_PLUGSTATE`).
    pub plugin_state: PathBuf,
    /// How long readings are held in memory for masters' `spoolfetch`; none: it
    /// is not offered.
    pub hold: Option<Span>,
    /// A munin-node.conf, if it is there: for what is left out here.
    pub munin_node_conf: Option<PathBuf>,
    /// What it says of what has no key here.
    #[serde(skip)]
    pub munin: MuninNodeConf,
    /// `[[check]]`: executables that follow the Nagios plugin guidelines.
    pub check: Vec<Check>,
    /// `[probe.NAME]`: `enabled`, `step`, and what that probe knows itself.
    pub probe: BTreeMap<String, toml::Table>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            node: String::new(),
            group: String::new(),
            collector: "http://127.0.0.1:4950".to_owned(),
            token: String::new(),
            token_file: None,
            step: Span::seconds(10),
            listen: "127.0.0.1:4949".into(),
            allow: vec!["127.0.0.0/8".to_owned(), "::1".to_owned()],
            deny: vec![],
            tls_certificate: None,
            tls_private_key: None,
            tls_ca: None,
            tls_verify_depth: None,
            tls_match: None,
            tls_required: false,
            spool: "/var/lib/rookery-agent".into(),
            spool_bytes_max: 1 << 30,
            proc: "/proc".into(),
            sys: "/sys".into(),
            plugin_dirs: vec!["/etc/munin/plugins".into(), "/etc/rookery/plugins".into()],
            plugin_conf_dirs: vec!["/etc/munin/plugin-conf.d".into()],
            plugin_step: Span::seconds(60),
            plugin_timeout: Span::seconds(60),
            plugin_state: "/var/lib/munin-node/plugin-state".into(),
            hold: None,
            munin_node_conf: None,
            munin: MuninNodeConf::default(),
            check: vec![],
            probe: BTreeMap::new(),
        }
    }
}

/// `[probe.NAME]` without the keys that every probe has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProbeSettings {
    /// `enabled = false` leaves it out.
    pub enabled: bool,
    /// Its own step, ms.
    pub step_ms: Option<u64>,
    /// The rest, for the probe itself.
    pub rest: toml::Table,
}

impl Config {
    /// Reads and checks a file. A file that is not there is an error only if
    /// it was `asked_for`.
    pub fn load(file: &Path, asked_for: bool, probes: &[ProbeEntry]) -> Result<Config, String> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(e) if !asked_for && e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(format!("{}: {e}", file.display())),
        };
        let name = file.display().to_string();
        let mut config: Config = words::from_toml(&name, &text)?;
        config.take_munins(&text).map_err(|e| format!("{name}: munin_node_conf: {e}"))?;
        config.check(probes).map_err(|e| format!("{name}: {e}"))?;
        Ok(config)
    }

    /// Takes from munin-node.conf what `text`, agent.toml, leaves out.
    fn take_munins(&mut self, text: &str) -> Result<(), String> {
        let Some(file) = &self.munin_node_conf else { return Ok(()) };
        let file_name = file.display().to_string();
        let mut munin = match std::fs::read_to_string(file) {
            Ok(text) => MuninNodeConf::parse(&file_name, &text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(format!("{file_name}: {e}")),
        };
        let own: toml::Table = toml::from_str(text).unwrap_or_default();
        let open = |key: &str| !own.contains_key(key);
        if let Some(name) = munin.host_name.take().filter(|_| open("node")) {
            self.node = name;
        }
        if open("listen") && !munin.listen.is_empty() {
            self.listen = std::mem::take(&mut munin.listen).into();
        }
        if !open("allow") || !open("deny") {
            munin.access = None;
        }
        if let Some(s) = munin.timeout_s.filter(|_| open("plugin_timeout")) {
            self.plugin_timeout = Span::seconds(s);
        }
        if open("tls_certificate") && open("tls_private_key") {
            let files = munin.tls.take();
            let missing = files.iter().flat_map(|(c, k)| [c, k]).find(|p| !p.exists());
            if let Some(file) = missing {
                munin.notes.push(format!("{file_name}: tls: {} is not there", file.display()));
            } else if let Some((certificate, key)) = files {
                (self.tls_certificate, self.tls_private_key) = (Some(certificate), Some(key));
                self.tls_ca = self.tls_ca.take().or(munin.tls_ca.take());
                self.tls_match = self.tls_match.take().or(munin.tls_match.take());
                self.tls_verify_depth = self.tls_verify_depth.or(munin.tls_verify_depth);
            }
            if open("tls_required") {
                self.tls_required = munin.tls_required;
            }
        }
        self.munin = munin;
        Ok(())
    }

    /// Who may ask by Munin's protocol.
    pub fn access(&self) -> Result<Access, String> {
        match &self.munin.access {
            Some(access) => Ok(access.clone()),
            None => Access::parse(&self.allow, &self.deny),
        }
    }

    /// Says what is wrong, and how to put it right.
    pub fn check(&self, probes: &[ProbeEntry]) -> Result<(), String> {
        if !names::is_valid(&self.node_name()) {
            return Err(format!("node = {:?}: a name of 1 to 255 bytes without /", self.node));
        }
        let url = reqwest::Url::parse(&self.collector).map_err(|e| {
            format!("collector = {:?}: {e}; write http://HOST:4950", self.collector)
        })?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(format!(
                "collector = {:?}: write http://HOST:4950 or https://HOST",
                self.collector
            ));
        }
        for (key, span) in [("step", self.step), ("plugin_step", self.plugin_step)] {
            if span.ms < STEP_MS_MIN {
                return Err(format!("{key}: at least {STEP_MS_MIN}ms"));
            }
        }
        if self.spool_bytes_max < SPOOL_BYTES_MIN {
            return Err(format!("spool_bytes_max: at least {SPOOL_BYTES_MIN}"));
        }
        self.listen.addrs()?;
        self.access()?;
        check::check(&self.check)?;
        if let Some((certificate, key)) = self.tls_files()? {
            crate::node::acceptor(certificate, key, &self.masters())?;
        }
        for name in self.probe.keys() {
            if !probes.iter().any(|p| p.name == name) {
                let known: Vec<&str> = probes.iter().map(|p| p.name).collect();
                let hint = words::nearest(name, &known).map_or_else(
                    || format!("known probes are {}", known.join(", ")),
                    |near| format!("did you mean [probe.{near}]?"),
                );
                return Err(format!("[probe.{name}]: there is no such probe; {hint}"));
            }
        }
        for entry in probes {
            crate::probes::of_entry(self, entry)?;
        }
        Ok(())
    }

    /// The node's name in use.
    pub fn node_name(&self) -> String {
        if self.node.is_empty() { clock::hostname() } else { self.node.clone() }
    }

    /// The host that probes read.
    pub fn host(&self) -> Host {
        Host { proc: self.proc.clone(), sys: self.sys.clone() }
    }

    /// The node's name by which Munin's masters know it: without its group.
    pub fn munin_name(&self) -> String {
        names::split_node(&self.node_name()).1.to_owned()
    }

    /// Which masters may come by `starttls`.
    pub fn masters(&self) -> Masters {
        let (ca, depth) = (self.tls_ca.clone(), self.tls_verify_depth);
        Masters { ca, depth, matches: self.tls_match.clone() }
    }

    /// Certificate and key for `starttls`, if it is offered.
    pub fn tls_files(&self) -> Result<Option<(&Path, &Path)>, String> {
        match (&self.tls_certificate, &self.tls_private_key) {
            (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
            (None, None) if self.masters() == Masters::default() && !self.tls_required => Ok(None),
            (None, _) => Err("tls_certificate: a PEM file is needed for TLS".to_owned()),
            (_, None) => Err("tls_private_key: a PEM file is needed for TLS".to_owned()),
        }
    }

    /// The token, from `token` or `token_file`; with neither, that of a
    /// collector on the same host, if there is one.
    pub fn read_token(&self) -> Result<String, String> {
        if !self.token.is_empty() {
            return Ok(self.token.clone());
        }
        let file = self.token_file.as_deref().unwrap_or(Path::new(TOKEN_FILE));
        match std::fs::read_to_string(file) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(_) if self.token_file.is_none() => Ok(String::new()),
            Err(e) => Err(format!("token_file {}: {e}", file.display())),
        }
    }

    /// What `[probe.NAME]` says.
    pub fn probe_settings(&self, name: &str) -> Result<ProbeSettings, String> {
        let mut rest = self.probe.get(name).cloned().unwrap_or_default();
        let enabled = match rest.remove("enabled") {
            None => true,
            Some(toml::Value::Boolean(b)) => b,
            Some(v) => return Err(format!("[probe.{name}]: enabled = {v:?}: write true or false")),
        };
        let step_ms = match rest.remove("step") {
            None => None,
            Some(v) => {
                let span: Span = v.try_into().map_err(|e| format!("[probe.{name}]: step: {e}"))?;
                Some(span.ms.max(STEP_MS_MIN))
            }
        };
        Ok(ProbeSettings { enabled, step_ms, rest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let c: Config = words::from_toml("agent.toml", text)?;
        c.check(&[]).map(|()| c)
    }

    #[test]
    fn an_empty_file_works_and_keys_are_read() {
        let c = load("").expect("defaults");
        assert_eq!((c.step.ms, c.plugin_step.ms), (10_000, 60_000));
        let c = load("step = \"500ms\"\nplugin_step = 5\nlisten = \"none\"\n").expect("reads");
        assert_eq!((c.step.ms, c.plugin_step.ms), (500, 5_000));
        assert_eq!(c.listen.addrs(), Ok(vec![]));
        let c = load("listen = [\"127.0.0.1:1\", \"[::1]:2\"]\n").expect("reads");
        assert_eq!(c.listen.addrs().map(|a| a.len()), Ok(2));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, want) in [
            ("colector = \"x\"", "agent.toml:1: unknown key \"colector\"; did you mean"),
            ("\nstep = \"10x\"", "agent.toml:2: "),
            ("listen = \"here\"", "listen = \"here\": write ADDRESS:PORT"),
            ("collector = \"ftp://x\"", "collector = \"ftp://x\": write http"),
            ("listen = [\"[::]:4949\", \"x\"]", "listen = \"x\": write ADDRESS:PORT"),
            ("listen = 4949", "agent.toml:1: "),
            ("allow = [\"10.0.0.0/33\"]", "allow"),
            ("deny = [\"10.0.0.0/33\"]", "deny"),
            ("tls_required = true", "tls_certificate: a PEM file is needed"),
            ("tls_certificate = \"/x\"", "tls_private_key: a PEM file is needed"),
            ("spool_bytes_max = 5", "spool_bytes_max: at least"),
            ("[probe.cpuu]\n", "[probe.cpuu]: there is no such probe"),
            ("step = \"1ms\"", "step: at least 50ms"),
        ] {
            let e = load(text).expect_err(text);
            assert!(e.contains(want), "{text}: {e}");
        }
    }

    #[test]
    fn munin_node_conf_fills_what_is_left_out() {
        let dir = tempfile::tempdir().expect("tmp");
        let munin = dir.path().join("munin-node.conf");
        std::fs::write(&munin, "host_name m.example\nport 5000\nallow ^10\\.\ntimeout 9\n")
            .expect("writes");
        let file = dir.path().join("agent.toml");
        let load = |more: &str| {
            let text = format!("munin_node_conf = {munin:?}\n{more}");
            std::fs::write(&file, text).expect("writes");
            Config::load(&file, true, &[]).expect("loads")
        };
        let allows =
            |c: &Config, a: &str| c.access().expect("right").allows(a.parse().expect("address"));
        let c = load("");
        assert_eq!((c.node.as_str(), c.plugin_timeout.ms), ("m.example", 9_000));
        assert_eq!(c.listen.addrs().expect("right")[0].port(), 5000);
        assert!(allows(&c, "10.1.1.1") && !allows(&c, "127.0.0.1"));
        let c = load("node = \"n\"\nlisten = \"none\"\nallow = [\"::1\"]\nplugin_timeout = 3\n");
        assert_eq!((c.node.as_str(), c.plugin_timeout.ms), ("n", 3_000));
        assert_eq!(c.listen.addrs(), Ok(vec![]));
        assert!(allows(&c, "::1") && !allows(&c, "10.1.1.1"));
        std::fs::remove_file(&munin).expect("removes");
        assert_eq!(load("").node, "", "a file that is not there says nothing");
    }

    #[test]
    fn probe_tables_are_split() {
        let c = load_unchecked("[probe.df]\nenabled = false\nstep = \"5m\"\nskip = [\"/x\"]\n");
        let s = c.probe_settings("df").expect("reads");
        assert_eq!((s.enabled, s.step_ms, s.rest.len()), (false, Some(300_000), 1));
        let c = load_unchecked("[probe.df]\nenabled = 3\n");
        assert!(c.probe_settings("df").is_err());
    }

    fn load_unchecked(text: &str) -> Config {
        words::from_toml("agent.toml", text).expect("parses")
    }
}
