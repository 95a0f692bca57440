//! munin-node.conf: what it says that the agent can do, so that a host changes
//! from munin-node to the agent without a new configuration.
//!
//! In: the text. Out: settings, each used only where agent.toml leaves the key
//! out; and what cannot be honoured, line by line. Opens no file but this one.

use crate::node::Access;
use regex_lite::Regex;
use std::path::PathBuf;

/// What the file says.
#[derive(Clone, Debug, Default)]
pub struct MuninNodeConf {
    /// `host_name`.
    pub host_name: Option<String>,
    /// `host` and `port`, as `ADDRESS:PORT`; empty: neither was given.
    pub listen: Vec<String>,
    /// `allow`, `deny`, `cidr_allow`, `cidr_deny`, if there is any.
    pub access: Option<Access>,
    /// `timeout`, s.
    pub timeout_s: Option<u64>,
    /// `ignore_file`.
    pub ignore: Vec<Pattern>,
    /// `default_plugin_user`.
    pub user: Option<String>,
    /// `default_plugin_group`.
    pub group: Option<String>,
    /// `tls enabled` and `tls paranoid`.
    pub tls_required: bool,
    /// `tls_certificate` and `tls_private_key`, unless `tls disabled`.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// `tls_ca_certificate`, if `tls_verify_certificate`.
    pub tls_ca: Option<PathBuf>,
    /// `tls_verify_depth`.
    pub tls_verify_depth: Option<usize>,
    /// `tls_match`.
    pub tls_match: Option<String>,
    /// What is not honoured: `file:line: message`.
    pub notes: Vec<String>,
}

/// A regular expression; equal if it is written the same.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Whether it is found in `text`.
    pub fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// Keys of munin-node and Net::Server that have no meaning here: the agent's
/// unit says who it is, where it logs, and how it starts.
const WITHOUT_MEANING: [&str; 15] = [
    "background",
    "global_timeout",
    "group",
    "ipv",
    "log_file",
    "log_level",
    "paranoia",
    "pid_file",
    "proto",
    "reverse_lookups",
    "setsid",
    "spooldir",
    "syslog_facility",
    "syslog_ident",
    "user",
];

impl MuninNodeConf {
    /// Reads the text of `file`.
    pub fn parse(file: &str, text: &str) -> MuninNodeConf {
        let mut conf = MuninNodeConf::default();
        let (mut hosts, mut port) = (Vec::new(), None);
        let mut tls = Tls::default();
        for (i, line) in text.lines().enumerate() {
            let line = without_comment(line);
            let Some((key, value)) = line.split_once([' ', '\t', '=']) else {
                if !line.is_empty() {
                    conf.notes.push(format!("{file}:{}: {line:?} has no value", i + 1));
                }
                continue;
            };
            let value = value.trim();
            let taken = match key {
                "host" if is_address(value) => {
                    hosts.push(value.to_owned());
                    Ok(())
                }
                "host" => Err(format!("{value:?}: write an address, or *")),
                "port" => value.parse().map(|p: u16| port = Some(p)).map_err(|e| e.to_string()),
                _ if tls.take(key, value) => Ok(()),
                _ => conf.take(key, value),
            };
            if let Err(why) = taken {
                conf.notes.push(format!("{file}:{}: {key}: {why}", i + 1));
            }
        }
        if !hosts.is_empty() || port.is_some() {
            let port = port.unwrap_or(4949);
            if hosts.is_empty() {
                hosts.push("*".to_owned());
            }
            conf.listen = hosts.iter().map(|h| address(h, port)).collect();
        }
        let mode = tls.mode.clone();
        tls.give(&mut conf);
        if conf.tls.is_none() && matches!(mode.as_str(), "auto" | "enabled" | "paranoid") {
            conf.notes.push(format!(
                "{file}: tls {mode}: needs tls_certificate and tls_private_key; that the node is \
                 TLS' client (TLS MAYBE) is not supported"
            ));
        }
        conf
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "host_name" | "hostname" => self.host_name = Some(value.to_owned()),
            "allow" | "deny" | "cidr_allow" | "cidr_deny" => {
                self.access.get_or_insert_default().add(key, value)?;
            }
            "timeout" => {
                self.timeout_s = Some(value.parse().map_err(|_| format!("{value:?}: seconds"))?);
            }
            "ignore_file" => {
                let pattern = Regex::new(value).map_err(|e| e.to_string())?;
                self.ignore.push(Pattern(pattern));
            }
            "default_plugin_user" | "default_client_user" => self.user = Some(value.to_owned()),
            "default_plugin_group" | "default_client_group" => self.group = Some(value.to_owned()),
            "tls_match" => self.tls_match = Some(value.to_owned()),
            "tls_verify_depth" => {
                let depth = value.parse().map_err(|_| format!("{value:?}: a number"))?;
                self.tls_verify_depth = Some(depth);
            }
            _ if WITHOUT_MEANING.contains(&key) => {}
            _ => return Err("is not known".to_owned()),
        }
        Ok(())
    }
}

/// The `tls…` keys, which mean something only together.
#[derive(Default)]
struct Tls {
    mode: String,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
    verify: bool,
}

impl Tls {
    /// Whether it is one of them.
    fn take(&mut self, key: &str, value: &str) -> bool {
        match key {
            "tls" => self.mode = value.to_lowercase(),
            "tls_certificate" => self.certificate = Some(value.into()),
            "tls_private_key" => self.key = Some(value.into()),
            "tls_ca_certificate" => self.ca = Some(value.into()),
            "tls_verify_certificate" => {
                self.verify = matches!(value.to_lowercase().as_str(), "yes" | "true" | "on" | "1");
            }
            _ => return false,
        }
        true
    }

    fn give(self, conf: &mut MuninNodeConf) {
        if self.mode == "disabled" {
            return;
        }
        conf.tls_required = matches!(self.mode.as_str(), "enabled" | "paranoid");
        conf.tls = self.certificate.zip(self.key);
        conf.tls_ca = self.ca.filter(|_| self.verify || self.mode == "paranoid");
    }
}

fn is_address(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    host == "*" || inner.parse::<std::net::IpAddr>().is_ok()
}

/// Munin's `*` is any address, of IPv4 and IPv6.
fn address(host: &str, port: u16) -> String {
    let any = if std::path::Path::new("/proc/net/if_inet6").exists() { "[::]" } else { "0.0.0.0" };
    let host = if host == "*" { any } else { host };
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// `\#` is a literal hash, any other begins a comment.
fn without_comment(line: &str) -> String {
    let start = line.match_indices('#').find(|(at, _)| !line[..*at].ends_with('\\'));
    let line = start.map_or(line, |(at, _)| &line[..at]);
    line.trim().replace("\\#", "#")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What Debian's package brings, without its comments.
    const DEBIAN: &str = "log_level 4\nlog_file /var/log/munin/munin-node.log\n\
        pid_file /var/run/munin/munin-node.pid\n\nbackground 1\nsetsid 1\n\nuser root\n\
        group root\n# a comment\nignore_file [\\#~]$\nignore_file \\.dpkg-(tmp|new|old|dist)$\n\
        #host_name localhost.localdomain\nallow ^127\\.0\\.0\\.1$\nallow ^::1$\nhost *\nport 4949\n";

    #[test]
    fn debians_file() {
        let c = MuninNodeConf::parse("f", DEBIAN);
        assert!(c.notes.is_empty(), "{:?}", c.notes);
        let access = c.access.expect("given");
        let allows = |peer: &str| access.allows(peer.parse().expect("address"));
        assert!(allows("127.0.0.1") && allows("::1") && !allows("10.0.0.1"));
        assert!(c.listen.len() == 1 && c.listen[0].ends_with(":4949"), "{:?}", c.listen);
        let ignored = |name: &str| c.ignore.iter().any(|p| p.is_in(name));
        assert!(ignored("load~") && ignored("load#") && ignored("x.dpkg-old") && !ignored("load"));
        assert!(c.tls.is_none() && !c.tls_required && c.host_name.is_none());
    }

    #[test]
    fn all_that_the_agent_can_do() {
        let c = MuninNodeConf::parse(
            "f",
            "host_name www.example\nhost 127.0.0.1\nhost ::1\nport 5000\ntimeout 20\n\
             cidr_allow 10.0.0.0/8\ncidr_deny 10.1.0.0/16\ndefault_plugin_user daemon\n\
             default_plugin_group adm\ntls enabled\ntls_certificate /c\ntls_private_key /k\n\
             tls_ca_certificate /a\ntls_verify_certificate yes\ntls_match CN=m\n\
             tls_verify_depth 2\n",
        );
        assert!(c.notes.is_empty(), "{:?}", c.notes);
        assert_eq!(c.listen, ["127.0.0.1:5000", "[::1]:5000"]);
        assert_eq!((c.timeout_s, c.host_name.as_deref()), (Some(20), Some("www.example")));
        assert_eq!((c.user.as_deref(), c.group.as_deref()), (Some("daemon"), Some("adm")));
        assert_eq!(c.tls, Some(("/c".into(), "/k".into())));
        assert_eq!((c.tls_required, c.tls_ca), (true, Some("/a".into())));
        assert_eq!((c.tls_match.as_deref(), c.tls_verify_depth), (Some("CN=m"), Some(2)));
        let off = MuninNodeConf::parse("f", "tls disabled\ntls_certificate /c\ntls_private_key /k");
        assert!(off.tls.is_none() && off.notes.is_empty());
        let bare = MuninNodeConf::parse("f", "tls auto");
        assert!(bare.notes[0].starts_with("f: tls auto: needs tls_certificate"), "{bare:?}");
    }

    #[test]
    fn what_is_not_honoured_is_named() {
        let c = MuninNodeConf::parse(
            "f",
            "\ncolour red\nport x\nallow (\nlonely\ntls_verify_depth a\nhost h",
        );
        let at: Vec<&str> = c.notes.iter().map(|n| n.split(' ').next().unwrap_or("")).collect();
        assert_eq!(at, ["f:2:", "f:3:", "f:4:", "f:5:", "f:6:", "f:7:"], "{:?}", c.notes);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "((allow|cidr_deny|port|host|tls|ignore_file|x)?[ #\\\\(*.:0-9a-z/\n]{0,9}){0,9}") {
            MuninNodeConf::parse("f", &text);
        }
    }
}
