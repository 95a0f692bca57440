//! Being Munin's master: plain munin-nodes are polled, and what they say joins the
//! history as an agent's batches do.
//!
//! In: `[[munin]]` of `collector.toml`, or a `munin.conf` as it is ([`conf`]); the
//! nodes' answers ([`session`]). Out: frames for the writer ([`deliver`]), so that
//! journal, alerts and graphs need not know where samples come from.
//!
//! Each node has a task of its own ([`poll`]): one that is slow or dead delays no
//! other. Nothing that a node sends is trusted; every answer has its limits.

pub mod conf;
mod deliver;
mod people;
mod poll;
mod rhythms;
mod session;
pub mod tls;

pub use poll::run;

use crate::borrow::Borrowed;
use rookery_alerts::ContactConfig;
use rookery_plugins::config::parse_span_ms;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use tls::{Tls, Wish};

/// Munin's port.
const PORT: u16 = 4949;
/// How often a node is asked, unless it is said: more often than Munin's five
/// minutes, for a node with Debian's plugins takes half a second of CPU for it.
const INTERVAL_MS: u64 = 60_000;
/// The least that may be said, ms.
const INTERVAL_MS_MIN: u64 = 1000;
/// How long an answer may take, unless it is said: as long as munin-node gives its
/// plugins, and what it takes to kill one.
const TIMEOUT_MS: u64 = 65_000;

/// A `[[munin]]`.
///
/// ```toml
/// [[munin]]
/// address = "db1.example.com"    # host[:port], ssh://…, cmd:///path args
/// node = "db;db1"                # as it is called here; else as it calls itself
/// interval = "1m"
/// timeout = "65s"                # of one answer
///
/// [[munin]]
/// conf = "/etc/munin/munin.conf" # all nodes of a Munin master
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MuninConfig {
    /// Where the node is.
    pub address: String,
    /// What it is called, `group;host`.
    pub node: String,
    /// Asks for the services of the name that the node gives itself, not of `node`.
    pub use_node_name: bool,
    /// How often; `1m`.
    pub interval: String,
    /// How long one answer may take; `65s`.
    pub timeout: String,
    /// The address of this host that it is asked from; else as the routes have it.
    pub local_address: Option<IpAddr>,
    /// `disabled`, `auto` or `enabled`.
    pub tls: Wish,
    /// The node's certificate must come from an authority of `tls_ca_certificate`.
    pub tls_verify_certificate: bool,
    /// Authorities, PEM.
    pub tls_ca_certificate: Option<PathBuf>,
    /// What is shown to a node that asks for a certificate, PEM.
    pub tls_certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub tls_private_key: Option<PathBuf>,
    /// At most so many authorities between the node's certificate and one of
    /// `tls_ca_certificate`.
    pub tls_verify_depth: Option<usize>,
    /// What the names in the node's certificate must match.
    pub tls_match: Option<String>,
    /// A `munin.conf` instead of all of these but the times.
    pub conf: Option<PathBuf>,
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host:port`.
    Tcp(String),
    /// A program that speaks for it on its standard input and output.
    Command(Vec<String>),
}

/// For whose services a node is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListAs {
    /// This host's.
    Host(String),
    /// Of the name in its banner.
    Banner,
    /// Of none: its own.
    Own,
}

/// A node that is polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// What it is called here; empty: as it calls itself.
    pub node: String,
    /// Where it is.
    pub address: Address,
    /// For whose services it is asked.
    pub list_as: ListAs,
    /// How often, ms.
    pub interval_ms: u64,
    /// How long one answer may take, ms.
    pub timeout_ms: u64,
    /// What is said of its services over what they say themselves: service, then
    /// `attribute value` or `field.attribute value`.
    pub overrides: Vec<(String, String)>,
    /// The address of this host that it is asked from.
    pub local: Option<IpAddr>,
    /// Whether by TLS.
    pub tls: Tls,
}

/// All nodes to poll, and what of the configuration cannot be honoured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remotes {
    /// The nodes.
    pub nodes: Vec<Remote>,
    /// A line each, with file and place.
    pub notes: Vec<String>,
    /// Services that are made of others' fields.
    pub borrowed: Vec<Borrowed>,
    /// Who is told.
    pub contacts: Vec<ContactConfig>,
}

/// Reads an address as `munin.conf` and `[[munin]]` have it.
fn address(text: &str, port: Option<u16>) -> Result<Address, String> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix("ssh://") {
        return ssh(rest);
    }
    if let Some(rest) = text.strip_prefix("cmd://") {
        let words: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
        return match words.is_empty() {
            true => Err(format!("address {text:?}: which program?")),
            false => Ok(Address::Command(words)),
        };
    }
    let text = text.strip_prefix("munin://").unwrap_or(text).trim_end_matches('/');
    if text.is_empty() || text.contains(char::is_whitespace) || text.contains("://") {
        return Err(format!(
            "address {text:?}: write host, host:port, [::1]:port, ssh://user@host/command or \
             cmd:///path"
        ));
    }
    let has_port = match text.rsplit_once(':') {
        None => false,
        // An IPv6 address alone has several.
        Some((host, end)) => {
            (!host.contains(':') || host.ends_with(']')) && end.parse::<u16>().is_ok()
        }
    };
    let port = port.unwrap_or(PORT);
    Ok(Address::Tcp(match (has_port, text.contains(':') && !text.starts_with('[')) {
        (true, _) => text.to_owned(),
        (false, true) => format!("[{text}]:{port}"),
        (false, false) => format!("{text}:{port}"),
    }))
}

/// `user@host:port/path arguments`, by the program `ssh`, without a question.
fn ssh(rest: &str) -> Result<Address, String> {
    let (place, command) = rest.split_once('/').unwrap_or((rest, ""));
    if place.is_empty() || place.starts_with('-') {
        return Err(format!("address \"ssh://{rest}\": which host?"));
    }
    let (host, port) = place.rsplit_once(':').unwrap_or((place, ""));
    let mut words = vec!["ssh".to_owned(), "-o".to_owned(), "BatchMode=yes".to_owned()];
    if !port.is_empty() {
        let port: u16 = port.parse().map_err(|_| format!("port {port:?} of ssh://{rest}"))?;
        words.extend(["-p".to_owned(), port.to_string()]);
    }
    words.push(host.to_owned());
    let command = match command.trim() {
        "" => "nc localhost munin".to_owned(),
        command => format!("/{command}"),
    };
    words.extend(command.split_whitespace().map(str::to_owned));
    Ok(Address::Command(words))
}

fn span(text: &str, default: u64, what: &str) -> Result<u64, String> {
    match text {
        "" => Ok(default),
        text => parse_span_ms(text).map_err(|e| format!("[[munin]] {what}: {e}")),
    }
}

/// The nodes of all `[[munin]]` tables. The error names key and remedy.
pub fn remotes(tables: &[MuninConfig]) -> Result<Remotes, String> {
    let mut all = Remotes::default();
    for table in tables {
        let interval_ms = span(&table.interval, INTERVAL_MS, "interval")?;
        if interval_ms < INTERVAL_MS_MIN {
            return Err(format!("[[munin]] interval = {:?}: at least 1s", table.interval));
        }
        let timeout_ms = span(&table.timeout, TIMEOUT_MS, "timeout")?.max(100);
        if let Some(file) = &table.conf {
            if !table.address.is_empty() || !table.node.is_empty() {
                return Err("[[munin]]: either conf, or address and node".to_owned());
            }
            let mut found = conf::read(Path::new(file))?;
            for node in &mut found.nodes {
                (node.interval_ms, node.timeout_ms) = (interval_ms, timeout_ms);
            }
            all.nodes.append(&mut found.nodes);
            all.notes.append(&mut found.notes);
            for borrowed in &mut found.borrowed {
                borrowed.every_ms = interval_ms;
            }
            all.borrowed.append(&mut found.borrowed);
            for contact in found.contacts.iter_mut().filter_map(|c| c.munin.as_mut()) {
                contact.every_ms = interval_ms;
            }
            all.contacts.append(&mut found.contacts);
            continue;
        }
        if table.address.is_empty() {
            return Err("[[munin]]: address is missing: host, or host:port".to_owned());
        }
        let address = address(&table.address, None).map_err(|e| format!("[[munin]] {e}"))?;
        let host = table.node.rsplit(';').next().unwrap_or("");
        let list_as = match (table.use_node_name, host) {
            (true, _) => ListAs::Banner,
            (false, "") => ListAs::Own,
            (false, host) => ListAs::Host(host.to_owned()),
        };
        all.nodes.push(Remote {
            node: table.node.clone(),
            address,
            list_as,
            interval_ms,
            timeout_ms,
            overrides: Vec::new(),
            local: table.local_address,
            tls: Tls {
                wish: table.tls,
                verify: table.tls_verify_certificate,
                ca: table.tls_ca_certificate.clone(),
                certificate: table.tls_certificate.clone(),
                key: table.tls_private_key.clone(),
                depth: table.tls_verify_depth,
                matches: table.tls_match.clone(),
            },
        });
    }
    for node in &all.nodes {
        node.tls.secure().map_err(|e| format!("[[munin]] {}: {e}", node.node))?;
    }
    let mut names: Vec<&str> =
        all.nodes.iter().map(|n| n.node.as_str()).filter(|n| !n.is_empty()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
        return Err(format!("[[munin]]: node {:?} is there twice", twice[0]));
    }
    Ok(all)
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(place) => f.write_str(place),
            Address::Command(words) => f.write_str(&words.join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_munin_writes_them() {
        let tcp = |text: &str| match address(text, None) {
            Ok(Address::Tcp(place)) => place,
            other => panic!("{text}: {other:?}"),
        };
        for (text, want) in [
            ("db1", "db1:4949"),
            ("db1:5000", "db1:5000"),
            ("munin://db1/", "db1:4949"),
            ("10.0.0.1", "10.0.0.1:4949"),
            ("::1", "[::1]:4949"),
            ("[::1]", "[::1]:4949"),
            ("[::1]:77", "[::1]:77"),
            ("fe80::1:4949", "[fe80::1:4949]:4949"),
        ] {
            assert_eq!(tcp(text), want, "{text}");
        }
        assert_eq!(address("x", Some(7)), Ok(Address::Tcp("x:7".to_owned())));
        let command = |text: &str| match address(text, None) {
            Ok(Address::Command(words)) => words.join(" "),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(command("cmd:///usr/bin/x -a b"), "/usr/bin/x -a b");
        assert_eq!(
            command("ssh://bob@db1:22/bin/nc localhost 4949"),
            "ssh -o BatchMode=yes -p 22 bob@db1 /bin/nc localhost 4949"
        );
        assert_eq!(command("ssh://db1"), "ssh -o BatchMode=yes db1 nc localhost munin");
        for bad in ["", "a b", "http://x", "cmd://", "ssh://", "ssh://-oProxyCommand=x/y"] {
            assert!(address(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn tables_are_checked() {
        let read = |text: &str| {
            #[derive(Deserialize)]
            struct File {
                munin: Vec<MuninConfig>,
            }
            let file: File = rookery_plugins::config::from_toml("c.toml", text)?;
            remotes(&file.munin)
        };
        let found = read("[[munin]]\naddress = \"a\"\nnode = \"g;a\"\ninterval = \"5m\"\n");
        let nodes = found.expect("right").nodes;
        assert_eq!(nodes[0].list_as, ListAs::Host("a".to_owned()));
        assert_eq!((nodes[0].interval_ms, nodes[0].timeout_ms), (300_000, 65_000));
        for (text, want) in [
            ("[[munin]]\nadress = \"a\"\n", "did you mean \"address\"?"),
            ("[[munin]]\nnode = \"a\"\n", "address is missing"),
            ("[[munin]]\naddress = \"a\"\ninterval = \"10ms\"\n", "at least 1s"),
            ("[[munin]]\naddress = \"a\"\nconf = \"b\"\n", "either conf"),
            ("[[munin]]\nconf = \"/no/such\"\n", "/no/such"),
            (
                "[[munin]]\naddress = \"a\"\nnode = \"n\"\n[[munin]]\naddress = \"b\"\n\
                 node = \"n\"\n",
                "twice",
            ),
        ] {
            let e = read(text).expect_err(text);
            assert!(e.contains(want), "{text}: {e}");
        }
    }
}
