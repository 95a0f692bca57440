//! `collector.toml`, and the rules beside it.
//!
//! An empty or absent file works: pages on 127.0.0.1:4950, the history in
//! `/var/lib/rookery`, nobody told.

use crate::budget::{self, Budget};
use crate::disk;
use crate::munin::{self, MuninConfig, Remotes};
use crate::retain::Keep;
use rookery_alerts::digest::DigestConfig;
use rookery_alerts::passive::{PassiveConfig, Target};
use rookery_alerts::{ContactConfig, GroupConfig, MailConfig, Notifier, Rules, Settings, Setup};
use rookery_plugins::config as words;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the configuration is looked for.
pub const CONFIG_FILE: &str = "/etc/rookery/collector.toml";
/// The shortest time that a retention may be: a day.
const KEEP_MS_MIN: i64 = 86_400_000;
/// The longest file of configuration or rules that is read, bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The collector's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where pages, API and ingest are served.
    pub listen: String,
    /// The history's folder.
    pub data: PathBuf,
    /// What agents must send; empty: `DATA/token` if it is there, else made.
    pub token: String,
    /// The memory of all reads together, `512M`; empty: a quarter of what there is.
    pub read_memory: String,
    /// Connections without credentials that one address may have.
    pub connections_per_address: usize,
    /// The folder of rules, `*.toml`.
    pub alerts: PathBuf,
    /// Where people find the pages, for links; empty: by `listen`.
    pub url: String,
    /// How patient the alert machine is.
    pub alerting: Settings,
    /// Who gets mail, and through which server.
    pub mail: Option<MailConfig>,
    /// Others who are told.
    pub contact: Vec<ContactConfig>,
    /// When what is not urgent is told, and to whom.
    pub digest: DigestConfig,
    /// Names for several of them.
    pub contact_group: Vec<GroupConfig>,
    /// Where how everything stands is sent: Nagios, Icinga.
    pub passive: Vec<PassiveConfig>,
    /// Munin-nodes to poll.
    pub munin: Vec<MuninConfig>,
    /// What is not kept for ever; the first that speaks of a service holds.
    pub retention: Vec<Retention>,
}

/// A `[[retention]]`.
///
/// ```toml
/// [[retention]]
/// node = "test*"          # patterns with * and ?; what is left out is all
/// service = "*"
/// keep = "90d"            # at least so long; "forever"
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Which nodes.
    #[serde(default = "all")]
    pub node: String,
    /// Which services.
    #[serde(default = "all")]
    pub service: String,
    /// How long, `90d`, or `forever`.
    pub keep: String,
}

fn all() -> String {
    "*".to_owned()
}

impl Retention {
    /// As the history takes it.
    fn rule(&self) -> Result<Keep, String> {
        let for_ms = match self.keep.as_str() {
            "forever" => None,
            text => {
                let ms = words::parse_span_ms(text).ok().and_then(|ms| i64::try_from(ms).ok());
                // A mistyped minute must not cost the history.
                let ms = ms.filter(|ms| *ms >= KEEP_MS_MIN).ok_or_else(|| {
                    format!(
                        "[[retention]] keep = {text:?}: write at least 1d (90d, 52w), or forever"
                    )
                })?;
                Some(ms)
            }
        };
        Ok(Keep { node: self.node.clone(), service: self.service.clone(), for_ms })
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: "127.0.0.1:4950".to_owned(),
            data: "/var/lib/rookery".into(),
            token: String::new(),
            read_memory: String::new(),
            connections_per_address: 64,
            alerts: "/etc/rookery/alerts.d".into(),
            url: String::new(),
            alerting: Settings::default(),
            mail: None,
            contact: Vec::new(),
            contact_group: Vec::new(),
            digest: DigestConfig::default(),
            passive: Vec::new(),
            munin: Vec::new(),
            retention: Vec::new(),
        }
    }
}

impl Config {
    /// Reads a file. One that is not there is an error only if `asked_for`.
    pub fn load(file: &Path, asked_for: bool) -> Result<Config, String> {
        let name = file.display().to_string();
        match read_text(file) {
            Ok(text) => words::from_toml(&name, &text),
            Err(e) if !asked_for && e.kind() == std::io::ErrorKind::NotFound => {
                Ok(Config::default())
            }
            Err(e) => Err(format!("{name}: {e}")),
        }
    }

    /// The memory that all reads together may take.
    pub fn budget(&self) -> Result<Arc<Budget>, String> {
        if self.read_memory.is_empty() {
            return Ok(Budget::of_machine());
        }
        let bytes = budget::parse_bytes(&self.read_memory).filter(|n| *n >= budget::BYTES_MIN);
        bytes.map(Budget::new).ok_or_else(|| {
            format!(
                "read_memory = {:?}: at least {}M is expected, as 512M or 2G",
                self.read_memory,
                budget::BYTES_MIN >> 20
            )
        })
    }

    /// The address to listen on.
    pub fn listen_addr(&self) -> Result<SocketAddr, String> {
        self.listen.parse().map_err(|_| {
            format!(
                "listen = {:?}: an address and a port are expected, 127.0.0.1:4950",
                self.listen
            )
        })
    }

    /// Where people find the pages.
    pub fn base_url(&self) -> String {
        if self.url.is_empty() {
            return format!("http://{}", self.listen);
        }
        self.url.trim_end_matches('/').to_owned()
    }

    /// The rules of `alerts`; a folder that is not there has none.
    pub fn rules(&self) -> Result<Rules, String> {
        let mut files = Vec::new();
        let entries = match std::fs::read_dir(&self.alerts) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Rules::load(&[]),
            Err(e) => return Err(format!("{}: {e}", self.alerts.display())),
        };
        for entry in entries {
            let path = entry.map_err(|e| format!("{}: {e}", self.alerts.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_meant = path.extension().is_some_and(|e| e == "toml")
                && !words::is_left_out(&name)
                // A link that leads nowhere is named.
                && path.metadata().map_or(true, |m| m.is_file());
            if is_meant {
                let text = read_text(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                files.push((path.display().to_string(), text));
            }
        }
        Rules::load(&files)
    }

    /// The channels; rules that name a contact who is not there are refused.
    pub fn notifier(&self, rules: &Rules) -> Result<Notifier, String> {
        let mut contacts = self.contact.clone();
        for contact in self.remotes()?.contacts {
            // What stands in collector.toml is the newer word.
            if !contacts.iter().any(|c| c.name == contact.name) {
                contacts.push(contact);
            }
        }
        let setup = Setup {
            mail: self.mail.clone(),
            contacts,
            groups: self.contact_group.clone(),
            periods: rules.periods().clone(),
            digest: self.digest.clone(),
        };
        let notifier = Notifier::of(setup, &self.base_url())?;
        match notifier.unknown_contact(rules.contacts()) {
            None => Ok(notifier),
            Some(name) => Err(format!(
                "a rule in {} names contact {name:?}: add a [[contact]] or [[contact_group]] of that name",
                self.alerts.display()
            )),
        }
    }

    /// What is not kept for ever.
    pub fn retention(&self) -> Result<Vec<Keep>, String> {
        self.retention.iter().map(Retention::rule).collect()
    }

    /// The munin-nodes to poll, and what of `munin.conf` is not honoured.
    pub fn remotes(&self) -> Result<Remotes, String> {
        munin::remotes(&self.munin)
    }

    /// Everything that can be checked without starting.
    pub fn check(&self) -> Result<(), String> {
        self.listen_addr()?;
        self.budget()?;
        self.retention()?;
        self.remotes()?;
        self.passive.iter().try_for_each(|p| Target::new(p).map(drop))?;
        let rules = self.rules()?;
        self.notifier(&rules).map(|_| ())
    }
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let len = std::fs::metadata(path)?.len();
    if len > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("{len} bytes: more than {FILE_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path)?;
    // What Windows' editors put in front.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The token that agents must send: as configured, else that of `DATA/token`,
/// which is made (readable by its owner only) when it is not there.
pub fn token(config: &Config) -> Result<String, String> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if !config.token.is_empty() {
        return Ok(config.token.clone());
    }
    let path = config.data.join("token");
    let fail = |e: std::io::Error| format!("{}: {e}", path.display());
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(fail(e)),
    }
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).map_err(|e| format!("no random numbers for a token: {e}"))?;
    let token: String = random.iter().map(|b| format!("{b:02x}")).collect();
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(fail)?;
    file.write_all(format!("{token}\n").as_bytes()).map_err(fail)?;
    // Agents are given it: it must be the same after a power cut.
    file.sync_all().map_err(fail)?;
    disk::sync_parent(&path).map_err(|e| e.to_string())?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retention(text: &str) -> Result<Vec<Keep>, String> {
        words::from_toml::<Config>("collector.toml", text)?.retention()
    }

    #[test]
    fn what_editors_leave_beside_the_rules_is_passed_over() {
        let dir = tempfile::tempdir().expect("tmp");
        let config = Config { alerts: dir.path().to_owned(), ..Config::default() };
        let put =
            |name: &str, text: &[u8]| std::fs::write(dir.path().join(name), text).expect(name);
        let rule = "[[rule]]\r\nservice = \"s\"\r\ncritical = \"~:90\"\r\n";
        put("limits.toml", rule.as_bytes());
        put("bom.toml", format!("\u{feff}{rule}").as_bytes());
        for name in ["._limits.toml", "limits.toml~", "#limits.toml#", ".x.toml", "a.toml.dpkg-old"]
        {
            put(name, b"\x00\x05\x16 no TOML");
        }
        let link = |name: &str| {
            std::os::unix::fs::symlink("ann@host.4711:17", dir.path().join(name)).expect(name);
        };
        link(".#limits.toml");
        std::fs::create_dir(dir.path().join("old.toml")).expect("a folder");
        assert_eq!(config.rules().map(|r| r.len()), Ok(2));
        link("gone.toml");
        assert!(config.rules().is_err_and(|e| e.contains("gone.toml: No such file")));
    }

    #[test]
    fn nothing_goes_unless_it_is_said_well() {
        assert_eq!(retention(""), Ok(vec![]));
        let text = "[[retention]]\nservice = \"tmp*\"\nkeep = \"90d\"\n[[retention]]\nkeep = \"forever\"\n";
        let rules = retention(text).expect("right");
        assert_eq!((rules[0].node.as_str(), rules[0].service.as_str()), ("*", "tmp*"));
        assert_eq!((rules[0].for_ms, rules[1].for_ms), (Some(90 * 86_400_000), None));
        for bad in ["keep = \"90m\"", "keep = \"soon\"", "node = \"a\"", "keep = \"1d\"\nkep = 1"] {
            assert!(retention(&format!("[[retention]]\n{bad}\n")).is_err(), "{bad}");
        }
    }
}
